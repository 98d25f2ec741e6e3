//! Changes of alerts that no incident holds.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// They belong to the same log as the table `change`: a position is in one of the two tables, and each hash covers the
/// hash of the position before, in either table. `version` counts the changes in each alert's own log, from 1.
///
/// Existing alerts have no change yet: the log of each begins with its next change.
const UP: &str = r#"
CREATE TABLE alert_change (
    position bigint PRIMARY KEY,
    alert_id {uuid} NOT NULL REFERENCES alert (id),
    version bigint NOT NULL,
    kinds bigint NOT NULL,
    actor_id {uuid},
    at {instant} NOT NULL,
    body text NOT NULL,
    hash {bytes} NOT NULL
);
CREATE UNIQUE INDEX alert_change_by_alert ON alert_change (alert_id, version)
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
