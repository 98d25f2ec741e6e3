//! Bookmarks, through the public API: added, returned byte for byte, removed, and kept through other changes.

use serde_json::{Value, json};
use watchfloor::domain::IncidentId;
use watchfloor::domain::change::{BookmarkAction, Entry, EntryKind};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::stream::{QUEUE, present};
use crate::support::triage::{BOOKMARK, each, laid_over, report};

each_database!(
    a_bookmark_is_given_back_as_it_was_and_stays_readable_in_the_log,
    the_columns_of_a_result_keep_their_order,
    rows_come_back_to_the_letter,
    what_is_no_bookmark_is_refused_and_changes_nothing,
    an_incident_has_at_most_twenty_bookmarks,
    bookmarks_never_conflict_with_what_others_do,
    responders_pin_and_take_away,
    the_entities_of_a_bookmark_are_not_the_incidents,
    bookmarks_are_paged_both_ways,
    the_bookmarks_that_stand_move_together,
    a_merge_and_its_undo_say_which_bookmarks_move,
);

const LIST: &str =
    "query($id: ID!, $first: Int, $after: String, $last: Int, $before: String) { incident(by: { id: $id }) {
    bookmarks(first: $first, after: $after, last: $last, before: $before) {
        totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } nodes { id title } } } }";

/// Returns a hunting result with the fields of `over`.
fn finding(incident: &str, over: Value) -> Value {
    let base = json!({
        "incidentId": incident, "title": "Two more hosts resolved the beacon's domain",
        "query": "DnsEvents | where Name == 'cdn-telemetry.example'", "rows": [{ "Computer": "FIN-WS-0211", "count_": 418 }],
    });
    laid_over(base, over)
}

async fn bookmarks(desk: &TestDesk, incident: &str) -> Value {
    desk.data(LIST, json!({ "id": incident })).await["incident"]["bookmarks"].take()
}

async fn a_bookmark_is_given_back_as_it_was_and_stays_readable_in_the_log(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    let incident = desk.incident("Beacon to a new domain").await;
    let mut stream = desk.follow(QUEUE, json!({ "after": present(&desk, &Value::Null).await })).await;
    stream.items_until("Live").await;
    // The order of columns, numbers of 64 bits and nested values must be preserved.
    let rows = r#"[{"TimeGenerated":"2026-11-23T06:12:09.1234567Z","LogonId":18446744073709551615,"Computer":"FIN-WS-0211",
        "Bytes":-9007199254740993,"Score":0.1,"Raw":{"z":[1,null,"Ünïcode 🦀"],"a":{}}},{}]"#;
    let given = json!({
        "title": "  Two more hosts resolved the beacon's domain ", "query": "DnsEvents\n| take 2\n", "note": "both in **finance**",
        "entities": [{ "kind": "DEVICE", "value": "FIN-WS-0211" }, { "kind": "DOMAIN", "value": "cdn-telemetry.example", "verdict": "MALICIOUS" }],
        "eventAt": "2026-11-23T06:12:09.1234567Z", "rows": serde_json::from_str::<Value>(rows).expect("JSON"), "clientMutationId": "hunt 7",
    });
    let pinned = desk.act_as(Some("ana"), "addBookmark", laid_over(given, json!({ "incidentId": incident }))).await;
    let bookmark = &pinned["bookmark"];
    let id = bookmark["id"].clone();
    let expected = json!({
        "id": id, "title": "Two more hosts resolved the beacon's domain", "query": "DnsEvents\n| take 2\n", "note": "both in **finance**",
        "entities": [{ "kind": "DEVICE", "value": "FIN-WS-0211", "verdict": null }, { "kind": "DOMAIN", "value": "cdn-telemetry.example", "verdict": "MALICIOUS" }],
        "eventAt": "2026-11-23T06:12:09.123456+00:00", "rows": serde_json::from_str::<Value>(rows).expect("JSON"),
        "author": { "account": "ana" }, "createdAt": "2026-11-23T08:00:00+00:00", "removedAt": null, "incident": { "id": incident },
    });
    assert_eq!(bookmark, &expected);
    assert_eq!((&pinned["incident"]["version"], &pinned["clientMutationId"]), (&json!(2), &json!("hunt 7")));

    let item = stream.change().await;
    assert_eq!((&item["__typename"], &item["clientMutationId"]), (&json!("QueueUpdated"), &json!("hunt 7")));
    assert_eq!((&item["row"]["version"], &item["changedFields"]), (&json!(2), &json!([])));
    let entry =
        json!({ "kind": "BOOKMARK", "bookmarkAction": "ADDED", "bookmarkId": id, "bookmarkTitle": bookmark["title"] });
    assert_eq!(desk.newest(&incident).await, json!({ "BOOKMARK": entry }));

    desk.clock.advance(chrono::Duration::minutes(3));
    let removed = desk.act("removeBookmark", json!({ "bookmarkId": id })).await;
    assert_eq!(
        (&removed["bookmark"]["removedAt"], &removed["incident"]["version"]),
        (&json!("2026-11-23T08:03:00+00:00"), &json!(3))
    );
    assert_eq!(bookmarks(&desk, &incident).await["totalCount"], 0);
    let node = "query($id: ID!) { node(id: $id) { id } }";
    assert_eq!(desk.refused(node, json!({ "id": id })).await.code, "NOT_FOUND");
    let again = desk.deny("removeBookmark", json!({ "bookmarkId": id })).await;
    assert_eq!((again.code.as_str(), again.path.as_deref()), ("NOT_FOUND", Some("input.bookmarkId")), "once is enough");
    let log = format!(
        "query($id: ID!) {{ incident(by: {{ id: $id }}) {{ activity(filter: {{ kinds: [BOOKMARK] }}) {{ nodes {{ entries {{
            ... on BookmarkEntry {{ bookmarkAction bookmark {{ {BOOKMARK} }} }} }} }} }} }} }}"
    );
    let log = desk.data(&log, json!({ "id": incident })).await["incident"]["activity"]["nodes"].take();
    let actions: Vec<&Value> = each(&log, "entries").iter().map(|entries| &entries[0]["bookmarkAction"]).collect();
    assert_eq!(actions, ["ADDED", "REMOVED"]);
    let shown = &log[0]["entries"][0]["bookmark"];
    assert_eq!((&shown["rows"], &shown["removedAt"]), (&expected["rows"], &removed["bookmark"]["removedAt"]));
    let audits =
        "query($id: ID!) { incident(by: { id: $id }) { activity(filter: { content: AUDITS }) { totalCount } } }";
    assert_eq!(desk.data(audits, json!({ "id": incident })).await["incident"]["activity"]["totalCount"], 3);
}

