//! Saved views, through the public API: stable links, visibility, and unread incidents.

use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};

use crate::statements::Sent;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;
use crate::support::stream::offset;
use crate::support::triage::{VIEW, each, laid_over, sorted};

each_database!(
    a_view_opens_the_queue_that_it_was_saved_with,
    a_filter_that_was_read_can_be_sent_again,
    a_renamed_view_keeps_its_link,
    me_in_a_shared_view_is_whoever_looks,
    a_private_view_is_there_for_its_owner_alone,
    a_shared_view_is_changed_by_its_owner_and_by_managers,
    a_slug_names_one_view,
    what_is_no_view_is_refused,
    the_views_of_a_user_and_of_a_desk_are_bounded,
    a_view_that_goes_is_nobodys_default,
    what_changed_since_the_last_visit_is_unread,
    unread_is_exact_through_triage_of_chance,
);

const ALL: &str = "{ views { slug } viewer { defaultView { slug } } }";

fn by_slug() -> String {
    format!("query($slug: String!) {{ view(by: {{ slug: $slug }}) {{ {VIEW} }} }}")
}

async fn save(desk: &TestDesk, account: Option<&str>, input: Value) -> Value {
    desk.act_as(account, "createView", input).await["view"].take()
}

/// Returns the view of this slug as an account sees it.
async fn look(desk: &TestDesk, account: Option<&str>, slug: &str) -> Value {
    desk.data_as(account, &by_slug(), json!({ "slug": slug })).await["view"].take()
}

async fn slugs(desk: &TestDesk, account: Option<&str>) -> Vec<String> {
    let views = desk.data_as(account, ALL, json!({})).await["views"].take();
    each(&views, "slug").iter().map(|slug| slug.as_str().expect("a slug").to_owned()).collect()
}

