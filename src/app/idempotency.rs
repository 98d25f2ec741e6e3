//! Commands that take effect once, however often their client sends them.
//!
//! A transaction claims the key before it reads anything, and stores the outcome of the command beside its effects. A
//! crash leaves both or neither. A concurrent call with the same key waits for the claim, and then finds the outcome.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{App, Command};
use crate::domain::error::Refusal;
use crate::domain::idempotency::{Kept, KeptOutcome};
use crate::domain::position::Position;
use crate::domain::{Error, Result};
use crate::storage::{Head, Reader, Tx};

/// The result of a command, from which its answer is built. It is stored as ids, and read again by them.
pub(super) trait Repeatable: Send + Sized {
    /// The stored form: the ids, and the values that only this command knew.
    type Receipt: Serialize + DeserializeOwned + Send;

    /// Returns the form to store.
    fn receipt(&self) -> Self::Receipt;

    /// Reads the result again in its present state.
    fn again(reader: &Reader, receipt: Self::Receipt) -> impl Future<Output = Result<Self>> + Send;
}

/// The result of a command, from this call or from an earlier call with the same key.
#[derive(Clone, Debug)]
pub struct Did<T> {
    /// The result.
    pub done: T,
    /// The end of the log after the command.
    pub position: Position,
    /// Whether an earlier call under the same idempotency key had this result.
    pub replayed: bool,
    /// The end of the log as it is known now.
    pub(super) head: Head,
}

impl<T> Did<T> {
    /// Maps the result and keeps the other fields.
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
    /// Runs one command, once for all calls under its key. The command may share its transaction with others. Faults
    /// are not stored, so the next call tries again.
    pub(super) async fn once<T, F, Fut>(&self, command: &Command, work: F) -> Result<Did<T>>
    where
        T: Repeatable,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let done = self.store.transact_together(|tx| keyed(command, tx.clone(), work(tx))).await?;
        self.did(done).await
    }

    /// Runs a large command like [`App::once`], but in a transaction of its own, so that no other command waits for it.
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

/// Claims the command's key, does the work if the key is free, and stores the outcome.
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
