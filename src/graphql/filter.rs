//! The one filter, as the API takes it, and the orders of a queue.

use async_graphql::{ID, InputObject};

use super::connection::read_id;
use crate::domain::classification::{ClassificationKind, ExpectedActivity, FalsePositiveReason, Threat};
use crate::domain::entity::EntityKind;
use crate::domain::filter::{
    EntityFilter, FILTER_DEPTH_MAX, IncidentFilter, IncidentOrder, IncidentOrderField, ORDER_KEYS_MAX, OrderDirection,
    OwnerFilter, TagFilter, TimeRange,
};
use crate::domain::incident::{Severity, Status};
use crate::domain::instant::parse as instant;
use crate::domain::tag::TagKind;
use crate::domain::{Error, GroupId, Instant, Result, UserId};

/// Which owners. Any of the given ways is enough.
#[derive(Clone, Debug, Default, InputObject)]
pub struct OwnerFilterInput {
    /// These users, by global id.
    #[graphql(default)]
    users: Vec<ID>,
    /// These groups, by global id.
    #[graphql(default)]
    groups: Vec<ID>,
    /// Nobody.
    #[graphql(default)]
    unassigned: bool,
    /// The caller.
    #[graphql(default)]
    me: bool,
    /// The caller and the groups it is a member of.
    #[graphql(default)]
    me_and_my_groups: bool,
}

/// Which tags, by name without case, custom or system. All given conditions hold.
#[derive(Clone, Debug, Default, InputObject)]
pub struct TagFilterInput {
    /// At least one of these.
    any: Option<Vec<String>>,
    /// All of these.
    all: Option<Vec<String>>,
    /// None of these.
    none: Option<Vec<String>>,
    /// Any tag of one of these kinds, whatever its name: `[EXPERT]` finds what an expert service handles.
    kind: Option<Vec<TagKind>>,
}

/// An entity that an alert of the incident names.
#[derive(Clone, Debug, InputObject)]
pub struct EntityFilterInput {
    /// Of this kind; of any kind where none is given.
    kind: Option<EntityKind>,
    /// Its whole value, without case and marks.
    pub value: String,
}

impl From<EntityFilterInput> for EntityFilter {
    fn from(input: EntityFilterInput) -> Self {
        Self { kind: input.kind, value: input.value }
    }
}

/// A range of instants: from and including `from`, until and excluding `to`. An incident without the time is outside.
#[derive(Clone, Debug, Default, InputObject)]
pub struct TimeRangeInput {
    /// At or after.
    from: Option<Instant>,
    /// Before.
    to: Option<Instant>,
}

/// Which incidents: the one filter of queries and streams. All given conditions hold. An empty list of choices (`any` and
/// `or` too) is met by none; an empty `all`, `none` or `and` asks for nothing.
/// Where a filter names no status at any depth, `status: [NEW, ACTIVE]` is added.
#[derive(Clone, Debug, Default, InputObject)]
pub struct IncidentFilterInput {
    /// One of these.
    status: Option<Vec<Status>>,
    /// One of these effective severities.
    severity: Option<Vec<Severity>>,
    /// These owners.
    owner: Option<OwnerFilterInput>,
    /// These tags.
    tags: Option<TagFilterInput>,
    /// One of these classifications.
    classification: Option<Vec<ClassificationKind>>,
    /// A true positive of one of these threats.
    threat: Option<Vec<Threat>>,
    /// An informational, expected activity, one of these.
    activity: Option<Vec<ExpectedActivity>>,
    /// A false positive for one of these reasons.
    reason: Option<Vec<FalsePositiveReason>>,
    /// With an alert of one of these products.
    product: Option<Vec<String>>,
    /// With an alert of one of these providers.
    provider: Option<Vec<String>>,
    /// With an alert that names one of these entities.
    entity: Option<Vec<EntityFilterInput>>,
    /// Whether it holds an alert that is not resolved. With `status: [RESOLVED]` these are the incidents that a feed has
    /// reported an active alert of after they were resolved.
    has_active_alerts: Option<bool>,
    /// Made in this time.
    created: Option<TimeRangeInput>,
    /// Last changed in this time.
    updated: Option<TimeRangeInput>,
    /// First activity in this time.
    first_activity: Option<TimeRangeInput>,
    /// Last activity in this time.
    last_activity: Option<TimeRangeInput>,
    /// One of these numbers.
    number: Option<Vec<i64>>,
    /// In the title or the description, without case and marks.
    text: Option<String>,
    /// All of these.
    and: Option<Vec<IncidentFilterInput>>,
    /// At least one of these.
    or: Option<Vec<IncidentFilterInput>>,
    /// Not this.
    not: Option<Box<IncidentFilterInput>>,
}

