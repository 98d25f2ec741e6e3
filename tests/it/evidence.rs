//! The log as evidence: `watchfloor verify` accepts an unaltered log and names alterations; exports are checked against
//! themselves.

use std::process::{Command, Output, Stdio};

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use watchfloor::domain::export::{Checked, Checker, Flaw};
use watchfloor::domain::signing::{DeskKey, PublicKey};

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::{TestDesk, signing_key};
use crate::support::dice::Dice;
use crate::support::shift::Shift;
use crate::support::triage::report;

each_database!(
    the_log_of_a_busy_desk_is_whole,
    each_alteration_is_named_where_it_is,
    what_the_desk_shows_is_held_against_the_log,
    a_position_that_was_kept_is_found_again_or_missed,
    an_export_says_what_the_log_says,
    no_byte_and_no_line_of_an_export_can_be_another,
    an_export_is_for_whoever_may_read_the_log,
    the_command_line_exports_what_the_desk_does,
);

const LONG: &str = "Outbound 443 to a domain registered yesterday, every 60 seconds with 4 seconds of jitter. ";

fn watchfloor(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchfloor"));
    command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).output().expect("the binary runs")
}

/// Returns the output of `watchfloor verify` on a database that must pass.
fn passed(database: &TestDatabase, arguments: &[&str]) -> String {
    let output = watchfloor(&[&["verify", "--database-url", &database.url], arguments].concat());
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    said.into_owned()
}

/// Returns the complaint of `watchfloor verify`.
fn complaint(arguments: &[&str]) -> String {
    let output = watchfloor(arguments);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty() && !said.contains("panicked"), "{said}");
    said
}

async fn execute(raw: &DatabaseConnection, sql: &str) {
    raw.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn the_log_of_a_busy_desk_is_whole(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut dice = Dice::of_this_run();
    let mut shift = Shift::begin(&desk, &mut dice).await;
    for _ in 0..120 {
        shift.act(&desk, &mut dice).await;
    }
    desk.act("deleteIncident", json!({ "incidentId": shift.incidents[0] })).await;
    desk.data(r#"mutation { upsertUser(input: { account: "ana", name: "Ana Lopes" }) { user { id } } }"#, json!({}))
        .await;
    let end = desk.log_end().await;
    assert!(end > 60, "{end} changes");
    // Runs beside the desk that serves the database.
    let said = passed(&database, &[]);
    assert!(said.contains(&format!("from its beginning: {end} changes")), "{said}");
    assert!(said.contains("4 incidents and"), "{said}");
}

/// Makes three incidents with seven changes; the cases below name them by position.
async fn seven_changes(desk: &TestDesk) -> [String; 2] {
    let beacon = desk.incident("Beacon to a new domain").await;
    let leaver = desk.incident("Mass download by a leaver").await;
    desk.update(&beacon, json!({ "description": LONG.repeat(4) })).await;
    desk.act("addComment", json!({ "incidentId": leaver, "body": "Asked HR for the last day" })).await;
    desk.update(&beacon, json!({ "owner": { "me": true }, "addTags": ["c2"] })).await;
    desk.update(&leaver, json!({ "status": "RESOLVED", "note": "Agreed with the works council" })).await;
    desk.update(&beacon, json!({ "severity": "HIGH" })).await;
    assert_eq!(desk.log_end().await, 7);
    [beacon, leaver]
}

/// Returns the hash of change 3 with another body, as a forger who knows the chain would write it.
async fn hash_of_three(raw: &DatabaseConnection, body: &str) -> String {
    let row = |sql: &str| raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql));
    let before = row("SELECT hash FROM change WHERE position = 2").await.expect("an answer").expect("a change");
    let change = row("SELECT incident_id, version FROM change WHERE position = 3").await.expect("an answer");
    let change = change.expect("a change");
    let mut hash = Sha256::new();
    hash.update(before.try_get_by_index::<Vec<u8>>(0).expect("a hash"));
    hash.update(3_u64.to_be_bytes());
    hash.update(change.try_get_by_index::<uuid::Uuid>(0).expect("an incident").as_bytes());
    hash.update(change.try_get_by_index::<i64>(1).expect("a version").to_be_bytes());
    hash.update(body);
    hex::encode(hash.finalize())
}

