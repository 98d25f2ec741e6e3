//! The activity log: its filter, its changes, and the items of its stream.

use async_graphql::connection::{Connection, EmptyFields};
use async_graphql::resolver_utils::EnumType;
use async_graphql::{Enum, ID, InputObject, Interface, Object, SimpleObject};
use uuid::Uuid;

use super::account::Actor;
use super::alert_log::AlertChange;
use super::context::View;
use super::entry::{ChangeEntry, TextOf};
use super::incident::Incident;
use super::loaders::ChangeCount;
use super::queue::{Heartbeat, Live, Resync};
use crate::domain::activity::ToldChange;
use crate::domain::alert_log::Logged;
use crate::domain::change::{Cause as DomainCause, CauseKind, EntryKind};
use crate::domain::position::Position;
use crate::domain::{IncidentId, Instant, Result, UserId};
use crate::realtime::feed::{Event, EventAt};
use crate::storage::ActivityFilter;

/// The content of an activity log: audits or comments (Microsoft, "Manage incidents", View the activity log: Content).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ActivityContent {
    /// All entries that are not about a comment.
    Audits,
    /// The entries about comments that were written, edited or deleted.
    Comments,
}

/// A filter of the changes of an activity log. All given fields must match. An empty list of kinds matches no change.
#[derive(Debug, Default, InputObject)]
pub(super) struct ActivityInput {
    /// Only audits or only comments. Without it, both match.
    pub content: Option<ActivityContent>,
    /// The change has an entry of one of these kinds.
    pub kinds: Option<Vec<EntryKind>>,
    /// The global id of the user who made the change.
    pub actor: Option<ID>,
}

impl ActivityInput {
    /// Reads the filter for the store.
    pub(super) fn read(self) -> Result<ActivityFilter> {
        let content: Option<Vec<EntryKind>> = self.content.map(|content| match content {
            ActivityContent::Comments => vec![EntryKind::Comment],
            ActivityContent::Audits => audits(),
        });
        let kinds = match (content, self.kinds) {
            (Some(content), Some(kinds)) => Some(kinds.into_iter().filter(|kind| content.contains(kind)).collect()),
            (content, kinds) => content.or(kinds),
        };
        let actor = self.actor.map(|id| super::connection::read_id("filter.actor", &id, "user", UserId::parse));
        Ok(ActivityFilter { kinds, actor: actor.transpose()?, up_to: None })
    }
}

/// Returns all kinds of entries that are not about a comment.
fn audits() -> Vec<EntryKind> {
    EntryKind::items().iter().map(|item| item.value).filter(|kind| *kind != EntryKind::Comment).collect()
}

/// The cause of a change.
#[derive(SimpleObject)]
pub(super) struct Cause {
    /// The kind of the cause.
    kind: CauseKind,
    /// The name of the mutation, or the format of the import.
    name: String,
    /// The global id of the bulk job that made the change; null unless the kind is `BULK`.
    job_id: Option<ID>,
}

impl From<&DomainCause> for Cause {
    fn from(cause: &DomainCause) -> Self {
        Self { kind: cause.kind, name: cause.name.clone(), job_id: cause.job.map(|job| job.to_string().into()) }
    }
}

/// A change of an incident: the net effect of one transaction on the incident.
pub(super) struct Change {
    view: View,
    /// The epoch of the log. `None`: the change is of the epoch that the view's snapshot has.
    epoch: Option<Uuid>,
    change: Box<ToldChange>,
}

impl Change {
    /// Builds a change that is read through `view`.
    pub(super) fn new(view: View, change: ToldChange) -> Self {
        Self { view, epoch: None, change: Box::new(change) }
    }
}

