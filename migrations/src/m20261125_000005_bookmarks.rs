//! Bookmarks: results of a hunt, pinned to an incident.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The result rows have a table of their own, because they are long and seldom read.
const UP: &str = r#"
CREATE TABLE bookmark (
    id {uuid} PRIMARY KEY,
    incident_id {uuid} NOT NULL REFERENCES incident (id) DEFERRABLE INITIALLY DEFERRED,
    title text NOT NULL,
    query text,
    note text,
    entities text NOT NULL,
    event_at {instant},
    author text NOT NULL,
    created_at {instant} NOT NULL,
    removed_at {instant}
);
CREATE INDEX bookmark_by_incident ON bookmark (incident_id, id);
CREATE TABLE bookmark_rows (
    bookmark_id {uuid} PRIMARY KEY REFERENCES bookmark (id),
    rows text NOT NULL
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
