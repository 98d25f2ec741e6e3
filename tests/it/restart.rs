//! Third-party clients against the real binary: it is killed and started again, and each client resumes without a gap.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::support::database::{TestDatabase, each_database};
use crate::support::kit::{kit, python};
use crate::support::process::Process;
use crate::support::waiting::PATIENCE;

each_database!(
    the_client_of_graphql_ws_has_everything_once,
    the_client_of_subscriptions_transport_ws_has_everything_once,
    apollo_client_has_everything_once,
    apollo_client_has_everything_once_over_multipart,
    the_client_of_graphql_sse_has_everything_once,
    the_client_of_graphql_sse_has_everything_once_on_one_stream_for_all,
    an_event_source_has_everything_once_by_itself,
    the_client_of_urql_has_everything_once,
    gql_of_python_has_everything_once,
    gql_of_python_has_everything_once_by_the_new_subprotocol,
);

async fn the_client_of_graphql_ws_has_everything_once(database: TestDatabase) {
    everything_once(&database, kit("resume-graphql-ws.mjs")).await;
}

async fn the_client_of_subscriptions_transport_ws_has_everything_once(database: TestDatabase) {
    everything_once(&database, kit("resume-legacy.mjs")).await;
}

async fn apollo_client_has_everything_once(database: TestDatabase) {
    everything_once(&database, kit("resume-apollo.mjs")).await;
}

async fn apollo_client_has_everything_once_over_multipart(database: TestDatabase) {
    everything_once_over("http", &database, following("apollo")).await;
}

async fn the_client_of_graphql_sse_has_everything_once(database: TestDatabase) {
    everything_once_over("http", &database, following("sse")).await;
}

async fn the_client_of_graphql_sse_has_everything_once_on_one_stream_for_all(database: TestDatabase) {
    everything_once_over("http", &database, following("single")).await;
}

async fn an_event_source_has_everything_once_by_itself(database: TestDatabase) {
    everything_once_over("http", &database, following("eventsource")).await;
}

async fn the_client_of_urql_has_everything_once(database: TestDatabase) {
    everything_once_over("http", &database, following("urql")).await;
}

/// Returns one of the clients that follow over HTTP.
fn following(client: &str) -> Command {
    let mut follow = kit("resume-http.mjs");
    follow.arg(client);
    follow
}

async fn gql_of_python_has_everything_once(database: TestDatabase) {
    everything_once(&database, python("resume.py")).await;
}

async fn gql_of_python_has_everything_once_by_the_new_subprotocol(database: TestDatabase) {
    everything_once(&database, speaking("graphql-transport-ws")).await;
}

/// Returns the client gql, which offers this subprotocol.
fn speaking(subprotocol: &str) -> Command {
    let mut gql = python("resume.py");
    gql.arg(subprotocol);
    gql
}

/// How often the server is killed under each client.
const KILLS: usize = 4;

/// Checks that a client, which resumes from its last position and prints each item's kind and title, receives every
/// incident once and in order.
async fn everything_once(database: &TestDatabase, client: Command) {
    everything_once_over("ws", database, client).await;
}

async fn everything_once_over(scheme: &str, database: &TestDatabase, mut client: Command) {
    let mut server = Process::serve(&database.url).await;
    let address = server.address.clone();
    let mut client = client
        .arg(format!("{scheme}://{address}/graphql"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client runs");
    let mut said = Said(BufReader::new(client.stdout.take().expect("piped")).lines());
    let live = tokio::time::timeout(PATIENCE, said.line()).await.expect("the client comes");
    assert_eq!(live, "Live", "from then on nothing may be missing");
    let (mut made, mut seen) = (Vec::new(), Vec::new());
    for life in 0..=KILLS {
        if life > 0 {
            // Some incidents are in transit when the server dies, and nobody has read the others yet.
            server.kill();
            server = Process::serve_at(&database.url, &address).await;
        }
        for number in 0..4 {
            made.push(format!("life {life}, report {number}"));
            create(&address, &made[made.len() - 1]).await;
        }
        // Wait until the client has reconnected; it may not have read more.
        while !seen.contains(&made[life * 4]) {
            seen.push(said.entered().await);
        }
    }
    create(&address, "the end").await;
    made.push("the end".into());
    while seen.last() != made.last() {
        seen.push(said.entered().await);
    }
    assert_eq!(seen, made);
    server.kill();
}

/// The output of a client.
struct Said(Lines<BufReader<ChildStdout>>);

impl Said {
    async fn line(&mut self) -> String {
        let line = self.0.next_line().await;
        line.expect("UTF-8").expect("the client goes on").trim_end().to_owned()
    }

    /// Returns the title of the next incident that entered.
    async fn entered(&mut self) -> String {
        let entered = async {
            loop {
                let line = self.line().await;
                match line.split_once(' ') {
                    Some(("QueueEntered", title)) => return title.to_owned(),
                    None if line == "Live" || line == "Heartbeat" => {}
                    _ => panic!("an item that must not come: {line}"),
                }
            }
        };
        // Heartbeats never stop, even if an item is missing.
        tokio::time::timeout(PATIENCE, entered).await.expect("the incident enters")
    }
}

async fn create(address: &str, title: &str) {
    let query = "mutation($title: String!) { createIncident(input: { title: $title }) { changed } }";
    let body = json!({ "query": query, "variables": { "title": title } });
    let request = reqwest::Client::new().post(format!("http://{address}/graphql")).json(&body);
    let answer: serde_json::Value = request.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer["data"]["createIncident"]["changed"], true, "{answer}");
}
