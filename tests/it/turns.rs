//! The turns of database reads: streams take turns as queries do, and within an account the cheapest read goes first.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;
use watchfloor::server::execution::scheduler::TurnSettings;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::endless;
use crate::support::going::Going;
use crate::support::socket::{Frame, Socket};
use crate::support::waiting::PATIENCE;

each_database!(
    streams_that_start_leave_turns_to_others_and_give_theirs_back,
    a_stream_that_waits_for_changes_holds_no_turn,
    a_stream_that_finds_no_turn_is_refused_as_a_query_is,
    a_stream_that_waits_for_its_turn_loses_nothing,
    a_cheap_operation_is_answered_while_its_account_has_many_dear_ones,
);

const VIEWS: &str = "{ views { slug } }";
/// A query that takes a turn each time, because the board alone cannot answer it and its answer is not shared.
const COUNT: &str = "{ incidents { totalCount } policies { __typename } }";

/// A stream that the board alone cannot begin: it counts since another time than midnight.
const COUNTED_SINCE: &str = "subscription { queueSummary(since: \"2026-11-22T00:00:01Z\") { created } }";

/// Opens a desk with a long statement timeout; statements that read this table never end.
async fn endless(database: &TestDatabase, table: &str, reads: Option<TurnSettings>) -> TestDesk {
    let mut options = Options::default();
    options.settings.work = options.settings.work.with_statement(PATIENCE);
    options.settings.work.query = PATIENCE;
    options.settings.work.reads = reads.unwrap_or(options.settings.work.reads);
    let desk = TestDesk::open_with(database, options).await;
    desk.incident("A quiet day").await;
    desk.data("mutation { createView(input: { name: \"All\", visibility: SHARED }) { view { id } } }", json!({})).await;
    endless::read_of(database, table).await;
    desk
}

/// Returns settings with only one turn.
fn one_turn(wait: Duration) -> TurnSettings {
    TurnSettings { all: 1, each: 1, dear: 1, spare: 0, waiting_each: 10, waiting_all: 10, wait }
}

fn ws(desk: &TestDesk) -> String {
    format!("{}/graphql", desk.url.replacen("http", "ws", 1))
}

/// Returns whether a cheap operation of an account is answered soon.
async fn is_answered(desk: &TestDesk, account: &str, query: &str) -> bool {
    timeout(Duration::from_millis(300), desk.graphql_as(Some(account), query, json!({}))).await.is_ok()
}

async fn streams_that_start_leave_turns_to_others_and_give_theirs_back(database: TestDatabase) {
    let desk = endless(&database, "incident", None).await;
    desk.user("eve", "READER").await;
    desk.user("ana", "READER").await;
    let mut socket = Socket::open(&ws(&desk)).await;
    socket.init(json!({ "Watchfloor-Actor": "eve" })).await;
    for stream in 0..30 {
        // Each stream has its own start, and the incident is in all of them. The board does not know counts since
        // another time than midnight.
        let since = format!("2026-11-22T00:00:{stream:02}Z");
        let query = format!("subscription {{ queueSummary(since: \"{since}\") {{ created }} }}");
        socket.subscribe(&stream.to_string(), &query).await;
    }
    let all_taken = async { while is_answered(&desk, "eve", VIEWS).await {} };
    timeout(PATIENCE, all_taken).await.expect("the streams take all turns of their account");
    for _ in 0..5 {
        let views = timeout(PATIENCE, desk.data_as(Some("ana"), VIEWS, json!({}))).await.expect("an answer");
        assert_eq!(views["views"][0]["slug"], "all");
    }
    drop(socket);
    let given_back = async { while !is_answered(&desk, "eve", VIEWS).await {} };
    timeout(PATIENCE, given_back).await.expect("the turns of a client that has gone are free");
}

async fn a_stream_that_waits_for_changes_holds_no_turn(database: TestDatabase) {
    let mut options = Options::default();
    options.settings.work.reads = one_turn(PATIENCE);
    let desk = TestDesk::open_with(&database, options).await;
    let mut streams = Vec::new();
    for query in [
        "subscription { s: incidentQueue { __typename } }",
        "subscription { s: incidentQueue(filter: { entity: [{ value: \"10.0.0.7\" }] }) { __typename } }",
        "subscription { s: queueSummary { __typename } }",
        "subscription { s: activityLog { __typename ... on ActivityChange { change { incident { title } } } } }",
    ] {
        let mut stream = desk.follow(query, json!({})).await;
        let first = stream.item().await;
        assert!(["Live", "QueueSummary"].contains(&first["__typename"].as_str().expect("a name")), "{first}");
        streams.push(stream);
    }
    for number in 1..4 {
        desk.incident("Nobody holds a turn").await;
        let count = timeout(PATIENCE, desk.data(COUNT, json!({}))).await.expect("an answer");
        assert_eq!(count["incidents"]["totalCount"], number);
        let told = streams[3].change().await;
        assert_eq!(told["change"]["incident"]["title"], "Nobody holds a turn", "{told}");
    }
}

