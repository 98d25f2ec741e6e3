//! Imports whose records share transactions give the same desk as record by record, also if a record is refused, a
//! batch fails, or others write and follow meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use watchfloor::app::App;
use watchfloor::app::verify::{Verification, verify};
use watchfloor::domain::alert_log::Logged;
use watchfloor::domain::change::CauseKind;
use watchfloor::import::apply::Applier;
use watchfloor::import::detect;
use watchfloor::import::lines::LineTally;
use watchfloor::import::record::incident_id;
use watchfloor::import::{self, Format, ImportCounts, ImportSource, ImportSummary, Options};
use watchfloor::sample;
use watchfloor_faults::{Disk, Fault, Span};

use crate::statements::Sent;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;
use crate::support::proxy::{Break, Proxy};
use crate::support::stream::{QUEUE, read_to, replay, short};
use crate::support::triage::each;
use crate::support::waiting::{LONG_PATIENCE, a_moment};

each_database!(
    a_batch_leaves_the_desk_that_its_records_leave_one_by_one,
    a_refused_record_costs_itself_alone,
    the_records_of_a_batch_find_what_those_before_them_wrote,
    a_resolution_of_a_batch_is_undone_alert_by_alert,
    a_batch_gives_way_to_who_holds_what_it_needs,
    others_write_beside_an_import,
    a_stream_beside_an_import_has_each_change_once,
    a_report_of_an_alert_overtakes_no_update_of_its_incident,
    records_that_are_done_alone_stand_amid_others,
    a_record_of_a_batch_takes_few_statements,
    an_import_that_was_killed_is_run_again_and_doubles_nothing,
);

async fn read_with(app: &App, text: &str, options: Options) -> watchfloor::domain::Result<ImportSummary> {
    import::import(app, ImportSource::reader(std::io::Cursor::new(text.to_owned())), options, |_| ()).await
}

async fn read(app: &App, text: &str) -> ImportSummary {
    read_with(app, text, Options::default()).await.expect("an import")
}

/// Applies each record of a text alone; returns the counts, and the lines of the refused records.
async fn read_one_by_one(app: &App, text: &str) -> (ImportCounts, Vec<u64>) {
    let (source, format) = (Box::new(std::io::Cursor::new(text.to_owned())), Some(Format::Watchfloor));
    let (format, items) = detect::items(source, format, &Arc::new(LineTally::default())).expect("a format");
    let mut applier = Applier::new(app, format, false);
    let mut refused = Vec::new();
    for item in items {
        let applied = applier.apply(&[item.expect("an item")]).await.expect("an answer");
        assert_eq!(applied.records, 1);
        refused.extend(applied.refused.into_iter().map(|bad| bad.line));
    }
    (applier.counts().clone(), refused)
}

fn lines(summary: &ImportSummary) -> Vec<u64> {
    summary.bad.iter().map(|bad| bad.line).collect()
}

/// Checks that the log is whole, and returns its number of changes. Each command has one transaction, whose changes are
/// consecutive up to the change with the `last` mark.
async fn whole(app: &App) -> u64 {
    match verify(&app.store, None, &|_, _| ()).await.expect("a look at the log") {
        Verification::Whole(_) => {}
        Verification::Broken(found) => panic!("{found}"),
    }
    let reader = app.store.read().await.expect("a snapshot");
    let head = reader.head().await.expect("a head");
    let log = reader.log_after(&head, 0, head.offset).await.expect("a log").expect("a whole log");
    let mut ended = BTreeSet::new();
    let mut open = None;
    for logged in log {
        let (transaction, last) = match &logged {
            Logged::Incident(change) => (change.body.transaction, change.body.last),
            Logged::Alert(change) => (change.body.transaction, change.body.last),
        };
        let at = logged.offset();
        assert!(open.is_none_or(|open| open == transaction), "two commands are mixed at {at}");
        assert!(!ended.contains(&transaction), "a command goes on after its last change, at {at}");
        open = Some(transaction);
        if last {
            ended.insert(transaction);
            open = None;
        }
    }
    assert_eq!(open, None, "the last command has an end");
    head.offset
}

