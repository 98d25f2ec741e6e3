//! The byte budget of an answer. Each value is counted when it is resolved, in bytes of its JSON.
//!
//! The answer to a query that exceeds its budget is abandoned and refused. A mutation is already done and an item of a
//! stream may not be left out, so their answers are not refused: their lists end where the budget ends, and an error
//! says which lists. Counting costs time, so the answer to a document that is known to be small ([`is_small`]) is
//! weighed only when it is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo};
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType, Selection, SelectionSet};
use async_graphql::{
    PathSegment, QueryPathNode, QueryPathSegment, Request, Response, ServerError, ServerResult, Value,
};
use parking_lot::Mutex;

use super::error::server_error;
use super::json;
use super::selected::Selected;
use crate::domain::Error;

/// The share of a budget (one part in 8) that is reserved for values outside lists: ids, the position, the incident
/// itself.
const OUTSIDE_LISTS: usize = 8;

/// The most cut lists that are noted one by one. Beyond, a cut of a nested list cuts the outermost list around it.
const CUTS_MAX: usize = 20;

/// The treatment of an answer that exceeds its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    /// The whole answer is refused.
    Refused,
    /// The lists of the answer are cut.
    Cut,
}

/// The budget of one answer, or of each item of a stream.
#[derive(Debug)]
pub struct Budget {
    bytes: usize,
    beyond: Beyond,
    spent: AtomicUsize,
    /// Whether the answer is abandoned, or the lists have used up their share.
    over: AtomicBool,
    /// The paths of the cut lists, with how many items remain. `None` for a text that was left out.
    cuts: Mutex<BTreeMap<Vec<BudgetStep>, Option<usize>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum BudgetStep {
    Index(usize),
    Field(String),
}

impl Budget {
    /// Builds the budget of an operation of this type, in bytes of JSON.
    pub fn new(operation: OperationType, bytes: usize) -> Self {
        let beyond = match operation {
            OperationType::Query => Beyond::Refused,
            OperationType::Mutation | OperationType::Subscription => Beyond::Cut,
        };
        Self { bytes, beyond, spent: AtomicUsize::new(0), over: AtomicBool::new(false), cuts: Mutex::default() }
    }

    /// Returns the share of the budget that a value may spend.
    fn part(&self, in_list: bool) -> usize {
        match self.beyond {
            Beyond::Cut if in_list => self.bytes - self.bytes / OUTSIDE_LISTS,
            Beyond::Cut | Beyond::Refused => self.bytes,
        }
    }

