//! The selections of streams, kept once for all streams of one operation. async-graphql copies the document that it
//! gets, about 1 KB for every few fields. So it gets the root field without its selection, and the shared selection
//! resolves each item.

use std::any::TypeId;
use std::borrow::Cow;
use std::sync::Arc;

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
    VariableDefinition,
};
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, Name, OutputType, Pos, Positioned, Request, ServerResult, Value, Variables};

/// The whole document of a stream. It is in the data of its requests.
#[derive(Clone)]
pub struct Selected {
    document: Arc<ExecutableDocument>,
    /// The variables that the selection of the root field reads. In most streams the selection reads no variable.
    variables: Box<[(Name, Value)]>,
}

impl Selected {
    /// The document, and the variables that the selection of its root field reads.
    pub fn new(document: Arc<ExecutableDocument>, variables: impl Iterator<Item = (Name, Value)>) -> Self {
        Self { document, variables: variables.collect() }
    }

    /// Returns the `Selected` of a request.
    pub fn of(request: &Request) -> Option<&Self> {
        request.data.get(&TypeId::of::<Self>())?.downcast_ref()
    }

    /// Returns the document.
    pub fn document(&self) -> &ExecutableDocument {
        &self.document
    }

    fn operation(&self) -> Option<&OperationDefinition> {
        match &self.document.operations {
            DocumentOperations::Single(operation) => Some(&operation.node),
            DocumentOperations::Multiple(_) => None,
        }
    }

    fn root(&self) -> Option<&Positioned<Field>> {
        self.operation()?.selection_set.node.items.iter().find_map(|item| match &item.node {
            Selection::Field(field) => Some(field),
            Selection::InlineFragment(_) | Selection::FragmentSpread(_) => None,
        })
    }

    /// Returns the selection of the root field.
    pub fn of_root(&self) -> Option<&Positioned<SelectionSet>> {
        Some(&self.root()?.node.selection_set)
    }

    /// Whether the document selects a field with this name at any depth. A fragment counts as if it selected the field.
    pub fn selects(&self, field: &str) -> bool {
        self.of_root().is_some_and(|selected| selects(&selected.node, field))
    }

    /// Builds the request that executes one event: a query of the root field, without its arguments and its selection.
    pub fn of_an_event(&self) -> Request {
        let root = self.root().map(|root| {
            let field = Field {
                alias: root.node.alias.clone(),
                name: root.node.name.clone(),
                arguments: Vec::new(),
                directives: Vec::new(),
                selection_set: Positioned::default(),
            };
            Positioned::new(Selection::Field(Positioned::new(field, root.pos)), root.pos)
        });
        let given =
            |it: &&Positioned<VariableDefinition>| self.variables.iter().any(|(name, _)| *name == it.node.name.node);
        let definitions = self.operation().into_iter().flat_map(|operation| &operation.variable_definitions);
        let query = OperationDefinition {
            ty: OperationType::Query,
            variable_definitions: definitions.filter(given).cloned().collect(),
            directives: Vec::new(),
            selection_set: Positioned::new(SelectionSet { items: root.into_iter().collect() }, Pos::default()),
        };
        let mut variables = Variables::default();
        variables.extend(self.variables.iter().cloned());
        let mut request = Request::new(String::new()).variables(variables);
        request.set_parsed_query(ExecutableDocument {
            operations: DocumentOperations::Single(Positioned::new(query, Pos::default())),
            fragments: self.document.fragments.clone(),
        });
        request.data(self.clone())
    }
}

fn selects(set: &SelectionSet, name: &str) -> bool {
    set.items.iter().any(|item| match &item.node {
        Selection::Field(field) => field.node.name.node == name || selects(&field.node.selection_set.node, name),
        Selection::InlineFragment(fragment) => selects(&fragment.node.selection_set.node, name),
        Selection::FragmentSpread(_) => true,
    })
}

/// An item of a stream, resolved with the selection of its [`Selected`]. In the schema it is the item itself.
pub struct AsSelected<T>(pub T);

impl<T: OutputType> OutputType for AsSelected<T> {
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
        match ctx.data_opt::<Selected>().and_then(Selected::of_root) {
            Some(selected) => self.0.resolve(&ctx.with_selection_set(selected), field).await,
            None => self.0.resolve(ctx, field).await,
        }
    }
}
