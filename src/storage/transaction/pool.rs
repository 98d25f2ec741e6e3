//! The pool of connections to one database, from which transactions take theirs.

use std::time::Duration;

use sea_orm::sqlx::{self, Postgres, Sqlite};
use sea_orm::{ConnAcquireErr, DbBackend, DbErr, QueryResult, RuntimeErr, Statement};

use super::super::kept::KeptConnections;
use super::conn::Conn;
use super::{BegunTransaction, ConnectionState, Held, Purpose, asked};

/// Flags: all tables, even if this connection has not read them (`0x10000`); bounded work (`0x10`); ANALYZE if useful
/// (`0x2`).
const OPTIMIZE: &str = "PRAGMA optimize = 0x10012";

/// The connections to one database.
#[derive(Clone, Debug)]
pub(in crate::storage) enum Pool {
    Sqlite(KeptConnections<Sqlite>),
    Postgres(KeptConnections<Postgres>),
}

impl Pool {
    async fn take(&self) -> Result<Conn, DbErr> {
        match self {
            Self::Sqlite(pool) => pool.take().await.map(Conn::Sqlite).map_err(not_taken),
            Self::Postgres(pool) => pool.take().await.map(Conn::Postgres).map_err(not_taken),
        }
    }

    /// Takes a connection and begins on it, with this statement timeout. If the call is dropped early, its connection
    /// never returns to others inside a transaction.
    pub(in crate::storage) async fn begin(
        &self,
        purpose: Purpose,
        statement: Duration,
    ) -> Result<BegunTransaction, DbErr> {
        let mut held = Held::new(self.take().await?, statement);
        held.once = matches!(purpose, Purpose::Ask | Purpose::Follow);
        held.heed().await?;
        let conn = held.conn()?;
        let transaction = conn.begin(purpose, statement).await.map_err(asked)?;
        held.standing = ConnectionState::Open;
        Ok(BegunTransaction { held, transaction })
    }

    /// Runs one statement outside a transaction: it is its own snapshot.
    pub(in crate::storage) async fn ask(&self, statement: &Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut held = Held::new(self.take().await?, Duration::ZERO);
        held.once = true;
        held.heed().await?;
        let answer = held.conn()?.one(statement).await?;
        held.standing = ConnectionState::Ended;
        Ok(answer)
    }

    /// Asks whether the database answers.
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

    /// Updates SQLite's planner statistics of tables that have grown or shrunk tenfold since the last time. SQLite
    /// reads a bounded part of each index, so it holds the write lock only briefly.
    pub(in crate::storage) async fn optimize(&self) -> Result<(), DbErr> {
        self.beside(OPTIMIZE).await
    }

    /// Copies SQLite's write-ahead log into the database file, as far as that needs no wait. The next writer may then
    /// reuse the log from its start.
    pub(in crate::storage) async fn checkpoint(&self) -> Result<(), DbErr> {
        self.beside("PRAGMA wal_checkpoint(PASSIVE)").await
    }

    /// Runs a statement of SQLite outside a transaction.
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
