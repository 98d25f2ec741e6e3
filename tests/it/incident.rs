//! Incidents, through the public API: create, update, resolve and reopen, delete.

use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::triage::{each, laid_over, report, sorted};

each_database!(
    a_resolved_incident_keeps_its_note,
    an_incident_starts_with_the_defaults_of_the_desk,
    an_incident_may_be_made_with_everything_at_once,
    the_same_id_and_input_again_is_the_same_incident,
    the_digest_of_a_creation_is_that_of_earlier_versions,
    twenty_incidents_made_at_once_have_twenty_numbers_in_a_row,
    actions_together_are_one_change_or_none,
    the_status_moves_by_the_table_only,
    the_severity_is_the_override_else_the_highest_of_the_alerts,
    a_classification_is_set_changed_and_cleared_at_any_time,
    tags_are_compared_without_case_and_shown_as_first_written,
    system_tags_are_told_apart_from_what_people_write,
    an_owner_is_set_on_every_linked_alert,
    resolving_settles_the_alerts_and_reopening_returns_exactly_those,
    resolving_again_resolves_what_became_active_since,
    an_active_alert_reopens_a_resolved_incident_only_when_told,
    what_a_person_states_survives_even_where_it_shows_nothing_new,
    a_deleted_incident_is_gone_everywhere_and_its_number_stays_taken,
    what_is_left_out_stays_and_what_cannot_be_cleared_says_so,
    the_word_of_the_client_comes_back_to_the_letter,
    an_id_stands_for_one_input_of_one_caller,
    a_field_that_fails_leaves_no_hole,
    an_answer_that_misses_a_part_says_that_the_command_was_carried_out,
);

async fn a_resolved_incident_keeps_its_note(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Impossible travel for a finance clerk").await;
    let resolved = desk
        .data(
            "mutation($id: ID!) {
                resolveIncident(input: { incidentId: $id, note: \"  VPN exit, confirmed with the user  \" }) {
                    changed incident { status resolution { note by { account } } }
                }
             }",
            json!({ "id": id }),
        )
        .await;
    assert_eq!(
        resolved["resolveIncident"],
        json!({
            "changed": true,
            "incident": {
                "status": "RESOLVED",
                "resolution": { "note": "VPN exit, confirmed with the user", "by": { "account": "local-manager" } },
            },
        })
    );
}

async fn an_incident_starts_with_the_defaults_of_the_desk(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = desk.create(json!({ "title": "  Beaconing from the build farm \n" })).await;
    let expected = json!({
        "id": made["id"], "number": 1, "reference": "INC-1", "version": 1,
        "title": "Beaconing from the build farm", "titleGenerated": false, "description": null,
        "severity": "MEDIUM", "computedSeverity": "MEDIUM", "severityOverride": null, "status": "NEW",
        "classification": null, "owner": null, "tags": [], "resolution": null, "alertCount": 0, "commentCount": 0,
        "products": [], "providers": [], "createdAt": "2026-11-23T08:00:00+00:00",
        "updatedAt": "2026-11-23T08:00:00+00:00", "firstActivityAt": null, "lastActivityAt": null,
        "firstAssignedAt": null, "resolvedAt": null, "redirectedToId": null,
    });
    assert_eq!(made, expected);
    assert_eq!(desk.read(made["id"].as_str().expect("an id")).await, expected, "the answer is what is stored");
    for title in [json!(" \t\u{2003}\n"), json!(""), Value::Null] {
        let refusal = desk.deny("createIncident", json!({ "title": title })).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("input.title")));
    }
    let next = desk.create(json!({ "title": "Next" })).await;
    assert_eq!(next["number"], 2, "a refused creation takes no number");
}

async fn an_incident_may_be_made_with_everything_at_once(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alerts = desk.ingest(vec![report("1", json!({ "severity": "HIGH" }))], Value::Null).await;
    let made = desk
        .act(
            "createIncident",
            json!({
                "title": "Phished, contained overnight", "description": "Two mailboxes 📬", "severity": "LOW",
                "status": "RESOLVED", "note": "  passwords reset  ", "classification": { "truePositive": "PHISHING" },
                "owner": { "me": true }, "tags": ["Mail", " mail "], "systemTags": [{ "name": "BEC", "kind": "ATTACK_TYPE" }],
                "firstActivityAt": "2026-11-22T22:00:00Z", "lastActivityAt": "2026-11-23T05:30:00.123456Z",
                "alerts": [alerts["alerts"][0]["id"]], "clientMutationId": "wall-7",
            }),
        )
        .await;
    assert_eq!((&made["changed"], &made["clientMutationId"]), (&json!(true), &json!("wall-7")));
    assert_eq!(
        made["alerts"],
        json!([{ "id": alerts["alerts"][0]["id"], "status": "RESOLVED", "owner": { "account": "local-manager" } }])
    );
    let expected = laid_over(
        made["incident"].clone(),
        json!({
            "version": 1, "severity": "LOW", "computedSeverity": "HIGH", "severityOverride": "LOW", "status": "RESOLVED",
            "classification": { "kind": "TRUE_POSITIVE", "threat": "PHISHING", "activity": null, "reason": null },
            "tags": [{ "name": "Mail", "kind": "CUSTOM" }, { "name": "BEC", "kind": "ATTACK_TYPE" }],
            "resolution": { "note": "passwords reset", "at": "2026-11-23T08:00:00+00:00", "by": { "account": "local-manager" } },
            "firstActivityAt": "2026-11-22T22:00:00+00:00", "lastActivityAt": "2026-11-23T05:30:00.123456+00:00",
            "firstAssignedAt": "2026-11-23T08:00:00+00:00", "resolvedAt": "2026-11-23T08:00:00+00:00", "alertCount": 1,
        }),
    );
    assert_eq!(made["incident"], expected);
    let id = made["incident"]["id"].as_str().expect("an id");
    assert_eq!(desk.read(id).await, expected);
    assert_eq!(desk.log(id).await.len(), 1, "one change");

    for (input, path) in [
        (json!({ "title": "T", "note": "not resolved" }), "input.note"),
        (json!({ "title": "T", "status": "REDIRECTED" }), "input.status"),
        (
            json!({ "title": "T", "firstActivityAt": "2026-11-23T02:00:00Z", "lastActivityAt": "2026-11-23T01:00:00Z" }),
            "input.lastActivityAt",
        ),
        (json!({ "title": "T", "owner": { "me": false } }), "input.owner.me"),
    ] {
        let refusal = desk.deny("createIncident", input).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some(path)));
    }
}

