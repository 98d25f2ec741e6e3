//! The protocols' own kits and clients, which npm installs.

use std::path::Path;

use tokio::process::Command;

/// Runs a script of `tests/npm`.
pub(crate) fn kit(script: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm");
    let installed = folder.join("node_modules").is_dir();
    assert!(installed, "the protocol kits are not installed: `make test` does it, or `npm ci` in tests/npm");
    let mut node = Command::new("node");
    node.arg(folder.join(script)).kill_on_drop(true);
    node
}
