//! The query plans of a queue's page: along the index of its order, without a sort.

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, TransactionTrait};
use serde_json::{Value, json};
use watchfloor::storage::Statement;

use super::statements::Sent;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(
    a_page_of_each_order_is_read_along_its_index,
    the_oldest_open_incidents_are_read_along_their_index,
    the_open_incidents_of_an_entity_are_one_range_of_an_index,
    what_is_unread_is_looked_up_in_an_index_of_the_log,
);

/// Each order with its indexes for both directions (ascending, descending).
const ORDERS: [(&str, [&str; 2]); 9] = [
    ("UPDATED_AT", ["updated", "updated"]),
    ("CREATED_AT", ["created", "created"]),
    ("FIRST_ACTIVITY_AT", ["first_activity_asc", "first_activity_desc"]),
    ("LAST_ACTIVITY_AT", ["last_activity_asc", "last_activity_desc"]),
    ("RESOLVED_AT", ["resolved_asc", "resolved_desc"]),
    ("SEVERITY", ["severity", "severity"]),
    ("NUMBER", ["number", "number"]),
    ("STATUS", ["status", "status"]),
    ("TITLE", ["title", "title"]),
];

/// Creates ten thousand incidents, one in five of them open, as copies of one that the desk made.
pub(crate) async fn fill(kind: Kind, pool: &DatabaseConnection) {
    let (id, time, mixed) = match kind {
        Kind::Sqlite => (
            "randomblob(16)",
            "strftime('%Y-%m-%dT%H:%M:%S+00:00', 1700000000 + n * {}, 'unixepoch')",
            "n * 7919 % 10007",
        ),
        Kind::Postgres => ("gen_random_uuid()", "to_timestamp(1700000000 + n * {})", "n * 7919 % 10007"),
    };
    let time = |step: &str| time.replace("{}", step);
    let (created, updated, first, last) = (time("60"), time("61"), time("59"), time("62"));
    let fill = format!(
        "INSERT INTO incident (id, number, version, title, title_key, title_folded, title_version, title_generated,
            description_version, severity, computed_severity, status, alert_count, comment_count, products, providers,
            created_at, updated_at, first_activity_at, last_activity_at, resolved_at)
         WITH RECURSIVE count (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM count WHERE n < 10000)
         SELECT {id}, n, 1, 'key ' || ({mixed}), 'key ' || ({mixed}), 't', 1, false, 1, 1 + n % 4, 1 + n % 4,
            CASE n % 5 WHEN 0 THEN CASE n % 10 WHEN 0 THEN 1 ELSE 2 END ELSE 3 END, 0, 0, '[]', '[]',
            {created}, {updated}, CASE WHEN n % 5 > 0 THEN {first} END, CASE WHEN n % 5 > 1 THEN {last} END,
            CASE WHEN n % 5 > 0 THEN {updated} END
         FROM count"
    );
    pool.execute_unprepared(&fill).await.expect("ten thousand incidents");
}

/// Returns the plan of a statement.
///
/// PostgreSQL may read the few rows after a late cursor in any cheap way, and sort them. For these the test asks
/// whether the index *can* give the order: if the other ways are forbidden, a sort remains only where it cannot.
async fn plan(pool: &DatabaseConnection, statement: &Statement, late: bool) -> String {
    let session = pool.begin().await.expect("a session");
    if late && pool.get_database_backend() == sea_orm::DbBackend::Postgres {
        for way in ["sort", "seqscan", "bitmapscan", "incremental_sort"] {
            session.execute_unprepared(&format!("SET LOCAL enable_{way} = off")).await.expect("a setting");
        }
    }
    explain(&session, statement).await
}

