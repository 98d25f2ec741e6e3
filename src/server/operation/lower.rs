//! Lowers the canonical operation to the document that the library executes.
//!
//! The library answers `null` for an object without selected fields, and does not name the type of an object. So such
//! selections ask for `__typename` as [`TAG`], a name that no client can write. `answer.rs` reads and removes it.

use async_graphql::{
    Name, Pos, Positioned,
    parser::types::{
        DocumentOperations, ExecutableDocument, Field as Asked, InlineFragment, OperationDefinition, OperationType,
        Selection as Item, SelectionSet, Type, TypeCondition, VariableDefinition,
    },
};

use super::canonical::{Field, Selection};

/// The name in the answer of an added `__typename`. The grammar has no empty name.
pub(super) const TAG: &str = "";

/// Makes the document for the library. `variables` are the used variables with their types.
pub(super) fn document(
    ty: OperationType,
    root: &Selection,
    variables: impl Iterator<Item = (Name, Type)>,
) -> ExecutableDocument {
    let at = Pos::default();
    let definition = |(name, ty)| {
        let definition = VariableDefinition {
            name: Positioned::new(name, at),
            var_type: Positioned::new(ty, at),
            directives: Vec::new(),
            default_value: None,
        };
        Positioned::new(definition, at)
    };
    let operation = OperationDefinition {
        ty,
        variable_definitions: variables.map(definition).collect(),
        directives: Vec::new(),
        selection_set: Positioned::new(selection_set(root), at),
    };
    ExecutableDocument {
        operations: DocumentOperations::Single(Positioned::new(operation, at)),
        fragments: std::collections::HashMap::new(),
    }
}

/// Copies a document without the selections below its root fields.
pub(super) fn without_selections(document: &ExecutableDocument) -> ExecutableDocument {
    let bare = |item: &Positioned<Item>| match &item.node {
        Item::Field(field) => {
            let asked = Asked {
                alias: field.node.alias.clone(),
                name: field.node.name.clone(),
                arguments: field.node.arguments.clone(),
                directives: field.node.directives.clone(),
                selection_set: Positioned::default(),
            };
            Positioned::new(Item::Field(Positioned::new(asked, field.pos)), item.pos)
        }
        other => Positioned::new(other.clone(), item.pos),
    };
    let operations = match &document.operations {
        DocumentOperations::Single(operation) => {
            let OperationDefinition { ty, variable_definitions, directives, selection_set } = &operation.node;
            let items = selection_set.node.items.iter().map(bare).collect();
            let bare = OperationDefinition {
                ty: *ty,
                variable_definitions: variable_definitions.clone(),
                directives: directives.clone(),
                selection_set: Positioned::new(SelectionSet { items }, selection_set.pos),
            };
            DocumentOperations::Single(Positioned::new(bare, operation.pos))
        }
        several @ DocumentOperations::Multiple(_) => several.clone(),
    };
    ExecutableDocument { operations, fragments: document.fragments.clone() }
}

fn selection_set(selection: &Selection) -> SelectionSet {
    let mut items = Vec::new();
    if selection.is_tagged {
        items.push(tag());
    }
    match &selection.groups[..] {
        [only] => items.extend(only.fields.iter().map(field)),
        several => {
            // The abstract type selects common fields, once.
            let common = several.first().into_iter().flat_map(|group| &group.fields).filter(|field| field.is_common);
            items.extend(common.map(field));
            for group in several {
                let own: Vec<Positioned<Item>> = group.fields.iter().filter(|it| !it.is_common).map(field).collect();
                if !own.is_empty() {
                    items.extend(group.types.iter().map(|ty| on_type(ty, own.clone())));
                }
            }
        }
    }
    SelectionSet { items }
}

fn tag() -> Positioned<Item> {
    let at = Pos::default();
    let asked = Asked {
        alias: Some(Positioned::new(Name::new(TAG), at)),
        name: Positioned::new(Name::new("__typename"), at),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::default(),
    };
    Positioned::new(Item::Field(Positioned::new(asked, at)), at)
}

fn on_type(ty: &Name, items: Vec<Positioned<Item>>) -> Positioned<Item> {
    let at = items.first().map_or_else(Pos::default, |item| item.pos);
    let inline = InlineFragment {
        type_condition: Some(Positioned::new(TypeCondition { on: Positioned::new(ty.clone(), at) }, at)),
        directives: Vec::new(),
        selection_set: Positioned::new(SelectionSet { items }, at),
    };
    Positioned::new(Item::InlineFragment(Positioned::new(inline, at)), at)
}

fn field(field: &Field) -> Positioned<Item> {
    let pos = field.pos;
    let argument = |(name, pos, value): &(Name, Pos, async_graphql_value::Value)| {
        (Positioned::new(name.clone(), *pos), Positioned::new(value.clone(), *pos))
    };
    let asked = Asked {
        alias: (field.key != field.name).then(|| Positioned::new(field.key.clone(), pos)),
        name: Positioned::new(field.name.clone(), pos),
        arguments: field.arguments.iter().map(argument).collect(),
        directives: Vec::new(),
        selection_set: Positioned::new(field.selection.as_deref().map(selection_set).unwrap_or_default(), pos),
    };
    Positioned::new(Item::Field(Positioned::new(asked, pos)), pos)
}
