//! An oracle, and the clients that it checks. After each commit the oracle queries the tables with its own SQL, without
//! code of `matches()` or `storage/filter.rs`. A client reads its set's position once, and then only resumes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult, Statement};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, http::HeaderValue};
use uuid::Uuid;

use super::database::{Kind, TestDatabase};
use super::dice::Dice;
use super::stream::{offset, short};
use super::waiting::a_moment;

/// An item in short: offset, kind, incident, and the changed fields or the reason.
pub(crate) type Item = (u64, String, String, String);

/// The pause of a client before it reconnects to a node that does not answer.
const COMES_BACK_AFTER: Duration = Duration::from_millis(30);

/// The buffer of a slow reader's socket: small, so that its server soon waits for it; but TCP crawls with less.
const SLOW_BUFFER_BYTES: u32 = 32 << 10;

/// Sends mutations.
#[derive(Clone)]
pub(crate) struct Driver {
    http: reqwest::Client,
}

impl Driver {
    pub(crate) fn new() -> Self {
        // If an answer takes longer, its node is lost, and the client asks another node.
        Self { http: reqwest::Client::builder().timeout(Duration::from_secs(60)).build().expect("a client") }
    }

    /// Returns the response; `None` if the server died before it.
    pub(crate) async fn run(&self, address: &str, query: &str, variables: Value) -> Option<Value> {
        let body = json!({ "query": query, "variables": variables });
        let request = self.http.post(format!("http://{address}/graphql")).json(&body);
        request.send().await.ok()?.json().await.ok()
    }

    /// Returns the position of a filter's set, from which a client starts.
    pub(crate) async fn start(&self, address: &str, filter: &Value) -> Value {
        let query = "query($filter: IncidentFilterInput) { incidents(filter: $filter) { position } }";
        let read = self.run(address, query, json!({ "filter": filter })).await.expect("an answer");
        read["data"]["incidents"]["position"].clone()
    }
}

/// The items that a client has received, and its connections.
#[derive(Clone, Default)]
pub(crate) struct Received {
    pub(crate) items: Vec<Item>,
    pub(crate) connections: usize,
    /// The number of connections to another node than before.
    pub(crate) switches: usize,
    /// The number of connections that the server closed with 1013.
    pub(crate) closed_as_slow: usize,
    /// The number of connections that the server cut because their buffers were too full for the reason.
    pub(crate) given_up_as_slow: usize,
}

/// A client that always resumes by position, at any node.
pub(crate) struct Client {
    task: JoinHandle<()>,
    got: Arc<Mutex<Received>>,
    seen: watch::Receiver<u64>,
    /// Whether it stops reading now and then.
    slow: Arc<AtomicBool>,
}

/// The way in which a connection ended.
enum Ended {
    /// The client left it.
    Left,
    /// The server closed it with this code.
    Closed(u16),
    /// It broke, or was never made.
    Cut,
}

impl Client {
    pub(crate) fn start(filter: Value, start: Value, nodes: Vec<String>, mut dice: Dice) -> Self {
        Self::follow(filter, start, nodes, dice.next(), false)
    }

    /// Starts a client that stops reading now and then.
    pub(crate) fn start_slow(filter: Value, start: Value, nodes: Vec<String>, mut dice: Dice) -> Self {
        Self::follow(filter, start, nodes, dice.next(), true)
    }

