//! Commands of an import in one shared transaction: one commit for many records.
//!
//! Rules of this module:
//! - each command is a transaction of its own in the log, and a refused command leaves nothing;
//! - a command that cannot share the transaction returns [`Error::Busy`]; the caller rolls the transaction back and
//!   runs that command alone;
//! - nobody learns of a change before its commit.

use super::alert::{Destination, Ingest, Ingested};
use super::idempotency::Done;
use super::incident::{CommandWork, IncidentEdit};
use super::many::Many;
pub use super::many::Needs;
use super::report::ToldReport;
use super::{App, Command};
use crate::domain::account::Role;
use crate::domain::alert::{Alert, AlertDraft, AlertKey};
use crate::domain::incident::Incident;
use crate::domain::{Error, IncidentId, Result};
use crate::storage::Series;

/// A shared transaction for the commands of many records. If it is dropped, it leaves nothing behind.
pub struct Together {
    app: App,
    series: Series,
    many: Many,
}

/// The result of alerts that were ingested together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestedTogether {
    /// How many alerts are new.
    pub created: usize,
    /// How many known alerts changed.
    pub updated: usize,
    /// How many known alerts did not change.
    pub unchanged: usize,
    /// Whether the ingest changed an incident that holds one of the alerts.
    pub changes_incidents: bool,
}

impl App {
    /// Begins a shared transaction for the commands of many records.
    pub async fn together(&self) -> Result<Together> {
        let series = self.store.begin_series().await?;
        Ok(Together { app: self.clone(), series, many: Many::default() })
    }
}

impl Together {
    /// Does what [`App::ingest_told`] does. Call it before [`Self::find`].
    pub async fn ingest_told(&mut self, command: Command, told: Vec<ToldReport>) -> Result<IngestedTogether> {
        command.require(Role::Responder, "ingest alerts")?;
        let new_incident = IncidentId(self.app.clock.fresh_id());
        let taken = Box::pin(self.app.apply_told(&self.series, command, told, new_incident)).await?;
        let changes_incidents = self.series.changes_incidents().await;
        self.series.end_command().await;
        let Ingested { created, updated, unchanged, .. } = taken;
        Ok(IngestedTogether { created, updated, unchanged, changes_incidents })
    }

    /// Finds and locks everything that the following commands name.
    pub async fn find(&mut self, needs: &Needs) -> Result<()> {
        self.many = Box::pin(Many::find(&self.series, needs)).await?;
        Ok(())
    }

    /// Does what [`App::find_incident`] does.
    pub fn find_incident(&self, id: IncidentId) -> Result<Option<Incident>> {
        let found = self.many.incident(id).ok_or(Error::Busy)?;
        Ok(found.filter(|incident| incident.deleted_at.is_none()).cloned())
    }

    /// Does what [`App::find_alerts`] does.
    pub fn find_alerts(&self, keys: &[AlertKey]) -> Result<Vec<Alert>> {
        self.many.alerts(keys).ok_or(Error::Busy)
    }

    /// Does what [`App::create_incident`] does.
    pub async fn create_incident(
        &mut self,
        command: &Command,
        id: IncidentId,
        edit: IncidentEdit,
    ) -> Result<Done<Incident>> {
        command.require(Role::Responder, "create an incident")?;
        let work = CommandWork { tx: &self.series, app: &self.app, command };
        let made = Box::pin(self.many.create(&work, id, edit)).await?;
        self.series.end_command().await;
        made.ok_or(Error::Busy)
    }

    /// Does what [`App::update_incident`] does.
    pub async fn update_incident(
        &mut self,
        command: &Command,
        id: IncidentId,
        edit: IncidentEdit,
    ) -> Result<Done<Incident>> {
        command.require(Role::Responder, "triage an incident")?;
        let work = CommandWork { tx: &self.series, app: &self.app, command };
        let done = Box::pin(self.many.update(&work, id, edit)).await?;
        self.series.end_command().await;
        done.ok_or(Error::Busy)
    }

    /// Ingests alerts that no incident holds.
    pub async fn ingest_alerts(&mut self, command: &Command, drafts: Vec<AlertDraft>) -> Result<Vec<Alert>> {
        command.require(Role::Responder, "ingest alerts")?;
        let (tx, ingest) = (&self.series, Ingest::new(drafts, Destination::Nowhere));
        let new_incident = IncidentId(self.app.clock.fresh_id());
        let Ingested { alerts, .. } =
            Box::pin(tx.part(self.app.ingest(tx, command, ingest, new_incident))).await??.value;
        self.series.end_command().await;
        self.many.learn(&alerts);
        Ok(alerts)
    }

    /// Writes the effects of the commands, commits, and then publishes the changes.
    pub async fn commit(self) -> Result<()> {
        let Self { app, series, many } = self;
        if let Err(error) = Box::pin(many.write(&series)).await {
            series.give_up().await;
            return Err(error);
        }
        let head = Box::pin(series.commit()).await?;
        app.hub.committed(head.offset);
        Ok(())
    }

    /// Rolls the transaction back.
    pub async fn give_up(self) {
        self.series.give_up().await;
    }
}
