//! A transaction on one connection, from BEGIN to its end. Only this folder takes connections and gives them back.
//!
//! The rules, on both databases:
//! - A connection is reused only after the database has answered COMMIT or ROLLBACK with success: then it is in no
//!   transaction. Any other connection is closed: after a failed BEGIN, COMMIT or ROLLBACK, after a statement without
//!   an answer, after an error at which SQLite rolls back by itself.
//! - BEGIN is sent as written, never replaced by a savepoint: inside a transaction both databases refuse or report
//!   BEGIN.
//! - After a failed statement the transaction takes no further statement and never commits. SQLite may have rolled
//!   back, and would then commit each further statement by itself.

mod commands;
mod conn;
mod pool;

use std::time::Duration;

use parking_lot::{Mutex as SyncMutex, MutexGuard as SyncMutexGuard};
use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement, sqlx};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};
use tracing::debug;

use self::conn::Conn;
pub(super) use self::pool::Pool;
use super::Watch;
use super::ahead::Ahead;
use super::bounded::{Doubt, PING};
use super::deferred::Deferred;
use super::fault;
use super::interrupt::{Interrupt, TooLong};
use super::trouble::Trouble;

/// The purpose of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reads from one snapshot.
    Read,
    /// Reads with one statement, which is its own snapshot: there is no BEGIN and no end.
    Ask,
    /// Reads like `Ask`, for the desk's own short reads. On PostgreSQL it keeps the session's statement timeout as it
    /// is.
    Follow,
    /// Writes. On SQLite it takes the write lock at its start, because a transaction that begins with a read may be
    /// unable to write later.
    Write,
}

/// A connection on which BEGIN has succeeded, and PostgreSQL's id of a transaction that writes.
pub(super) struct BegunTransaction {
    held: Held,
    transaction: Option<String>,
}

/// The deadline and the observers of a transaction.
#[derive(Clone, Default)]
pub(super) struct Care {
    /// Whether the transaction writes.
    pub(super) writes: bool,
    /// The deadline of each answer (PostgreSQL). SQLite has none, because its connection cannot be cut off.
    pub(super) bound: Option<(Duration, Doubt)>,
    /// Gets each statement after its answer.
    pub(super) watch: Option<Watch>,
    /// Records why writes fail. Transactions that read have none.
    pub(super) trouble: Option<Trouble>,
}

impl BegunTransaction {
    pub(super) fn under(mut self, backend: DbBackend, care: Care) -> Transaction {
        self.held.doubt = care.bound.as_ref().map(|(_, doubt)| doubt.clone());
        Transaction {
            held: Mutex::new(self.held),
            deferred: SyncMutex::default(),
            ahead: SyncMutex::default(),
            backend,
            transaction: self.transaction,
            care,
        }
    }
}

/// A transaction. Its statements take turns on the connection, and each is sent after the deferred rows ([`Deferred`]).
/// Dropping it rolls it back.
pub(super) struct Transaction {
    held: Mutex<Held>,
    deferred: SyncMutex<Deferred>,
    ahead: SyncMutex<Ahead>,
    backend: DbBackend,
    transaction: Option<String>,
    care: Care,
}

/// The reason why a transaction was not committed, or may not have been committed.
pub(super) enum Unsaved {
    /// Nothing was changed.
    Nothing(DbErr),
    /// Nothing was changed: the database answered COMMIT without an error, but rolled the transaction back.
    TakenBack,
    /// The commit may be done or not: its answer is missing, or does not tell.
    Unknown(DbErr),
}

impl Transaction {
    /// Returns PostgreSQL's id of a transaction that writes.
    pub(super) fn id(&self) -> Option<String> {
        self.transaction.clone()
    }

