//! Payloads of mutations: each says whether its mutation changed anything, and where the log ends after it.

use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::stream::offset;
use crate::support::triage::{laid_over, report};

each_database!(
    a_mutation_on_accounts_says_whether_it_changed_anything,
    an_ingest_says_whether_it_changed_anything,
    a_mutation_on_an_alert_says_whether_it_changed_anything,
    a_mutation_on_an_incident_says_whether_it_changed_anything,
    a_mutation_on_views_says_whether_it_changed_anything,
    a_mutation_on_a_job_says_whether_it_changed_anything,
    a_repeat_says_whether_the_first_call_changed_anything,
    an_outcome_of_an_older_version_is_read,
);

impl TestDesk {
    /// Runs a mutation, and returns its payload. Its position must be the end of the log.
    async fn told(&self, name: &str, input: Value) -> Value {
        let payload = self.act(name, input).await;
        assert_eq!(offset(&payload["position"]), self.log_end().await, "{name}: the end of the log");
        payload
    }

    /// Runs a mutation, and returns whether its payload says that it changed anything.
    async fn changed(&self, name: &str, input: Value) -> bool {
        self.told(name, input).await["changed"].as_bool().expect("whether it changed anything")
    }

    /// Returns how often users and groups have changed.
    async fn accounts(&self) -> u64 {
        self.app.store.read().await.expect("a snapshot").head().await.expect("a head").accounts
    }
}

async fn a_mutation_on_accounts_says_whether_it_changed_anything(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ana = json!({ "account": "ana", "name": "Ana", "email": "ana@soc.example", "role": "RESPONDER" });
    let made = desk.told("upsertUser", ana.clone()).await;
    assert_eq!(made["changed"], true);
    let user = made["user"]["id"].clone();
    let group = desk.told("upsertGroup", json!({ "account": "tier-2", "name": "Tier 2" })).await["group"]["id"].take();
    let before = desk.accounts().await;
    for same in [ana, json!({ "account": "ANA" }), json!({ "account": "ana", "role": "RESPONDER" })] {
        assert!(!desk.changed("upsertUser", same).await);
    }
    assert!(!desk.changed("upsertGroup", json!({ "account": "tier-2", "name": "Tier 2" })).await);
    let members = json!({ "groupId": group, "users": [user] });
    assert!(!desk.changed("removeGroupMembers", members.clone()).await, "the user was no member");
    assert!(!desk.changed("addGroupMembers", json!({ "groupId": group, "users": [] })).await);
    assert_eq!(desk.accounts().await, before, "no stream is told of a call that changed nothing");

    assert!(desk.changed("addGroupMembers", members.clone()).await);
    assert!(!desk.changed("addGroupMembers", members.clone()).await);
    let more = desk.user("ben", "READER").await;
    assert!(desk.changed("addGroupMembers", json!({ "groupId": group, "users": [user, more] })).await);
    assert!(desk.changed("removeGroupMembers", members).await);
    assert!(desk.changed("upsertUser", json!({ "account": "ana", "email": null })).await);
    assert!(desk.changed("upsertGroup", json!({ "account": "tier-2", "name": "Second line" })).await);
    assert!(desk.accounts().await > before);
}

async fn an_ingest_says_whether_it_changed_anything(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let entities = json!([{ "kind": "DEVICE", "value": "web-1" }]);
    let alert = |key: &str| report(key, json!({ "entities": entities }));
    let batch = |keys: &[&str], into: Value| {
        let alerts: Vec<Value> = keys.iter().map(|key| alert(key)).collect();
        json!({ "alerts": alerts, "into": into })
    };
    assert!(desk.changed("ingestAlerts", batch(&["1", "2", "3"], Value::Null)).await);
    assert!(!desk.changed("ingestAlerts", batch(&["1", "2"], Value::Null)).await, "both are known as they are");
    assert!(!desk.changed("ingestAlert", json!({ "alert": alert("1") })).await);
    let raised = report("1", json!({ "entities": entities, "severity": "HIGH" }));
    assert!(desk.changed("ingestAlert", json!({ "alert": raised })).await);
    let raw = report("2", json!({ "entities": entities, "raw": "{ \"seen\": 7 }" }));
    assert!(desk.changed("ingestAlert", json!({ "alert": raw })).await, "the raw report is new");
    assert!(!desk.changed("ingestAlert", json!({ "alert": raw })).await);

    let opened = desk.told("ingestAlerts", batch(&["2"], json!({ "newIncident": true }))).await;
    assert_eq!((&opened["unchanged"], &opened["changed"]), (&json!(1), &json!(true)), "it opened an incident");
    assert!(!desk.changed("ingestAlerts", batch(&["2"], json!({ "newIncident": true }))).await, "no alert is free");
    let into = json!({ "incident": opened["incident"]["id"] });
    assert!(!desk.changed("ingestAlerts", batch(&["2"], into.clone())).await);
    let tagged = laid_over(batch(&["2"], into), json!({ "systemTags": [{ "name": "Feed", "kind": "EXPERT" }] }));
    assert!(desk.changed("ingestAlerts", tagged.clone()).await, "the incident got a tag");
    assert!(!desk.changed("ingestAlerts", tagged).await);
    let correlated = batch(&["3"], json!({ "correlate": {} }));
    assert!(desk.changed("ingestAlerts", correlated.clone()).await, "the alert joined an incident");
    assert!(!desk.changed("ingestAlerts", correlated).await);
}

