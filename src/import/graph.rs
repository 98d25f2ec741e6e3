//! Microsoft Graph security: incidents with or without their alerts, alerts, and comments. They come as responses,
//! lists, or the documentation's examples (`request`, `response`).
//!
//! An incident is keyed by its id, an alert by its product and its id in that product.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::document::{self, ElementPlace, FileDialect};
use super::lenient::{self, By};
use super::odd::Odds;
use super::record::{
    AlertRecord, AlertRef, CommentRecord, IncidentRecord, Party, Person, Remark, TagRecord, UpdateRecord,
};
use super::{ImportItem, Record, decode, entities, words};
use crate::domain::classification::Classification;
use crate::domain::incident::{Severity, Status};
use crate::domain::{Instant, text};

/// The source of its incidents.
pub(crate) const SOURCE: &str = "graph";

/// The provider of an alert that names no provider.
const UNNAMED_PROVIDER: &str = "Microsoft Graph";

/// Reads Graph's resources.
pub(crate) struct Graph;

impl FileDialect for Graph {
    fn read(&self, value: &RawValue, place: ElementPlace<'_>, items: &mut Vec<ImportItem>) {
        let wrapped = document::parse::<Wrapper<'_>>(value).unwrap_or_default();
        let path = wrapped.request.and_then(|request| request.path);
        let body = wrapped.response.and_then(|response| response.body).unwrap_or(value);
        let context = document::parse::<Wrapper<'_>>(body).unwrap_or_default().context;
        let around = serde_json::from_str::<Wrapper<'_>>(place.envelope).unwrap_or_default().context;
        let incident = path.or(context).or(around).as_deref().and_then(incident_of);
        for element in document::elements(body) {
            read_element(element, incident.as_deref(), place, items);
        }
    }
}

#[derive(Default, Deserialize)]
struct Wrapper<'a> {
    request: Option<Request>,
    #[serde(borrow)]
    response: Option<GraphResponse<'a>>,
    #[serde(rename = "@odata.context")]
    context: Option<String>,
}

#[derive(Deserialize)]
struct Request {
    path: Option<String>,
}

#[derive(Deserialize)]
struct GraphResponse<'a> {
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// Returns the incident in a path or context: `/security/incidents/3962396/comments`,
/// `…/incidents('3962396')/comments`.
fn incident_of(path: &str) -> Option<String> {
    let start = path.find("incidents")? + "incidents".len();
    let id: String =
        path[start..].trim_start_matches(['/', '(', '\'']).chars().take_while(|c| c.is_alphanumeric()).collect();
    (!id.is_empty()).then_some(id)
}

/// The fields that identify the type of an element.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GraphElement {
    #[serde(rename = "@odata.type")]
    odata_type: Option<String>,
    comment: Option<String>,
    display_name: Option<String>,
    title: Option<String>,
}

fn read_element(value: &RawValue, incident: Option<&str>, place: ElementPlace<'_>, items: &mut Vec<ImportItem>) {
    let mut odds = Odds::new(place.line_of(value), value.get());
    // Its odd fields are reported where they are read; here they only identify the type.
    let told = lenient::properties::<GraphElement>(value, &mut Odds::new(0, ""));
    let told = match told {
        Ok(told) => told,
        Err(reason) => return document::push(items, odds, Err(reason)),
    };
    let odata_type = told.odata_type.as_deref().and_then(|name| name.rsplit('.').next()).map(words::squash);
    let records = match odata_type.as_deref() {
        Some("incident") => return self::incident(value, odds, place, items),
        Some("alert") => alert(value, &mut odds),
        Some("alertcomment") => comment(lenient::properties(value, &mut odds), incident),
        _ if told.comment.is_some() => comment(lenient::properties(value, &mut odds), incident),
        _ if told.display_name.is_some() => return self::incident(value, odds, place, items),
        _ if told.title.is_some() => alert(value, &mut odds),
        _ => Err("this is no incident, alert or comment".to_owned()),
    };
    document::push(items, odds, records);
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GraphIncident<'a> {
    id: Option<String>,
    display_name: Option<String>,
    description: Option<String>,
    severity: Option<String>,
    status: Option<String>,
    classification: Option<String>,
    determination: Option<String>,
    assigned_to: Option<String>,
    redirect_incident_id: Option<String>,
    resolving_comment: Option<String>,
    created_date_time: Option<Instant>,
    last_update_date_time: Option<Instant>,
    custom_tags: Option<Vec<String>>,
    system_tags: Option<Vec<String>>,
    comments: Option<Vec<GraphComment>>,
    #[serde(borrow)]
    alerts: Option<Vec<&'a RawValue>>,
}

