//! The query plans at a hundred thousand incidents: each read uses an index that this file names, and scans no large
//! table.

use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};
use watchfloor::storage::Statement;

use super::plans::explain;
use super::statements::Sent;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(a_large_desk_is_read_along_its_indexes);

/// One in twenty of them is open.
const INCIDENTS: u32 = 100_000;

/// Tables that no read may scan.
///
/// PostgreSQL may scan `incident_tag` for the facet of all tags, because its rows are as short as an index's entries.
const LARGE: [&str; 4] = ["incident", "alert", "incident_search", "incident_entity"];

/// A read, and for each of its statements with this text the index that must answer it.
struct Read {
    query: &'static str,
    variables: Value,
    ways: Vec<(&'static str, Vec<&'static str>)>,
}

/// Returns the reads. Response times are cached for a minute, so each round asks for another window.
fn reads(kind: Kind, owner: &str, window: u8) -> Vec<Read> {
    let read = |query, variables, ways| Read { query, variables, ways };
    let page = "query($filter: IncidentFilterInput, $order: [IncidentOrderInput!]) {
        incidents(first: 50, filter: $filter, orderBy: $order) { nodes { id } } }";
    let counted =
        "query($filter: IncidentFilterInput) { incidents(first: 50, filter: $filter) { totalCount nodes { id } } }";
    let order = |field: &str| json!({ "order": [{ "field": field }, { "field": "UPDATED_AT" }] });
    let (the_page, count) = ("ORDER BY \"incident\"", "SELECT COUNT(*) FROM \"incident\"");
    let text = |sqlite, postgres| if kind == Kind::Sqlite { sqlite } else { postgres };
    let all = json!(["NEW", "ACTIVE", "RESOLVED", "REDIRECTED"]);
    vec![
        read(counted, json!({}), vec![(count, vec!["incident_open"]), (the_page, vec!["incident_open_by_updated"])]),
        read("{ incidents(last: 50) { nodes { id } } }", json!({}), vec![(the_page, vec!["incident_open_by_updated"])]),
        read(page, order("SEVERITY"), vec![(the_page, vec!["incident_open_by_severity"])]),
        read(page, order("STATUS"), vec![(the_page, vec!["incident_open_by_status"])]),
        read(counted, json!({ "filter": { "status": ["NEW"] } }), vec![(count, vec!["incident_open"])]),
        read(
            counted,
            json!({ "filter": { "status": ["RESOLVED"], "severity": ["HIGH"] } }),
            vec![(count, vec!["incident_by_status"])],
        ),
        read(
            "{ incidents { facets { status { count } severity { count } owner { count } tags { count } product { count } } } }",
            json!({}),
            vec![
                ("\"status_order\" AS \"value\"", vec!["incident_by_status"]),
                ("\"severity\" AS \"value\"", vec!["incident_open"]),
                ("\"incident\".\"owner_group_id\", COUNT(", vec!["incident_open"]),
                ("GROUP BY \"incident_tag\"", vec!["incident_open"]),
                ("COUNT(DISTINCT \"alert\"", vec!["incident_open"]),
            ],
        ),
        read(
            "query($filter: IncidentFilterInput) { incidents(filter: $filter) { facets { severity { count } owner { count } } } }",
            json!({ "filter": { "status": all } }),
            vec![
                ("\"severity\" AS \"value\"", vec!["incident_by_status"]),
                ("\"incident\".\"owner_group_id\", COUNT(", vec!["incident_by_status"]),
            ],
        ),
        read(
            "query($since: DateTime) { queueSummary(since: $since) { open created resolved oldest } }",
            json!({ "since": "2024-03-01T00:00:00Z" }),
            vec![
                ("MIN(\"incident\".\"created_at\")", vec!["incident_open"]),
                ("\"created_at\" >= $1 ORDER BY", vec!["incident_open"]),
                (
                    "SELECT COUNT(*) FROM \"incident\" WHERE \"incident\".\"deleted_at\" IS NULL AND TRUE AND \"incident\".\"created_at\"",
                    vec!["incident_by_created"],
                ),
                (
                    "SELECT COUNT(*) FROM \"incident\" WHERE \"incident\".\"deleted_at\" IS NULL AND TRUE AND \"incident\".\"status\" = 3",
                    vec!["incident_by_resolved"],
                ),
            ],
        ),
        read(
            "query($window: Int!) { responseTimes(windowDays: $window) { timeToAssign { mean } timeToResolve { mean } } }",
            json!({ "window": window }),
            vec![
                ("\"resolved_at\" FROM", vec!["incident_by_resolved"]),
                ("\"resolved_at\", \"incident\".\"status\" FROM", vec!["incident_by_assigned"]),
            ],
        ),
        read(
            page,
            json!({ "filter": { "status": ["RESOLVED"], "severity": ["HIGH"], "owner": { "users": [owner] } } }),
            vec![(the_page, vec!["incident_by_owner_user"])],
        ),
        read(
            counted,
            json!({ "filter": { "tags": { "any": ["common"] } } }),
            vec![(count, vec!["incident_open", "incident_tag_"]), (the_page, vec!["incident_open_by_updated"])],
        ),
        read(
            counted,
            json!({ "filter": { "tags": { "any": ["rare"] }, "status": all } }),
            vec![(count, vec!["incident_tag_by_key"]), (the_page, vec!["incident_tag_by_key"])],
        ),
        read(
            counted,
            json!({ "filter": { "product": ["Suricata"] } }),
            vec![(count, vec!["incident_open", "alert_by_incident"]), (the_page, vec!["incident_open_by_updated"])],
        ),
        read(
            counted,
            json!({ "filter": { "text": "needle 77777", "status": all } }),
            vec![
                (count, vec![text("incident_search VIRTUAL TABLE INDEX", "incident_search_trigrams")]),
                (the_page, vec![text("incident_search VIRTUAL TABLE INDEX", "incident_search_trigrams")]),
            ],
        ),
        read(
            counted,
            json!({ "filter": { "text": "INC-77777", "status": all } }),
            vec![
                (
                    count,
                    vec![text("incident_search VIRTUAL TABLE INDEX", "incident_search_trigrams"), "incident_number"],
                ),
                (the_page, vec![text("incident_search VIRTUAL TABLE INDEX", "incident_search_trigrams")]),
            ],
        ),
        read(
            "query($filter: AlertFilterInput) { alerts(filter: $filter) { totalCount nodes { id } } }",
            json!({ "filter": { "owner": { "users": [owner] } } }),
            vec![
                ("SELECT COUNT(*) FROM \"alert\"", vec!["alert_by_owner_user"]),
                ("ORDER BY \"alert\"", vec!["alert_by_owner_user"]),
            ],
        ),
        read(
            "query($filter: AlertFilterInput) { alerts(filter: $filter) { totalCount nodes { id } } }",
            json!({ "filter": { "owner": { "unassigned": true } } }),
            vec![("SELECT COUNT(*) FROM \"alert\"", vec!["alert_unassigned"])],
        ),
        read(
            "query($filter: AlertFilterInput) { alerts(filter: $filter) { totalCount nodes { id } } }",
            json!({ "filter": { "text": "needle 77777" } }),
            vec![
                (
                    "SELECT COUNT(*) FROM \"alert\"",
                    vec![text("alert_search VIRTUAL TABLE INDEX", "alert_title_trigrams")],
                ),
                ("ORDER BY \"alert\"", vec![text("alert_search VIRTUAL TABLE INDEX", "alert_title_trigrams")]),
            ],
        ),
    ]
}

