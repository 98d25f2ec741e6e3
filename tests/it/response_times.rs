//! How long incidents waited: what counts, the percentiles, and that the desk computes them once a minute.

use serde_json::{Value, json};

use super::statements::Sent;
use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(
    waiting_is_measured_from_creation,
    an_answer_is_given_again_for_a_minute,
    a_window_has_one_to_thirty_days
);

const TIMES: &str = "query($filter: IncidentFilterInput, $window: Int! = 7) {
    responseTimes(filter: $filter, windowDays: $window) { position computedAt since windowDays filter { json }
        timeToAssign { count mean p50 p90 p95 } timeToResolve { count mean p50 p90 p95 } } }";

async fn times(desk: &TestDesk, variables: Value) -> Value {
    desk.data(TIMES, variables).await["responseTimes"].take()
}

async fn waiting_is_measured_from_creation(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let none = times(&desk, json!({ "window": 30 })).await;
    let nothing = json!({ "count": 0, "mean": null, "p50": null, "p90": null, "p95": null });
    assert_eq!((&none["timeToAssign"], &none["timeToResolve"]), (&nothing, &nothing));

    // Twenty incidents: the n-th waits n minutes and a microsecond for its owner, and twice as long in all.
    for n in 1..=20 {
        let severity = if n > 18 { "HIGH" } else { "LOW" };
        let made = desk.create(json!({ "title": "one", "severity": severity })).await;
        let wait = chrono::Duration::minutes(n) + chrono::Duration::microseconds(1);
        desk.clock.advance(wait);
        desk.act("assignIncident", json!({ "incidentId": made["id"], "owner": { "me": true } })).await;
        desk.clock.advance(wait);
        desk.act("resolveIncident", json!({ "incidentId": made["id"] })).await;
        if n == 20 {
            desk.act("reopenIncident", json!({ "incidentId": made["id"] })).await;
        }
    }
    let deleted = desk.incident("deleted").await;
    desk.act("resolveIncident", json!({ "incidentId": deleted })).await;
    desk.act("deleteIncident", json!({ "incidentId": deleted })).await;
    let all = times(&desk, json!({})).await;
    let assign = json!({ "count": 20, "mean": 630.000001, "p50": 600.000001, "p90": 1080.000001, "p95": 1140.000001 });
    assert_eq!(all["timeToAssign"], assign);
    let resolve =
        json!({ "count": 19, "mean": 1200.000002, "p50": 1200.000002, "p90": 2160.000002, "p95": 2280.000002 });
    assert_eq!(all["timeToResolve"], resolve, "one that was reopened is not resolved");
    assert_eq!((&all["windowDays"], &all["filter"]["json"]), (&json!(7), &json!({ "status": ["NEW", "ACTIVE"] })));
    let high = times(&desk, json!({ "filter": { "severity": ["HIGH"] } })).await;
    assert_eq!((&high["timeToAssign"]["count"], &high["timeToResolve"]["p50"]), (&json!(2), &json!(2280.000002)));
    // A day holds only the newest of 420 minutes: incidents assigned in it, although they were made before.
    desk.clock.advance(chrono::Duration::hours(23));
    let day = times(&desk, json!({ "window": 1 })).await;
    assert_eq!((&day["timeToAssign"]["count"], &day["timeToResolve"]["count"]), (&json!(2), &json!(1)));
    desk.clock.advance(chrono::Duration::days(7));
    assert_eq!(times(&desk, json!({})).await["timeToAssign"], nothing, "a week later the week was quiet");
    assert_eq!(times(&desk, json!({ "window": 30 })).await["timeToAssign"], assign);
}

async fn an_answer_is_given_again_for_a_minute(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    desk.user("ann", "RESPONDER").await;
    let first = times(&desk, json!({})).await;
    let id = desk.incident("one").await;
    desk.act("resolveIncident", json!({ "incidentId": id })).await;
    desk.clock.advance(chrono::Duration::seconds(59));
    assert_eq!(times(&desk, json!({})).await, first, "with the position that it was computed at");
    let other = times(&desk, json!({ "filter": { "severity": ["MEDIUM"] } })).await;
    assert_eq!(other["timeToResolve"]["count"], 1, "another filter is another question");
    let mine = json!({ "filter": { "owner": { "me": true } } });
    let (of_ann, of_us) = (desk.data_as(Some("ann"), TIMES, mine.clone()).await, desk.data(TIMES, mine).await);
    assert_ne!(of_ann["responseTimes"]["filter"], of_us["responseTimes"]["filter"]);
    desk.clock.advance(chrono::Duration::seconds(1));
    sent.take();
    let again = futures_util::future::join_all((0..8).map(|_| times(&desk, json!({})))).await;
    let computed = sent.take().iter().filter(|statement| statement.sql.contains("first_assigned_at\" >= ")).count();
    assert_eq!(computed, 1, "once for eight who ask at once");
    assert!(again.iter().all(|answer| *answer == again[0]));
    assert_eq!(again[0]["timeToResolve"]["count"], 1);
    let position = desk.data("{ incidents { position } }", json!({})).await["incidents"]["position"].take();
    assert_eq!(again[0]["position"], position);
}

async fn a_window_has_one_to_thirty_days(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for window in [0, 31, -1, i32::MAX] {
        let refusal = desk.refused(TIMES, json!({ "window": window })).await;
        let said = (refusal.code.as_str(), refusal.path.as_deref(), &refusal.now["limit"]);
        assert_eq!(said, ("LIMIT", Some("windowDays"), &json!(30)), "{window}");
    }
    let refusal = desk.refused(TIMES, json!({ "window": 1, "filter": { "text": "" } })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("INVALID", Some("filter.text")));
    for window in [1, 30] {
        let answer = times(&desk, json!({ "window": window })).await;
        assert_eq!(answer["windowDays"], window);
    }
}
