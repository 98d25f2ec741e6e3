//! Our own shape as NDJSON: a record a line.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::document::{self, Dialect, Place};
use super::{Item, Record};

/// Reads records of our own shape.
pub struct Own;

impl Dialect for Own {
    fn read(&self, value: &RawValue, place: Place<'_>, items: &mut Vec<Item>) {
        for element in document::elements(value) {
            document::push(items, place.line_of(element), record(element).map(|record| vec![record]));
        }
    }
}

/// The types of a record, as [`Record`] reads them.
const TYPES: [&str; 6] = ["user", "group", "alert", "incident", "comment", "update"];

/// One record. An alert that names no raw payload has its own line for one.
fn record(element: &RawValue) -> Result<Record, String> {
    known_type(element)?;
    let mut record: Record = document::parse(element)?;
    if let Record::Alert(alert) = &mut record
        && alert.raw.is_none()
    {
        alert.raw = Some(element.get().to_owned());
    }
    Ok(record)
}

/// Whether this is an object of a known type: said before it is read, since the reader speaks of its own types.
fn known_type(element: &RawValue) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        word: Option<Value>,
    }
    let types = TYPES.join(", ");
    if !element.get().trim_start().starts_with('{') {
        return Err(format!("a record is an object with a type: {types}"));
    }
    match document::parse::<Typed>(element)?.word {
        Some(Value::String(word)) if TYPES.contains(&word.as_str()) => Ok(()),
        Some(Value::String(word)) => Err(format!("\"{word}\" is no type of a record, choose one of {types}")),
        _ => Err(format!("a record says its type: {types}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::classification::{Classification, Threat};
    use crate::import::record::{Party, UpdateRecord};
    use crate::import::{Bad, Items};

    fn read(text: &'static str) -> Vec<Item> {
        let items: Items = document::items(text.as_bytes(), true, Own).unwrap();
        items.map(Result::unwrap).collect()
    }

    #[test]
    fn a_line_is_a_record_and_a_bad_one_is_told_by_its_number() {
        let items = read(concat!(
            r#"{"type":"user","account":"mira.holt","name":"Mira Holt","role":"RESPONDER"}"#,
            "\n\n",
            r#"{"type":"incident","externalId":"7","title":"Mailbox rule hides payroll mail","severity":"urgent"}"#,
            "\n",
            r#"{"type":"incident","externalId":"8","title":"Mailbox rule hides payroll mail","colour":"red"}"#,
            "\n{\n",
            r#"{"type":"comment","externalId":"7","body":"Rule removed.","by":"mira.holt"}"#,
        ));
        let bad: Vec<&Bad> = items.iter().filter_map(|item| item.record.as_ref().err()).collect();
        assert_eq!(items.len(), 5);
        assert_eq!((bad[0].line, bad[0].reason.as_str()), (3, "\"urgent\" is no severity"));
        assert_eq!(bad[1].line, 4);
        assert!(bad[1].reason.contains("unknown field `colour`"), "{}", bad[1].reason);
        assert_eq!(bad[2].line, 5);
    }

    #[test]
    fn what_is_wrong_is_said_in_words_of_the_file() {
        let reasons: Vec<String> = [
            "[1]",
            "\"str\"",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"nonsense"}"#,
            r#"{"type":"comment","externalId":"1"}"#,
            r#"{"type":"incident","externalId":"1","title":"a","title":"b"}"#,
            r#"{"type":"incident","externalId":7}"#,
            r#"{"type":"incident","externalId":"1","alerts":"x"}"#,
            r#"{"type":"alert","provider":"p","providerAlertId":"1","title":"t","severity":"LOW","entities":[{"kind":"TOASTER","value":"x"}]}"#,
            r#"{"type":"user","account":"a","role":{}}"#,
            r#"{"type":"user","account":"a","at":"yesterday"}"#,
        ]
        .iter()
        .flat_map(|text| read(text))
        .map(|item| item.record.unwrap_err().reason)
        .collect();
        let types = "user, group, alert, incident, comment, update";
        assert_eq!(reasons[0], format!("a record is an object with a type: {types}"));
        assert_eq!(reasons[1], reasons[0]);
        assert_eq!((&reasons[2], &reasons[3]), (&format!("a record says its type: {types}"), &reasons[2]));
        assert_eq!(reasons[4], format!("\"nonsense\" is no type of a record, choose one of {types}"));
        assert_eq!(reasons[5], "body is missing");
        assert_eq!(reasons[6], "title is given twice");
        assert_eq!(reasons[7], "the number 7 stands where a text is expected");
        assert_eq!(reasons[8], "the text \"x\" stands where a list is expected");
        assert!(reasons[9].starts_with("\"TOASTER\" is not known here, expected one of"), "{}", reasons[9]);
        let rust = ["enum", "struct", "variant", "map", "sequence", "Record", "u64", "untagged"];
        for reason in &reasons {
            assert!(!rust.iter().any(|word| reason.contains(word)), "{reason}");
        }
    }

    #[test]
    fn an_update_tells_null_from_absent() {
        let items = read(
            r#"{"type":"update","externalId":"7","owner":null,"severity":null,"classification":{"truePositive":"PHISHING"}}"#,
        );
        let Ok(Record::Update(update)) = &items[0].record else { panic!("{items:?}") };
        assert_eq!(update.owner, Some(None));
        assert_eq!(update.severity, Some(None));
        assert_eq!(update.classification, Some(Some(Classification::TruePositive(Threat::Phishing))));
        assert_eq!(UpdateRecord { title: None, ..(**update).clone() }, **update);
        assert_eq!(update.status, None);
    }

    #[test]
    fn an_owner_is_a_user_or_a_group_and_an_alert_keeps_its_line() {
        let line = r#"{"type":"alert", "provider":"Endpoint sensor","providerAlertId":"a-1","title":"LSASS read","severity":"High","entities":[{"kind":"DEVICE","value":"ws-114"}]}"#;
        let items = read(line);
        let Ok(Record::Alert(alert)) = &items[0].record else { panic!("{items:?}") };
        assert_eq!(alert.raw.as_deref(), Some(line));
        let items = read(r#"{"type":"incident","externalId":"9","title":"x","owner":{"group":"tier-2"}}"#);
        let Ok(Record::Incident(incident)) = &items[0].record else { panic!("{items:?}") };
        assert!(matches!(&incident.owner, Some(Party::Group(group)) if group.group == "tier-2"));
    }

    #[test]
    fn a_record_written_out_is_read_back_alike() {
        let line = r#"{"type":"update","externalId":"7","at":"2026-03-01T08:00:00Z","by":"mira.holt","status":"RESOLVED","note":"Reset and revoked.","classification":{"truePositive":"COMPROMISED_ACCOUNT"},"addTags":["vip",{"name":"BEC fraud","kind":"ATTACK_TYPE"}],"comment":{"body":"Done."}}"#;
        let items = read(line);
        let record = items[0].record.as_ref().unwrap();
        let written = serde_json::to_string(record).unwrap();
        assert_eq!(&serde_json::from_str::<Record>(&written).unwrap(), record);
        assert_eq!(written, line);
    }
}
