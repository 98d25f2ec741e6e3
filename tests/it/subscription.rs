//! The live path: order, entered / updated / left, resume, lag, restart, two nodes on one database.

use serde_json::json;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(an_assignment_arrives_as_an_update);

async fn an_assignment_arrives_as_an_update(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Beaconing to a fresh domain").await;
    let mut queue = desk
        .follow("subscription { incidentQueue { __typename position ... on QueueUpdated { changedFields row { id owner { account } } } } }", json!({}))
        .await;
    assert_eq!(queue.item().await["__typename"], "Live");
    desk.data(
        "mutation($id: ID!) { assignIncident(input: { incidentId: $id, owner: { me: true } }) { changed } }",
        json!({ "id": id }),
    )
    .await;
    let item = queue.change().await;
    assert_eq!(item["__typename"], "QueueUpdated", "{item}");
    assert_eq!(item["changedFields"], json!(["OWNER", "FIRST_ASSIGNED_AT"]));
    assert_eq!(item["row"], json!({ "id": id, "owner": { "account": "local-manager" } }));
}
