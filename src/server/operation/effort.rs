//! How much work an operation is likely to be, before it is executed: by its fields, by the passes over a queue that they take,
//! by the texts that their filters look for, and by the values that a mutation brings.
//!
//! An estimate, on which nothing but the order of turns depends: `searches.rs` of the schema refuses by what is really asked.

use async_graphql::parser::types::OperationType;
use async_graphql::{Name, Value, Variables};
use async_graphql_value::Value as Input;

use super::canonical::{Field, Selection};
use crate::server::multiplied::size;
use crate::server::turns::Effort;

/// One pass over a queue of ten thousand incidents, in microseconds. A field of an answer takes about one.
const PASS: usize = 15_000;

/// One mutation, its commit included, in microseconds.
const MUTATION: usize = 5_000;

/// One value that a mutation brings, in microseconds: it is written, and told in the log.
const VALUE: usize = 20;

/// A read of a stream that goes on from a position, in microseconds: it begins, or has one batch of its backlog.
const BACKLOG: usize = 2_000;

/// Fields that are counts over a queue, and how many passes each takes beside the texts of its filter.
const NUMBERS: [(&str, usize); 2] = [("queueSummary", 4), ("responseTimes", 4)];

/// The name of the field of a filter that looks for a text.
const TEXT: &str = "text";

/// What is known of the work of an operation whatever its variables are.
#[derive(Debug, Default)]
pub(super) struct Work {
    micros: usize,
    /// Variables in filters, and by how many searches each is used.
    filters: Vec<(Name, usize)>,
    /// Variables that are the text of a filter, likewise.
    texts: Vec<(Name, usize)>,
    /// Variables in the inputs of mutations.
    inputs: Vec<Name>,
}

impl Work {
    /// The work of an operation.
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

    /// The level of the operation with these variables; `cost` is how many fields its answer may hold.
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

/// The passes over a queue of which these fields are asked for, and how many searches by its filter they are.
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

/// How many texts a filter looks for.
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
    use crate::server::CATALOGUE;
    use crate::server::operation::given::Given;
    use crate::server::operation::limits::Limits;
    use crate::server::operation::operations::Operations;

    fn effort(text: &str, variables: &serde_json::Value) -> Effort {
        let operations = Operations::new(CATALOGUE.clone(), Limits::default());
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
}
