//! The stream of a queue's summary: its state now, then the newest state whenever numbers have moved.
//!
//! A tally starts from the board, or from one snapshot if the board does not know all of it. The rows before and after
//! each later change, checked against the filter, update it. It is taken anew at a later position when the day that it
//! counts is over, when so many of the oldest incidents have left that the oldest is not known, or when there are too
//! many tags to keep their counts. States that come too fast for a reader are left out, except the last state.

use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use futures_util::Stream;
use tokio::time::{Instant as Deadline, sleep_until};

use super::START_WAIT;
use super::board::{BoardRows, covers};
use super::feed::{Event, FeedSource, is_another, verdicts};
use super::index::Interest;
use super::tail::{Begin, Tail, TailStep};
use super::track::Track;
use crate::domain::account::Actor;
use crate::domain::alert_log::Logged;
use crate::domain::clock::Clock;
use crate::domain::held_filter::HeldFilter;
use crate::domain::position::Position;
use crate::domain::summary::{Numbers, Summary, SummaryFilter, Tally, TallyUse, Window};
use crate::domain::{Error, Instant, Result};

/// The most states that one stream sends in a second (docs/PRODUCT.md, P62): nobody reads numbers faster.
pub const STATES_PER_SECOND_MAX: u32 = 4;

/// The least time between two states.
const PAUSE: Duration = Duration::from_millis(1_000 / STATES_PER_SECOND_MAX as u64);

/// How often a quiet stream checks whether the day that it counts is over.
const LOOK: Duration = Duration::from_secs(5);

/// The request of a summary stream.
#[derive(Clone, Debug)]
pub struct SummaryRequest {
    /// The caller.
    pub actor: Actor,
    /// The incidents that are counted.
    pub filter: SummaryFilter,
    /// The time since when creations and resolutions are counted.
    pub window: Window,
}

/// Follows the numbers of a queue: sends the state now, then the newest state after changes of numbers, at most
/// [`STATES_PER_SECOND_MAX`] a second, and at each heartbeat. Each state has the position up to which it counts
/// everything.
///
/// A request in the track is answered with the state, in its turn, once everything up to the requested offset was
/// counted.
///
/// Numbers that are not asked for stay 0 or empty.
pub fn follow(
    source: FeedSource,
    clock: Clock,
    asked: SummaryRequest,
    numbers: Numbers,
    track: Track,
) -> impl Stream<Item = Result<(Position, Summary)>> + Send + 'static {
    try_stream! {
        // Each read is boxed, so that its memory is freed after it: most of the time a stream only waits.
        let mut kept = Box::pin(KeptTally::take(Arc::new(source), &clock, &asked, numbers, &track)).await?;
        loop {
            let Some(summary) = kept.tally.summary() else {
                match Box::pin(KeptTally::take(kept.tail.source.clone(), &clock, &asked, numbers, &track)).await {
                    Ok(anew) => kept = anew,
                    // All streams of a busy desk may ask at once.
                    Err(Error::Busy) => sleep_until(Deadline::now() + PAUSE).await,
                    Err(error) => Err(error)?,
                }
                continue;
            };
            yield (kept.tail.position, summary);
            let due = Deadline::now() + PAUSE;
            let is_out_of_date = Box::pin(kept.next(&clock, &asked, due)).await?;
            if is_out_of_date {
                match Box::pin(KeptTally::take(kept.tail.source.clone(), &clock, &asked, numbers, &track)).await {
                    Ok(anew) => kept = anew,
                    // Midnight comes for all streams at once. The present tally stays exact for the day that it names,
                    // and the next step tries again.
                    Err(Error::Busy) => {}
                    Err(error) => Err(error)?,
                }
            }
        }
    }
}

/// A tally, and the cursor in the log that keeps it up to date.
struct KeptTally {
    tally: Tally,
    tail: Box<Tail>,
    /// The filter of the counted incidents, without its condition on the status.
    any_status: HeldFilter,
    /// Whether the tail has sent its own first `live` marker. The state was sent before it.
    is_begun: bool,
}

impl KeptTally {
    /// Takes the tally of the present.
    async fn take(
        source: Arc<FeedSource>,
        clock: &Clock,
        asked: &SummaryRequest,
        numbers: Numbers,
        track: &Track,
    ) -> Result<Box<Self>> {
        let since = asked.window.start(clock.now());
        let (position, tally) = match from_board(&source, &asked.filter, since, numbers).await {
            Some(taken) => taken,
            None => from_database(&source, &asked.filter, since, numbers).await?,
        };
        let interest = Interest::of(asked.filter.any_status());
        let begin = Begin { after: Some(position), queue: None, interest, track: track.clone() };
        match Tail::start(source, begin).await? {
            Ok(tail) => {
                Ok(Box::new(Self { tally, tail, any_status: asked.filter.any_status().held(), is_begun: false }))
            }
            Err(_) => Err(Error::fault("following a summary", "the log went back behind its own end")),
        }
    }

