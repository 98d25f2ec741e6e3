//! Shared answers: the board makes an answer once for equal requests at one position, and no other request gets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use watchfloor::server::execution::answer_memory::AnswerSettings;
use watchfloor::server::settings::Settings;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::waiting::a_moment;

each_database!(
    those_who_ask_for_the_same_are_given_one_answer,
    an_answer_is_given_to_nobody_else,
    a_client_that_holds_the_answer_is_told_so,
);

const QUEUE: &str = "query($filter: IncidentFilterInput) {
    incidents(filter: $filter) { totalCount nodes { title owner { name } } } }";

async fn counting(database: &TestDatabase) -> (TestDesk, Arc<AtomicU64>) {
    let given_again = Arc::new(AtomicU64::new(0));
    let answers = AnswerSettings { given_again: given_again.clone(), ..AnswerSettings::default() };
    let settings = Settings { answers, ..Settings::default() };
    (TestDesk::open_with(database, Options { settings, ..Options::default() }).await, given_again)
}

/// Waits until the board is at the log's end; until then the database answers.
async fn settled(desk: &TestDesk) {
    while desk.app.board_now().await.is_none() {
        a_moment().await;
    }
}

async fn those_who_ask_for_the_same_are_given_one_answer(database: TestDatabase) {
    let (desk, given_again) = counting(&database).await;
    for account in ["ada", "bob"] {
        desk.user(account, "RESPONDER").await;
    }
    desk.incident("Level sensor of the north basin drifts").await;
    settled(&desk).await;
    let high = json!({ "filter": { "severity": ["MEDIUM"] } });
    let first = desk.data_as(Some("ada"), QUEUE, high.clone()).await;
    assert_eq!(first["incidents"]["totalCount"], 1);
    assert_eq!(given_again.load(Ordering::Relaxed), 0);
    assert_eq!(desk.data_as(Some("bob"), QUEUE, high.clone()).await, first);
    // Variables have other names, and the fields come from a fragment.
    let spelled_otherwise = "query Severe($severe: IncidentFilterInput) { incidents(filter: $severe) { ...these } }
        fragment these on IncidentConnection { totalCount nodes { title ... on Incident { owner { name } } } }";
    let severe = json!({ "severe": { "severity": ["MEDIUM"] } });
    assert_eq!(desk.data_as(Some("bob"), spelled_otherwise, severe).await, first);
    assert_eq!(given_again.load(Ordering::Relaxed), 2);
    // Many requests at once, after a change.
    desk.incident("Level sensor of the south basin drifts").await;
    settled(&desk).await;
    let asked = (0..40).map(|_| desk.data_as(Some("ada"), QUEUE, high.clone()));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer["incidents"]["totalCount"], 2);
    }
    assert!(given_again.load(Ordering::Relaxed) >= 20, "{given_again:?} of 40");
}

async fn an_answer_is_given_to_nobody_else(database: TestDatabase) {
    let (desk, given_again) = counting(&database).await;
    for (account, role) in [("ada", "RESPONDER"), ("bob", "RESPONDER"), ("eve", "READER")] {
        desk.user(account, role).await;
    }
    for account in ["ada", "bob"] {
        let id = desk.incident(&format!("Badge reader opens for {account}")).await;
        desk.act_as(Some(account), "updateIncident", json!({ "incidentId": id, "owner": { "me": true } })).await;
    }
    settled(&desk).await;
    let mine = json!({ "filter": { "owner": { "me": true } } });
    for account in ["ada", "bob", "ada", "bob"] {
        let answer = desk.data_as(Some(account), QUEUE, mine.clone()).await;
        assert_eq!(answer["incidents"]["nodes"][0]["owner"]["name"], account, "{answer:#}");
    }
    assert_eq!(given_again.load(Ordering::Relaxed), 2, "each was given its own answer again");
    // An owner's new name is no change of the log.
    desk.act("upsertUser", json!({ "account": "ada", "name": "Ada Lovelace" })).await;
    settled(&desk).await;
    let answer = desk.data_as(Some("ada"), QUEUE, mine.clone()).await;
    assert_eq!(answer["incidents"]["nodes"][0]["owner"]["name"], "Ada Lovelace");
    // Another filter, another page, another role.
    let before = given_again.load(Ordering::Relaxed);
    for (account, first, expected) in [("eve", 1, 1), ("eve", 2, 2), ("ada", 2, 2)] {
        let query = format!("{{ incidents(first: {first}) {{ nodes {{ id }} }} }}");
        let answer = desk.data_as(Some(account), &query, json!({})).await;
        assert_eq!(answer["incidents"]["nodes"].as_array().map(Vec::len), Some(expected));
    }
    // Without a given start, the answer contains the time of day.
    let numbers = "{ queueSummary { since open } }";
    let today: Value = desk.data(numbers, json!({})).await;
    desk.clock.advance(chrono::Duration::days(1));
    let tomorrow = desk.data(numbers, json!({})).await;
    assert_ne!(today["queueSummary"]["since"], tomorrow["queueSummary"]["since"]);
    // A refusal is not cached.
    for _ in 0..2 {
        desk.refused("{ incidents(first: 2, after: \"nowhere\") { totalCount } }", json!({})).await;
    }
    assert_eq!(given_again.load(Ordering::Relaxed), before);
}

async fn a_client_that_holds_the_answer_is_told_so(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.incident("Lightning damped the radio link").await;
    settled(&desk).await;
    let page = "{ incidents { totalCount } queueSummary { open } }";
    let (status, tag, body) = desk.get_unless_held(page, None).await;
    let tag = tag.expect("a tag");
    assert_eq!((status, tag.starts_with("W/\"")), (200, true), "{tag}");
    assert!(body.contains("\"open\":1"), "{body}");
    for held in [tag.clone(), format!("\"other\", {tag}")] {
        let (status, again, body) = desk.get_unless_held(page, Some(&held)).await;
        assert_eq!((status, again.as_ref(), body.as_str()), (304, Some(&tag), ""));
    }
    let (status, other, _) = desk.get_unless_held("{ incidents { totalCount } }", Some(&tag)).await;
    assert_eq!((status, other == Some(tag.clone())), (200, false), "another query");
    desk.incident("Lightning damped the second radio link").await;
    settled(&desk).await;
    let (status, newer, body) = desk.get_unless_held(page, Some(&tag)).await;
    assert_eq!((status, newer == Some(tag)), (200, false));
    assert!(body.contains("\"open\":2"), "{body}");
    // An answer from the database has no tag.
    let (status, tag, _) = desk.get_unless_held("{ incidents { nodes { description } } }", None).await;
    assert_eq!((status, tag), (200, None));
}
