//! The path of a refused value: it names each field and each position in a list, from the argument to the value.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::stream::QUEUE;
use crate::support::triage::{laid_over, report};

each_database!(
    a_refused_value_of_a_filter_has_its_whole_path,
    a_refused_value_of_a_mutation_has_its_whole_path,
    a_refused_link_names_the_alert_in_its_list,
    a_conflict_names_the_field_that_it_is_about,
    an_empty_object_in_a_filter_sets_no_condition,
);

const BULK: &str = "mutation($input: BulkUpdateIncidentsInput!) { bulkUpdateIncidents(input: $input) { total } }";

const NOBODY: &str = "user:0198c0de-0000-7000-8000-000000000009";

async fn a_refused_value_of_a_filter_has_its_whole_path(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let users = json!([NOBODY, NOBODY, NOBODY, "group:0198c0de-0000-7000-8000-000000000001"]);
    let owned = json!({ "owner": { "users": users } });
    let hard = json!({ "or": [{}, { "not": { "and": [{}, {}, owned] } }] });
    let (early, nul) = ("0001-01-01T00:00:00Z", "a\0b");
    for (filter, code, path) in [
        (owned.clone(), "INVALID", "owner.users.3"),
        (json!({ "owner": { "groups": ["group:x"] } }), "NOT_FOUND", "owner.groups.0"),
        (json!({ "and": [{}, owned] }), "INVALID", "and.1.owner.users.3"),
        (hard, "INVALID", "or.1.not.and.2.owner.users.3"),
        (json!({ "created": { "from": early } }), "INVALID", "created.from"),
        (json!({ "not": { "lastActivity": { "to": early } } }), "INVALID", "not.lastActivity.to"),
        (json!({ "or": [{ "firstActivity": { "from": early } }] }), "INVALID", "or.0.firstActivity.from"),
        (json!({ "and": [{ "and": [{}, { "text": " " }] }] }), "INVALID", "and.0.and.1.text"),
        (json!({ "or": [{}, {}, { "text": "x".repeat(1_001) }] }), "LIMIT", "or.2.text"),
        (json!({ "not": { "not": { "tags": { "none": ["a", nul] } } } }), "INVALID", "not.not.tags.none.1"),
        (json!({ "and": [{ "product": ["a", "b", nul] }] }), "INVALID", "and.0.product.2"),
        (json!({ "or": [{ "entity": [{ "value": "a" }, { "value": nul }] }] }), "INVALID", "or.0.entity.1.value"),
    ] {
        let path = format!("filter.{path}");
        for document in [
            "query($f: IncidentFilterInput) { incidents(filter: $f) { totalCount } }",
            "query($f: IncidentFilterInput) { queueSummary(filter: $f) { open } }",
        ] {
            let refusal = desk.refused(document, json!({ "f": filter })).await;
            let found = (refusal.code.as_str(), refusal.path.as_deref());
            assert_eq!(found, (code, Some(path.as_str())), "{filter}: {refusal:?}");
        }
        let refusal = desk.deny("createView", json!({ "name": "Mine", "filter": filter })).await;
        let expected = (code, Some(format!("input.{path}")));
        assert_eq!((refusal.code.as_str(), refusal.path.clone()), expected, "{filter}: {refusal:?}");
        let job = json!({ "target": { "filter": filter }, "edit": { "status": "ACTIVE" } });
        let refusal = desk.refused(BULK, json!({ "input": job })).await;
        let expected = (code, Some(format!("input.target.{path}")));
        assert_eq!((refusal.code.as_str(), refusal.path.clone()), expected, "{filter}: {refusal:?}");
    }
    // A variable inside of a literal: the path goes on from the argument.
    let document = "query($users: [ID!], $text: String) { incidents(filter: { or: [{ text: $text },
        { not: { owner: { users: $users } } }] }) { totalCount } }";
    let refusal = desk.refused(document, json!({ "users": users, "text": "a" })).await;
    assert_eq!(refusal.path.as_deref(), Some("filter.or.1.not.owner.users.3"));
    let refusal = desk.refused(document, json!({ "text": " " })).await;
    assert_eq!(refusal.path.as_deref(), Some("filter.or.0.text"));
    let literal = "{ incidents(filter: { and: [{}, { owner: { groups: [\"group:x\"] } }] }) { totalCount } }";
    assert_eq!(desk.refused(literal, json!({})).await.path.as_deref(), Some("filter.and.1.owner.groups.0"));
    let alerts = "query($f: AlertFilterInput) { alerts(filter: $f) { totalCount } }";
    for (filter, path) in [
        (json!({ "product": ["a", nul] }), "filter.product.1"),
        (json!({ "entity": [{ "value": nul }] }), "filter.entity.0.value"),
        (json!({ "incident": NOBODY }), "filter.incident"),
    ] {
        let refusal = desk.refused(alerts, json!({ "f": filter })).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some(path)), "{filter}");
    }
}

