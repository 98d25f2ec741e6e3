//! The result of an import: in numbers, and in lines for people.

use super::apply::AppliedRecords;
use super::odd::{Became, Odd};
use super::{Bad, Format};
use crate::domain::text;

/// The result of an import in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportCounts {
    /// Users that were created or updated.
    pub users: u64,
    /// Groups that were created or updated.
    pub groups: u64,
    /// Alerts that were created.
    pub alerts_created: u64,
    /// Known alerts whose report has changed.
    pub alerts_updated: u64,
    /// Known alerts whose report is the same.
    pub alerts_unchanged: u64,
    /// Incidents that were created.
    pub incidents_created: u64,
    /// Placeholders and unfinished incidents that are complete now.
    pub incidents_updated: u64,
    /// Incidents that existed already.
    pub incidents_present: u64,
    /// Comments that were created.
    pub comments: u64,
    /// Comments that existed already.
    pub comments_present: u64,
    /// Updates that changed something.
    pub updates: u64,
    /// Updates that had been applied before, or changed nothing.
    pub updates_present: u64,
}

/// The result of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportSummary {
    /// The file's format.
    pub format: Format,
    /// The number of records that were read, bad records included.
    pub records: u64,
    /// The changes by kind.
    pub counts: ImportCounts,
    /// The number of bad records.
    pub bad_total: u64,
    /// The first bad records, at most [`NAMED_MAX`].
    pub bad: Vec<Bad>,
    /// The number of records with parts that went in as raw text only.
    pub partial: u64,
    /// The number of parts that were read in the one way that makes sense of them.
    pub assumed: u64,
    /// The first odd parts: at most [`NAMED_MAX`] parts that went in as raw text only, and as many other parts.
    pub odd: Vec<Odd>,
    /// The number of odd parts.
    pub odd_total: u64,
    /// The number of blank lines.
    pub blank_lines: u64,
    /// The number of lines that belong to a bad record before them.
    pub skipped_lines: u64,
    /// Whether strict mode ended the import at a bad record.
    pub stopped: bool,
}

/// The most bad records, and the most odd parts, that a summary names; the others are counted.
pub(crate) const NAMED_MAX: usize = 100;

/// Whether everything was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportVerdict {
    /// Everything was imported.
    Whole,
    /// Every record was imported, but parts of some only as raw text.
    Partial,
    /// Some records were refused.
    Refused,
}

impl ImportVerdict {
    /// The exit code of the command.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Partial => 3,
            Self::Refused => 4,
        }
    }
}

impl ImportSummary {
    /// Makes the summary of a file of which nothing was read yet.
    pub(super) fn of(format: Format) -> Self {
        Self {
            format,
            records: 0,
            counts: ImportCounts::default(),
            bad_total: 0,
            bad: Vec::new(),
            partial: 0,
            assumed: 0,
            odd: Vec::new(),
            odd_total: 0,
            blank_lines: 0,
            skipped_lines: 0,
            stopped: false,
        }
    }

    /// Returns whether everything was imported.
    pub fn verdict(&self) -> ImportVerdict {
        match (self.bad_total, self.partial) {
            (0, 0) => ImportVerdict::Whole,
            (0, _) => ImportVerdict::Partial,
            _ => ImportVerdict::Refused,
        }
    }

    /// Notes the outcome of records.
    pub(super) fn note(&mut self, applied: AppliedRecords) {
        self.bad_total += applied.refused.len() as u64;
        let room = NAMED_MAX.saturating_sub(self.bad.len());
        self.bad.extend(applied.refused.into_iter().take(room));
        self.note_odd(applied.odd);
    }