/// Returns everything of a desk but the random values: ids of alerts, users and transactions.
async fn content(app: &App, text: &str) -> (Vec<Value>, BTreeMap<String, Value>, Vec<Value>) {
    let reader = app.store.read().await.expect("a snapshot");
    let head = reader.head().await.expect("a head");
    let log = reader.log_after(&head, 0, head.offset).await.expect("a log").expect("a whole log");
    let (mut incidents, mut changes) = (BTreeSet::new(), Vec::new());
    for logged in &log {
        let kinds: Vec<String> = logged.entries().iter().map(|entry| format!("{:?}", entry.kind())).collect();
        match logged.of_incident() {
            Some(change) => {
                incidents.insert(change.incident());
                changes.push(json!([
                    change.incident().to_string(),
                    change.version(),
                    change.body.last,
                    change.body.at,
                    kinds
                ]));
            }
            None => changes.push(json!(kinds)),
        }
    }
    // Alerts go before the other records of their batch.
    changes.sort_by_key(Value::to_string);
    let mut rows = Vec::new();
    for incident in reader.incidents(&incidents.into_iter().collect::<Vec<_>>()).await.expect("incidents") {
        rows.push(json!([
            incident.number,
            incident.id.to_string(),
            incident.title,
            incident.description,
            format!("{:?} {:?} {:?}", incident.status, incident.severity(), incident.classification),
            incident.owner.as_ref().map(|owner| owner.account.clone()),
            incident.tags.iter().map(|tag| tag.name.clone()).collect::<BTreeSet<_>>(),
            [incident.alert_count, incident.comment_count, incident.version],
            [Some(incident.created_at), Some(incident.updated_at), incident.first_assigned_at],
            incident.resolution.as_ref().map(|resolution| (resolution.at, resolution.note.clone())),
        ]));
    }
    rows.sort_by_key(|row| row[0].as_i64());
    let mut by_key = BTreeMap::new();
    drop(reader);
    for alert in app.find_alerts(&keys(text)).await.expect("alerts") {
        let key = format!("{:?}", alert.report.key());
        let told = json!([
            format!("{:?}", alert.report),
            format!("{:?}", alert.status),
            alert.incident.map(|id| id.to_string()),
            alert.updated_at
        ]);
        by_key.insert(key, told);
    }
    (rows, by_key, changes)
}

/// Returns the keys of the alerts in a text of records.
fn keys(text: &str) -> Vec<(String, String)> {
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let alerts = records.filter(|record| record["type"] == "alert");
    let word = |record: &Value, field: &str| record[field].as_str().expect("a text").to_owned();
    alerts.map(|record| (word(&record, "provider"), word(&record, "providerAlertId"))).collect()
}

/// Returns a beginning of the sample desk, with some lines that are no records.
fn some_of_the_sample(app: &App, count: usize) -> String {
    let records = sample::desk(11, app.clock.now()).into_iter().take(count);
    let mut text = String::new();
    for (place, record) in records.enumerate() {
        text.push_str(&serde_json::to_string(&record).expect("JSON"));
        text.push('\n');
        match place % 90 {
            40 => text.push_str("{\"type\":\"nonsense\"}\n"),
            60 => text.push_str("{\"type\":\"comment\",\"externalId\":\"nobody\",\"body\":\"Hello.\"}\n"),
            _ => {}
        }
    }
    text
}

async fn a_batch_leaves_the_desk_that_its_records_leave_one_by_one(database: TestDatabase) {
    let other = TestDatabase::fresh(database.kind).await;
    let (together, apart) = (TestDesk::open(&database).await, TestDesk::open(&other).await);
    let text = some_of_the_sample(&together.app, 500);
    let (counts, refused) = read_one_by_one(&apart.app, &text).await;
    let summary = read(&together.app, &text).await;
    assert_eq!((&summary.counts, lines(&summary)), (&counts, refused));
    assert!(counts.incidents_created > 20 && summary.bad_total > 8, "{summary:?}");
    assert_eq!(whole(&together.app).await, whole(&apart.app).await);
    let ((rows, alerts, changes), wanted) = (content(&together.app, &text).await, content(&apart.app, &text).await);
    assert_eq!(rows, wanted.0);
    assert_eq!(alerts, wanted.1);
    assert_eq!(changes, wanted.2);
    // And the other way round, over the existing content.
    let ((again, refused), again_apart) = (read_one_by_one(&together.app, &text).await, read(&apart.app, &text).await);
    assert_eq!((&again, refused), (&again_apart.counts, lines(&again_apart)));
    assert_eq!(again.incidents_present, counts.incidents_created);
    assert_eq!(whole(&together.app).await, whole(&apart.app).await);
}

