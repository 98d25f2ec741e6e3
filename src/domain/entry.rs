//! The entries of a change: the fields of an incident before and after, and the facts that a change records.

use async_graphql::Enum;
use serde::{Deserialize, Serialize};

use super::account::{Owner, OwnerId};
use super::alert::{Alert, AlertStatus};
use super::classification::Classification;
use super::comment::CommentImage;
use super::incident::{Incident, Severity, Status};
use super::queue::IncidentText;
use super::retold::{ReportDelta, ToldText};
use super::tag::Tag;
use super::{AlertId, BookmarkId, CommentId, IncidentId, Instant};

/// Names what a change did to a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CommentAction {
    /// The comment was written.
    Added,
    /// The author changed the text of the comment.
    Edited,
    /// The comment was deleted. Its history stays.
    Deleted,
}

/// The state of an alert at the moment when an incident receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertImage {
    /// The alert's status.
    pub status: AlertStatus,
    /// The alert's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// The alert's classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
}

impl From<&Alert> for AlertImage {
    fn from(alert: &Alert) -> Self {
        let owner = alert.owner.as_ref().map(|owner| owner.id);
        Self { status: alert.status, owner, classification: alert.classification }
    }
}

/// Names what a change did to a bookmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BookmarkAction {
    /// The bookmark was pinned to the incident.
    Added,
    /// The bookmark was removed. The activity log still shows it.
    Removed,
}

/// A bookmark that a merge moves to another incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookmarkImage {
    /// The id of the bookmark.
    pub bookmark: BookmarkId,
    /// The title of the bookmark.
    pub title: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The fields of one alert that a change altered, each with its former and its present value. Other fields are absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertDelta {
    /// The id of the alert.
    pub alert: AlertId,
    /// Status before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<(AlertStatus, AlertStatus)>,
    /// Owner before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(Option<OwnerId>, Option<OwnerId>)>,
    /// Classification before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<(Option<Classification>, Option<Classification>)>,
    /// Whether the alert's provider reported it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reported: bool,
    /// The differences between the former and the new report. Absent in changes from before the desk recorded them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<ReportDelta>>,
}

impl AlertDelta {
    /// Returns a delta of `alert` in which no field has changed.
    pub fn of(alert: AlertId) -> Self {
        Self { alert, status: None, owner: None, classification: None, reported: false, report: None }
    }

    /// Returns whether no field changed.
    pub fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.owner.is_none()
            && self.classification.is_none()
            && !self.reported
            && self.report.is_none()
    }
}

