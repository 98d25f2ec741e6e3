//! Our own shape: what an import is made of, one record a line (docs/IMPORT.md).
//!
//! Every other format is read into these records, and the sample desk is told in them. An incident, its comments and
//! its updates are named by `source` and `externalId`, so that the same record twice is the same thing once.

use serde::{Deserialize, Serialize};

use super::forms;
use crate::domain::account::Role;
use crate::domain::alert::{AlertDraft, AlertStatus, Report};
use crate::domain::classification::Classification;
use crate::domain::entity::{Entity, EntityKind, Verdict};
use crate::domain::incident::{Severity, Status};
use crate::domain::tag::{Tag, TagKind};
use crate::domain::{CommentId, Error, IncidentId, Instant, Result, instant, text};

/// The source of a record that names none.
pub const OWN_SOURCE: &str = "watchfloor";

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Record {
    /// A user, made or updated.
    User(UserRecord),
    /// A group, made or updated, with members.
    Group(GroupRecord),
    /// An alert, made or updated.
    Alert(Box<AlertRecord>),
    /// An incident, made unless it is there.
    Incident(Box<IncidentRecord>),
    /// A comment, written unless it is there.
    Comment(Box<CommentRecord>),
    /// What somebody did to an incident.
    Update(Box<UpdateRecord>),
}

impl Record {
    /// Refuses what no record may say: an incident without a name, a time that the desk cannot keep, or that `now`, the desk's
    /// own time, has not come to.
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
                incident.comments.iter().try_for_each(|remark| of(&[("comments.at", remark.at)]))
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
    /// What it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// When it was made.
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
    /// The accounts of its members; unknown ones are made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Person>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
}

/// An alert, as its provider reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertRecord {
    /// Who detects. First half of the key.
    #[serde(default)]
    pub provider: String,
    /// The provider's own id. Second half of the key.
    #[serde(default)]
    pub provider_alert_id: String,
    /// The product's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// What was seen, in a line.
    #[serde(default)]
    pub title: String,
    /// What was seen, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How bad.
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
    /// The things it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<EntityRecord>,
    /// Its status at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::alert_status")]
    pub status: Option<AlertStatus>,
    /// Its classification at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::classification")]
    pub classification: Option<Classification>,
    /// The provider's raw payload, kept byte for byte; the line itself where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// When it came in; its last activity where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
}

/// A thing that an alert names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntityRecord {
    /// What kind of thing.
    pub kind: EntityKind,
    /// Its name, address or path.
    pub value: String,
    /// What is thought of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// An incident, as it stood when it was written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IncidentRecord {
    /// Where it comes from; with the external id its key.
    #[serde(default = "forms::own_source", skip_serializing_if = "forms::is_own_source")]
    pub source: String,
    /// Its id there.
    #[serde(default, alias = "id")]
    pub external_id: String,
    /// Its title; made from its alerts where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its severity: an override.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::severity")]
    pub severity: Option<Severity>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::status")]
    pub status: Option<Status>,
    /// What it turned out to be.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::classification")]
    pub classification: Option<Classification>,
    /// The resolution note of a resolved one.
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
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Instant>,
    /// When status, owner and classification became what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Instant>,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Instant>,
    /// When its activity began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_activity_at: Option<Instant>,
    /// When its activity ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<Instant>,
    /// Who made it; the desk itself where nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
}

/// A comment on an incident that another record made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommentRecord {
    /// Where the incident comes from.
    #[serde(default = "forms::own_source", skip_serializing_if = "forms::is_own_source")]
    pub source: String,
    /// The incident's id there.
    #[serde(default)]
    pub external_id: String,
    /// The comment's own id there; told by author, time and text where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Markdown.
    #[serde(default)]
    pub body: String,
    /// When it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
}

/// A comment inside its incident or update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Remark {
    /// The comment's own id; told by author, time and text where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Markdown.
    pub body: String,
    /// When it was written; when the incident was made where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
}

