//! Commands in one transaction: the writes of each command, its part of the log, and the commit that they share.
//!
//! A command that runs alone is a batch of one command. The rules:
//! - A command gets its answer only after the commit is proved, even if it was refused after other commands had run.
//! - In the log each command is a separate transaction: its own id, its own `last` mark, consecutive positions.
//! - The writes that a command keeps in memory ([`DeferredWrites`]) are its own. They are dropped if the command is
//!   refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};
use tracing::{debug, warn};

use super::ahead::{Arrival, LockPlan};
use super::changelog::Pending;
use super::combiner::{Lane, unless_stalled};
use super::idempotency::PendingOutcome;
use super::log_head::Head;
use super::outcome::{Receipt, TransactionOutcome};
use super::transaction::{Transaction, Unsaved};
use super::{Error, Reader, Result, Store, Tx, fault};
use crate::domain::clock::Clock;
use crate::domain::{IncidentId, UserId};

/// The most commands of a batch. PostgreSQL keeps the ids of 64 savepoints of a transaction in memory, and a command
/// with an idempotency key has two savepoints. With more, every reader of the database slows down.
const COMMANDS_MAX: usize = 30;

/// The changes at which a batch is full. The last command may exceed it, so it bounds how long a small command waits
/// for others.
const CHANGES_MAX: usize = 200;

/// How long a batch takes further commands if it could be committed. While another batch commits it has to wait in any
/// case, and takes commands for as long. Commands whose rows it has locked may join later too.
const GATHERING: Duration = Duration::from_millis(25);

/// Writes of a command that no table has before the transaction ends.
#[derive(Default)]
pub(super) struct DeferredWrites {
    pub(super) pending: Pending,
    pub(super) keeping: Option<PendingOutcome>,
}

impl DeferredWrites {
    /// Returns the writes of a command without an idempotency key.
    pub(super) fn of(pending: Pending) -> Self {
        Self { pending, keeping: None }
    }
}

/// Writes of earlier commands of the transaction that no table has yet.
#[derive(Clone, Default)]
pub(super) struct Earlier {
    incidents: HashSet<IncidentId>,
    keys: HashSet<(UserId, String)>,
}

impl Earlier {
    fn add(&mut self, written: &DeferredWrites) {
        self.incidents.extend(written.pending.incidents());
        self.keys.extend(written.keeping.as_ref().map(PendingOutcome::key));
    }

    /// Whether an earlier command has changed the incident: the log does not have that change yet.
    pub(super) fn has_changed(&self, incident: IncidentId) -> bool {
        self.incidents.contains(&incident)
    }

    pub(super) fn has_claimed(&self, actor: UserId, key: &str) -> bool {
        !self.keys.is_empty() && self.keys.contains(&(actor, key.to_owned()))
    }
}

/// The answer to a command that has run.
pub(super) enum CommandAnswer {
    /// The command is committed; with the end of the log after it.
    Committed(Head),
    /// The transaction was not committed, and this command is not the cause: it must run again, alone.
    Again,
    /// The command is not committed, or its outcome is unknown.
    Failed(Error),
}

/// The reason why a transaction did not commit, or may not have committed.
pub(super) enum Unended {
    /// Nothing was changed.
    Nothing(Error),
    /// The outcome of the commit is unknown.
    Unknown,
}

impl From<Unended> for Error {
    fn from(unended: Unended) -> Self {
        match unended {
            Unended::Nothing(error) => error,
            // A retry might apply the change twice. Only the caller can check whether it was applied.
            Unended::Unknown => Self::unavailable_for_long(fault::COMMIT_UNKNOWN),
        }
    }
}

/// A transaction that takes commands, one after the other.
pub(super) struct CommandBatch {
    /// The unique number of the batch.
    pub(super) number: u64,
    /// The gather permit, held until the commit begins.
    pub(super) lane: Option<Lane>,
    conn: Arc<Transaction>,
    commands: Vec<DeferredWrites>,
    answers: CommandAnswers,
    /// Refused commands. Each waits until the changes that it was refused for are committed; a drop means that this is
    /// not known.
    refused: Vec<oneshot::Sender<()>>,
    earlier: Arc<Earlier>,
    changes: usize,
    began: Instant,
    /// The longest statement timeout of its commands.
    statement: Duration,
    /// Whether a command came after the first.
    shared: bool,
}

impl CommandBatch {
    pub(super) fn new(number: u64, conn: Transaction, statement: Duration) -> Self {
        Self {
            number,
            lane: None,
            conn: Arc::new(conn),
            commands: Vec::new(),
            answers: CommandAnswers(Vec::new()),
            refused: Vec::new(),
            earlier: Arc::default(),
            changes: 0,
            began: Instant::now(),
            statement,
            shared: false,
        }
    }

    /// Whether a further command may join. `waits` tells whether another batch is being committed.
    pub(super) fn takes_more(&self, waits: bool) -> bool {
        self.has_room() && (waits || self.began.elapsed() < GATHERING)
    }

