//! Evidence for verification: the log, and the tables that it covers, as they are stored and not yet trusted.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{Condition, QueryOrder, QueryResult, QuerySelect};

use super::changelog::{actor_id, kinds_of, row};
use super::incident::{classification, json, owner_id};
use super::log_head::Head;
use super::{Reader, alert_log};
use crate::domain::account::{ActorImage, OwnerId};
use crate::domain::alert::AlertStatus;
use crate::domain::alert_log::AlertBody;
use crate::domain::chain::{Hash, Link, LinkSubject};
use crate::domain::change::ChangeBody;
use crate::domain::classification::Classification;
use crate::domain::comment::TextSetBy;
use crate::domain::incident::Incident;
use crate::domain::{AlertId, CommentId, IncidentId, Instant, Result};

/// The stored row of a change.
#[derive(Clone, Debug)]
pub struct StoredChange {
    /// The offset of the change in the log.
    pub position: u64,
    /// The incident that changed.
    pub incident: IncidentId,
    /// The incident's version after the change.
    pub version: u64,
    /// The stored body of the change.
    pub body: String,
    /// The stored hash, which may have any length.
    pub hash: Vec<u8>,
    kinds: i64,
    actor: Option<Uuid>,
    at: Instant,
}

impl From<row::Model> for StoredChange {
    fn from(row: row::Model) -> Self {
        Self {
            position: row.position as u64,
            incident: IncidentId(row.incident_id),
            version: row.version as u64,
            body: row.body,
            hash: row.hash,
            kinds: row.kinds,
            actor: row.actor_id,
            at: row.at,
        }
    }
}

impl StoredChange {
    /// Returns the part of the row that the hash chain covers.
    pub fn link(&self) -> Link<'_> {
        let of = LinkSubject::Incident(self.incident);
        Link { position: self.position, of, version: self.version, body: &self.body }
    }

    /// Returns the name of a column that contradicts the body, if there is one. Filters and pages use the columns, but
    /// the hash chain covers only the body.
    pub fn column_at_odds(&self, body: &ChangeBody) -> Option<&'static str> {
        [
            ("incident_id", self.incident == body.row.id),
            ("version", self.version == body.row.version),
            ("kinds", self.kinds == kinds_of(&body.entries)),
            ("actor_id", self.actor == actor_id(&body.actor)),
            ("at", self.at == body.at),
        ]
        .into_iter()
        .find_map(|(column, agrees)| (!agrees).then_some(column))
    }
}

/// The stored row of a change of an alert.
#[derive(Clone, Debug)]
pub struct StoredAlertChange {
    /// The offset of the change in the log.
    pub position: u64,
    /// The alert that changed.
    pub alert: AlertId,
    /// The version of the alert's own log after the change.
    pub version: u64,
    /// The stored body of the change.
    pub body: String,
    /// The stored hash, which may have any length.
    pub hash: Vec<u8>,
    kinds: i64,
    actor: Option<Uuid>,
    at: Instant,
}

impl From<alert_log::row::Model> for StoredAlertChange {
    fn from(row: alert_log::row::Model) -> Self {
        Self {
            position: row.position as u64,
            alert: AlertId(row.alert_id),
            version: row.version as u64,
            body: row.body,
            hash: row.hash,
            kinds: row.kinds,
            actor: row.actor_id,
            at: row.at,
        }
    }
}

impl StoredAlertChange {
    /// Returns the part of the row that the hash chain covers.
    pub fn link(&self) -> Link<'_> {
        Link { position: self.position, of: LinkSubject::Alert(self.alert), version: self.version, body: &self.body }
    }

    /// Returns the name of a column that contradicts the body, if there is one.
    pub fn column_at_odds(&self, body: &AlertBody) -> Option<&'static str> {
        [
            ("alert_id", self.alert == body.alert),
            ("version", self.version == body.version),
            ("kinds", self.kinds == kinds_of(&body.entries)),
            ("actor_id", self.actor == actor_id(&body.actor)),
            ("at", self.at == body.at),
        ]
        .into_iter()
        .find_map(|(column, agrees)| (!agrees).then_some(column))
    }
}

/// The stored row of a change of either kind.
#[derive(Clone, Debug)]
pub enum StoredRow {
    /// A change of an incident.
    Incident(StoredChange),
    /// A change of an alert.
    Alert(StoredAlertChange),
}

