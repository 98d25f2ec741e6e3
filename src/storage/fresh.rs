//! The end of the log as of now. Concurrent callers share one read (single-flight).
//!
//! A caller gets a read that began after its call, because an older read might miss a commit that the caller knows of.
//! So callers that come during a read wait for the next read, which they share.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, oneshot};

use super::bounded::PING;
use super::log_head::{self, Head};
use super::{Store, fault};
use crate::domain::{Error, Result};

/// The shared reads of the log's end, one at a time.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// The number of reads that have begun.
    begun: AtomicU64,
    /// The newest answer and the number of its read. The leader of a read holds this lock.
    newest: Mutex<Option<(u64, Head)>>,
}

impl Store {
    /// Returns the end of the log, not older than this call, by one statement without a transaction.
    ///
    /// A caller may drop the call. A read that has begun goes on, because dropping it would close its connection.
    pub async fn head_now(&self) -> Result<Head> {
        let before = self.fresh.begun.load(Ordering::Acquire);
        let (answer, answered) = oneshot::channel();
        let store = self.clone();
        tokio::spawn(async move {
            let head = store.head_since(before, &answer).await;
            // The caller may have gone away.
            drop(answer.send(head));
        });
        answered.await.unwrap_or_else(|_| Err(unread()))
    }

    async fn head_since(&self, before: u64, caller: &oneshot::Sender<Result<Head>>) -> Result<Head> {
        let mut newest = self.fresh.newest.lock().await;
        if let Some((read, head)) = &*newest
            && *read > before
        {
            return Ok(head.clone());
        }
        if caller.is_closed() {
            return Err(unread());
        }
        let read = self.fresh.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let head = self.read_head().await?;
        *newest = Some((read, head.clone()));
        Ok(head)
    }

    async fn read_head(&self) -> Result<Head> {
        let statement = log_head::read_head(self.reader.backend());
        // Every connection of the pool may be stale.
        for _ in 0..self.options.connections {
            let asked = self.reader.ask(&statement);
            let answer = if self.is_postgres() {
                // It takes a millisecond. A missed deadline means a dead connection, and makes the others suspect.
                self.doubt.bound(PING, asked).await
            } else {
                asked.await
            };
            match answer {
                Ok(Some(row)) => return log_head::found_head(&row),
                Ok(None) => break,
                Err(error) if fault::is_lost(&error) || fault::is_unclean(&error) => {}
                Err(error) => return Err(Error::from(error)),
            }
        }
        Err(unread())
    }
}

fn unread() -> Error {
    Error::unavailable("the log's end could not be read, try again")
}
