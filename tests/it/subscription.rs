//! The live path: markers, entered / updated / left, order, two nodes on one database, the activity log.

use std::collections::BTreeSet;
use std::time::Duration;

use async_graphql::resolver_utils::EnumType;
use serde_json::{Value, json};
use watchfloor::domain::account::{Owner, OwnerId};
use watchfloor::domain::classification::{Classification, Threat};
use watchfloor::domain::incident::{Severity, Status};
use watchfloor::domain::queue::{IncidentText, QueueField, QueueRow};
use watchfloor::domain::tag::{Tag, TagKind};
use watchfloor::domain::{IncidentId, UserId};

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::{Following, Options, TestDesk, monday};
use crate::support::socket::Frame;
use crate::support::stream::{QUEUE, offset, present, read_to, replay, short};
use crate::support::triage::report;

each_database!(
    an_assignment_arrives_as_an_update,
    each_kind_of_item_comes_once_and_in_order,
    a_heartbeat_says_that_all_was_sent,
    a_moved_alert_moves_both_incidents_in_an_entity_queue,
    a_text_filter_reads_long_titles,
    the_activity_log_is_followed_whole_or_by_incident,
    an_item_is_executed_under_its_alias_with_variables_and_interfaces,
);

async fn an_assignment_arrives_as_an_update(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Beaconing to a fresh domain").await;
    let mut queue = desk
        .follow("subscription { incidentQueue { __typename position ... on QueueUpdated { changedFields row { id owner { account } } } } }", json!({}))
        .await;
    assert_eq!(queue.item().await["__typename"], "Live");
    desk.data(
        "mutation($id: ID!) { assignIncident(input: { incidentId: $id, owner: { me: true } }) { changed } }",
        json!({ "id": id }),
    )
    .await;
    let item = queue.change().await;
    assert_eq!(item["__typename"], "QueueUpdated", "{item}");
    assert_eq!(item["changedFields"], json!(["OWNER", "FIRST_ASSIGNED_AT"]));
    assert_eq!(item["row"], json!({ "id": id, "owner": { "account": "local-manager" } }));
}

/// Runs `mutation(input: …)` on an incident, and returns the position in its answer.
async fn change(desk: &TestDesk, mutation: &str, id: &str, mut input: Value) -> Value {
    input["incidentId"] = json!(id);
    input["clientMutationId"] = json!(format!("my {mutation}"));
    let name = mutation[..1].to_uppercase() + &mutation[1..];
    let query =
        format!("mutation($input: {name}Input!) {{ {mutation}(input: $input) {{ position clientMutationId }} }}");
    let mut answer = desk.data(&query, json!({ "input": input })).await;
    assert_eq!(answer[mutation]["clientMutationId"], input["clientMutationId"]);
    answer[mutation]["position"].take()
}

