//! The typed entries of a change in the activity log.

use async_graphql::{ComplexObject, ID, Interface, Object, SimpleObject};

use super::account::Owner;
use super::alert_delta::AlertDelta;
use super::alert_log::{AlertFreedEntry, AlertReportedEntry};
use super::context::View;
use super::incident::{Incident, global_id};
use super::loaders::StartOf;
use super::merge::{MergeUndoneEntry, MergedEntry, MergedIntoEntry, Moved, Other};
use super::queue::{Classification, Tag};
use crate::domain::change::{BookmarkAction, CommentAction, Entry, EntryKind};
use crate::domain::incident::{Severity, Status, TextField};
use crate::domain::queue::IncidentText;
use crate::domain::title::{SHOWN_CHARS, ShownTitle};
use crate::domain::{Error, IncidentId, Instant, Result};

/// The incident whose long texts an entry may read. `None` in the log of an alert.
#[derive(Clone)]
pub(super) struct TextOf {
    pub(super) view: View,
    pub(super) incident: Option<IncidentId>,
}

impl TextOf {
    async fn shown(&self, field: TextField, text: Option<&IncidentText>) -> Result<Option<String>> {
        match text {
            None => Ok(None),
            Some(IncidentText::Inline(text)) => Ok(Some(text.clone())),
            Some(IncidentText::Stored { version, .. }) => {
                let missing = || Error::fault("reading a long text of a change", "it is missing");
                let text = match (self.incident.ok_or_else(missing)?, field, *version) {
                    key @ (_, TextField::Title, _) => {
                        self.view.load(StartOf(key)).await?.map(|it| ShownTitle::of(&it).text)
                    }
                    key => self.view.load(key).await?,
                };
                text.map(Some).ok_or_else(missing)
            }
        }
    }
}

fn goes_on(field: TextField, text: Option<&IncidentText>) -> bool {
    field == TextField::Title && matches!(text, Some(IncidentText::Stored { chars, .. }) if *chars > SHOWN_CHARS as u64)
}

/// An entry of the log: the incident was created.
#[derive(SimpleObject)]
pub(super) struct CreatedEntry {
    /// The kind of the entry.
    kind: EntryKind,
}

/// An entry of the log: a text changed. `kind` says whether it is the title, the description or the resolution note.
pub(super) struct TextEntry {
    kind: EntryKind,
    field: TextField,
    of: TextOf,
    before: Option<IncidentText>,
    after: Option<IncidentText>,
    generated: bool,
}

/// An entry of the log: a text changed. `kind` says whether it is the title, the description or the resolution note.
#[Object]
impl TextEntry {
    /// The kind of the entry: `TITLE`, `DESCRIPTION` or `RESOLUTION_NOTE`.
    pub(crate) async fn kind(&self) -> EntryKind {
        self.kind
    }

    /// The text before the change; null if there was no text. Of a title, the first 1,000 characters.
    async fn text_before(&self) -> Result<Option<String>> {
        self.of.shown(self.field, self.before.as_ref()).await
    }

    /// The text after the change; null if it was removed. Of a title, the first 1,000 characters.
    async fn text_after(&self) -> Result<Option<String>> {
        self.of.shown(self.field, self.after.as_ref()).await
    }

    /// Whether the text before the change is longer than `textBefore`. Only a title may be longer.
    async fn text_before_truncated(&self) -> bool {
        goes_on(self.field, self.before.as_ref())
    }

    /// Whether the text after the change is longer than `textAfter`. Only a title may be longer.
    async fn text_after_truncated(&self) -> bool {
        goes_on(self.field, self.after.as_ref())
    }

    /// Whether the text after the change was generated from the alerts. Only a title may be generated.
    async fn generated(&self) -> bool {
        self.generated
    }
}

/// An entry of the log: the severity changed.
#[derive(SimpleObject)]
pub(super) struct SeverityEntry {
    /// The kind of the entry.
    kind: EntryKind,
    /// The effective severity before the change; null for a new incident.
    severity_before: Option<Severity>,
    /// The effective severity after the change.
    severity_after: Severity,
    /// The severity override before the change; null if there was no override.
    override_before: Option<Severity>,
    /// The severity override after the change; null if there is no override.
    override_after: Option<Severity>,
}

