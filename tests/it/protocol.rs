//! One test for each wire rule, close code and status, against a little schema behind the real routes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpSocket};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;
use watchfloor::server::routes::Settings;

use crate::support::little::{Server, code, port, query};
use crate::support::socket::{Frame, Socket};

const GRAPHQL: &str = "application/graphql-response+json";
const JSON: &str = "application/json";

/// Each fragment spreads the next one twice.
fn bomb() -> String {
    let levels: String = (0..25).map(|n| format!(" fragment F{n} on Query {{ ...F{0} ...F{0} }}", n + 1)).collect();
    format!("{{ ...F0 }}{levels} fragment F25 on Query {{ version }}")
}

// ---- HTTP ----

#[tokio::test]
async fn the_answer_is_labelled_as_the_client_prefers() {
    let server = Server::start().await;
    for (accept, label) in [
        (GRAPHQL, GRAPHQL),
        (JSON, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("", JSON),
        ("application/graphql-response+json, application/json", GRAPHQL),
        ("application/json, application/graphql-response+json", JSON),
        ("application/json;q=0.9, application/graphql-response+json", GRAPHQL),
        ("application/graphql-response+json;q=0.1, */*;q=0.5", JSON),
        ("application/json;q=0, */*", GRAPHQL),
        ("Application/JSON; charset=UTF-8", JSON),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
    ] {
        let reply = server.ask_as(accept, query("{ version }")).await;
        assert_eq!(reply.header("content-type"), format!("{label}; charset=utf-8"), "{accept}");
        assert_eq!((reply.status, reply.body), (200, json!({ "data": { "version": 1 } })), "{accept}");
    }
    let silent = format!("POST /graphql HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.address());
    let silent = silent + "Content-Type: application/json\r\nContent-Length: 23\r\n\r\n{\"query\":\"{ version }\"}";
    assert!(server.raw(&silent).await.contains("content-type: application/json; charset=utf-8"), "no Accept at all");
}

#[tokio::test]
async fn what_cannot_be_labelled_is_406() {
    let server = Server::start().await;
    for accept in ["text/html", "multipart/mixed", "application/json;q=0", "application/json; charset=latin1"] {
        server.ask_as(accept, query("{ version }")).await.refused(406, "INVALID");
    }
}

#[tokio::test]
async fn every_answer_is_private_to_its_reader() {
    let reply = Server::start().await.ask(query("{ version }")).await;
    assert_eq!((reply.header("cache-control"), reply.header("vary")), ("no-store", "Accept"));
}

#[tokio::test]
async fn a_post_that_a_foreign_page_could_send_is_415() {
    let server = Server::start().await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/jsonp",
        "application/json; charset=latin1",
    ] {
        let request = server.post().header("content-type", kind).body(r#"{"query":"mutation { add(a: 1, b: 2) }"}"#);
        server.send(request).await.refused(415, "INVALID");
    }
    server.send(server.post().body(r#"{"query":"{ version }"}"#)).await.refused(415, "INVALID");
    let request = server.post().header("content-type", "Application/JSON; Charset=\"UTF-8\"");
    assert_eq!(server.send(request.body(r#"{"query":"{ version }"}"#)).await.status, 200);
}

#[tokio::test]
async fn a_mutation_by_get_is_405_and_names_post() {
    let server = Server::start().await;
    let reply = server.get(&[("query", "mutation { add(a: 1, b: 2) }")]).await;
    reply.refused(405, "INVALID");
    assert_eq!(reply.header("allow"), "POST");
    assert_eq!(server.ask(query("mutation { add(a: 1, b: 2) }")).await.body, json!({ "data": { "add": 3 } }));
}

#[tokio::test]
async fn another_method_is_405() {
    let server = Server::start().await;
    let reply = server.send(reqwest::Client::new().patch(&server.http).json(&query("{ version }"))).await;
    reply.refused(405, "INVALID");
    assert_eq!(reply.header("allow"), "GET, POST, PUT, DELETE");
}

#[tokio::test]
async fn a_query_by_get_takes_its_parameters_from_the_url() {
    let server = Server::start().await;
    let document = "query A { version } query B($t: String!) { length(text: $t) }";
    let variables = r#"{"t":"für + 100 %"}"#;
    let reply = server.get(&[("query", document), ("operationName", "B"), ("variables", variables)]).await;
    assert_eq!(reply.body, json!({ "data": { "length": 12 } }));
    let empty = [("query", "{ version }"), ("operationName", ""), ("variables", ""), ("extensions", ""), ("more", "1")];
    assert_eq!(server.get(&empty).await.body, json!({ "data": { "version": 1 } }), "an empty parameter is absent");
    server.get(&[]).await.refused(400, "INVALID");
    server.get(&[("query", "{ version }"), ("variables", "{")]).await.refused(400, "INVALID");
    server.get(&[("query", "{ version }"), ("variables", "[1]")]).await.refused(400, "INVALID");
}

#[tokio::test]
async fn unknown_properties_are_ignored_and_known_ones_have_their_type() {
    let server = Server::start().await;
    let mut body =
        json!({ "query": "{ version }", "variables": null, "operationName": null, "extensions": null, "doc": 1 });
    assert_eq!(server.ask(body.clone()).await.body, json!({ "data": { "version": 1 } }));
    for (name, wrong) in
        [("query", json!(1)), ("variables", json!([])), ("operationName", json!(1)), ("extensions", json!(""))]
    {
        let right = body[name].take();
        body[name] = wrong;
        server.ask(body.clone()).await.refused(400, "INVALID");
        body[name] = right;
    }
    server.ask(json!({ "doc": "{ version }" })).await.refused(400, "INVALID");
    let unnamed = json!({ "query": "{ version }", "operationName": "" });
    assert_eq!(server.ask(unnamed).await.body, json!({ "data": { "version": 1 } }), "the empty name is none");
}

#[tokio::test]
async fn a_batch_is_refused() {
    let server = Server::start().await;
    server.ask(json!([query("{ version }"), query("{ version }")])).await.refused(400, "INVALID");
    server.ask(json!("{ version }")).await.refused(400, "INVALID");
}

#[tokio::test]
async fn a_body_that_is_no_json_is_a_coded_400() {
    let server = Server::start().await;
    let invalid_utf8: &[u8] = b"{\"query\":\"{ length(text: \\\"\xff\\\") }\"}";
    let lone_surrogate: &[u8] = br#"{"query":"query($t: String!) { length(text: $t) }","variables":{"t":"\ud800"}}"#;
    for body in [b"".as_slice(), b"{", b"{} {}", invalid_utf8, lone_surrogate] {
        server.post_bytes(body.to_vec()).await.refused(400, "INVALID");
    }
    let deep = format!(r#"{{"query":"{{ version }}","variables":{{"a":{}{}}}}}"#, "[".repeat(9_999), "]".repeat(9_999));
    server.post_bytes(deep).await.refused(400, "INVALID");
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_413_announced_or_not() {
    let server = Server::with(|settings| settings.http.body_bytes = 10_000).await;
    server.post_bytes(vec![b' '; 10_001]).await.refused(413, "LIMIT");
    let head = format!("POST /graphql HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.address());
    let head = head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = server.raw(&format!("{head}2711\r\n{}\r\n0\r\n\r\n", " ".repeat(0x2711))).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("LIMIT"), "{answer}");
    let announced = format!("POST /graphql HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.address());
    let announced = announced + "Content-Type: application/json\r\nContent-Length: 10001\r\n\r\n";
    assert!(server.raw(&announced).await.starts_with("HTTP/1.1 413"), "before a byte of it came in");
    let reply = server.post_bytes(vec![b' '; 20_000]).await;
    assert_eq!(reply.body["errors"][0]["extensions"]["now"], json!({ "limit": 10_000 }));
}

#[tokio::test]
async fn a_body_that_dribbles_in_is_408() {
    let server = Server::with(|settings| settings.http.body_wait = Duration::from_millis(50)).await;
    let head = format!("POST /graphql HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.address());
    let answer = server.raw(&(head + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_megabyte_of_text_goes_in_as_a_variable() {
    let server = Server::start().await;
    let body =
        json!({ "query": "query($t: String!) { length(text: $t) }", "variables": { "t": "x".repeat(1_000_000) } });
    assert_eq!(server.ask(body).await.body, json!({ "data": { "length": 1_000_000 } }));
}

#[tokio::test]
async fn an_error_of_the_request_has_no_data_entry_and_the_status_of_its_label() {
    let server = Server::start().await;
    let missing = json!({ "query": "query Q($t: String!) { length(text: $t) }", "variables": { "t": null } });
    for body in
        [query("{"), query("{ nothing }"), missing, json!({ "query": "query A { version }", "operationName": "B" })]
    {
        server.ask_as(GRAPHQL, body.clone()).await.refused(400, "INVALID");
        server.ask_as(JSON, body).await.refused(200, "INVALID");
    }
    server.ask_as(GRAPHQL, query(&bomb())).await.refused(400, "LIMIT");
}

#[tokio::test]
async fn an_error_of_a_field_keeps_the_data_entry_and_200() {
    let server = Server::start().await;
    for accept in [GRAPHQL, JSON] {
        let reply = server.ask_as(accept, query("{ refused }")).await;
        assert_eq!((reply.status, reply.code(), &reply.body["data"]), (200, "CONFLICT", &Value::Null));
        assert!(reply.body.as_object().expect("an object").contains_key("data"));
        assert_eq!(reply.body["errors"][0]["extensions"]["now"], json!({ "status": "RESOLVED" }));
    }
    let reply = server.ask(query("{ version refusedQuietly }")).await;
    assert_eq!(reply.body["data"], json!({ "version": 1, "refusedQuietly": null }));
    assert_eq!(reply.body["errors"][0]["extensions"], json!({ "code": "INVALID", "path": "input.title" }));
}

#[tokio::test]
async fn a_fault_shows_its_reference_and_not_its_cause() {
    let reply = Server::start().await.ask(query("{ faulty }")).await;
    let error = &reply.body["errors"][0];
    let reference = error["extensions"]["reference"].as_str().expect("a reference");
    assert_eq!(error["message"], format!("something went wrong here; reference {reference}"));
    assert!(!reply.body.to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_panic_costs_its_own_operation_only() {
    let server = Server::start().await;
    let client = reqwest::Client::new();
    let ask = |text: &str| server.send(client.post(&server.http).json(&query(text)));
    let (panicked, well) = tokio::join!(ask("{ panicking }"), ask("{ version }"));
    panicked.refused(500, "INTERNAL");
    assert!(!panicked.body.to_string().contains("on purpose"));
    assert_eq!(well.body, json!({ "data": { "version": 1 } }));
    let panicking = client.post(&server.http).header("Watchfloor-Actor", "panicking").json(&query("{ version }"));
    server.send(panicking).await.refused(500, "INTERNAL");
    assert_eq!(ask("{ version }").await.status, 200);
}

#[tokio::test]
async fn a_subscription_for_one_who_reads_no_stream_is_refused_and_shown_the_ways() {
    let server = Server::start().await;
    for accept in [GRAPHQL, JSON, "*/*"] {
        let reply = server.ask_as(accept, query("subscription { counter }")).await;
        reply.refused(400, "INVALID");
        for way in ["text/event-stream", "multipart/mixed", "graphql-transport-ws"] {
            assert!(reply.body.to_string().contains(way), "{reply:?}");
        }
    }
    server.get(&[("query", "subscription { counter }")]).await.refused(400, "INVALID");
}

#[tokio::test]
async fn the_account_of_the_header_is_let_in_once_a_request() {
    let server = Server::start().await;
    let ask = |account: &'static str| {
        server.send(server.post().header("watchfloor-actor", account).json(&query("{ who again: who }")))
    };
    assert_eq!(ask("ana").await.body, json!({ "data": { "who": "ana", "again": "ana" } }));
    assert_eq!(server.ask(query("{ who }")).await.body, json!({ "data": { "who": "local" } }));
    ask("stranger").await.refused(401, "UNAUTHENTICATED");
    ask("faulty").await.refused(500, "INTERNAL");
    let admissions = server.control.admissions.lock().expect("whole").clone();
    assert_eq!(admissions, [Some("ana".into()), None, Some("stranger".into()), Some("faulty".into())]);
}

// ---- Host and Origin ----

#[tokio::test]
async fn a_name_that_is_not_this_machines_is_403() {
    let server = Server::start().await;
    for (host, status) in
        [("evil.example", 403), ("127.0.0.1.evil.example", 403), ("desk.localhost:9", 200), ("[::1]", 200)]
    {
        let reply = server.send(server.post().header("host", host).json(&query("{ version }"))).await;
        assert_eq!(reply.status, status, "{host}");
    }
    let reply = server.send(server.post().header("host", "evil.example").json(&query("{ version }"))).await;
    reply.refused(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_request_without_a_host_is_400() {
    let answer = Server::start().await.raw("GET /graphql?query={version} HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 400") && answer.contains("INVALID"), "{answer}");
}

#[tokio::test]
async fn a_foreign_page_is_403_on_every_path() {
    let server = Server::start().await;
    for origin in ["http://evil.example", "null", "http://localhost.evil.example"] {
        server.send(server.post().header("origin", origin).json(&query("{ version }"))).await.refused(403, "FORBIDDEN");
        let get = reqwest::Client::new().get(&server.http).query(&[("query", "{ version }")]);
        server.send(get.header("origin", origin)).await.refused(403, "FORBIDDEN");
    }
    let own = server.post().header("origin", "http://localhost:5173").json(&query("{ version }"));
    assert_eq!(server.send(own).await.status, 200);
}

#[tokio::test]
async fn a_cross_site_post_is_403_even_without_an_origin() {
    let server = Server::start().await;
    let sent =
        |site: &'static str| server.send(server.post().header("sec-fetch-site", site).json(&query("{ version }")));
    sent("cross-site").await.refused(403, "FORBIDDEN");
    assert_eq!(sent("same-origin").await.status, 200);
}

#[tokio::test]
async fn a_foreign_page_opens_no_socket() {
    let server = Server::start().await;
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    for foreign in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("host", "evil.example")] {
        let Err(refused) = Socket::open_with(&server.ws, &[protocol, foreign]).await else {
            panic!("{foreign:?} came in")
        };
        assert_eq!(refused.status().as_u16(), 403);
        let body: Value = serde_json::from_slice(refused.body().as_deref().unwrap_or_default()).expect("JSON");
        assert_eq!(code(&body["errors"][0]), "FORBIDDEN");
    }
    let own = ("origin", "http://localhost:5173");
    assert!(Socket::open_with(&server.ws, &[protocol, own]).await.is_ok());
}

// ---- WebSocket: the handshake ----

#[tokio::test]
async fn a_socket_without_the_subprotocol_is_400() {
    let server = Server::start().await;
    for headers in [&[][..], &[("sec-websocket-protocol", "graphql-ws")], &[("sec-websocket-protocol", "soap, wamp")]] {
        let Err(refused) = Socket::open_with(&server.ws, headers).await else { panic!("{headers:?} came in") };
        assert_eq!(refused.status().as_u16(), 400);
        let body: Value = serde_json::from_slice(refused.body().as_deref().unwrap_or_default()).expect("JSON");
        assert_eq!(code(&body["errors"][0]), "INVALID");
    }
}

#[tokio::test]
async fn the_subprotocol_that_is_echoed_is_the_one_that_is_spoken() {
    let server = Server::start().await;
    let offer = [("sec-websocket-protocol", "graphql-ws, graphql-transport-ws")];
    let (mut socket, response) = Socket::open_with(&server.ws, &offer).await.expect("the upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "graphql-transport-ws");
    socket.init(json!({})).await;
    socket.subscribe("1", "{ version }").await;
    assert_eq!(socket.json().await["type"], "next");
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
    socket.init(json!({ "Watchfloor-Actor": "ben" })).await;
    socket.subscribe("1", "{ who }").await;
    assert_eq!(socket.json().await["payload"], json!({ "data": { "who": "ben" } }));
    let admissions = server.control.admissions.lock().expect("whole").clone();
    let (ana, ben) = (Some("ana".to_owned()), Some("ben".to_owned()));
    assert_eq!(admissions, [ana.clone(), ana.clone(), ana, ben.clone(), ben]);
}

// ---- WebSocket: messages ----

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
    // More than a connection holds while its client does not read: some of it is in the outbox.
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
    let of_address = |settings: &mut Settings| settings.crowd.sockets_per_address = 2;
    let in_all = |settings: &mut Settings| settings.crowd.sockets = 2;
    for server in [Server::with(of_address).await, Server::with(in_all).await] {
        let first = Socket::ready(&server.ws).await;
        let _second = Socket::ready(&server.ws).await;
        let headers = [("sec-websocket-protocol", "graphql-transport-ws")];
        let refused = Socket::open_with(&server.ws, &headers).await.err().expect("it is one too many");
        assert_eq!(refused.status().as_u16(), 503);
        let body: Value = serde_json::from_slice(refused.body().as_deref().expect("a body")).expect("JSON");
        assert_eq!(code(&body["errors"][0]), "LIMIT", "{body}");
        drop(first);
        // Its place is free as soon as the server has seen it go.
        while Socket::open_with(&server.ws, &headers).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
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

// ---- WebSocket: slow, silent and leaving peers ----

/// A connection that holds little before it is full.
async fn narrow(server: &Server) -> Socket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 * 1024).expect("a small buffer");
    let stream = socket.connect(server.address().parse().expect("an address")).await.expect("a connection");
    let mut socket = Socket::over(stream, &server.ws).await;
    socket.init(json!({})).await;
    socket
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_1013() {
    let server = Server::with(|settings| {
        settings.socket.write_deadline = Duration::from_millis(100);
        settings.socket.close_wait = Duration::from_secs(20);
    })
    .await;
    let mut socket = narrow(&server).await;
    socket.subscribe("1", "subscription { endless(bytes: 100000) }").await;
    server.control.stream_dropped().await;
    let Frame::Closed(1013, reason) = socket.end().await else { panic!("another end") };
    assert_eq!(reason, "the client does not read fast enough");
}

#[tokio::test]
async fn a_client_that_never_reads_again_is_cut() {
    let server = Server::with(|settings| {
        settings.socket.write_deadline = Duration::from_millis(50);
        settings.socket.close_wait = Duration::from_millis(50);
    })
    .await;
    let mut socket = narrow(&server).await;
    socket.subscribe("1", "subscription { endless(bytes: 100000) }").await;
    server.control.stream_dropped().await;
    // The server lets go of its last receiver when the socket is closed and the listener is gone.
    server.task.abort();
    tokio::time::timeout(Duration::from_secs(10), server.stop.closed()).await.expect("the socket is closed");
    drop(socket);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_still_read() {
    let server = Server::start().await;
    let mut socket = narrow(&server).await;
    socket.subscribe("1", "subscription { endless(bytes: 200000) }").await;
    server.control.made.subscribe().wait_for(|made| *made >= 10).await.expect("it makes them");
    socket.subscribe("2", "subscription { counter }").await;
    while server.control.steps.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    for id in ["1", "2"] {
        socket.complete(id).await;
        server.control.stream_dropped().await;
    }
}

#[tokio::test]
async fn a_slow_client_delays_nobody_else() {
    let server = Server::start().await;
    let mut slow = narrow(&server).await;
    slow.subscribe("1", "subscription { endless(bytes: 100000) }").await;
    let mut quick = Socket::ready(&server.ws).await;
    quick.subscribe("1", "subscription { upTo(n: 1000) }").await;
    for _ in 0..1_000 {
        assert_eq!(quick.json().await["type"], "next");
    }
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_closed_1013() {
    let server = Server::with(|settings| settings.socket.close_wait = Duration::from_secs(20)).await;
    let mut socket = narrow(&server).await;
    socket.subscribe("1", "subscription { counter }").await;
    let payload = json!({ "x": "x".repeat(100_000) });
    for _ in 0..200 {
        socket.send(json!({ "type": "ping", "payload": payload })).await;
    }
    server.control.stream_dropped().await;
    let Frame::Closed(1013, reason) = socket.end().await else { panic!("another end") };
    assert_eq!(reason, "the client asks and does not read");
}

#[tokio::test]
async fn a_message_larger_than_the_outbox_travels_alone() {
    let server = Server::with(|settings| settings.socket.outbox_bytes = 1_000).await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.subscribe("1", "subscription { endless(bytes: 50000) }").await;
    for _ in 0..20 {
        assert_eq!(socket.json().await["type"], "next");
    }
}

#[tokio::test]
async fn the_server_pings_and_a_client_that_answers_stays() {
    let server = Server::with(|settings| settings.socket.ping_every = Duration::from_millis(40)).await;
    let mut socket = Socket::ready(&server.ws).await;
    for _ in 0..6 {
        assert_eq!(socket.any_frame().await, Frame::Ping);
    }
    socket.subscribe("1", "{ version }").await;
    assert_eq!(socket.json().await["type"], "next");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_after_two() {
    let server = Server::with(|settings| {
        settings.socket.ping_every = Duration::from_millis(40);
        settings.socket.close_wait = Duration::from_secs(20);
    })
    .await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.subscribe("1", "subscription { counter }").await;
    assert_eq!(socket.json().await["type"], "next");
    // The client answers pings as it reads, and it does not read.
    server.control.stream_dropped().await;
    let mut pings = 0;
    let end = loop {
        match socket.any_frame().await {
            Frame::Ping => pings += 1,
            end => break end,
        }
    };
    assert_eq!(end, Frame::Closed(1013, "no answer to pings".into()));
    assert!(pings >= 2, "{pings} pings");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_streams() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    for id in ["1", "2"] {
        socket.subscribe(id, "subscription { counter }").await;
        assert_eq!(socket.json().await["type"], "next");
    }
    drop(socket);
    server.control.stream_dropped().await;
    server.control.stream_dropped().await;
}

#[tokio::test]
async fn a_shutdown_closes_1012_and_can_be_waited_for() {
    let server = Server::start().await;
    let mut acknowledged = Socket::ready(&server.ws).await;
    acknowledged.subscribe("1", "subscription { counter }").await;
    assert_eq!(acknowledged.json().await["type"], "next");
    let mut fresh = Socket::open(&server.ws).await;
    server.stop.send_replace(true);
    for socket in [&mut acknowledged, &mut fresh] {
        assert!(matches!(socket.end().await, Frame::Closed(1012, _)));
    }
    server.control.stream_dropped().await;
    drop((acknowledged, fresh));
    server.task.abort();
    tokio::time::timeout(Duration::from_secs(10), server.stop.closed()).await.expect("no socket is left");
}

// ---- the protocols' own kits ----

/// Where npm installs them.
fn kit(script: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm");
    let installed = folder.join("node_modules").is_dir();
    assert!(installed, "the protocol kits are not installed: `make test` does it, or `npm ci` in tests/npm");
    let mut node = Command::new("node");
    node.arg(folder.join(script)).kill_on_drop(true);
    node
}

#[tokio::test]
async fn the_audits_of_graphql_http_are_all_ok() {
    let server = Server::start().await;
    let run = kit("audits.mjs").arg(&server.http).output().await.expect("node runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[tokio::test]
async fn the_client_of_graphql_ws_comes_back_after_a_restart() {
    // The second life has the port from the start, so that no other test can take it in between.
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
