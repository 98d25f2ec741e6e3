//! One client's subscription, from the request to its end: alone where it has to be, in a group wherever it can.
//!
//! However often it changes between the two, the client sees one stream: items ascend by position, none is left out, none
//! comes twice, and `live` comes once. Alone means a stream of its own, from the place where the client stands. A stream of
//! its own sees to its caller's rights itself; a member's are looked at here, as the group knows one caller only.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::asked::{self, Asked, Key, Reading, Start};
use super::endpoint::Endpoint;
use super::gate::StreamGate;
use super::group::{Claim, Entry, FOUNDING_WAIT, Frame, Item, Member, Said, Source, Standing, Turn, understood};
use super::operation::Ready;
use super::routes::Served;
use crate::domain::position::Position;
use crate::domain::{Code, Result};
use crate::graphql::error::{code_of, present, refuse};
use crate::realtime::track::{Kind, Track};

/// The time between two looks at a caller that could not be looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// So many frames of backlog make a founder give up: others should not wait for its past.
const FOUNDING_FRAMES: usize = 64;

/// A subscription on its way to one client.
pub(crate) struct Following<E: Endpoint> {
    served: Arc<Served<E>>,
    asked: Arc<Asked>,
    /// Whom the request named.
    account: Option<String>,
    viewer: E::Viewer,
    callers: Option<watch::Receiver<u64>>,
    /// Whether callers have changed since this one was last looked at.
    stale: bool,
    key: Option<Key>,
    /// The client has everything up to here; none where it begins at the present.
    at: Option<Position>,
    /// Whether `at` is the client's own claim, which nobody has held against the log yet.
    claimed: bool,
    /// Whether the client has had its `live`.
    live: bool,
    /// Whether the client has had anything: from then on nothing is refused any more.
    spoken: bool,
    /// Whether each item is all there is to know: there is no place to go on from then.
    is_of_states: bool,
    /// Whether the caller is another by now than the one that the stream was asked for.
    doubted: bool,
    way: Way,
}

enum Way {
    Start,
    Alone(Box<Alone>),
    Member(Box<Member>),
    /// It cannot go on, and its client is to come back.
    Broken,
    Ended,
}

/// A stream of its own.
struct Alone {
    source: Source,
    gate: StreamGate,
    /// The right to make a group of it, with what it has said so far.
    claim: Option<(Claim, VecDeque<Frame>)>,
    /// Where it began, if not at the present.
    from: Option<u64>,
    /// Whether this stream has said for itself that its backlog is done, which its client may have heard long ago from
    /// another.
    live: bool,
}

impl<E: Endpoint> Following<E> {
    /// Starts nothing yet. `account` is whom the request names, `ready` what it asks for.
    pub(crate) fn new(served: &Arc<Served<E>>, account: Option<String>, ready: Ready<E::Viewer>) -> Self {
        Self::after(served, account, ready, None)
    }

    /// The same from where the transport says that the client is, whatever the document says.
    pub(crate) fn after(
        served: &Arc<Served<E>>,
        account: Option<String>,
        ready: Ready<E::Viewer>,
        last: Option<&str>,
    ) -> Self {
        let endpoint = &served.endpoint;
        let last = last.filter(|_| endpoint.resumes(asked::root(&ready)));
        let scope = |viewer: &E::Viewer, words: &asked::Words| endpoint.scope(viewer, words);
        let Reading { asked, viewer, start, key } = asked::read(ready, last, scope);
        let at = match start {
            Start::After(position) => Some(position),
            Start::Present | Start::Unreadable => None,
        };
        let callers = endpoint.changes_of_callers();
        // What changed since the caller was let in would go unseen otherwise.
        let stale = callers.is_some();
        Self {
            served: served.clone(),
            asked: Arc::new(asked),
            account,
            viewer,
            callers,
            stale,
            key,
            at,
            claimed: true,
            live: false,
            spoken: false,
            is_of_states: false,
            doubted: false,
            way: Way::Start,
        }
    }

