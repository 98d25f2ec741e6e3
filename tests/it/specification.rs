//! Rules of the GraphQL specification (September 2025) for documents, variables and answers on which executors differ.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::kit::kit;
use crate::support::socket::Socket;
use crate::support::triage::{laid_over, report};

each_database!(
    a_field_that_stands_twice_under_one_name_is_executed_once,
    an_object_of_which_nothing_is_asked_is_an_object,
    a_variable_without_a_value_leaves_its_argument_out,
    variables_of_a_wrong_type_are_refused_where_they_are_wrong,
    literals_of_a_wrong_type_are_refused_where_they_are_wrong,
    documents_that_contradict_themselves_are_refused,
    escapes_mean_their_characters,
    names_come_in_the_order_of_the_document,
    items_of_a_queue_have_the_form_of_the_document,
    items_of_the_activity_log_have_the_form_of_the_document,
    errors_stand_where_the_client_asked,
    a_refusal_leaves_the_other_answers_of_its_document,
    each_rule_of_the_reference_implementation_is_kept_case_by_case,
    what_the_reference_implementation_accepts_is_accepted_and_answered_alike,
);

/// Returns the answer as it is written, because parsed JSON forgets the order of names.
async fn text(desk: &TestDesk, query: &str, variables: Value) -> String {
    let body = json!({ "query": query, "variables": variables });
    let request = reqwest::Client::new().post(format!("{}/graphql", desk.url)).json(&body);
    request.send().await.expect("an answer").text().await.expect("a whole body")
}

async fn a_field_that_stands_twice_under_one_name_is_executed_once(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let doubled = "mutation { createIncident(input: { title: \"Once\" }) { incident { number } } \
                   ...Again createIncident(input: { title: \"Once\" }) { incident { title } } } \
                   fragment Again on Mutation { createIncident(input: { title: \"Once\" }) { incident { status } } }";
    let made = desk.data(doubled, json!({})).await;
    assert_eq!(made["createIncident"]["incident"], json!({ "number": 1, "status": "NEW", "title": "Once" }));
    let all = desk.data("{ incidents { totalCount } }", json!({})).await;
    assert_eq!(all["incidents"]["totalCount"], 1);
}

