//! The subprotocol `graphql-transport-ws`: one test for each rule and close code, against the little desk.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use watchfloor::server::settings::Settings;

use crate::support::kit::kit;
use crate::support::little::{Server, bomb, code, narrow, port, query};
use crate::support::socket::{Frame, Socket};

#[tokio::test]
async fn a_foreign_page_opens_no_socket() {
    let server = Server::start().await;
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    let own = format!("http://{}", server.address());
    for foreign in [
        ("origin", "http://evil.example"),
        ("origin", "http://localhost:5173"),
        ("origin", &own.replace("127.0.0.1", "evil.localhost")),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("host", "evil.example"),
    ] {
        let Err(refused) = Socket::open_with(&server.ws, &[protocol, foreign]).await else {
            panic!("{foreign:?} came in")
        };
        assert_eq!(refused.status().as_u16(), 403);
        let body: Value = serde_json::from_slice(refused.body().as_deref().unwrap_or_default()).expect("JSON");
        assert_eq!(code(&body["errors"][0]), "FORBIDDEN");
    }
    assert!(Socket::open_with(&server.ws, &[protocol, ("origin", &own)]).await.is_ok());
}

// ---- the handshake ----

#[tokio::test]
async fn a_socket_without_the_subprotocol_is_400() {
    let server = Server::start().await;
    for headers in [&[][..], &[("sec-websocket-protocol", "graphql")], &[("sec-websocket-protocol", "soap, wamp")]] {
        let Err(refused) = Socket::open_with(&server.ws, headers).await else { panic!("{headers:?} came in") };
        assert_eq!(refused.status().as_u16(), 400);
        let body: Value = serde_json::from_slice(refused.body().as_deref().unwrap_or_default()).expect("JSON");
        assert_eq!(code(&body["errors"][0]), "INVALID");
    }
}

#[tokio::test]
async fn the_subprotocol_that_is_echoed_is_the_one_that_is_spoken() {
    let server = Server::start().await;
    for offer in ["graphql-transport-ws", "graphql-transport-ws, graphql-ws", "soap,graphql-transport-ws , graphql-ws"]
    {
        let offer = [("sec-websocket-protocol", offer)];
        let (mut socket, response) = Socket::open_with(&server.ws, &offer).await.expect("the upgrade");
        assert_eq!(response.headers()["sec-websocket-protocol"], "graphql-transport-ws");
        socket.init(json!({})).await;
        socket.subscribe("1", "{ version }").await;
        assert_eq!(socket.json().await["type"], "next");
    }
}

#[tokio::test]
async fn an_upgrade_that_is_none_is_a_coded_400() {
    let server = Server::start().await;
    let request = reqwest::Client::new().get(&server.http).header("upgrade", "websocket");
    server.send(request).await.refused(400, "INVALID");
}

#[tokio::test]
async fn a_socket_that_says_nothing_closes_4408() {
    let server = Server::with(|settings| settings.socket.init_wait = Duration::from_millis(30)).await;
    let closed = Socket::open(&server.ws).await.end().await;
    assert_eq!(closed, Frame::Closed(4408, "Connection initialisation timeout".into()));
}

#[tokio::test]
async fn a_slow_admission_is_no_4408() {
    let server = Server::with(|settings| {
        settings.socket.init_wait = Duration::from_millis(60);
        settings.socket.ping_every = Duration::from_millis(50);
    })
    .await;
    let mut socket = Socket::open(&server.ws).await;
    socket.send(json!({ "type": "connection_init", "payload": { "Watchfloor-Actor": "slow" } })).await;
    for _ in 0..4 {
        assert_eq!(socket.any_frame().await, Frame::Ping);
    }
    server.control.let_in.notify_one();
    assert_eq!(socket.json().await["type"], "connection_ack");
}

#[tokio::test]
async fn a_second_init_closes_4429() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.send(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.end().await, Frame::Closed(4429, "Too many initialisation requests".into()));
}

#[tokio::test]
async fn a_second_init_closes_4429_while_the_first_is_pending() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server.ws).await;
    for _ in 0..2 {
        socket.send(json!({ "type": "connection_init", "payload": { "Watchfloor-Actor": "slow" } })).await;
    }
    assert_eq!(socket.end().await, Frame::Closed(4429, "Too many initialisation requests".into()));
}

