//! Compares the desk with the same work by hand. Both take turns in one run, on one machine and one disk.
//!
//! `make bench` prints the tables; docs/OPERATIONS.md keeps the tables of one run.

#![expect(clippy::print_stdout, reason = "tables for a person")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails says so by its end")]
#![expect(clippy::disallowed_methods, reason = "time is what is measured, and ids are made by hand here")]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests' own clients, of which this needs a few")]
mod support;

use std::time::{Duration, Instant};

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait, Value,
};
use serde_json::json;
use support::desk::Following;
use tokio::net::TcpListener;
use watchfloor::app::App;
use watchfloor::domain::clock::Clock;
use watchfloor::realtime::RealtimeLimits;
use watchfloor::realtime::feed::FeedSource;
use watchfloor::server::operation::catalogue::Catalogue;
use watchfloor::server::operation::given::Given;
use watchfloor::server::operation::limits::DocumentLimits;
use watchfloor::server::operation::operations::Operations;
use watchfloor::server::settings::Settings;
use watchfloor::server::{Desk, router};
use watchfloor::storage::{Store, StoreOptions};

/// The allocator of the binary, so that the figures hold for the program that runs in production.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A running desk, and a direct connection to its database.
struct Bench {
    name: &'static str,
    app: App,
    url: String,
    http: reqwest::Client,
    hand: DatabaseConnection,
    _stop: tokio::sync::watch::Sender<bool>,
}

impl Bench {
    async fn open(name: &'static str, database: &str) -> Self {
        let options = StoreOptions {
            url: database.to_owned(),
            connections: 8,
            acquire_timeout: Duration::from_secs(30),
            notify: true,
        };
        let store = Store::connect(options).await.unwrap();
        let ring = RealtimeLimits { changes: 20_000, bytes: 64 << 20, incidents: 100_000 };
        let (app, _relay) = App::open(store.clone(), ring, Clock::System).await.unwrap();
        let source = FeedSource { store, hub: app.hub.clone(), heartbeat: Duration::from_secs(10) };
        let desk = Desk::new(app.clone(), watchfloor::graphql::schema(app.clone(), source, Default::default()));
        let (stop, shutdown) = tokio::sync::watch::channel(false);
        let mut settings = Settings::default();
        settings.http.body_bytes = 16 << 20;
        let router = router(desk, settings, shutdown);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/graphql", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut by_hand = ConnectOptions::new(database);
        by_hand.max_connections(1).sqlx_logging(false);
        let hand = Database::connect(by_hand).await.unwrap();
        if hand.get_database_backend() == DbBackend::Sqlite {
            hand.execute_unprepared("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000").await.unwrap();
        }
        Self { name, app, url, http: reqwest::Client::new(), hand, _stop: stop }
    }

    async fn graphql(&self, query: &str, variables: serde_json::Value) -> serde_json::Value {
        let request = self.http.post(&self.url).json(&json!({ "query": query, "variables": variables }));
        let mut answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer.get("errors").is_none(), "{answer:#}");
        answer["data"].take()
    }

    fn statement(&self, sql: &str, values: Vec<Value>) -> Statement {
        Statement::from_sql_and_values(self.hand.get_database_backend(), sql, values)
    }
}

fn millis(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1_000.0
}

fn row(what: &str, database: &str, ours: &mut [Duration], hand: &mut [Duration]) {
    let (a50, a99, b50, b99) = (millis(ours, 50), millis(ours, 99), millis(hand, 50), millis(hand, 99));
    println!("| {what} | {database} | {a50:.2} | {a99:.2} | {b50:.2} | {b99:.2} | {:.1} |", a50 / b50);
}

