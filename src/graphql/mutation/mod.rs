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

/// The root of all mutations. Each mutation is one transaction: all or nothing. The mutations of a document run one
/// after the other. If a mutation is refused, it is null and has changed nothing, and the other mutations of the
/// document are done all the same. If the document is refused as a whole, no mutation is done. `Query` says when, lists
/// the error codes, and says how the caller is named.
///
/// **Roles.** A mutation needs the role `RESPONDER`. If its description says that only managers may do it, it needs the
/// role `MANAGER`. The mutations of saved views are open to each role; a `READER` keeps private views only. A caller
/// without the role gets `FORBIDDEN`.
///
/// **Versions.** Without `expectedVersion` the last write wins. With it, a mutation is a `CONFLICT` if a later change
/// set a field that the mutation sets too. The guarded fields are the title, description, severity override, status,
/// resolution note, classification, owner and times of the activity. `deleteIncident` conflicts with a later change of
/// each of them, and with a later deletion and restoration, as `restoreIncident` does. Tags, comments and links of alerts never conflict.
///
/// **Conflicts.** `extensions.path` tells conflicts apart. `input.expectedVersion`, `input.expectedSourceVersion` and
/// `input.expectedTargetVersion` mean a later change: `extensions.now` then has `changes`, and `version`, the version
/// of the newest of these changes. `UpdateAlertInput` names the exceptions. `input.idempotencyKey` means a key that was
/// used before: `extensions.now` then has the `mutation` and the time (`at`) of the first call. At another path, the
/// state of that object or value is in the way.
///
/// `extensions.now.changes` has one item for each field that was changed, oldest first: the newest 10 items, or for
/// `undoMerge` the items of the first 10 changes of each side. An item has the keys:
/// - `incident`, `number`: the global id and the number of the incident.
/// - `version`: the version that the change made.
/// - `at`: the time of the change.
/// - `actor`: the account id of the user who made the change; null for the desk itself.
/// - `field`: an `EntryKind`, for example `OWNER`.
/// - `from`, `to`: the values before and after. A classification has the form of `ClassificationInput`. The owner of an
///   incident is an account id; the owner of an alert is `{"user": <UUID>}` or `{"group": <UUID>}`. `ACTIVITY` has
///   lists of the first and the last time. A text of more than 256 bytes is given by its length. `from` and `to` are
///   null if the entry does not replace a value.
///
/// **Retries.** If it is not known whether a mutation was done, because no answer came or because the answer was
/// `INTERNAL` or `UNAVAILABLE`, send it again with the same `idempotencyKey` and the same input: it is done at most
/// once. `clientMutationId` and the selected fields may differ. Other input under the key is a `CONFLICT`. The outcome
/// is kept for 24 hours. A refusal may be kept too, even if its reason is gone by then. So after a refusal use a new
/// key, for example when you send the new version after a `CONFLICT`. An answer `UNAVAILABLE` or `INTERNAL` that
/// changed nothing is not kept. An error of a document with several mutations never has `retryAfter`.
///
/// **Own changes in a stream.** An item of a stream has the `clientMutationId` of its mutation; it is null if the
/// mutation was sent without it, or if no mutation made the change. A row shows the mutation if the `version` of the
/// row is not lower than the version in the payload. Positions cannot be compared.
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
