//! Concurrent uploads: a slow upload delays no other, and no account takes all the room.

use std::time::{Duration, Instant};

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use watchfloor::app::upload::{UploadSettings, Uploads};

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::process::Process;
use crate::support::waiting::PATIENCE;

each_database!(
    those_who_dribble_keep_nobody_waiting,
    a_slow_sender_is_given_up_and_others_have_its_turn,
    an_account_has_its_share_of_uploads,
    an_address_has_its_share_of_uploads,
    an_upload_that_fails_at_its_end_is_sent_again_at_once,
);

fn png(size: usize) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.resize(size, 0);
    bytes
}

/// Runs an operation that must succeed, and returns its data.
async fn data(url: &str, account: Option<&str>, query: &str, variables: Value) -> Value {
    let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
    let request = client.post(format!("{url}/graphql")).json(&json!({ "query": query, "variables": variables }));
    let request = account.into_iter().fold(request, |request, account| request.header("Watchfloor-Actor", account));
    let mut answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    assert!(answer.get("errors").is_none(), "{query} failed: {answer}");
    answer["data"].take()
}

/// Announces an image, and returns the path to upload it to.
async fn announce(url: &str, account: Option<&str>, incident: &str, size: usize) -> String {
    let announce = "mutation($input: CreateAttachmentInput!) { createAttachment(input: $input) { uploadUrl } }";
    let input = json!({ "incidentId": incident, "name": "a.png", "size": size, "type": "PNG" });
    let made = data(url, account, announce, json!({ "input": input })).await;
    made["createAttachment"]["uploadUrl"].as_str().expect("a path").to_owned()
}

/// Uploads an image, and returns the status of the answer.
async fn send(url: &str, path: &str, size: usize) -> u16 {
    send_from("127.0.0.1", url, path, size).await
}

/// Uploads an image from an address of this machine, and returns the status of the answer.
async fn send_from(address: &str, url: &str, path: &str, size: usize) -> u16 {
    let client = reqwest::Client::builder().timeout(PATIENCE).local_address(address.parse().ok());
    let sent = client.build().expect("a client").put(format!("{url}{path}")).body(png(size)).send().await;
    sent.expect("an answer in time").status().as_u16()
}

/// Begins to upload an image, and stops after this many bytes.
async fn dribble(url: &str, path: &str, size: usize, sent: usize) -> TcpStream {
    let address = url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head = format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {size}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), &png(size)[..sent]].concat()).await.expect("sent");
    stream
}

/// Begins to upload an image, and stops after twenty bytes. Returns when the desk has counted the upload: the desk asks
/// for the bytes then.
async fn begin(url: &str, path: &str, size: usize) -> TcpStream {
    let address = url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = [0; 25];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    assert_eq!(answer, *b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&png(20)).await.expect("sent");
    stream
}

async fn open(database: &TestDatabase, uploads: UploadSettings) -> TestDesk {
    TestDesk::open_with(database, Options { uploads: Uploads::within(uploads), ..Options::default() }).await
}

/// Waits until the bytes of this many uploads have begun to arrive.
async fn wait_for(desk: &TestDesk, uploads: usize) {
    while desk.app.uploads.begun() < uploads {
        crate::support::waiting::a_moment().await;
    }
}

async fn those_who_dribble_keep_nobody_waiting(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Sixteen who dribble").await;
    let mut dribblers = Vec::new();
    for _ in 0..20 {
        let path = announce(&desk.url, None, &incident, 1_000).await;
        dribblers.push(dribble(&desk.url, &path, 1_000, 20).await);
    }
    wait_for(&desk, dribblers.len()).await;
    let path = announce(&desk.url, None, &incident, 200_000).await;
    let start = Instant::now();
    assert_eq!(send(&desk.url, &path, 200_000).await, 200);
    assert!(start.elapsed() < Duration::from_secs(8), "before the others are given up: {:?}", start.elapsed());
}

