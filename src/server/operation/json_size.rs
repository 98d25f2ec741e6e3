//! Measures a JSON text before it is parsed: how many values it holds, and how deep they nest.
//!
//! A parsed value takes up to fifty times the bytes of its text, so a body of 2 MiB could become 100 MiB before any
//! rule applies. The measure is one pass over the bytes, without allocation and recursion. It is no parser. If a text
//! is not JSON, it counts at least as many values as a parser meets before it stops.

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{DocumentOperations, OperationType, Selection};

use crate::domain::{Error, Result};

/// The most values of a request: strings, numbers, words, lists and objects, but not names of fields. A filter has at
/// most 500 terms, a bookmark 1,000 rows. 20,000 values are parsed in 2 ms and take at most 8 MiB.
pub(crate) const VALUES_MAX: usize = 20_000;

/// The most values of a request that asks for nothing but [`BATCHES`]: 5,000 alerts of twenty values each.
pub(crate) const BATCH_VALUES_MAX: usize = 100_000;

/// The root fields that take long lists by design.
pub(crate) const BATCHES: [&str; 2] = ["bulkUpdateIncidents", "ingestAlerts"];

/// The most values outside an operation: in the payload of `connection_init`, and in `extensions`.
pub(crate) const ASIDE_VALUES_MAX: usize = 1_000;

/// The most lists and objects inside each other. A filter nests 8 deep, which is 20 brackets. The recursive parser
/// reaches 128.
pub(crate) const NESTING_MAX: usize = 64;

/// The most bytes and brackets of a document that is checked for a batch, because the parser recurses.
const BATCH_DOCUMENT: (usize, usize) = (16 * 1024, 100);

/// The amount of values in a JSON text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Counts strings, numbers, words, lists and objects, but not names of fields.
    pub values: usize,
    /// The most lists and objects that are open at once.
    pub nesting: usize,
}

/// Measures a JSON text. Stops at more than `values` values or more than [`NESTING_MAX`] open brackets.
pub(crate) fn measure(text: &[u8], values: usize) -> Amount {
    let (mut amount, mut open, mut at) = (Amount::default(), 0_usize, 0_usize);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                let length = string(&text[at + 1..]);
                at += length + 1;
                amount.values += usize::from(!is_name(text.get(at + 1..).unwrap_or_default()));
            }
            b'{' | b'[' => {
                open += 1;
                amount.nesting = amount.nesting.max(open);
                amount.values += 1;
            }
            b'}' | b']' => open = open.saturating_sub(1),
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                amount.values += 1;
                at += word(&text[at + 1..]);
            }
        }
        if amount.values > values || amount.nesting > NESTING_MAX {
            break;
        }
        at += 1;
    }
    amount
}

/// Refuses more than `values` values, and too deep nesting, with `LIMIT`. `path` names the part of the request.
pub(crate) fn within(path: &str, text: &str, values: usize) -> Result<Amount> {
    let amount = measure(text.as_bytes(), values);
    if amount.values > values {
        return Err(Error::limit(path, format!("a request of this kind holds at most {values} values"), values));
    }
    if amount.nesting > NESTING_MAX {
        let message = format!("lists and objects nest at most {NESTING_MAX} deep");
        return Err(Error::limit(path, message, NESTING_MAX));
    }
    Ok(amount)
}

/// Returns whether a document asks for nothing but [`BATCHES`], so that its variables may hold more than [`VALUES_MAX`]
/// values. Parses the document, so call it only for such a request.
pub(crate) fn is_batch(query: &str, operation_name: Option<&str>) -> bool {
    let brackets = query.bytes().filter(|byte| matches!(byte, b'{' | b'(' | b'[')).count();
    if query.len() > BATCH_DOCUMENT.0 || brackets > BATCH_DOCUMENT.1 {
        return false;
    }
    let Ok(document) = parse_query(query) else { return false };
    let operation = match (&document.operations, operation_name) {
        (DocumentOperations::Single(operation), None) => operation,
        (DocumentOperations::Multiple(all), Some(name)) => match all.get(name) {
            Some(operation) => operation,
            None => return false,
        },
        _ => return false,
    };
    let is_one = |selection: &Selection| match selection {
        Selection::Field(field) => BATCHES.contains(&field.node.name.node.as_str()),
        _ => false,
    };
    operation.node.ty == OperationType::Mutation
        && operation.node.selection_set.node.items.iter().all(|selection| is_one(&selection.node))
}

/// Returns the length of a string's content, given the text after its first quote.
pub(in crate::server) fn string(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = rest.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Returns whether a colon comes next, so that the string before it is the name of a field.
fn is_name(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Returns the length of the rest of a number or a word.
pub(in crate::server) fn word(rest: &[u8]) -> usize {
    let ends = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']' | b',' | b':') || byte.is_ascii_whitespace();
    rest.iter().position(ends).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn amount(text: &str) -> (usize, usize) {
        let Amount { values, nesting } = measure(text.as_bytes(), usize::MAX);
        (values, nesting)
    }

    #[test]
    fn values_are_counted_and_names_are_not() {
        assert_eq!(amount(r#"{"a": [1, -2.5e3, true, null, "x"], "bb" : {}}"#), (8, 2));
        assert_eq!(amount(r#""a\"b{[""#), (1, 0), "what is in a string is no bracket");
        assert_eq!(amount(""), (0, 0));
        assert_eq!(amount("\"\\"), (1, 0), "a string that never ends");
    }

    #[test]
    fn counting_stops_at_its_bound() {
        let long = format!("[{}1]", "{},".repeat(100_000));
        assert_eq!(measure(long.as_bytes(), 10).values, 11);
        let deep = "[".repeat(1_000_000);
        assert_eq!(measure(deep.as_bytes(), usize::MAX).nesting, NESTING_MAX + 1);
    }

    #[test]
    fn only_a_request_of_nothing_but_batches_is_one() {
        let is = |query: &str, name: Option<&str>| is_batch(query, name);
        assert!(is("mutation($i: IngestAlertsInput!) { a: ingestAlerts(input: $i) { created } }", None));
        assert!(!is("mutation { ingestAlerts(input: {}) { created } createIncident(input: {}) { changed } }", None));
        assert!(!is("query { ingestAlerts }", None), "a query of that name is none");
        assert!(!is("# ingestAlerts\n{ version }", None), "a comment is no field");
        assert!(!is("mutation { ... { ingestAlerts } }", None));
        let two = "mutation A { ingestAlerts } mutation B { createIncident }";
        assert!(is(two, Some("A")) && !is(two, Some("B")) && !is(two, None));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 80, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn count(value: &Value) -> (usize, usize) {
        let of = |values: &mut dyn Iterator<Item = &Value>| {
            values.map(count).fold((1, 1), |(sum, depth), (more, below)| (sum + more, depth.max(below + 1)))
        };
        match value {
            Value::Array(values) => of(&mut values.iter()),
            Value::Object(fields) => of(&mut fields.values()),
            _ => (1, 0),
        }
    }

    proptest! {
        #[test]
        fn what_a_parser_makes_is_what_was_counted(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let amount = measure(text.expect("JSON").as_bytes(), usize::MAX);
            prop_assert_eq!((amount.values, amount.nesting), count(&value));
        }

        #[test]
        fn any_bytes_are_measured_without_a_panic(bytes in any::<Vec<u8>>()) {
            measure(&bytes, 100);
        }
    }
}