    /// Waits until there is a state to deliver, at least until `due`. `true`: the tally has to be taken anew first.
    async fn next(&mut self, clock: &Clock, asked: &SummaryRequest, mut due: Deadline) -> Result<bool> {
        let mut moved = false;
        let mut look = Deadline::now() + LOOK;
        loop {
            // Count all changes that have arrived, so that no state shows half a transaction; but a busy log must not
            // delay the numbers for ever.
            if moved && Deadline::now() >= due + PAUSE {
                return Ok(false);
            }
            let step = tokio::select! {
                biased;
                step = self.tail.next() => step?,
                () = sleep_until(due), if moved => return Ok(false),
                // A stream that no change concerns is never woken, so it checks for itself whether the day is over.
                () = sleep_until(look) => {
                    if asked.window.start(clock.now()) != self.tally.since() {
                        return Ok(true);
                    }
                    look += LOOK;
                    continue;
                }
            };
            match step {
                TailStep::Changes(changes) => {
                    let of_incidents: Vec<_> = changes.iter().filter_map(Logged::of_incident).cloned().collect();
                    let verdicts = verdicts(&self.tail.source, &asked.actor, &self.any_status, &of_incidents);
                    for (change, (was, is)) in of_incidents.iter().zip(Box::pin(verdicts).await?) {
                        let before = change.before.as_ref().filter(|_| was);
                        let after = Some(&change.body.row).filter(|_| is);
                        if self.tally.follow(before, after)? && !moved {
                            moved = true;
                            due = due.max(Deadline::now());
                        }
                    }
                    changes.iter().for_each(|change| self.tail.pass(change));
                }
                // A silent stream would look like a dead desk, and a client that joins the group waits for the present
                // state.
                TailStep::Marker(Event::Heartbeat | Event::Live) if self.is_begun => moved = true,
                TailStep::Marker(_) => self.is_begun = true,
                TailStep::Accounts => {
                    let held = asked.filter.queue().held();
                    if Box::pin(is_another(&self.tail.source.store, &asked.actor, &held)).await? {
                        return Err(Error::unavailable("your rights or groups have changed, subscribe again"));
                    }
                    // Owners may have other names by now.
                    sleep_until(due).await;
                    return Ok(true);
                }
            }
            if asked.window.start(clock.now()) != self.tally.since() {
                sleep_until(due).await;
                return Ok(true);
            }
        }
    }
}

/// Takes the present tally and its position from the board; `None` if the board does not know all of it.
async fn from_board(
    source: &FeedSource,
    filter: &SummaryFilter,
    since: Instant,
    numbers: Numbers,
) -> Option<(Position, Tally)> {
    if !covers(filter.queue().filter()) {
        return None;
    }
    let (position, accounts) = source.hub.board_now(&source.store, START_WAIT).await?;
    let taken = source.hub.board_at(&position, accounts, |rows, names| {
        if !rows.bears(filter.queue().filter()) {
            return None;
        }
        let flow = if numbers.flow { Some(rows.created_and_resolved(filter, since)?) } else { None };
        let open = rows.open_numbers(filter, numbers, TallyUse::Followed);
        Some(Tally::new(filter.clone(), since, open.named(names, flow)))
    });
    // Other tasks may be waiting for the thread.
    tokio::task::yield_now().await;
    Some((position, taken.flatten()?))
}

/// Takes the tally from a snapshot. If the board is at exactly its position, the database counts only created and
/// resolved.
async fn from_database(
    source: &FeedSource,
    filter: &SummaryFilter,
    since: Instant,
    numbers: Numbers,
) -> Result<(Position, Tally)> {
    let reader = source.store.read().await?;
    let position = reader.head().await?.position();
    let queue = filter.queue().filter();
    let open = if covers(queue) {
        let open = |rows: &BoardRows| rows.bears(queue).then(|| rows.open_numbers(filter, numbers, TallyUse::Followed));
        source.hub.on_board(&position, open).await.flatten()
    } else {
        None
    };
    let tally = match open {
        Some(open) => reader.tally_beside(filter, since, numbers, open).await?,
        None => reader.tally(filter, since, numbers, TallyUse::Followed).await?,
    };
    Ok((position, tally))
}
