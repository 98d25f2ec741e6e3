//! Merge, its preview and its undo, and split: their inputs, their payloads, and the entries of the log.

use std::collections::BTreeMap;

use async_graphql::{ComplexObject, ID, InputObject, SimpleObject};

use super::account::Owner;
use super::alert::Alert;
use super::alert::alert_ids;
use super::call::Call;
use super::connection::read_id;
use super::context::View;
use super::incident::{Incident, global_id};
use super::input::incident_id;
use super::payload::{MutationReceipt, Payload};
use super::queue::Tag;
use crate::app::merge::{Joined, KnownSides, Splitting};
use crate::domain::account::{OwnerId, Role};
use crate::domain::change::EntryKind;
use crate::domain::incident::Severity;
use crate::domain::merge::{MergePlan, MergeRequest, Sides};
use crate::domain::{AlertId, Code, Error, IncidentId, Instant, Result, title};

/// The input of `mergeIncidents`.
#[derive(Debug, InputObject)]
pub(super) struct MergeIncidentsInput {
    /// The global id of the incident that is merged away. Its alerts, tags, comments, bookmarks and attachments move to
    /// the target, and its number leads to the target from then on.
    pub source_id: ID,
    /// The global id of the incident that takes over the content of the source.
    pub target_id: ID,
    /// Whether the target keeps its title, which then counts as written by a person. By default the target gets a new
    /// title, which is generated from the alerts of both incidents and replaces a title that a person wrote. If there
    /// are no alerts, the title stays.
    #[graphql(default)]
    pub keep_title: bool,
    /// The version of the source that the caller has seen. If a later change set a field of the source, the merge is a
    /// `CONFLICT`.
    pub expected_source_version: Option<u64>,
    /// The version of the target that the caller has seen. If a later change set its title and `keepTitle` is false,
    /// the merge is a `CONFLICT`.
    pub expected_target_version: Option<u64>,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

impl MergeIncidentsInput {
    /// Returns the versions of both incidents that the caller has seen.
    pub(super) fn known(&self) -> KnownSides {
        KnownSides { source: self.expected_source_version, target: self.expected_target_version }
    }

    /// Reads which incident is merged into which.
    pub(super) fn read(&self) -> Result<MergeRequest> {
        asked(&self.source_id, &self.target_id, self.keep_title)
    }
}

/// The input of `undoMerge`.
#[derive(Debug, InputObject)]
pub(super) struct UndoMergeInput {
    /// The global id of the incident that was merged into another incident.
    pub incident_id: ID,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The input of `splitIncident`.
#[derive(Debug, InputObject)]
pub(super) struct SplitIncidentInput {
    /// The global id of the incident to split.
    pub incident_id: ID,
    /// The global ids of the alerts that leave the incident: some of its alerts, but not all; at most 5,000.
    pub alerts: Vec<ID>,
    /// The title of the new incident. Without it the title is generated from the alerts and changes with them.
    pub title: Option<String>,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

impl SplitIncidentInput {
    /// Reads which alerts are split off.
    pub(super) fn read(&self) -> Result<Splitting> {
        Ok(Splitting {
            from: incident_id("incidentId", &self.incident_id)?,
            alerts: alert_ids("alerts", &self.alerts)?,
            title: self.title.clone().map(|text| title::parse("title", text)).transpose()?,
        })
    }
}

fn asked(source: &ID, target: &ID, keep_title: bool) -> Result<MergeRequest> {
    let id = |path, id| read_id(path, id, IncidentId::WORD, IncidentId::parse);
    Ok(MergeRequest { source: id("sourceId", source)?, target: id("targetId", target)?, keep_title })
}

/// The result of `mergeIncidents` or `undoMerge`.
#[derive(SimpleObject)]
pub(super) struct MergePayload {
    /// The source: the incident that was merged away. It is `REDIRECTED` after a merge, and has its former status after
    /// an undo.
    source: Incident,
    /// The target: the incident that took over the content of the source.
    target: Incident,
    /// The alerts that moved, as the mutation left them, ordered by id.
    alerts: Vec<Alert>,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

impl Payload for MergePayload {
    type Value = Joined;

