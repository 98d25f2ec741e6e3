//! Every setting: its flag, its environment variable, its default and its reason. Only this file reads the environment.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};

use crate::app::upload::{UploadSettings, Uploads};
use crate::domain::account::Role;
use crate::domain::policy::Policies;
use crate::domain::{self, Error};
use crate::graphql::ApiLimits;
use crate::realtime::RealtimeLimits;
use crate::realtime::board::BOARD_INCIDENTS_MAX;
use crate::realtime::budget::StreamLimits;
use crate::server::edge::connections::{ConnectionSettings, network};
use crate::server::edge::origin::{Origin, Origins};
use crate::server::execution::executor::WorkSettings;
use crate::server::settings::Settings;
use crate::storage::{Objects, StoreOptions, honoured_address};

/// The largest value of a setting of bytes or changes: 16 GiB. A larger value is taken for a mistake.
const MEMORY_MAX: u64 = 16 << 30;

/// The version, the commit of the sources and its date: `0.1.0 (a1b2c3d, 2026-11-30)`.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("WATCHFLOOR_BUILD"), ")");

/// Watchfloor: the incident desk of a security operations centre, as a GraphQL service with exact live queues.
#[derive(Debug, Parser)]
#[command(version = VERSION, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub action: Action,
}

/// The subcommands of the binary.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Serve the desk: GraphQL at /graphql (HTTP, WebSocket, event streams, multipart), GraphiQL at /graphiql, the wall
    /// at /wall.
    ///
    /// The schema of the database is brought up to date first; several nodes may start on one database at once. Without
    /// identity the desk serves loopback only, and the caller is a local manager, or whoever the header
    /// `Watchfloor-Actor: <account>` names.
    Serve(Serve),
    /// Serve a sample desk: 30 days of believable incidents in an SQLite file of its own.
    Demo(Demo),
    /// Import a file: our own NDJSON, Microsoft Sentinel, SecurityAlert rows, Microsoft Graph security.
    ///
    /// Bad records are reported with their line and the others go in. The same file twice changes nothing. The formats
    /// are described in docs/IMPORT.md.
    Import(Import),
    /// Generate a desk of any size: believable incidents with alerts, comments and the whole log, for tests under load.
    ///
    /// The same size, seed and end give the same desk. It is loaded in bulk into an empty database, or written as
    /// NDJSON that `import` takes. No node may use the database meanwhile (docs/OPERATIONS.md, "A desk for a load
    /// test").
    Generate(Generate),
    /// Prove that the log is what was written, and that the desk shows what it adds up to; or the same of an exported
    /// log.
    ///
    /// Reads one snapshot, changes nothing, and may run beside the desk. Ends with 1 at the first break, which it
    /// names. What that proves, and what it does not, is in docs/EVIDENCE.md.
    Verify(Verify),
    /// Write the log of one incident as NDJSON, signed by the desk.
    ExportLog(ExportLog),
    /// Bring the database's schema up to date, and do nothing else.
    Migrate(Database),
    /// Print the GraphQL schema.
    Schema,
}

/// The database settings.
#[derive(Args, Clone, Debug)]
pub struct Database {
    /// Where the desk keeps its data: sqlite://path/to/file.db, or postgres://user:password@host/database.
    #[arg(long, env = "WATCHFLOOR_DATABASE_URL", default_value = "sqlite://watchfloor.db", hide_env_values = true)]
    pub database_url: String,
    /// Connections held open: readers beside the one writer (SQLite), or all of them (PostgreSQL).
    #[arg(long, env = "WATCHFLOOR_DATABASE_CONNECTIONS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub database_connections: u32,
    /// Seconds that a request waits for a connection before it is told that the desk is busy.
    #[arg(long, env = "WATCHFLOOR_DATABASE_WAIT_SECONDS", default_value_t = 10, value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600))]
    pub database_wait_seconds: u64,
    /// Whether nodes on one PostgreSQL wake each other by NOTIFY. If not, they look every 100 ms.
    #[arg(long, env = "WATCHFLOOR_NOTIFY", default_value_t = true, action = clap::ArgAction::Set, value_name = "TRUTH")]
    pub notify: bool,
}

