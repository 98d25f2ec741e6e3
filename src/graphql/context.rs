//! What a resolver reads through: one snapshot of the desk, seen by one viewer, and read for all fields of a list at once.
//!
//! Every object of the API is read through a [`View`], so there is one place that asks what the viewer may see.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_graphql::dataloader::Loader;
use async_graphql::{Context, Request};
use tokio::sync::OnceCell;

use super::call::Call;
use super::loaders::{AlertsAtEnd, Batch, ChangesAtEnd, CommentsAtEnd};
use super::searches::Searches;
use crate::app::queue::{At, Listing, covers};
use crate::app::{App, Command};
use crate::domain::account::Actor;
use crate::domain::filter::IncidentFilter;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::incident::Incident;
use crate::domain::position::Position;
use crate::domain::{Error, IncidentId, Instant, Result, text};
use crate::realtime::budget::StreamLimits;
use crate::storage::{ActivityFilter, Head, Lists, PageRequest, Parts, Reader, WithLists};

/// Who calls, as the transport let it in.
pub type Viewer = Arc<Actor>;

/// How often a round looks whether the rest of the list asks too. The fields of a list are polled in turns of a few, so
/// one look is not enough; time is no measure, as it runs faster on a busy machine.
const QUIET_TURNS: u32 = 4;

/// What the operator bounds of the API itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most items of one page, at most [`PAGE_MAX`](super::connection::PAGE_MAX).
    pub page_items_max: i32,
    /// What streams may take.
    pub streams: StreamLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { page_items_max: super::connection::PAGE_MAX, streams: StreamLimits::default() }
    }
}

/// One snapshot of the desk, seen by one viewer. Clones share both.
#[derive(Clone)]
pub struct View {
    /// Behind a pointer: each object of an answer has a view.
    app: Arc<App>,
    viewer: Viewer,
    page_items_max: i32,
    shared: Arc<Shared>,
}

/// Given with a request that asks only for what the board may know, so that it need not take a snapshot. If the answer has
/// errors although the board was used, the board did not know all of it at one position: the request is to be executed again
/// without this.
#[derive(Clone, Debug, Default)]
pub struct FromBoard(Arc<OnceLock<(Position, u64)>>);

impl FromBoard {
    /// Where the board stood, and how often users and groups had been changed, if anything was read from the board alone.
    pub fn at(&self) -> Option<(Position, u64)> {
        self.0.get().copied()
    }
}

/// What clones of a view share.
#[derive(Default)]
struct Shared {
    snapshot: OnceCell<Snapshot>,
    /// Where the request asks only for what the board may know.
    from_board: Option<FromBoard>,
    /// Where the board stood when it was first read, and whose names it had; none where it could not be read.
    board: OnceCell<Option<(Position, u64)>>,
    /// Those of the whole request, which may have several views.
    searches: Arc<Searches>,
    /// What one statement has read of all that the request asks for, by the type of its key.
    at_once: OnceLock<HashMap<TypeId, Box<dyn Any + Send + Sync>>>,
}

impl Shared {
    /// What belongs to a key, if it was read at once with everything else.
    fn read_at_once<K: Eq + 'static, V: Clone + 'static>(&self, key: &K) -> Option<V> {
        let (of, value) = self.at_once.get()?.get(&TypeId::of::<K>())?.downcast_ref::<(K, V)>()?;
        (of == key).then(|| value.clone())
    }
}

struct Snapshot {
    batch: Batch,
    rounds: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    head: OnceCell<Head>,
}

/// The keys of one kind that are being collected, then what was found for them.
struct Round<K, V> {
    keys: Mutex<Vec<K>>,
    found: OnceCell<Result<HashMap<K, V>, Arc<Error>>>,
}

impl<K, V> Round<K, V> {
    fn keys(&self) -> MutexGuard<'_, Vec<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once nobody has joined for some turns.
    async fn settle(&self) {
        let (mut joined, mut quiet) = (0, 0);
        while quiet < QUIET_TURNS {
            tokio::task::yield_now().await;
            let now = self.keys().len();
            quiet = if now == joined { quiet + 1 } else { 0 };
            joined = now;
        }
    }
}

impl Snapshot {
    /// Joins the round that collects keys of this kind, or begins one.
    fn join<K, V>(&self, key: K) -> Arc<Round<K, V>>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let present = rounds.get(&TypeId::of::<K>()).and_then(|round| round.clone().downcast::<Round<K, V>>().ok());
        let round = present.unwrap_or_else(|| {
            let new = Arc::new(Round { keys: Mutex::default(), found: OnceCell::new() });
            rounds.insert(TypeId::of::<K>(), new.clone());
            new
        });
        round.keys().push(key);
        round
    }

    /// Ends the collection: who comes later begins another round.
    fn close<K: Clone + 'static, V>(&self, round: &Round<K, V>) -> Vec<K> {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.remove(&TypeId::of::<K>());
        round.keys().clone()
    }
}

