//! Bulk jobs: each of many incidents is changed once, through restarts, and no command waits for long.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::plans::explain;
use crate::statements::Sent;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;
use crate::support::oracle::Driver;
use crate::support::process::Process;
use crate::support::stream::offset;
use crate::support::triage::{each, laid_over, report};
use crate::support::waiting::{LONG_PATIENCE, PATIENCE, a_moment};

each_database!(
    a_job_by_filter_changes_those_that_it_selected_when_it_was_made,
    a_job_by_ids_says_what_came_of_each,
    a_dry_run_counts_and_changes_nothing,
    every_change_of_a_job_names_it_as_its_cause,
    a_job_is_followed_to_its_end,
    a_job_that_is_stopped_leaves_the_rest,
    what_a_job_cannot_be_is_refused,
    a_job_is_made_once_under_a_key,
    a_responder_whose_rights_end_changes_nothing_more,
    a_mutation_beside_a_job_waits_for_one_chunk_at_most,
    a_job_goes_on_after_kill_9_and_changes_each_once,
    two_nodes_share_the_work_of_jobs,
    a_chunk_of_a_job_takes_few_statements,
    a_job_does_to_each_what_an_update_of_it_does,
    jobs_are_listed_newest_first,
    a_list_of_jobs_is_read_along_its_index,
    a_dry_run_says_what_a_job_would_do,
    a_dry_run_tries_the_first_incidents_only,
    an_incident_that_cannot_be_changed_stops_no_job,
);

const JOB: &str = "id state total settled changed unchanged refused actor { account } createdAt finishedAt";

