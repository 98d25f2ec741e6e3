//! The fold of one incident's log: computes the incident's state after its last change from its changes alone.
//!
//! The row that every change carries has most of this state. The entries have the rest: comments, alerts and the note.

use std::collections::BTreeMap;

use super::account::{ActorImage, OwnerId};
use super::alert::AlertStatus;
use super::change::{AlertDelta, AlertImage, BookmarkAction, Change, ChangeBody, CommentAction, Entry};
use super::classification::Classification;
use super::comment::{CommentImage, CommentPlace, TextSetBy};
use super::queue::{IncidentText, QueueRow};
use super::{AlertId, BookmarkId, CommentId, Error, IncidentId, Instant, Result};

/// The state of an incident as its log gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// The incident's row after the last change.
    pub row: QueueRow,
    /// The offset of that change in the log, and the first 8 bytes of the log's hash there.
    pub place: (u64, [u8; 8]),
    /// Whether the desk generated the title.
    pub title_generated: bool,
    /// The resolution note.
    pub note: Option<IncidentText>,
    /// The actor who resolved the incident, while it is resolved.
    pub resolved_by: Option<ActorImage>,
    /// The time of deletion.
    pub deleted_at: Option<Instant>,
    /// The alerts that the incident holds.
    pub alerts: BTreeMap<AlertId, FoldedAlert>,
    /// The comments, without deleted comments.
    pub comments: BTreeMap<CommentPlace, FoldedComment>,
    /// Whether `comments` is complete. Merges from before the desk recorded moved comments do not name them.
    pub comments_known: bool,
    /// The bookmarks, without removed bookmarks.
    pub bookmarks: BTreeMap<BookmarkId, FoldedBookmark>,
    /// Whether `bookmarks` is complete. Merges from before the desk recorded moved bookmarks do not name them.
    pub bookmarks_known: bool,
    /// The comments that moved to the incident that this incident was merged into.
    away: BTreeMap<CommentPlace, FoldedComment>,
    /// The bookmarks that moved to that incident.
    bookmarks_away: BTreeMap<BookmarkId, FoldedBookmark>,
}

/// The state of an alert as the log of its incident gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldedAlert {
    /// The status; `None` if the alert came before the desk recorded the state of linked alerts, and has not changed
    /// since.
    pub status: Option<AlertStatus>,
    /// The owner.
    pub owner: Option<OwnerId>,
    /// The classification.
    pub classification: Option<Classification>,
    /// Whether the desk recorded the state of the alert when it was linked. Then all fields are known.
    pub known: bool,
}

/// A bookmark as the log of its incident gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedBookmark {
    /// The title.
    pub title: String,
    /// The actor who pinned the bookmark, and the time; `None` if a merge brought it, because a merge names its title
    /// only.
    pub pinned: Option<(ActorImage, Instant)>,
    /// The incident from which a merge brought the bookmark.
    from: Option<IncidentId>,
}

/// A comment as the log of its incident gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedComment {
    /// The id of the comment.
    pub id: CommentId,
    /// The author, named as of the time of writing.
    pub author: ActorImage,
    /// The change that set the first text.
    pub first: TextSetBy,
    /// The change that set the present text.
    pub text: TextSetBy,
    /// The SHA-256 of the present text, in hexadecimal.
    pub sha256: String,
    /// The incident from which a merge brought the comment.
    from: Option<IncidentId>,
}

fn come(image: &CommentImage, source: IncidentId) -> (CommentPlace, FoldedComment) {
    let place = CommentPlace { at: image.at, version: image.first.version, id: image.comment };
    let comment = FoldedComment {
        id: image.comment,
        author: image.author.clone(),
        first: image.first,
        text: image.text,
        sha256: image.sha256.clone(),
        from: Some(source),
    };
    (place, comment)
}

