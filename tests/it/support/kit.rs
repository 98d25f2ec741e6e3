//! The protocols' own test kits and third-party clients, which npm and pip install.

use std::path::{Path, PathBuf};

use tokio::process::Command;

/// Runs a script of `tests/npm`.
pub(crate) fn kit(script: &str) -> Command {
    let folder = here().join("tests/npm");
    let installed = folder.join("node_modules").is_dir();
    assert!(installed, "the protocol kits are not installed: `make test` does it, or `npm ci` in tests/npm");
    run("node".into(), folder.join(script))
}

/// Runs a script of `tests/python`.
pub(crate) fn python(script: &str) -> Command {
    let python = here().join("target/python/bin/python");
    let installed = here().join("target/python/requirements.txt").is_file();
    assert!(installed, "the Python client is not installed: `make test` does it, or scripts/python.sh");
    run(python, here().join("tests/python").join(script))
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(program: PathBuf, script: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.arg(script).kill_on_drop(true);
    command
}
