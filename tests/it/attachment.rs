//! Attachments, through the public API and plain HTTP.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use chrono::Duration;
use reqwest::header::HeaderMap;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use watchfloor::domain::attachment::{ATTACHMENT_BYTES_MAX, ATTACHMENTS_PER_INCIDENT_MAX};
use watchfloor::domain::clock::Clock;
use watchfloor::storage::Objects;

use crate::hardship::SmallDisk;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::{Options, Refusal, TestDesk};
use crate::support::kit::kit;
use crate::support::process::Process;
use crate::support::triage::{each, laid_over};
use crate::support::waiting::a_moment;

each_database!(
    an_image_is_served_as_it_was_uploaded,
    an_image_is_announced_by_a_responder_within_the_bounds,
    an_incident_has_at_most_two_hundred_attachments,
    an_upload_that_lies_leaves_nothing,
    an_upload_needs_the_token_of_its_account,
    an_upload_begins_within_fifteen_minutes,
    the_same_bytes_again_are_the_same_answer_and_others_are_refused,
    one_upload_of_an_attachment_is_under_way_at_a_time,
    an_upload_that_breaks_off_leaves_nothing,
    what_a_killed_node_leaves_is_swept_away,
    an_attachment_is_for_those_who_read_its_incident,
    a_foreign_page_reaches_no_attachment,
    a_comment_shows_attachments_of_its_own_incident_only,
    attachments_follow_their_comments_to_another_incident,
    a_full_folder_refuses_an_upload_that_succeeds_once_there_is_room,
);

const ANNOUNCE: &str = "mutation($input: CreateAttachmentInput!) { createAttachment(input: $input) {
    attachment { id name type size state url storedAt author { account } incident { id } }
    uploadUrl uploadExpiresAt clientMutationId } }";

const LISTED: &str = "query($id: ID!) { incident(by: { id: $id }) { version
    attachments { id state } comments { nodes { html attachments { id name type size url } } } } }";

/// Returns the given number of bytes that begin like a PNG.
fn png(bytes: usize) -> Vec<u8> {
    let first = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".iter().copied();
    first.chain((0_u32..).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)).take(bytes).collect()
}

/// An announced attachment.
struct Announced {
    id: String,
    url: String,
    upload_url: String,
}

/// The response of a plain HTTP request.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let mut error = self.json()["errors"][0].take();
        assert_eq!(error["extensions"]["code"], code, "{error}");
        error["extensions"].take()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

fn announcement(incident: &str, over: Value) -> Value {
    let input = json!({ "incidentId": incident, "name": "sign-in prompt.png", "size": 2_000, "type": "PNG" });
    json!({ "input": laid_over(input, over) })
}

impl TestDesk {
    async fn announce(&self, incident: &str, over: Value) -> Announced {
        self.announce_as(None, incident, over).await
    }

    async fn announce_as(&self, account: Option<&str>, incident: &str, over: Value) -> Announced {
        let made = self.data_as(account, ANNOUNCE, announcement(incident, over)).await["createAttachment"].take();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let attachment = &made["attachment"];
        Announced { id: text(&attachment["id"]), url: text(&attachment["url"]), upload_url: text(&made["uploadUrl"]) }
    }

    async fn announce_refused(&self, account: Option<&str>, incident: &str, over: Value) -> Refusal {
        let refusal = self.refused_as(account, ANNOUNCE, announcement(incident, over)).await;
        assert!(self.files().is_empty(), "a refused announcement left something");
        refusal
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.bytes().await.expect("a body").to_vec() }
    }

    fn putting(&self, path: &str, bytes: Vec<u8>) -> reqwest::RequestBuilder {
        reqwest::Client::new().put(format!("{}{path}", self.url)).body(bytes)
    }

    async fn put(&self, path: &str, bytes: Vec<u8>) -> Answer {
        self.send(self.putting(path, bytes)).await
    }

    fn getting(&self, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::new().get(format!("{}{path}", self.url))
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.getting(path)).await
    }

    /// Uploads an image, and returns its attachment.
    async fn attached(&self, incident: &str) -> Announced {
        let attachment = self.announce(incident, json!({})).await;
        assert_eq!(self.put(&attachment.upload_url, png(2_000)).await.status, 200);
        attachment
    }

    async fn state(&self, attachment: &Announced) -> Value {
        let query = "query($id: ID!) { node(id: $id) { ... on Attachment { state } } }";
        self.data(query, json!({ "id": attachment.id })).await["node"]["state"].take()
    }

    fn files(&self) -> Vec<PathBuf> {
        files_in(self.attachments.path())
    }

    /// Checks that the attachment cannot be read, and that the store has no bytes of it.
    async fn nothing_is_there(&self, attachment: &Announced) {
        assert_eq!(self.state(attachment).await, "PENDING");
        self.get(&attachment.url).await.refused(404, "NOT_FOUND");
        assert_eq!(self.files(), Vec::<PathBuf>::new());
    }

    /// Begins an upload with this length, and sends only these bytes.
    async fn begin(&self, path: &str, length: usize, bytes: &[u8]) -> TcpStream {
        let address = self.url.trim_start_matches("http://");
        begin_at(address, path, length, bytes).await
    }
}

