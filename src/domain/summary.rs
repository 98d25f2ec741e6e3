//! The summary of a queue: the numbers of a wall screen, and the tally that keeps them current while incidents change.

use std::collections::{BTreeMap, BTreeSet};

use super::account::{Actor, Owner, OwnerId};
use super::filter::{IncidentFilter, QueueFilter};
use super::incident::{Severity, Status};
use super::queue::QueueRow;
use super::tag::Tag;
use super::value_counts::{VALUE_BYTES, VALUES_HELD_MAX, VALUES_MAX, ValueCounts, leave_out_common, less};
use super::{IncidentId, Instant, Result, text};

/// The severities that a summary counts, worst first. A summary lists each of them, also with count 0.
pub const SEVERITIES: [Severity; 4] = [Severity::High, Severity::Medium, Severity::Low, Severity::Informational];

/// The statuses of open incidents. A summary lists each of them, also with count 0.
pub const OPEN: [Status; 2] = [Status::New, Status::Active];

/// The most owners that a summary lists, the busiest first. A wall screen cannot show more.
pub const OWNERS_MAX: usize = 1_000;

/// The most keys of open incidents that a tally keeps, so that it knows the next oldest when the oldest leaves. A team
/// that works a queue from its old end removes half of these keys before they are read again.
pub const OLDEST_MAX: usize = 512;

/// The two sets of incidents that a summary counts.
///
/// The *open* set has the incidents of the filter's queue that are `NEW` or `ACTIVE`. Created and resolved incidents
/// are counted in a larger set: the filter without the status condition of its top level. Otherwise no incident of the
/// default queue could be counted as resolved. A status that was added by default and a status that the caller named
/// are both left out, as a facet leaves out its own field.
#[derive(Clone, Debug)]
pub struct SummaryFilter {
    queue: QueueFilter,
    any_status: QueueFilter,
    open: Vec<Status>,
}

impl SummaryFilter {
    /// Resolves a filter for a caller. Refuses the filters that [`QueueFilter::resolve`] refuses.
    pub fn resolve(filter: &IncidentFilter, actor: &Actor) -> Result<Self> {
        let queue = QueueFilter::resolve(filter, actor)?;
        let named = queue.filter().status.as_ref();
        let open = OPEN.into_iter().filter(|status| named.is_none_or(|named| named.contains(status))).collect();
        Ok(Self { any_status: queue.of_any_status(), open, queue })
    }

    /// Returns the queue that the open incidents belong to.
    pub fn queue(&self) -> &QueueFilter {
        &self.queue
    }

    /// Returns the filter without its top level's status. Created and resolved incidents are counted in it; it includes
    /// the open incidents.
    pub fn any_status(&self) -> &QueueFilter {
        &self.any_status
    }

    /// Returns the statuses that make an incident of [`SummaryFilter::any_status`] an open incident of the queue.
    pub fn open(&self) -> &[Status] {
        &self.open
    }
}

/// The period in which a summary counts created and resolved incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// From this instant on.
    Since(Instant),
    /// From the last midnight in UTC on. The start moves with the day.
    Today,
}

impl Window {
    /// Returns the start of the period at the time `now`.
    pub fn start(self, now: Instant) -> Instant {
        match self {
            Self::Since(at) => at,
            Self::Today => now.date_naive().and_time(chrono::NaiveTime::MIN).and_utc(),
        }
    }
}

/// The numbers of a summary that a caller asks for, besides the numbers of open incidents that take no more work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Whether created and resolved incidents are counted.
    pub flow: bool,
    /// Whether the open incidents are counted by tag.
    pub by_tag: bool,
    /// Whether the open incidents are counted by product.
    pub by_product: bool,
}

impl Numbers {
    /// All numbers.
    pub const ALL: Self = Self { flow: true, by_tag: true, by_product: true };

    /// Returns how many bytes a tally may keep for the counts of values that are asked for.
    pub fn bytes_held(self) -> usize {
        let lists = usize::from(self.by_tag) + usize::from(self.by_product);
        lists * VALUES_HELD_MAX * VALUE_BYTES
    }
}

/// The use of a tally. It decides how much the tally keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TallyUse {
    /// The tally is shown once, as it is.
    Once,
    /// The tally follows later changes.
    Followed,
}

impl TallyUse {
    /// Returns how many keys of the oldest open incidents a tally starts with.
    pub fn oldest_max(self) -> usize {
        match self {
            Self::Once => 1,
            Self::Followed => OLDEST_MAX,
        }
    }

