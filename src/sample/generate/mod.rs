//! A desk of any size, made from random numbers with a seed: the same plan gives the same cases on every machine.
//!
//! Each incident has random numbers of its own ([`incident`]), so cases are made one by one and none is kept in memory.
//! The texts come from the sample desk's stories.

pub(crate) mod incident;
pub(crate) mod records;
pub(crate) mod world;

use std::sync::Arc;

use chrono::Duration;
use uuid::Builder;

use self::world::World;
use super::dice::Dice;
use crate::app::load::{Accounts, Case, Cases};
use crate::domain::timeline::Timeline;
use crate::domain::{Instant, Result};
use crate::import::Record;

/// The least number of days that a desk reaches back.
const DAYS_MIN: u64 = 30;

/// The most incidents of a day. A larger desk reaches further back.
const INCIDENTS_A_DAY_MAX: u64 = 2_000;

/// The least number of minutes between the last incident and the end, because the work on an incident takes time.
const MINUTES_LEFT: i64 = 10;

/// There is one alert without an incident for this many incidents.
const INCIDENTS_PER_LONE_ALERT: u64 = 40;

/// The three parts of a day: the hour in which the part ends, and its relative number of incidents per hour.
const DAY: [(u64, u64); 3] = [(6, 1), (19, 4), (24, 2)];

const HOUR_MS: u64 = 3_600_000;

/// The parameters of a generated desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratePlan {
    /// The number of incidents.
    pub incidents: u64,
    /// The seed, which distinguishes desks of the same size.
    pub seed: u64,
    /// The percentage of incidents that are open.
    pub open_percent: u64,
    /// The time of the desk's last state.
    pub end: Instant,
}

impl GeneratePlan {
    /// Returns the earliest time at which an incident may open.
    pub fn start(&self) -> Instant {
        let days = self.incidents.div_ceil(INCIDENTS_A_DAY_MAX).max(DAYS_MIN);
        self.end - Duration::days(i64::try_from(days).unwrap_or(i64::MAX / 100_000_000))
    }
}

/// A generated desk.
#[derive(Clone, Debug)]
pub struct Generated {
    plan: GeneratePlan,
    world: Arc<World>,
}

impl Generated {
    /// Makes the desk of a plan.
    pub fn of(plan: GeneratePlan) -> Result<Self> {
        let world = Arc::new(World::of(&plan)?);
        Ok(Self { plan, world })
    }

    /// Returns the desk's users and groups.
    pub fn accounts(&self) -> Accounts {
        self.world.accounts()
    }

    /// Returns the incidents, and the alerts that belong to none, in the order in which they begin.
    pub fn cases(&self) -> Cases {
        let told = self.clone();
        Box::new((0..self.plan.incidents).flat_map(move |index| told.cases_at(index)))
    }

    /// Returns the desk as records of the desk's own import format: accounts first, then all others, ordered by time.
    pub fn records(&self) -> impl Iterator<Item = Result<Record>> + use<> {
        let accounts = self.accounts();
        let names = records::Names::of(&accounts);
        let mut incidents = 0;
        let stories = self.cases().map(move |case| records::of_case(case, &mut incidents, &names));
        let told = Timeline::of(stories).map(|(_, record)| record);
        records::of_accounts(&accounts).into_iter().map(Ok).chain(told)
    }

    fn cases_at(&self, index: u64) -> impl Iterator<Item = Result<Case>> + use<> {
        let mut dice = Dice::new(Dice::new(self.plan.seed).roll() ^ Dice::new(index).roll());
        let opened = self.opening(index, &mut dice);
        let lone = dice.roll().is_multiple_of(INCIDENTS_PER_LONE_ALERT);
        let lone = lone.then(|| self.lone_alert(index, opened, &mut dice));
        lone.into_iter().chain([self.incident(index, opened, &mut dice)])
    }

    /// Returns the time at which an incident opens: later than the one before it, and mostly in working hours.
    fn opening(&self, index: u64, dice: &mut Dice) -> Instant {
        let end = self.plan.end - Duration::minutes(MINUTES_LEFT);
        let (first, last) = (work_until(self.plan.start()), work_until(end));
        let (count, work) = (u128::from(self.plan.incidents.max(1)), u128::from(last - first));
        let slot = |index: u64| work * u128::from(index) / count;
        let within = u128::from(dice.roll()) % (slot(index + 1) - slot(index)).max(1);
        let done = u64::try_from(slot(index) + within).unwrap_or(u64::MAX);
        when_done(first + done).clamp(self.plan.start(), end)
    }