async fn begin_at(address: &str, path: &str, length: usize, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("a request");
    stream.write_all(bytes).await.expect("its body");
    stream
}

/// Returns every file below a folder.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    paths.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

async fn an_image_is_served_as_it_was_uploaded(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    let incident = desk.incident("MFA fatigue against a finance account").await;
    let version = desk.read(&incident).await["version"].clone();
    // The largest one goes into a bucket, and through memory, in parts.
    for (name, kind, media_type, first, size) in [
        ("Écran \"1\"; x=y.png", "PNG", "image/png", &b"\x89PNG\r\n\x1a\n"[..], 2_000),
        ("lure.jpg", "JPEG", "image/jpeg", b"\xff\xd8\xff\xe1", ATTACHMENT_BYTES_MAX as usize),
        ("replay.gif", "GIF", "image/gif", b"GIF89a", 13),
        ("badge.webp", "WEBP", "image/webp", b"RIFF\x1a\0\0\0WEBPVP8L", 5 << 20),
    ] {
        let mut bytes = png(size);
        bytes[..first.len()].copy_from_slice(first);
        let over = json!({ "name": name, "type": kind, "size": size, "clientMutationId": "upload 7" });
        let made = desk.data_as(Some("ana"), ANNOUNCE, announcement(&incident, over)).await["createAttachment"].take();
        let attachment = &made["attachment"];
        assert_eq!(
            (&made["clientMutationId"], &made["uploadExpiresAt"]),
            (&json!("upload 7"), &json!("2026-11-23T08:15:00+00:00"))
        );
        assert_eq!(
            (
                &attachment["name"],
                &attachment["type"],
                &attachment["size"],
                &attachment["state"],
                &attachment["storedAt"]
            ),
            (&json!(name), &json!(kind), &json!(size), &json!("PENDING"), &Value::Null)
        );
        assert_eq!(
            (&attachment["author"]["account"], &attachment["incident"]["id"]),
            (&json!("ana"), &json!(incident))
        );
        let (id, url) = (attachment["id"].as_str().expect("an id"), attachment["url"].as_str().expect("a path"));
        assert_eq!(url, id.replace("attachment:", "/attachments/"));
        desk.get(url).await.refused(404, "NOT_FOUND");

        let stored = desk.put(made["uploadUrl"].as_str().expect("a path"), bytes.clone()).await;
        assert_eq!((stored.status, stored.json()), (200, json!({ "id": id, "state": "STORED", "url": url })));
        let served = desk.get(url).await;
        assert_eq!(served.status, 200);
        assert!(served.body == bytes, "{name} came back with other bytes");
        for (header, expected) in [
            ("content-type", media_type),
            ("content-length", size.to_string().as_str()),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "sandbox; default-src 'none'"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "private, no-cache"),
            ("vary", "Watchfloor-Actor"),
        ] {
            assert_eq!(served.header(header), expected, "{header}");
        }
        let disposition = served.header("content-disposition");
        let (_, encoded) = disposition.split_once("inline; filename*=UTF-8''").expect("an encoded name");
        assert!(encoded.chars().all(|c| c.is_ascii_alphanumeric() || "%-._~".contains(c)), "{disposition}");

        let held = desk.send(desk.getting(url).header("if-none-match", served.header("etag"))).await;
        assert_eq!((held.status, held.body.len(), held.header("etag")), (304, 0, served.header("etag")));
        assert_eq!(held.header("x-content-type-options"), "nosniff");
        assert_eq!(desk.send(desk.getting(url).header("if-none-match", "\"another\"")).await.status, 200);
        let head = desk.send(reqwest::Client::new().head(format!("{}{url}", desk.url))).await;
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, size.to_string().as_str(), 0));
    }
    let listed = desk.data(LISTED, json!({ "id": incident })).await["incident"].take();
    assert_eq!(each(&listed["attachments"], "state"), ["STORED"; 4]);
    assert_eq!(listed["version"], version, "an attachment alone is no change of its incident");
}