/// Reads an incident after its alerts, each of which is an element of its own.
fn incident(element: &RawValue, mut odds: Odds, place: ElementPlace<'_>, items: &mut Vec<ImportItem>) {
    let mut room = String::new();
    let by = By {
        always: "",
        read: |text| serde_json::from_str(text),
        accepts: |text| serde_json::from_str::<GraphIncident<'_>>(text).map(drop),
    };
    let mut incident: GraphIncident<'_> = match lenient::object(element, &by, &mut room, &mut odds) {
        Ok(incident) => incident,
        Err(reason) => return document::push(items, odds, Err(reason)),
    };
    let mut links = Vec::new();
    for listed in incident.alerts.take().into_iter().flatten() {
        let mut own = Odds::new(place.line_of(listed).max(odds.line()), listed.get());
        let record = alert_record(listed, &mut own);
        links.extend(record.as_ref().ok().map(AlertRecord::reference));
        document::push(items, own, record.map(|record| vec![Record::Alert(Box::new(record))]));
    }
    let record = incident_record(incident, links, &mut odds);
    document::push(items, odds, record.map(|record| vec![record]));
}

fn incident_record(incident: GraphIncident<'_>, alerts: Vec<AlertRef>, odds: &mut Odds) -> Result<Record, String> {
    let status = odds.word("status", incident.status.as_deref(), |word| words::graph_status(word).map(Some));
    let status = status.unwrap_or(Status::New);
    let note = match &incident.redirect_incident_id {
        Some(target) if !target.is_empty() => Some(format!("Merged into incident {target} in Microsoft Defender")),
        _ => incident.resolving_comment.filter(|text| !text.trim().is_empty()),
    };
    let resolved = status == Status::Resolved;
    let mut comments: Vec<Remark> = incident.comments.into_iter().flatten().map(GraphComment::remark).collect();
    // An open incident has no resolution that could keep this text.
    comments.extend((!resolved).then_some(note.clone()).flatten().map(|body| Remark {
        id: Some("resolving".to_owned()),
        body,
        at: incident.last_update_date_time,
        by: None,
    }));
    let system = |name: String| TagRecord { kind: words::system_tag_kind(&name), name };
    let custom = incident.custom_tags.into_iter().flatten().map(TagRecord::custom);
    let (kind, detail) = (incident.classification.unwrap_or_default(), incident.determination);
    Ok(Record::Incident(Box::new(IncidentRecord {
        source: SOURCE.to_owned(),
        external_id: incident.id.filter(|id| !id.trim().is_empty()).ok_or("id is missing")?,
        title: incident.display_name,
        description: incident.description,
        severity: odds.word("severity", incident.severity.as_deref(), words::severity),
        status: Some(status),
        classification: classification(&kind, detail.as_deref(), odds),
        note: note.filter(|_| resolved),
        owner: incident.assigned_to.and_then(assignee).map(Party::User),
        tags: custom.chain(incident.system_tags.into_iter().flatten().map(system)).collect(),
        alerts,
        comments,
        created_at: incident.created_date_time,
        updated_at: incident.last_update_date_time,
        ..IncidentRecord::default()
    })))
}

fn classification(kind: &str, detail: Option<&str>, odds: &mut Odds) -> Option<Classification> {
    let pair = format!("{kind}, {}", detail.unwrap_or_default());
    odds.or("classification", &pair, words::classification(kind, detail)).flatten()
}

/// Reads an assignee, which is free text in Graph: an address, or a word such as `unassigned`.
fn assignee(text: String) -> Option<Person> {
    let nobody = matches!(words::squash(&text).as_str(), "" | "unassigned" | "none");
    (!nobody).then(|| person(text))
}

fn person(account: String) -> Person {
    let email = account.contains('@').then(|| account.clone());
    Person { account, name: None, email }
}

#[derive(Deserialize)]
struct GraphComment {
    comment: Option<String>,
    #[serde(alias = "createdByDisplayName", rename = "createdBy")]
    created_by: Option<String>,
    #[serde(alias = "createdDateTime", rename = "createdTime")]
    created_time: Option<Instant>,
}

