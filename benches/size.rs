//! Compares the desk over HTTP, at 10,000 to 1,000,000 incidents, with hand-written SQL in pgbench with prepared
//! statements. For each operation the two take turns, on one database, while 50 changes a second go on.
//!
//! `SIZES="10000 100000" ROUNDS=3 SECONDS_EACH=4 cargo bench --bench size` prints the table; docs/OPERATIONS.md keeps
//! one table. The statements in `benches/sql/` read the same facts as the desk, as a database administrator would write
//! them.

#![expect(clippy::print_stdout, reason = "tables for a person")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails says so by its end")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests' own servers, of which this needs a few")]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};
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

/// The content of the database, from which variables are chosen.
struct World {
    filters: Vec<(String, String, String)>,
    incidents: Vec<String>,
    cursors: Vec<String>,
    words: Vec<String>,
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
                json!({ "f": { "owner": { "users": [owner] }, "severity": [severity], "tags": { "any": [tag] } } })
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
            variables: |world, n| json!({ "id": world.incidents[n % world.incidents.len()] }),
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
            variables: |world, n| json!({ "id": world.incidents[n % world.incidents.len()] }),
        },
        Operation {
            name: "assign",
            statement: &["assign"],
            query: "mutation($id: ID!, $owner: OwnerInput!) { assignIncident(input: { incidentId: $id, owner: $owner }) { changed } }",
            // Each round gives each incident another owner.
            variables: |world, n| {
                let (round, at) = (n / world.incidents.len(), n % world.incidents.len());
                let (owner, ..) = &world.filters[(at + round) % world.filters.len()];
                json!({ "id": world.incidents[at], "owner": { "user": owner } })
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

async fn texts(database: &DatabaseConnection, sql: &str) -> Vec<Vec<String>> {
    let rows = database.query_all_raw(Statement::from_string(DbBackend::Postgres, sql)).await.unwrap();
    let row = |row: &sea_orm::QueryResult| {
        (0..row.column_names().len()).map(|at| row.try_get_by_index(at).unwrap()).collect()
    };
    rows.iter().map(row).collect()
}

/// Chooses the filters, incidents, cursors and words of the requests. The desk and the statements get the same ones.
async fn world(database: &DatabaseConnection, client: &reqwest::Client, url: &str) -> World {
    for sql in [
        "CREATE TABLE bench_filter AS SELECT row_number() OVER ()::int AS k, * FROM (SELECT DISTINCT i.owner_user_id AS owner, i.severity, h.key AS tag
            FROM incident i JOIN incident_tag h ON h.incident_id = i.id WHERE i.status IN (1, 2) AND i.owner_user_id IS NOT NULL LIMIT 1000) f",
        "INSERT INTO bench_filter SELECT k + n.count, owner, severity, tag FROM bench_filter, (SELECT count(*)::int AS count FROM bench_filter) n
            WHERE k + n.count <= 1000",
        "ALTER TABLE bench_filter ADD PRIMARY KEY (k)",
        "CREATE TABLE bench_incident AS SELECT row_number() OVER ()::int AS k, id, updated_at FROM (SELECT id, updated_at FROM incident
            WHERE deleted_at IS NULL AND status < 4 ORDER BY md5(id::text) LIMIT 1000) f",
        "ALTER TABLE bench_incident ADD PRIMARY KEY (k)",
        "CREATE TABLE bench_word AS SELECT row_number() OVER ()::int AS k, word FROM (SELECT DISTINCT split_part(title_folded, ' ', 2) || ' ' ||
            split_part(title_folded, ' ', 3) AS word FROM incident WHERE status IN (1, 2) AND length(split_part(title_folded, ' ', 3)) > 3 LIMIT 1000) w",
        "INSERT INTO bench_word SELECT k + n.count * r, word FROM bench_word, (SELECT count(*)::int AS count FROM bench_word) n,
            generate_series(1, 1000) r WHERE k + n.count * r <= 1000",
        "ALTER TABLE bench_word ADD PRIMARY KEY (k)",
        // The handwritten writes need increasing keys, and the body of a change.
        "CREATE SEQUENCE bench_row CACHE 100",
        "CREATE TABLE bench_body AS SELECT body, '{\"user\":{\"id\":\"01a22c53-96a4-7697-81ef-6a80f95611a3\",\"account\":\"bench\"}}' AS actor
            FROM change WHERE length(body) > 900 ORDER BY position LIMIT 1",
        "ANALYZE",
    ] {
        database.execute_unprepared(sql).await.unwrap();
    }
    let severity =
        |number: &str| ["", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH"][number.parse::<usize>().unwrap()].to_owned();
    let filters =
        texts(database, "SELECT 'user:' || owner::text, severity::text, tag FROM bench_filter ORDER BY k").await;
    let incidents = texts(database, "SELECT 'incident:' || id::text FROM bench_incident ORDER BY k").await;
    let words = texts(database, "SELECT word FROM bench_word ORDER BY k").await;
    // Cursors deep in the list: the cursor of the first row with the keys of other rows.
    let page = "{ incidents(filter: { status: [NEW, ACTIVE, RESOLVED] }, first: 1) { pageInfo { endCursor } } }";
    let first = ask(client, url, page, json!({})).await["data"]["incidents"]["pageInfo"]["endCursor"].take();
    let first: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(first.as_str().unwrap()).unwrap()).unwrap();
    let moments = "SELECT to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), id::text FROM bench_incident ORDER BY k";
    let cursor = |row: Vec<String>| {
        let mut cursor = first.clone();
        cursor["k"][0].as_object_mut().unwrap().values_mut().for_each(|time| *time = row[0].clone().into());
        cursor["i"] = row[1].clone().into();
        URL_SAFE_NO_PAD.encode(cursor.to_string())
    };
    let cursors = texts(database, moments).await.into_iter().map(cursor).collect();
    World {
        filters: filters.into_iter().map(|row| (row[0].clone(), severity(&row[1]), row[2].clone())).collect(),
        incidents: incidents.into_iter().map(|mut row| row.remove(0)).collect(),
        cursors,
        words: words.into_iter().map(|mut row| row.remove(0)).collect(),
    }
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

