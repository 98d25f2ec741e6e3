//! The inputs of mutations of incidents, and their readers, which turn them into commands.

use async_graphql::{ID, InputObject, MaybeUndefined, OneofObject};

use super::account::OwnerInput;
use super::alert::alert_ids;
use super::call::{Call, Precondition, given, maybe};
use super::comment::new_comment;
use super::connection::read_id;
use super::tag::{SystemTagInput, custom_tags, known_custom_tags, known_system_tags, system_tags};
use crate::app::incident::{IncidentEdit, OwnerChoice};
use crate::domain::classification::Classification;
use crate::domain::incident::{Patch, Severity, Status, parse_description, parse_note};
use crate::domain::instant::past;
use crate::domain::tag::Tag;
use crate::domain::{IncidentId, Instant, Result, title};

/// Names an incident in one of two ways.
#[derive(Debug, OneofObject)]
pub(super) enum IncidentByInput {
    /// The global id of the incident.
    Id(ID),
    /// The number of the incident, without `INC-`.
    Number(i64),
}

/// Reads the id of an incident.
pub(super) fn incident_id(path: &str, id: &ID) -> Result<IncidentId> {
    read_id(path, id, IncidentId::WORD, IncidentId::parse)
}

/// The input of `createIncident`.
#[derive(Debug, InputObject)]
pub(super) struct CreateIncidentInput {
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
    /// A UUID that the client chooses for the incident. A call that repeats the id with the same input returns the same
    /// incident; with other input it is a `CONFLICT`.
    id: Option<uuid::Uuid>,
    /// The title. It is required unless `alerts` is given: then a title is generated from the alerts. It may have any
    /// length; spaces around it are trimmed, and a blank title is refused.
    title: Option<String>,
    /// The description: at most 5,000 characters.
    description: Option<String>,
    /// The severity override. Without it, the severity is the highest severity of the alerts, or `MEDIUM` without
    /// alerts.
    severity: Option<Severity>,
    /// The status, by default `NEW`. `RESOLVED` creates an incident that is already resolved. `REDIRECTED` is
    /// `INVALID`.
    status: Option<Status>,
    /// The resolution note, if the incident is created as `RESOLVED`: at most 30,000 characters. With another status it
    /// is `INVALID`.
    note: Option<String>,
    /// The classification of the incident.
    classification: Option<Classification>,
    /// The owner of the incident. Without it, the incident is unassigned.
    owner: Option<OwnerInput>,
    /// The custom tags, at most 200 characters each. An incident has at most 100 tags, custom and system together.
    #[graphql(default)]
    tags: Vec<String>,
    /// The system tags. Connectors write system tags; people write custom tags.
    #[graphql(default)]
    system_tags: Vec<SystemTagInput>,
    /// When the activity of the incident began: at most 5 minutes in the future.
    first_activity_at: Option<Instant>,
    /// When the activity of the incident ended: at most 5 minutes in the future, and not before it began.
    last_activity_at: Option<Instant>,
    /// The global ids of alerts to link; at most 5,000.
    #[graphql(default)]
    alerts: Vec<ID>,
    /// Whether to take alerts that belong to other incidents. By default such an alert is a `CONFLICT`, and
    /// `extensions.now` names its incident.
    #[graphql(default)]
    r#move: bool,
}

