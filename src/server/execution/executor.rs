//! Runs operations in their turns.
//!
//! A query ends with its request: when its client goes, the query is dropped, and its statement is interrupted. A
//! mutation is a task of its own. If its client goes before the mutation has begun, nothing of it is done; after that
//! it runs to its end. When the server stops, queries have a moment to end, and mutations have as long as the server
//! stays.

use std::time::Duration;

use async_graphql::Response as Answer;
use async_graphql::parser::types::OperationType;
use tokio::task::AbortHandle;

use super::scheduler::{Scheduler, TurnSettings, Waiter};
use super::stream_permits::StreamPermits;
use crate::domain::{Error, Result};
use crate::graphql::error::refuse;
use crate::server::edge::panics::caught;
use crate::server::edge::shutdown::{Shutdown, stopped};
use crate::server::operation::{Ready, effort::Effort, endpoint::Endpoint, execute};
use crate::storage::MutationState;

/// How long queries may run after the signal to stop: most take milliseconds, and a client asks again elsewhere.
const QUERIES_END: Duration = Duration::from_secs(2);

/// The time of a query, in times of a statement: most queries have at most one long statement.
const STATEMENTS: u32 = 3;

/// How many operations run at once, and how long they may take.
#[derive(Clone, Debug)]
pub struct WorkSettings {
    /// The turns of queries.
    pub reads: TurnSettings,
    /// The turns of mutations.
    pub writes: TurnSettings,
    /// How long one statement of a request may take before it is refused. No statement of a page or a wall takes a
    /// second.
    pub statement: Duration,
    /// How long a whole query may take, from its turn on.
    pub query: Duration,
}

impl WorkSettings {
    /// The settings for this many connections to the database. An operation waits as long for a turn as for a
    /// connection.
    pub fn over(connections: u32, wait: Duration) -> Self {
        let connections = connections as usize;
        let (reads, writes) = (TurnSettings::of_reads(connections, wait), TurnSettings::of_writes(connections, wait));
        let statement = Duration::from_secs(5);
        Self { reads, writes, statement, query: statement * STATEMENTS }
    }

    /// Sets the time of a statement, and the time of a query with it.
    pub fn with_statement(self, statement: Duration) -> Self {
        Self { statement, query: statement * STATEMENTS, ..self }
    }
}

impl Default for WorkSettings {
    fn default() -> Self {
        Self::over(8, Duration::from_secs(10))
    }
}

/// Runs operations. Clones share the turns.
#[derive(Clone)]
pub(in crate::server) struct Executor {
    reads: Scheduler,
    writes: Scheduler,
    query_time: Duration,
    shutdown: Shutdown,
}

impl Executor {
    pub(in crate::server) fn new(settings: &WorkSettings, shutdown: Shutdown) -> Self {
        let WorkSettings { reads, writes, query, .. } = settings.clone();
        Self { reads: Scheduler::new(reads), writes: Scheduler::new(writes), query_time: query, shutdown }
    }

    /// Makes the gate to the database for a stream of this principal: each of its snapshots takes a turn.
    pub(in crate::server) fn permits(&self, principal: Vec<u8>, effort: Effort) -> StreamPermits {
        StreamPermits::new(self.reads.clone(), principal, effort)
    }

    /// Runs a query or a mutation in its turn.
    pub(in crate::server) async fn execute<E: Endpoint>(&self, endpoint: &E, ready: Ready<E::Viewer>) -> Answer {
        let answer = match ready.operation {
            OperationType::Mutation => self.mutate(endpoint, ready).await,
            _ => self.read(endpoint, ready).await,
        };
        answer.unwrap_or_else(refuse)
    }

    async fn read<E: Endpoint>(&self, endpoint: &E, ready: Ready<E::Viewer>) -> Result<Answer> {
        let (principal, effort) = (endpoint.principal(&ready.viewer), ready.effort);
        self.query(principal, effort, async { execute(endpoint, ready, None).await.answer }).await
    }

    /// Does the work of a query in its turn, within the time of a query.
    pub(in crate::server) async fn query<T>(
        &self,
        principal: Vec<u8>,
        effort: Effort,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        let _turn = self.reads.take(principal, effort, Waiter::Operation).await?;
        let mut shutdown = self.shutdown.clone();
        let stopped = async {
            stopped(&mut shutdown).await;
            tokio::time::sleep(QUERIES_END).await;
        };
        tokio::select! {
            answer = work => Ok(answer),
            () = tokio::time::sleep(self.query_time) => {
                let seconds = self.query_time.as_secs();
                let message = format!("this query takes longer than {seconds} s: ask for less at once");
                Err(Error::limit("query", message, seconds as usize))
            }
            () = stopped => Err(Error::unavailable("the desk restarts, try again")),
        }
    }

    async fn mutate<E: Endpoint>(&self, endpoint: &E, ready: Ready<E::Viewer>) -> Result<Answer> {
        let principal = endpoint.principal(&ready.viewer);
        let turn = self.writes.take(principal, ready.effort, Waiter::Operation).await?;
        let state = MutationState::default();
        // Before it ends, the server waits until all receivers of `shutdown` are dropped.
        let (endpoint, shutdown, mine) = (endpoint.clone(), self.shutdown.clone(), state.clone());
        let task = tokio::spawn(async move {
            let _held = (turn, shutdown);
            caught(execute(&endpoint, ready, Some(mine))).await.map(|executed| executed.answer)
        });
        let _client = Client { state, task: task.abort_handle() };
        task.await.unwrap_or_else(|error| Err(Error::fault("running a mutation", error)))
    }
}

/// The client of a mutation; dropped when it goes.
struct Client {
    state: MutationState,
    task: AbortHandle,
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.state.give_up() {
            self.task.abort();
        }
    }
}
