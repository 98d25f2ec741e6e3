//! Bulk jobs: one edit of many incidents, in the background.

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{ID, InputObject, MaybeUndefined, Object, OneofObject, SimpleObject};

use super::account::{Actor, OwnerInput, owner_id};
use super::call::{Call, maybe};
use super::connection::{PageArgs, cut, read_id, wider};
use super::context::View;
use super::filter::IncidentFilterInput;
use super::incident::Incident;
use super::input::incident_id;
use super::tag::{TagInput, known_system_tags, known_tags, system_tags, tags};
use crate::app::bulk::BulkTarget;
use crate::domain::account::Actor as Caller;
use crate::domain::bulk::{BulkEdit, BulkItem as Item, BulkJob as Job, BulkOutcome, BulkState};
use crate::domain::classification::Classification;
use crate::domain::filter::QueueFilter;
use crate::domain::incident::{Severity, Status, parse_note};
use crate::domain::tag::TagKind;
use crate::domain::{BulkJobId, Error, IncidentId, Instant, Result};

/// One edit of many incidents, each on its own. Its incidents are chosen when it is made, and are changed in short
/// transactions, in the background, each once, also through restarts.
pub struct BulkJob {
    /// Where its incidents are read.
    pub view: View,
    /// The job.
    pub job: Job,
}

/// One edit of many incidents, each on its own. Its incidents are chosen when it is made, and are changed in short
/// transactions, in the background, each once, also through restarts.
#[Object]
impl BulkJob {
    /// Its global id: the cause of every change that it makes.
    async fn id(&self) -> ID {
        self.job.id.to_string().into()
    }

    /// Where it stands.
    async fn state(&self) -> BulkState {
        self.job.state
    }

    /// How many incidents it has.
    async fn total(&self) -> u64 {
        self.job.total
    }

    /// How many of them have their result.
    async fn settled(&self) -> u64 {
        self.job.settled()
    }

    /// How many were changed.
    async fn changed(&self) -> u64 {
        self.job.changed
    }

    /// How many were so already.
    async fn unchanged(&self) -> u64 {
        self.job.unchanged
    }

    /// How many were refused, each for a reason that its result says.
    async fn refused(&self) -> u64 {
        self.job.refused
    }

    /// Who asked for it. Each incident is changed by the rights that they have when its turn comes.
    async fn actor(&self) -> Actor {
        self.job.actor.clone().into()
    }

    /// When it was made.
    async fn created_at(&self) -> Instant {
        self.job.created_at
    }

    /// When it ended. It can be read for 30 days from then.
    async fn finished_at(&self) -> Option<Instant> {
        self.job.finished_at
    }

    /// Its incidents and what came of each, in the order in which they are changed.
    async fn items(
        &self,
        #[graphql(desc = "Those with this outcome; all, also those that wait, where none is given.")] outcome: Option<
            BulkOutcome,
        >,
        #[graphql(desc = "So many from the start of the list; at most 100, and 50 where no size is given.")]
        first: Option<i32>,
        #[graphql(desc = "Beyond this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "So many from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor of the same list.")] before: Option<String>,
    ) -> Result<Connection<String, BulkItem, EmptyFields, EmptyFields>> {
        let args = PageArgs { first, after, last, before };
        let span = args.span(self.view.page_items_max(), |cursor| cursor.parse::<u64>().ok())?;
        let mut items = self.view.reader().await?.bulk_items(self.job.id, outcome, wider(span)).await?;
        let more = cut(&mut items, span.limit, span.from_end);
        let (has_before, has_after) = match span.from_end {
            true => (more, span.before.is_some()),
            false => (span.after.is_some(), more),
        };
        let mut page = Connection::new(has_before, has_after);
        let edge = |item: Item| Edge::new(item.ordinal.to_string(), BulkItem { view: self.view.clone(), item });
        page.edges.extend(items.into_iter().map(edge));
        Ok(page)
    }
}

/// One incident of a bulk job.
pub struct BulkItem {
    view: View,
    item: Item,
}

/// One incident of a bulk job.
#[Object]
impl BulkItem {
    /// Its global id.
    async fn incident_id(&self) -> ID {
        self.item.incident.to_string().into()
    }

    /// The incident as it stands; none where it is not there.
    async fn incident(&self) -> Result<Option<Incident>> {
        let found = self.view.incident(self.item.incident).await?;
        Ok(found.map(|incident| Incident::new(self.view.clone(), incident)))
    }

