//! A database that goes away: its restart costs no request, and the outcome of interrupted commands is reported
//! honestly.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use serde_json::json;
use tokio::sync::Notify;
use uuid::Uuid;
use watchfloor::domain::idempotency::IdempotencyKey;
use watchfloor::domain::{Code, Result, UserId};
use watchfloor::storage::Tx;

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::{TestDesk, monday};
use crate::support::postgres::Cluster;
use crate::support::waiting::{PATIENCE, a_moment};

each_database!(
    a_transaction_that_overlooks_a_failed_statement_is_not_committed,
    a_write_that_is_dropped_half_way_leaves_nothing,
    many_requests_share_few_connections,
);

/// Longer than a connection may be idle without a check.
const IDLE: Duration = Duration::from_millis(1_100);

const COUNT: &str = "{ incidents { totalCount } }";

const CREATE: &str = "mutation { createIncident(input: { title: \"Cut off\" }) { changed } }";

const END_OTHERS: &str = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[tokio::test]
async fn a_restart_of_postgres_costs_no_request() {
    let mut cluster = Cluster::start_private();
    let database = TestDatabase::in_cluster(&cluster).await;
    let desk = TestDesk::open(&database).await;
    desk.incident("Before").await;
    for round in 0..2 {
        // Enough requests at once to fill the pool; after the restart each of its connections is stale.
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

/// A returned connection goes to the next request, which may be waiting for it already.
async fn many_requests_share_few_connections(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("The same for all").await;
    let read = "query($id: ID!) { incident(by: { id: $id }) { title } users { nodes { account } } }";
    for _ in 0..3 {
        let all = join_all((0..40).map(|_| desk.data(read, json!({ "id": id }))));
        let all = tokio::time::timeout(PATIENCE, all).await.expect("each of them in its turn");
        assert!(all.iter().all(|found| found["incident"]["title"] == "The same for all"));
        desk.act("addComment", json!({ "incidentId": id, "body": "and a write between" })).await;
    }
    // Requests take turns before they ask for a connection. Other work, for example a job, does not.
    let all = join_all((0..40).map(|_| async { desk.app.store.read().await?.head().await }));
    let all = tokio::time::timeout(PATIENCE, all).await.expect("each of them in its turn");
    assert!(all.iter().all(Result::is_ok), "each has had a connection");
    // Some connections are now idle for too long, and requests acquire them in vain.
    tokio::time::sleep(IDLE).await;
    join_all((0..40).map(|_| desk.data(read, json!({ "id": id })))).await;
    desk.app.store.ready().await.expect("a desk that works");
    if database.kind == Kind::Postgres {
        let raw = database.connect().await;
        let open = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'watchfloor'";
        let most = 7;
        let count = number(&raw, open).await;
        assert!(count <= most, "{count} sessions: six of the desk, and its line to other nodes");
    }
    tokio::time::timeout(PATIENCE, desk.app.store.close()).await.expect("each is closed").expect("an end");
    assert!(desk.app.store.read().await.is_err(), "nothing is read from a closed store");
}

#[tokio::test]
async fn a_transaction_whose_connection_breaks_off_is_no_fault_of_ours() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let desk = TestDesk::open(&database).await;
    let raw = database.connect().await;
    let reader = desk.app.store.read().await.expect("a snapshot");
    reader.head().await.expect("a head");
    raw.execute_unprepared(END_OTHERS).await.expect("an end");
    let error = reader.head().await.expect_err("its connection is gone");
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (Code::Unavailable, "the desk lost its database, try again")
    );
}

#[tokio::test]
async fn a_commit_that_was_cut_off_is_looked_for_and_not_repeated() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let desk = TestDesk::open(&database).await;
    // A constraint trigger runs inside COMMIT, and ends the connection there before COMMIT can report its outcome.
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
    let refusal = desk.refused(CREATE, json!({})).await;
    assert_eq!(
        (refusal.code.as_str(), refusal.message.as_str()),
        ("UNAVAILABLE", "the desk lost its database, try again")
    );
    assert_eq!(number(&raw, "SELECT last_value FROM commits").await, 1, "it was tried once");
    raw.execute_unprepared("DROP TRIGGER hang_up ON change").await.expect("no trigger");
    desk.incident("Again").await;
    assert_eq!(desk.data(COUNT, json!({})).await["incidents"]["totalCount"], 1);
}

/// A server, a database or a role may be set to answer a COMMIT before it is on the disk.
#[tokio::test]
async fn a_write_is_on_the_disk_before_it_is_acknowledged_whatever_the_default_is() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let raw = database.connect().await;
    raw.execute_unprepared(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$",
    )
    .await
    .expect("a default");
    let desk = TestDesk::open(&database).await;
    raw.execute_unprepared(
        "CREATE TABLE seen (setting text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
         CREATE TRIGGER see AFTER INSERT ON change FOR EACH ROW EXECUTE FUNCTION see();",
    )
    .await
    .expect("a trigger");
    desk.incident("Kept").await;
    assert_eq!(number(&raw, "SELECT count(*) FROM seen WHERE setting = 'on'").await, 1);
    assert_eq!(number(&raw, "SELECT count(*) FROM seen").await, 1);
}

