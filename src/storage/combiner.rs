//! Commands that come at the same time share a transaction and its commit.
//!
//! A command that finds a free lane leads: it begins a transaction and runs as if it were alone. Whoever has come meanwhile joins it,
//! one after the other; its rows wait ([`super::deferred`]), or a savepoint stands before them. Once nobody waits, or the batch is full, it is committed; while one batch is being
//! committed the next one gathers. Each command runs in its own caller's task: the transaction goes from hand to hand.
//!
//! What must hold:
//! - a command that joins never waits for a lock: the transaction may hold what the other one waits for. It is taken back to its
//!   savepoint and comes again with a later batch; after a few times it runs alone, and waits;
//! - a refusal takes back its own command, and no other;
//! - where the transaction breaks off, the commands that have run in it run again, each alone;
//! - whoever holds a transaction and goes leaves the others their turn.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::debug;

use super::batch::{Answer, Batch, Unended};
use super::{Error, Head, MutationState, Result, Store, TRANSACT_PAUSE, TRANSACT_TRIES_MAX, Tx, fault};
use crate::domain::Code;

/// Batches of a node that gather commands at once: SQLite has one writer.
const LANES_SQLITE: usize = 1;

/// On PostgreSQL a second batch works while the first one waits for an answer of the server. More would divide the same commands
/// among smaller batches.
const LANES_POSTGRES: usize = 2;

/// How long a command of a batch, or a commit, may take until others need not wait for it: it waits for a lock, which a large command
/// may hold for long, has much to do, or is not answered by the database. Most take less.
const STALLED: Duration = Duration::from_millis(250);

/// Commands of a node that wait for a batch. A batch takes 30, so the last one waits for some thirty commits.
const WAITING_MAX: usize = 1_024;

/// How often a command is put off for a lock, or for what an earlier command of its batch has not written yet, before it runs alone.
const DEFERRALS_MAX: u32 = 3;

/// How long a command that was put off waits at first for a batch of this node to end; each time twice as long. What it waits for may
/// belong to another node.
const PUT_OFF: Duration = Duration::from_millis(10);

/// The batches of a node.
#[derive(Clone, Debug)]
pub(super) struct Combiner(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// How many batches have ended.
    ended: watch::Sender<u64>,
}

