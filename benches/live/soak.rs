//! A soak test: thousands of sockets follow a queue for the requested time, while the desk's memory is watched.
//!
//! Every socket compares each frame's position with the one before: a frame that is missing, repeated or out of order
//! ends the run. A hundred sockets keep their items, which are compared one by one with the changes that were made.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use watchfloor::domain::position::Position;

use super::client::{DESK, DESK_FIELDS, Process, open};
use super::servers::Kind;

/// The number of sockets that keep all items.
const SAMPLED: usize = 100;

/// The number of changes that fill the ring. It does not grow after that.
const RING: usize = 20_000;

/// The time between two looks at the memory.
const LOOK: Duration = Duration::from_secs(10);

/// The parameters of a run.
pub(crate) struct Soak {
    pub(crate) sockets: usize,
    pub(crate) per_second: f64,
    pub(crate) minutes: f64,
}

/// The findings of the sockets.
struct Found {
    live: AtomicU64,
    frames: AtomicU64,
    markers: AtomicU64,
    /// The offset that every socket has to reach.
    end: AtomicU64,
    arrived: AtomicU64,
    failed: Mutex<Option<String>>,
    over: AtomicBool,
    kept: Mutex<BTreeMap<usize, Vec<(u64, String)>>>,
}

impl Soak {
    /// Runs the test, and prints its findings.
    pub(crate) async fn run(&self) {
        let mut server = Process::start(Kind::Desk, true);
        println!("filling the ring with {RING} changes");
        server.ask("prepare 0");
        for _ in 0..RING {
            server.ask("emit 0");
        }
        let found = Arc::new(Found {
            live: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            markers: AtomicU64::new(0),
            end: AtomicU64::new(u64::MAX),
            arrived: AtomicU64::new(0),
            failed: Mutex::default(),
            over: AtomicBool::new(false),
            kept: Mutex::default(),
        });
        let empty = server.kib();
        let mut sockets = JoinSet::new();
        for number in 0..self.sockets {
            sockets.spawn(follow(server.port, number, found.clone()));
            if number % 100 == 99 || number + 1 == self.sockets {
                while found.live.load(Ordering::Acquire) <= number as u64 {
                    found.look();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        println!("{} sockets, {:.1} KiB each", self.sockets, (server.kib() - empty) / self.sockets as f64);
        let (start, cpu) = (Instant::now(), server.cpu());
        let length = Duration::from_secs_f64(self.minutes * 60.0);
        let (mut memory, mut expected) = (Vec::new(), Vec::new());
        let mut due = tokio::time::interval(Duration::from_secs_f64(1.0 / self.per_second));
        while start.elapsed() < length {
            due.tick().await;
            let answer = server.ask("emit 0");
            expected.push((answer[2], answer[3]));
            found.look();
            if memory.last().is_none_or(|(at, _): &(Duration, f64)| start.elapsed() >= *at + LOOK) {
                memory.push((start.elapsed(), server.kib()));
                let (at, kib) = memory[memory.len() - 1];
                println!(
                    "{:6.0} s  {:8.1} MiB  {} frames",
                    at.as_secs_f64(),
                    kib / 1024.0,
                    found.frames.load(Ordering::Relaxed)
                );
            }
        }
        let cpu = (server.cpu() - cpu) / 1e6 / start.elapsed().as_secs_f64();
        found.end.store(expected[expected.len() - 1].0, Ordering::Release);
        // One more event, for sockets that already have the last one.
        let answer = server.ask("emit 0");
        expected.push((answer[2], answer[3]));
        let patience = Instant::now();
        while found.arrived.load(Ordering::Acquire) < self.sockets as u64 {
            found.look();
            assert!(patience.elapsed() < Duration::from_secs(60), "every socket comes to the end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        found.over.store(true, Ordering::Release);
        self.report(&found, &expected, &memory, cpu);
        sockets.shutdown().await;
    }

    fn report(&self, found: &Found, expected: &[(u64, u64)], memory: &[(Duration, f64)], cpu: f64) {
        let expected: Vec<(u64, String)> =
            expected.iter().map(|(offset, number)| (*offset, format!("{number:06}"))).collect();
        let kept = found.kept.lock().unwrap();
        assert_eq!(kept.len(), SAMPLED.min(self.sockets));
        for (number, list) in kept.iter() {
            // The last event was only sent for sockets that had everything before it.
            assert!(list.len() + 1 >= expected.len(), "socket {number} has {} items", list.len());
            assert_eq!(list, &expected[..list.len()], "socket {number}");
        }
        let settled = memory.iter().filter(|(at, _)| *at >= Duration::from_secs(60)).collect::<Vec<_>>();
        let (first, last) = (settled[0].1, settled[settled.len() - 1].1);
        let most = settled.iter().map(|(_, kib)| *kib).fold(0.0, f64::max);
        println!(
            "\n{} sockets, {} events/s, {:.1} minutes: {} frames and {} markers, none lost, none twice, none out of order; \
             {} sockets compared item by item ({} items each)",
            self.sockets,
            self.per_second,
            self.minutes,
            found.frames.load(Ordering::Relaxed),
            found.markers.load(Ordering::Relaxed),
            kept.len(),
            expected.len() - 1,
        );
        println!(
            "memory after 1 minute {:.1} MiB, at the end {:.1} MiB, at most {:.1} MiB; {:.1} KiB a minute; {:.0} % of a core",
            first / 1024.0,
            last / 1024.0,
            most / 1024.0,
            slope(&settled),
            cpu * 100.0
        );
    }
}

/// Returns the slope of the linear regression through all samples, in KiB a minute.
fn slope(looks: &[&(Duration, f64)]) -> f64 {
    let n = looks.len() as f64;
    let minutes = |look: &(Duration, f64)| look.0.as_secs_f64() / 60.0;
    let (mean_x, mean_y) =
        (looks.iter().map(|look| minutes(look)).sum::<f64>() / n, looks.iter().map(|look| look.1).sum::<f64>() / n);
    let over: f64 = looks.iter().map(|look| (minutes(look) - mean_x) * (look.1 - mean_y)).sum();
    over / looks.iter().map(|look| (minutes(look) - mean_x).powi(2)).sum::<f64>()
}

impl Found {
    /// Ends the run if a socket has found a fault.
    fn look(&self) {
        if let Some(wrong) = &*self.failed.lock().unwrap() {
            panic!("{wrong}");
        }
    }

    fn fail(&self, wrong: String) {
        if !self.over.load(Ordering::Acquire) {
            self.failed.lock().unwrap().get_or_insert(wrong);
        }
    }
}

async fn follow(port: u16, number: usize, found: Arc<Found>) {
    let payload = json!({ "query": format!("{DESK}{DESK_FIELDS}"), "variables": { "tags": ["tag-0"] } });
    let mut socket = open(port, payload).await;
    let (mut last, mut arrived, mut list) = (None, false, Vec::new());
    while let Some(Ok(message)) = socket.next().await {
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) => {
                // The pong waits in the socket's buffer until the next write, so flush it.
                socket.flush().await.unwrap();
                continue;
            }
            other => return found.fail(format!("socket {number}: {other:?}")),
        };
        let is_marker = text.contains("\"Live\"") || text.contains("\"Heartbeat\"");
        let Some(offset) = offset(&text) else { return found.fail(format!("socket {number}: {text}")) };
        match (last, is_marker) {
            (None, true) => {
                found.live.fetch_add(1, Ordering::AcqRel);
            }
            (Some(last), true) if offset >= last => {
                found.markers.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            (Some(last), false) if offset == last + 1 => {
                found.frames.fetch_add(1, Ordering::Relaxed);
                if number < SAMPLED {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    let title = frame["payload"]["data"]["incidentQueue"]["row"]["title"].as_str().unwrap();
                    list.push((offset, title[title.len() - 6..].to_owned()));
                }
            }
            _ => return found.fail(format!("socket {number}: {offset} after {last:?}: {text}")),
        }
        last = Some(offset);
        if !arrived && offset >= found.end.load(Ordering::Acquire) {
            arrived = true;
            if number < SAMPLED {
                found.kept.lock().unwrap().insert(number, list.clone());
            }
            found.arrived.fetch_add(1, Ordering::AcqRel);
        }
    }
    found.fail(format!("socket {number} was closed"));
}

/// Returns the offset of the item in a frame. The item's position is the first position in the text.
fn offset(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("\"position\":\"")?;
    Some(Position::parse(rest.split_once('"')?.0)?.offset)
}
