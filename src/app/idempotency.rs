//! The answer to a command, and commands that take effect once, however often their client sends them.
//!
//! A transaction claims the key before it reads anything, and stores the outcome of the command beside its effects. A
//! crash leaves both or neither. A concurrent call with the same key waits for the claim, and then finds the outcome.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{App, Command};
use crate::domain::error::Refusal;
use crate::domain::idempotency::{KeptOutcome, StoredResult};
use crate::domain::position::Position;
use crate::domain::{Error, Result};
use crate::storage::{Head, LockPlan, Reader, Tx};

/// The result of a command inside its transaction.
#[derive(Clone, Debug)]
pub struct Done<T> {
    /// The objects that the answer shows.
    pub value: T,
    /// Whether the command wrote anything.
    pub changed: bool,
}

/// The answer to a command, from this call or from an earlier call with the same key.
#[derive(Clone, Debug)]
pub struct Did<T> {
    /// The objects that the answer shows.
    pub value: T,
    /// Whether the command wrote anything. For a repeated call this is the answer of the first call.
    pub changed: bool,
    /// The end of the log after the command. A read at or after this position shows the effects of the command.
    pub position: Position,
    /// Whether an earlier call under the same idempotency key had this result.
    pub replayed: bool,
    /// The end of the log as it is known now.
    pub(super) head: Head,
}

/// The objects of an answer. For a retry they are stored as ids, and read again by them.
pub(super) trait Repeatable: Send + Sized {
    /// The stored form: the ids, and the values that only this command knew.
    type Receipt: Serialize + DeserializeOwned + Send;

    /// Returns the form to store.
    fn receipt(&self) -> Self::Receipt;

    /// Reads the objects again in their present state.
    fn again(reader: &Reader, receipt: Self::Receipt) -> impl Future<Output = Result<Self>> + Send;
}

/// The stored form of an answer that shows one object.
#[derive(Serialize, Deserialize)]
pub(super) struct ById<I> {
    pub(super) id: I,
}

/// The stored form of a result.
#[derive(Serialize, Deserialize)]
struct KeptDone<R> {
    /// Older versions stored this for edits of incidents, comments, bookmarks and views only. A stored outcome without
    /// it counts as a change: the client then reads the object again, which is safe if there was no change.
    #[serde(default = "assumed")]
    changed: bool,
    #[serde(flatten)]
    receipt: R,
}

const fn assumed() -> bool {
    true
}

/// Reads a stored result. Older versions stored the id alone if the answer shows one object.
fn kept_done<R: DeserializeOwned>(stored: Value) -> Result<KeptDone<R>> {
    let stored = match stored {
        id @ Value::String(_) => json!({ "id": id }),
        stored => stored,
    };
    serde_json::from_value(stored).map_err(|error| Error::fault("reading a kept outcome", error))
}

impl<T> Done<T> {
    /// Creates the result of a command that wrote something.
    pub(super) fn changed(value: T) -> Self {
        Self { value, changed: true }
    }

    /// Creates the result of a command that wrote nothing, because everything was as requested.
    pub(super) fn unchanged(value: T) -> Self {
        Self { value, changed: false }
    }
}

impl<T> Did<T> {
    /// Creates the answer to a command that only reads.
    pub(super) fn read(value: T, head: Head) -> Self {
        Self { value, changed: false, position: head.position(), replayed: false, head }
    }

    /// Maps the objects and keeps the other fields.
    pub fn map<U>(self, read: impl FnOnce(T) -> U) -> Did<U> {
        let Self { value, changed, position, replayed, head } = self;
        Did { value: read(value), changed, position, replayed, head }
    }

    /// Maps the objects as [`Self::map`] does, or fails.
    pub(super) fn try_map<U>(self, read: impl FnOnce(T) -> Result<U>) -> Result<Did<U>> {
        let Self { value, changed, position, replayed, head } = self;
        Ok(Did { value: read(value)?, changed, position, replayed, head })
    }
}