    fn follow(filter: Value, start: Value, nodes: Vec<String>, seed: u64, slow: bool) -> Self {
        let got = Arc::new(Mutex::new(Received::default()));
        let (progress, seen) = watch::channel(0);
        let (received, naps) = (got.clone(), Arc::new(AtomicBool::new(slow)));
        let slow = naps.clone();
        let task = tokio::spawn(async move {
            let (mut after, mut dice, mut last) = (start, Dice::new(seed), None);
            loop {
                let node = dice.below(nodes.len());
                let mut napped = false;
                let (address, napping) = (&nodes[node], &mut napped);
                let mut connection =
                    Connection { address, filter: &filter, dice: &mut dice, slow: &slow, napped: napping };
                let ended = connection.follow(&mut after, |item, position| {
                    received.lock().expect("a list").items.extend(item);
                    progress.send_replace(position);
                });
                let ended = ended.await;
                {
                    let mut received = received.lock().expect("a list");
                    received.connections += 1;
                    received.switches += usize::from(last.replace(node).is_some_and(|last| last != node));
                    received.closed_as_slow += usize::from(matches!(ended, Ended::Closed(1013)));
                    received.given_up_as_slow += usize::from(matches!(ended, Ended::Cut) && napped);
                }
                if !matches!(ended, Ended::Left) {
                    tokio::time::sleep(COMES_BACK_AFTER).await;
                }
            }
        });
        Self { task, got, seen, slow: naps }
    }

    /// Waits until the client has every item up to an offset.
    pub(crate) async fn finish(mut self, end: u64, name: &str) -> Received {
        self.slow.store(false, Ordering::Relaxed);
        let there = tokio::time::timeout(Duration::from_secs(30), self.seen.wait_for(|seen| *seen >= end)).await;
        if self.task.is_finished() {
            self.task.await.expect(name);
            panic!("{name} ended");
        }
        assert!(there.is_ok(), "{name} does not come to the end of the log");
        self.task.abort();
        self.got.lock().expect("a list").clone()
    }
}

/// One connection, until the client or the server ends it.
struct Connection<'a> {
    address: &'a str,
    filter: &'a Value,
    dice: &'a mut Dice,
    slow: &'a AtomicBool,
    /// Whether the client has stopped reading for a while.
    napped: &'a mut bool,
}

impl Connection<'_> {
    async fn follow(&mut self, after: &mut Value, deliver: impl FnMut(Option<Item>, u64)) -> Ended {
        self.items(after, deliver).await.unwrap_or(Ended::Cut)
    }

    async fn items(&mut self, after: &mut Value, mut deliver: impl FnMut(Option<Item>, u64)) -> Option<Ended> {
        const ITEMS: &str = "subscription($filter: IncidentFilterInput, $after: String) {
            incidentQueue(filter: $filter, after: $after) {
                __typename position
                ... on QueueEntered { row { id } }
                ... on QueueUpdated { row { id } changedFields }
                ... on QueueLeft { incidentId reason }
                ... on Resync { resyncReason }
            }
        }";
        // Slow readers ask for long titles, and for many: Linux gives the sender more than a megabyte of buffer.
        let is_slow = self.slow.load(Ordering::Relaxed);
        let items = if is_slow {
            ITEMS.replace(
                "row { id }",
                "row { id title b: title c: title d: title e: title f: title g: title h: title }",
            )
        } else {
            ITEMS.to_owned()
        };
        let mut request = format!("ws://{}/graphql", self.address).into_client_request().expect("a URL");
        let subprotocol = HeaderValue::from_static("graphql-transport-ws");
        request.headers_mut().insert("sec-websocket-protocol", subprotocol);
        let socket = TcpSocket::new_v4().expect("a socket");
        if is_slow {
            socket.set_recv_buffer_size(SLOW_BUFFER_BYTES).expect("a size");
        }
        let stream = socket.connect(self.address.parse().expect("an address")).await.ok()?;
        let (mut socket, _) = client_async(request, stream).await.ok()?;
        let variables = json!({ "filter": self.filter, "after": after });
        for message in [
            json!({ "type": "connection_init" }),
            json!({ "id": "1", "type": "subscribe", "payload": { "query": items, "variables": variables } }),
        ] {
            // The acknowledgement comes first; only then may the client subscribe.
            if message["type"] == "subscribe" {
                socket.next().await?.ok()?;
            }
            socket.send(Message::text(message.to_string())).await.ok()?;
        }
        let patience = 1 + self.dice.below(25);
        for _ in 0..patience {
            if self.slow.load(Ordering::Relaxed) && self.dice.chance(8) {
                *self.napped = true;
                // This waits for no event: the client is busy with something else.
                tokio::time::sleep(Duration::from_millis(1_500 + self.dice.below(3_000) as u64)).await;
            }
            let text = loop {
                match socket.next().await?.ok()? {
                    Message::Text(text) => break text,
                    Message::Close(close) => return Some(Ended::Closed(close?.code.into())),
                    _ => {}
                }
            };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(message["type"], "next", "{message}");
            let item = &message["payload"]["data"]["incidentQueue"];
            let place = short(item);
            assert_ne!(place.1, "Resync", "no fault here forces one: {item}");
            assert!(place.0 >= offset(after), "positions do not go back: {item}");
            *after = item["position"].clone();
            let marker = matches!(place.1.as_str(), "Live" | "Heartbeat");
            let position = place.0;
            deliver((!marker).then_some(place), position);
        }
        Some(Ended::Left)
    }
}