async fn a_view_opens_the_queue_that_it_was_saved_with(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for (title, severity) in [
        ("Phishing of payroll", "LOW"),
        ("PHÍSHING of the board", "HIGH"),
        ("Beacon", "HIGH"),
        ("phishing kit", "MEDIUM"),
    ] {
        desk.create(json!({ "title": title, "severity": severity })).await;
    }
    let (filter, order) =
        (json!({ "text": "Phishing" }), json!([{ "field": "SEVERITY" }, { "field": "NUMBER", "direction": "ASC" }]));
    let input =
        json!({ "name": " Phishing, worst first ", "filter": filter, "orderBy": order, "clientMutationId": "tab 3" });
    let before = desk.log_end().await;
    let made = desk.act("createView", input).await;
    assert_eq!((&made["changed"], &made["clientMutationId"]), (&json!(true), &json!("tab 3")));
    let view = made["view"].clone();
    let expected = json!({
        "id": view["id"], "slug": "phishing-worst-first", "name": "Phishing, worst first", "owner": { "account": "local-manager" },
        "visibility": "PRIVATE", "filter": { "json": { "status": ["NEW", "ACTIVE"], "text": "phishing" } },
        "orderBy": [{ "field": "SEVERITY", "direction": "DESC" }, { "field": "NUMBER", "direction": "ASC" }],
        "link": "/wall?view=phishing-worst-first", "unreadCount": 3, "lastVisitedAt": null,
        "createdAt": "2026-11-23T08:00:00+00:00", "updatedAt": "2026-11-23T08:00:00+00:00",
    });
    assert_eq!(view, expected);
    assert_eq!(look(&desk, None, "phishing-worst-first").await, expected);
    let by_id = format!(
        "query($id: ID!) {{ view(by: {{ id: $id }}) {{ {VIEW} }} node(id: $id) {{ ... on SavedView {{ {VIEW} }} }} }}"
    );
    let read = desk.data(&by_id, json!({ "id": view["id"] })).await;
    assert_eq!((&read["view"], &read["node"]), (&expected, &expected));

    // The same queue, requested in both ways: rows, cursors, counts and the position to follow it from.
    let page = "position totalCount facets { severity { value count } }
        pageInfo { startCursor endCursor hasNextPage hasPreviousPage } nodes { title }";
    let query = format!(
        "query($id: ID!, $filter: IncidentFilterInput, $order: [IncidentOrderInput!], $after: String) {{
            saved: view(by: {{ id: $id }}) {{ incidents(first: 2, after: $after) {{ {page} }} }}
            typed: incidents(filter: $filter, orderBy: $order, first: 2, after: $after) {{ {page} }} }}"
    );
    let mut after = Value::Null;
    for titles in [["PHÍSHING of the board", "phishing kit"].as_slice(), &["Phishing of payroll"]] {
        let arguments = json!({ "id": view["id"], "filter": filter, "order": order, "after": after });
        let read = desk.data(&query, arguments).await;
        assert_eq!(read["saved"]["incidents"], read["typed"]);
        assert_eq!(each(&read["typed"]["nodes"], "title"), titles);
        // The view's own filter and order give the same queue.
        let again =
            json!({ "id": view["id"], "filter": view["filter"]["json"], "order": view["orderBy"], "after": after });
        assert_eq!(desk.data(&query, again).await["typed"], read["typed"]);
        after = read["typed"]["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(desk.log_end().await, before, "a view is no incident: it writes no change");
    let plain = save(&desk, None, json!({ "name": "All" })).await;
    assert_eq!(plain["filter"]["json"], json!({ "status": ["NEW", "ACTIVE"] }));
    assert_eq!(plain["orderBy"], json!([{ "field": "UPDATED_AT", "direction": "DESC" }]));
    assert_eq!(slugs(&desk, None).await, ["all", "phishing-worst-first"], "by name");
}

async fn a_filter_that_was_read_can_be_sent_again(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ana = desk.user("ana", "RESPONDER").await;
    let group = desk.act("upsertGroup", json!({ "account": "night" })).await["group"]["id"].take();
    let filter = json!({
        "status": ["ACTIVE"], "severity": ["HIGH", "LOW"], "classification": ["NOT_SET", "TRUE_POSITIVE"],
        "threat": ["PHISHING"], "activity": ["SECURITY_TESTING"], "reason": ["OTHER"], "product": ["Sensor"],
        "provider": ["edr"], "entity": [{ "kind": "IP", "value": "192.0.2.7" }, { "value": "FIN-WS-0211" }],
        "hasActiveAlerts": true, "number": [7, 5], "text": "Phishing \"of\" payroll",
        "owner": { "users": [ana], "groups": [group], "me": true, "unassigned": true },
        "tags": { "any": ["VIP"], "all": [], "none": ["noise"], "kind": ["CUSTOM"] },
        "created": { "from": "2026-01-01T00:00:00.123456Z", "to": "2027-01-01T00:00:00Z" },
        "updated": { "from": "2026-01-01T00:00:00Z" }, "firstActivity": { "to": "2027-01-01T00:00:00Z" },
        "lastActivity": { "to": "2027-01-01T00:00:00Z" }, "resolved": { "from": "2026-01-01T00:00:00Z" },
        "and": [{ "not": { "status": ["REDIRECTED"] } }, { "or": [{ "owner": { "meAndMyGroups": true } }, { "text": "x" }] }],
        "or": [{ "severity": ["MEDIUM"] }, { "tags": { "none": [] } }],
        "not": { "product": [] },
    });
    // Every field of the filter and of its conditions, and of nested filters to the depth of this filter.
    let flat = "status severity owner { users groups unassigned me meAndMyGroups } tags { any all none kind }
        classification threat activity reason product provider entity { kind value } hasActiveAlerts
        created { from to } updated { from to } firstActivity { from to } lastActivity { from to } resolved { from to }
        number text";
    let below = |inner: &str| format!("{flat} and {{ {inner} }} or {{ {inner} }} not {{ {inner} }}");
    let typed = below(&below(flat));
    let read = format!("query($id: ID!) {{ view(by: {{ id: $id }}) {{ filter {{ {typed} }} }} }}");
    let json = "query($id: ID!) { view(by: { id: $id }) { filter { json not { json } } } }";
    let view = save(&desk, Some("ana"), json!({ "name": "First", "filter": filter })).await;
    let asked = json!({ "id": view["id"] });
    let of_ana =
        async |query: &str, asked: &Value| desk.data_as(Some("ana"), query, asked.clone()).await["view"].take();
    let first = of_ana(&read, &asked).await["filter"].take();
    let whole = of_ana(json, &asked).await["filter"].take();
    assert_eq!(
        (&first["severity"], &first["number"]),
        (&json!(["LOW", "HIGH"]), &json!([5, 7])),
        "sorted, as it is read"
    );
    assert_eq!((&first["owner"]["users"], &first["owner"]["me"]), (&json!([ana]), &json!(true)));
    assert_eq!((&first["owner"]["groups"], &first["tags"]["any"]), (&json!([group]), &json!(["vip"])));
    assert_eq!((&first["product"], &first["provider"]), (&json!(["sensor"]), &json!(["edr"])));
    assert_eq!((&whole["not"]["json"], &whole["json"]["not"]), (&json!({ "product": [] }), &json!({ "product": [] })));
    for (name, again) in [("Typed", &first), ("Json", &whole["json"])] {
        let view = save(&desk, Some("ana"), json!({ "name": name, "filter": again })).await;
        let asked = json!({ "id": view["id"] });
        assert_eq!(of_ana(&read, &asked).await["filter"], first, "{name}");
        assert_eq!(of_ana(json, &asked).await["filter"], whole, "{name}");
    }
    let live = format!(
        "subscription($f: IncidentFilterInput) {{ incidentQueue(filter: $f) {{ ... on Live {{ filter {{ {typed} }} }} }}}}"
    );
    let told = desk.follow_as("ana", &live, json!({ "f": first })).await.item().await;
    assert_eq!((&told["filter"]["tags"], &told["filter"]["not"]), (&first["tags"], &first["not"]));
    assert_eq!((&told["filter"]["owner"]["me"], &told["filter"]["owner"]["unassigned"]), (&json!(false), &json!(true)));
    let numbers = format!("query($f: IncidentFilterInput) {{ queueSummary(filter: $f) {{ filter {{ {typed} }} }} }}");
    let counted = desk.data_as(Some("ana"), &numbers, json!({ "f": first })).await["queueSummary"]["filter"].take();
    assert_eq!(counted, told["filter"], "`me` is resolved in the same way");
}

async fn a_renamed_view_keeps_its_link(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made =
        save(&desk, None, json!({ "name": "Night shift", "slug": "nights", "filter": { "severity": ["HIGH"] } })).await;
    desk.clock.advance(chrono::Duration::minutes(1));
    let update = |over: Value| desk.act("updateView", laid_over(json!({ "viewId": made["id"] }), over));
    let renamed = update(json!({ "name": "Late shift" })).await;
    let mut expected =
        laid_over(made.clone(), json!({ "name": "Late shift", "updatedAt": "2026-11-23T08:01:00+00:00" }));
    assert_eq!((&renamed["changed"], &renamed["view"]), (&json!(true), &expected));
    assert_eq!((&expected["slug"], &expected["link"]), (&json!("nights"), &json!("/wall?view=nights")));
    assert_eq!(look(&desk, None, "nights").await, expected);
    desk.clock.advance(chrono::Duration::minutes(1));
    for same in [
        json!({}),
        json!({ "name": "Late shift " }),
        json!({ "filter": { "severity": ["HIGH", "HIGH"], "status": ["ACTIVE", "NEW"] } }),
    ] {
        let again = update(same.clone()).await;
        assert_eq!((&again["changed"], &again["view"]), (&json!(false), &expected), "{same}");
    }
    let order = json!([{ "field": "TITLE", "direction": "ASC" }]);
    let changed = update(json!({ "filter": {}, "orderBy": order, "visibility": "SHARED" })).await["view"].take();
    let over = json!({ "filter": { "json": { "status": ["NEW", "ACTIVE"] } }, "orderBy": order, "visibility": "SHARED", "updatedAt": "2026-11-23T08:02:00+00:00" });
    expected = laid_over(expected, over);
    assert_eq!(changed, expected);
    for field in ["name", "filter", "orderBy", "visibility"] {
        let refusal = desk.deny("updateView", json!({ "viewId": made["id"], field: null })).await;
        assert_eq!((refusal.code.as_str(), refusal.path), ("INVALID", Some(format!("input.{field}"))));
    }
    assert_eq!(look(&desk, None, "nights").await, expected);
}

async fn me_in_a_shared_view_is_whoever_looks(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (ana, ben) = (desk.user("ana", "RESPONDER").await, desk.user("ben", "RESPONDER").await);
    for (title, owner) in [("Ana's first", &ana), ("Ana's second", &ana), ("Ben's", &ben)] {
        desk.create(json!({ "title": title, "owner": { "user": owner } })).await;
    }
    let input = json!({ "name": "Mine", "filter": { "owner": { "me": true } }, "visibility": "SHARED" });
    save(&desk, Some("ana"), input).await;
    for (account, unread, titles) in
        [(Some("ana"), 2, ["Ana's first", "Ana's second"].as_slice()), (Some("ben"), 1, &["Ben's"]), (None, 0, &[])]
    {
        let query =
            "{ view(by: { slug: \"mine\" }) { filter { json } unreadCount incidents { totalCount nodes { title } } } }";
        let view = desk.data_as(account, query, json!({})).await["view"].take();
        assert_eq!(view["filter"]["json"]["owner"], json!({ "me": true }), "it is not resolved where it is stored");
        assert_eq!(sorted(&view["incidents"]["nodes"], "title"), titles);
        assert_eq!(view["unreadCount"], unread);
    }
}

async fn a_private_view_is_there_for_its_owner_alone(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    desk.user("ben", "RESPONDER").await;
    let made = save(&desk, Some("ana"), json!({ "name": "My watch list" })).await;
    let id = &made["id"];
    // Managers do not see it either: the local manager is one.
    for account in [Some("ben"), None] {
        assert!(slugs(&desk, account).await.is_empty());
        let refusal = desk.refused_as(account, &by_slug(), json!({ "slug": "my-watch-list" })).await;
        assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("NOT_FOUND", "there is no view my-watch-list"));
        for query in ["query($id: ID!) { view(by: { id: $id }) { id } }", "query($id: ID!) { node(id: $id) { id } }"] {
            assert_eq!(desk.refused_as(account, query, json!({ "id": id })).await.code, "NOT_FOUND");
        }
        let nodes = desk.data_as(account, "query($id: ID!) { nodes(ids: [$id]) { id } }", json!({ "id": id })).await;
        assert_eq!(nodes["nodes"], json!([null]));
        for (name, over) in [
            ("updateView", json!({ "name": "Yours" })),
            ("deleteView", json!({})),
            ("setDefaultView", json!({})),
            ("visitView", json!({})),
        ] {
            let refusal = desk.deny_as(account, name, laid_over(json!({ "viewId": id }), over)).await;
            assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("NOT_FOUND", Some("input.viewId")), "{name}");
        }
    }
    assert_eq!(look(&desk, Some("ana"), "my-watch-list").await, made);
    desk.act_as(Some("ana"), "updateView", json!({ "viewId": id, "visibility": "SHARED" })).await;
    assert_eq!(look(&desk, Some("ben"), "my-watch-list").await["owner"]["account"], "ana");
    assert_eq!(slugs(&desk, Some("ben")).await, ["my-watch-list"]);
}

