//! The answers that the board gives: how many, which in which order, how many of each value. Each is the answer of
//! `storage/queue.rs` and `storage/summary.rs` on the same rows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::ops::Bound;

use super::covers;
use super::rows::{Candidates, Held, Rows};
use crate::domain::account::{Owner, OwnerId};
use crate::domain::entity::EntityKey;
use crate::domain::filter::{IncidentFilter, IncidentOrder, OrderDirection, Subject};
use crate::domain::incident::{Severity, Status};
use crate::domain::summary::{OPEN, SummaryFilter};
use crate::domain::tag::Tag;
use crate::domain::{IncidentId, Instant};
use crate::storage::{FACET_TAGS_MAX, FACET_VALUES_MAX, Facet, ListedRow, OwnedPortion, PageRequest, Place, tag_order};
use ahash::AHashMap;

/// The most that one answer holds against rows: conditions and listed values of its filter times rows, about 20 to 100 ns each. The
/// relay waits for as long, and so do the streams of this node.
pub(super) const STEPS_MAX: usize = 1_000_000;

impl Rows {
    /// Whether a filter may be held against all rows at once; else the database has to, which others need not wait for.
    pub fn bears(&self, filter: &IncidentFilter) -> bool {
        filter.term_count().saturating_mul(self.len()) <= STEPS_MAX
    }

    /// How many incidents a queue has.
    pub fn count(&self, filter: &IncidentFilter) -> u64 {
        // The default queue, which every desk asks for, is all there is.
        let any_open = IncidentFilter { status: Some(OPEN.into()), ..IncidentFilter::default() };
        if *filter == any_open {
            return self.len() as u64;
        }
        let mut count = 0;
        self.each(filter, |_| count += 1);
        count
    }

    /// How many incidents a queue has, of whatever status; none where that is not known here.
    pub fn count_if_known(&self, filter: &IncidentFilter) -> Option<u64> {
        match self.portions_of(filter) {
            Some(portions) => Some(portions.map(|(.., count)| count).sum()),
            None => (covers(filter) && self.bears(filter)).then(|| self.count(filter)),
        }
    }

    /// How many incidents of whatever status a queue has by status; none where that is not known here. The condition on statuses is
    /// the caller's to leave out.
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

    /// [`Rows::by_severity`] of a queue of whatever status; none where that is not known here.
    pub fn by_severity_if_known(&self, filter: &IncidentFilter) -> Option<Vec<Facet<Severity>>> {
        let Some(portions) = self.portions_of(filter) else {
            return (covers(filter) && self.bears(filter)).then(|| self.by_severity(filter));
        };
        let mut counts: BTreeMap<Reverse<Severity>, u64> = BTreeMap::new();
        portions.for_each(|(_, severity, count)| *counts.entry(Reverse(severity)).or_default() += count);
        Some(counts.into_iter().map(|(Reverse(value), count)| Facet { value, count }).collect())
    }

    /// How many incidents of a summary, of whatever status, were created, and how many resolved, since an instant; none where that
    /// is not known here.
    pub fn created_and_resolved(&self, filter: &SummaryFilter, since: Instant) -> Option<(u64, u64)> {
        self.census.as_ref()?.since(filter.any_status().filter(), since)
    }

    /// How many incidents of a queue have changed since the log had so many changes.
    pub fn unread(&self, filter: &IncidentFilter, since: u64) -> u64 {
        let mut count = 0;
        self.each(filter, |held| count += u64::from(held.changed > since));
        count
    }

    fn portions_of(&self, filter: &IncidentFilter) -> Option<impl Iterator<Item = (Status, Severity, u64)>> {
        self.census.as_ref()?.portions(filter)
    }

    /// A stretch of a queue: the ids in the order of the list, and whether more lie beyond the end that it was counted
    /// towards. None where the order is by something that the rows do not say.
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

    /// The same stretch as it is shown: each row with its place, its owner named and its title. None where a title is not held.
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

