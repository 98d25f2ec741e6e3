//! The byte budgets: of one answer on every transport, of each item of a stream, and of all answers in progress.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use watchfloor::server::settings::Settings;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::socket::{Frame, Socket};
use crate::support::stream::QUEUE;
use crate::support::triage::report;
use crate::support::waiting::{PATIENCE, a_moment};

each_database!(
    a_query_beyond_the_budget_is_refused_on_every_transport,
    a_mutation_is_answered_whatever_its_lists_hold,
    an_item_beyond_the_budget_comes_with_shorter_lists,
    the_largest_item_of_each_kind_fits,
    answers_that_nobody_reads_do_not_fill_the_desk,
    an_answer_of_many_fields_takes_the_room_that_making_it_takes,
);

/// Opens a desk whose answers have at most this many bytes.
async fn narrow(database: &TestDatabase, bytes: usize) -> TestDesk {
    let mut settings = Settings::default();
    settings.answers.bytes = bytes;
    TestDesk::open_with(database, Options { settings, ..Options::default() }).await
}

async fn a_query_beyond_the_budget_is_refused_on_every_transport(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let title = |n: usize| format!("{n} {}", "x".repeat(1_900_000));
    for n in 0..4 {
        desk.incident(&title(n)).await;
    }
    let four = desk.data(WHOLE, json!({})).await;
    assert_eq!(four["incidents"]["nodes"].as_array().map(Vec::len), Some(4), "7.6 MB fit");
    desk.incident(&title(4)).await;
    let refusal = desk.refused(WHOLE, json!({})).await;
    assert_eq!((refusal.code.as_str(), &refusal.now), ("LIMIT", &json!({ "limit": 8_388_608 })));
    assert!(refusal.message.contains("8388608 bytes"), "{refusal:?}");
    let response = desk.graphql_as(None, WHOLE, json!({})).await;
    assert!(response.get("data").is_none() && response["errors"].as_array().map(Vec::len) == Some(1), "{response:#}");
    // A field that is requested several times counts several times.
    let aliases: String = (0..5).map(|n| format!("a{n}: incident(by: {{ number: 1 }}) {{ fullTitle }} ")).collect();
    assert_eq!(desk.refused(&format!("{{ {aliases} }}"), json!({})).await.code, "LIMIT");

    let mut socket = Socket::ready(&format!("{}/graphql", desk.url.replacen("http", "ws", 1))).await;
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": WHOLE } })).await;
    match socket.frame().await {
        Frame::Json(message) => {
            assert_eq!(message["type"], "error");
            assert_eq!(message["payload"][0]["extensions"]["code"], "LIMIT");
        }
        other => panic!("not a message: {other:?}"),
    }
    let client = reqwest::Client::new();
    let events = client
        .post(format!("{}/graphql", desk.url))
        .header("accept", "text/event-stream")
        .json(&json!({ "query": WHOLE }))
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("events");
    assert!(events.contains("\"LIMIT\"") && events.len() < 2_000, "{events}");
}

async fn a_mutation_is_answered_whatever_its_lists_hold(database: TestDatabase) {
    const ALERTS: usize = 300;
    let desk = narrow(&database, 65_536).await;
    let alerts: Vec<Value> =
        (0..ALERTS).map(|n| report(&format!("{n}"), json!({ "description": "é".repeat(1_000) }))).collect();
    let made = desk
        .graphql_as(
            None,
            "mutation($alerts: [AlertInput!]!) { ingestAlerts(input: { alerts: $alerts, into: { newIncident: true } }) {
                created position replayed incident { id number title } alerts { id description } } }",
            json!({ "alerts": alerts }),
        )
        .await;
    let taken = &made["data"]["ingestAlerts"];
    assert_eq!((&taken["created"], &taken["replayed"]), (&json!(ALERTS), &json!(false)), "{:#}", made["errors"]);
    let incident = &taken["incident"]["id"];
    assert!(incident.is_string() && taken["position"].is_string() && taken["incident"]["title"].is_string());
    let listed = taken["alerts"].as_array().expect("alerts").len();
    assert!((10..40).contains(&listed), "the list ends where the budget does: {listed}");
    let error = &made["errors"][0];
    assert_eq!((&error["extensions"]["code"], &error["path"]), (&json!("LIMIT"), &json!(["ingestAlerts", "alerts"])));
    assert!(made.to_string().len() < 70_000);

    let key = json!({ "id": incident, "key": "once" });
    let mut former = Value::Null;
    for replayed in [false, true] {
        let done = desk
            .graphql_as(
                None,
                "mutation($id: ID!, $key: String!) { resolveIncident(input: { incidentId: $id, idempotencyKey: $key }) {
                    alerts { id status description } incident { id status alerts(first: 100) { nodes { description } } }
                    changed position replayed } }",
                key.clone(),
            )
            .await;
        let payload = &done["data"]["resolveIncident"];
        assert_eq!(
            (&payload["replayed"], &payload["changed"]),
            (&json!(replayed), &json!(true)),
            "{:#}",
            done["errors"]
        );
        assert_eq!((&payload["incident"]["id"], &payload["incident"]["status"]), (incident, &json!("RESOLVED")));
        assert!(payload["position"].is_string() && (former.is_null() || former == payload["position"]));
        former = payload["position"].clone();
        assert_eq!(done["errors"][0]["extensions"]["code"], "LIMIT");
        assert!(done.to_string().len() < 70_000);
    }
    let open = "{ alerts(filter: { status: [NEW, ACTIVE] }) { totalCount } }";
    assert_eq!(desk.data(open, json!({})).await["alerts"]["totalCount"], 0, "all of them were resolved");
}