async fn a_shared_view_is_changed_by_its_owner_and_by_managers(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for (account, role) in [("ana", "RESPONDER"), ("ben", "RESPONDER"), ("rea", "READER"), ("max", "MANAGER")] {
        desk.user(account, role).await;
    }
    let id = save(&desk, Some("ana"), json!({ "name": "First line", "visibility": "SHARED" })).await["id"].take();
    let rename = |name: &str| json!({ "viewId": id, "name": name });
    for account in [Some("ben"), Some("rea")] {
        assert_eq!(desk.deny_as(account, "updateView", rename("Not mine")).await.code, "FORBIDDEN");
        assert_eq!(desk.deny_as(account, "deleteView", json!({ "viewId": id })).await.code, "FORBIDDEN");
        desk.act_as(account, "visitView", json!({ "viewId": id })).await;
        desk.act_as(account, "setDefaultView", json!({ "viewId": id })).await;
    }
    assert_eq!(look(&desk, Some("rea"), "first-line").await["name"], "First line");
    for account in [Some("ana"), Some("max")] {
        let name = format!("By {}", account.unwrap_or_default());
        assert_eq!(desk.act_as(account, "updateView", rename(&name)).await["view"]["name"], name);
    }
    // An owner who is now a reader changes nothing that others see; a manager may still make the view private.
    desk.user("ana", "READER").await;
    assert_eq!(desk.deny_as(Some("ana"), "updateView", rename("Still mine")).await.code, "FORBIDDEN");
    let hide = json!({ "viewId": id, "visibility": "PRIVATE", "idempotencyKey": "hide" });
    let hidden = desk.act_as(Some("max"), "updateView", hide.clone()).await;
    assert_eq!((&hidden["changed"], &hidden["view"]["visibility"]), (&json!(true), &json!("PRIVATE")));
    assert_eq!(desk.deny_as(Some("max"), "updateView", hide).await.code, "NOT_FOUND", "it is ana's alone now");
    desk.user("ana", "RESPONDER").await;
    desk.act_as(Some("ana"), "updateView", json!({ "viewId": id, "visibility": "SHARED" })).await;
    let gone = desk.act_as(Some("max"), "deleteView", json!({ "viewId": id })).await;
    assert_eq!(gone["deletedId"], id);
    assert_eq!(desk.refused(&by_slug(), json!({ "slug": "first-line" })).await.code, "NOT_FOUND");

    // A reader keeps its views private.
    let share = json!({ "name": "For all", "visibility": "SHARED" });
    assert_eq!(desk.deny_as(Some("rea"), "createView", share).await.code, "FORBIDDEN");
    let own = save(&desk, Some("rea"), json!({ "name": "For me" })).await["id"].take();
    let refusal = desk.deny_as(Some("rea"), "updateView", json!({ "viewId": own, "visibility": "SHARED" })).await;
    assert_eq!(refusal.code, "FORBIDDEN");
    assert_eq!(look(&desk, Some("rea"), "for-me").await["visibility"], "PRIVATE");
    desk.act_as(Some("rea"), "deleteView", json!({ "viewId": own })).await;
}

