//! Queues: the fields that a row shows, at rest and live, and the items of a queue's stream.

use std::ops::Deref;

use async_graphql::{Enum, ID, Interface, Json, Object, SimpleObject};
use serde_json::Value;

use super::account::Owner;
use super::at_once::{AllAtOnce, AtHand, AtOnce};
use crate::domain::Instant;
use crate::domain::classification::{
    Classification as Pair, ClassificationKind, ExpectedActivity, FalsePositiveReason, Threat,
};
use crate::domain::incident::{Severity, Status};
use crate::domain::queue::QueueRow as Row;
use crate::domain::tag::{Tag as DomainTag, TagKind};
use crate::domain::title::Shown;
use crate::realtime::feed::{Event, Left, LiveRow, Movement, Placed, QueueEvent};

/// A classification: what the incident turned out to be, and which threat, activity or reason.
#[derive(SimpleObject)]
pub struct Classification {
    /// True positive, informational or false positive.
    kind: ClassificationKind,
    /// The threat of a true positive.
    threat: Option<Threat>,
    /// The activity of an informational, expected activity.
    activity: Option<ExpectedActivity>,
    /// The reason of a false positive.
    reason: Option<FalsePositiveReason>,
}

impl From<Pair> for Classification {
    fn from(pair: Pair) -> Self {
        Self { kind: pair.kind(), threat: pair.threat(), activity: pair.activity(), reason: pair.reason() }
    }
}

/// A tag on an incident.
#[derive(SimpleObject)]
pub struct Tag {
    /// As first written on this desk.
    name: String,
    /// Custom, or which kind of system tag.
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

/// The fields that `Incident` and `QueueRow` share: flattened into both.
pub struct Fields {
    row: Row,
    title: Shown,
}

impl Fields {
    /// The fields of a row, with its title.
    pub fn new(row: Row, title: Shown) -> Self {
        Self { row, title }
    }
}

/// The fields that `Incident` and `QueueRow` share: flattened into both.
#[Object]
impl Fields {
    /// The incident's global id.
    pub(crate) async fn id(&self) -> ID {
        self.row.id.to_string().into()
    }

    /// Its number: sequential, unique, never reused.
    pub(crate) async fn number(&self) -> i64 {
        self.row.number
    }

    /// The number as people write it: `INC-<number>`.
    pub(crate) async fn reference(&self) -> String {
        format!("INC-{}", self.row.number)
    }

    /// How many changes it has had.
    pub(crate) async fn version(&self) -> u64 {
        self.row.version
    }

    /// The first 1,000 characters of its title, which may be as long as a request; `Incident.fullTitle` is all of it.
    pub(crate) async fn title(&self) -> &str {
        &self.title.text
    }

    /// Whether the title goes on beyond what `title` shows.
    pub(crate) async fn title_truncated(&self) -> bool {
        self.title.truncated
    }

    /// The effective severity: what a person set, else the highest of the linked alerts, else `MEDIUM`.
    pub(crate) async fn severity(&self) -> Severity {
        self.row.severity()
    }

    /// The highest severity of the linked alerts, else `MEDIUM`.
    pub(crate) async fn computed_severity(&self) -> Severity {
        self.row.computed_severity
    }

    /// What a person set; null where the computed severity holds.
    pub(crate) async fn severity_override(&self) -> Option<Severity> {
        self.row.severity_override
    }

    /// Where it stands.
    pub(crate) async fn status(&self) -> Status {
        self.row.status
    }

    /// What it turned out to be; null where nobody has said.
    pub(crate) async fn classification(&self) -> Option<AtOnce<Classification>> {
        self.row.classification.map(|pair| AtOnce(pair.into()))
    }

    /// Its owner; null where it is unassigned.
    pub(crate) async fn owner(&self) -> Option<AtOnce<Owner>> {
        self.row.owner.clone().map(|owner| AtOnce(owner.into()))
    }

    /// Its tags, custom ones first, then by name.
    pub(crate) async fn tags(&self) -> AllAtOnce<Tag> {
        AllAtOnce(self.row.tags.iter().cloned().map(Tag::from).collect())
    }

    /// How many alerts it holds.
    pub(crate) async fn alert_count(&self) -> u64 {
        self.row.alert_count
    }

