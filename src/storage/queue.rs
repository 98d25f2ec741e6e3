//! Queues: keyset pages and exact counts, read from one snapshot.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Alias, ExprTrait, Order, SimpleExpr};
use sea_orm::{ActiveEnum, QueryOrder, QuerySelect, Select};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Reader;
use super::incident::row::{Column, Entity};
use super::way::WantedRows;
use crate::domain::filter::{IncidentOrder, IncidentOrderField, ORDER_KEYS_MAX, OrderDirection, QueueFilter};
use crate::domain::incident::Incident;
use crate::domain::queue::QueueRow;
use crate::domain::summary::OPEN;
use crate::domain::title::ShownTitle;
use crate::domain::{IncidentId, Instant, Result, title};

/// A slice of an ordered list, by keyset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span<K> {
    /// Only items after this key.
    pub after: Option<K>,
    /// Only items before this key.
    pub before: Option<K>,
    /// Whether the limit is counted from the end.
    pub from_end: bool,
    /// The most items.
    pub limit: u64,
}

impl<K> Span<K> {
    /// Returns a slice of a list with other keys: it keeps only the end and the limit.
    pub(super) fn of_other_keys<P>(&self) -> Span<P> {
        Span { after: None, before: None, from_end: self.from_end, limit: self.limit }
    }

    /// Returns the SQL direction in which an ascending list is read.
    pub(super) fn sql_direction(&self) -> &'static str {
        if self.from_end { "DESC" } else { "ASC" }
    }
}

/// A value of one order key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum OrderValue {
    Small(i16),
    Number(i64),
    Time(Instant),
    Text(String),
}

impl OrderValue {
    /// Whether this kind of value fits the order field. A client may have written the cursor by itself.
    fn is_of(&self, field: IncidentOrderField) -> bool {
        use IncidentOrderField as By;
        match self {
            Self::Small(_) => matches!(field, By::Severity | By::Status),
            Self::Number(_) => field == By::Number,
            Self::Time(_) => matches!(
                field,
                By::UpdatedAt | By::CreatedAt | By::FirstActivityAt | By::LastActivityAt | By::ResolvedAt
            ),
            Self::Text(text) => field == By::Title && !text.contains('\0'),
        }
    }

    /// Returns the key as a number that sorts alike, or none for a text.
    fn number(&self) -> Option<i64> {
        match self {
            Self::Small(value) => Some(i64::from(*value)),
            Self::Number(value) => Some(*value),
            Self::Time(at) => Some(at.timestamp_micros()),
            Self::Text(_) => None,
        }
    }

    fn expr(&self) -> SimpleExpr {
        match self {
            Self::Small(value) => Expr::value(*value),
            Self::Number(value) => Expr::value(*value),
            Self::Time(value) => Expr::value(*value),
            Self::Text(value) => Expr::value(value.clone()),
        }
    }
}

/// A cursor: the order keys of an incident. It is opaque to clients, and belongs to one order and filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// The digest of the order and filter that it belongs to.
    #[serde(rename = "q")]
    queue: String,
    #[serde(rename = "k")]
    keys: Vec<OrderValue>,
    #[serde(rename = "i")]
    id: IncidentId,
}

impl Cursor {
    /// Parses the text that `Display` wrote. Returns none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).map_err(|_| std::fmt::Error)?))
    }
}

/// A position in an ordered queue as numbers. Positions ascend along the list, whatever its directions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueuePlace {
    keys: [i64; ORDER_KEYS_MAX],
    id: u128,
}

impl QueuePlace {
    /// Returns the position of an incident in the ascending order by one of its times.
    pub fn by_time(at: Instant, id: IncidentId) -> Self {
        Self { keys: [at.timestamp_micros(), 0, 0], id: id.0.as_u128() }
    }

    /// Returns the position in the reversed list, for a list with one order key.
    pub fn turned(self) -> Self {
        Self { keys: [-self.keys[0], 0, 0], id: !self.id }
    }
}

/// A request for a page of a queue.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The filter, bound to the caller.
    pub filter: QueueFilter,
    /// Up to three order keys. The id decides between equal keys, in the direction of the last key.
    pub order: Vec<IncidentOrder>,
    /// The end and the limit of the page.
    pub span: Span<()>,
    /// Only incidents after this cursor.
    pub after: Option<Cursor>,
    /// Only incidents before this cursor.
    pub before: Option<Cursor>,
}

/// A page of a queue.
#[derive(Clone, Debug)]
pub struct Page {
    /// The incidents, each with its cursor.
    pub incidents: Vec<(Cursor, Incident)>,
    /// Whether more incidents follow in the direction in which the page was read.
    pub more: bool,
}

