//! Merges of incidents and their undo, through the public API: moved and kept objects, events and refusals.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::schema::mutations_with;
use crate::support::stream::{QUEUE, offset, present, read_to, replay, short};
use crate::support::triage::{each, laid_over, report, sorted};

each_database!(
    a_merge_moves_what_is_on_an_incident_and_leaves_its_stub,
    a_title_stays_when_told_or_where_there_is_nothing_to_make_one_from,
    a_merge_is_refused_with_its_reason_as_the_preview_says,
    a_preview_says_what_the_merge_then_does,
    a_number_leads_on_through_merges_and_an_id_shows_the_stub,
    a_stub_refuses_every_write_and_names_its_target,
    an_undo_puts_back_all_that_was_there,
    an_undo_is_refused_once_either_side_has_changed,
    merges_are_undone_newest_first,
    a_comment_is_edited_where_it_has_come_to,
    an_answer_leads_on_to_the_other_incident,
    merges_in_opposite_directions_leave_one,
    writers_who_meet_a_merge_lose_nothing,
    a_queue_is_told_of_a_merge_and_of_its_undo,
    a_queue_that_shows_stubs_keeps_them,
);

/// Returns an alert of the mail gateway or of the endpoint sensor, as in a phishing case.
fn phishing(key: &str, over: Value) -> Value {
    let base = json!({
        "provider": "Mail gateway", "product": "Mailguard", "title": "Credential phishing page opened", "severity": "LOW",
        "category": "InitialAccess", "firstActivityAt": "2026-11-23T06:10:00Z", "lastActivityAt": "2026-11-23T06:20:00Z",
        "entities": [{ "kind": "USER", "value": "p.lindqvist" }, { "kind": "URL", "value": "https://acme-login.example/" }],
    });
    report(key, laid_over(base, over))
}

fn beacon(key: &str, over: Value) -> Value {
    let base = json!({
        "provider": "Endpoint sensor", "product": "Hostwatch", "title": "Beacon to a young domain", "severity": "HIGH",
        "category": "CommandAndControl", "firstActivityAt": "2026-11-23T05:00:00Z", "lastActivityAt": "2026-11-23T07:45:00Z",
        "entities": [{ "kind": "DEVICE", "value": "WS-FIN-14", "verdict": "SUSPICIOUS" }, { "kind": "USER", "value": "P.Lindqvist" }],
    });
    report(key, laid_over(base, over))
}

/// Creates an incident of these alerts, and returns its id.
async fn case(desk: &TestDesk, alerts: Vec<Value>) -> String {
    let taken = desk.ingest(alerts, json!({ "newIncident": true })).await;
    taken["incident"]["id"].as_str().expect("an id").to_owned()
}

fn merging(source: &str, target: &str) -> Value {
    json!({ "sourceId": source, "targetId": target })
}

/// Returns the whole incident, without the values that every change alters.
async fn whole(desk: &TestDesk, id: &str) -> Value {
    let mut incident = desk.read(id).await;
    let fields = incident.as_object_mut().expect("an incident");
    fields.retain(|field, _| !["version", "updatedAt"].contains(&field.as_str()));
    let held = desk
        .data(
            "query($id: ID!) { incident(by: { id: $id }) {
                alerts(first: 100) { totalCount nodes { id status owner { account } incident { id } } }
                comments(first: 100) { totalCount nodes { id body writtenOnId createdAt editedAt author { account } } }
                entities { kind entities { value verdict alertCount } }
             } }",
            json!({ "id": id }),
        )
        .await;
    json!({ "incident": incident, "held": held["incident"] })
}

/// Creates a phishing case with two people's comments, and the resulting beacon incident with an owner and a custom
/// title.
async fn two_cases(desk: &TestDesk) -> (String, String) {
    for (account, role) in [("mara", "RESPONDER"), ("tove", "RESPONDER")] {
        desk.user(account, role).await;
    }
    let source =
        case(desk, vec![phishing("mail-1", json!({})), phishing("mail-2", json!({ "severity": "MEDIUM" }))]).await;
    let held =
        desk.data("query($id: ID!) { incident(by: { id: $id }) { alerts { nodes { id } } } }", json!({ "id": source }));
    let first = held.await["incident"]["alerts"]["nodes"][0]["id"].clone();
    desk.act_as(Some("tove"), "updateAlert", json!({ "alertId": first, "owner": { "me": true } })).await;
    desk.update(&source, json!({ "addTags": ["Phishing", "finance"], "status": "ACTIVE" })).await;
    let minute = chrono::Duration::minutes(1);
    desk.act_as(Some("tove"), "addComment", json!({ "incidentId": source, "body": "Reported by the user" })).await;
    let target = case(desk, vec![beacon("edr-1", json!({}))]).await;
    desk.clock.advance(minute);
    desk.act_as(Some("mara"), "assignIncident", json!({ "incidentId": target, "owner": { "me": true } })).await;
    desk.update(&target, json!({ "title": "Loader on a finance laptop", "addTags": ["FINANCE", "malware"] })).await;
    desk.act_as(Some("mara"), "addComment", json!({ "incidentId": target, "body": "Host isolated" })).await;
    desk.clock.advance(minute);
    let gone = desk.act_as(Some("tove"), "addComment", json!({ "incidentId": source, "body": "Wrong window" })).await;
    desk.act_as(Some("tove"), "deleteComment", json!({ "commentId": gone["comment"]["id"] })).await;
    desk.act_as(Some("tove"), "addComment", json!({ "incidentId": source, "body": "Same user as INC-2" })).await;
    desk.clock.advance(minute);
    (source, target)
}