async fn an_image_is_announced_by_a_responder_within_the_bounds(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("rea", "READER").await;
    let incident = desk.incident("Screenshots from a stolen laptop").await;
    for (account, over, code, path) in [
        (Some("rea"), json!({}), "FORBIDDEN", None),
        (Some("nobody"), json!({}), "UNAUTHENTICATED", None),
        (None, json!({ "name": " " }), "INVALID", Some("input.name")),
        (None, json!({ "name": "../../etc/cron.d/x" }), "INVALID", Some("input.name")),
        (None, json!({ "name": "a\r\nSet-Cookie: b" }), "INVALID", Some("input.name")),
        (None, json!({ "name": "n".repeat(256) }), "LIMIT", Some("input.name")),
        (None, json!({ "size": 0 }), "INVALID", Some("input.size")),
        (None, json!({ "size": ATTACHMENT_BYTES_MAX + 1 }), "LIMIT", Some("input.size")),
        (None, json!({ "type": "SVG" }), "INVALID", None),
        (None, json!({ "incidentId": incident.replace("incident:", "comment:") }), "INVALID", Some("input.incidentId")),
        (
            None,
            json!({ "incidentId": "incident:00000000-0000-7000-8000-000000000000" }),
            "NOT_FOUND",
            Some("input.incidentId"),
        ),
    ] {
        let refusal = desk.announce_refused(account, &incident, over.clone()).await;
        assert_eq!(refusal.code, code, "{over}: {refusal:?}");
        if over["type"] != "SVG" {
            assert_eq!(refusal.path.as_deref(), path, "{over}");
        }
    }
    desk.act("deleteIncident", json!({ "incidentId": incident })).await;
    assert_eq!(desk.announce_refused(None, &incident, json!({})).await.code, "NOT_FOUND");
}

async fn an_incident_has_at_most_two_hundred_attachments(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (full, other) = (desk.incident("Ransom notes on every share").await, desk.incident("One note").await);
    for _ in 0..ATTACHMENTS_PER_INCIDENT_MAX {
        desk.announce(&full, json!({})).await;
    }
    let refusal = desk.announce_refused(None, &full, json!({})).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("input.incidentId")));
    assert_eq!(refusal.now, json!({ "limit": ATTACHMENTS_PER_INCIDENT_MAX }));
    desk.announce(&other, json!({})).await;
}

async fn an_upload_that_lies_leaves_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Phishing kit on a parked domain").await;
    let padded = |text: &str| format!("{text:<2000}").into_bytes();
    let jpeg = [b"\xff\xd8\xff\xe0".to_vec(), png(1_996)].concat();
    for (lie, bytes, status, code, path) in [
        ("another image", jpeg, 400, "INVALID", "type"),
        ("SVG", padded("<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>"), 400, "INVALID", "type"),
        ("HTML", padded("<!doctype html><script>alert(1)</script>"), 400, "INVALID", "type"),
        ("nothing", Vec::new(), 400, "INVALID", "size"),
        ("too short", png(1_999), 400, "INVALID", "size"),
        ("too long", png(2_001), 413, "LIMIT", "size"),
        ("larger than any", png(ATTACHMENT_BYTES_MAX as usize + 1), 413, "LIMIT", "size"),
    ] {
        let attachment = desk.announce(&incident, json!({})).await;
        let answer = desk.put(&attachment.upload_url, bytes.clone()).await;
        assert_eq!(answer.refused(status, code)["path"], path, "{lie}");
        desk.nothing_is_there(&attachment).await;
        // The same without an announced length.
        let address = desk.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let upload = &attachment.upload_url;
        let head = format!(
            "PUT {upload} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("a request");
        // An upload beyond the limit is cut off, and need not be able to send all of its bytes.
        for piece in bytes.chunks(1 << 16).take(3) {
            let framed = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&framed).await.expect("a piece");
        }
        stream.write_all(b"0\r\n\r\n").await.expect("the end");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code), "{lie}: {answer}");
        desk.nothing_is_there(&attachment).await;
        // An upload of the announced image then succeeds.
        assert_eq!(desk.put(&attachment.upload_url, png(2_000)).await.status, 200, "{lie}");
        std::fs::remove_dir_all(desk.attachments.path()).expect("a folder");
    }
}

