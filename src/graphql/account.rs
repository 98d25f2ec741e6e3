//! Users, groups, owners and actors.

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{Enum, ID, InputObject, MaybeUndefined, Object, OneofObject, OutputType, SimpleObject};

use super::at_once::AtHand;
use super::call::Call;
use super::connection::{PageArgs, cut, read_id, wider};
use super::context::View;
use super::loaders::MembersAtEnd;
use super::view::SavedView;
use crate::app::incident::OwnerChoice;
use crate::domain::account::{
    Actor as DomainActor, ActorImage, Group as DomainGroup, Owner as DomainOwner, OwnerId, Role, SuggestionReason,
    User as DomainUser,
};
use crate::domain::path::each;
use crate::domain::{Error, GroupId, Instant, Result, UserId, text};
use crate::storage::{Span, SuggestedAssignee as Suggestion};

/// Whether an owner is a user or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum OwnerKind {
    /// A user.
    User,
    /// A group.
    Group,
}

/// The user or group that owns an incident or alert. In an `Incident` or `Alert` the name is the present name. In a
/// `QueueRow` or `IncidentAsOf` it is the name at the position of that object.
#[derive(SimpleObject)]
pub(super) struct Owner {
    /// The global id of the user or group.
    id: ID,
    /// Whether the owner is a user or a group.
    kind: OwnerKind,
    /// The account id of the user or group.
    account: String,
    /// The display name of the user or group.
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

/// Whether an actor is a user or the desk itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ActorKind {
    /// A user.
    User,
    /// The desk itself.
    System,
}

/// The actor of a change: a user or the desk itself, with the names at the time of the change.
#[derive(SimpleObject)]
pub(super) struct Actor {
    /// Whether the actor is a user or the desk itself.
    kind: ActorKind,
    /// The user's global id; null for the desk itself.
    id: Option<ID>,
    /// The user's account id; null for the desk itself.
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

/// A user: a person or a service that can own incidents and act on them.
pub(super) struct User(pub DomainUser);

/// A user: a person or a service that can own incidents and act on them.
#[Object]
impl User {
    /// The user's global id.
    pub(crate) async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// The account id. No two users have account ids that differ only in case.
    async fn account(&self) -> &str {
        &self.0.account
    }

    /// The display name of the user.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// The mail address, if it is known.
    async fn email(&self) -> Option<&str> {
        self.0.email.as_deref()
    }

    /// The role, which decides what the user may do.
    async fn role(&self) -> Role {
        self.0.role
    }

    /// When the user was created.
    async fn created_at(&self) -> Instant {
        self.0.created_at
    }
}

/// A group of users that can own incidents.
pub(super) struct Group {
    /// The view through which the members of the group are read.
    pub view: View,
    /// The group as it is stored.
    pub group: DomainGroup,
}

/// A group of users that can own incidents.
#[Object]
impl Group {
    /// The group's global id.
    pub(crate) async fn id(&self) -> ID {
        self.group.id.to_string().into()
    }

    /// The account id. No two groups have account ids that differ only in case.
    async fn account(&self) -> &str {
        &self.group.account
    }

    /// The display name of the group.
    async fn name(&self) -> &str {
        &self.group.name
    }

    /// The members of the group, ordered by account id.
    async fn members(
        &self,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<UserConnection> {
        let args = PageArgs { first, after, last, before };
        let span = args.span(self.view.page_items_max(), account_key)?;
        let members = match args.at_end(self.view.page_items_max())? {
            // The first pages of all groups of one list are read together.
            Some(end) => self.view.load(MembersAtEnd(self.group.id, wider(end))).await?.unwrap_or_default(),
            None => self.view.reader().await?.users_page(Some(self.group.id), &wider(span.clone())).await?,
        };
        Ok(account_page(members, &span, |user| (account_cursor(&user.account), User(user))))
    }

    /// When the group was created.
    async fn created_at(&self) -> Instant {
        self.group.created_at
    }
}

/// A page of users.
pub(super) type UserConnection = Connection<String, User, EmptyFields, EmptyFields>;

/// A page of groups.
pub(super) type GroupConnection = Connection<String, Group, EmptyFields, EmptyFields>;

/// The start of each cursor in a list of users or groups. The rest is the account id without case.
const ACCOUNT_CURSOR: &str = "account:";

fn account_cursor(account: &str) -> String {
    format!("{ACCOUNT_CURSOR}{}", text::caseless(account))
}

fn account_key(cursor: &str) -> Option<String> {
    // PostgreSQL refuses U+0000 in a text, and no account id has it.
    let key = cursor.strip_prefix(ACCOUNT_CURSOR).filter(|key| !key.contains('\0'))?;
    Some(key.to_owned())
}

/// Makes a page of accounts that were read with one item more than the page has.
fn account_page<T, N: OutputType>(
    mut accounts: Vec<T>,
    span: &Span<String>,
    item: impl Fn(T) -> (String, N),
) -> Connection<String, N, EmptyFields, EmptyFields> {
    let more = cut(&mut accounts, span.limit, span.from_end);
    let (before, after) = super::incident::ends(span, more);
    let mut page = Connection::new(before, after);
    page.edges.extend(accounts.into_iter().map(item).map(|(cursor, node)| Edge::new(cursor, node)));
    page
}

/// Reads a page of all users.
pub(super) async fn users(view: &View, args: &PageArgs) -> Result<UserConnection> {
    let span = args.span(view.page_items_max(), account_key)?;
    let users = view.reader().await?.users_page(None, &wider(span.clone())).await?;
    Ok(account_page(users, &span, |user| (account_cursor(&user.account), User(user))))
}

/// Reads a page of all groups.
pub(super) async fn groups(view: &View, args: &PageArgs) -> Result<GroupConnection> {
    let span = args.span(view.page_items_max(), account_key)?;
    let groups = view.reader().await?.groups_page(&wider(span.clone())).await?;
    Ok(account_page(groups, &span, |group| (account_cursor(&group.account), Group { view: view.clone(), group })))
}

/// The caller of the request, and what it may do.
pub(super) struct Caller(pub View);

/// The caller of the request, and what it may do.
#[Object(name = "Viewer")]
impl Caller {
    /// The user that the request acts as.
    async fn user(&self) -> User {
        User(self.0.viewer().user.clone())
    }

