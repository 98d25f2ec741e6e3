//! Commands in one transaction: what each has written, their part of the log, and the one commit that all of them wait for.
//!
//! A command that runs alone is a batch of one. What must hold:
//! - a command is answered only after the commit is proved; so is one that was refused after others had run;
//! - in the log each command is a transaction of its own: its id, its `last` mark, consecutive positions;
//! - what a command keeps in memory ([`Written`]) is its own, and is dropped with it where it is refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};
use tracing::{debug, warn};

use super::changelog::{Head, Pending};
use super::combiner::{Lane, unless_stalled};
use super::idempotency::Keeping;
use super::outcome::{Outcome, Receipt};
use super::transaction::{Transaction, Unsaved};
use super::{Error, Reader, Result, Store, Tx, fault};
use crate::domain::{IncidentId, UserId};

/// Commands of one batch. PostgreSQL keeps the ids of 64 savepoints of a transaction at hand, and a command under an idempotency key
/// has two; with more, every reader of the database slows down.
const COMMANDS_MAX: usize = 30;

/// Changes of one batch: a command of few changes waits for no more than so many of others, and those of the last one.
const CHANGES_MAX: usize = 200;

/// How long a batch takes further commands in where it could be committed. While another one is being committed it would have to
/// wait in any case.
const GATHERING: Duration = Duration::from_millis(25);

/// What a command has written that is in no table before its transaction ends.
#[derive(Default)]
pub(super) struct Written {
    pub(super) pending: Pending,
    pub(super) keeping: Option<Keeping>,
}

impl Written {
    /// What a command without an idempotency key has written.
    pub(super) fn of(pending: Pending) -> Self {
        Self { pending, keeping: None }
    }
}

/// What the earlier commands of a transaction have written that is in no table yet.
#[derive(Clone, Default)]
pub(super) struct Earlier {
    incidents: HashSet<IncidentId>,
    keys: HashSet<(UserId, String)>,
}

impl Earlier {
    fn add(&mut self, written: &Written) {
        self.incidents.extend(written.pending.incidents());
        self.keys.extend(written.keeping.as_ref().map(Keeping::key));
    }

    /// Whether the log of an incident lacks a change that has been made.
    pub(super) fn has_changed(&self, incident: IncidentId) -> bool {
        self.incidents.contains(&incident)
    }

    pub(super) fn has_claimed(&self, actor: UserId, key: &str) -> bool {
        !self.keys.is_empty() && self.keys.contains(&(actor, key.to_owned()))
    }
}

/// What is told to a command that has done its work.
pub(super) enum Answer {
    /// It is committed; the end of the log after it.
    Committed(Head),
    /// Its transaction was not committed, by no fault of this command: it is to run again, alone.
    Again,
    /// It is not committed, or nobody knows.
    Failed(Error),
}

/// Why a transaction did not end well.
pub(super) enum Unended {
    /// Nothing was changed.
    Nothing(Error),
    /// Nobody knows whether it was committed.
    Unknown,
}

impl From<Unended> for Error {
    fn from(unended: Unended) -> Self {
        match unended {
            Unended::Nothing(error) => error,
            // Done again it might be done twice: only the caller can look whether it was.
            Unended::Unknown => Self::unavailable_for_long(fault::COMMIT_UNKNOWN),
        }
    }
}

/// A transaction that takes commands in, one after the other.
pub(super) struct Batch {
    /// No other batch has this number.
    pub(super) number: u64,
    /// Held until the commit begins.
    pub(super) lane: Option<Lane>,
    conn: Arc<Transaction>,
    commands: Vec<Written>,
    answers: Answers,
    /// Refused commands, which wait to know whether what they were refused for is committed. Dropped, it is not known to be.
    refused: Vec<oneshot::Sender<()>>,
    earlier: Arc<Earlier>,
    changes: usize,
    began: Instant,
    /// The longest time that a statement of one of its commands may take.
    statement: Duration,
    /// Whether a command came after the first.
    shared: bool,
}

impl Batch {
    pub(super) fn new(number: u64, conn: Transaction, statement: Duration) -> Self {
        Self {
            number,
            lane: None,
            conn: Arc::new(conn),
            commands: Vec::new(),
            answers: Answers(Vec::new()),
            refused: Vec::new(),
            earlier: Arc::default(),
            changes: 0,
            began: Instant::now(),
            statement,
            shared: false,
        }
    }

    /// Whether one more command may come in. `waits` is whether another batch is being committed.
    pub(super) fn takes_more(&self, waits: bool) -> bool {
        let has_room = self.commands.len() < COMMANDS_MAX && self.changes < CHANGES_MAX;
        has_room && (waits || self.began.elapsed() < GATHERING)
    }

    /// Runs a command, and keeps what it has written if it succeeds.
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

    /// Begins the part of one more command.
    pub(super) async fn begin_command(&mut self, statement: Duration) -> Result<()> {
        self.conn.begin_command(statement).await?;
        self.shared = true;
        self.statement = self.statement.max(statement);
        Ok(())
    }

    /// Takes back the part of the last command, which has failed.
    pub(super) async fn take_back_command(&self) -> Result<()> {
        self.conn.take_back_command().await.map_err(Error::from)
    }

