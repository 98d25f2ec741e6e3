//! GraphQL over WebSocket: the subprotocol `graphql-transport-ws`, as the reference server of graphql-ws speaks it.
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

use async_graphql::parser::types::OperationType;
use axum::{
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use futures_util::{
    FutureExt, SinkExt, StreamExt,
    future::BoxFuture,
    stream::{SplitSink, SplitStream},
};
use serde_json::{Map, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    endpoint::Endpoint,
    following::Following,
    group::Item,
    http::{actor, refusal},
    operation::{Parameters, caught, execute, prepare, refused},
    outbox::{Content, Handed, Operation, OperationOutbox, Outbox, Queued, Returned},
    routes::{ACTOR, Served, stopped},
    transport_ws::{Incoming, Outgoing},
};
use crate::{
    domain::{Error, Result},
    graphql::error::{is_request_error, refuse},
};

/// The one subprotocol spoken. Its predecessor, confusingly named `graphql-ws`, is not.
pub const SUBPROTOCOL: &str = "graphql-transport-ws";

/// Allocated for each socket as long as it lives. tungstenite's own choice is 128 KiB, which idle walls of thousands of
/// sockets would pay for; messages of clients are small, and larger ones are read in several goes.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Messages that answer the client directly (acknowledgement, pongs, refusals) and wait for the writer. A client that
/// asks for more without reading gets closed.
const CONTROL_MESSAGES: usize = 64;

/// Bytes of them, in messages of the largest size: a pong echoes what the ping brought.
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
    /// How long a socket may take to say `connection_init`; as in graphql-ws.
    pub init_wait: Duration,
    /// How often a silent peer is pinged; as in graphql-ws. Proxies cut connections that are idle for 60 s.
    pub ping_every: Duration,
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
            init_wait: Duration::from_secs(3),
            ping_every: Duration::from_secs(12),
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
    address: Option<IpAddr>,
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
    let message_bytes = served.settings.socket.message_bytes;
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(message_bytes)
        .max_frame_size(message_bytes);
    if upgrade.selected_protocol().is_none() {
        let message = format!("the socket speaks {SUBPROTOCOL} only; offer it");
        return refusal(StatusCode::BAD_REQUEST, Error::invalid("Sec-WebSocket-Protocol", message));
    }
    let admission = match served.crowd.admit(address, &served.settings.crowd) {
        Ok(admission) => admission,
        Err(error) => return refusal(StatusCode::SERVICE_UNAVAILABLE, error),
    };
    upgrade.on_upgrade(async move |socket| {
        let _place = admission;
        serve(socket, served, account).await;
    })
}

async fn serve<E: Endpoint>(socket: WebSocket, served: Served<E>, account: Option<String>) {
    let settings = served.settings.socket.clone();
    let mut shutdown = served.shutdown.clone();
    let (mut sink, mut stream) = socket.split();
    let (controls, control_queue) = mpsc::channel(CONTROL_MESSAGES);
    let (outbox, queue) = Outbox::new(settings.outbox_messages, settings.outbox_bytes.clamp(1, MOST_BYTES));
    let socket = Socket::default();

    let mut reader = Reader {
        socket: &socket,
        served,
        account,
        admitted: false,
        admission: None,
        init_received: false,
        operations: JoinSet::new(),
        controls,
        control_bytes: Arc::new(Semaphore::new(settings.message_bytes.saturating_mul(CONTROL_LARGEST).min(MOST_BYTES))),
        outbox,
    };
    let mut writer =
        Writer { socket: &socket, settings: &settings, controls: control_queue, queue, handed: Handed::default() };
    let ending = tokio::select! {
        ending = reader.run(&mut stream) => ending,
        ending = writer.run(&mut sink) => ending,
        () = stopped(&mut shutdown) => Ending::close(1012, "the desk restarts, come back"),
    };
    // Ends the operations, before the peer is given time to say goodbye.
    drop(reader);
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
    close: Option<CloseFrame>,
    /// The stream cannot be read any further, so the peer's goodbye will not be seen.
    unreadable: bool,
}