impl StoredRow {
    /// Returns the offset of the change in the log.
    pub fn position(&self) -> u64 {
        match self {
            Self::Incident(row) => row.position,
            Self::Alert(row) => row.position,
        }
    }

    /// Returns the part of the row that the hash chain covers.
    pub fn link(&self) -> Link<'_> {
        match self {
            Self::Incident(row) => row.link(),
            Self::Alert(row) => row.link(),
        }
    }

    /// Returns the stored hash, which may have any length.
    pub fn hash(&self) -> &[u8] {
        match self {
            Self::Incident(row) => &row.hash,
            Self::Alert(row) => &row.hash,
        }
    }

    /// Returns the change if it is a change of an incident.
    pub fn of_incident(&self) -> Option<&StoredChange> {
        match self {
            Self::Incident(row) => Some(row),
            Self::Alert(_) => None,
        }
    }
}

/// The state of an alert in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertShown {
    /// The incident that holds the alert.
    pub incident: Option<IncidentId>,
    /// The id of the alert.
    pub id: AlertId,
    /// The alert's status.
    pub status: AlertStatus,
    /// The alert's owner.
    pub owner: Option<OwnerId>,
    /// The alert's classification.
    pub classification: Option<Classification>,
}

/// The state of a comment in the tables, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommentShown {
    /// The incident that has the comment.
    pub incident: IncidentId,
    /// The id of the comment.
    pub id: CommentId,
    /// The author.
    pub author: ActorImage,
    /// The time when the comment was written.
    pub created_at: Instant,
    /// The change that set the first text.
    pub first: TextSetBy,
    /// The change that set the newest text; `None` if there is no text.
    pub text: Option<TextSetBy>,
}

/// A moment for which changes of an incident are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The state at an offset of the log.
    Offset(u64),
    /// The state at a time, by the times of the changes.
    Time(Instant),
}

impl Reader {
    /// Reads rows of the log after an offset, ascending, at most `limit`.
    pub async fn stored_after(&self, offset: u64, limit: u64) -> Result<Vec<StoredRow>> {
        let of_incidents = row::Entity::find()
            .filter(row::Column::Position.gt(offset as i64))
            .order_by_asc(row::Column::Position)
            .limit(limit)
            .all(self.conn())
            .await?;
        let of_alerts = alert_log::row::Entity::find()
            .filter(alert_log::row::Column::Position.gt(offset as i64))
            .order_by_asc(alert_log::row::Column::Position)
            .limit(limit)
            .all(self.conn())
            .await?;
        let of_incidents = of_incidents.into_iter().map(|row| StoredRow::Incident(row.into()));
        let mut rows: Vec<StoredRow> =
            of_incidents.chain(of_alerts.into_iter().map(|row| StoredRow::Alert(row.into()))).collect();
        rows.sort_by_key(StoredRow::position);
        // Each table gave up to `limit` rows, so rows of one table may be missing behind the first `limit` rows.
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(rows)
    }

    /// Reads rows of the alerts' own logs by alert and version, after this pair, at most `limit`: whole logs, one after
    /// the other.
    pub async fn stored_by_alert(&self, after: Option<(AlertId, u64)>, limit: u64) -> Result<Vec<StoredAlertChange>> {
        use alert_log::row::{Column, Entity};
        let mut query = Entity::find().order_by_asc(Column::AlertId).order_by_asc(Column::Version).limit(limit);
        if let Some((alert, version)) = after {
            let place = Expr::tuple([Expr::col(Column::AlertId), Expr::col(Column::Version)]);
            query = query.filter(place.gt(Expr::tuple([Expr::value(alert.0), Expr::value(version as i64)])));
        }
        Ok(query.all(self.conn()).await?.into_iter().map(StoredAlertChange::from).collect())
    }