impl Database {
    /// Returns the path of the SQLite file.
    pub fn file(&self) -> Option<&Path> {
        let path = self.database_url.strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        Some(Path::new(path.split_once('?').map_or(path, |(path, _)| path)))
    }

    /// Returns the folder of the SQLite file.
    pub fn folder(&self) -> Option<&Path> {
        self.file()?.parent().filter(|folder| !folder.as_os_str().is_empty())
    }

    /// Returns how many operations run at once on the connections.
    pub fn work(&self) -> WorkSettings {
        WorkSettings::over(self.database_connections, Duration::from_secs(self.database_wait_seconds))
    }

    /// Returns how to reach the database, or a line of advice if the kind of the address is unknown.
    pub fn options(&self) -> Result<StoreOptions, String> {
        let known = ["sqlite://", "sqlite:", "postgres://", "postgresql://"];
        if !known.iter().any(|scheme| self.database_url.starts_with(scheme)) {
            return Err(
                "the database URL starts with sqlite:// or postgres:// (--database-url, WATCHFLOOR_DATABASE_URL)"
                    .to_owned(),
            );
        }
        if is_in_memory(&self.database_url) {
            return Err("the desk keeps nothing in memory, where its connections would not meet: name a file, \
                        sqlite://watchfloor.db (--database-url, WATCHFLOOR_DATABASE_URL)"
                .to_owned());
        }
        Ok(StoreOptions {
            url: honoured_address(&self.database_url).map_err(|refused| refused.to_string())?,
            connections: self.database_connections,
            acquire_timeout: Duration::from_secs(self.database_wait_seconds),
            notify: self.notify,
        })
    }
}

/// The ways in which SQLite names a database without a file.
fn is_in_memory(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("sqlite:") else { return false };
    let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.trim_start_matches("//");
    path.is_empty() || path.contains(":memory:") || options.split('&').any(|option| option == "mode=memory")
}

/// The settings of the signing key.
#[derive(Args, Clone, Debug)]
pub struct Signing {
    /// The file of the desk's signing key: PKCS#8 in PEM, Ed25519. Made at first use, for its owner only; beside the
    /// SQLite file where none is named, or watchfloor.key.pem in this folder. Nodes on one PostgreSQL take copies of
    /// one file.
    #[arg(long, env = "WATCHFLOOR_SIGNING_KEY", value_name = "FILE")]
    pub signing_key: Option<PathBuf>,
}

impl Signing {
    /// Returns the path of the key's file for a desk on this database.
    pub fn file(&self, database: &Database) -> PathBuf {
        let beside = || database.file().unwrap_or(Path::new("watchfloor")).with_extension("key.pem");
        self.signing_key.clone().unwrap_or_else(beside)
    }
}

