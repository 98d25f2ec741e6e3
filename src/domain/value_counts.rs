//! Counts of incidents by a value of which one incident may have several: a tag or a product.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::tag::Tag;
use super::{Error, Result};

/// The most tags, and the most products, that a summary lists, the most frequent first: as many as a facet of tags.
pub const VALUES_MAX: usize = 100;

/// The most different tags, and products, whose counts a tally keeps. A desk that tags each incident with a ticket
/// has as many tags as open incidents, and each stream would keep all. Beyond this number the most frequent values
/// are counted anew after a change.
pub const VALUES_HELD_MAX: usize = 5_000;

/// The memory of a value that a tally keeps, in bytes: its name, its place and its count, for a name of 20 letters. If
/// the names are longer, a tally keeps fewer values, so a stream keeps at most a megabyte of tags.
pub const VALUE_BYTES: usize = 200;

/// A value by which incidents are counted.
pub trait CountedValue: Clone {
    /// The order of values with equal counts.
    type Place: Clone + Ord + std::fmt::Debug;

    /// Returns the place of the value. Equal values have one place.
    fn place(&self) -> Self::Place;

    /// Returns the bytes of the value's name.
    fn name_bytes(&self) -> usize;
}

impl CountedValue for Tag {
    type Place = (String, String);

    fn place(&self) -> Self::Place {
        Self::place(self)
    }

    fn name_bytes(&self) -> usize {
        self.name.len()
    }
}

impl CountedValue for String {
    type Place = Self;

    fn place(&self) -> Self {
        self.clone()
    }

    fn name_bytes(&self) -> usize {
        self.len()
    }
}

/// Returns the memory of a counted value, in bytes: the value and its place hold the name three times, beside their
/// lengths and the node of the map.
fn bytes_of(value: &impl CountedValue) -> usize {
    (VALUE_BYTES - 3 * 20) + 3 * value.name_bytes()
}

/// Removes the values that two lists have in common.
pub(super) fn leave_out_common<V: CountedValue>(one: &mut Vec<V>, other: &mut Vec<V>) {
    let places = |values: &[V]| values.iter().map(CountedValue::place).collect::<BTreeSet<_>>();
    let (of_one, of_other) = (places(one), places(other));
    one.retain(|value| !of_other.contains(&value.place()));
    other.retain(|value| !of_one.contains(&value.place()));
}

/// The number of incidents of each value, or of the most frequent values if there are more than [`VALUES_HELD_MAX`].
#[derive(Clone, Debug)]
pub(super) enum ValueCounts<V: CountedValue> {
    /// The count of each value.
    All(BTreeMap<V::Place, (V, u64)>),
    /// The most frequent values, as they were at the start. `None` after a change: they are no longer known.
    Most(Option<Vec<(V, u64)>>),
}

impl<V: CountedValue> ValueCounts<V> {
    /// Starts from the count of each value, the most frequent first. More than [`VALUES_HELD_MAX`] values need not be
    /// all.
    pub(super) fn new(mut counted: Vec<(V, u64)>) -> Self {
        if are_too_many(counted.len(), counted.iter().map(|(value, _)| value)) {
            counted.truncate(VALUES_MAX);
            return Self::Most(Some(counted));
        }
        Self::All(counted.into_iter().map(|(value, count)| (value.place(), (value, count))).collect())
    }

    /// Returns the most frequent values, the most frequent first, at most [`VALUES_MAX`]. Returns `None` if they are
    /// not known.
    pub(super) fn most_frequent(&self) -> Option<Vec<(V, u64)>> {
        match self {
            Self::All(counts) => {
                // The map has the order of the places, which the sort keeps.
                let mut counted: Vec<&(V, u64)> = counts.values().collect();
                counted.sort_by_key(|(_, count)| Reverse(*count));
                Some(counted.into_iter().take(VALUES_MAX).cloned().collect())
            }
            Self::Most(known) => known.clone(),
        }
    }

