//! `watchfloor verify` against tables that were altered without the desk: every fact of the log is compared, and facts
//! that are not proved are listed.

use chrono::Duration;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use serde_json::{Value, json};
use watchfloor::app::Command;
use watchfloor::app::verify::{Verification, verify};
use watchfloor::domain::incident::Patch;

use crate::statements::Sent;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::triage::{each, report};

each_database!(
    whatever_the_log_names_is_compared_with_the_tables,
    an_incident_that_was_deleted_from_the_tables_is_missed,
    an_incident_that_the_log_does_not_name_is_found,
    edited_moved_and_deleted_parts_are_compared_too,
    what_is_not_proved_is_said,
    long_texts_are_read_many_at_a_time_and_not_all,
);

/// Creates a desk with every kind of object on `INC-1`: two alerts, a comment, a bookmark, tags, an owner, a long note.
async fn busy(database: &TestDatabase) -> (TestDesk, String, Vec<String>) {
    let desk = TestDesk::open(database).await;
    let mut batch = vec![report("1", json!({ "status": "ACTIVE" })), report("2", json!({}))];
    batch.push(report("3", json!({})));
    let taken = desk.ingest(batch, json!({ "newIncident": true })).await;
    let id = taken["incident"]["id"].as_str().expect("an id").to_owned();
    let alerts: Vec<String> =
        each(&taken["alerts"], "id").iter().map(|id| id.as_str().expect("an id").to_owned()).collect();
    desk.act("unlinkAlerts", json!({ "incidentId": id, "alerts": [alerts[2]] })).await;
    desk.update(&id, json!({ "owner": { "me": true }, "addTags": ["vip", "c2"], "comment": "Seen by the proxy too" }))
        .await;
    desk.act("addBookmark", json!({ "incidentId": id, "title": "Two more hosts", "rows": [] })).await;
    let note = "Isolated, reimaged, and the token revoked. ".repeat(12);
    desk.update(&id, json!({ "status": "RESOLVED", "note": note, "classification": { "truePositive": "MALWARE" } }))
        .await;
    desk.incident("Another one").await;
    (desk, id, alerts)
}

/// Returns the first difference that is found.
async fn found(desk: &TestDesk) -> String {
    match verify(&desk.app.store, None, &|_, _| ()).await.expect("a look at the log") {
        Verification::Whole(_) => panic!("nothing was found"),
        Verification::Broken(found) => found.to_string(),
    }
}

/// Returns alterations, each with the complaint's words and its reversal.
fn alterations() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("UPDATE incident SET title = 'Nothing' WHERE number = 1", "another title", "title"),
        (
            "UPDATE incident SET resolution_note = 'Nothing was done' WHERE number = 1",
            "another note",
            "resolution_note",
        ),
        (
            "UPDATE incident SET resolved_by = '\"system\"' WHERE number = 1",
            "another actor of its resolution",
            "resolved_by",
        ),
        ("UPDATE incident SET owner_user_id = NULL WHERE number = 1", "another owner", "owner_user_id"),
        ("UPDATE incident SET alert_count = 3 WHERE number = 1", "another alert_count", "alert_count"),
        ("UPDATE incident SET comment_count = 0 WHERE number = 1", "another comment_count", "comment_count"),
        (
            "UPDATE incident SET title_generated = NOT title_generated WHERE number = 1",
            "another origin of its title",
            "title_generated",
        ),
        ("UPDATE incident SET title_folded = 'nothing' WHERE number = 1", "its column title_folded", "title_folded"),
        ("UPDATE incident SET severity = 1 WHERE number = 1", "its column severity", "severity"),
        ("UPDATE incident SET deleted_at = created_at WHERE number = 1", "another deleted", "deleted_at"),
    ]
}

