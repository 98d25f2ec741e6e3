//! The filter of incidents, which queries, streams, saved views and bulk jobs share, and the orders of a queue.

use async_graphql::{ID, InputObject};

use super::connection::read_id;
use crate::domain::classification::{ClassificationFilter, ExpectedActivity, FalsePositiveReason, Threat};
use crate::domain::entity::EntityKind;
use crate::domain::filter::{
    EntityFilter, FILTER_DEPTH_MAX, IncidentFilter, IncidentOrder, IncidentOrderField, ORDER_KEYS_MAX, OrderDirection,
    OwnerFilter, TagFilter, TimeRange,
};
use crate::domain::incident::{Severity, Status};
use crate::domain::instant::parse as instant;
use crate::domain::path::InputPath;
use crate::domain::tag::TagKind;
use crate::domain::{Error, GroupId, Instant, Result, UserId};

/// A condition on the owner of an incident or an alert. It matches if at least one of the given fields matches. A flag
/// that is false counts as absent, so `{ me: false }` sets no condition and matches every owner; to exclude an owner
/// use `not`.
#[derive(Clone, Debug, Default, InputObject)]
pub(super) struct OwnerFilterInput {
    /// The owner is one of these users, by global id.
    users: Option<Vec<ID>>,
    /// The owner is one of these groups, by global id.
    groups: Option<Vec<ID>>,
    /// There is no owner.
    #[graphql(default)]
    unassigned: bool,
    /// The owner is the caller.
    #[graphql(default)]
    me: bool,
    /// The owner is the caller or a group that the caller is a member of.
    #[graphql(default)]
    me_and_my_groups: bool,
}

/// A condition on the tags, custom and system. Names are compared without case. All given fields must match.
#[derive(Clone, Debug, Default, InputObject)]
pub(super) struct TagFilterInput {
    /// The incident has at least one of these tags.
    any: Option<Vec<String>>,
    /// The incident has all of these tags.
    all: Option<Vec<String>>,
    /// The incident has none of these tags.
    none: Option<Vec<String>>,
    /// The incident has a tag of one of these kinds, whatever its name. For example, `[EXPERT]` finds the incidents
    /// that an expert service handles.
    kind: Option<Vec<TagKind>>,
}

/// A condition on an entity that an alert names.
#[derive(Clone, Debug, InputObject)]
pub struct EntityFilterInput {
    /// The kind of the entity. Without it, an entity of any kind matches.
    kind: Option<EntityKind>,
    /// The whole value of the entity. Case and diacritical marks are ignored.
    pub value: String,
}

impl From<EntityFilterInput> for EntityFilter {
    fn from(input: EntityFilterInput) -> Self {
        Self { kind: input.kind, value: input.value }
    }
}

/// A range of times: `from` is included, `to` is excluded. With a bound, an incident whose time is null does not match.
#[derive(Clone, Debug, Default, InputObject)]
pub(super) struct TimeRangeInput {
    /// The time is at or after this instant.
    from: Option<Instant>,
    /// The time is before this instant.
    to: Option<Instant>,
}

/// The filter of incidents in queries, streams, saved views and bulk jobs. All given fields must match. An empty list
/// of choices, for example `status: []`, `any: []` or `or: []`, matches no incident; an empty `all`, `none` or `and`
/// has no effect. An empty object, for example `owner: {}`, `tags: {}` or `created: {}`, sets no condition, so every
/// incident matches it; `not: {}` matches no incident. If the filter names no status at any depth,
/// `status: [NEW, ACTIVE]` is added. A filter nests at most 8 deep and has at most 500 terms: each nested filter, and
/// each listed user, group, tag, product, provider, entity and number. Beyond these limits it is `LIMIT`.
#[derive(Clone, Debug, Default, InputObject)]
pub(super) struct IncidentFilterInput {
    /// The status is one of these.
    status: Option<Vec<Status>>,
    /// The effective severity is one of these.
    severity: Option<Vec<Severity>>,
    /// The owner matches this condition.
    owner: Option<OwnerFilterInput>,
    /// The tags match this condition.
    tags: Option<TagFilterInput>,
    /// The kind of the classification is one of these. `NOT_SET` finds incidents that are not classified.
    classification: Option<Vec<ClassificationFilter>>,
    /// The classification is a true positive with one of these threats.
    threat: Option<Vec<Threat>>,
    /// The classification is an informational, expected activity, and the activity is one of these.
    activity: Option<Vec<ExpectedActivity>>,
    /// The classification is a false positive with one of these reasons.
    reason: Option<Vec<FalsePositiveReason>>,
    /// An alert of the incident is of one of these products. The case of ASCII letters is ignored.
    product: Option<Vec<String>>,
    /// An alert of the incident is from one of these providers. The case of ASCII letters is ignored.
    provider: Option<Vec<String>>,
    /// An alert of the incident names one of these entities.
    entity: Option<Vec<EntityFilterInput>>,
    /// Whether an alert of the incident is not resolved. With `status: [RESOLVED]`, true finds the incidents for which
    /// a feed has reported an active alert after they were resolved.
    has_active_alerts: Option<bool>,
    /// The incident was created in this range.
    created: Option<TimeRangeInput>,
    /// The incident was last changed in this range.
    updated: Option<TimeRangeInput>,
    /// The first activity is in this range.
    first_activity: Option<TimeRangeInput>,
    /// The last activity is in this range.
    last_activity: Option<TimeRangeInput>,
    /// The incident is resolved, and was resolved in this range. A filter that names no status selects new and active
    /// incidents only, so give `status: [RESOLVED]` with this field.
    resolved: Option<TimeRangeInput>,
    /// The number of the incident is one of these.
    number: Option<Vec<i64>>,
    /// The title or the description contains this text: at most 1,000 characters, not blank. Case and diacritical marks
    /// are ignored. The reference of an incident, for example `INC-511` or `inc 511`, also finds that incident. A
    /// request searches for at most 20 texts (`LIMIT`).
    text: Option<String>,
    /// All of these filters match.
    and: Option<Vec<IncidentFilterInput>>,
    /// At least one of these filters matches.
    or: Option<Vec<IncidentFilterInput>>,
    /// This filter does not match.
    not: Option<Box<IncidentFilterInput>>,
}

