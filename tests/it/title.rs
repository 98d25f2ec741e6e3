//! Titles of any length: every type shows their first 1,000 characters, and only `fullTitle` is whole.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::stream::{QUEUE, present, replay};
use crate::support::triage::{each, report};

each_database!(
    a_title_is_shown_by_its_first_thousand_characters_everywhere,
    a_frame_does_not_carry_a_long_title,
    a_filter_reads_the_whole_title_and_an_order_its_start,
    a_merge_and_its_preview_show_the_start_of_a_title,
    the_title_of_an_alert_is_shown_by_its_start_too,
    a_generated_title_names_a_product_only_if_every_alert_names_it,
);

/// Returns the shown part of a title of 1,000 characters or more.
fn start(title: &str) -> String {
    title.chars().take(1_000).collect()
}

/// Returns titles just below, at and above the shown length, with short and long letters.
fn titles() -> Vec<(String, bool)> {
    let of = |letter: &str, count: usize| format!("a{}z", letter.repeat(count - 2));
    vec![
        (of("x", 999), false),
        (of("漢", 1_000), false),
        (of("🦀", 1_001), true),
        (of("é", 1_002), true),
        (of("x", 1_500_000), true),
    ]
}

async fn a_title_is_shown_by_its_first_thousand_characters_everywhere(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("First").await;
    let mut former = "First".to_owned();
    let moment = |position: &Value| json!({ "position": position });
    let first = present(&desk, &json!({})).await;
    for (title, truncated) in titles() {
        let renamed = desk
            .data(
                "mutation($id: ID!, $title: String!) { renameIncident(input: { incidentId: $id, title: $title }) {
                    incident { title titleTruncated fullTitle } } }",
                json!({ "id": id, "title": title }),
            )
            .await;
        let expected = json!({ "title": start(&title), "titleTruncated": truncated, "fullTitle": title });
        assert!(renamed["renameIncident"]["incident"] == expected, "the answer, of {} bytes", title.len());
        let read = desk
            .data(
                "query($id: ID!, $moment: MomentInput!) {
                    incident(by: { id: $id }) { title titleTruncated fullTitle }
                    numbered: incident(by: { number: 1 }) { title titleTruncated fullTitle }
                    incidents { nodes { title titleTruncated fullTitle ... on QueueFields { again: titleTruncated } } }
                    node(id: $id) { ... on Incident { title titleTruncated fullTitle } }
                    incidentAsOf(by: { id: $id }, moment: $moment) { title titleTruncated fullTitle }
                 }",
                json!({ "id": id, "moment": moment(&present(&desk, &json!({})).await) }),
            )
            .await;
        for field in ["incident", "numbered", "node", "incidentAsOf"] {
            assert!(read[field] == expected, "{field}, of {} bytes", title.len());
        }
        let row = &read["incidents"]["nodes"][0];
        assert!(row["title"] == expected["title"] && row["again"] == truncated && row["fullTitle"] == title.as_str());
        let log = desk
            .data(
                "query($id: ID!) { incident(by: { id: $id }) { activity(last: 1) { nodes { entries { ... on TextEntry {
                    textBefore textBeforeTruncated textAfter textAfterTruncated } } } } } }",
                json!({ "id": id }),
            )
            .await;
        let entry = &log["incident"]["activity"]["nodes"][0]["entries"][0];
        assert!(entry["textAfter"] == start(&title) && entry["textAfterTruncated"] == truncated);
        assert!(entry["textBefore"] == start(&former));
        assert_eq!(entry["textBeforeTruncated"], former.chars().count() > 1_000);
        former = title;
    }
    let then = desk
        .data(
            "query($id: ID!, $moment: MomentInput!) { incidentAsOf(by: { id: $id }, moment: $moment) { title titleTruncated fullTitle } }",
            json!({ "id": id, "moment": moment(&first) }),
        )
        .await;
    assert_eq!(then["incidentAsOf"], json!({ "title": "First", "titleTruncated": false, "fullTitle": "First" }));
}

async fn a_frame_does_not_carry_a_long_title(database: TestDatabase) {
    const LOG: &str = "subscription { activityLog { __typename position ... on ActivityChange { change {
        incident { title titleTruncated } entries { ... on TextEntry { textBefore textAfter } } } } } }";
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Short").await;
    let begin = present(&desk, &json!({})).await;
    let document = QUEUE.replace("version title", "version title titleTruncated");
    let mut queue = desk.follow(&document, json!({})).await;
    queue.items_until("Live").await;
    let mut log = desk.follow(LOG, json!({})).await;
    log.items_until("Live").await;
    let title = format!("{} the end", "漢x".repeat(300_000));
    desk.act("renameIncident", json!({ "incidentId": id, "title": title })).await;
    desk.act("addTags", json!({ "incidentId": id, "tags": ["later"] })).await;
    for stream in [&mut queue, &mut log] {
        for _ in 0..2 {
            let item = stream.change().await;
            let bytes = item.to_string().len();
            assert!(bytes < 16_384, "a frame of {bytes} bytes");
            if let Some(row) = item.get("row") {
                assert!(row["title"] == start(&title) && row["titleTruncated"] == true);
            }
        }
    }
    let replayed = replay(&desk, &json!({}), &begin).await;
    assert!(replayed.iter().all(|item| item.to_string().len() < 16_384));
    assert!(replayed[0]["row"]["title"] == start(&title));
}