    /// Commits. Success is proved: on SQLite a COMMIT succeeds only if it ended this very transaction. On PostgreSQL
    /// the status of the transaction is read, because a COMMIT of an aborted transaction is no error.
    pub(super) async fn commit(self) -> Result<(), Unsaved> {
        let mut held = self.held.into_inner();
        let deferred = self.deferred.into_inner();
        // Deferred rows would be lost.
        if held.standing != ConnectionState::Open || !deferred.is_empty() {
            return Err(Unsaved::Nothing(broken()));
        }
        held.standing = ConnectionState::Asking;
        let conn = held.conn().map_err(Unsaved::Nothing)?;
        match bounded(&self.care, conn.commit(self.transaction.as_deref())).await {
            Ok(true) => {
                held.standing = ConnectionState::Ended;
                if let Some(trouble) = &self.care.trouble {
                    trouble.clear();
                }
                Ok(())
            }
            Ok(false) => Err(Unsaved::TakenBack),
            Err(error) => {
                if let Some(trouble) = &self.care.trouble {
                    trouble.note(&error);
                }
                if fault::is_refused_commit(&error) {
                    Err(Unsaved::Nothing(error))
                } else {
                    Err(Unsaved::Unknown(error))
                }
            }
        }
    }

    /// Copies rows into a table of PostgreSQL; `sql` is a COPY from the client. After a failure the connection is
    /// closed, because the server may still wait for rows.
    pub(super) async fn copy_in(&self, sql: &str, data: &[u8]) -> Result<(), DbErr> {
        let mut held = self.turn().await?;
        bounded(&self.care, held.conn()?.copy_in(sql, data)).await?;
        self.answered(&mut held, None, Ok(()))
    }

    async fn run_in(&self, held: &mut Held, sql: &str) -> Result<ExecResult, DbErr> {
        let answer = bounded(&self.care, held.conn()?.run(sql)).await;
        self.answered(held, None, answer)
    }

    async fn execute_in(&self, held: &mut Held, statement: &Statement) -> Result<ExecResult, DbErr> {
        let answer = bounded(&self.care, held.conn()?.execute(statement)).await;
        self.answered(held, Some(statement), answer)
    }

    async fn one_in(&self, held: &mut Held, statement: &Statement) -> Result<Option<QueryResult>, DbErr> {
        let answer = bounded(&self.care, held.conn()?.one(statement)).await;
        self.answered(held, Some(statement), answer)
    }

    async fn all_in(&self, held: &mut Held, statement: &Statement) -> Result<Vec<QueryResult>, DbErr> {
        let answer = bounded(&self.care, held.conn()?.all(statement)).await;
        self.answered(held, Some(statement), answer)
    }

    /// Rolls back.
    pub(super) async fn rollback(self) {
        self.held.into_inner().rollback().await;
    }

