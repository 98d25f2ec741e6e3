//! Users, groups, roles, the caller, and the suggestions of assignees and tags.

use chrono::Duration;
use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::schema::fields_of;
use crate::support::triage::{each, laid_over, report};

each_database!(
    an_account_is_upserted_without_case_but_with_its_accents,
    commands_at_once_lose_nothing_of_an_account,
    an_address_is_cleared_by_null_and_stays_where_none_is_said,
    a_role_allows_what_the_law_says_and_no_more,
    a_group_has_the_members_that_a_manager_gives_it,
    accounts_are_read_page_by_page,
    the_caller_is_known_or_turned_away,
    assignees_are_suggested_me_first_then_recent_picks,
    tags_are_suggested_recent_ones_first,
);

async fn an_account_is_upserted_without_case_but_with_its_accents(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = desk.act("upsertUser", json!({ "account": " Jose@desk.example ", "email": "jose@desk.example" })).await
        ["user"]
        .take();
    let id = made["id"].clone();
    let expected = json!({ "id": id, "account": "Jose@desk.example", "name": "Jose@desk.example", "email": "jose@desk.example", "role": "RESPONDER" });
    assert_eq!(made, expected);
    let again = desk
        .act("upsertUser", json!({ "account": "JOSE@DESK.EXAMPLE", "name": "José", "role": "READER" }))
        .await["user"]
        .take();
    assert_eq!(
        again,
        json!({ "id": id, "account": "Jose@desk.example", "name": "José", "email": "jose@desk.example", "role": "READER" })
    );
    let other =
        desk.act("upsertUser", json!({ "account": "josé@desk.example", "role": "MANAGER" })).await["user"].take();
    assert_ne!(other["id"], id, "another account, not a spelling of the first");
    let viewer = desk.data_as(Some("jose@desk.example"), "{ viewer { canTriage user { role } } }", json!({})).await;
    assert_eq!(viewer["viewer"], json!({ "canTriage": false, "user": { "role": "READER" } }));

    let upserts = (0..6).map(|_| desk.act("upsertGroup", json!({ "account": "Night Shift" })));
    let groups = futures_util::future::join_all(upserts).await;
    assert!(groups.iter().all(|group| group["group"]["id"] == groups[0]["group"]["id"]), "six at once make one");
    let renamed = desk.act("upsertGroup", json!({ "account": "night shift", "name": "Nights" })).await["group"].take();
    assert_eq!((&renamed["account"], &renamed["name"]), (&json!("Night Shift"), &json!("Nights")));
    for (field, value, code) in [
        ("account", " ".to_owned(), "INVALID"),
        ("name", "\n".to_owned(), "INVALID"),
        ("email", "e".repeat(257), "LIMIT"),
    ] {
        let mut input = json!({ "account": "x" });
        input[field] = json!(value);
        let refusal = desk.deny("upsertUser", input).await;
        assert_eq!((refusal.code.as_str(), refusal.path), (code, Some(format!("input.{field}"))));
    }
    // Without identity every caller is the local manager: if it were demoted, nobody could undo that.
    let refusal = desk.deny("upsertUser", json!({ "account": "LOCAL-manager", "role": "READER" })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("input.role")));
    desk.act("upsertUser", json!({ "account": "local-manager", "name": "Console" })).await;
    let users = desk.data("{ users { nodes { account } } groups { nodes { name } } }", json!({})).await;
    assert_eq!(
        (users["users"]["nodes"].as_array().map(Vec::len), &users["groups"]["nodes"]),
        (Some(3), &json!([{ "name": "Nights" }]))
    );
}

