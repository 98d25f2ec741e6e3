//! Recorded days of two real desks, replayed through GraphQL at full speed while twenty subscribers listen.
//!
//! The data is beside the checkout and not part of it; if it is missing, the test says so. Without
//! `WATCHFLOOR_REPLAY=all` (`make replay`) only the beginning is replayed. The results must equal a separate model,
//! with a state for each change of each incident, and at the end of the whole replay the recording's own
//! `expected.json`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult, Statement};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;
use watchfloor::realtime::RealtimeLimits;

use crate::support::database::{Kind, TestDatabase};
use crate::support::desk::{Following, Options, TestDesk};
use crate::support::socket::Frame;
use crate::support::stream::{offset, present, short};

const TICKETS: [&str; 2] =
    ["servicenow-incident-event-log/ops.jsonl.gz", "servicenow-incident-event-log/expected.json.gz"];
const ALERTS: [&str; 2] =
    ["ait-alert-data-set/russellmitchell_ops.jsonl.gz", "ait-alert-data-set/russellmitchell_expected.json.gz"];

/// How many operations are replayed by default.
const PART: usize = 400;

/// The number of concurrent writers. Each replays the operations of its incidents in their order.
const WRITERS: usize = 6;

macro_rules! replays {
    ($($name:ident: $files:expr, $kind:expr;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            replay($files, $kind).await;
        }
    )+};
}

replays! {
    a_year_of_tickets_on_sqlite: TICKETS, Kind::Sqlite;
    a_year_of_tickets_on_postgres: TICKETS, Kind::Postgres;
    days_of_alerts_on_sqlite: ALERTS, Kind::Sqlite;
    days_of_alerts_on_postgres: ALERTS, Kind::Postgres;
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests have no config.rs: this variable is read here and nowhere else"
)]
fn whole() -> bool {
    std::env::var("WATCHFLOOR_REPLAY").is_ok_and(|what| what == "all")
}

fn open(file: &str) -> Option<GzDecoder<std::fs::File>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(file);
    Some(GzDecoder::new(std::fs::File::open(path).ok()?))
}

/// The model's state of an incident after one of its changes.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    title: String,
    status: String,
    severity: String,
    owner: String,
    comments: i64,
    alerts: i64,
    products: BTreeSet<String>,
    addresses: BTreeSet<String>,
}

fn text<'a>(operation: &'a Value, field: &str) -> &'a str {
    operation[field].as_str().unwrap_or_default()
}

impl State {
    fn after(before: Option<&Self>, operation: &Value) -> Self {
        let mut state = before.cloned().unwrap_or_default();
        match text(operation, "op") {
            "create" => {
                state.title = text(operation, "title").into();
                state.severity = text(operation, "severity").into();
                state.status = "NEW".into();
            }
            "comment" => state.comments += 1,
            "assign" => state.owner = text(operation, "owner").into(),
            "status" => state.status = text(operation, "status").replace("CLOSED", "RESOLVED"),
            "severity" => state.severity = text(operation, "severity").into(),
            "reopen" => state.status = "ACTIVE".into(),
            "alert" => {
                state.alerts += 1;
                state.products.insert(product(operation).into());
                state.addresses.insert(text(operation, "ip").into());
            }
            other => panic!("an unknown operation: {other}"),
        }
        state
    }
}

/// Returns the product of an operation: `Wazuh: …` belongs to Wazuh.
fn product(operation: &Value) -> &str {
    text(operation, "title").split(':').next().unwrap_or_default()
}

/// A state for each version of each incident, by the recording's key.
type History = HashMap<String, Vec<State>>;

