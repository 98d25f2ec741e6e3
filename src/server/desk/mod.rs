//! The desk, as the transports see it, and its routes besides `/graphql`.

mod attachment;
mod export;
mod recent_callers;
pub(super) mod routes;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_graphql::{Request, Response};
use tokio::sync::watch;

use self::recent_callers::RecentCallers;
use crate::app::App;
use crate::domain::{self, position::Position, signing::DeskKey, summary::Window};
use crate::graphql::budget::{self, Budget};
use crate::graphql::{self, Api, ResponseStream, Viewer, admit_request};
use crate::server::execution::answer_memory::AnswerSettings;
use crate::server::operation::{catalogue::Catalogue, endpoint::Endpoint, words::Words};
use crate::storage::{Gate, MutationState};

/// The tables of the schema, which is the same for every desk. An unreadable text would be a fault of the library that
/// wrote it. Then no document is valid, and each error says so.
pub(super) static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
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
    callers: RecentCallers,
    key: Option<DeskKey>,
}

impl Desk {
    /// Makes a desk of an application and its schema. It signs no exports yet.
    pub fn new(app: App, schema: Api) -> Self {
        Self {
            app,
            schema,
            answer_bytes: AnswerSettings::default().bytes,
            callers: RecentCallers::default(),
            key: None,
        }
    }

    /// Signs the desk's exports with this key; without a key the desk exports nothing.
    pub fn signing(self, key: Option<DeskKey>) -> Self {
        Self { key, ..self }
    }

    /// Limits the answers of the desk to this many bytes of JSON.
    pub(super) fn weighing(self, settings: &AnswerSettings) -> Self {
        Self { answer_bytes: settings.bytes, ..self }
    }

    /// Adds the budget of its answer to a request; returns whether the answer is counted while it is made.
    fn weighed(&self, mut request: Request) -> (Request, Arc<Budget>, bool) {
        let (operation, counts) = budget::read(&mut request);
        let budget = Arc::new(Budget::new(operation, self.answer_bytes));
        (request.data(budget.clone()), budget, counts)
    }

    /// Limits the time of each statement of a request.
    pub(super) fn within(mut self, statement: Duration) -> Self {
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

    fn execute_stream(&self, request: Request, gate: Box<dyn Gate>) -> ResponseStream {
        let mut app = self.app.clone();
        app.store = app.store.behind(gate);
        let (request, budget, counts) = self.weighed(request.data(app));
        self.schema.execute_stream(request, budget, counts)
    }

    fn scope(&self, viewer: &Viewer, words: &Words, after: Option<Position>) -> Option<Vec<u8>> {
        graphql::scope(viewer, words.root(), words.fields(), &|input| words.gives(input), after)
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