struct State {
    /// Batches that may gather at once.
    lanes: usize,
    /// Batches that gather.
    open: usize,
    /// Whether a batch is being committed.
    committing: bool,
    /// Batches that are ready, and wait for that.
    ready: VecDeque<Box<Batch>>,
    waiting: VecDeque<Waiting>,
    /// How many batches and waiting commands there ever were: the number of the next one.
    numbers: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("open", &self.open).field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

struct Waiting {
    number: u64,
    /// The batch that it was put off by.
    not_in: Option<u64>,
    give: oneshot::Sender<Turn>,
}

/// What a command waits for.
enum Turn {
    /// To begin a batch.
    Lead(Lane),
    /// To come into one.
    Join(Baton),
}

/// The right to gather commands; given on when it is dropped.
pub(super) struct Lane(Combiner);

/// The right to commit; the next batch that is ready is committed when it is dropped.
struct Committing(Store);

/// A batch in the hands of one command. Dropped, it goes on to the next one, or breaks off in the middle of the command's work.
struct Baton {
    store: Store,
    batch: Option<Box<Batch>>,
    at_work: bool,
}

/// A command in the queue; dropped, it is out of it.
struct Place(Combiner, u64);

/// What became of a command in a batch.
enum Ended<T> {
    Done(Result<(T, Head)>),
    /// It was in the way of another transaction while it led.
    Busy,
    /// It is to come with another batch than this.
    PutOff(u64),
    /// It is to run again, alone.
    Again,
}

impl Combiner {
    pub(super) fn new(postgres: bool) -> Self {
        let lanes = if postgres { LANES_POSTGRES } else { LANES_SQLITE };
        let (ready, waiting) = (VecDeque::new(), VecDeque::new());
        let state = Mutex::new(State { lanes, open: 0, committing: false, ready, waiting, numbers: 0 });
        Self(Arc::new(Shared { state, ended: watch::Sender::new(0) }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A batch that is ready to be committed, has to wait, and has room.
    fn take_ready(&mut self, not_in: Option<u64>) -> Option<Box<Batch>> {
        let at = self.ready.iter().position(|batch| batch.takes_more(true) && Some(batch.number) != not_in)?;
        self.ready.remove(at)
    }

    /// The command that is next in a batch.
    fn next_for(&mut self, batch: &Batch) -> Option<Waiting> {
        if !batch.takes_more(self.committing) {
            return None;
        }
        let at = self.waiting.iter().position(|waiting| waiting.not_in != Some(batch.number))?;
        self.waiting.remove(at)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.0.state();
        let Some(next) = state.waiting.pop_front() else {
            state.open -= 1;
            return;
        };
        drop(state);
        // One that no longer waits drops it at once, and so gives it on.
        drop(next.give.send(Turn::Lead(Lane(self.0.clone()))));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state().waiting.retain(|waiting| waiting.number != self.1);
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        self.0.combiner.0.ended.send_modify(|ended| *ended += 1);
        let mut state = self.0.combiner.state();
        state.committing = false;
        let Some(batch) = state.ready.pop_front() else { return };
        state.committing = true;
        drop(state);
        commit(&self.0, batch);
    }
}

impl Drop for Baton {
    fn drop(&mut self) {
        match self.batch.take() {
            // Dropped, its transaction is rolled back, and its commands run again.
            Some(broken) if self.at_work => drop(broken),
            Some(batch) => pass_on(&self.store, batch),
            None => {}
        }
    }
}

/// Gives a batch to the next command, or commits it where there is none.
fn pass_on(store: &Store, batch: Box<Batch>) {
    if let Some(batch) = offer(store, batch) {
        commit(store, batch);
    }
}

/// Gives a batch to the next command. Where there is none the caller has to commit it: the right to it is taken.
fn offer(store: &Store, mut batch: Box<Batch>) -> Option<Box<Batch>> {
    loop {
        let mut state = store.combiner.state();
        let Some(next) = state.next_for(&batch) else {
            if state.committing {
                state.ready.push_back(batch);
                return None;
            }
            state.committing = true;
            return Some(batch);
        };
        drop(state);
        match next.give.send(Turn::Join(Baton { store: store.clone(), batch: Some(batch), at_work: false })) {
            Err(Turn::Join(mut refused)) => match refused.batch.take() {
                Some(back) => batch = back,
                None => return None,
            },
            _ => return None,
        }
    }
}

/// Commits a batch in a task of its own, which nobody drops half-way. The right to it has been taken.
fn commit(store: &Store, batch: Box<Batch>) {
    let committing = Committing(store.clone());
    // A runtime that ends takes the batch with it: nothing was committed.
    let Ok(runtime) = Handle::try_current() else { return };
    let store = store.clone();
    runtime.spawn(async move { batch.commit(&store, committing).await });
}

impl Store {
    /// As [`Store::transact`], for commands of few changes: those that come at the same time share a transaction and its commit. In
    /// the log, and to each other, they are transactions of their own, one after the other.
    ///
    /// `UNAVAILABLE` where too many wait already.
    pub async fn transact_together<T, F, Fut>(&self, work: F) -> Result<(T, Head)>
    where
        T: Send,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        Box::pin(self.make_room_if_due()).await;
        let (mut tries, mut deferrals, mut not_in) = (1, 0, None);
        let mut pause = TRANSACT_PAUSE;
        loop {
            let turn = self.turn(not_in).await?;
            let mut others = self.combiner.0.ended.subscribe();
            let ended = match turn {
                Turn::Lead(lane) => self.lead(lane, &work).await,
                Turn::Join(baton) => self.join(baton, &work).await,
            };
            match ended {
                Ended::Done(done) => return done,
                Ended::Busy if tries == TRANSACT_TRIES_MAX => return Err(Error::Busy),
                Ended::Busy => {
                    debug!(tries, "transaction broken off, trying again");
                    tokio::time::sleep(pause).await;
                    (tries, pause) = (tries + 1, pause * 2);
                }
                Ended::PutOff(batch) if deferrals < DEFERRALS_MAX => {
                    debug!(deferrals, "put off to a later batch");
                    // Whether one has ended or the time is over, it is tried again.
                    tokio::time::timeout(PUT_OFF * (1 << deferrals), others.changed()).await.ok();
                    (deferrals, not_in) = (deferrals + 1, Some(batch));
                }
                Ended::PutOff(_) | Ended::Again => return self.alone(&work).await,
            }
        }
    }

    /// Waits for a turn in a batch. Dropped, or out of time, it leaves the turn to others.
    async fn turn(&self, not_in: Option<u64>) -> Result<Turn> {
        let (given, _place) = {
            let mut state = self.combiner.state();
            if let Some(batch) = state.take_ready(not_in) {
                return Ok(Turn::Join(Baton { store: self.clone(), batch: Some(batch), at_work: false }));
            }
            if state.open < state.lanes {
                state.open += 1;
                return Ok(Turn::Lead(Lane(self.combiner.clone())));
            }
            if state.waiting.len() >= WAITING_MAX {
                return Err(Error::unavailable("the desk is busy: too many changes wait, try again"));
            }
            let ((give, given), number) = (oneshot::channel(), state.number());
            state.waiting.push_back(Waiting { number, not_in, give });
            (given, Place(self.combiner.clone(), number))
        };
        match tokio::time::timeout(self.options.acquire_timeout, given).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Error::unavailable(fault::DESK_BUSY)),
        }
    }

