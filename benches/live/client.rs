//! The client of all three servers: many sockets that count frames, and the server process that they measure.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::servers::{Kind, nanos};

/// The subscription of the desk's sockets. The stock handler has the same fields.
pub(crate) const DESK: &str = "subscription($tags: [String!], $after: String) {
    incidentQueue(filter: { tags: { any: $tags } }, after: $after) { ...item } }";
const STOCK: &str =
    "subscription($tag: String, $after: String) { incidentQueue(tag: $tag, after: $after) { ...item } }";
pub(crate) const DESK_FIELDS: &str =
    " fragment item on QueueItem { __typename position ... on QueueUpdated { changedFields row {
    id number title severity status owner { name } tags { name } alertCount commentCount updatedAt } } }";

/// Pins this process to the second core. The servers run on the first core.
pub(crate) fn pin() {
    let own = std::process::id().to_string();
    Command::new("taskset").args(["-a", "-p", "-c", "1", &own]).stdout(Stdio::null()).status().unwrap();
}

/// A server process.
pub(crate) struct Process {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) port: u16,
}

impl Process {
    pub(crate) fn start(kind: Kind, beats: bool) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(program)
            .args(["--serve", &kind.to_string(), &beats.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, mut answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut port = String::new();
        answers.read_line(&mut port).unwrap();
        Self { child, orders, answers, port: port.trim().parse().unwrap() }
    }

    pub(crate) fn ask(&mut self, order: &str) -> Vec<u64> {
        writeln!(self.orders, "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    /// Returns the CPU time of all threads so far, in microseconds.
    pub(crate) fn cpu(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let times = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok());
        times.map(|text| text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1_000.0).sum()
    }

    pub(crate) fn kib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// One measurement.
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) sockets: usize,
    pub(crate) events: usize,
    /// Whether each socket has a filter of its own, so that an event concerns only one socket.
    pub(crate) distinct: bool,
}

/// The figures of a measurement. CPU times are in microseconds.
pub(crate) struct Figures {
    pub(crate) cpu_per_event: f64,
    /// The CPU time of an event without any socket.
    pub(crate) commit_cpu: f64,
    pub(crate) commit_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) kib_per_socket: f64,
    pub(crate) frame_bytes: u64,
    pub(crate) storm: Option<Storm>,
}

pub(crate) struct Storm {
    pub(crate) sockets: usize,
    pub(crate) seconds: f64,
    pub(crate) cpu_each: f64,
    pub(crate) statements: u64,
}

/// The observations of all sockets.
#[derive(Default)]
struct Seen {
    frames: AtomicUsize,
    expected: AtomicUsize,
    reached: Notify,
    live: AtomicUsize,
    bytes: AtomicU64,
    times: Mutex<Option<Vec<u64>>>,
    last: Mutex<Option<String>>,
}

impl Seen {
    fn frame(&self, text: &str) {
        if let Some(times) = &mut *self.times.lock().unwrap() {
            times.push(nanos());
        }
        self.bytes.store(text.len() as u64, Ordering::Relaxed);
        if self.frames.fetch_add(1, Ordering::AcqRel) + 1 == self.expected.load(Ordering::Acquire) {
            *self.last.lock().unwrap() = Some(text.to_owned());
            self.reached.notify_one();
        }
    }

    async fn wait(&self) {
        tokio::time::timeout(Duration::from_secs(60), self.reached.notified()).await.expect("every frame in time");
    }
}

