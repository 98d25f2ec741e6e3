//! The activity log, through the public API: every change with its entries, filters and pages, and concurrent commands.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use watchfloor::domain::change::Entry;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::stream::changes;
use crate::support::triage::{each, laid_over, report};

each_database!(
    the_log_folds_from_nothing_to_the_present_state,
    the_log_is_filtered_by_content_kind_and_actor,
    the_log_is_paged_both_ways,
    commands_at_once_lose_no_update,
);

/// Logs are kept for years: every later version must read each version's changes with the same meaning.
#[test]
fn every_kind_of_entry_ever_written_stays_readable() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/entries");
    let mut kinds = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the folder of entries") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("an entry");
        let entry: Entry = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let written: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(serde_json::to_value(&entry).expect("JSON"), written, "{}", path.display());
        kinds.insert(serde_json::to_value(entry.kind()).expect("JSON").as_str().expect("a word").to_owned());
    }
    let schema = watchfloor::graphql::sdl();
    let (_, known) = schema.split_once("enum EntryKind {").expect("the kinds");
    let (known, _) = known.split_once('}').expect("the last kind");
    let known: BTreeSet<String> =
        known.lines().map(str::trim).filter(|line| line.ends_with(char::is_uppercase)).map(str::to_owned).collect();
    assert_eq!(kinds, known, "each kind has a sample in fixtures/entries");
}

/// Folds a log to a state, and checks each step against the `before` values of its entries.
fn folded(log: &[Value]) -> Value {
    let mut state = json!({ "tags": [], "description": null, "note": null, "classification": null, "owner": null });
    for (index, change) in log.iter().enumerate() {
        assert_eq!(change["version"], index + 1);
        for entry in change["entries"].as_array().expect("entries") {
            let (field, before, after) = match entry["kind"].as_str().expect("a kind") {
                "TITLE" => ("title", &entry["textBefore"], &entry["textAfter"]),
                "DESCRIPTION" => ("description", &entry["textBefore"], &entry["textAfter"]),
                "RESOLUTION_NOTE" => ("note", &entry["textBefore"], &entry["textAfter"]),
                "SEVERITY" => ("severity", &entry["severityBefore"], &entry["severityAfter"]),
                "STATUS" => ("status", &entry["statusBefore"], &entry["statusAfter"]),
                "CLASSIFICATION" => ("classification", &entry["classificationBefore"], &entry["classificationAfter"]),
                "OWNER" => ("owner", &entry["ownerBefore"]["account"], &entry["ownerAfter"]["account"]),
                "TAGS" => {
                    let (added, removed) =
                        (entry["added"].as_array().expect("tags"), entry["removed"].as_array().expect("tags"));
                    let tags = state["tags"].as_array_mut().expect("tags");
                    assert!(
                        removed.iter().all(|tag| tags.contains(tag)) && !added.iter().any(|tag| tags.contains(tag))
                    );
                    tags.retain(|tag| !removed.contains(tag));
                    tags.extend(added.iter().cloned());
                    continue;
                }
                _ => continue,
            };
            assert_eq!(&state[field], before, "version {}: the before of {field}", index + 1);
            state[field] = after.clone();
        }
    }
    let tags = state["tags"].as_array_mut().expect("tags");
    tags.sort_by_key(|tag| tag["name"].as_str().unwrap_or_default().to_lowercase());
    state
}

/// Returns the same fields of the present incident.
fn present(incident: &Value) -> Value {
    let mut tags = incident["tags"].clone();
    tags.as_array_mut().expect("tags").sort_by_key(|tag| tag["name"].as_str().unwrap_or_default().to_lowercase());
    json!({
        "title": incident["title"], "description": incident["description"], "note": incident["resolution"]["note"],
        "severity": incident["severity"], "status": incident["status"], "classification": incident["classification"],
        "owner": incident["owner"]["account"], "tags": tags,
    })
}

