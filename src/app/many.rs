//! Commands on many incidents in one transaction. A few statements find and lock what all the commands need. The
//! commands then run in memory, one after the other. A few statements write what has changed.
//!
//! Rules of this module:
//! - a refused command leaves nothing, because it works on a copy;
//! - a command that needs more than this module does (unlinking or moving an alert, an incident with very many alerts,
//!   a comment with images) is not begun here, and its caller runs it by itself;
//! - locks are taken in the same order as everywhere: incidents, alerts, the counter, tags.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Command;
use super::carry::{Act, Carried};
use super::idempotency::Done;
use super::incident::{CommandWork, IncidentEdit, OwnerChoice, digest};
use super::link::Reopening;
use crate::domain::account::{Owner, OwnerId};
use crate::domain::alert::{ALERTS_PER_LINK_MAX, Alert, AlertKey};
use crate::domain::incident::Incident;
use crate::domain::markdown;
use crate::domain::tag::{Tag, TagKind};
use crate::domain::{AlertId, CommentId, IncidentId, Instant, Result, UserId};
use crate::storage::{Altered, KnownTag, Tx};

/// The most alerts of one incident that are read. If an incident has more, the database aggregates them.
const ALERTS_READ_MAX: u64 = 200;

/// The names that commands use, and that have to be found before the commands run.
#[derive(Debug, Default)]
pub struct Needs {
    /// Incidents, which may exist or not.
    pub incidents: BTreeSet<IncidentId>,
    /// Keys of alerts, which may exist or not.
    pub alerts: Vec<AlertKey>,
    /// Comments, which may exist or not.
    pub comments: BTreeSet<CommentId>,
    /// Tags to add.
    pub tags: Vec<Tag>,
    /// Users and groups that commands choose as owners.
    pub owners: BTreeSet<OwnerId>,
    /// Whether the commands change the alerts of their incidents.
    pub held_alerts: bool,
    /// Whether the commands create incidents.
    pub makes: bool,
}

/// An incident that was found or created.
#[derive(Clone, Debug)]
struct FoundIncident {
    /// The incident as it was when it was locked; `None` if it is new.
    before: Option<Incident>,
    carried: Carried,
    /// Whether its alerts were read.
    has_alerts: bool,
    created_input: Option<Vec<u8>>,
}

/// The found and locked data of commands on many incidents, and the effects of the commands so far.
#[derive(Debug, Default)]
pub(super) struct Many {
    incidents: HashMap<IncidentId, Option<FoundIncident>>,
    /// The alerts as they were when they were locked.
    alerts: HashMap<AlertId, Alert>,
    keys: HashMap<AlertKey, Option<AlertId>>,
    /// The incident of each alert that was linked in memory.
    holders: HashMap<AlertId, IncidentId>,
    comments: HashMap<CommentId, bool>,
    tags: BTreeMap<(TagKind, String), Option<KnownTag>>,
    /// The keys of the tags to write.
    used: BTreeSet<(TagKind, String)>,
    owners: HashMap<OwnerId, Owner>,
    picks: BTreeMap<(UserId, OwnerId), Instant>,
    /// The last used incident number, before these commands and now.
    number: Option<(i64, i64)>,
}

impl Many {
    /// Finds and locks everything that the commands name.
    pub(super) async fn find(tx: &Tx, needs: &Needs) -> Result<Self> {
        let mut many = Self::default();
        let ids: Vec<IncidentId> = needs.incidents.iter().copied().collect();
        many.incidents.extend(ids.iter().map(|id| (*id, None)));
        let found = tx.lock_incidents(&ids).await?;
        let is_read = |incident: &Incident| {
            incident.alert_count == 0 || (needs.held_alerts && incident.alert_count <= ALERTS_READ_MAX)
        };
        let holding: Vec<IncidentId> =
            found.iter().filter(|it| is_read(it) && it.alert_count > 0).map(|it| it.id).collect();
        let alerts = tx.alert_ids_of(&needs.alerts, &holding).await?;
        many.alerts = tx.lock_alerts(&alerts).await?.into_iter().map(|alert| (alert.id, alert)).collect();
        let mut held: HashMap<IncidentId, Vec<Alert>> = HashMap::new();
        for alert in many.alerts.values() {
            if let Some(holder) = alert.incident {
                held.entry(holder).or_default().push(alert.clone());
            }
        }
        many.keys.extend(needs.alerts.iter().map(|key| (key.clone(), None)));
        for alert in many.alerts.values() {
            many.keys.entry(alert.report.key()).and_modify(|known| *known = Some(alert.id));
        }
        for incident in found {
            let has_alerts = is_read(&incident);
            let mut alerts = if has_alerts { held.remove(&incident.id).unwrap_or_default() } else { Vec::new() };
            alerts.sort_by_key(|alert| alert.id);
            let before = Some(incident.clone());
            let standing =
                FoundIncident { before, has_alerts, created_input: None, carried: Carried::of(incident, alerts) };
            many.incidents.insert(standing.carried.incident.id, Some(standing));
        }
        many.find_names(tx, needs).await?;
        if needs.makes && many.incidents.values().any(Option::is_none) {
            let last = tx.lock_incident_number().await?;
            many.number = Some((last, last));
        }
        Ok(many)
    }

