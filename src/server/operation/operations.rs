//! Prepares the operation of a request: from its text to its canonical operation, with caches.
//!
//! Valid documents are cached by their text, and canonical operations by all that their form depends on. A limit of
//! bytes bounds each cache. A refused document is not cached.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
use async_graphql::{
    Name, Pos, Request, ServerError, Value, Variables,
    parser::types::{BaseType, ExecutableDocument, OperationType, Type},
};
use async_graphql_value::Value as Input;
use moka::sync::Cache;

use super::ast::{Document, Literal, OperationNode, SelectionNode as Written};
use super::canonical::{self, Circumstances, Selection};
use super::catalogue::Catalogue;
use super::effort::Effort;
use super::fault::fault_at;
use super::given::Given;
use super::limits::{DocumentLimits, measure};
use super::sketch::{Sketch, Sketches};
use super::spelling::{NamesInUse, Spelled, spell};
use super::validate::{ListBounds, validate};
use super::variable_uses;
use super::{board, coerce, cost, effort, lists, lower, parser};
use crate::{
    domain,
    graphql::{error::server_error, packed::pack, selected::Selected},
};

/// The argument of a subscription's root field that names the position to go on from.
const AFTER: &str = "after";

/// The variable that holds the position, instead of the client's value. The grammar has no empty name.
pub(in crate::server) const POSITION: &str = "";

/// The approximate memory of a token of a document: nodes, names and places.
const TOKEN_BYTES: usize = 128;

/// The approximate memory of a field of a canonical operation, with its part of the library's document.
const FIELD_BYTES: usize = 1_024;

/// An operation in the form that all later steps read.
#[derive(Debug)]
pub struct Canonical {
    /// Query, mutation or subscription.
    pub ty: OperationType,
    pub(in crate::server) root: Arc<Selection>,
    pub(in crate::server) named: NamesInUse,
    /// The document that the library executes.
    pub(in crate::server) document: Arc<ExecutableDocument>,
    /// Equal for equal operations, whatever the names of their variables.
    pub(in crate::server) digest: [u8; 32],
    /// The length of the text that all spellings of the operation have in common.
    pub(in crate::server) text_bytes: usize,
    /// The variables in the order of their first use, and how often the library reads each of them.
    uses: Vec<(Name, usize)>,
    /// The position in the document, if the root field takes a position.
    position: Option<Input>,
    /// The cost, if it does not depend on the variables.
    cost: Option<usize>,
    /// The part of the work that does not depend on the variables.
    work: effort::FixedWork,
    /// Variables of a subscription that are read only when it starts.
    starting: Vec<Name>,
    /// Whether the board may know all that the operation selects.
    pub(in crate::server) is_for_the_board: bool,
}

impl Canonical {
    /// Returns the variables in the order of their first use, and how often one execution reads each. The position of a
    /// subscription is not among them.
    pub fn uses(&self) -> &[(Name, usize)] {
        &self.uses
    }

    /// Returns the number of fields that the answer may hold, with pages multiplied.
    pub(super) fn cost(&self, variables: &Sketches, page_rows: usize) -> usize {
        self.cost.unwrap_or_else(|| cost::cost(&self.root, variables, page_rows))
    }

    /// Returns whether the operation selects nothing, because every root field was skipped.
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.root.size() == 0
    }

    /// Returns whether it goes on from a position, which the variable [`POSITION`] holds.
    pub(in crate::server) fn has_position(&self) -> bool {
        self.position.is_some()
    }

    /// Returns the variables of a subscription that are read only when it starts: those of the root field alone.
    pub(in crate::server) fn starting(&self) -> &[Name] {
        &self.starting
    }

    /// Makes the request that starts a subscription. Its document holds only the root field. The selection of the items
    /// is shared beside it ([`Selected`]), because the library would copy a selection in the document.
    pub(in crate::server) fn starting_with(&self, variables: Variables) -> Request {
        let of_items = variables.iter().filter(|(name, _)| !self.starting.contains(name) && *name != POSITION);
        let of_items = of_items.map(|(name, value)| (name.clone(), value.clone()));
        let selected = Selected::new(self.document.clone(), of_items);
        let mut request = Request::new(String::new()).variables(variables);
        request.set_parsed_query(lower::without_selections(&self.document));
        request.data(selected)
    }

    /// Returns the place in the client's text of the field at the end of a path.
    pub(in crate::server) fn place(&self, path: &[async_graphql::PathSegment]) -> Option<Pos> {
        let mut selection = Some(&self.root);
        let mut place = None;
        for step in path {
            let async_graphql::PathSegment::Field(key) = step else { continue };
            let field = selection?.groups.iter().flat_map(|group| &group.fields).find(|field| field.key == *key)?;
            (selection, place) = (field.selection.as_ref(), Some(field.pos));
        }
        place
    }
}

