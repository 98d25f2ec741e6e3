//! Microsoft Sentinel's REST API: incidents, comments, relations, alerts, bookmarks and entities. They come as
//! responses, lists, request bodies or the API's own examples (`parameters`, `responses.<code>.body`).
//!
//! An incident is keyed by its name (a GUID), an alert by [`PROVIDER`] and its system alert id, which is what a
//! relation names. A resource of an incident that the desk does not hold creates a placeholder, and the incident itself
//! completes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::document::{self, ElementPlace, FileDialect};
use super::lenient::{self, By};
use super::odd::Odds;
use super::{ImportItem, Record, sentinel_resources as resources, words};

/// The source of its incidents.
pub(crate) const SOURCE: &str = "sentinel";

/// The provider of its alerts: Sentinel forwards the alerts of every product.
pub(crate) const PROVIDER: &str = "Microsoft Sentinel";

/// Reads Sentinel's resources.
pub(crate) struct Sentinel;

impl FileDialect for Sentinel {
    fn read(&self, value: &RawValue, place: ElementPlace<'_>, items: &mut Vec<ImportItem>) {
        for element in document::elements(value) {
            read_element(element, None, place, items);
        }
    }
}

/// The fields that identify the type of an element. Its other fields are read as that type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentinelElement<'a> {
    id: Option<String>,
    name: Option<String>,
    #[serde(rename = "type")]
    resource: Option<String>,
    kind: Option<String>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    responses: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow)]
    entities: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExampleParameters<'a> {
    incident_id: Option<String>,
    incident_comment_id: Option<String>,
    relation_name: Option<String>,
    #[serde(borrow)]
    incident: Option<&'a RawValue>,
    #[serde(borrow)]
    incident_comment: Option<&'a RawValue>,
    #[serde(borrow)]
    relation: Option<&'a RawValue>,
}

fn read_element(value: &RawValue, incident: Option<&str>, place: ElementPlace<'_>, items: &mut Vec<ImportItem>) {
    let mut odds = Odds::new(place.line_of(value), value.get());
    let mut room = String::new();
    let element: SentinelElement<'_> = match element(value, &mut room, &mut odds) {
        Ok(element) => element,
        Err(reason) => return document::push(items, odds, Err(reason)),
    };
    if element.parameters.is_some() || element.responses.is_some() {
        return read_example(&element, odds, place, items);
    }
    let records = match &element.entities {
        Some(named) => resources::named_entities(named, incident, &mut odds),
        None => resource(&element, value, incident, &mut odds),
    };
    document::push(items, odds, records);
}

fn element<'a>(value: &'a RawValue, room: &'a mut String, odds: &mut Odds) -> Result<SentinelElement<'a>, String> {
    let by = By {
        always: "",
        read: |text| serde_json::from_str(text),
        accepts: |text| serde_json::from_str::<SentinelElement<'_>>(text).map(drop),
    };
    lenient::object(value, &by, room, odds)
}

/// Reads one example of the REST specification: the first response with a body, else the request.
fn read_example(element: &SentinelElement<'_>, odds: Odds, place: ElementPlace<'_>, items: &mut Vec<ImportItem>) {
    #[derive(Deserialize)]
    struct ExampleResponse<'a> {
        #[serde(borrow)]
        body: Option<&'a RawValue>,
    }
    let parameters: ExampleParameters<'_> =
        match element.parameters.map_or(Ok(ExampleParameters::default()), document::parse) {
            Ok(parameters) => parameters,
            Err(reason) => return document::push(items, odds, Err(reason)),
        };
    let incident = parameters.incident_id.as_deref();
    let responses = element.responses.iter().flatten();
    let mut bodies = responses.filter_map(|(_, response)| document::parse::<ExampleResponse<'_>>(response).ok()?.body);
    if let Some(body) = bodies.next() {
        for element in document::elements(body) {
            read_element(element, incident, place, items);
        }
        return;
    }
    let requests = [
        (parameters.incident, incident, "/incidents"),
        (parameters.incident_comment, parameters.incident_comment_id.as_deref(), "/comments"),
        (parameters.relation, parameters.relation_name.as_deref(), "/relations"),
    ];
    for (request, name, resource_type) in requests {
        let Some(request) = request else { continue };
        let mut odds = Odds::new(place.line_of(request), request.get());
        let mut room = String::new();
        let records = self::element(request, &mut room, &mut odds).and_then(|mut element| {
            element.name = element.name.or_else(|| name.map(str::to_owned));
            element.resource = element.resource.or_else(|| Some(resource_type.to_owned()));
            resource(&element, request, incident, &mut odds)
        });
        document::push(items, odds, records);
    }
}

