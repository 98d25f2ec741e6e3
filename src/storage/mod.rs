//! Rows: the only folder that speaks to a database, and the one place where the two databases differ.
//!
//! `read()` opens one snapshot; `transact()` is the one door to a write. A noun's row, its conversions and its
//! queries are in the file of its name.

mod account;
mod address;
mod alert;
mod attachment;
mod bookmark;
mod bounded;
mod bulk;
mod cautions;
mod changelog;
mod comment;
mod correlation;
mod entity;
mod evidence;
mod filter;
mod idempotency;
mod incident;
mod line;
mod merge;
mod mutation_state;
mod object;
mod private;
mod queue;
mod report;
mod response_times;
mod similar;
mod suggestion;
mod summary;
mod tag;
mod text;
mod view;

use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::sea_query::Expr;
use sea_orm::sqlx;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait, IsolationLevel, QuerySelect, RuntimeErr, Select, SqliteTransactionMode, TransactionOptions,
    TransactionTrait, Value,
};
use tokio::sync::Mutex;
use tracing::{debug, warn};
use watchfloor_migrations::Migrator;
use watchfloor_migrations::sea_orm_migration::MigratorTrait;

use self::bounded::{ANSWER, Bounded, CONNECTED, Doubt, PING};
use self::idempotency::Keeping;
use crate::domain::error::Refusal;
use crate::domain::{Code, Error, Result};

pub use address::honoured_address;
pub use alert::{AlertFilter, AlertState};
pub use attachment::{Upload, Uploadable};
pub use changelog::{ActivityFilter, Head, Origin, Pending};
pub use correlation::OpenIncident;
pub use entity::{EntitySpan, IncidentEntity};
pub use evidence::{AlertShown, Moment, StoredChange};
pub use line::{Line, Word};
pub use mutation_state::MutationState;
pub use object::{Objects, Writing};
pub use private::keep_private;
pub use queue::{Cursor, Facet, Page, PageRequest, Span};
pub use report::Applied;
pub use sea_orm::Statement;
pub use similar::{SharedEntity, SimilarIncident};
pub use suggestion::{AssigneeSuggestion, TagSuggestion};
pub use text::TextKey;

/// Is told of each statement, once it was answered.
pub type Watch = Arc<dyn Fn(&Statement) + Send + Sync>;

/// How often a transaction is tried before the caller is told that the desk is busy.
const TRANSACT_TRIES_MAX: u32 = 6;

/// The first pause between two tries; each further one is twice as long.
const TRANSACT_PAUSE: Duration = Duration::from_millis(10);

/// How long PostgreSQL has to say why it lets nobody in.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a statement may wait for SQLite's write lock, held by another process on the same file.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Prepared statements kept per connection: the desk has fewer texts than this, filters aside.
const STATEMENT_CACHE: usize = 500;

/// Ids that one statement names: SQLite takes 32,766 parameters, PostgreSQL 65,535, and an incident may hold more alerts.
const IDS_PER_STATEMENT: usize = 10_000;

/// Conditions that one statement joins by OR: SQLite takes an expression of at most 1,000 levels, one for each.
const ALTERNATIVES_MAX: usize = 400;

/// Longer than any statement of the desk takes; a stuck one must not hold the head of the log.
const STATEMENT_TIMEOUT: &str = "60s";

/// Between two statements of a transaction the desk never does for a second; a node that vanished without a word while it
/// held the head of the log keeps everybody waiting as long as this.
const IDLE_IN_TRANSACTION: &str = "20s";

/// A number of our own for PostgreSQL's advisory locks: two nodes must not migrate at once ("WATC" in ASCII).
const MIGRATION_LOCK: i64 = 0x5741_5443;

/// How to reach the database, and how many connections to hold.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `sqlite://path` or `postgres://…`.
    pub url: String,
    /// Connections that read (SQLite) or read and write (PostgreSQL).
    pub connections: u32,
    /// How long a request waits for a connection.
    pub acquire_timeout: Duration,
    /// Whether nodes on one PostgreSQL wake each other by NOTIFY.
    pub notify: bool,
}

