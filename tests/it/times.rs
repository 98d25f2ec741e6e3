//! Given times and the clock's own: none is in the future, and a change has one instant that never goes back.

use std::io::Cursor;

use chrono::Duration;
use serde_json::{Value, json};
use watchfloor::import::{self, ImportSource, ImportSummary, Options};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::triage::{each, report};

each_database!(
    a_time_in_the_future_is_refused_wherever_it_is_given,
    a_time_within_five_minutes_is_taken,
    a_record_from_the_future_is_told_by_its_line_and_poisons_nothing,
    a_clock_that_goes_back_leaves_each_change_one_instant,
    a_clock_that_goes_back_turns_no_log_around,
    an_imported_comment_keeps_the_time_at_which_it_was_written,
);

/// Just beyond five minutes after every test's Monday; then the last time that is accepted.
const TOO_LATE: &str = "2026-11-23T08:05:00.000001Z";
const JUST_IN_TIME: &str = "2026-11-23T08:05:00Z";

/// Returns each mutation that takes a time, with `time` in one field, and the path of that field.
fn told(incident: &str, time: &str) -> Vec<(&'static str, Value, &'static str)> {
    let alert = |field: &str| report(field, json!({ "firstActivityAt": null, "lastActivityAt": null, field: time }));
    let rows = json!([{ "a": 1 }]);
    vec![
        ("createIncident", json!({ "title": "t", "firstActivityAt": time }), "input.firstActivityAt"),
        ("createIncident", json!({ "title": "t", "lastActivityAt": time }), "input.lastActivityAt"),
        ("updateIncident", json!({ "incidentId": incident, "firstActivityAt": time }), "input.firstActivityAt"),
        ("updateIncident", json!({ "incidentId": incident, "lastActivityAt": time }), "input.lastActivityAt"),
        ("ingestAlert", json!({ "alert": alert("firstActivityAt") }), "input.alert.firstActivityAt"),
        ("ingestAlert", json!({ "alert": alert("lastActivityAt") }), "input.alert.lastActivityAt"),
        (
            "ingestAlerts",
            json!({ "alerts": [report("fine", json!({})), alert("lastActivityAt")] }),
            "input.alerts.1.lastActivityAt",
        ),
        (
            "addBookmark",
            json!({ "incidentId": incident, "title": "t", "rows": rows, "eventAt": time }),
            "input.eventAt",
        ),
    ]
}

async fn a_time_in_the_future_is_refused_wherever_it_is_given(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Here and now").await;
    let end = desk.log_end().await;
    for (mutation, input, path) in told(&id, TOO_LATE) {
        let refusal = desk.deny(mutation, input).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some(path)), "{mutation}");
        assert!(refusal.message.contains("more than 5 minutes in the future"), "{}", refusal.message);
    }
    assert_eq!(desk.log_end().await, end, "nothing changed");
}

async fn a_time_within_five_minutes_is_taken(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("A clock that is ahead").await;
    for (mutation, input, _) in told(&id, JUST_IN_TIME) {
        desk.act(mutation, input).await;
    }
}

async fn imported(desk: &TestDesk, text: &str) -> ImportSummary {
    let source = ImportSource::reader(Cursor::new(text.to_owned()));
    import::import(&desk.app, source, Options::default(), |_| ()).await.expect("an import")
}

/// Imports records, and returns line and field of each record that was refused for a time in the future.
async fn from_the_future(desk: &TestDesk, text: &str) -> Vec<(u64, String)> {
    let summary = imported(desk, text).await;
    assert_eq!((summary.records, summary.bad_total), (text.lines().count() as u64, summary.bad.len() as u64));
    let refused = summary.bad.iter().map(|bad| {
        let (field, reason) = bad.reason.split_once(": ").expect("a field");
        assert_eq!(reason, "this time lies more than 5 minutes in the future", "line {}", bad.line);
        (bad.line, field.to_owned())
    });
    refused.collect()
}