async fn the_same_id_and_input_again_is_the_same_incident(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = "0198c0de-0000-7000-8000-000000000001";
    let input = json!({ "id": id, "title": "From a playbook", "tags": ["auto"] });
    let (one, two) = tokio::join!(desk.act("createIncident", input.clone()), desk.act("createIncident", input.clone()));
    assert_eq!(one["incident"], two["incident"]);
    assert_eq!(one["incident"]["id"], format!("incident:{id}"));
    assert_ne!(one["changed"], two["changed"], "one of the two made it");
    desk.update(&format!("incident:{id}"), json!({ "title": "Renamed since" })).await;
    let end = desk.log_end().await;
    let again = desk.act("createIncident", input.clone()).await;
    assert_eq!((&again["changed"], &again["incident"]["title"]), (&json!(false), &json!("Renamed since")));
    assert_eq!(desk.log_end().await, end);

    let refusal = desk.deny("createIncident", laid_over(input.clone(), json!({ "tags": ["other"] }))).await;
    assert_eq!(refusal.code, "CONFLICT");
    assert_eq!(refusal.now["number"], one["incident"]["number"]);
    desk.act("deleteIncident", json!({ "incidentId": format!("incident:{id}") })).await;
    assert_eq!(desk.deny("createIncident", input).await.code, "CONFLICT", "an id is not reused");
}

/// A desk stores the digest of a creation for ever. If it changed, a retry from before an upgrade would be a
/// `CONFLICT`. A new field of an edit must therefore be skipped by serde while it is absent.
async fn the_digest_of_a_creation_is_that_of_earlier_versions(database: TestDatabase) {
    let least = json!({ "title": "From a playbook" });
    let most = json!({
        "title": "Token theft",
        "description": "A refresh token was used from two countries.",
        "severity": "HIGH",
        "status": "RESOLVED",
        "note": "The user travelled.",
        "classification": { "falsePositive": "NOT_MALICIOUS" },
        "owner": null,
        "tags": ["travel", "Azure"],
        "systemTags": [{ "kind": "CRITICAL_ASSET", "name": "Payroll" }],
        "firstActivityAt": "2026-11-23T01:00:00Z",
        "lastActivityAt": "2026-11-23T02:00:00.123456Z",
    });
    let desk = TestDesk::open(&database).await;
    for (id, input, expected) in [
        (
            "0198c0de-0000-7000-8000-000000000001",
            least,
            "15ca6d13252e6a4dbe642113c391b7cbf1e577f5ac4115e61df0daae7cc453d8",
        ),
        (
            "0198c0de-0000-7000-8000-000000000002",
            most,
            "05c03fba1c58a84027d438f79327ac23ca24589301d5f3827f28f8a0a320551b",
        ),
    ] {
        let made = desk.act("createIncident", laid_over(input, json!({ "id": id }))).await;
        let sql = format!("SELECT created_input FROM incident WHERE number = {}", made["incident"]["number"]);
        let conn = database.connect().await;
        let row = conn.query_one_raw(Statement::from_string(conn.get_database_backend(), sql)).await;
        let digest: Vec<u8> = row.expect("an answer").expect("a row").try_get("", "created_input").expect("a digest");
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, expected);
    }
}

