//! The numbers of a wall, through the API: the counting rules, live and queried, and the rate of states.

use std::time::Duration;

use serde_json::{Value, json};
use watchfloor::realtime::RealtimeLimits;
use watchfloor::storage::Statement;

use super::statements::Sent;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::{Following, Options, TestDesk};
use crate::support::socket::Frame;
use crate::support::stream::offset;
use crate::support::triage::report;

each_database!(
    the_numbers_follow_an_incident_through_its_life,
    created_and_resolved_leave_out_the_status_of_the_top_level,
    a_moved_alert_moves_the_numbers_of_an_entity,
    a_summary_of_me_is_the_callers,
    open_incidents_are_counted_by_tag_and_by_product,
    only_the_most_frequent_tags_are_listed,
    tags_and_products_are_counted_only_if_they_are_asked_for,
    a_quiet_queue_shows_how_far_it_has_counted,
    the_default_window_moves_on_with_the_day,
    input_that_cannot_be_meant_is_refused,
);

/// Every field of a summary.
const ALL: &str = "position since filter { json } open bySeverity { value count } byStatus { value count } unassigned
    byOwner { value { id kind account name } count } byTag { value { name kind } count }
    byProduct { value count } oldest created resolved";

fn asked(operation: &str) -> String {
    format!(
        "{operation}($filter: IncidentFilterInput, $since: DateTime) {{ queueSummary(filter: $filter, since: $since) {{ {ALL} }} }}"
    )
}

async fn query(desk: &TestDesk, account: Option<&str>, variables: &Value) -> Value {
    desk.data_as(account, &asked("query"), variables.clone()).await["queueSummary"].take()
}

/// Returns the state at the log's present end from the stream, once the query returns the same.
async fn settled(desk: &TestDesk, stream: &mut Following, account: Option<&str>, variables: &Value) -> Value {
    let end = desk.log_end().await;
    loop {
        let state = stream.item().await;
        if offset(&state["position"]) == end {
            assert_eq!(state, query(desk, account, variables).await, "live left, asked right, at one position");
            return state;
        }
    }
}

/// Returns the open, the new and the unassigned incidents; then the created and the resolved ones.
fn short(state: &Value) -> [&Value; 5] {
    assert_eq!(state["byStatus"][0]["value"], "NEW");
    [&state["open"], &state["byStatus"][0]["count"], &state["unassigned"], &state["created"], &state["resolved"]]
}

async fn the_numbers_follow_an_incident_through_its_life(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let bob = desk.user("bob", "RESPONDER").await;
    let group = desk.act("upsertGroup", json!({ "account": "soc" })).await["group"]["id"].take();
    let first = desk.create(json!({ "title": "the first", "severity": "LOW" })).await;
    desk.clock.advance(chrono::Duration::minutes(1));
    let variables = json!({});
    let mut stream = desk.follow(&asked("subscription"), variables.clone()).await;
    let state = settled(&desk, &mut stream, None, &variables).await;
    assert_eq!(state["since"], "2026-11-23T00:00:00+00:00", "midnight UTC of the day");
    assert_eq!(state["filter"]["json"], json!({ "status": ["NEW", "ACTIVE"] }));
    assert_eq!(short(&state), [1, 1, 1, 1, 0]);
    let severities = json!([{ "value": "HIGH", "count": 0 }, { "value": "MEDIUM", "count": 0 },
        { "value": "LOW", "count": 1 }, { "value": "INFORMATIONAL", "count": 0 }]);
    assert_eq!((&state["bySeverity"], &state["byOwner"]), (&severities, &json!([])));
    assert_eq!(state["oldest"], first["createdAt"]);

    let id = desk.incident("the second").await;
    let steps = [
        ("assignIncident", json!({ "owner": { "user": bob } }), [2, 2, 1, 2, 0]),
        ("assignIncident", json!({ "owner": { "group": group } }), [2, 2, 1, 2, 0]),
        ("setIncidentSeverity", json!({ "severity": "HIGH" }), [2, 2, 1, 2, 0]),
        ("setIncidentStatus", json!({ "status": "ACTIVE" }), [2, 1, 1, 2, 0]),
        ("unassignIncident", json!({}), [2, 1, 2, 2, 0]),
        ("resolveIncident", json!({ "note": "done" }), [1, 1, 1, 2, 1]),
        ("reopenIncident", json!({}), [2, 1, 2, 2, 0]),
        ("resolveIncident", json!({}), [1, 1, 1, 2, 1]),
        ("deleteIncident", json!({}), [1, 1, 1, 1, 0]),
    ];
    for (mutation, mut input, numbers) in steps {
        input["incidentId"] = json!(id);
        desk.act(mutation, input.clone()).await;
        let state = settled(&desk, &mut stream, None, &variables).await;
        assert_eq!(short(&state), numbers, "after {mutation} {input}: {state:#}");
        let owner = &state["byOwner"][0];
        match &input["owner"] {
            owner_input if owner_input["user"].is_string() => assert_eq!(owner["value"]["account"], "bob"),
            owner_input if owner_input["group"].is_string() => assert_eq!(owner["value"]["account"], "soc"),
            _ => {}
        }
    }
    let open = desk.data("{ incidents { totalCount } }", json!({})).await["incidents"]["totalCount"].take();
    assert_eq!(open, 1, "without a status in the filter `open` is the queue's count");
    let id = first["id"].as_str().expect("an id");
    desk.act("resolveIncident", json!({ "incidentId": id })).await;
    let state = settled(&desk, &mut stream, None, &variables).await;
    assert_eq!(short(&state), [0, 0, 0, 1, 1]);
    assert_eq!(state["oldest"], Value::Null, "nothing is open");
}