#[tokio::test]
async fn a_subscribe_before_the_ack_closes_4401() {
    let server = Server::start().await;
    let mut early = Socket::open(&server.ws).await;
    early.subscribe("1", "{ version }").await;
    assert_eq!(early.end().await, Frame::Closed(4401, "Unauthorized".into()));

    let mut pending = Socket::open(&server.ws).await;
    pending.send(json!({ "type": "connection_init", "payload": { "Watchfloor-Actor": "slow" } })).await;
    pending.subscribe("1", "{ version }").await;
    assert_eq!(pending.end().await, Frame::Closed(4401, "Unauthorized".into()));
}

#[tokio::test]
async fn an_init_that_cannot_be_read_closes_4400() {
    let server = Server::start().await;
    for payload in [
        json!("ana"),
        json!([]),
        json!({ "Watchfloor-Actor": 7 }),
        json!({ "Watchfloor-Actor": "" }),
        json!({ "watchfloor-actor": " " }),
        json!({ "Watchfloor-Actor": "ana", "watchfloor-actor": "ana" }),
    ] {
        let mut socket = Socket::open(&server.ws).await;
        socket.send(json!({ "type": "connection_init", "payload": payload })).await;
        let Frame::Closed(4400, reason) = socket.frame().await else { panic!("another end for {payload}") };
        let whys = ["must be a", "names nobody", "comes twice"];
        assert!(whys.iter().any(|why| reason.contains(why)), "{reason}");
    }
    assert!(server.control.admissions.lock().expect("whole").is_empty());
}

#[tokio::test]
async fn an_init_that_is_refused_closes_4403() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server.ws).await;
    socket.send(json!({ "type": "connection_init", "payload": { "Watchfloor-Actor": "stranger" } })).await;
    assert_eq!(socket.end().await, Frame::Closed(4403, "there is no account stranger".into()));
}

#[tokio::test]
async fn an_init_that_fails_for_a_reason_of_ours_closes_1013() {
    let server = Server::start().await;
    for account in ["faulty", "panicking"] {
        let mut socket = Socket::open(&server.ws).await;
        socket.send(json!({ "type": "connection_init", "payload": { "Watchfloor-Actor": account } })).await;
        let Frame::Closed(1013, reason) = socket.end().await else { panic!("another end") };
        assert!(reason.starts_with("something went wrong here; reference "), "{reason}");
    }
}

#[tokio::test]
async fn a_socket_is_let_in_by_its_payload_or_else_its_header_and_asked_again_for_each_operation() {
    let server = Server::start().await;
    let headers = [("sec-websocket-protocol", "graphql-transport-ws"), ("watchfloor-actor", "ana")];
    let (mut socket, _) = Socket::open_with(&server.ws, &headers).await.expect("the upgrade");
    socket.init(json!({})).await;
    for id in ["1", "2"] {
        socket.subscribe(id, "{ who }").await;
        assert_eq!(socket.json().await["payload"], json!({ "data": { "who": "ana" } }));
        assert_eq!(socket.json().await, json!({ "type": "complete", "id": id }));
    }
    let (mut socket, _) = Socket::open_with(&server.ws, &headers).await.expect("the upgrade");
    socket.init(json!({ "watchfloor-ACTOR": "ben" })).await;
    socket.subscribe("1", "{ who }").await;
    assert_eq!(socket.json().await["payload"], json!({ "data": { "who": "ben" } }));
    let admissions = server.control.admissions.lock().expect("whole").clone();
    let (ana, ben) = (Some("ana".to_owned()), Some("ben".to_owned()));
    assert_eq!(admissions, [ana.clone(), ana.clone(), ana, ben.clone(), ben]);
}

// ---- messages ----

