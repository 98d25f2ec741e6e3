//! Long texts. The change that sets a text stores it once, under incident, field and version.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, SimpleExpr};
use sea_orm::{Condition, QuerySelect, Set};

use super::{Reader, Tx};
use crate::domain::incident::{Incident, TextField};
use crate::domain::title::START_CHARS;
use crate::domain::{IncidentId, Result};

pub(super) mod row {
    //! A long text.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "incident_text")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) incident_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) field: crate::domain::incident::TextField,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) version: i64,
        pub(in crate::storage) text: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// The key of a long text: the incident, the field, and the version that set it.
pub type TextKey = (IncidentId, TextField, u64);

/// Selects the start of a title, as much as is ever shown. A title may have two million characters, and a page has a
/// hundred titles. Both databases count characters.
pub(super) fn start_of(table: &str, column: &str) -> SimpleExpr {
    Expr::cust(start_in(table, column))
}

/// Returns the expression of [`start_of`] as SQL text.
pub(super) fn start_in(table: &str, column: &str) -> String {
    format!("substr(\"{table}\".\"{column}\", 1, {START_CHARS})")
}

impl Reader {
    /// Reads these long texts, whole.
    pub async fn long_texts(&self, keys: &[TextKey]) -> Result<HashMap<TextKey, String>> {
        self.texts(keys, Expr::col((row::Entity, row::Column::Text))).await
    }

    /// Reads the first characters of these long texts: one character more than a title shows.
    pub async fn long_text_starts(&self, keys: &[TextKey]) -> Result<HashMap<TextKey, String>> {
        self.texts(keys, start_of("incident_text", "text")).await
    }

    /// Returns the size of each of these long texts in bytes. A missing text has no entry.
    pub async fn long_text_sizes(&self, keys: &[TextKey]) -> Result<HashMap<TextKey, u64>> {
        let mut sizes = HashMap::new();
        for keys in keys.chunks(super::ALTERNATIVES_MAX) {
            let rows: Vec<(Uuid, TextField, i64, i64)> = row::Entity::find()
                .select_only()
                .columns([row::Column::IncidentId, row::Column::Field, row::Column::Version])
                .expr(Expr::cust("CAST(octet_length(text) AS bigint)"))
                .filter(any_of(keys))
                .into_tuple()
                .all(self.conn())
                .await?;
            let keyed = rows
                .into_iter()
                .map(|(incident, field, version, size)| ((IncidentId(incident), field, version as u64), size as u64));
            sizes.extend(keyed);
        }
        Ok(sizes)
    }

    async fn texts(&self, keys: &[TextKey], read: SimpleExpr) -> Result<HashMap<TextKey, String>> {
        let mut texts = HashMap::new();
        for keys in keys.chunks(super::ALTERNATIVES_MAX) {
            let rows = row::Entity::find()
                .select_only()
                .columns([row::Column::IncidentId, row::Column::Field, row::Column::Version])
                .expr_as(read.clone(), "text")
                .filter(any_of(keys))
                .all(self.conn())
                .await?;
            let keyed =
                rows.into_iter().map(|row| ((IncidentId(row.incident_id), row.field, row.version as u64), row.text));
            texts.extend(keyed);
        }
        Ok(texts)
    }
}

fn any_of(keys: &[TextKey]) -> Condition {
    keys.iter().fold(Condition::any(), |any, (incident, field, version)| {
        any.add(
            row::Column::IncidentId
                .eq(incident.0)
                .and(row::Column::Field.eq(*field))
                .and(row::Column::Version.eq(*version as i64)),
        )
    })
}

impl Tx {
    /// Stores the long texts that the incident's present version set.
    pub(super) async fn save_long_texts(&self, incident: &Incident) -> Result<()> {
        for (field, text) in incident.long_texts(incident.version) {
            let row = row::ActiveModel {
                incident_id: Set(incident.id.0),
                field: Set(field),
                version: Set(incident.version as i64),
                text: Set(text.to_owned()),
            };
            row::Entity::insert(row).exec_without_returning(self.conn()).await?;
        }
        Ok(())
    }
}