    async fn find_names(&mut self, tx: &Tx, needs: &Needs) -> Result<()> {
        let ids: Vec<CommentId> = needs.comments.iter().copied().collect();
        self.comments.extend(ids.iter().map(|id| (*id, false)));
        self.comments.extend(tx.comments(&ids).await?.into_iter().map(|comment| (comment.id, true)));
        let keys: HashSet<(TagKind, String)> = needs.tags.iter().map(|tag| (tag.kind, tag.key())).collect();
        let known = tx.known_tags(&keys).await?;
        self.tags.extend(keys.into_iter().map(|key| (key, None)));
        self.tags.extend(known.into_iter().map(|(key, tag)| (key, Some(tag))));
        self.owners = tx.owners(needs.owners.iter().copied()).await?;
        Ok(())
    }

    /// Returns an incident in its present state. The outer `None` means that [`Needs`] did not name the incident.
    pub(super) fn incident(&self, id: IncidentId) -> Option<Option<&Incident>> {
        self.incidents.get(&id).map(|found| found.as_ref().map(|standing| &standing.carried.incident))
    }

    /// Returns the alerts of these keys in their present state; `None` if [`Needs`] did not name one of the keys.
    pub(super) fn alerts(&self, keys: &[AlertKey]) -> Option<Vec<Alert>> {
        let mut alerts = Vec::with_capacity(keys.len());
        for key in keys {
            alerts.extend((*self.keys.get(key)?).and_then(|id| self.alert(id)).cloned());
        }
        Some(alerts)
    }

    /// Adds alerts that this transaction has created in the meantime.
    pub(super) fn learn(&mut self, made: &[Alert]) {
        for alert in made {
            self.keys.insert(alert.report.key(), Some(alert.id));
            self.alerts.insert(alert.id, alert.clone());
        }
    }

    fn alert(&self, id: AlertId) -> Option<&Alert> {
        let Some(holder) = self.holders.get(&id) else { return self.alerts.get(&id) };
        let standing = self.incidents.get(holder)?.as_ref()?;
        standing.carried.alerts.iter().find(|alert| alert.id == id)
    }

    /// Creates an incident; returns `None` if that needs more than this module does.
    pub(super) async fn create(
        &mut self,
        work: &CommandWork<'_>,
        id: IncidentId,
        edit: IncidentEdit,
    ) -> Result<Option<Done<Incident>>> {
        let (Some(None), Some((first, last))) = (self.incidents.get(&id), self.number) else { return Ok(None) };
        let incident = Incident::new(id, last + 1, work.command.at);
        let created_input = Some(digest(&edit, work.command)?);
        let carried = Carried::of(incident, Vec::new());
        let done =
            self.carry(work, FoundIncident { before: None, carried, has_alerts: true, created_input }, edit).await?;
        if done.is_some() {
            self.number = Some((first, last + 1));
        }
        Ok(done)
    }

    /// Applies an edit to an incident; returns `None` if that needs more than this module does.
    pub(super) async fn update(
        &mut self,
        work: &CommandWork<'_>,
        id: IncidentId,
        edit: IncidentEdit,
    ) -> Result<Option<Done<Incident>>> {
        let Some(Some(standing)) = self.incidents.get(&id) else { return Ok(None) };
        if standing.carried.incident.deleted_at.is_some() {
            return Ok(None);
        }
        self.carry(work, standing.clone(), edit).await
    }

    async fn carry(
        &mut self,
        work: &CommandWork<'_>,
        mut standing: FoundIncident,
        edit: IncidentEdit,
    ) -> Result<Option<Done<Incident>>> {
        let Some(act) = self.act(work.command, &standing, &edit) else { return Ok(None) };
        let noted = (act.comment.as_ref().map(|(id, _)| *id), act.owner.clone().flatten(), act.patch.add_tags.clone());
        let at = work.command.not_before([&standing.carried.incident], &act.link).at;
        let obeys = |before: Option<&Incident>, after: &Incident| work.obey_policies(before, after, &edit);
        let body = standing.carried.carry_out(act, &obeys)?;
        let (comment, owner, tags) = noted;
        self.note_tags(tags, at);
        if let (Some(owner), Some(by)) = (owner, &work.command.actor) {
            self.picks.insert((by.user.id, owner.id), at);
        }
        self.comments.extend(comment.map(|id| (id, true)));
        let incident = standing.carried.incident.clone();
        self.holders.extend(standing.carried.linked.iter().map(|(alert, _)| (*alert, incident.id)));
        self.incidents.insert(incident.id, Some(standing));
        let changed = body.is_some();
        if let Some(body) = body {
            work.tx.tell(body).await;
        }
        Ok(Some(Done { value: incident, changed }))
    }

