//! Groups: the server executes and serialises each frame once for all clients that ask for the same subscription.
//!
//! A group follows one stream and keeps the bytes of its newest frames in a buffer (`frame_buffer.rs`). A member
//! (`member.rs`) is a cursor in the buffer. It takes each frame when its socket has room, so a member needs no queue,
//! and a slow member delays no other. Invariants:
//! - A group begins with a stream that reached `live`, or its first state, without a failure. It ends with its last
//!   member or with its stream.
//! - A group's stream may break off, or end for a reason of its leader (the subscription that started the group). That
//!   ends no member's subscription.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures_util::stream::StreamExt;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::frame::{Frame, Said, TrackedStream};
use super::frame_buffer::FrameBuffer;
use super::group_settings::{Counters, GroupSettings};
use super::key::ShareKey;
use super::member::{Member, MemberStanding};
use super::subscription_request::SubscriptionRequest;
use crate::domain::Error;
use crate::domain::position::QueueClaim;
use crate::realtime::track::{FrameKind, Track};
use crate::server::edge::panics::caught;

/// The time that a subscription waits for the leader that is starting its group: one read of the database at most. A
/// leader that takes longer loses its right to start the group to the next subscription that comes.
pub(crate) const FOUNDING_WAIT: Duration = Duration::from_secs(1);

/// The groups of a server. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Groups(Arc<Registry>);

#[derive(Default)]
struct Registry {
    settings: GroupSettings,
    seats: Mutex<HashMap<ShareKey, Seat>>,
}

/// The state of the group of one key.
pub(super) enum Seat {
    /// Since this instant a leader finds out whether the operation can be shared. The channel closes with the decision.
    Claimed(watch::Receiver<()>, Instant),
    Open(Arc<SharedStream>),
}

/// The answer to a subscription that asks for the group of its key.
pub(crate) enum GroupEntry {
    /// The subscription is now a member of the group.
    Member(Member),
    /// The group exists, but its buffer does not reach back to the subscription's position.
    Unreached,
    /// Another subscription, the leader, is starting the group. The channel closes when that is decided.
    Claimed(watch::Receiver<()>),
    /// There is no group: the subscription becomes the leader and may start it.
    Vacant(Claim),
}

/// The right of a leader to start a group (single-flight). Dropping the claim gives the right back. A leader whose
/// client does not read might keep it for ever: after [`FOUNDING_WAIT`] the next subscription takes it over.
pub(crate) struct Claim {
    groups: Groups,
    key: ShareKey,
    decided: watch::Sender<()>,
}

impl Groups {
    pub(crate) fn new(settings: GroupSettings) -> Self {
        Self(Arc::new(Registry { settings, seats: Mutex::default() }))
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.0.settings.counters
    }

    pub(super) fn seats(&self) -> MutexGuard<'_, HashMap<ShareKey, Seat>> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the group of a key if its buffer reaches back to `standing`; makes the caller the leader if there is no
    /// group.
    pub(crate) fn enter(&self, key: ShareKey, standing: MemberStanding) -> GroupEntry {
        let mut seats = self.seats();
        match seats.get(&key) {
            Some(Seat::Claimed(decided, since)) if since.elapsed() < FOUNDING_WAIT => {
                GroupEntry::Claimed(decided.clone())
            }
            Some(Seat::Open(group)) => match Member::join(self, group, standing) {
                Some(member) => GroupEntry::Member(member),
                None => GroupEntry::Unreached,
            },
            Some(Seat::Claimed(..)) | None => {
                let (decided, undecided) = watch::channel(());
                seats.insert(key, Seat::Claimed(undecided, Instant::now()));
                GroupEntry::Vacant(Claim { groups: self.clone(), key, decided })
            }
        }
    }

    fn end(&self, group: &Arc<SharedStream>) {
        let mut seats = self.seats();
        group.state().ended = true;
        self.forget(&mut seats, group);
    }

