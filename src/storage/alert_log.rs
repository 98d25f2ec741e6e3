//! The alerts' own logs: the row of a change, appending, pages, counts and versions.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, SelectStatement};
use sea_orm::{QueryOrder, QuerySelect, QueryTrait};

use super::changelog::{ActivityFilter, ChangeOrigin, actor_id, kinds_of, mask};
use super::incident::to_json;
use super::log_head::{Head, hash_of};
use super::queue::Span;
use super::{IDS_PER_STATEMENT, Reader, Tx, places};
use crate::domain::alert::Alert;
use crate::domain::alert_log::{AlertBody, AlertChange, AlertStanding};
use crate::domain::chain::{LinkSubject, check};
use crate::domain::change::Entry;
use crate::domain::position::Position;
use crate::domain::{AlertId, Error, Result, TransactionId};

pub(super) mod row {
    //! The stored row of a change of an alert.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "alert_change")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) position: i64,
        pub(in crate::storage) alert_id: Uuid,
        pub(in crate::storage) version: i64,
        pub(in crate::storage) kinds: i64,
        pub(in crate::storage) actor_id: Option<Uuid>,
        pub(in crate::storage) at: DateTimeUtc,
        pub(in crate::storage) body: String,
        pub(in crate::storage) hash: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

use row::{Column, Entity};

/// A change of an alert before it is in the log.
#[derive(Clone, Debug)]
pub(super) struct PendingAlert {
    body: AlertBody,
}

/// The changes of alerts of one command, before they have versions.
pub(super) struct Unnumbered {
    pub(super) changes: Vec<PendingAlert>,
    pub(super) transaction: TransactionId,
    /// Whether no change of an incident follows them in the transaction.
    pub(super) last: bool,
}

/// A change with its version and its stored body.
pub(super) struct Numbered {
    pub(super) body: AlertBody,
    pub(super) json: String,
}

/// Selects the row at a position if it has the position's hash.
pub(super) fn at(place: &Position) -> SelectStatement {
    Entity::find_by_id(place.offset as i64)
        .filter(Expr::cust("substr(hash, 1, 8)").eq(place.check.to_vec()))
        .select_only()
        .column(Column::Position)
        .into_query()
}

impl TryFrom<row::Model> for AlertChange {
    type Error = Error;

    fn try_from(row: row::Model) -> Result<Self> {
        Self::read(row.position as u64, check(&hash_of(&row.hash)?), &row.body)
    }
}

fn filtered(query: Select<Entity>, filter: &ActivityFilter) -> Select<Entity> {
    let mut query = query;
    if let Some(kinds) = &filter.kinds {
        query = query.filter(Expr::col(Column::Kinds).bit_and(mask(kinds)).ne(0));
    }
    if let Some(actor) = filter.actor {
        query = query.filter(Column::ActorId.eq(actor.0));
    }
    query
}

impl Reader {
    /// Reads the changes of alerts after one offset, up to and including another, ascending.
    pub(super) async fn alert_changes_between(&self, after: u64, up_to: u64) -> Result<Vec<AlertChange>> {
        let rows = Entity::find()
            .filter(Column::Position.gt(after as i64))
            .filter(Column::Position.lte(up_to as i64))
            .order_by_asc(Column::Position)
            .all(self.conn())
            .await?;
        rows.into_iter().map(AlertChange::try_from).collect()
    }

    /// Reads changes of an alert's own log by version: a slice between two versions, from either end.
    pub async fn alert_log(
        &self,
        alert: AlertId,
        filter: &ActivityFilter,
        page: Span<u64>,
    ) -> Result<Vec<AlertChange>> {
        let mut query = filtered(Entity::find().filter(Column::AlertId.eq(alert.0)), filter);
        if let Some(version) = page.after {
            query = query.filter(Column::Version.gt(version as i64));
        }
        if let Some(version) = page.before {
            query = query.filter(Column::Version.lt(version as i64));
        }
        query = if page.from_end { query.order_by_desc(Column::Version) } else { query.order_by_asc(Column::Version) };
        let mut rows = query.limit(page.limit).all(self.conn()).await?;
        if page.from_end {
            rows.reverse();
        }
        rows.into_iter().map(AlertChange::try_from).collect()
    }

    /// Reads the changes at one end of each alert's own log, oldest first, in two statements.
    pub async fn alert_logs_at_end(
        &self,
        alerts: &[AlertId],
        filter: &ActivityFilter,
        span: Span<()>,
    ) -> Result<HashMap<AlertId, Vec<AlertChange>>> {
        let (places, way, limit) = (places(alerts.len()), span.sql_direction(), span.limit);
        let mut values: Vec<sea_orm::Value> = alerts.iter().map(|id| id.0.into()).collect();
        let mut met = String::new();
        if let Some(kinds) = &filter.kinds {
            met = format!(" AND (kinds & {}) <> 0", mask(kinds));
        }
        if let Some(actor) = filter.actor {
            values.push(actor.0.into());
            met.push_str(&format!(" AND actor_id = ${}", values.len()));
        }
        let sql = format!(
            "SELECT position FROM (SELECT position, ROW_NUMBER() OVER (PARTITION BY alert_id ORDER BY version {way})
             AS place FROM alert_change WHERE alert_id IN ({places}){met}) AS ranked WHERE place <= {limit}"
        );
        let found = self.conn().query_all_raw(super::statement(self, &sql, values)).await?;
        let positions = found.iter().map(|row| row.try_get_by_index::<i64>(0)).collect::<Result<Vec<_>, _>>()?;
        let rows = Entity::find()
            .filter(Column::Position.is_in(positions))
            .order_by_asc(Column::Position)
            .all(self.conn())
            .await?;
        let mut changes: HashMap<AlertId, Vec<AlertChange>> = HashMap::new();
        for row in rows {
            let change = AlertChange::try_from(row)?;
            changes.entry(change.body.alert).or_default().push(change);
        }
        Ok(changes)
    }

