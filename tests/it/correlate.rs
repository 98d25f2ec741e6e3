//! Correlation of alerts with incidents, through the public API: the choice, its reason, and never two for one attack.

use chrono::Duration;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::statements::Sent;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::triage::{each, laid_over, report};

each_database!(
    an_alert_joins_the_open_incident_that_shares_an_entity,
    only_what_identifies_counts_unless_more_is_asked_for,
    an_entity_of_too_many_open_incidents_says_nothing,
    the_window_lies_between_activities,
    of_several_incidents_the_closest_is_joined,
    only_open_incidents_are_joined,
    alerts_of_one_batch_that_share_entities_stay_together,
    known_alerts_stay_where_they_are_and_free_ones_are_correlated,
    an_alert_that_joins_takes_the_owner_and_brings_tags,
    bad_correlations_are_refused_and_nothing_is_taken_in,
    alerts_of_one_attack_never_open_two_incidents,
    crossing_batches_and_analysts_never_stop_each_other,
    a_batch_is_correlated_in_as_many_statements_as_an_alert,
);

const INGEST: &str = "mutation($input: IngestAlertsInput!) { ingestAlerts(input: $input) {
    created updated unchanged incident { number }
    correlations { alert { providerAlertId owner { account } incident { number } } incident { id number alertCount title }
                   outcome sharedEntities { kind value } }
} }";

fn entity(kind: &str, value: &str) -> Value {
    json!({ "kind": kind, "value": value })
}

fn device(value: &str) -> Value {
    entity("DEVICE", value)
}

/// Returns an alert with this key that names these entities.
fn naming(key: &str, entities: &[Value]) -> Value {
    report(key, json!({ "entities": entities }))
}

/// Ingests alerts with this correlation, and returns the payload.
async fn correlate(desk: &TestDesk, alerts: Vec<Value>, how: Value) -> Value {
    let input = json!({ "alerts": alerts, "into": { "correlate": how } });
    desk.data(INGEST, json!({ "input": input })).await["ingestAlerts"].take()
}

/// Ingests one alert with this correlation; returns its incident's number, and how it came there.
async fn place(desk: &TestDesk, alert: Value, how: Value) -> (i64, String) {
    let taken = correlate(desk, vec![alert], how).await;
    let told = &taken["correlations"][0];
    assert_eq!(told["incident"]["number"], told["alert"]["incident"]["number"], "what is told is what is true");
    (told["incident"]["number"].as_i64().expect("a number"), told["outcome"].as_str().expect("a word").to_owned())
}

fn opened(number: i64) -> (i64, String) {
    (number, "OPENED".to_owned())
}

fn joined(number: i64) -> (i64, String) {
    (number, "JOINED".to_owned())
}

