//! The subscription of one client, from the request to its end: as a member of a group if possible, otherwise alone.
//!
//! The client sees one stream, however often the subscription changes between the two. Items ascend by position. No
//! item is left out, and no item comes twice. `live` comes once. A subscription that follows alone has a stream of its
//! own, from the position of its client. Such a stream checks the rights of its caller itself. A group knows the caller
//! of its leader only, so this file checks the caller of each member.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::frame::{Frame, Said, StreamItem, TrackedStream, understood};
use super::group::{Claim, FOUNDING_WAIT, GroupEntry, Groups};
use super::group_settings::GroupSettings;
use super::key::ShareKey;
use super::member::{Member, MemberEvent, MemberStanding};
use super::subscription_request::{self, Reading, SubscriptionRequest};
use crate::domain::position::Position;
use crate::domain::{Code, Result};
use crate::graphql::error::{code_of, present, refuse};
use crate::realtime::track::{FrameKind, Track};
use crate::server::execution::executor::Executor;
use crate::server::execution::stream_permits::StreamPermits;
use crate::server::operation::{Ready, endpoint::Endpoint, words::Words};

/// The time between two attempts to check a caller if the database does not answer.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// After this many frames of backlog a leader gives its claim back: other clients should not wait for its backlog.
const FOUNDING_FRAMES: usize = 64;

/// The parts of a server that its subscriptions need.
pub(crate) struct SubscriptionContext<E> {
    endpoint: E,
    executor: Executor,
    groups: Groups,
}

impl<E: Endpoint> SubscriptionContext<E> {
    /// Makes the context of a server that has no groups yet.
    pub(in crate::server) fn new(endpoint: E, executor: Executor, settings: GroupSettings) -> Self {
        Self { endpoint, executor, groups: Groups::new(settings) }
    }
}

/// The subscription of one client.
pub(crate) struct ClientSubscription<E: Endpoint> {
    context: Arc<SubscriptionContext<E>>,
    request: Arc<SubscriptionRequest>,
    /// The account that the request named.
    account: Option<String>,
    viewer: E::Viewer,
    callers: Option<watch::Receiver<u64>>,
    /// Whether users, groups or members have changed since this caller was last checked.
    stale: bool,
    key: Option<ShareKey>,
    /// The client has every item up to this position; `None` if it begins at the present.
    at: Option<Position>,
    /// Whether `at` comes from the client and has not been compared with the log yet.
    claimed: bool,
    /// Whether the client has received its `live`.
    live: bool,
    /// Whether the client has received anything. After that the subscription is not refused any more.
    spoken: bool,
    /// Whether each item is a whole state. Then there is no position to go on from.
    is_of_states: bool,
    /// Whether the caller is suspect: unknown by now, or with other rights than when the stream was asked for.
    doubted: bool,
    way: DeliveryState,
}

enum DeliveryState {
    Start,
    Alone(Box<Alone>),
    Member(Box<Member>),
    /// The subscription cannot go on, and its client has to reconnect.
    Broken,
    Ended,
}

/// A stream for this client alone.
struct Alone {
    source: TrackedStream,
    gate: StreamPermits,
    /// The right to start a group with this stream, and the frames that the stream has yielded so far.
    claim: Option<(Claim, VecDeque<Frame>)>,
    /// The offset where the stream began; `None` if it began at the present.
    from: Option<u64>,
    /// Whether this stream has reached the end of its backlog. The client may have received its `live` earlier, from
    /// another stream.
    live: bool,
}

impl<E: Endpoint> ClientSubscription<E> {
    /// Prepares a subscription and starts nothing yet. `account` is the account that the request names.
    pub(crate) fn new(context: &Arc<SubscriptionContext<E>>, account: Option<String>, ready: Ready<E::Viewer>) -> Self {
        Self::after(context, account, ready, None)
    }