impl TestDesk {
    async fn bulk_as(&self, account: Option<&str>, input: Value) -> Value {
        let query = format!(
            "mutation($input: BulkUpdateIncidentsInput!) {{ bulkUpdateIncidents(input: $input) {{
                total replayed clientMutationId job {{ {JOB} }} }} }}"
        );
        self.data_as(account, &query, json!({ "input": input })).await["bulkUpdateIncidents"].take()
    }

    async fn bulk(&self, target: Value, edit: Value) -> String {
        let made = self.bulk_as(None, json!({ "target": target, "edit": edit })).await;
        made["job"]["id"].as_str().expect("an id").to_owned()
    }

    async fn bulk_denied(&self, input: Value) -> crate::support::desk::Refusal {
        let query = "mutation($input: BulkUpdateIncidentsInput!) { bulkUpdateIncidents(input: $input) { job { id } } }";
        self.refused(query, json!({ "input": input })).await
    }

    async fn job(&self, id: &str) -> Value {
        let query = format!(
            "query($id: ID!) {{ bulkJob(id: $id) {{ {JOB} items(first: 100) {{
                nodes {{ incidentId outcome code message incident {{ id }} }} pageInfo {{ hasNextPage }} }} }} }}"
        );
        self.data(&query, json!({ "id": id })).await["bulkJob"].take()
    }

    async fn ended(&self, id: &str) -> Value {
        let ended = async {
            loop {
                let job = self.job(id).await;
                if job["state"] != "RUNNING" {
                    return job;
                }
                a_moment().await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("a job ends")
    }

    async fn tagged(&self, tag: &str) -> Value {
        let query = "query($filter: IncidentFilterInput) { incidents(filter: $filter) { totalCount } }";
        let filter = json!({ "tags": { "any": [tag] }, "status": ["NEW", "ACTIVE", "RESOLVED"] });
        self.data(query, json!({ "filter": filter })).await["incidents"]["totalCount"].take()
    }
}

async fn a_job_by_filter_changes_those_that_it_selected_when_it_was_made(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    for host in 0..120 {
        let severity = if host % 3 == 0 { "HIGH" } else { "LOW" };
        desk.create(json!({ "title": format!("Scanner hit on host {host}"), "severity": severity })).await;
    }
    let taken = desk.ingest(vec![report("1", json!({}))], json!({ "newIncident": true })).await;
    let filter = json!({ "filter": { "severity": ["LOW", "MEDIUM"] } });
    let edit = json!({ "status": "RESOLVED", "note": "red team day", "addTags": ["red team"], "owner": { "me": true },
                       "classification": { "informationalExpectedActivity": "SECURITY_TESTING" } });
    let made = desk.bulk_as(Some("ana"), json!({ "target": filter, "edit": edit, "clientMutationId": "tab" })).await;
    assert_eq!((&made["total"], &made["job"]["total"], &made["replayed"]), (&json!(81), &json!(81), &json!(false)));
    assert_eq!((&made["job"]["actor"]["account"], &made["clientMutationId"]), (&json!("ana"), &json!("tab")));
    let later = desk.create(json!({ "title": "Scanner hit that came later", "severity": "LOW" })).await;
    let job = desk.ended(made["job"]["id"].as_str().expect("an id")).await;
    let counts = ["settled", "changed", "unchanged", "refused"].map(|count| job[count].clone());
    assert_eq!((&job["state"], counts), (&json!("DONE"), [json!(81), json!(81), json!(0), json!(0)]));
    assert_eq!(desk.tagged("red team").await, 81);
    assert_eq!(desk.read(later["id"].as_str().expect("an id")).await["status"], "NEW", "it was not there yet");
    let one = desk.read(taken["incident"]["id"].as_str().expect("an id")).await;
    assert_eq!((&one["status"], &one["owner"]["account"]), (&json!("RESOLVED"), &json!("ana")));
    assert_eq!((&one["resolution"]["note"], &one["version"]), (&json!("red team day"), &json!(2)));
    let alert = desk.alert(taken["alerts"][0]["id"].as_str().expect("an id")).await;
    assert_eq!((&alert["status"], &alert["owner"]["account"]), (&json!("RESOLVED"), &json!("ana")));
}

async fn a_job_by_ids_says_what_came_of_each(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let fresh = desk.incident("Macro in an invoice").await;
    let done = desk.incident("Macro in a reminder").await;
    desk.act("addTags", json!({ "incidentId": done, "tags": ["macro"] })).await;
    let full = desk.incident("Macro in everything").await;
    let many: Vec<String> = (0..100).map(|n| format!("tag {n}")).collect();
    desk.act("addTags", json!({ "incidentId": full, "tags": many })).await;
    let gone = desk.incident("Macro in a test mail").await;
    desk.act("deleteIncident", json!({ "incidentId": gone })).await;
    let unknown = "incident:01234567-89ab-7def-8123-456789abcdef".to_owned();
    let ids = [&fresh, &done, &full, &gone, &unknown, &fresh];
    let before = desk.read(&full).await;
    let id = desk.bulk(json!({ "ids": ids }), json!({ "addTags": ["Macro"] })).await;
    let job = desk.ended(&id).await;
    let counts = ["total", "changed", "unchanged", "refused"].map(|count| job[count].clone());
    assert_eq!(counts, [json!(5), json!(1), json!(1), json!(3)], "twice is once");
    let of = |id: &String| {
        let items = job["items"]["nodes"].as_array().expect("items");
        items.iter().find(|item| item["incidentId"] == **id).expect("an item").clone()
    };
    assert_eq!((&of(&fresh)["outcome"], &of(&fresh)["incident"]["id"]), (&json!("CHANGED"), &json!(fresh)));
    assert_eq!(of(&done)["outcome"], "UNCHANGED");
    assert_eq!((&of(&full)["outcome"], &of(&full)["code"]), (&json!("REFUSED"), &json!("LIMIT")));
    assert_eq!(of(&full)["message"], "an incident has at most 100 tags");
    for missing in [&gone, &unknown] {
        assert_eq!((&of(missing)["code"], &of(missing)["incident"]), (&json!("NOT_FOUND"), &Value::Null));
    }
    assert_eq!(desk.read(&full).await, before, "what is refused stays as it was");
    let refused = "query($id: ID!) { bulkJob(id: $id) { items(outcome: REFUSED, last: 2) {
        nodes { incidentId } pageInfo { hasPreviousPage } } } }";
    let page = desk.data(refused, json!({ "id": id })).await["bulkJob"]["items"].take();
    assert_eq!(
        (page["nodes"].as_array().expect("items").len(), &page["pageInfo"]["hasPreviousPage"]),
        (2, &json!(true))
    );
}

async fn a_dry_run_counts_and_changes_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for host in 0..7 {
        desk.incident(&format!("Beacon from host {host}")).await;
    }
    let end = desk.log_end().await;
    let edit = json!({ "addTags": ["beacon"] });
    let counted = desk.bulk_as(None, json!({ "target": { "filter": {} }, "edit": edit, "dryRun": true })).await;
    assert_eq!((&counted["total"], &counted["job"]), (&json!(7), &Value::Null));
    let none = json!({ "target": { "filter": { "severity": ["HIGH"] } }, "edit": edit });
    let empty = desk.bulk_as(None, none).await;
    assert_eq!((&empty["job"]["state"], &empty["total"]), (&json!("DONE"), &json!(0)), "nothing to do is done");
    assert_eq!(desk.log_end().await, end);
}