async fn created_and_resolved_leave_out_the_status_of_the_top_level(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for (severity, status) in [("HIGH", "NEW"), ("HIGH", "RESOLVED"), ("HIGH", "ACTIVE"), ("LOW", "RESOLVED")] {
        desk.create(json!({ "title": "one", "severity": severity, "status": status })).await;
    }
    let since = desk.clock.now();
    let numbers = async |filter: Value, since: Value| {
        let state = query(&desk, None, &json!({ "filter": filter, "since": since })).await;
        json!([
            state["open"],
            state["byStatus"][0]["count"],
            state["byStatus"][1]["count"],
            state["created"],
            state["resolved"]
        ])
    };
    let today = Value::Null;
    assert_eq!(numbers(json!({}), today.clone()).await, json!([2, 1, 1, 4, 2]));
    assert_eq!(numbers(json!({ "severity": ["HIGH"] }), today.clone()).await, json!([2, 1, 1, 3, 1]));
    let named = json!({ "severity": ["HIGH"], "status": ["NEW", "ACTIVE"] });
    assert_eq!(numbers(named, today.clone()).await, json!([2, 1, 1, 3, 1]), "named as added");
    assert_eq!(numbers(json!({ "status": ["NEW"] }), today.clone()).await, json!([1, 1, 0, 4, 2]));
    assert_eq!(numbers(json!({ "status": ["RESOLVED"] }), today.clone()).await, json!([0, 0, 0, 4, 2]));
    assert_eq!(numbers(json!({ "status": [] }), today.clone()).await, json!([0, 0, 0, 4, 2]));
    let inside = json!({ "not": { "status": ["NEW"] } });
    assert_eq!(numbers(inside, today).await, json!([1, 0, 1, 3, 2]), "one further down stays");
    assert_eq!(numbers(json!({}), json!(since)).await, json!([2, 1, 1, 4, 2]), "the first instant is within");
    let later = since + chrono::Duration::microseconds(1);
    assert_eq!(numbers(json!({}), json!(later)).await, json!([2, 1, 1, 0, 0]));
}

async fn a_moved_alert_moves_the_numbers_of_an_entity(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (from, to) = (desk.incident("Holds it first").await, desk.incident("Holds it then").await);
    let raised = json!({ "incidentId": to, "severity": "HIGH" });
    desk.act("setIncidentSeverity", raised).await;
    let variables = json!({ "filter": { "entity": [{ "kind": "IP", "value": "10.0.0.7" }] } });
    let mut stream = desk.follow(&asked("subscription"), variables.clone()).await;
    assert_eq!(settled(&desk, &mut stream, None, &variables).await["open"], 0);
    let alert = report("1", json!({ "entities": [{ "kind": "IP", "value": "10.0.0.7" }], "severity": "LOW" }));
    let taken = desk.ingest(vec![alert], json!({ "incident": from })).await;
    let state = settled(&desk, &mut stream, None, &variables).await;
    assert_eq!((&state["open"], &state["bySeverity"][2]["count"]), (&json!(1), &json!(1)));
    desk.act("linkAlerts", json!({ "incidentId": to, "alerts": [taken["alerts"][0]["id"]], "move": true })).await;
    let state = settled(&desk, &mut stream, None, &variables).await;
    let counts = [&state["open"], &state["bySeverity"][0]["count"], &state["bySeverity"][2]["count"]];
    assert_eq!(counts, [1, 1, 0], "it left the one and came to the other at once: {state:#}");
    desk.act("unlinkAlerts", json!({ "incidentId": to, "alerts": [taken["alerts"][0]["id"]] })).await;
    assert_eq!(settled(&desk, &mut stream, None, &variables).await["created"], 0);
}