async fn whatever_the_log_names_is_compared_with_the_tables(database: TestDatabase) {
    let (desk, id, alerts) = busy(&database).await;
    assert_eq!(desk.verified().await.shown.incidents, 2);
    let raw = database.connect().await;
    for (how, said, column) in alterations() {
        let keep = format!("CREATE TABLE kept AS SELECT {column} AS was FROM incident WHERE number = 1");
        raw.execute_unprepared(&keep).await.expect("a copy");
        raw.execute_unprepared(how).await.expect(how);
        let complaint = found(&desk).await;
        assert!(complaint.contains(said) && complaint.contains("INC-1"), "{how}: {complaint}");
        let back = format!("UPDATE incident SET {column} = (SELECT was FROM kept) WHERE number = 1");
        raw.execute_unprepared(&back).await.expect("back");
        raw.execute_unprepared("DROP TABLE kept").await.expect("dropped");
    }
    let one = "(SELECT id FROM alert WHERE provider_alert_id = '1')";
    let incident = "(SELECT id FROM incident WHERE number = 1)";
    let other = "(SELECT id FROM incident WHERE number = 2)";
    let parts = [
        (
            "DELETE FROM incident_tag WHERE key = 'vip'".to_owned(),
            format!("INSERT INTO incident_tag (incident_id, kind, key) VALUES ({incident}, 'CUSTOM', 'vip')"),
            "another tags",
        ),
        (
            format!("INSERT INTO incident_tag (incident_id, kind, key) VALUES ({other}, 'CUSTOM', 'vip')"),
            format!("DELETE FROM incident_tag WHERE incident_id = {other}"),
            "another tags",
        ),
        (
            format!("UPDATE alert SET status = 1 WHERE id = {one}"),
            format!("UPDATE alert SET status = 3 WHERE id = {one}"),
            "another status of alert:",
        ),
        (
            format!("UPDATE alert SET owner_user_id = NULL WHERE id = {one}"),
            format!(
                "UPDATE alert SET owner_user_id = (SELECT owner_user_id FROM incident WHERE number = 1) WHERE id = {one}"
            ),
            "another owner of alert:",
        ),
        (
            format!("UPDATE alert SET classification = 'TRUE_POSITIVE', determination = 'MALWARE' WHERE id = {one}"),
            format!("UPDATE alert SET classification = NULL, determination = NULL WHERE id = {one}"),
            "another classification of alert:",
        ),
        (
            format!("UPDATE alert SET incident_id = NULL WHERE id = {one}"),
            format!("UPDATE alert SET incident_id = {incident} WHERE id = {one}"),
            "does not show alert:",
        ),
        (
            format!("UPDATE alert SET incident_id = {incident} WHERE provider_alert_id = '3'"),
            "UPDATE alert SET incident_id = NULL WHERE provider_alert_id = '3'".to_owned(),
            "in it, which its log does not say",
        ),
        (
            "UPDATE comment SET deleted_at = created_at".to_owned(),
            "UPDATE comment SET deleted_at = NULL".to_owned(),
            "does not show comment:",
        ),
        (
            format!("UPDATE comment SET incident_id = {other}"),
            format!("UPDATE comment SET incident_id = {incident}"),
            "comment:",
        ),
        (
            "UPDATE comment SET body = 'Seen by nobody'".to_owned(),
            "UPDATE comment SET body = 'Seen by the proxy too'".to_owned(),
            "another text of comment:",
        ),
        (
            "UPDATE bookmark SET title = 'No more hosts'".to_owned(),
            "UPDATE bookmark SET title = 'Two more hosts'".to_owned(),
            "another title of bookmark:",
        ),
        (
            "UPDATE bookmark SET removed_at = created_at".to_owned(),
            "UPDATE bookmark SET removed_at = NULL".to_owned(),
            "does not show bookmark:",
        ),
    ];
    let authors_and_times = authors_and_times().map(|(how, back, said)| (how.to_owned(), back.to_owned(), said));
    for (how, back, said) in parts.into_iter().chain(authors_and_times) {
        alter(&desk, &raw, [&how, &back], said).await;
    }
    let _ = (id, alerts);
}

/// Checks that `verify` notices an alteration with these words, and nothing after its reversal.
async fn alter(desk: &TestDesk, raw: &DatabaseConnection, [how, back]: [&str; 2], said: &str) {
    raw.execute_unprepared(how).await.unwrap_or_else(|error| panic!("{how}: {error}"));
    let complaint = found(desk).await;
    assert!(complaint.contains(said), "{how}: {complaint}");
    raw.execute_unprepared(back).await.unwrap_or_else(|error| panic!("{back}: {error}"));
    desk.verified().await;
}