/// Measures from the request of a mutation to its item on a socket, against one INSERT and COMMIT.
async fn frame(bench: &Bench) {
    bench.hand.execute_unprepared("CREATE TABLE by_hand (id bigint PRIMARY KEY, body text NOT NULL)").await.unwrap();
    let socket = bench.url.replacen("http", "ws", 1);
    let mut queue =
        Following::start(&socket, "subscription { incidentQueue { __typename position } }", json!({})).await;
    queue.item().await;
    let (mut ours, mut hand) = (Vec::new(), Vec::new());
    for n in 0..300_i64 {
        let begun = Instant::now();
        let made = bench.graphql("mutation { createIncident(input: { title: \"measured\" }) { changed } }", json!({}));
        tokio::join!(made, queue.change());
        ours.push(begun.elapsed());
        let begun = Instant::now();
        let tx = bench.hand.begin().await.unwrap();
        let insert =
            bench.statement("INSERT INTO by_hand (id, body) VALUES ($1, $2)", vec![n.into(), "x".repeat(600).into()]);
        tx.execute_raw(insert).await.unwrap();
        tx.commit().await.unwrap();
        hand.push(begun.elapsed());
    }
    row("mutation → frame on a socket / INSERT + COMMIT", bench.name, &mut ours, &mut hand);
}

/// Creates ten thousand incidents with owners, tags and counts.
async fn fill(bench: &Bench) {
    bench
        .graphql(
            "mutation { createIncident(input: { title: \"t\", owner: { me: true }, tags: [\"vip\"] }) { changed } }",
            json!({}),
        )
        .await;
    let sqlite = bench.hand.get_database_backend() == DbBackend::Sqlite;
    let (id, time) = if sqlite {
        ("randomblob(16)", "strftime('%Y-%m-%dT%H:%M:%S+00:00', 1700000000 + n * 60, 'unixepoch')")
    } else {
        ("gen_random_uuid()", "to_timestamp(1700000000 + n * 60)")
    };
    let incidents = format!(
        "INSERT INTO incident (id, number, version, title, title_key, title_folded, title_version, title_generated,
            description_version, severity, computed_severity, status, alert_count, comment_count, products, providers,
            created_at, updated_at, owner_user_id)
         WITH RECURSIVE count (n) AS (SELECT 100000 UNION ALL SELECT n + 1 FROM count WHERE n < 109999)
         SELECT {id}, n, 1, 'Beaconing', 'beaconing', 'beaconing', 1, false, 1, 3, 3, CASE WHEN n % 20 = 0 THEN 1 ELSE 3 END,
            3, 0, '[]', '[]', {time}, {time}, (SELECT id FROM \"user\" LIMIT 1) FROM count"
    );
    bench.hand.execute_unprepared(&incidents).await.unwrap();
    let tags = "INSERT INTO incident_tag (incident_id, kind, key)
        SELECT i.id, t.kind, t.key FROM incident i, (SELECT kind, key FROM tag LIMIT 1) t WHERE i.number >= 100000";
    bench.hand.execute_unprepared(tags).await.unwrap();
    if !sqlite {
        bench.hand.execute_unprepared("ANALYZE").await.unwrap();
    }
}

/// Measures a page of fifty rows with owner, tags and alert count, against the statement that a person would write.
async fn page(bench: &Bench) {
    fill(bench).await;
    let query = "{ incidents(first: 50) { nodes { id number title severity status updatedAt owner { name } tags { name } alertCount } } }";
    let list = if bench.hand.get_database_backend() == DbBackend::Sqlite {
        "group_concat(g.name)"
    } else {
        "string_agg(g.name, ',')"
    };
    let sql = format!(
        "SELECT i.id, i.number, i.title, i.severity, i.status, i.updated_at, u.name, i.alert_count,
            (SELECT {list} FROM incident_tag t JOIN tag g ON g.kind = t.kind AND g.key = t.key WHERE t.incident_id = i.id)
         FROM incident i LEFT JOIN \"user\" u ON u.id = i.owner_user_id
         WHERE i.deleted_at IS NULL AND i.status IN (1, 2) ORDER BY i.updated_at DESC, i.id DESC LIMIT 50"
    );
    let (mut ours, mut hand) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let begun = Instant::now();
        bench.graphql(query, json!({})).await;
        ours.push(begun.elapsed());
        let begun = Instant::now();
        let rows = bench.hand.query_all_raw(bench.statement(&sql, Vec::new())).await.unwrap();
        assert_eq!(rows.len(), 50);
        hand.push(begun.elapsed());
    }
    row("queue page of 50 over HTTP / one SELECT", bench.name, &mut ours, &mut hand);
}

