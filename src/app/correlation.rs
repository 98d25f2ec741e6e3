//! Correlation of alerts: alerts join the open incident that they belong to, or open a new one.
//!
//! Every transaction takes locks in this order: entities ascending (one lock may stand for several), incidents
//! ascending, alerts ascending, the incident counter, the head of the log. No transaction that holds an incident or an
//! alert waits for an entity, so there is no deadlock. A transaction that waits for an entity holds no lock yet that
//! others could want.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::alert::{Destination, Sorted};
use super::incident::{CommandWork, IncidentEdit};
use super::link::Locked;
use crate::domain::alert::{Alert, AlertDraft, AlertKey};
use crate::domain::change::AlertDelta;
use crate::domain::correlation::{
    ActivityPeriod, AlertGroup, Candidate, Correlation, INCIDENTS_PER_BATCH_MAX, Seeker, group,
};
use crate::domain::entity::{Entity, EntityKey};
use crate::domain::incident::{Incident, Patch};
use crate::domain::tag::Tag;
use crate::domain::{AlertId, Error, IncidentId, Instant, Result};
use crate::storage::{OpenIncident, Reader, Tx};

/// How an alert came to the incident that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// The alert was in the incident before.
    Stayed,
    /// The alert joined the incident.
    Joined,
    /// The alert opened the incident, alone or with others of its batch.
    Opened,
}

/// The incident of one alert of a batch, and the reason.
#[derive(Clone, Debug)]
pub struct Correlated {
    /// The alert in its present state.
    pub alert: Alert,
    /// The incident that holds the alert, after the whole batch.
    pub incident: Incident,
    /// How the alert came to the incident.
    pub outcome: Placement,
    /// The entities that the alert shares with the incident or with alerts that came with it, as its provider wrote
    /// them.
    pub shared: Vec<Entity>,
}

/// The form of [`Correlated`] that is stored for a retry.
#[derive(Serialize, Deserialize)]
pub(super) struct CorrelatedReceipt {
    alert: AlertId,
    incident: IncidentId,
    outcome: Placement,
    shared: Vec<Entity>,
}

impl Correlated {
    pub(super) fn receipt(&self) -> CorrelatedReceipt {
        let (alert, incident) = (self.alert.id, self.incident.id);
        CorrelatedReceipt { alert, incident, outcome: self.outcome, shared: self.shared.clone() }
    }
}

/// Reads the present state for stored receipts. Alerts and incidents that no longer exist are left out.
pub(super) async fn correlated_again(
    reader: &Reader,
    alerts: &HashMap<AlertId, Alert>,
    receipts: Vec<CorrelatedReceipt>,
) -> Result<Vec<Correlated>> {
    let ids: BTreeSet<IncidentId> = receipts.iter().map(|receipt| receipt.incident).collect();
    let found = reader.incidents(&ids.into_iter().collect::<Vec<_>>()).await?;
    let present = found.into_iter().filter(|incident| incident.deleted_at.is_none());
    let incidents: HashMap<IncidentId, Incident> = present.map(|incident| (incident.id, incident)).collect();
    let again = receipts.into_iter().filter_map(|receipt| {
        let (alert, incident) = (alerts.get(&receipt.alert)?.clone(), incidents.get(&receipt.incident)?.clone());
        Some(Correlated { alert, incident, outcome: receipt.outcome, shared: receipt.shared })
    });
    Ok(again.collect())
}

/// The groups of a batch, decided before the incidents and alerts are locked.
#[derive(Default)]
pub(super) struct CorrelationPlan {
    groups: Vec<AlertGroup>,
    /// The keys of the alerts; the groups name alerts by their index in this list.
    seekers: Vec<AlertKey>,
}

