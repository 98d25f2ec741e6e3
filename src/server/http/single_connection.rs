//! GraphQL over Server-Sent Events with several operations on one stream: the single connection mode of graphql-sse.
//!
//! A browser opens six connections to an origin over HTTP/1.1, and each stream takes one. In this mode PUT reserves a
//! stream and answers with its token. GET with the token opens the stream, POST with the token adds an operation, and
//! DELETE removes one.

use std::pin::pin;

use async_graphql::Response as Answer;
use async_graphql::parser::types::OperationType;
use async_stream::stream;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use serde_json::{Value, json};

use super::call::HttpCall;
use super::refused::Refused;
use super::reservations::{Opened, Queue, TOKEN, no_such_stream};
use super::sse::{EventsOf, comment};
use super::state::HttpState;
use super::streaming::{Said, no_stream, of_answer, response, said};
use crate::domain::{Error, Result};
use crate::graphql::error::is_request_error;
use crate::server::edge::accept::Media;
use crate::server::edge::actor::actor;
use crate::server::edge::connections;
use crate::server::edge::panics::caught;
use crate::server::edge::url::url_parameter;
use crate::server::operation::endpoint::Endpoint;
use crate::server::operation::parameters::Parameters;
use crate::server::operation::{OPERATION_ID_BYTES, Ready, prepare, refused};
use crate::server::served::Served;
use crate::server::share::client_subscription::ClientSubscription;
use crate::server::share::frame::StreamItem;

/// `PUT`: reserves a stream.
pub(in crate::server) async fn put<E: Endpoint>(State(state): State<HttpState<E>>, request: Request) -> Response {
    let HttpState { served, reservations } = state;
    let account = actor(request.headers());
    let address = connections::address(request.extensions());
    let reserved = async {
        let account = account?;
        let viewer = served.endpoint.admit(account.clone()).await?;
        let settings = &served.settings.streams;
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
pub(in crate::server) async fn delete<E: Endpoint>(State(state): State<HttpState<E>>, request: Request) -> Response {
    let ended = || {
        let Some(token) = token(request.uri(), request.headers())? else {
            return Err(Error::invalid(TOKEN, "name the stream by its token").into());
        };
        let reservation = state.reservations.find(&token, request.headers())?;
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
pub(super) async fn open<E: Endpoint>(call: &HttpCall<'_, E>, token: String) -> std::result::Result<Response, Refused> {
    let served = call.served;
    let reservation = call.reservations.find(&token, call.headers)?;
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
    let opened = Opened { reservations: call.reservations.clone(), token };
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

/// `POST` with a token: adds an operation to the stream. The response refuses a faulty request.
pub(super) async fn operate<E: Endpoint>(
    call: &HttpCall<'_, E>,
    token: &str,
    parameters: impl Future<Output = std::result::Result<Parameters, Refused>>,
) -> std::result::Result<Response, Refused> {
    let served = call.served;
    let reservation = call.reservations.find(token, call.headers)?;
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
        let mut room = served.answer_memory.room(&served.endpoint, &ready).await?;
        let answer = served.executor.execute(&served.endpoint, ready).await;
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
    let mut subscription = ClientSubscription::new(&served.subscriptions, account, ready);
    // A document that the schema refuses is refused before any wait.
    let first = match caught(subscription.next()).now_or_never() {
        Some(first) => match first.and_then(|first| first)? {
            Some(StreamItem::Refused(errors)) => return Ok(Spoken::Wrong(Box::new(no_stream(&errors)))),
            first => first,
        },
        None => None,
    };
    Ok(Spoken::Events(said(subscription, first, form).boxed()))
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