async fn an_upload_needs_the_token_of_its_account(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for account in ["ana", "ben"] {
        desk.user(account, "RESPONDER").await;
    }
    let incident = desk.incident("OAuth consent to an unknown app").await;
    let (first, second) = (
        desk.announce_as(Some("ana"), &incident, json!({})).await,
        desk.announce_as(Some("ana"), &incident, json!({})).await,
    );
    let token = |attachment: &Announced| attachment.upload_url.split_once("?token=").expect("a token").1.to_owned();
    assert_eq!(token(&first).len(), 43, "256 bits");
    for wrong in [
        first.url.clone(),
        format!("{}?token=", first.url),
        format!("{}?token={}", first.url, token(&second)),
        format!("{}?token={}", first.url, &token(&first)[..42]),
        "/attachments/00000000-0000-7000-8000-000000000000?token=x".to_owned(),
        "/attachments/sign-in%20prompt.png?token=x".to_owned(),
    ] {
        desk.put(&wrong, png(2_000)).await.refused(404, "NOT_FOUND");
    }
    let put_as = |account: &'static str| {
        desk.send(desk.putting(&first.upload_url, png(2_000)).header("Watchfloor-Actor", account))
    };
    put_as("ben").await.refused(404, "NOT_FOUND");
    put_as("nobody").await.refused(401, "UNAUTHENTICATED");
    desk.user("ana", "READER").await;
    desk.put(&first.upload_url, png(2_000)).await.refused(403, "FORBIDDEN");
    desk.nothing_is_there(&first).await;
    let posted = desk.send(reqwest::Client::new().post(format!("{}{}", desk.url, first.upload_url))).await;
    posted.refused(405, "INVALID");
    assert_eq!(posted.header("allow"), "GET, HEAD, PUT");
    desk.user("ana", "RESPONDER").await;
    assert_eq!(put_as("ana").await.status, 200);
    assert_eq!(desk.put(&second.upload_url, png(2_000)).await.status, 200, "the token alone acts for its account");
    // The database holds no secret that would allow an upload.
    let kept = database.connect().await.query_all_raw(statement(&database, "SELECT ticket FROM attachment")).await;
    for row in kept.expect("rows") {
        let ticket: Vec<u8> = row.try_get("", "ticket").expect("a digest");
        assert!(ticket.len() == 32 && ![token(&first), token(&second)].iter().any(|it| it.as_bytes() == ticket));
    }

    let third = desk.announce_as(Some("ana"), &incident, json!({})).await;
    desk.act("deleteIncident", json!({ "incidentId": incident })).await;
    desk.put(&third.upload_url, png(2_000)).await.refused(404, "NOT_FOUND");
    assert_eq!(desk.files().len(), 2);
}

fn statement(database: &TestDatabase, sql: &str) -> sea_orm::Statement {
    let backend = match database.kind {
        Kind::Sqlite => sea_orm::DbBackend::Sqlite,
        Kind::Postgres => sea_orm::DbBackend::Postgres,
    };
    sea_orm::Statement::from_string(backend, sql)
}