async fn twenty_incidents_made_at_once_have_twenty_numbers_in_a_row(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = (0..20).map(|n| desk.act("createIncident", json!({ "title": format!("Storm {n}") })));
    let mut numbers: Vec<i64> = futures_util::future::join_all(made)
        .await
        .iter()
        .map(|made| made["incident"]["number"].as_i64().expect("a number"))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

async fn actions_together_are_one_change_or_none(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alerts = desk.alerts(&["1"]).await;
    let made = desk.create(json!({ "title": "Before", "tags": ["old"] })).await;
    let id = made["id"].as_str().expect("an id");
    let all = json!({
        "title": "After", "description": "Why", "severity": "HIGH", "status": "RESOLVED", "note": "done",
        "classification": { "falsePositive": "NOT_MALICIOUS" }, "owner": { "me": true }, "addTags": ["new"],
        "removeTags": ["OLD"], "comment": "closing **this**", "linkAlerts": alerts, "firstActivityAt": "2026-11-20T00:00:00Z",
    });
    for (bad, code, path) in [
        (json!({ "title": " " }), "INVALID", Some("input.title")),
        (json!({ "status": "REDIRECTED", "note": null }), "INVALID", Some("input.status")),
        (
            json!({ "owner": { "user": "user:0198c0de-0000-7000-8000-000000000009" } }),
            "NOT_FOUND",
            Some("input.owner.user"),
        ),
        (json!({ "comment": " \n" }), "INVALID", Some("input.comment")),
        (
            json!({ "linkAlerts": ["alert:0198c0de-0000-7000-8000-000000000009"] }),
            "NOT_FOUND",
            Some("input.linkAlerts.0"),
        ),
        (json!({ "unlinkAlerts": alerts }), "INVALID", Some("input.unlinkAlerts.0")),
        (json!({ "lastActivityAt": "2026-11-19T00:00:00Z" }), "INVALID", Some("input.lastActivityAt")),
        (json!({ "addTags": ["x".repeat(201)] }), "LIMIT", Some("input.addTags.0")),
    ] {
        let refusal = desk.update_denied(id, laid_over(all.clone(), bad)).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, path), "{}", refusal.message);
    }
    assert_eq!(desk.alert(&alerts[0]).await["incident"], Value::Null);

    let done = desk.update(id, all).await;
    assert_eq!((&done["changed"], &done["incident"]["version"]), (&json!(true), &json!(2)));
    assert_eq!(done["comment"]["body"], "closing **this**");
    assert_eq!(done["incident"], desk.read(id).await);
    let log = desk.log(id).await;
    assert_eq!(log.len(), 2);
    let mut kinds: Vec<_> = each(&log[1]["entries"], "kind");
    kinds.sort_by_key(|kind| kind.to_string());
    assert_eq!(
        kinds,
        [
            "ACTIVITY",
            "ALERTS_CHANGED",
            "ALERTS_LINKED",
            "CLASSIFICATION",
            "COMMENT",
            "DESCRIPTION",
            "OWNER",
            "RESOLUTION_NOTE",
            "SEVERITY",
            "STATUS",
            "TAGS",
            "TITLE"
        ]
    );

    let end = desk.log_end().await;
    let same = json!({
        "title": " After ", "description": "Why", "severity": "HIGH", "status": "RESOLVED", "note": "done",
        "classification": { "falsePositive": "NOT_MALICIOUS" }, "owner": { "me": true }, "addTags": ["NEW"],
        "removeTags": ["absent"], "linkAlerts": alerts, "firstActivityAt": "2026-11-20T00:00:00Z",
    });
    for nothing in [same, json!({})] {
        let done = desk.update(id, nothing).await;
        assert_eq!((&done["changed"], &done["alerts"]), (&json!(false), &json!([])));
        assert_eq!(done["incident"]["version"], 2);
    }
    assert_eq!(desk.log_end().await, end, "what alters nothing writes nothing");
}

async fn the_status_moves_by_the_table_only(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for from in ["NEW", "ACTIVE", "RESOLVED"] {
        for to in ["NEW", "ACTIVE", "RESOLVED"] {
            let id = desk.create(json!({ "title": "Moves", "status": from })).await["id"].clone();
            if from != "RESOLVED" && to != "RESOLVED" && from != to {
                let refusal = desk.deny("reopenIncident", json!({ "incidentId": id, "status": to })).await;
                assert_eq!(
                    (refusal.code.as_str(), &refusal.now),
                    ("CONFLICT", &json!({ "status": from })),
                    "{from} to {to}"
                );
            }
            let moved = desk.act("setIncidentStatus", json!({ "incidentId": id, "status": to })).await;
            assert_eq!(
                (&moved["incident"]["status"], &moved["changed"]),
                (&json!(to), &json!(from != to)),
                "{from} to {to}"
            );
            assert_eq!(moved["incident"]["resolution"].is_null(), to != "RESOLVED", "{from} to {to}");
            assert_eq!(moved["incident"]["resolvedAt"].is_null(), to != "RESOLVED", "{from} to {to}");
        }
        let id = desk.create(json!({ "title": "Stays", "status": from })).await["id"].clone();
        for name in ["setIncidentStatus", "updateIncident", "reopenIncident"] {
            let refusal = desk.deny(name, json!({ "incidentId": id, "status": "REDIRECTED" })).await;
            assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("input.status")));
        }
    }
    let id = desk.create(json!({ "title": "Open" })).await["id"].clone();
    let refusal = desk.deny("updateIncident", json!({ "incidentId": id, "note": "too early" })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("input.note")));
}

