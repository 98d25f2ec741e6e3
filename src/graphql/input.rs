//! The inputs of mutations, and how each becomes what a command asks.

use async_graphql::{ID, InputObject, MaybeUndefined, OneofObject};

use super::connection::read_id;
use super::correlation::CorrelateInput;
pub use super::tag::{TagInput, system_tags};
use super::tag::{known_system_tags, known_tags, tags};
use crate::app::alert::{AlertEdit, Into as Target};
use crate::app::incident::{IncidentEdit, NewComment, OwnerChoice};
use crate::domain::account::{Actor, OwnerId, Role};
use crate::domain::alert::{AlertDraft, AlertStatus, Report};
use crate::domain::classification::Classification;
use crate::domain::entity::{Entity, EntityKind, Verdict};
use crate::domain::incident::{Patch, Severity, Status, parse_description, parse_note};
use crate::domain::instant::past;
use crate::domain::tag::{Tag, TagKind};
use crate::domain::{AlertId, CommentId, Error, GroupId, IncidentId, Instant, Result, UserId, comment, text, title};

/// What every mutation may be given beside its input proper.
#[derive(Clone, Debug, Default, InputObject)]
pub struct Call {
    /// What the client calls this mutation, at most 256 characters; echoed in the answer and in stream items.
    pub client_mutation_id: Option<String>,
    /// A key for a retry, at most 200 characters: the same key with the same input again changes nothing, and answers from
    /// what the first call did or why it was refused, as things stand now. With other input it is a `CONFLICT`. It belongs to
    /// the caller, and is kept for 24 hours.
    pub idempotency_key: Option<String>,
}

/// What an edit that does not commute may be given: up to where its caller knows the incident.
#[derive(Clone, Copy, Debug, Default, InputObject)]
pub struct Known {
    /// The version of the incident that the caller has seen. If a later change touched a field that this mutation writes, it
    /// is a `CONFLICT` that names who changed what, when, from and to, and nothing changes. Without it the last write wins.
    pub expected_version: Option<u64>,
}

/// An owner: exactly one of a user, a group, or the caller.
#[derive(Clone, Debug, OneofObject)]
pub enum OwnerInput {
    /// A user, by global id.
    User(ID),
    /// A group, by global id.
    Group(ID),
    /// The caller. The value must be true.
    Me(bool),
}

impl OwnerInput {
    fn read(&self) -> Result<OwnerChoice> {
        match self {
            Self::User(id) => {
                Ok(OwnerChoice::Id(OwnerId::User(read_id("owner.user", id, UserId::WORD, UserId::parse)?)))
            }
            Self::Group(id) => {
                Ok(OwnerChoice::Id(OwnerId::Group(read_id("owner.group", id, GroupId::WORD, GroupId::parse)?)))
            }
            Self::Me(true) => Ok(OwnerChoice::Me),
            Self::Me(false) => Err(Error::invalid("owner.me", "me is true, or another owner is named")),
        }
    }
}

/// An owner, the caller among them, by its id.
pub fn owner_id(owner: &OwnerInput, caller: &Actor) -> Result<OwnerId> {
    Ok(match owner.read()? {
        OwnerChoice::Me => OwnerId::User(caller.user.id),
        OwnerChoice::Id(id) => id,
    })
}

/// Reads ids of alerts.
pub fn alert_ids(path: &str, ids: &[ID]) -> Result<Vec<AlertId>> {
    ids.iter().map(|id| read_id(path, id, AlertId::WORD, AlertId::parse)).collect()
}

/// Reads the id of an incident.
pub fn incident_id(path: &str, id: &ID) -> Result<IncidentId> {
    read_id(path, id, IncidentId::WORD, IncidentId::parse)
}

