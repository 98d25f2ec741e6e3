//! Users, groups and members: rows, lookups and writes.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{LockType, OnConflict, Order, Query, SimpleExpr};
use sea_orm::{ActiveEnum, Condition, DbBackend, QueryOrder, QueryResult, QuerySelect, Set};
use uuid::Uuid;

use super::incident::json;
use super::queue::Span;
use super::{IDS_PER_STATEMENT, Reader, Tx, places, statement};
use crate::domain::account::{Actor, Group, Owner, OwnerId, Role, User};
use crate::domain::{GroupId, Instant, Result, UserId, text};

pub(super) mod user {
    //! The row of a user.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "user")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) id: Uuid,
        pub(in crate::storage) account: String,
        pub(in crate::storage) account_key: String,
        pub(in crate::storage) name: String,
        pub(in crate::storage) name_key: String,
        pub(in crate::storage) email: Option<String>,
        pub(in crate::storage) role: crate::domain::account::Role,
        pub(in crate::storage) created_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod group {
    //! The row of a group.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "group")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) id: Uuid,
        pub(in crate::storage) account: String,
        pub(in crate::storage) account_key: String,
        pub(in crate::storage) name: String,
        pub(in crate::storage) name_key: String,
        pub(in crate::storage) created_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod member {
    //! The membership of a user in a group.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "group_member")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) group_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) user_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl From<user::Model> for User {
    fn from(row: user::Model) -> Self {
        Self {
            id: UserId(row.id),
            account: row.account,
            name: row.name,
            email: row.email,
            role: row.role,
            created_at: row.created_at,
        }
    }
}

impl From<group::Model> for Group {
    fn from(row: group::Model) -> Self {
        Self { id: GroupId(row.id), account: row.account, name: row.name, created_at: row.created_at }
    }
}

impl From<user::Model> for Owner {
    fn from(row: user::Model) -> Self {
        Self { id: OwnerId::User(UserId(row.id)), account: row.account, name: row.name }
    }
}

impl From<group::Model> for Owner {
    fn from(row: group::Model) -> Self {
        Self { id: OwnerId::Group(GroupId(row.id)), account: row.account, name: row.name }
    }
}

/// Returns an expression for the owner of a row, as text for [`owner_told`], so that rows and owners take one
/// statement.
pub(super) fn owner_of(table: &str, backend: DbBackend) -> SimpleExpr {
    Expr::cust(owner_in(table, backend))
}

/// Returns the expression of [`owner_of`] as SQL text.
pub(super) fn owner_in(table: &str, backend: DbBackend) -> String {
    let list = match backend {
        DbBackend::Postgres => "json_build_array(o.account, o.name)::text",
        // Concatenation makes it text, as on PostgreSQL, even inside other JSON.
        _ => "json_array(o.account, o.name) || ''",
    };
    let of = |accounts: &str, column: &str| {
        format!("(SELECT {list} FROM \"{accounts}\" o WHERE o.id = \"{table}\".\"{column}\")")
    };
    format!("COALESCE({}, {})", of("user", "owner_user_id"), of("group", "owner_group_id"))
}

/// Parses the text of [`owner_of`] for the owner with this id. Returns none if the row has no owner.
pub(super) fn owner_told(id: Option<OwnerId>, told: Option<&str>) -> Result<Option<Owner>> {
    let (Some(id), Some(told)) = (id, told) else { return Ok(None) };
    let (account, name) = json(told)?;
    Ok(Some(Owner { id, account, name }))
}

/// Restricts a list of accounts to a page of it.
fn paged<E: EntityTrait>(list: Select<E>, key: E::Column, span: &Span<String>) -> Select<E> {
    let order = if span.from_end { Order::Desc } else { Order::Asc };
    let after = span.after.as_ref().map(|after| key.gt(after.as_str()));
    let before = span.before.as_ref().map(|before| key.lt(before.as_str()));
    let within = after.into_iter().chain(before).fold(Condition::all(), Condition::add);
    list.filter(within).order_by(key, order).limit(span.limit)
}

impl Reader {
    /// Reads the users with these ids, in no order.
    pub async fn users(&self, ids: &[UserId]) -> Result<Vec<User>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = ids.iter().map(|id| id.0);
        let rows = user::Entity::find().filter(user::Column::Id.is_in(ids)).all(&self.apart()).await?;
        Ok(rows.into_iter().map(User::from).collect())
    }

    /// Reads the groups with these ids, in no order.
    pub async fn groups(&self, ids: &[GroupId]) -> Result<Vec<Group>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = ids.iter().map(|id| id.0);
        let rows = group::Entity::find().filter(group::Column::Id.is_in(ids)).all(&self.apart()).await?;
        Ok(rows.into_iter().map(Group::from).collect())
    }