async fn the_severity_is_the_override_else_the_highest_of_the_alerts(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let severities = ["LOW", "HIGH", "INFORMATIONAL"];
    let reports = severities.iter().map(|s| report(s, json!({ "severity": s }))).collect();
    let taken = desk.ingest(reports, Value::Null).await;
    let alerts = each(&taken["alerts"], "id");
    let id = desk.incident("Severity").await;
    let seen = |payload: &Value| {
        let incident = &payload["incident"];
        ["severity", "computedSeverity", "severityOverride"]
            .map(|field| incident[field].as_str().map(str::to_owned).unwrap_or_default())
    };
    for (fields, expected) in [
        (json!({ "linkAlerts": [alerts[2]] }), ["INFORMATIONAL", "INFORMATIONAL", ""]),
        (json!({ "linkAlerts": [alerts[0]] }), ["LOW", "LOW", ""]),
        (json!({ "linkAlerts": [alerts[1]] }), ["HIGH", "HIGH", ""]),
        (json!({ "severity": "INFORMATIONAL" }), ["INFORMATIONAL", "HIGH", "INFORMATIONAL"]),
        (json!({ "unlinkAlerts": [alerts[1]] }), ["INFORMATIONAL", "LOW", "INFORMATIONAL"]),
        (json!({ "severity": "LOW" }), ["LOW", "LOW", "LOW"]),
        (json!({ "severity": null }), ["LOW", "LOW", ""]),
        (json!({ "unlinkAlerts": [alerts[0], alerts[2]] }), ["MEDIUM", "MEDIUM", ""]),
        (json!({ "severity": "MEDIUM" }), ["MEDIUM", "MEDIUM", "MEDIUM"]),
    ] {
        let done = desk.update(&id, fields.clone()).await;
        assert_eq!(seen(&done), expected, "{fields}");
        assert_eq!(done["changed"], true, "{fields}");
    }
    let entry = &desk.newest(&id).await["SEVERITY"];
    assert_eq!((&entry["overrideBefore"], &entry["overrideAfter"]), (&Value::Null, &json!("MEDIUM")));
}

async fn a_classification_is_set_changed_and_cleared_at_any_time(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Classified").await;
    let classify = |pair: Value| json!({ "incidentId": id, "classification": pair });
    for (pair, kind, field, word) in [
        (json!({ "truePositive": "MULTI_STAGE_ATTACK" }), "TRUE_POSITIVE", "threat", "MULTI_STAGE_ATTACK"),
        (
            json!({ "informationalExpectedActivity": "SECURITY_TESTING" }),
            "INFORMATIONAL_EXPECTED_ACTIVITY",
            "activity",
            "SECURITY_TESTING",
        ),
        (json!({ "falsePositive": "OTHER" }), "FALSE_POSITIVE", "reason", "OTHER"),
    ] {
        let done = desk.act("classifyIncident", classify(pair)).await;
        let held = &done["incident"]["classification"];
        assert_eq!((&held["kind"], &held[field]), (&json!(kind), &json!(word)));
        assert_eq!(held.as_object().expect("an object").values().filter(|v| !v.is_null()).count(), 2);
    }
    desk.act("resolveIncident", json!({ "incidentId": id })).await;
    let reopened = desk.act("reopenIncident", json!({ "incidentId": id })).await;
    assert_eq!(reopened["incident"]["classification"]["reason"], "OTHER", "it stays through resolve and reopen");
    assert_eq!(desk.act("classifyIncident", classify(Value::Null)).await["incident"]["classification"], Value::Null);
    assert_eq!(desk.act("classifyIncident", classify(Value::Null)).await["changed"], false);
    for invalid in [
        json!({ "truePositive": "PHISHING", "falsePositive": "OTHER" }),
        json!({}),
        json!({ "truePositive": null }),
        json!({ "truePositive": "NOT_MALICIOUS" }),
        json!({ "truePositive": "PHISHING", "falsePositive": null }),
    ] {
        assert_eq!(desk.deny("classifyIncident", classify(invalid)).await.code, "INVALID");
    }
}

async fn tags_are_compared_without_case_and_shown_as_first_written(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (one, two) = (desk.incident("One").await, desk.incident("Two").await);
    let tag = |id: &str, tags: Value| json!({ "incidentId": id, "tags": tags });
    desk.act("addTags", tag(&one, json!([" Straße ", "VIP"]))).await;
    let done = desk.act("addTags", tag(&two, json!(["STRASSE", "vip", "Vip", "apt 29"]))).await;
    assert_eq!(each(&done["incident"]["tags"], "name"), ["apt 29", "Straße", "VIP"]);
    assert_eq!(desk.act("addTags", tag(&two, json!(["straße", "VIP"]))).await["changed"], false);
    assert_eq!(desk.act("removeTags", tag(&two, json!(["absent", "ViP "]))).await["changed"], true);
    assert_eq!(desk.act("removeTags", tag(&two, json!(["vip"]))).await["changed"], false);
    assert_eq!(each(&desk.read(&one).await["tags"], "name"), ["Straße", "VIP"], "another incident keeps its own");

    let system =
        json!([{ "name": "vip", "kind": "CRITICAL_ASSET" }, { "name": "Disrupted", "kind": "AUTOMATIC_ACTION" }]);
    let done = desk.act("addTags", json!({ "incidentId": one, "systemTags": system })).await;
    assert_eq!(
        done["incident"]["tags"].as_array().expect("tags").len(),
        4,
        "a system tag is another than a custom one"
    );
    let log = desk.newest(&one).await;
    assert_eq!(each(&log["TAGS"]["added"], "name"), ["Disrupted", "vip"]);
    let gone = json!({ "incidentId": one, "removeSystemTags": [{ "name": "VIP", "kind": "CRITICAL_ASSET" }], "addTags": ["new"], "removeTags": ["new"] });
    let done = desk.act("updateIncident", gone).await;
    assert_eq!(each(&done["incident"]["tags"], "name"), ["new", "Straße", "VIP", "Disrupted"]);
    for (tags, code) in [(json!([" "]), "INVALID"), (json!(["x".repeat(201)]), "LIMIT")] {
        let refusal = desk.deny("addTags", tag(&one, tags)).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some("input.tags.0")));
    }
    let many: Vec<String> = (0..97).map(|n| format!("tag {n}")).collect();
    let refusal = desk.deny("addTags", tag(&one, json!(many))).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("input.tags")));
    assert_eq!(
        desk.act("addTags", tag(&one, json!(&many[1..]))).await["incident"]["tags"].as_array().expect("tags").len(),
        100
    );
}

