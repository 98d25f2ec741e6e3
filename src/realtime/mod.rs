//! Committed changes, live: the hub keeps a bounded ring of the newest ones and wakes who waits for more.
//!
//! Invariant: the ring holds a stretch of the log without a gap, and only `relay.rs` adds to it, in the log's order.
//! A feed asks by offset; what the ring no longer has is in the database. What a stream needs to start from a position
//! inside the ring is here as well, so that thousands who come back at once ask the database nothing.

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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use self::board::{Board, Rows};
use self::index::{Attached, Index, Interest};
use self::needles::{Found, STRETCH_BYTES};
use crate::domain::account::{Owner, OwnerId};
use crate::domain::alert_log::Logged;
use crate::domain::position::Position;
use crate::storage::{Head, Store, TextKey};

/// How much of the newest log is kept in memory.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// At most so many changes.
    pub changes: usize,
    /// At most so many bytes of them, as stored.
    pub bytes: usize,
    /// Open incidents that the board holds: beyond, queues are read from the database. 0 for no board.
    pub incidents: usize,
}

/// A place of the log: an offset, and the start of the log's hash there.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    offset: u64,
    check: [u8; 8],
}

#[derive(Debug, Default)]
struct Ring {
    epoch: Uuid,
    changes: VecDeque<Logged>,
    bytes: usize,
    /// The place before the oldest change that is held.
    start: Mark,
    /// The place after the newest change that this node has read.
    end: Mark,
    floor: u64,
    feeds: Index,
}

/// The log as this node knows it: the newest change that it has read, and the streams' floor at most a tick ago.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The place after the newest change.
    pub end: Position,
    /// The oldest offset that a queue's stream may go on from.
    pub floor: u64,
}

/// Folded long texts that are kept for the feeds that need them in a moment: some thousand descriptions, or a few titles of
/// a megabyte.
const LONG_TEXTS_BYTES: u64 = 16 << 20;

/// How long a read waits for the board to come to the position of its snapshot: as long as reading the log takes where other
/// work goes on. The database answers what the board does not.
pub const BOARD_WAIT: Duration = Duration::from_millis(20);

/// How long a stream that begins waits to learn where the log ends. A snapshot, which it takes else, costs the database more, and a
/// thousand of them much more.
const START_WAIT: Duration = Duration::from_secs(2);

/// The newest committed changes, and who waits for the next.
#[derive(Debug)]
pub struct Hub {
    limits: RingLimits,
    ring: RwLock<Ring>,
    head: watch::Sender<u64>,
    /// How far this node's own commits have come; the relay may not have read them yet.
    committed: AtomicU64,
    /// How often users, groups or members were changed, as far as this node knows.
    accounts: watch::Sender<u64>,
    nudge: Notify,
    /// This node has committed something that the others do not know of.
    to_tell: Notify,
    /// Whether other nodes' commits are told to this one.
    line_is_whole: AtomicBool,
    /// The long texts of the newest changes, folded.
    long_texts: Cache<TextKey, Arc<str>>,
    /// The open incidents as of the newest change that this node has read.
    board: Board,
}

