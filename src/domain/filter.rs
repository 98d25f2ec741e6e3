//! The one filter of incidents, and `matches()`: its reading in memory. `storage/filter.rs` is the same reading in SQL.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account::{Actor, OwnerId};
use super::classification::{ClassificationKind, ExpectedActivity, FalsePositiveReason, Threat};
use super::entity::{EntityKey, EntityKind};
use super::held_filter::HeldFilter;
use super::incident::{Severity, Status};
use super::position::Fingerprint;
use super::queue::QueueRow;
use super::tag::TagKind;
use super::{Error, GroupId, Instant, Result, UserId, entity, tag, text};

/// The deepest nesting of `and`, `or` and `not`: deeper ones are written by no person and by no program on purpose.
pub const FILTER_DEPTH_MAX: usize = 8;

/// The most conditions and listed values of one filter, at all depths: each becomes a parameter of an SQL statement, and
/// those that AND or OR joins nest in SQLite's eyes, which takes no more than 1,000 levels.
pub const FILTER_TERMS_MAX: usize = 500;

/// The longest text to look for, in characters. SQLite takes patterns of 50,000 bytes; folded, a character may become 33
/// (U+FDFA), and an escaped one two.
pub const NEEDLE_CHARS_MAX: usize = 1_000;

/// Which owners. Any of the given ways is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct OwnerFilter {
    /// These users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserId>,
    /// These groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupId>,
    /// Nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unassigned: bool,
    /// The caller.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub me: bool,
    /// The caller and the groups it is a member of.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub me_and_my_groups: bool,
}

/// Which tags, by name without case, custom or system. All given conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TagFilter {
    /// At least one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any: Option<Vec<String>>,
    /// All of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<Vec<String>>,
    /// None of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<Vec<String>>,
    /// Any tag of one of these kinds, whatever its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Vec<TagKind>>,
}

/// An entity that an alert of the incident names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntityFilter {
    /// Of this kind; any kind where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<EntityKind>,
    /// Its whole value, without case and marks.
    pub value: String,
}

/// A half-open range of instants. An incident without the time is outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TimeRange {
    /// At or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// Before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Instant>,
}

impl TimeRange {
    fn holds(&self, at: Option<Instant>) -> bool {
        at.is_some_and(|at| self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to))
    }
}

/// Which incidents. All given conditions hold. An empty list of choices (`any` and `or` too) is met by none; an empty
/// `all`, `none` or `and` asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct IncidentFilter {
    /// One of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<Status>>,
    /// One of these effective severities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Vec<Severity>>,
    /// These owners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerFilter>,
    /// These tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagFilter>,
    /// One of these classifications, `NOT_SET` included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification: Option<Vec<ClassificationKind>>,
    /// A true positive of one of these threats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threat: Option<Vec<Threat>>,
    /// An expected activity, one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<Vec<ExpectedActivity>>,
    /// A false positive for one of these reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Vec<FalsePositiveReason>>,
    /// An alert of one of these products.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Vec<String>>,
    /// An alert of one of these providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Vec<String>>,
    /// An alert that names one of these entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<Vec<EntityFilter>>,
    /// With an alert that is not resolved, or without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_active_alerts: Option<bool>,
    /// Made in this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<TimeRange>,
    /// Last changed in this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<TimeRange>,
    /// First activity in this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_activity: Option<TimeRange>,
    /// Last activity in this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity: Option<TimeRange>,
    /// One of these numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<Vec<i64>>,
    /// In the title or the description, without case and marks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// All of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub and: Option<Vec<IncidentFilter>>,
    /// At least one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub or: Option<Vec<IncidentFilter>>,
    /// Not this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<IncidentFilter>>,
}

/// What a filter is held against: a row, and what the row alone does not say.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The row.
    pub row: &'a QueueRow,
    /// The keys of its tags, where they are at hand; else they are made of its tags.
    pub tag_keys: Option<&'a [String]>,
    /// Its whole title, folded. May be empty where the filter has no text.
    pub title_folded: &'a str,
    /// Its whole description, folded. May be empty where the filter has no text.
    pub description_folded: &'a str,
    /// Its entities; at least those that the filter names.
    pub entities: &'a HashSet<EntityKey>,
}

