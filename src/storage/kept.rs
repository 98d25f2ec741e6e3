//! A cache of connections that have just answered. The next request gets such a connection without a message to the
//! database.
//!
//! The driver's pool pings a connection each time it is returned: a round trip, as expensive as reading a few rows.
//! This cache keeps it between two uses instead. A connection returns to the pool, which pings it, after it was idle or
//! away for too long, or when it is suspect.
//!
//! There are as many permits as the pool has connections. A request takes a permit first, and asks the pool only if the
//! cache is empty. So a cached connection never makes a request wait.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{self, Database};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::bounded::{Doubt, IDLE_TRUSTED, PING};
use super::interrupt::Interrupt;

/// How long a connection may stay away from the pool, which ends old connections.
const AWAY: Duration = Duration::from_secs(60);

/// The connections of one pool, with the cache in front. Clones share them.
#[derive(Debug)]
pub(super) struct KeptConnections<DB: Database>(Arc<KeptInner<DB>>);

#[derive(Debug)]
struct KeptInner<DB: Database> {
    pool: sqlx::Pool<DB>,
    places: Arc<Semaphore>,
    /// Cached connections; the last was used most recently.
    at_hand: Mutex<Vec<Idle<DB>>>,
    doubt: Doubt,
    /// The runtime whose tasks return connections to the pool.
    runtime: Handle,
}

#[derive(Debug)]
struct Idle<DB: Database> {
    out: Out<DB>,
    since: Instant,
}

/// A connection that is out of the pool.
#[derive(Debug)]
struct Out<DB: Database> {
    conn: PoolConnection<DB>,
    since: Instant,
    session: Session,
}

/// Settings of a session that outlast one use of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    /// The statement timeout outside a transaction (PostgreSQL).
    pub(super) statement: Option<Duration>,
    /// The interrupt that its progress handler checks (SQLite).
    pub(super) interrupt: Option<Interrupt>,
}

impl<DB: Database> Clone for KeptConnections<DB> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<DB: Database> KeptConnections<DB> {
    /// Wraps a pool. If a connection does not answer while it is returned, `doubt` is raised.
    pub(super) fn new(pool: sqlx::Pool<DB>, doubt: Doubt) -> Self {
        let places = Arc::new(Semaphore::new(pool.options().get_max_connections() as usize));
        Self(Arc::new(KeptInner { pool, places, at_hand: Mutex::default(), doubt, runtime: Handle::current() }))
    }

    /// Takes a connection. Waits for a permit up to the pool's acquire timeout.
    pub(super) async fn take(&self) -> Result<TakenConnection<DB>, sqlx::Error> {
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
        Ok(TakenConnection { out, kept: self.clone(), place })
    }

    /// Whether a connection is available without waiting for another request to return one.
    pub(super) fn has_place(&self) -> bool {
        let KeptInner { pool, places, .. } = &*self.0;
        let in_pool = || pool.num_idle() > 0 || pool.size() < pool.options().get_max_connections();
        places.available_permits() > 0 && (!self.0.at_hand().is_empty() || in_pool())
    }

    /// Closes every connection.
    pub(super) async fn close(&self) {
        // From here on no connection is cached.
        let closed = self.0.pool.close();
        let all = std::mem::take(&mut *self.0.at_hand());
        all.into_iter().for_each(|idle| self.0.give_back(idle.out));
        closed.await;
    }
}

impl<DB: Database> KeptInner<DB> {
    fn at_hand(&self) -> MutexGuard<'_, Vec<Idle<DB>>> {
        self.at_hand.lock()
    }

    /// Takes the most recently used connection. The least recently used returns to the pool if it is no longer trusted.
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
        if self.is_trusted(&last) {
            Some(last.out)
        } else {
            self.give_back(last.out);
            None
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

    /// Returns a connection to the pool, which pings it first and would wait for ever for a dead connection.
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

impl<DB: Database> Drop for KeptInner<DB> {
    fn drop(&mut self) {
        // A task returns a dropped connection to the pool, on whatever thread it is dropped.
        let _entered = self.runtime.enter();
        self.at_hand().clear();
    }
}

/// A connection in use. Dropping it returns it to the pool, or closes it if [`Self::close_on_drop`] was called.
#[derive(Debug)]
pub(super) struct TakenConnection<DB: Database> {
    out: Out<DB>,
    kept: KeptConnections<DB>,
    /// The permit, which is dropped after the connection.
    place: OwnedSemaphorePermit,
}

impl<DB: Database> TakenConnection<DB> {
    /// Returns the settings of the session.
    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.out.session
    }

    /// Puts the connection into the cache. It must be in no transaction, and must have answered just now.
    pub(super) fn lay_down(self) {
        let Self { out, kept, place } = self;
        kept.0.lay_down(out);
        drop(place);
    }

    /// Makes the drop of the connection close it.
    pub(super) fn close_on_drop(&mut self) {
        self.out.conn.close_on_drop();
    }
}

impl<DB: Database> Deref for TakenConnection<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.out.conn
    }
}

impl<DB: Database> DerefMut for TakenConnection<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.out.conn
    }
}
