//! The detail page of one incident: decides whether one statement can read everything that a document asks for.
//!
//! A field is listed here, on its type, if it reads nothing more. If a document asks for another field, or for another
//! part of a list than its start or end, everything is read as it is for lists of incidents.

use async_graphql::parser::types::Selection;
use async_graphql::{Context, SelectionField, Value};

use super::connection::{PageArgs, wider};
use crate::storage::{IncidentLists, Span};

/// Fields of an incident that only return values of its row.
const INCIDENT: &[&str] = &[
    "__typename",
    "alertCount",
    "classification",
    "commentCount",
    "computedSeverity",
    "createdAt",
    "description",
    "firstActivityAt",
    "firstAssignedAt",
    "hasActiveAlerts",
    "id",
    "lastActivityAt",
    "number",
    "owner",
    "products",
    "providers",
    "redirectedToId",
    "reference",
    "resolution",
    "resolvedAt",
    "severity",
    "severityOverride",
    "status",
    "tags",
    "title",
    "titleGenerated",
    "titleTruncated",
    "updatedAt",
    "version",
];

const CHANGE: &[&str] = &[
    "__typename",
    "actor",
    "at",
    "cause",
    "clientMutationId",
    "incidentId",
    "incidentNumber",
    "last",
    "transactionId",
    "version",
];

/// Fields of the entries of a change, without the fields that read a text, a comment or a bookmark.
const ENTRY: &[&str] = &[
    "__typename",
    "action",
    "added",
    "alertIds",
    "bookmarkAction",
    "bookmarkId",
    "bookmarkTitle",
    "classificationAfter",
    "classificationBefore",
    "commentId",
    "firstActivityAfter",
    "firstActivityBefore",
    "generated",
    "kind",
    "lastActivityAfter",
    "lastActivityBefore",
    "movedFromIds",
    "movedToId",
    "overrideAfter",
    "overrideBefore",
    "ownerAfter",
    "ownerBefore",
    "removed",
    "severityAfter",
    "severityBefore",
    "sha256",
    "statusAfter",
    "statusBefore",
];

const ALERT: &[&str] = &[
    "__typename",
    "category",
    "classification",
    "createdAt",
    "description",
    "firstActivityAt",
    "id",
    "lastActivityAt",
    "owner",
    "product",
    "provider",
    "providerAlertId",
    "resolvedAt",
    "severity",
    "status",
    "techniques",
    "title",
    "titleTruncated",
    "updatedAt",
];

const COMMENT: &[&str] =
    &["__typename", "author", "body", "createdAt", "deletedAt", "editedAt", "html", "id", "writtenOnId"];

/// Returns the lists that one statement reads together with the incident of this field. `None` if the document asks for
/// more than that statement reads.
pub(super) fn lists(ctx: &Context<'_>, page_items_max: i32) -> Option<IncidentLists> {
    let [root] = ctx.query_env.operation.node.selection_set.node.items.as_slice() else { return None };
    if !matches!(root.node, Selection::Field(_)) {
        return None;
    }
    let mut lists = IncidentLists::default();
    for field in ctx.field().selection_set() {
        let (list, items, counted) = match field.name() {
            "activity" => (&mut lists.activity, CHANGE, false),
            "alerts" => (&mut lists.alerts, ALERT, false),
            // The row of the incident holds the number of comments.
            "comments" => (&mut lists.comments, COMMENT, true),
            name if INCIDENT.contains(&name) => continue,
            _ => return None,
        };
        let span = end(&field, page_items_max)?;
        // With aliases, a document may ask for one list twice.
        let same = list.is_none_or(|before| before == span);
        if !same || !is_plain(&field, items, counted) {
            return None;
        }
        *list = Some(span);
    }
    Some(lists)
}

/// Returns the start or end of a list that a field asks for. An invalid page gives `None`: its field refuses it later.
fn end(field: &SelectionField<'_>, page_items_max: i32) -> Option<Span<()>> {
    let mut args = PageArgs::default();
    for (name, value) in field.arguments().ok()? {
        let size = match value {
            Value::Null => continue,
            Value::Number(size) => i32::try_from(size.as_i64()?).ok()?,
            _ => return None,
        };
        match name.as_str() {
            "first" => args.first = Some(size),
            "last" => args.last = Some(size),
            _ => return None,
        }
    }
    args.at_end(page_items_max).ok().flatten().map(wider)
}

fn is_plain(list: &SelectionField<'_>, items: &[&str], counted: bool) -> bool {
    list.selection_set().all(|part| match part.name() {
        "nodes" => are_plain(&part, items),
        "edges" => part.selection_set().all(|of_edge| match of_edge.name() {
            "node" => are_plain(&of_edge, items),
            name => matches!(name, "__typename" | "cursor"),
        }),
        "totalCount" => counted,
        name => matches!(name, "__typename" | "pageInfo"),
    })
}

fn are_plain(item: &SelectionField<'_>, plain: &[&str]) -> bool {
    item.selection_set().all(|field| match field.name() {
        "entries" => are_plain(&field, ENTRY),
        name => plain.contains(&name),
    })
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_schema;
    use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};

    use super::INCIDENT;
    use crate::graphql::budget::SMALL;

    /// A field that is forgotten in a list costs speed only, so no other test would notice.
    #[test]
    fn every_field_of_a_row_is_in_the_lists_of_fields() {
        let schema = parse_schema(crate::graphql::sdl()).expect("SDL");
        let fields = schema.definitions.into_iter().find_map(|definition| match definition {
            TypeSystemDefinition::Type(ty) if ty.node.name.node == "QueueFields" => match ty.node.kind {
                TypeKind::Interface(interface) => Some(interface.fields),
                _ => None,
            },
            _ => None,
        });
        for field in fields.expect("the interface") {
            let name = field.node.name.node;
            assert!(INCIDENT.contains(&name.as_str()), "INCIDENT of detail.rs lacks {name}");
            assert!(SMALL.contains(&name.as_str()), "SMALL of budget.rs lacks {name}");
        }
    }
}
