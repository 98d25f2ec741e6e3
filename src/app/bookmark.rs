//! Commands on bookmarks: pin a bookmark to an incident, and remove it.

use std::collections::BTreeSet;

use super::incident::{Done, Outcome};
use super::{App, Command};
use crate::domain::account::Role;
use crate::domain::bookmark::{BOOKMARKS_PER_INCIDENT_MAX, Bookmark, Finding, Rows};
use crate::domain::change::{BookmarkAction, Entry};
use crate::domain::incident::Incident;
use crate::domain::{BookmarkId, Error, IncidentId, Result};

/// The result of a command on a bookmark.
#[derive(Clone, Debug)]
pub struct BookmarkOutcome {
    /// The bookmark after the command.
    pub bookmark: Bookmark,
    /// The effect on the incident.
    pub outcome: Outcome,
}

impl App {
    /// Pins a hunting result to an incident as a bookmark.
    pub async fn add_bookmark(
        &self,
        command: &Command,
        incident: IncidentId,
        finding: Finding,
        rows: Rows,
    ) -> Result<BookmarkOutcome> {
        command.require(Role::Responder, "add a bookmark")?;
        let bookmark = Bookmark {
            id: BookmarkId(self.clock.fresh_id()),
            incident,
            finding,
            author: command.actor_image(),
            created_at: command.at,
            removed_at: None,
        };
        let outcome = self
            .change_incident(command, |tx| {
                let (command, bookmark, rows) = (command.clone(), bookmark.clone(), rows.clone());
                Box::pin(async move {
                    let before = tx.lock_incident(incident).await?;
                    before.writable()?;
                    let command = command.not_before([&before], []);
                    let bookmark = Bookmark { created_at: command.at, ..bookmark };
                    let standing = tx.bookmark_counts(&[incident]).await?.remove(&incident).unwrap_or(0);
                    if standing >= BOOKMARKS_PER_INCIDENT_MAX {
                        let message = format!("an incident has at most {BOOKMARKS_PER_INCIDENT_MAX} bookmarks");
                        return Err(Error::limit("incidentId", message, BOOKMARKS_PER_INCIDENT_MAX as usize));
                    }
                    tx.insert_bookmark(&bookmark, &rows).await?;
                    let mut after = before.clone();
                    let fact = entry(BookmarkAction::Added, &bookmark);
                    let changed = tx.record(Some(&before), &mut after, vec![fact], &command.origin(), None).await?;
                    Ok(done(after, changed, bookmark))
                })
            })
            .await?;
        shown(outcome)
    }

    /// Removes a bookmark. The log still shows it.
    pub async fn remove_bookmark(&self, command: &Command, id: BookmarkId) -> Result<BookmarkOutcome> {
        command.require(Role::Responder, "remove a bookmark")?;
        let missing = || Error::not_found("bookmark", id);
        let outcome = self
            .change_incident(command, |tx| {
                let command = command.clone();
                Box::pin(async move {
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
                    Ok(done(after, changed, bookmark))
                })
            })
            .await?;
        shown(outcome)
    }
}

fn shown(mut outcome: Outcome) -> Result<BookmarkOutcome> {
    let bookmark = outcome.bookmark.take();
    let bookmark = bookmark.ok_or_else(|| Error::fault("answering about a bookmark", "there is none"))?;
    Ok(BookmarkOutcome { bookmark, outcome })
}

fn done(incident: Incident, changed: bool, bookmark: Bookmark) -> Done {
    Done { incident, changed, alerts: BTreeSet::new(), comment: None, bookmark: Some(bookmark) }
}

fn entry(action: BookmarkAction, bookmark: &Bookmark) -> Entry {
    Entry::Bookmark { action, bookmark: bookmark.id, title: bookmark.finding.title.clone() }
}