/// The database of a desk.
#[derive(Clone, Debug)]
pub struct Store {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    options: Arc<StoreOptions>,
    doubt: Doubt,
    /// Noted when the first transaction begins, for the one mutation that this store is used by.
    mutation: Option<MutationState>,
}

/// One snapshot of the database: whatever is read through it is true at one position.
#[derive(Clone)]
pub struct Reader {
    conn: Arc<Bounded>,
}

/// A transaction that writes. It reads as a [`Reader`] does, and sees its own writes.
pub struct Tx {
    reader: Reader,
    pending: Mutex<Vec<Pending>>,
    keeping: Mutex<Option<Keeping>>,
}

impl Deref for Tx {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Tx {
    /// Does a part of the transaction that may be refused: what it wrote is taken back then, and the rest goes on.
    pub async fn part<T>(&self, work: impl Future<Output = Result<T>>) -> Result<Result<T, Box<Refusal>>> {
        let conn = self.conn();
        let recorded = self.pending.lock().await.len();
        conn.execute_unprepared("SAVEPOINT part").await?;
        let outcome = match work.await {
            Ok(done) => Ok(done),
            // The database went away, and the transaction with it.
            Err(Error::Refused(refusal)) if refusal.code != Code::Unavailable => {
                conn.execute_unprepared("ROLLBACK TO SAVEPOINT part").await?;
                self.pending.lock().await.truncate(recorded);
                Err(refusal)
            }
            Err(fault) => return Err(fault),
        };
        conn.execute_unprepared("RELEASE SAVEPOINT part").await?;
        Ok(outcome)
    }

    /// The last acts of a transaction, which need its place in the log.
    async fn append_all(&self) -> Result<Head> {
        let head = self.append_pending().await?;
        self.write_kept(&head).await?;
        Ok(head)
    }
}

impl Store {
    /// Connects, without migrating.
    pub async fn connect(options: StoreOptions) -> Result<Self> {
        let doubt = Doubt::default();
        let store = if options.url.starts_with("sqlite:") {
            Self {
                // One writer: SQLite has one anyway, and a queue in the pool is fair where its lock is not.
                writer: open(sqlite(&options, 1, false)).await?,
                reader: open(sqlite(&options, options.connections, true)).await?,
                options: Arc::new(options),
                doubt,
                mutation: None,
            }
        } else {
            let pool = match Database::connect(postgres(&options, &doubt)).await {
                Ok(pool) => pool,
                Err(error) => return Err(why_not(&options.url).await.unwrap_or_else(|| Error::from(error))),
            };
            Self { writer: pool.clone(), reader: pool, options: Arc::new(options), doubt, mutation: None }
        };
        Ok(store)
    }

    /// Connects as [`Store::connect`] does, and lets `watch` see each statement.
    pub async fn connect_watched(options: StoreOptions, watch: Watch) -> Result<Self> {
        let mut store = Self::connect(options).await?;
        for pool in [&mut store.writer, &mut store.reader] {
            let watch = watch.clone();
            pool.set_metric_callback(move |info| watch(info.statement));
        }
        Ok(store)
    }

    /// The same store for one mutation, which is not begun once it was given up.
    pub fn for_mutation(&self, mutation: MutationState) -> Self {
        Self { mutation: Some(mutation), ..self.clone() }
    }

    /// Brings the schema up to date and makes the head of the log. Two nodes that start at once take turns.
    pub async fn migrate(&self) -> Result<()> {
        match self.writer.get_database_backend() {
            DbBackend::Postgres => {
                // Session locks belong to a connection: this pool holds one, and closing it frees the lock.
                let mut alone = postgres(&self.options, &self.doubt);
                alone.max_connections(1).min_connections(1);
                let conn = Database::connect(alone).await?;
                conn.execute_unprepared(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})")).await?;
                let outcome = Migrator::up(&conn, None).await;
                conn.close().await?;
                outcome?;
            }
            _ => {
                // The write lock is held from the first look at what has been applied to the last statement.
                let conn = self.writer.begin_with_options(immediate()).await?;
                Migrator::up(&conn, None).await?;
                conn.commit().await?;
            }
        }
        changelog::ensure_head(&self.writer).await
    }

