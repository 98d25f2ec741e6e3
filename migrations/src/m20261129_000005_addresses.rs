//! Compares IPv6 addresses in one form (RFC 5952), and rewrites the keys that were stored in another form.

use std::net::Ipv6Addr;

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, Statement};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// No other key has two colons and is an address as well, so few rows are read.
const KEYS: &str = "SELECT value_key FROM alert_entity WHERE value_key LIKE '%:%:%'
    UNION SELECT value_key FROM incident_entity WHERE value_key LIKE '%:%:%'";

/// An incident may hold both forms through one alert; then one row remains.
const MOVED: [&str; 3] = [
    "UPDATE alert_entity SET value_key = $2 WHERE value_key = $1",
    "DELETE FROM incident_entity WHERE value_key = $1 AND EXISTS (SELECT 1 FROM incident_entity h
        WHERE h.incident_id = incident_entity.incident_id AND h.alert_id = incident_entity.alert_id
            AND h.kind = incident_entity.kind AND h.from_version = incident_entity.from_version AND h.value_key = $2)",
    "UPDATE incident_entity SET value_key = $2 WHERE value_key = $1",
];

/// Rewrites a key in the new form; text after the address stays.
fn one_form(key: &str) -> Option<String> {
    let end = key.find(['%', '/']).unwrap_or(key.len());
    let address: Ipv6Addr = key[..end].parse().ok()?;
    Some(format!("{address}{}", &key[end..]))
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let backend = manager.get_database_backend();
        for row in connection.query_all_raw(Statement::from_string(backend, KEYS)).await? {
            let key: String = row.try_get_by_index(0)?;
            let Some(form) = one_form(&key).filter(|form| *form != key) else { continue };
            for sql in MOVED {
                let values = [key.as_str().into(), form.as_str().into()];
                connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
            }
        }
        Ok(())
    }
}
