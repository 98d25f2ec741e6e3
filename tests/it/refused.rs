//! The memory of a refused request: measured in a server process, for bodies with the mistake at their end.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::process::Process;

each_database!(
    a_batch_whose_last_alert_is_wrong_is_refused_without_a_tree,
    a_batch_that_is_used_twice_is_refused_without_a_tree,
    a_text_that_is_too_long_is_refused_without_many_copies,
);

/// The memory of a refusal, in bytes per byte of its body. As a tree of values the bodies below take ten and more.
const TIMES_ITS_BODY: usize = 4;

/// The memory of a refusal that needs the database, per byte of its body: the command holds its text by then.
const TIMES_ITS_BODY_IN_A_COMMAND: usize = 5;

fn alerts(count: usize) -> Vec<Value> {
    let entities: Vec<Value> = (0..5).map(|n| json!({ "kind": "IP", "value": format!("10.0.0.{n}") })).collect();
    let alert = |n: usize| {
        let (id, title) = (format!("a{n}"), "t".repeat(100));
        json!({ "provider": "p", "providerAlertId": id, "title": title, "severity": "LOW", "entities": entities })
    };
    (0..count).map(alert).collect()
}

/// Returns a value from the process's status in KiB, by the name of its line.
fn kib(process: &Process, line: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a process");
    let line = status.lines().find(|it| it.starts_with(line)).expect("its memory");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// Sends a large request to a new server, which must refuse it with these words, and measures the memory. A small
/// refused request goes first, so that the program's pages do not count. The process also polls its database meanwhile,
/// so the smallest result of five servers counts.
async fn refuse(database: &TestDatabase, query: &str, small: Value, large: Value, words: &str) {
    refuse_within(TIMES_ITS_BODY, database, query, [small, large], words).await;
}

async fn refuse_within(times: usize, database: &TestDatabase, query: &str, variables: [Value; 2], words: &str) {
    let [small, body] = variables.map(|variables| json!({ "query": query, "variables": variables }).to_string());
    let mut least = usize::MAX;
    for _ in 0..5 {
        least = least.min(taken(database, &small, &body, words).await);
    }
    println!("{words}: {:.2} times", least as f64 / body.len() as f64);
    assert!(least <= body.len() * times, "{least} bytes for a body of {}", body.len());
}

async fn taken(database: &TestDatabase, small: &str, body: &str, words: &str) -> usize {
    let server = Process::serve(&database.url).await;
    let client = reqwest::Client::new();
    let send = |body: String| {
        let request =
            client.post(format!("http://{}/graphql", server.address)).header("content-type", "application/json");
        async { request.body(body).send().await.expect("an answer").text().await.expect("a whole body") }
    };
    let answer = send(small.to_owned()).await;
    assert!(answer.contains("\"errors\""), "{answer}");
    std::fs::write(format!("/proc/{}/clear_refs", server.id()), "5").expect("one's own process");
    let before = kib(&server, "VmRSS:");
    let answer = send(body.to_owned()).await;
    let taken = kib(&server, "VmHWM:").saturating_sub(before) * 1024;
    assert!(answer.contains(words), "{answer}");
    server.kill();
    taken
}

fn last_one_wrong(count: usize) -> Value {
    let mut alerts = alerts(count);
    alerts[count - 1]["severity"] = json!("SEVERE");
    json!({ "v": alerts })
}

async fn a_batch_whose_last_alert_is_wrong_is_refused_without_a_tree(database: TestDatabase) {
    let query = "mutation($v: [AlertInput!]!) { ingestAlerts(input: { alerts: $v }) { position } }";
    refuse(&database, query, last_one_wrong(1), last_one_wrong(4_501), "variables.v.4500.severity").await;
}

async fn a_batch_that_is_used_twice_is_refused_without_a_tree(database: TestDatabase) {
    let twice =
        "a: ingestAlerts(input: { alerts: $v }) { position } b: ingestAlerts(input: { alerts: $v }) { position }";
    let query = format!("mutation($v: [AlertInput!]!) {{ {twice} }}");
    refuse(&database, &query, last_one_wrong(1), json!({ "v": alerts(4_500) }), "$v is used 2 times").await;
}

async fn a_text_that_is_too_long_is_refused_without_many_copies(database: TestDatabase) {
    let text = "a ".repeat(1_000_000);
    let incident = "incident:0193f6c4-8d5e-7a31-b9c2-5d0e8f7a6b41";
    let comment = "mutation($v: AddCommentInput!) { addComment(input: $v) { position } }";
    let saying = |text: &str| json!({ "v": { "incidentId": incident, "body": text } });
    refuse(&database, comment, saying("Who is that?"), saying(&text), "30000").await;
    let rename = "mutation($v: RenameIncidentInput!) { renameIncident(input: $v) { position } }";
    let called = |text: &str| json!({ "v": { "incidentId": incident, "title": text } });
    let variables = [called("Not there"), called(&text)];
    refuse_within(TIMES_ITS_BODY_IN_A_COMMAND, &database, rename, variables, "NOT_FOUND").await;
    let look = "query($v: String) { incidents(filter: { text: $v }) { totalCount } }";
    refuse(&database, look, json!({ "v": " " }), json!({ "v": text }), "characters").await;
}
