//! The queries. All fields of one request are read from one snapshot.

use std::collections::HashMap;
use std::hash::Hash;

use async_graphql::{Context, ID, Interface, Object, SimpleObject};

use super::account::{AssigneeSuggestion, Caller, Group, GroupConnection, User, UserConnection};
use super::activity::{ActivityInput, ChangeConnection};
use super::alert::{Alert, AlertConnection};
use super::alert_filter::{AlertFilterInput, SEARCH_CHARS_MAX};
use super::as_of::{IncidentAsOf, MomentInput};
use super::attachment::Attachment;
use super::bookmark::Bookmark;
use super::bulk::{BulkJob, BulkJobConnection, BulkJobFilterInput, bulk_job_id};
use super::comment::Comment;
use super::connection::{PAGE_MAX, PageArgs};
use super::context::View;
use super::desk_log::{Chosen, DeskLogConnection};
use super::filter::{IncidentFilterInput, IncidentOrderInput, order};
use super::incident::{Incident, IncidentConnection};
use super::input::{IncidentByInput, incident_id};
use super::merge::MergePreview;
use super::page::RequestedPage;
use super::policy::Policies;
use super::response_times::{CachedAnswers, ResponseTimes};
use super::summary::{QueueSummary, numbers, window};
use super::view::{SavedView, ViewByInput};
use crate::app::export::NamedIncident;
use crate::domain::filter::{IncidentFilter, QueueFilter};
use crate::domain::summary::SummaryFilter;
use crate::domain::{
    AlertId, AttachmentId, BookmarkId, BulkJobId, CommentId, Error, GroupId, IncidentId, Instant, Result, UserId,
    ViewId, text,
};

/// The most ids of one `nodes` field.
pub(super) const NODES_MAX: usize = 100;

/// The root of all queries.
pub struct Query;

/// An object with a global id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "The global id: `<noun>:<uuid>`."))]
pub(super) enum Node {
    /// An incident.
    Incident(Incident),
    /// An alert.
    Alert(Alert),
    /// A comment.
    Comment(Comment),
    /// An attachment.
    Attachment(Attachment),
    /// A user.
    User(User),
    /// A group.
    Group(Group),
    /// A bookmark.
    Bookmark(Bookmark),
    /// A saved view.
    SavedView(SavedView),
    /// A bulk job.
    BulkJob(BulkJob),
}

/// A tag that is suggested while a person types.
#[derive(SimpleObject)]
pub(super) struct TagSuggestion {
    /// The name, in the case in which it was first written.
    name: String,
    /// When the tag was last added to an incident, to the hour.
    last_used_at: Instant,
}

/// The tags that are suggested while a person types.
#[derive(SimpleObject)]
pub(super) struct TagSuggestions {
    /// The suggested tags. Tags used in the last 14 days come first, then older tags.
    tags: Vec<TagSuggestion>,
    /// Whether the typed text would be a new tag ("Create new"). False if the text is blank or names a known tag.
    would_be_new: bool,
}

