//! A stream's way to the database: each snapshot that it reads takes a turn of the account's, and gives it back when it is
//! closed. So a stream that waits for changes holds none, and one that comes back from far is in nobody's way between two
//! batches.
//!
//! A stream that has not said anything yet is turned away where it waits too long, as a query is. One that has begun tries
//! again, and loses nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::turns::{Effort, Principal, Turns, Waiter};
use crate::domain::{Error, Result};
use crate::storage::{Gate, Pass};

/// The gate of one stream. Clones are the same one.
#[derive(Clone)]
pub(super) struct StreamGate(Arc<Inner>);

struct Inner {
    turns: Turns,
    principal: Principal,
    effort: Effort,
    /// Whether the stream has said something.
    has_begun: AtomicBool,
    refusal: Mutex<Option<Error>>,
    refused: Notify,
}

impl StreamGate {
    pub(super) fn new(turns: Turns, principal: Vec<u8>, effort: Effort, has_begun: bool) -> Self {
        let (refusal, refused) = (Mutex::default(), Notify::new());
        let has_begun = AtomicBool::new(has_begun);
        Self(Arc::new(Inner { turns, principal: principal.into(), effort, has_begun, refusal, refused }))
    }

    /// Takes note that the stream has said something.
    pub(super) fn begin(&self) {
        self.0.has_begun.store(true, Ordering::Relaxed);
    }

    /// Resolves when the stream was turned away before it said anything; tells why.
    pub(super) async fn turned_away(&self) -> Error {
        loop {
            self.0.refused.notified().await;
            if let Some(refusal) = self.0.refusal.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return refusal;
            }
        }
    }
}

impl Gate for StreamGate {
    fn pass(&self) -> BoxFuture<'_, Result<Pass>> {
        async {
            let Inner { turns, principal, effort, has_begun, refusal, refused } = &*self.0;
            match turns.take(principal.clone(), *effort, Waiter::Stream).await {
                Ok(turn) => Ok(Box::new(turn) as Pass),
                Err(error) if !has_begun.load(Ordering::Relaxed) => {
                    *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    refused.notify_one();
                    // Whoever reads is dropped with the stream.
                    std::future::pending().await
                }
                Err(error) => Err(error),
            }
        }
        .boxed()
    }
}
