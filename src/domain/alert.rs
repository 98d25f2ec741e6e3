//! Alerts: detections from products. Each alert is in at most one incident.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::account::Owner;
use super::classification::Classification;
use super::entity::{Entity, EntityKind};
use super::incident::{AlertSummary, Severity};
use super::path::each;
use super::title::AlertDigest;
use super::{AlertId, Error, IncidentId, Instant, Result, text, title};

/// The most alerts in one call of `ingestAlerts`. A thousand take one transaction of well under a second.
pub const ALERTS_PER_BATCH_MAX: usize = 5_000;

/// The most alerts that one call may link, unlink or move.
pub const ALERTS_PER_LINK_MAX: usize = 5_000;

/// The most entities of one alert.
pub const ENTITIES_PER_ALERT_MAX: usize = 500;

/// The longest provider, product, category and technique name, in characters.
pub const NAME_CHARS_MAX: usize = 256;

/// The longest description of an alert, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 30_000;

/// The most categories, tactics or techniques of one alert.
pub const LABELS_MAX: usize = 50;

/// The status of an alert.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertStatus {
    /// The work has not begun. The alert may have an owner: an assignment does not change the status.
    New = 1,
    /// The work has begun. The alert may have no owner.
    Active = 2,
    /// The work is done.
    Resolved = 3,
}

/// A detection in its present state.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The id of the alert.
    pub id: AlertId,
    /// The last report of the provider.
    pub report: Report,
    /// The status of the alert.
    pub status: AlertStatus,
    /// The status that the provider reported last. A repeated report must not undo later work of an analyst.
    pub reported_status: Option<AlertStatus>,
    /// The classification, if there is one.
    pub classification: Option<Classification>,
    /// The user or group that works on it.
    pub owner: Option<Owner>,
    /// The incident that holds the alert.
    pub incident: Option<IncidentId>,
    /// The time at which the alert came in.
    pub created_at: Instant,
    /// The time of the last change.
    pub updated_at: Instant,
    /// The time at which the alert was resolved.
    pub resolved_at: Option<Instant>,
    /// The resolution of the incident that resolved this alert. Cleared as soon as something else changes the alert.
    pub settled: Option<Settled>,
}

/// How the resolution of an incident found an alert, so that reopening the incident can restore the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The incident's version that resolved it.
    pub version: u64,
    /// The status of the alert before the resolution.
    pub status: AlertStatus,
}

/// A provider's report of one detection. A later report with the same key updates the same alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The provider, for example `Microsoft Defender for Endpoint`. First half of the key.
    pub provider: String,
    /// The provider's own id of the detection. Second half of the key.
    pub provider_alert_id: String,
    /// The name of the product, as queues show it.
    pub product: Option<String>,
    /// The title of the detection.
    pub title: String,
    /// The description of the detection.
    pub description: Option<String>,
    /// The severity that the provider states.
    pub severity: Severity,
    /// The stage of an attack: `Execution`, `Exfiltration`, … Often a MITRE ATT&CK tactic.
    pub category: Option<String>,
    /// MITRE ATT&CK techniques: `T1566.002`.
    pub techniques: Vec<String>,
    /// The start of the activity.
    pub first_activity_at: Option<Instant>,
    /// The end of the activity.
    pub last_activity_at: Option<Instant>,
    /// The entities that the alert names, in the provider's order.
    pub entities: Vec<Entity>,
}

/// The key of an alert: its provider, and the provider's own id of the detection.
pub type AlertKey = (String, String);

/// One alert of an ingest: the report, the provider's status and classification, and the raw payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertDraft {
    /// The provider's report.
    pub report: Report,
    /// The status at the provider. Without it a new alert is `NEW`.
    pub status: Option<AlertStatus>,
    /// The classification at the provider.
    pub classification: Option<Classification>,
    /// The provider's raw payload, stored and returned byte for byte.
    pub raw: Option<String>,
}

impl Report {
    /// Checks the report against every limit and trims its names. `self` is the report as the provider sent it.
    pub fn checked(self) -> Result<Self> {
        let name = |path: &str, text: &str| text::name(path, text, NAME_CHARS_MAX);
        if self.entities.len() > ENTITIES_PER_ALERT_MAX {
            let message = format!("an alert names at most {ENTITIES_PER_ALERT_MAX} entities");
            return Err(Error::limit("entities", message, ENTITIES_PER_ALERT_MAX));
        }
        if self.techniques.len() > LABELS_MAX {
            return Err(Error::limit("techniques", format!("at most {LABELS_MAX} techniques"), LABELS_MAX));
        }
        if let Some(description) = &self.description {
            text::at_most("description", description, DESCRIPTION_CHARS_MAX)?;
        }
        if let (Some(first), Some(last)) = (self.first_activity_at, self.last_activity_at)
            && first > last
        {
            return Err(Error::invalid("lastActivityAt", "the last activity is before the first"));
        }
        Ok(Self {
            provider: name("provider", &self.provider)?,
            provider_alert_id: name("providerAlertId", &self.provider_alert_id)?,
            product: self.product.as_deref().map(|text| name("product", text)).transpose()?,
            title: title::parse("title", self.title)?,
            category: self.category.as_deref().map(|text| name("category", text)).transpose()?,
            techniques: each("techniques", &self.techniques, |path, text| name(path, text))?,
            entities: distinct(self.entities),
            ..self
        })
    }

