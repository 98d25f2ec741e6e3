//! The little desk: a schema of a few fields behind the real routes, and the controls of a test.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_graphql::{Context, Object, Request, Response, Schema, Subscription};
use futures_util::stream::{BoxStream, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use watchfloor::domain;
use watchfloor::graphql::ResponseStream;
use watchfloor::server::edge::connections;
use watchfloor::server::edge::origin;
use watchfloor::server::edge::timeouts::TimedListener;
use watchfloor::server::operation::catalogue::Catalogue;
use watchfloor::server::operation::endpoint::Endpoint;
use watchfloor::server::routes::graphql_routes;
use watchfloor::server::settings::Settings;
use watchfloor::storage::{Gate, MutationState};

use super::socket::Socket;

struct Query;

#[Object]
impl Query {
    async fn version(&self) -> i32 {
        1
    }

    async fn length(&self, text: String) -> usize {
        text.len()
    }

    async fn who(&self, ctx: &Context<'_>) -> String {
        ctx.data_unchecked::<Viewer>().0.clone()
    }

    async fn refused(&self) -> domain::Result<i32> {
        Err(domain::Error::conflict("it is resolved already", json!({ "status": "RESOLVED" })))
    }

    async fn refused_quietly(&self) -> Option<async_graphql::Result<i32>> {
        Some(Err(domain::Error::invalid("input.title", "the title is empty").into()))
    }

    async fn faulty(&self) -> domain::Result<i32> {
        Err(domain::Error::fault("reading the queue", "the password is hunter2"))
    }

    async fn panicking(&self, #[graphql(default = true)] really: bool) -> i32 {
        assert!(!really, "a resolver panics on purpose");
        0
    }

    async fn never(&self, ctx: &Context<'_>) -> i32 {
        let _gone = Gone(ctx.data_unchecked::<Arc<Control>>().clone());
        std::future::pending().await
    }
}

struct Mutation;

#[Object]
impl Mutation {
    async fn add(&self, a: i32, b: i32) -> i32 {
        a + b
    }
}

/// The controls with which a test drives and watches the streams.
pub(crate) struct Control {
    pub(crate) steps: broadcast::Sender<i32>,
    pub(crate) gone: mpsc::Sender<()>,
    pub(crate) gone_queue: tokio::sync::Mutex<mpsc::Receiver<()>>,
    pub(crate) let_in: Notify,
    pub(crate) made: watch::Sender<usize>,
    pub(crate) admissions: Mutex<Vec<Option<String>>>,
}

impl Control {
    /// Waits until a stream is dropped.
    pub(crate) async fn stream_dropped(&self) {
        let mut queue = self.gone_queue.lock().await;
        tokio::time::timeout(Duration::from_secs(10), queue.recv()).await.expect("a stream is dropped").expect("open");
    }
}

/// Tells the test that the stream which owns this value was dropped.
struct Gone(Arc<Control>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone.try_send(()).expect("room for a note");
    }
}

struct Streams;

#[Subscription(name = "Subscription")]
impl Streams {
    /// Yields 0 at once, then each number that the test sends; ends after a negative number.
    async fn counter(&self, ctx: &Context<'_>) -> impl Stream<Item = i32> + use<> {
        let gone = Gone(ctx.data_unchecked::<Arc<Control>>().clone());
        let mut steps = gone.0.steps.subscribe();
        async_stream::stream! {
            let _gone = gone;
            yield 0;
            while let Ok(step) = steps.recv().await {
                if step < 0 {
                    return;
                }
                yield step;
            }
        }
    }