    /// How many comments it has; deleted ones do not count.
    pub(crate) async fn comment_count(&self) -> u64 {
        self.row.comment_count
    }

    /// Whether it holds an alert that is not resolved. False of an incident whose alerts and status have not changed since the
    /// desk began to note it.
    pub(crate) async fn has_active_alerts(&self) -> bool {
        self.row.has_active_alerts
    }

    /// The products of its alerts, by name. An incident made by hand has none until an alert is linked.
    pub(crate) async fn products(&self) -> &[String] {
        &self.row.products
    }

    /// The providers of its alerts, by name.
    pub(crate) async fn providers(&self) -> &[String] {
        &self.row.providers
    }

    /// When it was made.
    pub(crate) async fn created_at(&self) -> Instant {
        self.row.created_at
    }

    /// When it last changed.
    pub(crate) async fn updated_at(&self) -> Instant {
        self.row.updated_at
    }

    /// When its activity began: the earliest of what was stated and of its alerts.
    pub(crate) async fn first_activity_at(&self) -> Option<Instant> {
        self.row.first_activity_at
    }

    /// When its activity ended: the latest of what was stated and of its alerts.
    pub(crate) async fn last_activity_at(&self) -> Option<Instant> {
        self.row.last_activity_at
    }

    /// When it first had an owner.
    pub(crate) async fn first_assigned_at(&self) -> Option<Instant> {
        self.row.first_assigned_at
    }

    /// When it was resolved, while it is.
    pub(crate) async fn resolved_at(&self) -> Option<Instant> {
        self.row.resolved_at
    }

    /// The incident that it was merged into.
    pub(crate) async fn redirected_to(&self) -> Option<ID> {
        self.row.redirected_to.map(|id| id.to_string().into())
    }
}

/// What a queue shows of an incident: at rest (`Incident`), live (`QueueRow`) and as it was (`IncidentAsOf`), so that one
/// fragment serves all.
#[derive(Interface)]
#[graphql(
    field(name = "id", ty = "ID", desc = "The incident's global id."),
    field(name = "number", ty = "i64", desc = "Its number: sequential, unique, never reused."),
    field(name = "reference", ty = "String", desc = "The number as people write it: `INC-<number>`."),
    field(name = "version", ty = "u64", desc = "How many changes it has had."),
    field(name = "title", ty = "&str", desc = "The first 1,000 characters of its title."),
    field(name = "title_truncated", ty = "bool", desc = "Whether the title goes on beyond what `title` shows."),
    field(name = "severity", ty = "Severity", desc = "The effective severity."),
    field(name = "computed_severity", ty = "Severity", desc = "The highest of the linked alerts, else `MEDIUM`."),
    field(name = "severity_override", ty = "Option<Severity>", desc = "What a person set."),
    field(name = "status", ty = "Status", desc = "Where it stands."),
    field(name = "classification", ty = "Option<AtOnce<Classification>>", desc = "What it turned out to be."),
    field(name = "owner", ty = "Option<AtOnce<Owner>>", desc = "Its owner; null where it is unassigned."),
    field(name = "tags", ty = "AllAtOnce<Tag>", desc = "Its tags, custom ones first, then by name."),
    field(name = "alert_count", ty = "u64", desc = "How many alerts it holds."),
    field(name = "comment_count", ty = "u64", desc = "How many comments it has; deleted ones do not count."),
    field(name = "has_active_alerts", ty = "bool", desc = "Whether it holds an alert that is not resolved."),
    field(name = "products", ty = "&[String]", desc = "The products of its alerts, by name."),
    field(name = "providers", ty = "&[String]", desc = "The providers of its alerts, by name."),
    field(name = "created_at", ty = "Instant", desc = "When it was made."),
    field(name = "updated_at", ty = "Instant", desc = "When it last changed."),
    field(name = "first_activity_at", ty = "Option<Instant>", desc = "When its activity began."),
    field(name = "last_activity_at", ty = "Option<Instant>", desc = "When its activity ended."),
    field(name = "first_assigned_at", ty = "Option<Instant>", desc = "When it first had an owner."),
    field(name = "resolved_at", ty = "Option<Instant>", desc = "When it was resolved, while it is."),
    field(name = "redirected_to", ty = "Option<ID>", desc = "The incident that it was merged into.")
)]
pub enum QueueFields {
    /// At rest.
    Incident(super::incident::Incident),
    /// Live.
    QueueRow(QueueRow),
    /// As it was.
    IncidentAsOf(super::as_of::IncidentAsOf),
}

