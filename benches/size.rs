//! Compares the desk over HTTP, at 10,000 to 1,000,000 incidents, with hand-written SQL in prepared statements: in
//! pgbench on PostgreSQL, in rusqlite on SQLite. For each operation the two take turns, on one database, while 50 changes
//! a second go on.
//!
//! `DATABASES="postgres sqlite" SIZES="10000 100000" ROUNDS=3 SECONDS_EACH=4 cargo bench --bench size` prints the tables;
//! docs/OPERATIONS.md keeps some. The statements in `benches/sql/` read the same facts as the desk, as a database
//! administrator would write them.

#![expect(clippy::print_stdout, reason = "tables for a person")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails says so by its end")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "size/postgres.rs"]
mod postgres;
#[path = "size/sqlite.rs"]
mod sqlite;
#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests' own servers, of which this needs a few")]
mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postgres::Pgbench;
use serde_json::{Value, json};
use sqlite::Rusqlite;
use support::process::{Process, cpu_seconds};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The number of changes a second during the measurements.
const CHANGES_A_SECOND: u32 = 50;

/// An operation: the query for the desk, and the files of the equivalent SQL statements.
struct Operation {
    name: &'static str,
    statement: &'static [&'static str],
    query: &'static str,
    /// Returns the variables of the n-th request.
    variables: fn(&World, usize) -> Value,
}

const COMMENT: &str = "mutation($id: ID!) { addComment(input: { incidentId: $id, body: \"Called the site, nobody answers.\" }) { changed } }";

/// The content of the database, from which variables are chosen. The desk and the statements get the same ones.
pub struct World {
    /// Owners, severities and tags of open incidents.
    filters: Vec<(String, i64, String)>,
    /// The ids of incidents, and the times of their last changes in RFC 3339 with microseconds.
    incidents: Vec<(String, String)>,
    /// Words of titles of open incidents.
    words: Vec<String>,
    /// Cursors deep in the list of all incidents.
    cursors: Vec<String>,
}

impl World {
    fn incident(&self, n: usize) -> String {
        format!("incident:{}", self.incidents[n % self.incidents.len()].0)
    }

    /// Makes the cursors: the cursor of the first row with the keys of other rows.
    async fn make_cursors(&mut self, client: &reqwest::Client, url: &str) {
        let page = "{ incidents(filter: { status: [NEW, ACTIVE, RESOLVED] }, first: 1) { pageInfo { endCursor } } }";
        let first = ask(client, url, page, json!({})).await["data"]["incidents"]["pageInfo"]["endCursor"].take();
        let first: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(first.as_str().unwrap()).unwrap()).unwrap();
        let cursor = |(id, updated): &(String, String)| {
            let mut cursor = first.clone();
            cursor["k"][0].as_object_mut().unwrap().values_mut().for_each(|time| *time = updated.clone().into());
            cursor["i"] = id.clone().into();
            URL_SAFE_NO_PAD.encode(cursor.to_string())
        };
        self.cursors = self.incidents.iter().map(cursor).collect();
    }
}

/// The work by hand.
enum Hand {
    Postgres(Pgbench),
    Sqlite(Rusqlite),
}

impl Hand {
    fn rate(&self, statements: &[&str], clients: usize, time: Duration) -> f64 {
        match self {
            Self::Postgres(hand) => hand.rate(statements, clients, time),
            Self::Sqlite(hand) => hand.rate(statements, clients, time),
        }
    }
}

