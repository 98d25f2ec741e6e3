//! Bulk jobs: one edit of many incidents, done in the background.

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{ID, InputObject, MaybeUndefined, Object, OneofObject, SimpleObject};

use super::account::{Actor, OwnerInput, owner_id};
use super::call::{Call, maybe};
use super::connection::{PageArgs, cut, id_cursor, id_of_cursor, read_id, wider};
use super::context::View;
use super::filter::IncidentFilterInput;
use super::incident::{Incident, ends};
use super::input::incident_id;
use super::payload::{MutationReceipt, Payload};
use super::searches::Search;
use super::tag::{SystemTagInput, custom_tags, known_custom_tags, known_system_tags, system_tags};
use crate::app::bulk::{BulkTarget, DryRun};
use crate::domain::account::Actor as Caller;
use crate::domain::bulk::{BulkEdit, BulkItem as Item, BulkJob as Job, BulkOutcome, BulkState};
use crate::domain::classification::Classification;
use crate::domain::filter::QueueFilter;
use crate::domain::incident::{Severity, Status, parse_note};
use crate::domain::path::each;
use crate::domain::{BulkJobId, Code, Error, Instant, Result, UserId};
use crate::storage::BulkJobFilter;

/// A bulk job: one edit that is applied to many incidents in the background, to each incident separately and exactly
/// once. The list of incidents is fixed when the job is created. The job goes on after a restart of the server.
pub(super) struct BulkJob {
    /// The view through which the incidents of the job are read.
    pub view: View,
    /// The job as it is stored.
    pub job: Job,
}

/// A bulk job: one edit that is applied to many incidents in the background, to each incident separately and exactly
/// once. The list of incidents is fixed when the job is created. The job goes on after a restart of the server.
#[Object]
impl BulkJob {
    /// The job's global id. Every change that the job makes carries it as `cause.jobId`.
    pub(crate) async fn id(&self) -> ID {
        self.job.id.to_string().into()
    }

    /// Whether the job is running, done or cancelled.
    async fn state(&self) -> BulkState {
        self.job.state
    }

    /// How many incidents the job has.
    async fn total(&self) -> u64 {
        self.job.total
    }

    /// How many incidents of the job have an outcome.
    async fn settled(&self) -> u64 {
        self.job.settled()
    }

    /// How many incidents the job has changed.
    async fn changed(&self) -> u64 {
        self.job.changed
    }

    /// How many incidents already had all the requested values.
    async fn unchanged(&self) -> u64 {
        self.job.unchanged
    }

    /// For how many incidents the edit was refused. The item of each incident says why.
    async fn refused(&self) -> u64 {
        self.job.refused
    }

    /// The user who created the job. Each incident is changed with the rights that this user has at that time.
    async fn actor(&self) -> Actor {
        self.job.actor.clone().into()
    }

    /// When the job was created.
    async fn created_at(&self) -> Instant {
        self.job.created_at
    }

    /// When the job ended. The job can be read for 30 days from then.
    async fn finished_at(&self) -> Option<Instant> {
        self.job.finished_at
    }

    /// The incidents of the job with their outcomes, in the order in which the job changes them.
    async fn items(
        &self,
        #[graphql(desc = "Only items with this outcome. Without it, all items, also items that wait for their turn.")]
        outcome: Option<BulkOutcome>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<BulkItemConnection> {
        let args = PageArgs { first, after, last, before };
        let span = args.span(self.view.page_items_max(), |cursor| cursor.parse::<u64>().ok())?;
        let mut items = self.view.reader().await?.bulk_items(self.job.id, outcome, wider(span)).await?;
        let more = cut(&mut items, span.limit, span.from_end);
        let (has_before, has_after) = ends(&span, more);
        let mut page = Connection::new(has_before, has_after);
        let edge = |item: Item| Edge::new(item.ordinal.to_string(), BulkItem { view: self.view.clone(), item });
        page.edges.extend(items.into_iter().map(edge));
        Ok(page)
    }
}

/// A page of bulk jobs.
pub(super) type BulkJobConnection = Connection<String, BulkJob, EmptyFields, EmptyFields>;

/// A filter of bulk jobs. All given fields must match.
#[derive(Debug, Default, InputObject)]
pub(super) struct BulkJobFilterInput {
    /// The state of the job.
    state: Option<BulkState>,
    /// The global id of the user who created the job.
    actor: Option<ID>,
}

impl BulkJobFilterInput {
    fn read(self) -> Result<BulkJobFilter> {
        let actor = self.actor.map(|id| read_id("filter.actor", &id, UserId::WORD, UserId::parse));
        Ok(BulkJobFilter { state: self.state, user: actor.transpose()? })
    }
}

/// Reads a page of bulk jobs, newest first.
pub(super) async fn list(view: &View, filter: BulkJobFilterInput, args: &PageArgs) -> Result<BulkJobConnection> {
    let filter = filter.read()?;
    let span = args.span(view.page_items_max(), |cursor| id_of_cursor(cursor).map(BulkJobId))?;
    let mut jobs = view.reader().await?.bulk_jobs_page(&filter, wider(span)).await?;
    let more = cut(&mut jobs, span.limit, span.from_end);
    let (before, after) = ends(&span, more);
    let mut page = Connection::new(before, after);
    let edge = |job: Job| Edge::new(id_cursor(job.id.0), BulkJob { view: view.clone(), job });
    page.edges.extend(jobs.into_iter().map(edge));
    Ok(page)
}

/// A page of the incidents of a bulk job.
pub(super) type BulkItemConnection = Connection<String, BulkItem, EmptyFields, EmptyFields>;

/// One incident of a bulk job, with the outcome of the edit.
pub(super) struct BulkItem {
    view: View,
    item: Item,
}

/// One incident of a bulk job, with the outcome of the edit.
#[Object]
impl BulkItem {
    /// The global id of the incident.
    async fn incident_id(&self) -> ID {
        self.item.incident.to_string().into()
    }

