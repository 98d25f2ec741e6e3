//! Commands on alerts: ingest, and update by hand. To link an alert is an edit of the incident.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::correlation::{Correlated, CorrelatedReceipt, CorrelationPlan, correlated_again, tell};
use super::idempotency::{ById, Did, Done, Repeatable};
use super::incident::{CommandWork, IncidentEdit, OwnerChoice};
use super::link::Locked;
use super::reported::{delta, reported};
use super::{App, Command};
use crate::domain::account::Role;
use crate::domain::alert::{ALERTS_PER_BATCH_MAX, Alert, AlertDraft, AlertKey, AlertStatus};
use crate::domain::change::{AlertDelta, CauseKind, Entry};
use crate::domain::classification::Classification;
use crate::domain::correlation::Correlation;
use crate::domain::incident::{Incident, Patch, Status};
use crate::domain::tag::Tag;
use crate::domain::{AlertId, Error, IncidentId, Instant, Result};
use crate::storage::{ChangeOrigin, Reader, Tx};

/// The largest ingest that may share its transaction with other commands. They would have to wait for a larger one.
const ALERTS_TOGETHER_MAX: usize = 20;

/// The incident that the alerts of an ingest go into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// No incident. New alerts belong to no incident, and known alerts stay where they are.
    Nowhere,
    /// This incident. Refused if another incident holds an alert of the batch.
    Incident(IncidentId),
    /// A new incident, with the alerts of the batch that no incident holds.
    NewIncident,
    /// Correlation, for alerts that no incident holds. Each joins the open incident that shares entities with it, or
    /// opens a new one together with the alerts of the batch that do.
    Correlate(Correlation),
}

impl Destination {
    fn incident(&self) -> Option<IncidentId> {
        match self {
            Self::Incident(id) => Some(*id),
            Self::Nowhere | Self::NewIncident | Self::Correlate(_) => None,
        }
    }
}

/// A batch of alerts to ingest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// The alerts.
    pub alerts: Vec<AlertDraft>,
    /// The incident that the alerts go into.
    pub into: Destination,
    /// The system tags for each incident that alerts go into.
    pub system_tags: Vec<Tag>,
    /// The time when each alert came in, in the order of `alerts`, if an import states it. If empty, all come in at the
    /// command's time.
    pub came_at: Vec<Instant>,
}

impl Ingest {
    /// Creates a batch without system tags.
    pub fn new(alerts: Vec<AlertDraft>, into: Destination) -> Self {
        Self { alerts, into, system_tags: Vec::new(), came_at: Vec::new() }
    }
}

/// The result of an ingest.
#[derive(Clone, Debug)]
pub struct Ingested {
    /// Every alert of the batch in its present state, in the order of the batch, each once.
    pub alerts: Vec<Alert>,
    /// How many alerts are new.
    pub created: usize,
    /// How many known alerts changed.
    pub updated: usize,
    /// How many known alerts did not change.
    pub unchanged: usize,
    /// The incident that the alerts went into; `None` if there are several.
    pub incident: Option<Incident>,
    /// The place of each alert, in the order of the batch, if the alerts were correlated.
    pub correlations: Vec<Correlated>,
}

/// The changes that one command makes to an alert. Absent fields stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertEdit {
    /// A new status.
    pub status: Option<AlertStatus>,
    /// A classification; `Some(None)` clears it.
    pub classification: Option<Option<Classification>>,
    /// A new owner; `Some(None)` unassigns.
    pub owner: Option<Option<OwnerChoice>>,
    /// The version of the alert's incident that the caller knows.
    pub expected_version: Option<u64>,
}

/// The form of [`Ingested`] that is stored for a retry.
#[derive(Serialize, Deserialize)]
pub(super) struct IngestedReceipt {
    alerts: Vec<AlertId>,
    created: usize,
    updated: usize,
    unchanged: usize,
    incident: Option<IncidentId>,
    correlations: Vec<CorrelatedReceipt>,
}

impl Repeatable for Ingested {
    type Receipt = IngestedReceipt;

    fn receipt(&self) -> IngestedReceipt {
        IngestedReceipt {
            alerts: self.alerts.iter().map(|alert| alert.id).collect(),
            created: self.created,
            updated: self.updated,
            unchanged: self.unchanged,
            incident: self.incident.as_ref().map(|incident| incident.id),
            correlations: self.correlations.iter().map(Correlated::receipt).collect(),
        }
    }

