//! Reads the JSON values of a file, one by one in bounded memory: consecutive values, the elements of a list, or the
//! elements of the list in `value`.
//!
//! This file only looks at strings and brackets; the reader of a value checks its JSON. An unclosed value loses only
//! itself: reading continues at the next value that begins in the same way.

use std::io::Read;

use super::decode;
use super::lines::{Ends, LINE_BYTES_MAX};

/// The deepest nesting of a value. It is the limit of the JSON parser.
const DEPTH_MAX: usize = 127;

/// The most bytes that are kept of an object before its list of values: links and counts.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// The bytes of one read.
const CHUNK_BYTES: usize = 64 * 1024;

/// One value of a file.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The line on which it starts.
    pub line: u64,
    /// The text, with marks for undecodable bytes; or the reason why it could not be read.
    pub text: Result<String, String>,
}

/// Reads values one by one.
pub(crate) struct Values<R> {
    bytes: Bytes<R>,
    place: ReadPlace,
    envelope: String,
    /// Whether a value was broken and no whole value has followed. The rest of a broken value is not reported again.
    lost: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadPlace {
    /// Before a value, or after the last.
    Top,
    /// In a list, alone or inside an object.
    List {
        object: bool,
    },
    /// After the list of an object, before the object's end.
    Rest,
    Ended,
}

/// The outcome of reading a value.
enum ReadOutcome {
    Whole,
    /// The list of an object begins here.
    List,
    /// The value is not closed, or is closed by a wrong bracket.
    Broken(&'static str),
    /// The value is larger than the bound; all of it was skipped.
    Large,
}

impl<R: Read> Values<R> {
    /// Makes a reader of values from `reader`. The number of its first line is `first`.
    pub(crate) fn new(reader: R, ends: Ends, first: u64) -> Self {
        let bytes = Bytes { reader, chunk: Vec::new(), at: 0, line: first, ends, indent: Some(Vec::new()) };
        Self { bytes, place: ReadPlace::Top, envelope: String::new(), lost: false }
    }

    /// Returns the object's members before its list, as an object of their own: `{"@odata.context": …}`.
    pub(crate) fn envelope(&self) -> &str {
        &self.envelope
    }