    /// Whether a command may join whose rows the batch has locked. `longest` is the longest time since the batch began.
    pub(super) fn has_room_until(&self, longest: Duration) -> bool {
        self.has_room() && self.began.elapsed() < longest
    }

    fn has_room(&self) -> bool {
        self.commands.len() < COMMANDS_MAX && self.changes < CHANGES_MAX
    }

    /// Runs a command, and keeps its writes if it succeeds.
    pub(super) async fn run<T, F, Fut>(&mut self, work: &F) -> Result<T>
    where
        T: Send,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let (outcome, written) = run(self.conn.clone(), self.earlier.clone(), work).await;
        let value = outcome?;
        if Arc::strong_count(&self.conn) > 1 {
            return Err(held());
        }
        self.changes += written.pending.len();
        Arc::make_mut(&mut self.earlier).add(&written);
        self.commands.push(written);
        Ok(value)
    }

    /// The number of commands that the batch still takes after the next command, if each of them has one change.
    pub(super) fn room(&self) -> usize {
        let (commands, changes) = (COMMANDS_MAX - 1, CHANGES_MAX - 1);
        commands.saturating_sub(self.commands.len()).min(changes.saturating_sub(self.changes))
    }

    /// Whether a command of this plan locks an incident that this batch has not locked ahead and has not changed.
    pub(super) fn locks_ahead(&self, plan: &LockPlan) -> bool {
        let locked = |id| self.conn.ahead().holds(id) || self.earlier.has_changed(id);
        plan.incident.is_some_and(|id| !locked(id))
    }

    /// Begins the part of a further command. The rows of its plan are locked ahead together with those of other
    /// commands, if there are any. `arrival` tells whether this was done while the command waited.
    pub(super) async fn begin_command(
        &mut self,
        statement: Duration,
        plan: LockPlan,
        mut others: Vec<LockPlan>,
        arrival: Arrival,
    ) -> Result<()> {
        self.conn.begin_command(statement).await?;
        self.conn.ahead().begin_command(if others.is_empty() { arrival } else { Arrival::BeforeRead });
        if !others.is_empty() {
            others.push(plan);
            Tx::on(self.conn.clone(), Arc::default()).lock_ahead(&others).await?;
        }
        self.shared = true;
        self.statement = self.statement.max(statement);
        Ok(())
    }

    /// Takes back the part of the last command, which has failed.
    pub(super) async fn take_back_command(&self) -> Result<()> {
        self.conn.take_back_command().await.map_err(Error::from)
    }

    /// Returns a receiver for the answer to the command that has just run.
    pub(super) fn await_answer(&mut self) -> oneshot::Receiver<CommandAnswer> {
        let (answer, answered) = oneshot::channel();
        self.answers.0.push(answer);
        answered
    }

    /// Returns a receiver for the commit, for a refused command: the refusal may rest on the changes of an earlier
    /// command.
    pub(super) fn await_commit(&mut self) -> oneshot::Receiver<()> {
        let (committed, told) = oneshot::channel();
        self.refused.push(committed);
        told
    }

    /// Rolls back. The commands that have run get the answer to run again.
    pub(super) async fn break_off(self) {
        let Self { lane, conn, answers, .. } = self;
        if let Some(conn) = Arc::into_inner(conn) {
            Box::pin(conn.rollback()).await;
        }
        drop(lane);
        drop(answers);
    }

    /// Commits, and answers all commands. `committing` is the permit to commit. It is dropped when the commit is
    /// answered or has stalled. The next batch then waits for the lock on the head of the log, as every writer does.
    pub(super) async fn commit(self, store: &Store, committing: impl Send) {
        let Self { lane, conn, commands, mut answers, refused, statement, shared, .. } = self;
        // If this future is dropped from here on, the outcome is unknown.
        let answers = std::mem::take(&mut answers.0);
        // Another batch may begin now.
        drop(lane);
        let mut committing = Some(committing);
        let ended = match Arc::into_inner(conn) {
            Some(conn) => {
                let end = store.end_shared(conn, commands, shared.then_some(statement));
                unless_stalled(&mut committing, end).await
            }
            None => Err(Unended::Nothing(held())),
        };
        drop(committing);
        match ended {
            Ok(heads) => {
                answers.into_iter().zip(heads).for_each(|(answer, head)| tell(answer, CommandAnswer::Committed(head)));
                // A caller that has gone away needs no answer.
                refused.into_iter().for_each(|refused| refused.send(()).unwrap_or_default());
            }
            Err(Unended::Nothing(error)) if answers.len() > 1 => {
                debug!(%error, commands = answers.len(), "a shared transaction was not committed: its commands run alone");
                drop(CommandAnswers(answers));
            }
            Err(Unended::Nothing(error)) => {
                if let Some(answer) = answers.into_iter().next() {
                    tell(answer, CommandAnswer::Failed(error));
                }
            }
            Err(Unended::Unknown) => {
                answers.into_iter().for_each(|answer| tell(answer, CommandAnswer::Failed(Unended::Unknown.into())));
            }
        }
    }
}

