//! Merges: what each took away, until it is undone, and what a merge would move.

use sea_orm::Set;
use sea_orm::entity::prelude::*;

use super::incident::{json, to_json};
use super::{Reader, Tx};
use crate::domain::merge::{Merge, Moving, Sides};
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
    /// What a merge of these two would move, and what it would add up to; with what a title is made from, unless the
    /// target's is kept.
    pub async fn moving(&self, sides: &Sides, keep_title: bool) -> Result<Moving> {
        let alerts = self.alert_owners(sides.source.id).await?;
        let together = self.alert_summary_of(&[sides.source.id, sides.target.id], !keep_title).await?;
        Ok(Moving { alerts, together })
    }

    /// The merge that an incident went by, if it was not undone.
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
    /// Takes note of a merge that was done.
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

    /// Takes note that a merge was undone.
    pub async fn mark_undone(&self, merge: &Merge, at: Instant) -> Result<()> {
        Entity::update_many()
            .col_expr(Column::UndoneAt, Expr::value(at))
            .filter(Column::SourceId.eq(merge.source.0))
            .filter(Column::SourceVersion.eq(merge.source_version as i64))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Takes note that an incident stands at `version` as it stood at version `as_of`: the merge into it that had left it
    /// so can be undone from there.
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