async fn the_log_folds_from_nothing_to_the_present_state(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    let batch = vec![report("1", json!({ "severity": "HIGH" })), report("2", json!({ "severity": "LOW" }))];
    let taken = desk.ingest(batch, json!({ "newIncident": true })).await;
    let alerts = each(&taken["alerts"], "id");
    let id = taken["incident"]["id"].as_str().expect("an id");
    let long = "a long text, beyond what a change repeats. ".repeat(40);
    let steps = [
        json!({ "description": long, "addTags": ["one", "Two"] }),
        json!({ "owner": { "me": true }, "status": "ACTIVE" }),
        json!({ "unlinkAlerts": [alerts[0]] }),
        json!({ "severity": "INFORMATIONAL", "comment": "hm" }),
        json!({ "title": long, "removeTags": ["two"], "addSystemTags": [{ "name": "BEC", "kind": "ATTACK_TYPE" }] }),
        json!({ "status": "RESOLVED", "note": long, "classification": { "truePositive": "PHISHING" } }),
        json!({ "title": "Short again", "description": null }),
        json!({ "status": "NEW", "owner": null }),
        json!({ "title": long, "linkAlerts": [alerts[0]], "severity": null }),
        json!({ "status": "RESOLVED", "note": "brief", "classification": null, "addTags": ["TWO"] }),
        json!({ "note": "briefer" }),
    ];
    for (count, step) in steps.into_iter().enumerate() {
        desk.clock.advance(chrono::Duration::minutes(1));
        let account = if count % 2 == 0 { Some("ana") } else { None };
        let done = desk.act_as(account, "updateIncident", laid_over(step, json!({ "incidentId": id }))).await;
        assert_eq!(done["changed"], true);
        assert_eq!(done["incident"]["version"], count + 2);
        let log = desk.log(id).await;
        let newest = log.last().expect("a change");
        assert_eq!(folded(&log), present(&done["incident"]), "version {}", count + 2);
        assert_eq!(
            (&newest["at"], &newest["last"], &newest["position"]),
            (&done["incident"]["updatedAt"], &json!(true), &done["position"])
        );
        assert_eq!(newest["actor"]["account"], account.unwrap_or("local-manager"));
        assert_eq!(newest["cause"], json!({ "kind": "COMMAND", "name": "updateIncident" }));
    }
    assert_eq!(desk.log(id).await[0]["cause"]["name"], "ingestAlerts");
}

const ACTIVITY: &str =
    "query($id: ID!, $filter: ActivityInput, $first: Int, $after: String, $last: Int, $before: String) {
    incident(by: { id: $id }) { activity(filter: $filter, first: $first, after: $after, last: $last, before: $before) {
        totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } nodes { version } } } }";

async fn the_log_is_filtered_by_content_kind_and_actor(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ana = desk.user("ana", "RESPONDER").await;
    let id = desk.incident("Filtered").await;
    desk.act_as(Some("ana"), "addComment", json!({ "incidentId": id, "body": "two" })).await;
    desk.act("addTags", json!({ "incidentId": id, "tags": ["three"] })).await;
    desk.act_as(Some("ana"), "updateIncident", json!({ "incidentId": id, "comment": "four", "status": "ACTIVE" }))
        .await;
    for (filter, versions) in [
        (json!({}), vec![1, 2, 3, 4]),
        (json!({ "content": "COMMENTS" }), vec![2, 4]),
        (json!({ "content": "AUDITS" }), vec![1, 3, 4]),
        (json!({ "kinds": ["TAGS", "STATUS"] }), vec![1, 3, 4]),
        (json!({ "kinds": ["TAGS", "COMMENT"], "content": "COMMENTS" }), vec![2, 4]),
        (json!({ "kinds": ["TAGS"], "content": "COMMENTS" }), vec![]),
        (json!({ "kinds": [] }), vec![]),
        (json!({ "actor": ana }), vec![2, 4]),
        (json!({ "actor": ana, "kinds": ["STATUS"] }), vec![4]),
    ] {
        let log = desk.data(ACTIVITY, json!({ "id": id, "filter": filter })).await["incident"]["activity"].take();
        assert_eq!(each(&log["nodes"], "version"), versions, "{filter}");
        assert_eq!(log["totalCount"], versions.len(), "{filter}");
    }
    let refusal = desk.refused(ACTIVITY, json!({ "id": id, "filter": { "actor": id } })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("filter.actor")));
}

