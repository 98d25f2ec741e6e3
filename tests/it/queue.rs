//! Queues and lists: the default queue, orders, pages, counts, facets and limits, all of one snapshot.

use std::cmp::Ordering;

use chrono::Duration;
use futures_util::future::join;
use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::stream::changes;
use crate::support::triage::report;

each_database!(
    a_resolved_incident_is_in_a_queue_only_if_asked_for,
    every_order_is_paged_without_a_repeat_or_a_loss,
    keys_of_different_directions_are_paged_too,
    each_facet_shows_the_other_choices,
    a_foreign_cursor_is_refused,
    a_page_has_its_bounds,
    words_have_the_same_order_wherever_the_desk_runs,
    all_of_one_read_is_one_snapshot,
    an_incident_is_read_at_least_as_of_a_position,
    one_fragment_serves_the_query_and_the_stream,
    alerts_are_listed_newest_first_and_paged_both_ways,
);

const ALL: &str = "[NEW, ACTIVE, RESOLVED, REDIRECTED]";

/// A title, and its handwritten key in the order of docs/PRODUCT.md, P12.
const TITLES: [(&str, &str); 8] = [
    ("zulu", "zulu"),
    ("Éclair Beta", "eclair beta"),
    ("ECLAIR BETA", "eclair beta"),
    ("Straße 9", "strasse 9"),
    ("strasse 10", "strasse 10"),
    ("alpha", "alpha"),
    ("漢字", "漢字"),
    ("_underscore", "_underscore"),
];

/// Creates sixty incidents: three share each instant; one in four has no first, and one in three no last activity.
async fn sixty(desk: &TestDesk) -> Vec<Value> {
    let hour = |n: i64| (crate::support::desk::monday() - Duration::hours(200 - n)).to_rfc3339();
    for n in 0..60_i64 {
        if n % 3 == 0 {
            desk.clock.advance(Duration::milliseconds(250));
        }
        // Two titles differ only after their 256th character.
        let title = match n {
            7 => format!("{}b", "x".repeat(256)),
            8 => format!("{}a", "X".repeat(256)),
            n => TITLES[n as usize % TITLES.len()].0.to_owned(),
        };
        let severity = ["INFORMATIONAL", "LOW", "MEDIUM", "HIGH"][n as usize * 7 % 4];
        let status = ["NEW", "ACTIVE", "RESOLVED"][n as usize / 5 % 3];
        let input = json!({
            "title": title,
            "severity": severity,
            "status": status,
            "firstActivityAt": if n % 4 == 0 { Value::Null } else { json!(hour(n * 7 % 12)) },
            "lastActivityAt": if n % 3 == 0 { Value::Null } else { json!(hour(20 + n * 11 % 9)) },
        });
        let made = "mutation($input: CreateIncidentInput!) { createIncident(input: $input) { incident { id } } }";
        desk.data(made, json!({ "input": input })).await;
    }
    let query = format!("{{ incidents(filter: {{ status: {ALL} }}, first: 100) {{ nodes {{ {FIELDS} }} }} }}");
    desk.data(&query, json!({})).await["incidents"]["nodes"].as_array().expect("nodes").clone()
}

const FIELDS: &str = "id number title severity status createdAt updatedAt firstActivityAt lastActivityAt resolvedAt";

fn title_key(title: &str) -> String {
    if title.len() > 200 {
        return "x".repeat(256);
    }
    TITLES.iter().find(|known| known.0 == title).expect("a known title").1.to_owned()
}