async fn a_record_from_the_future_is_told_by_its_line_and_poisons_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let first = r#"{"type":"incident","externalId":"f-1","title":"Future poison","createdAt":"2024-03-01T10:00:00Z"}
{"type":"update","externalId":"f-1","at":"2099-01-01T00:00:00Z","status":"ACTIVE"}
{"type":"comment","externalId":"f-1","at":"2099-01-01T00:00:00Z","body":"b"}
{"type":"incident","externalId":"f-2","title":"t","createdAt":"2099-01-01T00:00:00Z"}
{"type":"incident","externalId":"f-3","title":"t","createdAt":"2024-03-01T10:00:00Z","updatedAt":"2099-01-01T00:00:00Z"}
{"type":"incident","externalId":"f-4","title":"t","createdAt":"2024-03-01T10:00:00Z","resolvedAt":"2099-01-01T00:00:00Z"}
{"type":"alert","provider":"P","providerAlertId":"1","title":"t","severity":"LOW","at":"2099-01-01T00:00:00Z"}
{"type":"alert","provider":"P","providerAlertId":"2","title":"t","severity":"LOW","at":"2024-03-01T10:00:00Z","lastActivityAt":"2099-01-01T00:00:00Z"}
{"type":"user","account":"u","at":"2099-01-01T00:00:00Z"}
"#;
    let nested = r#"{"type":"incident","externalId":"f-5","title":"t","createdAt":"2024-03-01T10:00:00Z","comments":[{"body":"then"},{"body":"later","at":"2099-01-01T00:00:00Z"}]}
{"type":"update","externalId":"f-1","at":"2024-03-01T11:00:00Z","comment":{"body":"later","at":"2099-01-01T00:00:00Z"}}
{"type":"group","account":"g","at":"2099-01-01T00:00:00Z"}
{"type":"alert","provider":"P","providerAlertId":"3","title":"t","severity":"LOW","at":"2024-03-01T10:00:00Z","firstActivityAt":"2099-01-01T00:00:00Z"}
{"type":"incident","externalId":"f-6","title":"t","createdAt":"2024-03-01T10:00:00Z","firstActivityAt":"2099-01-01T00:00:00Z"}
{"type":"incident","externalId":"f-7","title":"t","createdAt":"2024-03-01T10:00:00Z","lastActivityAt":"2099-01-01T00:00:00Z"}
"#;
    let told = [
        (2, "at"),
        (3, "at"),
        (4, "createdAt"),
        (5, "updatedAt"),
        (6, "resolvedAt"),
        (7, "at"),
        (8, "lastActivityAt"),
        (9, "at"),
        (10, "comments.1.at"),
        (11, "comment.at"),
        (12, "at"),
        (13, "firstActivityAt"),
        (14, "firstActivityAt"),
        (15, "lastActivityAt"),
    ];
    assert_eq!(
        from_the_future(&desk, &format!("{first}{nested}")).await,
        told.map(|(line, field)| (line, field.to_owned()))
    );
    let sentinel = r#"{"name":"0b1d6a9e-5a3c-4c55-9d0f-0c6f0a1b2c3d","type":"Microsoft.SecurityInsights/incidents","properties":{"title":"t","severity":"High","status":"New","createdTimeUtc":"2024-03-01T10:00:00Z"}}
{"name":"0b1d6a9e-5a3c-4c55-9d0f-0c6f0a1b2c3e","type":"Microsoft.SecurityInsights/incidents","properties":{"title":"t","severity":"High","status":"New","createdTimeUtc":"2099-01-01T00:00:00Z"}}
"#;
    assert_eq!(from_the_future(&desk, sentinel).await, [(2, "createdAt".to_owned())]);
    let graph = r##"{"@odata.type":"#microsoft.graph.security.incident","id":"77","displayName":"t","severity":"high","status":"active","createdDateTime":"2024-03-01T10:00:00Z"}
{"@odata.type":"#microsoft.graph.security.incident","id":"78","displayName":"t","severity":"high","status":"active","createdDateTime":"2024-03-01T10:00:00Z","comments":[{"comment":"later","createdDateTime":"2099-01-01T00:00:00Z"}]}
"##;
    assert_eq!(from_the_future(&desk, graph).await, [(2, "comments.0.at".to_owned())]);
    let second = r#"{"type":"update","externalId":"f-1","at":"2024-03-02T10:00:00Z","severity":"LOW"}
{"type":"update","externalId":"f-1","at":"2026-11-22T10:00:00Z","status":"RESOLVED","note":"done"}
{"type":"comment","externalId":"f-1","id":"c1","at":"2026-11-22T10:01:00Z","body":"late comment"}
"#;
    let summary = imported(&desk, second).await;
    assert_eq!(summary.bad_total, 0);
    let read = desk
        .data(
            r#"{ incidentAsOf(by: { number: 1 }, moment: { at: "2026-11-23T08:00:00Z" }) { severity status updatedAt
                comments { nodes { body } } } }"#,
            json!({}),
        )
        .await["incidentAsOf"]
        .take();
    assert_eq!((&read["severity"], &read["status"]), (&json!("LOW"), &json!("RESOLVED")));
    assert_eq!(each(&read["comments"]["nodes"], "body"), ["late comment"]);
}

