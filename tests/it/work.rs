//! The fate of work whose client leaves, of large work, and of work when the desk is told to stop.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use watchfloor::domain::Error;
use watchfloor::realtime::feed::FeedSource;
use watchfloor::server::settings::Settings;
use watchfloor::server::{Desk, router};

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::endless;
use crate::support::process::Process;
use crate::support::socket::{Frame, Socket};
use crate::support::triage::report;
use crate::support::waiting::{PATIENCE, a_moment};

each_database!(
    a_mutation_whose_client_goes_runs_to_its_end,
    a_mutation_whose_client_goes_before_it_begins_is_not_done,
    the_process_is_heard_while_everything_that_works_is_busy,
    a_desk_that_is_told_to_stop_ends_whatever_runs,
    a_desk_whose_log_nobody_reads_ends_when_told,
);

const CREATE: &str = "mutation { createIncident(input: { title: \"Nobody waits for it\" }) { changed } }";

async fn a_mutation_whose_client_goes_runs_to_its_end(database: TestDatabase) {
    let (began, mut begins) = mpsc::channel(1);
    let watch = Arc::new(move |statement: &watchfloor::storage::Statement| {
        if statement.sql.starts_with("INSERT") && statement.sql.contains("alert") {
            began.try_send(()).ok();
        }
    });
    let desk = TestDesk::open_with(&database, Options { watch: Some(watch), ..Options::default() }).await;
    let alerts: Vec<Value> = (0..300).map(|key| report(&key.to_string(), json!({}))).collect();
    let before = desk.log_end().await;
    let query = "mutation($input: IngestAlertsInput!) { ingestAlerts(input: $input) { position } }";
    let input = json!({ "alerts": alerts, "into": { "newIncident": true } });
    tokio::select! {
        _ = desk.graphql_as(None, query, json!({ "input": input })) => panic!("its client waits for the end"),
        began = begins.recv() => began.expect("it begins"),
    }
    let done = async {
        while desk.log_end().await == before {
            a_moment().await;
        }
    };
    tokio::time::timeout(PATIENCE, done).await.expect("it runs to its end");
    let counts = desk.data("{ incidents { nodes { alertCount } } }", json!({})).await;
    assert_eq!(counts["incidents"]["nodes"], json!([{ "alertCount": 300 }]));
}

async fn a_mutation_whose_client_goes_before_it_begins_is_not_done(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut socket = Socket::ready(&format!("{}/graphql", desk.url.replacen("http", "ws", 1))).await;
    // All connections on which it could begin are taken: PostgreSQL's for reading and writing, SQLite's for writing.
    let (taken, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let writer = tokio::spawn({
        let (app, taken, release) = (desk.app.clone(), taken.clone(), release.clone());
        async move {
            let nothing = app.store.transact(|_| async {
                taken.notify_one();
                release.notified().await;
                Err::<(), _>(Error::unavailable("it was for the connection"))
            });
            nothing.await.expect_err("it changes nothing");
        }
    });
    taken.notified().await;
    let mut readers = Vec::new();
    if database.kind == Kind::Postgres {
        while readers.len() < 5 {
            readers.push(desk.app.store.read().await.expect("a snapshot"));
        }
    }
    socket.subscribe("1", CREATE).await;
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.frame().await, Frame::Json(json!({ "type": "pong" })));
    socket.complete("1").await;
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.frame().await, Frame::Json(json!({ "type": "pong" })));
    release.notify_one();
    drop(readers);
    writer.await.expect("it ends");
    desk.incident("Somebody waits for it").await;
    let titles = desk.data("{ incidents { nodes { title } } }", json!({})).await;
    assert_eq!(titles["incidents"]["nodes"], json!([{ "title": "Somebody waits for it" }]));
}