async fn a_summary_of_me_is_the_callers(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for account in ["ann", "bob"] {
        desk.user(account, "RESPONDER").await;
    }
    let variables = json!({ "filter": { "owner": { "me": true } } });
    let mut of_ann = desk.follow_as("ann", &asked("subscription"), variables.clone()).await;
    let mut of_bob = desk.follow_as("bob", &asked("subscription"), variables.clone()).await;
    settled(&desk, &mut of_ann, Some("ann"), &variables).await;
    settled(&desk, &mut of_bob, Some("bob"), &variables).await;
    let id = desk.incident("Whose is it").await;
    let mine = json!({ "incidentId": id, "owner": { "me": true } });
    desk.act_as(Some("bob"), "assignIncident", mine.clone()).await;
    let state = settled(&desk, &mut of_bob, Some("bob"), &variables).await;
    assert_eq!((&state["open"], &state["byOwner"][0]["value"]["account"]), (&json!(1), &json!("bob")));
    desk.act_as(Some("ann"), "assignIncident", mine).await;
    assert_eq!(settled(&desk, &mut of_ann, Some("ann"), &variables).await["open"], 1);
    assert_eq!(settled(&desk, &mut of_bob, Some("bob"), &variables).await["open"], 0);
}

async fn open_incidents_are_counted_by_tag_and_by_product(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let variables = json!({});
    let mut stream = desk.follow(&asked("subscription"), variables.clone()).await;
    let state = settled(&desk, &mut stream, None, &variables).await;
    assert_eq!((&state["byTag"], &state["byProduct"]), (&json!([]), &json!([])));
    let first = desk.create(json!({ "title": "one", "tags": ["vip", "Beta"] })).await["id"].take();
    let second = desk.create(json!({ "title": "two", "tags": ["VIP"] })).await["id"].take();
    let alert = |key: &str, product: &str| report(key, json!({ "product": product }));
    let reports = vec![alert("1", "Wazuh"), alert("2", "Wazuh"), alert("3", "Suricata")];
    let taken = desk.ingest(reports, json!({ "incident": first })).await;
    desk.ingest(vec![alert("4", "Suricata"), alert("5", "Defender")], json!({ "incident": second })).await;
    let state = settled(&desk, &mut stream, None, &variables).await;
    let tag = |name: &str, count: u64| json!({ "value": { "name": name, "kind": "CUSTOM" }, "count": count });
    let product = |name: &str, count: u64| json!({ "value": name, "count": count });
    assert_eq!(state["byTag"], json!([tag("vip", 2), tag("Beta", 1)]), "as first written");
    // An incident counts once for a product, however many of its alerts name it; equal counts are ordered by name.
    assert_eq!(state["byProduct"], json!([product("Suricata", 2), product("Defender", 1), product("Wazuh", 1)]));

    desk.act("unlinkAlerts", json!({ "incidentId": first, "alerts": [taken["alerts"][2]["id"]] })).await;
    desk.act("removeTags", json!({ "incidentId": second, "tags": ["vip"] })).await;
    desk.act("addTags", json!({ "incidentId": second, "tags": ["alpha", "beta"] })).await;
    let state = settled(&desk, &mut stream, None, &variables).await;
    assert_eq!(state["byTag"], json!([tag("Beta", 2), tag("alpha", 1), tag("vip", 1)]));
    assert_eq!(state["byProduct"], json!([product("Defender", 1), product("Suricata", 1), product("Wazuh", 1)]));
    desk.act("resolveIncident", json!({ "incidentId": second })).await;
    let state = settled(&desk, &mut stream, None, &variables).await;
    assert_eq!(state["byTag"], json!([tag("Beta", 1), tag("vip", 1)]), "only open incidents count");
    assert_eq!(state["byProduct"], json!([product("Wazuh", 1)]));
    // The condition on tags holds, unlike in a facet.
    let of_alpha = query(&desk, None, &json!({ "filter": { "tags": { "any": ["alpha"] } } })).await;
    assert_eq!((&of_alpha["byTag"], &of_alpha["open"]), (&json!([]), &json!(0)));
}