async fn an_alert_joins_the_open_incident_that_shares_an_entity(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let first = naming("mail", &[entity("USER", "kim.lind"), entity("URL", "https://login.example/")]);
    let taken = correlate(&desk, vec![first], json!({})).await;
    assert_eq!(
        taken,
        json!({
            "created": 1, "updated": 0, "unchanged": 0, "incident": { "number": 1 },
            "correlations": [{
                "alert": { "providerAlertId": "mail", "owner": null, "incident": { "number": 1 } },
                "incident": { "id": taken["correlations"][0]["incident"]["id"], "number": 1, "alertCount": 1, "title": "Alert mail" },
                "outcome": "OPENED", "sharedEntities": [],
            }],
        })
    );
    let second = laid_over(
        naming("edr", &[device("WS-117"), entity("USER", "KIM.LIND")]),
        json!({ "severity": "HIGH", "category": "Execution", "product": "EDR" }),
    );
    let taken = correlate(&desk, vec![second], json!({})).await;
    let told = &taken["correlations"][0];
    assert_eq!(
        (&told["outcome"], &told["incident"]["number"], &told["incident"]["alertCount"]),
        (&json!("JOINED"), &json!(1), &json!(2))
    );
    assert_eq!(told["sharedEntities"], json!([{ "kind": "USER", "value": "KIM.LIND" }]), "as the alert writes it");
    let id = told["incident"]["id"].as_str().expect("an id");
    let incident = desk.read(id).await;
    assert_eq!(
        (&incident["severity"], &incident["products"], &incident["version"]),
        (&json!("HIGH"), &json!(["EDR"]), &json!(2))
    );
    assert_eq!(incident["title"], told["incident"]["title"], "the title follows");
    let change = desk.log(id).await.pop().expect("a change");
    assert_eq!(change["cause"], json!({ "kind": "INGEST", "name": "ingestAlerts" }));
    // An entity that came with the second alert leads the third alert there.
    assert_eq!(place(&desk, naming("ndr", &[device("ws-117")]), json!({})).await, joined(1));
    assert_eq!(place(&desk, naming("other", &[device("ws-118")]), json!({})).await, opened(2));
    assert_eq!(place(&desk, naming("nameless", &[]), json!({})).await, opened(3));
    let single =
        "mutation($alert: AlertInput!) { ingestAlert(input: { alert: $alert, into: { correlate: { windowMinutes: 60 } } }) {
        correlations { outcome incident { number } } } }";
    let one = desk.data(single, json!({ "alert": naming("one", &[device("ws-118")]) })).await;
    assert_eq!(one["ingestAlert"]["correlations"], json!([{ "outcome": "JOINED", "incident": { "number": 2 } }]));
    let elsewhere = desk.data(INGEST, json!({ "input": { "alerts": [naming("x", &[device("ws-118")])] } })).await;
    assert_eq!(elsewhere["ingestAlerts"]["correlations"], json!([]));
}

async fn only_what_identifies_counts_unless_more_is_asked_for(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let weak = [
        entity("IP", "10.0.0.53"),
        entity("URL", "https://login.example/"),
        entity("DOMAIN", "login.example"),
        entity("FILE", "powershell.exe"),
        entity("PROCESS", "powershell.exe -nop"),
        entity("REGISTRY_KEY", "HKLM\\Software\\Run"),
        entity("CLOUD_APPLICATION", "Office 365"),
        entity("SECURITY_GROUP", "Domain Users"),
        entity("OTHER", "x"),
        entity("USER", "NT AUTHORITY\\SYSTEM"),
        entity("DEVICE", "localhost"),
        entity("FILE_HASH", "D41D8CD98F00B204E9800998ECF8427E"),
    ];
    let strong =
        ["USER", "DEVICE", "FILE_HASH", "MAILBOX", "MAIL_MESSAGE", "CLOUD_RESOURCE"].map(|kind| entity(kind, "one"));
    let all = [&weak[..], &strong[..]].concat();
    assert_eq!(place(&desk, naming("all", &all), json!({})).await, opened(1));
    for (at, one) in strong.iter().enumerate() {
        assert_eq!(
            place(&desk, naming(&format!("strong-{at}"), std::slice::from_ref(one)), json!({})).await,
            joined(1),
            "{one}"
        );
    }
    assert_eq!(place(&desk, naming("weak", &weak), json!({})).await, opened(2));
    // A user and a mailbox with the same name are two entities.
    assert_eq!(place(&desk, naming("kind", &[entity("USER", "two")]), json!({})).await, opened(3));
    assert_eq!(place(&desk, naming("other kind", &[entity("MAILBOX", "two")]), json!({})).await, opened(4));
    let by_address = json!({ "kinds": ["IP"] });
    assert_eq!(
        place(&desk, naming("address", &weak[..1]), by_address.clone()).await,
        joined(1),
        "both name it; the lowest number"
    );
    assert_eq!(place(&desk, naming("user", &strong[..1]), by_address).await, opened(5));
}