/// One typed entry of a change: a field before and after, or a fact. The desk reads every kind that it ever wrote, so
/// kinds are only added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Entry {
    /// The incident was created.
    Created,
    /// The title changed.
    Title {
        /// The title before the change; `None` for a new incident.
        before: Option<IncidentText>,
        /// The title after the change.
        after: IncidentText,
        /// Whether the desk generated the title from the alerts.
        generated: bool,
    },
    /// The description changed.
    Description {
        /// The description before the change, if there was one.
        before: Option<IncidentText>,
        /// The description after the change, if there is one.
        after: Option<IncidentText>,
    },
    /// The effective severity or its override changed.
    Severity {
        /// The effective severity before the change; `None` for a new incident.
        before: Option<Severity>,
        /// The effective severity after the change.
        after: Severity,
        /// The override before.
        override_before: Option<Severity>,
        /// The override after.
        override_after: Option<Severity>,
    },
    /// The status changed.
    Status {
        /// The status before the change; `None` for a new incident.
        before: Option<Status>,
        /// The status after the change.
        after: Status,
    },
    /// The resolution note changed. A resolve writes this entry beside its status entry.
    ResolutionNote {
        /// The note before the change, if there was one.
        before: Option<IncidentText>,
        /// The note after the change, if there is one.
        after: Option<IncidentText>,
    },
    /// The classification changed.
    Classification {
        /// The classification before the change, if there was one.
        before: Option<Classification>,
        /// The classification after the change, if there is one.
        after: Option<Classification>,
    },
    /// The owner changed.
    Owner {
        /// The owner before the change, if there was one.
        before: Option<Owner>,
        /// The owner after the change, if there is one.
        after: Option<Owner>,
    },
    /// Tags were added or removed.
    Tags {
        /// The added tags.
        added: Vec<Tag>,
        /// The removed tags.
        removed: Vec<Tag>,
    },
    /// The first or the last time of the incident's activity changed.
    Activity {
        /// First activity before.
        first_before: Option<Instant>,
        /// First activity after.
        first_after: Option<Instant>,
        /// Last activity before.
        last_before: Option<Instant>,
        /// Last activity after.
        last_after: Option<Instant>,
    },
    /// A comment was added, edited or deleted.
    Comment {
        /// The action: added, edited or deleted.
        action: CommentAction,
        /// The id of the comment.
        comment: CommentId,
        /// The SHA-256 of the comment's text, in hexadecimal. Absent if the comment was deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
        /// The time when the comment was written, if an import states another time than that of the change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Instant>,
    },
    /// Alerts were linked to the incident.
    AlertsLinked {
        /// The ids of the linked alerts.
        alerts: Vec<AlertId>,
        /// The incidents that held the alerts before, if any.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        from: Vec<IncidentId>,
        /// The state of each alert then, in the order of `alerts`. Empty in changes from before the desk recorded it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        states: Vec<AlertImage>,
    },
    /// Alerts left the incident.
    AlertsUnlinked {
        /// The ids of these alerts.
        alerts: Vec<AlertId>,
        /// The incident that holds the alerts now, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<IncidentId>,
    },
    /// Fields of alerts changed. An incident's log has its alerts' changes; an alert in no incident has its own log.
    AlertsChanged {
        /// The changed alerts, each with its fields before and after.
        alerts: Vec<AlertDelta>,
    },
    /// The incident was deleted.
    Deleted,
    /// The deletion of the incident was taken back.
    Restored,
    /// The incident was merged into another incident.
    MergedInto {
        /// The id of the target incident.
        target: IncidentId,
        /// The number of the target incident.
        number: i64,
        /// How many comments went to the target.
        comments: u64,
        /// How many bookmarks went to the target. Absent in changes from before the desk recorded it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmarks: Option<u64>,
        /// How many attachments went to the target.
        #[serde(default, skip_serializing_if = "is_zero")]
        attachments: u64,
    },
    /// Another incident was merged into this incident.
    Merged {
        /// The id of the source incident.
        source: IncidentId,
        /// The number of the source incident.
        number: i64,
        /// How many comments came from the source.
        comments: u64,
        /// The comments that came from the source. Empty in changes from before the desk recorded them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        moved: Vec<CommentImage>,
        /// The bookmarks that came from the source. Absent in changes from before the desk recorded them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmarks: Option<Vec<BookmarkImage>>,
        /// How many attachments came from the source.
        #[serde(default, skip_serializing_if = "is_zero")]
        attachments: u64,
    },
    /// A merge with another incident was undone.
    MergeUndone {
        /// The id of the other incident.
        other: IncidentId,
        /// The number of the other incident.
        number: i64,
        /// How many comments went back to the source of the merge.
        comments: u64,
        /// How many bookmarks went back. Absent in changes from before the desk recorded it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmarks: Option<u64>,
        /// How many attachments went back.
        #[serde(default, skip_serializing_if = "is_zero")]
        attachments: u64,
    },
    /// A bookmark was added or removed.
    Bookmark {
        /// The action: added or removed.
        action: BookmarkAction,
        /// The id of the bookmark.
        bookmark: BookmarkId,
        /// The title of the bookmark.
        title: String,
    },
    /// A provider reported a new alert that no incident holds. The alert's own log has this entry.
    AlertReported {
        /// The title of the alert.
        title: ToldText,
        /// The severity of the alert.
        severity: Severity,
        /// How many entities the alert names.
        entities: u64,
    },
    /// An alert left its incident, and no other incident holds it. The alert's own log has this entry.
    AlertFreed {
        /// The incident that held it.
        from: IncidentId,
    },
}