/// Checks that a client has received exactly the expected items.
pub(crate) fn compare(name: &str, delivered: &[Item], expected: &[Item]) {
    let differs = delivered.iter().zip(expected).position(|(got, wanted)| got != wanted);
    let at = differs.unwrap_or(delivered.len().min(expected.len()));
    let near = |list: &[Item]| list[at.saturating_sub(2).min(list.len())..(at + 3).min(list.len())].to_vec();
    assert!(
        delivered == expected,
        "{name}: item {at} of {} differs\ndelivered {:#?}\nexpected {:#?}",
        expected.len(),
        near(delivered),
        near(expected)
    );
}

/// A filter for the API, and the same filter as the oracle's SQL.
pub(crate) type Filter = (Value, String);

/// The content of the tables after each commit.
pub(crate) struct Oracle {
    raw: DatabaseConnection,
    pub(crate) filters: Vec<Filter>,
    sets: Vec<BTreeSet<Uuid>>,
    rows: BTreeMap<Uuid, Row>,
    alerts: Vec<Uuid>,
    /// The incident that holds each alert.
    holders: BTreeMap<Uuid, Uuid>,
    /// The expected items of each filter.
    pub(crate) expected: Vec<Vec<Item>>,
    /// The length of the log.
    pub(crate) end: u64,
    /// The percentage of long titles.
    long: usize,
    made: usize,
}

/// An incident's columns, under their names in `changedFields`, in the order of [`FIELDS`].
#[derive(Clone, Default, PartialEq)]
struct Row {
    fields: Vec<(&'static str, String)>,
    deleted: bool,
    merged: bool,
}

/// The names in `changedFields`, in the order of the enum `QueueField`, and their SQL.
const FIELDS: [(&str, &str); 19] = [
    // The rest of a long title is always the same.
    ("TITLE", "substr(title, 1, 100) || length(title)"),
    ("DESCRIPTION", "description"),
    ("SEVERITY", "severity"),
    ("SEVERITY_OVERRIDE", "severity_override"),
    ("COMPUTED_SEVERITY", "computed_severity"),
    ("STATUS", "status"),
    ("CLASSIFICATION", "classification || determination"),
    // `rows` sets these two: SQLite's ids are bytes, and tags are in a table of their own.
    ("OWNER", "''"),
    ("TAGS", "''"),
    ("ALERT_COUNT", "alert_count"),
    ("COMMENT_COUNT", "comment_count"),
    ("HAS_ACTIVE_ALERTS", "CASE WHEN has_active_alerts THEN 'yes' ELSE 'no' END"),
    ("PRODUCTS", "products"),
    ("PROVIDERS", "providers"),
    ("FIRST_ACTIVITY_AT", "first_activity_at"),
    ("LAST_ACTIVITY_AT", "last_activity_at"),
    ("FIRST_ASSIGNED_AT", "first_assigned_at"),
    ("RESOLVED_AT", "resolved_at"),
    ("REDIRECTED_TO", "CASE WHEN redirected_to IS NULL THEN '' ELSE 'merged' END"),
];

impl Oracle {
    /// Makes an oracle for this many filters.
    pub(crate) async fn new(database: &TestDatabase, dice: &mut Dice, count: usize) -> Self {
        let filters: Vec<Filter> = (0..count).map(|number| some_filter(dice, number)).collect();
        for (number, (filter, sql)) in filters.iter().enumerate() {
            println!("filter {number}: {filter} = {sql}");
        }
        Self {
            raw: database.connect().await,
            filters,
            sets: vec![BTreeSet::new(); count],
            rows: BTreeMap::new(),
            alerts: Vec::new(),
            holders: BTreeMap::new(),
            expected: vec![Vec::new(); count],
            end: 0,
            long: 0,
            made: 0,
        }
    }

