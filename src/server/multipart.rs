//! Subscriptions over multipart HTTP, as Apollo's clients and router speak it (`subscriptionSpec=1.0`).
//!
//! Clients hand a part on when they see the delimiter behind it, so each part is written with that delimiter at once: one
//! that waited for the next part would keep every item back until there is another.

use async_graphql::{Response as Answer, ServerError};
use axum::body::{Body as HttpBody, Bytes};
use axum::response::Response;
use serde_json::json;

use super::accept::Media;
use super::streaming::{Event, Form, json, of_answer, whole};
use crate::domain::Result;
use crate::domain::position::Position;

/// The first delimiter. The line break before it belongs to it, and some clients look for it.
const OPENING: &str = "\r\n--graphql";

/// A part that says nothing.
const HEARTBEAT: &str = "\r\ncontent-type: application/json\r\n\r\n{}\r\n--graphql";

const BEFORE_PAYLOAD: &str = "\r\ncontent-type: application/json\r\n\r\n{\"payload\":";
const BEHIND_PAYLOAD: &str = "}\r\n--graphql";

/// What makes the delimiter before it the last one.
const CLOSING: &str = "--\r\n";

/// The parts of a subscription.
pub(super) struct Mixed;

impl Mixed {
    pub(super) fn opening() -> Event {
        Event::fixed(OPENING)
    }

    pub(super) fn heartbeat() -> Event {
        Event::fixed(HEARTBEAT)
    }
}

impl Form for Mixed {
    fn next(&self, payload: Bytes, _position: Option<Position>) -> Event {
        let fixed = |text: &'static str| Bytes::from_static(text.as_bytes());
        Event::around(fixed(BEFORE_PAYLOAD), payload, fixed(BEHIND_PAYLOAD))
    }

    fn complete(&self) -> Event {
        Event::fixed(CLOSING)
    }

    /// What the protocol calls an error of the transport: beside the payload, which there is none of.
    fn fault(&self, errors: &[ServerError]) -> Result<Event> {
        let part = json(&json!({ "payload": null, "errors": errors }))?;
        let text = ["\r\ncontent-type: application/json\r\n\r\n".as_bytes(), &part, b"\r\n--graphql"].concat();
        Ok(Event::whole(text).and(self.complete()))
    }
}

/// The whole response to a request that did not get as far as a stream.
pub(super) fn once(answer: &Answer) -> Result<Response> {
    let body = Mixed::opening().and(of_answer(answer, &Mixed)?);
    Ok(whole(Media::Multipart, HttpBody::from(body.into_bytes())))
}