/// The settings of a server.
#[derive(Args, Clone, Debug)]
pub struct Serving {
    /// Address and port to listen on. Loopback only, while no identity is configured.
    #[arg(long, env = "WATCHFLOOR_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Most connections at once, whatever comes on them; fewer where the process may open fewer files (ulimit -n), of
    /// which it leaves an eighth, or 96, to all else. One too many closes the longest idle one.
    #[arg(long, env = "WATCHFLOOR_CONNECTIONS_MAX", default_value_t = ConnectionSettings::default().connections, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000_000))]
    pub connections_max: usize,
    /// Most connections at once from one address, or from one /64 network of IPv6.
    #[arg(long, env = "WATCHFLOOR_CONNECTIONS_PER_ADDRESS_MAX", default_value_t = ConnectionSettings::default().per_address, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000_000))]
    pub connections_per_address_max: usize,
    /// Seconds that a connection may take to send the head of a request.
    #[arg(long, env = "WATCHFLOOR_HEAD_SECONDS_MAX", default_value_t = ConnectionSettings::default().head_wait.as_secs(), value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600))]
    pub head_seconds_max: u64,
    /// Seconds that a connection may lie idle between two requests. Longer than a load balancer in front keeps its own.
    #[arg(long, env = "WATCHFLOOR_IDLE_SECONDS_MAX", default_value_t = ConnectionSettings::default().idle_wait.as_secs(), value_parser = RangedU64ValueParser::<u64>::new().range(1..=86_400))]
    pub idle_seconds_max: u64,
    /// Bytes a second that an upload must bring, over 10 s. A slower upload is ended, because it keeps others waiting.
    #[arg(long, env = "WATCHFLOOR_UPLOAD_BYTES_PER_SECOND_MIN", default_value_t = UploadSettings::default().bytes_per_second_min, value_parser = RangedU64ValueParser::<u64>::new().range(1..=MEMORY_MAX))]
    pub upload_bytes_per_second_min: u64,
    /// Most uploads of one account, or from one address, that are under way at once.
    #[arg(long, env = "WATCHFLOOR_UPLOADS_OF_ONE_MAX", default_value_t = UploadSettings::default().begun_of_one, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub uploads_of_one_max: usize,
    /// Networks of proxies, such as 10.0.0.0/8 or one address, that speak for many clients: limits per address do not
    /// apply to them. Several are separated by commas.
    #[arg(long = "trusted-proxy", env = "WATCHFLOOR_TRUSTED_PROXIES", value_name = "NETWORK", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Other origins whose web pages may use the API, such as `http://localhost:5173` or `https://dashboards.example`:
    /// several are separated by commas, or named by several flags. Pages of all other origins, except the desk's own,
    /// are refused. The desk also answers requests to the hosts of these origins.
    #[arg(long = "allowed-origin", env = "WATCHFLOOR_ALLOWED_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub allowed_origins: Vec<Origin>,
    /// Seconds between the heartbeats of a stream.
    #[arg(long, env = "WATCHFLOOR_HEARTBEAT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub heartbeat_seconds: u64,
    /// Days that a client may be away and still go on from its last position. The changes themselves are kept for ever.
    #[arg(long, env = "WATCHFLOOR_STREAM_FLOOR_DAYS", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    pub stream_floor_days: u16,
    /// Seconds that one statement of a request may take before the request is refused; a whole query may take three
    /// times as long. Jobs, imports, exports and the desk's own work have a minute.
    #[arg(long, env = "WATCHFLOOR_STATEMENT_SECONDS_MAX", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub statement_seconds_max: u64,
    /// Newest changes kept in memory, for clients that come back: by count.
    #[arg(long, env = "WATCHFLOOR_RING_CHANGES", default_value_t = 20_000, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MEMORY_MAX))]
    pub ring_changes: usize,
    /// Newest changes kept in memory, for clients that come back: in bytes, as stored.
    #[arg(long, env = "WATCHFLOOR_RING_BYTES", default_value_t = 64 << 20, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MEMORY_MAX))]
    pub ring_bytes: usize,
    /// Open incidents that the board holds in memory, about 1 KiB each: pages, counts and facets of open queues come
    /// from it. If more are open, they come from the database. 0 for no board.
    #[arg(long, env = "WATCHFLOOR_BOARD_INCIDENTS_MAX", default_value_t = BOARD_INCIDENTS_MAX, value_parser = RangedU64ValueParser::<usize>::new().range(0..=MEMORY_MAX))]
    pub board_incidents_max: usize,
    /// Largest request body, in bytes. It bounds the length of a title.
    #[arg(long, env = "WATCHFLOOR_BODY_BYTES_MAX", default_value_t = 2 << 20, value_parser = RangedU64ValueParser::<usize>::new().range(1_024..=MEMORY_MAX))]
    pub body_bytes_max: usize,
    /// Largest GraphQL document, in bytes.
    #[arg(long, env = "WATCHFLOOR_DOCUMENT_BYTES_MAX", default_value_t = crate::server::operation::limits::DocumentLimits::default().document_bytes, value_parser = RangedU64ValueParser::<usize>::new().range(1_024..=MEMORY_MAX))]
    pub document_bytes_max: usize,
    /// Deepest nesting of a GraphQL document.
    #[arg(long, env = "WATCHFLOOR_DOCUMENT_DEPTH_MAX", default_value_t = crate::server::operation::limits::DocumentLimits::default().depth, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    pub document_depth_max: usize,
    /// Most aliases of a GraphQL document.
    #[arg(long, env = "WATCHFLOOR_DOCUMENT_ALIASES_MAX", default_value_t = crate::server::operation::limits::DocumentLimits::default().aliases, value_parser = RangedU64ValueParser::<usize>::new().range(0..=1_000_000))]
    pub document_aliases_max: usize,
    /// Most fields that a GraphQL document may ask for, pages multiplied out.
    #[arg(long, env = "WATCHFLOOR_DOCUMENT_COST_MAX", default_value_t = crate::server::operation::limits::DocumentLimits::default().cost, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000_000))]
    pub document_cost_max: usize,
    /// Largest answer, and largest item of a stream, in bytes of JSON. Beyond it, a query is refused, and the lists in
    /// other answers are cut. Exports are not limited by it.
    #[arg(long, env = "WATCHFLOOR_ANSWER_BYTES_MAX", default_value_t = crate::server::execution::answer_memory::AnswerSettings::default().bytes, value_parser = RangedU64ValueParser::<usize>::new().range(65_536..=MEMORY_MAX))]
    pub answer_bytes_max: usize,
    /// Bytes of all answers that are made or written at once. An operation waits for its share for 5 seconds, and is
    /// then refused with UNAVAILABLE. Up to three times as much memory is used.
    #[arg(long, env = "WATCHFLOOR_ANSWERS_BYTES_MAX", default_value_t = crate::server::execution::answer_memory::AnswerSettings::default().total_bytes, value_parser = RangedU64ValueParser::<usize>::new().range(1_048_576..=MEMORY_MAX))]
    pub answers_bytes_max: usize,
    /// Most items of one page.
    #[arg(long, env = "WATCHFLOOR_PAGE_ITEMS_MAX", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub page_items_max: u16,
    /// Most subscriptions on one socket.
    #[arg(long, env = "WATCHFLOOR_SUBSCRIPTIONS_PER_SOCKET_MAX", default_value_t = 100, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub subscriptions_per_socket_max: usize,
    /// Most sockets at once, streaming HTTP responses included.
    #[arg(long, env = "WATCHFLOOR_SOCKETS_MAX", default_value_t = crate::server::edge::admission::AdmissionSettings::default().sockets)]
    pub sockets_max: usize,
    /// Most sockets at once from one address. Behind a proxy all of them have one.
    #[arg(long, env = "WATCHFLOOR_SOCKETS_PER_ADDRESS_MAX", default_value_t = crate::server::edge::admission::AdmissionSettings::default().sockets_per_address)]
    pub sockets_per_address_max: usize,
    /// Most sockets at once of one account. A client that names no account is the local manager.
    #[arg(long, env = "WATCHFLOOR_SOCKETS_PER_PRINCIPAL_MAX", default_value_t = crate::server::edge::admission::AdmissionSettings::default().sockets_per_principal)]
    pub sockets_per_principal_max: usize,
    /// Bytes that all streams may take, by what they ask for. Half of it is the most of one account.
    #[arg(long, env = "WATCHFLOOR_STREAM_BYTES_MAX", default_value_t = StreamLimits::default().bytes, value_parser = RangedU64ValueParser::<usize>::new().range(1_048_576..=MEMORY_MAX))]
    pub stream_bytes_max: usize,
    /// Conditions that the filters of all streams may hold against one change. Half of it is the most of one account.
    #[arg(long, env = "WATCHFLOOR_STREAM_WORK_MAX", default_value_t = StreamLimits::default().work, value_parser = RangedU64ValueParser::<usize>::new().range(100..=100_000_000))]
    pub stream_work_max: usize,
    /// Whether sockets also speak graphql-ws, the subprotocol of subscriptions-transport-ws, beside
    /// graphql-transport-ws.
    #[arg(long, env = "WATCHFLOOR_LEGACY_SUBPROTOCOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub legacy_subprotocol: bool,
    /// Seconds of silence after which an event stream or a multipart response says that it lives. Proxies cut at 60.
    #[arg(long, env = "WATCHFLOOR_KEEP_ALIVE_SECONDS", default_value_t = crate::server::settings::StreamSettings::default().keep_alive.as_secs(), value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600))]
    pub keep_alive_seconds: u64,
    /// Seconds that a client may take to accept one message before its socket is closed with 1013, to come back; twice
    /// as long before any other connection is cut.
    #[arg(long, env = "WATCHFLOOR_WRITE_SECONDS_MAX", default_value_t = crate::server::settings::SocketSettings::default().write_deadline.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub write_seconds_max: u64,
    /// Newest frames that subscribers of one query share, for subscribers that are behind or resume: by count.
    #[arg(long, env = "WATCHFLOOR_GROUP_FRAMES", default_value_t = crate::server::share::group_settings::GroupSettings::default().tail_frames)]
    pub group_frames: usize,
    /// Newest frames that subscribers of one query share, for subscribers that are behind or resume: in bytes.
    #[arg(long, env = "WATCHFLOOR_GROUP_BYTES", default_value_t = crate::server::share::group_settings::GroupSettings::default().tail_bytes)]
    pub group_bytes: usize,
    /// The policies for resolving and reopening.
    #[command(flatten)]
    pub policy: Policy,
    /// The signing key.
    #[command(flatten)]
    pub signing: Signing,
    /// Where the images of comments are kept: a folder, or s3://bucket/prefix, reached as AWS's own variables say
    /// (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL …). All nodes of a desk need the same place. The folder
    /// `attachments` beside the SQLite file, or where the desk was started, if none is given.
    #[arg(long, env = "WATCHFLOOR_ATTACHMENTS", value_name = "PLACE")]
    pub attachments: Option<String>,
}

