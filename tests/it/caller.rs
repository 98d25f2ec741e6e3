//! A caller that changes during a subscription: its present rights and groups count, not those at the socket's opening.

use futures_util::StreamExt;
use serde_json::{Value, json};
use watchfloor::domain::filter::{IncidentFilter, QueueFilter};
use watchfloor::realtime::feed::{self, FeedSource};
use watchfloor::realtime::track::Track;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::postgres::Cluster;
use crate::support::socket::Socket;
use crate::support::stream::{QUEUE, present};

each_database!(
    rights_are_asked_for_each_operation,
    a_queue_of_my_groups_ends_when_they_change,
    a_position_that_was_refused_cannot_be_gone_on_from,
    the_log_of_a_deleted_incident_is_for_managers,
    a_stream_that_begins_after_its_caller_has_changed_finds_it_out,
);

fn socket_url(desk: &TestDesk) -> String {
    format!("{}/graphql", desk.url.replacen("http", "ws", 1))
}

async fn rights_are_asked_for_each_operation(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Beaconing").await;
    desk.user("ann", "RESPONDER").await;
    let mut socket = Socket::open(&socket_url(&desk)).await;
    socket.init(json!({ "Watchfloor-Actor": "ann" })).await;
    let rename =
        format!("mutation {{ renameIncident(input: {{ incidentId: \"{id}\", title: \"x\" }}) {{ changed }} }}");
    socket.subscribe("1", &rename).await;
    assert_eq!(socket.json().await["payload"]["data"]["renameIncident"]["changed"], true);
    assert_eq!(socket.json().await["type"], "complete");
    desk.user("ann", "READER").await;
    socket.subscribe("2", &rename).await;
    assert_eq!(socket.json().await["payload"]["errors"][0]["extensions"]["code"], "FORBIDDEN");
}

async fn a_queue_of_my_groups_ends_when_they_change(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ann = desk.user("ann", "RESPONDER").await;
    let group = desk.data("mutation { upsertGroup(input: { account: \"night\" }) { group { id } } }", json!({})).await
        ["upsertGroup"]["group"]["id"]
        .take();
    let mine = json!({ "filter": { "owner": { "meAndMyGroups": true } } });
    let mut of_mine = desk.follow_as("ann", QUEUE, mine.clone()).await;
    let mut of_all = desk.follow_as("ann", QUEUE, json!({})).await;
    of_mine.items_until("Live").await;
    of_all.items_until("Live").await;
    let join = "mutation($group: ID!, $ann: ID!) {
        addGroupMembers(input: { groupId: $group, users: [$ann] }) { group { id } } }";
    desk.data(join, json!({ "group": group, "ann": ann })).await;
    let end = of_mine.items_until("Resync").await.pop().expect("an end");
    assert_eq!(end["resyncReason"], "SCOPE");
    // A new subscription on the old socket continues from the position.
    let variables = json!({ "filter": mine["filter"], "after": end["position"] });
    let again = desk.follow_as("ann", QUEUE, variables).await.items_until("Resync").await;
    assert_eq!(again.len(), 1, "its position is of another scope");
    let mut anew = desk.follow_as("ann", QUEUE, mine).await;
    anew.items_until("Live").await;
    desk.data(
        "mutation($group: ID!) { createIncident(input: { title: \"Ours\", owner: { group: $group } }) { changed } }",
        json!({ "group": group }),
    )
    .await;
    assert_eq!(anew.change().await["row"]["title"], "Ours");
    assert_eq!(of_all.change().await["row"]["title"], "Ours", "a queue that is the same for everybody goes on");
}

