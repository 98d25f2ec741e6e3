//! The verification of the log. It proves that each change is as it was written, in its order, and that the tables show
//! what the changes add up to. It reads one snapshot, in little memory, while other nodes write, and it changes
//! nothing.

use std::collections::{HashMap, HashSet};

use super::alert_log;
use super::shown::{self, ComparedCounts};
use crate::domain::account::ActorImage;
use crate::domain::alert_log::AlertChange;
use crate::domain::chain::{Hash, check, genesis};
use crate::domain::change::{Change, ChangeBody, TextSet};
use crate::domain::comment::{Comment, Revision, TextSetBy};
use crate::domain::position::Position;
use crate::domain::queue::sha256_hex;
use crate::domain::{AlertId, CommentId, Error, IncidentId, Instant, Result};
use crate::storage::{Head, Reader, Store, StoredAlertChange, StoredChange, StoredRow, TextKey};

/// How many changes are read at a time. A change that links 5,000 alerts takes half a megabyte.
const CHANGES_PER_BATCH: u64 = 200;

/// How many comments are read at a time. A comment takes up to 120 KiB.
const ROWS_PER_BATCH: u64 = 100;

/// How many bytes of long texts are read at a time. A title may be as long as a request.
const TEXT_BYTES_AT_ONCE: u64 = 4 << 20;

/// The result of a verification that found no break.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The end of the log. Kept elsewhere, this position later shows whether the log was cut or rewritten since.
    pub position: Position,
    /// The log's hash at this position.
    pub hash: Hash,
    /// How many changes were compared with their hashes.
    pub changes: u64,
    /// How many texts were compared with the changes that set them.
    pub texts: u64,
    /// The part of the tables that matches the log.
    pub shown: ComparedCounts,
    /// How many comments show their newest text.
    pub comments: u64,
    /// How many alerts that no incident holds match their own log, including the provider's report.
    pub free_alerts: u64,
    /// How many alerts that no incident holds have no log of their own. They came before the desk kept such logs, and
    /// have not changed since.
    pub alerts_without_log: u64,
}

impl Verified {
    /// Returns what was not proved, one line each.
    pub fn not_proved(&self) -> Vec<String> {
        let ComparedCounts { alerts_without_state, incidents_in_part, .. } = self.shown;
        let counted = [
            (
                self.alerts_without_log,
                "alerts are in no incident, and came before the desk kept a log of such alerts: nothing of them is proved",
            ),
            (
                alerts_without_state,
                "alerts came before the desk noted how they stood: the log proves their incident only",
            ),
            (incidents_in_part, "incidents took comments or bookmarks in by a merge of before the desk noted which"),
        ];
        let counted =
            counted.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        counted.chain(NEVER_PROVED.iter().map(|line| (*line).to_owned())).collect()
    }
}

/// The statements that no verification of the log proves (docs/EVIDENCE.md says more).
const NEVER_PROVED: [&str; 12] = [
    "what providers reported of alerts of incidents: titles, descriptions, entities, verdicts; raw payloads of all alerts",
    "the times that the desk keeps of alerts: created, updated, resolved",
    "the status that an alert had before its incident was resolved",
    "the first and last activity that a person stated of an incident, where the incident shows other times",
    "deleted comments: the incident that has them, and the time of the deletion",
    "bookmarks: queries, rows, notes, entities, times of events; all of removed bookmarks",
    "the author and the time of bookmarks that a merge moved",
    "attachments: names, types, sizes, authors, times, incidents, bytes",
    "the former state that the undo of a merge would restore",
    "users, groups and their names, saved views, bulk jobs, the stored answers to repeated mutations",
    "that the end of the log was not cut off with its head, unless somebody kept a later position",
    "that what the log says has happened so",
];

/// The first position at which the log differs from what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The offset in the log.
    pub position: u64,
    /// The incident or alert of the change, if it is known.
    pub about: Option<About>,
    /// The difference.
    pub differs: String,
}

/// The incident or alert of a change in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// An incident: its number, if the tables have it, and its version.
    Incident(IncidentId, Option<i64>, u64),
    /// An alert, and the version of its own log.
    Alert(AlertId, u64),
}

