//! Alerts: the row, reads, locks, ingest, and the summary of an incident's alerts.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{LockType, Query};
use sea_orm::{Condition, FromQueryResult, IntoActiveModel, QueryOrder, QueryResult, QuerySelect, Select, Set};

use super::incident::{classification, classification_columns, json, owner_columns, owner_id, to_json};
use super::queue::Span;
use super::way::WantedRows;
use super::{IDS_PER_STATEMENT, Reader, Tx, account, entity, places, rows, search, statement};
use crate::domain::account::{Owner, OwnerId};
use crate::domain::alert::{Alert, AlertStatus, Report, Settled};
use crate::domain::entity::Entity as NamedEntity;
use crate::domain::filter::{EntityFilter, OwnerFilter};
use crate::domain::incident::Severity;
use crate::domain::{AlertId, Error, IncidentId, Result, text};

pub(super) mod row {
    //! The row of an alert.
    use sea_orm::entity::prelude::*;
    use serde::Deserialize;

    use crate::domain::alert::AlertStatus;
    use crate::domain::classification::ClassificationKind;
    use crate::domain::incident::Severity;
    use crate::storage::told::{some_value, value};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Deserialize)]
    #[sea_orm(table_name = "alert")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) id: Uuid,
        pub(in crate::storage) provider: String,
        pub(in crate::storage) provider_alert_id: String,
        pub(in crate::storage) product: Option<String>,
        pub(in crate::storage) title: String,
        pub(in crate::storage) title_folded: String,
        pub(in crate::storage) description: Option<String>,
        #[serde(deserialize_with = "value")]
        pub(in crate::storage) severity: Severity,
        #[serde(deserialize_with = "value")]
        pub(in crate::storage) status: AlertStatus,
        #[serde(deserialize_with = "some_value")]
        pub(in crate::storage) reported_status: Option<AlertStatus>,
        #[serde(deserialize_with = "some_value")]
        pub(in crate::storage) classification: Option<ClassificationKind>,
        pub(in crate::storage) determination: Option<String>,
        pub(in crate::storage) category: Option<String>,
        pub(in crate::storage) techniques: String,
        pub(in crate::storage) owner_user_id: Option<Uuid>,
        pub(in crate::storage) owner_group_id: Option<Uuid>,
        pub(in crate::storage) incident_id: Option<Uuid>,
        pub(in crate::storage) first_activity_at: Option<DateTimeUtc>,
        pub(in crate::storage) last_activity_at: Option<DateTimeUtc>,
        pub(in crate::storage) created_at: DateTimeUtc,
        pub(in crate::storage) updated_at: DateTimeUtc,
        pub(in crate::storage) resolved_at: Option<DateTimeUtc>,
        pub(in crate::storage) settled_version: Option<i64>,
        #[serde(deserialize_with = "some_value")]
        pub(in crate::storage) settled_status: Option<AlertStatus>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod raw {
    //! The provider's raw payload of an alert.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "alert_raw")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) alert_id: Uuid,
        pub(in crate::storage) raw: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

use row::{Column, Entity, Model};

/// Rows per INSERT: 24 columns each, and SQLite takes 32,766 parameters.
const ROWS_PER_INSERT: usize = 1_000;

/// A filter on alerts. All given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertFilter {
    /// Alerts that this incident holds.
    pub incident: Option<IncidentId>,
    /// Alerts that an incident holds (true), or that no incident holds (false).
    pub linked: Option<bool>,
    /// Alerts whose owner meets this condition. The caller is replaced by ids.
    pub owner: Option<OwnerFilter>,
    /// Alerts with one of these statuses.
    pub status: Option<Vec<AlertStatus>>,
    /// Alerts with one of these severities.
    pub severity: Option<Vec<Severity>>,
    /// Alerts of one of these products.
    pub product: Option<Vec<String>>,
    /// Alerts of one of these providers.
    pub provider: Option<Vec<String>>,
    /// Alerts that name one of these entities.
    pub entity: Option<Vec<EntityFilter>>,
    /// Alerts whose title contains this text, regardless of case and diacritics.
    pub text: Option<String>,
}