/// The root of all queries. All fields of one request are read from the same snapshot. A query that begins after a
/// mutation was answered shows the mutation.
///
/// **Endpoint.** Every request goes to the path `/graphql`: by `POST` with `Content-Type: application/json`, a query
/// also by `GET`, or over a WebSocket. `Subscription` says how streams are sent.
///
/// **Caller.** The header `Watchfloor-Actor: <account>` names the account for which the request acts. On a WebSocket
/// the field `Watchfloor-Actor` in the payload of `connection_init` does. A request that names no account acts as the
/// local manager. The desk has no other sign-in and ignores the header `Authorization`.
///
/// **Pages.** A field with `first`, `after`, `last` and `before` returns a page. `first` (by default 50) or `last` is 0
/// to 100; the operator may set a lower maximum. A larger number is `LIMIT`. A negative number, or `first` together
/// with `last`, is `INVALID`. A cursor belongs to one list with one filter and one order; a text that is no cursor of
/// the list is `INVALID`. Each page is read from the present state. So an item that moves in the order between two
/// reads may be on both pages, or on neither page.
///
/// **Sizes.** A request has at most 2 MiB, and its document at most 16 KiB, 15 fields below each other, 30 aliases and
/// a cost of 50,000: about the number of fields that the answer may hold. An answer to a query has at most 8 MiB. The
/// operator may set other limits. Beyond a limit the request is `LIMIT`.
///
/// **Errors.** If a field is refused, it is null, and the other fields of the document keep their answers. If the type
/// of the refused field does not allow null, the field above it is null. If the document breaks a rule, if a value has
/// a wrong type, or if a list of the input has too many values, the whole document is refused: the answer has no
/// `data`, and nothing was executed.
///
/// The HTTP status is 200 for every answer to an operation, also if the answer has errors. With `Accept:
/// application/graphql-response+json` a document that is refused as a whole has status 400. A request that names an
/// unknown account has status 401. A desk that cannot take the request has status 503 and the header `Retry-After`.
/// Another status from 400 to 499 says that the HTTP request itself is wrong, and 500 is `INTERNAL`.
///
/// An error has its code in `extensions.code`. `extensions.path` names the input value that the error is about, for
/// example `input.tags.3`. It is absent if the error is about no single value. Codes:
/// - `NOT_FOUND`: the id, number or account names nothing that the caller may see.
/// - `INVALID`: the document or the input breaks a rule.
/// - `CONFLICT`: the present state forbids the request; `extensions.now` holds that state. `Mutation` says how to tell
///   conflicts apart.
/// - `FORBIDDEN`: the caller may not do it.
/// - `UNAUTHENTICATED`: the desk does not know the account that the request names.
/// - `LIMIT`: a limit is exceeded; `extensions.now.limit` is the limit.
/// - `UNAVAILABLE`: a retry may succeed. If nothing was changed, `extensions.retryAfter` is a whole number of seconds
///   after which to try again. Without `retryAfter` a mutation may have been done: send it again under its
///   `idempotencyKey`.
/// - `INTERNAL`: a fault of the server; `extensions.reference` finds it in the log of the server.
#[Object]
impl Query {
    /// The caller of the request, and what it may do.
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Caller> {
        Ok(Caller(View::of_request(ctx)?.clone()))
    }

    /// The rules of this desk for resolving and reopening incidents.
    async fn policies(&self, ctx: &Context<'_>) -> Result<Policies> {
        Ok(super::context::app(ctx)?.policies.into())
    }