async fn a_refused_value_of_a_mutation_has_its_whole_path(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Named by its parts").await;
    let group = desk.act("upsertGroup", json!({ "account": "tier-1" })).await["group"]["id"].clone();
    let member = desk.user("ada", "RESPONDER").await;
    let on = |fields: Value| laid_over(json!({ "incidentId": incident }), fields);
    let batch = |at: usize, over: Value| {
        let alerts = (0..at + 1).map(|n| report(&n.to_string(), if n == at { over.clone() } else { json!({}) }));
        json!({ "alerts": alerts.collect::<Vec<_>>() })
    };
    let entities = json!({ "entities": [{ "kind": "IP", "value": "10.0.0.1" }, { "kind": "IP", "value": " " }] });
    let tag = |name: &str| json!({ "name": name, "kind": "EXPERT" });
    for (mutation, input, code, path) in [
        ("addTags", on(json!({ "tags": ["a", "b", " "] })), "INVALID", "tags.2"),
        ("addTags", on(json!({ "systemTags": [tag("a"), tag("b"), tag(" ")] })), "INVALID", "systemTags.2.name"),
        ("removeTags", on(json!({ "systemTags": [tag("a"), tag(&"x".repeat(201))] })), "LIMIT", "systemTags.1.name"),
        ("updateIncident", on(json!({ "removeTags": ["a", " "] })), "INVALID", "removeTags.1"),
        ("createIncident", json!({ "title": "T", "systemTags": [tag(" ")] }), "INVALID", "systemTags.0.name"),
        ("ingestAlerts", batch(17, json!({ "title": " " })), "INVALID", "alerts.17.title"),
        ("ingestAlerts", batch(17, json!({ "severity": "SEVERE" })), "INVALID", "variables.input.alerts.17.severity"),
        ("ingestAlerts", batch(2, entities.clone()), "INVALID", "alerts.2.entities.1.value"),
        ("ingestAlerts", batch(1, json!({ "techniques": ["T1059", "\0"] })), "INVALID", "alerts.1.techniques.1"),
        ("ingestAlert", json!({ "alert": report("1", entities.clone()) }), "INVALID", "alert.entities.1.value"),
        ("addBookmark", on(json!({ "title": "Hosts", "rows": [{}, { "a": "\0" }] })), "INVALID", "rows.1"),
        (
            "addBookmark",
            laid_over(on(json!({ "title": "Hosts", "rows": [] })), entities),
            "INVALID",
            "entities.1.value",
        ),
        ("addGroupMembers", json!({ "groupId": group, "users": [member, group] }), "INVALID", "users.1"),
        ("addGroupMembers", json!({ "groupId": group, "users": [member, NOBODY] }), "NOT_FOUND", "users.1"),
        (
            "bulkUpdateIncidents",
            json!({ "target": { "ids": [incident, NOBODY] }, "edit": { "status": "ACTIVE" } }),
            "INVALID",
            "target.ids.1",
        ),
        (
            "bulkUpdateIncidents",
            json!({ "target": { "filter": {} }, "edit": { "addSystemTags": [tag("a"), tag(" ")] } }),
            "INVALID",
            "edit.addSystemTags.1.name",
        ),
    ] {
        let refusal = match mutation {
            "bulkUpdateIncidents" => desk.refused(BULK, json!({ "input": input })).await,
            _ => desk.deny(mutation, input.clone()).await,
        };
        let path = if path.starts_with("variables.") { path.to_owned() } else { format!("input.{path}") };
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some(path.as_str())), "{input}");
    }
}

