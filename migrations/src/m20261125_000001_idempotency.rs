//! Outcomes of mutations, kept under the keys of their clients.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// A key belongs to its actor. The outcome is null only inside the transaction that makes it.
const UP: &str = r#"
CREATE TABLE idempotency (
    actor_id {uuid} NOT NULL,
    key text {binary} NOT NULL,
    mutation text NOT NULL,
    input {bytes} NOT NULL,
    outcome text,
    position text,
    at {instant} NOT NULL,
    PRIMARY KEY (actor_id, key)
);
CREATE INDEX idempotency_by_time ON idempotency (at)
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
