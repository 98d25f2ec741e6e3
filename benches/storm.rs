//! An alert storm: connectors ingest alerts as fast as configured, while screens follow the queue and analysts work.
//!
//! `cargo bench --bench storm` runs 100,000 alerts in five minutes, 1,000 screens and 20 analysts, on PostgreSQL (on
//! SQLite with DATABASE=sqlite:). ALERTS, SECONDS, SCREENS and ANALYSTS change the size. The run fails if an alert is
//! missing or was ingested twice, if two screens of one query received different items, or if the state that a screen
//! has folded differs from a query at the end. It prints how long analysts waited.

#![expect(clippy::print_stdout, reason = "figures for a person")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails says so by its end")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests' own servers, of which this needs a few")]
mod support;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::process::{Process, cpu_seconds};
use support::socket::Socket;
use tokio::task::JoinSet;
use watchfloor::domain::position::Position;

/// Alerts in one request of a connector.
const BATCH: usize = 50;

/// The number of concurrent connectors.
const CONNECTORS: usize = 4;

/// Every tenth screen has a filter of its own. It folds its stream into a queue, which a query at the end must equal.
const OWN_FILTER_EVERY: usize = 10;

/// The number of incidents before the storm, of which 1 in 20 is open.
const INCIDENTS_BEFORE: &str = "20000";

/// The time for which an analyst looks at a page before the next action.
const ANALYST_LOOKS: Duration = Duration::from_millis(1_500);

const SCREEN: &str = "subscription($filter: IncidentFilterInput) { incidentQueue(filter: $filter) {
    __typename position
    ... on QueueEntered { row { id number version title severity status owner { name } tags { name } alertCount updatedAt } }
    ... on QueueUpdated { row { id number version title severity status owner { name } tags { name } alertCount updatedAt } }
    ... on QueueLeft { incidentId } } }";

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// Returns a filter that selects all open incidents and equals no other filter.
fn own_filter(number: usize) -> Value {
    let from = chrono::DateTime::UNIX_EPOCH + chrono::Duration::seconds(number as i64);
    json!({ "created": { "from": from } })
}

/// Returns the alerts of a batch, as sensors of one attack wave report it: a few hosts, and an account in many alerts.
fn alerts(first: usize) -> Vec<Value> {
    let alert = |number: usize| {
        let wave = number / 400;
        json!({
            "provider": "Sensor grid", "providerAlertId": format!("storm-{number}"), "product": "Sensor grid",
            "title": format!("Encryption of shared folders on ws-{:04}", wave * 8 + number % 8),
            "severity": if number.is_multiple_of(9) { "HIGH" } else { "MEDIUM" }, "techniques": ["T1486"],
            "entities": [
                { "kind": "DEVICE", "value": format!("ws-{:04}", wave * 8 + number % 8) },
                { "kind": "USER", "value": format!("svc-backup-{:03}", wave * 2 + number % 2) },
            ],
        })
    };
    (first..first + BATCH).map(alert).collect()
}

/// The state that all parts of a run share.
struct Storm {
    address: String,
    client: reqwest::Client,
    /// The offset that every screen has to reach; `None` before the end.
    end: AtomicU64,
    live: AtomicU64,
    frames: AtomicU64,
    over: AtomicBool,
}

/// The result of a screen.
struct Shown {
    /// The number of items, and a hash of their bytes in order.
    items: (u64, u64),
    /// The incidents of the queue with their versions, if the screen folds its stream.
    folded: Option<BTreeMap<String, i64>>,
}

impl Storm {
    async fn ask(&self, query: &str, variables: Value) -> Value {
        let url = format!("http://{}/graphql", self.address);
        let answer =
            self.client.post(url).json(&json!({ "query": query, "variables": variables })).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        assert!(answer.get("errors").is_none(), "{query}: {answer:#}");
        answer["data"].take()
    }