async fn a_slug_names_one_view(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    let shared = save(&desk, Some("ana"), json!({ "name": "Tier 2", "visibility": "SHARED" })).await;
    save(&desk, Some("ana"), json!({ "name": "Secret", "slug": "hunt" })).await;
    for input in [json!({ "name": "tier 2!" }), json!({ "name": "Other", "slug": "tier-2" })] {
        let refusal = desk.deny("createView", input).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("CONFLICT", Some("input.slug")));
        assert_eq!(refusal.now, json!({ "slug": "tier-2", "view": { "id": shared["id"], "name": "Tier 2" } }));
    }
    let refusal = desk.deny("createView", json!({ "name": "Hunt" })).await;
    assert_eq!(
        (refusal.code.as_str(), refusal.now),
        ("CONFLICT", json!({ "slug": "hunt" })),
        "whose it is stays private"
    );
    let create = "mutation($input: CreateViewInput!) { createView(input: $input) { view { id } } }";
    let at_once = (0..6)
        .map(|n| desk.graphql_as(None, create, json!({ "input": { "name": format!("Shift {n}"), "slug": "shift" } })));
    let answers = futures_util::future::join_all(at_once).await;
    let refused: Vec<&Value> =
        answers.iter().filter_map(|answer| answer["errors"].get(0)).map(|error| &error["extensions"]["code"]).collect();
    assert_eq!(refused, ["CONFLICT"; 5], "six at once make one");
    desk.act_as(Some("ana"), "deleteView", json!({ "viewId": shared["id"] })).await;
    save(&desk, None, json!({ "name": "Tier 2" })).await;
    assert_eq!(slugs(&desk, Some("ana")).await, ["hunt"], "the slug is another's now, and private");
}