/// What an incident is made with.
#[derive(Debug, InputObject)]
pub struct CreateIncidentInput {
    /// A UUID of the client's choice. The same id with the same input again is the same incident; with other input it is a
    /// `CONFLICT`.
    id: Option<uuid::Uuid>,
    /// Required, unless alerts are given to make a title from. Any length; spaces are trimmed; blank is refused.
    title: Option<String>,
    /// At most 5,000 characters.
    description: Option<String>,
    /// An override. Without it the severity is the highest of the alerts, else `MEDIUM`.
    severity: Option<Severity>,
    /// `NEW` where none is given; `RESOLVED` makes an incident that is already resolved.
    status: Option<Status>,
    /// The resolution note of an incident that is already resolved: at most 30,000 characters.
    note: Option<String>,
    /// What it turned out to be.
    classification: Option<Classification>,
    /// Its owner; nobody where none is given.
    owner: Option<OwnerInput>,
    /// Custom tags, at most 200 characters each.
    #[graphql(default)]
    tags: Vec<String>,
    /// System tags, written by connectors.
    #[graphql(default)]
    system_tags: Vec<TagInput>,
    /// When its activity began: at most 5 minutes in the future.
    first_activity_at: Option<Instant>,
    /// When its activity ended: at most 5 minutes in the future.
    last_activity_at: Option<Instant>,
    /// Alerts to link, by global id.
    #[graphql(default)]
    alerts: Vec<ID>,
    /// Whether to take the alerts from the incidents that hold them.
    #[graphql(default)]
    r#move: bool,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl CreateIncidentInput {
    /// The id and the edit that it asks for, at this time of the desk.
    pub fn read(self, now: Instant) -> Result<(Option<IncidentId>, IncidentEdit)> {
        let mut add_tags = tags("tags", &self.tags, TagKind::Custom)?;
        add_tags.extend(system_tags("systemTags", &self.system_tags)?);
        let patch = Patch {
            title: self.title.map(|text| title::parse("title", &text)).transpose()?,
            description: self.description.map(|text| parse_description("description", &text)).transpose()?,
            severity: self.severity.map(Some),
            status: self.status,
            note: self.note.map(|text| parse_note("note", &text)).transpose()?.flatten().map(Some),
            classification: self.classification.map(Some),
            add_tags,
            first_activity_at: self.first_activity_at.map(|at| past("firstActivityAt", at, now)).transpose()?.map(Some),
            last_activity_at: self.last_activity_at.map(|at| past("lastActivityAt", at, now)).transpose()?.map(Some),
            ..Patch::default()
        };
        let edit = IncidentEdit {
            patch,
            owner: self.owner.map(|owner| owner.read()).transpose()?.map(Some),
            link: alert_ids("alerts", &self.alerts)?,
            move_alerts: self.r#move,
            ..IncidentEdit::default()
        };
        Ok((self.id.map(IncidentId), edit))
    }
}

/// Any of the actions on one incident together: all or nothing, one change. Absent fields stay; a null clears.
#[derive(Debug, InputObject)]
pub struct UpdateIncidentInput {
    /// The incident, by global id.
    pub incident_id: ID,
    /// A title. It stays until the incident takes part in a merge; null is refused.
    title: MaybeUndefined<String>,
    /// At most 5,000 characters; null clears it.
    description: MaybeUndefined<String>,
    /// An override; null returns to the computed severity.
    severity: MaybeUndefined<Severity>,
    /// `RESOLVED` resolves with all its effects; `NEW` or `ACTIVE` reopens a resolved incident; null is refused.
    status: MaybeUndefined<Status>,
    /// The resolution note: of a resolved incident, or of one that this call resolves. At most 30,000 characters; null or
    /// blank clears it.
    note: MaybeUndefined<String>,
    /// What it turned out to be; null clears it.
    classification: MaybeUndefined<Classification>,
    /// The owner, set on all linked alerts too; null unassigns.
    owner: MaybeUndefined<OwnerInput>,
    /// Custom tags to add; one that is there already is no error and no change.
    #[graphql(default)]
    add_tags: Vec<String>,
    /// System tags to add.
    #[graphql(default)]
    add_system_tags: Vec<TagInput>,
    /// Custom tags to remove; one that is not there is no error and no change.
    #[graphql(default)]
    remove_tags: Vec<String>,
    /// System tags to remove.
    #[graphql(default)]
    remove_system_tags: Vec<TagInput>,
    /// When its activity began: at most 5 minutes in the future. Null clears what was stated.
    first_activity_at: MaybeUndefined<Instant>,
    /// When its activity ended: at most 5 minutes in the future. Null clears what was stated.
    last_activity_at: MaybeUndefined<Instant>,
    /// A comment to add: Markdown, at most 30,000 characters.
    comment: Option<String>,
    /// Alerts to link, by global id.
    #[graphql(default)]
    link_alerts: Vec<ID>,
    /// Whether to take the alerts from the incidents that hold them.
    #[graphql(default)]
    r#move: bool,
    /// Whether to reopen a resolved incident for an active alert.
    #[graphql(default)]
    reopen: bool,
    /// Alerts to unlink, by global id.
    #[graphql(default)]
    unlink_alerts: Vec<ID>,
    /// What the caller knows.
    #[graphql(flatten)]
    known: Known,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// Absent, null or a value, as an edit says it: absent stays, none clears.
pub fn maybe<T, U>(value: MaybeUndefined<T>, read: impl FnOnce(T) -> Result<U>) -> Result<Option<Option<U>>> {
    Ok(match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(read(value)?)),
    })
}