/// Three concurrent commands change one user, and two change one group: every edit is there afterwards, in any order.
async fn commands_at_once_lose_nothing_of_an_account(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for round in 0..20 {
        let (name, email) = (format!("Name {round}"), format!("mail-{round}@desk.example"));
        let role = if round % 2 == 0 { "READER" } else { "MANAGER" };
        let upsert = |field: &str, value: &str| desk.act("upsertUser", json!({ "account": "ann", field: value }));
        tokio::join!(upsert("name", &name), upsert("role", role), upsert("email", &email));
        let group = |name: Value| desk.act("upsertGroup", laid_over(json!({ "account": "soc" }), name));
        tokio::join!(group(json!({ "name": name })), group(json!({})));
        let users =
            desk.data("{ users { nodes { account name email role } } groups { nodes { name } } }", json!({})).await;
        let user =
            users["users"]["nodes"].as_array().and_then(|users| users.iter().find(|user| user["account"] == "ann"));
        assert_eq!(user, Some(&json!({ "account": "ann", "name": name, "email": email, "role": role })));
        assert_eq!(users["groups"]["nodes"], json!([{ "name": name }]));
    }
}

async fn an_address_is_cleared_by_null_and_stays_where_none_is_said(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let address = async |input: Value| desk.act("upsertUser", input).await["user"]["email"].take();
    assert_eq!(address(json!({ "account": "ann", "email": "ann@desk.example" })).await, "ann@desk.example");
    assert_eq!(address(json!({ "account": "ann", "name": "Ann" })).await, "ann@desk.example");
    assert_eq!(address(json!({ "account": "ann", "email": null })).await, Value::Null);
    assert_eq!(address(json!({ "account": "bob", "email": null })).await, Value::Null);
}

/// The mutations whose roles are tested in the files of their nouns.
const ROLES_TESTED_ELSEWHERE: [&str; 14] = [
    "addBookmark",
    "bulkUpdateIncidents",
    "cancelBulkJob",
    "createAttachment",
    "createView",
    "deleteView",
    "editComment",
    "mergeIncidents",
    "removeBookmark",
    "setDefaultView",
    "splitIncident",
    "undoMerge",
    "updateView",
    "visitView",
];

async fn a_role_allows_what_the_law_says_and_no_more(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for (account, role) in [("rea", "READER"), ("rita", "RESPONDER"), ("max", "MANAGER")] {
        desk.user(account, role).await;
    }
    let alert = desk.alerts(&["1"]).await.remove(0);
    let id = desk.create(json!({ "title": "Whose", "tags": ["t"] })).await["id"].clone();
    let comment = desk.act("addComment", json!({ "incidentId": id, "body": "b" })).await["comment"]["id"].clone();
    let on = |field: &str, value: Value| json!({ "incidentId": id, field: value });
    let triage = [
        ("createIncident", json!({ "title": "T" })),
        ("updateIncident", on("addTags", json!(["u"]))),
        ("renameIncident", on("title", json!("New"))),
        ("describeIncident", on("description", json!("Why"))),
        ("setIncidentSeverity", on("severity", json!("LOW"))),
        ("setIncidentStatus", on("status", json!("ACTIVE"))),
        ("assignIncident", on("owner", json!({ "me": true }))),
        ("unassignIncident", json!({ "incidentId": id })),
        ("addTags", on("tags", json!(["v"]))),
        ("removeTags", on("tags", json!(["t"]))),
        ("classifyIncident", on("classification", json!({ "falsePositive": "OTHER" }))),
        ("linkAlerts", on("alerts", json!([alert]))),
        ("unlinkAlerts", on("alerts", json!([alert]))),
        ("resolveIncident", json!({ "incidentId": id })),
        ("reopenIncident", json!({ "incidentId": id })),
        ("addComment", on("body", json!("c"))),
        ("ingestAlert", json!({ "alert": report("2", json!({})) })),
        ("ingestAlerts", json!({ "alerts": [report("3", json!({}))] })),
        ("updateAlert", json!({ "alertId": alert, "status": "ACTIVE" })),
    ];
    let group = desk.act("upsertGroup", json!({ "account": "g" })).await["group"]["id"].clone();
    let manage = [
        ("upsertUser", json!({ "account": "new" })),
        ("upsertGroup", json!({ "account": "new" })),
        ("addGroupMembers", json!({ "groupId": group, "users": [] })),
        ("removeGroupMembers", json!({ "groupId": group, "users": [] })),
        ("deleteComment", json!({ "commentId": comment })),
        ("deleteIncident", json!({ "incidentId": id })),
        ("restoreIncident", json!({ "incidentId": id })),
        ("deleteIncident", json!({ "incidentId": id })),
    ];
    let named = triage.iter().chain(&manage).map(|(name, _)| *name).chain(ROLES_TESTED_ELSEWHERE);
    let unnamed: Vec<_> =
        fields_of("Mutation").into_iter().filter(|it| !named.clone().any(|name| name == it)).collect();
    assert!(unnamed.is_empty(), "which role do these need? Add them to a list of this test: {unnamed:?}");
    for (name, input) in triage.iter().chain(&manage) {
        assert_eq!(desk.deny_as(Some("rea"), name, input.clone()).await.code, "FORBIDDEN", "reader: {name}");
    }
    for (name, input) in &triage {
        desk.act_as(Some("Rita"), name, input.clone()).await;
    }
    for (name, input) in &manage {
        assert_eq!(desk.deny_as(Some("rita"), name, input.clone()).await.code, "FORBIDDEN", "responder: {name}");
        desk.act_as(Some("max"), name, input.clone()).await;
    }
    let seen =
        desk.data_as(Some("rea"), "{ incidents { nodes { title } } viewer { canTriage canManage } }", json!({})).await;
    assert_eq!(
        seen,
        json!({ "incidents": { "nodes": [{ "title": "T" }] }, "viewer": { "canTriage": false, "canManage": false } })
    );
}