#[tokio::test]
async fn a_message_that_is_none_closes_4400_with_a_reason_that_fits() {
    let server = Server::start().await;
    let long = "ü".repeat(500);
    for message in [
        "nonsense".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!({ "type": 1 }).to_string(),
        json!({ "type": "start", "id": "1", "payload": query("{ version }") }).to_string(),
        json!({ "type": "stop", "id": "1" }).to_string(),
        json!({ "type": "next", "id": "1", "payload": {} }).to_string(),
        json!({ "type": long }).to_string(),
        json!({ "type": "ping", "payload": 1 }).to_string(),
        json!({ "type": "subscribe", "payload": query("{ version }") }).to_string(),
        json!({ "type": "subscribe", "id": "", "payload": query("{ version }") }).to_string(),
        json!({ "type": "subscribe", "id": 1, "payload": query("{ version }") }).to_string(),
        json!({ "type": "subscribe", "id": long, "payload": query("{ version }") }).to_string(),
        json!({ "type": "subscribe", "id": "1" }).to_string(),
        json!({ "type": "subscribe", "id": "1", "payload": {} }).to_string(),
        json!({ "type": "subscribe", "id": "1", "payload": { "query": "{ version }", "variables": [] } }).to_string(),
        json!({ "type": "complete" }).to_string(),
        r#"{"type":"subscribe","id":"\ud800","payload":{"query":"{ version }"}}"#.to_owned(),
    ] {
        let mut socket = Socket::ready(&server.ws).await;
        socket.send_raw(Message::text(message.clone())).await;
        let Frame::Closed(4400, reason) = socket.end().await else { panic!("another end for {message}") };
        assert!(!reason.is_empty() && reason.len() <= 123, "{reason}");
    }
}

#[tokio::test]
async fn a_binary_message_closes_4400() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.send_raw(Message::binary(br#"{"type":"ping"}"#.to_vec())).await;
    assert!(matches!(socket.end().await, Frame::Closed(4400, _)));
}

#[tokio::test]
async fn a_message_beyond_the_bound_closes_4400() {
    let server = Server::with(|settings| settings.socket.message_bytes = 10_000).await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.send(json!({ "type": "ping", "payload": { "x": "x".repeat(9_900) } })).await;
    assert_eq!(socket.json().await["type"], "pong");
    socket.send(json!({ "type": "ping", "payload": { "x": "x".repeat(10_000) } })).await;
    let Frame::Closed(4400, reason) = socket.end().await else { panic!("another end") };
    assert!(reason.contains("10000 bytes"), "{reason}");
}

#[tokio::test]
async fn a_megabyte_of_text_goes_in_over_the_socket() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    let variables = json!({ "t": "x".repeat(1_000_000) });
    let payload = json!({ "query": "query($t: String!) { length(text: $t) }", "variables": variables });
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
    assert_eq!(socket.json().await["payload"], json!({ "data": { "length": 1_000_000 } }));
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_before_and_after_the_ack() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server.ws).await;
    socket.send(json!({ "type": "ping", "payload": { "n": [1] } })).await;
    assert_eq!(socket.json().await, json!({ "type": "pong", "payload": { "n": [1] } }));
    socket.init(json!({})).await;
    socket.send(json!({ "type": "pong" })).await;
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.json().await, json!({ "type": "pong" }));
}

#[tokio::test]
async fn queries_and_mutations_are_one_next_and_complete() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    for (text, data) in
        [("{ version }", json!({ "version": 1 })), ("mutation { add(a: 1, b: 2) }", json!({ "add": 3 }))]
    {
        socket.subscribe("1", text).await;
        assert_eq!(socket.json().await, json!({ "type": "next", "id": "1", "payload": { "data": data } }));
        assert_eq!(socket.json().await, json!({ "type": "complete", "id": "1" }));
    }
    socket.subscribe("2", "{ refused }").await;
    let next = socket.json().await;
    assert_eq!(
        (&next["type"], &next["payload"]["data"]),
        (&json!("next"), &Value::Null),
        "a field's error is a result"
    );
    assert_eq!(code(&next["payload"]["errors"][0]), "CONFLICT");
    assert_eq!(socket.json().await["type"], "complete");
}

#[tokio::test]
async fn a_stream_arrives_in_order_and_completes_once() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.subscribe("s", "subscription { upTo(n: 1000) }").await;
    for n in 1..=1_000 {
        let next = json!({ "type": "next", "id": "s", "payload": { "data": { "upTo": n } } });
        assert_eq!(socket.json().await, next);
    }
    assert_eq!(socket.json().await, json!({ "type": "complete", "id": "s" }));
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.json().await["type"], "pong", "and nothing after it");
}

