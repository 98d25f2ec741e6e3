//! Commands that join and separate incidents: merge, its undo, and split.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::idempotency::{Did, Done, Repeatable};
use super::incident::{CommandWork, IncidentEdit};
use super::link::{Locked, lock, place};
use super::{App, Command};
use crate::domain::account::{OwnerId, Role};
use crate::domain::alert::Alert;
use crate::domain::change::{AlertDelta, AlertImage, BookmarkImage, Entry};
use crate::domain::comment::{Comment, CommentImage, CommentPlace, TextSetBy};
use crate::domain::incident::{Incident, Patch, Status};
use crate::domain::merge::{CHANGES_NAMED_MAX, Former, Merge, MergePlan, MergeRequest, Sides, changed_since};
use crate::domain::precondition::GuardedField;
use crate::domain::queue::sha256_hex;
use crate::domain::{AlertId, BookmarkId, CommentId, Error, IncidentId, Result};
use crate::storage::{ActivityFilter, Reader, Span, Tx};

/// The input of a merge has a field for the version of each side.
const SOURCE: [(&str, &str); 1] = [("expectedVersion", "expectedSourceVersion")];
const TARGET: [(&str, &str); 1] = [("expectedVersion", "expectedTargetVersion")];

/// The input of a split.
#[derive(Clone, Debug)]
pub struct Splitting {
    /// The incident to split.
    pub from: IncidentId,
    /// The alerts that leave the incident.
    pub alerts: Vec<AlertId>,
    /// The title of the new incident. Without it the title is generated from the alerts.
    pub title: Option<String>,
}

/// The versions of the two sides that the caller of a merge knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct KnownSides {
    /// The version of the source, which is redirected.
    pub source: Option<u64>,
    /// The version of the target, which receives everything.
    pub target: Option<u64>,
}

/// Two incidents after a command that moved alerts from one to the other.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The two incidents. For a split the source is the incident that the alerts left, and the target is the new
    /// incident.
    pub sides: Sides,
    /// The alerts that moved, ascending by id.
    pub alerts: Vec<Alert>,
}

/// The form of [`Joined`] that is stored for a retry.
#[derive(Serialize, Deserialize)]
pub(super) struct JoinedReceipt {
    source: IncidentId,
    target: IncidentId,
    alerts: Vec<AlertId>,
}

impl Repeatable for Joined {
    type Receipt = JoinedReceipt;

    fn receipt(&self) -> JoinedReceipt {
        let Sides { source, target } = &self.sides;
        let alerts = self.alerts.iter().map(|alert| alert.id).collect();
        JoinedReceipt { source: source.id, target: target.id, alerts }
    }

    async fn again(reader: &Reader, receipt: JoinedReceipt) -> Result<Self> {
        let present = async |id| reader.incident(id).await?.ok_or_else(|| Error::not_found("incident", id));
        let sides = Sides { source: present(receipt.source).await?, target: present(receipt.target).await? };
        Ok(Self { sides, alerts: moved_alerts(reader, &receipt.alerts).await? })
    }
}

impl App {
    /// Merges an incident into another, which takes over its alerts, tags, comments, bookmarks and attachments. Runs
    /// one transaction, which records one change on each side.
    ///
    /// Refuses a merge of an incident with itself, a side that is resolved or redirected, more tags together than one
    /// incident may have, and a side of which a field changed after the version that the caller knows.
    pub async fn merge_incidents(
        &self,
        command: &Command,
        asked: MergeRequest,
        known: KnownSides,
    ) -> Result<Did<Joined>> {
        command.require(Role::Manager, "merge incidents")?;
        let did = self.once_alone(command, async |tx| {
            let (sides, moved) = CommandWork { tx: &tx, app: self, command }.merge(asked, known).await?;
            Ok(Done::changed(Joined { sides, alerts: moved_alerts(&tx, &moved).await? }))
        });
        Ok(self.logged(did.await?))
    }

    /// Undoes the merge that redirected this incident. Refuses if either side has changed since.
    pub async fn undo_merge(&self, command: &Command, source: IncidentId) -> Result<Did<Joined>> {
        command.require(Role::Manager, "undo a merge")?;
        let did = self.once_alone(command, async |tx| {
            let (sides, moved) = undo(&tx, command, source).await?;
            Ok(Done::changed(Joined { sides, alerts: moved_alerts(&tx, &moved).await? }))
        });
        Ok(self.logged(did.await?))
    }

