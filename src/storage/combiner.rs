//! Lets concurrent commands share a transaction and its commit (a batch).
//!
//! A command that gets a free gather permit (a lane) leads: it begins a transaction and runs in it. Commands that came
//! meanwhile join, one after the other; their rows are deferred ([`super::deferred`]), or they set a savepoint. The
//! batch commits when no command waits or the batch is full. While a batch commits, the next batch gathers. Each
//! command runs in its caller's task: the ownership of the batch moves from task to task.
//!
//! The rules:
//! - Commands that wait say which rows they will lock ([`LockPlan`]). A batch reserves these commands and locks the
//!   rows of all of them at once ([`super::ahead`]). No other batch takes these commands while it gathers.
//! - A command that joins waits at most 5 ms for a lock (PostgreSQL's `lock_timeout`), because the transaction may hold
//!   what the lock's holder waits for. It is taken back, and runs again in a later batch. After a few times it runs
//!   alone, and waits.
//! - A refusal takes back only its own command.
//! - If the transaction breaks off, the commands that have run in it run again, each alone.
//! - A task that drops its batch or its turn passes it on to the others.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::debug;

use super::ahead::{Arrival, LockPlan};
use super::batch::{CommandAnswer, CommandBatch, Unended};
use super::{Error, Head, MutationState, Result, Store, Tx, fault, retry};
use crate::domain::Code;

/// How many batches of a node gather at once on SQLite, which has one writer.
pub(super) const LANES_SQLITE: usize = 1;

/// On PostgreSQL a second batch works while the first waits for the server. With more, batches would only be smaller.
pub(super) const LANES_POSTGRES: usize = 2;

/// The time after which others no longer wait for a command of a batch or for a commit, which may wait for the lock of
/// a large command, have much work, or get no answer. Most take less.
const STALLED: Duration = Duration::from_millis(250);

/// The most commands of a node that wait for a batch. A batch takes 30, so the last command waits for some thirty
/// commits.
const WAITING_MAX: usize = 1_024;

/// How often a command is put off (by a lock, or by unwritten changes of an earlier command of its batch) before it
/// runs alone.
const DEFERRALS_MAX: u32 = 3;

/// How long a command that was put off first waits for the end of a batch of this node; each further wait is twice as
/// long. The lock may belong to another node.
const PUT_OFF: Duration = Duration::from_millis(10);

/// The batches of a node. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Combiner(Arc<CombinerShared>);

#[derive(Debug)]
struct CombinerShared {
    state: Mutex<CombinerState>,
    /// The number of batches that have ended.
    ended: watch::Sender<u64>,
}

struct CombinerState {
    /// The most batches that may gather at once.
    lanes: usize,
    /// The number of batches that gather now.
    open: usize,
    /// Whether a batch is being committed.
    committing: bool,
    /// Batches that are ready to commit, and wait for the commit of another batch.
    ready: VecDeque<Box<CommandBatch>>,
    waiting: VecDeque<WaitingCommand>,
    /// The last number that was given to a batch or to a waiting command.
    numbers: u64,
}

impl std::fmt::Debug for CombinerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("open", &self.open).field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

struct WaitingCommand {
    number: u64,
    /// The number of the batch that put the command off; the command does not join this batch again.
    not_in: Option<u64>,
    plan: LockPlan,
    /// The number of the lane whose batch has locked the rows of the plan.
    reserved: Option<u64>,
    give: oneshot::Sender<CommandTurn>,
}

/// The turn of a waiting command.
enum CommandTurn {
    /// The command begins a batch.
    Lead(Lane),
    /// The command joins a batch.
    Join(Baton),
}

/// The permit to gather commands in a batch, with a unique number. Dropping it ends its reservations, and gives the
/// permit to the next command that waits and is not reserved.
pub(super) struct Lane(Combiner, u64);

/// The permit to commit. Dropping it begins the commit of the next batch that is ready.
struct Committing(Store);

/// The ownership of a batch by one command. Dropping it passes the batch on, or breaks it off if the command is
/// running.
struct Baton {
    store: Store,
    batch: Option<Box<CommandBatch>>,
    /// When the command began to wait: before the batch read the rows of its plan ahead, or after.
    arrival: Arrival,
    at_work: bool,
}

/// The place of a command in the queue. Dropping it removes the command.
struct CommandSlot(Combiner, u64);

/// The result of a command in a batch.
enum Ended<T> {
    Done(Result<(T, Head)>),
    /// The leading command conflicted with another transaction.
    Busy,
    /// The command must run in another batch than this.
    PutOff(u64),
    /// The command must run again, alone.
    Again,
}

