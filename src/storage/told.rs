//! An incident with the first or last items of its lists, in one statement: the lists are JSON in columns of its row.
//!
//! Each statement costs a hand-over to the database and back, which takes longer than reading a page of a few rows. The
//! lists here have the columns and the results of the lists' own statements.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use sea_orm::entity::prelude::*;
use sea_orm::{
    ActiveEnum, ColumnTrait, ColumnType, DbBackend, FromQueryResult, QueryResult, QuerySelect, QueryTrait, Statement,
    Value,
};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

use super::incident::{self, ShownIncidentRow, json};
use super::queue::Span;
use super::{Reader, Store, account, alert, comment, fault, text};
use crate::domain::activity::ToldChange;
use crate::domain::alert::Alert;
use crate::domain::comment::{Comment, CommentPlace};
use crate::domain::incident::Incident;
use crate::domain::{Error, IncidentId, Result};

/// Which lists are read with an incident, and which slice of each list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IncidentLists {
    /// The slice of its activity log.
    pub activity: Option<Span<()>>,
    /// The slice of its alerts.
    pub alerts: Option<Span<()>>,
    /// The slice of its comments.
    pub comments: Option<Span<()>>,
}

/// An incident with slices of its lists, each in the list's own order. A list that was not requested is empty.
#[derive(Clone, Debug)]
pub struct WithLists {
    /// The incident as answers show it, deleted or not.
    pub incident: Incident,
    /// Changes of its activity log, by version.
    pub activity: Vec<ToldChange>,
    /// Its alerts, without the entities that they name.
    pub alerts: Vec<Alert>,
    /// Its comments, without deleted comments.
    pub comments: Vec<Comment>,
}

struct Row {
    incident: ShownIncidentRow,
    lists: [Option<String>; 3],
}

impl FromQueryResult for Row {
    fn from_query_result(found: &QueryResult, pre: &str) -> Result<Self, DbErr> {
        let list = |name| found.try_get(pre, name);
        Ok(Self {
            incident: ShownIncidentRow::from_query_result(found, pre)?,
            lists: [list("told_activity")?, list("told_alerts")?, list("told_comments")?],
        })
    }
}