    /// Notes the odd parts of one record.
    pub(super) fn note_odd(&mut self, odd: Vec<Odd>) {
        self.partial += u64::from(odd.iter().any(|odd| odd.became == Became::Raw));
        self.odd_total += odd.len() as u64;
        for odd in odd {
            self.assumed += u64::from(odd.became == Became::Assumed);
            let named = self.odd.iter().filter(|other| other.became == odd.became).count();
            if named < NAMED_MAX {
                // The record keeps the whole part; here its beginning is enough.
                let raw = odd.raw.chars().take(SHOWN_CHARS).collect();
                self.odd.push(Odd { raw, ..odd });
            }
        }
    }
}

/// The most characters of an odd part that a summary shows.
const SHOWN_CHARS: usize = 200;

/// Returns a line for each kind of record that the file had.
fn print_counts(summary: &ImportSummary) -> String {
    let counts = &summary.counts;
    let rows: [(&str, &[(u64, &str)]); 7] = [
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
        (
            "lines",
            &[
                (summary.blank_lines, "blank"),
                (summary.skipped_lines, "skipped: they belong to a bad record before them"),
            ],
        ),
    ];
    let mut text = String::new();
    for (noun, numbers) in rows {
        let told: Vec<String> = numbers.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if !told.is_empty() {
            text.push_str(&format!("  {noun:<10} {}\n", told.join(", ")));
        }
    }
    text
}

/// Returns a summary for people: what was imported, what existed, and each bad record and odd part with its line.
pub fn print_summary(summary: &ImportSummary) -> String {
    let mut text = format!("{} records read as {}\n", summary.records, summary.format.as_str());
    text.push_str(&print_counts(summary));
    if summary.partial > 0 {
        text.push_str(&format!("  {:<10} {} with parts that went in as raw text only\n", "partial", summary.partial));
    }
    if summary.bad_total > 0 {
        text.push_str(&format!("  {:<10} {}\n", "bad", summary.bad_total));
    }
    for odd in &summary.odd {
        text.push_str(&print_odd(odd));
    }
    let more = summary.odd_total - summary.odd.len() as u64;
    if more > 0 {
        text.push_str(&format!("… and {more} more odd parts\n"));
    }
    for bad in &summary.bad {
        text.push_str(&format!("line {}: {}\n", bad.line, printable(&bad.reason)));
    }
    let more = summary.bad_total - summary.bad.len() as u64;
    if more > 0 {
        text.push_str(&format!("… and {more} more\n"));
    }
    if summary.stopped {
        text.push_str("stopped at the first bad record; what came before it went in\n");
    }
    text
}

fn print_odd(odd: &Odd) -> String {
    let Odd { line, field, reason, became, raw } = odd;
    let (field, reason) = (printable(field), printable(reason));
    match became {
        Became::Assumed => format!("line {line}: {field}: {reason}\n"),
        Became::Raw => format!("line {line}: {field}: {reason} (kept as it came: {})\n", printable(raw)),
    }
}

/// Returns the beginning of a text of a file for a terminal.
fn printable(text: &str) -> String {
    text::printable(&text.chars().take(SHOWN_CHARS * 2).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_file_cannot_change_the_terminal() {
        let odd = Odd {
            line: 1,
            field: "ro\u{2067}le".to_owned(),
            reason: "\"re\u{202e}ader\" is no role".to_owned(),
            became: Became::Raw,
            raw: "re\u{200b}\u{202e}ader\u{2069}\u{1b}[2J\n".to_owned(),
        };
        let bad = Bad { line: 2, reason: "there is no alert \u{2066}7\r".to_owned() };
        let summary = ImportSummary { odd: vec![odd], bad: vec![bad], ..ImportSummary::of(Format::Watchfloor) };
        let summary = ImportSummary { odd_total: 1, bad_total: 1, ..summary };
        let told = print_summary(&summary);
        let shown = concat!(
            "line 1: ro\u{fffd}le: \"re\u{fffd}ader\" is no role ",
            "(kept as it came: re\u{fffd}\u{fffd}ader\u{fffd}\u{fffd}[2J\u{fffd})\n",
            "line 2: there is no alert \u{fffd}7\u{fffd}\n",
        );
        assert!(told.ends_with(shown), "{told:?}");
    }
}