/// A filter in its canonical form: defaults filled, texts folded, lists sorted, the caller resolved to ids.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueFilter {
    filter: IncidentFilter,
    fingerprint: Fingerprint,
    /// What was asked for, where it means something else to each caller.
    asked: Option<Box<IncidentFilter>>,
}

impl QueueFilter {
    /// Resolves a filter for a caller. What [`IncidentFilter::asked`] refuses is refused.
    pub fn resolve(filter: &IncidentFilter, actor: &Actor) -> Result<Self> {
        let asked = filter.asked()?;
        let mut resolved = asked.clone();
        resolved.resolve_caller(actor);
        let scope = if resolved == asked { [0; 8] } else { digest(&resolved) };
        let fingerprint = Fingerprint { filter: digest(&asked), scope };
        let asked = (resolved != asked).then(|| Box::new(asked));
        Ok(Self { fingerprint, filter: resolved.canonical(), asked })
    }

    /// The filter, resolved.
    pub fn filter(&self) -> &IncidentFilter {
        &self.filter
    }

    /// The same filter without its top level's status, named or added; those further down stay.
    pub fn of_any_status(&self) -> Self {
        let filter = IncidentFilter { status: None, ..self.filter.clone() };
        Self { filter, ..self.clone() }
    }

    /// What queue positions of it carry.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether an incident is in the queue, as a stream finds out; a deleted one is in none.
    pub fn matches(&self, subject: Subject<'_>) -> bool {
        self.held().matches(subject)
    }

    /// The filter as a stream holds it.
    pub fn held(&self) -> HeldFilter {
        self.clone().into_held(&Arc::default())
    }

    /// The same of a filter that is needed for nothing else. A text that is among these, which ascend, is shared with them.
    pub fn into_held(self, texts: &Arc<[Arc<str>]>) -> HeldFilter {
        HeldFilter::of(self.filter, self.fingerprint, self.asked.as_deref(), texts)
    }
}

/// Checks a text to look for: not blank, at most [`NEEDLE_CHARS_MAX`] characters.
pub fn check_needle(path: &str, needle: &str) -> Result<()> {
    text::at_most(path, needle, NEEDLE_CHARS_MAX)?;
    if text::is_blank(&text::fold(needle)) {
        return Err(Error::invalid(path, "a text to look for cannot be blank"));
    }
    Ok(())
}

fn digest(filter: &IncidentFilter) -> [u8; 8] {
    let bytes = serde_json::to_vec(filter).unwrap_or_default();
    let mut start = [0; 8];
    start.copy_from_slice(&Sha256::digest(bytes)[..8]);
    start
}

impl IncidentFilter {
    /// Whether an incident meets it, at this depth and below.
    pub fn matches(&self, subject: Subject<'_>) -> bool {
        self.matches_row(subject)
            && self.matches_alerts(subject)
            && self.text.as_ref().is_none_or(|needle| {
                subject.title_folded.contains(needle.as_str()) || subject.description_folded.contains(needle.as_str())
            })
            && self.below(|f| f.matches(subject))
    }

    /// Whether all incidents of this status, severity and owner meet it, where it asks for nothing else
    /// ([`IncidentFilter::asks_for_portions`]); else whether they meet these of its conditions.
    pub fn matches_portion(&self, status: Status, severity: Severity, owner: Option<OwnerId>) -> bool {
        has(&self.status, Some(status))
            && has(&self.severity, Some(severity))
            && self.owner.as_ref().is_none_or(|wanted| wanted.holds(owner))
            && self.below(|f| f.matches_portion(status, severity, owner))
    }

    /// Whether it asks for nothing but statuses, severities and owners, at any depth.
    pub fn asks_for_portions(&self) -> bool {
        let rest = Self { status: None, severity: None, owner: None, and: None, or: None, not: None, ..self.clone() };
        rest == Self::default() && self.children().all(Self::asks_for_portions)
    }