async fn only_the_most_frequent_tags_are_listed(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let without = RealtimeLimits { incidents: 0, ..Options::default().ring };
    let plain = Options { clock: desk.clock.clone(), ring: without, ..Options::default() };
    let plain = TestDesk::open_with(&database, plain).await;
    let tags = |range: std::ops::Range<usize>| range.map(|n| format!("ticket {n:03}")).collect::<Vec<_>>();
    desk.create(json!({ "title": "one", "tags": tags(0..70) })).await;
    desk.create(json!({ "title": "two", "tags": tags(60..130) })).await;
    let expected: Vec<String> = tags(60..70).into_iter().chain(tags(0..60)).chain(tags(70..100)).collect();
    let mut streams = Vec::new();
    for node in [&desk, &plain] {
        let state = query(node, None, &json!({})).await;
        let listed = state["byTag"].as_array().expect("tags").iter().map(|facet| &facet["value"]["name"]);
        assert_eq!(listed.collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>(), "100 of 130");
        let mut stream = node.follow(&asked("subscription"), json!({})).await;
        assert_eq!(stream.item().await, state);
        streams.push(stream);
    }
    // A tag beyond the listed tags comes up by a change.
    desk.create(json!({ "title": "three", "tags": ["ticket 129"] })).await;
    for (node, stream) in [&desk, &plain].into_iter().zip(&mut streams) {
        let state = settled(node, stream, None, &json!({})).await;
        assert_eq!(state["byTag"][10]["value"]["name"], "ticket 129");
        assert_eq!(state["byTag"].as_array().map(Vec::len), Some(100));
    }
}

async fn tags_and_products_are_counted_only_if_they_are_asked_for(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk_without_board(&database).await;
    desk.create(json!({ "title": "one", "tags": ["vip"] })).await;
    for (selected, tables) in [
        ("open", vec![]),
        ("byTag { count }", vec!["FROM \"incident_tag\""]),
        ("byProduct { count }", vec!["FROM \"alert\""]),
        ("byTag { count } byProduct { count }", vec!["FROM \"incident_tag\"", "FROM \"alert\""]),
    ] {
        sent.take();
        desk.data(&format!("{{ queueSummary {{ {selected} }} }}"), json!({})).await;
        let statements = sent.take();
        for table in ["FROM \"incident_tag\"", "FROM \"alert\""] {
            let is_read = statements.iter().any(|it| it.sql.contains("COUNT(") && it.sql.contains(table));
            assert_eq!(is_read, tables.contains(&table), "{selected}: {table}");
        }
    }
}

async fn a_quiet_queue_shows_how_far_it_has_counted(database: TestDatabase) {
    let options = Options { heartbeat: Duration::from_millis(40), ..Options::default() };
    let desk = TestDesk::open_with(&database, options).await;
    let variables = json!({ "filter": { "severity": ["HIGH"] } });
    let mut stream = desk.follow(&asked("subscription"), variables.clone()).await;
    let first = settled(&desk, &mut stream, None, &variables).await;
    assert_eq!(stream.item().await, first, "it lives");
    desk.incident("Not of these").await;
    let moved = settled(&desk, &mut stream, None, &variables).await;
    assert_ne!(moved["position"], first["position"]);
    assert_eq!((short(&moved), &moved["oldest"]), (short(&first), &first["oldest"]));
}

async fn the_default_window_moves_on_with_the_day(database: TestDatabase) {
    let options = Options { heartbeat: Duration::from_millis(40), ..Options::default() };
    let desk = TestDesk::open_with(&database, options).await;
    desk.create(json!({ "title": "Of Monday, done", "status": "RESOLVED" })).await;
    desk.incident("Of Monday").await;
    let fixed = json!({ "since": "2026-11-23T08:00:00Z" });
    let mut stream = desk.follow(&asked("subscription"), json!({})).await;
    let mut from_monday = desk.follow(&asked("subscription"), fixed.clone()).await;
    assert_eq!(short(&settled(&desk, &mut stream, None, &json!({})).await), [1, 1, 1, 2, 1]);
    desk.clock.advance(chrono::Duration::hours(17));
    let state = loop {
        let state = stream.item().await;
        if state["since"] == "2026-11-24T00:00:00+00:00" {
            break state;
        }
    };
    assert_eq!(short(&state), [1, 1, 1, 0, 0], "nothing happened, and yet a new day begins");
    desk.incident("Of Tuesday").await;
    assert_eq!(short(&settled(&desk, &mut stream, None, &json!({})).await), [2, 2, 2, 1, 0]);
    assert_eq!(
        short(&settled(&desk, &mut from_monday, None, &fixed).await),
        [2, 2, 2, 3, 1],
        "a window that was given stays"
    );
}