    /// Moves alerts of an incident into a new incident without owner.
    ///
    /// Refuses a split without alerts, an alert that the incident does not hold, all alerts of the incident (the rest
    /// would have no subject), and an incident that is resolved or redirected.
    pub async fn split_incident(&self, command: &Command, asked: Splitting) -> Result<Did<Joined>> {
        command.require(Role::Responder, "split an incident")?;
        if asked.alerts.is_empty() {
            return Err(Error::invalid("alerts", "name the alerts that are to leave the incident"));
        }
        let new_incident = IncidentId(self.clock.fresh_id());
        let did = self.once(command, async |tx| {
            let work = CommandWork { tx: &tx, app: self, command };
            let (target, moved) = work.split(asked.clone(), new_incident).await?;
            let source = tx.incidents(&[asked.from]).await?.pop();
            let source = source.ok_or_else(|| Error::not_found("incident", asked.from))?;
            let sides = Sides { source, target };
            Ok(Done::changed(Joined { sides, alerts: moved_alerts(&tx, &moved).await? }))
        });
        Ok(self.logged(did.await?))
    }
}

async fn moved_alerts(reader: &Reader, moved: &[AlertId]) -> Result<Vec<Alert>> {
    let mut alerts = reader.alerts(moved).await?;
    alerts.sort_by_key(|alert| alert.id);
    Ok(alerts)
}

/// Returns the states of these alerts, in this order.
async fn images(tx: &Tx, ids: &[AlertId]) -> Result<Vec<AlertImage>> {
    let found: BTreeMap<AlertId, Alert> = tx.alerts(ids).await?.into_iter().map(|alert| (alert.id, alert)).collect();
    Ok(ids.iter().filter_map(|id| found.get(id)).map(AlertImage::from).collect())
}

/// Describes these comments for the log of the incident that receives them. Deleted comments are left out.
async fn comment_images(tx: &Tx, ids: &[CommentId]) -> Result<Vec<CommentImage>> {
    let texts = tx.newest_texts(ids).await?;
    let mut comments = tx.comments(ids).await?;
    comments.retain(|comment| comment.deleted_at.is_none());
    comments.sort_by_key(CommentPlace::of);
    let image = |comment: &Comment| {
        let first = TextSetBy { incident: comment.written_on, version: comment.version };
        CommentImage {
            comment: comment.id,
            author: comment.author.clone(),
            at: comment.created_at,
            first,
            text: texts.get(&comment.id).copied().unwrap_or(first),
            sha256: sha256_hex(&comment.body),
        }
    };
    Ok(comments.iter().map(image).collect())
}

/// Describes these bookmarks for the log of the incident that receives them, ascending by id.
async fn bookmark_images(tx: &Tx, ids: &[BookmarkId]) -> Result<Vec<BookmarkImage>> {
    let mut bookmarks = tx.bookmarks(ids).await?;
    bookmarks.sort_by_key(|bookmark| bookmark.id);
    Ok(bookmarks.into_iter().map(|it| BookmarkImage { bookmark: it.id, title: it.finding.title }).collect())
}

async fn undo(tx: &Tx, command: &Command, source: IncidentId) -> Result<(Sides, Vec<AlertId>)> {
    let (before, done) = lock_merged(tx, source).await?;
    let Sides { source, target } = &before;
    let command = &command.not_before([source, target], []);
    let mut since = Vec::new();
    for (side, merged) in [(source, done.source_version), (target, done.target_version)] {
        if side.version != merged {
            let span = Span { after: Some(merged), before: None, from_end: false, limit: CHANGES_NAMED_MAX };
            since.extend(tx.activity(side.id, &ActivityFilter::default(), span).await?);
        }
    }
    if !since.is_empty() {
        return Err(changed_since(&since));
    }
    let former = &done.former;
    tx.lock_alerts_of(target.id, None).await?;
    let states = images(tx, &former.alerts).await?;
    tx.place_alerts(&former.alerts, Some(source.id), command.at).await?;
    let mut by_owner: BTreeMap<Option<OwnerId>, Vec<AlertId>> = BTreeMap::new();
    for (alert, had) in &former.owners {
        by_owner.entry(*had).or_default().push(*alert);
    }
    for (had, alerts) in by_owner {
        tx.assign_alerts(&alerts, had, command.at).await?;
    }
    tx.release_entities(target.id, target.version + 1, &former.alerts).await?;
    tx.hold_entities(source.id, source.version + 1, &former.alerts).await?;
    tx.place_comments(&former.comments, source.id).await?;
    tx.place_attachments(&former.attachments, source.id).await?;
    tx.place_bookmarks(&former.bookmarks, source.id).await?;

    let of_source = tx.alert_summary(source.id, false).await?;
    let of_target = tx.alert_summary(target.id, false).await?;
    let mut after = before.parted(former, &of_source, &of_target);
    let undone = |other: &Incident| Entry::MergeUndone {
        other: other.id,
        number: other.number,
        comments: former.comment_count,
        bookmarks: Some(former.bookmarks.len() as u64),
        attachments: former.attachments.len() as u64,
    };
    let (mut back, mut gone) = (vec![undone(target)], vec![undone(source)]);
    if !former.alerts.is_empty() {
        back.push(Entry::AlertsLinked { alerts: former.alerts.clone(), from: vec![target.id], states });
        gone.push(Entry::AlertsUnlinked { alerts: former.alerts.clone(), to: Some(source.id) });
    }
    let owner = target.owner.as_ref().map(|owner| owner.id);
    back.extend(reassigned(former.owners.iter().map(|(alert, had)| (*alert, owner, *had))));
    let origin = command.origin();
    tx.record(Some(source), &mut after.source, back, &origin, None).await?;
    tx.record(Some(target), &mut after.target, gone, &origin, None).await?;
    tx.mark_undone(&done, command.at).await?;
    // Both sides have their state from before this merge again, so an earlier merge can be undone next.
    tx.stands_again(source.id, former.source_version, after.source.version).await?;
    tx.stands_again(target.id, former.target_version, after.target.version).await?;
    Ok((after, former.alerts.clone()))
}