    /// Like [`Self::new`], but goes on after the position that the transport names, whatever the document says.
    pub(crate) fn after(
        context: &Arc<SubscriptionContext<E>>,
        account: Option<String>,
        ready: Ready<E::Viewer>,
        last: Option<&str>,
    ) -> Self {
        let endpoint = &context.endpoint;
        let last = last.filter(|_| endpoint.resumes(subscription_request::root(&ready)));
        let scope = |viewer: &E::Viewer, words: &Words, after| endpoint.scope(viewer, words, after);
        let Reading { request, viewer, start, key } = subscription_request::read(ready, last, scope);
        let callers = endpoint.changes_of_callers();
        // Otherwise a change since the caller was admitted would be missed.
        let stale = callers.is_some();
        Self {
            context: context.clone(),
            request: Arc::new(request),
            account,
            viewer,
            callers,
            stale,
            key,
            at: start.position(),
            claimed: true,
            live: false,
            spoken: false,
            is_of_states: false,
            doubted: false,
            way: DeliveryState::Start,
        }
    }

    /// Returns the next item; `None` after a refusal and after the end.
    pub(crate) async fn next(&mut self) -> Result<Option<StreamItem>> {
        loop {
            match &mut self.way {
                DeliveryState::Start => self.start().await,
                DeliveryState::Member(member) => {
                    let event = tokio::select! {
                        // This comes first: the next item may no longer be for this caller.
                        biased;
                        () = changed(&mut self.callers) => None,
                        event = member.next() => Some(event),
                    };
                    let standing = member.standing();
                    match event {
                        Some(MemberEvent::Item(item)) => {
                            if matches!(item, StreamItem::Refused(_) | StreamItem::Broken) {
                                self.way = DeliveryState::Ended;
                            }
                            return Ok(Some(item));
                        }
                        Some(MemberEvent::Behind) => self.go_on_from(standing),
                        Some(MemberEvent::Ended) => self.way = DeliveryState::Ended,
                        None => {
                            self.stale = true;
                            self.go_on_from(standing);
                        }
                    }
                }
                DeliveryState::Alone(alone) => {
                    let said = tokio::select! {
                        biased;
                        said = alone.source.stream.next() => said,
                        refusal = alone.gate.turned_away() => {
                            self.way = DeliveryState::Ended;
                            return Ok(Some(StreamItem::Refused(refuse(refusal).errors.into())));
                        }
                    };
                    match said {
                        Some(said) => {
                            if let Some(item) = self.hear(said)? {
                                return Ok(Some(item));
                            }
                        }
                        None => self.way = DeliveryState::Ended,
                    }
                }
                DeliveryState::Broken => {
                    self.way = DeliveryState::Ended;
                    return Ok(Some(StreamItem::Broken));
                }
                DeliveryState::Ended => return Ok(None),
            }
        }
    }

    /// Returns the position of the client after its last item; `None` while it has no position in the log.
    pub(crate) fn position(&self) -> Option<Position> {
        match &self.way {
            DeliveryState::Member(member) if !self.is_of_states => member.standing().at,
            _ => self.at,
        }
    }

    /// Takes the member, if this subscription is one now, for a caller that reads the frames from the group directly.
    pub(crate) fn take_member(&mut self) -> Option<Box<Member>> {
        match std::mem::replace(&mut self.way, DeliveryState::Ended) {
            DeliveryState::Member(member) => Some(member),
            other => {
                self.way = other;
                None
            }
        }
    }

    /// Goes on from the place of a member that fell behind the buffer of its group, or that left its group.
    pub(crate) fn go_on_from(&mut self, standing: MemberStanding) {
        self.way = DeliveryState::Start;
        if self.is_of_states {
            // The stream begins again with its next state.
            self.live = false;
        } else {
            self.at = standing.at;
            self.live = standing.backlog_end.is_none();
            self.claimed = false;
        }
    }

