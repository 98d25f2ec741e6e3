//! GraphQL over HTTP: one operation per request, according to the working group's draft and its audits of 2025.
//!
//! Every body is a GraphQL response, and its errors carry a code. POST takes only `application/json`, which a page of
//! another origin cannot send without a preflight request. GET changes nothing. A subscription is answered in a
//! streaming media type if the client names one.

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, request::Parts};
use axum::response::Response;

use super::call::{HttpCall, Method};
use super::refused::Refused;
use super::single_connection;
use super::state::HttpState;
use crate::domain::Error;
use crate::server::edge::accept::is_utf8;
use crate::server::edge::request_body::{self, Coding, Unread};
use crate::server::edge::response::refusal;
use crate::server::edge::url::form_pairs;
use crate::server::operation::{endpoint::Endpoint, parameters::Parameters};
use crate::server::settings::HttpSettings;

pub(in crate::server) async fn post<E: Endpoint>(State(state): State<HttpState<E>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let call = HttpCall::of(&state, &head, Method::Post);
    let parameters = async {
        json_content(&head.headers)?;
        let body = read(&head.headers, body, &state.served.settings.http).await?;
        let body = std::str::from_utf8(&body).map_err(|_| Error::invalid("body", "the body is not UTF-8"))?;
        Ok(Parameters::read("body", body)?)
    };
    call.answer(async {
        match single_connection::token(&head.uri, &head.headers)? {
            Some(token) => single_connection::operate(&call, &token, parameters).await,
            None => call.run(parameters.await?).await,
        }
    })
    .await
}

pub(in crate::server) async fn get<E: Endpoint>(state: &HttpState<E>, head: &Parts) -> Response {
    let call = HttpCall::of(state, head, Method::Get);
    call.answer(async {
        if let Some(token) = single_connection::token(&head.uri, &head.headers)? {
            return single_connection::open(&call, token).await;
        }
        call.run(Parameters::of_address(form_pairs(head.uri.query().unwrap_or_default())?)?).await
    })
    .await
}

/// Refuses the methods that GraphQL does not use.
pub(in crate::server) async fn other_method() -> Response {
    let words = "send GET or POST; PUT and DELETE are for streams of several operations";
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, Error::invalid("method", words));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, PUT, DELETE"));
    response
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

async fn read(headers: &HeaderMap, body: HttpBody, bounds: &HttpSettings) -> Result<Bytes, Refused> {
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
    match tokio::time::timeout(bounds.body_wait, request_body::read(body, coding, bounds.body_bytes)).await {
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