#[tokio::test]
async fn an_error_of_the_request_is_an_error_message_and_nothing_else() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    for (text, expected) in [
        ("{", "INVALID"),
        ("{ nothing }", "INVALID"),
        ("subscription { nothing }", "INVALID"),
        ("subscription { a: counter b: counter }", "INVALID"),
        (
            "subscription { ...A ...B } fragment A on Subscription { a: counter } fragment B on Subscription { b: counter }",
            "INVALID",
        ),
        ("subscription { __typename }", "INVALID"),
        ("query A { version } query B { version }", "INVALID"),
        ("query Q($t: String!) { length(text: $t) }", "INVALID"),
        ("subscription { refused }", "FORBIDDEN"),
        (&bomb(), "LIMIT"),
    ] {
        socket.subscribe("same", text).await;
        let error = socket.json().await;
        assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("same")), "{text}: {error}");
        assert_eq!(code(&error["payload"][0]), expected, "{text}");
    }
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.json().await["type"], "pong", "no complete follows an error");
}

#[tokio::test]
async fn a_query_that_is_named_by_its_hash_is_asked_for_and_the_socket_stays() {
    let server = Server::start().await;
    let hash = json!({ "persistedQuery": { "version": 1, "sha256Hash": "a".repeat(64) } });
    let whole = json!({ "query": "{ version }", "extensions": hash });
    let mut socket = Socket::ready(&server.ws).await;
    socket.send(json!({ "type": "subscribe", "id": "1", "payload": { "extensions": hash } })).await;
    let error = socket.json().await;
    assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("1")), "{error}");
    assert_eq!(code(&error["payload"][0]), "PERSISTED_QUERY_NOT_SUPPORTED");
    assert_eq!(error["payload"][0]["message"], "PersistedQueryNotSupported");
    socket.send(json!({ "type": "subscribe", "id": "1", "payload": whole })).await;
    assert_eq!(socket.json().await["payload"], json!({ "data": { "version": 1 } }));
}

#[tokio::test]
async fn a_subscription_through_fragments_delivers() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    for text in [
        "subscription { ...F } fragment F on Subscription { upTo(n: 1) }",
        "subscription { ... { upTo(n: 1) } }",
        "subscription { ... on Subscription { ...F } } fragment F on Subscription { ... { upTo(n: 1) } }",
        "subscription { upTo(n: 1) upTo(n: 1) }",
    ] {
        socket.subscribe("1", text).await;
        assert_eq!(socket.json().await["payload"], json!({ "data": { "upTo": 1 } }), "{text}");
        assert_eq!(socket.json().await["type"], "complete", "{text}");
    }
}

#[tokio::test]
async fn an_item_that_fails_is_a_next_with_its_error_and_the_stream_goes_on() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.subscribe("1", "subscription { failing }").await;
    assert_eq!(socket.json().await["payload"]["data"], json!({ "failing": 1 }));
    let failed = socket.json().await;
    assert_eq!((&failed["type"], code(&failed["payload"]["errors"][0])), (&json!("next"), "INTERNAL"));
    assert!(!failed.to_string().contains("hunter2"));
    assert_eq!(socket.json().await["payload"]["data"], json!({ "failing": 3 }));
    assert_eq!(socket.json().await["type"], "complete");
}

#[tokio::test]
async fn a_panic_in_a_stream_ends_that_stream_only() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.subscribe("well", "subscription { counter }").await;
    assert_eq!(socket.json().await["id"], "well");
    socket.subscribe("ill", "subscription { panicking }").await;
    assert_eq!(socket.json().await["payload"]["data"], json!({ "panicking": 1 }));
    let error = socket.json().await;
    assert_eq!(
        (&error["type"], &error["id"], code(&error["payload"][0])),
        (&json!("error"), &json!("ill"), "INTERNAL")
    );
    socket.subscribe("ill", "{ panicking }").await;
    let error = socket.json().await;
    assert_eq!((&error["type"], code(&error["payload"][0])), (&json!("error"), "INTERNAL"));
    server.control.steps.send(7).expect("it listens");
    assert_eq!(socket.json().await, json!({ "type": "next", "id": "well", "payload": { "data": { "counter": 7 } } }));
}

#[tokio::test]
async fn an_id_in_use_closes_4409() {
    let server = Server::start().await;
    for id in ["1".to_owned(), "ü".repeat(120)] {
        let mut socket = Socket::ready(&server.ws).await;
        socket.subscribe(&id, "subscription { counter }").await;
        socket.subscribe(&id, "subscription { counter }").await;
        let Frame::Closed(4409, reason) = socket.end().await else { panic!("another end") };
        let whole = format!("Subscriber for {id} already exists");
        assert!(whole.starts_with(&reason) && reason.len() <= 123 && reason.len() >= whole.len().min(120), "{reason}");
    }
}