async fn replay([operations, expected]: [&str; 2], kind: Kind) {
    let Some(file) = open(operations) else {
        println!("skipped: {operations} is not beside the checkout");
        return;
    };
    let limit = if whole() { usize::MAX } else { PART };
    let operations: Vec<Value> = BufReader::new(file)
        .lines()
        .take(limit)
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
        .collect();
    let mut history = History::new();
    let mut altering = Vec::new();
    for operation in &operations {
        let states = history.entry(text(operation, "incident").to_owned()).or_default();
        let next = State::after(states.last(), operation);
        altering.push(states.last() != Some(&next));
        if states.last() != Some(&next) {
            states.push(next);
        }
    }

    let database = TestDatabase::fresh(kind).await;
    let options = Options {
        heartbeat: Duration::from_millis(500),
        ring: RealtimeLimits { changes: 20_000, bytes: 64 << 20, incidents: 100_000 },
        ..Options::default()
    };
    let desk = Arc::new(TestDesk::open_with(&database, options).await);
    let users = Arc::new(accounts(&desk, &operations).await);
    let wanted = wanted(&users);
    let mut listeners = Vec::new();
    for wanted in &wanted {
        let start = present(&desk, &wanted.filter).await;
        listeners.push(Listener::start(&desk.url, wanted.filter.clone(), start));
    }

    let count = operations.len();
    let began = Instant::now();
    let ids = play(&desk, operations, altering, &users).await;
    let took = began.elapsed();
    let end = desk.log_end().await;
    let raw = database.connect().await;
    let keys: HashMap<Uuid, String> = ids.into_iter().map(|(key, id)| (id, key)).collect();
    ends_as_expected(&raw, &keys, &history).await;
    if whole() {
        ends_as_recorded(expected, &history);
    }
    let versions = versions(&raw, &keys).await;
    assert_eq!(versions.len() as u64, end);
    assert_eq!(
        versions.len(),
        history.values().map(Vec::len).sum::<usize>(),
        "a change for each that altered something"
    );
    let mut items = 0;
    for (listener, wanted) in listeners.into_iter().zip(&wanted) {
        let got = listener.finish(end).await;
        let expected = wanted.items(&versions, &history);
        let differs = got.iter().zip(&expected).position(|(got, expected)| got != expected);
        assert_eq!(differs.map(|at| (&got[at], &expected[at])), None, "{}", wanted.filter);
        assert_eq!(got.len(), expected.len(), "{}", wanted.filter);
        items += got.len();
    }
    println!(
        "{kind:?}: {count} operations in {took:.1?}, {:.0} a second; {end} changes; {} subscribers got {items} items, {:.1?} after the last",
        count as f64 / took.as_secs_f64(),
        wanted.len(),
        began.elapsed() - took
    );
}

/// Creates an account for each actor and owner, and returns their global ids.
async fn accounts(desk: &TestDesk, operations: &[Value]) -> BTreeMap<String, String> {
    let mut users = BTreeMap::new();
    for account in operations.iter().flat_map(|operation| [text(operation, "by"), text(operation, "owner")]) {
        if !account.is_empty() && !users.contains_key(account) {
            users.insert(account.to_owned(), desk.user(account, "RESPONDER").await);
        }
    }
    users
}

/// Replays every operation, the operations of one incident in order; returns the ids of the incidents.
async fn play(
    desk: &Arc<TestDesk>,
    operations: Vec<Value>,
    altering: Vec<bool>,
    users: &Arc<BTreeMap<String, String>>,
) -> HashMap<String, Uuid> {
    let mut shares: Vec<Vec<(Value, bool)>> = vec![Vec::new(); WRITERS];
    for (operation, alters) in operations.into_iter().zip(altering) {
        let share = text(&operation, "incident").bytes().fold(7_usize, |sum, byte| sum * 31 % 65_521 + byte as usize);
        shares[share % WRITERS].push((operation, alters));
    }
    let writers: Vec<JoinHandle<HashMap<String, Uuid>>> = shares
        .into_iter()
        .map(|share| {
            let (desk, users) = (desk.clone(), users.clone());
            tokio::spawn(async move {
                let mut ids = HashMap::new();
                for (operation, alters) in share {
                    run(&desk, &users, &mut ids, &operation, alters).await;
                }
                ids
            })
        })
        .collect();
    let mut ids = HashMap::new();
    for writer in writers {
        ids.extend(writer.await.expect("a writer"));
    }
    ids
}

async fn run(
    desk: &TestDesk,
    users: &BTreeMap<String, String>,
    ids: &mut HashMap<String, Uuid>,
    operation: &Value,
    alters: bool,
) {
    let key = text(operation, "incident");
    let id = ids.get(key).map(|id| format!("incident:{id}"));
    let title = text(operation, "title");
    let (name, input) = match text(operation, "op") {
        "create" => ("createIncident", json!({ "title": title, "severity": operation["severity"] })),
        "comment" => ("addComment", json!({ "incidentId": id, "body": operation["text"] })),
        "assign" if text(operation, "owner").is_empty() => ("unassignIncident", json!({ "incidentId": id })),
        "assign" => {
            let owner = &users[text(operation, "owner")];
            ("assignIncident", json!({ "incidentId": id, "owner": { "user": owner } }))
        }
        "severity" => ("setIncidentSeverity", json!({ "incidentId": id, "severity": operation["severity"] })),
        "reopen" => ("reopenIncident", json!({ "incidentId": id })),
        "status" => {
            let status = text(operation, "status").replace("CLOSED", "RESOLVED");
            ("setIncidentStatus", json!({ "incidentId": id, "status": status }))
        }
        _ => {
            let alert = json!({ "provider": "AIT", "providerAlertId": operation["alert"], "title": title,
                "product": product(operation), "entities": [{ "kind": "IP", "value": operation["ip"] }] });
            ("ingestAlert", json!({ "alert": alert, "into": { "incident": id } }))
        }
    };
    let kind = name[..1].to_uppercase() + &name[1..];
    let answer = if name == "ingestAlert" { "created" } else { "changed incident { id }" };
    let query = format!("mutation($input: {kind}Input!) {{ {name}(input: $input) {{ {answer} }} }}");
    let data = desk.data_as(Some(text(operation, "by")), &query, json!({ "input": input })).await;
    match name {
        "ingestAlert" => assert_eq!(data[name]["created"], 1, "{operation}"),
        _ => assert_eq!(data[name]["changed"], alters, "{operation}"),
    }
    if name == "createIncident" {
        let id = text(&data[name]["incident"], "id").strip_prefix("incident:").expect("an incident's id").to_owned();
        ids.insert(key.to_owned(), id.parse().expect("a UUID"));
    }
}