enum Came<T> {
    Done(Done<T>),
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
        Fut: Future<Output = Result<Done<T>>> + Send,
    {
        self.once_with(command, LockPlan::default(), work).await
    }

    /// Runs one command like [`App::once`]. `plan` names rows that the command will lock.
    pub(super) async fn once_with<T, F, Fut>(&self, command: &Command, plan: LockPlan, work: F) -> Result<Did<T>>
    where
        T: Repeatable,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<Done<T>>> + Send,
    {
        let came = self.store.transact_together(plan, |tx| keyed(command, tx.clone(), work(tx))).await?;
        self.did(came).await
    }

    /// Runs a large command like [`App::once`], but in a transaction of its own, so that no other command waits for it.
    pub(super) async fn once_alone<T, F, Fut>(&self, command: &Command, work: F) -> Result<Did<T>>
    where
        T: Repeatable,
        F: Fn(Arc<Tx>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<Done<T>>> + Send,
    {
        let came = self.store.transact(|tx| keyed(command, tx.clone(), work(tx))).await?;
        self.did(came).await
    }

    async fn did<T: Repeatable>(&self, (came, head): (Came<T>, Head)) -> Result<Did<T>> {
        let position = head.position();
        match came {
            Came::Done(Done { value, changed }) => Ok(Did { value, changed, position, replayed: false, head }),
            Came::Refused(refusal) => Err(refusal.into()),
            Came::Kept(KeptOutcome { kept: StoredResult::Refused(refusal), .. }) => Err(refusal.into()),
            Came::Kept(KeptOutcome { kept: StoredResult::Done(stored), position }) => {
                let KeptDone { changed, receipt } = kept_done::<T::Receipt>(stored)?;
                let value = T::again(&self.store.read().await?, receipt).await?;
                Ok(Did { value, changed, position, replayed: true, head })
            }
        }
    }

    /// Wakes the relay if the command wrote to the log. Returns its answer.
    pub(super) fn logged<T>(&self, did: Did<T>) -> Did<T> {
        if did.changed && !did.replayed {
            self.hub.committed(did.head.offset);
        }
        did
    }
}

/// Claims the command's key, does the work if the key is free, and stores the outcome.
async fn keyed<T: Repeatable>(
    command: &Command,
    tx: Arc<Tx>,
    work: impl Future<Output = Result<Done<T>>> + Send,
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
            let stored = KeptDone { changed: done.changed, receipt: done.value.receipt() };
            let stored = serde_json::to_value(stored).map_err(|error| Error::fault("keeping an outcome", error))?;
            (Came::Done(done), StoredResult::Done(stored))
        }
        Err(refusal) => (Came::Refused(refusal.clone()), StoredResult::Refused(*refusal)),
    };
    tx.keep(actor, key, kept).await;
    Ok(came)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Two {
        source: u64,
        target: u64,
    }

    #[test]
    fn an_outcome_says_whether_the_command_changed_anything() {
        let stored = serde_json::to_value(KeptDone { changed: false, receipt: Two { source: 1, target: 2 } });
        let stored = stored.expect("JSON");
        assert_eq!(stored, json!({ "changed": false, "source": 1, "target": 2 }));
        let read = kept_done::<Two>(stored).expect("a stored outcome");
        assert_eq!((read.changed, read.receipt), (false, Two { source: 1, target: 2 }));
    }

    #[test]
    fn an_outcome_of_an_older_version_counts_as_a_change() {
        let read = kept_done::<Two>(json!({ "source": 1, "target": 2 })).expect("a stored outcome");
        assert_eq!((read.changed, read.receipt), (true, Two { source: 1, target: 2 }));
        let read = kept_done::<ById<String>>(json!("0198a3c0")).expect("a stored outcome");
        assert_eq!((read.changed, read.receipt.id.as_str()), (true, "0198a3c0"));
    }
}
