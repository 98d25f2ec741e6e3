//! Alerts and the entities they name.

use std::borrow::Cow;

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{ID, InputObject, MaybeUndefined, Object, OneofObject, SimpleObject};

use super::account::{Owner, OwnerInput};
use super::activity::ActivityInput;
use super::alert_log::{self, AlertChangeConnection};
use super::call::{Call, Known, maybe};
use super::connection::{PageArgs, cut, read_id, wider};
use super::context::View;
use super::correlation::CorrelateInput;
use super::incident::Incident;
use super::input::incident_id;
use super::loaders::{AlertCount, AlertsAtEnd, EntitiesOf, RawOf};
use super::queue::Classification;
use super::searches::Search;
use super::tag::TagInput;
use crate::app::alert::{AlertEdit, Into as Target};
use crate::domain::alert::{Alert as DomainAlert, AlertDraft, AlertStatus, Report};
use crate::domain::classification::Classification as DomainClassification;
use crate::domain::entity::{Entity as DomainEntity, EntityKind, Verdict};
use crate::domain::incident::Severity;
use crate::domain::instant::past;
use crate::domain::title::{Shown, may_go_on};
use crate::domain::{AlertId, Error, Instant, Result, text};
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
    /// Whether the entities of the alert were read together with the alert.
    has_entities: bool,
}

impl Alert {
    /// An alert read through a view.
    pub fn new(view: View, alert: DomainAlert) -> Self {
        let title = Shown::of(&alert.report.title);
        Self { view, alert: Box::new(alert), title, has_entities: true }
    }

