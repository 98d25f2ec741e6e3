//! One transaction on one connection, from BEGIN to its end. The only folder that takes connections and gives them back.
//!
//! What holds here, on both databases:
//! - A connection is given to others only when the database has answered COMMIT or ROLLBACK with success: then it stands in
//!   no transaction. Any other connection is closed: a BEGIN, COMMIT or ROLLBACK that failed, a statement that was left in the
//!   middle, an error at which SQLite rolls back by itself.
//! - BEGIN is sent as it is written, never a savepoint in its place: both databases refuse or report it inside of a transaction.
//! - After a statement has failed, the transaction takes no other statement and is never committed. SQLite may have rolled
//!   back, and would do each further statement for good, by itself.

mod commands;
mod conn;
mod pool;

use std::sync::{Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError};
use std::time::Duration;

use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement, sqlx};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};
use tracing::debug;

use self::conn::Conn;
pub(super) use self::pool::Pool;
use super::Watch;
use super::bounded::{Doubt, PING};
use super::deferred::Deferred;
use super::fault;
use super::interrupt::{Interrupt, TooLong};
use super::trouble::Trouble;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One snapshot.
    Read,
    /// One statement, which is its own snapshot: nothing begins, and nothing has to be ended.
    Ask,
    /// The same for the desk's own reads of few rows, which nobody interrupts: on SQLite, to be interrupted takes a message more.
    Follow,
    /// Writes; on SQLite it holds the write lock from its start, as a transaction that reads first may find that it cannot write
    /// any more.
    Write,
}

/// A transaction that has begun.
pub(super) struct Begun {
    held: Held,
    transaction: Option<String>,
}

/// How a transaction is watched over.
#[derive(Clone, Default)]
pub(super) struct Care {
    /// Whether the transaction writes.
    pub(super) writes: bool,
    /// How long each answer may take (PostgreSQL); on SQLite there is nothing to be cut off from.
    pub(super) bound: Option<(Duration, Doubt)>,
    /// Is told of each statement.
    pub(super) watch: Option<Watch>,
    /// Is told why writes fail; transactions that read have none.
    pub(super) trouble: Option<Trouble>,
}

impl Begun {
    pub(super) fn under(mut self, backend: DbBackend, care: Care) -> Transaction {
        self.held.doubt = care.bound.as_ref().map(|(_, doubt)| doubt.clone());
        Transaction {
            held: Mutex::new(self.held),
            deferred: StdMutex::default(),
            backend,
            transaction: self.transaction,
            care,
        }
    }
}

/// A transaction: statements take turns on its connection, and each is sent after the rows that wait ([`Deferred`]). Dropped, it is
/// rolled back.
pub(super) struct Transaction {
    held: Mutex<Held>,
    deferred: StdMutex<Deferred>,
    backend: DbBackend,
    transaction: Option<String>,
    care: Care,
}

/// Why a transaction was not committed, or may not have been.
pub(super) enum Unsaved {
    /// Nothing was changed.
    Nothing(DbErr),
    /// Nothing was changed: COMMIT was answered without an error, and yet the transaction was rolled back.
    TakenBack,
    /// The answer to COMMIT is missing, or says nothing of what became of it.
    Unknown(DbErr),
}

impl Transaction {
    /// PostgreSQL's id of a transaction that writes.
    pub(super) fn id(&self) -> Option<String> {
        self.transaction.clone()
    }

    /// Commits. Success is proved: on SQLite only a COMMIT that ended this very transaction succeeds, on PostgreSQL the
    /// transaction's own status says so, as a COMMIT of an aborted transaction is no error there.
    pub(super) async fn commit(self) -> Result<(), Unsaved> {
        let mut held = self.held.into_inner();
        let deferred = self.deferred.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Rows that still wait would be lost.
        if held.standing != Standing::Open || !deferred.is_empty() {
            return Err(Unsaved::Nothing(broken()));
        }
        held.standing = Standing::Asking;
        let conn = held.conn().map_err(Unsaved::Nothing)?;
        match bounded(&self.care, conn.commit(self.transaction.as_deref())).await {
            Ok(true) => {
                held.standing = Standing::Ended;
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
                match fault::is_refused_commit(&error) {
                    true => Err(Unsaved::Nothing(error)),
                    false => Err(Unsaved::Unknown(error)),
                }
            }
        }
    }