impl Ending {
    fn close(code: u16, reason: impl AsRef<str>) -> Self {
        let reason = reason.as_ref();
        let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES)];
        Self { close: Some(CloseFrame { code, reason: reason.into() }), unreadable: false }
    }

    /// The peer has left, or said that it will.
    fn gone() -> Self {
        Self { close: None, unreadable: false }
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
            tokio::join!(sink.send(Message::Close(Some(frame))), drain).0.unwrap_or_default();
        };
        // A peer that does not answer in time is cut.
        timeout(close_wait, goodbye).await.unwrap_or_default();
    }
}

struct Reader<'s, E: Endpoint> {
    socket: &'s Socket,
    served: Served<E>,
    /// Whom the header of the upgrade names, or `connection_init` after it.
    account: Option<String>,
    admitted: bool,
    admission: Option<BoxFuture<'static, Result<E::Viewer>>>,
    init_received: bool,
    /// What is under way; one that breaks off takes the socket with it.
    operations: JoinSet<Option<Ending>>,
    controls: mpsc::Sender<Control>,
    control_bytes: Arc<Semaphore>,
    outbox: Outbox,
}

impl<E: Endpoint> Reader<'_, E> {
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> Ending {
        let mut init_wait = std::pin::pin!(sleep(self.served.settings.socket.init_wait));
        loop {
            let step = tokio::select! {
                frame = stream.next() => self.frame(frame),
                viewer = pending_or(&mut self.admission), if self.admission.is_some() => self.admitted(viewer),
                () = &mut init_wait, if !self.init_received => {
                    Err(Ending::close(4408, "Connection initialisation timeout"))
                }
                Some(done) = self.operations.join_next() => match done {
                    Ok(Some(ending)) => Err(ending),
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
            Some(Ok(Message::Text(text))) => match Incoming::read(&text) {
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
            Incoming::Ping(payload) => self.control(&Outgoing::Pong { payload: payload.as_ref() }),
            Incoming::Pong => Ok(()),
            Incoming::Subscribe(id, parameters) => self.subscribe(id, parameters),
            Incoming::Complete(id) => {
                if let Some(active) = self.socket.active().remove(&id) {
                    active.operation.complete();
                    active.task.abort();
                }
                Ok(())
            }
        }
    }

    fn admit(&mut self, payload: Option<Map<String, Value>>) -> std::result::Result<(), Ending> {
        let account = match payload.and_then(|mut payload| payload.remove(ACTOR)) {
            None | Some(Value::Null) => self.account.take(),
            Some(Value::String(account)) => Some(account.trim().to_owned()).filter(|it| !it.is_empty()),
            Some(_) => return Err(Ending::close(4400, format!("{ACTOR} must be a string"))),
        };
        let endpoint = self.served.endpoint.clone();
        self.account.clone_from(&account);
        self.admission = Some(async move { caught(endpoint.admit(account)).await? }.boxed());
        Ok(())
    }

    fn admitted(&mut self, viewer: Result<E::Viewer>) -> std::result::Result<(), Ending> {
        self.admission = None;
        match viewer {
            Ok(_) => {
                self.admitted = true;
                self.control(&Outgoing::ConnectionAck)
            }
            Err(Error::Refused(refusal)) => Err(Ending::close(4403, &refusal.message)),
            // Not the client's doing: it may come back.
            Err(fault) => {
                let answer = refuse(fault);
                Err(Ending::close(1013, answer.errors.first().map_or("", |error| &error.message)))
            }
        }
    }

    fn subscribe(&mut self, id: String, parameters: Parameters) -> std::result::Result<(), Ending> {
        if !self.admitted {
            return Err(Ending::close(4401, "Unauthorized"));
        }
        let mut active = self.socket.active();
        if active.contains_key(&id) {
            return Err(Ending::close(4409, format!("Subscriber for {id} already exists")));
        }
        let bound = self.served.settings.socket.subscriptions;
        if active.len() >= bound {
            drop(active);
            let message = format!("a socket carries {bound} operations at once");
            let answer = refuse(Error::limit("id", message, bound));
            return self.control(&Outgoing::Error { id: &id, payload: &answer.errors });
        }
        let operation = Arc::new(Operation::new(id.clone()));
        let outbox = self.outbox.of(operation.clone());
        let task = self.operations.spawn(operate(self.served.clone(), self.account.clone(), parameters, outbox));
        active.insert(id, Active { operation, task });
        Ok(())
    }

    /// Answers at once: the reader never waits for the writer.
    fn control(&self, message: &Outgoing<'_>) -> std::result::Result<(), Ending> {
        let sent = message.text().ok().and_then(|text| {
            let share = u32::try_from(text.len()).ok()?;
            let bytes = self.control_bytes.clone().try_acquire_many_owned(share).ok()?;
            self.controls.try_send(Control { text, _bytes: bytes }).ok()
        });
        sent.ok_or_else(|| Ending::close(1013, "the client asks and does not read"))
    }
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
    controls: mpsc::Receiver<Control>,
    queue: mpsc::Receiver<Queued>,
    /// Members of groups, whose frames are written without a queue.
    handed: Handed,
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
                self.handed.add(operation, *member);
                None
            }
        })
    }

    async fn run(&mut self, sink: &mut SplitSink<WebSocket, Message>) -> Ending {
        let mut pings = interval_at(Instant::now() + self.settings.ping_every, self.settings.ping_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What keeps the connection alive goes before what fills it.
            let message = tokio::select! {
                biased;
                Some(control) = self.controls.recv() => Message::Text(control.text.into()),
                _ = pings.tick() => {
                    if self.socket.unanswered_pings.fetch_add(1, Ordering::Relaxed) >= MISSED_PINGS {
                        return Ending::close(1013, "no answer to pings");
                    }
                    Message::Ping(Default::default())
                }
                Some(queued) = self.queue.recv() => match self.take(queued) {
                    Ok(Some(text)) => Message::Text(text.into()),
                    Ok(None) => continue,
                    Err(ending) => return ending,
                },
                text = self.handed.next() => Message::Text(text.into()),
            };
            match timeout(self.settings.write_deadline, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ending::gone(),
                Err(_) => return Ending::close(1013, "the client does not read fast enough"),
            }
        }
    }
}