    /// Reads the user with this account id, regardless of case.
    pub async fn user_by_account(&self, account: &str) -> Result<Option<User>> {
        let key = text::caseless(account);
        let row = user::Entity::find().filter(user::Column::AccountKey.eq(key)).one(self.conn()).await?;
        Ok(row.map(User::from))
    }

    /// Reads the group with this account id, regardless of case.
    pub async fn group_by_account(&self, account: &str) -> Result<Option<Group>> {
        let key = text::caseless(account);
        let row = group::Entity::find().filter(group::Column::AccountKey.eq(key)).one(self.conn()).await?;
        Ok(row.map(Group::from))
    }

    /// Reads a user's groups, and returns the user as the caller of a request.
    pub async fn actor(&self, user: User) -> Result<Actor> {
        let rows = member::Entity::find()
            .filter(member::Column::UserId.eq(user.id.0))
            .order_by_asc(member::Column::GroupId)
            .all(self.conn())
            .await?;
        Ok(Actor { user, groups: rows.into_iter().map(|row| GroupId(row.group_id)).collect() })
    }

    /// Reads the members at one end of each group, by account id: one statement for one group, otherwise two.
    pub async fn members_at_end(&self, groups: &[GroupId], span: Span<()>) -> Result<HashMap<GroupId, Vec<User>>> {
        if let [group] = groups {
            return Ok(HashMap::from([(*group, self.users_page(Some(*group), &span.of_other_keys()).await?)]));
        }
        let (places, way, limit) = (places(groups.len()), span.sql_direction(), span.limit);
        let sql = format!(
            "SELECT group_id, user_id FROM (SELECT m.group_id, m.user_id, ROW_NUMBER() OVER (PARTITION BY m.group_id
                ORDER BY u.account_key {way}) AS place
             FROM group_member m JOIN \"user\" u ON u.id = m.user_id WHERE m.group_id IN ({places})) AS ranked
             WHERE place <= {limit}"
        );
        let rows = self.conn().query_all_raw(statement(self, &sql, groups.iter().map(|id| id.0.into()))).await?;
        let read = |row: &QueryResult| Ok((GroupId(row.try_get_by_index(0)?), UserId(row.try_get_by_index(1)?)));
        let pairs = rows.iter().map(read).collect::<Result<Vec<_>, DbErr>>()?;
        let mut ids: Vec<UserId> = pairs.iter().map(|(_, user)| *user).collect();
        ids.sort();
        ids.dedup();
        let mut users: HashMap<UserId, User> = HashMap::new();
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            users.extend(self.users(ids).await?.into_iter().map(|user| (user.id, user)));
        }
        let mut members: HashMap<GroupId, Vec<User>> = HashMap::new();
        for (group, user) in pairs {
            members.entry(group).or_default().extend(users.get(&user).cloned());
        }
        members.values_mut().for_each(|users| users.sort_by_cached_key(|user| text::caseless(&user.account)));
        Ok(members)
    }

    /// Reads a page of the users, or of the members of a group. The key is the account id without case.
    pub async fn users_page(&self, of: Option<GroupId>, span: &Span<String>) -> Result<Vec<User>> {
        let mut users = user::Entity::find();
        if let Some(group) = of {
            let members = Query::select()
                .column(member::Column::UserId)
                .from(member::Entity)
                .and_where(member::Column::GroupId.eq(group.0))
                .take();
            users = users.filter(user::Column::Id.in_subquery(members));
        }
        let mut rows = paged(users, user::Column::AccountKey, span).all(self.conn()).await?;
        if span.from_end {
            rows.reverse();
        }
        Ok(rows.into_iter().map(User::from).collect())
    }

    /// Reads a page of the groups. The key is the account id without case.
    pub async fn groups_page(&self, span: &Span<String>) -> Result<Vec<Group>> {
        let mut rows = paged(group::Entity::find(), group::Column::AccountKey, span).all(self.conn()).await?;
        if span.from_end {
            rows.reverse();
        }
        Ok(rows.into_iter().map(Group::from).collect())
    }

    /// Reads these owners with their present names.
    pub async fn owners(&self, ids: impl IntoIterator<Item = OwnerId>) -> Result<HashMap<OwnerId, Owner>> {
        let (mut users, mut groups): (Vec<Uuid>, Vec<Uuid>) = (Vec::new(), Vec::new());
        for id in ids {
            match id {
                OwnerId::User(id) => users.push(id.0),
                OwnerId::Group(id) => groups.push(id.0),
            }
        }
        let mut owners = HashMap::new();
        if !users.is_empty() {
            users.sort();
            users.dedup();
            let rows = user::Entity::find().filter(user::Column::Id.is_in(users)).all(&self.apart()).await?;
            owners.extend(rows.into_iter().map(Owner::from).map(|owner| (owner.id, owner)));
        }
        if !groups.is_empty() {
            groups.sort();
            groups.dedup();
            let rows = group::Entity::find().filter(group::Column::Id.is_in(groups)).all(&self.apart()).await?;
            owners.extend(rows.into_iter().map(Owner::from).map(|owner| (owner.id, owner)));
        }
        Ok(owners)
    }

    /// Reads an owner with its present name, or none if the id is unknown.
    pub async fn owner(&self, id: OwnerId) -> Result<Option<Owner>> {
        if let Some(owner) = self.conn().ahead().owner(id) {
            return Ok(Some(owner));
        }
        Ok(self.owners([id]).await?.remove(&id))
    }
}