    /// Sets the percentage of long titles from now on.
    pub(crate) fn with_long_titles(self, percent: usize) -> Self {
        Self { long: percent, ..self }
    }

    /// Reconnects, after a restart of the database or a failover to another server.
    pub(crate) async fn reconnect(&mut self, database: &TestDatabase) {
        self.raw = database.connect().await;
    }

    async fn ask(&self, sql: &str) -> Vec<QueryResult> {
        let statement = Statement::from_string(self.raw.get_database_backend(), sql);
        self.raw.query_all_raw(statement).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn ids(&self, sql: &str) -> BTreeSet<Uuid> {
        self.ask(sql).await.iter().map(|row| row.try_get_by_index(0).expect("an id")).collect()
    }

    /// Records the newest transaction as a whole, because each incident changes once in a transaction.
    pub(crate) async fn advance(&mut self) {
        let sql = format!("SELECT position, incident_id FROM change WHERE position > {} ORDER BY position", self.end);
        let changes: Vec<(u64, Uuid)> = self
            .ask(&sql)
            .await
            .iter()
            .map(|row| {
                (row.try_get_by_index::<i64>(0).expect("a position") as u64, row.try_get_by_index(1).expect("an id"))
            })
            .collect();
        let Some((end, _)) = changes.last() else { return };
        self.end = *end;
        let rows = self.rows().await;
        self.alerts = self.ids("SELECT id FROM alert").await.into_iter().collect();
        let held = self.ask("SELECT id, incident_id FROM alert WHERE incident_id IS NOT NULL").await;
        let id = |row: &QueryResult, at| row.try_get_by_index::<Uuid>(at).expect("an id");
        self.holders = held.iter().map(|row| (id(row, 0), id(row, 1))).collect();
        let touched: BTreeSet<Uuid> = changes.iter().map(|(_, id)| *id).collect();
        assert_eq!(touched.len(), changes.len(), "one change for each incident of a transaction");
        for filter in 0..self.filters.len() {
            let sql = format!("SELECT id FROM incident i WHERE deleted_at IS NULL AND ({})", self.filters[filter].1);
            let now = self.ids(&sql).await;
            let then = std::mem::replace(&mut self.sets[filter], now.clone());
            assert!(then.symmetric_difference(&now).all(|id| touched.contains(id)), "only what changed moves");
            for (position, id) in &changes {
                let (kind, detail) = match (then.contains(id), now.contains(id)) {
                    (false, true) => ("QueueEntered", String::new()),
                    (true, true) => ("QueueUpdated", rows[id].changed_since(&self.rows[id])),
                    (true, false) if rows[id].deleted => ("QueueLeft", "DELETED".into()),
                    (true, false) if rows[id].merged => ("QueueLeft", "MERGED".into()),
                    (true, false) => ("QueueLeft", "FILTER".into()),
                    (false, false) => continue,
                };
                self.expected[filter].push((*position, kind.into(), format!("incident:{id}"), detail));
            }
        }
        self.rows = rows;
    }

    /// Waits for the statements of dead clients: PostgreSQL executes them nevertheless, and until then their outcome is
    /// open. A transaction that has written nothing yet can no longer commit.
    pub(crate) async fn wait_for_the_dead(&self, kind: Kind) {
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND backend_xid IS NOT NULL";
        while kind == Kind::Postgres && !self.ask(sql).await.is_empty() {
            a_moment().await;
        }
    }

    async fn rows(&self) -> BTreeMap<Uuid, Row> {
        let columns: Vec<String> =
            FIELDS.iter().map(|(name, sql)| format!("CAST({sql} AS text) AS \"{name}\"")).collect();
        let sql = format!(
            "SELECT id, owner_user_id, deleted_at IS NULL AS stands, redirected_to IS NULL AS unmerged, {} FROM incident",
            columns.join(", ")
        );
        let mut rows = BTreeMap::new();
        for row in self.ask(&sql).await {
            let value = |name: &str| row.try_get::<Option<String>>("", name).expect("a text").unwrap_or_default();
            let truth = |name: &str| row.try_get::<bool>("", name).expect("a truth");
            let fields = FIELDS.iter().map(|(name, _)| (*name, value(name))).collect();
            let mut incident = Row { fields, deleted: !truth("stands"), merged: !truth("unmerged") };
            let owner: Option<Uuid> = row.try_get("", "owner_user_id").expect("an owner");
            *incident.field("OWNER") = owner.map(|id| id.to_string()).unwrap_or_default();
            rows.insert(row.try_get::<Uuid>("", "id").expect("an id"), incident);
        }
        for tag in self.ask("SELECT incident_id, key FROM incident_tag ORDER BY incident_id, kind, key").await {
            let key: String = tag.try_get("", "key").expect("a key");
            let incident = rows.get_mut(&tag.try_get::<Uuid>("", "incident_id").expect("an id")).expect("an incident");
            *incident.field("TAGS") += &format!("{key}, ");
        }
        rows
    }

    /// Returns the number of merges, and how many of them were undone.
    pub(crate) async fn merges(&self) -> (i64, i64) {
        let row = self.ask("SELECT COUNT(*), COUNT(undone_at) FROM merge").await.remove(0);
        (row.try_get_by_index(0).expect("a count"), row.try_get_by_index(1).expect("a count"))
    }

    /// Checks that an acknowledged mutation is in the log, and that the log is exactly as long as its answer says.
    pub(crate) fn holds(&self, answer: &Value) {
        let payload = answer["data"].as_object().and_then(|data| data.values().next());
        let Some(payload) = payload.filter(|payload| !payload.is_null()) else { return };
        let position = &payload["position"];
        assert_eq!(offset(position), self.end, "the log ends where the answer says: {answer}");
    }

    /// Returns a mutation of any kind on any incident, also on incidents that refuse it.
    pub(crate) fn some_mutation(&mut self, dice: &mut Dice) -> (String, Value) {
        // A merged incident refuses everything, so try it rarely.
        let stubs = dice.chance(10);
        let standing = |row: &Row| !row.deleted && (stubs || !row.merged);
        let ids: Vec<Uuid> = self.rows.iter().filter(|(_, row)| standing(row)).map(|(id, _)| *id).collect();
        let name = if ids.len() < 10 { "createIncident" } else { dice.pick(&MUTATIONS_BY_NAME) };
        let id = ids.get(dice.below(ids.len().max(1))).map(|id| format!("incident:{id}"));
        self.made += 1;
        let title = format!("{} number {}", dice.pick(&["nadel im heu", "beacon", "a nadel again", "scan"]), self.made);
        let body = title.clone();
        // Long enough that a few frames with it fill the buffers of a socket.
        let title = if dice.chance(self.long) { format!("{title} {}", "and on ".repeat(12_000)) } else { title };
        let tags = dice.some(&["hot", "cold", "lukewarm"]);
        let input = match name {
            "createIncident" => json!({ "title": title, "tags": tags, "severity": dice.pick(&SEVERITIES) }),
            "renameIncident" => json!({ "incidentId": id, "title": title }),
            "assignIncident" => json!({ "incidentId": id, "owner": { "me": true } }),
            "addTags" | "removeTags" => json!({ "incidentId": id, "tags": tags }),
            "setIncidentStatus" => json!({ "incidentId": id, "status": dice.pick(&["NEW", "ACTIVE", "RESOLVED"]) }),
            "setIncidentSeverity" => json!({ "incidentId": id, "severity": dice.pick(&SEVERITIES) }),
            "classifyIncident" => json!({ "incidentId": id, "classification": dice.pick(&[
                Value::Null, json!({ "truePositive": "MALWARE" }), json!({ "falsePositive": "OTHER" }),
            ]) }),
            "addComment" => json!({ "incidentId": id, "body": body }),
            "ingestAlert" => {
                let address = format!("10.0.0.{}", dice.below(3));
                let into = dice.pick(&[json!({ "incident": id }), json!({ "newIncident": true })]).clone();
                let again = format!("{}", dice.below(60));
                json!({ "into": into, "alert": { "provider": "test", "providerAlertId": again, "title": title,
                    "product": dice.pick(&["Suricata", "Wazuh"]), "severity": dice.pick(&SEVERITIES[1..]),
                    "entities": [{ "kind": "IP", "value": address }] } })
            }
            "linkAlerts" => {
                let alerts: Vec<String> = (0..1 + dice.below(3))
                    .filter_map(|_| self.alerts.get(dice.below(self.alerts.len().max(1))))
                    .map(|id| format!("alert:{id}"))
                    .collect();
                json!({ "incidentId": id, "alerts": alerts, "move": true, "reopen": true })
            }
            "mergeIncidents" => {
                let target = ids.get(dice.below(ids.len().max(1))).map(|id| format!("incident:{id}"));
                json!({ "sourceId": id, "targetId": target, "keepTitle": dice.chance(30) })
            }
            "undoMerge" => {
                let merged: Vec<&Uuid> = self.rows.iter().filter(|(_, row)| row.merged).map(|(id, _)| id).collect();
                let merged = merged.get(dice.below(merged.len().max(1))).copied().or(ids.first());
                json!({ "incidentId": merged.map(|id| format!("incident:{id}")) })
            }
            "restoreIncident" => {
                let deleted: Vec<&Uuid> = self.rows.iter().filter(|(_, row)| row.deleted).map(|(id, _)| id).collect();
                let deleted = deleted.get(dice.below(deleted.len().max(1))).copied().or(ids.first());
                json!({ "incidentId": deleted.map(|id| format!("incident:{id}")) })
            }
            "splitIncident" => {
                let alert = self.alerts.get(dice.below(self.alerts.len().max(1))).copied().unwrap_or_default();
                let holder = self.holders.get(&alert).copied().or(ids.first().copied());
                json!({ "incidentId": holder.map(|id| format!("incident:{id}")), "alerts": [format!("alert:{alert}")] })
            }
            _ => json!({ "incidentId": id }),
        };
        let kind = name[..1].to_uppercase() + &name[1..];
        (format!("mutation($input: {kind}Input!) {{ {name}(input: $input) {{ position }} }}"), input)
    }
}

const SEVERITIES: [Option<&str>; 4] = [None, Some("LOW"), Some("MEDIUM"), Some("HIGH")];
const MUTATIONS_BY_NAME: [&str; 22] = [
    "createIncident",
    "createIncident",
    "renameIncident",
    "assignIncident",
    "unassignIncident",
    "addTags",
    "removeTags",
    "setIncidentStatus",
    "setIncidentStatus",
    "setIncidentSeverity",
    "classifyIncident",
    "addComment",
    "ingestAlert",
    "ingestAlert",
    "linkAlerts",
    "deleteIncident",
    "restoreIncident",
    "restoreIncident",
    "mergeIncidents",
    "undoMerge",
    "undoMerge",
    "splitIncident",
];

impl Row {
    /// Returns the value of a field by its name.
    fn field(&mut self, name: &str) -> &mut String {
        &mut self.fields.iter_mut().find(|(known, _)| *known == name).expect("a field").1
    }