/// Locks a redirected incident and the incident that received its content. Returns them and their merge.
async fn lock_merged(tx: &Tx, source: IncidentId) -> Result<(Sides, Merge)> {
    let seen = tx.incident(source).await?.ok_or_else(|| Error::not_found("incident", source).at("incidentId"))?;
    let Some(target) = seen.redirected_to else {
        let message = format!("INC-{} is not merged into another incident", seen.number);
        return Err(Error::taken("incidentId", message, json!({ "status": seen.status })));
    };
    let mut locked: BTreeMap<IncidentId, Incident> =
        tx.lock_incidents(&[source, target]).await?.into_iter().map(|incident| (incident.id, incident)).collect();
    let (Some(source), Some(target)) = (locked.remove(&source), locked.remove(&target)) else {
        return Err(Error::Busy);
    };
    // Another command may have undone the merge between the read and the lock.
    if source.redirected_to != Some(target.id) {
        return Err(Error::Busy);
    }
    let done = tx.merge_of(source.id).await?;
    let done = done.ok_or_else(|| Error::fault("undoing a merge", "what it took away is missing"))?;
    Ok((Sides { source, target }, done))
}

/// Returns the entry about alerts that changed their owner, if there are any.
fn reassigned(alerts: impl Iterator<Item = (AlertId, Option<OwnerId>, Option<OwnerId>)>) -> Option<Entry> {
    let deltas = alerts.map(|(alert, had, has)| AlertDelta { owner: Some((had, has)), ..AlertDelta::of(alert) });
    let alerts: Vec<AlertDelta> = deltas.collect();
    (!alerts.is_empty()).then_some(Entry::AlertsChanged { alerts })
}

/// Returns the entries in the logs of the source and of the target of a merge about the comments, bookmarks and
/// attachments that moved.
fn entries_of_merge(
    sides: &Sides,
    moved: Vec<CommentImage>,
    pinned: Vec<BookmarkImage>,
    attachments: u64,
) -> (Entry, Entry) {
    let Sides { source, target } = sides;
    let gone = Entry::MergedInto {
        target: target.id,
        number: target.number,
        comments: source.comment_count,
        bookmarks: Some(pinned.len() as u64),
        attachments,
    };
    let come = Entry::Merged {
        source: source.id,
        number: source.number,
        comments: source.comment_count,
        moved,
        bookmarks: Some(pinned),
        attachments,
    };
    (gone, come)
}

