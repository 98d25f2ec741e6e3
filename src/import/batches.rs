//! Decides which records share a transaction, and what happens to them if the transaction fails.
//!
//! Invariants:
//! - a record's outcome is reported and counted only after its commit;
//! - a record that cannot share a transaction is applied alone, and the records before and after it share transactions;
//! - a failed transaction is rolled back, and each of its records is applied again alone. If the database had committed
//!   it nevertheless, they are found to be present;
//! - in a transaction alerts come before other records. A report never overtakes a record that names the same alert.

use std::collections::HashSet;

use tracing::{debug, warn};

use super::account::key;
use super::apply::{AppliedRecords, Applier, keys, refusal, remark_of_comment, remark_of_update, tags};
use super::record::{AlertRef, IncidentRecord, Party, Record, UpdateRecord, incident_id};
use super::{Format, ImportItem};
use crate::app::Command;
use crate::app::alert::{Destination, Ingest};
use crate::app::idempotency::Done;
use crate::app::incident::IncidentEdit;
use crate::app::together::Needs;
use crate::domain::account::OwnerId;
use crate::domain::alert::{Alert, AlertDraft, AlertKey};
use crate::domain::incident::Incident;
use crate::domain::instant::kept;
use crate::domain::{Error, IncidentId, Instant, Result};

/// The most records that share a transaction: some 100 ms of work, for which a concurrent writer may have to wait.
pub(super) const RECORDS_MAX: usize = 256;

/// The most records in a transaction, counted with their alerts and comments. One record alone may have more.
const PARTS_MAX: usize = 1_000;

/// How often a batch starts again because another writer has held a lock for long.
const WAITS_MAX: u32 = 3;

/// The limits of the next batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchRoom {
    /// The most records. The number falls after a record had to be applied alone.
    records: usize,
    /// Whether its alerts have to stand before its other records.
    in_order: bool,
    /// How often the batch has met a lock that another writer held for long.
    waits: u32,
}

impl Default for BatchRoom {
    fn default() -> Self {
        Self { records: RECORDS_MAX, in_order: false, waits: 0 }
    }
}

impl BatchRoom {
    fn larger(self) -> Self {
        Self { records: (self.records * 2).min(RECORDS_MAX), in_order: false, waits: 0 }
    }
}

/// The reason why a batch was abandoned.
enum BatchStop {
    /// The record at this index has to be applied alone.
    Alone(usize),
    /// A report has changed the incident that holds its alert, and may have overtaken another record of that incident.
    OutOfOrder,
    /// A record was refused, and in strict mode the first refusal ends the import.
    Refused,
    Failed(Error),
}

