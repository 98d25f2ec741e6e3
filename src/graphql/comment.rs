//! Comments: Markdown in, safe HTML out.

use async_graphql::{ID, InputObject, Object, SimpleObject};
use futures_util::future::try_join_all;

use super::account::Actor;
use super::attachment::Attachment;
use super::call::Call;
use super::connection::read_id;
use super::context::View;
use super::incident::Incident;
use super::loaders::HistoryOf;
use super::markdown::to_html;
use crate::app::incident::NewComment;
use crate::domain::comment::{self, Comment as DomainComment};
use crate::domain::{CommentId, Error, Instant, Result, markdown};

/// A comment on an incident.
pub struct Comment {
    /// Where its history and incident are read.
    pub view: View,
    /// The comment.
    pub comment: DomainComment,
}

/// A former or present text of a comment.
#[derive(SimpleObject)]
pub struct CommentRevision {
    /// The incident that the comment was on then.
    incident_id: ID,
    /// That incident's version that set it.
    version: u64,
    /// Markdown.
    body: String,
    /// When it was set.
    at: Instant,
    /// Who set it.
    by: Actor,
}

/// A comment on an incident.
#[Object]
impl Comment {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        self.comment.id.to_string().into()
    }

    /// The incident that it is on.
    async fn incident(&self) -> Result<Incident> {
        let incident = self.view.incident(self.comment.incident).await?;
        let incident = incident.ok_or_else(|| Error::not_found("incident", self.comment.incident))?;
        Ok(Incident::new(self.view.clone(), incident))
    }

    /// The global id of the incident that it was written on: another than `incident` where that one was merged into this.
    async fn written_on(&self) -> ID {
        super::incident::global_id(self.comment.written_on)
    }

    /// What was written: Markdown, at most 30,000 characters. Empty once it is deleted.
    async fn body(&self) -> &str {
        &self.comment.body
    }

    /// The same as HTML that is safe to show: no script, no event handler, no `javascript:`. Images that name attachments
    /// lead to where these are served.
    async fn html(&self) -> Result<String> {
        to_html(self.comment.body.clone()).await
    }

    /// The attachments that its images name, in the order of the text.
    async fn attachments(&self) -> Result<Vec<Attachment>> {
        let ids = markdown::attachments(&self.comment.body);
        let found = try_join_all(ids.into_iter().map(|id| self.view.load(id))).await?;
        let own = found.into_iter().flatten().filter(|found| found.incident == self.comment.incident);
        Ok(own.map(|attachment| Attachment { view: self.view.clone(), attachment }).collect())
    }

    /// Who wrote it.
    async fn author(&self) -> Actor {
        self.comment.author.clone().into()
    }

    /// When it was written.
    async fn created_at(&self) -> Instant {
        self.comment.created_at
    }

    /// When it was last edited, if ever.
    async fn edited_at(&self) -> Option<Instant> {
        self.comment.edited_at
    }

    /// When it was deleted, if it was.
    async fn deleted_at(&self) -> Option<Instant> {
        self.comment.deleted_at
    }

    /// Every text it has had, oldest first.
    async fn history(&self) -> Result<Vec<CommentRevision>> {
        let history = self.view.load(HistoryOf(self.comment.id)).await?.unwrap_or_default();
        Ok(history
            .into_iter()
            .map(|revision| CommentRevision {
                incident_id: super::incident::global_id(revision.incident),
                version: revision.version,
                body: revision.body,
                at: revision.at,
                by: revision.by.into(),
            })
            .collect())
    }
}

/// Reads a comment to write.
pub fn new_comment(path: &str, body: &str) -> Result<NewComment> {
    Ok(NewComment { id: None, body: comment::parse(path, body)? })
}

/// A comment's new text.
#[derive(Debug, InputObject)]
pub struct EditCommentInput {
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
    /// The comment, by global id.
    pub comment_id: ID,
    /// Markdown, at most 30,000 characters; blank is refused.
    pub body: String,
}

/// The comment to delete.
#[derive(Debug, InputObject)]
pub struct DeleteCommentInput {
    /// The comment, by global id.
    pub comment_id: ID,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// Reads the id of a comment.
pub fn comment_id(path: &str, id: &ID) -> Result<CommentId> {
    read_id(path, id, CommentId::WORD, CommentId::parse)
}
