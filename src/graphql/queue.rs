//! Queues: the fields that a row shows, in queries and in streams, and the items of the stream of a queue.

use std::ops::Deref;

use async_graphql::{Enum, ID, Interface, Object, SimpleObject};

use super::account::Owner;
use super::at_once::{AllAtOnce, AtHand, AtOnce};
use crate::domain::Instant;
use crate::domain::change::EnteredReason;
use crate::domain::classification::{
    Classification as Pair, ClassificationKind, ExpectedActivity, FalsePositiveReason, Threat,
};
use crate::domain::filter::IncidentFilter;
use crate::domain::incident::{Severity, Status};
use crate::domain::queue::{QueueField, QueueRow as Row};
use crate::domain::tag::{Tag as DomainTag, TagKind};
use crate::domain::title::ShownTitle;
use crate::realtime::feed::{Event, EventAt, Left, LiveRow, Movement, QueueEvent};

/// A classification: what an incident or alert turned out to be, with its threat, activity or reason.
#[derive(SimpleObject)]
pub(super) struct Classification {
    /// The kind. It decides which of the other fields is set.
    kind: ClassificationKind,
    /// The threat; null unless the kind is `TRUE_POSITIVE`.
    threat: Option<Threat>,
    /// The activity; null unless the kind is `INFORMATIONAL_EXPECTED_ACTIVITY`.
    activity: Option<ExpectedActivity>,
    /// The reason; null unless the kind is `FALSE_POSITIVE`.
    reason: Option<FalsePositiveReason>,
}

impl From<Pair> for Classification {
    fn from(pair: Pair) -> Self {
        Self { kind: pair.kind(), threat: pair.threat(), activity: pair.activity(), reason: pair.reason() }
    }
}

/// A tag on an incident.
#[derive(SimpleObject)]
pub(super) struct Tag {
    /// The name of the tag, in the case in which it was first written on this desk.
    name: String,
    /// The kind: custom, or one of the kinds of system tags.
    kind: TagKind,
}

impl From<DomainTag> for Tag {
    fn from(tag: DomainTag) -> Self {
        Self { name: tag.name, kind: tag.kind }
    }
}

impl AtHand for Classification {
    type Fields = Self;

    fn at_hand(&self) -> &Self {
        self
    }
}

impl AtHand for Tag {
    type Fields = Self;

    fn at_hand(&self) -> &Self {
        self
    }
}

/// The fields that `Incident`, `QueueRow` and `IncidentAsOf` share. They are flattened into all three.
pub(super) struct IncidentFields {
    row: Row,
    title: ShownTitle,
}

impl IncidentFields {
    /// Builds the fields from a row and its title.
    pub(super) fn new(row: Row, title: ShownTitle) -> Self {
        Self { row, title }
    }
}

/// The fields that `Incident`, `QueueRow` and `IncidentAsOf` share. They are flattened into all three.
#[Object]
impl IncidentFields {
    /// The incident's global id.
    pub(crate) async fn id(&self) -> ID {
        self.row.id.to_string().into()
    }

    /// The number of the incident. Numbers are sequential and unique, and are never reused.
    pub(crate) async fn number(&self) -> i64 {
        self.row.number
    }

    /// The number as people write it: `INC-<number>`.
    pub(crate) async fn reference(&self) -> String {
        format!("INC-{}", self.row.number)
    }

    /// The version: the number of changes that the incident has had.
    pub(crate) async fn version(&self) -> u64 {
        self.row.version
    }

    /// The first 1,000 characters of the title. `Incident.fullTitle` has the whole title.
    pub(crate) async fn title(&self) -> &str {
        &self.title.text
    }

    /// Whether the title is longer than the 1,000 characters that `title` shows.
    pub(crate) async fn title_truncated(&self) -> bool {
        self.title.truncated
    }

    /// The effective severity: the override if a person has set one, else the computed severity.
    pub(crate) async fn severity(&self) -> Severity {
        self.row.severity()
    }

