//! Alerts, through the public API: ingest, update, link, unlink, move, and their effects on the incident.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::stream::changes;
use crate::support::triage::{each, laid_over, report, sorted};

each_database!(
    the_same_report_again_changes_nothing_and_another_updates_the_alert,
    what_a_provider_repeats_does_not_undo_an_analyst,
    a_batch_is_taken_in_whole_or_not_at_all,
    a_thousand_alerts_are_taken_in_at_once,
    a_raw_payload_comes_back_byte_for_byte,
    alerts_go_into_an_incident_a_new_one_or_none,
    an_incident_follows_its_alerts,
    an_alert_moves_only_when_told_and_both_incidents_say_so,
    entities_are_grouped_with_their_worst_verdict,
    what_is_compared_alike_is_kept_apart,
    an_alert_is_updated_by_hand_and_its_incident_says_so,
    alerts_are_found_by_every_condition,
    alerts_are_found_by_their_owner,
);

async fn the_same_report_again_changes_nothing_and_another_updates_the_alert(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let whole = report(
        "a-1",
        json!({
            "provider": " Sensor ", "product": "Sensor XDR", "description": " as it came\n", "severity": "LOW",
            "status": "ACTIVE", "classification": { "truePositive": "MALWARE" }, "category": "Execution",
            "techniques": ["T1059.001", "T1566"], "firstActivityAt": "2026-11-23T06:00:00.123456789Z",
            "lastActivityAt": "2026-11-23T07:00:00Z", "raw": "{ \"a\" : 1 }",
            "entities": [
                { "kind": "DEVICE", "value": " WS-7 ", "verdict": "SUSPICIOUS" },
                { "kind": "USER", "value": "kim" },
                { "kind": "DEVICE", "value": "ws-7", "verdict": "MALICIOUS" },
            ],
        }),
    );
    let made = desk.ingest(vec![whole.clone()], json!({ "newIncident": true })).await;
    assert_eq!((&made["created"], &made["updated"], &made["unchanged"]), (&json!(1), &json!(0), &json!(0)));
    let (alert, incident) =
        (made["alerts"][0]["id"].as_str().expect("an id"), made["incident"]["id"].as_str().expect("an id"));
    let stands = desk.alert(alert).await;
    let expected = json!({
        "provider": "Sensor", "description": " as it came\n", "status": "ACTIVE", "techniques": ["T1059.001", "T1566"],
        "firstActivityAt": "2026-11-23T06:00:00.123456+00:00", "raw": "{ \"a\" : 1 }",
        "entities": [
            { "kind": "DEVICE", "value": "WS-7", "verdict": "MALICIOUS" }, { "kind": "USER", "value": "kim", "verdict": null },
        ],
    });
    assert_eq!(stands, laid_over(stands.clone(), expected));

    let end = desk.log_end().await;
    desk.clock.advance(chrono::Duration::minutes(1));
    for into in [Value::Null, json!({ "newIncident": true }), json!({ "incident": incident })] {
        let again = desk.ingest(vec![whole.clone(), whole.clone()], into.clone()).await;
        assert_eq!((&again["created"], &again["updated"], &again["unchanged"]), (&json!(0), &json!(0), &json!(1)));
        assert_eq!(again["incident"]["id"], if into.get("incident").is_some() { json!(incident) } else { Value::Null });
    }
    assert_eq!(desk.log_end().await, end, "nothing is logged");
    assert_eq!(desk.alert(alert).await, stands);

    let anew = json!({ "severity": "HIGH", "title": "Worse", "status": "RESOLVED", "entities": [{ "kind": "IP", "value": "10.0.0.1" }] });
    let updated = desk.ingest(vec![laid_over(whole, anew)], Value::Null).await;
    assert_eq!((&updated["updated"], &updated["alerts"][0]["id"]), (&json!(1), &json!(alert)));
    let follows = desk.read(incident).await;
    assert_eq!(
        (&follows["severity"], &follows["title"], &follows["version"]),
        (&json!("HIGH"), &json!("Worse"), &json!(2))
    );
    let entries = desk.newest(incident).await;
    let delta = &entries["ALERTS_CHANGED"]["alerts"][0];
    assert_eq!(
        (&delta["reported"], &delta["status"]),
        (&json!(true), &json!({ "before": "ACTIVE", "after": "RESOLVED" }))
    );
    assert_eq!(entries["TITLE"]["generated"], true);
    assert_eq!(desk.log(incident).await[1]["cause"], json!({ "kind": "INGEST", "name": "ingestAlerts" }));
    assert_eq!(desk.alert(alert).await["entities"], json!([{ "kind": "IP", "value": "10.0.0.1", "verdict": null }]));
}

