//! The end of a socket: its last message, its close code, and the wait for the close frame of the peer.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::SinkExt;
use futures_util::stream::{SplitSink, SplitStream, StreamExt};
use tokio::time::timeout;

/// The most bytes of a reason that a close frame can hold (RFC 6455, 5.5).
const CLOSE_REASON_BYTES: usize = 123;

/// The end of a socket.
pub(super) struct Ending {
    /// The message to send before the close frame.
    pub(super) last_words: Option<String>,
    pub(super) close: Option<CloseFrame>,
    /// Whether reading has failed, so that the peer's close frame will not be seen.
    pub(super) unreadable: bool,
}

impl Ending {
    /// Closes the socket with this code and reason.
    pub(super) fn close(code: u16, reason: impl AsRef<str>) -> Self {
        let reason = reason.as_ref();
        let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES)];
        Self { last_words: None, close: Some(CloseFrame { code, reason: reason.into() }), unreadable: false }
    }

    /// The peer has closed the connection, or has sent its close frame.
    pub(super) fn gone() -> Self {
        Self { last_words: None, close: None, unreadable: false }
    }

    /// Tells the peer, and waits for its close frame for this long.
    pub(super) async fn say(
        self,
        sink: &mut SplitSink<WebSocket, Message>,
        stream: &mut SplitStream<WebSocket>,
        close_wait: Duration,
    ) {
        let goodbye = async {
            let Some(frame) = self.close else { return sink.close().await.unwrap_or_default() };
            // Keep reading while writing, until the peer's close frame: the peer may be stuck in its own writes. A
            // connection that is dropped with unread bytes is reset, and on some systems the peer then loses what was
            // sent before.
            let drain = async {
                loop {
                    match stream.next().await {
                        Some(Ok(Message::Close(_))) => return,
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None if self.unreadable => std::future::pending().await,
                        Some(Err(_)) | None => return,
                    }
                }
            };
            let say = async {
                if let Some(text) = self.last_words {
                    sink.feed(Message::Text(text.into())).await.unwrap_or_default();
                }
                sink.send(Message::Close(Some(frame))).await.unwrap_or_default();
            };
            tokio::join!(say, drain);
        };
        // A peer that does not answer in time is cut.
        timeout(close_wait, goodbye).await.unwrap_or_default();
    }
}
