//! The mutations of one incident.

use async_graphql::{Context, ID, Object};

use super::run::{SINGLE_ACTION_WORDS, run};
use crate::app::incident::IncidentEdit;
use crate::domain::incident::{Patch, Status, parse_description, parse_note};
use crate::domain::{Error, Result, title};
use crate::graphql::alert::alert_ids;
use crate::graphql::call::{Call, Precondition, said};
use crate::graphql::input::*;
use crate::graphql::payload::{DeleteIncidentPayload, IncidentPayload};

/// The mutations of one incident.
#[derive(Default)]
pub(super) struct IncidentMutations;

/// Runs one edit of one incident, as most mutations do.
async fn edit(
    ctx: &Context<'_>,
    incident: ID,
    call: Call,
    change: Result<IncidentEdit>,
) -> Result<Option<IncidentPayload>> {
    run(ctx, call, async move |app, command| {
        let id = incident_id("incidentId", &incident)?;
        let did = app.update_incident(&command, id, change?).await;
        did.map_err(|error| error.at("incidentId").reworded(&SINGLE_ACTION_WORDS))
    })
    .await
}

/// Adds the version that the caller knows to an edit.
fn expecting(known: Precondition, edit: Result<IncidentEdit>) -> Result<IncidentEdit> {
    Ok(IncidentEdit { expected_version: known.expected_version, ..edit? })
}