    /// Returns the key of the alert that this report is about.
    pub fn key(&self) -> AlertKey {
        (self.provider.clone(), self.provider_alert_id.clone())
    }
}

impl AlertSummary {
    /// Aggregates these alerts in memory, with the same result as the query in `storage/`.
    pub fn of(alerts: &[Alert]) -> Self {
        let reports = || alerts.iter().map(|alert| &alert.report);
        let by_time = |alert: &&Alert| (alert.report.first_activity_at.unwrap_or(alert.created_at), alert.id);
        let first_title = alerts.iter().min_by_key(by_time).map_or("", |alert| &alert.report.title);
        let mut categories: BTreeMap<&str, u64> = BTreeMap::new();
        for category in reports().filter_map(|report| report.category.as_deref()) {
            *categories.entry(category).or_default() += 1;
        }
        let mut categories: Vec<(&str, u64)> = categories.into_iter().collect();
        // The sort is stable: categories with the same count stay in the order of their names.
        categories.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let named = |kind: EntityKind| {
            let entities = reports().flat_map(|report| &report.entities).filter(|entity| entity.kind == kind);
            entities.map(|entity| entity.key().value).collect::<BTreeSet<_>>().len() as u64
        };
        let texts = |texts: BTreeSet<&String>| texts.into_iter().cloned().collect();
        Self {
            digest: AlertDigest {
                alerts: alerts.len() as u64,
                first_title: first_title.to_owned(),
                same_title: reports().all(|report| report.title == first_title),
                categories: categories.into_iter().map(|(category, _)| category.to_owned()).collect(),
                endpoints: named(EntityKind::Device),
                users: named(EntityKind::User) + named(EntityKind::Mailbox),
                products: texts(reports().filter_map(|report| report.product.as_ref()).collect()),
                has_unnamed_source: reports().any(|report| report.product.is_none()),
            },
            severity: reports().map(|report| report.severity).max(),
            providers: texts(reports().map(|report| &report.provider).collect()),
            first_activity_at: reports().filter_map(|report| report.first_activity_at).min(),
            last_activity_at: reports().filter_map(|report| report.last_activity_at).max(),
        }
    }
}

/// Returns each entity once, in the order of first mention, with the strongest verdict. Entities that are only compared
/// alike stay.
fn distinct(entities: Vec<Entity>) -> Vec<Entity> {
    let mut seen = std::collections::HashMap::new();
    let mut kept: Vec<Entity> = Vec::with_capacity(entities.len());
    for entity in entities {
        let index = *seen.entry(entity.identity()).or_insert(kept.len());
        match kept.get_mut(index) {
            Some(first) => first.verdict = first.verdict.max(entity.verdict),
            None => kept.push(entity),
        }
    }
    kept
}

impl Alert {
    /// Creates an alert that no incident holds.
    pub fn new(id: AlertId, draft: AlertDraft, now: Instant) -> Self {
        let status = draft.status.unwrap_or(AlertStatus::New);
        Self {
            id,
            report: draft.report,
            status,
            reported_status: draft.status,
            classification: draft.classification,
            owner: None,
            incident: None,
            created_at: now,
            updated_at: now,
            resolved_at: (status == AlertStatus::Resolved).then_some(now),
            settled: None,
        }
    }

    /// Takes over a new report; returns whether it altered anything.
    ///
    /// The provider's status counts only if it differs from the provider's last status. The provider's classification
    /// counts only if the alert has none. So a repeated report never undoes an analyst's work.
    pub fn report_again(&mut self, draft: AlertDraft, now: Instant) -> bool {
        let before = self.clone();
        self.report = draft.report;
        if let Some(status) = draft.status
            && self.reported_status != Some(status)
        {
            self.reported_status = Some(status);
            self.set_status(status, now);
            self.settled = None;
        }
        self.classification = self.classification.or(draft.classification);
        let altered = *self != before;
        if altered {
            self.updated_at = now;
        }
        altered
    }

    /// Sets the status by hand, and clears what a resolution of the incident had recorded.
    pub fn set_status(&mut self, status: AlertStatus, now: Instant) {
        if self.status != status {
            self.status = status;
            self.resolved_at = (status == AlertStatus::Resolved).then_some(now);
            self.settled = None;
        }
    }
}
