//! Splits a document into lexical tokens (section 2.1 of the specification, September 2025).
//!
//! The library's own parser does not know surrogate pairs (`\uD83D\uDE00`) and `\u{1F600}`.

use async_graphql::Pos;

/// A lexical token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'t> {
    /// One of `! $ & ( ) : = @ [ ] { | }`.
    Sign(u8),
    /// `...`
    Spread,
    /// A name or a keyword.
    Name(&'t str),
    /// A whole number, as written.
    Int(&'t str),
    /// A number with a fraction or an exponent, as written.
    Float(&'t str),
    /// The decoded content of a string.
    String(String),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// Returns the token as an error names it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Sign(sign) => format!("\"{}\"", char::from(*sign)),
            Self::Spread => "\"...\"".to_owned(),
            Self::Name(name) => format!("\"{name}\""),
            Self::Int(digits) | Self::Float(digits) => (*digits).to_owned(),
            Self::String(_) => "a string".to_owned(),
            Self::End => "the end of the document".to_owned(),
        }
    }
}

/// The reason why the text has no next token, and its place.
pub(super) type Fault = (String, Pos);

/// Reads one token after another.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    line_start: usize,
    /// The bytes since the start of the line that do not begin a character.
    inner_bytes: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, line: 1, line_start: 0, inner_bytes: 0 }
    }

    fn bytes(&self) -> &'t [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn pos(&self) -> Pos {
        Pos { line: self.line, column: self.at - self.line_start - self.inner_bytes + 1 }
    }

    fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err((what.into(), self.pos()))
    }

    /// Moves on by one byte, and counts lines and characters.
    fn step(&mut self) {
        let bytes = self.text.as_bytes();
        let byte = bytes[self.at];
        self.at += 1;
        if byte == b'\n' || (byte == b'\r' && bytes.get(self.at) != Some(&b'\n')) {
            (self.line, self.line_start, self.inner_bytes) = (self.line + 1, self.at, 0);
        } else if byte & 0xC0 == 0x80 {
            self.inner_bytes += 1;
        }
    }

    /// Returns the next token and the place where it begins.
    pub(super) fn next(&mut self) -> Result<(Token<'t>, Pos), Fault> {
        self.skip_ignored();
        let pos = self.pos();
        let rest = self.bytes();
        let token = match rest {
            [] => Token::End,
            [b'.', b'.', b'.', ..] => {
                self.at += 3;
                Token::Spread
            }
            [sign @ (b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}'), ..] => {
                self.at += 1;
                Token::Sign(*sign)
            }
            [b'"', b'"', b'"', ..] => Token::String(self.block_string()?),
            [b'"', ..] => Token::String(self.string()?),
            [b'-' | b'0'..=b'9', ..] => self.number()?,
            [first, ..] if is_name_start(*first) => {
                let length = rest.iter().take_while(|byte| is_name_start(**byte) || byte.is_ascii_digit()).count();
                let name = &self.text[self.at..self.at + length];
                self.at += length;
                Token::Name(name)
            }
            _ => {
                let shown = self.text[self.at..].chars().next().unwrap_or_default();
                return self.fault(format!("the character {shown:?} means nothing here"));
            }
        };
        Ok((token, pos))
    }

    fn skip_ignored(&mut self) {
        loop {
            match self.bytes() {
                [b' ' | b'\t' | b'\r' | b'\n' | b',', ..] => self.step(),
                [0xEF, 0xBB, 0xBF, ..] => (0..3).for_each(|_| self.step()),
                [b'#', ..] => {
                    while !matches!(self.bytes(), [] | [b'\r' | b'\n', ..]) {
                        self.step();
                    }
                }
                _ => return,
            }
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let length = self.bytes().iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return self.fault("a digit is missing in a number");
        }
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<Token<'t>, Fault> {
        let start = self.at;
        if self.bytes().first() == Some(&b'-') {
            self.at += 1;
        }
        match self.bytes() {
            [b'0', b'0'..=b'9', ..] => return self.fault("a number does not begin with 0 and another digit"),
            [b'0', ..] => self.at += 1,
            _ => self.digits()?,
        }
        let mut is_float = false;
        if self.bytes().first() == Some(&b'.') {
            is_float = true;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes().first() {
            is_float = true;
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes().first() {
                self.at += 1;
            }
            self.digits()?;
        }
        if self.bytes().first().is_some_and(|byte| *byte == b'.' || is_name_start(*byte)) {
            return self.fault("a number ends before a space or a sign");
        }
        let digits = &self.text[start..self.at];
        Ok(if is_float { Token::Float(digits) } else { Token::Int(digits) })
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.bytes() {
                [] | [b'\n' | b'\r', ..] => return self.fault("a string has no end"),
                [b'"', ..] => {
                    self.at += 1;
                    return Ok(text);
                }
                [b'\\', b'u', ..] => {
                    let (character, length) = match unicode_escape(self.bytes()) {
                        Some(found) => found,
                        None => return self.fault("this escape names no character"),
                    };
                    text.push(character);
                    self.at += length;
                }
                [b'\\', escaped, ..] => {
                    text.push(match escaped {
                        b'"' => '"',
                        b'\\' => '\\',
                        b'/' => '/',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        _ => return self.fault("this escape is not one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u"),
                    });
                    self.at += 2;
                }
                [b'\\'] => return self.fault("a string has no end"),
                _ => {
                    let plain = |byte: &&u8| !matches!(byte, b'"' | b'\\' | b'\n' | b'\r');
                    let length = self.bytes().iter().take_while(plain).count();
                    text.push_str(&self.text[self.at..self.at + length]);
                    (0..length).for_each(|_| self.step());
                }
            }
        }
    }

    fn block_string(&mut self) -> Result<String, Fault> {
        self.at += 3;
        let mut raw = String::new();
        loop {
            match self.bytes() {
                [] => return self.fault("a block string has no end"),
                [b'"', b'"', b'"', ..] => {
                    self.at += 3;
                    return Ok(dedented(&raw));
                }
                [b'\\', b'"', b'"', b'"', ..] => {
                    raw.push_str("\"\"\"");
                    self.at += 4;
                }
                _ => {
                    let start = self.at;
                    self.step();
                    while !self.text.is_char_boundary(self.at) {
                        self.step();
                    }
                    raw.push_str(&self.text[start..self.at]);
                }
            }
        }
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// Decodes `\uXXXX`, a pair of them, or `\u{…}`; returns the character and its length in bytes.
fn unicode_escape(rest: &[u8]) -> Option<(char, usize)> {
    if let [b'\\', b'u', b'{', inner @ ..] = rest {
        let length = inner.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if length == 0 || inner.get(length) != Some(&b'}') {
            return None;
        }
        // Eight digits are enough for any character, with leading zeros.
        let code = hex(&inner[..length]).filter(|_| length <= 8)?;
        return Some((char::from_u32(code)?, length + 4));
    }
    let high = hex(rest.get(2..6)?)?;
    if let Some(character) = char::from_u32(high) {
        return Some((character, 6));
    }
    let [b'\\', b'u', ..] = rest.get(6..)? else { return None };
    let low = hex(rest.get(8..12)?)?;
    let is_pair = (0xD800..0xDC00).contains(&high) && (0xDC00..0xE000).contains(&low);
    let code = is_pair.then(|| 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))?;
    Some((char::from_u32(code)?, 12))
}

