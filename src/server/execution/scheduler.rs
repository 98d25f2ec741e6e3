//! Turns: permits to run operations. They bound how many operations run at once, and decide which comes next.
//!
//! An operation that reads holds one connection to the database, so there are as many turns as connections for
//! requests. Invariants:
//! - A principal has a bounded number of turns at once. Its further operations wait in a queue of its own.
//! - The next turn goes to the waiting principals in rotation, not to the oldest operation.
//! - The last turns are for principals without a turn: a new principal does not wait behind two busy ones.
//! - Of one principal's operations the cheapest goes first, by its [`Effort`]. Operations of one level go in the order
//!   in which they came. Every fourth turn goes to the oldest operation, so that no operation starves.
//! - Expensive operations have a part of a principal's turns, so that a cheap operation does not wait for one to end.
//! - The number of waiting operations is bounded, for each principal and in all, and so is the time that they wait.
//!
//! A principal's operations are therefore not executed in the order in which they were sent. A client that waits for
//! the first answer before it sends the second operation has them in this order. A client that sends both at once has
//! no promise, because several run at once anyway. The mutations of one request are one operation, and keep their order
//! in the document.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::{Error, Result};
use crate::server::operation::effort::Effort;

/// Mutations at once for each connection. The default of eight connections gives as many as one full batch takes, and
/// two more.
const WRITES_PER_CONNECTION: usize = 4;

/// One turn in this number goes to the principal's oldest operation.
const OLDEST_EVERY: u8 = 4;

/// The limits of one kind of turns.
#[derive(Clone, Debug)]
pub struct TurnSettings {
    /// The most turns at once, of all principals together; at least one.
    pub all: usize,
    /// The most turns at once of one principal; at least one.
    pub each: usize,
    /// The most turns at once of one principal for expensive operations; at least one.
    pub dear: usize,
    /// Turns of `all` that only a principal without a turn receives.
    pub spare: usize,
    /// The most waiting operations of one principal. A page that is opened on every screen of a site sends a few
    /// hundred.
    pub waiting_each: usize,
    /// The most waiting operations of all principals. Each may hold a request of the largest size.
    pub waiting_all: usize,
    /// How long an operation waits for its turn before it is refused.
    pub wait: Duration,
}

impl TurnSettings {
    /// Turns for operations that read, over this many connections. One connection is left to the desk's own work: its
    /// log and its jobs. A principal has half of the turns, so that two principals are needed to use all. Half of a
    /// principal's turns are for expensive operations.
    pub fn of_reads(connections: usize, wait: Duration) -> Self {
        let all = connections.saturating_sub(1).max(1);
        let each = all.div_ceil(2);
        Self::of((all, each, each.div_ceil(2)), wait)
    }

    /// Turns for mutations, over this many connections. Mutations are short, and concurrent mutations share
    /// transactions, so there are more turns than connections. A principal has three eighths of them, twelve by
    /// default. That is fewer than the worker threads, and enough for a batch in which one commit serves many commands.
    /// A large mutation holds a connection of its own for long, and also the end of the log, or all of SQLite. So a
    /// principal's large mutations get a quarter of the connections.
    pub fn of_writes(connections: usize, wait: Duration) -> Self {
        let all = connections.max(1) * WRITES_PER_CONNECTION;
        Self::of((all, all * 3 / 8, connections.div_ceil(4).max(1)), wait)
    }

    fn of((all, each, dear): (usize, usize, usize), wait: Duration) -> Self {
        Self { all, each, dear, spare: all / 4, waiting_each: 1_024, waiting_all: 4_096, wait }
    }
}

/// The turns of a server. Clones share them.
#[derive(Clone)]
pub(in crate::server) struct Scheduler(Arc<SchedulerInner>);

struct SchedulerInner {
    settings: TurnSettings,
    state: Mutex<SchedulerState>,
}

