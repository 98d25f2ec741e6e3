//! Commands on incidents: create, update (which every single action is a case of), delete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{App, Command};
use crate::domain::account::{ActorImage, Owner, OwnerId, Role};
use crate::domain::alert::{ALERTS_PER_LINK_MAX, Alert, AlertStatus};
use crate::domain::change::{AlertDelta, Cause, CauseKind, CommentAction, Entry};
use crate::domain::classification::Classification;
use crate::domain::comment::Comment;
use crate::domain::incident::{Incident, Patch, Propagation, Severity, Status};
use crate::domain::position::Position;
use crate::domain::queue::sha256_hex;
use crate::domain::tag::Tag;
use crate::domain::{AlertId, CommentId, Error, IncidentId, Instant, Result};
use crate::storage::{Origin, Tx};

/// An owner as a caller names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OwnerChoice {
    /// The caller.
    Me,
    /// This user or group.
    Id(OwnerId),
}

/// A comment to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewComment {
    /// An id of the caller's choice; one that exists already is not written again.
    pub id: Option<CommentId>,
    /// Markdown, already read by `domain::comment::parse`.
    pub body: String,
}

/// What one command asks of an incident: any of the actions together, all or nothing. Absent fields stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct IncidentEdit {
    /// A title.
    pub title: Option<String>,
    /// A description; none clears it.
    pub description: Option<Option<String>>,
    /// An override; none returns to the computed severity.
    pub severity: Option<Option<Severity>>,
    /// A status.
    pub status: Option<Status>,
    /// A resolution note.
    pub note: Option<String>,
    /// A classification; none clears it.
    pub classification: Option<Option<Classification>>,
    /// An owner; none unassigns.
    pub owner: Option<Option<OwnerChoice>>,
    /// Tags to add.
    pub add_tags: Vec<Tag>,
    /// Tags to remove.
    pub remove_tags: Vec<Tag>,
    /// When the activity began, as a person states it.
    pub first_activity_at: Option<Option<Instant>>,
    /// When the activity ended, as a person states it.
    pub last_activity_at: Option<Option<Instant>>,
    /// A comment.
    pub comment: Option<NewComment>,
    /// Alerts to link.
    pub link: Vec<AlertId>,
    /// Whether to take them from the incidents that hold them.
    pub move_alerts: bool,
    /// Whether to reopen a resolved incident for an active alert.
    pub reopen: bool,
    /// Alerts to unlink.
    pub unlink: Vec<AlertId>,
}

/// What a command on an incident did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The incident after it.
    pub incident: Incident,
    /// The end of the log after it: a read at or after this position shows it.
    pub position: Position,
    /// Whether anything changed.
    pub changed: bool,
    /// The alerts that it changed, ascending by id.
    pub alerts: Vec<Alert>,
    /// The comment that it wrote or touched.
    pub comment: Option<Comment>,
}

/// What a transaction did, before its position is known.
pub(super) struct Done {
    pub(super) incident: Incident,
    pub(super) changed: bool,
    pub(super) alerts: BTreeSet<AlertId>,
    pub(super) comment: Option<Comment>,
}

impl Done {
    fn unchanged(incident: Incident) -> Self {
        Self { incident, changed: false, alerts: BTreeSet::new(), comment: None }
    }
}

impl App {
    /// Makes an incident, with any of the actions at once; also already resolved.
    ///
    /// With an id of the caller's choice the same input again is the same incident, and other input a conflict.
    /// Refused: no title and no alert to make one from.
    pub async fn create_incident(
        &self,
        command: &Command,
        id: Option<IncidentId>,
        edit: IncidentEdit,
    ) -> Result<Outcome> {
        command.require(Role::Responder, "create an incident")?;
        let id_given = id.is_some();
        let id = id.unwrap_or_else(|| IncidentId(self.clock.fresh_id()));
        let input = digest(&edit)?;
        self.change_incident(command, |tx, at| {
            let (edit, input, command) = (edit.clone(), input.clone(), command.clone());
            Box::pin(async move {
                if id_given && let Some(existing) = existing(&tx, id, &input).await? {
                    return Ok(Done::unchanged(existing));
                }
                let linked = lock_links(&tx, &edit).await?;
                let number = tx.next_incident_number().await?;
                let incident = Incident::new(id, number, at);
                let created_input = id_given.then_some(input);
                Work { tx: &tx, app: self, command: &command }.write(None, incident, edit, linked, created_input).await
            })
        })
        .await
    }

