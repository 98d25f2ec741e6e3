//! Alerts and the entities that they name.

use std::borrow::Cow;

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{ID, InputObject, MaybeUndefined, Object, OneofObject, SimpleObject};

use super::account::{Owner, OwnerInput};
use super::activity::ActivityInput;
use super::alert_log::{self, AlertChangeConnection};
use super::call::{Call, Precondition, maybe};
use super::connection::{PageArgs, cut, id_cursor, id_of_cursor, read_id, wider};
use super::context::View;
use super::correlation::CorrelateInput;
use super::incident::Incident;
use super::input::incident_id;
use super::loaders::{AlertCount, AlertsAtEnd, EntitiesOf, RawOf};
use super::queue::Classification;
use super::searches::Search;
use super::tag::SystemTagInput;
use crate::app::alert::{AlertEdit, Destination as Target};
use crate::domain::alert::{Alert as DomainAlert, AlertDraft, AlertStatus, Report};
use crate::domain::classification::Classification as DomainClassification;
use crate::domain::entity::{Entity as DomainEntity, EntityKind, Verdict};
use crate::domain::incident::Severity;
use crate::domain::instant::past;
use crate::domain::path::each;
use crate::domain::title::{ShownTitle, may_go_on};
use crate::domain::{AlertId, Error, Instant, Result, text};
use crate::storage::{AlertFilter, EntitySummary};

/// An entity as one alert or one bookmark names it. An entity with a verdict is evidence.
#[derive(SimpleObject)]
pub(super) struct Entity {
    /// The kind of the entity.
    kind: EntityKind,
    /// The name, address or path of the entity, as the product wrote it.
    value: String,
    /// The verdict on the entity, if there is one.
    verdict: Option<Verdict>,
}

impl From<DomainEntity> for Entity {
    fn from(entity: DomainEntity) -> Self {
        Self { kind: entity.kind, value: entity.value, verdict: entity.verdict }
    }
}

/// An entity of an incident, summed up over all alerts of the incident that name it.
#[derive(SimpleObject)]
pub(super) struct IncidentEntity {
    /// The kind of the entity.
    kind: EntityKind,
    /// The value of the entity, as one of the alerts writes it.
    value: String,
    /// The strongest verdict that an alert of the incident gives the entity.
    verdict: Option<Verdict>,
    /// How many alerts of the incident name the entity.
    alert_count: u64,
}

impl From<EntitySummary> for IncidentEntity {
    fn from(entity: EntitySummary) -> Self {
        Self { kind: entity.kind, value: entity.value, verdict: entity.verdict, alert_count: entity.alerts }
    }
}

/// The entities of one kind in an incident.
#[derive(SimpleObject)]
pub(super) struct EntityGroup {
    /// The kind of these entities.
    pub kind: EntityKind,
    /// The entities, ordered by verdict (the worst first), then by the number of alerts that name them (the highest
    /// first).
    pub entities: Vec<IncidentEntity>,
}

/// An alert: a detection that a product reports. An alert belongs to at most one incident.
pub(super) struct Alert {
    view: View,
    alert: Box<DomainAlert>,
    title: ShownTitle,
    /// Whether the entities of the alert were read together with the alert.
    has_entities: bool,
}

impl Alert {
    /// Builds an alert that is read through `view`.
    pub(super) fn new(view: View, alert: DomainAlert) -> Self {
        let title = ShownTitle::of(&alert.report.title);
        Self { view, alert: Box::new(alert), title, has_entities: true }
    }

    /// Builds an alert of a list, read without its entities. If a document selects them, they are read for the whole
    /// list.
    pub(super) fn listed(view: View, alert: DomainAlert) -> Self {
        Self { has_entities: false, ..Self::new(view, alert) }
    }
}

/// An alert: a detection that a product reports. An alert belongs to at most one incident.
#[Object]
impl Alert {
    /// The alert's global id.
    pub(crate) async fn id(&self) -> ID {
        self.alert.id.to_string().into()
    }