/// Sends an answer. A caller that has gone away needs none.
fn tell(to: oneshot::Sender<CommandAnswer>, answer: CommandAnswer) {
    drop(to.send(answer));
}

/// The answers to the commands that have run. Dropping them before the commit begins tells each command to run again.
struct CommandAnswers(Vec<oneshot::Sender<CommandAnswer>>);

impl Drop for CommandAnswers {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|answer| tell(answer, CommandAnswer::Again));
    }
}

pub(super) fn held() -> Error {
    Error::fault("ending a transaction", "something still holds its connection")
}

/// Runs a command, and returns its result and its writes.
pub(super) async fn run<T, F, Fut>(
    conn: Arc<Transaction>,
    earlier: Arc<Earlier>,
    work: &F,
) -> (Result<T>, DeferredWrites)
where
    T: Send,
    F: Fn(Arc<Tx>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T>> + Send,
{
    let tx = Arc::new(Tx::on(conn, earlier));
    // On the heap: the future of a command is large, and it would be part of each future around it.
    let outcome = Box::pin(work(tx.clone())).await;
    match Arc::into_inner(tx) {
        Some(tx) => (outcome, DeferredWrites { pending: tx.pending.into_inner(), keeping: tx.keeping.into_inner() }),
        None => (outcome.and(Err(held())), DeferredWrites::default()),
    }
}

impl Tx {
    pub(super) fn on(conn: Arc<Transaction>, earlier: Arc<Earlier>) -> Self {
        let reader = Reader { conn, _pass: None };
        Self { reader, pending: Mutex::default(), keeping: Mutex::default(), earlier }
    }

    /// Writes the data that depends on the position in the log. Returns the end of the log after each command, and the
    /// receipt by which the commit can be found.
    async fn append_all(&self, commands: Vec<DeferredWrites>, clock: &Clock) -> Result<(Vec<Head>, Receipt)> {
        let records = commands.iter().any(|command| !command.pending.is_empty());
        let (pending, keeping): (Vec<_>, Vec<_>) =
            commands.into_iter().map(|command| (command.pending, command.keeping)).unzip();
        // The deferred rows are sent first, so that the head is locked only for a short time.
        self.store_incident_number().await?;
        let heads = self.append_pending(pending, clock).await?;
        let kept = keeping.into_iter().zip(&heads).filter_map(|(keeping, head)| Some((keeping?, head.position())));
        self.write_kept(kept.collect()).await?;
        let last = heads.last().filter(|_| records).cloned();
        Ok((heads, Receipt { id: self.conn().id(), head: last }))
    }
}

impl Store {
    /// Ends a transaction of these commands: appends their changes and commits. Returns the end of the log after each
    /// command.
    pub(super) async fn end(&self, conn: Transaction, commands: Vec<DeferredWrites>) -> Result<Vec<Head>, Unended> {
        self.end_shared(conn, commands, None).await
    }

    /// Ends a transaction that commands shared. The remaining statements have the longest timeout of the commands
    /// (`statement`).
    async fn end_shared(
        &self,
        conn: Transaction,
        commands: Vec<DeferredWrites>,
        statement: Option<Duration>,
    ) -> Result<Vec<Head>, Unended> {
        let conn = Arc::new(conn);
        let appended = async {
            if let Some(statement) = statement {
                conn.end_commands(statement).await?;
            }
            Tx::on(conn.clone(), Arc::default()).append_all(commands, &self.clock).await
        };
        let appended = appended.await;
        let Some(conn) = Arc::into_inner(conn) else { return Err(Unended::Nothing(held())) };
        match appended {
            Ok((heads, receipt)) => Box::pin(self.save(conn, receipt)).await.map(|()| heads),
            Err(error) => {
                Box::pin(conn.rollback()).await;
                Err(Unended::Nothing(error))
            }
        }
    }

    /// Commits, and succeeds only if the commit is proved. If the answer is missing, the database is asked for the
    /// outcome.
    async fn save(&self, conn: Transaction, receipt: Receipt) -> Result<(), Unended> {
        let error = match conn.commit().await {
            Ok(()) => return Ok(()),
            Err(Unsaved::Nothing(error)) => return Err(Unended::Nothing(Error::from(error))),
            Err(Unsaved::TakenBack) => {
                warn!("the database answered a COMMIT by rolling back");
                return Err(Unended::Nothing(Error::unavailable(fault::TAKEN_BACK)));
            }
            Err(Unsaved::Unknown(error)) => error,
        };
        debug!(%error, "a commit was not answered, so the database is asked what became of it");
        match self.outcome(receipt).await {
            TransactionOutcome::Committed => Ok(()),
            TransactionOutcome::RolledBack => Err(Unended::Nothing(Error::from(error))),
            TransactionOutcome::Unknown => Err(Unended::Unknown),
        }
    }
}
