//! Parses the command line, runs it, reports an error in one line, sets the exit code.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use watchfloor::cli;
use watchfloor::config::Cli;

fn main() -> ExitCode {
    let arguments = Cli::parse();
    // Standard error: warnings of everything, notes of our own, or what RUST_LOG says.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,watchfloor=info,sea_orm_migration=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match cli::run(arguments.action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What failed, and why, from the outside in.
            let line = format!("watchfloor: {error:#}\n");
            std::io::stderr().write_all(line.as_bytes()).map_or(ExitCode::from(2), |()| ExitCode::FAILURE)
        }
    }
}