    /// The source that reports the alert. Together with `providerAlertId` it is the key by which ingest recognises the
    /// alert.
    async fn provider(&self) -> &str {
        &self.alert.report.provider
    }

    /// The id that the provider gives the alert.
    async fn provider_alert_id(&self) -> &str {
        &self.alert.report.provider_alert_id
    }

    /// The name of the product that detected the activity, as queues show it.
    async fn product(&self) -> Option<&str> {
        self.alert.report.product.as_deref()
    }

    /// The first 1,000 characters of the title. `fullTitle` has the whole title.
    async fn title(&self) -> &str {
        &self.title.text
    }

    /// Whether the title is longer than the 1,000 characters that `title` shows.
    async fn title_truncated(&self) -> bool {
        self.title.truncated
    }

    /// The whole title. Only the size of a request (by default 2 MiB) limits its length.
    async fn full_title(&self) -> Result<Cow<'_, str>> {
        if !may_go_on(&self.alert.report.title) {
            return Ok(Cow::Borrowed(&self.alert.report.title));
        }
        let whole = self.view.reader().await?.whole_alert_title(self.alert.id).await?;
        whole.map(Cow::Owned).ok_or_else(|| Error::not_found("alert", self.alert.id))
    }

    /// The description of the detected activity.
    async fn description(&self) -> Option<&str> {
        self.alert.report.description.as_deref()
    }

    /// The severity of the alert.
    async fn severity(&self) -> Severity {
        self.alert.report.severity
    }

    /// The status of the alert.
    async fn status(&self) -> AlertStatus {
        self.alert.status
    }

    /// The classification: what the alert turned out to be. Null if it is not classified.
    async fn classification(&self) -> Option<Classification> {
        self.alert.classification.map(Classification::from)
    }

    /// The stage of the attack, often a MITRE ATT&CK tactic.
    async fn category(&self) -> Option<&str> {
        self.alert.report.category.as_deref()
    }

    /// The MITRE ATT&CK techniques of the alert.
    async fn techniques(&self) -> &[String] {
        &self.alert.report.techniques
    }

    /// The user or group that works on the alert.
    async fn owner(&self) -> Option<Owner> {
        self.alert.owner.clone().map(Owner::from)
    }

    /// The incident that the alert belongs to; null if it belongs to no incident.
    async fn incident(&self) -> Result<Option<Incident>> {
        let Some(id) = self.alert.incident else { return Ok(None) };
        Ok(self.view.incident(id).await?.map(|incident| Incident::new(self.view.clone(), incident)))
    }

    /// The entities that the alert names, in the provider's order.
    async fn entities(&self) -> Result<Vec<Entity>> {
        let entities = if self.has_entities {
            self.alert.report.entities.clone()
        } else {
            self.view.load(EntitiesOf(self.alert.id)).await?.unwrap_or_default()
        };
        Ok(entities.into_iter().map(Entity::from).collect())
    }

    /// When the detected activity began.
    async fn first_activity_at(&self) -> Option<Instant> {
        self.alert.report.first_activity_at
    }

    /// When the detected activity ended.
    async fn last_activity_at(&self) -> Option<Instant> {
        self.alert.report.last_activity_at
    }

    /// When the desk first received the alert.
    async fn created_at(&self) -> Instant {
        self.alert.created_at
    }

    /// When the alert last changed.
    async fn updated_at(&self) -> Instant {
        self.alert.updated_at
    }

    /// When the alert was resolved; null unless its status is `RESOLVED`.
    async fn resolved_at(&self) -> Option<Instant> {
        self.alert.resolved_at
    }

    /// The changes of the alert while it belonged to no incident, oldest first: its first report, its later changes,
    /// and when it left an incident without joining another. Changes that happened inside an incident are in the
    /// activity of that incident. An alert that joined an incident with its first report has no entry here until it
    /// leaves.
    async fn activity(
        &self,
        #[graphql(desc = "The filter of the changes. Without it, all changes.")] filter: Option<ActivityInput>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<AlertChangeConnection> {
        let filter = filter.map(ActivityInput::read).transpose()?.unwrap_or_default();
        alert_log::page(&self.view, self.alert.id, filter, &PageArgs { first, after, last, before }).await
    }

    /// The provider's raw payload, byte for byte as it was ingested.
    async fn raw(&self) -> Result<Option<String>> {
        self.view.load(RawOf(self.alert.id)).await
    }
}

