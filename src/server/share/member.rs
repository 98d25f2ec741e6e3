//! The members of a group: each is a cursor in the group's newest frames.
//!
//! - A member receives every item after the position where it joined, in order and once. Of the markers it receives one
//!   `live`, at the end of its own backlog, and then the heartbeats.
//! - If the buffer no longer holds a member's next frame, the member is told so. It follows alone until it can join
//!   again.
//! - If each frame is a whole state, a member receives the newest frame and skips the frames before it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use async_graphql::Response;

use super::frame::{Frame, StreamItem};
use super::frame_buffer::Sleeper;
use super::group::{Groups, SharedStream};
use super::subscription_request::SubscriptionRequest;
use crate::domain::position::Position;
use crate::realtime::track::{FrameKind, FramePlace};

/// The place in the log of a subscription that wants to join a group, or that is a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberStanding {
    /// The client has every item up to this position; `None` if it begins at the present.
    pub(crate) at: Option<Position>,
    /// The client waits for a `live` at or after this offset; `None` if it has received its `live`.
    pub(crate) backlog_end: Option<u64>,
}

/// The next event of a member.
pub(crate) enum MemberEvent {
    /// The next item. The member now stands at it.
    Item(StreamItem),
    /// The buffer no longer holds the member's next item.
    Behind,
    /// The stream is over.
    Ended,
}

/// The subscription of one client as a cursor in the frames of a group.
pub(crate) struct Member {
    groups: Groups,
    group: Arc<SharedStream>,
    sleeper: usize,
    next: u64,
    standing: MemberStanding,
    /// The member's own request, if its text differs from the text of the group's request.
    spelled: Option<Arc<SubscriptionRequest>>,
}

impl Member {
    pub(super) fn join(groups: &Groups, group: &Arc<SharedStream>, standing: MemberStanding) -> Option<Self> {
        let mut state = group.state();
        if state.ended {
            return None;
        }
        let next = match (standing.at, standing.backlog_end) {
            (Some(at), _) if (at.epoch, at.queue) != group.identity || at.offset < state.from => return None,
            (Some(at), None) => state.number_at(at.offset + 1),
            // A `live` at the member's own offset is enough.
            (Some(at), Some(_)) => state.number_at(at.offset),
            // A member that begins at the present wants no item from before its `live`.
            (None, Some(end)) => state.live.filter(|live| live.1 >= end).map_or(state.next, |live| live.0),
            (None, None) => return None,
        };
        if let Some(end) = standing.backlog_end
            && !state.live.is_some_and(|(number, offset)| number >= next && offset >= end)
        {
            group.track.ask(end);
        }
        let sleeper = state.vacant.pop().unwrap_or_else(|| {
            if state.sleepers.is_empty() {
                // Most groups have one member.
                state.sleepers.reserve_exact(1);
            }
            state.sleepers.push(Sleeper::default());
            state.sleepers.len() - 1
        });
        state.members += 1;
        groups.counters().members.fetch_add(1, Ordering::Relaxed);
        drop(state);
        Some(Self { groups: groups.clone(), group: group.clone(), sleeper, next, standing, spelled: None })
    }

    /// Returns the place in the log up to which the member has everything.
    pub(crate) fn standing(&self) -> MemberStanding {
        self.standing
    }

    /// Returns whether each frame is a whole state, so that there is no position to go on from.
    pub(crate) fn is_of_states(&self) -> bool {
        self.group.is_of_states
    }

    /// Returns the request that the group executes: it is equal to the member's, but may be spelled differently.
    pub(super) fn request(&self) -> &Arc<SubscriptionRequest> {
        &self.group.request
    }

    /// Makes the errors of this member name places in the text of its own client.
    pub(super) fn reads_places_of(&mut self, request: Arc<SubscriptionRequest>) {
        self.spelled = Some(request);
    }

    /// Returns the item of a frame, as this member's client reads it.
    fn item(&self, frame: &Frame) -> StreamItem {
        let (Some(request), Some(failed)) = (&self.spelled, &frame.failed) else { return frame.item.clone() };
        let mut response = Response::new(failed.data.clone());
        response.errors.clone_from(&failed.errors);
        for error in &mut response.errors {
            error.locations = request.place(&error.path).into_iter().collect();
        }
        StreamItem::of(&response).unwrap_or_else(|_| frame.item.clone())
    }

