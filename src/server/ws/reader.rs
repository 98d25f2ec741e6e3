//! The reading side of a socket.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_graphql::ServerError;
use axum::extract::ws::{Message, WebSocket};
use futures_util::future::BoxFuture;
use futures_util::stream::SplitStream;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::ending::Ending;
use super::incoming::IncomingMessage;
use super::operation::{BrokenSubscription, operate};
use super::outbox::{OperationUse, Outbox};
use super::socket_state::{Control, OpenOperation, Socket};
use super::subprotocol::Subprotocol;
use crate::domain::{Error, Result};
use crate::graphql::error::refuse;
use crate::server::edge::actor::{ACTOR, named_account};
use crate::server::edge::admission::Admission;
use crate::server::edge::panics::caught;
use crate::server::operation::endpoint::Endpoint;
use crate::server::operation::parameters::Parameters;
use crate::server::served::Served;

/// Reads the messages of the client, and starts and ends operations.
pub(super) struct MessageReader<'s, E: Endpoint> {
    pub(super) socket: &'s Socket,
    pub(super) place: &'s mut Admission,
    pub(super) served: Arc<Served<E>>,
    pub(super) subprotocol: Subprotocol,
    /// The account that the header of the upgrade names, or `connection_init` after it.
    pub(super) account: Option<String>,
    pub(super) admitted: bool,
    pub(super) admission: Option<BoxFuture<'static, Result<E::Viewer>>>,
    pub(super) init_received: bool,
    /// The tasks of the open operations. An operation that breaks off ends the socket.
    pub(super) operations: JoinSet<Option<BrokenSubscription>>,
    pub(super) controls: mpsc::Sender<Box<Control>>,
    pub(super) control_bytes: Arc<Semaphore>,
    pub(super) outbox: Outbox,
}

impl<E: Endpoint> MessageReader<'_, E> {
    /// Reads until the socket ends.
    pub(super) async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> Ending {
        // Until `connection_init` this is the client's deadline for it, afterwards the time of the next keep-alive
        // message.
        let mut alarm = std::pin::pin!(sleep(self.served.settings.socket.init_wait));
        loop {
            let may_read = self.admission.is_none() || !self.subprotocol.runs_ahead();
            let may_ring = !self.init_received || (self.admitted && self.subprotocol.keep_alive().is_some());
            let step = tokio::select! {
                frame = next_frame(&self.controls, stream), if may_read => self.frame(frame),
                viewer = pending_or(&mut self.admission), if self.admission.is_some() => self.admitted(viewer),
                () = &mut alarm, if may_ring => {
                    alarm.as_mut().reset(Instant::now() + self.served.settings.socket.keep_alive_every);
                    self.alarm()
                }
                Some(done) = self.operations.join_next() => match done {
                    Ok(Some(BrokenSubscription)) => Err(Ending::close(1013, "the desk could not read on, come back")),
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
            Some(Ok(Message::Text(text))) => match self.subprotocol.read(&text) {
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

    fn message(&mut self, message: IncomingMessage) -> std::result::Result<(), Ending> {
        match message {
            IncomingMessage::Init(_) if self.init_received => {
                Err(Ending::close(4429, "Too many initialisation requests"))
            }
            IncomingMessage::Init(payload) => {
                self.init_received = true;
                self.admit(payload)
            }
            IncomingMessage::Subscribe(id, parameters) => self.subscribe(id, parameters),
            IncomingMessage::Complete(id) => {
                if self.end(&id) {
                    self.subprotocol.confirmed(&id).map_or(Ok(()), |text| self.say(text))
                } else {
                    Ok(())
                }
            }
            IncomingMessage::Answer(text) => self.say(text),
            IncomingMessage::Nothing => Ok(()),
            IncomingMessage::Terminate => Err(Ending::close(1000, "")),
        }
    }

    /// Ends an operation at the client's request; returns whether it was open.
    fn end(&self, id: &str) -> bool {
        let ended = self.socket.active().remove(id);
        if let Some(OpenOperation { operation, task }) = &ended {
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
        self.subprotocol.keep_alive().map_or(Ok(()), |text| self.say(text.to_owned()))
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
            let last_words = self.subprotocol.turned_away(errors);
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
        self.say(self.subprotocol.ack().to_owned())?;
        self.keep_alive()
    }

    fn subscribe(&mut self, id: String, parameters: Result<Parameters>) -> std::result::Result<(), Ending> {
        if !self.admitted {
            return match self.subprotocol.too_early(&id) {
                Some(text) => self.say(text),
                None => Err(Ending::close(4401, "Unauthorized")),
            };
        }
        if self.subprotocol.replaces() {
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
            return self.say(self.subprotocol.error(&id, &errors).unwrap_or_default());
        }
        let parameters = match parameters {
            Ok(parameters) => parameters,
            Err(error) => {
                drop(active);
                return self.say(self.subprotocol.error(&id, &refuse(error).errors).unwrap_or_default());
            }
        };
        let operation = Arc::new(OperationUse::new(self.subprotocol, id.clone()));
        let outbox = self.outbox.of(operation.clone());
        let parameters = Box::new(parameters);
        let task = self.operations.spawn(operate(self.served.clone(), self.account.clone(), parameters, outbox));
        active.insert(id, OpenOperation { operation, task });
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
