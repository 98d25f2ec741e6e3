//! The effects of a repeated report of known alerts: on each alert, on its incident, and on the incident's resolution.

use std::collections::BTreeMap;

use super::incident::{CommandWork, Extra, IncidentEdit};
use super::link::{Links, Locked};
use crate::domain::AlertId;
use crate::domain::Result;
use crate::domain::alert::{Alert, AlertStatus};
use crate::domain::change::{AlertDelta, CauseKind, Entry};
use crate::domain::incident::{Incident, Patch, Status};
use crate::domain::retold::{ReportDelta, ToldText};

/// Returns the differences between two states of an alert.
pub(super) fn delta(before: &Alert, after: &Alert) -> AlertDelta {
    let (had, has) = (before.owner.as_ref().map(|o| o.id), after.owner.as_ref().map(|o| o.id));
    AlertDelta {
        status: (before.status != after.status).then_some((before.status, after.status)),
        owner: (had != has).then_some((had, has)),
        classification: (before.classification != after.classification)
            .then_some((before.classification, after.classification)),
        report: ReportDelta::between(&before.report, &after.report),
        ..AlertDelta::of(after.id)
    }
}

/// Returns the first entry of the own log of a new alert that no incident holds.
pub(super) fn reported(alert: &Alert) -> Entry {
    Entry::AlertReported {
        title: ToldText::of(&alert.report.title),
        severity: alert.report.severity,
        entities: alert.report.entities.len() as u64,
    }
}

/// Returns whether at least one of these alerts has become active.
fn activates(alerts: &[AlertDelta]) -> bool {
    let active = |(_, after): (AlertStatus, AlertStatus)| after != AlertStatus::Resolved;
    alerts.iter().any(|delta| delta.status.is_some_and(active))
}

impl CommandWork<'_> {
    /// Returns whether a feed's report of an active alert reopens the resolved incident
    /// that holds it. Imports never do.
    pub(super) fn reopens_by_policy(&self) -> bool {
        self.command.cause.kind == CauseKind::Ingest && self.app.policies.reopen_for_active_alerts
    }

    /// Records a repeated report of an incident's alerts, and updates the incident's aggregated values and entities. If
    /// the policy says so, an active alert reopens the incident.
    pub(super) async fn report(&self, before: &Incident, alerts: &[AlertDelta]) -> Result<Incident> {
        let mut after = before.clone();
        self.name_again(before, alerts).await?;
        let mut told = alerts.to_vec();
        if before.status == Status::Resolved && activates(alerts) && self.reopens_by_policy() {
            let (patch, at) = (reopening(), self.command.not_before([before], []).at);
            let propagation = after.apply(patch, &self.command.actor_image(), at)?;
            let followed = self.propagate(&after, propagation, &Links::default(), before.version + 1).await?;
            told = both(told, followed);
        }
        after.summarise(&self.tx.alert_summary(before.id, after.title_generated).await?);
        let facts = vec![Entry::AlertsChanged { alerts: told }];
        self.tx.record(Some(before), &mut after, facts, &self.command.origin(), None).await?;
        Ok(after)
    }

    /// Links alerts to an incident and records the alerts that were reported again, as one change.
    pub(super) async fn join(
        &self,
        before: Incident,
        mut edit: IncidentEdit,
        locked: Locked,
        anew: &[AlertDelta],
    ) -> Result<Incident> {
        if edit.link.is_empty() && edit.patch == Patch::default() {
            return if anew.is_empty() { Ok(before) } else { self.report(&before, anew).await };
        }
        let mut facts = Vec::new();
        if !anew.is_empty() {
            self.name_again(&before, anew).await?;
            facts.push(Entry::AlertsChanged { alerts: anew.to_vec() });
        }
        if before.status == Status::Resolved && activates(anew) && self.reopens_by_policy() {
            edit.patch.status = reopening().status;
        }
        let extra = Extra { facts, ..Extra::default() };
        let incident = before.clone();
        let done = self.write_with(Some(before), incident, edit, locked, extra).await?;
        Ok(done.value.incident)
    }

    /// Replaces the entities that these alerts name, as of the incident's next version.
    async fn name_again(&self, incident: &Incident, alerts: &[AlertDelta]) -> Result<()> {
        let (next, ids) = (incident.version + 1, alerts.iter().map(|delta| delta.alert).collect::<Vec<_>>());
        self.tx.release_entities(incident.id, next, &ids).await?;
        self.tx.hold_entities(incident.id, next, &ids).await
    }
}

fn reopening() -> Patch {
    Patch { status: Some(Status::Active), ..Patch::default() }
}

/// Combines the changes by a report with the changes that follow from it: one delta for each alert, ascending by id.
fn both(reported: Vec<AlertDelta>, followed: Vec<AlertDelta>) -> Vec<AlertDelta> {
    let mut all: BTreeMap<AlertId, AlertDelta> = reported.into_iter().map(|delta| (delta.alert, delta)).collect();
    for delta in followed {
        match all.get_mut(&delta.alert) {
            // Only a report without a change of status leaves an alert settled, so at most one side has a status.
            Some(told) => told.status = told.status.or(delta.status),
            None => {
                all.insert(delta.alert, delta);
            }
        }
    }
    all.into_values().collect()
}
