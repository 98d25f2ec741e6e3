//! PostgreSQL behind PgBouncer: a desk works fully in session mode, and refuses transaction mode with an explanation.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use watchfloor::storage::StoreOptions;

use crate::support::database::{Kind, TestDatabase};
use crate::support::desk::{Following, TestDesk};
use crate::support::process::Process;
use crate::support::stream::{QUEUE, offset, short};
use crate::support::waiting::{PATIENCE, a_moment};

/// The user `nobody` of every Linux, because PgBouncer refuses to run as root.
const NOBODY: u32 = 65_534;

/// A separate PgBouncer. It ends with this value.
struct PgBouncer {
    process: Child,
    folder: TempDir,
    port: u16,
}

impl PgBouncer {
    /// Starts a PgBouncer before a database's server, with the settings from docs/OPERATIONS.md.
    async fn start(database: &TestDatabase, mode: &str) -> Self {
        let server = database.url.strip_prefix("postgres://").expect("an address of PostgreSQL");
        let (user, rest) = server.split_once(':').expect("a user");
        let (password, rest) = rest.split_once('@').expect("a password");
        let (server_port, _) = rest.rsplit_once(':').and_then(|(_, end)| end.split_once('/')).expect("a port");
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let users = folder.path().join("users.txt");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = plain\nauth_file = {}\npool_mode = {mode}\nmax_client_conn = 100\n\
             default_pool_size = 40\nignore_startup_parameters = extra_float_digits,options\n",
            users.display()
        );
        std::fs::write(&users, format!("\"{user}\" \"{password}\"\n")).expect("written");
        std::fs::write(folder.path().join("pgbouncer.ini"), settings).expect("written");
        let process = Self::run(folder.path());
        let mut started = Self { process, folder, port };
        started.listens().await;
        started
    }

    fn run(folder: &Path) -> Child {
        let by_name = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(by_name.unwrap_or("pgbouncer"));
        command.arg("-q").arg(folder.join("pgbouncer.ini")).stdin(Stdio::null()).stdout(Stdio::null());
        if std::fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0) {
            std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).expect("a folder for nobody");
            command.uid(NOBODY).gid(NOBODY);
        }
        command.spawn().expect("PgBouncer runs: scripts/bring.sh pgbouncer brings it")
    }

    async fn listens(&mut self) {
        let wait = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                assert_eq!(self.process.try_wait().expect("a child"), None, "PgBouncer has ended");
                a_moment().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("PgBouncer listens");
    }

    /// Ends it with all of its connections, and starts it again at the same port.
    async fn restart(&mut self) {
        self.process.kill().expect("it is there to be killed");
        self.process.wait().expect("it is dead");
        self.process = Self::run(self.folder.path());
        self.listens().await;
    }

    /// Returns the database through this pooler.
    fn before(&self, database: &TestDatabase) -> TestDatabase {
        let (start, name) = database.url.rsplit_once('/').expect("a name");
        let (login, _) = start.rsplit_once(':').expect("a port");
        TestDatabase::at(format!("{login}:{}/{name}", self.port))
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test]
async fn two_nodes_behind_a_pooler_in_session_mode_wake_each_other_and_outlive_it() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let mut pooler = PgBouncer::start(&database, "session").await;
    let here = TestDesk::open(&pooler.before(&database)).await;
    let there = Process::serve(&pooler.before(&database).url).await;
    let mut queue = Following::start(&format!("ws://{}/graphql", there.address), QUEUE, json!({})).await;
    queue.items_until("Live").await;
    for number in 1..=20 {
        here.incident(&format!("Impossible travel of account {number}")).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 20 {
        let item = queue.item().await;
        if !matches!(short(&item).1.as_str(), "Heartbeat" | "Live") {
            seen.push(offset(&item["position"]));
        }
    }
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());

    pooler.restart().await;
    let create =
        "mutation { createIncident(input: {title: \"Beaconing to a new domain\", severity: HIGH}) { position } }";
    let again = async {
        // A mutation on a connection that ended with the pooler is refused and has changed nothing.
        while !here.graphql_as(None, create, json!({})).await["errors"].is_null() {
            a_moment().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the node connects again");
    assert_eq!(offset(&queue.change().await["position"]), 21, "the stream of the other node goes on where it was");
}

#[tokio::test]
async fn transaction_pooling_is_refused_before_anything_is_asked() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    for mode in ["transaction", "session"] {
        let pooler = PgBouncer::start(&database, mode).await;
        let url = pooler.before(&database).url;
        let options =
            StoreOptions { url: url.clone(), connections: 5, acquire_timeout: Duration::from_secs(5), notify: true };
        assert_eq!(options.refuse_transaction_pooling().await.is_err(), mode == "transaction", "{mode}");
        let run = Command::new(env!("CARGO_BIN_EXE_watchfloor")).args(["migrate", "--database-url", &url]).output();
        let run = run.expect("the binary runs");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(if mode == "transaction" { 1 } else { 0 }), "{mode}: {said}");
        assert_eq!(said.contains("set pool_mode = session"), mode == "transaction", "{said}");
        assert!(!said.contains("prepared statement"), "{said}");
    }
    let direct = StoreOptions {
        url: database.url.clone(),
        connections: 5,
        acquire_timeout: Duration::from_secs(5),
        notify: true,
    };
    direct.refuse_transaction_pooling().await.expect("sessions of its own");
}
