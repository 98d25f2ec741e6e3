//! A raw WebSocket client: it queues frames, knows no protocol, and answers nothing by itself but WS-level pings.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async_with_config, connect_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue, Response},
    },
};

use super::waiting::PATIENCE;

/// A received frame, or the end of the connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// A text frame, as JSON.
    Json(Value),
    /// The server closed, with this code and reason.
    Closed(u16, String),
    /// The connection ended without a close frame.
    Cut,
    /// A WS-level ping.
    Ping,
}

/// One connection.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects to `url` (`ws://…`) with the subprotocol and no more.
    pub(crate) async fn open(url: &str) -> Self {
        Self::open_with(url, &[("sec-websocket-protocol", "graphql-transport-ws")]).await.expect("the upgrade").0
    }

    /// Connects with the subprotocol `graphql-ws`, the predecessor.
    pub(crate) async fn legacy(url: &str) -> Self {
        Self::open_with(url, &[("sec-websocket-protocol", "graphql-ws")]).await.expect("the upgrade").0
    }

    /// Connects with the given headers; the error is the server's answer.
    pub(crate) async fn open_with(
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Self, Response<Option<Vec<u8>>>), Box<Response<Option<Vec<u8>>>>> {
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a header's name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header's value"));
        }
        match connect_async(request).await {
            Ok((stream, response)) => Ok((Self { stream }, response)),
            Err(tungstenite::Error::Http(response)) => Err(response),
            Err(error) => panic!("no connection: {error}"),
        }
    }

    /// Connects and is acknowledged.
    pub(crate) async fn ready(url: &str) -> Self {
        let mut socket = Self::open(url).await;
        socket.init(json!({})).await;
        socket
    }

    /// Connects with small buffers.
    pub(crate) async fn narrow(url: &str, subprotocol: &'static str) -> Self {
        let mut request = url.into_client_request().expect("a URL");
        let address = request.uri().authority().expect("an address").as_str().parse().expect("an address");
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(subprotocol));
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8 * 1024).expect("a small buffer");
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.expect("a connection"));
        Self { stream: client_async_with_config(request, stream, None).await.expect("the upgrade").0 }
    }

    /// Sends `connection_init` and waits for the acknowledgement.
    pub(crate) async fn init(&mut self, payload: Value) {
        self.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(self.frame().await, Frame::Json(json!({ "type": "connection_ack" })));
    }

    /// Sends JSON.
    pub(crate) async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    /// Sends any frame.
    pub(crate) async fn send_raw(&mut self, message: Message) {
        tokio::time::timeout(PATIENCE, self.stream.send(message)).await.expect("the server reads").expect("the frame");
    }

    /// Sends messages so that they arrive together.
    pub(crate) async fn send_together(&mut self, messages: impl IntoIterator<Item = Value>) {
        for message in messages {
            self.stream.feed(Message::text(message.to_string())).await.expect("room");
        }
        tokio::time::timeout(PATIENCE, self.stream.flush()).await.expect("the server reads").expect("the frames");
    }

    /// Subscribes to `query` under `id`.
    pub(crate) async fn subscribe(&mut self, id: &str, query: &str) {
        self.send(json!({ "id": id, "type": "subscribe", "payload": { "query": query } })).await;
    }

    /// Completes `id`.
    pub(crate) async fn complete(&mut self, id: &str) {
        self.send(json!({ "id": id, "type": "complete" })).await;
    }

    /// The next frame that is no WS-level ping or pong.
    pub(crate) async fn frame(&mut self) -> Frame {
        let frame = async {
            loop {
                match self.any_frame().await {
                    Frame::Ping => {}
                    frame => return frame,
                }
            }
        };
        tokio::time::timeout(PATIENCE, frame).await.expect("a frame besides pings, in time")
    }

    /// The next frame, WS-level pings as well.
    pub(crate) async fn any_frame(&mut self) -> Frame {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("a frame in time");
            return match next {
                Some(Ok(Message::Text(text))) => Frame::Json(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(Some(close)))) => {
                    // RFC 6455, 5.5: a longer reason makes no valid frame, and clients see 1006 instead of the code.
                    assert!(close.reason.len() <= 123, "a reason of {} bytes: {}", close.reason.len(), close.reason);
                    Frame::Closed(close.code.into(), close.reason.to_string())
                }
                Some(Ok(Message::Ping(_))) => Frame::Ping,
                Some(Ok(Message::Pong(_))) => continue,
                Some(Ok(other)) => panic!("an unexpected frame: {other:?}"),
                Some(Err(_)) | None => Frame::Cut,
            };
        }
    }

    /// Returns the next message as it was written.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("a frame in time");
            match next {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("not a message: {other:?}"),
            }
        }
    }

    /// The next frame's JSON.
    pub(crate) async fn json(&mut self) -> Value {
        match self.frame().await {
            Frame::Json(json) => json,
            other => panic!("not a message: {other:?}"),
        }
    }

    /// Skips messages until the connection ends.
    pub(crate) async fn end(&mut self) -> Frame {
        loop {
            match self.frame().await {
                Frame::Json(_) => {}
                end => return end,
            }
        }
    }
}
