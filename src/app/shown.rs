//! Compares the tables with the log: each incident that the log names, with its note, tags, alerts, comments and
//! bookmarks, and each incident in the tables. Memory is small: one fold at a time, and a few incidents to compare.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::bookmark::Bookmark;
use crate::domain::chain::check;
use crate::domain::change::{Change, TextSet};
use crate::domain::comment::CommentPlace;
use crate::domain::fold::{Folded, FoldedAlert, FoldedBookmark, FoldedComment};
use crate::domain::incident::Incident;
use crate::domain::queue::{IncidentText, sha256_hex};
use crate::domain::{BookmarkId, CommentId, Error, IncidentId, Result};
use crate::storage::{AlertShown, CommentShown, Reader, StoredChange};

/// How many changes are read at a time.
const CHANGES_PER_BATCH: u64 = 200;

/// How many incidents are compared at a time. An incident with the longest title takes some MiB.
const INCIDENTS_PER_BATCH: usize = 100;

/// How many alerts, comments and bookmarks are compared at a time. One incident alone may have more.
const PARTS_PER_BATCH: usize = 2_000;

/// The counts of what was compared, and of what could not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComparedCounts {
    /// How many incidents match their log.
    pub incidents: u64,
    /// How many alerts of incidents match the log.
    pub alerts: u64,
    /// How many bookmarks match the log.
    pub bookmarks: u64,
    /// How many texts of comments the changes of the log set.
    pub comment_texts: u64,
    /// Alerts without a state in the log: they came before the desk recorded it. The log proves only their incident.
    pub alerts_without_state: u64,
    /// Incidents with comments or bookmarks from a merge of before the desk recorded which they were.
    pub incidents_in_part: u64,
}

/// A difference between the tables and the log.
#[derive(Debug)]
pub(super) struct IncidentDifference {
    /// The offset of the incident's last change, if the log has one.
    pub(super) position: Option<u64>,
    /// The incident, its number and its version.
    pub(super) incident: (IncidentId, i64, u64),
    /// The difference.
    pub(super) differs: String,
}

/// The reason why a comparison stops early.
#[derive(Debug)]
pub(super) enum ShownStop {
    /// A difference was found.
    Differs(IncidentDifference),
    /// Something failed.
    Failed(Error),
}

impl From<Error> for ShownStop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

type ShownResult<T = ()> = Result<T, ShownStop>;

/// Compares everything. Calls `went` with the number of incidents that were compared since the last call.
pub(super) async fn compare(reader: &Reader, went: &mut (dyn FnMut(usize) + Send)) -> ShownResult<ComparedCounts> {
    let mut work = ComparisonWork { reader, shown: ComparedCounts::default(), waiting: Vec::new(), parts: 0 };
    let (mut place, mut state) = (None, None);
    loop {
        let rows = reader.stored_by_incident(place, CHANGES_PER_BATCH).await?;
        let Some(last) = rows.last() else { break };
        place = Some((last.incident, last.version));
        for row in rows {
            let begun = state.take_if(|state: &mut Folded| state.row.id != row.incident);
            if let Some(whole) = begun {
                work.wait(whole, went).await?;
            }
            let (next, texts) = folded(state, &row)?;
            work.shown.comment_texts += texts;
            state = Some(next);
        }
    }
    if let Some(whole) = state {
        work.wait(whole, went).await?;
    }
    work.flush(went).await?;
    work.nothing_unnamed().await?;
    Ok(work.shown)
}

/// Reads a change and applies it to the state before it. Returns the new state, and how many texts of comments the
/// change sets.
fn folded(state: Option<Folded>, row: &StoredChange) -> ShownResult<(Folded, u64)> {
    let number = state.as_ref().map_or(0, |state| state.row.number);
    let broken = |differs: &str| {
        let incident = (row.incident, number, row.version);
        ShownStop::Differs(IncidentDifference { position: Some(row.position), incident, differs: differs.to_owned() })
    };
    let check = check(&row.hash.clone().try_into().map_err(|_| broken("its hash has not 32 bytes"))?);
    let change = Change::read(row.position, check, &row.body).map_err(|_| broken("its body cannot be read"))?;
    if change.incident() != row.incident || change.version() != row.version {
        return Err(broken("its columns say something else than its body"));
    }
    let texts = change.body.texts_set().iter().filter(|set| matches!(set, TextSet::Comment(..))).count() as u64;
    let state = Folded::after(state, change);
    let state = state.map_err(|_| broken("it does not begin where its incident's change before it ended"))?;
    Ok((state, texts))
}

