//! What the desk asks for, as its clients may read it: a form can ask for a note before the desk does.

use async_graphql::SimpleObject;

use crate::domain::account::Role;
use crate::domain::policy::Policies as DomainPolicies;

/// What this desk asks for beyond what the product does, as its operator set it.
#[derive(SimpleObject)]
pub struct Policies {
    /// Whether an incident is resolved only with a resolution note.
    resolve_needs_note: bool,
    /// Whether an incident is resolved only with a classification, given then or before.
    resolve_needs_classification: bool,
    /// The least role that may reopen a resolved incident.
    reopen_role: Role,
    /// Whether a feed's report of an active alert reopens the resolved incident that holds the alert.
    reopen_for_active_alerts: bool,
}

impl From<DomainPolicies> for Policies {
    fn from(policies: DomainPolicies) -> Self {
        Self {
            resolve_needs_note: policies.resolve_needs_note,
            resolve_needs_classification: policies.resolve_needs_classification,
            reopen_role: policies.reopen_role,
            reopen_for_active_alerts: policies.reopen_for_active_alerts,
        }
    }
}