    /// A page of a queue: the incidents that match a filter, in an order. Without a filter it is the default queue,
    /// `NEW` and `ACTIVE`; without an order the newest update comes first. Incidents that are equal in all keys of the
    /// order are ordered by id, in the direction of the last key; without an order, descending.
    #[expect(clippy::too_many_arguments, reason = "the arguments of a Relay connection, and the context")]
    async fn incidents(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The filter of the incidents. Without it, the default queue.")] filter: Option<
            IncidentFilterInput,
        >,
        #[graphql(
            desc = "The order: up to three keys, of which the first decides first. Without it, the newest update comes \
            first."
        )]
        order_by: Option<Vec<IncidentOrderInput>>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<Option<IncidentConnection>> {
        let view = View::of_request(ctx)?;
        let filter = match filter {
            Some(filter) => filter.read()?,
            None => IncidentFilter::default(),
        };
        view.searches().look_for(&filter)?;
        let filter = QueueFilter::resolve(&filter, view.viewer())?;
        let args = PageArgs { first, after, last, before };
        super::incident::queue(view, filter, order(order_by)?, args, RequestedPage::of(ctx)).await.map(Some)
    }

    /// The numbers of a wall screen, exact at their position: how many incidents of a queue are open (by severity,
    /// status and owner), when the oldest open incident was created, and how many incidents were created and resolved
    /// since a given time.
    async fn queue_summary(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The filter of the incidents. Without it, the default queue.")] filter: Option<
            IncidentFilterInput,
        >,
        #[graphql(
            desc = "`created` and `resolved` count from this time on, by default from the last midnight in UTC. A time \
            outside of the years 2 to 9998 is `INVALID`. If the time lies in the future, both counts are 0."
        )]
        since: Option<Instant>,
    ) -> Result<Option<QueueSummary>> {
        let view = View::of_request(ctx)?;
        let filter = filter.map(IncidentFilterInput::read).transpose()?.unwrap_or_default();
        view.searches().look_for(&filter)?;
        let filter = SummaryFilter::resolve(&filter, view.viewer())?;
        let numbers = numbers(|field| ctx.look_ahead().field(field).exists());
        super::summary::read(view, &filter, window(since)?.start(view.app().clock.now()), numbers).await.map(Some)
    }

    /// How long incidents waited for an owner and for their resolution: mean and percentiles over the last days. The
    /// numbers are computed at most once a minute for one filter, window and caller, and have their own position.
    async fn response_times(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The filter of the incidents. Without it, incidents of every status.")] filter: Option<
            IncidentFilterInput,
        >,
        #[graphql(default = 7, desc = "The length of the window, in days: 1 to 30.")] window_days: i32,
    ) -> Result<Option<ResponseTimes>> {
        let view = View::of_request(ctx)?;
        let answers = ctx.data::<CachedAnswers>().map_err(|error| Error::fault("finding answers", error.message))?;
        let filter = filter.map(IncidentFilterInput::read).transpose()?.unwrap_or_default();
        view.searches().look_for(&filter)?;
        super::response_times::read(view, answers, &SummaryFilter::resolve(&filter, view.viewer())?, window_days)
            .await
            .map(Some)
    }

    /// One incident, by its global id or by its number. An unknown incident is `NOT_FOUND`. After a merge, the id of
    /// the source returns the source, which is `REDIRECTED`, and its number returns the target. With `minPosition` the
    /// answer is at least as new as that position. If the log of the desk does not contain the position, the answer is
    /// `CONFLICT`, and `extensions.now.position` is the end of the log. The desk does not wait until its log contains
    /// the position.
    async fn incident(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The incident: its global id, or its number.")] by: IncidentByInput,
        #[graphql(desc = "A position that the answer must have reached, else it is a `CONFLICT`.")]
        min_position: Option<String>,
    ) -> Option<async_graphql::Result<Incident>> {
        Some(find_incident(ctx, by, min_position).await.map_err(Into::into))
    }

    /// One incident as it was at a position or a time, rebuilt from its log. Managers can also read a deleted incident.
    /// `NOT_FOUND` if there is no such incident, or if it was created later; `CONFLICT` if the log does not reach the
    /// position.
    async fn incident_as_of(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The incident: its global id, or its number.")] by: IncidentByInput,
        #[graphql(desc = "The moment: a position or a time.")] moment: MomentInput,
    ) -> Option<async_graphql::Result<IncidentAsOf>> {
        let found = async {
            let view = View::of_request(ctx)?;
            let (path, named) = match by {
                IncidentByInput::Id(id) => ("by.id", NamedIncident::Id(incident_id("by.id", &id)?)),
                IncidentByInput::Number(number) => ("by.number", NamedIncident::Number(number)),
            };
            super::as_of::find(view, named, path, moment).await
        };
        Some(found.await.map_err(Into::into))
    }

    /// The activity log of one incident, oldest change first. Managers can also read the log of a deleted incident.
    #[expect(clippy::too_many_arguments, reason = "the arguments of a Relay connection, and the context")]
    async fn activity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id of the incident.")] incident_id: ID,
        #[graphql(desc = "The filter of the changes. Without it, all changes.")] filter: Option<ActivityInput>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<Option<ChangeConnection>> {
        let view = View::of_request(ctx)?;
        let id = self::incident_id("incidentId", &incident_id)?;
        super::incident::readable_log(view, id).await?;
        let filter = filter.map(ActivityInput::read).transpose()?.unwrap_or_default();
        super::incident::activity(view, id, filter, &PageArgs { first, after, last, before }).await.map(Some)
    }

    /// The changes of all incidents, newest first. If two have the same time, the later change of the log comes first.
    /// It has no changes of alerts that belong to no incident. Only managers see the changes of deleted incidents.
    #[expect(clippy::too_many_arguments, reason = "the arguments of a Relay connection, and the context")]
    async fn desk_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id of the user who made the changes. Without it, changes of every actor.")]
        actor: Option<ID>,
        #[graphql(desc = "Only changes at or after this instant.")] from: Option<Instant>,
        #[graphql(desc = "Only changes before this instant.")] to: Option<Instant>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<Option<DeskLogConnection>> {
        let args = PageArgs { first, after, last, before };
        super::desk_log::page(View::of_request(ctx)?, Chosen { actor, from, to }, &args).await.map(Some)
    }

    /// A page of alerts, newest first. It includes alerts that belong to no incident; `linked: false` selects only
    /// these.
    async fn alerts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The filter of the alerts. Without it, all alerts.")] filter: Option<AlertFilterInput>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<Option<AlertConnection>> {
        let view = View::of_request(ctx)?;
        let filter = filter.unwrap_or_default().read(view.viewer())?;
        view.searches().look_for(&filter)?;
        super::alert::page(view, filter, PageArgs { first, after, last, before }).await.map(Some)
    }

    /// One alert, by global id. An unknown alert is `NOT_FOUND`.
    async fn alert(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id.")] id: ID,
    ) -> Option<async_graphql::Result<Alert>> {
        let found = async {
            let id = super::connection::read_id("id", &id, AlertId::WORD, AlertId::parse)?;
            super::alert::find(View::of_request(ctx)?, id).await
        };
        Some(found.await.map_err(Into::into))
    }

    /// One bulk job, by global id. A job that is unknown, or that ended more than 30 days ago, is `NOT_FOUND`.
    async fn bulk_job(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id.")] id: ID,
    ) -> Option<async_graphql::Result<BulkJob>> {
        let found = async {
            let (view, id) = (View::of_request(ctx)?, bulk_job_id("id", &id)?);
            let job = view.reader().await?.bulk_job(id).await?;
            let job = job.ok_or_else(|| Error::not_found("bulk job", id).at("id"))?;
            Ok::<_, Error>(BulkJob { view: view.clone(), job })
        };
        Some(found.await.map_err(Into::into))
    }

    /// A page of bulk jobs, newest first. A job is in the list until 30 days after its end.
    async fn bulk_jobs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The filter of the jobs. Without it, all jobs.")] filter: Option<BulkJobFilterInput>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<Option<BulkJobConnection>> {
        let (view, args) = (View::of_request(ctx)?, PageArgs { first, after, last, before });
        super::bulk::list(view, filter.unwrap_or_default(), &args).await.map(Some)
    }

    /// One object, by global id. An unknown object is `NOT_FOUND`.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id.")] id: ID,
    ) -> Option<async_graphql::Result<Node>> {
        let found = async {
            let node = nodes(View::of_request(ctx)?, std::slice::from_ref(&id)).await?.pop().flatten();
            node.ok_or_else(|| Error::not_found("node", id.as_str()).at("id"))
        };
        Some(found.await.map_err(Into::into))
    }

    /// At most 100 objects, by global id, in the order of the ids; more ids are `LIMIT`. An id that names no object
    /// gives null and no error.
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global ids.")] ids: Vec<ID>,
    ) -> Result<Option<Vec<Option<Node>>>> {
        if ids.len() > NODES_MAX {
            return Err(Error::limit("ids", format!("at most {NODES_MAX} ids at once"), NODES_MAX));
        }
        nodes(View::of_request(ctx)?, &ids).await.map(Some)
    }

    /// The saved views that the caller may see, ordered by name: the caller's own views and the shared views.
    async fn views(&self, ctx: &Context<'_>) -> Result<Vec<SavedView>> {
        super::view::list(View::of_request(ctx)?).await
    }

    /// One saved view, by its global id or by its slug. A view that is unknown, or
    /// private to somebody else, is `NOT_FOUND`.
    async fn view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The view: its global id, or its slug.")] by: ViewByInput,
    ) -> Option<async_graphql::Result<SavedView>> {
        let found = async { super::view::find(View::of_request(ctx)?, &by).await };
        Some(found.await.map_err(Into::into))
    }

    /// All users, ordered by account id.
    async fn users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<Option<UserConnection>> {
        super::account::users(View::of_request(ctx)?, &PageArgs { first, after, last, before }).await.map(Some)
    }

    /// All groups, ordered by account id.
    async fn groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<Option<GroupConnection>> {
        super::account::groups(View::of_request(ctx)?, &PageArgs { first, after, last, before }).await.map(Some)
    }

    /// Users and groups to suggest as an owner: the caller first, then its recent picks, then users and groups whose
    /// name or account id contains the search.
    async fn assignee_suggestions(
        &self,
        ctx: &Context<'_>,
        #[graphql(default, desc = "The text that the user has typed so far; at most 200 characters.")] search: String,
        #[graphql(default = 10, desc = "How many to suggest; at most 100.")] first: i32,
    ) -> Result<Option<Vec<AssigneeSuggestion>>> {
        let view = View::of_request(ctx)?;
        let limit = suggestions(&search, first)?;
        let found = view.reader().await?.assignee_suggestions(view.viewer().user.id, &search, limit).await?;
        Ok(Some(found.into_iter().map(AssigneeSuggestion::from).collect()))
    }

    /// Custom tags whose name contains the search. Tags used in the last 14 days come first.
    async fn tag_suggestions(
        &self,
        ctx: &Context<'_>,
        #[graphql(default, desc = "The text that the user has typed so far; at most 200 characters.")] search: String,
        #[graphql(default = 10, desc = "How many to suggest; at most 100.")] first: i32,
    ) -> Result<Option<TagSuggestions>> {
        let view = View::of_request(ctx)?;
        let limit = suggestions(&search, first)?;
        let reader = view.reader().await?;
        let found = reader.tag_suggestions(&search, view.app().clock.now(), limit).await?;
        let would_be_new = !search.trim().is_empty() && !reader.custom_tag_exists(&search).await?;
        let tags = found.into_iter().map(|tag| TagSuggestion { name: tag.name, last_used_at: tag.last_used_at });
        Ok(Some(TagSuggestions { tags: tags.collect(), would_be_new }))
    }

    /// A preview of `mergeIncidents`: what it would do, or why it would be refused. Nothing is written.
    async fn preview_merge(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id of the source: the incident that would be redirected.")] source_id: ID,
        #[graphql(desc = "The global id of the target: the incident that would take over the content.")] target_id: ID,
        #[graphql(default, desc = "Whether the title of the target would stay.")] keep_title: bool,
    ) -> Result<Option<MergePreview>> {
        super::merge::preview(View::of_request(ctx)?, &source_id, &target_id, keep_title).await.map(Some)
    }
}

