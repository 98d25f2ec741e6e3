//! The filter of incidents, and its evaluation in memory (`matches()`). `storage/filter.rs` evaluates it in SQL.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account::{Actor, OwnerId};
use super::classification::{ClassificationFilter, ExpectedActivity, FalsePositiveReason, Threat};
use super::condition::sort;
pub use super::condition::{EntityFilter, OwnerFilter, TagFilter, TimeRange};
use super::entity::EntityKey;
use super::held_filter::HeldFilter;
use super::incident::{Severity, Status, referenced_number};
use super::path::InputPath;
use super::position::Fingerprint;
use super::queue::QueueRow;
use super::{Error, Instant, Result, entity, text};

/// The deepest nesting of `and`, `or` and `not`. No person, and no program on purpose, writes a deeper filter.
pub const FILTER_DEPTH_MAX: usize = 8;

/// The most conditions and listed values of one filter, at all depths. Each becomes a parameter of an SQL statement.
/// Conditions that AND or OR joins nest in SQLite, which takes at most 1,000 levels.
pub const FILTER_TERMS_MAX: usize = 500;

/// The longest text to search for, in characters. SQLite takes patterns of at most 50,000 bytes. Folding may turn one
/// character into 33 characters (U+FDFA), and an escaped character takes two.
pub const NEEDLE_CHARS_MAX: usize = 1_000;

/// Selects incidents. All given conditions must hold. Conditions depend on the incident alone, never on the present
/// time: otherwise an incident would enter or leave a queue without a change, and no stream would tell it. An empty
/// list of choices (also `any` and `or`) matches no incident; an empty `all`, `none` or `and` matches every incident. A
/// nested value without any condition matches every incident; the canonical form omits it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct IncidentFilter {
    /// The status is one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<Status>>,
    /// The effective severity is one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Vec<Severity>>,
    /// The owner meets this condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerFilter>,
    /// The tags meet this condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagFilter>,
    /// The classification is one of these; `NOT_SET` stands for an incident without classification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification: Option<Vec<ClassificationFilter>>,
    /// The incident is a true positive with one of these threats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threat: Option<Vec<Threat>>,
    /// The incident is an expected activity, of one of these kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<Vec<ExpectedActivity>>,
    /// The incident is a false positive for one of these reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Vec<FalsePositiveReason>>,
    /// An alert of the incident is from one of these products, whatever the case of ASCII letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Vec<String>>,
    /// An alert of the incident is from one of these providers, whatever the case of ASCII letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Vec<String>>,
    /// An alert of the incident names one of these entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<Vec<EntityFilter>>,
    /// Whether the incident holds an alert that is not resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_active_alerts: Option<bool>,
    /// The incident was created in this range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<TimeRange>,
    /// The incident was last changed in this range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<TimeRange>,
    /// The first activity is in this range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_activity: Option<TimeRange>,
    /// The last activity is in this range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity: Option<TimeRange>,
    /// The incident is resolved, and was resolved in this range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<TimeRange>,
    /// The incident has one of these numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<Vec<i64>>,
    /// The title or the description contains this text, compared without case and marks, or the text is the reference
    /// of the incident, for example `INC-511`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// All of these filters match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub and: Option<Vec<IncidentFilter>>,
    /// At least one of these filters matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub or: Option<Vec<IncidentFilter>>,
    /// This filter does not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<IncidentFilter>>,
}

/// The incident that a filter is compared with: its row, and the data that the row lacks.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The row of the incident.
    pub row: &'a QueueRow,
    /// The comparison keys of the row's tags, if the caller has them; else they are computed from the tags.
    pub tag_keys: Option<&'a [String]>,
    /// The whole title, folded. May be empty if the filter has no text.
    pub title_folded: &'a str,
    /// The whole description, folded. May be empty if the filter has no text.
    pub description_folded: &'a str,
    /// The entities of the incident; at least the entities that the filter names.
    pub entities: &'a HashSet<EntityKey>,
}

impl Subject<'_> {
    /// Returns whether the title or the description contains a folded text, or the text is the incident's reference.
    pub(super) fn has(&self, needle: &str) -> bool {
        self.title_folded.contains(needle)
            || self.description_folded.contains(needle)
            || referenced_number(needle) == Some(self.row.number)
    }
}

