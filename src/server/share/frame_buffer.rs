//! The newest frames of a group: a buffer with a bounded number of frames and of bytes.
//!
//! - If each frame is a whole state, a new frame replaces the frames before it.
//! - Of consecutive heartbeats the buffer keeps the newest, so that a quiet group does not grow.

use std::collections::VecDeque;
use std::task::Waker;

use super::frame::Frame;
use super::group_settings::GroupSettings;
use crate::realtime::track::{FrameKind, FramePlace};

/// Up to this length a buffer grows by one frame: most streams are quiet and hold only their `live` and a heartbeat.
const QUIET_FRAMES: usize = 4;

/// The buffer of a group, and the members that read it.
#[derive(Default)]
pub(super) struct FrameBuffer {
    /// The newest frames and their numbers, ascending.
    pub(super) frames: VecDeque<(u64, Frame)>,
    pub(super) bytes: usize,
    /// Frames of lower numbers have left the buffer.
    pub(super) first: u64,
    /// The number of the next frame.
    pub(super) next: u64,
    /// Every item of the stream after this offset is in the buffer.
    pub(super) from: u64,
    /// The newest `live`: its number and its offset.
    pub(super) live: Option<(u64, u64)>,
    pub(super) ended: bool,
    /// Whether the stream broke off, so that each member goes on alone.
    pub(super) broken: bool,
    pub(super) members: usize,
    pub(super) sleepers: Vec<Sleeper>,
    pub(super) vacant: Vec<usize>,
}

/// The waker of a member that waits, and the kind of frame that it waits for.
#[derive(Default)]
pub(super) struct Sleeper {
    pub(super) waker: Option<Waker>,
    pub(super) wants_live: bool,
}

impl FrameBuffer {
    /// Returns the first frame whose number is not below `number`.
    pub(super) fn at(&self, number: u64) -> Option<&(u64, Frame)> {
        self.frames.get(self.frames.partition_point(|(of_frame, _)| *of_frame < number))
    }

    pub(super) fn add(&mut self, frame: Frame, settings: &GroupSettings) {
        if let Some(FramePlace { position, kind: FrameKind::Live | FrameKind::State }) = frame.place {
            self.live = Some((self.next, position.offset));
        }
        if frame.is(FrameKind::State) {
            // No member wants an older state.
            (self.first, self.bytes, self.from) = (self.next, 0, 0);
            self.frames.clear();
        }
        // The newest of consecutive heartbeats replaces the others: a quiet stream must not grow.
        if frame.is(FrameKind::Heartbeat)
            && let Some((_, former)) = self.frames.pop_back_if(|(_, last)| last.is(FrameKind::Heartbeat))
        {
            self.bytes -= former.bytes();
        }
        self.bytes += frame.bytes();
        if self.frames.len() == self.frames.capacity() && self.frames.len() < QUIET_FRAMES {
            self.frames.reserve_exact(1);
        }
        self.frames.push_back((self.next, frame));
        self.next += 1;
        while self.frames.len() > 1 && (self.frames.len() > settings.tail_frames || self.bytes > settings.tail_bytes) {
            let Some((number, oldest)) = self.frames.pop_front() else { break };
            self.first = number + 1;
            self.bytes -= oldest.bytes();
            self.from = oldest.place.map_or(self.from, |place| self.from.max(place.position.offset));
        }
    }

    /// Returns the number of the first frame at or after an offset.
    pub(super) fn number_at(&self, offset: u64) -> u64 {
        let before = |(_, frame): &(u64, Frame)| frame.place.is_some_and(|place| place.position.offset < offset);
        self.frames.get(self.frames.partition_point(before)).map_or(self.next, |(number, _)| *number)
    }

    /// Takes the wakers of the members that a new frame concerns: a `live` concerns only members that wait for it.
    pub(super) fn rouse(&mut self, live_only: bool) -> Vec<Waker> {
        let concerned = self.sleepers.iter_mut().filter(|sleeper| sleeper.wants_live || !live_only);
        concerned.filter_map(|sleeper| sleeper.waker.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::StreamItem;
    use super::*;
    use crate::domain::position::Position;

    fn frame(kind: FrameKind, offset: u64) -> Frame {
        let position = Position { epoch: uuid::Uuid::nil(), offset, check: [0; 8], queue: None };
        Frame { place: Some(FramePlace { position, kind }), item: StreamItem::Next("{}".into()), failed: None }
    }

    #[test]
    fn a_quiet_group_keeps_its_newest_heartbeat() {
        let (mut state, settings) = (FrameBuffer::default(), GroupSettings::default());
        state.add(frame(FrameKind::Live, 1), &settings);
        (1..=1_000).for_each(|offset| state.add(frame(FrameKind::Heartbeat, offset), &settings));
        assert_eq!((state.frames.len(), state.bytes, state.first), (2, 4, 0));
        let of =
            |number| state.at(number).map(|(number, frame)| (*number, frame.place.map(|place| place.position.offset)));
        assert_eq!(of(0), Some((0, Some(1))), "the live");
        assert_eq!(of(1), Some((1_000, Some(1_000))), "a member that had only the live item is not left behind");
        assert_eq!(of(1_001), None);
        state.add(frame(FrameKind::Item, 1_001), &settings);
        state.add(frame(FrameKind::Heartbeat, 1_001), &settings);
        assert_eq!(state.frames.len(), 4, "what comes between two is kept, and so are both");
        assert_eq!(state.number_at(1_001), 1_001);
    }
}
