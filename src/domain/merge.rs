//! Merges of incidents: the conditions, what the target takes over from the source, and the undo.
//!
//! What a person wrote on the source itself (title, description, override, classification, owner, stated times) stays
//! on its stub. What is attached to the source (alerts, tags, comments, bookmarks, attachments) moves.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::{ActorImage, OwnerId};
use super::change::Change;
use super::error::{Code, Refusal};
use super::incident::{AlertSummary, Incident, Status};
use super::precondition::named_entries;
use super::tag::{TAGS_PER_INCIDENT_MAX, Tag};
use super::{AlertId, AttachmentId, BookmarkId, CommentId, Error, IncidentId, Result};

/// The most changes that a refused undo names. The message is for a person, who reads the log for the rest.
pub const CHANGES_NAMED_MAX: u64 = 10;

/// A requested merge of one incident into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeRequest {
    /// The source: the incident that is redirected.
    pub source: IncidentId,
    /// The target: the incident that receives everything.
    pub target: IncidentId,
    /// Whether the target's title stays. From then on it counts as written by a person.
    pub keep_title: bool,
}

/// The two incidents of a merge, before or after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sides {
    /// The source: the incident that is redirected.
    pub source: Incident,
    /// The target: the incident that receives everything.
    pub target: Incident,
}

/// The data that a merge moves and that the two incidents do not carry themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moving {
    /// The alerts of the source, ascending by id, each with its owner.
    pub alerts: Vec<(AlertId, Option<OwnerId>)>,
    /// The aggregated values of the alerts of both sides.
    pub together: AlertSummary,
}

/// The effects of a merge.
#[derive(Clone, Debug, PartialEq)]
pub struct MergePlan {
    /// The two sides after the merge.
    pub after: Sides,
    /// The tags that the target receives.
    pub tags: Vec<Tag>,
    /// The alerts that take the target's owner, each with its former owner.
    pub owners: Vec<(AlertId, Option<OwnerId>)>,
}

/// The state that a merge replaces, so that its undo can restore it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Former {
    /// The version of the source before the merge.
    pub source_version: u64,
    /// The version of the target before the merge.
    pub target_version: u64,
    /// The status of the source.
    pub source_status: Status,
    /// The tags of the source.
    pub source_tags: Vec<Tag>,
    /// The title of the target.
    pub target_title: String,
    /// Whether the desk had generated that title.
    pub target_title_generated: bool,
    /// The tags that the target received.
    pub tags: Vec<Tag>,
    /// The alerts that moved.
    pub alerts: Vec<AlertId>,
    /// The moved alerts that took the target's owner, each with its former owner.
    pub owners: Vec<(AlertId, Option<OwnerId>)>,
    /// The comments that moved, including deleted comments.
    pub comments: Vec<CommentId>,
    /// The attachments that the target received.
    #[serde(default)]
    pub attachments: Vec<AttachmentId>,
    /// The bookmarks that the target received.
    #[serde(default)]
    pub bookmarks: Vec<BookmarkId>,
    /// How many of the moved comments are not deleted.
    pub comment_count: u64,
}

/// A merge that was carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    /// The incident that was redirected.
    pub source: IncidentId,
    /// The version of the source that the merge made.
    pub source_version: u64,
    /// The incident that received everything.
    pub target: IncidentId,
    /// The version of the target that the merge made. After the undo of a later merge: the version that restored this
    /// state.
    pub target_version: u64,
    /// The state that the merge replaced.
    pub former: Former,
}

impl Sides {
    /// Picks the two sides from incidents that were found. Otherwise returns an error for each missing side, with its
    /// input field.
    pub fn among(found: &[Incident], asked: &MergeRequest) -> Result<Self, Vec<Error>> {
        let side = |id: IncidentId, path: &str| {
            let standing = found.iter().find(|incident| incident.id == id && incident.deleted_at.is_none());
            standing.cloned().ok_or_else(|| Error::not_found("incident", id).at(path))
        };
        match (side(asked.source, "sourceId"), side(asked.target, "targetId")) {
            (Ok(source), Ok(target)) => Ok(Self { source, target }),
            (source, target) => Err(source.err().into_iter().chain(target.err()).collect()),
        }
    }

