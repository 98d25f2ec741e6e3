//! GraphQL over HTTP: one test for each rule and status, against the little desk behind the real routes.

use std::time::Duration;

use serde_json::{Value, json};
use watchfloor::server::edge::origin::Origins;

use crate::support::kit::kit;
use crate::support::little::{GRAPHQL, JSON, Server, bomb, query};
use crate::support::socket::Socket;

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
    server.post_bytes(deep).await.refused(400, "LIMIT");
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
async fn a_query_that_is_named_by_its_hash_is_asked_for() {
    let server = Server::start().await;
    let hash = json!({ "persistedQuery": { "version": 1, "sha256Hash": "a".repeat(64) } });
    let by_hash = json!({ "operationName": "A", "extensions": hash });
    for (accept, status) in [(JSON, 200), (GRAPHQL, 400)] {
        let reply = server.ask_as(accept, by_hash.clone()).await;
        assert_eq!((reply.status, reply.code()), (status, "PERSISTED_QUERY_NOT_SUPPORTED"));
        assert_eq!(reply.body["errors"][0]["message"], "PersistedQueryNotSupported");
    }
    let reply = server.get(&[("operationName", "A"), ("extensions", &hash.to_string())]).await;
    assert_eq!(reply.code(), "PERSISTED_QUERY_NOT_SUPPORTED");
    let whole = json!({ "query": "{ version }", "extensions": hash });
    assert_eq!(server.ask(whole).await.body, json!({ "data": { "version": 1 } }));
}

#[tokio::test]
async fn a_header_that_names_nobody_is_refused() {
    let server = Server::start().await;
    for account in ["", " ", "\t "] {
        let request = server.post().header("watchfloor-actor", account).json(&query("{ who }"));
        server.send(request).await.refused(400, "INVALID");
    }
    let twice = server.post().header("watchfloor-actor", "ana").header("watchfloor-actor", "ben");
    server.send(twice.json(&query("{ who }"))).await.refused(400, "INVALID");
    assert_eq!(server.control.admissions.lock().expect("whole").len(), 0);
}

#[tokio::test]
async fn a_compressed_body_counts_as_large_as_it_becomes() {
    let server = Server::with(|settings| settings.http.body_bytes = 10_000).await;
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).expect("written");
        encoder.finish().expect("whole")
    };
    let send = |coding: &str, body: Vec<u8>| {
        let request =
            server.post().header("content-type", "application/json").header("content-encoding", coding.to_owned());
        server.send(request.body(body))
    };
    let document = query("{ version }").to_string();
    assert_eq!(send("gzip", gzip(&document)).await.body, json!({ "data": { "version": 1 } }));
    send("gzip", gzip(&format!("{document}{}", " ".repeat(10_000)))).await.refused(413, "LIMIT");
    send("gzip", gzip(&document)[..20].to_vec()).await.refused(400, "INVALID");
    send("gzip", document.clone().into_bytes()).await.refused(400, "INVALID");
    send("br", document.into_bytes()).await.refused(415, "INVALID");
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
        [("evil.example", 403), ("127.0.0.1.evil.example", 403), ("desk.localhost:9", 403), ("[::1]", 200)]
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
    let (_, port) = server.address().rsplit_once(':').expect("a port");
    let other_name = format!("http://localhost:{port}");
    let subdomain = format!("http://evil.localhost:{port}");
    for origin in
        ["http://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1:1", &other_name, &subdomain]
    {
        server.send(server.post().header("origin", origin).json(&query("{ version }"))).await.refused(403, "FORBIDDEN");
        let get = reqwest::Client::new().get(&server.http).query(&[("query", "{ version }")]);
        server.send(get.header("origin", origin)).await.refused(403, "FORBIDDEN");
    }
    let own = server.post().header("origin", format!("http://{}", server.address())).json(&query("{ version }"));
    assert_eq!(server.send(own).await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_site_is_403_even_without_an_origin_and_by_any_method() {
    let server = Server::start().await;
    let client = reqwest::Client::new();
    let asked = |method: &str| client.request(method.parse().expect("a method"), &server.http);
    for site in ["cross-site", "same-site"] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let request = asked(method).query(&[("query", "{ version }")]).header("sec-fetch-site", site);
            server.send(request).await.refused(403, "FORBIDDEN");
        }
    }
    for site in ["same-origin", "none"] {
        let get = asked("GET").query(&[("query", "{ version }")]).header("sec-fetch-site", site);
        assert_eq!(server.send(get).await.status, 200);
        let post = server.post().header("sec-fetch-site", site).json(&query("{ version }"));
        assert_eq!(server.send(post).await.status, 200);
    }
}

#[tokio::test]
async fn pages_of_an_origin_that_was_allowed_read_and_write() {
    let allowed = "https://dash.example";
    let server = Server::with(|settings| {
        settings.origins = Origins::allowing(&[allowed.parse().expect("an origin")]);
    })
    .await;
    let foreign = |request: reqwest::RequestBuilder, origin: &str| {
        request.header("origin", origin.to_owned()).header("sec-fetch-site", "cross-site")
    };
    let reply = server.send(foreign(server.post(), allowed).json(&query("{ version }"))).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, allowed));
    server
        .send(foreign(server.post(), "http://dash.example").json(&query("{ version }")))
        .await
        .refused(403, "FORBIDDEN");
    let preflight = |origin: &str| {
        let request = reqwest::Client::new().request(reqwest::Method::OPTIONS, &server.http);
        foreign(request, origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type, watchfloor-actor")
            .send()
    };
    let answer = preflight(allowed).await.expect("an answer");
    assert_eq!(answer.headers()["access-control-allow-origin"], allowed);
    assert_eq!(answer.headers()["access-control-allow-headers"], "content-type, watchfloor-actor");
    let answer = preflight("https://evil.example").await.expect("an answer");
    assert!(answer.headers().get("access-control-allow-origin").is_none());
    let socket = [("sec-websocket-protocol", "graphql-transport-ws"), ("origin", allowed)];
    assert!(Socket::open_with(&server.ws, &socket).await.is_ok());
}

#[tokio::test]
async fn the_audits_of_graphql_http_are_all_ok() {
    let server = Server::start().await;
    let run = kit("audits.mjs").arg(&server.http).output().await.expect("node runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
