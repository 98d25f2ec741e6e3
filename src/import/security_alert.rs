//! Rows of the Log Analytics table SecurityAlert, as CSV: the export of a workspace or of its portal, or what a
//! spreadsheet program made of it (`sep=;`, semicolons, tabs).
//!
//! An alert is keyed by `ProviderName` and `ProviderAlertId`. Its raw payload is its row as in the file.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use serde_json::Value;

use super::csv_records::{CsvForm, CsvRecord, CsvRecords};
use super::document::{self, Layout};
use super::lines::{Ends, LineTally};
use super::odd::Odds;
use super::record::{AlertRecord, EntityRecord};
use super::times::{self, ToldTime};
use super::{ImportItem, Items, Record, entities, lenient, words};
use crate::domain::entity::EntityKind;
use crate::domain::incident::Severity;
use crate::domain::{Error, Instant, Result};

/// The columns that a SecurityAlert table must have; each entry lists alternative names.
const COLUMNS_NEEDED: [&[&str]; 3] =
    [&["providername"], &["provideralertid", "systemalertid"], &["severity", "alertseverity"]];

/// The column separators, in the order in which they are tried.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The form of the first lines of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// The separator of columns.
    separator: u8,
    /// Whether a line before the header names the separator: `sep=;`.
    said: bool,
}

/// Detects from the first lines of a file whether it is a table, and how its columns are separated.
pub(crate) fn beginning(head: &str, ends: Ends) -> Option<Beginning> {
    let mut lines = head.split(char::from(ends.byte())).map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next()?;
    let said = first.trim_matches('"').strip_prefix("sep=").and_then(|rest| rest.bytes().next());
    // A trailing tab was trimmed.
    let said = said.or_else(|| (first == "sep=").then_some(b'\t'));
    let header = if said.is_some() { lines.next()? } else { first };
    let separator = said.into_iter().chain(SEPARATORS).find(|separator| is_header(header, *separator))?;
    Some(Beginning { separator, said: said.is_some() })
}

/// Returns whether this line is the table's header.
fn is_header(line: &str, separator: u8) -> bool {
    has_columns(line.split(char::from(separator)))
}

fn has_columns<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let columns: Vec<String> = names.map(column).collect();
    COLUMNS_NEEDED.iter().all(|names| names.iter().any(|name| columns.iter().any(|column| column == name)))
}

/// Normalises a column name for comparison, without the portal's time zone: `TimeGenerated [UTC]`.
fn column(name: &str) -> String {
    words::squash(name.trim().trim_matches('"').trim_end_matches("[UTC]"))
}

/// Reads the rows one by one.
pub(crate) fn items(
    mut reader: impl BufRead + Send + 'static,
    beginning: Option<Beginning>,
    layout: Layout,
    tally: Arc<LineTally>,
) -> Result<Items> {
    let Layout { ends, first_line: mut first, .. } = layout;
    let Beginning { separator, said } = beginning.unwrap_or(Beginning { separator: b',', said: false });
    if said {
        reader.skip_until(ends.byte()).map_err(|error| Error::fault("read a row", error))?;
        first += 1;
    }
    let mut records = CsvRecords::new(reader, CsvForm { separator, ends }, first, tally);
    let header = match records.next().transpose().map_err(|error| Error::fault("read a row", error))? {
        Some(Ok(header)) if has_columns(header.fields.iter().map(String::as_str)) => header.fields,
        Some(_) => {
            let message = format!(
                "line {first}: this is not the header of a SecurityAlert table (ProviderName, ProviderAlertId, Severity …), \
                 separated by commas, semicolons, tabs or bars"
            );
            return Err(Error::invalid("file", message));
        }
        None => return Ok(Box::new(std::iter::empty())),
    };
    let columns: HashMap<String, usize> = header.iter().map(|name| column(name)).zip(0..).collect();
    let rows = records.flat_map(move |record| -> Vec<Result<ImportItem>> {
        match record {
            Err(error) => vec![Err(Error::fault("read a row", error))],
            Ok(Err((line, reason))) => vec![Ok(ImportItem::bad(line, reason))],
            // Concatenated files repeat the header.
            Ok(Ok(record)) if record.fields == header => Vec::new(),
            Ok(Ok(record)) => {
                let mut items = Vec::new();
                let mut odds = Odds::new(record.line, &record.raw);
                let alert = AlertRow { columns: &columns, record: &record }.alert(&mut odds);
                document::push(&mut items, odds, alert.map(|alert| vec![Record::Alert(Box::new(alert))]));
                items.into_iter().map(Ok).collect()
            }
        }
    });
    Ok(Box::new(rows))
}