/// Compares in the order of docs/PRODUCT.md, P12, without code of the program.
fn compare(a: &Value, b: &Value, keys: &[(&str, bool)]) -> Ordering {
    for (field, ascending) in keys {
        let way = |order: Ordering| if *ascending { order } else { order.reverse() };
        let time = |name: &str| match (a[name].as_str(), b[name].as_str()) {
            (Some(a), Some(b)) => {
                let read = |text: &str| chrono::DateTime::parse_from_rfc3339(text).expect("an instant");
                way(read(a).cmp(&read(b)))
            }
            // Missing values come last in both directions.
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        let rank = |words: &[&str], name: &str| {
            let place = |value: &Value| words.iter().position(|word| value[name] == **word).expect("a known word");
            way(place(a).cmp(&place(b)))
        };
        let order = match *field {
            "UPDATED_AT" => time("updatedAt"),
            "CREATED_AT" => time("createdAt"),
            "FIRST_ACTIVITY_AT" => time("firstActivityAt"),
            "LAST_ACTIVITY_AT" => time("lastActivityAt"),
            "RESOLVED_AT" => time("resolvedAt"),
            "SEVERITY" => rank(&["INFORMATIONAL", "LOW", "MEDIUM", "HIGH"], "severity"),
            "STATUS" => rank(&["NEW", "ACTIVE", "RESOLVED"], "status"),
            "NUMBER" => way(a["number"].as_i64().cmp(&b["number"].as_i64())),
            "TITLE" => {
                let key = |value: &Value| title_key(value["title"].as_str().expect("a title"));
                way(key(a).cmp(&key(b)))
            }
            other => panic!("no field {other}"),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    let ids = a["id"].as_str().cmp(&b["id"].as_str());
    if keys.last().is_some_and(|key| key.1) { ids } else { ids.reverse() }
}

/// Pages through a queue of all statuses by sevens, both ways, and compares each page with the sorted list.
async fn pages_are(desk: &TestDesk, incidents: &[Value], keys: &[(&str, bool)]) {
    let mut sorted = incidents.to_vec();
    sorted.sort_by(|a, b| compare(a, b, keys));
    let sorted: Vec<&str> = sorted.iter().map(|incident| incident["id"].as_str().expect("an id")).collect();
    let order: Vec<Value> = keys
        .iter()
        .map(|(field, ascending)| json!({ "field": field, "direction": if *ascending { "ASC" } else { "DESC" } }))
        .collect();
    for forward in [true, false] {
        let (size, from) = if forward { ("first", "after") } else { ("last", "before") };
        let query = format!(
            "query($order: [IncidentOrderInput!], $cursor: String) {{
                incidents(filter: {{ status: {ALL} }}, orderBy: $order, {size}: 7, {from}: $cursor) {{
                    totalCount edges {{ cursor node {{ id }} }}
                    pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
                }}
             }}"
        );
        let (mut cursor, mut seen) = (Value::Null, 0);
        while seen < sorted.len() {
            let page = &desk.data(&query, json!({ "order": order, "cursor": cursor })).await["incidents"];
            let ids: Vec<&str> = page["edges"]
                .as_array()
                .expect("edges")
                .iter()
                .map(|e| e["node"]["id"].as_str().expect("an id"))
                .collect();
            let (start, end) = if forward {
                (seen, (seen + 7).min(sorted.len()))
            } else {
                (sorted.len().saturating_sub(seen + 7), sorted.len() - seen)
            };
            assert_eq!(ids, sorted[start..end], "{keys:?}, forward: {forward}, {start}..{end}");
            let info = &page["pageInfo"];
            assert_eq!(info["hasPreviousPage"], start > 0, "{keys:?}, forward: {forward}, {start}..{end}");
            assert_eq!(info["hasNextPage"], end < sorted.len(), "{keys:?}, forward: {forward}, {start}..{end}");
            assert_eq!(page["totalCount"], sorted.len());
            let edge = if forward { "endCursor" } else { "startCursor" };
            cursor = info[edge].clone();
            assert!(cursor.is_string());
            seen += ids.len();
        }
    }
}

async fn every_order_is_paged_without_a_repeat_or_a_loss(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incidents = sixty(&desk).await;
    assert_eq!(incidents.len(), 60);
    for field in [
        "UPDATED_AT",
        "CREATED_AT",
        "FIRST_ACTIVITY_AT",
        "LAST_ACTIVITY_AT",
        "RESOLVED_AT",
        "SEVERITY",
        "NUMBER",
        "STATUS",
        "TITLE",
    ] {
        for ascending in [true, false] {
            pages_are(&desk, &incidents, &[(field, ascending)]).await;
        }
    }
}

async fn keys_of_different_directions_are_paged_too(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incidents = sixty(&desk).await;
    for keys in [
        &[("SEVERITY", false), ("UPDATED_AT", true)][..],
        &[("STATUS", true), ("FIRST_ACTIVITY_AT", false)],
        &[("LAST_ACTIVITY_AT", true), ("TITLE", true)],
        &[("SEVERITY", true), ("STATUS", false), ("TITLE", true)],
        &[("FIRST_ACTIVITY_AT", false), ("LAST_ACTIVITY_AT", false), ("CREATED_AT", false)],
        &[("STATUS", false), ("NUMBER", true), ("SEVERITY", false)],
        &[("RESOLVED_AT", false), ("SEVERITY", true)],
        &[("SEVERITY", false), ("RESOLVED_AT", true), ("TITLE", false)],
        &[("SEVERITY", false), ("SEVERITY", false), ("SEVERITY", false)],
    ] {
        pages_are(&desk, &incidents, keys).await;
    }
}

async fn titles(desk: &TestDesk, filter: &str) -> Vec<String> {
    let query = format!("{{ incidents{filter} {{ nodes {{ title }} totalCount }} }}");
    let queue = desk.data(&query, json!({})).await["incidents"].take();
    let titles: Vec<String> = queue["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| node["title"].as_str().expect("a title").to_owned())
        .collect();
    assert_eq!(queue["totalCount"], titles.len(), "{filter}");
    titles
}

async fn a_resolved_incident_is_in_a_queue_only_if_asked_for(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for status in ["NEW", "ACTIVE", "RESOLVED"] {
        desk.clock.advance(Duration::seconds(1));
        let input = json!({ "title": status, "status": status });
        desk.data(
            "mutation($input: CreateIncidentInput!) { createIncident(input: $input) { changed } }",
            json!({ "input": input }),
        )
        .await;
    }
    assert_eq!(titles(&desk, "").await, ["ACTIVE", "NEW"], "newest update first");
    assert_eq!(titles(&desk, "(filter: { text: \"e\" })").await, ["ACTIVE", "NEW"]);
    assert_eq!(titles(&desk, "(filter: { or: [{ text: \"res\" }, { text: \"new\" }] })").await, ["NEW"]);
    assert_eq!(titles(&desk, "(filter: { status: [RESOLVED] })").await, ["RESOLVED"]);
    assert_eq!(titles(&desk, "(filter: { status: [NEW] })").await, ["NEW"]);
    assert_eq!(titles(&desk, "(filter: { status: [] })").await, [""; 0], "an empty list is met by none");
    assert_eq!(
        titles(&desk, "(filter: { or: [{ status: [RESOLVED] }, { text: \"new\" }] })").await,
        ["RESOLVED", "NEW"]
    );
    assert_eq!(titles(&desk, "(filter: { and: [{ not: { status: [NEW] } }] })").await, ["RESOLVED", "ACTIVE"]);
}

async fn each_facet_shows_the_other_choices(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ann = desk.user("ann", "RESPONDER").await;
    let made = "mutation($input: CreateIncidentInput!) { createIncident(input: $input) { incident { id } } }";
    let rows = [
        ("NEW", "HIGH", true, &["vip"][..], "Suricata"),
        ("NEW", "LOW", false, &["vip", "phishing"], "Suricata"),
        ("ACTIVE", "HIGH", true, &["phishing"], "Sentinel"),
        ("RESOLVED", "HIGH", true, &["vip"], "Sentinel"),
    ];
    for (n, (status, severity, owned, tags, product)) in rows.into_iter().enumerate() {
        let alert = json!({ "provider": "p", "providerAlertId": n.to_string(), "product": product, "title": "t", "severity": "LOW" });
        let alert = desk
            .data(
                "mutation($alert: AlertInput!) { ingestAlert(input: { alert: $alert }) { alerts { id } } }",
                json!({ "alert": alert }),
            )
            .await["ingestAlert"]["alerts"][0]["id"]
            .take();
        let owner = if owned { json!({ "user": ann }) } else { Value::Null };
        let input = json!({ "title": "t", "status": status, "severity": severity, "owner": owner, "tags": tags, "alerts": [alert] });
        desk.data(made, json!({ "input": input })).await;
    }
    let facets = "facets {
        status { value count } severity { value count } owner { value { account } count }
        tags { value { name } count } product { value count }
    }";
    let query = format!(
        "query($filter: IncidentFilterInput) {{ incidents(filter: $filter, first: 0) {{ totalCount nodes {{ id }} {facets} }} }}"
    );
    // One incident meets all conditions; each facet counts without its own field's condition.
    let filter = json!({
        "status": ["NEW"], "severity": ["HIGH"], "owner": { "users": [ann] }, "tags": { "any": ["VIP"] }, "product": ["Suricata"],
    });
    let queue = desk.data(&query, json!({ "filter": filter })).await["incidents"].take();
    assert_eq!(
        queue,
        json!({
            "totalCount": 1,
            "nodes": [],
            "facets": {
                "status": [{ "value": "NEW", "count": 1 }],
                "severity": [{ "value": "HIGH", "count": 1 }],
                "owner": [{ "value": { "account": "ann" }, "count": 1 }],
                "tags": [{ "value": { "name": "vip" }, "count": 1 }],
                "product": [{ "value": "Suricata", "count": 1 }],
            },
        })
    );
    let by = async |filter: Value, facet: &str| {
        let found = desk.data(&query, json!({ "filter": filter })).await["incidents"]["facets"][facet].take();
        let counts = found.as_array().expect("counts").iter();
        counts.map(|each| (each["value"].clone(), each["count"].as_u64().expect("a count"))).collect::<Vec<_>>()
    };
    assert_eq!(
        by(json!({ "status": ["NEW"] }), "status").await,
        [(json!("NEW"), 2), (json!("ACTIVE"), 1), (json!("RESOLVED"), 1)]
    );
    assert_eq!(
        by(json!({}), "status").await,
        [(json!("NEW"), 2), (json!("ACTIVE"), 1), (json!("RESOLVED"), 1)],
        "the default drops too"
    );
    assert_eq!(
        by(json!({ "severity": ["LOW"] }), "severity").await,
        [(json!("HIGH"), 2), (json!("LOW"), 1)],
        "worst first"
    );
    assert_eq!(
        by(json!({ "owner": { "unassigned": true } }), "owner").await,
        [(json!({ "account": "ann" }), 2), (Value::Null, 1)]
    );
    assert_eq!(
        by(json!({ "tags": { "all": ["vip", "phishing"] } }), "tags").await,
        [(json!({ "name": "phishing" }), 2), (json!({ "name": "vip" }), 2)]
    );
    assert_eq!(
        by(json!({ "product": ["SENTINEL"] }), "product").await,
        [(json!("Suricata"), 2), (json!("Sentinel"), 1)]
    );
    // A condition on the field below the top level stays.
    assert_eq!(
        by(json!({ "status": ["NEW"], "not": { "status": ["ACTIVE"] } }), "status").await,
        [(json!("NEW"), 2), (json!("RESOLVED"), 1)]
    );
}

async fn a_foreign_cursor_is_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for title in ["one", "two"] {
        desk.incident(title).await;
    }
    let query = "query($filter: IncidentFilterInput, $order: [IncidentOrderInput!], $after: String) {
        incidents(filter: $filter, orderBy: $order, after: $after, first: 1) { edges { cursor } }
    }";
    let cursor = async |filter: Value, order: Value| {
        let page = desk.data(query, json!({ "filter": filter, "order": order })).await;
        page["incidents"]["edges"][0]["cursor"].as_str().expect("a cursor").to_owned()
    };
    let updated = cursor(json!({}), Value::Null).await;
    let same = json!([{ "field": "UPDATED_AT" }]);
    desk.data(query, json!({ "order": same, "after": updated })).await;
    desk.data(query, json!({ "filter": { "status": ["ACTIVE", "NEW"] }, "after": updated })).await;
    let by_number = cursor(json!({}), json!([{ "field": "NUMBER" }])).await;
    let text = |bytes: &[u8]| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    };
    let forged = |cursor: &str, from: &str, to: &str| {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(cursor).expect("base64");
        let json = String::from_utf8(bytes).expect("text");
        let altered = json.replace(from, to);
        assert_ne!(json, altered, "{json}");
        text(altered.as_bytes())
    };
    let by_title = cursor(json!({}), json!([{ "field": "TITLE" }])).await;
    let alert = "0198f1c2d3e47abc8def0123456789ab".to_owned();
    for (order, after) in [
        (Value::Null, by_number.clone()),
        (json!([{ "field": "UPDATED_AT", "direction": "ASC" }]), updated.clone()),
        (json!([{ "field": "NUMBER" }]), forged(&by_number, "{\"number\":2}", "{\"text\":\"2\"}")),
        (json!([{ "field": "NUMBER" }]), forged(&by_number, "{\"number\":2}", "{\"small\":2}")),
        (json!([{ "field": "TITLE" }]), forged(&by_title, "two", "\\u0000")),
        (Value::Null, "…".to_owned()),
        (Value::Null, String::new()),
        (Value::Null, text(b"{}")),
        (Value::Null, "7".to_owned()),
        (Value::Null, alert),
    ] {
        let refusal = desk.refused(query, json!({ "order": order, "after": after })).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("after")), "{order} {after}");
    }
    let other_filter = json!({ "filter": { "severity": ["HIGH"] }, "after": updated });
    assert_eq!(desk.refused(query, other_filter).await.code, "INVALID");
    let in_alerts = "query($after: String) { alerts(after: $after) { totalCount } }";
    assert_eq!(desk.refused(in_alerts, json!({ "after": updated })).await.code, "INVALID");
    let id = desk.incident("three").await;
    let nested = "query($id: ID!, $after: String) {
        incident(by: { id: $id }) { activity(after: $after) { totalCount } }
    }";
    assert_eq!(desk.refused(nested, json!({ "id": id, "after": updated })).await.code, "INVALID");
}

