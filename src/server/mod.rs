//! The edge: HTTP, WebSocket, and the checks of a request before the schema sees it. This file lists the modules.

mod accept;
pub mod answers;
mod asked;
mod attachment;
mod callers;
pub mod connections;
pub mod crowd;
mod dialect;
pub mod endpoint;
mod export;
mod following;
mod gate;
pub mod group;
mod head_frames;
mod headers;
pub mod http;
mod inflate;
pub mod listen;
mod multipart;
mod multiplied;
pub mod operation;
pub mod origin;
mod outbox;
pub mod paced;
mod parameters;
mod reserved;
pub mod routes;
pub mod scan;
mod shared_answers;
mod sse;
pub mod streaming;
mod transport_legacy;
mod transport_ws;
pub mod turns;
mod unasked;
pub mod web;
pub mod work;
pub mod ws;
mod ws_operation;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_graphql::{Request, Response};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::stream::BoxStream;
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::answers::AnswerSettings;
use self::callers::Callers;
use self::endpoint::{Catalogue, Endpoint, Words};
use self::routes::{Settings, Shutdown, graphql_routes};
use crate::app::App;
use crate::domain::{self, Error, position::Position, signing::DeskKey, summary::Window};
use crate::graphql::budget::{self, Budget};
use crate::graphql::{self, Api, Viewer, admit_request};
use crate::storage::{Gate, MutationState};

/// The tables of the schema, which is the same for every desk. An unreadable text would be a fault of the library that
/// wrote it. Then no document is valid, and each error says so.
static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
    let read = Catalogue::read(&graphql::sdl(), graphql::scalar_objection);
    Arc::new(read.unwrap_or_else(|error| {
        tracing::error!(%error, "the exported schema cannot be read, no operation can be served");
        Catalogue::empty()
    }))
});

/// The desk, as the transports see it.
#[derive(Clone)]
pub struct Desk {
    app: App,
    schema: Api,
    answer_bytes: usize,
    callers: Callers,
    key: Option<DeskKey>,
}

impl Desk {
    /// Makes a desk of an application and its schema. It signs no exports yet.
    pub fn new(app: App, schema: Api) -> Self {
        Self { app, schema, answer_bytes: AnswerSettings::default().bytes, callers: Callers::default(), key: None }
    }

    /// Signs the desk's exports with this key; without a key the desk exports nothing.
    pub fn signing(self, key: Option<DeskKey>) -> Self {
        Self { key, ..self }
    }

    /// Limits the answers of the desk to this many bytes of JSON.
    fn weighing(self, settings: &AnswerSettings) -> Self {
        Self { answer_bytes: settings.bytes, ..self }
    }

    /// Adds the budget of its answer to a request; returns whether the answer is counted while it is made.
    fn weighed(&self, mut request: Request) -> (Request, Arc<Budget>, bool) {
        let (operation, counts) = budget::read(&mut request);
        let budget = Arc::new(Budget::new(operation, self.answer_bytes));
        (request.data(budget.clone()), budget, counts)
    }

    /// Limits the time of each statement of a request.
    fn within(mut self, statement: Duration) -> Self {
        self.app.store = self.app.store.for_requests(statement);
        self
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

    fn catalogue(&self) -> Arc<Catalogue> {
        CATALOGUE.clone()
    }

    async fn execute(&self, request: Request, mutation: Option<MutationState>) -> Response {
        let mut app = self.app.clone();
        if let Some(mutation) = mutation {
            app.store = app.store.for_mutation(mutation);
        }
        // This application replaces the schema's own, whose statements have more time.
        let (request, budget, counts) = self.weighed(request.data(app));
        budget.settle(self.schema.counting(counts).execute(admit_request(request)).await)
    }

    fn execute_stream(&self, request: Request, gate: Box<dyn Gate>) -> BoxStream<'static, Response> {
        let mut app = self.app.clone();
        app.store = app.store.behind(gate);
        let (request, budget, counts) = self.weighed(request.data(app));
        self.schema.execute_stream(request, budget, counts)
    }

    fn scope(&self, viewer: &Viewer, words: &Words) -> Option<Vec<u8>> {
        graphql::scope(viewer, words.root(), words.fields(), &|input| words.gives(input))
    }

    fn sight(&self, viewer: &Viewer, words: &Words) -> Option<Vec<u8>> {
        let mut sight = graphql::sight(viewer, &|input| words.gives(input));
        // A summary without a start begins with the day, so its answer depends on the day.
        if ["since", "created", "resolved"].into_iter().any(|field| words.selects(field)) {
            sight.extend(Window::Today.start(self.app.clock.now()).timestamp().to_be_bytes());
        }
        Some(sight)
    }

    async fn standing(&self) -> Option<(Position, u64)> {
        self.app.board_now().await
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

/// Every route of the server. While no identity is configured (docs/PRODUCT.md, P71), all routes answer only loopback
/// hosts and the hosts of allowed origins, and all routes except the pages answer only the desk's own origin and
/// allowed origins.
///
/// Requests to the desk run on the runtime that calls this function, whatever runtime holds the connections. The pages
/// and the liveness check `/healthz` run on the runtime of the connections.
pub fn router(desk: Desk, settings: Settings, shutdown: Shutdown) -> Router {
    let desk = desk.within(settings.work.statement);
    let origins = settings.origins.clone();
    let desk = desk.weighing(&settings.answers);
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

/// Answers whether the desk can work: the database answers and takes writes. A failure states its reason as product
/// text.
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