async fn an_entity_of_too_many_open_incidents_says_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mailbox = entity("MAILBOX", "info@desk.example");
    let mut ids = Vec::new();
    for number in 0..3 {
        let made = desk
            .ingest(
                vec![naming(&format!("by hand {number}"), std::slice::from_ref(&mailbox))],
                json!({ "newIncident": true }),
            )
            .await;
        ids.push(made["incident"]["id"].as_str().expect("an id").to_owned());
    }
    let shared = |key: &str| naming(key, std::slice::from_ref(&mailbox));
    assert_eq!(place(&desk, shared("within"), json!({ "holders": 3 })).await, joined(1));
    assert_eq!(place(&desk, shared("beyond"), json!({ "holders": 2 })).await, opened(4));
    // It does not hold alerts of one batch together either, but their other entities do.
    let apart = correlate(&desk, vec![shared("a"), shared("b")], json!({ "holders": 3 })).await;
    assert_eq!(each(&apart["correlations"], "outcome"), ["OPENED", "OPENED"]);
    assert_eq!(apart["incident"], Value::Null, "they are in several");
    // Resolved incidents do not count.
    for id in &ids {
        desk.act("resolveIncident", json!({ "incidentId": id })).await;
    }
    assert_eq!(place(&desk, shared("after"), json!({ "holders": 3 })).await, joined(4));
}

async fn the_window_lies_between_activities(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let at = |key: &str, first: &str, last: &str| {
        let when = |time: &str| format!("2026-11-{time}:00Z");
        let over = json!({ "firstActivityAt": when(first), "lastActivityAt": when(last) });
        laid_over(naming(key, &[device("ws-1")]), over)
    };
    assert_eq!(place(&desk, at("first", "10T08:00", "10T10:00"), json!({})).await, opened(1));
    assert_eq!(place(&desk, at("a day later", "11T10:00", "11T11:00"), json!({})).await, joined(1));
    assert_eq!(place(&desk, at("a day before", "09T06:00", "09T08:00"), json!({})).await, joined(1));
    assert_eq!(place(&desk, at("later", "12T11:01", "12T11:01"), json!({})).await, opened(2), "24 hours and a minute");
    assert_eq!(place(&desk, at("hour", "12T12:02", "12T12:02"), json!({ "windowMinutes": 60 })).await, opened(3));
    assert_eq!(place(&desk, at("wide", "20T00:00", "20T00:00"), json!({ "windowMinutes": 43_200 })).await, joined(3));
    // An alert without a time was active at its arrival: at first on the 23rd at eight.
    assert_eq!(place(&desk, naming("now", &[device("ws-2")]), json!({})).await, opened(4));
    desk.clock.advance(Duration::hours(24));
    assert_eq!(place(&desk, naming("a day on", &[device("ws-2")]), json!({})).await, joined(4));
    desk.clock.advance(Duration::hours(24));
    assert_eq!(place(&desk, naming("two days on", &[device("ws-2")]), json!({})).await, joined(4), "it moves along");
    desk.clock.advance(Duration::minutes(24 * 60 + 1));
    assert_eq!(place(&desk, naming("too late", &[device("ws-2")]), json!({})).await, opened(5));
    // If only the end is given, it is also the start.
    let ended = laid_over(naming("ended", &[device("ws-2")]), json!({ "lastActivityAt": "2026-11-23T09:00:00Z" }));
    assert_eq!(place(&desk, ended, json!({ "windowMinutes": 1 })).await, joined(4));
}

async fn of_several_incidents_the_closest_is_joined(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = |key: &'static str, entities: Vec<Value>, hour: u32| {
        let over = json!({ "entities": entities, "lastActivityAt": format!("2026-11-23T0{hour}:00:00Z") });
        desk.ingest(vec![report(key, over)], json!({ "newIncident": true }))
    };
    made("1", vec![device("a"), device("b")], 1).await;
    made("2", vec![device("a"), device("c")], 5).await;
    made("3", vec![device("c")], 4).await;
    made("4", vec![device("d")], 3).await;
    made("5", vec![device("d")], 3).await;
    let seek = |key: &str, names: &[&str]| naming(key, &names.iter().map(|name| device(name)).collect::<Vec<_>>());
    assert_eq!(place(&desk, seek("most", &["a", "b"]), json!({})).await, joined(1), "most shared entities");
    let seek = |key: &str, name: &str| {
        laid_over(naming(key, &[device(name)]), json!({ "lastActivityAt": "2026-11-23T02:00:00Z" }))
    };
    assert_eq!(place(&desk, seek("latest", "c"), json!({})).await, joined(2), "the latest activity");
    assert_eq!(place(&desk, seek("lowest", "d"), json!({})).await, joined(4), "the lowest number");
}