async fn a_page_has_its_bounds(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.incident("one").await;
    let refused = async |arguments: &str| {
        let refusal = desk.refused(&format!("{{ incidents({arguments}) {{ totalCount }} }}"), json!({})).await;
        (refusal.code, refusal.path.unwrap_or_default())
    };
    let said = |code: &str, path: &str| (code.to_owned(), path.to_owned());
    assert_eq!(refused("first: 101").await, said("LIMIT", "first"));
    assert_eq!(refused("last: 101").await, said("LIMIT", "last"));
    assert_eq!(refused("first: -1").await, said("INVALID", "first"));
    assert_eq!(refused("first: 1, last: 1").await, said("INVALID", "last"));
    let keys = "{ field: NUMBER }, { field: TITLE }, { field: STATUS }, { field: SEVERITY }";
    assert_eq!(refused(&format!("orderBy: [{keys}]")).await, said("LIMIT", "orderBy"));
    let none =
        desk.data("{ incidents(first: 0) { totalCount nodes { id } pageInfo { hasNextPage } } }", json!({})).await;
    assert_eq!(none["incidents"], json!({ "totalCount": 1, "nodes": [], "pageInfo": { "hasNextPage": true } }));
    desk.data("{ incidents(first: 100) { totalCount } }", json!({})).await;
}