async fn ask(raw: &DatabaseConnection, sql: &str) -> Vec<QueryResult> {
    raw.query_all_raw(Statement::from_string(raw.get_database_backend(), sql)).await.expect(sql)
}

/// Returns the incident and the version at each position.
async fn versions(raw: &DatabaseConnection, keys: &HashMap<Uuid, String>) -> Vec<(u64, Uuid, String, usize)> {
    let rows = ask(raw, "SELECT position, incident_id, version FROM change ORDER BY position").await;
    rows.iter()
        .map(|row| {
            let id: Uuid = row.try_get_by_index(1).expect("an id");
            let position = row.try_get_by_index::<i64>(0).expect("a position") as u64;
            (position, id, keys[&id].clone(), row.try_get_by_index::<i64>(2).expect("a version") as usize)
        })
        .collect()
}

async fn ends_as_expected(raw: &DatabaseConnection, keys: &HashMap<Uuid, String>, history: &History) {
    let sql = "SELECT i.id, i.title, i.status, i.severity, u.account, i.comment_count, i.alert_count,
            (SELECT COUNT(*) FROM comment c WHERE c.incident_id = i.id), (SELECT COUNT(*) FROM alert a WHERE a.incident_id = i.id)
        FROM incident i LEFT JOIN \"user\" u ON u.id = i.owner_user_id";
    let rows = ask(raw, sql).await;
    assert_eq!(rows.len(), history.len());
    for row in rows {
        let number = |at| row.try_get_by_index::<i64>(at).expect("a number");
        let word =
            |at, words: [&str; 4]| words[row.try_get_by_index::<i16>(at).expect("a word") as usize - 1].to_owned();
        let key = &keys[&row.try_get_by_index::<Uuid>(0).expect("an id")];
        let last = history[key].last().expect("a state");
        let found = State {
            title: row.try_get_by_index(1).expect("a title"),
            status: word(2, ["NEW", "ACTIVE", "RESOLVED", "REDIRECTED"]),
            severity: word(3, ["INFORMATIONAL", "LOW", "MEDIUM", "HIGH"]),
            owner: row.try_get_by_index::<Option<String>>(4).expect("an account").unwrap_or_default(),
            comments: number(5),
            alerts: number(6),
            ..last.clone()
        };
        assert_eq!(found, *last, "{key}");
        assert_eq!((number(7), number(8)), (last.comments, last.alerts), "{key}");
    }
}

/// Compares the model's end with the recording's own.
fn ends_as_recorded(expected: &str, history: &History) {
    let mut json = String::new();
    open(expected).expect("an end state").read_to_string(&mut json).expect("text");
    let recorded: Value = serde_json::from_str(&json).expect("JSON");
    let incidents = recorded["incidents"].as_object().expect("incidents");
    assert_eq!(incidents.len(), history.len());
    for (key, end) in incidents {
        let states = &history[key];
        let last = states.last().expect("a state");
        assert_eq!(text(end, "status").replace("CLOSED", "RESOLVED"), last.status, "{key}");
        assert_eq!(text(end, "severity"), last.severity, "{key}");
        assert_eq!(text(end, "owner"), last.owner, "{key}");
        assert_eq!(end["comments"].as_i64().unwrap_or(last.comments), last.comments, "{key}");
        assert_eq!(end["alerts"].as_i64().unwrap_or(last.alerts), last.alerts, "{key}");
        assert_eq!(end["changes"].as_u64().unwrap_or(states.len() as u64), states.len() as u64, "{key}");
    }
    if let Some(changes) = recorded["changes"].as_u64() {
        assert_eq!(changes, history.values().map(Vec::len).sum::<usize>() as u64);
    }
}

