//! Effects of feeds and people on known alerts, through the public API: the log holds the values before and after a new
//! report, and a resolved incident does not hide an active alert.

use serde_json::{Value, json};
use watchfloor::domain::account::Role;
use watchfloor::domain::policy::Policies;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::stream::{QUEUE, present};
use crate::support::triage::report;

each_database!(
    a_report_of_a_linked_alert_tells_what_changed,
    a_person_makes_no_alert_of_a_resolved_incident_active,
    an_active_report_flags_a_resolved_incident,
    an_active_report_reopens_where_the_policy_says_so,
    an_incident_has_active_alerts_as_long_as_it_has_them,
);

const TOLD: &str = "query($id: ID!) { incident(by: { id: $id }) { activity(last: 1) { nodes { cause { kind } entries { kind
    ... on AlertsChangedEntry { alerts { reported status { before after } report {
        title { before { text sha256 characters } after { text sha256 characters } }
        description { before { text } after { text sha256 characters } }
        severity { before after } product { before { text } after { text } } category { before { text } after { text } }
        techniques { before after } firstActivityAt { before after } lastActivityAt { before after }
        entities { added { kind value { text } verdict } addedCount removed { kind value { text } verdict } removedCount }
    } } } } } } } }";

/// Returns the alerts of the incident's newest change that lists changed alerts.
async fn told(desk: &TestDesk, id: &str) -> Value {
    let read = desk.data(TOLD, json!({ "id": id })).await;
    let entries = read["incident"]["activity"]["nodes"][0]["entries"].as_array().expect("entries").clone();
    entries.into_iter().find(|entry| entry["kind"] == "ALERTS_CHANGED").expect("alerts changed")["alerts"].take()
}

/// Creates an incident of one alert with this key; returns the ids of both.
async fn case(desk: &TestDesk, key: &str) -> (String, String) {
    let taken = desk.ingest(vec![report(key, json!({ "status": "ACTIVE" }))], json!({ "newIncident": true })).await;
    let id = |value: &Value| value.as_str().expect("an id").to_owned();
    (id(&taken["incident"]["id"]), id(&taken["alerts"][0]["id"]))
}

async fn a_report_of_a_linked_alert_tells_what_changed(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let before = json!({
        "title": "Beacon", "description": "short", "severity": "LOW", "category": "CommandAndControl",
        "entities": [{ "kind": "DEVICE", "value": "WS-1" }, { "kind": "IP", "value": "10.0.0.1" }],
    });
    let taken = desk.ingest(vec![report("1", before.clone())], json!({ "newIncident": true })).await;
    let id = taken["incident"]["id"].as_str().expect("an id");
    let long = "what the sensor saw, at length. ".repeat(20);
    let after = json!({
        "title": "Beacon to a new domain", "description": long, "severity": "HIGH", "category": "CommandAndControl",
        "entities": [{ "kind": "DEVICE", "value": "WS-1", "verdict": "MALICIOUS" }, { "kind": "IP", "value": "10.0.0.1" }],
    });
    desk.ingest(vec![report("1", after)], Value::Null).await;
    let told = told(&desk, id).await;
    let delta = &told[0]["report"];
    assert_eq!((&told[0]["reported"], &told[0]["status"]), (&json!(true), &Value::Null));
    assert_eq!(delta["title"]["before"]["text"], "Beacon");
    assert_eq!(delta["title"]["after"]["text"], "Beacon to a new domain");
    assert_eq!(delta["description"]["before"]["text"], "short");
    let sha256 = watchfloor::domain::queue::sha256_hex(&long);
    assert_eq!(delta["description"]["after"], json!({ "text": null, "sha256": sha256, "characters": long.len() }));
    assert_eq!(delta["severity"], json!({ "before": "LOW", "after": "HIGH" }));
    assert_eq!((&delta["category"], &delta["techniques"]), (&Value::Null, &Value::Null));
    let entity = |verdict: Value| json!([{ "kind": "DEVICE", "value": { "text": "WS-1" }, "verdict": verdict }]);
    assert_eq!(
        delta["entities"],
        json!({
            "added": entity(json!("MALICIOUS")), "addedCount": 1, "removed": entity(Value::Null), "removedCount": 1,
        })
    );
    desk.verified().await;
}

async fn a_person_makes_no_alert_of_a_resolved_incident_active(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (id, alert) = case(&desk, "1").await;
    desk.act("resolveIncident", json!({ "incidentId": id })).await;
    for status in ["NEW", "ACTIVE"] {
        let refusal = desk.deny("updateAlert", json!({ "alertId": alert, "status": status })).await;
        assert_eq!((refusal.code.as_str(), &refusal.now["status"]), ("CONFLICT", &json!("RESOLVED")));
        assert!(refusal.message.contains("INC-1 is resolved"), "{}", refusal.message);
    }
    desk.act("updateAlert", json!({ "alertId": alert, "classification": { "truePositive": "MALWARE" } })).await;
    desk.act("reopenIncident", json!({ "incidentId": id })).await;
    desk.act("updateAlert", json!({ "alertId": alert, "status": "NEW" })).await;
}

const RESOLVED_AND_ACTIVE: &str = "{ incidents(filter: { status: [RESOLVED], hasActiveAlerts: true }) {
    nodes { id hasActiveAlerts } } }";