/// In bytes, capitals come first; in a dictionary they do not, and the tests' PostgreSQL databases use a dictionary's
/// order.
async fn words_have_the_same_order_wherever_the_desk_runs(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let words = ["apple", "Banana", "cherry", "Éclair", "Zebra"];
    let alerts = words.map(|word| {
        let entities = json!([{ "kind": "DEVICE", "value": if word == "Zebra" { "HOST-1" } else { "host-1" } }]);
        report(word, json!({ "product": word, "category": word, "provider": word, "entities": entities }))
    });
    let made = desk.ingest(alerts.to_vec(), json!({ "newIncident": true })).await;
    assert_eq!(
        made["incident"]["title"],
        "Multi-stage incident involving Banana & Zebra & 3 more tactics on one endpoint reported by multiple sources"
    );
    assert_eq!(made["incident"]["products"], json!(["Banana", "Zebra", "apple", "cherry", "Éclair"]));
    let shown = desk
        .data("{ incidents { facets { product { value } } nodes { entities { entities { value } } } } }", json!({}))
        .await["incidents"]
        .take();
    let products = shown["facets"]["product"].as_array().expect("a facet").iter();
    let products: Vec<&str> = products.filter_map(|choice| choice["value"].as_str()).collect();
    assert_eq!(products, ["Banana", "Zebra", "apple", "cherry", "Éclair"]);
    assert_eq!(shown["nodes"][0]["entities"][0]["entities"], json!([{ "value": "HOST-1" }]));
}

