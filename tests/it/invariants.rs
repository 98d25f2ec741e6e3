//! Invariants: eight analysts act at random at once, and afterwards every rule that connects the desk's objects must
//! hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use watchfloor::domain::IncidentId;
use watchfloor::domain::fold::Folded;
use watchfloor::domain::queue::sha256_hex;
use watchfloor::storage::{AlertFilter, Span};

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;
use crate::support::stream::{changes, logged};
use crate::support::triage::report;

each_database!(eight_analysts_at_once_leave_a_desk_that_agrees_with_itself);

/// The number of analysts, and of the actions of each.
const ANALYSTS: usize = 8;
const MUTATIONS: usize = 100;

/// The objects that the analysts act on.
#[derive(Default)]
struct Things {
    incidents: Vec<Value>,
    alerts: Vec<Value>,
    comments: Vec<Value>,
    /// The incident that was merged last.
    merged: Value,
}

impl Things {
    fn some(list: &[Value], dice: &mut Dice) -> Value {
        // The newest ones, so that the analysts meet.
        let newest = list.len().min(12);
        if newest == 0 { Value::Null } else { list[list.len() - newest..][dice.below(newest)].clone() }
    }
}

/// An analyst, who remembers every object that an answer shows.
struct Analyst {
    account: String,
    users: Vec<String>,
    things: Arc<Mutex<Things>>,
    dice: Dice,
    made: usize,
}

impl Analyst {
    fn severity(&mut self) -> &'static str {
        ["INFORMATIONAL", "LOW", "MEDIUM", "HIGH"][self.dice.below(4)]
    }

    fn owner(&mut self) -> Value {
        match self.dice.below(3) {
            0 => json!({ "me": true }),
            _ => json!({ "user": self.users[self.dice.below(self.users.len())] }),
        }
    }

    fn alert(&mut self) -> Value {
        self.made += 1;
        // Now and then an alert that this analyst's sensor has reported before.
        let number = if self.dice.below(5) == 0 { self.dice.below(self.made) } else { self.made };
        let host = format!("ws-{:02}", self.dice.below(20));
        let entities = json!([{ "kind": "DEVICE", "value": host }]);
        let severity = self.severity();
        report(&format!("{}-{number}", self.account), json!({ "severity": severity, "entities": entities }))
    }

    /// Chooses a mutation and its input.
    fn choose(&mut self) -> (&'static str, Value) {
        let (incident, other, alerts, comment) = {
            let things = self.things.lock().expect("whole");
            let alerts: BTreeSet<String> = (0..1 + self.dice.below(2))
                .filter_map(|_| Things::some(&things.alerts, &mut self.dice).as_str().map(str::to_owned))
                .collect();
            (
                Things::some(&things.incidents, &mut self.dice),
                Things::some(&things.incidents, &mut self.dice),
                alerts,
                Things::some(&things.comments, &mut self.dice),
            )
        };
        let (number, with) = (self.dice.below(1_000), self.dice.below(2) == 0);
        match self.dice.below(30) {
            0 | 1 => (
                "createIncident",
                json!({ "title": format!("Lateral movement {number}"), "severity": self.severity() }),
            ),
            2 => ("createIncident", json!({ "alerts": alerts, "move": with, "owner": self.owner() })),
            3 | 4 => ("ingestAlerts", json!({ "alerts": [self.alert(), self.alert()] })),
            5 | 6 => ("ingestAlerts", json!({ "alerts": [self.alert()], "into": { "newIncident": true } })),
            7 | 8 => ("ingestAlerts", json!({ "alerts": [self.alert()], "into": { "incident": incident } })),
            9 => ("renameIncident", json!({ "incidentId": incident, "title": format!("Renamed {number}") })),
            10 => (
                "describeIncident",
                json!({ "incidentId": incident, "description": if with { json!("x".repeat(number)) } else { Value::Null } }),
            ),
            11 => (
                "setIncidentSeverity",
                json!({ "incidentId": incident, "severity": if with { json!(self.severity()) } else { Value::Null } }),
            ),
            12 => ("assignIncident", json!({ "incidentId": incident, "owner": self.owner() })),
            13 => ("unassignIncident", json!({ "incidentId": incident })),
            14 => ("addTags", json!({ "incidentId": incident, "tags": [format!("tag {}", number % 7)] })),
            15 => ("removeTags", json!({ "incidentId": incident, "tags": [format!("TAG {}", number % 7)] })),
            16 => ("resolveIncident", json!({ "incidentId": incident, "note": format!("done {number}") })),
            17 => ("reopenIncident", json!({ "incidentId": incident })),
            18 => ("linkAlerts", json!({ "incidentId": incident, "alerts": alerts, "move": with, "reopen": true })),
            19 => ("unlinkAlerts", json!({ "incidentId": incident, "alerts": alerts })),
            20 => ("addComment", json!({ "incidentId": incident, "body": format!("seen on host {number}") })),
            21 => ("editComment", json!({ "commentId": comment, "body": format!("seen again on host {number}") })),
            22 if with => ("deleteComment", json!({ "commentId": comment })),
            22 => ("deleteIncident", json!({ "incidentId": other })),
            23 => ("mergeIncidents", json!({ "sourceId": incident, "targetId": other, "keepTitle": with })),
            24 => ("undoMerge", json!({ "incidentId": self.things.lock().expect("whole").merged.clone() })),
            25 | 26 => ("splitIncident", json!({ "incidentId": incident, "alerts": alerts })),
            27 => (
                "addBookmark",
                json!({
                    "incidentId": incident, "title": format!("Logons after hours {number}"), "query": "SigninLogs | take 1", "rows": [{ "n": 1 }],
                }),
            ),
            28 => ("restoreIncident", json!({ "incidentId": other })),
            _ => (
                "updateIncident",
                json!({
                    "incidentId": incident, "status": (["NEW", "ACTIVE"][number % 2]), "addTags": ["seen"], "comment": "as a whole",
                    "classification": { "truePositive": "MALWARE" }, "linkAlerts": alerts, "move": true,
                }),
            ),
        }
    }

    fn remember(&self, name: &str, payload: &Value) {
        let mut things = self.things.lock().expect("whole");
        let Things { incidents, alerts, comments, merged } = &mut *things;
        if name == "mergeIncidents" {
            merged.clone_from(&payload["source"]["id"]);
        }
        let seen = [(incidents, &payload["incident"]["id"]), (comments, &payload["comment"]["id"])];
        for (list, id) in seen {
            if id.is_string() && !list.contains(id) {
                list.push(id.clone());
            }
        }
        for alert in payload["alerts"].as_array().into_iter().flatten() {
            if !alerts.contains(&alert["id"]) {
                alerts.push(alert["id"].clone());
            }
        }
    }
}

