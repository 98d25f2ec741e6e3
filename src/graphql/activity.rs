//! The activity log: changes and their typed entries, each field before and after.

use async_graphql::connection::{Connection, EmptyFields};
use async_graphql::{Enum, ID, InputObject, Interface, Object, SimpleObject};
use uuid::Uuid;

use super::account::{Actor, Owner};
use super::alert_delta::AlertDelta;
use super::alert_log::{AlertChange, AlertFreedEntry, AlertReportedEntry};
use super::context::View;
use super::incident::Incident;
use super::loaders::{ChangeCount, StartOf};
use super::merge::{MergeUndoneEntry, MergedEntry, MergedIntoEntry, Moved};
use super::queue::{Classification, Heartbeat, Live, Resync, Tag};
use crate::domain::activity::Told;
use crate::domain::alert_log::Logged;
use crate::domain::change::{BookmarkAction, Cause as DomainCause, CauseKind, CommentAction, Entry, EntryKind};
use crate::domain::incident::{Severity, Status, TextField};
use crate::domain::position::Position;
use crate::domain::queue::Text;
use crate::domain::title::{SHOWN_CHARS, Shown};
use crate::domain::{Error, IncidentId, Instant, Result, UserId};
use crate::realtime::feed::{Event, Placed};
use crate::storage::ActivityFilter;

/// Audits, comments, or both (Microsoft, "Manage incidents", View the activity log: Content).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ActivityContent {
    /// Every entry that is not a comment.
    Audits,
    /// Comments written, edited and deleted.
    Comments,
}

/// Which changes of an activity log. All given conditions hold.
#[derive(Debug, Default, InputObject)]
pub struct ActivityInput {
    /// Audits or comments; both where none is given.
    pub content: Option<ActivityContent>,
    /// With an entry of one of these kinds.
    pub kinds: Option<Vec<EntryKind>>,
    /// By this user.
    pub actor: Option<ID>,
}

impl ActivityInput {
    /// The filter that the log is read with.
    pub fn read(self) -> Result<ActivityFilter> {
        let content: Option<Vec<EntryKind>> = self.content.map(|content| match content {
            ActivityContent::Comments => vec![EntryKind::Comment],
            ActivityContent::Audits => AUDITS.to_vec(),
        });
        let kinds = match (content, self.kinds) {
            (Some(content), Some(kinds)) => Some(kinds.into_iter().filter(|kind| content.contains(kind)).collect()),
            (content, kinds) => content.or(kinds),
        };
        let actor = self.actor.map(|id| super::connection::read_id("filter.actor", &id, "user", UserId::parse));
        Ok(ActivityFilter { kinds, actor: actor.transpose()?, up_to: None })
    }
}

/// Every kind of entry that is not a comment.
const AUDITS: [EntryKind; 20] = [
    EntryKind::Created,
    EntryKind::Title,
    EntryKind::Description,
    EntryKind::Severity,
    EntryKind::Status,
    EntryKind::ResolutionNote,
    EntryKind::Classification,
    EntryKind::Owner,
    EntryKind::Tags,
    EntryKind::Activity,
    EntryKind::AlertsLinked,
    EntryKind::AlertsUnlinked,
    EntryKind::AlertsChanged,
    EntryKind::Deleted,
    EntryKind::MergedInto,
    EntryKind::Merged,
    EntryKind::MergeUndone,
    EntryKind::Bookmark,
    EntryKind::AlertReported,
    EntryKind::AlertFreed,
];

/// What brought a change about.
#[derive(SimpleObject)]
pub struct Cause {
    /// The kind.
    kind: CauseKind,
    /// The mutation, or the format of the import.
    name: String,
    /// The bulk job: the same of every change that it makes.
    job_id: Option<ID>,
}

impl From<&DomainCause> for Cause {
    fn from(cause: &DomainCause) -> Self {
        Self { kind: cause.kind, name: cause.name.clone(), job_id: cause.job.map(|job| job.to_string().into()) }
    }
}

/// The net effect of one transaction on one incident: when, who, why, and what, field by field.
pub struct Change {
    view: View,
    /// The life of the log, where it was given with the change; else it is that of the view.
    epoch: Option<Uuid>,
    change: Box<Told>,
}

