//! The sample desk: thirty days of believable work, made from random numbers with a fixed seed.
//!
//! The same seed and the same `now` give the same records, ordered by time. Each record is valid, and the records that
//! it refers to come before it. Nothing here is anybody's data: the company, the products and the texts are invented.

pub(crate) mod dice;
pub(crate) mod everyday;
pub mod generate;
pub(crate) mod intrusions;
pub mod live;
pub(crate) mod people;
pub(crate) mod slips;
pub(crate) mod stories;
pub(crate) mod telling;

use chrono::{Duration, SubsecRound, Timelike};

use self::dice::Dice;
use self::telling::{Happening, SOURCE, Telling};
use crate::domain::Instant;
use crate::import::Record;

/// How many days the desk reaches back.
pub const DAYS: i64 = 30;

/// The number of incidents: eighteen a day, which three shifts of three analysts can work off.
pub const INCIDENTS: i64 = 560;

/// The number of alerts a day that belong to no incident.
const LOOSE_ALERTS_A_DAY: u64 = 10;

/// The age in days up to which an incident may be worked on slowly, so that the present queue is not empty.
const FRESH_DAYS: i64 = 3;

/// Returns the records of the desk as it stands at `now`: accounts first, then all others, ordered by time.
pub fn desk(seed: u64, now: Instant) -> Vec<Record> {
    build(seed, now).past
}

/// The desk's records until `now`, and the records of its incidents after `now`.
pub(crate) struct SampleDesk {
    past: Vec<Record>,
    pub(crate) pending: Vec<Happening>,
}

pub(crate) fn build(seed: u64, now: Instant) -> SampleDesk {
    let now = now.trunc_subsecs(0);
    let start = now - Duration::days(DAYS);
    let mut dice = Dice::new(seed);
    let mut happenings = Vec::new();
    for day in 0..DAYS {
        let morning = start + Duration::days(day) + Duration::minutes(dice.between(1, 40) as i64);
        for _ in 0..LOOSE_ALERTS_A_DAY {
            happenings.push(telling::loose_alert(&mut dice, morning));
        }
    }
    for index in 0..INCIDENTS {
        let opened = opening(start, index, &mut dice);
        let fresh = now - opened < Duration::days(FRESH_DAYS);
        let mut slowed =
            |chance, low, high| if fresh && dice.percent(chance) { dice.between(low, high) as i64 } else { 1 };
        let (patience, pace) = (slowed(70, 20, 90), slowed(65, 5, 40));
        let telling = Telling { id: format!("{SOURCE}-{:04}", index + 1), opened, patience, pace };
        happenings.extend(telling.tell(&mut dice));
    }
    happenings.sort_by_key(|happening| happening.at);
    let pending = happenings.split_off(happenings.partition_point(|happening| happening.at <= now));
    let told = happenings.into_iter().map(|happening| happening.record);
    SampleDesk { past: people::accounts(start).into_iter().chain(told).collect(), pending }
}

