//! The log of changes and its head, which the server makes at its first start with an epoch of its own.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// `log_mark` records the log's length at certain times, for the floor of the streams. `log_head` has one row.
const UP: &str = r#"
CREATE TABLE log_head (
    id smallint PRIMARY KEY CHECK (id = 1),
    epoch {uuid} NOT NULL,
    position bigint NOT NULL,
    hash {bytes} NOT NULL,
    floor bigint NOT NULL
);
CREATE TABLE log_mark (
    at {instant} PRIMARY KEY,
    position bigint NOT NULL
);
CREATE TABLE change (
    position bigint PRIMARY KEY,
    incident_id {uuid} NOT NULL REFERENCES incident (id) DEFERRABLE INITIALLY DEFERRED,
    version bigint NOT NULL,
    kinds bigint NOT NULL,
    actor_id {uuid},
    at {instant} NOT NULL,
    body text NOT NULL,
    hash {bytes} NOT NULL
);
CREATE UNIQUE INDEX change_by_incident ON change (incident_id, version);
CREATE INDEX change_by_time ON change (at)
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
