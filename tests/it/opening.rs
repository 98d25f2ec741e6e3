//! Streams begin from memory, at exactly the board's position or the position of the client's page.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use watchfloor::realtime::RealtimeLimits;

use super::filter::people;
use super::statements::Sent;
use super::tally::mutate;
use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::dice::Dice;
use crate::support::socket::Socket;
use crate::support::stream::{QUEUE, offset, parsed, read_to, replay, short};
use crate::support::waiting::a_moment;

each_database!(
    a_thousand_streams_open_after_a_restart_without_a_statement,
    a_stream_begins_where_its_page_ends_while_changes_go_on,
    a_stream_without_a_position_begins_with_the_next_change,
    a_read_of_a_position_of_another_node_has_reached_it,
);

const PAGE: &str = "query($filter: IncidentFilterInput) {
    incidents(filter: $filter, first: 100) { position totalCount nodes { id version } } }";

const SUMMARY: &str = "subscription($filter: IncidentFilterInput) {
    queueSummary(filter: $filter) { position open created resolved oldest byOwner { value { name } count } } }";

const OPEN: &str = "subscription($filter: IncidentFilterInput) {
    queueSummary(filter: $filter) { position open unassigned bySeverity { count } } }";

async fn a_thousand_streams_open_after_a_restart_without_a_statement(database: TestDatabase) {
    {
        let desk = TestDesk::open(&database).await;
        for number in 0..12 {
            let id = desk.incident(&format!("Pump {number} runs dry")).await;
            desk.act("updateIncident", json!({ "incidentId": id, "owner": { "me": true }, "addTags": ["wet"] })).await;
            if number % 3 == 0 {
                desk.act("resolveIncident", json!({ "incidentId": id })).await;
            }
        }
    }
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    // The first page makes the caller known.
    desk.data(PAGE, json!({ "filter": {} })).await;
    let mut position = desk.data(PAGE, json!({ "filter": {} })).await["incidents"]["position"].take();
    sent.take();
    let url = format!("{}/graphql", desk.url.replacen("http", "ws", 1));
    let mut begun = 0;
    for screen in 0..50 {
        let mut socket = Socket::ready(&url).await;
        // Each screen has a filter of its own, so that no two streams are shared.
        let own = json!({ "tags": { "none": [format!("of screen {screen}")] } });
        let page = desk.data(PAGE, json!({ "filter": own })).await["incidents"].take();
        assert_eq!(page["totalCount"], 8);
        let mut messages = Vec::new();
        for number in 0..20 {
            let (query, variables) = match number % 4 {
                0 => (QUEUE, json!({ "filter": own, "after": page["position"] })),
                1 => (QUEUE, json!({ "filter": { "tags": { "none": [format!("{screen} {number}")] } } })),
                2 => (OPEN, json!({ "filter": { "tags": { "none": [format!("{screen} {number}")] } } })),
                // By status, severity and owner, as the wall does.
                _ => (SUMMARY, json!({ "filter": { "severity": (["HIGH", "MEDIUM", "LOW"])[..1 + number % 3] } })),
            };
            let payload = json!({ "query": query, "variables": variables });
            messages.push(json!({ "id": number.to_string(), "type": "subscribe", "payload": payload }));
        }
        socket.send_together(messages).await;
        for _ in 0..20 {
            let first = socket.json().await;
            let item = first["payload"]["data"].as_object().expect("data").values().next().expect("an item");
            assert!(item["__typename"] == "Live" || item["open"].is_u64(), "{first:#}");
            assert_eq!(parsed(&item["position"]).offset, parsed(&position).offset);
            begun += 1;
        }
    }
    assert_eq!(begun, 1_000);
    // The caller is read again once a second.
    let of_callers = |sql: &str| sql.contains("\"account_key\" = ") || sql.contains("FROM \"group_member\"");
    let mut statements = sent.take();
    statements.retain(|statement| !of_callers(&statement.sql));
    assert_eq!(statements.len(), 0, "the end of the log is read beside every transaction: {statements:#?}");
    position = desk.data("{ incidents { position nodes { description } } }", json!({})).await["incidents"].take();
    assert!(!sent.take().is_empty() && position.is_object(), "statements are seen");
}

