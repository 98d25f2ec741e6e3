//! A stream of changes from a position on: the backlog first, then live changes, through a filter. It never skips a
//! change, and each way in which it can end has a name.
//!
//! The cursor is in `tail.rs`; this file decides the meaning of each change for the stream.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use backon::BackoffBuilder;
use futures_util::Stream;
use tokio::time::sleep;
use tracing::warn;

use super::Hub;
use super::index::{IndexKey, Interest};
use super::tail::{Begin, Tail, TailStep};
use super::track::{FrameKind, FramePlace, Track};
use crate::domain::account::{Actor, Role};
use crate::domain::alert_log::Logged;
use crate::domain::change::Change;
use crate::domain::entity::EntityKey;
use crate::domain::filter::{QueueFilter, Subject};
use crate::domain::held_filter::HeldFilter;
use crate::domain::incident::TextField;
use crate::domain::position::{Position, QueueClaim, Resync};
use crate::domain::queue::{IncidentText, QueueRow};
use crate::domain::{Error, IncidentId, Result, text, title};
use crate::storage::{ActivityFilter, EntitySpan, Store, TextKey, UNANSWERED};

/// The number of changes without a match after which a heartbeat carries the position on. So the client's position
/// never falls behind the floor while the client catches up (docs/PRODUCT.md, P59).
pub const QUIET_CHANGES_MAX: u64 = 1_000;

/// The sources and the rhythm of a feed.
#[derive(Clone, Debug)]
pub struct FeedSource {
    /// The database, for the changes that have left the ring.
    pub store: Store,
    /// The hub, for the newest changes.
    pub hub: Arc<Hub>,
    /// The time between two heartbeats of a quiet stream.
    pub heartbeat: Duration,
}

/// Why an incident left a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Left {
    /// The incident no longer matches the filter.
    Filter,
    /// The incident was deleted.
    Deleted,
    /// The incident was merged into this target.
    Merged(IncidentId),
    /// The viewer may no longer see the incident.
    NoAccess,
}

/// A row as a stream delivers it, with the shown part of its title.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveRow {
    /// The row as of its change.
    pub row: QueueRow,
    /// The part of the title that is shown.
    pub title: title::ShownTitle,
}

/// One event of a stream: an item or a marker.
#[derive(Clone, Debug)]
pub enum Event<T> {
    /// An item: a change that the stream is about.
    Item(T),
    /// A marker: every item up to this position was sent.
    Heartbeat,
    /// A marker: the backlog was sent, and later items are live.
    Live,
    /// The last event: the stream cannot continue from the given position.
    Resync(Resync),
}

/// An event and its position in the log.
#[derive(Clone, Debug)]
pub struct EventAt<T> {
    /// The position of the event.
    pub position: Position,
    /// The event itself.
    pub event: Event<T>,
}

/// A change, and its meaning for a queue.
#[derive(Clone, Debug)]
pub struct QueueEvent {
    /// The change of the incident.
    pub change: Arc<Change>,
    /// The movement that the change causes.
    pub movement: Movement,
}

/// How an incident moved in a queue.
#[derive(Clone, Debug)]
pub enum Movement {
    /// The incident entered the queue.
    Entered(Box<LiveRow>),
    /// The incident stayed in the queue and changed.
    Updated(Box<LiveRow>),
    /// The incident left the queue.
    Left(Left),
}

/// Selects the changes that an activity stream delivers.
#[derive(Clone, Debug, Default)]
pub struct ActivityScope {
    /// The incident; `None` selects the changes of all incidents, and of alerts that no incident holds.
    pub incident: Option<IncidentId>,
    /// A further filter on the changes.
    pub filter: ActivityFilter,
}

/// How often a stream tries again while the database does not answer. Then it ends, so that its client reconnects
/// elsewhere.
const RETRIES_MAX: usize = 20;

/// Retries a read, so that a restart of the database does not end the stream; refusals are final. The future is boxed
/// so that its memory is freed after the read: most of the time a stream only waits for changes.
macro_rules! patiently {
    ($attempt:expr) => {
        Box::pin(async {
            let mut pauses = UNANSWERED.with_max_times(RETRIES_MAX).build();
            loop {
                match $attempt.await {
                    Err(error) if error.may_pass() => {
                        let Some(pause) = pauses.next() else { break Err(error) };
                        warn!(%error, "a stream could not read, trying again");
                        sleep(pause).await;
                    }
                    outcome => break outcome,
                }
            }
        })
        .await
    };
}

