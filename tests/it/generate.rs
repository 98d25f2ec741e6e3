//! `watchfloor generate`: the generated desk is one that commands could have made, and equal for equal parameters.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::{Value, json};
use tokio::time::timeout;
use watchfloor::app::App;
use watchfloor::app::load::{Loaded, load};
use watchfloor::domain::Instant;
use watchfloor::domain::clock::Clock;
use watchfloor::import::{self, ImportSource, Options};
use watchfloor::realtime::RealtimeLimits;
use watchfloor::sample::generate::{GeneratePlan, Generated};
use watchfloor::storage::{Store, StoreOptions};

use crate::cli::run;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::stream::logged;

each_database!(
    a_generated_desk_proves_its_log_and_holds_what_it_says,
    the_same_seed_gives_the_same_rows,
    a_desk_in_use_is_refused_and_stays_as_it_is,
    a_generated_desk_is_worked_on,
    an_import_of_its_records_gives_the_same_desk,
    a_generate_that_was_killed_leaves_no_desk_that_looks_whole,
);

fn plan(incidents: u64, seed: u64) -> GeneratePlan {
    GeneratePlan { incidents, seed, open_percent: 12, end: "2026-06-01T00:00:00Z".parse().expect("an instant") }
}

async fn store(database: &TestDatabase) -> Store {
    let options = StoreOptions {
        url: database.url.clone(),
        connections: 4,
        acquire_timeout: Duration::from_secs(60),
        notify: false,
    };
    let store = Store::connect(options).await.expect("a connection");
    store.migrate().await.expect("a schema");
    store
}

async fn try_generate(database: &TestDatabase, plan: GeneratePlan) -> watchfloor::domain::Result<Loaded> {
    let store = store(database).await;
    let desk = Generated::of(plan).expect("a desk");
    let loaded = load(&store, &desk.accounts(), || desk.cases(), &|_| ()).await;
    store.close().await.expect("closed");
    loaded
}

async fn generate(database: &TestDatabase, plan: GeneratePlan) -> Loaded {
    try_generate(database, plan).await.expect("a desk")
}

async fn a_generated_desk_proves_its_log_and_holds_what_it_says(database: TestDatabase) {
    let loaded = generate(&database, plan(300, 7)).await;
    let counts = loaded.counts;
    let desk = TestDesk::open(&database).await;
    let verified = desk.verified().await;
    assert_eq!(verified.position, loaded.position);
    assert_eq!((verified.changes, verified.comments), (counts.changes, counts.comments));
    assert_eq!((verified.shown.incidents, verified.shown.alerts), (300, counts.alerts));
    assert_eq!((verified.free_alerts, verified.alerts_without_log), (counts.lone_alerts, 0));

    let query = "{ new: incidents(filter: { status: [NEW] }, first: 1) { totalCount }
        active: incidents(filter: { status: [ACTIVE] }, first: 1) { totalCount }
        resolved: incidents(filter: { status: [RESOLVED] }, first: 1) { totalCount }
        held: alerts(filter: { linked: true }, first: 1) { totalCount }
        lone: alerts(filter: { linked: false }, first: 1) { totalCount } }";
    let told = desk.data(query, json!({})).await;
    let count = |name: &str| told[name]["totalCount"].as_u64().expect("a count");
    assert_eq!([count("new"), count("active"), count("resolved")], [counts.new, counts.active, counts.resolved]);
    assert_eq!([count("held"), count("lone")], [counts.alerts, counts.lone_alerts]);
    assert_eq!(counts.incidents(), 300);

    let per_incident = |number: u64| number as f64 / 300.0;
    assert!((1.4..2.1).contains(&per_incident(counts.alerts)), "{counts:?}");
    assert!((2.5..3.6).contains(&per_incident(counts.changes - counts.lone_alerts)), "{counts:?}");
    assert!((20..=60).contains(&(counts.new + counts.active)), "12 % of 300 are open: {counts:?}");
    assert!(counts.new >= 5 && counts.active >= 5 && counts.comments >= 60 && counts.lone_alerts >= 2, "{counts:?}");

    let reader = desk.app.store.read().await.expect("a snapshot");
    let log = logged(&reader, 0, counts.changes).await;
    let times: Vec<Instant> = log
        .iter()
        .map(|change| match change {
            watchfloor::domain::alert_log::Logged::Incident(change) => change.body.at,
            watchfloor::domain::alert_log::Logged::Alert(change) => change.body.at,
        })
        .collect();
    assert!(times.is_sorted(), "the log goes by time");
    assert!(times.last().is_some_and(|at| *at <= plan(300, 7).end));
    let switches = log.windows(2).filter(|pair| pair[0].incident() != pair[1].incident()).count();
    assert!(switches > 400, "the incidents overlap: {switches}");
}