    /// What came of it; none while it waits, and of one that the job was stopped before.
    async fn outcome(&self) -> Option<BulkOutcome> {
        self.item.result.as_ref().map(|result| result.outcome)
    }

    /// The code of its refusal, one of those that errors carry.
    async fn code(&self) -> Option<&str> {
        self.item.result.as_ref()?.code.as_deref()
    }

    /// Why it was refused.
    async fn message(&self) -> Option<&str> {
        self.item.result.as_ref()?.message.as_deref()
    }
}

/// Which incidents to change: exactly one of a list and a filter.
#[derive(Debug, OneofObject)]
pub enum BulkTargetInput {
    /// These, by global id; at most 100,000, as far as the request's size allows.
    Ids(Vec<ID>),
    /// Those that this filter selects at this moment; at most 100,000. Where it names no status it means `NEW` and `ACTIVE`.
    Filter(Box<IncidentFilterInput>),
}

/// What to do to each incident. Absent fields stay; a null clears.
#[derive(Debug, Default, InputObject)]
pub struct BulkEditInput {
    /// An override; null returns to the computed severity.
    severity: MaybeUndefined<Severity>,
    /// `RESOLVED` resolves with all its effects; `NEW` or `ACTIVE` reopens a resolved incident.
    status: Option<Status>,
    /// The resolution note: of resolved incidents, or of those that this job resolves. At most 30,000 characters; null or blank
    /// clears it.
    note: MaybeUndefined<String>,
    /// What they turned out to be; null clears it.
    classification: MaybeUndefined<Classification>,
    /// The owner, set on all linked alerts too; null unassigns.
    owner: MaybeUndefined<OwnerInput>,
    /// Custom tags to add.
    #[graphql(default)]
    add_tags: Vec<String>,
    /// Custom tags to remove.
    #[graphql(default)]
    remove_tags: Vec<String>,
    /// System tags to add, written by connectors.
    #[graphql(default)]
    add_system_tags: Vec<TagInput>,
    /// System tags to remove.
    #[graphql(default)]
    remove_system_tags: Vec<TagInput>,
}

/// One edit of many incidents.
#[derive(Debug, InputObject)]
pub struct BulkUpdateIncidentsInput {
    /// Which incidents.
    target: BulkTargetInput,
    /// What to do to each.
    edit: BulkEditInput,
    /// Whether only to count the incidents: nothing changes, and there is no job. So it takes no idempotency key.
    #[graphql(default)]
    pub dry_run: bool,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The job to stop.
#[derive(Debug, InputObject)]
pub struct CancelBulkJobInput {
    /// The job, by global id.
    pub job_id: ID,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// What a mutation on many incidents did.
#[derive(SimpleObject)]
pub struct BulkPayload {
    /// How many incidents the job has, or would have.
    pub total: u64,
    /// The job; none of a dry run. Its changes come from then on: follow `bulkProgress`.
    pub job: Option<BulkJob>,
    /// What the client called it.
    pub client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    pub replayed: bool,
}

impl BulkUpdateIncidentsInput {
    /// Which incidents, and what to do to each.
    pub fn read(self, caller: &Caller) -> Result<(BulkTarget, BulkEdit)> {
        let target = match self.target {
            BulkTargetInput::Ids(ids) => {
                let ids = ids.iter().map(|id| incident_id("target.ids", id)).collect::<Result<Vec<IncidentId>>>()?;
                BulkTarget::Incidents(ids)
            }
            BulkTargetInput::Filter(filter) => {
                let filter = filter.read().and_then(|filter| QueueFilter::resolve(&filter, caller));
                BulkTarget::Queue(Box::new(filter.map_err(|error| error.below("target"))?))
            }
        };
        let edit = self.edit.read(caller).map_err(|error| error.below("edit"))?;
        Ok((target, edit.checked()?))
    }
}

impl BulkEditInput {
    fn read(self, caller: &Caller) -> Result<BulkEdit> {
        if self.status == Some(Status::Redirected) {
            return Err(Error::invalid("status", "an incident is redirected only by a merge, and back by its undo"));
        }
        let mut add_tags = tags("addTags", &self.add_tags, TagKind::Custom)?;
        add_tags.extend(system_tags("addSystemTags", &self.add_system_tags)?);
        let mut remove_tags = known_tags("removeTags", &self.remove_tags, TagKind::Custom)?;
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
pub fn bulk_job_id(path: &str, id: &ID) -> Result<BulkJobId> {
    read_id(path, id, BulkJobId::WORD, BulkJobId::parse)
}