async fn each_kind_of_item_comes_once_and_in_order(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let filter = json!({ "tags": { "any": ["VIP"] } });
    let mut queue = desk.follow(QUEUE, json!({ "filter": filter })).await;
    let live = queue.item().await;
    assert_eq!(live["__typename"], "Live", "the first item of a stream without a backlog");
    assert_eq!(
        live["filter"]["json"],
        json!({ "status": ["NEW", "ACTIVE"], "tags": { "any": ["vip"] } }),
        "as it is read"
    );

    let id = desk.incident("Beaconing to a fresh domain").await;
    let mut expected = Vec::new();
    let steps = [
        ("addTags", json!({ "tags": ["vip"] }), "QueueEntered", ""),
        ("addComment", json!({ "body": "seen it" }), "QueueUpdated", r#"["COMMENT_COUNT"]"#),
        ("describeIncident", json!({ "description": "every 60 s" }), "QueueUpdated", r#"["DESCRIPTION"]"#),
        ("renameIncident", json!({ "title": "Beaconing" }), "QueueUpdated", r#"["TITLE"]"#),
        ("setIncidentSeverity", json!({ "severity": "HIGH" }), "QueueUpdated", r#"["SEVERITY","SEVERITY_OVERRIDE"]"#),
        ("setIncidentStatus", json!({ "status": "ACTIVE" }), "QueueUpdated", r#"["STATUS"]"#),
        ("removeTags", json!({ "tags": ["VIP"] }), "QueueLeft", "FILTER"),
        ("addTags", json!({ "tags": ["VIP"] }), "QueueEntered", ""),
        ("resolveIncident", json!({ "note": "done" }), "QueueLeft", "FILTER"),
        ("reopenIncident", json!({}), "QueueEntered", ""),
        ("deleteIncident", json!({}), "QueueLeft", "DELETED"),
    ];
    for (mutation, input, kind, detail) in &steps {
        let position = change(&desk, mutation, &id, input.clone()).await;
        expected.push((offset(&position), (*kind).to_owned(), id.clone(), (*detail).to_owned()));
    }
    let items = read_to(&mut queue, desk.log_end().await).await;
    assert_eq!(items.iter().map(short).collect::<Vec<_>>(), expected);
    for (item, (mutation, ..)) in items.iter().zip(&steps) {
        assert_eq!(item["clientMutationId"], format!("my {mutation}"), "{item}");
        assert_eq!(item["last"], true);
        assert!(item["row"].is_null() || item["row"]["position"] == item["position"], "{item}");
    }
    let (mut replayed, last) = (replay(&desk, &filter, &live["position"]).await, items.last().expect("items"));
    let end = replayed.pop().expect("a marker");
    assert_eq!((&end["__typename"], &end["position"]), (&json!("Live"), &last["position"]));
    assert_eq!(replayed, items, "replayed as it was live");
}

async fn a_heartbeat_says_that_all_was_sent(database: TestDatabase) {
    let options = Options { heartbeat: Duration::from_millis(40), ..Options::default() };
    let desk = TestDesk::open_with(&database, options).await;
    let filter = json!({ "severity": ["HIGH"] });
    let mut queue = desk.follow(QUEUE, json!({ "filter": filter })).await;
    let live = queue.item().await;
    assert_eq!(queue.item().await, json!({ "__typename": "Heartbeat", "position": live["position"] }));
    let id = desk.incident("Not in this queue").await;
    let beat = loop {
        let item = queue.item().await;
        assert_eq!(item["__typename"], "Heartbeat", "{item}");
        if offset(&item["position"]) > offset(&live["position"]) {
            break item;
        }
    };
    assert_eq!(offset(&beat["position"]), desk.log_end().await, "it carries the client past what is not for it");
    change(&desk, "setIncidentSeverity", &id, json!({ "severity": "HIGH" })).await;
    let since = replay(&desk, &filter, &beat["position"]).await;
    let kinds: Vec<_> = since.iter().map(|item| item["__typename"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["QueueEntered", "Live"]);
}

async fn a_moved_alert_moves_both_incidents_in_an_entity_queue(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (from, to) = (desk.incident("Holds it first").await, desk.incident("Holds it then").await);
    let filter = json!({ "entity": [{ "kind": "IP", "value": "10.0.0.7" }], "status": ["NEW", "ACTIVE", "RESOLVED"] });
    let start = present(&desk, &filter).await;
    let mut queue = desk.follow(QUEUE, json!({ "filter": filter, "after": start })).await;
    queue.items_until("Live").await;
    let alert = json!({ "provider": "Suricata", "providerAlertId": "1", "title": "Beacon", "product": "Suricata",
        "entities": [{ "kind": "IP", "value": "10.0.0.7" }, { "kind": "DEVICE", "value": "host-1" }] });
    let ingested = desk
        .data(
            "mutation($input: IngestAlertInput!) { ingestAlert(input: $input) { alerts { id } } }",
            json!({ "input": { "alert": alert, "into": { "incident": from } } }),
        )
        .await;
    let alerts = json!([ingested["ingestAlert"]["alerts"][0]["id"]]);
    change(&desk, "addComment", &from, json!({ "body": "with it" })).await;
    change(&desk, "linkAlerts", &to, json!({ "alerts": alerts, "move": true })).await;
    change(&desk, "addComment", &from, json!({ "body": "without it" })).await;
    change(&desk, "addComment", &to, json!({ "body": "with it" })).await;
    change(&desk, "unlinkAlerts", &to, json!({ "alerts": alerts })).await;

    let items = read_to(&mut queue, desk.log_end().await).await;
    let kinds = |items: &[Value]| -> Vec<(u64, String, bool)> {
        let of = |item: &Value| (offset(&item["position"]), short(item).1, short(item).2 == from);
        items.iter().map(of).collect()
    };
    // The move's two changes are in the order of the incidents' ids, which is the order of their creation.
    let start_at = offset(&start);
    let expected = [
        (1, "QueueEntered", true),
        (2, "QueueUpdated", true),
        (3, "QueueLeft", true),
        (4, "QueueEntered", false),
        (6, "QueueUpdated", false),
        // The alert's own log comes before it: the alert left.
        (8, "QueueLeft", false),
    ]
    .map(|(at, kind, first)| (start_at + at, kind.to_owned(), first));
    assert_eq!(kinds(&items), expected);
    assert_eq!((&items[2]["last"], &items[3]["last"]), (&json!(false), &json!(true)), "one transaction");
    assert_eq!(items[2]["transactionId"], items[3]["transactionId"]);
    let mut after = start;
    for seen in 0..=items.len() {
        let mut replayed = replay(&desk, &filter, &after).await;
        assert_eq!(replayed.pop().expect("a marker")["__typename"], "Live");
        assert_eq!(replayed, items[seen..], "replayed after {seen} items");
        if let Some(item) = items.get(seen) {
            after = item["position"].clone();
        }
    }
}

async fn a_text_filter_reads_long_titles(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let filter = json!({ "text": "NÄDEL" });
    let start = present(&desk, &filter).await;
    let mut queue = desk.follow(QUEUE, json!({ "filter": filter, "after": start })).await;
    queue.items_until("Live").await;
    let id = desk.incident("short").await;
    let long = |end: &str| format!("{} {end}", "é漢".repeat(2_000));
    change(&desk, "renameIncident", &id, json!({ "title": long("eine Nadel") })).await;
    change(&desk, "addComment", &id, json!({ "body": "still there" })).await;
    change(&desk, "describeIncident", &id, json!({ "description": "x".repeat(4_000) })).await;
    change(&desk, "renameIncident", &id, json!({ "title": long("nichts") })).await;
    change(&desk, "describeIncident", &id, json!({ "description": format!("{} nadel", "y".repeat(4_000)) })).await;
    change(&desk, "renameIncident", &id, json!({ "title": "short again" })).await;
    change(&desk, "describeIncident", &id, json!({ "description": null })).await;
    let items = read_to(&mut queue, desk.log_end().await).await;
    let kinds: Vec<_> = items.iter().map(|item| short(item).1).collect();
    let expected = ["Entered", "Updated", "Updated", "Left", "Entered", "Updated", "Left"];
    assert_eq!(kinds, expected.map(|kind| format!("Queue{kind}")));
    assert_eq!(items[1]["row"]["title"], "é漢".repeat(500), "its start, though the change does not carry it");
    let mut replayed = replay(&desk, &filter, &start).await;
    replayed.pop();
    assert_eq!(replayed, items);
}

#[tokio::test]
async fn two_nodes_on_one_database_say_the_same() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let (here, there) = (TestDesk::open(&database).await, TestDesk::open(&database).await);
    let filter = json!({ "status": ["NEW", "ACTIVE"] });
    let start = present(&here, &filter).await;
    let mut on_here = here.follow(QUEUE, json!({ "filter": filter, "after": start })).await;
    let mut on_there = there.follow(QUEUE, json!({ "filter": filter, "after": start })).await;
    let first = (on_here.item().await, on_there.item().await);
    assert_eq!(first.0, first.1);
    let mut ids = Vec::new();
    for number in 0..10 {
        let (one, other) = if number % 2 == 0 { (&here, &there) } else { (&there, &here) };
        let id = one.incident(&format!("Incident {number}")).await;
        change(other, "renameIncident", &id, json!({ "title": format!("Renamed {number}") })).await;
        ids.push(id);
    }
    change(&there, "deleteIncident", &ids[3], json!({})).await;
    let end = here.log_end().await;
    let items = read_to(&mut on_here, end).await;
    assert_eq!(read_to(&mut on_there, end).await, items, "live on both");
    assert_eq!(items.len(), 21);
    for after in [&start, &items[4]["position"], &items[20]["position"]] {
        let replayed = replay(&there, &filter, after).await;
        assert_eq!(replay(&here, &filter, after).await, replayed, "resumed on either");
        let seen = items.iter().filter(|item| offset(&item["position"]) <= offset(after)).count();
        assert_eq!(replayed[..replayed.len() - 1], items[seen..]);
    }
}

async fn the_activity_log_is_followed_whole_or_by_incident(database: TestDatabase) {
    const LOG: &str = "subscription($incident: ID, $filter: ActivityInput, $after: String) {
        activityLog(incidentId: $incident, filter: $filter, after: $after) {
            __typename position
            ... on ActivityChange { change { position version last entries { __typename kind } } }
            ... on Resync { resyncReason }
        }
    }";
    let desk = TestDesk::open(&database).await;
    let (one, other) = (desk.incident("One").await, desk.incident("Other").await);
    let mut whole = desk.follow(LOG, json!({})).await;
    let mut of_one = desk.follow(LOG, json!({ "incident": one })).await;
    let mut comments = desk.follow(LOG, json!({ "filter": { "kinds": ["COMMENT"] } })).await;
    let start = whole.item().await["position"].clone();
    of_one.item().await;
    comments.item().await;
    change(&desk, "addComment", &one, json!({ "body": "1" })).await;
    change(&desk, "renameIncident", &other, json!({ "title": "2" })).await;
    change(&desk, "renameIncident", &one, json!({ "title": "3" })).await;
    change(&desk, "addComment", &other, json!({ "body": "4" })).await;
    let end = desk.log_end().await;
    let all = read_to(&mut whole, end).await;
    assert_eq!(all.len(), 4);
    assert_eq!(of_one.change().await, all[0]);
    assert_eq!(of_one.change().await, all[2]);
    assert_eq!(comments.change().await, all[0]);
    assert_eq!(comments.change().await, all[3]);
    assert_eq!(all[0]["change"]["entries"], json!([{ "__typename": "CommentEntry", "kind": "COMMENT" }]));
    assert_eq!(all[1]["change"]["position"], all[1]["position"]);
    let mut after = start.clone();
    for seen in 0..=all.len() {
        let mut again = desk.follow(LOG, json!({ "after": after })).await.items_until("Live").await;
        again.pop();
        assert_eq!(again, all[seen..]);
        after = all.get(seen).map_or(after, |item| item["position"].clone());
    }
    let raw = database.connect().await;
    sea_orm::ConnectionTrait::execute_unprepared(&raw, "UPDATE log_head SET floor = position").await.expect("a floor");
    let mut below = desk.follow(LOG, json!({ "after": start })).await.items_until("Live").await;
    below.pop();
    assert_eq!(below, all, "the log has no floor: every change of its epoch stays");
}

async fn an_item_is_executed_under_its_alias_with_variables_and_interfaces(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Two of three alerts").await;
    let alerts = ["a", "b", "c"].map(|key| report(key, json!({})));
    // `$of` is used by the root field and by each item, `$many` by the items alone.
    let query = "subscription($of: ID, $many: Int) { told: activityLog(incidentId: $of) { kind: __typename ... on ActivityChange { change {
        incident { ... on Node { same: id } alerts(first: $many) { totalCount nodes { ... on Node { id } } } } } } } }";
    let mut log = desk.follow(query, json!({ "of": id, "many": 2 })).await;
    assert_eq!(log.item().await, json!({ "kind": "Live" }));
    desk.ingest(alerts.to_vec(), json!({ "incident": id })).await;
    let item = log.item().await;
    let incident = &item["change"]["incident"];
    assert_eq!((&item["kind"], &incident["same"]), (&json!("ActivityChange"), &json!(id)), "{item}");
    assert_eq!(incident["alerts"]["totalCount"], 3, "{item}");
    let ids: Vec<&str> =
        incident["alerts"]["nodes"].as_array().expect("nodes").iter().filter_map(|it| it["id"].as_str()).collect();
    assert_eq!(ids.len(), 2, "as many as the variable says: {item}");
    assert!(ids.iter().all(|id| id.starts_with("alert:")), "{item}");
    let frame = desk.follow(query, json!({ "of": id, "many": -1 })).await;
    refused_at_an_item(&desk, frame, &id).await;
}

