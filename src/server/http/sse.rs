//! GraphQL over Server-Sent Events, as graphql-sse speaks it: the events, and one stream for each operation.
//!
//! In a stream with positions, each `next` carries its position as its `id`. A browser that lost its connection sends
//! the last `id` back as `Last-Event-ID`, and the stream goes on after it. `single_connection.rs` puts several
//! operations on one stream.

use async_graphql::{Response as Answer, ServerError};
use axum::body::{Body as HttpBody, Bytes};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use super::streaming::{EventFormat, StreamEvent, no_stream, of_answer, whole};
use crate::domain::Result;
use crate::domain::position::Position;
use crate::server::edge::accept::Media;

/// The header in which a client names the `id` of the last event that reached it.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// A comment: clients ignore it, but proxies see it.
const COMMENT: &str = ":\n\n";

const BEFORE_PAYLOAD: &[u8] = b"event: next\ndata: ";
const BEHIND_PAYLOAD: &[u8] = b"\n\n";

/// The empty line of data is for EventSource, which ignores an event without data.
const COMPLETE: &str = "event: complete\ndata:\n\n";

/// Returns the event that is sent at once, and after silence.
pub(super) fn comment() -> StreamEvent {
    StreamEvent::fixed(COMMENT)
}

/// Returns the position from which a reconnecting client wants to go on; an empty header counts as absent.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    // A header that is not text is no position either, and is refused as such.
    let last = headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?"));
    last.filter(|last| !last.is_empty())
}

/// Writes the events of a stream with one operation.
pub(super) struct StreamFormat;

impl EventFormat for StreamFormat {
    fn next(&self, payload: Bytes, position: Option<Position>) -> StreamEvent {
        debug_assert!(!payload.contains(&b'\n') && !payload.contains(&b'\r'), "an event's data is one line");
        let before = match position {
            Some(position) => Bytes::from(format!("event: next\nid: {position}\ndata: ")),
            None => Bytes::from_static(BEFORE_PAYLOAD),
        };
        StreamEvent::around(before, payload, Bytes::from_static(BEHIND_PAYLOAD))
    }

    fn complete(&self) -> StreamEvent {
        StreamEvent::fixed(COMPLETE)
    }

    fn fault(&self, errors: &[ServerError]) -> Result<StreamEvent> {
        of_answer(&no_stream(errors), self)
    }
}

/// Writes the events of one operation among several on a stream.
pub(super) struct EventsOf {
    before: Bytes,
    complete: Bytes,
}

impl EventsOf {
    /// Makes the format for the operation with this id.
    pub(super) fn operation(id: &str) -> Self {
        let id = Value::from(id);
        let before = format!("event: next\ndata: {{\"id\":{id},\"payload\":").into();
        Self { before, complete: format!("event: complete\ndata: {{\"id\":{id}}}\n\n").into() }
    }
}

impl EventFormat for EventsOf {
    /// Writes no `id`: the next event may belong to another operation, and a client has only one `Last-Event-ID`.
    fn next(&self, payload: Bytes, _position: Option<Position>) -> StreamEvent {
        StreamEvent::around(self.before.clone(), payload, Bytes::from_static(b"}\n\n"))
    }

    fn complete(&self) -> StreamEvent {
        StreamEvent::whole(self.complete.clone())
    }

    fn fault(&self, errors: &[ServerError]) -> Result<StreamEvent> {
        of_answer(&no_stream(errors), self)
    }
}

/// Makes the whole response to a query, a mutation or a refused request.
pub(super) fn once(answer: &Answer) -> Result<Response> {
    Ok(whole(Media::EventStream, HttpBody::from(of_answer(answer, &StreamFormat)?.into_bytes())))
}