async fn eight_analysts_at_once_leave_a_desk_that_agrees_with_itself(database: TestDatabase) {
    // Two nodes if the database allows it.
    let mut desks = vec![Arc::new(TestDesk::open(&database).await)];
    if database.kind == Kind::Postgres {
        desks.push(Arc::new(TestDesk::open(&database).await));
    }
    let mut users = Vec::new();
    for analyst in 0..ANALYSTS {
        users.push(desks[0].user(&format!("analyst-{analyst}"), "MANAGER").await);
    }
    let things = Arc::new(Mutex::new(Things::default()));
    let mut analysts = JoinSet::new();
    for number in 0..ANALYSTS {
        let desk = desks[number % desks.len()].clone();
        let mut analyst = Analyst {
            account: format!("analyst-{number}"),
            users: users.clone(),
            things: things.clone(),
            dice: Dice::new(number as u64 + 1),
            made: 0,
        };
        analysts.spawn(async move {
            let mut done = BTreeMap::<&str, usize>::new();
            for _ in 0..MUTATIONS {
                let (name, input) = analyst.choose();
                let payload = desk.attempt_as(Some(&analyst.account), name, input).await;
                if !payload.is_null() {
                    analyst.remember(name, &payload);
                    *done.entry(name).or_default() += 1;
                }
            }
            done
        });
    }
    let mut done = BTreeMap::<&str, usize>::new();
    for (name, count) in analysts.join_all().await.into_iter().flatten() {
        *done.entry(name).or_default() += count;
    }
    println!("{done:?}");
    assert!(done.len() >= 19, "nearly every mutation went well at least once: {done:?}");
    the_desk_agrees_with_itself(&desks[0]).await;
    the_log_agrees_with_the_desk(&desks[0]).await;
    each_log_folds_to_its_incident(&desks[0]).await;
}

