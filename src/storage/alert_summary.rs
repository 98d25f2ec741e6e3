//! The summary of the alerts that incidents hold: count, severity, times, products, providers and what a generated
//! title needs.

use std::collections::BTreeSet;

use sea_orm::entity::prelude::*;
use sea_orm::{QuerySelect, Statement};

use super::alert::row::{Column, Entity};
use super::{Reader, places, statement};
use crate::domain::alert::AlertStatus;
use crate::domain::entity::EntityKind;
use crate::domain::incident::AlertSummary;
use crate::domain::title::AlertDigest;
use crate::domain::{IncidentId, Instant, Result};

impl Reader {
    /// Whether an incident holds an alert that is not resolved.
    pub async fn has_active_alerts(&self, incident: IncidentId) -> Result<bool> {
        let found: Option<Uuid> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::IncidentId.eq(incident.0))
            .filter(Column::Status.ne(AlertStatus::Resolved))
            .limit(1)
            .into_tuple()
            // A deferred row of an alert changes neither column.
            .one(&self.apart())
            .await?;
        Ok(found.is_some())
    }

    /// Summarises the alerts of an incident.
    pub async fn alert_summary(&self, incident: IncidentId, with_title: bool) -> Result<AlertSummary> {
        self.alert_summary_of(&[incident], with_title).await
    }

    /// Summarises the alerts of several incidents, as if one incident held them all.
    pub async fn alert_summary_of(&self, incidents: &[IncidentId], with_title: bool) -> Result<AlertSummary> {
        let of_these = OfIncidents { reader: self, incidents };
        let by_source = of_these.statement(
            "SELECT provider, product, COUNT(*), MAX(severity), MIN(first_activity_at), MAX(last_activity_at) FROM alert
             WHERE incident_id IN ({incidents}) GROUP BY provider, product",
        );
        let mut summary = AlertSummary::default();
        let (mut providers, mut products) = (BTreeSet::<String>::new(), BTreeSet::<String>::new());
        for source in self.conn().query_all_raw(by_source).await? {
            providers.insert(source.try_get_by_index(0)?);
            let product: Option<String> = source.try_get_by_index(1)?;
            summary.digest.has_unnamed_source |= product.is_none();
            products.extend(product);
            summary.digest.alerts += source.try_get_by_index::<i64>(2)? as u64;
            summary.severity = summary.severity.max(source.try_get_by_index(3)?);
            let first: Option<Instant> = source.try_get_by_index(4)?;
            summary.first_activity_at = summary.first_activity_at.into_iter().chain(first).min();
            summary.last_activity_at = summary.last_activity_at.max(source.try_get_by_index(5)?);
        }
        summary.providers = providers.into_iter().collect();
        summary.digest.products = products.into_iter().collect();
        if with_title && summary.digest.alerts > 0 {
            of_these.digest_for_title(&mut summary.digest).await?;
        }
        Ok(summary)
    }
}

/// The alerts of some incidents, for handwritten statements.
struct OfIncidents<'a> {
    reader: &'a Reader,
    incidents: &'a [IncidentId],
}

impl OfIncidents<'_> {
    fn statement(&self, sql: &str) -> Statement {
        let sql = sql.replace("{incidents}", &places(self.incidents.len()));
        statement(self.reader, &sql, self.incidents.iter().map(|id| id.0.into()))
    }

    async fn digest_for_title(&self, digest: &mut AlertDigest) -> Result<()> {
        let conn = self.reader.conn();
        let title = conn
            .query_one_raw(self.statement(
                "SELECT title, (SELECT COUNT(DISTINCT title) FROM alert WHERE incident_id IN ({incidents})) FROM alert
                 WHERE incident_id IN ({incidents}) ORDER BY COALESCE(first_activity_at, created_at), id LIMIT 1",
            ))
            .await?;
        if let Some(title) = title {
            digest.first_title = title.try_get_by_index(0)?;
            digest.same_title = title.try_get_by_index::<i64>(1)? == 1;
        }
        let categories = conn
            .query_all_raw(self.statement(
                "SELECT category FROM alert WHERE incident_id IN ({incidents}) AND category IS NOT NULL
                 GROUP BY category ORDER BY COUNT(*) DESC, category",
            ))
            .await?;
        digest.categories = categories.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
        let kinds = conn
            .query_all_raw(self.statement(
                "SELECT e.kind, COUNT(DISTINCT e.value_key) FROM alert_entity e JOIN alert a ON a.id = e.alert_id
                 WHERE a.incident_id IN ({incidents}) GROUP BY e.kind",
            ))
            .await?;
        for row in kinds {
            let count = row.try_get_by_index::<i64>(1)? as u64;
            match row.try_get_by_index(0)? {
                EntityKind::Device => digest.endpoints += count,
                EntityKind::User | EntityKind::Mailbox => digest.users += count,
                _ => {}
            }
        }
        Ok(())
    }
}
