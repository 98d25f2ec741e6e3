//! Imports: what other desks and products write, read into records and applied through the app's commands.
//!
//! A reader is pure: bytes in, numbered records out, a bad one told by its line. [`apply`] is the only part that
//! touches the desk. The same file twice changes nothing.

pub mod apply;
pub mod csv_records;
pub mod detect;
pub mod document;
pub mod entities;
#[cfg(test)]
mod fixtures;
mod forms;
pub mod graph;
pub mod lines;
pub mod ndjson;
pub mod record;
pub mod security_alert;
pub mod sentinel;
pub mod words;

use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use record::Record;

use self::apply::Applier;
use self::lines::Counted;
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

/// What an import did, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Users made or updated.
    pub users: u64,
    /// Groups made or updated.
    pub groups: u64,
    /// Alerts that are new.
    pub alerts_created: u64,
    /// Alerts that were known and now say something else.
    pub alerts_updated: u64,
    /// Alerts that were known and say the same.
    pub alerts_unchanged: u64,
    /// Incidents that are new.
    pub incidents_created: u64,
    /// Incidents that were only half there, and are whole now.
    pub incidents_updated: u64,
    /// Incidents that were there already.
    pub incidents_present: u64,
    /// Comments that are new.
    pub comments: u64,
    /// Comments that were there already.
    pub comments_present: u64,
    /// Updates that changed something.
    pub updates: u64,
    /// Updates that had been applied before, or changed nothing.
    pub updates_present: u64,
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

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The file's format.
    pub format: Format,
    /// Records read, bad ones included.
    pub records: u64,
    /// What was done.
    pub counts: Counts,
    /// How many records were bad.
    pub bad_total: u64,
    /// The first of them, at most [`BAD_KEPT_MAX`].
    pub bad: Vec<Bad>,
    /// Whether `strict` ended it at a bad record.
    pub stopped: bool,
}

/// The most bad records that a summary names; the others are counted.
pub const BAD_KEPT_MAX: usize = 100;

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
    let bytes = Arc::new(AtomicU64::new(0));
    let reader = BufReader::with_capacity(detect::HEAD_BYTES, Counted::new(source.reader, Arc::clone(&bytes)));
    let (format, items) = detect::items(reader, options.format)?;
    let mut applier = Applier::new(app, format);
    let mut summary =
        Summary { format, records: 0, counts: Counts::default(), bad_total: 0, bad: Vec::new(), stopped: false };
    for item in items {
        let Item { line, record } = item?;
        summary.records += 1;
        match record {
            Ok(record) => summary.note(applier.apply(line, record).await?),
            // What waits comes before it in the file.
            Err(bad) if options.strict => {
                summary.note(applier.flush().await?);
                summary.note(vec![bad]);
            }
            Err(bad) => summary.note(vec![bad]),
        }
        let (records, bad) = (summary.records, summary.bad_total);
        progress(Progress { bytes: bytes.load(Ordering::Relaxed), bytes_total: source.bytes_total, records, bad });
        if options.strict && bad > 0 {
            summary.stopped = true;
            break;
        }
    }
    summary.note(applier.flush().await?);
    summary.stopped |= options.strict && summary.bad_total > 0;
    summary.counts = applier.counts().clone();
    summary.bad.sort_by_key(|bad| bad.line);
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
    let mut summary =
        Summary { format, records: 0, counts: Counts::default(), bad_total: 0, bad: Vec::new(), stopped: false };
    for record in records {
        summary.records += 1;
        summary.note(applier.apply(summary.records, record).await?);
        progress(Progress { records: summary.records, bad: summary.bad_total, ..Progress::default() });
    }
    summary.note(applier.flush().await?);
    summary.counts = applier.counts().clone();
    Ok(summary)
}

impl Summary {
    fn note(&mut self, refused: Vec<Bad>) {
        self.bad_total += refused.len() as u64;
        let room = BAD_KEPT_MAX.saturating_sub(self.bad.len());
        self.bad.extend(refused.into_iter().take(room));
    }
}

/// A summary for people: what went in, what was there, and every bad record with its line.
pub fn print_summary(summary: &Summary) -> String {
    let counts = &summary.counts;
    let rows: [(&str, &[(u64, &str)]); 6] = [
        (
            "incidents",
            &[
                (counts.incidents_created, "new"),
                (counts.incidents_updated, "completed"),
                (counts.incidents_present, "already there"),
            ],
        ),
        (
            "alerts",
            &[
                (counts.alerts_created, "new"),
                (counts.alerts_updated, "updated"),
                (counts.alerts_unchanged, "already there"),
            ],
        ),
        ("comments", &[(counts.comments, "new"), (counts.comments_present, "already there")]),
        ("updates", &[(counts.updates, "applied"), (counts.updates_present, "already there")]),
        ("users", &[(counts.users, "written")]),
        ("groups", &[(counts.groups, "written")]),
    ];
    let mut text = format!("{} records read as {}\n", summary.records, summary.format.as_str());
    for (noun, numbers) in rows {
        let told: Vec<String> = numbers.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if !told.is_empty() {
            text.push_str(&format!("  {noun:<10} {}\n", told.join(", ")));
        }
    }
    if summary.bad_total > 0 {
        text.push_str(&format!("  {:<10} {}\n", "bad", summary.bad_total));
        for bad in &summary.bad {
            text.push_str(&format!("line {}: {}\n", bad.line, bad.reason));
        }
        let more = summary.bad_total - summary.bad.len() as u64;
        if more > 0 {
            text.push_str(&format!("… and {more} more\n"));
        }
    }
    if summary.stopped {
        text.push_str("stopped at the first bad record; what came before it went in\n");
    }
    text
}
