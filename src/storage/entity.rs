//! Entities: the entities that each alert names, and the versions of an incident in which it held each entity.

use std::collections::{BTreeSet, HashMap};

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Query;
use sea_orm::{ActiveEnum, QueryOrder, UpdateMany};

use super::incident::row as incident;
use super::{IDS_PER_STATEMENT, Reader, Tx, rows, statement};
use crate::domain::alert::Alert;
use crate::domain::entity::{CASELESS, Entity as NamedEntity, EntityKey, EntityKind, ONE_FORM, Verdict, key};
use crate::domain::incident::Incident;
use crate::domain::summary::OPEN;
use crate::domain::{AlertId, IncidentId, Result};

pub(super) mod named {
    //! An entity that an alert names.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "alert_entity")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) alert_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) ordinal: i32,
        pub(in crate::storage) kind: crate::domain::entity::EntityKind,
        pub(in crate::storage) value: String,
        pub(in crate::storage) value_key: String,
        pub(in crate::storage) verdict: Option<crate::domain::entity::Verdict>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod held {
    //! An entity that an incident holds through an alert, from `from_version` until before `to_version`. While it is
    //! held, `open` tells whether the incident is open.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "incident_entity")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) incident_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) alert_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) kind: crate::domain::entity::EntityKind,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) value_key: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) from_version: i64,
        pub(in crate::storage) to_version: Option<i64>,
        pub(in crate::storage) open: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Rows per INSERT: six columns each, and SQLite takes 32,766 parameters.
const ROWS_PER_INSERT: usize = 4_000;

/// An entity of an incident, summarised over the incident's alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntitySummary {
    /// The kind of entity.
    pub kind: EntityKind,
    /// Its value, as an alert writes it.
    pub value: String,
    /// The strongest verdict on it by an alert.
    pub verdict: Option<Verdict>,
    /// The number of the incident's alerts that name it.
    pub alerts: u64,
}

/// The versions of an incident in which it held an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntitySpan {
    /// The incident that held the entity.
    pub incident: IncidentId,
    /// The entity that it held.
    pub entity: EntityKey,
    /// The first version with the entity.
    pub from_version: u64,
    /// The first version without the entity, or none while it is held.
    pub to_version: Option<u64>,
}

impl EntitySpan {
    /// Whether the incident held the entity in a version.
    pub fn covers(&self, version: u64) -> bool {
        self.from_version <= version && self.to_version.is_none_or(|to| version < to)
    }
}

/// Returns SQL for [`NamedEntity::identity`], by which the entities of an incident's alerts are grouped; `e` is an
/// alert's entity. `lower` changes only ASCII letters, on PostgreSQL by the column's collation.
fn identity() -> String {
    let list =
        |kinds: &[EntityKind]| kinds.iter().map(|kind| format!("'{}'", kind.to_value())).collect::<Vec<_>>().join(", ");
    format!(
        "CASE WHEN e.kind IN ({}) OR (e.kind IN ({}) AND lower(e.value) = e.value_key) THEN e.value_key ELSE e.value END",
        list(&ONE_FORM),
        list(&CASELESS)
    )
}

/// Builds the rows of the entities that an alert names, in the provider's order.
pub(super) fn to_rows(alert: &Alert) -> impl Iterator<Item = named::Model> {
    alert.report.entities.iter().enumerate().map(|(ordinal, entity)| named::Model {
        alert_id: alert.id.0,
        ordinal: ordinal as i32,
        kind: entity.kind,
        value: entity.value.clone(),
        value_key: key(&entity.value),
        verdict: entity.verdict,
    })
}

/// Builds the rows of the entities that an incident holds through an alert from this version on. Equal keys give one
/// row.
pub(super) fn holding(incident: &Incident, alert: &Alert, from_version: u64) -> impl Iterator<Item = held::Model> {
    let keys: BTreeSet<EntityKey> = alert.report.entities.iter().map(NamedEntity::key).collect();
    let (incident_id, alert_id, open) = (incident.id.0, alert.id.0, incident.is_open());
    keys.into_iter().map(move |EntityKey { kind, value }| held::Model {
        incident_id,
        alert_id,
        kind,
        value_key: value,
        from_version: from_version as i64,
        to_version: None,
        open,
    })
}

