//! What streams select of their items, held once for all streams of one operation. The library copies the document that it
//! is given, for as long as the stream is there: a kilobyte for every few fields. So it is given the root field without its
//! selection, and each item is resolved by the shared one.

use std::borrow::Cow;
use std::sync::Arc;

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, OutputType, Positioned, ServerResult, Value};

/// The whole document of a stream. It travels in the data of its request.
pub struct Selected(pub Arc<ExecutableDocument>);

impl Selected {
    /// What is selected of the root field.
    pub fn of_root(&self) -> Option<&Positioned<SelectionSet>> {
        let DocumentOperations::Single(operation) = &self.0.operations else { return None };
        operation.node.selection_set.node.items.iter().find_map(|item| match &item.node {
            Selection::Field(field) => Some(&field.node.selection_set),
            Selection::InlineFragment(_) | Selection::FragmentSpread(_) => None,
        })
    }

    /// Whether a field of this name is asked of any item.
    pub fn selects(&self, field: &str) -> bool {
        self.of_root().is_some_and(|selected| selects(&selected.node, field))
    }
}

fn selects(set: &SelectionSet, name: &str) -> bool {
    set.items.iter().any(|item| match &item.node {
        Selection::Field(field) => field.node.name.node == name || selects(&field.node.selection_set.node, name),
        Selection::InlineFragment(fragment) => selects(&fragment.node.selection_set.node, name),
        Selection::FragmentSpread(_) => true,
    })
}

/// An item of a stream, on the heap: the library keeps room for several, as long as the stream is there. In the schema it is the
/// item itself.
pub struct Shown<T>(Box<T>);

impl<T> Shown<T> {
    /// This item.
    pub fn of(item: T) -> Self {
        Self(Box::new(item))
    }
}

impl<T: OutputType> OutputType for Shown<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn qualified_type_name() -> String {
        T::qualified_type_name()
    }

    fn introspection_type_name(&self) -> Cow<'static, str> {
        self.0.introspection_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        // On the heap while it lasts: mostly a stream waits.
        match ctx.data_opt::<Selected>().and_then(Selected::of_root) {
            Some(selected) => Box::pin(self.0.resolve(&ctx.with_selection_set(selected), field)).await,
            None => Box::pin(self.0.resolve(ctx, field)).await,
        }
    }
}