async fn what_a_provider_repeats_does_not_undo_an_analyst(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let said = report("1", json!({ "status": "NEW", "classification": { "truePositive": "MALWARE" } }));
    let made = desk.ingest(vec![said.clone()], Value::Null).await;
    let id = made["alerts"][0]["id"].as_str().expect("an id");
    let by_hand = json!({ "alertId": id, "status": "RESOLVED", "classification": { "falsePositive": "OTHER" }, "owner": { "me": true } });
    desk.act("updateAlert", by_hand).await;
    desk.ingest(vec![laid_over(said.clone(), json!({ "title": "Reworded" }))], Value::Null).await;
    let stands = desk.alert(id).await;
    assert_eq!(
        (&stands["title"], &stands["status"], &stands["owner"]["account"]),
        (&json!("Reworded"), &json!("RESOLVED"), &json!("local-manager"))
    );
    assert_eq!(stands["classification"]["kind"], "FALSE_POSITIVE");
    desk.ingest(vec![laid_over(said, json!({ "status": "ACTIVE" }))], Value::Null).await;
    let stands = desk.alert(id).await;
    assert_eq!((&stands["status"], &stands["resolvedAt"]), (&json!("ACTIVE"), &Value::Null), "a new word counts");
}

async fn a_batch_is_taken_in_whole_or_not_at_all(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let twice = vec![
        report("1", json!({ "title": "First word", "raw": "kept" })),
        report("2", json!({})),
        report("1", json!({ "title": "Last word" })),
    ];
    let made = desk.ingest(twice, json!({ "newIncident": true })).await;
    assert_eq!((&made["created"], &made["updated"], &made["unchanged"]), (&json!(2), &json!(0), &json!(0)));
    assert_eq!(made["incident"]["alertCount"], 2);
    let first = desk.alert(made["alerts"][0]["id"].as_str().expect("an id")).await;
    assert_eq!((&first["title"], &first["raw"]), (&json!("Last word"), &json!("kept")));

    for (bad, code, path) in [
        (json!({ "title": " " }), "INVALID", "input.alerts.1.title"),
        (json!({ "provider": "" }), "INVALID", "input.alerts.1.provider"),
        (json!({ "category": "x".repeat(257) }), "LIMIT", "input.alerts.1.category"),
        (json!({ "techniques": vec!["T1"; 51] }), "LIMIT", "variables.input.alerts.1.techniques"),
        (
            json!({ "entities": [{ "kind": "URL", "value": "u".repeat(4_097) }] }),
            "LIMIT",
            "input.alerts.1.entities.0.value",
        ),
        (
            json!({ "firstActivityAt": "2026-11-23T02:00:00Z", "lastActivityAt": "2026-11-23T01:00:00Z" }),
            "INVALID",
            "input.alerts.1.lastActivityAt",
        ),
    ] {
        let batch =
            json!({ "alerts": [report("good", json!({})), report("bad", bad)], "into": { "newIncident": true } });
        let refusal = desk.deny("ingestAlerts", batch).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some(path)), "{}", refusal.message);
    }
    for (into, code) in [
        (json!({ "newIncident": false }), "INVALID"),
        (json!({ "newIncident": true, "incident": made["incident"]["id"] }), "INVALID"),
        (json!({ "incident": "incident:0198c0de-0000-7000-8000-000000000009" }), "NOT_FOUND"),
        (json!({ "incident": made["alerts"][0]["id"] }), "INVALID"),
    ] {
        let refusal = desk.deny("ingestAlerts", json!({ "alerts": [report("good", json!({}))], "into": into })).await;
        assert_eq!(refusal.code, code, "{}", refusal.message);
    }
    assert_eq!(desk.deny("ingestAlerts", json!({ "alerts": [] })).await.path.as_deref(), Some("input.alerts"));
    let all = desk.data("{ alerts { totalCount } incidents { totalCount } }", json!({})).await;
    assert_eq!(all, json!({ "alerts": { "totalCount": 2 }, "incidents": { "totalCount": 1 } }));
    let one = desk.act("ingestAlert", json!({ "alert": report("2", json!({})) })).await;
    assert_eq!(one["unchanged"], 1);
}

