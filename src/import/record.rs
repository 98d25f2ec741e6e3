//! The records that an import consists of: the desk's own format, one record a line (docs/IMPORT.md).
//!
//! All other formats are read into these records, and the sample desk consists of them too. `source` and `externalId`
//! name an incident, its comments and its updates, so that a repeated record has no second effect.

use serde::{Deserialize, Serialize};

use super::forms;
pub use super::person::{GroupName, Party, Person};
use crate::domain::account::Role;
use crate::domain::alert::{AlertDraft, AlertKey, AlertStatus, Report};
use crate::domain::classification::Classification;
use crate::domain::entity::{Entity, EntityKind, Verdict};
use crate::domain::incident::{Severity, Status};
use crate::domain::tag::{Tag, TagKind};
use crate::domain::{CommentId, Error, IncidentId, Instant, Result, instant, text};

/// The source of a record that gives no source.
pub const OWN_SOURCE: &str = "watchfloor";

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Record {
    /// Creates or updates a user.
    User(UserRecord),
    /// Creates or updates a group, and adds members.
    Group(GroupRecord),
    /// Creates or updates an alert.
    Alert(Box<AlertRecord>),
    /// Creates an incident unless it exists.
    Incident(Box<IncidentRecord>),
    /// Writes a comment unless it exists.
    Comment(Box<CommentRecord>),
    /// An action of a person on an incident.
    Update(Box<UpdateRecord>),
}

impl Record {
    /// Refuses a record without a needed name, or with a time that the desk cannot keep or that lies after `now`, the
    /// desk's own time.
    pub fn check(&self, now: Instant) -> Result<()> {
        let named = match self {
            Self::Incident(incident) => Some((&incident.source, &incident.external_id)),
            Self::Comment(comment) => Some((&comment.source, &comment.external_id)),
            Self::Update(update) => Some((&update.source, &update.external_id)),
            Self::User(_) | Self::Group(_) | Self::Alert(_) => None,
        };
        let (source, external_id) = named.unzip();
        for (path, name) in [("source", source), ("externalId", external_id)] {
            if name.is_some_and(|name| text::is_blank(name)) {
                return Err(Error::invalid(path, "this cannot be blank"));
            }
        }
        self.check_times(now)
    }

    fn check_times(&self, now: Instant) -> Result<()> {
        let of = |times: &[(&str, Option<Instant>)]| {
            times.iter().filter_map(|(path, at)| Some((*path, (*at)?))).try_for_each(|(path, at)| {
                instant::past(path, at, now)?;
                Ok(())
            })
        };
        match self {
            Self::User(user) => of(&[("at", user.at)]),
            Self::Group(group) => of(&[("at", group.at)]),
            Self::Alert(alert) => of(&[
                ("at", alert.at),
                ("firstActivityAt", alert.first_activity_at),
                ("lastActivityAt", alert.last_activity_at),
            ]),
            Self::Incident(incident) => {
                of(&[
                    ("createdAt", incident.created_at),
                    ("updatedAt", incident.updated_at),
                    ("resolvedAt", incident.resolved_at),
                    ("firstActivityAt", incident.first_activity_at),
                    ("lastActivityAt", incident.last_activity_at),
                ])?;
                let mut timed = incident.comments.iter().enumerate().filter(|(_, remark)| remark.at.is_some());
                timed.try_for_each(|(index, remark)| of(&[(&format!("comments.{index}.at"), remark.at)]))
            }
            Self::Comment(comment) => of(&[("at", comment.at)]),
            Self::Update(update) => {
                of(&[("at", update.at), ("comment.at", update.comment.as_ref().and_then(|remark| remark.at))])
            }
        }
    }
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserRecord {
    /// The account id: the key.
    #[serde(default)]
    pub account: String,
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The role, which decides what the user may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The time of creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
}

/// A group of users.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupRecord {
    /// The account id: the key.
    #[serde(default)]
    pub account: String,
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The accounts of the members. Unknown accounts are created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Person>,
    /// The time of creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
}

