//! A database that goes away: its restart costs no request, and what it took along is told honestly.

use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use serde_json::json;
use watchfloor::domain::Code;

use crate::support::database::{Kind, TestDatabase};
use crate::support::desk::TestDesk;
use crate::support::postgres::Cluster;

const COUNT: &str = "{ incidents { totalCount } }";

#[tokio::test]
async fn a_restart_of_postgres_costs_no_request() {
    let mut cluster = Cluster::start_private();
    let database = TestDatabase::in_cluster(&cluster).await;
    let desk = TestDesk::open(&database).await;
    desk.incident("Before").await;
    for round in 0..2 {
        // So many at once that the pool is full, and each of its connections stale after the restart.
        join_all((0..12).map(|_| desk.data(COUNT, json!({})))).await;
        cluster.stop_immediate();
        cluster.start_again();
        if round == 0 {
            desk.incident("After").await;
        }
        for _ in 0..8 {
            assert_eq!(desk.data(COUNT, json!({})).await["incidents"]["totalCount"], 2);
        }
    }
}

#[tokio::test]
async fn a_transaction_whose_connection_breaks_off_is_no_fault_of_ours() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let desk = TestDesk::open(&database).await;
    let raw = database.connect().await;
    let end_others = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let reader = desk.app.store.read().await.expect("a snapshot");
    reader.head().await.expect("a head");
    raw.execute_unprepared(end_others).await.expect("an end");
    let error = reader.head().await.expect_err("its connection is gone");
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (Code::Unavailable, "the desk lost its database, try again")
    );
}

#[tokio::test]
async fn a_commit_whose_end_nobody_knows_is_told_and_not_repeated() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let desk = TestDesk::open(&database).await;
    // A constraint trigger runs inside COMMIT: there the connection ends, before it can say how it went.
    let raw = database.connect().await;
    raw.execute_unprepared(
        "CREATE SEQUENCE commits;
         CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM nextval('commits'); PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER hang_up AFTER INSERT ON change DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION hang_up();",
    )
    .await
    .expect("a trigger");
    let create = "mutation { createIncident(input: { title: \"Cut off\" }) { changed } }";
    let refusal = desk.refused(create, json!({})).await;
    assert_eq!(refusal.code, "UNAVAILABLE");
    assert!(refusal.message.contains("it may be done or not"), "{}", refusal.message);
    let commits = sea_orm::Statement::from_string(raw.get_database_backend(), "SELECT last_value FROM commits");
    let commits = raw.query_one_raw(commits).await.expect("an answer").expect("a row");
    assert_eq!(commits.try_get_by_index::<i64>(0).expect("a number"), 1, "it was tried once");
    raw.execute_unprepared("DROP TRIGGER hang_up ON change").await.expect("no trigger");
    desk.incident("Again").await;
}