#[derive(Default)]
struct SchedulerState {
    running: usize,
    waiting: usize,
    /// The number of operations that have ever waited: the number of the newest one.
    numbers: u64,
    /// Principals with waiting operations, the next principal first.
    order: VecDeque<Principal>,
    /// Principals that have a turn, or wait for one.
    present: HashMap<Principal, PrincipalTurns>,
}

/// The identity whose turns are counted together.
pub(in crate::server) type Principal = Arc<[u8]>;

#[derive(Default)]
struct PrincipalTurns {
    running: usize,
    /// The part of `running` that is expensive.
    dear: usize,
    waiting: Line,
}

/// The waiting operations of one principal.
#[derive(Default)]
struct Line {
    /// By level, each in the order in which the operations came.
    levels: BTreeMap<Effort, VecDeque<WaitingOperation>>,
    count: usize,
    /// Turns given since the last turn of the oldest operation.
    since_oldest: u8,
}

struct WaitingOperation {
    number: u64,
    give: oneshot::Sender<OperationTurn>,
    /// Whether the operation counts against the limits of waiting operations.
    counted: bool,
}

/// The kind of a caller that waits for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Waiter {
    /// An operation. A bounded number of operations waits.
    Operation,
    /// A stream that has sent nothing yet. The limits of streams bound their number (`realtime/budget.rs`).
    Stream,
    /// A stream that has sent something. It waits as long as its client stays: an item cannot be refused midway.
    Begun,
}

/// A permit to run one operation, given back when it is dropped.
pub(in crate::server) struct OperationTurn {
    turns: Scheduler,
    principal: Principal,
    effort: Effort,
}

/// A place in the queue, given up when it is dropped.
struct WaitingSlot {
    turns: Scheduler,
    principal: Principal,
    effort: Effort,
    number: u64,
}

impl Scheduler {
    pub(in crate::server) fn new(settings: TurnSettings) -> Self {
        Self(Arc::new(SchedulerInner { settings, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, SchedulerState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. `UNAVAILABLE` if too many operations wait already, or if the wait was too long. A stream that
    /// has begun waits without a time limit.
    pub(in crate::server) async fn take(
        &self,
        principal: impl Into<Principal>,
        effort: Effort,
        waiter: Waiter,
    ) -> Result<OperationTurn> {
        let principal = principal.into();
        let settings = &self.0.settings;
        let (given, place) = {
            let mut state = self.state();
            if state.may_begin(&principal, effort, settings) {
                state.begin(&principal, effort);
                return Ok(OperationTurn { turns: self.clone(), principal, effort });
            }
            let counted = waiter == Waiter::Operation;
            if counted {
                state.has_room(&principal, settings)?;
            }
            let (give, given) = oneshot::channel();
            let number = state.enqueue(&principal, effort, (give, counted));
            (given, WaitingSlot { turns: self.clone(), principal, effort, number })
        };
        let turn = match waiter {
            Waiter::Begun => Ok(given.await),
            Waiter::Operation | Waiter::Stream => tokio::time::timeout(settings.wait, given).await,
        };
        drop(place);
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Error::unavailable("the desk is busy: this operation waited too long for its turn, try again")),
        }
    }

    /// Gives the free turns to waiting operations. The caller holds `state` since it freed a turn, so that no new
    /// operation goes before those that wait.
    fn hand_out<'s>(&'s self, mut state: MutexGuard<'s, SchedulerState>) {
        loop {
            let next = state.next(&self.0.settings);
            drop(state);
            let Some((principal, effort, give)) = next else { return };
            // An operation that no longer waits drops the turn, and that drop looks for the next operation.
            drop(give.send(OperationTurn { turns: self.clone(), principal, effort }));
            state = self.state();
        }
    }
}

impl Line {
    fn add(&mut self, effort: Effort, waiting: WaitingOperation) {
        self.count += usize::from(waiting.counted);
        self.levels.entry(effort).or_default().push_back(waiting);
    }