async fn an_object_of_which_nothing_is_asked_is_an_object(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Beaconing").await;
    let none = "query($no: Boolean! = true) { policies { reopenRole @skip(if: $no) } }";
    assert_eq!(text(&desk, none, json!({})).await, r#"{"data":{"policies":{}}}"#);
    assert_eq!(text(&desk, "{ policies @skip(if: true) { reopenRole } }", json!({})).await, r#"{"data":{}}"#);
    let rows = "query($id: ID!) { incident(by: { id: $id }) { activity { nodes { entries { ... on CommentEntry { __typename } } } } } }";
    let log = desk.data(rows, json!({ "id": id })).await;
    let entries = log["incident"]["activity"]["nodes"][0]["entries"].as_array().expect("entries").clone();
    assert!(!entries.is_empty() && entries.iter().all(|entry| *entry == json!({})), "{entries:?}");
    let node = "query($id: ID!) { node(id: $id) { ... on Alert { title } } }";
    assert_eq!(text(&desk, node, json!({ "id": id })).await, r#"{"data":{"node":{}}}"#);
}

async fn a_variable_without_a_value_leaves_its_argument_out(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.incident("Beaconing").await;
    let page = "query($n: Int, $text: String) { incidents(first: $n, filter: { text: $text }) { totalCount } }";
    assert_eq!(desk.data(page, json!({})).await["incidents"]["totalCount"], 1);
    let by_default = "{ __type(name: \"Query\") { fields { name } } }";
    let given = "query($all: Boolean) { __type(name: \"Query\") { fields(includeDeprecated: $all) { name } } }";
    assert_eq!(desk.data(given, json!({})).await, desk.data(by_default, json!({})).await);
    let one = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }";
    assert_eq!(desk.data(one, json!({ "ids": "nothing" })).await["nodes"].as_array().map(Vec::len), Some(1));
}

async fn variables_of_a_wrong_type_are_refused_where_they_are_wrong(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let number = "query($n: Int!) { incident(by: { number: $n }) { title } }";
    let queue = "query($filter: IncidentFilterInput) { incidents(filter: $filter) { totalCount } }";
    let create = "mutation($input: CreateIncidentInput!) { createIncident(input: $input) { incident { title } } }";
    for (query, variables, path) in [
        (number, json!({ "n": "1" }), "variables.n"),
        (number, json!({ "n": 1.5 }), "variables.n"),
        (number, json!({ "n": 99_999_999_999_u64 }), "variables.n"),
        (number, json!({ "n": null }), "variables.n"),
        (number, json!({}), "variables.n"),
        (queue, json!({ "filter": { "status": ["NEW", "OLD"] } }), "variables.filter.status.1"),
        (queue, json!({ "filter": { "and": [{}, { "colour": "red" }] } }), "variables.filter.and.1.colour"),
        (queue, json!({ "filter": { "text": ["a", 7] } }), "variables.filter.text"),
        (queue, json!({ "filter": [{}] }), "variables.filter"),
        (create, json!({ "input": { "title": "T", "classification": {} } }), "variables.input.classification"),
        (create, json!({ "input": { "title": "T", "tags": ["a", "b", "c", 4] } }), "variables.input.tags.3"),
        (create, json!({ "input": { "title": "T", "id": "no uuid" } }), "variables.input.id"),
    ] {
        let refusal = desk.refused(query, variables.clone()).await;
        assert_eq!(
            (refusal.code.as_str(), refusal.path.as_deref()),
            ("INVALID", Some(path)),
            "{variables}: {refusal:?}"
        );
    }
    let none = desk.data("{ incidents { totalCount } }", json!({})).await;
    assert_eq!(none["incidents"]["totalCount"], 0, "nothing was done");
    assert_eq!(desk.data(queue, json!({ "filter": { "status": "NEW" } })).await["incidents"]["totalCount"], 0);
    let whole = desk.refused(number, json!({ "n": 1.0 })).await;
    assert_eq!(whole.code, "NOT_FOUND", "1.0 is whole, and there is no incident");
}

async fn literals_of_a_wrong_type_are_refused_where_they_are_wrong(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for (query, path) in [
        ("{ incidents(filter: { status: \"NEW\" }) { totalCount } }", "filter.status"),
        ("{ incidents(filter: { and: [{}, { status: [NEW, OLD] }] }) { totalCount } }", "filter.and.1.status.1"),
        ("{ incidents(filter: { text: \"a\", text: \"b\" }) { totalCount } }", "filter.text"),
        ("{ incidents(first: 99999999999) { totalCount } }", "first"),
        ("{ incidents(first: \"1\") { totalCount } }", "first"),
        ("{ incidents(filter: { created: { from: \"yesterday\" } }) { totalCount } }", "filter.created.from"),
        ("{ incidents(filter: { created: { from: 5 } }) { totalCount } }", "filter.created.from"),
        ("query($n: String) { incidents(first: $n) { totalCount } }", "first"),
        ("query($s: String) { incidents(filter: { status: [$s] }) { totalCount } }", "filter.status.0"),
        ("{ incidents(colour: 1) { totalCount } }", "colour"),
        ("mutation { createIncident(input: { classification: {} }) { incident { id } } }", "input.classification"),
    ] {
        let refusal = desk.refused(query, json!({})).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some(path)), "{query}: {refusal:?}");
    }
}

async fn documents_that_contradict_themselves_are_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for query in [
        "{ incident(by: { number: 1 }) { title } incident(by: { number: 2 }) { title } }",
        "{ incident(by: { number: 1 }) { a: title } incident(by: { number: 1 }) { a: status } }",
        "{ incidents { nodes { owner { __typename } } } incidents { nodes { owner: status } } }",
        "{ nodes(ids: [\"a\"]) { id } nodes(ids: [\"a\", \"b\"]) { id } }",
        "{ policies @skip(if: true) @skip(if: true) { reopenRole } }",
        "{ policies @include { reopenRole } }",
        "{ policies { reopenRole(colour: 1) } }",
        "{ policies { colour } }",
        "{ policies }",
        "{ policies { reopenRole { name } } }",
        "{ ... on Mutation { __typename } }",
        "{ ...F } fragment F on Incident { title }",
        "{ policies { reopenRole } } fragment F on Query { policies { reopenRole } }",
        "query($n: Int) { policies { reopenRole } }",
        "{ incident(by: { number: $n }) { title } }",
        "query($n: Int, $n: Int) { incidents(first: $n) { totalCount } }",
        "query($n: Incident) { incidents(first: $n) { totalCount } }",
        "{ policies { reopenRole } } { viewer { __typename } }",
        "query A { policies { reopenRole } } query A { policies { reopenRole } }",
        "{ policies { } }",
        "type T { a: Int }",
        "subscription { queueSummary { position } activityLog { __typename } }",
        "subscription { queueSummary @include(if: true) { position } }",
    ] {
        let answer = desk.graphql_as(None, query, json!({})).await;
        assert!(answer.get("data").is_none(), "{query} was executed: {answer}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID", "{query}: {answer}");
        assert!(answer["errors"][0]["locations"][0]["line"].is_u64(), "{query}: {answer}");
    }
}

