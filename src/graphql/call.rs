//! The fields that every mutation input has, and the readers that tell absent, null and given fields apart.

use async_graphql::{InputObject, MaybeUndefined};

use crate::domain::{Error, Result};

/// The fields that every mutation input has: the client's name for the call, and the idempotency key.
// Inputs with a long text declare this field first. For a flattened field, async-graphql copies the whole input, so a
// long text that is already read would be in memory twice.
#[derive(Clone, Debug, Default, InputObject)]
pub(super) struct Call {
    /// A name that the client gives this call: at most 256 characters. The payload repeats it, and so do the items of
    /// streams that tell of the changes.
    pub client_mutation_id: Option<String>,
    /// A key that makes a retry safe: at most 200 characters, not blank. It belongs to its caller and is kept for 24
    /// hours. A repeat with the same input changes nothing: it answers with the outcome or the refusal of the first
    /// call, with objects in their present state. After a refusal use a new key. `Mutation` describes retries.
    pub idempotency_key: Option<String>,
}

/// The precondition of an edit that does not commute with other edits.
#[derive(Clone, Copy, Debug, Default, InputObject)]
pub(super) struct Precondition {
    /// The version of the incident that the caller has seen. If a later change set a field that this mutation sets too,
    /// the mutation changes nothing and is a `CONFLICT`, even if the field already has the requested value. `Mutation`
    /// describes the guarded fields and `extensions.now.changes`. A version that the incident has not reached is
    /// `INVALID`. Without this field the last write wins.
    pub expected_version: Option<u64>,
}

/// Reads a field of an edit: `None` if absent (it stays), `Some(None)` if null (it is cleared), else its value.
pub(super) fn maybe<T, U>(value: MaybeUndefined<T>, read: impl FnOnce(T) -> Result<U>) -> Result<Option<Option<U>>> {
    Ok(match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(read(value)?)),
    })
}

/// Reads a field that cannot be cleared: `None` if it is absent. Null is `INVALID`.
pub(super) fn given<T>(path: &str, value: MaybeUndefined<T>) -> Result<Option<T>> {
    match value {
        MaybeUndefined::Undefined => Ok(None),
        MaybeUndefined::Null => Err(Error::invalid(path, "this cannot be cleared; leave it out to keep it")),
        MaybeUndefined::Value(value) => Ok(Some(value)),
    }
}

/// Reads the field that a mutation is about: `None` if it is null. Absent is `INVALID`: it may be an undefined
/// variable.
pub(super) fn said<T>(path: &str, value: MaybeUndefined<T>) -> Result<Option<T>> {
    match value {
        MaybeUndefined::Undefined => Err(Error::invalid(path, "give a value, or null to clear it")),
        MaybeUndefined::Null => Ok(None),
        MaybeUndefined::Value(value) => Ok(Some(value)),
    }
}
