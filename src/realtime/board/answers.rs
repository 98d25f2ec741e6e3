//! The answers of the board: counts, ordered pages and facets. On the same rows, each answer equals the answer of
//! `storage/queue.rs` and `storage/summary.rs`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::ops::Bound;

use super::covers;
use super::rows::{BoardRows, Candidates, HeldRow};
use crate::domain::account::{Owner, OwnerId};
use crate::domain::entity::EntityKey;
use crate::domain::filter::{IncidentFilter, IncidentOrder, OrderDirection, Subject};
use crate::domain::incident::{Severity, Status};
use crate::domain::summary::{Numbers, OPEN, OpenValues, SummaryFilter, TallyUse};
use crate::domain::tag::Tag;
use crate::domain::{IncidentId, Instant};
use crate::storage::{
    FACET_TAGS_MAX, FACET_VALUES_MAX, Facet, ListedRow, OpenNumbers, OwnedPortion, PageRequest, QueuePlace,
};
use ahash::AHashMap;

/// The most work of one answer: the conditions and listed values of its filter times the rows, about 20 to 100 ns each.
/// The relay and the streams of this node wait meanwhile.
pub(super) const STEPS_MAX: usize = 1_000_000;

impl BoardRows {
    /// Returns whether the filter may be checked against all rows at once. If not, the database answers, and nobody
    /// waits for it.
    pub fn bears(&self, filter: &IncidentFilter) -> bool {
        filter.term_count().saturating_mul(self.len()) <= STEPS_MAX
    }

    /// Returns the number of incidents in a queue.
    pub fn count(&self, filter: &IncidentFilter) -> u64 {
        // The default queue, which every desk asks for, holds all rows.
        let any_open = IncidentFilter { status: Some(OPEN.into()), ..IncidentFilter::default() };
        if *filter == any_open {
            return self.len() as u64;
        }
        let mut count = 0;
        self.each(filter, |_| count += 1);
        count
    }

    /// Returns the number of incidents in a queue of any statuses, or `None` if the board does not know it.
    pub fn count_if_known(&self, filter: &IncidentFilter) -> Option<u64> {
        match self.portions_of(filter) {
            Some(portions) => Some(portions.map(|(.., count)| count).sum()),
            None => (covers(filter) && self.bears(filter)).then(|| self.count(filter)),
        }
    }

    /// Returns the number of incidents by status in a queue of any statuses, or `None` if the board does not know it.
    /// The caller leaves out the filter's condition on statuses.
    pub fn by_status(&self, filter: &IncidentFilter) -> Option<Vec<Facet<Status>>> {
        let mut counts: BTreeMap<i16, Facet<Status>> = BTreeMap::new();
        let mut add = |value: Status, more: u64| {
            counts.entry(value as i16).or_insert(Facet { value, count: 0 }).count += more;
        };
        match self.portions_of(filter) {
            Some(portions) => portions.for_each(|(status, _, count)| add(status, count)),
            None if covers(filter) && self.bears(filter) => self.each(filter, |held| add(held.row.status, 1)),
            None => return None,
        }
        Some(counts.into_values().collect())
    }

    /// Returns [`BoardRows::by_severity`] of a queue of any statuses, or `None` if the board does not know it.
    pub fn by_severity_if_known(&self, filter: &IncidentFilter) -> Option<Vec<Facet<Severity>>> {
        let Some(portions) = self.portions_of(filter) else {
            return (covers(filter) && self.bears(filter)).then(|| self.by_severity(filter));
        };
        let mut counts: BTreeMap<Reverse<Severity>, u64> = BTreeMap::new();
        portions.for_each(|(_, severity, count)| *counts.entry(Reverse(severity)).or_default() += count);
        Some(counts.into_iter().map(|(Reverse(value), count)| Facet { value, count }).collect())
    }

    /// Returns how many incidents of a summary, of any status, were created and how many were resolved since an
    /// instant, or `None` if the board does not know it.
    pub fn created_and_resolved(&self, filter: &SummaryFilter, since: Instant) -> Option<(u64, u64)> {
        self.census.as_ref()?.since(filter.any_status().filter(), since)
    }

    /// Returns how many incidents of a queue have changed after the offset `since`.
    pub fn unread(&self, filter: &IncidentFilter, since: u64) -> u64 {
        let mut count = 0;
        self.each(filter, |held| count += u64::from(held.changed > since));
        count
    }

    fn portions_of(&self, filter: &IncidentFilter) -> Option<impl Iterator<Item = (Status, Severity, u64)>> {
        self.census.as_ref()?.portions(filter)
    }

