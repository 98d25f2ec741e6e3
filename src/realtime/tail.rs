//! The cursor of a feed: it moves through the log by one change at a time, and never past a change that concerns its
//! feed.
//!
//! Until it is live it reads every change of the log: from the ring, or from the database once the ring no longer holds
//! them. So there is no seam between backlog and live. Once live it has a mailbox (`index.rs`) that receives every
//! change that may concern its feed; it skips all other changes. If the mailbox overflows, it reads the log again.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant as Deadline, sleep_until};

use super::feed::{Event, EventAt, FeedSource, Marker};
use super::index::{Attached, Interest};
use super::track::Track;
use crate::domain::alert_log::Logged;
use crate::domain::position::{Fingerprint, Position, Resync};
use crate::domain::{Error, Result};

/// The most changes that one read takes, from the ring or from the database.
const BATCH: usize = 500;

/// The parameters with which a feed begins.
#[derive(Clone)]
pub(super) struct Begin {
    /// The position that the client holds; `None` starts at the present.
    pub(super) after: Option<Position>,
    /// The queue of the stream, to which a position that names a queue must belong; `None` for a stream of the log
    /// itself.
    pub(super) queue: Option<Fingerprint>,
    /// Which changes the feed must receive.
    pub(super) interest: Interest,
    /// Carries the requests to send `live` again.
    pub(super) track: Track,
}

/// The next thing that a cursor yields.
pub(super) enum TailStep {
    /// Changes. The caller passes each of them ([`Tail::pass`]).
    Changes(Vec<Logged>),
    /// A marker at the present position.
    Marker(Marker),
    /// Users, groups or members have changed, so the caller may see something else or mean something else by the
    /// filter.
    Accounts,
}

/// A cursor in the log that moves by one change at a time.
pub(super) struct Tail {
    pub(super) source: Arc<FeedSource>,
    /// The position up to which the caller has received everything that concerns the feed.
    pub(super) position: Position,
    head: watch::Receiver<u64>,
    accounts: watch::Receiver<u64>,
    backlog_end: u64,
    live: bool,
    next_heartbeat: Deadline,
    interest: Interest,
    attached: Option<Attached>,
    /// The changes that were read while a marker goes first.
    held: Vec<Logged>,
    track: Track,
}

impl Tail {
    /// Starts at a position that a client holds, or returns the reason why the stream cannot continue from there.
    /// Inside the ring this needs no query. At the present it asks for the log's end; concurrent starts share that
    /// query.
    pub(super) async fn start(
        source: Arc<FeedSource>,
        begin: Begin,
    ) -> Result<Result<Box<Self>, EventAt<std::convert::Infallible>>> {
        let Begin { after, queue, interest, track } = begin;
        let mut accounts = source.hub.watch_accounts();
        let known = *accounts.borrow();
        if track.vouched().is_some_and(|vouched| vouched != known) {
            accounts.mark_changed();
        }
        let start = match after {
            Some(held) => {
                // The client may have read the position on a node that had read further.
                if held.epoch == source.hub.known().end.epoch {
                    source.hub.comes_to(held.offset).await;
                }
                from_ring(&source, held, queue)
            }
            None => source.hub.present_end(&source.store).await.map(|end| Ok((end, end.offset))),
        };
        let start = match start {
            Some(start) => start,
            None => from_database(&source, after, queue).await?,
        };
        if track.vouched().is_some() {
            // Another tail of the same stream need not check the caller again.
            track.vouch(known);
        }
        Ok(match start {
            Err((held, reason)) => Err(EventAt { position: held, event: Event::Resync(reason) }),
            Ok((position, backlog_end)) => Ok(Box::new(Self {
                head: source.hub.watch(),
                accounts,
                backlog_end,
                live: false,
                next_heartbeat: Deadline::now() + source.heartbeat,
                position,
                interest,
                attached: None,
                held: Vec::new(),
                track,
                source,
            })),
        })
    }