impl Case {
    pub(crate) async fn run(&self) -> Figures {
        let mut server = Process::start(self.kind, false);
        let tag = if self.distinct { self.sockets / 2 } else { 0 };
        if self.kind == Kind::Desk {
            server.ask(&format!("prepare {tag}"));
        }
        let emit = format!("emit {tag}");
        // Measure without a socket first: the cost of the event alone.
        let mut commits = Vec::new();
        for _ in 0..20 {
            server.ask(&emit);
        }
        let before = server.cpu();
        for _ in 0..self.events {
            commits.push(server.ask(&emit)[1]);
        }
        let commit_cpu = (server.cpu() - before) / self.events as f64;
        commits.sort_unstable();
        let empty = server.kib();
        let seen = Arc::new(Seen::default());
        let mut sockets = self.connect(&server, &seen, None).await;
        let kib_per_socket = (server.kib() - empty) / self.sockets as f64;
        let per_event = if self.distinct { 1 } else { self.sockets };

        let burst = |events: usize| (seen.clone(), events);
        let mut cpu_per_event = 0.0;
        // The first round warms up.
        for (seen, events) in [burst(10), burst(self.events)] {
            let before = server.cpu();
            for _ in 0..events {
                seen.expected.store(seen.frames.load(Ordering::Acquire) + per_event, Ordering::Release);
                server.ask(&emit);
                seen.wait().await;
            }
            cpu_per_event = (server.cpu() - before) / events as f64;
        }
        let mut delays = Vec::new();
        for _ in 0..(self.events / 4).max(5) {
            *seen.times.lock().unwrap() = Some(Vec::with_capacity(per_event));
            seen.expected.store(seen.frames.load(Ordering::Acquire) + per_event, Ordering::Release);
            let committed = server.ask(&emit)[0];
            seen.wait().await;
            let times = seen.times.lock().unwrap().take().unwrap();
            delays.extend(times.into_iter().map(|at| at.saturating_sub(committed) as f64 / 1e6));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        delays.sort_by(f64::total_cmp);
        let storm = if self.kind == Kind::Desk && !self.distinct {
            Some(self.storm(&mut server, &seen, &mut sockets).await)
        } else {
            None
        };
        Figures {
            cpu_per_event,
            commit_cpu,
            commit_ms: commits[commits.len() / 2] as f64 / 1e6,
            p50_ms: delays[delays.len() / 2],
            p99_ms: delays[(delays.len() - 1) * 99 / 100],
            kib_per_socket,
            frame_bytes: seen.bytes.load(Ordering::Relaxed),
            storm,
        }
    }

    /// Cuts all sockets, makes some changes, and reconnects all sockets with their old positions.
    async fn storm(&self, server: &mut Process, seen: &Arc<Seen>, sockets: &mut JoinSet<()>) -> Storm {
        let last = seen.last.lock().unwrap().clone().unwrap();
        let last: serde_json::Value = serde_json::from_str(&last).unwrap();
        let after = last["payload"]["data"]["incidentQueue"]["position"].as_str().unwrap().to_owned();
        sockets.shutdown().await;
        for _ in 0..10 {
            server.ask("emit 0");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (statements, cpu, start) = (server.ask("statements")[0], server.cpu(), Instant::now());
        let again = Arc::new(Seen::default());
        *sockets = self.connect(server, &again, Some(&after)).await;
        let seconds = start.elapsed().as_secs_f64();
        let cpu_each = (server.cpu() - cpu) / self.sockets as f64;
        assert_eq!(again.frames.load(Ordering::Acquire), 10 * self.sockets, "each got what it missed");
        Storm { sockets: self.sockets, seconds, cpu_each, statements: server.ask("statements")[0] - statements }
    }

    /// Connects all sockets, and returns when each is live.
    async fn connect(&self, server: &Process, seen: &Arc<Seen>, after: Option<&str>) -> JoinSet<()> {
        let mut sockets = JoinSet::new();
        for batch in 0..self.sockets.div_ceil(100) {
            let first = batch * 100;
            for number in first..(first + 100).min(self.sockets) {
                let tag = if self.distinct { number + 1 } else { 0 };
                let query = match self.kind {
                    Kind::Stock => format!("{STOCK}{DESK_FIELDS}"),
                    _ => format!("{DESK}{DESK_FIELDS}"),
                };
                let tag = format!("tag-{tag}");
                let variables = match self.kind {
                    Kind::Stock => json!({ "tag": tag, "after": after }),
                    _ => json!({ "tags": [tag], "after": after }),
                };
                let payload = json!({ "query": query, "variables": variables });
                sockets.spawn(follow(server.port, payload, seen.clone()));
            }
            // Connect in waves, because the backlog of a listener is short.
            let live = (first + 100).min(self.sockets);
            while seen.live.load(Ordering::Acquire) < live {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        sockets
    }
}

/// One socket of a client.
pub(crate) type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

/// Connects a socket and subscribes.
pub(crate) async fn open(port: u16, payload: serde_json::Value) -> Socket {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut request = format!("ws://127.0.0.1:{port}/graphql").into_client_request().unwrap();
    let name = HeaderValue::from_static("graphql-transport-ws");
    request.headers_mut().insert("sec-websocket-protocol", name);
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
    let (mut socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await.unwrap();
    socket.send(Message::text(json!({ "type": "connection_init" }).to_string())).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let subscribe = json!({ "id": "1", "type": "subscribe", "payload": payload });
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    socket
}

async fn follow(port: u16, payload: serde_json::Value, seen: Arc<Seen>) {
    let mut socket = open(port, payload).await;
    let mut live = false;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        if !live && (text.contains("\"Live\"") || text.contains("\"live\"")) {
            live = true;
            seen.live.fetch_add(1, Ordering::AcqRel);
        } else if text.contains("\"next\"") {
            seen.frame(&text);
        } else {
            panic!("{text}");
        }
    }
}