    /// The filter without its condition on when incidents were created, and from when on that lets them through, if it ends nowhere.
    /// Without such a condition, that is from ever.
    pub fn without_creation(&self) -> Option<(Self, Option<Instant>)> {
        let from = match &self.created {
            None => None,
            Some(TimeRange { from: Some(from), to: None }) => Some(*from),
            Some(_) => return None,
        };
        Some((Self { created: None, ..self.clone() }, from))
    }

    /// Whether it asks for an owner, at any depth.
    pub fn names_owner(&self) -> bool {
        self.any(&|f| f.owner.is_some())
    }

    /// Whether its conditions on statuses, at any depth, let nothing but these through.
    pub fn is_only_of(&self, statuses: &[Status]) -> bool {
        let is_only = |f: &Self| f.is_only_of(statuses);
        self.status.as_ref().is_some_and(|list| list.iter().all(|status| statuses.contains(status)))
            || self.and.iter().flatten().any(is_only)
            || self.or.as_ref().is_some_and(|any| any.iter().all(is_only))
    }

    /// Whether what lies below it is met, each filter of it as `meets` says.
    fn below(&self, meets: impl Fn(&Self) -> bool) -> bool {
        self.and.as_ref().is_none_or(|all| all.iter().all(&meets))
            && self.or.as_ref().is_none_or(|any| any.iter().any(&meets))
            && self.not.as_ref().is_none_or(|f| !meets(f))
    }

    /// The filter in the one form that equal filters share, the caller left as it was asked: `me` is whoever reads it.
    /// Where it names no status at any depth, `NEW` and `ACTIVE` are added.
    ///
    /// Refused: nesting beyond [`FILTER_DEPTH_MAX`], more than [`FILTER_TERMS_MAX`] terms, a text that is blank or longer
    /// than [`NEEDLE_CHARS_MAX`], a text with U+0000.
    pub fn asked(&self) -> Result<Self> {
        self.check()?;
        let mut asked = self.canonical();
        if !asked.any(&|f| f.status.is_some()) {
            asked.status = Some(vec![Status::New, Status::Active]);
        }
        Ok(asked)
    }

    /// The filter as JSON in the words of the API, its ids global: what a stream echoes and a link carries.
    pub fn echo(&self) -> serde_json::Value {
        let mut echo = serde_json::to_value(self).unwrap_or_default();
        globalise(&mut echo);
        echo
    }

    fn matches_row(&self, subject: Subject<'_>) -> bool {
        let row = subject.row;
        let class = row.classification;
        let kind = class.map_or(ClassificationKind::NotSet, |class| class.kind());
        has(&self.status, Some(row.status))
            && has(&self.severity, Some(row.severity()))
            && self.owner.as_ref().is_none_or(|owner| owner.holds(row.owner.as_ref().map(|o| o.id)))
            && self.tags.as_ref().is_none_or(|tags| tags.holds(subject))
            && has(&self.classification, Some(kind))
            && has(&self.threat, class.and_then(|class| class.threat()))
            && has(&self.activity, class.and_then(|class| class.activity()))
            && has(&self.reason, class.and_then(|class| class.reason()))
            && has(&self.number, Some(row.number))
            && self.has_active_alerts.is_none_or(|wanted| row.has_active_alerts == wanted)
            && self.created.as_ref().is_none_or(|range| range.holds(Some(row.created_at)))
            && self.updated.as_ref().is_none_or(|range| range.holds(Some(row.updated_at)))
            && self.first_activity.as_ref().is_none_or(|range| range.holds(row.first_activity_at))
            && self.last_activity.as_ref().is_none_or(|range| range.holds(row.last_activity_at))
    }

    fn matches_alerts(&self, subject: Subject<'_>) -> bool {
        let meets = |entity: &EntityFilter| {
            subject
                .entities
                .iter()
                .any(|held| held.value == entity.value && entity.kind.is_none_or(|kind| kind == held.kind))
        };
        self.product.as_ref().is_none_or(|names| names.iter().any(|name| subject.row.products.contains(name)))
            && self.provider.as_ref().is_none_or(|names| names.iter().any(|name| subject.row.providers.contains(name)))
            && self.entity.as_ref().is_none_or(|any| any.iter().any(meets))
    }

