//! How many fields an answer may hold, pages multiplied, before anything is executed.

use async_graphql::{Value, Variables};
use async_graphql_value::Value as Input;

use super::canonical::{Field, Selection};

/// How long the lists are taken to be that come without pages, by the name of the field. A few times what a busy desk has, far
/// below what the product allows, so that neither many rows of long lists pass nor the page of an ordinary incident fails.
pub const LISTS: [(&str, usize); 25] = [
    ("added", 5),
    ("addedTags", 5),
    ("alerts", 10),
    ("attachments", 5),
    ("byOwner", 50),
    ("bySeverity", 4),
    ("byStatus", 2),
    ("correlations", 10),
    ("entities", 10),
    ("entries", 2),
    ("groups", 20),
    ("history", 5),
    ("members", 20),
    ("orderBy", 1),
    ("owner", 1),
    ("ownerChanges", 5),
    ("product", 20),
    ("refusals", 2),
    ("removed", 5),
    ("severity", 4),
    ("sharedEntities", 5),
    ("status", 4),
    ("tags", 5),
    ("users", 100),
    ("views", 50),
];

/// Fields that take more work than others, and how many others: Markdown is rendered, a log is folded, the rows of a bookmark
/// are long, what is unread is counted over a whole queue; similar incidents take a look at up to a hundred entities, under a
/// millisecond each time on an ordinary incident.
const DEAR: [(&str, usize); 6] = [
    ("fullTitle", 250),
    ("html", 20),
    ("incidentAsOf", 1_000),
    ("rows", 250),
    ("similar", 1_000),
    ("unreadCount", 250),
];

/// The arguments that say how many things a field answers with.
const SIZES: [&str; 3] = ["first", "last", "ids"];

/// Fields that the answer to a selection may hold. A thing is of one type: of what is asked for on several, the dearest is what
/// it costs.
pub(super) fn cost(selection: &Selection, variables: &Variables, page_rows: usize) -> usize {
    let of_group = |fields: &[Field]| {
        fields.iter().fold(0_usize, |sum, field| sum.saturating_add(of_field(field, variables, page_rows)))
    };
    selection.groups.iter().map(|group| of_group(&group.fields)).max().unwrap_or_default()
}

/// Whether the cost depends on the variables.
pub(super) fn varies(selection: &Selection) -> bool {
    selection.groups.iter().flat_map(|group| &group.fields).any(|field| {
        let by_size = SIZES.iter().filter_map(|name| field.argument(name)).any(has_variable);
        by_size || field.selection.as_deref().is_some_and(varies)
    })
}

fn has_variable(value: &Input) -> bool {
    match value {
        Input::Variable(_) => true,
        Input::List(items) => items.iter().any(has_variable),
        _ => false,
    }
}

fn of_field(field: &Field, variables: &Variables, page_rows: usize) -> usize {
    let children = field.selection.as_deref().map_or(0, |selection| cost(selection, variables, page_rows));
    let own = DEAR.iter().find(|(dear, _)| field.name == *dear).map_or(1, |(_, cost)| *cost);
    children.saturating_mul(rows(field, variables, page_rows)).saturating_add(own)
}

fn rows(field: &Field, variables: &Variables, page_rows: usize) -> usize {
    let Some(selection) = &field.selection else { return 1 };
    if let Some(rows) = SIZES.iter().filter_map(|name| size(field.argument(name)?, variables)).max() {
        return rows.max(1);
    }
    let is_rows = |field: &Field| matches!(field.name.as_str(), "nodes" | "edges") && field.arguments.is_empty();
    if selection.groups.iter().any(|group| group.fields.iter().any(is_rows)) {
        return page_rows;
    }
    LISTS.iter().find(|(list, _)| field.name == *list).map_or(1, |(_, length)| *length)
}

/// The number that an argument gives, or how many things it lists.
fn size(value: &Input, variables: &Variables) -> Option<usize> {
    let at_most = |number: &async_graphql::Number| Some(usize::try_from(number.as_u64()?).unwrap_or(usize::MAX));
    match value {
        Input::Number(number) => at_most(number),
        Input::List(items) => Some(items.len()),
        Input::Variable(name) => match variables.get(name)? {
            Value::Number(number) => at_most(number),
            Value::List(items) => Some(items.len()),
            _ => None,
        },
        _ => None,
    }
}
