//! Checks the lengths of the lists in a request against their bounds (`graphql/bounds.rs`).
//!
//! The lists that a document writes are checked once, with the document (`literal.rs`). The lists in variables are
//! checked here for each request, on the text, before coercion. A variable that is itself a list has the smallest bound
//! of the places where it is used.

use async_graphql::{
    Pos, ServerError,
    parser::types::{BaseType, Type},
};

use super::ast::OperationNode;
use super::catalogue::{Catalogue, InfoKind};
use super::coerce;
use super::fault::{LastStep, Path, too_long};
use super::given::{GivenItem, Json};

/// Checks the lists in a request's variables. For each variable that the operation declares, `bounds` has the bound of
/// the list that it is, and `given` has its item.
pub(super) fn judge(
    catalogue: &Catalogue,
    operation: &OperationNode,
    bounds: &[Option<usize>],
    given: &[Option<GivenItem<'_>>],
) -> Result<(), ServerError> {
    for ((variable, bound), given) in operation.variables.iter().zip(bounds).zip(given) {
        let Some(item) = given else { continue };
        let lists = ListCheck { catalogue, pos: variable.pos };
        lists.value(&variable.ty, *bound, *item, &Path { parent: None, step: LastStep::Variable(&variable.name) })?;
    }
    Ok(())
}

struct ListCheck<'c> {
    catalogue: &'c Catalogue,
    /// The place where the variable is declared.
    pos: Pos,
}

