//! The place of a frame in the log; and the requests that the reader of a stream's frames has for the stream: to report
//! its position, and to check its caller first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::domain::position::Position;

/// The kind of a stream's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A change that the stream is about.
    Item,
    /// A marker: every item up to this position was sent.
    Heartbeat,
    /// A marker: the backlog was sent.
    Live,
    /// The last frame of the stream.
    Resync,
    /// A whole state as of its position. It replaces every frame before it.
    State,
}

/// The position of a frame in the log, and its kind.
#[derive(Clone, Copy, Debug)]
pub struct FramePlace {
    /// The position up to which the frame speaks.
    pub position: Position,
    /// The kind of the frame.
    pub kind: FrameKind,
}

/// The requests of the task that takes a stream's frames. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Track(Arc<Note>);

#[derive(Debug, Default)]
struct Note {
    /// The requested offset plus one: `Live` is wanted again from there on. 0 means that nobody asks.
    wanted: AtomicU64,
    asked: Notify,
    /// The account version at the last check of the caller; `None` if nobody has set it.
    vouched: Mutex<Option<u64>>,
}

impl Track {
    /// Records the account version at which the stream's caller was last checked. A stream that begins at another
    /// account version checks its caller first.
    pub fn vouch(&self, accounts: u64) {
        *self.0.vouched.lock() = Some(accounts);
    }

    /// Makes the stream check its caller first, because the caller is known to have changed.
    pub fn doubt(&self) {
        // No account version ever reaches this number.
        self.vouch(u64::MAX);
    }

    pub(super) fn vouched(&self) -> Option<u64> {
        *self.0.vouched.lock()
    }

    /// Asks a live stream to send `Live`, or its state, once more as soon as everything up to this offset was sent.
    pub fn ask(&self, offset: u64) {
        self.0.wanted.fetch_max(offset.saturating_add(1), Ordering::AcqRel);
        self.0.asked.notify_one();
    }

    /// Returns whether a request is open that `sent` satisfies. If so, the request is closed.
    pub(super) fn answers(&self, sent: u64) -> bool {
        let wanted = self.0.wanted.load(Ordering::Acquire);
        let due = wanted != 0 && wanted <= sent.saturating_add(1);
        // If a request for a later offset arrived meanwhile, it stays open and is answered later.
        due && self.0.wanted.compare_exchange(wanted, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Returns whether a request is open.
    pub(super) fn is_asked(&self) -> bool {
        self.0.wanted.load(Ordering::Acquire) != 0
    }

    /// Waits for a request.
    pub(super) fn asked(&self) -> Notified<'_> {
        self.0.asked.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_once_and_not_too_early() {
        let track = Track::default();
        assert!(!track.answers(9), "nobody asked");
        track.ask(7);
        track.ask(5);
        assert!(!track.answers(6), "7 was not sent yet");
        assert!(track.answers(7));
        assert!(!track.answers(8), "answered");
    }
}