    /// Reads rows of an incident's log after one version, up to and including another, ascending, at most `limit`.
    pub async fn stored_of(
        &self,
        incident: IncidentId,
        after: u64,
        up_to: u64,
        limit: u64,
    ) -> Result<Vec<StoredChange>> {
        let rows = row::Entity::find()
            .filter(row::Column::IncidentId.eq(incident.0))
            .filter(row::Column::Version.gt(after as i64))
            .filter(row::Column::Version.lte(up_to as i64))
            .order_by_asc(row::Column::Version)
            .limit(limit)
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(StoredChange::from).collect())
    }

    /// Reads the rows with these pairs of incident and version.
    pub async fn stored_by_version(
        &self,
        keys: &[(IncidentId, u64)],
    ) -> Result<HashMap<(IncidentId, u64), StoredChange>> {
        let mut rows = HashMap::new();
        for keys in keys.chunks(super::ALTERNATIVES_MAX) {
            let any = keys.iter().fold(Condition::any(), |any, (incident, version)| {
                any.add(row::Column::IncidentId.eq(incident.0).and(row::Column::Version.eq(*version as i64)))
            });
            let found = row::Entity::find().filter(any).all(self.conn()).await?;
            rows.extend(found.into_iter().map(StoredChange::from).map(|row| ((row.incident, row.version), row)));
        }
        Ok(rows)
    }

    /// Returns the newest version of each incident in the log.
    pub async fn newest_versions(&self, incidents: &[IncidentId]) -> Result<HashMap<IncidentId, u64>> {
        let rows: Vec<(Uuid, i64)> = row::Entity::find()
            .select_only()
            .column(row::Column::IncidentId)
            .expr(Expr::cust("MAX(version)"))
            .filter(row::Column::IncidentId.is_in(incidents.iter().map(|id| id.0)))
            .group_by(row::Column::IncidentId)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|(incident, version)| (IncidentId(incident), version as u64)).collect())
    }

    /// Reads rows of the log by incident and version, after this pair, at most `limit`: whole incidents, one after the
    /// other.
    pub async fn stored_by_incident(&self, after: Option<(IncidentId, u64)>, limit: u64) -> Result<Vec<StoredChange>> {
        let mut query =
            row::Entity::find().order_by_asc(row::Column::IncidentId).order_by_asc(row::Column::Version).limit(limit);
        if let Some((incident, version)) = after {
            let place = Expr::tuple([Expr::col(row::Column::IncidentId), Expr::col(row::Column::Version)]);
            query = query.filter(place.gt(Expr::tuple([Expr::value(incident.0), Expr::value(version as i64)])));
        }
        Ok(query.all(self.conn()).await?.into_iter().map(StoredChange::from).collect())
    }

    /// Returns the state of each alert that the tables put into these incidents, in no order.
    pub async fn alerts_shown(&self, incidents: &[IncidentId]) -> Result<Vec<AlertShown>> {
        use super::alert::row::{Column, Entity};
        let rows = Entity::find().filter(Column::IncidentId.is_in(incidents.iter().map(|id| id.0)));
        let shown = |row: super::alert::row::Model| {
            Ok(AlertShown {
                incident: row.incident_id.map(IncidentId),
                id: AlertId(row.id),
                status: row.status,
                owner: owner_id(row.owner_user_id, row.owner_group_id),
                classification: classification(row.classification, row.determination.as_deref())?,
            })
        };
        rows.all(self.conn()).await?.into_iter().map(shown).collect()
    }

    /// Returns the state of each comment that the tables show on these incidents, in no order, without deleted comments.
    pub async fn comments_shown(&self, incidents: &[IncidentId]) -> Result<Vec<CommentShown>> {
        if incidents.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT c.incident_id, c.id, c.author, c.created_at, c.written_on, c.version, r.incident_id, r.version
             FROM comment c LEFT JOIN comment_revision r ON r.comment_id = c.id
                AND r.ordinal = (SELECT MAX(ordinal) FROM comment_revision WHERE comment_id = c.id)
             WHERE c.incident_id IN ({}) AND c.deleted_at IS NULL",
            super::places(incidents.len())
        );
        let ids = incidents.iter().map(|id| id.0.into());
        let rows = self.conn().query_all_raw(super::statement(self, &sql, ids)).await?;
        rows.iter().map(comment_shown).collect()
    }

    /// Finds an incident in the tables that the log does not contain.
    pub async fn unnamed_incident(&self) -> Result<Option<Incident>> {
        use super::incident::row::{Column, Entity};
        let sql =
            "SELECT id FROM incident WHERE NOT EXISTS (SELECT 1 FROM change WHERE incident_id = incident.id) LIMIT 1";
        let found = self.conn().query_one_raw(super::statement(self, sql, [])).await?;
        let Some(found) = found else { return Ok(None) };
        let id: Uuid = found.try_get_by_index(0)?;
        let rows = Entity::find().filter(Column::Id.eq(id)).all(self.conn()).await?;
        Ok(self.complete(rows).await?.pop())
    }

    /// Counts the alerts that no incident holds. An alert has no log of its own if it is older than these logs and
    /// nothing has happened to it since.
    pub async fn free_alert_total(&self) -> Result<u64> {
        use super::alert::row::{Column, Entity};
        super::count(self, Entity::find().filter(Column::IncidentId.is_null())).await
    }

    /// Returns the hashes at these offsets. An offset without a change has none.
    pub async fn hashes_at(&self, offsets: &[u64]) -> Result<HashMap<u64, Hash>> {
        let mut rows: Vec<(i64, Vec<u8>)> = row::Entity::find()
            .select_only()
            .column(row::Column::Position)
            .column(row::Column::Hash)
            .filter(row::Column::Position.is_in(offsets.iter().map(|offset| *offset as i64)))
            .into_tuple()
            .all(self.conn())
            .await?;
        if rows.len() < offsets.len() {
            use alert_log::row::{Column, Entity};
            let of_alerts: Vec<(i64, Vec<u8>)> = Entity::find()
                .select_only()
                .column(Column::Position)
                .column(Column::Hash)
                .filter(Column::Position.is_in(offsets.iter().map(|offset| *offset as i64)))
                .into_tuple()
                .all(self.conn())
                .await?;
            rows.extend(of_alerts);
        }
        Ok(rows.into_iter().filter_map(|(at, hash)| Some((at as u64, hash.try_into().ok()?))).collect())
    }

    /// Whether the log contains the last change of this head.
    pub(super) async fn holds(&self, head: &Head) -> Result<bool> {
        Ok(self.hashes_at(&[head.offset]).await?.get(&head.offset) == Some(&head.hash))
    }

    /// Returns the version of an incident at a moment, or none if it did not exist yet.
    pub async fn version_as_of(&self, incident: IncidentId, moment: Moment) -> Result<Option<u64>> {
        let of_it = row::Entity::find().filter(row::Column::IncidentId.eq(incident.0));
        // The times of an incident's changes never go back (`Tx::advance`).
        let by_then = match moment {
            Moment::Offset(offset) => of_it.filter(row::Column::Position.lte(offset as i64)),
            Moment::Time(at) => of_it.filter(row::Column::At.lte(at)),
        };
        let version: Option<i64> = by_then
            .select_only()
            .column(row::Column::Version)
            .order_by_desc(row::Column::Version)
            .limit(1)
            .into_tuple()
            .one(self.conn())
            .await?;
        Ok(version.map(|version| version as u64))
    }

    /// Counts all incidents, including deleted incidents.
    pub async fn incident_total(&self) -> Result<u64> {
        super::count(self, super::incident::row::Entity::find()).await
    }

    /// Counts the rows of the log after an offset.
    pub async fn stored_total(&self, offset: u64) -> Result<u64> {
        let of_alerts = alert_log::row::Entity::find().filter(alert_log::row::Column::Position.gt(offset as i64));
        let of_alerts = super::count(self, of_alerts).await?;
        Ok(of_alerts + super::count(self, row::Entity::find().filter(row::Column::Position.gt(offset as i64))).await?)
    }

    /// Counts the rows of the alerts' own logs.
    pub async fn stored_of_alerts_total(&self) -> Result<u64> {
        super::count(self, alert_log::row::Entity::find()).await
    }
}

fn comment_shown(row: &QueryResult) -> Result<CommentShown> {
    let (incident, author): (Uuid, String) = (row.try_get_by_index(0)?, row.try_get_by_index(2)?);
    let (written_on, version): (Option<Uuid>, i64) = (row.try_get_by_index(4)?, row.try_get_by_index(5)?);
    let text: (Option<Uuid>, Option<i64>) = (row.try_get_by_index(6)?, row.try_get_by_index(7)?);
    let by = |(incident, version)| TextSetBy { incident: IncidentId(incident), version: version as u64 };
    Ok(CommentShown {
        incident: IncidentId(incident),
        id: CommentId(row.try_get_by_index(1)?),
        author: json(&author)?,
        created_at: row.try_get_by_index(3)?,
        first: by((written_on.unwrap_or(incident), version)),
        text: text.0.zip(text.1).map(by),
    })
}
