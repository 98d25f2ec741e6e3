//! Panics: a panic in the work for one request is a fault of this request alone.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, TryFutureExt};

use crate::domain::{Error, Result};

/// Runs `work` and turns a panic into a fault of this operation, so that the connection goes on.
pub(crate) fn caught<T>(work: impl Future<Output = T>) -> impl Future<Output = Result<T>> {
    // An `async fn` would have room for the work twice: as it was given, and as it is awaited.
    AssertUnwindSafe(work).catch_unwind().map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Error::fault("an operation panicked", text.unwrap_or("a panic without words"))
    })
}