async fn a_slow_sender_is_given_up_and_others_have_its_turn(database: TestDatabase) {
    let window = Duration::from_secs(1);
    let desk = open(&database, UploadSettings { at_once: 1, window, ..UploadSettings::default() }).await;
    let incident = desk.incident("One turn").await;
    let path = announce(&desk.url, None, &incident, 200_000).await;
    let _slow = dribble(&desk.url, &path, 200_000, 100_000).await;
    wait_for(&desk, 1).await;
    let other = announce(&desk.url, None, &incident, 1_000).await;
    assert_eq!(send(&desk.url, &other, 1_000).await, 200);
    assert_eq!(desk.app.uploads.begun(), 0, "the slow one is given up");
}

async fn an_account_has_its_share_of_uploads(database: TestDatabase) {
    let desk = open(&database, UploadSettings { begun_of_one: 2, ..UploadSettings::default() }).await;
    desk.user("ann", "RESPONDER").await;
    let incident = desk.incident("Two accounts").await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let path = announce(&desk.url, None, &incident, 1_000).await;
        slow.push(dribble(&desk.url, &path, 1_000, 20).await);
    }
    wait_for(&desk, 2).await;
    let third = announce(&desk.url, None, &incident, 1_000).await;
    assert_eq!(send(&desk.url, &third, 1_000).await, 503);
    let of_ann = announce(&desk.url, Some("ann"), &incident, 1_000).await;
    assert_eq!(send(&desk.url, &of_ann, 1_000).await, 200);
    drop(slow);
    while send(&desk.url, &third, 1_000).await == 503 {
        crate::support::waiting::a_moment().await;
    }
    assert_eq!(send(&desk.url, &third, 1_000).await, 200, "what was refused may be sent again");
}

async fn an_address_has_its_share_of_uploads(database: TestDatabase) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("text");
    // At one byte a second, twenty bytes are enough for 20 s.
    let settings = ["--uploads-of-one-max", "2", "--upload-bytes-per-second-min", "1", "--attachments", folder];
    let server = Process::serve_with(&database.url, "127.0.0.1:0", &settings).await;
    let url = format!("http://{}", server.address);
    let prepare = "mutation { upsertUser(input: { account: \"ann\", role: RESPONDER }) { changed }
        createIncident(input: { title: \"Two addresses\" }) { incident { id } } }";
    let made = data(&url, None, prepare, json!({})).await;
    let incident = made["createIncident"]["incident"]["id"].as_str().expect("an id");
    let mut begun = Vec::new();
    for _ in 0..2 {
        begun.push(begin(&url, &announce(&url, None, incident, 1_000).await, 1_000).await);
    }
    let of_ann = announce(&url, Some("ann"), incident, 1_000).await;
    assert_eq!(send(&url, &of_ann, 1_000).await, 503, "the address has its share");
    assert_eq!(send_from("127.0.0.2", &url, &of_ann, 1_000).await, 200, "another address has its own");
    server.kill();
}

async fn an_upload_that_fails_at_its_end_is_sent_again_at_once(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("A picture of it").await;
    let raw = database.connect().await;
    if database.kind == Kind::Postgres {
        let function = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;";
        raw.execute_unprepared(function).await.expect("a function");
    }
    // The bytes are stored, but the database refuses to record that; or it refuses to record the upload's end.
    for refused in ["NEW.stored_at IS NOT NULL", "NEW.upload IS NULL"] {
        let path = announce(&desk.url, None, &incident, 100).await;
        let (refuse, allow) = match database.kind {
            Kind::Sqlite => ("BEGIN SELECT RAISE(ABORT, 'no'); END", "DROP TRIGGER refuse"),
            Kind::Postgres => ("EXECUTE FUNCTION refuse()", "DROP TRIGGER refuse ON attachment"),
        };
        let (each, when) = match database.kind {
            Kind::Sqlite => ("", format!("WHEN {refused}")),
            Kind::Postgres => ("FOR EACH ROW", format!("WHEN ({refused})")),
        };
        let trigger = format!("CREATE TRIGGER refuse BEFORE UPDATE ON attachment {each} {when} {refuse}");
        raw.execute_unprepared(&trigger).await.expect("a trigger");
        assert_eq!(send(&desk.url, &path, 100).await, 500, "{refused}");
        raw.execute_unprepared(allow).await.expect("no trigger");
        assert_eq!(send(&desk.url, &path, 100).await, 200, "{refused}: nobody waits for what has failed");
    }
}
