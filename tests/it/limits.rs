//! Limits and refusals: the lengths of texts, forbidden characters, and the form of ids.

use serde_json::{Value, json};

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::stream::{changes, logged};
use crate::support::triage::{laid_over, report};

each_database!(
    a_title_of_a_megabyte_goes_in_and_comes_back,
    texts_are_measured_in_characters_not_bytes,
    a_text_that_shows_nothing_is_blank,
    a_leap_second_is_one_instant_everywhere,
    the_null_character_is_refused_in_every_text,
    an_id_is_known_of_the_right_kind_and_well_formed,
    a_comment_on_a_vast_incident_costs_little_log,
    an_incident_of_more_alerts_than_a_statement_names_is_triaged,
);

async fn a_title_of_a_megabyte_goes_in_and_comes_back(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let title: String = "Ünïcode 漢 🦀 ".chars().cycle().take(700_000).collect::<String>().trim().to_owned();
    assert!(title.len() > 1_000_000);
    let made = desk.create(json!({ "title": title })).await;
    let id = made["id"].as_str().expect("an id");
    let start = |title: &str| title.chars().take(1_000).collect::<String>();
    assert!(made["title"] == start(&title));
    let longer = format!("{title}!");
    desk.act("renameIncident", json!({ "incidentId": id, "title": longer })).await;
    let queue = desk.data("{ incidents { nodes { fullTitle } } }", json!({})).await;
    assert!(queue["incidents"]["nodes"][0]["fullTitle"] == longer.as_str());
    let log = desk.log(id).await;
    assert!(log[0]["entries"][1]["textAfter"] == start(&title));
    assert!(log[1]["entries"][0]["textBefore"] == start(&title));
    let found = desk.data("{ incidents(filter: { text: \"unicode 漢\" }) { totalCount } }", json!({})).await;
    assert_eq!(found["incidents"]["totalCount"], 1);
    desk.act("addTags", json!({ "incidentId": id, "tags": ["small"] })).await;
    assert!(bytes(&desk, 3).await < 2_048, "a later change does not repeat it");

    let too_large = desk
        .refused(
            "mutation($t: String!) { createIncident(input: { title: $t }) { changed } }",
            json!({ "t": "x".repeat(2 << 20) }),
        )
        .await;
    assert_eq!((too_large.code.as_str(), &too_large.now), ("LIMIT", &json!({ "limit": 2_097_152 })));
}

/// Returns the bytes of the change at this offset in the log.
async fn bytes(desk: &TestDesk, offset: u64) -> usize {
    logged(&desk.app.store.read().await.expect("a snapshot"), offset - 1, 1).await[0].bytes()
}