#[tokio::test]
async fn a_postgres_that_may_only_be_read_refuses_writes_and_says_so() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let desk = TestDesk::open(&database).await;
    let raw = database.connect().await;
    let set = |to: &str| {
        format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {to}', current_database());
             END $$"
        )
    };
    raw.execute_unprepared(&set("on")).await.expect("a default");
    raw.execute_unprepared(END_OTHERS).await.expect("new connections");
    let refusal = desk.refused(CREATE, json!({})).await;
    let reason = "the database may only be read now: nothing was changed, try again later";
    assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("UNAVAILABLE", reason));
    assert_eq!(desk.get_as(None, "/readyz").await, (503, format!("{reason}\n")));
    assert_eq!(desk.data(COUNT, json!({})).await["incidents"]["totalCount"], 0, "it is read all the same");
    raw.execute_unprepared("SET default_transaction_read_only = off").await.expect("a right");
    raw.execute_unprepared(&set("off")).await.expect("a default");
    raw.execute_unprepared(END_OTHERS).await.expect("new connections");
    desk.incident("Again").await;
    assert_eq!(desk.get_as(None, "/readyz").await, (200, "ready\n".to_owned()));
}

async fn number(raw: &sea_orm::DatabaseConnection, sql: &str) -> i64 {
    let asked = sea_orm::Statement::from_string(raw.get_database_backend(), sql);
    let row = raw.query_one_raw(asked).await.expect("an answer").expect("a row");
    row.try_get_by_index(0).expect("a number")
}

/// Writes a row that the test finds again.
async fn claim(tx: &Tx, key: &str) -> Result<()> {
    let key = IdempotencyKey { key: key.to_owned(), mutation: "createIncident".to_owned(), input: [0; 32] };
    tx.claim(UserId(Uuid::nil()), &key, monday()).await.map(|_| ())
}

/// At some errors, here raised by a trigger, SQLite rolls back by itself: each later statement would commit alone.
async fn a_transaction_that_overlooks_a_failed_statement_is_not_committed(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let raw = database.connect().await;
    let refuse = match database.kind {
        Kind::Sqlite => {
            "CREATE TRIGGER refuse BEFORE INSERT ON idempotency WHEN NEW.key = 'second'
                BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
        }
        Kind::Postgres => {
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON idempotency FOR EACH ROW WHEN (NEW.key = 'second')
                EXECUTE FUNCTION refuse();"
        }
    };
    raw.execute_unprepared(refuse).await.expect("a trigger");
    let outcome = desk.app.store.transact(|tx| async move {
        claim(&tx, "first").await?;
        claim(&tx, "second").await.ok();
        claim(&tx, "third").await.ok();
        Ok(())
    });
    outcome.await.expect_err("a statement of it has failed");
    assert_eq!(number(&raw, "SELECT count(*) FROM idempotency").await, 0);
    desk.app.store.transact(|tx| async move { claim(&tx, "fourth").await }).await.expect("another transaction");
    assert_eq!(number(&raw, "SELECT count(*) FROM idempotency").await, 1);
}

/// Its connection is in a transaction, on PostgreSQL in the middle of a statement: the next user must get a clean one.
async fn a_write_that_is_dropped_half_way_leaves_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (raw, holder, kind) = (database.connect().await, database.connect().await, database.kind);
    if kind == Kind::Postgres {
        let hold = "BEGIN; INSERT INTO idempotency (actor_id, key, mutation, input, at)
            VALUES ('00000000-0000-0000-0000-000000000000', 'held', '', '', now())";
        holder.execute_unprepared(hold).await.expect("a lock");
    }
    let (store, begun) = (desk.app.store.clone(), Arc::new(Notify::new()));
    let told = begun.clone();
    let task = tokio::spawn(async move {
        let outcome = store.transact(|tx| {
            let told = told.clone();
            async move {
                claim(&tx, "first").await?;
                told.notify_one();
                match kind {
                    Kind::Sqlite => std::future::pending().await,
                    Kind::Postgres => claim(&tx, "held").await,
                }
            }
        });
        outcome.await
    });
    begun.notified().await;
    if kind == Kind::Postgres {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waits = async {
            while number(&raw, waiting).await == 0 {
                a_moment().await;
            }
        };
        tokio::time::timeout(PATIENCE, waits).await.expect("the statement waits");
    }
    task.abort();
    task.await.expect_err("it was dropped");
    if kind == Kind::Postgres {
        holder.execute_unprepared("ROLLBACK").await.expect("no lock");
    }
    // More commands at once than the pool has connections, so a command would get the connection if it still existed.
    let after = (0..8).map(|n| {
        desk.app.store.transact(move |tx| async move {
            claim(&tx, &format!("after {n}")).await?;
            a_moment().await;
            Ok(())
        })
    });
    for after in join_all(after).await {
        after.expect("a commit");
    }
    assert_eq!(number(&raw, "SELECT count(*) FROM idempotency").await, 8, "the first is not among them");
}
