//! What every mutation may be given beside its input proper, and how absent, null and given fields are told apart.

use async_graphql::{InputObject, MaybeUndefined};

use crate::domain::{Error, Result};

/// What every mutation may be given beside its input proper.
// Inputs that hold a long text have this field first: the library copies the whole input for a flattened field, and a text that it
// has read already would be in memory once more meanwhile.
#[derive(Clone, Debug, Default, InputObject)]
pub struct Call {
    /// What the client calls this mutation, at most 256 characters; echoed in the answer and in stream items.
    pub client_mutation_id: Option<String>,
    /// A key for a retry, at most 200 characters: the same key with the same input again changes nothing, and answers from
    /// what the first call did or why it was refused, as things stand now. With other input it is a `CONFLICT`. It belongs to
    /// the caller, and is kept for 24 hours.
    pub idempotency_key: Option<String>,
}

/// What an edit that does not commute may be given: up to where its caller knows the incident.
#[derive(Clone, Copy, Debug, Default, InputObject)]
pub struct Known {
    /// The version of the incident that the caller has seen. If a later change touched a field that this mutation writes, it
    /// is a `CONFLICT` that names who changed what, when, from and to, and nothing changes. Without it the last write wins.
    pub expected_version: Option<u64>,
}

/// Absent, null or a value, as an edit says it: absent stays, none clears.
pub fn maybe<T, U>(value: MaybeUndefined<T>, read: impl FnOnce(T) -> Result<U>) -> Result<Option<Option<U>>> {
    Ok(match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(read(value)?)),
    })
}

/// Absent or a value: of a field that cannot be cleared.
pub fn given<T>(path: &str, value: MaybeUndefined<T>) -> Result<Option<T>> {
    match value {
        MaybeUndefined::Undefined => Ok(None),
        MaybeUndefined::Null => Err(Error::invalid(path, "this cannot be cleared; leave it out to keep it")),
        MaybeUndefined::Value(value) => Ok(Some(value)),
    }
}

/// Null or a value: of a field that a mutation is about. Absent, as a client's undefined variable is, it would take away
/// what nobody meant to.
pub fn said<T>(path: &str, value: MaybeUndefined<T>) -> Result<Option<T>> {
    match value {
        MaybeUndefined::Undefined => Err(Error::invalid(path, "give a value, or null to clear it")),
        MaybeUndefined::Null => Ok(None),
        MaybeUndefined::Value(value) => Ok(Some(value)),
    }
}
