//! Tags: their names as first written, and the tags of incidents.

use std::collections::{HashMap, HashSet};

use chrono::Duration;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, OnConflict, SimpleExpr};
use sea_orm::{DbBackend, Set};

use super::incident::json;
use super::{Reader, Tx};
use crate::domain::tag::{Tag, TagKind};
use crate::domain::{IncidentId, Instant, Result};

pub(super) mod name {
    //! A tag's name as first written, by kind and key.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "tag")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) kind: crate::domain::tag::TagKind,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) key: String,
        pub(in crate::storage) name: String,
        pub(in crate::storage) last_used_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod held {
    //! A tag of an incident.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "incident_tag")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) incident_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) kind: crate::domain::tag::TagKind,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) key: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// How old `last_used_at` may be before a use updates it. Suggestions need only 14 days, and an update locks the tag's
/// row.
pub(super) const LAST_USED_GRAIN: Duration = Duration::hours(1);

/// Rows per INSERT: four columns each, and SQLite takes 32,766 parameters.
const ROWS_PER_INSERT: usize = 1_000;

/// Returns an expression for the tags of an incident, as text for [`tags_told`], so that rows and tags take one
/// statement.
pub(super) fn tags_of(backend: DbBackend) -> SimpleExpr {
    let list = match backend {
        DbBackend::Postgres => "json_agg(json_build_array(h.kind, h.key, t.name))::text",
        _ => "json_group_array(json_array(h.kind, h.key, t.name))",
    };
    Expr::cust(format!(
        "(SELECT {list} FROM incident_tag h LEFT JOIN tag t ON t.kind = h.kind AND t.key = h.key
          WHERE h.incident_id = \"incident\".\"id\")"
    ))
}

/// The tags of all incidents of a `page` (PostgreSQL).
pub(super) const TAGS_OF_PAGE: &str =
    "SELECT h.incident_id, json_agg(json_build_array(h.kind, h.key, t.name))::text AS tags
    FROM page JOIN incident_tag h ON h.incident_id = page.id LEFT JOIN tag t ON t.kind = h.kind AND t.key = h.key
    GROUP BY h.incident_id";

/// Parses the text of [`tags_of`]: the tags, by kind and key.
pub(super) fn tags_told(told: Option<&str>) -> Result<Vec<Tag>> {
    let Some(told) = told else { return Ok(Vec::new()) };
    let mut tags: Vec<(TagKind, String, Option<String>)> = json(told)?;
    tags.sort();
    Ok(tags.into_iter().map(|(kind, key, name)| Tag { kind, name: name.unwrap_or(key) }).collect())
}

/// A tag as it was first written, with its last use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTag {
    /// The name as first written.
    pub name: String,
    /// The time of its last use, accurate to an hour.
    pub last_used_at: Instant,
}

impl KnownTag {
    /// Returns a tag that was never written before.
    pub fn new(tag: &Tag, at: Instant) -> Self {
        Self { name: tag.name.clone(), last_used_at: at }
    }

    /// Records a use. Returns whether the new time must be written.
    pub fn used(&mut self, at: Instant) -> bool {
        let is_stale = self.last_used_at < at - LAST_USED_GRAIN;
        if is_stale {
            self.last_used_at = at;
        }
        is_stale
    }
}

impl Reader {
    /// Reads the tags among these that were written before.
    pub async fn known_tags(&self, keys: &HashSet<(TagKind, String)>) -> Result<HashMap<(TagKind, String), KnownTag>> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let of_these = name::Column::Key.is_in(keys.iter().map(|(_, key)| key.clone()));
        let rows = name::Entity::find().filter(of_these).all(self.conn()).await?;
        let known = rows
            .into_iter()
            .map(|row| ((row.kind, row.key), KnownTag { name: row.name, last_used_at: row.last_used_at }));
        Ok(known.filter(|(key, _)| keys.contains(key)).collect())
    }

    /// Reads the tags of these incidents, each list by kind and key.
    pub(super) async fn tags(&self, incidents: &[Uuid]) -> Result<HashMap<Uuid, Vec<Tag>>> {
        let held = held::Entity::find()
            .filter(held::Column::IncidentId.is_in(incidents.iter().copied()))
            .all(&self.apart())
            .await?;
        let keys: HashSet<String> = held.iter().map(|row| row.key.clone()).collect();
        let names = self.tag_names(keys).await?;
        let mut tags: HashMap<Uuid, Vec<Tag>> = HashMap::new();
        for row in held {
            let name = names.get(&(row.kind, row.key.clone())).cloned().unwrap_or(row.key);
            tags.entry(row.incident_id).or_default().push(Tag { kind: row.kind, name });
        }
        tags.values_mut().for_each(|list| list.sort_by_cached_key(|tag| (tag.kind, tag.key())));
        Ok(tags)
    }