fn plain(id: &str, more: &str) -> String {
    format!("{{\"type\":\"incident\",\"externalId\":\"{id}\",\"createdAt\":\"2026-05-02T08:00:00Z\"{more}}}\n")
}

fn titled(id: &str) -> String {
    plain(id, &format!(",\"title\":\"Incident {id}\""))
}

async fn number(app: &App, id: &str) -> Option<i64> {
    let found = app.find_incident(incident_id("watchfloor", id)).await.expect("an answer");
    found.map(|incident| incident.number)
}

fn alert(title: &str) -> String {
    format!(
        "{{\"type\":\"alert\",\"provider\":\"K\",\"providerAlertId\":\"1\",\"title\":\"{title}\",\"severity\":\"LOW\",\"at\":\"2026-05-02T08:00:00Z\"}}\n"
    )
}

const ALERT: &str = r#"[{"provider":"K","providerAlertId":"1"}]"#;

async fn a_refused_record_costs_itself_alone(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let holder = plain("1", &format!(",\"alerts\":{ALERT}"));
    let tagged = |hour: u32, more: &str| {
        format!("{{\"type\":\"update\",\"externalId\":\"2\",\"at\":\"2026-05-02T{hour:02}:00:00Z\"{more}}}\n")
    };
    // Only a resolved incident has a note.
    let refused = |hour: u32| tagged(hour, ",\"addTags\":[\"Left-Behind\"],\"note\":\"Early.\"");
    let spelled = tagged(10, ",\"addTags\":[\"left-behind\"]");
    let text = [alert("t"), holder, titled("2"), refused(9), "not json\n".to_owned(), spelled].concat();
    let summary = read(&desk.app, &text).await;
    assert_eq!(summary.bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [4, 5], "{:?}", summary.bad);
    assert_eq!((summary.records, summary.counts.incidents_created, summary.counts.updates), (6, 2, 1));
    let found = desk.app.find_incident(incident_id("watchfloor", "2")).await.expect("an answer").expect("an incident");
    let tags: Vec<&str> = found.tags.iter().map(|tag| tag.name.as_str()).collect();
    assert_eq!(tags, ["left-behind"], "what was refused has left nothing behind");
    assert_eq!(whole(&desk.app).await, 4);
    let strict = Options { strict: true, ..Options::default() };
    let text = [titled("6"), refused(11), titled("8")].concat();
    let summary = read_with(&desk.app, &text, strict).await.expect("an import");
    assert_eq!((summary.stopped, summary.records, summary.bad_total), (true, 2, 1));
    assert_eq!((number(&desk.app, "6").await, number(&desk.app, "8").await), (Some(3), None));
}

async fn the_records_of_a_batch_find_what_those_before_them_wrote(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let update = |title: &str| {
        format!(
            "{{\"type\":\"update\",\"externalId\":\"c\",\"at\":\"2026-05-02T09:00:00Z\",\"by\":\"mira\",\"title\":\"{title}\"}}\n"
        )
    };
    // The alert's three reports make one change; two updates have the same time.
    let user = "{\"type\":\"user\",\"account\":\"mira\"}\n".to_owned();
    let holder = plain("c", ",\"alerts\":[{\"provider\":\"K\",\"providerAlertId\":\"1\"}]");
    let stub = titled("d");
    let text = [
        alert("first"),
        stub,
        alert("second"),
        titled("e"),
        alert("third"),
        user,
        holder,
        update("one"),
        update("two"),
    ];
    let text = text.concat();
    let summary = read(&desk.app, &text).await;
    assert_eq!((summary.bad.clone(), summary.counts.alerts_created, summary.counts.updates), (Vec::new(), 1, 2));
    let end = whole(&desk.app).await;
    assert_eq!(end, 1 + 2 + 3);
    let alert = desk.app.find_alerts(&[("K".to_owned(), "1".to_owned())]).await.expect("an answer").pop();
    assert_eq!(alert.expect("an alert").report.title, "third");
    let again = read(&desk.app, &text).await;
    assert_eq!((again.counts.alerts_unchanged, again.counts.updates_present), (3, 2));
    assert_eq!(whole(&desk.app).await, end);
}