async fn body_of(raw: &DatabaseConnection, position: u64) -> String {
    let sql = format!("SELECT body FROM change WHERE position = {position}");
    let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await.expect("an answer");
    row.expect("a change").try_get_by_index(0).expect("a body")
}

/// An alteration of the database of [`seven_changes`], its reversal, and the words of the complaint.
struct Alteration {
    how: String,
    back: String,
    said: [&'static str; 2],
}

fn alteration(how: &str, back: &str, said: [&'static str; 2]) -> Alteration {
    Alteration { how: how.to_owned(), back: back.to_owned(), said }
}

async fn each_alteration_is_named_where_it_is(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    seven_changes(&desk).await;
    // The desk would notice some alterations by itself, and end the process.
    drop(desk);
    let raw = database.connect().await;
    let bytes = |hex: &str| match database.kind {
        Kind::Sqlite => format!("x'{hex}'"),
        Kind::Postgres => format!("'\\x{hex}'::bytea"),
    };
    let body = body_of(&raw, 3).await;
    let forged = body.replace("local-manager", "local-mangler");
    assert_ne!(body, forged);
    let knowing = bytes(&hash_of_three(&raw, &forged).await);
    let honest = bytes(&hash_of_three(&raw, &body).await);
    let alterations = [
        alteration(
            "UPDATE change SET body = replace(body, '\"HIGH\"', '\"LOW\"') WHERE position = 7",
            "UPDATE change SET body = replace(body, '\"LOW\"', '\"HIGH\"') WHERE position = 7",
            ["position 7, INC-1 (incident:", "version 4: its hash is not that of its content"],
        ),
        alteration(
            &format!("UPDATE change SET body = '{forged}', hash = {knowing} WHERE position = 3"),
            &format!("UPDATE change SET body = '{body}', hash = {honest} WHERE position = 3"),
            ["position 4, INC-2 (incident:", "version 2: its hash is not that of its content, its place and the hash"],
        ),
        alteration(
            "UPDATE change SET position = -position WHERE position IN (4, 5);
             UPDATE change SET position = 9 + position WHERE position < 0",
            "UPDATE change SET position = -position WHERE position IN (4, 5);
             UPDATE change SET position = 9 + position WHERE position < 0",
            ["position 4, INC-1 (incident:", "version 3: its hash is not that of its content"],
        ),
        alteration(
            "UPDATE change SET position = -5 WHERE position = 5",
            "UPDATE change SET position = 5 WHERE position = -5",
            ["position 5: it is missing", "after 4 comes 6"],
        ),
        alteration(
            "UPDATE change SET position = -7 WHERE position = 7",
            "UPDATE change SET position = 7 WHERE position = -7",
            ["position 7: it is missing", "the head says that the log goes on to 7"],
        ),
        alteration(
            "UPDATE change SET at = '2026-11-23T09:30:00+00:00' WHERE position = 2",
            "UPDATE change SET at = '2026-11-23T08:00:00+00:00' WHERE position = 2",
            ["position 2, INC-2", "its column at says something else"],
        ),
        alteration(
            "UPDATE change SET kinds = 1 WHERE position = 6",
            &format!("UPDATE change SET kinds = {} WHERE position = 6", 1 << 4 | 1 << 5),
            ["position 6, INC-2", "its column kinds says something else"],
        ),
        alteration(
            "UPDATE incident_text SET text = replace(text, '60 seconds', '61 seconds')",
            "UPDATE incident_text SET text = replace(text, '61 seconds', '60 seconds')",
            ["position 3, INC-1", "version 2: the description that it set is another"],
        ),
        alteration(
            "UPDATE incident_text SET version = 99",
            "UPDATE incident_text SET version = 2",
            ["position 3, INC-1", "the description that it set is missing"],
        ),
        alteration(
            "UPDATE comment_revision SET body = 'Asked nobody'",
            "UPDATE comment_revision SET body = 'Asked HR for the last day'",
            ["position 4, INC-2", "that it set is another"],
        ),
        alteration(
            "UPDATE log_head SET position = 5",
            "UPDATE log_head SET position = 7",
            ["position 6, INC-2", "it lies beyond the head, which says that the log ends at 5"],
        ),
        alteration(
            "UPDATE log_head SET hash = (SELECT hash FROM change WHERE position = 6)",
            "UPDATE log_head SET hash = (SELECT hash FROM change WHERE position = 7)",
            ["position 7: ", "the hash of the head is not that of the log's last change"],
        ),
    ];
    for Alteration { how, back, said } in alterations {
        execute(&raw, &how).await;
        let complaint = complaint(&["verify", "--database-url", &database.url]);
        assert!(said.iter().all(|words| complaint.contains(words)), "{how}: {complaint}");
        assert!(complaint.contains("docs/EVIDENCE.md"), "it says how to go on: {complaint}");
        execute(&raw, &back).await;
        passed(&database, &[]);
    }
}

async fn what_the_desk_shows_is_held_against_the_log(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    seven_changes(&desk).await;
    let raw = database.connect().await;
    let alterations = [
        alteration(
            "UPDATE incident SET status = 1 WHERE number = 2",
            "UPDATE incident SET status = 3 WHERE number = 2",
            ["position 6, INC-2", "the desk shows another status"],
        ),
        alteration(
            "UPDATE incident SET version = 2 WHERE number = 1",
            "UPDATE incident SET version = 4 WHERE number = 1",
            ["position 7, INC-1", "the desk shows another version"],
        ),
        alteration(
            "UPDATE incident SET description = replace(description, '443', '80') WHERE number = 1",
            "UPDATE incident SET description = replace(description, '80', '443') WHERE number = 1",
            ["position 7, INC-1", "the desk shows another description"],
        ),
        alteration(
            "UPDATE comment SET body = 'Asked nobody'",
            "UPDATE comment SET body = 'Asked HR for the last day'",
            ["position 4, INC-2", "the desk shows another text of comment:"],
        ),
    ];
    for Alteration { how, back, said } in alterations {
        execute(&raw, &how).await;
        let complaint = complaint(&["verify", "--database-url", &database.url]);
        assert!(said.iter().all(|words| complaint.contains(words)), "{how}: {complaint}");
        execute(&raw, &back).await;
        passed(&database, &[]);
    }
}

async fn a_position_that_was_kept_is_found_again_or_missed(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let [beacon, _] = seven_changes(&desk).await;
    let said = passed(&database, &[]);
    let kept = said.split("position ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a position");
    desk.update(&beacon, json!({ "addTags": ["contained"] })).await;
    let said = passed(&database, &["--from", kept]);
    assert!(said.contains("since the position that was given: 1 changes"), "{said}");
    drop(desk);

    let raw = database.connect().await;
    execute(&raw, "UPDATE change SET hash = (SELECT hash FROM change WHERE position = 6) WHERE position = 7").await;
    let missed = complaint(&["verify", "--database-url", &database.url, "--from", kept]);
    assert!(missed.contains("the log does not hold this position"), "{missed}");
    let malformed = complaint(&["verify", "--database-url", &database.url, "--from", "yesterday"]);
    assert!(malformed.contains("--from yesterday: this is not a position"), "{malformed}");
}

fn checked(file: &str, key: Option<PublicKey>) -> Result<Checked, Flaw> {
    let mut checker = Checker::new(key);
    for line in file.split_inclusive('\n') {
        checker.line(line.as_bytes())?;
    }
    checker.end()
}

/// Verifies bytes that may no longer be text.
fn flawed(file: &[u8]) -> Option<u64> {
    let mut checker = Checker::new(None);
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        if let Err(flaw) = checker.line(line) {
            return Some(flaw.line);
        }
    }
    checker.end().err().map(|flaw| flaw.line)
}

/// Makes an incident with long texts, edited comments, alerts, and changes of another incident in between.
async fn told_at_length(desk: &TestDesk) -> String {
    let [beacon, leaver] = seven_changes(desk).await;
    desk.ingest(vec![report("1", json!({}))], json!({ "incident": beacon })).await;
    let input = json!({ "incidentId": beacon, "body": "\u{1f6a8} \"C2\"\u{1}\n\tconfirmed" });
    let comment = desk.act("addComment", input).await["comment"]["id"].take();
    desk.act("editComment", json!({ "commentId": comment, "body": "C2, per the sandbox" })).await;
    desk.update(&leaver, json!({ "addTags": ["HR"] })).await;
    desk.act("deleteComment", json!({ "commentId": comment })).await;
    desk.update(&beacon, json!({ "title": LONG.repeat(3), "status": "RESOLVED", "note": LONG.repeat(5) })).await;
    beacon
}

async fn exported(desk: &TestDesk, incident: &str) -> String {
    let (status, file) = desk.get_as(None, &format!("/incidents/{incident}/log.ndjson")).await;
    assert_eq!(status, 200, "{file}");
    file
}

async fn an_export_says_what_the_log_says(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let beacon = told_at_length(&desk).await;
    let file = exported(&desk, "INC-1").await;
    let checked = checked(&file, Some(signing_key().public())).expect("a whole export");
    let log = desk.log(&beacon).await;
    assert_eq!((checked.header.changes, checked.texts), (log.len() as u64, 5));
    assert_eq!(
        checked.header.position,
        desk.data("{ incidents { position } }", json!({})).await["incidents"]["position"]
            .as_str()
            .and_then(watchfloor::domain::position::Position::parse)
            .map(|position| watchfloor::domain::position::Position { queue: None, ..position }.to_string())
            .expect("a position")
    );
    let lines: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let changes: Vec<&Value> = lines.iter().filter(|line| line["line"] == "change").collect();
    for (line, change) in changes.iter().zip(&log) {
        let body: Value = serde_json::from_str(line["body"].as_str().expect("a body")).expect("JSON");
        assert_eq!(line["version"], change["version"]);
        assert_eq!(
            body["at"].as_str().map(str::parse::<chrono::DateTime<chrono::Utc>>),
            change["at"].as_str().map(str::parse::<chrono::DateTime<chrono::Utc>>)
        );
        assert_eq!(body["entries"].as_array().map(Vec::len), change["entries"].as_array().map(Vec::len));
    }
    assert_eq!(changes.len(), log.len());
    let texts: Vec<&str> = lines.iter().filter_map(|line| line["text"].as_str()).collect();
    assert!(texts.contains(&LONG.repeat(3).trim()) && texts.contains(&"C2, per the sandbox"), "{texts:?}");
    assert!(texts.contains(&"\u{1f6a8} \"C2\"\u{1}\n\tconfirmed"), "the text of then, though it was deleted since");
    // Under every name of the incident, and repeatedly: only the time of the export differs.
    for name in [beacon.as_str(), "1"] {
        let again = exported(&desk, name).await;
        assert_eq!(
            again.lines().skip(1).take(log.len()).collect::<Vec<_>>(),
            file.lines().skip(1).take(log.len()).collect::<Vec<_>>()
        );
    }
}

async fn no_byte_and_no_line_of_an_export_can_be_another(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    told_at_length(&desk).await;
    let file = exported(&desk, "1").await;
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    assert_eq!(flawed(file.as_bytes()), None);
    let mut dice = Dice::of_this_run();
    for _ in 0..400 {
        let mut bytes = file.clone().into_bytes();
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
        let line = 1 + file.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        let found =
            flawed(&bytes).unwrap_or_else(|| panic!("byte {at} of line {line} was altered, and nobody noticed"));
        // A line that contradicts the header reveals it; where no line does, as for the time, the signature does.
        assert!(found == line || line == 1, "line {line}, byte {at}: found at {found}");
    }
    let without = |skip: usize| lines.iter().enumerate().filter(|(at, _)| *at != skip).map(|(_, line)| *line).collect();
    for at in 0..lines.len() {
        let dropped: String = without(at);
        assert!(flawed(dropped.as_bytes()).is_some(), "line {} was left out", at + 1);
        let mut more = lines.clone();
        more.insert(at, lines[dice.below(lines.len())]);
        assert!(flawed(more.concat().as_bytes()).is_some(), "a line was put before line {}", at + 1);
        let (one, other) = (at, dice.below(lines.len()));
        let mut swapped = lines.clone();
        swapped.swap(one, other);
        if swapped != lines {
            assert!(flawed(swapped.concat().as_bytes()).is_some(), "lines {} and {} were swapped", one + 1, other + 1);
        }
        assert!(flawed(&file.as_bytes()[..lines[..at].concat().len()]).is_some(), "it was cut before line {}", at + 1);
    }
    assert!(flawed(format!("{file}\n").as_bytes()).is_some(), "something follows");
    let spaced = file.replacen("\"line\":\"change\"", "\"line\": \"change\"", 1);
    assert_eq!(flawed(spaced.as_bytes()), Some(2), "the same in another form");
}

async fn an_export_is_for_whoever_may_read_the_log(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let [_, leaver] = seven_changes(&desk).await;
    desk.user("rea", "READER").await;
    let path = format!("/incidents/{leaver}/log.ndjson");
    assert_eq!(desk.get_as(Some("rea"), &path).await.0, 200);
    assert_eq!(desk.get_as(Some("nobody"), &path).await.0, 401);
    for nothing in ["INC-99", "99", "INC-", "incident:1", "alert:0198c0de-0000-7000-8000-000000000000", "%00"] {
        let (status, body) = desk.get_as(None, &format!("/incidents/{nothing}/log.ndjson")).await;
        let code = serde_json::from_str::<Value>(&body).expect("JSON")["errors"][0]["extensions"]["code"].take();
        assert_eq!((status, code), (404, json!("NOT_FOUND")), "{nothing}");
    }
    desk.act("deleteIncident", json!({ "incidentId": leaver })).await;
    assert_eq!(desk.get_as(Some("rea"), &path).await.0, 404, "the log of a deleted incident is for managers");
    let (_, file) = desk.get_as(None, &path).await;
    assert!(checked(&file, None).is_ok());

    let (status, pem) = desk.get_as(None, "/.well-known/watchfloor-signing-key.pem").await;
    assert_eq!((status, PublicKey::parse(&pem)), (200, Some(signing_key().public())));
}

async fn the_command_line_exports_what_the_desk_does(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let beacon = told_at_length(&desk).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let (file, key) = (path("INC-1.ndjson"), path("desk.pem"));
    for again in 0..2 {
        let export = ["export-log", &beacon, "--output", &file, "--signing-key", &key, "--database-url", &database.url];
        let output = watchfloor(&export);
        assert!(output.status.success(), "{again}: {}", String::from_utf8_lossy(&output.stderr));
    }
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&key).expect("the key"));
        assert_eq!(mode & 0o777, 0o600, "the key is its owner's");
    }
    let public = DeskKey::from_pem(&std::fs::read_to_string(&key).expect("the key")).expect("a key").public();
    let (pem, hexadecimal) = (path("desk.pub"), public.hex());
    std::fs::write(&pem, public.to_pem().expect("PEM")).expect("the public key");
    for key in [pem.as_str(), &hexadecimal] {
        let output = watchfloor(&["verify", "--export", &file, "--key", key]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("INC-1") && said.contains("the key that was given"), "{said}");
    }
    let others = signing_key().public().hex();
    let refused = complaint(&["verify", "--export", &file, "--key", &others]);
    assert!(refused.contains("line 1: it was signed by another key"), "{refused}");
    let text = std::fs::read_to_string(&file).expect("the export").replacen("local-manager", "local-mangler", 1);
    std::fs::write(&file, text).expect("a forgery");
    let refused = complaint(&["verify", "--export", &file]);
    assert!(refused.contains("line 2: its hash is not that of its content"), "{refused}");
    let refused = complaint(&["export-log", "INC-99", "--database-url", &database.url]);
    assert!(refused.contains("there is no incident INC-99"), "{refused}");
}