    /// The groups that the caller is a member of, ordered by account id.
    async fn groups(&self) -> Result<Vec<Group>> {
        let mut groups = self.0.reader().await?.groups(&self.0.viewer().groups).await?;
        groups.sort_by(|a, b| a.account.cmp(&b.account));
        Ok(groups.into_iter().map(|group| Group { view: self.0.clone(), group }).collect())
    }

    /// The saved view that the caller has chosen to start with; null if it has not chosen a view.
    async fn default_view(&self) -> Result<Option<SavedView>> {
        let saved = self.0.reader().await?.default_view(self.0.viewer().user.id).await?;
        Ok(saved.map(|saved| SavedView::new(self.0.clone(), saved)))
    }

    /// Whether the caller may triage: everything except delete, merge and administration.
    async fn can_triage(&self) -> bool {
        self.0.viewer().user.role >= Role::Responder
    }

    /// Whether the caller may reopen a resolved incident.
    async fn can_reopen(&self) -> bool {
        let viewer = self.0.viewer();
        viewer.user.role >= Role::Responder && self.0.app().policies.may_reopen(viewer)
    }

    /// Whether the caller is a manager and may do everything.
    async fn can_manage(&self) -> bool {
        self.0.viewer().user.role >= Role::Manager
    }
}

/// A user or group that is suggested as the owner of an incident.
#[derive(SimpleObject)]
pub(super) struct AssigneeSuggestion {
    /// The suggested user or group.
    owner: Owner,
    /// Why it is suggested. Suggestions are ordered by reason: the caller first, then recent picks, then matches.
    reason: SuggestionReason,
}

impl From<Suggestion> for AssigneeSuggestion {
    fn from(suggestion: Suggestion) -> Self {
        Self { owner: suggestion.owner.into(), reason: suggestion.reason }
    }
}

/// The owner to set: a user, a group or the caller. Give exactly one field.
#[derive(Clone, Debug, OneofObject)]
pub(super) enum OwnerInput {
    /// The global id of a user.
    User(ID),
    /// The global id of a group.
    Group(ID),
    /// The caller becomes the owner. The value must be true.
    Me(bool),
}

impl OwnerInput {
    /// Reads the owner for a command. The caller stays a choice that the command resolves.
    pub(super) fn read(&self) -> Result<OwnerChoice> {
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

/// Reads the id of an owner. `me` becomes the id of the caller.
pub(super) fn owner_id(owner: &OwnerInput, caller: &DomainActor) -> Result<OwnerId> {
    Ok(match owner.read()? {
        OwnerChoice::Me => OwnerId::User(caller.user.id),
        OwnerChoice::Id(id) => id,
    })
}

/// The input of `upsertUser`.
#[derive(Debug, InputObject)]
pub(super) struct UpsertUserInput {
    /// The account id: at most 256 characters, compared without case. It names the account to change; an unknown
    /// account id creates an account.
    pub account: String,
    /// The display name: at most 256 characters. Without it, a new user is named by the account id and a known user
    /// keeps its name.
    pub name: Option<String>,
    /// The mail address: at most 256 characters; null clears it.
    pub email: MaybeUndefined<String>,
    /// The role. Without it, a new user is a `RESPONDER` and a known user keeps its role.
    pub role: Option<Role>,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The input of `upsertGroup`.
#[derive(Debug, InputObject)]
pub(super) struct UpsertGroupInput {
    /// The account id: at most 256 characters, compared without case. It names the account to change; an unknown
    /// account id creates an account.
    pub account: String,
    /// The display name: at most 256 characters. Without it, a new group is named by the account id and a known group
    /// keeps its name.
    pub name: Option<String>,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The input of `addGroupMembers` and `removeGroupMembers`.
#[derive(Debug, InputObject)]
pub(super) struct GroupMembersInput {
    /// The global id of the group.
    pub group_id: ID,
    /// The global ids of the users; at most 1,000.
    pub users: Vec<ID>,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

impl GroupMembersInput {
    /// Reads the group and the users.
    pub(super) fn read(&self) -> Result<(GroupId, Vec<UserId>)> {
        let group = read_id("groupId", &self.group_id, GroupId::WORD, GroupId::parse)?;
        let users = each("users", &self.users, |path, id| read_id(path, id, UserId::WORD, UserId::parse))?;
        Ok((group, users))
    }
}
