//! The mutations. Each mutation is one command, one transaction and one answer. They stand in files by noun.

mod account;
mod alert;
mod bookmark;
mod bulk;
mod comment;
mod incident;
mod merge;
mod run;
mod view;

use async_graphql::MergedObject;

/// The root of all mutations. Each mutation is one transaction: all or nothing. If a mutation is refused, it is null,
/// and the other mutations of the document stand. `Query` lists the error codes.
#[derive(Default, MergedObject)]
pub struct Mutation(
    account::AccountMutations,
    alert::AlertMutations,
    bookmark::BookmarkMutations,
    bulk::BulkMutations,
    comment::CommentMutations,
    incident::IncidentMutations,
    merge::MergeMutations,
    view::ViewMutations,
);
