//! The mutations of bulk jobs.

use async_graphql::{Context, Object};

use super::run::run;
use crate::domain::Result;
use crate::graphql::bulk::{BulkAnswer, BulkPayload, BulkUpdateIncidentsInput, CancelBulkJobInput, bulk_job_id};
use crate::graphql::context::View;

/// The mutations of bulk jobs.
#[derive(Default)]
pub(super) struct BulkMutations;

#[Object]
impl BulkMutations {
    /// Starts a bulk job that changes many incidents, given by ids or by a filter, and returns the job at once. The job
    /// changes each incident separately, and each incident has its own outcome.
    async fn bulk_update_incidents(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: BulkUpdateIncidentsInput,
    ) -> Result<Option<BulkPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let dry_run = input.dry_run;
            let (target, edit) = input.read(View::of_request(ctx)?)?;
            if dry_run {
                Ok(app.dry_run_bulk(&command, &target, edit).await?.map(BulkAnswer::DryRun))
            } else {
                Ok(app.start_bulk(&command, target, edit).await?.map(|job| BulkAnswer::Job(Box::new(job))))
            }
        })
        .await
    }

    /// Cancels a bulk job. The changes that the job has made stay, and the other incidents stay as they are. Only the
    /// creator of the job and managers may cancel it.
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
