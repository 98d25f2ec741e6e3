//! Streams that each look for twenty different texts: the memory of one stream, and the CPU time of an event that
//! matches no stream.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::client::{Process, open};
use super::servers::Kind;

const QUERY: &str = "subscription($t: [IncidentFilterInput!]) { incidentQueue(filter: { or: $t }) { __typename position
    ... on QueueUpdated { row { id number title severity status } } } }";

/// The texts of one filter.
const TEXTS: usize = 20;

/// The number of measured events.
const EVENTS: usize = 50;

/// The numbers of sockets and streams.
pub(crate) struct Texts {
    pub(crate) sockets: usize,
    pub(crate) each: usize,
}

impl Texts {
    pub(crate) async fn run(&self) {
        let mut server = Process::start(Kind::Desk, false);
        server.ask("prepare 0");
        let alone = events(&mut server);
        let empty = server.kib();
        let mut sockets = JoinSet::new();
        for socket in 0..self.sockets {
            sockets.spawn(follow(server.port, socket * self.each, self.each));
        }
        let mut opened = Vec::new();
        while let Some(socket) = sockets.join_next().await {
            opened.push(socket.unwrap());
        }
        let streams = (self.sockets * self.each) as f64;
        let (memory, crowded) = (server.kib() - empty, events(&mut server));
        println!("\n{streams} streams of {TEXTS} texts each, {EVENTS} events that match no stream");
        println!("memory of a stream: {:.1} KiB", memory / streams);
        println!("CPU of an event: {crowded:.0} µs, {alone:.0} µs without a stream");
    }
}

/// Returns the CPU time of one event, in microseconds.
fn events(server: &mut Process) -> f64 {
    for _ in 0..10 {
        server.ask("emit 0");
    }
    let before = server.cpu();
    for _ in 0..EVENTS {
        server.ask("emit 0");
    }
    // Wait for the tasks that the last event woke.
    std::thread::sleep(std::time::Duration::from_secs(1));
    (server.cpu() - before) / EVENTS as f64
}

/// Opens a socket with this many streams, and returns when all of them are live.
async fn follow(port: u16, first: usize, count: usize) -> super::client::Socket {
    let payload = |stream: usize| {
        let texts: Vec<_> = (0..TEXTS).map(|text| json!({ "text": format!("word{stream}x{text}") })).collect();
        json!({ "query": QUERY, "variables": { "t": texts } })
    };
    let mut socket = open(port, payload(first)).await;
    for stream in first + 1..first + count {
        let message = json!({ "id": stream.to_string(), "type": "subscribe", "payload": payload(stream) });
        socket.send(Message::text(message.to_string())).await.unwrap();
    }
    let mut live = 0;
    while live < count {
        let Some(Ok(Message::Text(text))) = socket.next().await else { continue };
        assert!(!text.contains("\"error\""), "{text}");
        live += usize::from(text.contains("\"Live\""));
    }
    socket
}