async fn the_process_is_heard_while_everything_that_works_is_busy(database: TestDatabase) {
    // The only worker thread hangs in the count of a query, for as long as the test wants. The relay, which reads the
    // log on this test's thread, never hangs.
    let (hang, hangs) = sync_channel::<()>(0);
    let (counts, mut counting) = mpsc::channel(1);
    let hangs = std::sync::Mutex::new(hangs);
    let armed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let here = std::thread::current().id();
    let watch = {
        let armed = armed.clone();
        Arc::new(move |statement: &watchfloor::storage::Statement| {
            if statement.sql.contains("COUNT(") && armed.swap(false, std::sync::atomic::Ordering::AcqRel) {
                let thread = std::thread::current().id();
                counts.try_send(thread).expect("once");
                if thread != here {
                    hangs.lock().expect("one thread").recv().ok();
                }
            }
        })
    };
    let desk = TestDesk::open_with(&database, Options { watch: Some(watch), ..Options::default() }).await;
    let busy = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let app = desk.app.clone();
    let (_stop, shutdown) = watch::channel(false);
    let routes = busy.spawn(async move {
        let source = FeedSource { store: app.store.clone(), hub: app.hub.clone(), heartbeat: Duration::from_secs(10) };
        let schema = watchfloor::graphql::schema(app.clone(), source, watchfloor::graphql::ApiLimits::default());
        router(Desk::new(app, schema), Settings::default(), shutdown)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let routes = routes.await.expect("routes");
    let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("a server") });
    let client = reqwest::Client::new();
    // First make the caller known; then the thread hangs in the query.
    let ask = |query: &str| client.post(format!("{url}/graphql")).json(&json!({ "query": query })).send();
    // The database counts resolved incidents with a tag.
    const COUNTED: &str = "{ incidents(filter: { status: [RESOLVED], tags: { any: [\"vip\"] } }) { totalCount } }";
    assert_eq!(ask(COUNTED).await.expect("an answer").status(), 200);
    armed.store(true, std::sync::atomic::Ordering::Release);
    let query = tokio::spawn(ask(COUNTED));
    let counting = tokio::time::timeout(PATIENCE, counting.recv()).await.expect("a count in time");
    assert_ne!(counting.expect("a count"), here, "it works where connections live");
    for path in ["healthz", "wall"] {
        let answer = tokio::time::timeout(PATIENCE, client.get(format!("{url}/{path}")).send()).await;
        assert_eq!(answer.expect("an answer in time").expect("an answer").status(), 200, "{path}");
    }
    drop(hang);
    assert_eq!(query.await.expect("a task").expect("an answer").status(), 200);
    server.abort();
    busy.shutdown_background();
}

/// The time that process supervisors give a process to stop.
const STOP_WAIT: Duration = Duration::from_secs(10);

async fn a_desk_that_is_told_to_stop_ends_whatever_runs(database: TestDatabase) {
    let server = Process::serve(&database.url).await;
    let (http, ws) = (format!("http://{}/graphql", server.address), format!("ws://{}/graphql", server.address));
    let client = reqwest::Client::new();
    let ask = |query: &str| client.post(&http).json(&json!({ "query": query })).send();
    assert_eq!(ask(CREATE).await.expect("an answer").status(), 200);
    let view = "mutation { createView(input: { name: \"All\" }) { view { slug } } }";
    assert_eq!(ask(view).await.expect("an answer").status(), 200);
    endless::read_of(&database, "saved_view").await;
    let mut socket = Socket::ready(&ws).await;
    socket.subscribe("1", "{ views { slug } }").await;
    let queries: Vec<_> = (0..3).map(|_| tokio::spawn(ask("{ views { slug } }"))).collect();
    endless::wait_until_running(&database, server.id()).await;
    let told = Instant::now();
    server.terminate();
    assert!(matches!(socket.frame().await, Frame::Closed(1012, _)), "its client comes back");
    for query in queries {
        if let Ok(answer) = query.await.expect("a task") {
            let answer: Value = answer.json().await.expect("JSON");
            assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{answer:#}");
        }
    }
    assert_eq!(server.end().await, Some(0));
    assert!(told.elapsed() < STOP_WAIT, "it took {:?}", told.elapsed());
    let desk = TestDesk::open(&database).await;
    assert_eq!(desk.data("{ incidents { totalCount } }", json!({})).await["incidents"]["totalCount"], 1);
}

/// A supervisor may end before its desk, or close the pipe: then a write to the log is an error, and no panic.
async fn a_desk_whose_log_nobody_reads_ends_when_told(database: TestDatabase) {
    let server = Process::serve_unread(&database.url).await;
    // Once it answers, it handles the signal.
    let alive = reqwest::get(format!("http://{}/healthz", server.address)).await.expect("an answer");
    assert_eq!(alive.status(), 200);
    let told = Instant::now();
    server.terminate();
    assert_eq!(server.end().await, Some(0));
    assert!(told.elapsed() < STOP_WAIT, "it took {:?}", told.elapsed());
}