pub(super) fn to_row(alert: &Alert) -> Result<Model> {
    let (class, determination) = classification_columns(alert.classification);
    let (owner_user_id, owner_group_id) = owner_columns(alert.owner.as_ref().map(|owner| owner.id));
    let report = &alert.report;
    Ok(Model {
        id: alert.id.0,
        provider: report.provider.clone(),
        provider_alert_id: report.provider_alert_id.clone(),
        product: report.product.clone(),
        title: report.title.clone(),
        title_folded: text::fold(&report.title),
        description: report.description.clone(),
        severity: report.severity,
        status: alert.status,
        reported_status: alert.reported_status,
        classification: class,
        determination,
        category: report.category.clone(),
        techniques: to_json(&report.techniques)?,
        owner_user_id,
        owner_group_id,
        incident_id: alert.incident.map(|id| id.0),
        first_activity_at: report.first_activity_at,
        last_activity_at: report.last_activity_at,
        created_at: alert.created_at,
        updated_at: alert.updated_at,
        resolved_at: alert.resolved_at,
        settled_version: alert.settled.map(|settled| settled.version as i64),
        settled_status: alert.settled.map(|settled| settled.status),
    })
}

fn to_domain(row: Model, owner: Option<Owner>, entities: Vec<NamedEntity>) -> Result<Alert> {
    let settled = settled(row.settled_version, row.settled_status);
    Ok(Alert {
        id: AlertId(row.id),
        status: row.status,
        reported_status: row.reported_status,
        classification: classification(row.classification, row.determination.as_deref())?,
        owner,
        incident: row.incident_id.map(IncidentId),
        created_at: row.created_at,
        updated_at: row.updated_at,
        resolved_at: row.resolved_at,
        settled,
        report: Report {
            provider: row.provider,
            provider_alert_id: row.provider_alert_id,
            product: row.product,
            title: row.title,
            description: row.description,
            severity: row.severity,
            category: row.category,
            techniques: json(&row.techniques)?,
            first_activity_at: row.first_activity_at,
            last_activity_at: row.last_activity_at,
            entities,
        },
    })
}

pub(super) fn settled(version: Option<i64>, status: Option<AlertStatus>) -> Option<Settled> {
    Some(Settled { version: version? as u64, status: status? })
}

/// Selects alerts as answers show them: of a title only its start. Such rows must never be saved.
fn shown() -> Select<Entity> {
    let read = |column: &Column| !matches!(column, Column::Title | Column::TitleFolded);
    Entity::find()
        .select_only()
        .columns(<Column as sea_orm::Iterable>::iter().filter(read))
        .expr_as(super::text::start_of("alert", "title"), "title")
        .expr_as(Expr::cust("''"), "title_folded")
}

/// The row of an alert with the name of its owner.
pub(super) struct ShownAlertRow {
    pub(super) row: Model,
    pub(super) owner: Option<String>,
}

impl TryFrom<ShownAlertRow> for Alert {
    type Error = Error;

    /// Leaves out the entities that the alert names.
    fn try_from(shown: ShownAlertRow) -> Result<Self> {
        let ShownAlertRow { row, owner } = shown;
        let owner = account::owner_told(owner_id(row.owner_user_id, row.owner_group_id), owner.as_deref())?;
        to_domain(row, owner, Vec::new())
    }
}

impl FromQueryResult for ShownAlertRow {
    fn from_query_result(found: &QueryResult, pre: &str) -> Result<Self, DbErr> {
        Ok(Self { row: Model::from_query_result(found, pre)?, owner: found.try_get(pre, "owner")? })
    }
}