/// Checks that each incident's numbers equal its alerts, and that each alert is in one incident at most.
async fn the_desk_agrees_with_itself(desk: &TestDesk) {
    let query = "query($after: String) { incidents(first: 20, after: $after, filter: {
            status: [NEW, ACTIVE, RESOLVED, REDIRECTED] }) { totalCount pageInfo { hasNextPage endCursor } nodes {
        id number version title titleGenerated status severity computedSeverity severityOverride owner { id } alertCount
        commentCount comments(first: 100) { totalCount nodes { id } } activity(first: 1) { totalCount }
        alerts(first: 100) { totalCount nodes { id severity status owner { id } incident { id } } }
    } } }";
    let rank = |severity: &Value| {
        ["INFORMATIONAL", "LOW", "MEDIUM", "HIGH"].iter().position(|word| severity == *word).expect("a severity")
    };
    let (mut after, mut held, mut incidents) = (Value::Null, BTreeSet::new(), 0);
    loop {
        let mut page = desk.data(query, json!({ "after": after })).await["incidents"].take();
        for incident in page["nodes"].as_array().expect("incidents") {
            incidents += 1;
            let alerts = incident["alerts"]["nodes"].as_array().expect("alerts");
            let highest = alerts.iter().map(|alert| &alert["severity"]).max_by_key(|severity| rank(severity));
            let computed = highest.cloned().unwrap_or(json!("MEDIUM"));
            assert_eq!(incident["computedSeverity"], computed, "{incident:#}");
            let set = &incident["severityOverride"];
            assert_eq!(&incident["severity"], if set.is_null() { &computed } else { set }, "{incident:#}");
            assert_eq!(incident["alertCount"], alerts.len(), "{incident:#}");
            assert_eq!(incident["commentCount"], incident["comments"]["nodes"].as_array().expect("a list").len());
            assert_eq!(incident["version"], incident["activity"]["totalCount"], "one version for each change");
            assert!(!incident["title"].as_str().expect("a title").is_empty(), "{incident:#}");
            for alert in alerts {
                assert_eq!(alert["incident"]["id"], incident["id"], "{alert} is where it says");
                assert!(held.insert(alert["id"].clone().to_string()), "{alert} is in one incident only");
                if !incident["owner"].is_null() {
                    assert_eq!(alert["owner"], incident["owner"], "{incident:#}");
                }
                if incident["status"] == "RESOLVED" {
                    assert_eq!(alert["status"], "RESOLVED", "{incident:#}");
                }
            }
        }
        if page["pageInfo"]["hasNextPage"] == false {
            assert_eq!(page["totalCount"], incidents);
            return;
        }
        after = page["pageInfo"]["endCursor"].take();
    }
}

/// Checks that positions and versions are dense, and that each change starts from the state that the one before left.
async fn the_log_agrees_with_the_desk(desk: &TestDesk) {
    let reader = desk.app.store.read().await.expect("a snapshot");
    let log = logged(&reader, 0, u64::from(u32::MAX)).await;
    let mut rows = BTreeMap::new();
    for (index, change) in log.iter().enumerate() {
        assert_eq!(change.offset(), index as u64 + 1);
        let Some(change) = change.of_incident() else { continue };
        let before = rows.insert(change.incident(), change.body.row.clone());
        assert_eq!(change.version(), before.as_ref().map_or(0, |row| row.version) + 1, "{change:#?}");
        assert_eq!(change.before, before, "{change:#?}");
    }
    let ids: Vec<_> = rows.keys().copied().collect();
    for incident in reader.incidents(&ids).await.expect("incidents") {
        assert_eq!(rows.get(&incident.id), Some(&incident.queue_row()), "INC-{}", incident.number);
    }
    assert_eq!(reader.head().await.expect("a head").offset, log.len() as u64);
}

/// Checks that an incident's log folds to the incident: its row, its alerts, its comments.
async fn each_log_folds_to_its_incident(desk: &TestDesk) {
    let reader = desk.app.store.read().await.expect("a snapshot");
    let changes = changes(&reader, 0, u64::from(u32::MAX)).await;
    let mut folded: BTreeMap<IncidentId, Folded> = BTreeMap::new();
    for change in changes {
        let id = change.incident();
        let state = Folded::after(folded.remove(&id), change).expect("a log that goes on");
        folded.insert(id, state);
    }
    for (id, state) in &folded {
        let held = AlertFilter { incident: Some(*id), ..AlertFilter::default() };
        let all = Span { after: None, before: None, from_end: false, limit: 1_000 };
        let alerts = reader.alerts_page(&held, all, false).await.expect("alerts");
        let standing: BTreeMap<_, _> = alerts
            .iter()
            .map(|alert| {
                (alert.id, (Some(alert.status), alert.owner.as_ref().map(|owner| owner.id), alert.classification))
            })
            .collect();
        let of_log: BTreeMap<_, _> =
            state.alerts.iter().map(|(id, alert)| (*id, (alert.status, alert.owner, alert.classification))).collect();
        assert_eq!(of_log, standing, "INC-{}", state.row.number);
        let all = Span { after: None, before: None, from_end: false, limit: 1_000 };
        let comments = reader.comments_page(*id, all).await.expect("comments");
        let standing: BTreeMap<_, _> = comments.iter().map(|comment| (comment.id, sha256_hex(&comment.body))).collect();
        let of_log: BTreeMap<_, _> =
            state.comments.values().map(|comment| (comment.id, comment.sha256.clone())).collect();
        assert_eq!(of_log, standing, "INC-{}", state.row.number);
    }
    assert!(!folded.is_empty());
}
