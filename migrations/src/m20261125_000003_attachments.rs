//! Metadata of attachments. The bytes are in a folder or a bucket.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// `upload` names the upload in progress, and no other upload begins before `upload_until`. So a node that died during
/// an upload blocks the attachment no longer than that.
const UP: &str = r#"
CREATE TABLE attachment (
    id {uuid} PRIMARY KEY,
    incident_id {uuid} NOT NULL REFERENCES incident (id),
    name text NOT NULL,
    type text NOT NULL,
    size bigint NOT NULL,
    author text NOT NULL,
    created_at {instant} NOT NULL,
    ticket {bytes} NOT NULL,
    ticket_expires_at {instant} NOT NULL,
    upload {uuid},
    upload_until {instant},
    stored_at {instant},
    sha256 {bytes},
    CHECK ((stored_at IS NULL) = (sha256 IS NULL))
);
CREATE INDEX attachment_by_incident ON attachment (incident_id, id);
CREATE INDEX attachment_by_expiry ON attachment (ticket_expires_at) WHERE stored_at IS NULL
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
