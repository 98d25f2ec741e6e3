//! Facets of a queue: its incidents counted by status, severity, owner, tag and product.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Alias, ExprTrait, NullOrdering, Order, Query, SimpleExpr};
use sea_orm::{Condition, QueryOrder, QuerySelect};

use super::incident::owner_id;
use super::incident::row::{Column, Entity};
use super::way::WantedRows;
use super::{IDS_PER_STATEMENT, Reader, alert, tag};
use crate::domain::Result;
use crate::domain::account::{Owner, OwnerId};
use crate::domain::filter::{IncidentFilter, QueueFilter};
use crate::domain::incident::{Severity, Status};
use crate::domain::tag::{Tag, TagKind};

/// The most tags that a facet lists.
pub const FACET_TAGS_MAX: u64 = 100;

/// The most owners and products that a facet lists. A person cannot choose from more.
pub const FACET_VALUES_MAX: u64 = 1_000;

/// A value and the number of incidents of a queue that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Facet<T> {
    /// The value.
    pub value: T,
    /// The number of incidents.
    pub count: u64,
}

impl<T> Facet<T> {
    /// Returns the value and the number.
    pub fn into_pair(self) -> (T, u64) {
        (self.value, self.count)
    }
}

impl Reader {
    /// Counts the incidents of a queue by status.
    pub async fn facet_status(&self, queue: &QueueFilter) -> Result<Vec<Facet<Status>>> {
        // The index that holds every column of the facets has the order of this column.
        let status = Expr::col((Entity, Alias::new("status_order")));
        self.facet_column(status, self.met_without(queue, |f| f.status = None).await?).await
    }

    /// Counts the incidents of a queue by severity, the highest severity first.
    pub async fn facet_severity(&self, queue: &QueueFilter) -> Result<Vec<Facet<Severity>>> {
        let severity = Expr::col((Entity, Column::Severity));
        let mut facets: Vec<Facet<Severity>> =
            self.facet_column(severity, self.met_without(queue, |f| f.severity = None).await?).await?;
        facets.reverse();
        Ok(facets)
    }

    /// Returns the condition of a queue without the part that `drop` removes from the top level of the filter.
    async fn met_without(&self, queue: &QueueFilter, drop: impl FnOnce(&mut IncidentFilter)) -> Result<Condition> {
        let mut rest = queue.filter().clone();
        drop(&mut rest);
        self.met(&rest, WantedRows::All).await
    }