    fn resolve_caller(&mut self, actor: &Actor) {
        if let Some(owner) = &mut self.owner {
            owner.resolve_caller(actor);
        }
        self.children_mut().for_each(|child| child.resolve_caller(actor));
    }

    /// The same filter in the one form that equal filters share: texts folded, lists sorted, each value once.
    fn canonical(&self) -> Self {
        let mut it = self.clone();
        sort(&mut it.status);
        sort(&mut it.severity);
        sort(&mut it.classification);
        sort(&mut it.threat);
        sort(&mut it.activity);
        sort(&mut it.reason);
        sort(&mut it.product);
        sort(&mut it.provider);
        sort(&mut it.number);
        if let Some(owner) = &mut it.owner {
            owner.users.sort();
            owner.users.dedup();
            owner.groups.sort();
            owner.groups.dedup();
        }
        if let Some(tags) = &mut it.tags {
            for list in [&mut tags.any, &mut tags.all, &mut tags.none] {
                list.iter_mut().flatten().for_each(|name| *name = tag::key(name));
                sort(list);
            }
            sort(&mut tags.kind);
        }
        it.entity.iter_mut().flatten().for_each(|entity| entity.value = entity::key(&entity.value));
        sort(&mut it.entity);
        it.text = it.text.map(|needle| text::fold(&needle));
        it.children_mut().for_each(|child| *child = child.canonical());
        it
    }

    fn check(&self) -> Result<()> {
        if self.depth() > FILTER_DEPTH_MAX {
            let message = format!("a filter nests at most {FILTER_DEPTH_MAX} deep");
            return Err(Error::limit("filter", message, FILTER_DEPTH_MAX));
        }
        // The filter itself is one of its terms.
        let terms = self.term_count() - 1;
        if terms > FILTER_TERMS_MAX {
            let message = format!("a filter has at most {FILTER_TERMS_MAX} terms, and this one has {terms}");
            return Err(Error::limit("filter", message, FILTER_TERMS_MAX));
        }
        let mut sound = Ok(());
        self.visit(&mut |f| {
            if sound.is_ok() {
                sound = f.text.as_deref().map_or(Ok(()), |needle| check_needle("filter.text", needle));
            }
            if sound.is_ok() {
                sound = f.texts().try_for_each(|text| text::refuse_nul("filter", text));
            }
        });
        sound
    }

    /// Every text that it names, at this depth.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let tags = self.tags.iter().flat_map(|tags| [&tags.any, &tags.all, &tags.none]);
        let lists = tags.chain([&self.product, &self.provider]).flatten().flatten();
        let values = self.entity.iter().flatten().map(|entity| &entity.value);
        lists.chain(values).chain(&self.text).map(String::as_str)
    }

    fn depth(&self) -> usize {
        1 + self.children().map(Self::depth).max().unwrap_or(0)
    }

    fn terms(&self) -> usize {
        let len = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
        1 + self.owner.as_ref().map_or(0, |o| o.users.len() + o.groups.len())
            + self.tags.as_ref().map_or(0, |t| len(&t.any) + len(&t.all) + len(&t.none))
            + len(&self.product)
            + len(&self.provider)
            + self.entity.as_ref().map_or(0, Vec::len)
            + self.number.as_ref().map_or(0, Vec::len)
    }

    /// How many conditions and listed values it has, at all depths; each filter is one.
    pub fn term_count(&self) -> usize {
        let mut terms = 0;
        self.visit(&mut |f| terms += f.terms());
        terms
    }

    /// How many texts it looks for, at all depths.
    pub fn text_count(&self) -> usize {
        let mut texts = 0;
        self.visit(&mut |f| texts += usize::from(f.text.is_some()));
        texts
    }

    /// How many entities it names, at all depths.
    pub fn entity_count(&self) -> usize {
        let mut entities = 0;
        self.visit(&mut |f| entities += f.entity.as_ref().map_or(0, Vec::len));
        entities
    }

    pub(super) fn any(&self, meets: &impl Fn(&Self) -> bool) -> bool {
        meets(self) || self.children().any(|child| child.any(meets))
    }

    pub(super) fn visit(&self, see: &mut impl FnMut(&Self)) {
        see(self);
        for child in self.children() {
            child.visit(see);
        }
    }

    fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        Box::new(self.and.iter().flatten().chain(self.or.iter().flatten()).chain(self.not.as_deref()))
    }

    fn children_mut(&mut self) -> Box<dyn Iterator<Item = &mut Self> + '_> {
        Box::new(self.and.iter_mut().flatten().chain(self.or.iter_mut().flatten()).chain(self.not.as_deref_mut()))
    }
}

