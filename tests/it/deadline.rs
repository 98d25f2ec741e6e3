//! Statements that take too long or that nobody waits for: they end, and keep no other request waiting.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use watchfloor::domain::IncidentId;

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::endless;
use crate::support::process::{Process, cpu_seconds};
use crate::support::socket::{Frame, Socket};
use crate::support::waiting::PATIENCE;

each_database!(
    a_statement_that_takes_too_long_is_refused_and_the_desk_goes_on,
    a_page_that_takes_too_long_is_refused_and_its_time_is_its_own,
    a_mutation_that_takes_too_long_changes_nothing,
    a_query_whose_client_goes_takes_no_more_time,
    a_query_is_answered_while_another_account_has_many_long_ones,
    what_the_desk_does_for_itself_has_more_time_than_a_request,
);

const VIEWS: &str = "{ views { slug } }";
/// A query that takes a turn each time, because the board alone cannot answer it and its answer is not shared.
const COUNT: &str = "{ incidents { totalCount } policies { __typename } }";

/// Opens a desk with a view of which each read is endless, and returns the view's address too.
async fn endless_views(database: &TestDatabase, statement: Duration) -> (TestDesk, String) {
    let mut options = Options::default();
    options.settings.work = options.settings.work.with_statement(statement);
    options.settings.work.query = PATIENCE;
    let desk = TestDesk::open_with(database, options).await;
    desk.incident("A quiet day").await;
    let made = desk
        .data("mutation { createView(input: { name: \"All\", visibility: SHARED }) { view { id } } }", json!({}))
        .await;
    let id = made["createView"]["view"]["id"].as_str().expect("an id").to_owned();
    endless::read_of(database, "saved_view").await;
    (desk, id)
}

