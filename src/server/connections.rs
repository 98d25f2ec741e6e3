//! How many connections there are, in all and from each address, and which of them are busy.
//!
//! Connections are counted when they are accepted, below HTTP: each takes one of the files that the process may open, whether
//! a request comes on it or not. A connection without a request in flight may be closed at any time, so where one too many comes
//! in, the longest idle ones are closed to make room for it, half-open ones before others. Where all are busy, a few more are
//! let in for health alone.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::CONNECTION;
use axum::http::{Extensions, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use futures_util::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use ipnet::IpNet;

use super::headers::guarded;
use super::http::refusal;
use crate::domain::Error;

/// Connections that are let in beyond all others, for health alone: as many probes may ask at once.
const SPARE: usize = 16;

/// How long one of them has for its request: a probe sends it at once.
pub(super) const SPARE_WAIT: Duration = Duration::from_secs(2);

/// Where room is made, it is made for so many at once: to look through all connections for each one that comes in would be dear.
const ROOM_MAX: usize = 64;

/// Files that connections leave to the database, to attachments and to all else: the least, and this part of all of them.
const FILES_KEPT_MIN: u64 = 96;
const FILES_KEPT_PART: u64 = 8;

/// Connections that are served however few files there are.
const CONNECTIONS_MIN: usize = 16;

/// Of so many connections one is left to requests that are no sockets and no streams.
const REQUESTS_PART: usize = 16;

/// The bits of an IPv6 address that one customer of a provider gets: addresses that share them count as one.
const IPV6_NETWORK_BITS: u32 = 64;

/// The bounds of connections.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// In all. Fewer are served where the process may open fewer files.
    pub connections: usize,
    /// From one address, or from one /64 network of IPv6.
    pub per_address: usize,
    /// How long a connection may take to send the head of a request, its first byte on a new connection included.
    pub head_wait: Duration,
    /// How long a connection may lie idle between two requests. Load balancers keep theirs for 60 s; a connection that they
    /// find closed when they use it fails a request.
    pub idle_wait: Duration,
    /// Networks of proxies that speak for many clients: bounds per address are not for them.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            connections: 24_000,
            per_address: 12_000,
            head_wait: Duration::from_secs(10),
            idle_wait: Duration::from_secs(75),
            trusted_proxies: Vec::new(),
        }
    }
}

impl ConnectionSettings {
    /// The same, for a process that may open so many files.
    #[must_use]
    pub fn within_files(self, files: u64) -> Self {
        let kept = FILES_KEPT_MIN.max(files / FILES_KEPT_PART);
        let left = usize::try_from(files.saturating_sub(kept)).unwrap_or(usize::MAX);
        Self { connections: self.connections.min(left.saturating_sub(SPARE).max(CONNECTIONS_MIN)), ..self }
    }

    /// How many of the connections may be sockets and streams, which stay for long: some are left to other requests.
    pub fn sockets_max(&self) -> usize {
        self.connections - self.connections.div_ceil(REQUESTS_PART)
    }
}

/// Reads a network (10.0.0.0/8) or one address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let address = || IpAddr::from_str(text).map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map_err(|_| format!("{text:?} is no network: write 10.0.0.0/8, fd00::/8 or one address"))
}

/// The connections of a listener. Clones share the count.
#[derive(Clone)]
pub(super) struct Connections {
    settings: Arc<ConnectionSettings>,
    present: Arc<Mutex<Present>>,
    /// Instants are counted from here, in microseconds.
    start: Instant,
}

#[derive(Default)]
struct Present {
    in_all: usize,
    spare: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Those that may be closed to make room, by number.
    all: HashMap<u64, Arc<Activity>>,
    /// How many there ever were.
    number: u64,
}

/// What a connection is doing. Its HTTP side and its reading side share it.
pub(super) struct Activity {
    /// None where bounds per address are not for it.
    address: Option<IpAddr>,
    /// For health alone.
    spare: bool,
    /// Requests that are not answered yet, sockets and streams among them.
    in_flight: AtomicUsize,
    /// Waits for the rest of a request's head, or for the first one; else it lies idle.
    in_head: AtomicBool,
    /// Since when nothing is in flight.
    quiet_since: AtomicU64,
    /// To be closed, to make room.
    cut: AtomicBool,
    /// Wakes the reading side when one of these has changed.
    reader: AtomicWaker,
    start: Instant,
}

/// The place of one connection, given back when it is dropped.
pub(super) struct Place {
    pub(super) activity: Arc<Activity>,
    connections: Connections,
    number: u64,
}

impl Connections {
    pub(super) fn new(settings: ConnectionSettings) -> Self {
        Self { settings: Arc::new(settings), present: Arc::default(), start: Instant::now() }
    }

