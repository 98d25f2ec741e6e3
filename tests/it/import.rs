//! Imports: the imported content, the lines of bad records, and that the same file twice changes nothing.
//!
//! Real rows are read from `../shared/data` beside the checkout, if it exists; otherwise the test prints "skipped".

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use watchfloor::app::App;
use watchfloor::app::upload::Uploads;
use watchfloor::domain::Instant;
use watchfloor::domain::account::ActorImage;
use watchfloor::domain::classification::{Classification, FalsePositiveReason, Threat};
use watchfloor::domain::clock::Clock;
use watchfloor::domain::incident::{Incident, Severity, Status};
use watchfloor::domain::policy::Policies;
use watchfloor::import::record::incident_id;
use watchfloor::import::{self, Format, ImportSource, ImportSummary, Options, Progress};
use watchfloor::realtime::{Hub, RealtimeLimits};
use watchfloor::sample;
use watchfloor::storage::{Objects, Span, Store, StoreOptions};

use crate::support::database::{TestDatabase, each_database};

each_database!(
    our_own_records_tell_a_story_and_tell_it_once,
    a_file_that_tells_an_alert_twice_changes_nothing_again,
    an_older_report_is_no_news_in_whichever_order_it_comes,
    an_update_says_when_it_was_made,
    a_time_that_no_desk_keeps_is_told_by_its_line,
    a_record_that_names_nothing_is_told_in_words_of_the_file,
    a_bad_record_is_told_by_its_line_and_strict_stops_there,
    a_raw_payload_comes_back_byte_for_byte,
    alerts_refused_together_go_in_one_by_one,
    an_incident_fills_in_what_was_opened_before_it,
    the_sentinel_examples_go_in_whole,
    the_security_alerts_of_a_real_workspace_go_in_whole,
    the_graph_examples_go_in_whole,
    the_sample_desk_loads_and_goes_on,
);

async fn desk(database: &TestDatabase) -> App {
    let options = StoreOptions {
        url: database.url.clone(),
        connections: 4,
        acquire_timeout: Duration::from_secs(30),
        notify: true,
    };
    let store = Store::connect(options).await.expect("a connection");
    store.migrate().await.expect("a schema");
    let hub = Arc::new(Hub::new(RealtimeLimits { changes: 100, bytes: 1 << 20, incidents: 100_000 }));
    let start = "2026-06-01T12:00:00Z".parse().expect("a time");
    let (jobs, policies, objects) = (Arc::default(), Policies::default(), Objects::default());
    App { store, hub, clock: Clock::manual(start), jobs, policies, objects, uploads: Uploads::default() }
}

async fn read(app: &App, text: &str, options: Options) -> ImportSummary {
    let source = ImportSource::reader(std::io::Cursor::new(text.to_owned()));
    import::import(app, source, options, |_| ()).await.expect("an import")
}

async fn read_file(app: &App, path: &Path) -> ImportSummary {
    let source = ImportSource::open(path).expect("a file");
    import::import(app, source, Options::default(), |_| ()).await.expect("an import")
}

/// Returns a file or folder of the shared data, if it exists.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if !path.exists() {
        println!("skipped: there is no ../shared/data/{name}");
        return None;
    }
    Some(path)
}

async fn head(app: &App) -> u64 {
    app.store.read().await.expect("a snapshot").head().await.expect("a head").offset
}

async fn incident(app: &App, source: &str, external_id: &str) -> Incident {
    let id = incident_id(source, external_id);
    app.find_incident(id).await.expect("an answer").unwrap_or_else(|| panic!("no incident {external_id} of {source}"))
}

async fn comments(app: &App, incident: &Incident) -> Vec<(ActorImage, String)> {
    let reader = app.store.read().await.expect("a snapshot");
    let span = Span { after: None, before: None, limit: 100, from_end: false };
    let comments = reader.comments_page(incident.id, span).await.expect("comments");
    comments.into_iter().map(|comment| (comment.author, comment.body)).collect()
}

async fn raw(app: &App, provider: &str, id: &str) -> Option<String> {
    let alerts = app.find_alerts(&[(provider.to_owned(), id.to_owned())]).await.expect("alerts");
    let alert = alerts.first().expect("the alert");
    app.store.read().await.expect("a snapshot").alerts_raw(&[alert.id]).await.expect("an answer").remove(&alert.id)
}

