//! PostgreSQL for the tests: one throwaway cluster per process, and in it a fresh database per test.
//!
//! `scripts/postgres.sh` starts the cluster and holds the other end of a pipe. It stops the cluster and removes its
//! folder when the pipe closes, and the kernel closes it however this process ends: nothing has to run here for that,
//! not even a `Drop`. A missing PostgreSQL fails the test that asks for it; a skipped test would read as a passed one.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

/// Names an existing server, as an address whose user may create databases. It serves runs of many processes, where a
/// cluster for each would cost two seconds a test: `scripts/postgres.sh run cargo nextest run`.
const SERVER_VARIABLE: &str = "WATCHFLOOR_TEST_POSTGRES";

/// Serialises the making of templates across processes; any number that nothing else locks.
const TEMPLATE_LOCK: i64 = 0x57_41_54_43_48;

/// An empty database that no other test sees, as a `postgres://` address.
pub(crate) async fn fresh_database() -> String {
    create_database(&shared_server(), "template0").await
}

/// Returns a database of the test's own, copied from a database that `prepare` filled once, so that a test pays for a
/// copy and not for all migrations. `name` identifies the work of `prepare`; each build of the tests prepares its own.
pub(crate) async fn fresh_database_like(name: &str, prepare: impl AsyncFnOnce(&str)) -> String {
    let server = shared_server();
    let template = format!("template_{name}_{:016x}", build());
    prepare_once(&server, &template, prepare).await;
    create_database(&server, &template).await
}

/// Removes a database, and ends its open connections.
pub(crate) async fn drop_database(url: &str) {
    let (server, name) = split(url);
    let admin = connect(&format!("{server}/postgres")).await;
    execute(&admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    close(admin).await;
}

/// A separate cluster, which a test stops and starts under a running desk. It ends with this value or with the process.
pub(crate) struct Cluster {
    admin_url: String,
    folder: PathBuf,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    keeper: Child,
}

impl Cluster {
    /// Starts a cluster that syncs to disk as in production. Blocks for about two seconds.
    pub(crate) fn start_private() -> Self {
        Self::start(&["on"], Stdio::piped()).unwrap_or_else(|cause| panic!("{cause}"))
    }

    /// Starts a cluster that syncs to disk and can have a standby.
    pub(crate) fn start_replicated() -> Self {
        Self::start(&["on", "replica"], Stdio::piped()).unwrap_or_else(|cause| panic!("{cause}"))
    }

    /// Starts a standby, and returns the address of its `postgres` database. It ends with the cluster.
    pub(crate) fn start_standby(&mut self) -> String {
        let answer = self.answer_to("standby");
        answer.strip_prefix("standby ").unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// `kill -9` of the primary.
    pub(crate) fn kill_primary(&mut self) {
        self.order("kill", "killed");
    }

    /// Promotes the standby, and returns when it is the primary.
    pub(crate) fn promote_standby(&mut self) {
        self.order("promote", "promoted");
    }

    /// Stops the standby as a crash would, so that it no longer follows.
    pub(crate) fn stop_standby(&mut self) {
        self.order("stop-standby", "stopped");
    }

    /// Starts the standby again.
    pub(crate) fn start_standby_again(&mut self) {
        self.order("start-standby", "started");
    }

    /// Returns the address of the `postgres` database, as a superuser. It stays the same through a stop and a start.
    pub(crate) fn url(&self) -> &str {
        &self.admin_url
    }

    /// Creates an empty database in this cluster.
    pub(crate) async fn fresh_database(&self) -> String {
        create_database(&self.admin_url, "template0").await
    }

    /// Stops the cluster as a crash would: connections break, and nothing is checkpointed.
    pub(crate) fn stop_immediate(&mut self) {
        self.order("stop", "stopped");
    }

    /// Starts the cluster again on the same folder and port. Returns when it has recovered and answers.
    pub(crate) fn start_again(&mut self) {
        self.order("start", "started");
    }

    fn order(&mut self, order: &str, expected: &str) {
        assert_eq!(self.answer_to(order), expected, "the answer of the cluster's keeper to {order:?}");
    }

    fn answer_to(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("the pipe is open until drop");
        writeln!(orders, "{order}").expect("the cluster's keeper reads its orders");
        read_answer(&mut self.answers)
    }

    /// Starts a cluster. `how` tells whether a commit waits for the disk (only a loss of power shows that, and no test
    /// has one), and whether the cluster can have a standby.
    fn start(how: &[&str], complaints: Stdio) -> Result<Self, String> {
        let script = include_str!("../../../scripts/postgres.sh");
        let mut keeper = Command::new("sh")
            .args(["-c", script, "scripts/postgres.sh", "keep"])
            .args(how)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints)
            // Not in the process group, so that Ctrl-C or a runner's kill for this process does not reach it.
            .process_group(0)
            .spawn()
            .map_err(|cause| format!("cannot run sh: {cause}"))?;
        let orders = keeper.stdin.take();
        let mut answers = BufReader::new(keeper.stdout.take().ok_or("the cluster's keeper has no standard output")?);
        let answer = read_answer(&mut answers);
        let [ready, admin_url, folder] = answer.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            let mut complaint = String::new();
            if let Some(mut complaints) = keeper.stderr.take() {
                complaints.read_to_string(&mut complaint).map_err(|cause| cause.to_string())?;
            }
            return Err(complaint);
        };
        assert_eq!(ready, "ready");
        Ok(Self { admin_url: admin_url.into(), folder: folder.into(), orders, answers, keeper })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.orders.take());
        // A test may check at once whether the cluster is gone. If the keeper cannot be waited for, it has ended
        // before.
        self.keeper.wait().ok();
    }
}

