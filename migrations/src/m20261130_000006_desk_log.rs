//! Indexes of the log by time, and by actor and time.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Times do not ascend along the log, because imports write changes at their own times. So the position is part of both
/// indexes: it decides between changes of equal time.
///
/// The index of an actor has the time as an expression, so that PostgreSQL cannot read the changes of an actor along the
/// index by time. It would do that for an actor who made many changes, and read all newer changes if the actor made
/// these changes long ago. A query must have the expression as it is written here: see `storage/changelog.rs`.
const UP: &str = r#"
DROP INDEX change_by_time;
CREATE INDEX change_by_time ON change (at, position);
CREATE INDEX change_by_actor ON change (actor_id, COALESCE(at, '0001-01-01T00:00:00+00:00'), position)
    WHERE actor_id IS NOT NULL
"#;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await
    }
}