fn at(text: &str) -> Instant {
    text.parse().expect("a time")
}

const STORY: &str = r#"{"type":"user","account":"mira.holt","name":"Mira Holt","role":"RESPONDER","at":"2026-05-01T06:00:00Z"}
{"type":"group","account":"second-line","name":"Second line","members":["mira.holt",{"account":"samir.haddad","name":"Samir Haddad"}],"at":"2026-05-01T06:00:00Z"}
{"type":"alert","provider":"Lettergate","providerAlertId":"lm-1","product":"Lettergate Mail","title":"Link to a look-alike page was clicked","severity":"MEDIUM","category":"Initial Access","entities":[{"kind":"MAILBOX","value":"bram.okafor@tarnvale.example"}],"at":"2026-05-02T08:00:00Z"}
{"type":"alert","provider":"Keywarden","providerAlertId":"ki-1","product":"Keywarden Identity","title":"Session token replayed","severity":"High","category":"Credential Access","entities":[{"kind":"USER","value":"bram.okafor@tarnvale.example","verdict":"SUSPICIOUS"}],"at":"2026-05-02T08:00:00Z"}
{"type":"incident","externalId":"story-1","alerts":[{"provider":"Lettergate","providerAlertId":"lm-1"},{"provider":"Keywarden","providerAlertId":"ki-1"}],"tags":[{"name":"Credential phishing","kind":"ATTACK_TYPE"}],"createdAt":"2026-05-02T08:01:00Z"}
{"type":"update","externalId":"story-1","at":"2026-05-02T08:10:00Z","by":"mira.holt","status":"ACTIVE","owner":"mira.holt","addTags":["phishing"]}
{"type":"update","externalId":"story-1","at":"2026-05-02T08:10:00Z","by":"mira.holt","comment":{"body":"Sessions revoked."}}
{"type":"comment","externalId":"story-1","id":"c-2","at":"2026-05-02T08:30:00Z","by":"samir.haddad","body":"Proxy log: **one** click."}
{"type":"update","externalId":"story-1","at":"2026-05-02T09:00:00Z","by":"mira.holt","owner":{"group":"second-line"}}
{"type":"update","externalId":"story-1","at":"2026-05-02T11:00:00Z","by":"samir.haddad","status":"RESOLVED","note":"Account taken back.","classification":{"truePositive":"COMPROMISED_ACCOUNT"}}
{"type":"incident","externalId":"story-2","title":"Badge reader opens for every card","severity":"LOW","status":"RESOLVED","note":"Firmware.","owner":{"account":"ruth.maddox","name":"Ruth Maddox"},"comments":[{"body":"Guard on site.","by":"mira.holt","at":"2026-05-03T01:00:00Z"}],"createdAt":"2026-05-03T00:30:00Z","resolvedAt":"2026-05-03T09:00:00Z","by":"mira.holt"}
"#;

async fn our_own_records_tell_a_story_and_tell_it_once(database: TestDatabase) {
    let app = desk(&database).await;
    let summary = read(&app, STORY, Options::default()).await;
    assert_eq!(summary.bad, []);
    assert_eq!((summary.format, summary.records), (Format::Watchfloor, 11));
    let first = incident(&app, "watchfloor", "story-1").await;
    assert_eq!(
        (first.status, first.severity(), first.alert_count, first.comment_count),
        (Status::Resolved, Severity::High, 2, 2)
    );
    assert!(first.title.starts_with("Multi-stage incident involving"), "{}", first.title);
    assert_eq!(first.owner.as_ref().map(|owner| owner.name.as_str()), Some("Second line"));
    assert_eq!(first.classification, Some(Classification::TruePositive(Threat::CompromisedAccount)));
    assert_eq!(first.first_assigned_at, Some(at("2026-05-02T08:10:00Z")));
    assert_eq!(first.resolution.as_ref().map(|resolution| resolution.at), Some(at("2026-05-02T11:00:00Z")));
    let by = first.resolution.as_ref().map(|resolution| &resolution.by);
    assert!(matches!(by, Some(ActorImage::User { name, .. }) if name == "Samir Haddad"), "{by:?}");
    assert_eq!(first.version, 6);
    let second = incident(&app, "watchfloor", "story-2").await;
    assert_eq!((second.status, second.version, second.created_at), (Status::Resolved, 3, at("2026-05-03T00:30:00Z")));
    assert_eq!(second.resolution.as_ref().map(|resolution| resolution.at), Some(at("2026-05-03T09:00:00Z")));

    let before = head(&app).await;
    let again = read(&app, STORY, Options::default()).await;
    assert_eq!((again.bad_total, head(&app).await), (0, before));
    let counts = &again.counts;
    assert_eq!((counts.incidents_created, counts.alerts_created, counts.comments, counts.updates), (0, 0, 0, 0));
    assert_eq!((counts.incidents_present, counts.alerts_unchanged, counts.comments_present), (2, 2, 1));
    let told = import::print_summary(&again);
    assert!(told.contains("incidents  2 already there"), "{told}");
}

