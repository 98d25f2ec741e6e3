//! A subscription that a client asked for: what makes two of them one, and the position that tells them apart.
//!
//! The position is the argument `after` of the root field. Where it is a variable that stands nowhere else, it is left out
//! of the key: then clients at different positions ask for the same.

use std::collections::HashSet;
use std::sync::Arc;

use async_graphql::parser::types::{
    Directive, DocumentOperations, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Pos, Positioned, Request, Value, Variables};
use async_graphql_value::Value as Literal;
use sha2::{Digest, Sha256};

use super::operation::Ready;
use crate::domain::position::Position;
use crate::realtime::budget::Written;

/// The argument of a root field that names the position to go on from.
const AFTER: &str = "after";

/// What the bytes of a stream depend on: document, name of the operation, variables without the position, viewer's scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

/// A subscription that can be executed from any position. Those of one key differ in nothing.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    query: String,
    operation_name: Option<String>,
    variables: Variables,
    document: ExecutableDocument,
    /// The variable that holds the position, where that is all it is for.
    after: Option<Name>,
    words: Arc<Words>,
}

/// Where the client wants to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// At the present.
    Present,
    /// After this position.
    After(Position),
    /// After something that is no position: the schema says what is wrong with it.
    Unreadable,
}

/// What a subscription names, for whoever decides what its bytes depend on.
#[derive(Debug, Default)]
pub struct Words {
    root: String,
    fields: HashSet<String>,
    inputs: HashSet<String>,
    /// The variables, as often as they are used.
    uses: Vec<Name>,
}

impl Words {
    /// The name of the root field.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Whether a field of this name is selected anywhere.
    pub fn selects(&self, field: &str) -> bool {
        self.fields.contains(field)
    }

    /// Whether an argument, or a field of an input, of this name is given anywhere: in the document or in the variables.
    pub fn gives(&self, input: &str) -> bool {
        self.inputs.contains(input)
    }

    fn of(document: &ExecutableDocument, operation: &OperationDefinition, root: &Field, variables: &Variables) -> Self {
        let mut words = Self { root: root.name.node.to_string(), ..Self::default() };
        words.directives(&operation.directives);
        words.selection_set(&operation.selection_set.node);
        for fragment in document.fragments.values() {
            words.directives(&fragment.node.directives);
            words.selection_set(&fragment.node.selection_set.node);
        }
        let definitions = operation.variable_definitions.iter();
        definitions.filter_map(|it| it.node.default_value.as_ref()).for_each(|default| words.given(&default.node));
        variables.values().for_each(|value| words.given(value));
        words
    }