    /// Counts the changes of each alert's own log that meet a filter. An alert without a match has no count.
    pub async fn alert_log_counts(&self, alerts: &[AlertId], filter: &ActivityFilter) -> Result<HashMap<AlertId, u64>> {
        let of_these = Entity::find().filter(Column::AlertId.is_in(alerts.iter().map(|id| id.0)));
        let rows: Vec<(Uuid, i64)> = filtered(of_these, filter)
            .select_only()
            .column(Column::AlertId)
            .expr(Expr::cust("COUNT(*)"))
            .group_by(Column::AlertId)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|(alert, count)| (AlertId(alert), count as u64)).collect())
    }

    /// Returns the newest version of each alert's own log, if the alert has a log.
    async fn alert_versions(&self, alerts: &[AlertId]) -> Result<HashMap<AlertId, u64>> {
        let mut versions = HashMap::new();
        for alerts in alerts.chunks(IDS_PER_STATEMENT) {
            let rows: Vec<(Uuid, i64)> = Entity::find()
                .select_only()
                .column(Column::AlertId)
                .expr(Expr::cust("MAX(version)"))
                .filter(Column::AlertId.is_in(alerts.iter().map(|id| id.0)))
                .group_by(Column::AlertId)
                .into_tuple()
                .all(self.conn())
                .await?;
            versions.extend(rows.into_iter().map(|(alert, version)| (AlertId(alert), version as u64)));
        }
        Ok(versions)
    }
}

impl Head {
    /// Advances by a change of an alert with the stored body `json`, and returns its row.
    pub(super) fn append_alert_change(&mut self, change: &AlertBody, json: String) -> row::Model {
        self.append(LinkSubject::Alert(change.alert), change.version, &json);
        row::Model {
            position: self.offset as i64,
            alert_id: change.alert.0,
            version: change.version as i64,
            kinds: kinds_of(&change.entries),
            actor_id: actor_id(&change.actor),
            at: change.at,
            body: json,
            hash: self.hash.to_vec(),
        }
    }
}

impl Tx {
    /// Records what happened to a locked or new alert that no incident holds, or that has just left its incident.
    /// `former` is its earlier state, if no incident held it then. The change gets its version and position when the
    /// transaction commits.
    pub async fn record_alert(&self, former: Option<&Alert>, alert: &Alert, entry: Entry, origin: &ChangeOrigin) {
        let body = AlertBody {
            transaction: TransactionId(Uuid::nil()),
            last: false,
            // An import may report an earlier time, but the log never goes back.
            at: former.map_or(origin.at, |former| std::cmp::max(former.updated_at, origin.at)),
            actor: origin.actor.clone(),
            cause: origin.cause.clone(),
            client_mutation_id: origin.client_mutation_id.clone(),
            alert: alert.id,
            version: 0,
            entries: vec![entry],
            state: AlertStanding::from(alert),
            former: former.map(AlertStanding::from),
        };
        self.pending.lock().await.alerts.push(PendingAlert { body });
    }

    /// Gives each change of these commands, in their order, the next version of its alert's own log. The alerts are
    /// locked or new, so nobody else changes them until the commit.
    pub(super) async fn number_alert_changes(&self, commands: Vec<Unnumbered>) -> Result<Vec<Vec<Numbered>>> {
        let reported = |body: &AlertBody| body.entries.iter().any(|entry| matches!(entry, Entry::AlertReported { .. }));
        let pending = commands.iter().flat_map(|command| &command.changes);
        let known = pending.map(|change| &change.body).filter(|body| !reported(body));
        let mut known: Vec<AlertId> = known.map(|body| body.alert).collect();
        known.sort();
        known.dedup();
        let mut versions = self.alert_versions(&known).await?;
        let numbered = commands.into_iter().map(|Unnumbered { mut changes, transaction, last }| {
            changes.sort_by_key(|change| change.body.alert);
            let count = changes.len();
            let numbered = changes.into_iter().enumerate().map(|(index, PendingAlert { mut body })| {
                let version = versions.entry(body.alert).or_default();
                *version += 1;
                (body.version, body.transaction) = (*version, transaction);
                body.last = last && index + 1 == count;
                let json = to_json(&body)?;
                Ok(Numbered { body, json })
            });
            numbered.collect()
        });
        numbered.collect()
    }
}
