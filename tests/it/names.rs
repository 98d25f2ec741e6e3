//! Names that people compare by reading: without characters that reverse the text, and without invisible ones.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(
    a_name_with_what_cannot_be_seen_is_refused,
    what_is_evidence_is_kept_to_the_letter,
    a_tag_of_before_the_rule_can_be_removed,
);

/// Direction controls, and other characters without a glyph.
const HIDDEN: [char; 18] = [
    '\u{202a}',
    '\u{202b}',
    '\u{202c}',
    '\u{202d}',
    '\u{202e}',
    '\u{2066}',
    '\u{2067}',
    '\u{2068}',
    '\u{2069}',
    '\u{200e}',
    '\u{200f}',
    '\u{61c}',
    '\u{200b}',
    '\u{ad}',
    '\u{2060}',
    '\u{feff}',
    '\u{200c}',
    '\u{e0041}',
];

async fn a_name_with_what_cannot_be_seen_is_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Named").await;
    for hidden in HIDDEN {
        let name = format!("ab{hidden}evil");
        for (mutation, input, path) in [
            ("upsertUser", json!({ "account": name }), "input.account"),
            ("upsertUser", json!({ "account": "kim", "name": name }), "input.name"),
            ("upsertGroup", json!({ "account": name }), "input.account"),
            ("upsertGroup", json!({ "account": "soc", "name": name }), "input.name"),
            ("addTags", json!({ "incidentId": incident, "tags": [name] }), "input.tags.0"),
            (
                "addTags",
                json!({ "incidentId": incident, "systemTags": [{ "name": name, "kind": "EXPERT" }] }),
                "input.systemTags.0.name",
            ),
            ("createIncident", json!({ "title": "x", "tags": [name] }), "input.tags.0"),
            ("updateIncident", json!({ "incidentId": incident, "addTags": [name] }), "input.addTags.0"),
            ("createView", json!({ "name": name, "filter": {} }), "input.name"),
        ] {
            let refusal = desk.deny(mutation, input).await;
            let found = (refusal.code.as_str(), refusal.path.as_deref());
            assert_eq!(found, ("INVALID", Some(path)), "{mutation} with {hidden:?}: {refusal:?}");
        }
        let refusal = desk
            .refused(
                "mutation($input: CreateAttachmentInput!) { createAttachment(input: $input) { attachment { id } } }",
                json!({ "input": { "incidentId": incident, "name": format!("{name}.png"), "type": "PNG", "size": 10 } }),
            )
            .await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("input.name")), "{hidden:?}");
    }
    for name in ["👩\u{200d}🚒 on call", "می\u{200c}خواهم", "אבטחה", "Tier 2: Phishing"] {
        desk.act("addTags", json!({ "incidentId": incident, "tags": [name] })).await;
        desk.act("upsertUser", json!({ "account": name, "name": name })).await;
    }
}

async fn what_is_evidence_is_kept_to_the_letter(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let text = "invoice\u{202e}gnp.exe from \u{200f}אבג\u{200b}";
    let entity = json!({ "kind": "FILE", "value": text });
    let made = desk
        .data(
            "mutation($title: String!, $alert: AlertInput!) {
                createIncident(input: { title: $title, description: $title }) { incident { id title description } }
                ingestAlert(input: { alert: $alert, into: { newIncident: true } }) { alerts { title product entities { value } } }
             }",
            json!({ "title": text, "alert": {
                "provider": "Sensor", "providerAlertId": "1", "title": text, "product": text, "entities": [entity] } }),
        )
        .await;
    let incident = &made["createIncident"]["incident"];
    assert_eq!((&incident["title"], &incident["description"]), (&json!(text), &json!(text)));
    let expected = json!({ "title": text, "product": text, "entities": [{ "value": text }] });
    assert_eq!(made["ingestAlert"]["alerts"][0], expected);
    let written = desk.act("addComment", json!({ "incidentId": incident["id"], "body": text })).await;
    assert_eq!(written["comment"]["body"], text);
    assert_eq!(written["comment"]["html"], format!("<p>{text}</p>\n"), "a paragraph is an island of its own direction");
}

async fn a_tag_of_before_the_rule_can_be_removed(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Old").await;
    desk.act("addTags", json!({ "incidentId": incident, "tags": ["zero"] })).await;
    let old = "zero\u{200b}";
    desk.act("removeTags", json!({ "incidentId": incident, "tags": [old] })).await;
    let tags: &Value = &desk.read(&incident).await["tags"];
    assert_eq!(tags, &json!([{ "name": "zero", "kind": "CUSTOM" }]), "another tag, and no refusal");
}
