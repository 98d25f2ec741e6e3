//! The reports of alerts that imports have applied.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// A file may be imported twice, or an older export after a newer one: the digest identifies a report that was applied.
const UP: &str = r#"
CREATE TABLE alert_report (
    alert_id {uuid} NOT NULL REFERENCES alert (id),
    digest {bytes} NOT NULL,
    at {instant},
    PRIMARY KEY (alert_id, digest)
)
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
