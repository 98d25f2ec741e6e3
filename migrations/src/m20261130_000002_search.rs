//! The texts that searches read: folded titles and descriptions of incidents, and folded titles of alerts.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The texts have a table of their own. PostgreSQL rewrites a row's entries in every index when an indexed column
/// changes, and a description has hundreds of trigrams. Triggers copy the texts, so writers of incidents need no extra
/// code.
///
/// The trigram indexes are made at each start if the database has the extension: see `storage/search.rs`.
const POSTGRES: [&str; 5] = [
    r#"CREATE TABLE incident_search (
        incident_id uuid PRIMARY KEY,
        title_folded text COLLATE "C" NOT NULL,
        description_folded text COLLATE "C"
    )"#,
    "INSERT INTO incident_search SELECT id, title_folded, description_folded FROM incident",
    "CREATE FUNCTION incident_search_follow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO incident_search (incident_id, title_folded, description_folded)
                VALUES (NEW.id, NEW.title_folded, NEW.description_folded);
        ELSIF TG_OP = 'UPDATE' THEN
            UPDATE incident_search SET title_folded = NEW.title_folded, description_folded = NEW.description_folded
                WHERE incident_id = NEW.id;
        ELSE
            DELETE FROM incident_search WHERE incident_id = OLD.id;
        END IF;
        RETURN NULL;
    END $$",
    "CREATE TRIGGER incident_search_new AFTER INSERT OR DELETE ON incident
        FOR EACH ROW EXECUTE FUNCTION incident_search_follow()",
    "CREATE TRIGGER incident_search_changed AFTER UPDATE OF title_folded, description_folded ON incident
        FOR EACH ROW WHEN (OLD.title_folded IS DISTINCT FROM NEW.title_folded
            OR OLD.description_folded IS DISTINCT FROM NEW.description_folded)
        EXECUTE FUNCTION incident_search_follow()",
];

/// Trigram indexes without positions (`detail=none`, a seventh of the size). They name rows that may contain a text,
/// and statements check these rows. They may name too many, never too few.
///
/// Changed rows wait and are indexed 64 at a time. A single row makes a segment, and merging such segments cost a
/// writer 1.1 ms a row and up to 228 ms; in groups 0.4 ms and up to 36 ms. A search also reads the waiting rows.
///
/// Rows are identified by a stable integer: an incident's number, and for alerts, which have no number, a key of this
/// table. The rowid of a table without an `INTEGER PRIMARY KEY` changes in a `VACUUM`.
const SQLITE: [&str; 16] = [
    "CREATE VIRTUAL TABLE incident_search USING fts5 (title_folded, description_folded, content='', contentless_delete=1,
        tokenize='trigram case_sensitive 1', detail=none)",
    "INSERT INTO incident_search (rowid, title_folded, description_folded)
        SELECT number, title_folded, description_folded FROM incident",
    "CREATE TABLE incident_search_waiting (place INTEGER PRIMARY KEY, number bigint NOT NULL)",
    "CREATE TRIGGER incident_search_new AFTER INSERT ON incident BEGIN
        INSERT INTO incident_search_waiting (number) VALUES (new.number);
    END",
    "CREATE TRIGGER incident_search_changed AFTER UPDATE OF number, title_folded, description_folded ON incident
        WHEN old.number <> new.number OR old.title_folded <> new.title_folded
            OR old.description_folded IS NOT new.description_folded
    BEGIN
        INSERT INTO incident_search_waiting (number) VALUES (new.number);
    END",
    "CREATE TRIGGER incident_search_gone AFTER DELETE ON incident BEGIN
        DELETE FROM incident_search WHERE rowid = old.number;
    END",
    "CREATE TRIGGER incident_search_full AFTER INSERT ON incident_search_waiting WHEN new.place % 64 = 0 BEGIN
        DELETE FROM incident_search WHERE rowid IN (SELECT number FROM incident_search_waiting);
        INSERT INTO incident_search (rowid, title_folded, description_folded)
            SELECT number, title_folded, description_folded FROM incident
            WHERE number IN (SELECT number FROM incident_search_waiting);
        DELETE FROM incident_search_waiting;
    END",
    "CREATE TABLE alert_search_row (number INTEGER PRIMARY KEY, alert_id uuid_blob NOT NULL UNIQUE)",
    "CREATE VIRTUAL TABLE alert_search USING fts5 (title_folded, content='', contentless_delete=1,
        tokenize='trigram case_sensitive 1', detail=none)",
    "INSERT INTO alert_search_row (alert_id) SELECT id FROM alert",
    "INSERT INTO alert_search (rowid, title_folded)
        SELECT r.number, a.title_folded FROM alert_search_row r JOIN alert a ON a.id = r.alert_id",
    "CREATE TABLE alert_search_waiting (place INTEGER PRIMARY KEY, number bigint NOT NULL)",
    "CREATE TRIGGER alert_search_new AFTER INSERT ON alert BEGIN
        INSERT INTO alert_search_row (alert_id) VALUES (new.id);
        INSERT INTO alert_search_waiting (number) SELECT number FROM alert_search_row WHERE alert_id = new.id;
    END",
    "CREATE TRIGGER alert_search_gone AFTER DELETE ON alert BEGIN
        DELETE FROM alert_search WHERE rowid = (SELECT number FROM alert_search_row WHERE alert_id = old.id);
        DELETE FROM alert_search_row WHERE alert_id = old.id;
    END",
    "CREATE TRIGGER alert_search_changed AFTER UPDATE OF title_folded ON alert WHEN old.title_folded <> new.title_folded
    BEGIN
        INSERT INTO alert_search_waiting (number) SELECT number FROM alert_search_row WHERE alert_id = new.id;
    END",
    "CREATE TRIGGER alert_search_full AFTER INSERT ON alert_search_waiting WHEN new.place % 64 = 0 BEGIN
        DELETE FROM alert_search WHERE rowid IN (SELECT number FROM alert_search_waiting);
        INSERT INTO alert_search (rowid, title_folded)
            SELECT r.number, a.title_folded FROM alert_search_row r JOIN alert a ON a.id = r.alert_id
            WHERE r.number IN (SELECT number FROM alert_search_waiting);
        DELETE FROM alert_search_waiting;
    END",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let statements: &[&str] = match manager.get_database_backend() {
            DbBackend::Postgres => &POSTGRES,
            _ => &SQLITE,
        };
        for statement in statements {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
