//! Changes of alerts that no incident holds: in their own logs, on the stream of the desk's log, and in `verify`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use watchfloor::app::verify::{Verification, verify};
use watchfloor::domain::alert_log::AlertBody;
use watchfloor::realtime::RealtimeLimits;
use watchfloor::storage::{Store, StoreOptions};
use watchfloor_migrations::Migrator;
use watchfloor_migrations::sea_orm_migration::MigratorTrait;

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::dice::Dice;
use crate::support::shift::Shift;
use crate::support::stream::{QUEUE, offset, present, read_to};
use crate::support::triage::{each, laid_over, report};

each_database!(
    what_happens_to_a_free_alert_is_live_and_in_its_own_log,
    coming_to_an_incident_and_leaving_it_is_told_on_both_sides,
    the_own_log_is_paged_and_filtered,
    the_log_is_gone_on_with_from_any_place_exactly_once,
    queues_and_their_numbers_pass_over_changes_of_alerts,
    changes_of_incidents_ask_nothing_of_the_logs_of_alerts,
    an_alert_or_a_change_of_it_that_was_altered_is_found,
    alerts_of_before_begin_their_logs_with_their_next_change,
);

/// The number of migrations before the desk kept logs of alerts.
const BEFORE_ALERT_LOGS: u32 = 15;

/// Every field of a change of an alert.
const ALERT_CHANGE: &str = "position version at actor { account } cause { kind name } transactionId last clientMutationId
    alertId status classification { kind } ownerId entries { kind
        ... on AlertReportedEntry { reportedTitle { text } reportedSeverity entityCount }
        ... on AlertFreedEntry { freedFromId }
        ... on AlertsChangedEntry { alerts { alertId reported status { before after } owner { before after }
            classification { before { kind } after { kind } } report {
                title { before { text } after { text } } description { before { text } after { text } }
                severity { before after }
                entities { added { kind value { text } } addedCount removed { kind value { text } } removedCount } } } } }";

fn log() -> String {
    format!(
        "subscription($after: String, $incident: ID, $filter: ActivityInput) {{
            activityLog(after: $after, incidentId: $incident, filter: $filter) {{ __typename position
                ... on ActivityChange {{ change {{ position incidentId version last transactionId entries {{ kind }} }} }}
                ... on ActivityAlertChange {{ alertChange {{ {ALERT_CHANGE} }} }} ... on Resync {{ resyncReason }} }} }}"
    )
}

/// Returns the own log of an alert, oldest first.
async fn own_log(desk: &TestDesk, alert: &str) -> Vec<Value> {
    // Four alerts per query: the cost of a document counts ten alerts for each entry.
    let query = format!(
        "query($id: ID!, $after: String) {{ alert(id: $id) {{ activity(first: 4, after: $after) {{
            totalCount pageInfo {{ hasNextPage endCursor }} nodes {{ {ALERT_CHANGE} }} }} }} }}"
    );
    let (mut changes, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut page = desk.data(&query, json!({ "id": alert, "after": after })).await["alert"]["activity"].take();
        changes.extend(page["nodes"].as_array().expect("changes").iter().cloned());
        if page["pageInfo"]["hasNextPage"] == false {
            assert_eq!(page["totalCount"], changes.len());
            return changes;
        }
        after = page["pageInfo"]["endCursor"].take();
    }
}

/// Ingests one alert that belongs to no incident, and returns its id.
async fn free(desk: &TestDesk, key: &str, over: Value) -> String {
    let taken = desk.ingest(vec![report(key, over)], Value::Null).await;
    taken["alerts"][0]["id"].as_str().expect("an id").to_owned()
}

/// Stored bodies are kept for years: every later version must read each version's bodies with the same meaning.
#[test]
fn every_body_ever_written_stays_readable() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/alert_changes");
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("the folder of bodies") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a body");
        let body: AlertBody = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let written: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(serde_json::to_value(&body).expect("JSON"), written, "{}", path.display());
        count += 1;
    }
    assert_eq!(count, 3, "one of each kind of entry");
}

