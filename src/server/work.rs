//! Where operations run: on another runtime than the one that accepts connections, and in turns.
//!
//! A query ends with its request: when its client goes, the query is dropped, and its statement is interrupted. A
//! mutation is a task of its own. If its client goes before the mutation has begun, nothing of it is done; after that
//! it runs to its end. When the server stops, queries have a moment to end, and mutations have as long as the server
//! stays.

use std::time::Duration;

use async_graphql::Response as Answer;
use async_graphql::parser::types::OperationType;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::endpoint::Endpoint;
use super::gate::StreamGate;
use super::http::refusal;
use super::operation::{Ready, caught, execute};
use super::routes::{Shutdown, stopped};
use super::turns::{Effort, TurnSettings, Turns, Waiter};
use crate::domain::{Error, Result};
use crate::graphql::error::refuse;
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
pub(super) struct Work {
    reads: Turns,
    writes: Turns,
    query_time: Duration,
    shutdown: Shutdown,
}

impl Work {
    pub(super) fn new(settings: &WorkSettings, shutdown: Shutdown) -> Self {
        let WorkSettings { reads, writes, query, .. } = settings.clone();
        Self { reads: Turns::new(reads), writes: Turns::new(writes), query_time: query, shutdown }
    }

    /// Makes the gate to the database for a stream of this principal.
    pub(super) fn gate(&self, principal: Vec<u8>, effort: Effort, has_begun: bool) -> StreamGate {
        StreamGate::new(self.reads.clone(), principal, effort, has_begun)
    }

    /// Runs a query or a mutation in its turn.
    pub(super) async fn execute<E: Endpoint>(&self, endpoint: &E, ready: Ready<E::Viewer>) -> Answer {
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
    pub(super) async fn query<T>(
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

/// A task that ends when this value is dropped.
struct Asked(AbortHandle);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers a request on this runtime, whatever runtime its connection lives on. A large request or answer takes
/// milliseconds of a worker, which then accepts no connection. The work ends with the connection.
pub(super) async fn on(State(runtime): State<Handle>, request: Request, next: Next) -> Response {
    let task = runtime.spawn(next.run(request));
    let _asked = Asked(task.abort_handle());
    task.await.unwrap_or_else(|error| {
        let fault = refuse(Error::fault("answering a request", error));
        let words = fault.errors.first().map(|error| error.message.clone()).unwrap_or_default();
        // A mutation that the request began may have been carried out.
        refusal(StatusCode::INTERNAL_SERVER_ERROR, Error::unavailable_for_long(words))
    })
}