impl Combiner {
    pub(super) fn new(lanes: usize) -> Self {
        let (ready, waiting) = (VecDeque::new(), VecDeque::new());
        let state = Mutex::new(CombinerState { lanes, open: 0, committing: false, ready, waiting, numbers: 0 });
        Self(Arc::new(CombinerShared { state, ended: watch::Sender::new(0) }))
    }

    fn state(&self) -> MutexGuard<'_, CombinerState> {
        self.0.state.lock()
    }
}

impl CombinerState {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Takes a batch that waits for another commit and has room for a further command.
    fn take_ready(&mut self, not_in: Option<u64>) -> Option<Box<CommandBatch>> {
        let at = self.ready.iter().position(|batch| batch.takes_more(true) && Some(batch.number) != not_in)?;
        self.ready.remove(at)
    }

    /// Takes the next waiting command that may join the batch.
    ///
    /// The batch has locked the rows of its reserved commands. So it takes these commands also if it gathers no others:
    /// another batch would wait for their rows.
    fn next_for(&mut self, batch: &CommandBatch) -> Option<WaitingCommand> {
        let lane = batch.lane.as_ref().map(|lane| lane.1);
        let others = batch.takes_more(self.committing);
        let reserved = others || batch.has_room_until(STALLED);
        let at = self.waiting.iter().position(|waiting| {
            let may_join = if waiting.reserved.is_none() { others } else { reserved && waiting.reserved == lane };
            may_join && waiting.not_in != Some(batch.number)
        })?;
        self.waiting.remove(at)
    }

    /// Reserves waiting commands with a plan for the batch of a lane, among the next that the batch has room for. Returns
    /// their plans. A batch that gathers no longer reserves no further commands.
    fn reserve(&mut self, lane: u64, batch: &CommandBatch) -> Vec<LockPlan> {
        if !batch.takes_more(self.committing) {
            return Vec::new();
        }
        let next = self.waiting.iter_mut().filter(|waiting| {
            waiting.not_in != Some(batch.number) && waiting.reserved.is_none_or(|reserved| reserved == lane)
        });
        next.take(batch.room())
            .filter(|waiting| waiting.reserved.is_none() && waiting.plan.incident.is_some())
            .map(|waiting| {
                waiting.reserved = Some(lane);
                waiting.plan
            })
            .collect()
    }

    /// Takes the next waiting command that may begin a batch.
    fn next_to_lead(&mut self) -> Option<WaitingCommand> {
        let at = self.waiting.iter().position(|waiting| waiting.reserved.is_none())?;
        self.waiting.remove(at)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.0.state();
        let own = state.waiting.iter_mut().filter(|waiting| waiting.reserved == Some(self.1));
        own.for_each(|waiting| waiting.reserved = None);
        let Some(next) = state.next_to_lead() else {
            state.open -= 1;
            return;
        };
        let number = state.number();
        drop(state);
        // A receiver that has gone away drops the lane at once, which passes it on.
        drop(next.give.send(CommandTurn::Lead(Lane(self.0.clone(), number))));
    }
}

impl Drop for CommandSlot {
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
            // The drop rolls the transaction back, and the commands of the batch run again.
            Some(broken) if self.at_work => drop(broken),
            Some(batch) => pass_on(&self.store, batch),
            None => {}
        }
    }
}

/// Gives a batch to the next command. If no command waits, commits the batch.
fn pass_on(store: &Store, batch: Box<CommandBatch>) {
    if let Some(batch) = offer(store, batch) {
        commit(store, batch);
    }
}

/// Gives a batch to the next command. If it returns the batch, the caller must commit it, and has the permit to commit.
fn offer(store: &Store, mut batch: Box<CommandBatch>) -> Option<Box<CommandBatch>> {
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
        let arrival = if next.reserved.is_some() { Arrival::BeforeRead } else { Arrival::AfterRead };
        let baton = Baton { store: store.clone(), batch: Some(batch), arrival, at_work: false };
        match next.give.send(CommandTurn::Join(baton)) {
            Err(CommandTurn::Join(mut refused)) => match refused.batch.take() {
                Some(back) => batch = back,
                None => return None,
            },
            _ => return None,
        }
    }
}

/// Commits a batch in a task of its own, which is never dropped early. The caller has taken the permit to commit.
fn commit(store: &Store, batch: Box<CommandBatch>) {
    let committing = Committing(store.clone());
    // A runtime that shuts down drops the batch: nothing was committed.
    let Ok(runtime) = Handle::try_current() else { return };
    let store = store.clone();
    runtime.spawn(async move { batch.commit(&store, committing).await });
}

