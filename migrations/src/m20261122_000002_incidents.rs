//! Incidents, their tags, alerts, entities, comments and long texts.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// References to an incident are checked at the commit, because alerts and comments are written before the incident
/// whose row counts them.
///
/// The four `_asc` and `_desc` columns order missing times last in both directions. They are plain columns that are
/// never null, so that a page is one range of one index on both databases.
///
/// `severity_order` and `status_order` repeat columns of few values. They keep the planner from filtering by an order's
/// index: SQLite would read a third of the table by it and sort the rows.
const UP: &str = r#"
CREATE TABLE incident (
    id {uuid} PRIMARY KEY,
    number bigint NOT NULL,
    version bigint NOT NULL,
    title text NOT NULL,
    title_key text {binary} NOT NULL,
    title_folded text NOT NULL,
    title_version bigint NOT NULL,
    title_generated boolean NOT NULL,
    description text,
    description_folded text,
    description_version bigint NOT NULL,
    severity smallint NOT NULL,
    severity_override smallint,
    computed_severity smallint NOT NULL,
    status smallint NOT NULL,
    classification text,
    determination text,
    owner_user_id {uuid} REFERENCES "user" (id),
    owner_group_id {uuid} REFERENCES "group" (id),
    resolution_note text,
    resolution_note_version bigint,
    resolved_at {instant},
    resolved_by text,
    alert_count bigint NOT NULL,
    comment_count bigint NOT NULL,
    products text NOT NULL,
    providers text NOT NULL,
    created_at {instant} NOT NULL,
    created_input {bytes},
    updated_at {instant} NOT NULL,
    stated_first_activity_at {instant},
    stated_last_activity_at {instant},
    first_activity_at {instant},
    last_activity_at {instant},
    first_activity_asc {instant} GENERATED ALWAYS AS (COALESCE(first_activity_at, '9999-12-31T00:00:00+00:00')) STORED,
    first_activity_desc {instant} GENERATED ALWAYS AS (COALESCE(first_activity_at, '0001-01-01T00:00:00+00:00')) STORED,
    last_activity_asc {instant} GENERATED ALWAYS AS (COALESCE(last_activity_at, '9999-12-31T00:00:00+00:00')) STORED,
    last_activity_desc {instant} GENERATED ALWAYS AS (COALESCE(last_activity_at, '0001-01-01T00:00:00+00:00')) STORED,
    severity_order smallint GENERATED ALWAYS AS (severity) STORED,
    status_order smallint GENERATED ALWAYS AS (status) STORED,
    first_assigned_at {instant},
    redirected_to {uuid} REFERENCES incident (id),
    deleted_at {instant},
    CHECK (owner_user_id IS NULL OR owner_group_id IS NULL)
);
CREATE UNIQUE INDEX incident_number ON incident (number);
CREATE INDEX incident_by_updated ON incident (updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX incident_by_created ON incident (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX incident_by_first_activity_asc ON incident (first_activity_asc, id) WHERE deleted_at IS NULL;
CREATE INDEX incident_by_first_activity_desc ON incident (first_activity_desc, id) WHERE deleted_at IS NULL;
CREATE INDEX incident_by_last_activity_asc ON incident (last_activity_asc, id) WHERE deleted_at IS NULL;
CREATE INDEX incident_by_last_activity_desc ON incident (last_activity_desc, id) WHERE deleted_at IS NULL;
CREATE INDEX incident_by_severity ON incident (severity_order, id) WHERE deleted_at IS NULL;
CREATE INDEX incident_by_status ON incident (status_order, id) WHERE deleted_at IS NULL;
CREATE INDEX incident_by_title ON incident (title_key, id) WHERE deleted_at IS NULL;
CREATE INDEX incident_by_owner_user ON incident (owner_user_id, updated_at);
CREATE INDEX incident_by_owner_group ON incident (owner_group_id, updated_at);
CREATE TABLE counter (
    name text PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO counter (name, value) VALUES ('incident_number', 0);
CREATE TABLE incident_text (
    incident_id {uuid} NOT NULL REFERENCES incident (id) DEFERRABLE INITIALLY DEFERRED,
    field text NOT NULL,
    version bigint NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (incident_id, field, version)
);
CREATE TABLE tag (
    kind text NOT NULL,
    key text {binary} NOT NULL,
    name text NOT NULL,
    last_used_at {instant} NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX tag_by_use ON tag (last_used_at);
CREATE TABLE incident_tag (
    incident_id {uuid} NOT NULL REFERENCES incident (id) DEFERRABLE INITIALLY DEFERRED,
    kind text NOT NULL,
    key text {binary} NOT NULL,
    PRIMARY KEY (incident_id, kind, key)
);
CREATE INDEX incident_tag_by_key ON incident_tag (key, incident_id);
CREATE TABLE alert (
    id {uuid} PRIMARY KEY,
    provider text NOT NULL,
    provider_alert_id text NOT NULL,
    product text,
    title text NOT NULL,
    title_folded text NOT NULL,
    description text,
    severity smallint NOT NULL,
    status smallint NOT NULL,
    reported_status smallint,
    classification text,
    determination text,
    category text,
    techniques text NOT NULL,
    owner_user_id {uuid} REFERENCES "user" (id),
    owner_group_id {uuid} REFERENCES "group" (id),
    incident_id {uuid} REFERENCES incident (id) DEFERRABLE INITIALLY DEFERRED,
    first_activity_at {instant},
    last_activity_at {instant},
    created_at {instant} NOT NULL,
    updated_at {instant} NOT NULL,
    resolved_at {instant},
    settled_version bigint,
    settled_status smallint,
    CHECK (owner_user_id IS NULL OR owner_group_id IS NULL)
);
CREATE UNIQUE INDEX alert_key ON alert (provider, provider_alert_id);
CREATE INDEX alert_by_incident ON alert (incident_id, id);
CREATE INDEX alert_by_incident_product ON alert (incident_id, product);
CREATE INDEX alert_by_created ON alert (created_at, id);
CREATE TABLE alert_raw (
    alert_id {uuid} PRIMARY KEY REFERENCES alert (id),
    raw {bytes} NOT NULL
);
CREATE TABLE alert_entity (
    alert_id {uuid} NOT NULL REFERENCES alert (id),
    ordinal integer NOT NULL,
    kind text NOT NULL,
    value text NOT NULL,
    value_key text {binary} NOT NULL,
    verdict smallint,
    PRIMARY KEY (alert_id, ordinal)
);
CREATE INDEX alert_entity_by_value ON alert_entity (value_key);
CREATE TABLE incident_entity (
    incident_id {uuid} NOT NULL REFERENCES incident (id) DEFERRABLE INITIALLY DEFERRED,
    alert_id {uuid} NOT NULL REFERENCES alert (id),
    kind text NOT NULL,
    value_key text {binary} NOT NULL,
    from_version bigint NOT NULL,
    to_version bigint,
    PRIMARY KEY (incident_id, alert_id, kind, value_key, from_version)
);
CREATE INDEX incident_entity_by_value ON incident_entity (value_key, incident_id);
CREATE TABLE comment (
    id {uuid} PRIMARY KEY,
    incident_id {uuid} NOT NULL REFERENCES incident (id) DEFERRABLE INITIALLY DEFERRED,
    version bigint NOT NULL,
    body text NOT NULL,
    author_id {uuid},
    author text NOT NULL,
    created_at {instant} NOT NULL,
    edited_at {instant},
    deleted_at {instant}
);
CREATE INDEX comment_by_incident ON comment (incident_id, version, id);
CREATE TABLE comment_revision (
    comment_id {uuid} NOT NULL REFERENCES comment (id),
    version bigint NOT NULL,
    body text NOT NULL,
    at {instant} NOT NULL,
    by_actor text NOT NULL,
    PRIMARY KEY (comment_id, version)
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