async fn a_merge_moves_what_is_on_an_incident_and_leaves_its_stub(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) = two_cases(&desk).await;
    let before = (whole(&desk, &source).await, whole(&desk, &target).await, desk.log_end().await);
    let input = laid_over(merging(&source, &target), json!({ "clientMutationId": "one case" }));
    let done = desk.act("mergeIncidents", input).await;
    assert_eq!(done["clientMutationId"], "one case");
    assert_eq!((&done["source"], &done["target"]), (&desk.read(&source).await, &desk.read(&target).await));

    let stub = whole(&desk, &source).await;
    let emptied = json!({
        "status": "REDIRECTED", "redirectedToId": target, "tags": [], "alertCount": 0, "commentCount": 0, "products": [],
        "providers": [], "severity": "MEDIUM", "computedSeverity": "MEDIUM", "firstActivityAt": null, "lastActivityAt": null,
    });
    assert_eq!(stub["incident"], laid_over(before.0["incident"].clone(), emptied), "the rest of it stays");
    let nothing = json!({ "alerts": { "totalCount": 0, "nodes": [] }, "comments": { "totalCount": 0, "nodes": [] }, "entities": [] });
    assert_eq!(stub["held"], nothing);

    let merged = whole(&desk, &target).await;
    let taken_over = json!({
        "title": "Multi-stage incident involving InitialAccess & CommandAndControl on one endpoint, one user reported by multiple sources",
        "titleGenerated": true, "alertCount": 3, "commentCount": 3, "products": ["Hostwatch", "Mailguard"],
        "providers": ["Endpoint sensor", "Mail gateway"], "firstActivityAt": "2026-11-23T05:00:00+00:00",
        "lastActivityAt": "2026-11-23T07:45:00+00:00",
        "tags": [{ "name": "finance", "kind": "CUSTOM" }, { "name": "malware", "kind": "CUSTOM" }, { "name": "Phishing", "kind": "CUSTOM" }],
    });
    assert_eq!(merged["incident"], laid_over(before.1["incident"].clone(), taken_over));
    let held = &merged["held"];
    assert!(each(&held["alerts"]["nodes"], "owner").iter().all(|owner| owner["account"] == "mara"), "hers: {held:#}");
    assert_eq!(
        each(&held["comments"]["nodes"], "body"),
        ["Reported by the user", "Host isolated", "Same user as INC-2"]
    );
    assert_eq!(each(&held["comments"]["nodes"], "writtenOnId"), [&source, &target, &source]);
    assert_eq!(held["entities"][0]["entities"][0]["alertCount"], 3, "one user, named by all: {held:#}");

    let moved = sorted(&before.0["held"]["alerts"]["nodes"], "id");
    assert_eq!(sorted(&done["alerts"], "id"), moved);
    let (gone, come) = (desk.newest(&source).await, desk.newest(&target).await);
    assert_eq!(
        gone["MERGED_INTO"],
        json!({ "kind": "MERGED_INTO", "targetId": target, "targetNumber": 2, "commentCount": 2 })
    );
    assert_eq!(come["MERGED"], json!({ "kind": "MERGED", "sourceId": source, "sourceNumber": 1, "commentCount": 2 }));
    assert_eq!(gone["STATUS"], json!({ "kind": "STATUS", "statusBefore": "ACTIVE", "statusAfter": "REDIRECTED" }));
    assert_eq!(gone["ALERTS_UNLINKED"], json!({ "kind": "ALERTS_UNLINKED", "alertIds": moved, "movedToId": target }));
    assert_eq!(come["ALERTS_LINKED"], json!({ "kind": "ALERTS_LINKED", "alertIds": moved, "movedFromIds": [source] }));
    assert_eq!(each(&gone["TAGS"]["removed"], "name"), ["finance", "Phishing"]);
    assert_eq!(each(&come["TAGS"]["added"], "name"), ["Phishing"]);
    let owners = each(&come["ALERTS_CHANGED"]["alerts"], "owner");
    let from: Vec<&Value> = owners.iter().map(|owner| &owner["before"]).collect();
    assert!(from.contains(&&Value::Null) && from.iter().any(|id| id.is_string()), "nobody's and tove's: {owners:?}");
    let changes = [desk.log(&source).await.pop().expect("a change"), desk.log(&target).await.pop().expect("a change")];
    assert_eq!(changes[0]["transactionId"], changes[1]["transactionId"]);
    let mut places: Vec<(u64, &Value)> = changes.iter().map(|c| (offset(&c["position"]), &c["last"])).collect();
    places.sort_by_key(|(at, _)| *at);
    assert_eq!(places, [(before.2 + 1, &json!(false)), (before.2 + 2, &json!(true))]);
    assert_eq!(desk.log_end().await, before.2 + 2, "one change on each");
    assert!(changes.iter().all(|change| change["cause"] == json!({ "kind": "COMMAND", "name": "mergeIncidents" })));
    let audits = desk.data(
        "query($id: ID!) { activity(incidentId: $id, filter: { kinds: [MERGED_INTO], content: AUDITS }) { totalCount } }",
        json!({ "id": source }),
    );
    assert_eq!(audits.await["activity"]["totalCount"], 1);
}

