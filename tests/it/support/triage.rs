//! Helpers for triage: any mutation by its name, and an incident, its log and its alerts with every field.

use serde_json::{Value, json};
use watchfloor::app::verify::{Verification, Verified, verify};

use super::desk::{Refusal, TestDesk};

/// Every field of an incident that a command may change.
const INCIDENT: &str = "id number reference version title titleGenerated description severity computedSeverity
    severityOverride status classification { kind threat activity reason } owner { id kind account name }
    tags { name kind } resolution { note at by { account } } alertCount commentCount products providers
    createdAt updatedAt firstActivityAt lastActivityAt firstAssignedAt resolvedAt redirectedToId";

/// Every field of an alert.
const ALERT: &str = "id provider providerAlertId product title description severity status
    classification { kind threat activity reason } category techniques owner { account } incident { id number }
    entities { kind value verdict } firstActivityAt lastActivityAt createdAt updatedAt resolvedAt raw";

const COMMENT: &str = "id body html author { account } createdAt editedAt deletedAt
    history { nodes { version body by { account } } } writtenOnId";

/// Every field of a bookmark.
pub(crate) const BOOKMARK: &str =
    "id title query rows note entities { kind value verdict } eventAt author { account } createdAt removedAt
    incident { id }";

/// Every field of a saved view except its queue.
pub(crate) const VIEW: &str =
    "id slug name owner { account } visibility filter { json } orderBy { field direction } link unreadCount lastVisitedAt
    createdAt updatedAt";

/// Every field of a change.
const CHANGE: &str =
    "position version at actor { kind account } cause { kind name } transactionId last clientMutationId
    incidentId incidentNumber entries { kind
        ... on TextEntry { textAfter textBefore generated }
        ... on SeverityEntry { severityAfter severityBefore overrideBefore overrideAfter }
        ... on StatusEntry { statusAfter statusBefore }
        ... on ClassificationEntry { classificationAfter { kind threat activity reason }
                                     classificationBefore { kind threat activity reason } }
        ... on OwnerEntry { ownerAfter { account } ownerBefore { account } }
        ... on TagsEntry { added { name kind } removed { name kind } }
        ... on ActivityEntry { firstActivityBefore firstActivityAfter lastActivityBefore lastActivityAfter }
        ... on CommentEntry { action commentId sha256 }
        ... on BookmarkEntry { bookmarkAction bookmarkId bookmarkTitle }
        ... on AlertsLinkedEntry { alertIds movedFromIds }
        ... on AlertsUnlinkedEntry { alertIds movedToId }
        ... on MergedIntoEntry { targetId targetNumber commentCount }
        ... on MergedEntry { sourceId sourceNumber commentCount }
        ... on MergeUndoneEntry { otherId otherNumber commentCount }
        ... on AlertsChangedEntry { alerts { alertId reported status { before after } owner { before after }
                                             classification { before { kind } after { kind } } } } }";