struct AlertRow<'a> {
    columns: &'a HashMap<String, usize>,
    record: &'a CsvRecord,
}

impl AlertRow<'_> {
    /// Returns the first of these columns that exists and is not blank.
    fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| {
            let text = self.record.fields.get(*self.columns.get(*name)?)?.trim();
            (!text.is_empty()).then_some(text)
        })
    }

    fn needed(&self, names: &[&str], called: &str) -> Result<String, String> {
        self.text(names).map(str::to_owned).ok_or_else(|| format!("{called} is blank"))
    }

    /// Reads a word of another product, if it is known.
    fn word<T>(
        &self,
        names: &[&str],
        called: &str,
        read: fn(&str) -> words::Reading<Option<T>>,
        odds: &mut Odds,
    ) -> Option<T> {
        let text = self.text(names)?;
        odds.or(called, text, read(text)).flatten()
    }

    /// Reads an instant in the forms of Log Analytics exports, all in UTC.
    fn time(&self, names: &[&str], called: &str, odds: &mut Odds) -> Option<Instant> {
        let text = self.text(names)?;
        match times::read(text) {
            Some(ToldTime::At(at) | ToldTime::Unzoned(at)) => return Some(at),
            Some(ToldTime::Never) => odds.assume(called, text, format!("\"{text}\" is read as no time")),
            None => odds.keep(called, text, format!("\"{text}\" is no time")),
        }
        None
    }

    fn alert(&self, odds: &mut Odds) -> Result<AlertRecord, String> {
        let first = self.time(&["starttimeutc", "starttime"], "StartTime", odds);
        let last = self.time(&["endtimeutc", "endtime"], "EndTime", odds);
        let tactics = self.text(&["tactics"]).map(|text| list(text).into_iter().next());
        let severity = self.word(&["severity", "alertseverity"], "Severity", words::severity, odds);
        Ok(AlertRecord {
            provider: self.needed(&["providername"], "ProviderName")?,
            provider_alert_id: self.needed(&["provideralertid", "systemalertid"], "ProviderAlertId")?,
            product: self.text(&["productname"]).map(str::to_owned),
            title: self
                .text(&["alertdisplayname", "displayname", "alertname", "alerttype"])
                .unwrap_or_default()
                .to_owned(),
            description: self.text(&["description"]).map(str::to_owned),
            severity: severity.unwrap_or(Severity::DEFAULT),
            category: tactics.flatten(),
            techniques: self.text(&["techniques"]).map(list).unwrap_or_default(),
            // Some providers end an alert before it starts: the earlier time is then the first.
            first_activity_at: first.into_iter().chain(last).min(),
            last_activity_at: first.into_iter().chain(last).max(),
            entities: self.entities(odds),
            status: self.word(&["status"], "Status", words::alert_status, odds),
            classification: None,
            raw: Some(odds.raw().to_owned()),
            at: self.time(&["timegenerated"], "TimeGenerated", odds),
        })
    }

    /// Reads the listed entities. A list that was cut (Excel cuts a cell after 32,767 characters) gives its whole
    /// entities.
    fn entities(&self, odds: &mut Odds) -> Vec<EntityRecord> {
        let text = self.text(&["entities"]).unwrap_or("[]");
        let listed = match serde_json::from_str(text) {
            Ok(Value::Array(listed)) => listed,
            Ok(Value::Null) => Vec::new(),
            Ok(_) => {
                odds.keep("Entities", text, "this is no list of entities");
                Vec::new()
            }
            Err(error) => {
                let whole = lenient::elements_of_cut(text).unwrap_or_default();
                let count = whole.len();
                odds.keep(
                    "Entities",
                    text,
                    format!("{}: {count} entities before that are read", document::not_json(&error)),
                );
                whole
            }
        };
        let mut named = entities::of_sentinel(&listed, "Entities", odds);
        if let Some(compromised) = self.text(&["compromisedentity"]) {
            let known = |entity: &EntityRecord| {
                let (entity, compromised) = (entity.value.to_lowercase(), compromised.to_lowercase());
                entity == compromised || entity.starts_with(&format!("{compromised}."))
            };
            if !named.iter().any(known) {
                let kind = match compromised {
                    text if text.contains('/') => EntityKind::CloudResource,
                    text if text.contains('@') || text.contains('\\') => EntityKind::User,
                    _ => EntityKind::Device,
                };
                named.insert(0, entities::entity(kind, compromised, None));
            }
        }
        named
    }
}