async fn all_of_one_read_is_one_snapshot(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.incident("before").await;
    // The snapshot that the resolvers of one operation read.
    let reader = desk.app.store.read().await.expect("a snapshot");
    let head = reader.head().await.expect("a head");
    desk.incident("after").await;
    let manager = desk.app.local_caller(None).await.expect("the manager");
    let all = watchfloor::domain::filter::IncidentFilter::default();
    let filter = watchfloor::domain::filter::QueueFilter::resolve(&all, &manager).expect("a filter");
    assert_eq!(reader.queue_count(&filter).await.expect("a count"), 1);
    assert_eq!(reader.queue_ids(&filter, u64::from(u32::MAX)).await.expect("ids").len(), 1);
    let statuses = reader.facet_status(&filter).await.expect("a facet");
    assert_eq!(statuses.iter().map(|facet| facet.count).sum::<u64>(), 1);
    assert_eq!(reader.head().await.expect("a head"), head);
    assert_eq!(changes(&reader, 0, 10).await.len() as u64, head.offset);
    drop(reader);

    // Through the API: during concurrent writes, position, rows, count and facets belong to one moment.
    let query = "{ incidents(first: 100) {
        position totalCount nodes { id activity { totalCount } } facets { status { count } severity { count } }
    } }";
    let writing = async {
        for n in 0..20 {
            desk.incident(&format!("meanwhile {n}")).await;
        }
    };
    let reading = async {
        for _ in 0..20 {
            let queue = desk.data(query, json!({})).await["incidents"].take();
            let position = queue["position"].as_str().expect("a position");
            let position = watchfloor::domain::position::Position::parse(position).expect("a position");
            let count = queue["totalCount"].as_u64().expect("a count");
            assert_eq!(position.offset, count, "one change made each incident");
            assert_eq!(position, position.of_queue(filter.fingerprint()), "the position is of a page of this filter");
            assert_eq!(queue["nodes"].as_array().expect("nodes").len() as u64, count);
            assert_eq!(queue["facets"]["status"][0]["count"], count);
            assert_eq!(queue["facets"]["severity"][0]["count"], count);
        }
    };
    join(writing, reading).await;
}