impl Store {
    /// Runs a command of few changes as [`Store::transact`] does, in a transaction and a commit that it shares with
    /// concurrent commands. `plan` names rows that the command will lock: they may be locked before it begins. In the
    /// log and to each other the commands are separate transactions, one after the other.
    ///
    /// Returns `UNAVAILABLE` if too many commands wait already.
    pub async fn transact_together<T, F, Fut>(&self, plan: LockPlan, work: F) -> Result<(T, Head)>
    where
        T: Send,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        Box::pin(self.make_room_if_due()).await;
        let (mut pauses, mut deferrals, mut not_in) = (retry::BUSY.build(), 0, None);
        loop {
            let turn = self.turn(plan, not_in).await?;
            let mut others = self.combiner.0.ended.subscribe();
            let ended = match turn {
                CommandTurn::Lead(lane) => self.lead(lane, &work).await,
                CommandTurn::Join(baton) => self.join(baton, plan, &work).await,
            };
            match ended {
                Ended::Done(done) => return done,
                Ended::Busy => {
                    let pause = pauses.next().ok_or(Error::Busy)?;
                    debug!(?pause, "transaction broken off, trying again");
                    tokio::time::sleep(pause).await;
                }
                Ended::PutOff(batch) if deferrals < DEFERRALS_MAX => {
                    debug!(deferrals, "put off to a later batch");
                    // Tries again when a batch has ended, or after the timeout.
                    tokio::time::timeout(PUT_OFF * (1 << deferrals), others.changed()).await.ok();
                    (deferrals, not_in) = (deferrals + 1, Some(batch));
                }
                Ended::PutOff(_) | Ended::Again => return self.alone(&work).await,
            }
        }
    }

    /// Waits for a turn in a batch, up to the acquire timeout. A wait that is dropped or timed out leaves its turn to
    /// others.
    async fn turn(&self, plan: LockPlan, not_in: Option<u64>) -> Result<CommandTurn> {
        let (given, _place) = {
            let mut state = self.combiner.state();
            if let Some(batch) = state.take_ready(not_in) {
                let (store, batch) = (self.clone(), Some(batch));
                return Ok(CommandTurn::Join(Baton { store, batch, arrival: Arrival::AfterRead, at_work: false }));
            }
            if state.open < state.lanes {
                state.open += 1;
                let number = state.number();
                return Ok(CommandTurn::Lead(Lane(self.combiner.clone(), number)));
            }
            if state.waiting.len() >= WAITING_MAX {
                return Err(Error::unavailable("the desk is busy: too many changes wait, try again"));
            }
            let ((give, given), number) = (oneshot::channel(), state.number());
            state.waiting.push_back(WaitingCommand { number, not_in, plan, reserved: None, give });
            (given, CommandSlot(self.combiner.clone(), number))
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
        let mut batch = Box::new(CommandBatch::new(number, conn, self.statement));
        let outcome = unless_stalled(&mut lane, batch.run(work)).await;
        batch.lane = lane;
        match outcome {
            Ok(value) => {
                let answered = batch.await_answer();
                if let Some(alone) = offer(self, batch) {
                    // No other command depends on this batch, so its commit may run in this task, which may be dropped.
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

    async fn join<T, F, Fut>(&self, mut baton: Baton, plan: LockPlan, work: &F) -> Ended<T>
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
        let others = match &lane {
            Some(lane) if batch.locks_ahead(&plan) => self.combiner.state().reserve(lane.1, batch),
            _ => Vec::new(),
        };
        let begun = batch.begin_command(self.statement, plan, others, baton.arrival);
        let begun = unless_stalled(&mut lane, begun).await;
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
                    // The error may come from rows of an earlier command.
                    let ended = if is_unavailable(&error) { Ended::Done(Err(error)) } else { Ended::Again };
                    return baton.break_off(ended).await;
                }
                let committed = batch.await_commit();
                baton.at_work = false;
                drop(baton);
                match error {
                    Error::Busy => Ended::PutOff(number),
                    // A timeout or a full disk: other commands are not the cause, and another try would not help.
                    error if is_unavailable(&error) => Ended::Done(Err(error)),
                    // The refusal may rest on changes of an earlier command. If they are not committed, nothing
                    // justifies the refusal.
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

/// Runs some work, and drops a permit if the work takes longer than [`STALLED`].
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

/// Waits for the answer to a command that has run. If none comes, the commit's task was dropped: the outcome is
/// unknown.
async fn ended<T>(value: T, answered: oneshot::Receiver<CommandAnswer>) -> Ended<T> {
    match answered.await {
        Ok(CommandAnswer::Committed(head)) => Ended::Done(Ok((value, head))),
        Ok(CommandAnswer::Again) => Ended::Again,
        Ok(CommandAnswer::Failed(Error::Busy)) => Ended::Busy,
        Ok(CommandAnswer::Failed(error)) => Ended::Done(Err(error)),
        Err(_) => Ended::Done(Err(Unended::Unknown.into())),
    }
}