/// An entry of the log: the status changed.
#[derive(SimpleObject)]
pub(super) struct StatusEntry {
    /// The kind of the entry.
    kind: EntryKind,
    /// The status before the change; null for a new incident.
    status_before: Option<Status>,
    /// The status after the change.
    status_after: Status,
}

/// An entry of the log: the classification changed.
#[derive(SimpleObject)]
pub(super) struct ClassificationEntry {
    /// The kind of the entry.
    kind: EntryKind,
    /// The classification before the change; null if it was not classified.
    classification_before: Option<Classification>,
    /// The classification after the change; null if it is not classified.
    classification_after: Option<Classification>,
}

/// An entry of the log: the owner changed.
#[derive(SimpleObject)]
pub(super) struct OwnerEntry {
    /// The kind of the entry.
    kind: EntryKind,
    /// The owner before the change, with the name at that time; null if there was no owner.
    owner_before: Option<Owner>,
    /// The owner after the change, with the name at that time; null if there is no owner.
    owner_after: Option<Owner>,
}

/// An entry of the log: tags were added or removed.
#[derive(SimpleObject)]
pub(super) struct TagsEntry {
    /// The kind of the entry.
    kind: EntryKind,
    /// The tags that were added.
    added: Vec<Tag>,
    /// The tags that were removed.
    removed: Vec<Tag>,
}

/// An entry of the log: the times of the first or last activity changed.
#[derive(SimpleObject)]
pub(super) struct ActivityEntry {
    /// The kind of the entry.
    kind: EntryKind,
    /// The first activity before the change; null if it was unknown.
    first_activity_before: Option<Instant>,
    /// The first activity after the change; null if it is unknown.
    first_activity_after: Option<Instant>,
    /// The last activity before the change; null if it was unknown.
    last_activity_before: Option<Instant>,
    /// The last activity after the change; null if it is unknown.
    last_activity_after: Option<Instant>,
}

/// An entry of the log: a comment was written, edited or deleted.
pub(super) struct CommentEntry {
    view: View,
    action: CommentAction,
    comment: crate::domain::CommentId,
    sha256: Option<String>,
}

/// An entry of the log: a comment was written, edited or deleted.
#[Object]
impl CommentEntry {
    /// Always `COMMENT`.
    pub(crate) async fn kind(&self) -> EntryKind {
        EntryKind::Comment
    }

    /// What happened to the comment.
    async fn action(&self) -> CommentAction {
        self.action
    }

    /// The global id of the comment.
    async fn comment_id(&self) -> ID {
        self.comment.to_string().into()
    }

    /// The SHA-256 of the text that was set, in hexadecimal. The hash chain of the log covers the text through it.
    async fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// The comment in its present state, even if it is deleted.
    async fn comment(&self) -> Result<Option<super::comment::Comment>> {
        let comment = self.view.load(self.comment).await?;
        Ok(comment.map(|comment| super::comment::Comment { view: self.view.clone(), comment }))
    }
}

/// An entry of the log: alerts were linked to the incident.
#[derive(SimpleObject)]
pub(super) struct AlertsLinkedEntry {
    /// The kind of the entry.
    kind: EntryKind,
    /// The global ids of the alerts; usually a few, at most 5,000 by one mutation, and all alerts of an incident by a
    /// merge. `nodes(ids)` reads 100 at a time.
    alert_ids: Vec<ID>,
    /// The global ids of the incidents that some of the alerts belonged to before.
    moved_from_ids: Vec<ID>,
}

/// An entry of the log: alerts were unlinked from the incident.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct AlertsUnlinkedEntry {
    #[graphql(skip)]
    view: View,
    #[graphql(skip)]
    to: Option<IncidentId>,
    /// The kind of the entry.
    kind: EntryKind,
    /// The global ids of the alerts.
    alert_ids: Vec<ID>,
    /// The global id of the incident that the alerts moved to; null if they belong to no incident.
    moved_to_id: Option<ID>,
}

#[ComplexObject]
impl AlertsUnlinkedEntry {
    /// The incident that the alerts moved to, in its present state; null if they moved to no incident, or if it is
    /// deleted.
    async fn moved_to(&self) -> Result<Option<Incident>> {
        match self.to {
            Some(to) => Incident::find(&self.view, to).await,
            None => Ok(None),
        }
    }
}

