//! The subprotocol `graphql-ws` of subscriptions-transport-ws: one test for each rule and close code, on the little
//! desk.
//!
//! Where its text is silent, the code of its last server (0.11) decides, and `docs/DESIGN.md` lists our differences.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::little::{Server, bomb, code, query};
use crate::support::socket::{Frame, Socket};

/// Returns a client's first message, on behalf of an account.
fn init(account: &str) -> Value {
    json!({ "type": "connection_init", "payload": { "Watchfloor-Actor": account } })
}

fn start(id: &str, text: &str) -> Value {
    json!({ "type": "start", "id": id, "payload": query(text) })
}

fn stop(id: &str) -> Value {
    json!({ "type": "stop", "id": id })
}

fn data(id: &str, data: Value) -> Frame {
    Frame::Json(json!({ "type": "data", "id": id, "payload": Value::from_iter([("data", data)]) }))
}

fn complete(id: &str) -> Frame {
    Frame::Json(json!({ "type": "complete", "id": id }))
}

/// Returns the next frame that is no keep-alive.
async fn hears(socket: &mut Socket) -> Frame {
    loop {
        match socket.frame().await {
            Frame::Json(message) if message["type"] == "ka" => {}
            frame => return frame,
        }
    }
}

/// Returns the `error` message of an operation, whose text its client shows.
async fn error(socket: &mut Socket, id: &str) -> Value {
    let Frame::Json(mut error) = hears(socket).await else { panic!("not a message") };
    assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!(id)), "{error}");
    assert!(error["payload"]["message"].is_string(), "{error}");
    error["payload"].take()
}

/// Opens an acknowledged socket.
async fn ready(server: &Server) -> Socket {
    let mut socket = Socket::legacy(&server.ws).await;
    socket.send(json!({ "type": "connection_init", "payload": {} })).await;
    assert_eq!(hears(&mut socket).await, Frame::Json(json!({ "type": "connection_ack" })));
    socket
}

/// Checks that no other message was sent: the answer to an unknown message comes next.
async fn is_quiet(socket: &mut Socket) {
    socket.send(json!({ "type": "anything else?", "id": "quiet" })).await;
    error(socket, "quiet").await;
}

#[tokio::test]
async fn the_predecessor_is_echoed_and_spoken_where_it_is_what_the_client_prefers() {
    for offer in ["soap, graphql-ws", "graphql-ws, graphql-transport-ws"] {
        speaks_as_the_predecessor(offer).await;
    }
}

