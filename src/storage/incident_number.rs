//! Incident numbers: the counter that gives them, without gaps.

use sea_orm::QuerySelect;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, LockBehavior, LockType};

use super::Tx;
use crate::domain::{Error, Result};

/// The counter that holds the last incident number that was given.
mod counter {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "counter")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) name: String,
        pub(super) value: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// The name of the counter's row.
const INCIDENT_NUMBER: &str = "incident_number";

const NUMBERING: &str = "numbering an incident";
const COUNTER_MISSING: &str = "its counter is missing";

impl Tx {
    /// Returns the next incident number. The counter stays locked until the commit, so a number that is rolled back is
    /// given again.
    pub async fn next_incident_number(&self) -> Result<i64> {
        if let Some(number) = self.conn().next_number() {
            return Ok(number);
        }
        let counter = counter::Entity::find_by_id(INCIDENT_NUMBER);
        if self.conn().is_joined() {
            let free =
                counter.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked).one(&self.apart()).await?;
            self.conn().lock_numbers(free.ok_or(Error::Busy)?.value);
            return self.conn().next_number().ok_or(Error::Busy);
        }
        let mut rows = counter::Entity::update_many()
            .col_expr(counter::Column::Value, Expr::col(counter::Column::Value).add(1))
            .filter(counter::Column::Name.eq(INCIDENT_NUMBER))
            .exec_with_returning(&self.apart())
            .await?;
        let number = rows.pop().map(|row| row.value).ok_or_else(|| Error::fault(NUMBERING, COUNTER_MISSING))?;
        self.conn().lock_numbers(number);
        Ok(number)
    }

    /// Stores the last number that was given, if the counter does not hold it yet.
    pub(super) async fn store_incident_number(&self) -> Result<()> {
        match self.conn().take_number() {
            Some(last) => self.save_incident_number(last).await,
            None => Ok(()),
        }
    }

    /// Locks the counter of incident numbers until the commit. Returns the last number that was given.
    pub async fn lock_incident_number(&self) -> Result<i64> {
        self.store_incident_number().await?;
        let row = counter::Entity::find_by_id(INCIDENT_NUMBER).lock(LockType::Update).one(self.conn()).await?;
        row.map(|row| row.value).ok_or_else(|| Error::fault(NUMBERING, COUNTER_MISSING))
    }

    /// Stores the last number that was given.
    pub async fn save_incident_number(&self, last: i64) -> Result<()> {
        counter::Entity::update_many()
            .col_expr(counter::Column::Value, Expr::value(last))
            .filter(counter::Column::Name.eq(INCIDENT_NUMBER))
            .exec(self.conn())
            .await?;
        self.conn().lock_numbers(last);
        Ok(())
    }
}
