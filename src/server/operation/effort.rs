//! Estimates the work of an operation before it is executed: from its fields, the passes over a queue that they take,
//! the texts in their filters, and the values that a mutation brings.
//!
//! Only the order of turns depends on the estimate: `searches.rs` of the schema refuses by the real work.

use async_graphql::parser::types::OperationType;
use async_graphql::{Name, Value, Variables};
use async_graphql_value::Value as Input;

use super::canonical::{Field, Selection};
use super::variable_uses::size;

/// The highest level that is not expensive: operations above it are estimated at a quarter of a second and more.
const DEAR: u8 = 8;

/// The time of one pass over a queue of ten thousand incidents, in microseconds. A field of an answer takes about 1 µs.
const PASS: usize = 15_000;

/// The time of one mutation and its commit, in microseconds.
const MUTATION: usize = 5_000;

/// The time of one value in a mutation, in microseconds: it is stored, and written to the log.
const VALUE: usize = 20;

/// The time of a read of a stream that goes on from a position, in microseconds: its start, or a batch of its backlog.
const BACKLOG: usize = 2_000;

/// Fields that count over a queue, and how many passes each takes besides the texts of its filter.
const NUMBERS: [(&str, usize); 2] = [("queueSummary", 4), ("responseTimes", 4)];

/// The field of a filter that searches for a text.
const TEXT: &str = "text";

/// The estimated work of an operation, in levels: each level is twice the level below, and the lowest is under 1 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effort(pub(in crate::server) u8);

impl Effort {
    /// Returns the level of an estimate in microseconds, on a desk of ten thousand open incidents.
    pub fn of_micros(micros: usize) -> Self {
        let millis = micros / 1_000;
        Self(millis.checked_ilog2().map_or(0, |level| level as u8 + 1))
    }

    /// Returns whether the operation is expensive: such operations have only a part of a principal's turns.
    pub fn is_dear(self) -> bool {
        self.0 > DEAR
    }
}

/// The part of an operation's work that does not depend on the values of variables.
#[derive(Debug, Default)]
pub(super) struct FixedWork {
    micros: usize,
    /// Variables in filters, and the number of searches that use each.
    filters: Vec<(Name, usize)>,
    /// Variables that are the text of a filter, and the number of searches that use each.
    texts: Vec<(Name, usize)>,
    /// Variables in the inputs of mutations.
    inputs: Vec<Name>,
}

impl FixedWork {
    /// Returns the work of an operation; `goes_on` is whether it goes on from a position.
    pub(super) fn of(ty: OperationType, root: &Selection, goes_on: bool) -> Self {
        let mut work = Self { micros: if goes_on { BACKLOG } else { 0 }, ..Self::default() };
        for field in root.fields_of_object() {
            match ty {
                OperationType::Mutation => {
                    work.micros = work.micros.saturating_add(MUTATION);
                    field.arguments.iter().for_each(|(.., input)| work.input(input));
                }
                OperationType::Query | OperationType::Subscription => work.field(field, true),
            }
        }
        work
    }

    /// Returns the level of the operation with these variables; `cost` is how many fields its answer may hold.
    pub(super) fn effort(&self, cost: usize, variables: &Variables) -> Effort {
        let value = |name: &Name| variables.get(name);
        let filters = self.filters.iter().filter_map(|(name, times)| Some(texts(value(name)?) * times));
        let looked_for = self.texts.iter().filter(|(name, _)| matches!(value(name), Some(Value::String(_))));
        let passes = filters.sum::<usize>() + looked_for.map(|(_, times)| times).sum::<usize>();
        let values: usize = self.inputs.iter().filter_map(value).map(size).sum();
        let micros = [passes.saturating_mul(PASS), values.saturating_mul(VALUE), cost];
        Effort::of_micros(micros.into_iter().fold(self.micros, usize::saturating_add))
    }

    fn field(&mut self, field: &Field, at_root: bool) {
        let Some(selection) = &field.selection else { return };
        let (passes, searches) = match NUMBERS.iter().find(|(name, _)| field.name == *name) {
            Some((_, passes)) => (*passes, 1),
            None if field.name == "incidents" || (at_root && field.name == "alerts") => queue(selection),
            None => {
                for field in selection.groups.iter().flat_map(|group| &group.fields) {
                    self.field(field, false);
                }
                return;
            }
        };
        self.micros = self.micros.saturating_add(passes.saturating_mul(PASS));
        if let Some(filter) = field.argument("filter") {
            self.filter(filter, searches, false);
        }
    }

    /// Counts the texts of a filter, each as often as the filter is searched by.
    fn filter(&mut self, given: &Input, searches: usize, is_text: bool) {
        match given {
            Input::Variable(name) if is_text => self.texts.push((name.clone(), searches)),
            Input::Variable(name) => self.filters.push((name.clone(), searches)),
            Input::String(_) if is_text => self.micros = self.micros.saturating_add(searches.saturating_mul(PASS)),
            Input::List(items) => items.iter().for_each(|item| self.filter(item, searches, false)),
            Input::Object(fields) => {
                fields.iter().for_each(|(name, value)| self.filter(value, searches, name == TEXT));
            }
            _ => {}
        }
    }