async fn every_change_of_a_job_names_it_as_its_cause(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut incidents = Vec::new();
    for host in 0..3 {
        incidents.push(desk.incident(&format!("Miner on host {host}")).await);
    }
    let made =
        json!({ "target": { "ids": incidents }, "edit": { "severity": "LOW" }, "clientMutationId": "calm down" });
    let id = desk.bulk_as(None, made).await["job"]["id"].take();
    desk.ended(id.as_str().expect("an id")).await;
    for incident in &incidents {
        let query = "query($id: ID!) { incident(by: { id: $id }) { activity(last: 1) { nodes {
            cause { kind name jobId } clientMutationId actor { account } } } } }";
        let change = desk.data(query, json!({ "id": incident })).await["incident"]["activity"]["nodes"][0].take();
        let cause = json!({ "kind": "BULK", "name": "bulkUpdateIncidents", "jobId": id });
        assert_eq!((&change["cause"], &change["clientMutationId"]), (&cause, &json!("calm down")));
    }
}

async fn a_job_is_followed_to_its_end(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for host in 0..130 {
        desk.incident(&format!("Failed logins on host {host}")).await;
    }
    let id = desk.bulk(json!({ "filter": {} }), json!({ "status": "ACTIVE" })).await;
    let query = "subscription($id: ID!) { bulkProgress(id: $id) { state settled total items(first: 1) { nodes { outcome } } } }";
    let mut progress = desk.follow(query, json!({ "id": id })).await;
    let mut settled = 0;
    let last = loop {
        let item = progress.item().await;
        let now = item["settled"].as_u64().expect("a count");
        assert!(now >= settled, "{item}");
        settled = now;
        if item["state"] != "RUNNING" {
            break item;
        }
    };
    assert_eq!((&last["state"], &last["settled"]), (&json!("DONE"), &json!(130)));
    assert_eq!(last["items"]["nodes"][0]["outcome"], "CHANGED");
    assert!(matches!(progress.frame().await, crate::support::socket::Frame::Json(end) if end["type"] == "complete"));
    let mut late = desk.follow(query, json!({ "id": id })).await;
    assert_eq!(late.item().await["state"], "DONE", "who comes late sees the end");
}

async fn a_job_that_is_stopped_leaves_the_rest(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    desk.user("ben", "RESPONDER").await;
    for host in 0..250 {
        desk.incident(&format!("Expired agent on host {host}")).await;
    }
    let made = json!({ "target": { "filter": {} }, "edit": { "addTags": ["agent"] } });
    let id = desk.bulk_as(Some("ana"), made).await["job"]["id"].take();
    let cancel =
        format!("mutation($id: ID!) {{ cancelBulkJob(input: {{ jobId: $id }}) {{ changed job {{ {JOB} }} }} }}");
    assert_eq!(desk.refused_as(Some("ben"), &cancel, json!({ "id": id })).await.code, "FORBIDDEN");
    let mut payload = desk.data_as(Some("ana"), &cancel, json!({ "id": id })).await["cancelBulkJob"].take();
    let stopped = payload["job"].take();
    assert_eq!((&stopped["state"], &payload["changed"]), (&json!("CANCELLED"), &json!(true)));
    let again = desk.data_as(Some("ana"), &cancel, json!({ "id": id })).await["cancelBulkJob"]["changed"].take();
    assert_eq!(again, false, "it was stopped before");
    assert!(stopped["settled"].as_u64().expect("a count") < 250, "{stopped}");
    assert_eq!(desk.tagged("agent").await, stopped["changed"], "what was done stays done");
    // Another job runs meanwhile: the worker continues, and skips the stopped job.
    let other = desk.bulk(json!({ "filter": { "number": [1] } }), json!({ "severity": "LOW" })).await;
    desk.ended(&other).await;
    assert_eq!(desk.ended(id.as_str().expect("an id")).await["settled"], stopped["settled"]);
    assert_eq!(desk.tagged("agent").await, stopped["changed"]);
    desk.data(&cancel, json!({ "id": id })).await;
}

