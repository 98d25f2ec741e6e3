//! One request over HTTP, from its parameters to its response.

use std::net::IpAddr;

use async_graphql::{Response as Answer, parser::types::OperationType};
use axum::body::Body as HttpBody;
use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, StatusCode, request::Parts};
use axum::response::{IntoResponse, Response};

use super::multipart::Mixed;
use super::refused::{Refused, labelled};
use super::reservations::Reservations;
use super::sse::{self, StreamFormat};
use super::state::HttpState;
use super::streaming::{Keeping, StreamEvent, response, said};
use crate::domain::Error;
use crate::graphql::error::refuse;
use crate::server::edge::accept::{Accept, Media};
use crate::server::edge::actor::actor;
use crate::server::edge::admission::Admission;
use crate::server::edge::connections;
use crate::server::edge::panics::caught;
use crate::server::edge::response::written;
use crate::server::operation::{Ready, endpoint::Endpoint, parameters::Parameters, prepare, refused};
use crate::server::served::Served;
use crate::server::share::client_subscription::ClientSubscription;
use crate::server::share::key::ShareKey;
use crate::server::share::shared_answers::{self, Made, SharedAnswer};

/// The part of a request that does not depend on its operation.
pub(super) struct HttpCall<'r, E> {
    pub(super) served: &'r Served<E>,
    pub(super) reservations: &'r Reservations,
    pub(super) headers: &'r HeaderMap,
    accept: Accept,
    method: Method,
    address: Option<IpAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

impl<'r, E: Endpoint> HttpCall<'r, E> {
    pub(super) fn of(state: &'r HttpState<E>, head: &'r Parts, method: Method) -> Self {
        let address = connections::address(&head.extensions);
        let HttpState { served, reservations } = state;
        Self { served, reservations, headers: &head.headers, accept: Accept::of(&head.headers), method, address }
    }

    pub(super) async fn answer(&self, work: impl Future<Output = Result<Response, Refused>>) -> Response {
        let Some(media) = self.accept.of_refusal() else { return not_acceptable().labelled(Media::Json) };
        match caught(work).await {
            Ok(Ok(response)) => response,
            Ok(Err(refused)) => refused.labelled(media),
            Err(fault) => Refused::from(fault).labelled(media),
        }
    }

    pub(super) async fn run(&self, parameters: Parameters) -> Result<Response, Refused> {
        let served = self.served;
        let account = actor(self.headers)?;
        let viewer = served.endpoint.admit(account.clone()).await?;
        let ready = match prepare(parameters, viewer, &served.operations) {
            Ok(ready) => ready,
            Err(errors) => return Ok(self.labelled(&refused(errors))),
        };
        if (ready.operation, self.method) == (OperationType::Mutation, Method::Get) {
            let error = Error::invalid("query", "a mutation is sent by POST");
            return Err(Refused { status: StatusCode::METHOD_NOT_ALLOWED, error });
        }
        match (ready.operation, self.accept.of_operation(ready.operation)) {
            (OperationType::Subscription, Some(media)) => self.stream(account, ready, media),
            (OperationType::Subscription, None) => {
                let message = "a subscription is a stream: accept text/event-stream or multipart/mixed, or use WebSocket \
                               with the subprotocol graphql-transport-ws";
                Err(Error::invalid("query", message).into())
            }
            (_, Some(media)) => {
                let room = served.answer_memory.room(&served.endpoint, &ready).await?;
                let key = media.is_one_json().then(|| shared_answers::key(&served.endpoint, &ready)).flatten();
                let response = match key {
                    Some(key) => self.shared(media, ready, key).await,
                    None => labelled(media, &served.executor.execute(&served.endpoint, ready).await),
                };
                Ok(room.kept_by(response).await)
            }
            (_, None) => Err(not_acceptable()),
        }
    }

    /// Answers a query whose answer may be shared with other requests.
    async fn shared(&self, media: Media, ready: Ready<E::Viewer>, key: ShareKey) -> Response {
        let Served { shared_answers, executor, endpoint, .. } = self.served;
        // Only GET has a condition of this kind.
        let held = (self.method == Method::Get && self.headers.contains_key(IF_NONE_MATCH)).then_some(self.headers);
        match shared_answers.answer(executor, endpoint, ready, key, held).await {
            Ok(Made::Own(answer)) => labelled(media, &answer),
            Ok(Made::Shared(SharedAnswer { json, tag })) => {
                let tag = (self.method == Method::Get).then_some(tag);
                written(StatusCode::OK, media, json.into_response(), tag)
            }
            Ok(Made::Unchanged(tag)) => {
                written(StatusCode::NOT_MODIFIED, media, HttpBody::empty().into_response(), Some(tag))
            }
            Err(error) => labelled(media, &refuse(error)),
        }
    }

    fn stream(&self, account: Option<String>, ready: Ready<E::Viewer>, media: Media) -> Result<Response, Refused> {
        let context = &self.served.subscriptions;
        let (admission, last) = (self.admission(&ready.viewer)?, sse::last_event_id(self.headers));
        Ok(match media {
            Media::Multipart => {
                let keeping = self.keeping(admission, Mixed::opening(), Mixed::heartbeat());
                response(media, said(ClientSubscription::new(context, account, ready), None, Mixed), keeping)
            }
            _ => {
                let keeping = self.keeping(admission, sse::comment(), sse::comment());
                response(
                    media,
                    said(ClientSubscription::after(context, account, ready, last), None, StreamFormat),
                    keeping,
                )
            }
        })
    }

    /// Collects the resources and settings of a streaming response.
    pub(super) fn keeping(&self, admission: Admission, opening: StreamEvent, heartbeat: StreamEvent) -> Keeping {
        let (shutdown, settings) = (self.served.shutdown.clone(), self.served.settings.streams.clone());
        Keeping { admission, shutdown, settings, opening, heartbeat }
    }

    /// Takes a slot among the sockets for this caller.
    pub(super) fn admission(&self, viewer: &E::Viewer) -> Result<Admission, Refused> {
        let admission = self.served.admissions.admit(self.address, &self.served.settings.admission);
        let admission = admission.and_then(|mut admission| {
            admission.belongs_to(self.served.endpoint.principal(viewer))?;
            Ok(admission)
        });
        admission.map_err(|error| Refused { status: StatusCode::SERVICE_UNAVAILABLE, error })
    }

    /// Writes the refusal of a request as its answer.
    pub(super) fn labelled(&self, answer: &Answer) -> Response {
        labelled(self.accept.of_refusal().unwrap_or(Media::Json), answer)
    }

    /// Returns whether the client accepts an event stream.
    pub(super) fn reads_events(&self) -> bool {
        self.accept.of_operation(OperationType::Subscription) == Some(Media::EventStream)
    }
}

fn not_acceptable() -> Refused {
    let message = "answers are application/graphql-response+json or application/json, in utf-8, or text/event-stream";
    Refused { status: StatusCode::NOT_ACCEPTABLE, error: Error::invalid("Accept", message) }
}
