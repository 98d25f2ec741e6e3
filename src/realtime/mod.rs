//! Committed changes, live: the hub keeps a bounded ring of the newest changes and wakes the tasks that wait for more.
//!
//! Invariant: the ring holds a stretch of the log without a gap. Only `relay.rs` adds to it, in the log's order. A feed
//! asks for changes by offset; changes that have left the ring are in the database. The hub also holds what a stream
//! needs to start from a position inside the ring, so that thousands of streams that resume at once need no database
//! query.

pub mod board;
pub mod budget;
pub mod feed;
pub mod index;
mod needles;
pub mod relay;
pub mod summary;
mod tail;
pub mod track;
mod wakeups;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use self::board::{Board, BoardRows};
use self::index::{Attached, Index, Interest};
use self::needles::{Found, STRETCH_BYTES};
use crate::domain::account::{Owner, OwnerId};
use crate::domain::alert_log::Logged;
use crate::domain::position::Position;
use crate::storage::{Head, Store, TextKey};

/// Bounds what a node holds in memory of the log and the queue.
#[derive(Clone, Copy, Debug)]
pub struct RealtimeLimits {
    /// The largest number of changes in the ring.
    pub changes: usize,
    /// The largest size of these changes together, in bytes as stored.
    pub bytes: usize,
    /// The most open incidents that the board holds; beyond it, the database answers queues. 0 means no board.
    pub incidents: usize,
}

/// A position in the log without its epoch: an offset, and the start of the log's hash there.
#[derive(Clone, Copy, Debug, Default)]
struct LogMark {
    offset: u64,
    check: [u8; 8],
}

#[derive(Debug, Default)]
struct Ring {
    epoch: Uuid,
    changes: VecDeque<Logged>,
    bytes: usize,
    /// The position before the oldest change that the ring holds.
    start: LogMark,
    /// The position after the newest change that this node has read.
    end: LogMark,
    floor: u64,
    feeds: Index,
}

/// The log as this node knows it: its end, as far as this node has read, and the streams' floor, at most one tick old.
#[derive(Clone, Copy, Debug)]
pub struct KnownLog {
    /// The position after the newest change that this node has read.
    pub end: Position,
    /// The oldest offset from which a queue's stream may resume.
    pub floor: u64,
}

/// The most bytes of folded long texts that are kept for feeds that will need them soon: room for some thousand
/// descriptions, or for a few titles of a megabyte.
const LONG_TEXTS_BYTES: u64 = 16 << 20;

/// How long a read waits for the board to reach the position of its snapshot. It is about the time that the relay needs
/// to read the log on a busy node. After it, the database answers instead.
pub const BOARD_WAIT: Duration = Duration::from_millis(20);

/// How long a stream that begins waits to learn the end of the log. Its alternative, a snapshot, costs the database
/// more, and a thousand snapshots cost much more.
const START_WAIT: Duration = Duration::from_secs(2);

/// Holds the newest committed changes, and wakes the tasks that wait for the next change.
#[derive(Debug)]
pub struct Hub {
    limits: RealtimeLimits,
    ring: RwLock<Ring>,
    head: watch::Sender<u64>,
    /// The offset up to which this node itself has committed. The relay may not have read that far yet.
    committed: AtomicU64,
    /// The account version: counts the changes of users, groups and members that this node knows of.
    accounts: watch::Sender<u64>,
    nudge: Notify,
    /// Signals that this node has committed something that the other nodes do not know of.
    to_tell: Notify,
    /// Whether the LISTEN connection is known to work, so that this node receives the NOTIFY messages of other nodes.
    line_is_whole: AtomicBool,
    /// A cache of the long texts of the newest changes, folded.
    long_texts: Cache<TextKey, Arc<str>>,
    /// The open incidents as of the newest change that this node has read.
    board: Board,
}

