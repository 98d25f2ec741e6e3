//! The number of statements of a read: fifty incidents take as many as five.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use watchfloor::realtime::RealtimeLimits;
use watchfloor::storage::{Statement, Watch};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};

each_database!(
    no_read_asks_once_for_each_row,
    no_batch_asks_once_for_each_provider,
    a_read_is_one_statement_for_each_of_its_lists
);

/// How often a read is tried to find its true number: a batch that the scheduler splits is whole at another try, while
/// a statement for each row comes back every time.
const TRIES: usize = 5;

/// The statements that a desk has sent to its database.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Vec<Statement>>>);

impl Sent {
    /// Opens a desk whose statements are recorded here.
    pub(crate) async fn by_desk(&self, database: &TestDatabase) -> TestDesk {
        TestDesk::open_with(database, Options { watch: Some(self.watch()), ..Options::default() }).await
    }

    /// Opens a desk without a board, so that it reads all queues from the database.
    pub(crate) async fn by_desk_without_board(&self, database: &TestDatabase) -> TestDesk {
        let usual = Options::default();
        let ring = RealtimeLimits { incidents: 0, ..usual.ring };
        TestDesk::open_with(database, Options { watch: Some(self.watch()), ring, ..usual }).await
    }

    /// Returns a watch that records a desk's statements here.
    pub(crate) fn watch(&self) -> Watch {
        let sent = self.0.clone();
        Arc::new(move |statement: &Statement| {
            // The relay polls beside every request, and so does the search for jobs.
            let of_the_desk = [
                "FROM \"change\" WHERE \"change\".\"position\" > ",
                "FROM \"alert_change\" WHERE \"alert_change\".\"position\" > ",
                "\"log_head\".\"position\" >= ",
                "FROM \"bulk_job\" WHERE \"bulk_job\".\"state\" = ",
            ];
            // A list of jobs may have the same condition as the search for jobs.
            let lists_jobs = statement.sql.contains("ORDER BY \"bulk_job\".\"id\"");
            if lists_jobs || !of_the_desk.iter().any(|its| statement.sql.contains(its)) {
                sent.lock().unwrap_or_else(PoisonError::into_inner).push(statement.clone());
            }
        })
    }

    /// Takes the statements since the last call.
    pub(crate) fn take(&self) -> Vec<Statement> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the statements of a read of which no batch is split.
    pub(crate) async fn fewest(&self, desk: &TestDesk, read: &str, variables: &Value) -> Vec<Statement> {
        let mut tries = Vec::new();
        for _ in 0..TRIES {
            self.take();
            desk.data(read, variables.clone()).await;
            tries.push(self.take());
        }
        tries.into_iter().min_by_key(Vec::len).expect("several tries")
    }
}

/// Creates an incident with every kind of content.
pub(crate) async fn full_incident(desk: &TestDesk, n: usize, owner: &Value) {
    let free = json!({ "provider": "p", "providerAlertId": format!("{n} free"), "title": "t" });
    let ingest = "mutation($alert: AlertInput!) { ingestAlert(input: { alert: $alert }) { created } }";
    desk.data(ingest, json!({ "alert": free })).await;
    let alerts: Vec<Value> = (0..3)
        .map(|k| {
            json!({
                "provider": "p", "providerAlertId": format!("{n}-{k}"), "product": "Suricata", "title": "t",
                "raw": format!("{{\"n\":{n}}}"), "entities": [{ "kind": "DEVICE", "value": format!("host-{n}-{k}") }],
            })
        })
        .collect();
    let made = desk
        .data(
            "mutation($alerts: [AlertInput!]!) {
                ingestAlerts(input: { alerts: $alerts, into: { newIncident: true } }) { incident { id } }
             }",
            json!({ "alerts": alerts }),
        )
        .await;
    let id = &made["ingestAlerts"]["incident"]["id"];
    let input = json!({
        "incidentId": id, "title": format!("{n} {}", "long ".repeat(80)), "description": "d".repeat(400),
        "owner": owner, "addTags": ["vip", format!("tag {n}")], "comment": "first",
    });
    desk.data(
        "mutation($input: UpdateIncidentInput!) { updateIncident(input: $input) { changed } }",
        json!({ "input": input }),
    )
    .await;
    let pin = "mutation($input: AddBookmarkInput!) { addBookmark(input: $input) { position } }";
    let bookmark =
        json!({ "incidentId": id, "title": format!("Hunt {n}"), "rows": [{ "Computer": format!("host-{n}-0") }] });
    desk.data(pin, json!({ "input": bookmark })).await;
    for body in ["second", "third", "fourth"] {
        let comment =
            "mutation($id: ID!, $body: String!) { addComment(input: { incidentId: $id, body: $body }) { changed } }";
        desk.data(comment, json!({ "id": id, "body": body })).await;
    }
}