    /// An alert of a list, read without its entities. Where a document selects entities, they are read for the whole list at once.
    pub fn listed(view: View, alert: DomainAlert) -> Self {
        Self { has_entities: false, ..Self::new(view, alert) }
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
    async fn entities(&self) -> Result<Vec<Entity>> {
        let entities = match self.has_entities {
            true => self.alert.report.entities.clone(),
            false => self.view.load(EntitiesOf(self.alert.id)).await?.unwrap_or_default(),
        };
        Ok(entities.into_iter().map(Entity::from).collect())
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

    /// Its own log, oldest first: that it was reported, and what changed of it while no incident held it; and that it left an
    /// incident for none. What happened while an incident held it is in the activity of that incident. An alert that came into
    /// an incident at once has no entry here until it leaves.
    async fn activity(
        &self,
        #[graphql(desc = "Which changes; all where none is given.")] filter: Option<ActivityInput>,
        #[graphql(desc = "So many from the start of the list; at most 100, and 50 where no size is given.")]
        first: Option<i32>,
        #[graphql(desc = "Beyond this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "So many from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor of the same list.")] before: Option<String>,
    ) -> Result<AlertChangeConnection> {
        let filter = filter.map(ActivityInput::read).transpose()?.unwrap_or_default();
        alert_log::page(&self.view, self.alert.id, filter, &PageArgs { first, after, last, before }).await
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
    page.edges.extend(alerts.into_iter().map(|alert| Edge::new(cursor(alert.id), Alert::listed(view.clone(), alert))));
    page
}

/// The alert of this id.
pub async fn find(view: &View, id: AlertId) -> Result<Alert> {
    let found = view.reader().await?.alerts_to_show(&[id]).await?.pop();
    let alert = found.ok_or_else(|| Error::not_found("alert", id).at("id"))?;
    Ok(Alert::new(view.clone(), alert))
}

/// Reads ids of alerts.
pub fn alert_ids(path: &str, ids: &[ID]) -> Result<Vec<AlertId>> {
    ids.iter().map(|id| read_id(path, id, AlertId::WORD, AlertId::parse)).collect()
}

/// An entity that an alert names.
#[derive(Debug, InputObject)]
pub struct EntityInput {
    /// What kind of thing.
    kind: EntityKind,
    /// Its name, address or path: at most 4,096 characters.
    value: String,
    /// What is thought of it.
    verdict: Option<Verdict>,
}

impl EntityInput {
    /// The entity.
    pub fn read(&self, path: &str) -> Result<DomainEntity> {
        DomainEntity::parse(path, self.kind, &self.value, self.verdict)
    }
}

/// An alert as its provider reports it.
#[derive(Debug, InputObject)]
pub struct AlertInput {
    /// Who detects. With `providerAlertId` it is the key: the same again is an update of the same alert.
    provider: String,
    /// The provider's own id of it.
    provider_alert_id: String,
    /// The product's name, as queues show it.
    product: Option<String>,
    /// What was seen, in a line.
    title: String,
    /// What was seen, in words: at most 30,000 characters.
    description: Option<String>,
    /// How bad.
    #[graphql(default_with = "Severity::Medium")]
    severity: Severity,
    /// Its status at the provider. Said again unchanged it undoes nothing that an analyst did since.
    status: Option<AlertStatus>,
    /// Its classification at the provider; one that is set already stays.
    classification: Option<DomainClassification>,
    /// The stage of an attack, often a MITRE ATT&CK tactic.
    category: Option<String>,
    /// MITRE ATT&CK techniques, at most 50.
    #[graphql(default)]
    techniques: Vec<String>,
    /// When the activity began: at most 5 minutes in the future.
    first_activity_at: Option<Instant>,
    /// When the activity ended: at most 5 minutes in the future.
    last_activity_at: Option<Instant>,
    /// The things it names, at most 500.
    #[graphql(default)]
    entities: Vec<EntityInput>,
    /// The provider's raw payload: kept and given back byte for byte.
    raw: Option<String>,
}

impl AlertInput {
    /// The alert as ingest takes it, at this time of the desk.
    pub fn read(self, now: Instant) -> Result<AlertDraft> {
        let entities = self.entities.iter().map(|entity| entity.read("entities.value"));
        let report = Report {
            provider: self.provider,
            provider_alert_id: self.provider_alert_id,
            product: self.product,
            title: self.title,
            description: self.description,
            severity: self.severity,
            category: self.category,
            techniques: self.techniques,
            first_activity_at: self.first_activity_at.map(|at| past("firstActivityAt", at, now)).transpose()?,
            last_activity_at: self.last_activity_at.map(|at| past("lastActivityAt", at, now)).transpose()?,
            entities: entities.collect::<Result<_>>()?,
        };
        if let Some(raw) = &self.raw {
            text::refuse_nul("raw", raw)?;
        }
        Ok(AlertDraft {
            report: report.checked()?,
            status: self.status,
            classification: self.classification,
            raw: self.raw,
        })
    }
}

/// Where ingested alerts go: exactly one.
#[derive(Debug, OneofObject)]
pub enum IngestTarget {
    /// Into this incident, by global id.
    Incident(ID),
    /// Into a new incident, made from those that no incident holds. The value must be true.
    NewIncident(bool),
    /// Each that no incident holds into the open incident that it belongs to, or into a new one.
    Correlate(CorrelateInput),
}

/// Reads where ingested alerts go; nowhere where nothing is said.
pub fn ingest_target(target: Option<&IngestTarget>) -> Result<Target> {
    match target {
        None => Ok(Target::Nowhere),
        Some(IngestTarget::Incident(id)) => Ok(Target::Incident(incident_id("into.incident", id)?)),
        Some(IngestTarget::NewIncident(true)) => Ok(Target::NewIncident),
        Some(IngestTarget::Correlate(how)) => Ok(Target::Correlate(how.read()?)),
        Some(IngestTarget::NewIncident(false)) => {
            Err(Error::invalid("into.newIncident", "newIncident is true, or an incident is named"))
        }
    }
}

/// One alert to take in.
#[derive(Debug, InputObject)]
pub struct IngestAlertInput {
    /// The alert.
    pub alert: AlertInput,
    /// Where it goes; nowhere where nothing is said.
    pub into: Option<IngestTarget>,
    /// System tags for the incident that it goes into, written by connectors.
    #[graphql(default)]
    pub system_tags: Vec<TagInput>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// Alerts to take in, all or nothing.
#[derive(Debug, InputObject)]
pub struct IngestAlertsInput {
    /// The alerts, at most 5,000.
    pub alerts: Vec<AlertInput>,
    /// Where they go; nowhere where nothing is said.
    pub into: Option<IngestTarget>,
    /// System tags for each incident that one of them goes into, written by connectors.
    #[graphql(default)]
    pub system_tags: Vec<TagInput>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// What to change of an alert. Absent fields stay; a null clears.
#[derive(Debug, InputObject)]
pub struct UpdateAlertInput {
    /// The alert, by global id.
    pub alert_id: ID,
    /// A status.
    status: Option<AlertStatus>,
    /// What it turned out to be; null clears it.
    classification: MaybeUndefined<DomainClassification>,
    /// The user or group that works on it; null unassigns.
    owner: MaybeUndefined<OwnerInput>,
    /// What the caller knows, of the incident that holds the alert; one of no incident has no version.
    #[graphql(flatten)]
    known: Known,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl UpdateAlertInput {
    /// The edit that it asks for.
    pub fn read(self) -> Result<AlertEdit> {
        Ok(AlertEdit {
            status: self.status,
            classification: maybe(self.classification, Ok)?,
            owner: maybe(self.owner, |owner| owner.read())?,
            expected_version: self.known.expected_version,
        })
    }
}
