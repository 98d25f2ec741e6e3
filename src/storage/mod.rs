//! Rows. Only this folder talks to a database, and only here do SQLite and PostgreSQL differ.
//!
//! `read()` opens a snapshot. `transact()` and `transact_together()` write. The file named after a noun holds the
//! noun's row, conversions and queries.

mod account;
mod address;
mod ahead;
mod alert;
mod alert_log;
mod alert_summary;
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
mod facets;
mod fault;
mod filter;
mod folder;
mod fresh;
mod idempotency;
mod incident;
mod incident_number;
mod interrupt;
mod kept;
mod line;
mod listed;
mod load;
mod log_head;
mod many;
mod merge;
mod mutation_state;
mod object;
mod outcome;
mod pooler;
mod private;
mod propagation;
mod queue;
mod report;
mod response_times;
mod retry;
mod rows;
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

use backon::Retryable;
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
use self::idempotency::PendingOutcome;
use self::interrupt::{OWN_WORK, VERIFICATION};
use self::transaction::{Apart, BegunTransaction, Care, Pool, Purpose, Transaction};
use self::trouble::Trouble;
use crate::domain::change::Change;
use crate::domain::clock::Clock;
use crate::domain::error::Refusal;
use crate::domain::{Code, Error, IncidentId, Result};

pub use address::honoured_address;
pub use ahead::LockPlan;
pub use alert::AlertFilter;
pub use attachment::{Upload, Uploadable};
pub use beyond::LogBeyond;
pub use bulk::BulkJobFilter;
pub use census::{Counted, CountedSince};
pub use changelog::{ActivityFilter, ChangeOrigin, DeskLogFilter, LogPlace};
pub use connect::StoreOptions;
pub use correlation::OpenIncident;
pub use entity::{EntitySpan, EntitySummary};
pub use evidence::{AlertShown, CommentShown, Moment, StoredAlertChange, StoredChange, StoredRow};
pub use facets::{FACET_TAGS_MAX, FACET_VALUES_MAX, Facet};
pub use folder::{make_folder, sync_folder};
pub use line::Word;
pub use listed::Parts;
pub use load::{End, Load, Lot, WholeIncident, incomplete};
pub use log_head::Head;
pub use many::Altered;
pub use mutation_state::MutationState;
pub use object::{Objects, Writing};
pub use private::keep_private;
pub use queue::{Cursor, ListedRow, Page, PageRequest, QueuePlace, Span};
pub use report::Applied;
pub use retry::{UNANSWERED, pause_unanswered};
pub use sea_orm::Statement;
pub use series::Series;
pub use similar::{EntityInCommon, Similarity};
pub use suggestion::SuggestedAssignee;
pub use summary::{OpenNumbers, OwnedPortion};
pub use tag::KnownTag;
pub use text::TextKey;
pub use told::{IncidentLists, WithLists};

/// A callback that gets each statement after the database has answered it.
pub type Watch = Arc<dyn Fn(&Statement) + Send + Sync>;

/// A gate that every read passes before it opens a snapshot.
pub trait Gate: Send + Sync {
    /// Waits until the caller may open a snapshot. Returns an error if the caller may not open it.
    fn pass(&self) -> BoxFuture<'_, Result<Pass>>;
}

/// A permit to hold a snapshot open. Dropping it returns the permit to the gate.
pub type Pass = Box<dyn Any + Send + Sync>;

/// The most ids in one statement. SQLite takes 32,766 parameters, PostgreSQL 65,535, and an incident may hold more
/// alerts.
const IDS_PER_STATEMENT: usize = 10_000;

/// The most conditions that one statement joins by OR. SQLite takes an expression of at most 1,000 levels, one a
/// condition.
const ALTERNATIVES_MAX: usize = 400;

/// The database of a desk. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    writer: Pool,
    reader: Pool,
    options: Arc<StoreOptions>,
    doubt: Doubt,
    trouble: Trouble,
    /// Puts concurrent commands into shared transactions.
    combiner: Combiner,
    watch: Option<Watch>,
    /// The timeout of each statement.
    statement: Duration,
    /// Set if this store serves one mutation: its first transaction that writes marks the mutation as begun.
    mutation: Option<MutationState>,
    /// Shares reads of the log's end between concurrent callers (single-flight).
    fresh: Arc<Fresh>,
    /// The source of the ids that the log itself needs: its epoch and its transactions.
    clock: Clock,
    /// The gate before each snapshot. A thin pointer, because each view holds a store and there are thousands of views.
    gate: Option<Arc<Box<dyn Gate>>>,
}