/// A reopening returns exactly the alerts that the resolution resolved, also if the resolution came in a batch.
async fn a_resolution_of_a_batch_is_undone_alert_by_alert(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alert = |key: &str, status: &str| {
        json!({ "type": "alert", "provider": "K", "providerAlertId": key, "title": key, "status": status,
                "at": "2026-05-02T08:00:00Z" })
    };
    let keys = ["1", "2", "3"].map(|key| json!({ "provider": "K", "providerAlertId": key }));
    let records = [
        alert("1", "NEW"),
        alert("2", "RESOLVED"),
        alert("3", "NEW"),
        json!({ "type": "incident", "externalId": "case", "alerts": keys, "createdAt": "2026-05-02T09:00:00Z" }),
        json!({ "type": "update", "externalId": "case", "at": "2026-05-02T10:00:00Z", "status": "RESOLVED" }),
    ];
    let summary = read(&desk.app, &records.map(|record| record.to_string() + "\n").concat()).await;
    assert_eq!((summary.bad.clone(), summary.counts.updates), (Vec::new(), 1));
    let id = "query { incident(by: { number: 1 }) { id } }";
    let id = desk.data(id, json!({})).await["incident"]["id"].take();
    let reopened = desk.act("reopenIncident", json!({ "incidentId": id })).await;
    assert_eq!(each(&reopened["alerts"], "status"), ["NEW", "NEW"]);
    let alerts = "query($id: ID!) { incident(by: { id: $id }) { alerts { nodes { title status } } } }";
    let alerts = desk.data(alerts, json!({ "id": id })).await;
    let alerts = alerts["incident"]["alerts"]["nodes"].as_array().expect("alerts").clone();
    let status = |title: &str| alerts.iter().find(|alert| alert["title"] == title).map(|alert| &alert["status"]);
    assert_eq!(["1", "2", "3"].map(status), [Some(&json!("NEW")), Some(&json!("RESOLVED")), Some(&json!("NEW"))]);
}

/// Another transaction has locked a row that a record needs, and waits for a row that the batch has locked.
async fn a_batch_gives_way_to_who_holds_what_it_needs(database: TestDatabase) {
    if database.kind == Kind::Sqlite {
        // SQLite has one writer at a time, so nothing waits inside a transaction.
        return;
    }
    let desk = TestDesk::open(&database).await;
    read(&desk.app, &titled("held")).await;
    let held = incident_id("watchfloor", "held");
    let (locked, mut is_locked) = tokio::sync::oneshot::channel::<()>();
    let other = desk.app.clone();
    let locked = std::sync::Mutex::new(Some(locked));
    let holder = tokio::spawn(async move {
        other
            .store
            .transact(|tx| {
                let said = locked.lock().expect("a lock").take();
                async move {
                    tx.lock_incident(held).await?;
                    said.map(|said| said.send(()));
                    // By then the batch has made an incident, and holds the counter.
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    tx.next_incident_number().await
                }
            })
            .await
    });
    tokio::time::timeout(LONG_PATIENCE, &mut is_locked).await.expect("in time").expect("a lock");
    let begun = Instant::now();
    let comment = "{\"type\":\"comment\",\"externalId\":\"held\",\"id\":\"c\",\"at\":\"2026-05-02T10:00:00Z\",\"body\":\"Seen.\"}\n";
    let text = [titled("first"), comment.to_owned(), titled("last")].concat();
    let summary = read(&desk.app, &text).await;
    assert_eq!((summary.bad.clone(), summary.counts.incidents_created, summary.counts.comments), (Vec::new(), 2, 1));
    let (_, head) = holder.await.expect("a task").expect("the other one is not the victim of a deadlock");
    assert!(head.offset >= 1);
    println!("an import and who holds what it needs are done after {:?}", begun.elapsed());
    assert_eq!(whole(&desk.app).await, 4);
}

