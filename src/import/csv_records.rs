//! Records of a CSV file with their exact bytes and lines, in bounded memory. A quoted field may span lines.
//!
//! If a record of several lines has not the header's number of fields, its quote never closes and swallows the next
//! lines. Reading resumes at the line after its first line. The lines until a record fits again are counted as skipped.

use std::collections::VecDeque;
use std::io::BufRead;
use std::sync::Arc;

use super::decode;
use super::lines::{Ends, InputLine, LINE_BYTES_MAX, LineTally, Lines};

/// One record of the file.
#[derive(Debug, PartialEq)]
pub(crate) struct CsvRecord {
    /// The line it starts on, from 1.
    pub line: u64,
    /// The text as in the file, without the end of its last line. Marks stand for undecodable bytes.
    pub raw: String,
    /// Its fields, unquoted.
    pub fields: Vec<String>,
}

/// The separator of fields and the end of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CsvForm {
    /// The field separator: a comma, a semicolon, a tab or another byte.
    pub separator: u8,
    /// The end of a line.
    pub ends: Ends,
}

/// Reads records, the header first.
pub(crate) struct CsvRecords<R> {
    lines: Lines<R>,
    form: CsvForm,
    tally: Arc<LineTally>,
    /// Lines that were read and pushed back.
    returned: VecDeque<InputLine>,
    /// The number of fields in the header.
    width: Option<usize>,
    /// Whether a fault was reported and no record has fitted since.
    lost: bool,
}

/// A record, or the line of a fault and its reason.
pub(crate) type CsvReading = Result<CsvRecord, (u64, String)>;

impl<R: BufRead> CsvRecords<R> {
    /// Starts at the header, which is line `first`.
    pub(crate) fn new(reader: R, form: CsvForm, first: u64, tally: Arc<LineTally>) -> Self {
        let lines = Lines::new(reader, form.ends, first);
        Self { lines, form, tally, returned: VecDeque::new(), width: None, lost: false }
    }

    fn read(&mut self) -> std::io::Result<Option<CsvReading>> {
        while let Some(mut lines) = self.next_lines()? {
            let number = lines.first().map_or(0, |line| line.number);
            let outcome = record(&lines, self.form).and_then(|record| self.fits(record, lines.len()));
            match outcome {
                Ok(record) => {
                    self.width.get_or_insert(record.fields.len());
                    self.lost = false;
                    return Ok(Some(Ok(record)));
                }
                Err(reason) => {
                    for line in lines.drain(1..).rev() {
                        self.returned.push_front(line);
                    }
                    if !std::mem::replace(&mut self.lost, true) {
                        return Ok(Some(Err((number, reason))));
                    }
                    self.tally.skipped(1);
                }
            }
        }
        Ok(None)
    }

    /// Returns the record with the header's number of fields. Missing fields of a one-line record are filled, because
    /// spreadsheet programs omit trailing blank fields. Surplus fields are cut if they are blank.
    fn fits(&self, mut record: CsvRecord, lines: usize) -> Result<CsvRecord, String> {
        let Some(width) = self.width else { return Ok(record) };
        let found = record.fields.len();
        let blank_beyond = record.fields.iter().skip(width).all(|field| field.trim().is_empty());
        if found == width || (found > width && blank_beyond) || (found < width && lines == 1 && !self.lost) {
            record.fields.resize(width, String::new());
            return Ok(record);
        }
        Err(format!("{found} fields where the header has {width}"))
    }

    /// Returns the lines of the next record: up to the line on which every quote is closed.
    fn next_lines(&mut self) -> std::io::Result<Option<Vec<InputLine>>> {
        let mut lines = Vec::new();
        let mut quotes = Quotes::new(self.form);
        let mut bytes = 0;
        while let Some(line) = self.next_line()? {
            if lines.is_empty() && line.is_blank() {
                self.tally.blank(1);
                continue;
            }
            quotes.pass(&line.bytes);
            bytes += line.bytes.len();
            lines.push(line);
            if !quotes.open() || bytes > LINE_BYTES_MAX {
                break;
            }
        }
        Ok((!lines.is_empty()).then_some(lines))
    }

