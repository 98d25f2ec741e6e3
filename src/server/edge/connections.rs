//! Counts connections, in all and from each address, and knows which of them are busy.
//!
//! Connections are counted below HTTP, when they are accepted: each takes one of the files that the process may open,
//! with or without a request. A connection without a request in flight may be closed at any time. If there are too many
//! connections, the longest idle ones are closed to make room, those without a complete request head first. If all are
//! busy, a few more are accepted for health checks alone.

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
use super::response::refusal;
use crate::domain::Error;

/// Connections beyond all limits, for health checks alone: as many probes may ask at once.
const SPARE: usize = 16;

/// How long a spare connection may take to send its request: a probe sends it at once.
pub(in crate::server) const SPARE_WAIT: Duration = Duration::from_secs(2);

/// The most connections closed at once to make room. A search through all connections for each new one would be
/// expensive.
const ROOM_MAX: usize = 64;

/// Files that connections leave to the database, to attachments and to all else: this minimum, or this part of all
/// files.
const FILES_KEPT_MIN: u64 = 96;
const FILES_KEPT_PART: u64 = 8;

/// Connections that are served however few files there are.
const CONNECTIONS_MIN: usize = 16;

/// Of this number of connections one is kept for requests that are neither sockets nor streams.
const REQUESTS_PART: usize = 16;

/// The length of the IPv6 prefix that a provider gives to one customer: addresses that share it count as one address.
const IPV6_NETWORK_BITS: u32 = 64;

/// The limits of connections.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// The most connections. There are fewer if the process may open fewer files.
    pub connections: usize,
    /// The most connections from one address, or from one /64 network of IPv6.
    pub per_address: usize,
    /// How long a connection may take to send the head of a request. On a new connection the time starts at once.
    pub head_wait: Duration,
    /// How long a connection may be idle between two requests. Load balancers keep idle connections for 60 s, and a
    /// request fails if the load balancer sends it on a connection that is already closed.
    pub idle_wait: Duration,
    /// Networks of proxies that speak for many clients: the limits per address do not apply to them.
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
    /// Lowers the number of connections to fit a process that may open this many files.
    #[must_use]
    pub fn within_files(self, files: u64) -> Self {
        let kept = FILES_KEPT_MIN.max(files / FILES_KEPT_PART);
        let left = usize::try_from(files.saturating_sub(kept)).unwrap_or(usize::MAX);
        Self { connections: self.connections.min(left.saturating_sub(SPARE).max(CONNECTIONS_MIN)), ..self }
    }

    /// Returns how many connections may be sockets and streams, which stay long: the rest is for other requests.
    pub fn sockets_max(&self) -> usize {
        self.connections - self.connections.div_ceil(REQUESTS_PART)
    }
}

/// Reads a network (10.0.0.0/8) or a single address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let address = || IpAddr::from_str(text).map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map_err(|_| format!("{text:?} is no network: write 10.0.0.0/8, fd00::/8 or one address"))
}

/// The connections of a listener. Clones share the count.
#[derive(Clone)]
pub(in crate::server) struct Connections {
    settings: Arc<ConnectionSettings>,
    present: Arc<Mutex<OpenConnections>>,
    /// The origin of `quiet_since`, which is in microseconds.
    start: Instant,
}

#[derive(Default)]
struct OpenConnections {
    in_all: usize,
    spare: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Connections that may be closed to make room, by number.
    all: HashMap<u64, Arc<Activity>>,
    /// Counts all connections that there ever were.
    number: u64,
}

/// The activity of a connection. Its HTTP side and its reading side share it.
pub(in crate::server) struct Activity {
    /// `None` if the limits per address do not apply to it.
    address: Option<IpAddr>,
    /// Whether it is for health checks alone.
    spare: bool,
    /// Requests that are not answered yet, sockets and streams among them.
    in_flight: AtomicUsize,
    /// Whether it waits for the rest of a request head, or for the first head; otherwise it is idle.
    in_head: AtomicBool,
    /// When the last request was answered, in microseconds since `start`.
    quiet_since: AtomicU64,
    /// Whether it has to be closed to make room.
    cut: AtomicBool,
    /// Wakes the reading side when one of these fields has changed.
    reader: AtomicWaker,
    start: Instant,
}

/// The slot of one connection, given back when it is dropped.
pub(in crate::server) struct ConnectionSlot {
    pub(in crate::server) activity: Arc<Activity>,
    connections: Connections,
    number: u64,
}

impl Connections {
    pub(in crate::server) fn new(settings: ConnectionSettings) -> Self {
        Self { settings: Arc::new(settings), present: Arc::default(), start: Instant::now() }
    }