/// Every list below a list, in each form in which it can be requested.
const READS: [&str; 12] = [
    "{ incidents(first: 50) {
        totalCount position
        facets { status { count } severity { count } owner { count } tags { count } product { count } }
        nodes {
            number title description owner { name } tags { name } alertCount products
            alerts(first: 5) { totalCount nodes { id title raw entities { value } owner { name } incident { number } } }
            comments(first: 3) { totalCount nodes { body author { name } history(first: 5) { nodes { body } } incident { number } } }
            entities { kind entities { value alertCount } }
        }
    } }",
    "{ incidents(first: 50) { nodes { activity(last: 3) { totalCount nodes {
        position at actor { name } incident { number }
        entries {
            ... on TextEntry { textBefore textAfter } ... on CommentEntry { comment { body history(first: 5) { nodes { body } } } }
            ... on OwnerEntry { ownerAfter { name } } ... on TagsEntry { added { name } }
        }
    } } } } }",
    "{ incidents(first: 50) { nodes { activity(first: 2) { totalCount nodes { position entries { kind ... on TextEntry { textAfter } } } } } } }",
    "{ incidents(first: 50) { nodes { activity(filter: { content: COMMENTS }, first: 2) { totalCount nodes { position } } } } }",
    "{ incidents(first: 50) { nodes { alerts(last: 2) { nodes { id raw } } comments(last: 2) { nodes { body } } } } }",
    "{ incidents(first: 50) { nodes { bookmarks(first: 2) { totalCount nodes { title rows incident { number } } } } } }",
    "{ incidents(last: 50) { nodes { id alerts { totalCount } } pageInfo { hasPreviousPage } } }",
    "{ alerts(first: 50) { nodes { activity(last: 2) { totalCount nodes { position entries { kind } alert { title } } } } } }",
    "{ alerts(first: 50) { totalCount nodes { id raw incident { number alerts(first: 2) { nodes { id } } } } } }",
    "{ queueSummary { position open bySeverity { count } byOwner { value { name } count } oldest created resolved }
       responseTimes { position timeToAssign { mean } timeToResolve { p90 } } }",
    "{ users { nodes { account } } groups { nodes { account members { nodes { account } } } } viewer { user { account } groups { account } } }",
    "{ incidents(first: 50, orderBy: [{ field: SEVERITY }, { field: TITLE, direction: ASC }]) { nodes { id } } }",
];

/// The scheduler decides when the keys of a batch are complete, and a busy scheduler may split it: fifty rows then take
/// a few statements more than five. A statement for each row would cost 45 more.
const SPLIT_ROUNDS_MAX: usize = 20;

async fn no_read_asks_once_for_each_row(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let user = json!({ "user": desk.user("ann", "RESPONDER").await });
    let group = desk
        .data("mutation { upsertGroup(input: { account: \"soc\" }) { group { id } } }", json!({}))
        .await["upsertGroup"]["group"]["id"]
        .take();
    let owner = |n: usize| if n.is_multiple_of(2) { user.clone() } else { json!({ "group": group }) };
    let mut reads: Vec<String> = READS.iter().map(|read| (*read).to_owned()).collect();
    let examples = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).expect("examples");
    for example in examples {
        let text = std::fs::read_to_string(example.expect("a file").path()).expect("text");
        // Reads with variables are about one object.
        if text.contains("query ") && !text.contains('$') {
            reads.push(text);
        }
    }

    let mut counts: Vec<Vec<usize>> = Vec::new();
    let mut last: Vec<Vec<Statement>> = Vec::new();
    for incidents in [0..5, 5..50] {
        for n in incidents {
            full_incident(&desk, n, &owner(n)).await;
        }
        last.clear();
        for read in &reads {
            last.push(sent.fewest(&desk, read, &json!({})).await);
        }
        counts.push(last.iter().map(Vec::len).collect());
    }
    for ((read, statements), (few, many)) in reads.iter().zip(&last).zip(counts[0].iter().zip(&counts[1])) {
        let texts: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
        assert!(*many <= few + SPLIT_ROUNDS_MAX, "{few} statements became {many} for {read}\n{texts:#?}");
        assert!(*many <= 40, "{many} statements for {read}\n{texts:#?}");
    }

    // Objects of several types by their ids: one statement for each type.
    let queue =
        desk.data("{ incidents(first: 50) { nodes { id } } alerts(first: 50) { nodes { id } } }", json!({})).await;
    let ids = |count: usize| -> Vec<Value> {
        ["incidents", "alerts"]
            .iter()
            .flat_map(|list| {
                queue[list]["nodes"].as_array().expect("nodes")[..count].iter().map(|node| node["id"].clone())
            })
            .collect()
    };
    let mut counts = Vec::new();
    for count in [5, 50] {
        let read = "query($ids: [ID!]!) { nodes(ids: $ids) { id ... on Alert { incident { number } } } }";
        counts.push(sent.fewest(&desk, read, &json!({ "ids": ids(count) })).await.len());
    }
    assert_eq!(counts[0], counts[1]);
}

