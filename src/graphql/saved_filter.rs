//! The filter of incidents in answers. Each type has the fields of its input type, so that a client can send a filter
//! that it has read.

use async_graphql::{ID, Object};

use super::json::JsonText;
use crate::domain::Instant;
use crate::domain::classification::{ClassificationFilter, ExpectedActivity, FalsePositiveReason, Threat};
use crate::domain::entity::EntityKind;
use crate::domain::filter::{EntityFilter, IncidentFilter, OwnerFilter, TagFilter, TimeRange};
use crate::domain::incident::{Severity, Status};
use crate::domain::tag::TagKind;

/// Shows the fields of a condition as they are, then further fields. Tests compare the fields with those of the input
/// type. A list also needs a length in `server/operation/prices.rs`, and each field a line in `shared_fields.rs` and in
/// its fixture. Tests name each forgotten field.
macro_rules! shown {
    (
        $(#[$doc:meta])* impl $of:ident {
            $($(#[$of_field:meta])* $field:ident: $ty:ty,)*
            $(; $($more:tt)*)?
        }
    ) => {
        $(#[$doc])*
        #[Object]
        impl $of {
            $($(#[$of_field])* async fn $field(&self) -> &$ty { &self.$field })*
            $($($more)*)?
        }
    };
}

shown! {
    /// A filter of incidents as the desk reads it: defaults filled in, texts folded, lists sorted. Without `json`, its
    /// fields are the fields of `IncidentFilterInput`. A field that is null sets no condition. A client that selects
    /// all fields, to the depth of the filter, can send the result as an `IncidentFilterInput`; so can a client that
    /// selects `json` alone.
    impl IncidentFilter {
        /// The status is one of these.
        status: Option<Vec<Status>>,
        /// The effective severity is one of these.
        severity: Option<Vec<Severity>>,
        /// The owner matches this condition.
        owner: Option<OwnerFilter>,
        /// The tags match this condition.
        tags: Option<TagFilter>,
        /// The kind of the classification is one of these. `NOT_SET` finds incidents that are not classified.
        classification: Option<Vec<ClassificationFilter>>,
        /// The classification is a true positive with one of these threats.
        threat: Option<Vec<Threat>>,
        /// The classification is an informational, expected activity, and the activity is one of these.
        activity: Option<Vec<ExpectedActivity>>,
        /// The classification is a false positive with one of these reasons.
        reason: Option<Vec<FalsePositiveReason>>,
        /// An alert of the incident is of one of these products. ASCII letters are in lower case.
        product: Option<Vec<String>>,
        /// An alert of the incident is from one of these providers. ASCII letters are in lower case.
        provider: Option<Vec<String>>,
        /// An alert of the incident names one of these entities.
        entity: Option<Vec<EntityFilter>>,
        /// Whether an alert of the incident is not resolved.
        has_active_alerts: Option<bool>,
        /// The incident was created in this range.
        created: Option<TimeRange>,
        /// The incident was last changed in this range.
        updated: Option<TimeRange>,
        /// The first activity is in this range.
        first_activity: Option<TimeRange>,
        /// The last activity is in this range.
        last_activity: Option<TimeRange>,
        /// The incident is resolved, and was resolved in this range.
        resolved: Option<TimeRange>,
        /// The number of the incident is one of these.
        number: Option<Vec<i64>>,
        /// The title or the description contains this text, or the text is the reference of the incident. It is folded:
        /// without case and diacritical marks.
        text: Option<String>,
        /// All of these filters match.
        and: Option<Vec<IncidentFilter>>,
        /// At least one of these filters matches.
        or: Option<Vec<IncidentFilter>>,
        /// This filter does not match.
        not: Option<Box<IncidentFilter>>,
        ;
        /// The whole filter, nested filters included, as an `IncidentFilterInput` in JSON. It leaves out fields that
        /// set no condition. Example: `{"status":["NEW"],"owner":{"me":true}}`.
        async fn json(&self) -> JsonText {
            JsonText(self.echo().to_string())
        }
    }
}

shown! {
    /// A condition on the owner, as `OwnerFilterInput` gives it. It matches if any of its fields matches.
    impl OwnerFilter {
        /// There is no owner.
        unassigned: bool,
        /// The owner is the caller. False if the desk has replaced the caller by its id.
        me: bool,
        /// The owner is the caller or a group that the caller is a member of. False if the desk has replaced the caller
        /// by ids.
        me_and_my_groups: bool,
        ;
        /// The owner is one of these users, by global id.
        async fn users(&self) -> Option<Vec<ID>> {
            self.users.as_ref().map(|users| users.iter().map(|id| id.to_string().into()).collect())
        }

        /// The owner is one of these groups, by global id.
        async fn groups(&self) -> Option<Vec<ID>> {
            self.groups.as_ref().map(|groups| groups.iter().map(|id| id.to_string().into()).collect())
        }
    }
}

shown! {
    /// A condition on the tags, as `TagFilterInput` gives it. All its fields must match.
    impl TagFilter {
        /// The incident has at least one of these tags.
        any: Option<Vec<String>>,
        /// The incident has all of these tags.
        all: Option<Vec<String>>,
        /// The incident has none of these tags.
        none: Option<Vec<String>>,
        /// The incident has a tag of one of these kinds, whatever its name.
        kind: Option<Vec<TagKind>>,
    }
}

shown! {
    /// A condition on an entity that an alert names, as `EntityFilterInput` gives it.
    impl EntityFilter {
        /// The kind of the entity. Null matches an entity of any kind.
        kind: Option<EntityKind>,
        /// The whole value of the entity, without case and diacritical marks.
        value: String,
    }
}

shown! {
    /// A range of times, as `TimeRangeInput` gives it: `from` is included, `to` is excluded.
    impl TimeRange {
        /// The time is at or after this instant.
        from: Option<Instant>,
        /// The time is before this instant.
        to: Option<Instant>,
    }
}