    /// Opens one snapshot to read from.
    pub async fn read(&self) -> Result<Reader> {
        self.read_within(ANSWER).await
    }

    /// Opens one snapshot to read little from, each time within a bound (on PostgreSQL). Who exceeds it was cut off from the
    /// database, and says so for every other connection.
    pub async fn read_within(&self, bound: Duration) -> Result<Reader> {
        let options = match self.reader.get_database_backend() {
            DbBackend::Postgres => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                sqlite_transaction_mode: None,
            },
            _ => TransactionOptions {
                isolation_level: None,
                access_mode: None,
                sqlite_transaction_mode: Some(SqliteTransactionMode::Deferred),
            },
        };
        let conn = self.begin(&self.reader, options, bound).await?;
        Ok(Reader { conn: Arc::new(conn) })
    }

    /// Takes note that the database did not answer: connections that are older than this are replaced, not waited for.
    pub fn doubt(&self) {
        self.doubt.raise();
    }

    /// The one door to a write: runs `work`, appends its changes to the log last, commits.
    ///
    /// `work` may run more than once (a busy database, a serialisation failure, a deadlock), so it must have no effect
    /// but through its transaction. Refusals and faults roll back.
    pub async fn transact<T, F, Fut>(&self, work: F) -> Result<(T, Head)>
    where
        T: Send,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let mut pause = TRANSACT_PAUSE;
        for attempt in 1.. {
            match self.attempt(&work).await {
                Err(Error::Busy) if attempt < TRANSACT_TRIES_MAX => {
                    debug!(attempt, "transaction broken off, trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        Err(Error::Busy)
    }

    async fn attempt<T, F, Fut>(&self, work: &F) -> Result<(T, Head)>
    where
        T: Send,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let options = match self.writer.get_database_backend() {
            DbBackend::Postgres => TransactionOptions {
                isolation_level: Some(IsolationLevel::ReadCommitted),
                access_mode: None,
                sqlite_transaction_mode: None,
            },
            _ => immediate(),
        };
        let conn = self.begin(&self.writer, options, ANSWER).await.map_err(|error| match error {
            // It has waited for its turn as long as a request may; waiting again would only lengthen the queue.
            Error::Busy => Error::unavailable("the desk is busy, try again"),
            fault => fault,
        })?;
        self.mutation.as_ref().map_or(Ok(()), MutationState::begin)?;
        let conn = Arc::new(conn);
        let tx = Arc::new(Tx {
            reader: Reader { conn: conn.clone() },
            pending: Mutex::default(),
            keeping: Mutex::default(),
        });
        let outcome = match work(tx.clone()).await {
            Ok(value) => tx.append_all().await.map(|head| (value, head)),
            Err(error) => Err(error),
        };
        drop(tx);
        let Some(conn) = Arc::into_inner(conn) else {
            return Err(Error::fault("ending a transaction", "something still holds its connection"));
        };
        match outcome {
            Ok(done) => conn.commit().await.map(|()| done).map_err(|error| match is_answer(&error) {
                true => Error::from(error),
                // Done again it might be done twice: only the caller can look whether it was.
                false => {
                    warn!(%error, "nobody knows whether a commit was done");
                    Error::unavailable(COMMIT_UNKNOWN)
                }
            }),
            Err(error) => {
                if let Err(rollback) = conn.rollback().await {
                    warn!(error = %rollback, "rollback failed, the connection is given up");
                }
                Err(error)
            }
        }
    }

    /// Begins a transaction whose statements have a bound. A connection that broke off while it lay in the pool (the database
    /// was started again, a proxy closed it) shows that only now, and is given up: nothing was asked of it yet, so the next
    /// one is tried. No more than the pool holds can be stale, and nobody tries for longer than one waits for a connection.
    async fn begin(&self, pool: &DatabaseConnection, options: TransactionOptions, bound: Duration) -> Result<Bounded> {
        let last_try = Instant::now() + self.options.acquire_timeout;
        for _ in 0..self.options.connections {
            match self.begin_once(pool, options).await {
                Err(error) if is_lost(&error) && Instant::now() < last_try => {
                    debug!(%error, "a stale connection is given up");
                }
                outcome => return Ok(self.bounded(outcome?, bound)),
            }
        }
        Ok(self.bounded(self.begin_once(pool, options).await?, bound))
    }

    async fn begin_once(
        &self,
        pool: &DatabaseConnection,
        options: TransactionOptions,
    ) -> Result<DatabaseTransaction, DbErr> {
        if !self.is_postgres() {
            return pool.begin_with_options(options).await;
        }
        let (pool, doubt) = (pool.clone(), self.doubt.clone());
        let held = pool.get_postgres_connection_pool();
        // Whoever finds a place waits for nobody but the server. A connection that is being made to one that fell silent says
        // nothing about the others, and the next may reach a server that answers.
        let place_is_free = held.num_idle() > 0 || held.size() < self.options.connections;
        let bound = if place_is_free { CONNECTED } else { self.options.acquire_timeout + PING };
        // A task of its own goes to the end when its caller is gone: the driver forgets a BEGIN whose wait was dropped, and the
        // pool would hand out a connection that stands in a transaction.
        let begun = tokio::spawn(async move {
            tokio::select! {
                begun = pool.begin_with_options(options) => begun,
                () = doubt.raised() => Err(bounded::unanswered()),
                () = tokio::time::sleep(bound) => {
                    if !place_is_free {
                        doubt.raise();
                    }
                    Err(bounded::unanswered())
                }
            }
        });
        begun.await.unwrap_or_else(|_| Err(bounded::unanswered()))
    }

    fn bounded(&self, tx: DatabaseTransaction, bound: Duration) -> Bounded {
        Bounded { tx, bound: self.is_postgres().then(|| (bound, self.doubt.clone())) }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.reader.ping().await.map_err(Error::from)
    }

    /// Closes every connection.
    pub async fn close(&self) -> Result<()> {
        self.reader.close_by_ref().await?;
        self.writer.close_by_ref().await.map_err(Error::from)
    }
}

/// Opens a file that others may be opening for the first time too: who finds them turning it over to a write-ahead log is told
/// at once that it is busy, whatever time it would wait for a lock.
async fn open(connect: ConnectOptions) -> Result<DatabaseConnection, DbErr> {
    let is_busy = |error: &DbErr| !matches!(error, DbErr::ConnectionAcquire(_)) && is_transient(error);
    let mut pause = TRANSACT_PAUSE;
    for _ in 1..TRANSACT_TRIES_MAX {
        match Database::connect(connect.clone()).await {
            Err(error) if is_busy(&error) => debug!(%error, "the file is being opened by others, trying again"),
            outcome => return outcome,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Database::connect(connect).await
}

/// A transaction of SQLite that writes from its start: one that reads first may find that it cannot write any more.
fn immediate() -> TransactionOptions {
    TransactionOptions {
        isolation_level: None,
        access_mode: None,
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
    }
}

impl Reader {
    fn conn(&self) -> &Bounded {
        &self.conn
    }
}

/// A statement of ours, for what the query builder cannot say; `$1` reads alike on both databases.
fn statement(reader: &Reader, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(reader.conn.get_database_backend(), sql, values)
}

/// How many rows a query finds. SeaORM's own count wraps the query with all of its columns into another.
async fn count<E: EntityTrait>(reader: &Reader, query: Select<E>) -> Result<u64> {
    let rows: Option<i64> = query.select_only().expr(Expr::cust("COUNT(*)")).into_tuple().one(reader.conn()).await?;
    Ok(rows.unwrap_or(0) as u64)
}

/// `$1, $2, …` for so many values.
fn places(count: usize) -> String {
    (1..=count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}

fn sqlite(options: &StoreOptions, connections: u32, read_only: bool) -> ConnectOptions {
    let url = match options.url.split_once('?') {
        Some(_) => options.url.clone(),
        None => format!("{}?mode=rwc", options.url),
    };
    let mut connect = common(url, options, connections);
    connect.map_sqlx_sqlite_opts(move |sqlite| {
        let sqlite = sqlite.busy_timeout(SQLITE_BUSY_TIMEOUT).statement_cache_capacity(STATEMENT_CACHE);
        if read_only {
            return sqlite.pragma("query_only", "ON");
        }
        // FULL: an acknowledged mutation survives power loss (product §8).
        sqlite.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
    });
    connect
}

fn postgres(options: &StoreOptions, doubt: &Doubt) -> ConnectOptions {
    let mut connect = common(options.url.clone(), options, options.connections);
    connect.map_sqlx_postgres_opts(|postgres| {
        postgres.application_name("watchfloor").statement_cache_capacity(STATEMENT_CACHE).options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
        ])
    });
    let doubt = doubt.clone();
    connect.map_sqlx_postgres_pool_opts(move |pool| bounded::watchful(pool, &doubt));
    connect
}

/// Why PostgreSQL cannot be reached: a pool says only that it waited, one connection says for what.
async fn why_not(url: &str) -> Option<Error> {
    let options = sqlx::postgres::PgConnectOptions::from_str(url);
    let cause = match options {
        Err(cause) => cause,
        Ok(options) => match tokio::time::timeout(PROBE_TIMEOUT, sqlx::ConnectOptions::connect(&options)).await {
            Ok(Ok(mut conn)) => match bounded::is_standby(&mut conn).await {
                Ok(true) => {
                    return Some(Error::fault("connecting to PostgreSQL", "it is a standby, which only follows"));
                }
                _ => return None,
            },
            Ok(Err(cause)) => cause,
            Err(_) => return Some(Error::fault("connecting to PostgreSQL", "it does not answer")),
        },
    };
    Some(Error::fault("connecting to PostgreSQL", cause))
}

fn common(url: String, options: &StoreOptions, connections: u32) -> ConnectOptions {
    let mut connect = ConnectOptions::new(url);
    connect
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(options.acquire_timeout)
        .sqlx_logging(false)
        .test_before_acquire(false);
    connect
}

/// What a caller reads whose request met a database that went away. Nothing was changed.
const CONNECTION_LOST: &str = "the desk lost its database, try again";

/// What a caller reads whose change was being committed at that moment.
const COMMIT_UNKNOWN: &str = "the desk lost its database while it saved this: it may be done or not, look before you try \
                              again";

impl From<DbErr> for Error {
    /// What a driver says, as the desk says it: busy and broken-off transactions may be tried again, a lost connection is
    /// nobody's fault here, the rest are faults.
    fn from(error: DbErr) -> Self {
        if is_transient(&error) {
            return Self::Busy;
        }
        if is_lost(&error) {
            warn!(%error, "a connection to the database broke off");
            return Self::unavailable(CONNECTION_LOST);
        }
        Self::fault("speaking to the database", error)
    }
}

fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

fn is_transient(error: &DbErr) -> bool {
    if matches!(error, DbErr::ConnectionAcquire(_)) {
        return true;
    }
    let code = driver_error(error).and_then(|error| error.as_database_error()?.code());
    // PostgreSQL: serialisation failure, deadlock, lock timeout. SQLite: BUSY, LOCKED, BUSY_SNAPSHOT. And a key that
    // another transaction took first (both): tried again, the command sees that row and decides anew.
    matches!(code.as_deref(), Some("40001" | "40P01" | "55P03" | "5" | "6" | "517" | "23505" | "1555" | "2067"))
}

/// Whether the database itself has said no. Whatever else goes wrong, it may have done what it was asked.
fn is_answer(error: &DbErr) -> bool {
    matches!(driver_error(error), Some(sqlx::Error::Database(_))) && !is_lost(error)
}

/// Whether the connection is gone: broken off, or ended by PostgreSQL (class 08, connection exceptions; class 57P, it is
/// being stopped, has crashed or starts; 25P03, it was left open in a transaction).
fn is_lost(error: &DbErr) -> bool {
    match driver_error(error) {
        Some(sqlx::Error::Io(_)) => true,
        Some(sqlx::Error::Database(error)) => error.code().is_some_and(|code| {
            code.len() == 5 && (code.starts_with("08") || code.starts_with("57P") || code == "25P03")
        }),
        _ => false,
    }
}
