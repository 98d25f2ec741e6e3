//! Bulk jobs and their incidents.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The incidents of a job are frozen when it is made. The transaction that changes an incident also writes its result.
const UP: &str = r#"
CREATE TABLE bulk_job (
    id {uuid} PRIMARY KEY,
    user_id {uuid} NOT NULL,
    actor text NOT NULL,
    client_mutation_id text,
    edit text NOT NULL,
    total bigint NOT NULL,
    changed bigint NOT NULL,
    unchanged bigint NOT NULL,
    refused bigint NOT NULL,
    state text NOT NULL,
    created_at {instant} NOT NULL,
    finished_at {instant}
);
CREATE INDEX bulk_job_running ON bulk_job (created_at, id) WHERE state = 'RUNNING';
CREATE INDEX bulk_job_by_end ON bulk_job (finished_at);
CREATE TABLE bulk_item (
    job_id {uuid} NOT NULL REFERENCES bulk_job (id),
    ordinal bigint NOT NULL,
    incident_id {uuid} NOT NULL,
    outcome text,
    code text,
    message text,
    PRIMARY KEY (job_id, ordinal)
);
CREATE INDEX bulk_item_waiting ON bulk_item (job_id, ordinal) WHERE outcome IS NULL
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
