//! Changes: the net effect of one transaction on one incident. By position they are the stream, by incident the
//! activity log; there is one list, so the two cannot disagree. Changes of alerts that no incident holds stand between
//! them (`alert_log.rs`).

use async_graphql::Enum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::account::{ActorImage, Owner, OwnerId};
use super::alert::{Alert, AlertStatus};
use super::classification::Classification;
use super::comment::CommentImage;
use super::incident::{Incident, Severity, Status, TextField};
use super::queue::{QueueRow, Text};
use super::retold::{ReportDelta, ToldText};
use super::tag::Tag;
use super::{AlertId, BookmarkId, BulkJobId, CommentId, Error, IncidentId, Instant, Result, TransactionId};

/// What brought a change about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CauseKind {
    /// A mutation on this incident.
    Command,
    /// Alerts that came in.
    Ingest,
    /// An import.
    Import,
    /// A mutation on another incident that took alerts from this one.
    Move,
    /// A bulk job.
    Bulk,
}

/// What brought a change about, and its name: `resolveIncident`, `sentinel`, ….
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The kind.
    pub kind: CauseKind,
    /// The mutation or the import's format.
    pub name: String,
    /// The bulk job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<BulkJobId>,
}

/// What happened to a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CommentAction {
    /// It was written.
    Added,
    /// Its author changed it.
    Edited,
    /// It was taken away; its history stays.
    Deleted,
}

/// How an alert stood when it came to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertImage {
    /// Its status.
    pub status: AlertStatus,
    /// Its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// Its classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
}

impl From<&Alert> for AlertImage {
    fn from(alert: &Alert) -> Self {
        let owner = alert.owner.as_ref().map(|owner| owner.id);
        Self { status: alert.status, owner, classification: alert.classification }
    }
}

/// What happened to a bookmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BookmarkAction {
    /// It was pinned.
    Added,
    /// It was taken away; the log still shows it.
    Removed,
}

/// A bookmark as it comes to another incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookmarkImage {
    /// The bookmark.
    pub bookmark: BookmarkId,
    /// Its title.
    pub title: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What changed of one alert: each field with its former and present value, absent where it stayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertDelta {
    /// The alert.
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
    /// Whether its provider reported it anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reported: bool,
    /// What its provider says otherwise; none in changes of before the desk noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<ReportDelta>>,
}

impl AlertDelta {
    /// Nothing changed yet of `alert`.
    pub fn of(alert: AlertId) -> Self {
        Self { alert, status: None, owner: None, classification: None, reported: false, report: None }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.owner.is_none()
            && self.classification.is_none()
            && !self.reported
            && self.report.is_none()
    }
}

