//! Taking back the deletion of an incident, through the public API.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::stream::{QUEUE, read_to, replay, short};
use crate::support::triage::{each, laid_over, report};

each_database!(
    a_restored_incident_is_as_before_without_its_alerts,
    a_restored_incident_is_in_queues_and_numbers_again,
    an_incident_that_is_not_deleted_is_not_restored,
    a_queue_says_why_an_incident_entered,
    the_log_of_a_restored_incident_is_for_everybody_again,
    a_restored_target_leads_its_sources_on_again,
);

async fn a_restored_incident_is_as_before_without_its_alerts(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let host = json!([{ "kind": "DEVICE", "value": "ws-7" }]);
    let reports = vec![
        report("1", json!({ "severity": "HIGH", "product": "Hostwatch", "entities": host })),
        report("2", json!({ "status": "ACTIVE" })),
    ];
    let taken = desk.ingest(reports, json!({ "newIncident": true })).await;
    let (id, alerts) = (taken["incident"]["id"].as_str().expect("an id"), each(&taken["alerts"], "id"));
    let known = json!({
        "title": "Credential dump ".repeat(40), "description": "By the red team. ".repeat(40), "severity": "LOW",
        "owner": { "me": true }, "addTags": ["red team"], "status": "RESOLVED", "note": "Announced ".repeat(40),
        "classification": { "informationalExpectedActivity": "SECURITY_TESTING" },
    });
    desk.update(id, known).await;
    let comment = desk.act("addComment", json!({ "incidentId": id, "body": "Ask them" })).await["comment"]["id"].take();
    let pin = json!({ "incidentId": id, "title": "Logons", "rows": [{ "n": 1 }] });
    let bookmark = desk.act("addBookmark", pin).await["bookmark"]["id"].take();
    let before = desk.read(id).await;

    desk.clock.advance(chrono::Duration::minutes(5));
    let deleted = desk.act("deleteIncident", json!({ "incidentId": id })).await["position"].take();
    let other = desk.create(json!({ "title": "Takes an alert", "alerts": [alerts[0]] })).await;
    desk.clock.advance(chrono::Duration::hours(30));
    let input = json!({ "incidentId": id, "clientMutationId": "back", "idempotencyKey": "once" });
    let done = desk.act("restoreIncident", input.clone()).await;
    let expected = json!({
        "version": 6, "updatedAt": "2026-11-24T14:05:00+00:00", "computedSeverity": "MEDIUM", "alertCount": 0,
        "products": [], "providers": [],
    });
    assert_eq!(done["incident"], laid_over(before, expected));
    assert_eq!((&done["changed"], &done["clientMutationId"]), (&json!(true), &json!("back")));
    assert_eq!((&done["alerts"], &done["comment"]), (&json!([]), &Value::Null), "it changes no alert");
    assert_eq!(desk.act("restoreIncident", input).await, done, "done once");

    assert_eq!(desk.read(id).await, done["incident"]);
    assert_eq!(desk.numbered(1).await, id);
    for node in [&comment, &bookmark] {
        let found = desk.data("query($id: ID!) { node(id: $id) { id } }", json!({ "id": node })).await;
        assert_eq!(found["node"]["id"], *node);
    }
    let holder = |alert: &Value| alert["incident"]["id"].clone();
    let (one, two) = (alerts[0].as_str().expect("an id"), alerts[1].as_str().expect("an id"));
    assert_eq!(holder(&desk.alert(one).await), other["id"], "it stays where it is");
    assert_eq!(holder(&desk.alert(two).await), Value::Null, "it is still free");
    assert_eq!(desk.newest(id).await, json!({ "RESTORED": { "kind": "RESTORED" } }));
    let as_of =
        "query($id: ID!, $moment: MomentInput!) { incidentAsOf(by: { id: $id }, moment: $moment) { deletedAt } }";
    for (position, deleted_at) in [(&deleted, json!("2026-11-23T08:05:00+00:00")), (&done["position"], Value::Null)] {
        let then = desk.data(as_of, json!({ "id": id, "moment": { "position": position } })).await;
        assert_eq!(then["incidentAsOf"]["deletedAt"], deleted_at);
    }
    desk.verified().await;

    // It takes alerts and edits as any other incident.
    desk.act("reopenIncident", json!({ "incidentId": id })).await;
    let linked = desk.act("linkAlerts", json!({ "incidentId": id, "alerts": [alerts[1]] })).await;
    assert_eq!((&linked["incident"]["alertCount"], &linked["incident"]["status"]), (&json!(1), &json!("ACTIVE")));
    desk.verified().await;
}