impl Change {
    /// A change read through a view.
    pub fn new(view: View, change: Told) -> Self {
        Self { view, epoch: None, change: Box::new(change) }
    }
}

/// The net effect of one transaction on one incident: when, who, why, and what, field by field.
#[Object]
impl Change {
    /// Its place in the log: give it to `activityLog` as `after` to go on from here.
    async fn position(&self) -> Result<String> {
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.view.head().await?.epoch,
        };
        let (offset, check) = (self.change.offset, self.change.check);
        Ok(Position { epoch, offset, check, queue: None }.to_string())
    }

    /// The incident's version after it.
    async fn version(&self) -> u64 {
        self.change.version
    }

    /// When.
    async fn at(&self) -> Instant {
        self.change.body.at
    }

    /// Who, named as then.
    async fn actor(&self) -> Actor {
        self.change.body.actor.clone().into()
    }

    /// Why.
    async fn cause(&self) -> Cause {
        Cause::from(&self.change.body.cause)
    }

    /// The transaction that it belongs to: a move changes two incidents in one.
    async fn transaction_id(&self) -> ID {
        self.change.body.transaction.to_string().into()
    }

    /// Whether it is the last change of its transaction.
    async fn last(&self) -> bool {
        self.change.body.last
    }

    /// What the client called its mutation.
    async fn client_mutation_id(&self) -> Option<&str> {
        self.change.body.client_mutation_id.as_deref()
    }

    /// The incident that changed.
    async fn incident_id(&self) -> ID {
        super::incident::global_id(self.change.incident)
    }

    /// The number of the incident that changed.
    async fn incident_number(&self) -> i64 {
        self.change.body.row.number
    }

    /// The incident as it stands now; null once it is deleted.
    async fn incident(&self) -> Result<Option<Incident>> {
        let incident = self.view.incident(self.change.incident).await?;
        Ok(incident.map(|incident| Incident::new(self.view.clone(), incident)))
    }

    /// What changed.
    async fn entries(&self) -> Vec<ChangeEntry> {
        let of = TextOf { view: self.view.clone(), incident: Some(self.change.incident) };
        self.change.body.entries.iter().map(|entry| ChangeEntry::new(&of, entry)).collect()
    }
}

/// Whose texts an entry may speak of: those of an incident, or of none in the own log of an alert.
#[derive(Clone)]
pub(super) struct TextOf {
    pub(super) view: View,
    pub(super) incident: Option<IncidentId>,
}

impl TextOf {
    async fn shown(&self, field: TextField, text: Option<&Text>) -> Result<Option<String>> {
        match text {
            None => Ok(None),
            Some(Text::Inline(text)) => Ok(Some(text.clone())),
            Some(Text::Stored { version, .. }) => {
                let missing = || Error::fault("reading a long text of a change", "it is missing");
                let text = match (self.incident.ok_or_else(missing)?, field, *version) {
                    key @ (_, TextField::Title, _) => self.view.load(StartOf(key)).await?.map(|it| Shown::of(&it).text),
                    key => self.view.load(key).await?,
                };
                text.map(Some).ok_or_else(missing)
            }
        }
    }
}

fn goes_on(field: TextField, text: Option<&Text>) -> bool {
    field == TextField::Title && matches!(text, Some(Text::Stored { chars, .. }) if *chars > SHOWN_CHARS as u64)
}

/// The incident was made.
#[derive(SimpleObject)]
pub struct CreatedEntry {
    /// What the entry is about.
    kind: EntryKind,
}

/// A text changed: title, description or resolution note, as `kind` says.
pub struct TextEntry {
    kind: EntryKind,
    field: TextField,
    of: TextOf,
    before: Option<Text>,
    after: Option<Text>,
    generated: bool,
}

/// A text changed: title, description or resolution note, as `kind` says.
#[Object]
impl TextEntry {
    /// Which text.
    pub(crate) async fn kind(&self) -> EntryKind {
        self.kind
    }

    /// Before; null where there was none. Of a title its first 1,000 characters.
    async fn text_before(&self) -> Result<Option<String>> {
        self.of.shown(self.field, self.before.as_ref()).await
    }