/// A row of a page.
#[derive(Clone, Debug)]
pub struct ListedRow {
    /// The cursor of the row.
    pub cursor: Cursor,
    /// The row, with the present name of its owner.
    pub row: QueueRow,
    /// The shown part of its title.
    pub title: ShownTitle,
}

/// A side of a cursor, in the order of the list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CursorSide {
    Before,
    After,
}

impl PageRequest {
    /// Whether an index has this order, so that a page is read without the other rows. Every single key has an index; a
    /// number decides alone, whatever keys follow it; open incidents have more indexes.
    pub fn is_indexed(&self) -> bool {
        self.order.len() <= 1
            || self.order.first().is_some_and(|order| order.field == IncidentOrderField::Number)
            || self.has_open_index()
    }

    /// Whether an index of open incidents has this order and the filter asks only for open incidents.
    fn has_open_index(&self) -> bool {
        use IncidentOrderField as By;
        let one_way = self.order.windows(2).all(|pair| pair[0].direction == pair[1].direction);
        let fields: Vec<By> = self.order.iter().map(|order| order.field).collect();
        let indexed = matches!(
            fields.as_slice(),
            [By::UpdatedAt] | [By::CreatedAt] | [By::Severity, By::UpdatedAt] | [By::Status, By::UpdatedAt]
        );
        self.is_open() && one_way && indexed
    }

    /// Whether the filter asks only for open incidents.
    fn is_open(&self) -> bool {
        let status = self.filter.filter().status.as_ref();
        status.is_some_and(|list| list.iter().all(|status| OPEN.contains(status)))
    }

