//! The log of the desk by actor and time.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use super::plans::{explain, fill};
use super::statements::Sent;
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::triage::each;

each_database!(
    the_log_of_the_desk_is_read_by_actor_and_time,
    only_managers_see_the_log_of_deleted_incidents,
    a_page_of_the_log_is_read_along_its_index,
);

const LOG: &str =
    "query($actor: ID, $from: DateTime, $to: DateTime, $first: Int, $after: String, $last: Int, $before: String) {
    deskLog(actor: $actor, from: $from, to: $to, first: $first, after: $after, last: $last, before: $before) {
        edges { cursor } nodes { position at actor { account } incidentNumber version entries { kind } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

impl TestDesk {
    async fn desk_log_as(&self, account: Option<&str>, arguments: Value) -> Value {
        self.data_as(account, LOG, arguments).await["deskLog"].take()
    }
}

/// Returns the incident and version of each change of a page.
fn changes(page: &Value) -> Vec<(i64, i64)> {
    let number = |change: &Value, field: &str| change[field].as_i64().expect("a number");
    let nodes = page["nodes"].as_array().expect("changes");
    nodes.iter().map(|change| (number(change, "incidentNumber"), number(change, "version"))).collect()
}

async fn the_log_of_the_desk_is_read_by_actor_and_time(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let users = [desk.user("ana", "RESPONDER").await, desk.user("ben", "RESPONDER").await];
    let comment =
        "mutation($id: ID!, $body: String!) { addComment(input: { incidentId: $id, body: $body }) { position } }";
    let ids = [desk.incident("Badge used twice").await, desk.incident("Badge of a leaver").await];
    let mut made = vec![(1, 1), (2, 1)];
    let mut times = Vec::new();
    for round in 0..12_usize {
        // Three changes share each instant.
        if round % 3 == 0 {
            desk.clock.advance(chrono::Duration::minutes(1));
        }
        times.push(desk.clock.now());
        let (account, incident) = (["ana", "ben"][round % 2], round / 2 % 2);
        desk.data_as(Some(account), comment, json!({ "id": ids[incident], "body": format!("{round}") })).await;
        let version = 1 + made.iter().filter(|(number, _)| *number == incident as i64 + 1).count() as i64;
        made.push((incident as i64 + 1, version));
    }
    let of = |rounds: Vec<usize>| rounds.into_iter().rev().map(|round| made[2 + round]).collect::<Vec<_>>();
    let mut all = made.clone();
    all.reverse();
    assert_eq!(changes(&desk.desk_log_as(Some("ana"), json!({})).await), all);
    let by_ana = desk.desk_log_as(None, json!({ "actor": users[0] })).await;
    assert_eq!(changes(&by_ana), of((0..12).step_by(2).collect()));
    assert!(each(&by_ana["nodes"], "actor").iter().all(|actor| actor["account"] == "ana"));
    let (from, to) = (times[3].to_rfc3339(), times[9].to_rfc3339());
    let between = desk.desk_log_as(None, json!({ "from": from, "to": to })).await;
    assert_eq!(changes(&between), of((3..9).collect()), "the start is in the range, the end is not");
    let by_ben = json!({ "actor": users[1], "from": from, "to": to });
    assert_eq!(changes(&desk.desk_log_as(None, by_ben).await), of(vec![3, 5, 7]));
    // Pages in both directions, of sizes that divide no group of equal times.
    for (size, from_end) in [(2, false), (5, false), (2, true), (5, true)] {
        let (mut seen, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let arguments = if from_end {
                json!({ "last": size, "before": cursor })
            } else {
                json!({ "first": size, "after": cursor })
            };
            let page = desk.desk_log_as(None, arguments).await;
            let (more, edge) = if from_end { ("hasPreviousPage", "startCursor") } else { ("hasNextPage", "endCursor") };
            cursor = page["pageInfo"][edge].clone();
            if from_end {
                seen.splice(0..0, changes(&page)).for_each(drop);
            } else {
                seen.extend(changes(&page));
            }
            if page["pageInfo"][more] == false {
                break;
            }
        }
        assert_eq!(seen, all, "by {size}, from the end: {from_end}");
    }
    let newest = desk.desk_log_as(None, json!({ "first": 1 })).await["nodes"][0].take();
    let (incident, _) = made[13];
    let own = "query($id: ID!) { activity(incidentId: $id, last: 1) { nodes { position } } }";
    let own = desk.data(own, json!({ "id": ids[incident as usize - 1] })).await;
    assert_eq!(newest["position"], own["activity"]["nodes"][0]["position"], "it is the change of the activity log");
    for (arguments, code, path) in [
        (json!({ "first": 101 }), "LIMIT", "first"),
        (json!({ "after": "7" }), "INVALID", "after"),
        (json!({ "actor": ids[0] }), "INVALID", "actor"),
        (json!({ "from": "0001-01-01T00:00:00Z" }), "INVALID", "from"),
    ] {
        let refusal = desk.refused(LOG, arguments.clone()).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), (code, Some(path)), "{arguments}");
    }
}

