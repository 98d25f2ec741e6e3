//! Detects a pooler in transaction mode, which gives each transaction of a connection another session of PostgreSQL.
//! The desk needs sessions of its own: they hold prepared statements and settings, and listen to other nodes.

use std::time::Duration;

use sea_orm::sqlx::{self, Connection, PgConnection, Row};
use tokio::time::timeout;

use super::{StoreOptions, connect};
use crate::domain::{Error, Result};

/// The timeout of the check. It sends a few statements that read no row.
const COMPARISON: Duration = Duration::from_secs(5);

impl StoreOptions {
    /// Refuses a PostgreSQL behind a pooler in transaction mode, before the desk uses it.
    ///
    /// A server that cannot be reached, or does not answer within 5 s, is no error here: [`super::Store::connect`]
    /// reports it.
    pub async fn refuse_transaction_pooling(&self) -> Result<()> {
        if self.url.starts_with("sqlite:") {
            return Ok(());
        }
        match timeout(COMPARISON, self.shares_sessions()).await {
            Ok(Ok(true)) => Err(Error::fault(
                "connecting to PostgreSQL",
                "a pooler in transaction mode stands before it, and a desk needs sessions of its own: set pool_mode = session \
                 (docs/OPERATIONS.md, A pooler)",
            )),
            Ok(Ok(false) | Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Whether an idle connection loses its session to another connection. It does if the second connection's
    /// transaction has the first connection's session, or if the first connection has another session afterwards.
    async fn shares_sessions(&self) -> std::result::Result<bool, sqlx::Error> {
        let options = connect::postgres(self).map_err(|error| sqlx::Error::Configuration(error.into()))?;
        let mut first = PgConnection::connect_with(&options).await?;
        let mut second = PgConnection::connect_with(&options).await?;
        let before = session(&mut first).await?;
        sqlx::raw_sql("BEGIN").execute(&mut second).await?;
        let other = session(&mut second).await?;
        let after = session(&mut first).await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut second).await?;
        first.close().await?;
        second.close().await?;
        Ok(before == other || before != after)
    }
}

/// Returns the process id of the session. No statement is prepared, because a shared session may have one of the same
/// name.
async fn session(conn: &mut PgConnection) -> std::result::Result<i32, sqlx::Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(conn).await?.try_get(0)
}
