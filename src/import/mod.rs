//! Imports: files of other desks and products, read into records and applied through the app's commands.
//!
//! A reader is pure: it turns bytes into numbered records, and reports a bad record by its line. Only [`apply`] touches
//! the desk. The same file twice changes nothing.

mod account;
pub mod apply;
mod batches;
pub(crate) mod csv_records;
pub(crate) mod decode;
pub mod detect;
pub(crate) mod document;
pub(crate) mod entities;
#[cfg(test)]
mod fixtures;
mod forms;
pub(crate) mod graph;
mod keep;
mod lenient;
pub mod lines;
pub(crate) mod ndjson;
pub(crate) mod odd;
mod person;
pub mod record;
pub(crate) mod security_alert;
pub(crate) mod sentinel;
mod sentinel_resources;
pub(crate) mod summary;
mod times;
pub(crate) mod values;
pub(crate) mod words;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub use odd::Odd;
pub use record::Record;
pub use summary::{ImportCounts, ImportSummary, ImportVerdict, print_summary};

use self::apply::Applier;
use self::lines::LineTally;
use crate::app::App;

/// The file formats that an import can read. A new format needs its variant here, its place in `ALL`, and its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The desk's own format, one record a line (docs/IMPORT.md).
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

    /// Returns the name on the command line, which is also the name of the cause in the activity log.
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

/// One record of a file, or the reason why it could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportItem {
    /// The line it starts on, from 1.
    pub line: u64,
    /// The record.
    pub record: Result<Record, Bad>,
    /// The parts of the record that could not be read as they stand.
    pub odd: Vec<Odd>,
}

/// The reason why a record was not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The line it starts on, from 1.
    pub line: u64,
    /// The reason in words for the author of the file: lowercase, no full stop.
    pub reason: String,
}

/// The records of a file, in its order. An error of the file itself ends them.
pub type Items = Box<dyn Iterator<Item = crate::domain::Result<ImportItem>> + Send>;

impl ImportItem {
    fn bad(line: u64, reason: impl AsRef<str>) -> Self {
        let reason = decode::plain(reason.as_ref()).into_owned();
        Self { line, record: Err(Bad { line, reason }), odd: Vec::new() }
    }
}

/// The options of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The format; `None` detects it from the beginning of the file.
    pub format: Option<Format>,
    /// Whether the first bad record ends the import.
    pub strict: bool,
}

/// The most records that are read before they are applied: as many as share a transaction.
const READ_RECORDS: usize = batches::RECORDS_MAX;

/// The most bytes that are read before their records are applied, because one record may have megabytes.
const READ_BYTES: u64 = 8 << 20;

/// The longest time of reading before the records are applied, so that a slow source is applied as it comes.
const READ_TIME: Duration = Duration::from_millis(50);

/// The progress of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The bytes of the file that have been read for these records.
    pub bytes: u64,
    /// The bytes of the whole file, if they are known.
    pub bytes_total: Option<u64>,
    /// The records that are done so far: committed or bad.
    pub records: u64,
    /// The bad records among them.
    pub bad: u64,
}

/// A file to import, or another source that is read like a file.
pub struct ImportSource {
    reader: Box<dyn std::io::Read + Send>,
    bytes_total: Option<u64>,
}

impl ImportSource {
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

    /// Wraps any reader, for example standard input or bytes in memory.
    pub fn reader(reader: impl std::io::Read + Send + 'static) -> Self {
        Self { reader: Box::new(reader), bytes_total: None }
    }
}

/// Imports a file. A bad record is reported with its line, and the other records are imported; in strict mode the first
/// bad record ends the import.
///
/// Consecutive records share transactions. No transaction is open during a read, because the file may be a pipe that
/// pauses. Reads block, so run this where blocking does no harm, as the command line does.
pub async fn import(
    app: &App,
    source: ImportSource,
    options: Options,
    mut progress: impl FnMut(Progress),
) -> crate::domain::Result<ImportSummary> {
    let tally = Arc::new(LineTally::default());
    let (format, mut items) = detect::items(source.reader, options.format, &tally)?;
    let mut applier = Applier::new(app, format, options.strict);
    let mut summary = ImportSummary::of(format);
    let mut goes_on = true;
    while goes_on && !summary.stopped {
        let (read, end) = read_some(&mut items, &tally);
        apply_all(&mut applier, read, &mut summary).await?;
        summary.stopped = options.strict && summary.bad_total > 0;
        let (records, bad, bytes) = (summary.records, summary.bad_total, tally.bytes.load(Ordering::Relaxed));
        progress(Progress { bytes, bytes_total: source.bytes_total, records, bad });
        goes_on = if summary.stopped { false } else { end? };
    }
    summary.counts = applier.counts().clone();
    summary.blank_lines = tally.blank.load(Ordering::Relaxed);
    summary.skipped_lines = tally.skipped.load(Ordering::Relaxed);
    summary.bad.sort_by_key(|bad| bad.line);
    summary.odd.sort_by_key(|odd| odd.line);
    Ok(summary)
}

/// Reads the next records, and returns whether there are more. An error of the file comes after the records before it.
fn read_some(items: &mut Items, tally: &LineTally) -> (Vec<ImportItem>, crate::domain::Result<bool>) {
    let (begun, start) = (Instant::now(), tally.bytes.load(Ordering::Relaxed));
    let mut read = Vec::new();
    for item in items {
        match item {
            Ok(item) => read.push(item),
            Err(error) => return (read, Err(error)),
        }
        let bytes = tally.bytes.load(Ordering::Relaxed) - start;
        if read.len() >= READ_RECORDS || bytes >= READ_BYTES || begun.elapsed() >= READ_TIME {
            return (read, Ok(true));
        }
    }
    (read, Ok(false))
}

/// Applies records and notes their outcomes; in strict mode up to the first bad record.
async fn apply_all(
    applier: &mut Applier<'_>,
    mut items: Vec<ImportItem>,
    summary: &mut ImportSummary,
) -> crate::domain::Result<()> {
    let odd: Vec<Vec<Odd>> = items.iter_mut().map(|item| std::mem::take(&mut item.odd)).collect();
    let applied = Box::pin(applier.apply(&items)).await?;
    summary.records += applied.records as u64;
    odd.into_iter().take(applied.records).for_each(|odd| summary.note_odd(odd));
    summary.note(applied);
    Ok(())
}

/// Applies records that are in memory already, for example the sample desk's: an import in the desk's own format
/// without a file. A refusal is reported with the record's number, from 1.
pub async fn apply_records(
    app: &App,
    records: impl IntoIterator<Item = Record>,
    mut progress: impl FnMut(Progress),
) -> crate::domain::Result<ImportSummary> {
    let format = Format::Watchfloor;
    let mut applier = Applier::new(app, format, false);
    let mut summary = ImportSummary::of(format);
    let mut items = records
        .into_iter()
        .zip(1..)
        .map(|(record, line)| ImportItem { line, record: Ok(record), odd: Vec::new() })
        .peekable();
    while items.peek().is_some() {
        let some = items.by_ref().take(READ_RECORDS).collect();
        apply_all(&mut applier, some, &mut summary).await?;
        progress(Progress { records: summary.records, bad: summary.bad_total, ..Progress::default() });
    }
    summary.counts = applier.counts().clone();
    Ok(summary)
}
