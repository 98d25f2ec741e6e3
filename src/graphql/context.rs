//! What a resolver reads through: one snapshot of the desk, seen by one viewer, with loaders that batch.
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
use super::searches::Searches;
use crate::app::{App, Command};
use crate::domain::account::{Actor, User};
use crate::domain::alert::Alert;
use crate::domain::attachment::Attachment;
use crate::domain::bookmark::Bookmark;
use crate::domain::change::Change;
use crate::domain::comment::{Comment, Revision};
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::incident::Incident;
use crate::domain::view::Visit;
use crate::domain::{
    AlertId, AttachmentId, BookmarkId, CommentId, Error, GroupId, IncidentId, Instant, Result, UserId, ViewId, text,
};
use crate::realtime::budget::StreamLimits;
use crate::storage::{ActivityFilter, Head, IncidentEntity, Reader, SimilarIncident, Span, TextKey};

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
    app: App,
    viewer: Viewer,
    page_items_max: i32,
    shared: Arc<Shared>,
}

/// What clones of a view share.
#[derive(Default)]
struct Shared {
    snapshot: OnceCell<Snapshot>,
    /// Those of the whole request, which may have several views.
    searches: Arc<Searches>,
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
        Self { app, viewer, page_items_max: limits.page_items_max, shared: Arc::default() }
    }

    /// The view that all queries of one request share: one read, one snapshot.
    pub fn of_request<'a>(ctx: &'a Context<'_>) -> Result<&'a Self> {
        let view = ctx.data::<RequestView>().map_err(missing)?;
        let (app, viewer, limits) = (app(ctx)?, viewer(ctx)?, limits(ctx)?);
        Ok(view.0.get_or_init(|| Box::new(Self::new(app.clone(), viewer.clone(), limits))))
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

    /// What belongs to a key, read together with what the rest of the list asks for.
    pub async fn load<K>(&self, key: K) -> Result<Option<<Batch as Loader<K>>::Value>>
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        Batch: Loader<K, Error = Arc<Error>>,
    {
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

    /// The incident of this id, if the viewer may see it.
    pub async fn incident(&self, id: IncidentId) -> Result<Option<Incident>> {
        let found = self.load(id).await?;
        Ok(found.filter(|incident| self.viewer.sees(&incident.queue_row())))
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

/// Reads what several objects of one list ask for, together.
pub struct Batch {
    pub(super) reader: Reader,
}

/// The start of a long text, one character more than a title shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StartOf(pub TextKey);

/// The alerts at one end of an incident's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlertsAtEnd(pub IncidentId, pub Span<()>);

/// How many alerts an incident holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlertCount(pub IncidentId);

/// The raw payload of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawOf(pub AlertId);

/// The comments at one end of an incident's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommentsAtEnd(pub IncidentId, pub Span<()>);

/// The attachments of an incident whose bytes are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttachmentsOf(pub IncidentId);

/// Every text of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistoryOf(pub CommentId);

/// The bookmarks at one end of an incident's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BookmarksAtEnd(pub IncidentId, pub Span<()>);

/// How many bookmarks stand on an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BookmarkCount(pub IncidentId);

/// The result rows of a bookmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowsOf(pub BookmarkId);

/// A user's last visit of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VisitOf(pub UserId, pub ViewId);

/// The changes at one end of an incident's log, through a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangesAtEnd(pub IncidentId, pub (ActivityFilter, Span<()>));

/// How many changes of an incident a filter meets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeCount(pub IncidentId, pub ActivityFilter);

/// So many entities of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entities(pub IncidentId, pub u64);

/// So many incidents like another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Similar(pub IncidentId, pub u64);

/// The keys of one batch by what they ask for: lists of one field ask for the same, so this is one group.
pub(super) fn grouped<K, A: Clone + Eq + Hash>(keys: impl Iterator<Item = (K, A)>) -> HashMap<A, Vec<K>> {
    let mut groups: HashMap<A, Vec<K>> = HashMap::new();
    for (key, asked) in keys {
        groups.entry(asked).or_default().push(key);
    }
    groups
}

impl Loader<IncidentId> for Batch {
    type Value = Incident;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[IncidentId]) -> Result<HashMap<IncidentId, Incident>, Arc<Error>> {
        let found = self.reader.incidents_to_show(keys).await.map_err(Arc::new)?;
        let standing = found.into_iter().filter(|incident| incident.deleted_at.is_none());
        Ok(standing.map(|incident| (incident.id, incident)).collect())
    }
}

impl Loader<GroupId> for Batch {
    type Value = Vec<User>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[GroupId]) -> Result<HashMap<GroupId, Vec<User>>, Arc<Error>> {
        self.reader.members(keys).await.map_err(Arc::new)
    }
}

impl Loader<TextKey> for Batch {
    type Value = String;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[TextKey]) -> Result<HashMap<TextKey, String>, Arc<Error>> {
        self.reader.long_texts(keys).await.map_err(Arc::new)
    }
}