    fn next_line(&mut self) -> std::io::Result<Option<InputLine>> {
        match self.returned.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.lines.next().transpose(),
        }
    }
}

impl<R: BufRead> Iterator for CsvRecords<R> {
    type Item = std::io::Result<CsvReading>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Tracks whether a quoted field is open. A quote opens a field only at the field's start, as in the `csv` crate.
struct Quotes {
    form: CsvForm,
    state: CsvField,
}

#[derive(Clone, Copy, PartialEq)]
enum CsvField {
    Start,
    Bare,
    Quoted,
    /// After a quote inside a quoted field: the field ends, or a second quote follows and stands for one quote.
    Closing,
}

impl Quotes {
    fn new(form: CsvForm) -> Self {
        Self { form, state: CsvField::Start }
    }

    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = match (self.state, *byte) {
                (CsvField::Quoted, b'"') => CsvField::Closing,
                (CsvField::Quoted, _) | (CsvField::Start | CsvField::Closing, b'"') => CsvField::Quoted,
                (_, byte) if byte == self.form.separator || byte == self.form.ends.byte() => CsvField::Start,
                _ => CsvField::Bare,
            };
        }
    }

    fn open(&self) -> bool {
        self.state == CsvField::Quoted
    }
}

fn record(lines: &[InputLine], form: CsvForm) -> Result<CsvRecord, String> {
    let line = lines.first().map_or(0, |line| line.number);
    if lines.iter().any(|line| line.cut) || lines.iter().map(|line| line.bytes.len()).sum::<usize>() > LINE_BYTES_MAX {
        return Err(format!("a record has at most {LINE_BYTES_MAX} bytes"));
    }
    let bytes: Vec<u8> = lines.iter().flat_map(|line| line.bytes.iter().copied()).collect();
    let bytes = bytes
        .strip_suffix(&[form.ends.byte()])
        .map_or(bytes.as_slice(), |bytes| bytes.strip_suffix(b"\r").unwrap_or(bytes));
    let raw = decode::text(bytes);
    let mut quotes = Quotes::new(form);
    quotes.pass(bytes);
    if quotes.open() {
        return Err("a quote opens here and never closes".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(form.separator)
        // A lone CR does not end a line in a file with LF line ends.
        .terminator(csv::Terminator::Any(form.ends.byte()))
        .from_reader(raw.as_bytes());
    let mut fields = csv::StringRecord::new();
    reader.read_record(&mut fields).map_err(|error| error.to_string())?;
    let fields = fields.iter().map(str::to_owned).collect();
    Ok(CsvRecord { line, raw, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<CsvReading> {
        let form = CsvForm { separator: b',', ends: Ends::LineFeed };
        CsvRecords::new(text.as_bytes(), form, 1, Arc::default()).map(Result::unwrap).collect()
    }

    #[test]
    fn a_quoted_field_of_several_lines_is_one_record_with_its_bytes() {
        let text = "a,b\r\n1,\"two\r\n \"\"lines\"\"\"\r\n\r\n3,4";
        let records: Vec<CsvRecord> = read(text).into_iter().map(Result::unwrap).collect();
        assert_eq!(records[1].raw, "1,\"two\r\n \"\"lines\"\"\"");
        assert_eq!(records[1].fields, ["1", "two\r\n \"lines\""]);
        assert_eq!(records.iter().map(|record| record.line).collect::<Vec<_>>(), [1, 2, 5]);
    }

    #[test]
    fn a_quote_that_never_closes_costs_one_report() {
        let records = read("a,b,c\n1,\"2,3\n4,\"five\nsix\",7\n8,9,10\n");
        assert_eq!(records[1].as_ref().unwrap_err().0, 2);
        let rest: Vec<&CsvRecord> = records[2..].iter().map(|record| record.as_ref().unwrap()).collect();
        assert_eq!(rest[0].fields, ["4", "five\nsix", "7"]);
        assert_eq!((rest[0].line, rest[1].line, rest.len()), (3, 5, 2));
    }
}