async fn what_a_job_cannot_be_is_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("rea", "READER").await;
    let incident = desk.incident("Nothing happens to it").await;
    let target = json!({ "ids": [incident] });
    let cases = [
        (json!({ "target": target, "edit": {} }), "INVALID", "input.edit"),
        (json!({ "target": target, "edit": { "status": "REDIRECTED" } }), "INVALID", "input.edit.status"),
        (json!({ "target": target, "edit": { "addTags": [" "] } }), "INVALID", "input.edit.addTags.0"),
        (
            json!({ "target": target, "edit": { "owner": { "user": "user:01234567-89ab-7def-8123-456789abcdef" } } }),
            "NOT_FOUND",
            "input.edit.owner.user",
        ),
        (json!({ "target": target, "edit": { "note": "n".repeat(30_001) } }), "LIMIT", "input.edit.note"),
        (
            json!({ "target": { "ids": ["alert:01234567-89ab-7def-8123-456789abcdef"] }, "edit": { "status": "ACTIVE" } }),
            "INVALID",
            "input.target.ids.0",
        ),
        (
            json!({ "target": { "filter": { "text": " " } }, "edit": { "status": "ACTIVE" } }),
            "INVALID",
            "input.target.filter.text",
        ),
    ];
    for (input, code, path) in cases {
        let refusal = desk.bulk_denied(input.clone()).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some(path)), "{input}");
    }
    let both = json!({ "target": { "ids": [incident], "filter": {} }, "edit": { "status": "ACTIVE" } });
    assert_eq!(desk.bulk_denied(both).await.code, "INVALID", "exactly one of the two");
    let query = "mutation($input: BulkUpdateIncidentsInput!) { bulkUpdateIncidents(input: $input) { total } }";
    for dry_run in [true, false] {
        let input = json!({ "target": target, "edit": { "status": "ACTIVE" }, "dryRun": dry_run });
        assert_eq!(desk.refused_as(Some("rea"), query, json!({ "input": input })).await.code, "FORBIDDEN");
    }
    let unknown = json!({ "id": "bulk:01234567-89ab-7def-8123-456789abcdef" });
    for query in [
        "query($id: ID!) { bulkJob(id: $id) { id } }",
        "mutation($id: ID!) { cancelBulkJob(input: { jobId: $id }) { total } }",
    ] {
        assert_eq!(desk.refused(query, unknown.clone()).await.code, "NOT_FOUND");
    }
    assert_eq!(desk.read(&incident).await["version"], 1);
}

async fn a_job_is_made_once_under_a_key(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.incident("Seen once").await;
    let input = json!({ "target": { "filter": {} }, "edit": { "status": "RESOLVED" }, "idempotencyKey": "nightly" });
    let first = desk.bulk_as(None, input.clone()).await;
    let done = desk.ended(first["job"]["id"].as_str().expect("an id")).await;
    desk.incident("Seen later").await;
    let again = desk.bulk_as(None, input).await;
    assert_eq!((&again["replayed"], &again["job"]["id"]), (&json!(true), &first["job"]["id"]));
    assert_eq!((&again["job"]["state"], &done["changed"]), (&json!("DONE"), &json!(1)));
}

async fn a_responder_whose_rights_end_changes_nothing_more(database: TestDatabase) {
    // A pause of the machine can let a job end before the rights do.
    const ROUNDS_MAX: usize = 10;
    let desk = TestDesk::open(&database).await;
    for host in 0..250 {
        desk.incident(&format!("Odd process on host {host}")).await;
    }
    for round in 0..ROUNDS_MAX {
        desk.user("ana", "RESPONDER").await;
        let tag = format!("odd {round}");
        let made = json!({ "target": { "filter": {} }, "edit": { "addTags": [tag] } });
        let id = desk.bulk_as(Some("ana"), made).await["job"]["id"].take();
        desk.user("ana", "READER").await;
        let job = desk.ended(id.as_str().expect("an id")).await;
        assert_eq!(job["settled"], 250);
        assert_eq!(desk.tagged(&tag).await, job["changed"]);
        if job["refused"] == 0 {
            continue;
        }
        let query = "query($id: ID!) { bulkJob(id: $id) { items(outcome: REFUSED, last: 1) { nodes { code } } } }";
        let last = desk.data(query, json!({ "id": id })).await;
        assert_eq!(last["bulkJob"]["items"]["nodes"][0]["code"], "FORBIDDEN");
        return;
    }
    panic!("no job outlasted the rights of its user");
}

async fn a_mutation_beside_a_job_waits_for_one_chunk_at_most(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for host in 0..300 {
        desk.incident(&format!("Phishing click on host {host}")).await;
    }
    let last = desk.incident("The one that matters").await;
    let begun = desk.log_end().await;
    let id = desk.bulk(json!({ "filter": {} }), json!({ "addTags": ["clicks"] })).await;
    // Made while the job runs: at most one chunk's changes lie between the call and its change.
    let mut between = Vec::new();
    while desk.job(&id).await["state"] == "RUNNING" {
        let called = desk.log_end().await;
        let made = desk.act("addComment", json!({ "incidentId": last, "body": "I am on it" })).await;
        between.push(offset(&made["position"]) - called);
    }
    assert!(desk.log_end().await >= begun + 301, "all of it");
    between.sort_unstable();
    // One chunk in progress, and one that was queued before the call. If the test itself is delayed before its call
    // arrives, more chunks pass, so half of the calls count.
    let usual = between[between.len() / 2];
    assert!(usual <= 2 * 50 + 1, "{usual} changes, of {between:?}");
}

