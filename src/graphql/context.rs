//! The view through which resolvers read: one snapshot of the desk, as one viewer sees it.
//!
//! Every object of the API is read through a [`View`], so one place decides what the viewer may see. For the fields of
//! a list, a view reads the values of all objects by one statement.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use async_graphql::dataloader::Loader;
use async_graphql::{Context, Request};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

use super::call::Call;
use super::json;
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
use crate::storage::{ActivityFilter, Head, IncidentLists, PageRequest, Parts, Reader, WithLists};

/// The caller of a request, as the transport admitted it.
pub type Viewer = Arc<Actor>;

/// How many turns without a new key end the collection of a round. The fields of a list are polled a few at a time, so
/// one turn is not enough. The measure is turns, not time, because a busy machine does less in the same time.
const QUIET_TURNS: u32 = 4;

/// The limits of the API that the operator sets.
#[derive(Clone, Copy, Debug)]
pub struct ApiLimits {
    /// The most items of one page, at most [`PAGE_MAX`](super::connection::PAGE_MAX).
    pub page_items_max: i32,
    /// The limits of streams.
    pub streams: StreamLimits,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self { page_items_max: super::connection::PAGE_MAX, streams: StreamLimits::default() }
    }
}

/// One snapshot of the desk, as one viewer sees it. Clones share the snapshot and the viewer.
#[derive(Clone)]
pub(super) struct View {
    /// It is behind a pointer because each object of an answer has a view.
    app: Arc<App>,
    viewer: Viewer,
    page_items_max: i32,
    shared: Arc<ViewShared>,
}

/// Marks a request that the board (the open incidents in memory) may be able to answer, so that it takes no snapshot.
/// If the answer has errors although the board was used, the board did not know everything at one position: execute the
/// request again without this mark.
#[derive(Clone, Debug, Default)]
pub struct FromBoard(Arc<OnceLock<(Position, u64)>>);

impl FromBoard {
    /// Returns the position of the board and how often users and groups had changed, if anything was read from the
    /// board alone.
    pub fn at(&self) -> Option<(Position, u64)> {
        self.0.get().copied()
    }
}

/// The state that clones of a view share.
#[derive(Default)]
struct ViewShared {
    snapshot: OnceCell<Snapshot>,
    /// The mark of a request that the board may be able to answer.
    from_board: Option<FromBoard>,
    /// The position and the account count of the board when it was first read; `None` if it could not be read.
    board: OnceCell<Option<(Position, u64)>>,
    /// The searches of the whole request, which may have several views.
    searches: Arc<Searches>,
    /// Everything that the request asks for, if one statement has read it, by the type of its key.
    at_once: OnceLock<HashMap<TypeId, Box<dyn Any + Send + Sync>>>,
}

impl ViewShared {
    /// Returns the value of a key, if it was read at once with everything else.
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

/// A round: the keys of one kind that are being collected, then the values that were found for them.
struct Round<K, V> {
    keys: Mutex<Vec<K>>,
    found: OnceCell<Result<HashMap<K, V>, Arc<Error>>>,
}

impl<K, V> Round<K, V> {
    fn keys(&self) -> MutexGuard<'_, Vec<K>> {
        self.keys.lock()
    }

    /// Returns when no key has joined for [`QUIET_TURNS`] turns.
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
    /// Joins the round that collects keys of this kind, or begins a round.
    fn join<K, V>(&self, key: K) -> Arc<Round<K, V>>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        let mut rounds = self.rounds.lock();
        let present = rounds.get(&TypeId::of::<K>()).and_then(|round| round.clone().downcast::<Round<K, V>>().ok());
        let round = present.unwrap_or_else(|| {
            let new = Arc::new(Round { keys: Mutex::default(), found: OnceCell::new() });
            rounds.insert(TypeId::of::<K>(), new.clone());
            new
        });
        round.keys().push(key);
        round
    }

    /// Ends the collection and returns its keys. A later key begins another round.
    fn close<K: Clone + 'static, V>(&self, round: &Round<K, V>) -> Vec<K> {
        let mut rounds = self.rounds.lock();
        rounds.remove(&TypeId::of::<K>());
        round.keys().clone()
    }
}

/// The view of the queries of a request, made for the first field that needs it. It is on the heap because the request
/// of a stream never needs it.
#[derive(Default)]
struct RequestView(OnceLock<Box<View>>);

