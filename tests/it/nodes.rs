//! Many nodes on one PostgreSQL: they wake each other, notice when messages are lost, and survive the network and the
//! server.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use watchfloor::storage::{Store, StoreOptions};

use crate::support::database::{Kind, TestDatabase};
use crate::support::desk::{Following, Options, TestDesk};
use crate::support::oracle::Driver;
use crate::support::postgres::Cluster;
use crate::support::process::Process;
use crate::support::proxy::Proxy;
use crate::support::stream::{QUEUE, offset, present, short};
use crate::support::waiting::{LONG_PATIENCE, PATIENCE, a_moment};

/// Waits until a desk's LISTEN connection is, or is not, known to work.
async fn until_line_is(desk: &TestDesk, whole: bool) {
    let wait = async {
        while desk.app.hub.hears_other_nodes() != whole {
            a_moment().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the line is noticed");
}

/// Returns the offsets of a stream's next changes, which must be consecutive.
async fn next_changes(stream: &mut Following, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let item = stream.item().await;
        if !matches!(short(&item).1.as_str(), "Heartbeat" | "Live") {
            offsets.push(offset(&item["position"]));
        }
    }
    offsets
}

#[tokio::test]
async fn a_commit_on_one_node_wakes_the_other() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let (here, there) = (TestDesk::open(&database).await, TestDesk::open(&database).await);
    until_line_is(&there, true).await;
    until_line_is(&here, true).await;
    // By the tick alone, a second each, this takes more than half a minute.
    let relayed = async {
        for number in 0..40 {
            here.incident(&format!("Incident {number}")).await;
            let end = here.log_end().await;
            there.app.hub.watch().wait_for(|head| *head >= end).await.expect("a relay");
        }
    };
    tokio::time::timeout(Duration::from_secs(25), relayed).await.expect("each is told");
}

#[tokio::test]
async fn changed_rights_on_one_node_wake_the_other() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let (here, there) = (TestDesk::open(&database).await, TestDesk::open(&database).await);
    here.user("ada", "READER").await;
    until_line_is(&there, true).await;
    until_line_is(&here, true).await;
    let told = async {
        for number in 0..40 {
            here.user("ada", ["RESPONDER", "READER"][number % 2]).await;
            let known = here.app.hub.accounts();
            there.app.hub.watch_accounts().wait_for(|accounts| *accounts >= known).await.expect("a relay");
        }
    };
    tokio::time::timeout(Duration::from_secs(25), told).await.expect("each is told");
}

#[tokio::test]
async fn a_line_that_breaks_off_is_noticed_and_mended() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let desk = TestDesk::open(&database).await;
    until_line_is(&desk, true).await;
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE '%pg_notify%' AND pid <> pg_backend_pid()";
    database.connect().await.execute_unprepared(end).await.expect("an end");
    until_line_is(&desk, false).await;
    until_line_is(&desk, true).await;
}

#[tokio::test]
async fn a_node_that_may_not_notify_hears_nothing_and_misses_nothing() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let node = Process::serve_with(&database.url, "127.0.0.1:0", &["--notify", "false"]).await;
    let raw = database.connect().await;
    let listeners = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
        AND query LIKE '%pg_notify%' AND pid <> pg_backend_pid()";
    let other = TestDesk::open(&database).await;
    until_line_is(&other, true).await;
    let mut queue = Following::start(&format!("ws://{}/graphql", node.address), QUEUE, json!({})).await;
    queue.items_until("Live").await;
    other.incident("Elsewhere").await;
    assert_eq!(next_changes(&mut queue, 1).await, [1]);
    let statement = sea_orm::Statement::from_string(raw.get_database_backend(), listeners);
    let found = raw.query_all_raw(statement).await.expect("an answer");
    assert_eq!(found.len(), 1, "the other node's line is the only one");
}

