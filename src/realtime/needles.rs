//! Multi-pattern search: finds which of the texts that streams look for (needles) stand in the title and description of
//! a change, in one pass, however many streams look for them.
//!
//! Each needle is filed under the hash of its first bytes; their number is the largest of [`LENGTHS`] that fits. For
//! each length in use, a rolling hash goes over the text; at a match the needles with that hash are compared. So
//! needles come and go without a rebuild. Invariant: every needle in the text is found; needles that are not in it may
//! be found too.

use std::collections::HashMap;
use std::sync::Arc;

use super::index::{Feeds, Tray};
use crate::domain::alert_log::Logged;

/// The prefix lengths, in bytes. Few, because each length in use is one pass; close together, because the rest is
/// compared.
const LENGTHS: [usize; 17] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1_024];

/// How often the needles of one prefix are compared in one text. Beyond it, all of them count as found: a text that
/// only repeats their prefix would cost its length for each of them.
const COMPARED_MAX: u32 = 16;

/// The most new needles that are remembered until the next change. Beyond it, every needle counts as found in that
/// change.
const NEW_MAX: usize = 10_000;

/// How many bytes of a text are searched before other tasks get a turn: a millisecond or two.
pub(super) const STRETCH_BYTES: usize = 64 * 1024;

const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// The needles that streams look for, and the mailboxes of these streams.
#[derive(Debug, Default)]
pub(super) struct Needles {
    entries: Vec<NeedleEntry>,
    vacant: Vec<u32>,
    /// The first entry of each prefix.
    filed: HashMap<u64, u32>,
    /// The number of needles for each prefix length.
    of_length: [usize; LENGTHS.len()],
    /// The number of needles that were ever filed.
    serial: u64,
    /// The needles that came since the last change: each entry's index and serial number.
    new: Vec<(u32, u64)>,
    too_many_new: bool,
}

#[derive(Debug, Default)]
struct NeedleEntry {
    text: Option<Arc<str>>,
    /// Distinguishes a needle from a later needle in the same entry.
    serial: u64,
    feeds: Feeds,
    /// The next entry with the same prefix.
    next: Option<u32>,
}

/// The needles that were found in the texts of one change.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// `None` if nobody searched: then every needle counts as found.
    hits: Option<HashMap<u32, u64>>,
    /// The serial number of the newest needle that was searched for.
    upto: u64,
    /// How often the needles of each prefix were compared.
    compared: HashMap<u64, u32>,
}

impl Found {
    /// Makes an empty result for a search that begins now.
    pub(super) fn nothing(needles: &Needles) -> Self {
        Self { hits: Some(HashMap::new()), upto: needles.serial, compared: HashMap::new() }
    }

    /// Returns the serial number of the newest needle that was searched for.
    pub(super) fn upto(&self) -> u64 {
        self.upto
    }

    /// Resets the comparison counters before the next text.
    pub(super) fn end_of_text(&mut self) {
        self.compared = HashMap::new();
    }
}

impl Needles {
    pub(super) fn is_empty(&self) -> bool {
        self.filed.is_empty()
    }

    /// Adds a feed's mailbox to a needle.
    pub(super) fn insert(&mut self, needle: &Arc<str>, tray: &Arc<Tray>) {
        let place = match self.place_of(needle) {
            Some(place) => place,
            None => self.file(needle.clone()),
        };
        self.entries[place as usize].feeds.insert(tray.clone());
    }

    pub(super) fn remove(&mut self, needle: &str, id: u64) {
        let Some(place) = self.place_of(needle) else { return };
        let entry = &mut self.entries[place as usize];
        entry.feeds.remove(id);
        if entry.feeds.is_empty() {
            self.take_out(needle, place);
        }
    }

    /// Searches for every needle that begins in this stretch of a text.
    pub(super) fn look(&self, text: &str, (start, end): (usize, usize), found: &mut Found) {
        let Some(hits) = &mut found.hits else { return };
        let bytes = text.as_bytes();
        for (level, length) in LENGTHS.into_iter().enumerate() {
            let last = end.min((bytes.len() + 1).saturating_sub(length));
            if self.of_length[level] == 0 || start >= last {
                continue;
            }
            let leaving = (1..length).fold(1_u64, |power, _| power.wrapping_mul(BASE));
            let mut hash = hash(&bytes[start..start + length]);
            for at in start..last {
                if at > start {
                    hash = hash.wrapping_sub(u64::from(bytes[at - 1]).wrapping_add(1).wrapping_mul(leaving));
                    hash = hash.wrapping_mul(BASE).wrapping_add(u64::from(bytes[at + length - 1]) + 1);
                }
                let key = filed_under(level, hash);
                if let Some(&first) = self.filed.get(&key) {
                    let compared = found.compared.entry(key).or_default();
                    if *compared <= COMPARED_MAX {
                        *compared += 1;
                        self.compare(first, &bytes[at..], *compared > COMPARED_MAX, hits);
                    }
                }
            }
        }
    }

    /// Hands a change to the feeds of all needles that were found in it.
    pub(super) fn touch(&self, change: &Logged, found: &Found) {
        let hand = |entry: &NeedleEntry| entry.feeds.each(|tray| tray.put(change));
        let (Some(hits), false) = (&found.hits, self.too_many_new) else {
            return self.entries.iter().for_each(hand);
        };
        let new = self.new.iter().filter(|(_, serial)| *serial > found.upto).copied();
        for (place, serial) in hits.iter().map(|(place, serial)| (*place, *serial)).chain(new) {
            self.entries.get(place as usize).filter(|entry| entry.serial == serial).into_iter().for_each(hand);
        }
    }

