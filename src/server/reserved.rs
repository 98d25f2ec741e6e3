//! GraphQL over Server-Sent Events with several operations on one stream: the single connection mode of graphql-sse.
//!
//! A browser opens six connections to an origin over HTTP/1.1, and each stream takes one. In this mode PUT reserves a
//! stream and answers with its token. GET with the token opens the stream, POST with the token adds an operation, and
//! DELETE removes one. The token stands for the account that reserved the stream, so it must not be guessable. A caller
//! that names another account cannot use it. A reservation ends with its stream, or if it is not opened in time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::Response as Answer;
use async_graphql::parser::types::OperationType;
use async_stream::stream;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::accept::Media;
use super::connections;
use super::crowd::leave;
use super::endpoint::Endpoint;
use super::following::Following;
use super::group::Item;
use super::http::{Call, Refused, actor, url_parameter};
use super::operation::{OPERATION_ID_BYTES, Parameters, Ready, caught, prepare, refused};
use super::routes::Served;
use super::sse::{EventsOf, comment};
use super::streaming::{Said, StreamSettings, no_stream, of_answer, response, said};
use crate::domain::{Error, Result};
use crate::graphql::error::is_request_error;

/// The header that names a stream. In an address the parameter `token` names it.
const TOKEN: &str = "X-GraphQL-Event-Stream-Token";

/// 256 bits of the system's randomness, so that a token cannot be guessed.
const TOKEN_BYTES: usize = 32;

/// Operations that wait for the stream to take them up. The requests behind them wait.
const OPERATIONS_QUEUED: usize = 16;

/// The reserved streams of a server, by their token. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Reservations {
    by_token: Arc<Mutex<HashMap<String, Arc<Reservation>>>>,
    waiting: Arc<Mutex<Counts>>,
}

/// Counts the streams that wait to be opened, in all, by account and by address.
#[derive(Default)]
struct Counts {
    in_all: usize,
    by_principal: HashMap<Vec<u8>, usize>,
    by_address: HashMap<IpAddr, usize>,
}

struct Reservation {
    account: Option<String>,
    operations: mpsc::Sender<BoxStream<'static, Said>>,
    /// Taken by the request that opens the stream; `None` once it is open.
    queue: Mutex<Option<Queue>>,
    active: Mutex<Active>,
}

struct Queue {
    operations: mpsc::Receiver<BoxStream<'static, Said>>,
    _waiting: Waiting,
}

/// A stream that waits to be opened. It counts until this value is dropped.
struct Waiting {
    counts: Arc<Mutex<Counts>>,
    principal: Vec<u8>,
    address: Option<IpAddr>,
}

#[derive(Default)]
struct Active {
    /// The number of uses of ids so far. It tells two uses of one id apart.
    uses: u64,
    by_id: HashMap<String, (u64, watch::Sender<()>)>,
}

/// One use of an operation's id on a stream. The id is free again when this is dropped.
struct Use {
    reservation: Arc<Reservation>,
    id: String,
    number: u64,
    /// Closed when the client removes the operation.
    wanted: watch::Receiver<()>,
}

/// An open stream. Dropping this value removes the reservation.
struct Opened {
    reservations: Reservations,
    token: String,
}

/// `PUT`: reserves a stream.
pub(super) async fn put<E: Endpoint>(State(served): State<Served<E>>, request: Request) -> Response {
    let account = actor(request.headers());
    let address = connections::address(request.extensions());
    let reserved = async {
        let account = account?;
        let viewer = served.endpoint.admit(account.clone()).await?;
        let (reservations, settings) = (served.reservations.clone(), &served.settings.streams);
        let waiting = reservations.wait(served.endpoint.principal(&viewer), address, settings)?;
        reservations.reserve(account, waiting, settings)
    };
    match caught(reserved).await.unwrap_or_else(|fault| Err(fault.into())) {
        Ok(token) => {
            let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
            (StatusCode::CREATED, [kind, (header::CACHE_CONTROL, "no-store")], token).into_response()
        }
        Err(refused) => refused.labelled(Media::Json),
    }
}

/// `DELETE`: removes an operation from a stream.
pub(super) async fn delete<E: Endpoint>(State(served): State<Served<E>>, request: Request) -> Response {
    let ended = || {
        let Some(token) = token(request.uri(), request.headers())? else {
            return Err(Error::invalid(TOKEN, "name the stream by its token").into());
        };
        let reservation = served.reservations.find(&token, request.headers())?;
        let Some(id) = url_parameter(request.uri(), "operationId")? else {
            return Err(Error::invalid("operationId", "name the operation").into());
        };
        reservation.active().by_id.remove(&id);
        Ok::<_, Refused>(())
    };
    match ended() {
        Ok(()) => (StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]).into_response(),
        Err(refused) => refused.labelled(Media::Json),
    }
}