impl Tx {
    /// Locks and reads the user with this account id, regardless of case. Nobody else changes it until the commit.
    pub async fn lock_user(&self, account: &str) -> Result<Option<User>> {
        self.conn().ahead().forget();
        let of_key = user::Entity::find().filter(user::Column::AccountKey.eq(text::caseless(account)));
        Ok(of_key.lock(LockType::Update).one(self.conn()).await?.map(User::from))
    }

    /// Inserts a new user. Returns false if another user has taken the account meanwhile.
    pub async fn insert_user(&self, user: &User) -> Result<bool> {
        let row = user::ActiveModel {
            id: Set(user.id.0),
            account: Set(user.account.clone()),
            account_key: Set(text::caseless(&user.account)),
            name: Set(user.name.clone()),
            name_key: Set(text::fold(&user.name)),
            email: Set(user.email.clone()),
            role: Set(user.role),
            created_at: Set(user.created_at),
        };
        let keep = OnConflict::column(user::Column::AccountKey).do_nothing().to_owned();
        let written = user::Entity::insert(row).on_conflict(keep).exec_without_returning(self.conn()).await?;
        Ok(written == 1)
    }

    /// Writes a locked user.
    pub async fn update_user(&self, user: &User) -> Result<()> {
        user::Entity::update_many()
            .col_expr(user::Column::Name, Expr::value(user.name.clone()))
            .col_expr(user::Column::NameKey, Expr::value(text::fold(&user.name)))
            .col_expr(user::Column::Email, Expr::value(user.email.clone()))
            .col_expr(user::Column::Role, Expr::value(user.role.to_value()))
            .filter(user::Column::Id.eq(user.id.0))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Locks and reads the group with this account id, regardless of case. Nobody else changes it until the commit.
    pub async fn lock_group(&self, account: &str) -> Result<Option<Group>> {
        self.conn().ahead().forget();
        let of_key = group::Entity::find().filter(group::Column::AccountKey.eq(text::caseless(account)));
        Ok(of_key.lock(LockType::Update).one(self.conn()).await?.map(Group::from))
    }

    /// Inserts a new group. Returns false if another group has taken the account meanwhile.
    pub async fn insert_group(&self, group: &Group) -> Result<bool> {
        let row = group::ActiveModel {
            id: Set(group.id.0),
            account: Set(group.account.clone()),
            account_key: Set(text::caseless(&group.account)),
            name: Set(group.name.clone()),
            name_key: Set(text::fold(&group.name)),
            created_at: Set(group.created_at),
        };
        let keep = OnConflict::column(group::Column::AccountKey).do_nothing().to_owned();
        let written = group::Entity::insert(row).on_conflict(keep).exec_without_returning(self.conn()).await?;
        Ok(written == 1)
    }

    /// Writes a locked group.
    pub async fn update_group(&self, group: &Group) -> Result<()> {
        group::Entity::update_many()
            .col_expr(group::Column::Name, Expr::value(group.name.clone()))
            .col_expr(group::Column::NameKey, Expr::value(text::fold(&group.name)))
            .filter(group::Column::Id.eq(group.id.0))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Adds users to a group. Present members stay. Returns how many users were no members before.
    pub async fn add_members(&self, group: GroupId, users: &[UserId]) -> Result<u64> {
        if users.is_empty() {
            return Ok(0);
        }
        let rows = users.iter().map(|user| member::ActiveModel { group_id: Set(group.0), user_id: Set(user.0) });
        let keep = OnConflict::columns([member::Column::GroupId, member::Column::UserId]).do_nothing().to_owned();
        Ok(member::Entity::insert_many(rows).on_conflict(keep).exec_without_returning(self.conn()).await?)
    }

    /// Removes users from a group. Returns how many users were members before.
    pub async fn remove_members(&self, group: GroupId, users: &[UserId]) -> Result<u64> {
        let gone = member::Entity::delete_many()
            .filter(member::Column::GroupId.eq(group.0))
            .filter(member::Column::UserId.is_in(users.iter().map(|id| id.0)))
            .exec(self.conn())
            .await?;
        Ok(gone.rows_affected)
    }

    /// Creates a manager with this account, unless a user has it.
    pub async fn ensure_manager(&self, account: &str, name: &str, id: UserId, now: Instant) -> Result<()> {
        let user = User {
            id,
            account: account.to_owned(),
            name: name.to_owned(),
            email: None,
            role: Role::Manager,
            created_at: now,
        };
        self.insert_user(&user).await.map(drop)
    }
}