    /// Waits for the connection, and sends the deferred rows before the caller's statement.
    async fn turn(&self) -> Result<MutexGuard<'_, Held>, DbErr> {
        let mut held = self.turn_apart().await?;
        self.ahead().forget_alerts();
        self.settle(&mut held).await?;
        Ok(held)
    }

    /// Waits for the connection, for a statement that does not depend on deferred rows. The state of the connection is
    /// unknown until [`Self::answered`].
    async fn turn_apart(&self) -> Result<MutexGuard<'_, Held>, DbErr> {
        let mut held = self.held.lock().await;
        if held.too_long {
            return Err(self.too_long(&held));
        }
        if held.standing != ConnectionState::Open {
            return Err(broken());
        }
        held.ask();
        Ok(held)
    }

    fn too_long(&self, held: &Held) -> DbErr {
        TooLong { time: held.statement, writes: self.care.writes }.into()
    }

    fn answered<T>(
        &self,
        held: &mut Held,
        statement: Option<&Statement>,
        answer: Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        held.interrupt.never();
        held.standing = match &answer {
            Ok(_) if held.once => ConnectionState::Ended,
            Ok(_) => ConnectionState::Open,
            Err(error) if fault::leaves_transaction(error) => ConnectionState::Failed,
            Err(_) => ConnectionState::Asking,
        };
        if let (Some(trouble), Err(error)) = (&self.care.trouble, &answer) {
            trouble.note(error);
        }
        if let (Some(watch), Some(statement)) = (&self.care.watch, statement) {
            watch(statement);
        }
        match answer {
            Err(error) if fault::is_interrupted(&error) => {
                debug!(%error, "a statement took too long");
                held.too_long = true;
                Err(self.too_long(held))
            }
            answer => answer,
        }
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.execute_in(&mut *self.turn().await?, &statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.run_in(&mut *self.turn().await?, sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.one_in(&mut *self.turn().await?, &statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.all_in(&mut *self.turn().await?, &statement).await
    }
}

/// A transaction for statements that use no table with deferred rows. They are sent at once, before the deferred rows.
pub(super) struct Apart<'a>(pub(super) &'a Transaction);

#[async_trait]
impl ConnectionTrait for Apart<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.0.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.0.execute_in(&mut *self.0.turn_apart().await?, &statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.0.run_in(&mut *self.0.turn_apart().await?, sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.0.one_in(&mut *self.0.turn_apart().await?, &statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.0.all_in(&mut *self.0.turn_apart().await?, &statement).await
    }
}

/// The known state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    /// The connection is in a transaction, and every statement of it succeeded.
    Open,
    /// The connection has not answered yet, or its answer leaves its state unknown.
    Asking,
    /// The connection is in a transaction with a failed statement: only ROLLBACK is possible.
    Failed,
    /// The connection is in no transaction.
    Ended,
}

/// A connection and its known state. Dropping it gives the connection back if the state allows it, and closes it
/// otherwise.
struct Held {
    conn: Option<Conn>,
    standing: ConnectionState,
    doubt: Option<Doubt>,
    /// Interrupts the running statement (SQLite).
    interrupt: Interrupt,
    /// The statement timeout.
    statement: Duration,
    /// Whether the savepoint of a command is set.
    savepoint: bool,
    /// Whether the savepoint of the current command is still to be set.
    savepoint_due: bool,
    /// Whether a statement exceeded its timeout. Every further statement then gets the same error.
    too_long: bool,
    /// Whether the connection serves one statement outside a transaction.
    once: bool,
}

impl Held {
    fn new(conn: Conn, statement: Duration) -> Self {
        Self {
            conn: Some(conn),
            standing: ConnectionState::Asking,
            doubt: None,
            interrupt: Interrupt::new(),
            statement,
            savepoint: false,
            savepoint_due: false,
            too_long: false,
            once: false,
        }
    }

    /// Marks the connection as busy, and starts the timeout of the statement.
    fn ask(&mut self) {
        self.standing = ConnectionState::Asking;
        self.interrupt.after(self.statement);
    }

    fn conn(&mut self) -> Result<&mut Conn, DbErr> {
        self.conn.as_mut().ok_or_else(broken)
    }

    async fn heed(&mut self) -> Result<(), DbErr> {
        let interrupt = self.interrupt.clone();
        self.interrupt = self.conn()?.heed(interrupt).await.map_err(asked)?;
        Ok(())
    }

    async fn rollback(mut self) {
        if !matches!(self.standing, ConnectionState::Open | ConnectionState::Failed) {
            return;
        }
        self.standing = ConnectionState::Asking;
        self.end().await;
    }

    async fn end(mut self) {
        let Some(conn) = &mut self.conn else { return };
        let rolled_back = conn.run("ROLLBACK");
        let answer = match &self.doubt {
            None => rolled_back.await,
            Some(doubt) => doubt.bound(PING, rolled_back).await,
        };
        match answer {
            Ok(_) => self.standing = ConnectionState::Ended,
            Err(error) => debug!(%error, "a connection that cannot roll back is closed"),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        if self.standing == ConnectionState::Asking {
            self.interrupt.now();
        }
        match (self.standing, Handle::try_current()) {
            (ConnectionState::Ended, _) => conn.lay_down(),
            (ConnectionState::Open, _) if self.once => conn.lay_down(),
            (ConnectionState::Open | ConnectionState::Failed, Ok(runtime)) => {
                // A runtime that shuts down drops this task at once. The connection is then closed, not given to
                // another task.
                let mut held = Self::new(conn, self.statement);
                (held.doubt, held.interrupt, held.once) = (self.doubt.take(), self.interrupt.clone(), self.once);
                runtime.spawn(held.end());
            }
            _ => conn.close_on_drop(),
        }
    }
}

async fn bounded<T>(care: &Care, answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    match &care.bound {
        None => answer.await,
        Some((bound, doubt)) => doubt.bound(*bound, answer).await,
    }
}

fn asked(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

/// Returns the error for a statement that is sent after a statement of the transaction has failed.
fn broken() -> DbErr {
    DbErr::Conn(RuntimeErr::Internal("a statement of this transaction has failed: it is never committed".to_owned()))
}