    async fn again(reader: &Reader, receipt: IngestedReceipt) -> Result<Self> {
        let IngestedReceipt { alerts: ids, created, updated, unchanged, incident, correlations } = receipt;
        let found: HashMap<AlertId, Alert> =
            reader.alerts_to_show(&ids).await?.into_iter().map(|alert| (alert.id, alert)).collect();
        let incident = match incident {
            Some(id) => reader.incident(id).await?,
            None => None,
        };
        let correlations = correlated_again(reader, &found, correlations).await?;
        let alerts = ids.iter().filter_map(|id| found.get(id).cloned()).collect();
        Ok(Self { alerts, created, updated, unchanged, incident, correlations })
    }
}

impl Repeatable for Alert {
    type Receipt = ById<AlertId>;

    fn receipt(&self) -> ById<AlertId> {
        ById { id: self.id }
    }

    async fn again(reader: &Reader, ById { id }: ById<AlertId>) -> Result<Self> {
        reader.alerts(&[id]).await?.pop().ok_or_else(|| Error::not_found("alert", id))
    }
}

/// An alert after the drafts of a batch, with the position of its first draft and the raw payload that came last.
struct Drafted {
    place: usize,
    alert: Alert,
    raw: Option<String>,
}

/// The drafts of a batch, compared with the known alerts.
#[derive(Default)]
pub(super) struct Sorted {
    order: Vec<AlertId>,
    /// The position in the batch of each alert of `order`.
    places: Vec<usize>,
    new: Vec<(Alert, Option<String>)>,
    /// The known alerts that changed.
    altered: Vec<Alert>,
    /// The changes of alerts that an incident holds, by incident.
    pub(super) reported: BTreeMap<IncidentId, Vec<AlertDelta>>,
    unchanged: usize,
}

impl App {
    /// Ingests alerts in one transaction. A report with a known key updates the known alert. Records one change for
    /// each incident concerned, and one for each new or altered alert that no incident holds.
    ///
    /// Refuses an empty batch, more than 5,000 alerts, an alert of another incident than the named one, and system tags
    /// without an incident.
    pub async fn ingest_alerts(&self, command: &Command, ingest: Ingest) -> Result<Did<Ingested>> {
        command.require(Role::Responder, "ingest alerts")?;
        if ingest.alerts.is_empty() {
            return Err(Error::invalid("alerts", "a batch has at least one alert"));
        }
        if ingest.into == Destination::Nowhere && !ingest.system_tags.is_empty() {
            return Err(Error::invalid("systemTags", "tags are an incident's: say into which one the alerts go"));
        }
        if ingest.alerts.len() > ALERTS_PER_BATCH_MAX {
            let message = format!("at most {ALERTS_PER_BATCH_MAX} alerts at once");
            return Err(Error::limit("alerts", message, ALERTS_PER_BATCH_MAX));
        }
        let new_incident = IncidentId(self.clock.fresh_id());
        let command = command.ingesting();
        let work = async |tx: Arc<Tx>| Box::pin(self.ingest(&tx, &command, ingest.clone(), new_incident)).await;
        let did = match ingest.alerts.len() {
            ..=ALERTS_TOGETHER_MAX => self.once(&command, work).await?,
            _ => self.once_alone(&command, work).await?,
        };
        Ok(self.logged(did))
    }

