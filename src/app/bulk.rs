//! Commands on many incidents. A command creates a job; its work is done in the background, in short transactions.
//!
//! The transaction that changes a chunk of incidents also writes their results. After a crash, this node or another
//! continues after the last committed chunk, so each incident has exactly one turn. A node takes one chunk of one job
//! at a time, under the job's lock. It skips jobs that another node has locked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::idempotency::{ById, Did, Done, Repeatable};
use super::incident::{CommandWork, IncidentEdit, OwnerChoice};
use super::link::lock;
use super::many::{Many, Needs};
use super::{App, Command};
use crate::domain::account::{OwnerId, Role};
use crate::domain::bulk::{
    BULK_CHUNK_INCIDENTS, BULK_INCIDENTS_MAX, BulkEdit, BulkItem, BulkJob, BulkResult, BulkState,
};
use crate::domain::change::{Cause, CauseKind};
use crate::domain::filter::QueueFilter;
use crate::domain::{BulkJobId, Code, Error, IncidentId, Result};
use crate::storage::{Reader, Tx, pause_unanswered};

/// How often a node looks for work without a signal: for jobs whose node has died.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The least time between two states for a follower: at most four states a second, as for summaries.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// How often a follower reads a job that another node may be working on.
const LOOK_AT_PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// How many incidents a dry run tries: as many as one transaction of a job changes, so a dry run holds its locks no
/// longer than a job does.
pub const DRY_RUN_INCIDENTS_MAX: usize = BULK_CHUNK_INCIDENTS;

/// How often an incident that cannot be changed is tried again. The cause of a fault is not known and may pass.
const FAULTS_MAX: u32 = 3;

/// How often a dry run begins again if another transaction holds its incidents for a quarter of a second.
const DRY_RUN_TRIES_MAX: usize = 4;

/// The incidents that a job changes.
#[derive(Clone, Debug)]
pub enum BulkTarget {
    /// These incidents. An incident that does not exist has a refusal among the results.
    Incidents(Vec<IncidentId>),
    /// The incidents that a filter selects when the job is created.
    Queue(Box<QueueFilter>),
}

/// What a job would do now.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// How many incidents the job would have.
    pub total: u64,
    /// The first incidents of the job, at most [`DRY_RUN_INCIDENTS_MAX`], each with its result.
    pub items: Vec<BulkItem>,
}

/// The signals for new work and for finished work.
#[derive(Debug, Default)]
pub struct Jobs {
    work: Notify,
    done: watch::Sender<u64>,
}

/// An incident of a job: the job, and the index of the incident in it.
type NextItem = (BulkJobId, u64);

/// An incident of a job that could not be changed.
#[derive(Clone, Copy)]
struct Failing {
    item: NextItem,
    /// How often it was tried alone.
    times: u32,
}

impl Failing {
    /// Counts a further failure. If the incident before it in the job has just been passed over, the cause may be the
    /// job's own, and the incident is not tried again.
    fn again(before: Option<Self>, item: NextItem) -> Self {
        let times = match before {
            Some(before) if before.item == item => before.times + 1,
            Some(before) if before.item.0 == item.0 && before.times > FAULTS_MAX => before.times,
            _ => 1,
        };
        Self { item, times }
    }
}

/// The result of one look for work.
enum WorkerTurn {
    Nothing,
    Chunk { job: BulkJobId, changed: bool },
}

impl Repeatable for BulkJob {
    type Receipt = ById<BulkJobId>;

    fn receipt(&self) -> ById<BulkJobId> {
        ById { id: self.id }
    }

    async fn again(reader: &Reader, ById { id }: ById<BulkJobId>) -> Result<Self> {
        reader.bulk_job(id).await?.ok_or_else(|| Error::not_found("bulk job", id))
    }
}

impl BulkTarget {
    /// Returns the ids of the incidents, each once, in the order in which every transaction locks them.
    async fn freeze(&self, reader: &Reader) -> Result<Vec<IncidentId>> {
        let (path, ids) = match self {
            Self::Incidents(ids) => {
                let distinct: BTreeSet<IncidentId> = ids.iter().copied().collect();
                ("target.ids", distinct.into_iter().collect())
            }
            Self::Queue(filter) => ("target.filter", reader.queue_ids(filter, BULK_INCIDENTS_MAX as u64 + 1).await?),
        };
        if ids.len() > BULK_INCIDENTS_MAX {
            let message = format!("a job has at most {BULK_INCIDENTS_MAX} incidents");
            return Err(Error::limit(path, message, BULK_INCIDENTS_MAX));
        }
        Ok(ids)
    }
}

