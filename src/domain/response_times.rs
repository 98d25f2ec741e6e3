//! Response times: how long incidents waited for an owner, and for their resolution.

use super::Instant;

/// The longest window, in days.
pub(crate) const WINDOW_DAYS_MAX: i32 = 30;

/// The times of an incident's creation, first assignment and resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milestones {
    /// The time of creation.
    pub created: Instant,
    /// The time when the incident first had an owner.
    pub first_assigned: Option<Instant>,
    /// The time of resolution, if the incident is resolved.
    pub resolved: Option<Instant>,
}

/// Statistics of a waiting time over several incidents, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durations {
    /// How many incidents are counted.
    pub count: u64,
    /// The mean, cut to the microsecond; `None` if no incident is counted.
    pub mean: Option<i64>,
    /// The median: half of the incidents waited at most so long.
    pub p50: Option<i64>,
    /// The 90th percentile: nine of ten incidents waited at most so long.
    pub p90: Option<i64>,
    /// The 95th percentile: 19 of 20 incidents waited at most so long.
    pub p95: Option<i64>,
}

/// The waiting times of incidents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseTimes {
    /// The time from creation to the first owner, for incidents whose first owner was set in the window.
    pub to_assign: Durations,
    /// The time from creation to resolution, for incidents that were resolved in the window and still are.
    pub to_resolve: Durations,
}

impl ResponseTimes {
    /// Computes the waiting times from the milestones that incidents reached since an instant.
    pub(crate) fn of(incidents: &[Milestones], since: Instant) -> Self {
        let took = |reached: fn(&Milestones) -> Option<Instant>| {
            let within = incidents.iter().filter_map(|it| Some((it.created, reached(it)?)));
            // The clocks of two nodes, or an import, may put the end before the beginning. Such a time counts as 0.
            Durations::of(
                within
                    .filter(|(_, at)| *at >= since)
                    .map(|(from, to)| (to - from).num_microseconds().unwrap_or(0).max(0)),
            )
        };
        Self { to_assign: took(|it| it.first_assigned), to_resolve: took(|it| it.resolved) }
    }
}

impl Durations {
    fn of(each: impl Iterator<Item = i64>) -> Self {
        let mut sorted: Vec<i64> = each.collect();
        sorted.sort_unstable();
        let sum: i128 = sorted.iter().map(|micros| i128::from(*micros)).sum();
        let mean = i64::try_from(sum / (sorted.len() as i128).max(1)).unwrap_or(i64::MAX);
        Self {
            count: sorted.len() as u64,
            mean: (!sorted.is_empty()).then_some(mean),
            p50: nearest_rank(&sorted, 50),
            p90: nearest_rank(&sorted, 90),
            p95: nearest_rank(&sorted, 95),
        }
    }
}

/// Returns the percentile by nearest rank: the smallest value that at least `percent` of 100 values do not exceed. It
/// is always one of the values, so nothing is rounded. It is not computed in SQL, because only one of the two databases
/// can.
fn nearest_rank(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        // The textbook example with five values.
        let of = |values: &[i64]| Durations::of(values.iter().copied());
        let five = of(&[50, 15, 40, 20, 35]);
        assert_eq!((five.count, five.mean, five.p50, five.p90, five.p95), (5, Some(32), Some(35), Some(50), Some(50)));
        let twenty: Vec<i64> = (1..=20).collect();
        assert_eq!((of(&twenty).p50, of(&twenty).p90, of(&twenty).p95), (Some(10), Some(18), Some(19)));
        assert_eq!(of(&[7]).p50, Some(7));
        assert_eq!(of(&[]), Durations::default());
    }

    #[test]
    fn only_what_was_reached_in_the_window_counts_and_never_less_than_nothing() {
        let at = |second: i64| Instant::from_timestamp(second, 0).expect("an instant");
        let incident = |created, assigned: Option<i64>, resolved: Option<i64>| Milestones {
            created: at(created),
            first_assigned: assigned.map(at),
            resolved: resolved.map(at),
        };
        let incidents = [
            incident(0, Some(5), Some(20)),
            incident(8, Some(12), None),
            incident(30, None, Some(29)),
            incident(1, None, None),
        ];
        let times = ResponseTimes::of(&incidents, at(10));
        assert_eq!((times.to_assign.count, times.to_assign.p50), (1, Some(4_000_000)));
        assert_eq!((times.to_resolve.count, times.to_resolve.p50), (2, Some(0)));
        assert_eq!(times.to_resolve.mean, Some(10_000_000));
    }
}
