//! What variables multiply: the executor copies the value of a variable at each of its uses, so a list of 10,000 that is used a
//! hundred times becomes a million values.
//!
//! The first use is the value itself, which `scan.rs` has bounded. Every further one counts as many values as it holds.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{Name, Value, Variables};
use async_graphql_value::Value as Literal;

use crate::domain::{Error, Result};

/// The most values that variables add up to beyond their first use: as many as a request may hold.
pub const MULTIPLIED_MAX: usize = 20_000;

/// Refuses variables that are used too often for their size. The document is one that the guard has admitted, so that it is
/// small with its fragments written out.
pub(crate) fn check(document: &ExecutableDocument, variables: &Variables) -> Result<()> {
    let mut uses = Uses { document, counts: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        uses.selection_set(&operation.node.selection_set.node);
    }
    judge(uses.counts, variables)
}

/// The same of uses that are counted already.
pub(crate) fn judge<'n>(uses: impl IntoIterator<Item = (&'n Name, usize)>, variables: &Variables) -> Result<()> {
    let mut left = MULTIPLIED_MAX;
    for (name, uses) in uses {
        let Some(value) = variables.get(name).filter(|_| uses > 1) else { continue };
        match left.checked_sub(size(value).saturating_mul(uses - 1)) {
            Some(rest) => left = rest,
            None => {
                let message = format!(
                    "${name} is used {uses} times: variables may add up to {MULTIPLIED_MAX} values beyond their first use"
                );
                return Err(Error::limit(format!("variables.{name}"), message, MULTIPLIED_MAX));
            }
        }
    }
    Ok(())
}

/// How many values a value is, itself included.
fn size(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

struct Uses<'d> {
    document: &'d ExecutableDocument,
    counts: HashMap<&'d Name, usize>,
}

impl<'d> Uses<'d> {
    fn selection_set(&mut self, set: &'d SelectionSet) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => self.field(&field.node),
                Selection::InlineFragment(fragment) => self.selection_set(&fragment.node.selection_set.node),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.node.fragment_name.node) {
                        self.selection_set(&fragment.node.selection_set.node);
                    }
                }
            }
        }
    }

    fn field(&mut self, field: &'d Field) {
        field.arguments.iter().for_each(|(_, value)| self.literal(&value.node));
        self.selection_set(&field.selection_set.node);
    }

    fn literal(&mut self, value: &'d Literal) {
        match value {
            Literal::Variable(name) => *self.counts.entry(name).or_default() += 1,
            Literal::List(items) => items.iter().for_each(|item| self.literal(item)),
            Literal::Object(fields) => fields.values().for_each(|field| self.literal(field)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn check_list(query: &str, length: usize) -> Result<()> {
        let variables = Variables::from_json(serde_json::json!({ "l": vec![0; length - 1] }));
        check(&parse_query(query).expect("a document"), &variables)
    }

    #[test]
    fn each_use_but_the_first_counts() {
        check_list("query($l: [Int]) { a(l: $l) }", 100_000).expect("used once");
        let three = "query($l: [Int]) { a(l: { in: [$l] }) b { ...F } ...F } fragment F on T { c(l: $l) }";
        check_list(three, 10_000).expect("used three times");
        let error = check_list(three, 10_001).expect_err("one more");
        assert!(error.to_string().contains("$l is used 3 times"), "{error}");
    }
}
