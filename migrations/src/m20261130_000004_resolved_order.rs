//! The order of incidents by the time of their resolution, in both directions.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Incidents without a resolution come last in both directions. The orders by activity have generated columns for that.
/// Here an index of the expression serves, because PostgreSQL rewrites the whole table for a new generated column, and
/// SQLite refuses it. A query must have the expression as it is written here: see `storage/queue.rs`.
const UP: &str = r#"
CREATE INDEX incident_by_resolved_asc ON incident (COALESCE(resolved_at, '9999-12-31T00:00:00+00:00'), id)
    WHERE deleted_at IS NULL;
CREATE INDEX incident_by_resolved_desc ON incident (COALESCE(resolved_at, '0001-01-01T00:00:00+00:00'), id)
    WHERE deleted_at IS NULL
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