    /// The incident in its present state; null if it does not exist, is deleted, or is not visible to the caller.
    async fn incident(&self) -> Result<Option<Incident>> {
        Incident::find(&self.view, self.item.incident).await
    }

    /// The outcome of the edit; null while the incident waits for its turn. It stays null if the job was cancelled
    /// before that.
    async fn outcome(&self) -> Option<BulkOutcome> {
        self.item.result.as_ref().map(|result| result.outcome)
    }

    /// The error code of the refusal, as in `extensions.code` of an error; null unless the outcome is `REFUSED`.
    async fn code(&self) -> Option<Code> {
        Code::named(self.item.result.as_ref()?.code.as_deref()?)
    }

    /// The message of the refusal; null unless the outcome is `REFUSED`.
    async fn message(&self) -> Option<&str> {
        self.item.result.as_ref()?.message.as_deref()
    }
}

/// The outcomes that a bulk job would have now for its first incidents. The edit is applied to each incident and taken
/// back.
#[derive(SimpleObject)]
pub(super) struct BulkPreview {
    /// The first 50 incidents of the job, in the order in which the job would change them. `CHANGED` means that the job
    /// would change the incident.
    items: Vec<BulkItem>,
    /// How many further incidents the job would have. A dry run does not apply the edit to them.
    remaining: u64,
}

impl BulkPreview {
    /// Builds the preview of a dry run. Its incidents are read through `view`.
    pub(super) fn new(view: &View, tried: DryRun) -> Self {
        let remaining = tried.total - tried.items.len() as u64;
        let items = tried.items.into_iter().map(|item| BulkItem { view: view.clone(), item }).collect();
        Self { items, remaining }
    }
}

/// The incidents to change: either a list of ids or a filter.
#[derive(Debug, OneofObject)]
pub(super) enum BulkTargetInput {
    /// The global ids of the incidents; at most 100,000, and no more than the size limit of a request allows.
    Ids(Vec<ID>),
    /// The incidents that this filter selects when the job is created; at most 100,000. A filter that names no status
    /// selects `NEW` and `ACTIVE` incidents.
    Filter(Box<IncidentFilterInput>),
}

/// The edit of each incident. A field that is absent stays as it is; null clears a field. A null `status` counts as
/// absent.
#[derive(Debug, Default, InputObject)]
pub(super) struct BulkEditInput {
    /// The severity override. Null removes the override, so that the computed severity holds.
    severity: MaybeUndefined<Severity>,
    /// The status. `RESOLVED` resolves an incident as `resolveIncident` does; `NEW` or `ACTIVE` reopens a resolved
    /// incident. `REDIRECTED` is `INVALID`.
    status: Option<Status>,
    /// The resolution note, for incidents that are resolved or that this job resolves. At most 30,000 characters. Null
    /// or a blank text clears it.
    note: MaybeUndefined<String>,
    /// The classification; null clears it.
    classification: MaybeUndefined<Classification>,
    /// The owner of each incident and of all its alerts; null unassigns them.
    owner: MaybeUndefined<OwnerInput>,
    /// Custom tags to add.
    #[graphql(default)]
    add_tags: Vec<String>,
    /// Custom tags to remove.
    #[graphql(default)]
    remove_tags: Vec<String>,
    /// System tags to add. Connectors write system tags; people write custom tags.
    #[graphql(default)]
    add_system_tags: Vec<SystemTagInput>,
    /// System tags to remove.
    #[graphql(default)]
    remove_system_tags: Vec<SystemTagInput>,
}

/// The input of `bulkUpdateIncidents`.
#[derive(Debug, InputObject)]
pub(super) struct BulkUpdateIncidentsInput {
    /// The incidents to change.
    target: BulkTargetInput,
    /// The edit to apply to each incident. It must give at least one field.
    edit: BulkEditInput,
    /// Whether this is a dry run. A dry run changes nothing, creates no job, and ignores the idempotency key. Its
    /// answer counts the incidents, and says in `preview` what the edit would do to the first incidents.
    #[graphql(default)]
    pub dry_run: bool,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The input of `cancelBulkJob`.
#[derive(Debug, InputObject)]
pub(super) struct CancelBulkJobInput {
    /// The global id of the job.
    pub job_id: ID,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The result of `bulkUpdateIncidents` or `cancelBulkJob`.
#[derive(SimpleObject)]
pub(super) struct BulkPayload {
    /// How many incidents the job has. For a dry run, how many the job would have.
    total: u64,
    /// The job; null for a dry run. The job runs in the background: subscribe to `bulkProgress` to follow it.
    job: Option<BulkJob>,
    /// What the job would do; null unless the call is a dry run.
    preview: Option<BulkPreview>,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

/// The answer to a mutation on bulk jobs.
pub(super) enum BulkAnswer {
    /// The job after the mutation.
    Job(Box<Job>),
    /// What a job would do.
    DryRun(DryRun),
}

impl Payload for BulkPayload {
    type Value = BulkAnswer;

