//! Commands on incidents: create, update, delete and restore. Every command on a single field is an update.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::attachment::refuse_foreign_images;
use super::idempotency::{Did, Done, Repeatable};
use super::link::{Links, Locked, Reopening, lock};
use super::{App, Command};
use crate::domain::account::{Owner, OwnerId, Role};
use crate::domain::change::{AlertDelta, CauseKind, CommentAction, Entry};
use crate::domain::comment::Comment;
use crate::domain::incident::{AlertSummary, Incident, Patch, Propagation, Status};
use crate::domain::precondition::GuardedField;
use crate::domain::queue::sha256_hex;
use crate::domain::{AlertId, CommentId, Error, IncidentId, Instant, Result};
use crate::storage::{ChangeOrigin, LockPlan, Reader, Tx};

/// How many alerts of a deleted incident are read at a time. An alert may have a title of megabytes.
const ALERTS_FREED_AT_ONCE: usize = 500;

/// The owner that a caller chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OwnerChoice {
    /// The caller.
    Me,
    /// A user or group, by its id.
    Id(OwnerId),
}

/// A comment that a command writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewComment {
    /// An id that the caller chose. If a comment with this id exists, no comment is written.
    pub id: Option<CommentId>,
    /// The Markdown text, already checked by `domain::comment::parse`.
    pub body: String,
}

/// The changes that one command asks for, all or nothing. Absent fields stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct IncidentEdit {
    /// The changes of the incident's own fields.
    pub patch: Patch,
    /// A new owner; `Some(None)` unassigns.
    pub owner: Option<Option<OwnerChoice>>,
    /// A comment to write.
    pub comment: Option<NewComment>,
    /// The alerts to link.
    pub link: Vec<AlertId>,
    /// Whether to take linked alerts from the incidents that hold them.
    pub move_alerts: bool,
    /// Whether to reopen a resolved incident if a linked alert is active.
    pub reopen: bool,
    /// The alerts to unlink.
    pub unlink: Vec<AlertId>,
    /// The version that the caller knows. The digest of `createIncident`'s input leaves it out.
    #[serde(skip)]
    pub expected_version: Option<u64>,
    /// Whether the edit is a reopening: it is refused if the incident is not resolved and has another status than it
    /// asks for.
    #[serde(skip)]
    pub is_reopening: bool,
}

impl IncidentEdit {
    /// Returns the rows that the edit of an incident will lock and read.
    fn lock_plan(&self, incident: IncidentId, command: &Command) -> LockPlan {
        let caller = || command.actor.as_ref().map(|actor| OwnerId::User(actor.user.id));
        let owner = self.owner.flatten().and_then(|choice| match choice {
            OwnerChoice::Me => caller(),
            OwnerChoice::Id(id) => Some(id),
        });
        // Only a new owner or status reaches the alerts.
        let alerts = self.owner.is_some() || self.patch.status.is_some();
        LockPlan { incident: Some(incident), alerts, owner }
    }
}

impl From<Patch> for IncidentEdit {
    fn from(patch: Patch) -> Self {
        Self { patch, ..Self::default() }
    }
}

/// The largest number of alerts of an incident that a command locks before it has a savepoint: if that lock failed, the
/// other commands of its transaction would run again.
const ALERTS_LOCKED_EARLY_MAX: u64 = 200;

/// An incident after a command on it.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The incident after the command.
    pub incident: Incident,
    /// The alerts that the command changed, ascending by id. An answer that shows them reads them, after the commit.
    pub alerts: Vec<AlertId>,
    /// The comment that the command wrote.
    pub comment: Option<Comment>,
}

/// The form of [`Edited`] that is stored for a retry.
#[derive(Serialize, Deserialize)]
pub(super) struct EditedReceipt {
    incident: IncidentId,
    deleted: bool,
    alerts: Vec<AlertId>,
    comment: Option<CommentId>,
}

impl Repeatable for Edited {
    type Receipt = EditedReceipt;

    fn receipt(&self) -> EditedReceipt {
        EditedReceipt {
            incident: self.incident.id,
            deleted: self.incident.deleted_at.is_some(),
            alerts: self.alerts.clone(),
            comment: self.comment.as_ref().map(|comment| comment.id),
        }
    }

    async fn again(reader: &Reader, receipt: EditedReceipt) -> Result<Self> {
        let EditedReceipt { incident: id, deleted, alerts, comment } = receipt;
        let incident = if deleted {
            reader.incidents_to_show(&[id]).await?.pop().ok_or_else(|| Error::not_found("incident", id))?
        } else {
            standing(reader, id).await?
        };
        let comment = match comment {
            Some(id) => reader.comments(&[id]).await?.pop(),
            None => None,
        };
        Ok(Self { incident, alerts, comment })
    }
}

