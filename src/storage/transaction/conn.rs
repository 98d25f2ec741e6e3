//! Sends messages on a connection. This is the only place where a statement leaves for either database.

use std::time::Duration;

use sea_orm::sea_query::Values;
use sea_orm::sqlx::{self, AssertSqlSafe, Postgres, Row, Sqlite};
use sea_orm::{DbErr, ExecResult, QueryResult, Statement};
use sea_query_sqlx::SqlxValues;

use super::super::interrupt::{Interrupt, STEPS};
use super::super::kept::TakenConnection;
use super::{Purpose, asked};

/// Begins a transaction of PostgreSQL that writes, and returns its id, by which [`Conn::commit`] asks for its outcome.
///
/// With `synchronous_commit = off` (of a server, database or role) a crash loses acknowledged commits. Such a
/// transaction commits with `on`. Every other setting (`local`, `remote_apply`, …) is the operator's choice and stays.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
    SELECT pg_current_xact_id()::text, set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)";

/// Begins a transaction of PostgreSQL that sees one snapshot.
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The bytes of one COPY message. The driver holds a copy of it.
const COPY_BYTES: usize = 256 << 10;

/// A connection to either database.
pub(super) enum Conn {
    Sqlite(TakenConnection<Sqlite>),
    Postgres(TakenConnection<Postgres>),
}

impl Conn {
    /// Lets SQLite check the interrupt while a statement runs. PostgreSQL checks its own timeout and its client
    /// instead. Returns the interrupt that SQLite checks.
    pub(super) async fn heed(&mut self, interrupt: Interrupt) -> Result<Interrupt, sqlx::Error> {
        let Self::Sqlite(conn) = self else { return Ok(interrupt) };
        if let Some(heeded) = &conn.session().interrupt {
            return Ok(heeded.clone());
        }
        let heeded = interrupt.clone();
        conn.lock_handle().await?.set_progress_handler(STEPS, move || heeded.goes_on());
        conn.session().interrupt = Some(interrupt.clone());
        Ok(interrupt)
    }

    pub(super) async fn begin(&mut self, purpose: Purpose, statement: Duration) -> Result<Option<String>, sqlx::Error> {
        // 0 would mean no timeout.
        let time = statement.as_millis().max(1);
        match (self, purpose) {
            (_, Purpose::Follow) | (Self::Sqlite(_), Purpose::Ask) => Ok(None),
            (Self::Postgres(conn), Purpose::Ask) => {
                // There is no transaction, so the session gets the timeout. Each transaction sets its own.
                if conn.session().statement != Some(statement) {
                    let sql = format!("SET statement_timeout = {time}");
                    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **conn).await?;
                    conn.session().statement = Some(statement);
                }
                Ok(None)
            }
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

    /// Commits, and returns whether the transaction was committed.
    pub(super) async fn commit(&mut self, transaction: Option<&str>) -> Result<bool, DbErr> {
        match (self, transaction) {
            (Self::Postgres(conn), Some(transaction)) => {
                // One message, so one round trip. The id comes from PostgreSQL and has only digits.
                let sql = format!("COMMIT; SELECT pg_xact_status('{transaction}'::xid8)");
                let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut **conn).await.map_err(asked)?;
                let status: Option<String> = row.try_get(0).map_err(asked)?;
                Ok(status.as_deref() == Some("committed"))
            }
            (conn, _) => conn.run("COMMIT").await.map(|_| true),
        }
    }

    pub(super) async fn run(&mut self, sql: &str) -> Result<ExecResult, DbErr> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(ExecResult::from),
            Self::Postgres(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(ExecResult::from),
        }
        .map_err(asked)
    }

    pub(super) async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
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

    pub(super) async fn one(&mut self, statement: &Statement) -> Result<Option<QueryResult>, DbErr> {
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

    pub(super) async fn all(&mut self, statement: &Statement) -> Result<Vec<QueryResult>, DbErr> {
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

    pub(super) async fn copy_in(&mut self, sql: &str, data: &[u8]) -> Result<(), DbErr> {
        let Self::Postgres(conn) = self else {
            return Err(DbErr::Custom("only PostgreSQL copies rows from its client".to_owned()));
        };
        let mut copy = conn.copy_in_raw(sql).await.map_err(asked)?;
        for data in data.chunks(COPY_BYTES) {
            copy.send(data).await.map_err(asked)?;
        }
        copy.finish().await.map(|_| ()).map_err(asked)
    }

    pub(super) fn lay_down(self) {
        match self {
            Self::Sqlite(conn) => conn.lay_down(),
            Self::Postgres(conn) => conn.lay_down(),
        }
    }

    pub(super) fn close_on_drop(&mut self) {
        match self {
            Self::Sqlite(conn) => conn.close_on_drop(),
            Self::Postgres(conn) => conn.close_on_drop(),
        }
    }
}

fn values(statement: &Statement) -> SqlxValues {
    SqlxValues(statement.values.clone().unwrap_or_else(|| Values(Vec::new())))
}