/// What somebody did to an incident, all or nothing. Absent fields stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateRecord {
    /// Where the incident comes from.
    #[serde(default = "forms::own_source", skip_serializing_if = "forms::is_own_source")]
    pub source: String,
    /// The incident's id there.
    #[serde(default)]
    pub external_id: String,
    /// When; needed, unless it only links alerts. An update that is not later than the incident's last change has been
    /// applied before and is passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// Who; the desk itself where nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
    /// A new title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A new description; a blank one clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A new override; null returns to the severity of the alerts.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::maybe_severity")]
    pub severity: Option<Option<Severity>>,
    /// A new status; `RESOLVED` resolves.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::status")]
    pub status: Option<Status>,
    /// The resolution note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// A classification; null clears it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::maybe_classification")]
    pub classification: Option<Option<Classification>>,
    /// A new owner; null unassigns.
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
    /// Who detects.
    pub provider: String,
    /// The provider's own id.
    pub provider_alert_id: String,
    /// The title under which the alert is made where the desk does not hold it; refused there where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl AlertRef {
    /// The key of the alert.
    pub fn key(&self) -> (String, String) {
        (self.provider.trim().to_owned(), self.provider_alert_id.trim().to_owned())
    }
}

/// A tag: a bare text is a custom one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "TagForm", into = "TagForm")]
pub struct TagRecord {
    /// Its text.
    pub name: String,
    /// Custom, or which system kind.
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

/// A person, by account; what else is known of them is used where they are first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "PersonForm", into = "PersonForm")]
pub struct Person {
    /// The account id.
    pub account: String,
    /// The display name.
    pub name: Option<String>,
    /// A mail address.
    pub email: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a person is an account, or an object of account, name and email")]
enum PersonForm {
    Account(String),
    Full(PersonFields),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonFields {
    account: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

/// An owner: a person, or `{"group": "<account>"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "an owner is a person, or an object of group and name")]
pub enum Party {
    /// A group of users.
    Group(GroupName),
    /// One user.
    User(Person),
}

/// A group, by account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupName {
    /// The account id.
    pub group: String,
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The namespace of the ids that imports derive: the UUIDv5 of `https://watchfloor.example/import` under the URL space.
fn namespace() -> uuid::Uuid {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, b"https://watchfloor.example/import")
}

/// An id derived from what names a thing elsewhere; U+0000 parts the words, since no text may hold it.
fn derived(words: &[&str]) -> uuid::Uuid {
    uuid::Uuid::new_v5(&namespace(), words.join("\0").as_bytes())
}

/// The incident that `source` calls `external_id`.
pub fn incident_id(source: &str, external_id: &str) -> IncidentId {
    IncidentId(derived(&["incident", source, external_id.trim()]))
}

impl Remark {
    /// The comment that this is, on the incident that `source` calls `external_id`.
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
    /// What the desk ingests, checked against every limit.
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

    /// When it came in, if anything says so.
    pub fn when(&self) -> Option<Instant> {
        self.at.or(self.last_activity_at).or(self.first_activity_at)
    }

    /// Its name in links.
    pub fn reference(&self) -> AlertRef {
        AlertRef { provider: self.provider.clone(), provider_alert_id: self.provider_alert_id.clone(), title: None }
    }
}

impl TagRecord {
    /// A tag that people write.
    pub fn custom(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: TagKind::Custom }
    }

    /// The tag, checked; of what cannot be seen in its name nothing is kept.
    pub fn tag(&self) -> Result<Tag> {
        Tag::parse("tags", self.kind, &text::visible(&self.name))
    }
}

impl Person {
    /// A person of whom only the account is known.
    pub fn named(account: impl Into<String>) -> Self {
        Self { account: account.into(), name: None, email: None }
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

impl From<PersonForm> for Person {
    fn from(form: PersonForm) -> Self {
        match form {
            PersonForm::Account(account) => Self::named(account),
            PersonForm::Full(PersonFields { account, name, email }) => Self { account, name, email },
        }
    }
}

impl From<Person> for PersonForm {
    fn from(person: Person) -> Self {
        match person {
            Person { account, name: None, email: None } => Self::Account(account),
            Person { account, name, email } => Self::Full(PersonFields { account, name, email }),
        }
    }
}
