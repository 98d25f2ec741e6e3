//! Parses the command line, runs it, reports an error in one line, sets the exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rustix::fs::Mode;
use rustix::process::umask;
use watchfloor::config::Cli;
use watchfloor::{cli, log};

/// Its threads give unused pages back to the system within seconds; the C library's allocator kept what a busy minute took.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Whatever this process makes is for its owner alone: the database and what SQLite puts beside it, attachments, keys, exports.
    umask(Mode::RWXG | Mode::RWXO);
    let arguments = Cli::parse();
    log::init();
    match cli::run(arguments.action) {
        Ok(code) => code,
        Err(error) => {
            // What failed, and why, from the outside in.
            let line = format!("watchfloor: {error:#}\n");
            std::io::stderr().write_all(line.as_bytes()).map_or(ExitCode::from(2), |()| ExitCode::FAILURE)
        }
    }
}
