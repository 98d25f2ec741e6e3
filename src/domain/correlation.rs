//! Correlation: decides which alerts belong together, and to which open incident, by the entities that they name.
//!
//! The result depends on the incidents and the batch, and never on their order. The same alerts and incidents give the
//! same groups on every node.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::Duration;

use super::alert::Report;
use super::entity::{EntityKey, EntityKind};
use super::{Error, IncidentId, Instant, Result};

/// The default window in minutes: how far an alert may lie from the incident that it joins. It is a day, because an
/// intrusion pauses at night. Sentinel's rules group within 5 minutes to 7 days.
pub(crate) const WINDOW_MINUTES: i32 = 24 * 60;

/// The widest window, in minutes: 30 days. An account's activity of two months ago is another case.
pub(crate) const WINDOW_MINUTES_MAX: i32 = 30 * 24 * 60;

/// The default kinds of entities for correlation: kinds whose value identifies one thing or person. IP addresses, URLs
/// and domains are left out, because a proxy, a resolver or a sign-in page is in every second alert. Files, processes
/// and registry keys are the same on each machine. Applications and groups belong to the whole company.
pub(crate) const KINDS: [EntityKind; 6] = [
    EntityKind::User,
    EntityKind::Device,
    EntityKind::FileHash,
    EntityKind::Mailbox,
    EntityKind::MailMessage,
    EntityKind::CloudResource,
];

/// The most kinds that a caller may name. It is more than there are, so a repeated kind is no error.
pub(crate) const KINDS_MAX: usize = 50;

/// The default limit of open incidents that hold an entity, up to which the entity still tells which incident is meant.
/// A shared mailbox or a jump host is soon in more.
pub(crate) const HOLDERS: i32 = 5;

/// The highest limit that a caller may set. Every such incident is read, for each entity.
pub(crate) const HOLDERS_MAX: i32 = 100;

/// The most incidents that one batch opens or joins. Each is a change of its own, and together they are one transaction
/// of well under two seconds.
pub(crate) const INCIDENTS_PER_BATCH_MAX: usize = 500;

/// Values that every machine has, in the form in which they are compared: accounts of operating systems, the local host
/// names, hashes of an empty file, unspecified and loopback addresses. They do not tell whose alert it is.
const EVERYWHERE: [(EntityKind, &[&str]); 4] = [
    (
        EntityKind::User,
        &[
            "system",
            "nt authority\\system",
            "local service",
            "nt authority\\local service",
            "network service",
            "nt authority\\network service",
            "root",
            "administrator",
        ],
    ),
    (EntityKind::Device, &["localhost", "localhost.localdomain"]),
    (
        EntityKind::FileHash,
        &[
            "d41d8cd98f00b204e9800998ecf8427e",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ],
    ),
    (EntityKind::Ip, &["127.0.0.1", "::1", "0.0.0.0", "::"]),
];

/// How the alerts of a batch find the incidents that they belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation {
    /// How far an alert may lie from the incident or alert that it belongs to.
    pub window: Duration,
    /// The kinds of entities that count.
    pub kinds: BTreeSet<EntityKind>,
    /// The limit of open incidents per entity. An entity that more open incidents hold counts for none of them.
    pub holders: u64,
}

impl Correlation {
    /// Reads the settings of a correlation. Error paths are relative to the caller's input.
    pub fn parse(window_minutes: i32, kinds: Vec<EntityKind>, holders: i32) -> Result<Self> {
        if !(1..=WINDOW_MINUTES_MAX).contains(&window_minutes) {
            let message = format!("a window has 1 to {WINDOW_MINUTES_MAX} minutes");
            return Err(Error::limit("windowMinutes", message, WINDOW_MINUTES_MAX as usize));
        }
        if kinds.is_empty() {
            return Err(Error::invalid("kinds", "name at least one kind of entity, or leave it out"));
        }
        if !(1..=HOLDERS_MAX).contains(&holders) {
            let message = format!("1 to {HOLDERS_MAX} open incidents may hold an entity that counts");
            return Err(Error::limit("holders", message, HOLDERS_MAX as usize));
        }
        Ok(Self {
            window: Duration::minutes(i64::from(window_minutes)),
            kinds: kinds.into_iter().collect(),
            holders: holders as u64,
        })
    }