async fn only_open_incidents_are_joined(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let on = |key: &str| naming(key, &[device("ws-1")]);
    let taken = correlate(&desk, vec![on("1")], json!({})).await;
    let id = taken["correlations"][0]["incident"]["id"].as_str().expect("an id").to_owned();
    desk.act("setIncidentStatus", json!({ "incidentId": id, "status": "ACTIVE" })).await;
    assert_eq!(place(&desk, on("2"), json!({})).await, joined(1), "active is open");
    desk.act("resolveIncident", json!({ "incidentId": id })).await;
    assert_eq!(place(&desk, on("3"), json!({})).await, opened(2), "never reopened");
    desk.act("reopenIncident", json!({ "incidentId": id })).await;
    desk.act("resolveIncident", json!({ "incidentId": desk.numbered(2).await })).await;
    assert_eq!(place(&desk, on("4"), json!({})).await, joined(1), "open again");
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    assert_eq!(place(&desk, on("5"), json!({})).await, opened(3));
    // An entity that has left an incident leads no alert there.
    let third = desk.numbered(3).await;
    let alerts = desk
        .data("query($id: ID!) { incident(by: { id: $id }) { alerts { nodes { id } } } }", json!({ "id": third }))
        .await;
    desk.update(
        &third,
        json!({ "title": "Kept by hand", "unlinkAlerts": [alerts["incident"]["alerts"]["nodes"][0]["id"]] }),
    )
    .await;
    assert_eq!(place(&desk, on("6"), json!({})).await, opened(4));
}

async fn alerts_of_one_batch_that_share_entities_stay_together(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let batch = vec![
        naming("a", &[device("ws-1")]),
        naming("b", &[device("ws-2")]),
        naming("alone", &[device("ws-9")]),
        naming("bridge", &[device("ws-1"), device("ws-2"), entity("USER", "kim")]),
        naming("nameless", &[]),
        naming("a", &[device("ws-1"), entity("FILE_HASH", "275a021bbfb6489e54d471899f7db9d1663fc695")]),
    ];
    let taken = correlate(&desk, batch, json!({})).await;
    let told = &taken["correlations"];
    let numbers: Vec<&Value> = each(told, "incident").into_iter().map(|incident| &incident["number"]).collect();
    assert_eq!((numbers, &taken["created"]), (vec![&json!(1), &json!(1), &json!(2), &json!(1), &json!(3)], &json!(5)));
    assert_eq!(told[0]["sharedEntities"], json!([{ "kind": "DEVICE", "value": "ws-1" }]), "with the bridge");
    assert_eq!(each(&told[3]["sharedEntities"], "value"), ["ws-1", "ws-2"]);
    assert_eq!(told[2]["sharedEntities"], json!([]));
    assert_eq!(desk.log_end().await, 3, "one change for each incident");
    // Two groups may join one incident: still one change.
    let more = vec![naming("c", &[entity("USER", "kim")]), naming("d", &[device("ws-2")])];
    let taken = correlate(&desk, more, json!({})).await;
    assert_eq!(
        (each(&taken["correlations"], "outcome"), &taken["incident"]["number"]),
        (vec![&json!("JOINED"); 2], &json!(1))
    );
    assert_eq!((taken["correlations"][0]["incident"]["alertCount"].clone(), desk.log_end().await), (json!(5), 4));
    // With days between them they are two cases, in one batch as in two.
    let on = |key: &str, day: u32| {
        laid_over(naming(key, &[device("ws-5")]), json!({ "lastActivityAt": format!("2026-11-{day}T08:00:00Z") }))
    };
    let apart = correlate(&desk, vec![on("early", 10), on("late", 20), on("next day", 11)], json!({})).await;
    let numbers: Vec<&Value> =
        each(&apart["correlations"], "incident").into_iter().map(|incident| &incident["number"]).collect();
    assert_eq!(numbers, [4, 5, 4]);
}

