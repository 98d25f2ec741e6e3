//! Groups: the server executes and serialises each frame once for all clients that ask for the same subscription.
//!
//! A group follows one stream and keeps the bytes of its newest frames in a buffer, the tail. A count and a number of
//! bytes bound the tail. A member is a cursor in the tail. It takes each frame when its socket has room, so a member
//! needs no queue, and a slow member delays no other. Invariants:
//! - A member receives every item after the position where it joined, in order and once. Of the markers it receives one
//!   `live`, at the end of its own backlog, and then the heartbeats.
//! - If the tail no longer holds a member's next frame, the member is told so. It follows alone until it can join
//!   again.
//! - If each frame is a whole state, a member receives the newest frame and skips the frames before it.
//! - Of consecutive heartbeats the tail keeps the newest, so that a quiet group does not grow.
//! - A group begins with a stream that reached `live`, or its first state, without a failure. It ends with its last
//!   member or with its stream.
//! - A group's stream may break off, or end for a reason of its leader (the subscription that started the group). That
//!   ends no member's subscription.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_graphql::{Response, ServerError, Value};
use axum::extract::ws::Utf8Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::asked::{Asked, Key};
use super::operation::{Body, caught};
use crate::domain::position::{Fingerprint, Position};
use crate::domain::{Error, Result};
use crate::graphql::error::present;
use crate::realtime::track::{Kind, Place, Track};

/// The time that a subscription waits for the leader that is starting its group: one read of the database at most. A
/// leader that takes longer loses its right to start the group to the next subscription that comes.
pub(crate) const FOUNDING_WAIT: Duration = Duration::from_secs(1);

/// Up to this length a tail grows by one frame: most streams are quiet and hold only their `live` and a heartbeat.
const QUIET_FRAMES: usize = 4;

/// The limits of a group's tail, and the counters of all groups.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// The newest frames that a group keeps for members that are behind and for clients that reconnect.
    pub tail_frames: usize,
    /// The bytes of the frames that a group keeps. It keeps the newest frame whatever its size.
    pub tail_bytes: usize,
    /// The counters of all groups, for callers that want to read them.
    pub counters: Arc<Counters>,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self { tail_frames: 512, tail_bytes: 256 * 1024, counters: Arc::default() }
    }
}

/// Counts what groups have done since the server started.
#[derive(Debug, Default)]
pub struct Counters {
    executed: AtomicU64,
    shared: AtomicU64,
    alone: AtomicU64,
    open: AtomicU64,
    members: AtomicU64,
}

impl Counters {
    /// Counts the frames that the server executed and serialised, for groups or for one client alone.
    pub fn executed(&self) -> u64 {
        self.executed.load(Ordering::Relaxed)
    }

    /// Counts the frames that members received.
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// Counts the streams that were started for one client alone, leaders of groups included.
    pub fn alone(&self) -> u64 {
        self.alone.load(Ordering::Relaxed)
    }

    /// Counts the groups that exist now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts the members that all groups have now.
    pub fn members(&self) -> u64 {
        self.members.load(Ordering::Relaxed)
    }

    pub(crate) fn count_alone(&self) {
        self.alone.fetch_add(1, Ordering::Relaxed);
    }
}

/// An item that a transport sends to the client of a subscription.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A response, as JSON.
    Next(Utf8Bytes),
    /// The errors that say why there is no stream; the last item.
    Refused(Arc<[ServerError]>),
    /// The stream broke off through no fault of the client, which reconnects; the last item.
    Broken,
}

impl Item {
    fn of(response: &Response) -> Result<Self> {
        let mut json =
            serde_json::to_string(&Body(response)).map_err(|error| Error::fault("writing a response", error))?;
        // The tail of a group keeps this text.
        json.shrink_to_fit();
        Ok(Self::Next(json.into()))
    }
}

/// An item and its place in the log. An item without a place, like an error, belongs to no position.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) place: Option<Place>,
    pub(crate) item: Item,
    /// The response, kept if something in it failed: its errors name places in the text of one client's document.
    pub(crate) failed: Option<Arc<Response>>,
}

