//! Finds the queries that need only the board (rows, counts and facets of queues), and no snapshot.
//!
//! Such a query selects only the fields that are listed here, each on its own type. Whether the board can answer also
//! depends on the filter and the order, which variables may hold. If not, the query runs again on a snapshot.

use async_graphql::Name;
use async_graphql::parser::types::OperationType;

use super::canonical::Selection;

/// By type, the fields whose values depend only on the board, the caller's sight and the names of owners. A type with
/// an empty list has only such fields.
const FIELDS: [(&str, &[&str]); 10] = [
    ("Query", &["__typename", "incidents", "queueSummary"]),
    ("IncidentConnection", &["__typename", "edges", "nodes", "pageInfo", "totalCount", "position", "facets"]),
    ("IncidentEdge", &["__typename", "cursor", "node"]),
    (
        "Incident",
        &[
            "__typename",
            "id",
            "number",
            "reference",
            "version",
            "title",
            "titleTruncated",
            "severity",
            "computedSeverity",
            "severityOverride",
            "status",
            "classification",
            "owner",
            "tags",
            "alertCount",
            "commentCount",
            "hasActiveAlerts",
            "products",
            "providers",
            "createdAt",
            "updatedAt",
            "firstActivityAt",
            "lastActivityAt",
            "firstAssignedAt",
            "resolvedAt",
            "redirectedToId",
        ],
    ),
    ("Facets", WHOLE),
    ("QueueSummary", WHOLE),
    ("Owner", WHOLE),
    ("Tag", WHOLE),
    ("Classification", WHOLE),
    ("PageInfo", WHOLE),
];

/// Types whose objects are values of a row or of a facet.
const VALUES: [&str; 5] = ["StatusFacet", "SeverityFacet", "OwnerFacet", "TagFacet", "ProductFacet"];

/// All fields of a type.
const WHOLE: &[&str] = &[];

/// Returns whether an operation is a query that selects only such fields.
pub(super) fn may_answer(ty: OperationType, root: &Selection) -> bool {
    ty == OperationType::Query && asks_for_no_more(root)
}

fn asks_for_no_more(selection: &Selection) -> bool {
    selection.groups.iter().all(|group| {
        group.types.iter().all(|ty| {
            let Some(allowed) = allowed(ty) else { return false };
            group.fields.iter().all(|field| {
                (allowed.is_empty() || allowed.contains(&field.name.as_str()))
                    && field.selection.as_deref().is_none_or(asks_for_no_more)
            })
        })
    })
}

fn allowed(ty: &Name) -> Option<&'static [&'static str]> {
    let listed = FIELDS.iter().find(|(name, _)| ty == *name).map(|(_, fields)| *fields);
    listed.or_else(|| VALUES.contains(&ty.as_str()).then_some(WHOLE))
}

#[cfg(test)]
mod tests {
    use async_graphql::Name;

    use super::allowed;
    use crate::server::desk::CATALOGUE;
    use crate::server::operation::catalogue::InfoKind;
    use crate::server::operation::given::Given;
    use crate::server::operation::limits::DocumentLimits;
    use crate::server::operation::operations::Operations;

    fn is_for_the_board(text: &str) -> bool {
        let operations = Operations::new(CATALOGUE.clone(), DocumentLimits::default());
        let given = Given::read("{}").expect("an object");
        operations.prepare(text, None, &given).expect("a valid operation").canonical.is_for_the_board
    }

    #[test]
    fn only_what_rows_and_counts_say_is_for_the_board() {
        let of_a_page = |selected: &str| is_for_the_board(&format!("{{ incidents {{ {selected} }} }}"));
        assert!(of_a_page("totalCount position nodes { id owner { name } tags { name } } pageInfo { endCursor }"));
        assert!(of_a_page("edges { cursor node { ... on QueueFields { title classification { kind } } } }"));
        assert!(of_a_page(
            "facets { severity { value count } owner { value { name } } tags { count } product { count } }"
        ));
        assert!(of_a_page("facets { status { value count } }"), "the board counts all incidents");
        for field in
            ["description", "alerts { totalCount }", "activity { totalCount }", "resolution { note }", "fullTitle"]
        {
            assert!(!of_a_page(&format!("nodes {{ id {field} }}")), "{field}");
        }
        assert!(is_for_the_board(
            "{ queueSummary { open byOwner { value { name } count } byStatus { count } oldest } }"
        ));
        assert!(is_for_the_board("{ queueSummary { byTag { value { name kind } count } byProduct { value count } } }"));
        assert!(is_for_the_board("{ queueSummary { open created resolved } }"), "it counts those of a day as well");
        assert!(!is_for_the_board("{ incidents { totalCount } users { nodes { name } } }"));
        assert!(!is_for_the_board("subscription { incidentQueue { position } }"));
    }

    #[test]
    fn every_field_of_a_row_is_for_the_board() {
        let Some(InfoKind::Interface(fields)) = CATALOGUE.get("QueueFields").map(|ty| &ty.kind) else {
            panic!("an interface")
        };
        let allowed = allowed(&Name::new("Incident")).expect("the fields of an incident");
        for name in fields.keys() {
            assert!(allowed.contains(&name.as_str()), "FIELDS lacks {name} of Incident");
        }
    }
}
