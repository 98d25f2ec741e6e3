//! Past states of incidents: folding the log gives the state that was read then, whatever has happened since.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;
use crate::support::shift::Shift;
use crate::support::triage::{each, report};

each_database!(
    folding_the_log_gives_the_incident_as_it_stands_and_as_it_stood,
    what_was_overwritten_since_is_there_again,
    a_moment_that_the_log_does_not_have_is_refused,
    a_deleted_incident_as_it_was_is_for_managers,
    what_an_incident_held_then_is_paged_both_ways,
    a_log_of_before_alerts_were_noted_says_what_it_does_not_know,
    a_text_that_was_altered_behind_the_log_is_not_shown,
);

/// Every field that an incident has now and as of a moment.
const FIELDS: &str =
    "id number reference version title titleTruncated fullTitle titleGenerated description severity computedSeverity
    severityOverride status classification { kind threat activity reason } owner { id kind account }
    tags { name kind } resolution { note at by { account name } } alertCount commentCount products providers
    createdAt updatedAt firstActivityAt lastActivityAt firstAssignedAt resolvedAt redirectedToId
    entities { kind entities { value alertCount } } activity(last: 100) { totalCount nodes { position version at } }";

const ALERT: &str = "status owner { id account } classification { kind threat activity reason }";

const COMMENT: &str = "body html author { account } createdAt editedAt";

/// Returns the present incident with the fields of [`then`].
async fn present(desk: &TestDesk, id: &str) -> Value {
    let query = format!(
        "query($id: ID!) {{ incident(by: {{ id: $id }}) {{ {FIELDS} alerts(first: 100) {{ totalCount nodes {{ alertId: id {ALERT} }} }}
            comments(first: 100) {{ totalCount nodes {{ commentId: id {COMMENT} }} }} }} }}"
    );
    desk.data(&query, json!({ "id": id })).await["incident"].take()
}

fn as_of() -> String {
    format!(
        "query($by: IncidentByInput!, $moment: MomentInput!) {{ incidentAsOf(by: $by, moment: $moment) {{
            {FIELDS} alerts(first: 100) {{ totalCount nodes {{ alertId {ALERT} }} }}
            comments(first: 100) {{ totalCount nodes {{ commentId {COMMENT} }} }} }} }}"
    )
}

/// Returns the incident as of a moment.
async fn then(desk: &TestDesk, id: &str, moment: Value) -> Value {
    desk.data(&as_of(), json!({ "by": { "id": id }, "moment": moment })).await["incidentAsOf"].take()
}

async fn position(desk: &TestDesk) -> String {
    let read = desk.data("{ incidents(first: 0) { position } }", json!({})).await;
    read["incidents"]["position"].as_str().expect("a position").to_owned()
}

async fn folding_the_log_gives_the_incident_as_it_stands_and_as_it_stood(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut dice = Dice::of_this_run();
    let mut shift = Shift::begin(&desk, &mut dice).await;
    let mut seen = Vec::new();
    for _ in 0..60 {
        for _ in 0..2 {
            shift.act(&desk, &mut dice).await;
        }
        let incident = dice.pick(&shift.incidents).clone();
        let (moment, stands) = (position(&desk).await, present(&desk, &incident).await);
        assert_eq!(then(&desk, &incident, json!({ "position": moment })).await, stands, "as it stands");
        seen.push((incident, moment, desk.clock.now(), stands));
    }
    for (incident, moment, at, stood) in seen {
        assert_eq!(then(&desk, &incident, json!({ "position": moment })).await, stood, "as of {moment}");
        assert_eq!(then(&desk, &incident, json!({ "at": at })).await, stood, "as of {at}");
    }
}

