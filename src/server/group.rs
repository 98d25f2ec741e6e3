//! Groups: one execution and one serialisation of each frame for everybody who asked for the same.
//!
//! A group follows one stream and keeps the bytes of its newest frames, by count and by bytes. A member is a cursor in
//! them: it takes each frame when its socket has room, so there is no queue for each member, and a slow one delays nobody.
//! What must hold:
//! - a member is given every item after the place where it joined, in order, once; of the markers it is given one `live`,
//!   at its own backlog's end, and then the heartbeats;
//! - a member that the tail has left behind is told so, and follows alone until the tail reaches it again;
//! - where each frame is a whole state, a member is given the newest one, and those before it are left out;
//! - of heartbeats in a row the newest is kept, so that a quiet group does not grow;
//! - a group is founded by a stream that went well as far as `live`, or its first state, and ends with its last member or
//!   with its stream;
//! - a group's stream that ends before its time, or for a reason of its founder's, is not the end of any member's.

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

/// How long one who asked waits for another who founds the group: that takes one read of the database, if any. Who takes
/// longer has lost its right to found it.
pub(crate) const FOUNDING_WAIT: Duration = Duration::from_secs(1);

/// So many frames a tail has room for exactly: most streams are quiet, and hold their `live` and a heartbeat.
const QUIET_FRAMES: usize = 4;

/// What groups may hold, and what they did.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// Newest frames that a group keeps for members that are behind, and for those who come back.
    pub tail_frames: usize,
    /// Bytes of them. The newest frame is kept whatever its size.
    pub tail_bytes: usize,
    /// What was done, for whoever wants to know.
    pub counters: Arc<Counters>,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self { tail_frames: 512, tail_bytes: 256 * 1024, counters: Arc::default() }
    }
}

/// What groups did since the server started.
#[derive(Debug, Default)]
pub struct Counters {
    executed: AtomicU64,
    shared: AtomicU64,
    alone: AtomicU64,
    open: AtomicU64,
    members: AtomicU64,
}

impl Counters {
    /// Frames that were executed and serialised, in groups or for one client alone.
    pub fn executed(&self) -> u64 {
        self.executed.load(Ordering::Relaxed)
    }

    /// Frames that members were given.
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// Streams that were started for one client alone, founders of groups among them.
    pub fn alone(&self) -> u64 {
        self.alone.load(Ordering::Relaxed)
    }

    /// Groups at present.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Members of groups at present.
    pub fn members(&self) -> u64 {
        self.members.load(Ordering::Relaxed)
    }

    pub(crate) fn count_alone(&self) {
        self.alone.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a transport sends of a subscription.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A response, as JSON.
    Next(Utf8Bytes),
    /// Why there is no stream; the last item.
    Refused(Arc<[ServerError]>),
    /// The stream broke off through no fault of the client, which comes back; the last item.
    Broken,
}

impl Item {
    fn of(response: &Response) -> Result<Self> {
        let mut json =
            serde_json::to_string(&Body(response)).map_err(|error| Error::fault("writing a response", error))?;
        // A tail keeps it.
        json.shrink_to_fit();
        Ok(Self::Next(json.into()))
    }
}

/// An item and where it stands; without a place it belongs to no position, like an error.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) place: Option<Place>,
    pub(crate) item: Item,
    /// What the item was written from, where something in it failed: its errors name places in the text of one client.
    pub(crate) failed: Option<Arc<Response>>,
}

impl Frame {
    /// The frame of a response that a stream has yielded, its place taken from the track.
    pub(crate) fn of(response: Response, track: &Track, counters: &Counters) -> Result<Self> {
        counters.executed.fetch_add(1, Ordering::Relaxed);
        // The note beside the stream is of the last response that went well.
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

/// A stream and the note beside it.
pub(crate) struct Source {
    pub(crate) stream: BoxStream<'static, Said>,
    pub(crate) track: Track,
}

/// Where somebody who wants to join stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// It has everything up to here; none for one who begins at the present.
    pub(crate) at: Option<Position>,
    /// It waits for `live` at or after this offset; none where it has had its `live`.
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
    /// Somebody tries since then whether the operation is one; closed when it is decided.
    Claimed(watch::Receiver<()>, Instant),
    Open(Arc<Group>),
}

/// What is to be done by one who asked.
pub(crate) enum Entry {
    /// Take what the group has.
    Member(Member),
    /// There is a group, but what it keeps does not reach back.
    Unreached,
    /// Somebody founds the group just now.
    Claimed(watch::Receiver<()>),
    /// Found it.
    Vacant(Claim),
}

/// The right to found a group; given back when it is dropped, and lost to the next who comes when it is kept for too long:
/// one whose client does not read might keep it for ever.
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

    /// Joins the group of a key, if there is one that reaches back to where the caller stands.
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
    /// Founds the group with a live stream: the founder is its first member, what the stream has said since `from` is its
    /// tail, and the last of it is where the founder stands.
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
        // The founder is a member until the caller drops it, so nobody needs the handle earlier.
        group.driver.get_or_init(|| driver.abort_handle());
        Ok(founder)
    }

    /// Whether nobody else has come in its place.
    fn holds(&self, seats: &HashMap<Key, Seat>) -> bool {
        let same = |undecided: &watch::Receiver<()>| undecided.same_channel(&self.decided.subscribe());
        matches!(seats.get(&self.key), Some(Seat::Claimed(undecided, _)) if same(undecided))
    }
}

/// The founder, or its stream where that cannot be shared.
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
    /// What all its positions have in common.
    identity: (uuid::Uuid, Option<Fingerprint>),
    /// Whether each frame is all there is to know.
    is_of_states: bool,
    /// What to execute for a member that follows alone.
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
    /// It ended before its time.
    broken: bool,
    members: usize,
    sleepers: Vec<Sleeper>,
    vacant: Vec<usize>,
}

