//! Records of a CSV file with their exact bytes and lines, quoted fields of several lines included, in bounded memory.
//!
//! After a record that does not have the header's number of fields (a quote that never closes swallows what follows)
//! reading goes on at the line after its first, silently, until a record fits again: one fault costs one report.

use std::collections::VecDeque;
use std::io::BufRead;

use super::lines::{LINE_BYTES_MAX, Line, Lines};

/// One record of the file.
#[derive(Debug, PartialEq)]
pub struct CsvRecord {
    /// The line it starts on, from 1.
    pub line: u64,
    /// Its bytes as in the file, without the end of its last line.
    pub raw: String,
    /// Its fields, unquoted.
    pub fields: Vec<String>,
}

/// Reads records, the header first.
pub struct CsvRecords<R> {
    lines: Lines<R>,
    /// Lines read before and given back.
    returned: VecDeque<Line>,
    /// How many fields the header has.
    width: Option<usize>,
    /// Whether a fault was reported and no record has fitted since.
    lost: bool,
}

/// A record, or its line and what is wrong with it.
pub type CsvReading = Result<CsvRecord, (u64, String)>;

impl<R: BufRead> CsvRecords<R> {
    /// Starts at the header.
    pub fn new(reader: R) -> Self {
        Self { lines: Lines::new(reader), returned: VecDeque::new(), width: None, lost: false }
    }

    fn read(&mut self) -> std::io::Result<Option<CsvReading>> {
        while let Some(lines) = self.next_lines()? {
            let number = lines.first().map_or(0, |line| line.number);
            match record(&lines) {
                Ok(record) if self.width.is_none_or(|width| width == record.fields.len()) => {
                    self.width = Some(record.fields.len());
                    self.lost = false;
                    return Ok(Some(Ok(record)));
                }
                outcome => {
                    let reason = match outcome {
                        Ok(record) => {
                            format!("{} fields where the header has {}", record.fields.len(), self.width.unwrap_or(0))
                        }
                        Err(reason) => reason,
                    };
                    for line in lines.into_iter().skip(1).rev() {
                        self.returned.push_front(line);
                    }
                    if !std::mem::replace(&mut self.lost, true) {
                        return Ok(Some(Err((number, reason))));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The lines of the next record: up to the one on which every quote is closed.
    fn next_lines(&mut self) -> std::io::Result<Option<Vec<Line>>> {
        let mut lines = Vec::new();
        let mut quotes = Quotes::default();
        let mut bytes = 0;
        while let Some(line) = self.next_line()? {
            if lines.is_empty() && line.text().is_ok_and(|text| text.trim().is_empty()) {
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

    fn next_line(&mut self) -> std::io::Result<Option<Line>> {
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

/// Whether a quoted field is open: a quote opens one only at the start of a field, as in the `csv` crate.
#[derive(Default)]
struct Quotes {
    state: Field,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Field {
    #[default]
    Start,
    Bare,
    Quoted,
    /// After a quote inside a quoted field: it ends there, or a second quote stands for one.
    Closing,
}

impl Quotes {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = match (self.state, byte) {
                (Field::Quoted, b'"') => Field::Closing,
                (Field::Quoted, _) | (Field::Start | Field::Closing, b'"') => Field::Quoted,
                (_, b',' | b'\n' | b'\r') => Field::Start,
                _ => Field::Bare,
            };
        }
    }

    fn open(&self) -> bool {
        self.state == Field::Quoted
    }
}

fn record(lines: &[Line]) -> Result<CsvRecord, String> {
    let line = lines.first().map_or(0, |line| line.number);
    if lines.iter().any(|line| line.cut) || lines.iter().map(|line| line.bytes.len()).sum::<usize>() > LINE_BYTES_MAX {
        return Err(format!("a record has at most {LINE_BYTES_MAX} bytes"));
    }
    let bytes = lines.iter().flat_map(|line| line.bytes.iter().copied()).collect();
    let mut raw = String::from_utf8(bytes).map_err(|_| "this is not UTF-8 text".to_owned())?;
    let end = raw.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text).len());
    raw.truncate(end.unwrap_or(raw.len()));
    let mut quotes = Quotes::default();
    quotes.pass(raw.as_bytes());
    if quotes.open() {
        return Err("a quote opens here and never closes".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(raw.as_bytes());
    let mut fields = csv::StringRecord::new();
    reader.read_record(&mut fields).map_err(|error| error.to_string())?;
    let fields = fields.iter().map(str::to_owned).collect();
    Ok(CsvRecord { line, raw, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<CsvReading> {
        CsvRecords::new(text.as_bytes()).map(Result::unwrap).collect()
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