/// An entry of the log: alerts changed, by hand, by a report of their provider, or with their incident.
#[derive(SimpleObject)]
pub(super) struct AlertsChangedEntry {
    /// The kind of the entry.
    kind: EntryKind,
    /// The changed alerts, each with its fields before and after.
    alerts: Vec<AlertDelta>,
}

/// An entry of the log: the incident was deleted.
#[derive(SimpleObject)]
pub(super) struct DeletedEntry {
    /// The kind of the entry.
    kind: EntryKind,
}

/// An entry of the log: the deletion of the incident was taken back.
#[derive(SimpleObject)]
pub(super) struct RestoredEntry {
    /// The kind of the entry.
    kind: EntryKind,
}

/// An entry of the log: a bookmark was added or removed.
pub(super) struct BookmarkEntry {
    view: View,
    action: BookmarkAction,
    bookmark: crate::domain::BookmarkId,
    title: String,
}

/// An entry of the log: a bookmark was added or removed.
#[Object]
impl BookmarkEntry {
    /// Always `BOOKMARK`.
    pub(crate) async fn kind(&self) -> EntryKind {
        EntryKind::Bookmark
    }

    /// What happened to the bookmark.
    async fn bookmark_action(&self) -> BookmarkAction {
        self.action
    }

    /// The global id of the bookmark.
    async fn bookmark_id(&self) -> ID {
        self.bookmark.to_string().into()
    }

    /// The title of the bookmark.
    async fn bookmark_title(&self) -> &str {
        &self.title
    }

    /// The bookmark in its present state, even if it is removed.
    async fn bookmark(&self) -> Result<Option<super::bookmark::Bookmark>> {
        let bookmark = self.view.load(self.bookmark).await?;
        Ok(bookmark.map(|bookmark| super::bookmark::Bookmark { view: self.view.clone(), bookmark }))
    }
}

/// One typed entry of a change: a field before and after the change, or a fact.
#[derive(Interface)]
#[expect(clippy::enum_variant_names, reason = "the variants are named after their types, which schemas show alone")]
#[graphql(field(name = "kind", ty = "EntryKind", desc = "The kind of the entry."))]
pub(super) enum ChangeEntry {
    /// The incident was created.
    CreatedEntry(CreatedEntry),
    /// The title, the description or the resolution note changed.
    TextEntry(TextEntry),
    /// The severity changed.
    SeverityEntry(SeverityEntry),
    /// The status changed.
    StatusEntry(StatusEntry),
    /// The classification changed.
    ClassificationEntry(ClassificationEntry),
    /// The owner changed.
    OwnerEntry(OwnerEntry),
    /// Tags were added or removed.
    TagsEntry(TagsEntry),
    /// The times of activity changed.
    ActivityEntry(ActivityEntry),
    /// A comment was written, edited or deleted.
    CommentEntry(CommentEntry),
    /// Alerts were linked to the incident.
    AlertsLinkedEntry(AlertsLinkedEntry),
    /// Alerts were unlinked from the incident.
    AlertsUnlinkedEntry(AlertsUnlinkedEntry),
    /// Alerts changed.
    AlertsChangedEntry(AlertsChangedEntry),
    /// The incident was deleted.
    DeletedEntry(DeletedEntry),
    /// The deletion of the incident was taken back.
    RestoredEntry(RestoredEntry),
    /// The incident was merged into another incident.
    MergedIntoEntry(MergedIntoEntry),
    /// Another incident was merged into this incident.
    MergedEntry(MergedEntry),
    /// A merge was undone.
    MergeUndoneEntry(MergeUndoneEntry),
    /// A bookmark was added or removed.
    BookmarkEntry(BookmarkEntry),
    /// An alert that belongs to no incident was reported.
    AlertReportedEntry(AlertReportedEntry),
    /// An alert left its incident and belongs to no incident.
    AlertFreedEntry(AlertFreedEntry),
}

