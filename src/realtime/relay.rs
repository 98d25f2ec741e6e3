//! The relay: the one reader of the log on this node. At each wake-up it reads the changes after the last one that it
//! has read, in order, and puts them into the ring.
//!
//! Why it reads the log, although the commands could pass their changes on: two commands commit 5 and 6, and their
//! changes may arrive here as 6, 5; a crash between commit and hand-over would lose 5; another node's commit never
//! passes through this process. With one reader of one log, the same code handles order, crashes and other nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::needles::Found;
use super::{Hub, wakeups};
use crate::domain::alert_log::Logged;
use crate::domain::change::Change;
use crate::domain::incident::TextField;
use crate::domain::queue::IncidentText;
use crate::domain::{Error, Result, text};
use crate::storage::{Head, LogBeyond, Store, TextKey, pause_unanswered};

/// The relay's tick while no NOTIFY messages arrive: how long a commit of another process may go unnoticed. Ten small
/// queries a second cost less than a wall that visibly lags.
const TICK: Duration = Duration::from_millis(100);

/// The relay's tick while NOTIFY messages of other nodes arrive. It then only finds the commit of a node that died
/// before it sent its message, and the commits of writers that send none.
const TICK_TOLD: Duration = Duration::from_secs(1);

/// The deadline for the read of the log's end. It normally takes a millisecond; a much slower connection was cut off.
const ANSWER: Duration = Duration::from_secs(5);

/// The most changes of one read while the relay is behind the end of the log.
const BATCH: u64 = 1_000;

/// The most changes of one read at the end of the log, where a read mostly finds the changes of one commit. With a
/// small limit PostgreSQL keeps the plan of the statement. With a large limit it expects many rows as long as it does
/// not know the position. So it plans each read anew, which takes longer than the read.
const FEW: u64 = 32;

/// How many of the newest changes the ring holds from the start. After a restart all clients reconnect at once, with
/// positions of a moment ago.
const AT_START: u64 = 2_000;

/// Places the hub at the present end of the log, so that feeds can start. Returns the offset of that end.
pub async fn begin(store: &Store, hub: &Hub) -> Result<u64> {
    let reader = store.read().await?;
    let head = reader.head().await?;
    let newest = AT_START.min(hub.limits.changes as u64).min(head.offset);
    let start = reader.position_at(&head, head.offset - newest).await?;
    let Some(start) = start else { return Err(Error::fault(BROKEN, "its newest changes are missing")) };
    hub.start_at(start, head.floor);
    hub.keep_accounts(head.accounts);
    let changes = reader.log_after(&head, start.offset, newest).await?;
    hub.publish(changes.ok_or_else(|| Error::fault(BROKEN, GAP))?);
    hub.board.load(&reader, &head).await?;
    // Count last: a statement that fails ends the snapshot.
    if let Err(error) = hub.board.count(&reader).await {
        warn!(%error, "the incidents could not be counted: counts of closed ones are read from the database");
    }
    Ok(head.offset)
}

/// Relays the log from an offset on, and never returns. It retries while the database does not answer. A gap in the
/// log, or another log in its place, ends the process with code 70: a restart is better than a wall that silently
/// stands still.
pub async fn run(store: Store, hub: Arc<Hub>, mut last: u64) {
    info!(relay.position = last, "relay started");
    // The task ends with the relay.
    let mut line = JoinSet::new();
    if store.has_line() {
        line.spawn(wakeups::run(store.clone(), hub.clone()));
    }
    let mut limit = FEW;
    loop {
        match read_on(&store, &hub, last, limit).await {
            Ok((read, end)) if read < end => (last, limit) = (read, BATCH),
            Ok((read, _)) => {
                (last, limit) = (read, FEW);
                // `Notify` keeps a wake-up that comes during a read, so none is lost.
                let tick = if hub.hears_other_nodes() { TICK_TOLD } else { TICK };
                if tokio::time::timeout(tick, hub.nudge.notified()).await.is_err() {
                    continue;
                }
            }
            Err(Error::Fault { context: BROKEN, source }) => {
                error!(error = %source, relay.position = last, "the log is not the one that was followed, stopping");
                std::process::exit(70);
            }
            Err(error) => {
                warn!(error = %error, relay.position = last, "the log could not be read, trying again");
                pause_unanswered().await;
            }
        }
    }
}

const BROKEN: &str = "relaying the log";

