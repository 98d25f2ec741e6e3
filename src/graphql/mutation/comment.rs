//! The mutations of comments and of their images.

use async_graphql::{Context, Object};

use super::run::run;
use crate::domain::{Result, comment};
use crate::graphql::attachment::{CreateAttachmentInput, CreateAttachmentPayload};
use crate::graphql::comment::{DeleteCommentInput, EditCommentInput, comment_id, new_comment};
use crate::graphql::input::{AddCommentInput, incident_id};
use crate::graphql::payload::CommentPayload;

/// The mutations of comments and of their images.
#[derive(Default)]
pub(super) struct CommentMutations;

#[Object]
impl CommentMutations {
    /// Adds a comment to an incident.
    async fn add_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: AddCommentInput,
    ) -> Result<Option<CommentPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = incident_id("incidentId", &input.incident_id)?;
            let did = app.add_comment(&command, id, new_comment("body", &input.body)?).await;
            did.map_err(|error| error.at("incidentId").reworded(&[("comment", "body")]))
        })
        .await
    }

    /// Changes the text of a comment. The former text stays in its history. Only the author may change it.
    async fn edit_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: EditCommentInput,
    ) -> Result<Option<CommentPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = comment_id("commentId", &input.comment_id)?;
            let body = comment::parse("body", &input.body)?;
            app.edit_comment(&command, id, body).await.map_err(|error| error.at("commentId"))
        })
        .await
    }

    /// Deletes a comment. Its history stays. Only the author and managers may delete it.
    async fn delete_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: DeleteCommentInput,
    ) -> Result<Option<CommentPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = comment_id("commentId", &input.comment_id)?;
            app.delete_comment(&command, id).await.map_err(|error| error.at("commentId"))
        })
        .await
    }

    /// Announces an image for an incident, and returns the path to `PUT` its bytes to within 15 minutes. The bytes must
    /// have the announced type and size. A comment shows the image with `![text](attachment:…)`. An incident that has
    /// 200 attachments takes no further attachment (`LIMIT`).
    async fn create_attachment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: CreateAttachmentInput,
    ) -> Result<Option<CreateAttachmentPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (incident, draft) = input.read()?;
            app.create_attachment(&command, incident, draft).await.map_err(|error| error.at("incidentId"))
        })
        .await
    }
}