    /// Returns a page of a queue: the ids in the order of the list, and whether more rows follow in the direction of
    /// paging. Returns `None` if the order uses a value that the rows do not carry.
    pub fn page(&self, request: &PageRequest) -> Option<(Vec<IncidentId>, bool)> {
        let after = request.after.as_ref().map(|cursor| request.place(cursor));
        let before = request.before.as_ref().map(|cursor| request.place(cursor));
        let span = Stretch {
            after: after.map_or(Some(None), |place| place.map(Some))?,
            before: before.map_or(Some(None), |place| place.map(Some))?,
            from_end: request.span.from_end,
            limit: request.span.limit as usize,
        };
        let filter = request.filter.filter();
        let mut ids = match (self.candidates(filter), request.order.as_slice()) {
            (Candidates::All, [order]) if self.by(order.field).is_some() => self.walk(filter, *order, &span),
            (Candidates::All, _) => sorted(request, self.all().filter(|held| matches(filter, held)), &span)?,
            (Candidates::Among(rows), _) => {
                sorted(request, rows.into_iter().filter(|held| matches(filter, held)), &span)?
            }
        };
        let more = ids.len() > span.limit;
        ids.truncate(span.limit);
        if span.from_end {
            ids.reverse();
        }
        Some((ids, more))
    }

    /// Returns a page as it is listed: rows with cursors, owners' names and titles. `None` if a title is not held.
    pub fn listing(&self, request: &PageRequest, names: &HashMap<OwnerId, Owner>) -> Option<(Vec<ListedRow>, bool)> {
        let (ids, more) = self.page(request)?;
        let queue = request.queue();
        let shown = ids.into_iter().map(|id| {
            let held = self.of(id)?;
            let mut row = held.row.clone();
            if let Some(owner) = &mut row.owner {
                owner.clone_from(names.get(&owner.id)?);
            }
            Some(request.listed(&queue, row, held.title.clone()?))
        });
        Some((shown.collect::<Option<Vec<_>>>()?, more))
    }

    /// Returns the number of incidents by severity, the worst first. The caller leaves out the filter's condition on
    /// severities.
    pub fn by_severity(&self, filter: &IncidentFilter) -> Vec<Facet<Severity>> {
        let mut counts: BTreeMap<Reverse<Severity>, u64> = BTreeMap::new();
        self.each(filter, |held| *counts.entry(Reverse(held.row.severity())).or_default() += 1);
        counts.into_iter().map(|(Reverse(value), count)| Facet { value, count }).collect()
    }

    /// Returns the number of incidents by owner, the largest number first.
    pub fn by_owner(&self, filter: &IncidentFilter) -> Vec<Facet<Option<OwnerId>>> {
        let mut counts: AHashMap<Option<OwnerId>, u64> = AHashMap::new();
        self.each(filter, |held| *counts.entry(held.owner()).or_default() += 1);
        // The order of two columns of which at least one is NULL: NULL comes first.
        let columns = |owner: Option<OwnerId>| match owner {
            None => (None, None),
            Some(OwnerId::User(id)) => (Some(id), None),
            Some(OwnerId::Group(id)) => (None, Some(id)),
        };
        most_frequent(counts, FACET_VALUES_MAX, |owner| columns(*owner))
    }

    /// Returns the number of incidents by tag, the most frequent tag first.
    pub fn by_tag(&self, filter: &IncidentFilter) -> Vec<Facet<Tag>> {
        let mut counts: AHashMap<&Tag, u64> = AHashMap::new();
        self.each(filter, |held| held.row.tags.iter().for_each(|tag| *counts.entry(tag).or_default() += 1));
        let facets = most_frequent(counts, FACET_TAGS_MAX, |tag| tag.place());
        facets.into_iter().map(|Facet { value, count }| Facet { value: value.clone(), count }).collect()
    }

    /// Returns the number of incidents by product, the most frequent product first.
    pub fn by_product(&self, filter: &IncidentFilter) -> Vec<Facet<String>> {
        let mut counts: AHashMap<&String, u64> = AHashMap::new();
        self.each(filter, |held| held.row.products.iter().for_each(|name| *counts.entry(name).or_default() += 1));
        let facets = most_frequent(counts, FACET_VALUES_MAX, |name| *name);
        facets.into_iter().map(|Facet { value, count }| Facet { value: value.clone(), count }).collect()
    }

    /// Returns the numbers of the open incidents of a summary that are asked for.
    pub fn open_numbers(&self, filter: &SummaryFilter, numbers: Numbers, used: TallyUse) -> OpenNumbers {
        let keep = used.oldest_max();
        let (mut tags, mut products): (AHashMap<&Tag, u64>, AHashMap<&String, u64>) = Default::default();
        let mut portions: AHashMap<(Status, Severity, Option<OwnerId>), u64> = AHashMap::new();
        // The newest key of those that are kept is on top of the heap.
        let mut oldest: BinaryHeap<(Instant, IncidentId)> = BinaryHeap::new();
        let open = IncidentFilter { status: Some(filter.open().into()), ..filter.any_status().filter().clone() };
        self.each(&open, |held| {
            let row = &held.row;
            *portions.entry((row.status, row.severity(), held.owner())).or_default() += 1;
            if numbers.by_tag {
                row.tags.iter().for_each(|tag| *tags.entry(tag).or_default() += 1);
            }
            if numbers.by_product {
                row.products.iter().for_each(|product| *products.entry(product).or_default() += 1);
            }
            let key = (row.created_at, row.id);
            if oldest.len() < keep {
                oldest.push(key);
            } else if let Some(mut newest) = oldest.peek_mut()
                && key < *newest
            {
                *newest = key;
            }
        });
        let portions = portions.into_iter().map(|((status, severity, owner), incidents)| OwnedPortion {
            status,
            severity,
            owner,
            incidents,
        });
        let most = used.values_max() as u64;
        let by_tag = || most_frequent(tags, most, |tag| tag.place()).into_iter().map(|it| (it.value.clone(), it.count));
        let by_product = || most_frequent(products, most, |it| *it).into_iter().map(|it| (it.value.clone(), it.count));
        let values = OpenValues {
            by_tag: numbers.by_tag.then(|| by_tag().collect()),
            by_product: numbers.by_product.then(|| by_product().collect()),
        };
        OpenNumbers { portions: portions.collect(), oldest: oldest.into_sorted_vec(), values }
    }

