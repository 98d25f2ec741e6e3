//! The mutations. Each mutation is one command, one transaction and one answer.

use async_graphql::{Context, Object};

use super::account::{GroupMembersInput, UpsertGroupInput, UpsertUserInput};
use super::alert::{IngestAlertInput, IngestAlertsInput, IngestTarget, UpdateAlertInput, alert_ids, ingest_target};
use super::attachment::{CreateAttachmentInput, CreateAttachmentPayload};
use super::bookmark::{AddBookmarkInput, BookmarkPayload, RemoveBookmarkInput, bookmark_id};
use super::bulk::{BulkJob, BulkPayload, BulkPreview, BulkUpdateIncidentsInput, CancelBulkJobInput, bulk_job_id};
use super::call::{Call, Known, said};
use super::comment::{DeleteCommentInput, EditCommentInput, comment_id, new_comment};
use super::context::{View, app, command, now, viewer};
use super::input::*;
use super::merge::{MergeIncidentsInput, MergePayload, SplitIncidentInput, SplitIncidentPayload, UndoMergeInput};
use super::payload::*;
use super::searches::Search;
use super::tag::{SystemTagInput, system_tags};
use super::view::{
    CreateViewInput, DefaultViewPayload, DeleteViewInput, DeleteViewPayload, SavedView, SetDefaultViewInput,
    UpdateViewInput, ViewPayload, VisitViewInput, view_id,
};
use crate::app::alert::Ingest;
use crate::app::bulk::BulkTarget;
use crate::app::idempotency::Did;
use crate::app::incident::{IncidentEdit, Outcome};
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

/// Runs one edit of one incident, as most mutations do.
async fn edit(
    ctx: &Context<'_>,
    incident: &async_graphql::ID,
    call: Call,
    edit: Result<IncidentEdit>,
) -> Result<IncidentPayload> {
    let outcome = update(ctx, incident, &call, edit).await;
    let outcome = outcome.map_err(|error| below(error.reworded(&SINGLE_ACTION_WORDS)))?;
    IncidentPayload::new(ctx, outcome, call)
}

/// Adds the version that the caller knows to an edit.
fn expecting(known: Known, edit: Result<IncidentEdit>) -> Result<IncidentEdit> {
    Ok(IncidentEdit { expected_version: known.expected_version, ..edit? })
}

async fn update(
    ctx: &Context<'_>,
    incident: &async_graphql::ID,
    call: &Call,
    edit: Result<IncidentEdit>,
) -> Result<Outcome> {
    let id = incident_id("incidentId", incident)?;
    let command = command(ctx, call)?;
    app(ctx)?.update_incident(&command, id, edit?).await.map_err(|error| error.at("incidentId"))
}