/// Returns the database's plan of a statement.
pub(crate) async fn explain(session: &impl ConnectionTrait, statement: &Statement) -> String {
    let (explain, column) = match session.get_database_backend() {
        sea_orm::DbBackend::Postgres => ("EXPLAIN", 0),
        _ => ("EXPLAIN QUERY PLAN", 3),
    };
    let mut asked = statement.clone();
    asked.sql = format!("{explain} {}", statement.sql);
    let rows = session.query_all_raw(asked).await.expect("a plan");
    let lines: Vec<String> = rows.iter().map(|row| row.try_get_by_index(column).expect("a line")).collect();
    lines.join("\n")
}

async fn a_page_of_each_order_is_read_along_its_index(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk_without_board(&database).await;
    desk.incident("the first").await;
    let pool = Database::connect(&database.url).await.expect("a connection");
    fill(database.kind, &pool).await;
    // SQLite must find the plan without statistics, because nobody runs ANALYZE there.
    if database.kind == Kind::Postgres {
        pool.execute_unprepared("ANALYZE").await.expect("statistics");
    }
    for statuses in
        [Value::Null, json!(["NEW", "ACTIVE", "RESOLVED"]), json!(["NEW", "ACTIVE", "RESOLVED", "REDIRECTED"])]
    {
        orders_use(&desk, &sent, &pool, &statuses).await;
    }
}

/// A summary's keys start from the oldest open incident, so that older closed incidents are not read.
async fn the_oldest_open_incidents_are_read_along_their_index(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk_without_board(&database).await;
    desk.incident("the first").await;
    let pool = Database::connect(&database.url).await.expect("a connection");
    fill(database.kind, &pool).await;
    if database.kind == Kind::Postgres {
        pool.execute_unprepared("ANALYZE").await.expect("statistics");
    }
    sent.take();
    let summary = desk.data("{ queueSummary { open oldest } }", json!({})).await["queueSummary"].take();
    assert_eq!(summary["open"], 2_001);
    let statements = sent.take();
    let read = statements.iter().find(|statement| statement.sql.contains("ORDER BY \"incident\"")).expect("the oldest");
    let plan = plan(&pool, read, true).await;
    assert!(plan.contains("incident_open"), "{}\n{plan}", read.sql);
    assert!(!plan.contains("TEMP B-TREE") && !plan.contains("Sort"), "sorted: {plan}");
    let range = if database.kind == Kind::Postgres { "Index Cond" } else { "created_at>?" };
    assert!(plan.contains(range), "from the beginning of time: {plan}");
}

/// Correlation's lookup of an entity reads no resolved incidents, however many hold the entity.
async fn the_open_incidents_of_an_entity_are_one_range_of_an_index(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk_without_board(&database).await;
    let alert = |key: &str, host: &str| json!({ "provider": "Sensor", "providerAlertId": key, "title": "Beacon", "entities": [{ "kind": "DEVICE", "value": host }] });
    let ingest = "mutation($alert: AlertInput!) { ingestAlert(input: { alert: $alert, into: { correlate: {} } }) {
        correlations { outcome } } }";
    desk.data(ingest, json!({ "alert": alert("first", "jump-host") })).await;
    let pool = Database::connect(&database.url).await.expect("a connection");
    fill(database.kind, &pool).await;
    let hold = "INSERT INTO incident_entity (incident_id, alert_id, kind, value_key, from_version, open)
        SELECT i.id, a.id, 'DEVICE', 'srv-' || (i.number % 50), 1, i.status IN (1, 2)
        FROM incident i CROSS JOIN (SELECT id FROM alert LIMIT 1) AS a WHERE i.number > 1";
    pool.execute_unprepared(hold).await.expect("ten thousand entities");
    pool.execute_unprepared("UPDATE counter SET value = 10000").await.expect("a number that is free");
    if database.kind == Kind::Postgres {
        pool.execute_unprepared("ANALYZE").await.expect("statistics");
    }
    sent.take();
    desk.data(ingest, json!({ "alert": alert("second", "srv-7") })).await;
    let statements = sent.take();
    let asked: Vec<&Statement> = statements.iter().filter(|statement| statement.sql.contains("wanted")).collect();
    assert_eq!(asked.len(), 2, "{statements:?}");
    for statement in asked {
        let plan = plan(&pool, statement, true).await;
        let (range, walk) = match database.kind {
            Kind::Postgres => ("(open = true)", "Seq Scan on incident_entity"),
            Kind::Sqlite => ("value_key=? AND kind=? AND open=?", "SCAN h"),
        };
        assert!(plan.contains("incident_entity_held") && plan.contains(range), "{}\n{plan}", statement.sql);
        assert!(!plan.contains(walk), "{}\n{plan}", statement.sql);
    }
}