    /// Copies rows into a table of PostgreSQL: `sql` is a COPY from the client. Where it fails its connection is closed: whether the
    /// server still waits for rows on it is not known.
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

    /// A statement's turn, once the rows that wait are sent.
    async fn turn(&self) -> Result<MutexGuard<'_, Held>, DbErr> {
        let mut held = self.turn_apart().await?;
        self.settle(&mut held).await?;
        Ok(held)
    }

    /// The turn of a statement that has nothing to do with the rows that wait: until [`Self::answered`] the connection's state is not
    /// known.
    async fn turn_apart(&self) -> Result<MutexGuard<'_, Held>, DbErr> {
        let mut held = self.held.lock().await;
        if held.too_long {
            return Err(self.too_long(&held));
        }
        if held.standing != Standing::Open {
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
            Ok(_) if held.once => Standing::Ended,
            Ok(_) => Standing::Open,
            Err(error) if fault::leaves_transaction(error) => Standing::Failed,
            Err(_) => Standing::Asking,
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

/// A transaction for statements that have nothing to do with the tables whose rows may wait: they are sent at once, before such rows.
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

/// What is known of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It stands in a transaction whose every statement succeeded.
    Open,
    /// It was asked something, and has not answered; or answered so that its state is not known.
    Asking,
    /// It stands in a transaction of which a statement failed: only ROLLBACK is left.
    Failed,
    /// It stands in no transaction.
    Ended,
}

/// A connection, and what is known of it. Dropped, it is given back where its state is known, else closed.
struct Held {
    conn: Option<Conn>,
    standing: Standing,
    doubt: Option<Doubt>,
    /// Ends what runs on it (SQLite).
    interrupt: Interrupt,
    /// How long a statement may take.
    statement: Duration,
    /// Whether the savepoint of a command stands.
    savepoint: bool,
    /// Whether the savepoint of the command that is at work is still to be set.
    savepoint_due: bool,
    /// Whether a statement of it took too long: then that is the answer to each further one.
    too_long: bool,
    /// Whether it is for one statement, outside of a transaction.
    once: bool,
}

impl Held {
    fn new(conn: Conn, statement: Duration) -> Self {
        Self {
            conn: Some(conn),
            standing: Standing::Asking,
            doubt: None,
            interrupt: Interrupt::new(),
            statement,
            savepoint: false,
            savepoint_due: false,
            too_long: false,
            once: false,
        }
    }

    /// A statement is sent from here on.
    fn ask(&mut self) {
        self.standing = Standing::Asking;
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
        if !matches!(self.standing, Standing::Open | Standing::Failed) {
            return;
        }
        self.standing = Standing::Asking;
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
            Ok(_) => self.standing = Standing::Ended,
            Err(error) => debug!(%error, "a connection that cannot roll back is closed"),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        if self.standing == Standing::Asking {
            self.interrupt.now();
        }
        match (self.standing, Handle::try_current()) {
            (Standing::Ended, _) => conn.lay_down(),
            (Standing::Open, _) if self.once => conn.lay_down(),
            (Standing::Open | Standing::Failed, Ok(runtime)) => {
                // A runtime that ends drops the task at once: the connection is closed then, not given to yet another task.
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

/// What is answered to a question that is asked of a transaction after one of its statements failed.
fn broken() -> DbErr {
    DbErr::Conn(RuntimeErr::Internal("a statement of this transaction has failed: it is never committed".to_owned()))
}
