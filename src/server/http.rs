//! GraphQL over HTTP: one operation per request, according to the working group's draft and its audits of 2025.
//!
//! Every body is a GraphQL response, and its errors carry a code. POST takes only `application/json`, which a page of
//! another origin cannot send without a preflight request. GET changes nothing. A subscription is answered in a
//! streaming media type if the client names one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Response as Answer, parser::types::OperationType};
use axum::{
    Json,
    body::Body as HttpBody,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
        request::Parts,
    },
    response::{IntoResponse, Response},
};

use super::{
    accept::{Accept, Media, is_utf8},
    asked::Key,
    connections,
    crowd::Admission,
    endpoint::Endpoint,
    following::Following,
    headers::REVALIDATE,
    inflate::{self, Coding, Unread},
    multipart::{self, Mixed},
    operation::{Body, Parameters, Ready, caught, prepare, refused},
    reserved,
    routes::{ACTOR, Served},
    shared_answers::{self, Made, SharedAnswer},
    sse::{self, Events},
    streaming::{Event, Keeping, response, said},
};
use crate::{
    domain::{Code, Error},
    graphql::error::{code_of, is_request_error, refuse},
};

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

/// The part of a request that does not depend on its operation.
pub(super) struct Call<'r, E> {
    pub(super) served: &'r Served<E>,
    pub(super) headers: &'r HeaderMap,
    accept: Accept,
    method: Method,
    address: Option<IpAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Post,
}

pub(super) async fn post<E: Endpoint>(State(served): State<Served<E>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let call = Call::of(&served, &head, Method::Post);
    let parameters = async {
        json_content(&head.headers)?;
        let body = read(&head.headers, body, &served.settings.http).await?;
        let body = std::str::from_utf8(&body).map_err(|_| Error::invalid("body", "the body is not UTF-8"))?;
        Ok(Parameters::read("body", body)?)
    };
    call.answer(async {
        match reserved::token(&head.uri, &head.headers)? {
            Some(token) => reserved::operate(&call, &token, parameters).await,
            None => call.run(parameters.await?).await,
        }
    })
    .await
}

pub(super) async fn get<E: Endpoint>(served: &Served<E>, head: &Parts) -> Response {
    let call = Call::of(served, head, Method::Get);
    call.answer(async {
        if let Some(token) = reserved::token(&head.uri, &head.headers)? {
            return reserved::open(&call, token).await;
        }
        call.run(Parameters::of_address(form_pairs(head.uri.query().unwrap_or_default())?)?).await
    })
    .await
}

/// Refuses the methods that GraphQL does not use.
pub(super) async fn other_method() -> Response {
    let words = "send GET or POST; PUT and DELETE are for streams of several operations";
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, Error::invalid("method", words));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, PUT, DELETE"));
    response
}

impl<'r, E: Endpoint> Call<'r, E> {
    fn of(served: &'r Served<E>, head: &'r Parts, method: Method) -> Self {
        let address = connections::address(&head.extensions);
        Self { served, headers: &head.headers, accept: Accept::of(&head.headers), method, address }
    }

    async fn answer(&self, work: impl Future<Output = Result<Response, Refused>>) -> Response {
        let Some(media) = self.accept.of_refusal() else { return not_acceptable().labelled(Media::Json) };
        match caught(work).await {
            Ok(Ok(response)) => response,
            Ok(Err(refused)) => refused.labelled(media),
            Err(fault) => Refused::from(fault).labelled(media),
        }
    }