/// Returns the document of a mutation: `resolveIncident` takes `ResolveIncidentInput` and returns its payload's fields.
fn mutation(name: &str) -> String {
    let input = match name {
        "addGroupMembers" | "removeGroupMembers" => "GroupMembers".to_owned(),
        _ => format!("{}{}", name[..1].to_uppercase(), &name[1..]),
    };
    let selection = match name {
        "addComment" | "editComment" | "deleteComment" => {
            format!("changed position comment {{ {COMMENT} }} incident {{ {INCIDENT} }}")
        }
        "ingestAlert" | "ingestAlerts" => {
            format!(
                "changed created updated unchanged position alerts {{ id status owner {{ account }} }} incident {{ {INCIDENT} }}"
            )
        }
        "addBookmark" | "removeBookmark" => {
            format!("changed position clientMutationId bookmark {{ {BOOKMARK} }} incident {{ {INCIDENT} }}")
        }
        "createView" | "updateView" | "visitView" => format!("changed position clientMutationId view {{ {VIEW} }}"),
        "deleteView" => "changed position deletedId clientMutationId".to_owned(),
        "setDefaultView" => "changed position clientMutationId defaultView { id slug }".to_owned(),
        "mergeIncidents" | "undoMerge" => format!(
            "changed position clientMutationId source {{ {INCIDENT} }} target {{ {INCIDENT} }}
             alerts {{ id owner {{ account }} incident {{ id }} }}"
        ),
        "splitIncident" => format!(
            "changed position clientMutationId incident {{ {INCIDENT} }} from {{ {INCIDENT} }}
             alerts {{ id owner {{ account }} incident {{ id }} }}"
        ),
        "bulkUpdateIncidents" | "cancelBulkJob" => "changed position total job { id state }".to_owned(),
        "createAttachment" => "changed position attachment { id }".to_owned(),
        "updateAlert" => format!("changed position alert {{ {ALERT} }}"),
        "deleteIncident" => "changed position deletedId alerts { id incident { id } }".to_owned(),
        "upsertUser" => "changed position user { id account name email role }".to_owned(),
        "upsertGroup" | "addGroupMembers" | "removeGroupMembers" => {
            "changed position group { id account name members { nodes { account } } }".to_owned()
        }
        _ => format!(
            "changed position clientMutationId incident {{ {INCIDENT} }} alerts {{ id status owner {{ account }} }}
             comment {{ {COMMENT} }}"
        ),
    };
    format!("mutation($input: {input}Input!) {{ {name}(input: $input) {{ {selection} }} }}")
}

/// A report of an alert by a provider, with more fields laid over it.
pub(crate) fn report(key: &str, over: Value) -> Value {
    laid_over(json!({ "provider": "Sensor", "providerAlertId": key, "title": format!("Alert {key}") }), over)
}

/// `base` with the fields of `over`.
pub(crate) fn laid_over(mut base: Value, over: Value) -> Value {
    if let (Some(base), Value::Object(over)) = (base.as_object_mut(), over) {
        base.extend(over);
    }
    base
}

/// The values of `field` of every item of a list.
pub(crate) fn each<'a>(list: &'a Value, field: &str) -> Vec<&'a Value> {
    list.as_array().expect("a list").iter().map(|item| &item[field]).collect()
}

/// The strings of `field` of every item of a list, sorted.
pub(crate) fn sorted(list: &Value, field: &str) -> Vec<String> {
    let mut words: Vec<String> = each(list, field).iter().map(|word| word.as_str().expect("text").to_owned()).collect();
    words.sort();
    words
}

impl TestDesk {
    /// Runs a mutation as the local manager that must succeed, and returns its payload.
    pub(crate) async fn act(&self, name: &str, input: Value) -> Value {
        self.act_as(None, name, input).await
    }

    /// Runs a mutation as an account that must succeed, and returns its payload.
    pub(crate) async fn act_as(&self, account: Option<&str>, name: &str, input: Value) -> Value {
        self.data_as(account, &mutation(name), json!({ "input": input })).await[name].take()
    }

    /// Runs a mutation as the local manager, and returns the whole response.
    pub(crate) async fn mutate(&self, name: &str, input: Value) -> Value {
        self.graphql_as(None, &mutation(name), json!({ "input": input })).await
    }

    /// Runs a mutation as an account. The desk may refuse it but not fail. Returns its payload, or null after a
    /// refusal.
    pub(crate) async fn attempt_as(&self, account: Option<&str>, name: &str, input: Value) -> Value {
        let mut response = self.graphql_as(account, &mutation(name), json!({ "input": input })).await;
        let refusals = [json!("CONFLICT"), json!("INVALID"), json!("NOT_FOUND"), json!("FORBIDDEN")];
        let error = response.get("errors").map(|errors| &errors[0]["extensions"]["code"]);
        assert!(error.is_none_or(|code| refusals.contains(code)), "{name}: {response:#}");
        response["data"][name].take()
    }

    /// Runs a mutation that must be refused and must leave the log unchanged.
    pub(crate) async fn deny(&self, name: &str, input: Value) -> Refusal {
        self.deny_as(None, name, input).await
    }

    /// Runs a mutation as an account that must be refused and must leave the log unchanged.
    pub(crate) async fn deny_as(&self, account: Option<&str>, name: &str, input: Value) -> Refusal {
        let before = self.log_end().await;
        let refusal = self.refused_as(account, &mutation(name), json!({ "input": input })).await;
        assert_eq!(self.log_end().await, before, "a refused {name} wrote to the log");
        refusal
    }

