//! Chooses the access path from a filter to its incidents.
//!
//! PostgreSQL chooses by its statistics. SQLite has no statistics about these lists, and starts from any list that the
//! statement names, however long it is. So on SQLite the list's rows are counted in an index first, up to a bound.

use sea_orm::sea_query::{Expr, Query, SelectStatement};
use sea_orm::{Condition, ConnectionTrait};

use super::filter::{self, ConditionForm, StatusWay, TextWay, Ways};
use super::{Reader, search};
use crate::domain::Result;
use crate::domain::filter::{IncidentFilter, TagFilter};
use crate::domain::summary::OPEN;

/// The longest list of incidents from which a page of SQLite is picked and sorted (some 5 µs for each incident). Beyond
/// it the page is found along its order.
const SHORT_FOR_PAGE: u64 = 1_000;

/// The longest list for a statement that reads every incident that meets the filter.
const SHORT_FOR_ALL: u64 = 10_000;

/// Up to so many open incidents PostgreSQL reads them all to find a text (less than 1 µs each), and does not use the
/// trigram index. A match by trigrams costs some 7 µs, and few of all incidents with a text are open.
const FEW_OPEN: i64 = 10_000;

/// The incidents that a statement wants from a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WantedRows {
    /// The first few, in an order in which the open incidents have an index.
    OpenPage,
    /// The first few, in another order.
    Page,
    /// Every incident that meets the filter.
    All,
}

impl WantedRows {
    fn short(self) -> u64 {
        match self {
            Self::OpenPage | Self::Page => SHORT_FOR_PAGE,
            Self::All => SHORT_FOR_ALL,
        }
    }
}

/// Whether the filter needs no other statement before the statement itself.
pub(super) fn is_plain(filter: &IncidentFilter) -> bool {
    filter.text.is_none() && filter.tags.is_none() && filter.entity.is_none()
}

impl Reader {
    /// Returns the condition of a queue: not deleted, and meeting the filter.
    pub(super) async fn met(&self, filter: &IncidentFilter, wanted: WantedRows) -> Result<Condition> {
        Ok(filter::queue(filter, self.ways(filter, wanted).await?))
    }

    async fn ways(&self, filter: &IncidentFilter, wanted: WantedRows) -> Result<Ways> {
        let status = if wanted == WantedRows::Page { StatusWay::Listed } else { StatusWay::Known };
        let indexed = filter.text.as_deref().filter(|needle| search::is_indexed(needle));
        let is_open = filter.status.as_ref().is_some_and(|list| list.iter().all(|status| OPEN.contains(status)));
        if self.is_postgres() {
            let by_trigrams = indexed.is_some() && !(is_open && self.has_few_open().await?);
            if by_trigrams {
                self.plan_by_values().await?;
            }
            let text = if by_trigrams { TextWay::Table } else { TextWay::Each };
            return Ok(Ways {
                status,
                tags: ConditionForm::Listed,
                entities: ConditionForm::Listed,
                alerts: ConditionForm::Listed,
                text,
            });
        }
        let way = |short| if short { ConditionForm::Listed } else { ConditionForm::Each };
        let tags = match filter.tags.as_ref().and_then(keys) {
            Some(keys) => way(self.is_short(filter::having(keys), wanted).await?),
            None => ConditionForm::Each,
        };
        let entities = match &filter.entity {
            Some(entities) => way(self.is_short(filter::holding(entities), wanted).await?),
            None => ConditionForm::Each,
        };
        let all_of_years = wanted == WantedRows::All && !is_open;
        let text = match indexed {
            Some(_) if all_of_years => TextWay::Index,
            Some(needle) if self.is_short(search::incidents_with(needle), wanted).await? => TextWay::Index,
            _ => TextWay::Each,
        };
        // No index leads from a product to its incidents, so listing them would read all alerts.
        let alerts = way(all_of_years);
        Ok(Ways { status, tags, entities, alerts, text })
    }

    /// Whether few incidents are open, by PostgreSQL's last count of the index of open incidents.
    async fn has_few_open(&self) -> Result<bool> {
        let sql = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass('incident_open')";
        let found = self.conn().query_one_raw(super::statement(self, sql, [])).await?;
        let open: i64 = found.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(-1);
        Ok((0..=FEW_OPEN).contains(&open))
    }

    /// Makes PostgreSQL plan each statement of this transaction for its actual values. The frequency of a text decides
    /// the best plan, and a plan for any text assumes that each text is rare.
    async fn plan_by_values(&self) -> Result<()> {
        self.conn().execute_unprepared("SET LOCAL plan_cache_mode = force_custom_plan").await?;
        Ok(())
    }

    /// Whether a list has few rows.
    pub(super) async fn is_short(&self, mut list: SelectStatement, wanted: WantedRows) -> Result<bool> {
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

/// Returns the tag keys whose incidents are listed: the keys of `any`, otherwise the keys of `all` unless it is empty.
fn keys(filter: &TagFilter) -> Option<&[String]> {
    filter.any.as_deref().or(filter.all.as_deref().filter(|all| !all.is_empty()))
}
