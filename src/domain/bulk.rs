//! Bulk jobs: one edit of many incidents, each incident by itself, in the background.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Deserializer, Serialize};

use super::account::{ActorImage, OwnerId};
use super::classification::Classification;
use super::error::Refusal;
use super::incident::{Patch, Severity, Status};
use super::tag::Tag;
use super::{BulkJobId, Code, Error, IncidentId, Instant, Result, UserId};

/// The most incidents of one job. Their ids take a few megabytes while they are frozen. A desk that has more open
/// incidents needs an import.
pub(crate) const BULK_INCIDENTS_MAX: usize = 100_000;

/// How many incidents one transaction of a job changes. The limit for a chunk is 100. Another mutation waits for at
/// most one such transaction.
pub(crate) const BULK_CHUNK_INCIDENTS: usize = 50;

/// How long a job can be read after its end, in days.
pub(crate) const BULK_KEPT_DAYS: i64 = 30;

/// The edit that a job applies to each of its incidents. Absent fields stay; `Some(None)` clears a field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BulkEdit {
    /// A severity override; `Some(None)` returns to the computed severity.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub severity: Option<Option<Severity>>,
    /// A new status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The resolution note of incidents that are resolved, or that this job resolves.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub note: Option<Option<String>>,
    /// A classification.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub classification: Option<Option<Classification>>,
    /// An owner, which all linked alerts get too.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub owner: Option<Option<OwnerId>>,
    /// Tags to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_tags: Vec<Tag>,
    /// Tags to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_tags: Vec<Tag>,
}

/// Reads a field that is present, also if it is null, as `Some`.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl BulkEdit {
    /// Refuses an edit that changes nothing.
    pub fn checked(self) -> Result<Self> {
        if self == Self::default() { Err(Error::invalid("edit", "say what to change")) } else { Ok(self) }
    }

    /// Returns the edit of the incident's own fields.
    pub fn patch(&self) -> Patch {
        Patch {
            severity: self.severity,
            status: self.status,
            note: self.note.clone(),
            classification: self.classification,
            add_tags: self.add_tags.clone(),
            remove_tags: self.remove_tags.clone(),
            ..Patch::default()
        }
    }
}

/// The state of a bulk job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkState {
    /// Some incidents of the job wait for their result.
    Running,
    /// Every incident has its result.
    Done,
    /// A user cancelled the job. Incidents that were changed before stay changed.
    Cancelled,
}

/// The result for one incident of a bulk job.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkOutcome {
    /// The incident was changed.
    Changed,
    /// The incident already had all requested values.
    Unchanged,
    /// The change was refused, and the incident is as it was.
    Refused,
}

/// A bulk job in its present state.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkJob {
    /// The id of the job. Every change that the job makes names it as its cause.
    pub id: BulkJobId,
    /// The user who started the job. Each incident is changed with the rights that this user has at that time.
    pub user: UserId,
    /// The same user, named as of the start of the job.
    pub actor: ActorImage,
    /// The id that the client chose for its mutation.
    pub client_mutation_id: Option<String>,
    /// The edit of each incident.
    pub edit: BulkEdit,
    /// How many incidents the job has. They were chosen when the job was created.
    pub total: u64,
    /// How many incidents were changed.
    pub changed: u64,
    /// How many incidents already had all requested values.
    pub unchanged: u64,
    /// How many incidents refused the change.
    pub refused: u64,
    /// The state of the job.
    pub state: BulkState,
    /// The time of creation.
    pub created_at: Instant,
    /// The time of its end.
    pub finished_at: Option<Instant>,
}

/// One incident of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkItem {
    /// The index of the incident in the job, from 0, in ascending order of ids.
    pub ordinal: u64,
    /// The incident.
    pub incident: IncidentId,
    /// The result; `None` while the incident waits.
    pub result: Option<BulkResult>,
}

/// The result for one incident, and the reason of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BulkResult {
    /// Whether the incident was changed, unchanged or refused.
    pub outcome: BulkOutcome,
    /// The code of the refusal.
    pub code: Option<String>,
    /// The message of the refusal.
    pub message: Option<String>,
}

impl BulkResult {
    /// Returns the result of an edit that was accepted.
    pub fn done(changed: bool) -> Self {
        let outcome = if changed { BulkOutcome::Changed } else { BulkOutcome::Unchanged };
        Self { outcome, code: None, message: None }
    }

    /// Returns the result of an edit that was refused.
    pub fn refused(refusal: &Refusal) -> Self {
        Self {
            outcome: BulkOutcome::Refused,
            code: Some(refusal.code.as_str().to_owned()),
            message: Some(refusal.message.clone()),
        }
    }

    /// Returns the result of an edit that failed because of a fault of the desk, after every other attempt.
    pub fn failed() -> Self {
        let (code, message) = (Code::Internal.as_str(), "the desk could not change it, its log says why");
        Self { outcome: BulkOutcome::Refused, code: Some(code.to_owned()), message: Some(message.to_owned()) }
    }
}

impl BulkJob {
    /// Counts the incidents that have their result.
    pub fn settled(&self) -> u64 {
        self.changed + self.unchanged + self.refused
    }

    /// Counts results. Ends the job when every incident has its result.
    pub fn count<'a>(&mut self, results: impl IntoIterator<Item = &'a BulkResult>, at: Instant) {
        for result in results {
            match result.outcome {
                BulkOutcome::Changed => self.changed += 1,
                BulkOutcome::Unchanged => self.unchanged += 1,
                BulkOutcome::Refused => self.refused += 1,
            }
        }
        if self.settled() >= self.total {
            (self.state, self.finished_at) = (BulkState::Done, Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_says_the_same_after_it_was_kept() {
        let cleared = BulkEdit { severity: Some(None), owner: Some(None), note: Some(None), ..BulkEdit::default() };
        for edit in [cleared, BulkEdit::default(), BulkEdit { status: Some(Status::Active), ..BulkEdit::default() }] {
            let kept = serde_json::to_string(&edit).expect("JSON");
            assert_eq!(serde_json::from_str::<BulkEdit>(&kept).expect("an edit"), edit, "{kept}");
        }
    }
}
