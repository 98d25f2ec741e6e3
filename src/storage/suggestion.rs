//! Suggestions while a person types: assignees and tags.

use std::collections::{BTreeMap, HashSet};

use chrono::Duration;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, OnConflict};
use sea_orm::{QueryOrder, QuerySelect, Set};

use super::account::{group, user};
use super::filter::contains;
use super::{Reader, Tx, tag};
use crate::domain::account::{Owner, OwnerId, SuggestionReason};
use crate::domain::tag::{TagKind, key};
use crate::domain::{GroupId, Instant, Result, UserId, text};

mod pick {
    //! The owners that a user picked, each with the time of the last pick.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "assignee_pick")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) picked_by: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) owner_id: Uuid,
        pub(super) is_group: bool,
        pub(super) picked_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Tags used this recently come first (Microsoft, "Create your own incidents", step 4: the prior two weeks).
const RECENT_TAGS: Duration = Duration::days(14);

/// Rows per INSERT: four columns each, and SQLite takes 32,766 parameters.
const ROWS_PER_INSERT: usize = 1_000;

/// The most recent picks that are considered.
const RECENT_PICKS_MAX: u64 = 20;

/// A suggested owner.
#[derive(Clone, Debug, PartialEq)]
pub struct SuggestedAssignee {
    /// The suggested user or group.
    pub owner: Owner,
    /// The reason for the suggestion.
    pub reason: SuggestionReason,
}

/// A suggested tag.
#[derive(Clone, Debug, PartialEq)]
pub struct SuggestedTag {
    /// The name as first written.
    pub name: String,
    /// The time when it was last added to an incident, accurate to an hour.
    pub last_used_at: Instant,
}

impl Reader {
    /// Suggests owners: the caller first, then the caller's recent picks, then users and groups whose name or account
    /// contains the search. Each owner comes once, at most `limit`, and every suggestion contains the search.
    pub async fn assignee_suggestions(&self, me: UserId, search: &str, limit: u64) -> Result<Vec<SuggestedAssignee>> {
        let needle = text::fold(search.trim());
        let holds =
            |owner: &Owner| text::fold(&owner.name).contains(&needle) || text::fold(&owner.account).contains(&needle);
        let picks = pick::Entity::find()
            .filter(pick::Column::PickedBy.eq(me.0))
            .order_by_desc(pick::Column::PickedAt)
            .limit(RECENT_PICKS_MAX)
            .all(self.conn())
            .await?;
        let picked: Vec<OwnerId> =
            picks
                .iter()
                .map(|row| {
                    if row.is_group {
                        OwnerId::Group(GroupId(row.owner_id))
                    } else {
                        OwnerId::User(UserId(row.owner_id))
                    }
                })
                .collect();
        let known = self.owners(picked.iter().copied().chain([OwnerId::User(me)])).await?;
        let mut suggestions: Vec<SuggestedAssignee> = Vec::new();
        let first = [(OwnerId::User(me), SuggestionReason::Me)].into_iter();
        for (id, reason) in first.chain(picked.into_iter().map(|id| (id, SuggestionReason::RecentPick))) {
            if let Some(owner) = known.get(&id).filter(|owner| holds(owner)) {
                suggestions.push(SuggestedAssignee { owner: owner.clone(), reason });
            }
        }
        for owner in self.accounts_holding(search, limit).await? {
            suggestions.push(SuggestedAssignee { owner, reason: SuggestionReason::Match });
        }
        let mut seen = HashSet::new();
        suggestions.retain(|suggestion| seen.insert(suggestion.owner.id));
        suggestions.truncate(limit as usize);
        Ok(suggestions)
    }

    async fn accounts_holding(&self, search: &str, limit: u64) -> Result<Vec<Owner>> {
        let (name, account) = (&text::fold(search.trim()), &text::caseless(search));
        let users = user::Entity::find()
            .filter(
                contains(Expr::col((user::Entity, user::Column::NameKey)), name)
                    .or(contains(Expr::col((user::Entity, user::Column::AccountKey)), account)),
            )
            .order_by_asc(user::Column::NameKey)
            .limit(limit)
            .all(self.conn())
            .await?;
        let groups = group::Entity::find()
            .filter(
                contains(Expr::col((group::Entity, group::Column::NameKey)), name)
                    .or(contains(Expr::col((group::Entity, group::Column::AccountKey)), account)),
            )
            .order_by_asc(group::Column::NameKey)
            .limit(limit)
            .all(self.conn())
            .await?;
        let mut owners: Vec<Owner> =
            users.into_iter().map(Owner::from).chain(groups.into_iter().map(Owner::from)).collect();
        owners.sort_by_cached_key(|owner| (text::fold(&owner.name), owner.id));
        Ok(owners)
    }

    /// Suggests custom tags that contain the search: tags used in the last 14 days first, then older tags, each part by
    /// name.
    pub async fn tag_suggestions(&self, search: &str, now: Instant, limit: u64) -> Result<Vec<SuggestedTag>> {
        use tag::name::{Column, Entity};
        let since = now - RECENT_TAGS;
        let holding = Entity::find()
            .filter(Column::Kind.eq(TagKind::Custom))
            .filter(contains(Expr::col((Entity, Column::Key)), &key(search)));
        let mut rows = holding
            .clone()
            .filter(Column::LastUsedAt.gte(since))
            .order_by_asc(Column::Key)
            .limit(limit)
            .all(self.conn())
            .await?;
        if (rows.len() as u64) < limit {
            let rest = limit - rows.len() as u64;
            let older = holding.filter(Column::LastUsedAt.lt(since)).order_by_asc(Column::Key).limit(rest);
            rows.extend(older.all(self.conn()).await?);
        }
        Ok(rows.into_iter().map(|row| SuggestedTag { name: row.name, last_used_at: row.last_used_at }).collect())
    }

    /// Whether a custom tag of this name exists.
    pub async fn custom_tag_exists(&self, name: &str) -> Result<bool> {
        let row = tag::name::Entity::find_by_id((TagKind::Custom, key(name))).one(self.conn()).await?;
        Ok(row.is_some())
    }
}

impl Tx {
    /// Records that a user picked an owner, so that the owner is suggested early next time. The row is written at the
    /// end of the transaction.
    pub async fn note_pick(&self, by: UserId, owner: OwnerId, now: Instant) {
        self.pending.lock().await.picks.push(((by, owner), now));
    }

    /// Writes picks, in ascending order of user and owner.
    pub(super) async fn write_picks(&self, picks: BTreeMap<(UserId, OwnerId), Instant>) -> Result<()> {
        let rows = picks.into_iter().map(|((by, owner), at)| {
            let (owner_id, is_group) = match owner {
                OwnerId::User(id) => (id.0, false),
                OwnerId::Group(id) => (id.0, true),
            };
            pick::ActiveModel {
                picked_by: Set(by.0),
                owner_id: Set(owner_id),
                is_group: Set(is_group),
                picked_at: Set(at),
            }
        });
        let rows: Vec<_> = rows.collect();
        for rows in rows.chunks(ROWS_PER_INSERT) {
            let again = OnConflict::columns([pick::Column::PickedBy, pick::Column::OwnerId])
                .update_column(pick::Column::PickedAt)
                .to_owned();
            pick::Entity::insert_many(rows.to_vec()).on_conflict(again).exec_without_returning(self.conn()).await?;
        }
        Ok(())
    }
}
