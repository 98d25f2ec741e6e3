//! Indexes of alerts by owner, and of alerts without an owner, in the order in which the alerts came in.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// An alert has at most one owner, so it is in one of the three indexes. `alert_unassigned` has the columns of its own
/// condition, because otherwise SQLite counts these alerts by a scan of the table.
const UP: &str = r#"
CREATE INDEX alert_by_owner_user ON alert (owner_user_id, id) WHERE owner_user_id IS NOT NULL;
CREATE INDEX alert_by_owner_group ON alert (owner_group_id, id) WHERE owner_group_id IS NOT NULL;
CREATE INDEX alert_unassigned ON alert (id, owner_user_id, owner_group_id)
    WHERE owner_user_id IS NULL AND owner_group_id IS NULL
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
