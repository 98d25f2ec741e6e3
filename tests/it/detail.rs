//! The page of one incident: one statement returns the same content as several statements.

use serde_json::{Value, json};

use super::statements::{Sent, full_incident};
use crate::support::database::{TestDatabase, each_database};

each_database!(one_statement_reads_what_several_read);

/// The fields of an incident that one statement reads, without its lists.
pub(super) const ROW: &str = "__typename id number reference version title titleTruncated titleGenerated description severity computedSeverity
    severityOverride status alertCount commentCount hasActiveAlerts products providers createdAt updatedAt firstActivityAt
    lastActivityAt firstAssignedAt resolvedAt redirectedToId owner { id kind account name } tags { name kind }
    classification { kind threat activity reason } resolution { note at by { id kind account name } }";

const CHANGE: &str = "__typename version at transactionId last clientMutationId incidentId incidentNumber
    actor { id kind account name } cause { kind name jobId }
    entries { __typename kind
        ... on TextEntry { generated } ... on SeverityEntry { severityBefore severityAfter overrideBefore overrideAfter }
        ... on StatusEntry { statusBefore statusAfter } ... on OwnerEntry { ownerBefore { name } ownerAfter { name } }
        ... on ClassificationEntry { classificationBefore { kind } classificationAfter { kind } }
        ... on TagsEntry { added { name kind } removed { name } } ... on CommentEntry { action commentId sha256 }
        ... on ActivityEntry { firstActivityBefore firstActivityAfter lastActivityBefore lastActivityAfter }
        ... on AlertsLinkedEntry { alertIds movedFromIds } ... on AlertsUnlinkedEntry { alertIds movedToId }
        ... on BookmarkEntry { bookmarkAction bookmarkId bookmarkTitle }
    }";

const ALERT: &str = "__typename id provider providerAlertId product title titleTruncated description severity status category techniques
    firstActivityAt lastActivityAt createdAt updatedAt resolvedAt owner { id kind account name } classification { kind threat }";

const COMMENT: &str =
    "__typename id body html createdAt editedAt deletedAt writtenOnId author { id kind account name }";

const PAGE: &str = "pageInfo { hasNextPage hasPreviousPage startCursor endCursor }";