/// How often the server is killed during the job.
const KILLS: usize = 5;

async fn a_job_goes_on_after_kill_9_and_changes_each_once(database: TestDatabase) {
    const INCIDENTS: usize = 300;
    {
        let desk = TestDesk::open(&database).await;
        for host in 0..INCIDENTS {
            desk.incident(&format!("Old signature on host {host}")).await;
        }
    }
    let mut server = Process::serve(&database.url).await;
    let driver = Driver::new();
    let query = "mutation { bulkUpdateIncidents(input: { target: { filter: {} }, edit: { status: ACTIVE, addTags: [\"old\"] } }) {
        job { id } } }";
    let made = driver.run(&server.address, query, json!({})).await.expect("an answer");
    let id = made["data"]["bulkUpdateIncidents"]["job"]["id"].clone();
    let mut dice = Dice::new(7);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(20 + dice.below(150) as u64)).await;
        server.kill();
        server = Process::serve(&database.url).await;
    }
    let job = "query($id: ID!) { bulkJob(id: $id) { state changed unchanged refused } }";
    let ended = async {
        loop {
            let answer = driver.run(&server.address, job, json!({ "id": id })).await.expect("an answer");
            if answer["data"]["bulkJob"]["state"] == "DONE" {
                return answer["data"]["bulkJob"].clone();
            }
            a_moment().await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, ended).await.expect("the job ends");
    assert_eq!(done, json!({ "state": "DONE", "changed": INCIDENTS, "unchanged": 0, "refused": 0 }));
    let versions =
        "query($after: String) { incidents(first: 100, after: $after) { nodes { version } pageInfo { endCursor } } }";
    let (mut seen, mut after) = (0, Value::Null);
    while seen < INCIDENTS {
        let page = driver.run(&server.address, versions, json!({ "after": after })).await.expect("an answer");
        let page = &page["data"]["incidents"];
        assert!(each(&page["nodes"], "version").iter().all(|version| **version == 2), "each changed once");
        seen += page["nodes"].as_array().expect("incidents").len();
        after = page["pageInfo"]["endCursor"].clone();
    }
}

async fn two_nodes_share_the_work_of_jobs(database: TestDatabase) {
    let nodes = [TestDesk::open(&database).await, TestDesk::open(&database).await];
    for host in 0..150 {
        nodes[0].incident(&format!("Weak cipher on host {host}")).await;
    }
    let mut jobs = Vec::new();
    for (number, tag) in ["tls", "cipher", "audit", "q4"].iter().enumerate() {
        let node = &nodes[number % 2];
        let edit = laid_over(json!({}), json!({ "addTags": [tag] }));
        jobs.push(node.bulk(json!({ "filter": {} }), edit).await);
    }
    for job in &jobs {
        let ended = nodes[1].ended(job).await;
        assert_eq!((&ended["state"], &ended["changed"]), (&json!("DONE"), &json!(150)), "{:?}", database.kind);
    }
    let nodes_of_one = if database.kind == Kind::Sqlite { "one file" } else { "one database" };
    let log = nodes[0].log_end().await;
    assert_eq!(log, 150 + 4 * 150, "each incident once for each job, by two nodes on {nodes_of_one}");
}

async fn a_chunk_of_a_job_takes_few_statements(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let mut alerts = 0;
    for n in 0..50 {
        if n % 5 == 0 {
            desk.ingest(vec![report(&n.to_string(), json!({}))], json!({ "newIncident": true })).await;
            alerts += 1;
        } else {
            desk.incident(&format!("Scan of host {n}")).await;
        }
    }
    sent.take();
    let edit = json!({ "status": "RESOLVED", "addTags": ["scan"], "owner": { "me": true } });
    let id = desk.bulk(json!({ "filter": {} }), edit).await;
    let writes = |statement: &watchfloor::storage::Statement| !statement.sql.starts_with("SELECT");
    let mut statements = Vec::new();
    while desk.job(&id).await["state"] == "RUNNING" {
        a_moment().await;
    }
    statements.extend(sent.take().into_iter().filter(writes));
    assert_eq!((desk.tagged("scan").await, alerts), (json!(50), 10));
    assert!(
        statements.len() < 25,
        "{}: {:#?}",
        statements.len(),
        statements.iter().map(|it| &it.sql).collect::<Vec<_>>()
    );
    desk.verified().await;
}