/// An operation and the values of its variables.
#[derive(Debug)]
pub struct Prepared {
    /// The canonical operation.
    pub canonical: Arc<Canonical>,
    /// The coerced values of the variables that it uses.
    pub variables: Variables,
    /// The position of the client: null if it names none, `None` if the field takes none.
    pub position: Option<Value>,
    /// The number of fields that the answer may hold.
    pub cost: usize,
    /// The estimated work.
    pub effort: Effort,
}

/// A valid document.
struct KnownDocument {
    id: u64,
    document: Document,
    /// For each operation, the variables on which its form depends.
    forms: Vec<Variability>,
    /// For each operation, the longest lists that its variables may hold.
    bounds: Vec<ListBounds>,
}

/// The variables on which the form of an operation depends.
struct Variability {
    /// Variables in the conditions of `@skip` and `@include`.
    conditions: Vec<Name>,
    /// Variables that may have no value.
    optional: Vec<Name>,
}

/// All that the form of an operation depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OperationForm {
    document: u64,
    operation: usize,
    decided: Box<[bool]>,
}

/// The operations of a server, with their caches.
pub struct Operations {
    catalogue: Arc<Catalogue>,
    limits: DocumentLimits,
    documents: Cache<Arc<str>, Arc<KnownDocument>, RandomState>,
    forms: Cache<OperationForm, Arc<Canonical>, RandomState>,
    next_id: AtomicU64,
}

impl Operations {
    /// Makes the caches for this schema and these limits.
    pub fn new(catalogue: Arc<Catalogue>, limits: DocumentLimits) -> Self {
        let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let documents = Cache::builder()
            .max_capacity(limits.cache_bytes)
            .weigher(move |text: &Arc<str>, known: &Arc<KnownDocument>| {
                bytes(text.len() + known.document.tokens * TOKEN_BYTES)
            })
            .build_with_hasher(RandomState::new());
        let forms = Cache::builder()
            .max_capacity(limits.cache_bytes)
            .weigher(move |_, canonical: &Arc<Canonical>| bytes((1 + canonical.root.size()) * FIELD_BYTES))
            .build_with_hasher(RandomState::new());
        Self { catalogue, limits, documents, forms, next_id: AtomicU64::new(0) }
    }

    /// Checks a request, and makes its canonical operation. `operation_name` chooses among several operations.
    pub fn prepare(
        &self,
        text: &str,
        operation_name: Option<&str>,
        given: &Given,
    ) -> Result<Prepared, Vec<ServerError>> {
        let known = match self.documents.get(text) {
            Some(known) => known,
            None => self.read(text)?,
        };
        let at = chosen(&known.document, operation_name).map_err(|error| vec![error])?;
        let operation = &known.document.operations[at];
        let outline = given.outline();
        let given = outline.of(&operation.variables);
        lists::judge(&self.catalogue, operation, &known.bounds[at], &given).map_err(|error| vec![error])?;
        let sketches: Sketches = coerce::variables(&self.catalogue, operation, &given)?;
        let decided = known.forms[at].decide(operation, &sketches).map_err(|error| vec![error])?;
        let form = OperationForm { document: known.id, operation: at, decided };
        let canonical = match self.forms.get(&form) {
            Some(canonical) => canonical,
            None => {
                let made = self.make(&known.document, operation, &sketches).map_err(|error| vec![error])?;
                self.forms.insert(form, made.clone());
                made
            }
        };
        let uses = canonical.uses.iter().map(|(name, uses)| (name, *uses));
        let size = |name: &Name| sketches.get(name).map(|sketch| sketch.values);
        variable_uses::judge(uses, size).map_err(|error| vec![server_error(error)])?;
        let cost = canonical.cost(&sketches, self.limits.page_rows);
        within_cost(cost, self.limits.cost).map_err(|error| vec![error])?;
        // Nothing can be refused any more: the values are made.
        let mut variables = Variables::default();
        variables.extend(coerce::variables::<Value, Vec<_>>(&self.catalogue, operation, &given)?);
        let position = canonical.position.as_ref().map(|given| value(given, &variables));
        variables.retain(|name, _| canonical.uses.iter().any(|(used, _)| used == name));
        let effort = canonical.work.effort(cost, &variables);
        Ok(Prepared { canonical, variables, position, cost, effort })
    }