/// A change of an incident: the net effect of one transaction on the incident.
#[Object]
impl Change {
    /// The position of the change in the log. Pass it to the subscription `activityLog` as `after` to resume from here.
    async fn position(&self) -> Result<String> {
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.view.head().await?.epoch,
        };
        let (offset, check) = (self.change.offset, self.change.check);
        Ok(Position { epoch, offset, check, queue: None }.to_string())
    }

    /// The version of the incident after the change.
    async fn version(&self) -> u64 {
        self.change.version
    }

    /// When the change happened.
    async fn at(&self) -> Instant {
        self.change.body.at
    }

    /// The actor of the change, with the name at that time.
    async fn actor(&self) -> Actor {
        self.change.body.actor.clone().into()
    }

    /// What caused the change: the mutation, import or job.
    async fn cause(&self) -> Cause {
        Cause::from(&self.change.body.cause)
    }

    /// The id of the transaction. One transaction may change several incidents, for example when an alert moves between
    /// two.
    async fn transaction_id(&self) -> ID {
        self.change.body.transaction.to_string().into()
    }

    /// Whether the change is the last change of its transaction. A filtered log may leave out that last change, so do
    /// not wait for it.
    async fn last(&self) -> bool {
        self.change.body.last
    }

    /// The `clientMutationId` of the mutation that made the change.
    async fn client_mutation_id(&self) -> Option<&str> {
        self.change.body.client_mutation_id.as_deref()
    }

    /// The global id of the incident.
    async fn incident_id(&self) -> ID {
        super::incident::global_id(self.change.incident)
    }

    /// The number of the incident.
    async fn incident_number(&self) -> i64 {
        self.change.body.row.number
    }

    /// The incident in its present state; null if it is deleted.
    async fn incident(&self) -> Result<Option<Incident>> {
        Incident::find(&self.view, self.change.incident).await
    }

    /// The entries of the change: each names a field before and after, or a fact.
    async fn entries(&self) -> Vec<ChangeEntry> {
        let of = TextOf { view: self.view.clone(), incident: Some(self.change.incident) };
        self.change.body.entries.iter().map(|entry| ChangeEntry::new(&of, entry)).collect()
    }
}

/// The fields of an activity log beside its changes.
pub(super) struct ChangeConnectionFields {
    view: View,
    incident: IncidentId,
    filter: ActivityFilter,
}

impl ChangeConnectionFields {
    /// Builds the fields for the log of one incident, through a filter.
    pub(super) fn new(view: View, incident: IncidentId, filter: ActivityFilter) -> Self {
        Self { view, incident, filter }
    }
}

/// The fields of an activity log beside its changes.
#[Object]
impl ChangeConnectionFields {
    /// The exact number of changes that match the filter.
    async fn total_count(&self) -> Result<u64> {
        let counted = self.view.load(ChangeCount(self.incident, self.filter.clone())).await?;
        Ok(counted.unwrap_or(0))
    }
}

/// A page of an activity log.
pub(super) type ChangeConnection = Connection<String, Change, ChangeConnectionFields, EmptyFields>;

/// An item of the log's stream: a change of an incident.
#[derive(SimpleObject)]
pub(super) struct ActivityChange {
    /// The position of the change in the log. Pass it as `after` to resume from here.
    position: String,
    /// The change of the incident.
    change: Change,
}

/// An item of the log's stream: a change of an alert that belongs to no incident. Only the stream of the whole desk has
/// such items, not the stream of one incident.
#[derive(SimpleObject)]
pub(super) struct ActivityAlertChange {
    /// The position of the change in the log. Pass it as `after` to resume from here.
    position: String,
    /// The change of the alert.
    alert_change: AlertChange,
}

/// An item of the log's stream: `ActivityChange`, `ActivityAlertChange`, or a marker (`Live`, `Heartbeat`, `Resync`).
/// Each change has a later position than the item before it; a marker may repeat a position.
#[derive(Interface)]
#[graphql(field(
    name = "position",
    ty = "&String",
    desc = "The position of the item in the log. Pass it as `after` to resume from here, unless the item is a `Resync`."
))]
pub(super) enum ActivityItem {
    /// A change of an incident.
    ActivityChange(ActivityChange),
    /// A change of an alert that belongs to no incident.
    ActivityAlertChange(ActivityAlertChange),
    /// Everything up to this position was sent.
    Heartbeat(Heartbeat),
    /// The backlog was sent.
    Live(Live),
    /// The stream ends here.
    Resync(Resync),
}

impl ActivityItem {
    /// Builds the item of an event. `view` is of the moment of the event.
    pub(super) fn new(placed: EventAt<Logged>, view: View) -> Self {
        let position = placed.position.to_string();
        match placed.event {
            Event::Heartbeat => Self::Heartbeat(Heartbeat { position }),
            Event::Live => Self::Live(Live { position, filter: None, holds_set: None }),
            Event::Resync(reason) => Self::Resync(Resync { position, resync_reason: reason }),
            Event::Item(Logged::Alert(change)) => {
                let alert_change = AlertChange::new(view, placed.position.epoch, change);
                Self::ActivityAlertChange(ActivityAlertChange { position, alert_change })
            }
            Event::Item(Logged::Incident(change)) => {
                let (epoch, change) = (Some(placed.position.epoch), Box::new(ToldChange::from(&*change)));
                let change = Change { view, epoch, change };
                Self::ActivityChange(ActivityChange { position, change })
            }
        }
    }
}