    async fn run(&self, parameters: Parameters) -> Result<Response, Refused> {
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
                let room = served.answers.room(&served.endpoint, &ready).await?;
                let key = media.is_one_json().then(|| shared_answers::key(&served.endpoint, &ready)).flatten();
                let response = match key {
                    Some(key) => self.shared(media, ready, key).await,
                    None => labelled(media, &served.work.execute(&served.endpoint, ready).await),
                };
                Ok(room.kept_by(response).await)
            }
            (_, None) => Err(not_acceptable()),
        }
    }

    /// Answers a query whose answer may be shared with other requests.
    async fn shared(&self, media: Media, ready: Ready<E::Viewer>, key: Key) -> Response {
        let Served { shared, work, endpoint, .. } = self.served;
        // Only GET has a condition of this kind.
        let held = (self.method == Method::Get && self.headers.contains_key(IF_NONE_MATCH)).then_some(self.headers);
        match shared.answer(work, endpoint, ready, key, held).await {
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
        let served = Arc::new(self.served.clone());
        let (admission, last) = (self.admission(&ready.viewer)?, sse::last_event_id(self.headers));
        Ok(match media {
            Media::Multipart => {
                let keeping = self.keeping(admission, Mixed::opening(), Mixed::heartbeat());
                response(media, said(Following::new(&served, account, ready), None, Mixed), keeping)
            }
            _ => {
                let keeping = self.keeping(admission, sse::comment(), sse::comment());
                response(media, said(Following::after(&served, account, ready, last), None, Events), keeping)
            }
        })
    }

    /// Collects the resources and settings of a streaming response.
    pub(super) fn keeping(&self, admission: Admission, opening: Event, heartbeat: Event) -> Keeping {
        let (shutdown, settings) = (self.served.shutdown.clone(), self.served.settings.streams.clone());
        Keeping { admission, shutdown, settings, opening, heartbeat }
    }

    /// Takes a slot among the sockets for this caller.
    pub(super) fn admission(&self, viewer: &E::Viewer) -> Result<Admission, Refused> {
        let admission = self.served.crowd.admit(self.address, &self.served.settings.crowd);
        let admission = admission.and_then(|mut admission| {
            admission.belongs_to(self.served.endpoint.principal(viewer))?;
            Ok(admission)
        });
        admission.map_err(|error| Refused { status: StatusCode::SERVICE_UNAVAILABLE, error })
    }

    /// Writes an answer that says what is wrong with the request.
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

/// Returns the account that the caller names; `None` if it names no account.
pub(super) fn actor(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all(ACTOR).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid(ACTOR, format!("the header {ACTOR} comes twice")));
    }
    match std::str::from_utf8(value.as_bytes()) {
        Ok(account) => named_account(account).map(Some),
        Err(_) => Err(Error::invalid(ACTOR, format!("the header {ACTOR} is not UTF-8"))),
    }
}

/// Checks the name of an account, and removes the blanks around it. An empty name is a mistake of a script. Such a
/// script must not act as the local manager.
pub(super) fn named_account(account: &str) -> Result<String, Error> {
    match account.trim() {
        "" => Err(Error::invalid(ACTOR, format!("{ACTOR} names nobody: name an account, or leave it out"))),
        account => Ok(account.to_owned()),
    }
}

/// Accepts only JSON: a page of another origin may post a form or a plain text without a preflight request.
fn json_content(headers: &HeaderMap) -> Result<(), Refused> {
    let mut parts = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default().split(';');
    let json = parts.next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"));
    let utf8 = parts
        .filter_map(|part| part.split_once('='))
        .all(|(name, value)| !name.trim().eq_ignore_ascii_case("charset") || is_utf8(value.trim().trim_matches('"')));
    if json && utf8 {
        return Ok(());
    }
    let error = Error::invalid("Content-Type", "send the request as application/json, in utf-8");
    Err(Refused { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, error })
}

async fn read(headers: &HeaderMap, body: HttpBody, bounds: &HttpSettings) -> Result<axum::body::Bytes, Refused> {
    let Some(coding) = Coding::of(headers) else {
        let error = Error::invalid("Content-Encoding", "send the body plain, or compressed by gzip");
        return Err(Refused { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, error });
    };
    let too_large = || {
        let message = format!("the body is larger than {} bytes", bounds.body_bytes);
        let error = Error::limit("body", message, bounds.body_bytes);
        Refused { status: StatusCode::PAYLOAD_TOO_LARGE, error }
    };
    // For a compressed body too: its plain text is at least as long.
    let announced = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > bounds.body_bytes) {
        return Err(too_large());
    }
    match tokio::time::timeout(bounds.body_wait, inflate::read(body, coding, bounds.body_bytes)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Unread::TooLarge)) => Err(too_large()),
        Ok(Err(Unread::Broken)) => Err(Error::invalid("body", "the body broke off").into()),
        Ok(Err(Unread::NotGzip)) => {
            Err(Error::invalid("body", "the body is not compressed by gzip, as its header says, or not whole").into())
        }
        Err(_) => {
            let error = Error::invalid("body", "the body took too long to come in");
            Err(Refused { status: StatusCode::REQUEST_TIMEOUT, error })
        }
    }
}

