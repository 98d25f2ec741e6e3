//! What the transports need of the thing they serve; the desk is one, the tests' little schema another.

use std::sync::Arc;

use async_graphql::{Request, Response};
use futures_util::stream::BoxStream;
use tokio::sync::watch;

pub use super::asked::Words;
pub use super::operation::catalogue::Catalogue;
use crate::domain;
use crate::domain::position::Position;
use crate::storage::{Gate, MutationState};

/// Executes operations for callers that it has let in.
pub trait Endpoint: Clone + Send + Sync + 'static {
    /// Who calls. It travels in the data of each request: a resolver reads it with `ctx.data::<E::Viewer>()`.
    type Viewer: Clone + Send + Sync + 'static;

    /// Lets a caller in: once for each HTTP request, and once for each socket, at `connection_init`. `account` is what
    /// the header or the field `Watchfloor-Actor` names.
    fn admit(&self, account: Option<String>) -> impl Future<Output = domain::Result<Self::Viewer>> + Send;

    /// Whose sockets and streams a caller's are counted as.
    fn principal(&self, viewer: &Self::Viewer) -> Vec<u8>;

    /// The schema as tables, which documents are validated against.
    fn catalogue(&self) -> Arc<Catalogue>;

    /// Executes a query, or a mutation that notes there when it begins: a valid one without fragments and directives.
    fn execute(&self, request: Request, mutation: Option<MutationState>) -> impl Future<Output = Response> + Send;

    /// Executes a subscription, whose snapshots of the database are opened behind the gate. Dropping the stream ends it. Where the data of the request hold a
    /// [`Track`](crate::realtime::track::Track), a stream that can be shared marks there where each frame stands.
    fn execute_stream(&self, request: Request, gate: Box<dyn Gate>) -> BoxStream<'static, Response>;

    /// What of a viewer the bytes of a subscription depend on, beside its document and variables: those for whom it is
    /// equal share one execution and its bytes. None where nobody may share; that is so unless the endpoint says more.
    fn scope(&self, _viewer: &Self::Viewer, _words: &Words) -> Option<Vec<u8>> {
        None
    }

    /// What of a viewer the answer to a query for the board depends on, beside its document and variables: those for whom it is
    /// equal are given the same bytes. None where nobody may share; that is so unless the endpoint says more.
    fn sight(&self, _viewer: &Self::Viewer, _words: &Words) -> Option<Vec<u8>> {
        None
    }

    /// Where the board stands, at the end of the log as of now or beyond, and how often users and groups had been changed; none
    /// where there is no board, or where it takes too long to come there.
    fn standing(&self) -> impl Future<Output = Option<(Position, u64)>> + Send {
        std::future::ready(None)
    }

    /// Moves whenever what callers may see or mean has changed; none where it never does. Who shares the bytes of others is
    /// let in again then, and goes on alone if its scope is another.
    fn changes_of_callers(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Whether the root field of this name takes `after`, so that a transport can say where to go on.
    fn resumes(&self, _root: &str) -> bool {
        false
    }

    /// Whether a position that a client claims to hold is one of this log and not too old, as far as memory tells.
    fn vouches(&self, _position: &Position) -> bool {
        false
    }

    /// How far a backlog reaches that begins now, as an offset.
    fn present(&self) -> u64 {
        0
    }
}
