//! Commands of an import that share one transaction: many records for one commit.
//!
//! What holds here:
//! - each command is a transaction of its own in the log, and a refused one leaves nothing;
//! - what cannot be done together with the rest is answered by [`Error::Busy`]: the transaction is to be given up, and it is to be done
//!   alone;
//! - nobody is told of a change before it is committed.

use super::alert::{Ingest, Into};
use super::incident::{IncidentEdit, Work};
use super::many::Many;
pub use super::many::{Change, Needs};
use super::report::Told;
use super::{App, Command};
use crate::domain::account::Role;
use crate::domain::alert::{Alert, AlertDraft};
use crate::domain::incident::Incident;
use crate::domain::{Error, IncidentId, Result};
use crate::storage::Series;

/// A transaction for the commands of many records. Dropped, it leaves nothing behind.
pub struct Together {
    app: App,
    series: Series,
    many: Many,
}

/// What came of alerts that were told together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many are new.
    pub created: usize,
    /// How many were known and now say something else.
    pub updated: usize,
    /// How many were known and say the same.
    pub unchanged: usize,
    /// Whether an incident that holds one of them was changed by it.
    pub changes_incidents: bool,
}

impl App {
    /// Begins a transaction for the commands of many records.
    pub async fn together(&self) -> Result<Together> {
        let series = self.store.begin_series().await?;
        Ok(Together { app: self.clone(), series, many: Many::default() })
    }
}

impl Together {
    /// As [`App::ingest_told`]. It comes before [`Self::find`].
    pub async fn ingest_told(&mut self, command: Command, told: Vec<Told>) -> Result<Taken> {
        command.require(Role::Responder, "ingest alerts")?;
        let new_incident = IncidentId(self.app.clock.fresh_id());
        let taken = Box::pin(self.app.apply_told(&self.series, command, told, new_incident)).await?;
        let changes_incidents = self.series.changes_incidents().await;
        self.series.end_command().await;
        let (created, updated, unchanged) = taken.counts();
        Ok(Taken { created, updated, unchanged, changes_incidents })
    }

    /// Finds and locks what the commands to come name.
    pub async fn find(&mut self, needs: &Needs) -> Result<()> {
        self.many = Box::pin(Many::find(&self.series, needs)).await?;
        Ok(())
    }

    /// As [`App::find_incident`].
    pub fn find_incident(&self, id: IncidentId) -> Result<Option<Incident>> {
        let found = self.many.incident(id).ok_or(Error::Busy)?;
        Ok(found.filter(|incident| incident.deleted_at.is_none()).cloned())
    }

    /// As [`App::find_alerts`].
    pub fn find_alerts(&self, keys: &[(String, String)]) -> Result<Vec<Alert>> {
        self.many.alerts(keys).ok_or(Error::Busy)
    }

    /// As [`App::create_incident`].
    pub async fn create_incident(&mut self, command: &Command, id: IncidentId, edit: IncidentEdit) -> Result<Change> {
        command.require(Role::Responder, "create an incident")?;
        let work = Work { tx: &self.series, app: &self.app, command };
        let made = Box::pin(self.many.create(&work, id, edit)).await?;
        self.series.end_command().await;
        made.ok_or(Error::Busy)
    }

    /// As [`App::update_incident`].
    pub async fn update_incident(&mut self, command: &Command, id: IncidentId, edit: IncidentEdit) -> Result<Change> {
        command.require(Role::Responder, "triage an incident")?;
        let work = Work { tx: &self.series, app: &self.app, command };
        let done = Box::pin(self.many.update(&work, id, edit)).await?;
        self.series.end_command().await;
        done.ok_or(Error::Busy)
    }

    /// Takes in alerts that no incident holds.
    pub async fn ingest_alerts(&mut self, command: &Command, drafts: Vec<AlertDraft>) -> Result<Vec<Alert>> {
        command.require(Role::Responder, "ingest alerts")?;
        let (tx, ingest) = (&self.series, Ingest::new(drafts, Into::Nowhere));
        let new_incident = IncidentId(self.app.clock.fresh_id());
        let taken = Box::pin(tx.part(self.app.ingest(tx, command, ingest, new_incident))).await??;
        self.series.end_command().await;
        self.many.learn(&taken.alerts);
        Ok(taken.alerts)
    }

    /// Writes what the commands have come to, commits, and then tells everybody.
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

    /// Takes everything back.
    pub async fn give_up(self) {
        self.series.give_up().await;
    }
}
