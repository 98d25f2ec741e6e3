//! GraphQL over Server-Sent Events in single connection mode: one test for each rule of the protocol, and that a
//! reserved stream which nobody opens harms no other stream.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use watchfloor::server::settings::Settings;
use watchfloor::server::share::group_settings::GroupSettings;

use crate::sse::EVENTS;
use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::going::{Ended, Going};
use crate::support::little::{Server, query};
use crate::support::stream::QUEUE;
use crate::support::waiting::a_moment;

each_database!(a_stream_that_nobody_opens_keeps_no_one_from_sharing);

const TOKEN: &str = "X-GraphQL-Event-Stream-Token";

async fn reserve(server: &Server, account: Option<&str>) -> String {
    let mut request = reqwest::Client::new().put(&server.http);
    if let Some(account) = account {
        request = request.header("Watchfloor-Actor", account);
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 201);
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    answer.text().await.expect("a token")
}

fn opening(server: &Server, token: &str) -> RequestBuilder {
    reqwest::Client::new().get(&server.http).header("accept", EVENTS).header(TOKEN, token)
}

fn putting(server: &Server, token: &str, id: &str, document: &str) -> RequestBuilder {
    let body = json!({ "query": document, "extensions": { "operationId": id } });
    server.post().header(TOKEN, token).json(&body)
}

async fn put(server: &Server, token: &str, id: &str, document: &str) -> u16 {
    putting(server, token, id, document).send().await.expect("an answer").status().as_u16()
}

async fn take_off(server: &Server, token: &str, id: &str) -> u16 {
    let request = reqwest::Client::new().delete(&server.http).header(TOKEN, token).query(&[("operationId", id)]);
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_reserved_stream_is_opened_once_by_its_token() {
    let server = Server::start().await;
    let (first, second) = (reserve(&server, None).await, reserve(&server, None).await);
    assert!(first.len() >= 43 && first != second, "{first} {second}");
    let mut going = Going::of(opening(&server, &first)).await;
    assert_eq!((going.status(), going.header("content-type")), (200, "text/event-stream; charset=utf-8"));
    assert_eq!((going.header("cache-control"), going.header("x-accel-buffering")), ("no-store", "no"));
    going.says(":\n\n").await;
    server.send(opening(&server, &first)).await.refused(409, "CONFLICT");
    server.send(opening(&server, "guessed")).await.refused(404, "NOT_FOUND");
    let blind = reqwest::Client::new().get(&server.http).header("accept", "application/json").header(TOKEN, &second);
    server.send(blind).await.refused(406, "INVALID");
    // As a browser's EventSource does, which cannot send headers of its page.
    let by_address = reqwest::Client::new().get(&server.http).header("accept", EVENTS).query(&[("token", &second)]);
    assert_eq!(Going::of(by_address).await.status(), 200);
}

#[tokio::test]
async fn operations_put_on_a_stream_arrive_there_under_their_ids() {
    let server = Server::start().await;
    let token = reserve(&server, None).await;
    assert_eq!(put(&server, &token, "a\"b", "subscription { upTo(n: 2) }").await, 202, "before the stream is open");
    let mut going = Going::of(opening(&server, &token)).await;
    going
        .says(concat!(
            ":\n\n",
            "event: next\ndata: {\"id\":\"a\\\"b\",\"payload\":{\"data\":{\"upTo\":1}}}\n\n",
            "event: next\ndata: {\"id\":\"a\\\"b\",\"payload\":{\"data\":{\"upTo\":2}}}\n\n",
            "event: complete\ndata: {\"id\":\"a\\\"b\"}\n\n"
        ))
        .await;
    for (id, document, data) in
        [("2", "{ version }", r#"{"version":1}"#), ("3", "mutation { add(a: 1, b: 2) }", r#"{"add":3}"#)]
    {
        let answer = putting(&server, &token, id, document).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.text().await.expect("a body").as_str()), (202, ""));
        let next = format!("event: next\ndata: {{\"id\":\"{id}\",\"payload\":{{\"data\":{data}}}}}\n\n");
        going.says(&format!("{next}event: complete\ndata: {{\"id\":\"{id}\"}}\n\n")).await;
    }
    for id in ["4", "5"] {
        assert_eq!(put(&server, &token, id, "subscription { counter }").await, 202);
        going
            .says(&format!("event: next\ndata: {{\"id\":\"{id}\",\"payload\":{{\"data\":{{\"counter\":0}}}}}}\n\n"))
            .await;
    }
    server.control.steps.send(7).expect("they listen");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (id, event) = going.event().await;
        assert_eq!((id, &event["payload"]), (None, &json!({ "data": { "counter": 7 } })), "the stream has no position");
        ids.push(event["id"].take_text());
    }
    ids.sort();
    assert_eq!(ids, ["4", "5"]);
}

