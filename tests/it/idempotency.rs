//! Idempotency keys: a mutation is done once, however often and on whichever transport it is sent.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;
use crate::support::oracle::Driver;
use crate::support::process::Process;
use crate::support::triage::{laid_over, report};

each_database!(
    a_mutation_sent_again_is_done_once_and_shows_how_things_stand,
    a_key_with_other_input_is_refused,
    a_refusal_is_kept_too,
    what_cannot_be_read_takes_no_key,
    twins_at_once_have_one_effect,
    a_key_belongs_to_its_caller_for_a_day,
    an_incident_that_was_deleted_since_is_not_there_for_a_retry,
    every_kind_of_mutation_is_done_once,
    a_retry_of_an_announcement_has_an_upload_of_its_own,
    a_crash_between_commit_and_answer_does_nothing_twice,
);

const RESOLVE: &str = "mutation($input: ResolveIncidentInput!) { resolveIncident(input: $input) {
    changed replayed position clientMutationId alerts { id } incident { status version } } }";

async fn a_mutation_sent_again_is_done_once_and_shows_how_things_stand(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let made = desk.ingest(vec![report("1", json!({})), report("2", json!({}))], json!({ "newIncident": true })).await;
    let id = made["incident"]["id"].clone();
    let input = json!({ "incidentId": id, "note": "phishing kit taken down", "idempotencyKey": "close-4711",
                        "clientMutationId": "tab 1" });
    let first = desk.data(RESOLVE, json!({ "input": input })).await["resolveIncident"].take();
    assert_eq!((&first["changed"], &first["replayed"]), (&json!(true), &json!(false)));
    let end = desk.log_end().await;

    let again = laid_over(input.clone(), json!({ "clientMutationId": "tab 2" }));
    let second = desk.data(RESOLVE, json!({ "input": again })).await["resolveIncident"].take();
    let expected = laid_over(first.clone(), json!({ "replayed": true, "clientMutationId": "tab 2" }));
    assert_eq!(second, expected, "the same outcome, at the same position");

    desk.act("reopenIncident", json!({ "incidentId": id })).await;
    desk.act("renameIncident", json!({ "incidentId": id, "title": "Phishing kit on the VPN portal" })).await;
    // With literals, in another order and with another selection.
    let written = format!(
        "mutation {{ again: resolveIncident(input: {{ idempotencyKey: \"close-4711\", note: \"phishing kit taken down\",
            incidentId: {id} }}) {{ replayed incident {{ title status }} }} }}"
    );
    let third = desk.data(&written, json!({})).await["again"].take();
    let now = json!({ "title": "Phishing kit on the VPN portal", "status": "ACTIVE" });
    assert_eq!(third, json!({ "replayed": true, "incident": now }));
    assert_eq!(desk.log_end().await, end + 2, "only the two mutations between wrote to the log");
}

async fn a_key_with_other_input_is_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Impossible travel of a payroll clerk").await;
    desk.act("addTags", json!({ "incidentId": id, "tags": ["payroll"], "idempotencyKey": "run 7, step 2" })).await;
    let other = json!({ "incidentId": id, "tags": ["travel"], "idempotencyKey": "run 7, step 2" });
    let refusal = desk.deny("addTags", other).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("CONFLICT", Some("input.idempotencyKey")));
    assert_eq!(refusal.now["mutation"], "addTags");
    let mutation = json!({ "incidentId": id, "tags": ["payroll"], "idempotencyKey": "run 7, step 2" });
    assert_eq!(desk.deny("removeTags", mutation).await.code, "CONFLICT", "another mutation is other input");
    assert_eq!(desk.read(&id).await["tags"], json!([{ "name": "payroll", "kind": "CUSTOM" }]));
}

