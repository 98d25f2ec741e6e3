//! Where texts are looked for: indexes of the trigrams (each three characters in a row) of titles and descriptions.
//!
//! An index serves a text of three characters or more, and finds what reading every text finds. Both databases keep it by
//! themselves, by triggers or as an index of a table, whoever writes.

use std::collections::BTreeSet;

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement, UnionType};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement};
use tracing::warn;

/// The table that is searched: of texts on PostgreSQL, of trigrams on SQLite.
pub(super) const INCIDENTS: &str = "incident_search";

/// SQLite's trigrams of the titles of alerts, and which row is which alert's.
const ALERTS: &str = "alert_search";
const ALERT_ROWS: &str = "alert_search_row";

/// What SQLite has not indexed yet.
const INCIDENTS_WAITING: &str = "incident_search_waiting";
const ALERTS_WAITING: &str = "alert_search_waiting";

/// The characters of a trigram: a shorter text has none.
const TRIGRAM_CHARS: usize = 3;

/// The most trigrams of a text that SQLite is asked for. They only name the rows to look into, and few rows that have so many
/// have not the text; a text may have a thousand, and each is read as far as the rarest goes.
const TRIGRAMS_MAX: usize = 24;

/// The indexes of trigrams on PostgreSQL, by name. One index has both texts of an incident, so that there is one to write.
const POSTGRES_INDEXES: [(&str, &str); 2] = [
    (
        "incident_search_trigrams",
        "ON incident_search USING gin (title_folded {schema}.gin_trgm_ops, description_folded {schema}.gin_trgm_ops)",
    ),
    ("alert_title_trigrams", "ON alert USING gin (title_folded {schema}.gin_trgm_ops)"),
];

/// Whether an index of trigrams can find a folded text.
pub(super) fn is_indexed(needle: &str) -> bool {
    needle.chars().nth(TRIGRAM_CHARS - 1).is_some()
}

/// The numbers of the incidents that may hold a text (SQLite): they have its trigrams, in either text, or wait.
pub(super) fn incidents_with(needle: &str) -> SelectStatement {
    rows_with(INCIDENTS, INCIDENTS_WAITING, needle)
}

/// The ids of the alerts whose title may hold a text (SQLite).
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

/// A query of FTS5: all of these trigrams, each in quotes, in which a quote is doubled.
fn trigrams(needle: &str) -> String {
    let characters: Vec<char> = needle.chars().collect();
    let all: BTreeSet<&[char]> = characters.windows(TRIGRAM_CHARS).collect();
    let step = all.len().div_ceil(TRIGRAMS_MAX).max(1);
    let quoted = |trigram: &[char]| format!("\"{}\"", trigram.iter().collect::<String>().replace('"', "\"\""));
    all.into_iter().step_by(step).map(quoted).collect::<Vec<_>>().join(" AND ")
}

/// Makes PostgreSQL's indexes of trigrams where they are missing: they need an extension, which a role may not be allowed to
/// create. Everything works without them, and searches read every text. At each start: the extension may have come since.
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
        // Asked first: CREATE INDEX IF NOT EXISTS waits for all who write, also where there is nothing to do.
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

/// Where the extension is, which need not be where names are looked for.
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
