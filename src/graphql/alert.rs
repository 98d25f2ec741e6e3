//! Alerts and the entities they name.

use std::borrow::Cow;

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{ID, Object, SimpleObject};

use super::account::Owner;
use super::connection::{PageArgs, cut, wider};
use super::context::{AlertCount, AlertsAtEnd, RawOf, View};
use super::incident::Incident;
use super::queue::Classification;
use super::searches::Search;
use crate::domain::alert::{Alert as DomainAlert, AlertStatus};
use crate::domain::entity::{Entity as DomainEntity, EntityKind, Verdict};
use crate::domain::incident::Severity;
use crate::domain::title::{Shown, may_go_on};
use crate::domain::{AlertId, Error, Instant, Result};
use crate::storage::{AlertFilter, IncidentEntity as Held};

/// An entity as one alert names it; with a verdict it is evidence.
#[derive(SimpleObject)]
pub struct Entity {
    /// What kind of thing.
    kind: EntityKind,
    /// Its name, address or path, as the product wrote it.
    value: String,
    /// What is thought of it, if anything.
    verdict: Option<Verdict>,
}

impl From<DomainEntity> for Entity {
    fn from(entity: DomainEntity) -> Self {
        Self { kind: entity.kind, value: entity.value, verdict: entity.verdict }
    }
}

/// An entity as an incident shows it: through all of its alerts.
#[derive(SimpleObject)]
pub struct IncidentEntity {
    /// What kind of thing.
    kind: EntityKind,
    /// Its value, as one of the alerts writes it.
    value: String,
    /// The strongest verdict that an alert gives it.
    verdict: Option<Verdict>,
    /// How many of the incident's alerts name it.
    alert_count: u64,
}

impl From<Held> for IncidentEntity {
    fn from(entity: Held) -> Self {
        Self { kind: entity.kind, value: entity.value, verdict: entity.verdict, alert_count: entity.alerts }
    }
}

/// The entities of one kind.
#[derive(SimpleObject)]
pub struct EntityGroup {
    /// The kind.
    pub kind: EntityKind,
    /// Worst verdict first, then those that most alerts name.
    pub entities: Vec<IncidentEntity>,
}

/// A detection from a product. It belongs to at most one incident.
pub struct Alert {
    view: View,
    alert: Box<DomainAlert>,
    title: Shown,
}

impl Alert {
    /// An alert read through a view.
    pub fn new(view: View, alert: DomainAlert) -> Self {
        let title = Shown::of(&alert.report.title);
        Self { view, alert: Box::new(alert), title }
    }
}

/// A detection from a product. It belongs to at most one incident.
#[Object]
impl Alert {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        self.alert.id.to_string().into()
    }

    /// Who detects. With `providerAlertId` it is the key that ingest recognises the alert by.
    async fn provider(&self) -> &str {
        &self.alert.report.provider
    }

    /// The provider's own id of it.
    async fn provider_alert_id(&self) -> &str {
        &self.alert.report.provider_alert_id
    }

    /// The product's name, as queues show it.
    async fn product(&self) -> Option<&str> {
        self.alert.report.product.as_deref()
    }

    /// What was seen, in a line: its first 1,000 characters.
    async fn title(&self) -> &str {
        &self.title.text
    }

    /// Whether the title goes on beyond what `title` shows.
    async fn title_truncated(&self) -> bool {
        self.title.truncated
    }

    /// Its whole title. It may be as long as a request.
    async fn full_title(&self) -> Result<Cow<'_, str>> {
        if !may_go_on(&self.alert.report.title) {
            return Ok(Cow::Borrowed(&self.alert.report.title));
        }
        let whole = self.view.reader().await?.whole_alert_title(self.alert.id).await?;
        whole.map(Cow::Owned).ok_or_else(|| Error::not_found("alert", self.alert.id))
    }

    /// What was seen, in words.
    async fn description(&self) -> Option<&str> {
        self.alert.report.description.as_deref()
    }

    /// How bad.
    async fn severity(&self) -> Severity {
        self.alert.report.severity
    }

    /// Where it stands.
    async fn status(&self) -> AlertStatus {
        self.alert.status
    }

    /// What it turned out to be.
    async fn classification(&self) -> Option<Classification> {
        self.alert.classification.map(Classification::from)
    }

    /// The stage of an attack, often a MITRE ATT&CK tactic.
    async fn category(&self) -> Option<&str> {
        self.alert.report.category.as_deref()
    }

    /// MITRE ATT&CK techniques.
    async fn techniques(&self) -> &[String] {
        &self.alert.report.techniques
    }

    /// The user or group that works on it.
    async fn owner(&self) -> Option<Owner> {
        self.alert.owner.clone().map(Owner::from)
    }

    /// The incident that holds it; null for an alert of no incident.
    async fn incident(&self) -> Result<Option<Incident>> {
        let Some(id) = self.alert.incident else { return Ok(None) };
        Ok(self.view.incident(id).await?.map(|incident| Incident::new(self.view.clone(), incident)))
    }

    /// The things it names, in the provider's order.
    async fn entities(&self) -> Vec<Entity> {
        self.alert.report.entities.iter().cloned().map(Entity::from).collect()
    }

    /// When the activity began.
    async fn first_activity_at(&self) -> Option<Instant> {
        self.alert.report.first_activity_at
    }

    /// When the activity ended.
    async fn last_activity_at(&self) -> Option<Instant> {
        self.alert.report.last_activity_at
    }

    /// When it came in.
    async fn created_at(&self) -> Instant {
        self.alert.created_at
    }

    /// When it last changed.
    async fn updated_at(&self) -> Instant {
        self.alert.updated_at
    }

    /// When it was resolved, while it is.
    async fn resolved_at(&self) -> Option<Instant> {
        self.alert.resolved_at
    }

    /// The provider's raw payload, byte for byte.
    async fn raw(&self) -> Result<Option<String>> {
        self.view.load(RawOf(self.alert.id)).await
    }
}