/// Returns the token that a request names, if it names one.
pub(super) fn token(uri: &Uri, headers: &HeaderMap) -> Result<Option<String>> {
    match headers.get(TOKEN) {
        Some(token) => Ok(Some(token.to_str().unwrap_or_default().to_owned())),
        None => url_parameter(uri, "token"),
    }
}

/// `GET` with a token: opens the stream.
pub(super) async fn open<E: Endpoint>(call: &Call<'_, E>, token: String) -> std::result::Result<Response, Refused> {
    let served = call.served;
    let reservation = served.reservations.find(&token, call.headers)?;
    if !call.reads_events() {
        let error = Error::invalid("Accept", "a stream is text/event-stream");
        return Err(Refused { status: StatusCode::NOT_ACCEPTABLE, error });
    }
    let viewer = served.endpoint.admit(reservation.account.clone()).await?;
    let admission = call.admission(&viewer)?;
    let Some(Queue { operations: mut queue, .. }) = reservation.take_queue() else {
        let error = Error::conflict("the stream is open already", json!({ "open": true }));
        return Err(Refused { status: StatusCode::CONFLICT, error });
    };
    let opened = Opened { reservations: served.reservations.clone(), token };
    let events = stream! {
        let _opened = opened;
        let mut operations = SelectAll::new();
        loop {
            tokio::select! {
                Some(operation) = queue.recv() => operations.push(operation),
                Some(said) = operations.next(), if !operations.is_empty() => yield said,
            }
        }
    };
    let keeping = call.keeping(admission, comment(), comment());
    Ok(response(Media::EventStream, events, keeping))
}

/// `POST` with a token: adds an operation to the stream. The answer to the request says what is wrong with it.
pub(super) async fn operate<E: Endpoint>(
    call: &Call<'_, E>,
    token: &str,
    parameters: impl Future<Output = std::result::Result<Parameters, Refused>>,
) -> std::result::Result<Response, Refused> {
    let served = call.served;
    let reservation = served.reservations.find(token, call.headers)?;
    let parameters = parameters.await?;
    let id = operation_id(&parameters)?;
    let viewer = served.endpoint.admit(reservation.account.clone()).await?;
    let ready = match prepare(parameters, viewer, &served.operations) {
        Ok(ready) => ready,
        Err(errors) => return Ok(call.labelled(&refused(errors))),
    };
    let one = reservation.begin(&id, served.settings.socket.subscriptions)?;
    let mut wanted = one.wanted.clone();
    let accepted = |status: StatusCode| (status, [(header::CACHE_CONTROL, "no-store")]).into_response();
    let spoken = tokio::select! {
        spoken = speak(served, reservation.account.clone(), ready, &id) => spoken?,
        // The client has removed the operation again.
        _ = wanted.changed() => return Ok(accepted(StatusCode::NO_CONTENT)),
    };
    let events = match spoken {
        Spoken::Events(events) => events,
        Spoken::Wrong(answer) => return Ok(call.labelled(&answer)),
    };
    let events = stream! {
        let mut one = one;
        let mut events = pin!(events.take_until(one.wanted.changed()));
        while let Some(said) = events.next().await {
            yield said;
        }
    };
    match reservation.operations.send(events.boxed()).await {
        Ok(()) => Ok(accepted(StatusCode::ACCEPTED)),
        Err(_) => Err(no_such_stream()),
    }
}

enum Spoken {
    Events(BoxStream<'static, Said>),
    /// The schema refuses the request.
    Wrong(Box<Answer>),
}

async fn speak<E: Endpoint>(
    served: &Served<E>,
    account: Option<String>,
    ready: Ready<E::Viewer>,
    id: &str,
) -> std::result::Result<Spoken, Refused> {
    let form = EventsOf::operation(id);
    if ready.operation != OperationType::Subscription {
        let mut room = served.answers.room(&served.endpoint, &ready).await?;
        let answer = served.work.execute(&served.endpoint, ready).await;
        if is_request_error(&answer) {
            return Ok(Spoken::Wrong(Box::new(answer)));
        }
        let event = of_answer(&answer, &form)?;
        room.fit(event.len());
        let once = async move {
            let _room = room;
            Ok(event)
        };
        return Ok(Spoken::Events(futures_util::stream::once(once).boxed()));
    }
    let mut following = Following::new(&Arc::new(served.clone()), account, ready);
    // A document that the schema refuses is refused before any wait.
    let first = match caught(following.next()).now_or_never() {
        Some(first) => match first.and_then(|first| first)? {
            Some(Item::Refused(errors)) => return Ok(Spoken::Wrong(Box::new(no_stream(&errors)))),
            first => first,
        },
        None => None,
    };
    Ok(Spoken::Events(said(following, first, form).boxed()))
}

fn operation_id(parameters: &Parameters) -> std::result::Result<String, Refused> {
    match &parameters.operation_id {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= OPERATION_ID_BYTES => Ok(id.clone()),
        _ => {
            let message = format!("name the operation by a string of 1 to {OPERATION_ID_BYTES} bytes");
            Err(Error::invalid("extensions.operationId", message).into())
        }
    }
}

fn no_such_stream() -> Refused {
    Refused { status: StatusCode::NOT_FOUND, error: Error::not_found("stream", "of this token").at(TOKEN) }
}

impl Reservations {
    fn streams(&self) -> MutexGuard<'_, HashMap<String, Arc<Reservation>>> {
        lock(&self.by_token)
    }

