//! Concurrent uploads: a slow upload delays no other, and no account takes all the room.

use std::time::{Duration, Instant};

use sea_orm::ConnectionTrait;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use watchfloor::app::upload::{UploadSettings, Uploads};

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::waiting::PATIENCE;

each_database!(
    those_who_dribble_keep_nobody_waiting,
    a_slow_sender_is_given_up_and_others_have_its_turn,
    an_account_has_its_share_of_uploads,
    an_upload_that_fails_at_its_end_is_sent_again_at_once,
);

fn png(size: usize) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.resize(size, 0);
    bytes
}

/// Announces an image, and returns the path to upload it to.
async fn announce(desk: &TestDesk, account: Option<&str>, incident: &str, size: usize) -> String {
    let announce = "mutation($input: CreateAttachmentInput!) { createAttachment(input: $input) { uploadUrl } }";
    let input = json!({ "incidentId": incident, "name": "a.png", "size": size, "type": "PNG" });
    let made = desk.data_as(account, announce, json!({ "input": input })).await;
    made["createAttachment"]["uploadUrl"].as_str().expect("a path").to_owned()
}

/// Uploads an image, and returns the status of the answer.
async fn send(desk: &TestDesk, path: &str, size: usize) -> u16 {
    let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
    let sent = client.put(format!("{}{path}", desk.url)).body(png(size)).send().await;
    sent.expect("an answer in time").status().as_u16()
}

/// Begins to upload an image, and stops after this many bytes.
async fn dribble(desk: &TestDesk, path: &str, size: usize, sent: usize) -> TcpStream {
    let address = desk.url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head = format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {size}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), &png(size)[..sent]].concat()).await.expect("sent");
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
        let path = announce(&desk, None, &incident, 1_000).await;
        dribblers.push(dribble(&desk, &path, 1_000, 20).await);
    }
    wait_for(&desk, dribblers.len()).await;
    let path = announce(&desk, None, &incident, 200_000).await;
    let start = Instant::now();
    assert_eq!(send(&desk, &path, 200_000).await, 200);
    assert!(start.elapsed() < Duration::from_secs(8), "before the others are given up: {:?}", start.elapsed());
}

async fn a_slow_sender_is_given_up_and_others_have_its_turn(database: TestDatabase) {
    let window = Duration::from_secs(1);
    let desk = open(&database, UploadSettings { at_once: 1, window, ..UploadSettings::default() }).await;
    let incident = desk.incident("One turn").await;
    let path = announce(&desk, None, &incident, 200_000).await;
    let _slow = dribble(&desk, &path, 200_000, 100_000).await;
    wait_for(&desk, 1).await;
    let other = announce(&desk, None, &incident, 1_000).await;
    assert_eq!(send(&desk, &other, 1_000).await, 200);
    assert_eq!(desk.app.uploads.begun(), 0, "the slow one is given up");
}

async fn an_account_has_its_share_of_uploads(database: TestDatabase) {
    let desk = open(&database, UploadSettings { begun_of_one: 2, ..UploadSettings::default() }).await;
    desk.user("ann", "RESPONDER").await;
    let incident = desk.incident("Two accounts").await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let path = announce(&desk, None, &incident, 1_000).await;
        slow.push(dribble(&desk, &path, 1_000, 20).await);
    }
    wait_for(&desk, 2).await;
    let third = announce(&desk, None, &incident, 1_000).await;
    assert_eq!(send(&desk, &third, 1_000).await, 503);
    let of_ann = announce(&desk, Some("ann"), &incident, 1_000).await;
    assert_eq!(send(&desk, &of_ann, 1_000).await, 200);
    drop(slow);
    while send(&desk, &third, 1_000).await == 503 {
        crate::support::waiting::a_moment().await;
    }
    assert_eq!(send(&desk, &third, 1_000).await, 200, "what was refused may be sent again");
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
        let path = announce(&desk, None, &incident, 100).await;
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
        assert_eq!(send(&desk, &path, 100).await, 500, "{refused}");
        raw.execute_unprepared(allow).await.expect("no trigger");
        assert_eq!(send(&desk, &path, 100).await, 200, "{refused}: nobody waits for what has failed");
    }
}