impl CorrelationPlan {
    /// Decides the groups of a batch. It first locks all entities of the batch, of every kind, because two feeds may
    /// correlate by different kinds.
    pub(super) async fn make(tx: &Tx, how: &Correlation, drafts: &[AlertDraft], at: Instant) -> Result<Self> {
        let named: BTreeSet<EntityKey> =
            drafts.iter().flat_map(|draft| draft.report.entities.iter().map(Entity::key)).collect();
        tx.lock_entities(named.iter()).await?;
        let keys: Vec<AlertKey> = drafts.iter().map(|draft| draft.report.key()).collect();
        let known: HashMap<AlertKey, Alert> =
            tx.alerts_by_key(&keys).await?.into_iter().map(|alert| (alert.report.key(), alert)).collect();
        // The last draft of an alert gives its content, and the first draft its index.
        let last: HashMap<&AlertKey, &AlertDraft> = keys.iter().zip(drafts).collect();
        let mut seen = HashSet::new();
        let (mut seekers, mut reports, mut staying) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys.iter().filter(|key| seen.insert(*key)) {
            let (alert, Some(draft)) = (known.get(key), last.get(key)) else { continue };
            let came_in = alert.map_or(at, |alert| alert.created_at);
            let says = Seeker { keys: how.keys(&draft.report), activity: ActivityPeriod::of(&draft.report, came_in) };
            match alert.and_then(|alert| alert.incident) {
                Some(incident) => staying.push((incident, says)),
                None => {
                    seekers.push(key.clone());
                    reports.push(says);
                }
            }
        }
        let candidates = candidates(tx, how, &mut reports, staying).await?;
        let groups = group(&reports, &candidates, how.window);
        if groups.len() > INCIDENTS_PER_BATCH_MAX {
            let message = format!(
                "these alerts belong to {} incidents, and a batch opens or joins at most {INCIDENTS_PER_BATCH_MAX}",
                groups.len()
            );
            return Err(Error::limit("alerts", message, INCIDENTS_PER_BATCH_MAX));
        }
        Ok(Self { groups, seekers })
    }

    /// Returns the incidents that the groups join.
    pub(super) fn incidents(&self) -> impl Iterator<Item = IncidentId> {
        self.groups.iter().filter_map(|group| group.incident)
    }

    /// Refuses (busy) if the locked data has changed since the groups were decided. The command then runs again.
    pub(super) fn check(&self, locked: &Locked) -> Result<()> {
        let is_open = |id: IncidentId| locked.holders.get(&id).is_some_and(Incident::is_open);
        let seeking: HashSet<&AlertKey> = self.seekers.iter().collect();
        let as_seen = |alert: &Alert| alert.incident.is_none() == seeking.contains(&alert.report.key());
        if self.incidents().all(is_open) && locked.alerts.values().all(as_seen) { Ok(()) } else { Err(Error::Busy) }
    }
}

/// Finds the open incidents that hold these alerts' entities. Alerts that stay in them count with their new reports. An
/// entity that too many incidents hold is also removed from the alerts, because it does not connect them either.
async fn candidates(
    tx: &Tx,
    how: &Correlation,
    seekers: &mut [Seeker],
    staying: Vec<(IncidentId, Seeker)>,
) -> Result<Vec<Candidate>> {
    let wanted: BTreeSet<EntityKey> = seekers.iter().flat_map(|seeker| seeker.keys.iter().cloned()).collect();
    let mut wanted: Vec<EntityKey> = wanted.into_iter().collect();
    let common = tx.held_by_more(&wanted, how.holders).await?;
    wanted.retain(|key| !common.contains(key));
    seekers.iter_mut().for_each(|seeker| seeker.keys.retain(|key| !common.contains(key)));
    let mut held: BTreeMap<IncidentId, BTreeSet<EntityKey>> = BTreeMap::new();
    for (incident, key) in tx.open_holders(&wanted).await? {
        held.entry(incident).or_default().insert(key);
    }
    for (incident, says) in &staying {
        let named = says.keys.iter().filter(|key| wanted.binary_search(key).is_ok()).cloned();
        held.entry(*incident).or_default().extend(named);
    }
    let ids: Vec<IncidentId> = held.keys().copied().collect();
    let open = tx.open_incidents(&ids).await?;
    let mut candidates = BTreeMap::new();
    for (id, keys) in held {
        if let Some(OpenIncident { number, activity }) = open.get(&id).copied() {
            candidates.insert(id, Candidate { id, number, activity, keys });
        }
    }
    for (incident, says) in staying {
        if let Some(candidate) = candidates.get_mut(&incident) {
            candidate.activity = candidate.activity.and(&says.activity);
        }
    }
    Ok(candidates.into_values().collect())
}

