//! The log of an alert: its changes while it belonged to no incident.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::dataloader::Loader;
use async_graphql::{ID, Object};
use uuid::Uuid;

use super::account::Actor;
use super::activity::Cause;
use super::alert::Alert;
use super::connection::{PageArgs, cut, wider};
use super::context::View;
use super::entry::{ChangeEntry, TextOf};
use super::incident::{Incident, ends, global_id, version};
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

/// A change of an alert that belongs to no incident: the net effect of one transaction on the alert.
pub(super) struct AlertChange {
    view: View,
    epoch: Uuid,
    change: Arc<DomainChange>,
}

impl AlertChange {
    /// Builds a change that is read through `view`; `epoch` is the epoch of the log.
    pub(super) fn new(view: View, epoch: Uuid, change: Arc<DomainChange>) -> Self {
        Self { view, epoch, change }
    }
}

/// A change of an alert that belongs to no incident: the net effect of one transaction on the alert.
#[Object]
impl AlertChange {
    /// The position of the change in the log. Pass it to the subscription `activityLog` as `after` to resume from here.
    async fn position(&self) -> String {
        let (offset, check) = (self.change.offset, self.change.check);
        Position { epoch: self.epoch, offset, check, queue: None }.to_string()
    }

    /// The number of the change in the alert's own log: 1 for the first change, then one more for each.
    async fn version(&self) -> u64 {
        self.change.body.version
    }

    /// When the change happened.
    async fn at(&self) -> Instant {
        self.change.body.at
    }

    /// The actor of the change, with the name at that time.
    async fn actor(&self) -> Actor {
        self.change.body.actor.clone().into()
    }

    /// What caused the change: the mutation, import or job.
    async fn cause(&self) -> Cause {
        Cause::from(&self.change.body.cause)
    }

    /// The id of the transaction. One transaction may change many alerts, for example an ingest.
    async fn transaction_id(&self) -> ID {
        self.change.body.transaction.to_string().into()
    }

    /// Whether this is the last change of its transaction. Within a transaction, changes of incidents come after
    /// changes of alerts.
    async fn last(&self) -> bool {
        self.change.body.last
    }

    /// The `clientMutationId` of the mutation that made the change.
    async fn client_mutation_id(&self) -> Option<&str> {
        self.change.body.client_mutation_id.as_deref()
    }

    /// The global id of the alert.
    async fn alert_id(&self) -> ID {
        self.change.body.alert.to_string().into()
    }

    /// The alert in its present state.
    async fn alert(&self) -> Result<Option<Alert>> {
        let alert = self.view.load(self.change.body.alert).await?;
        Ok(alert.map(|alert| Alert::new(self.view.clone(), alert)))
    }

    /// The status of the alert after the change.
    async fn status(&self) -> AlertStatus {
        self.change.body.state.status
    }

    /// The classification of the alert after the change.
    async fn classification(&self) -> Option<Classification> {
        self.change.body.state.classification.map(Classification::from)
    }

    /// The global id of the alert's owner after the change; null if it has no owner.
    async fn owner_id(&self) -> Option<ID> {
        self.change.body.state.owner.map(|owner| owner.to_string().into())
    }

    /// The entries of the change. Each is an `AlertReportedEntry`, an `AlertFreedEntry`, or an `AlertsChangedEntry`
    /// about this alert.
    async fn entries(&self) -> Vec<ChangeEntry> {
        let of = TextOf { view: self.view.clone(), incident: None };
        self.change.body.entries.iter().map(|entry| ChangeEntry::new(&of, entry)).collect()
    }
}

/// An entry of the log: a provider reported an alert for the first time, and the alert belongs to no incident.
pub(super) struct AlertReportedEntry {
    title: ToldText,
    severity: Severity,
    entities: u64,
}

impl AlertReportedEntry {
    /// Builds the entry of a new alert from what the log stores.
    pub(super) fn new(title: &ToldText, severity: Severity, entities: u64) -> Self {
        Self { title: title.clone(), severity, entities }
    }
}

/// An entry of the log: a provider reported an alert for the first time, and the alert belongs to no incident.
#[Object]
impl AlertReportedEntry {
    /// Always `ALERT_REPORTED`.
    pub(crate) async fn kind(&self) -> EntryKind {
        EntryKind::AlertReported
    }

    /// The title of the alert in the first report.
    async fn reported_title(&self) -> ReportText {
        self.title.clone().into()
    }

    /// The severity of the alert in the first report.
    async fn reported_severity(&self) -> Severity {
        self.severity
    }

    /// How many entities the alert names in the first report.
    async fn entity_count(&self) -> u64 {
        self.entities
    }
}

/// An entry of the log: an alert left its incident and belongs to no incident now.
pub(super) struct AlertFreedEntry {
    view: View,
    from: IncidentId,
}

impl AlertFreedEntry {
    /// Builds the entry of an alert that left the incident `from`.
    pub(super) fn new(view: View, from: IncidentId) -> Self {
        Self { view, from }
    }
}

/// An entry of the log: an alert left its incident and belongs to no incident now.
#[Object]
impl AlertFreedEntry {
    /// Always `ALERT_FREED`.
    pub(crate) async fn kind(&self) -> EntryKind {
        EntryKind::AlertFreed
    }

    /// The incident that the alert left, in its present state; null if it is deleted.
    async fn freed_from(&self) -> Result<Option<Incident>> {
        Incident::find(&self.view, self.from).await
    }

    /// The global id of the incident that the alert left.
    async fn freed_from_id(&self) -> ID {
        global_id(self.from)
    }
}

/// The fields of an alert's log beside its changes.
pub(super) struct AlertChangeConnectionFields {
    view: View,
    alert: AlertId,
    filter: ActivityFilter,
}

/// The fields of an alert's log beside its changes.
#[Object]
impl AlertChangeConnectionFields {
    /// The exact number of changes that match the filter.
    async fn total_count(&self) -> Result<u64> {
        let counted = self.view.load(AlertChangeCount(self.alert, self.filter.clone())).await?;
        Ok(counted.unwrap_or(0))
    }
}

/// A page of an alert's log.
pub(super) type AlertChangeConnection = Connection<String, AlertChange, AlertChangeConnectionFields, EmptyFields>;

/// Reads a page of an alert's log.
pub(super) async fn page(
    view: &View,
    alert: AlertId,
    filter: ActivityFilter,
    args: &PageArgs,
) -> Result<AlertChangeConnection> {
    let span = args.span(view.page_items_max(), version)?;
    let mut changes = match args.at_end(view.page_items_max())? {
        // The logs of all alerts of one list are read by one statement.
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

/// The key of the loader that reads the changes at one end of an alert's log, through a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AlertChangesAtEnd(pub AlertId, pub (ActivityFilter, Span<()>));

/// The key of the loader that counts the changes of an alert's log that match a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AlertChangeCount(pub AlertId, pub ActivityFilter);

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