    /// Polls for the next item of this member.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<MemberEvent> {
        let mut state = self.group.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.group.is_of_states {
                self.next = self.next.max(state.first);
            }
            if self.next < state.first {
                return Poll::Ready(MemberEvent::Behind);
            }
            let Some((number, frame)) = state.at(self.next) else {
                if state.ended {
                    return Poll::Ready(if state.broken { MemberEvent::Behind } else { MemberEvent::Ended });
                }
                let sleeper = &mut state.sleepers[self.sleeper];
                sleeper.wants_live = self.standing.backlog_end.is_some();
                if !sleeper.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    sleeper.waker = Some(cx.waker().clone());
                }
                return Poll::Pending;
            };
            self.next = number + 1;
            if !self.standing.admits(frame.place) {
                continue;
            }
            let item = self.item(frame);
            drop(state);
            self.groups.counters().shared.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(MemberEvent::Item(item));
        }
    }

    /// Waits for the next item of this member.
    pub(crate) async fn next(&mut self) -> MemberEvent {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl MemberStanding {
    /// The standing of a subscription that waits for `live`. Its backlog ends at the present of this node, or at its
    /// own position if that is further: the client may have read more of the log from another node or from the
    /// database.
    pub(crate) fn before_live(at: Option<Position>, present: u64) -> Self {
        let end = at.map_or(present, |at| present.max(at.offset));
        Self { at, backlog_end: Some(end) }
    }

    /// Returns whether a frame of the group is for a member that stands here. If so, the standing moves to the frame.
    fn admits(&mut self, place: Option<FramePlace>) -> bool {
        let Some(FramePlace { position, kind }) = place else { return true };
        let beyond = |at: Option<Position>| at.map(|at| position.offset > at.offset);
        let admitted = match (kind, self.backlog_end) {
            (FrameKind::Resync, _) => true,
            (FrameKind::State, end) => end.is_none_or(|end| position.offset >= end),
            (FrameKind::Live, Some(end)) => position.offset >= end,
            (FrameKind::Live, None) => false,
            (FrameKind::Item, Some(_)) => beyond(self.at) == Some(true),
            (FrameKind::Item, None) => beyond(self.at) != Some(false),
            // The backlog of a member is complete at once; its `live` moves the position on.
            (FrameKind::Heartbeat, Some(_)) => false,
            (FrameKind::Heartbeat, None) => self.at.is_none_or(|at| position.offset >= at.offset),
        };
        if admitted {
            self.at = Some(position);
            if matches!(kind, FrameKind::Live | FrameKind::State) {
                self.backlog_end = None;
            }
        }
        admitted
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut seats = self.groups.seats();
        let mut state = self.group.state();
        state.members -= 1;
        state.sleepers[self.sleeper] = Sleeper::default();
        state.vacant.push(self.sleeper);
        self.groups.counters().members.fetch_sub(1, Ordering::Relaxed);
        if state.members > 0 {
            return;
        }
        state.ended = true;
        drop(state);
        self.groups.forget(&mut seats, &self.group);
        drop(seats);
        if let Some(driver) = self.group.driver.get() {
            driver.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(kind: FrameKind, offset: u64) -> Option<FramePlace> {
        let position = Position { epoch: uuid::Uuid::nil(), offset, check: [0; 8], queue: None };
        Some(FramePlace { position, kind })
    }

    #[test]
    fn a_live_never_leads_back() {
        // This node has read the log up to 25. The client has read more of it from the database.
        let mut standing = MemberStanding::before_live(place(FrameKind::Item, 27).map(|place| place.position), 25);
        assert!(!standing.admits(place(FrameKind::Live, 25)) && !standing.admits(place(FrameKind::Item, 27)));
        assert!(standing.admits(place(FrameKind::Item, 28)) && standing.admits(place(FrameKind::Live, 28)));
    }
}