async fn a_refused_link_names_the_alert_in_its_list(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alerts = desk.alerts(&["free", "held", "other"]).await;
    let (free, held) = (&alerts[0], &alerts[1]);
    let holder = desk.create(json!({ "title": "Holds one", "alerts": [held, alerts[2]] })).await["id"].take();
    let other = desk.incident("Holds no alert").await;
    let closed = desk.create(json!({ "title": "Closed", "status": "RESOLVED" })).await["id"].take();
    let unknown = "alert:0198c0de-0000-7000-8000-000000000009";
    let held_again = json!({ "incidentId": other, "alerts": [free, held] });
    let taken = json!([report("new", json!({})), report("held", json!({}))]);
    for (mutation, input, code, path) in [
        ("linkAlerts", held_again.clone(), "CONFLICT", "alerts.1"),
        ("linkAlerts", json!({ "incidentId": other, "alerts": [free, unknown] }), "NOT_FOUND", "alerts.1"),
        ("linkAlerts", json!({ "incidentId": other, "alerts": [free, other] }), "INVALID", "alerts.1"),
        ("unlinkAlerts", json!({ "incidentId": holder, "alerts": [held, free] }), "CONFLICT", "alerts.1"),
        ("createIncident", json!({ "title": "T", "alerts": [free, held] }), "CONFLICT", "alerts.1"),
        ("updateIncident", json!({ "incidentId": other, "linkAlerts": [free, held] }), "CONFLICT", "linkAlerts.1"),
        ("updateIncident", json!({ "incidentId": holder, "unlinkAlerts": [free] }), "CONFLICT", "unlinkAlerts.0"),
        (
            "updateIncident",
            json!({ "incidentId": holder, "linkAlerts": [free], "unlinkAlerts": [held, free] }),
            "INVALID",
            "unlinkAlerts.1",
        ),
        ("splitIncident", json!({ "incidentId": holder, "alerts": [held, free] }), "CONFLICT", "alerts.1"),
        ("linkAlerts", json!({ "incidentId": closed, "alerts": [free] }), "CONFLICT", "alerts"),
        ("ingestAlerts", json!({ "alerts": taken, "into": { "incident": other } }), "CONFLICT", "alerts.1"),
        ("ingestAlert", json!({ "alert": taken[1], "into": { "incident": other } }), "CONFLICT", "alert"),
        ("ingestAlert", json!({ "alert": taken[0], "into": { "incident": closed } }), "CONFLICT", "into.incident"),
    ] {
        let refusal = desk.deny(mutation, input.clone()).await;
        let expected = (code, Some(format!("input.{path}")));
        assert_eq!((refusal.code.as_str(), refusal.path.clone()), expected, "{mutation} {input}: {refusal:?}");
    }
    assert_eq!(desk.deny("linkAlerts", held_again).await.now["alert"], json!(held));
}