async fn title(app: &App, id: &str) -> String {
    app.find_alerts(&[("K".to_owned(), id.to_owned())]).await.expect("alerts").remove(0).report.title
}

async fn a_file_that_tells_an_alert_twice_changes_nothing_again(database: TestDatabase) {
    let app = desk(&database).await;
    let tell = |at: &str| {
        let mut text = String::new();
        for (title, between) in [
            (
                "first",
                r#"{"type":"incident","externalId":"c","alerts":[{"provider":"K","providerAlertId":"1"}],"createdAt":"2026-05-02T08:01:00Z"}"#,
            ),
            ("second", r#"{"type":"user","account":"m"}"#),
            ("third", r#"{"type":"update","externalId":"c","status":"RESOLVED","at":"2026-05-02T10:00:00Z"}"#),
        ] {
            let alert = format!(
                r#"{{"type":"alert","provider":"K","providerAlertId":"1","title":"{title}","severity":"LOW"{at}}}"#
            );
            text.push_str(&format!("{alert}\n{between}\n"));
        }
        text
    };
    // With a time that never changes, and without a time.
    let text = tell(r#","at":"2026-05-02T08:00:00Z""#);
    assert_eq!(read(&app, &text, Options::default()).await.bad, []);
    let (made, end) = (incident(&app, "watchfloor", "c").await, head(&app).await);
    assert_eq!(
        (made.status, made.title.as_str(), title(&app, "1").await.as_str()),
        (Status::Resolved, "third", "third")
    );
    for _ in 0..2 {
        app.clock.advance(chrono::Duration::hours(1));
        let again = read(&app, &text, Options::default()).await;
        assert_eq!((again.bad_total, head(&app).await), (0, end), "{:?}", again.counts);
        assert_eq!((again.counts.alerts_unchanged, again.counts.updates_present), (3, 1));
    }
    assert_eq!(incident(&app, "watchfloor", "c").await, made);
    let without = tell("").replace("\"1\"", "\"2\"").replace("\"c\"", "\"d\"");
    let without = without.replace("2026-05-02T10:00", "2026-06-01T14:04");
    assert_eq!(read(&app, &without, Options::default()).await.bad, []);
    let end = head(&app).await;
    app.clock.advance(chrono::Duration::hours(1));
    read(&app, &without, Options::default()).await;
    assert_eq!((head(&app).await, title(&app, "2").await.as_str()), (end, "third"));
}

async fn an_older_report_is_no_news_in_whichever_order_it_comes(database: TestDatabase) {
    let app = desk(&database).await;
    let report = |title: &str, hour: u32| {
        format!(
            "{{\"type\":\"alert\",\"provider\":\"K\",\"providerAlertId\":\"1\",\"title\":\"{title}\",\"severity\":\"LOW\",\"at\":\"2026-05-02T{hour:02}:00:00Z\"}}\n"
        )
    };
    let newest_first = format!("{}{}", report("noon", 12), report("eleven", 11));
    read(&app, &newest_first, Options::default()).await;
    assert_eq!(title(&app, "1").await, "noon");
    let summary = read(&app, &report("ten", 10), Options::default()).await;
    assert_eq!((summary.counts.alerts_unchanged, title(&app, "1").await.as_str()), (1, "noon"));
    let summary = read(&app, &report("noon, in other words", 12), Options::default()).await;
    assert_eq!((summary.counts.alerts_updated, title(&app, "1").await.as_str()), (1, "noon, in other words"));
    let summary = read(&app, &report("one", 13), Options::default()).await;
    assert_eq!((summary.counts.alerts_updated, title(&app, "1").await.as_str()), (1, "one"));
}

async fn a_time_that_no_desk_keeps_is_told_by_its_line(database: TestDatabase) {
    let app = desk(&database).await;
    let text = r#"{"type":"incident","externalId":"1","title":"a","firstActivityAt":"+20000-01-01T00:00:00Z","createdAt":"2026-05-02T08:01:00Z"}
{"type":"incident","externalId":"2","title":"b","lastActivityAt":"0001-01-01T00:00:00Z","createdAt":"2026-05-02T08:01:00Z"}
{"type":"incident","externalId":"3","title":"c","createdAt":"-4800-05-02T08:01:00Z"}
{"type":"incident","externalId":"4","title":"d","comments":[{"body":"x","at":"9999-05-02T08:01:00Z"}],"createdAt":"2026-05-02T08:01:00Z"}
{"type":"alert","provider":"K","providerAlertId":"1","title":"t","severity":"LOW","at":"+9999-12-31T00:00:00Z"}
{"type":"user","account":"m","at":"0001-01-01T00:00:00Z"}
{"type":"incident","externalId":"5","title":"leap","createdAt":"2026-05-02T08:01:60Z","firstActivityAt":"2015-06-30T23:59:60Z"}
{"type":"update","externalId":"5","at":"0000-01-01T00:00:00Z","status":"ACTIVE"}
{"type":"comment","externalId":"5","at":"+12026-01-01T00:00:00Z","body":"x"}
"#;
    let summary = read(&app, text, Options::default()).await;
    let bounds = "an instant lies between the years 2 and 9998";
    let never = "0001-01-01T00:00:00+00:00 is read as no time";
    let odd: Vec<(u64, &str, &str)> =
        summary.odd.iter().map(|odd| (odd.line, odd.field.as_str(), odd.reason.as_str())).collect();
    let expected = [
        (1, "firstActivityAt", bounds),
        (2, "lastActivityAt", never),
        (3, "createdAt", bounds),
        (4, "comments.0.at", bounds),
        (5, "at", "9999-12-31T00:00:00+00:00 is read as no time"),
        (6, "at", never),
        (9, "at", bounds),
    ];
    assert_eq!(odd, expected);
    // The time of an update decides its place.
    let bad: Vec<(u64, &str)> = summary.bad.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
    assert_eq!(bad, [(8, "at: an instant lies between the years 2 and 9998")]);
    let leap = incident(&app, "watchfloor", "5").await;
    assert_eq!(
        (leap.created_at, leap.first_activity_at),
        (at("2026-05-02T08:01:59.999999Z"), Some(at("2015-06-30T23:59:59.999999Z")))
    );
    assert_eq!(summary.verdict().exit_code(), 4);
}

async fn a_record_that_names_nothing_is_told_in_words_of_the_file(database: TestDatabase) {
    let app = desk(&database).await;
    let text = r#"{"type":"incident","externalId":"","title":"blank id"}
{"type":"comment","externalId":" ","body":"x"}
{"type":"incident","externalId":"1","source":"\u200b","title":"x"}
{"type":"nonsense"}
[1,2]
"str"
{"type":"incident","title":"no name"}
"#;
    let summary = read(&app, text, Options::default()).await;
    let bad: Vec<(u64, &str)> = summary.bad.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
    let types = "user, group, alert, incident, comment, update";
    let no_object = format!("a record is an object with a type: {types}");
    let expected = [
        (1, "externalId is missing".to_owned()),
        (2, "externalId: this cannot be blank".to_owned()),
        (3, "source: this cannot be blank".to_owned()),
        (4, format!("\"nonsense\" is no type of a record, choose one of {types}")),
        (5, no_object.clone()),
        (5, no_object.clone()),
        (6, no_object),
        (7, "externalId is missing".to_owned()),
    ];
    assert_eq!(bad, expected.iter().map(|(line, reason)| (*line, reason.as_str())).collect::<Vec<_>>());
    assert_eq!(head(&app).await, 0);
}

async fn an_update_says_when_it_was_made(database: TestDatabase) {
    let app = desk(&database).await;
    let text = r#"{"type":"incident","externalId":"c","title":"two","createdAt":"2026-05-02T08:01:00Z"}
{"type":"update","externalId":"c","status":"ACTIVE"}
{"type":"update","externalId":"c","at":"2026-05-02T08:00:00Z","status":"RESOLVED","note":"x"}
{"type":"update","externalId":"c","at":"2026-05-02T09:00:00Z","status":"ACTIVE"}
"#;
    for run in 0..2 {
        let summary = read(&app, text, Options::default()).await;
        let bad: Vec<(u64, &str)> = summary.bad.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
        assert_eq!(
            bad,
            [
                (2, "at: an update says when it was made: without that the same file again repeats it"),
                (3, "at: an update is not made before its incident (createdAt)"),
            ]
        );
        assert_eq!(
            (incident(&app, "watchfloor", "c").await.status, head(&app).await),
            (Status::Active, 2),
            "run {run}"
        );
    }
}

async fn a_bad_record_is_told_by_its_line_and_strict_stops_there(database: TestDatabase) {
    let app = desk(&database).await;
    let text = format!(
        "{}\n\n{}\nnot json\n{}\n{}\n{}\n",
        r#"{"type":"incident","externalId":"1","title":"First","createdAt":"2026-05-01T00:00:00Z"}"#,
        r#"{"type":"incident","externalId":" ","title":"Second","createdAt":"2026-05-01T00:00:00Z"}"#,
        r#"{"type":"comment","externalId":"nobody","body":"Hello."}"#,
        r#"{"type":"incident","title":"Third","severity":"urgent"}"#,
        r#"{"type":"incident","externalId":"4","title":"Fourth","createdAt":"2026-05-01T00:00:00Z"}"#,
    );
    let strict = read(&app, &text, Options { strict: true, format: None }).await;
    assert!(strict.stopped);
    assert_eq!(strict.bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [3]);
    assert_eq!(head(&app).await, 1);
    let summary = read(&app, &text, Options::default()).await;
    let bad: Vec<(u64, &str)> = summary.bad.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
    assert_eq!(bad[0], (3, "externalId: this cannot be blank"));
    assert_eq!(bad[1].0, 4);
    assert_eq!(bad[2], (5, "externalId: there is no incident nobody of watchfloor"));
    assert_eq!(bad[3], (6, "externalId is missing"));
    assert_eq!((bad.len(), head(&app).await), (4, 2));
    assert!(import::print_summary(&summary).contains("line 6: externalId is missing"));
}

async fn a_raw_payload_comes_back_byte_for_byte(database: TestDatabase) {
    let app = desk(&database).await;
    let line = "{ \"type\":\"alert\",\t\"provider\":\"P\", \"providerAlertId\":\"1\",\"title\":\"\\u00e9\",\"severity\":\"LOW\",  \"techniques\":[ ]}";
    let row = "\"P\",2,\"say \"\"no\"\",\r\nagain 🚨 \",Low,\"\"";
    read(&app, &format!("{line}\r\n"), Options::default()).await;
    let csv = format!("ProviderName,ProviderAlertId,DisplayName,Severity,Entities\r\n{row}\r\n");
    let summary = read(&app, &csv, Options::default()).await;
    assert_eq!((summary.format, summary.bad_total), (Format::SecurityAlert, 0));
    assert_eq!(raw(&app, "P", "1").await.as_deref(), Some(line));
    assert_eq!(raw(&app, "P", "2").await.as_deref(), Some(row));
}

async fn alerts_refused_together_go_in_one_by_one(database: TestDatabase) {
    let app = desk(&database).await;
    let mut text = String::new();
    for n in 0..1_300 {
        // The longest name exceeds the limit, so the desk refuses that incident alone.
        let id = if n == 700 { "9".repeat(300) } else { n.to_string() };
        text.push_str(&format!(
            "{{\"type\":\"alert\",\"provider\":\"P\",\"providerAlertId\":\"{id}\",\"title\":\"Port sweep\",\"severity\":\"LOW\",\"at\":\"2026-05-01T00:00:00Z\"}}\n"
        ));
    }
    let mut last = Progress::default();
    let source = ImportSource::reader(std::io::Cursor::new(text.clone()));
    let summary =
        import::import(&app, source, Options::default(), |progress| last = progress).await.expect("an import");
    assert_eq!((summary.counts.alerts_created, summary.bad_total), (1_299, 1));
    assert_eq!(summary.bad.first().map(|bad| bad.line), Some(701));
    assert_eq!((last.records, last.bad, last.bytes), (1_300, 1, text.len() as u64));
}

async fn an_incident_fills_in_what_was_opened_before_it(database: TestDatabase) {
    let app = desk(&database).await;
    let comment = r#"{"name":"C-1","type":"Microsoft.SecurityInsights/incidents/comments","id":"/x/incidents/AB-1/comments/C-1",
        "properties":{"message":"Called the owner.","createdTimeUtc":"2026-04-02T10:00:00Z","author":{"name":"Jun Takeda","email":"jun.takeda@tarnvale.example"}}}"#;
    let summary = read(&app, comment, Options::default()).await;
    assert_eq!((summary.bad_total, summary.counts.incidents_created, summary.counts.comments), (0, 1, 1));
    assert_eq!(incident(&app, "sentinel", "ab-1").await.title, "Incident ab-1 of Microsoft Sentinel");
    let whole = r#"{"name":"ab-1","type":"Microsoft.SecurityInsights/incidents","properties":{"title":"Backup account at night",
        "severity":"Low","status":"Closed","classification":"TruePositive","classificationReason":"SuspiciousActivity",
        "createdTimeUtc":"2026-04-02T09:00:00Z","lastModifiedTimeUtc":"2026-04-03T09:00:00Z"}}"#;
    let summary = read(&app, whole, Options::default()).await;
    assert_eq!((summary.bad_total, summary.counts.incidents_updated), (0, 1));
    let filled = incident(&app, "sentinel", "ab-1").await;
    assert_eq!((filled.title.as_str(), filled.status), ("Backup account at night", Status::Resolved));
    assert_eq!((filled.severity(), filled.comment_count), (Severity::Low, 1));
    let before = head(&app).await;
    read(&app, whole, Options::default()).await;
    read(&app, comment, Options::default()).await;
    assert_eq!(head(&app).await, before);
}

