//! Sketches of the variables of a request: all that can make the server refuse it, before the values are made.

use async_graphql::{Name, Number, Value};

use super::coerced::Coerced;
use super::variable_uses::size;

/// The sketch of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sketch {
    /// The number of values in it, itself included.
    pub(super) values: usize,
    known: KnownValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KnownValue {
    Boolean(bool),
    /// The number, or the length of the list.
    Count(usize),
    Nothing,
}

impl Sketch {
    /// Returns the value, if it is a boolean.
    pub(super) fn boolean(self) -> Option<bool> {
        match self.known {
            KnownValue::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the number, or the length of the list.
    pub(super) fn count(self) -> Option<usize> {
        match self.known {
            KnownValue::Count(count) => Some(count),
            _ => None,
        }
    }
}

/// Returns the number as a count of things; `None` if it is no unsigned integer.
pub(super) fn count(number: &Number) -> Option<usize> {
    Some(usize::try_from(number.as_u64()?).unwrap_or(usize::MAX))
}

impl Coerced for Sketch {
    fn of(value: Value) -> Self {
        let known = match &value {
            Value::Boolean(value) => KnownValue::Boolean(*value),
            Value::Number(number) => count(number).map_or(KnownValue::Nothing, KnownValue::Count),
            Value::List(items) => KnownValue::Count(items.len()),
            _ => KnownValue::Nothing,
        };
        Self { values: size(&value), known }
    }

    fn text(_: impl FnOnce() -> String) -> Self {
        Self { values: 1, known: KnownValue::Nothing }
    }

    fn json(_: &str, untyped: impl FnOnce() -> Self) -> Self {
        untyped()
    }

    fn list(_: usize, items: impl Iterator<Item = Self>) -> Self {
        let (count, values) = items.fold((0, 1), |(count, values), item| (count + 1, values + item.values));
        Self { values, known: KnownValue::Count(count) }
    }

    fn object<N: FnOnce() -> Name>(_: usize, fields: impl Iterator<Item = (N, Self)>) -> Self {
        Self { values: fields.fold(1, |values, (_, field)| values + field.values), known: KnownValue::Nothing }
    }
}

/// The sketch of each variable that has a value.
pub(super) struct Sketches(Vec<(Name, Sketch)>);

impl Sketches {
    pub(super) fn get(&self, variable: &str) -> Option<Sketch> {
        self.0.iter().find(|(name, _)| name == variable).map(|(_, sketch)| *sketch)
    }
}

impl FromIterator<(Name, Sketch)> for Sketches {
    fn from_iter<I: IntoIterator<Item = (Name, Sketch)>>(known: I) -> Self {
        Self(known.into_iter().collect())
    }
}