    /// Yields as many texts as the socket takes.
    async fn endless(&self, ctx: &Context<'_>, bytes: usize) -> impl Stream<Item = String> + use<> {
        let gone = Gone(ctx.data_unchecked::<Arc<Control>>().clone());
        async_stream::stream! {
            loop {
                gone.0.made.send_modify(|made| *made += 1);
                yield "x".repeat(bytes);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Ends with an error after the first item.
    async fn breaking(&self) -> impl Stream<Item = async_graphql::Result<i32>> + use<> {
        futures_util::stream::iter([Ok(1), Err(domain::Error::fault("reading", "hunter2").into())])
    }

    /// Yields the given text once.
    async fn echo(&self, text: String) -> impl Stream<Item = String> + use<> {
        futures_util::stream::iter([text])
    }

    /// Yields `n` texts that begin with their numbers, from 0.
    async fn numbered(&self, ctx: &Context<'_>, n: usize, bytes: usize) -> impl Stream<Item = String> + use<> {
        let control = ctx.data_unchecked::<Arc<Control>>().clone();
        futures_util::stream::iter(0..n).map(move |number| {
            control.made.send_modify(|made| *made += 1);
            format!("{number}{}", "x".repeat(bytes))
        })
    }

    /// Yields 1 to `n`, then ends.
    async fn up_to(&self, n: i32) -> impl Stream<Item = i32> + use<> {
        futures_util::stream::iter(1..=n)
    }

    /// Is refused.
    async fn refused(&self) -> domain::Result<BoxStream<'static, i32>> {
        Err(domain::Error::forbidden("this queue is not yours"))
    }

    /// Fails with the second item, and goes on.
    async fn failing(&self) -> impl Stream<Item = async_graphql::Result<i32>> + use<> {
        futures_util::stream::iter([Ok(1), Err(domain::Error::fault("reading", "hunter2").into()), Ok(3)])
    }

    /// Panics after the first item.
    async fn panicking(&self) -> impl Stream<Item = i32> + use<> {
        futures_util::stream::iter([1, 2]).map(|n| if n == 2 { panic!("a stream panics on purpose") } else { n })
    }
}

#[derive(Clone)]
struct Viewer(String);

#[derive(Clone)]
struct Desk {
    schema: Schema<Query, Mutation, Streams>,
    control: Arc<Control>,
}

impl Endpoint for Desk {
    type Viewer = Viewer;

    async fn admit(&self, account: Option<String>) -> domain::Result<Viewer> {
        self.control.admissions.lock().expect("whole").push(account.clone());
        match account.as_deref() {
            None => Ok(Viewer("local".into())),
            Some("stranger") => Err(domain::Error::unauthenticated("there is no account stranger")),
            Some("faulty") => Err(domain::Error::fault("reading accounts", "hunter2")),
            Some("panicking") => panic!("an admission panics on purpose"),
            Some("slow") => {
                self.control.let_in.notified().await;
                Ok(Viewer("slow".into()))
            }
            Some(account) => Ok(Viewer(account.into())),
        }
    }

    fn principal(&self, viewer: &Viewer) -> Vec<u8> {
        viewer.0.clone().into_bytes()
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        Arc::new(Catalogue::read(&self.schema.sdl(), |_, _| None).expect("the schema can be read"))
    }

    async fn execute(&self, request: Request, _mutation: Option<MutationState>) -> Response {
        self.schema.execute(request).await
    }

    fn execute_stream(&self, request: Request, _gate: Box<dyn Gate>) -> ResponseStream {
        self.schema.execute_stream(request).map(|response| (response, None)).boxed()
    }
}

pub(crate) struct Server {
    pub(crate) http: String,
    pub(crate) ws: String,
    pub(crate) control: Arc<Control>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        Self::on(port(), settings)
    }

    pub(crate) fn on(listener: TcpListener, settings: Settings) -> Self {
        let (gone, gone_queue) = mpsc::channel(1_000);
        let control = Arc::new(Control {
            steps: broadcast::channel(1_000).0,
            gone,
            gone_queue: tokio::sync::Mutex::new(gone_queue),
            let_in: Notify::new(),
            made: watch::channel(0).0,
            admissions: Mutex::default(),
        });
        let schema = Schema::build(Query, Mutation, Streams).data(control.clone()).finish();
        let (stop, shutdown) = watch::channel(false);
        // Not a receiver of `stop`: the last receiver must belong to the last socket.
        let address = listener.local_addr().expect("an address");
        let listener = TimedListener::new(
            listener,
            settings.connections.clone(),
            settings.http.write_deadline,
            watch::channel(false).1,
        );
        let origins = settings.origins.clone();
        let router = graphql_routes(Desk { schema, control: control.clone() }, settings, shutdown);
        let router = origin::own_host_only(origin::own_origin_only(router, &origins), &origins);
        let service = connections::counted(router);
        let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
        Self { http: format!("http://{address}/graphql"), ws: format!("ws://{address}/graphql"), control, stop, task }
    }

    pub(crate) fn address(&self) -> &str {
        self.ws.strip_prefix("ws://").and_then(|rest| rest.strip_suffix("/graphql")).expect("an address")
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
        Reply { status, headers, body }
    }

    pub(crate) fn post(&self) -> reqwest::RequestBuilder {
        reqwest::Client::new().post(&self.http)
    }

    pub(crate) async fn ask(&self, body: Value) -> Reply {
        self.send(self.post().json(&body)).await
    }

    pub(crate) async fn ask_as(&self, accept: &str, body: Value) -> Reply {
        self.send(self.post().header("accept", accept).json(&body)).await
    }

    pub(crate) async fn post_bytes(&self, body: impl Into<reqwest::Body>) -> Reply {
        self.send(self.post().header("content-type", "application/json").body(body)).await
    }

    pub(crate) async fn get(&self, query: &[(&str, &str)]) -> Reply {
        self.send(reqwest::Client::new().get(&self.http).query(query)).await
    }

    /// Sends bytes as they are, and returns all bytes that come back.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }
}

/// Returns a bound port of this machine.
pub(crate) fn port() -> TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("for tokio");
    TcpListener::from_std(listener).expect("a listener")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn code(&self) -> &str {
        code(&self.body["errors"][0])
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{self:?}");
        assert!(self.body.get("data").is_none(), "no data entry: {self:?}");
        assert!(self.header("content-type").ends_with("; charset=utf-8"));
        assert_eq!((self.header("cache-control"), self.header("vary")), ("no-store", "Accept"));
    }
}

pub(crate) fn code(error: &Value) -> &str {
    error["extensions"]["code"].as_str().unwrap_or("no code")
}

pub(crate) fn query(text: &str) -> Value {
    json!({ "query": text })
}

pub(crate) const GRAPHQL: &str = "application/graphql-response+json";
pub(crate) const JSON: &str = "application/json";

/// Returns a document in which each fragment spreads the next fragment twice.
pub(crate) fn bomb() -> String {
    let levels: String = (0..25).map(|n| format!(" fragment F{n} on Query {{ ...F{0} ...F{0} }}", n + 1)).collect();
    format!("{{ ...F0 }}{levels} fragment F25 on Query {{ version }}")
}

/// Opens an acknowledged connection with small buffers.
pub(crate) async fn narrow(server: &Server) -> Socket {
    let mut socket = Socket::narrow(&server.ws, "graphql-transport-ws").await;
    socket.init(json!({})).await;
    socket
}
