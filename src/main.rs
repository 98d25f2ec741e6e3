//! Parses the command line, picks the subcommand, reports the error in one line, sets the exit code.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tracing_subscriber::EnvFilter;
use watchfloor::config::{Action, Cli, Database, Demo, Serve};
use watchfloor::domain::clock::Clock;
use watchfloor::server::{Ready, serve};
use watchfloor::storage::Store;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
    let outcome = tokio::runtime::Runtime::new().context("starting the runtime").and_then(|runtime| {
        runtime.block_on(async {
            match cli.action {
                Action::Serve(options) => serve_desk(options).await,
                Action::Demo(options) => serve_demo(options).await,
                Action::Migrate(database) => migrate(&database).await,
                Action::Schema => say(&watchfloor::graphql::sdl()),
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::debug!(error = ?error, "ended");
            // One line: what failed, and why, from the outside in.
            let line = format!("watchfloor: {error:#}\n");
            std::io::stderr().write_all(line.as_bytes()).map_or(ExitCode::from(2), |()| ExitCode::FAILURE)
        }
    }
}

/// Logs to standard error: warnings of everything, notes of our own, or what `RUST_LOG` says.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,watchfloor=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

fn say(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("writing to standard output")
}

async fn connect(database: &Database) -> Result<Store> {
    let options = database.options().map_err(anyhow::Error::msg)?;
    Store::connect(options).await.map_err(chain).context("connecting to the database (is it there, and may we?)")
}

/// A fault with its cause: on the operator's own terminal nothing is hidden.
fn chain(error: watchfloor::domain::Error) -> anyhow::Error {
    anyhow::Error::from(error)
}

async fn migrate(database: &Database) -> Result<()> {
    let store = connect(database).await?;
    store.migrate().await.map_err(chain).context("migrating")?;
    say("the database's schema is up to date\n")
}

async fn serve_desk(options: Serve) -> Result<()> {
    let store = connect(&options.database).await?;
    serve(store, &options.serving, Clock::System, |ready: &Ready| {
        tracing::info!(
            listen = %ready.address,
            "serving at http://{address}/graphql, GraphiQL at http://{address}/graphiql; without identity, loopback only, \
             and the caller is the local manager or whoever `Watchfloor-Actor` names",
            address = ready.address
        );
    })
    .await
    .map_err(chain)
}

async fn serve_demo(options: Demo) -> Result<()> {
    if let Some(folder) = options.file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    }
    let Some(path) = options.file.to_str() else { bail!("the demo's file has a name that is not text") };
    let database = Database {
        database_url: format!("sqlite://{path}"),
        database_connections: 8,
        database_wait_seconds: 10,
    };
    let store = connect(&database).await?;
    serve(store, &options.serving, Clock::System, |ready: &Ready| {
        tracing::info!(listen = %ready.address, "the sample desk is open");
    })
    .await
    .map_err(chain)
}
