//! Users, groups, owners and actors.

use async_graphql::{Enum, ID, InputObject, MaybeUndefined, Object, OneofObject, SimpleObject};

use super::at_once::AtHand;
use super::call::Call;
use super::connection::read_id;
use super::context::View;
use super::view::SavedView;
use crate::app::incident::OwnerChoice;
use crate::domain::account::{
    Actor as DomainActor, ActorImage, Group as DomainGroup, Owner as DomainOwner, OwnerId, Role, SuggestionReason,
    User as DomainUser,
};
use crate::domain::{Error, GroupId, Instant, Result, UserId};
use crate::storage::AssigneeSuggestion as Suggestion;

/// Whether an owner is a user or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum OwnerKind {
    /// A user.
    User,
    /// A group.
    Group,
}

/// The one user or group that owns an incident or alert, named as of the moment that the object shows.
#[derive(SimpleObject)]
pub struct Owner {
    /// The user's or group's global id.
    id: ID,
    /// Which of the two.
    kind: OwnerKind,
    /// Its account id.
    account: String,
    /// Its display name.
    name: String,
}

impl From<DomainOwner> for Owner {
    fn from(owner: DomainOwner) -> Self {
        let kind = match owner.id {
            OwnerId::User(_) => OwnerKind::User,
            OwnerId::Group(_) => OwnerKind::Group,
        };
        Self { id: owner.id.to_string().into(), kind, account: owner.account, name: owner.name }
    }
}

impl AtHand for Owner {
    type Fields = Self;

    fn at_hand(&self) -> &Self {
        self
    }
}

/// Whether somebody or the desk itself acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ActorKind {
    /// A user.
    User,
    /// The desk itself.
    System,
}

/// Who did something, named as then.
#[derive(SimpleObject)]
pub struct Actor {
    /// A user or the desk itself.
    kind: ActorKind,
    /// The user's global id.
    id: Option<ID>,
    /// The user's account id.
    account: Option<String>,
    /// The user's display name; `Watchfloor` for the desk itself.
    name: String,
}

impl From<ActorImage> for Actor {
    fn from(actor: ActorImage) -> Self {
        match actor {
            ActorImage::User { id, account, name } => {
                Self { kind: ActorKind::User, id: Some(id.to_string().into()), account: Some(account), name }
            }
            ActorImage::System => {
                Self { kind: ActorKind::System, id: None, account: None, name: "Watchfloor".to_owned() }
            }
        }
    }
}

/// A person or a service that can own incidents and act on them.
pub struct User(pub DomainUser);

/// A person or a service that can own incidents and act on them.
#[Object]
impl User {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// The account id: unique without case.
    async fn account(&self) -> &str {
        &self.0.account
    }

    /// The display name.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// A mail address, if known.
    async fn email(&self) -> Option<&str> {
        self.0.email.as_deref()
    }

    /// What it may do.
    async fn role(&self) -> Role {
        self.0.role
    }

    /// When it was made.
    async fn created_at(&self) -> Instant {
        self.0.created_at
    }
}

/// A group of users that can own incidents.
pub struct Group {
    /// Where its members are read.
    pub view: View,
    /// The group.
    pub group: DomainGroup,
}

/// A group of users that can own incidents.
#[Object]
impl Group {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        self.group.id.to_string().into()
    }

    /// The account id: unique without case among groups.
    async fn account(&self) -> &str {
        &self.group.account
    }

    /// The display name.
    async fn name(&self) -> &str {
        &self.group.name
    }

    /// Its members, by name.
    async fn members(&self) -> Result<Vec<User>> {
        let members = self.view.load(self.group.id).await?.unwrap_or_default();
        Ok(members.into_iter().map(User).collect())
    }

    /// When it was made.
    async fn created_at(&self) -> Instant {
        self.group.created_at
    }
}

/// The caller.
pub struct Caller(pub View);

/// The caller.
#[Object(name = "Viewer")]
impl Caller {
    /// The user that the request acts as.
    async fn user(&self) -> User {
        User(self.0.viewer().user.clone())
    }

