//! GraphQL over WebSocket: the subprotocol `graphql-transport-ws`, as the reference server of graphql-ws speaks it, and
//! its predecessor `graphql-ws`. `dialect.rs` holds the differences between the two.
//!
//! One task holds a socket. It reads and writes, and neither waits for the other. Each operation is a task of its own
//! that puts its messages, in order, into one bounded outbox. A full outbox makes the operation wait (back-pressure),
//! so a slow client slows its own streams and nothing else. A client that takes nothing for
//! [`SocketSettings::write_deadline`] is closed with 1013, after which clients reconnect. When a client has completed
//! an operation, the messages that the operation left in the outbox are not sent.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_graphql::ServerError;
use axum::{
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
    response::Response,
};
use futures_util::{
    FutureExt, SinkExt, StreamExt,
    future::{BoxFuture, poll_immediate},
    stream::{BoxStream, FuturesUnordered, SelectAll, SplitSink, SplitStream, Stream, select_all, unfold},
};
use serde_json::{Map, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    connections::Busy,
    crowd::Admission,
    dialect::{Dialect, Incoming},
    endpoint::Endpoint,
    http::{actor, named_account, refusal},
    operation::{Parameters, caught},
    outbox::{Content, Handed, Operation, Outbox, Queued},
    routes::{ACTOR, Served, stopped},
    ws_operation::{Broken, operate},
};
use crate::{
    domain::{Error, Result},
    graphql::error::refuse,
};

/// The read buffer of each socket, allocated for the life of the socket. The default of tungstenite is 128 KiB, which
/// thousands of idle sockets would pay for. Messages of clients are small; a larger message takes several reads.
const READ_BUFFER_BYTES: usize = 2 * 1024;

/// Direct answers to the client (acknowledgement, pongs, refusals) that may wait for the writer. While this many wait,
/// the reader reads nothing from the client.
const CONTROL_MESSAGES: usize = 64;

/// The bytes of waiting direct answers, in messages of the largest size: a pong echoes the payload of its ping. A
/// client that asks for more without reading is closed.
const CONTROL_LARGEST: usize = 2;

/// The most bytes of a reason that a close frame can hold (RFC 6455, 5.5).
const CLOSE_REASON_BYTES: usize = 123;

/// The upper limit of a setting in bytes: a semaphore grants permits in numbers of 32 bits, and holds fewer on small
/// machines.
const MOST_BYTES: usize = (u32::MAX >> 3) as usize;

/// Pings that may stay unanswered before the peer counts as gone.
const MISSED_PINGS: u32 = 2;

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

/// Answers the upgrade request. A request that is no upgrade, or that offers no known subprotocol, is answered with a
/// coded 400, and a socket beyond the limits with a coded 503.
pub(super) fn upgrade<E: Endpoint>(
    served: Served<E>,
    headers: &HeaderMap,
    (address, busy): (Option<IpAddr>, Option<Busy>),
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return refusal(rejection.status(), Error::invalid("Upgrade", rejection.body_text())),
    };
    let account = match actor(headers) {
        Ok(account) => account,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, error),
    };
    let SocketSettings { message_bytes, legacy, .. } = served.settings.socket;
    let spoken = if legacy { &[Dialect::Current, Dialect::Legacy][..] } else { &[Dialect::Current] };
    let Some(dialect) = offered(headers).find(|dialect| spoken.contains(dialect)) else {
        let names: Vec<_> = spoken.iter().map(|dialect| dialect.name()).collect();
        let message = format!("offer a subprotocol that the socket speaks: {}", names.join(" or "));
        return refusal(StatusCode::BAD_REQUEST, Error::invalid("Sec-WebSocket-Protocol", message));
    };
    let upgrade = upgrade
        // The server speaks the subprotocol that it echoes.
        .protocols([dialect.name()])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(message_bytes)
        .max_frame_size(message_bytes);
    let admission = match served.crowd.admit(address, &served.settings.crowd) {
        Ok(admission) => admission,
        Err(error) => return refusal(StatusCode::SERVICE_UNAVAILABLE, error),
    };
    let peer = Peer { dialect, account, place: admission, _busy: busy };
    upgrade.on_upgrade(async move |socket| serve(socket, served, peer).await)
}

