//! Global ids: `node` and `nodes` find every object that has an id, and no deleted object.

use serde_json::json;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(everything_is_found_by_its_global_id);

async fn everything_is_found_by_its_global_id(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("one").await;
    let user = desk.user("ann", "RESPONDER").await;
    let group = desk
        .data("mutation { upsertGroup(input: { account: \"soc\" }) { group { id } } }", json!({}))
        .await["upsertGroup"]["group"]["id"]
        .take();
    let comment = desk
        .data(
            "mutation($id: ID!) { addComment(input: { incidentId: $id, body: \"seen\" }) { comment { id } } }",
            json!({ "id": incident }),
        )
        .await["addComment"]["comment"]["id"]
        .take();
    let alert = desk
        .data(
            "mutation { ingestAlert(input: { alert: { provider: \"p\", providerAlertId: \"1\", title: \"t\" } }) { alerts { id } } }",
            json!({}),
        )
        .await["ingestAlert"]["alerts"][0]["id"]
        .take();
    let bulk = "mutation($id: ID!) { bulkUpdateIncidents(input: { target: { ids: [$id] }, edit: { severity: LOW } }) {
        job { id } } }";
    let job = desk.data(bulk, json!({ "id": incident })).await["bulkUpdateIncidents"]["job"]["id"].take();
    let ids =
        json!([alert, incident, "incident:00000000-0000-0000-0000-000000000000", user, group, comment, "x", alert]);
    let nodes = desk
        .data(
            "query($ids: [ID!]!) { nodes(ids: $ids) {
                __typename id
                ... on Incident { title } ... on Alert { provider } ... on Comment { body } ... on User { account }
                ... on Group { members { nodes { id } } }
            } }",
            json!({ "ids": ids }),
        )
        .await;
    let alert_node = json!({ "__typename": "Alert", "id": alert, "provider": "p" });
    assert_eq!(
        nodes["nodes"],
        json!([
            alert_node,
            { "__typename": "Incident", "id": incident, "title": "one" },
            null,
            { "__typename": "User", "id": user, "account": "ann" },
            { "__typename": "Group", "id": group, "members": { "nodes": [] } },
            { "__typename": "Comment", "id": comment, "body": "seen" },
            null,
            alert_node,
        ])
    );
    let node = "query($id: ID!) { node(id: $id) { id } }";
    for id in [&alert, &json!(incident), &json!(user), &group, &comment, &job] {
        assert_eq!(desk.data(node, json!({ "id": id })).await["node"]["id"], *id);
    }
    assert_eq!(desk.refused(node, json!({ "id": "x" })).await.code, "NOT_FOUND");
    let many = vec!["x"; 101];
    assert_eq!(
        desk.refused("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": many })).await.code,
        "LIMIT"
    );
    desk.data("mutation($id: ID!) { deleteComment(input: { commentId: $id }) { changed } }", json!({ "id": comment }))
        .await;
    desk.data(
        "mutation($id: ID!) { deleteIncident(input: { incidentId: $id }) { deletedId } }",
        json!({ "id": incident }),
    )
    .await;
    for gone in [&json!(incident), &comment] {
        assert_eq!(desk.refused(node, json!({ "id": gone })).await.code, "NOT_FOUND");
    }
}