/// Whom to wake, and for what.
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
    /// The first frame from this number on.
    fn at(&self, number: u64) -> Option<&(u64, Frame)> {
        self.frames.get(self.frames.partition_point(|(of_frame, _)| *of_frame < number))
    }

    fn add(&mut self, frame: Frame, settings: &GroupSettings) {
        if let Some(Place { position, kind: Kind::Live | Kind::State }) = frame.place {
            self.live = Some((self.next, position.offset));
        }
        if frame.is(Kind::State) {
            // Nobody wants an older one.
            (self.first, self.bytes, self.from) = (self.next, 0, 0);
            self.frames.clear();
        }
        // Of heartbeats in a row the newest says it all: a quiet stream must not grow for as long as it is there.
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

    /// The number of the first frame that stands at or after an offset.
    fn number_at(&self, offset: u64) -> u64 {
        let before = |(_, frame): &(u64, Frame)| frame.place.is_some_and(|place| place.position.offset < offset);
        self.frames.get(self.frames.partition_point(before)).map_or(self.next, |(number, _)| *number)
    }

    /// Whom a new frame concerns: a `live` only those who wait for it.
    fn rouse(&mut self, live_only: bool) -> Vec<Waker> {
        let concerned = self.sleepers.iter_mut().filter(|sleeper| sleeper.wants_live || !live_only);
        concerned.filter_map(|sleeper| sleeper.waker.take()).collect()
    }
}

/// What a stream says.
pub(crate) enum Said {
    /// A response, of which one may have failed while the stream goes on.
    Response(Response),
    /// A failed response after which there was no other: why there is no stream, or why it broke off.
    Broken(Response),
}

/// A stream of responses, its end understood.
pub(crate) fn understood(responses: BoxStream<'static, Response>) -> BoxStream<'static, Said> {
    Understood { responses, kept: None }.boxed()
}

struct Understood {
    responses: BoxStream<'static, Response>,
    /// A failed response, until it is known whether another comes; or the one that came.
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

/// Follows the group's stream to its end; aborted with the last member.
async fn drive(groups: Groups, group: Arc<Group>, mut source: Source) {
    loop {
        let frame = match caught(source.stream.next()).await {
            Ok(Some(Said::Response(response))) => Frame::of(response, &group.track, groups.counters()),
            Ok(None) => break,
            Ok(Some(Said::Broken(_))) => Err(Error::Busy),
            Err(fault) => Err(fault),
        };
        let frame = match frame {
            // What ends the stream of the one who founded the group need not end those of the others.
            Ok(frame) if frame.is(Kind::Resync) => {
                group.state().broken = true;
                break;
            }
            Ok(frame) => frame,
            // Each member goes on alone from where it stands, and is told there what is wrong, if it still is.
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

/// What a member is told.
pub(crate) enum Turn {
    /// The next item, and where the member stands now.
    Item(Item),
    /// The tail no longer holds what comes next.
    Behind,
    /// The stream is over.
    Ended,
}

/// A cursor in the frames of a group.
pub(crate) struct Member {
    groups: Groups,
    group: Arc<Group>,
    sleeper: usize,
    next: u64,
    standing: Standing,
    /// What this member asked for, where it spells it otherwise than the group.
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
            // A `live` at the same offset will do.
            (Some(at), Some(_)) => state.number_at(at.offset),
            // One who begins at the present wants nothing from before its `live`.
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

    /// Where it stands.
    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether each frame is all there is to know, so that there is no place to go on from.
    pub(crate) fn is_of_states(&self) -> bool {
        self.group.is_of_states
    }

    /// What the group executes: the same as this member asked for.
    pub(crate) fn asked(&self) -> &Arc<Asked> {
        &self.group.asked
    }

    /// Tells it places in the text of its own client from now on.
    pub(crate) fn reads_places_of(&mut self, asked: Arc<Asked>) {
        self.spelled = Some(asked);
    }

    /// The item of a frame, as this member's client reads it.
    fn item(&self, frame: &Frame) -> Item {
        let (Some(asked), Some(failed)) = (&self.spelled, &frame.failed) else { return frame.item.clone() };
        let mut response = Response::new(failed.data.clone());
        response.errors.clone_from(&failed.errors);
        for error in &mut response.errors {
            error.locations = asked.place(&error.path).into_iter().collect();
        }
        Item::of(&response).unwrap_or_else(|_| frame.item.clone())
    }

    /// The next item that is for this member.
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

    /// The next item that is for this member.
    pub(crate) async fn turn(&mut self) -> Turn {
        std::future::poll_fn(|cx| self.poll_turn(cx)).await
    }
}

impl Standing {
    /// Of one who waits for `live` at the present of this node; or at its own place, where that is further: it may have read more of
    /// the log from another node, or from the database.
    pub(crate) fn before_live(at: Option<Position>, present: u64) -> Self {
        let end = at.map_or(present, |at| present.max(at.offset));
        Self { at, backlog_end: Some(end) }
    }

    /// Whether a frame of the group is for one who stands here; it stands there then.
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
            // The backlog of a member is done at once; its `live` moves the position on.
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
        // This node has read the log up to 25, and its client has read more of it from the database.
        let mut standing = Standing::before_live(at(Kind::Item, 27).map(|place| place.position), 25);
        assert!(!standing.admits(at(Kind::Live, 25)) && !standing.admits(at(Kind::Item, 27)));
        assert!(standing.admits(at(Kind::Item, 28)) && standing.admits(at(Kind::Live, 28)));
    }
}