/// Returns every row of every table as text, without the values that a database chooses: the log's epoch and hashes.
async fn rows(database: &TestDatabase) -> BTreeMap<String, Vec<String>> {
    let raw = database.connect().await;
    let tables = match database.kind {
        Kind::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        Kind::Postgres => "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
    };
    let mut rows = BTreeMap::new();
    for table in texts(&raw, tables).await {
        if ["log_head", "seaql_migrations"].contains(&table.as_str()) {
            continue;
        }
        let columns = match database.kind {
            Kind::Sqlite => format!("SELECT name FROM pragma_table_info('{table}')"),
            Kind::Postgres => format!(
                "SELECT column_name::text FROM information_schema.columns WHERE table_name = '{table}'
                 AND table_schema = 'public' ORDER BY ordinal_position"
            ),
        };
        let columns = texts(&raw, &columns).await.into_iter().filter(|column| column != "hash");
        let texts_of: Vec<String> = match database.kind {
            Kind::Sqlite => columns.map(|column| format!("quote(\"{column}\")")).collect(),
            Kind::Postgres => columns.map(|column| format!("COALESCE(\"{column}\"::text, 'NULL')")).collect(),
        };
        let mut all = texts(&raw, &format!("SELECT {} FROM \"{table}\"", texts_of.join(" || ' | ' || "))).await;
        all.sort();
        rows.insert(table, all);
    }
    rows
}

async fn texts(raw: &DatabaseConnection, sql: &str) -> Vec<String> {
    let rows = raw.query_all_raw(Statement::from_string(raw.get_database_backend(), sql)).await.expect(sql);
    rows.iter().map(|row| row.try_get_by_index(0).expect("a text")).collect()
}

async fn the_same_seed_gives_the_same_rows(database: TestDatabase) {
    let (again, other) = (TestDatabase::fresh(database.kind).await, TestDatabase::fresh(database.kind).await);
    let first = generate(&database, plan(150, 7)).await;
    assert_eq!(generate(&again, plan(150, 7)).await.counts, first.counts);
    generate(&other, plan(150, 8)).await;
    let (one, two, three) = (rows(&database).await, rows(&again).await, rows(&other).await);
    for table in ["incident", "incident_tag", "incident_text", "tag", "alert", "alert_raw", "alert_entity"] {
        assert!(!one[table].is_empty() && one[table] != three[table], "{table}");
    }
    for table in ["incident_entity", "comment", "comment_revision", "change", "user", "group_member", "assignee_pick"] {
        assert!(!one[table].is_empty() && one[table] != three[table], "{table}");
    }
    for (table, rows) in one {
        assert_eq!(rows, two[&table], "{table}");
    }
}

async fn a_desk_in_use_is_refused_and_stays_as_it_is(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Somebody was here first").await;
    let before = rows(&database).await;
    let error = try_generate(&database, plan(20, 7)).await.expect_err("a refusal").to_string();
    assert!(error.contains("the desk is not empty"), "{error}");
    assert_eq!(rows(&database).await, before);

    // A database whose only incident was deleted still has a log.
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    let error = try_generate(&database, plan(20, 7)).await.expect_err("a refusal").to_string();
    assert!(error.contains("the desk is not empty"), "{error}");
    desk.verified().await;
    drop(desk);
    let output = run(&["generate", "--incidents", "20", "--database-url", &database.url]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("generating a desk: the desk is not empty"), "{said}");
}