async fn the_sentinel_examples_go_in_whole(database: TestDatabase) {
    let Some(folder) = shared("azure-rest-securityinsights/incidents") else { return };
    let app = desk(&database).await;
    let mut files = Vec::new();
    for folder in [folder.clone(), folder.join("comments"), folder.join("relations")] {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")));
    }
    // In any order: comments and relations may come before their incident.
    files.sort_by(|a, b| b.cmp(a));
    let total = files.len();
    for file in &files {
        let summary = read_file(&app, file).await;
        assert_eq!((summary.format, summary.bad_total), (Format::Sentinel, 0), "{}: {:?}", file.display(), summary.bad);
    }
    assert!(total >= 15, "{total} files");
    let closed = incident(&app, "sentinel", "73e01a99-5cd7-4139-a149-9f2736ff2ab5").await;
    assert_eq!(
        (closed.title.as_str(), closed.status, closed.severity()),
        ("My incident", Status::Resolved, Severity::High)
    );
    let written = comments(&app, &closed).await;
    assert_eq!(written.len(), 1);
    assert!(
        matches!(&written[0], (ActorImage::User { name, .. }, body) if name == "john doe" && body == "Some message")
    );
    let reason = closed.classification.and_then(Classification::reason);
    assert!(matches!(reason, Some(FalsePositiveReason::NotMalicious | FalsePositiveReason::NotEnoughDataToValidate)));
    assert!(
        closed
            .resolution
            .and_then(|resolution| resolution.note)
            .is_some_and(|note| note.starts_with("Not a malicious activity"))
    );
    let related = incident(&app, "sentinel", "afbd324f-6c48-459c-8710-8d1e1cd03812").await;
    // The listed alert, the related alert, and the incident's entities; two bookmarks and a related bookmark.
    assert_eq!((related.alert_count, related.comment_count), (3, 3));
    let before = head(&app).await;
    for file in &files {
        assert_eq!(read_file(&app, file).await.bad_total, 0);
    }
    assert_eq!(head(&app).await, before);
}