/// Returns a parameter of the URL; an empty parameter counts as absent.
pub(super) fn url_parameter(uri: &Uri, name: &str) -> Result<Option<String>, Error> {
    let pairs = form_pairs(uri.query().unwrap_or_default())?;
    let mut values = pairs.into_iter().filter(|(given, _)| given == name).map(|(_, value)| value);
    Ok(values.find(|value| !value.is_empty()))
}

fn form_pairs(query: &str) -> Result<Vec<(String, String)>, Error> {
    let uri = format!("/?{query}").parse().map_err(|_| Error::invalid("query", "the URL cannot be read"))?;
    match axum::extract::Query::try_from_uri(&uri) {
        Ok(axum::extract::Query(pairs)) => Ok(pairs),
        Err(_) => Err(Error::invalid("query", "the URL cannot be read")),
    }
}

/// Writes an answer. The media type decides whether the status tells of its errors.
fn labelled(media: Media, answer: &Answer) -> Response {
    let once = match media {
        Media::EventStream => sse::once(answer),
        Media::Multipart => multipart::once(answer),
        Media::Json | Media::GraphQl => {
            let status = match answer.errors.first().filter(|_| is_request_error(answer)) {
                None => StatusCode::OK,
                Some(error) if code_of(error) == Some(Code::Internal.as_str()) => StatusCode::INTERNAL_SERVER_ERROR,
                Some(_) if media == Media::Json => StatusCode::OK,
                Some(_) => StatusCode::BAD_REQUEST,
            };
            return write(status, media, answer);
        }
    };
    once.unwrap_or_else(|fault| Refused::from(fault).labelled(Media::Json))
}

fn write(status: StatusCode, media: Media, answer: &Answer) -> Response {
    written(status, media, Json(Body(answer)).into_response(), None)
}

/// Writes a response with this body. A client revalidates a response with a tag each time, and gets 304 if it is
/// unchanged.
fn written(status: StatusCode, media: Media, mut response: Response, tag: Option<HeaderValue>) -> Response {
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media.content_type());
    match tag {
        Some(tag) => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(REVALIDATE));
            headers.insert(ETAG, tag);
        }
        None => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// A request that was refused before it reached the schema.
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) error: Error,
}

impl Refused {
    pub(super) fn labelled(self, media: Media) -> Response {
        // Apollo's clients for Android and iOS ignore an answer with another status, and then do not send the document.
        let without_document = self.error.code() == Code::PersistedQueryNotSupported && media == Media::Json;
        let (status, answer) = (if without_document { StatusCode::OK } else { self.status }, refuse(self.error));
        match media {
            Media::Json | Media::GraphQl => write(status, media, &answer),
            // A browser's EventSource hides a response with another status from its page, and even that status.
            _ if status == StatusCode::BAD_REQUEST => labelled(media, &answer),
            _ => write(status, Media::Json, &answer),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error.code() {
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::Forbidden => StatusCode::FORBIDDEN,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Code::NotFound | Code::Invalid | Code::Conflict | Code::Limit | Code::PersistedQueryNotSupported => {
                StatusCode::BAD_REQUEST
            }
        };
        Self { status, error }
    }
}

/// Makes a refusal in the form of every other answer. Other routes of the server use it too.
pub fn refusal(status: StatusCode, error: Error) -> Response {
    write(status, Media::Json, &refuse(error))
}
