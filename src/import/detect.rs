//! Which format a file has, told by how it begins.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::document;
use super::graph::Graph;
use super::lines::BYTE_ORDER_MARK;
use super::ndjson::Own;
use super::sentinel::Sentinel;
use super::{Format, Items, security_alert};
use crate::domain::{Error, Result};

/// How much of a file is looked at, in bytes. The reader's buffer is of this size.
pub const HEAD_BYTES: usize = 256 * 1024;

/// How a file is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What its records are.
    pub format: Format,
    /// Whether each line is a document of its own.
    pub by_line: bool,
}

/// Tells from the first bytes of a file; `format` where it is known already.
pub fn reading(head: &[u8], format: Option<Format>) -> Option<Reading> {
    let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The head may end inside a character.
        Err(error) => std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?,
    };
    let by_line = format == Some(Format::Watchfloor) && !text.trim_start().starts_with('[') || has_line_documents(text);
    let format = format.or_else(|| told_by(text))?;
    Some(Reading { format, by_line })
}

/// Whether each line is a document: the first is one by itself, or several begin as one.
fn has_line_documents(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let Some(first) = lines.next() else { return false };
    let second = lines.next().is_some_and(|line| line.starts_with("{\""));
    first.starts_with('{') && (second || serde_json::from_str::<Map<String, Value>>(first).is_ok())
}

fn told_by(text: &str) -> Option<Format> {
    let text = text.trim_start();
    if !text.starts_with(['{', '[']) {
        return text.lines().next().is_some_and(security_alert::is_header).then_some(Format::SecurityAlert);
    }
    // The head may be cut anywhere, so words are looked for instead of values: the one that comes first decides.
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

/// Where `"type": "<word>"` stands.
fn position_of_type(text: &str, word: &str) -> Option<usize> {
    text.match_indices("\"type\"").map(|(at, _)| at).find(|at| {
        let rest = text[at + "\"type\"".len()..].trim_start();
        rest.strip_prefix(':').map(str::trim_start).is_some_and(|value| value.starts_with(&format!("\"{word}\"")))
    })
}

/// The records of a file.
pub fn items(mut reader: impl BufRead + Send + 'static, format: Option<Format>) -> Result<(Format, Items)> {
    let head = reader.fill_buf().map_err(|error| Error::fault("read the file", error))?;
    if head.iter().all(u8::is_ascii_whitespace) {
        return Ok((format.unwrap_or(Format::Watchfloor), Box::new(std::iter::empty())));
    }
    let Some(Reading { format, by_line }) = reading(head, format) else {
        let known = Format::ALL.map(Format::as_str).join(", ");
        return Err(Error::invalid("file", format!("this looks like none of {known}; choose one with --format")));
    };
    let items = match format {
        Format::Watchfloor => document::items(reader, by_line, Own)?,
        Format::Sentinel => document::items(reader, by_line, Sentinel)?,
        Format::Graph => document::items(reader, by_line, Graph)?,
        Format::SecurityAlert => security_alert::items(reader)?,
    };
    Ok((format, items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::fixtures;

    fn told(text: &str) -> Option<(Format, bool)> {
        reading(text.as_bytes(), None).map(|reading| (reading.format, reading.by_line))
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
