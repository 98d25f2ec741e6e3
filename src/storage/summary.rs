//! Summaries: the numbers of a wall, counted in one pass over a queue.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{CaseStatement, ExprTrait, Func, SimpleExpr};
use sea_orm::{Condition, QueryOrder, QuerySelect};

use super::incident::owner_id;
use super::incident::row::{Column, Entity};
use super::{Reader, filter};
use crate::domain::account::{Owner, OwnerId};
use crate::domain::incident::{Severity, Status};
use crate::domain::summary::{OPEN, Portion, SummaryFilter, Tally};
use crate::domain::{IncidentId, Instant, Result};

/// Status, severity, owner (user or group); how many, how many created and how many resolved since, the oldest.
type Counted = (Status, Severity, Option<Uuid>, Option<Uuid>, i64, i64, i64, Instant);

/// How many incidents of one status, severity and owner there are: a [`Portion`] whose owner has no name yet.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedPortion {
    /// Their status.
    pub status: Status,
    /// Their effective severity.
    pub severity: Severity,
    /// Their owner.
    pub owner: Option<OwnerId>,
    /// How many.
    pub incidents: u64,
    /// How many of them were created since.
    pub created: u64,
    /// How many of them are resolved, and were since.
    pub resolved: u64,
}

impl OwnedPortion {
    /// The portion with the name of its owner.
    pub fn named(self, owners: &HashMap<OwnerId, Owner>) -> Portion {
        Portion {
            status: self.status,
            severity: self.severity,
            owner: self.owner.and_then(|id| owners.get(&id).cloned()),
            incidents: self.incidents,
            created: self.created,
            resolved: self.resolved,
        }
    }
}

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
        let oldest = rows.iter().filter(|row| filter.open().contains(&row.0)).map(|row| row.7).min();
        let oldest = match oldest {
            Some(oldest) => self.oldest_open(filter, oldest, keep).await?,
            None => Vec::new(),
        };
        let portions = rows.into_iter().zip(ids).map(|(row, owner)| OwnedPortion {
            status: row.0,
            severity: row.1,
            owner,
            incidents: row.4 as u64,
            created: row.5 as u64,
            resolved: row.6 as u64,
        });
        let portions = self.named(portions.collect()).await?;
        Ok(Tally::new(filter.clone(), since, portions, oldest))
    }

    /// The numbers of a wall, where those of the open incidents and the oldest of these are known already, as of this
    /// snapshot: only what was closed is counted here.
    pub async fn tally_beside(
        &self,
        filter: &SummaryFilter,
        since: Instant,
        open: Vec<OwnedPortion>,
        oldest: Option<(Instant, IncidentId)>,
    ) -> Result<Tally> {
        let closed =
            || Entity::find().filter(filter::queue(filter.any_status())).filter(Column::Status.is_not_in(OPEN));
        let created = super::count(self, closed().filter(Column::CreatedAt.gte(since))).await?;
        let resolved = closed()
            .filter(Column::Status.eq(Status::Resolved))
            .filter(Column::ResolvedAt.is_not_null())
            .filter(Column::ResolvedAt.gte(since));
        let resolved = super::count(self, resolved).await?;
        let mut portions = self.named(open).await?;
        let (status, severity) = (Status::Resolved, Severity::DEFAULT);
        portions.push(Portion { status, severity, owner: None, incidents: 0, created, resolved });
        Ok(Tally::new(filter.clone(), since, portions, oldest.into_iter().collect()))
    }

    /// Portions with the names of their owners.
    async fn named(&self, portions: Vec<OwnedPortion>) -> Result<Vec<Portion>> {
        let owners = self.owners(portions.iter().filter_map(|portion| portion.owner)).await?;
        Ok(portions.into_iter().map(|portion| portion.named(&owners)).collect())
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
