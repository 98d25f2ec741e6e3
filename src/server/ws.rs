//! GraphQL over WebSocket: the subprotocol `graphql-transport-ws`, as the reference server of graphql-ws speaks it, and its
//! predecessor `graphql-ws`. Where the two differ, `dialect.rs` says how.
//!
//! One task holds a socket: it reads and it writes, neither waiting for the other. Each operation is a task of its own
//! that puts its messages, in its own order, into the one bounded outbox; when that is full it waits, so a slow client
//! slows its own streams and nothing else. A client that takes nothing for [`SocketSettings::write_deadline`] is closed
//! with 1013, which clients answer by coming back. What an operation left in the outbox is not sent once the client
//! completed it.

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

/// Allocated for each socket as long as it lives. tungstenite's own choice is 128 KiB, which idle walls of thousands of
/// sockets would pay for; messages of clients are small, and larger ones are read in several goes.
const READ_BUFFER_BYTES: usize = 2 * 1024;

/// Messages that answer the client directly (acknowledgement, pongs, refusals) and wait for the writer. While so many wait
/// the client is not read.
const CONTROL_MESSAGES: usize = 64;

/// Bytes of them, in messages of the largest size: a pong echoes what the ping brought. A client that asks for more without
/// reading gets closed.
const CONTROL_LARGEST: usize = 2;

/// The most that a close frame can hold besides its code (RFC 6455, 5.5).
const CLOSE_REASON_BYTES: usize = 123;

/// The most that a setting in bytes can mean: a semaphore hands out shares of 32 bits, and holds fewer on small machines.
const MOST_BYTES: usize = (u32::MAX >> 3) as usize;

/// Pings that may go unanswered before the peer is taken for gone.
const MISSED_PINGS: u32 = 2;

/// The bounds of one socket.
#[derive(Clone, Debug)]
pub struct SocketSettings {
    /// Whether the predecessor of the subprotocol is spoken too: dashboards of years ago know nothing else.
    pub legacy: bool,
    /// How long a socket may take to say `connection_init`; as in graphql-ws.
    pub init_wait: Duration,
    /// How often a silent peer is pinged; as in graphql-ws. Proxies cut connections that are idle for 60 s.
    pub ping_every: Duration,
    /// How often a client of the predecessor hears `ka`. The oldest of them close a connection without one for 10 s, so one
    /// may be late.
    pub keep_alive_every: Duration,
    /// Length of one message. 2 MiB, as over HTTP, since mutations travel here as well.
    pub message_bytes: usize,
    /// Operations at once.
    pub subscriptions: usize,
    /// Messages of operations that wait to be written.
    pub outbox_messages: usize,
    /// Bytes of them. 1 MiB is 20 to 50 pages of a queue; one larger message may travel alone.
    pub outbox_bytes: usize,
    /// How long one of them may wait. With its bytes this is the slowest that a client may read: 35 KB a second.
    pub outbox_age: Duration,
    /// How long the peer may take to accept one message.
    pub write_deadline: Duration,
    /// How long a closed socket waits for the peer to say goodbye, so that it reads why.
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

/// Answers the upgrade; a request that is none, or that does not speak the subprotocol, gets a coded 400, and one too many a
/// coded 503.
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
        // What is echoed is what is spoken.
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

/// The subprotocols of ours that a client offers, in its own order: that is the order of its preference (RFC 6455, 4.1), and
/// one that cannot read our choice (gql of Python looks for the header by the case of its letters) goes by its first.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = Dialect> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| Dialect::named(name.trim_ascii()))
}

/// Who is at the other end, as far as the upgrade told.
struct Peer {
    dialect: Dialect,
    /// Whom the header names.
    account: Option<String>,
    place: Admission,
    /// Its connection is in use, for as long as this is held.
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
        // A set of one, for the waker of its own that it gives to what is in it: what wakes the writer, a frame for everybody
        // above all, costs no look at the reader.
        let mut listening: FuturesUnordered<_> = std::iter::once(listening).collect();
        // In either order: what one of them does in a turn of the task counts against the other, and a writer that always
        // had something to write would leave the reader none.
        tokio::select! {
            ending = writer.run(&mut sink) => ending,
            Some(ending) = listening.next() => ending,
        }
    };
    // Ends the operations and leaves the groups, before the peer is given time to say goodbye.
    drop((reader, writer));
    ending.say(&mut sink, &mut stream, settings.close_wait).await;
}