/// Compares the answer's text, because a `Value` has no order.
async fn the_columns_of_a_result_keep_their_order(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Beacon to a new domain").await;
    let text = async |query: &str| {
        let body = json!({ "query": query, "variables": { "id": incident } });
        let request = reqwest::Client::new().post(format!("{}/graphql", desk.url)).json(&body);
        request.send().await.expect("an answer").text().await.expect("a text")
    };
    let rows =
        "[{ TimeGenerated: \"2026-11-23\", Computer: \"FIN-WS-0211\", Action: BLOCKED, Extra: { z: 1, a: [] } }]";
    let pin = format!(
        "mutation($id: ID!) {{ addBookmark(input: {{ incidentId: $id, title: \"Blocked\", rows: {rows} }}) {{ bookmark {{ rows }} }} }}"
    );
    let kept =
        r#""rows":[{"TimeGenerated":"2026-11-23","Computer":"FIN-WS-0211","Action":"BLOCKED","Extra":{"z":1,"a":[]}}]"#;
    for query in [pin.as_str(), "query($id: ID!) { incident(by: { id: $id }) { bookmarks { nodes { rows } } } }"] {
        let answer = text(query).await;
        assert!(answer.contains(kept), "{answer}");
    }
}

/// Sends and compares texts, because a `Value` has neither so many digits nor an order.
async fn rows_come_back_to_the_letter(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Beacon to a new domain").await;
    let text = async |query: &str, variables: &str| {
        let body = format!("{{ \"query\": {}, \"variables\": {variables} }}", json!(query));
        let request = reqwest::Client::new().post(format!("{}/graphql", desk.url));
        let request = request.header("content-type", "application/json").body(body);
        request.send().await.expect("an answer").text().await.expect("a text")
    };
    let digits = "123456789012345678901234567890";
    let inner = format!(
        r#"{{"zeta":1,"alpha":{digits},"m":0.1000,"e":1e3,"n":-0,"t":"\u00e9 \"[ {{","s":"  ","o":{{"$serde_json::private::RawValue":"x"}}}}"#
    );
    let read = "query($id: ID!) { incident(by: { id: $id }) { bookmarks(last: 1) { nodes { rows } } } }";
    let pin = "mutation($i: AddBookmarkInput!) { addBookmark(input: $i) { replayed bookmark { rows } } }";
    let input = |rows: &str| {
        let rest = r#""title":"Digits","idempotencyKey":"digits""#;
        format!("{{\"i\":{{\"incidentId\":\"{incident}\",{rest},\"rows\":{rows}}}}}")
    };
    let spaced = format!("[ {inner},\r\n\t{{ }} ]");
    let kept = format!(r#""rows":[{inner},{{}}]"#);
    let mut answers = vec![text(pin, &input(&spaced)).await, text(pin, &input(&spaced)).await];
    assert!(answers[1].contains(r#""replayed":true"#), "{}", answers[1]);
    answers.push(text(read, &format!("{{\"id\":\"{incident}\"}}")).await);
    for answer in answers {
        assert!(answer.contains(&kept), "{answer}");
    }

    // A document writes the same numbers, and a variable may stand within them.
    let within = format!(
        "mutation($id: ID!, $part: JSON!, $of: JSON = [{digits}]) {{ addBookmark(input: {{ incidentId: $id, title: \"T\",
            rows: [{{ zeta: {digits}, m: 0.1000, e: 1E3, a: [$part], d: $of }}] }}) {{ bookmark {{ rows }} }} }}"
    );
    let answer = text(&within, &format!("{{\"id\":\"{incident}\",\"part\":{inner}}}")).await;
    let kept = format!(r#""rows":[{{"zeta":{digits},"m":0.1000,"e":1E3,"a":[{inner}],"d":[{digits}]}}]"#);
    assert!(answer.contains(&kept), "{answer}");

    for (query, variables) in [
        (pin, input("[{\"a\":1e999}]")),
        (&within.replace("0.1000", "1e999"), format!("{{\"id\":\"{incident}\",\"part\":{inner}}}")),
    ] {
        let answer = text(query, &variables).await;
        assert!(answer.contains(r#""code":"INVALID""#), "{answer}");
    }
}

async fn what_is_no_bookmark_is_refused_and_changes_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Beacon to a new domain").await;
    let many = |n: usize| Value::Array(vec![json!({}); n]);
    let named = |n: usize| Value::Array(vec![json!({ "kind": "IP", "value": "192.0.2.7" }); n]);
    for (over, code, path) in [
        (json!({ "title": " \u{200b} " }), "INVALID", "title"),
        (json!({ "title": "t".repeat(201) }), "LIMIT", "title"),
        (json!({ "title": "a\u{0}b" }), "INVALID", "title"),
        (json!({ "query": "q".repeat(10_001) }), "LIMIT", "query"),
        (json!({ "query": "\u{0}" }), "INVALID", "query"),
        (json!({ "note": "n".repeat(30_001) }), "LIMIT", "note"),
        (json!({ "note": "\u{0}" }), "INVALID", "note"),
        (json!({ "rows": { "Computer": "FIN-WS-0211" } }), "INVALID", "rows"),
        (json!({ "rows": "[{}]" }), "INVALID", "rows"),
        (json!({ "rows": [["FIN-WS-0211"]] }), "INVALID", "rows"),
        (json!({ "rows": [{}, null] }), "INVALID", "rows"),
        (json!({ "rows": [{ "Computer": "FIN\u{0}" }] }), "INVALID", "rows.0"),
        (json!({ "rows": [{ "deep": [{ "Com\u{0}puter": 1 }] }] }), "INVALID", "rows.0"),
        (json!({ "rows": [{ "Raw": "x".repeat(256 * 1024) }] }), "LIMIT", "rows"),
        (json!({ "entities": [{ "kind": "IP", "value": " " }] }), "INVALID", "entities.0.value"),
        (json!({ "eventAt": "9999-01-01T00:00:00Z" }), "INVALID", "eventAt"),
        (json!({ "incidentId": "alert:0198c0de-0000-7000-8000-000000000001" }), "INVALID", "incidentId"),
        (json!({ "incidentId": "incident:0198c0de-0000-7000-8000-000000000001" }), "NOT_FOUND", "incidentId"),
    ] {
        let refusal = desk.deny("addBookmark", finding(&incident, over.clone())).await;
        assert_eq!((refusal.code.as_str(), refusal.path), (code, Some(format!("input.{path}"))), "{over:.60}");
    }
    for (over, path, bound) in
        [(json!({ "rows": many(1_001) }), "rows", 1_000), (json!({ "entities": named(501) }), "entities", 500)]
    {
        let refusal = desk.deny("addBookmark", finding(&incident, over)).await;
        let expected = ("LIMIT", Some(format!("variables.input.{path}")), json!({ "limit": bound }));
        assert_eq!((refusal.code.as_str(), refusal.path, refusal.now), expected);
    }
    assert_eq!(
        desk.deny("addBookmark", json!({ "incidentId": incident, "title": "t" })).await.code,
        "INVALID",
        "no rows"
    );
    for id in ["bookmark:0198c0de-0000-7000-8000-000000000001", "nothing"] {
        assert_eq!(desk.deny("removeBookmark", json!({ "bookmarkId": id })).await.code, "NOT_FOUND");
    }
    assert_eq!(bookmarks(&desk, &incident).await["totalCount"], 0);
    let most =
        json!({ "rows": many(1_000), "title": "t".repeat(200), "query": "q".repeat(10_000), "entities": named(500) });
    let kept = desk.act("addBookmark", finding(&incident, most)).await["bookmark"].take();
    assert_eq!((&kept["rows"], kept["entities"].as_array().map(Vec::len)), (&many(1_000), Some(500)));
    desk.act("deleteIncident", json!({ "incidentId": incident })).await;
    assert_eq!(
        desk.deny("addBookmark", finding(&incident, json!({}))).await.code,
        "NOT_FOUND",
        "of a deleted incident"
    );
    assert_eq!(desk.deny("removeBookmark", json!({ "bookmarkId": kept["id"] })).await.code, "NOT_FOUND");
    let node = "query($id: ID!) { node(id: $id) { id } }";
    assert_eq!(desk.refused(node, json!({ "id": kept["id"] })).await.code, "NOT_FOUND", "it goes with its incident");
}

async fn an_incident_has_at_most_twenty_bookmarks(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Beacon to a new domain").await;
    let at_once = (0..25).map(|n| {
        desk.graphql_as(None, PIN, json!({ "input": finding(&incident, json!({ "title": format!("Host {n}") })) }))
    });
    let answers = futures_util::future::join_all(at_once).await;
    let limits: Vec<&Value> = answers.iter().filter_map(|answer| answer["errors"].get(0)).collect();
    assert_eq!(limits.len(), 5, "twenty of twenty-five at once");
    for error in limits {
        let expected = json!({ "code": "LIMIT", "path": "input.incidentId", "now": { "limit": 20 } });
        assert_eq!(error["extensions"], expected);
    }
    let standing = bookmarks(&desk, &incident).await;
    assert_eq!((standing["totalCount"].as_u64(), standing["nodes"].as_array().map(Vec::len)), (Some(20), Some(20)));
    desk.act("removeBookmark", json!({ "bookmarkId": standing["nodes"][7]["id"] })).await;
    desk.act("addBookmark", finding(&incident, json!({}))).await;
    assert_eq!(desk.deny("addBookmark", finding(&incident, json!({}))).await.code, "LIMIT");
    assert_eq!(desk.log(&incident).await.len(), 1 + 20 + 1 + 1);
}

const PIN: &str = "mutation($input: AddBookmarkInput!) { addBookmark(input: $input) { bookmark { id } } }";

async fn bookmarks_never_conflict_with_what_others_do(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Beacon to a new domain").await;
    let pins = (0..10).map(|n| desk.act("addBookmark", finding(&incident, json!({ "title": format!("Host {n}") }))));
    let edits =
        (0..10).map(|n| desk.update(&incident, json!({ "addTags": [format!("ring {n}")], "status": "ACTIVE" })));
    let (pinned, _) = tokio::join!(futures_util::future::join_all(pins), futures_util::future::join_all(edits));
    let mut versions: Vec<u64> = pinned.iter().filter_map(|pin| pin["incident"]["version"].as_u64()).collect();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 10, "each is a change of its own");
    assert_eq!(bookmarks(&desk, &incident).await["totalCount"], 10);
    let stands = desk.read(&incident).await;
    assert_eq!((&stands["version"], stands["tags"].as_array().map(Vec::len)), (&json!(21), Some(10)));
}

