//! Committed changes, live: the hub keeps a bounded ring of the newest ones and wakes who waits for more.
//!
//! Invariant: the ring holds a stretch of the log without a gap, and only `relay.rs` adds to it, in the log's order.
//! A feed asks by offset; what the ring no longer has is in the database.

pub mod feed;
pub mod relay;
pub mod summary;

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Notify, watch};

use crate::domain::change::Change;

/// How much of the newest log is kept in memory.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// At most so many changes.
    pub changes: usize,
    /// At most so many bytes of them, as stored.
    pub bytes: usize,
}

#[derive(Debug, Default)]
struct Ring {
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    head: u64,
}

/// The newest committed changes, and who waits for the next.
#[derive(Debug)]
pub struct Hub {
    limits: RingLimits,
    ring: RwLock<Ring>,
    head: watch::Sender<u64>,
    nudge: Notify,
}

impl Hub {
    /// A hub that has seen nothing yet.
    pub fn new(limits: RingLimits) -> Self {
        Self { limits, ring: RwLock::default(), head: watch::Sender::new(0), nudge: Notify::new() }
    }

    /// Tells the relay that something was committed. It carries no data: the relay reads the log.
    pub fn wake(&self) {
        self.nudge.notify_one();
    }

    /// The offset of the newest change that this node has read.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Sees every later [`Hub::head`].
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// The changes after an offset, ascending, at most `limit`; none where the ring no longer reaches that far back.
    /// A place that this node has not reached yet has nothing after it: the caller waits.
    pub fn after(&self, offset: u64, limit: usize) -> Option<Vec<Arc<Change>>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if offset >= ring.head {
            return Some(Vec::new());
        }
        let first = ring.changes.front()?.offset;
        let skip = usize::try_from((offset + 1).checked_sub(first)?).ok()?;
        Some(ring.changes.iter().skip(skip).take(limit).cloned().collect())
    }

    /// Where the relay starts: everything up to here is in the database only.
    fn start_at(&self, offset: u64) {
        self.ring.write().unwrap_or_else(PoisonError::into_inner).head = offset;
        self.head.send_replace(offset);
    }

    /// Adds the next changes of the log. Only the relay calls this.
    fn publish(&self, changes: Vec<Change>) {
        let Some(last) = changes.last().map(|change| change.offset) else { return };
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            ring.bytes += change.bytes;
            ring.changes.push_back(Arc::new(change));
        }
        while ring.changes.len() > self.limits.changes || ring.bytes > self.limits.bytes {
            let Some(oldest) = ring.changes.pop_front() else { break };
            ring.bytes -= oldest.bytes;
        }
        ring.head = last;
        drop(ring);
        self.head.send_replace(last);
    }
}
