//! The own log of an alert: what happened to it while no incident held it.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::dataloader::Loader;
use async_graphql::{ID, Object};
use uuid::Uuid;

use super::account::Actor;
use super::activity::{Cause, ChangeEntry, TextOf};
use super::alert::Alert;
use super::connection::{PageArgs, cut, wider};
use super::context::View;
use super::incident::{ends, global_id, version};
use super::loaders::{Batch, grouped};
use super::queue::Classification;
use super::retold::ReportText;
use crate::domain::alert::{Alert as DomainAlert, AlertStatus};
use crate::domain::alert_log::AlertChange as DomainChange;
use crate::domain::change::EntryKind;
use crate::domain::incident::Severity;
use crate::domain::position::Position;
use crate::domain::retold::ToldText;
use crate::domain::{AlertId, Error, IncidentId, Instant, Result};
use crate::storage::{ActivityFilter, Span};

/// The net effect of one transaction on one alert that no incident holds: when, who, why, and what, field by field.
pub struct AlertChange {
    view: View,
    epoch: Uuid,
    change: Arc<DomainChange>,
}

impl AlertChange {
    /// A change read through a view.
    pub fn new(view: View, epoch: Uuid, change: Arc<DomainChange>) -> Self {
        Self { view, epoch, change }
    }
}

/// The net effect of one transaction on one alert that no incident holds: when, who, why, and what, field by field.
#[Object]
impl AlertChange {
    /// Its place in the log: give it to `activityLog` as `after` to go on from here.
    async fn position(&self) -> String {
        let (offset, check) = (self.change.offset, self.change.check);
        Position { epoch: self.epoch, offset, check, queue: None }.to_string()
    }

    /// The version of the alert's own log after it: 1 for the first change, then one more each time.
    async fn version(&self) -> u64 {
        self.change.body.version
    }

    /// When.
    async fn at(&self) -> Instant {
        self.change.body.at
    }

    /// Who, named as then.
    async fn actor(&self) -> Actor {
        self.change.body.actor.clone().into()
    }

    /// Why.
    async fn cause(&self) -> Cause {
        Cause::from(&self.change.body.cause)
    }

    /// The transaction that it belongs to: an ingest may change many alerts in one.
    async fn transaction_id(&self) -> ID {
        self.change.body.transaction.to_string().into()
    }

    /// Whether it is the last change of its transaction. Those of incidents come after those of alerts.
    async fn last(&self) -> bool {
        self.change.body.last
    }

    /// What the client called its mutation.
    async fn client_mutation_id(&self) -> Option<&str> {
        self.change.body.client_mutation_id.as_deref()
    }

    /// The alert that changed.
    async fn alert_id(&self) -> ID {
        self.change.body.alert.to_string().into()
    }

    /// The alert as it stands now.
    async fn alert(&self) -> Result<Option<Alert>> {
        let alert = self.view.load(self.change.body.alert).await?;
        Ok(alert.map(|alert| Alert::new(self.view.clone(), alert)))
    }

    /// The alert's status after it.
    async fn status(&self) -> AlertStatus {
        self.change.body.state.status
    }

    /// The alert's classification after it.
    async fn classification(&self) -> Option<Classification> {
        self.change.body.state.classification.map(Classification::from)
    }

    /// The global id of the alert's owner after it.
    async fn owner_id(&self) -> Option<ID> {
        self.change.body.state.owner.map(|owner| owner.to_string().into())
    }

    /// What changed: `AlertReportedEntry`, `AlertFreedEntry`, or `AlertsChangedEntry` of this one alert.
    async fn entries(&self) -> Vec<ChangeEntry> {
        let of = TextOf { view: self.view.clone(), incident: None };
        self.change.body.entries.iter().map(|entry| ChangeEntry::new(&of, entry)).collect()
    }
}

/// A provider reported an alert for the first time, and no incident holds it.
pub struct AlertReportedEntry {
    title: ToldText,
    severity: Severity,
    entities: u64,
}

impl AlertReportedEntry {
    /// What the log says of a new alert.
    pub fn new(title: &ToldText, severity: Severity, entities: u64) -> Self {
        Self { title: title.clone(), severity, entities }
    }
}

/// A provider reported an alert for the first time, and no incident holds it.
#[Object]
impl AlertReportedEntry {
    /// `ALERT_REPORTED`.
    pub(crate) async fn kind(&self) -> EntryKind {
        EntryKind::AlertReported
    }