    /// Counts a stream that waits to be opened; refuses it beyond the limits.
    fn wait(
        &self,
        principal: Vec<u8>,
        address: Option<IpAddr>,
        settings: &StreamSettings,
    ) -> std::result::Result<Waiting, Refused> {
        let mut counts = lock(&self.waiting);
        let of_address = address.map(|address| counts.by_address.get(&address).copied().unwrap_or_default());
        for (count, bound, whose) in [
            (counts.in_all, settings.reservations, ""),
            (
                counts.by_principal.get(&principal).copied().unwrap_or_default(),
                settings.reservations_per_principal,
                " by an account",
            ),
            (of_address.unwrap_or_default(), settings.reservations_per_address, " from an address"),
        ] {
            if count >= bound {
                let message = format!("{bound} streams are reserved{whose} and not opened; try again");
                let error = Error::limit("socket", message, bound);
                return Err(Refused { status: StatusCode::SERVICE_UNAVAILABLE, error });
            }
        }
        counts.in_all += 1;
        *counts.by_principal.entry(principal.clone()).or_default() += 1;
        if let Some(address) = address {
            *counts.by_address.entry(address).or_default() += 1;
        }
        Ok(Waiting { counts: self.waiting.clone(), principal, address })
    }

    fn reserve(
        self,
        account: Option<String>,
        waiting: Waiting,
        settings: &StreamSettings,
    ) -> std::result::Result<String, Refused> {
        let mut token = [0; TOKEN_BYTES];
        getrandom::fill(&mut token).map_err(|error| Error::fault("making a token", error))?;
        let token = URL_SAFE_NO_PAD.encode(token);
        let (operations, queue) = mpsc::channel(OPERATIONS_QUEUED);
        let queue = Mutex::new(Some(Queue { operations: queue, _waiting: waiting }));
        let reservation = Reservation { account, operations, queue, active: Mutex::default() };
        self.streams().insert(token.clone(), Arc::new(reservation));
        let (reservations, wait, reserved) = (self, settings.reservation_wait, token.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let mut streams = reservations.streams();
            let waiting = streams.get(&reserved).and_then(|stream| stream.take_queue());
            if waiting.is_some() {
                streams.remove(&reserved);
            }
            // The operations of the stream end here, which frees their ids.
            drop((streams, waiting));
        });
        Ok(token)
    }

    /// Finds the reservation of a token. The caller may not name another account than the one that reserved it.
    fn find(&self, token: &str, headers: &HeaderMap) -> std::result::Result<Arc<Reservation>, Refused> {
        let named = actor(headers)?;
        let found = self.streams().get(token).cloned();
        found.filter(|found| named.is_none() || named == found.account).ok_or_else(no_such_stream)
    }
}

impl Reservation {
    fn take_queue(&self) -> Option<Queue> {
        lock(&self.queue).take()
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        lock(&self.active)
    }

    fn begin(self: &Arc<Self>, id: &str, bound: usize) -> std::result::Result<Use, Refused> {
        let mut active = self.active();
        if active.by_id.contains_key(id) {
            let error = Error::conflict(format!("the operation {id} is there already"), json!({ "operationId": id }));
            return Err(Refused { status: StatusCode::CONFLICT, error });
        }
        if active.by_id.len() >= bound {
            let message = format!("a stream carries {bound} operations at once");
            return Err(Error::limit("extensions.operationId", message, bound).into());
        }
        let (wants, wanted) = watch::channel(());
        active.uses += 1;
        let number = active.uses;
        active.by_id.insert(id.to_owned(), (number, wants));
        Ok(Use { reservation: self.clone(), id: id.to_owned(), number, wanted })
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code is awaited or called while the lock is held, so a poisoned value is consistent.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        counts.in_all -= 1;
        leave(&mut counts.by_principal, &self.principal);
        if let Some(address) = &self.address {
            leave(&mut counts.by_address, address);
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut active = self.reservation.active();
        if active.by_id.get(&self.id).is_some_and(|(number, _)| *number == self.number) {
            active.by_id.remove(&self.id);
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.reservations.streams().remove(&self.token);
    }
}
