//! Indexes of bulk jobs by state and by the user who created them.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// A list of jobs is in the order of their ids, which begin with the time of creation. There is one index for each
/// combination of the filter's conditions. A list without a condition is read along the primary key.
const UP: &str = r#"
CREATE INDEX bulk_job_by_state ON bulk_job (state, id);
CREATE INDEX bulk_job_by_user ON bulk_job (user_id, id);
CREATE INDEX bulk_job_by_user_and_state ON bulk_job (user_id, state, id)
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