    /// Returns the level of the next operation, of those that may begin.
    fn next(&self, may_begin: impl Fn(Effort) -> bool) -> Option<Effort> {
        let mut levels = self.levels.iter().filter(|(effort, _)| may_begin(**effort));
        let oldest = self.since_oldest + 1 >= OLDEST_EVERY;
        let (effort, _) = if oldest {
            levels.min_by_key(|(_, waiting)| waiting.front().map(|first| first.number))?
        } else {
            levels.next()?
        };
        Some(*effort)
    }

    fn take(&mut self, effort: Effort) -> Option<WaitingOperation> {
        self.since_oldest = (self.since_oldest + 1) % OLDEST_EVERY;
        let level = self.levels.get_mut(&effort)?;
        let taken = level.pop_front()?;
        if level.is_empty() {
            self.levels.remove(&effort);
        }
        self.count -= usize::from(taken.counted);
        Some(taken)
    }

    /// Removes an operation that no longer waits, if it is still in the queue.
    fn leave(&mut self, effort: Effort, number: u64) -> Option<WaitingOperation> {
        let level = self.levels.get_mut(&effort)?;
        let left = level.iter().position(|waiting| waiting.number == number).and_then(|at| level.remove(at));
        if level.is_empty() {
            self.levels.remove(&effort);
        }
        self.count -= usize::from(left.as_ref().is_some_and(|left| left.counted));
        left
    }

    fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }
}

impl SchedulerState {
    fn may_begin(&self, principal: &Principal, effort: Effort, settings: &TurnSettings) -> bool {
        let (running, dear) = self.present.get(principal).map_or((0, 0), |present| (present.running, present.dear));
        let free = settings.all.saturating_sub(self.running);
        let kept = if running == 0 { 0 } else { settings.spare };
        running < settings.each && free > kept && (!effort.is_dear() || dear < settings.dear)
    }

    fn begin(&mut self, principal: &Principal, effort: Effort) {
        self.running += 1;
        let present = self.present.entry(principal.clone()).or_default();
        present.running += 1;
        present.dear += usize::from(effort.is_dear());
    }

    /// Refuses an operation if too many wait already.
    fn has_room(&self, principal: &Principal, settings: &TurnSettings) -> Result<()> {
        let waiting = self.present.get(principal).map_or(0, |present| present.waiting.count);
        if waiting >= settings.waiting_each {
            let words = format!("{waiting} operations of yours wait already: send fewer at once, and try again");
            return Err(Error::unavailable(words));
        }
        if self.waiting < settings.waiting_all {
            Ok(())
        } else {
            Err(Error::unavailable("the desk is busy: too many operations wait, try again"))
        }
    }

    fn enqueue(
        &mut self,
        principal: &Principal,
        effort: Effort,
        (give, counted): (oneshot::Sender<OperationTurn>, bool),
    ) -> u64 {
        self.numbers += 1;
        self.waiting += usize::from(counted);
        let present = self.present.entry(principal.clone()).or_default();
        if present.waiting.is_empty() {
            self.order.push_back(principal.clone());
        }
        present.waiting.add(effort, WaitingOperation { number: self.numbers, give, counted });
        self.numbers
    }

    /// Removes and returns the next operation that may begin; its turn is already counted.
    fn next(&mut self, settings: &TurnSettings) -> Option<(Principal, Effort, oneshot::Sender<OperationTurn>)> {
        let next_of = |principal: &Principal| {
            let line = &self.present.get(principal)?.waiting;
            line.next(|effort| self.may_begin(principal, effort, settings))
        };
        let (at, effort) = self.order.iter().enumerate().find_map(|(at, principal)| Some((at, next_of(principal)?)))?;
        let principal = self.order.remove(at)?;
        let present = self.present.get_mut(&principal)?;
        let WaitingOperation { give, counted, .. } = present.waiting.take(effort)?;
        if !present.waiting.is_empty() {
            self.order.push_back(principal.clone());
        }
        self.waiting -= usize::from(counted);
        self.begin(&principal, effort);
        Some((principal, effort, give))
    }