impl ListCheck<'_> {
    fn value(&self, ty: &Type, bound: Option<usize>, item: GivenItem<'_>, path: &Path<'_>) -> Result<(), ServerError> {
        let json = item.read();
        if let (Json::List(items), Some(bound)) = (&json, bound) {
            let count = items.length();
            if count > bound {
                return Err(too_long(&path.to_string(), count, bound, self.pos));
            }
        }
        match (&ty.base, json) {
            (BaseType::List(of), Json::List(items)) if self.holds_lists(of) => {
                items.enumerate().try_for_each(|(index, item)| {
                    self.value(of, None, item, &Path { parent: Some(path), step: LastStep::Index(index) })
                })
            }
            // A single value stands for a list of it.
            (BaseType::List(of), Json::Object(_)) => self.value(of, None, item, path),
            (BaseType::Named(name), Json::Object(given)) => match self.catalogue.get(name).map(|info| &info.kind) {
                Some(InfoKind::Input { fields, .. }) => {
                    // Coercion refuses unknown fields.
                    coerce::known(fields, given, |_| ()).into_iter().try_for_each(|(field, item)| {
                        let info = &fields[field];
                        let path = Path { parent: Some(path), step: LastStep::Field(&info.name) };
                        self.value(&info.ty, info.bound, item, &path)
                    })
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn holds_lists(&self, ty: &Type) -> bool {
        self.catalogue.base(ty).is_some_and(|info| matches!(info.kind, InfoKind::Input { .. }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, VecDeque};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use async_graphql::Value;
    use async_graphql::parser::parse_schema;
    use async_graphql::parser::types::{InputValueDefinition, TypeKind, TypeSystemDefinition};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::graphql::bounds::LISTS;
    use crate::graphql::error::code_of;
    use crate::server::operation::Parameters;
    use crate::server::operation::catalogue::base_name;
    use crate::server::operation::given;
    use crate::server::operation::limits::DocumentLimits;
    use crate::server::operation::operations::Operations;

    /// The inputs of the schema.
    #[derive(Default)]
    struct Inputs {
        /// The fields of each input type: name, type, and whether a value is required.
        fields: BTreeMap<String, Vec<(String, Type, bool)>>,
        /// Input types that take exactly one field.
        one_of: BTreeSet<String>,
        /// The first word of each enumeration.
        words: BTreeMap<String, String>,
        /// Arguments: the type and the field that they belong to, then name, type and whether a value is required.
        arguments: Vec<(String, String, (String, Type, bool))>,
    }

    impl Inputs {
        /// Returns a value of a type, with the fields that it requires.
        fn sample(&self, ty: &Type) -> Given {
            if matches!(ty.base, BaseType::List(_)) {
                return Given { literal: "[]".to_owned(), json: json!([]) };
            }
            let base = base_name(ty).as_str();
            match (base, self.words.get(base)) {
                (_, Some(word)) => Given { literal: word.clone(), json: json!(word) },
                ("Int", _) => Given { literal: "1".to_owned(), json: json!(1) },
                ("ID" | "String", _) => Given { literal: "\"a\"".to_owned(), json: json!("a") },
                _ => self.object(base, None),
            }
        }

        /// Returns an object of a type, with the given field and the fields that it requires.
        fn object(&self, base: &str, given: Option<(&str, Given)>) -> Given {
            let fields = self.fields.get(base).into_iter().flatten();
            let is_given = |field: &str| given.as_ref().is_some_and(|(name, _)| *name == field);
            let mut all: Vec<(&str, Given)> = match &given {
                None if self.one_of.contains(base) => {
                    fields.take(1).map(|(field, ty, _)| (field.as_str(), self.sample(ty))).collect()
                }
                _ => {
                    let needed = fields.filter(|(field, _, required)| *required && !is_given(field));
                    needed.map(|(field, ty, _)| (field.as_str(), self.sample(ty))).collect()
                }
            };
            all.extend(given);
            let literal: String = all.iter().map(|(field, value)| format!("{field}: {} ", value.literal)).collect();
            let json = all.into_iter().map(|(field, value)| (field.to_owned(), value.json)).collect();
            Given { literal: format!("{{{literal}}}"), json: Json::Object(json) }
        }
    }

    fn inputs() -> Inputs {
        let mut inputs = Inputs::default();
        let named = |input: InputValueDefinition| {
            let required = !input.ty.node.nullable && input.default_value.is_none();
            (input.name.node.to_string(), input.ty.node, required)
        };
        for definition in parse_schema(crate::graphql::sdl()).expect("SDL").definitions {
            let TypeSystemDefinition::Type(definition) = definition else { continue };
            let of = definition.node.name.node.to_string();
            let fields = match definition.node.kind {
                TypeKind::InputObject(input) => {
                    if definition.node.directives.iter().any(|directive| directive.node.name.node == "oneOf") {
                        inputs.one_of.insert(of.clone());
                    }
                    inputs.fields.insert(of, input.fields.into_iter().map(|field| named(field.node)).collect());
                    continue;
                }
                TypeKind::Enum(words) => {
                    inputs.words.insert(of, words.values[0].node.value.node.to_string());
                    continue;
                }
                TypeKind::Object(object) => object.fields,
                TypeKind::Interface(interface) => interface.fields,
                TypeKind::Scalar | TypeKind::Union(_) => continue,
            };
            for field in fields.into_iter().map(|field| field.node) {
                for argument in field.arguments.into_iter().map(|argument| named(argument.node)) {
                    inputs.arguments.push((of.clone(), field.name.node.to_string(), argument));
                }
            }
        }
        inputs
    }

    /// A value, as a literal of a document and as JSON.
    #[derive(Clone)]
    struct Given {
        literal: String,
        json: Json,
    }

    impl Given {
        fn list(self, count: usize) -> Self {
            let literal = format!("[{}]", vec![self.literal; count].join(","));
            Self { literal, json: Json::Array(vec![self.json; count]) }
        }
    }

    /// A path from a request to a place that takes a list: an argument of a root field, and fields of inputs from
    /// there.
    #[derive(Clone)]
    struct Way {
        root: &'static str,
        field: String,
        argument: String,
        /// The other arguments that the field requires.
        beside: String,
        ty: Type,
        steps: Vec<(String, Type)>,
    }

    impl Way {
        fn last(&self) -> &Type {
            self.steps.last().map_or(&self.ty, |(_, ty)| ty)
        }

        fn request(&self, variables: &str, argument: &str) -> String {
            let Self { root, field, argument: name, beside, .. } = self;
            format!("{root}{variables} {{ {field}({name}: {argument} {beside}) {{ __typename }} }}")
        }

        /// Returns the argument that holds a value at the place, and the path of the place below the argument.
        fn around(&self, inputs: &Inputs, value: Given) -> (Given, String) {
            let (mut value, mut path) = (value, String::new());
            for (at, (field, _)) in self.steps.iter().enumerate().rev() {
                path = format!(".{field}{path}");
                let above = if at == 0 { &self.ty } else { &self.steps[at - 1].1 };
                value = inputs.object(base_name(above), Some((field, value)));
                if matches!(above.base, BaseType::List(_)) {
                    path = format!(".0{path}");
                    value = value.list(1);
                }
            }
            (value, path)
        }
    }

    /// Returns the shortest path to each place of the schema that takes a list.
    fn ways(inputs: &Inputs) -> BTreeMap<String, Way> {
        let roots = [("Query", "query"), ("Mutation", "mutation"), ("Subscription", "subscription")];
        let mut open: VecDeque<(String, Way)> = VecDeque::new();
        for (of, field, (argument, ty, _)) in &inputs.arguments {
            let Some((_, root)) = roots.iter().find(|(name, _)| name == of) else { continue };
            let needed = inputs
                .arguments
                .iter()
                .filter(|(on, other, (name, _, required))| *required && on == of && other == field && name != argument);
            let beside =
                needed.map(|(_, _, (name, ty, _))| format!("{name}: {} ", inputs.sample(ty).literal)).collect();
            let (place, field, argument) = (format!("{of}.{field}({argument})"), field.clone(), argument.clone());
            open.push_back((place, Way { root, field, argument, beside, ty: ty.clone(), steps: Vec::new() }));
        }
        let (mut found, mut seen) = (BTreeMap::new(), BTreeSet::new());
        while let Some((place, way)) = open.pop_front() {
            let base = base_name(way.last()).to_string();
            if matches!(way.last().base, BaseType::List(_)) || base == "JSON" {
                found.entry(place).or_insert_with(|| way.clone());
            }
            if !seen.insert(base.clone()) {
                continue;
            }
            for (field, ty, _) in inputs.fields.get(&base).into_iter().flatten() {
                let mut way = way.clone();
                way.steps.push((field.clone(), ty.clone()));
                open.push_back((format!("{base}.{field}"), way));
            }
        }
        found
    }

    fn operations() -> Operations {
        let roomy = DocumentLimits {
            document_bytes: usize::MAX,
            tokens: usize::MAX,
            cost: usize::MAX,
            ..DocumentLimits::default()
        };
        let catalogue = Catalogue::read(&crate::graphql::sdl(), crate::graphql::scalar_objection);
        Operations::new(Arc::new(catalogue.expect("the schema")), roomy)
    }

    fn variables(json: &Json) -> given::Given {
        given::Given::read(&json.to_string()).expect("an object")
    }

    /// Returns the path and the bound of each refusal with `LIMIT`.
    fn limits(operations: &Operations, text: &str, json: &Json) -> Vec<(String, u64)> {
        let refused = operations.prepare(text, None, &variables(json)).err().unwrap_or_default();
        let limit = |error: &ServerError| {
            let Some(Value::Object(now)) = error.extensions.as_ref()?.get("now") else { return None };
            let Some(Value::Number(bound)) = now.get("limit") else { return None };
            let Some(Value::String(path)) = error.extensions.as_ref()?.get("path") else { return None };
            Some((path.clone(), bound.as_u64()?))
        };
        refused.iter().filter(|error| code_of(error) == Some("LIMIT")).filter_map(limit).collect()
    }

    #[test]
    fn each_list_of_the_schema_has_one_bound() {
        let inputs = inputs();
        let is_list = |ty: &Type| matches!(ty.base, BaseType::List(_));
        let fields = inputs
            .fields
            .iter()
            .flat_map(|(of, fields)| fields.iter().map(move |(field, ty, _)| (format!("{of}.{field}"), ty)));
        let arguments =
            inputs.arguments.iter().map(|(of, field, (argument, ty, _))| (format!("{of}.{field}({argument})"), ty));
        let places: BTreeMap<String, &Type> = fields.chain(arguments).collect();
        let known: BTreeSet<&str> = LISTS.iter().map(|(place, _)| *place).collect();
        assert!(known.len() == LISTS.len() && LISTS.is_sorted(), "each place stands once, by its name");
        let unbounded: Vec<_> =
            places.iter().filter(|(place, ty)| is_list(ty) && !known.contains(place.as_str())).collect();
        assert!(unbounded.is_empty(), "give these a bound in graphql/bounds.rs: {unbounded:?}");
        for place in known {
            let ty = places.get(place).unwrap_or_else(|| panic!("the schema has no {place}"));
            assert!(is_list(ty) || base_name(ty) == "JSON", "{place} takes no list");
            // The bound of a list does not apply to lists inside it.
            assert!(!matches!(&ty.base, BaseType::List(of) if is_list(of)), "{place} takes lists of lists");
        }
    }

    #[test]
    fn each_bound_is_held_in_literals_and_in_variables() {
        let (inputs, operations) = (inputs(), operations());
        let ways = ways(&inputs);
        for (place, bound) in LISTS {
            let way = ways.get(place).unwrap_or_else(|| panic!("no request comes to {place}"));
            let of = Type { base: BaseType::Named(base_name(way.last()).clone()), nullable: true };
            let item = inputs.sample(&of);
            for (count, passed) in [(bound, false), (bound + 1, true)] {
                let list = item.clone().list(count);
                let (argument, path) = way.around(&inputs, list.clone());
                let told =
                    |start: &str| if passed { vec![(format!("{start}{path}"), bound as u64)] } else { Vec::new() };
                let written = way.request("", &argument.literal);
                assert_eq!(limits(&operations, &written, &json!({})), told(&way.argument), "{place}, {count} written");
                let whole = way.request(&format!("($v: {})", way.ty), "$v");
                let given = json!({ "v": argument.json });
                assert_eq!(limits(&operations, &whole, &given), told("variables.v"), "{place}, {count} in a variable");
                let variable = Given { literal: "$v".to_owned(), json: json!(null) };
                let ty = Type { nullable: false, ..way.last().clone() };
                let alone = way.request(&format!("($v: {ty})"), &way.around(&inputs, variable).0.literal);
                let told = if passed { vec![("variables.v".to_owned(), bound as u64)] } else { Vec::new() };
                assert_eq!(limits(&operations, &alone, &json!({ "v": list.json })), told, "{place}, {count} as one");
            }
        }
    }

    #[test]
    fn a_variable_has_the_smallest_bound_of_its_places_and_its_default_too() {
        let operations = operations();
        let both = "mutation($t: [String!]!) {
                bulkUpdateIncidents(input: { target: { filter: { product: $t } }, edit: {} }) { total } ...More }
            fragment More on Mutation { addTags(input: { incidentId: \"incident:1\", tags: $t }) { changed } }";
        let given = |count: usize| json!({ "t": vec!["a"; count] });
        assert_eq!(limits(&operations, both, &given(100)), []);
        assert_eq!(limits(&operations, both, &given(101)), [("variables.t".to_owned(), 100)]);
        let order = |keys: usize| {
            let keys = "{ field: TITLE } ".repeat(keys);
            format!("query($o: [IncidentOrderInput!] = [{keys}]) {{ incidents(orderBy: $o) {{ totalCount }} }}")
        };
        assert_eq!(limits(&operations, &order(3), &json!({})), []);
        assert_eq!(limits(&operations, &order(4), &json!({})), [("variables.o".to_owned(), 3)]);
    }

    /// Returns the CPU time of this thread, if the system reports it.
    fn computed() -> Option<Duration> {
        let times = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(Duration::from_nanos(times.split(' ').next()?.parse().ok()?))
    }

    /// Takes the least of five runs. A build without optimisation may take ten times as long.
    #[test]
    fn a_body_of_ten_megabytes_is_refused_quickly() {
        let operations = operations();
        let ingest = "mutation($i: IngestAlertsInput!) { ingestAlerts(input: $i) { created } }";
        let alerts = |count: usize, title: usize| {
            let alert = json!({ "provider": "p", "providerAlertId": "1", "title": "x".repeat(title) });
            json!({ "query": ingest, "variables": { "i": { "alerts": vec![alert; count] } } }).to_string()
        };
        let text = json!({ "query": "{ version }", "variables": { "v": vec!["x".repeat(520); 20_500] } }).to_string();
        for body in [alerts(5_001, 2_100), alerts(38_000, 250), text] {
            assert!(body.len() > 10 << 20, "{} bytes", body.len());
            let spent = (0..5).map(|_| {
                let (begun, before) = (Instant::now(), computed());
                let refused = match Parameters::read("body", &body) {
                    Ok(asked) => operations.prepare(&asked.query, None, &asked.variables).is_err(),
                    Err(_) => true,
                };
                assert!(refused);
                before.and_then(|before| Some(computed()? - before)).unwrap_or_else(|| begun.elapsed())
            });
            let (least, times) = (spent.min().unwrap_or_default(), if cfg!(debug_assertions) { 10 } else { 1 });
            assert!(least < Duration::from_millis(100) * times, "{least:?}");
        }
    }
}