async fn what_is_no_view_is_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let deep = (0..8).fold(json!({ "status": ["NEW"] }), |filter, _| json!({ "not": filter }));
    let order = json!([{ "field": "TITLE" }, { "field": "STATUS" }, { "field": "NUMBER" }, { "field": "SEVERITY" }]);
    for (over, code, path) in [
        (json!({ "name": " \u{feff} " }), "INVALID", "name"),
        (json!({ "name": "n".repeat(201) }), "LIMIT", "name"),
        (json!({ "name": "a\u{0}b" }), "INVALID", "name"),
        (json!({ "name": "夜勤" }), "INVALID", "slug"),
        (json!({ "slug": "" }), "INVALID", "slug"),
        (json!({ "slug": "Tier-2" }), "INVALID", "slug"),
        (json!({ "slug": "tier 2" }), "INVALID", "slug"),
        (json!({ "slug": "-tier" }), "INVALID", "slug"),
        (json!({ "slug": "tier--2" }), "INVALID", "slug"),
        (json!({ "slug": "überfällig" }), "INVALID", "slug"),
        (json!({ "slug": "a\u{0}" }), "INVALID", "slug"),
        (json!({ "slug": "s".repeat(64) }), "LIMIT", "slug"),
        (json!({ "filter": deep }), "LIMIT", "filter"),
        (json!({ "filter": { "text": " " } }), "INVALID", "filter.text"),
        (json!({ "filter": { "product": ["\u{0}"] } }), "INVALID", "filter.product.0"),
        (
            json!({ "filter": { "owner": { "users": ["group:0198c0de-0000-7000-8000-000000000001"] } } }),
            "INVALID",
            "filter.owner.users.0",
        ),
    ] {
        let refusal = desk.deny("createView", laid_over(json!({ "name": "Tier 2" }), over.clone())).await;
        assert_eq!((refusal.code.as_str(), refusal.path), (code, Some(format!("input.{path}"))), "{over:.80}");
    }
    let refusal = desk.deny("createView", json!({ "name": "Tier 2", "orderBy": order })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("variables.input.orderBy")));
    assert!(slugs(&desk, None).await.is_empty());
    let longest = json!({ "name": "夜".repeat(200), "slug": "s".repeat(63) });
    let id = save(&desk, None, longest).await["id"].take();
    let refusal = desk.deny("updateView", json!({ "viewId": id, "filter": { "text": "" } })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("input.filter.text")));
    let both = "query($by: ViewByInput!) { view(by: $by) { id } }";
    for (arguments, code) in [
        (json!({}), "INVALID"),
        (json!({ "id": id, "slug": "s" }), "INVALID"),
        (json!({ "slug": "a\u{0}" }), "INVALID"),
        (json!({ "slug": "no-such-view" }), "NOT_FOUND"),
        (json!({ "id": "incident:0198c0de-0000-7000-8000-000000000001" }), "INVALID"),
        (json!({ "id": "view:0198c0de-0000-7000-8000-000000000001" }), "NOT_FOUND"),
    ] {
        assert_eq!(desk.refused(both, json!({ "by": arguments })).await.code, code, "{arguments}");
    }
    for name in ["updateView", "deleteView", "setDefaultView", "visitView"] {
        let refusal = desk.deny(name, json!({ "viewId": "view:0198c0de-0000-7000-8000-000000000001" })).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("NOT_FOUND", Some("input.viewId")), "{name}");
    }
}