    fn forget_absent(&mut self, principal: &Principal) {
        if self.present.get(principal).is_some_and(|present| present.running == 0 && present.waiting.is_empty()) {
            self.present.remove(principal);
        }
    }
}

impl Drop for OperationTurn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.running -= 1;
        if let Some(present) = state.present.get_mut(&self.principal) {
            present.running -= 1;
            present.dear -= usize::from(self.effort.is_dear());
        }
        state.forget_absent(&self.principal);
        self.turns.hand_out(state);
    }
}

impl Drop for WaitingSlot {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        let Some(present) = state.present.get_mut(&self.principal) else { return };
        let Some(left) = present.waiting.leave(self.effort, self.number) else { return };
        if present.waiting.is_empty() {
            state.order.retain(|waiting| *waiting != self.principal);
        }
        state.waiting -= usize::from(left.counted);
        state.forget_absent(&self.principal);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn turns(all: usize, each: usize, spare: usize) -> Scheduler {
        let wait = Duration::from_secs(1);
        Scheduler::new(TurnSettings { all, each, dear: each.div_ceil(2), spare, waiting_each: 2, waiting_all: 3, wait })
    }

    const CHEAP: Effort = Effort(2);
    const DEARER: Effort = Effort(u8::MAX);

    impl Scheduler {
        async fn next(&self, principal: &[u8]) -> Result<OperationTurn> {
            self.take(principal, CHEAP, Waiter::Operation).await
        }
    }