async fn a_title_stays_when_told_or_where_there_is_nothing_to_make_one_from(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) =
        (case(&desk, vec![phishing("1", json!({}))]).await, case(&desk, vec![beacon("2", json!({}))]).await);
    let keep = laid_over(merging(&source, &target), json!({ "keepTitle": true }));
    let kept = desk.act("mergeIncidents", keep).await["target"].take();
    assert_eq!((&kept["title"], &kept["titleGenerated"]), (&json!("Beacon to a young domain"), &json!(false)));
    desk.ingest(vec![phishing("3", json!({}))], json!({ "incident": target })).await;
    assert_eq!(desk.read(&target).await["title"], "Beacon to a young domain", "whoever keeps it means it");

    let (written, other) =
        (desk.incident("Badge reader of the east gate is dark").await, desk.incident("East gate").await);
    let done = desk.act("mergeIncidents", merging(&other, &written)).await["target"].take();
    assert_eq!(
        (&done["title"], &done["titleGenerated"]),
        (&json!("Badge reader of the east gate is dark"), &json!(false))
    );
    // Now it has alerts, and the next merge generates a title from them.
    let more = case(&desk, vec![beacon("4", json!({}))]).await;
    let done = desk.act("mergeIncidents", merging(&more, &written)).await["target"].take();
    assert_eq!((&done["title"], &done["titleGenerated"]), (&json!("Beacon to a young domain"), &json!(true)));
    desk.ingest(vec![phishing("5", json!({}))], json!({ "incident": written })).await;
    assert!(desk.read(&written).await["title"].as_str().is_some_and(|title| title.starts_with("Multi-stage")));
}

const PREVIEW: &str = "query($source: ID!, $target: ID!, $keep: Boolean! = false) {
    previewMerge(sourceId: $source, targetId: $target, keepTitle: $keep) {
        position source { id } target { id } refusals { code message path }
        outcome {
            title titleGenerated severity computedSeverity tags { name kind } alertCount commentCount products
            firstActivityAt lastActivityAt movedAlertCount movedCommentCount addedTags { name kind }
            ownerChanges { from { account } to { account } alertCount }
        }
    }
}";

async fn previewed(desk: &TestDesk, account: Option<&str>, source: &str, target: &str) -> Value {
    let variables = json!({ "source": source, "target": target });
    desk.data_as(account, PREVIEW, variables).await["previewMerge"].take()
}

async fn a_merge_is_refused_with_its_reason_as_the_preview_says(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("tove", "RESPONDER").await;
    let [open, other, resolved, merged, target, deleted] = [
        "Password spray",
        "Password spray, second wave",
        "Spam run",
        "Same spam run",
        "Spam runs of November",
        "Typed twice",
    ]
    .map(|title| desk.incident(title));
    let (open, other, resolved, merged, target, deleted) =
        (open.await, other.await, resolved.await, merged.await, target.await, deleted.await);
    desk.act("resolveIncident", json!({ "incidentId": resolved })).await;
    desk.act("mergeIncidents", merging(&merged, &target)).await;
    desk.act("deleteIncident", json!({ "incidentId": deleted })).await;
    for (id, range) in [(&open, 0..60), (&other, 40..101)] {
        let tags: Vec<String> = range.map(|n| format!("host-{n}")).collect();
        desk.act("addTags", json!({ "incidentId": id, "tags": tags })).await;
    }
    let unknown = "incident:0198c0de-0000-7000-8000-000000000009";
    for (source, into, code, path, now) in [
        (&*open, &*open, "INVALID", "targetId", Value::Null),
        (&*resolved, &*target, "CONFLICT", "sourceId", json!({ "status": "RESOLVED" })),
        (&*target, &*resolved, "CONFLICT", "targetId", json!({ "status": "RESOLVED" })),
        (&*merged, &*open, "CONFLICT", "sourceId", json!({ "status": "REDIRECTED", "redirectedTo": target })),
        (&*open, &*merged, "CONFLICT", "targetId", json!({ "status": "REDIRECTED", "redirectedTo": target })),
        (&*deleted, &*open, "NOT_FOUND", "sourceId", Value::Null),
        (&*open, &*deleted, "NOT_FOUND", "targetId", Value::Null),
        (unknown, &*open, "NOT_FOUND", "sourceId", Value::Null),
        (&*open, unknown, "NOT_FOUND", "targetId", Value::Null),
        (&*open, &*other, "LIMIT", "sourceId", json!({ "limit": 100 })),
    ] {
        let refusal = desk.deny("mergeIncidents", merging(source, into)).await;
        let said = (refusal.code.as_str(), refusal.path.as_deref(), &refusal.now);
        assert_eq!(said, (code, Some(&*format!("input.{path}")), &now), "{}", refusal.message);
        let preview = previewed(&desk, None, source, into).await;
        let expected = json!([{ "code": code, "message": refusal.message, "path": format!("input.{path}") }]);
        assert_eq!((&preview["refusals"], &preview["outcome"]), (&expected, &Value::Null));
    }
    let both = previewed(&desk, Some("tove"), &resolved, &merged).await;
    let codes = each(&both["refusals"], "code");
    assert_eq!(codes, ["FORBIDDEN", "CONFLICT", "CONFLICT"], "all that stands in its way: {both:#}");
    assert_eq!((&both["source"]["id"], &both["target"]["id"]), (&json!(resolved), &json!(merged)));
    assert_eq!(desk.deny_as(Some("tove"), "mergeIncidents", merging(&open, &target)).await.code, "FORBIDDEN");
    let alert = desk.alerts(&["1"]).await.remove(0);
    let refusal = desk.deny("mergeIncidents", merging(&alert, &open)).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("input.sourceId")));
    // A hundred tags are the most that an incident may have.
    desk.act("removeTags", json!({ "incidentId": other, "tags": ["host-100"] })).await;
    assert_eq!(
        desk.act("mergeIncidents", merging(&open, &other)).await["target"]["tags"].as_array().expect("tags").len(),
        100
    );
}