async fn a_thousand_alerts_are_taken_in_at_once(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let batch: Vec<Value> = (0..1_000)
        .map(|n| {
            report(
                &format!("{n:04}"),
                json!({ "entities": [{ "kind": "DEVICE", "value": format!("host-{}", n % 40) }] }),
            )
        })
        .collect();
    let made = desk.ingest(batch.clone(), json!({ "newIncident": true })).await;
    assert_eq!((&made["created"], &made["incident"]["alertCount"]), (&json!(1_000), &json!(1_000)));
    assert_eq!(made["incident"]["title"], "Multi-alert incident on 40 endpoints");
    assert_eq!(desk.ingest(batch, Value::Null).await["unchanged"], 1_000);
    let id = made["incident"]["id"].as_str().expect("an id");
    let done = desk.act("resolveIncident", json!({ "incidentId": id })).await;
    assert_eq!(sorted(&done["alerts"], "id"), sorted(&made["alerts"], "id"));
    let query = "query($id: ID!, $after: String) { incident(by: { id: $id }) { alerts(first: 100, after: $after) {
        totalCount pageInfo { hasNextPage endCursor } nodes { providerAlertId status } } } }";
    let (mut keys, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = desk.data(query, json!({ "id": id, "after": after })).await["incident"]["alerts"].take();
        assert_eq!(page["totalCount"], 1_000);
        keys.extend(sorted(&page["nodes"], "providerAlertId"));
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    assert_eq!(keys, (0..1_000).map(|n| format!("{n:04}")).collect::<Vec<_>>(), "each once, in the order they came in");
}

async fn a_raw_payload_comes_back_byte_for_byte(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let odd = " \t\r\n{\"a\":1,  \"a\":2}\u{feff}\u{2028}\u{1}\u{7f}\\u0000 e\u{301} é 漢字 🦀\u{200d}\n\n ";
    let long: String = odd.chars().cycle().take(100_000).collect();
    let raws = [odd.to_owned(), long, String::new(), "\"".repeat(3)];
    let batch = raws.iter().enumerate().map(|(n, raw)| report(&n.to_string(), json!({ "raw": raw }))).collect();
    let made = desk.ingest(batch, Value::Null).await;
    for (id, raw) in each(&made["alerts"], "id").into_iter().zip(&raws) {
        assert!(desk.alert(id.as_str().expect("an id")).await["raw"] == json!(raw), "{} characters", raw.len());
    }
    let anew = desk.ingest(vec![report("0", json!({ "raw": "other" }))], Value::Null).await;
    assert_eq!(anew["updated"], 1);
    let id = anew["alerts"][0]["id"].as_str().expect("an id");
    assert_eq!(desk.alert(id).await["raw"], "other");
    desk.ingest(vec![report("0", json!({}))], Value::Null).await;
    assert_eq!(desk.alert(id).await["raw"], "other", "a report without it leaves it");
}