/// The policies of a desk, which it may require beyond the product's own rules. Imports are exempt, because they record
/// how incidents ended elsewhere.
#[derive(Args, Clone, Debug)]
pub struct Policy {
    /// Whether an incident is resolved only with a resolution note.
    #[arg(long, env = "WATCHFLOOR_RESOLVE_NEEDS_NOTE", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "TRUTH")]
    pub resolve_needs_note: bool,
    /// Whether an incident is resolved only with a classification, given then or before.
    #[arg(long, env = "WATCHFLOOR_RESOLVE_NEEDS_CLASSIFICATION", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "TRUTH")]
    pub resolve_needs_classification: bool,
    /// Who may reopen a resolved incident: every responder, or managers alone.
    #[arg(long, env = "WATCHFLOOR_REOPEN_ROLE", value_enum, default_value_t = ReopenRole::Responder, value_name = "ROLE")]
    pub reopen_role: ReopenRole,
    /// Whether a feed's report of an active alert reopens the resolved incident that holds the alert, whoever may else
    /// reopen it. Otherwise the incident stays resolved, and `hasActiveAlerts` says so.
    #[arg(long, env = "WATCHFLOOR_REOPEN_FOR_ACTIVE_ALERTS", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "TRUTH")]
    pub reopen_for_active_alerts: bool,
}