async fn a_stream_begins_where_its_page_ends_while_changes_go_on(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    // A ring too small for the changes that come while a client reads its page, so that the database is read.
    let ring = RealtimeLimits { changes: 4, ..Options::default().ring };
    let other = Options { clock: desk.clock.clone(), ring, ..Options::default() };
    let other = TestDesk::open_with(&database, other).await;
    let mut dice = Dice::of_this_run();
    let world = people(&desk).await;
    let is_over = AtomicBool::new(false);
    let writes = async {
        let (mut ids, mut alerts) = (Vec::new(), Vec::new());
        for step in 0..160 {
            desk.clock.advance(chrono::Duration::seconds(1));
            let writer = if step % 2 == 0 { &desk } else { &other };
            mutate(writer, &world, &mut dice, &mut ids, &mut alerts).await;
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let filters = [json!({}), json!({ "severity": ["HIGH", "MEDIUM"] }), json!({ "owner": { "unassigned": true } })];
    let screens = async {
        let (mut streams, mut number) = (Vec::new(), 0);
        while !is_over.load(Ordering::SeqCst) || number < 6 {
            let filter = &filters[number % 3];
            let (read_from, followed_on) = match number % 4 {
                0 => (&desk, &desk),
                1 => (&desk, &other),
                2 => (&other, &desk),
                _ => (&other, &other),
            };
            let page = read_from.data(PAGE, json!({ "filter": filter })).await["incidents"].take();
            assert_eq!(page["nodes"].as_array().expect("rows").len(), page["totalCount"]);
            // Half of the streams begin at the present, without a page.
            let after = if number % 8 < 4 { page["position"].clone() } else { Value::Null };
            let stream = followed_on.follow(QUEUE, json!({ "filter": filter, "after": after })).await;
            streams.push((filter, page, after, stream));
            number += 1;
            a_moment().await;
        }
        streams
    };
    let ((), streams) = tokio::join!(writes, screens);
    // A change in each queue, so that each stream has a last item.
    let last = desk.create(json!({ "title": "The last of all", "severity": "HIGH" })).await;
    let end = desk.log_end().await;
    assert!(last["id"].is_string() && streams.len() >= 6);
    let truth = async |filter: &Value| rows(&desk.data(PAGE, json!({ "filter": filter })).await["incidents"]["nodes"]);
    for (number, (filter, page, after, mut stream)) in streams.into_iter().enumerate() {
        let items = read_to(&mut stream, end).await;
        let live = items.iter().find(|item| item["__typename"] == "Live").expect("a stream that is live").clone();
        let start = if after.is_null() { live["position"].clone() } else { page["position"].clone() };
        // Every change committed since arrives once, in order, as a replay from the same position shows.
        let only_changes = |items: &[Value]| -> Vec<_> {
            items.iter().filter(|item| item["__typename"] != "Live").map(short).collect()
        };
        let (came, all) = (only_changes(&items), only_changes(&replay(&desk, filter, &start).await));
        assert_eq!(came, all, "stream {number} from {start}, on its page's node: {}", number % 4);
        assert!(came.windows(2).all(|pair| pair[0].0 < pair[1].0), "in the order of the log, nothing twice");
        if !after.is_null() {
            let mut held = rows(&page["nodes"]);
            for item in &items {
                match item["__typename"].as_str() {
                    Some("QueueEntered" | "QueueUpdated") => {
                        let row = &item["row"];
                        held.retain(|(id, _)| *id != row["id"]);
                        held.push((row["id"].clone(), row["version"].clone()));
                    }
                    Some("QueueLeft") => held.retain(|(id, _)| *id != item["incidentId"]),
                    _ => {}
                }
            }
            held.sort_by_key(|(id, _)| id.to_string());
            assert_eq!(held, truth(filter).await, "what stream {number} adds up to");
        }
    }
}

/// Returns the ids and versions of some rows, by id.
fn rows(nodes: &Value) -> Vec<(Value, Value)> {
    let row = |node: &Value| (node["id"].clone(), node["version"].clone());
    let mut rows: Vec<_> = nodes.as_array().expect("rows").iter().map(row).collect();
    rows.sort_by_key(|(id, _)| id.to_string());
    rows
}

async fn a_stream_without_a_position_begins_with_the_next_change(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let other = TestDesk::open_with(&database, Options { clock: desk.clock.clone(), ..Options::default() }).await;
    for number in 1..=12 {
        let (writer, follower) = if number % 2 == 0 { (&desk, &other) } else { (&other, &desk) };
        writer.incident(&format!("Seen before {number}")).await;
        let end = writer.log_end().await;
        // A running stream tells its own position, which may be before another node's latest change.
        let own = json!({ "filter": { "tags": { "none": [format!("of stream {number}")] } } });
        let mut queue = follower.follow(QUEUE, own.clone()).await;
        let live = queue.item().await;
        assert_eq!(
            (&live["__typename"], offset(&live["position"])),
            (&json!("Live"), end),
            "what was seen is not news"
        );
        // The board answers one of them completely; for the other, the created incidents are counted in a snapshot.
        let mut summary = follower.follow(if number % 3 == 0 { SUMMARY } else { OPEN }, own).await;
        let state = summary.item().await;
        assert_eq!((offset(&state["position"]), &state["open"]), (end, &json!(2 * number - 1)));
        writer.incident(&format!("News {number}")).await;
        let entered = queue.change().await;
        assert_eq!(entered["__typename"], "QueueEntered");
        assert_eq!(
            (offset(&entered["position"]), &entered["row"]["title"]),
            (end + 1, &json!(format!("News {number}")))
        );
        let state = loop {
            let state = summary.item().await;
            if offset(&state["position"]) > end {
                break state;
            }
        };
        assert_eq!((offset(&state["position"]), &state["open"]), (end + 1, &json!(2 * number)));
    }
}

async fn a_read_of_a_position_of_another_node_has_reached_it(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let other = TestDesk::open_with(&database, Options { clock: desk.clock.clone(), ..Options::default() }).await;
    let read = "query($id: ID!, $position: String!) {
        incident(by: { id: $id }, minPosition: $position) { title version } incidents(first: 1) { position nodes { id version } } }";
    let id = desk.incident("Gate 0").await;
    for number in 1..=20 {
        let (writer, reader) = if number % 2 == 0 { (&desk, &other) } else { (&other, &desk) };
        let title = format!("Gate {number}");
        let renamed = "mutation($id: ID!, $title: String!) {
            updateIncident(input: { incidentId: $id, title: $title }) { position } }";
        let done = writer.data(renamed, json!({ "id": id, "title": title })).await["updateIncident"].take();
        let answer = reader.data(read, json!({ "id": id, "position": done["position"] })).await;
        assert_eq!(answer["incident"], json!({ "title": title, "version": number + 1 }));
        assert!(offset(&answer["incidents"]["position"]) >= offset(&done["position"]));
        assert_eq!(answer["incidents"]["nodes"][0]["version"], number + 1);
    }
}