    /// Resolves when a member has to leave its group, so that its caller is checked before the next item.
    pub(crate) async fn callers_changed(&mut self) {
        changed(&mut self.callers).await;
        self.stale = true;
    }

    /// Checks whether the caller may still share the stream. If the future is dropped, the caller stays unchecked.
    async fn look_at_caller(&mut self) {
        match self.context.endpoint.admit(self.account.clone()).await {
            Ok(viewer) => {
                self.stale = false;
                // A subscription that could not be shared at first is not shared later.
                let scope = self.key.and_then(|_| self.context.endpoint.scope(&viewer, self.request.words(), self.at));
                let key = scope.map(|scope| self.request.key(&scope));
                if self.spoken { self.doubted = key != self.key } else { (self.viewer, self.key) = (viewer, key) }
            }
            Err(error) if error.code() == Code::Unauthenticated => self.doubted = true,
            // A database that does not answer says nothing about the caller: the check is repeated.
            Err(error) => {
                tracing::warn!(%error, "a caller could not be looked at, trying again");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    fn standing(&self) -> MemberStanding {
        if self.live {
            MemberStanding { at: self.at, backlog_end: None }
        } else {
            MemberStanding::before_live(self.at, self.context.endpoint.present())
        }
    }

    /// Checks the caller again if accounts have changed. Returns the version of the accounts before the check.
    async fn check_caller(&mut self) -> Option<u64> {
        if let Some(callers) = &mut self.callers
            && callers.has_changed().unwrap_or_default()
        {
            self.stale = true;
        }
        // Read before the check, so that a change during the check counts as a change after it.
        let accounts = self.callers.as_mut().map(|callers| *callers.borrow_and_update());
        while self.stale && !self.doubted {
            self.look_at_caller().await;
            // If nothing was sent yet, a stream of its own decides whether to refuse this caller.
            if !self.spoken {
                break;
            }
        }
        accounts
    }

    async fn start(&mut self) {
        let accounts = self.check_caller().await;
        if self.doubted && self.is_of_states {
            // The client has received a state that it may no longer ask for. A state stream has no position to resync
            // at.
            self.way = DeliveryState::Broken;
            return;
        }
        if self.stale || self.doubted {
            self.key = None;
        }
        let mut claim = None;
        let vouched = !self.claimed || self.at.is_none_or(|at| self.context.endpoint.vouches(&at));
        if let Some(key) = self.key.filter(|_| vouched) {
            let mut waited = false;
            loop {
                match self.context.groups.enter(key, self.standing()) {
                    GroupEntry::Member(member) => return self.become_member(member),
                    GroupEntry::Claimed(mut decided) if !waited => {
                        waited = true;
                        // The channel closes with the decision and never reports a change.
                        if timeout(FOUNDING_WAIT, decided.changed()).await.is_err() {
                            tracing::debug!("the founder of a group takes long, following alone");
                        }
                    }
                    GroupEntry::Vacant(vacant) => {
                        claim = Some((vacant, VecDeque::new()));
                        break;
                    }
                    GroupEntry::Claimed(_) | GroupEntry::Unreached => break,
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
            self.request.request(self.at).data(self.viewer.clone()).data(track.clone()).data(self.request.written());
        let asked = self.request.clone();
        let principal = self.context.endpoint.principal(&self.viewer);
        let gate = self.context.executor.permits(principal, self.request.effort());
        if self.spoken {
            gate.begin();
        }
        let stream = self.context.endpoint.execute_stream(request, Box::new(gate.clone()));
        let responses = stream.map(move |(response, place)| (asked.settled(response), place));
        let source = TrackedStream { stream: understood(Box::pin(responses)), track };
        self.context.groups.counters().count_alone();
        let from = self.at.map(|at| at.offset);
        self.way = DeliveryState::Alone(Box::new(Alone { source, gate, claim, from, live: false }));
    }

    fn become_member(&mut self, mut member: Member) {
        self.spoken = true;
        self.is_of_states = member.is_of_states();
        if self.request.is_spelled_like(member.request()) {
            // All members keep one copy of the request in memory.
            self.request = member.request().clone();
        } else {
            member.reads_places_of(self.request.clone());
        }
        self.way = DeliveryState::Member(Box::new(member));
    }

    /// Handles an event of the stream that follows alone; returns the item, if it is for the client.
    fn hear(&mut self, said: Said) -> Result<Option<StreamItem>> {
        let DeliveryState::Alone(mut alone) = std::mem::replace(&mut self.way, DeliveryState::Ended) else {
            return Ok(None);
        };
        let response = match said {
            Said::Response(response) => response,
            // async-graphql yields the refusal of a subscription as its first item.
            Said::Broken(response) => {
                let errors = present(response).errors;
                let may_pass = errors.first().and_then(code_of) == Some(Code::Unavailable.as_str());
                let refused = !self.spoken && !may_pass;
                return Ok(Some(if refused { StreamItem::Refused(errors.into()) } else { StreamItem::Broken }));
            }
        };
        self.spoken = true;
        alone.gate.begin();
        let frame = Frame::of(response, self.context.groups.counters())?;
        let item = frame.item.clone();
        let place = match frame.place {
            Some(place) if place.kind != FrameKind::Resync => place,
            // A resync is the last item. An item without a place cannot be shared.
            _ => {
                alone.claim = None;
                self.key = None;
                self.way = DeliveryState::Alone(alone);
                return Ok(Some(item));
            }
        };
        let is_second_live = place.kind == FrameKind::Live && self.live;
        alone.live |= matches!(place.kind, FrameKind::Live | FrameKind::State);
        self.live |= alone.live;
        self.is_of_states = place.kind == FrameKind::State;
        if !self.is_of_states {
            (self.at, self.claimed) = (Some(place.position), false);
        }
        self.share(alone, frame, place.position.offset);
        Ok((!is_second_live).then_some(item))
    }

    /// Joins a group that reaches this position, or starts a group with this stream, if possible.
    fn share(&mut self, mut alone: Box<Alone>, frame: Frame, offset: u64) {
        let Some(key) = self.key else {
            self.way = DeliveryState::Alone(alone);
            return;
        };
        let (claim, mut said) = match alone.claim.take() {
            Some((claim, said)) => (claim, said),
            None => match self.context.groups.enter(key, self.standing()) {
                GroupEntry::Member(member) => return self.become_member(member),
                GroupEntry::Vacant(claim) if alone.live => {
                    // The frames from before are gone.
                    alone.from = Some(offset);
                    (claim, VecDeque::new())
                }
                GroupEntry::Vacant(_) | GroupEntry::Claimed(_) | GroupEntry::Unreached => {
                    self.way = DeliveryState::Alone(alone);
                    return;
                }
            },
        };
        said.push_back(frame);
        // Until `live`, clients that begin at the present would have to wait for the rest of the backlog.
        if alone.live {
            let from = alone.from.unwrap_or(offset);
            let Alone { source, gate, .. } = *alone;
            match claim.found(self.request.clone(), source, from, said) {
                Ok(member) => self.become_member(member),
                Err(source) => {
                    let alone = Alone { source: *source, gate, claim: None, from: None, live: true };
                    self.way = DeliveryState::Alone(Box::new(alone));
                }
            }
            return;
        }
        if said.len() < FOUNDING_FRAMES {
            alone.claim = Some((claim, said));
        }
        self.way = DeliveryState::Alone(alone);
    }
}

/// Resolves at the next change of callers. A change that has not been seen yet counts.
async fn changed(callers: &mut Option<watch::Receiver<u64>>) {
    let known = match callers {
        Some(callers) => callers.changed().await.is_ok(),
        None => false,
    };
    if !known {
        std::future::pending::<()>().await;
    }
}
