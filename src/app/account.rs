//! Commands on users and groups, and the identity of callers.

use std::sync::Arc;

use super::idempotency::{ById, Did, Done, Repeatable};
use super::{App, Command};
use crate::domain::account::{Actor, Group, GroupDraft, LOCAL_MANAGER_ACCOUNT, Role, User, UserDraft};
use crate::domain::{Error, GroupId, Result, UserId};
use crate::storage::{Reader, Tx};

/// The most users that one call adds to a group or removes from it.
pub const MEMBERS_PER_CALL_MAX: usize = 1_000;

impl Repeatable for User {
    type Receipt = ById<UserId>;

    fn receipt(&self) -> ById<UserId> {
        ById { id: self.id }
    }

    async fn again(reader: &Reader, ById { id }: ById<UserId>) -> Result<Self> {
        reader.users(&[id]).await?.pop().ok_or_else(|| Error::not_found("user", id))
    }
}

impl Repeatable for Group {
    type Receipt = ById<GroupId>;

    fn receipt(&self) -> ById<GroupId> {
        ById { id: self.id }
    }

    async fn again(reader: &Reader, ById { id }: ById<GroupId>) -> Result<Self> {
        reader.groups(&[id]).await?.pop().ok_or_else(|| Error::not_found("group", id))
    }
}

/// A change of the members of a group.
#[derive(Clone, Copy, Debug)]
enum Membership {
    Add,
    Remove,
}

impl App {
    /// Creates a user, or changes the user with the same account. Absent fields stay.
    pub async fn upsert_user(&self, command: &Command, draft: UserDraft) -> Result<Did<User>> {
        command.require(Role::Manager, "manage users")?;
        let id = UserId(self.clock.fresh_id());
        let did = self.once(command, async |tx| {
            let Some(known) = tx.lock_user(&draft.account).await? else {
                let user = User::new(id, draft.clone(), command.at);
                // Another command took the account since the read. The command runs again, and finds it.
                return if tx.insert_user(&user).await? { Ok(Done::changed(user)) } else { Err(Error::Busy) };
            };
            let user = known.clone().with(draft.clone())?;
            if user == known {
                return Ok(Done::unchanged(user));
            }
            tx.update_user(&user).await?;
            tx.note_accounts().await;
            Ok(Done::changed(user))
        });
        Ok(self.accounted(did.await?))
    }

    /// Creates a group, or changes the group with the same account. Absent fields stay.
    pub async fn upsert_group(&self, command: &Command, draft: GroupDraft) -> Result<Did<Group>> {
        command.require(Role::Manager, "manage groups")?;
        let id = GroupId(self.clock.fresh_id());
        let did = self.once(command, async |tx| {
            let Some(known) = tx.lock_group(&draft.account).await? else {
                let group = Group::new(id, draft.clone(), command.at);
                return if tx.insert_group(&group).await? { Ok(Done::changed(group)) } else { Err(Error::Busy) };
            };
            let group = known.clone().with(draft.clone());
            if group == known {
                return Ok(Done::unchanged(group));
            }
            tx.update_group(&group).await?;
            tx.note_accounts().await;
            Ok(Done::changed(group))
        });
        Ok(self.accounted(did.await?))
    }

    /// Adds users to a group. Users who are members already stay.
    pub async fn add_members(&self, command: &Command, group: GroupId, users: Vec<UserId>) -> Result<Did<Group>> {
        self.change_members(command, group, users, Membership::Add).await
    }

    /// Removes users from a group.
    pub async fn remove_members(&self, command: &Command, group: GroupId, users: Vec<UserId>) -> Result<Did<Group>> {
        self.change_members(command, group, users, Membership::Remove).await
    }

    async fn change_members(
        &self,
        command: &Command,
        id: GroupId,
        users: Vec<UserId>,
        membership: Membership,
    ) -> Result<Did<Group>> {
        command.require(Role::Manager, "manage groups")?;
        if users.len() > MEMBERS_PER_CALL_MAX {
            let message = format!("at most {MEMBERS_PER_CALL_MAX} users at once");
            return Err(Error::limit("users", message, MEMBERS_PER_CALL_MAX));
        }
        let did = self.once(command, async |tx| {
            let group = tx.groups(&[id]).await?.pop().ok_or_else(|| Error::not_found("group", id).at("groupId"))?;
            let known: Vec<UserId> = tx.users(&users).await?.iter().map(|user| user.id).collect();
            if let Some(index) = users.iter().position(|user| !known.contains(user)) {
                return Err(Error::not_found("user", users[index]).at(&format!("users.{index}")));
            }
            let changed = match membership {
                Membership::Add => tx.add_members(id, &users).await?,
                Membership::Remove => tx.remove_members(id, &users).await?,
            };
            if changed == 0 {
                return Ok(Done::unchanged(group));
            }
            tx.note_accounts().await;
            Ok(Done::changed(group))
        });
        Ok(self.accounted(did.await?))
    }

    /// Wakes the followers of account changes. Returns the answer of the command.
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
        let work = async |tx: Arc<Tx>| tx.ensure_manager(LOCAL_MANAGER_ACCOUNT, "Local manager", id, now).await;
        self.store.transact(work).await?;
        Ok(())
    }
}
