//! The cursor of a feed: it moves through the log by one change at a time, and never past one that concerns its feed.
//!
//! Until it is live it reads the log: from the ring, and from the database whatever the ring no longer has, however long
//! that is; so there is no seam between backlog and live. Once live it is handed what may concern its feed (`index.rs`),
//! and knows of the rest that it does not. Should that be more than can wait, it reads the log again.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant as Deadline, sleep_until};

use super::feed::{Event, Marker, Placed, Source};
use super::index::{Attached, Interest};
use super::track::Track;
use crate::domain::alert_log::Logged;
use crate::domain::position::{Fingerprint, Position, Resync};
use crate::domain::{Error, Result};

/// How many changes are taken at once, from the ring or from the database.
const BATCH: usize = 500;

/// How a feed begins.
#[derive(Clone)]
pub(super) struct Begin {
    /// The position that the client holds; the present where it holds none.
    pub(super) after: Option<Position>,
    /// Whose set the client must hold there; none for the log itself.
    pub(super) queue: Option<Fingerprint>,
    /// What the feed has to be handed.
    pub(super) interest: Interest,
    /// Where the feed is asked to say again that it is live.
    pub(super) track: Track,
}

/// What comes next.
pub(super) enum Step {
    /// Changes, of which the caller passes each.
    Changes(Vec<Logged>),
    /// A marker at the present position.
    Marker(Marker),
    /// Users, groups or members are others now: the caller may see or mean something else.
    Accounts,
}

/// A cursor in the log that moves by one change at a time.
pub(super) struct Tail {
    pub(super) source: Arc<Source>,
    /// Everything that concerns the feed up to here was handed to the caller.
    pub(super) position: Position,
    head: watch::Receiver<u64>,
    accounts: watch::Receiver<u64>,
    backlog_end: u64,
    live: bool,
    next_heartbeat: Deadline,
    interest: Interest,
    attached: Option<Attached>,
    /// What was read, while a marker goes before it.
    held: Vec<Logged>,
    track: Track,
}

impl Tail {
    /// Starts at a position that a client holds, if the stream can go on from there; else says why not. Inside the ring
    /// this asks the database nothing; at the present it asks where the log ends, once for all who start at the same time.
    pub(super) async fn start(
        source: Arc<Source>,
        begin: Begin,
    ) -> Result<Result<Box<Self>, Placed<std::convert::Infallible>>> {
        let Begin { after, queue, interest, track } = begin;
        let mut accounts = source.hub.watch_accounts();
        let known = *accounts.borrow();
        if track.vouched().is_some_and(|vouched| vouched != known) {
            accounts.mark_changed();
        }
        let start = match after {
            Some(held) => {
                // The client may have read it on a node that was further.
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
            // Another tail of the same stream need not ask again.
            track.vouch(known);
        }
        Ok(match start {
            Err((held, reason)) => Err(Placed { position: held, event: Event::Resync(reason) }),
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

    /// The next changes, or a marker. The caller passes each change before it asks again.
    pub(super) async fn next(&mut self) -> Result<Step> {
        loop {
            if self.accounts.has_changed().unwrap_or_default() {
                self.accounts.borrow_and_update();
                return Ok(Step::Accounts);
            }
            if !self.live && self.position.offset >= self.backlog_end {
                self.live = true;
                return Ok(Step::Marker(Event::Live));
            }
            self.head.borrow_and_update();
            let changes = self.read().await?;
            if let Some(next) = changes.first() {
                if self.answers_before(next.offset() - 1) {
                    self.held = changes;
                    return Ok(Step::Marker(Event::Live));
                }
                return Ok(Step::Changes(changes));
            }
            if self.live && self.track.answers(self.position.offset) {
                return Ok(Step::Marker(Event::Live));
            }
            if Deadline::now() >= self.next_heartbeat {
                self.next_heartbeat = Deadline::now() + self.source.heartbeat;
                return Ok(Step::Marker(Event::Heartbeat));
            }
            match &self.attached {
                // Nearly all tails wait here, for days.
                Some(attached) if !self.track.is_asked() => {
                    tokio::select! {
                        () = sleep_until(self.next_heartbeat) => {}
                        () = self.track.asked() => {}
                        // Not seen yet: the next look at the accounts does that.
                        Ok(()) = self.accounts.changed() => self.accounts.mark_changed(),
                        () = attached.filled() => {}
                    }
                }
                _ => Box::pin(self.log_moves()).await?,
            }
        }
    }

    /// Resolves when there may be something to see for a tail that reads the log.
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

    /// Takes note that the caller has had this change.
    pub(super) fn pass(&mut self, change: &Logged) {
        self.position = Position { offset: change.offset(), check: change.check(), ..self.position };
    }

    /// Whether somebody asked for `live`, and the place before the next change will do: then the tail stands there.
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
            // The end first: what concerns this feed up to there lies in the tray by now.
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
            // On the heap while it lasts: mostly a tail waits.
            None => Box::pin(self.read_database()).await?,
        };
        if !self.live {
            // `live` stands exactly between the backlog and what came after the stream began.
            changes.retain(|change| change.offset() <= self.backlog_end);
        }
        Ok(changes)
    }
}

impl Tail {
    async fn read_database(&self) -> Result<Vec<Logged>> {
        let reader = self.source.store.read().await?;
        // The relay finds out too, but this may be before it: nothing of another life of the log is told.
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

/// Where a stream begins and how far its backlog reaches; or the position that was held, and why it cannot be gone on
/// from: no newer one, from which the client would go on without what it has missed.
type Start = Result<(Position, u64), (Position, Resync)>;

/// From what this node holds in memory; none where that does not reach.
fn from_ring(source: &Source, held: Position, queue: Option<Fingerprint>) -> Option<Start> {
    // The place first: the end only grows, so it is not before a place that was there.
    let here = source.hub.place(held.offset)?;
    let known = source.hub.known();
    Some(match refusal(held, queue, known.end, known.floor, Some(here)) {
        None => Ok((Position { queue: None, ..held }, source.hub.present())),
        Some(reason) => Err((held, reason)),
    })
}

async fn from_database(source: &Source, after: Option<Position>, queue: Option<Fingerprint>) -> Result<Start> {
    let reader = source.store.read().await?;
    let head = reader.head().await?;
    let end = head.position();
    let Some(held) = after else { return Ok(Ok((end, end.offset))) };
    let here = match held.epoch == head.epoch {
        true => reader.position_at(&head, held.offset).await?,
        false => None,
    };
    Ok(match refusal(held, queue, end, head.floor, here) {
        None => Ok((Position { queue: None, ..held }, end.offset)),
        Some(reason) => Err((held, reason)),
    })
}

/// Why a stream cannot go on from a position, if it cannot (product §7 has the whole list). `end` is the end of the log
/// and `here` what the log says of the place that is held.
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
    if let Some(queue) = queue {
        match held.queue {
            Some(held) if held.filter == queue.filter && held.scope == queue.scope => {}
            Some(held) if held.filter == queue.filter => return Some(Resync::Scope),
            _ => return Some(Resync::Filter),
        }
    }
    if held.offset > end.offset {
        return Some(Resync::Ahead);
    }
    // The log itself keeps every change of its epoch: only a queue's stream has a floor.
    if queue.is_some() && held.offset < floor {
        return Some(Resync::BelowFloor);
    }
    match here {
        Some(here) if here.check == held.check => None,
        _ => Some(Resync::Epoch),
    }
}