async fn a_refusal_is_kept_too(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let taken = desk.ingest(vec![report("1", json!({}))], json!({ "newIncident": true })).await;
    let (alert, holder) = (taken["alerts"][0]["id"].clone(), taken["incident"]["id"].clone());
    let id = desk.incident("Beacon to a parked domain").await;
    let link = json!({ "incidentId": id, "alerts": [alert], "idempotencyKey": "link-1" });
    let first = desk.deny("linkAlerts", link.clone()).await;
    assert_eq!(first.code, "CONFLICT");
    let other = desk.ingest(vec![report("2", json!({}))], json!({ "incident": id })).await["alerts"][0]["id"].take();
    let exchange =
        json!({ "incidentId": id, "unlinkAlerts": [other], "linkAlerts": [alert], "idempotencyKey": "exchange" });
    assert_eq!(desk.deny("updateIncident", exchange).await.code, "CONFLICT");
    let held = desk.alert(other.as_str().expect("an id")).await["incident"]["id"].take();
    assert_eq!(held, json!(id), "what it had begun is taken back");
    desk.act("unlinkAlerts", json!({ "incidentId": holder, "alerts": [alert] })).await;
    assert_eq!(desk.deny("linkAlerts", link.clone()).await, first, "nothing is done for it later");
    desk.act("linkAlerts", laid_over(link, json!({ "idempotencyKey": "link-2" }))).await;
}

async fn what_cannot_be_read_takes_no_key(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Brute force on the jump host").await;
    let rename = |title: &str, key: &str| json!({ "incidentId": id, "title": title, "idempotencyKey": key });
    assert_eq!(desk.deny("renameIncident", rename(" ", "rename")).await.path.as_deref(), Some("input.title"));
    let renamed = desk.act("renameIncident", rename("Password spray on the jump host", "rename")).await;
    assert_eq!(renamed["changed"], true);
    for (key, code) in [(" ".to_owned(), "INVALID"), ("k".repeat(201), "LIMIT"), ("nul\u{0}".to_owned(), "INVALID")] {
        let refusal = desk.deny("renameIncident", rename("Another", &key)).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some("input.idempotencyKey")));
    }
    desk.act("renameIncident", rename("Kept to the last character", &"é".repeat(200))).await;
}

async fn twins_at_once_have_one_effect(database: TestDatabase) {
    // Two nodes if the database allows it: a client may retry at the other node.
    let desks = [TestDesk::open(&database).await, TestDesk::open(&database).await];
    for round in 0..5 {
        let mut calls = JoinSet::new();
        for twin in 0..8 {
            let (url, selection) = (desks[twin % 2].url.clone(), if twin < 4 { "id" } else { "number title" });
            calls.spawn(async move {
                let query = format!(
                    "mutation($key: String!) {{ createIncident(input: {{ title: \"Token theft\", idempotencyKey: $key }}) {{
                        replayed position incident {{ {selection} }} }} }}"
                );
                let body = json!({ "query": query, "variables": { "key": format!("create-{round}") } });
                let request = reqwest::Client::new().post(format!("{url}/graphql")).json(&body);
                request.send().await.expect("an answer").json::<Value>().await.expect("JSON")
            });
        }
        let answers = calls.join_all().await;
        let outcomes: Vec<&Value> = answers.iter().map(|answer| &answer["data"]["createIncident"]).collect();
        let fresh = outcomes.iter().filter(|outcome| outcome["replayed"] == false).count();
        assert_eq!(fresh, 1, "{answers:#?}");
        assert!(outcomes.iter().all(|outcome| outcome["position"] == outcomes[0]["position"]), "{answers:#?}");
        let count = desks[0].data("{ incidents { totalCount } }", json!({})).await["incidents"]["totalCount"].take();
        assert_eq!(count, round + 1);
    }
}

async fn a_key_belongs_to_its_caller_for_a_day(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    desk.user("ben", "RESPONDER").await;
    let id = desk.incident("Mailbox rule that hides invoices").await;
    let comment = json!({ "incidentId": id, "body": "rule removed", "idempotencyKey": "note" });
    let written = desk.act_as(Some("ana"), "addComment", comment.clone()).await["comment"]["id"].take();
    assert_ne!(desk.act_as(Some("ben"), "addComment", comment.clone()).await["comment"]["id"], written);
    desk.clock.advance(chrono::Duration::hours(24) - chrono::Duration::seconds(1));
    assert_eq!(desk.act_as(Some("ana"), "addComment", comment.clone()).await["comment"]["id"], written);
    desk.clock.advance(chrono::Duration::seconds(1));
    let anew = desk.act_as(Some("ana"), "addComment", comment.clone()).await["comment"]["id"].take();
    assert_ne!(anew, written, "its day is over");
    assert_eq!(desk.act_as(Some("ana"), "addComment", comment.clone()).await["comment"]["id"], anew);
    desk.app.forget().await.expect("a tidy desk");
    assert_eq!(
        desk.act_as(Some("ana"), "addComment", comment.clone()).await["comment"]["id"],
        anew,
        "not its time yet"
    );
    desk.clock.advance(chrono::Duration::hours(24));
    desk.app.forget().await.expect("a tidy desk");
    let raw = database.connect().await;
    let kept = sea_orm::Statement::from_string(
        sea_orm::ConnectionTrait::get_database_backend(&raw),
        "SELECT 1 FROM idempotency",
    );
    assert!(sea_orm::ConnectionTrait::query_all_raw(&raw, kept).await.expect("rows").is_empty());
}