/// Returns the texts of the statements of an operation.
pub fn statements(database: &str, names: &[&str]) -> Vec<String> {
    let text = |name| format!("{}/benches/sql/{database}/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    names.iter().map(|name| std::fs::read_to_string(text(name)).unwrap()).collect()
}

const ROW: &str = "id number version title severity status alertCount commentCount createdAt updatedAt owner { account name } tags { name }";

/// Returns a filter that selects all open incidents and that no earlier request has used.
fn another_filter(_: &World, n: usize) -> Value {
    let from = chrono::DateTime::UNIX_EPOCH + chrono::Duration::seconds(n as i64);
    json!({ "f": { "created": { "from": from } } })
}

fn operations() -> Vec<Operation> {
    let query = |text: String| -> &'static str { text.leak() };
    let page = |more: &str| {
        query(format!(
            "query($f: IncidentFilterInput) {{
                incidents(filter: $f, first: 50) {{ nodes {{ {ROW} }} pageInfo {{ endCursor }} {more} }} }}"
        ))
    };
    let facets = "totalCount facets { severity { value count } owner { count } tags { value { name } count }
        product { value count } }";
    let counters = "query($f: IncidentFilterInput) { queueSummary(filter: $f) {
        open bySeverity { value count } byStatus { value count } unassigned byOwner { count } oldest created resolved } }";
    let of_the_queue: [(&str, &'static [&'static str], &'static str); 4] = [
        ("page of 50 of the default queue", &["page"], page("")),
        ("page with totalCount", &["page", "count"], page("totalCount")),
        ("page with facets", &["page", "count", "facets"], page(facets)),
        ("counters of the open queue", &["counters"], query(counters.to_owned())),
    ];
    let mut operations = Vec::new();
    for (name, statement, query) in of_the_queue {
        operations.push(Operation { name, statement, query, variables: |_, _| json!({}) });
        let name = format!("{name}, each request another").leak();
        operations.push(Operation { name, statement, query, variables: another_filter });
    }
    operations.extend([
        Operation {
            name: "filtered page of open incidents",
            statement: &["filtered"],
            query: query(format!("query($f: IncidentFilterInput) {{ incidents(filter: $f, first: 50) {{ nodes {{ {ROW} }} }} }}")),
            variables: |world, n| {
                let (owner, severity, tag) = &world.filters[n % world.filters.len()];
                let severity = ["", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH"][*severity as usize];
                json!({ "f": { "owner": { "users": [format!("user:{owner}")] }, "severity": [severity], "tags": { "any": [tag] } } })
            },
        },
        Operation {
            name: "deep page of all incidents by cursor",
            statement: &["deep"],
            query: query(format!("query($a: String) {{ incidents(filter: {{ status: [NEW, ACTIVE, RESOLVED] }}, first: 50, after: $a) {{ nodes {{ {ROW} }} }} }}")),
            variables: |world, n| json!({ "a": world.cursors[n % world.cursors.len()] }),
        },
        Operation {
            name: "one incident with 50 activities, alerts, comments",
            statement: &["incident"],
            query: query(format!("query($id: ID!) {{ incident(by: {{ id: $id }}) {{ {ROW} description
                activity(last: 50) {{ nodes {{ version at entries {{ kind }} }} }} alerts(first: 50) {{ nodes {{ id title severity status }} }}
                comments(first: 50) {{ nodes {{ id body createdAt }} }} }} }}")),
            variables: |world, n| json!({ "id": world.incident(n) }),
        },
        Operation {
            name: "text in title or description",
            statement: &["text"],
            query: "query($t: String) { incidents(filter: { text: $t }, first: 50) { nodes { id number title updatedAt } } }",
            variables: |world, n| json!({ "t": world.words[n % world.words.len()] }),
        },
        // Writes come last, because handwritten SQL does not notify the desk. They write the same rows, in no order.
        Operation {
            name: "create",
            statement: &["create"],
            query: "mutation { createIncident(input: { title: \"Gate valve of line two leaks\" }) { incident { id } } }",
            variables: |_, _| json!({}),
        },
        Operation {
            name: "comment",
            statement: &["comment"],
            query: COMMENT,
            variables: |world, n| json!({ "id": world.incident(n) }),
        },
        Operation {
            name: "assign",
            statement: &["assign"],
            query: "mutation($id: ID!, $owner: OwnerInput!) { assignIncident(input: { incidentId: $id, owner: $owner }) { changed } }",
            // Each round gives each incident another owner.
            variables: |world, n| {
                let (round, at) = (n / world.incidents.len(), n % world.incidents.len());
                let (owner, ..) = &world.filters[(at + round) % world.filters.len()];
                json!({ "id": world.incident(at), "owner": { "user": format!("user:{owner}") } })
            },
        },
    ]);
    operations
}

/// A connection that repeats requests. It reads an answer but only checks its start, so that the client takes little
/// processor time from the desk.
struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    async fn to(desk: &Process) -> Self {
        let stream = TcpStream::connect(&desk.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    async fn ask(&mut self, body: &str) {
        let head = format!(
            "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all((head + body).as_bytes()).await.unwrap();
        self.read.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| self.read.len() < whole) {
            assert_ne!(self.stream.read_buf(&mut self.read).await.unwrap(), 0, "the desk closed the connection");
            if whole.is_none()
                && let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&self.read[..end]).unwrap().to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
                let start = end + 4;
                whole = Some(start + length.trim().parse::<usize>().unwrap());
            }
        }
        let text = String::from_utf8_lossy(&self.read);
        assert!(text.contains("\r\n\r\n{\"data\":"), "{body}: {text}");
    }
}

async fn ask(client: &reqwest::Client, url: &str, query: &str, variables: Value) -> Value {
    let answer = client.post(url).json(&json!({ "query": query, "variables": variables })).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert!(answer.get("errors").is_none(), "{query}: {answer:#}");
    answer
}

/// The measurements of one side: answers a second, and milliseconds.
#[derive(Clone, Default)]
struct Measured {
    rate: Vec<f64>,
    times: Vec<Duration>,
    cpu: Vec<f64>,
}

impl Measured {
    fn rate(&self) -> f64 {
        median(&self.rate)
    }