/// An incident as a queue shows it, as of one position: what its change left behind, the same bytes live and replayed, on
/// every node. What goes beyond a row comes from `incident(id, minPosition)`.
pub struct QueueRow {
    position: String,
    fields: Box<Fields>,
}

impl Deref for QueueRow {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.fields
    }
}

/// An incident as a queue shows it, as of one position: what its change left behind, the same bytes live and replayed, on
/// every node. What goes beyond a row comes from `incident(id, minPosition)`.
#[Object]
impl QueueRow {
    /// What a row shows.
    #[graphql(flatten)]
    async fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The place in the log that the row is as of.
    async fn position(&self) -> &str {
        &self.position
    }
}

impl QueueRow {
    fn new(position: &str, live: LiveRow) -> Self {
        Self { position: position.to_owned(), fields: Box::new(Fields::new(live.row, live.title)) }
    }
}

/// The fields of a row, as `QueueUpdated.changedFields` names them. `version` and `updatedAt` change every time and are left
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enum)]
pub enum QueueField {
    /// `title`
    Title,
    /// The description: not in a row, but a filter may ask for its text.
    Description,
    /// `severity`, `severityOverride`
    SeverityOverride,
    /// `severity`, `computedSeverity`
    ComputedSeverity,
    /// `status`
    Status,
    /// `classification`
    Classification,
    /// `owner`
    Owner,
    /// `tags`
    Tags,
    /// `alertCount`
    AlertCount,
    /// `commentCount`
    CommentCount,
    /// `hasActiveAlerts`
    HasActiveAlerts,
    /// `products`
    Products,
    /// `providers`
    Providers,
    /// `firstActivityAt`
    FirstActivityAt,
    /// `lastActivityAt`
    LastActivityAt,
    /// `firstAssignedAt`
    FirstAssignedAt,
    /// `resolvedAt`
    ResolvedAt,
    /// `redirectedTo`
    RedirectedTo,
}

impl QueueField {
    fn of(stored: &str) -> Option<Self> {
        Some(match stored {
            "title" => Self::Title,
            "description" => Self::Description,
            "severity_override" => Self::SeverityOverride,
            "computed_severity" => Self::ComputedSeverity,
            "status" => Self::Status,
            "classification" => Self::Classification,
            "owner" => Self::Owner,
            "tags" => Self::Tags,
            "alert_count" => Self::AlertCount,
            "comment_count" => Self::CommentCount,
            "has_active_alerts" => Self::HasActiveAlerts,
            "products" => Self::Products,
            "providers" => Self::Providers,
            "first_activity_at" => Self::FirstActivityAt,
            "last_activity_at" => Self::LastActivityAt,
            "first_assigned_at" => Self::FirstAssignedAt,
            "resolved_at" => Self::ResolvedAt,
            "redirected_to" => Self::RedirectedTo,
            _ => return None,
        })
    }
}

/// Why an incident left a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum LeftReason {
    /// The filter no longer matches.
    Filter,
    /// It was deleted.
    Deleted,
    /// It was merged into another, which `target` names.
    Merged,
    /// The viewer may no longer see it.
    NoAccess,
}

/// An incident came into the queue.
#[derive(SimpleObject)]
pub struct QueueEntered {
    /// The place of its change in the log: give it as `after` to go on from here.
    position: String,
    /// The incident as of this position.
    row: QueueRow,
    /// What the client called the mutation that did it.
    client_mutation_id: Option<String>,
    /// The transaction that did it.
    transaction_id: ID,
    /// Whether this is the last change of its transaction.
    last: bool,
}

/// An incident in the queue changed and stayed.
#[derive(SimpleObject)]
pub struct QueueUpdated {
    /// The place of its change in the log: give it as `after` to go on from here.
    position: String,
    /// The incident as of this position.
    row: QueueRow,
    /// Which fields of the row changed; none where the change is about something that a row does not show.
    changed_fields: Vec<QueueField>,
    /// What the client called the mutation that did it.
    client_mutation_id: Option<String>,
    /// The transaction that did it.
    transaction_id: ID,
    /// Whether this is the last change of its transaction.
    last: bool,
}

