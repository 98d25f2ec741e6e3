//! Summaries: the numbers of a wall, counted in one snapshot.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{Condition, QueryOrder, QuerySelect};

use super::filter::StatusWay;
use super::incident::owner_id;
use super::incident::row::{Column, Entity};
use super::way::WantedRows;
use super::{Facet, Reader, filter};
use crate::domain::account::{Owner, OwnerId};
use crate::domain::filter::IncidentFilter;
use crate::domain::incident::{Severity, Status};
use crate::domain::summary::{Numbers, OpenValues, Portion, SummaryFilter, TakenFrom, Tally, TallyUse};
use crate::domain::{IncidentId, Instant, Result};

/// Status, severity, owner (user or group), count, the oldest creation.
type Counted = (Status, Severity, Option<Uuid>, Option<Uuid>, i64, Instant);

/// The number of incidents with one status, severity and owner: a [`Portion`] whose owner has no name yet.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedPortion {
    /// Their status.
    pub status: Status,
    /// Their effective severity.
    pub severity: Severity,
    /// Their owner.
    pub owner: Option<OwnerId>,
    /// The number of incidents.
    pub incidents: u64,
}

impl OwnedPortion {
    /// Returns the portion with the name of its owner.
    pub fn named(self, owners: &HashMap<OwnerId, Owner>) -> Portion {
        Portion {
            status: self.status,
            severity: self.severity,
            owner: self.owner.and_then(|id| owners.get(&id).cloned()),
            incidents: self.incidents,
        }
    }
}

/// The numbers of the open incidents of a summary, whose owners have no names yet.
#[derive(Clone, Debug, Default)]
pub struct OpenNumbers {
    /// The number of incidents of each status, severity and owner.
    pub portions: Vec<OwnedPortion>,
    /// The keys of the oldest open incidents, as many as the use of the tally needs.
    pub oldest: Vec<(Instant, IncidentId)>,
    /// The numbers of incidents by tag and by product.
    pub values: OpenValues,
}

impl OpenNumbers {
    /// Returns the counts from which a tally starts, with the names of the owners.
    pub fn named(self, owners: &HashMap<OwnerId, Owner>, flow: Option<(u64, u64)>) -> TakenFrom {
        let portions = self.portions.into_iter().map(|portion| portion.named(owners)).collect();
        TakenFrom { portions, oldest: self.oldest, flow, values: self.values }
    }
}

impl Reader {
    /// Counts the numbers of a wall that are asked for, in this snapshot.
    ///
    /// Each number has an index of its own: open, created, resolved. One statement for all numbers would read every
    /// incident.
    pub async fn tally(
        &self,
        filter: &SummaryFilter,
        since: Instant,
        numbers: Numbers,
        used: TallyUse,
    ) -> Result<Tally> {
        let rows = self.open_by_portion(filter).await?;
        let ids: Vec<Option<OwnerId>> = rows.iter().map(|row| owner_id(row.2, row.3)).collect();
        let oldest = match rows.iter().map(|row| row.5).min() {
            Some(oldest) => self.oldest_open(filter, oldest, used.oldest_max()).await?,
            None => Vec::new(),
        };
        let portions = rows.into_iter().zip(ids).map(|(row, owner)| OwnedPortion {
            status: row.0,
            severity: row.1,
            owner,
            incidents: row.4 as u64,
        });
        let values = self.open_values(filter, numbers, used).await?;
        self.tally_beside(filter, since, numbers, OpenNumbers { portions: portions.collect(), oldest, values }).await
    }

    /// Counts the numbers of a wall if the numbers of the open incidents in this snapshot are known already. Only
    /// created and resolved incidents are counted, if they are asked for.
    pub async fn tally_beside(
        &self,
        filter: &SummaryFilter,
        since: Instant,
        numbers: Numbers,
        open: OpenNumbers,
    ) -> Result<Tally> {
        let owners = self.owners(open.portions.iter().filter_map(|portion| portion.owner)).await?;
        let flow = if numbers.flow { Some(self.created_and_resolved(filter, since).await?) } else { None };
        Ok(Tally::new(filter.clone(), since, open.named(&owners, flow)))
    }

    /// Counts the open incidents by tag and by product, each if it is asked for.
    async fn open_values(&self, filter: &SummaryFilter, numbers: Numbers, used: TallyUse) -> Result<OpenValues> {
        let limit = used.values_max() as u64;
        let mut values = OpenValues::default();
        if numbers.by_tag {
            let met = self.met(&open(filter), WantedRows::All).await?;
            values.by_tag = Some(self.by_tag(met, limit).await?.into_iter().map(Facet::into_pair).collect());
        }
        if numbers.by_product {
            let met = self.met(&open(filter), WantedRows::All).await?;
            values.by_product = Some(self.by_product(met, limit).await?.into_iter().map(Facet::into_pair).collect());
        }
        Ok(values)
    }

    /// Counts the incidents of a summary that were created, and that were resolved, since an instant.
    async fn created_and_resolved(&self, filter: &SummaryFilter, since: Instant) -> Result<(u64, u64)> {
        let any_status = self.met(filter.any_status().filter(), WantedRows::All).await?;
        let (created, resolved) = (created_since(since), resolved_since(since));
        let created = super::count(self, Entity::find().filter(any_status.clone()).filter(created)).await?;
        let resolved = super::count(self, Entity::find().filter(any_status).filter(resolved)).await?;
        Ok((created, resolved))
    }

    async fn open_by_portion(&self, filter: &SummaryFilter) -> Result<Vec<Counted>> {
        let rows = Entity::find()
            .select_only()
            .columns([Column::Status, Column::Severity, Column::OwnerUserId, Column::OwnerGroupId])
            .expr(Expr::cust("COUNT(*)"))
            .expr(Expr::col((Entity, Column::CreatedAt)).min())
            .filter(self.met(&open(filter), WantedRows::All).await?)
            .group_by(Column::Status)
            .group_by(Column::Severity)
            .group_by(Column::OwnerUserId)
            .group_by(Column::OwnerGroupId)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows)
    }

    /// Reads the oldest open incidents of a queue by creation. No open incident is older than `from`, so the index is
    /// not read from its start.
    async fn oldest_open(
        &self,
        filter: &SummaryFilter,
        from: Instant,
        keep: usize,
    ) -> Result<Vec<(Instant, IncidentId)>> {
        let rows: Vec<(Instant, Uuid)> = Entity::find()
            .select_only()
            .columns([Column::CreatedAt, Column::Id])
            .filter(self.met(&open(filter), WantedRows::OpenPage).await?)
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

/// Selects the incidents created since an instant.
pub(super) fn created_since(since: Instant) -> Condition {
    Condition::all().add(Column::CreatedAt.gte(since))
}

/// Selects resolved incidents that were resolved since an instant, in the form of the index's condition.
pub(super) fn resolved_since(since: Instant) -> Condition {
    Condition::all()
        .add(filter::of_status(&[Status::Resolved], StatusWay::Known))
        .add(Column::ResolvedAt.is_not_null())
        .add(Column::ResolvedAt.gte(since))
}

/// Returns a filter for the open incidents of a summary.
fn open(filter: &SummaryFilter) -> IncidentFilter {
    IncidentFilter { status: Some(filter.open().to_vec()), ..filter.any_status().filter().clone() }
}