async fn system_tags_are_told_apart_from_what_people_write(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("connector", "RESPONDER").await;
    desk.user("auditor", "READER").await;
    let (one, two) = (desk.incident("Ransom note on a file server").await, desk.incident("Newsletter").await);
    let expert = json!([{ "name": "Defender Experts", "kind": "EXPERT" }, { "name": "VIP", "kind": "CRITICAL_ASSET" }]);
    let tag = json!({ "incidentId": one, "tags": ["vip"], "systemTags": expert });
    assert_eq!(desk.deny_as(Some("auditor"), "addTags", tag.clone()).await.code, "FORBIDDEN");
    desk.act_as(Some("connector"), "addTags", tag).await;
    desk.act("addTags", json!({ "incidentId": two, "tags": ["VIP", "Defender Experts"] })).await;

    // A person removes a tag that people wrote, and no other tag.
    let gone = desk.act("removeTags", json!({ "incidentId": one, "tags": ["VIP", "defender experts"] })).await;
    assert_eq!(each(&gone["incident"]["tags"], "kind"), ["EXPERT", "CRITICAL_ASSET"]);
    desk.update(&one, json!({ "removeTags": ["VIP"] })).await;
    assert_eq!(desk.read(&one).await["tags"].as_array().expect("tags").len(), 2);
    let refusal = desk
        .deny("removeTags", json!({ "incidentId": one, "systemTags": [{ "name": "VIP", "kind": "CUSTOM" }] }))
        .await;
    let kind = "variables.input.systemTags.0.kind";
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some(kind)), "a kind that is not there");
    let other_kind = json!({ "incidentId": one, "systemTags": [{ "name": "VIP", "kind": "EXPERT" }] });
    assert_eq!(desk.act("removeTags", other_kind).await["changed"], false);

    let queue = "query($tags: TagFilterInput!) { incidents(filter: { tags: $tags }) { nodes { title } } }";
    for (tags, titles) in [
        (json!({ "kind": ["EXPERT"] }), vec!["Ransom note on a file server"]),
        (json!({ "kind": ["CUSTOM"] }), vec!["Newsletter"]),
        (json!({ "kind": ["AUTOMATIC_ACTION"] }), vec![]),
        (json!({ "kind": [] }), vec![]),
        (json!({ "any": ["vip"] }), vec!["Newsletter", "Ransom note on a file server"]),
        (json!({ "any": ["vip"], "kind": ["CRITICAL_ASSET", "ATTACK_TYPE"] }), vec!["Ransom note on a file server"]),
    ] {
        let found = desk.data(queue, json!({ "tags": tags })).await["incidents"]["nodes"].take();
        assert_eq!(sorted(&found, "title"), titles, "{tags}");
    }
}

async fn an_owner_is_set_on_every_linked_alert(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ana = desk.user("ana", "RESPONDER").await;
    let group = desk.act("upsertGroup", json!({ "account": "tier-2", "name": "Tier 2" })).await["group"]["id"].clone();
    let alerts = desk.alerts(&["1", "2", "3"]).await;
    desk.act("updateAlert", json!({ "alertId": alerts[0], "owner": { "user": ana } })).await;
    let made = desk.create(json!({ "title": "Owned", "alerts": &alerts[..2] })).await;
    let id = made["id"].as_str().expect("an id");
    assert_eq!(desk.alert(&alerts[0]).await["owner"]["account"], "ana", "an incident without owner leaves the alert's");
    assert_eq!(made["firstAssignedAt"], Value::Null);

    let assign = |owner: Value| json!({ "incidentId": id, "owner": owner });
    desk.clock.advance(chrono::Duration::minutes(5));
    let done = desk.act("assignIncident", assign(json!({ "user": ana }))).await;
    assert_eq!(each(&done["alerts"], "id"), [&alerts[1]], "the answer lists the alerts that changed");
    assert_eq!(done["incident"]["firstAssignedAt"], "2026-11-23T08:05:00+00:00");
    desk.clock.advance(chrono::Duration::minutes(5));
    let done = desk.act("assignIncident", assign(json!({ "group": group }))).await;
    assert_eq!(
        done["incident"]["owner"],
        json!({ "id": group, "kind": "GROUP", "account": "tier-2", "name": "Tier 2" })
    );
    assert_eq!(sorted(&done["alerts"], "id"), alerts[..2]);
    assert_eq!(done["incident"]["firstAssignedAt"], "2026-11-23T08:05:00+00:00", "only the first time counts");
    let entry = &desk.newest(id).await["ALERTS_CHANGED"];
    assert_eq!(entry["alerts"][0]["owner"], json!({ "before": ana, "after": group }));

    let done = desk.act("linkAlerts", json!({ "incidentId": id, "alerts": [alerts[2]] })).await;
    assert_eq!(done["alerts"][0]["owner"]["account"], "tier-2", "a newly linked alert takes the owner");
    let done = desk.act_as(Some("ana"), "assignIncident", assign(json!({ "me": true }))).await;
    assert_eq!(done["incident"]["owner"]["account"], "ana");
    assert_eq!(done["alerts"].as_array().expect("alerts").len(), 3);
    assert_eq!(desk.act("assignIncident", assign(json!({ "user": ana }))).await["changed"], false);
    let done = desk.act("unassignIncident", json!({ "incidentId": id })).await;
    assert_eq!(done["incident"]["owner"], Value::Null);
    assert!(done["alerts"].as_array().expect("alerts").iter().all(|alert| alert["owner"].is_null()));
    assert_eq!(done["incident"]["firstAssignedAt"], "2026-11-23T08:05:00+00:00");
    for owner in [json!({ "user": group }), json!({ "group": ana })] {
        let refusal = desk.deny("assignIncident", assign(owner)).await;
        assert_eq!(refusal.code, "INVALID", "{}", refusal.message);
    }
}