    /// Spends this many bytes if there is room for them; returns whether there was.
    fn spend(&self, bytes: usize, in_list: bool) -> bool {
        let spent = self.spent.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let fits = spent <= self.part(in_list);
        if !fits {
            self.spent.fetch_sub(bytes, Ordering::Relaxed);
            if in_list || self.beyond == Beyond::Refused {
                self.over.store(true, Ordering::Relaxed);
            }
        }
        fits
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Notes where a list ends, or that a text is left out. If many nested lists end, the outermost list ends instead.
    fn note(&self, path: Vec<BudgetStep>, left: Option<usize>) {
        let mut cuts = self.cuts.lock();
        let outer = path.iter().position(|step| matches!(step, BudgetStep::Index(_)));
        let (path, left) = match outer {
            Some(at) if cuts.len() >= CUTS_MAX && !cuts.contains_key(&path) => match path[at] {
                BudgetStep::Index(index) => (path[..at].to_vec(), Some(index)),
                BudgetStep::Field(_) => (path, left),
            },
            _ => (path, left),
        };
        let known = cuts.entry(path).or_insert(left);
        *known = (*known).min(left);
    }

    /// Returns the answer as it may be sent, and resets the budget for the next item of a stream.
    #[must_use]
    pub fn settle(&self, mut response: Response) -> Response {
        let counted = self.spent.swap(0, Ordering::Relaxed) > 0;
        let over = self.over.swap(false, Ordering::Relaxed);
        let cuts = std::mem::take(&mut *self.cuts.lock());
        match self.beyond {
            Beyond::Refused if over || (!counted && weight(&response.data) > self.bytes) => {
                let message = format!(
                    "the answer is larger than {} bytes; ask for fewer fields, or for smaller pages",
                    self.bytes
                );
                Response::from_errors(vec![server_error(Error::limit("query", message, self.bytes))])
            }
            Beyond::Refused => response,
            Beyond::Cut => {
                for (path, left) in cuts {
                    if let Some(left) = left {
                        shorten(&mut response.data, &path, left);
                    }
                    response.errors.push(self.cut(path, left));
                }
                response
            }
        }
    }

    fn cut(&self, path: Vec<BudgetStep>, left: Option<usize>) -> ServerError {
        let what = match left {
            Some(left) => format!("this list ends after {left}"),
            None => "this text is left out".to_owned(),
        };
        let message = format!("the answer is larger than {} bytes: {what}; read the rest by a query", self.bytes);
        let mut error = server_error(Error::limit("query", message, self.bytes));
        error.path = path
            .into_iter()
            .map(|step| match step {
                BudgetStep::Index(index) => PathSegment::Index(index),
                BudgetStep::Field(name) => PathSegment::Field(name),
            })
            .collect();
        error
    }
}

/// Cuts the list at this path to `left` items.
fn shorten(value: &mut Value, path: &[BudgetStep], left: usize) {
    match (value, path) {
        (Value::List(items), []) => items.truncate(left),
        (Value::List(items), [BudgetStep::Index(index), rest @ ..]) => {
            if let Some(item) = items.get_mut(*index) {
                shorten(item, rest, left);
            }
        }
        (Value::Object(fields), [BudgetStep::Field(name), rest @ ..]) => {
            if let Some(field) = fields.get_mut(name.as_str()) {
                shorten(field, rest, left);
            }
        }
        _ => {}
    }
}

/// Marks a schema whose answers are counted while they are made: [`Counting`] sees each of its fields.
pub struct IsCounted;

/// The extension that counts each resolved value against the [`Budget`] of its request.
pub struct Counting;

impl ExtensionFactory for Counting {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Extension for Counting {
    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let Some(budget) = ctx.data_opt::<Arc<Budget>>() else { return next.run(ctx, info).await };
        let place = ValuePlace { path: info.path_node, of: info.return_type };
        let in_list = place.in_list();
        match budget.beyond {
            // The answer is abandoned, so the remaining fields are not resolved.
            Beyond::Refused if budget.is_over() => return Ok(Some(Value::Null)),
            Beyond::Cut if (in_list || place.is_list()) && budget.is_over() => {
                if let Some(instead) = place.left_out(budget) {
                    return Ok(Some(instead));
                }
            }
            Beyond::Refused | Beyond::Cut => {}
        }
        let value = next.run(ctx, info).await?;
        if budget.spend(place.weight(value.as_ref().unwrap_or(&Value::Null)), in_list) {
            return Ok(value);
        }
        match budget.beyond {
            Beyond::Refused => Ok(Some(Value::Null)),
            Beyond::Cut => Ok(place.left_out(budget).map_or(value, Some)),
        }
    }
}

/// The path of a resolved value, and its type.
struct ValuePlace<'a> {
    path: &'a QueryPathNode<'a>,
    of: &'a str,
}

impl ValuePlace<'_> {
    fn is_item(&self) -> bool {
        matches!(self.path.segment, QueryPathSegment::Index(_))
    }

    fn is_list(&self) -> bool {
        self.of.starts_with('[')
    }

    fn in_list(&self) -> bool {
        let is_index = |node: &QueryPathNode<'_>| matches!(node.segment, QueryPathSegment::Index(_));
        self.is_item() || self.path.parents().any(is_index)
    }

    /// Returns the value that replaces this one if there is no room. `None` for a value that must be sent: outside
    /// lists, an object (its own fields are counted), a value of a small type, and a value at the top.
    fn left_out(&self, budget: &Budget) -> Option<Value> {
        if let QueryPathSegment::Index(index) = self.path.segment {
            budget.note(steps(self.path.parent), Some(index));
            return Some(Value::Null);
        }
        if self.is_list() {
            budget.note(steps(Some(self.path)), Some(0));
            return Some(Value::List(Vec::new()));
        }
        // A value inside an item: the list ends before that item.
        let mut above = Some(self.path);
        while let Some(node) = above {
            if let QueryPathSegment::Index(index) = node.segment {
                budget.note(steps(node.parent), Some(index));
                return Some(Value::Null);
            }
            above = node.parent;
        }
        let is_text = matches!(base(self.of), "String" | "JSON");
        if !is_text || self.path.parents().count() < 2 {
            return None;
        }
        budget.note(steps(Some(self.path)), None);
        Some(Value::Null)
    }

    /// Returns the bytes that the value adds to the JSON, without the values inside it, which are counted separately.
    fn weight(&self, value: &Value) -> usize {
        let name = match self.path.segment {
            QueryPathSegment::Index(_) => 1,
            QueryPathSegment::Name(name) => name.len() + 4,
        };
        let inner = match value {
            Value::List(_) | Value::Object(_) if base(self.of) != "JSON" || self.is_list() => 2,
            value => weight(value),
        };
        name + inner
    }
}

/// Returns the name of a type without brackets and exclamation marks.
fn base(of: &str) -> &str {
    of.trim_matches(['[', ']', '!'])
}

fn steps(node: Option<&QueryPathNode<'_>>) -> Vec<BudgetStep> {
    let Some(node) = node else { return Vec::new() };
    let step = |node: &QueryPathNode<'_>| match node.segment {
        QueryPathSegment::Index(index) => BudgetStep::Index(index),
        QueryPathSegment::Name(name) => BudgetStep::Field(name.to_owned()),
    };
    let mut steps: Vec<BudgetStep> = std::iter::once(node).chain(node.parents()).map(step).collect();
    steps.reverse();
    steps
}

