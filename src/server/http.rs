//! GraphQL over HTTP: one operation a request, as the working group's draft and its audits of 2025 have it.
//!
//! Every body is a GraphQL response, whose errors carry a code. POST takes `application/json` and nothing that a foreign
//! page can send without being asked first; GET runs queries only.

use std::time::Duration;

use async_graphql::{Response as Answer, parser::types::OperationType};
use axum::{
    Json,
    body::{Body as HttpBody, to_bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

use super::{
    endpoint::Endpoint,
    operation::{Body, Parameters, caught, execute, prepare, refused},
    routes::{ACTOR, Served},
};
use crate::{
    domain::{Code, Error},
    graphql::error::{code_of, is_request_error, refuse},
};

/// The bounds of one HTTP request.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Length of a body. 2 MiB holds the longest text that a field takes, written as JSON escapes.
    pub body_bytes: usize,
    /// How long a body may take to come in: a client that dribbles holds a connection, no more.
    pub body_wait: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { body_bytes: 2 * 1024 * 1024, body_wait: Duration::from_secs(30) }
    }
}

/// What the answer is labelled as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    /// Its status says how the request fared.
    GraphQl,
    /// Its status is 200 for everything that was a request at all.
    Json,
}

impl Media {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphQl => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        })
    }

    fn essence(self) -> &'static str {
        match self {
            Self::GraphQl => "application/graphql-response+json",
            Self::Json => "application/json",
        }
    }
}

pub(super) async fn post<E: Endpoint>(State(served): State<Served<E>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    answer(&head.headers, async {
        json_content(&head.headers)?;
        let body = read(&head.headers, body, &served.settings.http).await?;
        let parameters = match serde_json::from_slice(&body) {
            Ok(Value::Object(body)) => Parameters::read(body)?,
            Ok(Value::Array(_)) => {
                return Err(Error::invalid("body", "batches are not served; send one operation a request").into());
            }
            Ok(_) => return Err(Error::invalid("body", "the body must be a JSON object").into()),
            Err(error) => return Err(Error::invalid("body", format!("the body is not JSON: {error}")).into()),
        };
        run(&served, &head.headers, parameters, Method::Post).await
    })
    .await
}

pub(super) async fn get<E: Endpoint>(served: &Served<E>, query: Option<&str>, headers: &HeaderMap) -> Response {
    answer(headers, async {
        let parameters = Parameters::read(query_parameters(query.unwrap_or_default())?)?;
        run(served, headers, parameters, Method::Get).await
    })
    .await
}

/// For the methods that GraphQL has no use for.
pub(super) async fn other_method() -> Response {
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, Error::invalid("method", "send GET or POST"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
    response
}

async fn answer(headers: &HeaderMap, work: impl Future<Output = Result<Answer, Refused>>) -> Response {
    let media = match negotiate(headers) {
        Ok(media) => media,
        Err(refused) => return refused.labelled(Media::Json),
    };
    match caught(work).await {
        Ok(Ok(answer)) => labelled(media, &answer),
        Ok(Err(refused)) => refused.labelled(media),
        Err(fault) => Refused::from(fault).labelled(media),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Post,
}

async fn run<E: Endpoint>(
    served: &Served<E>,
    headers: &HeaderMap,
    parameters: Parameters,
    method: Method,
) -> Result<Answer, Refused> {
    let viewer = served.endpoint.admit(actor(headers)?).await?;
    let ready = match prepare(parameters, viewer, &served.settings.limits) {
        Ok(ready) => ready,
        Err(error) => return Ok(refused(error)),
    };
    match (ready.operation, method) {
        (OperationType::Subscription, _) => {
            let message = "subscriptions are served over WebSocket only, by the subprotocol graphql-transport-ws";
            Err(Error::invalid("query", message).into())
        }
        (OperationType::Mutation, Method::Get) => {
            let error = Error::invalid("query", "a mutation is sent by POST");
            Err(Refused { status: StatusCode::METHOD_NOT_ALLOWED, error })
        }
        _ => Ok(execute(&served.endpoint, ready).await),
    }
}

/// The account that the caller names, unless it leaves that open.
pub(super) fn actor(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(ACTOR) else { return Ok(None) };
    match std::str::from_utf8(value.as_bytes()) {
        Ok(account) => Ok(Some(account.trim().to_owned()).filter(|account| !account.is_empty())),
        Err(_) => Err(Error::invalid(ACTOR, format!("the header {ACTOR} is not UTF-8"))),
    }
}

/// What the client prefers; `application/json` where it does not care, as clients older than the draft expect.
fn negotiate(headers: &HeaderMap) -> Result<Media, Refused> {
    let mut ranges = Vec::new();
    for value in headers.get_all(ACCEPT) {
        ranges.extend(value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|range| !range.is_empty()));
    }
    if ranges.is_empty() {
        return Ok(Media::Json);
    }
    let rank = |media: Media| {
        let matching = ranges.iter().enumerate().filter_map(|(at, range)| {
            let (specific, weight) = matches(range, media.essence())?;
            Some((specific, weight, ranges.len() - at))
        });
        // The most specific range that names a type says how welcome it is.
        let (specific, weight, early) = matching.max()?;
        (weight > 0).then_some((weight, specific, early, media == Media::Json))
    };
    let ranked = [Media::Json, Media::GraphQl].into_iter().filter_map(|media| Some((rank(media)?, media)));
    match ranked.max_by_key(|(rank, _)| *rank) {
        Some((_, media)) => Ok(media),
        None => {
            let message = "answers are application/graphql-response+json or application/json, in utf-8";
            Err(Refused { status: StatusCode::NOT_ACCEPTABLE, error: Error::invalid("Accept", message) })
        }
    }
}

/// How specifically a range of `Accept` names a type, and its weight in thousandths.
fn matches(range: &str, essence: &str) -> Option<(u8, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let specific = match parts.next()?.to_ascii_lowercase().as_str() {
        "*/*" => 0,
        "application/*" => 1,
        named if named == essence => 2,
        _ => return None,
    };
    let mut weight = 1_000;
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            // A float from text saturates into the range, and what is no number counts for nothing.
            "q" => weight = (value.parse::<f32>().unwrap_or_default().clamp(0.0, 1.0) * 1_000.0) as u16,
            "charset" if !is_utf8(value) => return None,
            _ => {}
        }
    }
    Some((specific, weight))
}

fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

/// Only this type: a form or a plain text is what a foreign page may post without asking first.
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
    let too_large = || {
        let message = format!("the body is larger than {} bytes", bounds.body_bytes);
        let error = Error::limit("body", message, bounds.body_bytes);
        Refused { status: StatusCode::PAYLOAD_TOO_LARGE, error }
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > bounds.body_bytes) {
        return Err(too_large());
    }
    match tokio::time::timeout(bounds.body_wait, to_bytes(body, bounds.body_bytes)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => {
            let error = Error::invalid("body", "the body took too long to come in");
            Err(Refused { status: StatusCode::REQUEST_TIMEOUT, error })
        }
    }
}

/// The parameters of a URL; an empty one counts as absent.
fn query_parameters(query: &str) -> Result<Map<String, Value>, Error> {
    let mut parameters = Map::new();
    for (name, value) in form_pairs(query)? {
        if value.is_empty() {
            continue;
        }
        let value = match name.as_str() {
            "variables" | "extensions" => serde_json::from_str(&value)
                .map_err(|error| Error::invalid(&name, format!("{name} is not JSON: {error}")))?,
            _ => Value::String(value),
        };
        parameters.insert(name, value);
    }
    Ok(parameters)
}

fn form_pairs(query: &str) -> Result<Vec<(String, String)>, Error> {
    let uri = format!("/?{query}").parse().map_err(|_| Error::invalid("query", "the URL cannot be read"))?;
    match axum::extract::Query::try_from_uri(&uri) {
        Ok(axum::extract::Query(pairs)) => Ok(pairs),
        Err(_) => Err(Error::invalid("query", "the URL cannot be read")),
    }
}

/// An answer to what was a request: the media type decides whether the status tells of its errors.
fn labelled(media: Media, answer: &Answer) -> Response {
    let status = match answer.errors.first().filter(|_| is_request_error(answer)) {
        None => StatusCode::OK,
        Some(error) if code_of(error) == Some(Code::Internal.as_str()) => StatusCode::INTERNAL_SERVER_ERROR,
        Some(_) if media == Media::Json => StatusCode::OK,
        Some(_) => StatusCode::BAD_REQUEST,
    };
    write(status, media, answer)
}

fn write(status: StatusCode, media: Media, answer: &Answer) -> Response {
    let mut response = (status, Json(Body(answer))).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media.content_type());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// A request that did not get as far as the schema.
struct Refused {
    status: StatusCode,
    error: Error,
}

impl Refused {
    fn labelled(self, media: Media) -> Response {
        write(self.status, media, &refuse(self.error))
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error.code() {
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::Forbidden => StatusCode::FORBIDDEN,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Code::NotFound | Code::Invalid | Code::Conflict | Code::Limit => StatusCode::BAD_REQUEST,
        };
        Self { status, error }
    }
}

/// A refusal in the shape of every other answer; other routes of the server may use it too.
pub fn refusal(status: StatusCode, error: Error) -> Response {
    write(status, Media::Json, &refuse(error))
}