    fn read(&mut self) -> std::io::Result<Option<Piece>> {
        loop {
            match self.place {
                ReadPlace::Ended => return Ok(None),
                ReadPlace::Rest => {
                    // The members after the list are links and counts.
                    let line = self.bytes.line;
                    self.place = ReadPlace::Top;
                    if let ReadOutcome::Broken(reason) = self.skip_rest()? {
                        return Ok(Some(bad(line, reason)));
                    }
                }
                ReadPlace::Top | ReadPlace::List { .. } => {
                    let Some(first) = self.bytes.next_visible(self.place != ReadPlace::Top)? else {
                        let in_list = self.place != ReadPlace::Top;
                        self.place = ReadPlace::Ended;
                        let reason = "the file ends inside a list: was it cut?";
                        return Ok(in_list.then(|| bad(self.bytes.line, reason)));
                    };
                    match (first, self.place) {
                        (b'[', ReadPlace::Top) => self.place = ReadPlace::List { object: false },
                        (b']', ReadPlace::List { object }) => {
                            self.place = if object { ReadPlace::Rest } else { ReadPlace::Top };
                        }
                        _ => {
                            if let Some(piece) = self.value(first)? {
                                let is_rest =
                                    self.lost && self.place != ReadPlace::Top && !matches!(first, b'{' | b'[');
                                if !is_rest {
                                    self.lost = piece.text.is_err();
                                    return Ok(Some(piece));
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Reads the value that begins with `first`; returns `None` if the value holds the list to read.
    fn value(&mut self, first: u8) -> std::io::Result<Option<Piece>> {
        // The byte was already consumed, and does not end a line.
        let line = self.bytes.line;
        let indent = self.bytes.indent.take().filter(|_| matches!(first, b'{' | b'['));
        if self.place == ReadPlace::Top && !matches!(first, b'{' | b'[') {
            let text = decode::text(self.bytes.rest_of_line(first)?.trim_ascii());
            return Ok(Some(Piece { line, text: Ok(text) }));
        }
        let mut value = Scan::new(first, self.place == ReadPlace::Top);
        let outcome = self.scan(&mut value, indent.as_deref())?;
        let text = match outcome {
            ReadOutcome::Whole => Ok(decode::text(&value.bytes)),
            ReadOutcome::List => {
                self.place = ReadPlace::List { object: true };
                self.envelope = envelope(&value.bytes);
                return Ok(None);
            }
            ReadOutcome::Large => Err(format!("a record has at most {LINE_BYTES_MAX} bytes")),
            ReadOutcome::Broken(reason) => {
                match value.next_of_its_kind(indent.as_deref(), self.bytes.ends) {
                    Some(at) => {
                        self.bytes.give_back(&value.bytes[at..]);
                        self.bytes.line = line + self.bytes.ends.count(&value.bytes[..at]);
                        self.bytes.indent = (value.bytes[at - 1] == self.bytes.ends.byte()).then(Vec::new);
                    }
                    None if value.bytes.last() == Some(&self.bytes.ends.byte()) => self.bytes.indent = Some(Vec::new()),
                    None => {}
                }
                Err(format!("this is not JSON: {reason}"))
            }
        };
        Ok(Some(Piece { line, text }))
    }

    fn scan(&mut self, value: &mut Scan, indent: Option<&[u8]>) -> std::io::Result<ReadOutcome> {
        // Whether the value is too large, so that it is skipped and not kept.
        let mut large = false;
        // The content of the line so far, as long as the next value may begin on it.
        let mut start_of_line: Option<Vec<u8>> = None;
        loop {
            if value.is_over() {
                return Ok(if large { ReadOutcome::Large } else { ReadOutcome::Whole });
            }
            let Some(byte) = self.bytes.next()? else {
                return Ok(match (large, value.is_scalar()) {
                    (true, _) => ReadOutcome::Large,
                    (false, true) => ReadOutcome::Whole,
                    (false, false) => ReadOutcome::Broken("it ends in the middle"),
                });
            };
            if value.is_scalar() && matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n') {
                self.bytes.give_back_one(byte);
                return Ok(if large { ReadOutcome::Large } else { ReadOutcome::Whole });
            }
            if large && let Some(indent) = indent {
                if byte == self.bytes.ends.byte() {
                    start_of_line = Some(Vec::new());
                } else if let Some(start) = &mut start_of_line {
                    start.push(byte);
                    let begins = start.len() == indent.len() + 1 && byte == value.first() && start.starts_with(indent);
                    if begins {
                        let start = std::mem::take(start);
                        self.bytes.give_back(&start);
                        self.bytes.indent = Some(Vec::new());
                        return Ok(ReadOutcome::Large);
                    }
                    if start.len() > indent.len() {
                        start_of_line = None;
                    }
                }
            }
            match value.step(byte, !large) {
                ValueStep::On => {}
                ValueStep::List => return Ok(ReadOutcome::List),
                // A skipped value may be broken: the search for the next value or the end goes on.
                ValueStep::Broken(_) if large => {}
                ValueStep::Broken(reason) => return Ok(ReadOutcome::Broken(reason)),
            }
            if !large && value.bytes.len() > LINE_BYTES_MAX {
                if value.next_line_like(indent, self.bytes.ends).is_some() {
                    return Ok(ReadOutcome::Broken("it is not closed before the next one begins"));
                }
                large = true;
                value.bytes.truncate(1);
            }
        }
    }

    fn skip_rest(&mut self) -> std::io::Result<ReadOutcome> {
        let mut rest = Scan::new(b'{', false);
        loop {
            let Some(byte) = self.bytes.next()? else {
                return Ok(ReadOutcome::Broken("the file ends early: was it cut?"));
            };
            if let ValueStep::Broken(reason) = rest.step(byte, false) {
                return Ok(ReadOutcome::Broken(reason));
            }
            if rest.is_over() {
                return Ok(ReadOutcome::Whole);
            }
        }
    }
}

impl<R: Read> Iterator for Values<R> {
    type Item = std::io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            self.place = ReadPlace::Ended;
        }
        read.transpose()
    }
}

fn bad(line: u64, reason: &str) -> Piece {
    Piece { line, text: Err(reason.to_owned()) }
}

/// Returns `{"@odata.context": "…", "value": ` as an object without its last member.
fn envelope(bytes: &[u8]) -> String {
    let text = decode::text(bytes);
    let end = text.rfind("\"value\"").unwrap_or(0);
    let members = text[..end].trim_end().trim_end_matches(',');
    match members.len() {
        1..=ENVELOPE_BYTES_MAX => format!("{members}}}"),
        _ => String::new(),
    }
}

/// A byte reader with pushback. It tracks the line number and the indentation of the line.
struct Bytes<R> {
    reader: R,
    chunk: Vec<u8>,
    at: usize,
    line: u64,
    ends: Ends,
    /// The spaces at the start of the line; `None` after any other character.
    indent: Option<Vec<u8>>,
}

impl<R: Read> Bytes<R> {
    fn next(&mut self) -> std::io::Result<Option<u8>> {
        if self.at >= self.chunk.len() {
            self.chunk.resize(CHUNK_BYTES, 0);
            self.at = 0;
            let read = loop {
                match self.reader.read(&mut self.chunk) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            self.chunk.truncate(*read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(None);
            }
        }
        let byte = self.chunk[self.at];
        self.at += 1;
        if byte == self.ends.byte() {
            self.line += 1;
        }
        Ok(Some(byte))
    }

    /// Returns the next byte that is no space and, between the elements of a list, no comma.
    fn next_visible(&mut self, in_list: bool) -> std::io::Result<Option<u8>> {
        while let Some(byte) = self.next()? {
            match byte {
                b'\n' | b'\r' => self.indent = Some(Vec::new()),
                b' ' | b'\t' => {
                    if let Some(indent) = self.indent.as_mut().filter(|indent| indent.len() < CHUNK_BYTES) {
                        indent.push(byte);
                    }
                }
                b',' if in_list => self.indent = None,
                _ => return Ok(Some(byte)),
            }
        }
        Ok(None)
    }

    /// Returns the rest of the line that begins with `first`, without its end, cut at the bound.
    fn rest_of_line(&mut self, first: u8) -> std::io::Result<Vec<u8>> {
        let mut line = vec![first];
        while let Some(byte) = self.next()? {
            if byte == self.ends.byte() {
                self.indent = Some(Vec::new());
                break;
            }
            if line.len() < LINE_BYTES_MAX {
                line.push(byte);
            }
        }
        Ok(line)
    }

    /// Pushes bytes back to the front. The caller sets the line.
    fn give_back(&mut self, bytes: &[u8]) {
        let mut chunk = bytes.to_vec();
        chunk.extend_from_slice(self.chunk.get(self.at..).unwrap_or_default());
        (self.chunk, self.at) = (chunk, 0);
    }

    fn give_back_one(&mut self, byte: u8) {
        self.at -= 1;
        if byte == self.ends.byte() {
            self.line -= 1;
        }
        self.indent = None;
    }
}

/// The state of a value while it is read.
struct Scan {
    bytes: Vec<u8>,
    /// The closing brackets of the open brackets, the innermost last.
    open: Vec<u8>,
    string: bool,
    escaped: bool,
    /// Whether the value is an object whose member `value` may be the list to read.
    may_hold_list: bool,
    /// In the outermost object: where the current name begins, and whether it is `value` and its colon has come.
    name_at: Option<usize>,
    expects_name: bool,
    is_value: bool,
}

enum ValueStep {
    On,
    List,
    Broken(&'static str),
}

impl Scan {
    fn new(first: u8, may_hold_list: bool) -> Self {
        let open = match first {
            b'{' => vec![b'}'],
            b'[' => vec![b']'],
            _ => Vec::new(),
        };
        Self {
            bytes: vec![first],
            open,
            string: first == b'"',
            escaped: false,
            may_hold_list: may_hold_list && first == b'{',
            name_at: None,
            expects_name: true,
            is_value: false,
        }
    }

    fn first(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }

    /// Returns whether the value is a number or a word, which no bracket or quote closes.
    fn is_scalar(&self) -> bool {
        !matches!(self.first(), b'{' | b'[' | b'"')
    }

    fn is_over(&self) -> bool {
        self.open.is_empty() && !self.string && !self.is_scalar()
    }

    fn step(&mut self, byte: u8, keep: bool) -> ValueStep {
        if keep {
            self.bytes.push(byte);
        }
        if self.string {
            match byte {
                b'\n' | b'\r' => return ValueStep::Broken("a line ends inside a text"),
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.string = false;
                    self.close_name();
                }
                _ => {}
            }
            return ValueStep::On;
        }
        let outermost = self.open.len() == 1;
        match byte {
            b'"' => {
                self.string = true;
                self.name_at = (outermost && self.expects_name).then_some(self.bytes.len());
            }
            b'{' | b'[' if self.open.is_empty() => return ValueStep::Broken("a bracket where none belongs"),
            b'[' if outermost && self.is_value && self.may_hold_list => return ValueStep::List,
            b'{' | b'[' => {
                if self.open.len() >= DEPTH_MAX {
                    return ValueStep::Broken("it is nested too deeply");
                }
                self.is_value = false;
                self.open.push(if byte == b'{' { b'}' } else { b']' });
            }
            b'}' | b']' if self.open.pop() != Some(byte) => return ValueStep::Broken("a bracket is closed by another"),
            b',' if outermost => (self.expects_name, self.is_value) = (true, false),
            _ => {}
        }
        ValueStep::On
    }

    /// Checks at the end of a string whether it is the member name `value` of the outermost object.
    fn close_name(&mut self) {
        if let Some(start) = self.name_at.take() {
            let name = self.bytes.get(start..self.bytes.len().saturating_sub(1));
            self.expects_name = false;
            self.is_value = name == Some(b"value");
        } else {
            self.is_value = false;
        }
    }

    /// Finds where the next value of this kind begins in the text of a broken value.
    fn next_of_its_kind(&self, indent: Option<&[u8]>, ends: Ends) -> Option<usize> {
        self.next_line_like(indent, ends).or_else(|| self.next_named_alike())
    }

    /// Finds a line that begins like this value's line: with `indent` and the same bracket.
    fn next_line_like(&self, indent: Option<&[u8]>, ends: Ends) -> Option<usize> {
        let start: Vec<u8> = [&[ends.byte()], indent?, &[self.first()]].concat();
        find(&self.bytes, &start).map(|at| at + 1)
    }

    /// Finds an object after a comma whose first member has the same name as this object's first member.
    fn next_named_alike(&self) -> Option<usize> {
        let open = self.bytes.iter().position(|byte| *byte == b'"').filter(|_| self.first() == b'{')?;
        let close = open + 1 + self.bytes.get(open + 1..)?.iter().position(|byte| *byte == b'"')?;
        let start = self.bytes.get(..=close)?;
        let mut from = 1;
        while let Some(at) = find(self.bytes.get(from..)?, start).map(|at| from + at) {
            let before = self.bytes[..at].iter().rev().find(|byte| !byte.is_ascii_whitespace());
            if before == Some(&b',') {
                return Some(at);
            }
            from = at + 1;
        }
        None
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<(u64, Result<String, String>)> {
        Values::new(text, Ends::of(text), 1).map(Result::unwrap).map(|piece| (piece.line, piece.text)).collect()
    }

    fn good(text: &str) -> Vec<(u64, String)> {
        read(text.as_bytes()).into_iter().map(|(line, text)| (line, text.unwrap())).collect()
    }

    fn told(pieces: &[(u64, Result<String, String>)]) -> Vec<(u64, Option<&str>)> {
        pieces.iter().map(|(line, text)| (*line, text.as_deref().ok())).collect()
    }

    #[test]
    fn values_come_from_lists_from_value_and_one_after_the_other() {
        assert_eq!(good("[]"), []);
        assert_eq!(good(" {\"value\": []} "), []);
        assert_eq!(
            good("[{\"a\":1},\n{\"a\":[2]}]\n{\"b\":\n3}\n\"x\""),
            [
                (1, "{\"a\":1}".to_owned()),
                (2, "{\"a\":[2]}".to_owned()),
                (3, "{\"b\":\n3}".to_owned()),
                (5, "\"x\"".to_owned()),
            ]
        );
        let text =
            "{\"@odata.context\":\"x\",\n\"value\": [{\"value\":[1]},{\"id\":\"]\"}],\"nextLink\":\"}\"}{\"c\":1}";
        let mut values = Values::new(text.as_bytes(), Ends::LineFeed, 7);
        let pieces: Vec<(u64, String)> =
            values.by_ref().map(Result::unwrap).map(|piece| (piece.line, piece.text.unwrap())).collect();
        let expected = [(8, "{\"value\":[1]}"), (8, "{\"id\":\"]\"}"), (8, "{\"c\":1}")];
        assert_eq!(pieces, expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(values.envelope(), "{\"@odata.context\":\"x\"}");
    }

    #[test]
    fn a_value_that_is_not_closed_costs_itself() {
        let lines = read(b"{\"a\":{\"b\":\n{\"a\":1}\n{\"a\":\"x\n{\"a\":2}\n");
        assert_eq!(told(&lines), [(1, None), (2, Some("{\"a\":1}")), (3, None), (4, Some("{\"a\":2}"))]);
        let pretty = read(b"[\n  {\n    \"a\": [1\n  },\n  {\n    \"a\": 2\n  }\n]\n");
        assert_eq!(told(&pretty), [(2, None), (5, Some("{\n    \"a\": 2\n  }"))]);
        let minified = read(b"{\"value\":[{\"id\":1,\"x\":[},{\"id\":2},{\"id\":3}]}");
        assert_eq!(told(&minified), [(1, None), (1, Some("{\"id\":2}")), (1, Some("{\"id\":3}"))]);
        let cut = read(b"[{\"a\":1},{\"a\":2");
        assert_eq!(told(&cut), [(1, Some("{\"a\":1}")), (1, None), (1, None)]);
        assert_eq!(
            told(&read(b"rubbish ]\n{\"a\":1}\n]")),
            [(1, Some("rubbish ]")), (2, Some("{\"a\":1}")), (3, Some("]"))]
        );
    }

    #[test]
    fn a_value_beyond_the_bound_costs_itself() {
        let long = format!("[\n{{\"a\":\"{}\"}},\n{{\"a\":2}}]", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(told(&read(long.as_bytes())), [(2, None), (3, Some("{\"a\":2}"))]);
        let unclosed = format!("{{\"a\":[\n{}{{\"a\":2}}\n", "{\"b\":1},\n".repeat(LINE_BYTES_MAX / 8));
        let pieces = read(unclosed.as_bytes());
        assert_eq!((pieces[0].0, pieces[0].1.is_err(), &pieces[1].1), (1, true, &Ok("{\"b\":1}".to_owned())));
    }
}