async fn a_preview_says_what_the_merge_then_does(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) = two_cases(&desk).await;
    for keep in [true, false] {
        let before = (whole(&desk, &source).await, whole(&desk, &target).await, desk.log_end().await);
        let variables = json!({ "source": source, "target": target, "keep": keep });
        let preview = desk.data(PREVIEW, variables.clone()).await["previewMerge"].take();
        let after = (whole(&desk, &source).await, whole(&desk, &target).await, desk.log_end().await);
        assert_eq!(after, before, "nothing is written");
        assert_eq!((offset(&preview["position"]), &preview["refusals"]), (before.2, &json!([])));
        let mut outcome = preview["outcome"].clone();
        let come = outcome.as_object_mut().expect("an outcome");
        assert_eq!(
            come.remove("ownerChanges"),
            Some(json!([
                { "from": null, "to": { "account": "mara" }, "alertCount": 1 },
                { "from": { "account": "tove" }, "to": { "account": "mara" }, "alertCount": 1 },
            ]))
        );
        let done = desk.act("mergeIncidents", laid_over(merging(&source, &target), json!({ "keepTitle": keep }))).await;
        let entries = desk.newest(&target).await;
        assert_eq!(come.remove("addedTags"), Some(entries["TAGS"]["added"].clone()));
        assert_eq!(come.remove("movedCommentCount"), Some(entries["MERGED"]["commentCount"].clone()));
        let moved = done["alerts"].as_array().expect("alerts").len();
        assert_eq!(come.remove("movedAlertCount"), Some(json!(moved)));
        assert_eq!(entries["ALERTS_CHANGED"]["alerts"].as_array().expect("alerts").len(), 2);
        for (field, value) in come {
            assert_eq!(done["target"][&**field], *value, "{field}, keepTitle: {keep}");
        }
        assert_eq!(done["target"]["titleGenerated"], !keep);
        desk.act("undoMerge", json!({ "incidentId": source })).await;
    }
}

const BY_NUMBER: &str = "query($number: Int!) { incident(by: { number: $number }) { number status } }";

async fn a_number_leads_on_through_merges_and_an_id_shows_the_stub(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (a, b) = (desk.incident("VPN logins from two countries").await, desk.incident("Impossible travel").await);
    let c = desk.incident("Stolen VPN accounts").await;
    let leads =
        async |number: i64| desk.data(BY_NUMBER, json!({ "number": number })).await["incident"]["number"].take();
    desk.act("mergeIncidents", merging(&a, &b)).await;
    assert_eq!((leads(1).await, leads(2).await), (json!(2), json!(2)));
    desk.act("mergeIncidents", merging(&b, &c)).await;
    assert_eq!((leads(1).await, leads(2).await, leads(3).await), (json!(3), json!(3), json!(3)));
    assert_eq!(desk.refused(BY_NUMBER, json!({ "number": 4 })).await.code, "NOT_FOUND");
    for (id, to) in [(&a, &b), (&b, &c)] {
        let read = desk.data(
            "query($id: ID!) { incident(by: { id: $id }) { id redirectedToId } node(id: $id) { id ... on Incident { status redirectedToId } }
                nodes(ids: [$id]) { id } activity(incidentId: $id) { totalCount } }",
            json!({ "id": id }),
        );
        let expected = json!({
            "incident": { "id": id, "redirectedToId": to }, "node": { "id": id, "status": "REDIRECTED", "redirectedToId": to },
            "nodes": [{ "id": id }], "activity": { "totalCount": if id == &a { 2 } else { 3 } },
        });
        assert_eq!(read.await, expected);
        assert_eq!(desk.log(id).await.len() as u64, expected["activity"]["totalCount"]);
    }
    let shown = desk.data(
        "{ open: incidents { nodes { number } } away: incidents(filter: { status: [REDIRECTED] }) { totalCount } }",
        json!({}),
    );
    assert_eq!(shown.await, json!({ "open": { "nodes": [{ "number": 3 }] }, "away": { "totalCount": 2 } }));
    // The final target is deleted, so its sources show themselves.
    desk.act("deleteIncident", json!({ "incidentId": c })).await;
    assert_eq!((leads(1).await, leads(2).await), (json!(2), json!(2)));
    assert_eq!(desk.refused(BY_NUMBER, json!({ "number": 3 })).await.code, "NOT_FOUND");
}

async fn a_stub_refuses_every_write_and_names_its_target(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) = two_cases(&desk).await;
    desk.act("mergeIncidents", merging(&source, &target)).await;
    let free = desk.alerts(&["free"]).await;
    let other = desk.incident("Another").await;
    let before = whole(&desk, &source).await;
    let here = |fields: Value| laid_over(json!({ "incidentId": source }), fields);
    let writes = [
        ("updateIncident", here(json!({ "addTags": ["late"] }))),
        ("updateIncident", here(json!({ "owner": { "me": true }, "linkAlerts": free }))),
        ("renameIncident", here(json!({ "title": "Late" }))),
        ("describeIncident", here(json!({ "description": "late" }))),
        ("setIncidentSeverity", here(json!({ "severity": "LOW" }))),
        ("setIncidentStatus", here(json!({ "status": "ACTIVE" }))),
        ("assignIncident", here(json!({ "owner": { "me": true } }))),
        ("unassignIncident", here(json!({}))),
        ("addTags", here(json!({ "tags": ["late"] }))),
        ("removeTags", here(json!({ "tags": ["late"] }))),
        ("classifyIncident", here(json!({ "classification": null }))),
        ("resolveIncident", here(json!({}))),
        ("reopenIncident", here(json!({}))),
        ("deleteIncident", here(json!({}))),
        ("restoreIncident", here(json!({}))),
        ("addComment", here(json!({ "body": "late" }))),
        ("addBookmark", here(json!({ "title": "Late", "rows": [{ "Computer": "FS-03" }] }))),
        ("createAttachment", here(json!({ "name": "late.png", "type": "PNG", "size": 2_000 }))),
        ("linkAlerts", here(json!({ "alerts": free, "move": true }))),
        ("unlinkAlerts", here(json!({ "alerts": free }))),
        ("splitIncident", here(json!({ "alerts": free }))),
        ("mergeIncidents", merging(&source, &other)),
        ("mergeIncidents", merging(&other, &source)),
        ("ingestAlerts", json!({ "alerts": [report("new", json!({}))], "into": { "incident": source } })),
        ("ingestAlert", json!({ "alert": phishing("mail-1", json!({})), "into": { "incident": source } })),
    ];
    // An undo is the one write to a stub that may succeed.
    let is_missing = |name: &String| name != "undoMerge" && !writes.iter().any(|(known, _)| known == name);
    let missing: Vec<_> = mutations_with("incidentId").into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "add these to the writes of this test: {missing:?}");
    for (name, input) in writes {
        let refusal = desk.deny(name, input).await;
        assert_eq!(refusal.code, "CONFLICT", "{name}: {}", refusal.message);
        assert_eq!(refusal.now["redirectedTo"], target, "{name}: {}", refusal.message);
    }
    assert_eq!(whole(&desk, &source).await, before);
    assert_eq!(desk.data("{ alerts { totalCount } }", json!({})).await["alerts"]["totalCount"], 4, "none was taken in");
}

