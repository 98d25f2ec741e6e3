//! Merging: what stands in its way, what the target takes over from the source, and how that is undone.
//!
//! What a person wrote on the source itself (title, description, override, classification, owner, stated times) stays on
//! its stub. What is put on it (alerts, tags, comments, bookmarks, attachments) moves.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::{ActorImage, OwnerId};
use super::change::Change;
use super::error::{Code, Refusal};
use super::incident::{AlertSummary, Incident, Status};
use super::tag::{TAGS_PER_INCIDENT_MAX, Tag};
use super::{AlertId, AttachmentId, BookmarkId, CommentId, Error, IncidentId, Result};

/// The most changes that a refused undo names: it is for a person, who reads the log for the rest.
pub const CHANGES_NAMED_MAX: u64 = 10;

/// What is to be merged into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The incident that goes.
    pub source: IncidentId,
    /// The incident that takes it in.
    pub target: IncidentId,
    /// Whether the target's title stays as it is, from then on as a person's.
    pub keep_title: bool,
}

/// The two incidents of a merge, as they stand before or after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sides {
    /// The one that goes.
    pub source: Incident,
    /// The one that takes it in.
    pub target: Incident,
}

/// What the two sides do not say themselves of what a merge moves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moving {
    /// The source's alerts, ascending by id, and who owns each.
    pub alerts: Vec<(AlertId, Option<OwnerId>)>,
    /// What the alerts of both sides add up to.
    pub together: AlertSummary,
}

/// What a merge does.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The two sides after it.
    pub after: Sides,
    /// The tags that come to the target.
    pub tags: Vec<Tag>,
    /// The alerts that take the target's owner, and who owned each.
    pub owners: Vec<(AlertId, Option<OwnerId>)>,
}

/// What a merge took away, so that its undo can put it back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Former {
    /// The version of the source that it found.
    pub source_version: u64,
    /// The version of the target that it found.
    pub target_version: u64,
    /// Where the source stood.
    pub source_status: Status,
    /// The tags of the source.
    pub source_tags: Vec<Tag>,
    /// The title of the target.
    pub target_title: String,
    /// Whether the desk had made that title.
    pub target_title_generated: bool,
    /// The tags that came to the target.
    pub tags: Vec<Tag>,
    /// The alerts that moved.
    pub alerts: Vec<AlertId>,
    /// Those of them that took the target's owner, and who owned each.
    pub owners: Vec<(AlertId, Option<OwnerId>)>,
    /// The comments that moved, deleted ones too.
    pub comments: Vec<CommentId>,
    /// The attachments that came to the target.
    #[serde(default)]
    pub attachments: Vec<AttachmentId>,
    /// The bookmarks that came to the target.
    #[serde(default)]
    pub bookmarks: Vec<BookmarkId>,
    /// How many of them are not deleted.
    pub comment_count: u64,
}

/// A merge that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    /// The incident that went.
    pub source: IncidentId,
    /// The source's version that this made.
    pub source_version: u64,
    /// The incident that took it in.
    pub target: IncidentId,
    /// The target's version that this made, or as which the target stands again, once a later merge was undone.
    pub target_version: u64,
    /// What it took away.
    pub former: Former,
}

impl Sides {
    /// The two sides among incidents that were found; else what is missing, and as which.
    pub fn among(found: &[Incident], asked: &Asked) -> Result<Self, Vec<Error>> {
        let side = |id: IncidentId, path: &str| {
            let standing = found.iter().find(|incident| incident.id == id && incident.deleted_at.is_none());
            standing.cloned().ok_or_else(|| Error::not_found("incident", id).at(path))
        };
        match (side(asked.source, "sourceId"), side(asked.target, "targetId")) {
            (Ok(source), Ok(target)) => Ok(Self { source, target }),
            (source, target) => Err(source.err().into_iter().chain(target.err()).collect()),
        }
    }

    /// Everything that stands in the way of their merge, in the order in which it would be refused.
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

    /// What the merge of these two does, if nothing stands in its way.
    pub fn merged(&self, moving: &Moving, keep_title: bool) -> Plan {
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
        if keep_title {
            target.title_generated = false;
        } else if moving.together.digest.alerts > 0 {
            target.title_generated = true;
        }
        target.summarise(&moving.together);
        let owner = target.owner.as_ref().map(|owner| owner.id);
        let takes = |(_, had): &&(AlertId, Option<OwnerId>)| owner.is_some() && *had != owner;
        Plan { tags, owners: moving.alerts.iter().filter(takes).copied().collect(), after }
    }

    /// The sides as they stand once the merge that made them is undone; what the alerts of each add up to then is given.
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

/// Why an incident takes part in no merge: it is resolved, or was merged away.
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

/// The refusal of an undo, because of what was done to either side since its merge: at least one change, oldest first.
pub fn changed_since(changes: &[Change]) -> Error {
    let first = changes.first().map_or_else(String::new, |change| {
        let who = match &change.body.actor {
            ActorImage::User { name, .. } => name,
            ActorImage::System => "the desk",
        };
        let kinds = kinds(change);
        let what: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
        format!(": {who} changed INC-{} ({})", change.body.row.number, what.join(", "))
    });
    let message = format!("a merge is undone only while neither side has changed since{first}");
    let named = changes.iter().map(|change| {
        json!({
            "incident": change.incident().to_string(),
            "number": change.body.row.number,
            "version": change.version(),
            "at": change.body.at,
            "by": match &change.body.actor {
                ActorImage::User { account, .. } => Some(account),
                ActorImage::System => None,
            },
            "kinds": kinds(change),
        })
    });
    Error::conflict(message, json!({ "changes": named.collect::<Vec<_>>() }))
}

fn kinds(change: &Change) -> Vec<Value> {
    change.body.entries.iter().map(|entry| json!(entry.kind())).collect()
}