impl Hub {
    /// A hub that has seen nothing yet.
    pub fn new(limits: RingLimits) -> Self {
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

    /// Tells the relay that something was committed. It carries no data: the relay reads the log.
    pub fn wake(&self) {
        self.nudge.notify_one();
    }

    /// Tells the relay, and the other nodes, that this node has committed the log up to an offset: what starts from now on
    /// has a backlog that reaches at least as far.
    pub fn committed(&self, offset: u64) {
        self.committed.fetch_max(offset, Ordering::AcqRel);
        self.wake();
        self.to_tell.notify_one();
    }

    /// Takes note, and tells the other nodes, how often users, groups or members were changed, now that this node did.
    pub fn committed_accounts(&self, accounts: u64) {
        self.keep_accounts(accounts);
        self.to_tell.notify_one();
    }

    /// Takes note whether other nodes' commits are told to this one; returns whether that is new. Either way the relay looks
    /// at once: for what was not told, or by the other clock.
    fn line_is_whole(&self, whole: bool) -> bool {
        let is_news = self.line_is_whole.swap(whole, Ordering::AcqRel) != whole;
        if is_news {
            self.wake();
        }
        is_news
    }

    /// Whether other nodes' commits are told to this one, as far as it knows.
    pub fn hears_other_nodes(&self) -> bool {
        self.line_is_whole.load(Ordering::Acquire)
    }

    /// Takes note of how often users, groups or members were changed.
    fn keep_accounts(&self, accounts: u64) {
        self.accounts.send_if_modified(|known| {
            let is_news = *known < accounts;
            *known = accounts.max(*known);
            is_news
        });
    }

    /// How often users, groups or members were changed.
    pub fn accounts(&self) -> u64 {
        *self.accounts.borrow()
    }

    /// Sees every later [`Hub::accounts`].
    pub fn watch_accounts(&self) -> watch::Receiver<u64> {
        self.accounts.subscribe()
    }

    /// The offset of the newest change that this node has read.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Sees every later [`Hub::head`].
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// The log as this node knows it.
    pub fn known(&self) -> Known {
        let ring = self.read();
        Known { end: ring.place(ring.end), floor: ring.floor }
    }

    /// How far a backlog reaches that begins now: to what this node has read, or committed itself.
    pub fn present(&self) -> u64 {
        self.head().max(self.committed.load(Ordering::Acquire))
    }

    /// The place at an offset, where the ring reaches it; the database knows the others.
    pub fn place(&self, offset: u64) -> Option<Position> {
        let ring = self.read();
        if offset == ring.start.offset {
            return Some(ring.place(ring.start));
        }
        let change = ring.changes.get(usize::try_from(offset.checked_sub(ring.start.offset + 1)?).ok()?)?;
        Some(ring.place(Mark { offset, check: change.check() }))
    }

    /// The changes after an offset, ascending, at most `limit`; none where the ring no longer reaches that far back.
    /// A place that this node has not reached yet has nothing after it: the caller waits.
    pub fn after(&self, offset: u64, limit: usize) -> Option<Vec<Logged>> {
        let ring = self.read();
        if offset >= ring.end.offset {
            return Some(Vec::new());
        }
        let first = ring.changes.front()?.offset();
        let skip = usize::try_from((offset + 1).checked_sub(first)?).ok()?;
        Some(ring.changes.iter().skip(skip).take(limit).cloned().collect())
    }

    /// Hands every change after `offset` that may concern `interest` to the caller, if `offset` is the newest place that
    /// this node has read; else the caller has to come there first.
    pub fn attach(self: &Arc<Self>, interest: &Interest, offset: u64) -> Option<Attached> {
        let mut ring = self.write();
        (ring.end.offset == offset).then(|| Attached::new(self.clone(), &mut ring.feeds, interest))
    }

    fn detach(&self, attached: &Attached) {
        self.write().feeds.remove(attached);
    }

    /// Where the relay starts: everything up to here is in the database only.
    fn start_at(&self, start: Position, floor: u64) {
        let mut ring = self.write();
        let mark = Mark { offset: start.offset, check: start.check };
        (ring.epoch, ring.start, ring.end, ring.floor) = (start.epoch, mark, mark, floor);
        drop(ring);
        self.head.send_replace(start.offset);
    }

    /// Takes note of the streams' floor. Only the relay calls this.
    fn keep_floor(&self, floor: u64) {
        if self.read().floor != floor {
            self.write().floor = floor;
        }
    }

    /// An answer from the board's rows as of exactly this position of the log. None where there is no board, where the board
    /// does not come to the position within [`BOARD_WAIT`], or where it stands beyond it already.
    pub async fn on_board<T>(&self, at: &Position, answer: impl FnOnce(&Rows) -> T) -> Option<T> {
        if !self.board.is_open() {
            return None;
        }
        if !self.comes_to(at.offset).await {
            return None;
        }
        self.board.read(at, None, |rows, _| answer(rows))
    }

    /// Where the board stands, once that is at the end of a log or beyond it; none where there is no board, or where it does not
    /// come there within [`BOARD_WAIT`].
    pub async fn board_beyond(&self, end: &Head) -> Option<Position> {
        if !self.board.is_open() || !self.has_read(end).await {
            return None;
        }
        self.board.beyond(end)
    }

    /// Whether this node has read a log to its end, or does so within [`BOARD_WAIT`], and the ring still holds that place.
    async fn has_read(&self, end: &Head) -> bool {
        if !self.comes_to(end.offset).await {
            return false;
        }
        // A log that was restored, or that went over to a standby without its end, is another.
        let is_the_same = self.place(end.offset).is_some_and(|place| place == end.position());
        if !is_the_same {
            self.wake();
        }
        is_the_same
    }

    /// Whether this node has read the log up to an offset, or does so within [`BOARD_WAIT`].
    async fn comes_to(&self, offset: u64) -> bool {
        if self.head() >= offset {
            return true;
        }
        // Another node's commit may not have been told to this one yet.
        self.wake();
        let mut head = self.watch();
        let reached = head.wait_for(|head| *head >= offset);
        tokio::time::timeout(BOARD_WAIT, reached).await.is_ok_and(|reached| reached.is_ok())
    }

    /// The end of the log as of now, where this node has read that far: a stream that starts there asks the database nothing more.
    async fn present_end(&self, store: &Store) -> Option<Position> {
        let end = end_now(store, START_WAIT).await?;
        self.has_read(&end).await.then(|| end.position())
    }

    /// Where the board stands by itself, if that is at the end of the log as of now or beyond, and how often users and groups had
    /// been changed then. None where the database does not say in time where the log ends, or the board is behind.
    pub async fn board_now(&self, store: &Store, wait: Duration) -> Option<(Position, u64)> {
        if !self.has_board() {
            return None;
        }
        let end = end_now(store, wait).await?;
        Some((self.board_beyond(&end).await?, end.accounts))
    }

    /// An answer from the board's rows and the names of their owners, if it stands at exactly this position, and the names are those
    /// of when users and groups had been changed so often.
    pub fn board_at<T>(
        &self,
        at: &Position,
        accounts: u64,
        answer: impl FnOnce(&Rows, &HashMap<OwnerId, Owner>) -> T,
    ) -> Option<T> {
        self.board.read(at, Some(accounts), answer)
    }

    /// Whether there is a board.
    pub fn has_board(&self) -> bool {
        self.board.is_open()
    }

    /// Whether a feed looks for a text, so that the texts of changes are worth a look.
    fn looks_for_texts(&self) -> bool {
        !self.read().feeds.needles().is_empty()
    }

    /// What feeds look for in these texts of one change. The ring is free for others between two stretches.
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

    /// A long text, folded, if it is of one of the newest changes.
    pub(crate) fn long_text(&self, key: &TextKey) -> Option<Arc<str>> {
        self.long_texts.get(key)
    }

    /// Keeps a long text, folded, for others who need it.
    pub(crate) fn keep_long_text(&self, key: TextKey, folded: &Arc<str>) {
        self.long_texts.insert(key, folded.clone());
    }

    /// Adds the next changes of the log. Only the relay calls this.
    fn publish(&self, changes: Vec<Logged>) {
        self.publish_looked(changes.into_iter().map(|change| (change, Found::default())).collect());
    }

    /// The same, each with the texts that were found in it.
    fn publish_looked(&self, mut changes: Vec<(Logged, Found)>) {
        // A change that is there is not published again, whatever the relay does after a fault.
        let end = self.read().end.offset;
        changes.retain(|(change, _)| change.offset() > end);
        let Some(last) = changes.last().map(|(change, _)| change.offset()) else { return };
        let logged: Vec<Logged> = changes.iter().map(|(change, _)| change.clone()).collect();
        let mut ring = self.write();
        let looked = changes.iter().map(|(_, found)| found.upto()).min().unwrap_or_default();
        for (change, found) in changes {
            // Before the end moves: a feed that sees the end has been handed everything up to it.
            ring.feeds.touch(&change, &found);
            ring.bytes += change.bytes();
            ring.end = Mark { offset: change.offset(), check: change.check() };
            ring.changes.push_back(change);
        }
        while ring.changes.len() > self.limits.changes || ring.bytes > self.limits.bytes {
            let Some(oldest) = ring.changes.pop_front() else { break };
            ring.start = Mark { offset: oldest.offset(), check: oldest.check() };
            ring.bytes -= oldest.bytes();
        }
        ring.feeds.forget_new(looked);
        let end = ring.place(ring.end);
        drop(ring);
        self.board.follow(&logged, end);
        self.head.send_replace(last);
    }

    fn read(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the log as of now, if the database says it in time. One question is shared by all who ask at once.
async fn end_now(store: &Store, wait: Duration) -> Option<Head> {
    tokio::time::timeout(wait, store.head_now()).await.ok()?.ok()
}

impl Ring {
    fn place(&self, mark: Mark) -> Position {
        Position { epoch: self.epoch, offset: mark.offset, check: mark.check, queue: None }
    }
}