#[tokio::test]
async fn a_node_that_lags_waits_for_what_a_client_has_seen_elsewhere() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let ahead = TestDesk::open(&database).await;
    // It polls ten times a second, and a client reaches it faster than that.
    let behind = TestDesk::open_with(&database, Options { notify: false, ..Options::default() }).await;
    for round in 0..10 {
        ahead.incident(&format!("Seen elsewhere {round}")).await;
        let held = present(&ahead, &json!({})).await;
        let mut queue = behind.follow(QUEUE, json!({ "after": held })).await;
        let live = queue.item().await;
        assert_eq!((&live["__typename"], offset(&live["position"])), (&json!("Live"), offset(&held)), "{live}");
        ahead.incident(&format!("Seen here {round}")).await;
        assert_eq!(next_changes(&mut queue, 1).await, [offset(&held) + 1]);
    }
}

/// The faults of a node's network.
enum Fault {
    Silence,
    Cut,
}

async fn a_node_outlives(fault: Fault) {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let network = Proxy::to(&database.url).await;
    let behind = TestDatabase::at(network.url(&database.url));
    let (near, far) = (TestDesk::open(&database).await, TestDesk::open(&behind).await);
    let mut queue = far.follow(QUEUE, json!({})).await;
    queue.items_until("Live").await;
    near.incident("Before").await;
    assert_eq!(next_changes(&mut queue, 1).await, [1]);
    until_line_is(&far, true).await;
    match fault {
        Fault::Silence => network.fall_silent(),
        Fault::Cut => network.cut(),
    }
    // A request is answered or refused meanwhile; it does not hang on a dead connection.
    let asked = far.graphql_as(None, "{ incidents { position } }", json!({}));
    let meanwhile = async {
        for number in 0..3 {
            near.incident(&format!("Meanwhile {number}")).await;
        }
        until_line_is(&far, false).await;
        network.lead_to(&database.url);
        // Long before a request's timeout for a connection, which is a minute here.
        tokio::time::timeout(PATIENCE, next_changes(&mut queue, 3)).await.expect("the stream goes on")
    };
    let (answered, seen) = tokio::join!(asked, meanwhile);
    assert_eq!(seen, [2, 3, 4]);
    let refused = answered["errors"][0]["extensions"]["code"] == "UNAVAILABLE";
    assert!(refused || answered["data"]["incidents"]["position"].is_string(), "{answered}");
    until_line_is(&far, true).await;
    // As many requests as the pool has connections: no dead connection holds a place.
    let many = (0..12).map(|number| far.graphql_as(None, CREATE, json!({ "title": format!("After {number}") })));
    for answer in futures_util::future::join_all(many).await {
        assert!(answer.get("errors").is_none(), "{answer}");
    }
    assert_eq!(next_changes(&mut queue, 12).await, (5..=16).collect::<Vec<_>>());
}

const CREATE: &str = "mutation($title: String!) { createIncident(input: { title: $title }) { position } }";

#[tokio::test]
async fn a_node_outlives_a_network_that_falls_silent() {
    a_node_outlives(Fault::Silence).await;
}

#[tokio::test]
async fn a_node_outlives_a_network_that_is_cut() {
    a_node_outlives(Fault::Cut).await;
}

#[tokio::test]
async fn a_request_that_waits_for_a_silent_server_reaches_the_next_one() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let network = Proxy::to(&database.url).await;
    let desk = TestDesk::open(&TestDatabase::at(network.url(&database.url))).await;
    until_line_is(&desk, true).await;
    network.fall_silent();
    until_line_is(&desk, false).await;
    // The desk's old connections are suspect now, so the request waits for a new connection, for a minute if necessary.
    let asked = desk.graphql_as(None, "{ incidents { nodes { id comments { nodes { id } } } } }", json!({}));
    let mended = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        network.lead_to(&database.url);
    };
    let (answer, ()) =
        tokio::join!(async { tokio::time::timeout(Duration::from_secs(30), asked).await.expect("an answer") }, mended);
    assert_eq!(answer, json!({ "data": { "incidents": { "nodes": [] } } }));
}

/// A primary and its standby, a network that leads to either, and two nodes behind it.
struct Pair {
    cluster: Cluster,
    primary: TestDatabase,
    standby_url: String,
    network: Proxy,
    nodes: Vec<Process>,
    desk: Driver,
}

