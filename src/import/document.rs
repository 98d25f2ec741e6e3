//! JSON of whatever framing: one document, an array, `{"value": […]}`, or a value a line; each element with the line
//! it starts on and its exact text.

use std::io::{BufRead, Read};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lines::{BYTE_ORDER_MARK, Line, Lines};
use super::{Item, Items, Record};
use crate::domain::{Error, Result};

/// The largest document that is not a value a line, in bytes: it has to be held in memory as a whole.
pub const DOCUMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Where an element stands: its document, for line numbers.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    text: &'a str,
    /// The line on which the document starts.
    first_line: u64,
}

impl<'a> Place<'a> {
    /// A document that starts on `first_line`.
    pub fn new(text: &'a str, first_line: u64) -> Self {
        Self { text, first_line }
    }

    /// The line on which a part of the document starts.
    pub fn line_of(&self, part: &RawValue) -> u64 {
        let start = (part.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let before = self.text.as_bytes().get(..start).unwrap_or_default();
        self.first_line + before.iter().filter(|byte| **byte == b'\n').count() as u64
    }
}

/// Turns one document, or one line of a file of lines, into records.
pub trait Dialect: Send + 'static {
    /// Adds the records of `value` to `items`.
    fn read(&self, value: &RawValue, place: Place<'_>, items: &mut Vec<Item>);
}

/// Reads `reader` as `dialect`; `by_line` where each line is a document of its own.
pub fn items<D: Dialect>(mut reader: impl BufRead + Send + 'static, by_line: bool, dialect: D) -> Result<Items> {
    if by_line {
        let lines = Lines::new(reader).map(move |line| {
            let line = line.map_err(|error| Error::fault("read a line", error))?;
            Ok(read_line(&line, &dialect))
        });
        return Ok(Box::new(lines.flat_map(|items| match items {
            Ok(items) => items.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })));
    }
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::fault("read a document", error))?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Error::limit("file", "a JSON document of this size must be cut: one value a line", 1 << 30));
    }
    let mut items = Vec::new();
    match std::str::from_utf8(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes)) {
        Ok(text) => read_text(text, 1, &dialect, &mut items),
        Err(_) => items.push(Item::bad(1, "this is not UTF-8 text")),
    }
    Ok(Box::new(items.into_iter().map(Ok)))
}

fn read_line<D: Dialect>(line: &Line, dialect: &D) -> Vec<Item> {
    let mut items = Vec::new();
    match line.text() {
        Ok(text) => read_text(text, line.number, dialect, &mut items),
        Err(reason) => items.push(Item::bad(line.number, reason)),
    }
    items
}

fn read_text<D: Dialect>(text: &str, first_line: u64, dialect: &D, items: &mut Vec<Item>) {
    if text.trim().is_empty() {
        return;
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => dialect.read(value, Place::new(text, first_line), items),
        Err(error) => {
            let line = first_line + (error.line() as u64).saturating_sub(1);
            items.push(Item::bad(line, format!("this is not JSON: {error}")));
        }
    }
}

/// The elements of an array, or of the array in `value`; the value itself where it is neither.
pub fn elements(value: &RawValue) -> Vec<&RawValue> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow, default)]
        value: Option<&'a RawValue>,
    }
    if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(value.get()) {
        return elements;
    }
    if let Ok(List { value: Some(inner) }) = serde_json::from_str(value.get())
        && let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(inner.get())
    {
        return elements;
    }
    vec![value]
}

/// Reads one element as `T`; its error in words, without the position inside the element.
pub fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(value.get()).map_err(|error| reason(&error))
}

/// What is wrong with a value, in words for who wrote the file: the reader's own speak of types of ours. Without "at line 1
/// column 7": the line of the file is told beside it.
pub fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    reworded(text).unwrap_or_else(|| text.to_owned())
}

fn reworded(text: &str) -> Option<String> {
    if let Some(field) = text.strip_prefix("missing field `") {
        return Some(format!("{} is missing", field.strip_suffix('`')?));
    }
    if let Some(field) = text.strip_prefix("duplicate field `") {
        return Some(format!("{} is given twice", field.strip_suffix('`')?));
    }
    if let Some(rest) = text.strip_prefix("unknown variant `") {
        let (word, expected) = rest.split_once("`, ")?;
        return Some(format!("\"{word}\" is not known here, {expected}"));
    }
    let rest = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    Some(format!("{} stands where {} is expected", found_in_words(found), expected_in_words(expected)))
}

fn found_in_words(found: &str) -> String {
    let quoted = |word: &str| found.strip_prefix(word)?.trim().strip_prefix('`')?.strip_suffix('`').map(str::to_owned);
    if let Some(number) = quoted("integer").or_else(|| quoted("floating point")) {
        return format!("the number {number}");
    }
    match found {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" | "unit value" => "null".to_owned(),
        _ => match (quoted("boolean"), found.strip_prefix("string ")) {
            (Some(truth), _) => truth,
            (_, Some(text)) => format!("the text {text}"),
            _ => found.to_owned(),
        },
    }
}

fn expected_in_words(expected: &str) -> &str {
    match expected {
        "a string" | "a borrowed string" | "string or map" => "a text",
        "a sequence" => "a list",
        "a map" => "an object",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" | "usize" => "a whole number",
        "f32" | "f64" => "a number",
        _ if expected.starts_with("struct ") => "an object",
        "map with a single key" => "a word",
        _ if expected.starts_with("variant ") || expected.starts_with("enum ") => "a word",
        _ => expected,
    }
}

/// Adds records, all from one element, or the reason why there are none.
pub fn push(items: &mut Vec<Item>, line: u64, records: Result<Vec<Record>, String>) {
    match records {
        Ok(records) => items.extend(records.into_iter().map(|record| Item { line, record: Ok(record) })),
        Err(reason) => items.push(Item::bad(line, reason)),
    }
}