async fn an_upload_begins_within_fifteen_minutes(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Fake helpdesk calls").await;
    let (late, stored) = (desk.announce(&incident, json!({})).await, desk.attached(&incident).await);
    desk.clock.advance(Duration::seconds(899));
    assert_eq!(desk.put(&stored.upload_url, png(2_000)).await.status, 200);
    desk.clock.advance(Duration::seconds(1));
    for attachment in [&late, &stored] {
        let refusal = desk.put(&attachment.upload_url, png(2_000)).await.refused(409, "CONFLICT");
        assert_eq!(refusal["now"], json!({ "expiredAt": "2026-11-23T08:15:00Z" }));
    }
    assert_eq!(desk.files().len(), 1);

    // An upload that began in time may still be in progress; later it is swept.
    desk.clock.advance(Duration::seconds(180));
    desk.app.sweep_attachments().await.expect("a sweep");
    assert_eq!(desk.state(&late).await, "PENDING");
    desk.clock.advance(Duration::seconds(1));
    desk.app.sweep_attachments().await.expect("a sweep");
    let gone = desk.refused("query($id: ID!) { node(id: $id) { id } }", json!({ "id": late.id })).await;
    assert_eq!(gone.code, "NOT_FOUND");
    desk.put(&late.upload_url, png(2_000)).await.refused(404, "NOT_FOUND");
    assert_eq!(desk.get(&stored.url).await.body, png(2_000), "what is there stays");
}

async fn the_same_bytes_again_are_the_same_answer_and_others_are_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Lookalike domain registered").await;
    let attachment = desk.announce(&incident, json!({})).await;
    let first = desk.put(&attachment.upload_url, png(2_000)).await;
    let again = desk.put(&attachment.upload_url, png(2_000)).await;
    assert_eq!((again.status, again.json()), (200, first.json()));
    let mut others = png(2_000);
    others[1_999] ^= 1;
    let refusal = desk.put(&attachment.upload_url, others).await.refused(409, "CONFLICT");
    assert_eq!(refusal["now"], json!({ "attachment": attachment.id, "state": "STORED" }));
    desk.put(&attachment.upload_url, png(1_999)).await.refused(400, "INVALID");
    assert_eq!(desk.get(&attachment.url).await.body, png(2_000));
    assert_eq!(desk.files().len(), 1);
}

async fn one_upload_of_an_attachment_is_under_way_at_a_time(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Defaced landing page").await;
    let attachment = desk.announce(&incident, json!({ "size": 6 << 20 })).await;
    let bytes = png(6 << 20);
    let mut first = desk.begin(&attachment.upload_url, bytes.len(), &bytes[..bytes.len() - 1]).await;
    while desk.files().is_empty() {
        a_moment().await;
    }
    let mut others = bytes.clone();
    others[20] ^= 1;
    desk.put(&attachment.upload_url, others).await.refused(409, "CONFLICT");
    first.write_all(&bytes[bytes.len() - 1..]).await.expect("the last byte");
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(desk.get(&attachment.url).await.body == bytes);
    assert_eq!(desk.files().len(), 1);
}

async fn an_upload_that_breaks_off_leaves_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Beacon in a container").await;
    let attachment = desk.announce(&incident, json!({ "size": 6 << 20 })).await;
    let bytes = png(6 << 20);
    for sent in [0, 20, 5 << 20, bytes.len() - 1] {
        let broken = desk.begin(&attachment.upload_url, bytes.len(), &bytes[..sent]).await;
        while sent >= 5 << 20 && desk.files().is_empty() {
            a_moment().await;
        }
        drop(broken);
        // Another attachment is accepted once this one is swept.
        let mut again = desk.put(&attachment.upload_url, png(7)).await;
        while again.status == 409 {
            a_moment().await;
            again = desk.put(&attachment.upload_url, png(7)).await;
        }
        again.refused(400, "INVALID");
        while !desk.files().is_empty() {
            a_moment().await;
        }
        desk.nothing_is_there(&attachment).await;
    }
    assert_eq!(desk.put(&attachment.upload_url, bytes).await.status, 200);
}

