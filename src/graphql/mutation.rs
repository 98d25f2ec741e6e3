//! The mutations. Each mutation is one command, one transaction and one answer.

use async_graphql::{Context, ID, Object};

use super::account::{GroupMembersInput, UpsertGroupInput, UpsertUserInput};
use super::alert::{IngestAlertInput, IngestAlertsInput, IngestTarget, UpdateAlertInput, alert_ids, ingest_target};
use super::attachment::{CreateAttachmentInput, CreateAttachmentPayload};
use super::bookmark::{AddBookmarkInput, BookmarkPayload, RemoveBookmarkInput, bookmark_id};
use super::bulk::{BulkAnswer, BulkPayload, BulkUpdateIncidentsInput, CancelBulkJobInput, bulk_job_id};
use super::call::{Call, Known, said};
use super::comment::{DeleteCommentInput, EditCommentInput, comment_id, new_comment};
use super::connection::read_id;
use super::context::{View, app, command};
use super::input::*;
use super::merge::{MergeIncidentsInput, MergePayload, SplitIncidentInput, SplitIncidentPayload, UndoMergeInput};
use super::payload::*;
use super::tag::{SystemTagInput, system_tags};
use super::view::{
    CreateViewInput, DefaultViewPayload, DeleteViewInput, DeleteViewPayload, SetDefaultViewInput, UpdateViewInput,
    ViewPayload, VisitViewInput, view_id,
};
use crate::app::alert::{Ingest, Ingested};
use crate::app::idempotency::Did;
use crate::app::incident::IncidentEdit;
use crate::app::{App, Command};
use crate::domain::account::{GroupDraft, UserDraft};
use crate::domain::alert::AlertDraft;
use crate::domain::incident::{Patch, Status, parse_description, parse_note};
use crate::domain::path::each;
use crate::domain::{AlertId, Error, Result, comment, title};

/// The root of all mutations.
pub struct Mutation;

/// The fields of single-action inputs whose name differs from `updateIncident`, which names the fields of commands.
const SINGLE_ACTION_WORDS: [(&str, &str); 3] =
    [("addTags", "tags"), ("linkAlerts", "alerts"), ("unlinkAlerts", "alerts")];

/// The fields of `ingestAlerts` whose name differs from the edit of an incident, which an ingest makes too.
const INGEST_WORDS: [(&str, &str); 2] = [("addTags", "systemTags"), ("linkAlerts", "into.incident")];

/// The same fields of `ingestAlert`, and its alert, which is the first alert of a batch.
const INGEST_ALERT_WORDS: [(&str, &str); 3] = [INGEST_WORDS[0], INGEST_WORDS[1], ("alerts.0", "alert")];

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
fn expecting(known: Known, edit: Result<IncidentEdit>) -> Result<IncidentEdit> {
    Ok(IncidentEdit { expected_version: known.expected_version, ..edit? })
}

/// Ingests alerts into the incident that the input names.
async fn ingest(
    app: &App,
    command: &Command,
    alerts: Vec<AlertDraft>,
    into: Option<&IngestTarget>,
    tags: &[SystemTagInput],
) -> Result<Did<Ingested>> {
    let batch = Ingest { system_tags: system_tags("systemTags", tags)?, ..Ingest::new(alerts, ingest_target(into)?) };
    app.ingest_alerts(command, batch).await
}

/// The root of all mutations. Each mutation is one transaction: all or nothing. If a mutation is refused, it is null,
/// and the other mutations of the document stand. `Query` lists the error codes.
#[Object]
impl Mutation {
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

    /// Edits one incident: several of the single actions together, all or nothing, as one change.
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

    /// Assigns an incident and all of its alerts to a user, a group or the caller.
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

    /// Resolves an incident, and all of its alerts that are not yet resolved.
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

