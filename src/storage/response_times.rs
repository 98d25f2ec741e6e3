//! Response times: the milestones of the incidents that reached one in a window.

use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QuerySelect};

use super::incident::row::{Column, Entity};
use super::{Reader, filter};
use crate::domain::incident::Status;
use crate::domain::response_times::Milestones;
use crate::domain::summary::SummaryFilter;
use crate::domain::{Instant, Result};

impl Reader {
    /// The milestones of the incidents that meet a filter in any status and were first assigned, or resolved, at or after
    /// an instant.
    pub async fn milestones(&self, filter: &SummaryFilter, since: Instant) -> Result<Vec<Milestones>> {
        let resolved = Condition::all()
            .add(Column::Status.eq(Status::Resolved))
            .add(Column::ResolvedAt.is_not_null())
            .add(Column::ResolvedAt.gte(since));
        let assigned =
            Condition::all().add(Column::FirstAssignedAt.is_not_null()).add(Column::FirstAssignedAt.gte(since));
        let rows: Vec<(Instant, Option<Instant>, Option<Instant>, Status)> = Entity::find()
            .select_only()
            .columns([Column::CreatedAt, Column::FirstAssignedAt, Column::ResolvedAt, Column::Status])
            .filter(filter::queue(filter.any_status()))
            .filter(Condition::any().add(assigned).add(resolved))
            .into_tuple()
            .all(self.conn())
            .await?;
        let milestones = rows.into_iter().map(|(created, first_assigned, resolved, status)| Milestones {
            created,
            first_assigned,
            resolved: resolved.filter(|_| status == Status::Resolved),
        });
        Ok(milestones.collect())
    }
}