async fn a_mutation_on_an_alert_says_whether_it_changed_anything(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let free = desk.alerts(&["1"]).await.remove(0);
    let held = desk.ingest(vec![report("2", json!({}))], json!({ "newIncident": true })).await;
    for alert in [json!(free), held["alerts"][0]["id"].clone()] {
        let active = json!({ "alertId": alert, "status": "ACTIVE", "owner": { "me": true } });
        assert!(desk.changed("updateAlert", active.clone()).await);
        assert!(!desk.changed("updateAlert", active).await);
        assert!(desk.changed("updateAlert", json!({ "alertId": alert, "owner": null })).await);
    }
}

async fn a_mutation_on_an_incident_says_whether_it_changed_anything(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let taken = desk.ingest(vec![report("1", json!({})), report("2", json!({}))], json!({ "newIncident": true })).await;
    let (id, alert) = (taken["incident"]["id"].clone(), taken["alerts"][0]["id"].clone());
    let tags = json!({ "incidentId": id, "tags": ["vpn"] });
    assert!(desk.changed("addTags", tags.clone()).await);
    assert!(!desk.changed("addTags", tags).await);

    let written = desk.told("addComment", json!({ "incidentId": id, "body": "Seen" })).await;
    let comment = written["comment"]["id"].clone();
    assert_eq!(written["changed"], true);
    assert!(!desk.changed("editComment", json!({ "commentId": comment, "body": "Seen" })).await);
    assert!(desk.changed("editComment", json!({ "commentId": comment, "body": "Seen twice" })).await);
    assert!(desk.changed("deleteComment", json!({ "commentId": comment })).await);

    let pin = json!({ "incidentId": id, "title": "Logons", "rows": [{ "n": 1 }] });
    let pinned = desk.told("addBookmark", pin).await;
    assert_eq!(pinned["changed"], true);
    assert!(desk.changed("removeBookmark", json!({ "bookmarkId": pinned["bookmark"]["id"] })).await);
    let image = json!({ "incidentId": id, "name": "prompt.png", "size": 2_000, "type": "PNG" });
    assert!(desk.changed("createAttachment", image).await);

    let split = desk.told("splitIncident", json!({ "incidentId": id, "alerts": [alert] })).await;
    let part = split["incident"]["id"].clone();
    assert_eq!(split["changed"], true);
    assert!(desk.changed("mergeIncidents", json!({ "sourceId": part, "targetId": id })).await);
    assert!(desk.changed("undoMerge", json!({ "incidentId": part })).await);
    assert!(!desk.changed("restoreIncident", json!({ "incidentId": part })).await, "it was not deleted");
    assert!(desk.changed("deleteIncident", json!({ "incidentId": part })).await);
    assert!(desk.changed("restoreIncident", json!({ "incidentId": part })).await);
}

async fn a_mutation_on_views_says_whether_it_changed_anything(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = desk.told("createView", json!({ "name": "High", "filter": { "severity": ["HIGH"] } })).await;
    assert_eq!(made["changed"], true);
    let id = made["view"]["id"].clone();
    let other = desk.told("createView", json!({ "name": "Low" })).await["view"]["id"].take();
    assert!(!desk.changed("updateView", json!({ "viewId": id, "name": "High" })).await);
    assert!(desk.changed("updateView", json!({ "viewId": id, "name": "Highest" })).await);
    for (view, changed) in [(&Value::Null, false), (&id, true), (&id, false), (&other, true), (&Value::Null, true)] {
        assert_eq!(desk.changed("setDefaultView", json!({ "viewId": view })).await, changed, "{view}");
    }
    assert!(desk.changed("visitView", json!({ "viewId": id })).await, "the visit is new");
    assert!(desk.changed("deleteView", json!({ "viewId": id })).await);
}

