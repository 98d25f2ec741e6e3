//! Turns: how many operations run at once, and whose comes next.
//!
//! An operation that reads holds one connection to the database, so there are as many turns as connections to give. What
//! must hold:
//! - a principal has a bounded number of turns at once; its further operations wait behind each other;
//! - the next turn goes to each waiting principal in rotation, not to the oldest operation;
//! - the last turns are for principals that have none: a new principal does not wait behind two that are busy;
//! - the number of waiting operations is bounded, for each principal and in all, and so is the time they wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::{Error, Result};

/// The bounds of one kind of turns.
#[derive(Clone, Debug)]
pub struct TurnSettings {
    /// Turns at once, of all principals together; at least one.
    pub all: usize,
    /// Turns at once of one principal; at least one.
    pub each: usize,
    /// Turns of `all` that only a principal without a turn is given.
    pub spare: usize,
    /// Operations of one principal that wait. A page that is opened on every screen of a site at once asks a few hundred.
    pub waiting_each: usize,
    /// Operations that wait, of all principals together. Each may hold a request of the largest size.
    pub waiting_all: usize,
    /// How long an operation waits for its turn.
    pub wait: Duration,
}

impl TurnSettings {
    /// Turns for operations that read, over so many connections. One connection is left to the desk's own work: its log, its
    /// streams and its jobs. A principal has half of the turns, so that two of them are needed to use all.
    pub fn of_reads(connections: usize, wait: Duration) -> Self {
        let all = connections.saturating_sub(1).max(1);
        Self::of(all, all.div_ceil(2), wait)
    }

    /// Turns for mutations, over so many connections. Mutations are short and commit one after the other, so a principal has
    /// three quarters of the turns: what matters is whose comes next.
    pub fn of_writes(connections: usize, wait: Duration) -> Self {
        Self::of(connections.max(1), (connections * 3 / 4).max(1), wait)
    }

    fn of(all: usize, each: usize, wait: Duration) -> Self {
        Self { all, each, spare: all / 4, waiting_each: 1_024, waiting_all: 4_096, wait }
    }
}

/// The turns of a server. Clones share them.
#[derive(Clone)]
pub(super) struct Turns(Arc<Inner>);

struct Inner {
    settings: TurnSettings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: usize,
    /// How many operations ever waited: the number of the next one.
    numbers: u64,
    /// Principals whose operations wait, the next one first.
    order: VecDeque<Principal>,
    /// Principals that have a turn, or wait for one.
    present: HashMap<Principal, Present>,
}

/// Whose turns are counted together.
type Principal = Arc<[u8]>;

