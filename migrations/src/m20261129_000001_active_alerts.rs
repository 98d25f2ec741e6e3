//! Whether an incident holds an alert that is not resolved.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// False until the next change of an incident's alerts or status: the log says nothing else of the changes before, and the
/// tables show what the log adds up to. The index answers whether an incident holds such an alert, whatever else it holds.
const UP: &str = r#"
ALTER TABLE incident ADD COLUMN has_active_alerts boolean NOT NULL DEFAULT false;
CREATE INDEX alert_active ON alert (incident_id) WHERE status <> 3
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