async fn a_position_that_was_refused_cannot_be_gone_on_from(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (low, high) = (json!({ "severity": ["LOW"] }), json!({ "severity": ["HIGH"] }));
    let held = present(&desk, &low).await;
    desk.data("mutation { createIncident(input: { title: \"Missed\", severity: HIGH }) { changed } }", json!({})).await;
    let mut position = held.clone();
    for _ in 0..2 {
        let mut stream = desk.follow(QUEUE, json!({ "filter": high, "after": position })).await;
        let item = stream.item().await;
        assert_eq!((&item["__typename"], &item["resyncReason"]), (&json!("Resync"), &json!("FILTER")));
        position = item["position"].clone();
        assert_eq!(position, held);
    }
}

async fn the_log_of_a_deleted_incident_is_for_managers(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("reed", "READER").await;
    let log = "subscription($after: String) { activityLog(after: $after) {
        __typename position ... on ActivityChange { change { incidentNumber } } } }";
    let start = present(&desk, &Value::Null).await;
    let start = watchfloor::domain::position::Position { queue: None, ..crate::support::stream::parsed(&start) };
    let id = desk.incident("Classified").await;
    desk.incident("Open").await;
    desk.data("mutation($id: ID!) { deleteIncident(input: { incidentId: $id }) { position } }", json!({ "id": id }))
        .await;
    let variables = json!({ "after": start.to_string() });
    let numbers = |items: Vec<Value>| -> Vec<Value> {
        items.iter().map(|item| item["change"]["incidentNumber"].clone()).filter(|number| !number.is_null()).collect()
    };
    let of_reader = desk.follow_as("reed", log, variables.clone()).await.items_until("Live").await;
    assert_eq!(numbers(of_reader), [2]);
    let of_manager = desk.follow(log, variables).await.items_until("Live").await;
    assert_eq!(numbers(of_manager), [1, 2, 1]);
}

/// A stream continues, and ends neither with an error nor with `complete`, when its database restarts under it.
#[tokio::test]
async fn a_stream_outlives_a_restart_of_postgres() {
    let mut cluster = Cluster::start_private();
    let database = TestDatabase::in_cluster(&cluster).await;
    let desk = TestDesk::open(&database).await;
    // The database is read for each batch, because the filter names a text.
    let filter = json!({ "text": "beacon" });
    let mut stream = desk.follow(QUEUE, json!({ "filter": filter })).await;
    stream.items_until("Live").await;
    for round in 0..2 {
        cluster.stop_immediate();
        let made = tokio::spawn({
            let (http, url) = (reqwest::Client::new(), format!("{}/graphql", desk.url));
            async move {
                loop {
                    let query =
                        format!("mutation {{ createIncident(input: {{ title: \"Beacon {round}\" }}) {{ changed }} }}");
                    let answer = http.post(&url).json(&json!({ "query": query })).send().await.expect("an answer");
                    let answer: Value = answer.json().await.expect("JSON");
                    if answer.get("errors").is_none() {
                        return;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        });
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        cluster.start_again();
        made.await.expect("an incident");
        assert_eq!(stream.change().await["row"]["title"], format!("Beacon {round}"));
    }
}

async fn a_stream_that_begins_after_its_caller_has_changed_finds_it_out(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ann", "RESPONDER").await;
    let actor = desk.app.local_caller(Some("ann")).await.expect("a caller");
    let then = desk.app.hub.accounts();
    // Between the check of the caller and the start of the stream.
    desk.user("ann", "READER").await;
    let source = FeedSource {
        store: desk.app.store.clone(),
        hub: desk.app.hub.clone(),
        heartbeat: std::time::Duration::from_secs(600),
    };
    let filter = QueueFilter::resolve(&IncidentFilter::default(), &actor).expect("a filter");
    for (looked_at, expected) in [(then, "Resync(Scope)"), (desk.app.hub.accounts(), "Live")] {
        let track = Track::default();
        track.vouch(looked_at);
        let mut events = Box::pin(feed::queue(source.clone(), actor.clone(), filter.clone(), None, track));
        let first = events.next().await.expect("an event").expect("no fault").event;
        assert!(
            format!("{first:?}").starts_with(expected),
            "{first:?} where the caller was looked at {looked_at} changes in"
        );
    }
}