/// Reads a list such as `Execution, Persistence` or `["T1059","T1078"]`.
fn list(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| {
        text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Format, detect, fixtures};

    const HEADER: &str = "TimeGenerated [UTC],ProviderName,ProviderAlertId,DisplayName,AlertSeverity,Status,Tactics,Entities,CompromisedEntity\n";

    fn read(text: String) -> Vec<ImportItem> {
        fixtures::read(text, Format::SecurityAlert)
    }

    #[test]
    fn a_row_keeps_its_bytes_and_odd_ones_their_lines() {
        let good = "\"3/14/2026, 7:05:09.250 AM\",Cloud sensor,c-19,Storage key listed from a new country,High,InProgress,\"CredentialAccess, Discovery\",\"[{\"\"Type\"\":\"\"ip\"\",\n \"\"Address\"\":\"\"203.0.113.9\"\"}]\",ledger-prod";
        let items = read(format!(
            "{HEADER}{good}\n2026-03-14 08:00:00,Cloud sensor,c-20,Key used,Grave,New,,,\nshort,row\n2026-03-14 09:00:00,Cloud sensor,c-21,Key rotated,Low,New,,not json,\n"
        ));
        let Ok(Record::Alert(alert)) = &items[0].record else { panic!("{items:?}") };
        assert_eq!(alert.raw.as_deref(), Some(good));
        assert_eq!(alert.at.map(|at| at.to_rfc3339()).as_deref(), Some("2026-03-14T07:05:09.250+00:00"));
        assert_eq!(alert.category.as_deref(), Some("CredentialAccess"));
        let entities: Vec<(EntityKind, &str)> =
            alert.entities.iter().map(|entity| (entity.kind, entity.value.as_str())).collect();
        assert_eq!(entities, [(EntityKind::Device, "ledger-prod"), (EntityKind::Ip, "203.0.113.9")]);
        let told = |item: &ImportItem| match &item.record {
            Ok(_) => item.odd.iter().map(|odd| (odd.line, format!("{}: {}", odd.field, odd.reason))).collect(),
            Err(bad) => vec![(bad.line, bad.reason.clone())],
        };
        let told: Vec<(u64, String)> = items.iter().flat_map(told).collect();
        let expected = [
            (4, "Severity: \"Grave\" is no severity"),
            (5, "ProviderAlertId is blank"),
            (6, "Entities: this is not JSON: expected ident: 0 entities before that are read"),
        ];
        assert_eq!(told, expected.map(|(line, reason)| (line, reason.to_owned())));
    }

    #[test]
    fn a_table_without_rows_and_another_table_are_told_apart() {
        assert!(read(HEADER.to_owned()).is_empty());
        let other = std::io::Cursor::new("a,b\n1,2\n");
        assert!(detect::items(other, Some(Format::SecurityAlert), &Arc::default()).is_err());
    }

    #[test]
    fn the_real_rows_all_read_and_give_back_their_bytes() {
        let Some(text) = fixtures::shared("msticpy-securityalert/securityalert.csv") else { return };
        let items = read(text.clone());
        assert_eq!(items.len(), 93);
        let mut at = text.find('\n').unwrap() + 1;
        for item in items {
            let Ok(Record::Alert(alert)) = item.record else { panic!("{:?}", item.record) };
            let raw = alert.raw.clone().unwrap();
            assert_eq!(text.get(at..at + raw.len()), Some(raw.as_str()));
            assert_eq!(item.line, 1 + text[..at].matches('\n').count() as u64);
            at += raw.len();
            at += text[at..].len() - text[at..].trim_start_matches(['\r', '\n']).len();
            alert.draft().unwrap();
        }
        assert_eq!(at, text.len());
    }
}
