//! An incident with the first or last items of its lists, in one statement: the lists come as JSON in columns of its row.
//!
//! Each statement costs the desk and the database a hand-over, which is more than to read a page of a few rows. What is read here
//! is what the statements of the lists read, and becomes the same.

use sea_orm::entity::prelude::*;
use sea_orm::{ActiveEnum, ColumnTrait, ColumnType, DbBackend, FromQueryResult, QueryResult, QuerySelect};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

use super::incident::{self, ShownRow, json};
use super::queue::Span;
use super::{Reader, Store, account, alert, changelog, comment, fault, text};
use crate::domain::activity::Told;
use crate::domain::alert::Alert;
use crate::domain::comment::{Comment, CommentPlace};
use crate::domain::incident::Incident;
use crate::domain::{Error, IncidentId, Result};

/// Which lists are read with an incident, and how much of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Of its log.
    pub activity: Option<Span<()>>,
    /// Of its alerts.
    pub alerts: Option<Span<()>>,
    /// Of its comments.
    pub comments: Option<Span<()>>,
}

/// An incident with lists, each in its own order; those that were not asked for are empty.
#[derive(Clone, Debug)]
pub struct WithLists {
    /// As answers show it, deleted or not.
    pub incident: Incident,
    /// Of its log.
    pub activity: Vec<Told>,
    /// Of its alerts, without what they name.
    pub alerts: Vec<Alert>,
    /// Of its comments, deleted ones left out.
    pub comments: Vec<Comment>,
}

struct Row {
    incident: ShownRow,
    lists: [Option<String>; 3],
}

impl FromQueryResult for Row {
    fn from_query_result(found: &QueryResult, pre: &str) -> Result<Self, DbErr> {
        let list = |name| found.try_get(pre, name);
        Ok(Self {
            incident: ShownRow::from_query_result(found, pre)?,
            lists: [list("told_activity")?, list("told_alerts")?, list("told_comments")?],
        })
    }
}