struct ComparisonWork<'a> {
    reader: &'a Reader,
    shown: ComparedCounts,
    waiting: Vec<Folded>,
    parts: usize,
}

/// The data of some incidents in the tables.
struct Tables {
    incidents: HashMap<IncidentId, Incident>,
    alerts: HashMap<IncidentId, Vec<AlertShown>>,
    comments: HashMap<IncidentId, Vec<CommentShown>>,
    bookmarks: HashMap<IncidentId, Vec<Bookmark>>,
    derived: HashMap<IncidentId, &'static str>,
}

impl ComparisonWork<'_> {
    async fn wait(&mut self, state: Folded, went: &mut (dyn FnMut(usize) + Send)) -> ShownResult {
        self.parts += state.alerts.len() + state.comments.len() + state.bookmarks.len();
        self.waiting.push(state);
        if self.waiting.len() >= INCIDENTS_PER_BATCH || self.parts >= PARTS_PER_BATCH {
            self.flush(went).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, went: &mut (dyn FnMut(usize) + Send)) -> ShownResult {
        let waiting = std::mem::take(&mut self.waiting);
        self.parts = 0;
        let ids: Vec<IncidentId> = waiting.iter().map(|state| state.row.id).collect();
        let tables = Tables::read(self.reader, &ids).await?;
        for state in &waiting {
            if let Some(differs) = tables.difference(state)? {
                let incident = (state.row.id, state.row.number, state.row.version);
                return Err(ShownStop::Differs(IncidentDifference {
                    position: Some(state.place.0),
                    incident,
                    differs,
                }));
            }
            self.shown.incidents += 1;
            self.shown.alerts += state.alerts.len() as u64;
            self.shown.bookmarks += state.bookmarks.len() as u64;
            self.shown.alerts_without_state += state.alerts.values().filter(|alert| !alert.known).count() as u64;
            self.shown.incidents_in_part += u64::from(!(state.comments_known && state.bookmarks_known));
        }
        went(waiting.len());
        Ok(())
    }

    /// Refuses incidents that the log does not name. All incidents of the log were found by now, so a higher count
    /// means an extra one.
    async fn nothing_unnamed(&self) -> ShownResult {
        if self.reader.incident_total().await? == self.shown.incidents {
            return Ok(());
        }
        let Some(incident) = self.reader.unnamed_incident().await? else { return Ok(()) };
        let differs = "the desk shows an incident of which the log has no change".to_owned();
        let incident = (incident.id, incident.number, incident.version);
        Err(ShownStop::Differs(IncidentDifference { position: None, incident, differs }))
    }
}

impl Tables {
    async fn read(reader: &Reader, ids: &[IncidentId]) -> Result<Self> {
        let mut tables = Self {
            incidents: reader.incidents(ids).await?.into_iter().map(|incident| (incident.id, incident)).collect(),
            alerts: HashMap::new(),
            comments: HashMap::new(),
            bookmarks: HashMap::new(),
            derived: reader.derived_at_odds(ids).await?,
        };
        for alert in reader.alerts_shown(ids).await? {
            if let Some(incident) = alert.incident {
                tables.alerts.entry(incident).or_default().push(alert);
            }
        }
        for comment in reader.comments_shown(ids).await? {
            tables.comments.entry(comment.incident).or_default().push(comment);
        }
        for bookmark in reader.bookmarks_shown(ids).await? {
            tables.bookmarks.entry(bookmark.incident).or_default().push(bookmark);
        }
        Ok(tables)
    }

    /// Returns the first difference between the tables and the log of an incident, if there is one.
    fn difference(&self, state: &Folded) -> Result<Option<String>> {
        let Some(incident) = self.incidents.get(&state.row.id) else {
            return Ok(Some(
                "the desk does not have the incident any more that this last change left behind".to_owned(),
            ));
        };
        let differing = incident.queue_row().differs_from(&state.row);
        let differing = differing.map_err(|error| Error::fault("comparing two rows", error))?;
        let resolution = incident.resolution.as_ref();
        let others = [
            ("note", same_text(resolution.and_then(|it| it.note.as_deref()), state.note.as_ref())),
            ("actor of its resolution", resolution.map(|it| &it.by) == state.resolved_by.as_ref()),
            ("origin of its title", incident.title_generated == state.title_generated),
            ("time of its deletion", incident.deleted_at == state.deleted_at),
        ];
        let field = differing.first().map(String::as_str);
        let field = field.or_else(|| others.into_iter().find_map(|(field, same)| (!same).then_some(field)));
        if let Some(field) = field {
            return Ok(Some(format!("the desk shows another {field} than this last change left behind")));
        }
        if let Some(column) = self.derived.get(&state.row.id) {
            return Ok(Some(format!("its column {column} says something else than what it is made from")));
        }
        Ok(self.alerts(state).or_else(|| self.comments(state)).or_else(|| self.bookmarks(state)))
    }

