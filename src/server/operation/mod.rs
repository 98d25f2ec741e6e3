//! One operation, from the JSON a client sends to the JSON it gets; the same on every transport.
//!
//! Nothing in here trusts the client: the shape is checked, the document is measured (`limits.rs`) and validated
//! (`validate.rs`), its lists are held against their bounds (`lists.rs`), its variables are coerced (`coerce.rs`), and a panic
//! costs this operation only. The values of variables are made (`given.rs`) once nothing is left to refuse. What is executed, and
//! what everything after reads, is the canonical operation (`canonical.rs`), and its answer is put into the form of the
//! specification (`answer.rs`).

mod answer;
mod ast;
mod board;
mod canonical;
pub mod catalogue;
mod coerce;
pub mod cost;
mod effort;
pub mod given;
mod lexer;
pub mod limits;
mod lists;
mod literal;
mod lower;
mod merge;
pub mod operations;
mod parser;
mod sketch;
mod spelling;
mod validate;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_graphql::{
    Request, Response, ServerError, Value as Constant, Variables,
    parser::types::{ExecutableDocument, OperationType},
};
use futures_util::{FutureExt, TryFutureExt};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use self::given::Given;
use self::operations::{Canonical, Operations, Prepared};
use super::{endpoint::Endpoint, turns::Effort};
use crate::{
    domain::{self, position::Position},
    graphql::{
        FromBoard,
        budget::weight,
        error::{is_request_error, present, present_mutation},
    },
    storage::MutationState,
};

/// Where several operations share a socket or a stream the client chooses their ids, and they come back in each message.
/// Clients use numbers or UUIDs.
pub(crate) const OPERATION_ID_BYTES: usize = 256;

/// Variables of a query that is tried on the board alone, in bytes of JSON: they are kept for a second execution. A filter with
/// a hundred owners and tags takes 8 KiB.
const BOARD_VARIABLES_BYTES: usize = 16 << 10;

/// The parameters of a GraphQL request, in the shape that both protocols give them. What they do not know is ignored.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    /// The document.
    pub(crate) query: String,
    /// Which of its operations to run; the empty name is none.
    pub(crate) operation_name: Option<String>,
    /// What its variables stand for.
    pub(crate) variables: Given,
    /// What the client calls the operation, where several share a stream.
    pub(crate) operation_id: Option<Value>,
}

/// A request that may be executed.
pub(crate) struct Ready<V> {
    /// What is to be run.
    pub(crate) operation: OperationType,
    /// The operation itself.
    pub(crate) canonical: Arc<Canonical>,
    /// What the variables stand for that it uses.
    pub(crate) variables: Variables,
    /// The position that a subscription names.
    pub(crate) position: Option<Constant>,
    /// How many fields its answer may hold.
    pub(crate) cost: usize,
    /// How much work it is likely to be.
    pub(crate) effort: Effort,
    /// For whom.
    pub(crate) viewer: V,
}

impl<V> Ready<V> {
    /// Whether it is tried on the board alone.
    pub(crate) fn is_for_the_board(&self) -> bool {
        self.canonical.is_for_the_board && self.variables.values().map(weight).sum::<usize>() <= BOARD_VARIABLES_BYTES
    }
}

/// Judges the request and makes what is executed of it.
pub(crate) fn prepare<V>(
    parameters: Parameters,
    viewer: V,
    operations: &Operations,
) -> Result<Ready<V>, Vec<ServerError>> {
    let Parameters { query, operation_name, variables, .. } = parameters;
    let Prepared { canonical, variables, position, cost, effort } =
        operations.prepare(&query, operation_name.as_deref(), &variables)?;
    Ok(Ready { operation: canonical.ty, canonical, variables, position, cost, effort, viewer })
}

/// The response to a request that is not executed.
pub(crate) fn refused(errors: Vec<ServerError>) -> Response {
    present(Response::from_errors(errors))
}

/// The request that the schema is given.
pub(crate) fn request(canonical: &Canonical, variables: Variables) -> Request {
    let mut request = Request::new(String::new()).variables(variables);
    request.set_parsed_query(ExecutableDocument::clone(&canonical.document));
    request
}

/// The answer of the schema, in the form of the specification.
pub(crate) fn settled(canonical: &Canonical, response: Response) -> Response {
    answer::settle(&canonical.root, response)
}

/// What came of a query or a mutation.
pub(crate) struct Executed {
    /// The answer, in the form of the specification.
    pub(crate) answer: Response,
    /// Where the board stood, and how often users and groups had been changed, if the board gave all of the answer and there is
    /// no error in it.
    pub(crate) from_board: Option<(Position, u64)>,
}

/// Runs a query or a mutation.
pub(crate) async fn execute<E: Endpoint>(
    endpoint: &E,
    ready: Ready<E::Viewer>,
    mutation: Option<MutationState>,
) -> Executed {
    let for_the_board = ready.is_for_the_board();
    let Ready { canonical, variables, viewer, .. } = ready;
    if canonical.is_empty() {
        return Executed { answer: answer::empty(), from_board: None };
    }
    if for_the_board {
        let board = FromBoard::default();
        let asked = request(&canonical, variables.clone()).data(viewer.clone()).data(board.clone());
        let response = endpoint.execute(asked, None).await;
        let from_board = board.at().filter(|_| response.errors.is_empty());
        if response.errors.is_empty() || board.at().is_none() {
            return Executed { answer: present(settled(&canonical, response)), from_board };
        }
        // The board moved on in between, or does not know what the filter asks for. A refusal is found again.
    }
    let fields = mutation.is_some().then(|| canonical.root.fields_of_object().len());
    let response = settled(&canonical, endpoint.execute(request(&canonical, variables).data(viewer), mutation).await);
    let answer = match fields {
        Some(fields) => present_mutation(response, fields),
        None => present(response),
    };
    Executed { answer, from_board: None }
}

/// Runs `work`; a panic in it is a fault of this one operation and not the end of the connection.
pub(crate) fn caught<T>(work: impl Future<Output = T>) -> impl Future<Output = domain::Result<T>> {
    // An `async fn` would have room for the work twice: as it was given, and as it is awaited.
    AssertUnwindSafe(work).catch_unwind().map_err(|panic| {
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
