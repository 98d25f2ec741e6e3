//! Rows: the only folder that speaks to a database, and the one place where the two databases differ.
//!
//! `read()` opens one snapshot; `transact()` is the one door to a write. A noun's row, its conversions and its
//! queries are in the file of its name.

mod account;
mod address;
mod alert;
mod alert_log;
mod attachment;
mod batch;
mod beyond;
mod bookmark;
mod bounded;
mod bulk;
mod cautions;
mod census;
mod changelog;
mod combiner;
mod comment;
mod connect;
mod correlation;
mod deferred;
mod entity;
mod evidence;
mod fault;
mod filter;
mod fresh;
mod idempotency;
mod incident;
mod interrupt;
mod kept;
mod line;
mod listed;
mod load;
mod many;
mod merge;
mod mutation_state;
mod object;
mod outcome;
mod pooler;
mod private;
mod queue;
mod report;
mod response_times;
mod search;
mod series;
mod similar;
mod suggestion;
mod summary;
mod tag;
mod text;
mod told;
mod transaction;
mod trouble;
mod view;
mod way;

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sea_orm::sea_query::Expr;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, EntityTrait, QuerySelect, Select, Value};
use tokio::sync::Mutex;
use tracing::debug;

use self::batch::Earlier;
use self::bounded::{ANSWER, CONNECTED, Doubt, PING};
use self::changelog::Pending;
use self::combiner::Combiner;
use self::fresh::Fresh;
use self::idempotency::Keeping;
use self::interrupt::{OWN_WORK, VERIFICATION};
use self::transaction::{Apart, Begun, Care, Pool, Purpose, Transaction};
use self::trouble::Trouble;
use crate::domain::change::Change;
use crate::domain::error::Refusal;
use crate::domain::{Code, Error, IncidentId, Result};

pub use address::honoured_address;
pub use alert::AlertFilter;
pub use attachment::{Upload, Uploadable};
pub use beyond::Beyond;
pub use census::{Counted, CountedSince};
pub use changelog::{ActivityFilter, Head, Origin};
pub use connect::StoreOptions;
pub use correlation::OpenIncident;
pub use entity::{EntitySpan, IncidentEntity};
pub use evidence::{AlertShown, Moment, Stored, StoredAlertChange, StoredChange};
pub use incident::OpenRow;
pub use line::{Line, Word};
pub use listed::Parts;
pub use load::{End, Load, Lot, Whole, incomplete};
pub use many::Altered;
pub use mutation_state::MutationState;
pub use object::{Objects, Writing};
pub use private::keep_private;
pub use queue::{Cursor, FACET_TAGS_MAX, FACET_VALUES_MAX, Facet, ListedRow, Page, PageRequest, Place, Span};
pub use report::Applied;
pub use sea_orm::Statement;
pub use series::Series;
pub use similar::{SharedEntity, SimilarIncident};
pub use suggestion::{AssigneeSuggestion, TagSuggestion};
pub use summary::OwnedPortion;
pub use tag::{KnownTag, tag_order};
pub use text::TextKey;
pub use told::{Lists, WithLists};

/// Is told of each statement, once it was answered.
pub type Watch = Arc<dyn Fn(&Statement) + Send + Sync>;

/// Who is asked before a snapshot is opened.
pub trait Gate: Send + Sync {
    /// Waits until a snapshot may be opened, or says why it may not.
    fn pass(&self) -> BoxFuture<'_, Result<Pass>>;
}

/// The right to have a snapshot open; given back when it is dropped.
pub type Pass = Box<dyn Any + Send + Sync>;

/// How often a transaction is tried before the caller is told that the desk is busy.
const TRANSACT_TRIES_MAX: u32 = 6;

/// The first pause between two tries; each further one is twice as long.
const TRANSACT_PAUSE: Duration = Duration::from_millis(10);

/// Ids that one statement names: SQLite takes 32,766 parameters, PostgreSQL 65,535, and an incident may hold more alerts.
const IDS_PER_STATEMENT: usize = 10_000;

/// Conditions that one statement joins by OR: SQLite takes an expression of at most 1,000 levels, one for each.
const ALTERNATIVES_MAX: usize = 400;

/// The database of a desk.
#[derive(Clone)]
pub struct Store {
    writer: Pool,
    reader: Pool,
    options: Arc<StoreOptions>,
    doubt: Doubt,
    trouble: Trouble,
    /// Commands that share transactions.
    combiner: Combiner,
    watch: Option<Watch>,
    /// How long a statement may take.
    statement: Duration,
    /// Noted when the first transaction begins, for the one mutation that this store is used by.
    mutation: Option<MutationState>,
    /// The reads of the log's end, shared.
    fresh: Arc<Fresh>,
    /// Asked before each snapshot. A thin pointer: a view holds a store, and there are thousands of views.
    gate: Option<Arc<Box<dyn Gate>>>,
}

/// One snapshot of the database: whatever is read through it is true at one position.
#[derive(Clone)]
pub struct Reader {
    conn: Arc<Transaction>,
    /// Given back after the connection.
    _pass: Option<Arc<Pass>>,
}

