//! The web pages in a real browser, and their client in Node.js, against a real desk: no change is missed, and no
//! request leaves the machine.

use std::path::Path;

use tokio::process::Command;

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(the_client_for_dashboards_holds_the_set_of_the_server);

#[tokio::test]
async fn graphiql_works_with_the_network_cut() {
    let database = TestDatabase::fresh(Kind::Sqlite).await;
    let desk = TestDesk::open(&database).await;
    desk.incident("OAuth grant to an unverified publisher").await;
    run("test/graphiql.mjs", &[&desk.url]).await;
}

#[tokio::test]
async fn the_wall_shows_what_the_desk_holds_through_kills_and_cuts() {
    let database = TestDatabase::fresh(Kind::Sqlite).await;
    run("test/wall.mjs", &[env!("CARGO_BIN_EXE_watchfloor"), &database.url]).await;
}

#[tokio::test]
async fn the_wall_has_a_word_for_everything() {
    run("test/words.mjs", &[]).await;
}

async fn the_client_for_dashboards_holds_the_set_of_the_server(database: TestDatabase) {
    let another_life = TestDatabase::fresh(Kind::Sqlite).await;
    run("test/live.mjs", &[env!("CARGO_BIN_EXE_watchfloor"), &database.url, &another_life.url]).await;
}

/// Runs a script of `web/` to its end, which must be a success.
async fn run(script: &str, arguments: &[&str]) {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let built = web.join("dist/index.html").exists() && web.join("node_modules").exists();
    assert!(built, "the pages are not built: `make web` builds them");
    let run = Command::new("node")
        .arg(script)
        .args(arguments)
        .env("STEP_MS", "60000")
        .current_dir(&web)
        .kill_on_drop(true)
        .output()
        .await
        .expect("node runs");
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{script}: {said}");
}
