//! The subcommands: what each opens, runs and prints.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::config::{Action, Database, Demo, Import, Serve, Serving};
use crate::domain::clock::Clock;
use crate::graphql::{self, Limits};
use crate::import::{self, Options, Progress, Source as ImportSource, Summary, print_summary};
use crate::realtime::RingLimits;
use crate::realtime::feed::Source;
use crate::sample;
use crate::server::{Desk, listen};
use crate::storage::Store;

/// The ring of a desk that nobody follows: an import.
const NO_RING: RingLimits = RingLimits { changes: 1, bytes: 1 };

/// Readers of the sample desk: one screen and a few curious people.
const DEMO_CONNECTIONS: u32 = 8;

/// Runs a subcommand to its end.
pub fn run(action: Action) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        match action {
            Action::Serve(options) => serve_desk(options).await,
            Action::Demo(options) => serve_demo(options).await,
            Action::Import(options) => import_file(options).await,
            Action::Migrate(database) => migrate(&database).await,
            Action::Schema => say(&graphql::sdl()),
        }
    })
}

fn say(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("writing to standard output")
}

async fn connect(database: &Database) -> Result<Store> {
    let options = database.options().map_err(anyhow::Error::msg)?;
    if let Some(folder) = database.folder().filter(|folder| !folder.is_dir()) {
        let folder = folder.display();
        bail!("there is no folder {folder} for the database: make it, or name another file (--database-url)");
    }
    let is_file = options.url.starts_with("sqlite:");
    Store::connect(options).await.map_err(|error| {
        let cause = root_cause(&error);
        match is_file {
            true => {
                anyhow!("cannot open the database's file: {cause}; may this user read and write it and its folder?")
            }
            false => anyhow!(
                "cannot connect to PostgreSQL: {cause}; does it run, and are address, user and password right \
                 (--database-url, WATCHFLOOR_DATABASE_URL)?"
            ),
        }
    })
}

/// What lies at the bottom of an error: each layer above it says the same once more.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.map_or_else(|| error.to_string(), ToString::to_string)
}

/// The desk with its place for the bytes of attachments. A folder is made by the first upload; what is no folder is
/// found out now.
fn with_objects(app: App, serving: &Serving, database: &Database) -> Result<App> {
    let objects = serving.objects(database.folder()).context("finding the place for attachments")?;
    if let Some(place) = objects.folder().filter(|place| place.exists() && !place.is_dir()) {
        bail!("{} is no folder for attachments: name another (--attachments)", place.display());
    }
    Ok(app.with_objects(objects))
}

async fn migrate(database: &Database) -> Result<()> {
    let store = connect(database).await?;
    store.migrate().await.context("migrating")?;
    store.close().await?;
    say("the database's schema is up to date\n")
}

async fn serve_desk(options: Serve) -> Result<()> {
    loopback_only(&options.serving)?;
    let store = connect(&options.database).await?;
    for caution in store.cautions().await.context("reading the database's settings")? {
        tracing::warn!("{caution}");
    }
    let (app, relay) = App::open(store, options.serving.ring(), Clock::System).await.context("opening the desk")?;
    let app = with_objects(app, &options.serving, &options.database)?;
    serve(app, relay, &options.serving, |address| {
        tracing::info!(
            listen = %address,
            "serving http://{address}/graphql, GraphiQL at http://{address}/graphiql, the wall at http://{address}/wall; no identity is configured: loopback \
             only, and the caller is the local manager or whoever `Watchfloor-Actor` names"
        );
        Ok(())
    })
    .await
}

async fn serve_demo(options: Demo) -> Result<()> {
    loopback_only(&options.serving)?;
    if let Some(folder) = options.file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    }
    let Some(path) = options.file.to_str() else { bail!("the demo's file has a name that is not text") };
    let database = Database {
        database_url: format!("sqlite://{path}"),
        database_connections: DEMO_CONNECTIONS,
        database_wait_seconds: 10,
        notify: false,
    };
    let store = connect(&database).await?;
    let (app, relay) = App::open(store, options.serving.ring(), Clock::System).await.context("opening the desk")?;
    let app = with_objects(app, &options.serving, &database)?;
    let story_start = app.clock.now();
    let told = app.store.read().await?.head().await?.offset > 0;
    if !told {
        load_sample(&app, options.seed).await.context("writing the sample desk")?;
    }
    if options.live {
        // Ends with the process: what it has applied by then is on disk.
        tokio::spawn(go_on(app.clone(), options.seed, story_start, options.pace));
    }
    let file = std::fs::canonicalize(&options.file).unwrap_or(options.file.clone());
    serve(app, relay, &options.serving, move |address| say(&welcome(address, &file, options.live))).await
}

async fn load_sample(app: &App, seed: u64) -> Result<()> {
    let records = sample::desk(seed, app.clock.now());
    let bar = bar(Some(records.len() as u64), "{msg} {wide_bar} {pos}/{len}");
    bar.set_message("writing the sample desk");
    let summary = import::apply_records(app, records, |progress| bar.set_position(progress.records)).await?;
    bar.finish_and_clear();
    if let Some(bad) = summary.bad.first() {
        bail!("record {} of the sample desk was refused: {}", bad.line, bad.reason);
    }
    Ok(())
}

