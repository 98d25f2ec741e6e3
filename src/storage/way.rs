//! Which way a statement takes to the incidents of a filter.
//!
//! PostgreSQL weighs the ways by its statistics. SQLite has none about lists: it begins from any that it is given, however long.
//! So it is asked first whether a list is short, in an index and no further than a bound.

use sea_orm::sea_query::{Expr, Query, SelectStatement};
use sea_orm::{Condition, ConnectionTrait};

use super::filter::{self, StatusWay, TextWay, Way, Ways};
use super::{Reader, search};
use crate::domain::Result;
use crate::domain::filter::{IncidentFilter, TagFilter};
use crate::domain::summary::OPEN;

/// How many incidents a page would rather be picked from than found on the way along its order: some 5 µs each, and then they are
/// sorted.
const SHORT_FOR_PAGE: u64 = 1_000;

/// The same for what reads all that a filter meets.
const SHORT_FOR_ALL: u64 = 10_000;

/// How many open incidents PostgreSQL would rather read than find a text among all by its trigrams: less than 1 µs each. What it finds
/// by trigrams costs some 7 µs each, and of all incidents with a text few are open.
const FEW_OPEN: i64 = 10_000;

/// What a statement wants of the incidents that a filter meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The first few in an order that the open ones have an index of.
    OpenPage,
    /// The first few in another order.
    Page,
    /// All of them.
    All,
}

impl Wanted {
    fn short(self) -> u64 {
        match self {
            Self::OpenPage | Self::Page => SHORT_FOR_PAGE,
            Self::All => SHORT_FOR_ALL,
        }
    }
}

/// Whether nothing is asked of the database before the statement itself.
pub(super) fn is_plain(filter: &IncidentFilter) -> bool {
    filter.text.is_none() && filter.tags.is_none() && filter.entity.is_none()
}

impl Reader {
    /// The condition of a queue: not deleted, and met by the filter.
    pub(super) async fn met(&self, filter: &IncidentFilter, wanted: Wanted) -> Result<Condition> {
        Ok(filter::queue(filter, self.ways(filter, wanted).await?))
    }

    async fn ways(&self, filter: &IncidentFilter, wanted: Wanted) -> Result<Ways> {
        let status = if wanted == Wanted::Page { StatusWay::Listed } else { StatusWay::Known };
        let indexed = filter.text.as_deref().filter(|needle| search::is_indexed(needle));
        let is_open = filter.status.as_ref().is_some_and(|list| list.iter().all(|status| OPEN.contains(status)));
        if self.is_postgres() {
            let by_trigrams = indexed.is_some() && !(is_open && self.has_few_open().await?);
            if by_trigrams {
                self.plan_by_values().await?;
            }
            let text = if by_trigrams { TextWay::Table } else { TextWay::Each };
            return Ok(Ways { status, tags: Way::Listed, entities: Way::Listed, alerts: Way::Listed, text });
        }
        let way = |short| if short { Way::Listed } else { Way::Each };
        let tags = match filter.tags.as_ref().and_then(keys) {
            Some(keys) => way(self.is_short(filter::having(keys), wanted).await?),
            None => Way::Each,
        };
        let entities = match &filter.entity {
            Some(entities) => way(self.is_short(filter::holding(entities), wanted).await?),
            None => Way::Each,
        };
        let all_of_years = wanted == Wanted::All && !is_open;
        let text = match indexed {
            Some(_) if all_of_years => TextWay::Index,
            Some(needle) if self.is_short(search::incidents_with(needle), wanted).await? => TextWay::Index,
            _ => TextWay::Each,
        };
        // No index leads from a product to its incidents: to list them is to read all alerts.
        let alerts = way(all_of_years);
        Ok(Ways { status, tags, entities, alerts, text })
    }

    /// Whether PostgreSQL knows that few incidents are open: as many as its index of them had when it last counted.
    async fn has_few_open(&self) -> Result<bool> {
        let sql = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass('incident_open')";
        let found = self.conn().query_one_raw(super::statement(self, sql, [])).await?;
        let open: i64 = found.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(-1);
        Ok((0..=FEW_OPEN).contains(&open))
    }

    /// Has PostgreSQL plan the statements of this transaction for the values that they come with. Whether a text is frequent decides
    /// which way is short, and a plan for any text takes each for a rare one.
    async fn plan_by_values(&self) -> Result<()> {
        self.conn().execute_unprepared("SET LOCAL plan_cache_mode = force_custom_plan").await?;
        Ok(())
    }

    /// Whether a list has few rows.
    pub(super) async fn is_short(&self, mut list: SelectStatement, wanted: Wanted) -> Result<bool> {
        let short = wanted.short();
        let count = Query::select()
            .expr(Expr::cust("COUNT(*)"))
            .from_subquery(list.limit(short + 1).to_owned(), "list")
            .to_owned();
        let found = self.conn().query_one_raw(self.conn().get_database_backend().build(&count)).await?;
        let rows: i64 = found.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(0);
        Ok(rows as u64 <= short)
    }
}

/// The keys that lead to the incidents with a tag: of all that are given together the first few will do.
fn keys(filter: &TagFilter) -> Option<&[String]> {
    filter.any.as_deref().or(filter.all.as_deref().filter(|all| !all.is_empty()))
}
