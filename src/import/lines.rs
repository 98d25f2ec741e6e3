//! Reads lines with their numbers in bounded memory, and counts how much of a file was read.

use std::io::{BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::decode;

/// The longest line, CSV record or JSON value of a record, in bytes: four times the server's largest request body.
pub const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Counters of a file. Every line belongs to a record or a refusal, or is counted here.
#[derive(Debug, Default)]
pub struct LineTally {
    /// The bytes that were read, as they stand in the file.
    pub bytes: AtomicU64,
    /// The blank lines.
    pub blank: AtomicU64,
    /// The lines that belong to a refusal before them: the lines after a quote that never closes.
    pub skipped: AtomicU64,
}

impl LineTally {
    /// Counts `lines` blank lines.
    pub fn blank(&self, lines: u64) {
        self.blank.fetch_add(lines, Ordering::Relaxed);
    }

    /// Counts `lines` lines that belong to a refusal before them.
    pub fn skipped(&self, lines: u64) {
        self.skipped.fetch_add(lines, Ordering::Relaxed);
    }
}

/// A reader that counts the bytes that pass through it, for progress.
pub struct CountingReader<R> {
    inner: R,
    tally: Arc<LineTally>,
}

impl<R> CountingReader<R> {
    /// Makes a reader that counts into `tally`.
    pub fn new(inner: R, tally: Arc<LineTally>) -> Self {
        Self { inner, tally }
    }
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.tally.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The end of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ends {
    /// `\n`, or `\r\n`.
    #[default]
    LineFeed,
    /// `\r` alone, as old systems write it. The first line of a file decides.
    CarriageReturn,
}

impl Ends {
    /// Detects the line end from the first line end in `head`.
    pub fn of(head: &[u8]) -> Self {
        match head.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(at) if head[at] == b'\r' && head.get(at + 1).is_some_and(|next| *next != b'\n') => {
                Self::CarriageReturn
            }
            _ => Self::LineFeed,
        }
    }

    /// Returns the byte that ends a line.
    pub fn byte(self) -> u8 {
        match self {
            Self::LineFeed => b'\n',
            Self::CarriageReturn => b'\r',
        }
    }

    /// Counts the line ends in `bytes`.
    pub fn count(self, bytes: &[u8]) -> u64 {
        bytes.iter().filter(|byte| **byte == self.byte()).count() as u64
    }
}

/// One line, with its end.
#[derive(Clone, Debug, Default)]
pub struct InputLine {
    /// The line's number, from 1.
    pub number: u64,
    /// The bytes with the line's end (`\n`, `\r\n` or `\r`), cut after [`LINE_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// Whether it was cut.
    pub cut: bool,
}

/// Reads lines one by one.
pub struct Lines<R> {
    reader: R,
    ends: Ends,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Makes a reader whose first line has the number `first`.
    pub fn new(reader: R, ends: Ends, first: u64) -> Self {
        Self { reader, ends, number: first.saturating_sub(1) }
    }

    /// Reads the next line. A line that exceeds the bound is read to its end and cut.
    fn read(&mut self) -> std::io::Result<Option<InputLine>> {
        let mut line = InputLine { number: self.number + 1, ..InputLine::default() };
        let end = self.ends.byte();
        if self.reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(end, &mut line.bytes)? == 0 {
            return Ok(None);
        }
        self.number = line.number;
        if line.bytes.len() == LINE_BYTES_MAX && line.bytes.last() != Some(&end) {
            line.cut = true;
            self.reader.skip_until(end)?;
        }
        Ok(Some(line))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = std::io::Result<InputLine>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl InputLine {
    /// Returns whether the line is blank.
    pub fn is_blank(&self) -> bool {
        !self.cut && self.bytes.trim_ascii().is_empty()
    }

    /// Returns the text without the line's end, or the reason why it is refused. Marks stand for undecodable bytes.
    pub fn text(&self) -> Result<String, String> {
        if self.cut {
            return Err(format!("a line has at most {LINE_BYTES_MAX} bytes"));
        }
        let end = self.bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        Ok(decode::text(&self.bytes[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<InputLine> {
        Lines::new(text, Ends::of(text), 1).map(Result::unwrap).collect()
    }

    #[test]
    fn lines_keep_their_numbers_and_lose_their_ends() {
        for text in [&b"one\r\n\nthree"[..], b"one\r\rthree", b"one\n\nthree\n"] {
            let read: Vec<(u64, String)> = lines(text).iter().map(|line| (line.number, line.text().unwrap())).collect();
            assert_eq!(read, [(1, "one".to_owned()), (2, String::new()), (3, "three".to_owned())]);
        }
    }

    #[test]
    fn a_line_beyond_the_bound_is_refused_and_the_next_is_read() {
        let mut long = vec![b'x'; LINE_BYTES_MAX + 10];
        long.extend_from_slice(b"\nnext\n");
        let lines = lines(&long);
        assert!(lines[0].text().is_err());
        assert_eq!((lines[1].number, lines[1].text()), (2, Ok("next".to_owned())));
    }
}