trait TakeText {
    fn take_text(&self) -> String;
}

impl TakeText for Value {
    fn take_text(&self) -> String {
        self.as_str().expect("a text").to_owned()
    }
}

#[tokio::test]
async fn an_operation_that_is_taken_off_delivers_nothing_more() {
    let server = Server::start().await;
    let token = reserve(&server, None).await;
    let mut going = Going::of(opening(&server, &token)).await;
    assert_eq!(put(&server, &token, "1", "subscription { counter }").await, 202);
    assert_eq!(going.event().await.1["payload"], json!({ "data": { "counter": 0 } }));
    assert_eq!(take_off(&server, &token, "1").await, 200);
    server.control.stream_dropped().await;
    assert_eq!(take_off(&server, &token, "1").await, 200, "a second time changes nothing");
    assert_eq!(put(&server, &token, "1", "subscription { upTo(n: 1) }").await, 202, "the id is free again");
    going.says("event: next\ndata: {\"id\":\"1\",\"payload\":{\"data\":{\"upTo\":1}}}\n\n").await;
    going.says("event: complete\ndata: {\"id\":\"1\"}\n\n").await;

    let asked = tokio::spawn(putting(&server, &token, "2", "{ never }").send());
    while server.control.admissions.lock().expect("whole").len() < 4 {
        a_moment().await;
    }
    assert_eq!(take_off(&server, &token, "2").await, 200);
    server.control.stream_dropped().await;
    assert_eq!(asked.await.expect("no panic").expect("an answer").status().as_u16(), 204, "nothing comes of it");
}

#[tokio::test]
async fn what_is_wrong_with_an_operation_is_answered_to_its_request() {
    let server = Server::with(|settings| settings.socket.subscriptions = 2).await;
    let token = reserve(&server, None).await;
    let mut going = Going::of(opening(&server, &token)).await;
    going.says(":\n\n").await;
    let json = "application/json";
    for document in ["{", "{ nothing }", "subscription { nothing }", "subscription { upTo(n: 1) counter }"] {
        let request = putting(&server, &token, "1", document);
        server.send(request.header("accept", "application/graphql-response+json")).await.refused(400, "INVALID");
        server.send(putting(&server, &token, "1", document).header("accept", json)).await.refused(200, "INVALID");
    }
    server.send(putting(&server, &token, "", "{ version }")).await.refused(400, "INVALID");
    let unnamed = server.post().header(TOKEN, &token).json(&query("{ version }"));
    server.send(unnamed).await.refused(400, "INVALID");
    server.send(putting(&server, "guessed", "1", "{ version }")).await.refused(404, "NOT_FOUND");
    let delete = || reqwest::Client::new().delete(&server.http);
    server.send(delete().header(TOKEN, "guessed").query(&[("operationId", "1")])).await.refused(404, "NOT_FOUND");
    server.send(delete().header(TOKEN, &token)).await.refused(400, "INVALID");
    server.send(delete().query(&[("operationId", "1")])).await.refused(400, "INVALID");

    for id in ["1", "2"] {
        assert_eq!(put(&server, &token, id, "subscription { counter }").await, 202);
        assert_eq!(going.event().await.1["id"], id);
    }
    server.send(putting(&server, &token, "1", "subscription { counter }")).await.refused(409, "CONFLICT");
    server.send(putting(&server, &token, "3", "subscription { counter }")).await.refused(400, "LIMIT");
    assert_eq!(take_off(&server, &token, "1").await, 200);
    assert_eq!(put(&server, &token, "3", "subscription { upTo(n: 1) }").await, 202, "there is room again");
    assert_eq!(going.event().await.1["id"], "3");
}

