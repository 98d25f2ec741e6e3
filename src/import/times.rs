//! Times in the forms of files: RFC 3339, without a zone, in forms of tables and portals, and the values for "never".

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};

use crate::domain::Instant;

/// The meaning of a text as a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToldTime {
    /// An instant.
    At(Instant),
    /// An instant under the assumption of UTC, because the text has no zone.
    Unzoned(Instant),
    /// No time: .NET's `0001-01-01` or `9999-12-31`, which stand for a field that was never set.
    Never,
}

/// The forms of a time without a zone. A leading month is American, as in Azure's portals.
const UNZONED: [&str; 9] = [
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%m/%d/%Y, %I:%M:%S%.f %p",
    "%m/%d/%Y %I:%M:%S%.f %p",
    "%m/%d/%Y, %H:%M:%S%.f",
    "%m/%d/%Y %H:%M:%S%.f",
    "%m/%d/%Y %H:%M",
];

/// The forms of a time with a zone that RFC 3339 does not accept.
const ZONED: [&str; 3] = ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f %z", "%Y-%m-%dT%H:%M%z"];

/// Reads a time; `None` if the text is no time.
pub(super) fn read(text: &str) -> Option<ToldTime> {
    let text = text.trim();
    let text = text.strip_suffix("UTC").map_or(text, str::trim_end);
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(told(at.to_utc(), ToldTime::At));
    }
    if let Some(at) = ZONED.iter().find_map(|form| DateTime::parse_from_str(text, form).ok()) {
        return Some(told(at.to_utc(), ToldTime::At));
    }
    if let Some(at) = text.strip_suffix(['Z', 'z']).and_then(unzoned) {
        return Some(told(at.and_utc(), ToldTime::At));
    }
    Some(told(unzoned(text)?.and_utc(), ToldTime::Unzoned))
}

fn unzoned(text: &str) -> Option<NaiveDateTime> {
    UNZONED
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
}

fn told(at: Instant, form: fn(Instant) -> ToldTime) -> ToldTime {
    if is_never(at) { ToldTime::Never } else { form(at) }
}

/// Returns whether an instant is .NET's `DateTime.MinValue` or `MaxValue`, in any zone.
pub(super) fn is_never(at: Instant) -> bool {
    matches!((at.year(), at.ordinal()), (0, 366) | (1, 1..=2) | (9999, 364..=365) | (10_000, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_make_are_read() {
        let at = |text: &str| text.parse::<Instant>().unwrap();
        let (noon, exact) = (at("2024-03-01T12:00:00Z"), at("2024-03-01T12:00:00.1234567Z"));
        for text in [
            "2024-03-01T12:00:00Z",
            "2024-03-01T14:00:00+02:00",
            "2024-03-01T14:00:00+0200",
            "2024-03-01T12:00Z",
            "2024-03-01 12:00:00Z",
            "2024-03-01 12:00:00 +0000",
            "2024-03-01T12:00:00z",
        ] {
            assert_eq!(read(text), Some(ToldTime::At(noon)), "{text}");
        }
        assert_eq!(read("2024-03-01T12:00:00.1234567Z"), Some(ToldTime::At(exact)));
        for text in [
            "2024-03-01T12:00:00",
            "2024-03-01 12:00:00.000",
            "3/1/2024, 12:00:00 PM",
            "3/1/2024 12:00:00 PM",
            "03/01/2024 12:00:00",
            "2024-03-01 12:00",
            "2024-03-01 12:00:00 UTC",
        ] {
            assert_eq!(read(text), Some(ToldTime::Unzoned(noon)), "{text}");
        }
        for text in [
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00",
            "0001-01-01T00:00:00+02:00",
            "1/1/0001 12:00:00 AM",
            "0001-01-01",
            "9999-12-31T23:59:59.9999999Z",
        ] {
            assert_eq!(read(text), Some(ToldTime::Never), "{text}");
        }
        for text in ["", "yesterday", "2024-02-30", "2024-13-01T00:00:00Z", "12:00", "1709294400", "🕛"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