impl Loader<StartOf> for Batch {
    type Value = String;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[StartOf]) -> Result<HashMap<StartOf, String>, Arc<Error>> {
        let keys: Vec<TextKey> = keys.iter().map(|key| key.0).collect();
        let starts = self.reader.long_text_starts(&keys).await.map_err(Arc::new)?;
        Ok(starts.into_iter().map(|(key, start)| (StartOf(key), start)).collect())
    }
}

impl Loader<AlertsAtEnd> for Batch {
    type Value = Vec<Alert>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AlertsAtEnd]) -> Result<HashMap<AlertsAtEnd, Vec<Alert>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (span, incidents) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let alerts = self.reader.alerts_at_end(&incidents, span).await.map_err(Arc::new)?;
            found.extend(alerts.into_iter().map(|(incident, alerts)| (AlertsAtEnd(incident, span), alerts)));
        }
        Ok(found)
    }
}

impl Loader<AlertCount> for Batch {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AlertCount]) -> Result<HashMap<AlertCount, u64>, Arc<Error>> {
        let incidents: Vec<IncidentId> = keys.iter().map(|key| key.0).collect();
        let counts = self.reader.alert_counts(&incidents).await.map_err(Arc::new)?;
        Ok(counts.into_iter().map(|(incident, count)| (AlertCount(incident), count)).collect())
    }
}

impl Loader<RawOf> for Batch {
    type Value = String;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RawOf]) -> Result<HashMap<RawOf, String>, Arc<Error>> {
        let alerts: Vec<AlertId> = keys.iter().map(|key| key.0).collect();
        let raws = self.reader.alerts_raw(&alerts).await.map_err(Arc::new)?;
        Ok(raws.into_iter().map(|(alert, raw)| (RawOf(alert), raw)).collect())
    }
}

impl Loader<CommentId> for Batch {
    type Value = Comment;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[CommentId]) -> Result<HashMap<CommentId, Comment>, Arc<Error>> {
        let comments = self.reader.comments(keys).await.map_err(Arc::new)?;
        Ok(comments.into_iter().map(|comment| (comment.id, comment)).collect())
    }
}

impl Loader<AttachmentId> for Batch {
    type Value = Attachment;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AttachmentId]) -> Result<HashMap<AttachmentId, Attachment>, Arc<Error>> {
        let attachments = self.reader.attachments(keys).await.map_err(Arc::new)?;
        Ok(attachments.into_iter().map(|attachment| (attachment.id, attachment)).collect())
    }
}

impl Loader<AttachmentsOf> for Batch {
    type Value = Vec<Attachment>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AttachmentsOf]) -> Result<HashMap<AttachmentsOf, Vec<Attachment>>, Arc<Error>> {
        let incidents: Vec<IncidentId> = keys.iter().map(|key| key.0).collect();
        let attachments = self.reader.attachments_of(&incidents).await.map_err(Arc::new)?;
        Ok(attachments.into_iter().map(|(incident, attachments)| (AttachmentsOf(incident), attachments)).collect())
    }
}

impl Loader<CommentsAtEnd> for Batch {
    type Value = Vec<Comment>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[CommentsAtEnd]) -> Result<HashMap<CommentsAtEnd, Vec<Comment>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (span, incidents) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let comments = self.reader.comments_at_end(&incidents, span).await.map_err(Arc::new)?;
            found.extend(comments.into_iter().map(|(incident, comments)| (CommentsAtEnd(incident, span), comments)));
        }
        Ok(found)
    }
}

impl Loader<HistoryOf> for Batch {
    type Value = Vec<Revision>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[HistoryOf]) -> Result<HashMap<HistoryOf, Vec<Revision>>, Arc<Error>> {
        let comments: Vec<CommentId> = keys.iter().map(|key| key.0).collect();
        let histories = self.reader.comment_histories(&comments).await.map_err(Arc::new)?;
        Ok(histories.into_iter().map(|(comment, history)| (HistoryOf(comment), history)).collect())
    }
}

impl Loader<BookmarkId> for Batch {
    type Value = Bookmark;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[BookmarkId]) -> Result<HashMap<BookmarkId, Bookmark>, Arc<Error>> {
        let bookmarks = self.reader.bookmarks(keys).await.map_err(Arc::new)?;
        Ok(bookmarks.into_iter().map(|bookmark| (bookmark.id, bookmark)).collect())
    }
}

