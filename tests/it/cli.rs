//! The command line: what it refuses, and how it says so.

use std::process::{Command, Output, Stdio};

use crate::support::database::{TestDatabase, each_database};

each_database!(an_import_of_nothing_says_nothing_of_the_log);

/// Runs the binary to its end, in a folder of its own.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    Command::new(env!("CARGO_BIN_EXE_watchfloor"))
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

/// Returns the error text of a run that must fail without a panic.
fn complaint(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {:?} {said}", output.status);
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    said
}

#[test]
fn the_version_names_the_build() {
    let said = String::from_utf8(run(&["--version"]).stdout).expect("UTF-8");
    let build = said.trim().strip_prefix(concat!("watchfloor ", env!("CARGO_PKG_VERSION"), " (")).expect("a version");
    let build = build.strip_suffix(')').expect("a build");
    if cfg!(debug_assertions) {
        assert_eq!(build, "development build");
    } else {
        let (commit, date) = build.split_once(", ").expect("a commit and its date");
        assert!(commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{build}");
        assert!(date.len() == 10 && date.starts_with("20"), "{build}");
    }
}

#[test]
fn a_number_out_of_its_range_is_refused() {
    for (flag, value) in [
        ("--database-wait-seconds", "18446744073709551615"),
        ("--database-wait-seconds", "0"),
        ("--database-connections", "0"),
        ("--heartbeat-seconds", "0"),
        ("--stream-floor-days", "0"),
        ("--ring-changes", "0"),
        ("--ring-bytes", "18446744073709551615"),
        ("--body-bytes-max", "0"),
        ("--document-bytes-max", "0"),
        ("--document-depth-max", "0"),
        ("--document-cost-max", "0"),
        ("--page-items-max", "0"),
        ("--subscriptions-per-socket-max", "0"),
    ] {
        let said = complaint(&["serve", "--listen", "127.0.0.1:0", flag, value]);
        assert!(said.contains(flag) && said.contains(value), "{said}");
    }
}

#[test]
fn a_desk_in_memory_is_refused_with_a_hint() {
    for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite://x.db?mode=memory"] {
        let said = complaint(&["migrate", "--database-url", url]);
        assert!(said.contains("name a file, sqlite://watchfloor.db"), "{url}: {said}");
    }
}

#[test]
fn a_database_out_of_reach_is_told_once_with_its_cause() {
    let said = complaint(&["migrate", "--database-url", "sqlite://nowhere/to/be/found.db"]);
    assert_eq!(
        said.trim_end(),
        "watchfloor: there is no folder nowhere/to/be for the database: make it, or name another file (--database-url)"
    );
    // Nothing listens at port 1.
    let url = "postgres://desk:open-sesame@127.0.0.1:1/desk";
    let said = complaint(&["migrate", "--database-url", url, "--database-wait-seconds", "1"]);
    assert_eq!(said.matches("Connection refused").count(), 1, "{said}");
    assert!(said.contains("does it run") && !said.contains("timed out") && !said.contains("open-sesame"), "{said}");
}

#[test]
fn an_error_that_quotes_a_file_cannot_change_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("export");
    std::fs::write(&file, "{\"line\":\"he\u{202e}ader\\u001b[2J\"}\n").expect("written");
    let said = complaint(&["verify", "--export", file.to_str().expect("a path")]);
    assert!(said.contains("`he\u{fffd}ader\u{fffd}[2J`"), "{said:?}");
}

async fn an_import_of_nothing_says_nothing_of_the_log(database: TestDatabase) {
    let output = run(&["import", "-", "--database-url", &database.url]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success() && !said.contains("WARN"), "{said}");
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), "0 records read as watchfloor\n");
}