async fn texts_are_measured_in_characters_not_bytes(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = desk.create(json!({ "title": "Measured", "status": "RESOLVED" })).await;
    let id = made["id"].as_str().expect("an id");
    let alert = |description: String| json!({ "alert": report("1", json!({ "description": description })) });
    for character in ['x', '漢', '🦀', '\u{301}'] {
        let text = |length: usize| character.to_string().repeat(length);
        let described = desk.act("describeIncident", json!({ "incidentId": id, "description": text(5_000) })).await;
        assert!(described["incident"]["description"] == text(5_000).as_str());
        let made = desk.create(json!({ "title": "T", "description": text(5_000) })).await;
        assert!(made["description"] == text(5_000).as_str());
        let commented = desk.act("addComment", json!({ "incidentId": id, "body": text(30_000) })).await;
        assert!(commented["comment"]["body"] == text(30_000).as_str());
        desk.act(
            "editComment",
            json!({ "commentId": commented["comment"]["id"], "body": format!("y{}", text(29_999)) }),
        )
        .await;
        let noted = desk.update(id, json!({ "note": text(30_000) })).await;
        assert!(noted["incident"]["resolution"]["note"] == text(30_000).as_str());
        desk.act("ingestAlert", alert(text(30_000))).await;
        desk.act("addTags", json!({ "incidentId": id, "tags": [text(200)] })).await;
        for (name, input, path, limit) in [
            ("createIncident", json!({ "title": "T", "description": text(5_001) }), "input.description", 5_000),
            ("describeIncident", json!({ "incidentId": id, "description": text(5_001) }), "input.description", 5_000),
            ("updateIncident", json!({ "incidentId": id, "comment": text(30_001) }), "input.comment", 30_000),
            ("addComment", json!({ "incidentId": id, "body": text(30_001) }), "input.body", 30_000),
            (
                "editComment",
                json!({ "commentId": commented["comment"]["id"], "body": text(30_001) }),
                "input.body",
                30_000,
            ),
            ("resolveIncident", json!({ "incidentId": id, "note": text(30_001) }), "input.note", 30_000),
            ("ingestAlert", alert(text(30_001)), "input.alert.description", 30_000),
            ("addTags", json!({ "incidentId": id, "tags": [text(201)] }), "input.tags.0", 200),
        ] {
            let refusal = desk.deny(name, input).await;
            assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some(path)), "{name}");
            assert_eq!(refusal.now, json!({ "limit": limit }));
        }
    }
    for name in ["addComment", "editComment"] {
        let id = if name == "addComment" {
            json!({ "incidentId": id })
        } else {
            json!({ "commentId": "comment:0198c0de-0000-7000-8000-000000000009" })
        };
        let refusal = desk.deny(name, laid_over(id, json!({ "body": " \n\u{a0}" }))).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("input.body")));
    }
    assert_eq!(
        desk.act("describeIncident", json!({ "incidentId": id, "description": " " })).await["incident"]["description"],
        Value::Null
    );
}

async fn a_text_that_shows_nothing_is_blank(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Seen").await;
    for nothing in ["\u{200b}", "\u{feff} \u{2060}", "\u{ad}\u{3164}\u{e0041}"] {
        for (name, input, path) in [
            ("createIncident", json!({ "title": nothing }), "input.title"),
            ("renameIncident", json!({ "incidentId": id, "title": nothing }), "input.title"),
            ("addComment", json!({ "incidentId": id, "body": nothing }), "input.body"),
            ("addTags", json!({ "incidentId": id, "tags": [nothing] }), "input.tags.0"),
            ("upsertUser", json!({ "account": "a", "name": nothing }), "input.name"),
            ("upsertGroup", json!({ "account": nothing }), "input.account"),
        ] {
            let refusal = desk.deny(name, input).await;
            assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some(path)), "{name} {nothing:?}");
        }
        let described = desk.act("describeIncident", json!({ "incidentId": id, "description": nothing })).await;
        assert_eq!(described["incident"]["description"], Value::Null);
    }
    let fire = "👩\u{200d}🚒 on call\u{200b}";
    assert_eq!(desk.create(json!({ "title": fire })).await["title"], fire, "beside what is seen it stays");
}

async fn a_leap_second_is_one_instant_everywhere(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = desk
        .create(json!({ "title": "Leap", "firstActivityAt": "2026-06-30T23:59:60Z", "lastActivityAt": "2026-06-30T23:59:60.5Z" }))
        .await;
    let id = made["id"].as_str().expect("an id");
    let kept = "2026-06-30T23:59:59.999999+00:00";
    assert_eq!((&made["firstActivityAt"], &made["lastActivityAt"]), (&json!(kept), &json!(kept)));
    assert_eq!(desk.read(id).await, made, "the answer is what is stored");
    let told = desk.newest(id).await["ACTIVITY"].take();
    assert_eq!((&told["firstActivityAfter"], &told["lastActivityAfter"]), (&json!(kept), &json!(kept)));
    let count = "query($filter: IncidentFilterInput) { incidents(filter: $filter) { totalCount } }";
    for (from, met) in [("2026-06-30T23:59:60Z", 1), ("2026-07-01T00:00:00Z", 0)] {
        let filter = json!({ "filter": { "firstActivity": { "from": from } } });
        assert_eq!(desk.data(count, filter).await["incidents"]["totalCount"], met, "{from}");
    }
}

