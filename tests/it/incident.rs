//! Incidents, through the public API.

use serde_json::json;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(a_resolved_incident_keeps_its_note);

async fn a_resolved_incident_keeps_its_note(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Impossible travel for a finance clerk").await;
    let resolved = desk
        .data(
            "mutation($id: ID!) {
                resolveIncident(input: { incidentId: $id, note: \"  VPN exit, confirmed with the user  \" }) {
                    changed incident { status resolution { note by { account } } }
                }
             }",
            json!({ "id": id }),
        )
        .await;
    assert_eq!(
        resolved["resolveIncident"],
        json!({
            "changed": true,
            "incident": {
                "status": "RESOLVED",
                "resolution": { "note": "VPN exit, confirmed with the user", "by": { "account": "local-manager" } },
            },
        })
    );
}