async fn responders_pin_and_take_away(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for (account, role) in [("ana", "RESPONDER"), ("ben", "RESPONDER"), ("rea", "READER")] {
        desk.user(account, role).await;
    }
    let incident = desk.incident("Beacon to a new domain").await;
    assert_eq!(desk.deny_as(Some("rea"), "addBookmark", finding(&incident, json!({}))).await.code, "FORBIDDEN");
    let pinned = desk.act_as(Some("ana"), "addBookmark", finding(&incident, json!({}))).await["bookmark"].take();
    let removal = json!({ "bookmarkId": pinned["id"] });
    assert_eq!(desk.deny_as(Some("rea"), "removeBookmark", removal.clone()).await.code, "FORBIDDEN");
    let read = format!("query($id: ID!) {{ node(id: $id) {{ ... on Bookmark {{ {BOOKMARK} }} }} }}");
    assert_eq!(
        desk.data_as(Some("rea"), &read, json!({ "id": pinned["id"] })).await["node"],
        pinned,
        "readers read it"
    );
    desk.act_as(Some("ben"), "removeBookmark", removal).await;
}

async fn the_entities_of_a_bookmark_are_not_the_incidents(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let alert = report("edr-1", json!({ "entities": [{ "kind": "DEVICE", "value": "FIN-WS-0211" }] }));
    let incident = desk.ingest(vec![alert], json!({ "newIncident": true })).await["incident"]["id"].take();
    let incident = incident.as_str().expect("an id");
    let entities = json!({ "entities": [{ "kind": "DEVICE", "value": "FIN-WS-0347" }] });
    desk.act("addBookmark", finding(incident, entities)).await;
    let query = "query($id: ID!, $value: String!) {
        incident(by: { id: $id }) { entities { entities { value } } }
        incidents(filter: { entity: [{ value: $value }] }) { totalCount } }";
    for (value, count) in [("FIN-WS-0211", 1), ("FIN-WS-0347", 0)] {
        let read = desk.data(query, json!({ "id": incident, "value": value })).await;
        assert_eq!(read["incident"]["entities"], json!([{ "entities": [{ "value": "FIN-WS-0211" }] }]));
        assert_eq!(read["incidents"]["totalCount"], count, "{value}");
    }
}