impl ChangeEntry {
    pub(super) fn new(of: &TextOf, entry: &Entry) -> Self {
        let kind = entry.kind();
        let text = |field, before: Option<&IncidentText>, after: Option<&IncidentText>, generated| {
            let (before, after) = (before.cloned(), after.cloned());
            Self::TextEntry(TextEntry { kind, field, of: of.clone(), before, after, generated })
        };
        let ids = |alerts: &[crate::domain::AlertId]| alerts.iter().map(|id| id.to_string().into()).collect();
        let other = |id, number| Other { view: of.view.clone(), id, number };
        match entry {
            Entry::Created => Self::CreatedEntry(CreatedEntry { kind }),
            Entry::Title { before, after, generated } => {
                text(TextField::Title, before.as_ref(), Some(after), *generated)
            }
            Entry::Description { before, after } => {
                text(TextField::Description, before.as_ref(), after.as_ref(), false)
            }
            Entry::ResolutionNote { before, after } => text(TextField::Note, before.as_ref(), after.as_ref(), false),
            Entry::Severity { before, after, override_before, override_after } => Self::SeverityEntry(SeverityEntry {
                kind,
                severity_before: *before,
                severity_after: *after,
                override_before: *override_before,
                override_after: *override_after,
            }),
            Entry::Status { before, after } => {
                Self::StatusEntry(StatusEntry { kind, status_before: *before, status_after: *after })
            }
            Entry::Classification { before, after } => Self::ClassificationEntry(ClassificationEntry {
                kind,
                classification_before: before.map(Classification::from),
                classification_after: after.map(Classification::from),
            }),
            Entry::Owner { before, after } => Self::OwnerEntry(OwnerEntry {
                kind,
                owner_before: before.clone().map(Owner::from),
                owner_after: after.clone().map(Owner::from),
            }),
            Entry::Tags { added, removed } => Self::TagsEntry(TagsEntry {
                kind,
                added: added.iter().cloned().map(Tag::from).collect(),
                removed: removed.iter().cloned().map(Tag::from).collect(),
            }),
            Entry::Activity { first_before, first_after, last_before, last_after } => {
                Self::ActivityEntry(ActivityEntry {
                    kind,
                    first_activity_before: *first_before,
                    first_activity_after: *first_after,
                    last_activity_before: *last_before,
                    last_activity_after: *last_after,
                })
            }
            Entry::Comment { action, comment, sha256, .. } => Self::CommentEntry(CommentEntry {
                view: of.view.clone(),
                action: *action,
                comment: *comment,
                sha256: sha256.clone(),
            }),
            Entry::AlertsLinked { alerts, from, .. } => Self::AlertsLinkedEntry(AlertsLinkedEntry {
                kind,
                alert_ids: ids(alerts),
                moved_from_ids: from.iter().copied().map(global_id).collect(),
            }),
            Entry::AlertsUnlinked { alerts, to } => Self::AlertsUnlinkedEntry(AlertsUnlinkedEntry {
                view: of.view.clone(),
                to: *to,
                kind,
                alert_ids: ids(alerts),
                moved_to_id: to.map(global_id),
            }),
            Entry::AlertsChanged { alerts } => {
                let alerts = alerts.iter().map(AlertDelta::new).collect();
                Self::AlertsChangedEntry(AlertsChangedEntry { kind, alerts })
            }
            Entry::Deleted => Self::DeletedEntry(DeletedEntry { kind }),
            Entry::Restored => Self::RestoredEntry(RestoredEntry { kind }),
            Entry::MergedInto { target, number, comments, bookmarks, attachments } => Self::MergedIntoEntry(
                MergedIntoEntry::new(other(*target, *number), Moved::new(*comments, *bookmarks, *attachments)),
            ),
            Entry::Merged { source, number, comments, bookmarks, attachments, .. } => {
                let bookmarks = bookmarks.as_ref().map(|bookmarks| bookmarks.len() as u64);
                Self::MergedEntry(MergedEntry::new(
                    other(*source, *number),
                    Moved::new(*comments, bookmarks, *attachments),
                ))
            }
            Entry::MergeUndone { other: side, number, comments, bookmarks, attachments } => Self::MergeUndoneEntry(
                MergeUndoneEntry::new(other(*side, *number), Moved::new(*comments, *bookmarks, *attachments)),
            ),
            Entry::Bookmark { action, bookmark, title } => Self::BookmarkEntry(BookmarkEntry {
                view: of.view.clone(),
                action: *action,
                bookmark: *bookmark,
                title: title.clone(),
            }),
            Entry::AlertReported { title, severity, entities } => {
                Self::AlertReportedEntry(AlertReportedEntry::new(title, *severity, *entities))
            }
            Entry::AlertFreed { from } => Self::AlertFreedEntry(AlertFreedEntry::new(of.view.clone(), *from)),
        }
    }
}