    fn changed_since(&self, before: &Self) -> String {
        let differs = self.fields.iter().zip(&before.fields).filter(|(now, then)| now != then);
        Value::from(differs.map(|(now, _)| now.0).collect::<Vec<_>>()).to_string()
    }
}

/// Returns one condition twice: for the API, and in SQL that is written here.
fn atom(dice: &mut Dice) -> Filter {
    let held =
        |sql: &str| format!("EXISTS (SELECT 1 FROM incident_tag t WHERE t.incident_id = i.id AND t.key = '{sql}')");
    let alert =
        |join: &str, sql: &str| format!("EXISTS (SELECT 1 FROM alert a {join} WHERE a.incident_id = i.id AND {sql})");
    match dice.below(11) {
        0 => (json!({ "severity": ["HIGH"] }), "severity = 4".into()),
        1 => (json!({ "severity": ["LOW", "MEDIUM"] }), "severity IN (2, 3)".into()),
        2 => (json!({ "tags": { "any": ["HOT"] } }), held("hot")),
        3 => (json!({ "tags": { "all": ["hot", "cold"] } }), format!("{} AND {}", held("hot"), held("cold"))),
        4 => (json!({ "owner": { "unassigned": true } }), "owner_user_id IS NULL AND owner_group_id IS NULL".into()),
        5 => (
            json!({ "owner": { "me": true } }),
            "COALESCE(owner_user_id = (SELECT id FROM \"user\" WHERE account = 'local-manager'), 1 = 0)".into(),
        ),
        6 => (json!({ "text": "NADEL" }), "title LIKE '%nadel%'".into()),
        7 => (json!({ "classification": ["TRUE_POSITIVE"] }), "COALESCE(classification, '') = 'TRUE_POSITIVE'".into()),
        8 => (json!({ "product": ["Suricata"] }), alert("", "a.product = 'Suricata'")),
        9 => (json!({ "text": "INC-3" }), "number = 3".into()),
        _ => {
            let named = "e.kind = 'IP' AND e.value = '10.0.0.1'";
            let sql = alert("JOIN alert_entity e ON e.alert_id = a.id", named);
            (json!({ "entity": [{ "kind": "IP", "value": "10.0.0.1" }] }), sql)
        }
    }
}

/// Returns one to three conditions, joined in any way. Without a status the filter means `NEW` or `ACTIVE`.
fn some_filter(dice: &mut Dice, number: usize) -> Filter {
    let mut filter = match number {
        // These are in every run.
        0 => (json!({}), "1 = 1".into()),
        1 => {
            let sql = "EXISTS (SELECT 1 FROM alert a JOIN alert_entity e ON e.alert_id = a.id
                WHERE a.incident_id = i.id AND e.value = '10.0.0.2')";
            (json!({ "entity": [{ "value": "10.0.0.2" }] }), sql.into())
        }
        _ => atom(dice),
    };
    for _ in 0..if number < 2 { 0 } else { dice.below(3) } {
        let other = atom(dice);
        filter = match dice.below(3) {
            0 => (json!({ "and": [filter.0, other.0] }), format!("({}) AND ({})", filter.1, other.1)),
            1 => (json!({ "or": [filter.0, other.0] }), format!("({}) OR ({})", filter.1, other.1)),
            _ => (json!({ "and": [filter.0, { "not": other.0 }] }), format!("({}) AND NOT ({})", filter.1, other.1)),
        };
    }
    let (words, statuses) = match if number < 2 { 3 - number * 3 } else { dice.below(5) } {
        0 => (json!(["NEW", "ACTIVE", "RESOLVED"]), "1, 2, 3"),
        1 => (json!(["RESOLVED"]), "3"),
        4 => (json!(["ACTIVE", "REDIRECTED"]), "2, 4"),
        _ => return (filter.0, format!("({}) AND status IN (1, 2)", filter.1)),
    };
    (json!({ "and": [filter.0], "status": words }), format!("({}) AND status IN ({statuses})", filter.1))
}
