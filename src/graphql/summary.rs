//! Summaries: the numbers of a wall.

use async_graphql::{Json, SimpleObject};
use serde_json::Value;

use super::context::View;
use super::incident::{OwnerFacet, SeverityFacet, StatusFacet};
use super::searches::Search;
use crate::domain::instant::parse as instant;
use crate::domain::position::Position;
use crate::domain::summary::{Numbers, Summary, SummaryFilter, Window};
use crate::domain::{Error, Instant, Result};

/// The numbers of a wall, all as of one position.
///
/// They are of two sets. **Open** are the incidents of the filter's queue whose status is `NEW` or `ACTIVE`: `open`,
/// `bySeverity`, `byStatus`, `unassigned`, `byOwner` and `oldest` are about these, and without a status in the filter
/// `open` is the `totalCount` of `incidents` with the same filter. `created` and `resolved` are about **all incidents that
/// meet the filter's other conditions**: the status of the filter's top level, named or added by default, is left out, as
/// a facet leaves out its own field (one inside `and`, `or` or `not` stays). A filter of resolved incidents only has
/// nothing open. Deleted incidents count nowhere; every incident counts as it stands at the position, so one that was
/// reopened, or no longer meets the filter, is no longer among the resolved.
#[derive(SimpleObject)]
pub struct QueueSummary {
    /// The place in the log at which all of these numbers hold. In one request it is that of `incidents` with the same
    /// filter.
    position: String,
    /// The start of the time in which `created` and `resolved` count: as asked, else the last midnight in UTC.
    since: Instant,
    /// The filter as the desk reads it: defaults filled, `me` resolved.
    filter: Json<Value>,
    /// How many are open: `NEW` or `ACTIVE`.
    open: u64,
    /// The open ones by effective severity: all four, the worst first, also those with a count of 0.
    by_severity: Vec<SeverityFacet>,
    /// The open ones by status: `NEW`, then `ACTIVE`, also with a count of 0.
    by_status: Vec<StatusFacet>,
    /// How many open ones have no owner.
    unassigned: u64,
    /// The open ones of each owner that has any, the busiest first, then by name; at most 1,000 owners. Those without an
    /// owner are `unassigned`, and not here. A stream names an owner as of its start or of the newest change that it saw
    /// of the owner's incidents.
    by_owner: Vec<OwnerFacet>,
    /// When the oldest open one was made (`createdAt`); null where nothing is open.
    oldest: Option<Instant>,
    /// How many were made at or after `since`, in whatever status they are now: `NEW`, `ACTIVE`, `RESOLVED` or
    /// `REDIRECTED`.
    created: u64,
    /// How many are `RESOLVED`, and were resolved at or after `since`. One that was merged away (`REDIRECTED`) is not.
    resolved: u64,
}

impl QueueSummary {
    /// A summary as the API says it.
    pub fn new(position: Position, summary: Summary, filter: &SummaryFilter, echo: &Value) -> Self {
        Self {
            position: position.of_queue(filter.queue().fingerprint()).to_string(),
            since: summary.since,
            filter: Json(echo.clone()),
            open: summary.open,
            by_severity: summary.by_severity.into_iter().map(|(value, count)| SeverityFacet { value, count }).collect(),
            by_status: summary.by_status.into_iter().map(|(value, count)| StatusFacet { value, count }).collect(),
            unassigned: summary.unassigned,
            by_owner: summary
                .by_owner
                .into_iter()
                .map(|(owner, count)| OwnerFacet { value: Some(owner.into()), count })
                .collect(),
            oldest: summary.oldest,
            created: summary.created,
            resolved: summary.resolved,
        }
    }
}

/// Reads since when creations and resolutions are counted.
pub fn window(since: Option<Instant>) -> Result<Window> {
    since.map_or(Ok(Window::Today), |at| instant("since", at).map(Window::Since))
}

/// Which numbers a document asks for that selects the fields for which this is true.
pub fn numbers(selects: impl Fn(&str) -> bool) -> Numbers {
    match selects("created") || selects("resolved") {
        true => Numbers::All,
        false => Numbers::Open,
    }
}

/// Reads the summary of a view's snapshot.
pub async fn read(view: &View, filter: &SummaryFilter, since: Instant, numbers: Numbers) -> Result<QueueSummary> {
    view.searches().spend(Search::Summary, filter.queue())?;
    let at = view.at().await?;
    let tally = view.app().tally(at, filter, since, numbers).await?;
    let summary =
        tally.summary().ok_or_else(|| Error::fault("summing up a queue", "its oldest incident is missing"))?;
    Ok(QueueSummary::new(at.position(), summary, filter, &filter.queue().filter().echo()))
}
