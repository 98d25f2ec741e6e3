//! The cost of a document before its execution: by the types of its fields, and pages by their arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{BaseType, TypeKind, TypeSystemDefinition};
use serde_json::json;
use watchfloor::server::operation::catalogue::Catalogue;
use watchfloor::server::operation::given::Given;
use watchfloor::server::operation::limits::DocumentLimits;
use watchfloor::server::operation::operations::Operations;
use watchfloor::server::operation::prices::PRICES;

/// Returns the fields of the schema's objects, and whether each is a list without pages.
fn fields() -> BTreeMap<String, bool> {
    let mut all = BTreeMap::new();
    for definition in parse_schema(watchfloor::graphql::sdl()).expect("SDL").definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let TypeKind::Object(object) = definition.node.kind else { continue };
        let is_connection = object.fields.iter().any(|field| field.node.name.node == "pageInfo");
        for field in object.fields.into_iter().map(|field| field.node) {
            let is_page = is_connection && ["nodes", "edges"].contains(&field.name.node.as_str());
            let is_list = matches!(field.ty.node.base, BaseType::List(_));
            all.insert(format!("{}.{}", definition.node.name.node, field.name.node), is_list && !is_page);
        }
    }
    all
}

#[test]
fn each_list_without_pages_has_a_price_and_each_price_a_field() {
    let fields = fields();
    let priced: BTreeSet<&str> = PRICES.iter().map(|(place, _)| *place).collect();
    assert!(priced.len() == PRICES.len() && PRICES.is_sorted_by_key(|(place, _)| *place), "each once, by its name");
    let lists = fields.iter().filter(|(_, is_list)| **is_list);
    let unpriced: Vec<_> = lists.map(|(place, _)| place).filter(|place| !priced.contains(place.as_str())).collect();
    assert!(unpriced.is_empty(), "give these a length in prices::PRICES: {unpriced:?}");
    for (place, price) in PRICES {
        let is_list = fields.get(place).unwrap_or_else(|| panic!("the schema has no {place}"));
        assert!(!is_list || price.items.is_some(), "{place} is a list and has no length");
    }
}

/// Returns the cost of a document whose variable `n` is 7.
#[track_caller]
fn cost_of(text: &str) -> usize {
    let catalogue = Catalogue::read(&watchfloor::graphql::sdl(), watchfloor::graphql::scalar_objection);
    let operations = Operations::new(Arc::new(catalogue.expect("the schema")), DocumentLimits::default());
    let variables = Given::read(&json!({ "n": 7 }).to_string()).expect("an object");
    operations.prepare(text, None, &variables).unwrap_or_else(|errors| panic!("{:?}", errors[0])).cost
}

#[test]
fn a_field_costs_what_its_type_says() {
    assert_eq!(cost_of("{ incident(by: { number: 1 }) { status tags { name } products } }"), 1 + 1 + (1 + 5) + (1 + 2));
    let facets = cost_of("{ incidents { facets { status { count } tags { count } } } }");
    assert_eq!(facets, 1 + (1 + (1 + 4) + (1 + 50)), "a page is multiplied where its items are, and nowhere else");
    let queue = "subscription { incidentQueue { ... on QueueUpdated { row { status } changedFields } } }";
    assert_eq!(cost_of(queue), 1 + (1 + 1) + (1 + 2));
    let either =
        "{ node(id: \"incident:1\") { ... on Incident { fullTitle } ... on Alert { title entities { kind } } } }";
    assert_eq!(cost_of(either), 1 + 250, "a thing is of one type, and the dearest counts");
}

#[test]
fn a_page_costs_what_its_arguments_say() {
    let page = |arguments: &str| {
        cost_of(&format!(
            "query($n: Int) {{ incidents{arguments} {{ nodes {{ id number }} }}
        a: incidents(first: $n) {{ totalCount }} }}"
        ))
    };
    let other = 1 + 1;
    assert_eq!(page("") - other, 1 + 1 + 50 * 2);
    assert_eq!(page("(first: 3)") - other, 1 + 1 + 3 * 2);
    assert_eq!(page("(last: $n)") - other, 1 + 1 + 7 * 2);
    let nested = "{ incidents(first: 3) { edges { node { alerts(first: 2) { totalCount nodes { id } } } } } }";
    assert_eq!(cost_of(nested), 1 + 1 + 3 * (1 + 1 + 1 + 1 + 2));
    assert_eq!(cost_of("{ nodes(ids: [\"a\", \"b\"]) { id } }"), 1 + 2);
    assert_eq!(cost_of("{ a: nodes(ids: [\"a\"]) { id } b: nodes(ids: [\"a\"]) { id } }"), 2 * (1 + 1), "each alias");
}
