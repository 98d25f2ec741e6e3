//! The headers of every answer, whatever route it is of and whether it is an error: what a browser may do with it, and whether
//! it may be kept.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, REFERRER_POLICY, RETRY_AFTER as RETRY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;

use crate::domain::error::RETRY_AFTER;

/// Set on every answer.
const ALWAYS: [(HeaderName, &str); 2] = [
    // An answer is what its type says: nobody runs a log export as a script.
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Pages of other origins cannot load it as an image, a script or a style, even where they could send the request.
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Set where the route says nothing else. Pages and attachments have policies of their own.
const UNLESS_SET: [(HeaderName, &str); 2] = [
    // Shown in a browser, an answer of the API loads nothing, runs nothing and cannot be framed.
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    // `no-referrer` would make some browsers send `Origin: null` with a POST, and the server checks the origin.
    (REFERRER_POLICY, "same-origin"),
];

/// What has a tag is asked for anew each time and answered with 304 while it is the same; shared caches do not keep it.
pub(super) const REVALIDATE: &str = "private, no-cache";

/// Everything else is kept by nobody.
const NEVER: &str = "no-store";

/// The same for an answer that no route gives, as lines of its head.
pub(super) fn lines() -> String {
    let caching = [(CACHE_CONTROL, NEVER)];
    let all = ALWAYS.into_iter().chain(UNLESS_SET).chain(caching);
    all.map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// A router whose every answer has these headers.
pub(super) fn on_every_answer(router: Router) -> Router {
    router.layer(from_fn(async |request: Request, next: Next| guarded(next.run(request).await)))
}

/// An answer with the headers that every answer has.
pub(super) fn guarded(mut answer: Response) -> Response {
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
