//! Shared helpers for tests of the live path: a document with every field, short items, and a fast-growing log.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use watchfloor::domain::alert_log::Logged;
use watchfloor::domain::change::{Change, ChangeBody, CommentAction, Entry};
use watchfloor::domain::position::Position;
use watchfloor::storage::Reader;

use super::database::{Kind, TestDatabase};
use super::desk::{Following, TestDesk};
use super::waiting::LONG_PATIENCE;

/// Selects every field of a queue's stream.
pub(crate) const QUEUE: &str = "
    subscription($filter: IncidentFilterInput, $after: String) {
        incidentQueue(filter: $filter, after: $after) {
            __typename position
            ... on QueueEntered { row { ...all } enteredReason clientMutationId transactionId last }
            ... on QueueUpdated { row { ...all } changedFields clientMutationId transactionId last }
            ... on QueueLeft { incidentId reason targetId clientMutationId transactionId last }
            ... on Live { filter { json } holdsSet }
            ... on Resync { resyncReason }
        }
    }
    fragment all on QueueRow {
        position id number reference version title severity computedSeverity severityOverride status
        classification { kind threat activity reason } owner { account name } tags { name kind } alertCount commentCount
        products providers createdAt updatedAt firstActivityAt lastActivityAt firstAssignedAt resolvedAt redirectedToId
    }";

/// Returns the offset of a position.
pub(crate) fn offset(position: &Value) -> u64 {
    parsed(position).offset
}

pub(crate) fn parsed(position: &Value) -> Position {
    position.as_str().and_then(Position::parse).unwrap_or_else(|| panic!("not a position: {position}"))
}

/// Returns an item in short: offset, kind, incident, and the changed fields or the reason.
pub(crate) fn short(item: &Value) -> (u64, String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&item["__typename"]);
    let id = text(&item["row"]["id"]) + &text(&item["incidentId"]);
    let detail = match kind.as_str() {
        "QueueUpdated" => item["changedFields"].to_string(),
        _ => text(&item["reason"]),
    };
    (offset(&item["position"]), kind, id, detail)
}

/// Returns the present position of a filter's queue.
pub(crate) async fn present(desk: &TestDesk, filter: &Value) -> Value {
    let query = "query($filter: IncidentFilterInput) { incidents(filter: $filter, first: 1) { position } }";
    desk.data(query, json!({ "filter": filter })).await["incidents"]["position"].take()
}

/// Returns all items after a position, up to and including `Live`, from a new stream.
pub(crate) async fn replay(desk: &TestDesk, filter: &Value, after: &Value) -> Vec<Value> {
    let mut stream = desk.follow(QUEUE, json!({ "filter": filter, "after": after })).await;
    stream.items_until("Live").await
}

/// Reads a stream until it has delivered everything up to an offset.
pub(crate) async fn read_to(stream: &mut Following, end: u64) -> Vec<Value> {
    let mut items = Vec::new();
    let all = async {
        loop {
            let item = stream.item().await;
            let there = offset(&item["position"]) >= end;
            if item["__typename"] != "Heartbeat" {
                items.push(item);
            }
            if there {
                return;
            }
        }
    };
    // Heartbeats never stop, even if nothing else comes.
    timeout(LONG_PATIENCE, all).await.unwrap_or_else(|_| panic!("nothing of {end} in time"));
    items
}

/// Appends thousands of changes a second to the log without the desk: comments on the newest change's incident, chained
/// as the desk chains them. The desk reads them like another node's changes.
pub(crate) async fn grow(database: &TestDatabase, newest: &Change, mut hash: [u8; 32], count: u64) {
    let raw = database.connect().await;
    let mut row = newest.body.row.clone();
    let mut values = Vec::new();
    raw.execute_unprepared("BEGIN").await.expect("BEGIN");
    for position in newest.offset + 1..=newest.offset + count {
        let former = json!({ "version": row.version, "comment_count": row.comment_count });
        row.version += 1;
        row.comment_count += 1;
        let comment = watchfloor::domain::CommentId(uuid::Uuid::from_u128(u128::from(position)));
        let body = ChangeBody {
            entries: vec![Entry::Comment { action: CommentAction::Added, comment, sha256: None, at: None }],
            row: row.clone(),
            former: former.as_object().cloned(),
            last: true,
            ..newest.body.clone()
        };
        let body = serde_json::to_string(&body).expect("JSON");
        let mut next = Sha256::new();
        next.update(hash);
        next.update(position.to_be_bytes());
        next.update(row.id.0.as_bytes());
        next.update(row.version.to_be_bytes());
        next.update(body.as_bytes());
        hash = next.finalize().into();
        let hash = literal(database.kind, &hash);
        values.push(format!("({position}, {}, '{}', {hash})", row.version, body.replace('\'', "''")));
        if values.len() == 500 || position == newest.offset + count {
            let insert = format!(
                "INSERT INTO change (position, incident_id, version, kinds, actor_id, at, body, hash)
                 SELECT v.column1, c.incident_id, v.column2, c.kinds, c.actor_id, c.at, v.column3, v.column4
                 FROM (VALUES {}) AS v, change AS c WHERE c.position = {}",
                values.join(", "),
                newest.offset
            );
            raw.execute_unprepared(&insert).await.expect("changes");
            values.clear();
        }
    }
    let end =
        format!("UPDATE log_head SET position = {}, hash = {}", newest.offset + count, literal(database.kind, &hash));
    raw.execute_unprepared(&end).await.expect("a head");
    let incident = format!(
        "UPDATE incident SET version = {}, comment_count = {} WHERE number = {}",
        row.version, row.comment_count, row.number
    );
    raw.execute_unprepared(&incident).await.expect("an incident");
    raw.execute_unprepared("COMMIT").await.expect("COMMIT");
}

fn literal(kind: Kind, bytes: &[u8]) -> String {
    let digits = hex::encode(bytes);
    match kind {
        Kind::Sqlite => format!("x'{digits}'"),
        Kind::Postgres => format!("'\\x{digits}'::bytea"),
    }
}

/// Returns the newest change of a desk, and the log's hash there.
pub(crate) async fn newest(desk: &TestDesk) -> (Change, [u8; 32]) {
    let reader = desk.app.store.read().await.expect("a snapshot");
    let head = reader.head().await.expect("a head");
    let change = changes(&reader, head.offset - 1, 1).await.pop().expect("a change");
    (change, head.hash)
}

/// Returns the changes of both kinds at this many positions after an offset.
pub(crate) async fn logged(reader: &Reader, after: u64, places: u64) -> Vec<Logged> {
    let head = reader.head().await.expect("a head");
    reader.log_after(&head, after, places).await.expect("changes").expect("a log without a gap")
}

/// Returns the changes of incidents at this many positions after an offset.
pub(crate) async fn changes(reader: &Reader, after: u64, places: u64) -> Vec<Change> {
    logged(reader, after, places)
        .await
        .iter()
        .filter_map(Logged::of_incident)
        .map(|change| (**change).clone())
        .collect()
}
