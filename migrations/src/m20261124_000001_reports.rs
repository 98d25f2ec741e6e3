//! What imports have told of alerts.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// A file is told twice, or an older export after a newer one: a report that was applied is known again by its digest.
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