async fn known_alerts_stay_where_they_are_and_free_ones_are_correlated(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.ingest(vec![naming("held", &[device("ws-1")])], json!({ "newIncident": true })).await;
    desk.ingest(vec![naming("else", &[device("ws-2")])], json!({ "newIncident": true })).await;
    desk.ingest(vec![naming("free", &[device("ws-2")])], Value::Null).await;
    let anew = laid_over(naming("held", &[device("ws-1")]), json!({ "severity": "HIGH" }));
    let batch = vec![anew, naming("free", &[device("ws-2")]), naming("new", &[device("ws-2")])];
    let taken = correlate(&desk, batch, json!({})).await;
    let told: Vec<(&Value, &Value)> = taken["correlations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (&it["outcome"], &it["incident"]["number"]))
        .collect();
    let expected = [(json!("STAYED"), json!(1)), (json!("JOINED"), json!(2)), (json!("JOINED"), json!(2))];
    assert_eq!(told, expected.iter().map(|(outcome, number)| (outcome, number)).collect::<Vec<_>>());
    assert_eq!((&taken["created"], &taken["updated"], &taken["unchanged"]), (&json!(1), &json!(1), &json!(1)));
    let first = desk.read(&desk.numbered(1).await).await;
    assert_eq!((&first["severity"], &first["alertCount"]), (&json!("HIGH"), &json!(1)), "it is updated where it is");
    let end = desk.log_end().await;
    let again = correlate(&desk, vec![naming("free", &[device("ws-2")])], json!({})).await;
    assert_eq!((&again["correlations"][0]["outcome"], desk.log_end().await), (&json!("STAYED"), end));
    // A known alert leads others of its batch to its incident by its new content; one change has both.
    let both = vec![naming("third", &[device("ws-3")]), naming("else", &[device("ws-2"), device("ws-3")])];
    let taken = correlate(&desk, both, json!({})).await;
    assert_eq!(each(&taken["correlations"], "outcome"), ["JOINED", "STAYED"]);
    assert_eq!(taken["correlations"][0]["sharedEntities"], json!([device("ws-3")]));
    assert_eq!((&taken["incident"]["number"], desk.log_end().await), (&json!(2), end + 1));
    assert_eq!(place(&desk, naming("fourth", &[device("ws-3")]), json!({})).await, joined(2));
}

async fn an_alert_that_joins_takes_the_owner_and_brings_tags(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id =
        correlate(&desk, vec![naming("1", &[device("ws-1")])], json!({})).await["correlations"][0]["incident"]["id"]
            .take();
    desk.act("assignIncident", json!({ "incidentId": id, "owner": { "me": true } })).await;
    let tags = json!([{ "name": "Human-operated ransomware", "kind": "ATTACK_TYPE" }, { "name": "Domain controller", "kind": "CRITICAL_ASSET" }]);
    let tagged = |alerts: Vec<Value>, into: Value| json!({ "alerts": alerts, "into": into, "systemTags": tags });
    let batch = vec![naming("2", &[device("ws-1")]), naming("3", &[device("ws-9")])];
    let taken =
        desk.data(INGEST, json!({ "input": tagged(batch, json!({ "correlate": {} })) })).await["ingestAlerts"].take();
    assert_eq!(taken["correlations"][0]["alert"]["owner"]["account"], "local-manager");
    for number in [1, 2] {
        let incident = desk.read(&desk.numbered(number).await).await;
        assert_eq!(incident["tags"], tags, "INC-{number}");
    }
    assert_eq!(desk.log_end().await, 4, "tags and alerts are one change");
    // The same holds for an incident that the batch names or creates.
    let other = desk.incident("By hand").await;
    desk.act("ingestAlerts", tagged(vec![naming("1", &[])], json!({ "newIncident": true }))).await;
    desk.act("ingestAlerts", tagged(vec![naming("4", &[])], json!({ "incident": other }))).await;
    assert_eq!(desk.read(&other).await["tags"], tags);
    let end = desk.log_end().await;
    desk.act("ingestAlerts", tagged(vec![naming("4", &[])], json!({ "incident": other }))).await;
    assert_eq!(desk.log_end().await, end, "what is there already is no change");
    let made = desk.act("ingestAlerts", tagged(vec![naming("5", &[])], json!({ "newIncident": true }))).await;
    assert_eq!(made["incident"]["tags"], tags);
    for (input, path) in [
        (json!({ "alerts": [naming("6", &[])], "systemTags": tags }), "input.systemTags"),
        (
            json!({ "alerts": [naming("6", &[])], "into": { "correlate": {} }, "systemTags": [{ "name": "vip" }] }),
            "variables.input.systemTags.0.kind",
        ),
        (
            json!({ "alerts": [naming("6", &[])], "into": { "correlate": {} }, "systemTags": [{ "name": " ", "kind": "EXPERT" }] }),
            "input.systemTags.0.name",
        ),
    ] {
        let refusal = desk.deny("ingestAlerts", input).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some(path)), "{}", refusal.message);
    }
    let many: Vec<Value> = (0..101).map(|n| json!({ "name": format!("T{n}"), "kind": "ATTACK_TYPE" })).collect();
    let input = json!({ "alerts": [naming("6", &[])], "into": { "correlate": {} }, "systemTags": many });
    let refusal = desk.deny("ingestAlerts", input).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("variables.input.systemTags")));
}

