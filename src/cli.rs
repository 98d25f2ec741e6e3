//! The subcommands: what each opens, runs and prints.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{TryStreamExt, pin_mut};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::app::export::{Export, NamedIncident};
use crate::app::load::{self, DeskCounts, Loaded};
use crate::app::shown::ComparedCounts;
use crate::app::verify::{Verification, Verified};
use crate::app::{App, key, verify};
use crate::config::{Action, Database, Demo, ExportLog, Generate, Import, Serve, Serving, Signing, Verify};
use crate::domain::clock::Clock;
use crate::domain::export::{Checked, Checker};
use crate::domain::instant;
use crate::domain::position::Position;
use crate::domain::signing::{DeskKey, PublicKey};
use crate::graphql;
use crate::import::{self, ImportSource, ImportSummary, Options, Progress, Record, print_summary};
use crate::realtime::RealtimeLimits;
use crate::realtime::feed::FeedSource;
use crate::sample;
use crate::sample::generate::{GeneratePlan, Generated};
use crate::server::execution::executor::WorkSettings;
use crate::server::settings::Settings;
use crate::server::{Desk, listen};
use crate::storage::{Store, keep_private, make_folder};

/// The ring of a desk that nobody follows, as in an import.
const NO_RING: RealtimeLimits = RealtimeLimits { changes: 1, bytes: 1, incidents: 0 };

/// The readers of the sample desk: one screen and a few people.
const DEMO_CONNECTIONS: u32 = 8;

/// The longest line of an export that is read, in bytes: longer than any line that a desk with default settings writes.
const EXPORT_LINE_BYTES_MAX: u64 = 64 << 20;

/// How long closing the database may take when a desk is told to stop. A statement that hangs longer ends with the
/// process.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// The least number of worker threads, so that more than one account has turns at once with the default connections. A
/// long computation occupies one thread, and the system shares the processors among all threads.
const THREADS_MIN: usize = 16;

/// How long the runtime's threads may take to end after all work is done.
const THREADS_END: Duration = Duration::from_millis(500);

/// Runs a subcommand to its end. The exit code is 0, except for an import that did not take everything.
pub fn run(action: Action) -> Result<ExitCode> {
    let threads = std::thread::available_parallelism().map_or(THREADS_MIN, |cores| cores.get().max(THREADS_MIN));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.context("starting the runtime")?;
    let outcome = runtime.block_on(async {
        match action {
            Action::Import(options) => return import_file(options).await,
            Action::Serve(options) => serve_desk(options).await,
            Action::Demo(options) => serve_demo(options).await,
            Action::Generate(options) => generate(options).await,
            Action::Verify(options) => verify(options).await,
            Action::ExportLog(options) => export_log(options).await,
            Action::Migrate(database) => migrate(&database).await,
            Action::Schema => say(&graphql::sdl()),
        }
        .map(|()| ExitCode::SUCCESS)
    });
    runtime.shutdown_timeout(THREADS_END);
    outcome
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
    if let Some(file) = database.file() {
        for end in ["", "-wal", "-shm"] {
            let mut file = file.as_os_str().to_owned();
            file.push(end);
            keep_private(Path::new(&file));
        }
    }
    options.refuse_transaction_pooling().await?;
    Store::connect(options).await.map_err(|error| {
        let cause = root_cause(&error);
        if is_file {
            anyhow!("cannot open the database's file: {cause}; may this user read and write it and its folder?")
        } else {
            anyhow!(
                "cannot connect to PostgreSQL: {cause}; does it run, and are address, user and password right \
                 (--database-url, WATCHFLOOR_DATABASE_URL)?"
            )
        }
    })
}

/// Returns the innermost cause of an error: each outer layer repeats its text.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.map_or_else(|| error.to_string(), ToString::to_string)
}

