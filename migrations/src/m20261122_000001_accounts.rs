//! Users, groups, and the recent picks of assignees.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const UP: &str = r#"
CREATE TABLE "user" (
    id {uuid} PRIMARY KEY,
    account text NOT NULL,
    account_key text {binary} NOT NULL,
    name text NOT NULL,
    name_key text {binary} NOT NULL,
    email text,
    role text NOT NULL,
    created_at {instant} NOT NULL
);
CREATE UNIQUE INDEX user_by_account ON "user" (account_key);
CREATE INDEX user_by_name ON "user" (name_key);
CREATE TABLE "group" (
    id {uuid} PRIMARY KEY,
    account text NOT NULL,
    account_key text {binary} NOT NULL,
    name text NOT NULL,
    name_key text {binary} NOT NULL,
    created_at {instant} NOT NULL
);
CREATE UNIQUE INDEX group_by_account ON "group" (account_key);
CREATE INDEX group_by_name ON "group" (name_key);
CREATE TABLE group_member (
    group_id {uuid} NOT NULL REFERENCES "group" (id),
    user_id {uuid} NOT NULL REFERENCES "user" (id),
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_member_by_user ON group_member (user_id);
CREATE TABLE assignee_pick (
    picked_by {uuid} NOT NULL REFERENCES "user" (id),
    owner_id {uuid} NOT NULL,
    is_group boolean NOT NULL,
    picked_at {instant} NOT NULL,
    PRIMARY KEY (picked_by, owner_id)
);
CREATE INDEX assignee_pick_by_time ON assignee_pick (picked_by, picked_at)
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