/// The kinds of entries in an activity log, as activity filters name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EntryKind {
    /// The incident was created.
    Created,
    /// The title changed.
    Title,
    /// The description changed.
    Description,
    /// The effective severity or its override changed.
    Severity,
    /// The status changed.
    Status,
    /// The resolution note changed.
    ResolutionNote,
    /// The classification changed.
    Classification,
    /// The owner changed.
    Owner,
    /// Tags were added or removed.
    Tags,
    /// The first or the last time of the incident's activity changed.
    Activity,
    /// A comment was added, edited or deleted.
    Comment,
    /// Alerts were linked to the incident.
    AlertsLinked,
    /// Alerts left the incident.
    AlertsUnlinked,
    /// The status, owner, classification or provider report of alerts changed.
    AlertsChanged,
    /// The incident was deleted.
    Deleted,
    /// The incident was merged into another incident.
    MergedInto,
    /// Another incident was merged into this incident.
    Merged,
    /// A merge with another was undone.
    MergeUndone,
    /// A bookmark was added or removed.
    Bookmark,
    /// A provider reported an alert for the first time, and no incident held the alert.
    AlertReported,
    /// An alert left its incident, and no other incident holds it.
    AlertFreed,
    /// The deletion of the incident was taken back.
    Restored,
}

impl From<&EntryKind> for EntryKind {
    fn from(kind: &EntryKind) -> Self {
        *kind
    }
}

impl Entry {
    /// Returns the kind of this entry.
    pub fn kind(&self) -> EntryKind {
        match self {
            Self::Created => EntryKind::Created,
            Self::Title { .. } => EntryKind::Title,
            Self::Description { .. } => EntryKind::Description,
            Self::Severity { .. } => EntryKind::Severity,
            Self::Status { .. } => EntryKind::Status,
            Self::ResolutionNote { .. } => EntryKind::ResolutionNote,
            Self::Classification { .. } => EntryKind::Classification,
            Self::Owner { .. } => EntryKind::Owner,
            Self::Tags { .. } => EntryKind::Tags,
            Self::Activity { .. } => EntryKind::Activity,
            Self::Comment { .. } => EntryKind::Comment,
            Self::AlertsLinked { .. } => EntryKind::AlertsLinked,
            Self::AlertsUnlinked { .. } => EntryKind::AlertsUnlinked,
            Self::AlertsChanged { .. } => EntryKind::AlertsChanged,
            Self::Deleted => EntryKind::Deleted,
            Self::Restored => EntryKind::Restored,
            Self::MergedInto { .. } => EntryKind::MergedInto,
            Self::Merged { .. } => EntryKind::Merged,
            Self::MergeUndone { .. } => EntryKind::MergeUndone,
            Self::Bookmark { .. } => EntryKind::Bookmark,
            Self::AlertReported { .. } => EntryKind::AlertReported,
            Self::AlertFreed { .. } => EntryKind::AlertFreed,
        }
    }
}

impl Entry {
    /// Returns whether the entry may change which alerts the incident holds, or the state of its alerts.
    pub fn moves_alerts(&self) -> bool {
        match self.kind() {
            EntryKind::Created
            | EntryKind::Status
            | EntryKind::AlertsLinked
            | EntryKind::AlertsUnlinked
            | EntryKind::AlertsChanged
            | EntryKind::MergedInto => true,
            EntryKind::Title
            | EntryKind::Description
            | EntryKind::Severity
            | EntryKind::ResolutionNote
            | EntryKind::Classification
            | EntryKind::Owner
            | EntryKind::Tags
            | EntryKind::Activity
            | EntryKind::Comment
            | EntryKind::Deleted
            | EntryKind::Restored
            | EntryKind::Merged
            | EntryKind::MergeUndone
            | EntryKind::Bookmark
            | EntryKind::AlertReported
            | EntryKind::AlertFreed => false,
        }
    }
}