/// Opens the desk with its store of attachments. The first upload creates the folder; a path that is no folder is
/// refused now.
fn with_objects(app: App, serving: &Serving, database: &Database) -> Result<App> {
    let objects = serving.objects(database.folder()).context("finding the place for attachments")?;
    if let Some(place) = objects.folder().filter(|place| place.exists() && !place.is_dir()) {
        bail!("{} is no folder for attachments: name another (--attachments)", place.display());
    }
    if let Some(place) = objects.folder() {
        keep_private(place);
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
        tracing::warn!(caution, "the database may lose what was acknowledged");
    }
    let (app, relay) = App::open(store, options.serving.ring(), Clock::System).await.context("opening the desk")?;
    let app = App { policies: options.serving.policies(), uploads: options.serving.uploads(), ..app };
    let app = with_objects(app, &options.serving, &options.database)?;
    let key = key_to_serve(&options.serving.signing, &options.database)?;
    let work = options.database.work();
    serve(Open { app, relay, key, work }, &options.serving, |address| {
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
        make_folder(folder).with_context(|| format!("making the folder {}", folder.display()))?;
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
    let app = App { policies: options.serving.policies(), uploads: options.serving.uploads(), ..app };
    let app = with_objects(app, &options.serving, &database)?;
    let story_start = app.clock.now();
    let told = app.store.read().await?.head().await?.offset > 0;
    if !told {
        load_sample(&app, options.seed).await.context("writing the sample desk")?;
    }
    if options.live {
        // This task ends with the process. Everything that it has applied by then is on disk.
        tokio::spawn(go_on(app.clone(), options.seed, story_start, options.pace));
    }
    let file = std::fs::canonicalize(&options.file).unwrap_or(options.file.clone());
    let key = key_to_serve(&options.serving.signing, &database)?;
    let work = database.work();
    serve(Open { app, relay, key, work }, &options.serving, move |address| say(&welcome(address, &file, options.live)))
        .await
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

/// Continues the story, one record at a time, at the chosen pace.
async fn go_on(app: App, seed: u64, now: crate::domain::Instant, pace: u32) {
    for beat in sample::live::LiveStory::new(seed, now) {
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

async fn import_file(options: Import) -> Result<ExitCode> {
    let store = connect(&options.database).await?;
    let (app, relay) = App::open(store, NO_RING, Clock::System).await.context("opening the desk")?;
    let source = match options.file.to_str() {
        Some("-") => ImportSource::reader(std::io::stdin()),
        _ => ImportSource::open(&options.file)?,
    };
    let bar = bar(None, "{spinner} {msg} {wide_bar} {bytes}/{total_bytes} {eta}");
    let how = Options { format: options.format, strict: options.strict };
    let summary: ImportSummary = import::import(&app, source, how, |progress: Progress| {
        if let Some(total) = progress.bytes_total {
            bar.set_length(total);
        }
        bar.set_position(progress.bytes);
        bar.set_message(format!("{} records", progress.records));
    })
    .await
    .with_context(|| format!("importing {}", options.file.display()))?;
    bar.finish_and_clear();
    app.store.optimize().await.context("bringing the database's statistics up to date")?;
    close(&app, relay).await?;
    say(&print_summary(&summary))?;
    Ok(ExitCode::from(summary.verdict().exit_code()))
}

async fn generate(options: Generate) -> Result<()> {
    let end = instant::past("end", options.end, Clock::System.now()).context("--end")?;
    let Generate { incidents, seed, open_percent, .. } = options;
    let desk = Generated::of(GeneratePlan { incidents, seed, open_percent: u64::from(open_percent), end })?;
    let bar = bar(Some(incidents), "{msg} {wide_bar} {pos}/{len} {eta}");
    bar.set_message("generating incidents");
    if let Some(file) = &options.ndjson {
        write_records(&desk, file, &bar).with_context(|| format!("writing {}", file.display()))?;
        bar.finish_and_clear();
        return Ok(());
    }
    let store = connect(&options.database).await?;
    store.migrate().await.context("migrating")?;
    let written = |incidents| bar.set_position(incidents);
    let loaded = load::load(&store, &desk.accounts(), || desk.cases(), &written).await;
    let loaded = loaded.context("generating a desk")?;
    bar.finish_and_clear();
    store.close().await.context("closing the database")?;
    let Loaded { counts, position } = loaded;
    let DeskCounts { new, active, resolved, alerts, lone_alerts, comments, changes } = counts;
    say(&format!(
        "{incidents} incidents ({new} new, {active} active, {resolved} resolved) with {alerts} alerts and {comments} comments, \
         {lone_alerts} alerts of no incident, and {changes} changes in the log.\nIt ends at position {position}. \
         `watchfloor verify` proves it.\n"
    ))
}

/// Writes a desk as records, one a line.
fn write_records(desk: &Generated, file: &Path, bar: &ProgressBar) -> Result<()> {
    let out: Box<dyn Write> = match file.to_str() {
        Some("-") => Box::new(std::io::stdout().lock()),
        _ => Box::new(File::create(file)?),
    };
    let mut out = BufWriter::new(out);
    for record in desk.records() {
        let record = record?;
        serde_json::to_writer(&mut out, &record)?;
        out.write_all(b"\n")?;
        if matches!(record, Record::Incident(_)) {
            bar.inc(1);
        }
    }
    Ok(out.flush()?)
}

async fn verify(options: Verify) -> Result<()> {
    if let Some(file) = &options.export {
        return verify_export(file, options.key.as_deref());
    }
    let from = match options.from.as_deref() {
        Some(text) => Some(Position::parse(text).ok_or_else(|| anyhow!("--from {text}: this is not a position"))?),
        None => None,
    };
    let store = connect_to_desk(&options.database).await?;
    let bar = bar(Some(0), "{msg} {wide_bar} {pos}/{len} {eta}");
    bar.set_message("looking through the log");
    let outcome = verify::verify(&store, from.as_ref(), &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })
    .await
    .context("looking through the log")?;
    bar.finish_and_clear();
    store.close().await?;
    match outcome {
        Verification::Whole(verified) => say(&whole(&verified, from.as_ref())),
        Verification::Broken(found) => bail!(
            "the log is broken at {found}. What lies before that position is as it was written. Stop the desk, keep its database \
             as it is, and compare from that position on with a backup or with exported logs (docs/EVIDENCE.md)"
        ),
    }
}

fn whole(verified: &Verified, from: Option<&Position>) -> String {
    let Verified { position, hash, changes, texts, shown, comments, free_alerts, .. } = verified;
    let ComparedCounts { incidents, alerts, bookmarks, .. } = shown;
    let start = if from.is_some() { "since the position that was given" } else { "from its beginning" };
    let not_proved = verified.not_proved().join("\n- ");
    format!(
        "The log is whole {start}: {changes} changes, each with the hash of its content and of the change before it, and {texts} \
         texts with the SHA-256 that the log holds of them. {incidents} incidents and {comments} comments show what the log adds up \
         to, with {alerts} alerts (incident, status, owner, classification) and {bookmarks} bookmarks. {free_alerts} alerts of no \
         incident stand as their own log says (status, owner, classification, report).\nIt ends at position \
         {position}\n(change {offset}, hash {hash}).\nKeep that position elsewhere: `watchfloor verify --from <position>` finds \
         out later whether the log was cut or written anew since.\nNot proved:\n- {not_proved}\n",
        offset = position.offset,
        hash = hex::encode(hash),
    )
}

/// Verifies an exported log, line by line.
fn verify_export(file: &Path, key: Option<&str>) -> Result<()> {
    let name = file.display();
    let wanted = key.map(public_key).transpose()?;
    let mut lines = BufReader::new(File::open(file).with_context(|| format!("opening {name}"))?);
    let mut checker = Checker::new(wanted);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.by_ref().take(EXPORT_LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.with_context(|| format!("reading {name}"))? == 0 {
            break;
        }
        checker.line(&line).map_err(|flaw| anyhow!("{name} is not what a desk exported: {flaw}"))?;
    }
    let checked = checker.end().map_err(|flaw| anyhow!("{name} is not what a desk exported: {flaw}"))?;
    say(&exported(&checked, key))
}

fn exported(checked: &Checked, wanted: Option<&str>) -> String {
    let Checked { header, key, texts } = checked;
    let whose = match wanted {
        Some(_) => "the key that was given".to_owned(),
        None => {
            format!("the key that the file names, {}: compare it with the desk's, or give it with --key", key.hex())
        }
    };
    format!(
        "INC-{} ({}): {} changes and {texts} texts as the desk had them at {}, position {}.\nSigned by {whose} (id {}).\n",
        header.number,
        header.incident,
        header.changes,
        header.exported_at.to_rfc3339(),
        header.position,
        key.id(),
    )
}

/// Parses a public key from the command line.
fn public_key(given: &str) -> Result<PublicKey> {
    if let Some(key) = PublicKey::parse(given) {
        return Ok(key);
    }
    let text = std::fs::read_to_string(given).with_context(|| format!("reading the public key {given}"))?;
    PublicKey::parse(&text).ok_or_else(|| anyhow!("{given} holds no Ed25519 public key in PEM"))
}

async fn export_log(options: ExportLog) -> Result<()> {
    let named = &options.incident;
    let incident = NamedIncident::parse(named)
        .ok_or_else(|| anyhow!("{named:?} names no incident: write INC-7, 7 or incident:<uuid>"))?;
    let store = connect_to_desk(&options.database).await?;
    let found = incident.find(&store).await?.ok_or_else(|| anyhow!("there is no incident {named}"))?;
    let key = signing_key(&options.signing.file(&options.database))?;
    let lines = Export::begin(&store, found, &key, Clock::System.now()).await?.lines();
    let mut out: Box<dyn Write> = match &options.output {
        Some(file) => Box::new(File::create(file).with_context(|| format!("making {}", file.display()))?),
        None => Box::new(std::io::stdout()),
    };
    pin_mut!(lines);
    while let Some(line) = lines.try_next().await.context("exporting the log")? {
        out.write_all(line.as_bytes()).context("writing the export")?;
    }
    out.flush().context("writing the export")?;
    store.close().await.context("closing the database")
}

fn signing_key(file: &Path) -> Result<DeskKey> {
    key::load_or_make(file).with_context(|| format!("the signing key {} (--signing-key)", file.display()))
}

/// Connects to an existing desk. SQLite alone would create an empty file under any name.
async fn connect_to_desk(database: &Database) -> Result<Store> {
    if let Some(file) = database.file().filter(|file| !file.is_file()) {
        bail!("there is no desk in {}: name another file (--database-url)", file.display());
    }
    connect(database).await
}

/// Returns a progress bar, which is visible on a terminal only.
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

/// Refuses addresses other than loopback: without identity every caller of the desk is a manager.
fn loopback_only(serving: &Serving) -> Result<()> {
    if serving.listen.ip().is_loopback() {
        return Ok(());
    }
    bail!(
        "{} is not a loopback address: without identity the desk serves this machine only (--listen 127.0.0.1:8080)",
        serving.listen
    )
}

/// Ends the relay before it closes the database: otherwise the relay would query a closed pool, and log errors.
async fn close(app: &App, relay: JoinHandle<()>) -> Result<()> {
    relay.abort();
    // The task was told to end, so its result does not matter.
    relay.await.ok();
    app.store.close().await.context("closing the database")
}

/// An open desk, and its signing key.
struct Open {
    app: App,
    relay: JoinHandle<()>,
    key: Option<DeskKey>,
    /// The number of operations that run at once.
    work: WorkSettings,
}

/// Returns the signing key of a desk that serves. A key that the operator named must exist; without the default key the
/// desk serves but exports nothing.
fn key_to_serve(signing: &Signing, database: &Database) -> Result<Option<DeskKey>> {
    match signing_key(&signing.file(database)) {
        Err(error) if signing.signing_key.is_none() => {
            tracing::warn!("no log can be exported: {error:#}");
            Ok(None)
        }
        key => key.map(Some),
    }
}

async fn serve(desk: Open, serving: &Serving, opened: impl FnOnce(SocketAddr) -> Result<()>) -> Result<()> {
    let Open { app, relay, key, work } = desk;
    let listener = listen::bind(serving.listen).await.context("choose another address with --listen")?;
    opened(listener.local_addr().context("reading the address that is listened on")?)?;
    let floor = chrono::Duration::days(i64::from(serving.stream_floor_days));
    // This task ends with the process: the floor stays at its last hourly value.
    tokio::spawn(app.clone().keep_tidy(floor));
    tokio::spawn(app.clone().keep_attachments());
    tokio::spawn(app.clone().work_on_jobs());
    let source = FeedSource { store: app.store.clone(), hub: app.hub.clone(), heartbeat: serving.heartbeat() };
    let desk = Desk::new(app.clone(), graphql::schema(app.clone(), source, serving.limits()));
    let work = work.with_statement(Duration::from_secs(serving.statement_seconds_max));
    let settings = Settings { work, ..serving.settings() };
    listen::serve(listener, desk.signing(key), settings).await.context("serving")?;
    match tokio::time::timeout(CLOSE_WAIT, close(&app, relay)).await {
        Ok(closed) => closed,
        Err(_) => {
            tracing::warn!("the database was still at work when the desk ended");
            Ok(())
        }
    }
}