async fn what_a_killed_node_leaves_is_swept_away(database: TestDatabase) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("images");
    let server =
        Process::serve_with(&database.url, "127.0.0.1:0", &["--attachments", place.to_str().expect("text")]).await;
    let ask = async |query: &str, variables: Value| -> Value {
        let body = json!({ "query": query, "variables": variables });
        let request = reqwest::Client::new().post(format!("http://{}/graphql", server.address)).json(&body);
        request.send().await.expect("an answer").json::<Value>().await.expect("JSON")["data"].take()
    };
    let made =
        ask("mutation { createIncident(input: { title: \"Wiper on a build agent\" }) { incident { id } } }", json!({}));
    let incident = made.await["createIncident"]["incident"]["id"].as_str().expect("an id").to_owned();
    let made = ask(ANNOUNCE, announcement(&incident, json!({ "size": 6 << 20 }))).await["createAttachment"].take();
    let bytes = png(6 << 20);
    let upload_url = made["uploadUrl"].as_str().expect("a path");
    let _broken = begin_at(&server.address, upload_url, bytes.len(), &bytes[..bytes.len() - 1]).await;
    while files_in(&place).is_empty() {
        a_moment().await;
    }
    server.kill();
    assert_eq!(files_in(&place).len(), 1, "what was written lies there");

    let expires_at = made["uploadExpiresAt"].as_str().expect("an instant").parse().expect("an instant");
    let clock = Clock::manual(expires_at);
    clock.advance(Duration::seconds(-1));
    let objects = Some(Objects::in_folder(place.clone()));
    let desk = TestDesk::open_with(&database, Options { clock, objects, ..Options::default() }).await;
    let path = made["attachment"]["url"].as_str().expect("a path");
    desk.get(path).await.refused(404, "NOT_FOUND");
    desk.clock.advance(Duration::seconds(182));
    desk.app.sweep_attachments().await.expect("a sweep");
    assert_eq!(files_in(&place), Vec::<PathBuf>::new());
    let gone =
        desk.refused("query($id: ID!) { node(id: $id) { id } }", json!({ "id": made["attachment"]["id"] })).await;
    assert_eq!(gone.code, "NOT_FOUND");
}

async fn an_attachment_is_for_those_who_read_its_incident(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for (account, role) in [("rea", "READER"), ("ana", "RESPONDER")] {
        desk.user(account, role).await;
    }
    let incident = desk.incident("Insider at the help desk").await;
    let (attachment, pending) = (desk.attached(&incident).await, desk.announce(&incident, json!({})).await);
    let get_as = |account: &'static str| desk.send(desk.getting(&attachment.url).header("Watchfloor-Actor", account));
    for account in ["rea", "ana"] {
        assert_eq!(get_as(account).await.body, png(2_000), "{account}");
    }
    get_as("nobody").await.refused(401, "UNAUTHENTICATED");
    for path in [
        pending.url.as_str(),
        "/attachments/00000000-0000-7000-8000-000000000000",
        "/attachments/x",
        "/attachments/%ff",
    ] {
        desk.get(path).await.refused(404, "NOT_FOUND");
    }
    let etag = get_as("rea").await.header("etag").to_owned();
    desk.act("deleteIncident", json!({ "incidentId": incident })).await;
    for account in ["rea", "ana"] {
        get_as(account).await.refused(404, "NOT_FOUND");
        let held = desk.getting(&attachment.url).header("Watchfloor-Actor", account).header("if-none-match", &etag);
        desk.send(held).await.refused(404, "NOT_FOUND");
    }
    assert_eq!(desk.get(&attachment.url).await.body, png(2_000), "a manager reads on");
    let gone = desk.refused("query($id: ID!) { node(id: $id) { id } }", json!({ "id": attachment.id })).await;
    assert_eq!(gone.code, "NOT_FOUND");
}

async fn a_foreign_page_reaches_no_attachment(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Malvertising on a news page").await;
    let (attachment, pending) = (desk.attached(&incident).await, desk.announce(&incident, json!({})).await);
    for (header, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost.evil.example"),
        ("host", "evil.example"),
    ] {
        desk.send(desk.putting(&pending.upload_url, png(2_000)).header(header, value)).await.refused(403, "FORBIDDEN");
        desk.send(desk.getting(&attachment.url).header(header, value)).await.refused(403, "FORBIDDEN");
    }
    for site in ["cross-site", "same-site"] {
        let foreign = desk.putting(&pending.upload_url, png(2_000)).header("sec-fetch-site", site);
        desk.send(foreign).await.refused(403, "FORBIDDEN");
        let foreign = desk.getting(&attachment.url).header("sec-fetch-site", site);
        desk.send(foreign).await.refused(403, "FORBIDDEN");
    }
    assert_eq!(desk.state(&pending).await, "PENDING");
    let own = desk.putting(&pending.upload_url, png(2_000)).header("origin", &desk.url);
    assert_eq!(desk.send(own).await.status, 200);
}