async fn an_active_report_flags_a_resolved_incident(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (id, _) = case(&desk, "1").await;
    // Its provider reports RESOLVED first: only a new value counts.
    desk.ingest(vec![report("1", json!({ "status": "RESOLVED" }))], Value::Null).await;
    desk.act("resolveIncident", json!({ "incidentId": id })).await;
    assert_eq!(desk.data(RESOLVED_AND_ACTIVE, json!({})).await["incidents"]["nodes"], json!([]));
    let filter = json!({ "status": ["RESOLVED"], "hasActiveAlerts": true });
    let after = present(&desk, &filter).await;
    let mut stream = desk.follow(QUEUE, json!({ "filter": filter, "after": after })).await;
    stream.items_until("Live").await;
    desk.ingest(vec![report("1", json!({ "status": "ACTIVE" }))], Value::Null).await;
    let read = desk.data(RESOLVED_AND_ACTIVE, json!({})).await;
    assert_eq!(read["incidents"]["nodes"], json!([{ "id": id, "hasActiveAlerts": true }]));
    let item = stream.change().await;
    assert_eq!((&item["__typename"], &item["row"]["status"]), (&json!("QueueEntered"), &json!("RESOLVED")));
    // A second resolution also resolves the alerts that became active since.
    desk.act("resolveIncident", json!({ "incidentId": id })).await;
    assert_eq!(stream.change().await["__typename"], "QueueLeft");
    assert_eq!(desk.data(RESOLVED_AND_ACTIVE, json!({})).await["incidents"]["nodes"], json!([]));
    desk.verified().await;
}

async fn an_active_report_reopens_where_the_policy_says_so(database: TestDatabase) {
    let policies = Policies { reopen_for_active_alerts: true, reopen_role: Role::Manager, ..Policies::default() };
    let desk = TestDesk::open_with(&database, Options { policies, ..Options::default() }).await;
    desk.user("feed", "RESPONDER").await;
    let (id, _) = case(&desk, "1").await;
    desk.ingest(vec![report("2", json!({}))], json!({ "incident": id })).await;
    desk.ingest(vec![report("1", json!({ "status": "RESOLVED" }))], Value::Null).await;
    desk.act("resolveIncident", json!({ "incidentId": id, "note": "done" })).await;
    let again = json!({ "alerts": [report("1", json!({ "status": "ACTIVE", "title": "Again" }))] });
    desk.act_as(Some("feed"), "ingestAlerts", again).await;
    let read = desk.read(&id).await;
    assert_eq!((&read["status"], &read["resolvedAt"]), (&json!("ACTIVE"), &Value::Null));
    let told = told(&desk, &id).await;
    let moved = |n: usize| told[n]["status"].clone();
    assert_eq!(moved(0), json!({ "before": "RESOLVED", "after": "ACTIVE" }));
    assert_eq!(moved(1), json!({ "before": "RESOLVED", "after": "NEW" }), "what the resolution resolved is open again");
    // A new alert that is linked to a resolved incident reopens it too.
    desk.act("resolveIncident", json!({ "incidentId": id })).await;
    let new = json!({ "alerts": [report("3", json!({ "status": "ACTIVE" }))], "into": { "incident": id } });
    desk.act_as(Some("feed"), "ingestAlerts", new).await;
    assert_eq!(desk.read(&id).await["status"], "ACTIVE");
    let policies = desk.data("{ policies { reopenForActiveAlerts } }", json!({})).await;
    assert_eq!(policies["policies"]["reopenForActiveAlerts"], true);
    desk.verified().await;
}

async fn an_incident_has_active_alerts_as_long_as_it_has_them(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let has = async |id: &str| {
        let query = "query($id: ID!) { incident(by: { id: $id }) { hasActiveAlerts } }";
        desk.data(query, json!({ "id": id })).await["incident"]["hasActiveAlerts"].take()
    };
    let (id, alert) = case(&desk, "1").await;
    let empty = desk.incident("Nothing yet").await;
    assert_eq!((has(&id).await, has(&empty).await), (json!(true), json!(false)));
    desk.act("updateAlert", json!({ "alertId": alert, "status": "RESOLVED" })).await;
    assert_eq!(has(&id).await, false);
    desk.act("updateAlert", json!({ "alertId": alert, "status": "ACTIVE" })).await;
    desk.act("linkAlerts", json!({ "incidentId": empty, "alerts": [alert], "move": true })).await;
    assert_eq!((has(&id).await, has(&empty).await), (json!(false), json!(true)));
    desk.act("resolveIncident", json!({ "incidentId": empty })).await;
    assert_eq!(has(&empty).await, false);
    desk.act("reopenIncident", json!({ "incidentId": empty })).await;
    assert_eq!(has(&empty).await, true);
    desk.act("mergeIncidents", json!({ "sourceId": empty, "targetId": id })).await;
    assert_eq!((has(&id).await, has(&empty).await), (json!(true), json!(false)));
    desk.act("undoMerge", json!({ "incidentId": empty })).await;
    assert_eq!((has(&id).await, has(&empty).await), (json!(false), json!(true)));
    desk.act("unlinkAlerts", json!({ "incidentId": empty, "alerts": [alert] })).await;
    assert_eq!(has(&empty).await, false);
    desk.verified().await;
}