async fn a_read_is_one_statement_for_each_of_its_lists(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let owner = json!({ "user": desk.user("ann", "RESPONDER").await });
    for n in 0..3 {
        full_incident(&desk, n, &owner).await;
    }
    let id =
        desk.data("{ incidents(first: 1) { nodes { id } } }", json!({})).await["incidents"]["nodes"][0]["id"].take();
    let row = "id number title severity status alertCount updatedAt owner { account name } tags { name }";
    let all = "filter: { status: [NEW, ACTIVE, RESOLVED] }, first: 50";
    for (read, statements) in [
        (
            format!(
                "query($id: ID!) {{ incident(by: {{ id: $id }}) {{ {row} description
                    activity(last: 50) {{ nodes {{ version at actor {{ name }} entries {{ kind }} }} }}
                    alerts(first: 50) {{ nodes {{ id title owner {{ name }} }} }}
                    comments(first: 50) {{ nodes {{ id body author {{ name }} }} }} }} }}"
            ),
            1,
        ),
        // One statement reads this content for all alerts.
        (
            format!(
                "query($id: ID!) {{ incident(by: {{ id: $id }}) {{ {row} activity(last: 50) {{ nodes {{ version entries {{ kind }} }} }}
                    alerts(first: 50) {{ nodes {{ id entities {{ value }} }} }} comments(last: 50) {{ nodes {{ id body }} }} }} }}"
            ),
            5,
        ),
        (format!("{{ incidents({all}) {{ nodes {{ {row} }} pageInfo {{ endCursor }} }} }}"), 1),
        (format!("{{ incidents({all}) {{ nodes {{ {row} }} totalCount }} }}"), 3),
        ("{ alerts(first: 50) { nodes { id title owner { name } } } }".to_owned(), 1),
        ("{ alerts(first: 50) { nodes { id title entities { value } } } }".to_owned(), 2),
    ] {
        let variables = if read.contains("$id") { json!({ "id": id }) } else { json!({}) };
        let sent = sent.fewest(&desk, &read, &variables).await;
        let texts: Vec<&str> = sent.iter().map(|statement| statement.sql.as_str()).collect();
        assert!(texts.len() <= statements, "{} statements for {read}\n{texts:#?}", texts.len());
    }
}

async fn no_batch_asks_once_for_each_provider(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let batch = |providers: usize| {
        let alert = |n: usize| json!({ "provider": format!("p{}", n % providers), "providerAlertId": n.to_string(), "title": "t" });
        (0..60).map(alert).collect::<Vec<_>>()
    };
    let mut counts = Vec::new();
    for providers in [1, 60] {
        for known in [false, true] {
            sent.take();
            let ingest =
                "mutation($alerts: [AlertInput!]!) { ingestAlerts(input: { alerts: $alerts }) { created unchanged } }";
            let done = desk.data(ingest, json!({ "alerts": batch(providers) })).await["ingestAlerts"].take();
            // Of sixty providers, number 0 is known from the first round.
            let new = if known { 0 } else { 60 - usize::from(providers == 60) };
            assert_eq!(done, json!({ "created": new, "unchanged": 60 - new }));
            counts.push(sent.take().len());
        }
    }
    let [one, one_known, sixty, sixty_known] = counts[..] else { panic!("{counts:?}") };
    assert!(sixty <= one + 5 && sixty_known <= one_known + 5, "{counts:?}");
}