async fn others_write_beside_an_import(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let node = TestDesk::open(&database).await;
    let text = some_of_the_sample(&desk.app, 400);
    let second = (0..60).map(|n| titled(&format!("second-{n}"))).collect::<String>();
    let imports = {
        let (app, other) = (desk.app.clone(), node.app.clone());
        tokio::spawn(async move { tokio::join!(read(&app, &text), read(&other, &second)) })
    };
    let mut written = 0;
    while !imports.is_finished() {
        let id = node.incident("By hand").await;
        let comment = "mutation($id: ID!) { addComment(input: { incidentId: $id, body: \"Seen\" }) { changed } }";
        desk.data(comment, json!({ "id": id })).await;
        written += 1;
        a_moment().await;
    }
    let (first, second) = imports.await.expect("imports");
    assert_eq!((second.bad.clone(), second.counts.incidents_created), (Vec::new(), 60));
    assert!(first.counts.incidents_created > 10, "{first:?}");
    whole(&desk.app).await;
    // A write waits for a batch and not for an import, so the log has writes by hand between changes of the imports.
    let mut causes = causes(&desk.app).await;
    causes.dedup();
    let between = causes.windows(3).filter(|three| three[1] != CauseKind::Import && three[0] == three[2]).count();
    assert!(between > 2, "{written} incidents by hand, {between} times between changes of the imports");
}

/// Returns the causes of the log's changes of incidents, in their order.
async fn causes(app: &App) -> Vec<CauseKind> {
    let reader = app.store.read().await.expect("a snapshot");
    let head = reader.head().await.expect("a head");
    let log = reader.log_after(&head, 0, head.offset).await.expect("a log").expect("a whole log");
    log.iter().filter_map(Logged::of_incident).map(|change| change.body.cause.kind).collect()
}

async fn a_stream_beside_an_import_has_each_change_once(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let all = json!({ "status": ["NEW", "ACTIVE", "RESOLVED"] });
    let start = crate::support::stream::present(&desk, &all).await;
    let mut live = desk.follow(QUEUE, json!({ "filter": all, "after": start })).await;
    assert_eq!(live.item().await["__typename"], "Live");
    let text = some_of_the_sample(&desk.app, 300);
    let import = {
        let app = desk.app.clone();
        tokio::spawn(async move { read(&app, &text).await })
    };
    let mut looks = 0;
    while !import.is_finished() {
        // A stream's present is in the log already.
        let present = desk.app.hub.present();
        assert!(present <= desk.log_end().await, "{present} was told before its commit");
        looks += 1;
        a_moment().await;
    }
    import.await.expect("an import");
    // The last change of the stream is a change of an incident.
    let expected: Vec<_> =
        replay(&desk, &all, &start).await.iter().map(short).filter(|item| item.1 != "Live").collect();
    let end = expected.last().expect("changes").0;
    let told: Vec<_> = read_to(&mut live, end).await.iter().map(short).collect();
    assert_eq!(told, expected);
    assert!(told.len() > 50 && looks > 3, "{} items, {looks} looks", told.len());
    whole(&desk.app).await;
}

/// Returns a file of 40 incidents with a comment each, and 40 alerts before them.
fn forty() -> String {
    let alerts = (0..40).map(|n| format!("{{\"type\":\"alert\",\"provider\":\"K\",\"providerAlertId\":\"{n}\",\"title\":\"t\",\"severity\":\"LOW\",\"at\":\"2026-05-02T07:00:00Z\"}}\n"));
    let incidents = (0..40).map(|n| {
        let comment = format!("{{\"type\":\"comment\",\"externalId\":\"f-{n}\",\"id\":\"c\",\"at\":\"2026-05-02T10:00:00Z\",\"body\":\"Seen.\"}}\n");
        plain(&format!("f-{n}"), &format!(",\"alerts\":[{{\"provider\":\"K\",\"providerAlertId\":\"{n}\"}}]")) + &comment
    });
    alerts.chain(incidents).collect()
}

