//! Lines with their numbers, in bounded memory, and how many bytes were read so far.

use std::io::{BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest line or CSV record, in bytes: four times the largest request body the server takes.
pub const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Counts the bytes that pass through it, for progress.
pub struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    /// Counts into `bytes`.
    pub fn new(inner: R, bytes: Arc<AtomicU64>) -> Self {
        Self { inner, bytes }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// One line, with its end.
#[derive(Debug, Default)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// Its bytes, its end (`\n` or `\r\n`) included; cut after [`LINE_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// Whether it was cut.
    pub cut: bool,
}

/// Reads lines one by one.
pub struct Lines<R> {
    reader: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Starts at line 1.
    pub fn new(reader: R) -> Self {
        Self { reader, number: 0 }
    }

    /// The next line; a longer one than the bound is read to its end and cut.
    fn read(&mut self) -> std::io::Result<Option<Line>> {
        let mut line = Line { number: self.number + 1, ..Line::default() };
        let bound = LINE_BYTES_MAX as u64;
        if self.reader.by_ref().take(bound).read_until(b'\n', &mut line.bytes)? == 0 {
            return Ok(None);
        }
        self.number = line.number;
        if line.bytes.len() == LINE_BYTES_MAX && line.bytes.last() != Some(&b'\n') {
            line.cut = true;
            self.reader.skip_until(b'\n')?;
        }
        if line.number == 1 && line.bytes.starts_with(BYTE_ORDER_MARK) {
            line.bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Some(line))
    }
}

/// What some editors put before the first character.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl<R: BufRead> Iterator for Lines<R> {
    type Item = std::io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl Line {
    /// The text without the line's end, or why there is none.
    pub fn text(&self) -> Result<&str, String> {
        if self.cut {
            return Err(format!("a line has at most {LINE_BYTES_MAX} bytes"));
        }
        let text = std::str::from_utf8(&self.bytes).map_err(|_| "this is not UTF-8 text".to_owned())?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok(text.strip_suffix('\r').unwrap_or(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers_and_lose_their_ends() {
        let lines: Vec<Line> = Lines::new(&b"\xef\xbb\xbfone\r\n\nthree"[..]).map(Result::unwrap).collect();
        let read: Vec<(u64, &str)> = lines.iter().map(|line| (line.number, line.text().unwrap())).collect();
        assert_eq!(read, [(1, "one"), (2, ""), (3, "three")]);
    }

    #[test]
    fn a_line_beyond_the_bound_is_refused_and_the_next_is_read() {
        let mut long = vec![b'x'; LINE_BYTES_MAX + 10];
        long.extend_from_slice(b"\nnext\n");
        let lines: Vec<Line> = Lines::new(long.as_slice()).map(Result::unwrap).collect();
        assert!(lines[0].text().is_err());
        assert_eq!((lines[1].number, lines[1].text()), (2, Ok("next")));
    }
}