impl Frame {
    /// Makes the frame of a response that a stream has yielded. The track says the place of the frame.
    pub(crate) fn of(response: Response, track: &Track, counters: &Counters) -> Result<Self> {
        counters.executed.fetch_add(1, Ordering::Relaxed);
        // The track holds the place of the last response that succeeded.
        let place = if has_failed(&response) { None } else { track.take() };
        let response = present(response);
        let item = Item::of(&response)?;
        let failed = response.is_err().then(|| Arc::new(response));
        Ok(Self { place, item, failed })
    }

    fn is(&self, kind: Kind) -> bool {
        self.place.is_some_and(|place| place.kind == kind)
    }

    fn bytes(&self) -> usize {
        match &self.item {
            Item::Next(json) => json.len(),
            Item::Refused(_) | Item::Broken => 0,
        }
    }
}

/// A stream, and the track that tells the place of each of its frames in the log.
pub(crate) struct Source {
    pub(crate) stream: BoxStream<'static, Said>,
    pub(crate) track: Track,
}

/// The place in the log of a subscription that wants to join a group, or that is a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// The client has every item up to this position; `None` if it begins at the present.
    pub(crate) at: Option<Position>,
    /// The client waits for a `live` at or after this offset; `None` if it has received its `live`.
    pub(crate) backlog_end: Option<u64>,
}

/// The groups of a server. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Groups(Arc<Registry>);

#[derive(Default)]
struct Registry {
    settings: GroupSettings,
    seats: Mutex<HashMap<Key, Seat>>,
}

enum Seat {
    /// Since this instant a leader finds out whether the operation can be shared. The channel closes with the decision.
    Claimed(watch::Receiver<()>, Instant),
    Open(Arc<Group>),
}

/// The answer to a subscription that asks for the group of its key.
pub(crate) enum Entry {
    /// The subscription is now a member of the group.
    Member(Member),
    /// The group exists, but its tail does not reach back to the subscription's position.
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
    key: Key,
    decided: watch::Sender<()>,
}

