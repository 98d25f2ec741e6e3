//! A random shift: every kind of triage on a few incidents, by two analysts and their sensors.

use serde_json::{Value, json};

use super::desk::TestDesk;
use super::dice::Dice;
use super::triage::{each, laid_over, report};

/// The accounts that work in it.
const ACCOUNTS: [Option<&str>; 2] = [None, Some("ana")];

/// The objects that were made in it.
pub(crate) struct Shift {
    pub(crate) incidents: Vec<String>,
    pub(crate) alerts: Vec<String>,
    comments: Vec<String>,
}

impl Shift {
    /// Begins the shift: the analyst `ana`, four incidents, and a dozen alerts of which half belong to no incident.
    pub(crate) async fn begin(desk: &TestDesk, dice: &mut Dice) -> Self {
        desk.user("ana", "RESPONDER").await;
        let titles = ["Beacon to a new domain", "Mass download by a leaver", "Sign-in from two countries"];
        let mut incidents = Vec::new();
        for title in titles {
            incidents.push(desk.incident(title).await);
        }
        let reports = |range: std::ops::Range<usize>| range.map(|n| report(&n.to_string(), telling(n, 0))).collect();
        let taken = desk.ingest(reports(0..6), json!({ "newIncident": true })).await;
        incidents.push(taken["incident"]["id"].as_str().expect("an id").to_owned());
        let free = desk.ingest(reports(6..12), Value::Null).await;
        let ids = each(&taken["alerts"], "id").into_iter().chain(each(&free["alerts"], "id"));
        let alerts = ids.map(|id| id.as_str().expect("an id").to_owned()).collect();
        let mut shift = Self { incidents, alerts, comments: Vec::new() };
        for _ in 0..8 {
            shift.act(desk, dice).await;
        }
        shift
    }

    /// Does one more action, which the desk may refuse.
    pub(crate) async fn act(&mut self, desk: &TestDesk, dice: &mut Dice) {
        desk.clock.advance(chrono::Duration::seconds(1 + dice.below(90) as i64));
        let account = *dice.pick(&ACCOUNTS);
        let long = "what the analyst found, at length. ".repeat(12);
        let words =
            |dice: &mut Dice| format!("{} ({})", if dice.chance(40) { &long } else { "Seen again" }, dice.below(9));
        let edit = match dice.below(18) {
            0 => json!({ "title": words(dice) }),
            1 => json!({ "description": if dice.chance(30) { Value::Null } else { json!(words(dice)) } }),
            2 => json!({ "severity": if dice.chance(30) { Value::Null } else { json!(*dice.pick(&["HIGH", "LOW"])) } }),
            3 => json!({ "status": *dice.pick(&["NEW", "ACTIVE"]) }),
            4 => json!({ "status": "RESOLVED", "note": words(dice), "classification": { "truePositive": "PHISHING" } }),
            5 => json!({ "note": if dice.chance(30) { Value::Null } else { json!(words(dice)) } }),
            6 => {
                json!({ "classification": if dice.chance(50) { Value::Null } else { json!({ "truePositive": "MALWARE" }) } })
            }
            7 => json!({ "owner": if dice.chance(30) { Value::Null } else { json!({ "me": true }) } }),
            8 => json!({ "addTags": dice.some(&["vip", "exfiltration", "on call"]) }),
            9 => json!({ "removeTags": dice.some(&["vip", "exfiltration"]) }),
            10 => json!({ "linkAlerts": dice.some(&self.alerts), "move": true }),
            11 => json!({ "unlinkAlerts": [dice.pick(&self.alerts)] }),
            12 => json!({ "firstActivityAt": "2026-11-22T03:04:05Z", "comment": words(dice) }),
            13 => return self.tell_again(desk, dice).await,
            14 => {
                let alert = json!({ "alertId": dice.pick(&self.alerts) });
                let over = match dice.below(3) {
                    0 => json!({ "status": *dice.pick(&["NEW", "ACTIVE", "RESOLVED"]) }),
                    1 => json!({ "owner": if dice.chance(50) { Value::Null } else { json!({ "me": true }) } }),
                    _ => json!({ "classification": { "falsePositive": "NOT_MALICIOUS" } }),
                };
                desk.attempt_as(account, "updateAlert", laid_over(alert, over)).await;
                return;
            }
            15 => return self.revise(desk, dice, account).await,
            16 => {
                // A rename changes no incident: the log keeps the names of its time.
                let name = format!("Ana Lopes, shift {}", dice.below(4));
                desk.attempt_as(None, "upsertUser", json!({ "account": "ana", "name": name })).await;
                return;
            }
            _ => json!({ "comment": words(dice) }),
        };
        let incident = json!({ "incidentId": dice.pick(&self.incidents), "reopen": true });
        let done = desk.attempt_as(account, "updateIncident", laid_over(edit, incident)).await;
        self.comments.extend(done["comment"]["id"].as_str().map(str::to_owned));
    }

    /// Reports a sensor's alerts again, each time with other content.
    async fn tell_again(&self, desk: &TestDesk, dice: &mut Dice) {
        let some = dice.some(&(0..12).collect::<Vec<usize>>());
        let reports: Vec<Value> = some.into_iter().map(|n| report(&n.to_string(), telling(n, dice.below(4)))).collect();
        if !reports.is_empty() {
            desk.ingest(reports, Value::Null).await;
        }
    }

    async fn revise(&self, desk: &TestDesk, dice: &mut Dice, account: Option<&str>) {
        if self.comments.is_empty() {
            return;
        }
        let comment = json!({ "commentId": dice.pick(&self.comments) });
        let (name, input) = if dice.chance(70) {
            ("editComment", laid_over(comment, json!({ "body": format!("corrected: {}", dice.below(50)) })))
        } else {
            ("deleteComment", comment)
        };
        desk.attempt_as(account, name, input).await;
    }
}

/// Returns a sensor's report of its n-th alert, in its version `again`.
fn telling(n: usize, again: usize) -> Value {
    let severity = ["LOW", "MEDIUM", "HIGH"][(n + again) % 3];
    json!({
        "title": format!("Unusual volume from WS-{n}"), "severity": severity,
        "product": format!("Sensor {}", n % 3), "description": format!("reading {again}"),
        "entities": [{ "kind": "DEVICE", "value": format!("WS-{n}") }, { "kind": "IP", "value": format!("10.0.{again}.{n}") }],
    })
}