impl Loader<BookmarksAtEnd> for Batch {
    type Value = Vec<Bookmark>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[BookmarksAtEnd]) -> Result<HashMap<BookmarksAtEnd, Vec<Bookmark>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (span, incidents) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let bookmarks = self.reader.bookmarks_at_end(&incidents, span).await.map_err(Arc::new)?;
            found.extend(bookmarks.into_iter().map(|(incident, all)| (BookmarksAtEnd(incident, span), all)));
        }
        Ok(found)
    }
}

impl Loader<BookmarkCount> for Batch {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[BookmarkCount]) -> Result<HashMap<BookmarkCount, u64>, Arc<Error>> {
        let incidents: Vec<IncidentId> = keys.iter().map(|key| key.0).collect();
        let counts = self.reader.bookmark_counts(&incidents).await.map_err(Arc::new)?;
        Ok(counts.into_iter().map(|(incident, count)| (BookmarkCount(incident), count)).collect())
    }
}

impl Loader<RowsOf> for Batch {
    type Value = String;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RowsOf]) -> Result<HashMap<RowsOf, String>, Arc<Error>> {
        let bookmarks: Vec<BookmarkId> = keys.iter().map(|key| key.0).collect();
        let rows = self.reader.bookmark_rows(&bookmarks).await.map_err(Arc::new)?;
        Ok(rows.into_iter().map(|(bookmark, rows)| (RowsOf(bookmark), rows)).collect())
    }
}

impl Loader<UserId> for Batch {
    type Value = User;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[UserId]) -> Result<HashMap<UserId, User>, Arc<Error>> {
        let users = self.reader.users(keys).await.map_err(Arc::new)?;
        Ok(users.into_iter().map(|user| (user.id, user)).collect())
    }
}

impl Loader<VisitOf> for Batch {
    type Value = Visit;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[VisitOf]) -> Result<HashMap<VisitOf, Visit>, Arc<Error>> {
        let mut views: HashMap<UserId, Vec<ViewId>> = HashMap::new();
        for VisitOf(user, view) in keys {
            views.entry(*user).or_default().push(*view);
        }
        let mut found = HashMap::new();
        for (user, views) in views {
            let visits = self.reader.visits(user, &views).await.map_err(Arc::new)?;
            found.extend(visits.into_iter().map(|(view, visit)| (VisitOf(user, view), visit)));
        }
        Ok(found)
    }
}

impl Loader<ChangesAtEnd> for Batch {
    type Value = Vec<Change>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ChangesAtEnd]) -> Result<HashMap<ChangesAtEnd, Vec<Change>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (asked, incidents) in grouped(keys.iter().map(|key| (key.0, key.1.clone()))) {
            let changes = self.reader.changes_at_end(&incidents, &asked.0, asked.1).await.map_err(Arc::new)?;
            let keyed = changes.into_iter().map(|(incident, changes)| (ChangesAtEnd(incident, asked.clone()), changes));
            found.extend(keyed);
        }
        Ok(found)
    }
}

impl Loader<ChangeCount> for Batch {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ChangeCount]) -> Result<HashMap<ChangeCount, u64>, Arc<Error>> {
        let mut found = HashMap::new();
        for (filter, incidents) in grouped(keys.iter().map(|key| (key.0, key.1.clone()))) {
            let counts = self.reader.activity_counts(&incidents, &filter).await.map_err(Arc::new)?;
            found.extend(counts.into_iter().map(|(incident, count)| (ChangeCount(incident, filter.clone()), count)));
        }
        Ok(found)
    }
}

impl Loader<Entities> for Batch {
    type Value = Vec<IncidentEntity>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[Entities]) -> Result<HashMap<Entities, Vec<IncidentEntity>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (limit, incidents) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let entities = self.reader.incident_entities(&incidents, limit).await.map_err(Arc::new)?;
            found.extend(entities.into_iter().map(|(incident, entities)| (Entities(incident, limit), entities)));
        }
        Ok(found)
    }
}

impl Loader<Similar> for Batch {
    type Value = Vec<SimilarIncident>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[Similar]) -> Result<HashMap<Similar, Vec<SimilarIncident>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (limit, incidents) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let similar = self.reader.similar_incidents(&incidents, limit).await.map_err(Arc::new)?;
            found.extend(similar.into_iter().map(|(incident, similar)| (Similar(incident, limit), similar)));
        }
        Ok(found)
    }
}