async fn resolving_settles_the_alerts_and_reopening_returns_exactly_those(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alerts = desk.alerts(&["new", "active", "done before", "touched", "unlinked", "reported"]).await;
    for (n, status) in [(1, "ACTIVE"), (2, "RESOLVED")] {
        desk.act("updateAlert", json!({ "alertId": alerts[n], "status": status })).await;
    }
    let made = desk.create(json!({ "title": "Resolved at noon", "alerts": alerts })).await;
    let id = made["id"].as_str().expect("an id");
    desk.clock.advance(chrono::Duration::hours(4));
    let input = json!({ "incidentId": id, "note": "clean", "classification": { "informationalExpectedActivity": "CONFIRMED_ACTIVITY" } });
    let done = desk.act("resolveIncident", input).await;
    let mut open = alerts.clone();
    open.remove(2);
    assert_eq!(sorted(&done["alerts"], "id"), open, "those that were not resolved, and no other");
    assert!(each(&done["alerts"], "status").iter().all(|status| *status == "RESOLVED"));
    assert_eq!(done["incident"]["resolvedAt"], "2026-11-23T12:00:00+00:00");
    assert_eq!(desk.act("resolveIncident", json!({ "incidentId": id })).await["changed"], false);

    desk.act("updateAlert", json!({ "alertId": alerts[3], "classification": { "falsePositive": "OTHER" } })).await;
    desk.act("unlinkAlerts", json!({ "incidentId": id, "alerts": [alerts[4]] })).await;
    desk.ingest(vec![report("reported", json!({ "status": "RESOLVED" }))], Value::Null).await;
    let done = desk.act("reopenIncident", json!({ "incidentId": id, "status": "NEW" })).await;
    assert_eq!(sorted(&done["alerts"], "id"), alerts[..2], "still linked and untouched since");
    let mut stand = Vec::new();
    for alert in &alerts {
        stand.push(desk.alert(alert).await["status"].as_str().expect("a status").to_owned());
    }
    assert_eq!(stand, ["NEW", "ACTIVE", "RESOLVED", "RESOLVED", "RESOLVED", "RESOLVED"]);
    let incident = &done["incident"];
    assert_eq!(
        (&incident["status"], &incident["resolution"], &incident["resolvedAt"]),
        (&json!("NEW"), &Value::Null, &Value::Null)
    );
    assert_eq!(incident["classification"]["activity"], "CONFIRMED_ACTIVITY", "the classification stays");
    let entry = &desk.newest(id).await;
    assert_eq!(
        (&entry["RESOLUTION_NOTE"]["textBefore"], &entry["RESOLUTION_NOTE"]["textAfter"]),
        (&json!("clean"), &Value::Null)
    );
    let again = desk.act("resolveIncident", json!({ "incidentId": id })).await;
    assert_eq!(sorted(&again["alerts"], "id"), alerts[..2], "a second resolution settles what is open then");
}

async fn resolving_again_resolves_what_became_active_since(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ann", "RESPONDER").await;
    let alerts = desk.alerts(&["1", "2"]).await;
    let made = desk.create(json!({ "title": "Closed", "alerts": alerts, "status": "RESOLVED", "note": "done" })).await;
    let id = made["id"].as_str().expect("an id");
    // A person may not do this, but a feed's report may.
    desk.ingest(vec![report("2", json!({ "status": "ACTIVE" }))], Value::Null).await;
    desk.clock.advance(chrono::Duration::hours(1));
    let again = desk.act_as(Some("ann"), "resolveIncident", json!({ "incidentId": id })).await;
    assert_eq!((&again["changed"], each(&again["alerts"], "id")), (&json!(true), vec![&json!(alerts[1])]));
    assert_eq!(desk.alert(&alerts[1]).await["status"], "RESOLVED");
    let stands = desk.read(id).await;
    assert_eq!(stands["resolution"], made["resolution"], "by whom and when it was resolved stays");
    assert_eq!(desk.newest(id).await.as_object().map(serde_json::Map::len), Some(1), "only the alert changed");
    assert_eq!(desk.act("resolveIncident", json!({ "incidentId": id })).await["changed"], false);
    assert_eq!(desk.read(id).await, stands, "what alters nothing writes no change");
    let reopened = desk.act("reopenIncident", json!({ "incidentId": id })).await;
    assert_eq!(sorted(&reopened["alerts"], "status"), ["ACTIVE", "NEW"], "each as it was found");
}