/// Absent or a value: of a field that cannot be cleared.
pub fn given<T>(path: &str, value: MaybeUndefined<T>) -> Result<Option<T>> {
    match value {
        MaybeUndefined::Undefined => Ok(None),
        MaybeUndefined::Null => Err(Error::invalid(path, "this cannot be cleared; leave it out to keep it")),
        MaybeUndefined::Value(value) => Ok(Some(value)),
    }
}

/// Null or a value: of a field that a mutation is about. Absent, as a client's undefined variable is, it would take away
/// what nobody meant to.
pub fn said<T>(path: &str, value: MaybeUndefined<T>) -> Result<Option<T>> {
    match value {
        MaybeUndefined::Undefined => Err(Error::invalid(path, "give a value, or null to clear it")),
        MaybeUndefined::Null => Ok(None),
        MaybeUndefined::Value(value) => Ok(Some(value)),
    }
}

impl UpdateIncidentInput {
    /// The edit that it asks for, at this time of the desk.
    pub fn read(self, now: Instant) -> Result<IncidentEdit> {
        let mut add_tags = tags("addTags", &self.add_tags, TagKind::Custom)?;
        add_tags.extend(system_tags("addSystemTags", &self.add_system_tags)?);
        let mut remove_tags = known_tags("removeTags", &self.remove_tags, TagKind::Custom)?;
        remove_tags.extend(known_system_tags("removeSystemTags", &self.remove_system_tags)?);
        let description = maybe(self.description, |text| parse_description("description", &text))?;
        let patch = Patch {
            title: given("title", self.title)?.map(|text| title::parse("title", &text)).transpose()?,
            description: description.map(Option::flatten),
            severity: maybe(self.severity, Ok)?,
            status: given("status", self.status)?,
            note: maybe(self.note, |text| parse_note("note", &text))?.map(Option::flatten),
            classification: maybe(self.classification, Ok)?,
            add_tags,
            remove_tags,
            first_activity_at: maybe(self.first_activity_at, |at| past("firstActivityAt", at, now))?,
            last_activity_at: maybe(self.last_activity_at, |at| past("lastActivityAt", at, now))?,
        };
        Ok(IncidentEdit {
            patch,
            owner: maybe(self.owner, |owner| owner.read())?,
            comment: self.comment.map(|body| new_comment("comment", &body)).transpose()?,
            link: alert_ids("linkAlerts", &self.link_alerts)?,
            move_alerts: self.r#move,
            reopen: self.reopen,
            unlink: alert_ids("unlinkAlerts", &self.unlink_alerts)?,
            expected_version: self.known.expected_version,
        })
    }
}

/// Reads a comment to write.
pub fn new_comment(path: &str, body: &str) -> Result<NewComment> {
    Ok(NewComment { id: None, body: comment::parse(path, body)? })
}