fn read_answer(answers: &mut impl BufRead) -> String {
    let mut line = String::new();
    answers.read_line(&mut line).expect("the cluster's keeper answers in UTF-8");
    line.trim_end().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "the tests have no config.rs: this is the one variable that they read")]
fn named_server() -> Option<String> {
    std::env::var(SERVER_VARIABLE).ok().filter(|url| !url.is_empty())
}

/// Returns the server that all tests of this process share: the named server, or a cluster that the first caller
/// starts.
fn shared_server() -> String {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    named_server().unwrap_or_else(|| {
        let cluster = SHARED.get_or_init(|| Cluster::start(&["off"], Stdio::piped()));
        cluster.as_ref().unwrap_or_else(|cause| panic!("{cause}")).admin_url.clone()
    })
}

/// Identifies a build of the tests: a server that outlives a build may hold templates of an older build.
fn build() -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let program = std::env::current_exe().expect("a running test has a program file");
    let written = std::fs::metadata(&program).and_then(|file| file.modified()).expect("the program file has a time");
    let mut hasher = DefaultHasher::new();
    (program, written).hash(&mut hasher);
    hasher.finish()
}

async fn create_database(admin_url: &str, template: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let instant = std::time::UNIX_EPOCH.elapsed().expect("the clock stands after 1970").as_micros();
    let name = format!("test_{}_{instant}_{count}", std::process::id());
    let admin = connect(admin_url).await;
    let locale = if template == "template0" { foreign_locale(&admin).await } else { "" };
    execute(&admin, &format!("CREATE DATABASE {name} TEMPLATE {template} {locale}")).await;
    close(admin).await;
    format!("{}/{name}", split(admin_url).0)
}

/// Returns the clause that gives a database a dictionary's order of words, if the server has one (PostgreSQL 15 or
/// later, with ICU). The desk must order by bytes, and every test shows a text whose order it left to the database.
async fn foreign_locale(admin: &DatabaseConnection) -> &'static str {
    const KNOWN: &str = "SELECT 1 FROM pg_collation WHERE collname = 'en-US-x-icu'
        AND current_setting('server_version_num')::integer >= 150000";
    let known = admin.query_one_raw(Statement::from_string(DbBackend::Postgres, KNOWN)).await.expect("an answer");
    if known.is_none() {
        println!("this server has no ICU: the databases of the tests have its own locale");
        return "";
    }
    "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
}