impl Hub {
    /// Makes a hub that has read nothing yet.
    pub fn new(limits: RealtimeLimits) -> Self {
        let (ring, head) = (RwLock::default(), watch::Sender::new(0));
        Self {
            limits,
            ring,
            head,
            committed: AtomicU64::new(0),
            accounts: watch::Sender::new(0),
            nudge: Notify::new(),
            to_tell: Notify::new(),
            line_is_whole: AtomicBool::new(false),
            long_texts: Cache::builder()
                .weigher(|_, text: &Arc<str>| u32::try_from(text.len()).unwrap_or(u32::MAX))
                .max_capacity(LONG_TEXTS_BYTES)
                .build(),
            board: Board::new(limits.incidents),
        }
    }

    /// Wakes the relay because something was committed. The call carries no data: the relay reads the log.
    pub fn wake(&self) {
        self.nudge.notify_one();
    }

    /// Tells the relay and the other nodes that this node has committed the log up to an offset. A stream that starts
    /// after this call has a backlog that reaches at least to this offset.
    pub fn committed(&self, offset: u64) {
        self.committed.fetch_max(offset, Ordering::AcqRel);
        // The relay may have read the change already, after an earlier commit.
        if offset > self.head() {
            self.wake();
        }
        self.to_tell.notify_one();
    }

    /// Records the account version after this node changed users, groups or members, and tells the other nodes.
    pub fn committed_accounts(&self, accounts: u64) {
        self.keep_accounts(accounts);
        self.to_tell.notify_one();
    }

    /// Records whether the LISTEN connection works, and returns whether that is new. If it is new, the relay reads the
    /// log at once: it may have missed a message, or its tick has another length now.
    fn line_is_whole(&self, whole: bool) -> bool {
        let is_news = self.line_is_whole.swap(whole, Ordering::AcqRel) != whole;
        if is_news {
            self.wake();
        }
        is_news
    }

    /// Returns whether this node receives the NOTIFY messages of other nodes, as far as it knows.
    pub fn hears_other_nodes(&self) -> bool {
        self.line_is_whole.load(Ordering::Acquire)
    }

    /// Records the account version if it is newer than the known version.
    fn keep_accounts(&self, accounts: u64) {
        self.accounts.send_if_modified(|known| {
            let is_news = *known < accounts;
            *known = accounts.max(*known);
            is_news
        });
    }

    /// Returns how often users, groups or members were changed, as far as this node knows (the account version).
    pub fn accounts(&self) -> u64 {
        *self.accounts.borrow()
    }

    /// Returns a receiver of every later value of [`Hub::accounts`].
    pub fn watch_accounts(&self) -> watch::Receiver<u64> {
        self.accounts.subscribe()
    }

    /// Returns the offset of the newest change that this node has read.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Returns a receiver of every later value of [`Hub::head`].
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Returns the end of the log and the streams' floor as this node knows them.
    pub fn known(&self) -> KnownLog {
        let ring = self.read();
        KnownLog { end: ring.place(ring.end), floor: ring.floor }
    }

    /// Returns the offset to which a backlog reaches that begins now: the newest that this node has read or committed
    /// itself.
    pub fn present(&self) -> u64 {
        self.head().max(self.committed.load(Ordering::Acquire))
    }

    /// Returns the position at an offset if the ring reaches back to it. The database knows the other positions.
    pub fn place(&self, offset: u64) -> Option<Position> {
        let ring = self.read();
        if offset == ring.start.offset {
            return Some(ring.place(ring.start));
        }
        let change = ring.changes.get(usize::try_from(offset.checked_sub(ring.start.offset + 1)?).ok()?)?;
        Some(ring.place(LogMark { offset, check: change.check() }))
    }