    /// Counts an incident with these values.
    pub(super) fn add(&mut self, values: Vec<V>) {
        let mut grown = false;
        for value in values {
            match self {
                Self::All(counts) => {
                    let (_, count) = counts.entry(value.place()).or_insert((value, 0));
                    grown |= *count == 0;
                    *count += 1;
                }
                Self::Most(known) => *known = None,
            }
        }
        if grown
            && matches!(self, Self::All(counts) if are_too_many(counts.len(), counts.values().map(|(value, _)| value)))
        {
            *self = Self::Most(None);
        }
    }

    /// Takes an incident with these values out of the counts. It is an error if it was never counted.
    pub(super) fn subtract(&mut self, values: &[V]) -> Result<()> {
        for value in values {
            match self {
                Self::All(counts) => {
                    let place = value.place();
                    let (_, count) = counts.entry(place.clone()).or_insert_with(|| (value.clone(), 0));
                    less(count, 1)?;
                    if *count == 0 {
                        counts.remove(&place);
                    }
                }
                Self::Most(known) => *known = None,
            }
        }
        Ok(())
    }
}

/// Whether a tally does not keep so many values.
fn are_too_many<'v, V: CountedValue + 'v>(count: usize, values: impl Iterator<Item = &'v V>) -> bool {
    count > VALUES_HELD_MAX || values.map(bytes_of).sum::<usize>() > VALUES_HELD_MAX * VALUE_BYTES
}

/// Subtracts from a count. A count below zero means that a change was never counted; an error is better than a wrong
/// number.
pub(super) fn less(count: &mut u64, by: u64) -> Result<()> {
    match count.checked_sub(by) {
        Some(rest) => *count = rest,
        None => return Err(Error::fault("keeping a summary", "an incident left that was never counted")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tag::TagKind;

    fn named(counts: &ValueCounts<String>) -> Option<Vec<(String, u64)>> {
        counts.most_frequent()
    }

    fn products(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_most_frequent_come_first_and_equal_counts_by_name() {
        let mut counts = ValueCounts::new(vec![("Wazuh".to_owned(), 2), ("Suricata".to_owned(), 1)]);
        counts.add(products(&["Suricata", "Defender"]));
        counts.add(products(&["Suricata"]));
        let expected = [("Suricata", 3), ("Wazuh", 2), ("Defender", 1)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(named(&counts), Some(expected.to_vec()));
        counts.subtract(&products(&["Suricata", "Defender"])).expect("counted");
        let expected = [("Suricata", 2), ("Wazuh", 2)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(named(&counts), Some(expected.to_vec()), "a value that no incident has is gone");
        counts.subtract(&products(&["Defender"])).expect_err("it was never counted");
    }

    #[test]
    fn tags_are_counted_without_case_and_by_kind() {
        let tag = |kind, name: &str| Tag { kind, name: name.to_owned() };
        let mut counts = ValueCounts::new(vec![(tag(TagKind::Custom, "VIP"), 1)]);
        counts.add(vec![tag(TagKind::Custom, "vip"), tag(TagKind::Expert, "vip")]);
        let expected = vec![(tag(TagKind::Custom, "VIP"), 2), (tag(TagKind::Expert, "vip"), 1)];
        assert_eq!(counts.most_frequent(), Some(expected));
    }

    #[test]
    fn too_many_values_are_known_until_the_next_change() {
        let many = |count: usize| (0..count).map(|n| (format!("ticket {n:05}"), 1)).collect::<Vec<_>>();
        let mut counts = ValueCounts::new(many(VALUES_HELD_MAX));
        assert_eq!(named(&counts).map(|known| known.len()), Some(VALUES_MAX));
        counts.add(products(&["ticket 00007"]));
        assert_eq!(named(&counts).expect("all are kept")[0], ("ticket 00007".to_owned(), 2));
        counts.add(products(&["a ticket more"]));
        assert_eq!(named(&counts), None);
        let mut counts = ValueCounts::new(many(VALUES_HELD_MAX + 1));
        assert_eq!(named(&counts), Some(many(VALUES_MAX)));
        counts.add(Vec::new());
        assert_eq!(named(&counts), Some(many(VALUES_MAX)), "an incident without values changes nothing");
        counts.subtract(&products(&["ticket 00007"])).expect("it may have been counted");
        assert_eq!(named(&counts), None);
    }
}
