//! One operation, from the JSON a client sends to the JSON it gets; the same on every transport.
//!
//! Nothing in here trusts the client: the shape is checked, the guard judges the document, and a panic costs this
//! operation only.

use std::panic::AssertUnwindSafe;

use async_graphql::{
    Request, Response, ServerError, Variables,
    parser::types::{ExecutableDocument, OperationType},
};
use futures_util::FutureExt;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::{
    endpoint::Endpoint,
    guard::{self, Admitted, Limits},
    multiplied,
};
use crate::{
    domain,
    graphql::error::{is_request_error, present, server_error},
    storage::MutationState,
};

/// Where several operations share a socket or a stream the client chooses their ids, and they come back in each message.
/// Clients use numbers or UUIDs.
pub(crate) const OPERATION_ID_BYTES: usize = 256;

/// The parameters of a GraphQL request, in the shape that both protocols give them. What they do not know is ignored.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    /// The document.
    pub(crate) query: String,
    /// Which of its operations to run; the empty name is none.
    pub(crate) operation_name: Option<String>,
    /// What its variables stand for.
    pub(crate) variables: Variables,
    /// What the client calls the operation, where several share a stream.
    pub(crate) operation_id: Option<Value>,
}

/// A request that passed the guard.
pub(crate) struct Ready<V> {
    /// What is to be run.
    pub(crate) operation: OperationType,
    /// The document as it was sent.
    pub(crate) query: String,
    /// Which of its operations.
    pub(crate) operation_name: Option<String>,
    /// What its variables stand for.
    pub(crate) variables: Variables,
    /// The document as the guard leaves it.
    pub(crate) document: ExecutableDocument,
    /// For whom.
    pub(crate) viewer: V,
}

/// Judges the document and makes the request that the schema is given.
pub(crate) fn prepare<V: Clone + Send + Sync + 'static>(
    parameters: Parameters,
    viewer: V,
    limits: &Limits,
) -> Result<Ready<V>, ServerError> {
    let Parameters { query, operation_name, variables, .. } = parameters;
    let Admitted { document, operation, .. } = guard::admit(&query, operation_name.as_deref(), &variables, limits)?;
    multiplied::check(&document, &variables).map_err(server_error)?;
    Ok(Ready { operation, query, operation_name, variables, document, viewer })
}

/// The response to a document that the guard refused.
pub(crate) fn refused(error: ServerError) -> Response {
    present(Response::from_errors(vec![error]))
}

/// Runs a query or a mutation.
pub(crate) async fn execute<E: Endpoint>(
    endpoint: &E,
    ready: Ready<E::Viewer>,
    mutation: Option<MutationState>,
) -> Response {
    let mut request = Request::new(ready.query).variables(ready.variables).data(ready.viewer);
    request.operation_name = ready.operation_name;
    request.set_parsed_query(ready.document);
    present(endpoint.execute(request, mutation).await)
}

/// Runs `work`; a panic in it is a fault of this one operation and not the end of the connection.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> domain::Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        domain::Error::fault("an operation panicked", text.unwrap_or("a panic without words"))
    })
}

/// A response as JSON: a request error has no `data` entry.
pub(crate) struct Body<'a>(pub(crate) &'a Response);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Response { data, errors, extensions, .. } = self.0;
        let mut body = serializer.serialize_map(None)?;
        if !errors.is_empty() {
            body.serialize_entry("errors", errors)?;
        }
        if !is_request_error(self.0) {
            body.serialize_entry("data", data)?;
        }
        if !extensions.is_empty() {
            body.serialize_entry("extensions", extensions)?;
        }
        body.end()
    }
}