#[tokio::test]
async fn a_token_is_the_callers_who_reserved_it() {
    let server = Server::start().await;
    server
        .send(reqwest::Client::new().put(&server.http).header("Watchfloor-Actor", "stranger"))
        .await
        .refused(401, "UNAUTHENTICATED");
    let token = reserve(&server, Some("ana")).await;
    let bob = |request: RequestBuilder| server.send(request.header("Watchfloor-Actor", "bob"));
    bob(opening(&server, &token)).await.refused(404, "NOT_FOUND");
    let mut going = Going::of(opening(&server, &token)).await;
    going.says(":\n\n").await;
    bob(putting(&server, &token, "1", "{ who }")).await.refused(404, "NOT_FOUND");
    let delete = reqwest::Client::new().delete(&server.http).header(TOKEN, &token);
    bob(delete.query(&[("operationId", "1")])).await.refused(404, "NOT_FOUND");
    for (id, named) in [("1", Some("ana")), ("2", None)] {
        let mut request = putting(&server, &token, id, "{ who }");
        if let Some(named) = named {
            request = request.header("Watchfloor-Actor", named);
        }
        assert_eq!(request.send().await.expect("an answer").status().as_u16(), 202);
        going
            .says(&format!("event: next\ndata: {{\"id\":\"{id}\",\"payload\":{{\"data\":{{\"who\":\"ana\"}}}}}}\n\n"))
            .await;
        going.says(&format!("event: complete\ndata: {{\"id\":\"{id}\"}}\n\n")).await;
    }
}

#[tokio::test]
async fn a_reservation_ends_with_its_stream_and_so_do_its_operations() {
    let server = Server::start().await;
    let token = reserve(&server, None).await;
    let mut going = Going::of(opening(&server, &token)).await;
    assert_eq!(put(&server, &token, "1", "subscription { counter }").await, 202);
    assert_eq!(going.event().await.1["id"], "1");
    drop(going);
    server.control.stream_dropped().await;
    while put(&server, &token, "2", "subscription { upTo(n: 1) }").await != 404 {
        a_moment().await;
    }
    server.send(opening(&server, &token)).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_reservation_that_nobody_opens_ends_after_a_moment() {
    let server = Server::with(|settings| settings.streams.reservation_wait = Duration::from_millis(100)).await;
    let token = reserve(&server, None).await;
    assert_eq!(put(&server, &token, "1", "subscription { counter }").await, 202);
    server.control.stream_dropped().await;
    server.send(opening(&server, &token)).await.refused(404, "NOT_FOUND");
    let opened = reserve(&server, None).await;
    let mut going = Going::of(opening(&server, &opened)).await;
    let last = reserve(&server, None).await;
    // It was reserved later, so it ends later than the opened stream's timeout.
    while put(&server, &last, "1", "{ version }").await == 202 {
        take_off(&server, &last, "1").await;
    }
    assert_eq!(put(&server, &opened, "1", "subscription { upTo(n: 1) }").await, 202, "the opened one stays");
    assert_eq!(going.event().await.1["id"], "1");
}

#[tokio::test]
async fn one_reservation_more_than_the_bound_is_503() {
    let server = Server::with(|settings| settings.streams.reservations = 2).await;
    let (first, _second) = (reserve(&server, None).await, reserve(&server, None).await);
    server.send(reqwest::Client::new().put(&server.http)).await.refused(503, "LIMIT");
    let _going = Going::of(opening(&server, &first)).await;
    reserve(&server, None).await;
}

#[tokio::test]
async fn an_account_has_its_share_of_reservations() {
    let server = Server::with(|settings| settings.streams.reservations_per_principal = 2).await;
    let (first, _second) = (reserve(&server, None).await, reserve(&server, None).await);
    server.send(reqwest::Client::new().put(&server.http)).await.refused(503, "LIMIT");
    reserve(&server, Some("ana")).await;
    let _going = Going::of(opening(&server, &first)).await;
    reserve(&server, None).await;
}

#[tokio::test]
async fn an_address_has_its_share_of_reservations() {
    let server = Server::with(|settings| settings.streams.reservations_per_address = 2).await;
    let (_first, _second) = (reserve(&server, None).await, reserve(&server, Some("ana")).await);
    let third = reqwest::Client::new().put(&server.http).header("Watchfloor-Actor", "ben");
    server.send(third).await.refused(503, "LIMIT");
    let elsewhere = reqwest::Client::builder().local_address("127.0.0.2".parse().ok()).build().expect("a client");
    let answer = elsewhere.put(&server.http).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 201, "another address has its own");
}

