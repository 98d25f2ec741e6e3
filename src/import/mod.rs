//! Imports: what other desks and products write, read into records and applied through the app's commands.
//!
//! A reader is pure: bytes in, numbered records out, a bad one told by its line. [`apply`] is the only part that
//! touches the desk. The same file twice changes nothing.

pub mod apply;
pub mod csv_records;
pub mod decode;
pub mod detect;
pub mod document;
pub mod entities;
#[cfg(test)]
mod fixtures;
mod forms;
pub mod graph;
mod keep;
mod lenient;
pub mod lines;
pub mod ndjson;
pub mod odd;
pub mod record;
pub mod security_alert;
pub mod sentinel;
pub mod summary;
mod times;
pub mod values;
pub mod words;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use odd::Odd;
pub use record::Record;
pub use summary::{Counts, NAMED_MAX, Summary, Verdict, print_summary};

use self::apply::{Applied, Applier};
use self::lines::Tally;
use crate::app::App;

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
    /// What of it could not be read as it stands.
    pub odd: Vec<Odd>,
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
    fn bad(line: u64, reason: impl AsRef<str>) -> Self {
        let reason = decode::plain(reason.as_ref()).into_owned();
        Self { line, record: Err(Bad { line, reason }), odd: Vec::new() }
    }
}

/// How to import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The format; told by how the file begins where none is given.
    pub format: Option<Format>,
    /// Whether the first bad record ends the import.
    pub strict: bool,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes of the whole file, where that is known.
    pub bytes_total: Option<u64>,
    /// Records read so far, bad ones included.
    pub records: u64,
    /// Bad ones among them.
    pub bad: u64,
}

/// A file to import, or something that is read like one.
pub struct Source {
    reader: Box<dyn std::io::Read + Send>,
    bytes_total: Option<u64>,
}

impl Source {
    /// Opens a file.
    pub fn open(path: &std::path::Path) -> crate::domain::Result<Self> {
        let failed = |error: std::io::Error| {
            crate::domain::Error::invalid("file", format!("cannot read {}: {error}", path.display()))
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(crate::domain::Error::invalid("file", format!("{} is a folder", path.display())));
        }
        Ok(Self { reader: Box::new(file), bytes_total: meta.is_file().then_some(meta.len()) })
    }

    /// Reads anything: standard input, bytes in memory.
    pub fn reader(reader: impl std::io::Read + Send + 'static) -> Self {
        Self { reader: Box::new(reader), bytes_total: None }
    }
}

/// Imports a file. A bad record is told by its line and the others go in; with `strict` the first one ends it.
///
/// Reading is blocking: run it where that hurts nobody, as the command line does.
pub async fn import(
    app: &App,
    source: Source,
    options: Options,
    mut progress: impl FnMut(Progress),
) -> crate::domain::Result<Summary> {
    let tally = Arc::new(Tally::default());
    let (format, items) = detect::items(source.reader, options.format, &tally)?;
    let mut applier = Applier::new(app, format);
    let mut summary = Summary::of(format);
    for item in items {
        let Item { line, record, odd } = item?;
        summary.records += 1;
        summary.note_odd(odd);
        match record {
            Ok(record) => summary.note(applier.apply(line, record).await?),
            // What waits comes before it in the file.
            Err(bad) if options.strict => {
                summary.note(applier.flush().await?);
                summary.note(Applied::refused(bad));
            }
            Err(bad) => summary.note(Applied::refused(bad)),
        }
        let (records, bad, bytes) = (summary.records, summary.bad_total, tally.bytes.load(Ordering::Relaxed));
        progress(Progress { bytes, bytes_total: source.bytes_total, records, bad });
        if options.strict && bad > 0 {
            summary.stopped = true;
            break;
        }
    }
    summary.note(applier.flush().await?);
    summary.stopped |= options.strict && summary.bad_total > 0;
    summary.counts = applier.counts().clone();
    summary.blank_lines = tally.blank.load(Ordering::Relaxed);
    summary.skipped_lines = tally.skipped.load(Ordering::Relaxed);
    summary.bad.sort_by_key(|bad| bad.line);
    summary.odd.sort_by_key(|odd| odd.line);
    Ok(summary)
}

/// Applies records that are in memory already, as the sample desk is: an import of our own shape without a file. Each
/// refusal is told by the record's place, from 1.
pub async fn apply_records(
    app: &App,
    records: impl IntoIterator<Item = Record>,
    mut progress: impl FnMut(Progress),
) -> crate::domain::Result<Summary> {
    let format = Format::Watchfloor;
    let mut applier = Applier::new(app, format);
    let mut summary = Summary::of(format);
    for record in records {
        summary.records += 1;
        summary.note(applier.apply(summary.records, record).await?);
        progress(Progress { records: summary.records, bad: summary.bad_total, ..Progress::default() });
    }
    summary.note(applier.flush().await?);
    summary.counts = applier.counts().clone();
    Ok(summary)
}
