//! The mutations that merge and split incidents.

use async_graphql::{Context, Object};

use super::run::{SINGLE_ACTION_WORDS, run};
use crate::domain::Result;
use crate::graphql::input::incident_id;
use crate::graphql::merge::{
    MergeIncidentsInput, MergePayload, SplitIncidentInput, SplitIncidentPayload, UndoMergeInput,
};

/// The mutations that merge and split incidents.
#[derive(Default)]
pub(super) struct MergeMutations;

#[Object]
impl MergeMutations {
    /// Merges an incident (the source) into another incident (the target), which takes over its alerts, tags, comments,
    /// bookmarks and attachments and gets a new generated title. The source stays as a `REDIRECTED` stub, and its
    /// number leads to the target. A source or target that is resolved or redirected is a `CONFLICT`. Only managers may
    /// merge incidents. `previewMerge` shows the outcome beforehand.
    async fn merge_incidents(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: MergeIncidentsInput,
    ) -> Result<Option<MergePayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            app.merge_incidents(&command, input.read()?, input.known()).await
        })
        .await
    }

    /// Undoes a merge: both incidents are as they were before it. If either incident has changed since, the undo is a
    /// `CONFLICT`, and `extensions.now.changes` names the changes, at most 10 of each side. Only managers may undo a
    /// merge.
    async fn undo_merge(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UndoMergeInput,
    ) -> Result<Option<MergePayload>> {
        run(ctx, input.call, async move |app, command| {
            app.undo_merge(&command, incident_id("incidentId", &input.incident_id)?).await
        })
        .await
    }

    /// Moves some alerts of an incident into a new incident, which is `NEW` and unassigned. A resolved incident is a
    /// `CONFLICT`: reopen it first.
    async fn split_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: SplitIncidentInput,
    ) -> Result<Option<SplitIncidentPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let did = app.split_incident(&command, input.read()?).await;
            did.map_err(|error| error.reworded(&SINGLE_ACTION_WORDS))
        })
        .await
    }
}