/// Applies the same edits by a job on one desk and by updates on another, in all states of an incident.
async fn a_job_does_to_each_what_an_update_of_it_does(database: TestDatabase) {
    let other = TestDatabase::fresh(database.kind).await;
    let (one, two) = (TestDesk::open(&database).await, TestDesk::open(&other).await);
    let ids = [several(&one).await, several(&two).await];
    let edits = [
        json!({ "addTags": ["b", "A"], "removeTags": ["old"] }),
        json!({ "status": "RESOLVED", "note": "n".repeat(900), "owner": { "me": true } }),
        json!({ "addTags": ["b"] }),
        json!({ "status": "ACTIVE", "severity": "HIGH" }),
        json!({ "owner": null, "note": "not resolved" }),
        json!({ "owner": null, "classification": { "falsePositive": "OTHER" } }),
    ];
    for edit in edits {
        let job = one.ended(&one.bulk(json!({ "ids": ids[0] }), edit.clone()).await).await;
        let outcomes: Vec<String> =
            each(&job["items"]["nodes"], "outcome").iter().map(|outcome| outcome.to_string()).collect();
        let mut expected = Vec::new();
        let mut by_id = ids[1].clone();
        by_id.sort();
        for id in &by_id {
            let mut input = edit.clone();
            input["incidentId"] = json!(id);
            let query = "mutation($input: UpdateIncidentInput!) { updateIncident(input: $input) { changed } }";
            let answer = two.graphql_as(None, query, json!({ "input": input })).await;
            expected.push(match answer["data"]["updateIncident"]["changed"].as_bool() {
                Some(true) => "CHANGED",
                Some(false) => "UNCHANGED",
                None => "REFUSED",
            });
        }
        let sorted = |mut outcomes: Vec<String>| {
            outcomes.sort();
            outcomes
        };
        let expected = expected.into_iter().map(|outcome| format!("{outcome:?}")).collect();
        assert_eq!(sorted(outcomes), sorted(expected), "{edit}");
    }
    assert_eq!(shown(&one).await, shown(&two).await);
    one.verified().await;
    two.verified().await;
}

/// Creates incidents of every kind: with and without alerts, with very many, resolved, merged, deleted.
async fn several(desk: &TestDesk) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(desk.create(json!({ "title": format!("Plain {n}"), "tags": ["old"] })).await["id"].clone());
    }
    for n in 0..4 {
        let alerts = (0..3).map(|k| report(&format!("{n}-{k}"), json!({}))).collect();
        ids.push(desk.ingest(alerts, json!({ "newIncident": true })).await["incident"]["id"].clone());
    }
    let many = (0..210).map(|k| report(&format!("many-{k}"), json!({}))).collect();
    ids.push(desk.ingest(many, json!({ "newIncident": true })).await["incident"]["id"].clone());
    let ids: Vec<String> = ids.iter().map(|id| id.as_str().expect("an id").to_owned()).collect();
    desk.update(&ids[1], json!({ "status": "RESOLVED" })).await;
    desk.update(&ids[7], json!({ "status": "RESOLVED", "note": "Before." })).await;
    desk.act("mergeIncidents", json!({ "targetId": ids[2], "sourceId": ids[3] })).await;
    desk.act("deleteIncident", json!({ "incidentId": ids[4] })).await;
    ids
}

/// Returns all incidents by number, without the ids and times that differ between desks.
async fn shown(desk: &TestDesk) -> Value {
    let query = "{ incidents(filter: { status: [NEW, ACTIVE, RESOLVED] }, first: 50) { nodes { number version status severity title
        owner { account } tags { name } classification { kind } resolution { note by { account } } alertCount
        alerts(first: 5) { nodes { status owner { account } } } } } }";
    let mut shown = desk.data(query, json!({})).await["incidents"]["nodes"].take();
    shown.as_array_mut().expect("incidents").sort_by_key(|incident| incident["number"].as_i64());
    shown
}