async fn an_incident_that_was_deleted_since_is_not_there_for_a_retry(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Noise of the vulnerability scanner").await;
    let tag = json!({ "incidentId": id, "tags": ["scanner"], "idempotencyKey": "tag" });
    desk.act("addTags", tag.clone()).await;
    let delete = json!({ "incidentId": id, "idempotencyKey": "delete" });
    let deleted = desk.act("deleteIncident", delete.clone()).await;
    assert_eq!(desk.act("deleteIncident", delete).await, deleted);
    assert_eq!(desk.deny("addTags", tag).await.code, "NOT_FOUND");
}

async fn every_kind_of_mutation_is_done_once(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let user = desk.user("ana", "RESPONDER").await;
    let keyed = |input: Value, key: &str| laid_over(input, json!({ "idempotencyKey": key }));
    let taken = |severity: &str| json!({ "alerts": [report("1", json!({ "severity": severity }))], "into": { "newIncident": true } });
    let first = desk.act("ingestAlerts", keyed(taken("HIGH"), "ingest")).await;
    assert_eq!(first["created"], 1);
    let alert = first["alerts"][0]["id"].clone();
    desk.act("ingestAlerts", taken("LOW")).await;
    let again = desk.act("ingestAlerts", keyed(taken("HIGH"), "ingest")).await;
    assert_eq!((&again["created"], &again["position"]), (&json!(1), &first["position"]));
    assert_eq!(desk.alert(alert.as_str().expect("an id")).await["severity"], "LOW", "the later report stands");

    let owner = json!({ "alertId": alert, "owner": { "user": user } });
    let assigned = desk.act("updateAlert", keyed(owner.clone(), "alert")).await;
    desk.act("updateAlert", json!({ "alertId": alert, "owner": null })).await;
    let replayed = desk.act("updateAlert", keyed(owner, "alert")).await;
    assert_eq!((&replayed["position"], &replayed["alert"]["owner"]), (&assigned["position"], &Value::Null));

    let group = desk.act("upsertGroup", keyed(json!({ "account": "tier-2", "name": "Tier 2" }), "group")).await;
    desk.act("upsertGroup", json!({ "account": "tier-2", "name": "Second line" })).await;
    let same = desk.act("upsertGroup", keyed(json!({ "account": "tier-2", "name": "Tier 2" }), "group")).await;
    assert_eq!((&same["group"]["id"], &same["group"]["name"]), (&group["group"]["id"], &json!("Second line")));
    let members = json!({ "groupId": group["group"]["id"], "users": [user] });
    desk.act("addGroupMembers", keyed(members.clone(), "join")).await;
    desk.act("removeGroupMembers", members.clone()).await;
    assert_eq!(desk.act("addGroupMembers", keyed(members, "join")).await["group"]["members"]["nodes"], json!([]));
    let role = json!({ "account": "ana", "role": "READER" });
    desk.act("upsertUser", keyed(role.clone(), "role")).await;
    desk.user("ana", "RESPONDER").await;
    assert_eq!(desk.act("upsertUser", keyed(role, "role")).await["user"]["role"], "RESPONDER");

    let (one, two) =
        (desk.incident("Cloud key in a public gist").await, desk.incident("Cloud key used from abroad").await);
    let merge = keyed(json!({ "sourceId": one, "targetId": two }), "merge");
    let merged = desk.act("mergeIncidents", merge.clone()).await;
    desk.act("undoMerge", json!({ "incidentId": one })).await;
    let again = desk.act("mergeIncidents", merge).await;
    assert_eq!(
        (&again["position"], &again["source"]["status"]),
        (&merged["position"], &json!("NEW")),
        "it stays undone"
    );

    let pin = json!({ "incidentId": one, "title": "Key used by an unknown agent", "query": "CloudTrail", "rows": [{ "n": 1 }] });
    let pinned = desk.act("addBookmark", keyed(pin.clone(), "pin")).await;
    assert_eq!(desk.act("addBookmark", keyed(pin, "pin")).await["bookmark"]["id"], pinned["bookmark"]["id"]);

    let view = json!({ "name": "Cloud keys", "filter": { "text": "cloud key" } });
    let saved = desk.act("createView", keyed(view.clone(), "view")).await;
    desk.act("updateView", json!({ "viewId": saved["view"]["id"], "name": "Keys" })).await;
    let again = desk.act("createView", keyed(view.clone(), "view")).await;
    assert_eq!((&again["view"]["id"], &again["view"]["name"]), (&saved["view"]["id"], &json!("Keys")));
    assert_eq!(desk.deny("createView", view).await.code, "CONFLICT", "without the key its slug is taken");
    let delete = keyed(json!({ "viewId": saved["view"]["id"] }), "delete view");
    let deleted = desk.act("deleteView", delete.clone()).await;
    assert_eq!(desk.act("deleteView", delete).await, deleted);
    let gone = json!({ "name": "Cloud keys", "filter": { "text": "cloud key" }, "idempotencyKey": "view" });
    assert_eq!(desk.deny("createView", gone).await.code, "NOT_FOUND");
}

