//! The edge: HTTP, WebSocket, and what a request must be before the schema sees it. This file is the table of contents.

mod accept;
mod asked;
mod attachment;
mod callers;
pub mod connections;
pub mod crowd;
mod dialect;
pub mod endpoint;
mod export;
mod following;
pub mod group;
pub mod guard;
mod headers;
pub mod http;
mod inflate;
pub mod listen;
mod multipart;
mod multiplied;
mod operation;
pub mod origin;
mod outbox;
pub mod paced;
mod parameters;
mod reserved;
pub mod routes;
pub mod scan;
mod sse;
pub mod streaming;
mod transport_legacy;
mod transport_ws;
pub mod turns;
pub mod web;
pub mod work;
pub mod ws;
mod ws_operation;

use async_graphql::{Request, Response};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::stream::{BoxStream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::callers::Callers;
use self::endpoint::{Endpoint, Words};
use self::routes::{Settings, Shutdown, graphql_routes};
use crate::app::App;
use crate::domain::{self, Error, position::Position, signing::DeskKey};
use crate::graphql::{self, Schema, Viewer, admit_request, nulls};
use crate::storage::MutationState;

/// The desk, as the transports see it.
#[derive(Clone)]
pub struct Desk {
    app: App,
    schema: Schema,
    callers: Callers,
    key: Option<DeskKey>,
}

impl Desk {
    /// A desk and its schema.
    pub fn new(app: App, schema: Schema) -> Self {
        Self { app, schema, callers: Callers::default(), key: None }
    }

    /// The same desk, signing what it exports with this key; without one it exports nothing.
    pub fn signing(self, key: Option<DeskKey>) -> Self {
        Self { key, ..self }
    }
}

impl Endpoint for Desk {
    type Viewer = Viewer;

    async fn admit(&self, account: Option<String>) -> domain::Result<Viewer> {
        self.callers.named(&self.app, account).await
    }

    fn principal(&self, viewer: &Viewer) -> Vec<u8> {
        viewer.user.id.0.as_bytes().to_vec()
    }

    async fn execute(&self, request: Request, mutation: Option<MutationState>) -> Response {
        let request = match mutation {
            // In the place of the schema's own.
            Some(mutation) => request.data(App { store: self.app.store.for_mutation(mutation), ..self.app.clone() }),
            None => request,
        };
        let (query, operation_name) = (request.query.clone(), request.operation_name.clone());
        let response = self.schema.execute(admit_request(request)).await;
        nulls::settle(response, &query, operation_name.as_deref())
    }

    fn execute_stream(&self, request: Request) -> BoxStream<'static, Response> {
        let (query, operation_name) = (request.query.clone(), request.operation_name.clone());
        let responses = self.schema.execute_stream(admit_request(request));
        Box::pin(responses.map(move |response| nulls::settle(response, &query, operation_name.as_deref())))
    }

    fn scope(&self, viewer: &Viewer, words: &Words) -> Option<Vec<u8>> {
        graphql::scope(viewer, words.root(), &|field| words.selects(field), &|input| words.gives(input))
    }

    fn changes_of_callers(&self) -> Option<watch::Receiver<u64>> {
        Some(self.app.hub.watch_accounts())
    }

    fn resumes(&self, root: &str) -> bool {
        graphql::resumes(root)
    }

    fn vouches(&self, position: &Position) -> bool {
        let (hub, floor) = (&self.app.hub, self.app.hub.known().floor);
        let here = hub.place(position.offset);
        here.is_some_and(|here| (here.epoch, here.check) == (position.epoch, position.check))
            && (position.queue.is_none() || position.offset >= floor)
    }

    fn present(&self) -> u64 {
        self.app.hub.present()
    }
}

/// Every route of the server. While no identity is configured all of them answer loopback only (product §9), and all but the
/// pages answer the desk's own origin and allowed ones only.
///
/// What asks the desk is answered on the runtime that this is called on, whatever the one that connections live on; whether
/// the process lives, and the pages, are answered there.
pub fn router(desk: Desk, settings: Settings, shutdown: Shutdown) -> Router {
    let origins = settings.origins.clone();
    let api = Router::new()
        .route("/readyz", get(ready))
        .route("/schema.graphql", get(schema))
        .route("/incidents/{incident}/log.ndjson", get(export::log))
        .route("/.well-known/watchfloor-signing-key.pem", get(export::key))
        .with_state(desk.clone())
        .merge(attachment::routes(desk.clone()))
        .layer(from_fn_with_state(Handle::current(), work::on))
        .merge(graphql_routes(desk, settings, shutdown))
        .route("/healthz", get(|| async { "ok\n" }));
    let routes = origin::own_origin_only(api, &origins).merge(web::routes()).fallback(web::not_found);
    headers::on_every_answer(origin::own_host_only(routes, &origins))
}

/// Whether the desk can do its work: the database answers, and takes writes. The reason why not is product text.
async fn ready(State(desk): State<Desk>) -> impl IntoResponse {
    match desk.app.store.ready().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            let reason = match error {
                Error::Refused(refusal) => refusal.message,
                Error::Fault { .. } | Error::Busy => "the database does not answer".to_owned(),
            };
            (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"))
        }
    }
}

async fn schema() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], graphql::sdl())
}
