//! Bookmarks: results of a hunt, pinned to an incident by hand and kept as they were found.

use serde_json::{Map, Value};

use super::account::ActorImage;
use super::entity::Entity;
use super::{BookmarkId, Error, IncidentId, Instant, Result, text};

/// The most bookmarks that stand on an incident when one is added (Microsoft Sentinel: 20 bookmarks per incident). A merge
/// may bring more together.
pub const BOOKMARKS_PER_INCIDENT_MAX: u64 = 20;

/// The longest title, in characters: every entry of the log about a bookmark repeats it, and the log must stay small.
pub const TITLE_CHARS_MAX: usize = 200;

/// The longest query, in characters (Microsoft Sentinel: 10,000 for the query of a rule).
pub const QUERY_CHARS_MAX: usize = 10_000;

/// The longest note, in characters: as a comment.
pub const NOTE_CHARS_MAX: usize = 30_000;

/// The most result rows: what a person has looked through and pins. More is an export, and no finding.
pub const ROWS_MAX: usize = 1_000;

/// The longest result, in bytes of its JSON: 20 of them are 5 MiB for an incident, and each fits a request eight times.
pub const ROWS_BYTES_MAX: usize = 256 * 1024;

/// The most entities of one bookmark: as many as of an alert.
pub const ENTITIES_MAX: usize = 500;

/// A result of a hunt on an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Bookmark {
    /// Its id.
    pub id: BookmarkId,
    /// The incident it is pinned to.
    pub incident: IncidentId,
    /// What was found.
    pub finding: Finding,
    /// Who pinned it, named as then.
    pub author: ActorImage,
    /// When it was pinned.
    pub created_at: Instant,
    /// When it was taken away, if it was: the log still shows it.
    pub removed_at: Option<Instant>,
}

/// What a hunt has found; its rows aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is, in a line.
    pub title: String,
    /// The query that found it.
    pub query: Option<String>,
    /// What to make of it.
    pub note: Option<String>,
    /// The things that it names.
    pub entities: Vec<Entity>,
    /// When what it shows happened.
    pub event_at: Option<Instant>,
}

impl Finding {
    /// Checks a finding against every limit and trims its title.
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

/// The result rows: a JSON array of objects, as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows(String);

impl Rows {
    /// Reads rows: at most [`ROWS_MAX`] objects in at most [`ROWS_BYTES_MAX`] bytes, without U+0000 in any text.
    pub fn parse(path: &str, json: String) -> Result<Self> {
        if json.len() > ROWS_BYTES_MAX {
            let message = format!("a result has at most {ROWS_BYTES_MAX} bytes, and these are {}", json.len());
            return Err(Error::limit(path, message, ROWS_BYTES_MAX));
        }
        let rows: Vec<Map<String, Value>> = serde_json::from_str(&json)
            .map_err(|_| Error::invalid(path, "a result is an array of objects, one a row"))?;
        if rows.len() > ROWS_MAX {
            let message = format!("a result has at most {ROWS_MAX} rows, and these are {}", rows.len());
            return Err(Error::limit(path, message, ROWS_MAX));
        }
        rows.iter().try_for_each(|row| refuse_nul_in(path, row))?;
        Ok(Self(json))
    }

    /// The JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn refuse_nul_in(path: &str, object: &Map<String, Value>) -> Result<()> {
    fn check(path: &str, value: &Value) -> Result<()> {
        match value {
            Value::String(text) => text::refuse_nul(path, text),
            Value::Array(values) => values.iter().try_for_each(|value| check(path, value)),
            Value::Object(object) => refuse_nul_in(path, object),
            _ => Ok(()),
        }
    }
    object.iter().try_for_each(|(name, value)| text::refuse_nul(path, name).and_then(|()| check(path, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_objects_within_their_bounds() {
        let read = |json: &str| Rows::parse("rows", json.to_owned());
        assert_eq!(read("[{ \"b\": 1.50, \"a\": null }]").expect("rows").as_str(), "[{ \"b\": 1.50, \"a\": null }]");
        assert!(read("[]").is_ok());
        for json in ["", "{}", "[1]", "[[]]", "null", "[{}", "[{\"a\\u0000\": 1}]", "[{\"a\": [{\"b\": \"\\u0000\"}]}]"]
        {
            assert!(read(json).is_err(), "{json}");
        }
        assert!(read(&format!("[{}]", vec!["{}"; ROWS_MAX].join(","))).is_ok());
        assert!(read(&format!("[{}]", vec!["{}"; ROWS_MAX + 1].join(","))).is_err());
        assert!(read(&format!("[{{\"a\":\"{}\"}}]", "x".repeat(ROWS_BYTES_MAX))).is_err());
    }
}
