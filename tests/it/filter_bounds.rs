//! The bounds of a filter: its depth, its length and its characters.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(
    a_filter_has_its_bounds,
    a_text_to_look_for_has_its_bound,
    a_filter_that_no_database_can_store_is_refused,
);

async fn a_filter_has_its_bounds(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.incident("one").await;
    let query = "query($filter: IncidentFilterInput) { incidents(filter: $filter) { totalCount } }";
    let nested = |depth: usize| (1..depth).fold(json!({ "text": "one" }), |filter, _| json!({ "and": [filter] }));
    assert_eq!(desk.data(query, json!({ "filter": nested(8) })).await["incidents"]["totalCount"], 1);
    assert_eq!(desk.refused(query, json!({ "filter": nested(9) })).await.code, "LIMIT");
    // Both databases answer the largest filter that is accepted, in breadth, and in the depth that breadth has in SQL.
    for (joint, met) in [("or", 1), ("and", 0)] {
        let each: Vec<Value> = (0..500)
            .map(|n| match n {
                7 => json!({ "text": "one" }),
                8..27 => json!({ "text": "none" }),
                _ => json!({ "status": ["RESOLVED"] }),
            })
            .collect();
        assert_eq!(
            desk.data(query, json!({ "filter": { joint: each } })).await["incidents"]["totalCount"],
            met,
            "{joint}"
        );
    }
    for list in ["any", "all", "none"] {
        let names: Vec<String> = (0..500).map(|n| format!("tag {n}")).collect();
        let met = u64::from(list == "none");
        assert_eq!(
            desk.data(query, json!({ "filter": { "tags": { list: names } } })).await["incidents"]["totalCount"],
            met
        );
    }
    for joint in ["and", "or"] {
        let each: Vec<Value> = (0..250).map(|n| json!({ "product": [n.to_string()] })).collect();
        assert_eq!(
            desk.data(query, json!({ "filter": { joint: each } })).await["incidents"]["totalCount"],
            0,
            "{joint}"
        );
    }
    let entities = |count: usize| (0..count).map(|n| json!({ "value": n.to_string() })).collect::<Vec<_>>();
    assert_eq!(desk.data(query, json!({ "filter": { "entity": entities(500) } })).await["incidents"]["totalCount"], 0);
    let refusal = desk.refused(query, json!({ "filter": { "entity": entities(501) } })).await;
    assert_eq!((refusal.code.as_str(), refusal.now), ("LIMIT", json!({ "limit": 500 })));
    assert_eq!(refusal.path.as_deref(), Some("variables.filter.entity"));
    assert!(refusal.message.contains("501 are given"), "{}", refusal.message);
    let two = json!({ "filter": { "entity": entities(251), "not": { "entity": entities(250) } } });
    let refusal = desk.refused(query, two).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("filter")));
    assert!(refusal.message.contains("this one has 502"), "{}", refusal.message);
    let alerts = "query($filter: AlertFilterInput!) { alerts(filter: $filter) { totalCount } }";
    assert_eq!(desk.data(alerts, json!({ "filter": { "entity": entities(500) } })).await["alerts"]["totalCount"], 0);
    assert_eq!(desk.refused(alerts, json!({ "filter": { "entity": entities(501) } })).await.code, "LIMIT");
    for blank in [" \u{301} ", "\u{200b}\u{feff}"] {
        assert_eq!(desk.refused(query, json!({ "filter": { "text": blank } })).await.code, "INVALID");
    }
}

/// SQLite takes patterns of 50,000 bytes: the longest text fits, even if folding expands it the most.
async fn a_text_to_look_for_has_its_bound(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let query = "query($filter: IncidentFilterInput) { incidents(filter: $filter) { totalCount } }";
    for character in ["x", "%", "\u{fdfa}", "🦀"] {
        let text = |length: usize| json!({ "filter": { "not": { "text": character.repeat(length) } } });
        assert_eq!(desk.data(query, text(1_000)).await["incidents"]["totalCount"], 0);
        let refusal = desk.refused(query, text(1_001)).await;
        assert_eq!(
            (refusal.code.as_str(), refusal.path.as_deref(), &refusal.now),
            ("LIMIT", Some("filter.not.text"), &json!({ "limit": 1_000 }))
        );
    }
    let vast = json!({ "filter": { "text": "x".repeat(60_000) } });
    assert_eq!(desk.refused(query, vast).await.code, "LIMIT");
}

async fn a_filter_that_no_database_can_store_is_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let query = "query($filter: IncidentFilterInput) { incidents(filter: $filter) { totalCount } }";
    for filter in [
        json!({ "text": "a\u{0}" }),
        json!({ "product": ["a\u{0}"] }),
        json!({ "provider": ["a\u{0}"] }),
        json!({ "tags": { "none": ["a\u{0}"] } }),
        json!({ "not": { "entity": [{ "value": "a\u{0}" }] } }),
    ] {
        assert_eq!(desk.refused(query, json!({ "filter": filter })).await.code, "INVALID", "{filter}");
    }
    let alerts = "query($filter: AlertFilterInput!) { alerts(filter: $filter) { totalCount } }";
    for filter in
        [json!({ "text": "a\u{0}" }), json!({ "product": ["a\u{0}"] }), json!({ "entity": [{ "value": "a\u{0}" }] })]
    {
        assert_eq!(desk.refused(alerts, json!({ "filter": filter })).await.code, "INVALID", "{filter}");
    }
}