    pub(super) async fn ingest(
        &self,
        tx: &Tx,
        command: &Command,
        ingest: Ingest,
        new_incident: IncidentId,
    ) -> Result<Done<Ingested>> {
        let Ingest { alerts: drafts, into, system_tags: tags, came_at } = ingest;
        let plan = match &into {
            Destination::Correlate(how) => Box::pin(CorrelationPlan::make(tx, how, &drafts, command.at)).await?,
            _ => CorrelationPlan::default(),
        };
        let keys: Vec<AlertKey> = drafts.iter().map(|draft| draft.report.key()).collect();
        let mut locked = self.lock_known(tx, &keys, &into, &plan).await?;
        let targets: BTreeSet<IncidentId> = plan.incidents().chain(into.incident()).collect();
        let command = &command.not_before(targets.iter().filter_map(|id| locked.holders.get(id)), []);
        let at = |index: usize| came_at.get(index).copied().unwrap_or(command.at);
        let drafts = drafts.into_iter().enumerate().map(|(index, draft)| (at(index), draft)).collect();
        let sorted = self.sort(tx, command, drafts, &locked).await?;
        tx.insert_alerts(&sorted.new).await?;
        let (created, unchanged) = (sorted.new.len(), sorted.unchanged);
        let updated = sorted.order.len() - created - unchanged;
        for alert in sorted.new.iter().map(|(alert, _)| alert).chain(&sorted.altered) {
            locked.alerts.insert(alert.id, alert.clone());
        }
        let work = CommandWork { tx, app: self, command };
        let gathered = Box::pin(work.gather(plan, &tags, &sorted, &mut locked)).await?;
        let target = work.target(&into, tags, &sorted, &mut locked, new_incident).await?;
        let version = |id| locked.holders.get(&id).map(|incident| incident.version);
        let target_changed = target.as_ref().is_some_and(|target| version(target.id) != Some(target.version));
        let changed = created + updated > 0 || target_changed || !gathered.incidents.is_empty();
        for (holder, alerts) in &sorted.reported {
            let told = target.as_ref().is_some_and(|target| target.id == *holder);
            if told || gathered.incidents.contains(holder) {
                continue;
            }
            let Some(before) = locked.holders.get(holder) else { continue };
            work.report(before, alerts).await?;
        }
        let alerts: Vec<Alert> = match into {
            // Nothing has changed these alerts since.
            Destination::Nowhere => sorted.order.iter().filter_map(|id| locked.alerts.get(id).cloned()).collect(),
            _ => {
                let shown = tx.alerts_to_show(&sorted.order).await?;
                let mut by_id: HashMap<AlertId, Alert> = shown.into_iter().map(|alert| (alert.id, alert)).collect();
                sorted.order.iter().filter_map(|id| by_id.remove(id)).collect()
            }
        };
        let held: HashSet<AlertId> = alerts.iter().filter(|alert| alert.incident.is_some()).map(|it| it.id).collect();
        for (alert, _) in sorted.new.iter().filter(|(alert, _)| !held.contains(&alert.id)) {
            // The incident's log tells of an alert that came into an incident at once.
            let origin = ChangeOrigin { at: alert.created_at, ..command.origin() };
            tx.record_alert(None, alert, reported(alert), &origin).await;
        }
        let correlations = tell(tx, &into, &alerts, &gathered).await?;
        let incident = target.or_else(|| the_one(&correlations));
        Ok(Done { value: Ingested { alerts, created, updated, unchanged, incident, correlations }, changed })
    }

    /// Locks the incidents that hold known alerts of the batch and the target incidents, and then the alerts.
    async fn lock_known(
        &self,
        tx: &Tx,
        keys: &[AlertKey],
        into: &Destination,
        plan: &CorrelationPlan,
    ) -> Result<Locked> {
        let known = tx.alerts_by_key(keys).await?;
        let mut incidents: BTreeSet<IncidentId> = known.iter().filter_map(|alert| alert.incident).collect();
        incidents.extend(plan.incidents());
        if let Destination::Incident(target) = into {
            incidents.insert(*target);
        }
        let incidents: Vec<IncidentId> = incidents.into_iter().collect();
        let holders: BTreeMap<IncidentId, Incident> =
            tx.lock_incidents(&incidents).await?.into_iter().map(|incident| (incident.id, incident)).collect();
        if let Destination::Incident(target) = into
            && holders.get(target).is_none_or(|incident| incident.deleted_at.is_some())
        {
            return Err(Error::not_found("incident", target).at("into.incident"));
        }
        if let Destination::Incident(target) = into
            && let Some(incident) = holders.get(target)
        {
            incident.writable().map_err(|error| error.at("into.incident"))?;
        }
        let ids: Vec<AlertId> = known.iter().map(|alert| alert.id).collect();
        let alerts: BTreeMap<AlertId, Alert> =
            tx.lock_alerts(&ids).await?.into_iter().map(|alert| (alert.id, alert)).collect();
        if alerts.values().any(|alert| alert.incident.is_some_and(|holder| !holders.contains_key(&holder))) {
            return Err(Error::Busy);
        }
        let locked = Locked { holders, alerts };
        if let Destination::Correlate(_) = into {
            plan.check(&locked)?;
        }
        Ok(locked)
    }

