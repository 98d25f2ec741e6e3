//! The commands of a transaction: where the part of each begins, what it writes later, and how its part is taken back.
//!
//! A command that joins others has a savepoint from its first statement on that writes or may fail to get a lock. Before it the rows of
//! earlier commands are sent. A command that only locks what nobody else holds, and defers what it writes, needs no savepoint: where
//! it is refused its rows are forgotten.

use super::*;
use crate::storage::deferred::{ChangedRow, NewRow, Numbers};

/// The savepoint of a command that shares its transaction with others.
const SAVEPOINT: &str = "SAVEPOINT command";
const RELEASE: &str = "RELEASE SAVEPOINT command";
const TAKE_BACK: &str = "ROLLBACK TO SAVEPOINT command";

/// How long a command that shares its transaction may wait for a lock of PostgreSQL. The transaction may hold locks that the holder
/// waits for, so it must not wait for long. Not the least bound, 1 ms: the lock under which a table's file grows is one of them, and its
/// holder may be without a processor for that long.
const LOCK_WAIT: &str = "5ms";

impl Transaction {
    fn deferred(&self) -> StdMutexGuard<'_, Deferred> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the part of one more command, whose statements may take so long each. What an earlier one did is kept; from its savepoint
    /// on no statement waits for a lock (PostgreSQL), and before it none may that could wait.
    pub(in crate::storage) async fn begin_command(&self, statement: Duration) -> Result<(), DbErr> {
        let mut held = self.held.lock().await;
        if held.too_long || held.standing != Standing::Open {
            return Err(broken());
        }
        (held.statement, held.savepoint_due) = (statement, true);
        self.deferred().begin_command();
        Ok(())
    }

    /// Whether an earlier command has begun the transaction: then this one may not wait for locks.
    pub(in crate::storage) fn is_joined(&self) -> bool {
        self.deferred().is_joined()
    }

    /// Takes back the part of a command, also after one of its statements has failed: what the earlier ones did is kept.
    pub(in crate::storage) async fn take_back_command(&self) -> Result<(), DbErr> {
        let mut held = self.held.lock().await;
        if held.savepoint_due {
            // It has sent nothing but reads. After one of them has failed there is no way back.
            if held.standing != Standing::Open {
                return Err(broken());
            }
            self.deferred().take_back_command(true);
            return Ok(());
        }
        if !held.savepoint || !matches!(held.standing, Standing::Open | Standing::Failed) {
            return Err(broken());
        }
        held.standing = Standing::Asking;
        held.too_long = false;
        self.run_in(&mut held, TAKE_BACK).await?;
        self.deferred().take_back_command(false);
        Ok(())
    }

    /// No command comes any more: what is left to do may wait for locks, and take so long a statement.
    pub(in crate::storage) async fn end_commands(&self, statement: Duration) -> Result<(), DbErr> {
        {
            let mut held = self.held.lock().await;
            held.savepoint_due = false;
            held.statement = statement;
            self.deferred().end_commands();
        }
        let mut held = self.turn_apart().await?;
        if !held.savepoint {
            held.standing = Standing::Open;
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

    /// Sends what the next statement is to find: the rows of earlier commands, the savepoint of this one where it is due, its rows.
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

    /// Sends what waits, now.
    async fn send_deferred(&self) -> Result<(), DbErr> {
        let mut held = self.turn().await?;
        held.standing = Standing::Open;
        held.interrupt.never();
        Ok(())
    }

    /// Inserts a row before the next statement that is not [`Apart`], or before the commit.
    pub(in crate::storage) async fn insert_later(&self, row: NewRow) -> Result<(), DbErr> {
        let is_full = {
            let mut deferred = self.deferred();
            deferred.insert(row);
            deferred.is_full()
        };
        if is_full { self.send_deferred().await } else { Ok(()) }
    }

    /// Changes a row that is locked, likewise.
    pub(in crate::storage) async fn change_later(&self, row: ChangedRow) -> Result<(), DbErr> {
        // In one statement a row is changed once, and a new row is not there yet.
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

    /// Whether the row of an alert of this incident waits.
    pub(in crate::storage) fn defers_alerts_of(&self, incident: sea_orm::prelude::Uuid) -> bool {
        self.deferred().holds_alerts_of(incident)
    }

    /// Whether the row of one of these incidents waits.
    pub(in crate::storage) fn defers_any(&self, incidents: &[sea_orm::prelude::Uuid]) -> bool {
        self.deferred().holds_any(incidents)
    }

    /// The next number of an incident, where their counter is locked.
    pub(in crate::storage) fn next_number(&self) -> Option<i64> {
        self.deferred().next_number()
    }

    /// The counter of incidents was locked, and this is the number in its row.
    pub(in crate::storage) fn lock_numbers(&self, stored: i64) {
        self.deferred().lock_numbers(stored);
    }

    /// The number to be stored in the counter, where others were given.
    pub(in crate::storage) fn take_number(&self) -> Option<i64> {
        self.deferred().take_number()
    }

    /// Where a part of a command begins, after its savepoint.
    pub(in crate::storage) fn numbers(&self) -> Option<Numbers> {
        self.deferred().numbers()
    }

    /// Forgets the rows that a part of a command has deferred, before its savepoint is returned to.
    pub(in crate::storage) fn take_back_part(&self, numbers: Option<Numbers>) {
        self.deferred().take_back(numbers);
    }
}

/// Has PostgreSQL end each statement of this transaction that takes longer. 0 would be no bound.
fn statement_timeout(statement: Duration) -> String {
    format!("SET LOCAL statement_timeout = {}", statement.as_millis().max(1))
}