/// An item's error has the item's path, and the stream goes on.
async fn refused_at_an_item(desk: &TestDesk, mut log: Following, id: &str) {
    assert_eq!(log.item().await, json!({ "kind": "Live" }));
    for title in ["Again", "And again"] {
        desk.act("renameIncident", json!({ "incidentId": id, "title": title })).await;
        let Frame::Json(item) = log.frame().await else { panic!("the stream goes on") };
        let error = &item["payload"]["errors"][0];
        assert_eq!(error["path"], json!(["told", "change", "incident", "alerts"]), "{item}");
        assert_eq!(error["extensions"]["code"], "INVALID", "{item}");
    }
}

/// The fields of a row that `changedFields` does not name.
const UNNAMED: [&str; 6] = ["id", "number", "version", "created_at", "updated_at", "deleted"];

/// A row with a value in every field, so that its JSON has all of them. A new field does not compile until it is here.
fn full_row() -> QueueRow {
    let (id, at) = (uuid::Uuid::from_u128(7), monday());
    QueueRow {
        id: IncidentId(id),
        number: 1,
        version: 2,
        title: IncidentText::Inline("Beacon".into()),
        description: Some(IncidentText::Inline("every minute".into())),
        severity_override: Some(Severity::High),
        computed_severity: Severity::Low,
        status: Status::Resolved,
        classification: Some(Classification::TruePositive(Threat::Malware)),
        owner: Some(Owner { id: OwnerId::User(UserId(id)), account: "ada".into(), name: "Ada".into() }),
        tags: vec![Tag { kind: TagKind::Custom, name: "vip".into() }],
        alert_count: 1,
        comment_count: 1,
        has_active_alerts: true,
        products: vec!["Suricata".into()],
        providers: vec!["Sensor".into()],
        created_at: at,
        updated_at: at,
        first_activity_at: Some(at),
        last_activity_at: Some(at),
        first_assigned_at: Some(at),
        resolved_at: Some(at),
        redirected_to: Some(IncidentId(id)),
        deleted: true,
    }
}

#[test]
fn every_field_of_a_row_is_named_or_known_to_be_unnamed() {
    let row = full_row();
    let fields = serde_json::to_value(&row).expect("JSON");
    let mut named = BTreeSet::new();
    for field in fields.as_object().expect("fields").keys() {
        let former = [(field.clone(), Value::Null)].into_iter().collect();
        let names = row.changed_fields(&former);
        assert_eq!(names.is_empty(), UNNAMED.contains(&field.as_str()), "changedFields for {field}: {names:?}");
        named.extend(names);
    }
    let all: BTreeSet<QueueField> = QueueField::items().iter().map(|item| item.value).collect();
    assert_eq!(named, all, "each name stands for a field of the row");
}
