//! The effects of an incident's change on its alerts.

use std::collections::BTreeSet;

use super::AlertId;
use super::account::OwnerId;
use super::alert::{AlertStatus, Settled};
use super::change::AlertDelta;
use super::incident::Propagation;

/// The state of an alert that propagation depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertState {
    /// The id of the alert.
    pub id: AlertId,
    /// The status of the alert.
    pub status: AlertStatus,
    /// The owner of the alert.
    pub owner: Option<OwnerId>,
    /// The incident's resolution that resolved the alert, if any.
    pub settled: Option<Settled>,
}

impl Propagation {
    /// Returns the changes of `alerts`, in their order, without alerts that stay as they are. `alerts` are all that the
    /// incident holds, `newly` are linked by this change, and `owner` is the incident's owner after it.
    pub fn deltas(
        self,
        owner: Option<OwnerId>,
        newly: &BTreeSet<AlertId>,
        alerts: impl IntoIterator<Item = AlertState>,
    ) -> Vec<AlertDelta> {
        let delta = |alert: AlertState| {
            // A newly linked alert takes the incident's owner, or keeps its own owner if the incident has none.
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