    /// A place for a connection from this address; none where there is no room, and none can be made.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Place> {
        let trusted = self.settings.trusted_proxies.iter().any(|network| network.contains(&address.to_canonical()));
        let address = Some(client(address)).filter(|_| !trusted);
        let mut present = self.present();
        let own = address.and_then(|address| present.by_address.get(&address).copied()).unwrap_or_default();
        let address_is_full =
            own >= self.settings.per_address && !present.make_room(own, |it| !it.spare && it.address == address);
        let in_all = present.in_all;
        let spare =
            address_is_full || (in_all >= self.settings.connections && !present.make_room(in_all, |it| !it.spare));
        if spare && present.spare >= SPARE && !present.make_room(SPARE, |it| it.spare) {
            return None;
        }
        present.number += 1;
        let number = present.number;
        let activity = Arc::new(Activity {
            address,
            spare,
            in_flight: AtomicUsize::new(0),
            in_head: AtomicBool::new(true),
            quiet_since: AtomicU64::new(micros_since(self.start)),
            cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            start: self.start,
        });
        present.enter(number, activity.clone());
        Some(Place { activity, connections: self.clone(), number })
    }

    /// Closes some idle connections; whether there were any.
    pub(super) fn make_room(&self) -> bool {
        let mut present = self.present();
        let in_all = present.in_all;
        present.make_room(in_all, |_| true)
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // Nothing is called while it is held but wakers, and a poisoned count is a whole one.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    fn enter(&mut self, number: u64, activity: Arc<Activity>) {
        match activity.spare {
            true => self.spare += 1,
            false => {
                self.in_all += 1;
                if let Some(address) = activity.address {
                    *self.by_address.entry(address).or_default() += 1;
                }
            }
        }
        self.all.insert(number, activity);
    }

    fn leave(&mut self, number: u64) {
        let Some(activity) = self.all.remove(&number) else { return };
        match activity.spare {
            true => self.spare -= 1,
            false => {
                self.in_all -= 1;
                if let Some(address) = activity.address
                    && let Some(here) = self.by_address.get_mut(&address)
                {
                    *here -= 1;
                    if *here == 0 {
                        self.by_address.remove(&address);
                    }
                }
            }
        }
    }

    /// Closes the longest idle of `count` connections that fit, half-open ones first; whether there were any.
    fn make_room(&mut self, count: usize, fits: impl Fn(&Activity) -> bool) -> bool {
        let idle = self.all.iter().filter(|(_, it)| fits(it) && !it.is_busy());
        let mut idle: Vec<_> = idle.map(|(number, it)| (it.rank(), *number)).collect();
        if idle.is_empty() {
            return false;
        }
        let wanted = (count / 16).clamp(1, ROOM_MAX).min(idle.len());
        idle.select_nth_unstable(wanted - 1);
        for (_, number) in &idle[..wanted] {
            if let Some(activity) = self.all.get(number) {
                activity.cut.store(true, Ordering::Release);
                activity.reader.wake();
            }
            // Its files are given back a moment later.
            self.leave(*number);
        }
        true
    }
}

impl Place {
    pub(super) fn settings(&self) -> &ConnectionSettings {
        &self.connections.settings
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.present().leave(self.number);
    }
}

impl Activity {
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(super) fn is_spare(&self) -> bool {
        self.spare
    }

    /// Whether it waits for the rest of a head.
    pub(super) fn is_in_head(&self) -> bool {
        self.in_head.load(Ordering::Acquire)
    }

    /// The head of a request has begun to come in.
    pub(super) fn head_begins(&self) {
        self.in_head.store(true, Ordering::Release);
    }

    /// Wakes this reader when something changes.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        self.reader.register(cx.waker());
    }

    /// Who is closed first.
    fn rank(&self) -> (bool, u64) {
        (!self.is_in_head(), self.quiet_since.load(Ordering::Relaxed))
    }
}

/// A request that is not answered yet; clones are of the same one. While one is held, its connection is busy.
#[derive(Clone)]
pub(super) struct Busy {
    _request: Arc<InFlight>,
}

struct InFlight(Arc<Activity>);

impl Busy {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::AcqRel);
        activity.in_head.store(false, Ordering::Release);
        Self { _request: Arc::new(InFlight(activity.clone())) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.quiet_since.store(micros_since(self.0.start), Ordering::Relaxed);
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.reader.wake();
        }
    }
}

fn micros_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub struct Peer(pub(super) Arc<Activity>);

/// The address that a request is counted for; none where it is not known, or where bounds per address are not for it.
pub(super) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<Peer>>()?.0.0.address
}