async fn what_happens_to_a_free_alert_is_live_and_in_its_own_log(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ana = desk.user("ana", "RESPONDER").await;
    let mut stream = desk.follow(&log(), json!({})).await;
    assert_eq!(stream.item().await["__typename"], "Live");
    let said = json!({ "title": "Beacon", "severity": "LOW", "status": "NEW", "entities": [{ "kind": "IP", "value": "10.0.0.1" }] });
    let taken = desk.ingest(vec![report("1", said.clone())], Value::Null).await;
    let alert = taken["alerts"][0]["id"].as_str().expect("an id");
    let whole = |mut item: Value, position: &Value, over: Value| {
        assert_eq!((&item["__typename"], &item["position"]), (&json!("ActivityAlertChange"), position), "{item:#}");
        let change = item["alertChange"].take();
        let base = json!({
            "position": position, "transactionId": change["transactionId"], "last": true, "clientMutationId": null,
            "alertId": alert, "cause": { "kind": "INGEST", "name": "ingestAlerts" }, "actor": { "account": "local-manager" },
        });
        assert_eq!(change, laid_over(base, over));
        change
    };
    let mut told = Vec::new();
    told.push(whole(
        stream.change().await,
        &taken["position"],
        json!({
            "version": 1, "at": "2026-11-23T08:00:00+00:00", "status": "NEW", "classification": null, "ownerId": null,
            "entries": [{ "kind": "ALERT_REPORTED", "reportedTitle": { "text": "Beacon" }, "reportedSeverity": "LOW", "entityCount": 1 }],
        }),
    ));

    desk.clock.advance(chrono::Duration::minutes(1));
    let edit = json!({
        "alertId": alert, "status": "RESOLVED", "classification": { "falsePositive": "NOT_MALICIOUS" }, "owner": { "me": true },
        "clientMutationId": "triage",
    });
    let done = desk.act_as(Some("ana"), "updateAlert", edit).await;
    assert_eq!(desk.log_end().await, 2, "it is in the log");
    let nothing = json!({ "alertId": alert, "reported": false, "status": null, "owner": null, "classification": null, "report": null });
    let changed = |over: Value| json!([{ "kind": "ALERTS_CHANGED", "alerts": [laid_over(nothing.clone(), over)] }]);
    told.push(whole(
        stream.change().await,
        &done["position"],
        json!({
            "version": 2, "at": "2026-11-23T08:01:00+00:00", "status": "RESOLVED", "classification": { "kind": "FALSE_POSITIVE" },
            "ownerId": ana, "actor": { "account": "ana" }, "cause": { "kind": "COMMAND", "name": "updateAlert" },
            "clientMutationId": "triage",
            "entries": changed(json!({
                "status": { "before": "NEW", "after": "RESOLVED" }, "owner": { "before": null, "after": ana },
                "classification": { "before": null, "after": { "kind": "FALSE_POSITIVE" } },
            })),
        }),
    ));

    desk.clock.advance(chrono::Duration::minutes(1));
    let anew = json!({
        "title": "Beacon to a new domain", "severity": "HIGH", "status": "ACTIVE", "description": "every 60 s",
        "entities": [{ "kind": "IP", "value": "10.0.0.2" }],
    });
    let again = laid_over(said, anew);
    let taken = desk.ingest(vec![report("1", again.clone())], Value::Null).await;
    let text = |text: &str| json!({ "text": text });
    told.push(whole(
        stream.change().await,
        &taken["position"],
        json!({
            "version": 3, "at": "2026-11-23T08:02:00+00:00", "status": "ACTIVE", "classification": { "kind": "FALSE_POSITIVE" },
            "ownerId": ana,
            "entries": changed(json!({
                "reported": true, "status": { "before": "RESOLVED", "after": "ACTIVE" },
                "report": {
                    "title": { "before": text("Beacon"), "after": text("Beacon to a new domain") },
                    "description": { "before": null, "after": text("every 60 s") },
                    "severity": { "before": "LOW", "after": "HIGH" },
                    "entities": {
                        "added": [{ "kind": "IP", "value": text("10.0.0.2") }], "addedCount": 1,
                        "removed": [{ "kind": "IP", "value": text("10.0.0.1") }], "removedCount": 1,
                    },
                },
            })),
        }),
    ));
    assert_eq!(own_log(&desk, alert).await, told);

    // A command that changes nothing writes no change.
    let end = desk.log_end().await;
    desk.ingest(vec![report("1", again.clone()), report("1", again)], Value::Null).await;
    desk.act("updateAlert", json!({ "alertId": alert, "status": "ACTIVE", "owner": { "user": ana } })).await;
    desk.act("updateAlert", json!({ "alertId": alert })).await;
    assert_eq!(desk.log_end().await, end);
    // Once per key, also if the key comes twice.
    let keyed = json!({ "alertId": alert, "owner": null, "idempotencyKey": "once" });
    desk.act("updateAlert", keyed.clone()).await;
    desk.act("updateAlert", keyed).await;
    assert_eq!((desk.log_end().await, own_log(&desk, alert).await.len()), (end + 1, 4));
    let verified = desk.verified().await;
    assert_eq!((verified.free_alerts, verified.alerts_without_log, verified.changes), (1, 0, 4));
}