/// Follows a queue from a position on: first everything after `after`, then live. Without `after` it starts at the
/// present. What the stream sends does not depend on whether the client holds the set; only its positions say it.
pub fn queue(
    source: FeedSource,
    actor: impl Into<Arc<Actor>>,
    filter: QueueFilter,
    after: Option<Position>,
    track: Track,
) -> impl Stream<Item = Result<EventAt<QueueEvent>>> + Send + 'static {
    let fingerprint = filter.fingerprint();
    // The positions of a stream assert the set if the position after which it begins does.
    let claim = QueueClaim { fingerprint, holds_set: after.is_some_and(|held| held.holds_set()) };
    let interest = Interest::of(&filter);
    let filter = filter.into_held(&interest.texts());
    let begin = Box::new(Begin { after, queue: Some(fingerprint), interest, track });
    let (source, actor) = (Arc::new(source), actor.into());
    try_stream! {
        let mut tail = match patiently!(Tail::start(source.clone(), Begin::clone(&begin)))? {
            Ok(tail) => tail,
            Err(ended) => {
                yield ended.of_queue(claim);
                return;
            }
        };
        drop(begin);
        let mut quiet = 0;
        loop {
            let changes = match patiently!(tail.next())? {
                TailStep::Changes(changes) => changes,
                TailStep::Marker(marker) => {
                    quiet = 0;
                    yield EventAt { position: tail.position, event: marker }.of_queue(claim);
                    continue;
                }
                TailStep::Accounts => {
                    if patiently!(is_another(&source.store, &actor, &filter))? {
                        let event = Event::Resync(Resync::Scope);
                        yield EventAt { position: tail.position.claiming(claim), event };
                        return;
                    }
                    continue;
                }
            };
            let of_incidents: Vec<_> = changes.iter().filter_map(Logged::of_incident).cloned().collect();
            let mut movements = patiently!(judge(&source, &actor, &filter, &of_incidents))?.into_iter();
            for logged in changes {
                tail.pass(&logged);
                let moved = match logged {
                    Logged::Incident(change) => movements.next().flatten().map(|movement| (change, movement)),
                    // An alert that no incident holds belongs to no queue.
                    Logged::Alert(_) => None,
                };
                let event = match moved {
                    Some((change, movement)) => Event::Item(QueueEvent { change, movement }),
                    None => {
                        quiet += 1;
                        if quiet < QUIET_CHANGES_MAX {
                            continue;
                        }
                        Event::Heartbeat
                    }
                };
                quiet = 0;
                yield EventAt { position: tail.position, event }.of_queue(claim);
            }
        }
    }
}

/// Follows the log from a position on: first everything after `after`, then live. Without `after` it starts at the
/// present. Only managers see changes of deleted incidents.
pub fn activity(
    source: FeedSource,
    actor: impl Into<Arc<Actor>>,
    scope: ActivityScope,
    after: Option<Position>,
    track: Track,
) -> impl Stream<Item = Result<EventAt<Logged>>> + Send + 'static {
    let interest =
        scope.incident.map_or(Interest::Log, |incident| Interest::AnyOf([IndexKey::Incident(incident)].into()));
    let begin = Box::new(Begin { after, queue: None, interest, track });
    let (source, actor) = (Arc::new(source), actor.into());
    try_stream! {
        let mut tail = match patiently!(Tail::start(source.clone(), Begin::clone(&begin)))? {
            Ok(tail) => tail,
            Err(ended) => {
                yield ended.of_activity();
                return;
            }
        };
        drop(begin);
        let mut quiet = 0;
        loop {
            let changes = match patiently!(tail.next())? {
                TailStep::Changes(changes) => changes,
                TailStep::Marker(marker) => {
                    quiet = 0;
                    yield EventAt { position: tail.position, event: marker }.of_activity();
                    continue;
                }
                TailStep::Accounts => {
                    let now = patiently!(caller(&source.store, &actor))?;
                    if now.sight() != actor.sight() {
                        yield EventAt { position: tail.position, event: Event::Resync(Resync::Scope) };
                        return;
                    }
                    continue;
                }
            };
            let hidden = patiently!(hidden(&source.store, &actor, &changes))?;
            for change in changes {
                tail.pass(&change);
                let is_hidden = change.incident().is_some_and(|incident| hidden.contains(&incident));
                let event = if scope.matches(&change) && !is_hidden {
                    Event::Item(change)
                } else {
                    quiet += 1;
                    if quiet < QUIET_CHANGES_MAX {
                        continue;
                    }
                    Event::Heartbeat
                };
                quiet = 0;
                yield EventAt { position: tail.position, event };
            }
        }
    }
}

/// Returns whether the caller's sight has changed, or whether the filter now means something else to the caller.
pub(super) async fn is_another(store: &Store, actor: &Actor, filter: &HeldFilter) -> Result<bool> {
    let now = caller(store, actor).await?;
    Ok(now.sight() != actor.sight() || !filter.means_the_same_to(&now)?)
}

