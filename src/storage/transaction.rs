//! One transaction on one connection, from BEGIN to its end. The only file that takes connections from a pool and gives
//! them back.
//!
//! What holds here, on both databases:
//! - A connection goes back to its pool only when the database has answered COMMIT or ROLLBACK with success: then it stands in
//!   no transaction. Any other connection is closed: a BEGIN, COMMIT or ROLLBACK that failed, a statement that was left in the
//!   middle, an error at which SQLite rolls back by itself.
//! - BEGIN is sent as it is written, never a savepoint in its place: both databases refuse or report it inside of a transaction.
//! - After a statement has failed, the transaction takes no other statement and is never committed. SQLite may have rolled
//!   back, and would do each further statement for good, by itself.

use std::time::Duration;

use sea_orm::prelude::async_trait::async_trait;
use sea_orm::sea_query::Values;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{self, AssertSqlSafe, PgPool, Postgres, Row, Sqlite, SqlitePool};
use sea_orm::{ConnAcquireErr, ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;
use tracing::debug;

use super::Watch;
use super::bounded::{Doubt, PING};
use super::fault;
use super::interrupt::{Interrupt, STEPS, TooLong};
use super::trouble::Trouble;

/// Begins a transaction of PostgreSQL that writes, and answers with its id, by which [`STATUS`] finds its outcome.
///
/// A server, database or role may be set to `synchronous_commit = off`, where a crash loses commits that were acknowledged.
/// Such a transaction commits with `on`; every other setting (`local`, `remote_apply`, …) is the operator's choice and stays.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
    SELECT pg_current_xact_id()::text, set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)";

/// Begins a transaction of PostgreSQL that sees one snapshot.
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// All tables (`0x10000`), also those that this connection has not read; with a limit (`0x10`); analysed where that may help (`0x2`).
const OPTIMIZE: &str = "PRAGMA optimize = 0x10012";

/// The savepoint of a command that shares its transaction with others.
const SAVEPOINT: &str = "SAVEPOINT command";
const RELEASE: &str = "RELEASE SAVEPOINT command";
const TAKE_BACK: &str = "ROLLBACK TO SAVEPOINT command";

/// How long a command that shares its transaction may wait for a lock of PostgreSQL. The transaction may hold locks that the holder
/// waits for, so it must not wait for long. Not the least bound, 1 ms: the lock under which a table's file grows is one of them, and its
/// holder may be without a processor for that long.
const LOCK_WAIT: &str = "5ms";

/// Bytes of one message of a COPY: the driver keeps a copy of the message that it sends.
const COPY_BYTES: usize = 256 << 10;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One snapshot.
    Read,
    /// One statement, which is its own snapshot: nothing begins, and nothing has to be ended.
    Ask,
    /// Writes; on SQLite it holds the write lock from its start, as a transaction that reads first may find that it cannot write
    /// any more.
    Write,
}

