//! The faults of a document and of its values, as a refusal lists them.

use std::fmt;

use async_graphql::{Pos, ServerError};

use crate::{domain, graphql::error::server_error};

/// Makes a fault of the document itself.
pub(super) fn fault(message: impl Into<String>, pos: Pos) -> ServerError {
    ServerError::new(message, Some(pos))
}

/// Makes a fault of a value, which has a path.
pub(super) fn fault_at(path: &str, message: impl Into<String>, pos: Pos) -> ServerError {
    let mut fault = server_error(domain::Error::invalid(path, message));
    fault.locations = vec![pos];
    fault
}

/// Returns the refusal of a list of `count` values at a place for `bound` values.
pub(super) fn too_long(path: &str, count: usize, bound: usize, pos: Pos) -> ServerError {
    let message = format!("this list has at most {bound} values, and {count} are given");
    let mut refusal = server_error(domain::Error::limit(path, message, bound));
    refusal.locations = vec![pos];
    refusal
}

/// The path of a value, written as text only in a refusal.
pub(super) struct Path<'p> {
    pub(super) parent: Option<&'p Path<'p>>,
    pub(super) step: LastStep<'p>,
}

/// The last step of a path.
pub(super) enum LastStep<'p> {
    Variable(&'p str),
    Field(&'p str),
    Index(usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        match self.step {
            LastStep::Variable(name) => write!(f, "variables.{name}"),
            LastStep::Field(name) => f.write_str(name),
            LastStep::Index(index) => write!(f, "{index}"),
        }
    }
}