async fn a_generated_desk_is_worked_on(database: TestDatabase) {
    // A desk has opened it once, so it has its local manager.
    drop(TestDesk::open(&database).await);
    let counts = generate(&database, plan(60, 7)).await.counts;
    let desk = TestDesk::open(&database).await;
    let made = desk.create(json!({ "title": "Reported after all that", "tags": ["noise"] })).await;
    assert_eq!(made["number"], 61);
    let read = |status: &str| {
        let filter = json!({ "status": [status] });
        let query = "query($filter: IncidentFilterInput) { incidents(filter: $filter, first: 1) { nodes { id version
            alerts(first: 5) { nodes { id status } } } } }";
        let desk = &desk;
        async move { desk.data(query, json!({ "filter": filter })).await["incidents"]["nodes"][0].take() }
    };
    let active = read("ACTIVE").await;
    let id = active["id"].as_str().expect("an active incident");
    desk.act("addComment", json!({ "incidentId": id, "body": "Looking" })).await;
    let resolved = desk.update(id, json!({ "status": "RESOLVED", "note": "Nothing." })).await;
    assert_eq!(resolved["incident"]["version"].as_u64(), active["version"].as_u64().map(|version| version + 2));
    let done = read("RESOLVED").await;
    desk.update(done["id"].as_str().expect("an id"), json!({ "status": "ACTIVE" })).await;
    assert_eq!(desk.log_end().await, counts.changes + 4);
    let verified = desk.verified().await;
    assert_eq!((verified.changes, verified.shown.incidents), (counts.changes + 4, 61));
}

/// Returns every incident with its alerts and comments, by number, without the ids that each desk chooses.
async fn told(desk: &TestDesk) -> Vec<Value> {
    let query = "query($after: String) { incidents(filter: { status: [NEW, ACTIVE, RESOLVED] }, first: 8, after: $after,
        orderBy: [{ field: CREATED_AT, direction: ASC }]) { pageInfo { hasNextPage endCursor } nodes {
        number version title titleGenerated description severity computedSeverity severityOverride status
        classification { kind threat activity reason } owner { account name } tags { name kind }
        resolution { note at by { account } } alertCount commentCount products providers createdAt updatedAt
        firstActivityAt lastActivityAt firstAssignedAt
        comments(first: 60) { nodes { body author { account } createdAt } }
        alerts(first: 60) { nodes { provider providerAlertId title severity status owner { account } raw updatedAt resolvedAt
            entities { kind value verdict } } } } } }";
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut page = desk.data(query, json!({ "after": after })).await["incidents"].take();
        all.append(page["nodes"].as_array_mut().expect("incidents"));
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = page["pageInfo"]["endCursor"].take();
    }
    for incident in &mut all {
        let alerts = incident["alerts"]["nodes"].as_array_mut().expect("alerts");
        alerts.sort_by_key(|alert| alert["providerAlertId"].to_string());
    }
    all
}

async fn an_import_of_its_records_gives_the_same_desk(database: TestDatabase) {
    let plan = GeneratePlan { open_percent: 20, ..plan(120, 9) };
    let desk = Generated::of(plan.clone()).expect("a desk");
    let lines = desk.records().map(|record| serde_json::to_string(&record.expect("a record")).expect("JSON") + "\n");
    let file: String = lines.collect();
    let counts = generate(&database, plan).await.counts;
    let (loaded, other) = (TestDesk::open(&database).await, TestDatabase::fresh(database.kind).await);
    let imported = TestDesk::open(&other).await;
    let source = ImportSource::reader(std::io::Cursor::new(file));
    let summary = import::import(&imported.app, source, Options::default(), |_| ()).await.expect("an import");
    assert_eq!((summary.bad, summary.odd_total), (Vec::new(), 0));
    assert_eq!(summary.counts.incidents_created, 120);
    assert_eq!(summary.counts.alerts_created, counts.alerts + counts.lone_alerts);
    let (one, two) = (told(&loaded).await, told(&imported).await);
    assert_eq!(one.len(), 120);
    for (loaded, imported) in one.iter().zip(&two) {
        assert_eq!(loaded, imported);
    }
    for (loaded, imported) in hidden(&database).await.iter().zip(&hidden(&other).await) {
        assert_eq!(loaded, imported);
    }
}