fn hex(digits: &[u8]) -> Option<u32> {
    let all = digits.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits).ok().filter(|_| all).and_then(|digits| u32::from_str_radix(digits, 16).ok())
}

/// BlockStringValue of the specification.
fn dedented(raw: &str) -> String {
    let raw = raw.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = raw.split('\n').collect();
    let indent_of = |line: &&str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let is_blank = |line: &&str| line.trim_start_matches([' ', '\t']).is_empty();
    let common = lines.iter().skip(1).filter(|line| !is_blank(line)).map(indent_of).min().unwrap_or_default();
    let cut = |(number, line): (usize, &&str)| {
        let line = if number == 0 { line } else { line.get(common..).unwrap_or_default() };
        line.to_owned()
    };
    let lines: Vec<String> = lines.iter().enumerate().map(cut).collect();
    let first = lines.iter().position(|line| !is_blank(&line.as_str()));
    let last = lines.iter().rposition(|line| !is_blank(&line.as_str()));
    match (first, last) {
        (Some(first), Some(last)) => lines[first..=last].join("\n"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Option<String> {
        match Lexer::new(text).next() {
            Ok((Token::String(text), _)) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn escapes_mean_their_characters() {
        assert_eq!(string(r#""\uD83D\uDE00 \u{1F600} 😀 \u00e9\n\"""#).as_deref(), Some("😀 😀 😀 é\n\""));
        for broken in [
            r#""\uD83D""#,
            r#""\uD83Dx""#,
            r#""\uDE00""#,
            r#""\u{110000}""#,
            r#""\u{}""#,
            r#""\u{D83D}""#,
            r#""\q""#,
            "\"a",
        ] {
            assert_eq!(string(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_block_string_loses_its_common_indent() {
        assert_eq!(string("\"\"\"\n    a\r\n      b \\\"\"\"\n\n  \"\"\"").as_deref(), Some("a\n  b \"\"\""));
    }

    #[test]
    fn places_count_characters_and_lines() {
        let mut lexer = Lexer::new("\u{feff}# é\r\n\"é\" a\rb");
        let place = |lexer: &mut Lexer<'_>| lexer.next().map(|(_, pos)| (pos.line, pos.column)).ok();
        assert_eq!(place(&mut lexer), Some((2, 1)));
        assert_eq!(place(&mut lexer), Some((2, 5)));
        assert_eq!(place(&mut lexer), Some((3, 1)));
    }

    #[test]
    fn numbers_are_whole_words() {
        for broken in ["01", "1a", "1.", "1.e3", "1e", "-", "1.2.3", "0x1"] {
            assert!(Lexer::new(broken).next().is_err(), "{broken}");
        }
        assert_eq!(Lexer::new("-0").next().map(|it| it.0), Ok(Token::Int("-0")));
        assert_eq!(Lexer::new("1.5e+3").next().map(|it| it.0), Ok(Token::Float("1.5e+3")));
    }
}
