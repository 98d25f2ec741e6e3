//! Whether an incident holds an alert that is not resolved.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// False until the next change of an incident's alerts or status: the log says nothing else of earlier changes, and the
/// tables show the sum of the log. The index finds an active alert without a read of the incident's other alerts.
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
