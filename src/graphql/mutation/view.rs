//! The mutations of saved views.

use async_graphql::{Context, Object};

use super::run::run;
use crate::domain::Result;
use crate::graphql::view::{
    CreateViewInput, DefaultViewPayload, DeleteViewInput, DeleteViewPayload, SetDefaultViewInput, UpdateViewInput,
    ViewPayload, VisitViewInput, view_id,
};

/// The mutations of saved views.
#[derive(Default)]
pub(super) struct ViewMutations;

#[Object]
impl ViewMutations {
    /// Saves a filter and an order as a view, for the caller only or shared with everybody. A user has at most 100
    /// views and a desk at most 500 shared views; a further view is `LIMIT`.
    async fn create_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: CreateViewInput,
    ) -> Result<Option<ViewPayload>> {
        run(ctx, input.call.clone(), async move |app, command| app.create_view(&command, input.read()?).await).await
    }

    /// Changes the name, filter, order or visibility of a view. Slug and link stay. Only the owner may change a private
    /// view, and only the owner and managers may change a shared view.
    async fn update_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpdateViewInput,
    ) -> Result<Option<ViewPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (id, patch) = input.read()?;
            app.update_view(&command, id, patch).await.map_err(|error| error.at("viewId"))
        })
        .await
    }

    /// Deletes a view. It stops being anybody's default view, and its slug is free. Only the owner may delete a private
    /// view, and only the owner and managers may delete a shared view.
    async fn delete_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: DeleteViewInput,
    ) -> Result<Option<DeleteViewPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = view_id("viewId", &input.view_id)?;
            app.delete_view(&command, id).await.map_err(|error| error.at("viewId"))
        })
        .await
    }

    /// Sets or clears the default view: the view that the caller starts with.
    async fn set_default_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: SetDefaultViewInput,
    ) -> Result<Option<DefaultViewPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            app.set_default_view(&command, input.read()?).await.map_err(|error| error.at("viewId"))
        })
        .await
    }

    /// Records that the caller has seen the view as it is now. Incidents that change from now on are unread.
    async fn visit_view(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: VisitViewInput,
    ) -> Result<Option<ViewPayload>> {
        run(ctx, input.call, async move |app, command| {
            let id = view_id("viewId", &input.view_id)?;
            app.visit_view(&command, id).await.map_err(|error| error.at("viewId"))
        })
        .await
    }
}