async fn an_active_alert_reopens_a_resolved_incident_only_when_told(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alerts = desk.alerts(&["held", "late", "later", "done"]).await;
    let made = desk.create(json!({ "title": "Closed", "alerts": [alerts[0]], "status": "RESOLVED" })).await;
    let id = made["id"].as_str().expect("an id");
    let link = |n: usize| json!({ "incidentId": id, "alerts": [alerts[n]] });
    let refusal = desk.deny("linkAlerts", link(1)).await;
    assert_eq!((refusal.code.as_str(), &refusal.now["status"]), ("CONFLICT", &json!("RESOLVED")));
    let into =
        desk.deny("ingestAlerts", json!({ "alerts": [report("later", json!({}))], "into": { "incident": id } })).await;
    assert_eq!(into.code, "CONFLICT");
    // The provider's status in this very call counts, not its earlier status.
    let done = desk.ingest(vec![report("later", json!({ "status": "RESOLVED" }))], json!({ "incident": id })).await;
    assert_eq!(done["incident"]["status"], "RESOLVED");
    desk.act("updateAlert", json!({ "alertId": alerts[3], "status": "RESOLVED" })).await;
    let again = json!({ "alerts": [report("done", json!({ "status": "ACTIVE" }))], "into": { "incident": id } });
    assert_eq!(desk.deny("ingestAlerts", again).await.code, "CONFLICT");
    assert_eq!(desk.act("linkAlerts", link(3)).await["incident"]["status"], "RESOLVED", "a resolved alert is welcome");

    let done = desk.act("linkAlerts", laid_over(link(1), json!({ "reopen": true }))).await;
    assert_eq!((&done["incident"]["status"], &done["incident"]["resolution"]), (&json!("ACTIVE"), &Value::Null));
    assert_eq!(
        sorted(&done["alerts"], "id"),
        alerts[..2],
        "the linked one, and the one that the resolution had settled"
    );
    assert_eq!(desk.alert(&alerts[0]).await["status"], "NEW");
    assert_eq!(desk.alert(&alerts[3]).await["status"], "RESOLVED");
}

async fn what_a_person_states_survives_even_where_it_shows_nothing_new(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let times = json!({ "firstActivityAt": "2026-11-23T01:00:00Z", "lastActivityAt": "2026-11-23T02:00:00Z" });
    let taken = desk.ingest(vec![report("1", times)], json!({ "newIncident": true })).await;
    let id = taken["incident"]["id"].as_str().expect("an id");
    assert_eq!((&taken["incident"]["title"], &taken["incident"]["titleGenerated"]), (&json!("Alert 1"), &json!(true)));
    // The alert's own title, but now set by a person: it stays when the alerts change.
    let done = desk.act("renameIncident", json!({ "incidentId": id, "title": "Alert 1" })).await;
    assert_eq!((&done["changed"], &done["incident"]["titleGenerated"]), (&json!(true), &json!(false)));
    desk.ingest(vec![report("2", json!({}))], json!({ "incident": id })).await;
    assert_eq!(desk.read(id).await["title"], "Alert 1");
    // The stated times lie within the alert's times, so they show only when the alert leaves.
    let stated = json!({ "firstActivityAt": "2026-11-23T01:20:00Z", "lastActivityAt": "2026-11-23T01:40:00Z" });
    desk.update(id, stated.clone()).await;
    assert_eq!(desk.update(id, stated).await["changed"], false);
    let gone = desk.act("unlinkAlerts", json!({ "incidentId": id, "alerts": [taken["alerts"][0]["id"]] })).await;
    let incident = &gone["incident"];
    assert_eq!(
        (&incident["firstActivityAt"], &incident["lastActivityAt"]),
        (&json!("2026-11-23T01:20:00+00:00"), &json!("2026-11-23T01:40:00+00:00"))
    );
}

async fn a_deleted_incident_is_gone_everywhere_and_its_number_stays_taken(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("rita", "RESPONDER").await;
    let alerts = desk.alerts(&["1"]).await;
    let made = desk.create(json!({ "title": "Mistake", "alerts": alerts })).await;
    let id = made["id"].as_str().expect("an id");
    let comment = desk.act("addComment", json!({ "incidentId": id, "body": "oops" })).await["comment"]["id"].clone();
    let input = json!({ "incidentId": id });
    assert_eq!(desk.deny_as(Some("rita"), "deleteIncident", input.clone()).await.code, "FORBIDDEN");
    let gone = desk.act("deleteIncident", input.clone()).await;
    assert_eq!((&gone["deletedId"], &gone["alerts"]), (&json!(id), &json!([{ "id": alerts[0], "incident": null }])));

    for (query, variables) in [
        ("query($id: ID!) { incident(by: { id: $id }) { id } }", json!({ "id": id })),
        ("{ incident(by: { number: 1 }) { id } }", json!({})),
        ("query($id: ID!) { node(id: $id) { id } }", json!({ "id": id })),
        ("query($id: ID!) { node(id: $id) { id } }", json!({ "id": comment })),
    ] {
        assert_eq!(desk.refused(query, variables).await.code, "NOT_FOUND", "{query}");
    }
    let all = desk
        .data(
            "{ incidents(filter: { status: [NEW, ACTIVE, RESOLVED, REDIRECTED] }) { totalCount nodes { id } }
        alerts(filter: { linked: false }) { nodes { id } } }",
            json!({}),
        )
        .await;
    assert_eq!(all["incidents"], json!({ "totalCount": 0, "nodes": [] }));
    assert_eq!(all["alerts"]["nodes"], json!([{ "id": alerts[0] }]));
    for name in ["deleteIncident", "resolveIncident"] {
        assert_eq!(desk.deny(name, input.clone()).await.code, "NOT_FOUND");
    }
    assert_eq!(desk.deny("editComment", json!({ "commentId": comment, "body": "b" })).await.code, "NOT_FOUND");
    assert_eq!(desk.create(json!({ "title": "Next" })).await["number"], 2);
}