async fn a_clock_that_goes_back_leaves_each_change_one_instant(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let taken = desk.ingest(vec![report("1", json!({})), report("2", json!({}))], json!({ "newIncident": true })).await;
    let id = taken["incident"]["id"].as_str().expect("an id").to_owned();
    let alert = taken["alerts"][0]["id"].clone();
    desk.clock.advance(Duration::hours(2));
    let before = desk.update(&id, json!({ "addTags": ["then"] })).await["incident"]["updatedAt"].clone();
    desk.clock.advance(Duration::hours(-2));
    assert_ne!(before, taken["incident"]["updatedAt"], "a clock that goes on is followed");

    let done = desk.update(&id, json!({ "status": "RESOLVED", "comment": "c", "owner": { "me": true } })).await;
    let incident = &done["incident"];
    for field in ["updatedAt", "resolvedAt", "firstAssignedAt"] {
        assert_eq!(incident[field], before, "{field}");
    }
    assert_eq!(incident["resolution"]["at"], before);
    let resolved = desk.alert(alert.as_str().expect("an id")).await;
    assert_eq!((&resolved["updatedAt"], &resolved["resolvedAt"]), (&before, &before));
    let written = desk.act("addComment", json!({ "incidentId": id, "body": "two" })).await["comment"].take();
    assert_eq!(written["createdAt"], before);
    let edited = desk.act("editComment", json!({ "commentId": written["id"], "body": "three" })).await;
    assert_eq!(edited["comment"]["editedAt"], before);
    let removed = desk.act("deleteComment", json!({ "commentId": written["id"] })).await;
    assert_eq!(removed["comment"]["deletedAt"], before);
    let pinned = desk.act("addBookmark", json!({ "incidentId": id, "title": "b", "rows": [] })).await;
    assert_eq!(pinned["bookmark"]["createdAt"], before);
    let gone = desk.act("removeBookmark", json!({ "bookmarkId": pinned["bookmark"]["id"] })).await;
    assert_eq!(gone["bookmark"]["removedAt"], before);
    desk.act("reopenIncident", json!({ "incidentId": id })).await;
    desk.act("updateAlert", json!({ "alertId": alert, "status": "RESOLVED" })).await;
    let updated = desk.alert(alert.as_str().expect("an id")).await;
    assert_eq!((&updated["updatedAt"], &updated["resolvedAt"]), (&before, &before));
    desk.ingest(vec![report("1", json!({ "title": "Told anew" }))], Value::Null).await;
    let split = desk.act("splitIncident", json!({ "incidentId": id, "alerts": [alert] })).await;
    assert_eq!(split["incident"]["createdAt"], before);
    assert_eq!(desk.alert(alert.as_str().expect("an id")).await["updatedAt"], before);
    let target = desk.incident("Made by the clock that went back").await;
    let merged = desk.act("mergeIncidents", json!({ "sourceId": id, "targetId": target })).await;
    assert_eq!((&merged["source"]["updatedAt"], &merged["target"]["updatedAt"]), (&before, &before));
    let moved = merged["alerts"][0]["id"].as_str().expect("an id");
    assert_eq!(desk.alert(moved).await["updatedAt"], before);
    desk.act("undoMerge", json!({ "incidentId": id })).await;
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    for change in desk.log(&target).await.iter().skip(1) {
        assert_eq!(change["at"], before);
    }
    let verified = desk.verified().await;
    assert_eq!(verified.shown.incidents, 3);
}