impl std::fmt::Display for Break {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "position {}", self.position)?;
        match self.about {
            Some(About::Incident(id, Some(number), version)) => write!(f, ", INC-{number} ({id}), version {version}")?,
            Some(About::Incident(id, None, version)) => write!(f, ", {id}, version {version}")?,
            Some(About::Alert(id, version)) => write!(f, ", {id}, version {version} of its own log")?,
            None => {}
        }
        write!(f, ": {}", self.differs)
    }
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq)]
pub enum Verification {
    /// There is no break.
    Whole(Verified),
    /// A break was found.
    Broken(Break),
}

/// Reports the progress: how many rows are done, and how many there are.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Verifies the log from its beginning, or from a position that somebody kept, to its end.
///
/// Refuses a position that this log does not have. That is a finding too, but about the part of the log before the
/// position.
pub async fn verify(store: &Store, from: Option<&Position>, progress: Progress<'_>) -> Result<Verification> {
    let reader = store.for_verification().read().await?;
    let head = reader.head().await?;
    let (at, hash) = start(&reader, &head, from).await?;
    let tables =
        reader.incident_total().await? + reader.comment_total().await? + reader.stored_of_alerts_total().await?;
    let total = reader.stored_total(at).await? + tables;
    let mut walk = LogWalk { reader, head, from: at, at, hash, texts: 0, done: 0, total, progress };
    match walk.run().await {
        Ok(verified) => Ok(Verification::Whole(verified)),
        Err(VerifyStop::Broken(found)) => Ok(Verification::Broken(found)),
        Err(VerifyStop::Failed(error)) => Err(error),
    }
}

async fn start(reader: &Reader, head: &Head, from: Option<&Position>) -> Result<(u64, Hash)> {
    let offset = from.map_or(0, |from| from.offset);
    let hash = match offset {
        0 => Some(genesis(head.epoch)),
        at => reader.hashes_at(&[at]).await?.remove(&at),
    };
    match (hash, from) {
        (Some(hash), Some(from)) if head.epoch == from.epoch && check(&hash) == from.check => Ok((offset, hash)),
        (Some(hash), None) => Ok((offset, hash)),
        _ => {
            let now = serde_json::json!({ "position": head.position().to_string() });
            Err(Error::conflict("the log does not hold this position: it was cut, replaced or restored since", now))
        }
    }
}

struct LogWalk<'p> {
    reader: Reader,
    head: Head,
    from: u64,
    at: u64,
    hash: Hash,
    texts: u64,
    done: u64,
    total: u64,
    progress: Progress<'p>,
}

enum VerifyStop {
    Broken(Break),
    Failed(Error),
}

impl From<Error> for VerifyStop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl VerifyStop {
    fn of_alert((alert, version): (AlertId, u64), position: u64, differs: impl Into<String>) -> Self {
        Self::Broken(Break { position, about: Some(About::Alert(alert, version)), differs: differs.into() })
    }
}

type VerifyResult<T = ()> = Result<T, VerifyStop>;

/// The data that a batch of changes is compared with.
struct Beside {
    formers: HashMap<(IncidentId, u64), StoredChange>,
    comments: HashMap<(CommentId, TextSetBy), Revision>,
    /// The SHA-256 of each long text, in hexadecimal.
    long_texts: HashMap<TextKey, String>,
}