    /// How many incidents a queue has by severity, the worst first. The condition on severities is the caller's to leave out.
    pub fn by_severity(&self, filter: &IncidentFilter) -> Vec<Facet<Severity>> {
        let mut counts: BTreeMap<Reverse<Severity>, u64> = BTreeMap::new();
        self.each(filter, |held| *counts.entry(Reverse(held.row.severity())).or_default() += 1);
        counts.into_iter().map(|(Reverse(value), count)| Facet { value, count }).collect()
    }

    /// How many incidents a queue has by owner, the busiest first.
    pub fn by_owner(&self, filter: &IncidentFilter) -> Vec<Facet<Option<OwnerId>>> {
        let mut counts: AHashMap<Option<OwnerId>, u64> = AHashMap::new();
        self.each(filter, |held| *counts.entry(held.owner()).or_default() += 1);
        // As two columns of which at least one is NULL: NULL comes first.
        let columns = |owner: Option<OwnerId>| match owner {
            None => (None, None),
            Some(OwnerId::User(id)) => (Some(id), None),
            Some(OwnerId::Group(id)) => (None, Some(id)),
        };
        most_frequent(counts, FACET_VALUES_MAX, |owner| columns(*owner))
    }

    /// How many incidents a queue has by tag, the most frequent first.
    pub fn by_tag(&self, filter: &IncidentFilter) -> Vec<Facet<Tag>> {
        let mut counts: AHashMap<&Tag, u64> = AHashMap::new();
        self.each(filter, |held| held.row.tags.iter().for_each(|tag| *counts.entry(tag).or_default() += 1));
        let facets = most_frequent(counts, FACET_TAGS_MAX, |tag| tag_order(tag));
        facets.into_iter().map(|Facet { value, count }| Facet { value: value.clone(), count }).collect()
    }

    /// How many incidents a queue has by product, the most frequent first.
    pub fn by_product(&self, filter: &IncidentFilter) -> Vec<Facet<String>> {
        let mut counts: AHashMap<&String, u64> = AHashMap::new();
        self.each(filter, |held| held.row.products.iter().for_each(|name| *counts.entry(name).or_default() += 1));
        let facets = most_frequent(counts, FACET_VALUES_MAX, |name| *name);
        facets.into_iter().map(|Facet { value, count }| Facet { value: value.clone(), count }).collect()
    }

    /// The open incidents of a summary by status, severity and owner, and the key of the oldest of them.
    pub fn portions(&self, filter: &SummaryFilter) -> Portions {
        self.portions_and_oldest(filter, 1)
    }