/// The people who may reopen a resolved incident. A reader never may, because reopening is triage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReopenRole {
    /// Every responder.
    Responder,
    /// Managers.
    Manager,
}

impl Serving {
    /// Returns the limits of the transports.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.limits.document_bytes = self.document_bytes_max;
        settings.limits.depth = self.document_depth_max;
        settings.limits.aliases = self.document_aliases_max;
        settings.limits.cost = self.document_cost_max;
        settings.http.body_bytes = self.body_bytes_max;
        settings.socket.message_bytes = self.body_bytes_max;
        settings.socket.write_deadline = Duration::from_secs(self.write_seconds_max);
        // A connection is cut below its socket, and by then the socket must have sent its reason.
        settings.http.write_deadline = 2 * settings.socket.write_deadline;
        settings.socket.subscriptions = self.subscriptions_per_socket_max;
        settings.socket.legacy = self.legacy_subprotocol;
        settings.streams.keep_alive = Duration::from_secs(self.keep_alive_seconds);
        settings.admission.sockets = self.sockets_max;
        settings.admission.sockets_per_address = self.sockets_per_address_max;
        settings.admission.sockets_per_principal = self.sockets_per_principal_max;
        settings.answers.bytes = self.answer_bytes_max;
        settings.answers.total_bytes = self.answers_bytes_max;
        settings.groups.tail_frames = self.group_frames;
        settings.groups.tail_bytes = self.group_bytes;
        settings.connections = ConnectionSettings {
            connections: self.connections_max,
            per_address: self.connections_per_address_max,
            head_wait: Duration::from_secs(self.head_seconds_max),
            idle_wait: Duration::from_secs(self.idle_seconds_max),
            trusted_proxies: self.trusted_proxies.clone(),
        };
        settings.origins = Origins::allowing(&self.allowed_origins);
        settings
    }

    /// Returns the limits of the API itself.
    pub fn limits(&self) -> ApiLimits {
        let (bytes, work) = (self.stream_bytes_max, self.stream_work_max);
        let streams = StreamLimits { bytes, bytes_per_principal: bytes / 2, work, work_per_principal: work / 2 };
        ApiLimits { page_items_max: i32::from(self.page_items_max), streams }
    }

    /// Returns the policies of the desk.
    pub fn policies(&self) -> Policies {
        Policies {
            resolve_needs_note: self.policy.resolve_needs_note,
            resolve_needs_classification: self.policy.resolve_needs_classification,
            reopen_role: match self.policy.reopen_role {
                ReopenRole::Responder => Role::Responder,
                ReopenRole::Manager => Role::Manager,
            },
            reopen_for_active_alerts: self.policy.reopen_for_active_alerts,
        }
    }

    /// Returns the store of attachments; `beside` is the folder of an SQLite file.
    pub fn objects(&self, beside: Option<&Path>) -> domain::Result<Objects> {
        let Some(place) = &self.attachments else {
            return Ok(Objects::in_folder(beside.unwrap_or(Path::new("")).join("attachments")));
        };
        match place.split_once("://") {
            None if place.trim().is_empty() => Err(Error::invalid("attachments", format!("attachments need {PLACES}"))),
            None => Ok(Objects::in_folder(PathBuf::from(place))),
            Some(("s3", rest)) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                Objects::in_bucket(bucket, prefix, &aws_settings())
            }
            Some((scheme, _)) => {
                let message = format!("attachments are not kept at {scheme}://: they need {PLACES}");
                Err(Error::invalid("attachments", message))
            }
        }
    }

    /// Returns the limits of uploads.
    pub fn uploads(&self) -> Uploads {
        Uploads::within(UploadSettings {
            bytes_per_second_min: self.upload_bytes_per_second_min,
            begun_of_one: self.uploads_of_one_max,
            ..UploadSettings::default()
        })
    }

    /// Returns how much of the newest log is kept in memory.
    pub fn ring(&self) -> RealtimeLimits {
        RealtimeLimits { changes: self.ring_changes, bytes: self.ring_bytes, incidents: self.board_incidents_max }
    }

    /// Returns the time between two heartbeats of a stream.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.heartbeat_seconds)
    }
}