/// Prepares a request of an admitted caller.
pub fn admit_request(request: Request) -> Request {
    request.data(RequestView::default())
}

impl View {
    /// Builds a view of the present for this viewer. Its snapshot is taken at the first read.
    pub(super) fn new(app: App, viewer: Viewer, limits: ApiLimits) -> Self {
        Self { app: Arc::new(app), viewer, page_items_max: limits.page_items_max, shared: Arc::default() }
    }

    /// Returns the view that all queries of one request share, so that they read one snapshot.
    pub(super) fn of_request<'a>(ctx: &'a Context<'_>) -> Result<&'a Self> {
        let view = ctx.data::<RequestView>().map_err(missing)?;
        let (app, viewer, limits) = (app(ctx)?, viewer(ctx)?, limits(ctx)?);
        let from_board = ctx.data_opt::<FromBoard>().cloned();
        Ok(view.0.get_or_init(|| {
            let shared = Arc::new(ViewShared { from_board, ..ViewShared::default() });
            Box::new(Self { shared, ..Self::new(app.clone(), viewer.clone(), limits) })
        }))
    }

    /// Builds a new view for the payload of a mutation, which must show what the mutation did.
    pub(super) fn fresh(ctx: &Context<'_>) -> Result<Self> {
        let searches = Self::of_request(ctx)?.shared.searches.clone();
        let view = Self::new(app(ctx)?.clone(), viewer(ctx)?.clone(), limits(ctx)?);
        Ok(Self { shared: Arc::new(ViewShared { searches, ..ViewShared::default() }), ..view })
    }

    /// Returns the viewer.
    pub(super) fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// Returns the count of the searches of its request.
    pub(super) fn searches(&self) -> &Searches {
        &self.shared.searches
    }

    /// Returns the most items of one page.
    pub(super) fn page_items_max(&self) -> i32 {
        self.page_items_max
    }

    /// Returns the desk.
    pub(super) fn app(&self) -> &App {
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

    /// Returns the snapshot, which is taken at the first read.
    pub(super) async fn reader(&self) -> Result<&Reader> {
        Ok(&self.snapshot().await?.batch.reader)
    }

    /// Returns the end of the log in the snapshot. It is read once.
    pub(super) async fn head(&self) -> Result<&Head> {
        let snapshot = self.snapshot().await?;
        snapshot.head.get_or_try_init(|| snapshot.batch.reader.head()).await
    }

    /// Refuses with `CONFLICT` a position that this snapshot has not reached: of another log, of another history (the
    /// check differs), or beyond its end. It never waits.
    pub(super) async fn reached(&self, path: &str, text: &str) -> Result<Position> {
        let position = Position::parse(text).ok_or_else(|| Error::invalid(path, "this is not a position"))?;
        let head = self.head().await?;
        let here = if position.epoch == head.epoch && position.offset <= head.offset {
            self.reader().await?.position_at(head, position.offset).await?
        } else {
            None
        };
        if here.is_none_or(|here| here.check != position.check) {
            let now = serde_json::json!({ "position": head.position().to_string() });
            return Err(Error::taken(path, "the desk's log does not reach this position", now));
        }
        Ok(position)
    }

    /// Returns the source of queues: the board, if the request asks for nothing else and the board can answer; else the
    /// snapshot.
    pub(super) async fn at(&self) -> Result<At<'_>> {
        if let Some(from_board) = &self.shared.from_board
            && let Some((position, accounts)) = self.shared.board.get_or_init(|| self.app.board_now()).await
        {
            from_board.0.get_or_init(|| (*position, *accounts));
            return Ok(At::Board(*position, *accounts));
        }
        Ok(At::Snapshot(self.reader().await?, self.head().await?.position()))
    }

    /// Whether the request asks only for fields of incidents that rows show.
    pub(super) fn shows_rows_alone(&self) -> bool {
        self.shared.from_board.is_some()
    }

    /// Reads a page that the board does not hold, for a request that asks only for its rows, by one statement. `None`
    /// if the page must be read another way.
    pub(super) async fn page_alone(&self, request: &PageRequest, parts: Parts) -> Result<Option<Listing>> {
        if covers(request.filter.filter()) {
            return Ok(None);
        }
        let Some(page) = self.app.store.page_alone(request, parts).await? else { return Ok(None) };
        // The request has one root field, which reads once, so the value is never set twice.
        self.shared.at_once.set(HashMap::new()).ok();
        Ok(Some(page.into()))
    }