async fn a_conflict_names_the_field_that_it_is_about(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (id, chosen) = (desk.incident("Stands").await, "0198c0de-0000-7000-8000-000000000001");
    desk.act("setIncidentStatus", json!({ "incidentId": id, "status": "ACTIVE" })).await;
    desk.create(json!({ "id": chosen, "title": "Made by its id" })).await;
    let stub = desk.incident("Merged away").await;
    desk.act("mergeIncidents", json!({ "sourceId": stub, "targetId": id })).await;
    desk.act("addTags", json!({ "incidentId": id, "tags": ["changed"] })).await;
    let known = json!({ "incidentId": id, "status": "NEW", "expectedVersion": 1 });
    for (mutation, input, path) in [
        ("addComment", json!({ "incidentId": stub, "body": "late" }), "incidentId"),
        ("addBookmark", json!({ "incidentId": stub, "title": "Hosts", "rows": [] }), "incidentId"),
        ("splitIncident", json!({ "incidentId": stub, "alerts": desk.alerts(&["free"]).await }), "incidentId"),
        ("ingestAlert", json!({ "alert": report("1", json!({})), "into": { "incident": stub } }), "into.incident"),
        ("setIncidentStatus", known, "expectedVersion"),
        ("createIncident", json!({ "id": chosen, "title": "Of another input" }), "id"),
        ("reopenIncident", json!({ "incidentId": id, "status": "NEW" }), "status"),
        ("undoMerge", json!({ "incidentId": id }), "incidentId"),
        ("undoMerge", json!({ "incidentId": stub }), "incidentId"),
    ] {
        let refusal = desk.deny(mutation, input.clone()).await;
        let expected = ("CONFLICT", Some(format!("input.{path}")));
        assert_eq!((refusal.code.as_str(), refusal.path.clone()), expected, "{mutation} {input}: {refusal:?}");
    }
}

async fn an_empty_object_in_a_filter_sets_no_condition(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.create(json!({ "title": "Owned", "owner": { "me": true }, "tags": ["vip"] })).await;
    desk.create(json!({ "title": "Timed", "firstActivityAt": "2026-11-20T00:00:00Z" })).await;
    desk.incident("Plain").await;
    let count =
        "query($f: IncidentFilterInput) { incidents(filter: $f) { totalCount } queueSummary(filter: $f) { open } }";
    for (filter, met) in [
        (json!({}), 3),
        (json!({ "owner": {} }), 3),
        (json!({ "owner": { "unassigned": false, "me": false, "meAndMyGroups": false } }), 3),
        (json!({ "owner": { "users": null } }), 3),
        (json!({ "tags": {} }), 3),
        (json!({ "created": {}, "updated": {}, "firstActivity": {}, "lastActivity": {}, "resolved": {} }), 3),
        (json!({ "and": [{}, { "owner": {} }] }), 3),
        (json!({ "or": [{ "firstActivity": {} }] }), 3),
        (json!({ "not": {} }), 0),
        (json!({ "not": { "owner": {} } }), 0),
        (json!({ "not": { "lastActivity": {} } }), 0),
        // An empty list of choices is a condition, which no incident meets.
        (json!({ "owner": { "users": [] } }), 0),
        (json!({ "owner": { "groups": [], "unassigned": true } }), 2),
        (json!({ "not": { "owner": { "users": [], "groups": [] } } }), 3),
        (json!({ "firstActivity": { "from": "2026-11-19T00:00:00Z" } }), 1),
    ] {
        let read = desk.data(count, json!({ "f": filter })).await;
        assert_eq!(read["incidents"]["totalCount"], met, "{filter}");
        assert_eq!(read["queueSummary"]["open"], met, "{filter}");
    }
    let empty = json!({ "filter": { "owner": {}, "tags": {}, "created": {} } });
    let items = desk.follow(QUEUE, empty).await.items_until("Live").await;
    let echo = items.last().map(|live| live["filter"]["json"].clone());
    assert_eq!(echo, Some(json!({ "status": ["NEW", "ACTIVE"] })), "the canonical filter omits empty objects");
    let alerts = "query($f: AlertFilterInput) { alerts(filter: $f) { totalCount } }";
    desk.ingest(vec![report("1", json!({}))], Value::Null).await;
    for (filter, met) in [(json!({}), 1), (json!({ "status": [] }), 0), (json!({ "product": [] }), 0)] {
        assert_eq!(desk.data(alerts, json!({ "f": filter })).await["alerts"]["totalCount"], met, "{filter}");
    }
    let log = "query($f: ActivityInput) { incident(by: { number: 1 }) { activity(filter: $f) { totalCount } } }";
    for (filter, met) in [(json!({}), 1), (json!({ "kinds": [] }), 0)] {
        assert_eq!(desk.data(log, json!({ "f": filter })).await["incident"]["activity"]["totalCount"], met, "{filter}");
    }
}
