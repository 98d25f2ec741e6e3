//! Bulk jobs: one edit of many incidents, each on its own, done in the background.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Deserializer, Serialize};

use super::account::{ActorImage, OwnerId};
use super::classification::Classification;
use super::error::Refusal;
use super::incident::{Patch, Severity, Status};
use super::tag::Tag;
use super::{BulkJobId, Code, Error, IncidentId, Instant, Result, UserId};

/// The most incidents of one job: the ids of so many take a few megabytes while they are frozen, and a desk that has more
/// open at once needs an import, not an analyst.
pub const BULK_INCIDENTS_MAX: usize = 100_000;

/// How many incidents one transaction of a job changes (product §3: at most 100): a mutation beside it waits for one such
/// transaction at most.
pub const BULK_CHUNK_INCIDENTS: usize = 50;

/// How long a job that has ended can be read, in days.
pub const BULK_KEPT_DAYS: i64 = 30;

/// What a job does to each of its incidents. Absent fields stay; none clears.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BulkEdit {
    /// An override; none returns to the computed severity.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub severity: Option<Option<Severity>>,
    /// A status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The resolution note of incidents that are resolved, or that this job resolves.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub note: Option<Option<String>>,
    /// A classification.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub classification: Option<Option<Classification>>,
    /// An owner, set on all linked alerts too.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub owner: Option<Option<OwnerId>>,
    /// Tags to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_tags: Vec<Tag>,
    /// Tags to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_tags: Vec<Tag>,
}

/// A field that is there was said, null included.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl BulkEdit {
    /// Refuses an edit that asks for nothing.
    pub fn checked(self) -> Result<Self> {
        match self == Self::default() {
            true => Err(Error::invalid("edit", "say what to change")),
            false => Ok(self),
        }
    }

    /// What it changes of an incident's own fields.
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

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkState {
    /// Some of its incidents wait.
    Running,
    /// Every incident has its result.
    Done,
    /// Somebody stopped it; what was done stays done.
    Cancelled,
}

/// What came of one incident.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkOutcome {
    /// It was changed.
    Changed,
    /// It was so already.
    Unchanged,
    /// It was refused, and is as it was.
    Refused,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkJob {
    /// Its id: the cause of every change that it makes.
    pub id: BulkJobId,
    /// Who asked for it: by its rights, as they are when each incident's turn comes.
    pub user: UserId,
    /// The same, named as then.
    pub actor: ActorImage,
    /// What the client called it.
    pub client_mutation_id: Option<String>,
    /// What is done to each incident.
    pub edit: BulkEdit,
    /// How many incidents it has; they were chosen when it was made.
    pub total: u64,
    /// How many were changed.
    pub changed: u64,
    /// How many were so already.
    pub unchanged: u64,
    /// How many were refused.
    pub refused: u64,
    /// Where it stands.
    pub state: BulkState,
    /// When it was made.
    pub created_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
}

/// One incident of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkItem {
    /// Its place in the job, from 0, in the order of their ids.
    pub ordinal: u64,
    /// The incident.
    pub incident: IncidentId,
    /// What came of it; none while it waits.
    pub result: Option<BulkResult>,
}

/// What came of one incident, and why it was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BulkResult {
    /// What.
    pub outcome: BulkOutcome,
    /// The code of the refusal.
    pub code: Option<String>,
    /// Why it was refused.
    pub message: Option<String>,
}

impl BulkResult {
    /// It went well.
    pub fn done(changed: bool) -> Self {
        let outcome = if changed { BulkOutcome::Changed } else { BulkOutcome::Unchanged };
        Self { outcome, code: None, message: None }
    }

    /// It was turned down.
    pub fn refused(refusal: &Refusal) -> Self {
        Self {
            outcome: BulkOutcome::Refused,
            code: Some(refusal.code.as_str().to_owned()),
            message: Some(refusal.message.clone()),
        }
    }

    /// It failed for a reason of the desk's own, whatever else was tried.
    pub fn failed() -> Self {
        let (code, message) = (Code::Internal.as_str(), "the desk could not change it, its log says why");
        Self { outcome: BulkOutcome::Refused, code: Some(code.to_owned()), message: Some(message.to_owned()) }
    }
}

impl BulkJob {
    /// How many incidents have their result.
    pub fn settled(&self) -> u64 {
        self.changed + self.unchanged + self.refused
    }

    /// Counts results, and ends with the last.
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