impl Pair {
    async fn start(synchronous: bool) -> Self {
        let mut cluster = Cluster::start_replicated();
        // It ends with the cluster, whichever server has it then.
        let primary = TestDatabase::at(cluster.fresh_database().await);
        let standby = cluster.start_standby();
        if synchronous {
            let raw = primary.connect().await;
            raw.execute_unprepared("ALTER SYSTEM SET synchronous_standby_names = '*'").await.expect("a setting");
            raw.execute_unprepared("SELECT pg_reload_conf()").await.expect("a reload");
            let sync = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'";
            let sync = sea_orm::Statement::from_string(raw.get_database_backend(), sync);
            while raw.query_one_raw(sync.clone()).await.expect("an answer").is_none() {
                a_moment().await;
            }
        }
        let (_, name) = primary.url.rsplit_once('/').expect("a name");
        let (server, _) = standby.rsplit_once('/').expect("a path");
        let standby_url = format!("{server}/{name}");
        let network = Proxy::to(&primary.url).await;
        let mut nodes = Vec::new();
        for _ in 0..2 {
            nodes.push(Process::serve(&network.url(&primary.url)).await);
        }
        Self { cluster, primary, standby_url, network, nodes, desk: Driver::new() }
    }

    async fn create(&self, address: &str, title: &str) -> Option<Value> {
        let answer = self.desk.run(address, CREATE, json!({ "title": title })).await?;
        answer["data"]["createIncident"]["position"].is_string().then(|| answer["data"]["createIncident"].clone())
    }