macro_rules! incident_inputs {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)* })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, InputObject)]
        pub struct $name {
            /// The incident, by global id.
            pub incident_id: ID,
            $($(#[$field_meta])* pub $field: $ty,)*
            /// What it is called, and its key.
            #[graphql(flatten)]
            pub call: Call,
        }
    )+};
}

incident_inputs! {
    /// A new title.
    RenameIncidentInput {
        /// What the caller knows.
        #[graphql(flatten)]
        known: Known,
        /// Any length; spaces are trimmed; blank is refused.
        title: String,
    }
    /// A new description.
    DescribeIncidentInput {
        /// What the caller knows.
        #[graphql(flatten)]
        known: Known,
        /// At most 5,000 characters; null clears it. It must be given.
        description: MaybeUndefined<String>,
    }
    /// A severity.
    SetIncidentSeverityInput {
        /// What the caller knows.
        #[graphql(flatten)]
        known: Known,
        /// An override; null returns to the computed severity. It must be given.
        severity: MaybeUndefined<Severity>,
    }
    /// A status.
    SetIncidentStatusInput {
        /// What the caller knows.
        #[graphql(flatten)]
        known: Known,
        /// `RESOLVED` resolves with all its effects; `NEW` or `ACTIVE` reopens a resolved incident.
        status: Status,
    }
    /// An owner.
    AssignIncidentInput {
        /// What the caller knows.
        #[graphql(flatten)]
        known: Known,
        /// A user, a group, or the caller. All linked alerts get the same.
        owner: OwnerInput,
    }
    /// The incident to unassign.
    UnassignIncidentInput {
        /// What the caller knows.
        #[graphql(flatten)]
        known: Known,
    }
    /// Tags to add.
    AddTagsInput {
        /// Custom tags, at most 200 characters each, trimmed, compared without case.
        #[graphql(default)]
        tags: Vec<String>,
        /// System tags, written by connectors.
        #[graphql(default)]
        system_tags: Vec<TagInput>,
    }
    /// Tags to remove.
    RemoveTagsInput {
        /// Custom tags.
        #[graphql(default)]
        tags: Vec<String>,
        /// System tags.
        #[graphql(default)]
        system_tags: Vec<TagInput>,
    }
    /// What the incident turned out to be.
    ClassifyIncidentInput {
        /// What the caller knows.
        #[graphql(flatten)]
        known: Known,
        /// Exactly one pair; null clears it. It must be given.
        classification: MaybeUndefined<Classification>,
    }
    /// How to resolve an incident.
    ResolveIncidentInput {
        /// What the caller knows.
        #[graphql(flatten)]
        known: Known,
        /// Why, in words: at most 30,000 characters.
        note: Option<String>,
        /// What it turned out to be; absent leaves it.
        classification: Option<Classification>,
    }
    /// How to reopen an incident.
    ReopenIncidentInput {
        /// What the caller knows.
        #[graphql(flatten)]
        known: Known,
        /// `ACTIVE` or `NEW`.
        #[graphql(default_with = "Status::Active")]
        status: Status,
    }
    /// The incident to delete.
    DeleteIncidentInput {
        /// What the caller knows.
        #[graphql(flatten)]
        known: Known,
    }
    /// A comment.
    AddCommentInput {
        /// Markdown, at most 30,000 characters; blank is refused.
        body: String,
    }
    /// Alerts to link.
    LinkAlertsInput {
        /// By global id; at most 5,000.
        alerts: Vec<ID>,
        /// Whether to take them from the incidents that hold them; without it such an alert is refused.
        #[graphql(default)]
        r#move: bool,
        /// Whether to reopen a resolved incident for an active alert; without it such an alert is refused.
        #[graphql(default)]
        reopen: bool,
    }
    /// Alerts to unlink.
    UnlinkAlertsInput {
        /// By global id; at most 5,000.
        alerts: Vec<ID>,
    }
}

impl AddTagsInput {
    /// The tags to add.
    pub fn read(&self) -> Result<Vec<Tag>> {
        let mut all = tags("tags", &self.tags, TagKind::Custom)?;
        all.extend(system_tags("systemTags", &self.system_tags)?);
        Ok(all)
    }
}

