//! The desk's files are for its owner alone, whatever umask the desk is started with; the desk keeps its data in the
//! database that its address names.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::json;
use watchfloor::storage::honoured_address;

use crate::support::database::{Kind, TestDatabase};
use crate::support::process::Process;

/// Counts the files and folders below a folder, and lists those that other users may access, with their permissions.
fn open_to_others(folder: &Path) -> (usize, Vec<String>) {
    let (mut seen, mut open) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let metadata = std::fs::metadata(&path).expect("it is there");
        seen += 1;
        if metadata.permissions().mode() & 0o077 != 0 {
            open.push(format!("{}: {:o}", path.display(), metadata.permissions().mode()));
        }
        if metadata.is_dir() {
            let (more, open_below) = open_to_others(&path);
            seen += more;
            open.extend(open_below);
        }
    }
    (seen, open)
}

#[tokio::test]
async fn database_attachments_and_key_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("desk.db");
    // Files from an earlier time.
    for (path, mode) in [(&file, 0o644), (&folder.path().join("attachments"), 0o755)] {
        if mode == 0o755 {
            std::fs::create_dir(path).expect("made");
        } else {
            std::fs::write(path, "").expect("made");
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let process = Process::serve(&format!("sqlite://{}", file.display())).await;
    let (http, url) = (reqwest::Client::new(), format!("http://{}", process.address));
    let ask = async |query: &str, variables: serde_json::Value| -> serde_json::Value {
        let request = http.post(format!("{url}/graphql")).json(&json!({ "query": query, "variables": variables }));
        request.send().await.expect("an answer").json().await.expect("JSON")
    };
    let made = ask("mutation { createIncident(input: { title: \"Kept\" }) { incident { id } } }", json!({})).await;
    let mut image = b"\x89PNG\r\n\x1a\n".to_vec();
    image.resize(1_000, 0);
    let announce = "mutation($input: CreateAttachmentInput!) { createAttachment(input: $input) { uploadUrl } }";
    let input = json!({ "incidentId": made["data"]["createIncident"]["incident"]["id"], "name": "a.png",
        "size": image.len(), "type": "PNG" });
    let announced = ask(announce, json!({ "input": input })).await;
    let path = announced["data"]["createAttachment"]["uploadUrl"].as_str().expect("a path").to_owned();
    let sent = http.put(format!("{url}{path}")).body(image).send().await.expect("an answer");
    assert_eq!(sent.status().as_u16(), 200);
    // The database, its log, its index, the key, and the attachment in two folders.
    let (seen, open) = open_to_others(folder.path());
    assert!(seen >= 7 && open.is_empty(), "{seen} files, {open:#?}");
}

#[tokio::test]
async fn a_database_is_reached_at_an_address_of_ipv6() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let (login, place) = database.url.split_once('@').expect("a user");
    let (_, place) = place.split_once(':').expect("a port");
    let (port, name) = place.split_once('/').expect("a database");
    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
        println!("this machine has no IPv6: nothing was tried");
        return;
    };
    let here = listener.local_addr().expect("an address");
    let there = format!("127.0.0.1:{port}");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let there = there.clone();
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(there).await.expect("the server");
                tokio::io::copy_bidirectional(&mut stream, &mut server).await.ok();
            });
        }
    });
    let url = format!("{login}@{here}/{name}");
    assert!(honoured_address(&url).is_ok());
    let process = Process::serve(&url).await;
    let ready = reqwest::get(format!("http://{}/readyz", process.address)).await.expect("an answer");
    assert_eq!(ready.status().as_u16(), 200);
}

#[tokio::test]
async fn a_search_path_in_the_address_names_the_schema_of_the_desk() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let beside = database.connect().await;
    beside.execute_unprepared("CREATE SCHEMA desk").await.expect("a schema");
    let process = Process::serve(&format!("{}?search_path=desk", database.url)).await;
    let query = "mutation { createIncident(input: { title: \"Kept in a schema\" }) { incident { number } } }";
    let request = reqwest::Client::new().post(format!("http://{}/graphql", process.address));
    let answer = request.json(&json!({ "query": query })).send().await.expect("an answer");
    let made: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(made["data"]["createIncident"]["incident"]["number"], 1, "{made:#}");
    let one = async |sql: &str| {
        let row = Statement::from_string(DbBackend::Postgres, sql);
        beside.query_one_raw(row).await.expect("an answer").expect("a row")
    };
    let row = one("SELECT title, to_regclass('public.incident')::text AS other FROM desk.incident").await;
    assert_eq!(row.try_get::<String>("", "title").expect("a title"), "Kept in a schema");
    assert_eq!(row.try_get::<Option<String>>("", "other").expect("a name or null"), None);
    let tables = one("SELECT count(*) AS tables FROM pg_tables WHERE schemaname = 'public'").await;
    assert_eq!(tables.try_get::<i64>("", "tables").expect("a number"), 0, "nothing is in another schema");
}
