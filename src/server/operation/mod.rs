//! One operation, from the JSON that a client sends to the JSON that it receives, on every transport.
//!
//! No client is trusted here. The form of the request is checked (`parameters.rs`). The document is measured
//! (`limits.rs`) and validated (`validate.rs`). Its lists are checked against their bounds (`lists.rs`), and its
//! variables are coerced (`coerce.rs`). The values of variables are made (`given.rs`) when nothing can be refused any
//! more. The canonical operation (`canonical.rs`) is executed, and all later steps read it. Its answer is put into the
//! form of the specification (`answer.rs`).

mod answer;
mod ast;
mod board;
mod canonical;
pub mod catalogue;
mod coerce;
mod coerced;
mod cost;
pub mod effort;
pub mod endpoint;
mod fault;
pub mod given;
pub(super) mod json_size;
mod lexer;
pub mod limits;
mod lists;
mod literal;
mod lower;
mod merge;
pub mod operations;
pub(super) mod parameters;
mod parser;
pub mod prices;
mod sketch;
mod spelling;
mod validate;
mod variable_uses;
pub mod words;

use std::sync::Arc;

use async_graphql::{
    Request, Response, ServerError, Value as Constant, Variables,
    parser::types::{ExecutableDocument, OperationType},
};

use self::effort::Effort;
use self::endpoint::Endpoint;
use self::operations::{Canonical, Operations, Prepared};
use self::parameters::Parameters;
use crate::{
    domain::position::Position,
    graphql::{
        FromBoard,
        budget::weight,
        error::{present, present_mutation},
    },
    storage::MutationState,
};

/// The most bytes of an operation's id. If several operations share a socket or a stream, the client chooses the ids,
/// and each message carries one. Clients use numbers or UUIDs.
pub(crate) const OPERATION_ID_BYTES: usize = 256;

/// The most bytes of JSON in the variables of a query that is tried on the board: they are kept for a second execution.
/// A filter with a hundred owners and tags takes 8 KiB.
const BOARD_VARIABLES_BYTES: usize = 16 << 10;

/// A request that may be executed.
pub(crate) struct Ready<V> {
    /// Query, mutation or subscription.
    pub(crate) operation: OperationType,
    /// The operation to execute.
    pub(crate) canonical: Arc<Canonical>,
    /// The values of the variables that the operation uses.
    pub(crate) variables: Variables,
    /// The position in a subscription's argument `after`.
    pub(crate) position: Option<Constant>,
    /// The number of fields that its answer may hold.
    pub(crate) cost: usize,
    /// The estimated work.
    pub(crate) effort: Effort,
    /// The caller.
    pub(crate) viewer: V,
}

impl<V> Ready<V> {
    /// Returns whether the query is tried on the board before a snapshot is opened.
    pub(crate) fn is_for_the_board(&self) -> bool {
        self.canonical.is_for_the_board && self.variables.values().map(weight).sum::<usize>() <= BOARD_VARIABLES_BYTES
    }
}

/// Checks a request, and makes the operation to execute.
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

/// Returns the response to a request that is not executed.
pub(crate) fn refused(errors: Vec<ServerError>) -> Response {
    present(Response::from_errors(errors))
}

/// Makes the request that the schema executes.
pub(crate) fn request(canonical: &Canonical, variables: Variables) -> Request {
    let mut request = Request::new(String::new()).variables(variables);
    request.set_parsed_query(ExecutableDocument::clone(&canonical.document));
    request
}

/// Puts an answer of the schema into the form of the specification.
pub(crate) fn settled(canonical: &Canonical, response: Response) -> Response {
    answer::settle(&canonical.root, response)
}

/// The result of a query or a mutation.
pub(crate) struct Executed {
    /// The answer, in the form of the specification.
    pub(crate) answer: Response,
    /// The position of the board and the number of changes to users and groups. It is set if the board gave the whole
    /// answer without an error.
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
        // The board moved on meanwhile, or does not support the filter. A snapshot finds a refusal again.
    }
    let commands = mutation.is_some().then(|| canonical.root.commands());
    let response = settled(&canonical, endpoint.execute(request(&canonical, variables).data(viewer), mutation).await);
    let answer = match commands {
        Some(commands) => present_mutation(response, commands),
        None => present(response),
    };
    Executed { answer, from_board: None }
}
