//! Odd files: an odd part never loses a record, an odd record never loses a file, and exit code 0 means that everything
//! was imported.
//!
//! The files of `fixtures/odd/` are written for these tests. A snapshot, which both databases share, holds the results
//! of all of them.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use watchfloor::import::{self, Format, ImportSource, ImportSummary, ImportVerdict, Options};
use watchfloor::storage::Span;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::triage::{each, sorted};

each_database!(
    every_odd_file_goes_in_as_far_as_it_can_be_read,
    a_long_first_line_hides_nothing,
    blank_lines_before_a_record_are_passed_and_counted,
    a_line_beyond_the_bound_is_one_refusal,
    a_group_has_as_many_members_as_its_record_names,
    a_pipe_is_read_like_a_file,
    the_exit_code_says_whether_everything_went_in,
    an_alert_of_another_incident_stays_there_and_is_told,
    a_name_loses_what_cannot_be_seen_and_the_import_says_so,
);

async fn read(desk: &TestDesk, bytes: impl Into<Vec<u8>>, format: Option<Format>) -> ImportSummary {
    let source = ImportSource::reader(std::io::Cursor::new(bytes.into()));
    import::import(&desk.app, source, Options { format, strict: false }, |_| ()).await.expect("an import")
}

async fn position(desk: &TestDesk) -> u64 {
    desk.app.store.read().await.expect("a snapshot").head().await.expect("a head").offset
}

fn alert(id: &str) -> String {
    format!(
        "{{\"type\":\"alert\",\"provider\":\"Quayside\",\"providerAlertId\":\"{id}\",\"title\":\"Gate held open\",\"severity\":\"LOW\",\"at\":\"2026-03-07T08:00:00Z\"}}\n"
    )
}

const DESK: &str = "{
    incidents(first: 100, filter: { status: [NEW, ACTIVE, RESOLVED] }, orderBy: [{ field: NUMBER, direction: ASC }]) { nodes {
        title status severityOverride description createdAt firstActivityAt lastActivityAt tags { name kind }
        owner { name } alertCount classification { kind } comments(first: 50) { nodes { body createdAt } } } }
    alerts(first: 100) { nodes {
        provider providerAlertId title severity status product techniques firstActivityAt lastActivityAt createdAt
        entities { kind value verdict } raw } }
}";

