//! What refusing a request takes in memory: that of a server process, for bodies whose mistake is found last.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::process::Process;

each_database!(
    a_batch_whose_last_alert_is_wrong_is_refused_without_a_tree,
    a_batch_that_is_used_twice_is_refused_without_a_tree,
);

/// Memory of a refusal, in bytes for each byte of its body. As a tree of values the bodies below take ten and more.
const TIMES_ITS_BODY: usize = 4;

fn alerts(count: usize) -> Vec<Value> {
    let entities: Vec<Value> = (0..5).map(|n| json!({ "kind": "IP", "value": format!("10.0.0.{n}") })).collect();
    let alert = |n: usize| {
        let (id, title) = (format!("a{n}"), "t".repeat(100));
        json!({ "provider": "p", "providerAlertId": id, "title": title, "severity": "LOW", "entities": entities })
    };
    (0..count).map(alert).collect()
}

/// What the process has, in KiB, by the name of a line of its status.
fn kib(process: &Process, line: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a process");
    let line = status.lines().find(|it| it.starts_with(line)).expect("its memory");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// Sends a request to a new server, which must refuse it with these words, and measures. Besides the request the process reads
/// pages of its program, and looks at its database: of three servers the one counts that took the least.
async fn refuse(database: &TestDatabase, query: &str, variables: Value, words: &str) {
    let body = json!({ "query": query, "variables": variables }).to_string();
    let mut least = usize::MAX;
    for _ in 0..3 {
        least = least.min(taken(database, &body, words).await);
    }
    assert!(least <= body.len() * TIMES_ITS_BODY, "{least} bytes for a body of {}", body.len());
}

async fn taken(database: &TestDatabase, body: &str, words: &str) -> usize {
    let server = Process::serve(&database.url).await;
    let client = reqwest::Client::new();
    let send = |body: String| {
        let request =
            client.post(format!("http://{}/graphql", server.address)).header("content-type", "application/json");
        async { request.body(body).send().await.expect("an answer").text().await.expect("a whole body") }
    };
    // What a server takes for its first request at all is no part of this.
    send(json!({ "query": "{ version }" }).to_string()).await;
    std::fs::write(format!("/proc/{}/clear_refs", server.id()), "5").expect("one's own process");
    let before = kib(&server, "VmRSS:");
    let answer = send(body.to_owned()).await;
    let taken = kib(&server, "VmHWM:").saturating_sub(before) * 1024;
    assert!(answer.contains(words), "{answer}");
    server.kill();
    taken
}

async fn a_batch_whose_last_alert_is_wrong_is_refused_without_a_tree(database: TestDatabase) {
    let mut alerts = alerts(4_501);
    alerts[4_500]["severity"] = json!("SEVERE");
    let query = "mutation($v: [AlertInput!]!) { ingestAlerts(input: { alerts: $v }) { position } }";
    refuse(&database, query, json!({ "v": alerts }), "variables.v.4500.severity").await;
}

async fn a_batch_that_is_used_twice_is_refused_without_a_tree(database: TestDatabase) {
    let twice =
        "a: ingestAlerts(input: { alerts: $v }) { position } b: ingestAlerts(input: { alerts: $v }) { position }";
    let query = format!("mutation($v: [AlertInput!]!) {{ {twice} }}");
    refuse(&database, &query, json!({ "v": alerts(4_500) }), "$v is used 2 times").await;
}