async fn alerts_go_into_an_incident_a_new_one_or_none(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let one = |key: &str| vec![report(key, json!({}))];
    let nowhere = desk.ingest(one("free"), Value::Null).await;
    assert_eq!((&nowhere["incident"], desk.log_end().await), (&Value::Null, 1), "its own log says that it came");
    let held = desk.incident("By hand").await;
    let into = desk.ingest(vec![report("a", json!({})), report("free", json!({}))], json!({ "incident": held })).await;
    assert_eq!(
        (&into["created"], &into["unchanged"], &into["incident"]["alertCount"]),
        (&json!(1), &json!(1), &json!(2))
    );
    assert_eq!(into["incident"]["title"], "By hand");
    let fresh = desk.ingest([one("a"), one("b")].concat(), json!({ "newIncident": true })).await;
    assert_eq!(
        (&fresh["incident"]["alertCount"], &fresh["incident"]["title"]),
        (&json!(1), &json!("Alert b")),
        "those that no incident holds"
    );
    assert_eq!(desk.read(&held).await["alertCount"], 2);
    let elsewhere = json!({ "alerts": one("b"), "into": { "incident": held } });
    let refusal = desk.deny("ingestAlerts", elsewhere).await;
    assert_eq!((refusal.code.as_str(), &refusal.now["incident"]), ("CONFLICT", &fresh["incident"]["id"]));
    desk.ingest(one("c"), Value::Null).await;
    let free = desk
        .data(
            "{ alerts(filter: { linked: false }) { totalCount nodes { providerAlertId incident { id } } } }",
            json!({}),
        )
        .await;
    assert_eq!(free["alerts"], json!({ "totalCount": 1, "nodes": [{ "providerAlertId": "c", "incident": null }] }));
}

async fn an_incident_follows_its_alerts(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let stage = |key: &str, category: &str, product: &str, hour: u32, entities: Value| {
        report(
            key,
            json!({ "category": category, "product": product, "provider": format!("{product} Inc"), "entities": entities,
            "firstActivityAt": format!("2026-11-23T0{hour}:00:00Z"), "lastActivityAt": format!("2026-11-23T0{hour}:30:00Z") }),
        )
    };
    let batch = vec![
        stage(
            "1",
            "Execution",
            "EDR",
            3,
            json!([{ "kind": "DEVICE", "value": "ws-1" }, { "kind": "USER", "value": "kim" }]),
        ),
        stage(
            "2",
            "Exfiltration",
            "NDR",
            1,
            json!([{ "kind": "DEVICE", "value": "WS-1" }, { "kind": "DEVICE", "value": "ws-2" }]),
        ),
        stage("3", "Execution", "EDR", 5, json!([{ "kind": "MAILBOX", "value": "kim@desk.example" }])),
    ];
    let taken = desk.ingest(batch, json!({ "newIncident": true })).await;
    let ids = each(&taken["alerts"], "id");
    let id = taken["incident"]["id"].as_str().expect("an id");
    let seen = |incident: &Value| {
        ["title", "alertCount", "products", "providers", "firstActivityAt", "lastActivityAt"]
            .map(|field| incident[field].clone())
    };
    let full = [
        json!(
            "Multi-stage incident involving Execution & Exfiltration on 2 endpoints, 2 users reported by multiple sources"
        ),
        json!(3),
        json!(["EDR", "NDR"]),
        json!(["EDR Inc", "NDR Inc"]),
        json!("2026-11-23T01:00:00+00:00"),
        json!("2026-11-23T05:30:00+00:00"),
    ];
    assert_eq!(seen(&taken["incident"]), full);
    let gone = desk.act("unlinkAlerts", json!({ "incidentId": id, "alerts": [ids[1]] })).await;
    assert_eq!(
        seen(&gone["incident"]),
        [
            json!("Execution incident on one endpoint, 2 users reported by EDR"),
            json!(2),
            json!(["EDR"]),
            json!(["EDR Inc"]),
            json!("2026-11-23T03:00:00+00:00"),
            json!("2026-11-23T05:30:00+00:00")
        ]
    );
    let back = desk.act("linkAlerts", json!({ "incidentId": id, "alerts": [ids[1], ids[1], ids[0]] })).await;
    assert_eq!(seen(&back["incident"]), full);
    assert_eq!(each(&back["alerts"], "id"), [ids[1]], "only the one that came");
    desk.act("unlinkAlerts", json!({ "incidentId": id, "alerts": [ids[1], ids[2]] })).await;
    assert_eq!(desk.read(id).await["title"], "Alert 1", "one alert lends its title");
    desk.act("unlinkAlerts", json!({ "incidentId": id, "alerts": [ids[0]] })).await;
    assert_eq!(
        seen(&desk.read(id).await),
        [json!("Alert 1"), json!(0), json!([]), json!([]), Value::Null, Value::Null],
        "without alerts the last title stays"
    );
    let refusal = desk.deny("unlinkAlerts", json!({ "incidentId": id, "alerts": [ids[0]] })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("CONFLICT", Some("input.alerts.0")));
    desk.act("renameIncident", json!({ "incidentId": id, "title": "Kim's laptop" })).await;
    let done = desk.act("linkAlerts", json!({ "incidentId": id, "alerts": ids })).await;
    assert_eq!(
        (&done["incident"]["title"], &done["incident"]["titleGenerated"]),
        (&json!("Kim's laptop"), &json!(false))
    );
}