    /// Returns the next changes, or a marker. The caller passes each change before it calls again.
    pub(super) async fn next(&mut self) -> Result<TailStep> {
        loop {
            if self.accounts.has_changed().unwrap_or_default() {
                self.accounts.borrow_and_update();
                return Ok(TailStep::Accounts);
            }
            if !self.live && self.position.offset >= self.backlog_end {
                self.live = true;
                return Ok(TailStep::Marker(Event::Live));
            }
            self.head.borrow_and_update();
            let changes = self.read().await?;
            if let Some(next) = changes.first() {
                if self.answers_before(next.offset() - 1) {
                    self.held = changes;
                    return Ok(TailStep::Marker(Event::Live));
                }
                return Ok(TailStep::Changes(changes));
            }
            if self.live && self.track.answers(self.position.offset) {
                return Ok(TailStep::Marker(Event::Live));
            }
            if Deadline::now() >= self.next_heartbeat {
                self.next_heartbeat = Deadline::now() + self.source.heartbeat;
                return Ok(TailStep::Marker(Event::Heartbeat));
            }
            match &self.attached {
                // Nearly all tails wait here, for days.
                Some(attached) if !self.track.is_asked() => {
                    tokio::select! {
                        () = sleep_until(self.next_heartbeat) => {}
                        () = self.track.asked() => {}
                        // Keep the change marked as unseen: the check at the start of the loop sees it.
                        Ok(()) = self.accounts.changed() => self.accounts.mark_changed(),
                        () = attached.filled() => {}
                    }
                }
                _ => Box::pin(self.log_moves()).await?,
            }
        }
    }

    /// Waits until a tail that reads the log may have something to do.
    async fn log_moves(&mut self) -> Result<()> {
        tokio::select! {
            () = sleep_until(self.next_heartbeat) => {}
            () = self.track.asked() => {}
            Ok(()) = self.accounts.changed() => self.accounts.mark_changed(),
            () = filled(&self.attached) => {}
            changed = self.head.changed() => changed.map_err(|error| Error::fault("following the log", error))?,
        }
        Ok(())
    }

    /// Moves the cursor past a change that the caller has received.
    pub(super) fn pass(&mut self, change: &Logged) {
        self.position = Position { offset: change.offset(), check: change.check(), ..self.position };
    }

    /// Answers a request for `live` if the position before the next change satisfies it, and moves the cursor there.
    fn answers_before(&mut self, offset: u64) -> bool {
        if !self.live || !self.track.is_asked() {
            return false;
        }
        let Some(place) = self.source.hub.place(offset) else { return false };
        let answers = self.track.answers(offset);
        if answers {
            self.position = Position { offset, check: place.check, ..self.position };
        }
        answers
    }

    async fn read(&mut self) -> Result<Vec<Logged>> {
        if !self.held.is_empty() {
            return Ok(std::mem::take(&mut self.held));
        }
        if self.live && self.attached.is_none() {
            self.attached = self.source.hub.attach(&self.interest, self.position.offset);
        }
        if let Some(attached) = &self.attached {
            // Read the end first: every change up to it that concerns this feed is in the mailbox by now.
            let end = self.source.hub.known().end;
            match attached.take() {
                Some(changes) if changes.is_empty() => {
                    self.position = Position { offset: end.offset, check: end.check, ..self.position };
                    return Ok(changes);
                }
                Some(changes) => return Ok(changes),
                None => self.attached = None,
            }
        }
        let mut changes = match self.source.hub.after(self.position.offset, BATCH) {
            Some(changes) => changes,
            // Boxed so that its memory is freed after the read: most of the time a tail only waits.
            None => Box::pin(self.read_database()).await?,
        };
        if !self.live {
            // `live` stands exactly between the backlog and the changes that came after the stream began.
            changes.retain(|change| change.offset() <= self.backlog_end);
        }
        Ok(changes)
    }
}

impl Tail {
    async fn read_database(&self) -> Result<Vec<Logged>> {
        let reader = self.source.store.read().await?;
        // The relay finds this out too, but perhaps later. No change of another log may reach a client.
        let Some(head) = reader.head_from(&self.position).await? else {
            return Err(Error::fault("following the log", "it is not the one that was followed"));
        };
        let changes = reader.log_after(&head, self.position.offset, BATCH as u64).await?;
        changes.ok_or_else(|| Error::fault("following the log", "a position is missing before its end"))
    }
}

async fn filled(attached: &Option<Attached>) {
    match attached {
        Some(attached) => attached.filled().await,
        None => std::future::pending().await,
    }
}

/// The position where a stream begins and the offset to which its backlog reaches; or the refused position as the
/// client held it, and the reason. It is never a newer one: a client that resumed from it would miss changes.
type Start = Result<(Position, u64), (Position, Resync)>;