async fn an_incident_is_read_at_least_as_of_a_position(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = desk
        .data("mutation { createIncident(input: { title: \"one\" }) { incident { id number } position } }", json!({}))
        .await["createIncident"]
        .take();
    let query = "query($by: IncidentByInput!, $position: String) { incident(by: $by, minPosition: $position) { id } }";
    let (id, number, position) = (&made["incident"]["id"], &made["incident"]["number"], &made["position"]);
    for by in [json!({ "id": id }), json!({ "number": number })] {
        assert_eq!(desk.data(query, json!({ "by": by, "position": position })).await["incident"]["id"], *id);
    }
    let known = watchfloor::domain::position::Position::parse(position.as_str().expect("text")).expect("a position");
    let ahead = watchfloor::domain::position::Position { offset: known.offset + 1, ..known };
    let rewound = watchfloor::domain::position::Position { check: [7; 8], ..known };
    for (other, code) in
        [(ahead.to_string(), "CONFLICT"), (rewound.to_string(), "CONFLICT"), ("x".to_owned(), "INVALID")]
    {
        assert_eq!(desk.refused(query, json!({ "by": { "id": id }, "position": other })).await.code, code);
    }
    assert_eq!(desk.refused(query, json!({ "by": { "id": id, "number": number } })).await.code, "INVALID");
    assert_eq!(desk.refused(query, json!({ "by": {} })).await.code, "INVALID");
    assert_eq!(desk.refused(query, json!({ "by": { "number": 99 } })).await.code, "NOT_FOUND");
}