    fn read(&self, text: &str) -> Result<Arc<KnownDocument>, Vec<ServerError>> {
        let document = parser::parse(text, &self.limits).map_err(|error| vec![error])?;
        measure(&document, &self.limits).map_err(|error| vec![error])?;
        let bounds = validate(&document, &self.catalogue)?;
        let forms = document.operations.iter().map(|operation| Variability::of(&document, operation)).collect();
        let known =
            Arc::new(KnownDocument { id: self.next_id.fetch_add(1, Ordering::Relaxed), document, forms, bounds });
        self.documents.insert(text.into(), known.clone());
        Ok(known)
    }

    fn make(
        &self,
        document: &Document,
        operation: &OperationNode,
        variables: &Sketches,
    ) -> Result<Arc<Canonical>, ServerError> {
        let circumstances = Circumstances { variables };
        let root = canonical::root(document, &self.catalogue, operation, &circumstances, self.limits.canonical_fields)?;
        let (root, position) = self.with_position(operation.ty, root);
        let left_out = position.as_ref().map(|_| AFTER);
        let Spelled { named, uses, digest, bytes: text_bytes } = spell(operation.ty, &root, left_out);
        let declared = uses.iter().filter_map(|(name, _)| {
            let variable = operation.variables.iter().find(|variable| variable.name == *name)?;
            Some((name.clone(), variable.ty.clone()))
        });
        let of_position = position.as_ref().map(|_| (Name::new(POSITION), nullable_string()));
        let cost = (!cost::varies(&root)).then(|| cost::cost(&root, variables, self.limits.page_rows));
        let (ty, work) = (operation.ty, effort::FixedWork::of(operation.ty, &root, position.is_some()));
        let (root, starting) = match ty {
            OperationType::Subscription => of_start(root, &uses),
            OperationType::Query | OperationType::Mutation => (root, Vec::new()),
        };
        let document = Arc::new(lower::document(ty, &root, declared.chain(of_position)));
        let is_for_the_board = board::may_answer(ty, &root);
        Ok(Arc::new(Canonical {
            ty,
            root,
            named,
            document,
            digest,
            text_bytes,
            uses,
            position,
            cost,
            work,
            starting,
            is_for_the_board,
        }))
    }

    /// Replaces the position of a subscription by a variable, so that requests that differ only in position are equal.
    fn with_position(&self, ty: OperationType, mut root: Arc<Selection>) -> (Arc<Selection>, Option<Input>) {
        if ty != OperationType::Subscription {
            return (root, None);
        }
        let takes_position = |field: &canonical::Field| {
            let info = self.catalogue.root(ty).and_then(|on| self.catalogue.field(on, &field.name));
            info.is_some_and(|info| info.arguments.iter().any(|input| input.name == AFTER && input.ty.nullable))
        };
        let field = Arc::get_mut(&mut root).and_then(|root| root.groups.first_mut()?.fields.first_mut());
        let Some(field) = field.filter(|field| takes_position(field)) else { return (root, None) };
        let position = Input::Variable(Name::new(POSITION));
        let given = match field.arguments.iter_mut().find(|(name, ..)| name == AFTER) {
            Some((_, _, given)) => std::mem::replace(given, position),
            None => {
                field.arguments.push((Name::new(AFTER), field.pos, position));
                Input::Null
            }
        };
        (root, Some(given))
    }
}

fn within_cost(cost: usize, bound: usize) -> Result<(), ServerError> {
    if cost <= bound {
        return Ok(());
    }
    let message = format!(
        "the answer to this document may hold {cost} fields, pages multiplied, and the bound is {bound}: ask for smaller \
         pages, or for fewer fields"
    );
    Err(server_error(domain::Error::limit("query", message, bound)))
}

