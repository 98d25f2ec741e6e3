//! The only source of time and of new ids: the system's clock, or a clock that a test moves by hand.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, SubsecRound};
use uuid::{ContextV7, Timestamp, Uuid};

use super::Instant;

/// The source of the time and of the new ids of a command.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that only [`Clock::advance`] moves.
    Manual(Arc<ManualClock>),
}

/// The state of a manual clock.
#[derive(Debug)]
pub struct ManualClock {
    /// The time in microseconds since 1970.
    micros: AtomicI64,
    /// Keeps the ids of one millisecond in the order of their creation.
    ids: Mutex<ContextV7>,
}

impl Clock {
    /// Creates a clock that stands at `start` until it is advanced.
    pub fn manual(start: Instant) -> Self {
        let micros = AtomicI64::new(start.timestamp_micros());
        Self::Manual(Arc::new(ManualClock { micros, ids: Mutex::new(ContextV7::new()) }))
    }

    /// Returns the present instant, cut to the microsecond.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    pub fn now(&self) -> Instant {
        match self {
            Self::System => chrono::Utc::now().trunc_subsecs(6),
            Self::Manual(clock) => {
                DateTime::from_timestamp_micros(clock.micros.load(Ordering::SeqCst)).unwrap_or_default()
            }
        }
    }

    /// Moves a manual clock. It does not affect the system's clock.
    pub fn advance(&self, by: chrono::Duration) {
        if let Self::Manual(clock) = self {
            clock.micros.fetch_add(by.num_microseconds().unwrap_or(0), Ordering::SeqCst);
        }
    }

    /// Returns a new UUIDv7. Its time is this clock's time, and ids of one clock ascend in the order of their creation.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
    pub fn fresh_id(&self) -> Uuid {
        match self {
            Self::System => Uuid::now_v7(),
            Self::Manual(clock) => {
                let now = self.now();
                let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
                Uuid::new_v7(Timestamp::from_unix(&clock.ids, seconds, now.timestamp_subsec_nanos()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the time part of an id, in milliseconds since 1970.
    fn millis(id: Uuid) -> i64 {
        let (seconds, nanos) = id.get_timestamp().expect("a UUIDv7").to_unix();
        i64::try_from(seconds).expect("a time") * 1_000 + i64::from(nanos / 1_000_000)
    }

    #[test]
    fn ids_of_a_manual_clock_carry_its_time_and_ascend() {
        let start = DateTime::from_timestamp_millis(1_780_000_000_123).expect("a time");
        let clock = Clock::manual(start);
        let mut ids: Vec<Uuid> = (0..1_000).map(|_| clock.fresh_id()).collect();
        assert!(ids.iter().all(|id| id.get_version_num() == 7 && millis(*id) == start.timestamp_millis()));
        clock.advance(chrono::Duration::hours(1));
        ids.push(clock.clone().fresh_id());
        assert_eq!(ids.last().map(|id| millis(*id)), Some(start.timestamp_millis() + 3_600_000));
        assert!(ids.is_sorted_by(|left, right| left < right), "they ascend, so all differ");
    }

    #[test]
    fn two_manual_clocks_of_one_time_make_different_ids() {
        let start = DateTime::from_timestamp_millis(1_780_000_000_123).expect("a time");
        let (one, other) = (Clock::manual(start), Clock::manual(start));
        let ids: std::collections::HashSet<Uuid> =
            (0..1_000).flat_map(|_| [one.fresh_id(), other.fresh_id()]).collect();
        assert_eq!(ids.len(), 2_000);
    }
}
