//! Computes how many fields an answer may hold, with pages multiplied, before the operation is executed.
//!
//! The canonical operation knows the type of each field, and takes its price from the table in `prices.rs`. The length
//! of a page comes from its arguments.

use async_graphql_value::Value as Input;

use super::canonical::{Field, RowCount, Selection};
use super::sketch::{self, Sketch, Sketches};

/// The arguments that give the number of values of a field.
const SIZES: [&str; 3] = ["first", "last", "ids"];

/// Returns the number of fields that the answer to a selection may hold. Each object has one type, so the most
/// expensive group of types counts.
pub(super) fn cost(selection: &Selection, variables: &Sketches, page_rows: usize) -> usize {
    Reckoning { variables, page_rows }.selection(selection, page_rows)
}

/// Returns whether the cost depends on the variables.
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

struct Reckoning<'v> {
    variables: &'v Sketches,
    /// The assumed rows of a page without a size.
    page_rows: usize,
}

impl Reckoning<'_> {
    /// Returns the cost of a selection. If it is the selection of a page, `page` is the number of its items.
    fn selection(&self, selection: &Selection, page: usize) -> usize {
        let of_group =
            |fields: &[Field]| fields.iter().fold(0_usize, |sum, field| sum.saturating_add(self.field(field, page)));
        selection.groups.iter().map(|group| of_group(&group.fields)).max().unwrap_or_default()
    }

    fn field(&self, field: &Field, page: usize) -> usize {
        let size = || SIZES.iter().filter_map(|name| size(field.argument(name)?, self.variables)).max();
        let (rows, page) = match field.rows {
            RowCount::One => (size().unwrap_or(1), self.page_rows),
            RowCount::List(items) => (size().unwrap_or(items), self.page_rows),
            RowCount::Page => (1, size().unwrap_or(self.page_rows)),
            RowCount::Items => (page, self.page_rows),
        };
        let each = match &field.selection {
            Some(selection) => self.selection(selection, page.max(1)),
            None => usize::from(matches!(field.rows, RowCount::List(_))),
        };
        each.saturating_mul(rows.max(1)).saturating_add(field.own_cost)
    }
}

/// Returns the number that an argument gives, or the number of values that it lists.
fn size(value: &Input, variables: &Sketches) -> Option<usize> {
    match value {
        Input::Number(number) => sketch::count(number),
        Input::List(items) => Some(items.len()),
        Input::Variable(name) => variables.get(name).and_then(Sketch::count),
        _ => None,
    }
}