    /// Returns how many tags or products a tally reads at its start: as many as it lists, or one more than it keeps.
    pub fn values_max(self) -> usize {
        match self {
            Self::Once => VALUES_MAX,
            Self::Followed => VALUES_HELD_MAX + 1,
        }
    }
}

/// How many incidents have one status, severity and owner, as a database counts them.
#[derive(Clone, Debug, PartialEq)]
pub struct Portion {
    /// The status of these incidents.
    pub status: Status,
    /// The effective severity of these incidents.
    pub severity: Severity,
    /// The owner of these incidents.
    pub owner: Option<Owner>,
    /// How many incidents there are.
    pub incidents: u64,
}

/// The counts from which a tally starts, of a database or of the board.
#[derive(Clone, Debug, PartialEq)]
pub struct TakenFrom {
    /// The open incidents, counted by status, severity and owner.
    pub portions: Vec<Portion>,
    /// The keys of the oldest open incidents: all of them, or as many as the caller asked for.
    pub oldest: Vec<(Instant, IncidentId)>,
    /// How many incidents of any status were created in the period, and how many were resolved in it and still are.
    /// `None` if the caller does not ask for them.
    pub flow: Option<(u64, u64)>,
    /// The open incidents, counted by tag and by product.
    pub values: OpenValues,
}

/// The open incidents, counted by tag and by product. A part is `None` if the caller does not ask for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenValues {
    /// The count of each tag, the most frequent first: at most [`TallyUse::values_max`] tags.
    pub by_tag: Option<Vec<(Tag, u64)>>,
    /// The count of each product, likewise.
    pub by_product: Option<Vec<(String, u64)>>,
}

/// The numbers of a wall screen, as of one position.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The start of the period in which created and resolved incidents are counted.
    pub since: Instant,
    /// How many incidents are open.
    pub open: u64,
    /// The open incidents by severity: all of [`SEVERITIES`], in that order.
    pub by_severity: Vec<(Severity, u64)>,
    /// The open incidents by status: all of [`OPEN`], in that order.
    pub by_status: Vec<(Status, u64)>,
    /// How many open incidents have no owner.
    pub unassigned: u64,
    /// The open incidents by owner, the busiest first, at most [`OWNERS_MAX`].
    pub by_owner: Vec<(Owner, u64)>,
    /// The open incidents by tag, the most frequent tag first, at most [`VALUES_MAX`]. Empty if not asked for.
    pub by_tag: Vec<(Tag, u64)>,
    /// The open incidents by product, the most frequent product first, at most [`VALUES_MAX`]. Empty if not asked for.
    pub by_product: Vec<(String, u64)>,
    /// The time at which the oldest open incident was created.
    pub oldest: Option<Instant>,
    /// How many incidents of any status were created in the period.
    pub created: u64,
    /// How many incidents were resolved in the period and still are.
    pub resolved: u64,
}

/// The share of one incident in the numbers.
#[derive(Clone, Debug, PartialEq)]
struct IncidentShare {
    open: Option<OpenShare>,
    created: bool,
    resolved: bool,
}

/// The share of one open incident. Tags and products are empty if they are not counted.
#[derive(Clone, Debug, PartialEq)]
struct OpenShare {
    status: Status,
    severity: Severity,
    owner: Option<Owner>,
    created_at: Instant,
    tags: Vec<Tag>,
    products: Vec<String>,
}

/// The numbers, kept current from the rows before and after each change.
#[derive(Clone, Debug)]
pub struct Tally {
    filter: SummaryFilter,
    since: Instant,
    numbers: Numbers,
    by_severity: BTreeMap<Severity, u64>,
    by_status: BTreeMap<Status, u64>,
    unassigned: u64,
    by_owner: BTreeMap<OwnerId, (Owner, u64)>,
    by_tag: ValueCounts<Tag>,
    by_product: ValueCounts<String>,
    oldest: Oldest,
    created: u64,
    resolved: u64,
}