/// Decides from memory; returns `None` if the ring does not reach back to the position.
fn from_ring(source: &FeedSource, held: Position, queue: Option<Fingerprint>) -> Option<Start> {
    // Read the position first: the log's end only grows, so the end that is read next is not before it.
    let here = source.hub.place(held.offset)?;
    let known = source.hub.known();
    Some(match refusal(held, queue, known.end, known.floor, Some(here)) {
        None => Ok((Position { queue: None, ..held }, source.hub.present())),
        Some(reason) => Err((held, reason)),
    })
}

async fn from_database(source: &FeedSource, after: Option<Position>, queue: Option<Fingerprint>) -> Result<Start> {
    let reader = source.store.read().await?;
    let head = reader.head().await?;
    let end = head.position();
    let Some(held) = after else { return Ok(Ok((end, end.offset))) };
    let here = if held.epoch == head.epoch { reader.position_at(&head, held.offset).await? } else { None };
    Ok(match refusal(held, queue, end, head.floor, here) {
        None => Ok((Position { queue: None, ..held }, end.offset)),
        Some(reason) => Err((held, reason)),
    })
}

/// Returns the reason why a stream cannot continue from a position, or `None` (docs/PRODUCT.md, P59 lists all reasons).
/// `end` is the end of the log; `here` is the position in the log at the offset that the client holds.
fn refusal(
    held: Position,
    queue: Option<Fingerprint>,
    end: Position,
    floor: u64,
    here: Option<Position>,
) -> Option<Resync> {
    if held.epoch != end.epoch {
        return Some(Resync::Epoch);
    }
    // The position of a mutation or of the log names no queue, so it asserts no set that could be another.
    if let (Some(queue), Some(claim)) = (queue, held.queue) {
        if claim.fingerprint.filter != queue.filter {
            return Some(Resync::Filter);
        }
        if claim.fingerprint.scope != queue.scope {
            return Some(Resync::Scope);
        }
    }
    if held.offset > end.offset {
        return Some(Resync::Ahead);
    }
    // The log keeps every change of its epoch, so only a queue's stream has a floor.
    if queue.is_some() && held.offset < floor {
        return Some(Resync::BelowFloor);
    }
    match here {
        Some(here) if here.check == held.check => None,
        _ => Some(Resync::Epoch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::QueueClaim;

    fn at(offset: u64) -> Position {
        Position { epoch: uuid::Uuid::from_u128(1), offset, check: [offset as u8; 8], queue: None }
    }

    fn queue(filter: u8, scope: u8) -> Fingerprint {
        Fingerprint { filter: [filter; 8], scope: [scope; 8] }
    }

    #[test]
    fn each_position_continues_or_says_why_it_does_not() {
        let without_set = |fingerprint| QueueClaim { fingerprint, holds_set: false };
        let of_queue = at(6).of_queue(queue(1, 1));
        // For a stream of the queue (1, 1), and for a stream of the log.
        let table = [
            ("a page", of_queue, None, None),
            ("a stream without the set", at(6).claiming(without_set(queue(1, 1))), None, None),
            ("a mutation", at(6), None, None),
            ("another filter", at(6).of_queue(queue(2, 1)), Some(Resync::Filter), None),
            ("another filter, without the set", at(6).claiming(without_set(queue(2, 1))), Some(Resync::Filter), None),
            ("another caller", at(6).of_queue(queue(1, 2)), Some(Resync::Scope), None),
            ("another caller, without the set", at(6).claiming(without_set(queue(1, 2))), Some(Resync::Scope), None),
            ("the floor", at(5), None, None),
            ("below the floor", at(4), Some(Resync::BelowFloor), None),
            ("below the floor, of the queue", at(4).of_queue(queue(1, 1)), Some(Resync::BelowFloor), None),
            ("beyond the end", at(10), Some(Resync::Ahead), Some(Resync::Ahead)),
            ("rewound", Position { check: [0; 8], ..of_queue }, Some(Resync::Epoch), Some(Resync::Epoch)),
            ("rewound, a mutation", Position { check: [0; 8], ..at(6) }, Some(Resync::Epoch), Some(Resync::Epoch)),
            ("another life", Position { epoch: uuid::Uuid::nil(), ..at(6) }, Some(Resync::Epoch), Some(Resync::Epoch)),
        ];
        for (what, held, by_queue, by_log) in table {
            let here = (held.offset <= 9).then(|| at(held.offset));
            assert_eq!(refusal(held, Some(queue(1, 1)), at(9), 5, here), by_queue, "{what}, for a queue");
            assert_eq!(refusal(held, None, at(9), 5, here), by_log, "{what}, for the log");
        }
    }
}