/// Packs the arguments of a subscription's root field, and finds the variables that only this field uses. The field is
/// resolved once, when the stream starts, and its arguments stay in memory as long as the stream.
fn of_start(mut root: Arc<Selection>, uses: &[(Name, usize)]) -> (Arc<Selection>, Vec<Name>) {
    let mut of_root = Vec::new();
    let field = Arc::get_mut(&mut root).and_then(|root| root.groups.first_mut()?.fields.first_mut());
    for (_, _, given) in field.into_iter().flat_map(|field| &mut field.arguments) {
        gather_variables(given, &mut of_root);
        if let Ok(value) = given.clone().into_const_with(Err)
            && let Value::Binary(packed) = pack(value)
        {
            *given = Input::Binary(packed);
        }
    }
    let only_there = |(name, all): &&(Name, usize)| of_root.iter().filter(|used| *used == name).count() == *all;
    (root, uses.iter().filter(only_there).map(|(name, _)| name.clone()).collect())
}

fn gather_variables(given: &Input, names: &mut Vec<Name>) {
    match given {
        Input::Variable(name) => names.push(name.clone()),
        Input::List(items) => items.iter().for_each(|item| gather_variables(item, names)),
        Input::Object(fields) => fields.values().for_each(|value| gather_variables(value, names)),
        _ => {}
    }
}

fn nullable_string() -> Type {
    Type { base: BaseType::Named(Name::new("String")), nullable: true }
}

fn chosen(document: &Document, name: Option<&str>) -> Result<usize, ServerError> {
    let invalid = |message: &str| Err(server_error(domain::Error::invalid("operationName", message)));
    match name {
        None if document.operations.len() > 1 => invalid("the document has several operations; say which one to run"),
        None if document.operations.is_empty() => invalid("the document has no operation"),
        None => Ok(0),
        Some(name) => {
            let named = |operation: &OperationNode| operation.name.as_ref().is_some_and(|it| it == name);
            match document.operations.iter().position(named) {
                Some(at) => Ok(at),
                None => invalid("the document has no operation of that name"),
            }
        }
    }
}

/// Returns the value of an argument, with variables replaced by their values.
fn value(given: &Input, variables: &Variables) -> Value {
    let known = |name: Name| Ok::<_, std::convert::Infallible>(variables.get(&name).cloned().unwrap_or_default());
    given.clone().into_const_with(known).unwrap_or_default()
}

impl Variability {
    fn of(document: &Document, operation: &OperationNode) -> Self {
        let mut conditions = Vec::new();
        let mut spread = HashSet::new();
        let mut open: Vec<&[Written]> = vec![&operation.selections];
        while let Some(set) = open.pop() {
            for selection in set {
                let arguments = selection.directives().iter().flat_map(|directive| &directive.arguments);
                for argument in arguments {
                    if let Literal::Variable(name) = &argument.value.node
                        && !conditions.contains(name)
                    {
                        conditions.push(name.clone());
                    }
                }
                match selection {
                    Written::Field(field) => open.push(&field.selections),
                    Written::Inline(inline) => open.push(&inline.selections),
                    Written::Spread(it) if spread.insert(&it.name) => {
                        let fragment = document.fragments.iter().find(|fragment| fragment.name == it.name);
                        open.extend(fragment.map(|fragment| &*fragment.selections));
                    }
                    Written::Spread(_) => {}
                }
            }
        }
        let optional = operation.variables.iter().filter(|variable| variable.ty.nullable && variable.default.is_none());
        Self { conditions, optional: optional.map(|variable| variable.name.clone()).collect() }
    }

    /// Returns the decisions of the variables on the form.
    fn decide(&self, operation: &OperationNode, variables: &Sketches) -> Result<Box<[bool]>, ServerError> {
        let mut decided = Vec::with_capacity(self.conditions.len() + self.optional.len());
        for name in &self.conditions {
            match variables.get(name).and_then(Sketch::boolean) {
                Some(value) => decided.push(value),
                None => {
                    let declared = operation.variables.iter().find(|variable| variable.name == *name);
                    let pos = declared.map_or(operation.pos, |variable| variable.pos);
                    let message = format!("the variable ${name} decides what is selected, and cannot be null");
                    return Err(fault_at(&format!("variables.{name}"), message, pos));
                }
            }
        }
        decided.extend(self.optional.iter().map(|name| variables.get(name).is_some()));
        Ok(decided.into_boxed_slice())
    }
}