    /// The computed severity: the highest severity of the incident's alerts; `MEDIUM` if it has no alerts.
    pub(crate) async fn computed_severity(&self) -> Severity {
        self.row.computed_severity
    }

    /// The severity that a person has set; null if the computed severity holds.
    pub(crate) async fn severity_override(&self) -> Option<Severity> {
        self.row.severity_override
    }

    /// The status of the incident.
    pub(crate) async fn status(&self) -> Status {
        self.row.status
    }

    /// The classification: what the incident turned out to be. Null if it is not classified.
    pub(crate) async fn classification(&self) -> Option<AtOnce<Classification>> {
        self.row.classification.map(|pair| AtOnce(pair.into()))
    }

    /// The user or group that owns the incident; null if it is unassigned.
    pub(crate) async fn owner(&self) -> Option<AtOnce<Owner>> {
        self.row.owner.clone().map(|owner| AtOnce(owner.into()))
    }

    /// The tags, custom tags first, then ordered by name; at most 100.
    pub(crate) async fn tags(&self) -> AllAtOnce<Tag> {
        AllAtOnce(self.row.tags.iter().cloned().map(Tag::from).collect())
    }

    /// How many alerts belong to the incident.
    pub(crate) async fn alert_count(&self) -> u64 {
        self.row.alert_count
    }

    /// How many comments the incident has. Deleted comments do not count.
    pub(crate) async fn comment_count(&self) -> u64 {
        self.row.comment_count
    }

    /// Whether an alert of the incident is not resolved. On a desk that was upgraded from a version without this field,
    /// it is false until the alerts or the status of the incident change.
    pub(crate) async fn has_active_alerts(&self) -> bool {
        self.row.has_active_alerts
    }

    /// The products of the incident's alerts, ordered by name. Empty for an incident that was made by hand and has no
    /// alerts.
    pub(crate) async fn products(&self) -> &[String] {
        &self.row.products
    }

    /// The providers of the incident's alerts, ordered by name.
    pub(crate) async fn providers(&self) -> &[String] {
        &self.row.providers
    }

    /// When the incident was created.
    pub(crate) async fn created_at(&self) -> Instant {
        self.row.created_at
    }

    /// When the incident last changed.
    pub(crate) async fn updated_at(&self) -> Instant {
        self.row.updated_at
    }

    /// When the activity began: the time that a caller gave, or the earliest time of the alerts if that is earlier.
    /// Null if neither is known.
    pub(crate) async fn first_activity_at(&self) -> Option<Instant> {
        self.row.first_activity_at
    }

    /// When the activity ended: the time that a caller gave, or the latest time of the alerts if that is later. Null if
    /// neither is known.
    pub(crate) async fn last_activity_at(&self) -> Option<Instant> {
        self.row.last_activity_at
    }

    /// When the incident first had an owner; null if it never had an owner.
    pub(crate) async fn first_assigned_at(&self) -> Option<Instant> {
        self.row.first_assigned_at
    }

    /// When the incident was resolved; null unless its status is `RESOLVED`.
    pub(crate) async fn resolved_at(&self) -> Option<Instant> {
        self.row.resolved_at
    }

    /// The global id of the incident that this incident was merged into; null if it was not merged.
    pub(crate) async fn redirected_to_id(&self) -> Option<ID> {
        self.row.redirected_to.map(|id| id.to_string().into())
    }
}

