//! The database schema: each start migrates it, and concurrent starts do not disturb each other.

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Database, Statement};
use serde_json::json;
use std::time::Duration;
use watchfloor::storage::{Store, StoreOptions};
use watchfloor_migrations::Migrator;
use watchfloor_migrations::sea_orm_migration::MigratorTrait;

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(
    four_nodes_that_start_at_once_take_turns,
    a_second_migration_changes_nothing,
    comments_written_before_merges_keep_their_order_and_texts,
    addresses_of_old_desks_are_found_in_every_form,
    empty_conditions_of_old_views_keep_their_meaning,
);

/// A role that owns only its schema may not create extensions.
#[tokio::test]
async fn a_desk_that_may_not_create_the_extension_searches_all_the_same() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let admin = database.connect().await;
    let url = url::Url::parse(&database.url).expect("an address");
    let (name, role) = (url.path().trim_start_matches('/'), format!("guest_{}", url.path().trim_start_matches('/')));
    for statement in [
        format!("CREATE ROLE {role} LOGIN PASSWORD 'guest'"),
        format!("REVOKE CREATE ON DATABASE {name} FROM PUBLIC"),
        format!("GRANT CREATE, USAGE ON SCHEMA public TO {role}"),
    ] {
        admin.execute_unprepared(&statement).await.expect("a role");
    }
    let mut as_guest = url.clone();
    as_guest.set_username(&role).expect("a name");
    as_guest.set_password(Some("guest")).expect("a password");
    let found = async |desk: &TestDesk| {
        let read = "query($text: String!) { incidents(filter: { text: $text }) { totalCount }
            alerts(filter: { text: $text }) { totalCount } }";
        let found = desk.data(read, json!({ "text": "spread" })).await;
        (found["incidents"]["totalCount"].clone(), found["alerts"]["totalCount"].clone())
    };
    let indexes = async || {
        let count =
            "SELECT COUNT(*) FROM pg_indexes WHERE indexname IN ('incident_search_trigrams', 'alert_title_trigrams')";
        let row =
            admin.query_one_raw(Statement::from_string(admin.get_database_backend(), count)).await.expect("an answer");
        row.expect("a row").try_get_by_index::<i64>(0).expect("a count")
    };
    {
        let guest = TestDatabase::at(as_guest.to_string());
        let desk = TestDesk::open(&guest).await;
        desk.incident("Widespread sign-ins").await;
        let ingest = "mutation($alert: AlertInput!) { ingestAlert(input: { alert: $alert }) { created } }";
        let alert = json!({ "provider": "Sensor", "providerAlertId": "1", "title": "Spreading" });
        desk.data(ingest, json!({ "alert": alert })).await;
        assert_eq!(found(&desk).await, (json!(1), json!(1)));
        assert_eq!(indexes().await, 0);
    }
    admin.execute_unprepared("CREATE SCHEMA tools").await.expect("a schema");
    admin.execute_unprepared(&format!("GRANT USAGE ON SCHEMA tools TO {role}")).await.expect("a right");
    admin.execute_unprepared("CREATE EXTENSION pg_trgm SCHEMA tools").await.expect("the extension");
    {
        let guest = TestDatabase::at(as_guest.to_string());
        let desk = TestDesk::open(&guest).await;
        assert_eq!(found(&desk).await, (json!(1), json!(1)));
        assert_eq!(indexes().await, 2, "the extension has come, and the desk was started again");
    }
    for statement in [
        format!("REASSIGN OWNED BY {role} TO CURRENT_USER"),
        format!("DROP OWNED BY {role}"),
        format!("DROP ROLE {role}"),
    ] {
        admin.execute_unprepared(&statement).await.expect("no role");
    }
}

/// The number of migrations before incidents could be merged.
const BEFORE_MERGES: u32 = 6;

/// The number of migrations before IPv6 addresses had one form.
const BEFORE_ADDRESSES: u32 = 13;

async fn store(database: &TestDatabase) -> Store {
    let options = StoreOptions {
        url: database.url.clone(),
        connections: 2,
        acquire_timeout: Duration::from_secs(20),
        notify: true,
    };
    Store::connect(options).await.expect("a connection")
}

async fn applied(database: &TestDatabase) -> Vec<String> {
    let pool = Database::connect(&database.url).await.expect("a connection");
    let query = "SELECT version FROM seaql_migrations ORDER BY version";
    let rows = pool.query_all_raw(Statement::from_string(pool.get_database_backend(), query)).await.expect("rows");
    let versions = rows.iter().map(|row| row.try_get_by_index(0).expect("a name")).collect();
    pool.close().await.expect("closed");
    versions
}