    /// Returns the queue as a query answers it.
    async fn queue(&self, filter: &Value) -> BTreeMap<String, i64> {
        let page = "query($filter: IncidentFilterInput, $after: String) { incidents(filter: $filter, first: 100, after: $after) {
            nodes { id version } pageInfo { hasNextPage endCursor } } }";
        let (mut queue, mut after) = (BTreeMap::new(), Value::Null);
        loop {
            let mut answer = self.ask(page, json!({ "filter": filter, "after": after })).await;
            for node in answer["incidents"]["nodes"].as_array().unwrap() {
                queue.insert(node["id"].as_str().unwrap().to_owned(), node["version"].as_i64().unwrap());
            }
            if answer["incidents"]["pageInfo"]["hasNextPage"] == false {
                return queue;
            }
            after = answer["incidents"]["pageInfo"]["endCursor"].take();
        }
    }

    /// Runs a screen until it has received everything.
    async fn screen(self: Arc<Self>, number: usize) -> Shown {
        let folds = number.is_multiple_of(OWN_FILTER_EVERY);
        let filter = if folds { own_filter(number) } else { json!({}) };
        let mut socket = Socket::ready(&format!("ws://{}/graphql", self.address)).await;
        let payload = json!({ "query": SCREEN, "variables": { "filter": filter } });
        socket.send(json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
        let (mut count, mut hash) = (0, DefaultHasher::new());
        let mut folded: Option<BTreeMap<String, i64>> = None;
        loop {
            let text = socket.text().await;
            let at = text.find("\"position\":\"").map(|at| &text[at + 12..]).and_then(|rest| rest.split('"').next());
            let Some(at) = at.and_then(Position::parse) else { panic!("screen {number}: {text}") };
            let is_live = text.contains("\"__typename\":\"Live\"");
            if is_live {
                self.live.fetch_add(1, Ordering::AcqRel);
                // The screen reads the state before the stream once; later changes come as items, and are newer.
                folded = folds.then(BTreeMap::new);
            } else if !text.contains("\"__typename\":\"Heartbeat\"") {
                assert!(!text.contains("Resync"), "screen {number}: {text}");
                self.frames.fetch_add(1, Ordering::Relaxed);
                count += 1;
                hash.write(text.as_bytes());
                if let Some(folded) = &mut folded {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    let item = &message["payload"]["data"]["incidentQueue"];
                    match item["row"]["id"].as_str() {
                        Some(id) => folded.insert(id.to_owned(), item["row"]["version"].as_i64().unwrap()),
                        None => folded.insert(item["incidentId"].as_str().unwrap().to_owned(), -1),
                    };
                }
            }
            if at.offset >= self.end.load(Ordering::Acquire) {
                return Shown { items: (count, hash.finish()), folded };
            }
        }
    }

    /// Runs a connector, which sends its part of the alerts evenly over the time.
    async fn connector(self: Arc<Self>, number: usize, batches: usize, time: Duration) -> Vec<Duration> {
        let query =
            "mutation($alerts: [AlertInput!]!) { ingestAlerts(input: { alerts: $alerts, into: { correlate: {} } }) {
            alerts { id } } }";
        let mut pace = tokio::time::interval(time / batches as u32);
        let mut waited = Vec::new();
        for batch in 0..batches {
            pace.tick().await;
            let begun = Instant::now();
            let answer = self.ask(query, json!({ "alerts": alerts((batch * CONNECTORS + number) * BATCH) })).await;
            waited.push(begun.elapsed());
            assert_eq!(answer["ingestAlerts"]["alerts"].as_array().map(Vec::len), Some(BATCH));
        }
        waited
    }

    /// Runs an analyst, who looks at the queue and then acts on an incident in it.
    async fn analyst(self: Arc<Self>, number: usize) -> (Vec<Duration>, Vec<Duration>) {
        let page =
            "query($filter: IncidentFilterInput) { incidents(filter: $filter, first: 50) { totalCount nodes { id title
            severity status owner { name } tags { name } alertCount } } queueSummary { open unassigned } }";
        let actions = [
            "mutation($id: ID!) { addComment(input: { incidentId: $id, body: \"Isolated the host, the owner is told.\" }) { changed } }",
            "mutation($id: ID!) { assignIncident(input: { incidentId: $id, owner: { me: true } }) { changed } }",
            "mutation($id: ID!) { addTags(input: { incidentId: $id, tags: [\"ransomware\"] }) { changed } }",
        ];
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        tokio::time::sleep(ANALYST_LOOKS * (number % 20) as u32 / 20).await;
        let mut turn = number;
        while !self.over.load(Ordering::Acquire) {
            let filter = if turn.is_multiple_of(3) { json!({ "severity": ["HIGH"] }) } else { json!({}) };
            let begun = Instant::now();
            let answer = self.ask(page, json!({ "filter": filter })).await;
            reads.push(begun.elapsed());
            let nodes = answer["incidents"]["nodes"].as_array().unwrap();
            if let Some(incident) = nodes.get(turn % nodes.len().max(1)) {
                let begun = Instant::now();
                self.ask(actions[turn % actions.len()], json!({ "id": incident["id"] })).await;
                writes.push(begun.elapsed());
            }
            turn += 7;
            tokio::time::sleep(ANALYST_LOOKS).await;
        }
        (reads, writes)
    }
}

