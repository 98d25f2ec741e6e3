//! The text search: trigram indexes of titles and descriptions. A trigram is three consecutive characters.
//!
//! An index serves a text of three or more characters, and finds exactly the rows that reading every text finds. Both
//! databases maintain it by themselves, by triggers or as an index of a table.

use std::collections::BTreeSet;

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement, UnionType};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement};
use tracing::warn;

/// The table to search: of texts on PostgreSQL, of trigrams on SQLite.
pub(super) const INCIDENTS: &str = "incident_search";

/// SQLite's trigrams of alert titles, and the table that maps its rows to alerts.
const ALERTS: &str = "alert_search";
const ALERT_ROWS: &str = "alert_search_row";

/// Rows that SQLite has not indexed yet.
const INCIDENTS_WAITING: &str = "incident_search_waiting";
const ALERTS_WAITING: &str = "alert_search_waiting";

/// The characters of a trigram. A shorter text has no trigram.
const TRIGRAM_CHARS: usize = 3;

/// The most trigrams in a query of SQLite. They only select candidates, and few rows with so many of them lack the
/// text. A text may have a thousand trigrams, and SQLite reads each trigram's list as far as the rarest trigram goes.
const TRIGRAMS_MAX: usize = 24;

/// PostgreSQL's trigram indexes by name. One index covers both texts of an incident, so that a write updates only one.
const POSTGRES_INDEXES: [(&str, &str); 2] = [
    (
        "incident_search_trigrams",
        "ON incident_search USING gin (title_folded {schema}.gin_trgm_ops, description_folded {schema}.gin_trgm_ops)",
    ),
    ("alert_title_trigrams", "ON alert USING gin (title_folded {schema}.gin_trgm_ops)"),
];

/// Whether a trigram index can find a folded text.
pub(super) fn is_indexed(needle: &str) -> bool {
    needle.chars().nth(TRIGRAM_CHARS - 1).is_some()
}

/// Selects the numbers of candidates for a text (SQLite): incidents with its trigrams in either text, or not indexed
/// yet.
pub(super) fn incidents_with(needle: &str) -> SelectStatement {
    rows_with(INCIDENTS, INCIDENTS_WAITING, needle)
}

/// Selects the ids of alerts whose title may contain a text (SQLite).
pub(super) fn alerts_with(needle: &str) -> SelectStatement {
    let rows = rows_with(ALERTS, ALERTS_WAITING, needle);
    Query::select()
        .column((ALERT_ROWS, "alert_id"))
        .from(ALERT_ROWS)
        .and_where(Expr::col((ALERT_ROWS, "number")).in_subquery(rows))
        .to_owned()
}

fn rows_with(table: &'static str, waiting: &'static str, needle: &str) -> SelectStatement {
    let waits = Query::select().column((waiting, "number")).from(waiting).to_owned();
    let matches = Expr::cust_with_values(format!("\"{table}\" MATCH ?"), [trigrams(needle)]);
    Query::select().column((table, "rowid")).from(table).and_where(matches).union(UnionType::All, waits).to_owned()
}

/// Builds an FTS5 query: at most [`TRIGRAMS_MAX`] trigrams joined by AND, each in quotes, with quotes doubled.
fn trigrams(needle: &str) -> String {
    let characters: Vec<char> = needle.chars().collect();
    let all: BTreeSet<&[char]> = characters.windows(TRIGRAM_CHARS).collect();
    let step = all.len().div_ceil(TRIGRAMS_MAX).max(1);
    let quoted = |trigram: &[char]| format!("\"{}\"", trigram.iter().collect::<String>().replace('"', "\"\""));
    all.into_iter().step_by(step).map(quoted).collect::<Vec<_>>().join(" AND ")
}

/// Creates PostgreSQL's trigram indexes if they are missing. They need an extension that a role may not be allowed to
/// create; without it searches read every text. This runs at each start, because the extension may have been added.
pub(super) async fn ensure_indexes(conn: &DatabaseConnection) -> Result<(), DbErr> {
    let found = match schema_of_trigrams(conn).await? {
        Some(schema) => Some(schema),
        None => match conn.execute_unprepared("CREATE EXTENSION IF NOT EXISTS pg_trgm").await {
            Ok(_) => schema_of_trigrams(conn).await?,
            Err(error) => {
                warn!(
                    %error,
                    "searches read every text, as PostgreSQL's extension pg_trgm is missing: once an administrator has run \
                     CREATE EXTENSION pg_trgm in this database, start the desk again"
                );
                None
            }
        },
    };
    let Some(schema) = found else { return Ok(()) };
    for (name, of) in POSTGRES_INDEXES {
        // `CREATE INDEX IF NOT EXISTS` waits for all writers even if the index exists, so this checks first.
        let is_there =
            Statement::from_string(conn.get_database_backend(), format!("SELECT to_regclass('{name}')::text"));
        let is_there =
            conn.query_one_raw(is_there).await?.map(|row| row.try_get_by_index::<Option<String>>(0)).transpose()?;
        if is_there.flatten().is_none() {
            conn.execute_unprepared(&format!("CREATE INDEX {name} {}", of.replace("{schema}", &schema))).await?;
        }
    }
    Ok(())
}

/// Returns the schema of the extension, which may be outside the search path.
async fn schema_of_trigrams(conn: &DatabaseConnection) -> Result<Option<String>, DbErr> {
    let sql = "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_trgm'";
    let found = conn.query_one_raw(Statement::from_string(conn.get_database_backend(), sql)).await?;
    found.map(|row| row.try_get_by_index(0)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_asked_for_by_its_trigrams() {
        assert_eq!(trigrams("abcd"), "\"abc\" AND \"bcd\"");
        assert_eq!(trigrams("a\"b\""), "\"\"\"b\"\"\" AND \"a\"\"b\"");
        assert_eq!(trigrams("漢字検知"), "\"字検知\" AND \"漢字検\"");
        assert!(!is_indexed("ab") && is_indexed("abc") && !is_indexed("漢字") && is_indexed("漢字検"));
    }

    #[test]
    fn a_long_text_is_asked_for_by_a_few() {
        let long: String =
            ('a'..='z').cycle().zip(('a'..='y').cycle()).take(500).map(|(a, b)| format!("{a}{b}")).collect();
        let asked = trigrams(&long);
        let parts: Vec<&str> = asked.split(" AND ").collect();
        assert!((12..=TRIGRAMS_MAX).contains(&parts.len()), "{}", parts.len());
        assert!(parts.iter().all(|part| long.contains(part.trim_matches('"'))));
    }
}
