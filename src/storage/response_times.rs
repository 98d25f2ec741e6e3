//! Response times: the milestones of the incidents that were first assigned or resolved in a window.

use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QuerySelect};

use super::filter::StatusWay;
use super::incident::row::{Column, Entity};
use super::way::WantedRows;
use super::{Reader, filter};
use crate::domain::incident::Status;
use crate::domain::response_times::Milestones;
use crate::domain::summary::SummaryFilter;
use crate::domain::{Instant, Result};

impl Reader {
    /// Reads the milestones of incidents that meet a filter in any status and were first assigned or resolved since an
    /// instant.
    pub async fn milestones(&self, filter: &SummaryFilter, since: Instant) -> Result<Vec<Milestones>> {
        let queue = self.met(filter.any_status().filter(), WantedRows::All).await?;
        let resolved = Condition::all()
            .add(filter::of_status(&[Status::Resolved], StatusWay::Known))
            .add(Column::ResolvedAt.is_not_null())
            .add(Column::ResolvedAt.gte(since));
        let assigned =
            Condition::all().add(Column::FirstAssignedAt.is_not_null()).add(Column::FirstAssignedAt.gte(since));
        // Two statements, each by its own index: SQLite uses no partial index for a part of an `OR`.
        let ended: Vec<(Instant, Option<Instant>, Option<Instant>)> = Entity::find()
            .select_only()
            .columns([Column::CreatedAt, Column::FirstAssignedAt, Column::ResolvedAt])
            .filter(queue.clone())
            .filter(resolved.clone())
            .into_tuple()
            .all(self.conn())
            .await?;
        let others: Vec<(Instant, Option<Instant>, Option<Instant>, Status)> = Entity::find()
            .select_only()
            .columns([Column::CreatedAt, Column::FirstAssignedAt, Column::ResolvedAt, Column::Status])
            .filter(queue)
            .filter(assigned)
            .filter(resolved.not())
            .into_tuple()
            .all(self.conn())
            .await?;
        let ended = ended.into_iter().map(|(created, first_assigned, resolved)| Milestones {
            created,
            first_assigned,
            resolved,
        });
        let milestones = ended.chain(others.into_iter().map(|(created, first_assigned, resolved, status)| {
            Milestones { created, first_assigned, resolved: resolved.filter(|_| status == Status::Resolved) }
        }));
        Ok(milestones.collect())
    }
}