async fn input_that_cannot_be_meant_is_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let deep = (0..9).fold(json!({}), |filter, _| json!({ "not": filter }));
    for (variables, code, path) in [
        (json!({ "since": "0001-12-31T00:00:00Z" }), "INVALID", Some("since")),
        (json!({ "since": "9999-01-01T00:00:00Z" }), "INVALID", Some("since")),
        (json!({ "since": "yesterday" }), "INVALID", Some("variables.since")),
        (json!({ "filter": { "text": " " } }), "INVALID", Some("filter.text")),
        (
            json!({ "filter": { "owner": { "users": ["group:0198c0de-0000-7000-8000-000000000000"] } } }),
            "INVALID",
            Some("filter.owner.users.0"),
        ),
        (json!({ "filter": { "colour": ["RED"] } }), "INVALID", Some("variables.filter.colour")),
        (json!({ "filter": deep }), "LIMIT", Some("filter")),
    ] {
        let refusal = desk.refused(&asked("query"), variables.clone()).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, path), "{variables}");
        let frame = desk.follow(&asked("subscription"), variables.clone()).await.frame().await;
        let Frame::Json(message) = frame else { panic!("{variables}: {frame:?}") };
        let payload = &message["payload"];
        let error = if message["type"] == "error" { &payload[0] } else { &payload["errors"][0] };
        assert_eq!(error["extensions"]["code"], code, "{variables}: {message}");
    }
    // A start before 1970 includes everything, and a future start includes nothing: both are valid.
    desk.incident("one").await;
    for (since, created) in [("1066-10-14T09:00:00Z", 1), ("2999-01-01T00:00:00Z", 0)] {
        assert_eq!(query(&desk, None, &json!({ "since": since })).await["created"], created, "{since}");
    }
}

/// Analysts who work a queue from its old end remove the oldest known incident again and again. On one database only,
/// because the test is about memory.
#[tokio::test]
async fn the_oldest_is_known_after_hundreds_of_oldest_have_left() {
    let database = TestDatabase::fresh(Kind::Sqlite).await;
    let sent = Sent::default();
    // With a board, no statement would be needed.
    let desk = sent.by_desk_without_board(&database).await;
    let count = watchfloor::domain::summary::OLDEST_MAX + 60;
    for n in 0..count {
        desk.clock.advance(chrono::Duration::seconds(1));
        desk.incident(&format!("number {n}")).await;
    }
    let list = "query($after: String) { incidents(first: 100, after: $after, orderBy: [{ field: CREATED_AT, direction: ASC }]) {
        pageInfo { endCursor hasNextPage } nodes { id createdAt } } }";
    let (mut oldest_first, mut after) = (Vec::new(), Value::Null);
    while oldest_first.len() < count {
        let mut page = desk.data(list, json!({ "after": after })).await["incidents"].take();
        oldest_first.extend(page["nodes"].as_array().expect("nodes").clone());
        after = page["pageInfo"]["endCursor"].take();
    }
    let mut stream = desk.follow("subscription { queueSummary { position open oldest } }", json!({})).await;
    assert_eq!(stream.item().await["oldest"], oldest_first[0]["createdAt"]);
    sent.take();
    for (n, incident) in oldest_first.iter().enumerate().take(count - 1) {
        desk.act("resolveIncident", json!({ "incidentId": incident["id"] })).await;
        if n % 40 == 0 || n > count - 3 {
            let state = loop {
                let state = stream.item().await;
                if offset(&state["position"]) == desk.log_end().await {
                    break state;
                }
            };
            assert_eq!(state["open"], count - 1 - n);
            assert_eq!(state["oldest"], oldest_first[n + 1]["createdAt"], "after {n}");
        }
    }
    let counted = |statement: &&Statement| statement.sql.contains("COUNT(*)") && statement.sql.contains("GROUP BY");
    let taken_anew = sent.take().iter().filter(counted).count();
    assert_eq!(taken_anew, 1, "once for {count} that left");
}