/// Returns the known subprotocols that a client offers, in the client's order, which is the order of preference (RFC
/// 6455, 4.1). A client that does not find the server's choice (gql of Python compares the case of the header) uses its
/// first.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = Dialect> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| Dialect::named(name.trim_ascii()))
}

/// The peer, as far as the upgrade request describes it.
struct Peer {
    dialect: Dialect,
    /// The account that the header names.
    account: Option<String>,
    place: Admission,
    /// Marks the connection as in use while it is held.
    _busy: Option<Busy>,
}

async fn serve<E: Endpoint>(socket: WebSocket, served: Served<E>, peer: Peer) {
    let Peer { dialect, account, mut place, _busy } = peer;
    let settings = served.settings.socket.clone();
    let mut shutdown = served.shutdown.clone();
    let (mut sink, mut stream) = socket.split();
    let (controls, control_queue) = mpsc::channel(CONTROL_MESSAGES);
    let (outbox, queue) = Outbox::new(settings.outbox_messages, settings.outbox_bytes.clamp(1, MOST_BYTES));
    let socket = Socket::default();

    let mut reader = Reader {
        socket: &socket,
        place: &mut place,
        served: Arc::new(served),
        dialect,
        account,
        admitted: false,
        admission: None,
        init_received: false,
        operations: JoinSet::new(),
        controls,
        control_bytes: Arc::new(Semaphore::new(settings.message_bytes.saturating_mul(CONTROL_LARGEST).min(MOST_BYTES))),
        outbox,
    };
    let own = select_all([own_messages(settings.ping_every, control_queue, queue).boxed()]);
    let mut writer = Writer { socket: &socket, settings: &settings, own, handed: Handed::default() };
    let ending = {
        let listening = async {
            tokio::select! {
                ending = reader.run(&mut stream) => ending,
                () = stopped(&mut shutdown) => Ending::close(1012, "the desk restarts, come back"),
            }
        };
        // A set with one future, because the set gives it a waker of its own. A frame for all members wakes the writer
        // and does not poll the reader.
        let mut listening: FuturesUnordered<_> = std::iter::once(listening).collect();
        // Unbiased: the two share the budget of this task. A writer that always has something to write would starve the
        // reader.
        tokio::select! {
            ending = writer.run(&mut sink) => ending,
            Some(ending) = listening.next() => ending,
        }
    };
    // This ends the operations and leaves the groups before the wait for the peer's close frame.
    drop((reader, writer));
    ending.say(&mut sink, &mut stream, settings.close_wait).await;
}

/// The state that the reader and the writer of one socket share.
#[derive(Default)]
struct Socket {
    active: Mutex<HashMap<String, Active>>,
    unanswered_pings: AtomicU32,
}

impl Socket {
    fn active(&self) -> MutexGuard<'_, HashMap<String, Active>> {
        // No code is awaited or called while the lock is held, so a poisoned map is consistent.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Active {
    operation: Arc<Operation>,
    task: AbortHandle,
}

/// The end of a socket.
struct Ending {
    /// The message to send before the close frame.
    last_words: Option<String>,
    close: Option<CloseFrame>,
    /// Whether reading has failed, so that the peer's close frame will not be seen.
    unreadable: bool,
}

impl Ending {
    fn close(code: u16, reason: impl AsRef<str>) -> Self {
        let reason = reason.as_ref();
        let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES)];
        Self { last_words: None, close: Some(CloseFrame { code, reason: reason.into() }), unreadable: false }
    }

    /// The peer has closed the connection, or has sent its close frame.
    fn gone() -> Self {
        Self { last_words: None, close: None, unreadable: false }
    }

    async fn say(
        self,
        sink: &mut SplitSink<WebSocket, Message>,
        stream: &mut SplitStream<WebSocket>,
        close_wait: Duration,
    ) {
        let goodbye = async {
            let Some(frame) = self.close else { return sink.close().await.unwrap_or_default() };
            // Keep reading while writing, until the peer's close frame: the peer may be stuck in its own writes. A
            // connection that is dropped with unread bytes is reset, and on some systems the peer then loses what was
            // sent before.
            let drain = async {
                loop {
                    match stream.next().await {
                        Some(Ok(Message::Close(_))) => return,
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None if self.unreadable => std::future::pending().await,
                        Some(Err(_)) | None => return,
                    }
                }
            };
            let say = async {
                if let Some(text) = self.last_words {
                    sink.feed(Message::Text(text.into())).await.unwrap_or_default();
                }
                sink.send(Message::Close(Some(frame))).await.unwrap_or_default();
            };
            tokio::join!(say, drain);
        };
        // A peer that does not answer in time is cut.
        timeout(close_wait, goodbye).await.unwrap_or_default();
    }
}