/// Makes `template` unless a test made it before. It is renamed last, so that its name stands for a finished template.
async fn prepare_once(admin_url: &str, template: &str, prepare: impl AsyncFnOnce(&str)) {
    let admin = connect(admin_url).await;
    execute(&admin, &format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await;
    let known = format!("SELECT 1 FROM pg_database WHERE datname = '{template}'");
    let known =
        admin.query_one_raw(Statement::from_string(DbBackend::Postgres, known)).await.expect("a list of databases");
    if known.is_none() {
        let draft = format!("{template}_draft");
        execute(&admin, &format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await;
        let locale = foreign_locale(&admin).await;
        execute(&admin, &format!("CREATE DATABASE {draft} TEMPLATE template0 {locale}")).await;
        prepare(&format!("{}/{draft}", split(admin_url).0)).await;
        // A database with open connections can be neither renamed nor copied.
        execute(&admin, &format!("ALTER DATABASE {draft} ALLOW_CONNECTIONS false")).await;
        execute(
            &admin,
            &format!("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{draft}'"),
        )
        .await;
        execute(&admin, &format!("ALTER DATABASE {draft} RENAME TO {template}")).await;
    }
    close(admin).await;
}

/// Opens one connection, because a lock belongs to the connection that took it.
async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.unwrap_or_else(|cause| panic!("cannot connect to the tests' PostgreSQL: {cause}"))
}

async fn execute(database: &DatabaseConnection, sql: &str) {
    database.execute_unprepared(sql).await.unwrap_or_else(|cause| panic!("{sql}: {cause}"));
}

async fn close(database: DatabaseConnection) {
    database.close().await.expect("an idle connection closes");
}

/// Splits an address into the server's address and the database's name.
fn split(url: &str) -> (&str, &str) {
    url.rsplit_once('/').expect("a database's address has a path")
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    /// Set for the process that [`a_cluster_ends_with_the_process_that_started_it`] starts and kills.
    const VICTIM_VARIABLE: &str = "WATCHFLOOR_TEST_VICTIM";

    #[test]
    fn a_cluster_ends_with_the_process_that_started_it() {
        if std::env::var_os(VICTIM_VARIABLE).is_some() {
            return hold_a_cluster_until_killed();
        }
        let mut victim = Command::new(std::env::current_exe().expect("a running test has a program file"))
            .args([
                "--exact",
                "--nocapture",
                "support::postgres::tests::a_cluster_ends_with_the_process_that_started_it",
            ])
            .env(VICTIM_VARIABLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the test program starts");
        let mut said = BufReader::new(victim.stdout.take().expect("piped"));
        let (address, folder) = loop {
            let line = read_answer(&mut said);
            if let Some((_, cluster)) = line.split_once("cluster ") {
                let (url, folder) = cluster.split_once(' ').expect("an address and a folder");
                break (host(url).to_owned(), PathBuf::from(folder));
            }
        };
        let mut connection = TcpStream::connect(&address).expect("the cluster listens");
        assert!(folder.join("data").exists());

        victim.kill().expect("the process is there to be killed");
        victim.wait().expect("it is dead");

        // The keeper inherited this pipe and holds it until it has cleaned up, so the pipe's end is the end of
        // everything.
        victim.stderr.take().expect("piped").read_to_end(&mut Vec::new()).expect("the pipe ends");
        connection.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
        assert!(matches!(connection.read(&mut [0; 1]), Ok(0) | Err(_)), "the server hung up");
        assert!(TcpStream::connect(&address).is_err(), "nothing listens any more");
        assert!(!folder.exists(), "the folder is gone");
    }

    fn hold_a_cluster_until_killed() {
        let cluster = Cluster::start(&["off"], Stdio::inherit()).expect("a cluster");
        println!("cluster {} {}", cluster.url(), cluster.folder.display());
        std::io::stdin().read_to_end(&mut Vec::new()).expect("an end by a signal, not by the pipe");
    }

    fn host(url: &str) -> &str {
        split(url).0.rsplit_once('@').expect("a user").1
    }

    #[tokio::test]
    async fn a_private_cluster_keeps_its_rows_through_a_crash() {
        let mut cluster = Cluster::start_private();
        let url = cluster.fresh_database().await;
        let before = connect(&url).await;
        execute(&before, "CREATE TABLE note (body text)").await;
        execute(&before, "INSERT INTO note VALUES ('kept')").await;

        cluster.stop_immediate();
        // Without a pool, which would retry until its acquire timeout.
        assert!(TcpStream::connect(host(&url)).is_err(), "nothing listens");
        cluster.start_again();

        let after = connect(&url).await;
        let kept = Statement::from_string(DbBackend::Postgres, "SELECT body FROM note");
        let kept = after.query_one_raw(kept).await.expect("a table").expect("a row");
        assert_eq!(kept.try_get::<String>("", "body").expect("a text"), "kept");
        let folder = cluster.folder.clone();
        drop(cluster);
        assert!(!folder.exists(), "a dropped cluster leaves no folder");
    }

    #[tokio::test]
    async fn a_prepared_database_is_copied_and_prepared_once() {
        static PREPARED: AtomicU64 = AtomicU64::new(0);
        let prepare = async |url: &str| {
            PREPARED.fetch_add(1, Ordering::Relaxed);
            // Left open on purpose: a pool that lingers must not spoil the copy.
            let pool = connect(url).await;
            execute(&pool, "CREATE TABLE word (name text)").await;
        };
        let (first, second) =
            tokio::join!(fresh_database_like("words", prepare), fresh_database_like("words", prepare));
        assert_ne!(first, second);
        let [first_pool, second_pool] = [connect(&first).await, connect(&second).await];
        execute(&first_pool, "INSERT INTO word VALUES ('one')").await;
        let rows = Statement::from_string(DbBackend::Postgres, "SELECT name FROM word");
        assert!(second_pool.query_one_raw(rows).await.expect("a table").is_none(), "each test has its own rows");
        assert_eq!(PREPARED.load(Ordering::Relaxed), 1);
        drop_database(&first).await;
        drop_database(&second).await;
        assert!(Database::connect(&first).await.is_err(), "a dropped database is gone");
    }
}
