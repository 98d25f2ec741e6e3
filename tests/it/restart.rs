//! The real clients of each protocol on the real binary: killed and started again, and the client goes on without a gap.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::database::{TestDatabase, each_database};
use crate::support::process::Process;

each_database!(
    the_client_of_graphql_ws_goes_on_from_its_last_position,
    the_client_of_graphql_sse_goes_on_from_its_last_position,
    the_client_of_graphql_sse_goes_on_with_one_stream_for_all,
    an_event_source_goes_on_by_itself,
    the_client_of_urql_goes_on_from_its_last_position,
    the_client_of_apollo_goes_on_from_its_last_position,
);

async fn the_client_of_graphql_ws_goes_on_from_its_last_position(database: TestDatabase) {
    goes_on(&database, &["resume.mjs"], "ws").await;
}

async fn the_client_of_graphql_sse_goes_on_from_its_last_position(database: TestDatabase) {
    goes_on(&database, &["follow.mjs", "sse"], "http").await;
}

async fn the_client_of_graphql_sse_goes_on_with_one_stream_for_all(database: TestDatabase) {
    goes_on(&database, &["follow.mjs", "single"], "http").await;
}

async fn an_event_source_goes_on_by_itself(database: TestDatabase) {
    goes_on(&database, &["follow.mjs", "eventsource"], "http").await;
}

async fn the_client_of_urql_goes_on_from_its_last_position(database: TestDatabase) {
    goes_on(&database, &["follow.mjs", "urql"], "http").await;
}

async fn the_client_of_apollo_goes_on_from_its_last_position(database: TestDatabase) {
    goes_on(&database, &["follow.mjs", "apollo"], "http").await;
}

/// Kills the server under a client, three times, and demands that it is given everything, once.
async fn goes_on(database: &TestDatabase, script: &[&str], scheme: &str) {
    let mut server = Process::serve(&database.url).await;
    let address = server.address.clone();
    let kits = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm");
    assert!(kits.join("node_modules").is_dir(), "the protocol kits are not installed: `make test` does it");
    let mut client = Command::new("node")
        .arg(kits.join(script[0]))
        .args(&script[1..])
        .arg(format!("{scheme}://{address}/graphql"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node runs");
    let mut lines = BufReader::new(client.stdout.take().expect("piped")).lines();
    let live = lines.next_line().await.expect("UTF-8").expect("the client goes on");
    assert_eq!(live.trim(), "Live", "from then on nothing may be missing");
    let mut entered = async || loop {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await.expect("in time");
        let line = line.expect("UTF-8").expect("the client goes on");
        match line.split_once(' ') {
            Some(("QueueEntered", title)) => return title.to_owned(),
            Some(("Live" | "Heartbeat", _)) => {}
            _ => panic!("an item that must not come: {line}"),
        }
    };
    for life in 0..3 {
        for number in 0..3 {
            create(&address, &format!("life {life}, report {number}")).await;
        }
        assert_eq!(entered().await, format!("life {life}, report 0"));
        // Two of the three may be on their way when the server dies: they come after the restart, once.
        server.kill();
        server = Process::serve_at(&database.url, &address).await;
        let seen = [entered().await, entered().await];
        assert_eq!(seen, [format!("life {life}, report 1"), format!("life {life}, report 2")]);
    }
    server.kill();
}

async fn create(address: &str, title: &str) {
    let query = "mutation($title: String!) { createIncident(input: { title: $title }) { changed } }";
    let body = json!({ "query": query, "variables": { "title": title } });
    let request = reqwest::Client::new().post(format!("http://{address}/graphql")).json(&body);
    let answer: serde_json::Value = request.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer["data"]["createIncident"]["changed"], true, "{answer}");
}