    fn input(&mut self, given: &Input) {
        match given {
            Input::Variable(name) => self.inputs.push(name.clone()),
            Input::List(items) => items.iter().for_each(|item| self.input(item)),
            Input::Object(fields) => fields.values().for_each(|value| self.input(value)),
            _ => {}
        }
        self.micros = self.micros.saturating_add(VALUE);
    }
}

/// Returns the passes over a queue that these fields take, and how many of them search by the filter.
fn queue(selection: &Selection) -> (usize, usize) {
    let (mut page, mut count, mut facets) = (0, 0, 0);
    for field in selection.groups.iter().flat_map(|group| &group.fields) {
        match (field.name.as_str(), &field.selection) {
            ("totalCount", _) => count = 1,
            ("facets", Some(of)) => facets += of.groups.iter().map(|group| group.fields.len()).sum::<usize>(),
            ("__typename" | "position" | "filter", _) => {}
            _ => page = 1,
        }
    }
    (page + count + 2 * facets, page + count + facets)
}

/// Counts the texts that a filter searches for.
fn texts(filter: &Value) -> usize {
    match filter {
        Value::List(items) => items.iter().map(texts).sum(),
        Value::Object(fields) => {
            let of = |(name, value): (&Name, &Value)| match value {
                Value::String(_) if name == TEXT => 1,
                value => texts(value),
            };
            fields.iter().map(of).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::server::desk::CATALOGUE;
    use crate::server::operation::given::Given;
    use crate::server::operation::limits::DocumentLimits;
    use crate::server::operation::operations::Operations;

    fn effort(text: &str, variables: &serde_json::Value) -> Effort {
        let operations = Operations::new(CATALOGUE.clone(), DocumentLimits::default());
        let given = Given::read(&variables.to_string()).expect("an object");
        operations.prepare(text, None, &given).expect("a valid operation").effort
    }

    #[test]
    fn what_is_searched_counts_beside_what_is_answered() {
        let page = effort("{ incidents(first: 20) { nodes { id number title } } }", &json!({}));
        let facets = "status { count } severity { count } owner { count } tags { count } product { count }";
        let wall =
            effort(&format!("{{ incidents {{ totalCount nodes {{ id }} facets {{ {facets} }} }} }}"), &json!({}));
        assert!(page < wall && !wall.is_dear(), "{page:?} {wall:?}");
        let text = "query($f: IncidentFilterInput) { incidents(filter: $f) { totalCount } }";
        let texts = |count: usize| json!({ "f": { "or": vec![json!({ "text": "beacon" }); count] } });
        assert!(effort(text, &texts(2)) > effort(text, &json!({})) && !effort(text, &texts(2)).is_dear());
        assert!(effort(text, &texts(20)).is_dear());
        let written =
            effort("{ incidents(filter: { or: [{ text: \"a\" }, { text: \"b\" }] }) { totalCount } }", &json!({}));
        assert_eq!(written, effort(text, &texts(2)), "whether it is written in the document or is a variable");
        let one = "query($t: String) { incidents(filter: { text: $t }) { totalCount } }";
        assert!(effort(one, &json!({ "t": "a" })) > effort(one, &json!({})));
        let twice = format!("{{ a: {0} b: {0} }}", "incidents(first: 20) { nodes { id number title } }");
        assert!(effort(&twice, &json!({})) > page, "each alias by itself");
    }

    #[test]
    fn a_stream_of_numbers_is_more_than_one_of_changes() {
        let queue = effort("subscription { incidentQueue { position } }", &json!({}));
        let numbers = effort("subscription { queueSummary { position } }", &json!({}));
        assert!(queue < numbers, "{queue:?} {numbers:?}");
    }

    #[test]
    fn a_mutation_is_as_much_as_it_brings() {
        let text = "mutation($i: IngestAlertsInput!) { ingestAlerts(input: $i) { position } }";
        let alert = json!({ "provider": "Defender", "providerAlertId": "1", "title": "A", "severity": "HIGH" });
        let alerts = |count: usize| json!({ "i": { "alerts": vec![alert.clone(); count] } });
        let (few, many) = (effort(text, &alerts(1)), effort(text, &alerts(4_000)));
        assert!(few < many && many.is_dear() && !few.is_dear(), "{few:?} {many:?}");
    }

    #[test]
    fn levels_double() {
        let level = |micros| Effort::of_micros(micros).0;
        assert_eq!([0, 999, 1_000, 1_999, 2_000, 4_000].map(level), [0, 0, 1, 1, 2, 3]);
        assert!(!Effort::of_micros(255_000).is_dear() && Effort::of_micros(256_000).is_dear());
        assert!(Effort::of_micros(usize::MAX).is_dear());
    }
}