impl Store {
    /// The incident of this id, deleted or not, with the ends of its lists: one statement. The outer none where it has to be read
    /// another way: a gate has to be passed, or the connection was lost.
    pub async fn incident_with_lists(&self, id: IncidentId, lists: Lists) -> Result<Option<Option<WithLists>>> {
        let Some(reader) = self.read_one().await? else { return Ok(None) };
        match reader.row_with_lists(id, lists).await {
            Ok(row) => row.map(WithLists::try_from).transpose().map(Some),
            Err(error) if fault::is_lost(&error) || fault::is_unclean(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Reader {
    async fn row_with_lists(&self, id: IncidentId, lists: Lists) -> Result<Option<Row>, DbErr> {
        let backend = self.conn().get_database_backend();
        let list = |span: Option<Span<()>>, sql: fn(DbBackend, &Span<()>) -> String| match span {
            Some(span) => Expr::cust(sql(backend, &span)),
            None => Expr::cust("NULL"),
        };
        let query = incident::shown_with_others(backend)
            .expr_as(list(lists.activity, activity), "told_activity")
            .expr_as(list(lists.alerts, alerts), "told_alerts")
            .expr_as(list(lists.comments, comments), "told_comments")
            .filter(incident::row::Column::Id.eq(id.0));
        Ok(query.into_model::<Row>().all(self.conn()).await?.pop())
    }
}

impl TryFrom<Row> for WithLists {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let [activity, alerts, comments] = row.lists;
        let activity = rows::<changelog::row::Model>(activity)?.into_iter().map(Told::try_from);
        let mut activity: Vec<Told> = activity.collect::<Result<_>>()?;
        activity.sort_by_key(|change| change.version);
        let alerts = rows::<alert::ShownRow>(alerts)?.into_iter().map(Alert::try_from);
        let mut alerts: Vec<Alert> = alerts.collect::<Result<_>>()?;
        alerts.sort_by_key(|alert| alert.id);
        let comments = rows::<comment::row::Model>(comments)?.into_iter().map(Comment::try_from);
        let mut comments: Vec<Comment> = comments.collect::<Result<_>>()?;
        comments.sort_by_key(CommentPlace::of);
        Ok(Self { incident: row.incident.try_into()?, activity, alerts, comments })
    }
}

fn rows<T: DeserializeOwned>(list: Option<String>) -> Result<Vec<T>> {
    list.map_or(Ok(Vec::new()), |list| json(&list))
}

fn activity(backend: DbBackend, span: &Span<()>) -> String {
    let order = format!("version {}", span.sql_direction());
    let columns = columns::<changelog::row::Column>(backend);
    Listed { table: "change", columns, more: "", order, limit: span.limit }.sql(backend)
}

fn alerts(backend: DbBackend, span: &Span<()>) -> String {
    let mut columns = columns::<alert::row::Column>(backend);
    for (name, value) in &mut columns {
        match name.as_str() {
            "title" => *value = text::start_in("x", "title"),
            "title_folded" => "''".clone_into(value),
            _ => {}
        }
    }
    columns.push(("owner".to_owned(), account::owner_in("x", backend)));
    let order = format!("id {}", span.sql_direction());
    Listed { table: "alert", columns, more: "", order, limit: span.limit }.sql(backend)
}

fn comments(backend: DbBackend, span: &Span<()>) -> String {
    let way = span.sql_direction();
    let order = format!("created_at {way}, version {way}, id {way}");
    let columns = columns::<comment::row::Column>(backend);
    Listed { table: "comment", columns, more: "AND deleted_at IS NULL", order, limit: span.limit }.sql(backend)
}

/// The columns of a table, each with what its value is in JSON: bytes and ids are texts there.
fn columns<C: ColumnTrait + sea_orm::Iterable>(backend: DbBackend) -> Vec<(String, String)> {
    let of = |column: C| {
        let name = column.as_str().to_owned();
        let definition = column.def();
        let ty = definition.get_column_type();
        let bytes = matches!(ty, ColumnType::VarBinary(_) | ColumnType::Blob | ColumnType::Binary(_));
        let value = match backend {
            DbBackend::Postgres if bytes => format!("encode(x.\"{name}\", 'hex')"),
            // The hex of NULL is an empty text.
            DbBackend::Sqlite if bytes || *ty == ColumnType::Uuid => {
                format!("CASE WHEN x.\"{name}\" IS NOT NULL THEN hex(x.\"{name}\") END")
            }
            _ => format!("x.\"{name}\""),
        };
        (name, value)
    };
    C::iter().map(of).collect()
}

/// The rows of a table that are of the incident, from one end of an order.
struct Listed {
    table: &'static str,
    /// By name, what their values are in JSON.
    columns: Vec<(String, String)>,
    /// What else is true of the rows.
    more: &'static str,
    order: String,
    limit: u64,
}

impl Listed {
    /// As a text of JSON.
    fn sql(&self, backend: DbBackend) -> String {
        let Self { table, columns, more, order, limit } = self;
        let members: Vec<String> = columns.iter().map(|(name, value)| format!("'{name}', {value}")).collect();
        let object = members.join(", ");
        let list = match backend {
            DbBackend::Postgres => format!("json_agg(json_build_object({object}))::text"),
            _ => format!("json_group_array(json_object({object}))"),
        };
        format!(
            "(SELECT {list} FROM (SELECT * FROM \"{table}\" WHERE incident_id = \"incident\".\"id\" {more}
              ORDER BY {order} LIMIT {limit}) AS x)"
        )
    }
}

/// Reads a value of an enum as the database holds it.
pub(super) fn value<'de, D, E>(deserializer: D) -> Result<E, D::Error>
where
    D: serde::Deserializer<'de>,
    E: ActiveEnum,
    E::Value: Deserialize<'de>,
{
    E::try_from_value(&E::Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// The same where there may be none.
pub(super) fn some_value<'de, D, E>(deserializer: D) -> Result<Option<E>, D::Error>
where
    D: serde::Deserializer<'de>,
    E: ActiveEnum,
    E::Value: Deserialize<'de>,
{
    let value = Option::<E::Value>::deserialize(deserializer)?;
    value.map(|value| E::try_from_value(&value).map_err(D::Error::custom)).transpose()
}

/// Reads bytes that stand as hexadecimal digits.
pub(super) fn hex<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let digits = String::deserialize(deserializer)?;
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    digits.as_bytes().chunks(2).map(byte).collect::<Option<_>>().ok_or_else(|| D::Error::custom("these are no bytes"))
}
