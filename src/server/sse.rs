//! GraphQL over Server-Sent Events, as graphql-sse speaks it: the events, and one stream for each operation.
//!
//! Each `next` of a stream with positions carries the position as its `id`. A browser that lost its connection sends the
//! last one back as `Last-Event-ID`, and the stream goes on behind it. Several operations on one stream are in
//! `reserved.rs`.

use async_graphql::{Response as Answer, ServerError};
use axum::body::{Body as HttpBody, Bytes};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use super::accept::Media;
use super::streaming::{Event, Form, no_stream, of_answer, whole};
use crate::domain::Result;
use crate::domain::position::Position;

/// Where a client says what it has: the `id` of the last event that reached it.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// A comment: clients do not see it, but proxies do.
const COMMENT: &str = ":\n\n";

const BEFORE_PAYLOAD: &[u8] = b"event: next\ndata: ";
const BEHIND_PAYLOAD: &[u8] = b"\n\n";

/// The empty line of data is for EventSource, which hands an event without data to nobody.
const COMPLETE: &str = "event: complete\ndata:\n\n";

/// What is said at once, and when nothing else was for a while.
pub(super) fn comment() -> Event {
    Event::fixed(COMMENT)
}

/// The position to go on from, as a client says it that comes back by itself; an empty one is none.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    // What is no text is no position either, and refused as such.
    let last = headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?"));
    last.filter(|last| !last.is_empty())
}

/// The events of the one operation of a stream.
pub(super) struct Events;

impl Form for Events {
    fn next(&self, payload: Bytes, position: Option<Position>) -> Event {
        debug_assert!(!payload.contains(&b'\n') && !payload.contains(&b'\r'), "an event's data is one line");
        let before = match position {
            Some(position) => Bytes::from(format!("event: next\nid: {position}\ndata: ")),
            None => Bytes::from_static(BEFORE_PAYLOAD),
        };
        Event::around(before, payload, Bytes::from_static(BEHIND_PAYLOAD))
    }

    fn complete(&self) -> Event {
        Event::fixed(COMPLETE)
    }

    fn fault(&self, errors: &[ServerError]) -> Result<Event> {
        of_answer(&no_stream(errors), self)
    }
}

/// The events of one operation among those of a stream.
pub(super) struct EventsOf {
    before: Bytes,
    complete: Bytes,
}

impl EventsOf {
    /// Of the operation that the client calls so.
    pub(super) fn operation(id: &str) -> Self {
        let id = Value::from(id);
        let before = format!("event: next\ndata: {{\"id\":{id},\"payload\":").into();
        Self { before, complete: format!("event: complete\ndata: {{\"id\":{id}}}\n\n").into() }
    }
}

impl Form for EventsOf {
    /// Without a position: the next event may be of another operation, and a client has one `Last-Event-ID` only.
    fn next(&self, payload: Bytes, _position: Option<Position>) -> Event {
        Event::around(self.before.clone(), payload, Bytes::from_static(b"}\n\n"))
    }

    fn complete(&self) -> Event {
        Event::whole(self.complete.clone())
    }

    fn fault(&self, errors: &[ServerError]) -> Result<Event> {
        of_answer(&no_stream(errors), self)
    }
}

/// The whole response of a query or a mutation, or of a request that was refused.
pub(super) fn once(answer: &Answer) -> Result<Response> {
    Ok(whole(Media::EventStream, HttpBody::from(of_answer(answer, &Events)?.into_bytes())))
}
