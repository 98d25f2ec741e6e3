//! The three servers. Each prints its port, then answers lines: `emit N TAG` makes N events, `clock`, `statements`.

use axum::serve::ListenerExt;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_graphql::{EmptyMutation, Object, Schema, SimpleObject, Subscription};
use async_graphql_axum::GraphQLSubscription;
use futures_util::{SinkExt, Stream, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use watchfloor::app::{App, Command};
use watchfloor::domain::IncidentId;
use watchfloor::domain::clock::Clock;
use watchfloor::domain::incident::Patch;
use watchfloor::domain::tag::{Tag, TagKind};
use watchfloor::realtime::RealtimeLimits;
use watchfloor::realtime::feed::FeedSource;
use watchfloor::server::edge::admission::AdmissionSettings;
use watchfloor::server::edge::connections;
use watchfloor::server::edge::timeouts::TimedListener;
use watchfloor::server::settings::Settings;
use watchfloor::server::{Desk, router};
use watchfloor::storage::{Store, StoreOptions};

/// The size of the floor's frame in bytes: about the size of an update of a row of a dozen fields.
const FLOOR_BYTES: usize = 600;

/// The kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Floor,
    Stock,
    Desk,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Floor => "floor",
            Self::Stock => "stock",
            Self::Desk => "desk",
        })
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Self::Floor, Self::Stock, Self::Desk].into_iter().find(|kind| kind.to_string() == word).ok_or(word.into())
    }
}

/// Returns the nanoseconds since 1970. Two processes of one machine share that clock.
pub(crate) fn nanos() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64
}

/// Runs until its standard input closes.
pub(crate) fn serve(kind: Kind, beats: bool) {
    // One worker per core, as in the binary: the process has one core.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (lines, orders) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if lines.blocking_send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    runtime.block_on(async {
        match kind {
            Kind::Floor => floor(orders).await,
            Kind::Stock => stock(orders).await,
            Kind::Desk => desk(orders, beats).await,
        }
    });
}

fn say(line: impl std::fmt::Display) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// Splits an order into its word and the tag of the incident.
fn words(line: &str) -> (&str, usize) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, "0"));
    (word, rest.parse().unwrap())
}

async fn floor(mut orders: mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    say(listener.local_addr().unwrap().port());
    // Each socket has a channel of its own, so that an event for one socket costs one write.
    let sockets: Arc<Mutex<Vec<mpsc::Sender<Utf8Bytes>>>> = Arc::default();
    let accepted = sockets.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, mut events) = mpsc::channel::<Utf8Bytes>(16);
            accepted.lock().unwrap().push(sender);
            tokio::spawn(async move {
                let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
                #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
                let protocol = |_: &Request, mut response: Response| {
                    let name = HeaderValue::from_static("graphql-transport-ws");
                    response.headers_mut().insert("sec-websocket-protocol", name);
                    Ok(response)
                };
                let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, protocol, Some(config)).await;
                let (mut sink, mut stream) = socket.unwrap().split();
                let hello = [r#"{"type":"connection_ack"}"#, r#"{"type":"next","id":"1","payload":{"live":true}}"#];
                for hello in hello {
                    stream.next().await;
                    sink.send(Message::text(hello)).await.unwrap();
                }
                loop {
                    tokio::select! {
                        event = events.recv() => {
                            let Some(text) = event else { return };
                            if sink.send(Message::Text(text)).await.is_err() {
                                return;
                            }
                        }
                        read = stream.next() => if !matches!(read, Some(Ok(_))) { return },
                    }
                }
            });
        }
    });
    let text = Utf8Bytes::from(format!(r#"{{"type":"next","id":"1","x":"{}"}}"#, "x".repeat(FLOOR_BYTES - 36)));
    while let Some(line) = orders.recv().await {
        if let ("emit", tag) = words(&line) {
            let sockets = sockets.lock().unwrap();
            let to = match tag {
                0 => &sockets[..],
                one => sockets.get(one - 1..one).unwrap_or_default(),
            };
            to.iter().for_each(|socket| socket.try_send(text.clone()).ok().unwrap_or_default());
        }
        say(format!("{} 0", nanos()));
    }
}

#[derive(Clone, SimpleObject)]
struct Named {
    name: String,
}

#[derive(Clone, SimpleObject)]
struct Row {
    id: String,
    number: i64,
    title: String,
    severity: String,
    status: String,
    owner: Option<Named>,
    tags: Vec<Named>,
    alert_count: u64,
    comment_count: u64,
    updated_at: String,
}

#[derive(Clone, SimpleObject)]
struct QueueUpdated {
    position: String,
    row: Row,
    changed_fields: Vec<String>,
}

#[derive(Clone, SimpleObject)]
struct Live {
    position: String,
}

#[expect(clippy::large_enum_variant, reason = "one is made for each event, and it is nearly always the large one")]
#[derive(Clone, async_graphql::Interface)]
#[graphql(field(name = "position", ty = "&String"))]
enum QueueItem {
    QueueUpdated(QueueUpdated),
    Live(Live),
}

struct Query;

#[Object]
impl Query {
    async fn version(&self) -> i32 {
        1
    }
}

struct Stock(broadcast::Sender<QueueUpdated>);

#[Subscription]
impl Stock {
    async fn incident_queue(
        &self,
        tag: Option<String>,
        after: Option<String>,
    ) -> impl Stream<Item = QueueItem> + use<> {
        let events = tokio_stream::wrappers::BroadcastStream::new(self.0.subscribe());
        let items = events.filter_map(move |event| {
            let event = event.ok();
            let meets = |event: &QueueUpdated| {
                tag.as_ref().is_none_or(|tag| event.row.tags.iter().any(|held| held.name == *tag))
            };
            std::future::ready(event.filter(meets).map(QueueItem::QueueUpdated))
        });
        let live = QueueItem::Live(Live { position: after.unwrap_or_default() });
        futures_util::stream::once(std::future::ready(live)).chain(items)
    }
}

async fn stock(mut orders: mpsc::Receiver<String>) {
    let (events, _) = broadcast::channel(64);
    let schema = Schema::build(Query, EmptyMutation, Stock(events.clone())).finish();
    let router = axum::Router::new().route_service("/graphql", GraphQLSubscription::new(schema));
    listen(router).await;
    let mut number = 0;
    while let Some(line) = orders.recv().await {
        if let ("emit", tag) = words(&line) {
            number += 1;
            let row = Row {
                id: "incident:01a20d66-9968-774b-9e13-9a31d4ae7a24".into(),
                number: 7,
                title: title(number),
                severity: "MEDIUM".into(),
                status: "NEW".into(),
                owner: None,
                tags: vec![Named { name: format!("tag-{tag}") }],
                alert_count: 0,
                comment_count: 0,
                updated_at: "2026-11-23T08:00:00+00:00".into(),
            };
            let position = "AQGiDWaZVHNhtIDsGSzvG5sAAAAAAAAAApKsqHV8YNlB3rPUBqEfHQkAAAAAAAAAAA".into();
            let changed_fields = vec!["TITLE".into()];
            events.send(QueueUpdated { position, row, changed_fields }).ok();
        }
        say(format!("{} 0", nanos()));
    }
}

fn title(number: usize) -> String {
    format!("Multi-stage incident involving Execution & Exfiltration on 3 endpoints, 2 users {number:06}")
}

async fn listen(router: axum::Router) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    say(port);
}