/// Measures the statements with pgbench.
fn by_hand(pgbench: &Path, url: &str, statement: &[&str], clients: usize, time: Duration, into: &mut Measured) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.sql");
    let read = |name: &&str| {
        std::fs::read_to_string(format!("{}/benches/sql/{name}.sql", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    // One pgbench transaction runs all statements, as one answer of the desk does.
    let mut lines: Vec<String> = Vec::new();
    for text in statement.iter().map(read) {
        for line in text.lines() {
            // Set each pgbench variable only once.
            if !(line.starts_with('\\') && lines.iter().any(|set| set == line)) {
                lines.push(line.to_owned());
            }
        }
    }
    std::fs::write(&file, lines.join("\n")).unwrap();
    let output = Command::new(pgbench)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--client", &clients.to_string()])
        .args(["--time", &time.as_secs().max(1).to_string(), "--file"])
        .args([file.as_os_str(), url.as_ref()])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate =
        told.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse::<f64>().ok());
    into.rate.push(rate.unwrap_or_else(|| panic!("{told}{}", String::from_utf8_lossy(&output.stderr))));
}

/// Changes incidents while the measurements run.
async fn change(url: String, world: Arc<World>, stop: Arc<AtomicBool>) -> u64 {
    let client = reqwest::Client::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / CHANGES_A_SECOND);
    let mut made = 0;
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let id = world.incidents[made as usize % world.incidents.len()].clone();
        ask(&client, &url, COMMENT, json!({ "id": id })).await;
        made += 1;
    }
    made
}

fn setting<T: std::str::FromStr>(name: &str, usual: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

fn pgbench() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        found.map(|entry| entry.path().join("bin/pgbench")).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| "pgbench".into())
}

async fn measure(cluster: &support::postgres::Cluster, incidents: usize) {
    let url = cluster.fresh_database().await;
    let begun = Instant::now();
    let made = Command::new(env!("CARGO_BIN_EXE_watchfloor"))
        .args(["generate", "--incidents", &incidents.to_string(), "--database-url", &url])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let database = Database::connect(&url).await.unwrap();
    database.execute_unprepared("VACUUM ANALYZE").await.unwrap();
    println!("\n{incidents} incidents, generated in {:.0} s", begun.elapsed().as_secs_f64());
    let desk = Process::serve_with(&url, "127.0.0.1:0", &[]).await;
    let graphql = format!("http://{}/graphql", desk.address);
    let world = Arc::new(world(&database, &reqwest::Client::new(), &graphql).await);
    let (rounds, time) = (setting("ROUNDS", 3), Duration::from_secs(setting("SECONDS_EACH", 4)));
    let clients = std::env::var("CLIENTS").unwrap_or_else(|_| "1 8 32".to_owned());
    let only = std::env::var("ONLY").unwrap_or_default();
    let stop = Arc::new(AtomicBool::new(false));
    let changes = tokio::spawn(change(graphql, world.clone(), stop.clone()));
    println!("| operation | c | by hand, a second | the desk, a second | ratio | p50 ms | p99 ms | CPU ms |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for operation in operations().iter().filter(|operation| operation.name.contains(&only)) {
        for clients in clients.split_whitespace().map(|count| count.parse::<usize>().unwrap()) {
            let (mut ours, mut hand) = (Measured::default(), Measured::default());
            for _ in 0..rounds {
                let (pgbench, url) = (pgbench(), url.clone());
                let statement = operation.statement;
                hand = tokio::task::spawn_blocking(move || {
                    by_hand(&pgbench, &url, statement, clients, time, &mut hand);
                    hand
                })
                .await
                .unwrap();
                by_desk(&desk, operation, &world, clients, time, &mut ours).await;
            }
            let (ratio, cpu) = (ours.rate() / hand.rate(), median(&ours.cpu));
            let (p50, p99) = (ours.millis(50), ours.millis(99));
            println!(
                "| {} | {clients} | {:.0} | {:.0} | {ratio:.2} | {p50:.1} | {p99:.1} | {cpu:.2} |",
                operation.name,
                hand.rate(),
                ours.rate()
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    println!("{} changes went on meanwhile", changes.await.unwrap());
}

#[tokio::main]
async fn main() {
    let cluster = tokio::task::spawn_blocking(support::postgres::Cluster::start_private).await.unwrap();
    let sizes = std::env::var("SIZES").unwrap_or_else(|_| "10000".to_owned());
    for incidents in sizes.split_whitespace() {
        measure(&cluster, incidents.parse().unwrap()).await;
    }
}