/// A filter in its canonical form: defaults added, texts folded, lists sorted, and the caller replaced by ids.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueFilter {
    filter: IncidentFilter,
    fingerprint: Fingerprint,
    /// The filter before the caller was replaced by ids. `None` if the filter means the same to every caller.
    asked: Option<Box<IncidentFilter>>,
}

impl QueueFilter {
    /// Resolves a filter for a caller. Refuses the filters that [`IncidentFilter::asked`] refuses.
    pub fn resolve(filter: &IncidentFilter, actor: &Actor) -> Result<Self> {
        let asked = filter.asked()?;
        let mut resolved = asked.clone();
        resolved.resolve_caller(actor);
        let scope = if resolved == asked { [0; 8] } else { digest(&resolved) };
        let fingerprint = Fingerprint { filter: digest(&asked), scope };
        let asked = (resolved != asked).then(|| Box::new(asked));
        Ok(Self { fingerprint, filter: resolved.canonical(), asked })
    }

    /// Returns the resolved filter.
    pub fn filter(&self) -> &IncidentFilter {
        &self.filter
    }

    /// Returns the filter without the status condition of its top level, named or added. Deeper status conditions stay.
    pub fn of_any_status(&self) -> Self {
        let filter = IncidentFilter { status: None, ..self.filter.clone() };
        Self { filter, ..self.clone() }
    }

    /// Returns the fingerprint that the filter's queue positions carry.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns the filter in the compact form that a stream keeps.
    pub fn held(&self) -> HeldFilter {
        self.clone().into_held(&Arc::default())
    }

    /// Turns this filter into the form that a stream keeps. It shares the search texts that are in `texts`, which
    /// ascend.
    pub fn into_held(self, texts: &Arc<[Arc<str>]>) -> HeldFilter {
        HeldFilter::of(self.filter, self.fingerprint, self.asked.as_deref(), texts)
    }
}