impl From<Error> for BatchStop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Applier<'_> {
    /// Applies records in their order; in strict mode up to the first refusal. An error is a fault, and ends the
    /// import.
    pub async fn apply(&mut self, items: &[ImportItem]) -> Result<AppliedRecords> {
        let mut all = AppliedRecords::default();
        while all.records < items.len() && (!self.strict || all.refused.is_empty()) {
            let rest = items.get(all.records..).unwrap_or_default();
            let size = self.next_batch(rest);
            all.add(Box::pin(self.apply_some(rest.get(..size).unwrap_or_default())).await?);
        }
        Ok(all)
    }

    /// Returns how many of these records are applied together, at least one.
    fn next_batch(&self, items: &[ImportItem]) -> usize {
        let mut named: HashSet<AlertKey> = HashSet::new();
        let (mut parts, mut has_others) = (0, false);
        for (index, item) in items.iter().enumerate().take(self.room.records) {
            let Ok(record) = &item.record else { continue };
            parts += 1;
            let ends = match record {
                Record::User(_) | Record::Group(_) => return index.max(1),
                Record::Alert(alert) => named.contains(&alert.reference().key()) || (self.room.in_order && has_others),
                Record::Incident(incident) => {
                    parts += incident.alerts.len() + incident.comments.len();
                    false
                }
                Record::Update(update) => {
                    parts += update.link.len();
                    false
                }
                Record::Comment(_) => false,
            };
            if index > 0 && (ends || parts > PARTS_MAX) {
                return index;
            }
            has_others |= !matches!(record, Record::Alert(_));
            named.extend(refs(record).iter().map(AlertRef::key));
        }
        items.len().min(self.room.records)
    }

    /// Applies a batch, or applies nothing and sets smaller limits for the next batch.
    async fn apply_some(&mut self, items: &[ImportItem]) -> Result<AppliedRecords> {
        if let [item] = items {
            self.room = self.room.larger();
            return self.apply_alone(item).await;
        }
        let before = (self.counts.clone(), self.instant.clone());
        let stop = match Box::pin(self.apply_together(items)).await {
            Ok(applied) => {
                self.room = self.room.larger();
                return Ok(applied);
            }
            Err(stop) => stop,
        };
        if let Some(open) = self.open.take() {
            open.give_up().await;
        }
        // People and groups were created before the batch began, outside its transaction.
        let (users, groups) = (self.counts.users, self.counts.groups);
        (self.counts, self.instant) = before;
        (self.counts.users, self.counts.groups) = (users, groups);
        match stop {
            BatchStop::Alone(0) => {
                self.room.records = (self.room.records / 2).max(1);
                match items.first() {
                    Some(item) => self.apply_alone(item).await,
                    None => Ok(AppliedRecords::default()),
                }
            }
            BatchStop::Alone(place) => {
                debug!(place, "a record of an import is done alone");
                self.room.records = place;
                Ok(AppliedRecords::default())
            }
            BatchStop::OutOfOrder => {
                self.room.in_order = true;
                Ok(AppliedRecords::default())
            }
            BatchStop::Failed(Error::Busy) if self.room.waits < WAITS_MAX => {
                self.room.waits += 1;
                Ok(AppliedRecords::default())
            }
            BatchStop::Refused => self.one_by_one(items).await,
            BatchStop::Failed(error) => {
                warn!(%error, records = items.len(), "records of an import that shared a transaction are done one by one");
                self.one_by_one(items).await
            }
        }
    }

    async fn one_by_one(&mut self, items: &[ImportItem]) -> Result<AppliedRecords> {
        let mut all = AppliedRecords::default();
        for item in items {
            all.add(self.apply_alone(item).await?);
            if self.strict && !all.refused.is_empty() {
                break;
            }
        }
        Ok(all)
    }

    async fn apply_alone(&mut self, item: &ImportItem) -> Result<AppliedRecords> {
        match &item.record {
            Ok(record) => self.apply_one(item.line, record).await,
            Err(bad) => Ok(AppliedRecords::refused(bad.clone())),
        }
    }

    async fn apply_together(&mut self, items: &[ImportItem]) -> Result<AppliedRecords, BatchStop> {
        let mut applied = AppliedRecords { records: items.len(), ..AppliedRecords::default() };
        let records: Vec<(usize, u64, &Record)> = items
            .iter()
            .enumerate()
            .filter_map(|(place, item)| Some((place, item.line, item.record.as_ref().ok()?)))
            .collect();
        applied.refused.extend(items.iter().filter_map(|item| item.record.as_ref().err().cloned()));
        for (_, _, record) in &records {
            self.meet(record).await?;
        }
        let (alerts, others): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|(_, _, record)| matches!(record, Record::Alert(_)));
        self.open = Some(self.app.together().await?);
        let overtakes = alerts.last().map(|(place, ..)| *place) > others.first().map(|(place, ..)| *place);
        self.tell(&alerts, !others.is_empty() && overtakes, &mut applied).await?;
        let needs = self.needs(others.iter().map(|(_, _, record)| *record));
        if let (Some(open), false) = (&mut self.open, others.is_empty()) {
            open.find(&needs).await?;
        }
        for (place, line, record) in others {
            match Box::pin(self.apply_one(line, record)).await {
                Ok(AppliedRecords { refused, odd, .. }) => {
                    applied.refused.extend(refused);
                    applied.odd.extend(odd);
                }
                Err(Error::Busy) => return Err(BatchStop::Alone(place)),
                Err(fault) => return Err(BatchStop::Failed(fault)),
            }
        }
        if self.strict && !applied.refused.is_empty() {
            return Err(BatchStop::Refused);
        }
        if let Some(open) = self.open.take() {
            Box::pin(open.commit()).await?;
        }
        Ok(applied)
    }

    /// Ingests all alert reports of a batch at once.
    async fn tell(
        &mut self,
        alerts: &[(usize, u64, &Record)],
        overtakes: bool,
        applied: &mut AppliedRecords,
    ) -> Result<(), BatchStop> {
        let mut told = Vec::with_capacity(alerts.len());
        let now = self.app.clock.now();
        for (_, line, record) in alerts {
            let Record::Alert(alert) = record else { continue };
            match record.check(now).and_then(|()| self.told(alert)) {
                Ok(alert) => told.push(alert),
                Err(error) => applied.refused.extend(refusal(*line, Err(error), Vec::new())?.refused),
            }
        }
        let command = self.system(now);
        let Some(open) = self.open.as_mut().filter(|_| !told.is_empty()) else { return Ok(()) };
        let taken = Box::pin(open.ingest_told(command, told)).await?;
        if overtakes && taken.changes_incidents {
            return Err(BatchStop::OutOfOrder);
        }
        self.counts.alerts_created += taken.created as u64;
        self.counts.alerts_updated += taken.updated as u64;
        self.counts.alerts_unchanged += taken.unchanged as u64;
        Ok(())
    }

    /// Finds or creates the people and groups of a record before the transaction begins. A refusal is ignored here,
    /// because it comes again when the record itself is applied.
    async fn meet(&mut self, record: &Record) -> Result<()> {
        if record.check(self.app.clock.now()).is_err() {
            return Ok(());
        }
        let (owner, at) = match record {
            Record::Incident(incident) => (incident.owner.as_ref(), self.time(incident.created_at)),
            Record::Update(update) => (update.owner.as_ref().and_then(Option::as_ref), self.time(update.at)),
            Record::Comment(comment) => (None, self.time(comment.at)),
            Record::User(_) | Record::Group(_) | Record::Alert(_) => return Ok(()),
        };
        let mut met = Vec::new();
        match record {
            Record::Incident(incident) => {
                met.extend(incident.by.iter().map(|by| (by, at)));
                met.extend(incident.comments.iter().filter_map(|remark| {
                    let at = remark.at.map_or(at, |written| kept(written).max(at));
                    Some((remark.by.as_ref()?, at))
                }));
            }
            Record::Update(update) => met.extend(update.by.iter().map(|by| (by, at))),
            Record::Comment(comment) => met.extend(comment.by.iter().map(|by| (by, at))),
            Record::User(_) | Record::Group(_) | Record::Alert(_) => {}
        }
        for (person, at) in met {
            unless_refused(self.actor(person, at).await.map(drop))?;
        }
        match owner {
            Some(owner) => unless_refused(self.owner(owner, at).await.map(drop)),
            None => Ok(()),
        }
    }

    fn needs<'r>(&self, records: impl Iterator<Item = &'r Record>) -> Needs {
        let mut needs = Needs { held_alerts: true, makes: self.format != Format::Watchfloor, ..Needs::default() };
        let of = |party: &Party| match party {
            Party::User(person) => {
                let actor = self.actors.get(&key(&person.account))?;
                Some(OwnerId::User(actor.user.id))
            }
            Party::Group(name) => self.owners.get(&key(&name.group)).copied(),
        };
        for record in records {
            needs.alerts.extend(keys(refs(record)));
            match record {
                Record::Incident(incident) => {
                    let IncidentRecord { source, external_id, .. } = &**incident;
                    needs.makes = true;
                    needs.incidents.insert(incident_id(source, external_id));
                    needs.comments.extend(incident.comments.iter().map(|it| it.comment_id(source, external_id)));
                    needs.tags.extend(tags(&incident.tags).unwrap_or_default());
                    needs.owners.extend(incident.owner.as_ref().and_then(of));
                }
                Record::Update(update) => {
                    let UpdateRecord { source, external_id, .. } = &**update;
                    needs.incidents.insert(incident_id(source, external_id));
                    needs.comments.extend(remark_of_update(update).map(|it| it.comment_id(source, external_id)));
                    needs.tags.extend(tags(&update.add_tags).unwrap_or_default());
                    needs.owners.extend(update.owner.as_ref().and_then(Option::as_ref).and_then(of));
                }
                Record::Comment(comment) => {
                    needs.incidents.insert(incident_id(&comment.source, &comment.external_id));
                    let remark = remark_of_comment(comment);
                    needs.comments.insert(remark.comment_id(&comment.source, &comment.external_id));
                }
                Record::User(_) | Record::Group(_) | Record::Alert(_) => {}
            }
        }
        needs
    }

    /// Refuses with `Busy` inside a batch, so that the record is applied alone.
    pub(super) fn only_alone(&self) -> Result<()> {
        match self.open {
            Some(_) => Err(Error::Busy),
            None => Ok(()),
        }
    }

    pub(super) async fn find_incident(&self, id: IncidentId) -> Result<Option<Incident>> {
        match &self.open {
            Some(open) => open.find_incident(id),
            None => self.app.find_incident(id).await,
        }
    }

    pub(super) async fn find_alerts(&self, keys: &[AlertKey]) -> Result<Vec<Alert>> {
        match &self.open {
            Some(open) => open.find_alerts(keys),
            None => self.app.find_alerts(keys).await,
        }
    }

    pub(super) async fn create_incident(
        &mut self,
        command: &Command,
        id: IncidentId,
        edit: IncidentEdit,
    ) -> Result<Done<Incident>> {
        if let Some(open) = &mut self.open {
            return open.create_incident(command, id, edit).await;
        }
        let made = Box::pin(self.app.create_incident(command, Some(id), edit)).await?;
        Ok(Done { value: made.value.incident, changed: made.changed })
    }

    pub(super) async fn update_incident(
        &mut self,
        command: &Command,
        id: IncidentId,
        edit: IncidentEdit,
    ) -> Result<Done<Incident>> {
        if let Some(open) = &mut self.open {
            return open.update_incident(command, id, edit).await;
        }
        let done = Box::pin(self.app.update_incident(command, id, edit)).await?;
        Ok(Done { value: done.value.incident, changed: done.changed })
    }

    /// Creates alerts that no incident holds.
    pub(super) async fn make_alerts(&mut self, drafts: Vec<AlertDraft>, at: Instant) -> Result<Vec<Alert>> {
        let command = self.system(at);
        let alerts = match &mut self.open {
            Some(open) => open.ingest_alerts(&command, drafts).await?,
            None => self.app.ingest_alerts(&command, Ingest::new(drafts, Destination::Nowhere)).await?.value.alerts,
        };
        self.counts.alerts_created += alerts.len() as u64;
        Ok(alerts)
    }
}

/// Returns the alerts that a record names.
fn refs(record: &Record) -> &[AlertRef] {
    match record {
        Record::Incident(incident) => &incident.alerts,
        Record::Update(update) => &update.link,
        Record::User(_) | Record::Group(_) | Record::Alert(_) | Record::Comment(_) => &[],
    }
}

fn unless_refused(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if !error.may_pass() => Ok(()),
        outcome => outcome,
    }
}
