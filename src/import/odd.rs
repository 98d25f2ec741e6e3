//! The odd parts of a record: fields that could not be read as they stand, so that the other fields can be imported.

use super::decode;

/// An odd part of a record, and its fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// The line of its record, from 1.
    pub line: u64,
    /// The field, dotted, as the file names it: `evidence.2.verdict`.
    pub field: String,
    /// The reason in words: lowercase, no full stop.
    pub reason: String,
    /// The fate of the part.
    pub became: Became,
    /// The part as it came.
    pub raw: String,
}

/// The fate of an odd part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// The part was imported, read in the one way that makes sense of it: a time without a zone is in UTC.
    Assumed,
    /// Only the raw text of the part was imported.
    Raw,
}

/// The most odd parts that are reported for one record. The last of them counts the others.
const ODD_MAX: usize = 100;

/// Collects the odd parts of one element.
#[derive(Debug)]
pub(crate) struct Odds {
    line: u64,
    /// The element as it came.
    raw: String,
    parts: Vec<Odd>,
    more: usize,
}

impl Odds {
    /// Starts the collection for the element on `line`. `raw` is its text, in which marks stand for undecodable bytes.
    pub(crate) fn new(line: u64, raw: &str) -> Self {
        Self { line, raw: decode::raw(raw).into_owned(), parts: Vec::new(), more: 0 }
    }

    /// Returns the line on which the element starts.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Returns the element as it came.
    pub(crate) fn raw(&self) -> &str {
        &self.raw
    }

    /// Notes a part that is imported as raw text only.
    pub(crate) fn keep(&mut self, field: impl Into<String>, raw: &str, reason: impl Into<String>) {
        self.push(field.into(), raw, reason.into(), Became::Raw);
    }

    /// Notes a part that is imported, read in the one way that makes sense of it.
    pub(crate) fn assume(&mut self, field: impl Into<String>, raw: &str, reason: impl Into<String>) {
        self.push(field.into(), raw, reason.into(), Became::Assumed);
    }

    /// Returns the value of a reading, or notes the part and returns `None` if it failed.
    pub(crate) fn or<T>(&mut self, field: &str, raw: &str, reading: Result<T, String>) -> Option<T> {
        reading.map_err(|reason| self.keep(field, raw, reason)).ok()
    }

    /// Returns the meaning of another product's word; `None` if the word is absent or unknown.
    pub(crate) fn word<T>(
        &mut self,
        field: &str,
        word: Option<&str>,
        read: impl Fn(&str) -> Result<Option<T>, String>,
    ) -> Option<T> {
        let word = word?;
        self.or(field, word, read(word)).flatten()
    }

    /// Returns the collected parts. The last part counts the parts that are not reported one by one.
    pub(crate) fn into_parts(mut self) -> Vec<Odd> {
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

/// Returns a text with U+FFFD in place of each mark.
fn shown(text: String) -> String {
    if decode::has_marks(&text) { decode::plain(&text).into_owned() } else { text }
}
