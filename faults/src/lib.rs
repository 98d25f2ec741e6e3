//! A disk for tests of SQLite: it fails at the write of one's choice, and remembers what a loss of power would leave.
//!
//! A [`Disk`] is a file layer of SQLite (a VFS) over the usual one. A database is opened on it by `?vfs=NAME` in its URL. The
//! writes, syncs and truncations of databases and their logs are its operations; they are counted from one.

mod memory;
mod vfs;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use memory::Loss;
use memory::{Memory, Operation};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: of a write only the first half is there.
    Full,
    /// The disk answers with an error: of a write nothing is there. What a sync was to make safe is not.
    Error,
    /// The disk answers with an error after it did what was asked.
    ErrorAfter,
}

/// Which operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// One.
    Once,
    /// That one and all after it, until the disk is mended.
    UntilMended,
}

/// A disk. Clones are the same disk.
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
    /// A disk under a name that no other disk of this process has.
    #[expect(clippy::new_without_default, reason = "each is another disk")]
    pub fn new() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        Self { name: vfs::register(state.clone()), state }
    }

    /// The address of a database on this disk, to be made when it is opened.
    pub fn url(&self, file: &Path) -> String {
        format!("sqlite://{}?mode=rwc&vfs={}", file.display(), self.name)
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Lets the operation fail that is the n-th from now on, counted from one.
    pub fn fail(&self, n: u64, fault: Fault, span: Span) {
        let mut state = self.lock();
        state.plan = Some(Plan { at: state.operations + n, fault, span });
        state.failed = 0;
    }

    /// Lets all go well from now on; how many operations have failed.
    pub fn mend(&self) -> u64 {
        let mut state = self.lock();
        state.plan = None;
        std::mem::take(&mut state.failed)
    }

    /// Writes into a folder what a loss of power after so many operations would have left of the files: what was synced, and of
    /// the rest any part, chosen by the seed.
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
    /// Counts an operation; the fault that it meets.
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