async fn an_undo_puts_back_all_that_was_there(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) = two_cases(&desk).await;
    let long = format!("Loader on a finance laptop, {}", "seen by the night shift, ".repeat(40)).trim().to_owned();
    desk.act("renameIncident", json!({ "incidentId": target, "title": long })).await;
    let before = (whole(&desk, &source).await, whole(&desk, &target).await);
    for keep in [false, true] {
        let merge = laid_over(merging(&source, &target), json!({ "keepTitle": keep }));
        let position = desk.act("mergeIncidents", merge).await["position"].take();
        desk.clock.advance(chrono::Duration::minutes(5));
        let undone = desk.act("undoMerge", json!({ "incidentId": source, "clientMutationId": "not the same" })).await;
        assert!(offset(&undone["position"]) == offset(&position) + 2 && undone["clientMutationId"] == "not the same");
        assert_eq!((&undone["source"], &undone["target"]), (&desk.read(&source).await, &desk.read(&target).await));
        assert_eq!((whole(&desk, &source).await, whole(&desk, &target).await), before);
    }
    let moved = sorted(&before.0["held"]["alerts"]["nodes"], "id");
    let (back, gone) = (desk.newest(&source).await, desk.newest(&target).await);
    assert_eq!(
        back["MERGE_UNDONE"],
        json!({ "kind": "MERGE_UNDONE", "otherId": target, "otherNumber": 2, "commentCount": 2 })
    );
    assert_eq!(
        gone["MERGE_UNDONE"],
        json!({ "kind": "MERGE_UNDONE", "otherId": source, "otherNumber": 1, "commentCount": 2 })
    );
    assert_eq!(back["STATUS"], json!({ "kind": "STATUS", "statusBefore": "REDIRECTED", "statusAfter": "ACTIVE" }));
    assert_eq!(back["ALERTS_LINKED"], json!({ "kind": "ALERTS_LINKED", "alertIds": moved, "movedFromIds": [target] }));
    assert_eq!(gone["ALERTS_UNLINKED"], json!({ "kind": "ALERTS_UNLINKED", "alertIds": moved, "movedToId": source }));
    assert_eq!(
        back["ALERTS_CHANGED"]["alerts"].as_array().expect("alerts").len(),
        2,
        "their owners are those of before"
    );
    assert!(gone.get("TITLE").is_none(), "it was kept");
    let leads = desk.data(BY_NUMBER, json!({ "number": 1 })).await;
    assert_eq!(leads["incident"], json!({ "number": 1, "status": "ACTIVE" }));
    desk.act("addComment", json!({ "incidentId": source, "body": "Still ours" })).await;
}

async fn an_undo_is_refused_once_either_side_has_changed(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) = two_cases(&desk).await;
    let undo = json!({ "incidentId": source });
    let refusal = desk.deny("undoMerge", undo.clone()).await;
    assert_eq!(
        (refusal.code.as_str(), &refusal.now),
        ("CONFLICT", &json!({ "status": "ACTIVE" })),
        "{}",
        refusal.message
    );
    desk.act("mergeIncidents", merging(&source, &target)).await;
    assert_eq!(desk.deny_as(Some("tove"), "undoMerge", undo.clone()).await.code, "FORBIDDEN");
    let refusal = desk.deny("undoMerge", json!({ "incidentId": target })).await;
    assert_eq!(
        (refusal.code.as_str(), &refusal.now),
        ("CONFLICT", &json!({ "status": "NEW" })),
        "it was not merged away"
    );
    let refusal =
        desk.deny("undoMerge", json!({ "incidentId": "incident:0198c0de-0000-7000-8000-000000000009" })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("NOT_FOUND", Some("input.incidentId")));

    desk.clock.advance(chrono::Duration::minutes(1));
    desk.act_as(Some("tove"), "addComment", json!({ "incidentId": target, "body": "Both are one campaign" })).await;
    let before = (whole(&desk, &source).await, whole(&desk, &target).await);
    let refusal = desk.deny("undoMerge", undo.clone()).await;
    let change = json!({
        "incident": target, "number": 2, "version": 6, "at": "2026-11-23T08:04:00Z", "actor": "tove", "field": "COMMENT",
        "from": null, "to": null,
    });
    assert_eq!((refusal.code.as_str(), &refusal.now), ("CONFLICT", &json!({ "changes": [change] })));
    assert!(refusal.message.contains("tove changed INC-2 (COMMENT)"), "{}", refusal.message);
    assert_eq!((whole(&desk, &source).await, whole(&desk, &target).await), before);

    // A new report of an alert is a change of its incident too, and so is the incident's resolution.
    desk.ingest(vec![phishing("mail-2", json!({ "title": "Credentials entered" }))], Value::Null).await;
    desk.act("deleteIncident", json!({ "incidentId": target })).await;
    let refusal = desk.deny("undoMerge", undo).await;
    let changes = refusal.now["changes"].as_array().expect("changes");
    let versions: BTreeSet<u64> = changes.iter().filter_map(|change| change["version"].as_u64()).collect();
    let fields = each(&refusal.now["changes"], "field");
    assert!(versions.len() == 3 && fields.contains(&&json!("DELETED")), "{changes:#?}");
}

