//! Decodes UTF-8 with or without a byte order mark, UTF-16, and bytes that are neither.
//!
//! An undecodable byte becomes a *mark*: a private-use character that holds the byte. So a text can be cut into fields
//! first. Then a field shows U+FFFD for a mark ([`plain`]), and the raw payload shows the byte itself ([`raw`]).

use std::borrow::Cow;
use std::io::Read;

/// The first of 256 characters, each of which stands for a byte.
const MARKS: u32 = 0x10_fe00;

/// The bytes of UTF-16 that are decoded at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Reads a file as UTF-8, without its byte order mark, and converts UTF-16. An unpaired surrogate becomes the byte
/// 0xFF, which is not valid UTF-8 either.
pub(crate) struct Decoded<R> {
    inner: R,
    form: Option<Encoding>,
    /// Bytes that are read and not yet decoded.
    carried: Vec<u8>,
    /// Bytes that are decoded and not yet returned, from `at`.
    ready: Vec<u8>,
    at: usize,
    ended: bool,
}

#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Utf16(fn([u8; 2]) -> u16),
}

impl<R: Read> Decoded<R> {
    /// Makes a decoder of `inner`.
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, form: None, carried: Vec::new(), ready: Vec::new(), at: 0, ended: false }
    }

    /// Detects the encoding from the first bytes: by the byte order mark, else by the zero bytes of ASCII in UTF-16.
    fn begin(&mut self) -> std::io::Result<Encoding> {
        let mut first = Vec::with_capacity(4);
        (&mut self.inner).take(4).read_to_end(&mut first)?;
        let (form, mark) = match first.as_slice() {
            [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
            [0xff, 0xfe, ..] => (Encoding::Utf16(u16::from_le_bytes), 2),
            [0xfe, 0xff, ..] => (Encoding::Utf16(u16::from_be_bytes), 2),
            [a, 0, b, 0] if *a > 0 && *b > 0 => (Encoding::Utf16(u16::from_le_bytes), 0),
            [0, a, 0, b] if *a > 0 && *b > 0 => (Encoding::Utf16(u16::from_be_bytes), 0),
            _ => (Encoding::Utf8, 0),
        };
        self.carried = first.split_off(mark);
        Ok(form)
    }

    fn decode(&mut self, unit: fn([u8; 2]) -> u16) -> std::io::Result<()> {
        let read = (&mut self.inner).take(CHUNK_BYTES as u64).read_to_end(&mut self.carried)?;
        self.ended = read == 0;
        // The first half of a surrogate pair at the end waits for the other half.
        let mut whole = self.carried.len() / 2 * 2;
        let last = self.carried.get(whole.wrapping_sub(2)..whole).map(|pair| unit([pair[0], pair[1]]));
        if !self.ended && last.is_some_and(|unit| (0xd800..0xdc00).contains(&unit)) {
            whole -= 2;
        }
        let rest = self.carried.split_off(whole);
        let units = self.carried.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        let mut room = [0; 4];
        for decoded in char::decode_utf16(units) {
            match decoded {
                Ok(c) => self.ready.extend_from_slice(c.encode_utf8(&mut room).as_bytes()),
                Err(_) => self.ready.push(0xff),
            }
        }
        self.carried = rest;
        if self.ended && !self.carried.is_empty() {
            self.carried.clear();
            self.ready.push(0xff);
        }
        Ok(())
    }

    fn hand_on(&mut self, buffer: &mut [u8]) -> usize {
        let rest = self.ready.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        if self.at >= self.ready.len() {
            self.ready.clear();
            self.at = 0;
        }
        count
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let form = match self.form {
            Some(form) => form,
            None => {
                let form = self.begin()?;
                if matches!(form, Encoding::Utf8) {
                    self.ready = std::mem::take(&mut self.carried);
                }
                *self.form.insert(form)
            }
        };
        loop {
            if !self.ready.is_empty() || buffer.is_empty() {
                return Ok(self.hand_on(buffer));
            }
            match form {
                Encoding::Utf8 => return self.inner.read(buffer),
                Encoding::Utf16(_) if self.ended => return Ok(0),
                Encoding::Utf16(unit) => self.decode(unit)?,
            }
        }
    }
}

