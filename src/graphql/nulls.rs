//! Nulls where the specification wants them (GraphQL, 6.4.4): a field that fails and may not be null makes the nearest
//! object around it null that may be. async-graphql leaves such a field out of its object, and a client that trusts the
//! schema would find a field missing that cannot be.

use std::collections::HashMap;
use std::sync::LazyLock;

use async_graphql::parser::types::{
    BaseType, DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
    SelectionSet, Type, TypeKind, TypeSystemDefinition,
};
use async_graphql::parser::{parse_query, parse_schema};
use async_graphql::{Name, PathSegment, Response, Value};

/// The fields of each object and interface of the schema.
static FIELDS: LazyLock<HashMap<Name, HashMap<Name, Type>>> = LazyLock::new(|| {
    let mut types = HashMap::new();
    for definition in parse_schema(super::sdl()).into_iter().flat_map(|schema| schema.definitions) {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let fields = match definition.node.kind {
            TypeKind::Object(object) => object.fields,
            TypeKind::Interface(interface) => interface.fields,
            _ => continue,
        };
        let fields = fields.into_iter().map(|field| (field.node.name.node, field.node.ty.node)).collect();
        types.insert(definition.node.name.node, fields);
    }
    types
});

/// The response with every failed field where the specification wants it. Costs nothing where nothing failed.
#[must_use]
pub fn settle(mut response: Response, query: &str, operation_name: Option<&str>) -> Response {
    if response.errors.is_empty() || response.data == Value::Null {
        return response;
    }
    // It was parsed and judged before, so this does not fail; if it did, the response would stay as it is.
    let Ok(document) = parse_query(query) else { return response };
    let Some(operation) = operation(&document, operation_name) else { return response };
    let root = Name::new(match operation.ty {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    });
    let walk = Walk { document: &document };
    for error in &response.errors {
        let chosen = vec![(&root, &operation.selection_set.node)];
        if !error.path.is_empty() && walk.object(&mut response.data, &chosen, &error.path) == Standing::Falls {
            response.data = Value::Null;
        }
    }
    response
}

fn operation<'d>(document: &'d ExecutableDocument, name: Option<&str>) -> Option<&'d OperationDefinition> {
    match &document.operations {
        DocumentOperations::Single(operation) => Some(&operation.node),
        DocumentOperations::Multiple(named) => named.get(name?).map(|operation| &operation.node),
    }
}

/// Whether a value stays, or must become null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Holds,
    Falls,
}

/// Selections and the type that each is made on: several where fields of one name merge.
type Chosen<'d> = Vec<(&'d Name, &'d SelectionSet)>;

struct Walk<'d> {
    document: &'d ExecutableDocument,
}

impl<'d> Walk<'d> {
    /// Follows the path of an error below a value of this type.
    fn value(&self, value: &mut Value, ty: &Type, fields: &[&'d Field], path: &[PathSegment]) -> Standing {
        match (&ty.base, value, path) {
            (_, Value::Null, _) => Standing::Falls,
            (_, _, []) => Standing::Holds,
            (BaseType::List(of), Value::List(items), [PathSegment::Index(index), rest @ ..]) => {
                match items.get_mut(*index) {
                    Some(item) => match self.value(item, of, fields, rest) {
                        Standing::Falls if of.nullable => {
                            *item = Value::Null;
                            Standing::Holds
                        }
                        standing => standing,
                    },
                    None => Standing::Falls,
                }
            }
            (BaseType::Named(_), value, path) => {
                let Some(name) = FIELDS.get_key_value(base(ty)).map(|(name, _)| name) else {
                    // A union: its fragments say on which type.
                    let chosen = fields.iter().map(|field| (&*ANYTHING, &field.selection_set.node)).collect();
                    return self.object(value, &chosen, path);
                };
                let chosen = fields.iter().map(|field| (name, &field.selection_set.node)).collect();
                self.object(value, &chosen, path)
            }
            _ => Standing::Holds,
        }
    }

    fn object(&self, value: &mut Value, chosen: &Chosen<'d>, path: &[PathSegment]) -> Standing {
        let (Value::Object(object), [PathSegment::Field(key), rest @ ..]) = (value, path) else {
            return Standing::Holds;
        };
        let mut found = Vec::new();
        for (on, set) in chosen {
            self.find(on, set, key, &mut found);
        }
        let Some(ty) = found.iter().find_map(|(on, field)| FIELDS.get(*on)?.get(&field.name.node)) else {
            return Standing::Holds;
        };
        let fields: Vec<&Field> = found.iter().map(|(_, field)| *field).collect();
        let standing = match object.get_mut(key.as_str()) {
            Some(value) => self.value(value, ty, &fields, rest),
            None => Standing::Falls,
        };
        if standing == Standing::Falls && ty.nullable {
            object.insert(Name::new(key), Value::Null);
            return Standing::Holds;
        }
        standing
    }

    /// The fields that answer to this name in a selection on this type, fragments written out.
    fn find(&self, on: &'d Name, set: &'d SelectionSet, key: &str, found: &mut Vec<(&'d Name, &'d Field)>) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) if field.node.response_key().node == key => found.push((on, &field.node)),
                Selection::Field(_) => {}
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref().map_or(on, |condition| &condition.node.on.node);
                    self.find(on, &fragment.node.selection_set.node, key, found);
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.node.fragment_name.node) {
                        let fragment = &fragment.node;
                        self.find(&fragment.type_condition.node.on.node, &fragment.selection_set.node, key, found);
                    }
                }
            }
        }
    }
}