    /// Returns the digest of the order and filter, to which its cursors belong.
    pub fn queue(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.filter.fingerprint().filter);
        hash.update(self.filter.fingerprint().scope);
        hash.update(serde_json::to_vec(&self.order).unwrap_or_default());
        URL_SAFE_NO_PAD.encode(&hash.finalize()[..8])
    }

    /// Whether a cursor belongs to this order and filter.
    pub fn owns(&self, cursor: &Cursor) -> bool {
        cursor.queue == self.queue()
            && cursor.keys.len() == self.order.len()
            && self.order.iter().zip(&cursor.keys).all(|(order, key)| key.is_of(order.field))
    }

    /// Returns the position of a row, or none in an order by title, because a row may hold only the start of its title.
    pub fn place_of(&self, row: &QueueRow) -> Option<QueuePlace> {
        self.place_by(|order| key_of_row(row, order).as_ref().and_then(OrderValue::number), row.id)
    }

    /// Returns the position of a cursor of this order, or none in an order by title.
    pub fn place(&self, cursor: &Cursor) -> Option<QueuePlace> {
        let mut keys = cursor.keys.iter();
        self.place_by(|_| keys.next().and_then(OrderValue::number), cursor.id)
    }

    fn place_by(&self, mut key: impl FnMut(IncidentOrder) -> Option<i64>, id: IncidentId) -> Option<QueuePlace> {
        let mut keys = [0; ORDER_KEYS_MAX];
        for (place, order) in keys.iter_mut().zip(&self.order) {
            let key = key(*order)?;
            *place = if order.direction == OrderDirection::Asc { key } else { key.checked_neg()? };
        }
        let id = id.0.as_u128();
        Some(QueuePlace { keys, id: if self.last_direction() == OrderDirection::Asc { id } else { !id } })
    }

    /// Builds a page of incidents that were found elsewhere. `ids` has the order of the list.
    pub fn page_of(&self, ids: &[IncidentId], incidents: Vec<Incident>, more: bool) -> Page {
        let mut found: HashMap<IncidentId, Incident> =
            incidents.into_iter().map(|incident| (incident.id, incident)).collect();
        let queue = self.queue();
        let incidents = ids.iter().filter_map(|id| found.remove(id));
        Page { incidents: incidents.map(|incident| (self.cursor(&queue, &incident), incident)).collect(), more }
    }

    /// Returns how many rows to read: one more than the limit tells whether more rows follow.
    pub(super) fn rows(&self) -> u64 {
        self.span.limit + 1
    }

    /// Turns the rows that were read into the rows of the page, and tells whether more rows follow.
    pub(super) fn cut<T>(&self, mut rows: Vec<T>) -> (Vec<T>, bool) {
        let more = rows.len() as u64 > self.span.limit;
        rows.truncate(self.span.limit as usize);
        if self.span.from_end {
            rows.reverse();
        }
        (rows, more)
    }

    /// Builds a row with its cursor. `queue` is [`PageRequest::queue`].
    pub fn listed(&self, queue: &str, row: QueueRow, title: ShownTitle) -> ListedRow {
        // The order key of a title is shorter than the shown part of the title.
        let key = |order: &IncidentOrder| {
            key_of_row(&row, *order).unwrap_or_else(|| OrderValue::Text(title::order_key(&title.text)))
        };
        let keys = self.order.iter().map(key).collect();
        ListedRow { cursor: Cursor { queue: queue.to_owned(), keys, id: row.id }, row, title }
    }

    fn cursor(&self, queue: &str, incident: &Incident) -> Cursor {
        let keys = self.order.iter().map(|order| key(incident, *order)).collect();
        Cursor { queue: queue.to_owned(), keys, id: incident.id }
    }

    fn last_direction(&self) -> OrderDirection {
        self.order.last().map_or(OrderDirection::Desc, |order| order.direction)
    }

    /// Returns every order column with its direction. The id comes last, unless a number decides before.
    fn columns(&self) -> Vec<(SimpleExpr, OrderDirection)> {
        let mut columns: Vec<_> = self.order.iter().map(|order| (column(*order), order.direction)).collect();
        if !self.order.iter().any(|order| order.field == IncidentOrderField::Number) {
            columns.push((Expr::col((Entity, Column::Id)), self.last_direction()));
        }
        columns
    }

    /// Returns the condition for the rows on one side of a cursor: one range of one index if all keys have one
    /// direction.
    fn side(&self, cursor: &Cursor, side: CursorSide) -> SimpleExpr {
        let mut values: Vec<SimpleExpr> = cursor.keys.iter().map(OrderValue::expr).collect();
        values.push(Expr::value(cursor.id.0));
        let columns = self.columns();
        let ascending = |direction: OrderDirection| (direction == OrderDirection::Asc) == (side == CursorSide::After);
        let one_way = columns.windows(2).all(|pair| pair[0].1 == pair[1].1);
        if let ([(column, direction)], [value, ..]) = (columns.as_slice(), values.as_slice()) {
            let (column, value) = (column.clone(), value.clone());
            return if ascending(*direction) { column.gt(value) } else { column.lt(value) };
        }
        values.truncate(columns.len());
        if one_way {
            let left = Expr::tuple(columns.iter().map(|(column, _)| column.clone()));
            let right = Expr::tuple(values);
            return if ascending(self.last_direction()) { left.gt(right) } else { left.lt(right) };
        }
        let mut any: Option<SimpleExpr> = None;
        for (at, (column, direction)) in columns.iter().enumerate() {
            let value = values[at].clone();
            let past = if ascending(*direction) { column.clone().gt(value) } else { column.clone().lt(value) };
            let equal = columns[..at].iter().zip(&values).map(|((column, _), value)| column.clone().eq(value.clone()));
            let all = equal.fold(past, |all, each| all.and(each));
            any = Some(match any {
                Some(any) => any.or(all),
                None => all,
            });
        }
        any.unwrap_or_else(|| Expr::cust("1 = 1"))
    }
}

fn far_future() -> Instant {
    Instant::from_timestamp(253_402_214_400, 0).unwrap_or_default()
}

fn far_past() -> Instant {
    Instant::from_timestamp(-62_135_596_800, 0).unwrap_or_default()
}

/// Returns a substitute for a missing time. It sorts last in both directions.
fn missing(order: IncidentOrder) -> Instant {
    match order.direction {
        OrderDirection::Asc => far_future(),
        OrderDirection::Desc => far_past(),
    }
}

/// Returns the order key of a row, or none for a title, which the row may not hold whole.
fn key_of_row(row: &QueueRow, order: IncidentOrder) -> Option<OrderValue> {
    Some(match order.field {
        IncidentOrderField::UpdatedAt => OrderValue::Time(row.updated_at),
        IncidentOrderField::CreatedAt => OrderValue::Time(row.created_at),
        IncidentOrderField::FirstActivityAt => OrderValue::Time(row.first_activity_at.unwrap_or(missing(order))),
        IncidentOrderField::LastActivityAt => OrderValue::Time(row.last_activity_at.unwrap_or(missing(order))),
        IncidentOrderField::ResolvedAt => OrderValue::Time(row.resolved_at.unwrap_or(missing(order))),
        IncidentOrderField::Severity => OrderValue::Small(row.severity().to_value()),
        IncidentOrderField::Number => OrderValue::Number(row.number),
        IncidentOrderField::Status => OrderValue::Small(row.status.to_value()),
        IncidentOrderField::Title => return None,
    })
}