    #[tokio::test]
    async fn operations_of_one_principal_wait_behind_each_other_and_nobody_else_does() {
        let turns = turns(4, 2, 1);
        let first = turns.next(b"a").await.expect("a turn");
        let _second = turns.next(b"a").await.expect("a turn");
        let mut third = Box::pin(turns.next(b"a"));
        assert!(third.as_mut().now_or_never().is_none(), "two at once");
        let _other = turns.next(b"b").now_or_never().expect("no wait").expect("a turn");
        let mut more_of_the_other = Box::pin(turns.next(b"b"));
        assert!(more_of_the_other.as_mut().now_or_never().is_none(), "the last turn is for a new principal");
        let new = turns.next(b"c").now_or_never().expect("no wait").expect("a turn");
        assert!(turns.next(b"d").now_or_never().is_none(), "all are taken");
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "what is left is for a new principal");
        drop(new);
        third.now_or_never().expect("its turn").expect("a turn");
    }

    #[tokio::test]
    async fn the_next_turn_goes_round() {
        let turns = turns(1, 1, 0);
        let first = turns.next(b"a").await.expect("a turn");
        let mut waiting: Vec<_> =
            [b"a", b"a", b"b"].into_iter().map(|principal| Box::pin(turns.next(principal))).collect();
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        let [a1, a2, b1] = &mut waiting[..] else { panic!("three wait") };
        drop(first);
        let first = a1.now_or_never().expect("the oldest").expect("a turn");
        drop(first);
        assert!(a2.as_mut().now_or_never().is_none(), "b is next");
        let second = b1.now_or_never().expect("its turn").expect("a turn");
        drop(second);
        a2.now_or_never().expect("its turn").expect("a turn");
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_what_left_is_not_counted() {
        let turns = turns(1, 1, 0);
        let running = turns.next(b"a").await.expect("a turn");
        let (mut one, mut two) = (Box::pin(turns.next(b"a")), Box::pin(turns.next(b"a")));
        assert!(one.as_mut().now_or_never().is_none() && two.as_mut().now_or_never().is_none());
        let refused = turns.next(b"a").await.err().expect("too many of one");
        assert_eq!(refused.code().as_str(), "UNAVAILABLE");
        let mut other = Box::pin(turns.next(b"b"));
        assert!(other.as_mut().now_or_never().is_none());
        assert!(turns.next(b"c").await.is_err(), "too many of all");
        drop((one, other));
        let mut again = Box::pin(turns.next(b"a"));
        assert!(again.as_mut().now_or_never().is_none(), "there is room for it");
        drop(running);
        two.now_or_never().expect("its turn").expect("a turn");
        again.now_or_never().expect("its turn").expect("a turn");
        assert!(turns.state().present.is_empty() && turns.state().waiting == 0, "nothing is kept");
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let settings = TurnSettings { wait: Duration::from_millis(1), ..turns(1, 1, 0).0.settings.clone() };
        let turns = Scheduler::new(settings);
        let _running = turns.next(b"a").await.expect("a turn");
        assert_eq!(turns.next(b"b").await.err().expect("a refusal").code().as_str(), "UNAVAILABLE");
        assert_eq!(turns.state().waiting, 0);
    }

    /// Returns the indices of these operations in the order in which they receive the only turn.
    async fn given(efforts: &[u8]) -> Vec<usize> {
        let turns = turns(1, 1, 0);
        let busy = turns.next(b"a").await.expect("a turn");
        let wait = |effort: &u8| Box::pin(turns.take(&b"a"[..], Effort(*effort), Waiter::Stream));
        let mut waiting: Vec<_> = efforts.iter().map(wait).collect();
        waiting.iter_mut().for_each(|one| assert!(one.as_mut().now_or_never().is_none(), "there is one turn"));
        drop(busy);
        let mut order = Vec::new();
        while order.len() < efforts.len() {
            let left = (0..efforts.len()).filter(|at| !order.contains(at));
            let next = left.filter_map(|at| Some((at, waiting[at].as_mut().now_or_never()?))).collect::<Vec<_>>();
            let [(at, _turn)] = &next[..] else { panic!("one at a time") };
            order.push(*at);
        }
        assert!(turns.state().present.is_empty(), "nothing is kept");
        order
    }

    #[tokio::test]
    async fn the_least_goes_first_and_the_oldest_now_and_then() {
        assert_eq!(given(&[5, 2, 5, 2, 2, 2, 2]).await, [1, 3, 4, 0, 5, 6, 2]);
        assert_eq!(given(&[3, 3, 3]).await, [0, 1, 2], "those of one level in order");
    }

    #[tokio::test]
    async fn a_cheap_operation_does_not_wait_until_a_dear_one_has_ended() {
        let turns = turns(4, 4, 0);
        let dear = || Box::pin(turns.take(&b"a"[..], DEARER, Waiter::Operation));
        let running = [dear().await.expect("a turn"), dear().await.expect("a turn")];
        let mut third = dear();
        assert!(third.as_mut().now_or_never().is_none(), "dear ones have half of the turns");
        let cheap = [turns.next(b"a").await.expect("a turn"), turns.next(b"a").await.expect("a turn")];
        let mut fifth = Box::pin(turns.next(b"a"));
        assert!(fifth.as_mut().now_or_never().is_none());
        drop(running);
        fifth.now_or_never().expect("its turn").expect("a turn");
        third.now_or_never().expect("its turn").expect("a turn");
        drop(cheap);
        assert!(turns.state().present.is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn streams_are_not_counted_among_the_operations_that_wait() {
        let turns = turns(1, 1, 0);
        let busy = turns.next(b"a").await.expect("a turn");
        let mut streams: Vec<_> = (0..10).map(|_| Box::pin(turns.take(&b"a"[..], CHEAP, Waiter::Stream))).collect();
        streams.iter_mut().for_each(|stream| assert!(stream.as_mut().now_or_never().is_none()));
        let mut operation = Box::pin(turns.next(b"a"));
        assert!(operation.as_mut().now_or_never().is_none(), "it waits");
        drop(streams);
        drop(busy);
        operation.now_or_never().expect("its turn").expect("a turn");
    }
}