#[derive(Default)]
struct Present {
    running: usize,
    waiting: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

/// A turn, until it is dropped.
pub(super) struct Turn {
    turns: Turns,
    principal: Principal,
}

/// A place in the queue, until it is dropped.
struct Place {
    turns: Turns,
    principal: Principal,
    number: u64,
}

impl Turns {
    pub(super) fn new(settings: TurnSettings) -> Self {
        Self(Arc::new(Inner { settings, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. `UNAVAILABLE` where too many operations wait already, or where the wait was too long.
    pub(super) async fn take(&self, principal: &[u8]) -> Result<Turn> {
        let principal: Principal = principal.into();
        let settings = &self.0.settings;
        let (given, place) = {
            let mut state = self.state();
            if state.may_begin(&principal, settings) {
                state.begin(&principal);
                return Ok(Turn { turns: self.clone(), principal });
            }
            let waiting = state.present.get(&principal).map_or(0, |present| present.waiting.len());
            if waiting >= settings.waiting_each {
                let words = format!("{waiting} operations of yours wait already: send fewer at once, and try again");
                return Err(Error::unavailable(words));
            }
            if state.waiting >= settings.waiting_all {
                return Err(Error::unavailable("the desk is busy: too many operations wait, try again"));
            }
            let (give, given) = oneshot::channel();
            let number = state.enqueue(&principal, give);
            (given, Place { turns: self.clone(), principal, number })
        };
        let turn = tokio::time::timeout(settings.wait, given).await;
        drop(place);
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Error::unavailable("the desk is busy: this operation waited too long for its turn, try again")),
        }
    }

    /// Gives turns to operations that wait, as many as there are.
    fn hand_out(&self) {
        loop {
            let next = self.state().next(&self.0.settings);
            let Some((principal, give)) = next else { return };
            // One that no longer waits gives its turn back, and the next one is looked for there.
            drop(give.send(Turn { turns: self.clone(), principal }));
        }
    }
}

impl State {
    fn may_begin(&self, principal: &Principal, settings: &TurnSettings) -> bool {
        let running = self.present.get(principal).map_or(0, |present| present.running);
        let free = settings.all.saturating_sub(self.running);
        let kept = if running == 0 { 0 } else { settings.spare };
        running < settings.each && free > kept
    }

    fn begin(&mut self, principal: &Principal) {
        self.running += 1;
        self.present.entry(principal.clone()).or_default().running += 1;
    }

    fn enqueue(&mut self, principal: &Principal, give: oneshot::Sender<Turn>) -> u64 {
        self.numbers += 1;
        self.waiting += 1;
        let present = self.present.entry(principal.clone()).or_default();
        if present.waiting.is_empty() {
            self.order.push_back(principal.clone());
        }
        present.waiting.push_back((self.numbers, give));
        self.numbers
    }

    /// The next operation that may begin; its turn is counted already.
    fn next(&mut self, settings: &TurnSettings) -> Option<(Principal, oneshot::Sender<Turn>)> {
        let at = self.order.iter().position(|principal| self.may_begin(principal, settings))?;
        let principal = self.order.remove(at)?;
        let present = self.present.get_mut(&principal)?;
        let (_, give) = present.waiting.pop_front()?;
        if !present.waiting.is_empty() {
            self.order.push_back(principal.clone());
        }
        self.waiting -= 1;
        self.begin(&principal);
        Some((principal, give))
    }

    fn forget_absent(&mut self, principal: &Principal) {
        if self.present.get(principal).is_some_and(|present| present.running == 0 && present.waiting.is_empty()) {
            self.present.remove(principal);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.turns.state();
            state.running -= 1;
            if let Some(present) = state.present.get_mut(&self.principal) {
                present.running -= 1;
            }
            state.forget_absent(&self.principal);
        }
        self.turns.hand_out();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        let Some(present) = state.present.get_mut(&self.principal) else { return };
        let before = present.waiting.len();
        present.waiting.retain(|(number, _)| *number != self.number);
        let left = before - present.waiting.len();
        if left > 0 && present.waiting.is_empty() {
            state.order.retain(|waiting| *waiting != self.principal);
        }
        state.waiting -= left;
        state.forget_absent(&self.principal);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn turns(all: usize, each: usize, spare: usize) -> Turns {
        let wait = Duration::from_secs(1);
        Turns::new(TurnSettings { all, each, spare, waiting_each: 2, waiting_all: 3, wait })
    }

    #[tokio::test]
    async fn operations_of_one_principal_wait_behind_each_other_and_nobody_else_does() {
        let turns = turns(4, 2, 1);
        let first = turns.take(b"a").await.expect("a turn");
        let _second = turns.take(b"a").await.expect("a turn");
        let mut third = Box::pin(turns.take(b"a"));
        assert!(third.as_mut().now_or_never().is_none(), "two at once");
        let _other = turns.take(b"b").now_or_never().expect("no wait").expect("a turn");
        let mut more_of_the_other = Box::pin(turns.take(b"b"));
        assert!(more_of_the_other.as_mut().now_or_never().is_none(), "the last turn is for a new principal");
        let new = turns.take(b"c").now_or_never().expect("no wait").expect("a turn");
        assert!(turns.take(b"d").now_or_never().is_none(), "all are taken");
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "what is left is for a new principal");
        drop(new);
        third.now_or_never().expect("its turn").expect("a turn");
    }

    #[tokio::test]
    async fn the_next_turn_goes_round() {
        let turns = turns(1, 1, 0);
        let first = turns.take(b"a").await.expect("a turn");
        let mut waiting: Vec<_> =
            [b"a", b"a", b"b"].into_iter().map(|principal| Box::pin(turns.take(principal))).collect();
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
        let running = turns.take(b"a").await.expect("a turn");
        let (mut one, mut two) = (Box::pin(turns.take(b"a")), Box::pin(turns.take(b"a")));
        assert!(one.as_mut().now_or_never().is_none() && two.as_mut().now_or_never().is_none());
        let refused = turns.take(b"a").await.err().expect("too many of one");
        assert_eq!(refused.code().as_str(), "UNAVAILABLE");
        let mut other = Box::pin(turns.take(b"b"));
        assert!(other.as_mut().now_or_never().is_none());
        assert!(turns.take(b"c").await.is_err(), "too many of all");
        drop((one, other));
        let mut again = Box::pin(turns.take(b"a"));
        assert!(again.as_mut().now_or_never().is_none(), "there is room for it");
        drop(running);
        two.now_or_never().expect("its turn").expect("a turn");
        again.now_or_never().expect("its turn").expect("a turn");
        assert!(turns.state().present.is_empty() && turns.state().waiting == 0, "nothing is kept");
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let settings = TurnSettings { wait: Duration::from_millis(1), ..turns(1, 1, 0).0.settings.clone() };
        let turns = Turns::new(settings);
        let _running = turns.take(b"a").await.expect("a turn");
        assert_eq!(turns.take(b"b").await.err().expect("a refusal").code().as_str(), "UNAVAILABLE");
        assert_eq!(turns.state().waiting, 0);
    }
}