async fn speaks_as_the_predecessor(offer: &str) {
    let server = Server::start().await;
    let offer = [("sec-websocket-protocol", offer)];
    let (mut socket, response) = Socket::open_with(&server.ws, &offer).await.expect("the upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "graphql-ws");
    socket.send(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.frame().await, Frame::Json(json!({ "type": "connection_ack" })));
    socket.send(start("1", "{ version }")).await;
    assert_eq!(hears(&mut socket).await, data("1", json!({ "version": 1 })));
}

#[tokio::test]
async fn the_predecessor_can_be_switched_off() {
    let server = Server::with(|settings| settings.socket.legacy = false).await;
    let offer = [("sec-websocket-protocol", "graphql-ws")];
    let Err(refused) = Socket::open_with(&server.ws, &offer).await else { panic!("it came in") };
    assert_eq!(refused.status().as_u16(), 400);
    let body: Value = serde_json::from_slice(refused.body().as_deref().unwrap_or_default()).expect("JSON");
    assert_eq!(code(&body["errors"][0]), "INVALID");
    Socket::ready(&server.ws).await;
}

#[tokio::test]
async fn a_sign_of_life_follows_the_ack_and_comes_again_and_again() {
    let server = Server::with(|settings| settings.socket.keep_alive_every = Duration::from_millis(20)).await;
    let mut socket = Socket::legacy(&server.ws).await;
    socket.send(json!({ "type": "connection_init", "payload": null })).await;
    assert_eq!(socket.json().await, json!({ "type": "connection_ack" }));
    for _ in 0..5 {
        assert_eq!(socket.json().await, json!({ "type": "ka" }));
    }
}

#[tokio::test]
async fn there_is_no_sign_of_life_before_the_ack_nor_on_the_newer_protocol() {
    let server = Server::with(|settings| {
        settings.socket.keep_alive_every = Duration::from_millis(1);
        // Long enough for a busy machine: a peer that answers two pings too late is closed.
        settings.socket.ping_every = Duration::from_millis(200);
        settings.socket.init_wait = Duration::from_millis(200);
    })
    .await;
    let mut newer = Socket::ready(&server.ws).await;
    let mut pending = Socket::legacy(&server.ws).await;
    pending.send(init("slow")).await;
    for _ in 0..2 {
        assert_eq!(newer.any_frame().await, Frame::Ping);
        assert_eq!(pending.any_frame().await, Frame::Ping, "a slow admission is no 4408 either");
    }
    server.control.let_in.notify_one();
    assert_eq!(pending.json().await, json!({ "type": "connection_ack" }));
    assert_eq!(newer.any_frame().await, Frame::Ping);
}

#[tokio::test]
async fn a_socket_that_says_nothing_closes_4408() {
    let server = Server::with(|settings| settings.socket.init_wait = Duration::from_millis(30)).await;
    let closed = Socket::legacy(&server.ws).await.end().await;
    assert_eq!(closed, Frame::Closed(4408, "Connection initialisation timeout".into()));
}

#[tokio::test]
async fn what_is_started_before_the_ack_waits_for_it() {
    let server = Server::start().await;
    let mut socket = Socket::legacy(&server.ws).await;
    // As the real client does: it does not wait.
    socket.send(init("slow")).await;
    socket.send(start("1", "{ who }")).await;
    socket.send(start("2", "subscription { upTo(n: 1) }")).await;
    server.control.let_in.notify_one();
    assert_eq!(hears(&mut socket).await, Frame::Json(json!({ "type": "connection_ack" })));
    // The test admits each operation separately.
    server.control.let_in.notify_one();
    let first = [hears(&mut socket).await, hears(&mut socket).await];
    server.control.let_in.notify_one();
    let second = [hears(&mut socket).await, hears(&mut socket).await];
    let expected =
        [[data("1", json!({ "who": "slow" })), complete("1")], [data("2", json!({ "upTo": 1 })), complete("2")]];
    assert_eq!([first, second], expected);
}

#[tokio::test]
async fn what_is_started_before_any_init_is_an_error_and_not_executed() {
    let server = Server::start().await;
    let mut socket = Socket::legacy(&server.ws).await;
    socket.send(start("1", "{ version }")).await;
    assert_eq!(code(&error(&mut socket, "1").await), "UNAUTHENTICATED");
    assert!(server.control.admissions.lock().expect("whole").is_empty());
    socket.send(init("ana")).await;
    assert_eq!(hears(&mut socket).await, Frame::Json(json!({ "type": "connection_ack" })));
    socket.send(start("1", "{ who }")).await;
    assert_eq!(hears(&mut socket).await, data("1", json!({ "who": "ana" })));
}

#[tokio::test]
async fn one_who_is_not_let_in_is_told_why_and_closed() {
    let server = Server::with(|settings| settings.admission.sockets_per_principal = 1).await;
    let mut first = Socket::legacy(&server.ws).await;
    first.send(init("ana")).await;
    assert_eq!(hears(&mut first).await, Frame::Json(json!({ "type": "connection_ack" })));
    for (account, word, close) in
        [("stranger", "UNAUTHENTICATED", 4403), ("faulty", "INTERNAL", 1013), ("ana", "LIMIT", 1013)]
    {
        let mut socket = Socket::legacy(&server.ws).await;
        socket.send(init(account)).await;
        socket.send(start("1", "{ version }")).await;
        let refused = socket.json().await;
        assert_eq!((&refused["type"], code(&refused["payload"])), (&json!("connection_error"), word), "{refused}");
        assert!(!refused.to_string().contains("hunter2"));
        let reason = refused["payload"]["message"].as_str().expect("a message").to_owned();
        assert_eq!(socket.frame().await, Frame::Closed(close, reason));
    }
}

#[tokio::test]
async fn a_second_init_closes_4429() {
    let server = Server::start().await;
    let mut socket = ready(&server).await;
    socket.send(init("ben")).await;
    assert_eq!(socket.end().await, Frame::Closed(4429, "Too many initialisation requests".into()));

    let mut pending = Socket::legacy(&server.ws).await;
    pending.send(init("slow")).await;
    pending.send(init("ben")).await;
    server.control.let_in.notify_one();
    assert_eq!(pending.end().await, Frame::Closed(4429, "Too many initialisation requests".into()));
    assert!(!server.control.admissions.lock().expect("whole").contains(&Some("ben".into())));
}

#[tokio::test]
async fn queries_and_mutations_are_one_data_and_complete() {
    let server = Server::start().await;
    let mut socket = ready(&server).await;
    for (text, result) in
        [("{ version }", json!({ "version": 1 })), ("mutation { add(a: 1, b: 2) }", json!({ "add": 3 }))]
    {
        socket.send(start("1", text)).await;
        assert_eq!(hears(&mut socket).await, data("1", result));
        assert_eq!(hears(&mut socket).await, complete("1"));
    }
    let variables = json!({ "query": "query A { version } query B($t: String!) { length(text: $t) }",
        "operationName": "B", "variables": { "t": "four" }, "extensions": {} });
    socket.send(json!({ "type": "start", "id": "\"2\"", "payload": variables })).await;
    assert_eq!(hears(&mut socket).await, data("\"2\"", json!({ "length": 4 })));
    assert_eq!(hears(&mut socket).await, complete("\"2\""));
    socket.send(start("3", "{ refused }")).await;
    let Frame::Json(failed) = hears(&mut socket).await else { panic!("not a message") };
    assert_eq!((&failed["type"], &failed["payload"]["data"]), (&json!("data"), &Value::Null), "a result");
    assert_eq!(code(&failed["payload"]["errors"][0]), "CONFLICT");
    assert_eq!(hears(&mut socket).await, complete("3"));
}

#[tokio::test]
async fn a_stream_arrives_in_order_and_completes_once() {
    let server = Server::start().await;
    let mut socket = ready(&server).await;
    socket.send(start("s", "subscription { upTo(n: 1000) }")).await;
    for n in 1..=1_000 {
        assert_eq!(hears(&mut socket).await, data("s", json!({ "upTo": n })));
    }
    assert_eq!(hears(&mut socket).await, complete("s"));
    is_quiet(&mut socket).await;
}

#[tokio::test]
async fn an_error_of_the_request_is_one_error_and_no_complete() {
    let server = Server::start().await;
    let mut socket = ready(&server).await;
    for (text, expected) in [
        ("{", "INVALID"),
        ("{ nothing }", "INVALID"),
        ("subscription { nothing }", "INVALID"),
        ("query Q($t: String!) { length(text: $t) }", "INVALID"),
        ("subscription { refused }", "FORBIDDEN"),
        ("{ panicking }", "INTERNAL"),
        (&bomb(), "LIMIT"),
    ] {
        socket.send(start("same", text)).await;
        assert_eq!(code(&error(&mut socket, "same").await), expected, "{text}");
    }
    is_quiet(&mut socket).await;
}

#[tokio::test]
async fn an_id_that_is_started_again_is_another_operation() {
    let server = Server::start().await;
    let mut socket = ready(&server).await;
    socket.send(start("1", "subscription { counter }")).await;
    assert_eq!(hears(&mut socket).await, data("1", json!({ "counter": 0 })));
    socket.send(start("1", "subscription { upTo(n: 2) }")).await;
    server.control.stream_dropped().await;
    for n in 1..=2 {
        assert_eq!(hears(&mut socket).await, data("1", json!({ "upTo": n })));
    }
    assert_eq!(hears(&mut socket).await, complete("1"), "the second, and no word of the first");
    is_quiet(&mut socket).await;
}

#[tokio::test]
async fn a_stop_ends_the_stream_and_is_confirmed_once() {
    let server = Server::with(|settings| settings.socket.outbox_bytes = 100_000_000).await;
    let mut socket = Socket::narrow(&server.ws, "graphql-ws").await;
    socket.send(json!({ "type": "connection_init" })).await;
    assert_eq!(hears(&mut socket).await, Frame::Json(json!({ "type": "connection_ack" })));
    // More than the connection's buffers hold while its client does not read, so some of it is in the outbox.
    socket.send(start("flood", "subscription { endless(bytes: 200000) }")).await;
    server.control.made.subscribe().wait_for(|made| *made >= 100).await.expect("it makes them");
    socket.send(stop("flood")).await;
    server.control.stream_dropped().await;
    loop {
        match hears(&mut socket).await {
            Frame::Json(message) if message["type"] == "data" => {}
            other => break assert_eq!(other, complete("flood")),
        }
    }
    socket.send(stop("flood")).await;
    socket.send(stop("nobody")).await;
    is_quiet(&mut socket).await;
    socket.send(start("after", "subscription { upTo(n: 500) }")).await;
    for n in 1..=500 {
        assert_eq!(hears(&mut socket).await, data("after", json!({ "upTo": n })));
    }
}

#[tokio::test]
async fn a_word_that_is_none_is_answered_and_the_socket_stays() {
    let server = Server::start().await;
    let mut socket = ready(&server).await;
    socket.send(start("1", "subscription { counter }")).await;
    assert_eq!(hears(&mut socket).await, data("1", json!({ "counter": 0 })));
    for message in ["nonsense", "[]", r#""start""#, "{"] {
        socket.send_raw(Message::text(message)).await;
        let Frame::Json(refused) = hears(&mut socket).await else { panic!("another end for {message}") };
        assert_eq!((&refused["type"], code(&refused["payload"])), (&json!("connection_error"), "INVALID"), "{message}");
    }
    let long = "ü".repeat(500);
    for message in [
        json!({ "type": "subscribe", "id": "2", "payload": query("{ version }") }),
        json!({ "type": "ping", "id": "2" }),
        json!({ "type": "data", "id": "2", "payload": {} }),
        json!({ "type": 1, "id": "2" }),
        json!({ "id": "2" }),
        json!({ "type": "start", "id": "2" }),
        json!({ "type": "start", "id": "2", "payload": "{ version }" }),
        json!({ "type": "start", "id": "2", "payload": {} }),
        json!({ "type": "start", "id": "2", "payload": { "query": "{ version }", "variables": [] } }),
        json!({ "type": "start", "id": long, "payload": query("{ version }") }),
    ] {
        socket.send(message.clone()).await;
        let id = message["id"].as_str().expect("an id");
        assert_eq!(code(&error(&mut socket, id).await), "INVALID", "{message}");
    }
    for message in [json!({ "type": "start", "payload": query("{ version }") }), json!({ "type": "stop", "id": 7 })] {
        socket.send(message.clone()).await;
        let Frame::Json(refused) = hears(&mut socket).await else { panic!("another end for {message}") };
        assert_eq!((&refused["type"], refused.get("id")), (&json!("error"), None), "{refused}");
    }
    server.control.steps.send(7).expect("it listens");
    assert_eq!(hears(&mut socket).await, data("1", json!({ "counter": 7 })));
}

#[tokio::test]
async fn one_who_takes_leave_is_let_go() {
    let server = Server::start().await;
    let mut socket = ready(&server).await;
    socket.send(start("1", "subscription { counter }")).await;
    assert_eq!(hears(&mut socket).await, data("1", json!({ "counter": 0 })));
    socket.send(json!({ "id": null, "type": "connection_terminate", "payload": null })).await;
    assert_eq!(hears(&mut socket).await, Frame::Closed(1000, String::new()));
    server.control.stream_dropped().await;
}

#[tokio::test]
async fn a_binary_message_and_one_beyond_the_bound_close_4400() {
    let server = Server::with(|settings| settings.socket.message_bytes = 10_000).await;
    let binary = Message::binary(br#"{"type":"stop","id":"1"}"#.to_vec());
    let large = Message::text(json!({ "type": "stop", "id": "x".repeat(10_000) }).to_string());
    for message in [binary, large] {
        let mut socket = ready(&server).await;
        socket.send_raw(message).await;
        assert!(matches!(socket.end().await, Frame::Closed(4400, _)));
    }
}

#[tokio::test]
async fn one_operation_more_than_the_bound_is_an_error() {
    let server = Server::with(|settings| settings.socket.subscriptions = 1).await;
    let mut socket = ready(&server).await;
    socket.send(start("1", "subscription { counter }")).await;
    assert_eq!(hears(&mut socket).await, data("1", json!({ "counter": 0 })));
    socket.send(start("2", "subscription { counter }")).await;
    assert_eq!(code(&error(&mut socket, "2").await), "LIMIT");
    socket.send(start("1", "subscription { counter }")).await;
    assert_eq!(hears(&mut socket).await, data("1", json!({ "counter": 0 })), "the first's place is its own");
}

#[tokio::test]
async fn a_query_that_is_named_by_its_hash_is_asked_for() {
    let server = Server::start().await;
    let mut socket = ready(&server).await;
    let payload = json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": "a".repeat(64) } } });
    socket.send(json!({ "type": "start", "id": "1", "payload": payload })).await;
    assert_eq!(code(&error(&mut socket, "1").await), "PERSISTED_QUERY_NOT_SUPPORTED");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_1013() {
    let server = Server::with(|settings| {
        settings.socket.write_deadline = Duration::from_millis(100);
        settings.socket.close_wait = Duration::from_secs(20);
    })
    .await;
    let mut socket = Socket::narrow(&server.ws, "graphql-ws").await;
    socket.send(json!({ "type": "connection_init" })).await;
    socket.send(start("1", "subscription { endless(bytes: 100000) }")).await;
    server.control.stream_dropped().await;
    assert_eq!(socket.end().await, Frame::Closed(1013, "the client does not read fast enough".into()));
}

#[tokio::test]
async fn a_shutdown_closes_1012() {
    let server = Server::start().await;
    let mut socket = ready(&server).await;
    socket.send(start("1", "subscription { counter }")).await;
    assert_eq!(hears(&mut socket).await, data("1", json!({ "counter": 0 })));
    server.stop.send_replace(true);
    assert!(matches!(socket.end().await, Frame::Closed(1012, _)));
    server.control.stream_dropped().await;
}