    /// After; null where it was taken away. Of a title its first 1,000 characters.
    async fn text_after(&self) -> Result<Option<String>> {
        self.of.shown(self.field, self.after.as_ref()).await
    }

    /// Whether the text before goes on, as a title may.
    async fn text_before_truncated(&self) -> bool {
        goes_on(self.field, self.before.as_ref())
    }

    /// Likewise of the text after.
    async fn text_after_truncated(&self) -> bool {
        goes_on(self.field, self.after.as_ref())
    }

    /// Whether the desk made it from the alerts: true for generated titles only.
    async fn generated(&self) -> bool {
        self.generated
    }
}

/// The severity changed.
#[derive(SimpleObject)]
pub struct SeverityEntry {
    /// What the entry is about.
    kind: EntryKind,
    /// The effective severity before.
    severity_before: Option<Severity>,
    /// The effective severity after.
    severity_after: Severity,
    /// What a person had set before.
    override_before: Option<Severity>,
    /// What a person has set after.
    override_after: Option<Severity>,
}

/// The status changed.
#[derive(SimpleObject)]
pub struct StatusEntry {
    /// What the entry is about.
    kind: EntryKind,
    /// Before.
    status_before: Option<Status>,
    /// After.
    status_after: Status,
}

/// The classification changed.
#[derive(SimpleObject)]
pub struct ClassificationEntry {
    /// What the entry is about.
    kind: EntryKind,
    /// Before.
    classification_before: Option<Classification>,
    /// After.
    classification_after: Option<Classification>,
}

/// The owner changed.
#[derive(SimpleObject)]
pub struct OwnerEntry {
    /// What the entry is about.
    kind: EntryKind,
    /// Before, named as then.
    owner_before: Option<Owner>,
    /// After, named as then.
    owner_after: Option<Owner>,
}

/// Tags came and went.
#[derive(SimpleObject)]
pub struct TagsEntry {
    /// What the entry is about.
    kind: EntryKind,
    /// Those that came.
    added: Vec<Tag>,
    /// Those that went.
    removed: Vec<Tag>,
}

/// The times of activity changed.
#[derive(SimpleObject)]
pub struct ActivityEntry {
    /// What the entry is about.
    kind: EntryKind,
    /// First activity before.
    first_activity_before: Option<Instant>,
    /// First activity after.
    first_activity_after: Option<Instant>,
    /// Last activity before.
    last_activity_before: Option<Instant>,
    /// Last activity after.
    last_activity_after: Option<Instant>,
}

/// A comment was written, edited or deleted.
pub struct CommentEntry {
    view: View,
    action: CommentAction,
    comment: crate::domain::CommentId,
    sha256: Option<String>,
}

/// A comment was written, edited or deleted.
#[Object]
impl CommentEntry {
    /// `COMMENT`.
    pub(crate) async fn kind(&self) -> EntryKind {
        EntryKind::Comment
    }

    /// What happened to it.
    async fn action(&self) -> CommentAction {
        self.action
    }

    /// The comment's global id.
    async fn comment_id(&self) -> ID {
        self.comment.to_string().into()
    }

    /// The SHA-256 of the text that was set, in hexadecimal: the log covers the text by it.
    async fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// The comment as it stands, deleted or not.
    async fn comment(&self) -> Result<Option<super::comment::Comment>> {
        let comment = self.view.load(self.comment).await?;
        Ok(comment.map(|comment| super::comment::Comment { view: self.view.clone(), comment }))
    }
}

/// Alerts came to the incident.
#[derive(SimpleObject)]
pub struct AlertsLinkedEntry {
    /// What the entry is about.
    kind: EntryKind,
    /// Their global ids.
    alert_ids: Vec<ID>,
    /// The incidents that held some of them before.
    moved_from: Vec<ID>,
}

/// Alerts left the incident.
#[derive(SimpleObject)]
pub struct AlertsUnlinkedEntry {
    /// What the entry is about.
    kind: EntryKind,
    /// Their global ids.
    alert_ids: Vec<ID>,
    /// The incident that holds them now.
    moved_to: Option<ID>,
}