/// A transaction that writes. It reads as a [`Reader`] does, and sees its own writes.
pub struct Tx {
    reader: Reader,
    pending: Mutex<Pending>,
    keeping: Mutex<Option<Keeping>>,
    /// What earlier commands of the same transaction have written.
    earlier: Arc<Earlier>,
}

impl Deref for Tx {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Tx {
    /// Does a part of the transaction that may be refused: what it wrote is taken back then, and the rest goes on.
    pub async fn part<T>(&self, work: impl Future<Output = Result<T>>) -> Result<Result<T, Box<Refusal>>> {
        let conn = self.conn();
        let recorded = self.pending.lock().await.counts();
        conn.execute_unprepared("SAVEPOINT part").await?;
        let numbers = conn.numbers();
        let outcome = match work.await {
            Ok(done) => Ok(done),
            // The database went away, and the transaction with it.
            Err(Error::Refused(refusal)) if refusal.code != Code::Unavailable => {
                conn.take_back_part(numbers);
                conn.execute_unprepared("ROLLBACK TO SAVEPOINT part").await?;
                self.pending.lock().await.truncate(recorded);
                Err(refusal)
            }
            Err(fault) => return Err(fault),
        };
        self.apart().execute_unprepared("RELEASE SAVEPOINT part").await?;
        Ok(outcome)
    }

    /// As [`Reader::activity`]. An earlier command of the same transaction may have changed the incident, and its change is in no table
    /// yet: then the command tries anew, in another one.
    pub async fn activity(
        &self,
        incident: IncidentId,
        filter: &ActivityFilter,
        page: Span<u64>,
    ) -> Result<Vec<Change>> {
        match self.earlier.has_changed(incident) {
            true => Err(Error::Busy),
            false => self.reader.activity(incident, filter, page).await,
        }
    }
}

impl Store {
    /// The same store for what clients ask for: a statement may take so long. It is refused with `LIMIT` then if it reads, and
    /// with `UNAVAILABLE` if it is of a transaction that writes; nothing is changed.
    pub fn for_requests(&self, statement: Duration) -> Self {
        Self { statement, ..self.clone() }
    }

    /// The same store for the desk's own work, exports among it: a statement may take a minute.
    pub fn for_own_work(&self) -> Self {
        Self { statement: OWN_WORK, ..self.clone() }
    }

    /// The same store for statements that read whole tables: they may take half an hour.
    pub fn for_verification(&self) -> Self {
        Self { statement: VERIFICATION, ..self.clone() }
    }

    /// The same store for one mutation, which is not begun once it was given up.
    pub fn for_mutation(&self, mutation: MutationState) -> Self {
        Self { mutation: Some(mutation), ..self.clone() }
    }

    /// The same store for one who waits at a gate before each snapshot, and holds its pass until the snapshot is closed.
    pub fn behind(&self, gate: Box<dyn Gate>) -> Self {
        Self { gate: Some(Arc::new(gate)), ..self.clone() }
    }

    /// Opens one snapshot to read from.
    pub async fn read(&self) -> Result<Reader> {
        self.read_within(ANSWER).await
    }

    /// Opens one snapshot to read little from, each time within a bound (on PostgreSQL). Who exceeds it was cut off from the
    /// database, and says so for every other connection.
    pub async fn read_within(&self, bound: Duration) -> Result<Reader> {
        let pass = match &self.gate {
            Some(gate) => Some(Arc::new(gate.pass().await?)),
            None => None,
        };
        let conn = self.begin(Purpose::Read, bound).await?;
        Ok(Reader { conn: Arc::new(conn), _pass: pass })
    }

    /// Opens what reads one statement and no more: it is its own snapshot. Nothing is begun and ended around it, which takes longer
    /// than to read a few rows. None where a gate has to be passed.
    async fn read_one(&self) -> Result<Option<Reader>> {
        if self.gate.is_some() {
            return Ok(None);
        }
        let conn = self.begin(Purpose::Ask, ANSWER).await?;
        Ok(Some(Reader { conn: Arc::new(conn), _pass: None }))
    }

    /// Takes note that the database did not answer: connections that are older than this are replaced, not waited for.
    pub fn doubt(&self) {
        self.doubt.raise();
    }

    /// The door to a write, with [`Store::transact_together`]: runs `work`, appends its changes to the log last, commits.
    ///
    /// `work` may run more than once (a busy database, a serialisation failure, a deadlock), so it must have no effect
    /// but through its transaction. Refusals and faults roll back.
    pub async fn transact<T, F, Fut>(&self, work: F) -> Result<(T, Head)>
    where
        T: Send,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        self.alone(&work).await
    }

