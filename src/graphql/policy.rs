//! The policies of the desk. A client reads them so that a form can ask for a note before the server refuses.

use async_graphql::SimpleObject;

use crate::domain::account::Role;
use crate::domain::policy::Policies as DomainPolicies;

/// The rules that the operator of this desk has set for resolving and reopening incidents.
#[derive(SimpleObject)]
pub(super) struct Policies {
    /// Whether resolving an incident requires a resolution note.
    resolve_needs_note: bool,
    /// Whether resolving an incident requires a classification, set in the same call or before.
    resolve_needs_classification: bool,
    /// The lowest role that may reopen a resolved incident.
    reopen_role: Role,
    /// Whether a resolved incident reopens when a feed reports one of its alerts as active.
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