/// One typed entry of a change: a field before and after, or a fact. Append-only: every kind ever written stays readable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Entry {
    /// The incident was made.
    Created,
    /// Its title.
    Title {
        /// Before.
        before: Option<Text>,
        /// After.
        after: Text,
        /// Whether the desk made it from the alerts.
        generated: bool,
    },
    /// Its description.
    Description {
        /// Before.
        before: Option<Text>,
        /// After.
        after: Option<Text>,
    },
    /// Its effective severity, and the override behind it.
    Severity {
        /// Before.
        before: Option<Severity>,
        /// After.
        after: Severity,
        /// The override before.
        override_before: Option<Severity>,
        /// The override after.
        override_after: Option<Severity>,
    },
    /// Its status.
    Status {
        /// Before.
        before: Option<Status>,
        /// After.
        after: Status,
    },
    /// The note of its resolution; stands beside the status entry of the resolve.
    ResolutionNote {
        /// Before.
        before: Option<Text>,
        /// After.
        after: Option<Text>,
    },
    /// Its classification.
    Classification {
        /// Before.
        before: Option<Classification>,
        /// After.
        after: Option<Classification>,
    },
    /// Its owner.
    Owner {
        /// Before.
        before: Option<Owner>,
        /// After.
        after: Option<Owner>,
    },
    /// Its tags.
    Tags {
        /// Those that came.
        added: Vec<Tag>,
        /// Those that went.
        removed: Vec<Tag>,
    },
    /// When its activity began and ended.
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
    /// A comment.
    Comment {
        /// What happened to it.
        action: CommentAction,
        /// Which one.
        comment: CommentId,
        /// The SHA-256 of its text, in hexadecimal; absent where it was deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
        /// When it was written, where an import tells another time than that of the change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Instant>,
    },
    /// Alerts came to it.
    AlertsLinked {
        /// Which.
        alerts: Vec<AlertId>,
        /// The incidents that held them before, where any did.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        from: Vec<IncidentId>,
        /// How each stood when it came, in the same order; none in changes of before the desk noted it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        states: Vec<AlertImage>,
    },
    /// Alerts left it.
    AlertsUnlinked {
        /// Which.
        alerts: Vec<AlertId>,
        /// The incident that holds them now, where one does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<IncidentId>,
    },
    /// Alerts changed: linked ones in the log of their incident, one that no incident holds in its own.
    AlertsChanged {
        /// Each with its fields before and after.
        alerts: Vec<AlertDelta>,
    },
    /// The incident was deleted.
    Deleted,
    /// It was merged into another.
    MergedInto {
        /// The other.
        target: IncidentId,
        /// The other's number.
        number: i64,
        /// How many comments went with it.
        comments: u64,
        /// How many bookmarks went with it; none in changes of before the desk noted it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmarks: Option<u64>,
        /// How many attachments went with it.
        #[serde(default, skip_serializing_if = "is_zero")]
        attachments: u64,
    },
    /// Another was merged into it.
    Merged {
        /// The other.
        source: IncidentId,
        /// The other's number.
        number: i64,
        /// How many comments came with it.
        comments: u64,
        /// Each of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        moved: Vec<CommentImage>,
        /// The bookmarks that came with it; none in changes of before the desk noted them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmarks: Option<Vec<BookmarkImage>>,
        /// How many attachments came with it.
        #[serde(default, skip_serializing_if = "is_zero")]
        attachments: u64,
    },
    /// A merge with another was undone.
    MergeUndone {
        /// The other.
        other: IncidentId,
        /// The other's number.
        number: i64,
        /// How many comments went back.
        comments: u64,
        /// How many bookmarks went back; none in changes of before the desk noted it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmarks: Option<u64>,
        /// How many attachments went back.
        #[serde(default, skip_serializing_if = "is_zero")]
        attachments: u64,
    },
    /// A bookmark.
    Bookmark {
        /// What happened to it.
        action: BookmarkAction,
        /// Which one.
        bookmark: BookmarkId,
        /// Its title.
        title: String,
    },
    /// A provider reported an alert that no incident holds; stands in the alert's own log.
    AlertReported {
        /// Its title.
        title: ToldText,
        /// How bad.
        severity: Severity,
        /// How many entities it names.
        entities: u64,
    },
    /// An alert left its incident, and no other holds it; stands in the alert's own log.
    AlertFreed {
        /// The incident that held it.
        from: IncidentId,
    },
}

/// The kinds of entry, as activity filters name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EntryKind {
    /// The incident was made.
    Created,
    /// Its title changed.
    Title,
    /// Its description changed.
    Description,
    /// Its severity changed.
    Severity,
    /// Its status changed.
    Status,
    /// Its resolution note changed.
    ResolutionNote,
    /// Its classification changed.
    Classification,
    /// Its owner changed.
    Owner,
    /// Its tags changed.
    Tags,
    /// Its times of activity changed.
    Activity,
    /// A comment was added, edited or deleted.
    Comment,
    /// Alerts came to it.
    AlertsLinked,
    /// Alerts left it.
    AlertsUnlinked,
    /// Alerts changed.
    AlertsChanged,
    /// It was deleted.
    Deleted,
    /// It was merged into another.
    MergedInto,
    /// Another was merged into it.
    Merged,
    /// A merge with another was undone.
    MergeUndone,
    /// A bookmark was added or removed.
    Bookmark,
    /// An alert that no incident holds was reported for the first time.
    AlertReported,
    /// An alert left its incident, and no other holds it.
    AlertFreed,
}

impl From<&EntryKind> for EntryKind {
    fn from(kind: &EntryKind) -> Self {
        *kind
    }
}

impl Entry {
    /// Its kind.
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
    /// Whether an incident may hold other alerts after this, or alerts that stand otherwise.
    pub fn moves_alerts(&self) -> bool {
        matches!(
            self.kind(),
            EntryKind::Created
                | EntryKind::Status
                | EntryKind::AlertsLinked
                | EntryKind::AlertsUnlinked
                | EntryKind::AlertsChanged
                | EntryKind::MergedInto
        )
    }
}

/// What is stored of a change, and hashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// The transaction it belongs to.
    pub transaction: TransactionId,
    /// Whether it is the last of its transaction.
    pub last: bool,
    /// When.
    pub at: Instant,
    /// Who.
    pub actor: ActorImage,
    /// Why.
    pub cause: Cause,
    /// What the client called its mutation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_mutation_id: Option<String>,
    /// What.
    pub entries: Vec<Entry>,
    /// The incident's row after it.
    pub row: QueueRow,
    /// The fields of the row before it that differ; absent where there was no row before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Map<String, Value>>,
}

