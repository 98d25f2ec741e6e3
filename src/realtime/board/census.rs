//! Counts of all incidents, including the closed ones: by status and severity, and by the day of creation and of
//! resolution. They are counted once, when the board begins; then the rows before and after each change keep them.
//!
//! It knows filters that ask only for status and severity. For counts of created and resolved since a midnight it also
//! knows owners and the start of a time of creation. For each filter and time it returns the exact number or `None`.

use std::collections::BTreeMap;

use ahash::AHashMap;
use chrono::{NaiveDate, NaiveTime};

use super::answers::STEPS_MAX;
use crate::domain::Instant;
use crate::domain::account::OwnerId;
use crate::domain::change::Change;
use crate::domain::filter::IncidentFilter;
use crate::domain::incident::{Severity, Status};
use crate::domain::queue::QueueRow;
use crate::storage::{Counted, CountedSince, OwnedPortion};

/// How many days of creations and resolutions are kept: the newest days.
const DAYS_MAX: usize = 8;

/// The most portions that are kept of one day. Each takes about 50 bytes, and about 20 ns to check.
const PORTIONS_MAX: usize = 20_000;

/// The status, severity and owner of a group of incidents. Counts of all incidents leave out the owner.
type Portion = (Status, Severity, Option<OwnerId>);

/// The number of incidents in each portion; no portion is empty.
#[derive(Debug, Default)]
struct PortionCounts(AHashMap<Portion, u64>);

/// The incidents that were created and resolved on one day, each as it stands now.
#[derive(Debug, Default)]
struct Day {
    created: PortionCounts,
    resolved: PortionCounts,
    /// The resolved incidents by their time of creation; `None` if they are too many.
    resolved_by_creation: Option<BTreeMap<(Instant, Portion), u64>>,
}

/// The counts of all incidents that are not deleted.
#[derive(Debug)]
pub(super) struct Census {
    all: PortionCounts,
    /// The first day that was counted completely. Every later day with a creation or a resolution has an entry.
    first: NaiveDate,
    days: BTreeMap<NaiveDate, Day>,
}

impl Census {
    /// Takes the counts from one snapshot.
    pub(super) fn new(all: Vec<Counted>, newest: CountedSince) -> Self {
        let all = all.into_iter().map(|it| ((it.status, it.severity, None), it.incidents));
        let of = |portions: Vec<OwnedPortion>| {
            PortionCounts(portions.into_iter().map(|it| ((it.status, it.severity, it.owner), it.incidents)).collect())
        };
        let by_creation = newest.resolved_by_creation.map(|all| {
            all.into_iter().map(|(at, it)| ((at, (it.status, it.severity, it.owner)), it.incidents)).collect()
        });
        let day = Day { created: of(newest.created), resolved: of(newest.resolved), resolved_by_creation: by_creation };
        Self { all: PortionCounts(all.collect()), first: newest.day, days: [(newest.day, day)].into() }
    }

    /// Applies a change. Returns `None` if that is impossible; then the counts are no longer usable.
    pub(super) fn follow(&mut self, change: &Change) -> Option<()> {
        let before = change.before.as_ref().filter(|row| !row.deleted);
        let after = Some(&change.body.row).filter(|row| !row.deleted);
        if let Some(row) = before {
            self.all.subtract((row.status, row.severity(), None))?;
            let (created, resolved) = days_of(row);
            if let Some(day) = self.day(created) {
                day.created.subtract(portion(row))?;
            }
            if let Some(day) = resolved.and_then(|day| self.day(day)) {
                day.resolved.subtract(portion(row))?;
                day.forget_resolved(row);
            }
        }
        if let Some(row) = after {
            self.all.add((row.status, row.severity(), None));
            let (created, resolved) = days_of(row);
            if let Some(day) = self.day(created) {
                day.created.add(portion(row));
            }
            if let Some(day) = resolved.and_then(|day| self.day(day)) {
                day.resolved.add(portion(row));
                day.note_resolved(row);
            }
        }
        self.forget_days();
        let is_small = |day: &Day| day.created.0.len() + day.resolved.0.len() <= PORTIONS_MAX;
        self.days.values().all(is_small).then_some(())
    }

    /// Returns the counts of a queue by status and severity, if the filter asks for nothing else.
    pub(super) fn portions(&self, filter: &IncidentFilter) -> Option<impl Iterator<Item = (Status, Severity, u64)>> {
        let is_known = filter.asks_for_portions() && !filter.names_owner();
        is_known.then(|| self.all.met(filter).map(|((status, severity, _), count)| (status, severity, count)))
    }

