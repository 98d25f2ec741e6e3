//! Subscriptions over multipart HTTP: one test for each rule of the protocol, and exact streams of the desk through it.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::going::{Ended, Going};
use crate::support::little::{Server, query};
use crate::support::stream::{QUEUE, present};

each_database!(a_stream_of_parts_is_exact_and_goes_on_after_any_item);

/// The `Accept` header of Apollo's client, and those in its router's documentation.
const ACCEPTS: [&str; 4] = [
    "multipart/mixed;boundary=graphql;subscriptionSpec=1.0, application/graphql-response+json, application/json;q=0.9",
    r#"multipart/mixed;boundary="graphql";subscriptionSpec=1.0"#,
    r#"multipart/mixed;subscriptionSpec="1.0", application/json"#,
    "multipart/mixed",
];

fn asking(server: &Server, accept: &str, text: &str) -> RequestBuilder {
    server.post().header("accept", accept).json(&query(text))
}

async fn follow(server: &Server, text: &str) -> Going {
    Going::of(asking(server, ACCEPTS[0], text)).await
}

/// Returns a part with the delimiter after it.
fn part(body: &str) -> String {
    format!("\r\ncontent-type: application/json\r\n\r\n{body}\r\n--graphql")
}

#[tokio::test]
async fn a_subscription_is_a_stream_of_parts() {
    let server = Server::start().await;
    for accept in ACCEPTS {
        let going = Going::of(asking(&server, accept, "subscription { upTo(n: 2) }")).await;
        assert_eq!(going.status(), 200);
        assert_eq!(going.header("content-type"), r#"multipart/mixed;boundary="graphql";subscriptionSpec=1.0"#);
        assert_eq!((going.header("cache-control"), going.header("vary")), ("no-store", "Accept"));
        assert_eq!(going.header("x-accel-buffering"), "no");
        let said = "\r\n--graphql".to_owned()
            + &part(r#"{"payload":{"data":{"upTo":1}}}"#)
            + &part(r#"{"payload":{"data":{"upTo":2}}}"#)
            + "--\r\n";
        assert_eq!(going.end().await, (said, Ended::Whole), "{accept}");
    }
}

#[tokio::test]
async fn each_part_comes_with_the_delimiter_behind_it() {
    let server = Server::start().await;
    let mut going = follow(&server, "subscription { counter }").await;
    going.says("\r\n--graphql").await;
    going.says(&part(r#"{"payload":{"data":{"counter":0}}}"#)).await;
    for step in 1..5 {
        server.control.steps.send(step).expect("it listens");
        // Nothing follows it, and yet it is complete.
        going.says(&part(&format!(r#"{{"payload":{{"data":{{"counter":{step}}}}}}}"#))).await;
    }
    server.control.steps.send(-1).expect("it listens");
    assert_eq!(going.end().await, ("--\r\n".to_owned(), Ended::Whole));
}

#[tokio::test]
async fn a_silent_stream_has_empty_parts() {
    let server = Server::with(|settings| settings.streams.keep_alive = Duration::from_millis(20)).await;
    let mut going = follow(&server, "subscription { counter }").await;
    going.up_to(&part(r#"{"payload":{"data":{"counter":0}}}"#)).await;
    going.says(&part("{}")).await;
    going.says(&part("{}")).await;
}

#[tokio::test]
async fn a_query_is_no_stream_of_parts() {
    let server = Server::start().await;
    for (accept, label) in [(ACCEPTS[0], "application/graphql-response+json"), (ACCEPTS[2], "application/json")] {
        for (document, data) in
            [("{ version }", json!({ "version": 1 })), ("mutation { add(a: 1, b: 2) }", json!({ "add": 3 }))]
        {
            let reply = server.send(asking(&server, accept, document)).await;
            assert_eq!((reply.status, reply.header("content-type")), (200, format!("{label}; charset=utf-8").as_str()));
            assert_eq!(reply.body, json!({ "data": data }));
        }
    }
    server.send(asking(&server, "multipart/mixed", "{ version }")).await.refused(406, "INVALID");
}

#[tokio::test]
async fn a_multipart_of_another_protocol_is_not_meant() {
    let server = Server::start().await;
    for accept in [
        "multipart/mixed;deferSpec=20220824, application/json",
        "multipart/mixed;subscriptionSpec=2.0, application/json",
    ] {
        server.send(asking(&server, accept, "subscription { counter }")).await.refused(400, "INVALID");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_json_where_that_is_welcome_and_else_a_part() {
    let server = Server::start().await;
    server.send(asking(&server, ACCEPTS[0], "subscription {")).await.refused(400, "INVALID");
    for document in ["subscription {", "subscription { nothing }"] {
        let mut going = Going::of(asking(&server, "multipart/mixed", document)).await;
        assert_eq!(going.status(), 200);
        assert_eq!(going.part().await["errors"][0]["extensions"]["code"], "INVALID");
        assert_eq!(going.end().await, ("--\r\n".to_owned(), Ended::Whole));
    }
    // The response has begun when the stream is refused.
    let mut going = follow(&server, "subscription { refused }").await;
    assert_eq!(going.part().await["errors"][0]["extensions"]["code"], "FORBIDDEN");
    assert_eq!(going.end().await, ("--\r\n".to_owned(), Ended::Whole));
}

#[tokio::test]
async fn a_fault_stands_beside_the_payload_and_ends_the_response() {
    let server = Server::start().await;
    let mut going = follow(&server, "subscription { panicking }").await;
    going.says(&("\r\n--graphql".to_owned() + &part(r#"{"payload":{"data":{"panicking":1}}}"#))).await;
    let (said, ended) = going.end().await;
    assert_eq!(ended, Ended::Whole);
    let body = said.strip_prefix("\r\ncontent-type: application/json\r\n\r\n").expect("a part");
    let body: Value = serde_json::from_str(body.strip_suffix("\r\n--graphql--\r\n").expect("the end")).expect("JSON");
    assert_eq!((&body["payload"], body.as_object().expect("an object").len()), (&Value::Null, 2), "{body}");
    assert_eq!(body["errors"][0]["extensions"]["code"], "INTERNAL");
    assert!(!body.to_string().contains("on purpose"));
}

#[tokio::test]
async fn a_stream_that_breaks_off_has_no_last_delimiter() {
    let server = Server::start().await;
    let mut going = follow(&server, "subscription { breaking }").await;
    assert_eq!(going.part().await, json!({ "data": { "breaking": 1 } }));
    assert_eq!(going.end().await, (String::new(), Ended::Broken));
}

#[tokio::test]
async fn a_shutdown_breaks_a_stream_of_parts_off() {
    let server = Server::start().await;
    let mut going = follow(&server, "subscription { counter }").await;
    assert_eq!(going.part().await, json!({ "data": { "counter": 0 } }));
    server.stop.send_replace(true);
    assert_eq!(going.end().await, (String::new(), Ended::Broken));
    server.control.stream_dropped().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_of_parts() {
    let server = Server::start().await;
    let mut going = follow(&server, "subscription { counter }").await;
    assert_eq!(going.part().await, json!({ "data": { "counter": 0 } }));
    drop(going);
    server.control.stream_dropped().await;
}

fn queue(desk: &TestDesk, after: &Value) -> RequestBuilder {
    let body = json!({ "query": QUEUE, "variables": { "after": after } });
    reqwest::Client::new().post(format!("{}/graphql", desk.url)).header("accept", ACCEPTS[0]).json(&body)
}

async fn items(going: &mut Going, count: usize) -> Vec<Value> {
    let mut items = Vec::new();
    while items.len() < count {
        let mut payload = going.part().await;
        assert!(payload.get("errors").is_none(), "{payload}");
        items.push(payload["data"]["incidentQueue"].take());
    }
    items
}

async fn a_stream_of_parts_is_exact_and_goes_on_after_any_item(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let start = present(&desk, &json!({})).await;
    let mut going = Going::of(queue(&desk, &start)).await;
    assert_eq!(items(&mut going, 1).await[0]["__typename"], "Live");
    for number in 0..4 {
        desk.incident(&format!("Incident\r\n--graphql\r\n{number}")).await;
    }
    let all = items(&mut going, 4).await;
    let mut socket = desk.follow(QUEUE, json!({ "after": start })).await;
    for item in &all {
        assert_eq!(&socket.item().await, item);
    }
    let second = TestDesk::open(&database).await;
    for (at, item) in all.iter().enumerate() {
        for node in [&desk, &second] {
            let mut again = Going::of(queue(node, &item["position"])).await;
            let mut rest = items(&mut again, all.len() - at).await;
            assert_eq!(rest.pop().expect("Live")["__typename"], "Live");
            assert_eq!(rest, all[at + 1..], "after item {at}");
        }
    }
}