/// Opens a socket whose operations the test admits one by one.
async fn held(server: &Server) -> Socket {
    let mut socket = Socket::open(&server.ws).await;
    server.control.let_in.notify_one();
    socket.init(json!({ "Watchfloor-Actor": "slow" })).await;
    socket
}

#[tokio::test]
async fn an_id_in_use_closes_4409_even_while_its_operation_is_being_prepared() {
    let server = Server::start().await;
    let mut socket = held(&server).await;
    for _ in 0..2 {
        socket.subscribe("1", "subscription { counter }").await;
    }
    assert_eq!(socket.frame().await, Frame::Closed(4409, "Subscriber for 1 already exists".into()));
}

#[tokio::test]
async fn an_operation_that_is_completed_while_it_is_being_prepared_never_starts() {
    let server = Server::start().await;
    let mut socket = held(&server).await;
    socket.subscribe("1", "subscription { endless(bytes: 1) }").await;
    socket.complete("1").await;
    socket.subscribe("1", "{ who }").await;
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.json().await["type"], "pong", "all of it is read");
    server.control.let_in.notify_one();
    assert_eq!(socket.json().await["payload"], json!({ "data": { "who": "slow" } }), "the id was free");
    assert_eq!(socket.json().await, json!({ "type": "complete", "id": "1" }));
    assert_eq!(*server.control.made.borrow(), 0, "and the first made nothing");
}

#[tokio::test]
async fn an_id_is_free_again_after_complete_from_either_side() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    for _ in 0..50 {
        socket.subscribe("1", "subscription { upTo(n: 1) }").await;
        assert_eq!(socket.json().await["type"], "next");
        assert_eq!(socket.json().await["type"], "complete");
    }
    for _ in 0..50 {
        socket.subscribe("1", "subscription { counter }").await;
        assert_eq!(socket.json().await["payload"]["data"], json!({ "counter": 0 }));
        socket.complete("1").await;
    }
}

#[tokio::test]
async fn a_complete_of_the_client_ends_the_stream_and_is_not_echoed() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.subscribe("1", "subscription { counter }").await;
    assert_eq!(socket.json().await["type"], "next");
    socket.complete("1").await;
    server.control.stream_dropped().await;
    socket.complete("nobody").await;
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.json().await, json!({ "type": "pong" }));
}

#[tokio::test]
async fn a_completed_operation_delivers_nothing_more() {
    let server = Server::with(|settings| settings.socket.outbox_bytes = 100_000_000).await;
    let mut socket = narrow(&server).await;
    // More than the connection's buffers hold while its client does not read, so some of it is in the outbox.
    socket.subscribe("flood", "subscription { endless(bytes: 200000) }").await;
    let mut made = server.control.made.subscribe();
    made.wait_for(|made| *made >= 100).await.expect("it makes them");
    socket.complete("flood").await;
    server.control.stream_dropped().await;
    socket.send(json!({ "type": "ping" })).await;
    while socket.json().await["type"] != "pong" {}
    socket.subscribe("after", "subscription { upTo(n: 500) }").await;
    for _ in 0..501 {
        assert_eq!(socket.json().await["id"], "after");
    }
}

#[tokio::test]
async fn a_query_that_is_completed_is_dropped() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.subscribe("1", "{ never }").await;
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.json().await["type"], "pong");
    socket.subscribe("2", "{ version }").await;
    assert_eq!(socket.json().await["id"], "2", "one that waits delays no other");
    assert_eq!(socket.json().await["type"], "complete");
    socket.complete("1").await;
    server.control.stream_dropped().await;
}

#[tokio::test]
async fn one_subscription_more_than_the_bound_is_an_error_message() {
    let server = Server::with(|settings| settings.socket.subscriptions = 2).await;
    let mut socket = Socket::ready(&server.ws).await;
    for id in ["1", "2"] {
        socket.subscribe(id, "subscription { counter }").await;
        assert_eq!(socket.json().await["type"], "next");
    }
    socket.subscribe("3", "subscription { counter }").await;
    let error = socket.json().await;
    assert_eq!((&error["type"], &error["id"], code(&error["payload"][0])), (&json!("error"), &json!("3"), "LIMIT"));
    socket.complete("1").await;
    socket.subscribe("3", "subscription { counter }").await;
    assert_eq!(socket.json().await["type"], "next", "there is room again");
}