/// Selects the data of alerts, tags, entities and picks that the API does not show, under names that two desks share.
const HIDDEN: [&str; 4] = [
    "SELECT a.provider_alert_id || ' ' || i.number || ' ' || COALESCE(CAST(a.settled_version AS text), '-') || ' '
        || COALESCE(CAST(a.settled_status AS text), '-') FROM alert a JOIN incident i ON i.id = a.incident_id",
    "SELECT kind || ' ' || key || ' ' || name || ' ' || CAST(last_used_at AS text) FROM tag",
    "SELECT a.provider_alert_id || ' ' || i.number || ' ' || h.kind || ' ' || h.value_key || ' ' || h.from_version || ' '
        || COALESCE(CAST(h.to_version AS text), '-') || ' ' || CASE WHEN h.open THEN 'open' ELSE 'done' END
     FROM incident_entity h JOIN alert a ON a.id = h.alert_id JOIN incident i ON i.id = h.incident_id",
    "SELECT u.account || ' ' || COALESCE(o.account, g.account) || ' ' || CAST(p.picked_at AS text) FROM assignee_pick p
     JOIN \"user\" u ON u.id = p.picked_by LEFT JOIN \"user\" o ON o.id = p.owner_id LEFT JOIN \"group\" g ON g.id = p.owner_id",
];

async fn hidden(database: &TestDatabase) -> Vec<Vec<String>> {
    let raw = database.connect().await;
    let mut all = Vec::new();
    for sql in HIDDEN {
        let mut rows = texts(&raw, sql).await;
        rows.sort();
        assert!(!rows.is_empty(), "{sql}");
        all.push(rows);
    }
    all
}

#[test]
fn the_same_seed_gives_the_same_records() {
    let records = |arguments: &[&str]| {
        let output = run(&[&["generate", "--incidents", "80", "--ndjson", "-"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let usual = records(&[]);
    assert!(usual.ends_with(b"\n") && usual.split(|byte| *byte == b'\n').count() > 300);
    assert_eq!(records(&["--seed", "7", "--open-percent", "5", "--end", "2026-06-01T00:00:00Z"]), usual);
    assert_ne!(records(&["--seed", "8"]), usual);
    assert_ne!(records(&["--open-percent", "50"]), usual);
    assert_ne!(records(&["--end", "2026-05-01T00:00:00Z"]), usual);
}

#[test]
fn a_desk_of_the_future_is_refused() {
    let output = run(&["generate", "--incidents", "1", "--end", "9000-01-01T00:00:00Z"]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--end") && said.contains("in the future"), "{said}");
}

/// How long the test waits until `generate` writes its first rows. It makes four thousand incidents before, which takes
/// a busy machine and a build for tests long. Then the test kills it.
const UNTIL_IT_WRITES: Duration = Duration::from_secs(300);

async fn kill_half_way(database: &TestDatabase) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_watchfloor"))
        .args(["generate", "--incidents", "100000", "--database-url", &database.url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let begun = timeout(UNTIL_IT_WRITES, begun_to_write(database)).await;
    child.kill().expect("killed");
    child.wait().expect("ended");
    begun.expect("rows, in time");
}

async fn begun_to_write(database: &TestDatabase) {
    let raw = database.connect().await;
    let rows = match database.kind {
        Kind::Sqlite => "SELECT 'rows' FROM change LIMIT 1",
        Kind::Postgres => {
            "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'"
        }
    };
    let statement = Statement::from_string(raw.get_database_backend(), rows);
    // There is no table at first.
    while raw.query_one_raw(statement.clone()).await.ok().flatten().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_generate_that_was_killed_leaves_no_desk_that_looks_whole(database: TestDatabase) {
    kill_half_way(&database).await;
    if database.kind == Kind::Postgres {
        // It was one transaction: nothing is there, and `generate` can run again.
        generate(&database, plan(20, 7)).await;
        TestDesk::open(&database).await.verified().await;
        return;
    }
    let store = store(&database).await;
    let ring = RealtimeLimits { changes: 1, bytes: 1, incidents: 0 };
    let opened = App::open(store.clone(), ring, Clock::System).await.map(drop);
    let error = opened.expect_err("a refusal").to_string();
    assert!(error.contains("the desk is incomplete"), "{error}");
    let error = try_generate(&database, plan(20, 7)).await.expect_err("a refusal").to_string();
    assert!(error.contains("the desk is incomplete"), "{error}");
    let output = run(&["verify", "--database-url", &database.url]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!output.status.success() && said.contains("the log is broken at position 1"), "{said}");
}
