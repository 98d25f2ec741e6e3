//! Alert reports that imports have applied, by digest, so that a repeated report is recognised.

use std::collections::HashMap;

use sea_orm::Set;
use sea_orm::entity::prelude::*;

use super::{IDS_PER_STATEMENT, Reader, Tx};
use crate::domain::{AlertId, Instant, Result};

mod row {
    //! A report that was applied.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "alert_report")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) alert_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) digest: Vec<u8>,
        pub(super) at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Rows per INSERT: three columns each, and SQLite takes 32,766 parameters.
const ROWS_PER_INSERT: usize = 5_000;

/// A report that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The SHA-256 of the report.
    pub digest: Vec<u8>,
    /// The time at which the provider reported it, if known.
    pub at: Option<Instant>,
}

impl Reader {
    /// Returns the reports that were applied to these alerts.
    pub async fn applied_reports(&self, alerts: &[AlertId]) -> Result<HashMap<AlertId, Vec<Applied>>> {
        let mut applied: HashMap<AlertId, Vec<Applied>> = HashMap::new();
        for alerts in alerts.chunks(IDS_PER_STATEMENT) {
            let of_these = row::Column::AlertId.is_in(alerts.iter().map(|id| id.0));
            for row in row::Entity::find().filter(of_these).all(self.conn()).await? {
                applied.entry(AlertId(row.alert_id)).or_default().push(Applied { digest: row.digest, at: row.at });
            }
        }
        Ok(applied)
    }
}

impl Tx {
    /// Records applied reports. If another import records the same report at the same time, one import is tried again.
    pub async fn note_reports(&self, reports: Vec<(AlertId, Applied)>) -> Result<()> {
        let rows: Vec<row::ActiveModel> = reports
            .into_iter()
            .map(|(alert, Applied { digest, at })| row::ActiveModel {
                alert_id: Set(alert.0),
                digest: Set(digest),
                at: Set(at),
            })
            .collect();
        for chunk in rows.chunks(ROWS_PER_INSERT) {
            row::Entity::insert_many(chunk.to_vec()).exec_without_returning(self.conn()).await?;
        }
        Ok(())
    }
}
