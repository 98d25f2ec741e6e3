//! GraphiQL in a real browser, against a real desk: the tabs run, an item arrives, and no request leaves the machine.

use std::path::Path;

use tokio::process::Command;

use crate::support::database::{Kind, TestDatabase};
use crate::support::desk::TestDesk;

#[tokio::test]
async fn graphiql_works_with_the_network_cut() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let built = web.join("dist/index.html").exists() && web.join("node_modules").exists();
    assert!(built, "the pages are not built: `make web` builds them");
    let database = TestDatabase::fresh(Kind::Sqlite).await;
    let desk = TestDesk::open(&database).await;
    desk.incident("OAuth grant to an unverified publisher").await;
    let run = Command::new("node")
        .arg("test/graphiql.mjs")
        .arg(&desk.url)
        .env("STEP_MS", "60000")
        .current_dir(&web)
        .kill_on_drop(true)
        .output()
        .await
        .expect("node runs");
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}");
}