impl LogWalk<'_> {
    async fn run(&mut self) -> VerifyResult<Verified> {
        loop {
            let rows = self.reader.stored_after(self.at, CHANGES_PER_BATCH).await?;
            if rows.is_empty() {
                break;
            }
            let beside = self.beside(&rows).await?;
            for row in &rows {
                self.row(row, &beside).await?;
            }
            self.went(rows.len());
        }
        self.head_agrees().await?;
        let shown = self.shown().await?;
        let comments = self.comments().await?;
        let free_alerts = self.free_alerts().await?;
        let alerts_without_log = self.reader.free_alert_total().await?.saturating_sub(free_alerts);
        let (position, hash, changes) = (self.head.position(), self.hash, self.at - self.from);
        Ok(Verified { position, hash, changes, texts: self.texts, shown, comments, free_alerts, alerts_without_log })
    }

    fn went(&mut self, rows: usize) {
        self.done += rows as u64;
        (self.progress)(self.done, self.total);
    }

    async fn beside(&self, rows: &[StoredRow]) -> VerifyResult<Beside> {
        let rows: Vec<&StoredChange> = rows.iter().filter_map(StoredRow::of_incident).collect();
        let formers: Vec<_> =
            rows.iter().filter(|row| row.version > 1).map(|row| (row.incident, row.version - 1)).collect();
        let (mut comments, mut long_texts) = (Vec::new(), Vec::new());
        for row in rows {
            let Ok(body) = serde_json::from_str::<ChangeBody>(&row.body) else { continue };
            for set in body.texts_set() {
                match set {
                    TextSet::Comment(comment, ..) => {
                        let by = TextSetBy { incident: body.row.id, version: body.row.version };
                        comments.push((comment, by));
                    }
                    TextSet::Long(field, _) => long_texts.push((row.incident, field, row.version)),
                }
            }
        }
        Ok(Beside {
            formers: self.reader.stored_by_version(&formers).await?,
            comments: self.reader.comment_texts(&comments).await?,
            long_texts: self.long_texts(long_texts).await?,
        })
    }

    /// Returns the SHA-256 of each of these texts that exists. It reads them in batches of a bounded size.
    async fn long_texts(&self, keys: Vec<TextKey>) -> VerifyResult<HashMap<TextKey, String>> {
        let sizes = self.reader.long_text_sizes(&keys).await?;
        let (mut hashes, mut part, mut bytes) = (HashMap::new(), Vec::new(), 0);
        for key in keys {
            let Some(size) = sizes.get(&key) else { continue };
            if bytes + size > TEXT_BYTES_AT_ONCE {
                self.hash_texts(&std::mem::take(&mut part), &mut hashes).await?;
                bytes = 0;
            }
            part.push(key);
            bytes += size;
        }
        self.hash_texts(&part, &mut hashes).await?;
        Ok(hashes)
    }

    async fn hash_texts(&self, keys: &[TextKey], hashes: &mut HashMap<TextKey, String>) -> VerifyResult {
        if !keys.is_empty() {
            let texts = self.reader.long_texts(keys).await?;
            hashes.extend(texts.into_iter().map(|(key, text)| (key, sha256_hex(&text))));
        }
        Ok(())
    }

    async fn row(&mut self, row: &StoredRow, beside: &Beside) -> VerifyResult {
        let (position, due) = (row.position(), self.at + 1);
        if position > self.head.offset && due > self.head.offset {
            let ends = self.head.offset;
            let differs = format!("it lies beyond the head, which says that the log ends at {ends}");
            return self.broken_at(row, differs).await;
        }
        if position < due {
            return self.broken_at(row, "another change has its place").await;
        }
        if position != due {
            let differs = format!("it is missing: after {} comes {position}", self.at);
            return Err(VerifyStop::Broken(Break { position: due, about: None, differs }));
        }
        let hash = row.link().hash(&self.hash);
        if row.hash() != hash {
            return self.broken_at(row, "its hash is not that of its content, its place and the hash before it").await;
        }
        match row {
            StoredRow::Incident(row) => self.change(row, hash, beside).await?,
            StoredRow::Alert(row) => alert_change(row, hash)?,
        }
        (self.at, self.hash) = (due, hash);
        Ok(())
    }

    async fn change(&mut self, row: &StoredChange, hash: Hash, beside: &Beside) -> VerifyResult {
        let Ok(change) = Change::read(row.position, check(&hash), &row.body) else {
            return self.broken(row, "its body cannot be read").await;
        };
        if let Some(column) = row.column_at_odds(&change.body) {
            return self.broken(row, format!("its column {column} says something else than its body")).await;
        }
        self.goes_on(row, &change, beside).await?;
        for set in change.body.texts_set() {
            self.text(row, &change.body.actor, set, beside).await?;
        }
        Ok(())
    }

    /// Checks that the change begins where the incident's preceding change ended.
    async fn goes_on(&self, row: &StoredChange, change: &Change, beside: &Beside) -> VerifyResult {
        let former = beside.formers.get(&(row.incident, row.version.wrapping_sub(1)));
        let stood = former.filter(|former| former.position < row.position);
        let stood = stood.and_then(|former| serde_json::from_str::<ChangeBody>(&former.body).ok()).map(|body| body.row);
        if row.version != 1 && stood.is_none() {
            let differs = format!("its incident has no version {} before it", row.version.wrapping_sub(1));
            return self.broken(row, differs).await;
        }
        if !change.goes_on_from(stood.as_ref()) {
            return self.broken(row, "it does not begin where its incident's change before it ended").await;
        }
        Ok(())
    }

    async fn text(
        &mut self,
        row: &StoredChange,
        actor: &ActorImage,
        set: TextSet<'_>,
        beside: &Beside,
    ) -> VerifyResult {
        let (name, sha256) = match set {
            TextSet::Long(field, _) => {
                let sha256 = beside.long_texts.get(&(row.incident, field, row.version)).cloned();
                (format!("{field:?}").to_lowercase(), sha256)
            }
            TextSet::Comment(comment, _, at) => {
                let text = beside.comments.get(&(comment, TextSetBy { incident: row.incident, version: row.version }));
                if let Some(field) = text.and_then(|text| text_at_odds(text, actor, at)) {
                    return self.broken(row, format!("the text of {comment} that it set has another {field}")).await;
                }
                (format!("text of {comment}"), text.map(|text| sha256_hex(&text.body)))
            }
        };
        self.texts += 1;
        match sha256 {
            Some(sha256) if sha256 == set.sha256() => Ok(()),
            Some(_) => self.broken(row, format!("the {name} that it set is another: its SHA-256 differs")).await,
            None => self.broken(row, format!("the {name} that it set is missing")).await,
        }
    }

    async fn head_agrees(&self) -> VerifyResult {
        if self.at < self.head.offset {
            let differs = format!("it is missing: the head says that the log goes on to {}", self.head.offset);
            return Err(VerifyStop::Broken(Break { position: self.at + 1, about: None, differs }));
        }
        if self.hash != self.head.hash {
            let differs = "the hash of the head is not that of the log's last change".to_owned();
            return Err(VerifyStop::Broken(Break { position: self.at, about: None, differs }));
        }
        Ok(())
    }

    /// Checks that each incident shows what its log adds up to, and that the tables have exactly the incidents of the
    /// log, and no more texts of comments than the log sets.
    async fn shown(&mut self) -> VerifyResult<ComparedCounts> {
        let (reader, at) = (self.reader.clone(), self.at);
        let outcome = shown::compare(&reader, &mut |incidents| self.went(incidents)).await;
        let shown = outcome.map_err(|stop| match stop {
            shown::ShownStop::Failed(error) => VerifyStop::Failed(error),
            shown::ShownStop::Differs(found) => {
                let (id, number, version) = found.incident;
                let about = Some(About::Incident(id, Some(number), version));
                VerifyStop::Broken(Break { position: found.position.unwrap_or(at), about, differs: found.differs })
            }
        })?;
        let (texts, set) = (self.reader.comment_text_total().await?, shown.comment_texts);
        if texts != set {
            let differs = format!("the desk has {texts} texts of comments, of which the log sets {set}");
            return Err(VerifyStop::Broken(Break { position: at, about: None, differs }));
        }
        Ok(shown)
    }

    /// Checks that each comment has the author and the times of its texts, and shows its newest text, or no text if it
    /// is deleted. Returns how many comments there are.
    async fn comments(&mut self) -> VerifyResult<u64> {
        let (mut last, mut count) = (None, 0);
        loop {
            let comments = self.reader.comments_after(last, ROWS_PER_BATCH).await?;
            let Some(end) = comments.last() else { return Ok(count) };
            last = Some(end.id);
            let ids: Vec<CommentId> = comments.iter().map(|comment| comment.id).collect();
            let newest = self.reader.newest_texts(&ids).await?;
            let written = comments.iter().map(|comment| (comment.id, first_set(comment)));
            let keys: HashSet<_> = newest.iter().map(|(comment, by)| (*comment, *by)).chain(written).collect();
            let texts = self.reader.comment_texts(&keys.into_iter().collect::<Vec<_>>()).await?;
            for comment in &comments {
                let by = newest.get(&comment.id).copied().unwrap_or_else(|| first_set(comment));
                let Some(field) = comment_at_odds(comment, by, &texts) else { continue };
                let differs =
                    format!("the desk shows another {field} of {} than the history of that comment", comment.id);
                let key = (by.incident, by.version);
                return match self.reader.stored_by_version(&[key]).await?.get(&key) {
                    Some(row) => self.broken(row, differs).await.map(|()| 0),
                    None => Err(VerifyStop::Broken(Break { position: self.at, about: None, differs })),
                };
            }
            count += comments.len() as u64;
            self.went(comments.len());
        }
    }

    async fn broken(&self, row: &StoredChange, differs: impl Into<String>) -> VerifyResult {
        // The number in the body may be what was altered.
        let number = self.reader.incidents(&[row.incident]).await?.pop().map(|incident| incident.number);
        let about = Some(About::Incident(row.incident, number, row.version));
        Err(VerifyStop::Broken(Break { position: row.position, about, differs: differs.into() }))
    }

    async fn broken_at(&self, row: &StoredRow, differs: impl Into<String>) -> VerifyResult {
        match row {
            StoredRow::Incident(row) => self.broken(row, differs).await,
            StoredRow::Alert(row) => Err(VerifyStop::of_alert((row.alert, row.version), row.position, differs)),
        }
    }

    /// Checks that each alert that no incident holds matches its own log. Returns how many there are.
    async fn free_alerts(&mut self) -> VerifyResult<u64> {
        let reader = self.reader.clone();
        let outcome = alert_log::compare(&reader, &mut |rows| self.went(rows)).await;
        outcome.map_err(|stop| match stop {
            alert_log::AlertLogStop::Failed(error) => VerifyStop::Failed(error),
            alert_log::AlertLogStop::Differs(found) => VerifyStop::of_alert(found.alert, found.position, found.differs),
        })
    }
}

