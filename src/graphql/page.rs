//! The parts of a page that a document asks for beside the columns of its rows, and whether it asks for nothing else.

use async_graphql::Context;
use async_graphql::parser::types::Selection;

use crate::storage::Parts;

/// The parts of a page that a document asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestedPage {
    /// The parts of the rows.
    pub parts: Parts,
    /// Whether the request asks only for rows of this page: no count, facet or position, and no other field.
    pub alone: bool,
}

impl RequestedPage {
    /// Everything that a document may ask of a page.
    pub(super) const ALL: Self = Self { parts: Parts::ALL, alone: false };

    /// Reads what the document asks of the page of this field.
    pub(super) fn of(ctx: &Context<'_>) -> Self {
        let page = ctx.look_ahead();
        let (nodes, of_edges) = (page.field("nodes"), page.field("edges").field("node"));
        let shows = |part: &str| nodes.field(part).exists() || of_edges.field(part).exists();
        let parts =
            Parts { owner: shows("owner"), tags: shows("tags"), sources: shows("products") || shows("providers") };
        let of_rows = |name: &str| matches!(name, "__typename" | "edges" | "nodes" | "pageInfo");
        let root = &ctx.query_env.operation.node.selection_set.node.items;
        let is_one = matches!(root.as_slice(), [only] if matches!(only.node, Selection::Field(_)));
        let alone = is_one && ctx.field().selection_set().all(|field| of_rows(field.name()));
        Self { parts, alone }
    }
}
