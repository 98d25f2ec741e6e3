//! Similar incidents, through the public API: the choice, the order and the reasons.

use serde_json::{Value, json};

use super::statements::Sent;
use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::triage::{each, report};

each_database!(
    similar_incidents_are_told_with_what_they_share,
    rarer_entities_say_more_and_common_ones_nothing,
    deleted_and_emptied_incidents_are_like_nothing,
    the_largest_incident_is_compared_by_what_it_shows_first,
    a_page_of_incidents_is_compared_in_a_few_statements,
);

const SIMILAR: &str = "query($id: ID!, $first: Int) { incident(by: { id: $id }) { similar(first: $first) {
    score sharedEntityCount sharedEntities { kind value verdict incidentCount } incident { title status }
} } }";

/// Creates an incident of one alert that names these entities.
async fn incident(desk: &TestDesk, title: &str, entities: Value) -> String {
    let alert = report(title, json!({ "title": title, "entities": entities }));
    let made = desk.ingest(vec![alert], json!({ "newIncident": true })).await;
    made["incident"]["id"].as_str().expect("an id").to_owned()
}

async fn similar(desk: &TestDesk, id: &str) -> Value {
    desk.data(SIMILAR, json!({ "id": id, "first": 20 })).await["incident"]["similar"].take()
}

fn titles(similar: &Value) -> Vec<&str> {
    each(similar, "incident").iter().map(|incident| incident["title"].as_str().expect("a title")).collect()
}

fn device(value: &str) -> Value {
    json!({ "kind": "DEVICE", "value": value })
}

async fn similar_incidents_are_told_with_what_they_share(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let hash = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f";
    let loader = json!([
        device("WS-117"), { "kind": "USER", "value": "Kim.Lind" },
        { "kind": "FILE_HASH", "value": hash, "verdict": "MALICIOUS" },
    ]);
    let asked = incident(&desk, "Loader started from a mail attachment", loader).await;
    let done =
        incident(&desk, "Same loader last week", json!([{ "kind": "FILE_HASH", "value": hash }, device("ws-117")]))
            .await;
    desk.act("resolveIncident", json!({ "incidentId": done })).await;
    incident(&desk, "Unusual sign-in", json!([{ "kind": "USER", "value": "kim.lind" }])).await;
    incident(&desk, "Port scan", json!([device("ws-300"), { "kind": "IP", "value": "10.2.0.9" }])).await;
    let found = similar(&desk, &asked).await;
    assert_eq!(
        found,
        json!([
            {
                "score": 1_000, "sharedEntityCount": 1,
                "sharedEntities": [{ "kind": "USER", "value": "Kim.Lind", "verdict": null, "incidentCount": 1 }],
                "incident": { "title": "Unusual sign-in", "status": "NEW" },
            },
            {
                "score": 2_000, "sharedEntityCount": 2,
                "sharedEntities": [
                    { "kind": "DEVICE", "value": "WS-117", "verdict": null, "incidentCount": 1 },
                    { "kind": "FILE_HASH", "value": hash, "verdict": "MALICIOUS", "incidentCount": 1 },
                ],
                "incident": { "title": "Same loader last week", "status": "RESOLVED" },
            },
        ]),
        "the open one first, as an analyst can still join it"
    );
    assert_eq!(titles(&similar(&desk, &done).await), ["Loader started from a mail attachment"]);
    // A user and a device with the same name are two entities.
    let namesake = incident(&desk, "Namesake", json!([{ "kind": "USER", "value": "ws-117" }])).await;
    assert_eq!(similar(&desk, &namesake).await, json!([]));

    let one = desk.data(SIMILAR, json!({ "id": asked, "first": 1 })).await["incident"]["similar"].take();
    assert_eq!(titles(&one), ["Unusual sign-in"]);
    let none = desk.data(SIMILAR, json!({ "id": asked, "first": 0 })).await["incident"]["similar"].take();
    assert_eq!(none, json!([]));
    for first in [-1, 21] {
        let refusal = desk.refused(SIMILAR, json!({ "id": asked, "first": first })).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("first")), "{first}");
        assert_eq!(refusal.now, json!({ "limit": 20 }));
    }
}