    async fn alone<T, F, Fut>(&self, work: &F) -> Result<(T, Head)>
    where
        T: Send,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        Box::pin(self.make_room_if_due()).await;
        let mut pause = TRANSACT_PAUSE;
        for attempt in 1.. {
            match self.attempt(work).await {
                Err(Error::Busy) if attempt < TRANSACT_TRIES_MAX => {
                    debug!(attempt, "transaction broken off, trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        Err(Error::Busy)
    }

    async fn attempt<T, F, Fut>(&self, work: &F) -> Result<(T, Head)>
    where
        T: Send,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let conn = Arc::new(self.begin_write().await?);
        let (outcome, written) = batch::run(conn.clone(), Arc::default(), work).await;
        let Some(conn) = Arc::into_inner(conn) else { return Err(batch::held()) };
        match outcome {
            Ok(value) => {
                let mut heads = Box::pin(self.end(conn, vec![written])).await?;
                let head = heads.pop().ok_or_else(|| Error::fault("ending a transaction", "it has no place"))?;
                Ok((value, head))
            }
            Err(error) => {
                Box::pin(conn.rollback()).await;
                Err(error)
            }
        }
    }

    /// Begins a transaction that writes, for a mutation that was not given up.
    async fn begin_write(&self) -> Result<Transaction> {
        let conn = self.begin(Purpose::Write, ANSWER).await.map_err(|error| match error {
            // It has waited for its turn as long as a request may; waiting again would only lengthen the queue.
            Error::Busy => Error::unavailable(fault::DESK_BUSY),
            fault => fault,
        })?;
        self.mutation.as_ref().map_or(Ok(()), MutationState::begin)?;
        Ok(conn)
    }

    /// Begins a transaction whose statements have a bound. A connection that broke off while it lay in the pool (the database
    /// was started again, a proxy closed it) shows that only now, and is closed: nothing was asked of it yet, so the next
    /// one is tried. No more than the pool holds can be stale, and nobody tries for longer than one waits for a connection.
    async fn begin(&self, purpose: Purpose, bound: Duration) -> Result<Transaction> {
        let last_try = Instant::now() + self.options.acquire_timeout;
        for _ in 0..self.options.connections {
            match Box::pin(self.begin_once(purpose)).await {
                Err(error) if (fault::is_lost(&error) || fault::is_unclean(&error)) && Instant::now() < last_try => {
                    debug!(%error, "a stale connection is given up");
                }
                outcome => return Ok(self.watched(outcome?, purpose, bound)),
            }
        }
        Ok(self.watched(Box::pin(self.begin_once(purpose)).await?, purpose, bound))
    }

    async fn begin_once(&self, purpose: Purpose) -> Result<Begun, DbErr> {
        let pool = self.pool(purpose);
        if !self.is_postgres() {
            return pool.begin(purpose, self.statement).await;
        }
        // Whoever finds a place waits for nobody but the server. A connection that is being made to one that fell silent says
        // nothing about the others, and the next may reach a server that answers.
        let place_is_free = pool.has_place();
        let bound = if place_is_free { CONNECTED } else { self.options.acquire_timeout + PING };
        tokio::select! {
            begun = pool.begin(purpose, self.statement) => begun,
            () = self.doubt.raised() => Err(bounded::unanswered()),
            () = tokio::time::sleep(bound) => {
                if !place_is_free {
                    self.doubt.raise();
                }
                Err(bounded::unanswered())
            }
        }
    }

    fn pool(&self, purpose: Purpose) -> &Pool {
        match purpose {
            Purpose::Read | Purpose::Ask | Purpose::Follow => &self.reader,
            Purpose::Write => &self.writer,
        }
    }

    fn watched(&self, begun: Begun, purpose: Purpose, bound: Duration) -> Transaction {
        // The database ends what takes too long by itself: what is not answered a moment later is gone.
        let bound = if bound == ANSWER { bound.max(self.statement + PING) } else { bound };
        let care = Care {
            writes: purpose == Purpose::Write,
            bound: self.is_postgres().then(|| (bound, self.doubt.clone())),
            watch: self.watch.clone(),
            trouble: (purpose == Purpose::Write).then(|| self.trouble.clone()),
        };
        begun.under(self.reader.backend(), care)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.reader.ping().await.map_err(Error::from)
    }

    /// Closes every connection.
    pub async fn close(&self) -> Result<()> {
        self.reader.close().await;
        self.writer.close().await;
        Ok(())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Reader {
    fn conn(&self) -> &Transaction {
        &self.conn
    }

    /// For a statement that has nothing to do with the tables whose rows may wait ([`deferred::Table`]): it need not be sent after
    /// them. It may not wait for a lock, nor fail for want of one.
    fn apart(&self) -> Apart<'_> {
        Apart(&self.conn)
    }

    fn is_postgres(&self) -> bool {
        self.conn.get_database_backend() == DbBackend::Postgres
    }
}

/// A statement of ours, for what the query builder cannot say; `$1` reads alike on both databases.
fn statement(reader: &Reader, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(reader.conn.get_database_backend(), sql, values)
}

/// How many rows a query finds. SeaORM's own count wraps the query with all of its columns into another.
async fn count<E: EntityTrait>(reader: &Reader, query: Select<E>) -> Result<u64> {
    let rows: Option<i64> = query.select_only().expr(Expr::cust("COUNT(*)")).into_tuple().one(reader.conn()).await?;
    Ok(rows.unwrap_or(0) as u64)
}

/// `$1, $2, …` for so many values.
fn places(count: usize) -> String {
    (1..=count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}
