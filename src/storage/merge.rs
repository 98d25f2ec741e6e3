//! Merges: the former state that an undo restores, and the preview of a merge.

use sea_orm::Set;
use sea_orm::entity::prelude::*;

use super::incident::{json, to_json};
use super::{Reader, Tx};
use crate::domain::merge::{Merge, MergeRequest, Moving, Sides};
use crate::domain::{IncidentId, Instant, Result};

mod row {
    //! The row of a merge.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "merge")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) source_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) source_version: i64,
        pub(super) target_id: Uuid,
        pub(super) target_version: i64,
        pub(super) former: String,
        pub(super) at: DateTimeUtc,
        pub(super) undone_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

use row::{Column, Entity};

impl Reader {
    /// Returns the alerts that a merge of these two incidents would move, and the summary of all their alerts. Without
    /// `keep_title` the summary includes the data from which a title is generated.
    pub async fn moving(&self, sides: &Sides, asked: &MergeRequest) -> Result<Moving> {
        let alerts = self.alert_owners(sides.source.id).await?;
        let together = self.alert_summary_of(&[sides.source.id, sides.target.id], !asked.keep_title).await?;
        Ok(Moving { alerts, together })
    }

    /// Reads the merge of this source incident, unless it was undone.
    pub async fn merge_of(&self, source: IncidentId) -> Result<Option<Merge>> {
        let row = Entity::find()
            .filter(Column::SourceId.eq(source.0))
            .filter(Column::UndoneAt.is_null())
            .one(self.conn())
            .await?;
        row.map(Merge::try_from).transpose()
    }
}

impl TryFrom<row::Model> for Merge {
    type Error = crate::domain::Error;

    fn try_from(row: row::Model) -> Result<Self> {
        Ok(Self {
            source: IncidentId(row.source_id),
            source_version: row.source_version as u64,
            target: IncidentId(row.target_id),
            target_version: row.target_version as u64,
            former: json(&row.former)?,
        })
    }
}

impl Tx {
    /// Records a merge.
    pub async fn insert_merge(&self, merge: &Merge, at: Instant) -> Result<()> {
        let row = row::ActiveModel {
            source_id: Set(merge.source.0),
            source_version: Set(merge.source_version as i64),
            target_id: Set(merge.target.0),
            target_version: Set(merge.target_version as i64),
            former: Set(to_json(&merge.former)?),
            at: Set(at),
            undone_at: Set(None),
        };
        Entity::insert(row).exec_without_returning(self.conn()).await?;
        Ok(())
    }

    /// Records that a merge was undone.
    pub async fn mark_undone(&self, merge: &Merge, at: Instant) -> Result<()> {
        Entity::update_many()
            .col_expr(Column::UndoneAt, Expr::value(at))
            .filter(Column::SourceId.eq(merge.source.0))
            .filter(Column::SourceVersion.eq(merge.source_version as i64))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Records that an incident at `version` is again in its state at version `as_of`. The merge that had led to
    /// `as_of` can be undone from `version`.
    pub async fn stands_again(&self, incident: IncidentId, as_of: u64, version: u64) -> Result<()> {
        Entity::update_many()
            .col_expr(Column::TargetVersion, Expr::value(version as i64))
            .filter(Column::TargetId.eq(incident.0))
            .filter(Column::TargetVersion.eq(as_of as i64))
            .filter(Column::UndoneAt.is_null())
            .exec(self.conn())
            .await?;
        Ok(())
    }
}
