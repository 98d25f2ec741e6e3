//! Marks the entities of open incidents and indexes the mark with the entity; also indexes tags by kind.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// `open` repeats a fact of the incident's row, so that the open incidents of an entity are one range of one index, for
/// any number of resolved incidents.
const UP: &str = r#"
ALTER TABLE incident_entity ADD COLUMN open boolean NOT NULL DEFAULT false;
UPDATE incident_entity SET open = true WHERE to_version IS NULL
    AND incident_id IN (SELECT id FROM incident WHERE status IN (1, 2) AND deleted_at IS NULL);
CREATE INDEX incident_entity_held ON incident_entity (value_key, kind, open, incident_id) WHERE to_version IS NULL;
CREATE INDEX incident_tag_by_kind ON incident_tag (kind, incident_id)
"#;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await
    }
}
