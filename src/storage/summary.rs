//! Summaries: the numbers of a wall, counted in one pass over a queue.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{CaseStatement, ExprTrait, Func, SimpleExpr};
use sea_orm::{Condition, QueryOrder, QuerySelect};

use super::incident::owner_id;
use super::incident::row::{Column, Entity};
use super::{Reader, filter};
use crate::domain::account::OwnerId;
use crate::domain::incident::{Severity, Status};
use crate::domain::summary::{OPEN, Portion, SummaryFilter, Tally};
use crate::domain::{IncidentId, Instant, Result};

/// Status, severity, owner (user or group); how many, how many created and how many resolved since, the oldest.
type Counted = (Status, Severity, Option<Uuid>, Option<Uuid>, i64, i64, i64, Instant);

impl Reader {
    /// The numbers of a wall, and the keys of the `keep` oldest open incidents, of this snapshot.
    pub async fn tally(&self, filter: &SummaryFilter, since: Instant, keep: usize) -> Result<Tally> {
        let open = Condition::all().add(Column::Status.is_in(OPEN));
        let created = Condition::all().add(Column::CreatedAt.gte(since));
        let resolved = Condition::all()
            .add(Column::Status.eq(Status::Resolved))
            .add(Column::ResolvedAt.is_not_null())
            .add(Column::ResolvedAt.gte(since));
        // What counts nowhere need not be sorted by owner: most of a desk's incidents were closed long ago.
        let counts = Condition::any().add(open).add(created.clone()).add(resolved.clone());
        let rows: Vec<Counted> = Entity::find()
            .select_only()
            .columns([Column::Status, Column::Severity, Column::OwnerUserId, Column::OwnerGroupId])
            .expr(Expr::cust("COUNT(*)"))
            .expr(count_where(created))
            .expr(count_where(resolved))
            .expr(Expr::col((Entity, Column::CreatedAt)).min())
            .filter(filter::queue(filter.any_status()))
            .filter(counts)
            .group_by(Column::Status)
            .group_by(Column::Severity)
            .group_by(Column::OwnerUserId)
            .group_by(Column::OwnerGroupId)
            .into_tuple()
            .all(self.conn())
            .await?;
        let ids: Vec<Option<OwnerId>> = rows.iter().map(|row| owner_id(row.2, row.3)).collect();
        let owners = self.owners(ids.iter().flatten().copied()).await?;
        let oldest = rows.iter().filter(|row| filter.open().contains(&row.0)).map(|row| row.7).min();
        let oldest = match oldest {
            Some(oldest) => self.oldest_open(filter, oldest, keep).await?,
            None => Vec::new(),
        };
        let portions = rows.into_iter().zip(ids).map(|(row, owner)| Portion {
            status: row.0,
            severity: row.1,
            owner: owner.and_then(|id| owners.get(&id).cloned()),
            incidents: row.4 as u64,
            created: row.5 as u64,
            resolved: row.6 as u64,
        });
        Ok(Tally::new(filter.clone(), since, portions.collect(), oldest))
    }

    /// The first open incidents of a queue, by when they were made, from an instant that none is before: so that the index
    /// is not walked from the beginning of time.
    async fn oldest_open(
        &self,
        filter: &SummaryFilter,
        from: Instant,
        keep: usize,
    ) -> Result<Vec<(Instant, IncidentId)>> {
        let rows: Vec<(Instant, Uuid)> = Entity::find()
            .select_only()
            .columns([Column::CreatedAt, Column::Id])
            .filter(filter::queue(filter.any_status()))
            .filter(Column::Status.is_in(filter.open().iter().copied()))
            .filter(Column::CreatedAt.gte(from))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .limit(keep as u64)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|(at, id)| (at, IncidentId(id))).collect())
    }
}

fn count_where(condition: Condition) -> SimpleExpr {
    Func::count(CaseStatement::new().case(condition, Expr::value(1))).into()
}
