//! Pages that request only rows: they read less, in one statement, and equal other pages.

use serde_json::{Value, json};

use super::statements::{Sent, full_incident};
use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::schema::fields_of;

each_database!(a_page_of_rows_says_what_a_page_of_incidents_says, a_page_of_rows_is_one_statement);

const ROW: &str = "__typename id number reference version title titleTruncated severity computedSeverity severityOverride status
    classification { kind threat activity reason } owner { id kind account name } tags { name kind } alertCount commentCount
    hasActiveAlerts products providers createdAt updatedAt firstActivityAt lastActivityAt firstAssignedAt resolvedAt redirectedToId";

/// A column that is read in the wrong order shows only if a comparison selects its field.
#[test]
fn each_comparison_of_rows_selects_every_field_of_a_row() {
    let selections = [("listed.rs", ROW), ("detail.rs", super::detail::ROW), ("board.rs", super::board::ROWS)];
    for (file, selection) in selections {
        let is_missing = |field: &String| !selection.split_whitespace().any(|word| word == field);
        let missing: Vec<_> = fields_of("QueueFields").into_iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "the selection of {file} lacks {missing:?}");
    }
}

const ALL: &str = "filter: { status: [NEW, ACTIVE, RESOLVED, REDIRECTED] }";

const FIELDS: [&str; 8] =
    ["UPDATED_AT", "CREATED_AT", "SEVERITY", "STATUS", "NUMBER", "TITLE", "FIRST_ACTIVITY_AT", "LAST_ACTIVITY_AT"];

/// Creates incidents of every kind: with user, group and no owner; resolved, merged, with odd tags, with a long title.
async fn incidents_of_all_kinds(desk: &TestDesk) {
    let ann = json!({ "user": desk.user("ann", "RESPONDER").await });
    let group = "mutation { upsertGroup(input: { account: \"söc\", name: \"The \\\"SOC\\\"\" }) { group { id } } }";
    let group = json!({ "group": desk.data(group, json!({})).await["upsertGroup"]["group"]["id"] });
    for (n, owner) in [&ann, &group, &Value::Null, &ann, &group].into_iter().enumerate() {
        full_incident(desk, n, owner).await;
    }
    let nodes = desk.data("{ incidents(orderBy: [{ field: NUMBER }]) { nodes { id } } }", json!({})).await;
    let ids: Vec<Value> =
        nodes["incidents"]["nodes"].as_array().expect("incidents").iter().map(|node| node["id"].clone()).collect();
    let resolved = json!({ "incidentId": ids[0], "classification": { "truePositive": "PHISHING" }, "note": "blocked" });
    desk.act("resolveIncident", resolved).await;
    let expected = json!({
        "incidentId": ids[1], "classification": { "informationalExpectedActivity": "CONFIRMED_ACTIVITY" },
    });
    desk.act("resolveIncident", expected).await;
    let odd = json!({
        "incidentId": ids[2], "addTags": ["Ünï \"quoted\" \\ tag", "a", "B"], "title": "漢".repeat(1_500), "severity": "HIGH",
        "firstActivityAt": "2026-11-20T00:00:00Z", "lastActivityAt": "2026-11-21T00:00:00Z",
    });
    desk.act("updateIncident", odd).await;
    desk.act("mergeIncidents", json!({ "sourceId": ids[3], "targetId": ids[4] })).await;
    desk.incident("nothing in it").await;
}

async fn a_page_of_rows_says_what_a_page_of_incidents_says(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    incidents_of_all_kinds(&desk).await;
    let page = "pageInfo { hasNextPage hasPreviousPage startCursor endCursor }";
    let mut orders =
        vec![String::new(), ", orderBy: [{ field: SEVERITY }, { field: TITLE, direction: ASC }]".to_owned()];
    for field in FIELDS {
        orders.extend(["ASC", "DESC"].map(|way| format!(", orderBy: [{{ field: {field}, direction: {way} }}]")));
    }
    for order in orders {
        for size in ["first: 100", "first: 2", "last: 2"] {
            let mut at = String::new();
            for _ in 0..3 {
                let list = format!("incidents({ALL}, {size}{order}{at})");
                let rows = format!("{{ {list} {{ nodes {{ {ROW} }} edges {{ cursor node {{ {ROW} }} }} {page} }} }}");
                let whole = rows.replacen("__typename", "__typename description", 1);
                let (rows, mut whole) = (desk.data(&rows, json!({})).await, desk.data(&whole, json!({})).await);
                for node in whole["incidents"]["nodes"].as_array_mut().expect("nodes") {
                    node.as_object_mut().expect("a row").remove("description");
                }
                assert_eq!(rows, whole, "{list}");
                let info = &rows["incidents"]["pageInfo"];
                at = if size.starts_with("first") {
                    format!(", after: {}", info["endCursor"])
                } else {
                    format!(", before: {}", info["startCursor"])
                };
            }
        }
    }
}

async fn a_page_of_rows_is_one_statement(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    incidents_of_all_kinds(&desk).await;
    let all = desk.data(&format!("{{ incidents({ALL}) {{ nodes {{ {ROW} }} }} }}"), json!({})).await;
    let all = all["incidents"]["nodes"].as_array().expect("rows").clone();
    assert_eq!(all.len(), 6);
    for (part, table) in [
        ("owner { name }", Some("\"user\"")),
        ("tags { name kind }", Some("incident_tag")),
        ("products", Some("\"products\"")),
        ("providers", Some("\"providers\"")),
        ("title", None),
        ("classification { kind }", None),
    ] {
        let read = format!("{{ incidents({ALL}) {{ nodes {{ number {part} }} }} }}");
        let statements = sent.fewest(&desk, &read, &json!({})).await;
        let [statement] = statements.as_slice() else { panic!("{read}\n{statements:#?}") };
        for named in ["\"user\"", "incident_tag", "\"products\"", "description"] {
            let may_be_read = table == Some(named) || (part == "providers" && named == "\"products\"");
            assert_eq!(statement.sql.contains(named), may_be_read, "{part}, {named}: {}", statement.sql);
        }
        let field = part.split(' ').next().expect("a field");
        let rows = desk.data(&read, json!({})).await["incidents"]["nodes"].take();
        for (row, whole) in rows.as_array().expect("rows").iter().zip(&all) {
            assert_eq!(row["number"], whole["number"]);
            match (&row[field], &whole[field]) {
                (Value::Object(part), whole) => {
                    part.iter().for_each(|(name, value)| assert_eq!(*value, whole[name], "{part:?} of {whole}"));
                }
                (part, whole) => assert_eq!(part, whole),
            }
        }
    }
    // Beside another field they belong to the same snapshot.
    let beside = format!("{{ incidents({ALL}) {{ position nodes {{ number }} }} }}");
    assert_eq!(sent.fewest(&desk, &beside, &json!({})).await.len(), 2, "the page, and the end of the log");
}
