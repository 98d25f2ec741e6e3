//! The schema of Watchfloor's database: one text for SQLite and PostgreSQL. Shipped migrations are never edited.

pub use sea_orm_migration;
use sea_orm_migration::prelude::*;

mod m20261122_000001_accounts;
mod m20261122_000002_incidents;
mod m20261122_000003_changelog;
mod m20261124_000001_reports;
mod m20261124_000002_binary_order;
mod m20261124_000003_account_changes;
mod m20261125_000001_idempotency;
mod m20261125_000002_merges;
mod m20261125_000003_attachments;
mod m20261125_000004_views;
mod m20261125_000005_bookmarks;
mod m20261125_000006_bulk;
mod m20261125_000007_open_entities;
mod m20261129_000001_active_alerts;
mod m20261129_000005_addresses;
mod m20261129_000006_alert_log;
mod m20261130_000001_open_incidents;
mod m20261130_000002_search;
mod m20261130_000003_bulk_lists;
mod m20261130_000004_resolved_order;
mod m20261130_000005_alert_owners;
mod m20261130_000006_desk_log;
mod m20261130_000007_empty_conditions;
mod m20261201_000001_alert_names;

/// Every migration, in the order of its date.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_accounts::Migration),
            Box::new(m20261122_000002_incidents::Migration),
            Box::new(m20261122_000003_changelog::Migration),
            Box::new(m20261124_000001_reports::Migration),
            Box::new(m20261124_000002_binary_order::Migration),
            Box::new(m20261124_000003_account_changes::Migration),
            Box::new(m20261125_000001_idempotency::Migration),
            Box::new(m20261125_000002_merges::Migration),
            Box::new(m20261125_000003_attachments::Migration),
            Box::new(m20261125_000004_views::Migration),
            Box::new(m20261125_000005_bookmarks::Migration),
            Box::new(m20261125_000006_bulk::Migration),
            Box::new(m20261125_000007_open_entities::Migration),
            Box::new(m20261129_000001_active_alerts::Migration),
            Box::new(m20261129_000005_addresses::Migration),
            Box::new(m20261129_000006_alert_log::Migration),
            Box::new(m20261130_000001_open_incidents::Migration),
            Box::new(m20261130_000002_search::Migration),
            Box::new(m20261130_000003_bulk_lists::Migration),
            Box::new(m20261130_000004_resolved_order::Migration),
            Box::new(m20261130_000005_alert_owners::Migration),
            Box::new(m20261130_000006_desk_log::Migration),
            Box::new(m20261130_000007_empty_conditions::Migration),
            Box::new(m20261201_000001_alert_names::Migration),
        ]
    }
}

/// Runs statements with the same text on both databases. `{instant}`, `{bytes}` and `{binary}` stand for the types and
/// the collation in which the databases differ.
async fn run(manager: &SchemaManager<'_>, statements: &str) -> Result<(), DbErr> {
    let postgres = manager.get_database_backend() == sea_orm::DbBackend::Postgres;
    let (instant, bytes, binary) =
        if postgres { ("timestamptz", "bytea", "COLLATE \"C\"") } else { ("timestamp_text", "blob", "COLLATE BINARY") };
    let uuid = if postgres { "uuid" } else { "uuid_blob" };
    let statements = statements
        .replace("{instant}", instant)
        .replace("{bytes}", bytes)
        .replace("{binary}", binary)
        .replace("{uuid}", uuid);
    for statement in statements.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        manager.get_connection().execute_unprepared(statement).await?;
    }
    Ok(())
}