impl GraphComment {
    fn remark(self) -> Remark {
        Remark {
            id: None,
            body: self.comment.unwrap_or_default(),
            at: self.created_time,
            by: self.created_by.and_then(assignee),
        }
    }
}

fn comment(comment: Result<GraphComment, String>, incident: Option<&str>) -> Result<Vec<Record>, String> {
    let external_id = incident.ok_or("nothing says which incident this comment belongs to")?.to_owned();
    let Remark { id, body, at, by } = comment?.remark();
    if text::is_blank(&body) {
        return Err("comment is missing".to_owned());
    }
    let comment = CommentRecord { source: SOURCE.to_owned(), external_id, id, body, at, by };
    Ok(vec![Record::Comment(Box::new(comment))])
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GraphAlert {
    id: Option<String>,
    provider_alert_id: Option<String>,
    title: Option<String>,
    description: Option<String>,
    severity: Option<String>,
    status: Option<String>,
    classification: Option<String>,
    determination: Option<String>,
    service_source: Option<String>,
    product_name: Option<String>,
    category: Option<String>,
    mitre_techniques: Option<Vec<String>>,
    created_date_time: Option<Instant>,
    first_activity_date_time: Option<Instant>,
    last_activity_date_time: Option<Instant>,
    evidence: Option<Vec<Map<String, Value>>>,
    incident_id: Option<String>,
}

fn alert(element: &RawValue, odds: &mut Odds) -> Result<Vec<Record>, String> {
    let mut alert: GraphAlert = lenient::properties(element, odds)?;
    let incident = alert.incident_id.take();
    let record = told(alert, element, odds)?;
    let link = incident.filter(|id| !id.is_empty()).map(|external_id| {
        Record::Update(Box::new(UpdateRecord {
            source: SOURCE.to_owned(),
            external_id,
            at: record.when(),
            link: vec![record.reference()],
            ..UpdateRecord::default()
        }))
    });
    Ok(std::iter::once(Record::Alert(Box::new(record))).chain(link).collect())
}

fn alert_record(element: &RawValue, odds: &mut Odds) -> Result<AlertRecord, String> {
    told(lenient::properties(element, odds)?, element, odds)
}

fn told(alert: GraphAlert, element: &RawValue, odds: &mut Odds) -> Result<AlertRecord, String> {
    let service = alert.service_source.as_deref().map(service);
    let mut found = Vec::new();
    for (index, evidence) in alert.evidence.iter().flatten().enumerate() {
        found.extend(entities::of_graph(evidence, &format!("evidence.{index}"), odds));
    }
    let times = || alert.first_activity_date_time.into_iter().chain(alert.last_activity_date_time);
    let id = alert.provider_alert_id.filter(|id| !id.trim().is_empty()).or(alert.id);
    let kind = alert.classification.unwrap_or_default();
    let provider = service.clone().or_else(|| alert.product_name.clone());
    if provider.is_none() {
        odds.assume("serviceSource", "", format!("there is no service source: {UNNAMED_PROVIDER} stands for it"));
    }
    Ok(AlertRecord {
        provider: provider.unwrap_or_else(|| UNNAMED_PROVIDER.to_owned()),
        provider_alert_id: id.filter(|id| !id.trim().is_empty()).ok_or("id is missing")?,
        product: alert.product_name.or(service),
        title: alert.title.unwrap_or_default(),
        description: alert.description,
        severity: odds.word("severity", alert.severity.as_deref(), words::severity).unwrap_or(Severity::DEFAULT),
        category: alert.category.filter(|category| !category.is_empty()),
        techniques: alert.mitre_techniques.unwrap_or_default(),
        first_activity_at: times().min(),
        last_activity_at: times().max(),
        entities: found,
        status: odds.word("status", alert.status.as_deref(), words::alert_status),
        classification: classification(&kind, alert.determination.as_deref(), odds),
        raw: Some(decode::raw(element.get()).into_owned()),
        at: alert.created_date_time,
    })
}

/// Returns `microsoftDefenderForEndpoint` as words: a space before each capital that starts a word.
fn service(source: &str) -> String {
    let mut name = String::with_capacity(source.len() + 8);
    for (index, c) in source.char_indices() {
        if index == 0 {
            name.extend(c.to_uppercase());
            continue;
        }
        if c.is_uppercase() {
            name.push(' ');
        }
        name.push(c);
    }
    name.replace(" For ", " for ").replace("Office365", "Office 365")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::classification::{Classification, Threat};
    use crate::domain::tag::TagKind;
    use crate::import::{Format, fixtures};

    fn read(text: &str) -> Vec<ImportItem> {
        fixtures::read(text.to_owned(), Format::Graph)
    }

    #[test]
    fn an_expanded_incident_brings_its_alerts() {
        let items = read(
            r##"{"value": [{"id": "810", "displayName": "Consent to an unknown app", "status": "resolved",
              "severity": "high", "classification": "truePositive", "determination": "compromisedUser",
              "resolvingComment": "Grant revoked", "assignedTo": "Unassigned", "systemTags": ["Attack Disruption"],
              "alerts": [{"id": "da1", "providerAlertId": "p-1", "serviceSource": "microsoftDefenderForCloudApps",
                "title": "Risky grant", "severity": "medium", "status": "inProgress", "category": "Persistence",
                "evidence": [{"@odata.type": "#microsoft.graph.security.ipEvidence", "ipAddress": "198.51.100.4"}]}]},
              {"id": "811", "displayName": "Odd one", "status": "paused"},
              {"id": "812", "displayName": "Merged away", "status": "redirected", "redirectIncidentId": "810"}]}"##,
        );
        let Ok(Record::Alert(alert)) = &items[0].record else { panic!("{items:?}") };
        assert_eq!((alert.provider.as_str(), alert.entities.len()), ("Microsoft Defender for Cloud Apps", 1));
        let Ok(Record::Incident(incident)) = &items[1].record else { panic!("{items:?}") };
        assert_eq!(incident.classification, Some(Classification::TruePositive(Threat::CompromisedAccount)));
        assert_eq!((incident.owner.as_ref(), incident.note.as_deref()), (None, Some("Grant revoked")));
        assert_eq!(incident.tags[0].kind, TagKind::AutomaticAction);
        assert_eq!(incident.alerts, [alert.reference()]);
        let odd = &items[2].odd[0];
        assert_eq!((odd.line, odd.field.as_str(), odd.reason.as_str()), (7, "status", "\"paused\" is no status"));
        let Ok(Record::Incident(paused)) = &items[2].record else { panic!("{items:?}") };
        assert!(paused.comments[0].body.contains("`status`: \"paused\" is no status\n\n```\npaused\n```"));
        let Ok(Record::Incident(merged)) = &items[3].record else { panic!("{items:?}") };
        assert_eq!(merged.note.as_deref(), Some("Merged into incident 810 in Microsoft Defender"));
    }

    #[test]
    fn an_alert_alone_is_linked_to_its_incident() {
        let items = read(
            r#"{"@odata.context": "x#security/alerts_v2/$entity", "id": "da2", "incidentId": "810", "title": "Risky grant",
              "serviceSource": "microsoftDefenderForOffice365", "severity": "unknown", "status": "new",
              "createdDateTime": "2026-03-01T10:00:00.1234567Z"}"#,
        );
        let Ok(Record::Update(update)) = &items[1].record else { panic!("{items:?}") };
        assert_eq!((update.source.as_str(), update.external_id.as_str()), (SOURCE, "810"));
        assert_eq!(update.link[0].provider, "Microsoft Defender for Office 365");
    }

    #[test]
    fn the_documented_incident_and_comments_read_whole() {
        let Some(text) = fixtures::shared("graph-security/incident_list.json") else { return };
        let items = read(&text);
        let [ImportItem { record: Ok(Record::Incident(incident)), .. }] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!((incident.external_id.as_str(), incident.status), ("2972395", Some(Status::New)));
        assert_eq!(incident.classification, Some(Classification::TruePositive(Threat::MultiStageAttack)));
        assert_eq!(incident.tags.iter().map(|tag| tag.kind).collect::<Vec<_>>(), [TagKind::Custom, TagKind::Expert]);
        assert_eq!(incident.comments.len(), 1);
        let Some(text) = fixtures::shared("graph-security/incident_comment.json") else { return };
        let items = read(&text);
        assert_eq!(items.len(), 2);
        for item in items {
            let Ok(Record::Comment(comment)) = item.record else { panic!("{:?}", item.record) };
            assert_eq!(
                (comment.external_id.as_str(), comment.by.unwrap().account.as_str()),
                ("3962396", "secAdmin@contoso.com")
            );
        }
    }
}