/// Reads the current state of the caller. A deleted account is refused with `UNAUTHENTICATED`.
async fn caller(store: &Store, actor: &Actor) -> Result<Actor> {
    let reader = store.read().await?;
    let user = reader.users(&[actor.user.id]).await?.pop();
    let user = user.ok_or_else(|| Error::unauthenticated("this account is no longer there"))?;
    reader.actor(user).await
}

/// Returns the deleted incidents among these changes. Callers below manager may not read their log.
async fn hidden(store: &Store, actor: &Actor, changes: &[Logged]) -> Result<HashSet<IncidentId>> {
    if actor.user.role >= Role::Manager {
        return Ok(HashSet::new());
    }
    let incidents: Vec<IncidentId> = changes.iter().filter_map(Logged::incident).collect();
    store.read().await?.deleted_among(&incidents).await
}

impl ActivityScope {
    fn matches(&self, change: &Logged) -> bool {
        self.incident.is_none_or(|incident| change.incident() == Some(incident)) && self.filter.matches(change)
    }
}

impl<T> EventAt<T> {
    /// Returns the position and the kind of the event, without its content.
    pub fn place(&self) -> FramePlace {
        let kind = match self.event {
            Event::Item(_) => FrameKind::Item,
            Event::Heartbeat => FrameKind::Heartbeat,
            Event::Live => FrameKind::Live,
            Event::Resync(_) => FrameKind::Resync,
        };
        FramePlace { position: self.position, kind }
    }
}

/// An event that carries no change.
pub(super) type Marker = Event<std::convert::Infallible>;

impl EventAt<std::convert::Infallible> {
    /// Leaves a refused position as it is: with a claim about this queue, it would be a position to resume from.
    fn of_queue(self, claim: QueueClaim) -> EventAt<QueueEvent> {
        if let Event::Resync(reason) = self.event {
            return EventAt { position: self.position, event: Event::Resync(reason) };
        }
        EventAt { position: self.position.claiming(claim), event: self.event.widen() }
    }

    fn of_activity(self) -> EventAt<Logged> {
        EventAt { position: self.position, event: self.event.widen() }
    }
}

impl EventAt<QueueEvent> {
    fn of_queue(self, claim: QueueClaim) -> Self {
        Self { position: self.position.claiming(claim), ..self }
    }
}

impl Marker {
    fn widen<T>(self) -> Event<T> {
        match self {
            Self::Item(never) => match never {},
            Self::Heartbeat => Event::Heartbeat,
            Self::Live => Event::Live,
            Self::Resync(reason) => Event::Resync(reason),
        }
    }
}

/// Decides what each change means to a queue, in order. It fetches long texts and entities once for all changes, and
/// only if the filter or a delivered row needs them.
async fn judge(
    source: &FeedSource,
    actor: &Actor,
    filter: &HeldFilter,
    changes: &[Arc<Change>],
) -> Result<Vec<Option<Movement>>> {
    let verdicts = verdicts(source, actor, filter, changes).await?;
    let mut titles: Vec<TextKey> = Vec::new();
    for (change, (_, is)) in changes.iter().zip(&verdicts) {
        let row = &change.body.row;
        if *is {
            titles.extend(row.title.stored_version().map(|version| (row.id, TextField::Title, version)));
        }
    }
    let long =
        if titles.is_empty() { HashMap::new() } else { source.store.read().await?.long_text_starts(&titles).await? };
    let live = |row: &QueueRow| -> Result<Box<LiveRow>> {
        let title = title::ShownTitle::of(text_of(row, TextField::Title, &row.title, &long)?);
        Ok(Box::new(LiveRow { row: row.clone(), title }))
    };
    changes
        .iter()
        .zip(verdicts)
        .map(|(change, (was, is))| {
            Ok(match (was, is) {
                (false, true) => Some(Movement::Entered(live(&change.body.row)?)),
                (true, true) => Some(Movement::Updated(live(&change.body.row)?)),
                (true, false) => Some(Movement::Left(left(actor, &change.body.row))),
                (false, false) => None,
            })
        })
        .collect()
}

/// Returns for each change, in order, whether its incident was in the queue before it and is in the queue after it.
pub(super) async fn verdicts(
    source: &FeedSource,
    actor: &Actor,
    filter: &HeldFilter,
    changes: &[Arc<Change>],
) -> Result<Vec<(bool, bool)>> {
    let facts = Facts::gather(source, filter, changes).await?;
    let judged = changes.iter().map(|change| {
        let (row, version) = (&change.body.row, change.version());
        let was = match &change.before {
            Some(before) => facts.matches(filter, actor, before, version - 1)?,
            None => false,
        };
        Ok((was, facts.matches(filter, actor, row, version)?))
    });
    judged.collect()
}

