//! The log of an alert itself: its changes while no incident holds it. While an incident holds the alert, the
//! incident's log has its changes.
//!
//! These changes are in the one log of the desk, between the changes of incidents. Positions and hashes cover both.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::{ActorImage, OwnerId};
use super::alert::{Alert, AlertStatus, Report};
use super::change::{Cause, Change, Entry};
use super::classification::Classification;
use super::queue::sha256_hex;
use super::{AlertId, Error, IncidentId, Instant, Result, TransactionId};

/// The state of an alert after a change in its own log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertStanding {
    /// The status of the alert.
    pub status: AlertStatus,
    /// The owner of the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// The classification of the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// The SHA-256 of the provider's report, in hexadecimal ([`report_sha256`]).
    pub report: String,
}

impl From<&Alert> for AlertStanding {
    fn from(alert: &Alert) -> Self {
        Self {
            status: alert.status,
            owner: alert.owner.as_ref().map(|owner| owner.id),
            classification: alert.classification,
            report: report_sha256(&alert.report),
        }
    }
}

/// Returns the SHA-256 of a report, in hexadecimal. The digest covers a JSON array of the report's fields, in the order
/// of this function. This order is part of the log's format, because the log holds the digest and not the report.
pub fn report_sha256(report: &Report) -> String {
    let Report { provider, provider_alert_id, product, title, description, severity, category, .. } = report;
    let Report { techniques, first_activity_at, last_activity_at, entities, .. } = report;
    let head = (provider, provider_alert_id, product, title, description, severity, category);
    let entities: Vec<_> = entities.iter().map(|entity| (entity.kind, &entity.value, entity.verdict)).collect();
    let fields = (head, techniques, first_activity_at, last_activity_at, entities);
    // Serialization cannot fail: the fields are strings, numbers and lists of them.
    sha256_hex(&serde_json::to_string(&fields).unwrap_or_default())
}

/// The stored part of a change of an alert. The hash chain covers it. The desk reads every form that any version wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertBody {
    /// The transaction that wrote the change.
    pub transaction: TransactionId,
    /// Whether the change is the last of its transaction.
    pub last: bool,
    /// The instant of the change.
    pub at: Instant,
    /// The user who made the change, or the desk itself.
    pub actor: ActorImage,
    /// The cause of the change.
    pub cause: Cause,
    /// The id that the client chose for its mutation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_mutation_id: Option<String>,
    /// The id of the alert.
    pub alert: AlertId,
    /// The version of the alert's own log: dense, from 1.
    pub version: u64,
    /// The entries: what the change did.
    pub entries: Vec<Entry>,
    /// The state of the alert after the change.
    pub state: AlertStanding,
    /// The state of the alert before the change. Absent if the alert's own log has no such state: the alert is new, or
    /// an incident held it until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<AlertStanding>,
}

/// A committed change of an alert, as the log returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertChange {
    /// The offset in the log. Offsets are dense over changes of incidents and alerts, in commit order.
    pub offset: u64,
    /// The first 8 bytes of the log's hash at this offset.
    pub check: [u8; 8],
    /// The stored body.
    pub body: AlertBody,
    /// How many bytes the stored body takes in the log.
    pub bytes: usize,
}

impl AlertChange {
    /// Reads a change from its offset, the first 8 bytes of the log's hash there, and its stored body.
    pub fn read(offset: u64, check: [u8; 8], body: &str) -> Result<Self> {
        let bytes = body.len();
        let body = serde_json::from_str(body);
        let body = body.map_err(|error| Error::fault("reading the body of a change of an alert", error))?;
        Ok(Self { offset, check, body, bytes })
    }

    /// Returns whether the change continues the alert's own log. `before` is the change before it there, `None` for the
    /// first. A new alert, and an alert that left an incident, have no `former` state. An alert from before the desk
    /// kept such logs may begin with one.
    pub fn goes_on_from(&self, before: Option<&AlertBody>) -> bool {
        let Self { body, .. } = self;
        let follows = body.version == before.map_or(0, |before| before.version) + 1;
        let begins = |entry: &Entry| matches!(entry, Entry::AlertReported { .. } | Entry::AlertFreed { .. });
        follows
            && match (&body.former, before) {
                (None, _) => body.entries.iter().any(begins),
                (Some(_), None) => true,
                (Some(former), Some(before)) => *former == before.state,
            }
    }
}

/// A change in the log: of an incident, or of an alert that no incident holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Logged {
    /// A change of an incident.
    Incident(Arc<Change>),
    /// A change of an alert that no incident holds.
    Alert(Arc<AlertChange>),
}

impl Logged {
    /// Returns the offset in the log.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Incident(change) => change.offset,
            Self::Alert(change) => change.offset,
        }
    }

    /// Returns the first 8 bytes of the log's hash at this offset.
    pub fn check(&self) -> [u8; 8] {
        match self {
            Self::Incident(change) => change.check,
            Self::Alert(change) => change.check,
        }
    }

    /// Returns how many bytes the change takes in the log.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Incident(change) => change.bytes,
            Self::Alert(change) => change.bytes,
        }
    }

    /// Returns the actor of the change.
    pub fn actor(&self) -> &ActorImage {
        match self {
            Self::Incident(change) => &change.body.actor,
            Self::Alert(change) => &change.body.actor,
        }
    }

    /// Returns the entries of the change.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Self::Incident(change) => &change.body.entries,
            Self::Alert(change) => &change.body.entries,
        }
    }

    /// Returns the change of an incident; `None` for a change of an alert.
    pub fn of_incident(&self) -> Option<&Arc<Change>> {
        match self {
            Self::Incident(change) => Some(change),
            Self::Alert(_) => None,
        }
    }

    /// Returns the incident that changed; `None` if the change is of an alert that no incident holds.
    pub fn incident(&self) -> Option<IncidentId> {
        self.of_incident().map(|change| change.incident())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::{Entity, EntityKind};
    use crate::domain::incident::Severity;

    #[test]
    fn the_digest_of_a_report_never_changes() {
        let report = Report {
            provider: "Sensor".into(),
            provider_alert_id: "7".into(),
            product: None,
            title: "Beacon \"C2\"".into(),
            description: Some("every 60 s".into()),
            severity: Severity::High,
            category: None,
            techniques: vec!["T1071.001".into()],
            first_activity_at: Some("2026-11-23T06:00:00.1234Z".parse().unwrap()),
            last_activity_at: None,
            entities: vec![Entity { kind: EntityKind::Ip, value: "10.0.0.7".into(), verdict: None }],
        };
        let head = r#"[["Sensor","7",null,"Beacon \"C2\"","every 60 s","HIGH",null],["T1071.001"],"#;
        let json = format!(r#"{head}"2026-11-23T06:00:00.123400Z",null,[["IP","10.0.0.7",null]]]"#);
        assert_eq!(report_sha256(&report), sha256_hex(&json), "logs hold digests in this form");
        let other = Report { product: Some(String::new()), ..report.clone() };
        assert_ne!(report_sha256(&other), report_sha256(&report));
    }
}