    fn selection_set(&mut self, set: &SelectionSet) {
        for selection in &set.items {
            self.directives(selection.node.directives());
            match &selection.node {
                Selection::Field(field) => {
                    self.fields.insert(field.node.name.node.to_string());
                    self.arguments(&field.node.arguments);
                    self.selection_set(&field.node.selection_set.node);
                }
                Selection::InlineFragment(fragment) => self.selection_set(&fragment.node.selection_set.node),
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn directives(&mut self, directives: &[Positioned<Directive>]) {
        directives.iter().for_each(|directive| self.arguments(&directive.node.arguments));
    }

    fn arguments(&mut self, arguments: &[(Positioned<Name>, Positioned<Literal>)]) {
        for (name, value) in arguments {
            self.inputs.insert(name.node.to_string());
            self.literal(&value.node);
        }
    }

    fn literal(&mut self, value: &Literal) {
        match value {
            Literal::Variable(name) => self.uses.push(name.clone()),
            Literal::List(values) => values.iter().for_each(|value| self.literal(value)),
            Literal::Object(fields) => {
                for (name, value) in fields {
                    self.inputs.insert(name.to_string());
                    self.literal(value);
                }
            }
            _ => {}
        }
    }

    fn given(&mut self, value: &Value) {
        match value {
            Value::List(values) => values.iter().for_each(|value| self.given(value)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.inputs.insert(name.to_string());
                    self.given(value);
                }
            }
            _ => {}
        }
    }
}

/// A subscription as it was asked for.
pub(crate) struct Reading<V> {
    /// What is to be executed.
    pub(crate) asked: Asked,
    /// For whom.
    pub(crate) viewer: V,
    /// From where.
    pub(crate) start: Start,
    /// With whom it may be shared; none where it may not.
    pub(crate) key: Option<Key>,
}

/// The name of a subscription's root field.
pub(crate) fn root<V>(ready: &Ready<V>) -> Option<&str> {
    let (_, root) = chosen(&ready.document, ready.operation_name.as_deref())?;
    Some(&root.name.node)
}

/// Reads a subscription. `last` is what the transport says of where the client is: it takes the place of the root field's
/// `after`. `scope` says what else its bytes depend on.
pub(crate) fn read<V>(
    ready: Ready<V>,
    last: Option<&str>,
    scope: impl FnOnce(&V, &Words) -> Option<Vec<u8>>,
) -> Reading<V> {
    let Ready { query, operation_name, mut variables, document, viewer, .. } = ready;
    let (mut after, mut start, mut words) = (None, Start::Unreadable, Words::default());
    if let Some((operation, root)) = chosen(&document, operation_name.as_deref()) {
        words = Words::of(&document, operation, root, &variables);
        after = sole_variable(operation, root, &words);
        start = match last {
            Some(last) => Position::parse(last).map_or(Start::Unreadable, Start::After),
            None => begins(operation, root, &variables),
        };
        if !matches!(start, Start::Unreadable) {
            // One with a default value means something when it is left out, so it stays where it is.
            if let Some((name, _)) = after.as_ref().filter(|(_, has_default)| !has_default) {
                variables.remove(name);
            }
        }
    }
    let after = after.map(|(name, _)| name);
    let mut asked = Asked { query, operation_name, variables, document, after, words: Arc::new(words) };
    let scope = if matches!(start, Start::Unreadable) { None } else { scope(&viewer, &asked.words) };
    let key = scope.map(|scope| asked.key(&scope));
    if let (Start::Unreadable, Some(last)) = (start, last) {
        asked.put(last.to_owned());
    }
    Reading { asked, viewer, start, key }
}

impl Asked {
    /// What it names.
    pub(crate) fn words(&self) -> &Words {
        &self.words
    }

    /// The key of those who ask for it in this scope.
    pub(crate) fn key(&self, scope: &[u8]) -> Key {
        let variables = serde_json::to_string(&self.variables).unwrap_or_default();
        let operation_name = self.operation_name.as_deref().unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [self.query.as_bytes(), operation_name.as_bytes(), variables.as_bytes(), scope] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Key(hash.finalize().into())
    }

    /// How much text it was asked for with.
    pub(crate) fn written(&self) -> Written {
        Written(self.query.len() + serde_json::to_string(&self.variables).map_or(0, |text| text.len()))
    }

    /// The request that goes on from a position; without one, as the client asked.
    pub(crate) fn request(&self, at: Option<Position>) -> Request {
        let mut asked = self.clone();
        if let Some(at) = at {
            asked.put(at.to_string());
        }
        let mut request = Request::new(asked.query).variables(asked.variables);
        request.operation_name = asked.operation_name;
        request.set_parsed_query(asked.document);
        request
    }

    /// Writes where to begin. A variable is given another value, and not replaced: one that is used nowhere is an error.
    fn put(&mut self, at: String) {
        match &self.after {
            Some(name) => {
                self.variables.insert(name.clone(), Value::String(at));
            }
            None => put_after(&mut self.document, self.operation_name.as_deref(), at),
        }
    }
}

/// The operation that is to be run, and its one root field: the guard has seen to both.
fn chosen<'d>(document: &'d ExecutableDocument, name: Option<&str>) -> Option<(&'d OperationDefinition, &'d Field)> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => operation,
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name)?,
        (DocumentOperations::Multiple(all), None) => all.values().next()?,
    };
    match &operation.node.selection_set.node.items.first()?.node {
        Selection::Field(root) => Some((&operation.node, &root.node)),
        _ => None,
    }
}

/// The variable that is the root field's `after` and nothing else, and whether it has a default value.
fn sole_variable(operation: &OperationDefinition, root: &Field, words: &Words) -> Option<(Name, bool)> {
    let Literal::Variable(name) = &root.get_argument(AFTER)?.node else { return None };
    let definition = operation.variable_definitions.iter().find(|definition| definition.node.name.node == *name)?;
    let only_here = words.uses.iter().filter(|used| *used == name).count() == 1;
    only_here.then(|| (name.clone(), definition.node.default_value.is_some()))
}

fn begins(operation: &OperationDefinition, root: &Field, variables: &Variables) -> Start {
    let Some(argument) = root.get_argument(AFTER) else { return Start::Present };
    let default_of = |name: &Name| {
        let mut definitions = operation.variable_definitions.iter();
        let definition = definitions.find(|definition| definition.node.name.node == *name)?;
        definition.node.default_value.as_ref().map(|value| &value.node)
    };
    let value = argument.node.clone().into_const_with(|name| {
        let given = variables.get(&name).or_else(|| default_of(&name));
        Ok::<_, std::convert::Infallible>(given.cloned().unwrap_or(Value::Null))
    });
    match value {
        Ok(Value::Null) => Start::Present,
        Ok(Value::String(text)) => Position::parse(&text).map_or(Start::Unreadable, Start::After),
        _ => Start::Unreadable,
    }
}

/// Writes the position into the document, where it is not the value of a variable.
fn put_after(document: &mut ExecutableDocument, name: Option<&str>, at: String) {
    let operation = match (&mut document.operations, name) {
        (DocumentOperations::Single(operation), _) => Some(operation),
        (DocumentOperations::Multiple(all), Some(name)) => all.get_mut(name),
        (DocumentOperations::Multiple(all), None) => all.values_mut().next(),
    };
    let root = operation.and_then(|operation| operation.node.selection_set.node.items.first_mut());
    if let Some(Selection::Field(root)) = root.map(|selection| &mut selection.node) {
        root.node.arguments.retain(|(argument, _)| argument.node != AFTER);
        let (name, value) = (Name::new(AFTER), Literal::String(at));
        root.node.arguments.push((Positioned::new(name, Pos::default()), Positioned::new(value, Pos::default())));
    }
}