    /// Applies any of the actions on one incident together, all or nothing, as one change.
    pub async fn update_incident(&self, command: &Command, id: IncidentId, edit: IncidentEdit) -> Result<Outcome> {
        command.require(Role::Responder, "triage an incident")?;
        self.change_incident(command, |tx, _| {
            let (edit, command) = (edit.clone(), command.clone());
            Box::pin(async move {
                let mut linked = lock_links_with(&tx, &edit, id).await?;
                let incident = linked
                    .holders
                    .remove(&id)
                    .filter(|incident| incident.deleted_at.is_none())
                    .ok_or_else(|| Error::not_found("incident", id))?;
                let before = incident.clone();
                Work { tx: &tx, app: self, command: &command }.write(Some(before), incident, edit, linked, None).await
            })
        })
        .await
    }

    /// Deletes an incident: it is gone from every query and queue, its log survives, its alerts belong to no incident.
    pub async fn delete_incident(&self, command: &Command, id: IncidentId) -> Result<Outcome> {
        command.require(Role::Manager, "delete an incident")?;
        self.change_incident(command, |tx, at| {
            let command = command.clone();
            Box::pin(async move {
                let before = tx.lock_incident(id).await?;
                before.writable()?;
                let mut incident = before.clone();
                let alerts: Vec<AlertId> = tx.alert_states(id).await?.iter().map(|state| state.id).collect();
                tx.lock_alerts(&alerts).await?;
                tx.place_alerts(&alerts, None, at).await?;
                tx.release_entities(id, before.version + 1, &alerts).await?;
                incident.summarise(&tx.alert_summary(id, incident.title_generated).await?);
                incident.deleted_at = Some(at);
                let facts = match alerts.is_empty() {
                    true => Vec::new(),
                    false => vec![Entry::AlertsUnlinked { alerts: alerts.clone(), to: None }],
                };
                let changed = tx.record(Some(&before), &mut incident, facts, &command.origin(), None).await?;
                Ok(Done { incident, changed, alerts: alerts.into_iter().collect(), comment: None })
            })
        })
        .await
    }

    /// The incident of this id, if there is one: for importers.
    pub async fn find_incident(&self, id: IncidentId) -> Result<Option<Incident>> {
        self.store.read().await?.incident(id).await
    }

    /// Runs one transaction on an incident, wakes the relay and reads back what the answer shows.
    pub(super) async fn change_incident<F, Fut>(&self, command: &Command, work: F) -> Result<Outcome>
    where
        F: Fn(Arc<Tx>, Instant) -> Fut + Send + Sync,
        Fut: Future<Output = Result<Done>> + Send,
    {
        let ((done, alerts), head) = self
            .store
            .transact(|tx| {
                let work = work(tx.clone(), command.at);
                Box::pin(async move {
                    let done = work.await?;
                    let ids: Vec<AlertId> = done.alerts.iter().copied().collect();
                    let mut alerts = tx.alerts(&ids).await?;
                    alerts.sort_by_key(|alert| alert.id);
                    Ok((done, alerts))
                })
            })
            .await?;
        if done.changed {
            self.hub.wake();
        }
        Ok(Outcome {
            incident: done.incident,
            position: head.position(),
            changed: done.changed,
            alerts,
            comment: done.comment,
        })
    }
}

impl Command {
    /// The same, as the changes of a transaction carry it.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            at: self.at,
            actor: self.actor_image(),
            cause: self.cause.clone(),
            client_mutation_id: self.client_mutation_id.clone(),
        }
    }

    fn moving(&self) -> Origin {
        Origin { cause: Cause { kind: CauseKind::Move, name: self.cause.name.clone() }, ..self.origin() }
    }
}

fn digest(edit: &IncidentEdit) -> Result<Vec<u8>> {
    let bytes = serde_json::to_vec(edit).map_err(|error| Error::fault("digesting an input", error))?;
    Ok(Sha256::digest(bytes).to_vec())
}

/// The incident that an earlier call made with this id, if its input was the same.
async fn existing(tx: &Tx, id: IncidentId, input: &[u8]) -> Result<Option<Incident>> {
    let Some(incident) = tx.lock_incidents(&[id]).await?.pop() else { return Ok(None) };
    if incident.deleted_at.is_some() {
        return Err(Error::conflict("an incident of this id was deleted", json!({ "id": id.to_string() })));
    }
    if tx.created_input(id).await?.as_deref() != Some(input) {
        let now = json!({ "id": id.to_string(), "number": incident.number });
        return Err(Error::conflict("an incident of this id was made with other input", now));
    }
    Ok(Some(incident))
}

