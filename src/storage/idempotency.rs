//! Outcomes of mutations, kept under the keys of their clients.

use sea_orm::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, OnConflict};

use super::changelog::Head;
use super::incident::{json, to_json};
use super::{Reader, Tx};
use crate::domain::error::Refusal;
use crate::domain::idempotency::{IdempotencyKey, Kept, KeptOutcome, OUTCOME_KEPT_HOURS};
use crate::domain::position::Position;
use crate::domain::{Error, Instant, Result, UserId};

mod row {
    //! An outcome; null while its transaction is at work.
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

/// What a transaction leaves for a retry, until its position is known.
pub(super) struct Keeping {
    actor: UserId,
    key: String,
    kept: Kept,
}

impl Reader {
    async fn kept(&self, actor: UserId, key: &IdempotencyKey) -> Result<KeptOutcome> {
        let row = row::Entity::find_by_id((actor.0, key.key.clone())).one(self.conn()).await?;
        // Forgotten between the two looks: tried anew, the key is free.
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
    /// Claims a key for this transaction, or tells what an earlier one left under it. A twin that is at work is waited for.
    /// Refused: a key that was used with other input.
    ///
    /// It comes before every other lock, and a transaction has one key at most, so twins never wait in a circle.
    pub async fn claim(&self, actor: UserId, key: &IdempotencyKey, at: Instant) -> Result<Option<KeptOutcome>> {
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
        // One that nobody has swept yet is free all the same.
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

    /// Keeps what came of a key that this transaction has claimed; written with the position, as the transaction's last act.
    pub async fn keep(&self, actor: UserId, key: &IdempotencyKey, kept: Kept) {
        *self.keeping.lock().await = Some(Keeping { actor, key: key.key.clone(), kept });
    }

    /// Writes what is to be kept.
    pub(super) async fn write_kept(&self, head: &Head) -> Result<()> {
        let Some(Keeping { actor, key, kept }) = self.keeping.lock().await.take() else { return Ok(()) };
        row::Entity::update_many()
            .col_expr(row::Column::Outcome, Expr::value(to_json(&kept)?))
            .col_expr(row::Column::Position, Expr::value(head.position().to_string()))
            .filter(row::Column::ActorId.eq(actor.0))
            .filter(row::Column::Key.eq(key))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Forgets the outcomes that have been kept for long enough.
    pub async fn forget_outcomes(&self, now: Instant) -> Result<()> {
        row::Entity::delete_many().filter(row::Column::At.lte(now - kept_for())).exec(self.conn()).await?;
        Ok(())
    }
}

fn kept_for() -> chrono::Duration {
    chrono::Duration::hours(OUTCOME_KEPT_HOURS)
}