/// Measures ingest, one alert and a thousand alerts a request, against the same rows by INSERT: each alert, its change
/// in the log, and once per transaction the end of the log.
async fn ingest(bench: &Bench) {
    let mutation = "mutation($alerts: [AlertInput!]!) { ingestAlerts(input: { alerts: $alerts }) { created } }";
    for table in ["alert", "alert_change", "log_head"] {
        let sql = format!("CREATE TABLE {table}_by_hand AS SELECT * FROM {table} WHERE 1 = 0");
        bench.hand.execute_unprepared(&sql).await.unwrap();
    }
    bench.hand.execute_unprepared("INSERT INTO log_head_by_hand SELECT * FROM log_head").await.unwrap();
    let mut next = 0_i64;
    for (size, rounds) in [(1_usize, 200), (1_000, 5)] {
        let (mut ours, mut hand) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let alerts: Vec<_> = (0..size)
                .map(|_| {
                    next += 1;
                    json!({ "provider": "p", "providerAlertId": next.to_string(), "product": "Suricata", "title": "Beaconing" })
                })
                .collect();
            let begun = Instant::now();
            bench.graphql(mutation, json!({ "alerts": alerts })).await;
            ours.push(begun.elapsed());
            let begun = Instant::now();
            let tx = bench.hand.begin().await.unwrap();
            for n in 0..size {
                let sql = "INSERT INTO alert_by_hand (id, provider, provider_alert_id, product, title, title_folded,
                    severity, status, techniques) VALUES ($1, 'p', $2, 'Suricata', 'Beaconing', 'beaconing', 3, 1, '[]')";
                let id = uuid::Uuid::now_v7();
                tx.execute_raw(bench.statement(sql, vec![id.into(), n.to_string().into()])).await.unwrap();
                let sql = "INSERT INTO alert_change_by_hand (position, alert_id, version, kinds, at, body, hash)
                    VALUES ($1, $2, 1, 1, $3, $4, $5)";
                let (at, body, hash) = (chrono::Utc::now(), "x".repeat(700), vec![7_u8; 32]);
                let values = vec![next.into(), id.into(), at.into(), body.into(), hash.into()];
                tx.execute_raw(bench.statement(sql, values)).await.unwrap();
            }
            let sql = "UPDATE log_head_by_hand SET position = $1, hash = $2 WHERE id = 1";
            tx.execute_raw(bench.statement(sql, vec![next.into(), vec![7_u8; 32].into()])).await.unwrap();
            tx.commit().await.unwrap();
            hand.push(begun.elapsed());
        }
        let what = format!("ingest of {size} over HTTP / {size} INSERTs + COMMIT");
        row(&what, bench.name, &mut ours, &mut hand);
        println!(
            "|   a second | {} | {:.0} | | {:.0} | | |",
            bench.name,
            size as f64 * 1_000.0 / millis(&mut ours, 50),
            size as f64 * 1_000.0 / millis(&mut hand, 50)
        );
    }
}

fn operations() -> Operations {
    let catalogue = Catalogue::read(&watchfloor::graphql::sdl(), watchfloor::graphql::scalar_objection).unwrap();
    Operations::new(std::sync::Arc::new(catalogue), DocumentLimits::default())
}