async fn an_alert_moves_only_when_told_and_both_incidents_say_so(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let batch =
        vec![report("1", json!({ "severity": "HIGH", "product": "EDR" })), report("2", json!({ "severity": "LOW" }))];
    let from = desk.ingest(batch, json!({ "newIncident": true })).await;
    let alert = from["alerts"][0]["id"].clone();
    let from = from["incident"]["id"].as_str().expect("an id");
    let to = desk.incident("Takes it over").await;
    let link = json!({ "incidentId": to, "alerts": [alert] });
    let refusal = desk.deny("linkAlerts", link.clone()).await;
    assert_eq!(
        (refusal.code.as_str(), &refusal.now),
        ("CONFLICT", &json!({ "alert": alert, "incident": from, "number": 1 }))
    );
    assert!(refusal.message.contains("INC-1"), "{}", refusal.message);
    assert_eq!(refusal.path.as_deref(), Some("input.alerts.0"));
    assert_eq!(desk.deny("createIncident", json!({ "title": "T", "alerts": [alert] })).await.code, "CONFLICT");

    let moved = desk.act("linkAlerts", laid_over(link, json!({ "move": true, "clientMutationId": "drag" }))).await;
    assert_eq!((&moved["incident"]["severity"], &moved["incident"]["products"]), (&json!("HIGH"), &json!(["EDR"])));
    let left = desk.read(from).await;
    assert_eq!(
        ["severity", "products", "alertCount", "title"].map(|field| left[field].clone()),
        [json!("LOW"), json!([]), json!(1), json!("Alert 2")]
    );
    let (gave, took) = (desk.log(from).await.pop().expect("a change"), desk.log(&to).await.pop().expect("a change"));
    assert_eq!(gave["transactionId"], took["transactionId"]);
    assert_eq!(gave["clientMutationId"], "drag");
    assert_eq!((&gave["cause"]["kind"], &took["cause"]["kind"]), (&json!("MOVE"), &json!("COMMAND")));
    assert_eq!([&gave["last"], &took["last"]].iter().filter(|last| ***last == json!(true)).count(), 1);
    let fact = |change: &Value, kind: &str| {
        change["entries"]
            .as_array()
            .expect("entries")
            .iter()
            .find(|entry| entry["kind"] == kind)
            .cloned()
            .expect("an entry")
    };
    assert_eq!(
        fact(&gave, "ALERTS_UNLINKED"),
        json!({ "kind": "ALERTS_UNLINKED", "alertIds": [alert], "movedToId": to })
    );
    assert_eq!(
        fact(&took, "ALERTS_LINKED"),
        json!({ "kind": "ALERTS_LINKED", "alertIds": [alert], "movedFromIds": [from] })
    );
    let changes = changes(&desk.app.store.read().await.expect("a snapshot"), 2, 10).await;
    let places: Vec<_> = changes.iter().map(|change| (change.offset, change.body.last)).collect();
    assert_eq!(places, [(3, false), (4, true)], "consecutive positions, the mark on the second");

    // Into a new incident, from two incidents at once.
    let both = sorted(&desk.data("{ alerts { nodes { id } } }", json!({})).await["alerts"]["nodes"], "id");
    let made = desk.act("createIncident", json!({ "alerts": both, "move": true })).await;
    assert_eq!((&made["incident"]["alertCount"], &made["incident"]["titleGenerated"]), (&json!(2), &json!(true)));
    assert_eq!(desk.log_end().await, 7, "three incidents, three changes, one transaction");
    assert_eq!(desk.read(&to).await["title"], "Takes it over");
}