    /// Returns every reason against the merge, in the order in which it would be refused.
    pub fn refusals(&self) -> Vec<Error> {
        if self.source.id == self.target.id {
            return vec![Error::invalid("targetId", "an incident is not merged into itself")];
        }
        let closed = [("sourceId", &self.source), ("targetId", &self.target)];
        let mut refusals: Vec<Error> =
            closed.into_iter().filter_map(|(path, side)| closed_to_merge(path, side)).collect();
        let together = self.target.tags.len() + self.incoming_tags().len();
        if together > TAGS_PER_INCIDENT_MAX {
            let message = format!(
                "INC-{} and INC-{} have {together} tags together, and an incident has at most {TAGS_PER_INCIDENT_MAX}",
                self.source.number, self.target.number
            );
            refusals.push(Error::limit("sourceId", message, TAGS_PER_INCIDENT_MAX));
        }
        refusals
    }

    fn incoming_tags(&self) -> Vec<Tag> {
        let held = |tag: &Tag| self.target.tags.iter().any(|has| has.kind == tag.kind && has.key() == tag.key());
        self.source.tags.iter().filter(|tag| !held(tag)).cloned().collect()
    }

    /// Returns the effects of the merge. The caller has checked [`Sides::refusals`].
    pub fn merged(&self, moving: &Moving, asked: &MergeRequest) -> MergePlan {
        let tags = self.incoming_tags();
        let mut after = self.clone();
        let Self { source, target } = &mut after;
        source.status = Status::Redirected;
        source.redirected_to = Some(target.id);
        source.tags.clear();
        source.comment_count = 0;
        source.add_up(&AlertSummary::default());
        target.tags.extend(tags.iter().cloned());
        target.tags.sort_by_cached_key(|tag| (tag.kind, tag.key()));
        target.comment_count += self.source.comment_count;
        if asked.keep_title {
            target.title_generated = false;
        } else if moving.together.digest.alerts > 0 {
            target.title_generated = true;
        }
        target.summarise(&moving.together);
        let owner = target.owner.as_ref().map(|owner| owner.id);
        let takes = |(_, had): &&(AlertId, Option<OwnerId>)| owner.is_some() && *had != owner;
        MergePlan { tags, owners: moving.alerts.iter().filter(takes).copied().collect(), after }
    }

    /// Returns the two sides after the undo of their merge. The caller gives the aggregated values of the alerts of
    /// each side.
    pub fn parted(&self, former: &Former, of_source: &AlertSummary, of_target: &AlertSummary) -> Self {
        let mut after = self.clone();
        let Self { source, target } = &mut after;
        source.status = former.source_status;
        source.redirected_to = None;
        source.tags.clone_from(&former.source_tags);
        source.comment_count += former.comment_count;
        source.add_up(of_source);
        target.tags.retain(|tag| !former.tags.iter().any(|came| came.kind == tag.kind && came.key() == tag.key()));
        target.comment_count = target.comment_count.saturating_sub(former.comment_count);
        target.retitle(former.target_title.clone());
        target.title_generated = former.target_title_generated;
        target.add_up(of_target);
        after
    }
}

/// Returns the reason why an incident cannot take part in a merge: it is resolved, or was merged into another incident.
fn closed_to_merge(path: &str, incident: &Incident) -> Option<Error> {
    let number = incident.number;
    let (message, now) = match (incident.redirected_to, incident.status) {
        (Some(target), _) => (
            format!("INC-{number} was merged into another incident already, name that one"),
            json!({ "status": incident.status, "redirectedTo": target.to_string() }),
        ),
        (None, Status::Resolved) => {
            (format!("INC-{number} is resolved: reopen it before you merge it"), json!({ "status": incident.status }))
        }
        (None, _) => return None,
    };
    Some(Error::Refused(Box::new(Refusal {
        code: Code::Conflict,
        message,
        path: Some(path.into()),
        now: Some(now),
        retry_after: None,
    })))
}

/// Refuses an undo because either side changed after the merge. `changes` has at least one change, oldest first.
pub fn changed_since(changes: &[Change]) -> Error {
    let first = changes.first().map_or_else(String::new, |change| {
        let who = match &change.body.actor {
            ActorImage::User { name, .. } => name,
            ActorImage::System => "the desk",
        };
        let kinds: Vec<Value> = change.body.entries.iter().map(|entry| json!(entry.kind())).collect();
        let what: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
        format!(": {who} changed INC-{} ({})", change.body.row.number, what.join(", "))
    });
    let message = format!("a merge is undone only while neither side has changed since{first}");
    let changes: Vec<Value> = changes.iter().flat_map(named_entries).collect();
    Error::taken("incidentId", message, json!({ "changes": changes }))
}