async fn coming_to_an_incident_and_leaving_it_is_told_on_both_sides(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alert = free(&desk, "1", json!({ "status": "NEW" })).await;
    let id = desk.incident("Holds it").await;
    let kinds = async |alert: &str| -> Vec<Value> {
        own_log(&desk, alert).await.iter().map(|change| change["entries"][0]["kind"].clone()).collect()
    };
    desk.act("linkAlerts", json!({ "incidentId": id, "alerts": [alert] })).await;
    desk.act("updateAlert", json!({ "alertId": alert, "status": "ACTIVE" })).await;
    desk.ingest(vec![report("1", json!({ "title": "Seen again" }))], Value::Null).await;
    assert_eq!(kinds(&alert).await, ["ALERT_REPORTED"], "the incident tells the rest");
    let begin = json!({ "after": log_position(&desk).await });
    let done = desk.act("unlinkAlerts", json!({ "incidentId": id, "alerts": [alert] })).await;
    let mut items = desk.follow(&log(), begin).await.items_until("Live").await;
    items.pop();
    let [freed, unlinked] = &items[..] else { panic!("two changes: {items:#?}") };
    let (freed, unlinked) = (&freed["alertChange"], &unlinked["change"]);
    assert_eq!(freed["entries"], json!([{ "kind": "ALERT_FREED", "freedFromId": id }]));
    let left = "query($id: ID!) { alert(id: $id) { activity(last: 1) { nodes { entries {
        ... on AlertFreedEntry { freedFrom { id } } } } } } }";
    let left = desk.data(left, json!({ "id": alert })).await["alert"]["activity"]["nodes"][0]["entries"].take();
    assert_eq!(left, json!([{ "freedFrom": { "id": id } }]));
    assert_eq!((&freed["status"], &freed["version"], &freed["last"]), (&json!("ACTIVE"), &json!(2), &json!(false)));
    assert_eq!(freed["transactionId"], unlinked["transactionId"]);
    assert_eq!((&unlinked["last"], &unlinked["position"]), (&json!(true), &done["position"]));
    assert_eq!(desk.newest(&id).await["ALERTS_UNLINKED"]["alertIds"], json!([alert]));
    // A position between the two changes is a position of the log like any other.
    let then = "query($id: ID!, $position: String!) { incidentAsOf(by: { id: $id }, moment: { position: $position }) { alertCount } }";
    for (place, count) in [(&freed["position"], 1), (&unlinked["position"], 0)] {
        let then = desk.data(then, json!({ "id": id, "position": place })).await;
        assert_eq!(then["incidentAsOf"]["alertCount"], count);
    }
    desk.verified().await;

    // One call reports the alert anew and links it: first the change while it was free, then the link.
    let end = desk.log_end().await;
    let anew = vec![report("1", json!({ "title": "Third time" })), report("2", json!({}))];
    let taken = desk.ingest(anew, json!({ "incident": id })).await;
    assert_eq!(kinds(&alert).await, ["ALERT_REPORTED", "ALERT_FREED", "ALERTS_CHANGED"]);
    let second = taken["alerts"][1]["id"].as_str().expect("an id");
    assert_eq!(kinds(second).await, Vec::<Value>::new(), "it came into an incident at once");
    assert_eq!(desk.log_end().await, end + 2);
    // A move frees no alert, and a deletion frees all alerts.
    let other = desk.incident("Takes one").await;
    desk.act("linkAlerts", json!({ "incidentId": other, "alerts": [alert], "move": true })).await;
    assert_eq!(kinds(&alert).await.len(), 3);
    desk.act("updateAlert", json!({ "alertId": alert, "status": "RESOLVED" })).await;
    desk.act("deleteIncident", json!({ "incidentId": other })).await;
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    assert_eq!(kinds(&alert).await.last(), Some(&json!("ALERT_FREED")));
    assert_eq!(own_log(&desk, &alert).await[3]["status"], "RESOLVED");
    assert_eq!(kinds(second).await, ["ALERT_FREED"]);
    desk.act("updateAlert", json!({ "alertId": second, "owner": { "me": true } })).await;
    let verified = desk.verified().await;
    assert_eq!((verified.free_alerts, verified.alerts_without_log), (2, 0));
    // A refused command's writes are rolled back with it.
    let end = desk.log_end().await;
    let third = desk.incident("Third").await;
    desk.act("linkAlerts", json!({ "incidentId": third, "alerts": [alert] })).await;
    let refused = json!({ "incidentId": third, "unlinkAlerts": [alert], "linkAlerts": [id] });
    assert!(desk.mutate("updateIncident", refused).await["errors"][0]["extensions"]["code"].is_string());
    assert_eq!(desk.log_end().await, end + 2);
}