async fn bad_correlations_are_refused_and_nothing_is_taken_in(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for (how, code, path) in [
        (json!({ "windowMinutes": 0 }), "LIMIT", "input.into.correlate.windowMinutes"),
        (json!({ "windowMinutes": 43_201 }), "LIMIT", "input.into.correlate.windowMinutes"),
        (json!({ "kinds": [] }), "INVALID", "input.into.correlate.kinds"),
        (json!({ "holders": 0 }), "LIMIT", "input.into.correlate.holders"),
        (json!({ "holders": 101 }), "LIMIT", "input.into.correlate.holders"),
    ] {
        let input = json!({ "alerts": [naming("1", &[device("ws-1")])], "into": { "correlate": how } });
        let refusal = desk.deny("ingestAlerts", input).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some(path)), "{}", refusal.message);
    }
    let both = json!({ "alerts": [naming("1", &[])], "into": { "correlate": {}, "newIncident": true } });
    assert_eq!(desk.deny("ingestAlerts", both).await.code, "INVALID");
    // Each opens an incident of its own, and a batch opens at most 500.
    let strangers =
        |count: usize| (0..count).map(|n| naming(&n.to_string(), &[device(&format!("host-{n}"))])).collect::<Vec<_>>();
    let refusal = desk.deny("ingestAlerts", json!({ "alerts": strangers(501), "into": { "correlate": {} } })).await;
    assert_eq!(
        (refusal.code.as_str(), refusal.path.as_deref(), &refusal.now),
        ("LIMIT", Some("input.alerts"), &json!({ "limit": 500 }))
    );
    desk.user("rolf", "READER").await;
    let input = json!({ "alerts": strangers(1), "into": { "correlate": {} } });
    assert_eq!(desk.deny_as(Some("rolf"), "ingestAlerts", input).await.code, "FORBIDDEN");
    let all = desk.data("{ alerts { totalCount } incidents { totalCount } }", json!({})).await;
    assert_eq!(all, json!({ "alerts": { "totalCount": 0 }, "incidents": { "totalCount": 0 } }));
}

/// Returns the desks on one database: two on PostgreSQL, because nodes can share it.
async fn desks(database: &TestDatabase) -> Vec<TestDesk> {
    let mut desks = vec![TestDesk::open(database).await];
    if database.kind == Kind::Postgres {
        desks.push(TestDesk::open(database).await);
    }
    desks
}

