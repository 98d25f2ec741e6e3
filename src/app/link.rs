//! Links of alerts to incidents: the locks that they need, the chosen alerts, and the effects on former holders.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::Command;
use super::incident::{CommandWork, IncidentEdit};
use crate::domain::alert::{ALERTS_PER_LINK_MAX, Alert, AlertStatus};
use crate::domain::change::{AlertImage, Cause, CauseKind, Entry};
use crate::domain::incident::{Incident, Patch, Propagation, Status};
use crate::domain::{AlertId, Error, IncidentId, Result};
use crate::storage::{ChangeOrigin, Tx};

/// All locked data that linking needs. Incidents are locked first, then alerts, each in ascending order of id.
pub(super) struct Locked {
    pub(super) holders: BTreeMap<IncidentId, Incident>,
    pub(super) alerts: BTreeMap<AlertId, Alert>,
}

/// Locks the alerts that an edit links and unlinks, the incidents that hold them, and the edited incident `id`, if any.
pub(super) async fn lock(tx: &Tx, edit: &IncidentEdit, id: Option<IncidentId>) -> Result<Locked> {
    if let Some(both) = edit.unlink.iter().find(|id| edit.link.contains(id)) {
        return Err(Error::invalid(
            place("unlinkAlerts", &edit.unlink, *both),
            "an alert is linked or unlinked, not both",
        ));
    }
    let wanted: BTreeSet<AlertId> = edit.link.iter().chain(&edit.unlink).copied().collect();
    if wanted.len() > ALERTS_PER_LINK_MAX {
        let message = format!("at most {ALERTS_PER_LINK_MAX} alerts at once");
        return Err(Error::limit("linkAlerts", message, ALERTS_PER_LINK_MAX));
    }
    let wanted: Vec<AlertId> = wanted.into_iter().collect();
    let mut incidents: BTreeSet<IncidentId> = tx.alerts(&wanted).await?.iter().filter_map(|a| a.incident).collect();
    incidents.extend(id);
    let incidents: Vec<IncidentId> = incidents.into_iter().collect();
    let holders = tx.lock_incidents(&incidents).await?.into_iter().map(|incident| (incident.id, incident)).collect();
    let alerts: BTreeMap<AlertId, Alert> =
        tx.lock_alerts(&wanted).await?.into_iter().map(|alert| (alert.id, alert)).collect();
    let locked = Locked { holders, alerts };
    if let Some(missing) = wanted.iter().find(|id| !locked.alerts.contains_key(*id)) {
        let path = if edit.link.contains(missing) {
            place("linkAlerts", &edit.link, *missing)
        } else {
            place("unlinkAlerts", &edit.unlink, *missing)
        };
        return Err(Error::not_found("alert", missing).at(&path));
    }
    // An alert may have moved between the read and the lock. Its holder is then not locked, and the command runs again.
    let moved = |alert: &Alert| alert.incident.is_some_and(|holder| !locked.holders.contains_key(&holder));
    if locked.alerts.values().any(moved) {
        return Err(Error::Busy);
    }
    Ok(locked)
}

/// Returns the path of an alert in the list `field`. Returns the path of the list if the list does not name the alert.
pub(super) fn place(field: &str, list: &[AlertId], alert: AlertId) -> String {
    match list.iter().position(|id| *id == alert) {
        Some(index) => format!("{field}.{index}"),
        None => field.to_owned(),
    }
}

/// The alerts that an edit brings to an incident, and the incidents that held them.
#[derive(Default)]
pub(super) struct Links {
    pub(super) new: Vec<AlertId>,
    pub(super) from: Vec<IncidentId>,
    by_holder: BTreeMap<IncidentId, Vec<AlertId>>,
}

impl Links {
    /// Returns the entry about the new alerts, if there are any.
    pub(super) fn entry(&self, locked: &Locked) -> Option<Entry> {
        let states = self.new.iter().filter_map(|id| locked.alerts.get(id)).map(AlertImage::from).collect();
        let (alerts, from) = (self.new.clone(), self.from.clone());
        (!alerts.is_empty()).then_some(Entry::AlertsLinked { alerts, from, states })
    }