    async fn lead<T, F, Fut>(&self, lane: Lane, work: &F) -> Ended<T>
    where
        T: Send,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let mut lane = Some(lane);
        let conn = match unless_stalled(&mut lane, self.begin_write()).await {
            Ok(conn) => conn,
            Err(error) => return Ended::Done(Err(error)),
        };
        let number = self.combiner.state().number();
        let mut batch = Box::new(Batch::new(number, conn, self.statement));
        let outcome = unless_stalled(&mut lane, batch.run(work)).await;
        batch.lane = lane;
        match outcome {
            Ok(value) => {
                let answered = batch.await_answer();
                if let Some(alone) = offer(self, batch) {
                    // No other command waits for it, so it needs no task that nobody drops.
                    Box::pin(alone.commit(self, Committing(self.clone()))).await;
                }
                ended(value, answered).await
            }
            Err(error) => {
                batch.break_off().await;
                match error {
                    Error::Busy => Ended::Busy,
                    error => Ended::Done(Err(error)),
                }
            }
        }
    }

    async fn join<T, F, Fut>(&self, mut baton: Baton, work: &F) -> Ended<T>
    where
        T: Send,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        if let Err(gone) = self.mutation.as_ref().map_or(Ok(()), MutationState::begin) {
            return Ended::Done(Err(gone));
        }
        baton.at_work = true;
        let Some(batch) = &mut baton.batch else { return Ended::Again };
        let number = batch.number;
        let mut lane = batch.lane.take();
        let begun = unless_stalled(&mut lane, batch.begin_command(self.statement)).await;
        let outcome = match begun {
            Ok(()) => unless_stalled(&mut lane, batch.run(work)).await,
            Err(error) => {
                debug!(%error, "a shared transaction has broken off");
                return baton.break_off(Ended::Again).await;
            }
        };
        batch.lane = lane;
        match outcome {
            Ok(value) => {
                let answered = batch.await_answer();
                baton.at_work = false;
                drop(baton);
                ended(value, answered).await
            }
            Err(error) => {
                if batch.take_back_command().await.is_err() {
                    // The fault may be of what an earlier command has written.
                    let ended = if is_unavailable(&error) { Ended::Done(Err(error)) } else { Ended::Again };
                    return baton.break_off(ended).await;
                }
                let committed = batch.await_commit();
                baton.at_work = false;
                drop(baton);
                match error {
                    Error::Busy => Ended::PutOff(number),
                    // It took too long, or the disk is full: that is not for what others did, and again it would be no better.
                    error if is_unavailable(&error) => Ended::Done(Err(error)),
                    // It may have seen what an earlier command did: where that is not committed, nothing is known to forbid it.
                    Error::Refused(refusal) => match committed.await {
                        Ok(()) => Ended::Done(Err(refusal.into())),
                        Err(_) => Ended::Again,
                    },
                    fault => Ended::Done(Err(fault)),
                }
            }
        }
    }
}

fn is_unavailable(error: &Error) -> bool {
    matches!(error, Error::Refused(refusal) if refusal.code == Code::Unavailable)
}

/// Does some work, and gives a right up where the work takes longer than [`STALLED`].
pub(super) async fn unless_stalled<R, T>(right: &mut Option<R>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        outcome = &mut work => outcome,
        () = tokio::time::sleep(STALLED) => {
            drop(right.take());
            work.await
        }
    }
}

impl Baton {
    async fn break_off<T>(mut self, ended: T) -> T {
        if let Some(batch) = self.batch.take() {
            batch.break_off().await;
        }
        ended
    }
}

/// What is told to a command that has done its work. Where nobody tells it anything its transaction was dropped, or its commit.
async fn ended<T>(value: T, answered: oneshot::Receiver<Answer>) -> Ended<T> {
    match answered.await {
        Ok(Answer::Committed(head)) => Ended::Done(Ok((value, head))),
        Ok(Answer::Again) => Ended::Again,
        Ok(Answer::Failed(Error::Busy)) => Ended::Busy,
        Ok(Answer::Failed(error)) => Ended::Done(Err(error)),
        Err(_) => Ended::Done(Err(Unended::Unknown.into())),
    }
}
