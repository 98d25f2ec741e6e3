//! The execution of operations: when an operation runs, on whose permit, and how much memory its answer may take.

pub mod answer_memory;
pub mod executor;
pub mod scheduler;
pub(super) mod stream_permits;
