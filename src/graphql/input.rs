//! The inputs of mutations of incidents, and how each becomes what a command asks.

use async_graphql::{ID, InputObject, MaybeUndefined};

use super::account::OwnerInput;
use super::alert::alert_ids;
use super::call::{Call, Known, given, maybe};
use super::comment::new_comment;
use super::connection::read_id;
use super::tag::{TagInput, known_system_tags, known_tags, system_tags, tags};
use crate::app::incident::{IncidentEdit, OwnerChoice};
use crate::domain::classification::Classification;
use crate::domain::incident::{Patch, Severity, Status, parse_description, parse_note};
use crate::domain::instant::past;
use crate::domain::tag::{Tag, TagKind};
use crate::domain::{IncidentId, Instant, Result, title};

/// Reads the id of an incident.
pub fn incident_id(path: &str, id: &ID) -> Result<IncidentId> {
    read_id(path, id, IncidentId::WORD, IncidentId::parse)
}

/// What an incident is made with.
#[derive(Debug, InputObject)]
pub struct CreateIncidentInput {
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
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
}

impl CreateIncidentInput {
    /// The id and the edit that it asks for, at this time of the desk.
    pub fn read(self, now: Instant) -> Result<(Option<IncidentId>, IncidentEdit)> {
        let mut add_tags = tags("tags", &self.tags, TagKind::Custom)?;
        add_tags.extend(system_tags("systemTags", &self.system_tags)?);
        let patch = Patch {
            title: self.title.map(|text| title::parse("title", text)).transpose()?,
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
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
    /// What the caller knows.
    #[graphql(flatten)]
    known: Known,
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
            title: given("title", self.title)?.map(|text| title::parse("title", text)).transpose()?,
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

macro_rules! incident_inputs {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)* })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, InputObject)]
        pub struct $name {
            /// What it is called, and its key.
            #[graphql(flatten)]
            pub call: Call,
            /// The incident, by global id.
            pub incident_id: ID,
            $($(#[$field_meta])* pub $field: $ty,)*
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