const JOBS: &str = "query($filter: BulkJobFilterInput, $first: Int, $after: String, $last: Int, $before: String) {
    bulkJobs(filter: $filter, first: $first, after: $after, last: $last, before: $before) {
        nodes { id state actor { account } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

async fn jobs_are_listed_newest_first(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let users = [desk.user("ana", "RESPONDER").await, desk.user("ben", "RESPONDER").await];
    desk.user("rea", "READER").await;
    desk.incident("Old driver on host 1").await;
    let mut made = Vec::new();
    for number in 0..7 {
        desk.clock.advance(chrono::Duration::seconds(1));
        let input = json!({ "target": { "filter": {} }, "edit": { "addTags": [format!("round {number}")] } });
        let account = ["ana", "ben"][number % 2];
        made.push(desk.bulk_as(Some(account), input).await["job"]["id"].take());
    }
    for id in &made {
        desk.ended(id.as_str().expect("an id")).await;
    }
    made.reverse();
    let read = async |arguments: Value| desk.data_as(Some("rea"), JOBS, arguments).await["bulkJobs"].take();
    let ids = |page: &Value| each(&page["nodes"], "id").into_iter().cloned().collect::<Vec<Value>>();
    assert_eq!(ids(&read(json!({})).await), made, "a reader sees all jobs");
    let mut seen = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = read(json!({ "first": 3, "after": after })).await;
        assert_eq!(page["pageInfo"]["hasPreviousPage"], !after.is_null());
        seen.extend(ids(&page));
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    assert_eq!(seen, made);
    let oldest = read(json!({ "last": 2 })).await;
    assert_eq!((ids(&oldest), &oldest["pageInfo"]["hasPreviousPage"]), (made[5..].to_vec(), &json!(true)));
    let before = read(json!({ "last": 2, "before": oldest["pageInfo"]["startCursor"] })).await;
    assert_eq!(ids(&before), made[3..5]);
    let by_ben = read(json!({ "filter": { "actor": users[1], "state": "DONE" } })).await;
    assert_eq!(ids(&by_ben), [made[1].clone(), made[3].clone(), made[5].clone()]);
    assert_eq!(ids(&read(json!({ "filter": { "state": "RUNNING" } })).await), Vec::<Value>::new());
    for (arguments, code, path) in [
        (json!({ "first": 101 }), "LIMIT", "first"),
        (json!({ "after": "!" }), "INVALID", "after"),
        (json!({ "filter": { "actor": made[0] } }), "INVALID", "filter.actor"),
    ] {
        let refusal = desk.refused(JOBS, arguments.clone()).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some(path)), "{arguments}");
    }
}

async fn a_list_of_jobs_is_read_along_its_index(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let ana = desk.user("ana", "RESPONDER").await;
    desk.incident("Old driver on host 1").await;
    let made = desk.bulk(json!({ "filter": {} }), json!({ "addTags": ["old"] })).await;
    desk.ended(&made).await;
    let pool = database.connect().await;
    let (id, of) = match database.kind {
        Kind::Sqlite => ("randomblob(16)", "user_id"),
        Kind::Postgres => ("gen_random_uuid()", "user_id"),
    };
    let copies = format!(
        "INSERT INTO bulk_job (id, user_id, actor, edit, total, changed, unchanged, refused, state, created_at)
         WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 3000)
         SELECT {id}, {of}, actor, edit, 0, 0, 0, 0, CASE n % 3 WHEN 0 THEN 'CANCELLED' ELSE 'DONE' END, created_at
         FROM bulk_job CROSS JOIN count"
    );
    pool.execute_unprepared(&copies).await.expect("three thousand jobs");
    if database.kind == Kind::Postgres {
        pool.execute_unprepared("ANALYZE").await.expect("statistics");
    }
    for filter in [
        json!({}),
        json!({ "state": "CANCELLED" }),
        json!({ "actor": ana }),
        json!({ "state": "CANCELLED", "actor": ana }),
    ] {
        sent.take();
        desk.data(JOBS, json!({ "filter": filter })).await;
        let statements = sent.take();
        let read = statements.iter().find(|statement| statement.sql.contains("ORDER BY \"bulk_job\"")).expect("a page");
        let plan = explain(&pool, read).await;
        assert!(!plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{filter}: {}\n{plan}", read.sql);
        assert!(!plan.contains("Seq Scan"), "{filter}: {}\n{plan}", read.sql);
    }
}

impl TestDesk {
    async fn dry_run(&self, target: Value, edit: Value) -> Value {
        let query =
            "mutation($input: BulkUpdateIncidentsInput!) { bulkUpdateIncidents(input: $input) { total job { id }
            preview { remaining items { incidentId outcome code message incident { id version } } } } }";
        let input = json!({ "target": target, "edit": edit, "dryRun": true });
        self.data(query, json!({ "input": input })).await["bulkUpdateIncidents"].take()
    }
}

