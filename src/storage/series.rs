//! Many commands of one caller in one transaction, one after the other.
//!
//! What holds here:
//! - in the log each command is a transaction of its own, as in a batch of the combiner: the changes are appended at the end, by the
//!   same function, so the head of the log is held for one append and one commit;
//! - nothing is committed but by [`Series::commit`], and success means that the commit is proved;
//! - a series that waits for a lock gives way (PostgreSQL): it may hold what the other one waits for.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::ConnectionTrait;

use super::batch::{self, Written};
use super::changelog::{Head, Pending, PendingCounts};
use super::{Result, Store, Tx};
use crate::domain::Error;

/// How long a series waits for a lock: well below the second after which PostgreSQL looks for a deadlock, and might end the
/// transaction of somebody else.
const LOCK_WAIT: &str = "250ms";

/// How long a series rests after its commit on SQLite, whose lock is not fair: another process asks for it after 1, 2, 5, 10, … ms, and
/// would always find it taken by the next series.
const REST: Duration = Duration::from_millis(20);

/// A transaction for many commands. It reads as a [`Tx`] does. Dropped, it is rolled back.
pub struct Series {
    store: Store,
    tx: Tx,
    /// The changes of the commands that have ended.
    done: Vec<Pending>,
}

impl Deref for Series {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl Store {
    /// Begins a transaction for many commands. Others wait for what it locks until it is committed, so it is to be short.
    pub async fn begin_series(&self) -> Result<Series> {
        Box::pin(self.make_room_if_due()).await;
        let conn = self.begin_write().await?;
        if self.is_postgres() {
            conn.execute_unprepared(&format!("SET LOCAL lock_timeout = '{LOCK_WAIT}'")).await?;
        }
        Ok(Series { store: self.clone(), tx: Tx::on(Arc::new(conn), Arc::default()), done: Vec::new() })
    }
}

impl Series {
    /// A command has ended: what was recorded since the one before it is its part of the log.
    pub async fn end_command(&mut self) {
        let pending = std::mem::take(&mut *self.tx.pending.lock().await);
        if pending.counts() != PendingCounts::default() {
            self.done.push(pending);
        }
    }

    /// Whether the command that has not ended yet has changed an incident.
    pub async fn changes_incidents(&self) -> bool {
        self.tx.pending.lock().await.incidents().next().is_some()
    }

    /// Gives the changes of all commands their places in the log, and commits. The end of the log after them.
    pub async fn commit(mut self) -> Result<Head> {
        self.end_command().await;
        let Self { store, tx, done } = self;
        let conn = Arc::into_inner(tx.reader.conn).ok_or_else(batch::held)?;
        if store.is_postgres() {
            // Whoever holds the head of the log waits for nobody but its commit.
            conn.execute_unprepared("SET LOCAL lock_timeout TO DEFAULT").await?;
        }
        let mut commands: Vec<Written> = done.into_iter().map(Written::of).collect();
        if commands.is_empty() {
            commands.push(Written::default());
        }
        let mut heads = Box::pin(store.end(conn, commands)).await?;
        if !store.is_postgres() {
            tokio::time::sleep(REST).await;
        }
        heads.pop().ok_or_else(|| Error::fault("ending a series of commands", "it has no place"))
    }

    /// Rolls back.
    pub async fn give_up(self) {
        if let Some(conn) = Arc::into_inner(self.tx.reader.conn) {
            Box::pin(conn.rollback()).await;
        }
    }
}