async fn a_restored_incident_is_in_queues_and_numbers_again(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let other = Options { clock: desk.clock.clone(), ..Options::default() };
    let other = TestDesk::open_with(&database, other).await;
    let filters = [
        json!({}),
        json!({ "severity": ["HIGH"], "status": ["NEW", "ACTIVE", "RESOLVED"] }),
        json!({ "tags": { "any": ["lab"] } }),
        json!({ "text": "beacon" }),
    ];
    let (mut queues, mut starts) = (Vec::new(), Vec::new());
    for filter in &filters {
        let mut queue = other.follow(QUEUE, json!({ "filter": filter })).await;
        starts.push(queue.items_until("Live").await.remove(0)["position"].take());
        queues.push(queue);
    }
    let title = "Beacon to a domain of yesterday ".repeat(12);
    let made = json!({ "title": title, "severity": "HIGH", "tags": ["lab"], "owner": { "me": true } });
    let id = desk.create(made).await["id"].take();
    desk.clock.advance(chrono::Duration::minutes(1));
    desk.incident("Stays").await;
    const NUMBERS: &str = "{ incidents { totalCount nodes { number } facets { status { value count } tags { count } } }
        queueSummary { open created unassigned byOwner { count } } }";
    let before = desk.data(NUMBERS, json!({})).await;
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    assert_ne!(desk.data(NUMBERS, json!({})).await, before);
    desk.clock.advance(chrono::Duration::minutes(1));
    let restored = desk.act("restoreIncident", json!({ "incidentId": id, "clientMutationId": "back" })).await;
    for node in [&desk, &other] {
        let mut after = node.data(NUMBERS, json!({})).await;
        // It was changed last, so it is the first of the default order.
        after["incidents"]["nodes"].as_array_mut().expect("rows").reverse();
        assert_eq!(after, before);
    }
    for ((filter, start), queue) in filters.iter().zip(&starts).zip(&mut queues) {
        let items = read_to(queue, desk.log_end().await).await;
        let of_it: Vec<_> = items.iter().map(short).filter(|(_, _, of, _)| id == **of).collect();
        let kinds: Vec<_> = of_it.iter().map(|(_, kind, _, reason)| (kind.as_str(), reason.as_str())).collect();
        assert_eq!(kinds, [("QueueEntered", ""), ("QueueLeft", "DELETED"), ("QueueEntered", "")], "{filter}");
        let last = items.last().expect("an item");
        assert_eq!((&last["enteredReason"], &last["clientMutationId"]), (&json!("RESTORED"), &json!("back")));
        assert_eq!(last["row"]["version"], restored["incident"]["version"]);
        let mut replayed = replay(&desk, filter, start).await;
        replayed.pop();
        assert_eq!(replayed, items, "replayed as it was live, through {filter}");
    }
}

async fn an_incident_that_is_not_deleted_is_not_restored(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Never deleted").await;
    let before = (desk.read(&id).await, desk.log_end().await);
    let done = desk.act("restoreIncident", json!({ "incidentId": id })).await;
    assert_eq!((&done["changed"], &done["incident"]), (&json!(false), &before.0));
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    desk.act("restoreIncident", json!({ "incidentId": id, "expectedVersion": 2 })).await;
    let again = desk.act("restoreIncident", json!({ "incidentId": id })).await;
    assert_eq!((&again["changed"], &again["incident"]["version"]), (&json!(false), &json!(3)));
    assert_eq!(desk.log_end().await, before.1 + 2, "what already holds is no change");
}

async fn a_queue_says_why_an_incident_entered(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut queue = desk.follow(QUEUE, json!({})).await;
    queue.items_until("Live").await;
    let (id, target) = (desk.incident("Rogue access point").await, desk.incident("Rogue access points").await);
    for (name, input) in [
        ("resolveIncident", json!({ "incidentId": id })),
        ("reopenIncident", json!({ "incidentId": id })),
        ("deleteIncident", json!({ "incidentId": id })),
        ("restoreIncident", json!({ "incidentId": id })),
        ("mergeIncidents", json!({ "sourceId": id, "targetId": target })),
        ("undoMerge", json!({ "incidentId": id })),
    ] {
        desk.act(name, input).await;
    }
    let items = read_to(&mut queue, desk.log_end().await).await;
    let entered = items.iter().filter(|item| item["row"]["id"] == *id && item["__typename"] == "QueueEntered");
    let reasons: Vec<&Value> = entered.map(|item| &item["enteredReason"]).collect();
    assert_eq!(reasons, ["CREATED", "FILTER", "RESTORED", "MERGE_UNDONE"]);
}

async fn the_log_of_a_restored_incident_is_for_everybody_again(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("rea", "READER").await;
    let id = desk.incident("Printer on the guest network").await;
    let log = "query($id: ID!) { activity(incidentId: $id) { nodes { version } } }";
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    assert_eq!(desk.refused_as(Some("rea"), log, json!({ "id": id })).await.code, "NOT_FOUND");
    let path = format!("/incidents/{id}/log.ndjson");
    assert_eq!(desk.get_as(Some("rea"), &path).await.0, 404);
    desk.act("restoreIncident", json!({ "incidentId": id })).await;
    let read = desk.data_as(Some("rea"), log, json!({ "id": id })).await;
    assert_eq!(each(&read["activity"]["nodes"], "version"), [1, 2, 3]);
    let read = desk.data_as(Some("rea"), "{ deskLog { nodes { version } } }", json!({})).await;
    assert_eq!(each(&read["deskLog"]["nodes"], "version"), [3, 2, 1]);
    let (status, lines) = desk.get_as(Some("rea"), &path).await;
    assert_eq!(status, 200);
    assert!(lines.contains("DELETED") && lines.contains("RESTORED"), "{lines}");
}

async fn a_restored_target_leads_its_sources_on_again(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) = (desk.incident("Port scan").await, desk.incident("Port scans of the week").await);
    desk.act("mergeIncidents", json!({ "sourceId": source, "targetId": target })).await;
    desk.act("deleteIncident", json!({ "incidentId": target })).await;
    assert_eq!(desk.numbered(1).await, source);
    desk.act("restoreIncident", json!({ "incidentId": target })).await;
    assert_eq!(desk.numbered(1).await, target);
    let refusal = desk.deny("undoMerge", json!({ "incidentId": source })).await;
    assert_eq!(refusal.code, "CONFLICT");
    assert_eq!(each(&refusal.now["changes"], "field"), ["DELETED", "RESTORED"]);
}