/// Returns the times of all changes in the own log of an alert, oldest first.
async fn own_times(desk: &TestDesk, alert: &Value) -> Vec<Value> {
    let query = "query($id: ID!) { alert(id: $id) { activity(first: 20) { nodes { at } } } }";
    let read = desk.data(query, json!({ "id": alert })).await;
    each(&read["alert"]["activity"]["nodes"], "at").into_iter().cloned().collect()
}

async fn a_clock_that_goes_back_turns_no_log_around(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.clock.advance(Duration::hours(2));
    let taken = desk.ingest(vec![report("1", json!({})), report("2", json!({}))], Value::Null).await;
    let [alert, free] = [&taken["alerts"][0]["id"], &taken["alerts"][1]["id"]];
    let id = desk.incident("Made by the clock that was ahead").await;
    let before = desk.update(&id, json!({ "linkAlerts": [alert] })).await["incident"]["updatedAt"].clone();
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    desk.clock.advance(Duration::hours(-2));
    let young = desk.incident("Made by the clock that went back").await;
    assert_ne!(desk.read(&young).await["updatedAt"], before, "this incident is older");

    // The own log of a free alert.
    for (name, input) in [
        ("updateAlert", json!({ "alertId": free, "status": "ACTIVE" })),
        ("ingestAlert", json!({ "alert": report("2", json!({ "title": "Told anew" })) })),
        ("updateAlert", json!({ "alertId": free, "status": "RESOLVED" })),
    ] {
        assert_eq!(desk.act(name, input).await["changed"], true, "{name}");
        assert_eq!(desk.alert(free.as_str().expect("an id")).await["updatedAt"], before, "{name}");
    }
    assert_eq!(desk.alert(free.as_str().expect("an id")).await["resolvedAt"], before);
    assert_eq!(own_times(&desk, free).await, vec![before.clone(); 4]);

    // A deleted incident comes back, and alerts come and go. The older incident too takes the time of its alert.
    let restored = desk.act("restoreIncident", json!({ "incidentId": id })).await;
    assert_eq!(restored["incident"]["updatedAt"], before);
    for holder in [&id, &young] {
        for name in ["linkAlerts", "unlinkAlerts"] {
            let moved = desk.act(name, json!({ "incidentId": holder, "alerts": [alert] })).await;
            assert_eq!(moved["changed"], true, "{name}");
            assert_eq!(moved["incident"]["updatedAt"], before, "{name}");
            assert_eq!(desk.alert(alert.as_str().expect("an id")).await["updatedAt"], before, "{name}");
        }
    }
    let times: Vec<Value> = desk.log(&id).await.iter().map(|change| change["at"].clone()).collect();
    assert_eq!(times, vec![before.clone(); 6], "created, linked, deleted, restored, linked, unlinked");
    let times: Vec<Value> = desk.log(&young).await.iter().skip(1).map(|change| change["at"].clone()).collect();
    assert_eq!(times, vec![before.clone(); 2], "linked, unlinked");
    assert_eq!(own_times(&desk, alert).await, vec![before.clone(); 4], "ingested, freed by a deletion and two unlinks");
    desk.verified().await;
}

async fn an_imported_comment_keeps_the_time_at_which_it_was_written(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let text = r#"{"type":"incident","externalId":"1","title":"t","createdAt":"2026-05-01T10:00:00Z"}
{"type":"update","externalId":"1","at":"2026-05-03T10:00:00Z","severity":"LOW"}
{"type":"comment","externalId":"1","id":"c","at":"2026-05-02T10:00:00Z","body":"told late"}
"#;
    assert_eq!(imported(&desk, text).await.bad_total, 0);
    let read = desk
        .data(
            "{ incident(by: { number: 1 }) { updatedAt comments { nodes { createdAt } } activity { nodes { at } } } }",
            json!({}),
        )
        .await["incident"]
        .take();
    assert_eq!(read["comments"]["nodes"][0]["createdAt"], "2026-05-02T10:00:00+00:00");
    assert_eq!(
        (&read["updatedAt"], &read["activity"]["nodes"][2]["at"]),
        (&json!("2026-05-03T10:00:00+00:00"), &json!("2026-05-03T10:00:00+00:00"))
    );
    desk.verified().await;
}
