//! Connections at hand: what has just answered is given to the next one who asks, without a word to the database.
//!
//! The driver's pool asks a connection whether it lives each time that it is given back: a round trip, which costs as much as to
//! read a few rows. Here a connection lies between two uses instead. It goes back to the pool, which asks it, once it has lain
//! idle, was out for long, or is in doubt.
//!
//! There are as many places as the pool has connections. Whoever asks takes a place first, and asks the pool only while nothing
//! lies here: so what lies here never keeps anybody waiting.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{self, Database};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::bounded::{Doubt, IDLE_TRUSTED, PING};
use super::interrupt::Interrupt;

/// How long a connection stays away from the pool, which ends those that are old.
const AWAY: Duration = Duration::from_secs(60);

/// The connections of one pool. Clones share them.
#[derive(Debug)]
pub(super) struct Kept<DB: Database>(Arc<Inner<DB>>);

#[derive(Debug)]
struct Inner<DB: Database> {
    pool: sqlx::Pool<DB>,
    places: Arc<Semaphore>,
    /// The one that was used last is the last.
    at_hand: Mutex<Vec<Idle<DB>>>,
    doubt: Doubt,
    /// Where connections are given back.
    runtime: Handle,
}

#[derive(Debug)]
struct Idle<DB: Database> {
    out: Out<DB>,
    since: Instant,
}

/// A connection of the pool that is not there.
#[derive(Debug)]
struct Out<DB: Database> {
    conn: PoolConnection<DB>,
    since: Instant,
    session: Session,
}

/// What a connection was told that holds beyond one use of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    /// How long a statement outside of a transaction may take (PostgreSQL).
    pub(super) statement: Option<Duration>,
    /// What it asks whether a statement is to go on (SQLite).
    pub(super) interrupt: Option<Interrupt>,
}

impl<DB: Database> Clone for Kept<DB> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<DB: Database> Kept<DB> {
    /// In front of this pool. Where a connection does not answer when it is given back, `doubt` is raised.
    pub(super) fn new(pool: sqlx::Pool<DB>, doubt: Doubt) -> Self {
        let places = Arc::new(Semaphore::new(pool.options().get_max_connections() as usize));
        Self(Arc::new(Inner { pool, places, at_hand: Mutex::default(), doubt, runtime: Handle::current() }))
    }

    /// Takes a connection; waits for a place as long as the pool lets one wait for a connection.
    pub(super) async fn take(&self) -> Result<Taken<DB>, sqlx::Error> {
        let inner = &self.0;
        let wait = inner.pool.options().get_acquire_timeout();
        let place = timeout(wait, inner.places.clone().acquire_owned()).await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        let out = match inner.last() {
            Some(out) => out,
            None => {
                let conn = inner.pool.acquire().await?;
                Out { conn, since: Instant::now(), session: Session::default() }
            }
        };
        Ok(Taken { out, kept: self.clone(), place })
    }

    /// Whether a connection can be had without waiting for another request to give one back.
    pub(super) fn has_place(&self) -> bool {
        let Inner { pool, places, .. } = &*self.0;
        let in_pool = || pool.num_idle() > 0 || pool.size() < pool.options().get_max_connections();
        places.available_permits() > 0 && (!self.0.at_hand().is_empty() || in_pool())
    }

    /// Closes every connection.
    pub(super) async fn close(&self) {
        // From here on nothing is laid down any more.
        let closed = self.0.pool.close();
        let all = std::mem::take(&mut *self.0.at_hand());
        all.into_iter().for_each(|idle| self.0.give_back(idle.out));
        closed.await;
    }
}

impl<DB: Database> Inner<DB> {
    fn at_hand(&self) -> MutexGuard<'_, Vec<Idle<DB>>> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last. The one that was used first goes back to the pool if it is not wanted.
    fn last(&self) -> Option<Out<DB>> {
        let (last, first) = {
            let mut at_hand = self.at_hand();
            let first = at_hand.first().is_some_and(|first| !self.is_trusted(first)).then(|| at_hand.remove(0));
            (at_hand.pop(), first)
        };
        if let Some(first) = first {
            self.give_back(first.out);
        }
        let last = last?;
        match self.is_trusted(&last) {
            true => Some(last.out),
            false => {
                self.give_back(last.out);
                None
            }
        }
    }

    fn is_trusted(&self, idle: &Idle<DB>) -> bool {
        let away = idle.out.since.elapsed();
        idle.since.elapsed() < IDLE_TRUSTED && away < AWAY && !self.doubt.covers(away)
    }

    fn lay_down(&self, out: Out<DB>) {
        let mut at_hand = self.at_hand();
        if self.pool.is_closed() {
            drop(at_hand);
            self.give_back(out);
        } else {
            at_hand.push(Idle { out, since: Instant::now() });
        }
    }

    /// Gives a connection back to the pool. That asks it first whether it lives, and would wait for ever for one that was cut off.
    fn give_back(&self, mut out: Out<DB>) {
        let _entered = self.runtime.enter();
        let (returned, doubt) = (out.conn.return_to_pool(), self.doubt.clone());
        self.runtime.spawn(async move {
            if timeout(PING, returned).await.is_err() {
                doubt.raise();
            }
        });
    }
}

impl<DB: Database> Drop for Inner<DB> {
    fn drop(&mut self) {
        // A connection of the pool is given back by a task, wherever it is dropped.
        let _entered = self.runtime.enter();
        self.at_hand().clear();
    }
}

/// A connection that somebody uses. Dropped, it goes back to the pool, or is closed if it was told to be.
#[derive(Debug)]
pub(super) struct Taken<DB: Database> {
    out: Out<DB>,
    kept: Kept<DB>,
    /// Given up after the connection.
    place: OwnedSemaphorePermit,
}

impl<DB: Database> Taken<DB> {
    /// What the connection was told.
    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.out.session
    }

    /// Lays the connection down for the next one who asks. It has to stand in no transaction, and must have answered just now.
    pub(super) fn lay_down(self) {
        let Self { out, kept, place } = self;
        kept.0.lay_down(out);
        drop(place);
    }

    /// Closes it as soon as it is dropped.
    pub(super) fn close_on_drop(&mut self) {
        self.out.conn.close_on_drop();
    }
}

impl<DB: Database> Deref for Taken<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.out.conn
    }
}

impl<DB: Database> DerefMut for Taken<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.out.conn
    }
}
