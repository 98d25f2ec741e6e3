//! A separate database for each test, and `each_database!`, which runs one test body on both kinds.

use tempfile::TempDir;

use super::postgres;
use super::watchdog::Running;

/// Runs each named test twice: `each_database!(a_resolved_incident_keeps_its_note)` turns the
/// `async fn a_resolved_incident_keeps_its_note(database: TestDatabase)` beside it into the tests
/// `a_resolved_incident_keeps_its_note::sqlite` and `::postgres`.
macro_rules! each_database {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use $crate::support::database::{Kind, TestDatabase};

            #[tokio::test]
            async fn sqlite() {
                super::$name(TestDatabase::fresh(Kind::Sqlite).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$name(TestDatabase::fresh(Kind::Postgres).await).await;
            }
        }
    )+};
}
pub(crate) use each_database;

/// The databases that Watchfloor runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// An empty database, removed when the test ends.
pub(crate) struct TestDatabase {
    pub(crate) kind: Kind,
    /// The URL to which the desk connects: `sqlite:///…?mode=rwc` or `postgres://…`.
    pub(crate) url: String,
    _guard: Guard,
    /// Watches the test until the database is dropped.
    _running: Running,
}

/// Removes the database.
enum Guard {
    File(#[expect(dead_code, reason = "held for its Drop")] TempDir),
    Database(String),
    Nothing,
}

impl TestDatabase {
    pub(crate) async fn fresh(kind: Kind) -> Self {
        let (url, guard) = match kind {
            Kind::Sqlite => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                (format!("sqlite://{}/watchfloor.db?mode=rwc", folder.path().display()), Guard::File(folder))
            }
            Kind::Postgres => {
                let url = postgres::fresh_database().await;
                (url.clone(), Guard::Database(url))
            }
        };
        Self { kind, url, _guard: guard, _running: Running::begin() }
    }

    /// A database of a cluster that the test stops and starts.
    pub(crate) async fn in_cluster(cluster: &postgres::Cluster) -> Self {
        let url = cluster.fresh_database().await;
        Self { kind: Kind::Postgres, url: url.clone(), _guard: Guard::Database(url), _running: Running::begin() }
    }

    /// A view of an existing database through another address. Its creator removes it.
    pub(crate) fn at(url: String) -> Self {
        Self::reached_at(Kind::Postgres, url)
    }

    /// A view of an existing database of this kind through another address.
    pub(crate) fn reached_at(kind: Kind, url: String) -> Self {
        Self { kind, url, _guard: Guard::Nothing, _running: Running::begin() }
    }

    /// Opens a separate connection, for SQL that a test runs without the desk.
    pub(crate) async fn connect(&self) -> sea_orm::DatabaseConnection {
        let mut options = sea_orm::ConnectOptions::new(&self.url);
        options.max_connections(1).sqlx_logging(false);
        sea_orm::Database::connect(options).await.expect("a connection")
    }
}

impl Drop for Guard {
    /// Removes the database: two hundred tests would leave two gigabytes. It uses another thread, because a test's
    /// runtime cannot wait for itself. A failing test keeps its database: a second panic would end the process and hide
    /// the first.
    fn drop(&mut self) {
        let Self::Database(url) = self else { return };
        if std::thread::panicking() {
            return;
        }
        let url = std::mem::take(url);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        std::thread::spawn(move || runtime.block_on(postgres::drop_database(&url)))
            .join()
            .expect("the database is dropped");
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};

    use super::*;

    super::each_database!(a_row_comes_back_as_it_went_in, a_fresh_database_is_empty);

    async fn a_row_comes_back_as_it_went_in(database: TestDatabase) {
        let pool = Database::connect(&database.url).await.expect("a connection");
        pool.execute_unprepared("CREATE TABLE note (number integer, body text)").await.expect("a table");
        pool.execute_unprepared("INSERT INTO note VALUES (7, 'naïve – ≤ 5 000 caractères 🚨')").await.expect("a row");
        let row = Statement::from_string(pool.get_database_backend(), "SELECT number, body FROM note");
        let row = pool.query_one_raw(row).await.expect("an answer").expect("a row");
        assert_eq!(row.try_get::<i32>("", "number").expect("a number"), 7);
        assert_eq!(row.try_get::<String>("", "body").expect("a text"), "naïve – ≤ 5 000 caractères 🚨");
    }

    async fn a_fresh_database_is_empty(database: TestDatabase) {
        let pool = Database::connect(&database.url).await.expect("a connection");
        let (backend, tables) = match database.kind {
            Kind::Sqlite => (DbBackend::Sqlite, "SELECT count(*) AS tables FROM sqlite_master"),
            Kind::Postgres => {
                (DbBackend::Postgres, "SELECT count(*) AS tables FROM pg_tables WHERE schemaname = 'public'")
            }
        };
        assert_eq!(pool.get_database_backend(), backend, "the test runs on the database that its name says");
        let row = pool.query_one_raw(Statement::from_string(backend, tables)).await.expect("an answer").expect("a row");
        assert_eq!(row.try_get::<i64>("", "tables").expect("a number"), 0);
    }
}
