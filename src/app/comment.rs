//! Commands on comments: add, edit and delete.

use serde::{Deserialize, Serialize};

use super::attachment::refuse_foreign_images;
use super::idempotency::{Did, Done, Repeatable};
use super::incident::{Edited, IncidentEdit, NewComment, standing};
use super::{App, Command};
use crate::domain::account::{ActorImage, Role};
use crate::domain::change::{CommentAction, Entry};
use crate::domain::comment::{Comment, Revision};
use crate::domain::incident::Incident;
use crate::domain::queue::sha256_hex;
use crate::domain::{CommentId, Error, IncidentId, Result};
use crate::storage::{Reader, Tx};

/// A comment after a command on it.
#[derive(Clone, Debug)]
pub struct Commented {
    /// The comment after the command.
    pub comment: Comment,
    /// The incident that the comment is on.
    pub incident: Incident,
}

/// The form of [`Commented`] that is stored for a retry.
#[derive(Serialize, Deserialize)]
pub(super) struct CommentedReceipt {
    comment: CommentId,
    incident: IncidentId,
}

impl Repeatable for Commented {
    type Receipt = CommentedReceipt;

    fn receipt(&self) -> CommentedReceipt {
        CommentedReceipt { comment: self.comment.id, incident: self.incident.id }
    }

    async fn again(reader: &Reader, receipt: CommentedReceipt) -> Result<Self> {
        let incident = standing(reader, receipt.incident).await?;
        let comment = reader.comments(&[receipt.comment]).await?.pop();
        Ok(Self { comment: comment.ok_or_else(|| Error::not_found("comment", receipt.comment))?, incident })
    }
}

/// A change of a comment.
#[derive(Clone, Debug)]
enum CommentEdit {
    Text(String),
    Delete,
}

impl App {
    /// Adds a comment to an incident, as an edit of the incident.
    pub async fn add_comment(&self, command: &Command, id: IncidentId, comment: NewComment) -> Result<Did<Commented>> {
        let edit = IncidentEdit { comment: Some(comment), ..IncidentEdit::default() };
        let did = self.update_incident(command, id, edit).await?;
        did.try_map(|Edited { incident, comment, .. }| {
            let comment = comment.ok_or_else(|| Error::fault("answering about a comment", "there is none"))?;
            Ok(Commented { comment, incident })
        })
    }

    /// Changes the text of a comment. Only its author may. The former text stays in the history.
    pub async fn edit_comment(&self, command: &Command, id: CommentId, body: String) -> Result<Did<Commented>> {
        command.require(Role::Responder, "edit a comment")?;
        self.change_comment(command, id, CommentEdit::Text(body)).await
    }

    /// Deletes a comment. Only its author or a manager may. The history stays.
    pub async fn delete_comment(&self, command: &Command, id: CommentId) -> Result<Did<Commented>> {
        command.require(Role::Responder, "delete a comment")?;
        self.change_comment(command, id, CommentEdit::Delete).await
    }

    async fn change_comment(&self, command: &Command, id: CommentId, edit: CommentEdit) -> Result<Did<Commented>> {
        let did = self.once(command, async |tx| {
            let found = tx.comments(&[id]).await?.pop().ok_or_else(|| Error::not_found("comment", id))?;
            let before = tx.lock_incident(found.incident).await?;
            let mut comment = present(&tx, id).await?;
            // A merge may have moved the comment before the lock. Then the other incident has to be locked.
            if comment.incident != before.id {
                return Err(Error::Busy);
            }
            before.writable()?;
            may_change(command, &comment, &edit)?;
            let command = command.not_before([&before], []);
            let at = command.at;
            let mut incident = before.clone();
            let next = before.version + 1;
            let fact = match &edit {
                CommentEdit::Text(body) if *body == comment.body => {
                    return Ok(Done::unchanged(Commented { comment, incident }));
                }
                CommentEdit::Text(body) => {
                    refuse_foreign_images(&tx, "body", comment.incident, body).await?;
                    let sha256 = Some(sha256_hex(body));
                    let by = command.actor_image();
                    let revision = Revision { incident: before.id, version: next, body: body.clone(), at, by };
                    comment.body.clone_from(body);
                    comment.edited_at = Some(at);
                    tx.save_comment(&comment, Some(&revision)).await?;
                    Entry::Comment { action: CommentAction::Edited, comment: id, sha256, at: None }
                }
                CommentEdit::Delete => {
                    comment.deleted_at = Some(at);
                    comment.body = String::new();
                    tx.save_comment(&comment, None).await?;
                    incident.comment_count = incident.comment_count.saturating_sub(1);
                    Entry::Comment { action: CommentAction::Deleted, comment: id, sha256: None, at: None }
                }
            };
            let changed = tx.record(Some(&before), &mut incident, vec![fact], &command.origin(), None).await?;
            Ok(Done { value: Commented { comment, incident }, changed })
        });
        Ok(self.logged(did.await?))
    }
}

async fn present(tx: &Tx, id: CommentId) -> Result<Comment> {
    let comment = tx.lock_comment(id).await?.filter(|comment| comment.deleted_at.is_none());
    comment.ok_or_else(|| Error::not_found("comment", id))
}

/// Checks the rights: only its author may edit a comment; its author or a manager may delete it.
fn may_change(command: &Command, comment: &Comment, edit: &CommentEdit) -> Result<()> {
    let Some(actor) = &command.actor else { return Ok(()) };
    let is_author = matches!(&comment.author, ActorImage::User { id, .. } if *id == actor.user.id);
    match (is_author, edit, actor.user.role) {
        (true, ..) | (false, CommentEdit::Delete, Role::Manager) => Ok(()),
        (false, CommentEdit::Delete, _) => Err(Error::forbidden("only its author or a manager may delete a comment")),
        (false, CommentEdit::Text(_), _) => Err(Error::forbidden("only its author may edit a comment")),
    }
}