/// What the reader and the writer of one socket both know.
#[derive(Default)]
struct Socket {
    active: Mutex<HashMap<String, Active>>,
    unanswered_pings: AtomicU32,
}

impl Socket {
    fn active(&self) -> MutexGuard<'_, HashMap<String, Active>> {
        // Nothing is awaited or called while it is held, so a poisoned map is a whole one.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Active {
    operation: Arc<Operation>,
    task: AbortHandle,
}

/// How a socket ends.
struct Ending {
    /// What is said before.
    last_words: Option<String>,
    close: Option<CloseFrame>,
    /// The stream cannot be read any further, so the peer's goodbye will not be seen.
    unreadable: bool,
}

impl Ending {
    fn close(code: u16, reason: impl AsRef<str>) -> Self {
        let reason = reason.as_ref();
        let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES)];
        Self { last_words: None, close: Some(CloseFrame { code, reason: reason.into() }), unreadable: false }
    }

    /// The peer has left, or said that it will.
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
            // Read on while writing, up to the peer's own close: it may be stuck in what it sends, and a connection
            // dropped with unread bytes is reset, after which not every system shows the peer what came before.
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
    /// Whom the header of the upgrade names, or `connection_init` after it.
    account: Option<String>,
    admitted: bool,
    admission: Option<BoxFuture<'static, Result<E::Viewer>>>,
    init_received: bool,
    /// What is under way; one that breaks off takes the socket with it.
    operations: JoinSet<Option<Broken>>,
    controls: mpsc::Sender<Box<Control>>,
    control_bytes: Arc<Semaphore>,
    outbox: Outbox,
}

impl<E: Endpoint> Reader<'_, E> {
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> Ending {
        // Until the init it is the time that the client has for it, from then on that to the next sign of life.
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

    /// Ends an operation as the client wants it; whether there was one.
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
        // As a header's, its name is the same in capitals and in small letters.
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
            // Not the client's doing: it may come back.
            Err(fault) => {
                let errors = refuse(fault).errors;
                return refused(1013, errors.first().map_or("", |error| &error.message), &errors);
            }
        };
        // Like a busy desk, and not like a wrong name: the client comes back later, and finds a place when another has left.
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

    /// Answers at once: the reader waits for the writer between frames only.
    fn say(&self, text: String) -> std::result::Result<(), Ending> {
        let share = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let bytes = self.control_bytes.clone().try_acquire_many_owned(share).ok();
        let sent = bytes.and_then(|bytes| self.controls.try_send(Box::new(Control { text, _bytes: bytes })).ok());
        sent.ok_or_else(|| Ending::close(1013, "the client asks and does not read"))
    }
}

/// Answers that one frame and one alarm may need.
const ANSWERS_OF_A_STEP: usize = 2;

/// The next frame, once there is room for the answer to it: many that come at once are answered as the writer gets to it. A
/// client that does not read what it asked for is not waited for by the writer either.
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
    /// What is said besides the frames of groups; a set of one, for the waker of its own: a frame for everybody costs no look
    /// at what is seldom there.
    own: SelectAll<BoxStream<'s, Own>>,
    /// Members of groups, whose frames are written without a queue.
    handed: Handed,
}

/// What is written besides the frames of groups.
enum Own {
    Control(Box<Control>),
    Ping,
    Queued(Box<Queued>),
}

/// All that is written besides the frames of groups. What keeps the connection alive goes before what fills it.
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
    /// What of a queued message is to be written. With the last of an operation its id is free again.
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
            // In either order: neither may keep the other back for as long as it has something to say.
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
            // Nearly always the peer takes it at once, and no clock has to be set.
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