impl Reader {
    /// Reads the entities of these alerts, each list in the provider's order.
    pub(super) async fn named_entities(&self, alerts: &[Uuid]) -> Result<HashMap<Uuid, Vec<NamedEntity>>> {
        let mut entities: HashMap<Uuid, Vec<NamedEntity>> = HashMap::new();
        for alerts in alerts.chunks(IDS_PER_STATEMENT) {
            let rows = named::Entity::find()
                .filter(named::Column::AlertId.is_in(alerts.iter().copied()))
                .order_by_asc(named::Column::AlertId)
                .order_by_asc(named::Column::Ordinal)
                .all(self.conn())
                .await?;
            for row in rows {
                let entity = NamedEntity { kind: row.kind, value: row.value, verdict: row.verdict };
                entities.entry(row.alert_id).or_default().push(entity);
            }
        }
        Ok(entities)
    }

    /// Reads at most `limit` entities of each incident: the worst verdict first, then the entities that most alerts
    /// name.
    pub async fn incident_entities(
        &self,
        incidents: &[IncidentId],
        limit: u64,
    ) -> Result<HashMap<IncidentId, Vec<EntitySummary>>> {
        let sql = format!(
            "SELECT incident_id, kind, value, verdict, alerts FROM (
                SELECT a.incident_id, e.kind, MIN(e.value) AS value, MAX(e.verdict) AS verdict,
                    COUNT(DISTINCT e.alert_id) AS alerts,
                    ROW_NUMBER() OVER (PARTITION BY a.incident_id ORDER BY COALESCE(MAX(e.verdict), 0) DESC,
                        COUNT(DISTINCT e.alert_id) DESC, e.kind, e.value_key, MIN(e.value)) AS place
                FROM alert_entity e JOIN alert a ON a.id = e.alert_id
                WHERE a.incident_id IN ({})
                GROUP BY a.incident_id, e.kind, e.value_key, {identity}
             ) AS ranked WHERE place <= {limit} ORDER BY incident_id, place",
            super::places(incidents.len()),
            identity = identity()
        );
        let values = incidents.iter().map(|id| id.0.into());
        let rows = self.conn().query_all_raw(statement(self, &sql, values)).await?;
        let mut entities: HashMap<IncidentId, Vec<EntitySummary>> = HashMap::new();
        for row in rows {
            let entity = EntitySummary {
                kind: row.try_get_by_index(1)?,
                value: row.try_get_by_index(2)?,
                verdict: row.try_get_by_index(3)?,
                alerts: row.try_get_by_index::<i64>(4)? as u64,
            };
            entities.entry(IncidentId(row.try_get_by_index(0)?)).or_default().push(entity);
        }
        Ok(entities)
    }

    /// Reads at most `limit` entities that an incident held in a version, ordered by the number of alerts that named
    /// them. Former verdicts are not stored. A value has the present spelling of an alert, or else its folded form.
    pub async fn entities_as_of(&self, incident: IncidentId, version: u64, limit: u64) -> Result<Vec<EntitySummary>> {
        let sql = format!(
            "SELECT h.kind, COALESCE(MIN(e.value), h.value_key), COUNT(DISTINCT h.alert_id)
             FROM incident_entity h LEFT JOIN alert_entity e
                ON e.alert_id = h.alert_id AND e.kind = h.kind AND e.value_key = h.value_key
             WHERE h.incident_id = $1 AND h.from_version <= $2 AND (h.to_version IS NULL OR h.to_version > $2)
             GROUP BY h.kind, h.value_key, {identity}
             ORDER BY COUNT(DISTINCT h.alert_id) DESC, h.kind, h.value_key, MIN(e.value) LIMIT {limit}",
            identity = identity()
        );
        let values = [incident.0.into(), (version as i64).into()];
        let rows = self.conn().query_all_raw(statement(self, &sql, values)).await?;
        rows.iter()
            .map(|row| {
                Ok(EntitySummary {
                    kind: row.try_get_by_index(0)?,
                    value: row.try_get_by_index(1)?,
                    verdict: None,
                    alerts: row.try_get_by_index::<i64>(2)? as u64,
                })
            })
            .collect()
    }

    /// Reads the versions in which these incidents held entities with these folded values.
    pub async fn entity_spans(&self, values: &[String], incidents: &[IncidentId]) -> Result<Vec<EntitySpan>> {
        if values.is_empty() || incidents.is_empty() {
            return Ok(Vec::new());
        }
        let rows = held::Entity::find()
            .filter(held::Column::ValueKey.is_in(values.iter().cloned()))
            .filter(held::Column::IncidentId.is_in(incidents.iter().map(|id| id.0)))
            .all(self.conn())
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| EntitySpan {
                incident: IncidentId(row.incident_id),
                entity: EntityKey { kind: row.kind, value: row.value_key },
                from_version: row.from_version as u64,
                to_version: row.to_version.map(|version| version as u64),
            })
            .collect())
    }
}