async fn a_retry_of_an_announcement_has_an_upload_of_its_own(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Consent prompt of an unknown app").await;
    let png = b"\x89PNG\r\n\x1a\nthe prompt".to_vec();
    let announce = "mutation($input: CreateAttachmentInput!) { createAttachment(input: $input) {
        replayed uploadUrl attachment { id state } } }";
    let input = json!({ "incidentId": incident, "name": "prompt.png", "size": png.len(), "type": "PNG", "idempotencyKey": "shot" });
    let announced = async || desk.data(announce, json!({ "input": input })).await["createAttachment"].take();
    let (first, second) = (announced().await, announced().await);
    assert_eq!((&second["replayed"], &second["attachment"]), (&json!(true), &first["attachment"]));
    let put = async |url: &Value| {
        let url = format!("{}{}", desk.url, url.as_str().expect("a path"));
        reqwest::Client::new().put(url).body(png.clone()).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(put(&first["uploadUrl"]).await, 404, "its token is void");
    assert_eq!(put(&second["uploadUrl"]).await, 200);
    let third = announced().await;
    assert_eq!((&third["uploadUrl"], &third["attachment"]["state"]), (&Value::Null, &json!("STORED")));
}

/// How often the server is killed.
const KILLS: usize = 12;

async fn a_crash_between_commit_and_answer_does_nothing_twice(database: TestDatabase) {
    const CREATE: &str =
        "mutation($key: String!) { createIncident(input: { title: \"Web shell\", idempotencyKey: $key }) {
        replayed incident { number } } }";
    let mut server = Process::serve(&database.url).await;
    let driver = Driver::new();
    let (mut dice, mut replayed) = (Dice::new(4), 0);
    let mut key = 0;
    for _ in 0..KILLS {
        // Kill the server during a series of mutations, each of which is retried until it is answered.
        let address = server.address.clone();
        let (client, mut next) = (driver.clone(), key);
        let row = tokio::spawn(async move {
            while client.run(&address, CREATE, json!({ "key": next.to_string() })).await.is_some() {
                next += 1;
            }
            next
        });
        tokio::time::sleep(std::time::Duration::from_millis(20 + dice.below(60) as u64)).await;
        server.kill();
        let unanswered = row.await.expect("a row");
        server = Process::serve(&database.url).await;
        let answer = driver.run(&server.address, CREATE, json!({ "key": unanswered.to_string() })).await;
        let answer = answer.expect("an answer");
        assert!(answer.get("errors").is_none(), "{answer}");
        replayed += usize::from(answer["data"]["createIncident"]["replayed"] == true);
        key = unanswered + 1;
    }
    let count = driver.run(&server.address, "{ incidents { totalCount } }", json!({})).await.expect("an answer");
    assert_eq!(count["data"]["incidents"]["totalCount"], key, "one incident for each key, {replayed} found done");
}