    /// The same with the keys of so many of the oldest, of which there is one at least.
    pub fn portions_and_oldest(&self, filter: &SummaryFilter, keep: usize) -> Portions {
        let mut portions: AHashMap<(Status, Severity, Option<OwnerId>), u64> = AHashMap::new();
        // The newest of those that are kept is on top.
        let mut oldest: BinaryHeap<(Instant, IncidentId)> = BinaryHeap::new();
        let open = IncidentFilter { status: Some(filter.open().into()), ..filter.any_status().filter().clone() };
        self.each(&open, |held| {
            let row = &held.row;
            *portions.entry((row.status, row.severity(), held.owner())).or_default() += 1;
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
        Portions { portions: portions.collect(), oldest: oldest.into_sorted_vec() }
    }

    /// Calls with each row that meets a filter, in no order.
    fn each<'a>(&'a self, filter: &IncidentFilter, mut take: impl FnMut(&'a Held)) {
        match self.candidates(filter) {
            Candidates::All => self.all().filter(|held| matches(filter, held)).for_each(&mut take),
            Candidates::Among(rows) => rows.into_iter().filter(|held| matches(filter, held)).for_each(&mut take),
        }
    }

    /// The ids of a stretch in an order that has an index, one more than its limit, from the end that it is counted from.
    fn walk(&self, filter: &IncidentFilter, order: IncidentOrder, span: &Stretch) -> Vec<IncidentId> {
        let Some(index) = self.by(order.field) else { return Vec::new() };
        let is_ascending = order.direction == OrderDirection::Asc;
        // The places of a descending order are those of the index turned round.
        let turned = |place: Option<Place>| place.map(|place| if is_ascending { place } else { place.turned() });
        let (low, high) = match is_ascending {
            true => (turned(span.after), turned(span.before)),
            false => (turned(span.before), turned(span.after)),
        };
        if low.zip(high).is_some_and(|(low, high)| low >= high) {
            return Vec::new();
        }
        let bound = |place: Option<Place>| place.map_or(Bound::Unbounded, Bound::Excluded);
        let range = index.range((bound(low), bound(high)));
        let found = |slot: &u32| self.at(*slot).filter(|held| matches(filter, held)).map(|held| held.row.id);
        match is_ascending != span.from_end {
            true => range.filter_map(|(_, slot)| found(slot)).take(span.limit + 1).collect(),
            false => range.rev().filter_map(|(_, slot)| found(slot)).take(span.limit + 1).collect(),
        }
    }
}

/// The numbers of a summary that the board knows.
#[derive(Clone, Debug)]
pub struct Portions {
    /// How many incidents there are of each status, severity and owner.
    pub portions: Vec<OwnedPortion>,
    /// The keys of the oldest open ones, as many as were asked for.
    pub oldest: Vec<(Instant, IncidentId)>,
}

/// A stretch of an ordered list, by places: see [`crate::storage::Span`].
struct Stretch {
    after: Option<Place>,
    before: Option<Place>,
    from_end: bool,
    limit: usize,
}

/// The ids of a stretch in any order, one more than its limit, from the end that it is counted from. None where a row has no
/// place in this order.
fn sorted<'a>(request: &PageRequest, rows: impl Iterator<Item = &'a Held>, span: &Stretch) -> Option<Vec<IncidentId>> {
    let mut places: Vec<(Place, IncidentId)> = Vec::new();
    for held in rows {
        let place = request.place_of(&held.row)?;
        if span.after.is_none_or(|after| place > after) && span.before.is_none_or(|before| place < before) {
            places.push((place, held.row.id));
        }
    }
    let wanted = span.limit + 1;
    let order = |one: &(Place, IncidentId), other: &(Place, IncidentId)| match span.from_end {
        true => other.cmp(one),
        false => one.cmp(other),
    };
    // A page is a few rows of many: the others need no order among themselves.
    if places.len() > wanted {
        places.select_nth_unstable_by(wanted - 1, order);
        places.truncate(wanted);
    }
    places.sort_unstable_by(order);
    Some(places.into_iter().map(|(_, id)| id).collect())
}

/// The values that most rows have, the most frequent first; among equals those whose key is least.
fn most_frequent<T, K: Ord>(counts: AHashMap<T, u64>, most: u64, key: impl Fn(&T) -> K) -> Vec<Facet<T>> {
    let mut facets: Vec<Facet<T>> = counts.into_iter().map(|(value, count)| Facet { value, count }).collect();
    facets.sort_by_cached_key(|facet| (Reverse(facet.count), key(&facet.value)));
    facets.truncate(most as usize);
    facets
}

impl Held {
    fn owner(&self) -> Option<OwnerId> {
        self.row.owner.as_ref().map(|owner| owner.id)
    }
}

/// Whether a row meets a filter that asks for nothing that rows do not say.
fn matches(filter: &IncidentFilter, held: &Held) -> bool {
    static NONE: std::sync::LazyLock<HashSet<EntityKey>> = std::sync::LazyLock::new(HashSet::new);
    filter.matches(Subject {
        row: &held.row,
        tag_keys: Some(&held.tag_keys),
        title_folded: "",
        description_folded: "",
        entities: &NONE,
    })
}