/// An alert, as its provider reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertRecord {
    /// The provider that detects. It is the first half of the key.
    #[serde(default)]
    pub provider: String,
    /// The provider's own id. It is the second half of the key.
    #[serde(default)]
    pub provider_alert_id: String,
    /// The product's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The finding, in a line.
    #[serde(default)]
    pub title: String,
    /// The finding, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The severity.
    #[serde(default = "forms::default_severity", deserialize_with = "forms::some_severity")]
    pub severity: Severity,
    /// The stage of an attack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// MITRE ATT&CK techniques.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub techniques: Vec<String>,
    /// When the activity began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_activity_at: Option<Instant>,
    /// When the activity ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<Instant>,
    /// The entities that the alert names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<EntityRecord>,
    /// Its status at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::alert_status")]
    pub status: Option<AlertStatus>,
    /// Its classification at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::classification")]
    pub classification: Option<Classification>,
    /// The provider's raw payload, kept byte for byte; by default the line of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// The time of arrival; by default the last activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
}

/// An entity that an alert names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntityRecord {
    /// The kind of the entity.
    pub kind: EntityKind,
    /// The name, address or path.
    pub value: String,
    /// The verdict on the entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// An incident as it stood when the record was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IncidentRecord {
    /// The system that the incident comes from. Together with the external id it is the key.
    #[serde(default = "forms::own_source", skip_serializing_if = "forms::is_own_source")]
    pub source: String,
    /// The incident's id in that system.
    #[serde(default, alias = "id")]
    pub external_id: String,
    /// The title; by default generated from the alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The severity; it becomes an override.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::severity")]
    pub severity: Option<Severity>,
    /// The status.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::status")]
    pub status: Option<Status>,
    /// The classification.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::classification")]
    pub classification: Option<Classification>,
    /// The resolution note of a resolved incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Party>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagRecord>,
    /// Its alerts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<AlertRef>,
    /// Its comments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<Remark>,
    /// The time of creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Instant>,
    /// The time since when status, owner and classification have their values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Instant>,
    /// The time of resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Instant>,
    /// The start of the activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_activity_at: Option<Instant>,
    /// The end of the activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<Instant>,
    /// The person who created the incident; by default the desk itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
}

/// A comment on the incident of another record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommentRecord {
    /// The source of the incident.
    #[serde(default = "forms::own_source", skip_serializing_if = "forms::is_own_source")]
    pub source: String,
    /// The incident's id at its source.
    #[serde(default)]
    pub external_id: String,
    /// The comment's own id at its source. Without it, author, time and text identify the comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The text, in Markdown.
    #[serde(default)]
    pub body: String,
    /// The time of writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// The author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
}

/// A comment inside its incident or update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Remark {
    /// The comment's own id. Without it, author, time and text identify the comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The text, in Markdown.
    pub body: String,
    /// The time of writing; by default the incident's creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// The author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
}

/// An action of a person on an incident, all or nothing. Absent fields stay unchanged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateRecord {
    /// The source of the incident.
    #[serde(default = "forms::own_source", skip_serializing_if = "forms::is_own_source")]
    pub source: String,
    /// The incident's id at its source.
    #[serde(default)]
    pub external_id: String,
    /// The time of the action, required unless the update only links alerts. An update that is not later than the
    /// incident's last change counts as applied before, and is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// The person who acts; by default the desk itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
    /// A new title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A new description; a blank description clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A new severity override; null returns to the severity of the alerts.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::maybe_severity")]
    pub severity: Option<Option<Severity>>,
    /// A new status; `RESOLVED` resolves the incident.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::status")]
    pub status: Option<Status>,
    /// The resolution note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// A new classification; null clears it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::maybe_classification")]
    pub classification: Option<Option<Classification>>,
    /// A new owner; null unassigns the incident.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::present")]
    pub owner: Option<Option<Party>>,
    /// Tags to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_tags: Vec<TagRecord>,
    /// Tags to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_tags: Vec<TagRecord>,
    /// A comment by the same author at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Remark>,
    /// Alerts to link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link: Vec<AlertRef>,
}

/// Names an alert by its key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertRef {
    /// The provider that detects.
    pub provider: String,
    /// The provider's own id.
    pub provider_alert_id: String,
    /// The title under which an unknown alert is created. Without it, the reference to an unknown alert is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl AlertRef {
    /// The key of the alert.
    pub fn key(&self) -> AlertKey {
        (self.provider.trim().to_owned(), self.provider_alert_id.trim().to_owned())
    }
}