async fn entities_are_grouped_with_their_worst_verdict(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let naming = |key: &str, verdict: Value| {
        let host = json!({ "kind": "DEVICE", "value": "WS-É", "verdict": verdict });
        report(key, json!({ "entities": [host, { "kind": "USER", "value": key }] }))
    };
    let batch = vec![naming("ann", json!("SUSPICIOUS")), naming("bob", json!("MALICIOUS")), naming("cy", Value::Null)];
    let made = desk.ingest(batch, json!({ "newIncident": true })).await;
    let id = made["incident"]["id"].clone();
    let query =
        "query($id: ID!) { incident(by: { id: $id }) { entities { kind entities { value verdict alertCount } } } }";
    let groups = desk.data(query, json!({ "id": id })).await["incident"]["entities"].take();
    assert_eq!(each(&groups, "kind"), ["USER", "DEVICE"]);
    assert_eq!(groups[1]["entities"], json!([{ "value": "WS-É", "verdict": "MALICIOUS", "alertCount": 3 }]));
    assert_eq!(sorted(&groups[0]["entities"], "value"), ["ann", "bob", "cy"]);
    desk.act("unlinkAlerts", json!({ "incidentId": id, "alerts": [made["alerts"][1]["id"]] })).await;
    let groups = desk.data(query, json!({ "id": id })).await["incident"]["entities"].take();
    assert_eq!(groups[1]["entities"], json!([{ "value": "WS-É", "verdict": "SUSPICIOUS", "alertCount": 2 }]));
}

async fn what_is_compared_alike_is_kept_apart(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let named = |kind: &str, value: &str| json!({ "kind": kind, "value": value });
    let entities = [
        named("USER", "Müller"),
        named("USER", "Muller"),
        named("URL", "https://e.example/A"),
        named("URL", "https://e.example/a"),
        named("PROCESS", "tar -C / -xf x"),
        named("PROCESS", "tar -c / -xf x"),
        named("DOMAIN", "exämple.com"),
        named("DOMAIN", "example.com"),
        named("IP", "2001:DB8:0::1"),
    ];
    let folded = [named("DOMAIN", "EXAMPLE.com"), named("IP", "2001:db8::1")];
    let all = [&entities[..], &folded].concat();
    let made = desk.ingest(vec![report("1", json!({ "entities": all }))], json!({ "newIncident": true })).await;
    let (alert, incident) =
        (made["alerts"][0]["id"].as_str().expect("an id"), made["incident"]["id"].as_str().expect("an id"));
    let pairs = |list: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let mut pairs: Vec<_> =
            list.as_array().expect("a list").iter().map(|it| (text(&it["kind"]), text(&it["value"]))).collect();
        pairs.sort();
        pairs
    };
    let expected = pairs(&json!(entities));
    assert_eq!(
        pairs(&desk.alert(alert).await["entities"]),
        expected,
        "what differs is kept, what is one thing is not doubled"
    );
    let again = desk.ingest(vec![report("1", json!({ "entities": all }))], Value::Null).await;
    assert_eq!(again["unchanged"], 1);
    let held = |groups: &Value| {
        let groups = groups.as_array().expect("groups").iter();
        let each = groups.flat_map(|group| {
            let values = group["entities"].as_array().expect("entities").iter();
            values.map(|it| json!({ "kind": group["kind"], "value": it["value"] })).collect::<Vec<_>>()
        });
        pairs(&json!(each.collect::<Vec<_>>()))
    };
    let position = desk.data("{ incidents(first: 0) { position } }", json!({})).await["incidents"]["position"].take();
    let read = desk
        .data(
            "query($id: ID!, $position: String!) { incident(by: { id: $id }) { entities { kind entities { value } } }
                incidentAsOf(by: { id: $id }, moment: { position: $position }) { entities { kind entities { value } } } }",
            json!({ "id": incident, "position": position }),
        )
        .await;
    assert_eq!(held(&read["incident"]["entities"]), expected);
    assert_eq!(held(&read["incidentAsOf"]["entities"]), expected);
    for value in ["MULLER", "müller", "https://e.example/A", "TAR -C / -xf x", "2001:0db8:0:0::0:1", "Example.COM"] {
        let found = desk
            .data(
                "query($entity: [EntityFilterInput!]) { incidents(filter: { entity: $entity }) { totalCount }
                    alerts(filter: { entity: $entity }) { totalCount } }",
                json!({ "entity": [{ "value": value }] }),
            )
            .await;
        assert_eq!(
            (&found["incidents"]["totalCount"], &found["alerts"]["totalCount"]),
            (&json!(1), &json!(1)),
            "{value}"
        );
    }
    // The alert is moved, unlinked and merged like any other alert.
    let other = desk.incident("Other").await;
    desk.act("linkAlerts", json!({ "incidentId": other, "alerts": [alert], "move": true })).await;
    desk.act("unlinkAlerts", json!({ "incidentId": other, "alerts": [alert] })).await;
    assert_eq!(pairs(&desk.alert(alert).await["entities"]), expected);
}

