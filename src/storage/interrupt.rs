//! An end for statements that take too long, and for those that nobody waits for any more.
//!
//! PostgreSQL ends a statement by itself: at the `statement_timeout` of its transaction, and soon after its connection was
//! closed. SQLite computes in this process, on a thread of the connection, and asks here whether it is to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::domain::error::Refusal;
use crate::domain::{Code, Error};

/// Steps of SQLite's virtual machine between two looks: some 50 µs of work, beside which a look is nothing.
pub(super) const STEPS: i32 = 2_000;

/// How often PostgreSQL looks whether the client of a running statement is still connected.
pub(super) const CLIENT_LOOK: &str = "200ms";

/// How long a statement of the desk's own work may take: jobs, imports, exports, the log's readers.
pub(super) const OWN_WORK: Duration = Duration::from_secs(60);

/// How long a statement of `verify` may take: some read a whole table.
pub(super) const VERIFICATION: Duration = Duration::from_secs(30 * 60);

/// How long a statement of a migration may take: an index over every alert of years.
pub(super) const MIGRATION: Duration = Duration::from_secs(2 * 60 * 60);

const NEVER: u64 = u64::MAX;

/// When the statement that runs on a connection is to end. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    since: Instant,
    /// In nanoseconds after `since`.
    end: AtomicU64,
}

impl Interrupt {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner { since: Instant::now(), end: AtomicU64::new(NEVER) }))
    }

    /// A statement begins, which has so long.
    pub(super) fn after(&self, time: Duration) {
        let end = self.0.since.elapsed().saturating_add(time).as_nanos();
        self.0.end.store(u64::try_from(end).unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// No statement is to be ended.
    pub(super) fn never(&self) {
        self.0.end.store(NEVER, Ordering::Relaxed);
    }

    /// Whatever runs is to end at once.
    pub(super) fn now(&self) {
        self.0.end.store(0, Ordering::Relaxed);
    }

    /// Whether a statement may go on.
    pub(super) fn goes_on(&self) -> bool {
        let end = self.0.end.load(Ordering::Relaxed);
        end == NEVER || self.0.since.elapsed().as_nanos() < u128::from(end)
    }
}

/// A statement took longer than it may. Nothing was changed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a statement took longer than {} s", .time.as_secs_f64())]
pub(super) struct TooLong {
    /// How long it had.
    pub(super) time: Duration,
    /// Whether it was of a transaction that writes: then it may have waited for another one.
    pub(super) writes: bool,
}

impl TooLong {
    /// In product words. To read the same again takes as long again; a write may have waited for another.
    pub(super) fn refusal(self) -> Error {
        let seconds = self.time.as_secs_f64();
        if self.writes {
            return Error::unavailable_for_long(format!(
                "this took longer than {seconds} s, so nothing was changed: try again, with less at once"
            ));
        }
        let message =
            format!("this takes longer than {seconds} s: narrow the filter, or ask for fewer texts and counts at once");
        Refusal { code: Code::Limit, message, path: None, now: Some(json!({ "limit": seconds })), retry_after: None }
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_at_its_time_and_at_once_where_nobody_waits() {
        let interrupt = Interrupt::new();
        assert!(interrupt.goes_on());
        interrupt.after(Duration::from_secs(60));
        assert!(interrupt.goes_on());
        interrupt.after(Duration::ZERO);
        assert!(!interrupt.goes_on());
        interrupt.never();
        assert!(interrupt.goes_on());
        interrupt.now();
        assert!(!interrupt.goes_on());
    }
}