    /// Returns the entities by which the alert of a report is correlated.
    pub fn keys(&self, report: &Report) -> BTreeSet<EntityKey> {
        let counts = |key: &EntityKey| self.kinds.contains(&key.kind) && !is_everywhere(key);
        report.entities.iter().map(super::entity::Entity::key).filter(counts).collect()
    }
}

fn is_everywhere(key: &EntityKey) -> bool {
    EVERYWHERE.iter().any(|(kind, values)| *kind == key.kind && values.contains(&key.value.as_str()))
}

/// The period of an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityPeriod {
    /// The start of the period.
    pub first: Instant,
    /// The end of the period.
    pub last: Instant,
}

impl ActivityPeriod {
    /// Returns the period that an alert's provider states. Without any time it is the moment when the alert came in.
    pub fn of(report: &Report, came_in: Instant) -> Self {
        let (first, last) = (report.first_activity_at, report.last_activity_at);
        Self { first: first.or(last).unwrap_or(came_in), last: last.or(first).unwrap_or(came_in) }
    }

    /// Returns the period from the earlier start to the later end.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// Returns the time between two periods; zero if they overlap.
    fn apart(&self, other: &Self) -> Duration {
        (self.first - other.last).max(other.first - self.last).max(Duration::zero())
    }
}

/// An alert that belongs to no incident yet.
#[derive(Clone, Debug)]
pub(crate) struct Seeker {
    /// The entities by which the alert is correlated.
    pub keys: BTreeSet<EntityKey>,
    /// The period of the alert's activity.
    pub activity: ActivityPeriod,
}

/// An open incident that holds an entity of the batch.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The id of the incident.
    pub id: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The period from the first to the last activity of its alerts.
    pub activity: ActivityPeriod,
    /// The entities of the batch that the incident holds.
    pub keys: BTreeSet<EntityKey>,
}

/// Alerts that go into one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AlertGroup {
    /// The open incident that the alerts join; `None` if they open a new incident.
    pub incident: Option<IncidentId>,
    /// The alerts by their index in the batch, ascending. Each has the entities that it shares with the incident or
    /// with another alert of the group.
    pub alerts: Vec<(usize, BTreeSet<EntityKey>)>,
}

/// Puts each alert of a batch into one group. Alerts that share an entity within the window belong together, also in
/// turn. A group joins the open incident that shares most entities with it within the window; of several, the incident
/// with the latest activity; of several, the incident with the lowest number.
pub(crate) fn group(seekers: &[Seeker], candidates: &[Candidate], window: Duration) -> Vec<AlertGroup> {
    let mut together: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, root) in roots(seekers, window).into_iter().enumerate() {
        together.entry(root).or_default().push(at);
    }
    let mut joining: BTreeMap<IncidentId, Vec<usize>> = BTreeMap::new();
    let mut groups: Vec<(Option<&Candidate>, Vec<usize>)> = Vec::new();
    let by_key = holders(candidates);
    for members in together.into_values() {
        match best(&members, seekers, &by_key, window) {
            Some(candidate) => joining.entry(candidate.id).or_default().extend(members),
            None => groups.push((None, members)),
        }
    }
    for candidate in candidates {
        if let Some(mut members) = joining.remove(&candidate.id) {
            members.sort_unstable();
            groups.push((Some(candidate), members));
        }
    }
    groups.sort_by_key(|(_, members)| members.first().copied());
    groups.into_iter().map(|(candidate, members)| told(candidate, &members, seekers)).collect()
}