/// A filter for the API, and its meaning in the model.
struct Wanted {
    filter: Value,
    holds: Box<dyn Fn(&State) -> bool + Send + Sync>,
}

impl Wanted {
    fn items(&self, versions: &[(u64, Uuid, String, usize)], history: &History) -> Vec<(u64, String, String)> {
        let mut items = Vec::new();
        for (position, id, key, version) in versions {
            let states = &history[key];
            let was = *version > 1 && (self.holds)(&states[version - 2]);
            let kind = match (was, (self.holds)(&states[version - 1])) {
                (false, true) => "QueueEntered",
                (true, true) => "QueueUpdated",
                (true, false) => "QueueLeft",
                (false, false) => continue,
            };
            items.push((*position, kind.to_owned(), format!("incident:{id}")));
        }
        items
    }
}

/// Returns twenty filters that distinguish the recordings' incidents.
fn wanted(users: &BTreeMap<String, String>) -> Vec<Wanted> {
    const ALL: [&str; 3] = ["NEW", "ACTIVE", "RESOLVED"];
    type Holds = Box<dyn Fn(&State) -> bool + Send + Sync>;
    let open = |state: &State| state.status != "RESOLVED";
    let mut wanted = Vec::new();
    let mut add = |filter: Value, holds: Holds| wanted.push(Wanted { filter, holds });
    add(json!({}), Box::new(open));
    add(json!({ "status": ALL }), Box::new(|_| true));
    add(json!({ "not": { "status": ["NEW"] } }), Box::new(|state| state.status != "NEW"));
    for status in ALL {
        add(json!({ "status": [status] }), Box::new(move |state| state.status == status));
    }
    for severity in ["HIGH", "LOW"] {
        add(json!({ "severity": [severity] }), Box::new(move |state| open(state) && state.severity == severity));
        let filter = json!({ "status": ALL, "not": { "severity": [severity] } });
        add(filter, Box::new(move |state| state.severity != severity));
    }
    add(json!({ "owner": { "unassigned": true } }), Box::new(move |state| open(state) && state.owner.is_empty()));
    for skip in [3, 11] {
        let some: BTreeMap<String, String> = users.clone().into_iter().step_by(skip).take(60).collect();
        let filter = json!({ "status": ALL, "owner": { "users": some.values().collect::<Vec<_>>() } });
        add(filter, Box::new(move |state| some.contains_key(&state.owner)));
    }
    for needle in ["symptom 5", "audit logs", "category 2"] {
        let filter = json!({ "status": ALL, "text": needle.to_uppercase() });
        add(filter, Box::new(move |state| state.title.to_lowercase().contains(needle)));
    }
    for product in ["Wazuh", "AMiner"] {
        add(json!({ "product": [product] }), Box::new(move |state| open(state) && state.products.contains(product)));
    }
    for address in ["172.19.130.4", "172.19.130.106"] {
        let filter = json!({ "entity": [{ "kind": "IP", "value": address }] });
        add(filter, Box::new(move |state| open(state) && state.addresses.contains(address)));
    }
    assert_eq!(wanted.len(), 20);
    wanted
}

/// A subscriber, which resumes by position after a cut.
struct Listener {
    task: JoinHandle<Vec<(u64, String, String)>>,
    until: tokio::sync::watch::Sender<u64>,
}

impl Listener {
    fn start(url: &str, filter: Value, mut after: Value) -> Self {
        const ITEMS: &str = "subscription($filter: IncidentFilterInput, $after: String) {
            incidentQueue(filter: $filter, after: $after) {
                __typename position
                ... on QueueEntered { row { id } } ... on QueueUpdated { row { id } } ... on QueueLeft { incidentId }
            }
        }";
        let url = format!("{}/graphql", url.replacen("http", "ws", 1));
        let (until, end) = tokio::sync::watch::channel(u64::MAX);
        let task = tokio::spawn(async move {
            let mut got = Vec::new();
            loop {
                let variables = json!({ "filter": filter, "after": after });
                let mut stream = Following::start(&url, ITEMS, variables).await;
                while let Frame::Json(message) = stream.frame().await {
                    let item = &message["payload"]["data"]["incidentQueue"];
                    let (position, kind, id, _) = short(item);
                    assert_ne!(kind, "Resync", "{message}");
                    assert!(position >= offset(&after), "{message}");
                    after = item["position"].clone();
                    if kind != "Heartbeat" && kind != "Live" {
                        got.push((position, kind, id));
                    }
                    if position >= *end.borrow() {
                        return got;
                    }
                }
            }
        });
        Self { task, until }
    }

    async fn finish(self, end: u64) -> Vec<(u64, String, String)> {
        self.until.send_replace(end);
        self.task.await.expect("a listener")
    }
}