#[tokio::test]
async fn one_socket_more_than_the_bound_is_refused_at_the_upgrade() {
    let of_address = |settings: &mut Settings| settings.admission.sockets_per_address = 2;
    let in_all = |settings: &mut Settings| settings.admission.sockets = 2;
    for server in [Server::with(of_address).await, Server::with(in_all).await] {
        let first = Socket::ready(&server.ws).await;
        let _second = Socket::ready(&server.ws).await;
        let headers = [("sec-websocket-protocol", "graphql-transport-ws")];
        let refused = Socket::open_with(&server.ws, &headers).await.err().expect("it is one too many");
        assert_eq!(refused.status().as_u16(), 503);
        let body: Value = serde_json::from_slice(refused.body().as_deref().expect("a body")).expect("JSON");
        assert_eq!(code(&body["errors"][0]), "LIMIT", "{body}");
        drop(first);
        // Its place is free as soon as the server has noticed that it left.
        while Socket::open_with(&server.ws, &headers).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn one_socket_more_than_an_account_may_hold_is_closed_1013_until_another_leaves() {
    let server = Server::with(|settings| settings.admission.sockets_per_principal = 2).await;
    let mut held = Vec::new();
    for account in ["ana", "ana", "ben"] {
        let mut socket = Socket::open(&server.ws).await;
        socket.init(json!({ "Watchfloor-Actor": account })).await;
        held.push(socket);
    }
    let ana = json!({ "type": "connection_init", "payload": { "Watchfloor-Actor": "ana" } });
    let mut third = Socket::open(&server.ws).await;
    third.send(ana.clone()).await;
    let end = third.frame().await;
    assert_eq!(end, Frame::Closed(1013, "an account may hold 2 sockets at once".into()), "it is not acknowledged");
    held.swap_remove(0);
    // Its place is free as soon as the server has noticed that it left.
    let come_back = async {
        loop {
            let mut again = Socket::open(&server.ws).await;
            again.send(ana.clone()).await;
            match again.frame().await {
                Frame::Json(ack) => break assert_eq!(ack["type"], "connection_ack"),
                full => assert!(matches!(full, Frame::Closed(1013, _)), "{full:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), come_back).await.expect("the place is given back");
}

#[tokio::test]
async fn the_default_bound_is_a_hundred_subscriptions() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    for id in 0..101 {
        socket.subscribe(&id.to_string(), "subscription { counter }").await;
    }
    let mut messages = Vec::new();
    for _ in 0..101 {
        messages.push(socket.json().await);
    }
    let refused: Vec<_> = messages.iter().filter(|message| message["type"] == "error").collect();
    assert!(refused.len() == 1 && refused[0]["id"] == "100", "{refused:?}");
}

// ---- the client ----

#[tokio::test]
async fn the_client_of_graphql_ws_comes_back_after_a_restart() {
    // The second server reserves the port from the start, so that no other test can take it in between.
    let first = port().into_std().expect("a listener");
    let second = TcpListener::from_std(first.try_clone().expect("a second handle")).expect("a listener");
    let server = Server::on(TcpListener::from_std(first).expect("a listener"), Settings::default());
    let mut client = kit("graphql-ws.mjs")
        .args([&server.ws, "subscription { counter }"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let mut lines = BufReader::new(client.stdout.take().expect("piped")).lines();
    let mut says = async || {
        let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await.expect("in time");
        line.expect("UTF-8").expect("the client goes on")
    };
    assert_eq!((says().await.as_str(), says().await.as_str()), ("connected", r#"data {"counter":0}"#));
    server.control.steps.send(7).expect("it listens");
    assert_eq!(says().await, r#"data {"counter":7}"#);

    server.task.abort();
    server.stop.send_replace(true);
    assert_eq!(says().await, "closed 1012");
    server.stop.closed().await;
    let server = Server::on(second, Settings::default());
    while says().await != "connected" {}
    assert_eq!(says().await, r#"data {"counter":0}"#);
    server.control.steps.send(8).expect("it listens");
    assert_eq!(says().await, r#"data {"counter":8}"#);
    drop(client.stdin.take());
    assert!(client.wait().await.expect("it ends").success());
}
