//! The mutations of bulk jobs.

use async_graphql::{Context, Object};

use super::run::run;
use crate::domain::Result;
use crate::graphql::bulk::{BulkAnswer, BulkPayload, BulkUpdateIncidentsInput, CancelBulkJobInput, bulk_job_id};
use crate::graphql::context::View;

/// The mutations of bulk jobs.
#[derive(Default)]
pub struct BulkMutations;

#[Object]
impl BulkMutations {
    /// Starts a bulk job that changes many incidents, by ids or by filter, each separately and with an outcome of its
    /// own; returns the job at once. One transaction changes at most 100 incidents, so another mutation waits for at
    /// most one such transaction.
    async fn bulk_update_incidents(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: BulkUpdateIncidentsInput,
    ) -> Result<Option<BulkPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let dry_run = input.dry_run;
            let (target, edit) = input.read(View::of_request(ctx)?)?;
            match dry_run {
                true => Ok(app.dry_run_bulk(&command, &target, edit).await?.map(BulkAnswer::DryRun)),
                false => Ok(app.start_bulk(&command, target, edit).await?.map(|job| BulkAnswer::Job(Box::new(job)))),
            }
        })
        .await
    }

    /// Cancels a bulk job. Changes that it has made stay, and the rest is not done. Its creator or a manager only.
    async fn cancel_bulk_job(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: CancelBulkJobInput,
    ) -> Result<Option<BulkPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = bulk_job_id("jobId", &input.job_id)?;
            let did = app.cancel_bulk(&command, id).await.map_err(|error| error.at("jobId"))?;
            Ok(did.map(|job| BulkAnswer::Job(Box::new(job))))
        })
        .await
    }
}
