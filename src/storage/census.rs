//! The counts with which the board begins: all incidents by status and severity, and the incidents that were created
//! and resolved on the newest day.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Alias, Expr};
use sea_orm::{ActiveEnum, Condition, Order, QueryOrder, QuerySelect};

use super::Reader;
use super::filter::{StatusWay, of_status};
use super::incident::owner_id;
use super::incident::row::{Column, Entity};
use super::summary::{OwnedPortion, created_since, resolved_since};
use crate::domain::incident::{Severity, Status};
use crate::domain::summary::SEVERITIES;
use crate::domain::{Instant, Result};

/// Status, severity, owner (user or group), count.
type PortionRow = (Status, Severity, Option<Uuid>, Option<Uuid>, i64);

/// Time of creation, status, severity, owner (user or group).
type CreationRow = (Instant, Status, Severity, Option<Uuid>, Option<Uuid>);

/// The number of incidents with one status and severity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// Their status.
    pub status: Status,
    /// Their effective severity.
    pub severity: Severity,
    /// The number of incidents.
    pub incidents: u64,
}

/// The incidents created and resolved since the start of a day. Nothing was created or resolved on a later day.
#[derive(Clone, Debug, Default)]
pub struct CountedSince {
    /// The day, in UTC.
    pub day: NaiveDate,
    /// The incidents created since then, by their present state.
    pub created: Vec<OwnedPortion>,
    /// The incidents that were resolved since then and are resolved now.
    pub resolved: Vec<OwnedPortion>,
    /// The resolved incidents by time of creation. `None` if there are too many.
    pub resolved_by_creation: Option<Vec<(Instant, OwnedPortion)>>,
}

/// The most incidents that are counted by time of creation. Each takes some 100 bytes.
const CREATIONS_MAX: usize = 20_000;

impl Reader {
    /// Counts the incidents by status and severity.
    ///
    /// It reads the index with these columns once, in the order of the index. Grouping by both columns would make
    /// SQLite sort a million rows, which takes ten times as long.
    pub async fn count_all(&self) -> Result<Vec<Counted>> {
        let status = Expr::col((Entity, Alias::new("status_order")));
        let mut query = Entity::find().select_only().expr_as(status.clone(), "status");
        for severity in SEVERITIES {
            let of_it = format!("COUNT(CASE WHEN severity = {} THEN 1 END)", severity.to_value());
            query = query.expr_as(Expr::cust(of_it), format!("severity_{}", severity.to_value()));
        }
        let rows: Vec<(Status, i64, i64, i64, i64)> = query
            .filter(Column::DeletedAt.is_null())
            .group_by(status.clone())
            .order_by(status, Order::Asc)
            .into_tuple()
            .all(self.conn())
            .await?;
        let counted = rows.into_iter().flat_map(|(status, a, b, c, d)| {
            let counts = SEVERITIES.into_iter().zip([a, b, c, d]);
            counts.map(move |(severity, count)| Counted { status, severity, incidents: count as u64 })
        });
        Ok(counted.filter(|counted| counted.incidents > 0).collect())
    }

    /// Counts the incidents created and resolved on the newest day on which an incident was created or resolved.
    pub async fn count_newest_day(&self) -> Result<CountedSince> {
        let created = self.newest(Column::CreatedAt, Condition::all()).await?;
        let is_resolved = of_status(&[Status::Resolved], StatusWay::Known).add(Column::ResolvedAt.is_not_null());
        let resolved = self.newest(Column::ResolvedAt, is_resolved).await?;
        let Some(newest) = created.max(resolved) else { return Ok(CountedSince::default()) };
        let day = newest.date_naive();
        let start = day.and_time(chrono::NaiveTime::MIN).and_utc();
        Ok(CountedSince {
            day,
            created: self.count_portions(created_since(start)).await?,
            resolved: self.count_portions(resolved_since(start)).await?,
            resolved_by_creation: self.count_creations(resolved_since(start)).await?,
        })
    }

    async fn newest(&self, column: Column, condition: Condition) -> Result<Option<Instant>> {
        let newest: Option<Instant> = Entity::find()
            .select_only()
            .column(column)
            .filter(Column::DeletedAt.is_null())
            .filter(condition)
            .order_by_desc(column)
            .limit(1)
            .into_tuple()
            .one(self.conn())
            .await?;
        Ok(newest)
    }

    async fn count_creations(&self, condition: Condition) -> Result<Option<Vec<(Instant, OwnedPortion)>>> {
        let columns = [Column::CreatedAt, Column::Status, Column::Severity, Column::OwnerUserId, Column::OwnerGroupId];
        let rows: Vec<CreationRow> = Entity::find()
            .select_only()
            .columns(columns)
            .filter(Column::DeletedAt.is_null())
            .filter(condition)
            .limit(CREATIONS_MAX as u64 + 1)
            .into_tuple()
            .all(self.conn())
            .await?;
        if rows.len() > CREATIONS_MAX {
            return Ok(None);
        }
        let mut counts: BTreeMap<_, u64> = BTreeMap::new();
        for (created, status, severity, user, group) in rows {
            *counts.entry((created, status, severity, owner_id(user, group))).or_default() += 1;
        }
        let portion = |((created, status, severity, owner), incidents)| {
            (created, OwnedPortion { status, severity, owner, incidents })
        };
        Ok(Some(counts.into_iter().map(portion).collect()))
    }

    async fn count_portions(&self, condition: Condition) -> Result<Vec<OwnedPortion>> {
        let columns = [Column::Status, Column::Severity, Column::OwnerUserId, Column::OwnerGroupId];
        let mut query = Entity::find().select_only().columns(columns).expr(Expr::cust("COUNT(*)"));
        for column in columns {
            query = query.group_by(column);
        }
        let rows: Vec<PortionRow> =
            query.filter(Column::DeletedAt.is_null()).filter(condition).into_tuple().all(self.conn()).await?;
        let portions = rows.into_iter().map(|(status, severity, user, group, count)| OwnedPortion {
            status,
            severity,
            owner: owner_id(user, group),
            incidents: count as u64,
        });
        Ok(portions.collect())
    }
}
