//! Similar incidents: incidents that share entities, with a score.

use std::collections::HashMap;

use sea_orm::ConnectionTrait;

use super::{Reader, places, statement};
use crate::domain::IncidentId;
use crate::domain::Result;
use crate::domain::entity::{EntityKind, Verdict};

/// The most entities of an incident that are looked for elsewhere: the entities that it shows first. An incident of
/// 5,000 alerts names ten times as many, too many to read.
const ENTITIES_MAX: u32 = 100;

/// The most other incidents that may hold an entity. An entity of more (everybody's mail gateway) tells nothing.
const HOLDERS_MAX: u32 = 100;

/// The weight of an entity that one other incident holds. An entity that `n` other incidents hold weighs `1,000 / n`,
/// rounded down.
const WEIGHT: u32 = 1_000;

/// The most shared entities that are returned for a similar incident, the rarest first. `shared` counts them all.
const REASONS_MAX: u32 = 10;

/// An incident that shares entities with another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Similarity {
    /// The id of the similar incident.
    pub incident: IncidentId,
    /// The sum of the weights of the shared entities.
    pub score: u64,
    /// The number of shared entities.
    pub shared: u64,
    /// The rarest shared entities.
    pub reasons: Vec<EntityInCommon>,
}

/// An entity that two incidents share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityInCommon {
    /// The kind of entity.
    pub kind: EntityKind,
    /// Its value, as an alert of the given incident writes it.
    pub value: String,
    /// The strongest verdict on it by an alert of the given incident.
    pub verdict: Option<Verdict>,
    /// The number of other incidents that hold it.
    pub others: u64,
}

impl Reader {
    /// Returns incidents that share entities with each of these, at most `limit` for each: open incidents first, then
    /// by score, then the newest. Deleted and merged incidents are left out.
    ///
    /// It takes one statement. Each entity is looked up in one range of an index, and the lookup stops once too many
    /// incidents hold it. Both databases divide integers, so their scores are equal.
    pub async fn similar_incidents(
        &self,
        incidents: &[IncidentId],
        limit: u64,
    ) -> Result<HashMap<IncidentId, Vec<Similarity>>> {
        let sql = format!(
            "WITH mine AS (
                SELECT * FROM (
                    SELECT a.incident_id AS asked, e.kind, e.value_key, MIN(e.value) AS value, MAX(e.verdict) AS verdict,
                        ROW_NUMBER() OVER (PARTITION BY a.incident_id ORDER BY COALESCE(MAX(e.verdict), 0) DESC,
                            COUNT(DISTINCT e.alert_id) DESC, e.kind, e.value_key) AS place
                    FROM alert_entity e JOIN alert a ON a.id = e.alert_id WHERE a.incident_id IN ({places})
                    GROUP BY a.incident_id, e.kind, e.value_key
                ) AS named WHERE place <= {ENTITIES_MAX}
             ), weighed AS MATERIALIZED (
                SELECT mine.*, (SELECT COUNT(*) FROM (
                    SELECT DISTINCT h.incident_id FROM incident_entity h WHERE h.value_key = mine.value_key
                        AND h.kind = mine.kind AND h.to_version IS NULL LIMIT {HOLDERS_MAX} + 2
                ) AS few) - 1 AS others FROM mine
             ), pairs AS (
                SELECT DISTINCT w.asked, w.kind, w.value_key, w.value, w.verdict, w.others, h.incident_id AS other
                FROM weighed w JOIN incident_entity h ON h.value_key = w.value_key AND h.kind = w.kind
                    AND h.to_version IS NULL AND h.incident_id <> w.asked
                WHERE w.others BETWEEN 1 AND {HOLDERS_MAX}
             ), scored AS (
                SELECT pairs.*, CAST(SUM({WEIGHT} / others) OVER (PARTITION BY asked, other) AS bigint) AS score,
                    COUNT(*) OVER (PARTITION BY asked, other) AS shared,
                    ROW_NUMBER() OVER (PARTITION BY asked, other ORDER BY others, kind, value_key) AS reason
                FROM pairs
             )
             SELECT asked, other, score, shared, kind, value, verdict, others FROM (
                SELECT scored.*, DENSE_RANK() OVER (PARTITION BY asked
                    ORDER BY CASE WHEN i.status IN (1, 2) THEN 0 ELSE 1 END, score DESC, i.number DESC) AS place
                FROM scored JOIN incident i ON i.id = scored.other
                WHERE i.deleted_at IS NULL AND i.redirected_to IS NULL
             ) AS ranked WHERE place <= {limit} AND reason <= {REASONS_MAX} ORDER BY asked, place, reason",
            places = places(incidents.len())
        );
        let rows = self.conn().query_all_raw(statement(self, &sql, incidents.iter().map(|id| id.0.into()))).await?;
        let mut found: HashMap<IncidentId, Vec<Similarity>> = HashMap::new();
        for row in rows {
            let similar = found.entry(IncidentId(row.try_get_by_index(0)?)).or_default();
            let incident = IncidentId(row.try_get_by_index(1)?);
            if similar.last().is_none_or(|last| last.incident != incident) {
                let (score, shared): (i64, i64) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
                let (score, shared) = (score as u64, shared as u64);
                similar.push(Similarity { incident, score, shared, reasons: Vec::new() });
            }
            if let Some(last) = similar.last_mut() {
                last.reasons.push(EntityInCommon {
                    kind: row.try_get_by_index(4)?,
                    value: row.try_get_by_index(5)?,
                    verdict: row.try_get_by_index(6)?,
                    others: row.try_get_by_index::<i64>(7)? as u64,
                });
            }
        }
        Ok(found)
    }
}