impl Reader {
    /// Reads the alerts with these ids, whole, in no order.
    pub async fn alerts(&self, ids: &[AlertId]) -> Result<Vec<Alert>> {
        let mut rows = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            let of_these = Column::Id.is_in(ids.iter().map(|id| id.0));
            rows.extend(Entity::find().filter(of_these).all(self.conn()).await?);
        }
        Box::pin(self.complete_alerts(rows)).await
    }

    /// Reads the alerts with these ids as answers show them, in no order. A longer title is cut to its first
    /// [`START_CHARS`](crate::domain::title::START_CHARS) characters.
    pub async fn alerts_to_show(&self, ids: &[AlertId]) -> Result<Vec<Alert>> {
        let mut alerts = Box::pin(self.alerts_listed(ids)).await?;
        let mut entities = Box::pin(self.alert_entities(ids)).await?;
        for alert in &mut alerts {
            alert.report.entities = entities.remove(&alert.id).unwrap_or_default();
        }
        Ok(alerts)
    }

    /// Reads alerts as [`Self::alerts_to_show`] does, without their entities, which lists seldom need.
    pub async fn alerts_listed(&self, ids: &[AlertId]) -> Result<Vec<Alert>> {
        let mut alerts = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            alerts.extend(self.list(shown().filter(Column::Id.is_in(ids.iter().map(|id| id.0)))).await?);
        }
        Ok(alerts)
    }

    /// Runs a query of [`shown`] rows in one statement. The alerts keep its order, have owners, and lack their
    /// entities.
    async fn list(&self, query: Select<Entity>) -> Result<Vec<Alert>> {
        let owner = account::owner_of("alert", self.conn().get_database_backend());
        let rows = query.expr_as(owner, "owner").into_model::<ShownAlertRow>().all(self.conn()).await?;
        rows.into_iter().map(Alert::try_from).collect()
    }

    /// Reads the entities that each alert names, in the provider's order.
    pub async fn alert_entities(&self, ids: &[AlertId]) -> Result<HashMap<AlertId, Vec<NamedEntity>>> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        Ok(self.named_entities(&ids).await?.into_iter().map(|(id, entities)| (AlertId(id), entities)).collect())
    }

    /// Reads the whole title of an alert.
    pub async fn whole_alert_title(&self, id: AlertId) -> Result<Option<String>> {
        let title = Entity::find().select_only().column(Column::Title).filter(Column::Id.eq(id.0));
        Ok(title.into_tuple().one(self.conn()).await?)
    }

    /// Reads the alerts with these keys (provider, the provider's id), in no order.
    pub async fn alerts_by_key(&self, keys: &[(String, String)]) -> Result<Vec<Alert>> {
        let mut rows = Vec::new();
        // Each key takes two parameters.
        for keys in keys.chunks(IDS_PER_STATEMENT / 2) {
            let pairs = rows::tuples(self.conn.get_database_backend(), keys.len(), 2);
            let sql = format!("SELECT * FROM alert WHERE (provider, provider_alert_id) IN (VALUES {pairs})");
            let values = keys.iter().flat_map(|(provider, id)| [provider.as_str().into(), id.as_str().into()]);
            rows.extend(Entity::find().from_raw_sql(statement(self, &sql, values)).all(self.conn()).await?);
        }
        self.complete_alerts(rows).await
    }

    /// Reads a page of the alerts that meet a filter, as answers show them, by id, which is their order of arrival.
    /// Their entities are left out ([`Reader::alert_entities`]).
    pub async fn alerts_page(
        &self,
        filter: &AlertFilter,
        span: Span<AlertId>,
        newest_first: bool,
    ) -> Result<Vec<Alert>> {
        let mut query = shown().filter(self.alerts_met(filter, WantedRows::Page).await?);
        let (low, high) = if newest_first { (span.before, span.after) } else { (span.after, span.before) };
        if let Some(low) = low {
            query = query.filter(Column::Id.gt(low.0));
        }
        if let Some(high) = high {
            query = query.filter(Column::Id.lt(high.0));
        }
        query = if newest_first != span.from_end {
            query.order_by_desc(Column::Id)
        } else {
            query.order_by_asc(Column::Id)
        };
        let mut alerts = self.list(query.limit(span.limit)).await?;
        if span.from_end {
            alerts.reverse();
        }
        Ok(alerts)
    }

    /// Counts the alerts that meet a filter.
    pub async fn alert_count(&self, filter: &AlertFilter) -> Result<u64> {
        super::count(self, Entity::find().filter(self.alerts_met(filter, WantedRows::All).await?)).await
    }

    /// Counts the alerts of each incident. An incident without alerts has no count.
    pub async fn alert_counts(&self, incidents: &[IncidentId]) -> Result<HashMap<IncidentId, u64>> {
        let rows: Vec<(Uuid, i64)> = Entity::find()
            .select_only()
            .column(Column::IncidentId)
            .expr(Expr::cust("COUNT(*)"))
            .filter(Column::IncidentId.is_in(incidents.iter().map(|id| id.0)))
            .group_by(Column::IncidentId)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|(incident, count)| (IncidentId(incident), count as u64)).collect())
    }

    /// Reads the alerts at one end of each incident's list, in order of arrival, without their entities: one statement
    /// for one incident, otherwise two.
    pub async fn alerts_at_end(
        &self,
        incidents: &[IncidentId],
        span: Span<()>,
    ) -> Result<HashMap<IncidentId, Vec<Alert>>> {
        if let [incident] = incidents {
            let of_it = AlertFilter { incident: Some(*incident), ..AlertFilter::default() };
            return Ok(HashMap::from([(*incident, self.alerts_page(&of_it, span.of_other_keys(), false).await?)]));
        }
        let (places, way, limit) = (places(incidents.len()), span.sql_direction(), span.limit);
        let sql = format!(
            "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY incident_id ORDER BY id {way}) AS place FROM alert
             WHERE incident_id IN ({places})) AS ranked WHERE place <= {limit}"
        );
        let found = self.conn().query_all_raw(statement(self, &sql, incidents.iter().map(|id| id.0.into()))).await?;
        let ids = found.iter().map(|row| row.try_get_by_index(0).map(AlertId)).collect::<Result<Vec<_>, _>>()?;
        let mut alerts = self.alerts_listed(&ids).await?;
        alerts.sort_by_key(|alert| alert.id);
        let mut by_incident: HashMap<IncidentId, Vec<Alert>> = HashMap::new();
        for alert in alerts {
            if let Some(incident) = alert.incident {
                by_incident.entry(incident).or_default().push(alert);
            }
        }
        Ok(by_incident)
    }

    /// Reads the raw payloads of these alerts, for each alert that has one.
    pub async fn alerts_raw(&self, ids: &[AlertId]) -> Result<HashMap<AlertId, String>> {
        let mut rows = Vec::new();
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            let of_these = raw::Column::AlertId.is_in(ids.iter().map(|id| id.0));
            rows.extend(raw::Entity::find().filter(of_these).all(self.conn()).await?);
        }
        rows.into_iter()
            .map(|row| String::from_utf8(row.raw).map(|raw| (AlertId(row.alert_id), raw)))
            .collect::<Result<_, _>>()
            .map_err(|error| Error::fault("reading an alert's raw payload", error))
    }

    /// Returns the condition of the alerts that meet a filter.
    async fn alerts_met(&self, filter: &AlertFilter, wanted: WantedRows) -> Result<Condition> {
        let met = condition(filter);
        let needle = filter.text.as_deref().map(text::fold).filter(|needle| search::is_indexed(needle));
        // PostgreSQL's trigram index is on the table itself.
        let Some(needle) = needle.filter(|_| !self.is_postgres()) else { return Ok(met) };
        let ids = search::alerts_with(&needle);
        let listed = wanted == WantedRows::All || self.is_short(ids.clone(), wanted).await?;
        Ok(if listed { met.add(Column::Id.in_subquery(ids)) } else { met })
    }

    async fn complete_alerts(&self, rows: Vec<Model>) -> Result<Vec<Alert>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let mut entities = self.named_entities(&ids).await?;
        let owners = self.owners(rows.iter().filter_map(|row| owner_id(row.owner_user_id, row.owner_group_id))).await?;
        rows.into_iter()
            .map(|row| {
                let owner = owner_id(row.owner_user_id, row.owner_group_id).and_then(|id| owners.get(&id).cloned());
                let entities = entities.remove(&row.id).unwrap_or_default();
                to_domain(row, owner, entities)
            })
            .collect()
    }

    /// Returns the alerts of an incident with their owners, ascending by id.
    pub async fn alert_owners(&self, incident: IncidentId) -> Result<Vec<(AlertId, Option<OwnerId>)>> {
        let rows: Vec<(Uuid, Option<Uuid>, Option<Uuid>)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::OwnerUserId, Column::OwnerGroupId])
            .filter(Column::IncidentId.eq(incident.0))
            .order_by_asc(Column::Id)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|(id, user, group)| (AlertId(id), owner_id(user, group))).collect())
    }
}

