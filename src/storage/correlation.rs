//! Correlation: who decides about these entities at this moment, and which open incidents hold them.

use std::collections::{BTreeSet, HashMap, HashSet};

use sea_orm::{ConnectionTrait, DbBackend};
use sha2::{Digest, Sha256};

use super::{IDS_PER_STATEMENT, Reader, Tx, places, statement};
use crate::domain::correlation::Activity;
use crate::domain::entity::EntityKey;
use crate::domain::{IncidentId, Instant, Result};

/// A number of our own for PostgreSQL's advisory locks ("WATE" in ASCII).
const ENTITY_LOCKS: i32 = 0x5741_5445;

/// So many locks stand for all entities: a batch of thousands must not fill the table of locks, which every transaction of
/// the database shares (6,400 by default). Two entities of one lock only wait for each other.
const LOCKS: u16 = 512;

/// Wanted entities that one statement names: two parameters for each.
const KEYS_PER_STATEMENT: usize = IDS_PER_STATEMENT / 2;

/// An open incident, as far as correlation asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenIncident {
    /// Its number.
    pub number: i64,
    /// From the first to the last of what it holds; an alert that tells no time counts when it came in.
    pub activity: Activity,
}

/// Which of the locks stands for an entity. Every node and every version must say the same, so it is no hasher's.
fn lock_of(key: &EntityKey) -> u16 {
    let mut hash = Sha256::new();
    hash.update(key.value.as_bytes());
    let digest = hash.finalize();
    u16::from_be_bytes([digest[0], digest[1]]) % LOCKS
}

impl Tx {
    /// Until the commit nobody else decides about these entities: two alerts that name one of them come one after the other,
    /// and the second one sees what the first one did.
    ///
    /// To be called before anything else is locked, and the locks are taken in ascending order: so nobody who holds one waits
    /// for somebody who wants one. SQLite has one writer at a time anyway.
    pub async fn lock_entities<'a>(&self, keys: impl Iterator<Item = &'a EntityKey>) -> Result<()> {
        let locks: BTreeSet<u16> = keys.map(lock_of).collect();
        if locks.is_empty() || self.conn().get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let list = locks.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let sql = "SELECT pg_advisory_xact_lock($1, lock) FROM unnest(string_to_array($2, ',')::int[]) AS lock";
        self.conn().query_all_raw(statement(self, sql, [ENTITY_LOCKS.into(), list.into()])).await?;
        Ok(())
    }
}

/// `value_key` and `kind` as the index has them, of an open incident.
const HELD: &str = "h.value_key = w.value_key AND h.kind = w.kind AND h.open = true AND h.to_version IS NULL";

impl Reader {
    /// Those of these entities that more than `bound` open incidents hold. No more than `bound` + 1 of each are looked at.
    pub async fn held_by_more(&self, keys: &[EntityKey], bound: u64) -> Result<HashSet<EntityKey>> {
        let ask = format!(
            "SELECT w.kind, w.value_key FROM wanted w WHERE (SELECT COUNT(*) FROM
                (SELECT DISTINCT h.incident_id FROM incident_entity h WHERE {HELD} LIMIT {}) AS few) > {bound}",
            bound + 1
        );
        let mut found = HashSet::new();
        for keys in keys.chunks(KEYS_PER_STATEMENT) {
            for row in self.conn().query_all_raw(about(self, keys, &ask)).await? {
                found.insert(EntityKey { kind: row.try_get_by_index(0)?, value: row.try_get_by_index(1)? });
            }
        }
        Ok(found)
    }

    /// Which open incidents hold which of these entities.
    pub async fn open_holders(&self, keys: &[EntityKey]) -> Result<Vec<(IncidentId, EntityKey)>> {
        let ask = format!(
            "SELECT DISTINCT h.incident_id, w.kind, w.value_key FROM wanted w JOIN incident_entity h ON {HELD}"
        );
        let mut found = Vec::new();
        for keys in keys.chunks(KEYS_PER_STATEMENT) {
            for row in self.conn().query_all_raw(about(self, keys, &ask)).await? {
                let key = EntityKey { kind: row.try_get_by_index(1)?, value: row.try_get_by_index(2)? };
                found.push((IncidentId(row.try_get_by_index(0)?), key));
            }
        }
        Ok(found)
    }

    /// Those of these incidents that are open, each with the time that its alerts span.
    pub async fn open_incidents(&self, ids: &[IncidentId]) -> Result<HashMap<IncidentId, OpenIncident>> {
        let mut found = HashMap::new();
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            let sql = format!(
                "SELECT i.id, i.number, i.first_activity_at, i.last_activity_at,
                    MIN(COALESCE(a.first_activity_at, a.last_activity_at, a.created_at)),
                    MAX(COALESCE(a.last_activity_at, a.first_activity_at, a.created_at))
                 FROM incident i JOIN alert a ON a.incident_id = i.id
                 WHERE i.id IN ({}) AND i.status IN (1, 2) AND i.deleted_at IS NULL
                 GROUP BY i.id, i.number, i.first_activity_at, i.last_activity_at",
                places(ids.len())
            );
            for row in self.conn().query_all_raw(statement(self, &sql, ids.iter().map(|id| id.0.into()))).await? {
                let stated: (Option<Instant>, Option<Instant>) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
                let (first, last): (Instant, Instant) = (row.try_get_by_index(4)?, row.try_get_by_index(5)?);
                let alerts = Activity { first, last };
                let (from, until) = (stated.0.unwrap_or(first), stated.1.unwrap_or(last));
                let activity = alerts.and(&Activity { first: from, last: until });
                let incident = OpenIncident { number: row.try_get_by_index(1)?, activity };
                found.insert(IncidentId(row.try_get_by_index(0)?), incident);
            }
        }
        Ok(found)
    }
}

/// A statement about the entities of `wanted`.
fn about(reader: &Reader, keys: &[EntityKey], ask: &str) -> super::Statement {
    let pairs: Vec<String> = (0..keys.len()).map(|at| format!("(${}, ${})", 2 * at + 1, 2 * at + 2)).collect();
    let sql = format!("WITH wanted (kind, value_key) AS (VALUES {}) {ask}", pairs.join(", "));
    let values = keys.iter().flat_map(|key| [key.kind.into(), key.value.as_str().into()]);
    statement(reader, &sql, values)
}
