//! Users and groups: applies their records, and finds or creates the accounts that other records name.

use std::collections::HashMap;
use std::hash::Hash;

use super::apply::Applier;
use super::record::{GroupName, GroupRecord, Party, Person, UserRecord};
use crate::app::account::MEMBERS_PER_CALL_MAX;
use crate::domain::account::{Actor, GroupDraft, OwnerId, Role, UserDraft};
use crate::domain::text::visible;
use crate::domain::{Instant, Result};

/// The most people and groups in the cache, so that a large import need not look up each of them again.
const REMEMBERED_MAX: usize = 10_000;

impl Applier<'_> {
    pub(super) async fn user(&mut self, user: &UserRecord) -> Result<()> {
        let command = self.system(self.time(user.at));
        let (name, email) = (user.name.as_deref().map(visible), user.email.as_deref().map(visible));
        let account = visible(&user.account);
        let draft = UserDraft::parse(&account, name.as_deref(), email.as_deref().map(Some), user.role)?;
        self.actors.remove(&key(&draft.account));
        self.app.upsert_user(&command, draft).await?;
        self.counts.users += 1;
        Ok(())
    }

    pub(super) async fn group(&mut self, group: &GroupRecord) -> Result<()> {
        let at = self.time(group.at);
        let command = self.system(at);
        let name = group.name.as_deref().map(visible);
        let draft = GroupDraft::parse(&visible(&group.account), name.as_deref())?;
        let mut members = Vec::with_capacity(group.members.len());
        for member in &group.members {
            members.push(self.actor(member, at).await?.user.id);
        }
        let made = self.app.upsert_group(&command, draft).await?;
        for some in members.chunks(MEMBERS_PER_CALL_MAX) {
            self.app.add_members(&command, made.value.id, some.to_vec()).await?;
        }
        self.actors.clear();
        self.counts.groups += 1;
        Ok(())
    }

    pub(super) async fn owner(&mut self, party: &Party, at: Instant) -> Result<OwnerId> {
        match party {
            Party::User(person) => Ok(OwnerId::User(self.actor(person, at).await?.user.id)),
            Party::Group(GroupName { group, name }) => {
                if let Some(known) = self.owners.get(&key(group)) {
                    return Ok(*known);
                }
                self.only_alone()?;
                let (group, name) = (&visible(group), name.as_deref().map(visible));
                let id = match self.app.find_group(group).await? {
                    Some(group) => group.id,
                    None => {
                        let draft = GroupDraft::parse(group, name.as_deref())?;
                        self.counts.groups += 1;
                        self.app.upsert_group(&self.system(at), draft).await?.value.id
                    }
                };
                remember(&mut self.owners, key(group), OwnerId::Group(id));
                Ok(OwnerId::Group(id))
            }
        }
    }

    /// Returns the person as a caller, and creates the account at first. An import records past actions, so it does not
    /// check what the person may do on this desk today.
    pub(super) async fn actor(&mut self, person: &Person, at: Instant) -> Result<Actor> {
        if let Some(known) = self.actors.get(&key(&person.account)) {
            return Ok(known.clone());
        }
        self.only_alone()?;
        let account = visible(&person.account);
        let user = match self.app.find_user(&account).await? {
            Some(user) => user,
            None => {
                let (name, email) = (person.name.as_deref().map(visible), person.email.as_deref().map(visible));
                let draft = UserDraft::parse(&account, name.as_deref(), email.as_deref().map(Some), None)?;
                self.counts.users += 1;
                self.app.upsert_user(&self.system(at), draft).await?.value
            }
        };
        let mut actor = self.app.actor(user.id).await?;
        actor.user.role = Role::Manager;
        remember(&mut self.actors, key(&person.account), actor.clone());
        Ok(actor)
    }
}

pub(super) fn key(account: &str) -> String {
    account.trim().to_lowercase()
}

fn remember<K: Eq + Hash, T>(map: &mut HashMap<K, T>, key: K, value: T) {
    if map.len() >= REMEMBERED_MAX {
        map.clear();
    }
    map.insert(key, value);
}