    fn millis(&self, percent: usize) -> f64 {
        let mut times = self.times.clone();
        times.sort();
        times.get(times.len().saturating_sub(1) * percent / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures the desk with `clients` concurrent clients for the given time.
async fn by_desk(
    desk: &Process,
    operation: &Operation,
    world: &Arc<World>,
    clients: usize,
    time: Duration,
    into: &mut Measured,
) {
    let (next, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + time);
    let before = cpu_seconds(desk.id());
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (world, next, query, variables) = (world.clone(), next.clone(), operation.query, operation.variables);
        let mut connection = Connection::to(desk).await;
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let n = next.fetch_add(1, Ordering::Relaxed) as usize;
                let begun = Instant::now();
                connection.ask(&json!({ "query": query, "variables": variables(&world, n) }).to_string()).await;
                times.push(begun.elapsed());
            }
            times
        }));
    }
    let begun = Instant::now();
    let mut answers = 0;
    for task in tasks {
        let times = task.await.unwrap();
        answers += times.len();
        into.times.extend(times);
    }
    into.rate.push(answers as f64 / begun.elapsed().as_secs_f64());
    into.cpu.push((cpu_seconds(desk.id()) - before) * 1_000.0 / answers.max(1) as f64);
}

/// Changes incidents while the measurements run.
async fn change(url: String, world: Arc<World>, stop: Arc<AtomicBool>) -> u64 {
    let client = reqwest::Client::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / CHANGES_A_SECOND);
    let mut made = 0;
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        ask(&client, &url, COMMENT, json!({ "id": world.incident(made as usize) })).await;
        made += 1;
    }
    made
}

fn setting<T: std::str::FromStr>(name: &str, usual: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// Generates a desk, and measures all operations on it.
async fn measure(url: String, prepare: impl AsyncFnOnce(&str) -> (Hand, World), incidents: usize) {
    let begun = Instant::now();
    let made = Command::new(env!("CARGO_BIN_EXE_watchfloor"))
        .args(["generate", "--incidents", &incidents.to_string(), "--database-url", &url])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let generated = begun.elapsed().as_secs_f64();
    let (hand, mut world) = prepare(&url).await;
    let hand = Arc::new(hand);
    let database = url.split(':').next().unwrap_or_default();
    println!("\n{incidents} incidents on {database}, generated in {generated:.0} s");
    let desk = Process::serve_with(&url, "127.0.0.1:0", &[]).await;
    let graphql = format!("http://{}/graphql", desk.address);
    world.make_cursors(&reqwest::Client::new(), &graphql).await;
    let world = Arc::new(world);
    let (rounds, time) = (setting("ROUNDS", 3), Duration::from_secs(setting("SECONDS_EACH", 4)));
    let (clients, only) = (setting("CLIENTS", "1 8 32".to_owned()), setting("ONLY", String::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let changes = tokio::spawn(change(graphql, world.clone(), stop.clone()));
    println!("| operation | c | by hand, a second | the desk, a second | ratio | p50 ms | p99 ms | CPU ms |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for operation in operations().iter().filter(|operation| operation.name.contains(&only)) {
        for clients in clients.split_whitespace().map(|count| count.parse::<usize>().unwrap()) {
            let (mut ours, mut by_hand) = (Measured::default(), Vec::new());
            for _ in 0..rounds {
                let (hand, statement) = (hand.clone(), operation.statement);
                let rate = tokio::task::spawn_blocking(move || hand.rate(statement, clients, time));
                by_hand.push(rate.await.unwrap());
                by_desk(&desk, operation, &world, clients, time, &mut ours).await;
            }
            let (by_hand, cpu) = (median(&by_hand), median(&ours.cpu));
            let (rate, p50, p99) = (ours.rate(), ours.millis(50), ours.millis(99));
            let ratio = rate / by_hand;
            println!(
                "| {} | {clients} | {by_hand:.0} | {rate:.0} | {ratio:.2} | {p50:.1} | {p99:.1} | {cpu:.2} |",
                operation.name
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    println!("{} changes went on meanwhile", changes.await.unwrap());
}

async fn on_postgres(cluster: &support::postgres::Cluster, incidents: usize) {
    let prepare = async |url: &str| {
        let (hand, world) = Pgbench::prepare(url).await;
        (Hand::Postgres(hand), world)
    };
    measure(cluster.fresh_database().await, prepare, incidents).await;
}

async fn on_sqlite(incidents: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("desk.db");
    let prepare = async |_: &str| {
        let (hand, world) = Rusqlite::prepare(&file);
        (Hand::Sqlite(hand), world)
    };
    measure(format!("sqlite://{}", file.display()), prepare, incidents).await;
}

#[tokio::main]
async fn main() {
    let (databases, sizes) = (setting("DATABASES", "postgres sqlite".to_owned()), setting("SIZES", "10000".to_owned()));
    let sizes: Vec<usize> = sizes.split_whitespace().map(|size| size.parse().unwrap()).collect();
    for database in databases.split_whitespace() {
        match database {
            "postgres" => {
                let cluster = tokio::task::spawn_blocking(support::postgres::Cluster::start_private).await.unwrap();
                for incidents in &sizes {
                    on_postgres(&cluster, *incidents).await;
                }
            }
            "sqlite" => {
                for incidents in &sizes {
                    on_sqlite(*incidents).await;
                }
            }
            other => panic!("DATABASES has no {other}: it names postgres and sqlite"),
        }
    }
}