/// Returns alterations of who wrote a comment or pinned a bookmark, when, and in which change, each with its reversal
/// and the complaint's words.
fn authors_and_times() -> [(&'static str, &'static str, &'static str); 11] {
    [
        (
            "UPDATE comment SET author = '\"system\"'",
            "UPDATE comment SET author = (SELECT by_actor FROM comment_revision)",
            "another author of comment:",
        ),
        (
            "UPDATE comment SET created_at = '2026-11-23T07:30:00+00:00'",
            "UPDATE comment SET created_at = '2026-11-23T08:00:00+00:00'",
            "another time of comment:",
        ),
        ("UPDATE comment SET version = 1", "UPDATE comment SET version = 3", "another first change of comment:"),
        (
            "UPDATE comment SET edited_at = created_at",
            "UPDATE comment SET edited_at = NULL",
            "another time of the last edit of comment:",
        ),
        (
            "UPDATE comment_revision SET by_actor = '\"system\"'",
            "UPDATE comment_revision SET by_actor = (SELECT author FROM comment)",
            "that it set has another author",
        ),
        (
            "UPDATE comment_revision SET at = '2026-11-23T07:30:00+00:00'",
            "UPDATE comment_revision SET at = '2026-11-23T08:00:00+00:00'",
            "that it set has another time",
        ),
        (
            "INSERT INTO comment_revision (comment_id, ordinal, incident_id, version, body, at, by_actor)
             SELECT comment_id, 2, incident_id, 99, 'Seen by nobody', at, by_actor FROM comment_revision;
             UPDATE comment SET body = 'Seen by nobody', edited_at = created_at",
            "DELETE FROM comment_revision WHERE ordinal = 2;
             UPDATE comment SET body = 'Seen by the proxy too', edited_at = NULL",
            "another newest text of comment:",
        ),
        (
            "INSERT INTO comment_revision (comment_id, ordinal, incident_id, version, body, at, by_actor)
             SELECT comment_id, 0, incident_id, 99, 'Seen by nobody', at, by_actor FROM comment_revision",
            "DELETE FROM comment_revision WHERE ordinal = 0",
            "2 texts of comments, of which the log sets 1",
        ),
        (
            "UPDATE bookmark SET author = '\"system\"'",
            "UPDATE bookmark SET author = (SELECT author FROM comment)",
            "another author of bookmark:",
        ),
        (
            "UPDATE bookmark SET created_at = '2026-11-23T07:30:00+00:00'",
            "UPDATE bookmark SET created_at = '2026-11-23T08:00:00+00:00'",
            "another time of bookmark:",
        ),
        (
            "UPDATE comment SET body = 'Seen by nobody'; UPDATE comment_revision SET body = 'Seen by nobody'",
            "UPDATE comment SET body = 'Seen by the proxy too';
             UPDATE comment_revision SET body = 'Seen by the proxy too'",
            "that it set is another",
        ),
    ]
}

/// A comment that was edited and moved by a merge, a deleted comment, and a deleted incident.
async fn edited_moved_and_deleted_parts_are_compared_too(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let [source, target, gone] =
        [desk.incident("Source").await, desk.incident("Target").await, desk.incident("Gone").await];
    let added = desk.act("addComment", json!({ "incidentId": source, "body": "Seen once" })).await;
    let edited = added["comment"]["id"].clone();
    let added = desk.act("addComment", json!({ "incidentId": source, "body": "Wrong" })).await;
    let deleted = added["comment"]["id"].clone();
    desk.clock.advance(Duration::hours(1));
    desk.act("editComment", json!({ "commentId": edited, "body": "Seen twice" })).await;
    desk.act("deleteComment", json!({ "commentId": deleted })).await;
    desk.act("mergeIncidents", json!({ "sourceId": source, "targetId": target })).await;
    desk.act("deleteIncident", json!({ "incidentId": gone })).await;
    assert_eq!(desk.verified().await.comments, 2);
    let raw = database.connect().await;
    let honest = "(SELECT by_actor FROM comment_revision WHERE body = 'Wrong')";
    for (shown, words) in [("deleted_at IS NULL", "than its log says"), ("deleted_at IS NOT NULL", "than the history")]
    {
        let how = format!("UPDATE comment SET author = '\"system\"' WHERE {shown}");
        let back = format!("UPDATE comment SET author = {honest} WHERE {shown}");
        alter(&desk, &raw, [&how, &back], words).await;
        let how = format!("UPDATE comment SET created_at = '2026-11-23T07:30:00+00:00' WHERE {shown}");
        let back = format!("UPDATE comment SET created_at = '2026-11-23T08:00:00+00:00' WHERE {shown}");
        alter(&desk, &raw, [&how, &back], words).await;
    }
    let cases = [
        (
            "UPDATE comment SET edited_at = created_at WHERE edited_at IS NOT NULL",
            "UPDATE comment SET edited_at = '2026-11-23T09:00:00+00:00' WHERE edited_at IS NOT NULL",
            "another time of the last edit of comment:",
        ),
        (
            "UPDATE comment_revision SET at = '2026-11-23T08:00:00+00:00' WHERE ordinal = 2",
            "UPDATE comment_revision SET at = '2026-11-23T09:00:00+00:00' WHERE ordinal = 2",
            "that it set has another time",
        ),
        (
            "UPDATE incident SET deleted_at = created_at WHERE number = 3",
            "UPDATE incident SET deleted_at = '2026-11-23T09:00:00+00:00' WHERE number = 3",
            "another time of its deletion",
        ),
    ];
    for (how, back, said) in cases {
        alter(&desk, &raw, [how, back], said).await;
    }
}

/// Deletes a row that others refer to, as an administrator of the database may.
async fn delete(database: &TestDatabase, sql: &str) {
    let raw = database.connect().await;
    let free = match database.kind {
        Kind::Sqlite => "PRAGMA foreign_keys = OFF",
        Kind::Postgres => "SET session_replication_role = replica",
    };
    raw.execute_unprepared(free).await.expect("no more references");
    raw.execute_unprepared(sql).await.expect(sql);
}

async fn an_incident_that_was_deleted_from_the_tables_is_missed(database: TestDatabase) {
    let (desk, ..) = busy(&database).await;
    delete(&database, "DELETE FROM incident WHERE number = 2").await;
    let complaint = found(&desk).await;
    assert!(complaint.contains("INC-2 (incident:"), "{complaint}");
    assert!(complaint.contains("the desk does not have the incident any more"), "{complaint}");
}

async fn an_incident_that_the_log_does_not_name_is_found(database: TestDatabase) {
    let (desk, ..) = busy(&database).await;
    let raw = database.connect().await;
    let id = match database.kind {
        Kind::Sqlite => "x'00000000000000000000000000000007'",
        Kind::Postgres => "'00000000-0000-0000-0000-000000000007'::uuid",
    };
    let columns =
        "version, title, title_key, title_folded, title_version, title_generated, description_version, severity,
        computed_severity, status, alert_count, comment_count, products, providers, created_at, updated_at";
    let sql = format!(
        "INSERT INTO incident (id, number, {columns}) SELECT {id}, 77, {columns} FROM incident WHERE number = 2"
    );
    raw.execute_unprepared(&sql).await.expect("a row");
    let complaint = found(&desk).await;
    assert!(complaint.contains("INC-77"), "{complaint}");
    assert!(complaint.contains("of which the log has no change"), "{complaint}");
}

async fn what_is_not_proved_is_said(database: TestDatabase) {
    let (desk, ..) = busy(&database).await;
    desk.ingest(vec![report("free", json!({}))], Value::Null).await;
    drop(desk);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_watchfloor"))
        .args(["verify", "--database-url", &database.url])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let (proved, not_proved) = said.split_once("Not proved:").expect("both lists");
    assert!(proved.contains("2 incidents and 1 comments show what the log adds up to, with 2 alerts"), "{said}");
    assert!(proved.contains("2 alerts of no incident stand as their own log says"), "{said}");
    assert!(!not_proved.contains("alerts are in no incident"), "{said}");
    let lines: Vec<&str> = not_proved.trim().lines().map(|line| line.trim_start_matches("- ")).collect();
    assert_eq!(lines, NOT_PROVED, "docs/EVIDENCE.md says more about each");
}

const NOT_PROVED: [&str; 12] = [
    "what providers reported of alerts of incidents: titles, descriptions, entities, verdicts; raw payloads of all alerts",
    "the times that the desk keeps of alerts: created, updated, resolved",
    "the status that an alert had before its incident was resolved",
    "the first and last activity that a person stated of an incident, where the incident shows other times",
    "deleted comments: the incident that has them, and the time of the deletion",
    "bookmarks: queries, rows, notes, entities, times of events; all of removed bookmarks",
    "the author and the time of bookmarks that a merge moved",
    "attachments: names, types, sizes, authors, times, incidents, bytes",
    "the former state that the undo of a merge would restore",
    "users, groups and their names, saved views, bulk jobs, the stored answers to repeated mutations",
    "that the end of the log was not cut off with its head, unless somebody kept a later position",
    "that what the log says has happened so",
];

/// Forty texts of a usual length, and three titles of which two can be read at once.
async fn long_texts_are_read_many_at_a_time_and_not_all(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    for n in 0..40 {
        let description = format!("{n} {}", "the host answers again. ".repeat(40));
        desk.create(json!({ "title": format!("Host {n}"), "description": description })).await;
    }
    let caller = desk.app.local_caller(None).await.expect("a caller");
    let command = Command::new(caller, desk.app.clock.now(), "createIncident");
    for n in 0..3 {
        let title = format!("{n} {}", "long ".repeat(300_000));
        let edit = Patch { title: Some(title), ..Patch::default() }.into();
        desk.app.create_incident(&command, None, edit).await.expect("an incident");
    }
    sent.take();
    assert_eq!(desk.verified().await.texts, 43);
    let sent = sent.take().into_iter().map(|statement| statement.sql);
    let of_texts: Vec<String> = sent.filter(|sql| sql.contains("FROM \"incident_text\"")).collect();
    // The sizes, and two parts; the board may read the last one by itself.
    assert!((3..=4).contains(&of_texts.len()), "{} statements", of_texts.len());
}