/// Not by reading the log from the visit on, which may be long ago.
async fn what_is_unread_is_looked_up_in_an_index_of_the_log(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk_without_board(&database).await;
    desk.incident("the first").await;
    let pool = Database::connect(&database.url).await.expect("a connection");
    fill(database.kind, &pool).await;
    let saved = desk.act("createView", json!({ "name": "All" })).await;
    desk.act("visitView", json!({ "viewId": saved["view"]["id"] })).await;
    sent.take();
    desk.data("{ view(by: { slug: \"all\" }) { unreadCount } }", json!({})).await;
    let statements = sent.take();
    let counts: Vec<&Statement> =
        statements.iter().filter(|statement| statement.sql.contains("\"change\".\"position\" >")).collect();
    let [count] = counts.as_slice() else { panic!("one statement: {statements:#?}") };
    let plan = plan(&pool, count, true).await;
    let way =
        if database.kind == Kind::Postgres { "change_" } else { "change_by_incident (incident_id=? AND version=?)" };
    assert!(plan.contains(way), "{}\n{plan}", count.sql);
}

async fn orders_use(desk: &TestDesk, sent: &Sent, pool: &DatabaseConnection, statuses: &Value) {
    let query = "query($filter: IncidentFilterInput, $order: [IncidentOrderInput!], $first: Int, $after: String, $last: Int, $before: String) {
        incidents(filter: $filter, orderBy: $order, first: $first, after: $after, last: $last, before: $before) {
            pageInfo { startCursor endCursor }
        }
    }";
    let filter = if statuses.is_null() { json!({}) } else { json!({ "status": statuses }) };
    for (field, [ascending, descending]) in ORDERS {
        for (direction, index) in [("ASC", ascending), ("DESC", descending)] {
            let index = match field {
                "NUMBER" => "incident_number".to_owned(),
                // Open incidents have indexes of their own, so that resolved ones are not read.
                "UPDATED_AT" if statuses.is_null() => "incident_open_by_updated".to_owned(),
                _ => format!("incident_by_{index}"),
            };
            let order = json!([{ "field": field, "direction": direction }]);
            let mut cursor = Value::Null;
            for page in ["first", "second", "last", "before the last"] {
                if page == "last" {
                    cursor = Value::Null;
                }
                let (size, from) = if page.contains("last") { ("last", "before") } else { ("first", "after") };
                let mut arguments = json!({ "filter": filter, "order": order });
                arguments[size] = json!(50);
                arguments[from] = cursor;
                sent.take();
                let info = desk.data(query, arguments).await["incidents"]["pageInfo"].take();
                let statements = sent.take();
                let read =
                    statements.iter().find(|statement| statement.sql.contains("FROM \"incident\"")).expect("a page");
                let plan = plan(pool, read, page != "first").await;
                let place = format!("{field} {direction}, {page} page, statuses {statuses}:\n{}\n{plan}", read.sql);
                // Without statistics SQLite may take either.
                let open = field == "CREATED_AT" && statuses.is_null() && plan.contains("incident_open");
                assert!(plan.contains(&index) || open, "not along {index}: {place}");
                assert!(!plan.contains("TEMP B-TREE") && !plan.contains("Sort"), "sorted: {place}");
                cursor = info[if page.contains("last") { "startCursor" } else { "endCursor" }].clone();
            }
        }
    }
}