struct Reader<'s, E: Endpoint> {
    socket: &'s Socket,
    place: &'s mut Admission,
    served: Arc<Served<E>>,
    dialect: Dialect,
    /// The account that the header of the upgrade names, or `connection_init` after it.
    account: Option<String>,
    admitted: bool,
    admission: Option<BoxFuture<'static, Result<E::Viewer>>>,
    init_received: bool,
    /// The tasks of the open operations. An operation that breaks off ends the socket.
    operations: JoinSet<Option<Broken>>,
    controls: mpsc::Sender<Box<Control>>,
    control_bytes: Arc<Semaphore>,
    outbox: Outbox,
}

impl<E: Endpoint> Reader<'_, E> {
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> Ending {
        // Until `connection_init` this is the client's deadline for it, afterwards the time of the next keep-alive
        // message.
        let mut alarm = std::pin::pin!(sleep(self.served.settings.socket.init_wait));
        loop {
            let may_read = self.admission.is_none() || !self.dialect.runs_ahead();
            let step = tokio::select! {
                frame = next_frame(&self.controls, stream), if may_read => self.frame(frame),
                viewer = pending_or(&mut self.admission), if self.admission.is_some() => self.admitted(viewer),
                () = &mut alarm, if !self.init_received || (self.admitted && self.dialect.keep_alive().is_some()) => {
                    alarm.as_mut().reset(Instant::now() + self.served.settings.socket.keep_alive_every);
                    self.alarm()
                }
                Some(done) = self.operations.join_next() => match done {
                    Ok(Some(Broken)) => Err(Ending::close(1013, "the desk could not read on, come back")),
                    _ => Ok(()),
                },
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    fn frame(&mut self, frame: Option<std::result::Result<Message, axum::Error>>) -> std::result::Result<(), Ending> {
        self.socket.unanswered_pings.store(0, Ordering::Relaxed);
        match frame {
            Some(Ok(Message::Text(text))) => match self.dialect.read(&text) {
                Ok(message) => self.message(message),
                Err(reason) => Err(Ending::close(4400, reason)),
            },
            Some(Ok(Message::Binary(_))) => Err(Ending::close(4400, "Invalid message received: binary")),
            // tungstenite answers a ping by itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_))) | None => Err(Ending::gone()),
            Some(Err(_)) => {
                let bound = self.served.settings.socket.message_bytes;
                let reason = format!("Invalid message received: unreadable, or larger than {bound} bytes");
                Err(Ending { unreadable: true, ..Ending::close(4400, reason) })
            }
        }
    }

    fn message(&mut self, message: Incoming) -> std::result::Result<(), Ending> {
        match message {
            Incoming::Init(_) if self.init_received => Err(Ending::close(4429, "Too many initialisation requests")),
            Incoming::Init(payload) => {
                self.init_received = true;
                self.admit(payload)
            }
            Incoming::Subscribe(id, parameters) => self.subscribe(id, parameters),
            Incoming::Complete(id) => match self.end(&id) {
                true => self.dialect.confirmed(&id).map_or(Ok(()), |text| self.say(text)),
                false => Ok(()),
            },
            Incoming::Answer(text) => self.say(text),
            Incoming::Nothing => Ok(()),
            Incoming::Terminate => Err(Ending::close(1000, "")),
        }
    }

    /// Ends an operation at the client's request; returns whether it was open.
    fn end(&self, id: &str) -> bool {
        let ended = self.socket.active().remove(id);
        if let Some(Active { operation, task }) = &ended {
            operation.complete();
            task.abort();
        }
        ended.is_some()
    }

    fn alarm(&self) -> std::result::Result<(), Ending> {
        if !self.init_received {
            return Err(Ending::close(4408, "Connection initialisation timeout"));
        }
        self.keep_alive()
    }

    fn keep_alive(&self) -> std::result::Result<(), Ending> {
        self.dialect.keep_alive().map_or(Ok(()), |text| self.say(text.to_owned()))
    }

    fn admit(&mut self, payload: Option<Map<String, Value>>) -> std::result::Result<(), Ending> {
        // Like the name of a header, this name is not case-sensitive.
        let mut named = payload.into_iter().flatten().filter(|(name, _)| name.eq_ignore_ascii_case(ACTOR));
        let account = match (named.next().map(|(_, account)| account), named.next()) {
            (_, Some(_)) => return Err(Ending::close(4400, format!("{ACTOR} comes twice"))),
            (None | Some(Value::Null), None) => self.account.take(),
            (Some(Value::String(account)), None) => match named_account(&account) {
                Ok(account) => Some(account),
                Err(error) => return Err(Ending::close(4400, error.to_string())),
            },
            (Some(_), None) => return Err(Ending::close(4400, format!("{ACTOR} must be a string"))),
        };
        let endpoint = self.served.endpoint.clone();
        self.account.clone_from(&account);
        self.admission = Some(async move { caught(endpoint.admit(account)).await? }.boxed());
        Ok(())
    }

    fn admitted(&mut self, viewer: Result<E::Viewer>) -> std::result::Result<(), Ending> {
        self.admission = None;
        let refused = |code, reason: &str, errors: &[ServerError]| {
            let last_words = self.dialect.turned_away(errors);
            Err(Ending { last_words, ..Ending::close(code, reason) })
        };
        let viewer = match viewer {
            Ok(viewer) => viewer,
            Err(Error::Refused(refusal)) => {
                let reason = refusal.message.clone();
                return refused(4403, &reason, &refuse(Error::Refused(refusal)).errors);
            }
            // The client is not at fault: it may reconnect.
            Err(fault) => {
                let errors = refuse(fault).errors;
                return refused(1013, errors.first().map_or("", |error| &error.message), &errors);
            }
        };
        // The close code is that of a busy desk, not of a wrong name: the client may retry when another client has
        // left.
        if let Err(error) = self.place.belongs_to(self.served.endpoint.principal(&viewer)) {
            return refused(1013, &error.to_string(), &refuse(error).errors);
        }
        self.admitted = true;
        self.say(self.dialect.ack().to_owned())?;
        self.keep_alive()
    }

    fn subscribe(&mut self, id: String, parameters: Result<Parameters>) -> std::result::Result<(), Ending> {
        if !self.admitted {
            return match self.dialect.too_early(&id) {
                Some(text) => self.say(text),
                None => Err(Ending::close(4401, "Unauthorized")),
            };
        }
        if self.dialect.replaces() {
            self.end(&id);
        }
        let mut active = self.socket.active();
        if active.contains_key(&id) {
            return Err(Ending::close(4409, format!("Subscriber for {id} already exists")));
        }
        let bound = self.served.settings.socket.subscriptions;
        if active.len() >= bound {
            drop(active);
            let message = format!("a socket carries {bound} operations at once");
            let errors = refuse(Error::limit("id", message, bound)).errors;
            return self.say(self.dialect.error(&id, &errors).unwrap_or_default());
        }
        let parameters = match parameters {
            Ok(parameters) => parameters,
            Err(error) => {
                drop(active);
                return self.say(self.dialect.error(&id, &refuse(error).errors).unwrap_or_default());
            }
        };
        let operation = Arc::new(Operation::new(self.dialect, id.clone()));
        let outbox = self.outbox.of(operation.clone());
        let parameters = Box::new(parameters);
        let task = self.operations.spawn(operate(self.served.clone(), self.account.clone(), parameters, outbox));
        active.insert(id, Active { operation, task });
        Ok(())
    }

    /// Queues a direct answer at once: the reader waits for the writer only between frames.
    fn say(&self, text: String) -> std::result::Result<(), Ending> {
        let share = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let bytes = self.control_bytes.clone().try_acquire_many_owned(share).ok();
        let sent = bytes.and_then(|bytes| self.controls.try_send(Box::new(Control { text, _bytes: bytes })).ok());
        sent.ok_or_else(|| Ending::close(1013, "the client asks and does not read"))
    }
}

/// The most direct answers that one frame and one alarm need.
const ANSWERS_OF_A_STEP: usize = 2;

/// Returns the next frame, once there is room for its answers. So the writer sets the pace for many frames at once, and
/// a client that does not read its answers does not make the writer wait.
async fn next_frame(
    controls: &mpsc::Sender<Box<Control>>,
    stream: &mut SplitStream<WebSocket>,
) -> Option<std::result::Result<Message, axum::Error>> {
    drop(controls.reserve_many(ANSWERS_OF_A_STEP).await);
    stream.next().await
}

async fn pending_or<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// A message that answers the client directly.
struct Control {
    text: String,
    _bytes: OwnedSemaphorePermit,
}

struct Writer<'s> {
    socket: &'s Socket,
    settings: &'s SocketSettings,
    /// All messages besides the frames of groups. The set holds one stream, because the set gives it a waker of its
    /// own: a frame for all members does not poll this stream.
    own: SelectAll<BoxStream<'s, Own>>,
    /// Members of groups, whose frames are written without a queue.
    handed: Handed,
}

/// A message besides the frames of groups.
enum Own {
    Control(Box<Control>),
    Ping,
    Queued(Box<Queued>),
}

/// Merges the messages besides the frames of groups. Keep-alive messages go before queued messages.
fn own_messages(
    ping_every: Duration,
    controls: mpsc::Receiver<Box<Control>>,
    queue: mpsc::Receiver<Box<Queued>>,
) -> impl Stream<Item = Own> {
    let mut pings = interval_at(Instant::now() + ping_every, ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    unfold((controls, pings, queue), async |(mut controls, mut pings, mut queue)| {
        let own = tokio::select! {
            biased;
            Some(control) = controls.recv() => Own::Control(control),
            _ = pings.tick() => Own::Ping,
            Some(queued) = queue.recv() => Own::Queued(queued),
        };
        Some((own, (controls, pings, queue)))
    })
}

impl Writer<'_> {
    /// Returns the text of a queued message, if it has one. After the last message of an operation its id is free
    /// again.
    fn take(&mut self, queued: Queued) -> std::result::Result<Option<String>, Ending> {
        let Queued { operation, content, since, .. } = queued;
        if operation.is_completed() {
            return Ok(None);
        }
        if since.elapsed() > self.settings.outbox_age {
            return Err(Ending::close(1013, "the client does not read fast enough"));
        }
        Ok(match content {
            Content::Next(text) => Some(text),
            Content::Last(text) => {
                self.socket.active().remove(&operation.id);
                Some(text)
            }
            Content::Member(member) => {
                self.handed.add(operation, member);
                None
            }
            Content::Recall => {
                self.handed.recall(&operation);
                None
            }
        })
    }

    async fn run(&mut self, sink: &mut SplitSink<WebSocket, Message>) -> Ending {
        loop {
            // Unbiased: neither source may starve the other while it has messages.
            let message = tokio::select! {
                Some(own) = self.own.next() => match own {
                    Own::Control(control) => Message::Text(control.text.into()),
                    Own::Ping => {
                        if self.socket.unanswered_pings.fetch_add(1, Ordering::Relaxed) >= MISSED_PINGS {
                            return Ending::close(1013, "no answer to pings");
                        }
                        Message::Ping(Default::default())
                    }
                    Own::Queued(queued) => match self.take(*queued) {
                        Ok(Some(text)) => Message::Text(text.into()),
                        Ok(None) => continue,
                        Err(ending) => return ending,
                    },
                },
                text = self.handed.next() => Message::Text(text.into()),
            };
            let mut sending = sink.send(message);
            // The peer nearly always takes the message at once, and then no timer is needed.
            let sent = match poll_immediate(&mut sending).await {
                Some(sent) => Ok(sent),
                None => timeout(self.settings.write_deadline, sending).await,
            };
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ending::gone(),
                Err(_) => return Ending::close(1013, "the client does not read fast enough"),
            }
        }
    }
}