    fn new(view: View, Joined { sides, alerts }: Joined, receipt: MutationReceipt) -> Self {
        Self {
            source: Incident::new(view.clone(), sides.source),
            target: Incident::new(view.clone(), sides.target),
            alerts: alerts.into_iter().map(|alert| Alert::new(view.clone(), alert)).collect(),
            receipt,
        }
    }
}

/// The result of `splitIncident`.
#[derive(SimpleObject)]
pub(super) struct SplitIncidentPayload {
    /// The new incident.
    incident: Incident,
    /// The incident that the alerts left.
    from: Incident,
    /// The alerts that moved, as the mutation left them, ordered by id.
    alerts: Vec<Alert>,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

impl Payload for SplitIncidentPayload {
    type Value = Joined;

    fn new(view: View, Joined { sides, alerts }: Joined, receipt: MutationReceipt) -> Self {
        Self {
            incident: Incident::new(view.clone(), sides.target),
            from: Incident::new(view.clone(), sides.source),
            alerts: alerts.into_iter().map(|alert| Alert::new(view.clone(), alert)).collect(),
            receipt,
        }
    }
}

/// A reason why a merge would be refused: the content of the error that `mergeIncidents` would give.
#[derive(SimpleObject)]
pub(super) struct MergeRefusal {
    /// The error code, as in `extensions.code` of an error.
    code: Code,
    /// The message of the error.
    message: String,
    /// The input field that the error is about, for example `input.targetId`; null if it is about no single field.
    path: Option<String>,
}

/// A count of the alerts that a merge would take from one owner and give to the target's owner.
#[derive(SimpleObject)]
pub(super) struct MergeOwnerChange {
    /// The present owner of these alerts; null if they have no owner.
    from: Option<Owner>,
    /// The owner that the alerts would get: the owner of the target.
    to: Option<Owner>,
    /// How many alerts would change from this owner.
    alert_count: u64,
}

/// The target as it would be after the merge, and what would move to it.
#[derive(SimpleObject)]
pub(super) struct MergeOutcome {
    /// The first 1,000 characters of the title that the target would have.
    title: String,
    /// Whether the title is longer than the 1,000 characters that `title` shows.
    title_truncated: bool,
    /// Whether the title would be generated.
    title_generated: bool,
    /// The effective severity that the target would have.
    severity: Severity,
    /// The computed severity: the highest severity of all alerts of both incidents.
    computed_severity: Severity,
    /// All tags that the target would have.
    tags: Vec<Tag>,
    /// How many alerts the target would have.
    alert_count: u64,
    /// How many comments the target would have.
    comment_count: u64,
    /// The products of all alerts of both incidents, ordered by name.
    products: Vec<String>,
    /// When the activity of the target would begin.
    first_activity_at: Option<Instant>,
    /// When the activity of the target would end.
    last_activity_at: Option<Instant>,
    /// How many alerts would move to the target.
    moved_alert_count: u64,
    /// How many comments would move to the target. Deleted comments do not count.
    moved_comment_count: u64,
    /// How many bookmarks would move to the target. Removed bookmarks do not count.
    moved_bookmark_count: u64,
    /// How many attachments would move to the target.
    moved_attachment_count: u64,
    /// The tags that would move to the target: the tags of the source that the target does not have.
    added_tags: Vec<Tag>,
    /// The alerts that would get another owner. Empty if the target has no owner: then each alert keeps its own.
    owner_changes: Vec<MergeOwnerChange>,
}

/// The preview of a merge, as of `position`, by the rules of the merge itself. Nothing is written.
#[derive(SimpleObject)]
pub(super) struct MergePreview {
    /// The source in its present state; null if there is no such incident.
    source: Option<Incident>,
    /// The target in its present state; null if there is no such incident.
    target: Option<Incident>,
    /// All reasons why the merge would be refused; the first is the error that `mergeIncidents` would give. Empty if
    /// the merge is possible.
    refusals: Vec<MergeRefusal>,
    /// The outcome of the merge; null if it would be refused.
    outcome: Option<MergeOutcome>,
    /// The position in the log that the preview is as of.
    position: String,
}

/// Computes what a merge would do.
pub(super) async fn preview(view: &View, source: &ID, target: &ID, keep_title: bool) -> Result<MergePreview> {
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
                let moving = reader.moving(&sides, &asked).await?;
                outcome =
                    Some(MergeOutcome::of(view, &sides, sides.merged(&moving, &asked), moving.alerts.len()).await?);
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
                code: refusal.code,
                path: refusal.path.as_ref().map(|path| format!("input.{path}")),
                message: refusal.message,
            }),
            fault => Err(fault),
        }
    }
}

impl MergeOutcome {
    async fn of(view: &View, before: &Sides, plan: MergePlan, moved: usize) -> Result<Self> {
        let owner_changes = owner_changes(view, before, &plan.owners).await?;
        let (reader, source) = (view.reader().await?, before.source.id);
        let row = plan.after.target.queue_row();
        let target = plan.after.target;
        let title = title::ShownTitle::of(&target.title);
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

/// What moved with a merge beside alerts and tags. Alerts and tags have their own entries.
#[derive(Clone, Copy, SimpleObject)]
pub(super) struct Moved {
    /// How many comments moved. Deleted comments do not count.
    comment_count: u64,
    /// How many bookmarks moved. Removed bookmarks do not count. Null for older changes, which did not record it.
    bookmark_count: Option<u64>,
    /// How many attachments moved. 0 for older changes, which did not record it.
    attachment_count: u64,
}

impl Moved {
    pub(super) fn new(comment_count: u64, bookmark_count: Option<u64>, attachment_count: u64) -> Self {
        Self { comment_count, bookmark_count, attachment_count }
    }
}

/// An entry of the log: this incident was merged into another incident, to which its alerts, tags, comments, bookmarks
/// and attachments moved.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct MergedIntoEntry {
    #[graphql(skip)]
    other: Other,
    /// The kind of the entry.
    pub(super) kind: EntryKind,
    /// The global id of the incident that this incident was merged into.
    target_id: ID,
    /// The number of the incident that this incident was merged into.
    target_number: i64,
    /// What moved to the other incident.
    #[graphql(flatten)]
    moved: Moved,
}

/// An entry of the log: another incident was merged into this incident, to which its alerts, tags, comments, bookmarks
/// and attachments moved.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct MergedEntry {
    #[graphql(skip)]
    other: Other,
    /// The kind of the entry.
    pub(super) kind: EntryKind,
    /// The global id of the incident that was merged into this incident.
    source_id: ID,
    /// The number of the incident that was merged into this incident.
    source_number: i64,
    /// What moved to this incident.
    #[graphql(flatten)]
    moved: Moved,
}

/// An entry of the log: a merge with another incident was undone, and everything that had moved went back.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct MergeUndoneEntry {
    #[graphql(skip)]
    side: Other,
    /// The kind of the entry.
    pub(super) kind: EntryKind,
    /// The global id of the other incident.
    other_id: ID,
    /// The number of the other incident.
    other_number: i64,
    /// What moved back.
    #[graphql(flatten)]
    moved: Moved,
}

