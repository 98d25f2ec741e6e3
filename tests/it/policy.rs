//! Policies, through the public API: the requirements for resolving and reopening, on every path.

use serde_json::json;
use watchfloor::domain::account::Role;
use watchfloor::domain::policy::Policies;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, Refusal, TestDesk};

each_database!(
    a_desk_says_what_it_asks_for,
    no_road_leads_to_resolved_without_a_note,
    no_road_leads_to_resolved_without_a_classification,
    what_a_policy_asked_for_cannot_be_taken_away,
    only_the_role_that_may_reopen_finds_a_way_back,
    an_import_tells_what_others_did,
    a_job_obeys_them_for_each_incident,
);

async fn desk(database: &TestDatabase, policies: Policies) -> TestDesk {
    TestDesk::open_with(database, Options { policies, ..Options::default() }).await
}

fn note() -> Policies {
    Policies { resolve_needs_note: true, ..Policies::default() }
}

fn classification() -> Policies {
    Policies { resolve_needs_classification: true, ..Policies::default() }
}

fn managers_reopen() -> Policies {
    Policies { reopen_role: Role::Manager, ..Policies::default() }
}

fn asks_for(refusal: &Refusal, field: &str, policy: &str) {
    let path = format!("input.{field}");
    assert_eq!(
        (refusal.code.as_str(), refusal.path.as_deref()),
        ("INVALID", Some(path.as_str())),
        "{}",
        refusal.message
    );
    assert_eq!(refusal.now["policy"], policy);
}

async fn a_desk_says_what_it_asks_for(database: TestDatabase) {
    let read = "{ policies { resolveNeedsNote resolveNeedsClassification reopenRole } viewer { canReopen } }";
    let plain = TestDesk::open(&database).await;
    plain.user("rita", "RESPONDER").await;
    plain.user("rolf", "READER").await;
    assert_eq!(
        plain.data_as(Some("rita"), read, json!({})).await,
        json!({
            "policies": { "resolveNeedsNote": false, "resolveNeedsClassification": false, "reopenRole": "RESPONDER" },
            "viewer": { "canReopen": true },
        })
    );
    assert_eq!(plain.data_as(Some("rolf"), read, json!({})).await["viewer"]["canReopen"], false);
    drop(plain);
    let all = Policies {
        resolve_needs_note: true,
        resolve_needs_classification: true,
        reopen_role: Role::Manager,
        reopen_for_active_alerts: false,
    };
    let strict = desk(&database, all).await;
    let told = strict.data_as(Some("rita"), read, json!({})).await;
    assert_eq!(
        told,
        json!({
            "policies": { "resolveNeedsNote": true, "resolveNeedsClassification": true, "reopenRole": "MANAGER" },
            "viewer": { "canReopen": false },
        })
    );
    assert_eq!(strict.data(read, json!({})).await["viewer"]["canReopen"], true, "the local manager");
}

async fn no_road_leads_to_resolved_without_a_note(database: TestDatabase) {
    let desk = desk(&database, note()).await;
    let id = desk.incident("Beacon to a known address").await;
    for (mutation, input) in [
        ("resolveIncident", json!({ "incidentId": id })),
        ("resolveIncident", json!({ "incidentId": id, "note": " \u{200b} " })),
        ("setIncidentStatus", json!({ "incidentId": id, "status": "RESOLVED" })),
        ("updateIncident", json!({ "incidentId": id, "status": "RESOLVED", "comment": "done" })),
        ("updateIncident", json!({ "incidentId": id, "status": "RESOLVED", "note": null })),
        ("createIncident", json!({ "title": "Closed at once", "status": "RESOLVED" })),
    ] {
        asks_for(&desk.deny(mutation, input).await, "note", "resolveNeedsNote");
    }
    assert_eq!(desk.read(&id).await["status"], "NEW");
    assert_eq!(
        desk.data("{ incidents(filter: { status: [NEW, RESOLVED] }) { totalCount } }", json!({})).await["incidents"]["totalCount"],
        1
    );
    let done = desk.act("resolveIncident", json!({ "incidentId": id, "note": "sinkholed" })).await;
    assert_eq!(done["incident"]["resolution"]["note"], "sinkholed");
    let made = desk.create(json!({ "title": "Closed at once", "status": "RESOLVED", "note": "by phone" })).await;
    assert_eq!(made["status"], "RESOLVED");
}

