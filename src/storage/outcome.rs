//! The outcome of a COMMIT whose answer is missing: the database is asked before the caller gets an answer.
//!
//! PostgreSQL keeps the status of each transaction by its id. A server that took over, or was restored, may have given
//! the id to another transaction. So the log must also hold the transaction's last change with its hash. SQLite keeps
//! no status. After an error behind the last frame of its write-ahead log, the commit does not count, but a recovery
//! after a crash would find it. So another write overwrites it first. Then the log holds the change, or never will.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::log_head::Head;
use super::{Result, Store};

/// How long the desk asks while its caller waits. A killed PostgreSQL is back within seconds; a disk of SQLite that
/// refuses the smallest write is not.
const LOOKING_POSTGRES: Duration = Duration::from_secs(15);
const LOOKING_SQLITE: Duration = Duration::from_millis(500);

/// The timeout of one check.
const LOOK: Duration = Duration::from_secs(5);

/// The pauses between two checks: 35 to 70 ms first, each about twice as long as the pause before it, at most 1.4 s.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(35))
    .with_max_delay(Duration::from_millis(700))
    .without_max_times()
    .with_jitter();

/// The data by which a transaction is found after its commit.
pub(super) struct Receipt {
    /// The transaction's id in PostgreSQL.
    pub(super) id: Option<String>,
    /// The head of the log that it wrote, or none if it recorded no change.
    pub(super) head: Option<Head>,
}

/// The outcome of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransactionOutcome {
    Committed,
    RolledBack,
    Unknown,
}

impl Store {
    /// Finds out the outcome of a transaction, in a task of its own that is never dropped early.
    pub(super) async fn outcome(&self, receipt: Receipt) -> TransactionOutcome {
        let store = self.clone();
        let looked = tokio::spawn(async move { store.look_for(&receipt).await });
        looked.await.unwrap_or(TransactionOutcome::Unknown)
    }

    async fn look_for(&self, receipt: &Receipt) -> TransactionOutcome {
        let last_look = Instant::now() + if self.is_postgres() { LOOKING_POSTGRES } else { LOOKING_SQLITE };
        for pause in PAUSES.build() {
            match tokio::time::timeout(LOOK, Box::pin(self.look(receipt))).await {
                Ok(Ok(Some(outcome))) => return outcome,
                Ok(Ok(None)) => debug!("a commit is still going on"),
                Ok(Err(error)) => debug!(%error, "what became of a commit cannot be asked yet"),
                Err(_) => debug!("what became of a commit was not answered"),
            }
            if Instant::now() >= last_look {
                break;
            }
            sleep(pause).await;
        }
        warn!("nobody knows whether a commit was done");
        TransactionOutcome::Unknown
    }

    /// Checks once. Returns none if the transaction is still in progress.
    async fn look(&self, receipt: &Receipt) -> Result<Option<TransactionOutcome>> {
        let Some(id) = &receipt.id else {
            Box::pin(self.write_nothing()).await?;
            return Ok(Some(match &receipt.head {
                None => TransactionOutcome::Unknown,
                Some(head) if self.log_holds(head).await? => TransactionOutcome::Committed,
                Some(_) => TransactionOutcome::RolledBack,
            }));
        };
        let reader = self.read_within(LOOK).await?;
        let sql = "SELECT pg_xact_status($1::text::xid8)";
        let asked = Statement::from_sql_and_values(DbBackend::Postgres, sql, [id.as_str().into()]);
        let status: Option<String> = match reader.conn().query_one_raw(asked).await? {
            Some(row) => row.try_get_by_index(0)?,
            None => None,
        };
        drop(reader);
        Ok(match (status.as_deref(), &receipt.head) {
            (Some("in progress"), _) => None,
            (Some("aborted"), _) => Some(TransactionOutcome::RolledBack),
            (Some("committed"), None) => Some(self.kept().await?),
            (Some("committed"), Some(head)) if self.log_holds(head).await? => Some(self.kept().await?),
            // The transaction is too old, or the database has another history.
            _ => Some(TransactionOutcome::Unknown),
        })
    }

    /// Confirms a commit. A COMMIT that was cut off may be on this server alone, although it was to wait for a standby.
    /// A later commit waits until the standby has everything before it.
    async fn kept(&self) -> Result<TransactionOutcome> {
        Box::pin(self.write_nothing()).await?;
        Ok(TransactionOutcome::Committed)
    }

    async fn log_holds(&self, head: &Head) -> Result<bool> {
        let reader = self.read_within(LOOK).await?;
        reader.holds(head).await
    }
}