/// A snapshot of the database. Everything read through it is the state at one position of the log.
#[derive(Clone)]
pub struct Reader {
    conn: Arc<Transaction>,
    /// The permit of the gate. It is dropped after the connection.
    _pass: Option<Arc<Pass>>,
}

/// A transaction that writes. It reads as a [`Reader`] does, and its reads see its own writes.
pub struct Tx {
    reader: Reader,
    pending: Mutex<Pending>,
    keeping: Mutex<Option<PendingOutcome>>,
    /// The pending writes of earlier commands in the same transaction, which no table has yet.
    earlier: Arc<Earlier>,
}

impl Deref for Tx {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Tx {
    /// Runs a part that may be refused. A refusal takes back only this part's writes; `UNAVAILABLE` and faults end the
    /// transaction.
    pub async fn part<T>(&self, work: impl Future<Output = Result<T>>) -> Result<Result<T, Box<Refusal>>> {
        let conn = self.conn();
        let recorded = self.pending.lock().await.counts();
        conn.execute_unprepared("SAVEPOINT part").await?;
        let numbers = conn.numbers();
        let outcome = match work.await {
            Ok(done) => Ok(done),
            // The connection is lost, and the transaction with it.
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

    /// Reads as [`Reader::activity`] does. Returns `Busy` if an earlier command of the same transaction changed the
    /// incident, because no table has that change yet: this command runs again in another transaction.
    pub async fn activity(
        &self,
        incident: IncidentId,
        filter: &ActivityFilter,
        page: Span<u64>,
    ) -> Result<Vec<Change>> {
        if self.earlier.has_changed(incident) {
            Err(Error::Busy)
        } else {
            self.reader.activity(incident, filter, page).await
        }
    }
}

impl Store {
    /// Returns the same store with this clock in place of the system's clock.
    pub fn timed_by(&self, clock: Clock) -> Self {
        Self { clock, ..self.clone() }
    }

    /// Returns the same store with this statement timeout, for the requests of clients. A statement that exceeds it
    /// changes nothing: a read is refused with `LIMIT`, a transaction that writes with `UNAVAILABLE`.
    pub fn for_requests(&self, statement: Duration) -> Self {
        Self { statement, ..self.clone() }
    }

    /// Returns the same store for the desk's own work, including exports. The statement timeout is one minute.
    pub fn for_own_work(&self) -> Self {
        Self { statement: OWN_WORK, ..self.clone() }
    }

    /// Returns the same store for statements that read whole tables. The statement timeout is half an hour.
    pub fn for_verification(&self) -> Self {
        Self { statement: VERIFICATION, ..self.clone() }
    }

    /// Returns the same store for one mutation. After the mutation was cancelled it begins no transaction that writes.
    pub fn for_mutation(&self, mutation: MutationState) -> Self {
        Self { mutation: Some(mutation), ..self.clone() }
    }

    /// Returns the same store behind a gate. A read waits at the gate, and holds the gate's permit until its snapshot
    /// is closed.
    pub fn behind(&self, gate: Box<dyn Gate>) -> Self {
        Self { gate: Some(Arc::new(gate)), ..self.clone() }
    }

    /// Opens a snapshot.
    pub async fn read(&self) -> Result<Reader> {
        self.read_within(ANSWER).await
    }

    /// Opens a snapshot for a short read. On PostgreSQL each answer has the deadline `bound`. A missed deadline means
    /// that the connection was cut off, and makes every other open connection suspect.
    pub async fn read_within(&self, bound: Duration) -> Result<Reader> {
        let pass = match &self.gate {
            Some(gate) => Some(Arc::new(gate.pass().await?)),
            None => None,
        };
        let conn = self.begin(Purpose::Read, bound).await?;
        Ok(Reader { conn: Arc::new(conn), _pass: pass })
    }

    /// Opens a reader for one statement, which is its own snapshot: a BEGIN and an end would take longer than reading a
    /// few rows. Returns `None` if this store has a gate.
    async fn read_one(&self) -> Result<Option<Reader>> {
        if self.gate.is_some() {
            return Ok(None);
        }
        let conn = self.begin(Purpose::Ask, ANSWER).await?;
        Ok(Some(Reader { conn: Arc::new(conn), _pass: None }))
    }

    /// Records that the database did not answer. Every connection older than this call is suspect and is replaced
    /// before use.
    pub fn doubt(&self) {
        self.doubt.raise();
    }

    /// Runs `work` in a transaction of its own, appends its changes to the log last, and commits. The other way to
    /// write is [`Store::transact_together`]. `work` may run more than once (a busy database, a serialisation failure,
    /// a deadlock), so it must have no effect outside its transaction. Refusals and faults roll back.
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
        (|| self.attempt(work))
            .retry(retry::BUSY)
            .when(|error| matches!(error, Error::Busy))
            .notify(|_, pause| debug!(?pause, "transaction broken off, trying again"))
            .await
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

    /// Begins a transaction that writes. Returns an error if the mutation of this store was cancelled.
    async fn begin_write(&self) -> Result<Transaction> {
        let conn = self.begin(Purpose::Write, ANSWER).await.map_err(|error| match error {
            // The caller has already waited as long as a request may. Another try would only lengthen the queue.
            Error::Busy => Error::unavailable(fault::DESK_BUSY),
            fault => fault,
        })?;
        self.mutation.as_ref().map_or(Ok(()), MutationState::begin)?;
        Ok(conn)
    }

    /// Begins a transaction whose answers have a deadline. A connection that broke off in the pool (the database
    /// restarted, a proxy closed it) shows it only now. It is closed, and the next connection is tried, because no
    /// statement was sent yet. This skips at most as many connections as the pool has, and stops after the acquire
    /// timeout.
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

    async fn begin_once(&self, purpose: Purpose) -> Result<BegunTransaction, DbErr> {
        let pool = self.pool(purpose);
        if !self.is_postgres() {
            return pool.begin(purpose, self.statement).await;
        }
        // With a free permit this request waits only for the server. A silent server then says nothing about the other
        // connections, and the next connection may reach a server that answers.
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

    fn watched(&self, begun: BegunTransaction, purpose: Purpose, bound: Duration) -> Transaction {
        // The database ends a statement at its timeout. If no answer comes a moment later, the connection is dead.
        let bound = if bound == ANSWER { bound.max(self.statement + PING) } else { bound };
        let care = Care {
            writes: purpose == Purpose::Write,
            bound: self.is_postgres().then(|| (bound, self.doubt.clone())),
            watch: self.watch.clone(),
            trouble: (purpose == Purpose::Write).then(|| self.trouble.clone()),
        };
        begun.under(self.reader.backend(), care)
    }

    /// Asks whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.reader.ping().await.map_err(Error::from)
    }

    /// Closes every connection to the database.
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

    /// Returns a connection for statements that use no table with deferred rows ([`deferred::Table`]), so those rows
    /// need not be sent first. Such a statement must not wait for a lock, and must not fail for lack of a lock.
    fn apart(&self) -> Apart<'_> {
        Apart(&self.conn)
    }

    fn is_postgres(&self) -> bool {
        self.conn.get_database_backend() == DbBackend::Postgres
    }
}

/// Builds a statement from SQL text, for queries that the query builder cannot express. Both databases read `$1` alike.
fn statement(reader: &Reader, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(reader.conn.get_database_backend(), sql, values)
}

/// Counts the rows of a query. SeaORM's own count wraps the query with all of its columns into another.
async fn count<E: EntityTrait>(reader: &Reader, query: Select<E>) -> Result<u64> {
    let rows: Option<i64> = query.select_only().expr(Expr::cust("COUNT(*)")).into_tuple().one(reader.conn()).await?;
    Ok(rows.unwrap_or(0) as u64)
}

/// Returns `$1, $2, …` with `count` placeholders.
fn places(count: usize) -> String {
    (1..=count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}
