//! Where operations run: off the runtime that accepts connections, in turns, and a mutation to its end whatever becomes of
//! its client.
//!
//! A query ends with the request that asked for it: when its client goes, it is dropped, and its statement is interrupted. A
//! mutation is a task of its own: when its client goes before it has begun, nothing of it is done; after that it runs to its
//! end. When the server goes down, queries have a moment to end, and mutations as long as the server stays.

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

/// How long queries may go on after the signal to stop: most take milliseconds, and a client asks again elsewhere.
const QUERIES_END: Duration = Duration::from_secs(2);

/// A query may take so many times as long as a statement: most have one that is long, if any.
const STATEMENTS: u32 = 3;

/// How many operations run at once, and how long they may take.
#[derive(Clone, Debug)]
pub struct WorkSettings {
    /// Queries.
    pub reads: TurnSettings,
    /// Mutations.
    pub writes: TurnSettings,
    /// How long one statement of a request may take. Nothing that a page or a wall asks takes a second; what takes longer is
    /// refused.
    pub statement: Duration,
    /// How long all of a query may take, from its turn on.
    pub query: Duration,
}

impl WorkSettings {
    /// As many as so many connections to the database carry; an operation waits as long for its turn as for a connection.
    pub fn over(connections: u32, wait: Duration) -> Self {
        let connections = connections as usize;
        let (reads, writes) = (TurnSettings::of_reads(connections, wait), TurnSettings::of_writes(connections, wait));
        let statement = Duration::from_secs(5);
        Self { reads, writes, statement, query: statement * STATEMENTS }
    }

    /// The same with another time for a statement.
    pub fn with_statement(self, statement: Duration) -> Self {
        Self { statement, query: statement * STATEMENTS, ..self }
    }
}

impl Default for WorkSettings {
    fn default() -> Self {
        Self::over(8, Duration::from_secs(10))
    }
}

/// What runs operations. Clones share the turns.
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

    /// The way to the database for a stream of this principal.
    pub(super) fn gate(&self, principal: Vec<u8>, effort: Effort, has_begun: bool) -> StreamGate {
        StreamGate::new(self.reads.clone(), principal, effort, has_begun)
    }

    /// Runs a query or a mutation, in its turn.
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

    /// Does the work of a query in its turn, within the time that a query has.
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
        // The server waits for whoever holds a receiver before it ends.
        let (endpoint, shutdown, mine) = (endpoint.clone(), self.shutdown.clone(), state.clone());
        let task = tokio::spawn(async move {
            let _held = (turn, shutdown);
            caught(execute(&endpoint, ready, Some(mine))).await.map(|executed| executed.answer)
        });
        let _client = Client { state, task: task.abort_handle() };
        task.await.unwrap_or_else(|error| Err(Error::fault("running a mutation", error)))
    }
}

/// The client of a mutation, until it goes.
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

/// A task that ends when this is dropped.
struct Asked(AbortHandle);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers a request on this runtime, whatever the one that the connection lives on: a large request or a large answer takes
/// milliseconds of a worker, during which nobody is accepted there. The request's work ends with its connection.
pub(super) async fn on(State(runtime): State<Handle>, request: Request, next: Next) -> Response {
    let task = runtime.spawn(next.run(request));
    let _asked = Asked(task.abort_handle());
    task.await.unwrap_or_else(|error| {
        let fault = refuse(Error::fault("answering a request", error));
        let words = fault.errors.first().map(|error| error.message.clone()).unwrap_or_default();
        refusal(StatusCode::INTERNAL_SERVER_ERROR, Error::unavailable(words))
    })
}