    /// The next item; after a refusal and after the end there is none.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>> {
        loop {
            match &mut self.way {
                Way::Start => self.start().await,
                Way::Member(member) => {
                    let turn = tokio::select! {
                        // Before what is there to be given: it may be no longer for this caller.
                        biased;
                        () = changed(&mut self.callers) => None,
                        turn = member.turn() => Some(turn),
                    };
                    let standing = member.standing();
                    match turn {
                        Some(Turn::Item(item)) => {
                            if matches!(item, Item::Refused(_) | Item::Broken) {
                                self.way = Way::Ended;
                            }
                            return Ok(Some(item));
                        }
                        Some(Turn::Behind) => self.go_on_from(standing),
                        Some(Turn::Ended) => self.way = Way::Ended,
                        None => {
                            self.stale = true;
                            self.go_on_from(standing);
                        }
                    }
                }
                Way::Alone(alone) => {
                    let said = tokio::select! {
                        biased;
                        said = alone.source.stream.next() => said,
                        refusal = alone.gate.turned_away() => {
                            self.way = Way::Ended;
                            return Ok(Some(Item::Refused(refuse(refusal).errors.into())));
                        }
                    };
                    match said {
                        Some(said) => {
                            if let Some(item) = self.hear(said)? {
                                return Ok(Some(item));
                            }
                        }
                        None => self.way = Way::Ended,
                    }
                }
                Way::Broken => {
                    self.way = Way::Ended;
                    return Ok(Some(Item::Broken));
                }
                Way::Ended => return Ok(None),
            }
        }
    }

    /// Where the client stands with the item that it was given last; none, while it has none of a log.
    pub(crate) fn position(&self) -> Option<Position> {
        match &self.way {
            Way::Member(member) if !self.is_of_states => member.standing().at,
            _ => self.at,
        }
    }

    /// The member of a group that this is at present, for one who takes its frames from there directly.
    pub(crate) fn take_member(&mut self) -> Option<Box<Member>> {
        match std::mem::replace(&mut self.way, Way::Ended) {
            Way::Member(member) => Some(member),
            other => {
                self.way = other;
                None
            }
        }
    }

    /// Goes on where a member stood that its group has left behind, or that has left its group.
    pub(crate) fn go_on_from(&mut self, standing: Standing) {
        self.way = Way::Start;
        match self.is_of_states {
            // From the next state.
            true => self.live = false,
            false => (self.at, self.live, self.claimed) = (standing.at, standing.backlog_end.is_none(), false),
        }
    }

    /// Resolves when a member is to leave its group, for its caller to be looked at before it is given anything more.
    pub(crate) async fn callers_changed(&mut self) {
        changed(&mut self.callers).await;
        self.stale = true;
    }

    /// Finds out whether the caller may still share what it asked for. One who does not wait for the answer leaves it stale.
    async fn look_at_caller(&mut self) {
        match self.served.endpoint.admit(self.account.clone()).await {
            Ok(viewer) => {
                self.stale = false;
                // What could not be shared then is not to be shared now.
                let scope = self.key.and_then(|_| self.served.endpoint.scope(&viewer, self.asked.words()));
                let key = scope.map(|scope| self.asked.key(&scope));
                match self.spoken {
                    false => (self.viewer, self.key) = (viewer, key),
                    true => self.doubted = key != self.key,
                }
            }
            Err(error) if error.code() == Code::Unauthenticated => self.doubted = true,
            // A database that does not answer says nothing about the caller: it is asked again.
            Err(error) => {
                tracing::warn!(%error, "a caller could not be looked at, trying again");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    fn standing(&self) -> Standing {
        match self.live {
            true => Standing { at: self.at, backlog_end: None },
            false => Standing::before_live(self.at, self.served.endpoint.present()),
        }
    }

    async fn start(&mut self) {
        if let Some(callers) = &mut self.callers
            && callers.has_changed().unwrap_or_default()
        {
            self.stale = true;
        }
        // Before the look, so that a change during it counts as one after it.
        let accounts = self.callers.as_mut().map(|callers| *callers.borrow_and_update());
        while self.stale && !self.doubted {
            self.look_at_caller().await;
            // One who has had nothing yet is refused, if it is to be, by a stream of its own.
            if !self.spoken {
                break;
            }
        }
        if self.doubted && self.is_of_states {
            // It has had a state of what it may no longer ask for, and there is no place to say so at.
            self.way = Way::Broken;
            return;
        }
        if self.stale || self.doubted {
            self.key = None;
        }
        let mut claim = None;
        let vouched = !self.claimed || self.at.is_none_or(|at| self.served.endpoint.vouches(&at));
        if let Some(key) = self.key.filter(|_| vouched) {
            let mut waited = false;
            loop {
                match self.served.groups.enter(key, self.standing()) {
                    Entry::Member(member) => return self.become_member(member),
                    Entry::Claimed(mut decided) if !waited => {
                        waited = true;
                        // The claim's end is the decision, so there is never a change to see.
                        if timeout(FOUNDING_WAIT, decided.changed()).await.is_err() {
                            tracing::debug!("the founder of a group takes long, following alone");
                        }
                    }
                    Entry::Vacant(vacant) => {
                        claim = Some((vacant, VecDeque::new()));
                        break;
                    }
                    Entry::Claimed(_) | Entry::Unreached => break,
                }
            }
        }
        let track = Track::default();
        match accounts {
            _ if self.doubted || self.stale => track.doubt(),
            Some(accounts) => track.vouch(accounts),
            None => {}
        }
        let request =
            self.asked.request(self.at).data(self.viewer.clone()).data(track.clone()).data(self.asked.written());
        let asked = self.asked.clone();
        let principal = self.served.endpoint.principal(&self.viewer);
        let gate = self.served.work.gate(principal, self.asked.effort(), self.spoken);
        let stream = self.served.endpoint.execute_stream(request, Box::new(gate.clone()));
        let responses = stream.map(move |response| asked.settled(response));
        let source = Source { stream: understood(Box::pin(responses)), track };
        self.served.groups.counters().count_alone();
        let from = self.at.map(|at| at.offset);
        self.way = Way::Alone(Box::new(Alone { source, gate, claim, from, live: false }));
    }

    fn become_member(&mut self, mut member: Member) {
        self.spoken = true;
        self.is_of_states = member.is_of_states();
        match self.asked.is_spelled_like(member.asked()) {
            // One in memory for all.
            true => self.asked = member.asked().clone(),
            false => member.reads_places_of(self.asked.clone()),
        }
        self.way = Way::Member(Box::new(member));
    }

    /// Takes what the stream of its own says; tells what of it is for the client.
    fn hear(&mut self, said: Said) -> Result<Option<Item>> {
        let Way::Alone(mut alone) = std::mem::replace(&mut self.way, Way::Ended) else { return Ok(None) };
        let response = match said {
            Said::Response(response) => response,
            // async-graphql yields a subscription that it refuses as its first item.
            Said::Broken(response) => {
                let errors = present(response).errors;
                let may_pass = errors.first().and_then(code_of) == Some(Code::Unavailable.as_str());
                let refused = !self.spoken && !may_pass;
                return Ok(Some(if refused { Item::Refused(errors.into()) } else { Item::Broken }));
            }
        };
        self.spoken = true;
        alone.gate.begin();
        let frame = Frame::of(response, &alone.source.track, self.served.groups.counters())?;
        let item = frame.item.clone();
        let place = match frame.place {
            Some(place) if place.kind != Kind::Resync => place,
            // Nothing comes after a resync; and what has no place cannot be shared.
            _ => {
                alone.claim = None;
                self.key = None;
                self.way = Way::Alone(alone);
                return Ok(Some(item));
            }
        };
        let is_second_live = place.kind == Kind::Live && self.live;
        alone.live |= matches!(place.kind, Kind::Live | Kind::State);
        self.live |= alone.live;
        self.is_of_states = place.kind == Kind::State;
        if !self.is_of_states {
            (self.at, self.claimed) = (Some(place.position), false);
        }
        self.share(alone, frame, place.position.offset);
        Ok((!is_second_live).then_some(item))
    }

    /// Goes on in a group, where there is one that reaches here, or where this stream can be made one.
    fn share(&mut self, mut alone: Box<Alone>, frame: Frame, offset: u64) {
        let Some(key) = self.key else {
            self.way = Way::Alone(alone);
            return;
        };
        let (claim, mut said) = match alone.claim.take() {
            Some((claim, said)) => (claim, said),
            None => match self.served.groups.enter(key, self.standing()) {
                Entry::Member(member) => return self.become_member(member),
                Entry::Vacant(claim) if alone.live => {
                    // What it said before has gone.
                    alone.from = Some(offset);
                    (claim, VecDeque::new())
                }
                Entry::Vacant(_) | Entry::Claimed(_) | Entry::Unreached => {
                    self.way = Way::Alone(alone);
                    return;
                }
            },
        };
        said.push_back(frame);
        // Others who come at the present would have to wait for the rest of the backlog.
        if alone.live {
            let from = alone.from.unwrap_or(offset);
            let Alone { source, gate, .. } = *alone;
            match claim.found(self.asked.clone(), source, from, said) {
                Ok(member) => self.become_member(member),
                Err(source) => {
                    let alone = Alone { source: *source, gate, claim: None, from: None, live: true };
                    self.way = Way::Alone(Box::new(alone));
                }
            }
            return;
        }
        if said.len() < FOUNDING_FRAMES {
            alone.claim = Some((claim, said));
        }
        self.way = Way::Alone(alone);
    }
}

/// Resolves at the next change of callers, one that nobody has looked at yet included.
async fn changed(callers: &mut Option<watch::Receiver<u64>>) {
    let known = match callers {
        Some(callers) => callers.changed().await.is_ok(),
        None => false,
    };
    if !known {
        std::future::pending::<()>().await;
    }
}