/// An incident went out of the queue. It carries no fields: the viewer may no longer be allowed to see them.
#[derive(SimpleObject)]
pub struct QueueLeft {
    /// The place of its change in the log: give it as `after` to go on from here.
    position: String,
    /// The incident.
    incident_id: ID,
    /// Why.
    reason: LeftReason,
    /// The incident that it was merged into.
    target: Option<ID>,
    /// What the client called the mutation that did it.
    client_mutation_id: Option<String>,
    /// The transaction that did it.
    transaction_id: ID,
    /// Whether this is the last change of its transaction.
    last: bool,
}

/// A marker: all of yours up to here was sent. Every 10 seconds, and after 1,000 positions without a match while
/// catching up.
#[derive(SimpleObject)]
pub struct Heartbeat {
    /// Give it as `after` to go on from here.
    pub position: String,
}

/// A marker, once in a stream: the backlog is done (at once, where there is none), what follows is new.
#[derive(SimpleObject)]
pub struct Live {
    /// Give it as `after` to go on from here.
    pub position: String,
    /// The filter as the desk reads it: defaults filled, `me` resolved. Null for an activity log.
    pub filter: Option<Json<Value>>,
}

/// The last item of a stream that cannot go on from the position it was given: read the set again, then subscribe from
/// the position of that read.
#[derive(SimpleObject)]
pub struct Resync {
    /// The present end of the log.
    pub position: String,
    /// Why. Not `reason`, so that it may stand in one selection with `QueueLeft.reason`.
    pub resync_reason: crate::domain::position::Resync,
}

/// An item of a queue's stream. Items about incidents ascend strictly by position; markers may repeat one.
#[derive(Interface)]
#[graphql(field(name = "position", ty = "&String", desc = "The item's place in the log."))]
pub enum QueueItem {
    /// An incident came in.
    QueueEntered(QueueEntered),
    /// An incident changed and stayed.
    QueueUpdated(QueueUpdated),
    /// An incident went out.
    QueueLeft(QueueLeft),
    /// All up to here was sent.
    Heartbeat(Heartbeat),
    /// The backlog is done.
    Live(Live),
    /// The stream ends here.
    Resync(Resync),
}

impl QueueItem {
    /// An event of a feed, as the API says it; `filter` is what `Live` echoes, as JSON, where that is shown.
    pub fn new(placed: Placed<QueueEvent>, filter: Option<&str>) -> Self {
        let position = placed.position.to_string();
        match placed.event {
            Event::Heartbeat => Self::Heartbeat(Heartbeat { position }),
            Event::Live => {
                let filter = filter.and_then(|filter| serde_json::from_str(filter).ok()).map(Json);
                Self::Live(Live { position, filter })
            }
            Event::Resync(reason) => Self::Resync(Resync { position, resync_reason: reason }),
            Event::Item(QueueEvent { change, movement }) => {
                let client_mutation_id = change.body.client_mutation_id.clone();
                let transaction_id = change.body.transaction.to_string().into();
                let last = change.body.last;
                match movement {
                    Movement::Entered(row) => Self::QueueEntered(QueueEntered {
                        row: QueueRow::new(&position, *row),
                        position,
                        client_mutation_id,
                        transaction_id,
                        last,
                    }),
                    Movement::Updated(row) => {
                        let former = change.body.former.iter().flat_map(|former| former.keys());
                        let mut changed_fields: Vec<QueueField> =
                            former.filter_map(|field| QueueField::of(field)).collect();
                        changed_fields.sort();
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
                        let (reason, target) = match left {
                            Left::Filter => (LeftReason::Filter, None),
                            Left::Deleted => (LeftReason::Deleted, None),
                            Left::Merged(target) => (LeftReason::Merged, Some(target.to_string().into())),
                            Left::NoAccess => (LeftReason::NoAccess, None),
                        };
                        Self::QueueLeft(QueueLeft {
                            position,
                            incident_id: change.incident().to_string().into(),
                            reason,
                            target,
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