impl CommandWork<'_> {
    /// Moves everything that is attached to one incident to another incident.
    async fn merge(&self, asked: MergeRequest, known: KnownSides) -> Result<(Sides, Vec<AlertId>)> {
        let tx = self.tx;
        let locked = tx.lock_incidents(&[asked.source, asked.target]).await?;
        let command = &self.command.not_before(&locked, []);
        let before = self.sides_to_merge(&locked, &asked, known).await?;
        let Sides { source, target } = &before;
        tx.lock_alerts_of(source.id, None).await?;
        let moving = tx.moving(&before, &asked).await?;
        let MergePlan { mut after, tags, owners } = before.merged(&moving, &asked);
        let alerts: Vec<AlertId> = moving.alerts.iter().map(|(alert, _)| *alert).collect();
        let owner = target.owner.as_ref().map(|owner| owner.id);
        let states = images(tx, &alerts).await?;

        tx.place_alerts(&alerts, Some(target.id), command.at).await?;
        tx.assign_alerts(&owners.iter().map(|(alert, _)| *alert).collect::<Vec<_>>(), owner, command.at).await?;
        tx.release_all_entities(source.id, source.version + 1).await?;
        tx.hold_entities(target.id, target.version + 1, &alerts).await?;
        let comments = tx.move_comments(source.id, target.id).await?;
        let attachments = tx.move_attachments(source.id, target.id).await?;
        let bookmarks = tx.move_bookmarks(source.id, target.id).await?;

        let (moved, pinned) = (comment_images(tx, &comments).await?, bookmark_images(tx, &bookmarks).await?);
        let (gone, come) = entries_of_merge(&before, moved, pinned, attachments.len() as u64);
        let (mut gone, mut come) = (vec![gone], vec![come]);
        if !alerts.is_empty() {
            gone.push(Entry::AlertsUnlinked { alerts: alerts.clone(), to: Some(target.id) });
            come.push(Entry::AlertsLinked { alerts: alerts.clone(), from: vec![source.id], states });
        }
        come.extend(reassigned(owners.iter().map(|(alert, had)| (*alert, *had, owner))));
        let origin = command.origin();
        tx.record(Some(source), &mut after.source, gone, &origin, None).await?;
        tx.record(Some(target), &mut after.target, come, &origin, None).await?;
        let former = Former {
            source_version: source.version,
            target_version: target.version,
            source_status: source.status,
            source_tags: source.tags.clone(),
            target_title: target.title.clone(),
            target_title_generated: target.title_generated,
            tags,
            alerts: alerts.clone(),
            owners,
            comments,
            attachments,
            bookmarks,
            comment_count: source.comment_count,
        };
        let done = Merge {
            source: source.id,
            source_version: after.source.version,
            target: target.id,
            target_version: after.target.version,
            former,
        };
        tx.insert_merge(&done, command.at).await?;
        Ok((after, alerts))
    }

    /// Returns the two incidents of a merge. Refuses a merge that the domain refuses, or whose caller does not know the
    /// present values that the merge replaces.
    async fn sides_to_merge(&self, locked: &[Incident], asked: &MergeRequest, known: KnownSides) -> Result<Sides> {
        let first = |refusals: Vec<Error>| refusals.into_iter().next();
        let sides = Sides::among(locked, asked).map_err(|missing| first(missing).unwrap_or(Error::Busy))?;
        if let Some(refusal) = first(sides.refusals()) {
            return Err(refusal);
        }
        let all = &GuardedField::ALL;
        self.expect_fields(&sides.source, known.source, all).await.map_err(|error| error.reworded(&SOURCE))?;
        let title = if asked.keep_title { &[][..] } else { &[GuardedField::Title] };
        self.expect_fields(&sides.target, known.target, title).await.map_err(|error| error.reworded(&TARGET))?;
        Ok(sides)
    }

    async fn split(&self, asked: Splitting, new_incident: IncidentId) -> Result<(Incident, Vec<AlertId>)> {
        let edit = IncidentEdit {
            patch: Patch { title: asked.title, ..Patch::default() },
            link: asked.alerts,
            move_alerts: true,
            ..IncidentEdit::default()
        };
        let locked = lock(self.tx, &edit, Some(asked.from)).await?;
        let moved: BTreeSet<AlertId> = edit.link.iter().copied().collect();
        may_split(&locked, asked.from, &edit.link, &moved)?;
        let number = self.tx.next_incident_number().await?;
        let incident = Incident::new(new_incident, number, self.command.at);
        let done = self.write(None, incident, edit, locked, None).await?;
        Ok((done.value.incident, moved.into_iter().collect()))
    }
}

fn may_split(locked: &Locked, from: IncidentId, named: &[AlertId], moved: &BTreeSet<AlertId>) -> Result<()> {
    let holder = locked.holders.get(&from).filter(|incident| incident.deleted_at.is_none());
    let holder = holder.ok_or_else(|| Error::not_found("incident", from).at("incidentId"))?;
    holder.writable().map_err(|error| error.at("incidentId"))?;
    if holder.status == Status::Resolved {
        let message = format!("INC-{} is resolved: reopen it before you split it", holder.number);
        return Err(Error::taken("incidentId", message, json!({ "status": holder.status })));
    }
    let elsewhere = |id: &&AlertId| locked.alerts.get(*id).is_none_or(|alert| alert.incident != Some(from));
    if let Some(alert) = moved.iter().find(elsewhere) {
        let message = format!("alert {alert} is not in INC-{}", holder.number);
        return Err(Error::taken(place("alerts", named, *alert), message, json!({ "alert": alert.to_string() })));
    }
    if moved.len() as u64 == holder.alert_count {
        let message = format!("these are all alerts of INC-{}, and one that is split keeps some", holder.number);
        return Err(Error::invalid("alerts", message));
    }
    Ok(())
}