    async fn facet_column<T>(&self, column: SimpleExpr, condition: Condition) -> Result<Vec<Facet<T>>>
    where
        T: sea_orm::TryGetable + Send,
        (T, i64): sea_orm::TryGetableMany,
    {
        let rows: Vec<(T, i64)> = Entity::find()
            .select_only()
            .expr_as(column.clone(), "value")
            .column_as(Column::Id.count(), "count")
            .filter(condition)
            .group_by(column.clone())
            .order_by(column, Order::Asc)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|(value, count)| Facet { value, count: count as u64 }).collect())
    }

    /// Counts the incidents of a queue by owner, the largest count first.
    pub async fn facet_owner(&self, queue: &QueueFilter) -> Result<Vec<Facet<Option<Owner>>>> {
        let rows: Vec<(Option<Uuid>, Option<Uuid>, i64)> = Entity::find()
            .select_only()
            .columns([Column::OwnerUserId, Column::OwnerGroupId])
            .column_as(Column::Id.count(), "count")
            .filter(self.met_without(queue, |f| f.owner = None).await?)
            .group_by(Column::OwnerUserId)
            .group_by(Column::OwnerGroupId)
            .order_by_desc(Expr::cust("COUNT(*)"))
            .order_by_with_nulls(Column::OwnerUserId, Order::Asc, NullOrdering::First)
            .order_by_with_nulls(Column::OwnerGroupId, Order::Asc, NullOrdering::First)
            .limit(FACET_VALUES_MAX)
            .into_tuple()
            .all(self.conn())
            .await?;
        let ids: Vec<Option<OwnerId>> = rows.iter().map(|(user, group, _)| owner_id(*user, *group)).collect();
        let owners = self.owners(ids.iter().flatten().copied()).await?;
        Ok(ids
            .into_iter()
            .zip(rows)
            .map(|(id, (_, _, count))| Facet { value: id.and_then(|id| owners.get(&id).cloned()), count: count as u64 })
            .collect())
    }

    /// Counts the incidents of a queue by tag, the largest count first.
    pub async fn facet_tags(&self, queue: &QueueFilter) -> Result<Vec<Facet<Tag>>> {
        let met = self.met_without(queue, |f| f.tags = None).await?;
        self.by_tag(met, FACET_TAGS_MAX).await
    }

    /// Counts the incidents that meet a condition by tag, the largest count first, at most `limit` tags.
    pub(super) async fn by_tag(&self, condition: Condition, limit: u64) -> Result<Vec<Facet<Tag>>> {
        let members = members(condition);
        let rows: Vec<(TagKind, String, i64)> = tag::held::Entity::find()
            .select_only()
            .columns([tag::held::Column::Kind, tag::held::Column::Key])
            .column_as(tag::held::Column::IncidentId.count(), "count")
            .filter(tag::held::Column::IncidentId.in_subquery(members))
            .group_by(tag::held::Column::Kind)
            .group_by(tag::held::Column::Key)
            .order_by_desc(Expr::cust("COUNT(*)"))
            .order_by_asc(tag::held::Column::Key)
            .order_by_asc(tag::held::Column::Kind)
            .limit(limit)
            .into_tuple()
            .all(self.conn())
            .await?;
        let mut names: HashMap<(TagKind, String), String> = HashMap::new();
        for rows in rows.chunks(IDS_PER_STATEMENT) {
            let named = tag::name::Entity::find()
                .filter(tag::name::Column::Key.is_in(rows.iter().map(|(_, key, _)| key.clone())))
                .all(self.conn())
                .await?;
            names.extend(named.into_iter().map(|row| ((row.kind, row.key), row.name)));
        }
        Ok(rows
            .into_iter()
            .map(|(kind, key, count)| {
                let name = names.get(&(kind, key.clone())).cloned().unwrap_or(key);
                Facet { value: Tag { kind, name }, count: count as u64 }
            })
            .collect())
    }

    /// Counts the incidents of a queue by product, the largest count first.
    pub async fn facet_product(&self, queue: &QueueFilter) -> Result<Vec<Facet<String>>> {
        let met = self.met_without(queue, |f| f.product = None).await?;
        self.by_product(met, FACET_VALUES_MAX).await
    }

    /// Counts the incidents that meet a condition by product, the largest count first, at most `limit` products.
    pub(super) async fn by_product(&self, condition: Condition, limit: u64) -> Result<Vec<Facet<String>>> {
        let members = members(condition);
        let incidents = Expr::col((alert::row::Entity, alert::row::Column::IncidentId)).count_distinct();
        let rows: Vec<(String, i64)> = alert::row::Entity::find()
            .select_only()
            .column(alert::row::Column::Product)
            .expr_as(incidents, "count")
            .filter(alert::row::Column::Product.is_not_null())
            .filter(alert::row::Column::IncidentId.in_subquery(members))
            .group_by(alert::row::Column::Product)
            .order_by_desc(Expr::cust("COUNT(DISTINCT \"alert\".\"incident_id\")"))
            .order_by_asc(alert::row::Column::Product)
            .limit(limit)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|(value, count)| Facet { value, count: count as u64 }).collect())
    }
}

fn members(condition: Condition) -> sea_orm::sea_query::SelectStatement {
    Query::select().column((Entity, Column::Id)).from(Entity).cond_where(condition).to_owned()
}
