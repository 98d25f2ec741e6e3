//! Commands on comments: edit and delete. To write a comment is an edit of its incident.

use super::attachment::refuse_foreign_images;
use super::incident::{Done, Outcome};
use super::{App, Command};
use crate::domain::account::{ActorImage, Role};
use crate::domain::change::{CommentAction, Entry};
use crate::domain::comment::{Comment, Revision};
use crate::domain::queue::sha256_hex;
use crate::domain::{CommentId, Error, Result};
use crate::storage::Tx;

impl App {
    /// Changes the text of a comment. Only its author may. The former text stays in the history.
    pub async fn edit_comment(&self, command: &Command, id: CommentId, body: String) -> Result<Outcome> {
        command.require(Role::Responder, "edit a comment")?;
        self.change_comment(command, id, Some(body)).await
    }

    /// Deletes a comment. Only its author or a manager may. The history stays.
    pub async fn delete_comment(&self, command: &Command, id: CommentId) -> Result<Outcome> {
        command.require(Role::Responder, "delete a comment")?;
        self.change_comment(command, id, None).await
    }

    async fn change_comment(&self, command: &Command, id: CommentId, body: Option<String>) -> Result<Outcome> {
        self.change_incident(command, |tx| {
            let (command, body) = (command.clone(), body.clone());
            Box::pin(async move {
                let found = tx.comments(&[id]).await?.pop().ok_or_else(|| Error::not_found("comment", id))?;
                let before = tx.lock_incident(found.incident).await?;
                let mut comment = present(&tx, id).await?;
                // A merge may have moved the comment before the lock. Then the other incident has to be locked.
                if comment.incident != before.id {
                    return Err(Error::Busy);
                }
                before.writable()?;
                may_change(&command, &comment, body.is_none())?;
                let command = command.not_before([&before], []);
                let at = command.at;
                let mut incident = before.clone();
                let next = before.version + 1;
                let fact = match body {
                    Some(body) if body == comment.body => {
                        return Ok(Done {
                            incident,
                            changed: false,
                            alerts: std::collections::BTreeSet::new(),
                            comment: Some(comment),
                            bookmark: None,
                        });
                    }
                    Some(body) => {
                        refuse_foreign_images(&tx, "body", comment.incident, &body).await?;
                        let sha256 = Some(sha256_hex(&body));
                        let by = command.actor_image();
                        let revision = Revision { incident: before.id, version: next, body: body.clone(), at, by };
                        comment.body = body;
                        comment.edited_at = Some(at);
                        tx.save_comment(&comment, Some(&revision)).await?;
                        Entry::Comment { action: CommentAction::Edited, comment: id, sha256, at: None }
                    }
                    None => {
                        comment.deleted_at = Some(at);
                        comment.body = String::new();
                        tx.save_comment(&comment, None).await?;
                        incident.comment_count = incident.comment_count.saturating_sub(1);
                        Entry::Comment { action: CommentAction::Deleted, comment: id, sha256: None, at: None }
                    }
                };
                let changed = tx.record(Some(&before), &mut incident, vec![fact], &command.origin(), None).await?;
                let alerts = std::collections::BTreeSet::new();
                Ok(Done { incident, changed, alerts, comment: Some(comment), bookmark: None })
            })
        })
        .await
    }
}

async fn present(tx: &Tx, id: CommentId) -> Result<Comment> {
    let comment = tx.lock_comment(id).await?.filter(|comment| comment.deleted_at.is_none());
    comment.ok_or_else(|| Error::not_found("comment", id))
}

/// Checks the rights: only its author may edit a comment; its author or a manager may delete it.
fn may_change(command: &Command, comment: &Comment, delete: bool) -> Result<()> {
    let Some(actor) = &command.actor else { return Ok(()) };
    let is_author = matches!(&comment.author, ActorImage::User { id, .. } if *id == actor.user.id);
    match (is_author, delete, actor.user.role) {
        (true, ..) | (false, true, Role::Manager) => Ok(()),
        (false, true, _) => Err(Error::forbidden("only its author or a manager may delete a comment")),
        (false, false, _) => Err(Error::forbidden("only its author may edit a comment")),
    }
}
