//! The interface between the transports and the service: the desk implements it, and the small schema of the tests.

use std::sync::Arc;

use async_graphql::{Request, Response};
use tokio::sync::watch;

use super::catalogue::Catalogue;
use super::words::Words;
use crate::domain;
use crate::domain::position::Position;
use crate::graphql::ResponseStream;
use crate::storage::{Gate, MutationState};

/// Executes operations for admitted callers.
pub trait Endpoint: Clone + Send + Sync + 'static {
    /// The caller. The data of each request hold it: a resolver reads it with `ctx.data::<E::Viewer>()`.
    type Viewer: Clone + Send + Sync + 'static;

    /// Admits a caller: once for each HTTP request, and once for each socket, at `connection_init`. `account` is the
    /// account in the header or the field `Watchfloor-Actor`.
    fn admit(&self, account: Option<String>) -> impl Future<Output = domain::Result<Self::Viewer>> + Send;

    /// Returns the identity for which a caller's sockets and streams are counted.
    fn principal(&self, viewer: &Self::Viewer) -> Vec<u8>;

    /// Returns the tables of the schema, against which documents are validated.
    fn catalogue(&self) -> Arc<Catalogue>;

    /// Executes a valid query or mutation without fragments and directives. A mutation notes in `mutation` when it
    /// begins.
    fn execute(&self, request: Request, mutation: Option<MutationState>) -> impl Future<Output = Response> + Send;

    /// Executes a subscription. It opens its snapshots of the database through the gate. Dropping the stream ends it.
    /// A stream that can be shared says the place of each response in the log. It answers the requests of the
    /// [`Track`](crate::realtime::track::Track) in the data of the request.
    fn execute_stream(&self, request: Request, gate: Box<dyn Gate>) -> ResponseStream;

    /// Returns the properties of a viewer, and of the position after which its stream begins, on which the bytes of a
    /// subscription depend besides its document and variables. Subscriptions with equal scopes share one execution and
    /// its bytes. `None`, the default, forbids to share.
    fn scope(&self, _viewer: &Self::Viewer, _words: &Words, _after: Option<Position>) -> Option<Vec<u8>> {
        None
    }

    /// Returns the part of a viewer on which the answer to a query of the board depends, besides its document and
    /// variables. Viewers with equal sights receive the same bytes. `None`, the default, forbids to share.
    fn sight(&self, _viewer: &Self::Viewer, _words: &Words) -> Option<Vec<u8>> {
        None
    }

    /// Returns the position of the board, at the present end of the log or beyond, and the number of changes to users
    /// and groups. `None` if there is no board, or if it takes too long to catch up.
    fn standing(&self) -> impl Future<Output = Option<(Position, u64)>> + Send {
        std::future::ready(None)
    }

    /// Changes whenever callers may have other rights or meanings; `None` if they never change. Each member of a group
    /// is then admitted again, and follows alone if its scope has changed.
    fn changes_of_callers(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Returns whether the root field of this name takes `after`, so that a transport can say where to go on.
    fn resumes(&self, _root: &str) -> bool {
        false
    }

    /// Returns whether a position from a client belongs to this log and is not too old, as far as memory tells.
    fn vouches(&self, _position: &Position) -> bool {
        false
    }

    /// Returns the offset where a backlog ends that begins now.
    fn present(&self) -> u64 {
        0
    }
}
