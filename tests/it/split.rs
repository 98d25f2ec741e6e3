//! Splitting an incident, through the public API.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::stream::offset;
use crate::support::triage::{each, laid_over, report, sorted};

each_database!(alerts_are_split_off_into_an_incident_of_their_own, a_split_is_refused_with_its_reason);

/// Creates a noisy sensor's incident of three alerts, one of which is unrelated; returns the ids of all.
async fn mixed(desk: &TestDesk) -> (String, Vec<Value>) {
    let host = |name: &str| json!([{ "kind": "DEVICE", "value": name }]);
    let alerts = vec![
        report(
            "scan-1",
            json!({ "title": "Port scan", "severity": "LOW", "product": "Netwatch", "entities": host("srv-12") }),
        ),
        report(
            "scan-2",
            json!({ "title": "Port scan", "severity": "LOW", "product": "Netwatch", "entities": host("srv-13") }),
        ),
        report(
            "edr-1",
            json!({ "title": "Credential dump", "severity": "HIGH", "product": "Hostwatch", "entities": host("ws-7") }),
        ),
    ];
    let taken = desk.ingest(alerts, json!({ "newIncident": true })).await;
    let ids = each(&taken["alerts"], "id").into_iter().cloned().collect();
    (taken["incident"]["id"].as_str().expect("an id").to_owned(), ids)
}

async fn alerts_are_split_off_into_an_incident_of_their_own(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("mara", "RESPONDER").await;
    let (from, alerts) = mixed(&desk).await;
    desk.act_as(Some("mara"), "assignIncident", json!({ "incidentId": from, "owner": { "me": true } })).await;
    desk.update(&from, json!({ "addTags": ["weekly sweep"], "comment": "The dump is no scan" })).await;
    let before = (desk.read(&from).await, desk.log_end().await);
    let input = json!({ "incidentId": from, "alerts": [alerts[2], alerts[2]], "clientMutationId": "apart" });
    let done = desk.act_as(Some("mara"), "splitIncident", input).await;
    let new = done["incident"]["id"].as_str().expect("an id");
    assert_eq!(desk.read(new).await, done["incident"]);
    let expected = json!({
        "number": 2, "title": "Credential dump", "titleGenerated": true, "severity": "HIGH", "status": "NEW", "owner": null,
        "tags": [], "alertCount": 1, "commentCount": 0, "products": ["Hostwatch"],
    });
    assert_eq!(done["incident"], laid_over(done["incident"].clone(), expected));
    let rest = json!({
        "title": "Port scan on 2 endpoints reported by Netwatch", "severity": "LOW", "computedSeverity": "LOW", "alertCount": 2,
        "products": ["Netwatch"], "version": 4,
    });
    assert_eq!(done["from"], laid_over(before.0, rest), "the rest of it stays");
    assert_eq!(done["alerts"], json!([{ "id": alerts[2], "owner": { "account": "mara" }, "incident": { "id": new } }]));
    assert_eq!((offset(&done["position"]), &done["clientMutationId"]), (before.1 + 2, &json!("apart")));
    let entities = desk.data(
        "query($id: ID!) { incident(by: { id: $id }) { entities { entities { value } } } }",
        json!({ "id": from }),
    );
    assert_eq!(sorted(&entities.await["incident"]["entities"][0]["entities"], "value"), ["srv-12", "srv-13"]);

    let (made, left) = (desk.newest(new).await, desk.newest(&from).await);
    assert!(made.get("CREATED").is_some(), "{made:#}");
    assert_eq!(
        made["ALERTS_LINKED"],
        json!({ "kind": "ALERTS_LINKED", "alertIds": [alerts[2]], "movedFromIds": [from] })
    );
    assert_eq!(
        left["ALERTS_UNLINKED"],
        json!({ "kind": "ALERTS_UNLINKED", "alertIds": [alerts[2]], "movedToId": new })
    );
    let changes = [desk.log(new).await.remove(0), desk.log(&from).await.pop().expect("a change")];
    assert_eq!(changes[0]["transactionId"], changes[1]["transactionId"]);
    assert_eq!(changes[0]["cause"], json!({ "kind": "COMMAND", "name": "splitIncident" }));

    let named = json!({ "incidentId": from, "alerts": [alerts[0]], "title": "  Scanner gone astray " });
    let titled = desk.act("splitIncident", named).await["incident"].take();
    assert_eq!((&titled["title"], &titled["titleGenerated"]), (&json!("Scanner gone astray"), &json!(false)));
}

async fn a_split_is_refused_with_its_reason(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("rea", "READER").await;
    let (from, alerts) = mixed(&desk).await;
    let elsewhere = desk.ingest(vec![report("other", json!({}))], json!({ "newIncident": true })).await;
    let (other, of_other) = (&elsewhere["incident"]["id"], &elsewhere["alerts"][0]["id"]);
    let free = desk.alerts(&["free"]).await.remove(0);
    let unknown = "0198c0de-0000-7000-8000-000000000009";
    let (alert, incident) = (format!("alert:{unknown}"), format!("incident:{unknown}"));
    let here = |alerts: Value| json!({ "incidentId": from, "alerts": alerts });
    for (input, code, path) in [
        (here(json!([])), "INVALID", Some("input.alerts")),
        (here(json!(alerts)), "INVALID", Some("input.alerts")),
        (here(json!([alerts[0], of_other])), "CONFLICT", Some("input.alerts.1")),
        (here(json!([alerts[0], free])), "CONFLICT", Some("input.alerts.1")),
        (here(json!([alerts[0], alert])), "NOT_FOUND", Some("input.alerts.1")),
        (here(json!([from])), "INVALID", Some("input.alerts.0")),
        (json!({ "incidentId": incident, "alerts": [alerts[0]] }), "NOT_FOUND", Some("input.incidentId")),
        (json!({ "incidentId": other, "alerts": [of_other] }), "INVALID", Some("input.alerts")),
        (laid_over(here(json!([alerts[0]])), json!({ "title": " " })), "INVALID", Some("input.title")),
    ] {
        let before = desk.read(&from).await;
        let refusal = desk.deny("splitIncident", input).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, path), "{}", refusal.message);
        assert_eq!(desk.read(&from).await, before);
    }
    assert_eq!(desk.deny_as(Some("rea"), "splitIncident", here(json!([alerts[0]]))).await.code, "FORBIDDEN");
    desk.act("resolveIncident", json!({ "incidentId": from })).await;
    let refusal = desk.deny("splitIncident", here(json!([alerts[0]]))).await;
    assert_eq!(
        (refusal.code.as_str(), &refusal.now),
        ("CONFLICT", &json!({ "status": "RESOLVED" })),
        "{}",
        refusal.message
    );
    desk.act("deleteIncident", json!({ "incidentId": from })).await;
    assert_eq!(desk.deny("splitIncident", here(json!([alerts[0]]))).await.code, "NOT_FOUND");
    assert_eq!(desk.create(json!({ "title": "Next" })).await["number"], 3, "no number was spent");
}