fn told(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
    println!(
        "{name}: {} waited {:.1} ms at the median, {:.1} at p99, {:.1} at most",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}

#[tokio::main]
async fn main() {
    let (total, seconds) = (setting("ALERTS", 100_000), setting("SECONDS", 300));
    let (screens, analysts) = (setting("SCREENS", 1_000), setting("ANALYSTS", 20));
    let folder = tempfile::tempdir().unwrap();
    let on_sqlite = std::env::var("DATABASE").is_ok_and(|name| name == "sqlite");
    let cluster = if on_sqlite {
        None
    } else {
        Some(tokio::task::spawn_blocking(support::postgres::Cluster::start_private).await.unwrap())
    };
    let url = match &cluster {
        Some(cluster) => cluster.fresh_database().await,
        None => format!("sqlite://{}", folder.path().join("desk.db").display()),
    };
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_watchfloor"))
        .args(["generate", "--incidents", INCIDENTS_BEFORE, "--database-url", &url])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let desk =
        Process::serve_with(&url, "127.0.0.1:0", &["--ring-changes", "20000", "--heartbeat-seconds", "10"]).await;
    let storm = Arc::new(Storm {
        address: desk.address.clone(),
        client: reqwest::Client::new(),
        end: AtomicU64::new(u64::MAX),
        live: AtomicU64::new(0),
        frames: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let before = storm.queue(&json!({})).await;
    let alerts_before = count_alerts(&storm).await;
    let mut watching = JoinSet::new();
    for number in 0..screens {
        let screen = storm.clone().screen(number);
        watching.spawn(async move { (number, screen.await) });
        while number % 100 == 99 && storm.live.load(Ordering::Acquire) <= number as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    while storm.live.load(Ordering::Acquire) < screens as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut working = JoinSet::new();
    for number in 0..analysts {
        working.spawn(storm.clone().analyst(number));
    }
    let batches = total / BATCH / CONNECTORS;
    let (begun, cpu) = (Instant::now(), cpu_seconds(desk.id()));
    let mut bringing = JoinSet::new();
    for number in 0..CONNECTORS {
        bringing.spawn(storm.clone().connector(number, batches, Duration::from_secs(seconds as u64)));
    }
    let brought: Vec<Duration> = bringing.join_all().await.into_iter().flatten().collect();
    let (took, cpu) = (begun.elapsed(), cpu_seconds(desk.id()) - cpu);
    storm.over.store(true, Ordering::Release);
    let (reads, writes): (Vec<_>, Vec<_>) = working.join_all().await.into_iter().unzip();
    let end = storm.ask("{ incidents(first: 1) { position } }", json!({})).await;
    let end = Position::parse(end["incidents"]["position"].as_str().unwrap()).unwrap();
    storm.end.store(end.offset, Ordering::Release);
    let caught_up = Instant::now();
    let shown =
        tokio::time::timeout(Duration::from_secs(120), watching.join_all()).await.expect("screens come to the end");
    println!(
        "{} alerts in {:.0} s, {screens} screens, {analysts} analysts: {} frames, the desk took {:.0} % of a core; screens were at the end after {:.1} s",
        batches * BATCH * CONNECTORS,
        took.as_secs_f64(),
        storm.frames.load(Ordering::Relaxed),
        100.0 * cpu / took.as_secs_f64(),
        caught_up.elapsed().as_secs_f64()
    );
    told("batches of connectors", brought);
    told("reads of analysts", reads.into_iter().flatten().collect());
    told("writes of analysts", writes.into_iter().flatten().collect());
    assert_eq!(count_alerts(&storm).await - alerts_before, (batches * BATCH * CONNECTORS) as u64, "every alert, once");
    let now = storm.queue(&json!({})).await;
    let mut of_all: Option<(u64, u64)> = None;
    for (number, shown) in shown {
        match shown.folded {
            None => {
                assert_eq!(*of_all.get_or_insert(shown.items), shown.items, "screen {number} was shown other items");
            }
            Some(changed) => {
                let mut folded = before.clone();
                for (id, version) in changed {
                    match version {
                        -1 => drop(folded.remove(&id)),
                        version => drop(folded.insert(id, version)),
                    }
                }
                assert!(folded == now, "screen {number} folded another queue than the desk has");
            }
        }
    }
    println!("nothing lost, nothing twice: all screens are exact, {} incidents open", now.len());
}

/// Returns the number of alerts in the desk.
async fn count_alerts(storm: &Storm) -> u64 {
    storm.ask("{ alerts(first: 1) { totalCount } }", json!({})).await["alerts"]["totalCount"].as_u64().unwrap()
}