    /// Resolves an edit with the found data; returns `None` if the edit needs more than this module does.
    fn act(&self, command: &Command, standing: &FoundIncident, edit: &IncidentEdit) -> Option<Act> {
        let is_plain = edit.unlink.is_empty()
            && !edit.move_alerts
            && edit.expected_version.is_none()
            && edit.link.len() <= ALERTS_PER_LINK_MAX
            && command.idempotency_key.is_none();
        let patch = &edit.patch;
        let touches_alerts = edit.owner.is_some()
            || patch.status.is_some()
            || patch.first_activity_at.is_some()
            || patch.last_activity_at.is_some()
            || !edit.link.is_empty();
        if !is_plain || (touches_alerts && !standing.has_alerts) {
            return None;
        }
        let mut link = Vec::with_capacity(edit.link.len());
        for id in edit.link.iter().copied().collect::<BTreeSet<_>>() {
            let alert = self.alert(id)?;
            match alert.incident {
                Some(holder) if holder == standing.carried.incident.id => {}
                Some(_) => return None,
                None => link.push(alert.clone()),
            }
        }
        if (standing.carried.alerts.len() + link.len()) as u64 > ALERTS_READ_MAX {
            return None;
        }
        let owner = match edit.owner {
            Some(Some(choice)) => Some(Some(self.owner(choice, command)?.clone())),
            Some(None) => Some(None),
            None => None,
        };
        let comment = match &edit.comment {
            None => None,
            Some(new) => {
                let id = new.id?;
                if !markdown::attachments(&new.body).is_empty() {
                    return None;
                }
                // An existing comment is not written again.
                (!self.comments.get(&id)?).then(|| (id, new.body.clone()))
            }
        };
        let mut patch = patch.clone();
        patch.add_tags = self.first_written(patch.add_tags)?;
        Some(Act { command: command.clone(), patch, owner, link, reopening: Reopening::from(edit), comment })
    }

    fn owner(&self, choice: OwnerChoice, command: &Command) -> Option<&Owner> {
        let id = match choice {
            OwnerChoice::Id(id) => id,
            OwnerChoice::Me => OwnerId::User(command.actor.as_ref()?.user.id),
        };
        self.owners.get(&id)
    }

    /// Returns these tags with their names as first written on this desk, ordered by kind and key.
    fn first_written(&self, mut tags: Vec<Tag>) -> Option<Vec<Tag>> {
        tags.sort_by_cached_key(|tag| (tag.kind, tag.key()));
        tags.dedup_by_key(|tag| (tag.kind, tag.key()));
        for tag in &mut tags {
            if let Some(known) = self.tags.get(&(tag.kind, tag.key()))? {
                tag.name.clone_from(&known.name);
            }
        }
        Some(tags)
    }

    fn note_tags(&mut self, tags: Vec<Tag>, at: Instant) {
        for tag in tags {
            let key = (tag.kind, tag.key());
            let known = self.tags.entry(key.clone()).or_default();
            let is_written = match known {
                Some(known) => known.used(at),
                None => {
                    *known = Some(KnownTag::new(&tag, at));
                    true
                }
            };
            if is_written {
                self.used.insert(key);
            }
        }
    }

    /// Writes the effects of the commands. The end of the transaction writes their changes to the log.
    pub(super) async fn write(self, tx: &Tx) -> Result<()> {
        let Self { incidents, alerts, mut tags, used, picks, number, .. } = self;
        let mut altered: Vec<Altered> = incidents
            .into_values()
            .flatten()
            .filter(|standing| standing.before.as_ref() != Some(&standing.carried.incident))
            .map(|standing| altered(standing, &alerts))
            .collect();
        altered.sort_by_key(|one| one.after.id);
        if let Some((first, last)) = number
            && first != last
        {
            tx.save_incident_number(last).await?;
        }
        let used: Vec<_> =
            used.into_iter().filter_map(|key| Some((key.clone(), tags.remove(&key).flatten()?))).collect();
        tx.save_known_tags(&used).await?;
        if !altered.is_empty() {
            tx.save_many(&altered).await?;
        }
        for ((by, owner), at) in picks {
            tx.note_pick(by, owner, at).await;
        }
        Ok(())
    }
}

fn altered(standing: FoundIncident, alerts: &HashMap<AlertId, Alert>) -> Altered {
    let FoundIncident { before, carried, created_input, .. } = standing;
    let Carried { incident: after, alerts: now, linked, comments, texts } = carried;
    let linked = linked.into_iter().filter_map(|(id, since)| Some((alerts.get(&id)?.clone(), since))).collect();
    let differs = |is: Alert| Some((alerts.get(&is.id).filter(|was| **was != is)?.clone(), is));
    Altered {
        before,
        after,
        created_input,
        alerts: now.into_iter().filter_map(differs).collect(),
        linked,
        comments,
        texts,
    }
}