    /// Returns the changes after an offset, ascending, at most `limit`; `None` if the ring no longer reaches back that
    /// far. Beyond the end that this node has read, the list is empty, and the caller waits.
    pub fn after(&self, offset: u64, limit: usize) -> Option<Vec<Logged>> {
        let ring = self.read();
        if offset >= ring.end.offset {
            return Some(Vec::new());
        }
        let first = ring.changes.front()?.offset();
        let skip = usize::try_from((offset + 1).checked_sub(first)?).ok()?;
        Some(ring.changes.iter().skip(skip).take(limit).cloned().collect())
    }

    /// Starts to hand the caller every change after `offset` that may concern `interest`. Returns `None` if `offset` is
    /// not the newest that this node has read; the caller has to read up to there first.
    pub fn attach(self: &Arc<Self>, interest: &Interest, offset: u64) -> Option<Attached> {
        let mut ring = self.write();
        (ring.end.offset == offset).then(|| Attached::new(self.clone(), &mut ring.feeds, interest))
    }

    fn detach(&self, attached: &Attached) {
        self.write().feeds.remove(attached);
    }

    /// Sets the position where the relay starts. All changes up to it are in the database only.
    fn start_at(&self, start: Position, floor: u64) {
        let mut ring = self.write();
        let mark = LogMark { offset: start.offset, check: start.check };
        (ring.epoch, ring.start, ring.end, ring.floor) = (start.epoch, mark, mark, floor);
        drop(ring);
        self.head.send_replace(start.offset);
    }

    /// Records the streams' floor. Only the relay calls this.
    fn keep_floor(&self, floor: u64) {
        if self.read().floor != floor {
            self.write().floor = floor;
        }
    }

    /// Answers from the board's rows as of exactly this position of the log. Returns `None` if there is no board, if
    /// the board does not reach the position within [`BOARD_WAIT`], or if it is already beyond it.
    pub async fn on_board<T>(&self, at: &Position, answer: impl FnOnce(&BoardRows) -> T) -> Option<T> {
        if !self.board.is_open() {
            return None;
        }
        if !self.comes_to(at.offset).await {
            return None;
        }
        self.board.read(at, None, |rows, _| answer(rows))
    }

    /// Returns the board's position once it is at or beyond the given end of the log. Returns `None` if there is no
    /// board, or if the board does not get there within [`BOARD_WAIT`].
    pub async fn board_beyond(&self, end: &Head) -> Option<Position> {
        if !self.board.is_open() || !self.has_read(end).await {
            return None;
        }
        self.board.beyond(end)
    }

    /// Returns whether this node has read the log to this end, or does so within [`BOARD_WAIT`], and the ring holds
    /// that end.
    async fn has_read(&self, end: &Head) -> bool {
        if !self.comes_to(end.offset).await {
            return false;
        }
        // A log that was restored, or that lost its end in a failover to a standby, is another log.
        let is_the_same = self.place(end.offset).is_some_and(|place| place == end.position());
        if !is_the_same {
            self.wake();
        }
        is_the_same
    }

    /// Returns whether this node has read the log up to an offset, or does so within [`BOARD_WAIT`].
    async fn comes_to(&self, offset: u64) -> bool {
        if self.head() >= offset {
            return true;
        }
        // This node may not have received the NOTIFY message of another node's commit yet.
        self.wake();
        let mut head = self.watch();
        let reached = head.wait_for(|head| *head >= offset);
        tokio::time::timeout(BOARD_WAIT, reached).await.is_ok_and(|reached| reached.is_ok())
    }

    /// Returns the current end of the log if this node has read that far. A stream that starts there needs no more
    /// queries.
    async fn present_end(&self, store: &Store) -> Option<Position> {
        let end = end_now(store, START_WAIT).await?;
        self.has_read(&end).await.then(|| end.position())
    }

    /// Returns the board's position if it is at or beyond the current end of the log, and the account version at that
    /// end. Returns `None` if the database does not tell the end of the log in time, or if the board is behind.
    pub async fn board_now(&self, store: &Store, wait: Duration) -> Option<(Position, u64)> {
        if !self.has_board() {
            return None;
        }
        let end = end_now(store, wait).await?;
        Some((self.board_beyond(&end).await?, end.accounts))
    }

