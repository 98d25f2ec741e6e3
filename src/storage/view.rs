//! Saved views, the users' default views, their visits, and the counts of unread incidents.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, LockType, OnConflict, Query};
use sea_orm::{Condition, QuerySelect, Set};

use super::incident::row as incident;
use super::incident::{json, to_json};
use super::way::WantedRows;
use super::{Reader, Tx};
use crate::domain::filter::QueueFilter;
use crate::domain::view::{SavedView, Slug, Visibility, Visit};
use crate::domain::{Result, UserId, ViewId};

mod row {
    //! The row of a view.
    use sea_orm::entity::prelude::*;

    use crate::domain::view::Visibility;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "saved_view")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: Uuid,
        pub(super) slug: String,
        pub(super) name: String,
        pub(super) owner_id: Uuid,
        pub(super) visibility: Visibility,
        pub(super) filter: String,
        pub(super) order_by: String,
        pub(super) created_at: DateTimeUtc,
        pub(super) updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod chosen {
    //! A user's default view.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "view_default")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) user_id: Uuid,
        pub(super) view_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod visit {
    //! A user's last visit of a view.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "view_visit")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) user_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) view_id: Uuid,
        pub(super) position: i64,
        pub(super) at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl TryFrom<row::Model> for SavedView {
    type Error = crate::domain::Error;

    fn try_from(row: row::Model) -> Result<Self> {
        Ok(Self {
            id: ViewId(row.id),
            slug: Slug::stored(row.slug),
            name: row.name,
            owner: UserId(row.owner_id),
            visibility: row.visibility,
            filter: json(&row.filter)?,
            order: json(&row.order_by)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

impl Reader {
    /// Reads the views with these ids, in no order, whether or not the caller may see them.
    pub async fn views(&self, ids: &[ViewId]) -> Result<Vec<SavedView>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows =
            row::Entity::find().filter(row::Column::Id.is_in(ids.iter().map(|id| id.0))).all(self.conn()).await?;
        rows.into_iter().map(SavedView::try_from).collect()
    }

    /// Reads the view with this slug, whether or not the caller may see it.
    pub async fn view_by_slug(&self, slug: &str) -> Result<Option<SavedView>> {
        let row = row::Entity::find().filter(row::Column::Slug.eq(slug)).one(self.conn()).await?;
        row.map(SavedView::try_from).transpose()
    }

    /// Reads the views that a user may see: the user's own views and shared views. The creation of views bounds their
    /// number.
    pub async fn views_for(&self, user: UserId) -> Result<Vec<SavedView>> {
        let seen =
            Condition::any().add(row::Column::OwnerId.eq(user.0)).add(row::Column::Visibility.eq(Visibility::Shared));
        let rows = row::Entity::find().filter(seen).all(self.conn()).await?;
        rows.into_iter().map(SavedView::try_from).collect()
    }

    /// Reads a user's default view.
    pub async fn default_view(&self, user: UserId) -> Result<Option<SavedView>> {
        let chosen = chosen::Entity::find_by_id(user.0).one(self.conn()).await?;
        match chosen {
            Some(chosen) => Ok(self.views(&[ViewId(chosen.view_id)]).await?.pop()),
            None => Ok(None),
        }
    }

    /// Returns a user's last visit of each view. A view that the user never visited has no entry.
    pub async fn visits(&self, user: UserId, views: &[ViewId]) -> Result<HashMap<ViewId, Visit>> {
        let rows = visit::Entity::find()
            .filter(visit::Column::UserId.eq(user.0))
            .filter(visit::Column::ViewId.is_in(views.iter().map(|id| id.0)))
            .all(self.conn())
            .await?;
        let visits = rows.into_iter();
        Ok(visits.map(|row| (ViewId(row.view_id), Visit { offset: row.position as u64, at: row.at })).collect())
    }

    /// Counts the incidents of a queue that changed after an offset of the log.
    ///
    /// The newest change of an incident is the change of its version, and incident and version are a unique key. So it
    /// takes one index lookup for each incident of the queue, however many changes there were.
    pub async fn unread_count(&self, queue: &QueueFilter, since: u64) -> Result<u64> {
        let newest = Query::select()
            .expr(Expr::value(1))
            .from("change")
            .and_where(Expr::col(("change", "incident_id")).equals((incident::Entity, incident::Column::Id)))
            .and_where(Expr::col(("change", "version")).equals((incident::Entity, incident::Column::Version)))
            .and_where(Expr::col(("change", "position")).gt(since as i64))
            .to_owned();
        let unread = incident::Entity::find()
            .filter(self.met(queue.filter(), WantedRows::All).await?)
            .filter(Expr::exists(newest));
        super::count(self, unread).await
    }

    /// Counts the views of a user.
    pub async fn count_views_of(&self, owner: UserId) -> Result<u64> {
        super::count(self, row::Entity::find().filter(row::Column::OwnerId.eq(owner.0))).await
    }

    /// Counts the shared views.
    pub async fn count_shared_views(&self) -> Result<u64> {
        super::count(self, row::Entity::find().filter(row::Column::Visibility.eq(Visibility::Shared))).await
    }
}

impl Tx {
    /// Locks a view and reads it.
    pub async fn lock_view(&self, id: ViewId) -> Result<Option<SavedView>> {
        let row = row::Entity::find_by_id(id.0).lock(LockType::Update).one(self.conn()).await?;
        row.map(SavedView::try_from).transpose()
    }

    /// Writes a new view.
    pub async fn insert_view(&self, view: &SavedView) -> Result<()> {
        let row = row::ActiveModel {
            id: Set(view.id.0),
            slug: Set(view.slug.as_str().to_owned()),
            name: Set(view.name.clone()),
            owner_id: Set(view.owner.0),
            visibility: Set(view.visibility),
            filter: Set(to_json(&view.filter)?),
            order_by: Set(to_json(&view.order)?),
            created_at: Set(view.created_at),
            updated_at: Set(view.updated_at),
        };
        row::Entity::insert(row).exec_without_returning(self.conn()).await?;
        Ok(())
    }

    /// Writes a locked view. A view that is private now is removed as the default of other users.
    pub async fn update_view(&self, view: &SavedView) -> Result<()> {
        row::Entity::update_many()
            .col_expr(row::Column::Name, Expr::value(view.name.clone()))
            .col_expr(row::Column::Visibility, Expr::value(view.visibility.to_value()))
            .col_expr(row::Column::Filter, Expr::value(to_json(&view.filter)?))
            .col_expr(row::Column::OrderBy, Expr::value(to_json(&view.order)?))
            .col_expr(row::Column::UpdatedAt, Expr::value(view.updated_at))
            .filter(row::Column::Id.eq(view.id.0))
            .exec(self.conn())
            .await?;
        if view.visibility == Visibility::Private {
            chosen::Entity::delete_many()
                .filter(chosen::Column::ViewId.eq(view.id.0))
                .filter(chosen::Column::UserId.ne(view.owner.0))
                .exec(self.conn())
                .await?;
        }
        Ok(())
    }

    /// Deletes a locked view, and removes it as a default. Its slug becomes free.
    pub async fn delete_view(&self, id: ViewId) -> Result<()> {
        chosen::Entity::delete_many().filter(chosen::Column::ViewId.eq(id.0)).exec(self.conn()).await?;
        visit::Entity::delete_many().filter(visit::Column::ViewId.eq(id.0)).exec(self.conn()).await?;
        row::Entity::delete_by_id(id.0).exec(self.conn()).await?;
        Ok(())
    }

    /// Sets a user's default view, which is locked. `None` clears it. Returns whether the user had another default view
    /// before.
    pub async fn set_default_view(&self, user: UserId, view: Option<ViewId>) -> Result<bool> {
        let Some(view) = view else {
            return Ok(chosen::Entity::delete_by_id(user.0).exec(self.conn()).await?.rows_affected > 0);
        };
        let row = chosen::ActiveModel { user_id: Set(user.0), view_id: Set(view.0) };
        let over = OnConflict::column(chosen::Column::UserId)
            .update_column(chosen::Column::ViewId)
            .action_and_where(Expr::col((chosen::Entity, chosen::Column::ViewId)).ne(view.0))
            .to_owned();
        Ok(chosen::Entity::insert(row).on_conflict(over).exec_without_returning(self.conn()).await? > 0)
    }

    /// Records a user's visit of a locked view.
    pub async fn note_visit(&self, user: UserId, view: ViewId, visit: Visit) -> Result<()> {
        let row = visit::ActiveModel {
            user_id: Set(user.0),
            view_id: Set(view.0),
            position: Set(visit.offset as i64),
            at: Set(visit.at),
        };
        let over = OnConflict::columns([visit::Column::UserId, visit::Column::ViewId])
            .update_columns([visit::Column::Position, visit::Column::At])
            .to_owned();
        visit::Entity::insert(row).on_conflict(over).exec_without_returning(self.conn()).await?;
        Ok(())
    }
}
