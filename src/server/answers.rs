//! Answers on their way: how many bytes of them there may be at once, and how slowly a client may take one.
//!
//! Room is taken before an operation is executed, as much as its answer may need, and given back when the answer is on the
//! wire: so what all requests of a moment ask for fits, or waits a little, or is refused with `UNAVAILABLE` before anything is
//! done. Small answers have a room of their own, which large ones cannot fill; and one caller has half of the large one.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_stream::stream;
use axum::body::{Body as HttpBody, Bytes, to_bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::endpoint::Endpoint;
use super::operation::Ready;
use crate::domain::{Error, Result};
use crate::graphql::budget::is_small;

/// The bounds of answers.
#[derive(Clone, Debug)]
pub struct AnswerSettings {
    /// Of one answer, in bytes of JSON. A page of 100 rows with everything that a row holds has 200 KB; a log of 100 changes
    /// with long notes a few megabytes.
    pub bytes: usize,
    /// Of all answers that are made or written at once: bytes of memory while an answer is made, of JSON while it is written.
    pub total_bytes: usize,
    /// How long an operation waits for room. Answers are made in milliseconds, and a desk that stops has 10 s.
    pub wait: Duration,
    /// Counts the answers that were given to another request before, for whoever wants to know.
    pub given_again: Arc<AtomicU64>,
}

impl Default for AnswerSettings {
    fn default() -> Self {
        Self { bytes: 8 << 20, total_bytes: 128 << 20, wait: Duration::from_secs(5), given_again: Arc::default() }
    }
}

/// Permits are of this many bytes: a semaphore counts with 32 bits.
const UNIT_BYTES: usize = 1_024;

/// The memory that one field of an answer takes while it is made: its value, its future, its part of the rows that were read.
/// Measured: 0.7 to 2 KiB, for answers of 5,000 to 40,000 fields. Its JSON is 25 bytes.
const FIELD_BYTES: usize = 2 << 10;

/// What a small answer takes: a page of 100 ordinary rows.
const SMALL_BYTES: usize = 256 << 10;

/// The part of the room that is for small answers.
const SMALL_SHARE: usize = 4;

/// Pieces in which an answer is handed to its connection, which asks for the next when it has room.
const PIECE_BYTES: usize = 64 << 10;

/// The slowest that a client may take a large answer, in bytes a second, after a while to begin with: a mobile line. One that
/// takes a byte now and then would keep room for ever.
const LEAST_BYTES_PER_SECOND: usize = 128 << 10;

/// The while to begin with.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// Callers whose share is remembered before those who hold none are forgotten.
const CALLERS_KEPT: usize = 1_024;

/// The room of a server. Clones share it.
#[derive(Clone)]
pub(crate) struct Answers(Arc<Rooms>);

struct Rooms {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    callers: Mutex<HashMap<Vec<u8>, Arc<Semaphore>>>,
    settings: AnswerSettings,
}

/// The room of one answer, given back when it is dropped.
pub(crate) struct Room(Vec<OwnedSemaphorePermit>);

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES)
}

impl Answers {
    pub(crate) fn new(settings: AnswerSettings) -> Self {
        let total = units(settings.total_bytes).clamp(SMALL_SHARE, Semaphore::MAX_PERMITS);
        let small = (total / SMALL_SHARE).max(units(SMALL_BYTES));
        let rooms = Rooms {
            small: Arc::new(Semaphore::new(small)),
            // One answer has to fit, whatever else is set.
            large: Arc::new(Semaphore::new((total - total / SMALL_SHARE).max(units(settings.bytes)))),
            callers: Mutex::default(),
            settings,
        };
        Self(Arc::new(rooms))
    }

    /// Room for the answer to an operation, waited for.
    pub(crate) async fn room<E: Endpoint>(&self, endpoint: &E, ready: &Ready<E::Viewer>) -> Result<Room> {
        let rooms = &self.0;
        let wanted = async {
            if is_small(&ready.canonical.document) {
                return Ok(Room(vec![rooms.small.clone().acquire_many_owned(permits(SMALL_BYTES)).await?]));
            }
            let bytes = permits(rooms.large_bytes(ready.cost));
            let own = rooms.caller(endpoint.principal(&ready.viewer)).acquire_many_owned(bytes).await?;
            Ok(Room(vec![own, rooms.large.clone().acquire_many_owned(bytes).await?]))
        };
        match timeout(rooms.settings.wait, wanted).await {
            Ok(room) => {
                room.map_err(|error: tokio::sync::AcquireError| Error::fault("making room for an answer", error))
            }
            Err(_) => {
                let message = "too many large answers are on their way; nothing was done, try again in a moment";
                Err(Error::unavailable(message))
            }
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(units(bytes)).unwrap_or(u32::MAX)
}

impl Rooms {
    /// What an answer of so many fields may take while it is made. One that may take more than a caller's share waits until
    /// that share is free: its lists are seldom as long as they may be.
    fn large_bytes(&self, fields: usize) -> usize {
        fields.saturating_mul(FIELD_BYTES).min(self.caller_bytes()).max(self.settings.bytes)
    }

    /// The share of one caller: half of the room, and room for one answer whatever is set.
    fn caller_bytes(&self) -> usize {
        (self.settings.total_bytes / 2).max(self.settings.bytes)
    }

    fn caller(&self, principal: Vec<u8>) -> Arc<Semaphore> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS_KEPT {
            callers.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = units(self.caller_bytes()).min(Semaphore::MAX_PERMITS);
        callers.entry(principal).or_insert_with(|| Arc::new(Semaphore::new(share))).clone()
    }
}

impl Room {
    /// Gives back what the answer turned out not to need.
    pub(crate) fn fit(&mut self, bytes: usize) {
        for permit in &mut self.0 {
            let spare = permit.num_permits().saturating_sub(units(bytes));
            drop(permit.split(spare));
        }
    }

    /// The same answer, which keeps its room until its client has nearly all of it; one that takes it too slowly is cut.
    pub(crate) async fn kept_by(mut self, response: Response) -> Response {
        let (mut head, body) = response.into_parts();
        // It is whole and in memory.
        let Ok(bytes) = to_bytes(body, usize::MAX).await else { return Response::from_parts(head, HttpBody::empty()) };
        self.fit(bytes.len());
        if bytes.len() <= PIECE_BYTES {
            return Response::from_parts(head, HttpBody::from(bytes));
        }
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        Response::from_parts(head, HttpBody::from_stream(self.pieces(bytes)))
    }

    fn pieces(self, mut bytes: Bytes) -> impl futures_util::Stream<Item = std::result::Result<Bytes, TooSlow>> + Send {
        let within = BEGIN_WITHIN + Duration::from_secs((bytes.len() / LEAST_BYTES_PER_SECOND) as u64);
        let until = Instant::now() + within;
        stream! {
            let _room = self;
            while !bytes.is_empty() {
                if Instant::now() > until {
                    yield Err(TooSlow);
                    return;
                }
                yield Ok(bytes.split_to(bytes.len().min(PIECE_BYTES)));
            }
        }
    }
}

/// A client takes its answer so slowly that others wait for the room.
#[derive(Debug, thiserror::Error)]
#[error("the answer was not taken in time")]
struct TooSlow;