impl CreateIncidentInput {
    /// Reads the id and the edit. `now` is the time of the desk, against which the activity times are checked.
    pub(super) fn read(self, now: Instant) -> Result<(Option<IncidentId>, IncidentEdit)> {
        let mut add_tags = custom_tags("tags", &self.tags)?;
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

/// The input of `updateIncident`: any of the actions on one incident together, as one change, all or nothing. A field
/// that is absent stays as it is; null clears a field.
#[derive(Debug, InputObject)]
pub(super) struct UpdateIncidentInput {
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
    /// The version of the incident that the caller knows.
    #[graphql(flatten)]
    known: Precondition,
    /// The global id of the incident.
    pub incident_id: ID,
    /// The new title. It stays until the incident takes part in a merge. Null is `INVALID`.
    title: MaybeUndefined<String>,
    /// The description: at most 5,000 characters; null clears it.
    description: MaybeUndefined<String>,
    /// The severity override. Null removes the override, so that the computed severity holds.
    severity: MaybeUndefined<Severity>,
    /// The status. `RESOLVED` resolves the incident as `resolveIncident` does; `NEW` or `ACTIVE` reopens a resolved
    /// incident. `REDIRECTED` and null are `INVALID`.
    status: MaybeUndefined<Status>,
    /// The resolution note, if the incident is resolved or this call resolves it. At most 30,000 characters. Null or a
    /// blank text clears it. On another incident a note is `INVALID`.
    note: MaybeUndefined<String>,
    /// The classification; null clears it.
    classification: MaybeUndefined<Classification>,
    /// The owner of the incident and of all its alerts; null unassigns them.
    owner: MaybeUndefined<OwnerInput>,
    /// Custom tags to add, at most 200 characters each. An incident has at most 100 tags, custom and system together. A
    /// tag that the incident already has changes nothing and is no error.
    #[graphql(default)]
    add_tags: Vec<String>,
    /// System tags to add.
    #[graphql(default)]
    add_system_tags: Vec<SystemTagInput>,
    /// Custom tags to remove. A tag that the incident does not have changes nothing and is no error.
    #[graphql(default)]
    remove_tags: Vec<String>,
    /// System tags to remove.
    #[graphql(default)]
    remove_system_tags: Vec<SystemTagInput>,
    /// When the activity began: at most 5 minutes in the future. Null clears the stated time.
    first_activity_at: MaybeUndefined<Instant>,
    /// When the activity ended: at most 5 minutes in the future, and not before it began. Null clears the stated time.
    last_activity_at: MaybeUndefined<Instant>,
    /// A comment to add: Markdown, at most 30,000 characters. A blank text is `INVALID`. An image `![…](attachment:…)`
    /// must name an uploaded attachment of this incident, else the text is `INVALID`.
    comment: Option<String>,
    /// The global ids of alerts to link; at most 5,000.
    #[graphql(default)]
    link_alerts: Vec<ID>,
    /// Whether to take alerts that belong to other incidents. By default such an alert is a `CONFLICT`, and
    /// `extensions.now` names its incident.
    #[graphql(default)]
    r#move: bool,
    /// Whether an active alert that is linked to a resolved incident reopens it. By default such an alert is a
    /// `CONFLICT`.
    #[graphql(default)]
    reopen: bool,
    /// The global ids of alerts to unlink. Linked and unlinked alerts are at most 5,000 together. An alert that the
    /// incident does not hold is a `CONFLICT`.
    #[graphql(default)]
    unlink_alerts: Vec<ID>,
}

impl UpdateIncidentInput {
    /// Reads the edit. `now` is the time of the desk, against which the activity times are checked.
    pub(super) fn read(self, now: Instant) -> Result<IncidentEdit> {
        let mut add_tags = custom_tags("addTags", &self.add_tags)?;
        add_tags.extend(system_tags("addSystemTags", &self.add_system_tags)?);
        let mut remove_tags = known_custom_tags("removeTags", &self.remove_tags)?;
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
            is_reopening: false,
        })
    }
}

macro_rules! incident_inputs {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)* })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, InputObject)]
        pub(crate) struct $name {
            /// The `clientMutationId` and the idempotency key.
            #[graphql(flatten)]
            pub call: Call,
            /// The global id of the incident.
            pub incident_id: ID,
            $($(#[$field_meta])* pub $field: $ty,)*
        }
    )+};
}

