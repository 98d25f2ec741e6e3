//! The fold of one incident's log: from its changes alone to how the incident stood after the last of them.
//!
//! Most of that is the row which every change leaves behind. The rest is in the entries: comments, alerts, the note.

use std::collections::BTreeMap;

use super::account::{ActorImage, OwnerId};
use super::alert::AlertStatus;
use super::change::{AlertDelta, Body, Change, CommentAction, Entry};
use super::classification::Classification;
use super::queue::{QueueRow, Text};
use super::{AlertId, CommentId, Error, Instant, Result};

/// An incident as its log has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// Its row after the last change.
    pub row: QueueRow,
    /// The place of that change in the log, and the start of the log's hash there.
    pub place: (u64, [u8; 8]),
    /// Whether the desk made the title.
    pub title_generated: bool,
    /// The resolution's note.
    pub note: Option<Text>,
    /// Who resolved it, while it is.
    pub resolved_by: Option<ActorImage>,
    /// When it was deleted.
    pub deleted_at: Option<Instant>,
    /// The alerts it holds.
    pub alerts: BTreeMap<AlertId, FoldedAlert>,
    /// Its comments by the version that added them, deleted ones left out.
    pub comments: BTreeMap<u64, FoldedComment>,
}

/// An alert as its incident's log has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldedAlert {
    /// Its status; none where it came before the desk noted how alerts stood, and stayed as it was.
    pub status: Option<AlertStatus>,
    /// Its owner.
    pub owner: Option<OwnerId>,
    /// Its classification.
    pub classification: Option<Classification>,
}

/// A comment as its incident's log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedComment {
    /// The comment.
    pub id: CommentId,
    /// Who wrote it, named as then.
    pub author: ActorImage,
    /// The incident's version that set its text.
    pub text_version: u64,
    /// The SHA-256 of its text, in hexadecimal.
    pub sha256: String,
}

impl Folded {
    /// The state after one more change; the first begins with none. A change that does not begin where the state stands is a fault of the log.
    pub fn after(state: Option<Self>, change: Change) -> Result<Self> {
        if !change.goes_on_from(state.as_ref().map(|state| &state.row)) {
            let gap = format!("version {} does not begin where the one before it ended", change.version());
            return Err(Error::fault("folding the log of an incident", gap));
        }
        let place = (change.offset, change.check);
        let body = change.body;
        let mut state = match state {
            Some(state) => Self { row: body.row.clone(), place, ..state },
            None => Self::beginning(body.row.clone(), place),
        };
        for entry in &body.entries {
            state.apply(entry, &body);
        }
        Ok(state)
    }

    fn beginning(row: QueueRow, place: (u64, [u8; 8])) -> Self {
        Self {
            row,
            place,
            title_generated: true,
            note: None,
            resolved_by: None,
            deleted_at: None,
            alerts: BTreeMap::new(),
            comments: BTreeMap::new(),
        }
    }

    fn apply(&mut self, entry: &Entry, body: &Body) {
        match entry {
            Entry::Title { generated, .. } => self.title_generated = *generated,
            Entry::Status { .. } => self.resolved_by = self.row.resolved_at.map(|_| body.actor.clone()),
            Entry::ResolutionNote { after, .. } => self.note.clone_from(after),
            Entry::Comment { action, comment, sha256 } => {
                self.comment(*action, *comment, sha256.as_deref().unwrap_or_default(), body);
            }
            Entry::AlertsLinked { alerts, states, .. } => {
                let mut states = states.iter();
                self.alerts.extend(alerts.iter().map(|id| {
                    let alert = states.next().map_or_else(FoldedAlert::default, |image| FoldedAlert {
                        status: Some(image.status),
                        owner: image.owner,
                        classification: image.classification,
                    });
                    (*id, alert)
                }));
            }
            Entry::AlertsUnlinked { alerts, .. } => {
                for id in alerts {
                    self.alerts.remove(id);
                }
            }
            Entry::AlertsChanged { alerts } => alerts.iter().for_each(|delta| self.change_alert(delta)),
            Entry::Deleted => self.deleted_at = Some(body.at),
            // The row says it.
            Entry::Created
            | Entry::Description { .. }
            | Entry::Severity { .. }
            | Entry::Classification { .. }
            | Entry::Owner { .. }
            | Entry::Tags { .. }
            | Entry::Activity { .. } => {}
        }
    }

    fn comment(&mut self, action: CommentAction, id: CommentId, sha256: &str, body: &Body) {
        let (version, sha256) = (body.row.version, sha256.to_owned());
        match action {
            CommentAction::Added => {
                let author = body.actor.clone();
                self.comments.insert(version, FoldedComment { id, author, text_version: version, sha256 });
            }
            CommentAction::Edited => {
                if let Some(comment) = self.comments.values_mut().find(|comment| comment.id == id) {
                    (comment.text_version, comment.sha256) = (version, sha256);
                }
            }
            CommentAction::Deleted => self.comments.retain(|_, comment| comment.id != id),
        }
    }

    fn change_alert(&mut self, delta: &AlertDelta) {
        let Some(alert) = self.alerts.get_mut(&delta.alert) else { return };
        alert.status = delta.status.map(|(_, after)| after).or(alert.status);
        alert.owner = delta.owner.map_or(alert.owner, |(_, after)| after);
        alert.classification = delta.classification.map_or(alert.classification, |(_, after)| after);
    }
}