/// Returns the mark of a byte.
fn mark(byte: u8) -> char {
    char::from_u32(MARKS + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Returns the byte of a mark.
fn marked(c: char) -> Option<u8> {
    (u32::from(c)).checked_sub(MARKS).and_then(|byte| u8::try_from(byte).ok())
}

/// Decodes bytes as text. Bytes that are no UTF-8 become marks, and so does U+0000, which the desk cannot store.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\0' => text.push(mark(0)),
                // The file itself holds a mark's character: mark its bytes, so that this program made every mark.
                _ if marked(c).is_some() => text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(mark)),
                _ => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(mark));
    }
    text
}

/// Decodes the marks in a text that Rust's `Debug` wrote, as serde's errors do; there a mark is `\u{10fee7}`.
pub(crate) fn debugged(text: &str) -> Cow<'_, str> {
    const ESCAPE: usize = r"\u{10fee7}".len();
    let escaped = |at: usize| {
        let digits = text.get(at..at + ESCAPE)?.strip_prefix(r"\u{")?.strip_suffix('}')?;
        char::from_u32(u32::from_str_radix(digits, 16).ok()?).filter(|c| marked(*c).is_some())
    };
    let mut whole = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        let escape = at + found;
        at = match escaped(escape) {
            Some(mark) => {
                whole.push_str(&text[copied..escape]);
                whole.push(mark);
                copied = escape + ESCAPE;
                copied
            }
            // Skip the escaped character, whatever it is.
            None => escape + 1 + text[escape + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    whole.push_str(&text[copied..]);
    Cow::Owned(whole)
}

/// Replaces JSON escapes that are no characters (`\u0000`, an unpaired surrogate) by marks. Escapes of marks become
/// marks of their bytes, so that this program made every mark.
pub(crate) fn escapes(json: &str) -> Cow<'_, str> {
    let unit = |at: usize| u32::from_str_radix(json.get(at..at + 6)?.strip_prefix("\\u")?, 16).ok();
    let mut text = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        let escape = at + found;
        at = match (unit(escape), unit(escape + 6)) {
            (Some(0xdbff), Some(0xde00..=0xdeff)) => {
                text.push_str(&json[copied..escape]);
                text.extend(json[escape..escape + 12].bytes().map(mark));
                copied = escape + 12;
                copied
            }
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => escape + 12,
            (Some(0 | 0xd800..=0xdfff), _) => {
                text.push_str(&json[copied..escape]);
                text.extend(json[escape..escape + 6].bytes().map(mark));
                copied = escape + 6;
                copied
            }
            (Some(_), _) => escape + 6,
            // Skip the escaped character, whatever it is.
            (None, _) => escape + 1 + json[escape + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    text.push_str(&json[copied..]);
    Cow::Owned(text)
}

/// Returns whether a text holds marks.
pub(crate) fn has_marks(text: &str) -> bool {
    // Every mark begins with this byte, and few texts hold it at all.
    text.as_bytes().contains(&0xf4) && text.chars().any(|c| marked(c).is_some())
}

/// Returns a text for a field, with U+FFFD for each undecodable byte and each escape that is no character.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !has_marks(text) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| match marked(c) {
        None => Some(c),
        // The backslash of a marked escape stands for the whole escape.
        Some(b'\\') => Some(char::REPLACEMENT_CHARACTER),
        Some(b' '..=b'~') => None,
        Some(_) => Some(char::REPLACEMENT_CHARACTER),
    };
    Cow::Owned(text.chars().filter_map(shown).collect())
}