/// Bare ids below `users` and `groups`, as the API writes them.
fn globalise(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    (word @ ("users" | "groups"), Value::Array(ids)) => {
                        let noun = word.trim_end_matches('s');
                        ids.iter_mut()
                            .for_each(|id| *id = Value::String(format!("{noun}:{}", id.as_str().unwrap_or(""))));
                    }
                    (_, value) => globalise(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(globalise),
        _ => {}
    }
}

fn has<T: PartialEq>(wanted: &Option<Vec<T>>, held: Option<T>) -> bool {
    wanted.as_ref().is_none_or(|wanted| held.is_some_and(|held| wanted.contains(&held)))
}

fn sort<T: Ord>(list: &mut Option<Vec<T>>) {
    if let Some(list) = list {
        list.sort();
        list.dedup();
    }
}

impl OwnerFilter {
    fn holds(&self, owner: Option<OwnerId>) -> bool {
        match owner {
            None => self.unassigned,
            Some(OwnerId::User(user)) => self.users.contains(&user),
            Some(OwnerId::Group(group)) => self.groups.contains(&group),
        }
    }

    fn resolve_caller(&mut self, actor: &Actor) {
        if self.me || self.me_and_my_groups {
            self.users.push(actor.user.id);
        }
        if self.me_and_my_groups {
            self.groups.extend(&actor.groups);
        }
        self.me = false;
        self.me_and_my_groups = false;
    }
}

impl TagFilter {
    fn holds(&self, subject: Subject<'_>) -> bool {
        let row = subject.row;
        let held: Cow<'_, [String]> = match subject.tag_keys {
            Some(keys) => Cow::Borrowed(keys),
            None => row.tags.iter().map(super::tag::Tag::key).collect(),
        };
        self.any.as_ref().is_none_or(|names| names.iter().any(|name| held.contains(name)))
            && self.all.as_ref().is_none_or(|names| names.iter().all(|name| held.contains(name)))
            && self.none.as_ref().is_none_or(|names| !names.iter().any(|name| held.contains(name)))
            && self.kind.as_ref().is_none_or(|kinds| row.tags.iter().any(|tag| kinds.contains(&tag.kind)))
    }
}

/// What a queue is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IncidentOrderField {
    /// When it last changed.
    UpdatedAt,
    /// When it was made.
    CreatedAt,
    /// When its activity began; incidents without stand last, in both directions.
    FirstActivityAt,
    /// When its activity ended; incidents without stand last, in both directions.
    LastActivityAt,
    /// Its effective severity, mildest first when ascending.
    Severity,
    /// Its number.
    Number,
    /// Its status, in the order `NEW`, `ACTIVE`, `RESOLVED`, `REDIRECTED` when ascending.
    Status,
    /// Its title: the first 256 characters, folded, in binary order.
    Title,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderDirection {
    /// Smallest first.
    Asc,
    /// Largest first.
    Desc,
}

/// The most keys of one order.
pub const ORDER_KEYS_MAX: usize = 3;

/// One key of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IncidentOrder {
    /// By what.
    pub field: IncidentOrderField,
    /// Which way.
    pub direction: OrderDirection,
}