/// Checks one change of an alert by itself. The alert's log as a whole is checked later.
fn alert_change(row: &StoredAlertChange, hash: Hash) -> VerifyResult {
    let broken = |differs: String| Err(VerifyStop::of_alert((row.alert, row.version), row.position, differs));
    let Ok(change) = AlertChange::read(row.position, check(&hash), &row.body) else {
        return broken("its body cannot be read".to_owned());
    };
    match row.column_at_odds(&change.body) {
        Some(column) => broken(format!("its column {column} says something else than its body")),
        None => Ok(()),
    }
}

fn first_set(comment: &Comment) -> TextSetBy {
    TextSetBy { incident: comment.written_on, version: comment.version }
}

/// Returns the field in which a comment differs from its own texts, if there is one. `by` set the newest text.
fn comment_at_odds(
    comment: &Comment,
    by: TextSetBy,
    texts: &HashMap<(CommentId, TextSetBy), Revision>,
) -> Option<&'static str> {
    let (first, newest) = (texts.get(&(comment.id, first_set(comment))), texts.get(&(comment.id, by)));
    let shows = match comment.deleted_at {
        Some(_) => comment.body.is_empty(),
        None => newest.is_some_and(|text| text.body == comment.body),
    };
    let edited_at = newest.filter(|_| by != first_set(comment)).map(|text| text.at);
    [
        ("text", shows),
        ("author", first.is_some_and(|text| text.by == comment.author)),
        ("time", first.is_some_and(|text| text.at == comment.created_at)),
        ("time of the last edit", edited_at == comment.edited_at),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

/// Returns the field in which a text of a comment differs from the change that set it, if there is one.
fn text_at_odds(text: &Revision, actor: &ActorImage, at: Instant) -> Option<&'static str> {
    [("author", text.by == *actor), ("time", text.at == at)]
        .into_iter()
        .find_map(|(field, same)| (!same).then_some(field))
}
