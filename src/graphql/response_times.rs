//! Response times: how fast a desk works. Each combination of filter, window and caller is computed at most once a
//! minute.

use std::sync::Arc;

use async_graphql::SimpleObject;
use moka::sync::Cache;
use tokio::sync::Mutex;

use super::context::View;
use super::searches::Search;
use crate::domain::account::Role;
use crate::domain::filter::IncidentFilter;
use crate::domain::position::Position;
use crate::domain::response_times::{Durations, ResponseTimes as Times, WINDOW_DAYS_MAX};
use crate::domain::summary::SummaryFilter;
use crate::domain::{Error, Instant, Result};

/// How long an answer is cached, in seconds. Percentiles over days do not move in a minute, and each computation reads
/// every incident of the window.
const KEPT_SECONDS: i64 = 60;

/// The most answers in the cache, each a few hundred bytes. Beyond this number the least used answers are dropped.
const ANSWERS_MAX: u64 = 1_000;

/// Statistics of durations, in seconds. A percentile is a measured duration, by nearest rank: the 90th percentile is
/// the smallest duration that 90% of the durations do not exceed.
#[derive(SimpleObject)]
pub(super) struct DurationStats {
    /// How many incidents the statistics are over.
    count: u64,
    /// The mean, in seconds; null if `count` is 0.
    mean: Option<f64>,
    /// The median, in seconds: half of the durations are not longer. Null if `count` is 0.
    p50: Option<f64>,
    /// The 90th percentile, in seconds; null if `count` is 0.
    p90: Option<f64>,
    /// The 95th percentile, in seconds; null if `count` is 0.
    p95: Option<f64>,
}

impl From<Durations> for DurationStats {
    fn from(took: Durations) -> Self {
        let seconds = |micros: Option<i64>| micros.map(|micros| micros as f64 / 1e6);
        Self {
            count: took.count,
            mean: seconds(took.mean),
            p50: seconds(took.p50),
            p90: seconds(took.p90),
            p95: seconds(took.p95),
        }
    }
}

/// How long incidents waited for an owner and for their resolution.
///
/// An incident counts if it was assigned or resolved within the window and meets the filter. The top-level `status` of
/// the filter, given or added by default, is ignored. Deleted incidents never count. If an end lies before its
/// beginning, which an import may cause, the duration is 0.
#[derive(SimpleObject)]
pub(super) struct ResponseTimes {
    /// The position in the log at which the numbers were computed. It may be up to a minute behind the present end.
    position: String,
    /// When the numbers were computed.
    computed_at: Instant,
    /// The start of the window: `windowDays` days before `computedAt`.
    since: Instant,
    /// The length of the window, in days.
    window_days: i32,
    /// The filter with its defaults filled in and `me` resolved to ids.
    filter: IncidentFilter,
    /// The time from `createdAt` to `firstAssignedAt`, over incidents of any status that got their first owner within
    /// the window. Later owners do not count.
    time_to_assign: DurationStats,
    /// The time from `createdAt` to `resolvedAt`, over incidents that are `RESOLVED` and were resolved within the
    /// window. An incident that was reopened and resolved again counts once, from its creation to its last resolution.
    time_to_resolve: DurationStats,
}

/// The key of a cached answer: the fingerprints of the filter and of the caller's reading of it, the window, and the
/// role.
type CacheKey = ([u8; 8], [u8; 8], i32, Role);

#[derive(Clone, Copy)]
struct CachedAnswer {
    position: Position,
    computed_at: Instant,
    times: Times,
}

impl CachedAnswer {
    fn is_fresh(&self, now: Instant) -> bool {
        (now - self.computed_at).num_seconds().abs() < KEPT_SECONDS
    }
}

/// The cached answers. Each has a lock, so that concurrent equal requests compute it once (single-flight).
#[derive(Clone)]
pub(super) struct CachedAnswers(Cache<CacheKey, Arc<Mutex<Option<CachedAnswer>>>>);

impl Default for CachedAnswers {
    fn default() -> Self {
        Self(Cache::new(ANSWERS_MAX))
    }
}

/// Refuses a window that is not 1 to 30 days.
fn days(window_days: i32) -> Result<chrono::Duration> {
    if (1..=WINDOW_DAYS_MAX).contains(&window_days) {
        return Ok(chrono::Duration::days(i64::from(window_days)));
    }
    let message = format!("a window has 1 to {WINDOW_DAYS_MAX} days");
    Err(Error::limit("windowDays", message, WINDOW_DAYS_MAX as usize))
}

/// Reads the response times of a filter from the cache, or computes them at the view's position.
pub(super) async fn read(
    view: &View,
    answers: &CachedAnswers,
    filter: &SummaryFilter,
    window_days: i32,
) -> Result<ResponseTimes> {
    let (length, fingerprint) = (days(window_days)?, filter.queue().fingerprint());
    let key = (fingerprint.filter, fingerprint.scope, window_days, view.viewer().user.role);
    let slot = answers.0.get_with(key, Arc::default);
    let kept = *slot.lock().await;
    let answer = match kept.filter(|answer| answer.is_fresh(view.app().clock.now())) {
        Some(answer) => answer,
        None => {
            // The order is the connection first, then the lock: the holder of the lock must not wait for requests that
            // wait for it.
            view.searches().spend(Search::Summary, filter.queue())?;
            let (reader, position) = (view.reader().await?, view.head().await?.position());
            let mut slot = slot.lock().await;
            let now = view.app().clock.now();
            match slot.filter(|answer| answer.is_fresh(now)) {
                Some(answer) => answer,
                None => {
                    let times = Times::of(&reader.milestones(filter, now - length).await?, now - length);
                    *slot.insert(CachedAnswer { position, computed_at: now, times })
                }
            }
        }
    };
    Ok(ResponseTimes {
        position: answer.position.of_queue(fingerprint).to_string(),
        computed_at: answer.computed_at,
        since: answer.computed_at - length,
        window_days,
        filter: filter.queue().filter().clone(),
        time_to_assign: answer.times.to_assign.into(),
        time_to_resolve: answer.times.to_resolve.into(),
    })
}