fn accounts_of(list: &Value) -> Vec<String> {
    each(list, "account").into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The lists of users, groups and members are pages in the order of account ids without case, from both ends.
async fn accounts_are_read_page_by_page(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut users = Vec::new();
    for account in ["Ben", "ana", "Cy", "dee", "Ede"] {
        users.push(desk.user(account, "READER").await);
    }
    let mut groups = Vec::new();
    for account in ["tier-2", "Tier-1", "hunters"] {
        groups.push(desk.act("upsertGroup", json!({ "account": account })).await["group"]["id"].clone());
    }
    desk.act("addGroupMembers", json!({ "groupId": groups[0], "users": users })).await;
    desk.act("addGroupMembers", json!({ "groupId": groups[1], "users": [users[0], users[1]] })).await;
    let all = ["ana", "Ben", "Cy", "dee", "Ede", "local-manager"];
    for (list, all) in [("users", &all[..]), ("groups", &["hunters", "Tier-1", "tier-2"])] {
        for (size, cursor, forward) in [("first", "after", true), ("last", "before", false)] {
            let read = format!(
                "query($at: String) {{ {list}({size}: 2, {cursor}: $at) {{ nodes {{ account }}
                    pageInfo {{ startCursor endCursor hasNextPage hasPreviousPage }} }} }}"
            );
            let (mut found, mut at) = (Vec::new(), Value::Null);
            loop {
                let mut page = desk.data(&read, json!({ "at": at })).await[list].take();
                let accounts = accounts_of(&page["nodes"]);
                let place = if forward { found.len() } else { 0 };
                found.splice(place..place, accounts);
                let (more, end) =
                    if forward { ("hasNextPage", "endCursor") } else { ("hasPreviousPage", "startCursor") };
                if page["pageInfo"][more] == false {
                    break;
                }
                at = page["pageInfo"][end].take();
            }
            assert_eq!(found, all, "{list}, {size}");
        }
        for (arguments, code, path) in [
            ("first: 101", "LIMIT", "first"),
            ("first: 1, last: 1", "INVALID", "last"),
            ("after: \"ana\"", "INVALID", "after"),
            ("after: \"account:a\\u0000\"", "INVALID", "after"),
        ] {
            let refusal = desk.refused(&format!("{{ {list}({arguments}) {{ nodes {{ id }} }} }}"), json!({})).await;
            assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some(path)), "{list}({arguments})");
        }
    }
    // The first pages of the members of all groups.
    let read = "{ groups { nodes { members(first: 2) { nodes { account } pageInfo { hasNextPage endCursor } } } } }";
    let mut groups = desk.data(read, json!({})).await["groups"]["nodes"].take();
    let members: Vec<_> = (0..3).map(|n| accounts_of(&groups[n]["members"]["nodes"]).join(" ")).collect();
    assert_eq!(members, ["", "ana Ben", "ana Ben"]);
    assert_eq!(groups[1]["members"]["pageInfo"]["hasNextPage"], false);
    assert_eq!(groups[2]["members"]["pageInfo"]["hasNextPage"], true);
    let read = "query($at: String) { groups(last: 1) { nodes { members(after: $at) { nodes { account } } } } }";
    let at = groups[2]["members"]["pageInfo"]["endCursor"].take();
    let rest = desk.data(read, json!({ "at": at })).await;
    assert_eq!(each(&rest["groups"]["nodes"][0]["members"]["nodes"], "account"), ["Cy", "dee", "Ede"]);
}

