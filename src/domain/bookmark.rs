//! Bookmarks: hunting results that a person pins to an incident. They keep the form in which they were found.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::account::ActorImage;
use super::entity::Entity;
use super::path::each;
use super::{BookmarkId, Error, IncidentId, Instant, Result, text};

/// The most bookmarks of one incident at which another may be added (Microsoft Sentinel: 20 bookmarks per incident). A
/// merge may bring together more.
pub(crate) const BOOKMARKS_PER_INCIDENT_MAX: u64 = 20;

/// The longest title, in characters. Every log entry about a bookmark repeats the title, and the log has to stay small.
pub(crate) const TITLE_CHARS_MAX: usize = 200;

/// The longest query, in characters (Microsoft Sentinel: 10,000 for the query of a rule).
pub(crate) const QUERY_CHARS_MAX: usize = 10_000;

/// The longest note, in characters: as long as a comment.
pub(crate) const NOTE_CHARS_MAX: usize = 30_000;

/// The most result rows. A person looks through so many rows and pins them; a larger result is an export.
pub(crate) const ROWS_MAX: usize = 1_000;

/// The longest result, in bytes of its JSON. An incident's 20 results take 5 MiB, and one request has room for eight.
pub(crate) const ROWS_BYTES_MAX: usize = 256 * 1024;

/// The most entities of one bookmark: as many as of one alert.
pub(crate) const ENTITIES_MAX: usize = 500;

/// A hunting result that is pinned to an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Bookmark {
    /// The id of the bookmark.
    pub id: BookmarkId,
    /// The incident that has the bookmark.
    pub incident: IncidentId,
    /// The hunting result.
    pub finding: Finding,
    /// The actor who pinned it, named as of that time.
    pub author: ActorImage,
    /// The time at which it was pinned.
    pub created_at: Instant,
    /// The time at which it was removed, if it was. The log still shows the bookmark.
    pub removed_at: Option<Instant>,
}

/// A hunting result without its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The title of the result.
    pub title: String,
    /// The query that found the result.
    pub query: Option<String>,
    /// The note of the person who pinned the result.
    pub note: Option<String>,
    /// The entities that the result names.
    pub entities: Vec<Entity>,
    /// The time of the event that the result shows.
    pub event_at: Option<Instant>,
}

impl Finding {
    /// Checks the result against every limit and trims its title.
    pub fn checked(self) -> Result<Self> {
        let title = text::name("title", &self.title, TITLE_CHARS_MAX)?;
        for (path, text, limit) in [("query", &self.query, QUERY_CHARS_MAX), ("note", &self.note, NOTE_CHARS_MAX)] {
            text.as_deref().map_or(Ok(()), |text| text::at_most(path, text, limit))?;
        }
        if self.entities.len() > ENTITIES_MAX {
            let message = format!("a bookmark names at most {ENTITIES_MAX} entities");
            return Err(Error::limit("entities", message, ENTITIES_MAX));
        }
        Ok(Self { title, ..self })
    }
}

/// The rows of a hunting result: a JSON array of objects, stored as given, without the whitespace between values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultRows(String);

impl ResultRows {
    /// Reads rows: at most [`ROWS_MAX`] objects in at most [`ROWS_BYTES_MAX`] bytes, without U+0000 in any text. Their
    /// numbers stay as they are written; the reader of the request (`given.rs`) checks their range and the nesting.
    pub fn parse(path: &str, json: &str) -> Result<Self> {
        let no_rows = |_| Error::invalid(path, "a result is an array of objects, one a row");
        let rows: Vec<&RawValue> = serde_json::from_str(json).map_err(no_rows)?;
        for row in &rows {
            // Values are passed over, because a value would read a reserved key of serde_json as a text of its own.
            serde_json::from_str::<HashMap<String, IgnoredAny>>(row.get()).map_err(no_rows)?;
        }
        if rows.len() > ROWS_MAX {
            let message = format!("a result has at most {ROWS_MAX} rows, and these are {}", rows.len());
            return Err(Error::limit(path, message, ROWS_MAX));
        }
        each(path, &rows, |path, row| refuse_nul_in(path, row.get()))?;
        let kept = compact(json);
        if kept.len() > ROWS_BYTES_MAX {
            let message = format!("a result has at most {ROWS_BYTES_MAX} bytes, and these are {}", kept.len());
            return Err(Error::limit(path, message, ROWS_BYTES_MAX));
        }
        Ok(Self(kept))
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Refuses U+0000 in a JSON text, where it is always written as an escape. A parsed object would show only the last of
/// several values under one name.
fn refuse_nul_in(path: &str, json: &str) -> Result<()> {
    let mut rest = json;
    while let Some((_, escape)) = rest.split_once('\\') {
        if escape.starts_with("u0000") {
            return text::refuse_nul(path, "\0");
        }
        rest = escape.get(1..).unwrap_or_default();
    }
    Ok(())
}

/// Removes the whitespace between the values of a JSON text. So the text has one line, as some transports need.
fn compact(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let keep = |char: &char| {
        if in_text {
            in_text = escaped || *char != '"';
            escaped = !escaped && *char == '\\';
            return true;
        }
        in_text = *char == '"';
        !char.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_objects_within_their_bounds() {
        let read = |json: &str| ResultRows::parse("rows", json);
        let kept = |json: &str| read(json).expect("rows").as_str().to_owned();
        assert_eq!(kept("[{ \"b\": 1.50,\n\t\"a\": null }]"), "[{\"b\":1.50,\"a\":null}]");
        let odd = r#"[{"z":123456789012345678901234567890,"a":0.1000,"a":"\u00e9 \\u0000 \\\" {","":-0}]"#;
        assert_eq!(kept(odd), odd);
        assert!(read("[]").is_ok());
        for json in ["", "{}", "[1]", "[[]]", "null", "[{}", "[{} {}]", "[{\"a\": 1 2}]"] {
            assert!(read(json).is_err(), "{json}");
        }
        for nul in [r#"{"a\u0000": 1}"#, r#"{"a": [{"b": "\\\u0000"}]}"#, r#"{"a": "\u0000", "a": 1}"#] {
            assert!(read(&format!("[{nul}]")).is_err(), "{nul}");
        }
        assert!(read(&format!("[{}]", vec!["{}"; ROWS_MAX].join(","))).is_ok());
        assert!(read(&format!("[{}]", vec!["{}"; ROWS_MAX + 1].join(","))).is_err());
        assert!(read(&format!("[{{\"a\":\"{}\"}}]", "x".repeat(ROWS_BYTES_MAX))).is_err());
    }
}