/// Returns for each alert the index of the first alert of its group.
fn roots(seekers: &[Seeker], window: Duration) -> Vec<usize> {
    let mut naming: BTreeMap<&EntityKey, Vec<usize>> = BTreeMap::new();
    for (at, seeker) in seekers.iter().enumerate() {
        seeker.keys.iter().for_each(|key| naming.entry(key).or_default().push(at));
    }
    let mut parents: Vec<usize> = (0..seekers.len()).collect();
    for mut alerts in naming.into_values() {
        alerts.sort_by_key(|at| seekers[*at].activity.first);
        // Among the alerts that began before, the one that ended last is the nearest. If it is too far away, all are.
        let mut nearest = alerts[0];
        for at in alerts {
            if seekers[at].activity.apart(&seekers[nearest].activity) <= window {
                let (one, other) = (root(&mut parents, at), root(&mut parents, nearest));
                parents[one.max(other)] = one.min(other);
            }
            if seekers[at].activity.last > seekers[nearest].activity.last {
                nearest = at;
            }
        }
    }
    (0..seekers.len()).map(|at| root(&mut parents, at)).collect()
}

fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

fn holders(candidates: &[Candidate]) -> HashMap<&EntityKey, Vec<&Candidate>> {
    let mut by_key: HashMap<&EntityKey, Vec<&Candidate>> = HashMap::new();
    for candidate in candidates {
        candidate.keys.iter().for_each(|key| by_key.entry(key).or_default().push(candidate));
    }
    by_key
}

fn best<'a>(
    members: &[usize],
    seekers: &[Seeker],
    by_key: &HashMap<&EntityKey, Vec<&'a Candidate>>,
    window: Duration,
) -> Option<&'a Candidate> {
    let mut shared: BTreeMap<IncidentId, (&Candidate, BTreeSet<&EntityKey>)> = BTreeMap::new();
    for seeker in members.iter().map(|at| &seekers[*at]) {
        for key in &seeker.keys {
            for candidate in by_key.get(key).into_iter().flatten().copied() {
                if candidate.activity.apart(&seeker.activity) <= window {
                    shared.entry(candidate.id).or_insert_with(|| (candidate, BTreeSet::new())).1.insert(key);
                }
            }
        }
    }
    let rank = |(candidate, keys): &(&Candidate, BTreeSet<&EntityKey>)| {
        (keys.len(), candidate.activity.last, std::cmp::Reverse(candidate.number))
    };
    shared.into_values().max_by_key(rank).map(|(candidate, _)| candidate)
}

