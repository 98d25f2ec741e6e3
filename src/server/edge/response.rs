//! Writes a GraphQL response as the response of an HTTP request, in one JSON text.

use async_graphql::Response as Answer;
use axum::Json;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::accept::Media;
use super::headers::REVALIDATE;
use crate::domain::Error;
use crate::graphql::error::{is_request_error, refuse};

/// Writes a response as JSON: a request error has no `data` entry.
pub(crate) struct ResponseBody<'a>(pub(crate) &'a Answer);

impl Serialize for ResponseBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Answer { data, errors, extensions, .. } = self.0;
        let mut body = serializer.serialize_map(None)?;
        if !errors.is_empty() {
            body.serialize_entry("errors", errors)?;
        }
        if !is_request_error(self.0) {
            body.serialize_entry("data", data)?;
        }
        if !extensions.is_empty() {
            body.serialize_entry("extensions", extensions)?;
        }
        body.end()
    }
}

/// Makes a refusal in the form of every other answer. Other routes of the server use it too.
pub(crate) fn refusal(status: StatusCode, error: Error) -> Response {
    write(status, Media::Json, &refuse(error))
}

/// Writes an answer as JSON.
pub(in crate::server) fn write(status: StatusCode, media: Media, answer: &Answer) -> Response {
    written(status, media, Json(ResponseBody(answer)).into_response(), None)
}

/// Writes a response with this body. A client revalidates a response with a tag each time, and gets 304 if it is
/// unchanged.
pub(in crate::server) fn written(
    status: StatusCode,
    media: Media,
    mut response: Response,
    tag: Option<HeaderValue>,
) -> Response {
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
