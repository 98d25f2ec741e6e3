//! Streaming responses: the common part of event streams and multipart responses.
//!
//! The connection's own task takes each event from the group's shared bytes when it has space for it. A client needs no
//! task, no queue and no copy. If a stream has to end early, the response breaks off without a closing event, so the
//! client sees that something is missing and reconnects. Only a stream that is complete says so.

use std::pin::pin;

use async_graphql::{Response as Answer, ServerError};
use async_stream::stream;
use axum::body::{Body as HttpBody, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep};

use crate::domain::position::Position;
use crate::domain::{Error, Result};
use crate::graphql::error::refuse;
use crate::server::edge::accept::Media;
use crate::server::edge::admission::Admission;
use crate::server::edge::panics::caught;
use crate::server::edge::response::ResponseBody;
use crate::server::edge::shutdown::{Shutdown, stopped};
use crate::server::operation::endpoint::Endpoint;
use crate::server::settings::StreamSettings;
use crate::server::share::client_subscription::ClientSubscription;
use crate::server::share::frame::StreamItem;

/// Bytes that are sent together: no other event comes in between.
#[derive(Clone, Debug)]
pub(super) struct StreamEvent([Bytes; 3]);

impl StreamEvent {
    /// Makes an event of a shared payload and the bytes around it.
    pub(super) fn around(before: Bytes, payload: Bytes, behind: Bytes) -> Self {
        Self([before, payload, behind])
    }

    /// Makes an event of one piece.
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self([bytes.into(), Bytes::new(), Bytes::new()])
    }

    /// Makes an event of a constant text.
    pub(super) fn fixed(text: &'static str) -> Self {
        Self::whole(Bytes::from_static(text.as_bytes()))
    }

    /// Joins this event and the event that follows it directly.
    pub(super) fn and(self, other: Self) -> Self {
        Self::whole([self.into_bytes(), other.into_bytes()].concat())
    }

    /// Returns the length in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Returns the bytes in one piece.
    pub(super) fn into_bytes(self) -> Bytes {
        self.0.concat().into()
    }
}

/// The stream is not complete, and cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("the stream breaks off")]
pub(super) struct BrokenStream;

/// An event of a response, or its break.
pub(super) type Said = std::result::Result<StreamEvent, BrokenStream>;

/// The format in which a protocol writes the events of an operation.
pub(super) trait EventFormat: Send + 'static {
    /// Writes a response. `position` is the client's position after it.
    fn next(&self, payload: Bytes, position: Option<Position>) -> StreamEvent;

    /// Writes that the operation is complete.
    fn complete(&self) -> StreamEvent;

    /// Writes a fault of the server, after which the operation sends nothing more.
    fn fault(&self, errors: &[ServerError]) -> Result<StreamEvent>;
}

/// Writes all events of a subscription to its end; `first` is an item that was already taken from it.
pub(super) fn said<E: Endpoint, F: EventFormat>(
    mut subscription: ClientSubscription<E>,
    mut first: Option<StreamItem>,
    form: F,
) -> impl Stream<Item = Said> + Send {
    stream! {
        loop {
            let next = match first.take() {
                Some(item) => Ok(Some(item)),
                None => caught(subscription.next()).await.and_then(|next| next),
            };
            match next {
                Ok(Some(StreamItem::Next(payload))) => yield Ok(form.next(payload.into(), subscription.position())),
                Ok(Some(StreamItem::Refused(errors))) => {
                    yield of_answer(&no_stream(&errors), &form).map_err(|_| BrokenStream);
                    return;
                }
                Ok(Some(StreamItem::Broken)) => {
                    yield Err(BrokenStream);
                    return;
                }
                Ok(None) => {
                    yield Ok(form.complete());
                    return;
                }
                Err(fault) => {
                    yield form.fault(&refuse(fault).errors).map_err(|_| BrokenStream);
                    return;
                }
            }
        }
    }
}

/// The answer to a request for a stream that is refused. Its errors name no field, because nothing was executed.
pub(super) fn no_stream(errors: &[ServerError]) -> Answer {
    Answer::from_errors(errors.iter().map(|error| ServerError { path: Vec::new(), ..error.clone() }).collect())
}

/// Writes the single response of an operation, and its end.
pub(super) fn of_answer(answer: &Answer, form: &impl EventFormat) -> Result<StreamEvent> {
    Ok(form.next(json(&ResponseBody(answer))?, None).and(form.complete()))
}

/// Writes JSON on one line: an event stream ends a line at each line break.
pub(super) fn json(value: &impl serde::Serialize) -> Result<Bytes> {
    let text = serde_json::to_string(value).map_err(|error| Error::fault("writing a response", error))?;
    Ok(text.into())
}

/// The resources and settings of a streaming response.
pub(super) struct Keeping {
    /// The slot among the sockets.
    pub(super) admission: Admission,
    pub(super) shutdown: Shutdown,
    pub(super) settings: StreamSettings,
    /// The event that is sent at once: some clients wait for the first byte of a response.
    pub(super) opening: StreamEvent,
    /// The event that is sent after silence.
    pub(super) heartbeat: StreamEvent,
}

/// Makes the response that lasts until `events` end, the client stops reading, or the server stops.
pub(super) fn response(media: Media, events: impl Stream<Item = Said> + Send + 'static, keeping: Keeping) -> Response {
    let body = stream! {
        let Keeping { admission: _admission, mut shutdown, settings, opening, heartbeat } = keeping;
        let mut events = pin!(events);
        let mut stopped = pin!(stopped(&mut shutdown));
        let mut silence = pin!(sleep(settings.keep_alive));
        let mut said = Ok(opening);
        loop {
            match said {
                Ok(StreamEvent(pieces)) => for piece in pieces {
                    if !piece.is_empty() {
                        yield Ok(piece);
                    }
                },
                Err(broken) => {
                    // The events before go out first: a connection drops its buffer when a body fails.
                    tokio::task::yield_now().await;
                    yield Err(broken);
                    return;
                }
            }
            silence.as_mut().reset(Instant::now() + settings.keep_alive);
            said = tokio::select! {
                biased;
                () = &mut stopped => Err(BrokenStream),
                event = events.next() => match event {
                    Some(said) => said,
                    None => return,
                },
                () = &mut silence => Ok(heartbeat.clone()),
            };
        }
    };
    whole(media, HttpBody::from_stream(body))
}

/// Makes a response in a media type that streams.
pub(super) fn whole(media: Media, body: HttpBody) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    kept_by_nobody(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, media.content_type());
    response
}

/// Forbids caches to store a live response, and proxies to buffer it.
fn kept_by_nobody(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    // nginx, and proxies that follow its header, then pass each piece on at once.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}