impl Tally {
    /// Starts a tally. It counts what the counts from which it starts have: without `flow`, its counts of created and
    /// resolved incidents stay 0, and without values it lists none.
    pub fn new(filter: SummaryFilter, since: Instant, taken: TakenFrom) -> Self {
        let TakenFrom { portions, oldest, flow, values: OpenValues { by_tag, by_product } } = taken;
        let numbers = Numbers { flow: flow.is_some(), by_tag: by_tag.is_some(), by_product: by_product.is_some() };
        let (created, resolved) = flow.unwrap_or_default();
        let mut tally = Self {
            since,
            numbers,
            by_severity: BTreeMap::new(),
            by_status: BTreeMap::new(),
            unassigned: 0,
            by_owner: BTreeMap::new(),
            by_tag: ValueCounts::new(by_tag.unwrap_or_default()),
            by_product: ValueCounts::new(by_product.unwrap_or_default()),
            oldest: Oldest::default(),
            created,
            resolved,
            filter,
        };
        for portion in portions {
            if tally.filter.open.contains(&portion.status) {
                *tally.by_severity.entry(portion.severity).or_default() += portion.incidents;
                *tally.by_status.entry(portion.status).or_default() += portion.incidents;
                match portion.owner {
                    None => tally.unassigned += portion.incidents,
                    Some(owner) => tally.by_owner.entry(owner.id).or_insert((owner, 0)).1 += portion.incidents,
                }
            }
        }
        tally.oldest = Oldest::new(oldest, tally.open());
        tally
    }

    /// Returns the start of the period in which created and resolved incidents are counted.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Applies a change of an incident: its row before and its row after the change. Each row is `None` if it does not
    /// match the filter in any status. Returns whether a number changed.
    pub fn follow(&mut self, before: Option<&QueueRow>, after: Option<&QueueRow>) -> Result<bool> {
        let (mut was, mut is) = (before.map(|row| self.part(row)), after.map(|row| self.part(row)));
        if was == is {
            return Ok(false);
        }
        if let (Some(IncidentShare { open: Some(was), .. }), Some(IncidentShare { open: Some(is), .. })) =
            (&mut was, &mut is)
        {
            // Values that stay are not counted anew.
            leave_out_common(&mut was.tags, &mut is.tags);
            leave_out_common(&mut was.products, &mut is.products);
        }
        if let (Some(part), Some(row)) = (was, before) {
            self.subtract(&part, row.id)?;
        }
        if let (Some(part), Some(row)) = (is, after) {
            self.add(part, row.id);
        }
        Ok(true)
    }

    /// Returns the numbers. Returns `None` if so many of the oldest incidents have left that the oldest is no longer
    /// known, or if there are too many tags or products to know the most frequent of them after a change. The caller
    /// then has to take the tally again.
    pub fn summary(&self) -> Option<Summary> {
        let open = self.open();
        let oldest = self.oldest.first();
        if oldest.is_none() && open > 0 {
            return None;
        }
        let (by_tag, by_product) = (self.by_tag.most_frequent()?, self.by_product.most_frequent()?);
        let mut by_owner: Vec<(Owner, u64)> = self.by_owner.values().cloned().collect();
        by_owner.sort_by_cached_key(|(owner, count)| (std::cmp::Reverse(*count), text::fold(&owner.name), owner.id));
        by_owner.truncate(OWNERS_MAX);
        Some(Summary {
            since: self.since,
            open,
            by_severity: SEVERITIES.map(|key| (key, self.by_severity.get(&key).copied().unwrap_or(0))).into(),
            by_status: OPEN.map(|key| (key, self.by_status.get(&key).copied().unwrap_or(0))).into(),
            unassigned: self.unassigned,
            by_owner,
            by_tag,
            by_product,
            oldest,
            created: self.created,
            resolved: self.resolved,
        })
    }

    fn open(&self) -> u64 {
        self.by_status.values().sum()
    }

    fn part(&self, row: &QueueRow) -> IncidentShare {
        let Numbers { flow, by_tag, by_product } = self.numbers;
        let is_resolved = row.status == Status::Resolved && row.resolved_at.is_some_and(|at| at >= self.since);
        let open = self.filter.open.contains(&row.status).then(|| OpenShare {
            status: row.status,
            severity: row.severity(),
            owner: row.owner.clone(),
            created_at: row.created_at,
            tags: if by_tag { row.tags.clone() } else { Vec::new() },
            products: if by_product { row.products.clone() } else { Vec::new() },
        });
        IncidentShare { open, created: flow && row.created_at >= self.since, resolved: flow && is_resolved }
    }