async fn rarer_entities_say_more_and_common_ones_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let gateway = device("mail-gateway");
    let asked = incident(&desk, "Asked about", json!([device("ws-1"), device("ws-2"), gateway])).await;
    incident(&desk, "Only theirs", json!([device("ws-1"), gateway])).await;
    incident(&desk, "One of two", json!([device("ws-2"), gateway])).await;
    incident(&desk, "Two of two", json!([device("ws-2"), gateway])).await;
    let found = similar(&desk, &asked).await;
    // The gateway is in three others: a third of 1,000, rounded down.
    assert_eq!(titles(&found), ["Only theirs", "Two of two", "One of two"], "of a tie the newest comes first");
    assert_eq!(each(&found, "score"), [1_333, 833, 833]);
    let reasons = each(&found[1]["sharedEntities"], "value");
    assert_eq!(reasons, ["ws-2", "mail-gateway"], "the rarest first");

    for number in 0..97 {
        incident(&desk, &format!("Spam wave {number}"), json!([gateway])).await;
    }
    let found = similar(&desk, &asked).await;
    assert_eq!(
        (found.as_array().expect("a list").len(), &found[0]["score"], &found[19]["score"]),
        (20, &json!(1_010), &json!(10))
    );
    incident(&desk, "One too many", json!([gateway])).await;
    let found = similar(&desk, &asked).await;
    assert_eq!(titles(&found), ["Only theirs", "Two of two", "One of two"], "everybody's gateway is nobody's");
    assert_eq!(each(&found, "sharedEntityCount"), [1, 1, 1]);
}

async fn deleted_and_emptied_incidents_are_like_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let asked = incident(&desk, "Asked about", json!([device("ws-1")])).await;
    let deleted = incident(&desk, "Opened by mistake", json!([device("ws-1")])).await;
    let emptied = incident(&desk, "Emptied", json!([device("ws-1")])).await;
    assert_eq!(titles(&similar(&desk, &asked).await), ["Emptied", "Opened by mistake"]);
    let alerts = desk
        .data("query($id: ID!) { incident(by: { id: $id }) { alerts { nodes { id } } } }", json!({ "id": emptied }))
        .await;
    let alert = &alerts["incident"]["alerts"]["nodes"][0]["id"];
    desk.update(&emptied, json!({ "title": "Emptied" })).await;
    desk.act("unlinkAlerts", json!({ "incidentId": emptied, "alerts": [alert] })).await;
    desk.act("deleteIncident", json!({ "incidentId": deleted })).await;
    assert_eq!(similar(&desk, &asked).await, json!([]));
    assert_eq!(similar(&desk, &emptied).await, json!([]));
    // The shared entities come from the alert's new report.
    desk.act("linkAlerts", json!({ "incidentId": emptied, "alerts": [alert] })).await;
    assert_eq!(similar(&desk, &asked).await[0]["score"], 1_000);
    desk.ingest(vec![report("Emptied", json!({ "entities": [device("ws-2")] }))], Value::Null).await;
    assert_eq!(similar(&desk, &asked).await, json!([]));
}

async fn the_largest_incident_is_compared_by_what_it_shows_first(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let batch: Vec<Value> = (0..5_000)
        .map(|n| report(&format!("{n}"), json!({ "entities": [device(&format!("host-{n:04}")), device("jump-host")] })))
        .collect();
    let made = desk.ingest(batch, json!({ "newIncident": true })).await;
    let id = made["incident"]["id"].as_str().expect("an id");
    incident(&desk, "Lateral movement", json!([device("host-0003"), device("host-4999"), device("jump-host")])).await;
    let found = similar(&desk, id).await;
    // Of 5,001 entities, the hundred that the incident shows first count: the jump host, then hosts 0 to 98.
    assert_eq!(
        (titles(&found), &found[0]["sharedEntityCount"], each(&found[0]["sharedEntities"], "value")),
        (vec!["Lateral movement"], &json!(2), vec![&json!("host-0003"), &json!("jump-host")])
    );
}

async fn a_page_of_incidents_is_compared_in_a_few_statements(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let page = "{ incidents(first: 40) { nodes { number similar(first: 3) { score incident { number } } } } }";
    let mut counts = Vec::new();
    for incidents in [0..5, 5..40] {
        for n in incidents {
            incident(&desk, &format!("Beacon {n}"), json!([device(&format!("ws-{}", n % 4)), device("proxy")])).await;
        }
        counts.push(sent.fewest(&desk, page, &json!({})).await.len());
    }
    assert!(counts[1] <= counts[0] + 10, "{counts:?}");
    let whole = "{ incidents(first: 50) { nodes { similar { score incident { title alertCount } } } } }";
    let refusal = desk.refused(whole, json!({})).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("query")), "{}", refusal.message);
    assert!(refusal.message.contains("may hold 51"), "{}", refusal.message);
}