/// A tag. A bare text is a custom tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "TagForm", into = "TagForm")]
pub struct TagRecord {
    /// The text of the tag.
    pub name: String,
    /// The kind: custom, or a kind of system tag.
    pub kind: TagKind,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a tag is a text, or an object of name and kind")]
enum TagForm {
    Name(String),
    Full(TagFields),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TagFields {
    name: String,
    #[serde(deserialize_with = "forms::tag_kind")]
    kind: TagKind,
}

/// Returns the namespace of the ids that imports derive: the UUIDv5 of `https://watchfloor.example/import` under the
/// URL space.
fn namespace() -> uuid::Uuid {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, b"https://watchfloor.example/import")
}

/// Derives an id from the names that identify an object elsewhere. U+0000 separates them, because no text may contain
/// it.
fn derived(words: &[&str]) -> uuid::Uuid {
    uuid::Uuid::new_v5(&namespace(), words.join("\0").as_bytes())
}

/// Returns the id of the incident that `source` calls `external_id`.
pub fn incident_id(source: &str, external_id: &str) -> IncidentId {
    IncidentId(derived(&["incident", source, external_id.trim()]))
}

impl Remark {
    /// Returns the id of this comment on the incident that `source` calls `external_id`.
    pub fn comment_id(&self, source: &str, external_id: &str) -> CommentId {
        let own = match &self.id {
            Some(id) => derived(&["comment", source, external_id.trim(), "id", id]),
            None => {
                let author = self.by.as_ref().map_or("", |by| by.account.as_str());
                let at = self.at.map(|at| at.to_rfc3339()).unwrap_or_default();
                derived(&["comment", source, external_id.trim(), "told", author, &at, &self.body])
            }
        };
        CommentId(own)
    }
}

impl AlertRecord {
    /// Returns the alert to ingest, checked against every limit.
    pub fn draft(&self) -> Result<AlertDraft> {
        let entities = self.entities.iter().enumerate().map(|(index, entity)| {
            Entity::parse(&format!("entities.{index}.value"), entity.kind, &entity.value, entity.verdict)
        });
        let report = Report {
            provider: self.provider.clone(),
            provider_alert_id: self.provider_alert_id.clone(),
            product: self.product.clone(),
            title: self.title.clone(),
            description: self.description.clone(),
            severity: self.severity,
            category: self.category.clone(),
            techniques: self.techniques.clone(),
            first_activity_at: self.first_activity_at.map(instant::kept),
            last_activity_at: self.last_activity_at.map(instant::kept),
            entities: entities.collect::<Result<_>>()?,
        };
        if let Some(raw) = &self.raw {
            text::refuse_nul("raw", raw)?;
        }
        Ok(AlertDraft {
            report: report.checked()?,
            status: self.status,
            classification: self.classification,
            raw: self.raw.clone(),
        })
    }

    /// Returns the time of arrival: `at`, else the last activity, else the first activity, if the record gives any.
    pub fn when(&self) -> Option<Instant> {
        self.at.or(self.last_activity_at).or(self.first_activity_at)
    }

    /// Returns the reference under which links name this alert.
    pub fn reference(&self) -> AlertRef {
        AlertRef { provider: self.provider.clone(), provider_alert_id: self.provider_alert_id.clone(), title: None }
    }
}

impl TagRecord {
    /// Makes a custom tag.
    pub fn custom(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: TagKind::Custom }
    }

    /// Returns the tag, checked. Invisible characters of its name are removed.
    pub fn tag(&self) -> Result<Tag> {
        Tag::parse("tags", self.kind, &text::visible(&self.name))
    }
}

impl From<TagForm> for TagRecord {
    fn from(form: TagForm) -> Self {
        match form {
            TagForm::Name(name) => Self::custom(name),
            TagForm::Full(TagFields { name, kind }) => Self { name, kind },
        }
    }
}

impl From<TagRecord> for TagForm {
    fn from(tag: TagRecord) -> Self {
        match tag.kind {
            TagKind::Custom => Self::Name(tag.name),
            kind => Self::Full(TagFields { name: tag.name, kind }),
        }
    }
}