async fn one_statement_reads_what_several_read(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let ann = json!({ "user": desk.user("ann", "RESPONDER").await });
    let group = "mutation { upsertGroup(input: { account: \"söc\", name: \"The \\\"SOC\\\"\" }) { group { id } } }";
    let group = json!({ "group": desk.data(group, json!({})).await["upsertGroup"]["group"]["id"] });
    for (n, owner) in [&ann, &group, &Value::Null].into_iter().enumerate() {
        full_incident(&desk, n, owner).await;
    }
    let nodes = desk.data("{ incidents { nodes { id comments { nodes { id } } } } }", json!({})).await;
    let nodes = nodes["incidents"]["nodes"].as_array().expect("incidents").clone();
    let [first, second, third] = nodes.as_slice() else { panic!("three incidents: {nodes:#?}") };
    let comments = |node: &Value| node["comments"]["nodes"].as_array().expect("comments").clone();
    desk.act(
        "editComment",
        json!({ "commentId": comments(first)[0]["id"], "body": "\"C2\" \\ per\n\tthe *sandbox* 漢字 \u{1}" }),
    )
    .await;
    desk.act("deleteComment", json!({ "commentId": comments(first)[1]["id"] })).await;
    let resolved =
        json!({ "incidentId": second["id"], "classification": { "truePositive": "PHISHING" }, "note": "blocked" });
    desk.act("resolveIncident", resolved).await;
    let tagged = json!({ "incidentId": third["id"], "addTags": ["Ünï \"quoted\" \\ tag", "a", "B"], "title": "t".repeat(1_500) });
    desk.act("updateIncident", tagged).await;
    let empty = json!(desk.incident("nothing in it").await);

    let one = |lists: &str| format!("query($id: ID!) {{ incident(by: {{ id: $id }}) {{ {ROW} {lists} }} }}");
    let ends = ["", "(first: 50)", "(last: 50)", "(first: 2)", "(last: 2)", "(first: 1)", "(last: 0)"];
    for id in [&first["id"], &second["id"], &third["id"], &empty] {
        for at in ends {
            for lists in [
                format!(
                    "activity{at} {{ nodes {{ {CHANGE} }} {PAGE} }} alerts{at} {{ nodes {{ {ALERT} }} {PAGE} }}
                    comments{at} {{ totalCount nodes {{ {COMMENT} }} {PAGE} }}"
                ),
                format!(
                    "comments{at} {{ edges {{ cursor node {{ {COMMENT} }} }} }} alerts{at} {{ edges {{ cursor node {{ {ALERT} }} }} }}"
                ),
                format!("activity{at} {{ edges {{ cursor node {{ {CHANGE} }} }} }}"),
            ] {
                let (read, variables) = (one(&lists), json!({ "id": id }));
                let statements = sent.fewest(&desk, &read, &variables).await;
                assert_eq!(statements.len(), 1, "{read}\n{statements:#?}");
                // With a second root field the lists are read one by one.
                let beside = read.trim_end().strip_suffix('}').expect("a document").to_owned()
                    + " users { nodes { account } } }";
                let several = sent.fewest(&desk, &beside, &variables).await.len();
                assert!(several > 2, "{several} statements for {beside}");
                let (at_once, one_by_one) =
                    (desk.data(&read, variables.clone()).await, desk.data(&beside, variables).await);
                assert_eq!(at_once["incident"], one_by_one["incident"], "{read}");
            }
        }
    }

    let named = "query($id: ID!) { incident(by: { id: $id }) { alerts { nodes { entities { value } } } } }";
    let named = desk.data(named, json!({ "id": first["id"] })).await["incident"]["alerts"]["nodes"].take();
    let of_alerts = named.as_array().expect("alerts").iter().map(|alert| alert["entities"].as_array().map(Vec::len));
    assert_eq!(of_alerts.collect::<Vec<_>>(), [Some(1); 3], "{named:#}");

    // Queries with more fields or with another page are answered as before.
    for more in [
        "fullTitle",
        "activity { totalCount }",
        "activity { nodes { position } }",
        "activity(filter: { content: COMMENTS }) { nodes { version } }",
        "alerts { totalCount }",
        "alerts { nodes { raw } }",
        "alerts { nodes { entities { value } incident { number } } }",
        "comments { nodes { history { nodes { body } } } }",
        "activity { nodes { entries { ... on TextEntry { textAfter } } } }",
        "a: alerts(first: 1) { nodes { id } } b: alerts(last: 1) { nodes { id } }",
        "entities { kind }",
        "similar { incident { id } }",
        "comments(first: 1, after: \"\") { nodes { id } }",
        "alerts(first: 1000) { nodes { id } }",
        "a: alerts(first: 2) { nodes { id } } b: alerts(first: 2) { edges { cursor } }",
    ] {
        let read = one(more);
        let beside =
            read.trim_end().strip_suffix('}').expect("a document").to_owned() + " users { nodes { account } } }";
        let variables = json!({ "id": first["id"] });
        let (alone, beside) =
            (desk.graphql_as(None, &read, variables.clone()).await, desk.graphql_as(None, &beside, variables).await);
        assert_eq!(alone["data"]["incident"], beside["data"]["incident"], "{more}");
        let messages = |answer: &Value| {
            answer["errors"].as_array().map(|all| all.iter().map(|it| it["message"].clone()).collect::<Vec<_>>())
        };
        assert_eq!(messages(&alone), messages(&beside), "{more}");
    }
    desk.act("deleteIncident", json!({ "incidentId": empty })).await;
    for absent in [empty, json!("incident:018f0000-0000-7000-8000-000000000000")] {
        let answer = desk.graphql_as(None, &one("comments { nodes { id } }"), json!({ "id": absent })).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "NOT_FOUND", "{answer:#}");
    }
}
