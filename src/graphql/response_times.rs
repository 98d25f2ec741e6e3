//! Response times: how fast a desk works, computed at most once a minute for each question.

use std::sync::Arc;

use async_graphql::{Json, SimpleObject};
use moka::sync::Cache;
use serde_json::Value;
use tokio::sync::Mutex;

use super::context::View;
use super::searches::Search;
use crate::domain::account::Role;
use crate::domain::position::Position;
use crate::domain::response_times::{Durations, ResponseTimes as Times, WINDOW_DAYS_MAX};
use crate::domain::summary::SummaryFilter;
use crate::domain::{Error, Instant, Result};

/// How long an answer is given again. Percentiles of days do not move in a minute, and each costs a look at every incident
/// of the window.
const KEPT_SECONDS: i64 = 60;

/// Answers kept at once: each a few hundred bytes. Beyond, the least used are forgotten.
const ANSWERS_MAX: u64 = 1_000;

/// How long something took, in seconds. Percentiles are by nearest rank: the smallest of the durations that so many of a
/// hundred do not exceed.
#[derive(SimpleObject)]
pub struct DurationStats {
    /// Over how many incidents.
    count: u64,
    /// The mean, in seconds; null of none.
    mean: Option<f64>,
    /// Half took no longer, in seconds; null of none.
    p50: Option<f64>,
    /// Nine of ten took no longer, in seconds; null of none.
    p90: Option<f64>,
    /// 19 of 20 took no longer, in seconds; null of none.
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
/// Counted are incidents that meet the filter, but for the status of its top level, named or added by default, and that
/// reached the milestone in the window; deleted ones count nowhere. An end that lies before its beginning, as an import
/// may have it, is a duration of 0.
#[derive(SimpleObject)]
pub struct ResponseTimes {
    /// The place in the log at which the numbers were computed: its own, at most a minute behind.
    position: String,
    /// When they were computed.
    computed_at: Instant,
    /// The start of the window, so many days before `computedAt`.
    since: Instant,
    /// The window, in days.
    window: i32,
    /// The filter as the desk reads it: defaults filled, `me` resolved.
    filter: Json<Value>,
    /// From `createdAt` to `firstAssignedAt`: incidents of any status whose first owner came in the window. A later owner
    /// is none.
    time_to_assign: DurationStats,
    /// From `createdAt` to `resolvedAt`: incidents that are `RESOLVED`, and were resolved in the window. One that was
    /// reopened counts again when it is resolved again, from its creation.
    time_to_resolve: DurationStats,
}

/// Whose question it is: the filter, what the caller made of it, the window, and what the caller may see.
type Key = ([u8; 8], [u8; 8], i32, Role);

#[derive(Clone, Copy)]
struct Answer {
    position: Position,
    computed_at: Instant,
    times: Times,
}

impl Answer {
    fn is_fresh(&self, now: Instant) -> bool {
        (now - self.computed_at).num_seconds().abs() < KEPT_SECONDS
    }
}

/// The newest answers. Each has a lock, so that two who ask for the same at once compute it once.
#[derive(Clone)]
pub struct Answers(Cache<Key, Arc<Mutex<Option<Answer>>>>);

impl Default for Answers {
    fn default() -> Self {
        Self(Cache::new(ANSWERS_MAX))
    }
}

/// Refuses a window that is not 1 to 30 days.
fn days(window: i32) -> Result<chrono::Duration> {
    if (1..=WINDOW_DAYS_MAX).contains(&window) {
        return Ok(chrono::Duration::days(i64::from(window)));
    }
    let message = format!("a window has 1 to {WINDOW_DAYS_MAX} days");
    Err(Error::limit("window", message, WINDOW_DAYS_MAX as usize))
}

/// Reads the response times of a filter: computed at the view's position, or given again.
pub async fn read(view: &View, answers: &Answers, filter: &SummaryFilter, window: i32) -> Result<ResponseTimes> {
    let (length, fingerprint) = (days(window)?, filter.queue().fingerprint());
    let key = (fingerprint.filter, fingerprint.scope, window, view.viewer().user.role);
    let slot = answers.0.get_with(key, Arc::default);
    let kept = *slot.lock().await;
    let answer = match kept.filter(|answer| answer.is_fresh(view.app().clock.now())) {
        Some(answer) => answer,
        None => {
            // The connection first, then the lock: whoever holds the lock must not wait for those who wait for it.
            view.searches().spend(Search::Summary, filter.queue())?;
            let (reader, position) = (view.reader().await?, view.head().await?.position());
            let mut slot = slot.lock().await;
            let now = view.app().clock.now();
            match slot.filter(|answer| answer.is_fresh(now)) {
                Some(answer) => answer,
                None => {
                    let times = Times::of(&reader.milestones(filter, now - length).await?, now - length);
                    *slot.insert(Answer { position, computed_at: now, times })
                }
            }
        }
    };
    Ok(ResponseTimes {
        position: answer.position.of_queue(fingerprint).to_string(),
        computed_at: answer.computed_at,
        since: answer.computed_at - length,
        window,
        filter: Json(filter.queue().filter().echo()),
        time_to_assign: answer.times.to_assign.into(),
        time_to_resolve: answer.times.to_resolve.into(),
    })
}