/// The valid forms of `--attachments`.
const PLACES: &str = "a folder or s3://bucket/prefix (--attachments, WATCHFLOOR_ATTACHMENTS)";

/// Returns AWS's settings from the environment, as AWS's own tools read them. They have too many forms of credentials
/// for flags of this program.
fn aws_settings() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with("AWS_")).collect()
}

/// The arguments of `serve`.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The server's settings.
    #[command(flatten)]
    pub serving: Serving,
}

/// The arguments of `import`.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// The file to read; - for standard input.
    pub file: PathBuf,
    /// The file's format: watchfloor, sentinel, security-alert or graph. Told by how the file begins where none is
    /// given.
    #[arg(long)]
    pub format: Option<crate::import::Format>,
    /// Stop at the first bad record.
    #[arg(long)]
    pub strict: bool,
    /// The database to import into.
    #[command(flatten)]
    pub database: Database,
}

/// The arguments of `generate`.
#[derive(Args, Clone, Debug)]
pub struct Generate {
    /// How many incidents.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub incidents: u64,
    /// The seed, which chooses among the desks of that size: the same number gives the same desk.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// How many percent of the incidents are open, new or active. The others are resolved.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub open_percent: u8,
    /// The time of the desk's last state. All of it happened in the 30 days before, or in more days from 60,000
    /// incidents on.
    #[arg(long, default_value = "2026-06-01T00:00:00Z", value_name = "INSTANT")]
    pub end: domain::Instant,
    /// Write the desk as NDJSON in the desk's own format into this file, - for standard output, and into no database.
    #[arg(long, value_name = "FILE")]
    pub ndjson: Option<PathBuf>,
    /// The database to load.
    #[command(flatten)]
    pub database: Database,
}

