//! Preconditions by field: an edit with an old version is refused only if its own field has changed since that version.

use async_graphql::resolver_utils::EnumType;
use serde_json::{Value, json};
use watchfloor::domain::change::EntryKind;
use watchfloor::domain::precondition::GuardedField;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::schema::mutations_with;
use crate::support::triage::{laid_over, report};

each_database!(
    an_edit_conflicts_only_with_a_later_change_of_the_same_field,
    a_conflict_names_who_changed_what_when_from_and_to,
    what_commutes_never_conflicts,
    an_update_conflicts_in_any_of_its_fields_and_changes_nothing,
    a_version_that_is_not_reached_is_invalid,
    deleting_conflicts_with_any_field_that_changed,
    deleting_and_restoring_conflict_with_each_other,
    an_alert_is_expected_as_its_incident_knows_it,
    an_alert_that_came_from_another_incident_is_to_be_read_again,
    what_reopens_conflicts_with_a_resolution_and_with_its_note,
);

/// Returns each mutation of one field, with its input, and the field that it writes.
fn single_edits(user: &str) -> [(&'static str, Value, &'static str); 9] {
    [
        ("renameIncident", json!({ "title": "Ransomware note on FS-03" }), "TITLE"),
        ("describeIncident", json!({ "description": "Found by the night shift" }), "DESCRIPTION"),
        ("setIncidentSeverity", json!({ "severity": "HIGH" }), "SEVERITY"),
        ("setIncidentStatus", json!({ "status": "ACTIVE" }), "STATUS"),
        ("assignIncident", json!({ "owner": { "user": user } }), "OWNER"),
        ("unassignIncident", json!({}), "OWNER"),
        ("classifyIncident", json!({ "classification": { "truePositive": "MALWARE" } }), "CLASSIFICATION"),
        ("resolveIncident", json!({ "note": "Restored from backup" }), "STATUS"),
        ("reopenIncident", json!({ "status": "NEW" }), "STATUS"),
    ]
}

/// The mutations of several fields, and those of alerts. Other tests of this file check them.
const OTHER_GUARDED: [&str; 4] = ["deleteIncident", "restoreIncident", "updateAlert", "updateIncident"];

#[test]
fn every_mutation_with_a_precondition_is_checked() {
    let known = |name: &String| {
        OTHER_GUARDED.contains(&name.as_str()) || single_edits("").iter().any(|(mutation, ..)| mutation == name)
    };
    let missing: Vec<_> = mutations_with("expectedVersion").into_iter().filter(|name| !known(name)).collect();
    assert!(missing.is_empty(), "add these to single_edits: {missing:?}");
}

async fn an_edit_conflicts_only_with_a_later_change_of_the_same_field(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let user = desk.user("ana", "RESPONDER").await;
    for (first, change, changed) in single_edits(&user) {
        for (second, edit, edited) in single_edits(&user) {
            // An unassigned incident had an owner, and a reopened one was resolved.
            let id = desk.create(json!({ "title": "Files renamed", "owner": { "me": true } })).await["id"].take();
            let on = |fields: &Value| laid_over(json!({ "incidentId": id }), fields.clone());
            if first == "reopenIncident" {
                desk.act("resolveIncident", on(&json!({}))).await;
            }
            let seen = desk.read(id.as_str().expect("an id")).await["version"].clone();
            desk.act(first, on(&change)).await;
            let expecting = laid_over(on(&edit), json!({ "expectedVersion": seen }));
            if changed == edited {
                let refusal = desk.deny(second, expecting).await;
                assert_eq!(refusal.code, "CONFLICT", "{second} after {first}");
                assert_eq!(refusal.now["changes"][0]["field"], changed, "{second} after {first}");
            } else {
                desk.act(second, expecting).await;
            }
        }
    }
}

async fn a_conflict_names_who_changed_what_when_from_and_to(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    let id = desk.incident("Kerberoasting from a kiosk").await;
    desk.clock.advance(chrono::Duration::minutes(3));
    for severity in ["HIGH", "LOW"] {
        desk.act_as(Some("ana"), "setIncidentSeverity", json!({ "incidentId": id, "severity": severity })).await;
    }
    let edit = json!({ "incidentId": id, "severity": "HIGH", "expectedVersion": 1 });
    let refusal = desk.deny("setIncidentSeverity", edit.clone()).await;
    assert_eq!(refusal.message, "INC-1 was changed since version 1: ana set the severity from HIGH to LOW");
    let change = |version: u64, from: &str, to: &str| {
        json!({
            "incident": id, "number": 1, "version": version, "at": "2026-11-23T08:03:00Z", "actor": "ana",
            "field": "SEVERITY", "from": from, "to": to,
        })
    };
    let changes = [change(2, "MEDIUM", "HIGH"), change(3, "HIGH", "LOW")];
    assert_eq!(refusal.now, json!({ "version": 3, "changes": changes }));
    let knowing = laid_over(edit, json!({ "expectedVersion": refusal.now["version"] }));
    desk.act("setIncidentSeverity", knowing).await;

    let (short, long) = ("Kiosk asks for tickets".to_owned(), "x".repeat(1_000));
    for title in [&short, &long] {
        desk.act("renameIncident", json!({ "incidentId": id, "title": title })).await;
    }
    let rename = json!({ "incidentId": id, "title": "Mine", "expectedVersion": 4 });
    let changes = desk.deny("renameIncident", rename).await.now["changes"].take();
    assert_eq!((&changes[0]["from"], &changes[0]["to"]), (&json!("Kerberoasting from a kiosk"), &json!(short)));
    assert_eq!((&changes[1]["from"], &changes[1]["to"]), (&json!(short), &json!("a text of 1000 characters")));
    for round in 0..12 {
        desk.act("describeIncident", json!({ "incidentId": id, "description": format!("round {round}") })).await;
    }
    let describe = json!({ "incidentId": id, "description": null, "expectedVersion": 1 });
    let newest = desk.deny("describeIncident", describe).await.now["changes"].take();
    assert_eq!(newest.as_array().expect("changes").len(), 10, "the newest ones");
    assert_eq!(newest[9]["to"], "round 11");
}