/// Checks a search text: not blank, at most [`NEEDLE_CHARS_MAX`] characters.
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
    /// Returns whether an incident matches the filter, nested filters included.
    pub fn matches(&self, subject: Subject<'_>) -> bool {
        self.matches_row(subject)
            && self.matches_alerts(subject)
            && self.text.as_ref().is_none_or(|needle| subject.has(needle))
            && self.below(|f| f.matches(subject))
    }

    /// Returns whether incidents of this status, severity and owner match the filter. Only these three kinds of
    /// conditions are checked; [`IncidentFilter::asks_for_portions`] tells whether the filter has others.
    pub fn matches_portion(&self, status: Status, severity: Severity, owner: Option<OwnerId>) -> bool {
        has(&self.status, Some(status))
            && has(&self.severity, Some(severity))
            && self.owner.as_ref().is_none_or(|wanted| wanted.holds(owner))
            && self.below(|f| f.matches_portion(status, severity, owner))
    }

    /// Returns whether the filter has no conditions but on status, severity and owner, at any depth.
    pub fn asks_for_portions(&self) -> bool {
        let rest = Self { status: None, severity: None, owner: None, and: None, or: None, not: None, ..self.clone() };
        rest == Self::default() && self.children().all(Self::asks_for_portions)
    }

    /// Returns the filter without its `created` condition, and the start of that condition's range. The start is `None`
    /// if the filter has no such condition. Returns `None` if the range ends, or has no start.
    pub fn without_creation(&self) -> Option<(Self, Option<Instant>)> {
        let from = match &self.created {
            None => None,
            Some(TimeRange { from: Some(from), to: None }) => Some(*from),
            Some(_) => return None,
        };
        Some((Self { created: None, ..self.clone() }, from))
    }

    /// Returns whether the filter has an owner condition, at any depth.
    pub fn names_owner(&self) -> bool {
        self.any(&|f| f.owner.is_some())
    }

    /// Returns whether every matching incident has one of these statuses, judged by the status conditions alone.
    pub fn is_only_of(&self, statuses: &[Status]) -> bool {
        let is_only = |f: &Self| f.is_only_of(statuses);
        self.status.as_ref().is_some_and(|list| list.iter().all(|status| statuses.contains(status)))
            || self.and.iter().flatten().any(is_only)
            || self.or.as_ref().is_some_and(|any| any.iter().all(is_only))
    }

    /// Returns whether the nested filters allow a match; `meets` evaluates each of them.
    fn below(&self, meets: impl Fn(&Self) -> bool) -> bool {
        self.and.as_ref().is_none_or(|all| all.iter().all(&meets))
            && self.or.as_ref().is_none_or(|any| any.iter().any(&meets))
            && self.not.as_ref().is_none_or(|f| !meets(f))
    }

    /// Returns the canonical form, which equal filters share. The caller is not replaced: `me` is the caller that uses
    /// the filter. If the filter names no status at any depth, adds `NEW` and `ACTIVE`.
    ///
    /// Refuses nesting beyond [`FILTER_DEPTH_MAX`], more than [`FILTER_TERMS_MAX`] terms, a search text that is blank
    /// or longer than [`NEEDLE_CHARS_MAX`], and a text with U+0000.
    pub fn asked(&self) -> Result<Self> {
        self.check()?;
        let mut asked = self.canonical();
        if !asked.any(&|f| f.status.is_some()) {
            asked.status = Some(vec![Status::New, Status::Active]);
        }
        Ok(asked)
    }

    /// Returns the filter as JSON in the names of the API, with global ids. Streams echo this form, and links carry it.
    pub fn echo(&self) -> serde_json::Value {
        let mut echo = serde_json::to_value(self).unwrap_or_default();
        globalise(&mut echo);
        echo
    }

    fn matches_row(&self, subject: Subject<'_>) -> bool {
        let row = subject.row;
        let class = row.classification;
        has(&self.status, Some(row.status))
            && has(&self.severity, Some(row.severity()))
            && self.owner.as_ref().is_none_or(|owner| owner.holds(row.owner.as_ref().map(|o| o.id)))
            && self.tags.as_ref().is_none_or(|tags| tags.holds(&row.tags, subject.tag_keys))
            && has(&self.classification, Some(ClassificationFilter::met_by(class)))
            && has(&self.threat, class.and_then(|class| class.threat()))
            && has(&self.activity, class.and_then(|class| class.activity()))
            && has(&self.reason, class.and_then(|class| class.reason()))
            && has(&self.number, Some(row.number))
            && self.has_active_alerts.is_none_or(|wanted| row.has_active_alerts == wanted)
            && self.created.as_ref().is_none_or(|range| range.holds(Some(row.created_at)))
            && self.updated.as_ref().is_none_or(|range| range.holds(Some(row.updated_at)))
            && self.first_activity.as_ref().is_none_or(|range| range.holds(row.first_activity_at))
            && self.last_activity.as_ref().is_none_or(|range| range.holds(row.last_activity_at))
            && self.resolved.as_ref().is_none_or(|range| range.holds(row.resolved_at))
    }

    fn matches_alerts(&self, subject: Subject<'_>) -> bool {
        let meets = |entity: &EntityFilter| {
            subject
                .entities
                .iter()
                .any(|held| held.value == entity.value && entity.kind.is_none_or(|kind| kind == held.kind))
        };
        self.product.as_ref().is_none_or(|wanted| any_named(wanted, &subject.row.products))
            && self.provider.as_ref().is_none_or(|wanted| any_named(wanted, &subject.row.providers))
            && self.entity.as_ref().is_none_or(|any| any.iter().any(meets))
    }

    fn resolve_caller(&mut self, actor: &Actor) {
        if let Some(owner) = &mut self.owner {
            owner.resolve_caller(actor);
        }
        self.children_mut().for_each(|child| child.resolve_caller(actor));
    }

    /// Returns the form that equal filters share: texts folded, lists sorted, each value once.
    fn canonical(&self) -> Self {
        let mut it = self.clone();
        sort(&mut it.status);
        sort(&mut it.severity);
        sort(&mut it.classification);
        sort(&mut it.threat);
        sort(&mut it.activity);
        sort(&mut it.reason);
        for names in [&mut it.product, &mut it.provider] {
            names.iter_mut().flatten().for_each(|name| name.make_ascii_lowercase());
            sort(names);
        }
        sort(&mut it.number);
        it.owner = it.owner.and_then(OwnerFilter::canonical);
        it.tags = it.tags.and_then(TagFilter::canonical);
        let ranges =
            [&mut it.created, &mut it.updated, &mut it.first_activity, &mut it.last_activity, &mut it.resolved];
        for range in ranges {
            range.take_if(|range| *range == TimeRange::default());
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
        // The count includes the filter itself, which is no term of its own.
        let terms = self.term_count() - 1;
        if terms > FILTER_TERMS_MAX {
            let message = format!("a filter has at most {FILTER_TERMS_MAX} terms, and this one has {terms}");
            return Err(Error::limit("filter", message, FILTER_TERMS_MAX));
        }
        self.check_texts(&mut InputPath::new("filter"))
    }

    fn check_texts(&self, path: &mut InputPath) -> Result<()> {
        let tags = self.tags.iter().flat_map(|t| [("tags.any", &t.any), ("tags.all", &t.all), ("tags.none", &t.none)]);
        for (field, names) in tags.chain([("product", &self.product), ("provider", &self.provider)]) {
            path.below(field, |path| {
                path.each(names.iter().flatten(), |path, name| text::refuse_nul(path.as_str(), name))
            })?;
        }
        path.below("entity", |path| {
            path.each(self.entity.iter().flatten(), |path, entity| {
                path.below("value", |path| text::refuse_nul(path.as_str(), &entity.value))
            })
        })?;
        if let Some(needle) = &self.text {
            path.below("text", |path| check_needle(path.as_str(), needle))?;
        }
        for (field, list) in [("and", &self.and), ("or", &self.or)] {
            path.below(field, |path| path.each(list.iter().flatten(), |path, f| f.check_texts(path)))?;
        }
        self.not.as_ref().map_or(Ok(()), |f| path.below("not", |path| f.check_texts(path)))
    }

    fn depth(&self) -> usize {
        1 + self.children().map(Self::depth).max().unwrap_or(0)
    }

    fn terms(&self) -> usize {
        let len = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
        1 + self.owner.as_ref().map_or(0, |o| o.users.iter().flatten().count() + o.groups.iter().flatten().count())
            + self.tags.as_ref().map_or(0, |t| len(&t.any) + len(&t.all) + len(&t.none))
            + len(&self.product)
            + len(&self.provider)
            + self.entity.as_ref().map_or(0, Vec::len)
            + self.number.as_ref().map_or(0, Vec::len)
    }

    /// Counts the conditions and listed values, at all depths. Each nested filter counts as one.
    pub fn term_count(&self) -> usize {
        let mut terms = 0;
        self.visit(&mut |f| terms += f.terms());
        terms
    }

    /// Counts the search texts, at all depths.
    pub fn text_count(&self) -> usize {
        let mut texts = 0;
        self.visit(&mut |f| texts += usize::from(f.text.is_some()));
        texts
    }

    /// Counts the entities that the filter names, at all depths.
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

/// Writes the bare ids below `users` and `groups` as global ids, as the API does.
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

/// Returns whether one of these products or providers is wanted. Feeds write their names with one case here and another
/// there, so the case of ASCII letters is ignored. Databases can compare like that without a column for it.
fn any_named(wanted: &[String], held: &[String]) -> bool {
    held.iter().any(|name| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)))
}

/// The fields by which a queue can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IncidentOrderField {
    /// The time of the last change.
    UpdatedAt,
    /// The time of creation.
    CreatedAt,
    /// The time of the first activity. Incidents without this time come last, in both directions.
    FirstActivityAt,
    /// The time of the last activity. Incidents without this time come last, in both directions.
    LastActivityAt,
    /// The time of the resolution. Incidents that are not resolved come last, in both directions.
    ResolvedAt,
    /// The effective severity; ascending starts with `INFORMATIONAL`.
    Severity,
    /// The number of the incident.
    Number,
    /// The status; ascending is `NEW`, `ACTIVE`, `RESOLVED`, `REDIRECTED`.
    Status,
    /// The title: its first 256 characters, in lower case and without diacritical marks, ordered by code point.
    Title,
}

/// The direction of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderDirection {
    /// Ascending: the smallest value first.
    Asc,
    /// Descending: the largest value first.
    Desc,
}

/// The most keys in one order.
pub const ORDER_KEYS_MAX: usize = 3;

/// One key of an order: a field and a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IncidentOrder {
    /// The field.
    pub field: IncidentOrderField,
    /// The direction.
    pub direction: OrderDirection,
}