/// Checks an import of these forty: all of it is there, and only new objects are counted as new.
async fn holds(
    app: &App,
    before: usize,
    outcome: &watchfloor::domain::Result<ImportSummary>,
    is_certain: bool,
    name: &str,
) -> usize {
    let mut there = 0;
    for n in 0..40 {
        there += usize::from(number(app, &format!("f-{n}")).await.is_some());
    }
    match outcome {
        Ok(summary) => {
            let counts = &summary.counts;
            assert_eq!((there, summary.bad_total), (40, 0), "{name}: {summary:?}");
            assert_eq!(counts.incidents_created + counts.incidents_present, 40, "{name}: {counts:?}");
            assert_eq!(counts.comments + counts.comments_present, 40, "{name}: {counts:?}");
            assert_eq!(
                counts.alerts_created + counts.alerts_updated + counts.alerts_unchanged,
                40,
                "{name}: {counts:?}"
            );
            assert!(
                !is_certain || counts.incidents_created == (40 - before) as u64,
                "{name}: {counts:?}, {before} before"
            );
        }
        Err(error) => assert!(error.may_pass(), "{name}: {error}"),
    }
    whole(app).await;
    there
}

#[tokio::test]
async fn a_batch_whose_commit_fails_loses_nothing_that_was_counted() {
    for how in [Break::Before, Break::After, Break::Abort] {
        let behind = TestDatabase::fresh(Kind::Postgres).await;
        let proxy = Proxy::to(&behind.url).await;
        let database = TestDatabase::at(proxy.url(&behind.url));
        let desk = TestDesk::open(&database).await;
        proxy.break_at_commit(how);
        let outcome = read_with(&desk.app, &forty(), Options::default()).await;
        assert!(proxy.mend(), "it was cut at COMMIT");
        assert!(outcome.is_ok(), "{how:?}: the records went in one by one: {outcome:?}");
        holds(&desk.app, 0, &outcome, true, &format!("{how:?}")).await;
        let again = read_with(&desk.app, &forty(), Options::default()).await;
        holds(&desk.app, 40, &again, true, "again").await;
    }
}

#[tokio::test]
async fn an_import_over_a_network_that_is_cut_at_any_message_loses_nothing_that_was_counted() {
    let mut dice = Dice::of_this_run();
    let mut place = 1 + dice.below(60);
    loop {
        let behind = TestDatabase::fresh(Kind::Postgres).await;
        let proxy = Proxy::to(&behind.url).await;
        let desk = TestDesk::open(&TestDatabase::at(proxy.url(&behind.url))).await;
        proxy.break_at(place, [Break::Before, Break::After][dice.below(2)]);
        let outcome = read_with(&desk.app, &forty(), Options::default()).await;
        let name = format!("cut at message {place}");
        if !proxy.mend() {
            println!("an import has {place} messages, or a few less");
            return;
        }
        holds(&desk.app, 0, &outcome, true, &name).await;
        let again = read_with(&desk.app, &forty(), Options::default()).await;
        assert!(again.is_ok(), "{name}: {again:?}");
        holds(&desk.app, 0, &again, false, &name).await;
        place += 1 + dice.below(240);
    }
}

#[tokio::test]
async fn an_import_on_a_disk_that_fails_at_any_write_loses_nothing_that_was_counted() {
    let mut dice = Dice::of_this_run();
    let mut place = 1 + dice.below(8);
    let mut met = 0;
    loop {
        let (disk, folder) = (Disk::new(), tempfile::tempdir().expect("a folder"));
        let database = TestDatabase::reached_at(Kind::Sqlite, disk.url(&folder.path().join("desk.db")));
        let desk = TestDesk::open(&database).await;
        let fault = [Fault::Full, Fault::Error, Fault::ErrorAfter][dice.below(3)];
        disk.fail(place as u64, fault, Span::Once);
        let outcome = read_with(&desk.app, &forty(), Options::default()).await;
        let name = format!("{fault:?} at write {place}");
        if disk.mend() == 0 {
            println!("an import has {place} writes, or a few less; {met} faults");
            assert!(met > 3, "{met} faults");
            return;
        }
        met += 1;
        let there = holds(&desk.app, 0, &outcome, true, &name).await;
        let again = read_with(&desk.app, &forty(), Options::default()).await;
        assert!(again.is_ok(), "{name}: {again:?}");
        holds(&desk.app, there, &again, true, &name).await;
        place += 1 + dice.below(12);
    }
}