/// Returns the present end of the log.
async fn log_position(desk: &TestDesk) -> Value {
    desk.app.store.read().await.expect("a snapshot").head().await.expect("a head").position().to_string().into()
}

async fn the_own_log_is_paged_and_filtered(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ana = desk.user("ana", "RESPONDER").await;
    desk.user("rea", "READER").await;
    let alert = free(&desk, "1", json!({})).await;
    let another = free(&desk, "2", json!({})).await;
    for status in ["ACTIVE", "RESOLVED", "NEW", "ACTIVE"] {
        let account = if status == "NEW" { Some("ana") } else { None };
        desk.act_as(account, "updateAlert", json!({ "alertId": alert, "status": status })).await;
    }
    const PAGE: &str =
        "query($id: ID!, $filter: ActivityInput, $first: Int, $after: String, $last: Int, $before: String) {
        alert(id: $id) { activity(filter: $filter, first: $first, after: $after, last: $last, before: $before) {
            totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } nodes { version } } } }";
    for (end, cursor, ahead, mark) in
        [("first", "after", "hasNextPage", "endCursor"), ("last", "before", "hasPreviousPage", "startCursor")]
    {
        let (mut read, mut place) = (Vec::new(), Value::Null);
        loop {
            let asked = json!({ "id": alert, end: 2, cursor: place });
            let page = desk.data_as(Some("rea"), PAGE, asked).await["alert"]["activity"].take();
            let versions: Vec<Value> = each(&page["nodes"], "version").into_iter().cloned().collect();
            read = if end == "first" { [read, versions].concat() } else { [versions, read].concat() };
            place = page["pageInfo"][mark].clone();
            if page["pageInfo"][ahead] == false {
                break;
            }
        }
        assert_eq!(read, [1, 2, 3, 4, 5].map(Value::from), "{end}");
    }
    for (filter, versions) in [
        (json!({ "kinds": ["ALERT_REPORTED"] }), vec![1]),
        (json!({ "kinds": ["ALERTS_CHANGED"], "actor": ana }), vec![4]),
        (json!({ "content": "AUDITS" }), vec![1, 2, 3, 4, 5]),
        (json!({ "content": "COMMENTS" }), vec![]),
    ] {
        let asked = json!({ "id": alert, "filter": filter });
        let page = desk.data(PAGE, asked).await["alert"]["activity"].take();
        assert_eq!(each(&page["nodes"], "version"), versions, "{filter}");
        assert_eq!(page["totalCount"], versions.len(), "{filter}");
    }
    // The same for many alerts at once, and on the stream.
    let query =
        "{ alerts(first: 50) { nodes { id activity(last: 1) { totalCount nodes { version alert { id } } } } } }";
    let lists = desk.data(query, json!({})).await["alerts"]["nodes"].take();
    let newest = |id: &str, count: usize| json!({ "id": id, "activity": { "totalCount": count, "nodes": [{ "version": count, "alert": { "id": id } }] } });
    assert_eq!(lists, json!([newest(&another, 1), newest(&alert, 5)]));
    let begin = json!({ "after": begin(&desk).await, "filter": { "kinds": ["ALERTS_CHANGED"], "actor": ana } });
    let items = desk.follow(&log(), begin).await.items_until("Live").await;
    assert_eq!(items.len(), 2, "{items:#?}");
    assert_eq!(items[0]["alertChange"]["version"], 4);
}