async fn an_alert_is_updated_by_hand_and_its_incident_says_so(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ana = desk.user("ana", "READER").await;
    let made = desk.ingest(vec![report("1", json!({}))], json!({ "newIncident": true })).await;
    let (alert, incident) = (made["alerts"][0]["id"].clone(), made["incident"]["id"].as_str().expect("an id"));
    desk.clock.advance(chrono::Duration::minutes(3));
    let edit = json!({ "alertId": alert, "status": "RESOLVED", "classification": { "truePositive": "OTHER" }, "owner": { "user": ana } });
    let done = desk.act("updateAlert", edit.clone()).await;
    assert_eq!((&done["alert"]["status"], &done["alert"]["owner"]["account"]), (&json!("RESOLVED"), &json!("ana")));
    assert_eq!(
        (&done["alert"]["resolvedAt"], &done["alert"]["updatedAt"]),
        (&json!("2026-11-23T08:03:00+00:00"), &json!("2026-11-23T08:03:00+00:00"))
    );
    assert_eq!(
        desk.newest(incident).await["ALERTS_CHANGED"]["alerts"],
        json!([{ "alertId": alert, "reported": false, "status": { "before": "NEW", "after": "RESOLVED" },
            "owner": { "before": null, "after": ana }, "classification": { "before": null, "after": { "kind": "TRUE_POSITIVE" } } }])
    );
    assert_eq!(
        (&desk.read(incident).await["owner"], &desk.read(incident).await["status"]),
        (&Value::Null, &json!("NEW"))
    );
    let end = desk.log_end().await;
    desk.act("updateAlert", edit.clone()).await;
    desk.act("updateAlert", json!({ "alertId": alert })).await;
    assert_eq!(desk.log_end().await, end);
    assert_eq!(desk.deny_as(Some("ana"), "updateAlert", edit).await.code, "FORBIDDEN");
    let cleared = desk
        .act("updateAlert", json!({ "alertId": alert, "status": "ACTIVE", "classification": null, "owner": null }))
        .await;
    assert_eq!(
        ["owner", "classification", "resolvedAt"].map(|field| cleared["alert"][field].clone()),
        [Value::Null, Value::Null, Value::Null]
    );
}

