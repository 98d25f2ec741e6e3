//! Chaos: clients with random filters, some equal and some slow, on nodes that are killed and a PostgreSQL that
//! crashes. Clients and mutations go to any node. At the end each client's items equal the oracle's: none lost, none
//! twice, no set read again. `make chaos` runs it for a chosen time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::database::{Kind, TestDatabase};
use crate::support::dice::Dice;
use crate::support::oracle::{Client, Driver, Oracle, Received, compare};
use crate::support::postgres::Cluster;
use crate::support::process::Process;

/// The variable with the seconds of a long run.
const SECONDS_VARIABLE: &str = "WATCHFLOOR_CHAOS_SECONDS";

/// The number of clients for each filter: one client for most filters, a group that comes and goes for some.
const CLIENTS: [usize; 8] = [5, 1, 4, 1, 3, 1, 1, 1];

/// The number of mutations in a short run.
const MUTATIONS: usize = 180;

/// A node is killed, and PostgreSQL crashes, once in this many mutations.
const KILL_EVERY: usize = 40;
const CRASH_EVERY: usize = 80;

/// A socket that accepts no message for a second is closed, so that slow readers are closed often.
const SETTINGS: [&str; 2] = ["--write-seconds-max", "1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_three_nodes_and_a_postgresql_that_crash() {
    let mut cluster = Cluster::start_private();
    let database = TestDatabase::in_cluster(&cluster).await;
    run(&database, 3, Some(&mut cluster)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_a_node_on_sqlite_that_is_killed() {
    run(&TestDatabase::fresh(Kind::Sqlite).await, 1, None).await;
}

/// Counters of the events of a run.
#[derive(Default)]
struct Tally {
    done: usize,
    kills: usize,
    crashes: usize,
}

async fn run(database: &TestDatabase, nodes: usize, mut cluster: Option<&mut Cluster>) {
    let (mut dice, begun, seconds) = (Dice::of_this_run(), Instant::now(), seconds());
    let mut alive = Vec::new();
    for _ in 0..nodes {
        alive.push(Process::serve_with(&database.url, "127.0.0.1:0", &SETTINGS).await);
    }
    let addresses: Vec<String> = alive.iter().map(|node| node.address.clone()).collect();
    let desk = Driver::new();
    let mut oracle = Oracle::new(database, &mut dice, CLIENTS.len()).await.with_long_titles(25);
    let mut clients = Vec::new();
    for (number, count) in CLIENTS.into_iter().enumerate() {
        let filter = oracle.filters[number].0.clone();
        let start = desk.start(&addresses[0], &filter).await;
        for place in 0..count {
            let (start, nodes, dice) = (start.clone(), addresses.clone(), Dice::new(dice.next()));
            let is_slow = place % 2 == 1 || number % 3 == 0 && place == 0;
            let client = if is_slow { Client::start_slow } else { Client::start };
            clients.push((number, client(filter.clone(), start, nodes, dice)));
        }
    }
    let mut tally = Tally::default();
    let (mut kill_at, mut crash_at) = (dice.below(KILL_EVERY), dice.below(CRASH_EVERY));
    for step in 0.. {
        if step >= MUTATIONS && begun.elapsed() >= seconds {
            break;
        }
        let (query, input) = oracle.some_mutation(&mut dice);
        let node = dice.below(nodes);
        let request = {
            let (desk, at) = (desk.clone(), addresses[node].clone());
            tokio::spawn(async move { desk.run(&at, &query, json!({ "input": input })).await })
        };
        // This waits for no event, so that the fault falls before, into and after the commit.
        let soon = Duration::from_micros(dice.below(30_000) as u64);
        if step == kill_at {
            kill_at = (step / KILL_EVERY + 1) * KILL_EVERY + dice.below(KILL_EVERY);
            // In half of the cases the victim is another node than the one that serves the mutation.
            let victim = if dice.chance(50) { node } else { dice.below(nodes) };
            tokio::time::sleep(soon).await;
            alive.remove(victim).kill();
            alive.insert(victim, Process::serve_with(&database.url, &addresses[victim], &SETTINGS).await);
            tally.kills += 1;
        }
        if let Some(cluster) = cluster.as_mut().filter(|_| step == crash_at) {
            crash_at = (step / CRASH_EVERY + 1) * CRASH_EVERY + dice.below(CRASH_EVERY);
            tokio::time::sleep(soon).await;
            tokio::task::block_in_place(|| {
                cluster.stop_immediate();
                cluster.start_again();
            });
            oracle.reconnect(database).await;
            tally.crashes += 1;
        }
        let answer = request.await.expect("a request");
        oracle.wait_for_the_dead(database.kind).await;
        oracle.advance().await;
        if let Some(answer) = answer {
            oracle.holds(&answer);
            tally.done += usize::from(answer.get("errors").is_none());
        }
    }
    let mut all = Received::default();
    for (at, (number, client)) in clients.into_iter().enumerate() {
        let name = format!("client {at} with filter {number}");
        let received = client.finish(oracle.end, &name).await;
        compare(&name, &received.items, &oracle.expected[number]);
        all.items.extend(received.items);
        all.connections += received.connections;
        all.switches += received.switches;
        all.closed_as_slow += received.closed_as_slow;
        all.given_up_as_slow += received.given_up_as_slow;
    }
    println!(
        "{} changes by {} mutations, {} items on {} clients, {} connections, {} to another node, {} closed with 1013 and {} given up as slow, {} kills, \
         {} crashes of the database, {:.0} s",
        oracle.end,
        tally.done,
        all.items.len(),
        CLIENTS.iter().sum::<usize>(),
        all.connections,
        all.switches,
        all.closed_as_slow,
        all.given_up_as_slow,
        tally.kills,
        tally.crashes,
        begun.elapsed().as_secs_f64()
    );
    assert!(tally.done > MUTATIONS / 2, "only {} mutations were not refused", tally.done);
    assert!(all.items.len() > 4 * MUTATIONS, "nothing was tried: {} items", all.items.len());
    assert!(tally.kills > 1 && (tally.crashes > 0) == cluster.is_some(), "nothing broke");
    assert!(nodes == 1 || all.switches > 20, "nobody went to another node");
    let closed = all.closed_as_slow + all.given_up_as_slow;
    assert!(closed > 0, "nobody was closed for being slow");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests have no config.rs: this variable is read here and nowhere else"
)]
fn seconds() -> Duration {
    let seconds = std::env::var(SECONDS_VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}
