//! Commands on users and groups, and the identity of callers.

use super::idempotency::{Did, Repeatable};
use super::{App, Command};
use crate::domain::account::{Actor, Group, GroupDraft, LOCAL_MANAGER_ACCOUNT, Role, User, UserDraft};
use crate::domain::{Error, GroupId, Result, UserId};
use crate::storage::Reader;

/// The most users that one call adds to a group or removes from it.
pub const MEMBERS_PER_CALL_MAX: usize = 1_000;

impl Repeatable for User {
    type Receipt = UserId;

    fn receipt(&self) -> UserId {
        self.id
    }

    async fn again(reader: &Reader, id: UserId) -> Result<Self> {
        reader.users(&[id]).await?.pop().ok_or_else(|| Error::not_found("user", id))
    }
}

impl Repeatable for Group {
    type Receipt = GroupId;

    fn receipt(&self) -> GroupId {
        self.id
    }

    async fn again(reader: &Reader, id: GroupId) -> Result<Self> {
        reader.groups(&[id]).await?.pop().ok_or_else(|| Error::not_found("group", id))
    }
}

impl App {
    /// Creates a user, or changes the user with the same account. Absent fields stay.
    pub async fn upsert_user(&self, command: &Command, draft: UserDraft) -> Result<Did<User>> {
        command.require(Role::Manager, "manage users")?;
        let id = UserId(self.clock.fresh_id());
        let did = self
            .once(command, |tx| {
                let draft = draft.clone();
                Box::pin(async move {
                    if let Some(known) = tx.lock_user(&draft.account).await? {
                        let user = known.with(draft)?;
                        tx.update_user(&user).await?;
                        tx.note_accounts().await;
                        return Ok(user);
                    }
                    let user = User::new(id, draft, command.at);
                    // Another command took the account since the read. The command runs again, and finds it.
                    if tx.insert_user(&user).await? { Ok(user) } else { Err(Error::Busy) }
                })
            })
            .await?;
        Ok(self.accounted(did))
    }

    /// Creates a group, or changes the group with the same account. Absent fields stay.
    pub async fn upsert_group(&self, command: &Command, draft: GroupDraft) -> Result<Did<Group>> {
        command.require(Role::Manager, "manage groups")?;
        let id = GroupId(self.clock.fresh_id());
        let did = self
            .once(command, |tx| {
                let draft = draft.clone();
                Box::pin(async move {
                    if let Some(known) = tx.lock_group(&draft.account).await? {
                        let group = known.with(draft);
                        tx.update_group(&group).await?;
                        tx.note_accounts().await;
                        return Ok(group);
                    }
                    let group = Group::new(id, draft, command.at);
                    if tx.insert_group(&group).await? { Ok(group) } else { Err(Error::Busy) }
                })
            })
            .await?;
        Ok(self.accounted(did))
    }

    /// Adds users to a group. Users who are members already stay.
    pub async fn add_members(&self, command: &Command, group: GroupId, users: Vec<UserId>) -> Result<Did<Group>> {
        self.change_members(command, group, users, true).await
    }

    /// Removes users from a group.
    pub async fn remove_members(&self, command: &Command, group: GroupId, users: Vec<UserId>) -> Result<Did<Group>> {
        self.change_members(command, group, users, false).await
    }

    async fn change_members(
        &self,
        command: &Command,
        id: GroupId,
        users: Vec<UserId>,
        add: bool,
    ) -> Result<Did<Group>> {
        command.require(Role::Manager, "manage groups")?;
        if users.len() > MEMBERS_PER_CALL_MAX {
            let message = format!("at most {MEMBERS_PER_CALL_MAX} users at once");
            return Err(Error::limit("users", message, MEMBERS_PER_CALL_MAX));
        }
        let did = self
            .once(command, |tx| {
                let users = users.clone();
                Box::pin(async move {
                    let group =
                        tx.groups(&[id]).await?.pop().ok_or_else(|| Error::not_found("group", id).at("groupId"))?;
                    let known: Vec<UserId> = tx.users(&users).await?.iter().map(|user| user.id).collect();
                    if let Some(index) = users.iter().position(|user| !known.contains(user)) {
                        return Err(Error::not_found("user", users[index]).at(&format!("users.{index}")));
                    }
                    if add {
                        tx.add_members(id, &users).await?;
                    } else {
                        tx.remove_members(id, &users).await?;
                    }
                    tx.note_accounts().await;
                    Ok(group)
                })
            })
            .await?;
        Ok(self.accounted(did))
    }

    /// Wakes the followers of account changes.
    fn accounted<T>(&self, did: Did<T>) -> Did<T> {
        self.hub.committed_accounts(did.head.accounts);
        did
    }

    /// Finds the user with an account, compared without case.
    pub async fn find_user(&self, account: &str) -> Result<Option<User>> {
        self.store.read().await?.user_by_account(account).await
    }

    /// Finds the group with an account, compared without case.
    pub async fn find_group(&self, account: &str) -> Result<Option<Group>> {
        self.store.read().await?.group_by_account(account).await
    }

    /// Returns a user as a caller, with its present groups.
    pub async fn actor(&self, user: UserId) -> Result<Actor> {
        let reader = self.store.read().await?;
        let user = reader.users(&[user]).await?.pop().ok_or_else(|| Error::not_found("user", user))?;
        reader.actor(user).await
    }

    /// Returns the caller if no identity is configured: the account that the request names, or else the local manager.
    pub async fn local_caller(&self, account: Option<&str>) -> Result<Actor> {
        let reader = self.store.read().await?;
        let name = account.map_or(LOCAL_MANAGER_ACCOUNT, str::trim);
        let user = reader.user_by_account(name).await?.ok_or_else(|| {
            Error::unauthenticated(format!("there is no account {name:?}: a manager makes it with upsertUser"))
        })?;
        reader.actor(user).await
    }

    /// Creates the local manager if the desk does not have it yet.
    pub async fn ensure_local_manager(&self) -> Result<()> {
        if self.find_user(LOCAL_MANAGER_ACCOUNT).await?.is_some() {
            return Ok(());
        }
        let (id, now) = (UserId(self.clock.fresh_id()), self.clock.now());
        self.store
            .transact(|tx| {
                Box::pin(async move { tx.ensure_manager(LOCAL_MANAGER_ACCOUNT, "Local manager", id, now).await })
            })
            .await?;
        Ok(())
    }
}