    /// Returns how many incidents that meet a filter were created, and how many were resolved, since an instant.
    /// Returns `None` if the instant is not midnight UTC, or lies before the kept days.
    pub(super) fn since(&self, filter: &IncidentFilter, since: Instant) -> Option<(u64, u64)> {
        let day = since.date_naive();
        let (filter, from) = filter.without_creation()?;
        // An incident that was created since `since` was also created after `from`.
        let is_known = filter.asks_for_portions() && from.is_none_or(|from| from <= since);
        if since.time() != NaiveTime::MIN || day < self.first || !is_known {
            return None;
        }
        let portions = self.days.range(day..).map(|(_, day)| day.len(from)).sum::<usize>();
        if filter.term_count().saturating_mul(portions) > STEPS_MAX {
            return None;
        }
        let (mut created, mut resolved) = (0, 0);
        for (_, day) in self.days.range(day..) {
            created += day.created.count(&filter);
            resolved += day.resolved_of(&filter, from)?;
        }
        Some((created, resolved))
    }

    /// Returns the entry of a day, or `None` if the day is before the first.
    fn day(&mut self, day: NaiveDate) -> Option<&mut Day> {
        (day >= self.first).then(|| self.days.entry(day).or_insert_with(Day::empty))
    }

    fn forget_days(&mut self) {
        while self.days.len() > DAYS_MAX {
            self.days.pop_first();
            self.first = self.days.keys().next().copied().unwrap_or(NaiveDate::MAX);
        }
    }
}

impl Day {
    /// Makes a day without any creation or resolution.
    fn empty() -> Self {
        Self { resolved_by_creation: Some(BTreeMap::new()), ..Self::default() }
    }

    /// Returns how many entries a count of the incidents that were created at `from` or later reads.
    fn len(&self, from: Option<Instant>) -> usize {
        let by_creation = from.and(self.resolved_by_creation.as_ref());
        let resolved = by_creation.map_or(self.resolved.0.len(), BTreeMap::len);
        self.created.0.len() + resolved
    }

    /// Returns how many resolved incidents that were created at `from` or later meet a filter; `None` if that is not
    /// known.
    fn resolved_of(&self, filter: &IncidentFilter, from: Option<Instant>) -> Option<u64> {
        let Some(from) = from else { return Some(self.resolved.count(filter)) };
        let met = self.resolved_by_creation.as_ref()?.iter().rev().take_while(|((created, _), _)| *created >= from);
        let met = met.filter(|((_, (status, severity, owner)), _)| filter.matches_portion(*status, *severity, *owner));
        Some(met.map(|(_, count)| count).sum())
    }

    fn note_resolved(&mut self, row: &QueueRow) {
        let Some(all) = &mut self.resolved_by_creation else { return };
        *all.entry((row.created_at, portion(row))).or_default() += 1;
        if all.len() > PORTIONS_MAX {
            self.resolved_by_creation = None;
        }
    }

    fn forget_resolved(&mut self, row: &QueueRow) {
        let Some(all) = &mut self.resolved_by_creation else { return };
        let key = (row.created_at, portion(row));
        match all.get_mut(&key) {
            Some(1) => drop(all.remove(&key)),
            Some(count) => *count -= 1,
            // The incident was never counted, so these counts are no longer usable.
            None => self.resolved_by_creation = None,
        }
    }
}

impl PortionCounts {
    fn add(&mut self, portion: Portion) {
        *self.0.entry(portion).or_default() += 1;
    }

    /// Returns `None` if the portion is empty: then an incident was never counted.
    fn subtract(&mut self, portion: Portion) -> Option<()> {
        let count = self.0.get_mut(&portion)?;
        *count -= 1;
        if *count == 0 {
            self.0.remove(&portion);
        }
        Some(())
    }

    fn met(&self, filter: &IncidentFilter) -> impl Iterator<Item = (Portion, u64)> {
        let counts = self.0.iter().map(|(portion, count)| (*portion, *count));
        counts.filter(|((status, severity, owner), _)| filter.matches_portion(*status, *severity, *owner))
    }

    fn count(&self, filter: &IncidentFilter) -> u64 {
        self.met(filter).map(|(_, count)| count).sum()
    }
}

fn portion(row: &QueueRow) -> Portion {
    (row.status, row.severity(), row.owner.as_ref().map(|owner| owner.id))
}

/// The days on which an incident was created, and resolved if it is.
fn days_of(row: &QueueRow) -> (NaiveDate, Option<NaiveDate>) {
    let resolved = row.resolved_at.filter(|_| row.status == Status::Resolved);
    (row.created_at.date_naive(), resolved.map(|at| at.date_naive()))
}
