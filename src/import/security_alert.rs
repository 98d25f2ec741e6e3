//! Rows of the Log Analytics table SecurityAlert, as CSV: the export of a workspace, or of its portal.
//!
//! An alert is keyed by `ProviderName` and `ProviderAlertId`; its raw payload is its row as the file has it.

use std::collections::HashMap;
use std::io::BufRead;

use chrono::NaiveDateTime;
use serde_json::Value;

use super::csv_records::{CsvRecord, CsvRecords};
use super::record::{AlertRecord, EntityRecord};
use super::{Bad, Item, Items, Record, entities, words};
use crate::domain::entity::EntityKind;
use crate::domain::incident::Severity;
use crate::domain::{Error, Instant, Result};

/// Columns without which a file is no SecurityAlert table.
const COLUMNS_NEEDED: [&[&str]; 3] =
    [&["providername"], &["provideralertid", "systemalertid"], &["severity", "alertseverity"]];

/// Whether a header is that of the table.
pub fn is_header(line: &str) -> bool {
    let columns: Vec<String> = line.split(',').map(column).collect();
    COLUMNS_NEEDED.iter().all(|names| names.iter().any(|name| columns.iter().any(|column| column == name)))
}

/// A column as columns are compared; the portal adds its time zone: `TimeGenerated [UTC]`.
fn column(name: &str) -> String {
    words::squash(name.trim().trim_end_matches("[UTC]"))
}

/// Reads the rows one by one.
pub fn items(reader: impl BufRead + Send + 'static) -> Result<Items> {
    let mut records = CsvRecords::new(reader);
    let header = match records.next().transpose().map_err(|error| Error::fault("read a row", error))? {
        Some(Ok(header)) if is_header(&header.fields.join(",")) => header.fields,
        Some(_) => {
            let message =
                "line 1: this is not the header of a SecurityAlert table (ProviderName, ProviderAlertId, Severity …)";
            return Err(Error::invalid("file", message));
        }
        None => return Ok(Box::new(std::iter::empty())),
    };
    let columns: HashMap<String, usize> = header.iter().map(|name| column(name)).zip(0..).collect();
    Ok(Box::new(records.map(move |record| {
        Ok(match record.map_err(|error| Error::fault("read a row", error))? {
            Ok(record) => {
                let line = record.line;
                let alert = Row { columns: &columns, record: &record }.alert();
                let alert = alert.map(|alert| Record::Alert(Box::new(alert)));
                Item { line, record: alert.map_err(|reason| Bad { line, reason }) }
            }
            Err((line, reason)) => Item::bad(line, reason),
        })
    })))
}

struct Row<'a> {
    columns: &'a HashMap<String, usize>,
    record: &'a CsvRecord,
}

impl Row<'_> {
    /// The first of these columns that is there and not blank.
    fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| {
            let text = self.record.fields.get(*self.columns.get(*name)?)?.trim();
            (!text.is_empty()).then_some(text)
        })
    }

    fn needed(&self, names: &[&str], called: &str) -> Result<String, String> {
        self.text(names).map(str::to_owned).ok_or_else(|| format!("{called} is blank"))
    }

    fn time(&self, names: &[&str]) -> Result<Option<Instant>, String> {
        self.text(names).map(time).transpose()
    }

    fn json(&self, name: &str, called: &str) -> Result<Option<Value>, String> {
        let read = |text| serde_json::from_str(text).map_err(|error| format!("{called} is not JSON: {error}"));
        self.text(&[name]).map(read).transpose()
    }

    fn alert(&self) -> Result<AlertRecord, String> {
        let severity = self.needed(&["severity", "alertseverity"], "Severity")?;
        let (first, last) = (self.time(&["starttimeutc", "starttime"])?, self.time(&["endtimeutc", "endtime"])?);
        let tactics = self.text(&["tactics"]).map(|text| list(text).into_iter().next());
        Ok(AlertRecord {
            provider: self.needed(&["providername"], "ProviderName")?,
            provider_alert_id: self.needed(&["provideralertid", "systemalertid"], "ProviderAlertId")?,
            product: self.text(&["productname"]).map(str::to_owned),
            title: self.needed(&["alertdisplayname", "displayname", "alertname", "alerttype"], "AlertDisplayName")?,
            description: self.text(&["description"]).map(str::to_owned),
            severity: words::severity(&severity)?.unwrap_or(Severity::DEFAULT),
            category: tactics.flatten(),
            techniques: self.text(&["techniques"]).map(list).unwrap_or_default(),
            // Some providers end an alert before it starts; the earlier of the two is then the first.
            first_activity_at: first.into_iter().chain(last).min(),
            last_activity_at: first.into_iter().chain(last).max(),
            entities: self.entities()?,
            status: self.text(&["status"]).map_or(Ok(None), words::alert_status)?,
            classification: None,
            raw: Some(self.record.raw.clone()),
            at: self.time(&["timegenerated"])?,
        })
    }

    fn entities(&self) -> Result<Vec<EntityRecord>, String> {
        let listed = self.json("entities", "Entities")?;
        let mut named = entities::of_sentinel(listed.as_ref().and_then(Value::as_array).map_or(&[], Vec::as_slice));
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
                named.truncate(crate::domain::alert::ENTITIES_PER_ALERT_MAX);
            }
        }
        Ok(named)
    }
}

/// `Execution, Persistence` or `["T1059","T1078"]`.
fn list(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| {
        text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    })
}

/// The forms of an instant that exports of Log Analytics have, all in UTC.
fn time(text: &str) -> Result<Instant, String> {
    if let Ok(instant) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(instant.to_utc());
    }
    let forms = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%m/%d/%Y, %I:%M:%S%.f %p", "%m/%d/%Y %H:%M:%S%.f"];
    let read = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    read.map(|instant| instant.and_utc()).ok_or_else(|| format!("\"{text}\" is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::fixtures;

    const HEADER: &str = "TimeGenerated [UTC],ProviderName,ProviderAlertId,DisplayName,AlertSeverity,Status,Tactics,Entities,CompromisedEntity\n";

    fn read(text: String) -> Vec<Item> {
        items(std::io::Cursor::new(text)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_row_keeps_its_bytes_and_bad_rows_their_lines() {
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
        let bad: Vec<(u64, &str)> = items[1..]
            .iter()
            .map(|item| item.record.as_ref().map_err(|bad| (bad.line, bad.reason.as_str())).unwrap_err())
            .collect();
        assert_eq!(bad[0], (4, "\"Grave\" is no severity"));
        assert_eq!(bad[1], (5, "2 fields where the header has 9"));
        assert_eq!(bad[2].0, 6);
    }

    #[test]
    fn a_table_without_rows_and_another_table_are_told_apart() {
        assert!(read(HEADER.to_owned()).is_empty());
        assert!(items(std::io::Cursor::new("a,b\n1,2\n")).is_err());
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
