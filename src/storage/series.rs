//! Many commands of one caller in one transaction, one after the other.
//!
//! The rules:
//! - In the log each command is a separate transaction, as in a batch of the combiner. The changes are appended at the
//!   end by the same function, so the head of the log is locked for one append and one commit.
//! - Only [`Series::commit`] commits, and its success means that the commit is proved.
//! - On PostgreSQL a wait for a lock is bounded, because the series may hold what the lock's holder waits for.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::ConnectionTrait;

use super::batch::{self, DeferredWrites};
use super::changelog::{Pending, PendingCounts};
use super::log_head::Head;
use super::{Result, Store, Tx};
use crate::domain::Error;

/// The lock timeout of a series. It is far below one second, after which PostgreSQL looks for a deadlock and might end
/// another transaction.
const LOCK_WAIT: &str = "250ms";

/// The pause after a commit on SQLite, whose lock is not fair. Another process asks for the lock after 1, 2, 5, 10, …
/// ms, and would always find it taken by the next series.
const REST: Duration = Duration::from_millis(20);

/// A transaction for many commands. It reads as a [`Tx`] does. Dropping it rolls it back.
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
    /// Begins a transaction for many commands. It must be short, because others wait for its locks until the commit.
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
    /// Ends a command. The changes since the end of the previous command are its part of the log.
    pub async fn end_command(&mut self) {
        let pending = std::mem::take(&mut *self.tx.pending.lock().await);
        if pending.counts() != PendingCounts::default() {
            self.done.push(pending);
        }
    }

    /// Whether the current command has changed an incident.
    pub async fn changes_incidents(&self) -> bool {
        self.tx.pending.lock().await.incidents().next().is_some()
    }

    /// Appends the changes of all commands to the log, and commits. Returns the end of the log.
    pub async fn commit(mut self) -> Result<Head> {
        self.end_command().await;
        let Self { store, tx, done } = self;
        let conn = Arc::into_inner(tx.reader.conn).ok_or_else(batch::held)?;
        if store.is_postgres() {
            // The holder of the log's head waits only for its own commit.
            conn.execute_unprepared("SET LOCAL lock_timeout TO DEFAULT").await?;
        }
        let mut commands: Vec<DeferredWrites> = done.into_iter().map(DeferredWrites::of).collect();
        if commands.is_empty() {
            commands.push(DeferredWrites::default());
        }
        let mut heads = Box::pin(store.end(conn, commands)).await?;
        if !store.is_postgres() {
            tokio::time::sleep(REST).await;
        }
        heads.pop().ok_or_else(|| Error::fault("ending a series of commands", "it has no place"))
    }

    /// Rolls the transaction back.
    pub async fn give_up(self) {
        if let Some(conn) = Arc::into_inner(self.tx.reader.conn) {
            Box::pin(conn.rollback()).await;
        }
    }
}
