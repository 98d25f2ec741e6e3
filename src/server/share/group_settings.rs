//! The limits of groups, and the counters of all groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The limits of a group's tail, and the counters of all groups.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// The newest frames that a group keeps for members that are behind and for clients that reconnect.
    pub tail_frames: usize,
    /// The bytes of the frames that a group keeps. It keeps the newest frame whatever its size.
    pub tail_bytes: usize,
    /// The counters of all groups, for callers that want to read them.
    pub counters: Arc<Counters>,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self { tail_frames: 512, tail_bytes: 256 * 1024, counters: Arc::default() }
    }
}

/// Counts what groups have done since the server started.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) executed: AtomicU64,
    pub(super) shared: AtomicU64,
    pub(super) alone: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) members: AtomicU64,
}

impl Counters {
    /// Counts the frames that the server executed and serialised, for groups or for one client alone.
    pub fn executed(&self) -> u64 {
        self.executed.load(Ordering::Relaxed)
    }

    /// Counts the frames that members received.
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// Counts the streams that were started for one client alone, leaders of groups included.
    pub fn alone(&self) -> u64 {
        self.alone.load(Ordering::Relaxed)
    }

    /// Counts the groups that exist now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts the members that all groups have now.
    pub fn members(&self) -> u64 {
        self.members.load(Ordering::Relaxed)
    }

    pub(super) fn count_alone(&self) {
        self.alone.fetch_add(1, Ordering::Relaxed);
    }
}