impl IncidentFilterInput {
    /// The filter that the desk works with.
    pub fn read(self) -> Result<IncidentFilter> {
        self.read_at(1)
    }

    fn read_at(self, depth: usize) -> Result<IncidentFilter> {
        if depth > FILTER_DEPTH_MAX {
            let message = format!("a filter nests at most {FILTER_DEPTH_MAX} deep");
            return Err(Error::limit("filter", message, FILTER_DEPTH_MAX));
        }
        let children = |list: Option<Vec<Self>>| {
            list.map(|list| list.into_iter().map(|child| child.read_at(depth + 1)).collect::<Result<Vec<_>>>())
                .transpose()
        };
        let range = |path: &'static str, range: Option<TimeRangeInput>| -> Result<Option<TimeRange>> {
            range
                .map(|range| {
                    Ok(TimeRange {
                        from: range.from.map(|at| instant(path, at)).transpose()?,
                        to: range.to.map(|at| instant(path, at)).transpose()?,
                    })
                })
                .transpose()
        };
        Ok(IncidentFilter {
            status: self.status,
            severity: self.severity,
            owner: self.owner.as_ref().map(owner).transpose()?,
            tags: self.tags.map(|tags| TagFilter { any: tags.any, all: tags.all, none: tags.none, kind: tags.kind }),
            classification: self.classification,
            threat: self.threat,
            activity: self.activity,
            reason: self.reason,
            product: self.product,
            provider: self.provider,
            entity: self.entity.map(|list| list.into_iter().map(EntityFilter::from).collect()),
            has_active_alerts: self.has_active_alerts,
            created: range("filter.created", self.created)?,
            updated: range("filter.updated", self.updated)?,
            first_activity: range("filter.firstActivity", self.first_activity)?,
            last_activity: range("filter.lastActivity", self.last_activity)?,
            number: self.number,
            text: self.text,
            and: children(self.and)?,
            or: children(self.or)?,
            not: self.not.map(|not| not.read_at(depth + 1)).transpose()?.map(Box::new),
        })
    }
}

fn owner(input: &OwnerFilterInput) -> Result<OwnerFilter> {
    let users = input.users.iter().map(|id| read_id("filter.owner.users", id, "user", UserId::parse));
    let groups = input.groups.iter().map(|id| read_id("filter.owner.groups", id, "group", GroupId::parse));
    Ok(OwnerFilter {
        users: users.collect::<Result<_>>()?,
        groups: groups.collect::<Result<_>>()?,
        unassigned: input.unassigned,
        me: input.me,
        me_and_my_groups: input.me_and_my_groups,
    })
}

/// One key of a queue's order.
#[derive(Clone, Copy, Debug, InputObject)]
pub struct IncidentOrderInput {
    /// By what.
    field: IncidentOrderField,
    /// Which way.
    #[graphql(default_with = "OrderDirection::Desc")]
    direction: OrderDirection,
}

/// Reads an order: up to three keys, newest update first where none is given.
pub fn order(keys: Option<Vec<IncidentOrderInput>>) -> Result<Vec<IncidentOrder>> {
    let keys = keys.unwrap_or_default();
    if keys.len() > ORDER_KEYS_MAX {
        return Err(Error::limit("orderBy", format!("an order has at most {ORDER_KEYS_MAX} keys"), ORDER_KEYS_MAX));
    }
    if keys.is_empty() {
        let newest = IncidentOrder { field: IncidentOrderField::UpdatedAt, direction: OrderDirection::Desc };
        return Ok(vec![newest]);
    }
    Ok(keys.into_iter().map(|key| IncidentOrder { field: key.field, direction: key.direction }).collect())
}
