//! Rows that a batch locks and reads ahead: commands that wait for the batch say which incident each of them will lock,
//! and one statement locks and reads the incidents of all of them.
//!
//! The rules:
//! - Nothing waits for a lock here: a row that another transaction has locked is left out, and its command asks for it.
//! - A command that locks incidents takes them out ([`Ahead::take`]). Every change of an incident or its alerts follows
//!   a lock of the incident, so a later command never finds a row of before an earlier command's change.
//! - A command that locks an account forgets everything, because owners are part of an incident.
//! - A command that began to wait after the rows were read does not use them: the name of an owner may have changed
//!   before, and the caller may know that.

use std::collections::HashMap;

use sea_orm::EntityTrait;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{QueryOrder, QuerySelect};

use super::incident::row;
use super::propagation::AlertStateRow;
use super::{Result, Tx};
use crate::domain::IncidentId;
use crate::domain::account::{Owner, OwnerId};
use crate::domain::incident::Incident;
use crate::domain::propagation::AlertState;

/// The most alerts that are locked ahead. It bounds the memory of a transaction; most incidents have a few.
const ALERTS_MAX: u64 = 1_000;

/// The rows that a command will lock and read, if its caller knows them beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockPlan {
    /// The incident that the command locks.
    pub incident: Option<IncidentId>,
    /// Whether the command may change the alerts of the incident.
    pub alerts: bool,
    /// The owner whose name the command reads.
    pub owner: Option<OwnerId>,
}

/// When a command began to wait for its batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Before the batch read rows ahead: these rows are as new as the command.
    BeforeRead,
    /// After that, or the batch has read no rows ahead.
    #[default]
    AfterRead,
}

/// The rows that a transaction has locked and read ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    incidents: HashMap<IncidentId, LockedIncident>,
    owners: HashMap<OwnerId, Owner>,
    /// The alerts of the incident that the current command has taken. No statement was sent since.
    alerts: Option<(IncidentId, Vec<AlertState>)>,
    /// When the current command began to wait.
    arrival: Arrival,
}

#[derive(Debug)]
struct LockedIncident {
    incident: Incident,
    /// All alerts of the incident, ascending by id, if all of them are locked.
    alerts: Option<Vec<AlertState>>,
}

impl Ahead {
    /// Begins the part of a further command.
    pub(super) fn begin_command(&mut self, arrival: Arrival) {
        (self.alerts, self.arrival) = (None, arrival);
    }

    fn serves_command(&self) -> bool {
        self.arrival == Arrival::BeforeRead
    }

    /// Takes a locked incident out, and keeps its alerts for the current command. The other incidents are forgotten if
    /// they are among `ids`.
    pub(super) fn take(&mut self, ids: &[IncidentId]) -> Option<Incident> {
        self.alerts = None;
        let mut taken: Vec<_> = ids.iter().filter_map(|id| self.incidents.remove(id)).collect();
        let LockedIncident { incident, alerts } = taken.pop().filter(|_| ids.len() == 1 && self.serves_command())?;
        self.alerts = alerts.map(|alerts| (incident.id, alerts));
        Some(incident)
    }

    pub(super) fn holds(&self, incident: IncidentId) -> bool {
        self.incidents.contains_key(&incident)
    }

    /// Returns the alerts of the incident that the current command has taken.
    pub(super) fn take_alerts(&mut self, incident: IncidentId) -> Option<Vec<AlertState>> {
        self.alerts.take().filter(|(of, _)| *of == incident).map(|(_, alerts)| alerts)
    }

    pub(super) fn owner(&self, id: OwnerId) -> Option<Owner> {
        self.owners.get(&id).filter(|_| self.serves_command()).cloned()
    }

    /// Forgets the alerts of the current command: it has ended, or a statement may have changed them.
    pub(super) fn forget_alerts(&mut self) {
        self.alerts = None;
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Tx {
    /// Locks and reads ahead the rows of these plans, without waiting for a lock.
    pub(super) async fn lock_ahead(&self, plans: &[LockPlan]) -> Result<()> {
        let mut ids: Vec<Uuid> = plans.iter().filter_map(|plan| Some(plan.incident?.0)).collect();
        ids.sort_unstable();
        ids.dedup();
        // The tables do not have the changes of a deferred row yet. A command that began from the row of before would
        // write a version that the log has, and that would break off the batch.
        ids.retain(|id| !self.conn().defers_any(&[*id]));
        let free = row::Entity::find().filter(row::Column::Id.is_in(ids)).order_by_asc(row::Column::Id);
        let free = free.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        let incidents = self.complete(free.all(&self.apart()).await?).await?;
        let mut alerts = self.lock_alerts_ahead(&incidents, plans).await?;
        let owners = self.owners(plans.iter().filter_map(|plan| plan.owner)).await?;
        let incidents = incidents.into_iter().map(|incident| {
            // Another transaction holds an alert that is missing.
            let alerts = alerts.remove(&incident.id).filter(|alerts| alerts.len() as u64 == incident.alert_count);
            (incident.id, LockedIncident { incident, alerts })
        });
        let mut ahead = self.conn().ahead();
        ahead.incidents.extend(incidents);
        ahead.owners.extend(owners);
        Ok(())
    }

    /// Locks the alerts of these incidents if a command may change them.
    async fn lock_alerts_ahead(
        &self,
        incidents: &[Incident],
        plans: &[LockPlan],
    ) -> Result<HashMap<IncidentId, Vec<AlertState>>> {
        let mut count = 0;
        let of = incidents.iter().filter(|incident| {
            let needed = plans.iter().any(|plan| plan.alerts && plan.incident == Some(incident.id));
            let free = incident.alert_count > 0 && !self.conn().defers_alerts_of(incident.id.0);
            let chosen = needed && free && count + incident.alert_count <= ALERTS_MAX;
            count += if chosen { incident.alert_count } else { 0 };
            chosen
        });
        let ids: Vec<IncidentId> = of.map(|incident| incident.id).collect();
        let mut alerts: HashMap<_, Vec<_>> = HashMap::new();
        if ids.is_empty() {
            return Ok(alerts);
        }
        let free = AlertStateRow::of_incidents(&ids).lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        for row in free.into_model::<AlertStateRow>().all(&self.apart()).await? {
            alerts.entry(row.incident()).or_default().push(row.into());
        }
        Ok(alerts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;

    #[test]
    fn a_command_that_came_after_the_read_reads_again() {
        let id = OwnerId::User(UserId(Uuid::from_u128(7)));
        let owner = Owner { id, account: "ada".into(), name: "Ada Lovelace".into() };
        let mut ahead = Ahead { owners: HashMap::from([(id, owner.clone())]), ..Ahead::default() };
        ahead.begin_command(Arrival::AfterRead);
        assert_eq!(ahead.owner(id), None);
        ahead.begin_command(Arrival::BeforeRead);
        assert_eq!(ahead.owner(id), Some(owner));
    }
}