async fn escapes_mean_their_characters(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let create =
        r#"mutation { createIncident(input: { title: "\uD83D\uDE00 \u{1F600} \u00e9" }) { incident { title } } }"#;
    assert_eq!(desk.data(create, json!({})).await["createIncident"]["incident"]["title"], "😀 😀 é");
    for broken in [r#""\uD83D""#, r#""\uDE00""#, r#""\u{110000}""#, r#""\x""#] {
        let refusal =
            desk.refused(&format!("{{ incidents(filter: {{ text: {broken} }}) {{ totalCount }} }}"), json!({})).await;
        assert_eq!(refusal.code, "INVALID", "{broken}");
    }
}

async fn names_come_in_the_order_of_the_document(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Beaconing").await;
    let query = "query($id: ID!) { viewer { __typename } incident(by: { id: $id }) { number entities { kind } title ...More \
                 alerts { totalCount nodes { id } } comments { totalCount } status number } policies { reopenRole } } \
                 fragment More on Incident { tags { name } description alerts { nodes { title } } }";
    let expected = r#"{"data":{"viewer":{"__typename":"Viewer"},"incident":{"number":1,"entities":[],"title":"Beaconing","tags":[],"#;
    for _ in 0..5 {
        let answer = text(&desk, query, json!({ "id": id })).await;
        assert!(answer.starts_with(expected), "{answer}");
        let place = |key: &str| answer.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} in {answer}"));
        let keys = ["tags", "description", "alerts", "nodes", "totalCount", "comments", "status", "policies"];
        // `nodes` comes before `totalCount` below `alerts`, because the fragment asks for it first.
        assert!(keys.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{answer}");
    }
}

/// The data of an item of `incidentQueue` of which nothing is selected.
const EMPTY_ITEM: &str = r#"{"incidentQueue":{}}"#;

/// Opens a desk with many heartbeats.
async fn beating(database: &TestDatabase) -> TestDesk {
    TestDesk::open_with(database, Options { heartbeat: Duration::from_millis(20), ..Options::default() }).await
}

async fn followed(desk: &TestDesk, query: &str) -> Socket {
    let mut socket = Socket::ready(&format!("{}/graphql", desk.url.replacen("http", "ws", 1))).await;
    socket.subscribe("1", query).await;
    socket
}

