//! The mutations of users and groups.

use async_graphql::{Context, Object};

use super::run::run;
use crate::domain::Result;
use crate::domain::account::{GroupDraft, UserDraft};
use crate::graphql::account::{GroupMembersInput, UpsertGroupInput, UpsertUserInput};
use crate::graphql::payload::{GroupPayload, UserPayload};

/// The mutations of users and groups.
#[derive(Default)]
pub(super) struct AccountMutations;

#[Object]
impl AccountMutations {
    /// Creates a user, or changes the user with the same account id. Only managers may do this.
    async fn upsert_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpsertUserInput,
    ) -> Result<Option<UserPayload>> {
        let UpsertUserInput { account, name, email, role, call } = input;
        run(ctx, call, async move |app, command| {
            let draft = UserDraft::parse(&account, name.as_deref(), email.as_opt_deref(), role)?;
            app.upsert_user(&command, draft).await
        })
        .await
    }

    /// Creates a group, or changes the group with the same account id. Only managers may do this.
    async fn upsert_group(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpsertGroupInput,
    ) -> Result<Option<GroupPayload>> {
        run(ctx, input.call, async move |app, command| {
            let draft = GroupDraft::parse(&input.account, input.name.as_deref())?;
            app.upsert_group(&command, draft).await
        })
        .await
    }

    /// Adds users to a group. Users who are already members stay members. Only managers may do this.
    async fn add_group_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: GroupMembersInput,
    ) -> Result<Option<GroupPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (group, users) = input.read()?;
            app.add_members(&command, group, users).await
        })
        .await
    }

    /// Removes users from a group. Only managers may do this.
    async fn remove_group_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: GroupMembersInput,
    ) -> Result<Option<GroupPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let (group, users) = input.read()?;
            app.remove_members(&command, group, users).await
        })
        .await
    }
}