    /// Returns the snapshot if the board does not hold what a filter asks for. The whole request then reads the
    /// snapshot. `None` if the board holds it, or if the board was read already: then the request starts again without
    /// the board.
    pub(super) async fn beside_board(&self, filter: &IncidentFilter) -> Result<Option<&Reader>> {
        let on_board = self.shared.from_board.is_some()
            && !covers(filter)
            && self.shared.board.get_or_init(async || None).await.is_some();
        if covers(filter) || on_board {
            return Ok(None);
        }
        self.reader().await.map(Some)
    }

    /// Reads the value of a key, by one statement together with the keys that the rest of the list asks for.
    pub(super) async fn load<K>(&self, key: K) -> Result<Option<<Batch as Loader<K>>::Value>>
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
        // Single-flight: the first field reads for all. If it is cancelled, the next field reads.
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

    /// Reads by one statement the incident with this id, if the viewer may see it, and the ends of these lists. The
    /// request asks for nothing else.
    pub(super) async fn incident_at_once(&self, id: IncidentId, lists: IncidentLists) -> Result<Option<Incident>> {
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
        // The request has one root field, which reads once, so the value is never set twice.
        self.shared.at_once.set(read).ok();
        let standing = incident.deleted_at.is_none() && self.viewer.sees_incident(&incident);
        Ok(standing.then_some(incident))
    }

    /// Reads the incident with this id, if the viewer may see it.
    pub(super) async fn incident(&self, id: IncidentId) -> Result<Option<Incident>> {
        let found = self.load(id).await?;
        Ok(found.filter(|incident| self.viewer.sees_incident(incident)))
    }
}

/// Copies an error that several fields share. Its fault is logged once and shown to each field.
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

/// Returns the desk that a resolver works on.
pub(super) fn app<'a>(ctx: &'a Context<'_>) -> Result<&'a App> {
    ctx.data::<App>().map_err(missing)
}

/// Returns the caller.
pub(super) fn viewer<'a>(ctx: &'a Context<'_>) -> Result<&'a Viewer> {
    ctx.data::<Viewer>().map_err(missing)
}

/// Returns the limits that the operator sets.
pub(super) fn limits(ctx: &Context<'_>) -> Result<ApiLimits> {
    ctx.data::<ApiLimits>().copied().map_err(missing)
}

/// The longest `clientMutationId`, in characters. It is short because every change of the mutation carries it.
pub(super) const CLIENT_MUTATION_ID_CHARS_MAX: usize = 256;

/// Returns the time of the desk. A given time of a past event may lie at most 5 minutes after it.
pub(super) fn now(ctx: &Context<'_>) -> Result<Instant> {
    Ok(app(ctx)?.clock.now())
}

/// Builds a command of the caller, named after its mutation.
pub(super) fn command(ctx: &Context<'_>, call: &Call) -> Result<Command> {
    let (actor, mutation) = (viewer(ctx)?.as_ref().clone(), ctx.field().name());
    let mut command = Command::new(actor, now(ctx)?, mutation);
    // The text is not trimmed, because a client recognises its own changes by it.
    if let Some(id) = &call.client_mutation_id {
        text::at_most("clientMutationId", id, CLIENT_MUTATION_ID_CHARS_MAX)?;
    }
    command.client_mutation_id.clone_from(&call.client_mutation_id);
    if let Some(key) = &call.idempotency_key {
        command.idempotency_key = Some(IdempotencyKey::parse(key, mutation, &input_of(ctx)?)?);
    }
    Ok(command)
}

/// Returns the input of a mutation as the client wrote it, without `clientMutationId` and `idempotencyKey`.
fn input_of(ctx: &Context<'_>) -> Result<serde_json::Value> {
    let unread = |error: &dyn std::fmt::Debug| Error::fault("reading the input of a mutation", format!("{error:?}"));
    let mut input = serde_json::Map::new();
    for (name, value) in ctx.field().arguments().map_err(|error| unread(&error))? {
        input.insert(name.to_string(), json::read(value).map_err(|error| unread(&error))?);
    }
    if let Some(fields) = input.get_mut("input").and_then(serde_json::Value::as_object_mut) {
        fields.retain(|name, _| !matches!(name.as_str(), "clientMutationId" | "idempotencyKey"));
    }
    Ok(serde_json::Value::Object(input))
}