/// The fields of an incident that a queue shows. `Incident` (queries), `QueueRow` (streams) and `IncidentAsOf` (the
/// past) implement it, so that one fragment serves all.
#[derive(Interface)]
#[graphql(
    field(name = "id", ty = "ID", desc = "The incident's global id."),
    field(
        name = "number",
        ty = "i64",
        desc = "The number of the incident. Numbers are sequential and unique, and are never reused."
    ),
    field(name = "reference", ty = "String", desc = "The number as people write it: `INC-<number>`."),
    field(name = "version", ty = "u64", desc = "The version: the number of changes that the incident has had."),
    field(
        name = "title",
        ty = "&str",
        desc = "The first 1,000 characters of the title. `Incident.fullTitle` has the whole title."
    ),
    field(
        name = "title_truncated",
        ty = "bool",
        desc = "Whether the title is longer than the 1,000 characters that `title` shows."
    ),
    field(
        name = "severity",
        ty = "Severity",
        desc = "The effective severity: the override if a person has set one, else the computed severity."
    ),
    field(
        name = "computed_severity",
        ty = "Severity",
        desc = "The computed severity: the highest severity of the incident's alerts; `MEDIUM` if it has no alerts."
    ),
    field(
        name = "severity_override",
        ty = "Option<Severity>",
        desc = "The severity that a person has set; null if the computed severity holds."
    ),
    field(name = "status", ty = "Status", desc = "The status of the incident."),
    field(
        name = "classification",
        ty = "Option<AtOnce<Classification>>",
        desc = "The classification: what the incident turned out to be. Null if it is not classified."
    ),
    field(
        name = "owner",
        ty = "Option<AtOnce<Owner>>",
        desc = "The user or group that owns the incident; null if it is unassigned."
    ),
    field(
        name = "tags",
        ty = "AllAtOnce<Tag>",
        desc = "The tags, custom tags first, then ordered by name; at most 100."
    ),
    field(name = "alert_count", ty = "u64", desc = "How many alerts belong to the incident."),
    field(
        name = "comment_count",
        ty = "u64",
        desc = "How many comments the incident has. Deleted comments do not count."
    ),
    field(
        name = "has_active_alerts",
        ty = "bool",
        desc = "Whether an alert of the incident is not resolved. On a desk that was upgraded from a version without \
        this field, it is false until the alerts or the status of the incident change."
    ),
    field(
        name = "products",
        ty = "&[String]",
        desc = "The products of the incident's alerts, ordered by name. Empty for an incident that was made by hand and has no alerts."
    ),
    field(name = "providers", ty = "&[String]", desc = "The providers of the incident's alerts, ordered by name."),
    field(name = "created_at", ty = "Instant", desc = "When the incident was created."),
    field(name = "updated_at", ty = "Instant", desc = "When the incident last changed."),
    field(
        name = "first_activity_at",
        ty = "Option<Instant>",
        desc = "When the activity began: the time that a caller gave, or the earliest time of the alerts if that is \
        earlier. Null if neither is known."
    ),
    field(
        name = "last_activity_at",
        ty = "Option<Instant>",
        desc = "When the activity ended: the time that a caller gave, or the latest time of the alerts if that is \
        later. Null if neither is known."
    ),
    field(
        name = "first_assigned_at",
        ty = "Option<Instant>",
        desc = "When the incident first had an owner; null if it never had an owner."
    ),
    field(
        name = "resolved_at",
        ty = "Option<Instant>",
        desc = "When the incident was resolved; null unless its status is `RESOLVED`."
    ),
    field(
        name = "redirected_to_id",
        ty = "Option<ID>",
        desc = "The global id of the incident that this incident was merged into; null if it was not merged."
    )
)]
pub(super) enum QueueFields {
    /// An incident in its present state.
    Incident(super::incident::Incident),
    /// A row of a stream.
    QueueRow(QueueRow),
    /// An incident as it was at an earlier moment.
    IncidentAsOf(super::as_of::IncidentAsOf),
}

/// An incident as a queue shows it, as of one position. For one position, the row is identical whether it comes live or
/// from a resumed stream, and from any node. For fields beyond these, read `incident(id, minPosition)`.
pub(super) struct QueueRow {
    position: String,
    fields: Box<IncidentFields>,
}

impl Deref for QueueRow {
    type Target = IncidentFields;

    fn deref(&self) -> &IncidentFields {
        &self.fields
    }
}