/// What stands for an address in counts: an IPv4 address in one form, and the network of an IPv6 address.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> (128 - IPV6_NETWORK_BITS) << (128 - IPV6_NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// A router for connections of a [`Paced`](super::paced::Paced) listener, which learns from it which of them are busy.
pub fn counted(router: Router) -> IntoMakeServiceWithConnectInfo<Router, Peer> {
    router.layer(from_fn(count)).into_make_service_with_connect_info::<Peer>()
}

async fn count(mut request: Request, next: Next) -> Response {
    let Some(ConnectInfo(Peer(activity))) = request.extensions().get::<ConnectInfo<Peer>>().cloned() else {
        return next.run(request).await;
    };
    let busy = Busy::new(&activity);
    request.extensions_mut().insert(busy.clone());
    let is_for_health = matches!(request.uri().path(), "/healthz" | "/readyz");
    let mut answer = match activity.is_spare() && !is_for_health {
        true => crowded(),
        false => next.run(request).await,
    };
    if activity.is_spare() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer.map(|body| Body::new(Answer { body, _busy: busy }))
}

fn crowded() -> Response {
    let message = "the desk serves no more connections at once; try again";
    // No route gives this answer, so it has not yet the headers that every answer has.
    guarded(refusal(StatusCode::SERVICE_UNAVAILABLE, Error::unavailable(message)))
}

/// The body of an answer; its request is in flight until it is dropped.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(in_all: usize, per_address: usize) -> Connections {
        let trusted_proxies = vec![network("10.0.0.0/8").expect("a network"), network("::1").expect("an address")];
        Connections::new(ConnectionSettings { connections: in_all, per_address, trusted_proxies, ..Default::default() })
    }

    fn from(connections: &Connections, address: &str) -> Option<Place> {
        connections.admit(address.parse().expect("an address"))
    }

    #[test]
    fn one_too_many_closes_the_longest_idle_and_half_open_ones_first() {
        let all = connections(3, 3);
        let places: Vec<_> = ["1.0.0.1", "1.0.0.2", "1.0.0.3"].iter().filter_map(|it| from(&all, it)).collect();
        drop(Busy::new(&places[0].activity));
        let next = from(&all, "1.0.0.4").expect("a place");
        let cut = |places: &[Place]| places.iter().map(|it| it.activity.is_cut()).collect::<Vec<_>>();
        assert_eq!(cut(&places), [false, true, false], "the oldest that never sent a request");
        let another = from(&all, "1.0.0.5").expect("a place");
        assert_eq!(cut(&places), [false, true, true]);
        let _busy = [Busy::new(&next.activity), Busy::new(&another.activity)];
        let third = from(&all, "1.0.0.6").expect("a place");
        assert_eq!(cut(&places), [true, true, true], "then the one that lies idle");
        assert!(!third.activity.is_spare() && !next.activity.is_cut() && !another.activity.is_cut());
    }

    #[test]
    fn where_all_are_busy_there_is_room_for_health_alone() {
        let all = connections(2, 2);
        let places: Vec<_> = (0..2).filter_map(|_| from(&all, "1.0.0.1")).collect();
        let _busy: Vec<_> = places.iter().map(|it| Busy::new(&it.activity)).collect();
        let spare: Vec<_> = (0..SPARE).map(|_| from(&all, "1.0.0.1").expect("a place")).collect();
        assert!(spare.iter().all(|it| it.activity.is_spare()));
        let _health: Vec<_> = spare.iter().map(|it| Busy::new(&it.activity)).collect();
        assert!(from(&all, "1.0.0.1").is_none());
        drop((spare, places));
        assert!(!from(&all, "1.0.0.1").expect("a place").activity.is_spare());
    }

    #[test]
    fn an_address_has_its_share_and_a_trusted_proxy_has_none() {
        let all = connections(100, 2);
        let busy = |address: &str| {
            let place = from(&all, address).expect("a place");
            (Busy::new(&place.activity), place)
        };
        let _of_one: Vec<_> = (0..2).map(|_| busy("2001:db8::1")).collect();
        assert!(busy("2001:db8::ffff").1.activity.is_spare(), "its network is full");
        assert!(!busy("2001:db8:0:1::1").1.activity.is_spare());
        assert!(!busy("1.0.0.1").1.activity.is_spare());
        for proxy in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            let _of_proxy: Vec<_> = (0..5).map(|_| busy(proxy)).collect();
            assert!(!busy(proxy).1.activity.is_spare(), "{proxy}");
        }
    }

    #[test]
    fn files_are_left_to_the_database() {
        let within = |files| ConnectionSettings::default().within_files(files);
        assert_eq!(within(200).connections, 88);
        assert_eq!(within(200).sockets_max(), 82);
        assert_eq!(within(20_000).connections, 17_484);
        assert_eq!(within(1 << 20).connections, 24_000);
        assert_eq!(within(10).connections, CONNECTIONS_MIN);
    }
}