/// Measures from the text of a request to its canonical operation: for a known document with variables of a kilobyte,
/// and for a new document of 2,000 tokens.
fn prepare() {
    let operations = operations();
    let page = "query Page($filter: IncidentFilterInput, $n: Int = 50, $more: Boolean = true) { incidents(first: $n, filter: \
                $filter) { totalCount nodes { id number title status severity createdAt updatedAt tags { name } alertCount \
                ...More @include(if: $more) } pageInfo { hasNextPage endCursor } } } \
                fragment More on Incident { comments(first: 5) { nodes { id createdAt } } alerts(first: 5) { nodes { id } } }";
    let texts: Vec<String> = (0..9).map(|n| format!("{n}{}", "x".repeat(96))).collect();
    let variables = json!({ "filter": { "product": texts, "status": ["NEW"] }, "n": 20 }).to_string();
    let row = "incidents(first: 1) { nodes { id number title status severity createdAt updatedAt alertCount commentCount } } ";
    let new = |number: usize| {
        let rows: String = (0..28).map(|n| format!("a{n}: {row}")).collect();
        let more = "status ".repeat(1_360);
        format!("query Q{number} {{ {rows} b: incidents(first: 1) {{ nodes {{ {more} }} }} }}")
    };
    println!("\n| an operation is prepared | p50 µs | p99 µs |\n| --- | --- | --- |");
    let (mut seen, mut unseen) = (Vec::new(), Vec::new());
    for _ in 0..20_000 {
        let given = Given::read(&variables).unwrap();
        let begun = Instant::now();
        assert!(operations.prepare(page, None, &given).is_ok());
        seen.push(begun.elapsed());
    }
    for number in 0..500 {
        let text = new(number);
        let begun = Instant::now();
        if let Err(errors) = operations.prepare(&text, None, &Given::default()) {
            panic!("{:?}", errors[0]);
        }
        unseen.push(begun.elapsed());
    }
    for (what, mut times) in [("seen before, variables of 1 KiB", seen), ("new, of 2,000 tokens", unseen)] {
        let (p50, p99) = (millis(&mut times, 50) * 1_000.0, millis(&mut times, 99) * 1_000.0);
        println!("| {what} | {p50:.1} | {p99:.1} |");
    }
}

/// Compares the time that the desk takes to refuse the fragment bomb with async-graphql's time to validate it.
async fn bomb(bench: &Bench) {
    let operations = operations();
    let bomb = |n: usize| {
        let levels: String =
            (0..n).map(|i| format!("fragment F{i} on Query {{ ...F{} ...F{} }} ", i + 1, i + 1)).collect();
        format!("{{ ...F0 }} {levels} fragment F{n} on Query {{ __typename }}")
    };
    println!("\n| fragment bomb | ms |\n| --- | --- |");
    for n in [23, 30] {
        let (document, mut times) = (bomb(n), Vec::new());
        for _ in 0..100 {
            let begun = Instant::now();
            assert!(operations.prepare(&document, None, &Given::default()).is_err());
            times.push(begun.elapsed());
        }
        println!("| refused, n = {n} | {:.3} |", millis(&mut times, 50));
    }
    let source =
        FeedSource { store: bench.app.store.clone(), hub: bench.app.hub.clone(), heartbeat: Duration::from_secs(10) };
    let schema = watchfloor::graphql::schema(bench.app.clone(), source, Default::default());
    let mut times = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        schema.execute(bomb(18)).await;
        times.push(begun.elapsed());
    }
    println!("| async-graphql by itself, n = 18 | {:.1} |", millis(&mut times, 50));
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = tokio::task::spawn_blocking(support::postgres::Cluster::start_private).await.unwrap();
    let sqlite = Bench::open("SQLite", &format!("sqlite://{}/desk.db?mode=rwc", folder.path().display())).await;
    let postgres = Bench::open("PostgreSQL", &cluster.fresh_database().await).await;
    println!("| the desk / by hand | database | p50 ms | p99 ms | p50 by hand | p99 by hand | ratio of p50 |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for bench in [&sqlite, &postgres] {
        frame(bench).await;
    }
    for bench in [&sqlite, &postgres] {
        ingest(bench).await;
    }
    for bench in [&sqlite, &postgres] {
        page(bench).await;
    }
    prepare();
    bomb(&sqlite).await;
}