impl Store {
    /// Reads an incident, deleted or not, and slices of its lists, in one statement. The outer `None` means that it
    /// must be read another way (this store has a gate, or the connection was lost); the inner `None` that there is no
    /// such incident.
    pub async fn incident_with_lists(&self, id: IncidentId, lists: IncidentLists) -> Result<Option<Option<WithLists>>> {
        let Some(reader) = self.read_one().await? else { return Ok(None) };
        match reader.row_with_lists(id, lists).await {
            Ok(row) => row.map(WithLists::try_from).transpose().map(Some),
            Err(error) if fault::is_lost(&error) || fault::is_unclean(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Reader {
    async fn row_with_lists(&self, id: IncidentId, lists: IncidentLists) -> Result<Option<Row>, DbErr> {
        let backend = self.conn().get_database_backend();
        let limits = lists.spans().into_iter().flatten().map(|span| Value::from(span.limit as i64));
        let values = std::iter::once(Value::from(id.0)).chain(limits);
        let statement = Statement::from_sql_and_values(backend, &*text_of(backend, lists), values);
        let found = self.conn().query_one_raw(statement).await?;
        found.map(|found| Row::from_query_result(&found, "")).transpose()
    }
}

impl IncidentLists {
    fn spans(&self) -> [Option<Span<()>>; 3] {
        [self.activity, self.alerts, self.comments]
    }
}

impl TryFrom<Row> for WithLists {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let incident = Incident::try_from(row.incident)?;
        let [activity, alerts, comments] = row.lists;
        let activity = rows::<ActivityRow>(activity)?.into_iter().map(|change| change.told(incident.id));
        let mut activity: Vec<ToldChange> = activity.collect::<Result<_>>()?;
        activity.sort_by_key(|change| change.version);
        let alerts = rows::<(alert::row::Model, Option<String>)>(alerts)?.into_iter();
        let alerts = alerts.map(|(row, owner)| Alert::try_from(alert::ShownAlertRow { row, owner }));
        let mut alerts: Vec<Alert> = alerts.collect::<Result<_>>()?;
        alerts.sort_by_key(|alert| alert.id);
        let comments = rows::<comment::row::Model>(comments)?.into_iter().map(Comment::try_from);
        let mut comments: Vec<Comment> = comments.collect::<Result<_>>()?;
        comments.sort_by_key(CommentPlace::of);
        Ok(Self { incident, activity, alerts, comments })
    }
}

/// The columns of a change in the log that an activity log shows.
#[derive(Deserialize)]
struct ActivityRow {
    position: i64,
    version: i64,
    body: String,
    #[serde(deserialize_with = "hex")]
    check: Vec<u8>,
}

impl ActivityRow {
    fn told(self, incident: IncidentId) -> Result<ToldChange> {
        let check =
            self.check.try_into().map_err(|_| Error::fault("reading the log's hash", "its start is too short"))?;
        ToldChange::read((self.position as u64, check), incident, self.version as u64, &self.body)
    }
}

fn rows<T: DeserializeOwned>(list: Option<String>) -> Result<Vec<T>> {
    list.map_or(Ok(Vec::new()), |list| json(&list))
}

/// Whether the statement is for PostgreSQL; for each list, whether it is read from its end, or `None` if it is not
/// read.
type StatementForm = (bool, [Option<bool>; 3]);

/// The text of the statement for each form, because building a text takes longer than reading an answer.
static TEXTS: LazyLock<Mutex<HashMap<StatementForm, Arc<str>>>> = LazyLock::new(Mutex::default);

/// Returns the text of the statement. Its first parameter is the id, the others are the limits of the lists.
fn text_of(backend: DbBackend, lists: IncidentLists) -> Arc<str> {
    let ends = lists.spans().map(|span| span.map(|span| span.from_end));
    let mut texts = TEXTS.lock();
    texts.entry((backend == DbBackend::Postgres, ends)).or_insert_with(|| write(backend, lists).into()).clone()
}

fn write(backend: DbBackend, lists: IncidentLists) -> String {
    let mut values = 1;
    let mut list = |span: Option<Span<()>>, listed: fn(DbBackend, &Span<()>) -> ListQuery| match span {
        Some(span) => {
            values += 1;
            Expr::cust(listed(backend, &span).sql(backend, values))
        }
        None => Expr::cust("NULL"),
    };
    incident::shown_with_others(backend)
        .expr_as(list(lists.activity, activity), "told_activity")
        .expr_as(list(lists.alerts, alerts), "told_alerts")
        .expr_as(list(lists.comments, comments), "told_comments")
        .filter(Expr::cust("\"incident\".\"id\" = $1"))
        .build(backend)
        .sql
}

/// Lists the activity log with the columns of [`ActivityRow`].
fn activity(backend: DbBackend, span: &Span<()>) -> ListQuery {
    let check = match backend {
        DbBackend::Postgres => "encode(substr(x.hash, 1, 8), 'hex')",
        _ => "hex(substr(x.hash, 1, 8))",
    };
    let order = format!("version {}", span.sql_direction());
    let item = array(backend, &["x.position", "x.version", "x.body", check]);
    ListQuery { table: "change", item, more: "", order }
}

fn alerts(backend: DbBackend, span: &Span<()>) -> ListQuery {
    let columns = columns::<alert::row::Column>(backend, |name| match name {
        "title" => Some(text::start_in("x", "title")),
        "title_folded" => Some("''".to_owned()),
        _ => None,
    });
    let item = array(backend, &[array(backend, &columns), account::owner_in("x", backend)]);
    ListQuery { table: "alert", item, more: "", order: format!("id {}", span.sql_direction()) }
}

fn comments(backend: DbBackend, span: &Span<()>) -> ListQuery {
    let way = span.sql_direction();
    let item = array(backend, &columns::<comment::row::Column>(backend, |_| None));
    let order = format!("created_at {way}, version {way}, id {way}");
    ListQuery { table: "comment", item, more: "AND deleted_at IS NULL", order }
}

/// Lists the columns of a table in the order of its row, as expressions for JSON, where bytes and ids are texts.
/// `other` may return an expression that replaces a column.
fn columns<C: ColumnTrait + sea_orm::Iterable>(
    backend: DbBackend,
    other: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let of = |column: C| {
        let name = column.as_str();
        let is_id = *column.def().get_column_type() == ColumnType::Uuid;
        other(name).unwrap_or_else(|| match backend {
            // The hex of NULL is an empty text.
            DbBackend::Sqlite if is_id => format!("CASE WHEN x.\"{name}\" IS NOT NULL THEN hex(x.\"{name}\") END"),
            _ => format!("x.\"{name}\""),
        })
    };
    C::iter().map(of).collect()
}

/// Builds a JSON array of the values. A row is an array too: its columns are found by index, not by name.
fn array(backend: DbBackend, values: &[impl AsRef<str>]) -> String {
    let function = if backend == DbBackend::Postgres { "json_build_array" } else { "json_array" };
    let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    format!("{function}({})", values.join(", "))
}

/// A list of the incident: rows of another table, from one end of an order.
struct ListQuery {
    table: &'static str,
    /// The JSON expression of a row.
    item: String,
    /// A further condition on the rows, in SQL.
    more: &'static str,
    order: String,
}

impl ListQuery {
    /// Builds the list as a subquery for JSON text. `limit` is the number of the parameter with the row limit.
    fn sql(&self, backend: DbBackend, limit: usize) -> String {
        let Self { table, item, more, order } = self;
        let list = match backend {
            DbBackend::Postgres => format!("json_agg({item})::text"),
            _ => format!("json_group_array({item})"),
        };
        format!(
            "(SELECT {list} FROM (SELECT * FROM \"{table}\" WHERE incident_id = \"incident\".\"id\" {more}
              ORDER BY {order} LIMIT ${limit}) AS x)"
        )
    }
}

/// Reads the database's value of an enum.
pub(super) fn value<'de, D, E>(deserializer: D) -> Result<E, D::Error>
where
    D: serde::Deserializer<'de>,
    E: ActiveEnum,
    E::Value: Deserialize<'de>,
{
    E::try_from_value(&E::Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Reads the database's value of an enum, or none if it is NULL.
pub(super) fn some_value<'de, D, E>(deserializer: D) -> Result<Option<E>, D::Error>
where
    D: serde::Deserializer<'de>,
    E: ActiveEnum,
    E::Value: Deserialize<'de>,
{
    let value = Option::<E::Value>::deserialize(deserializer)?;
    value.map(|value| E::try_from_value(&value).map_err(D::Error::custom)).transpose()
}

/// Reads bytes from hexadecimal digits.
fn hex<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
}
