//! The headers of every answer of every route, errors included: how a browser may use the answer, and whether a cache
//! may keep it.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, REFERRER_POLICY, RETRY_AFTER as RETRY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;

use crate::domain::error::RETRY_AFTER;

/// Headers that are set on every answer.
const ALWAYS: [(HeaderName, &str); 2] = [
    // An answer is only the type that it names: no browser runs a log export as a script.
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // A page of another origin cannot load it as an image, a script or a style, even if it could send the request.
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Headers that are set if the route did not set them. Pages and attachments have policies of their own.
const UNLESS_SET: [(HeaderName, &str); 2] = [
    // If a browser shows an answer of the API, the answer loads nothing, runs nothing and cannot be framed.
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    // `no-referrer` would make some browsers send `Origin: null` with a POST, and the server checks the origin.
    (REFERRER_POLICY, "same-origin"),
];

/// Caching of an answer with a tag: a client revalidates it each time, and gets 304 if it is unchanged. Shared caches
/// do not keep it.
pub(in crate::server) const REVALIDATE: &str = "private, no-cache";

/// Caching of all other answers: no cache keeps them.
const NEVER: &str = "no-store";

/// Returns these headers as lines of a head, for an answer that no route gives.
pub(in crate::server) fn lines() -> String {
    let caching = [(CACHE_CONTROL, NEVER)];
    let all = ALWAYS.into_iter().chain(UNLESS_SET).chain(caching);
    all.map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// Makes a router add these headers to every answer.
pub(in crate::server) fn on_every_answer(router: Router) -> Router {
    router.layer(from_fn(async |request: Request, next: Next| guarded(next.run(request).await)))
}

/// Adds the headers that every answer has.
pub(in crate::server) fn guarded(mut answer: Response) -> Response {
    let unavailable = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
    let headers = answer.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in UNLESS_SET {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if unavailable {
        headers.entry(RETRY).or_insert(HeaderValue::from(RETRY_AFTER));
    }
    let caching = if headers.contains_key(ETAG) { REVALIDATE } else { NEVER };
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static(caching));
    answer
}