impl IncidentFilterInput {
    /// Reads the filter. A filter that nests too deep is refused with `LIMIT`.
    pub(super) fn read(self) -> Result<IncidentFilter> {
        self.read_at(&mut InputPath::new("filter"), 1)
    }

    fn read_at(self, path: &mut InputPath, depth: usize) -> Result<IncidentFilter> {
        if depth > FILTER_DEPTH_MAX {
            let message = format!("a filter nests at most {FILTER_DEPTH_MAX} deep");
            return Err(Error::limit("filter", message, FILTER_DEPTH_MAX));
        }
        Ok(IncidentFilter {
            status: self.status,
            severity: self.severity,
            owner: given(path, "owner", self.owner, OwnerFilterInput::read)?,
            tags: self.tags.map(|tags| TagFilter { any: tags.any, all: tags.all, none: tags.none, kind: tags.kind }),
            classification: self.classification,
            threat: self.threat,
            activity: self.activity,
            reason: self.reason,
            product: self.product,
            provider: self.provider,
            entity: self.entity.map(|list| list.into_iter().map(EntityFilter::from).collect()),
            has_active_alerts: self.has_active_alerts,
            created: given(path, "created", self.created, TimeRangeInput::read)?,
            updated: given(path, "updated", self.updated, TimeRangeInput::read)?,
            first_activity: given(path, "firstActivity", self.first_activity, TimeRangeInput::read)?,
            last_activity: given(path, "lastActivity", self.last_activity, TimeRangeInput::read)?,
            resolved: given(path, "resolved", self.resolved, TimeRangeInput::read)?,
            number: self.number,
            text: self.text,
            and: given(path, "and", self.and, |all, path| path.each(all, |path, f| f.read_at(path, depth + 1)))?,
            or: given(path, "or", self.or, |any, path| path.each(any, |path, f| f.read_at(path, depth + 1)))?,
            not: given(path, "not", self.not, |not, path| not.read_at(path, depth + 1))?.map(Box::new),
        })
    }
}

/// Reads a field if it is given, with its path.
fn given<I, T>(
    path: &mut InputPath,
    field: &str,
    value: Option<I>,
    read: impl FnOnce(I, &mut InputPath) -> Result<T>,
) -> Result<Option<T>> {
    value.map(|value| path.below(field, |path| read(value, path))).transpose()
}

impl OwnerFilterInput {
    /// Reads the condition.
    pub(super) fn read(self, path: &mut InputPath) -> Result<OwnerFilter> {
        Ok(OwnerFilter {
            users: given(path, "users", self.users, |ids, path| {
                path.each(ids, |path, id| read_id(path.as_str(), &id, UserId::WORD, UserId::parse))
            })?,
            groups: given(path, "groups", self.groups, |ids, path| {
                path.each(ids, |path, id| read_id(path.as_str(), &id, GroupId::WORD, GroupId::parse))
            })?,
            unassigned: self.unassigned,
            me: self.me,
            me_and_my_groups: self.me_and_my_groups,
        })
    }
}

impl TimeRangeInput {
    fn read(self, path: &mut InputPath) -> Result<TimeRange> {
        Ok(TimeRange {
            from: given(path, "from", self.from, |at, path| instant(path.as_str(), at))?,
            to: given(path, "to", self.to, |at, path| instant(path.as_str(), at))?,
        })
    }
}

/// One key of the order of a queue.
#[derive(Clone, Copy, Debug, InputObject)]
pub(super) struct IncidentOrderInput {
    /// The field by which the queue is ordered.
    field: IncidentOrderField,
    /// The direction of the order.
    #[graphql(default_with = "OrderDirection::Desc")]
    direction: OrderDirection,
}

/// Reads an order of up to three keys. Without keys, the newest update comes first.
pub(super) fn order(keys: Option<Vec<IncidentOrderInput>>) -> Result<Vec<IncidentOrder>> {
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
