//! Policies: requirements of one desk beyond the rules of the product, set by its operator. They decide, for example,
//! which role may reopen a resolved incident. By default all are off.

use serde_json::json;

use super::account::{Actor, Role};
use super::error::Refusal;
use super::incident::{Incident, Status};
use super::{Code, Error, Result};

/// The requirements of this desk for resolving and reopening an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policies {
    /// Whether a resolved incident needs a note.
    pub resolve_needs_note: bool,
    /// Whether a resolved incident needs a classification.
    pub resolve_needs_classification: bool,
    /// The least role that may reopen a resolved incident.
    pub reopen_role: Role,
    /// Whether a feed's report of an active alert reopens the resolved incident that holds the alert. Otherwise the
    /// incident stays resolved and shows that it has active alerts.
    pub reopen_for_active_alerts: bool,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            resolve_needs_note: false,
            resolve_needs_classification: false,
            reopen_role: Role::Responder,
            reopen_for_active_alerts: false,
        }
    }
}

impl Policies {
    /// Returns whether a caller may reopen an incident.
    pub fn may_reopen(&self, actor: &Actor) -> bool {
        actor.user.role >= self.reopen_role
    }

    /// Refuses a change of an incident that the policies do not allow, whichever command causes it. `by` is the caller;
    /// it is `None` for the desk itself, which may reopen. `path` is the input field that would reopen.
    ///
    /// An incident that was resolved before the policy was set may stay as it is, but it may not lose what the policy
    /// requires.
    pub fn check(&self, before: Option<&Incident>, after: &Incident, by: Option<&Actor>, path: &str) -> Result<()> {
        let was = before.filter(|before| before.status == Status::Resolved);
        match after.status {
            Status::Resolved => self.resolved(was, after),
            Status::New | Status::Active if was.is_some() => self.reopened(by, path),
            _ => Ok(()),
        }
    }

    fn resolved(&self, was: Option<&Incident>, is: &Incident) -> Result<()> {
        let note = |incident: &Incident| incident.resolution.as_ref().is_some_and(|it| it.note.is_some());
        if self.resolve_needs_note && !note(is) && was.is_none_or(note) {
            let message = "a resolved incident of this desk says why in a note";
            return Err(refused(Code::Invalid, "note", message, json!({ "policy": "resolveNeedsNote" })));
        }
        let classified = |incident: &Incident| incident.classification.is_some();
        if self.resolve_needs_classification && !classified(is) && was.is_none_or(classified) {
            let message = "a resolved incident of this desk says what it turned out to be";
            let now = json!({ "policy": "resolveNeedsClassification" });
            return Err(refused(Code::Invalid, "classification", message, now));
        }
        Ok(())
    }

    fn reopened(&self, by: Option<&Actor>, path: &str) -> Result<()> {
        if by.is_none_or(|actor| self.may_reopen(actor)) {
            return Ok(());
        }
        let now = json!({ "policy": "reopenRole", "reopenRole": self.reopen_role });
        Err(refused(Code::Forbidden, path, "only a manager may reopen an incident of this desk", now))
    }
}

fn refused(code: Code, path: &str, message: &str, now: serde_json::Value) -> Error {
    let refusal =
        Refusal { code, message: message.to_owned(), path: Some(path.to_owned()), now: Some(now), retry_after: None };
    Error::Refused(Box::new(refusal))
}