async fn a_mutation_on_a_job_says_whether_it_changed_anything(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    // The filter selects no incident, so the job has ended when it is created.
    let input = json!({ "target": { "filter": { "text": "nowhere" } }, "edit": { "addTags": ["vpn"] } });
    let counted = desk.told("bulkUpdateIncidents", laid_over(input.clone(), json!({ "dryRun": true }))).await;
    assert_eq!((&counted["changed"], &counted["job"]), (&json!(false), &Value::Null));
    let started = desk.told("bulkUpdateIncidents", input).await;
    assert_eq!((&started["changed"], &started["job"]["state"]), (&json!(true), &json!("DONE")));
    assert!(!desk.changed("cancelBulkJob", json!({ "jobId": started["job"]["id"] })).await, "it had ended");
}

async fn a_repeat_says_whether_the_first_call_changed_anything(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let keyed = |input: Value, key: &str| laid_over(input, json!({ "idempotencyKey": key }));
    let reader = json!({ "account": "ana", "role": "READER" });
    let responder = json!({ "account": "ana", "role": "RESPONDER" });
    let first = desk.act("upsertUser", keyed(reader.clone(), "made")).await;
    let same = desk.act("upsertUser", keyed(reader.clone(), "same")).await;
    assert_eq!((&first["changed"], &same["changed"]), (&json!(true), &json!(false)));
    assert!(desk.changed("upsertUser", responder).await);
    for (key, changed) in [("made", true), ("same", false)] {
        let again = desk.act("upsertUser", keyed(reader.clone(), key)).await;
        assert_eq!((&again["changed"], &again["user"]["role"]), (&json!(changed), &json!("RESPONDER")), "{key}");
    }
    let alerts = json!({ "alerts": [report("1", json!({}))] });
    let ingested = desk.act("ingestAlerts", keyed(alerts.clone(), "first")).await;
    let unchanged = desk.act("ingestAlerts", keyed(alerts.clone(), "second")).await;
    assert_eq!((&ingested["changed"], &unchanged["changed"]), (&json!(true), &json!(false)));
    desk.incident("Meanwhile").await;
    for (key, before) in [("first", ingested), ("second", unchanged)] {
        let again = desk.act("ingestAlerts", keyed(alerts.clone(), key)).await;
        assert_eq!((&again["changed"], &again["position"]), (&before["changed"], &before["position"]), "{key}");
    }
}

/// Replaces the stored outcome under a key by the form that an older version stored.
async fn stored_as_before(database: &TestDatabase, key: &str, older: impl Fn(&Value) -> Value) {
    let raw = database.connect().await;
    let backend = raw.get_database_backend();
    let read = format!("SELECT outcome FROM idempotency WHERE key = '{key}'");
    let row = raw.query_one_raw(Statement::from_string(backend, read)).await.expect("a row").expect("an outcome");
    let outcome: Value = serde_json::from_str(&row.try_get::<String>("", "outcome").expect("text")).expect("JSON");
    let outcome = json!({ "DONE": older(&outcome["DONE"]) });
    let write = format!("UPDATE idempotency SET outcome = '{outcome}' WHERE key = '{key}'");
    raw.execute_raw(Statement::from_string(backend, write)).await.expect("an update");
}

async fn an_outcome_of_an_older_version_is_read(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Beacon to a parked domain").await;
    let without_changed = |done: &Value| {
        let mut done = done.clone();
        done.as_object_mut().expect("an object").remove("changed").expect("whether it changed anything");
        done
    };
    let id_alone = |done: &Value| done["id"].clone();
    let of_incident = |done: &Value| laid_over(done.clone(), json!({ "comment": null, "bookmark": null }));
    let group = json!({ "account": "tier-2", "idempotencyKey": "group" });
    let alerts = json!({ "alerts": [report("1", json!({}))], "idempotencyKey": "alerts" });
    let tags = json!({ "incidentId": id, "tags": [], "idempotencyKey": "tags" });
    for (name, input, older) in [
        ("upsertGroup", group, &id_alone as &dyn Fn(&Value) -> Value),
        ("ingestAlerts", alerts, &without_changed),
        ("addTags", tags, &of_incident),
    ] {
        let first = desk.act(name, input.clone()).await;
        stored_as_before(&database, input["idempotencyKey"].as_str().expect("a key"), older).await;
        assert_eq!(desk.act(name, input).await, first, "{name}");
    }
    let before = json!({ "account": "tier-2", "idempotencyKey": "unchanged" });
    assert!(!desk.changed("upsertGroup", before.clone()).await);
    stored_as_before(&database, "unchanged", id_alone).await;
    assert!(desk.changed("upsertGroup", before).await, "it is not known, so it counts as a change");
}
