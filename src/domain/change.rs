//! Changes. A change is the net effect of one transaction on one incident.
//!
//! One log holds all changes. Streams read it by position and activity logs read it by incident, so the two cannot
//! disagree. Changes of alerts that no incident holds are in this log too (`alert_log.rs`).

use async_graphql::Enum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::account::ActorImage;
pub use super::entry::{
    AlertDelta, AlertImage, BookmarkAction, BookmarkImage, CommentAction, Entry, EntryKind, entries_between,
};
use super::incident::{Incident, TextField};
use super::queue::{IncidentText, QueueRow};
use super::{BulkJobId, CommentId, Error, IncidentId, Instant, Result, TransactionId};

/// Names the kind of request or event that caused a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CauseKind {
    /// A mutation on this incident caused it.
    Command,
    /// An ingest of alerts caused it.
    Ingest,
    /// An import caused it.
    Import,
    /// A mutation on another incident, which took alerts from this incident, caused it.
    Move,
    /// A bulk job caused it.
    Bulk,
}

/// The reason why an incident entered a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum EnteredReason {
    /// The incident was created.
    Created,
    /// The incident changed, and now the filter matches it.
    Filter,
    /// The deletion of the incident was taken back.
    Restored,
    /// The merge of the incident into another incident was undone.
    MergeUndone,
}

/// The cause of a change: its kind, and its name, for example `resolveIncident` or `sentinel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The kind of cause.
    pub kind: CauseKind,
    /// The name of the mutation, or of the import's format.
    pub name: String,
    /// The bulk job, if one caused the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<BulkJobId>,
}

/// The stored part of a change. The hash chain of the log covers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeBody {
    /// The transaction that wrote the change.
    pub transaction: TransactionId,
    /// Whether the change is the last of its transaction.
    pub last: bool,
    /// The instant of the change.
    pub at: Instant,
    /// The user who made the change, or the desk itself.
    pub actor: ActorImage,
    /// The cause of the change.
    pub cause: Cause,
    /// The id that the client chose for its mutation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_mutation_id: Option<String>,
    /// The entries: what the change did.
    pub entries: Vec<Entry>,
    /// The incident's row after the change.
    pub row: QueueRow,
    /// The former values of the row's fields that the change altered. Absent if the change created the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Map<String, Value>>,
}

/// A committed change, as the log returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The offset of the change in the log. Offsets are dense and in commit order.
    pub offset: u64,
    /// The first 8 bytes of the log's hash at this offset.
    pub check: [u8; 8],
    /// The stored body.
    pub body: ChangeBody,
    /// The incident's row before the change; `None` if the change created the incident.
    pub before: Option<QueueRow>,
    /// How many bytes the stored body takes in the log.
    pub bytes: usize,
}

/// A text that a change sets but does not carry. The change carries its SHA-256, so the log's hash covers the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextSet<'a> {
    /// A long text of the incident: the field, and the SHA-256 of the text.
    Long(TextField, &'a str),
    /// The text of a comment: the comment, the SHA-256 of the text, and the time when the text was written.
    Comment(CommentId, &'a str, Instant),
}

impl<'a> TextSet<'a> {
    /// Returns the SHA-256 that the log holds of the text, in hexadecimal.
    pub fn sha256(&self) -> &'a str {
        match self {
            Self::Long(_, sha256) | Self::Comment(_, sha256, _) => sha256,
        }
    }
}

impl ChangeBody {
    /// Builds the change between two states of an incident. `after` has its new version and time already. The caller
    /// sets the transaction later.
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

    /// Returns the texts that the change sets but does not carry, in the order of its entries.
    pub fn texts_set(&self) -> Vec<TextSet<'_>> {
        self.entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Title { after, .. } => self.long_set(TextField::Title, Some(after)),
                Entry::Description { after, .. } => self.long_set(TextField::Description, after.as_ref()),
                Entry::ResolutionNote { after, .. } => self.long_set(TextField::Note, after.as_ref()),
                Entry::Comment { comment, sha256: Some(sha256), at, .. } => {
                    Some(TextSet::Comment(*comment, sha256, at.unwrap_or(self.at)))
                }
                Entry::Comment { sha256: None, .. }
                | Entry::Created
                | Entry::Severity { .. }
                | Entry::Status { .. }
                | Entry::Classification { .. }
                | Entry::Owner { .. }
                | Entry::Tags { .. }
                | Entry::Activity { .. }
                | Entry::AlertsLinked { .. }
                | Entry::AlertsUnlinked { .. }
                | Entry::AlertsChanged { .. }
                | Entry::Deleted
                | Entry::Restored
                | Entry::MergedInto { .. }
                | Entry::Merged { .. }
                | Entry::MergeUndone { .. }
                | Entry::Bookmark { .. }
                | Entry::AlertReported { .. }
                | Entry::AlertFreed { .. } => None,
            })
            .collect()
    }

    fn long_set<'a>(&self, field: TextField, text: Option<&'a IncidentText>) -> Option<TextSet<'a>> {
        match text {
            // A person may confirm a generated title without altering it. An earlier version has set that text.
            Some(IncidentText::Stored { version, sha256, .. }) if *version == self.row.version => {
                Some(TextSet::Long(field, sha256))
            }
            _ => None,
        }
    }
}

impl Change {
    /// Reads a change from its offset, the first 8 bytes of the log's hash there, and its stored body.
    pub fn read(offset: u64, check: [u8; 8], body: &str) -> Result<Self> {
        let bytes = body.len();
        let body: ChangeBody =
            serde_json::from_str(body).map_err(|error| Error::fault("reading a change's body", error))?;
        let before = body.former.as_ref().map(|former| body.row.before(former)).transpose();
        let before = before.map_err(|error| Error::fault("reading a change's former row", error))?;
        Ok(Self { offset, check, body, before, bytes })
    }

    /// Returns whether the row before this change equals `stood`. Both are `None` if the change creates the incident.
    pub fn goes_on_from(&self, stood: Option<&QueueRow>) -> bool {
        match (&self.before, stood) {
            (None, None) => true,
            (Some(before), Some(stood)) => before.differs_from(stood).is_ok_and(|fields| fields.is_empty()),
            _ => false,
        }
    }

    /// Returns the reason why the incident entered a queue, for a queue that it entered with this change.
    pub fn entered_reason(&self) -> EnteredReason {
        match &self.before {
            None => EnteredReason::Created,
            Some(before) if before.deleted => EnteredReason::Restored,
            // An incident that was merged into another refuses every change but the undo.
            Some(before) if before.redirected_to.is_some() => EnteredReason::MergeUndone,
            Some(_) => EnteredReason::Filter,
        }
    }

    /// Returns the id of the incident.
    pub fn incident(&self) -> IncidentId {
        self.body.row.id
    }

    /// Returns the incident's version after the change.
    pub fn version(&self) -> u64 {
        self.body.row.version
    }
}