fn condition(filter: &AlertFilter) -> Condition {
    let mut all = Condition::all()
        .add_option(filter.incident.map(|id| Column::IncidentId.eq(id.0)))
        .add_option(filter.owner.as_ref().map(|it| super::filter::owned(it, Column::OwnerUserId, Column::OwnerGroupId)))
        .add_option(filter.status.as_ref().map(|list| Column::Status.is_in(list.iter().copied())))
        .add_option(filter.severity.as_ref().map(|list| Column::Severity.is_in(list.iter().copied())))
        .add_option(filter.product.as_ref().map(|list| super::filter::named(Column::Product, list)))
        .add_option(filter.provider.as_ref().map(|list| super::filter::named(Column::Provider, list)))
        .add_option(
            filter
                .linked
                .map(|linked| if linked { Column::IncidentId.is_not_null() } else { Column::IncidentId.is_null() }),
        );
    if let Some(needle) = &filter.text {
        all = all.add(super::filter::contains(Expr::col((Entity, Column::TitleFolded)), &text::fold(needle)));
    }
    if let Some(entities) = &filter.entity {
        let wanted = entities.iter().map(|wanted| (wanted.kind, crate::domain::entity::key(&wanted.value)));
        let named = super::filter::any_of(wanted, entity::named::Column::Kind, entity::named::Column::ValueKey);
        let naming = Query::select()
            .column(entity::named::Column::AlertId)
            .from(entity::named::Entity)
            .cond_where(named)
            .to_owned();
        all = all.add(Column::Id.in_subquery(naming));
    }
    all
}

