//! A queue row: an incident as a queue shows it at one position. Every change carries a row, so rows are small.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::account::Owner;
use super::chain::hex;
use super::classification::Classification;
use super::incident::{Severity, Status};
use super::tag::Tag;
use super::{IncidentId, Instant};

/// The longest text that every change repeats, in bytes. The change that sets a longer text stores it once. So a
/// comment on an incident with a title of 1 MB costs less than 2 KiB of log.
pub const INLINE_TEXT_BYTES_MAX: usize = 256;

/// A text of an incident, or where to find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// The text itself.
    Inline(String),
    /// A reference to a long text, which the incident's change of that version stored.
    Stored {
        /// The incident's version that set the text.
        version: u64,
        /// The length in characters.
        chars: u64,
        /// The SHA-256 of the text's bytes, in hexadecimal. Through it the hash chain covers the text.
        sha256: String,
    },
}

impl Text {
    /// Returns the text as changes carry it. `version` is the version that set it.
    pub fn of(text: &str, version: u64) -> Self {
        if text.len() <= INLINE_TEXT_BYTES_MAX {
            return Self::Inline(text.to_owned());
        }
        Self::Stored { version, chars: text.chars().count() as u64, sha256: sha256_hex(text) }
    }

    /// Returns the version that stored the text; `None` if the text is inline.
    pub fn stored_version(&self) -> Option<u64> {
        match self {
            Self::Inline(_) => None,
            Self::Stored { version, .. } => Some(*version),
        }
    }
}

/// Returns the SHA-256 of a text, in hexadecimal.
pub fn sha256_hex(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// An incident as a queue shows it. Every change carries the row as it is after the change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueRow {
    /// The id of the incident.
    pub id: IncidentId,
    /// The number in `INC-<number>`.
    pub number: i64,
    /// The version of the incident.
    pub version: u64,
    /// The title of the incident.
    pub title: Text,
    /// The description. Queues do not show it, but a filter may search it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// The severity that a person set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_override: Option<Severity>,
    /// The highest severity of the alerts; medium if there are no alerts.
    pub computed_severity: Severity,
    /// The status of the incident.
    pub status: Status,
    /// The classification, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// The owner, named as of this position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The tags, ordered by kind and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// How many alerts the incident holds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub alert_count: u64,
    /// How many comments the incident has, without deleted comments.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub comment_count: u64,
    /// Whether the incident holds an alert that is not resolved. False in changes from before the desk recorded it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_active_alerts: bool,
    /// The products of the alerts, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<String>,
    /// The providers of the alerts, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// The time of creation.
    pub created_at: Instant,
    /// The time of the last change.
    pub updated_at: Instant,
    /// The time of the first activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_activity_at: Option<Instant>,
    /// The time of the last activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<Instant>,
    /// The time when the incident first had an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_assigned_at: Option<Instant>,
    /// The time of the resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Instant>,
    /// The incident that this incident was merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirected_to: Option<IncidentId>,
    /// Whether the incident was deleted. A deleted incident is in no queue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl QueueRow {
    /// Returns the effective severity: the severity that a person set, or else the computed severity.
    pub fn severity(&self) -> Severity {
        self.severity_override.unwrap_or(self.computed_severity)
    }

    /// Returns the names of the fields in which `stood` differs from this row, for two rows that should be equal. The
    /// owner's name does not count: each row has the name of its time, and a renamed owner changes no incident.
    pub fn differs_from(&self, stood: &Self) -> serde_json::Result<Vec<String>> {
        let mut renamed = stood.clone();
        if let (Some(renamed), Some(owner)) = (&mut renamed.owner, &self.owner)
            && renamed.id == owner.id
        {
            renamed.clone_from(owner);
        }
        Ok(self.former_fields(&renamed)?.into_iter().map(|(field, _)| field).collect())
    }

    /// Returns the fields in which `before` differs, with their former values; `null` if a field had no value.
    pub fn former_fields(&self, before: &Self) -> serde_json::Result<Map<String, Value>> {
        let (mut now, then) = (object(self)?, object(before)?);
        let mut former = Map::new();
        for (field, value) in then {
            if now.remove(&field).as_ref() != Some(&value) {
                former.insert(field, value);
            }
        }
        former.extend(now.into_iter().map(|(field, _)| (field, Value::Null)));
        Ok(former)
    }

    /// Returns the row before a change: this row with the `former` values of the change restored.
    pub fn before(&self, former: &Map<String, Value>) -> serde_json::Result<Self> {
        let mut row = object(self)?;
        for (field, value) in former {
            match value {
                Value::Null => row.remove(field),
                value => row.insert(field.clone(), value.clone()),
            };
        }
        serde_json::from_value(Value::Object(row))
    }
}

fn object(row: &QueueRow) -> serde_json::Result<Map<String, Value>> {
    match serde_json::to_value(row)? {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}
