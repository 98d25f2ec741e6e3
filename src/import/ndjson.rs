//! The desk's own format as NDJSON: one record a line.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::document::{self, ElementPlace, FileDialect};
use super::lenient::{self, By};
use super::odd::Odds;
use super::{ImportItem, Record};

/// Reads records of the desk's own format.
pub(crate) struct OwnFormat;

impl FileDialect for OwnFormat {
    fn read(&self, value: &RawValue, place: ElementPlace<'_>, items: &mut Vec<ImportItem>) {
        for element in document::elements(value) {
            let mut odds = Odds::new(place.line_of(element), element.get());
            let record = record(element, &mut odds).map(|record| vec![record]);
            document::push(items, odds, record);
        }
    }
}

/// The types of a record, as [`Record`] reads them.
const TYPES: [&str; 6] = ["user", "group", "alert", "incident", "comment", "update"];

/// The field that identifies the type of a record.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type")]
    word: Option<Value>,
    #[serde(borrow)]
    severity: Option<&'a RawValue>,
}

/// Reads one record. An alert without a raw payload gets its own line as payload.
fn record(element: &RawValue, odds: &mut Odds) -> Result<Record, String> {
    let typed = known_type(element)?;
    let always = format!("\"type\":{}", typed.word.unwrap_or_default());
    let mut room = String::new();
    let by = By {
        always: &always,
        read: |text| serde_json::from_str(text),
        accepts: |text| serde_json::from_str::<Record>(text).map(drop),
    };
    let mut record = lenient::object(element, &by, &mut room, odds)?;
    let missing = match &record {
        Record::User(user) => user.account.is_empty().then_some("account"),
        Record::Group(group) => group.account.is_empty().then_some("account"),
        Record::Alert(alert) if alert.provider.is_empty() => Some("provider"),
        Record::Alert(alert) => alert.provider_alert_id.is_empty().then_some("providerAlertId"),
        Record::Incident(incident) => incident.external_id.is_empty().then_some("externalId"),
        Record::Comment(comment) if comment.external_id.is_empty() => Some("externalId"),
        Record::Comment(comment) => comment.body.is_empty().then_some("body"),
        Record::Update(update) => update.external_id.is_empty().then_some("externalId"),
    };
    if let Some(missing) = missing {
        return Err(format!("{missing} is missing"));
    }
    if let Record::Alert(alert) = &mut record {
        alert.raw.get_or_insert_with(|| odds.raw().to_owned());
        if typed.severity.is_none() {
            odds.assume("severity", "", format!("there is no severity: {:?} stands for it", alert.severity));
        }
    }
    Ok(record)
}

/// Checks that this is an object of a known type before it is read, because serde's messages name internal types.
fn known_type(element: &RawValue) -> Result<Typed<'_>, String> {
    let types = TYPES.join(", ");
    if !element.get().trim_start().starts_with('{') {
        return Err(format!("a record is an object with a type: {types}"));
    }
    let typed: Typed<'_> = document::parse(element)?;
    match &typed.word {
        Some(Value::String(word)) if TYPES.contains(&word.as_str()) => Ok(typed),
        Some(Value::String(word)) => Err(format!("\"{word}\" is no type of a record, choose one of {types}")),
        _ => Err(format!("a record says its type: {types}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::classification::{Classification, Threat};
    use crate::import::record::{Party, UpdateRecord};
    use crate::import::{Bad, Format, fixtures};

    fn read(text: &'static str) -> Vec<ImportItem> {
        fixtures::read(text.to_owned(), Format::Watchfloor)
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
        assert_eq!(items.len(), 5);
        let odd: Vec<(u64, &str, &str)> = items
            .iter()
            .flat_map(|item| &item.odd)
            .map(|odd| (odd.line, odd.field.as_str(), odd.reason.split(',').next().unwrap()))
            .collect();
        assert_eq!(
            odd,
            [(3, "severity", "\"urgent\" is no severity"), (4, "colour", "colour is no field that is known here")]
        );
        let bad: Vec<&Bad> = items.iter().filter_map(|item| item.record.as_ref().err()).collect();
        assert_eq!((bad.len(), bad[0].line), (1, 5));
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
            r#"{"type":"incident","externalId":[7],"title":"a"}"#,
            r#"{"type":"incident","externalId":"1","alerts":"x"}"#,
            r#"{"type":"alert","provider":"p","providerAlertId":"1","title":"t","severity":"LOW","entities":[{"kind":"TOASTER","value":"x"}]}"#,
            r#"{"type":"user","account":"a","role":{}}"#,
            r#"{"type":"user","account":"a","at":"yesterday"}"#,
            r#"{"type":"user","account":"a","name":7}"#,
        ]
        .iter()
        .flat_map(|text| read(text))
        .map(|item| item.record.err().map(|bad| bad.reason).unwrap_or_else(|| item.odd[0].reason.clone()))
        .collect();
        let types = "user, group, alert, incident, comment, update";
        assert_eq!(reasons[0], format!("a record is an object with a type: {types}"));
        assert_eq!(reasons[1], reasons[0]);
        assert_eq!((&reasons[2], &reasons[3]), (&format!("a record says its type: {types}"), &reasons[2]));
        assert_eq!(reasons[4], format!("\"nonsense\" is no type of a record, choose one of {types}"));
        assert_eq!(reasons[5], "body is missing");
        assert_eq!(reasons[6], "title is given twice");
        assert_eq!(reasons[7], "externalId is missing");
        assert_eq!(reasons[8], "the text \"x\" stands where a list is expected");
        assert!(reasons[9].starts_with("\"TOASTER\" is not known here, expected one of"), "{}", reasons[9]);
        assert_eq!(reasons[12], "7 is read as a text");
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
