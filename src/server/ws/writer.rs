//! The writing side of a socket.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::SinkExt;
use futures_util::future::poll_immediate;
use futures_util::stream::{BoxStream, SelectAll, SplitSink, Stream, StreamExt, unfold};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::ending::Ending;
use super::outbox::{Content, Handed, Queued};
use super::socket_state::{Control, Socket};
use crate::server::settings::SocketSettings;

/// Pings that may stay unanswered before the peer counts as gone.
const MISSED_PINGS: u32 = 2;

/// Writes the messages of a socket.
pub(super) struct Writer<'s> {
    pub(super) socket: &'s Socket,
    pub(super) settings: &'s SocketSettings,
    /// All messages besides the frames of groups. The set holds one stream, because the set gives it a waker of its
    /// own: a frame for all members does not poll this stream.
    pub(super) own: SelectAll<BoxStream<'s, Own>>,
    /// Members of groups, whose frames are written without a queue.
    pub(super) handed: Handed,
}

/// A message besides the frames of groups.
pub(super) enum Own {
    Control(Box<Control>),
    Ping,
    Queued(Box<Queued>),
}

/// Merges the messages besides the frames of groups. Keep-alive messages go before queued messages.
pub(super) fn own_messages(
    ping_every: Duration,
    controls: mpsc::Receiver<Box<Control>>,
    queue: mpsc::Receiver<Box<Queued>>,
) -> impl Stream<Item = Own> {
    let mut pings = interval_at(Instant::now() + ping_every, ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    unfold((controls, pings, queue), async |(mut controls, mut pings, mut queue)| {
        let own = tokio::select! {
            biased;
            Some(control) = controls.recv() => Own::Control(control),
            _ = pings.tick() => Own::Ping,
            Some(queued) = queue.recv() => Own::Queued(queued),
        };
        Some((own, (controls, pings, queue)))
    })
}

impl Writer<'_> {
    /// Returns the text of a queued message, if it has one. After the last message of an operation its id is free
    /// again.
    fn take(&mut self, queued: Queued) -> std::result::Result<Option<String>, Ending> {
        let Queued { operation, content, since, .. } = queued;
        if operation.is_completed() {
            return Ok(None);
        }
        if since.elapsed() > self.settings.outbox_age {
            return Err(Ending::close(1013, "the client does not read fast enough"));
        }
        Ok(match content {
            Content::Next(text) => Some(text),
            Content::Last(text) => {
                self.socket.active().remove(&operation.id);
                Some(text)
            }
            Content::Member(member) => {
                self.handed.add(operation, member);
                None
            }
            Content::Recall => {
                self.handed.recall(&operation);
                None
            }
        })
    }

    /// Writes until the socket ends.
    pub(super) async fn run(&mut self, sink: &mut SplitSink<WebSocket, Message>) -> Ending {
        loop {
            // Unbiased: neither source may starve the other while it has messages.
            let message = tokio::select! {
                Some(own) = self.own.next() => match own {
                    Own::Control(control) => Message::Text(control.text.into()),
                    Own::Ping => {
                        if self.socket.unanswered_pings.fetch_add(1, Ordering::Relaxed) >= MISSED_PINGS {
                            return Ending::close(1013, "no answer to pings");
                        }
                        Message::Ping(Default::default())
                    }
                    Own::Queued(queued) => match self.take(*queued) {
                        Ok(Some(text)) => Message::Text(text.into()),
                        Ok(None) => continue,
                        Err(ending) => return ending,
                    },
                },
                text = self.handed.next() => Message::Text(text.into()),
            };
            let mut sending = sink.send(message);
            // The peer nearly always takes the message at once, and then no timer is needed.
            let sent = match poll_immediate(&mut sending).await {
                Some(sent) => Ok(sent),
                None => timeout(self.settings.write_deadline, sending).await,
            };
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ending::gone(),
                Err(_) => return Ending::close(1013, "the client does not read fast enough"),
            }
        }
    }
}
