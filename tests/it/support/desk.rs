//! A desk for a test: the real router on a free port, with a database of its own, and a clock that the test sets.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use watchfloor::app::App;
use watchfloor::app::upload::Uploads;
use watchfloor::domain::clock::Clock;
use watchfloor::domain::policy::Policies;
use watchfloor::domain::signing::DeskKey;
use watchfloor::realtime::RealtimeLimits;
use watchfloor::realtime::feed::FeedSource;
use watchfloor::server::settings::Settings;
use watchfloor::server::{Desk, router};
use watchfloor::storage::{Objects, Store, StoreOptions, Watch};

use super::database::TestDatabase;
use super::socket::{Frame, Socket};
use super::waiting::LONG_PATIENCE;

/// Returns Monday morning, when every test's clock starts.
pub(crate) fn monday() -> DateTime<Utc> {
    "2026-11-23T08:00:00Z".parse().expect("an instant")
}

/// Returns the signing key of every desk.
pub(crate) fn signing_key() -> DeskKey {
    DeskKey::of(&[7; 32])
}

/// The differences of a desk from the default desk.
pub(crate) struct Options {
    pub(crate) ring: RealtimeLimits,
    pub(crate) heartbeat: Duration,
    pub(crate) settings: Settings,
    pub(crate) limits: watchfloor::graphql::ApiLimits,
    pub(crate) clock: Clock,
    /// The policies of the desk.
    pub(crate) policies: Policies,
    /// Receives each statement that the desk sends.
    pub(crate) watch: Option<Watch>,
    /// Whether the desk receives the NOTIFY messages of other nodes; otherwise it only polls.
    pub(crate) notify: bool,
    /// The store of attachments; by default a folder of the desk's own.
    pub(crate) objects: Option<Objects>,
    /// The limits of concurrent uploads.
    pub(crate) uploads: Uploads,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring: RealtimeLimits { changes: 1_000, bytes: 16 << 20, incidents: 100_000 },
            heartbeat: Duration::from_secs(10),
            settings: Settings::default(),
            limits: watchfloor::graphql::ApiLimits::default(),
            clock: Clock::manual(monday()),
            policies: Policies::default(),
            watch: None,
            notify: true,
            objects: None,
            uploads: Uploads::default(),
        }
    }
}

/// A running desk. It stops when this value is dropped.
pub(crate) struct TestDesk {
    pub(crate) app: App,
    pub(crate) clock: Clock,
    /// `http://127.0.0.1:port`.
    pub(crate) url: String,
    /// The folder of attachments, unless the test chose another store.
    pub(crate) attachments: TempDir,
    http: reqwest::Client,
    stop: watch::Sender<bool>,
    relay: JoinHandle<()>,
    jobs: JoinHandle<()>,
    server: JoinHandle<()>,
}

/// The content of a refusal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) path: Option<String>,
    pub(crate) message: String,
    pub(crate) now: Value,
}

impl TestDesk {
    pub(crate) async fn open(database: &TestDatabase) -> Self {
        Self::open_with(database, Options::default()).await
    }

    /// Opens another node, or the same node after a restart, on an existing database.
    pub(crate) async fn open_with(database: &TestDatabase, options: Options) -> Self {
        let reach = StoreOptions {
            url: database.url.clone(),
            connections: 6,
            acquire_timeout: Duration::from_secs(60),
            notify: options.notify,
        };
        let store = match options.watch {
            Some(watch) => Store::connect_watched(reach, watch).await,
            None => Store::connect(reach).await,
        };
        let store = store.expect("a connection");
        let (app, relay) = App::open(store.clone(), options.ring, options.clock.clone()).await.expect("an open desk");
        let app = App { policies: options.policies, uploads: options.uploads, ..app };
        let attachments = tempfile::tempdir().expect("a folder");
        let objects = options.objects.unwrap_or_else(|| Objects::in_folder(attachments.path().to_owned()));
        let app = app.with_objects(objects);
        let jobs = tokio::spawn(app.clone().work_on_jobs());
        let source = FeedSource { store, hub: app.hub.clone(), heartbeat: options.heartbeat };
        let desk = Desk::new(app.clone(), watchfloor::graphql::schema(app.clone(), source, options.limits));
        let desk = desk.signing(Some(signing_key()));
        let (stop, shutdown) = watch::channel(false);
        let router = router(desk, options.settings, shutdown);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Self {
            app,
            clock: options.clock,
            url,
            attachments,
            http: reqwest::Client::builder().timeout(LONG_PATIENCE).build().expect("a client"),
            stop,
            relay,
            jobs,
            server,
        }
    }

    /// Ends the work on bulk jobs: a job that begins now has no changes.
    pub(crate) fn leave_jobs(&self) {
        self.jobs.abort();
    }

    /// Gets a path as an account; returns status and body.
    pub(crate) async fn get_as(&self, account: Option<&str>, path: &str) -> (u16, String) {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(account) = account {
            request = request.header("Watchfloor-Actor", account);
        }
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a whole body"))
    }

    /// Sends a query by GET with the tag of an answer that the client holds (If-None-Match). Returns status, tag and
    /// body.
    pub(crate) async fn get_unless_held(&self, query: &str, held: Option<&str>) -> (u16, Option<String>, String) {
        let mut request = self.http.get(format!("{}/graphql", self.url)).query(&[("query", query)]);
        if let Some(held) = held {
            request = request.header("If-None-Match", held);
        }
        let response = request.send().await.expect("an answer");
        let tag = response.headers().get("etag").map(|tag| tag.to_str().expect("a tag").to_owned());
        (response.status().as_u16(), tag, response.text().await.expect("a whole body"))
    }

