//! Bounds the bytes of all answers in memory, and the time that a client may take to read an answer.
//!
//! An operation takes room before it is executed, as much as its answer may need. The room is given back when the
//! answer is sent. So the answers to all current requests fit into memory: an operation that finds no room waits a
//! little, or is refused with `UNAVAILABLE` before anything is done. Small answers have a room of their own, which
//! large answers cannot fill. One caller may take half of the room for large answers.

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

use crate::domain::{Error, Result};
use crate::graphql::budget::is_small;
use crate::server::operation::{Ready, endpoint::Endpoint};

/// The limits of answers.
#[derive(Clone, Debug)]
pub struct AnswerSettings {
    /// The most bytes of JSON in one answer. A page of 100 rows with all their fields has 200 KB. A log of 100 changes
    /// with long notes has a few megabytes.
    pub bytes: usize,
    /// The most bytes of all answers at once: bytes of memory while an answer is made, bytes of JSON while it is sent.
    pub total_bytes: usize,
    /// How long an operation waits for room. AnswerMemory take milliseconds to make, and a desk that stops has 10 s.
    pub wait: Duration,
    /// Counts the requests that received an answer made for another request, for callers that want to read the count.
    pub given_again: Arc<AtomicU64>,
}

impl Default for AnswerSettings {
    fn default() -> Self {
        Self { bytes: 8 << 20, total_bytes: 128 << 20, wait: Duration::from_secs(5), given_again: Arc::default() }
    }
}

/// The bytes of one permit: a semaphore counts with 32 bits.
const UNIT_BYTES: usize = 1_024;

/// The memory of one field of an answer while it is made: its value, its future and its part of the rows. Measured: 0.7
/// to 2 KiB, for answers of 5,000 to 40,000 fields. Its JSON is 25 bytes.
const FIELD_BYTES: usize = 2 << 10;

/// The memory of a small answer: a page of 100 ordinary rows.
const SMALL_BYTES: usize = 256 << 10;

/// One part in this number of the room is for small answers.
const SMALL_SHARE: usize = 4;

/// The size of the pieces in which a connection takes a large answer. It asks for the next piece when it has space.
const PIECE_BYTES: usize = 64 << 10;

/// The slowest that a client may take a large answer, in bytes a second: a mobile line. It applies after
/// [`BEGIN_WITHIN`]. A client that takes a byte now and then would keep its room for ever.
const LEAST_BYTES_PER_SECOND: usize = 128 << 10;

/// The time that a client has in addition, at the beginning.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// The most callers whose share is remembered. Beyond it, callers that hold no room are forgotten.
const CALLERS_KEPT: usize = 1_024;

/// The room for the answers of a server. Clones share it.
#[derive(Clone)]
pub(crate) struct AnswerMemory(Arc<Rooms>);

struct Rooms {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    callers: Mutex<HashMap<Vec<u8>, Arc<Semaphore>>>,
    settings: AnswerSettings,
}

/// The room of one answer, given back when it is dropped.
pub(crate) struct AnswerRoom(Vec<OwnedSemaphorePermit>);

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES)
}

impl AnswerMemory {
    pub(crate) fn new(settings: AnswerSettings) -> Self {
        let total = units(settings.total_bytes).clamp(SMALL_SHARE, Semaphore::MAX_PERMITS);
        let small = (total / SMALL_SHARE).max(units(SMALL_BYTES));
        let rooms = Rooms {
            small: Arc::new(Semaphore::new(small)),
            // One answer has to fit, whatever the settings are.
            large: Arc::new(Semaphore::new((total - total / SMALL_SHARE).max(units(settings.bytes)))),
            callers: Mutex::default(),
            settings,
        };
        Self(Arc::new(rooms))
    }

    /// Waits for room for the answer to an operation. Refuses with `UNAVAILABLE` after [`AnswerSettings::wait`].
    pub(crate) async fn room<E: Endpoint>(&self, endpoint: &E, ready: &Ready<E::Viewer>) -> Result<AnswerRoom> {
        let rooms = &self.0;
        let wanted = async {
            if is_small(&ready.canonical.document) {
                return Ok(AnswerRoom(vec![rooms.small.clone().acquire_many_owned(permits(SMALL_BYTES)).await?]));
            }
            let bytes = permits(rooms.large_bytes(ready.cost));
            let own = rooms.caller(endpoint.principal(&ready.viewer)).acquire_many_owned(bytes).await?;
            Ok(AnswerRoom(vec![own, rooms.large.clone().acquire_many_owned(bytes).await?]))
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
    /// Returns the memory that an answer of this many fields may take while it is made. An answer that may take more
    /// than the caller's share waits until the whole share is free: lists are seldom as long as they may be.
    fn large_bytes(&self, fields: usize) -> usize {
        fields.saturating_mul(FIELD_BYTES).min(self.caller_bytes()).max(self.settings.bytes)
    }

    /// Returns the share of one caller: half of the room, and at least the room of one answer.
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

impl AnswerRoom {
    /// Gives back the room that the answer did not need.
    pub(crate) fn fit(&mut self, bytes: usize) {
        for permit in &mut self.0 {
            let spare = permit.num_permits().saturating_sub(units(bytes));
            drop(permit.split(spare));
        }
    }

    /// Makes an answer keep its room until its client has nearly all of it. An answer that its client takes too slowly
    /// is cut.
    pub(crate) async fn kept_by(mut self, response: Response) -> Response {
        let (mut head, body) = response.into_parts();
        // The body is complete and in memory.
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

/// The client takes its answer so slowly that others wait for the room.
#[derive(Debug, thiserror::Error)]
#[error("the answer was not taken in time")]
struct TooSlow;
