//! Continues the sample desk's story: one record after the other, without an end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dice::Dice;
use super::telling::{Happening, SOURCE, Telling};
use crate::domain::Instant;
use crate::import::Record;

/// The fewest and the most minutes of the story between two incidents: the pace of the sample desk.
const MINUTES_BETWEEN: (u64, u64) = (40, 115);

/// One record of the story, and its delay after the record before.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The delay in the story's time, about eight minutes on average. Divide it by the chosen pace.
    pub delay: Duration,
    /// The record. Give it the time at which it is applied with [`told_at`].
    pub record: Record,
}

/// The endless continuation of the sample desk of the same seed and `now`. It starts from that desk's open incidents.
#[derive(Debug)]
pub struct LiveStory {
    dice: Dice,
    /// The future records, by their time and then by the order in which they were made.
    coming: BTreeMap<(Instant, u64), Record>,
    told: u64,
    now: Instant,
    next_incident: Instant,
    /// Distinguishes the incidents of one start from the incidents of another start.
    start: i64,
    incidents: u64,
}

impl LiveStory {
    /// Makes the continuation from `now` on.
    pub fn new(seed: u64, now: Instant) -> Self {
        let mut story = Self {
            dice: Dice::new(seed ^ now.timestamp().unsigned_abs()),
            coming: BTreeMap::new(),
            told: 0,
            now,
            next_incident: now,
            start: now.timestamp(),
            incidents: 0,
        };
        story.expect(super::build(seed, now).pending);
        story
    }

    fn expect(&mut self, happenings: Vec<Happening>) {
        for Happening { at, record } in happenings {
            self.told += 1;
            self.coming.insert((at, self.told), record);
        }
    }

    /// Returns the next record and its delay.
    fn beat(&mut self) -> Option<Beat> {
        while self.coming.first_key_value().is_none_or(|((at, _), _)| *at >= self.next_incident) {
            self.incidents += 1;
            let id = format!("{SOURCE}-live-{}-{}", self.start, self.incidents);
            let telling = Telling { id, opened: self.next_incident, patience: 1, pace: 1 };
            let happenings = telling.tell(&mut self.dice);
            self.expect(happenings);
            let (least, most) = MINUTES_BETWEEN;
            self.next_incident += chrono::Duration::seconds(self.dice.between(least * 60, most * 60) as i64);
        }
        let ((at, _), record) = self.coming.pop_first()?;
        let delay = (at - self.now).to_std().unwrap_or_default();
        self.now = self.now.max(at);
        Some(Beat { delay, record })
    }
}

impl Iterator for LiveStory {
    type Item = Beat;

    fn next(&mut self) -> Option<Beat> {
        self.beat()
    }
}

/// Returns the record with `now` as its time, because the story may run faster than its own time.
pub fn told_at(mut record: Record, now: Instant) -> Record {
    match &mut record {
        Record::User(user) => user.at = Some(now),
        Record::Group(group) => group.at = Some(now),
        Record::Alert(alert) => {
            let shift = alert.at.map_or(chrono::Duration::zero(), |at| now - at);
            alert.first_activity_at = alert.first_activity_at.map(|at| at + shift);
            alert.last_activity_at = alert.last_activity_at.map(|at| at + shift);
            alert.at = Some(now);
        }
        Record::Incident(incident) => {
            let shift = incident.created_at.map_or(chrono::Duration::zero(), |at| now - at);
            incident.first_activity_at = incident.first_activity_at.map(|at| at + shift);
            incident.created_at = Some(now);
        }
        Record::Comment(comment) => comment.at = Some(now),
        Record::Update(update) => update.at = Some(now),
    }
    record
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::incident::Status;

    fn now() -> Instant {
        "2026-05-20T14:30:00Z".parse().unwrap()
    }

    #[test]
    fn it_goes_on_where_the_desk_ends_and_never_runs_dry() {
        let mut open: HashSet<String> = HashSet::new();
        for record in super::super::desk(1, now()) {
            if let Record::Incident(incident) = record {
                open.insert(incident.external_id);
            }
        }
        let (mut resolved, mut seconds) = (0, 0);
        let beats: Vec<Beat> = LiveStory::new(1, now()).take(5_000).collect();
        for beat in &beats {
            seconds += beat.delay.as_secs();
            match &beat.record {
                Record::Incident(incident) => assert!(open.insert(incident.external_id.clone())),
                Record::Update(update) => {
                    assert!(open.contains(&update.external_id), "{update:?}");
                    resolved += usize::from(update.status == Some(Status::Resolved));
                }
                _ => {}
            }
        }
        let mean = seconds / beats.len() as u64;
        assert!(resolved > 400 && (240..1_200).contains(&mean), "{resolved} resolved, {mean} s a beat");
        let again: Vec<Beat> = LiveStory::new(1, now()).take(50).collect();
        assert!(again.iter().zip(&beats).all(|(a, b)| a.record == b.record && a.delay == b.delay));
    }

    #[test]
    fn a_record_is_told_at_another_time_with_its_activity() {
        let beat = LiveStory::new(2, now()).find(|beat| matches!(beat.record, Record::Alert(_))).unwrap();
        let later = now() + chrono::Duration::days(3);
        let Record::Alert(before) = &beat.record else { panic!() };
        let Record::Alert(after) = told_at(beat.record.clone(), later) else { panic!() };
        assert_eq!(after.at, Some(later));
        let gap = |alert: &crate::import::record::AlertRecord| alert.at.unwrap() - alert.first_activity_at.unwrap();
        assert_eq!(gap(&after), gap(before));
    }
}