async fn no_road_leads_to_resolved_without_a_classification(database: TestDatabase) {
    let desk = desk(&database, classification()).await;
    let id = desk.incident("Mailbox rule that forwards abroad").await;
    for (mutation, input) in [
        ("resolveIncident", json!({ "incidentId": id, "note": "rule removed" })),
        ("setIncidentStatus", json!({ "incidentId": id, "status": "RESOLVED" })),
        ("updateIncident", json!({ "incidentId": id, "status": "RESOLVED", "classification": null })),
        ("createIncident", json!({ "title": "Closed at once", "status": "RESOLVED" })),
    ] {
        asks_for(&desk.deny(mutation, input).await, "classification", "resolveNeedsClassification");
    }
    // A classification from before counts on every path.
    desk.act(
        "classifyIncident",
        json!({ "incidentId": id, "classification": { "truePositive": "COMPROMISED_ACCOUNT" } }),
    )
    .await;
    let done = desk.act("setIncidentStatus", json!({ "incidentId": id, "status": "RESOLVED" })).await;
    assert_eq!(done["incident"]["status"], "RESOLVED");
    let together =
        json!({ "title": "Closed at once", "status": "RESOLVED", "classification": { "falsePositive": "OTHER" } });
    assert_eq!(desk.create(together).await["status"], "RESOLVED");
}

async fn what_a_policy_asked_for_cannot_be_taken_away(database: TestDatabase) {
    let plain = TestDesk::open(&database).await;
    let old = plain.create(json!({ "title": "Resolved before", "status": "RESOLVED" })).await;
    let old = old["id"].as_str().expect("an id");
    drop(plain);
    let strict = desk(&database, Policies { resolve_needs_classification: true, ..note() }).await;
    let whole = json!({ "title": "Resolved since", "status": "RESOLVED", "note": "sinkholed", "classification": { "falsePositive": "OTHER" } });
    let new = strict.create(whole).await;
    let new = new["id"].as_str().expect("an id");
    asks_for(&strict.update_denied(new, json!({ "note": null })).await, "note", "resolveNeedsNote");
    let cleared = strict.update_denied(new, json!({ "classification": null })).await;
    asks_for(&cleared, "classification", "resolveNeedsClassification");
    let by_name = strict.deny("classifyIncident", json!({ "incidentId": new, "classification": null })).await;
    asks_for(&by_name, "classification", "resolveNeedsClassification");
    strict.update(new, json!({ "note": "sinkholed, ticket closed", "addTags": ["reviewed"] })).await;
    // An incident that was resolved before the policy can be edited, and resolved once more.
    strict.update(old, json!({ "addTags": ["reviewed"] })).await;
    assert_eq!(strict.act("resolveIncident", json!({ "incidentId": old })).await["changed"], false);
    strict.act("reopenIncident", json!({ "incidentId": old })).await;
    asks_for(&strict.deny("resolveIncident", json!({ "incidentId": old })).await, "note", "resolveNeedsNote");
}

async fn only_the_role_that_may_reopen_finds_a_way_back(database: TestDatabase) {
    let desk = desk(&database, managers_reopen()).await;
    desk.user("rita", "RESPONDER").await;
    let alert = &desk.alerts(&["late-detection"]).await[0];
    let id = desk.incident("Stolen laptop").await;
    let rita = Some("rita");
    desk.act_as(rita, "resolveIncident", json!({ "incidentId": id })).await;
    for (mutation, input, field) in [
        ("reopenIncident", json!({ "incidentId": id }), "status"),
        ("setIncidentStatus", json!({ "incidentId": id, "status": "ACTIVE" }), "status"),
        ("updateIncident", json!({ "incidentId": id, "status": "NEW", "comment": "again" }), "status"),
        ("linkAlerts", json!({ "incidentId": id, "alerts": [alert], "reopen": true }), "reopen"),
        ("updateIncident", json!({ "incidentId": id, "linkAlerts": [alert], "reopen": true }), "reopen"),
    ] {
        let refusal = desk.deny_as(rita, mutation, input).await;
        let path = format!("input.{field}");
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("FORBIDDEN", Some(path.as_str())), "{mutation}");
        assert_eq!(refusal.now, json!({ "policy": "reopenRole", "reopenRole": "MANAGER" }));
        assert_eq!(desk.read(&id).await["status"], "RESOLVED");
    }
    // An edit that does not reopen is not subject to the policy.
    desk.act_as(rita, "updateIncident", json!({ "incidentId": id, "addTags": ["laptop"] })).await;
    let open = desk.act("linkAlerts", json!({ "incidentId": id, "alerts": [alert], "reopen": true })).await;
    assert_eq!(open["incident"]["status"], "ACTIVE", "a manager may");
    desk.act_as(rita, "setIncidentStatus", json!({ "incidentId": id, "status": "NEW" })).await;
}