async fn the_security_alerts_of_a_real_workspace_go_in_whole(database: TestDatabase) {
    let Some(path) = shared("msticpy-securityalert/securityalert.csv") else { return };
    let app = desk(&database).await;
    let summary = read_file(&app, &path).await;
    assert_eq!((summary.bad_total, summary.counts.alerts_created), (0, 93));
    let text = std::fs::read_to_string(&path).expect("a text");
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let mut starts: Vec<usize> = Vec::new();
    let mut keys = Vec::new();
    let mut row = csv::StringRecord::new();
    while rows.read_record(&mut row).expect("a row") {
        starts.push(usize::try_from(row.position().expect("a place").byte()).expect("a place in memory"));
        keys.push((row[5].to_owned(), row[3].to_owned()));
    }
    starts.push(text.len());
    for ((provider, id), place) in keys.iter().zip(starts.windows(2)) {
        let expected = text[place[0]..place[1]].trim_matches(['\r', '\n']);
        assert_eq!(raw(&app, provider, id).await.as_deref(), Some(expected));
    }
    let again = read_file(&app, &path).await;
    assert_eq!((again.counts.alerts_created, again.counts.alerts_updated, again.counts.alerts_unchanged), (0, 0, 93));
}

async fn the_graph_examples_go_in_whole(database: TestDatabase) {
    let app = desk(&database).await;
    for name in ["incident_list.json", "incident_comment.json"] {
        let Some(path) = shared(&format!("graph-security/{name}")) else { return };
        let summary = read_file(&app, &path).await;
        assert_eq!((summary.format, summary.bad_total), (Format::Graph, 0), "{:?}", summary.bad);
        let before = head(&app).await;
        read_file(&app, &path).await;
        assert_eq!(head(&app).await, before);
    }
    let listed = incident(&app, "graph", "2972395").await;
    assert_eq!((listed.status, listed.comment_count, listed.tags.len()), (Status::New, 1, 2));
    assert_eq!(listed.classification, Some(Classification::TruePositive(Threat::MultiStageAttack)));
    assert_eq!(listed.owner.map(|owner| owner.account).as_deref(), Some("KaiC@contoso.onmicrosoft.com"));
    assert_eq!(incident(&app, "graph", "3962396").await.comment_count, 2);
}

