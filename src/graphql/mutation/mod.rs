//! The mutations. Each mutation is one command, one transaction and one answer. They stand in files by noun.

mod account;
mod alert;
mod bookmark;
mod bulk;
mod comment;
mod incident;
mod merge;
mod view;

use async_graphql::{Context, MergedObject};

use super::call::Call;
use super::context::{app, command};
use super::payload::Payload;
use crate::app::idempotency::Did;
use crate::app::{App, Command};
use crate::domain::Result;

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

/// The fields of single-action inputs whose name differs from `updateIncident`, which names the fields of commands.
const SINGLE_ACTION_WORDS: [(&str, &str); 3] =
    [("addTags", "tags"), ("linkAlerts", "alerts"), ("unlinkAlerts", "alerts")];

/// Runs the command of a mutation, and shows its answer as the payload. The paths of refusals are put below the argument
/// `input`, where the fields of an input are.
async fn run<'a, P, F, Fut>(ctx: &'a Context<'_>, call: Call, work: F) -> Result<Option<P>>
where
    P: Payload,
    F: FnOnce(&'a App, Command) -> Fut,
    Fut: Future<Output = Result<Did<P::Value>>>,
{
    let did = async { work(app(ctx)?, command(ctx, &call)?).await };
    let did = did.await.map_err(|error| error.below("input"))?;
    P::of(ctx, did, call).map(Some)
}
