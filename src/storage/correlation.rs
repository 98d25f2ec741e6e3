//! Correlation: locks on entities while a command decides about them, and the open incidents that hold entities.

use std::collections::{BTreeSet, HashMap, HashSet};

use sea_orm::{ConnectionTrait, DbBackend};
use sha2::{Digest, Sha256};

use super::{IDS_PER_STATEMENT, Reader, Tx, places, rows, statement};
use crate::domain::correlation::ActivityPeriod;
use crate::domain::entity::EntityKey;
use crate::domain::{IncidentId, Instant, Result};

/// The number of this lock in PostgreSQL's advisory locks ("WATE" in ASCII).
const ENTITY_LOCKS: i32 = 0x5741_5445;

/// The number of locks for all entities. A batch of thousands must not fill the table of locks, which every transaction
/// of the database shares (6,400 by default). Entities with one lock in common only wait for each other.
const LOCKS: u16 = 512;

/// The most entities that one statement names. Each takes two parameters.
const KEYS_PER_STATEMENT: usize = IDS_PER_STATEMENT / 2;

/// An open incident with the data that correlation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenIncident {
    /// The number of the incident.
    pub number: i64,
    /// The time from the first to the last activity. An alert without times counts by its arrival.
    pub activity: ActivityPeriod,
}

/// Returns the lock of an entity. A SHA-256 decides, because every node and every version must choose the same lock.
fn lock_of(key: &EntityKey) -> u16 {
    let mut hash = Sha256::new();
    hash.update(key.value.as_bytes());
    let digest = hash.finalize();
    u16::from_be_bytes([digest[0], digest[1]]) % LOCKS
}

impl Tx {
    /// Locks these entities until the commit (PostgreSQL). Of two alerts that name an entity, the second then sees what
    /// the first has done.
    ///
    /// It must precede every other lock, and takes its locks in ascending order, so that no circle of waits arises.
    /// SQLite has only one writer anyway.
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

/// The condition for an entity of an open incident, in the form of the index's columns.
const HELD: &str = "h.value_key = w.value_key AND h.kind = w.kind AND h.open = true AND h.to_version IS NULL";

impl Reader {
    /// Returns the entities that more than `bound` open incidents hold. At most `bound` + 1 holders of each are read.
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

    /// Returns the pairs of open incident and entity that it holds.
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

    /// Returns the open incidents among these, each with the time that its alerts span.
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
                let alerts = ActivityPeriod { first, last };
                let (from, until) = (stated.0.unwrap_or(first), stated.1.unwrap_or(last));
                let activity = alerts.and(&ActivityPeriod { first: from, last: until });
                let incident = OpenIncident { number: row.try_get_by_index(1)?, activity };
                found.insert(IncidentId(row.try_get_by_index(0)?), incident);
            }
        }
        Ok(found)
    }
}

/// Builds a statement that reads the entities as the table `wanted`.
fn about(reader: &Reader, keys: &[EntityKey], ask: &str) -> super::Statement {
    let pairs = rows::tuples(reader.conn.get_database_backend(), keys.len(), 2);
    let sql = format!("WITH wanted (kind, value_key) AS (VALUES {pairs}) {ask}");
    let values = keys.iter().flat_map(|key| [key.kind.into(), key.value.as_str().into()]);
    statement(reader, &sql, values)
}
