//! Endless statements: a table whose every read runs until it is interrupted.

use sea_orm::{ConnectionTrait, Statement};

use super::database::{Kind, TestDatabase};
use super::process::cpu_seconds;
use super::waiting::{PATIENCE, a_moment};

/// Replaces a table by a view with one row that computes until the reader is interrupted.
pub(crate) async fn read_of(database: &TestDatabase, table: &str) {
    let endless = match database.kind {
        Kind::Sqlite => {
            "(WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number) SELECT max(n) FROM number) > 0"
        }
        Kind::Postgres => "compute_for_ever()",
    };
    let view = format!(
        "ALTER TABLE {table} RENAME TO {table}_kept;
         CREATE VIEW {table} AS SELECT kept.* FROM {table}_kept AS kept WHERE {endless};"
    );
    let compute = "CREATE FUNCTION compute_for_ever() RETURNS boolean LANGUAGE plpgsql VOLATILE AS
        $$ DECLARE n bigint := 0; BEGIN LOOP n := n + 1; END LOOP; END $$;";
    let raw = database.connect().await;
    if database.kind == Kind::Postgres {
        raw.execute_unprepared(compute).await.expect("a function");
    }
    raw.execute_unprepared(&view).await.expect("a view");
    raw.close().await.expect("closed");
}

/// Waits until a server's statement computes: in the server's own process, or in PostgreSQL's.
pub(crate) async fn wait_until_running(database: &TestDatabase, server: u32) {
    let running = async {
        while !runs(database, server).await {
            a_moment().await;
        }
    };
    tokio::time::timeout(PATIENCE, running).await.expect("a statement runs");
}

async fn runs(database: &TestDatabase, server: u32) -> bool {
    match database.kind {
        Kind::Sqlite => {
            let before = cpu_seconds(server);
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            // An idle process takes a hundredth of this.
            cpu_seconds(server) - before > 0.05
        }
        Kind::Postgres => running(database).await > 0,
    }
}

/// Returns how many endless statements PostgreSQL computes.
pub(crate) async fn running(database: &TestDatabase) -> i64 {
    let raw = database.connect().await;
    let count = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'";
    let count = Statement::from_string(raw.get_database_backend(), count);
    let row = raw.query_one_raw(count).await.expect("an answer").expect("a row");
    raw.close().await.expect("closed");
    row.try_get_by_index(0).expect("a number")
}
