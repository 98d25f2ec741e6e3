//! Runs commands on one incident in memory: its state, its alerts, comments and texts, and its changes. A command on
//! its own does the same by statements (`app/incident.rs`), in the same order. Both use the rules of the domain.

use std::collections::{BTreeSet, HashMap};

use super::Command;
use super::link::Reopening;
use crate::domain::account::{ActorImage, Owner};
use crate::domain::alert::{Alert, AlertStatus, Settled};
use crate::domain::change::{AlertDelta, AlertImage, CauseKind, ChangeBody, CommentAction, Entry, entries_between};
use crate::domain::comment::Comment;
use crate::domain::incident::{AlertSummary, Incident, Patch, TextField};
use crate::domain::propagation::AlertState;
use crate::domain::queue::sha256_hex;
use crate::domain::{AlertId, CommentId, Error, Instant, Result};

/// The input of one command on an incident, with everything that it names already found.
pub(super) struct Act {
    pub(super) command: Command,
    /// The changes of the incident's fields. Its tags have their names as first written.
    pub(super) patch: Patch,
    pub(super) owner: Option<Option<Owner>>,
    /// Alerts without an incident, to be linked to this incident.
    pub(super) link: Vec<Alert>,
    pub(super) reopening: Reopening,
    /// A comment that does not exist yet.
    pub(super) comment: Option<(CommentId, String)>,
}

/// Checks whether a command may lead from one state (`None` for a new incident) to another.
pub(super) type Rule<'a> = &'a (dyn Fn(Option<&Incident>, &Incident) -> Result<()> + Sync);

/// An incident in memory.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) incident: Incident,
    /// All alerts that the incident holds, ascending by id.
    pub(super) alerts: Vec<Alert>,
    /// The alerts that were linked in memory, each with the version that linked it.
    pub(super) linked: Vec<(AlertId, u64)>,
    /// The comments that were written in memory.
    pub(super) comments: Vec<Comment>,
    /// The texts that were set in memory and are too long for a change, each with the version that set it.
    pub(super) texts: Vec<(TextField, u64, String)>,
}

impl Carried {
    pub(super) fn of(incident: Incident, alerts: Vec<Alert>) -> Self {
        Self { incident, alerts, linked: Vec::new(), comments: Vec::new(), texts: Vec::new() }
    }

    /// Carries one command out. Returns its change, or `None` if the command changes nothing. Refuses what the domain
    /// refuses (`INVALID`, `CONFLICT`). After an error this value is half changed, so the caller drops it.
    pub(super) fn carry_out(&mut self, act: Act, rule: Rule<'_>) -> Result<Option<ChangeBody>> {
        let Act { command, patch, owner, link, reopening, comment } = act;
        let asked_at = command.at;
        let command = command.not_before([&self.incident], &link);
        let (actor, at) = (command.actor_image(), command.at);
        let before = (self.incident.version > 0).then(|| self.incident.clone());
        let next = self.incident.version + 1;
        let stated = patch.first_activity_at.is_some() || patch.last_activity_at.is_some();
        let mut propagation = self.incident.apply(patch, &actor, at)?;
        if let Some(owner) = owner {
            self.incident.assign(owner, at);
            propagation.owner = true;
        }
        propagation = command.reopen_for(&mut self.incident, link.iter(), reopening, propagation)?;
        rule(before.as_ref(), &self.incident)?;
        let mut facts = Vec::new();
        let newly = self.bring(link, next, at);
        if !newly.is_empty() {
            let new = self.alerts.iter().filter(|alert| newly.contains(&alert.id));
            let states = new.map(AlertImage::from).collect();
            facts.push(Entry::AlertsLinked { alerts: newly.iter().copied().collect(), from: Vec::new(), states });
        }
        let owner = self.incident.owner.as_ref().map(|owner| owner.id);
        let deltas = propagation.deltas(owner, &newly, self.alerts.iter().map(state));
        self.follow(&deltas, next, at);
        if before.is_none() || !newly.is_empty() || stated {
            self.incident.summarise(&AlertSummary::of(&self.alerts));
        }
        if self.incident.title.is_empty() {
            return Err(Error::invalid("title", "an incident without alerts needs a title"));
        }
        if !deltas.is_empty() {
            facts.push(Entry::AlertsChanged { alerts: deltas });
        }
        if let Some((id, body)) = comment {
            // An import states when the comment was written. Its incident may have changed since.
            let written_at = if command.cause.kind == CauseKind::Import { asked_at } else { at };
            let (sha256, told_at) = (Some(sha256_hex(&body)), Some(written_at).filter(|written| *written != at));
            facts.push(Entry::Comment { action: CommentAction::Added, comment: id, sha256, at: told_at });
            self.add_comment(id, body, &actor, written_at);
        }
        let mut entries = entries_between(before.as_ref(), &self.incident);
        entries.extend(facts);
        if entries.is_empty() {
            return Ok(None);
        }
        (self.incident.version, self.incident.updated_at) = (next, at);
        if entries.iter().any(Entry::moves_alerts) {
            self.incident.has_active_alerts = self.alerts.iter().any(|alert| alert.status != AlertStatus::Resolved);
        }
        let long = self.incident.long_texts(next).into_iter();
        self.texts.extend(long.map(|(field, text)| (field, next, text.to_owned())));
        let body = ChangeBody::between(before.as_ref(), &self.incident, entries, actor, command.cause)?;
        Ok(Some(ChangeBody { client_mutation_id: command.client_mutation_id, ..body }))
    }

    /// Adds a comment to the next version of the incident.
    fn add_comment(&mut self, id: CommentId, body: String, author: &ActorImage, created_at: Instant) {
        self.incident.comment_count += 1;
        self.comments.push(Comment {
            id,
            incident: self.incident.id,
            written_on: self.incident.id,
            version: self.incident.version + 1,
            body,
            author: author.clone(),
            created_at,
            edited_at: None,
            deleted_at: None,
        });
    }

    /// Links alerts to the incident. Returns their ids.
    fn bring(&mut self, alerts: Vec<Alert>, version: u64, at: Instant) -> BTreeSet<AlertId> {
        let newly: BTreeSet<AlertId> = alerts.iter().map(|alert| alert.id).collect();
        self.linked.extend(newly.iter().map(|id| (*id, version)));
        let held = Some(self.incident.id);
        self.alerts.extend(alerts.into_iter().map(|it| Alert { incident: held, settled: None, updated_at: at, ..it }));
        self.alerts.sort_by_key(|alert| alert.id);
        newly
    }

    /// Applies the deltas of a command to the alerts.
    fn follow(&mut self, deltas: &[AlertDelta], version: u64, at: Instant) {
        let deltas: HashMap<AlertId, &AlertDelta> = deltas.iter().map(|delta| (delta.alert, delta)).collect();
        for alert in &mut self.alerts {
            let Some(delta) = deltas.get(&alert.id) else { continue };
            if delta.owner.is_some() {
                alert.owner.clone_from(&self.incident.owner);
            }
            if let Some((before, after)) = delta.status {
                let resolves = after == AlertStatus::Resolved;
                alert.status = after;
                alert.resolved_at = resolves.then_some(at);
                alert.settled = resolves.then_some(Settled { version, status: before });
            }
            alert.updated_at = at;
        }
    }
}

fn state(alert: &Alert) -> AlertState {
    let owner = alert.owner.as_ref().map(|owner| owner.id);
    AlertState { id: alert.id, status: alert.status, owner, settled: alert.settled }
}