async fn four_nodes_that_start_at_once_take_turns(database: TestDatabase) {
    let stores = join_all((0..4).map(|_| store(&database))).await;
    for outcome in join_all(stores.iter().map(Store::migrate)).await {
        outcome.expect("a migrated database");
    }
    let mut heads = Vec::new();
    for store in &stores {
        heads.push(store.read().await.expect("a snapshot").head().await.expect("a head"));
    }
    assert!(heads.iter().all(|head| *head == heads[0]), "one life of the log: {heads:?}");
    let versions = applied(&database).await;
    let mut once = versions.clone();
    once.dedup();
    assert_eq!(versions, once, "each migration was applied once");
    assert!(versions.len() >= 3);
}

async fn a_second_migration_changes_nothing(database: TestDatabase) {
    let store = store(&database).await;
    store.migrate().await.expect("a migrated database");
    let head = store.read().await.expect("a snapshot").head().await.expect("a head");
    let versions = applied(&database).await;
    store.migrate().await.expect("a migrated database");
    assert_eq!(store.read().await.expect("a snapshot").head().await.expect("a head"), head);
    assert_eq!(applied(&database).await, versions);
}

async fn comments_written_before_merges_keep_their_order_and_texts(database: TestDatabase) {
    let raw = database.connect().await;
    Migrator::up(&raw, Some(BEFORE_MERGES)).await.expect("the schema of before");
    let id = |n: u8| match database.kind {
        Kind::Sqlite => format!("x'0198c0de0000700080000000000000{n:02x}'"),
        Kind::Postgres => format!("'0198c0de-0000-7000-8000-0000000000{n:02x}'"),
    };
    let [incident, first, second] = [id(1), id(2), id(3)];
    let at = |minute: u8| format!("'2026-11-20T09:{minute:02}:00+00:00'");
    for statement in [
        format!(
            "INSERT INTO incident (id, number, version, title, title_key, title_folded, title_version, title_generated,
                description_version, severity, computed_severity, status, alert_count, comment_count, products, providers,
                created_at, updated_at)
             VALUES ({incident}, 1, 4, 'Spam run', 'spam run', 'spam run', 1, false, 1, 3, 3, 1, 0, 2, '[]', '[]', {}, {})",
            at(0),
            at(9)
        ),
        format!("INSERT INTO comment (id, incident_id, version, body, author, created_at, edited_at)
             VALUES ({second}, {incident}, 3, 'Sender is blocked', '\"system\"', {}, NULL),
                ({first}, {incident}, 2, 'From one sender', '\"system\"', {}, {})", at(2), at(1), at(3)),
        format!("INSERT INTO comment_revision (comment_id, version, body, at, by_actor)
             VALUES ({first}, 4, 'From one sender', {}, '\"system\"'), ({first}, 2, 'From two senders', {}, '\"system\"'),
                ({second}, 3, 'Sender is blocked', {}, '\"system\"')", at(3), at(1), at(2)),
    ] {
        raw.execute_unprepared(&statement).await.expect("rows of before");
    }
    let desk = TestDesk::open(&database).await;
    let read = desk.data(
        "{ incident(by: { number: 1 }) { id comments { nodes { writtenOnId incident { number } history { nodes { incidentId version body } } } } } }",
        json!({}),
    );
    let incident = "incident:0198c0de-0000-7000-8000-000000000001";
    let text = |version: u32, body: &str| json!({ "incidentId": incident, "version": version, "body": body });
    let comment =
        |history| json!({ "writtenOnId": incident, "incident": { "number": 1 }, "history": { "nodes": history } });
    let comments = json!([
        comment(json!([text(2, "From two senders"), text(4, "From one sender")])),
        comment(json!([text(3, "Sender is blocked")])),
    ]);
    assert_eq!(read.await["incident"], json!({ "id": incident, "comments": { "nodes": comments } }));
}

async fn addresses_of_old_desks_are_found_in_every_form(database: TestDatabase) {
    let raw = database.connect().await;
    Migrator::up(&raw, Some(BEFORE_ADDRESSES)).await.expect("the schema of before");
    let id = |n: u8| match database.kind {
        Kind::Sqlite => format!("x'0198c0de0000700080000000000000{n:02x}'"),
        Kind::Postgres => format!("'0198c0de-0000-7000-8000-0000000000{n:02x}'"),
    };
    let (incident, alert, at) = (id(1), id(2), "'2026-11-20T09:00:00+00:00'");
    for statement in [
        format!(
            "INSERT INTO incident (id, number, version, title, title_key, title_folded, title_version, title_generated,
                description_version, severity, computed_severity, status, alert_count, comment_count, products, providers,
                created_at, updated_at)
             VALUES ({incident}, 1, 1, 'Tunnel', 'tunnel', 'tunnel', 1, false, 1, 3, 3, 1, 1, 0, '[]', '[]', {at}, {at})"
        ),
        format!(
            "INSERT INTO alert (id, provider, provider_alert_id, title, title_folded, severity, status, techniques, incident_id,
                created_at, updated_at)
             VALUES ({alert}, 'Sensor', '1', 'Tunnel', 'tunnel', 3, 1, '[]', {incident}, {at}, {at})"
        ),
        format!(
            "INSERT INTO alert_entity (alert_id, ordinal, kind, value, value_key)
             VALUES ({alert}, 0, 'IP', '2001:DB8:0:0::1', '2001:db8:0:0::1'), ({alert}, 1, 'IP', '2001:db8::1', '2001:db8::1'),
                ({alert}, 2, 'FILE', 'c:a:b', 'c:a:b')"
        ),
        format!(
            "INSERT INTO incident_entity (incident_id, alert_id, kind, value_key, from_version, open)
             VALUES ({incident}, {alert}, 'IP', '2001:db8:0:0::1', 1, true), ({incident}, {alert}, 'IP', '2001:db8::1', 1, true),
                ({incident}, {alert}, 'FILE', 'c:a:b', 1, true)"
        ),
    ] {
        raw.execute_unprepared(&statement).await.expect("rows of before");
    }
    let desk = TestDesk::open(&database).await;
    for value in ["2001:db8::1", "2001:0DB8:0::0:1", "c:a:b"] {
        let found = desk
            .data(
                "query($entity: [EntityFilterInput!]) { incidents(filter: { entity: $entity }) { totalCount }
                    alerts(filter: { entity: $entity }) { totalCount } }",
                json!({ "entity": [{ "value": value }] }),
            )
            .await;
        assert_eq!(
            (&found["incidents"]["totalCount"], &found["alerts"]["totalCount"]),
            (&json!(1), &json!(1)),
            "{value}"
        );
    }
    let held = desk
        .data("{ incident(by: { number: 1 }) { entities { kind entities { value alertCount } } } }", json!({}))
        .await;
    assert_eq!(
        held["incident"]["entities"],
        json!([
            { "kind": "IP", "entities": [{ "value": "2001:DB8:0:0::1", "alertCount": 1 }] },
            { "kind": "FILE", "entities": [{ "value": "c:a:b", "alertCount": 1 }] },
        ])
    );
}

