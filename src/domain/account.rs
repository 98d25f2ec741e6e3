//! Accounts: users, groups of users, who owns what, and who acts.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::{Error, GroupId, Instant, Result, UserId, text};

/// The longest account id, name or address, in characters (mail addresses end at 254).
pub const ACCOUNT_CHARS_MAX: usize = 256;

/// The account of the local manager: the caller while no identity is configured and nobody else is named.
pub const LOCAL_MANAGER_ACCOUNT: &str = "local-manager";

/// What a user may do, each role including those before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// Sees the desk.
    Reader,
    /// Triages: everything but delete, merge and administration.
    Responder,
    /// All of the desk.
    Manager,
}

/// A person or a service that can own incidents and act on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The account id people type: unique without case.
    pub account: String,
    /// The display name.
    pub name: String,
    /// A mail address, if known.
    pub email: Option<String>,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Instant,
}

/// A group of users that can own incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// The account id people type: unique without case among groups.
    pub account: String,
    /// The display name.
    pub name: String,
    /// When it was made.
    pub created_at: Instant,
}

/// Points at the one user or group that owns an incident or alert.
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

/// The owner, named as at the moment it was read: so a change shows the name of its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Which user or group.
    pub id: OwnerId,
    /// Its account id.
    pub account: String,
    /// Its display name.
    pub name: String,
}

/// Why somebody is suggested as an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum)]
pub enum SuggestionReason {
    /// It is the caller.
    Me,
    /// The caller picked it before.
    RecentPick,
    /// Its name or account holds the search.
    Match,
}

/// Who made a change, named as at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ActorImage {
    /// A user.
    User {
        /// Its id.
        id: UserId,
        /// Its account id.
        account: String,
        /// Its display name.
        name: String,
    },
    /// The desk itself.
    System,
}

/// The caller: a user with its role and groups, as it was when the request or stream began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user.
    pub user: User,
    /// The groups it is a member of, ascending.
    pub groups: Vec<GroupId>,
}

impl Actor {
    /// The actor as a change keeps it.
    pub fn image(&self) -> ActorImage {
        ActorImage::User { id: self.user.id, account: self.user.account.clone(), name: self.user.name.clone() }
    }

    /// Whether the caller may see an incident: the one place that queries and live items ask.
    pub fn sees(&self, _row: &super::queue::QueueRow) -> bool {
        self.sees_incidents()
    }

    /// The same of an incident, without making its row.
    pub fn sees_incident(&self, _incident: &super::incident::Incident) -> bool {
        self.sees_incidents()
    }

    fn sees_incidents(&self) -> bool {
        self.user.role >= Role::Reader
    }

    /// Whether the caller may read what belongs to an incident: of a deleted one, only managers may (product §3, delete).
    pub fn reads(&self, incident: &super::incident::Incident) -> bool {
        match incident.deleted_at {
            Some(_) => self.user.role >= Role::Manager,
            None => self.sees_incident(incident),
        }
    }

    /// All of the caller that [`Actor::sees`] reads: callers of one sight see the same rows, and may share their bytes.
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

/// What `upsertUser` writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDraft {
    /// The account id: the key of the upsert.
    pub account: String,
    /// The display name; the account where none is given.
    pub name: Option<String>,
    /// A mail address; none clears it.
    pub email: Option<Option<String>>,
    /// What it may do; a new user is a responder where none is given.
    pub role: Option<Role>,
}

impl UserDraft {
    /// Reads a user: account and name of 1 to 256 characters, trimmed, each of which can be seen.
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
    /// A new user; a responder named after its account where nothing else is said.
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

    /// The same user as a draft of its account wants it; absent fields stay.
    pub fn with(self, draft: UserDraft) -> Result<Self> {
        // Demoted, it would leave nobody to undo that while no identity is configured.
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

/// What `upsertGroup` writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDraft {
    /// The account id: the key of the upsert.
    pub account: String,
    /// The display name; the account where none is given.
    pub name: Option<String>,
}

impl GroupDraft {
    /// Reads a group: account and name of 1 to 256 characters, trimmed, each of which can be seen.
    pub fn parse(account: &str, name: Option<&str>) -> Result<Self> {
        Ok(Self {
            account: text::label("account", account, ACCOUNT_CHARS_MAX)?,
            name: name.map(|name| text::label("name", name, ACCOUNT_CHARS_MAX)).transpose()?,
        })
    }
}

impl Group {
    /// A new group, named after its account where nothing else is said.
    pub fn new(id: GroupId, draft: GroupDraft, now: Instant) -> Self {
        let name = draft.name.unwrap_or_else(|| draft.account.clone());
        Self { id, name, account: draft.account, created_at: now }
    }

    /// The same group as a draft of its account wants it; absent fields stay.
    pub fn with(self, draft: GroupDraft) -> Self {
        Self { name: draft.name.unwrap_or(self.name), ..self }
    }
}
