//! The page of a queue: what a document asks of it beside the rows' own columns, and whether it asks for the page alone.

use async_graphql::Context;
use async_graphql::parser::types::Selection;

use crate::storage::Parts;

/// What a document asks of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Parts of its rows.
    pub parts: Parts,
    /// Whether the request asks for rows of this page, and for nothing else: no count, no facet, no position, no other field.
    pub alone: bool,
}

impl Asked {
    /// Whatever a page may be asked for.
    pub const ALL: Self = Self { parts: Parts::ALL, alone: false };

    /// What is asked of the page that this field gives.
    pub fn of(ctx: &Context<'_>) -> Self {
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