#[Object]
impl IncidentMutations {
    /// Creates an incident, by hand or from alerts. It may set several fields at once, and may create the incident
    /// already resolved.
    async fn create_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: CreateIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (id, edit) = input.read(command.at)?;
            app.create_incident(&command, id, edit).await.map_err(|error| error.reworded(&SINGLE_ACTION_WORDS))
        })
        .await
    }

    /// Changes several fields of one incident together, as one change of the log. If a part is refused, nothing is
    /// changed.
    async fn update_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpdateIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let id = incident_id("incidentId", &input.incident_id)?;
            app.update_incident(&command, id, input.read(command.at)?).await.map_err(|error| error.at("incidentId"))
        })
        .await
    }

    /// Sets the title of an incident.
    async fn rename_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: RenameIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let title = title::parse("title", input.title);
        let change = title.map(|title| Patch { title: Some(title), ..Patch::default() }.into());
        edit(ctx, input.incident_id, input.call, expecting(input.known, change)).await
    }

    /// Sets or clears the description of an incident.
    async fn describe_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: DescribeIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let text = said("description", input.description)
            .and_then(|text| text.map_or(Ok(None), |text| parse_description("description", &text)));
        let change = text.map(|text| Patch { description: Some(text), ..Patch::default() }.into());
        edit(ctx, input.incident_id, input.call, expecting(input.known, change)).await
    }

    /// Overrides the severity of an incident, or returns to the computed severity.
    async fn set_incident_severity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: SetIncidentSeverityInput,
    ) -> Result<Option<IncidentPayload>> {
        let severity = said("severity", input.severity);
        let change = severity.map(|severity| Patch { severity: Some(severity), ..Patch::default() }.into());
        edit(ctx, input.incident_id, input.call, expecting(input.known, change)).await
    }

    /// Sets the status of an incident, with all the effects of resolving and reopening.
    async fn set_incident_status(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: SetIncidentStatusInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = Patch { status: Some(input.status), ..Patch::default() }.into();
        edit(ctx, input.incident_id, input.call, expecting(input.known, Ok(change))).await
    }

    /// Assigns an incident and all of its alerts to a user, a group or the caller. The status does not change. A
    /// resolved incident can be assigned too.
    async fn assign_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: AssignIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = input.read().map(|owner| IncidentEdit { owner: Some(Some(owner)), ..IncidentEdit::default() });
        edit(ctx, input.incident_id, input.call, expecting(input.known, change)).await
    }

    /// Unassigns an incident and all of its alerts.
    async fn unassign_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UnassignIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = IncidentEdit { owner: Some(None), ..IncidentEdit::default() };
        edit(ctx, input.incident_id, input.call, expecting(input.known, Ok(change))).await
    }

    /// Adds tags to an incident. A tag that the incident already has changes nothing and is no error.
    async fn add_tags(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: AddTagsInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = input.read().map(|add_tags| Patch { add_tags, ..Patch::default() }.into());
        edit(ctx, input.incident_id, input.call, change).await
    }

    /// Removes tags from an incident. A tag that the incident does not have changes nothing and is no error.
    async fn remove_tags(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: RemoveTagsInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = input.read().map(|remove_tags| Patch { remove_tags, ..Patch::default() }.into());
        edit(ctx, input.incident_id, input.call, change).await
    }

    /// Sets or clears the classification of an incident, whether it is open or resolved.
    async fn classify_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: ClassifyIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let pair = said("classification", input.classification);
        let change = pair.map(|pair| Patch { classification: Some(pair), ..Patch::default() }.into());
        edit(ctx, input.incident_id, input.call, expecting(input.known, change)).await
    }

    /// Resolves an incident, and all of its alerts that are not yet resolved. If the incident is already resolved, a
    /// given note or classification replaces the former value, and the time and the actor of the resolution stay. The
    /// note is not a comment: `updateIncident` resolves and comments in one change.
    async fn resolve_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: ResolveIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let note = input.note.as_deref().map(|note| parse_note("note", note)).transpose();
        let change = note.map(|note| Patch {
            status: Some(Status::Resolved),
            note: note.flatten().map(Some),
            classification: input.classification.map(Some),
            ..Patch::default()
        });
        let change = change.map(IncidentEdit::from);
        edit(ctx, input.incident_id, input.call, expecting(input.known, change)).await
    }

    /// Reopens a resolved incident. An incident that is not resolved is a `CONFLICT`, unless it already has the
    /// requested status. An alert that was resolved together with the incident returns to its former status, if it is
    /// still linked and has not changed since. The classification stays; the note and the actor of the resolution stay
    /// in the log. `FORBIDDEN` if the role of the caller is below the policy `reopenRole`.
    async fn reopen_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: ReopenIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = match input.status {
            Status::New | Status::Active => {
                let patch = Patch { status: Some(input.status), ..Patch::default() };
                Ok(IncidentEdit { is_reopening: true, ..patch.into() })
            }
            _ => Err(Error::invalid("status", "an incident is reopened to NEW or ACTIVE")),
        };
        edit(ctx, input.incident_id, input.call, expecting(input.known, change)).await
    }

    /// Deletes an incident. It disappears from all queries and queues, its alerts then belong to no incident, and its
    /// log stays. Only managers may delete incidents.
    async fn delete_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: DeleteIncidentInput,
    ) -> Result<Option<DeleteIncidentPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = incident_id("incidentId", &input.incident_id)?;
            let did = app.delete_incident(&command, id, input.known.expected_version).await;
            did.map_err(|error| error.at("incidentId"))
        })
        .await
    }

    /// Takes back the deletion of an incident: it is in queries and queues again, with its fields, tags, comments and
    /// bookmarks as they were. Its alerts do not come back, because other incidents may hold them by now; the
    /// `AlertsUnlinkedEntry` of the deletion names them. An incident that is not deleted does not change. An incident
    /// that was merged into another incident is a `CONFLICT`. Managers only.
    async fn restore_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: RestoreIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = incident_id("incidentId", &input.incident_id)?;
            let did = app.restore_incident(&command, id, input.known.expected_version).await;
            did.map_err(|error| error.at("incidentId"))
        })
        .await
    }

    /// Links alerts to an incident, or moves them there. The computed severity, entities, products, times and a
    /// generated title of the incident change with its alerts.
    async fn link_alerts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: LinkAlertsInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = alert_ids("alerts", &input.alerts).map(|link| IncidentEdit {
            link,
            move_alerts: input.r#move,
            reopen: input.reopen,
            ..IncidentEdit::default()
        });
        edit(ctx, input.incident_id, input.call, change).await
    }

    /// Unlinks alerts from an incident. They then belong to no incident.
    async fn unlink_alerts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UnlinkAlertsInput,
    ) -> Result<Option<IncidentPayload>> {
        let change =
            alert_ids("alerts", &input.alerts).map(|unlink| IncidentEdit { unlink, ..IncidentEdit::default() });
        edit(ctx, input.incident_id, input.call, change).await
    }
}
