//! The account version: counts the changes of accounts.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Streams hold the rights and groups of their caller. Each node reads in this column that they may have changed.
const UP: &str = "ALTER TABLE log_head ADD COLUMN accounts bigint NOT NULL DEFAULT 0";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await
    }
}