async fn the_null_character_is_refused_in_every_text(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = desk.create(json!({ "title": "Clean", "status": "RESOLVED" })).await;
    let id = made["id"].as_str().expect("an id");
    let comment = desk.act("addComment", json!({ "incidentId": id, "body": "b" })).await["comment"]["id"].clone();
    let on = |field: &str, value: Value| json!({ "incidentId": id, field: value });
    let nul = "a\0b";
    let mut cases = vec![
        ("createIncident", json!({ "title": nul }), "input.title".to_owned()),
        ("createIncident", json!({ "title": "T", "tags": [nul] }), "input.tags.0".to_owned()),
        (
            "updateIncident",
            on("addSystemTags", json!([{ "name": nul, "kind": "EXPERT" }])),
            "input.addSystemTags.0.name".to_owned(),
        ),
        ("updateIncident", on("removeTags", json!([nul])), "input.removeTags.0".to_owned()),
        ("renameIncident", on("title", json!(nul)), "input.title".to_owned()),
        ("describeIncident", on("description", json!(nul)), "input.description".to_owned()),
        ("resolveIncident", on("note", json!(nul)), "input.note".to_owned()),
        ("addComment", on("body", json!(nul)), "input.body".to_owned()),
        ("editComment", json!({ "commentId": comment, "body": nul }), "input.body".to_owned()),
        (
            "addTags",
            laid_over(on("tags", json!(["t"])), json!({ "clientMutationId": nul })),
            "input.clientMutationId".to_owned(),
        ),
        ("upsertUser", json!({ "account": nul }), "input.account".to_owned()),
        ("upsertUser", json!({ "account": "a", "name": nul }), "input.name".to_owned()),
        ("upsertGroup", json!({ "account": nul }), "input.account".to_owned()),
    ];
    for field in ["provider", "providerAlertId", "product", "title", "description", "category", "raw"] {
        let alert = report("1", json!({ field: nul }));
        cases.push(("ingestAlert", json!({ "alert": alert }), format!("input.alert.{field}")));
    }
    let labels = report("1", json!({ "techniques": [nul] }));
    cases.push(("ingestAlert", json!({ "alert": labels }), "input.alert.techniques.0".to_owned()));
    let named = report("1", json!({ "entities": [{ "kind": "IP", "value": nul }] }));
    cases.push(("ingestAlerts", json!({ "alerts": [named] }), "input.alerts.0.entities.0.value".to_owned()));
    for (name, input, path) in cases {
        let refusal = desk.deny(name, input).await;
        assert_eq!((refusal.code.as_str(), refusal.path), ("INVALID", Some(path)), "{name}");
    }
    let words = [
        json!({ "text": nul }),
        json!({ "product": [nul] }),
        json!({ "provider": [nul] }),
        json!({ "entity": [{ "value": nul }] }),
        json!({ "tags": { "none": ["t", nul] } }),
    ];
    for (n, filter) in words.into_iter().enumerate() {
        let queue = "query($f: IncidentFilterInput!) { incidents(filter: { not: $f }) { totalCount } }";
        assert_eq!(desk.refused(queue, json!({ "f": filter })).await.code, "INVALID", "{filter}");
        let alerts = "query($f: AlertFilterInput!) { alerts(filter: $f) { totalCount } }";
        if n < 4 {
            assert_eq!(desk.refused(alerts, json!({ "f": filter })).await.code, "INVALID", "{filter}");
        }
    }
    for field in ["assigneeSuggestions", "tagSuggestions"] {
        let query = format!("query($s: String!) {{ {field}(search: $s) {{ __typename }} }}");
        assert_eq!(desk.refused(&query, json!({ "s": nul })).await.code, "INVALID");
    }
    assert_eq!(
        desk.refused("query($s: ID!) { node(id: $s) { id } }", json!({ "s": "incident:\0" })).await.code,
        "NOT_FOUND"
    );
}

