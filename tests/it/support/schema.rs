//! The schema as tests of tables read it: the fields of a type, and the mutations whose input has a field.

use std::collections::BTreeSet;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};

/// The names of a type's fields, each with the base type of its first argument if it has arguments.
fn read(ty: &str) -> Vec<(String, Option<String>)> {
    let schema = parse_schema(watchfloor::graphql::sdl()).expect("SDL");
    let kind = schema.definitions.into_iter().find_map(|definition| match definition {
        TypeSystemDefinition::Type(found) if found.node.name.node == ty => Some(found.node.kind),
        _ => None,
    });
    let fields = match kind {
        Some(TypeKind::Object(object)) => object.fields,
        Some(TypeKind::Interface(interface)) => interface.fields,
        Some(TypeKind::InputObject(input)) => {
            return input.fields.into_iter().map(|field| (field.node.name.node.to_string(), None)).collect();
        }
        _ => panic!("{ty} is no type with fields"),
    };
    let first = |arguments: &[async_graphql::Positioned<async_graphql::parser::types::InputValueDefinition>]| {
        arguments.first().map(|argument| argument.node.ty.node.base.to_string())
    };
    fields.into_iter().map(|field| (field.node.name.node.to_string(), first(&field.node.arguments))).collect()
}

/// Returns the names of the fields of an object, an interface or an input.
pub(crate) fn fields_of(ty: &str) -> BTreeSet<String> {
    read(ty).into_iter().map(|(name, _)| name).collect()
}

/// Returns the names of the mutations whose input has this field.
pub(crate) fn mutations_with(field: &str) -> BTreeSet<String> {
    let has_field = |input: &Option<String>| input.as_ref().is_some_and(|input| fields_of(input).contains(field));
    read("Mutation").into_iter().filter(|(_, input)| has_field(input)).map(|(name, _)| name).collect()
}
