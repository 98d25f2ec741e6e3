//! A queue row: an incident as a queue shows it at one position. Every change carries a row, so rows are small.

use async_graphql::Enum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::account::Owner;
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
pub enum IncidentText {
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

impl IncidentText {
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
    hex::encode(Sha256::digest(text.as_bytes()))
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
    pub title: IncidentText,
    /// The description. Queues do not show it, but a filter may search it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<IncidentText>,
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

/// The fields of a row that `QueueUpdated.changedFields` names. `version` and `updatedAt` are not named, because they
/// change every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enum)]
pub enum QueueField {
    /// The field `title`.
    Title,
    /// The description. A row does not show it, but a filter may search its text.
    Description,
    /// The field `severity`. It changes with `severityOverride` or `computedSeverity`.
    Severity,
    /// The field `severityOverride`.
    SeverityOverride,
    /// The field `computedSeverity`.
    ComputedSeverity,
    /// The field `status`.
    Status,
    /// The field `classification`.
    Classification,
    /// The field `owner`.
    Owner,
    /// The field `tags`.
    Tags,
    /// The field `alertCount`.
    AlertCount,
    /// The field `commentCount`.
    CommentCount,
    /// The field `hasActiveAlerts`.
    HasActiveAlerts,
    /// The field `products`.
    Products,
    /// The field `providers`.
    Providers,
    /// The field `firstActivityAt`.
    FirstActivityAt,
    /// The field `lastActivityAt`.
    LastActivityAt,
    /// The field `firstAssignedAt`.
    FirstAssignedAt,
    /// The field `resolvedAt`.
    ResolvedAt,
    /// The field `redirectedToId`.
    RedirectedTo,
}

impl QueueField {
    /// Returns the field under which `changedFields` tells a field of [`QueueRow`]; `None` for fields that no change
    /// of a queue tells: `version` and `updated_at` change every time, the others never in a queue.
    fn of(field: &str) -> Option<Self> {
        Some(match field {
            "title" => Self::Title,
            "description" => Self::Description,
            "severity_override" => Self::SeverityOverride,
            "computed_severity" => Self::ComputedSeverity,
            "status" => Self::Status,
            "classification" => Self::Classification,
            "owner" => Self::Owner,
            "tags" => Self::Tags,
            "alert_count" => Self::AlertCount,
            "comment_count" => Self::CommentCount,
            "has_active_alerts" => Self::HasActiveAlerts,
            "products" => Self::Products,
            "providers" => Self::Providers,
            "first_activity_at" => Self::FirstActivityAt,
            "last_activity_at" => Self::LastActivityAt,
            "first_assigned_at" => Self::FirstAssignedAt,
            "resolved_at" => Self::ResolvedAt,
            "redirected_to" => Self::RedirectedTo,
            _ => return None,
        })
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl QueueRow {
    /// Returns the effective severity: the severity that a person set, or else the computed severity.
    pub fn severity(&self) -> Severity {
        self.severity_override.unwrap_or(self.computed_severity)
    }

    /// Returns the fields that a change changed. `self` is the row after the change, and `former` holds the values
    /// before it, as [`Self::former_fields`] gives them.
    pub fn changed_fields(&self, former: &Map<String, Value>) -> Vec<QueueField> {
        let severity = |field: &str, now: Option<Severity>| match former.get(field) {
            None => now,
            Some(value) => Option::deserialize(value).ok().flatten(),
        };
        let before = severity("severity_override", self.severity_override)
            .or_else(|| severity("computed_severity", Some(self.computed_severity)));
        let mut fields: Vec<QueueField> = former.keys().filter_map(|field| QueueField::of(field)).collect();
        fields.extend((before != Some(self.severity())).then_some(QueueField::Severity));
        fields.sort();
        fields
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(severity_override: Option<Severity>, computed_severity: Severity) -> QueueRow {
        let least = serde_json::json!({
            "id": "0198c0de-0000-7000-8000-000000000001", "number": 1, "version": 2, "title": "Beacon",
            "computed_severity": "LOW", "status": "NEW", "created_at": "2026-11-23T08:00:00Z",
            "updated_at": "2026-11-23T08:00:00Z",
        });
        QueueRow { severity_override, computed_severity, ..serde_json::from_value(least).expect("a row") }
    }

    #[test]
    fn the_severity_changes_with_the_severity_that_holds() {
        let (low, high) = (Severity::Low, Severity::High);
        for (before, after, expected) in [
            ((None, low), (Some(high), low), vec![QueueField::Severity, QueueField::SeverityOverride]),
            ((None, low), (Some(low), low), vec![QueueField::SeverityOverride]),
            ((Some(high), low), (None, low), vec![QueueField::Severity, QueueField::SeverityOverride]),
            ((Some(high), low), (Some(high), high), vec![QueueField::ComputedSeverity]),
            ((None, low), (None, high), vec![QueueField::Severity, QueueField::ComputedSeverity]),
            ((None, low), (None, low), vec![]),
        ] {
            let (before, after) = (row(before.0, before.1), row(after.0, after.1));
            assert_eq!(after.changed_fields(&after.former_fields(&before).expect("JSON")), expected);
        }
    }
}