/// The view of a request's queries: made for the first field that needs it. On the heap, as a stream never needs a view.
#[derive(Default)]
struct RequestView(OnceLock<Box<View>>);

/// Prepares a request of a caller that was let in.
pub fn admit_request(request: Request) -> Request {
    request.data(RequestView::default())
}

impl View {
    /// A view of the present for this viewer; its snapshot is taken when it is first read.
    pub fn new(app: App, viewer: Viewer, limits: Limits) -> Self {
        Self { app: Arc::new(app), viewer, page_items_max: limits.page_items_max, shared: Arc::default() }
    }

    /// The view that all queries of one request share: one read, one snapshot.
    pub fn of_request<'a>(ctx: &'a Context<'_>) -> Result<&'a Self> {
        let view = ctx.data::<RequestView>().map_err(missing)?;
        let (app, viewer, limits) = (app(ctx)?, viewer(ctx)?, limits(ctx)?);
        let from_board = ctx.data_opt::<FromBoard>().cloned();
        Ok(view.0.get_or_init(|| {
            let shared = Arc::new(Shared { from_board, ..Shared::default() });
            Box::new(Self { shared, ..Self::new(app.clone(), viewer.clone(), limits) })
        }))
    }

    /// A view of its own: for the answer of a mutation, which must show what it just did.
    pub fn fresh(ctx: &Context<'_>) -> Result<Self> {
        let searches = Self::of_request(ctx)?.shared.searches.clone();
        let view = Self::new(app(ctx)?.clone(), viewer(ctx)?.clone(), limits(ctx)?);
        Ok(Self { shared: Arc::new(Shared { searches, ..Shared::default() }), ..view })
    }

    /// Who looks.
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// What its request has searched for.
    pub fn searches(&self) -> &Searches {
        &self.shared.searches
    }

    /// Most items of one page.
    pub fn page_items_max(&self) -> i32 {
        self.page_items_max
    }

    /// The desk.
    pub fn app(&self) -> &App {
        &self.app
    }

    async fn snapshot(&self) -> Result<&Snapshot> {
        if self.shared.at_once.get().is_some() {
            return Err(Error::fault("reading at once", "a field asks for more than the one statement has read"));
        }
        self.shared
            .snapshot
            .get_or_try_init(async || {
                let reader = self.app.store.read().await?;
                Ok(Snapshot { batch: Batch { reader }, rounds: Mutex::default(), head: OnceCell::new() })
            })
            .await
    }

    /// The snapshot.
    pub async fn reader(&self) -> Result<&Reader> {
        Ok(&self.snapshot().await?.batch.reader)
    }

    /// The end of the log in the snapshot, read once.
    pub async fn head(&self) -> Result<&Head> {
        let snapshot = self.snapshot().await?;
        snapshot.head.get_or_try_init(|| snapshot.batch.reader.head()).await
    }

    /// What queues are read from: the board, where the request asks for nothing else and the board can answer; else the snapshot.
    pub async fn at(&self) -> Result<At<'_>> {
        if let Some(from_board) = &self.shared.from_board
            && let Some((position, accounts)) = self.shared.board.get_or_init(|| self.app.board_now()).await
        {
            from_board.0.get_or_init(|| (*position, *accounts));
            return Ok(At::Board(*position, *accounts));
        }
        Ok(At::Snapshot(self.reader().await?, self.head().await?.position()))
    }

    /// Whether the request asks for nothing of incidents that their rows do not show.
    pub fn shows_rows_alone(&self) -> bool {
        self.shared.from_board.is_some()
    }

    /// A page that the board does not hold, of a request that asks for its rows and for nothing else: one statement. None where the
    /// page has to be read another way.
    pub async fn page_alone(&self, request: &PageRequest, parts: Parts) -> Result<Option<Listing>> {
        if covers(request.filter.filter()) {
            return Ok(None);
        }
        let Some(page) = self.app.store.page_alone(request, parts).await? else { return Ok(None) };
        // The request has one root field, which reads once.
        self.shared.at_once.set(HashMap::new()).ok();
        Ok(Some(page.into()))
    }

    /// The snapshot, where the board does not hold what a filter asks for. Then the whole request is read from the snapshot: on the
    /// board it would have to begin anew, as it does where the board was read already.
    pub async fn beside_board(&self, filter: &IncidentFilter) -> Result<Option<&Reader>> {
        let on_board = self.shared.from_board.is_some()
            && !covers(filter)
            && self.shared.board.get_or_init(async || None).await.is_some();
        if covers(filter) || on_board {
            return Ok(None);
        }
        self.reader().await.map(Some)
    }

    /// What belongs to a key, read together with what the rest of the list asks for.
    pub async fn load<K>(&self, key: K) -> Result<Option<<Batch as Loader<K>>::Value>>
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        Batch: Loader<K, Error = Arc<Error>>,
    {
        if let Some(value) = self.shared.read_at_once(&key) {
            return Ok(Some(value));
        }
        let snapshot = self.snapshot().await?;
        let round = snapshot.join(key.clone());
        round.settle().await;
        // Whoever comes first reads for all; should its field be given up meanwhile, the next one does.
        let read = async || {
            let mut keys = snapshot.close(&round);
            let mut seen = HashSet::new();
            keys.retain(|key| seen.insert(key.clone()));
            snapshot.batch.load(&keys).await
        };
        match round.found.get_or_init(read).await {
            Ok(found) => Ok(found.get(&key).cloned()),
            Err(error) => Err(shared(error.clone())),
        }
    }

    /// The incident of this id, if the viewer may see it, of a request that asks for it and the ends of these lists and for nothing
    /// else: one statement.
    pub async fn incident_at_once(&self, id: IncidentId, lists: Lists) -> Result<Option<Incident>> {
        let Some(found) = self.app.store.incident_with_lists(id, lists).await? else { return self.incident(id).await };
        let Some(WithLists { incident, activity, alerts, comments }) = found else { return Ok(None) };
        let mut read: HashMap<TypeId, Box<dyn Any + Send + Sync>> = HashMap::new();
        if let Some(span) = lists.activity {
            let key = ChangesAtEnd(id, (ActivityFilter::default(), span));
            read.insert(TypeId::of::<ChangesAtEnd>(), Box::new((key, activity)));
        }
        if let Some(span) = lists.alerts {
            read.insert(TypeId::of::<AlertsAtEnd>(), Box::new((AlertsAtEnd(id, span), alerts)));
        }
        if let Some(span) = lists.comments {
            read.insert(TypeId::of::<CommentsAtEnd>(), Box::new((CommentsAtEnd(id, span), comments)));
        }
        // The request has one root field, which reads once.
        self.shared.at_once.set(read).ok();
        let standing = incident.deleted_at.is_none() && self.viewer.sees_incident(&incident);
        Ok(standing.then_some(incident))
    }

    /// The incident of this id, if the viewer may see it.
    pub async fn incident(&self, id: IncidentId) -> Result<Option<Incident>> {
        let found = self.load(id).await?;
        Ok(found.filter(|incident| self.viewer.sees_incident(incident)))
    }
}

