//! Merges the events of many sequences ("stories") by time. Memory holds only sequences that have begun and not ended.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::iter::Peekable;

use super::Instant;

/// An event of a sequence that waits for its turn.
#[derive(Debug)]
struct WaitingEvent<T> {
    at: Instant,
    /// The sequence's index, and the event's index in it. They order events of the same instant.
    place: (u64, usize),
    event: T,
}

impl<T> PartialEq for WaitingEvent<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for WaitingEvent<T> {}

impl<T> PartialOrd for WaitingEvent<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for WaitingEvent<T> {
    /// Compares in reverse, because the heap returns its greatest element first, and that has to be the earliest event.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.place).cmp(&(self.at, self.place))
    }
}

/// The events of many sequences, ascending by time. The sequences come in the order in which they begin, and the events
/// of each sequence in the order of their times.
#[derive(Debug)]
pub(crate) struct Timeline<I: Iterator<Item = Vec<(Instant, T)>>, T> {
    stories: Peekable<I>,
    begun: u64,
    waiting: BinaryHeap<WaitingEvent<T>>,
}

impl<I: Iterator<Item = Vec<(Instant, T)>>, T> Timeline<I, T> {
    /// Merges these sequences.
    pub(crate) fn of(stories: I) -> Self {
        Self { stories: stories.peekable(), begun: 0, waiting: BinaryHeap::new() }
    }

    /// Returns whether the next sequence begins before or at the earliest waiting event.
    fn begins(&mut self) -> bool {
        let first = self.waiting.peek().map(|waiting| waiting.at);
        match self.stories.peek() {
            None => false,
            Some(story) => story.first().is_none_or(|(at, _)| first.is_none_or(|first| *at <= first)),
        }
    }
}

impl<I: Iterator<Item = Vec<(Instant, T)>>, T> Iterator for Timeline<I, T> {
    type Item = (Instant, T);

    fn next(&mut self) -> Option<(Instant, T)> {
        while self.begins() {
            let story = self.begun;
            self.begun += 1;
            let events = self.stories.next().into_iter().flatten().enumerate();
            self.waiting.extend(events.map(|(place, (at, event))| WaitingEvent { at, place: (story, place), event }));
        }
        self.waiting.pop().map(|waiting| (waiting.at, waiting.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Instant {
        Instant::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn overlapping_stories_are_told_in_the_order_of_time() {
        let stories = [vec![(1, "a1"), (5, "a5"), (9, "a9")], vec![], vec![(2, "b2"), (5, "b5")], vec![(9, "c9")]];
        let stories =
            stories.into_iter().map(|story| story.into_iter().map(|(second, event)| (at(second), event)).collect());
        let told: Vec<&str> = Timeline::of(stories).map(|(_, event)| event).collect();
        assert_eq!(told, ["a1", "b2", "a5", "b5", "a9", "c9"]);
    }

    #[test]
    fn a_story_waits_outside_until_it_begins() {
        let mut begun = 0;
        let stories = (0..1_000).map(|story| {
            begun = story;
            vec![(at(story), story), (at(story + 2), story)]
        });
        let mut timeline = Timeline::of(stories);
        timeline.by_ref().take(10).for_each(drop);
        assert!(timeline.waiting.len() < 10, "{} events wait", timeline.waiting.len());
        drop(timeline);
        assert!(begun < 10, "{begun} stories were asked for");
    }
}
