//! The work by hand on PostgreSQL: pgbench with prepared statements.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

use super::{World, statements};

/// pgbench, and the database that it works on.
pub(crate) struct Pgbench {
    program: PathBuf,
    url: String,
}

impl Pgbench {
    /// Prepares the database for the statements, and chooses what the requests ask for.
    pub(crate) async fn prepare(url: &str) -> (Self, World) {
        let database = Database::connect(url).await.unwrap();
        let world = world(&database).await;
        (Self { program: program(), url: url.to_owned() }, world)
    }

    /// Runs the statements for some time. Returns how often a second.
    pub(crate) fn rate(&self, names: &[&str], clients: usize, time: Duration) -> f64 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("all.sql");
        // One pgbench transaction runs all statements, as one answer of the desk does.
        let mut lines: Vec<String> = Vec::new();
        for text in statements("postgres", names) {
            for line in text.lines() {
                // Set each pgbench variable only once.
                if !(line.starts_with('\\') && lines.iter().any(|set| set == line)) {
                    lines.push(line.to_owned());
                }
            }
        }
        std::fs::write(&file, lines.join("\n")).unwrap();
        let output = Command::new(&self.program)
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--client", &clients.to_string()])
            .args(["--time", &time.as_secs().max(1).to_string(), "--file"])
            .args([file.as_os_str(), self.url.as_ref()])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let rate = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok());
        rate.unwrap_or_else(|| panic!("{told}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn program() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        found.map(|entry| entry.path().join("bin/pgbench")).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| "pgbench".into())
}

async fn texts(database: &DatabaseConnection, sql: &str) -> Vec<Vec<String>> {
    let rows = database.query_all_raw(Statement::from_string(DbBackend::Postgres, sql)).await.unwrap();
    let row = |row: &sea_orm::QueryResult| {
        (0..row.column_names().len()).map(|at| row.try_get_by_index(at).unwrap()).collect()
    };
    rows.iter().map(row).collect()
}

async fn world(database: &DatabaseConnection) -> World {
    for sql in [
        "VACUUM ANALYZE",
        "CREATE TABLE bench_filter AS SELECT row_number() OVER ()::int AS k, * FROM (SELECT DISTINCT i.owner_user_id AS owner, i.severity, h.key AS tag
            FROM incident i JOIN incident_tag h ON h.incident_id = i.id WHERE i.status IN (1, 2) AND i.owner_user_id IS NOT NULL LIMIT 1000) f",
        "INSERT INTO bench_filter SELECT k + n.count, owner, severity, tag FROM bench_filter, (SELECT count(*)::int AS count FROM bench_filter) n
            WHERE k + n.count <= 1000",
        "ALTER TABLE bench_filter ADD PRIMARY KEY (k)",
        "CREATE TABLE bench_incident AS SELECT row_number() OVER ()::int AS k, id, updated_at FROM (SELECT id, updated_at FROM incident
            WHERE deleted_at IS NULL AND status < 4 ORDER BY md5(id::text) LIMIT 1000) f",
        "ALTER TABLE bench_incident ADD PRIMARY KEY (k)",
        "CREATE TABLE bench_word AS SELECT row_number() OVER ()::int AS k, word FROM (SELECT DISTINCT split_part(title_folded, ' ', 2) || ' ' ||
            split_part(title_folded, ' ', 3) AS word FROM incident WHERE status IN (1, 2) AND length(split_part(title_folded, ' ', 3)) > 3 LIMIT 1000) w",
        "INSERT INTO bench_word SELECT k + n.count * r, word FROM bench_word, (SELECT count(*)::int AS count FROM bench_word) n,
            generate_series(1, 1000) r WHERE k + n.count * r <= 1000",
        "ALTER TABLE bench_word ADD PRIMARY KEY (k)",
        // The handwritten writes need increasing keys, and the body of a change.
        "CREATE SEQUENCE bench_row CACHE 100",
        "CREATE TABLE bench_body AS SELECT body, '{\"user\":{\"id\":\"01a22c53-96a4-7697-81ef-6a80f95611a3\",\"account\":\"bench\"}}' AS actor
            FROM change WHERE length(body) > 900 ORDER BY position LIMIT 1",
        "ANALYZE",
    ] {
        database.execute_unprepared(sql).await.unwrap();
    }
    let filters = texts(database, "SELECT owner::text, severity::text, tag FROM bench_filter ORDER BY k").await;
    let times = "to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let incidents = texts(database, &format!("SELECT id::text, {times} FROM bench_incident ORDER BY k")).await;
    let words = texts(database, "SELECT word FROM bench_word ORDER BY k").await;
    let filter = |row: Vec<String>| (row[0].clone(), row[1].parse().unwrap(), row[2].clone());
    World {
        filters: filters.into_iter().map(filter).collect(),
        incidents: incidents.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect(),
        words: words.into_iter().map(|mut row| row.remove(0)).collect(),
        cursors: Vec::new(),
    }
}