fn resource(
    element: &SentinelElement<'_>,
    raw: &RawValue,
    incident: Option<&str>,
    odds: &mut Odds,
) -> Result<Vec<Record>, String> {
    let of_url = element.id.as_deref().and_then(|id| segment(id, "/incidents/"));
    let incident = of_url.or(incident);
    let properties = element.properties.ok_or("there are no properties")?;
    let told = words::squash(element.resource.as_deref().unwrap_or_default().rsplit('/').next().unwrap_or_default());
    let kind = element.kind.as_deref().map(words::squash);
    let told = match (kind.as_deref(), told.as_str()) {
        // A request body has neither type nor name, because both are in its URL.
        (None, "") => by_properties(properties),
        (None, told) => told,
        (Some("securityalert"), _) => "alerts",
        (Some("bookmark"), _) => "bookmarks",
        (Some(_), _) => "entities",
    };
    let name = element.name.clone().or_else(|| Some(element.id.as_deref()?.rsplit('/').next()?.to_owned()));
    let name = match name.filter(|name| !name.trim().is_empty()) {
        Some(name) => name,
        None if matches!(told, "alerts" | "incidents" | "comments") => unnamed(raw, odds),
        None => String::new(),
    };
    match told {
        "alerts" => resources::alert(lenient::properties(properties, odds)?, &name, raw, incident, odds),
        "bookmarks" => {
            resources::bookmark(lenient::properties(properties, odds)?, &name, incident).map(|record| vec![record])
        }
        "incidents" => {
            resources::incident(lenient::properties(properties, odds)?, &name, odds).map(|record| vec![record])
        }
        "comments" => {
            resources::comment(lenient::properties(properties, odds)?, &name, incident).map(|record| vec![record])
        }
        "relations" => {
            resources::relation(lenient::properties(properties, odds)?, &name, incident).map(|record| vec![record])
        }
        "entities" => resources::named_entities(&[raw], incident, odds),
        _ => Err("this is no incident, comment, relation, alert, bookmark or entity".to_owned()),
    }
}

/// Returns the resource type for properties without a type.
fn by_properties(properties: &RawValue) -> &'static str {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct TypedProperties<'a> {
        #[serde(borrow)]
        title: Option<&'a RawValue>,
        #[serde(borrow)]
        message: Option<&'a RawValue>,
        #[serde(borrow)]
        related_resource_id: Option<&'a RawValue>,
        #[serde(borrow)]
        system_alert_id: Option<&'a RawValue>,
        #[serde(borrow)]
        alert_display_name: Option<&'a RawValue>,
    }
    match document::parse(properties) {
        Ok(TypedProperties { related_resource_id: Some(_), .. }) => "relations",
        Ok(TypedProperties { system_alert_id: Some(_), .. } | TypedProperties { alert_display_name: Some(_), .. }) => {
            "alerts"
        }
        Ok(TypedProperties { title: Some(_), .. }) => "incidents",
        Ok(TypedProperties { message: Some(_), .. }) => "comments",
        _ => "",
    }
}

/// Derives a name for a nameless request body from its content, so that a repeated body has the same name.
fn unnamed(raw: &RawValue, odds: &mut Odds) -> String {
    let name = format!("body-{}", &hex::encode(Sha256::digest(raw.get()))[..32]);
    odds.assume(
        "name",
        "",
        format!("there is no name, as in a request body: {name} stands for it, made of its content"),
    );
    name
}