async fn a_group_has_the_members_that_a_manager_gives_it(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let (ana, ben) = (desk.user("ana", "RESPONDER").await, desk.user("Ben", "READER").await);
    let group = desk.act("upsertGroup", json!({ "account": "tier-1" })).await["group"]["id"].clone();
    let change = |users: Value| json!({ "groupId": group, "users": users });
    let both = desk.act("addGroupMembers", change(json!([ben, ana, ana]))).await;
    assert_eq!(each(&both["group"]["members"]["nodes"], "account"), ["ana", "Ben"]);
    let again = desk.act("addGroupMembers", change(json!([ana]))).await;
    assert_eq!((&again["group"], &again["changed"]), (&both["group"], &json!(false)), "a member stays a member");
    let viewer = desk.data_as(Some("ana"), "{ viewer { groups { account } } }", json!({})).await;
    assert_eq!(viewer["viewer"]["groups"], json!([{ "account": "tier-1" }]));
    let one = desk.act("removeGroupMembers", change(json!([ana]))).await;
    assert_eq!(each(&one["group"]["members"]["nodes"], "account"), ["Ben"]);
    let unknown = "user:0198c0de-0000-7000-8000-000000000009";
    for (users, code, path) in [
        (json!([ana, unknown]), "NOT_FOUND", "input.users.1"),
        (json!([group]), "INVALID", "input.users.0"),
        (json!(vec![&ana; 1_001]), "LIMIT", "variables.input.users"),
    ] {
        let refusal = desk.deny("addGroupMembers", change(users)).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some(path)), "{}", refusal.message);
    }
    let nobody = json!({ "groupId": "group:0198c0de-0000-7000-8000-000000000009", "users": [ana] });
    let refusal = desk.deny("addGroupMembers", nobody).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("NOT_FOUND", Some("input.groupId")));
}

async fn the_caller_is_known_or_turned_away(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let query = "{ viewer { canManage user { account role } groups { id } } }";
    let viewer = desk.data(query, json!({})).await;
    assert_eq!(
        viewer["viewer"],
        json!({ "canManage": true, "user": { "account": "local-manager", "role": "MANAGER" }, "groups": [] })
    );
    assert_eq!(desk.refused_as(Some("nobody"), query, json!({})).await.code, "UNAUTHENTICATED");
    desk.user("Rita", "RESPONDER").await;
    let viewer = desk.data_as(Some("rITA"), query, json!({})).await;
    assert_eq!(viewer["viewer"]["user"]["account"], "Rita");
    let id = desk.act_as(Some("rita"), "createIncident", json!({ "title": "Hers" })).await["incident"]["id"].clone();
    let log = desk.log(id.as_str().expect("an id")).await;
    assert_eq!(log[0]["actor"], json!({ "kind": "USER", "account": "Rita" }));
}

