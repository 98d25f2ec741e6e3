//! A response that goes on: what event streams and multipart responses have in common.
//!
//! The connection's own task takes each event when it has room for it, from the group's shared bytes: there is no task, no
//! queue and no copy for a client. A stream that is not over ends by breaking its response off, so that the client sees
//! that something is missing and comes back; only one that is over says so.

use std::pin::pin;
use std::time::Duration;

use async_graphql::{Response as Answer, ServerError};
use async_stream::stream;
use axum::body::{Body as HttpBody, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep};

use super::accept::Media;
use super::crowd::Admission;
use super::endpoint::Endpoint;
use super::following::Following;
use super::group::Item;
use super::operation::{Body, caught};
use super::routes::{Shutdown, stopped};
use crate::domain::position::Position;
use crate::domain::{Error, Result};
use crate::graphql::error::refuse;

/// The bounds of responses that go on.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// How long one may be silent before it says that it lives. Proxies cut connections that are silent for 60 s; as in
    /// graphql-sse.
    pub keep_alive: Duration,
    /// How long a reserved stream waits to be opened. A client opens it at once; this is for slow networks.
    pub reservation_wait: Duration,
    /// Reserved streams that wait at once: so many open theirs in a moment when everybody comes back after a restart.
    pub reservations: usize,
    /// Those of one account: the screens of a whole site may hang on one, and others have room beside it.
    pub reservations_per_principal: usize,
    /// Those from one address.
    pub reservations_per_address: usize,
}

impl Default for StreamSettings {
    fn default() -> Self {
        let (keep_alive, reservation_wait) = (Duration::from_secs(12), Duration::from_secs(30));
        Self {
            keep_alive,
            reservation_wait,
            reservations: 4_096,
            reservations_per_principal: 512,
            reservations_per_address: 2_048,
        }
    }
}

/// Bytes that belong together: nothing else comes in between.
#[derive(Clone, Debug)]
pub(super) struct Event([Bytes; 3]);

impl Event {
    /// A payload, which is shared, between its wrappings.
    pub(super) fn around(before: Bytes, payload: Bytes, behind: Bytes) -> Self {
        Self([before, payload, behind])
    }

    /// An event of one piece.
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self([bytes.into(), Bytes::new(), Bytes::new()])
    }

    /// An event of one piece that never changes.
    pub(super) fn fixed(text: &'static str) -> Self {
        Self::whole(Bytes::from_static(text.as_bytes()))
    }

    /// This one and right behind it another.
    pub(super) fn and(self, other: Self) -> Self {
        Self::whole([self.into_bytes(), other.into_bytes()].concat())
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Its bytes in one piece.
    pub(super) fn into_bytes(self) -> Bytes {
        self.0.concat().into()
    }
}

/// The stream is not over, and cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("the stream breaks off")]
pub(super) struct Broken;

/// What a response is made of.
pub(super) type Said = std::result::Result<Event, Broken>;

/// How a protocol writes what an operation says.
pub(super) trait Form: Send + 'static {
    /// A response, and where its client stands with it.
    fn next(&self, payload: Bytes, position: Option<Position>) -> Event;

    /// Nothing more of this operation.
    fn complete(&self) -> Event;

    /// A fault of ours, after which nothing more comes.
    fn fault(&self, errors: &[ServerError]) -> Result<Event>;
}

/// What a subscription says to its end; `first` was taken from it before.
pub(super) fn said<E: Endpoint, F: Form>(
    mut following: Following<E>,
    mut first: Option<Item>,
    form: F,
) -> impl Stream<Item = Said> + Send {
    stream! {
        loop {
            let next = match first.take() {
                Some(item) => Ok(Some(item)),
                None => caught(following.next()).await.and_then(|next| next),
            };
            match next {
                Ok(Some(Item::Next(payload))) => yield Ok(form.next(payload.into(), following.position())),
                Ok(Some(Item::Refused(errors))) => {
                    yield of_answer(&no_stream(&errors), &form).map_err(|_| Broken);
                    return;
                }
                Ok(Some(Item::Broken)) => {
                    yield Err(Broken);
                    return;
                }
                Ok(None) => {
                    yield Ok(form.complete());
                    return;
                }
                Err(fault) => {
                    yield form.fault(&refuse(fault).errors).map_err(|_| Broken);
                    return;
                }
            }
        }
    }
}

/// The answer to a request for a stream that there is none for. It names no field: nothing was executed.
pub(super) fn no_stream(errors: &[ServerError]) -> Answer {
    Answer::from_errors(errors.iter().map(|error| ServerError { path: Vec::new(), ..error.clone() }).collect())
}

/// The one response of an operation, and its end.
pub(super) fn of_answer(answer: &Answer, form: &impl Form) -> Result<Event> {
    Ok(form.next(json(&Body(answer))?, None).and(form.complete()))
}

/// On one line, as nothing in here is written for the eye: an event stream ends a line at each line break.
pub(super) fn json(value: &impl serde::Serialize) -> Result<Bytes> {
    let text = serde_json::to_string(value).map_err(|error| Error::fault("writing a response", error))?;
    Ok(text.into())
}

/// What a response holds on to, and how it is kept.
pub(super) struct Keeping {
    /// Its place among the sockets.
    pub(super) admission: Admission,
    pub(super) shutdown: Shutdown,
    pub(super) settings: StreamSettings,
    /// What is said at once: some clients do not believe in a response before its first byte.
    pub(super) opening: Event,
    /// What is said when nothing else was for a while.
    pub(super) heartbeat: Event,
}

/// The response that goes on for as long as `events` do, the client reads, and the server stays.
pub(super) fn response(media: Media, events: impl Stream<Item = Said> + Send + 'static, keeping: Keeping) -> Response {
    let body = stream! {
        let Keeping { admission: _admission, mut shutdown, settings, opening, heartbeat } = keeping;
        let mut events = pin!(events);
        let mut stopped = pin!(stopped(&mut shutdown));
        let mut silence = pin!(sleep(settings.keep_alive));
        let mut said = Ok(opening);
        loop {
            match said {
                Ok(Event(pieces)) => for piece in pieces {
                    if !piece.is_empty() {
                        yield Ok(piece);
                    }
                },
                Err(broken) => {
                    // What was said before it goes out first: a connection forgets what it holds when a body fails.
                    tokio::task::yield_now().await;
                    yield Err(broken);
                    return;
                }
            }
            silence.as_mut().reset(Instant::now() + settings.keep_alive);
            said = tokio::select! {
                biased;
                () = &mut stopped => Err(Broken),
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

/// A response in a media type that streams.
pub(super) fn whole(media: Media, body: HttpBody) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    kept_by_nobody(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, media.content_type());
    response
}

/// Neither a cache nor a proxy's buffer may hold what is live.
fn kept_by_nobody(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    // nginx, and what is configured like it, passes each piece on at once.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}
