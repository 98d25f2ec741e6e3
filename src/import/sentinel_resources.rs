//! The resources of Microsoft Sentinel's REST API as records: incidents, comments, relations, bookmarks, alerts and
//! entities.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::odd::Odds;
use super::record::{
    AlertRecord, AlertRef, CommentRecord, IncidentRecord, Party, Person, Remark, TagRecord, UpdateRecord,
};
use super::sentinel::{PROVIDER, SOURCE};
use super::{Record, decode, document, entities, record, words};
use crate::domain::incident::{Severity, Status};
use crate::domain::tag::TagKind;
use crate::domain::{Instant, text};

/// Lowercases a name, because Azure compares names without case.
fn external(name: &str) -> String {
    name.to_lowercase()
}

fn of_incident(incident: Option<&str>) -> Result<String, String> {
    incident.map(external).ok_or_else(|| "nothing says which incident this belongs to".to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IncidentProperties {
    title: Option<String>,
    description: Option<String>,
    severity: Option<String>,
    status: Option<String>,
    classification: Option<String>,
    classification_comment: Option<String>,
    classification_reason: Option<String>,
    owner: Option<ClientInfo>,
    #[serde(default)]
    labels: Vec<Label>,
    created_time_utc: Option<Instant>,
    last_modified_time_utc: Option<Instant>,
    first_activity_time_utc: Option<Instant>,
    last_activity_time_utc: Option<Instant>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Label {
    label_name: Option<String>,
    label_type: Option<String>,
}

/// A person or group in Sentinel's form.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientInfo {
    object_id: Option<String>,
    email: Option<String>,
    user_principal_name: Option<String>,
    #[serde(alias = "name")]
    assigned_to: Option<String>,
    owner_type: Option<String>,
}

impl ClientInfo {
    fn person(self) -> Option<Person> {
        let said = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let (name, email) = (said(self.assigned_to), said(self.email));
        let account = said(self.user_principal_name).or_else(|| email.clone());
        let account = account.or_else(|| said(self.object_id)).or_else(|| name.clone())?;
        Some(Person { account, name, email })
    }

    fn party(self, odds: &mut Odds) -> Option<Party> {
        let kind = self.owner_type.as_deref().unwrap_or_default();
        let is_group = match words::squash(kind).as_str() {
            "group" => true,
            "user" | "unknown" | "" => false,
            _ => {
                odds.keep("owner.ownerType", kind, format!("\"{kind}\" is no type of owner"));
                false
            }
        };
        self.person().map(|person| {
            if is_group {
                Party::Group(record::GroupName { group: person.account, name: person.name })
            } else {
                Party::User(person)
            }
        })
    }
}

pub(super) fn incident(incident: IncidentProperties, name: &str, odds: &mut Odds) -> Result<Record, String> {
    let kind = incident.classification.unwrap_or_default();
    let reason = incident.classification_reason.as_deref();
    let pair = format!("{kind}, {}", reason.unwrap_or_default());
    let classification = odds.or("classification", &pair, words::sentinel_classification(&kind, reason)).flatten();
    let status = odds.word("status", incident.status.as_deref(), |word| words::status(word).map(Some));
    let status = status.unwrap_or(Status::New);
    let said = [incident.classification_comment, raw_words(&kind, reason)];
    let note = said.into_iter().flatten().filter(|text| !text.trim().is_empty()).collect::<Vec<_>>().join("\n\n");
    let note = (!note.is_empty()).then_some(note);
    let resolved = status == Status::Resolved;
    let mut tags = Vec::with_capacity(incident.labels.len());
    for (index, label) in incident.labels.into_iter().enumerate() {
        let name = label.label_name.unwrap_or_default();
        let kind = match label.label_type.as_deref().map(words::squash).as_deref() {
            None | Some("user") => TagKind::Custom,
            Some("autoassigned") => words::system_tag_kind(&name),
            Some(_) => {
                let word = label.label_type.unwrap_or_default();
                odds.keep(format!("labels.{index}.labelType"), &word, format!("\"{word}\" is no type of label"));
                TagKind::Custom
            }
        };
        tags.push(TagRecord { name, kind });
    }
    // An open incident has no resolution that could keep this text.
    let remark = (!resolved).then_some(note.clone()).flatten();
    Ok(Record::Incident(Box::new(IncidentRecord {
        source: SOURCE.to_owned(),
        external_id: external(name),
        title: incident.title,
        description: incident.description,
        severity: odds.word("severity", incident.severity.as_deref(), words::severity),
        status: Some(status),
        classification,
        note: note.filter(|_| resolved),
        owner: incident.owner.and_then(|owner| owner.party(odds)),
        tags,
        comments: remark
            .map(|body| Remark {
                id: Some("classification".to_owned()),
                body,
                at: incident.last_modified_time_utc,
                by: None,
            })
            .into_iter()
            .collect(),
        created_at: incident.created_time_utc,
        updated_at: incident.last_modified_time_utc,
        first_activity_at: incident.first_activity_time_utc,
        last_activity_at: incident.last_activity_time_utc,
        ..IncidentRecord::default()
    })))
}

/// Returns the classification in Sentinel's words, which are kept because the desk uses other words.
fn raw_words(kind: &str, reason: Option<&str>) -> Option<String> {
    let words: Vec<&str> = [Some(kind), reason].into_iter().flatten().filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| format!("(Microsoft Sentinel: {})", words.join(", ")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommentProperties {
    message: Option<String>,
    created_time_utc: Option<Instant>,
    author: Option<ClientInfo>,
}

pub(super) fn comment(comment: CommentProperties, name: &str, incident: Option<&str>) -> Result<Record, String> {
    Ok(Record::Comment(Box::new(CommentRecord {
        source: SOURCE.to_owned(),
        external_id: of_incident(incident)?,
        id: Some(external(name)),
        body: comment.message.filter(|message| !text::is_blank(message)).ok_or("message is missing")?,
        at: comment.created_time_utc,
        by: comment.author.and_then(ClientInfo::person),
    })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RelationProperties {
    related_resource_id: Option<String>,
    related_resource_name: Option<String>,
    related_resource_type: Option<String>,
    related_resource_kind: Option<String>,
}

/// Links the alert of a relation. A relation to a bookmark becomes a comment, because the desk imports no bookmarks.
pub(super) fn relation(relation: RelationProperties, name: &str, incident: Option<&str>) -> Result<Record, String> {
    let external_id = of_incident(incident)?;
    let related_id = relation.related_resource_id.ok_or("relatedResourceId is missing")?;
    let last = related_id.rsplit('/').next().unwrap_or(name).to_owned();
    let related = external(&relation.related_resource_name.unwrap_or(last));
    let is_alert = match relation.related_resource_kind.as_deref().map(words::squash).as_deref() {
        Some("securityalert") => true,
        Some(_) => false,
        None => related_id.to_lowercase().contains("/entities/"),
    };
    if is_alert {
        let title = Some(format!("Alert {related} of Microsoft Sentinel"));
        let link = vec![AlertRef { provider: PROVIDER.to_owned(), provider_alert_id: related, title }];
        let update = UpdateRecord { source: SOURCE.to_owned(), external_id, link, ..UpdateRecord::default() };
        return Ok(Record::Update(Box::new(update)));
    }
    let kind = relation.related_resource_type.as_deref().and_then(|kind| kind.rsplit('/').next());
    let kind = kind.unwrap_or("resource").trim_end_matches('s').to_owned();
    Ok(Record::Comment(Box::new(CommentRecord {
        source: SOURCE.to_owned(),
        external_id,
        id: Some(format!("related/{related}")),
        body: format!("Related {kind} in Microsoft Sentinel: `{related}`"),
        at: None,
        by: None,
    })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BookmarkProperties {
    display_name: Option<String>,
    notes: Option<String>,
    query: Option<String>,
    created: Option<Instant>,
    created_by: Option<ClientInfo>,
}

pub(super) fn bookmark(bookmark: BookmarkProperties, name: &str, incident: Option<&str>) -> Result<Record, String> {
    let mut body = format!("Bookmark in Microsoft Sentinel: **{}**", bookmark.display_name.as_deref().unwrap_or(name));
    if let Some(notes) = bookmark.notes.filter(|notes| !notes.trim().is_empty()) {
        body.push_str(&format!("\n\n{notes}"));
    }
    if let Some(query) = bookmark.query.filter(|query| !query.trim().is_empty()) {
        body.push_str(&format!("\n\n```kusto\n{}\n```", query.replace("\r\n", "\n").trim_end()));
    }
    Ok(Record::Comment(Box::new(CommentRecord {
        source: SOURCE.to_owned(),
        external_id: of_incident(incident)?,
        id: Some(format!("related/{}", external(name))),
        body,
        at: bookmark.created,
        by: bookmark.created_by.and_then(ClientInfo::person),
    })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlertProperties {
    system_alert_id: Option<String>,
    alert_display_name: Option<String>,
    friendly_name: Option<String>,
    alert_type: Option<String>,
    description: Option<String>,
    severity: Option<String>,
    status: Option<String>,
    product_name: Option<String>,
    compromised_entity: Option<String>,
    #[serde(default)]
    tactics: Vec<String>,
    #[serde(default)]
    techniques: Vec<String>,
    start_time_utc: Option<Instant>,
    end_time_utc: Option<Instant>,
    time_generated: Option<Instant>,
}

pub(super) fn alert(
    alert: AlertProperties,
    name: &str,
    raw: &RawValue,
    incident: Option<&str>,
    odds: &mut Odds,
) -> Result<Vec<Record>, String> {
    let title = alert.alert_display_name.or(alert.friendly_name).or(alert.alert_type);
    let compromised = alert.compromised_entity.filter(|text| !text.trim().is_empty());
    let kind = crate::domain::entity::EntityKind::Device;
    let times = || alert.start_time_utc.into_iter().chain(alert.end_time_utc);
    let record = AlertRecord {
        provider: PROVIDER.to_owned(),
        provider_alert_id: external(alert.system_alert_id.as_deref().unwrap_or(name)),
        product: alert.product_name.clone(),
        title: title.unwrap_or_default(),
        description: alert.description.clone(),
        severity: odds.word("severity", alert.severity.as_deref(), words::severity).unwrap_or(Severity::DEFAULT),
        category: alert.tactics.first().cloned(),
        techniques: alert.techniques.clone(),
        first_activity_at: times().min(),
        last_activity_at: times().max(),
        entities: compromised.map(|text| entities::entity(kind, &text, None)).into_iter().collect(),
        status: odds.word("status", alert.status.as_deref(), words::alert_status),
        classification: None,
        raw: Some(decode::raw(raw.get()).into_owned()),
        at: alert.time_generated,
    };
    Ok(with_link(record, incident))
}

/// Turns the entities that Sentinel lists for a whole incident into one informational alert, because on this desk
/// entities belong to alerts.
pub(super) fn named_entities(
    named: &[&RawValue],
    incident: Option<&str>,
    odds: &mut Odds,
) -> Result<Vec<Record>, String> {
    let external_id = of_incident(incident)?;
    let values = named.iter().map(|entity| document::parse::<Value>(entity)).collect::<Result<Vec<_>, _>>()?;
    let record = AlertRecord {
        provider: PROVIDER.to_owned(),
        provider_alert_id: format!("{external_id}/entities"),
        product: None,
        title: "Entities of the incident in Microsoft Sentinel".to_owned(),
        description: None,
        severity: Severity::Informational,
        category: None,
        techniques: Vec::new(),
        first_activity_at: None,
        last_activity_at: None,
        entities: entities::of_sentinel(&values, "entities", odds),
        status: None,
        classification: None,
        raw: Some(odds.raw().to_owned()),
        at: None,
    };
    Ok(with_link(record, incident))
}

/// Returns an alert with its link to the incident that lists it.
fn with_link(alert: AlertRecord, incident: Option<&str>) -> Vec<Record> {
    let link = incident.map(|incident| UpdateRecord {
        source: SOURCE.to_owned(),
        external_id: external(incident),
        at: alert.when(),
        link: vec![alert.reference()],
        ..UpdateRecord::default()
    });
    let link = link.map(|update| Record::Update(Box::new(update)));
    std::iter::once(Record::Alert(Box::new(alert))).chain(link).collect()
}
