//! Gives the columns that are ordered, or of which a minimum is taken, the same order on every database.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// A column without a collation has the collation of its database, and PostgreSQL's depends on the locale: `apple,
/// Banana` here, `Banana, apple` there. SQLite compares bytes already.
///
/// The values of enums are included: `_` sorts before letters in some locales and after them in bytes.
const COLUMNS: &[(&str, &[&str])] = &[
    ("\"user\"", &["account", "name"]),
    ("\"group\"", &["account", "name"]),
    ("tag", &["kind", "name"]),
    ("incident", &["title", "title_folded", "description_folded", "products", "providers"]),
    ("incident_tag", &["kind"]),
    ("incident_entity", &["kind"]),
    ("alert", &["provider", "provider_alert_id", "product", "title", "title_folded", "category"]),
    ("alert_entity", &["kind", "value"]),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        for (table, columns) in COLUMNS {
            let each = columns.iter().map(|column| format!("ALTER COLUMN {column} TYPE text {{binary}}"));
            crate::run(manager, &format!("ALTER TABLE {table} {}", each.collect::<Vec<_>>().join(", "))).await?;
        }
        Ok(())
    }
}
