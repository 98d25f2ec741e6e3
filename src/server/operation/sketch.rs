//! What is known of the variables of a request before their values are made: all that it can be refused by.

use async_graphql::{Name, Number, Value};

use super::coerce::Made;
use crate::server::multiplied::size;

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sketch {
    /// How many values it is, itself included.
    pub(super) values: usize,
    known: Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Boolean(bool),
    /// The number that it is, or how many values the list has.
    Count(usize),
    Nothing,
}

impl Sketch {
    /// The truth that it is.
    pub(super) fn boolean(self) -> Option<bool> {
        match self.known {
            Known::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// The number that it is, or how many values it lists.
    pub(super) fn count(self) -> Option<usize> {
        match self.known {
            Known::Count(count) => Some(count),
            _ => None,
        }
    }
}

/// The number as a count of things, if it is one.
pub(super) fn count(number: &Number) -> Option<usize> {
    Some(usize::try_from(number.as_u64()?).unwrap_or(usize::MAX))
}

impl Made for Sketch {
    fn of(value: Value) -> Self {
        let known = match &value {
            Value::Boolean(value) => Known::Boolean(*value),
            Value::Number(number) => count(number).map_or(Known::Nothing, Known::Count),
            Value::List(items) => Known::Count(items.len()),
            _ => Known::Nothing,
        };
        Self { values: size(&value), known }
    }

    fn text(_: impl FnOnce() -> String) -> Self {
        Self { values: 1, known: Known::Nothing }
    }

    fn list(_: usize, items: impl Iterator<Item = Self>) -> Self {
        let (count, values) = items.fold((0, 1), |(count, values), item| (count + 1, values + item.values));
        Self { values, known: Known::Count(count) }
    }

    fn object<N: FnOnce() -> Name>(_: usize, fields: impl Iterator<Item = (N, Self)>) -> Self {
        Self { values: fields.fold(1, |values, (_, field)| values + field.values), known: Known::Nothing }
    }
}

/// What is known of each variable that has a value.
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