async fn a_comment_shows_attachments_of_its_own_incident_only(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Payment redirected by a forged invoice").await;
    let other = desk.incident("Another supplier").await;
    let (own, twin) = (desk.attached(&incident).await, desk.attached(&incident).await);
    let (foreign, pending) = (desk.attached(&other).await, desk.announce(&incident, json!({})).await);
    let image = |id: &str| format!("The invoice as it came in:\n\n![invoice]({id})");

    let body = format!("{} and ![twin]({}) ![invoice]({})", image(&own.id), twin.id, own.id);
    let written = desk.act("addComment", json!({ "incidentId": incident, "body": body })).await;
    let (comment, html) = (&written["comment"]["id"], written["comment"]["html"].as_str().expect("HTML"));
    assert_eq!(html.matches(&format!("<img src=\"{}\" alt=\"invoice\"", own.url)).count(), 2, "{html}");
    assert!(html.contains(&format!("src=\"{}\"", twin.url)), "{html}");
    assert!(!html.contains("attachment:"), "{html}");
    let listed = desk.data(LISTED, json!({ "id": incident })).await["incident"].take();
    assert_eq!(each(&listed["attachments"], "id"), [&own.id, &twin.id], "those whose bytes are there");
    let shown = &listed["comments"]["nodes"][0]["attachments"];
    assert_eq!(each(shown, "id"), [&own.id, &twin.id]);
    assert_eq!(each(shown, "url"), [&own.url, &twin.url]);

    let unknown = "attachment:00000000-0000-7000-8000-000000000000";
    for id in [foreign.id.as_str(), pending.id.as_str(), unknown, "attachment:invoice.png", "ATTACHMENT:x"] {
        let body = image(id);
        let added = desk.deny("addComment", json!({ "incidentId": incident, "body": body })).await;
        let edited = desk.deny("editComment", json!({ "commentId": comment, "body": body })).await;
        let updated = desk.update_denied(&incident, json!({ "comment": body, "addTags": ["invoice fraud"] })).await;
        for (refusal, path) in [(added, "input.body"), (edited, "input.body"), (updated, "input.comment")] {
            assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some(path)), "{id}: {refusal:?}");
            assert!(refusal.message.contains(id), "{refusal:?}");
        }
    }
    let code = format!("`![invoice]({unknown})` ![elsewhere](https://files.example/a.png)");
    let html = desk.act("addComment", json!({ "incidentId": incident, "body": code })).await["comment"]["html"].take();
    let html = html.as_str().expect("HTML");
    assert!(!html.contains("<img") && html.contains("<a href=\"https://files.example/a.png\""), "{html}");

    let fewer = desk.act("editComment", json!({ "commentId": comment, "body": image(&twin.id) })).await;
    assert!(!fewer["comment"]["html"].as_str().expect("HTML").contains(&own.url));
    desk.update(&incident, json!({ "comment": image(&own.id) })).await;
    desk.act("deleteComment", json!({ "commentId": comment })).await;
    let listed = desk.data(LISTED, json!({ "id": incident })).await["incident"].take();
    let comments = &listed["comments"]["nodes"];
    assert_eq!(each(&comments[1]["attachments"], "id"), [&own.id]);
    assert_eq!(each(&listed["attachments"], "id"), [&own.id, &twin.id], "an incident keeps what its comments showed");
}

/// A merge needs one UPDATE beside the UPDATE of the comments.
async fn attachments_follow_their_comments_to_another_incident(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) = (desk.incident("Odd sign-ins").await, desk.incident("Session theft").await);
    let attachment = desk.attached(&source).await;
    // A comment keeps the versions of its texts, and the target's next version must not be one of them.
    for tag in ["session", "theft"] {
        desk.act("addTags", json!({ "incidentId": target, "tags": [tag] })).await;
    }
    let body = format!("![sign-in]({})", attachment.id);
    let written = desk.act("addComment", json!({ "incidentId": source, "body": body })).await;
    let of = |id: &str| format!("(SELECT id FROM incident WHERE number = {})", if id == source { 1 } else { 2 });
    for table in ["comment", "attachment"] {
        let sql = format!("UPDATE {table} SET incident_id = {} WHERE incident_id = {}", of(&target), of(&source));
        database.connect().await.execute_raw(statement(&database, &sql)).await.expect("moved");
    }
    let listed = desk.data(LISTED, json!({ "id": target })).await["incident"].take();
    assert_eq!(each(&listed["attachments"], "id"), [&attachment.id]);
    assert_eq!(each(&listed["comments"]["nodes"][0]["attachments"], "id"), [&attachment.id]);
    let comment = &written["comment"]["id"];
    desk.act("editComment", json!({ "commentId": comment, "body": format!("{body} from Oslo") })).await;
    desk.act("deleteIncident", json!({ "incidentId": source })).await;
    desk.user("rea", "READER").await;
    let got = desk.send(desk.getting(&attachment.url).header("Watchfloor-Actor", "rea")).await;
    assert_eq!(got.body, png(2_000), "its rights are those of the target");
}