impl App {
    /// Returns what a job would do, and changes nothing. Refuses what the creation of the job would refuse.
    ///
    /// The first incidents are locked and edited by the code of the job, in a transaction that is rolled back.
    pub async fn dry_run_bulk(&self, command: &Command, target: &BulkTarget, edit: BulkEdit) -> Result<Did<DryRun>> {
        command.require(Role::Responder, "change incidents in bulk")?;
        let edit = edit.checked()?;
        let reader = self.store.read().await?;
        if let Some(Some(owner)) = edit.owner {
            known_owner(&reader, owner).await?;
        }
        let incidents = target.freeze(&reader).await?;
        let head = reader.head().await?;
        drop(reader);
        let first = incidents.iter().take(DRY_RUN_INCIDENTS_MAX).zip(0..);
        let waiting: Vec<_> =
            first.map(|(incident, ordinal)| BulkItem { ordinal, incident: *incident, result: None }).collect();
        let mut items = waiting.clone();
        if !items.is_empty() {
            let results = self.rehearse(command, waiting, &edit).await?;
            for (item, (_, result)) in items.iter_mut().zip(results) {
                item.result = Some(result);
            }
        }
        Ok(Did::read(DryRun { total: incidents.len() as u64, items }, head))
    }

    /// Applies one edit to incidents, and takes it back. Returns the results in the order of the items. If a fault of
    /// the desk ends this, each incident is tried by itself, as by the job.
    async fn rehearse(
        &self,
        command: &Command,
        items: Vec<BulkItem>,
        edit: &BulkEdit,
    ) -> Result<Vec<(u64, BulkResult)>> {
        match self.rehearse_together(command, items.clone(), edit).await {
            Err(fault @ Error::Fault { .. }) => {
                tracing::warn!(%fault, "a dry run of a bulk job failed, going on one by one");
            }
            results => return results,
        }
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            let ordinal = item.ordinal;
            match self.rehearse_together(command, vec![item], edit).await {
                Err(Error::Fault { .. }) => results.push((ordinal, BulkResult::failed())),
                result => results.extend(result?),
            }
        }
        Ok(results)
    }

    async fn rehearse_together(
        &self,
        command: &Command,
        items: Vec<BulkItem>,
        edit: &BulkEdit,
    ) -> Result<Vec<(u64, BulkResult)>> {
        for _ in 1..DRY_RUN_TRIES_MAX {
            match self.rehearse_once(command, items.clone(), edit).await {
                Err(Error::Busy) => {}
                results => return results,
            }
        }
        self.rehearse_once(command, items, edit).await
    }

    async fn rehearse_once(
        &self,
        command: &Command,
        items: Vec<BulkItem>,
        edit: &BulkEdit,
    ) -> Result<Vec<(u64, BulkResult)>> {
        let series = self.store.begin_series().await?;
        let changed = Box::pin(self.change_many(&series, command, items, edit)).await;
        series.give_up().await;
        changed.map(|(_, results)| results)
    }

    /// Creates a job. Its work begins at once, and continues after a restart on any node.
    pub async fn start_bulk(&self, command: &Command, target: BulkTarget, edit: BulkEdit) -> Result<Did<BulkJob>> {
        command.require(Role::Responder, "change incidents in bulk")?;
        let Some(actor) = &command.actor else { return Err(Error::forbidden("the desk itself has no jobs")) };
        let edit = edit.checked()?;
        let id = BulkJobId(self.clock.fresh_id());
        let did = self.once_alone(command, async |tx| {
            if let Some(Some(owner)) = edit.owner {
                known_owner(&tx, owner).await?;
            }
            let incidents = target.freeze(&tx).await?;
            let mut job = BulkJob {
                id,
                user: actor.user.id,
                actor: command.actor_image(),
                client_mutation_id: command.client_mutation_id.clone(),
                edit: edit.clone(),
                total: incidents.len() as u64,
                changed: 0,
                unchanged: 0,
                refused: 0,
                state: BulkState::Running,
                created_at: command.at,
                finished_at: None,
            };
            job.count([], command.at);
            tx.insert_bulk_job(&job, &incidents).await?;
            Ok(Done::changed(job))
        });
        let did = did.await?;
        self.jobs.work.notify_one();
        Ok(did)
    }

    /// Cancels a job. Changed incidents stay changed, and the others are left. Only the job's user or a manager may
    /// cancel it.
    pub async fn cancel_bulk(&self, command: &Command, id: BulkJobId) -> Result<Did<BulkJob>> {
        command.require(Role::Responder, "stop a bulk job")?;
        let did = self.once(command, async |tx| {
            let mut job = tx.lock_bulk_job(id).await?.ok_or_else(|| Error::not_found("bulk job", id))?;
            let asked = |user| command.actor.as_ref().is_none_or(|actor| actor.user.id == user);
            if !asked(job.user) {
                command.require(Role::Manager, "stop another's bulk job")?;
            }
            if job.state != BulkState::Running {
                return Ok(Done::unchanged(job));
            }
            (job.state, job.finished_at) = (BulkState::Cancelled, Some(command.at));
            tx.save_bulk_job(&job).await?;
            Ok(Done::changed(job))
        });
        let did = did.await?;
        self.jobs.told();
        Ok(did)
    }

    /// Follows a job to its end: yields its present state, and then each later state.
    pub fn follow_bulk(&self, id: BulkJobId) -> impl Stream<Item = Result<BulkJob>> + use<> {
        let app = self.clone();
        try_stream! {
            let mut done = app.jobs.done.subscribe();
            let mut shown: Option<BulkJob> = None;
            loop {
                // Marked as seen before the read, so that a chunk during the read counts as a later one.
                done.borrow_and_update();
                let found = match app.store.read().await {
                    Ok(reader) => reader.bulk_job(id).await,
                    Err(error) => Err(error),
                };
                match found {
                    Err(error) if error.may_pass() && shown.is_some() => {}
                    found => {
                        let job = found?.ok_or_else(|| Error::not_found("bulk job", id))?;
                        if shown.as_ref() != Some(&job) {
                            yield job.clone();
                        }
                        if job.state != BulkState::Running {
                            return;
                        }
                        shown = Some(job);
                    }
                }
                sleep(SHOW_EVERY).await;
                // Whether a signal or the deadline ends the wait, the job is read next.
                timeout(LOOK_AT_PROGRESS_EVERY, done.changed()).await.ok();
            }
        }
    }

    /// Does the work of jobs by the policies of this desk, in an endless loop.
    pub async fn work_on_jobs(self) {
        let (mut chunk, mut failing) = (BULK_CHUNK_INCIDENTS, None::<Failing>);
        loop {
            let next = Mutex::new(None);
            match self.work_on_chunk(chunk, &next).await {
                Ok(WorkerTurn::Nothing) => {
                    timeout(LOOK_EVERY, self.jobs.work.notified()).await.ok();
                }
                Ok(WorkerTurn::Chunk { job, changed }) => {
                    tracing::debug!(bulk.job = %job, bulk.changed = changed, "a chunk is done");
                    (chunk, failing) = (BULK_CHUNK_INCIDENTS, None);
                    self.jobs.told();
                }
                Err(error) if error.code() == Code::Unavailable => {
                    tracing::warn!(%error, "a bulk job waits for the database");
                    pause_unanswered().await;
                }
                // An incident that cannot be changed must not block the others. Chunks of one incident find it.
                Err(error) if chunk > 1 => {
                    tracing::warn!(%error, "a chunk of a bulk job failed, going on one by one");
                    chunk = 1;
                }
                Err(error) => {
                    let failed = next.into_inner().map(|item| Failing::again(failing, item));
                    match failed.filter(|failed| failed.times > FAULTS_MAX) {
                        None => tracing::warn!(%error, "an incident of a bulk job could not be changed, trying again"),
                        Some(Failing { item, .. }) => {
                            tracing::error!(%error, "an incident of a bulk job cannot be changed");
                            if let Err(error) = self.pass_over(item).await {
                                tracing::error!(%error, "nor be passed over");
                            }
                        }
                    }
                    failing = failed;
                    pause_unanswered().await;
                }
            }
        }
    }

    /// Changes the next incidents of the oldest job: all of them, or none if the transaction fails.
    ///
    /// `next` receives the first of them, before it is changed.
    async fn work_on_chunk(&self, size: usize, next: &Mutex<Option<NextItem>>) -> Result<WorkerTurn> {
        // This read avoids a write transaction every few seconds on a desk without jobs.
        if !self.store.read().await?.has_bulk_work().await? {
            return Ok(WorkerTurn::Nothing);
        }
        let work = async |tx: Arc<Tx>| {
            let Some(mut job) = tx.lock_next_bulk_job().await? else { return Ok(WorkerTurn::Nothing) };
            let command = self.command_of(&tx, &job).await?;
            let waiting = tx.waiting_bulk_items(job.id, size).await?;
            *next.lock() = waiting.first().map(|item| (job.id, item.ordinal));
            let (many, results) = Box::pin(self.change_many(&tx, &command, waiting, &job.edit)).await?;
            many.write(&tx).await?;
            tx.settle_bulk_items(job.id, &results).await?;
            let before = job.changed;
            job.count(results.iter().map(|(_, result)| result), command.at);
            tx.save_bulk_job(&job).await?;
            Ok(WorkerTurn::Chunk { job: job.id, changed: job.changed > before })
        };
        let (turn, head) = self.store.transact(work).await?;
        if let WorkerTurn::Chunk { changed: true, .. } = turn {
            self.hub.committed(head.offset);
        }
        Ok(turn)
    }

    /// Applies one edit to incidents, each by itself. Returns the effects, which are still to be written, and the
    /// result of each incident with its index in the job.
    async fn change_many(
        &self,
        tx: &Tx,
        command: &Command,
        items: Vec<BulkItem>,
        edit: &BulkEdit,
    ) -> Result<(Many, Vec<(u64, BulkResult)>)> {
        let owner = edit.owner.map(|owner| owner.map(OwnerChoice::Id));
        let whole = IncidentEdit { owner, ..edit.patch().into() };
        let needs = Needs {
            incidents: items.iter().map(|item| item.incident).collect(),
            tags: whole.patch.add_tags.clone(),
            owners: edit.owner.flatten().into_iter().collect(),
            held_alerts: whole.owner.is_some() || whole.patch.status.is_some(),
            ..Needs::default()
        };
        // This locks the incidents first, as everywhere, and then the alerts.
        let mut many = Many::find(tx, &needs).await?;
        let work = CommandWork { tx, app: self, command };
        let mut results = Vec::with_capacity(items.len());
        for BulkItem { ordinal, incident, .. } in items {
            let together = match command.require(Role::Responder, "change incidents in bulk") {
                Ok(()) => Box::pin(many.update(&work, incident, whole.clone())).await,
                Err(error) => Err(error),
            };
            let result = match together {
                Ok(Some(done)) => BulkResult::done(done.changed),
                Ok(None) => match Box::pin(tx.part(self.change_one(&work, incident, whole.clone()))).await? {
                    Ok(changed) => BulkResult::done(changed),
                    Err(refusal) => BulkResult::refused(&refusal),
                },
                Err(Error::Refused(refusal)) if refusal.code != Code::Unavailable => BulkResult::refused(&refusal),
                Err(fault) => return Err(fault),
            };
            results.push((ordinal, result));
        }
        Ok((many, results))
    }

    /// Changes an incident that [`Many`] does not handle: it does not exist, or it holds very many alerts.
    async fn change_one(&self, work: &CommandWork<'_>, id: IncidentId, edit: IncidentEdit) -> Result<bool> {
        let mut locked = lock(work.tx, &edit, Some(id)).await?;
        let incident = locked.holders.remove(&id).filter(|incident| incident.deleted_at.is_none());
        let incident = incident.ok_or_else(|| Error::not_found("incident", id))?;
        Ok(work.write(Some(incident.clone()), incident, edit, locked, None).await?.changed)
    }

    /// Returns the command of a job: its user, with the rights that the user has now.
    async fn command_of(&self, tx: &Tx, job: &BulkJob) -> Result<Command> {
        let user = tx.users(&[job.user]).await?.pop();
        let user = user.ok_or_else(|| Error::fault("working on a bulk job", "who asked for it is gone"))?;
        let cause = Cause { kind: CauseKind::Bulk, name: "bulkUpdateIncidents".to_owned(), job: Some(job.id) };
        Ok(Command {
            actor: Some(tx.actor(user).await?),
            at: self.clock.now(),
            cause,
            client_mutation_id: job.client_mutation_id.clone(),
            idempotency_key: None,
        })
    }

    /// Records a failure for an incident of a job, so that the job continues. Does nothing if another node has done the
    /// incident meanwhile, or if the job has ended.
    async fn pass_over(&self, (job, ordinal): NextItem) -> Result<()> {
        let now = self.clock.now();
        let work = async |tx: Arc<Tx>| {
            let found = tx.lock_bulk_job(job).await?;
            let Some(mut job) = found.filter(|job| job.state == BulkState::Running) else { return Ok(()) };
            let waiting = tx.waiting_bulk_items(job.id, 1).await?;
            if waiting.iter().all(|item| item.ordinal != ordinal) {
                return Ok(());
            }
            let results = [(ordinal, BulkResult::failed())];
            tx.settle_bulk_items(job.id, &results).await?;
            job.count(results.iter().map(|(_, result)| result), now);
            tx.save_bulk_job(&job).await
        };
        self.store.transact(work).await?;
        self.jobs.told();
        Ok(())
    }
}

impl Jobs {
    fn told(&self) {
        self.done.send_modify(|chunks| *chunks += 1);
    }
}

async fn known_owner(reader: &Reader, id: OwnerId) -> Result<()> {
    let (noun, path) = match id {
        OwnerId::User(_) => ("user", "edit.owner.user"),
        OwnerId::Group(_) => ("group", "edit.owner.group"),
    };
    reader.owner(id).await?.map(drop).ok_or_else(|| Error::not_found(noun, id).at(path))
}
