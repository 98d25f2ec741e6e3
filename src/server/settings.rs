//! The limits of the transports. The limits of the other parts stand in the files of these parts.

use std::time::Duration;

use super::edge::admission::AdmissionSettings;
use super::edge::connections::ConnectionSettings;
use super::edge::origin::Origins;
use super::execution::answer_memory::AnswerSettings;
use super::execution::executor::WorkSettings;
use super::operation::limits::DocumentLimits;
use super::share::group_settings::GroupSettings;

/// All limits of a server.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The limits of a document.
    pub limits: DocumentLimits,
    /// The limits of an HTTP request.
    pub http: HttpSettings,
    /// The limits of a WebSocket.
    pub socket: SocketSettings,
    /// The limits of streaming responses.
    pub streams: StreamSettings,
    /// The limits of groups, in which subscriptions share their frames.
    pub groups: GroupSettings,
    /// The most sockets and streams.
    pub admission: AdmissionSettings,
    /// The limits of connections below HTTP.
    pub connections: ConnectionSettings,
    /// Other origins whose pages may use the API.
    pub origins: Origins,
    /// The most operations at once, and their time.
    pub work: WorkSettings,
    /// The limits of answers.
    pub answers: AnswerSettings,
}

/// The limits of one HTTP request.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The most bytes of a body. 2 MiB holds the longest text that a field takes, written in JSON escapes.
    pub body_bytes: usize,
    /// How long a body may take to arrive: a slow client holds a connection and nothing else.
    pub body_wait: Duration,
    /// How long a client may take nothing before its connection is cut, whatever it is used for. It is longer than the
    /// deadline of a WebSocket, which sends the reason before it ends.
    pub write_deadline: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            body_bytes: 2 * 1024 * 1024,
            body_wait: Duration::from_secs(30),
            write_deadline: Duration::from_secs(20),
        }
    }
}

/// The limits of streaming responses.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// How long a response may be silent before it sends a heartbeat, as in graphql-sse. Proxies cut connections that
    /// are silent for 60 s.
    pub keep_alive: Duration,
    /// How long a reserved stream waits to be opened. A client opens it at once; this leaves time for slow networks.
    pub reservation_wait: Duration,
    /// The most reserved streams that wait to be opened. After a restart, this many clients open theirs at the same
    /// time.
    pub reservations: usize,
    /// The most of them for one account. The screens of a whole site may share an account, and others need room too.
    pub reservations_per_principal: usize,
    /// The most of them from one address.
    pub reservations_per_address: usize,
}

impl Default for StreamSettings {
    fn default() -> Self {
        let (keep_alive, reservation_wait) = (Duration::from_secs(12), Duration::from_secs(30));
        Self {
            keep_alive,
            reservation_wait,
            reservations: 4_096,
            reservations_per_principal: 512,
            reservations_per_address: 2_048,
        }
    }
}

/// The limits of one socket.
#[derive(Clone, Debug)]
pub struct SocketSettings {
    /// Whether the predecessor of the subprotocol is spoken too: old dashboards know no other.
    pub legacy: bool,
    /// How long a client may take to send `connection_init`; as in graphql-ws.
    pub init_wait: Duration,
    /// How often a peer is pinged; as in graphql-ws. Proxies cut connections that are idle for 60 s.
    pub ping_every: Duration,
    /// How often a client of the predecessor receives `ka`. The oldest of these clients close a connection after 10 s
    /// without `ka`, so one `ka` may be late.
    pub keep_alive_every: Duration,
    /// The most bytes of one message. 2 MiB, as over HTTP, because mutations travel here as well.
    pub message_bytes: usize,
    /// The most operations that are open at once.
    pub subscriptions: usize,
    /// The most messages of operations that wait to be written.
    pub outbox_messages: usize,
    /// The most bytes of these messages. 1 MiB is 20 to 50 pages of a queue. A single larger message may travel alone.
    pub outbox_bytes: usize,
    /// How long one message may wait. With `outbox_bytes` this is the slowest that a client may read: 35 KB/s.
    pub outbox_age: Duration,
    /// How long the peer may take to accept one message.
    pub write_deadline: Duration,
    /// How long a closed socket waits for the peer's close frame, so that the peer reads the reason.
    pub close_wait: Duration,
}

impl Default for SocketSettings {
    fn default() -> Self {
        Self {
            legacy: true,
            init_wait: Duration::from_secs(3),
            ping_every: Duration::from_secs(12),
            keep_alive_every: Duration::from_secs(5),
            message_bytes: 2 * 1024 * 1024,
            subscriptions: 100,
            outbox_messages: 256,
            outbox_bytes: 1024 * 1024,
            outbox_age: Duration::from_secs(30),
            write_deadline: Duration::from_secs(10),
            close_wait: Duration::from_secs(1),
        }
    }
}