    /// The command that has just run waits here for what becomes of it.
    pub(super) fn await_answer(&mut self) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        self.answers.0.push(answer);
        answered
    }

    /// A command that was refused waits here until the batch is committed: it may have been refused for what an earlier command did.
    pub(super) fn await_commit(&mut self) -> oneshot::Receiver<()> {
        let (committed, told) = oneshot::channel();
        self.refused.push(committed);
        told
    }

    /// Rolls back: the commands that have run are to run again.
    pub(super) async fn break_off(self) {
        let Self { lane, conn, answers, .. } = self;
        if let Some(conn) = Arc::into_inner(conn) {
            Box::pin(conn.rollback()).await;
        }
        drop(lane);
        drop(answers);
    }

    /// Commits, and answers all commands. `committing` is held for as long as the next batch has to wait: until the commit is answered,
    /// or for long enough. Without it the next batch waits for the head of the log, as every writer does.
    pub(super) async fn commit(self, store: &Store, committing: impl Send) {
        let Self { lane, conn, commands, mut answers, refused, statement, shared, .. } = self;
        // Dropped from here on, nobody knows what became of it.
        let answers = std::mem::take(&mut answers.0);
        // Another batch may begin.
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
                answers.into_iter().zip(heads).for_each(|(answer, head)| tell(answer, Answer::Committed(head)));
                // A caller that has gone needs no answer.
                refused.into_iter().for_each(|refused| refused.send(()).unwrap_or_default());
            }
            Err(Unended::Nothing(error)) if answers.len() > 1 => {
                debug!(%error, commands = answers.len(), "a shared transaction was not committed: its commands run alone");
                drop(Answers(answers));
            }
            Err(Unended::Nothing(error)) => {
                if let Some(answer) = answers.into_iter().next() {
                    tell(answer, Answer::Failed(error));
                }
            }
            Err(Unended::Unknown) => {
                answers.into_iter().for_each(|answer| tell(answer, Answer::Failed(Unended::Unknown.into())));
            }
        }
    }
}

/// A caller that has gone needs no answer.
fn tell(to: oneshot::Sender<Answer>, answer: Answer) {
    drop(to.send(answer));
}

/// The commands that have run. Dropped before the commit begins, they are to run again.
struct Answers(Vec<oneshot::Sender<Answer>>);

impl Drop for Answers {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|answer| tell(answer, Answer::Again));
    }
}

pub(super) fn held() -> Error {
    Error::fault("ending a transaction", "something still holds its connection")
}

/// Runs one command; what came of it, and what it has written.
pub(super) async fn run<T, F, Fut>(conn: Arc<Transaction>, earlier: Arc<Earlier>, work: &F) -> (Result<T>, Written)
where
    T: Send,
    F: Fn(Arc<Tx>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T>> + Send,
{
    let tx = Arc::new(Tx::on(conn, earlier));
    let outcome = work(tx.clone()).await;
    match Arc::into_inner(tx) {
        Some(tx) => (outcome, Written { pending: tx.pending.into_inner(), keeping: tx.keeping.into_inner() }),
        None => (outcome.and(Err(held())), Written::default()),
    }
}

impl Tx {
    pub(super) fn on(conn: Arc<Transaction>, earlier: Arc<Earlier>) -> Self {
        let reader = Reader { conn, _pass: None };
        Self { reader, pending: Mutex::default(), keeping: Mutex::default(), earlier }
    }

    /// The last acts of a transaction, which need its place in the log: the end of the log after each command, and by what the
    /// commit is found again.
    async fn append_all(&self, commands: Vec<Written>) -> Result<(Vec<Head>, Receipt)> {
        let records = commands.iter().any(|command| !command.pending.is_empty());
        let (pending, keeping): (Vec<_>, Vec<_>) =
            commands.into_iter().map(|command| (command.pending, command.keeping)).unzip();
        // The rows that wait go first: so the head is locked for a short time.
        self.store_incident_number().await?;
        let heads = self.append_pending(pending).await?;
        let kept = keeping.into_iter().zip(&heads).filter_map(|(keeping, head)| Some((keeping?, head.position())));
        self.write_kept(kept.collect()).await?;
        let last = heads.last().filter(|_| records).cloned();
        Ok((heads, Receipt { id: self.conn().id(), head: last }))
    }
}

impl Store {
    /// Ends a transaction of these commands: appends their changes, and commits. The end of the log after each command.
    pub(super) async fn end(&self, conn: Transaction, commands: Vec<Written>) -> Result<Vec<Head>, Unended> {
        self.end_shared(conn, commands, None).await
    }

    /// The same where commands shared the transaction: what is left to do may take as long as the longest of them.
    async fn end_shared(
        &self,
        conn: Transaction,
        commands: Vec<Written>,
        statement: Option<Duration>,
    ) -> Result<Vec<Head>, Unended> {
        let conn = Arc::new(conn);
        let appended = async {
            if let Some(statement) = statement {
                conn.end_commands(statement).await?;
            }
            Tx::on(conn.clone(), Arc::default()).append_all(commands).await
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

    /// Commits, and returns success only where the commit is proved. Where its answer is missing the database is asked what
    /// became of it.
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
            Outcome::Committed => Ok(()),
            Outcome::RolledBack => Err(Unended::Nothing(Error::from(error))),
            Outcome::Unknown => Err(Unended::Unknown),
        }
    }
}
