//! Users, groups, owners and actors.

use async_graphql::{Enum, ID, Object, SimpleObject};

use super::context::View;
use super::view::SavedView;
use crate::domain::account::{
    ActorImage, Group as DomainGroup, Owner as DomainOwner, OwnerId, Role, SuggestionReason, User as DomainUser,
};
use crate::domain::{Instant, Result};
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
