//! Indexes for a million incidents: open incidents, incidents of one owner, incidents resolved since a time, incidents
//! assigned since a time.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// *Open* is written `status = 1 OR status = 2`, here and in each statement that uses these indexes. Then both
/// databases see that `status = 1` implies it. From `IN (1, 2)` SQLite does not see it, and from parameters neither
/// database does.
///
/// `incident_open` has every column that counts and facets of open incidents read, in the order of `createdAt`.
/// `incident_by_status` has them for all incidents. Both contain `deleted_at`, because SQLite takes an index as
/// covering only if it also has the columns of its own condition. `incident_by_status` comes first: without statistics
/// SQLite estimates both conditional indexes as equally long, and reads the newer one.
///
/// The old indexes of an owner also held deleted incidents and had no id, so the pages of an owner had to be sorted.
const UP: &str = r#"
DROP INDEX incident_by_status;
CREATE INDEX incident_by_status ON incident
    (status_order, id, status, severity, owner_user_id, owner_group_id, created_at, deleted_at)
    WHERE deleted_at IS NULL;
CREATE INDEX incident_open ON incident
    (created_at, id, status, severity, owner_user_id, owner_group_id, deleted_at)
    WHERE deleted_at IS NULL AND (status = 1 OR status = 2);
CREATE INDEX incident_open_by_updated ON incident (updated_at, id)
    WHERE deleted_at IS NULL AND (status = 1 OR status = 2);
CREATE INDEX incident_open_by_severity ON incident (severity_order, updated_at, id)
    WHERE deleted_at IS NULL AND (status = 1 OR status = 2);
CREATE INDEX incident_open_by_status ON incident (status_order, updated_at, id)
    WHERE deleted_at IS NULL AND (status = 1 OR status = 2);
CREATE INDEX incident_by_resolved ON incident
    (resolved_at, created_at, first_assigned_at, severity, owner_user_id, owner_group_id, id, status, deleted_at)
    WHERE deleted_at IS NULL AND status = 3 AND resolved_at IS NOT NULL;
CREATE INDEX incident_by_assigned ON incident (first_assigned_at, id)
    WHERE deleted_at IS NULL AND first_assigned_at IS NOT NULL;
DROP INDEX incident_by_owner_user;
CREATE INDEX incident_by_owner_user ON incident (owner_user_id, updated_at, id, status, severity, deleted_at)
    WHERE deleted_at IS NULL AND owner_user_id IS NOT NULL;
DROP INDEX incident_by_owner_group;
CREATE INDEX incident_by_owner_group ON incident (owner_group_id, updated_at, id, status, severity, deleted_at)
    WHERE deleted_at IS NULL AND owner_group_id IS NOT NULL
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