/// Alerts changed: by hand, by their provider, or with the incident that holds them.
#[derive(SimpleObject)]
pub struct AlertsChangedEntry {
    /// What the entry is about.
    kind: EntryKind,
    /// Each with its fields before and after.
    alerts: Vec<AlertDelta>,
}

/// The incident was deleted.
#[derive(SimpleObject)]
pub struct DeletedEntry {
    /// What the entry is about.
    kind: EntryKind,
}

/// A bookmark was added or removed.
pub struct BookmarkEntry {
    view: View,
    action: BookmarkAction,
    bookmark: crate::domain::BookmarkId,
    title: String,
}

/// A bookmark was added or removed.
#[Object]
impl BookmarkEntry {
    /// `BOOKMARK`.
    pub(crate) async fn kind(&self) -> EntryKind {
        EntryKind::Bookmark
    }

    /// What happened to it.
    async fn bookmark_action(&self) -> BookmarkAction {
        self.action
    }

    /// The bookmark's global id.
    async fn bookmark_id(&self) -> ID {
        self.bookmark.to_string().into()
    }

    /// The bookmark's title.
    async fn bookmark_title(&self) -> &str {
        &self.title
    }

    /// The bookmark as it stands, removed or not.
    async fn bookmark(&self) -> Result<Option<super::bookmark::Bookmark>> {
        let bookmark = self.view.load(self.bookmark).await?;
        Ok(bookmark.map(|bookmark| super::bookmark::Bookmark { view: self.view.clone(), bookmark }))
    }
}

/// One typed entry of a change: a field before and after, or a fact.
#[derive(Interface)]
#[expect(clippy::enum_variant_names, reason = "the variants are named after their types, which schemas show alone")]
#[graphql(field(name = "kind", ty = "EntryKind", desc = "What the entry is about."))]
pub enum ChangeEntry {
    /// Made.
    CreatedEntry(CreatedEntry),
    /// Title, description or resolution note.
    TextEntry(TextEntry),
    /// Severity.
    SeverityEntry(SeverityEntry),
    /// Status.
    StatusEntry(StatusEntry),
    /// Classification.
    ClassificationEntry(ClassificationEntry),
    /// Owner.
    OwnerEntry(OwnerEntry),
    /// Tags.
    TagsEntry(TagsEntry),
    /// Times of activity.
    ActivityEntry(ActivityEntry),
    /// A comment.
    CommentEntry(CommentEntry),
    /// Alerts came.
    AlertsLinkedEntry(AlertsLinkedEntry),
    /// Alerts went.
    AlertsUnlinkedEntry(AlertsUnlinkedEntry),
    /// Alerts changed.
    AlertsChangedEntry(AlertsChangedEntry),
    /// Deleted.
    DeletedEntry(DeletedEntry),
    /// Merged into another.
    MergedIntoEntry(MergedIntoEntry),
    /// Another was merged into it.
    MergedEntry(MergedEntry),
    /// A merge was undone.
    MergeUndoneEntry(MergeUndoneEntry),
    /// A bookmark.
    BookmarkEntry(BookmarkEntry),
    /// An alert that no incident holds was reported.
    AlertReportedEntry(AlertReportedEntry),
    /// An alert left its incident for none.
    AlertFreedEntry(AlertFreedEntry),
}