/// Returns a value on one line, with long texts as their beginning and length.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() > 400 => {
            let start: String = text.chars().take(80).collect();
            format!("{start:?}… {} characters", text.chars().count())
        }
        Value::String(text) => format!("{text:?}"),
        Value::Array(values) if values.len() > 10 => {
            format!("[{}, … {} in all]", values[..2].iter().map(brief).collect::<Vec<_>>().join(", "), values.len())
        }
        Value::Array(values) => format!("[{}]", values.iter().map(brief).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let said = members.iter().filter(|(_, value)| !value.is_null() && **value != json!([]));
            let said = said.map(|(name, value)| format!("{name}: {}", brief(value)));
            format!("{{{}}}", said.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

async fn every_odd_file_goes_in_as_far_as_it_can_be_read(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/odd");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let mut told = String::new();
    for file in &files {
        let format = file.ends_with("sentinel-request-body.json").then_some(Format::Sentinel);
        let bytes = std::fs::read(file).expect("a file");
        let summary = read(&desk, bytes.clone(), format).await;
        let name = file.file_name().expect("a name").to_string_lossy();
        let code = summary.verdict().exit_code();
        writeln!(told, "== {name}: exit {code}\n{}", import::print_summary(&summary)).expect("a text");
        // The same file again: nothing changes, and the report is the same.
        let before = position(&desk).await;
        let again = read(&desk, bytes, format).await;
        assert_eq!((again.bad, position(&desk).await), (summary.bad, before), "{name}");
    }
    let data = desk.data(DESK, json!({})).await;
    for (noun, list) in [("incidents", &data["incidents"]["nodes"]), ("alerts", &data["alerts"]["nodes"])] {
        let mut lines: Vec<String> = list.as_array().expect("a list").iter().map(brief).collect();
        if noun == "alerts" {
            lines.sort();
        }
        writeln!(told, "== {noun}\n{}", lines.join("\n")).expect("a text");
    }
    insta::assert_snapshot!("odd_files", told);
}

async fn a_long_first_line_hides_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let long = format!("{{\"colour\":\"{}\",{}", "x".repeat(300 * 1024), &alert("long")[1..]);
    let summary = read(&desk, format!("{long}{}{}", alert("1"), alert("2")), None).await;
    assert_eq!((summary.counts.alerts_created, summary.bad_total, summary.partial), (3, 0, 1));
    let broken = format!("{{\"colour\":\"{}\n", "x".repeat(300 * 1024));
    let summary = read(&desk, format!("{broken}{}{}", alert("3"), alert("4")), Some(Format::Watchfloor)).await;
    let bad: Vec<u64> = summary.bad.iter().map(|bad| bad.line).collect();
    assert_eq!((summary.counts.alerts_created, bad), (2, vec![1]));
}

async fn blank_lines_before_a_record_are_passed_and_counted(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let blank = "\r\n".repeat(1_100_000);
    let summary = read(&desk, format!("{blank}{}\n{{\n{}", alert("1"), alert("2")), None).await;
    assert_eq!((summary.counts.alerts_created, summary.blank_lines), (2, 1_100_001));
    assert_eq!(summary.bad.first().map(|bad| bad.line), Some(1_100_003));
    // Within a file as well, and in a table.
    let header = "ProviderName,ProviderAlertId,DisplayName,Severity\n";
    let gap = "\n".repeat(300_000);
    let summary = read(&desk, format!("{gap}{header}{gap}P,1,Gate,Low\n{gap}P,2,Gate,Low\n"), None).await;
    assert_eq!(
        (summary.format, summary.counts.alerts_created, summary.blank_lines),
        (Format::SecurityAlert, 2, 900_000)
    );
}

async fn a_line_beyond_the_bound_is_one_refusal(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let long = format!("{{\"type\":\"alert\",\"title\":\"{}\"}}\n", "x".repeat(9 << 20));
    let summary = read(&desk, format!("{}{long}{}", alert("1"), alert("2")), None).await;
    let bad: Vec<(u64, &str)> = summary.bad.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
    assert_eq!(bad, [(2, "a line has at most 8388608 bytes")]);
    assert_eq!(summary.counts.alerts_created, 2);
    let whole = |id: &str| alert(id).trim_end().to_owned();
    let text = format!("[\n{},\n{},\n{}\n]\n", whole("3"), long.trim_end(), whole("4"));
    let summary = read(&desk, text, None).await;
    let bad: Vec<(u64, &str)> = summary.bad.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
    assert_eq!(bad, [(3, "a record has at most 8388608 bytes")]);
    assert_eq!(summary.counts.alerts_created, 2);
}

async fn a_group_has_as_many_members_as_its_record_names(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    // More members than one call adds, and few enough for a test, because each member is a user.
    let members: Vec<String> = (0..1_203).map(|n| format!("\"watch.{n}\"")).collect();
    let text = format!("{{\"type\":\"group\",\"account\":\"harbour\",\"members\":[{}]}}\n", members.join(","));
    let summary = read(&desk, text, None).await;
    assert_eq!((summary.verdict(), summary.counts.users, summary.counts.groups), (ImportVerdict::Whole, 1_203, 1));
    let group = desk.app.find_group("harbour").await.expect("an answer").expect("the group");
    let span = Span { after: None, before: None, from_end: false, limit: 2_000 };
    let members = desk.app.store.read().await.expect("a snapshot").members_at_end(&[group.id], span).await;
    assert_eq!(members.expect("members")[&group.id].len(), 1_203);
}

/// Runs an import of the binary; returns its exit code and its output.
fn run(database: &TestDatabase, file: &str, input: Option<&[u8]>) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_watchfloor"))
        .args(["import", file, "--database-url", &database.url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // In small pieces, as a slow writer sends them.
    for piece in input.unwrap_or_default().chunks(7) {
        stdin.write_all(piece).expect("a reader");
        stdin.flush().expect("a reader");
    }
    drop(stdin);
    let mut said = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("a text");
    (child.wait().expect("an end").code(), said)
}

async fn a_pipe_is_read_like_a_file(database: TestDatabase) {
    drop(TestDesk::open(&database).await);
    let text = format!("{}{}", alert("1"), alert("2"));
    let (code, said) = run(&database, "-", Some(text.as_bytes()));
    assert_eq!((code, said.as_str()), (Some(0), "2 records read as watchfloor\n  alerts     2 new\n"));
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("alerts");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || std::fs::write(pipe, text).expect("a reader"))
    };
    let (code, said) = run(&database, pipe.to_str().expect("a path"), None);
    writer.join().expect("the writer ends");
    assert_eq!((code, said.as_str()), (Some(0), "2 records read as watchfloor\n  alerts     2 already there\n"));
}

async fn the_exit_code_says_whether_everything_went_in(database: TestDatabase) {
    drop(TestDesk::open(&database).await);
    let odd = alert("2").replace("\"LOW\"", "\"urgent\"");
    let (code, said) = run(&database, "-", Some(format!("{}{odd}", alert("1")).as_bytes()));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("line 2: severity: \"urgent\" is no severity (kept as it came: \"urgent\")"), "{said}");
    let (code, said) = run(&database, "-", Some(format!("{}{odd}{{\n", alert("1")).as_bytes()));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("line 3: this is not JSON: it ends in the middle"), "{said}");
    let (code, said) = run(&database, "-", Some(b"{\"value\": []}"));
    assert_eq!((code, said.as_str()), (Some(0), "0 records read as watchfloor\n"));
}

