//! Merging, its preview and undo, and splitting: inputs, answers, and what the log says of them.

use std::collections::BTreeMap;

use async_graphql::{Context, ID, InputObject, SimpleObject};

use super::account::Owner;
use super::alert::Alert;
use super::alert::alert_ids;
use super::call::Call;
use super::connection::read_id;
use super::context::View;
use super::incident::{Incident, global_id};
use super::input::incident_id;
use super::queue::Tag;
use crate::app::merge::{KnownSides, Merged, Split, Splitting};
use crate::domain::account::{OwnerId, Role};
use crate::domain::change::EntryKind;
use crate::domain::incident::Severity;
use crate::domain::merge::{Asked, Plan, Sides};
use crate::domain::{AlertId, Error, IncidentId, Instant, Result, title};

/// Two incidents to merge.
#[derive(Debug, InputObject)]
pub struct MergeIncidentsInput {
    /// The incident that goes, by global id: what is on it moves, and its number leads to the target from then on.
    pub source_id: ID,
    /// The incident that takes it in, by global id.
    pub target_id: ID,
    /// Whether the target's title stays, from then on as a person's. Else it is made anew from the alerts of both, even if a
    /// person wrote it.
    #[graphql(default)]
    pub keep_title: bool,
    /// The version of the source that the caller has seen. If a later change set a field of it, it is a `CONFLICT`.
    pub expected_source_version: Option<u64>,
    /// The version of the target that the caller has seen. If a later change set its title, and it is not kept, it is a
    /// `CONFLICT`.
    pub expected_target_version: Option<u64>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl MergeIncidentsInput {
    /// What the caller knows of the two.
    pub fn known(&self) -> KnownSides {
        KnownSides { source: self.expected_source_version, target: self.expected_target_version }
    }

    /// What is to be merged into what.
    pub fn read(&self) -> Result<Asked> {
        asked(&self.source_id, &self.target_id, self.keep_title)
    }
}

/// A merge to undo.
#[derive(Debug, InputObject)]
pub struct UndoMergeInput {
    /// The incident that was merged into another, by global id.
    pub incident_id: ID,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// What to split off an incident.
#[derive(Debug, InputObject)]
pub struct SplitIncidentInput {
    /// The incident, by global id.
    pub incident_id: ID,
    /// The alerts that leave it, by global id: some of those that it holds, not all; at most 5,000.
    pub alerts: Vec<ID>,
    /// What the new incident is called. Without it the title is made from the alerts, and follows them.
    pub title: Option<String>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl SplitIncidentInput {
    /// What is to be split off.
    pub fn read(&self) -> Result<Splitting> {
        Ok(Splitting {
            from: incident_id("incidentId", &self.incident_id)?,
            alerts: alert_ids("alerts", &self.alerts)?,
            title: self.title.clone().map(|text| title::parse("title", text)).transpose()?,
        })
    }
}

fn asked(source: &ID, target: &ID, keep_title: bool) -> Result<Asked> {
    let id = |path, id| read_id(path, id, IncidentId::WORD, IncidentId::parse);
    Ok(Asked { source: id("sourceId", source)?, target: id("targetId", target)?, keep_title })
}

/// What a merge or its undo did.
#[derive(SimpleObject)]
pub struct MergePayload {
    /// The incident that was merged: `REDIRECTED` after a merge, what it was before after the undo.
    source: Incident,
    /// The incident that took it in.
    target: Incident,
    /// The alerts that moved, by id.
    alerts: Vec<Alert>,
    /// The end of the log after it: a read with this `minPosition` shows it.
    position: String,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    replayed: bool,
}

impl MergePayload {
    /// The answer about what was done.
    pub fn new(ctx: &Context<'_>, done: Merged, call: Call) -> Result<Self> {
        let view = View::fresh(ctx)?;
        Ok(Self {
            source: Incident::new(view.clone(), done.sides.source),
            target: Incident::new(view.clone(), done.sides.target),
            alerts: done.alerts.into_iter().map(|alert| Alert::new(view.clone(), alert)).collect(),
            position: done.position.to_string(),
            client_mutation_id: call.client_mutation_id,
            replayed: done.replayed,
        })
    }
}

/// What a split did.
#[derive(SimpleObject)]
pub struct SplitIncidentPayload {
    /// The new incident.
    incident: Incident,
    /// The incident that the alerts have left.
    from: Incident,
    /// The alerts that moved, by id.
    alerts: Vec<Alert>,
    /// The end of the log after it: a read with this `minPosition` shows it.
    position: String,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    replayed: bool,
}

impl SplitIncidentPayload {
    /// The answer about what was done.
    pub fn new(ctx: &Context<'_>, done: Split, call: Call) -> Result<Self> {
        let view = View::fresh(ctx)?;
        Ok(Self {
            incident: Incident::new(view.clone(), done.incident),
            from: Incident::new(view.clone(), done.from),
            alerts: done.alerts.into_iter().map(|alert| Alert::new(view.clone(), alert)).collect(),
            position: done.position.to_string(),
            client_mutation_id: call.client_mutation_id,
            replayed: done.replayed,
        })
    }
}

/// Why a merge would be refused, in the words of the error that it would be.
#[derive(SimpleObject)]
pub struct MergeRefusal {
    /// One of the error codes.
    code: String,
    /// Why.
    message: String,
    /// The field of the merge's input that it is about.
    path: Option<String>,
}

/// How many alerts would get another owner, and from whom.
#[derive(SimpleObject)]
pub struct MergeOwnerChange {
    /// Who owns them now; null for nobody.
    from: Option<Owner>,
    /// Who would own them: the target's owner.
    to: Option<Owner>,
    /// How many alerts.
    alert_count: u64,
}

/// The target as a merge would leave it, and what would come to it.
#[derive(SimpleObject)]
pub struct MergeOutcome {
    /// The first 1,000 characters of its title.
    title: String,
    /// Whether the title goes on beyond what `title` shows.
    title_truncated: bool,
    /// Whether the desk would have made the title.
    title_generated: bool,
    /// Its effective severity.
    severity: Severity,
    /// The highest severity of all alerts.
    computed_severity: Severity,
    /// Its tags.
    tags: Vec<Tag>,
    /// How many alerts it would hold.
    alert_count: u64,
    /// How many comments it would have.
    comment_count: u64,
    /// The products of its alerts, by name.
    products: Vec<String>,
    /// When its activity began.
    first_activity_at: Option<Instant>,
    /// When its activity ended.
    last_activity_at: Option<Instant>,
    /// How many alerts would come.
    moved_alert_count: u64,
    /// How many comments would come; deleted ones do not count.
    moved_comment_count: u64,
    /// How many bookmarks would come; removed ones do not count.
    moved_bookmark_count: u64,
    /// How many attachments would come.
    moved_attachment_count: u64,
    /// The tags that would come: those of the source that the target does not have.
    added_tags: Vec<Tag>,
    /// Whose alerts would get another owner. Empty where the target has none: then each keeps its own.
    owner_changes: Vec<MergeOwnerChange>,
}

/// What a merge would do at this position, by the rules that it goes by. Nothing is written.
#[derive(SimpleObject)]
pub struct MergePreview {
    /// The incident that would go, as it stands; null where there is none.
    source: Option<Incident>,
    /// The incident that would take it in, as it stands; null where there is none.
    target: Option<Incident>,
    /// Everything for which it would be refused, the first of it by the merge itself; empty where it would be done.
    refusals: Vec<MergeRefusal>,
    /// What would come of it; null where it would be refused.
    outcome: Option<MergeOutcome>,
    /// The place in the log that all of this is as of.
    position: String,
}

/// Says what a merge would do.
pub async fn preview(view: &View, source: &ID, target: &ID, keep_title: bool) -> Result<MergePreview> {
    let asked = asked(source, target, keep_title)?;
    let reader = view.reader().await?;
    let mut found = reader.incidents_to_show(&[asked.source, asked.target]).await?;
    found.retain(|incident| incident.deleted_at.is_none() && view.viewer().sees_incident(incident));
    let mut refusals: Vec<Error> = view.viewer().require(Role::Manager, "merge incidents").err().into_iter().collect();
    let mut outcome = None;
    match Sides::among(&found, &asked) {
        Err(missing) => refusals.extend(missing),
        Ok(sides) => {
            refusals.extend(sides.refusals());
            if refusals.is_empty() {
                let moving = reader.moving(&sides, keep_title).await?;
                outcome =
                    Some(MergeOutcome::of(view, &sides, sides.merged(&moving, keep_title), moving.alerts.len()).await?);
            }
        }
    }
    let as_it_stands = |id: IncidentId| {
        let incident = found.iter().find(|incident| incident.id == id)?;
        Some(Incident::new(view.clone(), incident.clone()))
    };
    Ok(MergePreview {
        source: as_it_stands(asked.source),
        target: as_it_stands(asked.target),
        refusals: refusals.into_iter().map(MergeRefusal::try_from).collect::<Result<_>>()?,
        outcome,
        position: view.head().await?.position().to_string(),
    })
}

impl TryFrom<Error> for MergeRefusal {
    type Error = Error;