/// An incident as a queue shows it, as of one position. For one position, the row is identical whether it comes live or
/// from a resumed stream, and from any node. For fields beyond these, read `incident(id, minPosition)`.
#[Object]
impl QueueRow {
    /// The fields that a row shows.
    #[graphql(flatten)]
    async fn fields(&self) -> &IncidentFields {
        &self.fields
    }

    /// The position in the log that the row is as of.
    async fn position(&self) -> &str {
        &self.position
    }
}

impl QueueRow {
    fn new(position: &str, live: LiveRow) -> Self {
        Self { position: position.to_owned(), fields: Box::new(IncidentFields::new(live.row, live.title)) }
    }
}

/// The reason why an incident left a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum LeftReason {
    /// The filter no longer matches the incident.
    Filter,
    /// The incident was deleted.
    Deleted,
    /// The incident was merged into another incident, which `target` names.
    Merged,
    /// The viewer may no longer see the incident.
    NoAccess,
}

/// An item: an incident entered the queue.
#[derive(SimpleObject)]
pub(super) struct QueueEntered {
    /// The position of the change in the log. Pass it as `after` to resume from here.
    position: String,
    /// The incident as of `position`.
    row: QueueRow,
    // Not `reason`, so that a selection can hold it beside `QueueLeft.reason`.
    /// Why the incident entered the queue.
    entered_reason: EnteredReason,
    /// The `clientMutationId` of the mutation that made the change.
    client_mutation_id: Option<String>,
    /// The id of the transaction that made the change.
    transaction_id: ID,
    /// Whether the change is the last change of its transaction. The stream may leave out that last change, for example
    /// because it is about an incident outside of the queue. Then no item of the transaction has `last: true`, so do
    /// not wait for it.
    last: bool,
}

/// An item: an incident of the queue changed and stayed in the queue. A client that does not hold the set may not know
/// the incident yet, and adds it.
#[derive(SimpleObject)]
pub(super) struct QueueUpdated {
    /// The position of the change in the log. Pass it as `after` to resume from here.
    position: String,
    /// The incident as of `position`.
    row: QueueRow,
    /// The fields of the row that changed. Empty if the change is about something that a row does not show.
    changed_fields: Vec<QueueField>,
    /// The `clientMutationId` of the mutation that made the change.
    client_mutation_id: Option<String>,
    /// The id of the transaction that made the change.
    transaction_id: ID,
    /// Whether the change is the last change of its transaction. `QueueEntered.last` says when no item has `true`.
    last: bool,
}

/// An item: an incident left the queue. It has no fields of the incident, because the viewer may no longer be allowed
/// to see them. A client that does not hold the set may not know the incident, and ignores the item.
#[derive(SimpleObject)]
pub(super) struct QueueLeft {
    /// The position of the change in the log. Pass it as `after` to resume from here.
    position: String,
    /// The global id of the incident.
    incident_id: ID,
    /// The reason why the incident left.
    reason: LeftReason,
    /// The global id of the incident that it was merged into; null unless the reason is `MERGED`.
    target_id: Option<ID>,
    /// The `clientMutationId` of the mutation that made the change.
    client_mutation_id: Option<String>,
    /// The id of the transaction that made the change.
    transaction_id: ID,
    /// Whether the change is the last change of its transaction. `QueueEntered.last` says when no item has `true`.
    last: bool,
}

/// A marker: the stream has sent everything up to this position. It comes every 10 seconds (the operator may set
/// another time) if the stream has no other item to send, and after 1,000 changes in a row that are not for this
/// stream.
#[derive(SimpleObject)]
pub(super) struct Heartbeat {
    /// The position of the marker. Pass it as `after` to resume from here.
    pub position: String,
}

/// A marker that comes once in each stream, after the backlog: the stream has sent every change up to this position. If
/// there is no backlog, it is the first item.
#[derive(SimpleObject)]
pub(super) struct Live {
    /// The position of the marker. Pass it as `after` to resume from here.
    pub position: String,
    /// The filter with its defaults filled in and `me` resolved to ids. Null for an activity log.
    pub filter: Option<Box<IncidentFilter>>,
    /// Whether you hold the set of the filter: `after` is a position of `incidents` with this filter, or of a stream with
    /// the set. If false, incidents that match and have not changed are missing: read `incidents` and subscribe
    /// with the position of its first page. Null for an activity log.
    pub holds_set: Option<bool>,
}