    /// Runs an operation as an account, and returns the whole response.
    pub(crate) async fn graphql_as(&self, account: Option<&str>, query: &str, variables: Value) -> Value {
        let mut request =
            self.http.post(format!("{}/graphql", self.url)).json(&json!({ "query": query, "variables": variables }));
        if let Some(account) = account {
            request = request.header("Watchfloor-Actor", account);
        }
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    /// Runs an operation that must succeed, and returns its data.
    pub(crate) async fn data(&self, query: &str, variables: Value) -> Value {
        self.data_as(None, query, variables).await
    }

    /// Runs an operation as an account that must succeed, and returns its data.
    pub(crate) async fn data_as(&self, account: Option<&str>, query: &str, variables: Value) -> Value {
        let mut response = self.graphql_as(account, query, variables).await;
        assert!(response.get("errors").is_none(), "{query} failed: {response:#}");
        response["data"].take()
    }

    /// Runs an operation that must be refused, and returns its first error.
    pub(crate) async fn refused(&self, query: &str, variables: Value) -> Refusal {
        self.refused_as(None, query, variables).await
    }

    /// Runs an operation as an account that must be refused, and returns its first error.
    pub(crate) async fn refused_as(&self, account: Option<&str>, query: &str, variables: Value) -> Refusal {
        let response = self.graphql_as(account, query, variables).await;
        let error = response["errors"].get(0).unwrap_or_else(|| panic!("{query} was not refused: {response:#}"));
        Refusal {
            code: error["extensions"]["code"].as_str().unwrap_or_default().to_owned(),
            path: error["extensions"]["path"].as_str().map(str::to_owned),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
            now: error["extensions"]["now"].clone(),
        }
    }

    /// Creates an incident with this title, and returns its global id.
    pub(crate) async fn incident(&self, title: &str) -> String {
        let made = self
            .data(
                "mutation($title: String!) { createIncident(input: { title: $title }) { incident { id } } }",
                json!({ "title": title }),
            )
            .await;
        made["createIncident"]["incident"]["id"].as_str().expect("an id").to_owned()
    }

    /// Creates a user with this account and role, and returns its global id.
    pub(crate) async fn user(&self, account: &str, role: &str) -> String {
        let made = self
            .data(
                "mutation($account: String!, $role: Role!) {
                    upsertUser(input: { account: $account, role: $role }) { user { id } }
                 }",
                json!({ "account": account, "role": role }),
            )
            .await;
        made["upsertUser"]["user"]["id"].as_str().expect("an id").to_owned()
    }

    /// Returns the offset of the log's end.
    pub(crate) async fn log_end(&self) -> u64 {
        let read = async { self.app.store.read().await.expect("a snapshot").head().await.expect("a head").offset };
        timeout(LONG_PATIENCE, read).await.expect("the end of the log, in time")
    }

    /// Opens a socket as an account and follows one subscription on it.
    pub(crate) async fn follow_as(&self, account: &str, query: &str, variables: Value) -> Following {
        let url = format!("{}/graphql", self.url.replacen("http", "ws", 1));
        Following::start_as(&url, json!({ "Watchfloor-Actor": account }), query, variables).await
    }

    /// Opens a socket and follows one subscription on it.
    pub(crate) async fn follow(&self, query: &str, variables: Value) -> Following {
        Following::start(&format!("{}/graphql", self.url.replacen("http", "ws", 1)), query, variables).await
    }
}

impl Drop for TestDesk {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for task in [&self.relay, &self.jobs, &self.server] {
            task.abort();
        }
    }
}

/// One subscription on a socket of its own.
pub(crate) struct Following {
    socket: Socket,
    field: Option<String>,
}

impl Following {
    /// Subscribes at a `ws://` URL.
    pub(crate) async fn start(url: &str, query: &str, variables: Value) -> Self {
        Self::start_as(url, json!({}), query, variables).await
    }

    /// Subscribes at a `ws://` URL with this payload of `connection_init`.
    pub(crate) async fn start_as(url: &str, init: Value, query: &str, variables: Value) -> Self {
        let mut socket = Socket::open(url).await;
        socket.init(init).await;
        let payload = json!({ "query": query, "variables": variables });
        socket.send(json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
        Self { socket, field: None }
    }

    /// Returns the next item: the value of the subscription's one root field.
    pub(crate) async fn item(&mut self) -> Value {
        match self.frame().await {
            Frame::Json(mut message) if message["type"] == "next" => {
                let payload = &mut message["payload"];
                assert!(payload.get("errors").is_none(), "an item with errors: {payload:#}");
                let data = payload["data"].as_object_mut().expect("data");
                let (field, item) = data.iter_mut().next().expect("a root field");
                self.field.get_or_insert_with(|| field.clone());
                item.take()
            }
            other => panic!("not an item: {other:?}"),
        }
    }

    /// Returns the items up to and including the next item of this type.
    pub(crate) async fn items_until(&mut self, typename: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let all = async {
            loop {
                let item = self.item().await;
                let last = item["__typename"] == typename;
                items.push(item);
                if last {
                    return;
                }
            }
        };
        // Heartbeats never stop, even if nothing else comes.
        timeout(LONG_PATIENCE, all).await.unwrap_or_else(|_| panic!("no {typename} in time"));
        items
    }

    /// Returns the next item that is no heartbeat.
    pub(crate) async fn change(&mut self) -> Value {
        let change = async {
            loop {
                let item = self.item().await;
                if item["__typename"] != "Heartbeat" {
                    return item;
                }
            }
        };
        timeout(LONG_PATIENCE, change).await.expect("an item besides heartbeats, in time")
    }

    /// Returns the next frame of any kind.
    pub(crate) async fn frame(&mut self) -> Frame {
        self.socket.frame().await
    }
}
