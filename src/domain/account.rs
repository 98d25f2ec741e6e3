//! Accounts: users, groups of users, owners of incidents and alerts, and the actors of changes.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::{Error, GroupId, Instant, Result, UserId, text};

/// The longest account id, name or address, in characters (mail addresses have at most 254).
pub const ACCOUNT_CHARS_MAX: usize = 256;

/// The account of the local manager: the caller if no identity is configured and the request names no other account.
pub const LOCAL_MANAGER_ACCOUNT: &str = "local-manager";

/// The role of a user. `RESPONDER` includes the rights of `READER`, and `MANAGER` includes the rights of `RESPONDER`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// May read the desk, and keep private saved views.
    Reader,
    /// May triage: everything but delete, merge and administration.
    Responder,
    /// May do everything on the desk.
    Manager,
}

/// A person or a service that can own incidents and act on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id of the user.
    pub id: UserId,
    /// The account id that people type; unique without case.
    pub account: String,
    /// The display name.
    pub name: String,
    /// A mail address, if known.
    pub email: Option<String>,
    /// The role of the user.
    pub role: Role,
    /// The time of creation.
    pub created_at: Instant,
}

/// A group of users that can own incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The id of the group.
    pub id: GroupId,
    /// The account id that people type; unique without case among groups.
    pub account: String,
    /// The display name.
    pub name: String,
    /// The time of creation.
    pub created_at: Instant,
}

/// Identifies the user or group that owns an incident or alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OwnerId {
    /// A user.
    User(UserId),
    /// A group.
    Group(GroupId),
}

impl std::fmt::Display for OwnerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Group(id) => id.fmt(f),
        }
    }
}

/// An owner with its names as of the moment it was read, so a change shows the names of its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user or group.
    pub id: OwnerId,
    /// The account id of the owner.
    pub account: String,
    /// The display name of the owner.
    pub name: String,
}

/// The reason why an owner is suggested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum)]
pub enum SuggestionReason {
    /// The owner is the caller.
    Me,
    /// The caller picked this owner before.
    RecentPick,
    /// The name or account contains the search text.
    Match,
}

/// The actor of a change, with its names as of that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ActorImage {
    /// A user.
    User {
        /// The id of the user.
        id: UserId,
        /// The account id of the user.
        account: String,
        /// The display name of the user.
        name: String,
    },
    /// The desk itself.
    System,
}

/// The caller: a user with its role and groups, as of the start of the request or stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user.
    pub user: User,
    /// The groups that the user is a member of, ascending.
    pub groups: Vec<GroupId>,
}

impl Actor {
    /// Returns the actor as changes store it.
    pub fn image(&self) -> ActorImage {
        ActorImage::User { id: self.user.id, account: self.user.account.clone(), name: self.user.name.clone() }
    }

    /// Returns whether the caller may see an incident. Queries and live items both ask this method.
    pub fn sees(&self, _row: &super::queue::QueueRow) -> bool {
        self.sees_incidents()
    }

    /// Returns whether the caller may see an incident, without building the incident's row.
    pub fn sees_incident(&self, _incident: &super::incident::Incident) -> bool {
        self.sees_incidents()
    }

    fn sees_incidents(&self) -> bool {
        self.user.role >= Role::Reader
    }

    /// Returns whether the caller may read what belongs to an incident. Only managers may read what
    /// belongs to a deleted incident.
    pub fn reads(&self, incident: &super::incident::Incident) -> bool {
        match incident.deleted_at {
            Some(_) => self.user.role >= Role::Manager,
            None => self.sees_incident(incident),
        }
    }

    /// Returns all properties of the caller that [`Actor::sees`] reads. Callers with equal sight see the same rows and
    /// may share bytes.
    pub fn sight(&self) -> Role {
        self.user.role
    }

    /// Refuses a caller whose role is below `least`.
    pub fn require(&self, least: Role, what: &str) -> Result<()> {
        if self.user.role < least {
            let word = match least {
                Role::Reader => "reader",
                Role::Responder => "responder",
                Role::Manager => "manager",
            };
            return Err(Error::forbidden(format!("only a {word} may {what}")));
        }
        Ok(())
    }
}

/// The input of `upsertUser`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDraft {
    /// The account id: the key of the upsert.
    pub account: String,
    /// The display name; `None` takes the account of a new user and keeps the name of a known user.
    pub name: Option<String>,
    /// A mail address; `Some(None)` clears it.
    pub email: Option<Option<String>>,
    /// The role; `None` makes a new user a responder and keeps the role of a known user.
    pub role: Option<Role>,
}

impl UserDraft {
    /// Reads a user: account and name have 1 to 256 visible characters, and are trimmed.
    pub fn parse(account: &str, name: Option<&str>, email: Option<Option<&str>>, role: Option<Role>) -> Result<Self> {
        let address = |email: &str| text::label("email", email, ACCOUNT_CHARS_MAX);
        Ok(Self {
            account: text::label("account", account, ACCOUNT_CHARS_MAX)?,
            name: name.map(|name| text::label("name", name, ACCOUNT_CHARS_MAX)).transpose()?,
            email: email.map(|email| email.map(address).transpose()).transpose()?,
            role,
        })
    }
}

impl User {
    /// Creates a user. Without a name the user is called like its account, and without a role it is a responder.
    pub fn new(id: UserId, draft: UserDraft, now: Instant) -> Self {
        Self {
            id,
            name: draft.name.unwrap_or_else(|| draft.account.clone()),
            account: draft.account,
            email: draft.email.flatten(),
            role: draft.role.unwrap_or(Role::Responder),
            created_at: now,
        }
    }

    /// Returns this user with the values of a draft for its account; absent fields stay.
    pub fn with(self, draft: UserDraft) -> Result<Self> {
        // A demotion would leave nobody to undo it while no identity is configured.
        if self.account == LOCAL_MANAGER_ACCOUNT && draft.role.is_some_and(|role| role != Role::Manager) {
            return Err(Error::invalid("role", "the local manager stays a manager"));
        }
        Ok(Self {
            name: draft.name.unwrap_or(self.name),
            email: draft.email.unwrap_or(self.email),
            role: draft.role.unwrap_or(self.role),
            ..self
        })
    }
}

/// The input of `upsertGroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDraft {
    /// The account id: the key of the upsert.
    pub account: String,
    /// The display name; `None` takes the account of a new group and keeps the name of a known group.
    pub name: Option<String>,
}

impl GroupDraft {
    /// Reads a group: account and name have 1 to 256 visible characters, and are trimmed.
    pub fn parse(account: &str, name: Option<&str>) -> Result<Self> {
        Ok(Self {
            account: text::label("account", account, ACCOUNT_CHARS_MAX)?,
            name: name.map(|name| text::label("name", name, ACCOUNT_CHARS_MAX)).transpose()?,
        })
    }
}

impl Group {
    /// Creates a group. Without a name the group is called like its account.
    pub fn new(id: GroupId, draft: GroupDraft, now: Instant) -> Self {
        let name = draft.name.unwrap_or_else(|| draft.account.clone());
        Self { id, name, account: draft.account, created_at: now }
    }

    /// Returns this group with the values of a draft for its account; absent fields stay.
    pub fn with(self, draft: GroupDraft) -> Self {
        Self { name: draft.name.unwrap_or(self.name), ..self }
    }
}