async fn an_id_is_known_of_the_right_kind_and_well_formed(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alert = desk.alerts(&["1"]).await.remove(0);
    let incident = desk.incident("Here").await;
    let unknown = |noun: &str| format!("{noun}:0198c0de-0000-7000-8000-000000000009");
    for (name, input, noun, field) in [
        ("updateIncident", json!({}), "incident", "incidentId"),
        ("resolveIncident", json!({}), "incident", "incidentId"),
        ("deleteIncident", json!({}), "incident", "incidentId"),
        ("restoreIncident", json!({}), "incident", "incidentId"),
        ("addComment", json!({ "body": "b" }), "incident", "incidentId"),
        ("editComment", json!({ "body": "b" }), "comment", "commentId"),
        ("deleteComment", json!({}), "comment", "commentId"),
        ("updateAlert", json!({ "status": "NEW" }), "alert", "alertId"),
        ("linkAlerts", json!({ "incidentId": incident }), "alert", "alerts"),
        ("unlinkAlerts", json!({ "incidentId": incident }), "alert", "alerts"),
        ("createIncident", json!({ "title": "T" }), "alert", "alerts"),
    ] {
        let other = if noun == "alert" { &incident } else { &alert };
        for (id, code) in [
            (unknown(noun).as_str(), "NOT_FOUND"),
            (other, "INVALID"),
            (&format!("{noun}:x"), "NOT_FOUND"),
            ("", "NOT_FOUND"),
            ("42", "NOT_FOUND"),
        ] {
            let (value, place) = if field == "alerts" { (json!([id]), ".0") } else { (json!(id), "") };
            let refusal = desk.deny(name, laid_over(input.clone(), json!({ field: value }))).await;
            assert_eq!(
                (refusal.code.as_str(), refusal.path),
                (code, Some(format!("input.{field}{place}"))),
                "{name} {id:?}: {}",
                refusal.message
            );
        }
    }
    for (query, id, code, path) in [
        ("query($id: ID!) { incident(by: { id: $id }) { id } }", unknown("incident"), "NOT_FOUND", "by.id"),
        ("query($id: ID!) { incident(by: { id: $id }) { id } }", alert.clone(), "INVALID", "by.id"),
        ("query($id: ID!) { alert(id: $id) { id } }", unknown("alert"), "NOT_FOUND", "id"),
        ("query($id: ID!) { alert(id: $id) { id } }", incident.clone(), "INVALID", "id"),
        ("query($id: ID!) { node(id: $id) { id } }", unknown("user"), "NOT_FOUND", "id"),
        ("query($id: ID!) { node(id: $id) { id } }", "nonsense".to_owned(), "NOT_FOUND", "id"),
    ] {
        let refusal = desk.refused(query, json!({ "id": id })).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some(path)), "{query} {id}");
    }
    assert_eq!(desk.refused("{ incident(by: { number: 99 }) { id } }", json!({})).await.code, "NOT_FOUND");
    let several = desk
        .data("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": [alert, unknown("group"), incident] }))
        .await;
    assert_eq!(several["nodes"], json!([{ "id": alert }, null, { "id": incident }]));
}

