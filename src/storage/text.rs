//! Long texts: stored once by the change that set them, found again by incident, field and version.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{Condition, Set};

use super::{Reader, Tx};
use crate::domain::incident::{Incident, TextField};
use crate::domain::{IncidentId, Result};

mod row {
    //! One text.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "incident_text")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) incident_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) field: crate::domain::incident::TextField,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) version: i64,
        pub(super) text: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Which long text: of whom, which, set by which version.
pub type TextKey = (IncidentId, TextField, u64);

impl Reader {
    /// These long texts.
    pub async fn long_texts(&self, keys: &[TextKey]) -> Result<HashMap<TextKey, String>> {
        let mut texts = HashMap::new();
        for keys in keys.chunks(super::ALTERNATIVES_MAX) {
            let any = keys.iter().fold(Condition::any(), |any, (incident, field, version)| {
                any.add(
                    row::Column::IncidentId
                        .eq(incident.0)
                        .and(row::Column::Field.eq(*field))
                        .and(row::Column::Version.eq(*version as i64)),
                )
            });
            let rows = row::Entity::find().filter(any).all(self.conn()).await?;
            let keyed =
                rows.into_iter().map(|row| ((IncidentId(row.incident_id), row.field, row.version as u64), row.text));
            texts.extend(keyed);
        }
        Ok(texts)
    }
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