incident_inputs! {
    /// The input of `renameIncident`.
    RenameIncidentInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
        /// The new title. It may have any length; spaces around it are trimmed, and a blank title is refused.
        title: String,
    }
    /// The input of `describeIncident`.
    DescribeIncidentInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
        /// The description: at most 5,000 characters; null clears it. The field must be given.
        description: MaybeUndefined<String>,
    }
    /// The input of `setIncidentSeverity`.
    SetIncidentSeverityInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
        /// The severity override. Null removes the override, so that the computed severity holds. The field must be
        /// given.
        severity: MaybeUndefined<Severity>,
    }
    /// The input of `setIncidentStatus`.
    SetIncidentStatusInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
        /// The status. `RESOLVED` resolves the incident as `resolveIncident` does; `NEW` or `ACTIVE` reopens a resolved
        /// incident. `REDIRECTED` is `INVALID`.
        status: Status,
    }
    /// The input of `assignIncident`.
    AssignIncidentInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
        /// The owner of the incident and of all its alerts: a user, a group, or the caller.
        owner: OwnerInput,
    }
    /// The input of `unassignIncident`.
    UnassignIncidentInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
    }
    /// The input of `addTags`.
    AddTagsInput {
        /// Custom tags, at most 200 characters each. An incident has at most 100 tags, custom and system together; a
        /// further tag is `LIMIT`. Spaces around a tag are trimmed, and case is ignored in comparisons.
        #[graphql(default)]
        tags: Vec<String>,
        /// The system tags. Connectors write system tags; people write custom tags.
        #[graphql(default)]
        system_tags: Vec<SystemTagInput>,
    }
    /// The input of `removeTags`.
    RemoveTagsInput {
        /// Custom tags to remove.
        #[graphql(default)]
        tags: Vec<String>,
        /// System tags to remove.
        #[graphql(default)]
        system_tags: Vec<SystemTagInput>,
    }
    /// The input of `classifyIncident`.
    ClassifyIncidentInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
        /// The classification; null clears it. The field must be given.
        classification: MaybeUndefined<Classification>,
    }
    /// The input of `resolveIncident`.
    ResolveIncidentInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
        /// The resolution note: at most 30,000 characters. A blank note counts as absent. The desk's policy may require
        /// a note (`Query.policies`).
        note: Option<String>,
        /// The classification. If it is absent, the incident keeps its classification. The desk's policy may require a
        /// classification (`Query.policies`).
        classification: Option<Classification>,
    }
    /// The input of `reopenIncident`.
    ReopenIncidentInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
        /// The status after reopening: `ACTIVE` or `NEW`. Another status is `INVALID`.
        #[graphql(default_with = "Status::Active")]
        status: Status,
    }
    /// The input of `deleteIncident`.
    DeleteIncidentInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
    }
    /// The input of `restoreIncident`.
    RestoreIncidentInput {
        /// The version of the incident that the caller knows.
        #[graphql(flatten)]
        known: Precondition,
    }
    /// The input of `addComment`.
    AddCommentInput {
        /// The text of the comment, in Markdown: at most 30,000 characters. A blank text is `INVALID`. An image
        /// `![…](attachment:…)` must name an uploaded attachment of this incident, else the text is `INVALID`.
        body: String,
    }
    /// The input of `linkAlerts`.
    LinkAlertsInput {
        /// The global ids of the alerts; at most 5,000.
        alerts: Vec<ID>,
        /// Whether to take alerts that belong to other incidents. By default such an alert is a `CONFLICT`, and
        /// `extensions.now` names its incident.
        #[graphql(default)]
        r#move: bool,
        /// Whether an active alert that is linked to a resolved incident reopens it. By default such an alert is a
        /// `CONFLICT`.
        #[graphql(default)]
        reopen: bool,
    }
    /// The input of `unlinkAlerts`.
    UnlinkAlertsInput {
        /// The global ids of the alerts; at most 5,000.
        alerts: Vec<ID>,
    }
}

impl AddTagsInput {
    /// Reads the tags to add.
    pub(super) fn read(&self) -> Result<Vec<Tag>> {
        let mut all = custom_tags("tags", &self.tags)?;
        all.extend(system_tags("systemTags", &self.system_tags)?);
        Ok(all)
    }
}

impl RemoveTagsInput {
    /// Reads the tags to remove.
    pub(super) fn read(&self) -> Result<Vec<Tag>> {
        let mut all = known_custom_tags("tags", &self.tags)?;
        all.extend(known_system_tags("systemTags", &self.system_tags)?);
        Ok(all)
    }
}

impl AssignIncidentInput {
    /// Reads the owner.
    pub(super) fn read(&self) -> Result<OwnerChoice> {
        self.owner.read()
    }
}