async fn a_comment_on_a_vast_incident_costs_little_log(database: TestDatabase) {
    use watchfloor::app::Command;
    use watchfloor::app::alert::{Destination, Ingest};
    use watchfloor::app::incident::{IncidentEdit, NewComment};
    use watchfloor::domain::alert::{AlertDraft, Report};
    use watchfloor::domain::incident::{Patch, Severity};

    let desk = TestDesk::open(&database).await;
    let command = Command::new(desk.app.local_caller(None).await.expect("the manager"), desk.clock.now(), "test");
    let draft = |n: usize| AlertDraft {
        report: Report {
            provider: "Sensor".to_owned(),
            provider_alert_id: n.to_string(),
            product: Some(format!("Sensor {}", n % 7)),
            title: format!("Alert {n}"),
            description: None,
            severity: Severity::Low,
            category: None,
            techniques: Vec::new(),
            first_activity_at: None,
            last_activity_at: None,
            entities: Vec::new(),
        },
        status: None,
        classification: None,
        raw: None,
    };
    let made = desk
        .app
        .ingest_alerts(&command, Ingest::new((0..5_000).map(draft).collect(), Destination::NewIncident))
        .await
        .expect("alerts");
    let id = made.value.incident.expect("an incident").id;
    let long = Patch { description: Some(Some("long ".repeat(1_000))), ..Patch::default() };
    desk.app.update_incident(&command, id, long.into()).await.expect("a description");
    let start = desk.log_end().await;
    for n in 0..1_000 {
        let comment = Some(NewComment { id: None, body: format!("{n} {}", "word ".repeat(200)) });
        let edit = IncidentEdit { comment, ..IncidentEdit::default() };
        desk.app.update_incident(&command, id, edit).await.expect("a comment");
    }
    let changes = changes(&desk.app.store.read().await.expect("a snapshot"), start, 2_000).await;
    assert_eq!(changes.len(), 1_000);
    let largest = changes.iter().map(|change| change.bytes).max().expect("a change");
    assert!(largest < 2_048, "{largest} bytes");
    let stands = desk.read(&id.to_string()).await;
    assert_eq!(
        (&stands["commentCount"], &stands["alertCount"], &stands["version"]),
        (&json!(1_000), &json!(5_000), &json!(1_002))
    );
}

async fn an_incident_of_more_alerts_than_a_statement_names_is_triaged(database: TestDatabase) {
    use sea_orm::ConnectionTrait;
    use watchfloor::app::Command;
    use watchfloor::app::incident::{IncidentEdit, OwnerChoice};
    use watchfloor::domain::IncidentId;
    use watchfloor::domain::incident::{Patch, Status};

    let desk = TestDesk::open(&database).await;
    let alert = report("1", json!({ "entities": [{ "kind": "DEVICE", "value": "web-1" }] }));
    let made = desk.act("ingestAlert", json!({ "alert": alert, "into": { "newIncident": true } })).await;
    let id = made["incident"]["id"].as_str().and_then(IncidentId::parse).expect("an incident");
    // SQLite takes 32,766 parameters, PostgreSQL 65,535. Not through the API, because a batch has at most 5,000 alerts.
    let (more, fresh) =
        if database.kind == Kind::Sqlite { (33_000, "randomblob(16)") } else { (66_000, "gen_random_uuid()") };
    let copies = format!(
        "INSERT INTO alert (id, provider, provider_alert_id, title, title_folded, severity, status, techniques,
                incident_id, created_at, updated_at)
         WITH RECURSIVE copy (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM copy WHERE n <= {more})
         SELECT {fresh}, provider, '' || n, title, title_folded, severity, status, techniques, incident_id, created_at,
                updated_at
         FROM alert, copy"
    );
    database.connect().await.execute_unprepared(&copies).await.expect("alerts");

    let command = Command::new(desk.app.local_caller(None).await.expect("the manager"), desk.clock.now(), "test");
    let status = |status| IncidentEdit::from(Patch { status: Some(status), ..Patch::default() });
    let assigned = IncidentEdit { owner: Some(Some(OwnerChoice::Me)), ..IncidentEdit::default() };
    for (what, edit) in
        [("assign", assigned), ("resolve", status(Status::Resolved)), ("reopen", status(Status::Active))]
    {
        let done =
            desk.app.update_incident(&command, id, edit).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(done.value.alerts.len(), more + 1, "{what}");
    }
    let deleted = desk.app.delete_incident(&command, id, None).await.expect("a deletion");
    assert_eq!(deleted.value.alerts.len(), more + 1);
    let free = desk.data("{ alerts(filter: { linked: false }, first: 1) { totalCount } }", json!({})).await;
    assert_eq!(free["alerts"]["totalCount"], json!(more + 1));
}