async fn operate<E: Endpoint>(
    served: Served<E>,
    account: Option<String>,
    parameters: Parameters,
    outbox: OperationOutbox,
) -> Option<Ending> {
    let run = caught(run(&served, account, parameters, &outbox)).await;
    match run.and_then(|ran| ran) {
        Ok(Ran::Through) => None,
        // `complete` would say that nothing more will come, and no client comes back after that.
        Ok(Ran::Broken) => Some(Ending::close(1013, "the desk could not read on, come back")),
        Err(fault) => {
            outbox.error(&refuse(fault).errors).await.unwrap_or_default();
            None
        }
    }
}

/// How an operation ended.
enum Ran {
    /// Everything about it was said.
    Through,
    /// A subscription broke off that the client believes to be open.
    Broken,
}

async fn run<E: Endpoint>(
    served: &Served<E>,
    account: Option<String>,
    parameters: Parameters,
    outbox: &OperationOutbox,
) -> Result<Ran> {
    // Asked for each operation: a socket lives for days, and rights change meanwhile.
    let viewer = served.endpoint.admit(account).await?;
    let ready = match prepare(parameters, viewer, &served.settings.limits) {
        Ok(ready) => ready,
        Err(error) => return outbox.error(&refused(error).errors).await.map(|()| Ran::Through),
    };
    if ready.operation != OperationType::Subscription {
        let answer = execute(&served.endpoint, ready).await;
        if is_request_error(&answer) {
            return outbox.error(&answer.errors).await.map(|()| Ran::Through);
        }
        outbox.next(&answer).await?;
        return outbox.complete().await.map(|()| Ran::Through);
    }
    let mut following = Following::new(served.endpoint.clone(), served.groups.clone(), ready);
    loop {
        if let Some(member) = following.take_member() {
            match outbox.hand_over(member).await {
                Returned::Behind(standing) => following.go_on_from(standing),
                Returned::Refused(errors) => return outbox.error(&errors).await.map(|()| Ran::Through),
                Returned::Ended => return outbox.complete().await.map(|()| Ran::Through),
            }
        }
        match following.next().await? {
            Some(Item::Next(payload)) => outbox.next_of(&payload).await,
            Some(Item::Refused(errors)) => return outbox.error(&errors).await.map(|()| Ran::Through),
            Some(Item::Broken) => return Ok(Ran::Broken),
            None => return outbox.complete().await.map(|()| Ran::Through),
        }
    }
}