/// Returns the data of the next item as it is written.
async fn item_text(socket: &mut Socket) -> String {
    let text = socket.text().await;
    let data = text.split_once(r#""payload":{"data":"#).and_then(|(_, rest)| rest.strip_suffix("}}"));
    data.unwrap_or_else(|| panic!("not an item without errors: {text}")).to_owned()
}

/// Returns an item without its position under the name `place`, which is another in each run.
fn without_place(text: &str) -> String {
    let item: Value = serde_json::from_str(text).expect("JSON");
    text.replace(item["incidentQueue"]["place"].as_str().unwrap_or_else(|| panic!("no item: {text}")), "")
}

async fn items_of_a_queue_have_the_form_of_the_document(database: TestDatabase) {
    let desk = beating(&database).await;
    let query = "subscription { incidentQueue { ... on QueueEntered { enteredReason \
                 row { number tags { name } ...More title } place: position last } } } \
                 fragment More on QueueRow { owner { account } status alertCount }";
    // The second stream shares the frames of the first.
    let mut streams = [followed(&desk, query).await, followed(&desk, query).await];
    for stream in &mut streams {
        assert_eq!(item_text(stream).await, EMPTY_ITEM, "the marker `Live`");
    }
    let mut expected = Vec::new();
    for number in 1..=6 {
        let input = json!({ "title": format!("Beacon {number}"), "tags": ["vip"], "owner": { "me": true } });
        desk.act("createIncident", input).await;
        let more = r#""owner":{"account":"local-manager"},"status":"NEW","alertCount":0"#;
        let row = format!(r#"{{"number":{number},"tags":[{{"name":"vip"}}],{more},"title":"Beacon {number}"}}"#);
        let item = format!(r#"{{"enteredReason":"CREATED","row":{row},"place":"","last":true}}"#);
        expected.push(format!(r#"{{"incidentQueue":{item}}}"#));
    }
    for stream in &mut streams {
        let (mut entered, mut heartbeats) = (Vec::new(), 0);
        while entered.len() < expected.len() || heartbeats == 0 {
            match item_text(stream).await {
                text if text == EMPTY_ITEM => heartbeats += 1,
                text => entered.push(without_place(&text)),
            }
        }
        assert_eq!(entered, expected);
    }
}

async fn items_of_the_activity_log_have_the_form_of_the_document(database: TestDatabase) {
    let desk = beating(&database).await;
    let id = desk.incident("Beaconing").await;
    let query = "subscription { activityLog { ... on ActivityChange { change { incidentNumber \
                 entries { ... on OwnerEntry { __typename } } version } position } } }";
    let mut stream = followed(&desk, query).await;
    assert_eq!(item_text(&mut stream).await, r#"{"activityLog":{}}"#, "the marker `Live`");
    let owner = r#"{"__typename":"OwnerEntry"}"#;
    let changes = [
        ("renameIncident", json!({ "title": "Beaconing again" }), "{}".to_owned()),
        ("assignIncident", json!({ "owner": { "me": true } }), owner.to_owned()),
        ("addTags", json!({ "tags": ["vip"] }), "{}".to_owned()),
        ("unassignIncident", json!({}), owner.to_owned()),
        (
            "updateIncident",
            json!({ "severity": "HIGH", "title": "Beaconing", "owner": { "me": true } }),
            format!("{{}},{{}},{owner}"),
        ),
    ];
    for (version, (name, input, entries)) in (2..).zip(changes) {
        let position = desk.act(name, laid_over(json!({ "incidentId": id }), input)).await["position"].take();
        let change = format!(r#"{{"incidentNumber":1,"entries":[{entries}],"version":{version}}}"#);
        let text = loop {
            match item_text(&mut stream).await {
                text if text == r#"{"activityLog":{}}"# => {}
                text => break text,
            }
        };
        assert_eq!(text, format!(r#"{{"activityLog":{{"change":{change},"position":{position}}}}}"#), "{name}");
    }
}

async fn errors_stand_where_the_client_asked(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let query =
        "{\n  ...F\n}\nfragment F on Query {\n  mine: incidents(first: 101) { totalCount }\n  viewer { __typename }\n}";
    let answer = desk.graphql_as(None, query, json!({})).await;
    assert_eq!(answer["errors"][0]["path"], json!(["mine"]));
    assert_eq!(answer["errors"][0]["locations"][0]["line"], 5);
}

async fn a_refusal_leaves_the_other_answers_of_its_document(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let two = "mutation { a: createIncident(input: { title: \"\" }) { incident { title } } \
               b: createIncident(input: { title: \"Beaconing\" }) { incident { title } } }";
    let answer = desk.graphql_as(None, two, json!({})).await;
    assert_eq!(answer["data"], json!({ "a": null, "b": { "incident": { "title": "Beaconing" } } }));
    assert_eq!((&answer["errors"][0]["path"], answer["errors"].as_array().map(Vec::len)), (&json!(["a"]), Some(1)));
    let page = "{ a: incidents(first: 101) { totalCount } b: incidents { nodes { title } } }";
    let answer = desk.graphql_as(None, page, json!({})).await;
    assert_eq!(answer["data"], json!({ "a": null, "b": { "nodes": [{ "title": "Beaconing" }] } }));
    // An error in a non-null field nulls the nearest nullable field above it.
    let nested = "{ a: incidents { nodes { comments(first: 101) { totalCount } } } b: incidents { totalCount } }";
    let answer = desk.graphql_as(None, nested, json!({})).await;
    assert_eq!(answer["data"], json!({ "a": null, "b": { "totalCount": 1 } }));
    let node =
        "query($ids: [ID!]!) { nodes(ids: $ids) { id ... on Incident { comments(first: 101) { totalCount } } } }";
    let id = desk.data("{ incidents { nodes { id } } }", json!({})).await["incidents"]["nodes"][0]["id"].clone();
    let answer = desk.graphql_as(None, node, json!({ "ids": [id] })).await;
    assert_eq!(answer["data"], json!({ "nodes": [null] }));
}

async fn each_rule_of_the_reference_implementation_is_kept_case_by_case(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let run = kit("rules.mjs").args([desk.url.as_str(), SCHEMA]).output().await.expect("node runs");
    let said = String::from_utf8_lossy(&run.stdout);
    println!("{said}");
    assert!(run.status.success(), "{said} {}", String::from_utf8_lossy(&run.stderr));
}

/// The schema that the scripts give to the reference implementation.
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");

/// The number of random documents, half of them invalid; `make fuzz` tries more.
const DOCUMENTS: &str = "1000";

#[expect(clippy::disallowed_methods, reason = "the tests have no config.rs: `make fuzz` says how long and from where")]
fn of_env(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

async fn what_the_reference_implementation_accepts_is_accepted_and_answered_alike(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for n in 0..3 {
        let alert = report(&format!("alert-{n}"), json!({ "description": "Beaconing" }));
        desk.act("ingestAlert", json!({ "alert": alert })).await;
        desk.incident(&format!("Incident {n}")).await;
    }
    let (seed, documents) = (of_env("WATCHFLOOR_FUZZ_SEED", "1"), of_env("WATCHFLOOR_FUZZ_DOCUMENTS", DOCUMENTS));
    let run = kit("differential.mjs")
        .args([desk.url.as_str(), SCHEMA, seed.as_str(), documents.as_str()])
        .output()
        .await
        .expect("node runs");
    let said = String::from_utf8_lossy(&run.stdout);
    println!("{said}");
    assert!(run.status.success(), "{said} {}", String::from_utf8_lossy(&run.stderr));
}
