//! Comments of incidents. A comment is written in Markdown and also read as safe HTML.

use std::collections::BTreeMap;

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{ComplexObject, ID, InputObject, Object, SimpleObject};
use futures_util::future::try_join_all;

use super::account::Actor;
use super::attachment::Attachment;
use super::call::Call;
use super::connection::{PageArgs, page_in_memory, read_id};
use super::context::View;
use super::incident::{Incident, ends};
use super::loaders::HistoryOf;
use super::markdown::to_html;
use crate::app::incident::NewComment;
use crate::domain::comment::{self, Comment as DomainComment, Revision};
use crate::domain::{CommentId, Error, IncidentId, Instant, Result, markdown};

/// A comment on an incident.
pub(super) struct Comment {
    /// The view through which its history and its incident are read.
    pub view: View,
    /// The comment as it is stored.
    pub comment: DomainComment,
}

/// A revision: a former text or the present text of a comment.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct CommentRevision {
    #[graphql(skip)]
    view: View,
    #[graphql(skip)]
    on: IncidentId,
    /// The global id of the incident that the comment was on at that time.
    incident_id: ID,
    /// The version of that incident with which the text was set.
    version: u64,
    /// The text, in Markdown.
    body: String,
    /// When the text was set.
    at: Instant,
    /// The actor who set the text.
    by: Actor,
}

impl CommentRevision {
    fn new(view: View, revision: Revision) -> Self {
        Self {
            view,
            on: revision.incident,
            incident_id: super::incident::global_id(revision.incident),
            version: revision.version,
            body: revision.body,
            at: revision.at,
            by: revision.by.into(),
        }
    }
}

#[ComplexObject]
impl CommentRevision {
    /// The incident that the comment was on at that time, in its present state; null if it is deleted.
    async fn incident(&self) -> Result<Option<Incident>> {
        Incident::find(&self.view, self.on).await
    }
}

/// The fields of a list of revisions beside its items.
#[derive(SimpleObject)]
pub(super) struct RevisionConnectionFields {
    /// The exact number of texts that the comment has had.
    total_count: u64,
}

/// A page of the revisions of a comment.
pub(super) type CommentRevisionConnection = Connection<String, CommentRevision, RevisionConnectionFields, EmptyFields>;

/// A comment on an incident.
#[Object]
impl Comment {
    /// The global id of the comment.
    pub(crate) async fn id(&self) -> ID {
        self.comment.id.to_string().into()
    }

    /// The incident that the comment is on.
    async fn incident(&self) -> Result<Incident> {
        let incident = Incident::find(&self.view, self.comment.incident).await?;
        incident.ok_or_else(|| Error::not_found("incident", self.comment.incident))
    }

    /// The incident that the comment was written on, in its present state; null if it is deleted. After a merge it
    /// differs from `incident`: the comment was written on the source and is now on the target.
    async fn written_on(&self) -> Result<Option<Incident>> {
        Incident::find(&self.view, self.comment.written_on).await
    }

    /// The global id of the incident that the comment was written on.
    async fn written_on_id(&self) -> ID {
        super::incident::global_id(self.comment.written_on)
    }

    /// The text, in Markdown: at most 30,000 characters. Empty if the comment is deleted.
    async fn body(&self) -> &str {
        &self.comment.body
    }

    /// The text as HTML that is safe to show: it has no script, no event handler and no `javascript:` address. Images
    /// that name attachments point to the path that serves the attachment.
    async fn html(&self) -> Result<String> {
        to_html(self.comment.body.clone()).await
    }

    /// The attachments that the images of the text name, in the order of the text.
    async fn attachments(&self) -> Result<Vec<Attachment>> {
        let ids = markdown::attachments(&self.comment.body);
        let found = try_join_all(ids.into_iter().map(|id| self.view.load(id))).await?;
        let own = found.into_iter().flatten().filter(|found| found.incident == self.comment.incident);
        Ok(own.map(|attachment| Attachment { view: self.view.clone(), attachment }).collect())
    }

    /// The author of the comment.
    async fn author(&self) -> Actor {
        self.comment.author.clone().into()
    }

    /// When the comment was written.
    async fn created_at(&self) -> Instant {
        self.comment.created_at
    }

    /// When the comment was last edited; null if never.
    async fn edited_at(&self) -> Option<Instant> {
        self.comment.edited_at
    }

    /// When the comment was deleted; null if it was not.
    async fn deleted_at(&self) -> Option<Instant> {
        self.comment.deleted_at
    }

    /// All texts that the comment has had, oldest first. Every edit adds a text.
    async fn history(
        &self,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<CommentRevisionConnection> {
        let args = PageArgs { first, after, last, before };
        let span = args.span(self.view.page_items_max(), |cursor| cursor.parse::<u64>().ok())?;
        let history = self.view.load(HistoryOf(self.comment.id)).await?.unwrap_or_default();
        let total_count = history.len() as u64;
        // A history only grows, so the number of a text in it is a cursor.
        let history: BTreeMap<u64, Revision> = (1..).zip(history).collect();
        let (items, more) = page_in_memory(&history, &span);
        let (has_before, has_after) = ends(&span, more);
        let fields = RevisionConnectionFields { total_count };
        let mut page = Connection::with_additional_fields(has_before, has_after, fields);
        let edge = |(number, revision): (u64, Revision)| {
            Edge::new(number.to_string(), CommentRevision::new(self.view.clone(), revision))
        };
        page.edges.extend(items.into_iter().map(edge));
        Ok(page)
    }
}

/// Reads the text of a new comment.
pub(super) fn new_comment(path: &str, body: &str) -> Result<NewComment> {
    Ok(NewComment { id: None, body: comment::parse(path, body)? })
}

/// The input of `editComment`.
#[derive(Debug, InputObject)]
pub(super) struct EditCommentInput {
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
    /// The global id of the comment.
    pub comment_id: ID,
    /// The new text, in Markdown: at most 30,000 characters. A blank text is `INVALID`. An image `![…](attachment:…)`
    /// must name an uploaded attachment of the comment's incident, else the text is `INVALID`.
    pub body: String,
}

/// The input of `deleteComment`.
#[derive(Debug, InputObject)]
pub(super) struct DeleteCommentInput {
    /// The global id of the comment.
    pub comment_id: ID,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// Reads the id of a comment.
pub(super) fn comment_id(path: &str, id: &ID) -> Result<CommentId> {
    read_id(path, id, CommentId::WORD, CommentId::parse)
}