/// The arguments of `verify`.
#[derive(Args, Clone, Debug)]
pub struct Verify {
    /// Begin at this position, which you have kept. Proves that the log still holds it; earlier changes are not
    /// checked.
    #[arg(long, value_name = "POSITION", conflicts_with = "export")]
    pub from: Option<String>,
    /// Look through this exported log instead; it needs no database.
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// The public key that must have signed the export: a PEM file, or 64 hexadecimal digits.
    #[arg(long, value_name = "KEY", requires = "export")]
    pub key: Option<String>,
    /// The database to verify.
    #[command(flatten)]
    pub database: Database,
}

/// The arguments of `export-log`.
#[derive(Args, Clone, Debug)]
pub struct ExportLog {
    /// The incident: INC-7, 7, or its global id. Deleted incidents can be exported too.
    pub incident: String,
    /// The file to write; standard output by default.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The signing key.
    #[command(flatten)]
    pub signing: Signing,
    /// The database to export from.
    #[command(flatten)]
    pub database: Database,
}

/// The arguments of `demo`.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// The SQLite file of the sample desk. An existing file is served as it is.
    #[arg(long, env = "WATCHFLOOR_DEMO_FILE", default_value = "data/demo.db")]
    pub file: PathBuf,
    /// Keep the story going, so that every screen moves.
    #[arg(long)]
    pub live: bool,
    /// How much faster than life the story goes with --live: at 60, something happens every eight seconds or so.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pace: u32,
    /// Which story: the same number tells the same one.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// The server's settings.
    #[command(flatten)]
    pub serving: Serving,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_off_until_they_are_set() {
        let policies = |flags: &[&str]| {
            let cli = Cli::try_parse_from(["watchfloor", "serve"].iter().chain(flags)).expect("settings");
            let Action::Serve(serve) = cli.action else { panic!("another action") };
            serve.serving.policies()
        };
        assert_eq!(policies(&[]), Policies::default());
        let set = policies(&[
            "--resolve-needs-note",
            "--resolve-needs-classification=true",
            "--reopen-role",
            "manager",
            "--reopen-for-active-alerts",
        ]);
        let all = Policies {
            resolve_needs_note: true,
            resolve_needs_classification: true,
            reopen_role: Role::Manager,
            reopen_for_active_alerts: true,
        };
        assert_eq!(set, all);
        assert!(Cli::try_parse_from(["watchfloor", "serve", "--reopen-role", "reader"]).is_err());
    }

    #[test]
    fn attachments_lie_beside_the_database_or_where_they_are_told() {
        let place = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["watchfloor", "serve"], arguments].concat()).expect("settings");
            let Action::Serve(serve) = cli.action else { panic!("another action") };
            serve.serving.objects(serve.database.folder()).map(|objects| format!("{objects:?}"))
        };
        for (arguments, folder) in [
            (&[][..], "\"attachments\""),
            (&["--database-url", "sqlite:///var/lib/desk/desk.db"], "\"/var/lib/desk/attachments\""),
            (&["--database-url", "postgres://db/desk"], "\"attachments\""),
            (&["--attachments", "/srv/images"], "\"/srv/images\""),
        ] {
            let place = place(arguments).expect("a place");
            assert!(place.contains(folder), "{arguments:?}: {place}");
        }
        assert!(place(&["--attachments", "s3://evidence/desk/1"]).expect("a bucket").contains("evidence"));
        for elsewhere in ["gs://bucket", "http://minio/bucket", "s3://", ""] {
            place(&["--attachments", elsewhere]).expect_err("no such place");
        }
    }

    #[test]
    fn a_connection_outlasts_the_socket_that_has_to_say_why_it_ends() {
        for seconds in ["1", "10", "3600"] {
            let cli = Cli::try_parse_from(["watchfloor", "serve", "--write-seconds-max", seconds]).expect("settings");
            let Action::Serve(serve) = cli.action else { panic!("another action") };
            let settings = serve.serving.settings();
            let (socket, connection) = (settings.socket.write_deadline, settings.http.write_deadline);
            assert_eq!(socket.as_secs().to_string(), seconds);
            assert!(connection > socket, "{connection:?}");
        }
    }
}
