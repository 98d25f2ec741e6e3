//! What the transports need of the thing they serve; the desk is one, the tests' little schema another.

use async_graphql::{Request, Response};
use futures_util::stream::BoxStream;

use crate::domain;

/// Executes operations for callers that it has let in.
pub trait Endpoint: Clone + Send + Sync + 'static {
    /// Who calls. It travels in the data of each request: a resolver reads it with `ctx.data::<E::Viewer>()`.
    type Viewer: Clone + Send + Sync + 'static;

    /// Lets a caller in: once for each HTTP request, and once for each socket, at `connection_init`. `account` is what
    /// the header or the field `Watchfloor-Actor` names.
    fn admit(&self, account: Option<String>) -> impl Future<Output = domain::Result<Self::Viewer>> + Send;

    /// Executes a query or a mutation.
    fn execute(&self, request: Request) -> impl Future<Output = Response> + Send;

    /// Executes a subscription. Dropping the stream ends it.
    fn execute_stream(&self, request: Request) -> BoxStream<'static, Response>;
}
