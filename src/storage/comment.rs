//! Comments and their former texts.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, LockType, SimpleExpr};
use sea_orm::{IntoActiveModel, Order, QueryOrder, QuerySelect, UpdateMany};

use super::changelog::actor_id;
use super::deferred::{NewRow, Table};
use super::incident::{json, to_json};
use super::queue::Span;
use super::{IDS_PER_STATEMENT, Reader, Tx, places, statement};
use crate::domain::comment::{Comment, CommentPlace, Revision, TextSetBy};
use crate::domain::{CommentId, IncidentId, Result};

pub(super) mod row {
    //! The row of a comment.
    use sea_orm::entity::prelude::*;
    use serde::Deserialize;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Deserialize)]
    #[sea_orm(table_name = "comment")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) id: Uuid,
        pub(in crate::storage) incident_id: Uuid,
        pub(in crate::storage) written_on: Option<Uuid>,
        pub(in crate::storage) version: i64,
        pub(in crate::storage) body: String,
        pub(in crate::storage) author_id: Option<Uuid>,
        pub(in crate::storage) author: String,
        pub(in crate::storage) created_at: DateTimeUtc,
        pub(in crate::storage) edited_at: Option<DateTimeUtc>,
        pub(in crate::storage) deleted_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod revision {
    //! A text that a comment has or had.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "comment_revision")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) comment_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) ordinal: i64,
        pub(in crate::storage) incident_id: Uuid,
        pub(in crate::storage) version: i64,
        pub(in crate::storage) body: String,
        pub(in crate::storage) at: DateTimeUtc,
        pub(in crate::storage) by_actor: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// The order of comments. The version decides between comments of one instant. After a merge, versions of two incidents
/// may be equal, so the id decides last.
const PLACE: [row::Column; 3] = [row::Column::CreatedAt, row::Column::Version, row::Column::Id];

fn tuple(place: CommentPlace) -> SimpleExpr {
    let values = [Expr::value(place.at), Expr::value(place.version as i64), Expr::value(place.id.0)];
    Expr::tuple(values)
}

impl TryFrom<row::Model> for Comment {
    type Error = crate::domain::Error;

    fn try_from(row: row::Model) -> Result<Self> {
        Ok(Self {
            id: CommentId(row.id),
            incident: IncidentId(row.incident_id),
            written_on: IncidentId(row.written_on.unwrap_or(row.incident_id)),
            version: row.version as u64,
            body: row.body,
            author: json(&row.author)?,
            created_at: row.created_at,
            edited_at: row.edited_at,
            deleted_at: row.deleted_at,
        })
    }
}

pub(super) fn to_row(comment: &Comment) -> Result<row::Model> {
    let written_on = (comment.written_on != comment.incident).then_some(comment.written_on.0);
    Ok(row::Model {
        id: comment.id.0,
        incident_id: comment.incident.0,
        written_on,
        version: comment.version as i64,
        body: comment.body.clone(),
        author_id: actor_id(&comment.author),
        author: to_json(&comment.author)?,
        created_at: comment.created_at,
        edited_at: comment.edited_at,
        deleted_at: comment.deleted_at,
    })
}

/// Builds the row of a comment's text. `ordinal` counts the texts of the comment, from 1.
pub(super) fn to_revision(comment: CommentId, ordinal: i64, text: &Revision) -> Result<revision::Model> {
    Ok(revision::Model {
        comment_id: comment.0,
        ordinal,
        incident_id: text.incident.0,
        version: text.version as i64,
        body: text.body.clone(),
        at: text.at,
        by_actor: to_json(&text.by)?,
    })
}

impl Reader {
    /// Reads the comments with these ids, including deleted comments, in no order.
    pub async fn comments(&self, ids: &[CommentId]) -> Result<Vec<Comment>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows =
            row::Entity::find().filter(row::Column::Id.is_in(ids.iter().map(|id| id.0))).all(self.conn()).await?;
        rows.into_iter().map(Comment::try_from).collect()
    }

    /// Reads a page of an incident's comments, oldest first, without deleted comments.
    pub async fn comments_page(&self, incident: IncidentId, span: Span<CommentPlace>) -> Result<Vec<Comment>> {
        let mut query =
            row::Entity::find().filter(row::Column::IncidentId.eq(incident.0)).filter(row::Column::DeletedAt.is_null());
        let place = || Expr::tuple(PLACE.map(|column| Expr::col((row::Entity, column))));
        if let Some(after) = span.after {
            query = query.filter(place().gt(tuple(after)));
        }
        if let Some(before) = span.before {
            query = query.filter(place().lt(tuple(before)));
        }
        let way = if span.from_end { Order::Desc } else { Order::Asc };
        query = PLACE.into_iter().fold(query, |query, column| query.order_by(column, way.clone()));
        let mut rows = query.limit(span.limit).all(self.conn()).await?;
        if span.from_end {
            rows.reverse();
        }
        rows.into_iter().map(Comment::try_from).collect()
    }

    /// Reads the comments at one end of each incident, oldest first: one statement for one incident, otherwise two.
    pub async fn comments_at_end(
        &self,
        incidents: &[IncidentId],
        span: Span<()>,
    ) -> Result<HashMap<IncidentId, Vec<Comment>>> {
        if let [incident] = incidents {
            return Ok(HashMap::from([(*incident, self.comments_page(*incident, span.of_other_keys()).await?)]));
        }
        let (places, way, limit) = (places(incidents.len()), span.sql_direction(), span.limit);
        let sql = format!(
            "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY incident_id
                ORDER BY created_at {way}, version {way}, id {way}) AS place
             FROM comment WHERE incident_id IN ({places}) AND deleted_at IS NULL) AS ranked WHERE place <= {limit}"
        );
        let found = self.conn().query_all_raw(statement(self, &sql, incidents.iter().map(|id| id.0.into()))).await?;
        let ids = found.iter().map(|row| row.try_get_by_index(0).map(CommentId)).collect::<Result<Vec<_>, _>>()?;
        let mut comments = self.comments(&ids).await?;
        comments.sort_by_key(CommentPlace::of);
        let mut by_incident: HashMap<IncidentId, Vec<Comment>> = HashMap::new();
        for comment in comments {
            by_incident.entry(comment.incident).or_default().push(comment);
        }
        Ok(by_incident)
    }

    /// Reads every text that each comment has had, oldest first.
    pub async fn comment_histories(&self, comments: &[CommentId]) -> Result<HashMap<CommentId, Vec<Revision>>> {
        let rows = revision::Entity::find()
            .filter(revision::Column::CommentId.is_in(comments.iter().map(|id| id.0)))
            .order_by_asc(revision::Column::CommentId)
            .order_by_asc(revision::Column::Ordinal)
            .all(self.conn())
            .await?;
        let mut histories: HashMap<CommentId, Vec<Revision>> = HashMap::new();
        for row in rows {
            let by = json(&row.by_actor)?;
            let incident = IncidentId(row.incident_id);
            let revision = Revision { incident, version: row.version as u64, body: row.body, at: row.at, by };
            histories.entry(CommentId(row.comment_id)).or_default().push(revision);
        }
        Ok(histories)
    }
}

