//! Saved views, each user's default view, and the time of each last visit.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Named `saved_view`, because `view` is an SQL keyword. A visit records the log's length: later changes are unread.
const UP: &str = r#"
CREATE TABLE saved_view (
    id {uuid} PRIMARY KEY,
    slug text {binary} NOT NULL,
    name text NOT NULL,
    owner_id {uuid} NOT NULL REFERENCES "user" (id),
    visibility text NOT NULL,
    filter text NOT NULL,
    order_by text NOT NULL,
    created_at {instant} NOT NULL,
    updated_at {instant} NOT NULL
);
CREATE UNIQUE INDEX saved_view_by_slug ON saved_view (slug);
CREATE INDEX saved_view_by_owner ON saved_view (owner_id);
CREATE INDEX saved_view_by_visibility ON saved_view (visibility);
CREATE TABLE view_default (
    user_id {uuid} PRIMARY KEY REFERENCES "user" (id),
    view_id {uuid} NOT NULL REFERENCES saved_view (id)
);
CREATE INDEX view_default_by_view ON view_default (view_id);
CREATE TABLE view_visit (
    user_id {uuid} NOT NULL REFERENCES "user" (id),
    view_id {uuid} NOT NULL REFERENCES saved_view (id),
    position bigint NOT NULL,
    at {instant} NOT NULL,
    PRIMARY KEY (user_id, view_id)
);
CREATE INDEX view_visit_by_view ON view_visit (view_id)
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