async fn one_fragment_serves_the_query_and_the_stream(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let fragment = "fragment Row on QueueFields {
        id number reference version title severity computedSeverity severityOverride status
        classification { kind threat activity reason } owner { id kind account name } tags { name kind }
        alertCount commentCount products providers createdAt updatedAt firstActivityAt lastActivityAt firstAssignedAt
        resolvedAt redirectedToId
    }";
    let stream = format!(
        "subscription {{ incidentQueue {{ __typename ... on QueueEntered {{ row {{ ...Row }} }} }} }} {fragment}"
    );
    let mut queue = desk.follow(&stream, json!({})).await;
    assert_eq!(queue.item().await["__typename"], "Live");
    desk.data(
        "mutation { createIncident(input: {
            title: \"one\", severity: HIGH, owner: { me: true }, tags: [\"vip\"], classification: { truePositive: PHISHING },
            firstActivityAt: \"2026-11-20T08:00:00Z\"
        }) { changed } }",
        json!({}),
    )
    .await;
    let live = queue.change().await["row"].take();
    let page = desk.data(&format!("{{ incidents {{ nodes {{ ...Row }} }} }} {fragment}"), json!({})).await;
    assert_eq!(live, page["incidents"]["nodes"][0]);
    assert_eq!(live["owner"]["account"], "local-manager");
}