/// The connections to one database.
#[derive(Clone, Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    async fn take(&self) -> Result<Conn, DbErr> {
        match self {
            Self::Sqlite(pool) => pool.acquire().await.map(Conn::Sqlite).map_err(not_taken),
            Self::Postgres(pool) => pool.acquire().await.map(Conn::Postgres).map_err(not_taken),
        }
    }

    /// Takes a connection and begins on it. Dropped before its end, it leaves no connection behind that stands in a transaction.
    /// PostgreSQL is told how long a statement of it may take.
    pub(super) async fn begin(&self, purpose: Purpose, statement: Duration) -> Result<Begun, DbErr> {
        let mut held = Held::new(self.take().await?, statement);
        held.once = purpose == Purpose::Ask;
        let interrupt = held.interrupt.clone();
        let conn = held.conn()?;
        conn.heed(interrupt).await.map_err(asked)?;
        let transaction = conn.begin(purpose, statement).await.map_err(asked)?;
        held.standing = Standing::Open;
        Ok(Begun { held, transaction })
    }

    /// Asks one statement by itself: it is its own snapshot.
    pub(super) async fn ask(&self, statement: &Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut held = Held::new(self.take().await?, Duration::ZERO);
        held.once = true;
        let interrupt = held.interrupt.clone();
        let conn = held.conn()?;
        conn.heed(interrupt).await.map_err(asked)?;
        let answer = conn.one(statement).await?;
        held.standing = Standing::Ended;
        Ok(answer)
    }

    /// Whether the database answers.
    pub(super) async fn ping(&self) -> Result<(), DbErr> {
        let mut conn = self.take().await?;
        let answer = match &mut conn {
            Conn::Sqlite(conn) => sqlx::Connection::ping(&mut **conn).await.map_err(asked),
            Conn::Postgres(conn) => sqlx::Connection::ping(&mut **conn).await.map_err(asked),
        };
        conn.give_back(None);
        answer
    }

    /// Has SQLite count what its planner weighs, where tables have grown or shrunk tenfold since it last did. It reads a bounded part
    /// of each index, so the write lock is held for a moment.
    pub(super) async fn optimize(&self) -> Result<(), DbErr> {
        let Self::Sqlite(pool) = self else { return Ok(()) };
        let mut conn = pool.acquire().await.map_err(not_taken)?;
        let outcome = sqlx::raw_sql(OPTIMIZE).execute(&mut *conn).await;
        if outcome.is_err() {
            conn.close_on_drop();
        }
        outcome.map(|_| ()).map_err(asked)
    }

    /// Copies what SQLite's write-ahead log holds into the file, as far as nobody must be waited for: the next writer may then use
    /// the log's room from its start.
    pub(super) async fn checkpoint(&self) -> Result<(), DbErr> {
        let Self::Sqlite(pool) = self else { return Ok(()) };
        let mut conn = pool.acquire().await.map_err(not_taken)?;
        let outcome = sqlx::raw_sql("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut *conn).await;
        if outcome.is_err() {
            conn.close_on_drop();
        }
        outcome.map(|_| ()).map_err(asked)
    }

    /// Closes every connection.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }

    pub(super) fn backend(&self) -> DbBackend {
        match self {
            Self::Sqlite(_) => DbBackend::Sqlite,
            Self::Postgres(_) => DbBackend::Postgres,
        }
    }

    /// Whether a connection of PostgreSQL can be had without waiting for another request to give one back.
    pub(super) fn has_place(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(pool) => pool.num_idle() > 0 || pool.size() < pool.options().get_max_connections(),
        }
    }
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
        Transaction { held: Mutex::new(self.held), backend, transaction: self.transaction, care }
    }
}

/// A transaction: statements take turns on its connection. Dropped, it is rolled back.
pub(super) struct Transaction {
    held: Mutex<Held>,
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
        if held.standing != Standing::Open {
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

    /// Begins the part of one more command, whose statements may take so long each. What an earlier one did is kept; from here on no
    /// statement waits for a lock (PostgreSQL).
    pub(super) async fn begin_command(&self, statement: Duration) -> Result<(), DbErr> {
        let mut held = self.turn().await?;
        held.statement = statement;
        let release = if held.savepoint { format!("{RELEASE}; ") } else { String::new() };
        let settings = match self.backend {
            DbBackend::Postgres => {
                format!("; {}; SET LOCAL lock_timeout = '{LOCK_WAIT}'", statement_timeout(statement))
            }
            _ => String::new(),
        };
        self.run_in(&mut held, &format!("{release}{SAVEPOINT}{settings}")).await?;
        held.savepoint = true;
        Ok(())
    }

    /// Takes back the part of a command, also after one of its statements has failed: what the earlier ones did is kept.
    pub(super) async fn take_back_command(&self) -> Result<(), DbErr> {
        let mut held = self.held.lock().await;
        if !held.savepoint || !matches!(held.standing, Standing::Open | Standing::Failed) {
            return Err(broken());
        }
        held.standing = Standing::Asking;
        held.too_long = false;
        self.run_in(&mut held, TAKE_BACK).await
    }

    /// No command comes any more: what is left to do may wait for locks, and take so long a statement.
    pub(super) async fn end_commands(&self, statement: Duration) -> Result<(), DbErr> {
        let mut held = self.turn().await?;
        held.statement = statement;
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

    async fn run_in(&self, held: &mut Held, sql: &str) -> Result<(), DbErr> {
        let answer = bounded(&self.care, held.conn()?.run(sql)).await;
        self.answered(held, None, answer).map(drop)
    }

    /// Rolls back.
    pub(super) async fn rollback(self) {
        self.held.into_inner().rollback().await;
    }

    /// A statement's turn: until [`Self::answered`] the connection's state is not known.
    async fn turn(&self) -> Result<MutexGuard<'_, Held>, DbErr> {
        let mut held = self.held.lock().await;
        if held.too_long {
            return Err(self.too_long(&held));
        }
        if held.standing != Standing::Open {
            return Err(broken());
        }
        held.standing = Standing::Asking;
        held.interrupt.after(held.statement);
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
        let mut held = self.turn().await?;
        let answer = bounded(&self.care, held.conn()?.execute(&statement)).await;
        self.answered(&mut held, Some(&statement), answer)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut held = self.turn().await?;
        let answer = bounded(&self.care, held.conn()?.run(sql)).await;
        self.answered(&mut held, None, answer)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut held = self.turn().await?;
        let answer = bounded(&self.care, held.conn()?.one(&statement)).await;
        self.answered(&mut held, Some(&statement), answer)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut held = self.turn().await?;
        let answer = bounded(&self.care, held.conn()?.all(&statement)).await;
        self.answered(&mut held, Some(&statement), answer)
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
            too_long: false,
            once: false,
        }
    }