async fn alerts_are_found_by_every_condition(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let batch = vec![
        report(
            "1",
            json!({ "title": "Ünusual sign-in 100%", "severity": "HIGH", "product": "IdP", "entities": [{ "kind": "USER", "value": "Kim" }] }),
        ),
        report(
            "2",
            json!({ "severity": "LOW", "provider": "Other", "status": "RESOLVED", "entities": [{ "kind": "MAILBOX", "value": "kim" }] }),
        ),
    ];
    desk.ingest(batch, Value::Null).await;
    for (filter, found) in [
        (json!({}), vec!["2", "1"]),
        (json!({ "status": ["RESOLVED"] }), vec!["2"]),
        (json!({ "severity": ["HIGH", "LOW"], "product": ["idp"] }), vec!["1"]),
        (json!({ "provider": ["Other"] }), vec!["2"]),
        (json!({ "entity": [{ "value": "KIM" }] }), vec!["2", "1"]),
        (json!({ "entity": [{ "kind": "USER", "value": "kim" }] }), vec!["1"]),
        (json!({ "text": "UNUSUAL" }), vec!["1"]),
        (json!({ "text": "100%" }), vec!["1"]),
        (json!({ "text": "_" }), vec![]),
        (json!({ "linked": true }), vec![]),
        (json!({ "status": [] }), vec![]),
    ] {
        let query =
            "query($filter: AlertFilterInput!) { alerts(filter: $filter) { totalCount nodes { providerAlertId } } }";
        let page = desk.data(query, json!({ "filter": filter })).await["alerts"].take();
        assert_eq!(each(&page["nodes"], "providerAlertId"), found, "{filter}");
        assert_eq!(page["totalCount"], found.len());
    }
}

async fn alerts_are_found_by_their_owner(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (ana, ben) = (desk.user("ana", "RESPONDER").await, desk.user("ben", "RESPONDER").await);
    let group = desk.act("upsertGroup", json!({ "account": "tier-1" })).await["group"]["id"].clone();
    desk.act("addGroupMembers", json!({ "groupId": group, "users": [ana] })).await;
    let ids = desk.alerts(&["1", "2", "3", "4"]).await;
    for (id, owner) in ids.iter().zip([json!({ "user": ana }), json!({ "user": ben }), json!({ "group": group })]) {
        desk.act("updateAlert", json!({ "alertId": id, "owner": owner })).await;
    }
    let held = desk.ingest(vec![report("5", json!({}))], json!({ "newIncident": true })).await;
    let incident = &held["incident"]["id"];
    desk.act("assignIncident", json!({ "incidentId": incident, "owner": { "user": ana } })).await;
    let query =
        "query($filter: AlertFilterInput!) { alerts(filter: $filter) { totalCount nodes { providerAlertId } } }";
    for (account, filter, found) in [
        (None, json!({ "owner": { "users": [ana] } }), vec!["5", "1"]),
        (None, json!({ "owner": { "users": [ana, ben] }, "linked": false }), vec!["2", "1"]),
        (None, json!({ "owner": { "users": [ana] }, "incident": incident }), vec!["5"]),
        (None, json!({ "owner": { "users": [ben] }, "incident": incident }), vec![]),
        (None, json!({ "owner": { "groups": [group] } }), vec!["3"]),
        (None, json!({ "owner": { "unassigned": true } }), vec!["4"]),
        (None, json!({ "owner": { "unassigned": true, "users": [ben], "groups": [group] } }), vec!["4", "3", "2"]),
        (None, json!({ "owner": {} }), vec!["5", "4", "3", "2", "1"]),
        (Some("ana"), json!({ "owner": { "me": true } }), vec!["5", "1"]),
        (Some("ana"), json!({ "owner": { "meAndMyGroups": true } }), vec!["5", "3", "1"]),
        (Some("ben"), json!({ "owner": { "meAndMyGroups": true } }), vec!["2"]),
    ] {
        let page = desk.data_as(account, query, json!({ "filter": filter })).await["alerts"].take();
        assert_eq!(each(&page["nodes"], "providerAlertId"), found, "{filter} by {account:?}");
        assert_eq!(page["totalCount"], found.len());
    }
    let wrong = json!({ "filter": { "owner": { "users": [group] } } });
    let refusal = desk.refused(query, wrong).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("filter.owner.users.0")));
}
