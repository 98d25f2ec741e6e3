//! Ends statements that take too long, or that nobody waits for any more.
//!
//! PostgreSQL ends a statement at the `statement_timeout` of its transaction, and soon after its connection was closed.
//! SQLite runs in this process, on a thread of the connection, and asks here whether to continue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::domain::error::Refusal;
use crate::domain::{Code, Error};

/// SQLite's virtual machine steps between two checks: some 50 µs of work. The check itself costs next to nothing.
pub(super) const STEPS: i32 = 2_000;

/// How often PostgreSQL checks whether the client of a running statement is still connected.
pub(super) const CLIENT_LOOK: &str = "200ms";

/// The statement timeout of the desk's own work: jobs, imports, exports, readers of the log.
pub(super) const OWN_WORK: Duration = Duration::from_secs(60);

/// The statement timeout of `verify`. Some of its statements read a whole table.
pub(super) const VERIFICATION: Duration = Duration::from_secs(30 * 60);

/// The statement timeout of a migration, which may index every alert of years.
pub(super) const MIGRATION: Duration = Duration::from_secs(2 * 60 * 60);

const NEVER: u64 = u64::MAX;

/// The time at which the running statement of a connection must end. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(Arc<InterruptInner>);

#[derive(Debug)]
struct InterruptInner {
    since: Instant,
    /// The end in nanoseconds after `since`, or [`NEVER`].
    end: AtomicU64,
}

impl Interrupt {
    pub(super) fn new() -> Self {
        Self(Arc::new(InterruptInner { since: Instant::now(), end: AtomicU64::new(NEVER) }))
    }

    /// Starts the timeout of a statement.
    pub(super) fn after(&self, time: Duration) {
        let end = self.0.since.elapsed().saturating_add(time).as_nanos();
        self.0.end.store(u64::try_from(end).unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// Clears the timeout.
    pub(super) fn never(&self) {
        self.0.end.store(NEVER, Ordering::Relaxed);
    }

    /// Ends the running statement at once.
    pub(super) fn now(&self) {
        self.0.end.store(0, Ordering::Relaxed);
    }

    /// Whether a statement may continue.
    pub(super) fn goes_on(&self) -> bool {
        let end = self.0.end.load(Ordering::Relaxed);
        end == NEVER || self.0.since.elapsed().as_nanos() < u128::from(end)
    }
}

/// The error of a statement that exceeded its timeout. Nothing was changed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a statement took longer than {} s", .time.as_secs_f64())]
pub(super) struct TooLong {
    /// The timeout.
    pub(super) time: Duration,
    /// Whether the transaction writes: its statement may have waited for another transaction.
    pub(super) writes: bool,
}

impl TooLong {
    /// Returns the refusal in product words. A read would take as long again; a write may have waited for another
    /// transaction.
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
