//! Writes many incidents at once, in their state after commands that ran in memory. The rows are the rows that single
//! commands write, in a few statements for all.

use std::collections::HashSet;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Expr;
use sea_orm::{ConnectionTrait, IdenStatic, Iterable, Statement};

use super::load::Lot;
use super::tag::held as tag_held;
use super::{IDS_PER_STATEMENT, Reader, Tx, alert, comment, entity, incident, rows, statement, text};
use crate::domain::alert::{Alert, AlertKey};
use crate::domain::change::ChangeBody;
use crate::domain::comment::Comment;
use crate::domain::incident::{Incident, TextField};
use crate::domain::tag::{Tag, TagKind};
use crate::domain::{AlertId, IncidentId, Result};

/// Rows of one UPDATE: the widest row has 38 columns of the 32,766 parameters that SQLite takes.
const ROWS_PER_UPDATE: usize = 100;

/// Rows of one statement that names each row by three values.
const ROWS_PER_DELETE: usize = 1_000;

/// An incident after commands, with everything that must be written.
#[derive(Debug)]
pub struct Altered {
    /// The locked state before, or none for a new incident.
    pub before: Option<Incident>,
    /// The present state.
    pub after: Incident,
    /// The digest of the input that created it.
    pub created_input: Option<Vec<u8>>,
    /// Its changed alerts: the locked and the present state of each.
    pub alerts: Vec<(Alert, Alert)>,
    /// Alerts that it gained, each with the version that brought the alert.
    pub linked: Vec<(Alert, u64)>,
    /// Its new comments.
    pub comments: Vec<Comment>,
    /// Its texts that are too long for a change, each with the version that set it.
    pub texts: Vec<(TextField, u64, String)>,
}

impl Reader {
    /// Returns the ids of the alerts with these keys and of the alerts of these incidents.
    pub async fn alert_ids_of(&self, keys: &[AlertKey], incidents: &[IncidentId]) -> Result<Vec<AlertId>> {
        let mut ids = HashSet::new();
        for keys in keys.chunks(IDS_PER_STATEMENT / 2) {
            let pairs = rows::tuples(self.conn.get_database_backend(), keys.len(), 2);
            let sql = format!("SELECT id FROM alert WHERE (provider, provider_alert_id) IN (VALUES {pairs})");
            let values = keys.iter().flat_map(|(provider, id)| [provider.as_str().into(), id.as_str().into()]);
            for row in self.conn().query_all_raw(statement(self, &sql, values)).await? {
                ids.insert(AlertId(row.try_get_by_index(0)?));
            }
        }
        for incidents in incidents.chunks(IDS_PER_STATEMENT) {
            let sql = format!("SELECT id FROM alert WHERE incident_id IN ({})", super::places(incidents.len()));
            let values = incidents.iter().map(|id| id.0.into());
            for row in self.conn().query_all_raw(statement(self, &sql, values)).await? {
                ids.insert(AlertId(row.try_get_by_index(0)?));
            }
        }
        Ok(ids.into_iter().collect())
    }
}

impl Tx {
    /// Adds a change to the log. [`Tx::save_many`] writes its rows.
    pub async fn tell(&self, change: ChangeBody) {
        self.pending.lock().await.push(change);
    }

    /// Writes incidents. Each incident occurs once.
    pub async fn save_many(&self, altered: &[Altered]) -> Result<()> {
        let backend = self.conn().get_database_backend();
        let (mut lot, mut incidents, mut known) = (Lot::default(), Vec::new(), Vec::new());
        for one in altered {
            match &one.before {
                Some(before) => known.push((incident::to_row(before, None)?, incident::to_row(&one.after, None)?)),
                None => incidents.push(incident::to_row(&one.after, one.created_input.clone())?),
            }
        }
        let alerts: Vec<_> = altered.iter().flat_map(|one| &one.alerts).collect();
        let alerts: Vec<_> = alerts
            .into_iter()
            .map(|(before, after)| Ok((alert::to_row(before)?, alert::to_row(after)?)))
            .collect::<Result<_>>()?;
        let held: Vec<_> = altered
            .iter()
            .flat_map(|one| one.linked.iter().flat_map(|(alert, since)| entity::holding(&one.after, alert, *since)))
            .collect();
        let comments: Vec<_> =
            altered.iter().flat_map(|one| &one.comments).map(comment::to_row).collect::<Result<_>>()?;
        let revisions: Vec<_> = altered
            .iter()
            .flat_map(|one| &one.comments)
            .map(|comment| comment::to_revision(comment.id, 1, &comment.first_text()))
            .collect::<Result<_>>()?;
        let texts: Vec<_> = altered.iter().flat_map(texts_of).collect();
        let tags: Vec<_> = altered.iter().flat_map(tags_added).collect();
        lot.insert::<incident::row::Entity>(backend, &incidents);
        lot.insert::<text::row::Entity>(backend, &texts);
        lot.insert::<tag_held::Entity>(backend, &tags);
        lot.insert::<entity::held::Entity>(backend, &held);
        lot.insert::<comment::row::Entity>(backend, &comments);
        lot.insert::<comment::revision::Entity>(backend, &revisions);
        self.execute_all(updates::<incident::row::Entity>(self, &known)).await?;
        self.delete_tags(altered).await?;
        self.note_many_open(altered).await?;
        self.write_lot(&lot).await?;
        self.execute_all(updates::<alert::row::Entity>(self, &alerts)).await
    }