/// The effects of a plan.
pub(super) struct Gathered {
    /// The incidents that the plan changed.
    pub(super) incidents: HashSet<IncidentId>,
    /// For each alert that came to an incident: how it came there, and the entities that it shares.
    pub(super) placed: HashMap<AlertId, (Placement, BTreeSet<EntityKey>)>,
}

impl CommandWork<'_> {
    /// Carries out a plan: each group of alerts joins its incident or opens a new one.
    pub(super) async fn gather(
        &self,
        plan: CorrelationPlan,
        tags: &[Tag],
        sorted: &Sorted,
        locked: &mut Locked,
    ) -> Result<Gathered> {
        let ids: HashMap<AlertKey, AlertId> =
            locked.alerts.values().map(|alert| (alert.report.key(), alert.id)).collect();
        let mut gathered = Gathered { incidents: HashSet::new(), placed: HashMap::new() };
        // Takes the incident numbers first, as everywhere: their row is locked before the rows of tags.
        let mut work = Vec::with_capacity(plan.groups.len());
        for group in plan.groups {
            let incident = match group.incident.and_then(|id| locked.holders.get(&id).cloned()) {
                Some(incident) => (Some(incident.clone()), incident),
                None => {
                    let number = self.tx.next_incident_number().await?;
                    let id = IncidentId(self.app.clock.fresh_id());
                    (None, Incident::new(id, number, self.command.at))
                }
            };
            work.push((incident, group.alerts));
        }
        for ((before, incident), members) in work {
            let outcome = if before.is_some() { Placement::Joined } else { Placement::Opened };
            let mut edit = IncidentEdit::from(Patch { add_tags: tags.to_vec(), ..Patch::default() });
            let mut alerts = BTreeMap::new();
            for (place, shared) in members {
                let Some(alert) = ids.get(&plan.seekers[place]).and_then(|id| locked.alerts.remove(id)) else {
                    continue;
                };
                gathered.placed.insert(alert.id, (outcome, shared));
                edit.link.push(alert.id);
                alerts.insert(alert.id, alert);
            }
            let links = Locked { holders: BTreeMap::new(), alerts };
            gathered.incidents.insert(incident.id);
            match before {
                None => drop(self.write(None, incident, edit, links, None).await?),
                Some(before) => {
                    let reported: &[AlertDelta] = sorted.reported.get(&before.id).map_or(&[], Vec::as_slice);
                    self.join(before, edit, links, reported).await?;
                }
            }
        }
        Ok(gathered)
    }
}

/// Returns the incident of each alert of a batch, also of alerts that were in it before.
pub(super) async fn tell(
    tx: &Tx,
    into: &Destination,
    alerts: &[Alert],
    gathered: &Gathered,
) -> Result<Vec<Correlated>> {
    if !matches!(into, Destination::Correlate(_)) {
        return Ok(Vec::new());
    }
    let ids: BTreeSet<IncidentId> = alerts.iter().filter_map(|alert| alert.incident).collect();
    let ids: Vec<IncidentId> = ids.into_iter().collect();
    let incidents: HashMap<IncidentId, Incident> =
        tx.incidents(&ids).await?.into_iter().map(|incident| (incident.id, incident)).collect();
    let told = alerts.iter().filter_map(|alert| {
        let incident = incidents.get(&alert.incident?)?.clone();
        let (outcome, shared) = match gathered.placed.get(&alert.id) {
            Some((outcome, keys)) => (
                *outcome,
                alert.report.entities.iter().filter(|entity| keys.contains(&entity.key())).cloned().collect(),
            ),
            None => (Placement::Stayed, Vec::new()),
        };
        Some(Correlated { alert: alert.clone(), incident, outcome, shared })
    });
    Ok(told.collect())
}