async fn only_managers_see_the_log_of_deleted_incidents(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.user("ana", "RESPONDER").await;
    let ids = [desk.incident("Stays").await, desk.incident("Goes").await];
    desk.act("deleteIncident", json!({ "incidentId": ids[1] })).await;
    assert_eq!(changes(&desk.desk_log_as(None, json!({})).await), [(2, 2), (2, 1), (1, 1)]);
    assert_eq!(changes(&desk.desk_log_as(Some("ana"), json!({})).await), [(1, 1)]);
}

async fn a_page_of_the_log_is_read_along_its_index(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk_without_board(&database).await;
    let (ana, ben) = (desk.user("ana", "RESPONDER").await, desk.user("ben", "RESPONDER").await);
    desk.incident("the first").await;
    let pool = database.connect().await;
    let time = match database.kind {
        Kind::Sqlite => "strftime('%Y-%m-%dT%H:%M:%S+00:00', 1700000000 + n, 'unixepoch')",
        Kind::Postgres => "to_timestamp(1700000000 + n)",
    };
    let copies = format!(
        "INSERT INTO change (position, incident_id, version, kinds, actor_id, at, body, hash)
         WITH RECURSIVE count (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM count WHERE n < 20000)
         SELECT n, incident_id, n, kinds,
            (SELECT id FROM \"user\" WHERE account = CASE n % 3 WHEN 0 THEN 'ana' ELSE 'ben' END), {time}, body, hash
         FROM change CROSS JOIN count"
    );
    pool.execute_unprepared(&copies).await.expect("twenty thousand changes");
    fill(database.kind, &pool).await;
    if database.kind == Kind::Postgres {
        pool.execute_unprepared("ANALYZE").await.expect("statistics");
    }
    let day = json!({ "from": "2023-11-14T23:00:00Z", "to": "2023-11-15T01:00:00Z" });
    for (account, mut arguments, index) in [
        (None, json!({}), "change_by_time"),
        (Some("ben"), json!({}), "change_by_time"),
        (None, day.clone(), "change_by_time"),
        (None, json!({ "actor": ana }), "change_by_actor"),
        (Some("ben"), json!({ "actor": ben }), "change_by_actor"),
        (None, json!({ "actor": ana, "from": day["from"], "to": day["to"] }), "change_by_actor"),
    ] {
        for page in ["first", "second", "last"] {
            if page == "last" {
                arguments.as_object_mut().expect("arguments").remove("after");
                arguments["last"] = json!(50);
            }
            sent.take();
            let read = desk.desk_log_as(account, arguments.clone()).await;
            arguments["after"] = read["pageInfo"]["endCursor"].clone();
            let statements = sent.take();
            let is_page = |sql: &str| sql.contains("FROM \"change\"") && sql.contains("ORDER BY");
            let read = statements.iter().find(|it| is_page(&it.sql)).expect("a page");
            let plan = explain(&pool, read).await;
            let place = format!("{page} page by {account:?}, {arguments}: {}\n{plan}", read.sql);
            assert!(plan.contains(index), "not along {index}: {place}");
            assert!(!plan.contains("TEMP B-TREE") && !plan.contains("Sort"), "sorted: {place}");
            assert!(!plan.contains("Seq Scan") && !plan.contains("SCAN incident"), "a table whole: {place}");
        }
    }
}