    fn new(view: View, answer: Self::Value, receipt: MutationReceipt) -> Self {
        match answer {
            BulkAnswer::Job(job) => {
                Self { total: job.total, job: Some(BulkJob { view, job: *job }), preview: None, receipt }
            }
            BulkAnswer::DryRun(tried) => {
                Self { total: tried.total, job: None, preview: Some(BulkPreview::new(&view, tried)), receipt }
            }
        }
    }
}

impl BulkUpdateIncidentsInput {
    /// Reads the target and the edit. A filter is resolved for the viewer, and counts as a search of the request.
    pub(super) fn read(self, view: &View) -> Result<(BulkTarget, BulkEdit)> {
        let caller: &Caller = view.viewer();
        let target = match self.target {
            BulkTargetInput::Ids(ids) => {
                let ids = each("target.ids", &ids, incident_id)?;
                BulkTarget::Incidents(ids)
            }
            BulkTargetInput::Filter(filter) => {
                let filter = filter.read().and_then(|filter| QueueFilter::resolve(&filter, caller));
                BulkTarget::Queue(Box::new(filter.map_err(|error| error.below("target"))?))
            }
        };
        let edit = self.edit.read(caller).map_err(|error| error.below("edit"))?.checked()?;
        if let BulkTarget::Queue(filter) = &target {
            let searches = view.searches();
            let counted = searches.look_for(&**filter).and_then(|()| searches.spend(Search::Count, &**filter));
            counted.map_err(|error| error.below("target"))?;
        }
        Ok((target, edit))
    }
}

impl BulkEditInput {
    fn read(self, caller: &Caller) -> Result<BulkEdit> {
        if self.status == Some(Status::Redirected) {
            return Err(Error::invalid("status", "an incident is redirected only by a merge, and back by its undo"));
        }
        let mut add_tags = custom_tags("addTags", &self.add_tags)?;
        add_tags.extend(system_tags("addSystemTags", &self.add_system_tags)?);
        let mut remove_tags = known_custom_tags("removeTags", &self.remove_tags)?;
        remove_tags.extend(known_system_tags("removeSystemTags", &self.remove_system_tags)?);
        Ok(BulkEdit {
            severity: maybe(self.severity, Ok)?,
            status: self.status,
            note: maybe(self.note, |text| parse_note("note", &text))?.map(Option::flatten),
            classification: maybe(self.classification, Ok)?,
            owner: maybe(self.owner, |owner| owner_id(&owner, caller))?,
            add_tags,
            remove_tags,
        })
    }
}

/// Reads the id of a bulk job.
pub(super) fn bulk_job_id(path: &str, id: &ID) -> Result<BulkJobId> {
    read_id(path, id, BulkJobId::WORD, BulkJobId::parse)
}