async fn an_alert_of_another_incident_stays_there_and_is_told(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let names = r#""alerts":[{"provider":"Quayside","providerAlertId":"1"}],"createdAt":"2026-03-07T09:00:00Z"}"#;
    let text = format!(
        "{}{{\"type\":\"incident\",\"externalId\":\"a\",{names}\n{{\"type\":\"incident\",\"externalId\":\"b\",\"title\":\"Second\",{names}\n",
        alert("1")
    );
    let summary = read(&desk, text, None).await;
    assert_eq!((summary.verdict(), summary.counts.incidents_created), (ImportVerdict::Partial, 2));
    let odd = &summary.odd[0];
    assert_eq!((odd.line, odd.field.as_str(), odd.raw.as_str()), (3, "alerts", "Quayside 1"));
}

async fn a_name_loses_what_cannot_be_seen_and_the_import_says_so(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let summary = read(&desk, include_bytes!("fixtures/odd/lines-unseen-characters.ndjson"), None).await;
    assert_eq!((summary.verdict(), summary.bad_total, summary.partial), (ImportVerdict::Partial, 0, 7));
    let told: Vec<_> = summary.odd.iter().map(|odd| (odd.line, odd.field.as_str(), odd.raw.as_str())).collect();
    let odd = [
        (2, "account", "ki\u{200b}m"),
        (2, "name", "Kim\u{202e} Vale"),
        (2, "email", "kim@quay\u{ad}side.example"),
        (3, "account", "night\u{2060}-watch"),
        (3, "name", "Night\nwatch"),
        (3, "members.1", "ki\u{200b}m"),
        (3, "members.2", "ro\u{200e}"),
        (3, "members.2.name", "Ro\u{feff} Lind"),
        (3, "members.2.email", "r\u{2063}o@quayside.example"),
        (4, "tags.0", "v\u{200b}ip"),
        (4, "owner", "k\u{200d}im"),
        (4, "by", "kim\u{200b}"),
        (4, "by.name", "Ki\u{200b}m"),
        (5, "owner", "night-\u{200b}watch"),
        (5, "owner.name", "Night\u{2066} watch"),
        (5, "comments.0.by", "ki\u{200b}m"),
        (6, "addTags.0", "port\u{202e}side"),
        (6, "removeTags.0", "v\u{2066}ip"),
        (6, "by", "ki\u{feff}m"),
        (6, "comment.by", "\u{200b}kim"),
        (7, "by", "kim\u{200e}"),
        (8, "account", "plain\u{200d}\u{fe0f}"),
        (8, "name", "Six\u{1}\u{2}\u{3}\u{200b}\u{200c}\u{2060} kinds"),
    ];
    assert_eq!(told, odd);
    // The report shows that lines 1 and 2 are about one user.
    let said = "characters that cannot be seen are left out";
    assert_eq!(summary.odd[0].reason, format!("{said} (U+200B): this is read as \"kim\""));
    assert!(summary.odd.iter().all(|odd| odd.reason.starts_with(said)), "{:#?}", summary.odd);
    let shown = desk
        .data(
            "{ users(first: 50) { nodes { account name email } }
               groups(first: 50) { nodes { account name members { nodes { account } } } }
               incidents { nodes { title owner { account } tags { name } comments { nodes { body } } } } }",
            json!({}),
        )
        .await;
    let accounts = sorted(&shown["users"]["nodes"], "account");
    assert_eq!(accounts, ["kim", "local-manager", "plain", "ro"]);
    assert_eq!(sorted(&shown["groups"]["nodes"], "name"), ["Night watch"]);
    assert_eq!(sorted(&shown["groups"]["nodes"][0]["members"]["nodes"], "account"), ["kim", "ro"]);
    let incident = shown["incidents"]["nodes"].as_array().expect("incidents").iter();
    let incident = incident.clone().find(|incident| incident["title"] == "Badge read twice").expect("the first");
    assert_eq!(incident["owner"]["account"], "kim");
    assert_eq!(sorted(&incident["tags"], "name"), ["portside", "می\u{200c}خواهم"]);
    let kept: Vec<&str> =
        each(&incident["comments"]["nodes"], "body").iter().filter_map(|body| body.as_str()).collect();
    for raw in ["v\u{200b}ip", "k\u{200d}im", "port\u{202e}side", "ki\u{feff}m"] {
        assert!(kept.iter().any(|body| body.contains(raw)), "the raw text of {raw:?} stays with the incident");
    }
}
