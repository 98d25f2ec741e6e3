//! JSON in any framing: consecutive values, a list, `{"value": […]}`, or one value a line. Each element comes with the
//! line on which it starts and its exact text.

use std::borrow::Cow;
use std::io::{BufRead, Cursor};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lines::{Ends, LineTally, Lines};
use super::odd::Odds;
use super::values::{Piece, Values};
use super::{ImportItem, Items, Record, decode, keep};
use crate::domain::Error;

/// The place of an element: its value in the file, for line numbers, and the members before the list that holds it.
#[derive(Clone, Copy)]
pub(crate) struct ElementPlace<'a> {
    text: &'a str,
    /// The line on which the value starts.
    first_line: u64,
    /// The members of the object before its list, as an object: `{"@odata.context": …}`; empty without a list.
    pub envelope: &'a str,
    ends: Ends,
}

impl<'a> ElementPlace<'a> {
    /// Returns the line on which a part of the value starts.
    pub(crate) fn line_of(&self, part: &RawValue) -> u64 {
        let start = (part.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        self.first_line + self.ends.count(self.text.as_bytes().get(..start).unwrap_or_default())
    }
}

/// Turns the values of a file into records.
pub(crate) trait FileDialect: Send + Sync + 'static {
    /// Adds the records of `value` to `items`.
    fn read(&self, value: &RawValue, place: ElementPlace<'_>, items: &mut Vec<ImportItem>);
}

/// The layout of the values in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Whether each line is a value of its own, so that a broken value loses only its line.
    pub by_line: bool,
    /// What ends a line.
    pub ends: Ends,
    /// The number of the first line.
    pub first_line: u64,
}

/// Reads records from `reader` through `dialect`. Only one value is in memory at a time, whatever the file's size.
pub(crate) fn items<D: FileDialect>(
    reader: impl BufRead + Send + 'static,
    layout: Layout,
    tally: Arc<LineTally>,
    dialect: D,
) -> Items {
    let Layout { by_line, ends, first_line } = layout;
    if !by_line {
        let values = Values::new(reader, ends, first_line);
        return Box::new(Elements { values, ends, dialect: Arc::new(dialect), waiting: Vec::new().into_iter() });
    }
    let dialect = Arc::new(dialect);
    Box::new(Lines::new(reader, ends, first_line).flat_map(move |line| -> Items {
        let line = match line {
            Ok(line) => line,
            Err(error) => return Box::new(std::iter::once(Err(Error::fault("read a line", error)))),
        };
        if line.is_blank() {
            tally.blank(1);
        }
        if line.cut {
            let reason = line.text().err().unwrap_or_default();
            return Box::new(std::iter::once(Ok(ImportItem::bad(line.number, reason))));
        }
        let values = Values::new(Cursor::new(line.bytes), ends, line.number);
        Box::new(Elements { values, ends, dialect: Arc::clone(&dialect), waiting: Vec::new().into_iter() })
    }))
}

/// An iterator over the records of all values, value by value.
struct Elements<R, D> {
    values: Values<R>,
    ends: Ends,
    dialect: Arc<D>,
    waiting: std::vec::IntoIter<ImportItem>,
}

impl<R: std::io::Read, D: FileDialect> Iterator for Elements<R, D> {
    type Item = crate::domain::Result<ImportItem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.waiting.next() {
                return Some(Ok(item));
            }
            match self.values.next()? {
                Ok(piece) => {
                    let mut items = Vec::new();
                    read_piece(piece, self.values.envelope(), self.ends, &*self.dialect, &mut items);
                    self.waiting = items.into_iter();
                }
                Err(error) => return Some(Err(Error::fault("read a value", error))),
            }
        }
    }
}

fn read_piece<D: FileDialect>(piece: Piece, envelope: &str, ends: Ends, dialect: &D, items: &mut Vec<ImportItem>) {
    let first_line = piece.line;
    let text = match piece.text {
        Ok(text) => text,
        Err(reason) => return items.push(ImportItem::bad(first_line, reason)),
    };
    let marked = decode::escapes(&text);
    let text = controls(&marked);
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(value) => dialect.read(value, ElementPlace { text: &text, first_line, envelope, ends }, items),
        Err(error) => {
            let line = first_line + (error.line() as u64).saturating_sub(1);
            items.push(ImportItem::bad(line, not_json(&error)));
        }
    }
}

/// Returns why a text is not JSON, without the position: the file's line is reported beside it.
pub(crate) fn not_json(error: &serde_json::Error) -> String {
    let told = error.to_string();
    format!("this is not JSON: {}", told.rfind(" at line ").map_or(told.as_str(), |end| &told[..end]))
}

/// Escapes the bare control characters inside JSON strings, for example pasted tabs.
fn controls(json: &str) -> Cow<'_, str> {
    if !json.bytes().any(|byte| byte < b' ' && !matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    let (mut string, mut escaped) = (false, false);
    for c in json.chars() {
        match c {
            _ if escaped => escaped = false,
            '"' => string = !string,
            '\\' => escaped = string,
            _ => {}
        }
        match c {
            c if string && c < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    Cow::Owned(text)
}

/// Returns the elements of an array, or of the array in `value`; otherwise the value itself.
pub(crate) fn elements(value: &RawValue) -> Vec<&RawValue> {
    #[derive(Deserialize)]
    struct RecordList<'a> {
        #[serde(borrow, default)]
        value: Option<&'a RawValue>,
    }
    if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(value.get()) {
        return elements;
    }
    if let Ok(RecordList { value: Some(inner) }) = serde_json::from_str(value.get())
        && let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(inner.get())
    {
        return elements;
    }
    vec![value]
}

/// Reads one element as `T`. The error is in words, without the position inside the element.
pub(crate) fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(value.get()).map_err(|error| reason(&error))
}

/// Returns what is wrong with a value, in words for the author of the file, because serde's messages name internal
/// types. It omits "at line 1 column 7": the file's line is reported beside it.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = decode::debugged(text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]));
    reworded(&text).unwrap_or_else(|| text.into_owned())
}

fn reworded(text: &str) -> Option<String> {
    if let Some(field) = text.strip_prefix("missing field `") {
        return Some(format!("{} is missing", field.strip_suffix('`')?));
    }
    if let Some(field) = text.strip_prefix("duplicate field `") {
        return Some(format!("{} is given twice", field.strip_suffix('`')?));
    }
    if let Some(rest) = text.strip_prefix("unknown field `") {
        let (field, expected) = rest.split_once("`, ")?;
        return Some(format!("{field} is no field that is known here, {expected}"));
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

/// Adds the records of one element with their odd parts, or the reason why there is no record.
pub(crate) fn push(items: &mut Vec<ImportItem>, odds: Odds, records: Result<Vec<Record>, String>) {
    let line = odds.line();
    match records {
        Ok(records) => items.extend(keep::records(records, odds)),
        Err(reason) => items.push(ImportItem::bad(line, reason)),
    }
}