    /// Removes a group that has ended, unless another group has taken its seat.
    pub(super) fn forget(&self, seats: &mut HashMap<ShareKey, Seat>, group: &Arc<SharedStream>) {
        if matches!(seats.get(&group.key), Some(Seat::Open(open)) if Arc::ptr_eq(open, group)) {
            seats.remove(&group.key);
            self.counters().open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Claim {
    /// Starts the group with a live stream. The frames that the stream has yielded since the offset `from` become the
    /// buffer. The leader becomes the first member and stands at the last of these frames.
    pub(crate) fn found(
        self,
        request: Arc<SubscriptionRequest>,
        source: TrackedStream,
        from: u64,
        said: VecDeque<Frame>,
    ) -> Founded {
        let Some(last) = said.back().and_then(|frame| frame.place) else { return Err(Box::new(source)) };
        let groups = self.groups.clone();
        let mut state = FrameBuffer { from, ..FrameBuffer::default() };
        said.into_iter().for_each(|frame| state.add(frame, &groups.0.settings));
        let group = Arc::new(SharedStream {
            key: self.key,
            identity: (last.position.epoch, last.position.queue),
            is_of_states: last.kind == FrameKind::State,
            request,
            track: source.track.clone(),
            state: Mutex::new(state),
            driver: OnceLock::new(),
        });
        let standing = MemberStanding { at: Some(last.position), backlog_end: None };
        let mut seats = groups.seats();
        if !self.holds(&seats) {
            return Err(Box::new(source));
        }
        let Some(founder) = Member::join(&groups, &group, standing) else { return Err(Box::new(source)) };
        seats.insert(self.key, Seat::Open(group.clone()));
        groups.counters().open.fetch_add(1, Ordering::Relaxed);
        drop(seats);
        let driver = tokio::spawn(drive(groups.clone(), group.clone(), source));
        // The leader is a member until the caller drops it, so nothing needs the handle earlier.
        group.driver.get_or_init(|| driver.abort_handle());
        Ok(founder)
    }

    /// Returns whether this claim still holds the seat: another subscription may have taken it over.
    fn holds(&self, seats: &HashMap<ShareKey, Seat>) -> bool {
        let same = |undecided: &watch::Receiver<()>| undecided.same_channel(&self.decided.subscribe());
        matches!(seats.get(&self.key), Some(Seat::Claimed(undecided, _)) if same(undecided))
    }
}

/// The leader as a member of the new group, or its stream if that cannot be shared.
type Founded = std::result::Result<Member, Box<TrackedStream>>;

impl Drop for Claim {
    fn drop(&mut self) {
        let mut seats = self.groups.seats();
        if self.holds(&seats) {
            seats.remove(&self.key);
        }
    }
}

/// A stream that equal subscriptions share.
pub(super) struct SharedStream {
    key: ShareKey,
    /// The epoch of the log and the claim about the queue: all positions of the stream have them in common.
    pub(super) identity: (uuid::Uuid, Option<QueueClaim>),
    /// Whether each frame is a whole state, which replaces the frames before it.
    pub(super) is_of_states: bool,
    /// The request to execute for a member that follows alone.
    pub(super) request: Arc<SubscriptionRequest>,
    pub(super) track: Track,
    pub(super) state: Mutex<FrameBuffer>,
    pub(super) driver: OnceLock<AbortHandle>,
}

impl SharedStream {
    pub(super) fn state(&self) -> MutexGuard<'_, FrameBuffer> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the group's stream to its end. The last member aborts this task.
async fn drive(groups: Groups, group: Arc<SharedStream>, mut source: TrackedStream) {
    loop {
        let frame = match caught(source.stream.next()).await {
            Ok(Some(Said::Response(response))) => Frame::of(response, groups.counters()),
            Ok(None) => break,
            Ok(Some(Said::Broken(_))) => Err(Error::Busy),
            Err(fault) => Err(fault),
        };
        let frame = match frame {
            // A resync may concern the leader alone, so it need not end the other members' streams.
            Ok(frame) if frame.is(FrameKind::Resync) => {
                group.state().broken = true;
                break;
            }
            Ok(frame) => frame,
            // Each member goes on alone from its position. If the fault persists, the member meets it there.
            Err(fault) => {
                tracing::warn!(error = %fault, "the stream of a group broke off");
                group.state().broken = true;
                break;
            }
        };
        let is_live = frame.is(FrameKind::Live);
        let wakers = {
            let mut state = group.state();
            state.add(frame, &groups.0.settings);
            state.rouse(is_live)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
    groups.end(&group);
    let wakers = group.state().rouse(false);
    wakers.into_iter().for_each(Waker::wake);
}
