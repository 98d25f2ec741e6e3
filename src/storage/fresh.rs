//! The end of the log as of now, read once for all who ask at the same time.
//!
//! Who asks gets a read that began after it asked: an older one might not have seen a commit that the caller knows of. So whoever
//! comes while a read is under way waits for the next one, together with all others who came meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, oneshot};

use super::bounded::PING;
use super::changelog::{self, Head};
use super::{Store, fault};
use crate::domain::{Error, Result};

/// The reads of the log's end, one at a time.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// How many reads have begun.
    begun: AtomicU64,
    /// The newest answer, and which read gave it. Who reads holds it.
    newest: Mutex<Option<(u64, Head)>>,
}

impl Store {
    /// The end of the log, not older than this call. One statement by itself, without a transaction.
    ///
    /// A caller may give up waiting: a read that has begun goes on, as its connection would have to be closed else.
    pub async fn head_now(&self) -> Result<Head> {
        let before = self.fresh.begun.load(Ordering::Acquire);
        let (answer, answered) = oneshot::channel();
        let store = self.clone();
        tokio::spawn(async move {
            let head = store.head_since(before, &answer).await;
            // The caller may have gone.
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
        let statement = changelog::read_head(self.reader.backend());
        // As many connections as the pool has may be stale.
        for _ in 0..self.options.connections {
            let asked = self.reader.ask(&statement);
            let answer = match self.is_postgres() {
                // It takes a millisecond: what takes much longer was cut off, and puts the other connections in doubt.
                true => self.doubt.bound(PING, asked).await,
                false => asked.await,
            };
            match answer {
                Ok(Some(row)) => return changelog::found_head(&row),
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