/// Everything locked that linking needs: incidents first, then alerts, each in ascending order of id.
pub(super) struct Locked {
    pub(super) holders: BTreeMap<IncidentId, Incident>,
    pub(super) alerts: BTreeMap<AlertId, Alert>,
}

async fn lock_links(tx: &Tx, edit: &IncidentEdit) -> Result<Locked> {
    lock(tx, edit, None).await
}

async fn lock_links_with(tx: &Tx, edit: &IncidentEdit, id: IncidentId) -> Result<Locked> {
    lock(tx, edit, Some(id)).await
}

async fn lock(tx: &Tx, edit: &IncidentEdit, id: Option<IncidentId>) -> Result<Locked> {
    let wanted: BTreeSet<AlertId> = edit.link.iter().chain(&edit.unlink).copied().collect();
    if wanted.len() > ALERTS_PER_LINK_MAX {
        let message = format!("at most {ALERTS_PER_LINK_MAX} alerts at once");
        return Err(Error::limit("alerts", message, ALERTS_PER_LINK_MAX));
    }
    let wanted: Vec<AlertId> = wanted.into_iter().collect();
    let mut incidents: BTreeSet<IncidentId> = tx.alerts(&wanted).await?.iter().filter_map(|a| a.incident).collect();
    incidents.extend(id);
    let incidents: Vec<IncidentId> = incidents.into_iter().collect();
    let holders = tx.lock_incidents(&incidents).await?.into_iter().map(|incident| (incident.id, incident)).collect();
    let alerts: BTreeMap<AlertId, Alert> =
        tx.lock_alerts(&wanted).await?.into_iter().map(|alert| (alert.id, alert)).collect();
    let locked = Locked { holders, alerts };
    if let Some(missing) = wanted.iter().find(|id| !locked.alerts.contains_key(*id)) {
        return Err(Error::not_found("alert", missing));
    }
    // Between the look and the lock an alert may have moved: then its holder is not locked, and the command tries anew.
    let moved = |alert: &Alert| alert.incident.is_some_and(|holder| !locked.holders.contains_key(&holder));
    if locked.alerts.values().any(moved) {
        return Err(Error::Busy);
    }
    Ok(locked)
}

/// What a caller of [`Work::write_with`] adds to the change.
#[derive(Default)]
pub(super) struct Extra {
    /// The digest of the input that makes the incident.
    pub(super) created_input: Option<Vec<u8>>,
    /// Entries that the two states of the incident do not show.
    pub(super) facts: Vec<Entry>,
}

/// One command at work inside its transaction.
pub(super) struct Work<'a> {
    pub(super) tx: &'a Tx,
    pub(super) app: &'a App,
    pub(super) command: &'a Command,
}

