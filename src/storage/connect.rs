//! Opens the database and migrates its schema.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use backon::Retryable;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{self, ConnectOptions, Database, PgPool, SqlitePool};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, RuntimeErr, SqliteTransactionMode, SqlxPostgresConnector,
    SqlxSqliteConnector, TransactionOptions, TransactionTrait,
};
use tracing::debug;
use watchfloor_migrations::Migrator;
use watchfloor_migrations::sea_orm_migration::MigratorTrait;

use super::bounded::{self, Doubt};
use super::combiner::{Combiner, LANES_POSTGRES, LANES_SQLITE};
use super::interrupt::{MIGRATION, OWN_WORK};
use super::kept::KeptConnections;
use super::transaction::Pool;
use super::trouble::Trouble;
use super::{Store, Watch, fault, retry, search};
use crate::domain::clock::Clock;
use crate::domain::{Error, Result};

/// How long the probe waits for PostgreSQL to say why it refuses connections.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a statement waits for SQLite's write lock while another process holds it on the same file.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Prepared statements cached for each connection. The desk has fewer statement texts than this, except for filters.
const STATEMENT_CACHE: usize = 500;

/// SQLite's page cache for each connection, in KiB. The open incidents of a large desk and the upper levels of its
/// indexes take some 10 MiB. SQLite's default of 2 MB does not hold them, and a page from the system's cache costs a
/// call. Nine connections may hold 144 MiB, half of the memory that a desk is to use.
///
/// The file is not mapped into memory (`mmap_size`). If the disk fails or another process truncates the file, reading
/// mapped memory ends the process by a signal, while reading the file returns an ordinary error.
const SQLITE_CACHE_KIB: u32 = 16 * 1024;

/// The timeout of statements outside a transaction. Each transaction sets its own.
const STATEMENT_TIMEOUT: &str = "60s";

/// How long a transaction may be idle between two statements; the desk's transactions are never idle for a second. If a
/// node vanishes while it holds the head of the log, every writer waits for so long.
const IDLE_IN_TRANSACTION: &str = "20s";

/// The number of the migration's advisory lock in PostgreSQL ("WATC" in ASCII). Two nodes must not migrate at once.
const MIGRATION_LOCK: i64 = 0x5741_5443;

/// The database's address and the number of connections.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `sqlite://path` or `postgres://…`.
    pub url: String,
    /// Connections that read (SQLite), or that read and write (PostgreSQL).
    pub connections: u32,
    /// The longest wait of a request for a connection.
    pub acquire_timeout: Duration,
    /// Whether nodes on one PostgreSQL wake each other by NOTIFY.
    pub notify: bool,
}

/// The kind of connections to SQLite that a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PoolRole {
    /// One connection. SQLite has only one writer, and the pool's queue is fair while SQLite's lock is not.
    Writer,
    Readers,
}

impl Store {
    /// Connects to the database, without migrating it.
    pub async fn connect(options: StoreOptions) -> Result<Self> {
        let doubt = Doubt::default();
        let (writer, reader) = if options.url.starts_with("sqlite:") {
            let (writer, readers) =
                (open_sqlite(&options, PoolRole::Writer).await?, open_sqlite(&options, PoolRole::Readers).await?);
            let kept = |pool| Pool::Sqlite(KeptConnections::new(pool, doubt.clone()));
            (kept(writer), kept(readers))
        } else {
            let pool = match open_postgres(&options, &doubt, options.connections).await {
                Ok(pool) => pool,
                Err(error) => return Err(why_not(&options.url).await.unwrap_or_else(|| Error::from(error))),
            };
            let pool = KeptConnections::new(pool, doubt.clone());
            (Pool::Postgres(pool.clone()), Pool::Postgres(pool))
        };
        let combiner = Combiner::new(if matches!(writer, Pool::Postgres(_)) { LANES_POSTGRES } else { LANES_SQLITE });
        let (options, trouble) = (Arc::new(options), Trouble::default());
        Ok(Self {
            writer,
            reader,
            options,
            doubt,
            trouble,
            combiner,
            watch: None,
            statement: OWN_WORK,
            mutation: None,
            fresh: Arc::default(),
            clock: Clock::System,
            gate: None,
        })
    }

    /// Connects as [`Store::connect`] does, and passes each statement to `watch`.
    pub async fn connect_watched(options: StoreOptions, watch: Watch) -> Result<Self> {
        Ok(Self { watch: Some(watch), ..Self::connect(options).await? })
    }