const GAP: &str = "a position is missing before its end";

/// Reads the next changes and publishes them. Returns the offset of the last change that was read, and the offset of
/// the end of the log.
async fn read_on(store: &Store, hub: &Hub, last: u64, limit: u64) -> Result<(u64, u64)> {
    let Some(LogBeyond { head, changes }) = store.log_beyond(&hub.known().end, limit, ANSWER).await? else {
        // The log was restored or rewound: the ring and the streams hold changes of another log.
        return Err(Error::fault(BROKEN, format!("it does not hold position {last} as it was read")));
    };
    hub.keep_floor(head.floor);
    hub.keep_accounts(head.accounts);
    let Some(changes) = changes else {
        return Err(Error::fault(BROKEN, format!("{GAP}, after {last}")));
    };
    let read = last + changes.len() as u64;
    if !changes.is_empty() {
        let found = if hub.looks_for_texts() {
            look(hub, store, &changes).await?
        } else {
            // A feed that starts to look for a text between this check and the end of the batch receives all changes of
            // it.
            vec![Found::default(); changes.len()]
        };
        hub.publish_looked(changes.into_iter().zip(found).collect());
    }
    complete_board(hub, store, &head).await;
    Ok((read, head.offset))
}

/// Lets the board read facts that changes do not carry. The changes are published already and may not be read again. If
/// this fails, the board answers fewer queries until the next read.
async fn complete_board(hub: &Hub, store: &Store, head: &Head) {
    if hub.board.is_complete(head) {
        return;
    }
    let completed = async {
        let reader = store.read_within(ANSWER).await?;
        let head = reader.head().await?;
        hub.board.complete(&reader, &head).await
    };
    if let Err(error) = completed.await {
        warn!(error = %error, "the board could not read names and titles, queues are read from the database meanwhile");
    }
}

/// Finds the texts that feeds look for in the titles and descriptions of changes. Each text is folded once for all
/// feeds.
async fn look(hub: &Hub, store: &Store, changes: &[Logged]) -> Result<Vec<Found>> {
    let of_incidents = changes.iter().filter_map(Logged::of_incident);
    let stored =
        of_incidents.flat_map(|change| texts_of(change)).filter_map(|(key, text)| text.stored_version().map(|_| key));
    let mut missing: Vec<TextKey> = stored.filter(|key| hub.long_text(key).is_none()).collect();
    missing.sort_by_key(|(incident, field, version)| (*incident, *field as u8, *version));
    missing.dedup();
    let mut long: HashMap<TextKey, Arc<str>> = HashMap::new();
    if !missing.is_empty() {
        // A long text belongs to one version and never changes, so any later snapshot has it.
        for (key, text) in store.read_within(ANSWER).await?.long_texts(&missing).await? {
            let folded = Arc::from(text::fold(&text));
            hub.keep_long_text(key, &folded);
            long.insert(key, folded);
        }
    }
    let mut all = Vec::with_capacity(changes.len());
    for change in changes {
        // Nobody looks for a text in a change of an alert.
        let mut texts = change.of_incident().map(|change| texts_of(change)).unwrap_or_default();
        // Most changes leave the texts as they were.
        texts.sort_by_key(|((_, field, version), _)| (*field as u8, *version));
        texts.dedup_by(|one, other| one.0.1 == other.0.1 && one.1 == other.1);
        let folded = texts.iter().map(|(key, text)| match text {
            IncidentText::Inline(text) => Some(Arc::from(text::fold(text))),
            IncidentText::Stored { .. } => long.get(key).cloned().or_else(|| hub.long_text(key)),
        });
        all.push(match folded.collect::<Option<Vec<Arc<str>>>>() {
            Some(texts) => hub.look(&texts).await,
            // The cache has just dropped the text: every feed that looks for a text receives the change.
            None => Found::default(),
        });
    }
    Ok(all)
}

/// Returns the titles and descriptions of the rows before and after a change.
fn texts_of(change: &Change) -> Vec<(TextKey, &IncidentText)> {
    let rows = change.before.iter().chain([&change.body.row]);
    let of_row = rows.flat_map(|row| {
        let description = row.description.as_ref().map(|text| (row.id, TextField::Description, text));
        [(row.id, TextField::Title, &row.title)].into_iter().chain(description)
    });
    of_row.map(|(id, field, text)| ((id, field, text.stored_version().unwrap_or_default()), text)).collect()
}