/// Builds a group, and finds what each alert shares with the rest of it.
fn told(candidate: Option<&Candidate>, members: &[usize], seekers: &[Seeker]) -> AlertGroup {
    let mut named: HashMap<&EntityKey, usize> = HashMap::new();
    let held = candidate.iter().flat_map(|candidate| &candidate.keys);
    let keys = members.iter().flat_map(|at| &seekers[*at].keys);
    held.chain(keys).for_each(|key| *named.entry(key).or_default() += 1);
    let shared = |key: &&EntityKey| named.get(key).is_some_and(|times| *times > 1);
    let alerts = members.iter().map(|at| (*at, seekers[*at].keys.iter().filter(shared).cloned().collect()));
    AlertGroup { incident: candidate.map(|candidate| candidate.id), alerts: alerts.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hour: i64) -> Instant {
        "2026-11-23T00:00:00Z".parse::<Instant>().expect("an instant") + Duration::hours(hour)
    }

    fn keys(names: &[&str]) -> BTreeSet<EntityKey> {
        names.iter().map(|name| EntityKey { kind: EntityKind::User, value: (*name).to_owned() }).collect()
    }

    fn seeker(names: &[&str], first: i64, last: i64) -> Seeker {
        Seeker { keys: keys(names), activity: ActivityPeriod { first: hour(first), last: hour(last) } }
    }

    fn candidate(number: i64, names: &[&str], first: i64, last: i64) -> Candidate {
        let activity = ActivityPeriod { first: hour(first), last: hour(last) };
        Candidate { id: IncidentId(uuid::Uuid::from_u128(number as u128)), number, activity, keys: keys(names) }
    }

    fn grouped(seekers: &[Seeker], candidates: &[Candidate]) -> Vec<(Option<u128>, Vec<usize>)> {
        let groups = group(seekers, candidates, Duration::hours(24));
        let places = |group: &AlertGroup| group.alerts.iter().map(|(at, _)| *at).collect();
        groups.iter().map(|group| (group.incident.map(|id| id.0.as_u128()), places(group))).collect()
    }

    #[test]
    fn alerts_that_share_in_turn_are_together_and_others_alone() {
        let batch = [seeker(&["a"], 1, 1), seeker(&["c"], 1, 1), seeker(&[], 1, 1), seeker(&["a", "b"], 1, 1)];
        let batch = [&batch[..], &[seeker(&["b"], 2, 2)]].concat();
        assert_eq!(grouped(&batch, &[]), [(None, vec![0, 3, 4]), (None, vec![1]), (None, vec![2])]);
    }

    #[test]
    fn the_window_is_between_the_nearest_ends() {
        let batch = [seeker(&["a"], 0, 40), seeker(&["a"], 10, 11), seeker(&["a"], 64, 64)];
        assert_eq!(grouped(&batch, &[]), [(None, vec![0, 1, 2])]);
        let batch = [seeker(&["a"], 65, 65), seeker(&["a"], 0, 40), seeker(&["a"], 10, 11)];
        assert_eq!(grouped(&batch, &[]), [(None, vec![0]), (None, vec![1, 2])]);
        let incident = [candidate(7, &["a"], 10, 20)];
        for (first, last, joins) in [(44, 50, true), (45, 50, false), (-20, -14, true), (-20, -15, false)] {
            let group = grouped(&[seeker(&["a"], first, last)], &incident);
            assert_eq!(group, [(joins.then_some(7), vec![0])], "{first} to {last}");
        }
    }

    #[test]
    fn of_several_incidents_the_closest_is_chosen() {
        let alert = [seeker(&["a", "b"], 10, 10)];
        let chosen = |candidates: &[Candidate]| grouped(&alert, candidates)[0].0;
        assert_eq!(chosen(&[candidate(1, &["a"], 9, 10), candidate(2, &["a", "b"], 1, 2)]), Some(2));
        assert_eq!(chosen(&[candidate(1, &["a"], 1, 8), candidate(2, &["b"], 1, 9)]), Some(2));
        assert_eq!(chosen(&[candidate(2, &["a"], 1, 9), candidate(1, &["b"], 2, 9)]), Some(1));
        // All entities of a group count together, and two groups may join one incident.
        let batch = [seeker(&["a", "x"], 10, 10), seeker(&["b", "x"], 10, 10), seeker(&["c"], 10, 10)];
        let candidates = [candidate(1, &["x"], 9, 10), candidate(2, &["a", "b", "c"], 9, 10)];
        assert_eq!(grouped(&batch, &candidates), [(Some(2), vec![0, 1, 2])]);
    }

    #[test]
    fn each_alert_says_what_it_shares() {
        let batch = [seeker(&["a", "own"], 10, 10), seeker(&["a", "b"], 10, 10)];
        let groups = group(&batch, &[candidate(1, &["b"], 9, 10)], Duration::hours(24));
        assert_eq!(groups[0].alerts, [(0, keys(&["a"])), (1, keys(&["a", "b"]))]);
    }

    #[test]
    fn what_every_machine_has_says_nothing() {
        let named = |kind, value: &str| super::super::entity::Entity { kind, value: value.to_owned(), verdict: None };
        let entities = vec![
            named(EntityKind::User, "NT AUTHORITY\\System"),
            named(EntityKind::Device, "LOCALHOST"),
            named(EntityKind::User, "kim"),
            named(EntityKind::Ip, "10.0.0.53"),
        ];
        let report = Report {
            provider: "Sensor".to_owned(),
            provider_alert_id: "1".to_owned(),
            product: None,
            title: "Credential dumping".to_owned(),
            description: None,
            severity: super::super::incident::Severity::High,
            category: None,
            techniques: Vec::new(),
            first_activity_at: None,
            last_activity_at: None,
            entities,
        };
        let how = Correlation::parse(WINDOW_MINUTES, KINDS.to_vec(), HOLDERS).expect("defaults");
        assert_eq!(how.keys(&report), keys(&["kim"]));
        let with_addresses = Correlation::parse(60, vec![EntityKind::Ip], 1).expect("addresses");
        assert_eq!(with_addresses.keys(&report).len(), 1, "asked for, an address counts");
    }
}
