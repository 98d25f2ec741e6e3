//! Commands that are done once, however often their client sends them.
//!
//! The key is claimed before anything is looked at, and what came of the command is kept in its own transaction: a crash
//! leaves both or neither. A twin that comes meanwhile waits for the claim, and then finds the outcome.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{App, Command};
use crate::domain::error::Refusal;
use crate::domain::idempotency::{Kept, KeptOutcome};
use crate::domain::position::Position;
use crate::domain::{Error, Result};
use crate::storage::{Head, Reader, Tx};

/// What a command did, as its answer is made of it: kept as ids, and found again by them.
pub(super) trait Repeatable: Send + Sized {
    /// The ids, and what only this command knew.
    type Receipt: Serialize + DeserializeOwned + Send;

    /// What is kept.
    fn receipt(&self) -> Self::Receipt;

    /// The same, as it stands now.
    fn again(reader: &Reader, receipt: Self::Receipt) -> impl Future<Output = Result<Self>> + Send;
}

/// What a command did, now or when its client sent it first.
#[derive(Clone, Debug)]
pub struct Did<T> {
    /// What.
    pub done: T,
    /// The end of the log after it.
    pub position: Position,
    /// Whether an earlier call under the same idempotency key did it.
    pub replayed: bool,
    /// The end of the log as it is known now.
    pub(super) head: Head,
}

impl<T> Did<T> {
    /// The same of what comes of it.
    pub fn map<U>(self, read: impl FnOnce(T) -> Result<U>) -> Result<Did<U>> {
        let Self { done, position, replayed, head } = self;
        Ok(Did { done: read(done)?, position, replayed, head })
    }
}

enum Came<T> {
    Done(T),
    Refused(Box<Refusal>),
    Kept(KeptOutcome),
}

impl App {
    /// Runs one command, once for all calls under the same key: it may share its transaction with others. Faults are not kept: the
    /// next call tries anew.
    pub(super) async fn once<T, F, Fut>(&self, command: &Command, work: F) -> Result<Did<T>>
    where
        T: Repeatable,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let done = self.store.transact_together(|tx| keyed(command, tx.clone(), work(tx))).await?;
        self.did(done).await
    }

    /// The same for a command that may be large, in a transaction of its own: others would wait for it.
    pub(super) async fn once_alone<T, F, Fut>(&self, command: &Command, work: F) -> Result<Did<T>>
    where
        T: Repeatable,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let done = self.store.transact(|tx| keyed(command, tx.clone(), work(tx))).await?;
        self.did(done).await
    }

    async fn did<T: Repeatable>(&self, (came, head): (Came<T>, Head)) -> Result<Did<T>> {
        match came {
            Came::Done(done) => Ok(Did { done, position: head.position(), replayed: false, head }),
            Came::Refused(refusal) => Err(refusal.into()),
            Came::Kept(KeptOutcome { kept: Kept::Refused(refusal), .. }) => Err(refusal.into()),
            Came::Kept(KeptOutcome { kept: Kept::Done(receipt), position }) => {
                let receipt = serde_json::from_value(receipt);
                let receipt = receipt.map_err(|error| Error::fault("reading a kept outcome", error))?;
                let done = T::again(&self.store.read().await?, receipt).await?;
                Ok(Did { done, position, replayed: true, head })
            }
        }
    }
}

/// Claims the command's key, does its work where the key was free, and keeps what comes of it.
async fn keyed<T: Repeatable>(
    command: &Command,
    tx: Arc<Tx>,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<Came<T>> {
    let (Some(key), Some(actor)) = (&command.idempotency_key, &command.actor) else {
        return Ok(Came::Done(work.await?));
    };
    let actor = actor.user.id;
    if let Some(kept) = tx.claim(actor, key, command.at).await? {
        return Ok(Came::Kept(kept));
    }
    let (came, kept) = match tx.part(work).await? {
        Ok(done) => {
            let receipt = serde_json::to_value(done.receipt());
            let receipt = receipt.map_err(|error| Error::fault("keeping an outcome", error))?;
            (Came::Done(done), Kept::Done(receipt))
        }
        Err(refusal) => (Came::Refused(refusal.clone()), Kept::Refused(*refusal)),
    };
    tx.keep(actor, key, kept).await;
    Ok(came)
}