#[tokio::test]
async fn an_operation_that_breaks_off_takes_the_stream_with_it() {
    let server = Server::start().await;
    let token = reserve(&server, None).await;
    let mut going = Going::of(opening(&server, &token)).await;
    assert_eq!(put(&server, &token, "1", "subscription { breaking }").await, 202);
    assert_eq!(going.event().await.1["payload"], json!({ "data": { "breaking": 1 } }));
    assert_eq!(going.end().await, (String::new(), Ended::Broken));
}

#[tokio::test]
async fn a_shutdown_breaks_a_stream_of_several_off() {
    let server = Server::start().await;
    let token = reserve(&server, None).await;
    let mut going = Going::of(opening(&server, &token)).await;
    assert_eq!(put(&server, &token, "1", "subscription { counter }").await, 202);
    assert_eq!(going.event().await.1["id"], "1");
    server.stop.send_replace(true);
    assert_eq!(going.end().await, (String::new(), Ended::Broken));
    server.control.stream_dropped().await;
}

async fn a_stream_that_nobody_opens_keeps_no_one_from_sharing(database: TestDatabase) {
    let groups = GroupSettings::default();
    let counters = groups.counters.clone();
    let settings = Settings { groups, ..Settings::default() };
    let desk = TestDesk::open_with(&database, Options { settings, ..Options::default() }).await;
    let (client, url) = (reqwest::Client::new(), format!("{}/graphql", desk.url));
    let token = client.put(&url).send().await.expect("an answer").text().await.expect("a token");
    let variables = json!({ "filter": {} });
    let body = json!({ "query": QUEUE, "variables": variables, "extensions": { "operationId": "1" } });
    let put = client.post(&url).header(TOKEN, &token).json(&body).send().await.expect("an answer");
    assert_eq!(put.status().as_u16(), 202);
    // The stream has begun, and nobody reads it.
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = desk.follow(QUEUE, variables.clone()).await;
        socket.items_until("Live").await;
        sockets.push(socket);
    }
    // The fourth is the stream itself, if it came that far before it was abandoned.
    assert!(
        counters.open() == 1 && counters.members() >= 3,
        "{} groups, {} members",
        counters.open(),
        counters.members()
    );
    let mut late = Going::of(client.get(&url).header("accept", EVENTS).header(TOKEN, &token)).await;
    let said = late.event().await.1;
    assert_eq!(said["payload"]["data"]["incidentQueue"]["__typename"], "Live", "{said}");
}