/// Returns the position before the first change.
async fn begin(desk: &TestDesk) -> Value {
    let reader = desk.app.store.read().await.expect("a snapshot");
    let head = reader.head().await.expect("a head");
    reader.position_at(&head, 0).await.expect("a look").expect("the beginning").to_string().into()
}

async fn the_log_is_gone_on_with_from_any_place_exactly_once(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    // Another node holds almost nothing in memory, so it reads older changes from the database.
    let narrow =
        Options { ring: RealtimeLimits { changes: 3, bytes: 1 << 20, incidents: 100_000 }, ..Options::default() };
    let narrow = TestDesk::open_with(&database, narrow).await;
    let mut dice = Dice::of_this_run();
    let after = begin(&desk).await;
    let mut live = Vec::new();
    for desk in [&desk, &narrow] {
        live.push(desk.follow(&log(), json!({ "after": after })).await);
    }
    let mut shift = Shift::begin(&desk, &mut dice).await;
    for _ in 0..50 {
        shift.act(&desk, &mut dice).await;
        if dice.chance(40) {
            let status = *dice.pick(&["NEW", "ACTIVE", "RESOLVED"]);
            let edit = json!({ "alertId": dice.pick(&shift.alerts), "status": status });
            desk.attempt_as(None, "updateAlert", edit).await;
        }
    }
    let end = desk.log_end().await;
    let mut all: Vec<Vec<Value>> = Vec::new();
    for stream in &mut live {
        let items = read_to(stream, end).await;
        all.push(items.into_iter().filter(|item| item["__typename"] != "Live").collect());
    }
    assert_eq!(all[0], all[1], "the same on every node");
    let all = all.remove(0);
    let places: Vec<u64> = all.iter().map(|item| offset(&item["position"])).collect();
    assert_eq!(places, (1..=end).collect::<Vec<_>>(), "each place once, in order");
    let of_alert = |item: &Value| item["__typename"] == "ActivityAlertChange";
    let both = (all.iter().filter(|item| of_alert(item)).count(), all.iter().filter(|item| !of_alert(item)).count());
    assert!(both.0 >= 10 && both.1 >= 10, "{both:?}");

    // From a position between two changes of different kinds, and from a few random positions.
    let between = (1..all.len()).filter(|at| of_alert(&all[at - 1]) != of_alert(&all[*at])).take(8);
    let chance: Vec<usize> = (0..8).map(|_| 1 + dice.below(all.len() - 1)).collect();
    for at in between.chain(chance) {
        for desk in [&desk, &narrow] {
            let mut rest =
                desk.follow(&log(), json!({ "after": all[at - 1]["position"] })).await.items_until("Live").await;
            assert_eq!(offset(&rest.pop().expect("a marker")["position"]), end);
            assert_eq!(rest, all[at..], "after {at}");
        }
    }
    // The stream of an incident has only its own changes.
    for id in &shift.incidents {
        let asked = json!({ "after": after, "incident": id });
        let mut its = narrow.follow(&log(), asked).await.items_until("Live").await;
        its.pop();
        let expected: Vec<&Value> = all.iter().filter(|item| item["change"]["incidentId"] == **id).collect();
        assert_eq!(its.iter().collect::<Vec<_>>(), expected);
    }
    desk.verified().await;
}

