//! The schema of the database: brought up to date at each start, by whoever starts first.

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Database, Statement};
use std::time::Duration;
use watchfloor::storage::{Store, StoreOptions};

use crate::support::database::{TestDatabase, each_database};

each_database!(four_nodes_that_start_at_once_take_turns, a_second_migration_changes_nothing);

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