    /// Chooses the alerts that an edit names and the incident does not hold yet. Refuses an alert that another incident
    /// holds, unless the edit moves alerts.
    pub(super) fn choose(incident: &Incident, edit: &IncidentEdit, locked: &Locked) -> Result<Self> {
        let mut links = Self::default();
        for id in edit.link.iter().copied().collect::<BTreeSet<_>>() {
            match locked.alerts.get(&id).and_then(|alert| alert.incident) {
                Some(holder) if holder == incident.id => continue,
                Some(holder) => {
                    let number = locked.holders.get(&holder).map_or(0, |incident| incident.number);
                    if !edit.move_alerts {
                        let now = json!({ "alert": id.to_string(), "incident": holder.to_string(), "number": number });
                        let message = format!("alert {id} is in INC-{number}: taking it needs `move: true`");
                        return Err(Error::taken(place("linkAlerts", &edit.link, id), message, now));
                    }
                    links.by_holder.entry(holder).or_default().push(id);
                }
                None => {}
            }
            links.new.push(id);
        }
        links.from = links.by_holder.keys().copied().collect();
        Ok(links)
    }
}

/// Whether an active alert may reopen the resolved incident that it is linked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reopening {
    Allowed,
    Refused,
}

impl From<&IncidentEdit> for Reopening {
    fn from(edit: &IncidentEdit) -> Self {
        if edit.reopen { Self::Allowed } else { Self::Refused }
    }
}

impl CommandWork<'_> {
    /// Unlinks alerts from an incident. Returns their ids.
    pub(super) async fn unlink(
        &self,
        incident: &Incident,
        ids: &[AlertId],
        locked: &mut Locked,
        facts: &mut Vec<Entry>,
    ) -> Result<Vec<AlertId>> {
        for (index, id) in ids.iter().enumerate() {
            if locked.alerts.get(id).and_then(|alert| alert.incident) != Some(incident.id) {
                let message = format!("alert {id} is not in INC-{}", incident.number);
                let now = json!({ "alert": id.to_string() });
                return Err(Error::taken(format!("unlinkAlerts.{index}"), message, now));
            }
        }
        let gone: Vec<AlertId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        if !gone.is_empty() {
            self.tx.place_alerts(&gone, None, self.command.at).await?;
            for id in &gone {
                if let Some(alert) = locked.alerts.get_mut(id) {
                    alert.incident = None;
                    let entry = Entry::AlertFreed { from: incident.id };
                    self.tx.record_alert(None, alert, entry, &self.command.origin()).await;
                }
            }
            facts.push(Entry::AlertsUnlinked { alerts: gone.clone(), to: None });
        }
        Ok(gone)
    }

    /// Records the changes of the incidents that lose the moved alerts.
    pub(super) async fn take_from_holders(&self, incident: &Incident, links: &Links, locked: Locked) -> Result<()> {
        for (holder, alerts) in &links.by_holder {
            let Some(before) = locked.holders.get(holder) else { continue };
            let mut after = before.clone();
            self.tx.release_entities(*holder, before.version + 1, alerts).await?;
            after.summarise(&self.tx.alert_summary(*holder, after.title_generated).await?);
            let facts = vec![Entry::AlertsUnlinked { alerts: alerts.clone(), to: Some(incident.id) }];
            self.tx.record(Some(before), &mut after, facts, &self.command.moving(), None).await?;
        }
        Ok(())
    }
}

impl Command {
    /// Reopens a resolved incident that gets an active alert if the caller allows it, and refuses otherwise.
    pub(super) fn reopen_for<'a>(
        &self,
        incident: &mut Incident,
        mut alerts: impl Iterator<Item = &'a Alert>,
        edit_reopens: Reopening,
        mut propagation: Propagation,
    ) -> Result<Propagation> {
        let open = |alert: &&'a Alert| alert.status != AlertStatus::Resolved;
        if incident.status != Status::Resolved || propagation.resolve {
            return Ok(propagation);
        }
        let Some(alert) = alerts.find(open) else { return Ok(propagation) };
        if edit_reopens == Reopening::Refused {
            let message =
                format!("INC-{} is resolved, and does not take an active alert unless it is reopened", incident.number);
            return Err(Error::taken(
                "linkAlerts",
                message,
                json!({ "status": "RESOLVED", "alert": alert.id.to_string() }),
            ));
        }
        let patch = Patch { status: Some(Status::Active), ..Patch::default() };
        propagation.reopen = incident.apply(patch, &self.actor_image(), self.at)?.reopen;
        Ok(propagation)
    }

    fn moving(&self) -> ChangeOrigin {
        ChangeOrigin { cause: Cause { kind: CauseKind::Move, ..self.cause.clone() }, ..self.origin() }
    }
}