async fn queues_and_their_numbers_pass_over_changes_of_alerts(database: TestDatabase) {
    let heartbeat = Duration::from_millis(50);
    let desk = TestDesk::open_with(&database, Options { heartbeat, ..Options::default() }).await;
    let narrow = Options {
        heartbeat,
        ring: RealtimeLimits { changes: 3, bytes: 1 << 20, incidents: 100_000 },
        ..Options::default()
    };
    let narrow = TestDesk::open_with(&database, narrow).await;
    // Every change of an incident concerns the first filter, because no row tells whether it names an entity.
    let filters = [json!({ "entity": [{ "value": "10.0.0.1" }] }), json!({ "severity": ["HIGH"] })];
    let alerts = desk.alerts(&["1", "2", "3"]).await;
    let id = desk.incident("Somewhere").await;
    for filter in &filters {
        let after = present(&desk, filter).await;
        let asked = json!({ "filter": filter, "after": after });
        let mut streams = vec![desk.follow(QUEUE, asked.clone()).await, narrow.follow(QUEUE, asked).await];
        for round in 0..6 {
            let status = if round % 2 == 0 { "ACTIVE" } else { "NEW" };
            for alert in &alerts {
                desk.act("updateAlert", json!({ "alertId": alert, "status": status })).await;
            }
        }
        let end = desk.log_end().await;
        for stream in &mut streams {
            assert_eq!(stream.change().await["__typename"], "Live");
            // A heartbeat carries the position past changes that concern no queue.
            let items = read_to(stream, end).await;
            assert!(items.is_empty(), "{items:#?}");
        }
        let mut late = narrow.follow(QUEUE, json!({ "filter": filter, "after": after })).await;
        let live = late.change().await;
        assert_eq!((&live["__typename"], offset(&live["position"])), (&json!("Live"), end), "{live:#}");
        let named = json!([{ "kind": "IP", "value": "10.0.0.1" }]);
        let alert = report("9", json!({ "severity": "HIGH", "entities": named, "title": filter.to_string() }));
        desk.ingest(vec![alert], json!({ "incident": id })).await;
        for stream in &mut streams {
            let item = stream.change().await;
            assert!(item["__typename"] == "QueueEntered" || item["__typename"] == "QueueUpdated", "{item:#}");
        }
    }
    const NUMBERS: &str = "subscription { queueSummary { position open } }";
    let mut numbers = narrow.follow(NUMBERS, json!({})).await;
    assert_eq!(numbers.item().await["open"], 1);
    desk.act("updateAlert", json!({ "alertId": alerts[0], "status": "RESOLVED" })).await;
    desk.incident("One more").await;
    let end = desk.log_end().await;
    loop {
        let state = numbers.item().await;
        if offset(&state["position"]) == end {
            assert_eq!(state["open"], 2);
            break;
        }
    }
}

async fn changes_of_incidents_ask_nothing_of_the_logs_of_alerts(database: TestDatabase) {
    let sent: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = sent.clone();
    let watch: watchfloor::storage::Watch =
        Arc::new(move |statement| kept.lock().expect("whole").push(statement.sql.clone()));
    let desk = TestDesk::open_with(&database, Options { watch: Some(watch), ..Options::default() }).await;
    let id = desk.incident("Busy").await;
    let alert = free(&desk, "1", json!({})).await;
    let mut stream = desk.follow(&log(), json!({})).await;
    assert_eq!(stream.item().await["__typename"], "Live");
    while desk.app.hub.head() < desk.log_end().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // One statement reads the log's end from both tables; the statement that moves the end also writes the change's
    // row.
    let asked = || {
        let taken = std::mem::take(&mut *sent.lock().expect("whole"));
        let of_alerts = |sql: &String| sql.contains("alert_change") && !sql.contains("FROM \"log_head\"");
        taken.into_iter().filter(of_alerts).collect::<Vec<_>>()
    };
    asked();
    for n in 0..5 {
        desk.act("addTags", json!({ "incidentId": id, "tags": [format!("tag {n}")] })).await;
        assert_eq!(stream.change().await["__typename"], "ActivityChange");
    }
    assert_eq!(asked(), Vec::<String>::new());
    desk.act("updateAlert", json!({ "alertId": alert, "status": "RESOLVED" })).await;
    assert_eq!(stream.change().await["__typename"], "ActivityAlertChange");
    assert_eq!(asked().len(), 2, "its version and its row");
}

/// Returns the first difference that is found, if there is one.
async fn found(store: &Store) -> Option<String> {
    match verify(store, None, &|_, _| ()).await.expect("a look at the log") {
        Verification::Whole(_) => None,
        Verification::Broken(found) => Some(found.to_string()),
    }
}