    fn alerts(&self, state: &Folded) -> Option<String> {
        let shown = self.alerts.get(&state.row.id).map_or(&[][..], Vec::as_slice);
        for alert in shown {
            let id = alert.id;
            let Some(logged) = state.alerts.get(&id) else {
                return Some(format!("the desk shows {id} in it, which its log does not say"));
            };
            if let Some(field) = alert_at_odds(alert, logged) {
                return Some(format!("the desk shows another {field} of {id} than its log adds up to"));
            }
        }
        if shown.len() == state.alerts.len() {
            return None;
        }
        let held: BTreeSet<_> = shown.iter().map(|alert| alert.id).collect();
        let missing = state.alerts.keys().find(|id| !held.contains(id))?;
        Some(format!("the desk does not show {missing} in it, which its log says it holds"))
    }

    fn comments(&self, state: &Folded) -> Option<String> {
        if !state.comments_known {
            return None;
        }
        let shown = self.comments.get(&state.row.id).map_or(&[][..], Vec::as_slice);
        let mut missing: BTreeMap<CommentId, _> = state.comments.iter().map(|it| (it.1.id, it)).collect();
        for comment in shown {
            let id = comment.id;
            let Some(logged) = missing.remove(&id) else {
                return Some(format!("the desk shows {id} on it, which its log does not say"));
            };
            if let Some(field) = comment_at_odds(comment, logged) {
                return Some(format!("the desk shows another {field} of {id} than its log says"));
            }
        }
        let missing = missing.keys().next()?;
        Some(format!("the desk does not show {missing} on it, which its log says it has"))
    }

    fn bookmarks(&self, state: &Folded) -> Option<String> {
        if !state.bookmarks_known {
            return None;
        }
        let shown = self.bookmarks.get(&state.row.id).map_or(&[][..], Vec::as_slice);
        let mut missing: BTreeMap<BookmarkId, &FoldedBookmark> =
            state.bookmarks.iter().map(|(id, logged)| (*id, logged)).collect();
        for bookmark in shown {
            let id = bookmark.id;
            let Some(logged) = missing.remove(&id) else {
                return Some(format!("the desk shows {id} on it, which its log does not say"));
            };
            if let Some(field) = bookmark_at_odds(bookmark, logged) {
                return Some(format!("the desk shows another {field} of {id} than its log says"));
            }
        }
        let missing = missing.keys().next()?;
        Some(format!("the desk does not show {missing} on it, which its log says it has"))
    }
}

fn alert_at_odds(shown: &AlertShown, logged: &FoldedAlert) -> Option<&'static str> {
    if !logged.known {
        return None;
    }
    [
        ("status", Some(shown.status) == logged.status),
        ("owner", shown.owner == logged.owner),
        ("classification", shown.classification == logged.classification),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

fn comment_at_odds(shown: &CommentShown, (place, logged): (&CommentPlace, &FoldedComment)) -> Option<&'static str> {
    [
        ("author", shown.author == logged.author),
        ("time", shown.created_at == place.at),
        ("first change", shown.first == logged.first),
        ("newest text", shown.text == Some(logged.text)),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

fn bookmark_at_odds(shown: &Bookmark, logged: &FoldedBookmark) -> Option<&'static str> {
    let pinned = logged.pinned.as_ref();
    [
        ("title", shown.finding.title == logged.title),
        ("author", pinned.is_none_or(|(author, _)| shown.author == *author)),
        ("time", pinned.is_none_or(|(_, at)| shown.created_at == *at)),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

fn same_text(shown: Option<&str>, logged: Option<&IncidentText>) -> bool {
    match (shown, logged) {
        (None, None) => true,
        (Some(shown), Some(IncidentText::Inline(logged))) => shown == logged,
        (Some(shown), Some(IncidentText::Stored { sha256, .. })) => sha256_hex(shown) == *sha256,
        _ => false,
    }
}