    /// Applies each draft to the alert of its key, in memory: to a known alert, to the alert that an earlier draft of
    /// the batch has made, or to a new alert. Returns the alerts in the order of their first drafts, each with its
    /// position in the batch and with the raw payload that came last.
    fn apply_drafts(&self, command: &Command, drafts: Vec<(Instant, AlertDraft)>, locked: &Locked) -> Vec<Drafted> {
        let mut by_key: HashMap<AlertKey, AlertId> =
            locked.alerts.values().map(|alert| (alert.report.key(), alert.id)).collect();
        let mut drafted: Vec<Drafted> = Vec::new();
        let mut place_of: HashMap<AlertId, usize> = HashMap::new();
        for (place, (at, draft)) in drafts.into_iter().enumerate() {
            let id = *by_key.entry(draft.report.key()).or_insert_with(|| AlertId(self.clock.fresh_id()));
            let raw = draft.raw.clone();
            if let Some(Drafted { alert, raw: kept, .. }) = place_of.get(&id).map(|at| &mut drafted[*at]) {
                alert.report_again(draft, alert.updated_at.max(at));
                *kept = raw.or_else(|| kept.take());
                continue;
            }
            let alert = match locked.alerts.get(&id) {
                Some(known) => {
                    let mut alert = known.clone();
                    let holder = known.incident.and_then(|holder| locked.holders.get(&holder));
                    alert.report_again(draft, Command { at, ..command.clone() }.not_before(holder, [known]).at);
                    alert
                }
                None => Alert::new(id, draft, at),
            };
            place_of.insert(id, drafted.len());
            drafted.push(Drafted { place, alert, raw });
        }
        drafted
    }

    /// Compares each draft with the known alerts, and writes the changes of known alerts. If a batch has a key twice,
    /// the later draft updates the earlier.
    async fn sort(
        &self,
        tx: &Tx,
        command: &Command,
        drafts: Vec<(Instant, AlertDraft)>,
        locked: &Locked,
    ) -> Result<Sorted> {
        let drafted = self.apply_drafts(command, drafts, locked);
        let mut sorted = Sorted {
            order: drafted.iter().map(|drafted| drafted.alert.id).collect(),
            places: drafted.iter().map(|drafted| drafted.place).collect(),
            ..Sorted::default()
        };
        let with_raw = drafted.iter().filter(|it| it.raw.is_some() && locked.alerts.contains_key(&it.alert.id));
        let known_raw: Vec<AlertId> = with_raw.map(|drafted| drafted.alert.id).collect();
        let raws = if known_raw.is_empty() { HashMap::new() } else { tx.alerts_raw(&known_raw).await? };
        for Drafted { alert, raw, .. } in drafted {
            let Some(before) = locked.alerts.get(&alert.id) else {
                sorted.new.push((alert, raw));
                continue;
            };
            let new_raw = raw.filter(|raw| raws.get(&alert.id) != Some(raw));
            if let Some(raw) = &new_raw {
                tx.save_raw(alert.id, raw).await?;
            }
            if *before != alert {
                tx.save_alert(before, &alert).await?;
                let told = AlertDelta { reported: true, ..delta(before, &alert) };
                match alert.incident {
                    Some(holder) => sorted.reported.entry(holder).or_default().push(told),
                    None => {
                        let origin = ChangeOrigin { at: alert.updated_at, ..command.origin() };
                        let entry = Entry::AlertsChanged { alerts: vec![told] };
                        tx.record_alert(Some(before), &alert, entry, &origin).await;
                    }
                }
                sorted.altered.push(alert);
            } else if new_raw.is_none() {
                sorted.unchanged += 1;
            }
        }
        Ok(sorted)
    }

    /// Updates an alert by hand. The incident that holds the alert logs the change, or else the alert's own log does.
    pub async fn update_alert(&self, command: &Command, id: AlertId, edit: AlertEdit) -> Result<Did<Alert>> {
        command.require(Role::Responder, "update an alert")?;
        let did =
            self.once(command, async |tx| CommandWork { tx: &tx, app: self, command }.update_alert(id, &edit).await);
        Ok(self.logged(did.await?))
    }

    /// Finds alerts by their keys, for importers.
    pub async fn find_alerts(&self, keys: &[AlertKey]) -> Result<Vec<Alert>> {
        self.store.read().await?.alerts_by_key(keys).await
    }
}

/// Returns the incident of all these alerts; `None` if they are in several.
fn the_one(correlations: &[Correlated]) -> Option<Incident> {
    let (first, rest) = correlations.split_first()?;
    let same = rest.iter().all(|other| other.incident.id == first.incident.id);
    same.then(|| first.incident.clone())
}