async fn fill(kind: Kind, pool: &DatabaseConnection) {
    // Rows of a kilobyte and more, as in production: with short rows PostgreSQL would rather scan the table.
    let (id, long, time) = match kind {
        Kind::Sqlite => (
            "randomblob(16)",
            "hex(zeroblob(500))",
            "strftime('%Y-%m-%dT%H:%M:%S+00:00', 1704067200 + {}, 'unixepoch')",
        ),
        Kind::Postgres => ("gen_random_uuid()", "repeat('0', 1000)", "to_timestamp(1704067200 + {})"),
    };
    let time = |seconds: &str| time.replace("{}", seconds);
    // A year and a half up to the tests' day, with five minutes or so between two incidents.
    let (created, later) = (time("913 * n"), time("913 * n + 3600"));
    let incidents = format!(
        "INSERT INTO incident (id, number, version, title, title_key, title_folded, title_version, title_generated,
            description, description_folded, description_version, severity, computed_severity, status, owner_user_id, resolved_at, alert_count,
            comment_count, products, providers, created_at, updated_at, first_activity_at, last_activity_at, first_assigned_at)
         WITH RECURSIVE count (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM count WHERE n < {INCIDENTS})
         SELECT {id}, n, 1, 'key ' || (n * 7919 % 10007), 'key ' || (n * 7919 % 10007),
            'needle ' || n || ' in the hay of a desk that has been at work for long', 1, false,
            {long}, 'a description of an incident which has as many words as people write, ' || (n * 7919 % 10007), 1, 1 + n % 4, 1 + n % 4,
            CASE WHEN n % 20 > 0 THEN 3 WHEN n % 40 > 0 THEN 2 ELSE 1 END,
            CASE WHEN n % 3 > 0 THEN (SELECT id FROM \"user\" WHERE account = 'user-' || n % 7) END,
            CASE WHEN n % 20 > 0 THEN {later} END, 0, 0, '[]', '[]', {created}, {later}, {created}, {later},
            CASE WHEN n % 3 > 0 THEN {later} END
         FROM count"
    );
    let alerts = format!(
        "INSERT INTO alert (id, provider, provider_alert_id, product, title, title_folded, description, severity, status, techniques, incident_id,
            created_at, updated_at, owner_user_id)
         SELECT {id}, 'Sensor', number, CASE number % 3 WHEN 0 THEN 'Suricata' WHEN 1 THEN 'Zeek' ELSE 'Defender' END, 'An alert',
            'an alert with needle ' || number || ' in it', {long}, 3, CASE WHEN status < 3 THEN 1 ELSE 3 END, '[]', id, created_at, created_at, owner_user_id
         FROM incident"
    );
    let tags = "INSERT INTO incident_tag (incident_id, kind, key)
         SELECT id, 'CUSTOM', 'common' FROM incident WHERE number % 3 = 0
         UNION ALL SELECT id, 'CUSTOM', 'rare' FROM incident WHERE number % 9973 = 0
         UNION ALL SELECT id, 'CUSTOM', 'tag ' || number % 50 FROM incident WHERE number % 2 = 0";
    for statement in [incidents.as_str(), alerts.as_str(), tags] {
        pool.execute_unprepared(statement).await.expect("rows");
    }
}