async fn the_log_is_paged_both_ways(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Paged").await;
    for n in 0..8 {
        desk.act("addTags", json!({ "incidentId": id, "tags": [n.to_string()] })).await;
    }
    for (end, cursor, ahead, mark) in
        [("first", "after", "hasNextPage", "endCursor"), ("last", "before", "hasPreviousPage", "startCursor")]
    {
        let (mut read, mut place) = (Vec::new(), Value::Null);
        loop {
            let page =
                desk.data(ACTIVITY, json!({ "id": id, end: 4, cursor: place })).await["incident"]["activity"].take();
            let versions: Vec<u64> =
                each(&page["nodes"], "version").iter().filter_map(|version| version.as_u64()).collect();
            assert!(versions.len() <= 4);
            read = if end == "first" { [read, versions].concat() } else { [versions, read].concat() };
            place = page["pageInfo"][mark].clone();
            if page["pageInfo"][ahead] == false {
                break;
            }
        }
        assert_eq!(read, (1..=9).collect::<Vec<_>>(), "{end}");
    }
}

async fn commands_at_once_lose_no_update(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let accounts = ["ana", "ben", "cyd"];
    for account in accounts {
        desk.user(account, "RESPONDER").await;
    }
    let taken = desk.ingest((0..20).map(|n| report(&n.to_string(), json!({}))).collect(), Value::Null).await;
    let made = desk.create(json!({ "title": "Contended", "alerts": each(&taken["alerts"], "id")[..4] })).await;
    let id = made["id"].as_str().expect("an id");
    let commands = (0..30).map(|n| {
        let input = match n % 6 {
            0 => json!({ "addTags": [format!("tag {n}"), "shared"] }),
            1 => json!({ "comment": format!("comment {n}") }),
            2 => json!({ "owner": { "me": true } }),
            3 => json!({ "title": format!("Title {n}") }),
            4 => json!({ "linkAlerts": [taken["alerts"][4 + n / 2]["id"]] }),
            _ => json!({ "status": if n % 4 == 1 { "RESOLVED" } else { "ACTIVE" }, "reopen": true }),
        };
        let input = laid_over(input, json!({ "incidentId": id, "reopen": true }));
        desk.act_as(Some(accounts[n % 3]), "updateIncident", input)
    });
    let done = futures_util::future::join_all(commands).await;
    let stands = desk.read(id).await;
    let log = desk.log(id).await;
    let changed = done.iter().filter(|payload| payload["changed"] == true).count();
    assert_eq!((log.len(), &stands["version"]), (changed + 1, &json!(changed + 1)), "version = number of changes");
    assert_eq!(folded(&log), present(&stands));
    assert_eq!(stands["commentCount"], 5);
    assert_eq!(stands["tags"].as_array().map(Vec::len), Some(6));
    assert_eq!(stands["alertCount"], 4 + 5);

    let mut versions: Vec<u64> =
        done.iter().filter(|p| p["changed"] == true).filter_map(|p| p["incident"]["version"].as_u64()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=changed as u64 + 1).collect::<Vec<_>>(), "each answer is the state after its own change");
    let changes = changes(&desk.app.store.read().await.expect("a snapshot"), 0, 100).await;
    for pair in changes.windows(2) {
        assert_eq!(
            pair[1].before.as_ref(),
            Some(&pair[0].body.row),
            "the before of a change is the after of the one before"
        );
    }
    let owner = stands["owner"]["account"].clone();
    let alerts = desk
        .data(
            "query($id: ID!) { incident(by: { id: $id }) { alerts { nodes { owner { account } } } } }",
            json!({ "id": id }),
        )
        .await;
    for alert in alerts["incident"]["alerts"]["nodes"].as_array().expect("alerts") {
        assert_eq!(alert["owner"]["account"], owner, "the owner is on every alert");
    }
}