    /// Answers from the board's rows and the names of their owners, if the board is at exactly this position and its
    /// names are of exactly this account version.
    pub fn board_at<T>(
        &self,
        at: &Position,
        accounts: u64,
        answer: impl FnOnce(&BoardRows, &HashMap<OwnerId, Owner>) -> T,
    ) -> Option<T> {
        self.board.read(at, Some(accounts), answer)
    }

    /// Whether there is a board.
    pub fn has_board(&self) -> bool {
        self.board.is_open()
    }

    /// Returns whether any feed looks for a text, so that the texts of changes have to be searched.
    fn looks_for_texts(&self) -> bool {
        !self.read().feeds.needles().is_empty()
    }

    /// Finds the texts that feeds look for in these texts of one change. It releases the ring's lock between two
    /// stretches.
    async fn look(&self, texts: &[Arc<str>]) -> Found {
        let mut found = Found::nothing(self.read().feeds.needles());
        for text in texts {
            let mut start = 0;
            while start < text.len() {
                let stretch = (start, text.len().min(start + STRETCH_BYTES));
                self.read().feeds.needles().look(text, stretch, &mut found);
                start += STRETCH_BYTES;
                if start < text.len() {
                    tokio::task::yield_now().await;
                }
            }
            found.end_of_text();
        }
        found
    }

    /// Returns a folded long text if the cache of the newest changes' texts holds it.
    pub(crate) fn long_text(&self, key: &TextKey) -> Option<Arc<str>> {
        self.long_texts.get(key)
    }

    /// Caches a folded long text for other feeds that need it.
    pub(crate) fn keep_long_text(&self, key: TextKey, folded: &Arc<str>) {
        self.long_texts.insert(key, folded.clone());
    }

    /// Adds the next changes of the log, without a search of their texts. Only the relay calls this.
    fn publish(&self, changes: Vec<Logged>) {
        self.publish_looked(changes.into_iter().map(|change| (change, Found::default())).collect());
    }

    /// Adds the next changes of the log, each with the texts that were found in it.
    fn publish_looked(&self, mut changes: Vec<(Logged, Found)>) {
        // The ring never takes a change twice, even if the relay repeats a read after a fault.
        let end = self.read().end.offset;
        changes.retain(|(change, _)| change.offset() > end);
        let Some(last) = changes.last().map(|(change, _)| change.offset()) else { return };
        let logged: Vec<Logged> = changes.iter().map(|(change, _)| change.clone()).collect();
        let mut ring = self.write();
        let looked = changes.iter().map(|(_, found)| found.upto()).min().unwrap_or_default();
        for (change, found) in changes {
            // Hand the change over before the end moves, so that a feed that sees the new end has every change up to
            // it.
            ring.feeds.touch(&change, &found);
            ring.bytes += change.bytes();
            ring.end = LogMark { offset: change.offset(), check: change.check() };
            ring.changes.push_back(change);
        }
        while ring.changes.len() > self.limits.changes || ring.bytes > self.limits.bytes {
            let Some(oldest) = ring.changes.pop_front() else { break };
            ring.start = LogMark { offset: oldest.offset(), check: oldest.check() };
            ring.bytes -= oldest.bytes();
        }
        ring.feeds.forget_new(looked);
        let end = ring.place(ring.end);
        drop(ring);
        self.board.follow(&logged, end);
        self.head.send_replace(last);
    }

    fn read(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write()
    }
}

/// Returns the current end of the log if the database answers in time. Concurrent callers share one query
/// (single-flight).
async fn end_now(store: &Store, wait: Duration) -> Option<Head> {
    tokio::time::timeout(wait, store.head_now()).await.ok()?.ok()
}

impl Ring {
    fn place(&self, mark: LogMark) -> Position {
        Position { epoch: self.epoch, offset: mark.offset, check: mark.check, queue: None }
    }
}