/// Returns a text for a raw payload: an undecodable byte is written `\xE9`, and an escape as it came.
pub(crate) fn raw(text: &str) -> Cow<'_, str> {
    if !has_marks(text) {
        return Cow::Borrowed(text);
    }
    let mut raw = String::with_capacity(text.len());
    for c in text.chars() {
        match marked(c) {
            None => raw.push(c),
            Some(byte @ b' '..=b'~') => raw.push(char::from(byte)),
            Some(byte) => raw.push_str(&format!("\\x{byte:02X}")),
        }
    }
    Cow::Owned(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that returns one byte at a time, as a pipe may.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = 1.min(buffer.len());
            (&mut self.0).read(&mut buffer[..count])
        }
    }

    fn decoded(bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        Decoded::new(Trickle(bytes)).read_to_end(&mut all).unwrap();
        let mut at_once = Vec::new();
        Decoded::new(bytes).read_to_end(&mut at_once).unwrap();
        assert_eq!(all, at_once);
        all
    }

    #[test]
    fn a_file_is_read_in_its_encoding() {
        let text = "{\"title\":\"Kärcher 🦀\"}";
        let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        assert_eq!(decoded(text.as_bytes()), text.as_bytes());
        assert_eq!(decoded(&[&b"\xef\xbb\xbf"[..], text.as_bytes()].concat()), text.as_bytes());
        assert_eq!(decoded(&[&b"\xff\xfe"[..], &utf16(u16::to_le_bytes)].concat()), text.as_bytes());
        assert_eq!(decoded(&[&b"\xfe\xff"[..], &utf16(u16::to_be_bytes)].concat()), text.as_bytes());
        assert_eq!(decoded(&utf16(u16::to_le_bytes)), text.as_bytes());
        assert_eq!(decoded(b"\xff\xfea\0\x3e\xd8b\0\x3e\xd8\x80"), b"a\xffb\xff\xff");
        assert_eq!(decoded(b""), b"");
        assert_eq!(decoded(b"{"), b"{");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_replaced_and_kept_in_the_raw() {
        let read = text(b"caf\xe9\0 \xf0\x9f\xa6\x80");
        assert_eq!(plain(&read), "caf\u{fffd}\u{fffd} 🦀");
        assert_eq!(raw(&read), "caf\\xE9\\x00 🦀");
        let read = text("\u{10fe41}".as_bytes());
        assert_eq!(raw(&read), "\\xF4\\x8F\\xB9\\x81");
        assert!(!has_marks(&text("\u{10ffff}".as_bytes())));
    }

    #[test]
    fn escapes_that_are_no_characters_are_marked() {
        let json = r#"{"a":"\ud83e\udd80 \ud83e \udd80 \u0000 \\u0000 \\\u0000 \u00e9"}"#;
        let read = escapes(json);
        assert_eq!(raw(&read), json);
        let value: serde_json::Value = serde_json::from_str(&plain(&read)).unwrap();
        assert_eq!(value["a"], "🦀 \u{fffd} \u{fffd} \u{fffd} \\u0000 \\\u{fffd} é");
        assert!(matches!(escapes("{\"a\":\"\\u00e9\\"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_mark_is_found_where_debug_wrote_it() {
        let read = text(b"caf\xe9 \\u{10fee9} \"\0\"");
        let told = format!("invalid type: string {read:?}, expected a map");
        assert_eq!(
            plain(&debugged(&told)),
            "invalid type: string \"caf\u{fffd} \\\\u{10fee9} \\\"\u{fffd}\\\"\", expected a map"
        );
        for plain in ["", "\\", "a \\u{10fee", "\\u{10fdff}", "\\u{10ffff}"] {
            assert!(matches!(debugged(plain), Cow::Borrowed(_)), "{plain}");
        }
    }

    #[test]
    fn an_escape_that_writes_a_mark_is_marked() {
        let json = r#"{"a":"\udbff\ude41 \udbff\udfff"}"#;
        let read = escapes(json);
        assert_eq!(raw(&read), json);
        let value: serde_json::Value = serde_json::from_str(&plain(&read)).unwrap();
        assert_eq!(value["a"], "\u{fffd}\u{fffd} \u{10ffff}");
    }
}