fn suggestions(search: &str, first: i32) -> Result<u64> {
    text::at_most("search", search, SEARCH_CHARS_MAX)?;
    if !(0..=PAGE_MAX).contains(&first) {
        return Err(Error::limit("first", format!("0 to {PAGE_MAX} suggestions at once"), PAGE_MAX as usize));
    }
    Ok(first as u64)
}

async fn find_incident(ctx: &Context<'_>, by: IncidentByInput, min_position: Option<String>) -> Result<Incident> {
    let view = View::of_request(ctx)?;
    let at_once = if min_position.is_none() { super::detail::lists(ctx, view.page_items_max()) } else { None };
    if let Some(text) = min_position {
        view.reached("minPosition", &text).await?;
    }
    match by {
        IncidentByInput::Id(id) => super::incident::find(view, incident_id("by.id", &id)?, "by.id", at_once).await,
        IncidentByInput::Number(number) => {
            let incident = view.reader().await?.incident_by_number(number).await?;
            let seen = incident.filter(|incident| view.viewer().sees_incident(incident));
            let incident = seen.ok_or_else(|| Error::not_found("incident", format!("INC-{number}")).at("by.number"))?;
            Ok(Incident::new(view.clone(), incident))
        }
    }
}

/// Reads objects of any type, in the order of their ids, with one statement for each type.
async fn nodes(view: &View, ids: &[ID]) -> Result<Vec<Option<Node>>> {
    let reader = view.reader().await?;
    let alerts = by_id(reader.alerts_to_show(&parsed(ids, AlertId::parse)).await?, |alert| alert.id);
    let comments = by_id(reader.comments(&parsed(ids, CommentId::parse)).await?, |comment| comment.id);
    let attachments = by_id(reader.attachments(&parsed(ids, AttachmentId::parse)).await?, |found| found.id);
    let bookmarks = by_id(reader.bookmarks(&parsed(ids, BookmarkId::parse)).await?, |bookmark| bookmark.id);
    let views = by_id(reader.views(&parsed(ids, ViewId::parse)).await?, |saved| saved.id);
    let jobs = by_id(reader.bulk_jobs(&parsed(ids, BulkJobId::parse)).await?, |job| job.id);
    let written_on = comments.values().map(|comment| comment.incident);
    let attached_to = attachments.values().map(|attachment| attachment.incident);
    let pinned_to = bookmarks.values().map(|bookmark| bookmark.incident);
    let named = parsed(ids, IncidentId::parse).into_iter().chain(written_on).chain(attached_to).chain(pinned_to);
    let named: Vec<IncidentId> = named.collect();
    let incidents = by_id(reader.incidents_to_show(&named).await?, |incident| incident.id);
    let users = by_id(reader.users(&parsed(ids, UserId::parse)).await?, |user| user.id);
    let groups = by_id(reader.groups(&parsed(ids, GroupId::parse)).await?, |group| group.id);
    let seen = |id| incidents.get(&id).filter(|found| found.deleted_at.is_none() && view.viewer().sees_incident(found));
    let incident = |id: &ID| {
        let found = seen(IncidentId::parse(id)?)?.clone();
        Some(Node::Incident(Incident::new(view.clone(), found)))
    };
    let alert = |id: &ID| {
        let alert = alerts.get(&AlertId::parse(id)?)?.clone();
        Some(Node::Alert(Alert::new(view.clone(), alert)))
    };
    let comment = |id: &ID| {
        let comment = comments.get(&CommentId::parse(id)?).filter(|comment| comment.deleted_at.is_none())?.clone();
        // If the incident of a comment is deleted, or the viewer may not see it, the comment is not found either.
        seen(comment.incident)?;
        Some(Node::Comment(Comment { view: view.clone(), comment }))
    };
    let attachment = |id: &ID| {
        let attachment = attachments.get(&AttachmentId::parse(id)?)?.clone();
        seen(attachment.incident)?;
        Some(Node::Attachment(Attachment { view: view.clone(), attachment }))
    };
    let user = |id: &ID| Some(Node::User(User(users.get(&UserId::parse(id)?)?.clone())));
    let group = |id: &ID| {
        let group = groups.get(&GroupId::parse(id)?)?.clone();
        Some(Node::Group(Group { view: view.clone(), group }))
    };
    let bookmark = |id: &ID| {
        let bookmark = bookmarks.get(&BookmarkId::parse(id)?).filter(|it| it.removed_at.is_none())?.clone();
        seen(bookmark.incident)?;
        Some(Node::Bookmark(Bookmark { view: view.clone(), bookmark }))
    };
    let saved = |id: &ID| {
        let saved = views.get(&ViewId::parse(id)?).filter(|saved| saved.is_there_for(view.viewer().user.id))?.clone();
        Some(Node::SavedView(SavedView::new(view.clone(), saved)))
    };
    let job = |id: &ID| {
        let job = jobs.get(&BulkJobId::parse(id)?)?.clone();
        Some(Node::BulkJob(BulkJob { view: view.clone(), job }))
    };
    let any = |id| {
        let triaged = incident(id)
            .or_else(|| alert(id))
            .or_else(|| comment(id))
            .or_else(|| bookmark(id))
            .or_else(|| attachment(id));
        triaged.or_else(|| user(id)).or_else(|| group(id)).or_else(|| saved(id)).or_else(|| job(id))
    };
    Ok(ids.iter().map(any).collect())
}

fn parsed<T>(ids: &[ID], parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
    ids.iter().filter_map(|id| parse(id)).collect()
}

fn by_id<K: Eq + Hash, T>(found: Vec<T>, id: impl Fn(&T) -> K) -> HashMap<K, T> {
    found.into_iter().map(|each| (id(&each), each)).collect()
}