/// A fault that several fields share is logged once and shown to each.
fn shared(error: Arc<Error>) -> Error {
    match Arc::try_unwrap(error) {
        Ok(error) => error,
        Err(shared) => match &*shared {
            Error::Refused(refusal) => Error::Refused(refusal.clone()),
            Error::Busy => Error::Busy,
            Error::Fault { context, source } => Error::fault(context, source.to_string()),
        },
    }
}

fn missing(error: async_graphql::Error) -> Error {
    Error::fault("finding the caller of a request", error.message)
}

/// The desk that a resolver works on.
pub fn app<'a>(ctx: &'a Context<'_>) -> Result<&'a App> {
    ctx.data::<App>().map_err(missing)
}

/// Who calls.
pub fn viewer<'a>(ctx: &'a Context<'_>) -> Result<&'a Viewer> {
    ctx.data::<Viewer>().map_err(missing)
}

/// What the operator bounds.
pub fn limits(ctx: &Context<'_>) -> Result<Limits> {
    ctx.data::<Limits>().copied().map_err(missing)
}

/// The longest `clientMutationId`, in characters: every change that the mutation makes carries it.
pub const CLIENT_MUTATION_ID_CHARS_MAX: usize = 256;

/// The desk's time: no time of something that has happened lies more than a little after it.
pub fn now(ctx: &Context<'_>) -> Result<Instant> {
    Ok(app(ctx)?.clock.now())
}

/// A command by the caller, named after its mutation.
pub fn command(ctx: &Context<'_>, call: &Call) -> Result<Command> {
    let (actor, mutation) = (viewer(ctx)?.as_ref().clone(), ctx.field().name());
    let mut command = Command::new(actor, now(ctx)?, mutation);
    // Kept to the letter: a client tells its own changes by it.
    if let Some(id) = &call.client_mutation_id {
        text::at_most("clientMutationId", id, CLIENT_MUTATION_ID_CHARS_MAX)?;
    }
    command.client_mutation_id.clone_from(&call.client_mutation_id);
    if let Some(key) = &call.idempotency_key {
        command.idempotency_key = Some(IdempotencyKey::parse(key, mutation, &input_of(ctx)?)?);
    }
    Ok(command)
}

/// The input of a mutation as its client wrote it, without what names the call.
fn input_of(ctx: &Context<'_>) -> Result<serde_json::Value> {
    let unread = |error: &dyn std::fmt::Debug| Error::fault("reading the input of a mutation", format!("{error:?}"));
    let mut input = serde_json::Map::new();
    for (name, value) in ctx.field().arguments().map_err(|error| unread(&error))? {
        input.insert(name.to_string(), value.into_json().map_err(|error| unread(&error))?);
    }
    if let Some(fields) = input.get_mut("input").and_then(serde_json::Value::as_object_mut) {
        fields.retain(|name, _| !matches!(name.as_str(), "clientMutationId" | "idempotencyKey"));
    }
    Ok(serde_json::Value::Object(input))
}