    /// Forgets the new needles that this search covered, because its changes were handed over.
    pub(super) fn forget_new(&mut self, upto: u64) {
        self.new.retain(|(_, serial)| *serial > upto);
        self.too_many_new = false;
    }

    fn compare(&self, first: u32, rest: &[u8], all: bool, hits: &mut HashMap<u32, u64>) {
        let mut next = Some(first);
        while let Some(place) = next {
            let entry = &self.entries[place as usize];
            let holds = |needle: &Arc<str>| all || rest.starts_with(needle.as_bytes());
            if entry.text.as_ref().is_some_and(holds) {
                hits.insert(place, entry.serial);
            }
            next = entry.next;
        }
    }

    fn file(&mut self, needle: Arc<str>) -> u32 {
        self.serial += 1;
        let (level, key) = key_of(&needle);
        let place = self.vacant.pop().unwrap_or_else(|| {
            if self.entries.len() == self.entries.capacity() {
                // Grow by an eighth and not to the double: this list is most of the memory of a stream by texts here.
                self.entries.reserve_exact(self.entries.len() / 8 + 64);
            }
            self.entries.push(NeedleEntry::default());
            (self.entries.len() - 1) as u32
        });
        let next = self.filed.insert(key, place);
        let (text, serial) = (Some(needle), self.serial);
        self.entries[place as usize] = NeedleEntry { text, serial, feeds: Feeds::default(), next };
        self.of_length[level] += 1;
        if self.new.len() < NEW_MAX {
            self.new.push((place, serial));
        } else {
            self.too_many_new = true;
        }
        place
    }

    fn take_out(&mut self, needle: &str, place: u32) {
        let (level, key) = key_of(needle);
        let next = self.entries[place as usize].next;
        match self.before(key, place) {
            Some(before) => self.entries[before as usize].next = next,
            None => {
                self.filed.remove(&key);
                self.filed.extend(next.map(|next| (key, next)));
            }
        }
        self.of_length[level] -= 1;
        self.entries[place as usize] = NeedleEntry::default();
        self.vacant.push(place);
    }

    fn chain(&self, key: u64) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.filed.get(&key).copied(), |place| self.entries[*place as usize].next)
    }

    fn before(&self, key: u64, place: u32) -> Option<u32> {
        self.chain(key).find(|before| self.entries[*before as usize].next == Some(place))
    }

    fn place_of(&self, needle: &str) -> Option<u32> {
        self.chain(key_of(needle).1).find(|place| self.entries[*place as usize].text.as_deref() == Some(needle))
    }
}

/// Returns the prefix level of a needle and the key of its prefix. An empty needle has none, and no filter has one.
fn key_of(needle: &str) -> (usize, u64) {
    let level = LENGTHS.iter().rposition(|length| *length <= needle.len()).unwrap_or_default();
    (level, filed_under(level, hash(&needle.as_bytes()[..LENGTHS[level].min(needle.len())])))
}

/// Combines a level and a hash into one key. If two of them collide, the comparison of needles tells them apart.
fn filed_under(level: usize, hash: u64) -> u64 {
    hash.rotate_left(8) ^ level as u64
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |hash: u64, byte| hash.wrapping_mul(BASE).wrapping_add(u64::from(*byte) + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(needles: &[&str]) -> Needles {
        let mut all = Needles::default();
        for (id, needle) in needles.iter().enumerate() {
            all.insert(&Arc::from(*needle), &Arc::new(Tray::of(id as u64)));
        }
        all
    }

    fn found(needles: &Needles, text: &str, stretch: usize) -> Vec<String> {
        let mut found = Found::nothing(needles);
        let mut start = 0;
        while start < text.len() {
            needles.look(text, (start, start + stretch), &mut found);
            start += stretch;
        }
        let hits = found.hits.expect("a look");
        let mut texts: Vec<String> = hits
            .keys()
            .map(|place| needles.entries[*place as usize].text.as_deref().expect("one").to_owned())
            .collect();
        texts.sort();
        texts
    }

    #[test]
    fn every_needle_that_stands_in_a_text_is_found() {
        let needles = of(&["b", "beacon", "beacons", "con to", "10.0.0.7", "straße", "nothing of it"]);
        assert_eq!(found(&needles, "beacon to 10.0.0.7", 5), ["10.0.0.7", "b", "beacon", "con to"]);
        assert!(found(&needles, "", 5).is_empty());
    }

    #[test]
    fn a_text_of_nothing_but_a_beginning_is_gone_through_in_time() {
        let endings: Vec<String> = (0..2_000).map(|n| format!("{}{n}", "a".repeat(64))).collect();
        let needles = of(&endings.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found(&needles, &"a".repeat(500_000), 500_000).len(), 2_000, "found without a look");
    }

    proptest! {
        #[test]
        fn what_is_looked_for_and_stands_there_is_found(
            needles in prop::collection::vec("[ab]{1,5}|[a-c]{6,40}", 1..30),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            text in "[abc]{0,200}",
            stretch in 1_usize..50,
        ) {
            let mut all = of(&needles.iter().map(String::as_str).collect::<Vec<_>>());
            let mut left: Vec<Option<&String>> = needles.iter().map(Some).collect();
            for index in gone {
                let place = index.index(needles.len());
                if let Some(needle) = left[place].take() {
                    all.remove(needle, place as u64);
                }
            }
            let found = found(&all, &text, stretch);
            for needle in left.iter().flatten().filter(|needle| text.contains(needle.as_str())) {
                prop_assert!(found.contains(needle), "{needle} in {text}");
            }
            for needle in &found {
                prop_assert!(left.contains(&Some(needle)), "{needle} has gone");
            }
        }
    }
}