    /// Migrates the schema and creates the head of the log. Two nodes that start at once take turns.
    ///
    /// It uses a connection of its own and always closes it, so a request never gets a connection that a failed
    /// migration has used.
    pub async fn migrate(&self) -> Result<()> {
        if self.is_postgres() {
            let alone = open_postgres(&self.options, &self.doubt, 1).await?;
            let conn = SqlxPostgresConnector::from_sqlx_postgres_pool(alone);
            let outcome = async {
                let time = MIGRATION.as_secs();
                conn.execute_unprepared(&format!("SET statement_timeout = '{time}s'")).await?;
                // An advisory session lock belongs to its connection. This pool has one connection, and closing it
                // frees the lock.
                conn.execute_unprepared(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})")).await?;
                Migrator::up(&conn, None).await?;
                all_applied(&conn).await?;
                search::ensure_indexes(&conn).await
            };
            let outcome = outcome.await;
            conn.close().await?;
            outcome?;
        } else {
            let conn = SqlxSqliteConnector::from_sqlx_sqlite_pool(open_sqlite(&self.options, PoolRole::Writer).await?);
            let outcome = async {
                // The write lock is held from the check of applied migrations to the last statement.
                let tx = conn.begin_with_options(immediate()).await?;
                Migrator::up(&tx, None).await?;
                tx.commit().await
            };
            let outcome = outcome.await;
            conn.close().await?;
            outcome?;
            let conn = SqlxSqliteConnector::from_sqlx_sqlite_pool(open_sqlite(&self.options, PoolRole::Readers).await?);
            let outcome = all_applied(&conn).await;
            conn.close().await?;
            outcome?;
        }
        let epoch = self.clock.fresh_id();
        Box::pin(self.transact(|tx| async move { tx.ensure_head(epoch).await })).await?;
        self.optimize().await
    }

    /// Updates SQLite's planner statistics. PostgreSQL updates its own. It should be called after large writes.
    pub async fn optimize(&self) -> Result<()> {
        self.writer.optimize().await.map_err(Error::from)
    }
}

/// Checks that every migration is applied, because the database may have rolled back a commit.
async fn all_applied(conn: &DatabaseConnection) -> Result<(), DbErr> {
    match Migrator::get_pending_migrations(conn).await?.len() {
        0 => Ok(()),
        left => Err(DbErr::Migration(format!("{left} migrations were done and are not there"))),
    }
}

/// A transaction of SQLite that takes the write lock at its start. A transaction that first reads may be unable to
/// write later.
fn immediate() -> TransactionOptions {
    TransactionOptions {
        isolation_level: None,
        access_mode: None,
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
    }
}

/// Opens a file that other processes may be opening for the first time as well. While one of them switches the file to
/// a write-ahead log, the others get a busy error at once, whatever their busy timeout is. So this retries.
async fn open_sqlite(options: &StoreOptions, role: PoolRole) -> Result<SqlitePool, DbErr> {
    let connect = sqlite(options, role)?;
    let connections = match role {
        PoolRole::Writer => 1,
        PoolRole::Readers => options.connections,
    };
    let pool = pool_of(SqlitePoolOptions::new(), options, connections);
    (|| async { pool.clone().connect_with(connect.clone()).await.map_err(unreached) })
        .retry(retry::BUSY)
        .when(fault::is_transient)
        .notify(|error, _| debug!(%error, "the file is being opened by others, trying again"))
        .await
}

fn sqlite(options: &StoreOptions, role: PoolRole) -> Result<SqliteConnectOptions, DbErr> {
    let url = match options.url.split_once('?') {
        Some(_) => options.url.clone(),
        None => format!("{}?mode=rwc", options.url),
    };
    let connect = SqliteConnectOptions::from_str(&url).map_err(unreached)?;
    let connect = connect
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .pragma("cache_size", format!("-{SQLITE_CACHE_KIB}"))
        .statement_cache_capacity(STATEMENT_CACHE)
        .disable_statement_logging();
    Ok(match role {
        PoolRole::Readers => connect.pragma("query_only", "ON"),
        // FULL: an acknowledged mutation survives power loss (docs/PRODUCT.md, P68).
        PoolRole::Writer => connect.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full),
    })
}

pub(super) async fn open_postgres(options: &StoreOptions, doubt: &Doubt, connections: u32) -> Result<PgPool, DbErr> {
    let pool = pool_of(PgPoolOptions::new(), options, connections);
    bounded::watchful(pool, doubt).connect_with(postgres(options)?).await.map_err(unreached)
}

/// Returns the settings of a PostgreSQL session.
pub(super) fn postgres(options: &StoreOptions) -> Result<PgConnectOptions, DbErr> {
    let connect = PgConnectOptions::from_str(&options.url).map_err(unreached)?;
    Ok(connect
        .application_name("watchfloor")
        .statement_cache_capacity(STATEMENT_CACHE)
        .options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
        ])
        .disable_statement_logging())
}

fn pool_of<DB: Database>(
    pool: sqlx::pool::PoolOptions<DB>,
    options: &StoreOptions,
    connections: u32,
) -> sqlx::pool::PoolOptions<DB> {
    pool.max_connections(connections)
        .min_connections(1)
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
}

/// Finds out why PostgreSQL cannot be reached. A pool only reports a timeout, while a single connection reports the
/// cause.
async fn why_not(url: &str) -> Option<Error> {
    let options = PgConnectOptions::from_str(url);
    let cause = match options {
        Err(cause) => cause,
        Ok(options) => match tokio::time::timeout(PROBE_TIMEOUT, ConnectOptions::connect(&options)).await {
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

fn unreached(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}
