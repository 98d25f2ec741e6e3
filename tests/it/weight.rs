//! The memory of a stream: measured in a server process with a thousand streams, each with a filter of twenty texts.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::process::Process;
use crate::support::socket::Socket;

each_database!(a_stream_takes_a_bounded_part_of_memory);

const QUERY: &str = "subscription($t: [IncidentFilterInput!]) { incidentQueue(filter: { or: $t }) { __typename position
    ... on QueueUpdated { row { id number title severity status } } } }";

/// The streams are on this many sockets.
const SOCKETS: usize = 20;
const EACH: usize = 50;

/// The most memory of a stream, with its share of a socket. It takes 9 to 12 KiB, and 11 to 15 KiB in an unoptimised
/// build. With its filter kept as values it took 46 and more.
const STREAM_KIB: usize = if cfg!(debug_assertions) { 24 } else { 16 };

/// Opens a socket with streams that no other socket has, and returns it when all of them are live.
async fn follow(address: &str, socket: usize) -> Socket {
    let mut stream = Socket::ready(&format!("ws://{address}/graphql")).await;
    for number in 0..EACH {
        let texts: Vec<Value> =
            (0..20).map(|text| json!({ "text": format!("word{socket}x{number}x{text}") })).collect();
        let payload = json!({ "query": QUERY, "variables": { "t": texts } });
        stream.send(json!({ "id": number.to_string(), "type": "subscribe", "payload": payload })).await;
    }
    let mut live = 0;
    while live < EACH {
        let message = stream.json().await;
        assert_eq!(message["type"], "next", "{message}");
        live += usize::from(message["payload"]["data"]["incidentQueue"]["__typename"] == "Live");
    }
    stream
}

/// Returns the memory of a process, in KiB.
fn kib(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

async fn a_stream_takes_a_bounded_part_of_memory(database: TestDatabase) {
    let server = Process::serve_without_slack(&database.url).await;
    let mut sockets = vec![follow(&server.address, SOCKETS).await];
    let before = kib(server.id());
    for socket in 0..SOCKETS {
        sockets.push(follow(&server.address, socket).await);
    }
    let each = (kib(server.id()).saturating_sub(before)) / (SOCKETS * EACH);
    assert!(each <= STREAM_KIB, "{each} KiB");
    server.kill();
}
