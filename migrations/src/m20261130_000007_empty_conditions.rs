//! Empty conditions in the filters of saved views keep their meaning.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Up to here `"owner":{}` matched no incident, and an empty range of the activity matched the incidents that have the
/// time. From here on an empty object sets no condition, so both are written out. A quote inside a text of the filter
/// is escaped, so no text is changed.
const UP: &str = r#"
UPDATE saved_view SET filter = REPLACE(filter, '"owner":{}', '"owner":{"users":[]}') WHERE filter LIKE '%"owner":{}%';
UPDATE saved_view SET filter = REPLACE(filter, '"firstActivity":{}', '"firstActivity":{"from":"0001-01-01T00:00:00Z"}')
    WHERE filter LIKE '%"firstActivity":{}%';
UPDATE saved_view SET filter = REPLACE(filter, '"lastActivity":{}', '"lastActivity":{"from":"0001-01-01T00:00:00Z"}')
    WHERE filter LIKE '%"lastActivity":{}%'
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