impl Groups {
    pub(crate) fn new(settings: GroupSettings) -> Self {
        Self(Arc::new(Registry { settings, seats: Mutex::default() }))
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.0.settings.counters
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<Key, Seat>> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the group of a key if its tail reaches back to `standing`; makes the caller the leader if there is no
    /// group.
    pub(crate) fn enter(&self, key: Key, standing: Standing) -> Entry {
        let mut seats = self.seats();
        match seats.get(&key) {
            Some(Seat::Claimed(decided, since)) if since.elapsed() < FOUNDING_WAIT => Entry::Claimed(decided.clone()),
            Some(Seat::Open(group)) => match Member::join(self, group, standing) {
                Some(member) => Entry::Member(member),
                None => Entry::Unreached,
            },
            Some(Seat::Claimed(..)) | None => {
                let (decided, undecided) = watch::channel(());
                seats.insert(key, Seat::Claimed(undecided, Instant::now()));
                Entry::Vacant(Claim { groups: self.clone(), key, decided })
            }
        }
    }

    fn end(&self, group: &Arc<Group>) {
        let mut seats = self.seats();
        group.state().ended = true;
        if matches!(seats.get(&group.key), Some(Seat::Open(open)) if Arc::ptr_eq(open, group)) {
            seats.remove(&group.key);
            self.counters().open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Claim {
    /// Starts the group with a live stream. The frames that the stream has yielded since the offset `from` become the
    /// tail. The leader becomes the first member and stands at the last of these frames.
    pub(crate) fn found(self, asked: Arc<Asked>, source: Source, from: u64, said: VecDeque<Frame>) -> Founded {
        let Some(last) = said.back().and_then(|frame| frame.place) else { return Err(Box::new(source)) };
        let groups = self.groups.clone();
        let mut state = State { from, ..State::default() };
        said.into_iter().for_each(|frame| state.add(frame, &groups.0.settings));
        let group = Arc::new(Group {
            key: self.key,
            identity: (last.position.epoch, last.position.queue),
            is_of_states: last.kind == Kind::State,
            asked,
            track: source.track.clone(),
            state: Mutex::new(state),
            driver: OnceLock::new(),
        });
        let standing = Standing { at: Some(last.position), backlog_end: None };
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
    fn holds(&self, seats: &HashMap<Key, Seat>) -> bool {
        let same = |undecided: &watch::Receiver<()>| undecided.same_channel(&self.decided.subscribe());
        matches!(seats.get(&self.key), Some(Seat::Claimed(undecided, _)) if same(undecided))
    }
}

/// The leader as a member of the new group, or its stream if that cannot be shared.
type Founded = std::result::Result<Member, Box<Source>>;

impl Drop for Claim {
    fn drop(&mut self) {
        let mut seats = self.groups.seats();
        if self.holds(&seats) {
            seats.remove(&self.key);
        }
    }
}

struct Group {
    key: Key,
    /// The epoch of the log and the fingerprint of the queue: all positions of the stream have them in common.
    identity: (uuid::Uuid, Option<Fingerprint>),
    /// Whether each frame is a whole state, which replaces the frames before it.
    is_of_states: bool,
    /// The request to execute for a member that follows alone.
    asked: Arc<Asked>,
    track: Track,
    state: Mutex<State>,
    driver: OnceLock<AbortHandle>,
}

#[derive(Default)]
struct State {
    /// The newest frames and their numbers, ascending.
    frames: VecDeque<(u64, Frame)>,
    bytes: usize,
    /// Frames of lower numbers have left the tail.
    first: u64,
    /// The number of the next frame.
    next: u64,
    /// Every item of the stream after this offset is in the tail.
    from: u64,
    /// The newest `live`: its number and its offset.
    live: Option<(u64, u64)>,
    ended: bool,
    /// Whether the stream broke off, so that each member goes on alone.
    broken: bool,
    members: usize,
    sleepers: Vec<Sleeper>,
    vacant: Vec<usize>,
}

/// The waker of a member that waits, and the kind of frame that it waits for.
#[derive(Default)]
struct Sleeper {
    waker: Option<Waker>,
    wants_live: bool,
}

impl Group {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the first frame whose number is not below `number`.
    fn at(&self, number: u64) -> Option<&(u64, Frame)> {
        self.frames.get(self.frames.partition_point(|(of_frame, _)| *of_frame < number))
    }

    fn add(&mut self, frame: Frame, settings: &GroupSettings) {
        if let Some(Place { position, kind: Kind::Live | Kind::State }) = frame.place {
            self.live = Some((self.next, position.offset));
        }
        if frame.is(Kind::State) {
            // No member wants an older state.
            (self.first, self.bytes, self.from) = (self.next, 0, 0);
            self.frames.clear();
        }
        // The newest of consecutive heartbeats replaces the others: a quiet stream must not grow.
        if frame.is(Kind::Heartbeat)
            && let Some((_, former)) = self.frames.pop_back_if(|(_, last)| last.is(Kind::Heartbeat))
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
    fn number_at(&self, offset: u64) -> u64 {
        let before = |(_, frame): &(u64, Frame)| frame.place.is_some_and(|place| place.position.offset < offset);
        self.frames.get(self.frames.partition_point(before)).map_or(self.next, |(number, _)| *number)
    }

    /// Takes the wakers of the members that a new frame concerns: a `live` concerns only members that wait for it.
    fn rouse(&mut self, live_only: bool) -> Vec<Waker> {
        let concerned = self.sleepers.iter_mut().filter(|sleeper| sleeper.wants_live || !live_only);
        concerned.filter_map(|sleeper| sleeper.waker.take()).collect()
    }
}

/// An event of a stream.
pub(crate) enum Said {
    /// A response. It may be a failed response if the stream goes on after it.
    Response(Response),
    /// A failed response after which the stream ended: it says why there is no stream, or why the stream broke off.
    Broken(Response),
}

/// Turns responses into events: a failed response is an event of its own if the stream ends with it.
pub(crate) fn understood(responses: BoxStream<'static, Response>) -> BoxStream<'static, Said> {
    Understood { responses, kept: None }.boxed()
}

struct Understood {
    responses: BoxStream<'static, Response>,
    /// A failed response, until it is known whether another response follows; or that other response.
    kept: Option<Box<Response>>,
}

impl Stream for Understood {
    type Item = Said;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Said>> {
        loop {
            if self.kept.as_ref().is_some_and(|kept| !has_failed(kept)) {
                return Poll::Ready(self.kept.take().map(|kept| Said::Response(*kept)));
            }
            let Some(response) = ready!(self.responses.as_mut().poll_next(cx)) else {
                return Poll::Ready(self.kept.take().map(|failed| Said::Broken(*failed)));
            };
            match (self.kept.take(), has_failed(&response)) {
                (None, false) => return Poll::Ready(Some(Said::Response(response))),
                (None, true) => self.kept = Some(Box::new(response)),
                (Some(former), _) => {
                    self.kept = Some(Box::new(response));
                    return Poll::Ready(Some(Said::Response(*former)));
                }
            }
        }
    }
}

fn has_failed(response: &Response) -> bool {
    response.is_err() && response.data == Value::Null
}

/// Follows the group's stream to its end. The last member aborts this task.
async fn drive(groups: Groups, group: Arc<Group>, mut source: Source) {
    loop {
        let frame = match caught(source.stream.next()).await {
            Ok(Some(Said::Response(response))) => Frame::of(response, &group.track, groups.counters()),
            Ok(None) => break,
            Ok(Some(Said::Broken(_))) => Err(Error::Busy),
            Err(fault) => Err(fault),
        };
        let frame = match frame {
            // A resync may concern the leader alone, so it need not end the other members' streams.
            Ok(frame) if frame.is(Kind::Resync) => {
                group.state().broken = true;
                break;
            }
            Ok(frame) => frame,
            // Each member goes on alone from its place. It learns there what is wrong, if that persists.
            Err(fault) => {
                tracing::warn!(error = %fault, "the stream of a group broke off");
                group.state().broken = true;
                break;
            }
        };
        let is_live = frame.is(Kind::Live);
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

/// The next event of a member.
pub(crate) enum Turn {
    /// The next item. The member now stands at it.
    Item(Item),
    /// The tail no longer holds the member's next item.
    Behind,
    /// The stream is over.
    Ended,
}

/// The subscription of one client as a cursor in the frames of a group.
pub(crate) struct Member {
    groups: Groups,
    group: Arc<Group>,
    sleeper: usize,
    next: u64,
    standing: Standing,
    /// The member's own request, if its text differs from the text of the group's request.
    spelled: Option<Arc<Asked>>,
}

impl Member {
    fn join(groups: &Groups, group: &Arc<Group>, standing: Standing) -> Option<Self> {
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
    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Returns whether each frame is a whole state, so that there is no position to go on from.
    pub(crate) fn is_of_states(&self) -> bool {
        self.group.is_of_states
    }

    /// Returns the request that the group executes: it is equal to the member's, but may be spelled differently.
    pub(crate) fn asked(&self) -> &Arc<Asked> {
        &self.group.asked
    }

    /// Makes the errors of this member name places in the text of its own client.
    pub(crate) fn reads_places_of(&mut self, asked: Arc<Asked>) {
        self.spelled = Some(asked);
    }

    /// Returns the item of a frame, as this member's client reads it.
    fn item(&self, frame: &Frame) -> Item {
        let (Some(asked), Some(failed)) = (&self.spelled, &frame.failed) else { return frame.item.clone() };
        let mut response = Response::new(failed.data.clone());
        response.errors.clone_from(&failed.errors);
        for error in &mut response.errors {
            error.locations = asked.place(&error.path).into_iter().collect();
        }
        Item::of(&response).unwrap_or_else(|_| frame.item.clone())
    }

    /// Polls for the next item of this member.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut state = self.group.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.group.is_of_states {
                self.next = self.next.max(state.first);
            }
            if self.next < state.first {
                return Poll::Ready(Turn::Behind);
            }
            let Some((number, frame)) = state.at(self.next) else {
                if state.ended {
                    return Poll::Ready(if state.broken { Turn::Behind } else { Turn::Ended });
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
            return Poll::Ready(Turn::Item(item));
        }
    }

    /// Waits for the next item of this member.
    pub(crate) async fn turn(&mut self) -> Turn {
        std::future::poll_fn(|cx| self.poll_turn(cx)).await
    }
}

impl Standing {
    /// The standing of a subscription that waits for `live`. Its backlog ends at the present of this node, or at its
    /// own position if that is further: the client may have read more of the log from another node or from the
    /// database.
    pub(crate) fn before_live(at: Option<Position>, present: u64) -> Self {
        let end = at.map_or(present, |at| present.max(at.offset));
        Self { at, backlog_end: Some(end) }
    }

    /// Returns whether a frame of the group is for a member that stands here. If so, the standing moves to the frame.
    fn admits(&mut self, place: Option<Place>) -> bool {
        let Some(Place { position, kind }) = place else { return true };
        let beyond = |at: Option<Position>| at.map(|at| position.offset > at.offset);
        let admitted = match (kind, self.backlog_end) {
            (Kind::Resync, _) => true,
            (Kind::State, end) => end.is_none_or(|end| position.offset >= end),
            (Kind::Live, Some(end)) => position.offset >= end,
            (Kind::Live, None) => false,
            (Kind::Item, Some(_)) => beyond(self.at) == Some(true),
            (Kind::Item, None) => beyond(self.at) != Some(false),
            // The backlog of a member is complete at once; its `live` moves the position on.
            (Kind::Heartbeat, Some(_)) => false,
            (Kind::Heartbeat, None) => self.at.is_none_or(|at| position.offset >= at.offset),
        };
        if admitted {
            self.at = Some(position);
            if matches!(kind, Kind::Live | Kind::State) {
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
        if matches!(seats.get(&self.group.key), Some(Seat::Open(open)) if Arc::ptr_eq(open, &self.group)) {
            seats.remove(&self.group.key);
            self.groups.counters().open.fetch_sub(1, Ordering::Relaxed);
        }
        drop(seats);
        if let Some(driver) = self.group.driver.get() {
            driver.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, offset: u64) -> Frame {
        let position = Position { epoch: uuid::Uuid::nil(), offset, check: [0; 8], queue: None };
        Frame { place: Some(Place { position, kind }), item: Item::Next("{}".into()), failed: None }
    }

    #[test]
    fn a_quiet_group_keeps_its_newest_heartbeat() {
        let (mut state, settings) = (State::default(), GroupSettings::default());
        state.add(frame(Kind::Live, 1), &settings);
        (1..=1_000).for_each(|offset| state.add(frame(Kind::Heartbeat, offset), &settings));
        assert_eq!((state.frames.len(), state.bytes, state.first), (2, 4, 0));
        let of =
            |number| state.at(number).map(|(number, frame)| (*number, frame.place.map(|place| place.position.offset)));
        assert_eq!(of(0), Some((0, Some(1))), "the live");
        assert_eq!(of(1), Some((1_000, Some(1_000))), "a member that had only the live item is not left behind");
        assert_eq!(of(1_001), None);
        state.add(frame(Kind::Item, 1_001), &settings);
        state.add(frame(Kind::Heartbeat, 1_001), &settings);
        assert_eq!(state.frames.len(), 4, "what comes between two is kept, and so are both");
        assert_eq!(state.number_at(1_001), 1_001);
    }

    #[test]
    fn a_live_never_leads_back() {
        let at = |kind, offset| frame(kind, offset).place;
        // This node has read the log up to 25. The client has read more of it from the database.
        let mut standing = Standing::before_live(at(Kind::Item, 27).map(|place| place.position), 25);
        assert!(!standing.admits(at(Kind::Live, 25)) && !standing.admits(at(Kind::Item, 27)));
        assert!(standing.admits(at(Kind::Item, 28)) && standing.admits(at(Kind::Live, 28)));
    }
}