/// The last item of a stream that cannot go on from the client's position. The stream then completes. Read the data
/// again with a query, then subscribe from the position of that read.
#[derive(SimpleObject)]
pub(super) struct Resync {
    /// The position at which the stream ended: the given `after`, or the position up to which the stream had sent
    /// everything. Do not resume from it.
    pub position: String,
    // Not `reason`, so that a selection can hold it beside `QueueLeft.reason`.
    /// Why the stream cannot go on.
    pub resync_reason: crate::domain::position::Resync,
}

/// An item of the stream of a queue: `QueueEntered`, `QueueUpdated` or `QueueLeft`, or a marker (`Live`, `Heartbeat`,
/// `Resync`). Each item about an incident has a later position than the item before it; a marker may repeat a position.
#[derive(Interface)]
#[graphql(field(
    name = "position",
    ty = "&String",
    desc = "The position of the item in the log. Pass it as `after` to resume from here, unless the item is a `Resync`."
))]
pub(super) enum QueueItem {
    /// An incident entered the queue.
    QueueEntered(QueueEntered),
    /// An incident of the queue changed and stayed.
    QueueUpdated(QueueUpdated),
    /// An incident left the queue.
    QueueLeft(QueueLeft),
    /// Everything up to this position was sent.
    Heartbeat(Heartbeat),
    /// The backlog was sent.
    Live(Live),
    /// The stream ends here.
    Resync(Resync),
}

impl QueueItem {
    /// Builds the item of an event. `filter` is the filter that `Live` repeats, as stored JSON, if the document selects
    /// it.
    pub(super) fn new(placed: EventAt<QueueEvent>, filter: Option<&str>) -> Self {
        let position = placed.position.to_string();
        match placed.event {
            Event::Heartbeat => Self::Heartbeat(Heartbeat { position }),
            Event::Live => {
                let filter = filter.and_then(|filter| serde_json::from_str(filter).ok()).map(Box::new);
                Self::Live(Live { position, filter, holds_set: Some(placed.position.holds_set()) })
            }
            Event::Resync(reason) => Self::Resync(Resync { position, resync_reason: reason }),
            Event::Item(QueueEvent { change, movement }) => {
                let (client_mutation_id, last) = (change.body.client_mutation_id.clone(), change.body.last);
                let transaction_id = change.body.transaction.to_string().into();
                match movement {
                    Movement::Entered(row) => Self::QueueEntered(QueueEntered {
                        row: QueueRow::new(&position, *row),
                        position,
                        entered_reason: change.entered_reason(),
                        client_mutation_id,
                        transaction_id,
                        last,
                    }),
                    Movement::Updated(row) => {
                        let former = change.body.former.as_ref();
                        let changed_fields = former.map_or_else(Vec::new, |former| row.row.changed_fields(former));
                        Self::QueueUpdated(QueueUpdated {
                            row: QueueRow::new(&position, *row),
                            position,
                            changed_fields,
                            client_mutation_id,
                            transaction_id,
                            last,
                        })
                    }
                    Movement::Left(left) => {
                        let (reason, target_id) = match left {
                            Left::Filter => (LeftReason::Filter, None),
                            Left::Deleted => (LeftReason::Deleted, None),
                            Left::Merged(target) => (LeftReason::Merged, Some(target.to_string().into())),
                            Left::NoAccess => (LeftReason::NoAccess, None),
                        };
                        Self::QueueLeft(QueueLeft {
                            position,
                            incident_id: change.incident().to_string().into(),
                            reason,
                            target_id,
                            client_mutation_id,
                            transaction_id,
                            last,
                        })
                    }
                }
            }
        }
    }
}