async fn bookmarks_are_paged_both_ways(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Beacon to a new domain").await;
    let mut titles = Vec::new();
    for n in 0..7 {
        titles.push(format!("Host {n}"));
        desk.act("addBookmark", finding(&incident, json!({ "title": titles[n] }))).await;
    }
    for (end, cursor, ahead, mark) in
        [("first", "after", "hasNextPage", "endCursor"), ("last", "before", "hasPreviousPage", "startCursor")]
    {
        let (mut read, mut place) = (Vec::new(), Value::Null);
        loop {
            let arguments = laid_over(json!({ "id": incident, end: 3 }), json!({ cursor: place }));
            let page = desk.data(LIST, arguments).await["incident"]["bookmarks"].take();
            assert_eq!(page["totalCount"], 7);
            let some: Vec<String> =
                each(&page["nodes"], "title").iter().map(|title| title.as_str().expect("text").to_owned()).collect();
            read = if end == "first" { [read, some].concat() } else { [some, read].concat() };
            place = page["pageInfo"][mark].clone();
            if page["pageInfo"][ahead] == false {
                break;
            }
        }
        assert_eq!(read, titles, "{end}");
    }
    for (arguments, code) in [(json!({ "first": 101 }), "LIMIT"), (json!({ "after": "3" }), "INVALID")] {
        assert_eq!(desk.refused(LIST, laid_over(json!({ "id": incident }), arguments)).await.code, code);
    }
}