/// Returns the part of a resource id after `marker`: `…/incidents/<this>/comments/…`.
fn segment<'a>(id: &'a str, marker: &str) -> Option<&'a str> {
    let start = id.find(marker)? + marker.len();
    id[start..].split('/').next().filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::classification::{Classification, ExpectedActivity, FalsePositiveReason};
    use crate::domain::incident::Status;
    use crate::domain::tag::TagKind;
    use crate::import::record::{IncidentRecord, Party, Person};
    use crate::import::{Format, fixtures};

    fn read(text: &str) -> Vec<ImportItem> {
        fixtures::read(text.to_owned(), Format::Sentinel)
    }

    fn incidents(items: &[ImportItem]) -> Vec<&IncidentRecord> {
        let incident = |item| match item {
            &ImportItem { record: Ok(Record::Incident(ref incident)), .. } => Some(&**incident),
            _ => None,
        };
        items.iter().filter_map(incident).collect()
    }

    const LIST: &str = r#"{ "value": [
      { "name": "6F1D2C3B-0000-4000-8000-00000000A001", "type": "Microsoft.SecurityInsights/incidents",
        "properties": { "title": "Backup account signed in at night", "severity": "High", "status": "Closed",
          "classification": "BenignPositive", "classificationReason": "SuspiciousButExpected",
          "classificationComment": "Restore drill, change 4471", "createdTimeUtc": "2026-02-03T01:12:00Z",
          "lastModifiedTimeUtc": "2026-02-03T09:40:00Z",
          "owner": { "objectId": "2f0c", "assignedTo": "Night shift", "ownerType": "Group" },
          "labels": [ { "labelName": "drill", "labelType": "User" },
                      { "labelName": "Critical asset", "labelType": "AutoAssigned" } ] } },
      { "name": "6f1d2c3b-0000-4000-8000-00000000a002", "type": "Microsoft.SecurityInsights/incidents",
        "properties": { "title": "Second", "severity": "Enormous", "status": "New" } },
      { "name": "6f1d2c3b-0000-4000-8000-00000000a003", "type": "Microsoft.SecurityInsights/incidents",
        "properties": { "title": "Third", "severity": "Low", "status": "Active", "classification": "Undetermined",
          "classificationComment": "still asking the owner", "labels": [] } } ] }"#;

    #[test]
    fn a_list_of_incidents_is_read_and_an_odd_part_is_told_by_its_line() {
        let items = read(LIST);
        let odd = &items[1].odd[0];
        assert_eq!(
            (odd.line, odd.field.as_str(), odd.reason.as_str()),
            (10, "severity", "\"Enormous\" is no severity")
        );
        let mut incidents = incidents(&items);
        assert_eq!(incidents.remove(1).severity, None);
        assert_eq!(incidents[0].external_id, "6f1d2c3b-0000-4000-8000-00000000a001");
        assert_eq!(
            incidents[0].note.as_deref(),
            Some("Restore drill, change 4471\n\n(Microsoft Sentinel: BenignPositive, SuspiciousButExpected)")
        );
        let expected = Classification::InformationalExpectedActivity(ExpectedActivity::ConfirmedActivity);
        assert_eq!(incidents[0].classification, Some(expected));
        assert!(matches!(&incidents[0].owner, Some(Party::Group(group)) if group.group == "2f0c"));
        assert_eq!(incidents[0].tags[1].kind, TagKind::CriticalAsset);
        assert_eq!((incidents[1].note.as_deref(), incidents[1].classification), (None, None));
        assert_eq!(incidents[1].comments[0].body, "still asking the owner\n\n(Microsoft Sentinel: Undetermined)");
    }

    #[test]
    fn lines_of_incidents_are_read_as_well() {
        let line = r#"{"name":"a-1","type":"x/incidents","properties":{"title":"One","status":"New"}}"#;
        let text = format!("{line}\nnot json\n{line}\n");
        let items = read(&text);
        assert_eq!(items.len(), 3);
        assert_eq!(items[1].record.as_ref().unwrap_err().line, 2);
    }

    /// Returns every record of an example file, and asserts that none is bad.
    fn example(file: &str) -> Option<Vec<Record>> {
        let text = fixtures::shared(&format!("azure-rest-securityinsights/incidents/{file}.json"))?;
        Some(read(&text).into_iter().map(|item| item.record.unwrap()).collect())
    }

    #[test]
    fn the_rest_examples_of_incidents_read_whole() {
        for file in ["CreateIncident", "GetIncidentById", "GetIncidents"] {
            let Some(records) = example(file) else { return };
            let [Record::Incident(incident)] = records.as_slice() else { panic!("{file}: {records:?}") };
            assert_eq!(incident.title.as_deref(), Some("My incident"));
            assert_eq!(incident.status, Some(Status::Resolved));
            let reason = match file {
                "GetIncidentById" => FalsePositiveReason::NotEnoughDataToValidate,
                _ => FalsePositiveReason::NotMalicious,
            };
            assert_eq!(incident.classification, Some(Classification::FalsePositive(reason)));
            let owner = Person {
                account: "john@contoso.com".to_owned(),
                name: Some("john doe".to_owned()),
                email: Some("john.doe@contoso.com".to_owned()),
            };
            assert_eq!(incident.owner, Some(Party::User(owner)));
        }
    }

    #[test]
    fn the_rest_examples_of_comments_relations_and_lists_read_whole() {
        let expected = [
            ("DeleteIncident", 0),
            ("GetAllIncidentAlerts", 2),
            ("GetAllIncidentBookmarks", 2),
            ("GetAllIncidentEntities", 2),
            ("comments/CreateIncidentComment", 1),
            ("comments/DeleteIncidentComment", 0),
            ("comments/GetAllIncidentComments", 1),
            ("comments/GetIncidentCommentById", 1),
            ("relations/CreateIncidentRelation", 1),
            ("relations/DeleteIncidentRelation", 0),
            ("relations/GetAllIncidentRelations", 2),
            ("relations/GetIncidentRelationByName", 1),
        ];
        for (file, count) in expected {
            let Some(records) = example(file) else { return };
            assert_eq!(records.len(), count, "{file}: {records:?}");
            for record in records {
                match record {
                    Record::Comment(comment) => assert_eq!(comment.external_id.len(), 36),
                    Record::Update(update) => assert_eq!((update.external_id.len(), update.link.len()), (36, 1)),
                    Record::Alert(alert) => assert!(alert.draft().is_ok()),
                    other => panic!("{file}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn the_raw_payload_of_an_alert_is_its_text_in_the_file() {
        let file = "azure-rest-securityinsights/incidents/GetAllIncidentAlerts.json";
        let Some(text) = fixtures::shared(file) else { return };
        let items = read(&text);
        let Ok(Record::Alert(alert)) = &items[0].record else { panic!("{items:?}") };
        let raw = alert.raw.as_deref().unwrap();
        assert!(text.contains(raw) && raw.starts_with('{') && raw.ends_with('}'));
    }
}