fn key(incident: &Incident, order: IncidentOrder) -> OrderValue {
    match order.field {
        IncidentOrderField::UpdatedAt => OrderValue::Time(incident.updated_at),
        IncidentOrderField::CreatedAt => OrderValue::Time(incident.created_at),
        IncidentOrderField::FirstActivityAt => OrderValue::Time(incident.first_activity_at.unwrap_or(missing(order))),
        IncidentOrderField::LastActivityAt => OrderValue::Time(incident.last_activity_at.unwrap_or(missing(order))),
        IncidentOrderField::ResolvedAt => {
            OrderValue::Time(incident.resolution.as_ref().map_or(missing(order), |resolution| resolution.at))
        }
        IncidentOrderField::Severity => OrderValue::Small(incident.severity().to_value()),
        IncidentOrderField::Number => OrderValue::Number(incident.number),
        IncidentOrderField::Status => OrderValue::Small(incident.status.to_value()),
        IncidentOrderField::Title => OrderValue::Text(title::order_key(&incident.title)),
    }
}

/// Returns the column of an order, or the expression that its index has.
fn column(order: IncidentOrder) -> SimpleExpr {
    let own = |column: Column| Expr::col((Entity, column));
    let alias = |name: &'static str| Expr::col((Entity, Alias::new(name)));
    let ascending = order.direction == OrderDirection::Asc;
    match order.field {
        IncidentOrderField::UpdatedAt => own(Column::UpdatedAt),
        IncidentOrderField::CreatedAt => own(Column::CreatedAt),
        IncidentOrderField::FirstActivityAt => {
            alias(if ascending { "first_activity_asc" } else { "first_activity_desc" })
        }
        IncidentOrderField::LastActivityAt => alias(if ascending { "last_activity_asc" } else { "last_activity_desc" }),
        // A database recognises the expression of an index only if the constant is not a parameter.
        IncidentOrderField::ResolvedAt if ascending => {
            Expr::cust("COALESCE(\"incident\".\"resolved_at\", '9999-12-31T00:00:00+00:00')")
        }
        IncidentOrderField::ResolvedAt => {
            Expr::cust("COALESCE(\"incident\".\"resolved_at\", '0001-01-01T00:00:00+00:00')")
        }
        IncidentOrderField::Severity => alias("severity_order"),
        IncidentOrderField::Number => own(Column::Number),
        IncidentOrderField::Status => alias("status_order"),
        IncidentOrderField::Title => own(Column::TitleKey),
    }
}

impl Reader {
    /// Reads a page of a queue.
    pub async fn queue_page(&self, request: &PageRequest) -> Result<Page> {
        let stretch = self.stretch(super::incident::shown(), request).await?.limit(request.rows());
        let (incidents, more) = request.cut(self.show(stretch).await?);
        let queue = request.queue();
        let incidents = incidents.into_iter().map(|incident| (request.cursor(&queue, &incident), incident)).collect();
        Ok(Page { incidents, more })
    }

    /// Adds filter, cursors and order of a page to a query of incidents. The caller sets the limit
    /// ([`PageRequest::rows`]).
    pub(super) async fn stretch(&self, query: Select<Entity>, request: &PageRequest) -> Result<Select<Entity>> {
        let wanted = if request.has_open_index() { WantedRows::OpenPage } else { WantedRows::Page };
        let mut query = query.filter(self.met(request.filter.filter(), wanted).await?);
        if let Some(after) = &request.after {
            query = query.filter(request.side(after, CursorSide::After));
        }
        if let Some(before) = &request.before {
            query = query.filter(request.side(before, CursorSide::Before));
        }
        for (column, direction) in request.columns() {
            let ascending = (direction == OrderDirection::Asc) != request.span.from_end;
            query = query.order_by(column, if ascending { Order::Asc } else { Order::Desc });
        }
        Ok(query)
    }

    /// Counts the incidents of a queue.
    pub async fn queue_count(&self, filter: &QueueFilter) -> Result<u64> {
        super::count(self, Entity::find().filter(self.met(filter.filter(), WantedRows::All).await?)).await
    }

    /// Returns the ids of a queue's incidents, ascending, at most `limit`.
    pub async fn queue_ids(&self, filter: &QueueFilter, limit: u64) -> Result<Vec<IncidentId>> {
        let ids: Vec<Uuid> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(self.met(filter.filter(), WantedRows::All).await?)
            .order_by_asc(Column::Id)
            .limit(limit)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(ids.into_iter().map(IncidentId).collect())
    }
}