async fn the_views_of_a_user_and_of_a_desk_are_bounded(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    let first = save(&desk, Some("ana"), json!({ "name": "View 0" })).await;
    let pool = Database::connect(&database.url).await.expect("a connection");
    let fresh = if database.kind == Kind::Sqlite { "randomblob(16)" } else { "gen_random_uuid()" };
    // Copies of the first view up to the given number, for the given owner.
    let fill = async |from: u64, to: u64, owner: &str, visibility: &str| {
        let sql = format!(
            "INSERT INTO saved_view (id, slug, name, owner_id, visibility, filter, order_by, created_at, updated_at)
             WITH RECURSIVE count (n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM count WHERE n < {to})
             SELECT {fresh}, 'view-' || n, 'View ' || n, (SELECT id FROM \"user\" WHERE account = '{owner}'), '{visibility}', v.filter,
                v.order_by, v.created_at, v.updated_at FROM saved_view AS v, count WHERE v.slug = 'view-0'"
        );
        pool.execute_unprepared(&sql).await.expect("views");
    };
    fill(1, 99, "ana", "PRIVATE").await;
    let refusal = desk.deny_as(Some("ana"), "createView", json!({ "name": "One too many" })).await;
    assert_eq!((refusal.code.as_str(), refusal.now), ("LIMIT", json!({ "limit": 100 })));
    fill(100, 599, "local-manager", "SHARED").await;
    assert_eq!(slugs(&desk, Some("ana")).await.len(), 600, "all of hers, and all that are shared");
    let refusal =
        desk.deny_as(Some("ana"), "updateView", json!({ "viewId": first["id"], "visibility": "SHARED" })).await;
    let bound = (refusal.code.as_str(), refusal.path.as_deref(), &refusal.now);
    assert_eq!(bound, ("LIMIT", Some("input.visibility"), &json!({ "limit": 500 })));
    desk.user("ben", "RESPONDER").await;
    let refusal = desk.deny_as(Some("ben"), "createView", json!({ "name": "Shared", "visibility": "SHARED" })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("input.visibility")));
    save(&desk, Some("ben"), json!({ "name": "Mine" })).await;
    pool.close().await.expect("closed");
}