    /// Calls `take` with each row that meets a filter, in no order.
    fn each<'a>(&'a self, filter: &IncidentFilter, mut take: impl FnMut(&'a HeldRow)) {
        match self.candidates(filter) {
            Candidates::All => self.all().filter(|held| matches(filter, held)).for_each(&mut take),
            Candidates::Among(rows) => rows.into_iter().filter(|held| matches(filter, held)).for_each(&mut take),
        }
    }

    /// Returns the ids of a page in an order that has an index, up to one more than the page's limit, in the direction
    /// of paging.
    fn walk(&self, filter: &IncidentFilter, order: IncidentOrder, span: &Stretch) -> Vec<IncidentId> {
        let Some(index) = self.by(order.field) else { return Vec::new() };
        let is_ascending = order.direction == OrderDirection::Asc;
        // A position in a descending order is the turned position of the ascending index.
        let turned = |place: Option<QueuePlace>| place.map(|place| if is_ascending { place } else { place.turned() });
        let (low, high) = if is_ascending {
            (turned(span.after), turned(span.before))
        } else {
            (turned(span.before), turned(span.after))
        };
        if low.zip(high).is_some_and(|(low, high)| low >= high) {
            return Vec::new();
        }
        let bound = |place: Option<QueuePlace>| place.map_or(Bound::Unbounded, Bound::Excluded);
        let range = index.range((bound(low), bound(high)));
        let found = |slot: &u32| self.at(*slot).filter(|held| matches(filter, held)).map(|held| held.row.id);
        if is_ascending != span.from_end {
            range.filter_map(|(_, slot)| found(slot)).take(span.limit + 1).collect()
        } else {
            range.rev().filter_map(|(_, slot)| found(slot)).take(span.limit + 1).collect()
        }
    }
}

/// A page of an ordered list, by keyset positions: see [`crate::storage::Span`].
struct Stretch {
    after: Option<QueuePlace>,
    before: Option<QueuePlace>,
    from_end: bool,
    limit: usize,
}

/// Returns the ids of a page in any order, up to one more than the page's limit, in the direction of paging. Returns
/// `None` if a row has no position in this order.
fn sorted<'a>(
    request: &PageRequest,
    rows: impl Iterator<Item = &'a HeldRow>,
    span: &Stretch,
) -> Option<Vec<IncidentId>> {
    let mut places: Vec<(QueuePlace, IncidentId)> = Vec::new();
    for held in rows {
        let place = request.place_of(&held.row)?;
        if span.after.is_none_or(|after| place > after) && span.before.is_none_or(|before| place < before) {
            places.push((place, held.row.id));
        }
    }
    let wanted = span.limit + 1;
    let order = |one: &(QueuePlace, IncidentId), other: &(QueuePlace, IncidentId)| {
        if span.from_end { other.cmp(one) } else { one.cmp(other) }
    };
    // A page is a few of many rows: the others need no order among themselves.
    if places.len() > wanted {
        places.select_nth_unstable_by(wanted - 1, order);
        places.truncate(wanted);
    }
    places.sort_unstable_by(order);
    Some(places.into_iter().map(|(_, id)| id).collect())
}

/// Returns the most frequent values, the most frequent first; equal counts are ordered by their key.
fn most_frequent<T, K: Ord>(counts: AHashMap<T, u64>, most: u64, key: impl Fn(&T) -> K) -> Vec<Facet<T>> {
    let mut facets: Vec<Facet<T>> = counts.into_iter().map(|(value, count)| Facet { value, count }).collect();
    facets.sort_by_cached_key(|facet| (Reverse(facet.count), key(&facet.value)));
    facets.truncate(most as usize);
    facets
}

impl HeldRow {
    fn owner(&self) -> Option<OwnerId> {
        self.row.owner.as_ref().map(|owner| owner.id)
    }
}

/// Returns whether a row meets a filter. The filter must ask only for values that rows carry.
fn matches(filter: &IncidentFilter, held: &HeldRow) -> bool {
    static NONE: std::sync::LazyLock<HashSet<EntityKey>> = std::sync::LazyLock::new(HashSet::new);
    filter.matches(Subject {
        row: &held.row,
        tag_keys: Some(&held.tag_keys),
        title_folded: "",
        description_folded: "",
        entities: &NONE,
    })
}