async fn an_alert_or_a_change_of_it_that_was_altered_is_found(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let named = json!([{ "kind": "IP", "value": "10.0.0.1" }]);
    let alert = free(&desk, "1", json!({ "title": "Beacon", "description": "every 60 s", "entities": named })).await;
    desk.act("updateAlert", json!({ "alertId": alert, "owner": { "me": true }, "status": "ACTIVE" })).await;
    free(&desk, "2", json!({})).await;
    desk.incident("Between").await;
    desk.act("updateAlert", json!({ "alertId": alert, "classification": { "truePositive": "MALWARE" } })).await;
    let raw = database.connect().await;
    let one = "WHERE provider_alert_id = '1'";
    let alterations = [
        (
            format!("UPDATE alert SET status = 3 {one}"),
            format!("UPDATE alert SET status = 2 {one}"),
            "another status of alert:",
        ),
        (
            format!("UPDATE alert SET owner_user_id = NULL {one}"),
            format!("UPDATE alert SET owner_user_id = (SELECT id FROM \"user\") {one}"),
            "another owner of alert:",
        ),
        (
            format!("UPDATE alert SET determination = 'PHISHING' {one}"),
            format!("UPDATE alert SET determination = 'MALWARE' {one}"),
            "another classification of alert:",
        ),
        (
            format!("UPDATE alert SET title = 'Nothing' {one}"),
            format!("UPDATE alert SET title = 'Beacon' {one}"),
            "another report of alert:",
        ),
        (
            format!("UPDATE alert SET description = NULL {one}"),
            format!("UPDATE alert SET description = 'every 60 s' {one}"),
            "another report of alert:",
        ),
        (
            "UPDATE alert_entity SET value = '10.0.0.2'".to_owned(),
            "UPDATE alert_entity SET value = '10.0.0.1'".to_owned(),
            "another report of alert:",
        ),
        (
            "UPDATE alert_change SET body = replace(body, 'ACTIVE', 'NEW') WHERE position = 2".to_owned(),
            // The test restores each body below.
            String::new(),
            "its hash is not that of its content",
        ),
        (
            "UPDATE alert_change SET version = 7 WHERE position = 2".to_owned(),
            "UPDATE alert_change SET version = 2 WHERE position = 2".to_owned(),
            "its hash is not that of its content",
        ),
        (
            "UPDATE alert_change SET kinds = 1 WHERE position = 3".to_owned(),
            format!("UPDATE alert_change SET kinds = {} WHERE position = 3", 1 << 19),
            "its column kinds says something else",
        ),
        (
            "UPDATE alert_change SET actor_id = NULL WHERE position = 5".to_owned(),
            "UPDATE alert_change SET actor_id = (SELECT id FROM \"user\") WHERE position = 5".to_owned(),
            "its column actor_id says something else",
        ),
        (
            "UPDATE alert_change SET position = -2 WHERE position = 2".to_owned(),
            "UPDATE alert_change SET position = 2 WHERE position = -2".to_owned(),
            "position 2: it is missing: after 1 comes 3",
        ),
        (
            "UPDATE alert_change SET position = -5 WHERE position = 5".to_owned(),
            "UPDATE alert_change SET position = 5 WHERE position = -5".to_owned(),
            "position 5: it is missing: the head says that the log goes on to 5",
        ),
        (
            "UPDATE alert_change SET position = 4 WHERE position = 5".to_owned(),
            "UPDATE alert_change SET position = 5 WHERE position = 4".to_owned(),
            "another change has its place",
        ),
    ];
    // A relay would end its process at a log like this, so no desk serves it here.
    drop(desk);
    let (url, acquire_timeout) = (database.url.clone(), Duration::from_secs(60));
    let store = Store::connect(StoreOptions { url, connections: 2, acquire_timeout, notify: false }).await;
    let store = store.expect("a connection");
    assert_eq!(found(&store).await, None);
    for (how, back, said) in alterations {
        raw.execute_unprepared("DROP TABLE IF EXISTS kept").await.expect("none");
        raw.execute_unprepared("CREATE TABLE kept AS SELECT position, body FROM alert_change").await.expect("a copy");
        raw.execute_unprepared(&how).await.unwrap_or_else(|error| panic!("{how}: {error}"));
        let complaint = found(&store).await.unwrap_or_else(|| panic!("{how}: nobody noticed"));
        assert!(complaint.contains(said), "{how}: {complaint}");
        if said.contains("of alert:") {
            assert!(
                complaint.starts_with("position 5, alert:") && complaint.contains("version 3 of its own log"),
                "{complaint}"
            );
        }
        if !back.is_empty() {
            raw.execute_unprepared(&back).await.unwrap_or_else(|error| panic!("{back}: {error}"));
        }
        let bodies =
            "UPDATE alert_change SET body = (SELECT body FROM kept WHERE kept.position = alert_change.position)";
        raw.execute_unprepared(bodies).await.expect("the bodies of before");
        assert_eq!(found(&store).await, None, "{back}");
    }
    // An administrator of the database may delete rows that others refer to.
    let free = match database.kind {
        Kind::Sqlite => "PRAGMA foreign_keys = OFF",
        Kind::Postgres => "SET session_replication_role = replica",
    };
    raw.execute_unprepared(free).await.expect("no more references");
    raw.execute_unprepared("DELETE FROM alert WHERE provider_alert_id = '2'").await.expect("deleted");
    let complaint = found(&store).await.expect("a break");
    assert!(complaint.starts_with("position 3, alert:") && complaint.contains("the desk does not have"), "{complaint}");
    raw.execute_unprepared("DELETE FROM alert_change WHERE position = 3").await.expect("deleted");
    let complaint = found(&store).await.expect("a break");
    assert!(complaint.contains("position 3: it is missing: after 2 comes 4"), "{complaint}");
}