/// Returns the size of a value's JSON in bytes.
pub fn weight(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Boolean(_) => 5,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => text_weight(text),
        Value::Enum(name) => name.len() + 2,
        Value::Binary(bytes) => bytes.len() * 4,
        Value::List(items) => 1 + items.iter().map(|item| 1 + weight(item)).sum::<usize>(),
        // The text of a JSON value is written as it is.
        Value::Object(fields) if let Some(text) = json::text_of(fields) => text.len(),
        Value::Object(fields) => {
            1 + fields.iter().map(|(name, value)| text_weight(name) + 2 + weight(value)).sum::<usize>()
        }
    }
}

/// Returns the size of a text with its quotes and escapes, in bytes.
fn text_weight(text: &str) -> usize {
    let escapes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
        0..32 => 5,
        _ => 0,
    });
    text.len() + 2 + escapes.sum::<usize>()
}

/// Fields whose values, or lists, are short: a hundred rows of them take a fraction of any budget. The answer of a
/// document with any other field is counted.
pub(super) const SMALL: &[&str] = &[
    "__typename",
    "account",
    "activity",
    "alertCount",
    "alertId",
    "bySeverity",
    "byStatus",
    "changed",
    "changedFields",
    "classification",
    "clientMutationId",
    "commentCount",
    "computedSeverity",
    "count",
    "createdAt",
    "created",
    "cursor",
    "deletedId",
    "edges",
    "email",
    "endCursor",
    "enteredReason",
    "facets",
    "filter",
    "firstActivityAt",
    "firstAssignedAt",
    "hasActiveAlerts",
    "hasNextPage",
    "hasPreviousPage",
    "id",
    "incident",
    "incidentAsOf",
    "incidentId",
    "incidentNumber",
    "incidentQueue",
    "incidents",
    "json",
    "kind",
    "last",
    "lastActivityAt",
    "name",
    "node",
    "nodes",
    "number",
    "oldest",
    "open",
    "owner",
    "pageInfo",
    "position",
    "product",
    "products",
    "providers",
    "queueSummary",
    "reason",
    "redirectedToId",
    "reference",
    "replayed",
    "resolved",
    "resolvedAt",
    "resyncReason",
    "role",
    "row",
    "settled",
    "severity",
    "severityAfter",
    "severityBefore",
    "severityOverride",
    "since",
    "startCursor",
    "state",
    "status",
    "statusAfter",
    "statusBefore",
    "summary",
    "tags",
    "targetId",
    "threat",
    "title",
    "titleGenerated",
    "titleTruncated",
    "total",
    "totalCount",
    "transactionId",
    "unassigned",
    "updatedAt",
    "value",
    "version",
];

/// Returns the type of the operation, and whether its answer is to be counted while it is made.
pub fn read(request: &mut Request) -> (OperationType, bool) {
    let name = request.operation_name.clone();
    let Ok(document) = request.parsed_query() else { return (OperationType::Query, true) };
    let chosen = match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => Some(&operation.node),
        (DocumentOperations::Multiple(named), Some(name)) => named.get(name.as_str()).map(|operation| &operation.node),
        (DocumentOperations::Multiple(_), None) => None,
    };
    let (operation, mut small) = (chosen.map_or(OperationType::Query, |operation| operation.ty), is_small(document));
    // The request of a stream does not hold the whole document: that is in its [`Selected`].
    small &= Selected::of(request).is_none_or(|selected| is_small(selected.document()));
    (operation, !small)
}

/// Whether an answer is known to take a fraction of any budget, by the names of the fields in the document. The names
/// of mutations themselves do not matter.
pub fn is_small(document: &ExecutableDocument) -> bool {
    let operations: Vec<_> = match &document.operations {
        DocumentOperations::Single(operation) => vec![&operation.node],
        DocumentOperations::Multiple(named) => named.values().map(|operation| &operation.node).collect(),
    };
    let fragments = document.fragments.values().all(|fragment| is_small_set(&fragment.node.selection_set.node, false));
    fragments
        && operations
            .iter()
            .all(|operation| is_small_set(&operation.selection_set.node, operation.ty == OperationType::Mutation))
}

fn is_small_set(set: &SelectionSet, any_name: bool) -> bool {
    set.items.iter().all(|selection| match &selection.node {
        Selection::Field(field) => {
            let field = &field.node;
            let is_short = any_name || SMALL.contains(&field.name.node.as_str());
            // With aliases, a document could ask for the same rows thirty times.
            is_short && field.alias.is_none() && is_small_set(&field.selection_set.node, false)
        }
        Selection::InlineFragment(fragment) => is_small_set(&fragment.node.selection_set.node, any_name),
        Selection::FragmentSpread(_) => true,
    })
}
