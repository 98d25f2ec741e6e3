//! Merges of incidents, and the columns that comments need after a move.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Comments of two incidents come together on one. Their versions may be equal, so a page is ordered by time, and an
/// ordinal identifies a text within its comment. `written_on` is null while a comment is on its first incident.
///
/// SQLite cannot change a table's key, so the texts are copied. Their incidents are those of their comments, which are
/// checked. PostgreSQL cannot rename a table while a check of it is deferred to the commit.
const UP: &str = r#"
CREATE TABLE merge (
    source_id {uuid} NOT NULL REFERENCES incident (id),
    source_version bigint NOT NULL,
    target_id {uuid} NOT NULL REFERENCES incident (id),
    target_version bigint NOT NULL,
    former text NOT NULL,
    at {instant} NOT NULL,
    undone_at {instant},
    PRIMARY KEY (source_id, source_version)
);
CREATE INDEX merge_by_target ON merge (target_id, target_version);
ALTER TABLE comment ADD COLUMN written_on {uuid};
DROP INDEX comment_by_incident;
CREATE INDEX comment_by_incident ON comment (incident_id, created_at, version, id);
CREATE TABLE comment_text (
    comment_id {uuid} NOT NULL REFERENCES comment (id),
    ordinal bigint NOT NULL,
    incident_id {uuid} NOT NULL,
    version bigint NOT NULL,
    body text NOT NULL,
    at {instant} NOT NULL,
    by_actor text NOT NULL,
    PRIMARY KEY (comment_id, ordinal)
);
INSERT INTO comment_text (comment_id, ordinal, incident_id, version, body, at, by_actor)
    SELECT r.comment_id, ROW_NUMBER() OVER (PARTITION BY r.comment_id ORDER BY r.version), c.incident_id, r.version,
        r.body, r.at, r.by_actor
    FROM comment_revision r JOIN comment c ON c.id = r.comment_id;
DROP TABLE comment_revision;
ALTER TABLE comment_text RENAME TO comment_revision
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