async fn the_bookmarks_that_stand_move_together(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (from, to) = (desk.incident("Beacon to a new domain").await, desk.incident("Domain of a loader").await);
    let mut pinned = Vec::new();
    for n in 0..3 {
        let made = desk.act("addBookmark", finding(&from, json!({ "title": format!("Host {n}") }))).await;
        pinned.push(made["bookmark"]["id"].clone());
    }
    desk.act("removeBookmark", json!({ "bookmarkId": pinned[1] })).await;
    let id = |text: &str| IncidentId::parse(text).expect("an id");
    let (moved, _) = desk
        .app
        .store
        .transact(|tx| {
            let (from, to) = (id(&from), id(&to));
            async move { tx.move_bookmarks(from, to).await }
        })
        .await
        .expect("a move");
    let moved: Vec<Value> = moved.iter().map(|bookmark| json!(bookmark.to_string())).collect();
    assert_eq!(moved, [pinned[0].clone(), pinned[2].clone()]);
    assert_eq!(bookmarks(&desk, &from).await["totalCount"], 0);
    assert_eq!(each(&bookmarks(&desk, &to).await["nodes"], "title"), ["Host 0", "Host 2"]);
    let removed = desk.act("removeBookmark", json!({ "bookmarkId": pinned[2] })).await;
    assert_eq!(removed["incident"]["id"], to, "it is the other incident's now");
}

