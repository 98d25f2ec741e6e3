//! The central end-to-end property: clients with random filters, cut off at random, on a server that is killed, each
//! get exactly the oracle's items. No client reads a set again or is told to: one read, then positions.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::support::database::{TestDatabase, each_database};
use crate::support::dice::Dice;
use crate::support::oracle::{Client, Driver, Oracle, compare};
use crate::support::process::Process;

each_database!(every_client_gets_exactly_its_items_through_kills_and_cuts);

const CLIENTS: usize = 8;
const MUTATIONS: usize = 400;
const KILLS: usize = 4;

async fn every_client_gets_exactly_its_items_through_kills_and_cuts(database: TestDatabase) {
    let mut dice = Dice::of_this_run();
    let mut server = Some(Process::serve(&database.url).await);
    let at = server.as_ref().expect("a server").address.clone();
    let desk = Driver::new();
    let mut oracle = Oracle::new(&database, &mut dice, CLIENTS).await;
    let mut clients = Vec::new();
    for (filter, _) in oracle.filters.clone() {
        let start = desk.start(&at, &filter).await;
        clients.push(Client::start(filter, start, vec![at.clone()], Dice::new(dice.next())));
    }
    let kills: BTreeSet<usize> = (0..KILLS).map(|kill| MUTATIONS / KILLS * kill + 20 + dice.below(60)).collect();
    let mut done = 0;
    for step in 0..MUTATIONS {
        let (query, input) = oracle.some_mutation(&mut dice);
        if kills.contains(&step) {
            let request = {
                let (desk, at) = (desk.clone(), at.clone());
                tokio::spawn(async move { desk.run(&at, &query, json!({ "input": input })).await })
            };
            // This waits for no event, so that the kill falls before, into and after the commit.
            tokio::time::sleep(Duration::from_micros(dice.below(30_000) as u64)).await;
            server.take().expect("a server").kill();
            let answer = request.await.expect("a request");
            let before = oracle.end;
            oracle.wait_for_the_dead(database.kind).await;
            oracle.advance().await;
            if let Some(answer) = answer {
                oracle.holds(&answer);
            }
            println!("killed at mutation {step}: {} changes of it are there", oracle.end - before);
            server = Some(Process::serve_at(&database.url, &at).await);
            continue;
        }
        let answer = desk.run(&at, &query, json!({ "input": input })).await.expect("an answer");
        oracle.advance().await;
        oracle.holds(&answer);
        done += usize::from(answer.get("errors").is_none());
    }
    assert!(done > MUTATIONS / 2, "only {done} mutations were not refused");
    let (mut items, mut connections) = (0, 0);
    for (number, client) in clients.into_iter().enumerate() {
        let name = format!("client {number} with {}", oracle.filters[number].0);
        let received = client.finish(oracle.end, &name).await;
        compare(&name, &received.items, &oracle.expected[number]);
        items += received.items.len();
        connections += received.connections;
    }
    let (merges, undone) = oracle.merges().await;
    println!(
        "{} changes, {merges} merges ({undone} undone), {items} items on {CLIENTS} clients, {connections} connections, \
         {KILLS} kills",
        oracle.end
    );
    assert!(merges > 5 && undone > 0, "nothing was tried: {merges} merges, {undone} undone");
    assert!(
        items > MUTATIONS && connections > 5 * CLIENTS,
        "nothing was tried: {items} items, {connections} connections"
    );
}