impl ChangeEntry {
    pub(super) fn new(of: &TextOf, entry: &Entry) -> Self {
        let kind = entry.kind();
        let text = |field, before: Option<&Text>, after: Option<&Text>, generated| {
            let (before, after) = (before.cloned(), after.cloned());
            Self::TextEntry(TextEntry { kind, field, of: of.clone(), before, after, generated })
        };
        let ids = |alerts: &[crate::domain::AlertId]| alerts.iter().map(|id| id.to_string().into()).collect();
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
                moved_from: from.iter().map(|id| id.to_string().into()).collect(),
            }),
            Entry::AlertsUnlinked { alerts, to } => Self::AlertsUnlinkedEntry(AlertsUnlinkedEntry {
                kind,
                alert_ids: ids(alerts),
                moved_to: to.map(|id| id.to_string().into()),
            }),
            Entry::AlertsChanged { alerts } => {
                Self::AlertsChangedEntry(AlertsChangedEntry { kind, alerts: alerts.iter().map(From::from).collect() })
            }
            Entry::Deleted => Self::DeletedEntry(DeletedEntry { kind }),
            Entry::MergedInto { target, number, comments, bookmarks, attachments } => Self::MergedIntoEntry(
                MergedIntoEntry::new(*target, *number, Moved::new(*comments, *bookmarks, *attachments)),
            ),
            Entry::Merged { source, number, comments, bookmarks, attachments, .. } => {
                let bookmarks = bookmarks.as_ref().map(|bookmarks| bookmarks.len() as u64);
                Self::MergedEntry(MergedEntry::new(*source, *number, Moved::new(*comments, bookmarks, *attachments)))
            }
            Entry::MergeUndone { other, number, comments, bookmarks, attachments } => Self::MergeUndoneEntry(
                MergeUndoneEntry::new(*other, *number, Moved::new(*comments, *bookmarks, *attachments)),
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
            Entry::AlertFreed { from } => Self::AlertFreedEntry(AlertFreedEntry::new(*from)),
        }
    }
}

/// What an activity log says beside its changes.
pub struct ChangeConnectionFields {
    view: View,
    incident: IncidentId,
    filter: ActivityFilter,
}

impl ChangeConnectionFields {
    /// The log of one incident through a filter.
    pub fn new(view: View, incident: IncidentId, filter: ActivityFilter) -> Self {
        Self { view, incident, filter }
    }
}

/// What an activity log says beside its changes.
#[Object]
impl ChangeConnectionFields {
    /// How many changes the filter meets, exactly.
    async fn total_count(&self) -> Result<u64> {
        let counted = self.view.load(ChangeCount(self.incident, self.filter.clone())).await?;
        Ok(counted.unwrap_or(0))
    }
}

/// A page of an activity log.
pub type ChangeConnection = Connection<String, Change, ChangeConnectionFields, EmptyFields>;

/// A change of an incident, as the stream of the log delivers it.
#[derive(SimpleObject)]
pub struct ActivityChange {
    /// Its place in the log: give it as `after` to go on from here.
    position: String,
    /// The change.
    change: Change,
}

/// A change of an alert that no incident holds, as the stream of the log delivers it. Only the stream of the whole desk has them.
#[derive(SimpleObject)]
pub struct ActivityAlertChange {
    /// Its place in the log: give it as `after` to go on from here.
    position: String,
    /// The change.
    alert_change: AlertChange,
}

/// An item of the log's stream. Changes ascend strictly by position; markers may repeat one.
#[derive(Interface)]
#[graphql(field(name = "position", ty = "&String", desc = "The item's place in the log."))]
pub enum ActivityItem {
    /// A change of an incident.
    ActivityChange(ActivityChange),
    /// A change of an alert that no incident holds.
    ActivityAlertChange(ActivityAlertChange),
    /// All up to here was sent.
    Heartbeat(Heartbeat),
    /// The backlog is done.
    Live(Live),
    /// The stream ends here.
    Resync(Resync),
}

impl ActivityItem {
    /// An event of a feed, as the API says it; `view` is of the moment of the event.
    pub fn new(placed: Placed<Logged>, view: View) -> Self {
        let position = placed.position.to_string();
        match placed.event {
            Event::Heartbeat => Self::Heartbeat(Heartbeat { position }),
            Event::Live => Self::Live(Live { position, filter: None }),
            Event::Resync(reason) => Self::Resync(Resync { position, resync_reason: reason }),
            Event::Item(Logged::Alert(change)) => {
                let alert_change = AlertChange::new(view, placed.position.epoch, change);
                Self::ActivityAlertChange(ActivityAlertChange { position, alert_change })
            }
            Event::Item(Logged::Incident(change)) => {
                let (epoch, change) = (Some(placed.position.epoch), Box::new(Told::from(&*change)));
                let change = Change { view, epoch, change };
                Self::ActivityChange(ActivityChange { position, change })
            }
        }
    }
}
