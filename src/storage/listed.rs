//! Rows of a queue as a page lists them: only the fields that a row shows, in one statement.
//!
//! Most of an incident (description, folded texts, the input that created it) is not read. A column is read by its
//! index, because reading by name takes several times as long. So the columns stand here in the order in which they are
//! read.

use sea_orm::entity::prelude::*;
use sea_orm::{DbBackend, QueryResult, QuerySelect, QueryTrait, Select, Statement, TryGetable};

use super::incident::row::{Column, Entity};
use super::incident::{classification, json, owner_id};
use super::queue::{ListedRow, PageRequest};
use super::{Reader, Store, account, fault, tag, text, way};
use crate::domain::account::Owner;
use crate::domain::queue::{IncidentText, QueueRow};
use crate::domain::title::ShownTitle;
use crate::domain::{IncidentId, Result};

/// Parts of a page's rows that a request can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The owners of the incidents.
    pub owner: bool,
    /// The tags of the incidents.
    pub tags: bool,
    /// The products and providers of the incidents' alerts.
    pub sources: bool,
}

impl Parts {
    /// Every part.
    pub const ALL: Self = Self { owner: true, tags: true, sources: true };
}

impl Store {
    /// Reads the page of [`Reader::listed_page`] with one statement, which is its own snapshot. Returns `None` if the
    /// page must be read another way: this store has a gate, the connection was lost, or the filter takes more than one
    /// statement.
    pub async fn page_alone(&self, request: &PageRequest, parts: Parts) -> Result<Option<(Vec<ListedRow>, bool)>> {
        if !way::is_plain(request.filter.filter()) {
            return Ok(None);
        }
        let Some(reader) = self.read_one().await? else { return Ok(None) };
        let statement = reader.listed_statement(request, parts).await?;
        match reader.conn().query_all_raw(statement).await {
            Ok(found) => page(&found, request, parts).map(Some),
            Err(error) if fault::is_lost(&error) || fault::is_unclean(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Reader {
    /// Reads a page of a queue, and whether more rows follow. A part that is not read is empty.
    pub async fn listed_page(&self, request: &PageRequest, parts: Parts) -> Result<(Vec<ListedRow>, bool)> {
        let statement = self.listed_statement(request, parts).await?;
        page(&self.conn().query_all_raw(statement).await?, request, parts)
    }

    async fn listed_statement(&self, request: &PageRequest, parts: Parts) -> Result<Statement> {
        Ok(match self.conn().get_database_backend() {
            DbBackend::Postgres => {
                let page = self.stretch(own(parts), request).await?.build(DbBackend::Postgres);
                with_others(page, request.rows(), parts)
            }
            other => {
                self.stretch(each_with_others(own(parts), parts), request).await?.limit(request.rows()).build(other)
            }
        })
    }
}

fn page(found: &[QueryResult], request: &PageRequest, parts: Parts) -> Result<(Vec<ListedRow>, bool)> {
    let queue = request.queue();
    let listed = |found| {
        let (place, row, title) = read(found, parts)?;
        Ok((place, request.listed(&queue, row, title)))
    };
    let mut rows = found.iter().map(listed).collect::<Result<Vec<_>>>()?;
    // The rows of SQLite are in order, and all have place 0: the sort is stable.
    rows.sort_by_key(|(place, _)| *place);
    Ok(request.cut(rows.into_iter().map(|(_, row)| row).collect()))
}

/// The columns of a row, in the order in which they are read.
const OWN: [Column; 18] = [
    Column::Number,
    Column::Version,
    Column::TitleVersion,
    Column::SeverityOverride,
    Column::ComputedSeverity,
    Column::Status,
    Column::Classification,
    Column::Determination,
    Column::AlertCount,
    Column::CommentCount,
    Column::HasActiveAlerts,
    Column::CreatedAt,
    Column::UpdatedAt,
    Column::FirstActivityAt,
    Column::LastActivityAt,
    Column::FirstAssignedAt,
    Column::ResolvedAt,
    Column::RedirectedTo,
];

fn own(parts: Parts) -> Select<Entity> {
    let title = text::start_of("incident", "title");
    let mut query = Entity::find().select_only().column(Column::Id).columns(OWN).expr_as(title, "title");
    if parts.owner {
        query = query.columns([Column::OwnerUserId, Column::OwnerGroupId]);
    }
    if parts.sources {
        query = query.columns([Column::Products, Column::Providers]);
    }
    query
}

/// Adds owner and tags as subqueries for each row (SQLite). The rows come in order.
fn each_with_others(query: Select<Entity>, parts: Parts) -> Select<Entity> {
    let (owner, tags) = (account::owner_of("incident", DbBackend::Sqlite), tag::tags_of(DbBackend::Sqlite));
    let query = query.expr_as(Expr::cust("0"), "place");
    let query = if parts.owner { query.expr_as(owner, "owner") } else { query };
    if parts.tags { query.expr_as(tags, "tags") } else { query }
}

/// Adds owner and tags by joins over all rows (PostgreSQL): starting and ending a subquery for each row takes two to
/// three times as long as all the rest. The rows come in no order, each with its place.
///
/// The limit stands in the text. For a limit in a parameter PostgreSQL assumes a tenth of the table, finds the generic
/// plan too expensive, and plans anew each time, which takes as long as the execution.
fn with_others(page: Statement, rows: u64, parts: Parts) -> Statement {
    let (mut columns, mut tables) = ("placed.*".to_owned(), String::new());
    if parts.owner {
        columns.push_str(", COALESCE(u.account, g.account), COALESCE(u.name, g.name)");
        tables.push_str(
            " LEFT JOIN \"user\" u ON u.id = placed.owner_user_id LEFT JOIN \"group\" g ON g.id = placed.owner_group_id",
        );
    }
    if parts.tags {
        columns.push_str(", tagged.tags");
        tables.push_str(&format!(" LEFT JOIN ({}) tagged ON tagged.incident_id = placed.id", tag::TAGS_OF_PAGE));
    }
    let sql = format!(
        "WITH page AS MATERIALIZED ({} LIMIT {rows}), placed AS (SELECT page.*, ROW_NUMBER() OVER () AS place FROM page)
         SELECT {columns} FROM placed{tables}",
        page.sql
    );
    Statement { sql, ..page }
}

fn read(found: &QueryResult, parts: Parts) -> Result<(i64, QueueRow, ShownTitle)> {
    let mut found = Columns { row: found, at: 0 };
    let id = IncidentId(found.value()?);
    let (number, version, title_version) = (found.value()?, found.count()?, found.count()?);
    let (severity_override, computed_severity, status) = (found.value()?, found.value()?, found.value()?);
    let (kind, determination): (_, Option<String>) = (found.value()?, found.value()?);
    let classification = classification(kind, determination.as_deref())?;
    let (alert_count, comment_count, has_active_alerts) = (found.count()?, found.count()?, found.value()?);
    let (created_at, updated_at) = (found.value()?, found.value()?);
    let (first_activity_at, last_activity_at, first_assigned_at, resolved_at) =
        (found.value()?, found.value()?, found.value()?, found.value()?);
    let redirected_to: Option<Uuid> = found.value()?;
    let title: String = found.value()?;
    let owner = if parts.owner { owner_id(found.value()?, found.value()?) } else { None };
    let (products, providers) = if parts.sources {
        (json(&found.value::<String>()?)?, json(&found.value::<String>()?)?)
    } else {
        (Vec::new(), Vec::new())
    };
    let place: i64 = found.value()?;
    let owner = if !parts.owner {
        None
    } else if found.is_postgres() {
        let named = owner.zip(found.value()?).zip(found.value()?);
        named.map(|((id, account), name)| Owner { id, account, name })
    } else {
        account::owner_told(owner, found.value::<Option<String>>()?.as_deref())?
    };
    let tags = if parts.tags { tag::tags_told(found.value::<Option<String>>()?.as_deref())? } else { Vec::new() };
    let row = QueueRow {
        id,
        number,
        version,
        title: IncidentText::of(&title, title_version),
        description: None,
        severity_override,
        computed_severity,
        status,
        classification,
        owner,
        tags,
        alert_count,
        comment_count,
        has_active_alerts,
        products,
        providers,
        created_at,
        updated_at,
        first_activity_at,
        last_activity_at,
        first_assigned_at,
        resolved_at,
        redirected_to: redirected_to.map(IncidentId),
        // Queues have no deleted incidents.
        deleted: false,
    };
    Ok((place, row, ShownTitle::of(&title)))
}

/// A cursor over the columns of a row, from the first to the last.
struct Columns<'r> {
    row: &'r QueryResult,
    at: usize,
}

impl Columns<'_> {
    fn is_postgres(&self) -> bool {
        self.row.try_as_pg_row().is_some()
    }

    fn value<T: TryGetable>(&mut self) -> Result<T, DbErr> {
        let value = self.row.try_get_by_index(self.at);
        self.at += 1;
        value
    }

    fn count(&mut self) -> Result<u64, DbErr> {
        self.value::<i64>().map(|count| count as u64)
    }
}