async fn a_large_desk_is_read_along_its_indexes(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk_without_board(&database).await;
    desk.incident("the first").await;
    let mut owner = String::new();
    for number in 0..7 {
        owner = desk.user(&format!("user-{number}"), "RESPONDER").await;
    }
    let pool = Database::connect(&database.url).await.expect("a connection");
    fill(database.kind, &pool).await;
    match database.kind {
        // As autovacuum does within a minute.
        Kind::Postgres => {
            pool.execute_unprepared("VACUUM ANALYZE").await.expect("statistics");
            each_is_read_along_its_index(&desk, &sent, &pool, &reads(database.kind, &owner, 30)).await;
        }
        // An hour may pass before SQLite has statistics.
        Kind::Sqlite => {
            each_is_read_along_its_index(&desk, &sent, &pool, &reads(database.kind, &owner, 30)).await;
            desk.app.store.optimize().await.expect("statistics");
            let pool = Database::connect(&database.url).await.expect("a connection");
            each_is_read_along_its_index(&desk, &sent, &pool, &reads(database.kind, &owner, 29)).await;
        }
    }
    a_board_begins_along_indexes(&desk, &sent, &pool).await;
}

/// Checks the reads of all incidents that a node makes before it is ready.
async fn a_board_begins_along_indexes(desk: &TestDesk, sent: &Sent, pool: &DatabaseConnection) {
    let reader = desk.app.store.read().await.expect("a snapshot");
    sent.take();
    let begun = std::time::Instant::now();
    let all = reader.count_all().await.expect("counts");
    println!("{INCIDENTS} incidents were counted in {:?}", begun.elapsed());
    assert_eq!(all.iter().map(|counted| counted.incidents).sum::<u64>(), u64::from(INCIDENTS));
    let newest = reader.count_newest_day().await.expect("counts");
    assert_eq!(newest.created.len(), 1, "the first, which was made on the day of the tests");
    let statements = sent.take();
    assert_eq!(statements.len(), 6, "{statements:#?}");
    for (statement, index) in statements.iter().zip([
        "incident_by_status",
        "incident_by_created",
        "incident_by_resolved",
        "incident_by_created",
        "incident_by_resolved",
        "incident_by_resolved",
    ]) {
        let plan = explain(pool, statement).await;
        assert!(plan.contains(index), "not along {index}: {}\n{plan}", statement.sql);
        assert!(!reads_a_table_whole(&plan), "a table whole: {}\n{plan}", statement.sql);
    }
}

async fn each_is_read_along_its_index(desk: &TestDesk, sent: &Sent, pool: &DatabaseConnection, reads: &[Read]) {
    let mut wrong = Vec::new();
    for read in reads {
        sent.take();
        desk.data(read.query, read.variables.clone()).await;
        let statements = sent.take();
        let mut plans = Vec::new();
        for statement in &statements {
            plans.push((statement, explain(pool, statement).await));
        }
        for (text, indexes) in &read.ways {
            let found: Vec<_> = plans.iter().filter(|(statement, _)| has(&statement.sql, text)).collect();
            if found.is_empty() {
                let texts: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
                wrong.push(format!("no statement has {text}: {texts:#?}"));
            }
            for (statement, plan) in found {
                for index in indexes {
                    if !plan.contains(index) {
                        wrong.push(format!("not along {index}: {}\n{plan}", statement.sql));
                    }
                }
            }
        }
        let whole = plans.iter().filter(|(_, plan)| reads_a_table_whole(plan));
        wrong.extend(
            whole.map(|(statement, plan): &(&Statement, String)| format!("a table whole: {}\n{plan}", statement.sql)),
        );
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Parameters are `?` on one database and numbered on the other.
fn has(sql: &str, text: &str) -> bool {
    sql.contains(text) || sql.contains(&text.replace("$1", "?"))
}

/// SQLite says `SCAN t` for a table and `SCAN t USING INDEX i` for an index from end to end.
fn reads_a_table_whole(plan: &str) -> bool {
    plan.lines().map(str::trim).any(|line| {
        LARGE.iter().any(|table| line == format!("SCAN {table}") || line.contains(&format!("Seq Scan on {table} ")))
    })
}