async fn what_commutes_never_conflicts(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Odd login from a hosting provider").await;
    let alerts = desk.alerts(&["1", "2"]).await;
    desk.update(&id, json!({ "addTags": ["vip"], "comment": "seen", "linkAlerts": [alerts[0]] })).await;
    let more = json!({ "addTags": ["vpn"], "removeTags": ["vip"], "comment": "me too", "linkAlerts": [alerts[1]],
                       "unlinkAlerts": [alerts[0]], "expectedVersion": 1 });
    assert_eq!(desk.update(&id, more).await["changed"], true);
    // Another person's additions are no conflict for a field.
    desk.act("setIncidentStatus", json!({ "incidentId": id, "status": "ACTIVE", "expectedVersion": 1 })).await;
}

async fn an_update_conflicts_in_any_of_its_fields_and_changes_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("DNS tunnel").await;
    desk.update(
        &id,
        json!({ "firstActivityAt": "2026-11-20T10:00:00Z", "classification": { "falsePositive": "OTHER" } }),
    )
    .await;
    for field in [
        json!({ "classification": { "truePositive": "MALWARE" } }),
        json!({ "firstActivityAt": "2026-11-21T10:00:00Z" }),
        json!({ "lastActivityAt": null }),
    ] {
        let edit = laid_over(json!({ "title": "Mine", "addTags": ["dns"], "expectedVersion": 1 }), field);
        assert_eq!(desk.update_denied(&id, edit).await.code, "CONFLICT");
    }
    desk.update(&id, json!({ "title": "Mine", "addTags": ["dns"], "expectedVersion": 1 })).await;
}

async fn a_version_that_is_not_reached_is_invalid(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Unsigned driver").await;
    let refusal = desk.update_denied(&id, json!({ "status": "ACTIVE", "expectedVersion": 2 })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("input.expectedVersion")));
    let negative = "mutation($id: ID!) { setIncidentStatus(input: { incidentId: $id, status: ACTIVE, expectedVersion: -1 }) { changed } }";
    assert_eq!(desk.refused(negative, json!({ "id": id })).await.code, "INVALID");
    desk.update(&id, json!({ "status": "ACTIVE", "expectedVersion": 1 })).await;
    let unseen = desk.update_denied(&id, json!({ "status": "NEW", "expectedVersion": 0 })).await;
    assert_eq!(unseen.code, "CONFLICT", "its creation set everything");
}

async fn deleting_conflicts_with_any_field_that_changed(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Test of the mail gateway").await;
    desk.update(&id, json!({ "comment": "is this real?", "addTags": ["mail"] })).await;
    desk.update(&id, json!({ "severity": "HIGH" })).await;
    let delete = |version: u64| json!({ "incidentId": id, "expectedVersion": version });
    assert_eq!(desk.deny("deleteIncident", delete(2)).await.code, "CONFLICT");
    desk.update(&id, json!({ "comment": "it is not" })).await;
    desk.act("deleteIncident", delete(3)).await;
}

async fn deleting_and_restoring_conflict_with_each_other(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("max", "MANAGER").await;
    let id = desk.create(json!({ "title": "Opened by mistake", "severity": "HIGH" })).await["id"].take();
    let knowing = |version: u64| json!({ "incidentId": id, "expectedVersion": version });
    desk.act("deleteIncident", knowing(1)).await;
    let refusal = desk.deny("restoreIncident", knowing(1)).await;
    assert_eq!(refusal.message, "INC-1 was changed since version 1: local-manager deleted it");
    assert_eq!(desk.deny("restoreIncident", knowing(3)).await.code, "INVALID", "it is not reached");
    desk.act_as(Some("max"), "restoreIncident", knowing(2)).await;
    let refusal = desk.deny("deleteIncident", knowing(2)).await;
    assert_eq!(refusal.message, "INC-1 was changed since version 2: max restored it");
    let change = json!({
        "incident": id, "number": 1, "version": 3, "at": "2026-11-23T08:00:00Z", "actor": "max", "field": "RESTORED",
        "from": null, "to": null,
    });
    assert_eq!(refusal.now, json!({ "version": 3, "changes": [change] }));
    assert_eq!(desk.deny("restoreIncident", knowing(2)).await.code, "CONFLICT");
    // An edit of a field does not conflict with them.
    desk.act("setIncidentSeverity", json!({ "incidentId": id, "severity": "LOW", "expectedVersion": 1 })).await;
    desk.act("deleteIncident", knowing(4)).await;
    desk.act("restoreIncident", knowing(5)).await;
}