async fn a_filter_reads_the_whole_title_and_an_order_its_start(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let title = |first: &str, last: &str| format!("{first}{} {last}", "x".repeat(5_000));
    for (first, last) in [("b", "needle"), ("a", "hay"), ("Ä", "hay")] {
        desk.incident(&title(first, last)).await;
    }
    let read = desk
        .data(
            "{ found: incidents(filter: { text: \"NEEDLE\" }) { totalCount }
               ordered: incidents(orderBy: [{ field: TITLE, direction: ASC }]) { nodes { number } } }",
            json!({}),
        )
        .await;
    assert_eq!(read["found"]["totalCount"], 1);
    assert_eq!(read["ordered"]["nodes"], json!([{ "number": 2 }, { "number": 3 }, { "number": 1 }]));
}

async fn a_merge_and_its_preview_show_the_start_of_a_title(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let long = "Ünïcode 漢 🦀 ".repeat(90_000).trim().to_owned();
    let source = desk.incident("Source").await;
    let target = desk.create(json!({ "title": long })).await["id"].as_str().expect("an id").to_owned();
    let preview = desk
        .data(
            "query($source: ID!, $target: ID!) { previewMerge(sourceId: $source, targetId: $target, keepTitle: true) {
                target { title titleTruncated } outcome { title titleTruncated } } }",
            json!({ "source": source, "target": target }),
        )
        .await;
    let expected = json!({ "title": start(&long), "titleTruncated": true });
    assert!(preview["previewMerge"]["target"] == expected && preview["previewMerge"]["outcome"] == expected);
    desk.act("mergeIncidents", json!({ "sourceId": target, "targetId": source })).await;
    let stub = desk
        .data(
            "query($id: ID!) { incident(by: { id: $id }) { title titleTruncated fullTitle status } }",
            json!({ "id": target }),
        )
        .await;
    let stub = &stub["incident"];
    assert!(stub["title"] == expected["title"] && stub["titleTruncated"] == true && stub["fullTitle"] == long.as_str());
    assert_eq!(stub["status"], "REDIRECTED");
    desk.act("undoMerge", json!({ "incidentId": target })).await;
    let back = desk.data("query($id: ID!) { incident(by: { id: $id }) { fullTitle } }", json!({ "id": target })).await;
    assert!(back["incident"]["fullTitle"] == long.as_str(), "kept whole through a merge and its undo");
}

async fn the_title_of_an_alert_is_shown_by_its_start_too(database: TestDatabase) {
    const ALERT: &str = "title titleTruncated fullTitle";
    let desk = TestDesk::open(&database).await;
    let long = format!("{}!", "é漢".repeat(10_000));
    let taken = desk
        .data(
            &format!(
                "mutation($alerts: [AlertInput!]!) {{ ingestAlerts(input: {{ alerts: $alerts, into: {{ newIncident: true }} }}) {{
                    alerts {{ id {ALERT} }} incident {{ id {ALERT} }} }} }}"
            ),
            json!({ "alerts": [report("long", json!({ "title": long }))] }),
        )
        .await;
    let (alert, incident) = (&taken["ingestAlerts"]["alerts"][0], &taken["ingestAlerts"]["incident"]);
    let expected = json!({ "title": start(&long), "titleTruncated": true, "fullTitle": long });
    for shown in [alert, incident] {
        for field in ["title", "titleTruncated", "fullTitle"] {
            assert!(shown[field] == expected[field], "{field}");
        }
    }
    let read = desk
        .data(
            &format!(
                "query($alert: ID!, $incident: ID!) {{ alert(id: $alert) {{ {ALERT} }} alerts {{ nodes {{ {ALERT} }} }}
                    incident(by: {{ id: $incident }}) {{ alerts {{ nodes {{ {ALERT} }} }} }} }}"
            ),
            json!({ "alert": alert["id"], "incident": incident["id"] }),
        )
        .await;
    assert!(read["alert"] == expected && read["alerts"]["nodes"][0] == expected);
    assert!(read["incident"]["alerts"]["nodes"][0] == expected);
    // Code that reads only the start never writes it back.
    let id = alert["id"].as_str().expect("an id");
    desk.act("updateAlert", json!({ "alertId": id, "status": "ACTIVE" })).await;
    desk.act("resolveIncident", json!({ "incidentId": incident["id"] })).await;
    let read = desk.data(&format!("{{ alerts {{ nodes {{ {ALERT} }} }} }}"), json!({})).await;
    assert_eq!(each(&read["alerts"]["nodes"], "titleTruncated"), [&json!(true)]);
    assert!(read["alerts"]["nodes"][0]["fullTitle"] == long.as_str());
}

async fn a_generated_title_names_a_product_only_if_every_alert_names_it(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alert = |key: &str, product: Option<&str>| report(key, json!({ "title": key, "product": product }));
    for (number, (products, ending)) in [
        ([Some("QQ"), Some("QQ")], Some("QQ")),
        ([Some("QQ"), None], Some("multiple sources")),
        ([None, Some("QQ")], Some("multiple sources")),
        ([Some("QQ"), Some("Suricata")], Some("multiple sources")),
        ([None, None], None),
    ]
    .into_iter()
    .enumerate()
    {
        let [first, second] = products;
        let alerts = vec![alert(&format!("{number}a"), first), alert(&format!("{number}b"), second)];
        let made = desk.ingest(alerts, json!({ "newIncident": true })).await["incident"].take();
        let title = made["title"].as_str().expect("a title");
        assert_eq!(title.split_once(" reported by ").map(|(_, source)| source), ending, "{title}");
        // The statement that reads a linked incident's alerts agrees with the sum of a batch.
        let id = made["id"].as_str().expect("an id");
        desk.act(
            "updateIncident",
            json!({ "incidentId": id, "linkAlerts": desk.alerts(&[&format!("{number}c")]).await }),
        )
        .await;
        let title = desk.read(id).await["title"].take();
        let title = title.as_str().expect("a title");
        let expected = if products == [None, None] { None } else { Some("multiple sources") };
        assert_eq!(title.split_once(" reported by ").map(|(_, source)| source), expected, "{title}");
    }
}