/// What a list of alerts says beside its items.
pub struct AlertConnectionFields {
    view: View,
    filter: AlertFilter,
}

/// What a list of alerts says beside its items.
#[Object]
impl AlertConnectionFields {
    /// How many alerts the filter meets, exactly.
    async fn total_count(&self) -> Result<u64> {
        match of_one_incident(&self.filter) {
            Some(incident) => Ok(self.view.load(AlertCount(incident)).await?.unwrap_or(0)),
            None => {
                self.view.searches().spend(Search::Count, &self.filter)?;
                self.view.reader().await?.alert_count(&self.filter).await
            }
        }
    }
}

/// A page of alerts.
pub type AlertConnection = Connection<String, Alert, AlertConnectionFields, EmptyFields>;

pub(super) fn cursor(id: AlertId) -> String {
    id.0.simple().to_string()
}

pub(super) fn key(cursor: &str) -> Option<AlertId> {
    uuid::Uuid::try_parse(cursor).ok().filter(|id| id.simple().to_string() == cursor).map(AlertId)
}

/// Reads a page of alerts: those of an incident in the order they came in, others newest first.
pub async fn page(view: &View, filter: AlertFilter, args: PageArgs) -> Result<AlertConnection> {
    let span = args.span(view.page_items_max(), key)?;
    let mut alerts = match (of_one_incident(&filter), args.at_end(view.page_items_max())?) {
        // The first pages of several incidents in one list are read together.
        (Some(incident), Some(end)) => view.load(AlertsAtEnd(incident, wider(end))).await?.unwrap_or_default(),
        _ => {
            let newest_first = filter.incident.is_none();
            if of_one_incident(&filter).is_none() {
                view.searches().spend(Search::Page, &filter)?;
            }
            view.reader().await?.alerts_page(&filter, wider(span), newest_first).await?
        }
    };
    let more = cut(&mut alerts, span.limit, span.from_end);
    let ends = match span.from_end {
        true => (more, span.before.is_some()),
        false => (span.after.is_some(), more),
    };
    Ok(connection(view, filter, alerts, ends))
}

fn of_one_incident(filter: &AlertFilter) -> Option<crate::domain::IncidentId> {
    let incident = filter.incident?;
    (*filter == AlertFilter { incident: Some(incident), ..AlertFilter::default() }).then_some(incident)
}

fn connection(view: &View, filter: AlertFilter, alerts: Vec<DomainAlert>, ends: (bool, bool)) -> AlertConnection {
    let fields = AlertConnectionFields { view: view.clone(), filter };
    let mut page = Connection::with_additional_fields(ends.0, ends.1, fields);
    page.edges.extend(alerts.into_iter().map(|alert| Edge::new(cursor(alert.id), Alert::new(view.clone(), alert))));
    page
}

/// The alert of this id.
pub async fn find(view: &View, id: AlertId) -> Result<Alert> {
    let found = view.reader().await?.alerts_to_show(&[id]).await?.pop();
    let alert = found.ok_or_else(|| Error::not_found("alert", id).at("id"))?;
    Ok(Alert::new(view.clone(), alert))
}
