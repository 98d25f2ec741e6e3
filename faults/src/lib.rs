//! A disk for tests of SQLite: it fails at a chosen write, and remembers which bytes would survive a loss of power.
//!
//! A [`Disk`] is a file layer of SQLite (a VFS) over the default layer. A database is opened on it by `?vfs=NAME` in
//! its URL. Its operations are the writes, syncs and truncations of databases and their logs, counted from one.

mod memory;
mod vfs;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use memory::Loss;
use memory::{Memory, Operation};

/// The manner in which an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: only the first half of a write is there.
    Full,
    /// The disk answers with an error. Nothing of a write is there, and a sync has made nothing safe.
    Error,
    /// The disk answers with an error after it has done the operation.
    ErrorAfter,
}

/// The operations that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Only one operation.
    Once,
    /// The operation and all later operations, until the disk is mended.
    UntilMended,
}

/// A disk. Clones share the same disk.
#[derive(Clone)]
pub struct Disk {
    name: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    operations: u64,
    plan: Option<Plan>,
    failed: u64,
    memory: Memory,
}

#[derive(Clone, Copy)]
struct Plan {
    at: u64,
    fault: Fault,
    span: Span,
}

impl Disk {
    /// Makes a disk under a name that no other disk of this process has.
    #[expect(clippy::new_without_default, reason = "each is another disk")]
    pub fn new() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        Self { name: vfs::register(state.clone()), state }
    }

    /// Returns the URL of a database on this disk. The database is created when it is opened.
    pub fn url(&self, file: &Path) -> String {
        format!("sqlite://{}?mode=rwc&vfs={}", file.display(), self.name)
    }

    /// Returns the number of operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Makes the n-th operation from now on fail, counted from one.
    pub fn fail(&self, n: u64, fault: Fault, span: Span) {
        let mut state = self.lock();
        state.plan = Some(Plan { at: state.operations + n, fault, span });
        state.failed = 0;
    }

    /// Ends all failures, and returns how many operations have failed.
    pub fn mend(&self) -> u64 {
        let mut state = self.lock();
        state.plan = None;
        std::mem::take(&mut state.failed)
    }

    /// Writes the files as a loss of power after this many operations would leave them into a folder. It keeps the
    /// synced bytes, and of the other bytes a part that the seed chooses.
    pub fn lose_power(&self, after: u64, loss: Loss, folder: &Path) -> std::io::Result<()> {
        self.lock().memory.survivors(after, loss, folder)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Counts an operation, and returns the fault that it meets.
    fn begin(&mut self) -> Option<Fault> {
        self.operations += 1;
        let plan = self.plan?;
        let meets = match plan.span {
            Span::Once => self.operations == plan.at,
            Span::UntilMended => self.operations >= plan.at,
        };
        if !meets {
            return None;
        }
        self.failed += 1;
        Some(plan.fault)
    }

    fn remember(&mut self, file: usize, operation: Operation) {
        let at = self.operations;
        self.memory.remember(at, file, operation);
    }
}