    /// The groups it is a member of, by account.
    async fn groups(&self) -> Result<Vec<Group>> {
        let mut groups = self.0.reader().await?.groups(&self.0.viewer().groups).await?;
        groups.sort_by(|a, b| a.account.cmp(&b.account));
        Ok(groups.into_iter().map(|group| Group { view: self.0.clone(), group }).collect())
    }

    /// The saved view that it begins with; null where it has chosen none.
    async fn default_view(&self) -> Result<Option<SavedView>> {
        let saved = self.0.reader().await?.default_view(self.0.viewer().user.id).await?;
        Ok(saved.map(|saved| SavedView::new(self.0.clone(), saved)))
    }

    /// Whether it may triage: everything but delete, merge and administration.
    async fn can_triage(&self) -> bool {
        self.0.viewer().user.role >= Role::Responder
    }

    /// Whether it may reopen a resolved incident.
    async fn can_reopen(&self) -> bool {
        let viewer = self.0.viewer();
        viewer.user.role >= Role::Responder && self.0.app().policies.may_reopen(viewer)
    }

    /// Whether it may do all of the desk.
    async fn can_manage(&self) -> bool {
        self.0.viewer().user.role >= Role::Manager
    }
}

/// Somebody who may become the owner.
#[derive(SimpleObject)]
pub struct AssigneeSuggestion {
    /// Who.
    owner: Owner,
    /// Why: the caller first, then recent picks, then matches by name or account.
    reason: SuggestionReason,
}

impl From<Suggestion> for AssigneeSuggestion {
    fn from(suggestion: Suggestion) -> Self {
        Self { owner: suggestion.owner.into(), reason: suggestion.reason }
    }
}

/// An owner: exactly one of a user, a group, or the caller.
#[derive(Clone, Debug, OneofObject)]
pub enum OwnerInput {
    /// A user, by global id.
    User(ID),
    /// A group, by global id.
    Group(ID),
    /// The caller. The value must be true.
    Me(bool),
}

impl OwnerInput {
    /// The owner, as commands take it.
    pub fn read(&self) -> Result<OwnerChoice> {
        match self {
            Self::User(id) => {
                Ok(OwnerChoice::Id(OwnerId::User(read_id("owner.user", id, UserId::WORD, UserId::parse)?)))
            }
            Self::Group(id) => {
                Ok(OwnerChoice::Id(OwnerId::Group(read_id("owner.group", id, GroupId::WORD, GroupId::parse)?)))
            }
            Self::Me(true) => Ok(OwnerChoice::Me),
            Self::Me(false) => Err(Error::invalid("owner.me", "me is true, or another owner is named")),
        }
    }
}

/// An owner, the caller among them, by its id.
pub fn owner_id(owner: &OwnerInput, caller: &DomainActor) -> Result<OwnerId> {
    Ok(match owner.read()? {
        OwnerChoice::Me => OwnerId::User(caller.user.id),
        OwnerChoice::Id(id) => id,
    })
}

/// A user to make or change.
#[derive(Debug, InputObject)]
pub struct UpsertUserInput {
    /// The account id: the key, compared without case.
    pub account: String,
    /// The display name; the account for a new user where none is given.
    pub name: Option<String>,
    /// A mail address; null clears it.
    pub email: MaybeUndefined<String>,
    /// What it may do; a new user is a responder where none is given.
    pub role: Option<Role>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// A group to make or change.
#[derive(Debug, InputObject)]
pub struct UpsertGroupInput {
    /// The account id: the key, compared without case.
    pub account: String,
    /// The display name; the account for a new group where none is given.
    pub name: Option<String>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// Users to add to a group, or to take out of it.
#[derive(Debug, InputObject)]
pub struct GroupMembersInput {
    /// The group, by global id.
    pub group_id: ID,
    /// The users, by global id; at most 1,000.
    pub users: Vec<ID>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl GroupMembersInput {
    /// The group and the users.
    pub fn read(&self) -> Result<(GroupId, Vec<UserId>)> {
        let group = read_id("groupId", &self.group_id, GroupId::WORD, GroupId::parse)?;
        let users = self.users.iter().map(|id| read_id("users", id, UserId::WORD, UserId::parse));
        Ok((group, users.collect::<Result<_>>()?))
    }
}
