//! Detects the format and the layout of a file from its first bytes.

use std::io::{BufReader, Cursor, Read};
use std::sync::Arc;

use super::decode::{self, Decoded};
use super::document::{self, Layout};
use super::graph::Graph;
use super::lines::{CountingReader, Ends, LINE_BYTES_MAX, LineTally};
use super::ndjson::OwnFormat;
use super::sentinel::Sentinel;
use super::values::Values;
use super::{Format, Items, security_alert};
use crate::domain::{Error, Result};

/// How many bytes of a file are inspected, without leading blank lines. A longer first line is inspected whole, up to
/// the bound of a line.
const HEAD_BYTES: usize = 256 * 1024;

/// The format and the layout of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectedFile {
    /// The format of its records.
    pub format: Format,
    /// Whether each line is a value of its own.
    pub by_line: bool,
}

/// Detects format and layout from the first bytes of a file. `format` is the format if it is known already.
pub fn reading(head: &[u8], format: Option<Format>) -> Option<DetectedFile> {
    let ends = Ends::of(head);
    let text = decode::text(head);
    let format = format.or_else(|| told_by(&text, ends))?;
    let by_line = format != Format::SecurityAlert && has_line_documents(head, ends);
    Some(DetectedFile { format, by_line })
}

/// Returns whether each line is a value of its own: the first is a whole object, or it and the next begin with `{"`, or
/// it begins like neither an object nor a list.
fn has_line_documents(head: &[u8], ends: Ends) -> bool {
    let mut lines = head.split(|byte| *byte == ends.byte()).filter(|line| !line.trim_ascii().is_empty());
    let Some(first) = lines.next() else { return false };
    let second = lines.next().is_some_and(|line| line.starts_with(b"{\""));
    let is_whole = || Values::new(first, ends, 1).all(|piece| piece.is_ok_and(|piece| piece.text.is_ok()));
    match first.first() {
        Some(b'{') => is_whole() || (second && first.starts_with(b"{\"")),
        Some(b'[') => false,
        _ => true,
    }
}

fn told_by(text: &str, ends: Ends) -> Option<Format> {
    if !text.starts_with(['{', '[']) {
        let table = security_alert::beginning(text, ends).map(|_| Format::SecurityAlert);
        // A line of rubbish may stand before records of JSON.
        let later =
            || text.split(char::from(ends.byte())).nth(1).filter(|line| line.starts_with('{')).and_then(told_by_words);
        return table.or_else(later);
    }
    told_by_words(text)
}

fn told_by_words(text: &str) -> Option<Format> {
    // The head may be cut anywhere, so search for words instead of values: the first word found decides.
    let words = [
        ("\"@odata.", Format::Graph),
        ("\"incidentWebUrl\"", Format::Graph),
        ("\"serviceSource\"", Format::Graph),
        ("\"/v1.0/security/", Format::Graph),
        ("\"properties\"", Format::Sentinel),
        ("\"api-version\"", Format::Sentinel),
        ("Microsoft.SecurityInsights", Format::Sentinel),
    ];
    let own = ["user", "group", "alert", "incident", "comment", "update"];
    let own = own.iter().filter_map(|word| position_of_type(text, word)).min();
    let others = words.iter().filter_map(|(word, format)| Some((text.find(word)?, *format)));
    others.chain(own.map(|at| (at, Format::Watchfloor))).min_by_key(|(at, _)| *at).map(|(_, format)| format)
}

/// Returns the position of `"type": "<word>"`.
fn position_of_type(text: &str, word: &str) -> Option<usize> {
    text.match_indices("\"type\"").map(|(at, _)| at).find(|at| {
        let rest = text[at + "\"type\"".len()..].trim_start();
        rest.strip_prefix(':').map(str::trim_start).is_some_and(|value| value.starts_with(&format!("\"{word}\"")))
    })
}