/// The update comes before the report in the file, and both are older than the report's clock. If the report were
/// applied first, it would be the incident's last change, and the update would be skipped.
async fn a_report_of_an_alert_overtakes_no_update_of_its_incident(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    read(&desk.app, &[alert("first"), plain("1", &format!(",\"alerts\":{ALERT}"))].concat()).await;
    let update = "{\"type\":\"update\",\"externalId\":\"1\",\"at\":\"2026-05-02T09:00:00Z\",\"status\":\"ACTIVE\"}\n";
    let report = alert("again").replace("T08:00", "T10:00");
    let summary = read(&desk.app, &[titled("2"), update.to_owned(), report, titled("3")].concat()).await;
    assert_eq!((lines(&summary), summary.counts.updates, summary.counts.alerts_updated), (Vec::new(), 1, 1));
    let found = desk.app.find_incident(incident_id("watchfloor", "1")).await.expect("an answer").expect("an incident");
    assert_eq!((format!("{:?}", found.status), found.version), ("Active".to_owned(), 3));
    whole(&desk.app).await;
}

/// A comment with an image is applied alone, and an incident that names another incident's alert is reported; the
/// records around them are imported as usual.
async fn records_that_are_done_alone_stand_amid_others(database: TestDatabase) {
    let other = TestDatabase::fresh(database.kind).await;
    let (together, apart) = (TestDesk::open(&database).await, TestDesk::open(&other).await);
    let mut text = alert("t") + &plain("0", &format!(",\"alerts\":{ALERT}"));
    for n in 1..40 {
        text.push_str(&titled(&n.to_string()));
        let body = match n % 3 {
            // Refused, because this attachment does not exist.
            0 => "![x](attachment:018f0000-0000-7000-8000-000000000000)",
            _ => "Seen.",
        };
        text.push_str(&format!(
            "{{\"type\":\"comment\",\"externalId\":\"{n}\",\"id\":\"c\",\"at\":\"2026-05-02T10:00:00Z\",\"body\":\"{body}\",\"by\":\"person-{}\"}}\n",
            n % 7
        ));
        if n % 11 == 0 {
            text.push_str(&format!("{{\"type\":\"user\",\"account\":\"person-{}\",\"name\":\"P\"}}\n", n % 7));
        }
    }
    let (counts, refused) = read_one_by_one(&apart.app, &text).await;
    let summary = read(&together.app, &text).await;
    assert_eq!((&summary.counts, lines(&summary)), (&counts, refused));
    assert_eq!((counts.incidents_created, counts.comments, summary.bad_total), (40, 26, 13));
    assert_eq!(whole(&together.app).await, whole(&apart.app).await);
    assert_eq!(content(&together.app, &text).await, content(&apart.app, &text).await);
}

async fn a_record_of_a_batch_takes_few_statements(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    sent.take();
    let summary = read(&desk.app, &forty()).await;
    let statements = sent.take();
    assert_eq!((summary.records, summary.bad_total), (120, 0));
    // The statements for 40 incidents with a comment each, one by one, are more than a thousand.
    assert!(
        statements.len() < 80,
        "{}: {:#?}",
        statements.len(),
        statements.iter().map(|it| &it.sql).collect::<Vec<_>>()
    );
}

/// Kills an import at different moments, and runs it again.
async fn an_import_that_was_killed_is_run_again_and_doubles_nothing(database: TestDatabase) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut text = String::new();
    for part in 0..30 {
        text.push_str(&forty().replace("f-", &format!("f-{part}-")).replace("Id\":\"", &format!("Id\":\"{part}-")));
    }
    std::fs::write(file.path(), &text).expect("written");
    drop(TestDesk::open(&database).await);
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchfloor"));
        command.arg("import").arg(file.path()).args(["--format", "watchfloor", "--database-url", &database.url]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let raw = database.connect().await;
    let count = async |table: &str| {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await;
        row.expect("an answer").expect("a row").try_get_by_index::<i64>(0).expect("a number")
    };
    for share in [1, 3] {
        let before = count("incident").await;
        let mut child = run().spawn().expect("the binary starts");
        while child.try_wait().expect("a state").is_none() && count("incident").await < before + share * 100 {
            a_moment().await;
        }
        child.kill().ok();
        child.wait().expect("ended");
    }
    let half = count("incident").await;
    assert!(half > 0, "it was killed before its first commit");
    let output = run().output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        (count("incident").await, count("comment").await, count("alert").await),
        (1_200, 1_200, 1_200),
        "{said}"
    );
    whole(&TestDesk::open(&database).await.app).await;
}
