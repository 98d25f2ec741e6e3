//! The nested conditions of a filter: on the owner, the tags, an entity and a time.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::account::{Actor, OwnerId};
use super::entity::EntityKind;
use super::tag::{self, Tag, TagKind};
use super::{GroupId, Instant, UserId};

/// Selects incidents by owner. It is enough that one of the given conditions holds. An empty list is a given condition
/// that no owner meets; a flag that is false is not given. Without a given condition every incident matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct OwnerFilter {
    /// The owner is one of these users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<UserId>>,
    /// The owner is one of these groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupId>>,
    /// The incident has no owner.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unassigned: bool,
    /// The owner is the caller.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub me: bool,
    /// The owner is the caller, or a group that the caller is a member of.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub me_and_my_groups: bool,
}

/// Selects incidents by tag name, without case, custom or system. All given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TagFilter {
    /// The incident has at least one of these tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any: Option<Vec<String>>,
    /// The incident has all of these tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<Vec<String>>,
    /// The incident has none of these tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<Vec<String>>,
    /// The incident has a tag of one of these kinds, whatever the tag's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Vec<TagKind>>,
}

/// Selects incidents by an entity that one of their alerts names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntityFilter {
    /// The kind of the entity; any kind if it is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<EntityKind>,
    /// The whole value of the entity, compared without case and marks.
    pub value: String,
}

/// A half-open range of instants. An incident that lacks the compared time is outside of a range with a bound. Without
/// bounds every incident matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TimeRange {
    /// The first instant of the range; `None` for no lower bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// The first instant after the range; `None` for no upper bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Instant>,
}

impl TimeRange {
    pub(super) fn holds(&self, at: Option<Instant>) -> bool {
        at.is_some_and(|at| self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to))
    }
}

impl OwnerFilter {
    pub(super) fn holds(&self, owner: Option<OwnerId>) -> bool {
        match owner {
            None => self.unassigned,
            Some(OwnerId::User(user)) => self.users.iter().flatten().any(|wanted| *wanted == user),
            Some(OwnerId::Group(group)) => self.groups.iter().flatten().any(|wanted| *wanted == group),
        }
    }

    /// Returns the form that equal conditions share; `None` if no condition is given.
    pub(super) fn canonical(mut self) -> Option<Self> {
        if self == Self::default() {
            return None;
        }
        sort(&mut self.users);
        sort(&mut self.groups);
        // An empty list adds no owner. Without any choice, one empty list stays, so that no incident matches.
        self.groups.take_if(|groups| groups.is_empty());
        self.users.take_if(|users| users.is_empty());
        if self == Self::default() {
            self.users = Some(Vec::new());
        }
        Some(self)
    }

    /// Returns the condition with the caller replaced by ids; `None` if no condition is given.
    pub fn resolved(mut self, actor: &Actor) -> Option<Self> {
        self.resolve_caller(actor);
        self.canonical()
    }

    pub(super) fn resolve_caller(&mut self, actor: &Actor) {
        if self.me || self.me_and_my_groups {
            self.users.get_or_insert_default().push(actor.user.id);
        }
        if self.me_and_my_groups && !actor.groups.is_empty() {
            self.groups.get_or_insert_default().extend(&actor.groups);
        }
        self.me = false;
        self.me_and_my_groups = false;
    }
}

impl TagFilter {
    /// Returns the form that equal conditions share; `None` if no condition is given.
    pub(super) fn canonical(mut self) -> Option<Self> {
        for list in [&mut self.any, &mut self.all, &mut self.none] {
            list.iter_mut().flatten().for_each(|name| *name = tag::key(name));
            sort(list);
        }
        sort(&mut self.kind);
        (self != Self::default()).then_some(self)
    }

    /// Returns whether the tags meet the condition. `keys` are their comparison keys, if the caller has them.
    pub(super) fn holds(&self, tags: &[Tag], keys: Option<&[String]>) -> bool {
        let held: Cow<'_, [String]> = match keys {
            Some(keys) => Cow::Borrowed(keys),
            None => tags.iter().map(Tag::key).collect(),
        };
        self.any.as_ref().is_none_or(|names| names.iter().any(|name| held.contains(name)))
            && self.all.as_ref().is_none_or(|names| names.iter().all(|name| held.contains(name)))
            && self.none.as_ref().is_none_or(|names| !names.iter().any(|name| held.contains(name)))
            && self.kind.as_ref().is_none_or(|kinds| tags.iter().any(|tag| kinds.contains(&tag.kind)))
    }
}

/// Sorts a list of choices, so that equal lists are equal.
pub(super) fn sort<T: Ord>(list: &mut Option<Vec<T>>) {
    if let Some(list) = list {
        list.sort();
        list.dedup();
    }
}