    fn conn(&mut self) -> Result<&mut Conn, DbErr> {
        self.conn.as_mut().ok_or_else(broken)
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
            (Standing::Ended, _) => conn.give_back(self.doubt.take()),
            (Standing::Open, _) if self.once => conn.give_back(self.doubt.take()),
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

enum Conn {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Conn {
    /// From now on SQLite asks whether what runs is to go on; PostgreSQL looks at its clock and its client.
    async fn heed(&mut self, interrupt: Interrupt) -> Result<(), sqlx::Error> {
        if let Self::Sqlite(conn) = self {
            conn.lock_handle().await?.set_progress_handler(STEPS, move || interrupt.goes_on());
        }
        Ok(())
    }

    async fn begin(&mut self, purpose: Purpose, statement: Duration) -> Result<Option<String>, sqlx::Error> {
        // 0 would be no bound.
        let time = statement.as_millis().max(1);
        match (self, purpose) {
            (_, Purpose::Ask) => Ok(None),
            (Self::Sqlite(conn), Purpose::Read) => {
                sqlx::raw_sql("BEGIN DEFERRED").execute(&mut **conn).await.map(|_| None)
            }
            (Self::Sqlite(conn), Purpose::Write) => {
                sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut **conn).await.map(|_| None)
            }
            (Self::Postgres(conn), Purpose::Read) => {
                let sql = format!("{BEGIN_READ}; SET LOCAL statement_timeout = {time}");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **conn).await.map(|_| None)
            }
            (Self::Postgres(conn), Purpose::Write) => {
                let sql = format!("{BEGIN_WRITE}, set_config('statement_timeout', '{time}', true)");
                let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut **conn).await?;
                row.try_get(0).map(Some)
            }
        }
    }