impl Folded {
    /// Applies one more change to a state; `None` is the state before the first change. It is a fault of the log if the
    /// change does not continue the state.
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
            comments_known: true,
            bookmarks: BTreeMap::new(),
            bookmarks_known: true,
            away: BTreeMap::new(),
            bookmarks_away: BTreeMap::new(),
        }
    }

    fn apply(&mut self, entry: &Entry, body: &ChangeBody) {
        match entry {
            Entry::Title { generated, .. } => self.title_generated = *generated,
            Entry::Status { .. } => self.resolved_by = self.row.resolved_at.map(|_| body.actor.clone()),
            Entry::ResolutionNote { after, .. } => self.note.clone_from(after),
            Entry::Comment { action, comment, sha256, at } => {
                let at = at.unwrap_or(body.at);
                self.comment(*action, *comment, sha256.as_deref().unwrap_or_default(), body, at);
            }
            Entry::AlertsLinked { alerts, states, .. } => self.link(alerts, states),
            Entry::AlertsUnlinked { alerts, .. } => {
                for id in alerts {
                    self.alerts.remove(id);
                }
            }
            Entry::AlertsChanged { alerts } => alerts.iter().for_each(|delta| self.change_alert(delta)),
            Entry::Deleted => self.deleted_at = Some(body.at),
            Entry::Restored => self.deleted_at = None,
            Entry::MergedInto { .. } => {
                self.away = std::mem::take(&mut self.comments);
                self.bookmarks_away = std::mem::take(&mut self.bookmarks);
            }
            Entry::Merged { source, comments, moved, bookmarks, .. } => {
                self.comments.extend(moved.iter().map(|image| come(image, *source)));
                self.comments_known &= *comments == moved.len() as u64;
                self.bookmarks_known &= bookmarks.is_some();
                let pinned = bookmarks.iter().flatten();
                self.bookmarks.extend(pinned.map(|image| {
                    let (title, from) = (image.title.clone(), Some(*source));
                    (image.bookmark, FoldedBookmark { title, pinned: None, from })
                }));
            }
            // On the source, the comments and bookmarks come back. On the target, those from the other incident leave.
            Entry::MergeUndone { other, .. } => {
                self.comments.retain(|_, comment| comment.from != Some(*other));
                self.comments.append(&mut self.away);
                self.bookmarks.retain(|_, bookmark| bookmark.from != Some(*other));
                self.bookmarks.append(&mut self.bookmarks_away);
            }
            Entry::Bookmark { action: BookmarkAction::Added, bookmark, title } => {
                let (title, pinned) = (title.clone(), Some((body.actor.clone(), body.at)));
                self.bookmarks.insert(*bookmark, FoldedBookmark { title, pinned, from: None });
            }
            Entry::Bookmark { action: BookmarkAction::Removed, bookmark, .. } => {
                self.bookmarks.remove(bookmark);
            }
            // No incident's log has these entries.
            Entry::AlertReported { .. } | Entry::AlertFreed { .. } => {}
            // The row has these values.
            Entry::Created
            | Entry::Description { .. }
            | Entry::Severity { .. }
            | Entry::Classification { .. }
            | Entry::Owner { .. }
            | Entry::Tags { .. }
            | Entry::Activity { .. } => {}
        }
    }

    /// Links alerts. `states` has the state of each alert, or is empty in the log of an old desk.
    fn link(&mut self, alerts: &[AlertId], states: &[AlertImage]) {
        let mut states = states.iter();
        self.alerts.extend(alerts.iter().map(|id| {
            let alert = states.next().map_or_else(FoldedAlert::default, |image| FoldedAlert {
                status: Some(image.status),
                owner: image.owner,
                classification: image.classification,
                known: true,
            });
            (*id, alert)
        }));
    }

    fn comment(&mut self, action: CommentAction, id: CommentId, sha256: &str, body: &ChangeBody, at: Instant) {
        let (by, sha256) = (TextSetBy { incident: body.row.id, version: body.row.version }, sha256.to_owned());
        match action {
            CommentAction::Added => {
                let place = CommentPlace { at, version: by.version, id };
                let comment = FoldedComment { id, author: body.actor.clone(), first: by, text: by, sha256, from: None };
                self.comments.insert(place, comment);
            }
            CommentAction::Edited => {
                if let Some(comment) = self.comments.values_mut().find(|comment| comment.id == id) {
                    (comment.text, comment.sha256) = (by, sha256);
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
