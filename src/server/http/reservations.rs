//! The reserved streams of the single connection mode (`single_connection.rs`), by their tokens.
//!
//! The token stands for the account that reserved the stream, so it must not be guessable. A caller that names another
//! account cannot use it. A reservation ends with its stream, or if it is not opened in time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream::BoxStream;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::refused::Refused;
use super::streaming::Said;
use crate::domain::Error;
use crate::server::edge::actor::actor;
use crate::server::edge::admission::leave;
use crate::server::settings::StreamSettings;

/// The header that names a stream. In an address the parameter `token` names it.
pub(super) const TOKEN: &str = "X-GraphQL-Event-Stream-Token";

/// 256 bits of the system's randomness, so that a token cannot be guessed.
const TOKEN_BYTES: usize = 32;

/// Operations that wait for the stream to take them up. The requests behind them wait.
const OPERATIONS_QUEUED: usize = 16;

/// The reserved streams of a server, by their token. Clones share them.
#[derive(Clone, Default)]
pub(in crate::server) struct Reservations {
    by_token: Arc<Mutex<HashMap<String, Arc<Reservation>>>>,
    waiting: Arc<Mutex<WaitingCounts>>,
}

/// Counts the streams that wait to be opened, in all, by account and by address.
#[derive(Default)]
struct WaitingCounts {
    in_all: usize,
    by_principal: HashMap<Vec<u8>, usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// A reserved stream.
pub(super) struct Reservation {
    pub(super) account: Option<String>,
    pub(super) operations: mpsc::Sender<BoxStream<'static, Said>>,
    /// Taken by the request that opens the stream; `None` once it is open.
    queue: Mutex<Option<Queue>>,
    active: Mutex<OpenOperations>,
}

/// The operations of a stream that is not open yet.
pub(super) struct Queue {
    pub(super) operations: mpsc::Receiver<BoxStream<'static, Said>>,
    _waiting: WaitingStream,
}

/// A stream that waits to be opened. It counts until this value is dropped.
pub(super) struct WaitingStream {
    counts: Arc<Mutex<WaitingCounts>>,
    principal: Vec<u8>,
    address: Option<IpAddr>,
}

/// The open operations of a stream.
#[derive(Default)]
pub(super) struct OpenOperations {
    /// The number of uses of ids so far. It tells two uses of one id apart.
    uses: u64,
    pub(super) by_id: HashMap<String, (u64, watch::Sender<()>)>,
}

/// One use of an operation's id on a stream. The id is free again when this is dropped.
pub(super) struct IdUse {
    reservation: Arc<Reservation>,
    id: String,
    number: u64,
    /// Closed when the client removes the operation.
    pub(super) wanted: watch::Receiver<()>,
}

/// An open stream. Dropping this value removes the reservation.
pub(super) struct Opened {
    pub(super) reservations: Reservations,
    pub(super) token: String,
}

/// Refuses a token that names no stream of the caller.
pub(super) fn no_such_stream() -> Refused {
    Refused { status: StatusCode::NOT_FOUND, error: Error::not_found("stream", "of this token").at(TOKEN) }
}

impl Reservations {
    fn streams(&self) -> MutexGuard<'_, HashMap<String, Arc<Reservation>>> {
        lock(&self.by_token)
    }

    /// Counts a stream that waits to be opened; refuses it beyond the limits.
    pub(super) fn wait(
        &self,
        principal: Vec<u8>,
        address: Option<IpAddr>,
        settings: &StreamSettings,
    ) -> std::result::Result<WaitingStream, Refused> {
        let mut counts = lock(&self.waiting);
        let of_address = address.map(|address| counts.by_address.get(&address).copied().unwrap_or_default());
        for (count, bound, whose) in [
            (counts.in_all, settings.reservations, ""),
            (
                counts.by_principal.get(&principal).copied().unwrap_or_default(),
                settings.reservations_per_principal,
                " by an account",
            ),
            (of_address.unwrap_or_default(), settings.reservations_per_address, " from an address"),
        ] {
            if count >= bound {
                let message = format!("{bound} streams are reserved{whose} and not opened; try again");
                let error = Error::limit("socket", message, bound);
                return Err(Refused { status: StatusCode::SERVICE_UNAVAILABLE, error });
            }
        }
        counts.in_all += 1;
        *counts.by_principal.entry(principal.clone()).or_default() += 1;
        if let Some(address) = address {
            *counts.by_address.entry(address).or_default() += 1;
        }
        Ok(WaitingStream { counts: self.waiting.clone(), principal, address })
    }

    pub(super) fn reserve(
        self,
        account: Option<String>,
        waiting: WaitingStream,
        settings: &StreamSettings,
    ) -> std::result::Result<String, Refused> {
        let mut token = [0; TOKEN_BYTES];
        getrandom::fill(&mut token).map_err(|error| Error::fault("making a token", error))?;
        let token = URL_SAFE_NO_PAD.encode(token);
        let (operations, queue) = mpsc::channel(OPERATIONS_QUEUED);
        let queue = Mutex::new(Some(Queue { operations: queue, _waiting: waiting }));
        let reservation = Reservation { account, operations, queue, active: Mutex::default() };
        self.streams().insert(token.clone(), Arc::new(reservation));
        let (reservations, wait, reserved) = (self, settings.reservation_wait, token.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let mut streams = reservations.streams();
            let waiting = streams.get(&reserved).and_then(|stream| stream.take_queue());
            if waiting.is_some() {
                streams.remove(&reserved);
            }
            // The operations of the stream end here, which frees their ids.
            drop((streams, waiting));
        });
        Ok(token)
    }

    /// Finds the reservation of a token. The caller may not name another account than the one that reserved it.
    pub(super) fn find(&self, token: &str, headers: &HeaderMap) -> std::result::Result<Arc<Reservation>, Refused> {
        let named = actor(headers)?;
        let found = self.streams().get(token).cloned();
        found.filter(|found| named.is_none() || named == found.account).ok_or_else(no_such_stream)
    }
}

impl Reservation {
    pub(super) fn take_queue(&self) -> Option<Queue> {
        lock(&self.queue).take()
    }

    pub(super) fn active(&self) -> MutexGuard<'_, OpenOperations> {
        lock(&self.active)
    }

    pub(super) fn begin(self: &Arc<Self>, id: &str, bound: usize) -> std::result::Result<IdUse, Refused> {
        let mut active = self.active();
        if active.by_id.contains_key(id) {
            let error = Error::conflict(format!("the operation {id} is there already"), json!({ "operationId": id }));
            return Err(Refused { status: StatusCode::CONFLICT, error });
        }
        if active.by_id.len() >= bound {
            let message = format!("a stream carries {bound} operations at once");
            return Err(Error::limit("extensions.operationId", message, bound).into());
        }
        let (wants, wanted) = watch::channel(());
        active.uses += 1;
        let number = active.uses;
        active.by_id.insert(id.to_owned(), (number, wants));
        Ok(IdUse { reservation: self.clone(), id: id.to_owned(), number, wanted })
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code is awaited or called while the lock is held, so a poisoned value is consistent.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for WaitingStream {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        counts.in_all -= 1;
        leave(&mut counts.by_principal, &self.principal);
        if let Some(address) = &self.address {
            leave(&mut counts.by_address, address);
        }
    }
}

impl Drop for IdUse {
    fn drop(&mut self) {
        let mut active = self.reservation.active();
        if active.by_id.get(&self.id).is_some_and(|(number, _)| *number == self.number) {
            active.by_id.remove(&self.id);
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.reservations.streams().remove(&self.token);
    }
}