    fn try_from(error: Error) -> Result<Self> {
        match error {
            Error::Refused(refusal) => Ok(Self {
                code: refusal.code.as_str().to_owned(),
                path: refusal.path.as_ref().map(|path| format!("input.{path}")),
                message: refusal.message,
            }),
            fault => Err(fault),
        }
    }
}

impl MergeOutcome {
    async fn of(view: &View, before: &Sides, plan: Plan, moved: usize) -> Result<Self> {
        let owner_changes = owner_changes(view, before, &plan.owners).await?;
        let (reader, source) = (view.reader().await?, before.source.id);
        let row = plan.after.target.queue_row();
        let target = plan.after.target;
        let title = title::Shown::of(&target.title);
        Ok(Self {
            severity: row.severity(),
            title: title.text,
            title_truncated: title.truncated,
            title_generated: target.title_generated,
            computed_severity: target.computed_severity,
            tags: target.tags.into_iter().map(Tag::from).collect(),
            alert_count: target.alert_count,
            comment_count: target.comment_count,
            products: target.products,
            first_activity_at: target.first_activity_at,
            last_activity_at: target.last_activity_at,
            moved_alert_count: moved as u64,
            moved_comment_count: before.source.comment_count,
            moved_bookmark_count: reader.bookmark_counts(&[source]).await?.remove(&source).unwrap_or(0),
            moved_attachment_count: reader.attachment_count(source).await?,
            added_tags: plan.tags.into_iter().map(Tag::from).collect(),
            owner_changes,
        })
    }
}

async fn owner_changes(
    view: &View,
    before: &Sides,
    owners: &[(AlertId, Option<OwnerId>)],
) -> Result<Vec<MergeOwnerChange>> {
    let mut counts: BTreeMap<Option<OwnerId>, u64> = BTreeMap::new();
    for (_, had) in owners {
        *counts.entry(*had).or_default() += 1;
    }
    let named = view.reader().await?.owners(counts.keys().copied().flatten()).await?;
    let changes = counts.into_iter().map(|(had, alert_count)| MergeOwnerChange {
        from: had.and_then(|id| named.get(&id).cloned()).map(Owner::from),
        to: before.target.owner.clone().map(Owner::from),
        alert_count,
    });
    Ok(changes.collect())
}

/// What moved with a merge beside alerts and tags, which have entries of their own.
#[derive(Clone, Copy, SimpleObject)]
pub struct Moved {
    /// How many comments; deleted ones do not count.
    comment_count: u64,
    /// How many bookmarks; removed ones do not count. Null in changes of before the desk noted it.
    bookmark_count: Option<u64>,
    /// How many attachments; 0 in changes of before the desk noted it.
    attachment_count: u64,
}

impl Moved {
    pub(super) fn new(comment_count: u64, bookmark_count: Option<u64>, attachment_count: u64) -> Self {
        Self { comment_count, bookmark_count, attachment_count }
    }
}

/// The incident was merged into another, which has its alerts, tags, comments, bookmarks and attachments now.
#[derive(SimpleObject)]
pub struct MergedIntoEntry {
    /// What the entry is about.
    pub(super) kind: EntryKind,
    /// The other, by global id.
    target_id: ID,
    /// The other's number.
    target_number: i64,
    /// What went with it.
    #[graphql(flatten)]
    moved: Moved,
}

/// Another incident was merged into this one, and its alerts, tags, comments, bookmarks and attachments came with it.
#[derive(SimpleObject)]
pub struct MergedEntry {
    /// What the entry is about.
    pub(super) kind: EntryKind,
    /// The other, by global id.
    source_id: ID,
    /// The other's number.
    source_number: i64,
    /// What came with it.
    #[graphql(flatten)]
    moved: Moved,
}

/// A merge with another incident was undone: all that had moved went back.
#[derive(SimpleObject)]
pub struct MergeUndoneEntry {
    /// What the entry is about.
    pub(super) kind: EntryKind,
    /// The other, by global id.
    other_id: ID,
    /// The other's number.
    other_number: i64,
    /// What went back.
    #[graphql(flatten)]
    moved: Moved,
}

impl MergedIntoEntry {
    pub(super) fn new(target: IncidentId, target_number: i64, moved: Moved) -> Self {
        Self { kind: EntryKind::MergedInto, target_id: global_id(target), target_number, moved }
    }
}

impl MergedEntry {
    pub(super) fn new(source: IncidentId, source_number: i64, moved: Moved) -> Self {
        Self { kind: EntryKind::Merged, source_id: global_id(source), source_number, moved }
    }
}

impl MergeUndoneEntry {
    pub(super) fn new(other: IncidentId, other_number: i64, moved: Moved) -> Self {
        Self { kind: EntryKind::MergeUndone, other_id: global_id(other), other_number, moved }
    }
}
