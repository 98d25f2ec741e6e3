//! Statistics of the products and providers of alerts in lower case, by which filters compare them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Without them PostgreSQL takes every product for rare, and reads all alerts first instead of the open incidents. A
/// query must have the expression as it is written here: see `named` in `storage/filter.rs`. SQLite plans without them.
const UP: &str = "
CREATE STATISTICS alert_product ON (lower(product)) FROM alert;
CREATE STATISTICS alert_provider ON (lower(provider)) FROM alert;
ANALYZE alert
";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        crate::run(manager, UP).await
    }
}