/// Puts the path of an error below the argument `input`, where the fields of an input are.
fn below(error: Error) -> Error {
    error.below("input")
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
        let call = input.call.clone();
        let outcome = async {
            let command = command(ctx, &call)?;
            let (id, edit) = input.read(now(ctx)?)?;
            app(ctx)?.create_incident(&command, id, edit).await
        };
        let outcome = outcome.await.map_err(|error| below(error.reworded(&SINGLE_ACTION_WORDS)))?;
        IncidentPayload::new(ctx, outcome, call).map(Some)
    }

    /// Edits one incident: several of the single actions together, all or nothing, as one change.
    async fn update_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpdateIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let (id, call) = (input.incident_id.clone(), input.call.clone());
        let outcome = update(ctx, &id, &call, now(ctx).and_then(|now| input.read(now))).await.map_err(below)?;
        IncidentPayload::new(ctx, outcome, call).map(Some)
    }

    /// Sets the title of an incident.
    async fn rename_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: RenameIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let title = title::parse("title", input.title);
        let change = title.map(|title| Patch { title: Some(title), ..Patch::default() }.into());
        edit(ctx, &input.incident_id, input.call, expecting(input.known, change)).await.map(Some)
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
        edit(ctx, &input.incident_id, input.call, expecting(input.known, change)).await.map(Some)
    }

    /// Overrides the severity of an incident, or returns to the computed severity.
    async fn set_incident_severity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: SetIncidentSeverityInput,
    ) -> Result<Option<IncidentPayload>> {
        let severity = said("severity", input.severity);
        let change = severity.map(|severity| Patch { severity: Some(severity), ..Patch::default() }.into());
        edit(ctx, &input.incident_id, input.call, expecting(input.known, change)).await.map(Some)
    }

    /// Sets the status of an incident, with all the effects of resolving and reopening.
    async fn set_incident_status(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: SetIncidentStatusInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = Patch { status: Some(input.status), ..Patch::default() }.into();
        edit(ctx, &input.incident_id, input.call, expecting(input.known, Ok(change))).await.map(Some)
    }

    /// Assigns an incident and all of its alerts to a user, a group or the caller.
    async fn assign_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: AssignIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = input.read().map(|owner| IncidentEdit { owner: Some(Some(owner)), ..IncidentEdit::default() });
        edit(ctx, &input.incident_id, input.call, expecting(input.known, change)).await.map(Some)
    }

    /// Unassigns an incident and all of its alerts.
    async fn unassign_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UnassignIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = IncidentEdit { owner: Some(None), ..IncidentEdit::default() };
        edit(ctx, &input.incident_id, input.call, expecting(input.known, Ok(change))).await.map(Some)
    }

    /// Adds tags to an incident. A tag that the incident already has changes nothing and is no error.
    async fn add_tags(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: AddTagsInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = input.read().map(|add_tags| Patch { add_tags, ..Patch::default() }.into());
        edit(ctx, &input.incident_id, input.call, change).await.map(Some)
    }

    /// Removes tags from an incident. A tag that the incident does not have changes nothing and is no error.
    async fn remove_tags(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: RemoveTagsInput,
    ) -> Result<Option<IncidentPayload>> {
        let change = input.read().map(|remove_tags| Patch { remove_tags, ..Patch::default() }.into());
        edit(ctx, &input.incident_id, input.call, change).await.map(Some)
    }

    /// Sets or clears the classification of an incident, whether it is open or resolved.
    async fn classify_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: ClassifyIncidentInput,
    ) -> Result<Option<IncidentPayload>> {
        let pair = said("classification", input.classification);
        let change = pair.map(|pair| Patch { classification: Some(pair), ..Patch::default() }.into());
        edit(ctx, &input.incident_id, input.call, expecting(input.known, change)).await.map(Some)
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
        edit(ctx, &input.incident_id, input.call, expecting(input.known, change)).await.map(Some)
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
        edit(ctx, &input.incident_id, input.call, expecting(input.known, change)).await.map(Some)
    }

    /// Deletes an incident. It disappears from all queries and queues, its alerts then belong to no incident, and its
    /// log stays. Managers only.
    async fn delete_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: DeleteIncidentInput,
    ) -> Result<Option<DeleteIncidentPayload>> {
        let call = input.call.clone();
        let outcome = async {
            let id = incident_id("incidentId", &input.incident_id)?;
            app(ctx)?
                .delete_incident(&command(ctx, &call)?, id, input.known.expected_version)
                .await
                .map_err(|error| error.at("incidentId"))
        };
        DeleteIncidentPayload::new(ctx, outcome.await.map_err(below)?, call).map(Some)
    }

    /// Adds a comment to an incident.
    async fn add_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: AddCommentInput,
    ) -> Result<Option<CommentPayload>> {
        let call = input.call.clone();
        let outcome = async {
            let comment = new_comment("body", &input.body);
            let edit = comment.map(|comment| IncidentEdit { comment: Some(comment), ..IncidentEdit::default() });
            update(ctx, &input.incident_id, &call, edit).await
        };
        let outcome = outcome.await.map_err(|error| below(error.reworded(&[("comment", "body")])))?;
        CommentPayload::new(ctx, outcome, call).map(Some)
    }

    /// Changes the text of a comment. The former text stays in its history. The author only.
    async fn edit_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: EditCommentInput,
    ) -> Result<Option<CommentPayload>> {
        let call = input.call.clone();
        let outcome = async {
            let id = comment_id("commentId", &input.comment_id)?;
            let body = comment::parse("body", &input.body)?;
            app(ctx)?.edit_comment(&command(ctx, &call)?, id, body).await.map_err(|error| error.at("commentId"))
        };
        CommentPayload::new(ctx, outcome.await.map_err(below)?, call).map(Some)
    }

    /// Deletes a comment. Its history stays. The author or a manager only.
    async fn delete_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: DeleteCommentInput,
    ) -> Result<Option<CommentPayload>> {
        let call = input.call.clone();
        let outcome = async {
            let id = comment_id("commentId", &input.comment_id)?;
            app(ctx)?.delete_comment(&command(ctx, &call)?, id).await.map_err(|error| error.at("commentId"))
        };
        CommentPayload::new(ctx, outcome.await.map_err(below)?, call).map(Some)
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
        edit(ctx, &input.incident_id, input.call, change).await.map(Some)
    }

    /// Unlinks alerts from an incident. They then belong to no incident.
    async fn unlink_alerts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UnlinkAlertsInput,
    ) -> Result<Option<IncidentPayload>> {
        let change =
            alert_ids("alerts", &input.alerts).map(|unlink| IncidentEdit { unlink, ..IncidentEdit::default() });
        edit(ctx, &input.incident_id, input.call, change).await.map(Some)
    }

    /// Ingests one alert. A report with the key of a known alert updates that alert.
    async fn ingest_alert(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: IngestAlertInput,
    ) -> Result<Option<IngestPayload>> {
        let IngestAlertInput { alert, into, system_tags, call } = input;
        let draft = now(ctx).and_then(|now| alert.read(now)).map_err(|error| error.below("alert"));
        let ingested = taken_in(draft.map(|draft| vec![draft]), into.as_ref(), &system_tags);
        ingest(ctx, ingested, &INGEST_ALERT_WORDS, call).await.map(Some)
    }

    /// Ingests alerts, all or nothing. A report with the key of a known alert updates that alert. With `into.correlate`
    /// a batch opens or joins at most 500 incidents (`LIMIT`).
    async fn ingest_alerts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: IngestAlertsInput,
    ) -> Result<Option<IngestPayload>> {
        let IngestAlertsInput { alerts, into, system_tags, call } = input;
        let now = now(ctx)?;
        let drafts = each("alerts", alerts, |path, alert| alert.read(now).map_err(|error| error.below(path)));
        ingest(ctx, taken_in(drafts, into.as_ref(), &system_tags), &INGEST_WORDS, call).await.map(Some)
    }

    /// Changes the status, classification or owner of an alert by hand. To make an alert of a resolved incident active
    /// is a `CONFLICT`: reopen the incident first.
    async fn update_alert(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpdateAlertInput,
    ) -> Result<Option<AlertPayload>> {
        let call = input.call.clone();
        let outcome = async {
            let id = super::connection::read_id("alertId", &input.alert_id, AlertId::WORD, AlertId::parse)?;
            let outcome = app(ctx)?.update_alert(&command(ctx, &call)?, id, input.read()?).await;
            outcome.map_err(|error| error.at("alertId"))
        };
        AlertPayload::new(ctx, outcome.await.map_err(below)?, call).map(Some)
    }

    /// Creates a user, or changes the user with the same account id. Managers only.
    async fn upsert_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpsertUserInput,
    ) -> Result<Option<UserPayload>> {
        let call = input.call.clone();
        let user = async {
            let draft =
                UserDraft::parse(&input.account, input.name.as_deref(), input.email.as_opt_deref(), input.role)?;
            app(ctx)?.upsert_user(&command(ctx, &call)?, draft).await
        };
        Ok(Some(UserPayload::new(user.await.map_err(below)?, call)))
    }

    /// Creates a group, or changes the group with the same account id. Managers only.
    async fn upsert_group(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpsertGroupInput,
    ) -> Result<Option<GroupPayload>> {
        let call = input.call.clone();
        let group = async {
            let draft = GroupDraft::parse(&input.account, input.name.as_deref())?;
            app(ctx)?.upsert_group(&command(ctx, &call)?, draft).await
        };
        GroupPayload::new(ctx, group.await.map_err(below)?, call).map(Some)
    }

    /// Adds users to a group. Users who are already members stay members. Managers only.
    async fn add_group_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: GroupMembersInput,
    ) -> Result<Option<GroupPayload>> {
        let group = async {
            let (group, users) = input.read()?;
            app(ctx)?.add_members(&command(ctx, &input.call)?, group, users).await
        };
        GroupPayload::new(ctx, group.await.map_err(below)?, input.call).map(Some)
    }

    /// Removes users from a group. Managers only.
    async fn remove_group_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: GroupMembersInput,
    ) -> Result<Option<GroupPayload>> {
        let group = async {
            let (group, users) = input.read()?;
            app(ctx)?.remove_members(&command(ctx, &input.call)?, group, users).await
        };
        GroupPayload::new(ctx, group.await.map_err(below)?, input.call).map(Some)
    }

    /// Starts a bulk job that changes many incidents, by ids or by filter, each separately and with an outcome of its
    /// own; returns the job at once. One transaction changes at most 100 incidents, so another mutation waits for at
    /// most one such transaction.
    async fn bulk_update_incidents(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: BulkUpdateIncidentsInput,
    ) -> Result<Option<BulkPayload>> {
        let (call, dry_run) = (input.call.clone(), input.dry_run);
        let started = async {
            let (app, command) = (app(ctx)?, command(ctx, &call)?);
            let (target, edit) = input.read(viewer(ctx)?)?;
            if let BulkTarget::Queue(filter) = &target {
                let searches = View::of_request(ctx)?.searches();
                let counted = searches.look_for(&**filter).and_then(|()| searches.spend(Search::Count, &**filter));
                counted.map_err(|error| error.below("target"))?;
            }
            match dry_run {
                true => {
                    let tried = app.dry_run_bulk(&command, &target, edit).await?;
                    Ok((tried.total, None, Some(tried)))
                }
                false => {
                    let did = app.start_bulk(&command, target, edit).await?;
                    Ok((did.done.total, Some(did), None))
                }
            }
        };
        let (total, did, tried) = started.await.map_err(below)?;
        let replayed = did.as_ref().is_some_and(|did| did.replayed);
        let view = View::fresh(ctx)?;
        let preview = tried.map(|tried| BulkPreview::new(&view, tried));
        let job = did.map(|did| BulkJob { view, job: did.done });
        Ok(Some(BulkPayload { total, job, preview, client_mutation_id: call.client_mutation_id, replayed }))
    }

    /// Cancels a bulk job. Changes that it has made stay, and the rest is not done. Its creator or a manager only.
    async fn cancel_bulk_job(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: CancelBulkJobInput,
    ) -> Result<Option<BulkPayload>> {
        let did = async {
            let id = bulk_job_id("jobId", &input.job_id)?;
            let did = app(ctx)?.cancel_bulk(&command(ctx, &input.call)?, id).await;
            did.map_err(|error| error.at("jobId"))
        };
        let Did { done: job, replayed, .. } = did.await.map_err(below)?;
        let (total, job) = (job.total, Some(BulkJob { view: View::fresh(ctx)?, job }));
        let client_mutation_id = input.call.client_mutation_id;
        Ok(Some(BulkPayload { total, job, preview: None, client_mutation_id, replayed }))
    }

    /// Announces an image for an incident, and returns the path to `PUT` its bytes to within 15 minutes. The bytes must
    /// have the announced type and size. A comment shows the image with `![text](attachment:…)`. An incident that has
    /// 200 attachments takes no further attachment (`LIMIT`).
    async fn create_attachment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: CreateAttachmentInput,
    ) -> Result<Option<CreateAttachmentPayload>> {
        super::attachment::create(ctx, input).await.map_err(below).map(Some)
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
        let call = input.call.clone();
        let done = async { app(ctx)?.merge_incidents(&command(ctx, &call)?, input.read()?, input.known()).await };
        MergePayload::new(ctx, done.await.map_err(below)?, call).map(Some)
    }

    /// Undoes a merge: both incidents are as they were before it. If either incident has changed since, the undo is a
    /// `CONFLICT`, and `extensions.now.changes` names the changes. Managers only.
    async fn undo_merge(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UndoMergeInput,
    ) -> Result<Option<MergePayload>> {
        let call = input.call.clone();
        let done = async {
            let id = incident_id("incidentId", &input.incident_id)?;
            app(ctx)?.undo_merge(&command(ctx, &call)?, id).await
        };
        MergePayload::new(ctx, done.await.map_err(below)?, call).map(Some)
    }

    /// Moves some alerts of an incident into a new incident, which is `NEW` and unassigned. A resolved incident is a
    /// `CONFLICT`: reopen it first.
    async fn split_incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: SplitIncidentInput,
    ) -> Result<Option<SplitIncidentPayload>> {
        let call = input.call.clone();
        let done = async { app(ctx)?.split_incident(&command(ctx, &call)?, input.read()?).await };
        let done = done.await.map_err(|error| below(error.reworded(&SINGLE_ACTION_WORDS)))?;
        SplitIncidentPayload::new(ctx, done, call).map(Some)
    }

    /// Pins a result of a hunt to an incident. It never conflicts with changes of other callers. An incident that has
    /// 20 bookmarks takes no further bookmark (`LIMIT`).
    async fn add_bookmark(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: AddBookmarkInput,
    ) -> Result<Option<BookmarkPayload>> {
        let call = input.call.clone();
        let done = async {
            let (incident, finding, rows) = input.read(now(ctx)?)?;
            let done = app(ctx)?.add_bookmark(&command(ctx, &call)?, incident, finding, rows).await;
            done.map_err(|error| error.at("incidentId"))
        };
        BookmarkPayload::new(ctx, done.await.map_err(below)?, call).map(Some)
    }

    /// Removes a bookmark from an incident. The log still shows it.
    async fn remove_bookmark(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: RemoveBookmarkInput,
    ) -> Result<Option<BookmarkPayload>> {
        let call = input.call.clone();
        let done = async {
            let id = bookmark_id("bookmarkId", &input.bookmark_id)?;
            let done = app(ctx)?.remove_bookmark(&command(ctx, &call)?, id).await;
            done.map_err(|error| error.at("bookmarkId"))
        };
        BookmarkPayload::new(ctx, done.await.map_err(below)?, call).map(Some)
    }

    /// Saves a filter and an order as a view, for the caller only or shared with everybody. A user has at most 100
    /// views and a desk at most 500 shared views; a further view is `LIMIT`.
    async fn create_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: CreateViewInput,
    ) -> Result<Option<ViewPayload>> {
        let call = input.call.clone();
        let view = async { app(ctx)?.create_view(&command(ctx, &call)?, input.read()?).await };
        ViewPayload::new(ctx, view.await.map_err(below)?, true, call).map(Some)
    }

    /// Changes the name, filter, order or visibility of a view. Slug and link stay. The owner or a manager only.
    async fn update_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpdateViewInput,
    ) -> Result<Option<ViewPayload>> {
        let call = input.call.clone();
        let done = async {
            let (id, patch) = input.read()?;
            let done = app(ctx)?.update_view(&command(ctx, &call)?, id, patch).await;
            done.map_err(|error| error.at("viewId"))
        };
        let did = done.await.map_err(below)?;
        let changed = did.done.1;
        ViewPayload::new(ctx, did.map(|(view, _)| Ok(view))?, changed, call).map(Some)
    }

    /// Deletes a view. It stops being anybody's default view, and its slug is free. The owner or a manager only.
    async fn delete_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: DeleteViewInput,
    ) -> Result<Option<DeleteViewPayload>> {
        let call = input.call.clone();
        let done = async {
            let id = view_id("viewId", &input.view_id)?;
            let done = app(ctx)?.delete_view(&command(ctx, &call)?, id).await;
            done.map(|did| (id, did.replayed)).map_err(|error| error.at("viewId"))
        };
        let (id, replayed) = done.await.map_err(below)?;
        let client_mutation_id = call.client_mutation_id;
        Ok(Some(DeleteViewPayload { deleted_id: id.to_string().into(), client_mutation_id, replayed }))
    }

    /// Sets or clears the default view: the view that the caller starts with.
    async fn set_default_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: SetDefaultViewInput,
    ) -> Result<Option<DefaultViewPayload>> {
        let call = input.call.clone();
        let view = async {
            let id = input.read()?;
            let view = app(ctx)?.set_default_view(&command(ctx, &call)?, id).await;
            view.map_err(|error| error.at("viewId"))
        };
        let (did, fresh) = (view.await.map_err(below)?, View::fresh(ctx)?);
        let default_view = did.done.map(|view| SavedView::new(fresh, view));
        Ok(Some(DefaultViewPayload {
            default_view,
            client_mutation_id: call.client_mutation_id,
            replayed: did.replayed,
        }))
    }

    /// Records that the caller has seen the view as it is now. Incidents that change from now on are unread.
    async fn visit_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: VisitViewInput,
    ) -> Result<Option<ViewPayload>> {
        let call = input.call.clone();
        let view = async {
            let id = view_id("viewId", &input.view_id)?;
            app(ctx)?.visit_view(&command(ctx, &call)?, id).await.map_err(|error| error.at("viewId"))
        };
        ViewPayload::new(ctx, view.await.map_err(below)?, false, call).map(Some)
    }
}

fn taken_in(drafts: Result<Vec<AlertDraft>>, into: Option<&IngestTarget>, tags: &[SystemTagInput]) -> Result<Ingest> {
    let system_tags = system_tags("systemTags", tags)?;
    Ok(Ingest { system_tags, ..Ingest::new(drafts?, ingest_target(into)?) })
}

async fn ingest(ctx: &Context<'_>, asked: Result<Ingest>, words: &[(&str, &str)], call: Call) -> Result<IngestPayload> {
    let ingested = async {
        let command = command(ctx, &call)?;
        app(ctx)?.ingest_alerts(&command, asked?).await
    };
    let ingested = ingested.await.map_err(|error| below(error.reworded(words)))?;
    IngestPayload::new(ctx, ingested, call)
}
