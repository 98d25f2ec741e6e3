//! What became of a COMMIT whose answer is missing: the database is asked before the caller is answered.
//!
//! PostgreSQL keeps the status of each transaction by its id. A server that took over, or was set back, may know the id as
//! another transaction's: so the log must hold the transaction's last change too, with its hash.
//! SQLite has no such status: an error after the last frame of its write-ahead log was written leaves a commit that is not
//! counted, but would be found by a recovery after a crash. So something else is written in its place first; then the log
//! either holds the change or never will.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::changelog::Head;
use super::{Result, Store};

/// How long the desk looks for a commit while its caller waits. A PostgreSQL that was killed is back within seconds; a disk of
/// SQLite that does not take the least write is not.
const LOOKING_POSTGRES: Duration = Duration::from_secs(15);
const LOOKING_SQLITE: Duration = Duration::from_millis(500);

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);

/// The pauses between two looks: from the first, each is twice as long, up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// By what a transaction is found again.
pub(super) struct Receipt {
    /// PostgreSQL's id of it.
    pub(super) id: Option<String>,
    /// The head of the log that it wrote; none if it recorded no change.
    pub(super) head: Option<Head>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    RolledBack,
    Unknown,
}

impl Store {
    /// Finds out what became of a transaction. In a task of its own, which nobody drops half-way.
    pub(super) async fn outcome(&self, receipt: Receipt) -> Outcome {
        let store = self.clone();
        let looked = tokio::spawn(async move { store.look_for(&receipt).await });
        looked.await.unwrap_or(Outcome::Unknown)
    }

    async fn look_for(&self, receipt: &Receipt) -> Outcome {
        let last_look = Instant::now() + if self.is_postgres() { LOOKING_POSTGRES } else { LOOKING_SQLITE };
        let (mut pause, longest) = PAUSES;
        loop {
            match tokio::time::timeout(LOOK, Box::pin(self.look(receipt))).await {
                Ok(Ok(Some(outcome))) => return outcome,
                Ok(Ok(None)) => debug!("a commit is still going on"),
                Ok(Err(error)) => debug!(%error, "what became of a commit cannot be asked yet"),
                Err(_) => debug!("what became of a commit was not answered"),
            }
            if Instant::now() >= last_look {
                warn!("nobody knows whether a commit was done");
                return Outcome::Unknown;
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// One look; none if it is too early to say.
    async fn look(&self, receipt: &Receipt) -> Result<Option<Outcome>> {
        let Some(id) = &receipt.id else {
            Box::pin(self.write_nothing()).await?;
            return Ok(Some(match &receipt.head {
                None => Outcome::Unknown,
                Some(head) if self.log_holds(head).await? => Outcome::Committed,
                Some(_) => Outcome::RolledBack,
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
            (Some("aborted"), _) => Some(Outcome::RolledBack),
            (Some("committed"), None) => Some(self.kept().await?),
            (Some("committed"), Some(head)) if self.log_holds(head).await? => Some(self.kept().await?),
            // Too long ago, or another life of the database.
            _ => Some(Outcome::Unknown),
        })
    }

    /// A commit that was cut off may be on this server alone, though it was to wait for a standby. A later one waits for the standby
    /// to have all that comes before it.
    async fn kept(&self) -> Result<Outcome> {
        Box::pin(self.write_nothing()).await?;
        Ok(Outcome::Committed)
    }

    async fn log_holds(&self, head: &Head) -> Result<bool> {
        let reader = self.read_within(LOOK).await?;
        reader.holds(head).await
    }
}
