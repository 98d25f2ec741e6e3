//! The one stream: from a position on, backlog then live, through a filter; it never skips a change, and every way it
//! can end has a name.
//!
//! Its cursor is `tail.rs`; here is what each change means to it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use futures_util::Stream;
use tokio::time::sleep;
use tracing::warn;

use super::Hub;
use super::index::{Interest, Key};
use super::tail::{Begin, Step, Tail};
use super::track::{Kind, Place, Track};
use crate::domain::account::{Actor, Role};
use crate::domain::alert_log::Logged;
use crate::domain::change::Change;
use crate::domain::entity::EntityKey;
use crate::domain::filter::{QueueFilter, Subject};
use crate::domain::held_filter::HeldFilter;
use crate::domain::incident::TextField;
use crate::domain::position::{Fingerprint, Position, Resync};
use crate::domain::queue::{QueueRow, Text};
use crate::domain::{Error, IncidentId, Result, text, title};
use crate::storage::{ActivityFilter, EntitySpan, Store, TextKey};

/// After so many changes without a match a heartbeat carries the position on, so that it never falls behind the floor
/// while a client catches up (product §7).
pub const QUIET_CHANGES_MAX: u64 = 1_000;

/// What a feed reads from.
#[derive(Clone, Debug)]
pub struct Source {
    /// What the ring no longer has.
    pub store: Store,
    /// What is new.
    pub hub: Arc<Hub>,
    /// How often a heartbeat is sent.
    pub heartbeat: Duration,
}

/// Why an incident left a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Left {
    /// The filter no longer matches.
    Filter,
    /// It was deleted.
    Deleted,
    /// It was merged into another.
    Merged(IncidentId),
    /// The viewer may no longer see it.
    NoAccess,
}

/// A row as a stream delivers it, its title whole.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveRow {
    /// The row as of its change.
    pub row: QueueRow,
    /// What is shown of its title.
    pub title: title::Shown,
}

/// What happened, by position.
#[derive(Clone, Debug)]
pub enum Event<T> {
    /// A change that the stream is about.
    Item(T),
    /// All of yours up to here was sent.
    Heartbeat,
    /// The backlog is done.
    Live,
    /// The stream cannot go on from the position that was given; it ends here.
    Resync(Resync),
}

/// An event and its place in the log.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// Where.
    pub position: Position,
    /// What.
    pub event: Event<T>,
}

/// What a change means to a queue.
#[derive(Clone, Debug)]
pub struct QueueEvent {
    /// The change.
    pub change: Arc<Change>,
    /// How the incident moved.
    pub movement: Movement,
}

/// How an incident moved in a queue.
#[derive(Clone, Debug)]
pub enum Movement {
    /// It came in.
    Entered(Box<LiveRow>),
    /// It stayed and changed.
    Updated(Box<LiveRow>),
    /// It went out.
    Left(Left),
}

/// The changes of the log that an activity stream is about.
#[derive(Clone, Debug, Default)]
pub struct ActivityScope {
    /// Of this incident; of all, and of alerts that none holds, where none is given.
    pub incident: Option<IncidentId>,
    /// Which changes.
    pub filter: ActivityFilter,
}

/// How long a stream waits for a database that does not answer, before it breaks off and its client comes back elsewhere.
const TRIES_MAX: u32 = 20;

/// The time between two tries.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(500);

/// Tries again what only reads, so that a database that restarts is no end of a stream. Refusals are final. All of it is on the
/// heap while it lasts: what a stream may ever hold it holds for ever, and mostly it waits for changes.
macro_rules! patiently {
    ($attempt:expr) => {
        Box::pin(async {
            let mut tries = 0;
            loop {
                match $attempt.await {
                    Err(error) if tries < TRIES_MAX && error.may_pass() => {
                        tries += 1;
                        warn!(%error, tries, "a stream could not read, trying again");
                        sleep(PAUSE_AFTER_FAULT).await;
                    }
                    outcome => break outcome,
                }
            }
        })
        .await
    };
}

/// Follows a queue. With `after`, everything since that position comes first; without, it starts at the present.
pub fn queue(
    source: Source,
    actor: impl Into<Arc<Actor>>,
    filter: QueueFilter,
    after: Option<Position>,
    track: Track,
) -> impl Stream<Item = Result<Placed<QueueEvent>>> + Send + 'static {
    let fingerprint = filter.fingerprint();
    let interest = Interest::of(&filter);
    let filter = filter.into_held(&interest.texts());
    let begin = Box::new(Begin { after, queue: Some(fingerprint), interest, track });
    let (source, actor) = (Arc::new(source), actor.into());
    try_stream! {
        let mut tail = match patiently!(Tail::start(source.clone(), Begin::clone(&begin)))? {
            Ok(tail) => tail,
            Err(ended) => {
                yield ended.of_queue(fingerprint);
                return;
            }
        };
        drop(begin);
        let mut quiet = 0;
        loop {
            let changes = match patiently!(tail.next())? {
                Step::Changes(changes) => changes,
                Step::Marker(marker) => {
                    quiet = 0;
                    yield Placed { position: tail.position, event: marker }.of_queue(fingerprint);
                    continue;
                }
                Step::Accounts => {
                    if patiently!(is_another(&source.store, &actor, &filter))? {
                        let event = Event::Resync(Resync::Scope);
                        yield Placed { position: tail.position.of_queue(fingerprint), event };
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
                    // An alert that no incident holds is in no queue.
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
                yield Placed { position: tail.position, event }.of_queue(fingerprint);
            }
        }
    }
}

/// Follows the log itself. With `after`, everything since that position comes first; without, it starts at the present.
/// What happened to incidents that are deleted by now is for managers.
pub fn activity(
    source: Source,
    actor: impl Into<Arc<Actor>>,
    scope: ActivityScope,
    after: Option<Position>,
    track: Track,
) -> impl Stream<Item = Result<Placed<Logged>>> + Send + 'static {
    let interest = scope.incident.map_or(Interest::Log, |incident| Interest::AnyOf([Key::Incident(incident)].into()));
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
                Step::Changes(changes) => changes,
                Step::Marker(marker) => {
                    quiet = 0;
                    yield Placed { position: tail.position, event: marker }.of_activity();
                    continue;
                }
                Step::Accounts => {
                    let now = patiently!(caller(&source.store, &actor))?;
                    if now.sight() != actor.sight() {
                        yield Placed { position: tail.position, event: Event::Resync(Resync::Scope) };
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
                yield Placed { position: tail.position, event };
            }
        }
    }
}

