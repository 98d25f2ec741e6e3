//! Subscriptions over multipart HTTP, as Apollo's clients and router speak it (`subscriptionSpec=1.0`).
//!
//! A client hands a part on when it sees the delimiter behind the part. So each part is written together with that
//! delimiter; otherwise a client would see each item only when the next one comes.

use async_graphql::{Response as Answer, ServerError};
use axum::body::{Body as HttpBody, Bytes};
use axum::response::Response;
use serde_json::json;

use super::streaming::{EventFormat, StreamEvent, json, of_answer, whole};
use crate::domain::Result;
use crate::domain::position::Position;
use crate::server::edge::accept::Media;

/// The first delimiter. The line break before it belongs to it, and some clients look for it.
const OPENING: &str = "\r\n--graphql";

/// An empty part.
const HEARTBEAT: &str = "\r\ncontent-type: application/json\r\n\r\n{}\r\n--graphql";

const BEFORE_PAYLOAD: &str = "\r\ncontent-type: application/json\r\n\r\n{\"payload\":";
const BEHIND_PAYLOAD: &str = "}\r\n--graphql";

/// The end of the last delimiter.
const CLOSING: &str = "--\r\n";

/// Writes the parts of a subscription.
pub(super) struct Mixed;

impl Mixed {
    pub(super) fn opening() -> StreamEvent {
        StreamEvent::fixed(OPENING)
    }

    pub(super) fn heartbeat() -> StreamEvent {
        StreamEvent::fixed(HEARTBEAT)
    }
}

impl EventFormat for Mixed {
    fn next(&self, payload: Bytes, _position: Option<Position>) -> StreamEvent {
        let fixed = |text: &'static str| Bytes::from_static(text.as_bytes());
        StreamEvent::around(fixed(BEFORE_PAYLOAD), payload, fixed(BEHIND_PAYLOAD))
    }

    fn complete(&self) -> StreamEvent {
        StreamEvent::fixed(CLOSING)
    }

    /// Writes an error of the transport, as the protocol calls it: `errors` stand beside the payload, which is null.
    fn fault(&self, errors: &[ServerError]) -> Result<StreamEvent> {
        let part = json(&json!({ "payload": null, "errors": errors }))?;
        let text = ["\r\ncontent-type: application/json\r\n\r\n".as_bytes(), &part, b"\r\n--graphql"].concat();
        Ok(StreamEvent::whole(text).and(self.complete()))
    }
}

/// Makes the whole response to a request that was refused before it became a stream.
pub(super) fn once(answer: &Answer) -> Result<Response> {
    let body = Mixed::opening().and(of_answer(answer, &Mixed)?);
    Ok(whole(Media::Multipart, HttpBody::from(body.into_bytes())))
}