/// The fields of a list of alerts beside its items.
pub(super) struct AlertConnectionFields {
    view: View,
    filter: AlertFilter,
}

/// The fields of a list of alerts beside its items.
#[Object]
impl AlertConnectionFields {
    /// The exact number of alerts that match the filter.
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
pub(super) type AlertConnection = Connection<String, Alert, AlertConnectionFields, EmptyFields>;

pub(super) fn cursor(id: AlertId) -> String {
    id_cursor(id.0)
}

pub(super) fn key(cursor: &str) -> Option<AlertId> {
    id_of_cursor(cursor).map(AlertId)
}

/// Reads a page of alerts. The alerts of one incident are in the order in which they came in; all others are newest
/// first.
pub(super) async fn page(view: &View, filter: AlertFilter, args: PageArgs) -> Result<AlertConnection> {
    let span = args.span(view.page_items_max(), key)?;
    let mut alerts = match (of_one_incident(&filter), args.at_end(view.page_items_max())?) {
        // The first pages of all incidents of one list are read by one statement.
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
    let ends = if span.from_end { (more, span.before.is_some()) } else { (span.after.is_some(), more) };
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

/// Reads the alert with this id. An unknown id is `NOT_FOUND`.
pub(super) async fn find(view: &View, id: AlertId) -> Result<Alert> {
    let found = view.reader().await?.alerts_to_show(&[id]).await?.pop();
    let alert = found.ok_or_else(|| Error::not_found("alert", id).at("id"))?;
    Ok(Alert::new(view.clone(), alert))
}

/// Reads ids of alerts.
pub(super) fn alert_ids(path: &str, ids: &[ID]) -> Result<Vec<AlertId>> {
    each(path, ids, |path, id| read_id(path, id, AlertId::WORD, AlertId::parse))
}

/// An entity that an alert or a bookmark names.
#[derive(Debug, InputObject)]
pub(super) struct EntityInput {
    /// The kind of the entity.
    kind: EntityKind,
    /// The name, address or path of the entity: at most 4,096 characters.
    value: String,
    /// The verdict on the entity.
    verdict: Option<Verdict>,
}

impl EntityInput {
    /// Reads the entity at `path`.
    pub(super) fn read(&self, path: &str) -> Result<DomainEntity> {
        DomainEntity::parse("value", self.kind, &self.value, self.verdict).map_err(|error| error.below(path))
    }
}

/// An alert as its provider reports it.
#[derive(Debug, InputObject)]
pub(super) struct AlertInput {
    /// The source that reports the alert. Together with `providerAlertId` it is the key: a report with a known key
    /// updates the known alert. At most 256 characters, not blank.
    provider: String,
    /// The id that the provider gives the alert: at most 256 characters, not blank.
    provider_alert_id: String,
    /// The name of the product that detected the activity, as queues show it: at most 256 characters, not blank.
    product: Option<String>,
    /// The title of the alert. It may have any length; spaces around it are trimmed, and a blank title is `INVALID`.
    title: String,
    /// The description of the detected activity: at most 30,000 characters.
    description: Option<String>,
    /// The severity of the alert.
    #[graphql(default_with = "Severity::Medium")]
    severity: Severity,
    /// The status of the alert at the provider. If a later report repeats the same status, what an analyst has set
    /// since stays.
    status: Option<AlertStatus>,
    /// The classification of the alert at the provider. It does not replace a classification that the alert already
    /// has.
    classification: Option<DomainClassification>,
    /// The stage of the attack, often a MITRE ATT&CK tactic: at most 256 characters, not blank.
    category: Option<String>,
    /// The MITRE ATT&CK techniques: at most 50, each of at most 256 characters.
    #[graphql(default)]
    techniques: Vec<String>,
    /// When the detected activity began: at most 5 minutes in the future.
    first_activity_at: Option<Instant>,
    /// When the detected activity ended: at most 5 minutes in the future, and not before it began.
    last_activity_at: Option<Instant>,
    /// The entities that the alert names, at most 500.
    #[graphql(default)]
    entities: Vec<EntityInput>,
    /// The provider's raw payload. The desk keeps and returns it byte for byte.
    raw: Option<String>,
}

impl AlertInput {
    /// Reads the alert for ingest. `now` is the time of the desk, against which the activity times are checked.
    pub(super) fn read(self, now: Instant) -> Result<AlertDraft> {
        let entities = each("entities", &self.entities, |path, entity| entity.read(path))?;
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
            entities,
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

/// The incident that ingested alerts go into: exactly one of these fields.
#[derive(Debug, OneofObject)]
pub(super) enum IngestTarget {
    /// The global id of an incident: the alerts go into it. An alert that another incident holds is a `CONFLICT`.
    Incident(ID),
    /// The alerts that belong to no incident go into one new incident, which is made from them. The value must be true.
    NewIncident(bool),
    /// Each alert that belongs to no incident joins the open incident that matches it, or goes into a new incident.
    Correlate(CorrelateInput),
}

/// Reads the target of an ingest. Without a target the alerts go into no incident.
pub(super) fn ingest_target(target: Option<&IngestTarget>) -> Result<Target> {
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

/// The input of `ingestAlert`.
#[derive(Debug, InputObject)]
pub(super) struct IngestAlertInput {
    /// The alert to ingest.
    pub alert: AlertInput,
    /// The incident that the alert goes into. Without this field a new alert belongs to no incident.
    pub into: Option<IngestTarget>,
    /// System tags for the incident that the alert goes into. They require `into`.
    #[graphql(default)]
    pub system_tags: Vec<SystemTagInput>,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The input of `ingestAlerts`: all its alerts are ingested, or no alert.
#[derive(Debug, InputObject)]
pub(super) struct IngestAlertsInput {
    /// The alerts to ingest: 1 to 5,000.
    pub alerts: Vec<AlertInput>,
    /// The incident that the alerts go into. Without this field new alerts belong to no incident.
    pub into: Option<IngestTarget>,
    /// System tags for each incident that an alert goes into. They require `into`.
    #[graphql(default)]
    pub system_tags: Vec<SystemTagInput>,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The input of `updateAlert`. A field that is absent stays as it is; null clears a field.
///
/// `expectedVersion` is the version of the incident that holds the alert. A later change of this alert's status,
/// classification or owner is a `CONFLICT` if the input sets the same field. It is also a `CONFLICT`, without
/// `extensions.now.changes`, if the alert came to its incident after that version, if that incident has not reached
/// that version, or if the incident has had 1,000 changes of alerts since: read the alert again. For an alert that
/// belongs to no incident, the field is `INVALID`.
#[derive(Debug, InputObject)]
pub(super) struct UpdateAlertInput {
    /// The global id of the alert.
    pub alert_id: ID,
    /// The new status.
    status: Option<AlertStatus>,
    /// The classification; null clears it.
    classification: MaybeUndefined<DomainClassification>,
    /// The user or group that works on the alert; null unassigns it.
    owner: MaybeUndefined<OwnerInput>,
    /// The version of the alert's incident that the caller knows. An alert of no incident has no version.
    #[graphql(flatten)]
    known: Precondition,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

impl UpdateAlertInput {
    /// Reads the edit.
    pub(super) fn read(self) -> Result<AlertEdit> {
        Ok(AlertEdit {
            status: self.status,
            classification: maybe(self.classification, Ok)?,
            owner: maybe(self.owner, |owner| owner.read())?,
            expected_version: self.known.expected_version,
        })
    }
}