async fn an_item_beyond_the_budget_comes_with_shorter_lists(database: TestDatabase) {
    const LOG: &str = "subscription($after: String) { activityLog(after: $after) { __typename position
        ... on ActivityChange { change { incidentId version entries { kind
            ... on AlertsLinkedEntry { alertIds } ... on TextEntry { textAfter } } } } } }";
    let desk = narrow(&database, 65_536).await;
    let begin = desk.data("{ incidents(first: 0) { position } }", json!({})).await["incidents"]["position"].take();
    let alerts: Vec<Value> = (0..2_000).map(|n| report(&format!("{n}"), json!({}))).collect();
    desk.graphql_as(
        None,
        "mutation($alerts: [AlertInput!]!) { ingestAlerts(input: { alerts: $alerts, into: { newIncident: true } }) { created } }",
        json!({ "alerts": alerts }),
    )
    .await;
    let incident = desk.numbered(1).await;
    desk.act("addTags", json!({ "incidentId": incident, "tags": ["after it"] })).await;
    let mut log = desk.follow(LOG, json!({ "after": begin })).await;
    let message = match log.frame().await {
        Frame::Json(message) => message,
        other => panic!("not a message: {other:?}"),
    };
    let payload = &message["payload"];
    let item = &payload["data"]["activityLog"];
    assert!(item["position"].is_string() && item["change"]["version"] == 1, "{payload:#}");
    assert_eq!(payload["errors"][0]["extensions"]["code"], "LIMIT");
    assert_eq!(payload["errors"][0]["path"][0], "activityLog");
    assert!(message.to_string().len() < 70_000);
    // The next item has a budget of its own.
    let next = log.change().await;
    assert_eq!((&next["__typename"], &next["change"]["version"]), (&json!("ActivityChange"), &json!(2)));
}

async fn the_largest_item_of_each_kind_fits(database: TestDatabase) {
    // An item of the log grows with its alerts, so a fifth of the largest call shows a fifth of the largest item.
    const ALERTS: usize = 1_000;
    const PART: usize = 5;
    const LOG: &str = "subscription($after: String) { activityLog(after: $after) { __typename position ... on ActivityChange { change {
        position version at actor { id name account kind } cause { kind name jobId } transactionId last clientMutationId
        incidentId incidentNumber entries { kind
            ... on TextEntry { textBefore textAfter } ... on TagsEntry { added { name kind } removed { name kind } }
            ... on AlertsLinkedEntry { alertIds movedFromIds } ... on AlertsUnlinkedEntry { alertIds movedToId }
            ... on AlertsChangedEntry { alerts { alertId reported status { before after } owner { before after }
                classification { before { kind } after { kind } } } } } } } } }";
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Large").await;
    let begin = json!({ "after": crate::support::stream::present(&desk, &json!({})).await });
    let crabs = |count: usize| "🦀".repeat(count);
    let tags: Vec<String> = (0..100).map(|n| format!("{n} {}", crabs(190))).collect();
    let alerts: Vec<Value> = (0..ALERTS).map(|n| report(&format!("{n}"), json!({}))).collect();
    let product = |n: usize| json!({ "product": format!("{n} {}", crabs(240)) });
    let products: Vec<Value> = (0..200).map(|n| report(&format!("product {n}"), product(n))).collect();
    let group =
        desk.act("upsertGroup", json!({ "account": crabs(256), "name": crabs(256) })).await["group"]["id"].take();
    desk.act("addTags", json!({ "incidentId": id, "tags": tags })).await;
    desk.act("renameIncident", json!({ "incidentId": id, "title": crabs(400_000) })).await;
    desk.act("describeIncident", json!({ "incidentId": id, "description": "\"".repeat(5_000) })).await;
    desk.ingest(alerts, json!({ "incident": id })).await;
    desk.ingest(products, json!({ "incident": id })).await;
    desk.act("assignIncident", json!({ "incidentId": id, "owner": { "group": group } })).await;
    desk.act("resolveIncident", json!({ "incidentId": id, "note": "\u{1}x".repeat(15_000) })).await;
    let end = desk.log_end().await;
    for document in [QUEUE, LOG] {
        let mut stream = desk.follow(document, begin.clone()).await;
        let mut largest = 0;
        loop {
            // An item with errors would panic here.
            let item = stream.item().await;
            largest = largest.max(item.to_string().len());
            if crate::support::stream::offset(&item["position"]) >= end {
                break;
            }
        }
        println!("the largest item has {largest} bytes");
        assert!(largest * PART < 4 << 20, "half of the budget: {largest}");
    }
}