    /// Creates an incident and returns it.
    pub(crate) async fn create(&self, input: Value) -> Value {
        self.act("createIncident", input).await["incident"].take()
    }

    /// Updates an incident, and returns the payload.
    pub(crate) async fn update(&self, id: &str, fields: Value) -> Value {
        self.act("updateIncident", laid_over(json!({ "incidentId": id }), fields)).await
    }

    /// Runs an update of an incident that must be refused and must leave the incident unchanged.
    pub(crate) async fn update_denied(&self, id: &str, fields: Value) -> Refusal {
        let before = self.read(id).await;
        let refusal = self.deny("updateIncident", laid_over(json!({ "incidentId": id }), fields)).await;
        assert_eq!(self.read(id).await, before, "a refused update changed the incident");
        refusal
    }

    /// Returns the incident as it stands.
    pub(crate) async fn read(&self, id: &str) -> Value {
        let query = format!("query($id: ID!) {{ incident(by: {{ id: $id }}) {{ {INCIDENT} }} }}");
        self.data(&query, json!({ "id": id })).await["incident"].take()
    }

    /// Returns the global id of the incident with this number.
    pub(crate) async fn numbered(&self, number: i64) -> String {
        let read = self
            .data("query($number: Int!) { incident(by: { number: $number }) { id } }", json!({ "number": number }))
            .await;
        read["incident"]["id"].as_str().expect("an id").to_owned()
    }

    /// Returns the alert as it stands.
    pub(crate) async fn alert(&self, id: &str) -> Value {
        let query = format!("query($id: ID!) {{ alert(id: $id) {{ {ALERT} }} }}");
        self.data(&query, json!({ "id": id })).await["alert"].take()
    }

    /// Returns the incident's whole log, oldest first.
    pub(crate) async fn log(&self, id: &str) -> Vec<Value> {
        let query = format!(
            "query($id: ID!, $after: String) {{ incident(by: {{ id: $id }}) {{ activity(first: 100, after: $after) {{
                totalCount pageInfo {{ hasNextPage endCursor }} nodes {{ {CHANGE} }} }} }} }}"
        );
        let (mut changes, mut after) = (Vec::new(), Value::Null);
        loop {
            let mut page = self.data(&query, json!({ "id": id, "after": after })).await["incident"]["activity"].take();
            changes.extend(page["nodes"].as_array().expect("changes").iter().cloned());
            if page["pageInfo"]["hasNextPage"] == false {
                assert_eq!(page["totalCount"], changes.len());
                return changes;
            }
            after = page["pageInfo"]["endCursor"].take();
        }
    }

    /// Verifies the whole log: it must be whole, and the tables must equal its sum. Returns the findings.
    pub(crate) async fn verified(&self) -> Verified {
        match verify(&self.app.store, None, &|_, _| ()).await.expect("a look at the log") {
            Verification::Whole(verified) => verified,
            Verification::Broken(found) => panic!("the log is broken at {found}"),
        }
    }

    /// Returns the entries of the incident's newest change, by kind.
    pub(crate) async fn newest(&self, id: &str) -> Value {
        let change = self.log(id).await.pop().expect("a change");
        let entries = change["entries"].as_array().expect("entries").iter();
        entries.map(|entry| (entry["kind"].as_str().expect("a kind").to_owned(), entry.clone())).collect()
    }

    /// Ingests reports, and returns the payload.
    pub(crate) async fn ingest(&self, alerts: Vec<Value>, into: Value) -> Value {
        self.act("ingestAlerts", json!({ "alerts": alerts, "into": into })).await
    }

    /// Ingests alerts with these keys that belong to no incident, and returns their ids.
    pub(crate) async fn alerts(&self, keys: &[&str]) -> Vec<String> {
        let taken = self.ingest(keys.iter().map(|key| report(key, json!({}))).collect(), Value::Null).await;
        each(&taken["alerts"], "id").iter().map(|id| id.as_str().expect("an id").to_owned()).collect()
    }
}
