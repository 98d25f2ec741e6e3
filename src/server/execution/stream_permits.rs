//! The gate of a stream: each snapshot that the stream reads takes a turn of its account until the snapshot closes.
//!
//! So a stream that waits for changes holds no turn, and a stream with a long backlog lets others in between two
//! batches.
//!
//! A stream that has sent nothing yet is refused if it waits too long, like a query. A stream that has begun waits as
//! long as its client stays, and loses nothing.
//!
//! A response over HTTP/2 is not polled while its client opens no window. So a turn is a lease that ends by itself, at
//! whatever point the stream is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::scheduler::{OperationTurn, Principal, Scheduler, Waiter};
use crate::domain::{Error, Result};
use crate::server::operation::effort::Effort;
use crate::storage::{Gate, Pass};

/// How long a snapshot of a stream counts against its account: as long as a query may take. A statement has 5 s.
const LEASE: Duration = Duration::from_secs(15);

/// The gate of one stream. Clones share its state.
#[derive(Clone)]
pub(in crate::server) struct StreamPermits(Arc<StreamPermitsInner>);

struct StreamPermitsInner {
    turns: Scheduler,
    principal: Principal,
    effort: Effort,
    /// Whether the stream has sent anything.
    has_begun: AtomicBool,
    refusal: Mutex<Option<Error>>,
    refused: Notify,
}

impl StreamPermits {
    pub(in crate::server) fn new(turns: Scheduler, principal: Vec<u8>, effort: Effort) -> Self {
        let (has_begun, refusal, refused) = (AtomicBool::default(), Mutex::default(), Notify::new());
        Self(Arc::new(StreamPermitsInner { turns, principal: principal.into(), effort, has_begun, refusal, refused }))
    }

    /// Notes that the stream has sent something.
    pub(in crate::server) fn begin(&self) {
        self.0.has_begun.store(true, Ordering::Relaxed);
    }

    /// Resolves with the reason when the stream is refused before it has sent anything.
    pub(in crate::server) async fn turned_away(&self) -> Error {
        loop {
            self.0.refused.notified().await;
            if let Some(refusal) = self.0.refusal.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return refusal;
            }
        }
    }
}

impl Gate for StreamPermits {
    fn pass(&self) -> BoxFuture<'_, Result<Pass>> {
        async {
            let StreamPermitsInner { turns, principal, effort, has_begun, refusal, refused } = &*self.0;
            let waiter = if has_begun.load(Ordering::Relaxed) { Waiter::Begun } else { Waiter::Stream };
            match leased(turns.clone(), principal.clone(), (*effort, waiter), LEASE).await {
                Ok(lease) => Ok(Box::new(lease) as Pass),
                Err(error) => {
                    *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    refused.notify_one();
                    // The reader is dropped with the stream.
                    std::future::pending().await
                }
            }
        }
        .boxed()
    }
}

/// A turn that ends after its time, or when this value is dropped.
struct Lease(#[expect(dead_code, reason = "held for its Drop")] Task);

/// A task that ends with this value.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for a turn and holds it, both in a task of its own: the stream may not be polled when its turn comes.
async fn leased(
    turns: Scheduler,
    principal: Principal,
    (effort, waiter): (Effort, Waiter),
    time: Duration,
) -> Result<Lease> {
    let (say, said) = oneshot::channel();
    let task = tokio::spawn(async move {
        let (outcome, turn): (Result<()>, Option<OperationTurn>) = match turns.take(principal, effort, waiter).await {
            Ok(turn) => (Ok(()), Some(turn)),
            Err(error) => (Err(error), None),
        };
        if say.send(outcome).is_ok() && turn.is_some() {
            tokio::time::sleep(time).await;
        }
        drop(turn);
    });
    let task = Task(task.abort_handle());
    match said.await {
        Ok(outcome) => outcome.map(|()| Lease(task)),
        Err(_) => Err(Error::unavailable("the desk is ending: try again")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scheduler::TurnSettings;
    use super::*;

    /// One turn, and how long an operation waits for it.
    fn one_turn(wait: Duration) -> Scheduler {
        Scheduler::new(TurnSettings { all: 1, each: 1, dear: 1, spare: 0, waiting_each: 10, waiting_all: 10, wait })
    }

    #[tokio::test]
    async fn a_turn_of_a_stream_that_nobody_polls_comes_back() {
        let turns = one_turn(Duration::from_secs(20));
        let running = turns.take(&b"a"[..], Effort::default(), Waiter::Operation).await.expect("a turn");
        let what = (Effort::default(), Waiter::Begun);
        let mut pass = Box::pin(leased(turns.clone(), (*b"a").into(), what, Duration::from_millis(100)));
        assert!(pass.as_mut().now_or_never().is_none(), "the only turn is taken");
        tokio::task::yield_now().await;
        drop(running);
        turns.take(&b"a"[..], Effort::default(), Waiter::Operation).await.expect("the stream's turn ends");
    }

    #[tokio::test]
    async fn a_stream_that_has_begun_waits_as_long_as_it_takes() {
        let turns = one_turn(Duration::from_millis(50));
        let running = turns.take(&b"a"[..], Effort::default(), Waiter::Operation).await.expect("a turn");
        let gate = StreamPermits::new(turns.clone(), b"a".to_vec(), Effort::default());
        gate.begin();
        let mut pass = gate.pass();
        assert!(
            tokio::time::timeout(Duration::from_millis(500), pass.as_mut()).await.is_err(),
            "neither turn nor refusal"
        );
        drop(running);
        let pass = pass.await.expect("its turn");
        assert!(
            turns.take(&b"a"[..], Effort::default(), Waiter::Operation).now_or_never().is_none(),
            "it has the turn"
        );
        drop(pass);
        turns.take(&b"a"[..], Effort::default(), Waiter::Operation).await.expect("the turn is given back");
    }
}