    /// What was seen, in a line.
    async fn reported_title(&self) -> ReportText {
        self.title.clone().into()
    }

    /// How bad.
    async fn reported_severity(&self) -> Severity {
        self.severity
    }

    /// How many entities it names.
    async fn entity_count(&self) -> u64 {
        self.entities
    }
}

/// An alert left its incident, and no other holds it.
pub struct AlertFreedEntry {
    from: IncidentId,
}

impl AlertFreedEntry {
    /// What the log says of an alert that left an incident.
    pub fn new(from: IncidentId) -> Self {
        Self { from }
    }
}

/// An alert left its incident, and no other holds it.
#[Object]
impl AlertFreedEntry {
    /// `ALERT_FREED`.
    pub(crate) async fn kind(&self) -> EntryKind {
        EntryKind::AlertFreed
    }

    /// The global id of the incident that held it.
    async fn freed_from(&self) -> ID {
        global_id(self.from)
    }
}

/// What the own log of an alert says beside its changes.
pub struct AlertChangeConnectionFields {
    view: View,
    alert: AlertId,
    filter: ActivityFilter,
}

/// What the own log of an alert says beside its changes.
#[Object]
impl AlertChangeConnectionFields {
    /// How many changes the filter meets, exactly.
    async fn total_count(&self) -> Result<u64> {
        let counted = self.view.load(AlertChangeCount(self.alert, self.filter.clone())).await?;
        Ok(counted.unwrap_or(0))
    }
}

/// A page of the own log of an alert.
pub type AlertChangeConnection = Connection<String, AlertChange, AlertChangeConnectionFields, EmptyFields>;

/// Reads a page of the own log of an alert.
pub async fn page(
    view: &View,
    alert: AlertId,
    filter: ActivityFilter,
    args: &PageArgs,
) -> Result<AlertChangeConnection> {
    let span = args.span(view.page_items_max(), version)?;
    let mut changes = match args.at_end(view.page_items_max())? {
        // The logs of several alerts in one list are read together.
        Some(end) => view.load(AlertChangesAtEnd(alert, (filter.clone(), wider(end)))).await?.unwrap_or_default(),
        None => view.reader().await?.alert_log(alert, &filter, wider(span)).await?,
    };
    let more = cut(&mut changes, span.limit, span.from_end);
    let (before, after) = ends(&span, more);
    let fields = AlertChangeConnectionFields { view: view.clone(), alert, filter };
    let mut page = Connection::with_additional_fields(before, after, fields);
    let epoch = view.head().await?.epoch;
    page.edges.extend(changes.into_iter().map(|change| {
        Edge::new(change.body.version.to_string(), AlertChange::new(view.clone(), epoch, Arc::new(change)))
    }));
    Ok(page)
}

/// The changes at one end of an alert's own log, through a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlertChangesAtEnd(pub AlertId, pub (ActivityFilter, Span<()>));

/// How many changes of an alert's own log a filter meets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlertChangeCount(pub AlertId, pub ActivityFilter);

impl Loader<AlertChangesAtEnd> for Batch {
    type Value = Vec<DomainChange>;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[AlertChangesAtEnd],
    ) -> Result<HashMap<AlertChangesAtEnd, Vec<DomainChange>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (asked, alerts) in grouped(keys.iter().map(|key| (key.0, key.1.clone()))) {
            let changes = self.reader.alert_logs_at_end(&alerts, &asked.0, asked.1).await.map_err(Arc::new)?;
            found.extend(changes.into_iter().map(|(id, changes)| (AlertChangesAtEnd(id, asked.clone()), changes)));
        }
        Ok(found)
    }
}

impl Loader<AlertChangeCount> for Batch {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AlertChangeCount]) -> Result<HashMap<AlertChangeCount, u64>, Arc<Error>> {
        let mut found = HashMap::new();
        for (filter, alerts) in grouped(keys.iter().map(|key| (key.0, key.1.clone()))) {
            let counts = self.reader.alert_log_counts(&alerts, &filter).await.map_err(Arc::new)?;
            found.extend(counts.into_iter().map(|(id, count)| (AlertChangeCount(id, filter.clone()), count)));
        }
        Ok(found)
    }
}

impl Loader<AlertId> for Batch {
    type Value = DomainAlert;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AlertId]) -> Result<HashMap<AlertId, DomainAlert>, Arc<Error>> {
        let alerts = self.reader.alerts_to_show(keys).await.map_err(Arc::new)?;
        Ok(alerts.into_iter().map(|alert| (alert.id, alert)).collect())
    }
}
