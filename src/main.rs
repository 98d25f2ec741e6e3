//! Parses the command line, runs the command, reports an error in one line, and sets the exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rustix::fs::Mode;
use rustix::process::umask;
use watchfloor::config::Cli;
use watchfloor::domain::text::printable;
use watchfloor::{cli, log};

/// Its threads return unused pages within seconds; the C library's allocator kept the memory of a busy minute.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // All files are for their owner alone: the database and SQLite's files beside it, attachments, keys, exports.
    umask(Mode::RWXG | Mode::RWXO);
    let arguments = Cli::parse();
    log::init();
    match cli::run(arguments.action) {
        Ok(code) => code,
        Err(error) => {
            // The chain of causes, from the outermost to the innermost. A cause may quote a file.
            let line = format!("watchfloor: {}\n", printable(&format!("{error:#}")));
            std::io::stderr().write_all(line.as_bytes()).map_or(ExitCode::from(2), |()| ExitCode::FAILURE)
        }
    }
}
