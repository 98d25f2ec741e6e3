//! Bookmarks and their result rows.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::LockType;
use sea_orm::{QueryOrder, QuerySelect, Set};

use super::incident::{json, to_json};
use super::queue::Span;
use super::{Reader, Tx, places, statement};
use crate::domain::bookmark::{Bookmark, Finding, ResultRows};
use crate::domain::{BookmarkId, IncidentId, Instant, Result};

mod row {
    //! The row of a bookmark.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "bookmark")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: Uuid,
        pub(super) incident_id: Uuid,
        pub(super) title: String,
        pub(super) query: Option<String>,
        pub(super) note: Option<String>,
        pub(super) entities: String,
        pub(super) event_at: Option<DateTimeUtc>,
        pub(super) author: String,
        pub(super) created_at: DateTimeUtc,
        pub(super) removed_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod result {
    //! The result rows of a bookmark's query.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "bookmark_rows")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) bookmark_id: Uuid,
        pub(super) rows: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

impl TryFrom<row::Model> for Bookmark {
    type Error = crate::domain::Error;

    fn try_from(row: row::Model) -> Result<Self> {
        let finding = Finding {
            title: row.title,
            query: row.query,
            note: row.note,
            entities: json(&row.entities)?,
            event_at: row.event_at,
        };
        Ok(Self {
            id: BookmarkId(row.id),
            incident: IncidentId(row.incident_id),
            finding,
            author: json(&row.author)?,
            created_at: row.created_at,
            removed_at: row.removed_at,
        })
    }
}

impl Reader {
    /// Reads the bookmarks with these ids, including removed bookmarks, in no order.
    pub async fn bookmarks(&self, ids: &[BookmarkId]) -> Result<Vec<Bookmark>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows =
            row::Entity::find().filter(row::Column::Id.is_in(ids.iter().map(|id| id.0))).all(self.conn()).await?;
        rows.into_iter().map(Bookmark::try_from).collect()
    }

    /// Reads the bookmarks on these incidents, without removed bookmarks, in no order.
    pub async fn bookmarks_shown(&self, incidents: &[IncidentId]) -> Result<Vec<Bookmark>> {
        let rows = row::Entity::find()
            .filter(row::Column::IncidentId.is_in(incidents.iter().map(|id| id.0)))
            .filter(row::Column::RemovedAt.is_null());
        rows.all(self.conn()).await?.into_iter().map(Bookmark::try_from).collect()
    }

    /// Reads a page of an incident's bookmarks in order of creation, without removed bookmarks.
    pub async fn bookmarks_page(&self, incident: IncidentId, span: Span<BookmarkId>) -> Result<Vec<Bookmark>> {
        let mut query =
            row::Entity::find().filter(row::Column::IncidentId.eq(incident.0)).filter(row::Column::RemovedAt.is_null());
        if let Some(after) = span.after {
            query = query.filter(row::Column::Id.gt(after.0));
        }
        if let Some(before) = span.before {
            query = query.filter(row::Column::Id.lt(before.0));
        }
        query = if span.from_end { query.order_by_desc(row::Column::Id) } else { query.order_by_asc(row::Column::Id) };
        let mut rows = query.limit(span.limit).all(self.conn()).await?;
        if span.from_end {
            rows.reverse();
        }
        rows.into_iter().map(Bookmark::try_from).collect()
    }

    /// Reads the bookmarks at one end of each incident, in order of creation, in two statements.
    pub async fn bookmarks_at_end(
        &self,
        incidents: &[IncidentId],
        span: Span<()>,
    ) -> Result<HashMap<IncidentId, Vec<Bookmark>>> {
        let (places, way, limit) = (places(incidents.len()), span.sql_direction(), span.limit);
        let sql = format!(
            "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY incident_id ORDER BY id {way}) AS place
             FROM bookmark WHERE incident_id IN ({places}) AND removed_at IS NULL) AS ranked WHERE place <= {limit}"
        );
        let found = self.conn().query_all_raw(statement(self, &sql, incidents.iter().map(|id| id.0.into()))).await?;
        let ids = found.iter().map(|row| row.try_get_by_index(0).map(BookmarkId)).collect::<Result<Vec<_>, _>>()?;
        let mut bookmarks = self.bookmarks(&ids).await?;
        bookmarks.sort_by_key(|bookmark| bookmark.id);
        let mut by_incident: HashMap<IncidentId, Vec<Bookmark>> = HashMap::new();
        for bookmark in bookmarks {
            by_incident.entry(bookmark.incident).or_default().push(bookmark);
        }
        Ok(by_incident)
    }

