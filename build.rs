//! Names the commit of a release, and rebuilds the crate when the built pages change: their file names carry hashes, which the
//! compiler cannot foresee.

use std::{env, fs, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=WATCHFLOOR_BUILD={}", build());

    // Cargo takes a missing path for a changed path and would compile the crate every time, so the folder is made first.
    // If it cannot be made (a read-only source), the pages are missing and the server says so.
    let pages = Path::new("web/dist");
    if fs::create_dir_all(pages).is_ok() {
        println!("cargo:rerun-if-changed={}", pages.display());
    }
}

/// Returns what `watchfloor --version` says of the build: the commit and its date.
#[expect(clippy::disallowed_methods, reason = "Cargo tells a build script of its profile by the environment")]
fn build() -> String {
    // A build for development names no commit, because each commit would compile the crate anew.
    if env::var("PROFILE").as_deref() != Ok("release") {
        return "development build".to_owned();
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    // Sources without a repository, for example from an archive, have no commit.
    git(&["log", "-1", "--format=%h, %cs"]).unwrap_or_else(|| "commit unknown".to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
