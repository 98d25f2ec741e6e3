//! GraphQL over Server-Sent Events in distinct connections mode: one test for each rule of the protocol, and exact
//! streams of the desk through it.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use watchfloor::server::settings::Settings;
use watchfloor::server::share::group_settings::GroupSettings;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::going::{Ended, Going};
use crate::support::little::{Server, query};
use crate::support::stream::{QUEUE, present, short};
use crate::support::waiting::a_moment;

each_database!(
    a_stream_of_events_is_exact_and_goes_on_after_the_last_event_id,
    two_streams_of_events_share_one_execution,
    a_last_event_id_that_is_no_position_is_refused_as_an_after_is,
    what_has_no_after_takes_no_last_event_id,
);

pub(crate) const EVENTS: &str = "text/event-stream";

fn asking(server: &Server, text: &str) -> RequestBuilder {
    server.post().header("accept", EVENTS).json(&query(text))
}

async fn follow(server: &Server, text: &str) -> Going {
    Going::of(asking(server, text)).await
}

// ---- one stream for each operation ----

#[tokio::test]
async fn a_subscription_is_a_stream_of_events() {
    let server = Server::start().await;
    let get = reqwest::Client::new().get(&server.http).header("accept", EVENTS);
    for request in [
        asking(&server, "subscription { upTo(n: 2) }"),
        get.query(&[("query", "subscription($n: Int!) { upTo(n: $n) }"), ("variables", r#"{"n":2}"#)]),
    ] {
        let going = Going::of(request).await;
        assert_eq!(going.status(), 200);
        assert_eq!(going.header("content-type"), "text/event-stream; charset=utf-8");
        assert_eq!((going.header("cache-control"), going.header("vary")), ("no-store", "Accept"));
        assert_eq!(going.header("x-accel-buffering"), "no");
        let said = concat!(
            ":\n\n",
            "event: next\ndata: {\"data\":{\"upTo\":1}}\n\n",
            "event: next\ndata: {\"data\":{\"upTo\":2}}\n\n",
            "event: complete\ndata:\n\n"
        );
        assert_eq!(going.end().await, (said.to_owned(), Ended::Whole));
    }
}

#[tokio::test]
async fn each_event_is_sent_at_once() {
    let server = Server::start().await;
    let mut going = follow(&server, "subscription { counter }").await;
    going.says(":\n\nevent: next\ndata: {\"data\":{\"counter\":0}}\n\n").await;
    for step in 1..20 {
        server.control.steps.send(step).expect("it listens");
        going.says(&format!("event: next\ndata: {{\"data\":{{\"counter\":{step}}}}}\n\n")).await;
    }
    server.control.steps.send(-1).expect("it listens");
    assert_eq!(going.end().await, ("event: complete\ndata:\n\n".to_owned(), Ended::Whole));
}

#[tokio::test]
async fn a_query_and_a_mutation_are_one_event_and_complete() {
    let server = Server::start().await;
    for (document, data) in [("{ version }", r#"{"version":1}"#), ("mutation { add(a: 1, b: 2) }", r#"{"add":3}"#)] {
        let going = follow(&server, document).await;
        assert_eq!((going.status(), going.header("content-type")), (200, "text/event-stream; charset=utf-8"));
        let said = format!("event: next\ndata: {{\"data\":{data}}}\n\nevent: complete\ndata:\n\n");
        assert_eq!(going.end().await, (said, Ended::Whole));
    }
    let get = reqwest::Client::new().get(&server.http).header("accept", EVENTS);
    let reply = server.send(get.query(&[("query", "mutation { add(a: 1, b: 2) }")])).await;
    reply.refused(405, "INVALID");
    assert_eq!(reply.header("allow"), "POST");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_an_event_and_complete() {
    let server = Server::start().await;
    let post = |body: &str| {
        server.post().header("accept", EVENTS).header("content-type", "application/json").body(body.to_owned())
    };
    let by_hash = json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": "a".repeat(64) } } });
    let get = reqwest::Client::new().get(&server.http).header("accept", EVENTS);
    for (request, code) in [
        (asking(&server, "subscription {"), "INVALID"),
        (asking(&server, "subscription { nothing }"), "INVALID"),
        (asking(&server, "subscription { upTo(n: \"x\") }"), "INVALID"),
        (asking(&server, "subscription { upTo(n: 1) counter }"), "INVALID"),
        (asking(&server, "{ nothing }"), "INVALID"),
        (asking(&server, "subscription { refused }"), "FORBIDDEN"),
        (post("{}"), "INVALID"),
        (post("no JSON"), "INVALID"),
        (post(&by_hash.to_string()), "PERSISTED_QUERY_NOT_SUPPORTED"),
        (get.query(&[("extensions", by_hash["extensions"].to_string())]), "PERSISTED_QUERY_NOT_SUPPORTED"),
    ] {
        let mut going = Going::of(request).await;
        assert_eq!((going.status(), going.header("content-type")), (200, "text/event-stream; charset=utf-8"));
        let (id, body) = going.event().await;
        assert_eq!((id, &body["errors"][0]["extensions"]["code"]), (None, &json!(code)), "{body}");
        assert!(body.get("data").is_none(), "{body}");
        assert_eq!(going.end().await, ("event: complete\ndata:\n\n".to_owned(), Ended::Whole));
    }
}

#[tokio::test]
async fn what_is_no_request_keeps_its_status() {
    let server = Server::with(|settings| settings.http.body_bytes = 1_000).await;
    let form = server.post().header("accept", EVENTS).header("content-type", "text/plain").body("{}");
    server.send(form).await.refused(415, "INVALID");
    server.send(asking(&server, &"x".repeat(2_000))).await.refused(413, "LIMIT");
    let stranger = asking(&server, "subscription { counter }").header("Watchfloor-Actor", "stranger");
    server.send(stranger).await.refused(401, "UNAUTHENTICATED");
    let faulty = asking(&server, "subscription { counter }").header("Watchfloor-Actor", "faulty");
    server.send(faulty).await.refused(500, "INTERNAL");
}

#[tokio::test]
async fn an_item_that_fails_is_an_event_and_the_stream_goes_on() {
    let server = Server::start().await;
    let mut going = follow(&server, "subscription { failing }").await;
    assert_eq!(going.event().await.1, json!({ "data": { "failing": 1 } }));
    assert_eq!(going.event().await.1["errors"][0]["extensions"]["code"], "INTERNAL");
    assert_eq!(going.event().await.1, json!({ "data": { "failing": 3 } }));
    assert_eq!(going.end().await, ("event: complete\ndata:\n\n".to_owned(), Ended::Whole));
}

#[tokio::test]
async fn a_panic_costs_its_own_stream_only() {
    let server = Server::start().await;
    let mut other = follow(&server, "subscription { counter }").await;
    assert_eq!(other.event().await.1, json!({ "data": { "counter": 0 } }));
    let mut going = follow(&server, "subscription { panicking }").await;
    assert_eq!(going.event().await.1, json!({ "data": { "panicking": 1 } }));
    let (_, body) = going.event().await;
    assert_eq!(body["errors"][0]["extensions"]["code"], "INTERNAL");
    assert!(!body.to_string().contains("on purpose"));
    assert_eq!(going.end().await, ("event: complete\ndata:\n\n".to_owned(), Ended::Whole));
    server.control.steps.send(1).expect("it listens");
    assert_eq!(other.event().await.1, json!({ "data": { "counter": 1 } }));
}

#[tokio::test]
async fn a_text_with_line_breaks_is_one_line_of_data() {
    let server = Server::start().await;
    let text = "one\ntwo\r\nthree\rfour\u{2028}five\n\ndata: six\n\n";
    let body = json!({ "query": "subscription($text: String!) { echo(text: $text) }", "variables": { "text": text } });
    let mut going = Going::of(server.post().header("accept", EVENTS).json(&body)).await;
    assert_eq!(going.event().await.1, json!({ "data": { "echo": text } }));
    assert_eq!(going.end().await.0, "event: complete\ndata:\n\n");
}

#[tokio::test]
async fn a_silent_stream_says_that_it_lives() {
    let server = Server::with(|settings| settings.streams.keep_alive = Duration::from_millis(20)).await;
    let mut going = follow(&server, "subscription { counter }").await;
    going.says(":\n\nevent: next\ndata: {\"data\":{\"counter\":0}}\n\n:\n\n:\n\n:\n\n").await;
    server.control.steps.send(1).expect("it listens");
    assert_eq!(going.event().await.1, json!({ "data": { "counter": 1 } }));
}

// ---- bounds and endings ----

#[tokio::test]
async fn a_stream_that_breaks_off_does_not_say_complete() {
    let server = Server::start().await;
    let mut going = follow(&server, "subscription { breaking }").await;
    assert_eq!(going.event().await.1, json!({ "data": { "breaking": 1 } }));
    assert_eq!(going.end().await, (String::new(), Ended::Broken));
}

#[tokio::test]
async fn a_shutdown_breaks_streams_off_and_can_be_waited_for() {
    let server = Server::start().await;
    let mut going = follow(&server, "subscription { counter }").await;
    assert_eq!(going.event().await.1, json!({ "data": { "counter": 0 } }));
    server.stop.send_replace(true);
    server.control.stream_dropped().await;
    assert_eq!(going.end().await, (String::new(), Ended::Broken));
    server.task.abort();
    tokio::time::timeout(Duration::from_secs(10), server.stop.closed()).await.expect("no stream is left");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream() {
    let server = Server::start().await;
    let mut going = follow(&server, "subscription { counter }").await;
    assert_eq!(going.event().await.1, json!({ "data": { "counter": 0 } }));
    drop(going);
    server.control.stream_dropped().await;
}

#[tokio::test]
async fn one_stream_more_than_the_bound_of_sockets_is_503() {
    let of_address = |settings: &mut Settings| settings.admission.sockets_per_address = 2;
    let in_all = |settings: &mut Settings| settings.admission.sockets = 2;
    for server in [Server::with(of_address).await, Server::with(in_all).await] {
        let first = follow(&server, "subscription { counter }").await;
        let parts = server.post().header("accept", "multipart/mixed").json(&query("subscription { counter }"));
        let _second = Going::of(parts).await;
        server.send(asking(&server, "subscription { counter }")).await.refused(503, "LIMIT");
        assert_eq!(server.ask(query("{ version }")).await.status, 200, "requests that end are not counted");
        drop(first);
        // Its place is free as soon as the server has noticed that it left.
        while follow(&server, "subscription { counter }").await.status() != 200 {
            a_moment().await;
        }
    }
}

#[tokio::test]
async fn one_stream_more_than_the_bound_of_an_account_is_503() {
    let server = Server::with(|settings| settings.admission.sockets_per_principal = 1).await;
    let of = |account: &str| asking(&server, "subscription { counter }").header("watchfloor-actor", account);
    let first = Going::of(of("ana")).await;
    assert_eq!(first.status(), 200);
    server.send(of("ana")).await.refused(503, "LIMIT");
    assert_eq!(Going::of(of("bob")).await.status(), 200, "another account has places of its own");
    let token = reqwest::Client::new().put(&server.http).header("watchfloor-actor", "ana");
    let token = token.send().await.expect("an answer").text().await.expect("a token");
    let open = reqwest::Client::new().get(&server.http).header("accept", EVENTS).query(&[("token", &token)]);
    server.send(open).await.refused(503, "LIMIT");
}

/// Opens a connection with small buffers, and sends a request on it.
async fn narrow(server: &Server, accept: &str, document: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 * 1024).expect("a small buffer");
    let mut stream = socket.connect(server.address().parse().expect("an address")).await.expect("a connection");
    let body = query(document).to_string();
    let head = format!("POST /graphql HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\n", server.address());
    let head = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.expect("written");
    stream
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_nobody_else_notices() {
    let server = Server::with(|settings| settings.http.write_deadline = Duration::from_millis(200)).await;
    let mut quick = follow(&server, "subscription { counter }").await;
    assert_eq!(quick.event().await.1, json!({ "data": { "counter": 0 } }));
    for accept in [EVENTS, "multipart/mixed"] {
        let mut slow = narrow(&server, accept, "subscription { endless(bytes: 100000) }").await;
        server.control.stream_dropped().await;
        let made = *server.control.made.borrow();
        server.control.steps.send(1).expect("it listens");
        assert_eq!(quick.event().await.1, json!({ "data": { "counter": 1 } }));

        let mut read = Vec::new();
        // A connection that is dropped with bytes in transit may be reset.
        let _ended = slow.read_to_end(&mut read).await;
        let read = String::from_utf8_lossy(&read);
        assert!(read.starts_with("HTTP/1.1 200") && !read.ends_with("\r\n0\r\n\r\n"), "the response is not whole");
        assert!(!read.contains("complete") && !read.contains("graphql--"));
        assert!(read.len() < made * 100_000, "it was cut, and did not get all that was made");
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_stays() {
    let server = Server::with(|settings| settings.http.write_deadline = Duration::from_secs(5)).await;
    let mut slow = narrow(&server, EVENTS, "subscription { endless(bytes: 100000) }").await;
    let mut buffer = vec![0; 64 * 1024];
    let mut read = 0;
    while read < 10_000_000 {
        let bytes = slow.read(&mut buffer).await.expect("it goes on");
        assert!(bytes > 0, "it was cut");
        read += bytes;
    }
}

#[tokio::test]
async fn a_foreign_page_opens_no_stream_and_reserves_none() {
    let server = Server::start().await;
    let client = reqwest::Client::new();
    let get = || client.get(&server.http).header("accept", EVENTS).query(&[("query", "subscription { counter }")]);
    for foreign in
        [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")]
    {
        server.send(get().header(foreign.0, foreign.1)).await.refused(403, "FORBIDDEN");
    }
    for method in [reqwest::Method::PUT, reqwest::Method::DELETE, reqwest::Method::POST] {
        let request = || client.request(method.clone(), &server.http);
        for foreign in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("host", "evil.example")] {
            server.send(request().header(foreign.0, foreign.1)).await.refused(403, "FORBIDDEN");
        }
    }
}

// ---- the desk ----

/// Returns the next item of a stream, and the id of its event.
async fn item(going: &mut Going) -> (String, Value) {
    let (id, mut event) = going.event().await;
    assert!(event.get("errors").is_none(), "{event}");
    (id.expect("an id"), event["data"]["incidentQueue"].take())
}

async fn items(going: &mut Going, typename: &str) -> Vec<Value> {
    let mut items = Vec::new();
    loop {
        let (id, item) = item(going).await;
        assert_eq!(item["position"], id, "an event's id is its item's position");
        let last = item["__typename"] == typename;
        items.push(item);
        if last {
            return items;
        }
    }
}

fn queue(desk: &TestDesk, variables: &Value, last: Option<&Value>) -> RequestBuilder {
    let body = json!({ "query": QUEUE, "variables": variables });
    let request = reqwest::Client::new().post(format!("{}/graphql", desk.url)).header("accept", EVENTS).json(&body);
    match last {
        Some(last) => request.header("Last-Event-ID", last.as_str().expect("a position")),
        None => request,
    }
}

async fn a_stream_of_events_is_exact_and_goes_on_after_the_last_event_id(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let filter = json!({ "tags": { "none": ["noise"] } });
    let start = present(&desk, &filter).await;
    let variables = json!({ "filter": filter, "after": start });
    let mut going = Going::of(queue(&desk, &variables, None)).await;
    assert_eq!(items(&mut going, "Live").await.len(), 1);
    for number in 0..6 {
        desk.incident(&format!("Incident\n{number}")).await;
    }
    let mut all = Vec::new();
    while all.len() < 6 {
        all.push(item(&mut going).await.1);
    }
    // A socket's items equal the events.
    let mut socket = desk.follow(QUEUE, variables.clone()).await;
    for item in &all {
        assert_eq!(&socket.item().await, item);
    }
    let second = TestDesk::open(&database).await;
    for (at, item) in all.iter().enumerate() {
        for node in [&desk, &second] {
            // The `after` of the document is older: a browser resends the page's first request.
            let mut again = Going::of(queue(node, &variables, Some(&item["position"]))).await;
            let mut rest = items(&mut again, "Live").await;
            assert_eq!(short(&rest.pop().expect("Live")).1, "Live");
            assert_eq!(rest, all[at + 1..], "after item {at}");
        }
    }
    // A document without a position resumes as well, and so does one with a literal position.
    let bare = "subscription { incidentQueue(filter: { tags: { none: [\"noise\"] } }) { __typename position } }";
    let written = bare.replace("(filter", &format!("(after: {start}, filter"));
    let defaulted = bare.replace("subscription", &format!("subscription($after: String = {start})"));
    let defaulted = defaulted.replace("(filter", "(after: $after, filter");
    for document in [bare, &written, &defaulted] {
        let request = reqwest::Client::new().post(format!("{}/graphql", desk.url)).header("accept", EVENTS);
        let request = request.header("Last-Event-ID", all[3]["position"].as_str().expect("a position"));
        let mut again = Going::of(request.json(&query(document))).await;
        let rest = items(&mut again, "Live").await;
        let positions: Vec<_> = rest.iter().take(2).map(|item| &item["position"]).collect();
        assert_eq!((rest.len(), positions), (3, vec![&all[4]["position"], &all[5]["position"]]), "{document}");
    }
}

async fn two_streams_of_events_share_one_execution(database: TestDatabase) {
    let groups = GroupSettings::default();
    let counters = groups.counters.clone();
    let settings = Settings { groups, ..Settings::default() };
    let options = Options { settings, heartbeat: Duration::from_secs(600), ..Options::default() };
    let desk = TestDesk::open_with(&database, options).await;
    let variables = json!({ "filter": {} });
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut going = Going::of(queue(&desk, &variables, None)).await;
        assert_eq!(items(&mut going, "Live").await.len(), 1);
        streams.push(going);
    }
    let parts = reqwest::Client::new().post(format!("{}/graphql", desk.url)).header("accept", "multipart/mixed");
    let mut parts = Going::of(parts.json(&json!({ "query": QUEUE, "variables": variables }))).await;
    assert_eq!(parts.part().await["data"]["incidentQueue"]["__typename"], "Live");
    let executed = counters.executed();
    desk.incident("Shared").await;
    let row = item(&mut streams[0]).await.1;
    for going in &mut streams[1..] {
        assert_eq!(item(going).await.1, row);
    }
    assert_eq!(parts.part().await["data"]["incidentQueue"], row);
    assert_eq!((counters.executed() - executed, counters.open(), counters.members()), (1, 1, 4));
}

async fn a_last_event_id_that_is_no_position_is_refused_as_an_after_is(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut by_after = Going::of(queue(&desk, &json!({ "after": "no position" }), None)).await;
    let refused = by_after.event().await.1;
    assert_eq!(refused["errors"][0]["extensions"], json!({ "code": "INVALID", "path": "after" }));
    let start = present(&desk, &json!({})).await;
    for variables in [json!({}), json!({ "after": start })] {
        let mut by_id = Going::of(queue(&desk, &variables, Some(&json!("no position")))).await;
        assert_eq!(by_id.event().await, (None, refused.clone()));
        assert_eq!(by_id.end().await, ("event: complete\ndata:\n\n".to_owned(), Ended::Whole));
    }
    let empty = queue(&desk, &json!({ "after": start }), Some(&json!("")));
    assert_eq!(items(&mut Going::of(empty).await, "Live").await.len(), 1, "an empty one is none");
}

async fn what_has_no_after_takes_no_last_event_id(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let request = reqwest::Client::new().post(format!("{}/graphql", desk.url)).header("accept", EVENTS);
    let request = request.header("Last-Event-ID", "anything");
    let mut going = Going::of(request.json(&query("subscription { queueSummary { unassigned } }"))).await;
    // Alone, and as a member of its group.
    for unassigned in 0..3 {
        let event = (None, json!({ "data": { "queueSummary": { "unassigned": unassigned } } }));
        assert_eq!(going.event().await, event, "no id, as there is nothing to go on from");
        desk.incident("One more").await;
    }
}