    /// Returns a slot for a connection from this address; `None` if there is no room and none can be made.
    pub(in crate::server) fn admit(&self, address: IpAddr) -> Option<ConnectionSlot> {
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
        Some(ConnectionSlot { activity, connections: self.clone(), number })
    }

    /// Closes some idle connections; returns whether there were any.
    pub(in crate::server) fn make_room(&self) -> bool {
        let mut present = self.present();
        let in_all = present.in_all;
        present.make_room(in_all, |_| true)
    }

    fn present(&self) -> MutexGuard<'_, OpenConnections> {
        // Only wakers are called while the lock is held, so a poisoned count is consistent.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnections {
    fn enter(&mut self, number: u64, activity: Arc<Activity>) {
        if activity.spare {
            self.spare += 1;
        } else {
            self.in_all += 1;
            if let Some(address) = activity.address {
                *self.by_address.entry(address).or_default() += 1;
            }
        }
        self.all.insert(number, activity);
    }

    fn leave(&mut self, number: u64) {
        let Some(activity) = self.all.remove(&number) else { return };
        if activity.spare {
            self.spare -= 1;
        } else {
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

    /// Closes the longest idle of `count` matching connections, those in a request head first; returns whether there
    /// were any.
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
            // The files of the connection are given back a moment later.
            self.leave(*number);
        }
        true
    }
}

impl ConnectionSlot {
    pub(in crate::server) fn settings(&self) -> &ConnectionSettings {
        &self.connections.settings
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.present().leave(self.number);
    }
}

impl Activity {
    pub(in crate::server) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    pub(in crate::server) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(in crate::server) fn is_spare(&self) -> bool {
        self.spare
    }

    /// Returns whether the connection waits for the rest of a request head.
    pub(in crate::server) fn is_in_head(&self) -> bool {
        self.in_head.load(Ordering::Acquire)
    }

    /// Notes that the head of a request has begun to arrive.
    pub(in crate::server) fn head_begins(&self) {
        self.in_head.store(true, Ordering::Release);
    }

    /// Registers this reader to be woken when something changes.
    pub(in crate::server) fn watch(&self, cx: &Context<'_>) {
        self.reader.register(cx.waker());
    }

    /// Returns the order in which connections are closed, lowest first.
    fn rank(&self) -> (bool, u64) {
        (!self.is_in_head(), self.quiet_since.load(Ordering::Relaxed))
    }
}

/// A request that is not answered yet. Clones are the same request. While one is held, its connection is busy.
#[derive(Clone)]
pub(in crate::server) struct Busy {
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

/// The peer of a connection.
#[derive(Clone)]
pub struct Peer(pub(in crate::server) Arc<Activity>);

/// Returns the address that a request is counted for; `None` if it is unknown, or if limits per address do not apply.
pub(in crate::server) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<Peer>>()?.0.0.address
}

/// Returns the address used in counts: an IPv4 address in one form, or the network of an IPv6 address.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> (128 - IPV6_NETWORK_BITS) << (128 - IPV6_NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Wraps a router for the connections of a [`TimedListener`](super::timeouts::TimedListener), and tells the listener
/// which are busy.
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
    let mut answer = if activity.is_spare() && !is_for_health { crowded() } else { next.run(request).await };
    if activity.is_spare() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer.map(|body| Body::new(CountedBody { body, _busy: busy }))
}

fn crowded() -> Response {
    let message = "the desk serves no more connections at once; try again";
    // No route gives this answer, so it lacks the headers that every answer has.
    guarded(refusal(StatusCode::SERVICE_UNAVAILABLE, Error::unavailable(message)))
}

/// The body of an answer. Its request is in flight until the body is dropped.
struct CountedBody {
    body: Body,
    _busy: Busy,
}

impl HttpBody for CountedBody {
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

    fn from(connections: &Connections, address: &str) -> Option<ConnectionSlot> {
        connections.admit(address.parse().expect("an address"))
    }

    #[test]
    fn one_too_many_closes_the_longest_idle_and_half_open_ones_first() {
        let all = connections(3, 3);
        let places: Vec<_> = ["1.0.0.1", "1.0.0.2", "1.0.0.3"].iter().filter_map(|it| from(&all, it)).collect();
        drop(Busy::new(&places[0].activity));
        let next = from(&all, "1.0.0.4").expect("a place");
        let cut = |places: &[ConnectionSlot]| places.iter().map(|it| it.activity.is_cut()).collect::<Vec<_>>();
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