    fn add(&mut self, part: IncidentShare, id: IncidentId) {
        self.created += u64::from(part.created);
        self.resolved += u64::from(part.resolved);
        let Some(OpenShare { status, severity, owner, created_at, tags, products }) = part.open else { return };
        *self.by_severity.entry(severity).or_default() += 1;
        *self.by_status.entry(status).or_default() += 1;
        match owner {
            None => self.unassigned += 1,
            Some(owner) => {
                let (named, count) = self.by_owner.entry(owner.id).or_insert_with(|| (owner.clone(), 0));
                // The newest change has the newest name.
                *named = owner;
                *count += 1;
            }
        }
        self.by_tag.add(tags);
        self.by_product.add(products);
        self.oldest.insert((created_at, id));
    }

    fn subtract(&mut self, part: &IncidentShare, id: IncidentId) -> Result<()> {
        less(&mut self.created, u64::from(part.created))?;
        less(&mut self.resolved, u64::from(part.resolved))?;
        let Some(OpenShare { status, severity, owner, created_at, tags, products }) = &part.open else { return Ok(()) };
        less(self.by_severity.entry(*severity).or_default(), 1)?;
        less(self.by_status.entry(*status).or_default(), 1)?;
        match owner {
            None => less(&mut self.unassigned, 1)?,
            Some(owner) => {
                let (_, count) = self.by_owner.entry(owner.id).or_insert_with(|| (owner.clone(), 0));
                less(count, 1)?;
                if *count == 0 {
                    self.by_owner.remove(&owner.id);
                }
            }
        }
        self.by_tag.subtract(tags)?;
        self.by_product.subtract(products)?;
        self.oldest.remove(&(*created_at, id));
        Ok(())
    }
}

/// The oldest open incidents, at most [`OLDEST_MAX`]: all that are not newer than the horizon. Without a horizon: all.
///
/// A stream does not keep all open incidents: a desk may have 100,000 of them, and one stream for each screen.
#[derive(Clone, Debug, Default)]
struct Oldest {
    held: BTreeSet<(Instant, IncidentId)>,
    horizon: Option<(Instant, IncidentId)>,
}

impl Oldest {
    fn new(keys: Vec<(Instant, IncidentId)>, open: u64) -> Self {
        let held: BTreeSet<_> = keys.into_iter().collect();
        let horizon = held.last().copied().filter(|_| (held.len() as u64) < open);
        Self { held, horizon }
    }

    fn first(&self) -> Option<Instant> {
        self.held.first().map(|(at, _)| *at)
    }

    fn insert(&mut self, key: (Instant, IncidentId)) {
        if self.horizon.is_some_and(|horizon| key > horizon) {
            return;
        }
        self.held.insert(key);
        if self.held.len() > OLDEST_MAX {
            self.held.pop_last();
            self.horizon = self.held.last().copied();
        }
    }

    fn remove(&mut self, key: &(Instant, IncidentId)) {
        self.held.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key(at: u16, id: u16) -> (Instant, IncidentId) {
        (
            Instant::from_timestamp(i64::from(at), 0).expect("an instant"),
            IncidentId(uuid::Uuid::from_u128(u128::from(id))),
        )
    }

    proptest! {
        /// Checks that a reported oldest is the real oldest after any insertions and removals, and that nothing is
        /// reported if it is unknown.
        #[test]
        fn the_oldest_is_the_oldest_or_is_not_known(
            start in prop::collection::btree_map(0_u16..2_000, 0_u16..900, 0..1_400),
            steps in prop::collection::vec((0_u16..2_000, 0_u16..900, any::<bool>()), 0..1_500),
        ) {
            let mut all: BTreeMap<u16, u16> = start;
            let mut keys: Vec<_> = all.iter().map(|(id, at)| key(*at, *id)).collect();
            keys.sort();
            keys.truncate(OLDEST_MAX);
            let mut oldest = Oldest::new(keys, all.len() as u64);
            for (id, at, from_the_front) in steps {
                let first = all.iter().map(|(id, at)| key(*at, *id)).min();
                let gone = match (from_the_front, first) {
                    (true, Some((_, IncidentId(id)))) => u16::try_from(id.as_u128()).expect("an id"),
                    _ => id,
                };
                match all.remove(&gone) {
                    Some(at) => oldest.remove(&key(at, gone)),
                    None => {
                        all.insert(id, at);
                        oldest.insert(key(at, id));
                    }
                }
                prop_assert!(oldest.held.len() <= OLDEST_MAX);
                let truth = all.iter().map(|(id, at)| key(*at, *id).0).min();
                if let Some(said) = oldest.first() {
                    prop_assert_eq!(Some(said), truth);
                } else if oldest.horizon.is_none() {
                    prop_assert_eq!(None, truth);
                }
            }
        }
    }
}