async fn a_statement_that_takes_too_long_is_refused_and_the_desk_goes_on(database: TestDatabase) {
    let (desk, _) = endless_views(&database, Duration::from_secs(1)).await;
    let (end, began) = (desk.log_end().await, Instant::now());
    // More requests than there are connections.
    let refusals = join_all((0..8).map(|_| desk.refused(VIEWS, json!({})))).await;
    for refusal in refusals {
        assert_eq!((refusal.code.as_str(), &refusal.now), ("LIMIT", &json!({ "limit": 1.0 })));
        assert!(refusal.message.contains("narrow the filter"), "{}", refusal.message);
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let both = desk.graphql_as(None, "{ a: views { slug } b: views { slug } }", json!({})).await;
    let codes: Vec<&Value> =
        both["errors"].as_array().expect("errors").iter().map(|error| &error["extensions"]["code"]).collect();
    assert!(codes.iter().all(|code| **code == "LIMIT"), "{both:#}");
    let mut socket = Socket::ready(&format!("{}/graphql", desk.url.replacen("http", "ws", 1))).await;
    socket.subscribe("1", VIEWS).await;
    let Frame::Json(message) = socket.frame().await else { panic!("an answer") };
    assert_eq!(message["payload"]["errors"][0]["extensions"]["code"], "LIMIT", "{message:#}");
    for _ in 0..8 {
        assert_eq!(desk.data(COUNT, json!({})).await["incidents"]["totalCount"], 1);
    }
    assert_eq!(desk.log_end().await, end, "nothing was changed");
    desk.incident("The day goes on").await;
}

/// A page of one statement has no transaction that could hold its timeout.
async fn a_page_that_takes_too_long_is_refused_and_its_time_is_its_own(database: TestDatabase) {
    let mut options = Options::default();
    options.settings.work = options.settings.work.with_statement(Duration::from_secs(1));
    let desk = TestDesk::open_with(&database, options).await;
    let id = desk.incident("A quiet day").await;
    desk.act("updateIncident", json!({ "incidentId": id, "addTags": ["quiet"] })).await;
    desk.act("resolveIncident", json!({ "incidentId": id })).await;
    let page = |fields: &str| format!("{{ incidents(filter: {{ status: [RESOLVED] }}) {{ nodes {{ {fields} }} }} }}");
    endless::read_of(&database, "incident_tag").await;
    let began = Instant::now();
    // More requests than there are connections.
    let tagged = page("tags { name }");
    let refusals = join_all((0..8).map(|_| desk.refused(&tagged, json!({})))).await;
    for refusal in refusals {
        assert_eq!((refusal.code.as_str(), &refusal.now), ("LIMIT", &json!({ "limit": 1.0 })));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for _ in 0..8 {
        let found = desk.data(&page("title"), json!({})).await;
        assert_eq!(found["incidents"]["nodes"][0]["title"], "A quiet day");
    }
    // The next transaction on the same connection has the usual time.
    let id = IncidentId::parse(&id).expect("an id");
    for _ in 0..8 {
        let reader = desk.app.store.read().await.expect("a snapshot");
        let own = tokio::time::timeout(Duration::from_millis(1_500), reader.incidents_to_show(&[id])).await;
        assert!(own.is_err(), "it goes on where a request's would have been refused");
    }
}

async fn a_mutation_that_takes_too_long_changes_nothing(database: TestDatabase) {
    let (desk, view) = endless_views(&database, Duration::from_secs(1)).await;
    let end = desk.log_end().await;
    let rename = "mutation($id: ID!) { updateView(input: { viewId: $id, name: \"Other\" }) { view { slug } } }";
    for _ in 0..3 {
        let refusal = desk.refused(rename, json!({ "id": view })).await;
        assert_eq!(refusal.code, "UNAVAILABLE", "{}", refusal.message);
        assert!(refusal.message.contains("nothing was changed"), "{}", refusal.message);
    }
    assert_eq!(desk.log_end().await, end);
    desk.incident("The day goes on").await;
    assert_eq!(desk.data(COUNT, json!({})).await["incidents"]["totalCount"], 2);
}

/// How long the work of a client may go on after it has gone.
const CLIENT_GONE: Duration = Duration::from_millis(500);

async fn a_query_whose_client_goes_takes_no_more_time(database: TestDatabase) {
    let server = Process::serve_with(&database.url, "127.0.0.1:0", &["--statement-seconds-max", "60"]).await;
    let (http, ws) = (format!("http://{}/graphql", server.address), format!("ws://{}/graphql", server.address));
    let client = reqwest::Client::new();
    let ask = |query: &'static str| client.post(&http).json(&json!({ "query": query })).send();
    let view = "mutation { createView(input: { name: \"All\", visibility: SHARED }) { view { slug } } }";
    assert_eq!(ask(view).await.expect("an answer").status(), 200);
    endless::read_of(&database, "saved_view").await;
    let mut socket = Socket::ready(&ws).await;
    for way in ["request dropped", "operation completed", "socket gone"] {
        let asked: Vec<_> = match way {
            "request dropped" => (0..3).map(|_| tokio::spawn(ask(VIEWS))).collect(),
            _ => {
                socket.subscribe(way, VIEWS).await;
                Vec::new()
            }
        };
        endless::wait_until_running(&database, server.id()).await;
        match way {
            "operation completed" => socket.complete(way).await,
            "socket gone" => socket = Socket::ready(&ws).await,
            _ => asked.iter().for_each(tokio::task::JoinHandle::abort),
        }
        for one in asked {
            assert!(one.await.is_err(), "its client is gone");
        }
        tokio::time::sleep(CLIENT_GONE).await;
        match database.kind {
            Kind::Sqlite => {
                let (before, began) = (cpu_seconds(server.id()), Instant::now());
                tokio::time::sleep(CLIENT_GONE).await;
                let share = (cpu_seconds(server.id()) - before) / began.elapsed().as_secs_f64();
                assert!(share < 0.3, "{way}: {:.0} % of a processor are taken still", share * 100.0);
            }
            Kind::Postgres => assert_eq!(endless::running(&database).await, 0, "{way}"),
        }
        assert_eq!(ask(COUNT).await.expect("an answer").status(), 200, "{way}");
    }
    server.kill();
}

async fn a_query_is_answered_while_another_account_has_many_long_ones(database: TestDatabase) {
    let (desk, _) = endless_views(&database, Duration::from_secs(20)).await;
    desk.user("eve", "READER").await;
    desk.user("ana", "READER").await;
    let mut many = Box::pin(join_all((0..20).map(|_| desk.graphql_as(Some("eve"), VIEWS, json!({})))));
    let others = async {
        // Once a further operation of the same account has to wait, all turns of that account are taken.
        let is_answered = async || {
            let short = Duration::from_millis(300);
            tokio::time::timeout(short, desk.graphql_as(Some("eve"), COUNT, json!({}))).await.is_ok()
        };
        while is_answered().await {}
        for account in [Some("ana"), None, Some("ana")] {
            let count = desk.data_as(account, COUNT, json!({})).await;
            assert!(count["incidents"]["totalCount"].as_u64() > Some(0));
            desk.incident("Meanwhile").await;
        }
    };
    tokio::select! {
        _ = &mut many => panic!("the long ones take longer"),
        done = tokio::time::timeout(Duration::from_secs(10), others) => done.expect("others are answered meanwhile"),
    }
}

async fn what_the_desk_does_for_itself_has_more_time_than_a_request(database: TestDatabase) {
    let (desk, _) = endless_views(&database, Duration::from_secs(1)).await;
    let reader = desk.app.store.read().await.expect("a snapshot");
    let own = tokio::time::timeout(Duration::from_secs(3), reader.view_by_slug("all")).await;
    assert!(own.is_err(), "it goes on where a request's would have been refused");
}