async fn a_view_that_goes_is_nobodys_default(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for account in ["ana", "ben"] {
        desk.user(account, "RESPONDER").await;
    }
    let (ana, ben) = (Some("ana"), Some("ben"));
    let default = async |account| desk.data_as(account, ALL, json!({})).await["viewer"]["defaultView"]["slug"].take();
    let one = save(&desk, ana, json!({ "name": "One", "visibility": "SHARED" })).await["id"].take();
    let two = save(&desk, ana, json!({ "name": "Two", "visibility": "SHARED" })).await["id"].take();
    assert_eq!(default(ana).await, Value::Null);
    for account in [ana, ben] {
        let set = desk.act_as(account, "setDefaultView", json!({ "viewId": two, "clientMutationId": "star" })).await;
        let (client, view) = (&set["clientMutationId"], &set["defaultView"]);
        assert_eq!((client, view), (&json!("star"), &json!({ "id": two, "slug": "two" })));
        desk.act_as(account, "setDefaultView", json!({ "viewId": one })).await;
        assert_eq!(default(account).await, "one", "one at a time");
    }
    assert_eq!(default(None).await, Value::Null, "each has its own");
    desk.act_as(ana, "updateView", json!({ "viewId": one, "visibility": "PRIVATE" })).await;
    assert_eq!((default(ana).await, default(ben).await), (json!("one"), Value::Null), "private: its owner's only");
    desk.act_as(ana, "updateView", json!({ "viewId": one, "visibility": "SHARED" })).await;
    assert_eq!(default(ben).await, Value::Null, "it does not come back by itself");

    for account in [ana, ben] {
        desk.act_as(account, "setDefaultView", json!({ "viewId": two })).await;
        desk.act_as(account, "visitView", json!({ "viewId": two })).await;
    }
    assert_eq!(desk.deny_as(ana, "setDefaultView", json!({})).await.path.as_deref(), Some("input.viewId"));
    assert_eq!(default(ana).await, "two", "undefined clears nothing");
    let cleared = desk.act_as(ana, "setDefaultView", json!({ "viewId": null })).await;
    assert_eq!((&cleared["defaultView"], default(ana).await), (&Value::Null, Value::Null));
    desk.act_as(ana, "deleteView", json!({ "viewId": two })).await;
    assert_eq!(default(ben).await, Value::Null);
    desk.act_as(ben, "setDefaultView", json!({ "viewId": null })).await;
}