    /// Decides whether an incident is still open: most of the newest are, and few of the old.
    fn is_open(&self, index: u64, dice: &mut Dice) -> bool {
        let GeneratePlan { incidents, open_percent, .. } = self.plan;
        let open = incidents * open_percent / 100;
        if open * 5 >= incidents {
            return dice.percent(open_percent);
        }
        // Let n be the number of open incidents: 70 % of the newest n, 9 % of the 3 n before, and 3 % of n over the
        // others.
        match (incidents - 1 - index) / open.max(1) {
            0 => dice.percent(70),
            1..=3 => dice.percent(9),
            _ => dice.roll() % (incidents - 4 * open).max(1) * 100 < 3 * open,
        }
    }
}

/// Returns the working milliseconds from 1970 until a time, weighted by the hour.
fn work_until(at: Instant) -> u64 {
    let ms = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    let (days, mut left) = (ms / (24 * HOUR_MS), ms % (24 * HOUR_MS));
    let (mut work, mut from) = (days * DAY_WORK, 0);
    for (until, weight) in DAY {
        let here = left.min((until - from) * HOUR_MS);
        work += here * weight;
        left -= here;
        from = until;
    }
    work
}

/// Returns the time at which this much work is done: the inverse of [`work_until`].
fn when_done(work: u64) -> Instant {
    let (days, mut left) = (work / DAY_WORK, work % DAY_WORK);
    let (mut ms, mut from) = (days * 24 * HOUR_MS, 0);
    for (until, weight) in DAY {
        let here = left.min((until - from) * HOUR_MS * weight);
        ms += here / weight;
        left -= here;
        from = until;
    }
    Instant::from_timestamp_millis(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or_default()
}

/// The weighted milliseconds of one day.
const DAY_WORK: u64 =
    (DAY[0].0 * DAY[0].1 + (DAY[1].0 - DAY[0].0) * DAY[1].1 + (DAY[2].0 - DAY[1].0) * DAY[2].1) * HOUR_MS;

/// Makes an id as the desk makes ids: a UUIDv7, ordered by its time.
fn id(at: Instant, dice: &mut Dice) -> uuid::Uuid {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&dice.roll().to_be_bytes());
    random[8..].copy_from_slice(&dice.roll().to_be_bytes()[..2]);
    let ms = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(incidents: u64) -> GeneratePlan {
        GeneratePlan { incidents, seed: 7, open_percent: 5, end: "2026-06-01T00:00:00Z".parse().unwrap() }
    }

    fn openings(incidents: u64) -> Vec<Instant> {
        let desk = Generated::of(plan(incidents)).unwrap();
        (0..incidents).map(|index| desk.opening(index, &mut Dice::new(index))).collect()
    }

    #[test]
    fn work_and_time_are_two_names_of_one_moment() {
        for text in ["2026-05-31T00:00:00Z", "2026-05-31T05:59:59Z", "2026-05-31T12:00:00Z", "2026-05-31T23:59:59.999Z"]
        {
            let at: Instant = text.parse().unwrap();
            assert_eq!(when_done(work_until(at)), at);
        }
    }

    #[test]
    fn incidents_open_one_after_the_other_within_their_days() {
        for incidents in [1, 2, 300, 5_000] {
            let openings = openings(incidents);
            assert!(openings.is_sorted(), "{incidents}");
            let plan = plan(incidents);
            assert!(openings.iter().all(|at| *at >= plan.start() && *at <= plan.end - Duration::minutes(10)));
        }
        // 13 of 24 hours have 52 of 68 parts of the work.
        let by_day = openings(5_000).iter().filter(|at| (6..19).contains(&chrono::Timelike::hour(*at))).count();
        assert!((3_700..3_950).contains(&by_day), "{by_day}");
    }

    #[test]
    fn a_larger_desk_reaches_further_back() {
        let days = |incidents| (plan(incidents).end - plan(incidents).start()).num_days();
        assert_eq!([days(1), days(60_000), days(60_001), days(1_000_000)], [30, 30, 31, 500]);
    }

    #[test]
    fn as_many_are_open_as_was_asked_for() {
        for (incidents, percent) in [(20_000, 5), (20_000, 0), (20_000, 1), (2_000, 60), (500, 100)] {
            let desk = Generated::of(GeneratePlan { open_percent: percent, ..plan(incidents) }).unwrap();
            let open =
                (0..incidents).filter(|index| desk.is_open(*index, &mut Dice::new(index * 31 + 7))).count() as u64;
            let (wanted, off) = (incidents * percent / 100, incidents / 100);
            assert!(open.abs_diff(wanted) <= off, "{open} of {incidents}, {wanted} wanted");
        }
    }
}