    async fn execute_all(&self, statements: Vec<Statement>) -> Result<()> {
        for statement in statements {
            self.conn().execute_raw(statement).await?;
        }
        Ok(())
    }

    async fn delete_tags(&self, altered: &[Altered]) -> Result<()> {
        let gone: Vec<(IncidentId, TagKind, String)> = altered.iter().flat_map(tags_removed).collect();
        for gone in gone.chunks(ROWS_PER_DELETE) {
            let rows = rows::tuples(self.conn.get_database_backend(), gone.len(), 3);
            let sql = format!("DELETE FROM incident_tag WHERE (incident_id, kind, key) IN (VALUES {rows})");
            let mut values: Vec<sea_orm::Value> = Vec::with_capacity(3 * gone.len());
            for (id, kind, key) in gone {
                values.extend([id.0.into(), (*kind).into(), key.as_str().into()]);
            }
            self.conn().execute_raw(statement(self, &sql, values)).await?;
        }
        Ok(())
    }

    /// Updates `open` on entities that incidents held before, if an incident was opened or closed.
    async fn note_many_open(&self, altered: &[Altered]) -> Result<()> {
        for open in [true, false] {
            let turned = altered.iter().filter(|one| {
                one.after.is_open() == open && one.before.as_ref().is_some_and(|before| before.is_open() != open)
            });
            let ids: Vec<Uuid> = turned.map(|one| one.after.id.0).collect();
            if ids.is_empty() {
                continue;
            }
            entity::held::Entity::update_many()
                .col_expr(entity::held::Column::Open, Expr::value(open))
                .filter(entity::held::Column::IncidentId.is_in(ids))
                .filter(entity::held::Column::ToVersion.is_null())
                .exec(self.conn())
                .await?;
        }
        Ok(())
    }
}

/// Builds updates of rows by their column `id`. They set every column that differs in at least one row.
fn updates<E: EntityTrait>(reader: &Reader, rows: &[(E::Model, E::Model)]) -> Vec<Statement> {
    let differs = |column: &E::Column| rows.iter().any(|(was, is)| was.get(*column) != is.get(*column));
    let columns: Vec<E::Column> = E::Column::iter().filter(differs).collect();
    let Some(id) = E::Column::iter().find(|column| column.as_str() == "id") else { return Vec::new() };
    if columns.is_empty() {
        return Vec::new();
    }
    let names: Vec<&'static str> = columns.iter().map(|column| column.as_str()).collect();
    let values = |(_, row): &(E::Model, E::Model)| {
        std::iter::once(row.get(id)).chain(columns.iter().map(|column| row.get(*column))).collect()
    };
    let backend = reader.conn().get_database_backend();
    let update = |rows: &[(E::Model, E::Model)]| {
        rows::update(backend, E::default().table_name(), &names, rows.iter().map(values).collect())
    };
    rows.chunks(ROWS_PER_UPDATE).map(update).collect()
}

fn keys(tags: &[Tag]) -> HashSet<(TagKind, String)> {
    tags.iter().map(|tag| (tag.kind, tag.key())).collect()
}

fn had(one: &Altered) -> HashSet<(TagKind, String)> {
    one.before.as_ref().map(|before| keys(&before.tags)).unwrap_or_default()
}

fn tags_added(one: &Altered) -> Vec<tag_held::Model> {
    let had = had(one);
    let added = keys(&one.after.tags).into_iter().filter(|tag| !had.contains(tag));
    added.map(|(kind, key)| tag_held::Model { incident_id: one.after.id.0, kind, key }).collect()
}

fn tags_removed(one: &Altered) -> Vec<(IncidentId, TagKind, String)> {
    let has = keys(&one.after.tags);
    had(one).into_iter().filter(|tag| !has.contains(tag)).map(|(kind, key)| (one.after.id, kind, key)).collect()
}

fn texts_of(one: &Altered) -> impl Iterator<Item = text::row::Model> {
    one.texts.iter().map(|(field, version, text)| text::row::Model {
        incident_id: one.after.id.0,
        field: *field,
        version: *version as i64,
        text: text.clone(),
    })
}
