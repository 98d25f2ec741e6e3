//! What keeps the database from taking writes, as a write last met it; and the probe that finds out when it is over.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use tracing::{debug, info, warn};

use super::bounded::ANSWER;
use super::fault::{self, NoWrites};
use super::transaction::{Purpose, Unsaved};
use super::{Result, Store};
use crate::domain::Error;

/// How often a database that took no writes is tried: whoever asks whether the desk is ready asks about as often.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Shared by all transactions that write. A commit clears it.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<Seen>>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    why: NoWrites,
    probed: Option<Instant>,
}

impl Trouble {
    /// A write was answered with this error.
    pub(super) fn note(&self, error: &DbErr) {
        let Some(why) = fault::no_writes(error) else { return };
        let mut seen = self.lock();
        if seen.is_none_or(|seen| seen.why != why) {
            warn!(%error, "the database takes no writes: they are refused until it does");
        }
        let probed = seen.and_then(|seen| seen.probed);
        *seen = Some(Seen { why, probed });
    }

    /// A write was committed.
    pub(super) fn clear(&self) {
        if self.lock().take().is_some() {
            info!("the database takes writes again");
        }
    }

    fn seen(&self) -> Option<NoWrites> {
        self.lock().map(|seen| seen.why)
    }

    /// Whether it is time to try whether the trouble is over; the next one who asks is told to wait.
    fn is_due(&self) -> bool {
        let mut seen = self.lock();
        let Some(seen) = seen.as_mut() else { return false };
        let due = seen.probed.is_none_or(|probed| probed.elapsed() >= PROBE_EVERY);
        if due {
            seen.probed = Some(Instant::now());
        }
        due
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Seen>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Store {
    /// Whether the desk can do its work: the database answers, and takes writes. Where the last write met a full disk or the
    /// like, a small one is tried, at most once a second, so that the desk goes on by itself.
    pub async fn ready(&self) -> Result<()> {
        self.ping().await?;
        let Some(why) = self.trouble.seen() else { return Ok(()) };
        if self.trouble.is_due() {
            Box::pin(self.make_room()).await;
            match Box::pin(self.write_nothing()).await {
                Ok(()) => return Ok(()),
                Err(error) => debug!(%error, "the database still takes no writes"),
            }
        }
        Err(Error::unavailable(why.message()))
    }

    /// What may help a full disk: SQLite's write-ahead log is copied into its file before it must grow further.
    pub(super) async fn make_room_if_due(&self) {
        if self.trouble.seen().is_some() && self.trouble.is_due() {
            self.make_room().await;
        }
    }

    async fn make_room(&self) {
        if let Err(error) = self.writer.checkpoint().await {
            debug!(%error, "the write-ahead log was not copied into its file");
        }
    }

    /// Commits the smallest write that changes nothing. On SQLite it takes the place, in the write-ahead log, of whatever a
    /// failed commit left behind its end.
    pub(super) async fn write_nothing(&self) -> Result<()> {
        let conn = self.begin(Purpose::Write, ANSWER).await?;
        let sql = match conn.get_database_backend() {
            // A row that is written as it was writes nothing there; the header's field for applications, which this desk leaves
            // at zero, always is.
            DbBackend::Sqlite => "PRAGMA user_version = 0",
            _ => "UPDATE log_head SET floor = floor",
        };
        conn.execute_unprepared(sql).await?;
        conn.commit().await.map_err(|unsaved| match unsaved {
            Unsaved::Nothing(error) | Unsaved::Unknown(error) => Error::from(error),
            Unsaved::TakenBack => Error::unavailable(fault::TAKEN_BACK),
        })
    }
}
