//! Beside a stream, out of band: where its newest frame stands, and that somebody wants to hear where it is.
//!
//! A resolver marks the place right before it yields, and async-graphql does not poll for the next item before the former
//! result was taken: so whoever takes a result finds its place here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::domain::position::Position;

/// What a frame of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A change that the stream is about.
    Item,
    /// All of yours up to here was sent.
    Heartbeat,
    /// The backlog is done.
    Live,
    /// The stream ends here.
    Resync,
    /// All there is to know, as of its place: it takes the place of every frame before it.
    State,
}

/// Where a frame stands in the log, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where.
    pub position: Position,
    /// What.
    pub kind: Kind,
}

/// The note between a stream and whoever takes its frames. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Track(Arc<Note>);

#[derive(Debug, Default)]
struct Note {
    place: Mutex<Option<Place>>,
    /// One more than the offset from which on `Live` is wanted again; 0 where it is not.
    wanted: AtomicU64,
    asked: Notify,
    /// How often accounts had changed when the caller was last looked at; none where nobody said.
    vouched: Mutex<Option<u64>>,
}

impl Track {
    /// Says where the frame stands that is yielded next.
    pub fn mark(&self, place: Place) {
        *self.0.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// Where the frame stands that was just taken; none for one that the stream did not mark, like an error.
    pub fn take(&self) -> Option<Place> {
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Says how often accounts had changed when the caller of a stream was last looked at. A stream that begins later than
    /// another change asks first of all who its caller is by now.
    pub fn vouch(&self, accounts: u64) {
        *self.0.vouched.lock().unwrap_or_else(PoisonError::into_inner) = Some(accounts);
    }

    /// The same for a caller that is known to be another by now.
    pub fn doubt(&self) {
        // As often as accounts never change.
        self.vouch(u64::MAX);
    }

    pub(super) fn vouched(&self) -> Option<u64> {
        *self.0.vouched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a live stream to say `Live`, or its state, once more, as soon as everything up to this offset was sent.
    pub fn ask(&self, offset: u64) {
        self.0.wanted.fetch_max(offset.saturating_add(1), Ordering::AcqRel);
        self.0.asked.notify_one();
    }

    /// Whether somebody asked, and everything up to `sent` is enough. The question is answered by that.
    pub(super) fn answers(&self, sent: u64) -> bool {
        let wanted = self.0.wanted.load(Ordering::Acquire);
        let due = wanted != 0 && wanted <= sent.saturating_add(1);
        // Who asked for more meanwhile is answered later.
        due && self.0.wanted.compare_exchange(wanted, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether somebody waits for an answer.
    pub(super) fn is_asked(&self) -> bool {
        self.0.wanted.load(Ordering::Acquire) != 0
    }

    /// Resolves when somebody asks.
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
