//! Outcomes of mutations, stored under the idempotency keys of their clients.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, OnConflict};
use sea_orm::{ConnectionTrait, Set, Value};

use super::incident::{json, to_json};
use super::{Reader, Tx, rows, statement};
use crate::domain::error::Refusal;
use crate::domain::idempotency::{IdempotencyKey, KeptOutcome, OUTCOME_KEPT_HOURS, StoredResult};
use crate::domain::position::Position;
use crate::domain::{Error, Instant, Result, UserId};

mod row {
    //! The outcome of a mutation. It is null until the transaction ends.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "idempotency")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) actor_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) key: String,
        pub(super) mutation: String,
        pub(super) input: Vec<u8>,
        pub(super) outcome: Option<String>,
        pub(super) position: Option<String>,
        pub(super) at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// An outcome that a command stores for retries, before its position is known.
pub(super) struct PendingOutcome {
    actor: UserId,
    key: String,
    kept: StoredResult,
}

impl PendingOutcome {
    /// Returns the user of the key, and the key.
    pub(super) fn key(&self) -> (UserId, String) {
        (self.actor, self.key.clone())
    }
}

impl Reader {
    async fn kept(&self, actor: UserId, key: &IdempotencyKey) -> Result<KeptOutcome> {
        let row = row::Entity::find_by_id((actor.0, key.key.clone())).one(self.conn()).await?;
        // The row was deleted after the insert met it. In the next try the key is free.
        let row = row.ok_or(Error::Busy)?;
        if (row.mutation.as_str(), row.input.as_slice()) != (key.mutation.as_str(), key.input.as_slice()) {
            let now = serde_json::json!({ "mutation": row.mutation, "at": row.at });
            let message = "this idempotency key was used with other input";
            let Error::Refused(refusal) = Error::conflict(message, now) else { return Err(Error::Busy) };
            return Err(Refusal { path: Some("idempotencyKey".to_owned()), ..*refusal }.into());
        }
        let position = row.position.as_deref().and_then(Position::parse);
        let (Some(outcome), Some(position)) = (row.outcome, position) else {
            return Err(Error::fault("reading a kept outcome", "it is not whole"));
        };
        Ok(KeptOutcome { kept: json(&outcome)?, position })
    }
}

impl Tx {
    /// Claims a key for this transaction, or returns the outcome that an earlier transaction stored under it. Waits for
    /// a concurrent transaction with the same key. Refuses a key that was used with other input.
    ///
    /// The claim precedes every other lock of its command, so commands never wait for each other in a circle. Returns
    /// `Busy` if an earlier command of the same transaction claimed the key, because its outcome is not stored yet.
    pub async fn claim(&self, actor: UserId, key: &IdempotencyKey, at: Instant) -> Result<Option<KeptOutcome>> {
        if self.earlier.has_claimed(actor, &key.key) {
            return Err(Error::Busy);
        }
        let new = row::ActiveModel {
            actor_id: Set(actor.0),
            key: Set(key.key.clone()),
            mutation: Set(key.mutation.clone()),
            input: Set(key.input.to_vec()),
            outcome: Set(None),
            position: Set(None),
            at: Set(at),
        };
        let columns = [row::Column::Mutation, row::Column::Input, row::Column::Outcome, row::Column::Position];
        // An expired key that no sweep has deleted yet is free as well.
        let forgotten = Expr::col((row::Entity, row::Column::At)).lte(at - kept_for());
        let over_forgotten = OnConflict::columns([row::Column::ActorId, row::Column::Key])
            .update_columns(columns)
            .update_column(row::Column::At)
            .action_and_where(forgotten)
            .to_owned();
        match row::Entity::insert(new).on_conflict(over_forgotten).exec_without_returning(self.conn()).await? {
            0 => self.kept(actor, key).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Stores the outcome for a key that this transaction has claimed. It is written with the position, at the
    /// transaction's end.
    pub async fn keep(&self, actor: UserId, key: &IdempotencyKey, kept: StoredResult) {
        *self.keeping.lock().await = Some(PendingOutcome { actor, key: key.key.clone(), kept });
    }

    /// Writes outcomes, each with the end of the log after its command, in one statement.
    pub(super) async fn write_kept(&self, keeping: Vec<(PendingOutcome, Position)>) -> Result<()> {
        if keeping.is_empty() {
            return Ok(());
        }
        let rows = rows::tuples(self.conn.get_database_backend(), keeping.len(), 4);
        let sql = format!(
            "WITH kept (actor_id, key, outcome, position) AS (VALUES {rows})
             UPDATE idempotency SET outcome = kept.outcome, position = kept.position FROM kept
             WHERE idempotency.actor_id = kept.actor_id AND idempotency.key = kept.key"
        );
        let mut values: Vec<Value> = Vec::with_capacity(4 * keeping.len());
        for (PendingOutcome { actor, key, kept }, position) in keeping {
            values.extend([actor.0.into(), key.into(), to_json(&kept)?.into(), position.to_string().into()]);
        }
        self.conn().execute_raw(statement(self, &sql, values)).await?;
        Ok(())
    }

    /// Deletes the outcomes that have expired.
    pub async fn forget_outcomes(&self, now: Instant) -> Result<()> {
        row::Entity::delete_many().filter(row::Column::At.lte(now - kept_for())).exec(self.conn()).await?;
        Ok(())
    }
}

fn kept_for() -> chrono::Duration {
    chrono::Duration::hours(OUTCOME_KEPT_HOURS)
}