/// Reads the incident of a repeated answer. An incident that was deleted since is gone for a retry too.
pub(super) async fn standing(reader: &Reader, id: IncidentId) -> Result<Incident> {
    let found = reader.incidents_to_show(&[id]).await?.pop().filter(|incident| incident.deleted_at.is_none());
    found.ok_or_else(|| Error::not_found("incident", id))
}

impl App {
    /// Creates an incident, with any other changes at once. It may be created already resolved.
    ///
    /// With an id that the caller chose, the same input again returns the same incident, and other input is a conflict.
    /// Refuses input that has neither a title nor an alert to generate a title from.
    pub async fn create_incident(
        &self,
        command: &Command,
        id: Option<IncidentId>,
        edit: IncidentEdit,
    ) -> Result<Did<Edited>> {
        command.require(Role::Responder, "create an incident")?;
        let id_given = id.is_some();
        let id = id.unwrap_or_else(|| IncidentId(self.clock.fresh_id()));
        let input = digest(&edit, command)?;
        let did = self.once(command, async |tx| {
            if id_given && let Some(incident) = existing(&tx, id, &input).await? {
                return Ok(Done::unchanged(Edited { incident, alerts: Vec::new(), comment: None }));
            }
            let linked = lock(&tx, &edit, None).await?;
            let number = tx.next_incident_number().await?;
            let incident = Incident::new(id, number, command.at);
            let created_input = id_given.then(|| input.clone());
            CommandWork { tx: &tx, app: self, command }.write(None, incident, edit.clone(), linked, created_input).await
        });
        Ok(self.logged(did.await?))
    }

    /// Applies all changes of an edit to one incident, all or nothing, as one change in the log.
    pub async fn update_incident(&self, command: &Command, id: IncidentId, edit: IncidentEdit) -> Result<Did<Edited>> {
        command.require(Role::Responder, "triage an incident")?;
        let plan = edit.lock_plan(id, command);
        let did = self.once_with(command, plan, async |tx| {
            let mut linked = lock(&tx, &edit, Some(id)).await?;
            let incident = linked.holders.remove(&id).filter(|incident| incident.deleted_at.is_none());
            let incident = incident.ok_or_else(|| Error::not_found("incident", id))?;
            let work = CommandWork { tx: &tx, app: self, command };
            work.expect(&incident, &edit).await?;
            work.write(Some(incident.clone()), incident, edit.clone(), linked, None).await
        });
        Ok(self.logged(did.await?))
    }

    /// Deletes an incident. It disappears from every query and queue, its log survives, and its alerts belong to no
    /// incident. Refuses if a field changed after the version that the caller expects.
    pub async fn delete_incident(
        &self,
        command: &Command,
        id: IncidentId,
        expected: Option<u64>,
    ) -> Result<Did<Edited>> {
        command.require(Role::Manager, "delete an incident")?;
        let did = self.once(command, async |tx| {
            let before = tx.lock_incident(id).await?;
            before.writable()?;
            let command = command.not_before([&before], []);
            let work = CommandWork { tx: &tx, app: self, command: &command };
            work.expect_fields(&before, expected, &GuardedField::ALL).await?;
            work.delete(before).await
        });
        Ok(self.logged(did.await?))
    }

    /// Takes back the deletion of an incident. The incident is in queries and queues again, with all that it had except
    /// its alerts: the deletion freed them, and other incidents may hold them now. Changes nothing if the incident is
    /// not deleted. Refuses if it was deleted or restored after the version that the caller expects.
    pub async fn restore_incident(
        &self,
        command: &Command,
        id: IncidentId,
        expected: Option<u64>,
    ) -> Result<Did<Edited>> {
        command.require(Role::Manager, "restore an incident")?;
        let did = self.once(command, async |tx| {
            let found = tx.lock_incidents(&[id]).await?.pop();
            let before = found.ok_or_else(|| Error::not_found("incident", id))?;
            before.writable()?;
            let command = command.not_before([&before], []);
            let work = CommandWork { tx: &tx, app: self, command: &command };
            work.expect_fields(&before, expected, &[GuardedField::Deletion]).await?;
            let mut incident = Incident { deleted_at: None, ..before.clone() };
            let changed = tx.record(Some(&before), &mut incident, Vec::new(), &command.origin(), None).await?;
            Ok(Done { value: Edited { incident, alerts: Vec::new(), comment: None }, changed })
        });
        Ok(self.logged(did.await?))
    }

