//! The state that the reader and the writer of one socket share.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use super::outbox::OperationUse;

/// A socket.
#[derive(Default)]
pub(super) struct Socket {
    active: Mutex<HashMap<String, OpenOperation>>,
    pub(super) unanswered_pings: AtomicU32,
}

impl Socket {
    /// Returns the open operations, by their ids.
    pub(super) fn active(&self) -> MutexGuard<'_, HashMap<String, OpenOperation>> {
        // No code is awaited or called while the lock is held, so a poisoned map is consistent.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open operation.
pub(super) struct OpenOperation {
    pub(super) operation: Arc<OperationUse>,
    pub(super) task: AbortHandle,
}

/// A message that answers the client directly.
pub(super) struct Control {
    pub(super) text: String,
    pub(super) _bytes: OwnedSemaphorePermit,
}