async fn alerts_are_listed_newest_first_and_paged_both_ways(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("one").await;
    let alerts: Vec<Value> = (0..17)
        .map(|n| {
            json!({
                "provider": if n % 2 == 0 { "even" } else { "odd" }, "providerAlertId": n.to_string(),
                "product": if n < 9 { "Low" } else { "High" }, "title": format!("Alert № {n}"),
                "severity": if n % 5 == 0 { "HIGH" } else { "LOW" },
                "entities": [{ "kind": "DEVICE", "value": format!("HOST-{}", n % 3) }],
            })
        })
        .collect();
    let ingest = "mutation($alerts: [AlertInput!]!, $into: IngestTarget) {
        ingestAlerts(input: { alerts: $alerts, into: $into }) { alerts { id } }
    }";
    let ids = async |alerts: &[Value], into: Value| -> Vec<String> {
        let made = desk.data(ingest, json!({ "alerts": alerts, "into": into })).await;
        let made = made["ingestAlerts"]["alerts"].as_array().expect("alerts").clone();
        made.into_iter().map(|alert| alert["id"].as_str().expect("an id").to_owned()).collect()
    };
    let linked = ids(&alerts[..5], json!({ "incident": incident })).await;
    let free = ids(&alerts[5..], Value::Null).await;
    let newest_first: Vec<String> = linked.iter().chain(&free).rev().cloned().collect();

    let page = "query($filter: AlertFilterInput, $first: Int, $after: String, $last: Int, $before: String) {
        alerts(filter: $filter, first: $first, after: $after, last: $last, before: $before) {
            totalCount nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
    }";
    let nodes = |page: &Value| -> Vec<String> {
        let nodes = page["nodes"].as_array().expect("nodes").iter();
        nodes.map(|node| node["id"].as_str().expect("an id").to_owned()).collect()
    };
    for forward in [true, false] {
        let (mut seen, mut cursor) = (0, Value::Null);
        while seen < newest_first.len() {
            let arguments = if forward {
                json!({ "filter": {}, "first": 7, "after": cursor })
            } else {
                json!({ "filter": {}, "last": 7, "before": cursor })
            };
            let found = desk.data(page, arguments).await["alerts"].take();
            let (start, end) =
                if forward { (seen, (seen + 7).min(17)) } else { (17_usize.saturating_sub(seen + 7), 17 - seen) };
            assert_eq!(nodes(&found), newest_first[start..end]);
            assert_eq!(found["totalCount"], 17);
            assert_eq!(found["pageInfo"]["hasPreviousPage"], start > 0);
            assert_eq!(found["pageInfo"]["hasNextPage"], end < 17);
            cursor = found["pageInfo"][if forward { "endCursor" } else { "startCursor" }].clone();
            seen += end - start;
        }
    }
    let count = async |filter: Value| {
        let found = desk.data(page, json!({ "filter": filter, "first": 100 })).await["alerts"].take();
        assert_eq!(found["totalCount"], nodes(&found).len(), "{filter}");
        nodes(&found)
    };
    assert_eq!(count(json!({ "linked": false })).await, newest_first[..12]);
    assert_eq!(count(json!({ "linked": true })).await, newest_first[12..]);
    assert_eq!(count(json!({ "incident": incident })).await, linked, "of one incident, in the order they came in");
    assert_eq!(count(json!({ "incident": incident, "severity": ["HIGH"] })).await, linked[..1]);
    assert_eq!(count(json!({ "provider": ["odd"] })).await.len(), 8);
    assert_eq!(count(json!({ "product": ["LOW"], "provider": ["Even"] })).await.len(), 5);
    assert_eq!(count(json!({ "entity": [{ "value": "host-1" }] })).await.len(), 6);
    assert_eq!(count(json!({ "entity": [{ "kind": "USER", "value": "host-1" }] })).await.len(), 0);
    assert_eq!(count(json!({ "entity": [] })).await.len(), 0, "an empty list is met by none");
    assert_eq!(count(json!({ "status": [] })).await.len(), 0);
    assert_eq!(count(json!({ "text": "ALERT no 16" })).await.len(), 1);
    assert_eq!(count(json!({ "text": "%" })).await.len(), 0, "no wildcard");

    let nested = "query($id: ID!) { incident(by: { id: $id }) {
        first: alerts(first: 2) { ...Page } last: alerts(last: 2) { ...Page } all: alerts { ...Page }
    } }
    fragment Page on AlertConnection { totalCount nodes { id } pageInfo { hasNextPage hasPreviousPage } }";
    let found = desk.data(nested, json!({ "id": incident })).await["incident"].take();
    for (name, range, previous, next) in
        [("first", 0..2, false, true), ("last", 3..5, true, false), ("all", 0..5, false, false)]
    {
        assert_eq!(nodes(&found[name]), linked[range], "{name}");
        assert_eq!(found[name]["totalCount"], 5);
        assert_eq!(found[name]["pageInfo"], json!({ "hasNextPage": next, "hasPreviousPage": previous }), "{name}");
    }
}
