//! The connections to one database, as transactions take them.

use std::time::Duration;

use sea_orm::sqlx::{self, Postgres, Sqlite};
use sea_orm::{ConnAcquireErr, DbBackend, DbErr, QueryResult, RuntimeErr, Statement};

use super::super::kept::Kept;
use super::conn::Conn;
use super::{Begun, Held, Purpose, Standing, asked};

/// All tables (`0x10000`), also those that this connection has not read; with a limit (`0x10`); analysed where that may help (`0x2`).
const OPTIMIZE: &str = "PRAGMA optimize = 0x10012";

/// The connections to one database.
#[derive(Clone, Debug)]
pub(in crate::storage) enum Pool {
    Sqlite(Kept<Sqlite>),
    Postgres(Kept<Postgres>),
}

impl Pool {
    async fn take(&self) -> Result<Conn, DbErr> {
        match self {
            Self::Sqlite(pool) => pool.take().await.map(Conn::Sqlite).map_err(not_taken),
            Self::Postgres(pool) => pool.take().await.map(Conn::Postgres).map_err(not_taken),
        }
    }

    /// Takes a connection and begins on it. Dropped before its end, it leaves no connection behind that stands in a transaction.
    /// PostgreSQL is told how long a statement of it may take.
    pub(in crate::storage) async fn begin(&self, purpose: Purpose, statement: Duration) -> Result<Begun, DbErr> {
        let mut held = Held::new(self.take().await?, statement);
        held.once = matches!(purpose, Purpose::Ask | Purpose::Follow);
        held.heed().await?;
        let conn = held.conn()?;
        let transaction = conn.begin(purpose, statement).await.map_err(asked)?;
        held.standing = Standing::Open;
        Ok(Begun { held, transaction })
    }

    /// Asks one statement by itself: it is its own snapshot.
    pub(in crate::storage) async fn ask(&self, statement: &Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut held = Held::new(self.take().await?, Duration::ZERO);
        held.once = true;
        held.heed().await?;
        let answer = held.conn()?.one(statement).await?;
        held.standing = Standing::Ended;
        Ok(answer)
    }

    /// Whether the database answers.
    pub(in crate::storage) async fn ping(&self) -> Result<(), DbErr> {
        let mut conn = self.take().await?;
        let answer = match &mut conn {
            Conn::Sqlite(conn) => sqlx::Connection::ping(&mut **conn).await.map_err(asked),
            Conn::Postgres(conn) => sqlx::Connection::ping(&mut **conn).await.map_err(asked),
        };
        match &answer {
            Ok(()) => conn.lay_down(),
            Err(_) => conn.close_on_drop(),
        }
        answer
    }

    /// Has SQLite count what its planner weighs, where tables have grown or shrunk tenfold since it last did. It reads a bounded part
    /// of each index, so the write lock is held for a moment.
    pub(in crate::storage) async fn optimize(&self) -> Result<(), DbErr> {
        self.beside(OPTIMIZE).await
    }

    /// Copies what SQLite's write-ahead log holds into the file, as far as nobody must be waited for: the next writer may then use
    /// the log's room from its start.
    pub(in crate::storage) async fn checkpoint(&self) -> Result<(), DbErr> {
        self.beside("PRAGMA wal_checkpoint(PASSIVE)").await
    }

    /// Has SQLite do something outside of a transaction.
    async fn beside(&self, sql: &'static str) -> Result<(), DbErr> {
        let Self::Sqlite(pool) = self else { return Ok(()) };
        let mut conn = pool.take().await.map_err(not_taken)?;
        let outcome = sqlx::raw_sql(sql).execute(&mut *conn).await;
        match &outcome {
            Ok(_) => conn.lay_down(),
            Err(_) => conn.close_on_drop(),
        }
        outcome.map(|_| ()).map_err(asked)
    }

    /// Closes every connection.
    pub(in crate::storage) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }

    pub(in crate::storage) fn backend(&self) -> DbBackend {
        match self {
            Self::Sqlite(_) => DbBackend::Sqlite,
            Self::Postgres(_) => DbBackend::Postgres,
        }
    }

    /// Whether a connection of PostgreSQL can be had without waiting for another request to give one back.
    pub(in crate::storage) fn has_place(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(pool) => pool.has_place(),
        }
    }
}

fn not_taken(error: sqlx::Error) -> DbErr {
    match error {
        sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
        sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
        error => DbErr::Conn(RuntimeErr::SqlxError(error.into())),
    }
}