/// Compares dry runs with the jobs that follow them, on incidents in all states.
async fn a_dry_run_says_what_a_job_would_do(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ids = several(&desk).await;
    let mut met = std::collections::BTreeSet::new();
    for edit in [
        json!({ "addTags": ["b", "A"], "removeTags": ["old"] }),
        json!({ "status": "RESOLVED", "note": "n".repeat(900), "owner": { "me": true } }),
        json!({ "addTags": ["b"], "status": "RESOLVED" }),
        json!({ "status": "ACTIVE", "severity": "HIGH" }),
        json!({ "note": "not resolved" }),
    ] {
        let (end, before) = (desk.log_end().await, shown(&desk).await);
        let tried = desk.dry_run(json!({ "ids": ids }), edit.clone()).await;
        assert_eq!((&tried["job"], &tried["preview"]["remaining"]), (&Value::Null, &json!(0)), "{edit}");
        assert_eq!((desk.log_end().await, shown(&desk).await), (end, before), "a dry run changes nothing");
        let job = desk.ended(&desk.bulk(json!({ "ids": ids }), edit.clone()).await).await;
        let (said, done) = (&tried["preview"]["items"], &job["items"]["nodes"]);
        assert_eq!(tried["total"], job["total"]);
        for field in ["incidentId", "outcome", "code", "message"] {
            assert_eq!(each(said, field), each(done, field), "{field} after {edit}");
        }
        met.extend(each(said, "outcome").into_iter().map(ToString::to_string));
    }
    assert_eq!(met.len(), 3, "each outcome was met: {met:?}");
    desk.verified().await;
}

async fn a_dry_run_tries_the_first_incidents_only(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for host in 0..53 {
        desk.incident(&format!("Old kernel on host {host}")).await;
    }
    let tried = desk.dry_run(json!({ "filter": {} }), json!({ "status": "ACTIVE" })).await;
    assert_eq!((&tried["total"], &tried["preview"]["remaining"]), (&json!(53), &json!(3)));
    let items = &tried["preview"]["items"];
    assert!(each(items, "outcome").iter().all(|outcome| **outcome == "CHANGED"), "{items}");
    let ids: Vec<&Value> = each(items, "incidentId");
    assert!(ids.len() == 50 && ids.is_sorted_by_key(|id| id.as_str()), "in the order of a job");
    let empty = desk.dry_run(json!({ "ids": [] }), json!({ "status": "ACTIVE" })).await;
    assert_eq!(empty["preview"], json!({ "remaining": 0, "items": [] }));
    let job = desk.bulk_as(None, json!({ "target": { "ids": [] }, "edit": { "status": "ACTIVE" } })).await;
    assert_eq!(job["total"], 0);
}

/// The row of an incident is damaged, so that the desk cannot read it.
async fn an_incident_that_cannot_be_changed_stops_no_job(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut ids = Vec::new();
    for host in 0..5 {
        ids.push(desk.incident(&format!("Old kernel on host {host}")).await);
    }
    let damage = "UPDATE incident SET products = 'not a list' WHERE title = 'Old kernel on host 2'";
    database.connect().await.execute_unprepared(damage).await.expect("damage");
    let edit = json!({ "status": "ACTIVE" });
    let query = "mutation($input: BulkUpdateIncidentsInput!) { bulkUpdateIncidents(input: $input) {
        preview { items { incidentId outcome code } } } }";
    let input = json!({ "target": { "ids": ids }, "edit": edit, "dryRun": true });
    let tried = desk.data(query, json!({ "input": input })).await;
    let tried = &tried["bulkUpdateIncidents"]["preview"]["items"];
    let job = desk.bulk(json!({ "ids": ids }), edit).await;
    let query = "query($id: ID!) { bulkJob(id: $id) { state items { nodes { incidentId outcome code } } } }";
    let done = async {
        loop {
            let job = desk.data(query, json!({ "id": job })).await["bulkJob"].take();
            if job["state"] != "RUNNING" {
                return job;
            }
            a_moment().await;
        }
    };
    let done = tokio::time::timeout(LONG_PATIENCE, done).await.expect("a job ends");
    let done = &done["items"]["nodes"];
    for results in [tried, done] {
        for item in results.as_array().expect("results") {
            let expected = if item["incidentId"] == ids[2] {
                json!({ "incidentId": ids[2], "outcome": "REFUSED", "code": "INTERNAL" })
            } else {
                json!({ "incidentId": item["incidentId"], "outcome": "CHANGED", "code": null })
            };
            assert_eq!(*item, expected);
        }
        assert_eq!(results.as_array().map(Vec::len), Some(5));
    }
    // The next job begins.
    let next = desk.bulk(json!({ "ids": [ids[4]] }), json!({ "severity": "HIGH" })).await;
    assert_eq!(desk.ended(&next).await["changed"], 1);
}