fn left(actor: &Actor, row: &QueueRow) -> Left {
    if !actor.sees(row) {
        return Left::NoAccess;
    }
    match row.redirected_to {
        _ if row.deleted => Left::Deleted,
        Some(target) => Left::Merged(target),
        None => Left::Filter,
    }
}

/// Returns a text of a row: the row's own, or the fetched part of the text that its change stored.
fn text_of<'a>(
    row: &QueueRow,
    field: TextField,
    text: &'a IncidentText,
    long: &'a HashMap<TextKey, String>,
) -> Result<&'a str> {
    match text {
        IncidentText::Inline(text) => Ok(text),
        IncidentText::Stored { version, .. } => long
            .get(&(row.id, field, *version))
            .map(String::as_str)
            .ok_or_else(|| Error::fault("reading a long text of a change", "it is missing")),
    }
}

/// The facts that a filter needs and the rows of the changes do not carry.
struct Facts {
    /// The long texts, folded; `None` if the filter asks for no text.
    texts: Option<HashMap<TextKey, Arc<str>>>,
    spans: HashMap<IncidentId, Vec<EntitySpan>>,
}

impl Facts {
    async fn gather(source: &FeedSource, filter: &HeldFilter, changes: &[Arc<Change>]) -> Result<Self> {
        let values = filter.entity_values();
        let mut spans: HashMap<IncidentId, Vec<EntitySpan>> = HashMap::new();
        if !values.is_empty() {
            let mut incidents: Vec<IncidentId> = changes.iter().map(|change| change.incident()).collect();
            incidents.sort();
            incidents.dedup();
            for span in source.store.read().await?.entity_spans(values, &incidents).await? {
                spans.entry(span.incident).or_default().push(span);
            }
        }
        let texts = if filter.names_text() { Some(long_texts(source, changes).await?) } else { None };
        Ok(Self { texts, spans })
    }

    fn matches(&self, filter: &HeldFilter, actor: &Actor, row: &QueueRow, version: u64) -> Result<bool> {
        let folded = |field: TextField, text: Option<&IncidentText>| match (&self.texts, text) {
            (Some(long), Some(text)) => folded(row, field, text, long),
            _ => Ok(Cow::Borrowed("")),
        };
        let entities: HashSet<EntityKey> = self
            .spans
            .get(&row.id)
            .into_iter()
            .flatten()
            .filter(|span| span.covers(version))
            .map(|span| span.entity.clone())
            .collect();
        let subject = Subject {
            row,
            tag_keys: None,
            title_folded: &folded(TextField::Title, Some(&row.title))?,
            description_folded: &folded(TextField::Description, row.description.as_ref())?,
            entities: &entities,
        };
        Ok(actor.sees(row) && filter.matches(subject))
    }
}

/// Returns the long texts of the changes' rows, folded: from the hub's cache if it holds them, else from the database.
async fn long_texts(source: &FeedSource, changes: &[Arc<Change>]) -> Result<HashMap<TextKey, Arc<str>>> {
    let mut keys: Vec<TextKey> = Vec::new();
    for row in changes.iter().flat_map(|change| change.before.iter().chain([&change.body.row])) {
        let title = row.title.stored_version().map(|version| (row.id, TextField::Title, version));
        let description = row.description.as_ref().and_then(IncidentText::stored_version);
        keys.extend(title);
        keys.extend(description.map(|version| (row.id, TextField::Description, version)));
    }
    keys.sort_by_key(|(incident, field, version)| (*incident, *field as u8, *version));
    keys.dedup();
    let at_hand = keys.iter().filter_map(|key| Some((*key, source.hub.long_text(key)?)));
    let mut texts: HashMap<TextKey, Arc<str>> = at_hand.collect();
    keys.retain(|key| !texts.contains_key(key));
    if !keys.is_empty() {
        for (key, text) in source.store.read().await?.long_texts(&keys).await? {
            let folded = Arc::from(text::fold(&text));
            source.hub.keep_long_text(key, &folded);
            texts.insert(key, folded);
        }
    }
    Ok(texts)
}

/// Returns a text of a row, folded.
fn folded<'a>(
    row: &QueueRow,
    field: TextField,
    text: &IncidentText,
    long: &'a HashMap<TextKey, Arc<str>>,
) -> Result<Cow<'a, str>> {
    match text {
        IncidentText::Inline(text) => Ok(Cow::Owned(text::fold(text))),
        IncidentText::Stored { version, .. } => match long.get(&(row.id, field, *version)) {
            Some(folded) => Ok(Cow::Borrowed(folded)),
            None => Err(Error::fault("reading a long text of a change", "it is missing")),
        },
    }
}