/// Lists the fields in which two states of an incident differ. `before` is `None` if the incident is being created.
pub fn entries_between(before: Option<&Incident>, after: &Incident) -> Vec<Entry> {
    let mut entries = Vec::new();
    if before.is_none() {
        entries.push(Entry::Created);
    }
    entries.extend(text_entries(before, after));
    entries.extend(state_entries(before, after));
    entries
}

fn text_entries(before: Option<&Incident>, after: &Incident) -> Vec<Entry> {
    let mut entries = Vec::new();
    let title = |i: &Incident| IncidentText::of(&i.title, i.title_version);
    let description = |i: &Incident| i.description.as_ref().map(|text| IncidentText::of(text, i.description_version));
    // A person may confirm a generated title without altering it. From then on the alerts no longer change it.
    if before.is_none_or(|b| (&b.title, b.title_generated) != (&after.title, after.title_generated)) {
        entries.push(Entry::Title { before: before.map(title), after: title(after), generated: after.title_generated });
    }
    if before.and_then(|b| b.description.as_ref()) != after.description.as_ref() {
        entries.push(Entry::Description { before: before.and_then(description), after: description(after) });
    }
    entries
}

fn state_entries(before: Option<&Incident>, after: &Incident) -> Vec<Entry> {
    let mut entries = Vec::new();
    let severity = |i: &Incident| (i.severity(), i.severity_override);
    if before.map(severity) != Some(severity(after)) {
        entries.push(Entry::Severity {
            before: before.map(Incident::severity),
            after: after.severity(),
            override_before: before.and_then(|b| b.severity_override),
            override_after: after.severity_override,
        });
    }
    if before.map(|b| b.status) != Some(after.status) {
        entries.push(Entry::Status { before: before.map(|b| b.status), after: after.status });
    }
    let note = |i: &Incident| {
        i.resolution.as_ref().and_then(|r| r.note.as_ref().map(|text| IncidentText::of(text, r.note_version)))
    };
    if before.and_then(note) != note(after) {
        entries.push(Entry::ResolutionNote { before: before.and_then(note), after: note(after) });
    }
    if before.and_then(|b| b.classification) != after.classification {
        entries
            .push(Entry::Classification { before: before.and_then(|b| b.classification), after: after.classification });
    }
    if before.and_then(|b| b.owner.as_ref()).map(|o| o.id) != after.owner.as_ref().map(|o| o.id) {
        entries.push(Entry::Owner { before: before.and_then(|b| b.owner.clone()), after: after.owner.clone() });
    }
    entries.extend(tag_entry(before.map_or(&[], |b| b.tags.as_slice()), &after.tags));
    // A stated time counts even while the times of the alerts hide it: it shows again when the alerts leave.
    let stated = |i: &Incident| (i.stated_first_activity_at, i.stated_last_activity_at);
    let times = |i: &Incident| (i.first_activity_at, i.last_activity_at, stated(i));
    if before.map_or((None, None, (None, None)), times) != times(after) {
        entries.push(Entry::Activity {
            first_before: before.and_then(|b| b.first_activity_at),
            first_after: after.first_activity_at,
            last_before: before.and_then(|b| b.last_activity_at),
            last_after: after.last_activity_at,
        });
    }
    match (before.is_some_and(|b| b.deleted_at.is_some()), after.deleted_at.is_some()) {
        (false, true) => entries.push(Entry::Deleted),
        (true, false) => entries.push(Entry::Restored),
        _ => {}
    }
    entries
}

fn tag_entry(before: &[Tag], after: &[Tag]) -> Option<Entry> {
    let missing = |from: &[Tag], held: &Tag| !from.iter().any(|tag| tag.kind == held.kind && tag.key() == held.key());
    let added: Vec<Tag> = after.iter().filter(|tag| missing(before, tag)).cloned().collect();
    let removed: Vec<Tag> = before.iter().filter(|tag| missing(after, tag)).cloned().collect();
    (!added.is_empty() || !removed.is_empty()).then_some(Entry::Tags { added, removed })
}