impl RemoveTagsInput {
    /// The tags to remove.
    pub fn read(&self) -> Result<Vec<Tag>> {
        let mut all = known_tags("tags", &self.tags, TagKind::Custom)?;
        all.extend(known_system_tags("systemTags", &self.system_tags)?);
        Ok(all)
    }
}

impl AssignIncidentInput {
    /// The owner.
    pub fn read(&self) -> Result<OwnerChoice> {
        self.owner.read()
    }
}

/// A comment's new text.
#[derive(Debug, InputObject)]
pub struct EditCommentInput {
    /// The comment, by global id.
    pub comment_id: ID,
    /// Markdown, at most 30,000 characters; blank is refused.
    pub body: String,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The comment to delete.
#[derive(Debug, InputObject)]
pub struct DeleteCommentInput {
    /// The comment, by global id.
    pub comment_id: ID,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// Reads the id of a comment.
pub fn comment_id(path: &str, id: &ID) -> Result<CommentId> {
    read_id(path, id, CommentId::WORD, CommentId::parse)
}

/// An entity that an alert names.
#[derive(Debug, InputObject)]
pub struct EntityInput {
    /// What kind of thing.
    kind: EntityKind,
    /// Its name, address or path: at most 4,096 characters.
    value: String,
    /// What is thought of it.
    verdict: Option<Verdict>,
}

impl EntityInput {
    /// The entity.
    pub fn read(&self, path: &str) -> Result<Entity> {
        Entity::parse(path, self.kind, &self.value, self.verdict)
    }
}

/// An alert as its provider reports it.
#[derive(Debug, InputObject)]
pub struct AlertInput {
    /// Who detects. With `providerAlertId` it is the key: the same again is an update of the same alert.
    provider: String,
    /// The provider's own id of it.
    provider_alert_id: String,
    /// The product's name, as queues show it.
    product: Option<String>,
    /// What was seen, in a line.
    title: String,
    /// What was seen, in words: at most 30,000 characters.
    description: Option<String>,
    /// How bad.
    #[graphql(default_with = "Severity::Medium")]
    severity: Severity,
    /// Its status at the provider. Said again unchanged it undoes nothing that an analyst did since.
    status: Option<AlertStatus>,
    /// Its classification at the provider; one that is set already stays.
    classification: Option<Classification>,
    /// The stage of an attack, often a MITRE ATT&CK tactic.
    category: Option<String>,
    /// MITRE ATT&CK techniques, at most 50.
    #[graphql(default)]
    techniques: Vec<String>,
    /// When the activity began: at most 5 minutes in the future.
    first_activity_at: Option<Instant>,
    /// When the activity ended: at most 5 minutes in the future.
    last_activity_at: Option<Instant>,
    /// The things it names, at most 500.
    #[graphql(default)]
    entities: Vec<EntityInput>,
    /// The provider's raw payload: kept and given back byte for byte.
    raw: Option<String>,
}

impl AlertInput {
    /// The alert as ingest takes it, at this time of the desk.
    pub fn read(self, now: Instant) -> Result<AlertDraft> {
        let entities = self.entities.iter().map(|entity| entity.read("entities.value"));
        let report = Report {
            provider: self.provider,
            provider_alert_id: self.provider_alert_id,
            product: self.product,
            title: self.title,
            description: self.description,
            severity: self.severity,
            category: self.category,
            techniques: self.techniques,
            first_activity_at: self.first_activity_at.map(|at| past("firstActivityAt", at, now)).transpose()?,
            last_activity_at: self.last_activity_at.map(|at| past("lastActivityAt", at, now)).transpose()?,
            entities: entities.collect::<Result<_>>()?,
        };
        if let Some(raw) = &self.raw {
            text::refuse_nul("raw", raw)?;
        }
        Ok(AlertDraft {
            report: report.checked()?,
            status: self.status,
            classification: self.classification,
            raw: self.raw,
        })
    }
}

/// Where ingested alerts go: exactly one.
#[derive(Debug, OneofObject)]
pub enum IngestTarget {
    /// Into this incident, by global id.
    Incident(ID),
    /// Into a new incident, made from those that no incident holds. The value must be true.
    NewIncident(bool),
    /// Each that no incident holds into the open incident that it belongs to, or into a new one.
    Correlate(CorrelateInput),
}

/// Reads where ingested alerts go; nowhere where nothing is said.
pub fn ingest_target(target: Option<&IngestTarget>) -> Result<Target> {
    match target {
        None => Ok(Target::Nowhere),
        Some(IngestTarget::Incident(id)) => Ok(Target::Incident(incident_id("into.incident", id)?)),
        Some(IngestTarget::NewIncident(true)) => Ok(Target::NewIncident),
        Some(IngestTarget::Correlate(how)) => Ok(Target::Correlate(how.read()?)),
        Some(IngestTarget::NewIncident(false)) => {
            Err(Error::invalid("into.newIncident", "newIncident is true, or an incident is named"))
        }
    }
}

/// One alert to take in.
#[derive(Debug, InputObject)]
pub struct IngestAlertInput {
    /// The alert.
    pub alert: AlertInput,
    /// Where it goes; nowhere where nothing is said.
    pub into: Option<IngestTarget>,
    /// System tags for the incident that it goes into, written by connectors.
    #[graphql(default)]
    pub system_tags: Vec<TagInput>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// Alerts to take in, all or nothing.
#[derive(Debug, InputObject)]
pub struct IngestAlertsInput {
    /// The alerts, at most 5,000.
    pub alerts: Vec<AlertInput>,
    /// Where they go; nowhere where nothing is said.
    pub into: Option<IngestTarget>,
    /// System tags for each incident that one of them goes into, written by connectors.
    #[graphql(default)]
    pub system_tags: Vec<TagInput>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// What to change of an alert. Absent fields stay; a null clears.
#[derive(Debug, InputObject)]
pub struct UpdateAlertInput {
    /// The alert, by global id.
    pub alert_id: ID,
    /// A status.
    status: Option<AlertStatus>,
    /// What it turned out to be; null clears it.
    classification: MaybeUndefined<Classification>,
    /// The user or group that works on it; null unassigns.
    owner: MaybeUndefined<OwnerInput>,
    /// What the caller knows, of the incident that holds the alert; one of no incident has no version.
    #[graphql(flatten)]
    known: Known,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl UpdateAlertInput {
    /// The edit that it asks for.
    pub fn read(self) -> Result<AlertEdit> {
        Ok(AlertEdit {
            status: self.status,
            classification: maybe(self.classification, Ok)?,
            owner: maybe(self.owner, |owner| owner.read())?,
            expected_version: self.known.expected_version,
        })
    }
}

/// A user to make or change.
#[derive(Debug, InputObject)]
pub struct UpsertUserInput {
    /// The account id: the key, compared without case.
    pub account: String,
    /// The display name; the account for a new user where none is given.
    pub name: Option<String>,
    /// A mail address; null clears it.
    pub email: MaybeUndefined<String>,
    /// What it may do; a new user is a responder where none is given.
    pub role: Option<Role>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// A group to make or change.
#[derive(Debug, InputObject)]
pub struct UpsertGroupInput {
    /// The account id: the key, compared without case.
    pub account: String,
    /// The display name; the account for a new group where none is given.
    pub name: Option<String>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// Users to add to a group, or to take out of it.
#[derive(Debug, InputObject)]
pub struct GroupMembersInput {
    /// The group, by global id.
    pub group_id: ID,
    /// The users, by global id; at most 1,000.
    pub users: Vec<ID>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl GroupMembersInput {
    /// The group and the users.
    pub fn read(&self) -> Result<(GroupId, Vec<UserId>)> {
        let group = read_id("groupId", &self.group_id, GroupId::WORD, GroupId::parse)?;
        let users = self.users.iter().map(|id| read_id("users", id, UserId::WORD, UserId::parse));
        Ok((group, users.collect::<Result<_>>()?))
    }
}
