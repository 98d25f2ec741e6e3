//! Instants that come from outside: which of them the desk accepts, and how precisely it stores them.

use chrono::{Datelike, Duration, SubsecRound, Timelike};

use super::{Error, Instant, Result};

/// The last microsecond of a second, in nanoseconds.
const LAST_MICROSECOND: u32 = 999_999_000;

/// Reads an instant between the years 2 and 9998, and cuts it as [`kept`] does. The keys of missing times lie outside
/// of these years.
pub(crate) fn parse(path: &str, at: Instant) -> Result<Instant> {
    if !(2..=9998).contains(&at.year()) {
        return Err(Error::invalid(path, "an instant lies between the years 2 and 9998"));
    }
    Ok(kept(at))
}

/// How many minutes the time of a past event may lie ahead of the desk's clock, because another clock may be ahead. A
/// later time would make all following events look older than the known state, so they would be lost.
pub(crate) const AHEAD_MINUTES_MAX: i64 = 5;

/// Reads the time of a past event, from a caller, a feed or an import: as [`parse`], and at most [`AHEAD_MINUTES_MAX`]
/// after `now`, the desk's own time. A later time is `INVALID`.
pub(crate) fn past(path: &str, at: Instant, now: Instant) -> Result<Instant> {
    let at = parse(path, at)?;
    if at > now + Duration::minutes(AHEAD_MINUTES_MAX) {
        let message = format!("this time lies more than {AHEAD_MINUTES_MAX} minutes in the future");
        return Err(Error::invalid(path, message));
    }
    Ok(at)
}

/// Returns an instant in the precision that the desk stores: cut to the microsecond, which both databases hold.
///
/// A leap second (`23:59:60`) becomes the last microsecond before it. So it stays on its day, and before all later
/// times. PostgreSQL would store it as the next day, SQLite would keep it, and the log would have a third form.
pub(crate) fn kept(at: Instant) -> Instant {
    match at.nanosecond() {
        1_000_000_000.. => at.with_nanosecond(LAST_MICROSECOND).unwrap_or(at),
        _ => at.trunc_subsecs(6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    #[test]
    fn a_leap_second_stays_on_its_day() {
        let kept_at = at("2026-06-30T23:59:59.999999Z");
        assert_eq!(kept(at("2026-06-30T23:59:60Z")), kept_at);
        assert_eq!(kept(at("2026-06-30T23:59:60.5Z")), kept_at);
        assert_eq!(kept(kept_at), kept_at);
        assert_eq!(kept(at("2026-06-30T23:59:59.1234567Z")), at("2026-06-30T23:59:59.123456Z"));
    }

    #[test]
    fn what_has_happened_lies_at_most_five_minutes_ahead() {
        let now = at("2026-11-23T08:00:00Z");
        assert!(past("at", at("2026-11-23T08:05:00Z"), now).is_ok());
        assert!(past("at", at("2026-11-23T08:05:00.000001Z"), now).is_err());
        assert!(past("at", at("0001-01-01T00:00:00Z"), now).is_err());
    }

    #[test]
    fn years_beyond_the_keys_of_missing_times_are_refused() {
        for text in ["0001-12-31T23:59:59Z", "9999-01-01T00:00:00Z", "+20000-01-01T00:00:00Z", "-4800-01-01T00:00:00Z"]
        {
            assert!(parse("at", at(text)).is_err(), "{text}");
        }
        for text in ["0002-01-01T00:00:00Z", "9998-12-31T23:59:60Z"] {
            assert!(parse("at", at(text)).is_ok(), "{text}");
        }
    }
}