/// A committed change, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its place in the log: dense, in commit order.
    pub offset: u64,
    /// The start of the log's hash at this place.
    pub check: [u8; 8],
    /// What was stored.
    pub body: Body,
    /// The incident's row before it.
    pub before: Option<QueueRow>,
    /// How many bytes it takes in the log.
    pub bytes: usize,
}

/// A text that a change sets and does not hold: the log covers it by its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextSet<'a> {
    /// A long text of the incident.
    Long(TextField, &'a str),
    /// A comment's text.
    Comment(CommentId, &'a str),
}

impl<'a> TextSet<'a> {
    /// The SHA-256 that the log holds of it, in hexadecimal.
    pub fn sha256(&self) -> &'a str {
        match self {
            Self::Long(_, sha256) | Self::Comment(_, sha256) => sha256,
        }
    }
}

impl Body {
    /// The change from one state of an incident to another, which has its version and its time already; of no transaction yet.
    pub fn between(
        before: Option<&Incident>,
        after: &Incident,
        entries: Vec<Entry>,
        actor: ActorImage,
        cause: Cause,
    ) -> Result<Self> {
        let row = after.queue_row();
        let former = before.map(|before| row.former_fields(&before.queue_row())).transpose();
        let former = former.map_err(|error| Error::fault("writing a change", error))?;
        let (transaction, at) = (TransactionId(uuid::Uuid::nil()), after.updated_at);
        Ok(Self { transaction, last: false, at, actor, cause, client_mutation_id: None, entries, row, former })
    }

    /// The texts that it sets and does not hold, in the order of its entries.
    pub fn texts_set(&self) -> Vec<TextSet<'_>> {
        self.entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Title { after, .. } => self.long_set(TextField::Title, Some(after)),
                Entry::Description { after, .. } => self.long_set(TextField::Description, after.as_ref()),
                Entry::ResolutionNote { after, .. } => self.long_set(TextField::Note, after.as_ref()),
                Entry::Comment { comment, sha256: Some(sha256), .. } => Some(TextSet::Comment(*comment, sha256)),
                _ => None,
            })
            .collect()
    }

    fn long_set<'a>(&self, field: TextField, text: Option<&'a Text>) -> Option<TextSet<'a>> {
        match text {
            // The same words may become a person's: then an earlier version has set them.
            Some(Text::Stored { version, sha256, .. }) if *version == self.row.version => {
                Some(TextSet::Long(field, sha256))
            }
            _ => None,
        }
    }
}

impl Change {
    /// Reads a change from its place, the start of the hash there, and its stored body.
    pub fn read(offset: u64, check: [u8; 8], body: &str) -> Result<Self> {
        let bytes = body.len();
        let body: Body = serde_json::from_str(body).map_err(|error| Error::fault("reading a change's body", error))?;
        let before = body.former.as_ref().map(|former| body.row.before(former)).transpose();
        let before = before.map_err(|error| Error::fault("reading a change's former row", error))?;
        Ok(Self { offset, check, body, before, bytes })
    }

    /// Whether it begins where the incident stood: in `stood`, or nowhere.
    pub fn goes_on_from(&self, stood: Option<&QueueRow>) -> bool {
        match (&self.before, stood) {
            (None, None) => true,
            (Some(before), Some(stood)) => before.differs_from(stood).is_ok_and(|fields| fields.is_empty()),
            _ => false,
        }
    }

    /// The incident.
    pub fn incident(&self) -> IncidentId {
        self.body.row.id
    }

    /// The incident's version after it.
    pub fn version(&self) -> u64 {
        self.body.row.version
    }
}

/// The fields in which two states of an incident differ, as entries; `before` is none where it is being made.
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
    let title = |i: &Incident| Text::of(&i.title, i.title_version);
    let description = |i: &Incident| i.description.as_ref().map(|text| Text::of(text, i.description_version));
    // The same words may become a person's: from then on the alerts no longer remake them.
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
    let note =
        |i: &Incident| i.resolution.as_ref().and_then(|r| r.note.as_ref().map(|text| Text::of(text, r.note_version)));
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
    // What a person states counts even while the alerts hide it: it shows when they leave.
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
    if before.is_none_or(|b| b.deleted_at.is_none()) && after.deleted_at.is_some() {
        entries.push(Entry::Deleted);
    }
    entries
}

fn tag_entry(before: &[Tag], after: &[Tag]) -> Option<Entry> {
    let missing = |from: &[Tag], held: &Tag| !from.iter().any(|tag| tag.kind == held.kind && tag.key() == held.key());
    let added: Vec<Tag> = after.iter().filter(|tag| missing(before, tag)).cloned().collect();
    let removed: Vec<Tag> = before.iter().filter(|tag| missing(after, tag)).cloned().collect();
    (!added.is_empty() || !removed.is_empty()).then_some(Entry::Tags { added, removed })
}