async fn what_was_overwritten_since_is_there_again(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let long = "Outbound 443 to a domain registered yesterday, with jitter. ".repeat(6);
    let made = desk.create(json!({ "title": "Beacon to a new domain", "description": long })).await;
    let id = made["id"].as_str().expect("an id");
    let entities = json!([{ "kind": "DEVICE", "value": "WS-7" }, { "kind": "DOMAIN", "value": "Évil.example" }]);
    let alerts = vec![report("1", json!({ "status": "ACTIVE", "entities": entities }))];
    let alert = desk.ingest(alerts, json!({ "incident": id })).await["alerts"][0]["id"].take();
    let comment =
        desk.act("addComment", json!({ "incidentId": id, "body": "**C2**, I think" })).await["comment"]["id"].take();
    desk.clock.advance(chrono::Duration::minutes(5));
    desk.act("editComment", json!({ "commentId": comment, "body": "C2, per the sandbox" })).await;
    let resolved = desk.update(id, json!({ "status": "RESOLVED", "note": long, "owner": { "me": true } })).await;
    let moment = json!({ "position": resolved["position"] });

    desk.clock.advance(chrono::Duration::minutes(5));
    desk.update(id, json!({ "title": "Noise", "description": null, "status": "ACTIVE", "owner": null })).await;
    desk.act("deleteComment", json!({ "commentId": comment })).await;
    desk.act("updateAlert", json!({ "alertId": alert, "classification": { "falsePositive": "NOT_MALICIOUS" } })).await;
    desk.ingest(vec![report("1", json!({ "entities": [] }))], Value::Null).await;
    desk.update(id, json!({ "unlinkAlerts": [alert] })).await;

    let stood = then(&desk, id, moment.clone()).await;
    let title = (&stood["title"], &stood["description"], &stood["resolution"]["note"]);
    assert_eq!(title, (&json!("Beacon to a new domain"), &json!(long), &json!(long.trim())));
    assert_eq!((&stood["owner"]["account"], &stood["status"]), (&json!("local-manager"), &json!("RESOLVED")));
    let alert_then = &stood["alerts"]["nodes"][0];
    assert_eq!(
        (&alert_then["alertId"], &alert_then["status"], &alert_then["classification"]),
        (&alert, &json!("RESOLVED"), &Value::Null)
    );
    assert_eq!(alert_then["owner"]["account"], "local-manager");
    let comment_then = &stood["comments"]["nodes"][0];
    assert_eq!(
        (&comment_then["body"], &comment_then["html"]),
        (&json!("C2, per the sandbox"), &json!("<p>C2, per the sandbox</p>\n"))
    );
    assert_eq!(comment_then["editedAt"], "2026-11-23T08:05:00+00:00");
    // The alert no longer names either entity, so only their normalised forms are left.
    let named = json!([
        { "kind": "DEVICE", "entities": [{ "value": "ws-7", "alertCount": 1 }] },
        { "kind": "DOMAIN", "entities": [{ "value": "evil.example", "alertCount": 1 }] },
    ]);
    assert_eq!(stood["entities"], named);
    assert_eq!(stood["activity"]["totalCount"], stood["version"]);

    // An alert with an overwritten report shows today's report; a fragment on the queue's fields works too.
    let query = "query($id: ID!, $moment: MomentInput!) { incidentAsOf(by: { id: $id }, moment: $moment) {
        position ...Row alerts { nodes { alert { id status entities { value } } } } } }
        fragment Row on QueueFields { title severity }";
    let read = desk.data(query, json!({ "id": id, "moment": moment })).await["incidentAsOf"].take();
    assert_eq!(read["position"], resolved["position"]);
    assert_eq!(read["alerts"]["nodes"][0]["alert"], json!({ "id": alert, "status": "ACTIVE", "entities": [] }));
}

async fn a_moment_that_the_log_does_not_have_is_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let before = position(&desk).await;
    desk.incident("Sign-in from two countries").await;
    desk.clock.advance(chrono::Duration::minutes(1));
    let id = desk.incident("Mass download by a leaver").await;
    let now = position(&desk).await;
    let other = watchfloor::domain::position::Position {
        epoch: uuid::Uuid::from_u128(7),
        ..watchfloor::domain::position::Position::parse(&now).expect("a position")
    };
    let ahead = watchfloor::domain::position::Position {
        offset: 99,
        ..watchfloor::domain::position::Position::parse(&now).expect("a position")
    };
    let position = |text: &str| json!({ "position": text });
    for (moment, code, path) in [
        (position("yesterday"), "INVALID", Some("moment.position")),
        (position(&other.to_string()), "CONFLICT", Some("moment.position")),
        (position(&ahead.to_string()), "CONFLICT", Some("moment.position")),
        (position(&before), "NOT_FOUND", Some("moment.position")),
        (json!({ "at": "2026-11-23T08:00:30Z" }), "NOT_FOUND", Some("moment.at")),
        (json!({ "at": "+20000-01-01T00:00:00Z" }), "INVALID", Some("moment.at")),
    ] {
        let refusal = desk.refused(&as_of(), json!({ "by": { "id": id }, "moment": moment })).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, path), "{moment}: {}", refusal.message);
        if code == "CONFLICT" {
            assert!(refusal.now["position"].is_string(), "it says where the log ends");
        }
    }
    let moment = position(&now);
    for (names, code, path) in [
        (json!({ "id": "incident:0198c0de-0000-7000-8000-000000000000" }), "NOT_FOUND", "by.id"),
        (json!({ "number": 99 }), "NOT_FOUND", "by.number"),
        (json!({ "id": id, "number": 2 }), "INVALID", "variables.by"),
        (json!({}), "INVALID", "variables.by"),
    ] {
        let refusal = desk.refused(&as_of(), json!({ "by": names, "moment": moment })).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some(path)), "{names}");
    }
    for moment in [json!({}), json!({ "position": now, "at": "2026-11-23T09:00:00Z" })] {
        let answer = desk.graphql_as(None, &as_of(), json!({ "by": { "id": id }, "moment": moment })).await;
        assert!(answer["errors"].is_array(), "{moment}: exactly one of the two");
    }
    let by_number = desk.data(&as_of(), json!({ "by": { "number": 2 }, "moment": moment })).await;
    assert_eq!(by_number["incidentAsOf"]["id"], json!(id));
}

