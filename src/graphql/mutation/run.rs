//! Runs the command of a mutation.

use async_graphql::Context;

use crate::app::idempotency::Did;
use crate::app::{App, Command};
use crate::domain::Result;
use crate::graphql::call::Call;
use crate::graphql::context::{app, command};
use crate::graphql::payload::Payload;

/// The fields of single-action inputs whose name differs from `updateIncident`, which names the fields of commands.
pub(super) const SINGLE_ACTION_WORDS: [(&str, &str); 3] =
    [("addTags", "tags"), ("linkAlerts", "alerts"), ("unlinkAlerts", "alerts")];

/// Runs the command of a mutation, and shows its answer as the payload. The paths of refusals are put below the argument
/// `input`, where the fields of an input are.
pub(super) async fn run<'a, P, F, Fut>(ctx: &'a Context<'_>, call: Call, work: F) -> Result<Option<P>>
where
    P: Payload,
    F: FnOnce(&'a App, Command) -> Fut,
    Fut: Future<Output = Result<Did<P::Value>>>,
{
    let did = async { work(app(ctx)?, command(ctx, &call)?).await };
    let did = did.await.map_err(|error| error.below("input"))?;
    P::of(ctx, did, call).map(Some)
}