async fn a_stream_that_finds_no_turn_is_refused_as_a_query_is(database: TestDatabase) {
    let desk = endless(&database, "saved_view", Some(one_turn(Duration::from_millis(300)))).await;
    let position = desk.data("{ incidents { position } }", json!({})).await["incidents"]["position"].clone();
    let busy = desk.graphql_as(None, VIEWS, json!({}));
    let others = async {
        let refusal = loop {
            let answer = desk.graphql_as(None, COUNT, json!({})).await;
            if let Some(error) = answer["errors"].get(0) {
                break error.clone();
            }
        };
        assert_eq!(refusal["extensions"], json!({ "code": "UNAVAILABLE", "retryAfter": 1 }));
        let mut socket = Socket::ready(&ws(&desk)).await;
        socket.subscribe("1", COUNTED_SINCE).await;
        let Frame::Json(answer) = socket.frame().await else { panic!("the socket stays open") };
        assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &json!("1")), "{answer}");
        let said = |error: &Value| (error["message"].clone(), error["extensions"].clone());
        assert_eq!(said(&answer["payload"][0]), said(&refusal), "{answer}");
        // The same over a streaming response.
        let request = reqwest::Client::new().post(format!("{}/graphql", desk.url));
        let query = json!({ "query": COUNTED_SINCE });
        let mut events = Going::of(request.header("accept", "text/event-stream").json(&query)).await;
        let (_, event) = events.event().await;
        assert_eq!(said(&event["errors"][0]), said(&refusal), "{event}");
        // A read from memory waits for no turn.
        let query = format!("subscription {{ incidentQueue(after: {position}) {{ __typename }} }}");
        socket.subscribe("2", &query).await;
        let Frame::Json(live) = socket.frame().await else { panic!("the socket stays open") };
        assert_eq!(live["payload"]["data"]["incidentQueue"]["__typename"], "Live", "{live}");
    };
    tokio::select! {
        _ = busy => panic!("it takes for ever"),
        done = timeout(PATIENCE, others) => done.expect("an answer to each"),
    }
}

/// Runs `work` while another operation holds the only turn for longer than an operation waits for a turn.
async fn while_busy(desk: &TestDesk, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = desk.graphql_as(None, VIEWS, json!({})) => panic!("it takes for ever"),
        () = async {
            while !desk.graphql_as(None, COUNT, json!({})).await["errors"].is_array() {}
            work.await;
            tokio::time::sleep(Duration::from_millis(900)).await;
        } => {}
    }
}

async fn a_stream_that_waits_for_its_turn_loses_nothing(database: TestDatabase) {
    // So short that a wait for a turn would time out several times.
    let desk = endless(&database, "saved_view", Some(one_turn(Duration::from_millis(200)))).await;
    // Long titles come from the database, and so does an incident that an item of the log selects.
    let title = |number: usize| format!("{number} {}", "long ".repeat(300));
    let queue = "subscription { incidentQueue { __typename ... on QueueEntered { row { title } } } }";
    let log = "subscription { activityLog { __typename ... on ActivityChange { change { incident { title } } } } }";
    let (mut queue, mut log) = (desk.follow(queue, json!({})).await, desk.follow(log, json!({})).await);
    assert_eq!(queue.item().await["__typename"], "Live");
    assert_eq!(log.item().await["__typename"], "Live");
    let busy = while_busy(&desk, async {
        for number in 0..5 {
            desk.incident(&title(number)).await;
        }
    });
    tokio::select! {
        item = queue.change() => panic!("the only turn is taken: {item}"),
        item = log.change() => panic!("the only turn is taken: {item}"),
        () = busy => {}
    }
    for number in 0..5 {
        let (row, change) = (queue.change().await, log.change().await);
        for told in [&row["row"]["title"], &change["change"]["incident"]["title"]] {
            let told = told.as_str().expect("a title");
            assert!(title(number).starts_with(told) && told.len() > 900, "{number}: {told}");
        }
    }
}

async fn a_cheap_operation_is_answered_while_its_account_has_many_dear_ones(database: TestDatabase) {
    let desk = endless(&database, "saved_view", None).await;
    let texts: Vec<_> = (0..12).map(|text| format!("{{ text: \"w{text}\" }}")).collect();
    let facets = "status { count } severity { count } owner { count } tags { count } product { count }";
    let dear = format!(
        "{{ views {{ slug }} incidents(filter: {{ or: [{}] }}) {{ totalCount facets {{ {facets} }} }} }}",
        texts.join(" ")
    );
    let mut many = Box::pin(join_all((0..20).map(|_| desk.graphql_as(None, &dear, json!({})))));
    let cheap = async {
        // Until as many of them run as may.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        for first in 1..=10 {
            // Another page each time, because a cached answer takes no turn.
            let page = format!("{{ incidents(first: {first}) {{ totalCount }} }}");
            assert_eq!(desk.data(&page, json!({})).await["incidents"]["totalCount"], 1);
        }
        began.elapsed()
    };
    tokio::select! {
        answers = &mut many => panic!("the dear ones take longer: {:#}", answers[0]),
        took = timeout(PATIENCE, cheap) => {
            let took = took.expect("an answer");
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
    }
}