    /// Finds an incident by its id, for importers. `None` if there is no such incident.
    pub async fn find_incident(&self, id: IncidentId) -> Result<Option<Incident>> {
        self.store.read().await?.incident(id).await
    }
}

impl Command {
    /// Returns the part of the command that every change of its transaction carries.
    pub(super) fn origin(&self) -> ChangeOrigin {
        ChangeOrigin {
            at: self.at,
            actor: self.actor_image(),
            cause: self.cause.clone(),
            client_mutation_id: self.client_mutation_id.clone(),
        }
    }

    /// Returns this command with the cause `INGEST`, for alerts that come in. An import keeps its own cause.
    pub(super) fn ingesting(&self) -> Self {
        let mut command = self.clone();
        if command.cause.kind == CauseKind::Command {
            command.cause.kind = CauseKind::Ingest;
        }
        command
    }
}

/// Returns a digest that distinguishes inputs of `createIncident`. `me` counts as the caller's id; the order of tags
/// does not count.
pub(super) fn digest(edit: &IncidentEdit, command: &Command) -> Result<Vec<u8>> {
    let mut edit = edit.clone();
    if let (Some(Some(owner @ OwnerChoice::Me)), Some(actor)) = (&mut edit.owner, &command.actor) {
        *owner = OwnerChoice::Id(OwnerId::User(actor.user.id));
    }
    edit.patch.add_tags.sort_by_cached_key(|tag| (tag.kind, tag.key()));
    let bytes = serde_json::to_vec(&edit).map_err(|error| Error::fault("digesting an input", error))?;
    Ok(Sha256::digest(bytes).to_vec())
}

/// Returns the incident that an earlier call created with this id. Refuses other input than that of the earlier call.
async fn existing(tx: &Tx, id: IncidentId, input: &[u8]) -> Result<Option<Incident>> {
    let Some(incident) = tx.lock_incidents(&[id]).await?.pop() else { return Ok(None) };
    if incident.deleted_at.is_some() {
        return Err(Error::taken("id", "an incident of this id was deleted", json!({ "id": id.to_string() })));
    }
    if tx.created_input(id).await?.as_deref() != Some(input) {
        let now = json!({ "id": id.to_string(), "number": incident.number });
        return Err(Error::taken("id", "an incident of this id was made with other input", now));
    }
    Ok(Some(incident))
}

/// Refuses a reopening that found the incident neither resolved nor in the status that it asks for.
fn refuse_unresolved(was: Status, reopened: &Incident) -> Result<()> {
    if was == Status::Resolved || was == reopened.status {
        return Ok(());
    }
    let message = format!("INC-{} is not resolved, so it cannot be reopened", reopened.number);
    Err(Error::taken("status", message, json!({ "status": was })))
}

/// Additions to a change by a caller of [`CommandWork::write_with`].
#[derive(Default)]
pub(super) struct Extra {
    /// The digest of the input that creates the incident.
    pub(super) created_input: Option<Vec<u8>>,
    /// Entries that a comparison of the incident's two states does not find.
    pub(super) facts: Vec<Entry>,
    /// The time when an import's comment was written. Its incident may have changed since.
    pub(super) written_at: Option<Instant>,
}

/// One command inside its transaction.
pub(super) struct CommandWork<'a> {
    pub(super) tx: &'a Tx,
    pub(super) app: &'a App,
    pub(super) command: &'a Command,
}