/// The other side of a merge, as an entry of the log names it.
pub(super) struct Other {
    pub(super) view: View,
    pub(super) id: IncidentId,
    pub(super) number: i64,
}

impl Other {
    async fn incident(&self) -> Result<Option<Incident>> {
        Incident::find(&self.view, self.id).await
    }
}

#[ComplexObject]
impl MergedIntoEntry {
    /// The incident that this incident was merged into, in its present state; null if it is deleted.
    async fn target(&self) -> Result<Option<Incident>> {
        self.other.incident().await
    }
}

#[ComplexObject]
impl MergedEntry {
    /// The incident that was merged into this incident, in its present state; null if it is deleted.
    async fn source(&self) -> Result<Option<Incident>> {
        self.other.incident().await
    }
}

#[ComplexObject]
impl MergeUndoneEntry {
    /// The other incident, in its present state; null if it is deleted.
    async fn other(&self) -> Result<Option<Incident>> {
        self.side.incident().await
    }
}

impl MergedIntoEntry {
    pub(super) fn new(target: Other, moved: Moved) -> Self {
        let (target_id, target_number) = (global_id(target.id), target.number);
        Self { other: target, kind: EntryKind::MergedInto, target_id, target_number, moved }
    }
}

impl MergedEntry {
    pub(super) fn new(source: Other, moved: Moved) -> Self {
        let (source_id, source_number) = (global_id(source.id), source.number);
        Self { other: source, kind: EntryKind::Merged, source_id, source_number, moved }
    }
}

impl MergeUndoneEntry {
    pub(super) fn new(other: Other, moved: Moved) -> Self {
        let (other_id, other_number) = (global_id(other.id), other.number);
        Self { side: other, kind: EntryKind::MergeUndone, other_id, other_number, moved }
    }
}
