//! The mutations of bookmarks.

use async_graphql::{Context, Object};

use super::run::run;
use crate::domain::Result;
use crate::graphql::bookmark::{AddBookmarkInput, BookmarkPayload, RemoveBookmarkInput, bookmark_id};

/// The mutations of bookmarks.
#[derive(Default)]
pub(super) struct BookmarkMutations;

#[Object]
impl BookmarkMutations {
    /// Pins a result of a hunt to an incident. It never conflicts with changes of other callers. An incident that has
    /// 20 bookmarks takes no further bookmark (`LIMIT`).
    async fn add_bookmark(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: AddBookmarkInput,
    ) -> Result<Option<BookmarkPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (incident, finding, rows) = input.read(command.at)?;
            let did = app.add_bookmark(&command, incident, finding, rows).await;
            did.map_err(|error| error.at("incidentId"))
        })
        .await
    }

    /// Removes a bookmark from an incident. The log still shows it.
    async fn remove_bookmark(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: RemoveBookmarkInput,
    ) -> Result<Option<BookmarkPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = bookmark_id("bookmarkId", &input.bookmark_id)?;
            app.remove_bookmark(&command, id).await.map_err(|error| error.at("bookmarkId"))
        })
        .await
    }
}
