//! The program log of the real binary: clients cannot flood it.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::process::Process;
use crate::support::waiting::{PATIENCE, a_moment};

each_database!(a_warning_that_clients_bring_about_is_logged_once_a_minute_with_a_count);

/// The number of requests that fail in one minute.
const FAILED: usize = 200;

/// How long later warnings of a kind are left out, plus a moment.
const QUIET: Duration = Duration::from_secs(61);

/// Waits until the log has this many lines.
async fn wait_for(lines: usize, logged: &impl Fn() -> Vec<String>) {
    let written = async {
        while logged().len() < lines {
            a_moment().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("a line in time");
}

async fn a_warning_that_clients_bring_about_is_logged_once_a_minute_with_a_count(database: TestDatabase) {
    let server = Process::serve(&database.url).await;
    let raw = database.connect().await;
    raw.execute_unprepared("ALTER TABLE saved_view RENAME TO gone").await.expect("renamed");
    let client = reqwest::Client::new();
    let fail = async || {
        let request = client.post(format!("http://{}/graphql", server.address));
        let answer = request.json(&json!({ "query": "{ views { slug } }" })).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INTERNAL", "{answer}");
    };
    let logged = || server.logged("an operation failed for a reason of ours");
    for _ in 0..FAILED {
        fail().await;
    }
    wait_for(1, &logged).await;
    let first = logged();
    assert_eq!(first.len(), 1, "{first:#?}");
    assert!(first[0].contains(" ERROR ") && !first[0].contains("left_out"), "{first:#?}");
    tokio::time::sleep(QUIET).await;
    fail().await;
    wait_for(2, &logged).await;
    let both = logged();
    assert!(both.len() == 2 && both[1].ends_with(&format!(" log.left_out={}", FAILED - 1)), "{both:#?}");
    server.kill();
}