async fn merges_are_undone_newest_first(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (a, b) = two_cases(&desk).await;
    let c = case(&desk, vec![beacon("edr-9", json!({ "entities": [{ "kind": "IP", "value": "203.0.113.9" }] }))]).await;
    let (d, e) = (desk.incident("Weekly sweep").await, desk.incident("Sweep of the night").await);
    let all = [&a, &b, &c, &d, &e];
    let mut before = Vec::new();
    for id in all {
        before.push(whole(&desk, id).await);
    }
    for (source, target) in [(&a, &b), (&d, &c), (&e, &c), (&b, &c)] {
        desk.act("mergeIncidents", merging(source, target)).await;
    }
    for first in [&a, &d, &e] {
        let refusal = desk.deny("undoMerge", json!({ "incidentId": first })).await;
        assert_eq!(refusal.code, "CONFLICT");
        assert!(refusal.message.contains("MERGED"), "the later merge is named: {}", refusal.message);
    }
    // Undoing the later merge restores both sides, and then the earlier merges can be undone.
    for id in [&b, &e, &a, &d] {
        desk.act("undoMerge", json!({ "incidentId": id })).await;
    }
    for (id, before) in all.into_iter().zip(&before) {
        assert_eq!(whole(&desk, id).await, *before);
    }
    desk.act("mergeIncidents", merging(&a, &b)).await;
    desk.act("mergeIncidents", merging(&b, &c)).await;
    desk.act("undoMerge", json!({ "incidentId": b })).await;
    desk.act("addTags", json!({ "incidentId": b, "tags": ["reviewed"] })).await;
    let refusal = desk.deny("undoMerge", json!({ "incidentId": a })).await;
    assert!(refusal.message.contains("(TAGS)") || refusal.now["changes"].to_string().contains("TAGS"), "{refusal:?}");
}

async fn a_comment_is_edited_where_it_has_come_to(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("tove", "RESPONDER").await;
    let (source, target) = (desk.incident("Leaked key on a paste site").await, desk.incident("Key leak").await);
    let tove = Some("tove");
    let written =
        desk.act_as(tove, "addComment", json!({ "incidentId": source, "body": "Key is of the build user" })).await;
    let id = written["comment"]["id"].clone();
    desk.act_as(tove, "editComment", json!({ "commentId": id, "body": "Key is of the build agent" })).await;
    desk.act("mergeIncidents", merging(&source, &target)).await;
    // The target reaches the versions that the comment's texts have from the source: they still are other texts.
    desk.act_as(tove, "editComment", json!({ "commentId": id, "body": "Key is revoked" })).await;
    let edited =
        desk.act_as(tove, "editComment", json!({ "commentId": id, "body": "Key is revoked, agent rebuilt" })).await;
    assert_eq!((&edited["incident"]["id"], &edited["comment"]["writtenOnId"]), (&json!(target), &json!(source)));
    let read = desk.data(
        "query($id: ID!) { node(id: $id) { ... on Comment { incident { id } history { nodes { incidentId version body } } } } }",
        json!({ "id": id }),
    );
    let history = json!([
        { "incidentId": source, "version": 2, "body": "Key is of the build user" },
        { "incidentId": source, "version": 3, "body": "Key is of the build agent" },
        { "incidentId": target, "version": 3, "body": "Key is revoked" },
        { "incidentId": target, "version": 4, "body": "Key is revoked, agent rebuilt" },
    ]);
    assert_eq!(read.await["node"], json!({ "incident": { "id": target }, "history": { "nodes": history } }));
    let gone = desk.act_as(tove, "deleteComment", json!({ "commentId": id })).await;
    assert_eq!((&gone["incident"]["id"], &gone["incident"]["commentCount"]), (&json!(target), &json!(0)));
}

async fn merges_in_opposite_directions_leave_one(database: TestDatabase) {
    const ROUNDS: usize = 12;
    const MERGE: &str =
        "mutation($input: MergeIncidentsInput!) { mergeIncidents(input: $input) { target { alertCount } } }";
    let desk = TestDesk::open(&database).await;
    for round in 0..ROUNDS {
        let (here, there) = (
            case(&desk, vec![phishing(&format!("mail-{round}"), json!({}))]).await,
            case(&desk, vec![beacon(&format!("edr-{round}"), json!({}))]).await,
        );
        let ways = [(&here, &there), (&there, &here)];
        let answers =
            ways.map(|(source, target)| desk.graphql_as(None, MERGE, json!({ "input": merging(source, target) })));
        let answers = join_all(answers).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.get("errors").is_none());
        assert_eq!((done.len(), refused.len()), (1, 1), "{answers:#?}");
        assert_eq!(done[0]["data"]["mergeIncidents"]["target"]["alertCount"], 2);
        assert_eq!(refused[0]["errors"][0]["extensions"]["code"], "CONFLICT", "{refused:#?}");
        let stubs = [desk.read(&here).await, desk.read(&there).await];
        assert_eq!(stubs.iter().filter(|incident| incident["status"] == "REDIRECTED").count(), 1);
    }
}

