//! The commands of a transaction: where the part of each command begins, which rows it defers, and how its part is
//! taken back.
//!
//! A command that joins a shared transaction sets a savepoint before its first statement that writes or may fail to get
//! a lock; earlier commands' deferred rows are sent before it. A command that only takes free locks and defers its rows
//! needs no savepoint: if it is refused, its rows are forgotten.

use super::*;
use crate::storage::ahead::Ahead;
use crate::storage::deferred::{ChangedRow, LockedCounter, NewRow};

/// The savepoint of a command that shares its transaction with others.
const SAVEPOINT: &str = "SAVEPOINT command";
const RELEASE: &str = "RELEASE SAVEPOINT command";
const TAKE_BACK: &str = "ROLLBACK TO SAVEPOINT command";

/// The lock timeout of a command in a shared transaction (PostgreSQL). It is short, because the lock's holder may wait
/// for this transaction. It is more than the minimum, 1 ms, because the holder of the lock that extends a table's file
/// may get no processor for that long.
const LOCK_WAIT: &str = "5ms";

impl Transaction {
    fn deferred(&self) -> SyncMutexGuard<'_, Deferred> {
        self.deferred.lock()
    }

    /// Returns the rows that were locked and read ahead.
    pub(in crate::storage) fn ahead(&self) -> SyncMutexGuard<'_, Ahead> {
        self.ahead.lock()
    }

    /// Begins the part of a further command, with this statement timeout; earlier work is kept. From its savepoint on
    /// waits for locks are bounded (PostgreSQL). Before the savepoint no statement may wait for a lock.
    pub(in crate::storage) async fn begin_command(&self, statement: Duration) -> Result<(), DbErr> {
        let mut held = self.held.lock().await;
        if held.too_long || held.standing != ConnectionState::Open {
            return Err(broken());
        }
        (held.statement, held.savepoint_due) = (statement, true);
        self.deferred().begin_command();
        Ok(())
    }

    /// Whether an earlier command began the transaction. If so, this command must not wait for locks.
    pub(in crate::storage) fn is_joined(&self) -> bool {
        self.deferred().is_joined()
    }

    /// Takes back the part of the current command, even after a failed statement. The work of earlier commands is kept.
    pub(in crate::storage) async fn take_back_command(&self) -> Result<(), DbErr> {
        let mut held = self.held.lock().await;
        if held.savepoint_due {
            // The command has only sent reads. After a failed read there is no savepoint to return to.
            if held.standing != ConnectionState::Open {
                return Err(broken());
            }
            self.deferred().take_back_command(true);
            return Ok(());
        }
        if !held.savepoint || !matches!(held.standing, ConnectionState::Open | ConnectionState::Failed) {
            return Err(broken());
        }
        held.standing = ConnectionState::Asking;
        held.too_long = false;
        self.run_in(&mut held, TAKE_BACK).await?;
        self.deferred().take_back_command(false);
        Ok(())
    }

    /// Ends the last command. Remaining statements may wait for locks, with this timeout.
    pub(in crate::storage) async fn end_commands(&self, statement: Duration) -> Result<(), DbErr> {
        {
            let mut held = self.held.lock().await;
            held.savepoint_due = false;
            held.statement = statement;
            self.deferred().end_commands();
        }
        let mut held = self.turn_apart().await?;
        if !held.savepoint {
            held.standing = ConnectionState::Open;
            held.interrupt.never();
            return Ok(());
        }
        let sql = match self.backend {
            DbBackend::Postgres => {
                format!("{RELEASE}; {}; SET LOCAL lock_timeout TO DEFAULT", statement_timeout(statement))
            }
            _ => RELEASE.to_owned(),
        };
        self.run_in(&mut held, &sql).await?;
        held.savepoint = false;
        Ok(())
    }

    /// Sends what must precede the next statement: earlier commands' rows, this command's savepoint if it is due, and
    /// its rows.
    pub(super) async fn settle(&self, held: &mut Held) -> Result<(), DbErr> {
        if !held.savepoint_due && self.deferred().is_empty() {
            return Ok(());
        }
        let earlier = self.deferred().take_earlier(self.backend);
        for statement in &earlier {
            held.ask();
            self.execute_in(held, statement).await?;
        }
        if held.savepoint_due {
            let release = if held.savepoint { format!("{RELEASE}; ") } else { String::new() };
            let settings = match self.backend {
                DbBackend::Postgres => {
                    format!("; {}; SET LOCAL lock_timeout = '{LOCK_WAIT}'", statement_timeout(held.statement))
                }
                _ => String::new(),
            };
            held.ask();
            self.run_in(held, &format!("{release}{SAVEPOINT}{settings}")).await?;
            (held.savepoint, held.savepoint_due) = (true, false);
        }
        let own = self.deferred().take_own(self.backend);
        for statement in &own {
            held.ask();
            self.execute_in(held, statement).await?;
        }
        held.ask();
        Ok(())
    }

    /// Sends the deferred rows now.
    async fn send_deferred(&self) -> Result<(), DbErr> {
        let mut held = self.turn().await?;
        held.standing = ConnectionState::Open;
        held.interrupt.never();
        Ok(())
    }

    /// Defers an insert until the next statement that is not [`Apart`], or until the commit.
    pub(in crate::storage) async fn insert_later(&self, row: NewRow) -> Result<(), DbErr> {
        let is_full = {
            let mut deferred = self.deferred();
            deferred.insert(row);
            deferred.is_full()
        };
        if is_full { self.send_deferred().await } else { Ok(()) }
    }

    /// Defers a change of a locked row, as [`Self::insert_later`] does.
    pub(in crate::storage) async fn change_later(&self, row: ChangedRow) -> Result<(), DbErr> {
        // One statement changes a row only once, and not a row that is still to be inserted.
        if self.deferred().holds(row.row()) {
            self.send_deferred().await?;
        }
        let is_full = {
            let mut deferred = self.deferred();
            deferred.change(row);
            deferred.is_full()
        };
        if is_full { self.send_deferred().await } else { Ok(()) }
    }

    /// Whether the row of an alert of this incident is deferred.
    pub(in crate::storage) fn defers_alerts_of(&self, incident: sea_orm::prelude::Uuid) -> bool {
        self.deferred().holds_alerts_of(incident)
    }

    /// Whether the row of one of these incidents is deferred.
    pub(in crate::storage) fn defers_any(&self, incidents: &[sea_orm::prelude::Uuid]) -> bool {
        self.deferred().holds_any(incidents)
    }

    /// Returns the next incident number if this transaction has locked the counter.
    pub(in crate::storage) fn next_number(&self) -> Option<i64> {
        self.deferred().next_number()
    }

    /// Notes that the counter of incident numbers is locked, and the number in its row.
    pub(in crate::storage) fn lock_numbers(&self, stored: i64) {
        self.deferred().lock_numbers(stored);
    }

    /// Returns the number to store in the counter if numbers were given since the counter was stored.
    pub(in crate::storage) fn take_number(&self) -> Option<i64> {
        self.deferred().take_number()
    }

    /// Returns the counter's state, to which [`Self::take_back_part`] returns.
    pub(in crate::storage) fn numbers(&self) -> Option<LockedCounter> {
        self.deferred().numbers()
    }

    /// Forgets the rows that a part deferred, before the rollback to its savepoint.
    pub(in crate::storage) fn take_back_part(&self, numbers: Option<LockedCounter>) {
        self.deferred().take_back(numbers);
    }
}

/// Sets PostgreSQL's statement timeout for this transaction. It is at least 1 ms, because 0 would mean no timeout.
fn statement_timeout(statement: Duration) -> String {
    format!("SET LOCAL statement_timeout = {}", statement.as_millis().max(1))
}