    /// Whether the transaction was committed.
    async fn commit(&mut self, transaction: Option<&str>) -> Result<bool, DbErr> {
        match (self, transaction) {
            (Self::Postgres(conn), Some(transaction)) => {
                // One message, so one round trip. The id is PostgreSQL's own, digits.
                let sql = format!("COMMIT; SELECT pg_xact_status('{transaction}'::xid8)");
                let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut **conn).await.map_err(asked)?;
                let status: Option<String> = row.try_get(0).map_err(asked)?;
                Ok(status.as_deref() == Some("committed"))
            }
            (conn, _) => conn.run("COMMIT").await.map(|_| true),
        }
    }

    async fn run(&mut self, sql: &str) -> Result<ExecResult, DbErr> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(ExecResult::from),
            Self::Postgres(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(ExecResult::from),
        }
        .map_err(asked)
    }

    async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
        let sql = AssertSqlSafe(statement.sql.as_str());
        match self {
            Self::Sqlite(conn) => {
                sqlx::query_with(sql, values(statement)).execute(&mut **conn).await.map(ExecResult::from)
            }
            Self::Postgres(conn) => {
                sqlx::query_with(sql, values(statement)).execute(&mut **conn).await.map(ExecResult::from)
            }
        }
        .map_err(asked)
    }

    async fn one(&mut self, statement: &Statement) -> Result<Option<QueryResult>, DbErr> {
        let sql = AssertSqlSafe(statement.sql.as_str());
        let row = match self {
            Self::Sqlite(conn) => {
                sqlx::query_with(sql, values(statement)).fetch_one(&mut **conn).await.map(QueryResult::from)
            }
            Self::Postgres(conn) => {
                sqlx::query_with(sql, values(statement)).fetch_one(&mut **conn).await.map(QueryResult::from)
            }
        };
        match row {
            Ok(row) => Ok(Some(row)),
            Err(sqlx::Error::RowNotFound) => Ok(None),
            Err(error) => Err(asked(error)),
        }
    }

    async fn all(&mut self, statement: &Statement) -> Result<Vec<QueryResult>, DbErr> {
        let sql = AssertSqlSafe(statement.sql.as_str());
        match self {
            Self::Sqlite(conn) => {
                let rows = sqlx::query_with(sql, values(statement)).fetch_all(&mut **conn).await;
                rows.map(|rows| rows.into_iter().map(QueryResult::from).collect())
            }
            Self::Postgres(conn) => {
                let rows = sqlx::query_with(sql, values(statement)).fetch_all(&mut **conn).await;
                rows.map(|rows| rows.into_iter().map(QueryResult::from).collect())
            }
        }
        .map_err(asked)
    }

    async fn copy_in(&mut self, sql: &str, data: &[u8]) -> Result<(), DbErr> {
        let Self::Postgres(conn) = self else {
            return Err(DbErr::Custom("only PostgreSQL copies rows from its client".to_owned()));
        };
        let mut copy = conn.copy_in_raw(sql).await.map_err(asked)?;
        for data in data.chunks(COPY_BYTES) {
            copy.send(data).await.map_err(asked)?;
        }
        copy.finish().await.map(|_| ()).map_err(asked)
    }

    /// Gives the connection back to its pool. That asks it first whether it lives, and would wait for ever for one that was cut off.
    fn give_back(self, doubt: Option<Doubt>) {
        let (Self::Postgres(mut conn), Ok(runtime)) = (self, Handle::try_current()) else { return };
        let returned = conn.return_to_pool();
        runtime.spawn(async move {
            if timeout(PING, returned).await.is_err()
                && let Some(doubt) = doubt
            {
                doubt.raise();
            }
        });
    }

    fn close_on_drop(&mut self) {
        match self {
            Self::Sqlite(conn) => conn.close_on_drop(),
            Self::Postgres(conn) => conn.close_on_drop(),
        }
    }
}

/// Has PostgreSQL end each statement of this transaction that takes longer. 0 would be no bound.
fn statement_timeout(statement: Duration) -> String {
    format!("SET LOCAL statement_timeout = {}", statement.as_millis().max(1))
}

async fn bounded<T>(care: &Care, answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    match &care.bound {
        None => answer.await,
        Some((bound, doubt)) => doubt.bound(*bound, answer).await,
    }
}

fn values(statement: &Statement) -> SqlxValues {
    SqlxValues(statement.values.clone().unwrap_or_else(|| Values(Vec::new())))
}

fn asked(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

fn not_taken(error: sqlx::Error) -> DbErr {
    match error {
        sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
        sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
        error => DbErr::Conn(RuntimeErr::SqlxError(error.into())),
    }
}

/// What is answered to a question that is asked of a transaction after one of its statements failed.
fn broken() -> DbErr {
    DbErr::Conn(RuntimeErr::Internal("a statement of this transaction has failed: it is never committed".to_owned()))
}