impl CommandWork<'_> {
    /// Applies an edit to a locked or new incident. Records its change, and the changes of the incidents that lose
    /// alerts to it.
    pub(super) async fn write(
        &self,
        before: Option<Incident>,
        incident: Incident,
        edit: IncidentEdit,
        locked: Locked,
        created_input: Option<Vec<u8>>,
    ) -> Result<Done<Edited>> {
        self.write_with(before, incident, edit, locked, Extra { created_input, ..Extra::default() }).await
    }

    /// Does what [`CommandWork::write`] does, with additions of the caller to the change.
    pub(super) async fn write_with(
        &self,
        before: Option<Incident>,
        mut incident: Incident,
        edit: IncidentEdit,
        locked: Locked,
        mut extra: Extra,
    ) -> Result<Done<Edited>> {
        let command = self.command.not_before(before.iter().chain(locked.holders.values()), locked.alerts.values());
        if before.is_none() {
            (incident.created_at, incident.updated_at) = (command.at, command.at);
        }
        if command.cause.kind == CauseKind::Import {
            extra.written_at = Some(self.command.at);
        }
        CommandWork { command: &command, ..*self }.write_at(before, incident, edit, locked, extra).await
    }

    /// Does what [`CommandWork::write_with`] does, at an instant that is not before the last change of any involved
    /// incident or alert.
    async fn write_at(
        &self,
        before: Option<Incident>,
        mut incident: Incident,
        edit: IncidentEdit,
        mut locked: Locked,
        extra: Extra,
    ) -> Result<Done<Edited>> {
        let at = self.command.at;
        let next = incident.version + 1;
        let mut patch = edit.patch.clone();
        patch.add_tags = self.tx.first_written(patch.add_tags, at).await?;
        let owner = self.owner_of(&edit).await?;
        let was = incident.status;
        let mut propagation = incident.apply(patch, &self.command.actor_image(), at)?;
        if edit.is_reopening {
            refuse_unresolved(was, &incident)?;
        }
        if edit.owner.is_some() {
            incident.assign(owner, at);
            propagation.owner = true;
        }
        let mut facts = extra.facts;
        let reported = !facts.is_empty();
        let unlinked = self.unlink(&incident, &edit.unlink, &mut locked, &mut facts).await?;
        let links = Links::choose(&incident, &edit, &locked)?;
        let coming = links.new.iter().filter_map(|id| locked.alerts.get(id));
        propagation = self.command.reopen_for(&mut incident, coming, Reopening::from(&edit), propagation)?;
        self.obey_policies(before.as_ref(), &incident, &edit)?;
        self.tx.place_alerts(&links.new, Some(incident.id), at).await?;
        facts.extend(links.entry(&locked));
        let deltas = self.propagate(&incident, propagation, &links, next).await?;
        let gains = reported || !links.new.is_empty();
        let states_activity = edit.patch.first_activity_at.is_some() || edit.patch.last_activity_at.is_some();
        if before.is_none() && !gains {
            // A new incident without linked alerts has no alerts, so nothing is read.
            incident.summarise(&AlertSummary::default());
        } else if gains || !unlinked.is_empty() || states_activity {
            incident.summarise(&self.tx.alert_summary(incident.id, incident.title_generated).await?);
        }
        if incident.title.is_empty() {
            return Err(Error::invalid("title", "an incident without alerts needs a title"));
        }
        let touched: BTreeSet<AlertId> =
            links.new.iter().chain(&unlinked).copied().chain(deltas.iter().map(|delta| delta.alert)).collect();
        if !deltas.is_empty() {
            facts.push(Entry::AlertsChanged { alerts: deltas });
        }
        let comment = self.comment(&mut incident, edit.comment, extra.written_at, &mut facts).await?;
        let changed =
            self.tx.record(before.as_ref(), &mut incident, facts, &self.command.origin(), extra.created_input).await?;
        if !unlinked.is_empty() {
            self.tx.release_entities(incident.id, next, &unlinked).await?;
        }
        // This follows the release: an alert that one edit unlinks and links again stays held.
        self.tx.hold_entities(incident.id, next, &links.new).await?;
        self.take_from_holders(&incident, &links, locked).await?;
        Ok(Done { value: Edited { incident, alerts: touched.into_iter().collect(), comment }, changed })
    }

    /// Deletes a locked incident and frees its alerts.
    async fn delete(&self, before: Incident) -> Result<Done<Edited>> {
        let (tx, id, at) = (self.tx, before.id, self.command.at);
        let mut incident = before.clone();
        let alerts: Vec<AlertId> = tx.lock_alerts_of(id, None).await?.iter().map(|state| state.id).collect();
        tx.free_alerts(id, at).await?;
        for ids in alerts.chunks(ALERTS_FREED_AT_ONCE) {
            for alert in tx.alerts(ids).await? {
                tx.record_alert(None, &alert, Entry::AlertFreed { from: id }, &self.command.origin()).await;
            }
        }
        tx.release_all_entities(id, before.version + 1).await?;
        incident.summarise(&tx.alert_summary(id, incident.title_generated).await?);
        incident.deleted_at = Some(at);
        let facts = if alerts.is_empty() {
            Vec::new()
        } else {
            vec![Entry::AlertsUnlinked { alerts: alerts.clone(), to: None }]
        };
        let changed = tx.record(Some(&before), &mut incident, facts, &self.command.origin(), None).await?;
        Ok(Done { value: Edited { incident, alerts, comment: None }, changed })
    }

    /// Refuses what the desk's policies do not allow (`domain/policy.rs`), for example a reopening by the wrong role.
    /// Imports are exempt: they state how cases elsewhere ended. A refusal would lose a record and would not add what
    /// it lacks.
    pub(super) fn obey_policies(
        &self,
        before: Option<&Incident>,
        incident: &Incident,
        edit: &IncidentEdit,
    ) -> Result<()> {
        if self.command.cause.kind == CauseKind::Import {
            return Ok(());
        }
        let path = if edit.patch.status.is_some() { "status" } else { "reopen" };
        // If the policy itself reopens the incident, no user needs the right to reopen.
        let by = self.command.actor.as_ref().filter(|_| !self.reopens_by_policy());
        self.app.policies.check(before, incident, by, path)
    }

    async fn owner_of(&self, edit: &IncidentEdit) -> Result<Option<Owner>> {
        match edit.owner.flatten() {
            Some(choice) => self.owner(choice).await.map(Some),
            None => Ok(None),
        }
    }

    /// Finds the owner that a caller chose, and notes the pick for the caller's suggestions.
    pub(super) async fn owner(&self, choice: OwnerChoice) -> Result<Owner> {
        let actor = self.command.actor.as_ref();
        let id = match (choice, actor) {
            (OwnerChoice::Id(id), _) => id,
            (OwnerChoice::Me, Some(actor)) => OwnerId::User(actor.user.id),
            (OwnerChoice::Me, None) => return Err(Error::invalid("owner", "the desk itself owns nothing")),
        };
        let (noun, path) = match id {
            OwnerId::User(_) => ("user", "owner.user"),
            OwnerId::Group(_) => ("group", "owner.group"),
        };
        let owner = self.tx.owner(id).await?.ok_or_else(|| Error::not_found(noun, id).at(path))?;
        if let Some(actor) = actor {
            self.tx.note_pick(actor.user.id, id, self.command.at).await;
        }
        Ok(owner)
    }

    /// Applies the incident's owner and status to its alerts. Returns the changes of each alert, ascending by id.
    pub(super) async fn propagate(
        &self,
        incident: &Incident,
        propagation: Propagation,
        links: &Links,
        version: u64,
    ) -> Result<Vec<AlertDelta>> {
        let owner = incident.owner.as_ref().map(|owner| owner.id);
        let adopt = owner.is_some() && !links.new.is_empty();
        // An incident gets and loses alerts only while it is locked.
        if incident.alert_count == 0 && links.new.is_empty() {
            return Ok(Vec::new());
        }
        if !(propagation.owner || propagation.resolve || propagation.reopen || adopt) {
            return Ok(Vec::new());
        }
        let at = self.command.at;
        let newly: BTreeSet<AlertId> = links.new.iter().copied().collect();
        // The count lacks the alerts that this command has linked. Many alerts are locked after the savepoint, because
        // it may take long.
        let count = Some(incident.alert_count).filter(|count| newly.is_empty() && *count <= ALERTS_LOCKED_EARLY_MAX);
        let deltas = propagation.deltas(owner, &newly, self.tx.lock_alerts_of(incident.id, count).await?);
        let assigned = deltas.iter().filter(|delta| delta.owner.is_some()).map(|delta| delta.alert);
        let assigned: Vec<AlertId> = assigned.collect();
        if !assigned.is_empty() {
            self.tx.assign_alerts_of(incident.id, &assigned, owner, at).await?;
        }
        if propagation.resolve {
            self.tx.settle_alerts(incident.id, version, at).await?;
        }
        if propagation.reopen {
            self.tx.unsettle_alerts(incident.id, at).await?;
        }
        Ok(deltas)
    }

    async fn comment(
        &self,
        incident: &mut Incident,
        new: Option<NewComment>,
        written_at: Option<Instant>,
        facts: &mut Vec<Entry>,
    ) -> Result<Option<Comment>> {
        let Some(new) = new else { return Ok(None) };
        if let Some(id) = new.id
            && let Some(written) = self.tx.comments(&[id]).await?.pop()
        {
            return Ok(Some(written));
        }
        refuse_foreign_images(self.tx, "comment", incident.id, &new.body).await?;
        let comment = Comment {
            id: new.id.unwrap_or_else(|| CommentId(self.app.clock.fresh_id())),
            incident: incident.id,
            written_on: incident.id,
            version: incident.version + 1,
            body: new.body,
            author: self.command.actor_image(),
            created_at: written_at.unwrap_or(self.command.at),
            edited_at: None,
            deleted_at: None,
        };
        self.tx.insert_comment(&comment).await?;
        incident.comment_count += 1;
        let sha256 = Some(sha256_hex(&comment.body));
        let at = written_at.filter(|at| *at != self.command.at);
        facts.push(Entry::Comment { action: CommentAction::Added, comment: comment.id, sha256, at });
        Ok(Some(comment))
    }
}
