//! The results of coercion: the values of variables, or sketches of them (`sketch.rs`).

use async_graphql::{Name, Value};
use async_graphql_value::indexmap::IndexMap;

use crate::graphql::json::exact;

/// The result of coercion: a value or a sketch.
pub(super) trait Coerced: Sized {
    /// Makes it from an existing value.
    fn of(value: Value) -> Self;

    fn text(text: impl FnOnce() -> String) -> Self;

    /// Makes it from a JSON text that is kept as it is. `untyped` is the value of the text.
    fn json(text: &str, untyped: impl FnOnce() -> Self) -> Self;

    fn list(count: usize, items: impl Iterator<Item = Self>) -> Self;

    /// If several fields have one name, the last one counts.
    fn object<N: FnOnce() -> Name>(count: usize, fields: impl Iterator<Item = (N, Self)>) -> Self;
}

impl Coerced for Value {
    fn of(value: Value) -> Self {
        value
    }

    fn text(text: impl FnOnce() -> String) -> Self {
        Self::String(text())
    }

    fn json(text: &str, _: impl FnOnce() -> Self) -> Self {
        exact(text.to_owned())
    }

    fn list(count: usize, items: impl Iterator<Item = Self>) -> Self {
        let mut list = Vec::with_capacity(count);
        list.extend(items);
        Self::List(list)
    }

    fn object<N: FnOnce() -> Name>(count: usize, fields: impl Iterator<Item = (N, Self)>) -> Self {
        let mut object = IndexMap::with_capacity(count);
        object.extend(fields.map(|(name, value)| (name(), value)));
        Self::Object(object)
    }
}
