//! The effects of an incident's commands on its alerts: the locks, owners, statuses, and the incident that holds an
//! alert.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{ActiveEnum, DbBackend, FromQueryResult, IdenStatic, QueryOrder, QuerySelect, Select, UpdateMany};

use super::alert::row::{Column, Entity};
use super::alert::settled;
use super::deferred::ChangedRow;
use super::incident::{owner_columns, owner_id};
use super::{IDS_PER_STATEMENT, Tx};
use crate::domain::account::OwnerId;
use crate::domain::alert::AlertStatus;
use crate::domain::propagation::AlertState;
use crate::domain::{AlertId, IncidentId, Instant, Result};

/// The largest number of alerts of one incident whose changed rows are deferred. More alerts are changed by one
/// statement.
const ASSIGNED_LATER: usize = 16;

/// The columns of an alert that propagation depends on.
#[derive(FromQueryResult)]
pub(super) struct AlertStateRow {
    id: Uuid,
    incident_id: Uuid,
    status: AlertStatus,
    owner_user_id: Option<Uuid>,
    owner_group_id: Option<Uuid>,
    settled_version: Option<i64>,
    settled_status: Option<AlertStatus>,
}

impl AlertStateRow {
    /// Selects the alerts of these incidents, ascending by id.
    pub(super) fn of_incidents(ids: &[IncidentId]) -> Select<Entity> {
        const COLUMNS: [Column; 7] = [
            Column::Id,
            Column::IncidentId,
            Column::Status,
            Column::OwnerUserId,
            Column::OwnerGroupId,
            Column::SettledVersion,
            Column::SettledStatus,
        ];
        let of_incidents = Entity::find().filter(Column::IncidentId.is_in(ids.iter().map(|id| id.0)));
        of_incidents.select_only().columns(COLUMNS).order_by_asc(Column::Id)
    }

    /// Returns the incident that holds the alert.
    pub(super) fn incident(&self) -> IncidentId {
        IncidentId(self.incident_id)
    }
}

impl From<AlertStateRow> for AlertState {
    fn from(row: AlertStateRow) -> Self {
        Self {
            id: AlertId(row.id),
            status: row.status,
            owner: owner_id(row.owner_user_id, row.owner_group_id),
            settled: settled(row.settled_version, row.settled_status),
        }
    }
}

impl Tx {
    /// Locks every alert of a locked incident in ascending order of id, and returns the states that propagation needs.
    ///
    /// `count` is the number of alerts, if the caller knows it: then a command that shares its transaction locks the
    /// alerts without a savepoint, unless another transaction holds an alert.
    pub async fn lock_alerts_of(&self, incident: IncidentId, count: Option<u64>) -> Result<Vec<AlertState>> {
        let of_incident = || AlertStateRow::of_incidents(&[incident]);
        if let Some(count) = count.filter(|_| !self.conn().defers_alerts_of(incident.0)) {
            if let Some(alerts) = self.conn().ahead().take_alerts(incident) {
                return Ok(alerts);
            }
            let free = if self.conn().is_joined() {
                of_incident().lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            } else {
                of_incident().lock(LockType::Update)
            };
            let rows = free.into_model::<AlertStateRow>().all(&self.apart()).await?;
            // Another transaction holds an alert that is missing.
            if rows.len() as u64 == count {
                return Ok(rows.into_iter().map(AlertState::from).collect());
            }
        }
        let rows = of_incident().lock(LockType::Update).into_model::<AlertStateRow>().all(self.conn()).await?;
        Ok(rows.into_iter().map(AlertState::from).collect())
    }

    /// Resolves every active alert of an incident, and keeps its former status: the effect of the incident's resolution
    /// by this version.
    pub async fn settle_alerts(&self, incident: IncidentId, version: u64, now: Instant) -> Result<()> {
        Entity::update_many()
            .col_expr(Column::SettledVersion, Expr::value(version as i64))
            .col_expr(Column::SettledStatus, Expr::col(Column::Status))
            .col_expr(Column::Status, Expr::value(AlertStatus::Resolved.to_value()))
            .col_expr(Column::ResolvedAt, Expr::value(now))
            .col_expr(Column::UpdatedAt, Expr::value(now))
            .filter(Column::IncidentId.eq(incident.0))
            .filter(Column::Status.ne(AlertStatus::Resolved))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Gives the alerts that the incident's resolution resolved their former status again.
    pub async fn unsettle_alerts(&self, incident: IncidentId, now: Instant) -> Result<()> {
        Entity::update_many()
            .col_expr(Column::Status, Expr::col(Column::SettledStatus))
            .col_expr(Column::SettledVersion, Expr::value(Option::<i64>::None))
            .col_expr(Column::SettledStatus, Expr::value(Option::<i16>::None))
            .col_expr(Column::ResolvedAt, Expr::value(Option::<Instant>::None))
            .col_expr(Column::UpdatedAt, Expr::value(now))
            .filter(Column::IncidentId.eq(incident.0))
            .filter(Column::SettledVersion.is_not_null())
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Sets the owner of these locked alerts of an incident. The changed rows of a few alerts are deferred.
    pub async fn assign_alerts_of(
        &self,
        incident: IncidentId,
        ids: &[AlertId],
        owner: Option<OwnerId>,
        now: Instant,
    ) -> Result<()> {
        let later = match self.conn().get_database_backend() {
            DbBackend::Postgres => ASSIGNED_LATER,
            // On SQLite each deferred row is a statement.
            _ => 1,
        };
        if ids.len() > later {
            return self.assign_alerts(ids, owner, now).await;
        }
        let columns = [Column::OwnerUserId, Column::OwnerGroupId, Column::UpdatedAt].map(|column| column.as_str());
        let (user, group) = owner_columns(owner);
        for id in ids {
            let values = vec![user.into(), group.into(), now.into()];
            self.conn().change_later(ChangedRow::of_alert(id.0, incident.0, columns.to_vec(), values)).await?;
        }
        Ok(())
    }

    /// Sets the owner of these alerts.
    pub async fn assign_alerts(&self, ids: &[AlertId], owner: Option<OwnerId>, now: Instant) -> Result<()> {
        let (user, group) = owner_columns(owner);
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            Entity::update_many()
                .col_expr(Column::OwnerUserId, Expr::value(user))
                .col_expr(Column::OwnerGroupId, Expr::value(group))
                .col_expr(Column::UpdatedAt, Expr::value(now))
                .filter(Column::Id.is_in(ids.iter().map(|id| id.0)))
                .exec(self.conn())
                .await?;
        }
        Ok(())
    }

    /// Moves these alerts into an incident, or out of any, and forgets the status that a resolution kept for them.
    pub async fn place_alerts(&self, ids: &[AlertId], incident: Option<IncidentId>, now: Instant) -> Result<()> {
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            placing(incident, now).filter(Column::Id.is_in(ids.iter().map(|id| id.0))).exec(self.conn()).await?;
        }
        Ok(())
    }

    /// Moves every alert of an incident out of it.
    pub async fn free_alerts(&self, incident: IncidentId, now: Instant) -> Result<()> {
        placing(None, now).filter(Column::IncidentId.eq(incident.0)).exec(self.conn()).await?;
        Ok(())
    }
}

fn placing(incident: Option<IncidentId>, now: Instant) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::IncidentId, Expr::value(incident.map(|id| id.0)))
        .col_expr(Column::SettledVersion, Expr::value(Option::<i64>::None))
        .col_expr(Column::SettledStatus, Expr::value(Option::<i16>::None))
        .col_expr(Column::UpdatedAt, Expr::value(now))
}