async fn an_alert_is_expected_as_its_incident_knows_it(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let taken = desk.ingest(vec![report("1", json!({})), report("2", json!({}))], json!({ "newIncident": true })).await;
    let (one, two) = (&taken["alerts"][0]["id"], &taken["alerts"][1]["id"]);
    let id = taken["incident"]["id"].as_str().expect("an id").to_owned();
    desk.act("updateAlert", json!({ "alertId": one, "status": "ACTIVE" })).await;
    let edit = |alert: &Value, fields: Value| laid_over(json!({ "alertId": alert, "expectedVersion": 1 }), fields);
    let refusal = desk.deny("updateAlert", edit(one, json!({ "status": "RESOLVED" }))).await;
    assert_eq!((refusal.code.as_str(), &refusal.now["changes"][0]["to"]), ("CONFLICT", &json!("ACTIVE")));
    desk.act("updateAlert", edit(two, json!({ "status": "RESOLVED" }))).await;
    desk.act("updateAlert", edit(one, json!({ "classification": { "falsePositive": "OTHER" } }))).await;
    desk.act("assignIncident", json!({ "incidentId": id, "owner": { "me": true } })).await;
    assert_eq!(desk.deny("updateAlert", edit(one, json!({ "owner": null }))).await.code, "CONFLICT", "by propagation");
    let free = &desk.alerts(&["3"]).await[0];
    let refusal = desk.deny("updateAlert", edit(&json!(free), json!({ "status": "RESOLVED" }))).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("input.expectedVersion")));
}

async fn an_alert_that_came_from_another_incident_is_to_be_read_again(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let taken = desk.ingest(vec![report("1", json!({})), report("2", json!({}))], json!({ "newIncident": true })).await;
    let (alert, source) = (taken["alerts"][0]["id"].clone(), taken["incident"]["id"].clone());
    let target = desk.incident("The same actor on the file server").await;
    desk.act("updateAlert", json!({ "alertId": alert, "status": "ACTIVE" })).await;
    let edit = |version: u64| json!({ "alertId": alert, "status": "RESOLVED", "expectedVersion": version });
    assert_eq!(desk.deny("updateAlert", edit(1)).await.code, "CONFLICT");
    desk.act("mergeIncidents", json!({ "sourceId": source, "targetId": target })).await;
    for seen in [1, 7] {
        assert_eq!(desk.deny("updateAlert", edit(seen)).await.code, "CONFLICT", "version {seen} of which incident");
    }
    // However much has happened to other incidents meanwhile.
    let other = taken["alerts"][1]["id"].clone();
    desk.act("updateAlert", edit(2)).await;
    for round in 0..101 {
        let status = ["ACTIVE", "NEW"][round % 2];
        desk.act("updateAlert", json!({ "alertId": other, "status": status })).await;
    }
    let late = json!({ "alertId": alert, "status": "NEW", "expectedVersion": 2 });
    assert_eq!(desk.deny("updateAlert", late).await.now["changes"][0]["to"], "RESOLVED");
}

async fn what_reopens_conflicts_with_a_resolution_and_with_its_note(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alerts = desk.alerts(&["1"]).await;
    let id = desk.incident("Scheduled task that downloads").await;
    desk.act("resolveIncident", json!({ "incidentId": id, "note": "an updater" })).await;
    let link = json!({ "linkAlerts": alerts, "reopen": true, "expectedVersion": 1 });
    assert_eq!(desk.update_denied(&id, link).await.now["changes"][0]["field"], "STATUS");
    desk.update(&id, json!({ "note": "an updater, checked twice" })).await;
    let reopen = json!({ "incidentId": id, "expectedVersion": 2 });
    assert_eq!(desk.deny("reopenIncident", reopen).await.now["changes"][0]["field"], "RESOLUTION_NOTE");
    desk.act("reopenIncident", json!({ "incidentId": id, "expectedVersion": 3 })).await;
}

#[test]
fn the_list_of_guarded_fields_is_whole() {
    let mut of_kinds: Vec<GuardedField> =
        EntryKind::items().iter().filter_map(|item| GuardedField::of(item.value)).collect();
    of_kinds.dedup();
    assert_eq!(of_kinds, GuardedField::ALL);
    for field in GuardedField::ALL {
        assert!(field.kinds().iter().all(|kind| GuardedField::of(*kind) == Some(field)), "{field:?}");
    }
    let kinds = EntryKind::items().iter().filter(|item| GuardedField::of(item.value).is_some()).count();
    assert_eq!(GuardedField::ALL.iter().map(|field| field.kinds().len()).sum::<usize>(), kinds);
}