impl CommandWork<'_> {
    /// Puts the batch into the incident that the caller asked for, if any. Returns that incident.
    async fn target(
        &self,
        into: &Destination,
        tags: Vec<Tag>,
        sorted: &Sorted,
        locked: &mut Locked,
        new_incident: IncidentId,
    ) -> Result<Option<Incident>> {
        let free = |locked: &Locked| -> Vec<AlertId> {
            let unheld = |id: &&AlertId| locked.alerts.get(*id).is_some_and(|alert| alert.incident.is_none());
            sorted.order.iter().filter(unheld).copied().collect()
        };
        let tagged = IncidentEdit::from(Patch { add_tags: tags, ..Patch::default() });
        match into {
            Destination::Nowhere | Destination::Correlate(_) => Ok(None),
            Destination::NewIncident => {
                let link = free(locked);
                if link.is_empty() {
                    return Ok(None);
                }
                let number = self.tx.next_incident_number().await?;
                let incident = Incident::new(new_incident, number, self.command.at);
                let edit = IncidentEdit { link, ..tagged };
                let alerts = std::mem::take(&mut locked.alerts);
                let done = self.write(None, incident, edit, Locked { holders: BTreeMap::new(), alerts }, None).await?;
                Ok(Some(done.value.incident))
            }
            Destination::Incident(id) => {
                let id = *id;
                let elsewhere = sorted.order.iter().zip(&sorted.places).find_map(|(alert, place)| {
                    let holder = locked.alerts.get(alert)?.incident.filter(|holder| *holder != id)?;
                    Some((*alert, place, holder))
                });
                if let Some((alert, place, holder)) = elsewhere {
                    let number = locked.holders.get(&holder).map_or(0, |incident| incident.number);
                    let now = json!({ "alert": alert.to_string(), "incident": holder.to_string(), "number": number });
                    let message = format!("alert {alert} is in INC-{number}");
                    return Err(Error::taken(format!("alerts.{place}"), message, now));
                }
                let Some(before) = locked.holders.get(&id).cloned() else {
                    return Err(Error::not_found("incident", id));
                };
                let edit = IncidentEdit { link: free(locked), reopen: self.reopens_by_policy(), ..tagged };
                let reported = sorted.reported.get(&id).cloned().unwrap_or_default();
                let alerts = std::mem::take(&mut locked.alerts);
                let links = Locked { holders: BTreeMap::new(), alerts };
                Ok(Some(self.join(before, edit, links, &reported).await?))
            }
        }
    }

    async fn update_alert(&self, id: AlertId, edit: &AlertEdit) -> Result<Done<Alert>> {
        let seen = self.tx.alerts(&[id]).await?.pop().ok_or_else(|| Error::not_found("alert", id))?;
        let holder = match seen.incident {
            Some(incident) => Some(self.tx.lock_incident(incident).await?),
            None => None,
        };
        let before = self.tx.lock_alerts(&[id]).await?.pop().ok_or_else(|| Error::not_found("alert", id))?;
        if before.incident != seen.incident {
            return Err(Error::Busy);
        }
        self.expect_alert(id, holder.as_ref(), edit).await?;
        let mut alert = before.clone();
        let command = self.command.not_before(&holder, [&before]);
        let at = command.at;
        if let Some(status) = edit.status {
            alert.set_status(status, at);
        }
        if let Some(classification) = edit.classification {
            alert.classification = classification;
        }
        if let Some(owner) = edit.owner {
            alert.owner = match owner {
                Some(choice) => Some(self.owner(choice).await?),
                None => None,
            };
        }
        let activates = alert.status != before.status && alert.status != AlertStatus::Resolved;
        if let Some(incident) = holder.as_ref().filter(|incident| activates && incident.status == Status::Resolved)
            && self.command.actor.is_some()
            && self.command.cause.kind != CauseKind::Import
        {
            let message = format!("INC-{} is resolved, and holds no active alert: reopen it first", incident.number);
            return Err(Error::taken("status", message, json!({ "status": incident.status })));
        }
        let delta = delta(&before, &alert);
        if delta.is_empty() {
            return Ok(Done::unchanged(before));
        }
        alert.settled = None;
        alert.updated_at = at;
        self.tx.save_alert(&before, &alert).await?;
        let entry = Entry::AlertsChanged { alerts: vec![delta] };
        let Some(incident) = holder else {
            self.tx.record_alert(Some(&before), &alert, entry, &command.origin()).await;
            return Ok(Done::changed(alert));
        };
        let mut after = incident.clone();
        let facts = vec![entry];
        self.tx.record(Some(&incident), &mut after, facts, &command.origin(), None).await?;
        Ok(Done::changed(alert))
    }
}