async fn alerts_of_one_attack_never_open_two_incidents(database: TestDatabase) {
    let desks = desks(&database).await;
    for round in 0..8 {
        // Five attacks at once, of four alerts each; two alerts of an attack arrive at the same time, on two nodes.
        let alerts = (0..20).map(|n| {
            let (attack, key) = (n / 4, format!("{round}-{n}"));
            let entities = [device(&format!("ws-{round}-{attack}")), entity("USER", &format!("user-{round}-{n}"))];
            correlate(&desks[n % desks.len()], vec![naming(&key, &entities)], json!({}))
        });
        let told = join_all(alerts).await;
        let opened = told.iter().filter(|taken| taken["correlations"][0]["outcome"] == "OPENED").count();
        assert_eq!(opened, 5, "round {round}: {told:#?}");
        for attack in told.chunks(4) {
            let numbers: Vec<&Value> =
                attack.iter().map(|taken| &taken["correlations"][0]["incident"]["number"]).collect();
            assert!(numbers.iter().all(|number| *number == numbers[0]), "round {round}: {numbers:?}");
        }
    }
    let all = desks[0].data("{ alerts(filter: { linked: false }) { totalCount } incidents(first: 100) { totalCount nodes { alertCount } } }", json!({})).await;
    assert_eq!((&all["alerts"]["totalCount"], &all["incidents"]["totalCount"]), (&json!(0), &json!(40)));
    assert!(each(&all["incidents"]["nodes"], "alertCount").iter().all(|count| **count == 4), "{all}");
}

async fn crossing_batches_and_analysts_never_stop_each_other(database: TestDatabase) {
    let desks = desks(&database).await;
    let mut ids = Vec::new();
    for n in 0..4 {
        let seed = naming(&format!("seed-{n}"), &[device(&format!("ws-{n}"))]);
        let taken = correlate(&desks[0], vec![seed], json!({})).await;
        ids.push(taken["correlations"][0]["incident"]["id"].as_str().expect("an id").to_owned());
    }
    for round in 0..6 {
        // Each batch names the hosts in another order, and known alerts of the other batches' incidents.
        let batches = (0..4).map(|n| {
            let host = move |k: usize| (k * 3 + n) % 4;
            let alerts = (0..4).map(|k| naming(&format!("{round}-{n}-{k}"), &[device(&format!("ws-{}", host(k)))]));
            let known = naming(
                &format!("seed-{}", host(1)),
                &[device(&format!("ws-{}", host(1))), entity("IP", &format!("10.0.{round}.{n}"))],
            );
            correlate(&desks[n % desks.len()], alerts.chain([known]).collect(), json!({}))
        });
        let edits = ids.iter().rev().enumerate().map(|(n, id)| {
            let tag = json!({ "incidentId": id, "addTags": [format!("round {round}")], "owner": { "me": true } });
            let desk = &desks[n % desks.len()];
            async move { desk.act("updateIncident", tag).await }
        });
        let (taken, _) = tokio::join!(join_all(batches), join_all(edits));
        assert!(
            taken
                .iter()
                .all(|taken| each(&taken["correlations"], "outcome").iter().all(|outcome| **outcome != "OPENED")),
            "{taken:#?}"
        );
    }
    let all = desks[0].data("{ incidents { totalCount nodes { alertCount } } }", json!({})).await;
    assert_eq!(
        (&all["incidents"]["totalCount"], each(&all["incidents"]["nodes"], "alertCount")),
        (&json!(4), vec![&json!(25); 4])
    );
}

async fn a_batch_is_correlated_in_as_many_statements_as_an_alert(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let mut counts = Vec::new();
    for (round, alerts) in [(0, 1), (1, 60), (2, 1), (3, 60)] {
        let batch = (0..alerts).map(|n| {
            let host = if round < 2 { format!("host-{round}") } else { "host-1".to_owned() };
            naming(&format!("{round}-{n}"), &[device(&host), entity("USER", &format!("user-{round}-{n}"))])
        });
        sent.take();
        let taken = correlate(&desk, batch.collect(), json!({})).await;
        assert_eq!(taken["correlations"].as_array().expect("a list").len(), alerts);
        counts.push(sent.take().len());
    }
    let [open_one, open_many, join_one, join_many] = counts[..] else { panic!("{counts:?}") };
    // The answer loads owners and incidents in rounds, and a busy scheduler may split a round.
    assert!(open_many <= open_one + 10 && join_many <= join_one + 10, "{counts:?}");
}