    /// Reopens a resolved incident. If the incident is not resolved and has another status, the mutation is a `CONFLICT`. Alerts that its resolution
    /// resolved, if still linked and unchanged since, return to their former status. The classification stays; the note
    /// and the actor of the resolution stay in the log. `FORBIDDEN` if the role of the caller is below the policy
    /// `reopenRole`.
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
    /// log stays. Managers only.
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

    /// Adds a comment to an incident.
    async fn add_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: AddCommentInput,
    ) -> Result<Option<CommentPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = incident_id("incidentId", &input.incident_id)?;
            let did = app.add_comment(&command, id, new_comment("body", &input.body)?).await;
            did.map_err(|error| error.at("incidentId").reworded(&[("comment", "body")]))
        })
        .await
    }

    /// Changes the text of a comment. The former text stays in its history. The author only.
    async fn edit_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: EditCommentInput,
    ) -> Result<Option<CommentPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = comment_id("commentId", &input.comment_id)?;
            let body = comment::parse("body", &input.body)?;
            app.edit_comment(&command, id, body).await.map_err(|error| error.at("commentId"))
        })
        .await
    }

    /// Deletes a comment. Its history stays. The author or a manager only.
    async fn delete_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: DeleteCommentInput,
    ) -> Result<Option<CommentPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = comment_id("commentId", &input.comment_id)?;
            app.delete_comment(&command, id).await.map_err(|error| error.at("commentId"))
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

    /// Ingests one alert. A report with the key of a known alert updates that alert.
    async fn ingest_alert(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: IngestAlertInput,
    ) -> Result<Option<IngestPayload>> {
        let IngestAlertInput { alert, into, system_tags, call } = input;
        run(ctx, call, async move |app, command| {
            let draft = alert.read(command.at).map_err(|error| error.below("alert"))?;
            let did = ingest(app, &command, vec![draft], into.as_ref(), &system_tags).await;
            did.map_err(|error| error.reworded(&INGEST_ALERT_WORDS))
        })
        .await
    }

    /// Ingests alerts, all or nothing. A report with the key of a known alert updates that alert. With `into.correlate`
    /// a batch opens or joins at most 500 incidents (`LIMIT`).
    async fn ingest_alerts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: IngestAlertsInput,
    ) -> Result<Option<IngestPayload>> {
        let IngestAlertsInput { alerts, into, system_tags, call } = input;
        run(ctx, call, async move |app, command| {
            let at = command.at;
            let drafts = each("alerts", alerts, |path, alert| alert.read(at).map_err(|error| error.below(path)))?;
            let did = ingest(app, &command, drafts, into.as_ref(), &system_tags).await;
            did.map_err(|error| error.reworded(&INGEST_WORDS))
        })
        .await
    }

    /// Changes the status, classification or owner of an alert by hand. To make an alert of a resolved incident active
    /// is a `CONFLICT`: reopen the incident first.
    async fn update_alert(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpdateAlertInput,
    ) -> Result<Option<AlertPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let id = read_id("alertId", &input.alert_id, AlertId::WORD, AlertId::parse)?;
            app.update_alert(&command, id, input.read()?).await.map_err(|error| error.at("alertId"))
        })
        .await
    }

    /// Creates a user, or changes the user with the same account id. Managers only.
    async fn upsert_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpsertUserInput,
    ) -> Result<Option<UserPayload>> {
        let UpsertUserInput { account, name, email, role, call } = input;
        run(ctx, call, async move |app, command| {
            let draft = UserDraft::parse(&account, name.as_deref(), email.as_opt_deref(), role)?;
            app.upsert_user(&command, draft).await
        })
        .await
    }

    /// Creates a group, or changes the group with the same account id. Managers only.
    async fn upsert_group(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpsertGroupInput,
    ) -> Result<Option<GroupPayload>> {
        run(ctx, input.call, async move |app, command| {
            let draft = GroupDraft::parse(&input.account, input.name.as_deref())?;
            app.upsert_group(&command, draft).await
        })
        .await
    }

    /// Adds users to a group. Users who are already members stay members. Managers only.
    async fn add_group_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: GroupMembersInput,
    ) -> Result<Option<GroupPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (group, users) = input.read()?;
            app.add_members(&command, group, users).await
        })
        .await
    }

    /// Removes users from a group. Managers only.
    async fn remove_group_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: GroupMembersInput,
    ) -> Result<Option<GroupPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (group, users) = input.read()?;
            app.remove_members(&command, group, users).await
        })
        .await
    }

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

    /// Announces an image for an incident, and returns the path to `PUT` its bytes to within 15 minutes. The bytes must
    /// have the announced type and size. A comment shows the image with `![text](attachment:…)`. An incident that has
    /// 200 attachments takes no further attachment (`LIMIT`).
    async fn create_attachment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: CreateAttachmentInput,
    ) -> Result<Option<CreateAttachmentPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (incident, draft) = input.read()?;
            app.create_attachment(&command, incident, draft).await.map_err(|error| error.at("incidentId"))
        })
        .await
    }

    /// Merges an incident (the source) into another incident (the target), which takes over its alerts, tags, comments,
    /// bookmarks and attachments and gets a new generated title. The source stays as a `REDIRECTED` stub, and its
    /// number leads to the target. A source or target that is resolved or redirected is a `CONFLICT`. Managers only.
    /// `previewMerge` shows the outcome beforehand.
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
    /// `CONFLICT`, and `extensions.now.changes` names the changes. Managers only.
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

    /// Pins a result of a hunt to an incident. It never conflicts with changes of other callers. An incident that has
    /// 20 bookmarks takes no further bookmark (`LIMIT`).
    async fn add_bookmark(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: AddBookmarkInput,
    ) -> Result<Option<BookmarkPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (incident, finding, rows) = input.read(command.at)?;
            let did = app.add_bookmark(&command, incident, finding, rows).await;
            did.map_err(|error| error.at("incidentId"))
        })
        .await
    }

    /// Removes a bookmark from an incident. The log still shows it.
    async fn remove_bookmark(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: RemoveBookmarkInput,
    ) -> Result<Option<BookmarkPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = bookmark_id("bookmarkId", &input.bookmark_id)?;
            app.remove_bookmark(&command, id).await.map_err(|error| error.at("bookmarkId"))
        })
        .await
    }

    /// Saves a filter and an order as a view, for the caller only or shared with everybody. A user has at most 100
    /// views and a desk at most 500 shared views; a further view is `LIMIT`.
    async fn create_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: CreateViewInput,
    ) -> Result<Option<ViewPayload>> {
        run(ctx, input.call.clone(), async move |app, command| app.create_view(&command, input.read()?).await).await
    }

    /// Changes the name, filter, order or visibility of a view. Slug and link stay. The owner or a manager only.
    async fn update_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpdateViewInput,
    ) -> Result<Option<ViewPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (id, patch) = input.read()?;
            app.update_view(&command, id, patch).await.map_err(|error| error.at("viewId"))
        })
        .await
    }

    /// Deletes a view. It stops being anybody's default view, and its slug is free. The owner or a manager only.
    async fn delete_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: DeleteViewInput,
    ) -> Result<Option<DeleteViewPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = view_id("viewId", &input.view_id)?;
            app.delete_view(&command, id).await.map_err(|error| error.at("viewId"))
        })
        .await
    }

    /// Sets or clears the default view: the view that the caller starts with.
    async fn set_default_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: SetDefaultViewInput,
    ) -> Result<Option<DefaultViewPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            app.set_default_view(&command, input.read()?).await.map_err(|error| error.at("viewId"))
        })
        .await
    }

    /// Records that the caller has seen the view as it is now. Incidents that change from now on are unread.
    async fn visit_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: VisitViewInput,
    ) -> Result<Option<ViewPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = view_id("viewId", &input.view_id)?;
            app.visit_view(&command, id).await.map_err(|error| error.at("viewId"))
        })
        .await
    }
}