impl Work<'_> {
    /// Applies an edit to a locked (or new) incident and records the changes, its own and those of the incidents that
    /// lose alerts to it.
    pub(super) async fn write(
        &self,
        before: Option<Incident>,
        incident: Incident,
        edit: IncidentEdit,
        locked: Locked,
        created_input: Option<Vec<u8>>,
    ) -> Result<Done> {
        self.write_with(before, incident, edit, locked, Extra { created_input, facts: Vec::new() }).await
    }

    /// The same, with entries of the caller's own in the change.
    pub(super) async fn write_with(
        &self,
        before: Option<Incident>,
        mut incident: Incident,
        edit: IncidentEdit,
        mut locked: Locked,
        extra: Extra,
    ) -> Result<Done> {
        let at = self.command.at;
        let next = incident.version + 1;
        let image = self.command.actor_image();
        let patch = self.patch(&edit).await?;
        let mut propagation = incident.apply(patch, &image, at)?;
        let mut facts = extra.facts;
        let unlinked = self.unlink(&incident, &edit.unlink, &mut locked, &mut facts).await?;
        let links = Links::choose(&incident, &edit, &locked)?;
        propagation = self.reopen_for(&mut incident, &links, &edit, propagation, &locked)?;
        self.tx.place_alerts(&links.new, Some(incident.id), at).await?;
        if !links.new.is_empty() {
            facts.push(Entry::AlertsLinked { alerts: links.new.clone(), from: links.from.clone() });
        }
        let deltas = self.propagate(&incident, propagation, &links, next).await?;
        let summed = before.is_none()
            || !links.new.is_empty()
            || !unlinked.is_empty()
            || edit.first_activity_at.is_some()
            || edit.last_activity_at.is_some();
        if summed {
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
        let comment = self.comment(&mut incident, edit.comment, next, &mut facts).await?;
        let changed =
            self.tx.record(before.as_ref(), &mut incident, facts, &self.command.origin(), extra.created_input).await?;
        if !unlinked.is_empty() {
            self.tx.release_entities(incident.id, next, &unlinked).await?;
        }
        // After the release: an alert that one edit takes out and puts in again is held on.
        self.tx.hold_entities(incident.id, next, &links.new).await?;
        self.take_from_holders(&incident, &links, locked).await?;
        Ok(Done { incident, changed, alerts: touched, comment })
    }

    /// The edit of an incident's own fields, its owner and tags looked up.
    async fn patch(&self, edit: &IncidentEdit) -> Result<Patch> {
        let owner = match edit.owner {
            None => None,
            Some(None) => Some(None),
            Some(Some(choice)) => Some(Some(self.owner(choice).await?)),
        };
        Ok(Patch {
            title: edit.title.clone(),
            description: edit.description.clone(),
            severity: edit.severity,
            status: edit.status,
            note: edit.note.clone(),
            classification: edit.classification,
            owner,
            add_tags: self.tx.first_written(edit.add_tags.clone(), self.command.at).await?,
            remove_tags: edit.remove_tags.clone(),
            first_activity_at: edit.first_activity_at,
            last_activity_at: edit.last_activity_at,
        })
    }

    /// The owner that a caller chose; the pick is noted for its suggestions.
    pub(super) async fn owner(&self, choice: OwnerChoice) -> Result<Owner> {
        let actor = self.command.actor.as_ref();
        let id = match (choice, actor) {
            (OwnerChoice::Id(id), _) => id,
            (OwnerChoice::Me, Some(actor)) => OwnerId::User(actor.user.id),
            (OwnerChoice::Me, None) => return Err(Error::invalid("owner", "the desk itself owns nothing")),
        };
        let owner = self.tx.owner(id).await?.ok_or_else(|| Error::not_found("user or group", id))?;
        if let Some(actor) = actor {
            self.tx.note_pick(actor.user.id, id, self.command.at).await?;
        }
        Ok(owner)
    }

    async fn unlink(
        &self,
        incident: &Incident,
        ids: &[AlertId],
        locked: &mut Locked,
        facts: &mut Vec<Entry>,
    ) -> Result<Vec<AlertId>> {
        for id in ids {
            if locked.alerts.get(id).and_then(|alert| alert.incident) != Some(incident.id) {
                let message = format!("alert {id} is not in INC-{}", incident.number);
                return Err(Error::conflict(message, json!({ "alert": id.to_string() })));
            }
        }
        let gone: Vec<AlertId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        if !gone.is_empty() {
            self.tx.place_alerts(&gone, None, self.command.at).await?;
            gone.iter().for_each(|id| {
                if let Some(alert) = locked.alerts.get_mut(id) {
                    alert.incident = None;
                }
            });
            facts.push(Entry::AlertsUnlinked { alerts: gone.clone(), to: None });
        }
        Ok(gone)
    }

    /// Reopens a resolved incident that gets an active alert, if the caller allowed it; else refuses.
    fn reopen_for(
        &self,
        incident: &mut Incident,
        links: &Links,
        edit: &IncidentEdit,
        mut propagation: Propagation,
        locked: &Locked,
    ) -> Result<Propagation> {
        let open = |id: &AlertId| locked.alerts.get(id).is_some_and(|alert| alert.status != AlertStatus::Resolved);
        if incident.status != Status::Resolved || propagation.resolve || !links.new.iter().any(open) {
            return Ok(propagation);
        }
        if !edit.reopen {
            let message = format!("INC-{} is resolved: linking an active alert needs `reopen: true`", incident.number);
            return Err(Error::conflict(message, json!({ "status": "RESOLVED" })));
        }
        let patch = Patch { status: Some(Status::Active), ..Patch::default() };
        let image: ActorImage = self.command.actor_image();
        propagation.reopen = incident.apply(patch, &image, self.command.at)?.reopen;
        Ok(propagation)
    }

    /// Carries the incident's owner and status on to its alerts; returns what changed of each, ascending by id.
    async fn propagate(
        &self,
        incident: &Incident,
        propagation: Propagation,
        links: &Links,
        version: u64,
    ) -> Result<Vec<AlertDelta>> {
        let owner = incident.owner.as_ref().map(|owner| owner.id);
        // A newly linked alert takes the incident's owner; an incident without one leaves the alert's.
        let adopt = owner.is_some() && !links.new.is_empty();
        if !(propagation.owner || propagation.resolve || propagation.reopen || adopt) {
            return Ok(Vec::new());
        }
        let at = self.command.at;
        let newly: BTreeSet<AlertId> = links.new.iter().copied().collect();
        let states = self.tx.alert_states(incident.id).await?;
        let ids: Vec<AlertId> = states.iter().map(|state| state.id).collect();
        self.tx.lock_alert_rows(&ids).await?;
        let mut deltas: BTreeMap<AlertId, AlertDelta> = BTreeMap::new();
        let delta = |deltas: &mut BTreeMap<AlertId, AlertDelta>, id, change: &dyn Fn(&mut AlertDelta)| {
            change(deltas.entry(id).or_insert_with(|| AlertDelta::of(id)));
        };
        let mut assigned = Vec::new();
        for state in &states {
            let takes = propagation.owner || (adopt && newly.contains(&state.id));
            if takes && state.owner != owner {
                assigned.push(state.id);
                delta(&mut deltas, state.id, &|delta| delta.owner = Some((state.owner, owner)));
            }
            if propagation.resolve && state.status != AlertStatus::Resolved {
                delta(&mut deltas, state.id, &|delta| delta.status = Some((state.status, AlertStatus::Resolved)));
            }
            if propagation.reopen
                && let Some(settled) = state.settled
            {
                delta(&mut deltas, state.id, &|delta| delta.status = Some((state.status, settled.status)));
            }
        }
        if !assigned.is_empty() {
            self.tx.assign_alerts(&assigned, owner, at).await?;
        }
        if propagation.resolve {
            self.tx.settle_alerts(incident.id, version, at).await?;
        }
        if propagation.reopen {
            self.tx.unsettle_alerts(incident.id, at).await?;
        }
        Ok(deltas.into_values().collect())
    }

    async fn comment(
        &self,
        incident: &mut Incident,
        new: Option<NewComment>,
        version: u64,
        facts: &mut Vec<Entry>,
    ) -> Result<Option<Comment>> {
        let Some(new) = new else { return Ok(None) };
        if let Some(id) = new.id
            && let Some(written) = self.tx.comments(&[id]).await?.pop()
        {
            return Ok(Some(written));
        }
        let comment = Comment {
            id: new.id.unwrap_or_else(|| CommentId(self.app.clock.fresh_id())),
            incident: incident.id,
            version,
            body: new.body,
            author: self.command.actor_image(),
            created_at: self.command.at,
            edited_at: None,
            deleted_at: None,
        };
        self.tx.insert_comment(&comment).await?;
        incident.comment_count += 1;
        let sha256 = Some(sha256_hex(&comment.body));
        facts.push(Entry::Comment { action: CommentAction::Added, comment: comment.id, sha256 });
        Ok(Some(comment))
    }

    /// Records what the incidents lost that held the moved alerts.
    async fn take_from_holders(&self, incident: &Incident, links: &Links, locked: Locked) -> Result<()> {
        for (holder, alerts) in &links.by_holder {
            let Some(before) = locked.holders.get(holder) else { continue };
            let mut after = before.clone();
            self.tx.release_entities(*holder, before.version + 1, alerts).await?;
            after.summarise(&self.tx.alert_summary(*holder, after.title_generated).await?);
            let facts = vec![Entry::AlertsUnlinked { alerts: alerts.clone(), to: Some(incident.id) }];
            self.tx.record(Some(before), &mut after, facts, &self.command.moving(), None).await?;
        }
        Ok(())
    }
}

/// Which alerts come to an incident, and from where.
#[derive(Default)]
struct Links {
    new: Vec<AlertId>,
    from: Vec<IncidentId>,
    by_holder: BTreeMap<IncidentId, Vec<AlertId>>,
}

impl Links {
    fn choose(incident: &Incident, edit: &IncidentEdit, locked: &Locked) -> Result<Self> {
        let mut links = Self::default();
        for id in edit.link.iter().copied().collect::<BTreeSet<_>>() {
            match locked.alerts.get(&id).and_then(|alert| alert.incident) {
                Some(holder) if holder == incident.id => continue,
                Some(holder) => {
                    let number = locked.holders.get(&holder).map_or(0, |incident| incident.number);
                    if !edit.move_alerts {
                        let now = json!({ "alert": id.to_string(), "incident": holder.to_string(), "number": number });
                        let message = format!("alert {id} is in INC-{number}: taking it needs `move: true`");
                        return Err(Error::conflict(message, now));
                    }
                    links.by_holder.entry(holder).or_default().push(id);
                }
                None => {}
            }
            links.new.push(id);
        }
        links.from = links.by_holder.keys().copied().collect();
        Ok(links)
    }
}