/// Runs the desk. With `beats` it sends pings and heartbeats as in production; else nothing disturbs the measurement.
async fn desk(mut orders: mpsc::Receiver<String>, beats: bool) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/desk.db?mode=rwc", folder.path().display());
    let options = StoreOptions { url, connections: 4, acquire_timeout: Duration::from_secs(60), notify: true };
    let statements = Arc::new(AtomicU64::new(0));
    let counted = statements.clone();
    let watch = Arc::new(move |statement: &watchfloor::storage::Statement| {
        // Do not count the relay's reads of the log, which do not depend on the number of sockets.
        if !statement.sql.contains("\"log_head\".\"position\" >= ") {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let store = Store::connect_watched(options, watch).await.unwrap();
    let ring = RealtimeLimits { changes: 20_000, bytes: 64 << 20, incidents: 100_000 };
    let (app, _relay) = App::open(store.clone(), ring, Clock::System).await.unwrap();
    let source =
        FeedSource { store, hub: app.hub.clone(), heartbeat: Duration::from_secs(if beats { 10 } else { 600 }) };
    let schema = watchfloor::graphql::schema(app.clone(), source, Default::default());
    let (_stop, shutdown) = tokio::sync::watch::channel(false);
    // In a storm the old sockets may still exist when the new sockets connect.
    let admission = AdmissionSettings { sockets: 40_000, sockets_per_address: 40_000, sockets_per_principal: 40_000 };
    let mut settings = Settings { admission, ..Settings::default() };
    if !beats {
        settings.socket.ping_every = Duration::from_secs(600);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    settings.connections.connections = 40_000;
    settings.connections.per_address = 40_000;
    let listener =
        TimedListener::new(listener, settings.connections.clone(), settings.http.write_deadline, shutdown.clone());
    let service = connections::counted(router(Desk::new(app.clone(), schema), settings, shutdown));
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    say(port);
    let mut incidents: Vec<Option<IncidentId>> = Vec::new();
    let mut number = 0;
    while let Some(line) = orders.recv().await {
        match words(&line) {
            // Creates the incident of the events before any socket connects.
            ("prepare", tag) => {
                incidents.resize(incidents.len().max(tag + 1), None);
                let add_tags = vec![Tag { kind: TagKind::Custom, name: format!("tag-{tag}") }];
                let patch = Patch { title: Some(title(0)), add_tags, ..Patch::default() };
                let made = app.create_incident(&command(&app).await, None, patch.into()).await.unwrap();
                incidents[tag] = Some(made.value.incident.id);
            }
            ("emit", tag) => {
                number += 1;
                let patch = Patch { title: Some(title(number)), ..Patch::default() };
                let command = command(&app).await;
                let start = Instant::now();
                let done = app.update_incident(&command, incidents[tag].unwrap(), patch.into()).await.unwrap();
                let took = start.elapsed();
                let committed = nanos();
                // Wait until the relay has read the change, so that each event costs the same with and without sockets.
                app.hub.watch().wait_for(|head| *head >= done.position.offset).await.unwrap();
                say(format!("{committed} {} {} {number}", took.as_nanos(), done.position.offset));
                continue;
            }
            ("statements", _) => {
                say(statements.load(Ordering::Relaxed));
                continue;
            }
            _ => {}
        }
        say(format!("{} 0", nanos()));
    }
}

async fn command(app: &App) -> Command {
    Command::new(app.local_caller(None).await.unwrap(), app.clock.now(), "bench")
}