static ANYTHING: LazyLock<Name> = LazyLock::new(|| Name::new(""));

/// The name of a type that is no list.
fn base(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(of) => base(of),
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::{PathSegment, Pos, ServerError};
    use serde_json::{Value, json};

    use super::*;

    /// A response of `data` in which the field at `path` failed.
    fn settled(query: &str, data: Value, path: &[Value]) -> Value {
        let mut error = ServerError::new("failed", Some(Pos::default()));
        error.path = path
            .iter()
            .map(|step| match step {
                Value::String(key) => PathSegment::Field(key.clone()),
                step => PathSegment::Index(step.as_u64().expect("an index") as usize),
            })
            .collect();
        let mut response = Response::new(async_graphql::Value::from_json(data).expect("a value"));
        response.errors.push(error);
        settle(response, query, None).data.into_json().expect("JSON")
    }

    #[test]
    fn a_root_that_may_not_be_null_takes_all_with_it() {
        let query = "{ a: incidents(first: 101) { totalCount } b: incidents { totalCount } }";
        assert_eq!(settled(query, json!({ "b": { "totalCount": 0 } }), &[json!("a")]), Value::Null);
    }

    #[test]
    fn the_nearest_object_that_may_be_null_becomes_it() {
        let query = "query { incident(number: 1) { title ...More } } fragment More on Incident { comments(first: 101) { totalCount } }";
        let data = json!({ "incident": { "title": "Beaconing" } });
        assert_eq!(settled(query, data, &[json!("incident"), json!("comments")]), json!({ "incident": null }));
    }

    #[test]
    fn a_field_that_may_be_null_is_null_and_no_more() {
        let query = "{ incident(number: 1) { title } viewer { __typename } }";
        let data = json!({ "viewer": { "__typename": "Viewer" } });
        let expected = json!({ "incident": null, "viewer": { "__typename": "Viewer" } });
        assert_eq!(settled(query, data, &[json!("incident")]), expected);
    }

    #[test]
    fn an_item_of_a_list_falls_alone_where_it_may() {
        let query = "{ nodes(ids: [\"a\", \"b\"]) { id ... on Incident { comments(first: 101) { totalCount } } } }";
        let data = json!({ "nodes": [{ "id": "a" }, { "id": "b" }] });
        let path = [json!("nodes"), json!(1), json!("comments")];
        assert_eq!(settled(query, data, &path), json!({ "nodes": [{ "id": "a" }, null] }));
    }

    #[test]
    fn a_list_whose_items_may_not_be_null_falls_with_one() {
        let query = "{ incidents { nodes { title comments(first: 101) { totalCount } } } }";
        let data = json!({ "incidents": { "nodes": [{ "title": "a" }, { "title": "b" }] } });
        let path = [json!("incidents"), json!("nodes"), json!(0), json!("comments")];
        assert_eq!(settled(query, data, &path), Value::Null, "nothing on the way up may be null");
    }
}