async fn assignees_are_suggested_me_first_then_recent_picks(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Whose").await;
    let mut ids = Vec::new();
    for (account, name) in [("amy", "Zoë Amy"), ("bob", "Bob"), ("cleo", "Cleo"), ("me", "Myself")] {
        ids.push(desk.act("upsertUser", json!({ "account": account, "name": name })).await["user"]["id"].clone());
    }
    let group = desk.act("upsertGroup", json!({ "account": "blue", "name": "Blue team" })).await["group"]["id"].clone();
    for owner in
        [json!({ "user": ids[2] }), json!({ "group": group }), json!({ "me": true }), json!({ "user": ids[2] })]
    {
        desk.clock.advance(Duration::minutes(1));
        desk.act_as(Some("me"), "assignIncident", json!({ "incidentId": id, "owner": owner })).await;
    }
    for (search, first, expected) in [
        (
            "",
            10,
            vec![
                ("me", "ME"),
                ("cleo", "RECENT_PICK"),
                ("blue", "RECENT_PICK"),
                ("bob", "MATCH"),
                ("local-manager", "MATCH"),
                ("amy", "MATCH"),
            ],
        ),
        ("", 2, vec![("me", "ME"), ("cleo", "RECENT_PICK")]),
        ("ZOE", 10, vec![("amy", "MATCH")]),
        (" Am", 10, vec![("blue", "RECENT_PICK"), ("amy", "MATCH")]),
        ("BL", 10, vec![("blue", "RECENT_PICK")]),
        ("%", 10, vec![]),
        ("", 0, vec![]),
    ] {
        let query = "query($search: String!, $first: Int!) { assigneeSuggestions(search: $search, first: $first) { reason owner { account } } }";
        let found =
            desk.data_as(Some("me"), query, json!({ "search": search, "first": first })).await["assigneeSuggestions"]
                .take();
        let found: Vec<_> = found
            .as_array()
            .expect("a list")
            .iter()
            .map(|s| (s["owner"]["account"].as_str().expect("text"), s["reason"].as_str().expect("text")))
            .collect();
        assert_eq!(found, expected, "{search:?}");
    }
    let mine = desk.data("{ assigneeSuggestions(first: 1) { owner { account } } }", json!({})).await;
    assert_eq!(mine["assigneeSuggestions"][0]["owner"]["account"], "local-manager", "another caller has other picks");
    for (search, first, path) in [("x".repeat(201), 5, "search"), (String::new(), 101, "first")] {
        let query =
            "query($search: String!, $first: Int!) { assigneeSuggestions(search: $search, first: $first) { reason } }";
        let refusal = desk.refused(query, json!({ "search": search, "first": first })).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some(path)));
    }
}

async fn tags_are_suggested_recent_ones_first(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Tagged").await;
    let tag = |tags: Value| json!({ "incidentId": id, "tags": tags });
    desk.act("addTags", tag(json!(["Alpha Mail", "mail B"]))).await;
    desk.clock.advance(Duration::days(15));
    desk.act("addTags", json!({ "incidentId": id, "tags": ["Mailbox", "other"], "systemTags": [{ "name": "Alpha mail", "kind": "EXPERT" }] })).await;
    let query = "query($search: String!) { tagSuggestions(search: $search) { wouldBeNew tags { name } } }";
    for (search, names, new) in [
        ("MAIL", vec!["Mailbox", "Alpha Mail", "mail B"], true),
        (" mailbox ", vec!["Mailbox"], false),
        ("alpha mail", vec!["Alpha Mail"], false),
        ("", vec!["Mailbox", "other", "Alpha Mail", "mail B"], false),
        ("nothing", vec![], true),
    ] {
        let found = desk.data(query, json!({ "search": search })).await["tagSuggestions"].take();
        assert_eq!(
            each(&found["tags"], "name"),
            names,
            "{search:?}: a system tag of the name is no use of the custom one"
        );
        assert_eq!(found["wouldBeNew"], new, "{search:?}");
    }
    let other = desk.incident("Tagged too").await;
    desk.act("addTags", json!({ "incidentId": other, "tags": ["MAIL b"] })).await;
    let found = desk.data(query, json!({ "search": "mail" })).await["tagSuggestions"].take();
    assert_eq!(each(&found["tags"], "name"), ["mail B", "Mailbox", "Alpha Mail"], "used again, it is recent again");
}