/// Returns the time at which an incident opens: spread over the days, most of them in working hours.
fn opening(start: Instant, index: i64, dice: &mut Dice) -> Instant {
    let step = Duration::days(DAYS) / INCIDENTS as i32;
    let even = start + step * index as i32 + Duration::seconds(dice.between(1, step.num_seconds() as u64) as i64);
    let asleep = !(6..19).contains(&even.hour());
    // Most incidents of a night move to the afternoon before, but never out of the thirty days.
    let moved = even - Duration::hours(dice.between(7, 11) as i64);
    if asleep && moved > start && dice.percent(60) { moved } else { even }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::domain::incident::{Status, parse_description, parse_note};
    use crate::domain::{comment, title};
    use crate::import::record::{AlertRef, Party, Remark};

    fn now() -> Instant {
        "2026-05-20T14:30:00Z".parse().unwrap()
    }

    /// Returns the time of a record.
    fn when(record: &Record) -> Option<Instant> {
        match record {
            Record::User(user) => user.at,
            Record::Group(group) => group.at,
            Record::Alert(alert) => alert.at,
            Record::Incident(incident) => incident.created_at,
            Record::Comment(comment) => comment.at,
            Record::Update(update) => update.at,
        }
    }

    #[test]
    fn the_same_seed_tells_the_same_bytes() {
        let bytes = |seed| serde_json::to_string(&desk(seed, now())).unwrap();
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn there_is_enough_and_most_of_it_is_resolved() {
        let records = desk(1, now());
        let mut status: HashMap<String, Status> = HashMap::new();
        let (mut alerts, mut comments, mut owned, mut classified) = (0, 0, HashSet::new(), HashSet::new());
        let mut latest = None;
        for record in &records {
            match record {
                Record::Alert(alert) => {
                    alerts += 1;
                    latest = latest.max(alert.at);
                }
                Record::Incident(incident) => {
                    status.insert(incident.external_id.clone(), incident.status.unwrap_or(Status::New));
                }
                Record::Update(update) => {
                    comments += usize::from(update.comment.is_some());
                    if let Some(to) = update.status {
                        status.insert(update.external_id.clone(), to);
                    }
                    match &update.owner {
                        Some(Some(_)) => owned.insert(update.external_id.clone()),
                        _ => false,
                    };
                    if update.classification.is_some() {
                        classified.insert(update.external_id.clone());
                    }
                }
                _ => {}
            }
        }
        let count = |wanted| status.values().filter(|status| **status == wanted).count();
        let (new, active, resolved) = (count(Status::New), count(Status::Active), count(Status::Resolved));
        let told = format!("{new} new, {active} active, {resolved} resolved, {alerts} alerts, {comments} comments");
        assert!(status.len() >= 500 && alerts >= 2_000 && comments >= 300, "{told}");
        assert!(resolved * 10 > status.len() * 8 && new >= 10 && active >= 15, "{told}");
        assert!(classified.len() * 10 > resolved * 8 && owned.len() > resolved, "{told}");
        let unassigned = status.keys().filter(|id| !owned.contains(*id)).count();
        assert!(unassigned >= 10, "{unassigned} unassigned of {told}");
    }

    #[test]
    fn it_is_told_in_order_and_every_reference_was_told_before() {
        let mut before = now() - Duration::days(DAYS);
        let (mut people, mut alerts, mut incidents) = (HashSet::new(), HashSet::new(), HashSet::new());
        let key = |alert: &AlertRef| (alert.provider.clone(), alert.provider_alert_id.clone());
        let mut held = HashSet::new();
        for record in desk(1, now()) {
            let at = when(&record).unwrap();
            assert!(at >= before && at <= now(), "{record:?}");
            before = at;
            let (by, links) = match &record {
                Record::User(user) => {
                    people.insert(user.account.clone());
                    continue;
                }
                Record::Group(group) => {
                    people.insert(group.account.clone());
                    assert!(group.members.iter().all(|member| people.contains(&member.account)));
                    continue;
                }
                Record::Alert(alert) => {
                    assert!(alerts.insert(key(&alert.reference())), "told twice: {alert:?}");
                    continue;
                }
                Record::Incident(incident) => {
                    assert!(incidents.insert(incident.external_id.clone()));
                    (incident.by.clone(), incident.alerts.clone())
                }
                Record::Update(update) => {
                    assert!(incidents.contains(&update.external_id));
                    let owner = match update.owner.clone().flatten() {
                        Some(Party::User(person)) => Some(person.account),
                        Some(Party::Group(group)) => Some(group.group),
                        None => None,
                    };
                    assert!(owner.is_none_or(|account| people.contains(&account)));
                    (update.by.clone(), update.link.clone())
                }
                Record::Comment(comment) => (comment.by.clone(), Vec::new()),
            };
            assert!(by.is_none_or(|person| people.contains(&person.account)));
            for link in &links {
                assert!(alerts.contains(&key(link)) && held.insert(key(link)), "{link:?}");
            }
        }
    }

    #[test]
    fn every_record_passes_the_checks_of_the_domain() {
        let remark = |remark: &Remark| comment::parse("body", &remark.body).map(|_| ()).unwrap();
        for record in desk(3, now()) {
            let text = serde_json::to_string(&record).unwrap();
            assert!(!text.replace("{\\\"", "").contains("{n") && !text.contains("{user"), "{text}");
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
            match record {
                Record::Alert(alert) => {
                    alert.draft().unwrap();
                    assert!(alert.last_activity_at <= alert.at && alert.raw.is_some());
                }
                Record::Incident(incident) => {
                    incident.title.iter().for_each(|text| assert!(title::parse("title", text.clone()).is_ok()));
                    incident.description.iter().for_each(|text| assert!(parse_description("d", text).is_ok()));
                    assert!(incident.title.is_some() || !incident.alerts.is_empty());
                    incident.tags.iter().for_each(|tag| assert!(tag.tag().is_ok()));
                }
                Record::Update(update) => {
                    update.comment.iter().for_each(remark);
                    update.note.iter().for_each(|text| assert!(parse_note("note", text).unwrap().is_some()));
                    assert!(update.note.is_none() || update.status == Some(Status::Resolved));
                }
                _ => {}
            }
        }
    }
}