impl Reader {
    /// Reads the comments after an id, including deleted comments, ascending, at most `limit`.
    pub async fn comments_after(&self, id: Option<CommentId>, limit: u64) -> Result<Vec<Comment>> {
        let mut query = row::Entity::find().order_by_asc(row::Column::Id).limit(limit);
        if let Some(id) = id {
            query = query.filter(row::Column::Id.gt(id.0));
        }
        query.all(self.conn()).await?.into_iter().map(Comment::try_from).collect()
    }

    /// Counts all comments, including deleted comments.
    pub async fn comment_total(&self) -> Result<u64> {
        super::count(self, row::Entity::find()).await
    }

    /// Counts the texts that all comments have or had.
    pub async fn comment_text_total(&self) -> Result<u64> {
        super::count(self, revision::Entity::find()).await
    }

    /// Reads the texts of comments that these versions of incidents set.
    pub async fn comment_texts(
        &self,
        keys: &[(CommentId, TextSetBy)],
    ) -> Result<HashMap<(CommentId, TextSetBy), Revision>> {
        let mut texts = HashMap::new();
        for keys in keys.chunks(super::ALTERNATIVES_MAX) {
            let any = keys.iter().fold(sea_orm::Condition::any(), |any, (comment, by)| {
                let this = revision::Column::CommentId
                    .eq(comment.0)
                    .and(revision::Column::IncidentId.eq(by.incident.0))
                    .and(revision::Column::Version.eq(by.version as i64));
                any.add(this)
            });
            for row in revision::Entity::find().filter(any).all(self.conn()).await? {
                let (incident, version) = (IncidentId(row.incident_id), row.version as u64);
                let key = (CommentId(row.comment_id), TextSetBy { incident, version });
                let by = json(&row.by_actor)?;
                texts.insert(key, Revision { incident, version, body: row.body, at: row.at, by });
            }
        }
        Ok(texts)
    }