/// The bucket is s3rver's, which checks signatures as S3 does. It cannot abort a multipart upload.
#[tokio::test]
async fn a_bucket_keeps_images_as_a_folder_does() {
    let database = TestDatabase::fresh(Kind::Sqlite).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut server =
        kit("s3.mjs").arg(folder.path()).arg("evidence").stdout(Stdio::piped()).spawn().expect("the bucket is served");
    let mut said = BufReader::new(server.stdout.take().expect("piped")).lines();
    let port = said.next_line().await.expect("UTF-8").expect("a port");
    let settings = [
        ("AWS_ACCESS_KEY_ID", "S3RVER".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "S3RVER".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    let objects = Some(Objects::in_bucket("evidence", "desk/images", &settings).expect("a bucket"));
    let desk = TestDesk::open_with(&database, Options { objects, ..Options::default() }).await;
    let incident = desk.incident("Card skimmer on a shop's checkout page").await;
    for size in [2_000, 5 << 20, ATTACHMENT_BYTES_MAX as usize] {
        let attachment = desk.announce(&incident, json!({ "size": size })).await;
        let mut html = png(size);
        html[..8].copy_from_slice(b"<script>");
        desk.put(&attachment.upload_url, html).await.refused(400, "INVALID");
        desk.get(&attachment.url).await.refused(404, "NOT_FOUND");
        assert_eq!(desk.put(&attachment.upload_url, png(size)).await.status, 200, "{size} bytes");
        assert!(desk.get(&attachment.url).await.body == png(size), "{size} bytes came back as others");
    }
    let kept = folder.path().join("evidence/desk/images");
    assert_eq!(std::fs::read_dir(&kept).expect("a folder").count(), 3, "each has a place below the prefix");

    let late = desk.announce(&incident, json!({})).await;
    desk.clock.advance(Duration::minutes(20));
    desk.app.sweep_attachments().await.expect("a sweep, also of what is not there");
    desk.put(&late.upload_url, png(2_000)).await.refused(404, "NOT_FOUND");
    server.kill().await.expect("it is there to be killed");
    let attachments = desk.data(LISTED, json!({ "id": incident })).await["incident"]["attachments"].take();
    assert_eq!(each(&attachments, "state"), ["STORED"; 3]);
}

/// Uploads an image in one piece, and an image in parts, onto a disk without room and then with room.
async fn a_full_folder_refuses_an_upload_that_succeeds_once_there_is_room(database: TestDatabase) {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: to mount a small disk takes root");
        return;
    };
    let place = disk.path().join("case/images");
    let objects = Some(Objects::in_folder(place.clone()));
    let desk = TestDesk::open_with(&database, Options { objects, ..Options::default() }).await;
    let incident = desk.incident("Ransom note on a file server").await;
    for (size, stored) in [(2_000, 0), (5 << 20, 1)] {
        let attachment = desk.announce(&incident, json!({ "size": size })).await;
        disk.fill();
        desk.put(&attachment.upload_url, png(size)).await.refused(503, "UNAVAILABLE");
        assert_eq!(desk.state(&attachment).await, "PENDING");
        desk.get(&attachment.url).await.refused(404, "NOT_FOUND");
        assert_eq!(files_in(&place).len(), stored, "a refused upload leaves nothing");
        disk.empty();
        assert_eq!(desk.put(&attachment.upload_url, png(size)).await.status, 200, "{size} bytes");
        assert_eq!(desk.state(&attachment).await, "STORED");
        assert_eq!(desk.get(&attachment.url).await.body, png(size));
    }
}
