//! Imports: what other desks and products write, read into records and applied through the app's commands.
//!
//! A reader is pure: bytes in, numbered records out, a bad one told by its line. [`apply`] is the only part that
//! touches the desk. The same file twice changes nothing.

pub mod csv_records;
pub mod detect;
pub mod document;
pub mod entities;
#[cfg(test)]
mod fixtures;
pub mod graph;
pub mod lines;
pub mod ndjson;
pub mod record;
pub mod security_alert;
pub mod sentinel;
pub mod words;

pub use record::Record;

/// What an import can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Our own shape, a record a line (docs/IMPORT.md).
    Watchfloor,
    /// Incidents, comments, relations and alerts of Microsoft Sentinel's REST API.
    Sentinel,
    /// Rows of the Log Analytics table SecurityAlert, as CSV.
    SecurityAlert,
    /// Incidents and alerts of Microsoft Graph security.
    Graph,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Watchfloor, Self::Sentinel, Self::SecurityAlert, Self::Graph];

    /// The word on the command line, and the name of the cause in the activity log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watchfloor => "watchfloor",
            Self::Sentinel => "sentinel",
            Self::SecurityAlert => "security-alert",
            Self::Graph => "graph",
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|format| format.as_str() == word);
        found.ok_or_else(|| format!("\"{word}\" is no format, choose one of {known}"))
    }
}

/// One record of a file, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The line it starts on, from 1.
    pub line: u64,
    /// The record.
    pub record: Result<Record, Bad>,
}

/// Why a record did not go in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The line it starts on, from 1.
    pub line: u64,
    /// In words for who wrote the file: lowercase, no full stop.
    pub reason: String,
}

/// The records of a file, in its order; an error of the file itself ends them.
pub type Items = Box<dyn Iterator<Item = crate::domain::Result<Item>> + Send>;

impl Item {
    fn bad(line: u64, reason: impl Into<String>) -> Self {
        Self { line, record: Err(Bad { line, reason: reason.into() }) }
    }
}
