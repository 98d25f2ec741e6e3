//! What a change of an incident does to its alerts.

use std::collections::BTreeSet;

use super::AlertId;
use super::account::OwnerId;
use super::alert::{AlertStatus, Settled};
use super::change::AlertDelta;
use super::incident::Propagation;

/// What propagation needs to know of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertState {
    /// The alert.
    pub id: AlertId,
    /// Its status.
    pub status: AlertStatus,
    /// Its owner.
    pub owner: Option<OwnerId>,
    /// How its incident's resolution found it.
    pub settled: Option<Settled>,
}

impl Propagation {
    /// What changes of each of these alerts, in their order; those of which nothing does are left out. They are all that the
    /// incident holds, `newly` those that came with this change, `owner` is the incident's owner after it.
    pub fn deltas(
        self,
        owner: Option<OwnerId>,
        newly: &BTreeSet<AlertId>,
        alerts: impl IntoIterator<Item = AlertState>,
    ) -> Vec<AlertDelta> {
        let delta = |alert: AlertState| {
            // A newly linked alert takes the incident's owner; an incident without one leaves the alert's.
            let takes = self.owner || (owner.is_some() && newly.contains(&alert.id));
            let status = match (self.reopen, alert.settled) {
                (true, Some(settled)) => Some((alert.status, settled.status)),
                _ => (self.resolve && alert.status != AlertStatus::Resolved)
                    .then_some((alert.status, AlertStatus::Resolved)),
            };
            let owner = (takes && alert.owner != owner).then_some((alert.owner, owner));
            AlertDelta { owner, status, ..AlertDelta::of(alert.id) }
        };
        alerts.into_iter().map(delta).filter(|delta| !delta.is_empty()).collect()
    }
}