/// Tells the story on, one record at a time, as fast as was chosen.
async fn go_on(app: App, seed: u64, now: crate::domain::Instant, pace: u32) {
    for beat in sample::live::Story::new(seed, now) {
        tokio::time::sleep(beat.delay / pace).await;
        let record = sample::live::told_at(beat.record, app.clock.now());
        match import::apply_records(&app, [record], |_| {}).await {
            Ok(summary) => {
                for bad in summary.bad {
                    tracing::warn!(reason = %bad.reason, "the desk refused a record of the story");
                }
            }
            Err(error) => tracing::warn!(%error, "a record of the story could not be applied"),
        }
    }
}

fn welcome(address: SocketAddr, file: &Path, live: bool) -> String {
    let file = file.display();
    let pace = if live { "The story goes on by itself." } else { "`--live` keeps the story going." };
    format!(
        r#"
Watchfloor's sample desk is open.

  Wall       http://{address}/wall   (the screen for everybody in the room; F for the full screen)
  GraphiQL   http://{address}/graphiql
  GraphQL    http://{address}/graphql   (HTTP POST, WebSocket, event streams, multipart)
  Data       {file}   (SQLite; delete it for a fresh desk)

No identity is configured: it answers this machine only, and you are the local manager, or whoever the
header `Watchfloor-Actor: <account>` names. {pace} Ctrl-C ends it.

Three operations to paste into GraphiQL, the second in a tab of its own, left running:

  query Queue {{ incidents(first: 5, filter: {{ severity: [HIGH] }}) {{ totalCount position
    edges {{ node {{ reference title severity status owner {{ name }} alertCount }} }} }} }}

  subscription Live {{ incidentQueue {{ __typename position
    ... on QueueEntered {{ row {{ reference title severity }} }}
    ... on QueueUpdated {{ row {{ reference title status }} changedFields }}
    ... on QueueLeft {{ incidentId reason }} }} }}

  mutation Report {{ createIncident(input: {{ severity: HIGH, owner: {{ me: true }}, tags: ["reported by phone"],
    title: "Unknown visitor photographing badge readers, building 4" }}) {{ incident {{ reference }} position }} }}

"#
    )
}

async fn import_file(options: Import) -> Result<()> {
    let store = connect(&options.database).await?;
    let (app, relay) = App::open(store, NO_RING, Clock::System).await.context("opening the desk")?;
    let source = match options.file.to_str() {
        Some("-") => ImportSource::reader(std::io::stdin()),
        _ => ImportSource::open(&options.file)?,
    };
    let bar = bar(None, "{spinner} {msg} {wide_bar} {bytes}/{total_bytes} {eta}");
    let how = Options { format: options.format, strict: options.strict };
    let summary: Summary = import::import(&app, source, how, |progress: Progress| {
        if let Some(total) = progress.bytes_total {
            bar.set_length(total);
        }
        bar.set_position(progress.bytes);
        bar.set_message(format!("{} records", progress.records));
    })
    .await
    .with_context(|| format!("importing {}", options.file.display()))?;
    bar.finish_and_clear();
    close(&app, relay).await?;
    say(&print_summary(&summary))?;
    if summary.bad_total > 0 {
        let end = if summary.stopped { "; it stopped there (--strict)" } else { "" };
        bail!("{} of {} records could not be imported{end}", summary.bad_total, summary.records);
    }
    Ok(())
}

/// A progress bar on a terminal; nothing elsewhere.
fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length.unwrap_or(0));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Without identity anybody who reaches the desk is a manager: so nobody beyond this machine may.
fn loopback_only(serving: &Serving) -> Result<()> {
    if serving.listen.ip().is_loopback() {
        return Ok(());
    }
    bail!(
        "{} is not a loopback address: without identity the desk serves this machine only (--listen 127.0.0.1:8080)",
        serving.listen
    )
}

/// Ends the relay, then closes the database: the other way round it would ask a closed pool, and complain.
async fn close(app: &App, relay: JoinHandle<()>) -> Result<()> {
    relay.abort();
    // It was told to end: how it ended is no news.
    relay.await.ok();
    app.store.close().await.context("closing the database")
}

async fn serve(
    app: App,
    relay: JoinHandle<()>,
    serving: &Serving,
    opened: impl FnOnce(SocketAddr) -> Result<()>,
) -> Result<()> {
    let listener = listen::bind(serving.listen).await.context("choose another address with --listen")?;
    opened(listener.local_addr().context("reading the address that is listened on")?)?;
    let floor = chrono::Duration::days(i64::from(serving.stream_floor_days));
    // Ends with the process: the floor is where the last hour left it.
    tokio::spawn(app.clone().keep_floor(floor));
    tokio::spawn(app.clone().keep_attachments());
    let source = Source { store: app.store.clone(), hub: app.hub.clone(), heartbeat: serving.heartbeat() };
    let desk = Desk::new(
        app.clone(),
        graphql::schema(app.clone(), source, Limits { page_items_max: i32::from(serving.page_items_max) }),
    );
    listen::serve(listener, desk, serving.settings()).await.context("serving")?;
    close(&app, relay).await
}
