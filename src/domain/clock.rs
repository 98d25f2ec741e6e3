//! The only source of time: the system's clock, or a clock that a test moves by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SubsecRound};

use super::Instant;

/// The source of the time and of the new ids of a command.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that only [`Clock::advance`] moves, in microseconds since 1970.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Creates a clock that stands at `start` until it is advanced.
    pub fn manual(start: Instant) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start.timestamp_micros())))
    }

    /// Returns the present instant, cut to the microsecond.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    pub fn now(&self) -> Instant {
        match self {
            Self::System => chrono::Utc::now().trunc_subsecs(6),
            Self::Manual(micros) => DateTime::from_timestamp_micros(micros.load(Ordering::SeqCst)).unwrap_or_default(),
        }
    }

    /// Moves a manual clock. It does not affect the system's clock.
    pub fn advance(&self, by: chrono::Duration) {
        if let Self::Manual(micros) = self {
            micros.fetch_add(by.num_microseconds().unwrap_or(0), Ordering::SeqCst);
        }
    }

    /// Returns a new id, ordered by the time of its creation (UUIDv7). The time is always the machine's.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
    pub fn fresh_id(&self) -> uuid::Uuid {
        uuid::Uuid::now_v7()
    }
}