async fn what_changed_since_the_last_visit_is_unread(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    let mut incidents = Vec::new();
    for title in ["Beacon to a new domain", "Token from abroad", "Mailbox rule that hides replies"] {
        incidents.push(
            desk.create(json!({ "title": title, "severity": "HIGH" })).await["id"].as_str().expect("an id").to_owned(),
        );
    }
    desk.create(json!({ "title": "Of no concern", "severity": "LOW" })).await;
    let input = json!({ "name": "High", "filter": { "severity": ["HIGH"] }, "visibility": "SHARED" });
    let id = save(&desk, None, input).await["id"].take();
    let unread = async |account| look(&desk, account, "high").await["unreadCount"].as_u64().expect("a count");
    assert_eq!((unread(None).await, unread(Some("ana")).await), (3, 3), "all of them before any visit");
    desk.clock.advance(chrono::Duration::minutes(5));
    let visited = desk.act("visitView", json!({ "viewId": id })).await;
    let seen = (&visited["view"]["unreadCount"], &visited["view"]["lastVisitedAt"], &visited["changed"]);
    assert_eq!(seen, (&json!(0), &json!("2026-11-23T08:05:00+00:00"), &json!(true)));
    assert_eq!((unread(None).await, unread(Some("ana")).await), (0, 3), "each visits for itself");

    desk.update(&incidents[0], json!({ "addTags": ["ring 0"] })).await;
    assert_eq!(unread(None).await, 1);
    desk.act("addComment", json!({ "incidentId": incidents[0], "body": "Seen before" })).await;
    assert_eq!(unread(None).await, 1, "an incident is unread once");
    desk.update(&incidents[0], json!({ "addTags": ["Ring 0"] })).await;
    assert_eq!(unread(None).await, 1, "what alters nothing is no news");
    desk.create(json!({ "title": "New on the list", "severity": "HIGH" })).await;
    assert_eq!(unread(None).await, 2, "one that came is news");
    desk.update(&incidents[1], json!({ "severity": "LOW" })).await;
    assert_eq!(unread(None).await, 2, "one that left is not in the view's set");
    desk.update(&incidents[2], json!({ "owner": { "me": true } })).await;
    assert_eq!(unread(None).await, 3);
    desk.act("deleteIncident", json!({ "incidentId": incidents[2] })).await;
    assert_eq!(unread(None).await, 2);
    desk.act("updateView", json!({ "viewId": id, "filter": { "severity": ["LOW"] } })).await;
    assert_eq!(unread(None).await, 1, "of the present set: the one that was lowered since, not the other");
    desk.act_as(Some("ana"), "visitView", json!({ "viewId": id })).await;
    assert_eq!((unread(None).await, unread(Some("ana")).await), (1, 0));
    desk.act("visitView", json!({ "viewId": id })).await;
    assert_eq!(unread(None).await, 0);
}

/// Against an oracle of other queries: the queue's incidents whose newest change is after the visit.
async fn unread_is_exact_through_triage_of_chance(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let by_sql = Sent::default().by_desk_without_board(&database).await;
    let mut dice = Dice::new(20_261_125);
    let mut incidents = Vec::new();
    for n in 0..12 {
        incidents.push(desk.incident(&format!("Beacon {n}")).await);
    }
    let filter = json!({ "or": [{ "severity": ["HIGH", "MEDIUM"] }, { "tags": { "any": ["vip"] } }] });
    let id = save(&desk, None, json!({ "name": "Urgent", "filter": filter })).await["id"].take();
    let mut visited = None;
    for round in 0..120 {
        let incident = &incidents[dice.below(12)];
        match dice.below(7) {
            0 => drop(desk.update(incident, json!({ "severity": dice.pick(&["HIGH", "LOW"]) })).await),
            1 => drop(desk.update(incident, json!({ "addTags": ["vip"] })).await),
            2 => drop(desk.update(incident, json!({ "removeTags": ["VIP"] })).await),
            3 => drop(desk.update(incident, json!({ "status": dice.pick(&["RESOLVED", "ACTIVE"]) })).await),
            4 => drop(desk.act("addComment", json!({ "incidentId": incident, "body": "Looked at it" })).await),
            5 if dice.below(3) == 0 => {
                desk.act("visitView", json!({ "viewId": id })).await;
                visited = Some(desk.log_end().await);
            }
            _ => {}
        }
        let query = "query($filter: IncidentFilterInput) { view(by: { slug: \"urgent\" }) { unreadCount }
            incidents(filter: $filter) { nodes { activity(last: 1) { nodes { position } } } } }";
        for desk in [&desk, &by_sql] {
            let read = desk.data(query, json!({ "filter": filter })).await;
            let newest = each(&read["incidents"]["nodes"], "activity");
            let unread = newest
                .iter()
                .filter(|activity| visited.is_none_or(|at| offset(&activity["nodes"][0]["position"]) > at));
            assert_eq!(read["view"]["unreadCount"], unread.count(), "round {round}");
        }
    }
    assert!(visited.is_some(), "it was visited in between");
}