async fn an_import_tells_what_others_did(database: TestDatabase) {
    let all = Policies {
        resolve_needs_note: true,
        resolve_needs_classification: true,
        reopen_role: Role::Manager,
        reopen_for_active_alerts: false,
    };
    let desk = desk(&database, all).await;
    let lines = [
        r#"{"type":"incident","externalId":"4711","title":"Phishing wave","createdAt":"2026-11-20T08:00:00Z","status":"RESOLVED","resolvedAt":"2026-11-20T09:00:00Z"}"#,
        r#"{"type":"update","externalId":"4711","at":"2026-11-20T10:00:00Z","status":"ACTIVE"}"#,
    ]
    .join("\n");
    let source = watchfloor::import::ImportSource::reader(std::io::Cursor::new(lines));
    let summary = watchfloor::import::import(&desk.app, source, watchfloor::import::Options::default(), |_| {}).await;
    let summary = summary.expect("an import");
    assert_eq!(summary.bad_total, 0, "{:?}", summary.bad);
    let read = desk.data("{ incidents { nodes { title status } } }", json!({})).await;
    assert_eq!(read["incidents"]["nodes"], json!([{ "title": "Phishing wave", "status": "ACTIVE" }]));
}

async fn a_job_obeys_them_for_each_incident(database: TestDatabase) {
    let all = Policies {
        resolve_needs_note: true,
        resolve_needs_classification: true,
        reopen_role: Role::Manager,
        reopen_for_active_alerts: false,
    };
    let desk = desk(&database, all).await;
    desk.user("rita", "RESPONDER").await;
    let (open, closed) = (desk.incident("Beacon every four minutes").await, desk.incident("Odd scheduled task").await);
    let pair = json!({ "truePositive": "MALWARE" });
    desk.act("resolveIncident", json!({ "incidentId": closed, "note": "removed", "classification": pair })).await;
    for (incident, edit, code) in [
        (&open, json!({ "status": "RESOLVED", "note": "removed" }), "INVALID"),
        (&open, json!({ "status": "RESOLVED", "classification": pair }), "INVALID"),
        (&closed, json!({ "note": null }), "INVALID"),
        (&closed, json!({ "classification": null }), "INVALID"),
        (&closed, json!({ "status": "ACTIVE" }), "FORBIDDEN"),
    ] {
        let before = desk.read(incident).await;
        let query = "mutation($ids: [ID!]!, $edit: BulkEditInput!) {
            bulkUpdateIncidents(input: { target: { ids: $ids }, edit: $edit }) { job { id } } }";
        let made = desk.data_as(Some("rita"), query, json!({ "ids": [incident], "edit": edit })).await;
        let progress =
            "subscription($id: ID!) { bulkProgress(id: $id) { state items(first: 1) { nodes { outcome code } } } }";
        let mut job = desk.follow(progress, json!({ "id": made["bulkUpdateIncidents"]["job"]["id"] })).await;
        let mut last = job.item().await;
        while last["state"] == "RUNNING" {
            last = job.item().await;
        }
        assert_eq!(last["items"]["nodes"][0], json!({ "outcome": "REFUSED", "code": code }), "{edit}");
        assert_eq!(desk.read(incident).await, before, "{edit}");
    }
}