/// Four titles of 1.9 MB each.
const WHOLE: &str = "{ incidents { nodes { fullTitle } } }";

/// Requests the whole titles of a desk's incidents, reads the first bytes of the answer, and then stops reading.
async fn silent_reader(desk: &TestDesk) -> TcpStream {
    let address = desk.url.strip_prefix("http://").expect("an address").parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a size");
    let mut silent = socket.connect(address).await.expect("a connection");
    let body = json!({ "query": WHOLE }).to_string();
    let request = format!(
        "POST /graphql HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    silent.write_all(request.as_bytes()).await.expect("sent");
    // The answer has begun: its room is taken.
    let mut first = [0; 16];
    silent.read_exact(&mut first).await.expect("a beginning");
    assert!(first.starts_with(b"HTTP/1.1 200"));
    silent
}

async fn answers_that_nobody_reads_do_not_fill_the_desk(database: TestDatabase) {
    let mut settings = Settings::default();
    // Room for one large answer at a time.
    settings.answers.total_bytes = 11 << 20;
    settings.answers.wait = Duration::from_millis(300);
    let desk = TestDesk::open_with(&database, Options { settings, ..Options::default() }).await;
    for n in 0..4 {
        desk.incident(&format!("{n} {}", "x".repeat(1_900_000))).await;
    }
    let silent = silent_reader(&desk).await;
    let refusal = desk.refused(WHOLE, json!({})).await;
    assert_eq!(refusal.code, "UNAVAILABLE", "{refusal:?}");
    // Small answers, and so mutations, have a room of their own.
    assert_eq!(desk.data("{ incidents { totalCount } }", json!({})).await["incidents"]["totalCount"], 4);
    let tagged = "mutation($id: ID!) { addTags(input: { incidentId: $id, tags: [\"x\"] }) { changed position } }";
    let id = desk.numbered(1).await;
    assert_eq!(desk.data(tagged, json!({ "id": id })).await["addTags"]["changed"], true);
    drop(silent);
    // Its room is returned with its connection.
    loop {
        let answer = desk.graphql_as(None, WHOLE, json!({})).await;
        if answer.get("errors").is_none() {
            break;
        }
        assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE");
    }
}

async fn an_answer_of_many_fields_takes_the_room_that_making_it_takes(database: TestDatabase) {
    let mut settings = Settings::default();
    // One caller may have half of it. The first answer takes 8 MiB of that.
    settings.answers.total_bytes = 64 << 20;
    settings.answers.wait = Duration::from_millis(300);
    let desk = TestDesk::open_with(&database, Options { settings, ..Options::default() }).await;
    for n in 0..4 {
        desk.incident(&format!("{n} {}", "x".repeat(1_900_000))).await;
    }
    let silent = silent_reader(&desk).await;
    // The answer is small, but making it may take much: 20,000 fields.
    let wide = "{ incidents(first: 100) { nodes { alerts(first: 50) { nodes { id title status severity } } } } }";
    let refusal = desk.refused(wide, json!({})).await;
    assert_eq!(refusal.code, "UNAVAILABLE", "{refusal:?}");
    assert!(refusal.message.contains("nothing was done"), "{refusal:?}");
    let narrow = "{ incidents(first: 4) { nodes { alerts(first: 50) { nodes { id title status severity } } } } }";
    assert_eq!(desk.data(narrow, json!({})).await["incidents"]["nodes"].as_array().map(Vec::len), Some(4));
    drop(silent);
    let found = async {
        while desk.graphql_as(None, wide, json!({})).await.get("errors").is_some() {
            a_moment().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("room comes back with the connection");
}
