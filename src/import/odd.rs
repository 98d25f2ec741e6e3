//! The odd parts of a record: what of it could not be read, field by field, so that the rest goes in.

use super::decode;

/// One part of a record, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// The line of its record, from 1.
    pub line: u64,
    /// The field, dotted, as the file names it: `evidence.2.verdict`.
    pub field: String,
    /// In words: lowercase, no full stop.
    pub reason: String,
    /// What became of it.
    pub became: Became,
    /// The part as it came.
    pub raw: String,
}

/// What became of an odd part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// It went in, read in the one way that makes sense of it: a time without a zone is in UTC.
    Assumed,
    /// Only its raw text went in.
    Raw,
}

/// The most odd parts of one record that are told each; the others are counted in the last.
const ODD_MAX: usize = 100;

/// Collects the odd parts of one element.
#[derive(Debug)]
pub struct Odds {
    line: u64,
    /// The element as it came.
    raw: String,
    parts: Vec<Odd>,
    more: usize,
}

impl Odds {
    /// Those of the element that starts on `line`; `raw` is its text, in which bytes that were no text are marks.
    pub fn new(line: u64, raw: &str) -> Self {
        Self { line, raw: decode::raw(raw).into_owned(), parts: Vec::new(), more: 0 }
    }

    /// The line on which the element starts.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The element as it came.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Whether parts of it went in as raw text only.
    pub fn any_raw(&self) -> bool {
        self.more > 0 || self.parts.iter().any(|odd| odd.became == Became::Raw)
    }

    /// A part of which only the raw text goes in.
    pub fn keep(&mut self, field: impl Into<String>, raw: &str, reason: impl Into<String>) {
        self.push(field.into(), raw, reason.into(), Became::Raw);
    }

    /// A part that goes in, read in the one way that makes sense of it.
    pub fn assume(&mut self, field: impl Into<String>, raw: &str, reason: impl Into<String>) {
        self.push(field.into(), raw, reason.into(), Became::Assumed);
    }

    /// The reading of a field, or none where it cannot be read.
    pub fn or<T>(&mut self, field: &str, raw: &str, reading: Result<T, String>) -> Option<T> {
        reading.map_err(|reason| self.keep(field, raw, reason)).ok()
    }

    /// What a word of another product stands for; none where nothing is written, or nothing that is known.
    pub fn word<T>(
        &mut self,
        field: &str,
        word: Option<&str>,
        read: impl Fn(&str) -> Result<Option<T>, String>,
    ) -> Option<T> {
        let word = word?;
        self.or(field, word, read(word)).flatten()
    }

    /// What was collected; the last part counts those that are not told each.
    pub fn into_parts(mut self) -> Vec<Odd> {
        if self.more > 0 {
            let reason = format!("{} more parts could not be read", self.more);
            let (line, raw) = (self.line, std::mem::take(&mut self.raw));
            self.parts.push(Odd { line, field: "…".to_owned(), reason, became: Became::Raw, raw });
        }
        self.parts
    }

    fn push(&mut self, field: String, raw: &str, reason: String, became: Became) {
        if self.parts.len() >= ODD_MAX {
            self.more += usize::from(became == Became::Raw);
            return;
        }
        let raw = decode::raw(raw).into_owned();
        self.parts.push(Odd { line: self.line, field: shown(field), reason: shown(reason), became, raw });
    }
}

/// A text without the marks of bytes that were no text.
fn shown(text: String) -> String {
    if decode::has_marks(&text) { decode::plain(&text).into_owned() } else { text }
}