async fn a_deleted_incident_as_it_was_is_for_managers(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    let alerts = vec![report("1", json!({ "status": "ACTIVE" }))];
    let id = desk.ingest(alerts, json!({ "newIncident": true })).await["incident"]["id"].take();
    let id = id.as_str().expect("an id");
    let (before, stood) = (position(&desk).await, present(&desk, id).await);
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    let moment = json!({ "position": before });
    assert_eq!(then(&desk, id, moment.clone()).await, stood);
    let refusal = desk.refused_as(Some("ana"), &as_of(), json!({ "by": { "id": id }, "moment": moment })).await;
    assert_eq!(refusal.code, "NOT_FOUND");
    let query = "query($id: ID!, $moment: MomentInput!) { incidentAsOf(by: { id: $id }, moment: $moment) { deletedAt alertCount } }";
    let gone = json!({ "position": position(&desk).await });
    for (moment, deleted_at, alerts) in [(moment, Value::Null, 1), (gone, json!("2026-11-23T08:00:00+00:00"), 0)] {
        let read = desk.data(query, json!({ "id": id, "moment": moment })).await["incidentAsOf"].take();
        assert_eq!(read, json!({ "deletedAt": deleted_at, "alertCount": alerts }));
    }
}

async fn what_an_incident_held_then_is_paged_both_ways(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let reports = (0..7).map(|n| report(&n.to_string(), json!({}))).collect();
    let taken = desk.ingest(reports, json!({ "newIncident": true })).await;
    let (id, alerts) = (&taken["incident"]["id"], each(&taken["alerts"], "id"));
    let mut comments = Vec::new();
    for n in 0..7 {
        let written = desk.act("addComment", json!({ "incidentId": id, "body": format!("step {n}") })).await;
        comments.push(written["comment"]["id"].clone());
    }
    let moment = json!({ "position": position(&desk).await });
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    for (list, key, expected) in [("alerts", "alertId", alerts), ("comments", "commentId", comments.iter().collect())] {
        let query = format!(
            "query($id: ID!, $moment: MomentInput!, $first: Int, $after: String, $last: Int, $before: String) {{
                incidentAsOf(by: {{ id: $id }}, moment: $moment) {{ page: {list}(first: $first, after: $after, last: $last, before: $before) {{
                    totalCount pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} nodes {{ {key} }} }} }} }}"
        );
        for (end, cursor, ahead, mark) in
            [("first", "after", "hasNextPage", "endCursor"), ("last", "before", "hasPreviousPage", "startCursor")]
        {
            let (mut read, mut place) = (Vec::new(), Value::Null);
            loop {
                let variables = json!({ "id": id, "moment": moment, end: 3, cursor: place });
                let page = desk.data(&query, variables).await["incidentAsOf"]["page"].take();
                assert_eq!(page["totalCount"], 7);
                let ids: Vec<Value> = each(&page["nodes"], key).into_iter().cloned().collect();
                assert!(ids.len() <= 3);
                read = if end == "first" { [read, ids].concat() } else { [ids, read].concat() };
                place = page["pageInfo"][mark].clone();
                if page["pageInfo"][ahead] == false {
                    break;
                }
            }
            assert_eq!(read.iter().collect::<Vec<_>>(), expected, "{list} from {end}");
        }
    }
}

async fn a_log_of_before_alerts_were_noted_says_what_it_does_not_know(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let taken = desk.ingest(vec![report("1", json!({}))], json!({ "newIncident": true })).await;
    let (id, alert) = (taken["incident"]["id"].as_str().expect("an id"), &taken["alerts"][0]["id"]);
    let raw = database.connect().await;
    let forget = r#"UPDATE change SET body = replace(body, ',"states":[{"status":"NEW"}]', '')"#;
    sea_orm::ConnectionTrait::execute_unprepared(&raw, forget).await.expect("an older log");
    let before = json!({ "position": position(&desk).await });
    desk.act("updateAlert", json!({ "alertId": alert, "status": "ACTIVE" })).await;
    let after = json!({ "position": position(&desk).await });
    for (moment, status) in [(before, Value::Null), (after, json!("ACTIVE"))] {
        assert_eq!(then(&desk, id, moment).await["alerts"]["nodes"][0]["status"], status);
    }
}

async fn a_text_that_was_altered_behind_the_log_is_not_shown(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Mass download by a leaver").await;
    desk.act("addComment", json!({ "incidentId": id, "body": "Asked HR" })).await;
    let raw = database.connect().await;
    let alter = "UPDATE comment_revision SET body = 'Asked nobody'";
    sea_orm::ConnectionTrait::execute_unprepared(&raw, alter).await.expect("a forgery");
    let moment = json!({ "position": position(&desk).await });
    let refusal = desk.refused(&as_of(), json!({ "by": { "id": id }, "moment": moment })).await;
    assert_eq!(refusal.code, "INTERNAL");
}
