//! A queue's row: the incident as a queue shows it, as of one position, small enough to travel in every change.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::account::Owner;
use super::chain::hex;
use super::classification::Classification;
use super::incident::{Severity, Status};
use super::tag::Tag;
use super::{IncidentId, Instant};

/// The longest text that every change repeats, in bytes. A longer one is stored once, by the change that sets it, so
/// that a comment on an incident with a title of 1 MB still costs less than 2 KiB of log (product §7).
pub const INLINE_TEXT_BYTES_MAX: usize = 256;

/// A text of an incident, or where to find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// The text itself.
    Inline(String),
    /// A long text, stored by the incident's change of that version.
    Stored {
        /// The incident's version that set it.
        version: u64,
        /// Its length in characters.
        chars: u64,
        /// The SHA-256 of its bytes, in hexadecimal: so the hash chain covers it.
        sha256: String,
    },
}

impl Text {
    /// The text as changes carry it, where `version` is the one that set it.
    pub fn of(text: &str, version: u64) -> Self {
        if text.len() <= INLINE_TEXT_BYTES_MAX {
            return Self::Inline(text.to_owned());
        }
        Self::Stored { version, chars: text.chars().count() as u64, sha256: sha256_hex(text) }
    }

    /// The version whose stored text this is; none where the text is here.
    pub fn stored_version(&self) -> Option<u64> {
        match self {
            Self::Inline(_) => None,
            Self::Stored { version, .. } => Some(*version),
        }
    }
}

/// The SHA-256 of a text in hexadecimal.
pub fn sha256_hex(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// An incident as a queue shows it. Every change carries the one that it leaves behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueRow {
    /// The incident.
    pub id: IncidentId,
    /// `INC-<number>`.
    pub number: i64,
    /// The incident's version.
    pub version: u64,
    /// Its title.
    pub title: Text,
    /// Its description; not shown in a row, but a filter may ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// What a person set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_override: Option<Severity>,
    /// The highest of its alerts.
    pub computed_severity: Severity,
    /// Where it stands.
    pub status: Status,
    /// What it turned out to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// Its owner, named as of this position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Its tags, by kind and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// How many alerts it holds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub alert_count: u64,
    /// How many comments it has, deleted ones not counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub comment_count: u64,
    /// Whether it holds an alert that is not resolved; false in changes of before the desk noted it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_active_alerts: bool,
    /// The products of its alerts, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<String>,
    /// The providers of its alerts, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// When it was made.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
    /// When its activity began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_activity_at: Option<Instant>,
    /// When its activity ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<Instant>,
    /// When it first had an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_assigned_at: Option<Instant>,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Instant>,
    /// The incident it was merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirected_to: Option<IncidentId>,
    /// Whether it was deleted: then it is in no queue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl QueueRow {
    /// What a person set, else the highest of the alerts (product §2, severity).
    pub fn severity(&self) -> Severity {
        self.severity_override.unwrap_or(self.computed_severity)
    }

    /// The fields in which `stood` differs from this row, where one of them is to go on from the other. The owner's name is none:
    /// each has that of its time, and renaming somebody changes no incident.
    pub fn differs_from(&self, stood: &Self) -> serde_json::Result<Vec<String>> {
        let mut renamed = stood.clone();
        if let (Some(renamed), Some(owner)) = (&mut renamed.owner, &self.owner)
            && renamed.id == owner.id
        {
            renamed.clone_from(owner);
        }
        Ok(self.former_fields(&renamed)?.into_iter().map(|(field, _)| field).collect())
    }

    /// The fields in which `before` differs, with their former values; `null` where there was none.
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

    /// This row with `former` fields put back: the row before the change that carries both.
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