async fn what_is_left_out_stays_and_what_cannot_be_cleared_says_so(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Token replay against the mail gateway").await;
    let id = id.as_str();
    desk.update(
        id,
        json!({ "description": "Seen twice", "severity": "HIGH", "classification": { "truePositive": "PHISHING" } }),
    )
    .await;
    for (name, field) in [
        ("describeIncident", "description"),
        ("setIncidentSeverity", "severity"),
        ("classifyIncident", "classification"),
    ] {
        let refusal = desk.deny(name, json!({ "incidentId": id })).await;
        let path = format!("input.{field}");
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some(path.as_str())), "{name}");
        let cleared = desk.act(name, json!({ "incidentId": id, (field): null })).await;
        assert_eq!(cleared["changed"], true, "{name}: null clears");
    }
    for field in ["title", "status"] {
        let refusal = desk.update_denied(id, json!({ (field): null })).await;
        let path = format!("input.{field}");
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some(path.as_str())));
    }
    let note = |done: &Value| done["incident"]["resolution"]["note"].clone();
    let resolved = desk.update(id, json!({ "status": "RESOLVED", "note": "reset" })).await;
    assert_eq!(note(&resolved), "reset");
    let cleared = desk.update(id, json!({ "note": null })).await;
    assert_eq!((&cleared["changed"], note(&cleared)), (&json!(true), Value::Null));
    let kindless = desk.update_denied(id, json!({ "addSystemTags": [{ "name": "BEC" }] })).await;
    assert_eq!(
        (kindless.code.as_str(), kindless.path.as_deref()),
        ("INVALID", Some("variables.input.addSystemTags.0.kind"))
    );
}

async fn the_word_of_the_client_comes_back_to_the_letter(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let word = "  wall-7 ";
    let made = desk.act("createIncident", json!({ "title": "Beaconing", "clientMutationId": word })).await;
    assert_eq!(made["clientMutationId"], word);
    let query = "query($id: ID!) { incident(by: { id: $id }) { activity(first: 1) { nodes { clientMutationId } } } }";
    let log = desk.data(query, json!({ "id": made["incident"]["id"] })).await;
    assert_eq!(log["incident"]["activity"]["nodes"][0]["clientMutationId"], word);
    let long = desk.deny("createIncident", json!({ "title": "x", "clientMutationId": "w".repeat(257) })).await;
    assert_eq!(long.code, "LIMIT");
}

async fn an_id_stands_for_one_input_of_one_caller(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("noor", "RESPONDER").await;
    let input = |tags: [&str; 2]| json!({ "id": "6f1f6b2e-3f7c-4f7e-9d30-1c2f0b8a7e55", "title": "Beaconing", "owner": { "me": true }, "tags": tags });
    desk.act("createIncident", input(["vip", "mail"])).await;
    let again = desk.act("createIncident", input(["mail", "vip"])).await;
    assert_eq!(again["changed"], false, "the order of tags means nothing");
    let other = desk.deny_as(Some("noor"), "createIncident", input(["vip", "mail"])).await;
    assert_eq!(other.code, "CONFLICT", "another caller means another owner");
}

async fn a_field_that_fails_leaves_no_hole(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Beaconing").await;
    let roots = "{ a: incidents(first: 101) { totalCount } b: incidents { totalCount } }";
    // A root field that can be refused is nullable, so one refusal leaves the other answers standing.
    let answer = desk.graphql_as(None, roots, json!({})).await;
    assert_eq!(answer["data"], json!({ "a": null, "b": { "totalCount": 1 } }));
    let nested = "query($id: ID!) { incident(by: { id: $id }) { title more: comments(first: 101) { totalCount } } viewer { __typename } }";
    let answer = desk.graphql_as(None, nested, json!({ "id": id })).await;
    assert_eq!(answer["data"], json!({ "incident": null, "viewer": { "__typename": "Viewer" } }));
    assert_eq!(answer["errors"][0]["path"], json!(["incident", "more"]));
}

async fn an_answer_that_misses_a_part_says_that_the_command_was_carried_out(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = "mutation { createIncident(input: { title: \"Made\" }) {
        incident { number activity(first: 1, after: \"no cursor\") { nodes { version } } } } }";
    let answer = desk.graphql_as(None, made, json!({})).await;
    let error = &answer["errors"][0];
    assert_eq!(error["path"], json!(["createIncident", "incident", "activity"]), "{answer}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.starts_with("the command was carried out, but a part of its answer is missing: "), "{message}");
    let shown = desk.data("{ incidents { totalCount } }", json!({})).await;
    assert_eq!(shown["incidents"]["totalCount"], 1);
    // A command that is refused made no change, and says nothing of one.
    let answer =
        desk.graphql_as(None, "mutation { createIncident(input: { title: \"\" }) { changed } }", json!({})).await;
    let message = answer["errors"][0]["message"].as_str().expect("a message");
    assert!(!message.contains("was carried out"), "{answer}");
}
