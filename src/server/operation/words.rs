//! The names in an operation and its variables, from which the endpoint decides what the bytes of its answer depend on.

use std::collections::HashSet;
use std::sync::Arc;

use async_graphql::{Name, Value, Variables};

use super::operations::Canonical;

/// The names in an operation.
#[derive(Debug)]
pub struct Words {
    canonical: Arc<Canonical>,
    /// Names of input fields in the values of variables.
    given: Box<[Name]>,
}

impl Words {
    /// Returns the name of the root field.
    pub fn root(&self) -> &str {
        &self.canonical.named.root
    }

    /// Returns the names of all fields of the operation, at any depth, with the root field.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.canonical.named.fields.iter().map(Name::as_str)
    }

    /// Returns whether the operation selects a field of this name at any depth.
    pub fn selects(&self, field: &str) -> bool {
        self.canonical.named.fields.contains(field)
    }

    /// Returns whether an argument or an input field of this name is given, in the document or in the variables.
    pub fn gives(&self, input: &str) -> bool {
        self.canonical.named.inputs.contains(input) || self.given.iter().any(|given| given == input)
    }

    /// Collects the names in an operation and its variables.
    pub(crate) fn of(canonical: Arc<Canonical>, variables: &Variables) -> Self {
        let mut given = HashSet::new();
        variables.values().for_each(|value| gather(value, &mut given));
        Self { canonical, given: given.into_iter().collect() }
    }
}

fn gather(value: &Value, names: &mut HashSet<Name>) {
    match value {
        Value::List(values) => values.iter().for_each(|value| gather(value, names)),
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                gather(value, names);
            }
        }
        _ => {}
    }
}