    async fn tag_names(&self, keys: HashSet<String>) -> Result<HashMap<(TagKind, String), String>> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = name::Entity::find().filter(name::Column::Key.is_in(keys)).all(&self.apart()).await?;
        Ok(rows.into_iter().map(|row| ((row.kind, row.key), row.name)).collect())
    }
}

impl Tx {
    /// Returns these tags as they were first written on this desk, and inserts new tags. Rows are written in key order,
    /// so that two writers of the same tags never wait for each other in a circle.
    pub async fn first_written(&self, mut tags: Vec<Tag>, now: Instant) -> Result<Vec<Tag>> {
        tags.sort_by_cached_key(|tag| (tag.kind, tag.key()));
        tags.dedup_by_key(|tag| (tag.kind, tag.key()));
        if tags.is_empty() {
            return Ok(tags);
        }
        let rows = tags.iter().map(|tag| name::ActiveModel {
            kind: Set(tag.kind),
            key: Set(tag.key()),
            name: Set(tag.name.clone()),
            last_used_at: Set(now),
        });
        let keep = OnConflict::columns([name::Column::Kind, name::Column::Key]).do_nothing().to_owned();
        name::Entity::insert_many(rows).on_conflict(keep).exec_without_returning(self.conn()).await?;
        let names = self.tag_names(tags.iter().map(Tag::key).collect()).await?;
        for of_kind in tags.chunk_by(|a, b| a.kind == b.kind) {
            let Some(first) = of_kind.first() else { continue };
            name::Entity::update_many()
                .col_expr(name::Column::LastUsedAt, Expr::value(now))
                .filter(name::Column::Kind.eq(first.kind))
                .filter(name::Column::Key.is_in(of_kind.iter().map(Tag::key)))
                .filter(name::Column::LastUsedAt.lt(now - LAST_USED_GRAIN))
                .exec(self.conn())
                .await?;
        }
        Ok(tags
            .into_iter()
            .map(|tag| match names.get(&(tag.kind, tag.key())) {
                Some(name) => Tag { kind: tag.kind, name: name.clone() },
                None => tag,
            })
            .collect())
    }

    /// Writes tags that are new or were used again, ascending by kind and key. Returns `Busy` if another transaction
    /// was first to write a tag, in another spelling; the command then runs again.
    pub async fn save_known_tags(&self, tags: &[((TagKind, String), KnownTag)]) -> Result<()> {
        for tags in tags.chunks(ROWS_PER_INSERT) {
            let rows = tags.iter().map(|((kind, key), tag)| name::ActiveModel {
                kind: Set(*kind),
                key: Set(key.clone()),
                name: Set(tag.name.clone()),
                last_used_at: Set(tag.last_used_at),
            });
            let newer = Expr::cust("excluded.last_used_at").gt(Expr::col((name::Entity, name::Column::LastUsedAt)));
            let later = OnConflict::columns([name::Column::Kind, name::Column::Key])
                .update_column(name::Column::LastUsedAt)
                .action_and_where(newer)
                .to_owned();
            name::Entity::insert_many(rows).on_conflict(later).exec_without_returning(self.conn()).await?;
            let names = self.tag_names(tags.iter().map(|((_, key), _)| key.clone()).collect()).await?;
            if tags.iter().any(|(key, tag)| names.get(key) != Some(&tag.name)) {
                return Err(crate::domain::Error::Busy);
            }
        }
        Ok(())
    }

    /// Writes the difference between an incident's former and present tags.
    pub(super) async fn save_tags(&self, incident: IncidentId, before: &[Tag], after: &[Tag]) -> Result<()> {
        let keys = |tags: &[Tag]| tags.iter().map(|tag| (tag.kind, tag.key())).collect::<HashSet<_>>();
        let (had, has) = (keys(before), keys(after));
        for (kind, key) in had.difference(&has) {
            held::Entity::delete_by_id((incident.0, *kind, key.clone())).exec(self.conn()).await?;
        }
        let mut new: Vec<_> = has.difference(&had).cloned().collect();
        if !new.is_empty() {
            new.sort();
            let rows = new.into_iter().map(|(kind, key)| held::ActiveModel {
                incident_id: Set(incident.0),
                kind: Set(kind),
                key: Set(key),
            });
            held::Entity::insert_many(rows).exec_without_returning(self.conn()).await?;
        }
        Ok(())
    }
}