    /// Counts the bookmarks of each incident. An incident without bookmarks has no count.
    pub async fn bookmark_counts(&self, incidents: &[IncidentId]) -> Result<HashMap<IncidentId, u64>> {
        let rows: Vec<(Uuid, i64)> = row::Entity::find()
            .select_only()
            .column(row::Column::IncidentId)
            .expr(Expr::cust("COUNT(*)"))
            .filter(row::Column::IncidentId.is_in(incidents.iter().map(|id| id.0)))
            .filter(row::Column::RemovedAt.is_null())
            .group_by(row::Column::IncidentId)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|(incident, count)| (IncidentId(incident), count as u64)).collect())
    }

    /// Reads the result rows of these bookmarks, as the client gave them.
    pub async fn bookmark_rows(&self, ids: &[BookmarkId]) -> Result<HashMap<BookmarkId, String>> {
        let of_these = result::Column::BookmarkId.is_in(ids.iter().map(|id| id.0));
        let rows = result::Entity::find().filter(of_these).all(self.conn()).await?;
        Ok(rows.into_iter().map(|row| (BookmarkId(row.bookmark_id), row.rows)).collect())
    }
}

impl Tx {
    /// Locks a bookmark and reads it.
    pub async fn lock_bookmark(&self, id: BookmarkId) -> Result<Option<Bookmark>> {
        let row = row::Entity::find_by_id(id.0).lock(LockType::Update).one(self.conn()).await?;
        row.map(Bookmark::try_from).transpose()
    }

    /// Inserts a new bookmark and its result rows.
    pub async fn insert_bookmark(&self, bookmark: &Bookmark, rows: &ResultRows) -> Result<()> {
        let finding = &bookmark.finding;
        let row = row::ActiveModel {
            id: Set(bookmark.id.0),
            incident_id: Set(bookmark.incident.0),
            title: Set(finding.title.clone()),
            query: Set(finding.query.clone()),
            note: Set(finding.note.clone()),
            entities: Set(to_json(&finding.entities)?),
            event_at: Set(finding.event_at),
            author: Set(to_json(&bookmark.author)?),
            created_at: Set(bookmark.created_at),
            removed_at: Set(bookmark.removed_at),
        };
        row::Entity::insert(row).exec_without_returning(self.conn()).await?;
        let found = result::ActiveModel { bookmark_id: Set(bookmark.id.0), rows: Set(rows.as_str().to_owned()) };
        result::Entity::insert(found).exec_without_returning(self.conn()).await?;
        Ok(())
    }

    /// Marks a locked bookmark as removed.
    pub async fn remove_bookmark(&self, id: BookmarkId, at: Instant) -> Result<()> {
        row::Entity::update_many()
            .col_expr(row::Column::RemovedAt, Expr::value(at))
            .filter(row::Column::Id.eq(id.0))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Moves the bookmarks of a locked incident to another locked incident. Returns their ids, ascending. Removed
    /// bookmarks stay with the incident whose log mentions them.
    pub async fn move_bookmarks(&self, from: IncidentId, to: IncidentId) -> Result<Vec<BookmarkId>> {
        let moved = row::Entity::update_many()
            .col_expr(row::Column::IncidentId, Expr::value(to.0))
            .filter(row::Column::IncidentId.eq(from.0))
            .filter(row::Column::RemovedAt.is_null())
            .exec_with_returning(self.conn())
            .await?;
        let mut ids: Vec<BookmarkId> = moved.into_iter().map(|row| BookmarkId(row.id)).collect();
        ids.sort();
        Ok(ids)
    }

    /// Moves these bookmarks to an incident.
    pub async fn place_bookmarks(&self, ids: &[BookmarkId], incident: IncidentId) -> Result<()> {
        row::Entity::update_many()
            .col_expr(row::Column::IncidentId, Expr::value(incident.0))
            .filter(row::Column::Id.is_in(ids.iter().map(|id| id.0)))
            .exec(self.conn())
            .await?;
        Ok(())
    }
}