impl Tx {
    /// Writes the entities that these alerts name. `replace` deletes their former entities first.
    pub(super) async fn save_named_entities(&self, alerts: &[&Alert], replace: bool) -> Result<()> {
        if replace {
            let ids = alerts.iter().map(|alert| alert.id.0);
            named::Entity::delete_many().filter(named::Column::AlertId.is_in(ids)).exec(self.conn()).await?;
        }
        let rows: Vec<named::Model> = alerts.iter().flat_map(|alert| to_rows(alert)).collect();
        for insert in rows::inserts::<named::Entity>(self.conn().get_database_backend(), &rows, ROWS_PER_INSERT) {
            self.conn().execute_raw(insert).await?;
        }
        Ok(())
    }

    /// Records that an incident holds the entities of these alerts from this version on.
    pub async fn hold_entities(&self, incident: IncidentId, version: u64, alerts: &[AlertId]) -> Result<()> {
        let open = Query::select()
            .expr(Expr::value(1))
            .from(incident::Entity)
            .and_where(incident::Column::Id.eq(incident.0))
            .and_where(incident::Column::Status.is_in(OPEN))
            .and_where(incident::Column::DeletedAt.is_null())
            .to_owned();
        for alerts in alerts.chunks(IDS_PER_STATEMENT) {
            // An alert may name several entities with one key.
            let copied = Query::select()
                .distinct()
                .expr(Expr::value(incident.0))
                .column(named::Column::AlertId)
                .column(named::Column::Kind)
                .column(named::Column::ValueKey)
                .expr(Expr::value(version as i64))
                .expr(Expr::exists(open.clone()))
                .from(named::Entity)
                .and_where(named::Column::AlertId.is_in(alerts.iter().map(|id| id.0)))
                .to_owned();
            let mut insert = Query::insert();
            insert.into_table(held::Entity).columns([
                held::Column::IncidentId,
                held::Column::AlertId,
                held::Column::Kind,
                held::Column::ValueKey,
                held::Column::FromVersion,
                held::Column::Open,
            ]);
            insert
                .select_from(copied)
                .map_err(|error| crate::domain::Error::fault("noting what an incident holds", error.to_string()))?;
            self.conn().execute(&insert).await?;
        }
        Ok(())
    }

    /// Updates `open` on the entities that an incident holds, after the incident was opened or closed.
    pub(super) async fn note_open(&self, incident: &Incident) -> Result<()> {
        held::Entity::update_many()
            .col_expr(held::Column::Open, Expr::value(incident.is_open()))
            .filter(held::Column::IncidentId.eq(incident.id.0))
            .filter(held::Column::ToVersion.is_null())
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Records that an incident no longer holds the entities of these alerts from this version on.
    pub async fn release_entities(&self, incident: IncidentId, version: u64, alerts: &[AlertId]) -> Result<()> {
        for alerts in alerts.chunks(IDS_PER_STATEMENT) {
            releasing(incident, version)
                .filter(held::Column::AlertId.is_in(alerts.iter().map(|id| id.0)))
                .exec(self.conn())
                .await?;
        }
        Ok(())
    }

    /// Records that an incident holds no entity from this version on.
    pub async fn release_all_entities(&self, incident: IncidentId, version: u64) -> Result<()> {
        releasing(incident, version).exec(self.conn()).await?;
        Ok(())
    }
}

fn releasing(incident: IncidentId, version: u64) -> UpdateMany<held::Entity> {
    held::Entity::update_many()
        .col_expr(held::Column::ToVersion, Expr::value(version as i64))
        .filter(held::Column::IncidentId.eq(incident.0))
        .filter(held::Column::ToVersion.is_null())
}
