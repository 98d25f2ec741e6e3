//! A write outage: why the database takes no writes, and the probe that finds out when it takes writes again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use tracing::{debug, info, warn};

use super::bounded::ANSWER;
use super::fault::{self, NoWrites};
use super::transaction::{Purpose, Unsaved};
use super::{Result, Store};
use crate::domain::Error;

/// How often the probe may run during an outage. Readiness checks ask about as often.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The current outage, shared by all transactions that write. A commit clears it.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<Seen>>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    why: NoWrites,
    probed: Option<Instant>,
}

impl Trouble {
    /// Records the outage if this error of a write tells of an outage.
    pub(super) fn note(&self, error: &DbErr) {
        let Some(why) = fault::no_writes(error) else { return };
        let mut seen = self.lock();
        if seen.is_none_or(|seen| seen.why != why) {
            warn!(%error, "the database takes no writes: they are refused until it does");
        }
        let probed = seen.and_then(|seen| seen.probed);
        *seen = Some(Seen { why, probed });
    }

    /// Clears the outage, because a write was committed.
    pub(super) fn clear(&self) {
        if self.lock().take().is_some() {
            info!("the database takes writes again");
        }
    }

    fn seen(&self) -> Option<NoWrites> {
        self.lock().map(|seen| seen.why)
    }

    /// Whether the probe is due. If so, it counts as run: callers within the next interval get `false`.
    fn is_due(&self) -> bool {
        let mut seen = self.lock();
        let Some(seen) = seen.as_mut() else { return false };
        let due = seen.probed.is_none_or(|probed| probed.elapsed() >= PROBE_EVERY);
        if due {
            seen.probed = Some(Instant::now());
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, Option<Seen>> {
        self.0.lock()
    }
}

impl Store {
    /// Checks that the database answers and takes writes. During an outage (a full disk, for example) it tries a small
    /// write, at most once a second, so the desk recovers by itself.
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

    /// During an outage copies SQLite's write-ahead log into the database file, which may free room on a full disk.
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

    /// Commits the smallest write, which changes nothing. On SQLite it overwrites whatever a failed commit left behind
    /// the end of the write-ahead log.
    pub(super) async fn write_nothing(&self) -> Result<()> {
        let conn = self.begin(Purpose::Write, ANSWER).await?;
        let sql = match conn.get_database_backend() {
            // SQLite writes nothing for a row with unchanged values. It always writes the header field for
            // applications, which this desk leaves at zero.
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