/// A view of an old desk stored `"owner":{}` for a condition that no incident meets.
async fn empty_conditions_of_old_views_keep_their_meaning(database: TestDatabase) {
    {
        let desk = TestDesk::open(&database).await;
        desk.incident("Seen by no such view").await;
        desk.act("createView", json!({ "name": "Nobody", "filter": { "owner": { "users": [] } } })).await;
        desk.act("createView", json!({ "name": "Text", "filter": { "text": "\"owner\":{}" } })).await;
    }
    let raw = database.connect().await;
    for statement in [
        r#"UPDATE saved_view SET filter = '{"owner":{},"not":{"lastActivity":{}}}' WHERE name = 'Nobody'"#,
        "DELETE FROM seaql_migrations WHERE version LIKE '%empty_conditions'",
    ] {
        raw.execute_unprepared(statement).await.expect("the state of before");
    }
    let desk = TestDesk::open(&database).await;
    let views = desk.data("{ views { name filter { json } incidents { totalCount } } }", json!({})).await;
    assert_eq!(views["views"][0]["incidents"]["totalCount"], 0, "{views}");
    assert_eq!(views["views"][0]["filter"]["json"]["owner"], json!({ "users": [] }));
    assert!(views["views"][0]["filter"]["json"]["not"]["lastActivity"]["from"].is_string(), "{views}");
    assert_eq!(views["views"][1]["filter"]["json"]["text"], "\"owner\":{}");
}