/// Returns the records of a file, one by one in bounded memory. Lines without records are counted in `tally`.
pub fn items(
    reader: impl Read + Send + 'static,
    format: Option<Format>,
    tally: &Arc<LineTally>,
) -> Result<(Format, Items)> {
    let mut reader = Decoded::new(CountingReader::new(reader, Arc::clone(tally)));
    let (head, first_line) = head(&mut reader).map_err(|error| Error::fault("read the file", error))?;
    tally.blank(first_line - 1);
    let ends = Ends::of(&head);
    let empty =
        |format: Option<Format>| Ok((format.unwrap_or(Format::Watchfloor), Box::new(std::iter::empty()) as Items));
    if head.is_empty() {
        return empty(format);
    }
    let Some(DetectedFile { format, by_line }) = reading(&head, format) else {
        // Empty lists: the whole file is known by now.
        if head.len() < HEAD_BYTES && Values::new(head.as_slice(), ends, 1).next().is_none() {
            return empty(format);
        }
        let known = Format::ALL.map(Format::as_str).join(", ");
        return Err(Error::invalid("file", format!("this looks like none of {known}; choose one with --format")));
    };
    let beginning = security_alert::beginning(&decode::text(&head), ends);
    let reader = BufReader::with_capacity(HEAD_BYTES, Cursor::new(head).chain(reader));
    let layout = Layout { by_line, ends, first_line };
    let tally = Arc::clone(tally);
    let items = match format {
        Format::Watchfloor => document::items(reader, layout, tally, OwnFormat),
        Format::Sentinel => document::items(reader, layout, tally, Sentinel),
        Format::Graph => document::items(reader, layout, tally, Graph),
        Format::SecurityAlert => security_alert::items(reader, beginning, layout, tally)?,
    };
    Ok((format, items))
}

/// Returns the first bytes of a file after its leading blank lines, and their line number. A pipe may return them in
/// small pieces.
fn head(reader: &mut impl Read) -> std::io::Result<(Vec<u8>, u64)> {
    let mut head = Vec::new();
    let (mut first_line, mut after_return) = (1, false);
    loop {
        let before = head.len();
        reader.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let ended = head.len() == before;
        if before == 0 {
            let blank = head.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            for byte in head.drain(..blank) {
                // A line ends with one byte or two.
                first_line += u64::from(byte == b'\r' || (byte == b'\n' && !after_return));
                after_return = byte == b'\r';
            }
        }
        let has_line = head.len() >= HEAD_BYTES && head.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        if ended || has_line || head.len() >= LINE_BYTES_MAX + HEAD_BYTES {
            return Ok((head, first_line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::fixtures;

    fn told(text: &str) -> Option<(Format, bool)> {
        reading(text.trim_start().as_bytes(), None).map(|reading| (reading.format, reading.by_line))
    }

    #[test]
    fn formats_are_told_by_how_they_begin() {
        let own = "{\"type\":\"incident\",\"externalId\":\"1\",\"title\":\"a\"}\n{\"type\": \"user\"}\n";
        assert_eq!(told(own), Some((Format::Watchfloor, true)));
        assert_eq!(told("{\"type\":\"alert\", broken\n{\"type\":\"user\"}"), Some((Format::Watchfloor, true)));
        let sentinel = "{\n  \"value\": [ {\"properties\": {}, \"type\": \"x/incidents\"";
        assert_eq!(told(sentinel), Some((Format::Sentinel, false)));
        assert_eq!(told("[{\"@odata.type\": \"#microsoft.graph.security.alert\""), Some((Format::Graph, false)));
        assert_eq!(told("TenantId,ProviderName,SystemAlertId,Severity\n"), Some((Format::SecurityAlert, false)));
        assert_eq!(told("name,colour\n"), None);
        assert_eq!(told("{\"colour\":\"red\"}"), None);
    }

    #[test]
    fn the_shared_files_are_told() {
        let files = [
            ("azure-rest-securityinsights/incidents/GetIncidents.json", Format::Sentinel),
            ("azure-rest-securityinsights/incidents/DeleteIncident.json", Format::Sentinel),
            ("azure-rest-securityinsights/incidents/GetAllIncidentAlerts.json", Format::Sentinel),
            ("graph-security/incident_list.json", Format::Graph),
            ("graph-security/incident_comment.json", Format::Graph),
            ("msticpy-securityalert/securityalert.csv", Format::SecurityAlert),
        ];
        for (file, format) in files {
            let Some(text) = fixtures::shared(file) else { return };
            assert_eq!(told(&text), Some((format, false)), "{file}");
        }
    }
}