/// How many records of the sample desk a test loads: they are ordered, so a beginning of them is consistent. All
/// records take a minute on PostgreSQL in the dev profile, and test no more.
const SAMPLE_RECORDS: usize = 1_000;

async fn the_sample_desk_loads_and_goes_on(database: TestDatabase) {
    let app = desk(&database).await;
    let now = app.clock.now();
    let start = || sample::desk(7, now).into_iter().take(SAMPLE_RECORDS);
    let summary = import::apply_records(&app, start(), |_| ()).await.expect("a desk");
    assert_eq!((summary.bad, summary.records), (Vec::new(), SAMPLE_RECORDS as u64));
    assert!(summary.counts.incidents_created >= 100 && summary.counts.alerts_created >= 400, "{:?}", summary.counts);
    let before = head(&app).await;
    let again = import::apply_records(&app, start(), |_| ()).await.expect("a desk");
    assert_eq!((again.bad_total, head(&app).await), (0, before));
    let story = sample::live::LiveStory::new(7, now).filter(|beat| !speaks_of_the_rest(&beat.record));
    for beat in story.take(60) {
        app.clock.advance(chrono::Duration::seconds(2));
        let record = sample::live::told_at(beat.record, app.clock.now());
        let summary = import::apply_records(&app, [record], |_| ()).await.expect("a beat");
        assert_eq!(summary.bad, []);
    }
    assert!(head(&app).await > before + 20);
}

/// Returns whether a record is about an incident that this test did not load.
fn speaks_of_the_rest(record: &import::Record) -> bool {
    matches!(record, import::Record::Update(update) if !update.external_id.contains("live"))
}