    /// Returns the version of an incident that set the newest text of each comment.
    pub async fn newest_texts(&self, comments: &[CommentId]) -> Result<HashMap<CommentId, TextSetBy>> {
        let rows: Vec<(Uuid, Uuid, i64)> = revision::Entity::find()
            .select_only()
            .columns([revision::Column::CommentId, revision::Column::IncidentId, revision::Column::Version])
            .filter(revision::Column::CommentId.is_in(comments.iter().map(|id| id.0)))
            .order_by_asc(revision::Column::CommentId)
            .order_by_asc(revision::Column::Ordinal)
            .into_tuple()
            .all(self.conn())
            .await?;
        let by = |incident, version| TextSetBy { incident: IncidentId(incident), version };
        // Later rows replace earlier rows, so the newest text stays.
        Ok(rows.into_iter().map(|(id, incident, version)| (CommentId(id), by(incident, version as u64))).collect())
    }
}

impl Tx {
    /// Locks a comment and reads it.
    pub async fn lock_comment(&self, id: CommentId) -> Result<Option<Comment>> {
        let row = row::Entity::find_by_id(id.0).lock(LockType::Update).one(self.conn()).await?;
        row.map(Comment::try_from).transpose()
    }

    /// Defers the insert of a new comment and its first text.
    pub async fn insert_comment(&self, comment: &Comment) -> Result<()> {
        self.conn().insert_later(NewRow::of::<row::Entity>(Table::Comment, &to_row(comment)?)).await?;
        let text = to_revision(comment.id, 1, &comment.first_text())?;
        Ok(self.conn().insert_later(NewRow::of::<revision::Entity>(Table::CommentRevision, &text)).await?)
    }

    /// Writes a comment's present text and times. `revision` is given if the text is new.
    pub async fn save_comment(&self, comment: &Comment, revision: Option<&Revision>) -> Result<()> {
        row::Entity::update_many()
            .col_expr(row::Column::Body, Expr::value(comment.body.clone()))
            .col_expr(row::Column::EditedAt, Expr::value(comment.edited_at))
            .col_expr(row::Column::DeletedAt, Expr::value(comment.deleted_at))
            .filter(row::Column::Id.eq(comment.id.0))
            .exec(self.conn())
            .await?;
        match revision {
            Some(revision) => self.insert_revision(comment.id, self.newest_text(comment.id).await? + 1, revision).await,
            None => Ok(()),
        }
    }

    /// Moves all comments of an incident, including deleted comments, to another incident. Returns their ids, oldest
    /// first.
    pub async fn move_comments(&self, from: IncidentId, to: IncidentId) -> Result<Vec<CommentId>> {
        let of_it = row::Column::IncidentId.eq(from.0);
        let mut query = row::Entity::find().select_only().column(row::Column::Id).filter(of_it.clone());
        query = PLACE.into_iter().fold(query, |query, column| query.order_by(column, Order::Asc));
        let moved: Vec<Uuid> = query.into_tuple().all(self.conn()).await?;
        placing(to).filter(of_it).exec(self.conn()).await?;
        Ok(moved.into_iter().map(CommentId).collect())
    }

    /// Moves these comments to an incident.
    pub async fn place_comments(&self, ids: &[CommentId], incident: IncidentId) -> Result<()> {
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            placing(incident).filter(row::Column::Id.is_in(ids.iter().map(|id| id.0))).exec(self.conn()).await?;
        }
        Ok(())
    }

    /// Returns the ordinal of the newest text of a locked comment.
    async fn newest_text(&self, comment: CommentId) -> Result<i64> {
        let newest: Option<Option<i64>> = revision::Entity::find()
            .select_only()
            .column_as(revision::Column::Ordinal.max(), "newest")
            .filter(revision::Column::CommentId.eq(comment.0))
            .into_tuple()
            .one(self.conn())
            .await?;
        Ok(newest.flatten().unwrap_or(0))
    }

    /// Inserts a text of a locked comment with this ordinal.
    async fn insert_revision(&self, comment: CommentId, ordinal: i64, revision: &Revision) -> Result<()> {
        let row = to_revision(comment, ordinal, revision)?.into_active_model().reset_all();
        revision::Entity::insert(row).exec_without_returning(self.conn()).await?;
        Ok(())
    }
}

/// A move keeps the incident on which the comment was first written.
fn placing(incident: IncidentId) -> UpdateMany<row::Entity> {
    row::Entity::update_many()
        .col_expr(row::Column::WrittenOn, Expr::cust("COALESCE(written_on, incident_id)"))
        .col_expr(row::Column::IncidentId, Expr::value(incident.0))
}
