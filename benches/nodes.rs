//! Measures three things: the time from a commit on one node to the socket of another, with NOTIFY and by the tick
//! alone; the write throughput of three nodes against one; and the cost of an idle node.
//!
//! Nodes are processes, on a PostgreSQL of their own that syncs to disk. `cargo bench --bench nodes` prints the tables;
//! docs/OPERATIONS.md keeps the tables of one run.

#![expect(clippy::print_stdout, reason = "tables for a person")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails says so by its end")]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests' own clients, of which this needs a few")]
mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use support::desk::Following;
use support::dice::Dice;
use support::oracle::Driver;
use support::postgres::Cluster;
use support::process::Process;
use support::stream::offset;

/// The number of commits that are measured.
const COMMITS: usize = 300;

/// The number of concurrent writers in all, for any number of nodes.
const WRITERS: usize = 24;

/// The time of the writes, and the time for which an idle node is watched.
const WRITING: Duration = Duration::from_secs(6);
const RESTING: Duration = Duration::from_secs(10);

const CREATE: &str = "mutation { createIncident(input: { title: \"measured\" }) { position } }";

async fn nodes(database: &str, count: usize, notify: &str) -> Vec<Process> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(Process::serve_with(database, "127.0.0.1:0", &["--notify", notify]).await);
    }
    // Wait until the LISTEN connections are known to work.
    tokio::time::sleep(Duration::from_secs(1)).await;
    nodes
}

fn millis(times: &mut [f64], percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() - 1) * percent / 100]
}

/// Measures from a mutation's acknowledgement on the first node to its frame on a socket of each node.
async fn way(nodes: &[Process], how: &str) {
    let mut arrived: Vec<Arc<Mutex<HashMap<u64, Instant>>>> = Vec::new();
    // The sockets end with this function, before their nodes do.
    let mut sockets = tokio::task::JoinSet::new();
    for node in nodes {
        let url = format!("ws://{}/graphql", node.address);
        let mut queue =
            Following::start(&url, "subscription { incidentQueue { __typename position } }", json!({})).await;
        let times: Arc<Mutex<HashMap<u64, Instant>>> = Arc::default();
        arrived.push(times.clone());
        sockets.spawn(async move {
            loop {
                let item = queue.change().await;
                times.lock().unwrap().entry(offset(&item["position"])).or_insert(Instant::now());
            }
        });
    }
    let (desk, mut dice, mut sent) = (Driver::new(), Dice::new(7), Vec::new());
    for _ in 0..COMMITS {
        // Commit at a random moment between two ticks.
        tokio::time::sleep(Duration::from_micros(5_000 + dice.below(60_000) as u64)).await;
        let answer = desk.run(&nodes[0].address, CREATE, json!({})).await.unwrap();
        sent.push((offset(&answer["data"]["createIncident"]["position"]), Instant::now()));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (name, times) in ["A, where it was made", "B", "C"].into_iter().zip(&arrived) {
        let times = times.lock().unwrap();
        let mut took: Vec<f64> = sent
            .iter()
            .map(|(offset, acknowledged)| {
                times[offset].saturating_duration_since(*acknowledged).as_secs_f64() * 1_000.0
            })
            .collect();
        println!("| {how} | {name} | {:.2} | {:.2} |", millis(&mut took, 50), millis(&mut took, 99));
    }
}

/// Returns the commits a second of the same number of writers, on one node or on three.
async fn throughput(nodes: &[Process]) -> f64 {
    let (done, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (address, done, stop) = (nodes[writer % nodes.len()].address.clone(), done.clone(), stop.clone());
        writers.spawn(async move {
            let desk = Driver::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = desk.run(&address, CREATE, json!({})).await.unwrap();
                assert!(answer.get("errors").is_none(), "{answer}");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(WRITING).await;
    let count = done.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    writers.join_all().await;
    count as f64 / WRITING.as_secs_f64()
}

/// Returns the CPU time of all threads of a process so far, in milliseconds.
fn cpu(process: &Process) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let times = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok());
    times.map(|text| text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e6).sum()
}

async fn rest(nodes: &[Process], how: &str) {
    let before: Vec<f64> = nodes.iter().map(cpu).collect();
    tokio::time::sleep(RESTING).await;
    let spent: f64 = nodes.iter().zip(before).map(|(node, before)| cpu(node) - before).sum();
    let each = spent / nodes.len() as f64 / RESTING.as_secs_f64();
    println!("| {how} | {each:.2} |");
}

#[tokio::main]
async fn main() {
    let cluster = tokio::task::spawn_blocking(Cluster::start_private).await.unwrap();
    let ways = [("NOTIFY", "true"), ("tick alone", "false")];
    println!("| how | socket of node | p50 ms | p99 ms |\n| --- | --- | --- | --- |");
    for (how, notify) in ways {
        way(&nodes(&cluster.fresh_database().await, 3, notify).await, how).await;
    }
    println!("\n| {WRITERS} writers on | commits a second, three runs |\n| --- | --- |");
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        for (place, count) in [1, 3].into_iter().enumerate() {
            let database = cluster.fresh_database().await;
            figures[place].push(format!("{:.0}", throughput(&nodes(&database, count, "true").await).await));
        }
    }
    println!("| 1 node | {} |\n| 3 nodes | {} |", figures[0].join(", "), figures[1].join(", "));
    println!("\n| three nodes that rest | ms of CPU a second, each |\n| --- | --- |");
    for (how, notify) in ways {
        rest(&nodes(&cluster.fresh_database().await, 3, notify).await, how).await;
    }
}