async fn alerts_of_before_begin_their_logs_with_their_next_change(database: TestDatabase) {
    let raw = database.connect().await;
    Migrator::up(&raw, Some(BEFORE_ALERT_LOGS)).await.expect("the schema of before");
    let id = |n: u8| match database.kind {
        Kind::Sqlite => format!("x'0198c0de0000700080000000000000{n:02x}'"),
        Kind::Postgres => format!("'0198c0de-0000-7000-8000-0000000000{n:02x}'"),
    };
    let at = "'2026-11-20T09:00:00+00:00'";
    for n in 1..=3 {
        let insert = format!(
            "INSERT INTO alert (id, provider, provider_alert_id, title, title_folded, severity, status, techniques,
                created_at, updated_at) VALUES ({}, 'Sensor', '{n}', 'Old', 'old', 3, 1, '[]', {at}, {at})",
            id(n)
        );
        raw.execute_unprepared(&insert).await.expect("a row of before");
    }
    let desk = TestDesk::open(&database).await;
    let verified = desk.verified().await;
    assert_eq!((verified.free_alerts, verified.alerts_without_log, verified.changes), (0, 3, 0));
    assert!(
        verified.not_proved()[0].starts_with("3 alerts are in no incident, and came before"),
        "{:?}",
        verified.not_proved()
    );
    let alert = "alert:0198c0de-0000-7000-8000-000000000001";
    assert_eq!(own_log(&desk, alert).await, Vec::<Value>::new());
    desk.act("updateAlert", json!({ "alertId": alert, "status": "RESOLVED" })).await;
    let told = own_log(&desk, alert).await;
    assert_eq!((told.len(), &told[0]["version"]), (1, &json!(1)));
    assert_eq!(told[0]["entries"][0]["alerts"][0]["status"], json!({ "before": "NEW", "after": "RESOLVED" }));
    desk.ingest(vec![report("2", json!({ "title": "New" }))], Value::Null).await;
    let verified = desk.verified().await;
    assert_eq!((verified.free_alerts, verified.alerts_without_log, verified.changes), (2, 1, 2));
    // Link and unlink the third alert: from then on its own log tells its state.
    let incident = desk.incident("Takes it").await;
    let third = "alert:0198c0de-0000-7000-8000-000000000003";
    desk.act("linkAlerts", json!({ "incidentId": incident, "alerts": [third] })).await;
    assert_eq!(desk.verified().await.alerts_without_log, 0);
    desk.act("unlinkAlerts", json!({ "incidentId": incident, "alerts": [third] })).await;
    let verified = desk.verified().await;
    assert_eq!((verified.free_alerts, verified.alerts_without_log), (3, 0));
}
