//! The own log of an alert: what happened to it while no incident held it. While one holds it, the incident's log tells it.
//!
//! These changes stand in the one log of the desk, between those of incidents: positions and hashes go over both.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::{ActorImage, OwnerId};
use super::alert::{Alert, AlertStatus, Report};
use super::change::{Cause, Change, Entry};
use super::classification::Classification;
use super::queue::sha256_hex;
use super::{AlertId, Error, IncidentId, Instant, Result, TransactionId};

/// How an alert stood after a change of its own log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertStanding {
    /// Its status.
    pub status: AlertStatus,
    /// Its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// Its classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// The SHA-256 of all that its provider says of it, in hexadecimal ([`report_sha256`]).
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

/// The SHA-256 of a report, in hexadecimal: of a JSON array of its fields in the order that stands here. The order is part of
/// the log's format, as the log holds the digest and not the report.
pub fn report_sha256(report: &Report) -> String {
    let Report { provider, provider_alert_id, product, title, description, severity, category, .. } = report;
    let Report { techniques, first_activity_at, last_activity_at, entities, .. } = report;
    let head = (provider, provider_alert_id, product, title, description, severity, category);
    let entities: Vec<_> = entities.iter().map(|entity| (entity.kind, &entity.value, entity.verdict)).collect();
    let fields = (head, techniques, first_activity_at, last_activity_at, entities);
    // Strings, numbers and lists of them are always JSON.
    sha256_hex(&serde_json::to_string(&fields).unwrap_or_default())
}

/// What is stored of a change of an alert, and hashed. Append-only: what any version wrote stays readable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertBody {
    /// The transaction it belongs to.
    pub transaction: TransactionId,
    /// Whether it is the last of its transaction.
    pub last: bool,
    /// When.
    pub at: Instant,
    /// Who.
    pub actor: ActorImage,
    /// Why.
    pub cause: Cause,
    /// What the client called its mutation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_mutation_id: Option<String>,
    /// The alert.
    pub alert: AlertId,
    /// The version of the alert's own log: dense, from 1.
    pub version: u64,
    /// What.
    pub entries: Vec<Entry>,
    /// How the alert stood after it.
    pub state: AlertStanding,
    /// How it stood before it; absent where no log of the alert's own says so: it is new, or an incident held it until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<AlertStanding>,
}

/// A committed change of an alert, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertChange {
    /// Its place in the log: dense over changes of both kinds, in commit order.
    pub offset: u64,
    /// The start of the log's hash at this place.
    pub check: [u8; 8],
    /// What was stored.
    pub body: AlertBody,
    /// How many bytes it takes in the log.
    pub bytes: usize,
}

impl AlertChange {
    /// Reads a change from its place, the start of the hash there, and its stored body.
    pub fn read(offset: u64, check: [u8; 8], body: &str) -> Result<Self> {
        let bytes = body.len();
        let body = serde_json::from_str(body);
        let body = body.map_err(|error| Error::fault("reading the body of a change of an alert", error))?;
        Ok(Self { offset, check, body, bytes })
    }

    /// Whether it goes on from the change before it in the alert's own log, none for the first. An alert that came from an
    /// incident begins anew, and so does the log of one that the desk had before it kept such logs.
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

/// A change of the log: of an incident, or of an alert that no incident holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Logged {
    /// Of an incident.
    Incident(Arc<Change>),
    /// Of an alert.
    Alert(Arc<AlertChange>),
}

impl Logged {
    /// Its place in the log.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Incident(change) => change.offset,
            Self::Alert(change) => change.offset,
        }
    }

    /// The start of the log's hash at this place.
    pub fn check(&self) -> [u8; 8] {
        match self {
            Self::Incident(change) => change.check,
            Self::Alert(change) => change.check,
        }
    }

    /// How many bytes it takes in the log.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Incident(change) => change.bytes,
            Self::Alert(change) => change.bytes,
        }
    }

    /// Who brought it about.
    pub fn actor(&self) -> &ActorImage {
        match self {
            Self::Incident(change) => &change.body.actor,
            Self::Alert(change) => &change.body.actor,
        }
    }

    /// What changed.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Self::Incident(change) => &change.body.entries,
            Self::Alert(change) => &change.body.entries,
        }
    }

    /// The change of an incident; none where it is one of an alert.
    pub fn of_incident(&self) -> Option<&Arc<Change>> {
        match self {
            Self::Incident(change) => Some(change),
            Self::Alert(_) => None,
        }
    }

    /// The incident that it is about; none where it is about an alert that no incident holds.
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