/// Whether the caller sees something else by now, or means something else by the filter.
pub(super) async fn is_another(store: &Store, actor: &Actor, filter: &HeldFilter) -> Result<bool> {
    let now = caller(store, actor).await?;
    Ok(now.sight() != actor.sight() || !filter.means_the_same_to(&now)?)
}

/// The caller as it is now; one who is gone sees nothing any more.
async fn caller(store: &Store, actor: &Actor) -> Result<Actor> {
    let reader = store.read().await?;
    let user = reader.users(&[actor.user.id]).await?.pop();
    let user = user.ok_or_else(|| Error::unauthenticated("this account is no longer there"))?;
    reader.actor(user).await
}

/// The incidents of some changes whose log the caller may not read, because they were deleted.
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

impl<T> Placed<T> {
    /// Where it stands and what it is, without its content.
    pub fn place(&self) -> Place {
        let kind = match self.event {
            Event::Item(_) => Kind::Item,
            Event::Heartbeat => Kind::Heartbeat,
            Event::Live => Kind::Live,
            Event::Resync(_) => Kind::Resync,
        };
        Place { position: self.position, kind }
    }
}

/// A marker: an event without a change.
pub(super) type Marker = Event<std::convert::Infallible>;

impl Placed<std::convert::Infallible> {
    /// A position that was refused is given back as it was: signed for this queue it could be gone on from.
    fn of_queue(self, fingerprint: Fingerprint) -> Placed<QueueEvent> {
        if let Event::Resync(reason) = self.event {
            return Placed { position: self.position, event: Event::Resync(reason) };
        }
        Placed { position: self.position.of_queue(fingerprint), event: self.event.widen() }
    }

    fn of_activity(self) -> Placed<Logged> {
        Placed { position: self.position, event: self.event.widen() }
    }
}

impl Placed<QueueEvent> {
    fn of_queue(self, fingerprint: Fingerprint) -> Self {
        Self { position: self.position.of_queue(fingerprint), ..self }
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

/// What each change means to a queue, in order. Long texts and entities are fetched once for all of them, and only
/// where the filter or a delivered row needs them.
async fn judge(
    source: &Source,
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
    let long = match titles.is_empty() {
        true => HashMap::new(),
        false => source.store.read().await?.long_text_starts(&titles).await?,
    };
    let live = |row: &QueueRow| -> Result<Box<LiveRow>> {
        let title = title::Shown::of(text_of(row, TextField::Title, &row.title, &long)?);
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

/// Whether the incident of each change was in a queue before it, and is after it, in order.
pub(super) async fn verdicts(
    source: &Source,
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

/// A text of a row: as the row carries it, or as much as was read of what its change stored.
fn text_of<'a>(
    row: &QueueRow,
    field: TextField,
    text: &'a Text,
    long: &'a HashMap<TextKey, String>,
) -> Result<&'a str> {
    match text {
        Text::Inline(text) => Ok(text),
        Text::Stored { version, .. } => long
            .get(&(row.id, field, *version))
            .map(String::as_str)
            .ok_or_else(|| Error::fault("reading a long text of a change", "it is missing")),
    }
}

/// What a filter asks for beyond the rows of some changes.
struct Facts {
    /// The long texts, folded; none where the filter asks for no text.
    texts: Option<HashMap<TextKey, Arc<str>>>,
    spans: HashMap<IncidentId, Vec<EntitySpan>>,
}

impl Facts {
    async fn gather(source: &Source, filter: &HeldFilter, changes: &[Arc<Change>]) -> Result<Self> {
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
        let texts = match filter.names_text() {
            false => None,
            true => Some(long_texts(source, changes).await?),
        };
        Ok(Self { texts, spans })
    }

    fn matches(&self, filter: &HeldFilter, actor: &Actor, row: &QueueRow, version: u64) -> Result<bool> {
        let folded = |field: TextField, text: Option<&Text>| match (&self.texts, text) {
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

/// The long texts of some changes' rows, folded. Those of the newest changes are at hand; the database is asked for others.
async fn long_texts(source: &Source, changes: &[Arc<Change>]) -> Result<HashMap<TextKey, Arc<str>>> {
    let mut keys: Vec<TextKey> = Vec::new();
    for row in changes.iter().flat_map(|change| change.before.iter().chain([&change.body.row])) {
        let title = row.title.stored_version().map(|version| (row.id, TextField::Title, version));
        let description = row.description.as_ref().and_then(Text::stored_version);
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

/// A text of a row, folded.
fn folded<'a>(
    row: &QueueRow,
    field: TextField,
    text: &Text,
    long: &'a HashMap<TextKey, Arc<str>>,
) -> Result<Cow<'a, str>> {
    match text {
        Text::Inline(text) => Ok(Cow::Owned(text::fold(text))),
        Text::Stored { version, .. } => match long.get(&(row.id, field, *version)) {
            Some(folded) => Ok(Cow::Borrowed(folded)),
            None => Err(Error::fault("reading a long text of a change", "it is missing")),
        },
    }
}
