//! Queue summaries: the numbers of a wall screen.

use async_graphql::SimpleObject;

use super::context::View;
use super::incident::{OwnerFacet, ProductFacet, SeverityFacet, StatusFacet, TagFacet};
use super::searches::Search;
use crate::domain::filter::IncidentFilter;
use crate::domain::instant::parse as instant;
use crate::domain::position::Position;
use crate::domain::summary::{Numbers, Summary, SummaryFilter, Window};
use crate::domain::{Error, Instant, Result};

/// The numbers of a wall screen, all as of one position.
///
/// `open`, `bySeverity`, `byStatus`, `unassigned`, `byOwner`, `byTag`, `byProduct` and `oldest` count the **open**
/// incidents of the queue: incidents with the status `NEW` or `ACTIVE`. If the filter names no status, `open` equals the
/// `totalCount` of `incidents` with this filter. If it selects only resolved incidents, nothing is open.
///
/// `created` and `resolved` count **incidents of any status that meet the other conditions**: the top-level `status` of
/// the filter, given or added by default, is ignored, as a facet ignores its own field. A `status` inside `and`, `or`
/// or `not` still holds. Deleted incidents never count. Each incident counts in its state at the position: an incident
/// that was reopened, or that no longer matches the filter, does not count as resolved.
#[derive(SimpleObject)]
pub(super) struct QueueSummary {
    /// The position in the log at which all these numbers hold. Within one request it equals the position of
    /// `incidents` with the same filter.
    position: String,
    /// The time from which `created` and `resolved` count: the argument `since`, or the last midnight in UTC.
    since: Instant,
    /// The filter with its defaults filled in and `me` resolved to ids.
    filter: IncidentFilter,
    /// How many incidents are open: `NEW` or `ACTIVE`.
    open: u64,
    /// The open incidents by effective severity. All four severities are listed, the worst first, also those with a
    /// count of 0.
    by_severity: Vec<SeverityFacet>,
    /// The open incidents by status: `NEW`, then `ACTIVE`, also with a count of 0.
    by_status: Vec<StatusFacet>,
    /// How many open incidents have no owner.
    unassigned: u64,
    /// The open incidents by owner, the highest count first, then by name; at most 1,000 owners. Incidents without an
    /// owner count in `unassigned` only. In a stream, an owner may have a former name until an incident of this owner
    /// changes.
    by_owner: Vec<OwnerFacet>,
    /// The open incidents by tag, the highest count first, then by name; at most 100 tags. An incident counts for each
    /// of its tags. The conditions of the filter on tags hold.
    by_tag: Vec<TagFacet>,
    /// The open incidents by product of their alerts, the highest count first, then by name; at most 100 products. An
    /// incident counts for each of its products. The conditions of the filter on products hold.
    by_product: Vec<ProductFacet>,
    /// When the oldest open incident was created (`createdAt`); null if nothing is open.
    oldest: Option<Instant>,
    /// How many incidents were created at or after `since`, whatever their status is now: `NEW`, `ACTIVE`, `RESOLVED`
    /// or `REDIRECTED`.
    created: u64,
    /// How many incidents are `RESOLVED` and were resolved at or after `since`. `REDIRECTED` incidents do not count.
    resolved: u64,
}

impl QueueSummary {
    /// Builds the summary.
    pub(super) fn new(position: Position, summary: Summary, filter: &SummaryFilter) -> Self {
        Self {
            position: position.of_queue(filter.queue().fingerprint()).to_string(),
            since: summary.since,
            filter: filter.queue().filter().clone(),
            open: summary.open,
            by_severity: summary.by_severity.into_iter().map(|(value, count)| SeverityFacet { value, count }).collect(),
            by_status: summary.by_status.into_iter().map(|(value, count)| StatusFacet { value, count }).collect(),
            unassigned: summary.unassigned,
            by_owner: summary
                .by_owner
                .into_iter()
                .map(|(owner, count)| OwnerFacet { value: Some(owner.into()), count })
                .collect(),
            by_tag: summary.by_tag.into_iter().map(|(tag, count)| TagFacet { value: tag.into(), count }).collect(),
            by_product: summary.by_product.into_iter().map(|(value, count)| ProductFacet { value, count }).collect(),
            oldest: summary.oldest,
            created: summary.created,
            resolved: summary.resolved,
        }
    }
}

/// Reads the time from which creations and resolutions are counted.
pub(super) fn window(since: Option<Instant>) -> Result<Window> {
    since.map_or(Ok(Window::Today), |at| instant("since", at).map(Window::Since))
}

/// Returns which numbers a document needs; `selects` says whether the document selects a field.
pub(super) fn numbers(selects: impl Fn(&str) -> bool) -> Numbers {
    Numbers {
        flow: selects("created") || selects("resolved"),
        by_tag: selects("byTag"),
        by_product: selects("byProduct"),
    }
}

/// Reads the summary from the snapshot of a view.
pub(super) async fn read(
    view: &View,
    filter: &SummaryFilter,
    since: Instant,
    numbers: Numbers,
) -> Result<QueueSummary> {
    view.searches().spend(Search::Summary, filter.queue())?;
    for _ in [numbers.by_tag, numbers.by_product].into_iter().filter(|counted| *counted) {
        view.searches().spend(Search::Facet, filter.queue())?;
    }
    let at = view.at().await?;
    let tally = view.app().tally(at, filter, since, numbers).await?;
    let summary =
        tally.summary().ok_or_else(|| Error::fault("summing up a queue", "its oldest incident is missing"))?;
    Ok(QueueSummary::new(at.position(), summary, filter))
}