impl Tx {
    /// Locks these alerts in ascending order of id, then reads them.
    pub async fn lock_alerts(&self, ids: &[AlertId]) -> Result<Vec<Alert>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = Entity::find()
            .filter(Column::Id.is_in(ids.iter().map(|id| id.0)))
            .order_by_asc(Column::Id)
            .lock(LockType::Update)
            .all(self.conn())
            .await?;
        self.complete_alerts(rows).await
    }

    /// Inserts new alerts with their entities and raw payloads, in a few statements.
    pub async fn insert_alerts(&self, alerts: &[(Alert, Option<String>)]) -> Result<()> {
        let backend = self.conn().get_database_backend();
        let rows: Vec<Model> = alerts.iter().map(|(alert, _)| to_row(alert)).collect::<Result<_>>()?;
        let raw = |(alert, raw): &(Alert, Option<String>)| {
            Some(raw::Model { alert_id: alert.id.0, raw: raw.as_ref()?.clone().into_bytes() })
        };
        let raws: Vec<raw::Model> = alerts.iter().filter_map(raw).collect();
        let mut statements = rows::inserts::<Entity>(backend, &rows, ROWS_PER_INSERT);
        statements.extend(rows::inserts::<raw::Entity>(backend, &raws, ROWS_PER_INSERT));
        for statement in statements {
            self.conn().execute_raw(statement).await?;
        }
        self.save_named_entities(&alerts.iter().map(|(alert, _)| alert).collect::<Vec<_>>(), false).await
    }

    /// Saves an alert: writes the columns that differ from its locked state `before`.
    pub async fn save_alert(&self, before: &Alert, after: &Alert) -> Result<()> {
        let (was, row) = (to_row(before)?, to_row(after)?);
        let mut changed = was.clone().into_active_model();
        for column in <Column as sea_orm::Iterable>::iter() {
            let value = row.get(column);
            if was.get(column) != value {
                changed.set(column, value);
            }
        }
        Entity::update_many().set(changed).filter(Column::Id.eq(after.id.0)).exec(self.conn()).await?;
        if before.report.entities != after.report.entities {
            self.save_named_entities(&[after], true).await?;
        }
        Ok(())
    }

    /// Replaces an alert's raw payload.
    pub async fn save_raw(&self, id: AlertId, raw: &str) -> Result<()> {
        raw::Entity::delete_by_id(id.0).exec(self.conn()).await?;
        let row = raw::ActiveModel { alert_id: Set(id.0), raw: Set(raw.as_bytes().to_vec()) };
        raw::Entity::insert(row).exec_without_returning(self.conn()).await?;
        Ok(())
    }
}
