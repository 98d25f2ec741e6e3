//! The edge: HTTP, WebSocket, and what a request must be before the schema sees it. This file is the table of contents.

pub mod endpoint;
pub mod guard;
pub mod http;
mod operation;
pub mod origin;
pub mod routes;
pub mod web;
pub mod ws;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Request, Response};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Router, middleware};
use futures_util::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::endpoint::Endpoint;
use self::routes::{Settings, Shutdown, graphql_routes};
use crate::app::App;
use crate::config::Serving;
use crate::domain::{self, clock::Clock};
use crate::graphql::{self, Schema, Viewer, admit_request};
use crate::realtime::feed::Source;
use crate::storage::Store;

/// The desk, as the transports see it.
#[derive(Clone)]
pub struct Desk {
    app: App,
    schema: Schema,
}

impl Desk {
    /// A desk and its schema.
    pub fn new(app: App, schema: Schema) -> Self {
        Self { app, schema }
    }
}

impl Endpoint for Desk {
    type Viewer = Viewer;

    async fn admit(&self, account: Option<String>) -> domain::Result<Viewer> {
        self.app.local_caller(account.as_deref()).await.map(Arc::new)
    }

    async fn execute(&self, request: Request) -> Response {
        self.schema.execute(admit_request(request)).await
    }

    fn execute_stream(&self, request: Request) -> BoxStream<'static, Response> {
        Box::pin(self.schema.execute_stream(admit_request(request)))
    }
}

/// Every route of the server. While no identity is configured all of them answer loopback only (product §9).
pub fn router(desk: Desk, settings: Settings, shutdown: Shutdown) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/schema.graphql", get(schema))
        .with_state(desk.clone())
        .merge(graphql_routes(desk, settings, shutdown))
        .merge(web::routes())
        .fallback(web::not_found)
        .layer(middleware::from_fn(origin::loopback_only))
}

/// Whether the desk can answer: the database does.
async fn ready(State(desk): State<Desk>) -> impl IntoResponse {
    match desk.app.store.ping().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}

async fn schema() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], graphql::sdl())
}

/// A server that has begun to listen.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where.
    pub address: SocketAddr,
}

/// How long sockets and requests may take to end after the signal to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Opens the desk on a database and serves it until the process is told to stop: sockets are closed with 1012, which
/// clients answer by coming back, and requests may finish.
///
/// Refused: an address beyond loopback, because no identity is configured.
pub async fn serve(store: Store, serving: &Serving, clock: Clock, opened: impl FnOnce(&Ready)) -> domain::Result<()> {
    if !serving.listen.ip().is_loopback() {
        let message = format!(
            "{} is not a loopback address: without identity the desk serves loopback only (--listen 127.0.0.1:8080)",
            serving.listen
        );
        return Err(domain::Error::invalid("listen", message));
    }
    let (app, relay) = App::open(store.clone(), serving.ring(), clock).await?;
    let source = Source { store: store.clone(), hub: app.hub.clone(), heartbeat: serving.heartbeat() };
    let desk = Desk::new(app.clone(), graphql::schema(app, source));
    let (stop, shutdown) = watch::channel(false);
    let router = router(desk, serving.settings(), shutdown);
    let listener = TcpListener::bind(serving.listen).await.map_err(|error| {
        domain::Error::invalid("listen", format!("{} cannot be listened on ({error}): choose another --listen", serving.listen))
    })?;
    let address = listener.local_addr().map_err(|error| domain::Error::fault("listening", error))?;
    opened(&Ready { address });
    // NODELAY: a frame must not wait for the peer's acknowledgement of the one before it.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let signal = {
        let stop = stop.clone();
        async move {
            stopped().await;
            stop.send_replace(true);
        }
    };
    let served = axum::serve(listener, router).with_graceful_shutdown(signal);
    let served = async { served.await.map_err(|error| domain::Error::fault("serving", error)) };
    let force = async {
        let mut told = stop.subscribe();
        if told.wait_for(|told| *told).await.is_ok() {
            drop(told);
            tokio::time::sleep(DRAIN).await;
        }
    };
    let outcome = tokio::select! {
        outcome = served => outcome,
        () = force => Ok(()),
    };
    tokio::time::timeout(DRAIN, stop.closed()).await.ok();
    relay.abort();
    store.close().await?;
    outcome
}

/// Waits for Ctrl-C or SIGTERM.
async fn stopped() {
    let interrupt = async { tokio::signal::ctrl_c().await.ok() };
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt => {}
        _ = terminate => {}
    }
    tracing::info!("told to stop: finishing requests, closing sockets");
}