    async fn follow(&self, node: usize, after: Value) -> Following {
        let url = format!("ws://{}/graphql", self.nodes[node].address);
        Following::start(&url, QUEUE, json!({ "after": after })).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_synchronous_standby_loses_and_repeats_nothing() {
    let mut pair = Pair::start(true).await;
    let mut streams = vec![pair.follow(0, Value::Null).await, pair.follow(1, Value::Null).await];
    for stream in &mut streams {
        stream.items_until("Live").await;
    }
    let mut acknowledged = 0;
    for number in 0..10 {
        let at = &pair.nodes[number % 2].address;
        acknowledged = offset(&pair.create(at, &format!("Before {number}")).await.expect("an answer")["position"]);
    }
    // A request may be in progress at that moment: it is done or not done.
    let address = pair.nodes[0].address.clone();
    let desk = pair.desk.clone();
    let last = tokio::spawn(async move { desk.run(&address, CREATE, json!({ "title": "In the middle" })).await });
    tokio::task::block_in_place(|| {
        pair.cluster.kill_primary();
        pair.cluster.promote_standby();
    });
    pair.network.lead_to(&pair.standby_url);
    if let Some(answer) = last.await.expect("a request") {
        let position = &answer["data"]["createIncident"]["position"];
        acknowledged = acknowledged.max(if position.is_string() { offset(position) } else { 0 });
    }
    // No standby is left, and the server requires none: otherwise every commit would wait for it.
    let after = async {
        loop {
            if let Some(done) = pair.create(&pair.nodes[1].address, "After").await {
                break offset(&done["position"]);
            }
            a_moment().await;
        }
    };
    let after = tokio::time::timeout(LONG_PATIENCE, after).await.expect("the node goes on");
    assert!(after > acknowledged, "{after}: {acknowledged} was acknowledged before");
    for stream in &mut streams {
        let seen = next_changes(stream, after as usize).await;
        assert_eq!(seen, (1..=after).collect::<Vec<_>>(), "on live sockets nothing is missing and nothing comes twice");
    }
}

/// Runs a failover that loses the end of the log, and returns what a client gets that had seen that end. `longer`: the
/// log has meanwhile grown beyond its old end.
async fn after_a_lost_end(longer: bool) -> String {
    let mut pair = Pair::start(false).await;
    let mut stream = pair.follow(0, Value::Null).await;
    stream.items_until("Live").await;
    pair.create(&pair.nodes[0].address, "Kept").await.expect("an answer");
    assert_eq!(next_changes(&mut stream, 1).await, [1]);
    // Wait until the standby has it too.
    let standby = TestDatabase::at(pair.standby_url.clone()).connect().await;
    let kept = sea_orm::Statement::from_string(standby.get_database_backend(), "SELECT position FROM log_head");
    loop {
        let row = standby.query_one_raw(kept.clone()).await.expect("an answer").expect("a row");
        if row.try_get_by_index::<i64>(0).expect("a position") == 1 {
            break;
        }
    }
    drop(standby);
    tokio::task::block_in_place(|| pair.cluster.stop_standby());
    for number in 0..3 {
        pair.create(&pair.nodes[0].address, &format!("Lost {number}")).await.expect("an answer");
    }
    let mut held = Value::Null;
    for _ in 0..3 {
        held = stream.change().await["position"].clone();
    }
    assert_eq!(offset(&held), 4);
    pair.network.cut();
    tokio::task::block_in_place(|| {
        pair.cluster.kill_primary();
        pair.cluster.start_standby_again();
        pair.cluster.promote_standby();
    });
    if longer {
        let elsewhere = Process::serve(&pair.standby_url).await;
        for number in 0..5 {
            pair.create(&elsewhere.address, &format!("Another life {number}")).await.expect("an answer");
        }
    }
    pair.network.lead_to(&pair.standby_url);
    let address = pair.nodes[0].address.clone();
    for node in pair.nodes.drain(..) {
        assert_eq!(node.end().await, Some(70), "a node that finds another log ends, loudly");
    }
    pair.nodes.push(Process::serve_at(&pair.network.url(&pair.primary.url), &address).await);
    let mut stream = pair.follow(0, held).await;
    let item = stream.item().await;
    assert_eq!(item["__typename"], "Resync", "{item}");
    item["resyncReason"].as_str().expect("a reason").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lacks_the_end_of_the_log_is_found_out() {
    assert_eq!(after_a_lost_end(false).await, "AHEAD");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lacks_the_end_and_was_written_on_is_found_out() {
    assert_eq!(after_a_lost_end(true).await, "EPOCH");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_weakens_a_database_is_said_at_start() {
    let mut cluster = Cluster::start_replicated();
    let database = TestDatabase::in_cluster(&cluster).await;
    let raw = database.connect().await;
    let cautions = async |url: &str| {
        let (url, acquire_timeout) = (url.to_owned(), Duration::from_secs(20));
        let store = Store::connect(StoreOptions { url, connections: 1, acquire_timeout, notify: false }).await;
        store.expect("a connection").cautions().await.expect("an answer")
    };
    assert_eq!(cautions(&database.url).await, [""; 0], "as PostgreSQL comes, it keeps its promise");
    let (_, name) = database.url.rsplit_once('/').expect("a name");
    raw.execute_unprepared(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await.expect("a setting");
    assert_eq!(cautions(&database.url).await, [""; 0], "the desk's own transactions do not follow it");
    raw.execute_unprepared(&format!("ALTER DATABASE {name} SET synchronous_commit = local")).await.expect("a setting");
    let found = cautions(&database.url).await;
    assert!(found.len() == 1 && found[0].starts_with("synchronous_commit is local"), "{found:?}");
    raw.execute_unprepared(&format!("ALTER DATABASE {name} RESET synchronous_commit")).await.expect("a setting");
    let standby = tokio::task::block_in_place(|| cluster.start_standby());
    // A standby that has started may not have attached itself yet.
    let attached = async {
        loop {
            let found = cautions(&database.url).await;
            if !found.is_empty() {
                return found;
            }
            a_moment().await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, attached).await.expect("a caution");
    assert!(found.len() == 1 && found[0].starts_with("standbys are attached"), "{found:?}");

    // A user without the right to see how standbys follow sees that there are standbys, and that none is required.
    raw.execute_unprepared("CREATE USER clerk PASSWORD 'clerk'").await.expect("a user");
    let (_, server) = database.url.split_once('@').expect("a user");
    let clerks = format!("postgres://clerk:clerk@{server}");
    assert_eq!(cautions(&clerks).await, found);
    raw.execute_unprepared("REVOKE SELECT ON pg_stat_replication FROM PUBLIC").await.expect("no right");
    assert_eq!(cautions(&clerks).await, [""; 0], "who may not look at all is not warned of what may not be");

    let options =
        StoreOptions { url: standby, connections: 1, acquire_timeout: Duration::from_millis(200), notify: false };
    let refusal = Store::connect(options).await.expect_err("a standby cannot be written to");
    let cause = std::error::Error::source(&refusal).expect("a cause").to_string();
    assert!(cause.contains("it is a standby"), "{cause}");
}