async fn a_merge_and_its_undo_say_which_bookmarks_move(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (from, to) = (desk.incident("Beacon to a new domain").await, desk.incident("Domain of a loader").await);
    let mut pinned = Vec::new();
    for n in 0..3 {
        let made = desk.act("addBookmark", finding(&from, json!({ "title": format!("Host {n}") }))).await;
        pinned.push(made["bookmark"]["id"].clone());
    }
    desk.act("removeBookmark", json!({ "bookmarkId": pinned[1] })).await;
    let announce = "mutation($input: CreateAttachmentInput!) { createAttachment(input: $input) { attachment { id } } }";
    let image = json!({ "incidentId": from, "name": "a.png", "type": "PNG", "size": 100 });
    desk.data(announce, json!({ "input": image })).await;
    let sides = json!({ "source": from, "target": to });
    let preview = "query($source: ID!, $target: ID!) { previewMerge(sourceId: $source, targetId: $target) {
        outcome { movedBookmarkCount movedAttachmentCount } } }";
    let preview = desk.data(preview, sides).await["previewMerge"]["outcome"].take();
    assert_eq!(preview, json!({ "movedBookmarkCount": 2, "movedAttachmentCount": 1 }));
    let said = async |id: &str, kind: &str| {
        let query = format!(
            "query($id: ID!) {{ incident(by: {{ id: $id }}) {{ activity(last: 1) {{ nodes {{ entries {{
                kind ... on {kind} {{ bookmarkCount attachmentCount }} }} }} }} }} }}"
        );
        let read = desk.data(&query, json!({ "id": id })).await;
        let entries = read["incident"]["activity"]["nodes"][0]["entries"].as_array().expect("entries").clone();
        let told = entries.into_iter().find(|entry| !entry["bookmarkCount"].is_null()).expect("an entry of the merge");
        json!({ "bookmarkCount": told["bookmarkCount"], "attachmentCount": told["attachmentCount"] })
    };
    desk.act("mergeIncidents", json!({ "sourceId": from, "targetId": to })).await;
    let both = json!({ "bookmarkCount": 2, "attachmentCount": 1 });
    assert_eq!(said(&from, "MergedIntoEntry").await, both);
    assert_eq!(said(&to, "MergedEntry").await, both);
    assert_eq!(desk.verified().await.shown.bookmarks, 2);
    desk.act("undoMerge", json!({ "incidentId": from })).await;
    assert_eq!(said(&from, "MergeUndoneEntry").await, both);
    assert_eq!(said(&to, "MergeUndoneEntry").await, both);
    assert_eq!(desk.verified().await.shown.bookmarks, 2);
    let removed = desk.act("removeBookmark", json!({ "bookmarkId": pinned[0] })).await;
    assert_eq!(removed["incident"]["id"], from);
    assert_eq!(desk.verified().await.shown.bookmarks, 1);
}

#[test]
fn an_entry_of_a_bookmark_stays_readable() {
    let stored = include_str!("fixtures/entries/bookmark.json");
    let entry: Entry = serde_json::from_str(stored).expect("an entry");
    let Entry::Bookmark { action: BookmarkAction::Added, title, .. } = &entry else { panic!("{entry:?}") };
    assert_eq!((entry.kind(), title.as_str()), (EntryKind::Bookmark, "Two more hosts resolved the beacon's domain"));
    let again = serde_json::to_value(&entry).expect("JSON");
    assert_eq!(again, serde_json::from_str::<Value>(stored).expect("JSON"), "and is written as it always was");
}