async fn writers_who_meet_a_merge_lose_nothing(database: TestDatabase) {
    const ROUNDS: usize = 10;
    const COMMENT: &str = "mutation($input: AddCommentInput!) { addComment(input: $input) { position } }";
    const EDIT: &str = "mutation($input: EditCommentInput!) { editComment(input: $input) { position } }";
    const INGEST: &str = "mutation($input: IngestAlertInput!) { ingestAlert(input: $input) { position } }";
    const MERGE: &str = "mutation($input: MergeIncidentsInput!) { mergeIncidents(input: $input) { position } }";
    let desk = TestDesk::open(&database).await;
    let mut met = 0;
    for round in 0..ROUNDS {
        let (source, target) = (desk.incident("Scan of the DMZ").await, desk.incident("Scans of this week").await);
        let first = desk.act("addComment", json!({ "incidentId": source, "body": "Seen by the border sensor" })).await;
        let edit = json!({ "commentId": first["comment"]["id"], "body": "Seen by both border sensors" });
        let mut writes: Vec<(&str, Value)> =
            (0..4).map(|n| (COMMENT, json!({ "incidentId": source, "body": format!("Port range {n}") }))).collect();
        writes.extend((0..4).map(|n| {
            (INGEST, json!({ "alert": report(&format!("{round}-{n}"), json!({})), "into": { "incident": source } }))
        }));
        writes.insert(2 + round % 5, (MERGE, merging(&source, &target)));
        writes.insert(round % 8, (EDIT, edit));
        let answers = writes.iter().map(|(write, input)| desk.graphql_as(None, write, json!({ "input": input })));
        let answers = join_all(answers).await;
        let mut done = std::collections::HashMap::from([(COMMENT, 1), (EDIT, 0), (INGEST, 0), (MERGE, 0)]);
        for ((write, _), answer) in writes.iter().zip(&answers) {
            match answer.get("errors") {
                None => *done.get_mut(write).expect("a write") += 1,
                Some(errors) => {
                    assert_eq!(errors[0]["extensions"]["code"], "CONFLICT", "{write}: {errors:#}");
                    assert_eq!(errors[0]["extensions"]["now"]["redirectedTo"], target, "{errors:#}");
                    met += 1;
                }
            }
        }
        assert_eq!((done[MERGE], done[EDIT]), (1, 1), "an edit follows its comment: {answers:#?}");
        let (stub, merged) = (whole(&desk, &source).await, whole(&desk, &target).await);
        assert_eq!((&stub["incident"]["alertCount"], &stub["incident"]["commentCount"]), (&json!(0), &json!(0)));
        for (held, count) in [("comments", done[COMMENT]), ("alerts", done[INGEST])] {
            assert_eq!(stub["held"][held]["nodes"], json!([]), "{held}");
            assert_eq!(merged["held"][held]["nodes"].as_array().expect("a list").len(), count, "{held}");
            assert_eq!(merged["held"][held]["totalCount"], count, "{held}");
        }
        assert!(each(&merged["held"]["comments"]["nodes"], "body").contains(&&json!("Seen by both border sensors")));
    }
    println!("{met} of {} writers came after the merge", ROUNDS * 8);
}

async fn an_answer_leads_on_to_the_other_incident(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) = two_cases(&desk).await;
    desk.act("mergeIncidents", merging(&source, &target)).await;
    let read = async |id: &str| {
        let query = "query($id: ID!) { incident(by: { id: $id }) {
            redirectedToId redirectedTo { id title }
            comments { nodes { writtenOnId writtenOn { id status } history(first: 5) { nodes { incidentId incident { id } } } } }
            activity { nodes { entries {
                ... on MergedIntoEntry { targetId target { id } } ... on MergedEntry { sourceId source { id } }
                ... on MergeUndoneEntry { otherId other { id } } ... on AlertsUnlinkedEntry { movedToId movedTo { id } }
            } } } } }";
        let mut read = desk.data(query, json!({ "id": id })).await["incident"].take();
        let changes = read["activity"]["nodes"].take();
        let entries = changes.as_array().expect("changes").iter().flat_map(|it| it["entries"].as_array().cloned());
        (read, entries.flatten().filter(|entry| entry.as_object().is_some_and(|it| !it.is_empty())).collect::<Vec<_>>())
    };
    let (stub, entries) = read(&source).await;
    assert_eq!((&stub["redirectedToId"], &stub["redirectedTo"]["id"]), (&json!(target), &json!(target)));
    assert!(entries.contains(&json!({ "targetId": target, "target": { "id": target } })), "{entries:#?}");
    assert!(entries.contains(&json!({ "movedToId": target, "movedTo": { "id": target } })), "{entries:#?}");
    let (merged, entries) = read(&target).await;
    assert_eq!((&merged["redirectedToId"], &merged["redirectedTo"]), (&Value::Null, &Value::Null));
    assert!(entries.contains(&json!({ "sourceId": source, "source": { "id": source } })), "{entries:#?}");
    let written = &merged["comments"]["nodes"][0];
    assert_eq!(written["writtenOn"], json!({ "id": source, "status": "REDIRECTED" }));
    assert_eq!(written["history"]["nodes"], json!([{ "incidentId": source, "incident": { "id": source } }]));

    // An id stays when its incident is gone.
    desk.act("deleteIncident", json!({ "incidentId": target })).await;
    let (stub, entries) = read(&source).await;
    assert_eq!((&stub["redirectedToId"], &stub["redirectedTo"]), (&json!(target), &Value::Null));
    assert!(entries.contains(&json!({ "targetId": target, "target": null })), "{entries:#?}");
    let (source, target) = two_cases(&desk).await;
    desk.act("mergeIncidents", merging(&source, &target)).await;
    desk.act("undoMerge", json!({ "incidentId": source })).await;
    let (_, entries) = read(&target).await;
    assert!(entries.contains(&json!({ "otherId": source, "other": { "id": source } })), "{entries:#?}");
}

