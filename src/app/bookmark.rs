//! Commands on bookmarks: pin a bookmark to an incident, and remove it.

use serde::{Deserialize, Serialize};

use super::idempotency::{Did, Done, Repeatable};
use super::incident::standing;
use super::{App, Command};
use crate::domain::account::Role;
use crate::domain::bookmark::{BOOKMARKS_PER_INCIDENT_MAX, Bookmark, Finding, ResultRows};
use crate::domain::change::{BookmarkAction, Entry};
use crate::domain::incident::Incident;
use crate::domain::{BookmarkId, Error, IncidentId, Result};
use crate::storage::Reader;

/// A bookmark after a command on it.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The bookmark after the command.
    pub bookmark: Bookmark,
    /// The incident that the bookmark is pinned to.
    pub incident: Incident,
}

/// The form of [`Pinned`] that is stored for a retry.
#[derive(Serialize, Deserialize)]
pub(super) struct PinnedReceipt {
    bookmark: BookmarkId,
    incident: IncidentId,
}

impl Repeatable for Pinned {
    type Receipt = PinnedReceipt;

    fn receipt(&self) -> PinnedReceipt {
        PinnedReceipt { bookmark: self.bookmark.id, incident: self.incident.id }
    }

    async fn again(reader: &Reader, receipt: PinnedReceipt) -> Result<Self> {
        let incident = standing(reader, receipt.incident).await?;
        let bookmark = reader.bookmarks(&[receipt.bookmark]).await?.pop();
        Ok(Self { bookmark: bookmark.ok_or_else(|| Error::not_found("bookmark", receipt.bookmark))?, incident })
    }
}

impl App {
    /// Pins a hunting result to an incident as a bookmark.
    pub async fn add_bookmark(
        &self,
        command: &Command,
        incident: IncidentId,
        finding: Finding,
        rows: ResultRows,
    ) -> Result<Did<Pinned>> {
        command.require(Role::Responder, "add a bookmark")?;
        let id = BookmarkId(self.clock.fresh_id());
        let did = self.once(command, async |tx| {
            let before = tx.lock_incident(incident).await?;
            before.writable()?;
            let command = command.not_before([&before], []);
            let standing = tx.bookmark_counts(&[incident]).await?.remove(&incident).unwrap_or(0);
            if standing >= BOOKMARKS_PER_INCIDENT_MAX {
                let message = format!("an incident has at most {BOOKMARKS_PER_INCIDENT_MAX} bookmarks");
                return Err(Error::limit("incidentId", message, BOOKMARKS_PER_INCIDENT_MAX as usize));
            }
            let bookmark = Bookmark {
                id,
                incident,
                finding: finding.clone(),
                author: command.actor_image(),
                created_at: command.at,
                removed_at: None,
            };
            tx.insert_bookmark(&bookmark, &rows).await?;
            let mut after = before.clone();
            let fact = entry(BookmarkAction::Added, &bookmark);
            let changed = tx.record(Some(&before), &mut after, vec![fact], &command.origin(), None).await?;
            Ok(Done { value: Pinned { bookmark, incident: after }, changed })
        });
        Ok(self.logged(did.await?))
    }

    /// Removes a bookmark. The log still shows it.
    pub async fn remove_bookmark(&self, command: &Command, id: BookmarkId) -> Result<Did<Pinned>> {
        command.require(Role::Responder, "remove a bookmark")?;
        let missing = || Error::not_found("bookmark", id);
        let did = self.once(command, async |tx| {
            let found = tx.bookmarks(&[id]).await?.pop().ok_or_else(missing)?;
            let before = tx.lock_incident(found.incident).await?;
            before.writable()?;
            let bookmark = tx.lock_bookmark(id).await?.filter(|it| it.removed_at.is_none());
            let bookmark = bookmark.ok_or_else(missing)?;
            if bookmark.incident != before.id {
                // A merge has moved the bookmark since the read. The command runs again and finds it there.
                return Err(Error::Busy);
            }
            let command = command.not_before([&before], []);
            tx.remove_bookmark(id, command.at).await?;
            let mut after = before.clone();
            let fact = entry(BookmarkAction::Removed, &bookmark);
            let changed = tx.record(Some(&before), &mut after, vec![fact], &command.origin(), None).await?;
            let bookmark = Bookmark { removed_at: Some(command.at), ..bookmark };
            Ok(Done { value: Pinned { bookmark, incident: after }, changed })
        });
        Ok(self.logged(did.await?))
    }
}

fn entry(action: BookmarkAction, bookmark: &Bookmark) -> Entry {
    Entry::Bookmark { action, bookmark: bookmark.id, title: bookmark.finding.title.clone() }
}