/// Returns the items of a queue's stream in short, with the target of incidents that left by a merge.
fn told(items: &[Value]) -> Vec<(String, String, String, Value)> {
    let of = |item: &Value| {
        let (_, kind, id, detail) = short(item);
        (kind, id, detail, item["targetId"].clone())
    };
    items.iter().map(of).collect()
}

async fn a_queue_is_told_of_a_merge_and_of_its_undo(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) = two_cases(&desk).await;
    let filters = [
        json!({}),
        json!({ "tags": { "any": ["phishing"] } }),
        json!({ "tags": { "any": ["malware"] } }),
        json!({ "product": ["Mailguard"] }),
        json!({ "entity": [{ "kind": "DEVICE", "value": "ws-fin-14" }] }),
        json!({ "entity": [{ "kind": "URL", "value": "https://acme-login.example/" }] }),
        json!({ "status": ["ACTIVE"] }),
        json!({ "text": "loader" }),
    ];
    let (mut starts, mut queues) = (Vec::new(), Vec::new());
    for filter in &filters {
        starts.push(present(&desk, filter).await);
        let mut queue = desk.follow(QUEUE, json!({ "filter": filter, "after": starts.last() })).await;
        queue.items_until("Live").await;
        queues.push(queue);
    }
    let input = laid_over(merging(&source, &target), json!({ "clientMutationId": "merge" }));
    desk.act("mergeIncidents", input).await;
    desk.act("undoMerge", json!({ "incidentId": source })).await;

    let merged = || ("QueueLeft".to_owned(), source.clone(), "MERGED".to_owned(), json!(target));
    let item = |kind: &str, id: &str| (format!("Queue{kind}"), id.to_owned(), String::new(), Value::Null);
    let left = |id: &str| ("QueueLeft".to_owned(), id.to_owned(), "FILTER".to_owned(), Value::Null);
    let updated = |fields: &str| ("QueueUpdated".to_owned(), target.clone(), fields.to_owned(), Value::Null);
    let changed = r#"["TITLE","TAGS","ALERT_COUNT","COMMENT_COUNT","PRODUCTS","PROVIDERS"]"#;
    // The source was made first, so its change comes first.
    let expected = [
        vec![merged(), updated(changed), item("Entered", &source), updated(changed)],
        vec![merged(), item("Entered", &target), item("Entered", &source), left(&target)],
        vec![updated(changed), updated(changed)],
        vec![merged(), item("Entered", &target), item("Entered", &source), left(&target)],
        vec![updated(changed), updated(changed)],
        vec![merged(), item("Entered", &target), item("Entered", &source), left(&target)],
        vec![merged(), item("Entered", &source)],
        vec![left(&target), item("Entered", &target)],
    ];
    let end = desk.log_end().await;
    for (((filter, start), queue), expected) in filters.iter().zip(&starts).zip(&mut queues).zip(expected) {
        let mut replayed = replay(&desk, filter, start).await;
        replayed.pop();
        assert_eq!(told(&replayed), expected, "replayed through {filter}");
        let last = replayed.last().map_or(end, |item| offset(&item["position"]));
        assert_eq!(read_to(queue, last).await, replayed, "live as replayed through {filter}");
        for (seen, item) in replayed.iter().enumerate() {
            let mut rest = replay(&desk, filter, &item["position"]).await;
            rest.pop();
            assert_eq!(rest, replayed[seen + 1..], "gone on from item {seen} of {filter}");
        }
    }
}

async fn a_queue_that_shows_stubs_keeps_them(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (source, target) =
        (desk.incident("Rogue access point").await, desk.incident("Rogue access points, floor 3").await);
    desk.act("addTags", json!({ "incidentId": source, "tags": ["wifi"] })).await;
    let any = json!(["NEW", "ACTIVE", "RESOLVED", "REDIRECTED"]);
    let filters = [
        json!({ "status": any }),
        json!({ "status": ["REDIRECTED"] }),
        // The tag leaves with the merge, so the incident leaves this queue at any status.
        json!({ "status": any, "tags": { "any": ["wifi"] } }),
    ];
    let mut starts = Vec::new();
    for filter in &filters {
        starts.push(present(&desk, filter).await);
    }
    desk.act("mergeIncidents", merging(&source, &target)).await;
    let told_of = async |at: usize| {
        let mut items = replay(&desk, &filters[at], &starts[at]).await;
        items.pop();
        items
    };
    let all = told_of(0).await;
    let fields = json!(["STATUS", "TAGS", "REDIRECTED_TO"]);
    assert_eq!((&all[0]["__typename"], &all[0]["changedFields"]), (&json!("QueueUpdated"), &fields));
    assert_eq!(all[0]["row"]["redirectedToId"], target);
    assert_eq!(each(&json!(told_of(1).await), "__typename"), ["QueueEntered"]);
    let tagged = told(&told_of(2).await);
    assert_eq!((tagged.len(), &tagged[0].2, &tagged[0].3), (2, &"MERGED".to_owned(), &json!(target)));
    let counted = desk.data("{ queueSummary { open created } }", json!({})).await;
    assert_eq!(counted["queueSummary"], json!({ "open": 1, "created": 2 }), "it came in all the same");
}
