//! `/attachments/<id>`: `PUT` uploads the bytes of an image, `GET` downloads them.
//!
//! The bytes come from an untrusted sender, and browsers of analysts show them. So they are served only under the type
//! that was found in them. If a browser makes a document of them all the same, that document can load and do nothing.

use std::fmt::Write;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use futures_util::stream::{Stream, StreamExt};
use serde_json::json;

use super::Desk;
use crate::app::attachment::Sending;
use crate::domain::attachment::{ATTACHMENT_BYTES_MAX, Attachment, url};
use crate::domain::{AttachmentId, Code, Error, Result};
use crate::server::edge::actor::{ACTOR, actor};
use crate::server::edge::connections;
use crate::server::edge::headers::REVALIDATE;
use crate::server::edge::panics::caught;
use crate::server::edge::response::refusal;
use crate::server::edge::url::url_parameter;
use crate::server::edge::web::holds;
use crate::server::operation::endpoint::Endpoint;

/// No script, no form, no origin of its own and nothing to load, for any document that a browser sees in the bytes.
const POLICY: &str = "sandbox; default-src 'none'";

/// How long the sender of a refused upload may take to send the rest of it.
const DRAIN: Duration = Duration::from_secs(30);

/// Makes the routes of attachments.
pub(super) fn routes(desk: Desk) -> Router {
    let methods = routing::get(get).put(put).fallback(other_method);
    Router::new().route("/attachments/{id}", methods).with_state(desk)
}

async fn other_method() -> Response {
    let error = Error::invalid("method", "an attachment is read by GET and uploaded by PUT");
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, error);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT"));
    response
}

async fn get(State(desk): State<Desk>, uri: Uri, headers: HeaderMap) -> Response {
    let found = async {
        let viewer = desk.admit(actor(&headers)?).await?;
        let id = named(&uri)?;
        let attachment = desk.app.readable_attachment(&viewer, id).await?;
        if holds(&headers, &etag(&attachment)) {
            return Ok((StatusCode::NOT_MODIFIED, described(&attachment)).into_response());
        }
        let bytes = desk.app.attachment_bytes(id).await?;
        let about = [(CONTENT_TYPE, attachment.r#type.media_type().to_owned())];
        let length = [(CONTENT_LENGTH, attachment.size.to_string())];
        Ok((described(&attachment), about, length, Body::from_stream(bytes)).into_response())
    };
    answered(caught(found).await.unwrap_or_else(Err))
}

async fn put(State(desk): State<Desk>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    // The upload goes on to the end even if its sender disconnects: a broken upload has to be cleared away.
    let upload = tokio::spawn(async move {
        let mut bytes = body
            .into_data_stream()
            .map(|piece| piece.map_err(|error| Error::invalid("body", format!("the upload broke off: {error}"))));
        let stored = async {
            let id = named(&head.uri)?;
            // A request without an account acts by the token alone, for the account that received the token.
            let caller = match actor(&head.headers)? {
                None => None,
                account => Some(desk.admit(account).await?.user.id),
            };
            let token = url_parameter(&head.uri, "token")?.unwrap_or_default();
            let length = head.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
            let address = connections::address(&head.extensions);
            desk.app.upload(&Sending { id, token, caller, length, address }, &mut bytes).await
        };
        let stored = caught(stored).await.unwrap_or_else(Err);
        if stored.is_err() && tokio::time::timeout(DRAIN, drain(&mut bytes)).await.is_err() {
            tracing::debug!("the sender of a refused upload took too long to end");
        }
        stored
    });
    let stored = upload.await.unwrap_or_else(|error| Err(Error::fault("taking an upload in", error)));
    answered(stored.map(|attachment| {
        let (id, state) = (attachment.id.to_string(), "STORED");
        Json(json!({ "id": id, "state": state, "url": url(attachment.id) })).into_response()
    }))
}

/// Returns the id of the attachment in a URL.
fn named(uri: &Uri) -> Result<AttachmentId> {
    let id = uri.path().rsplit('/').next().unwrap_or_default();
    uuid::Uuid::try_parse(id).map(AttachmentId).map_err(|_| Error::not_found("attachment", id))
}

/// Reads the rest of an upload: most clients read no answer before they have sent everything. Reads no more than the
/// largest attachment; a client that sends more is cut off.
async fn drain(bytes: &mut (impl Stream<Item = Result<Bytes>> + Unpin)) {
    let mut left = ATTACHMENT_BYTES_MAX;
    while let Some(Ok(piece)) = bytes.next().await {
        match left.checked_sub(piece.len() as u64) {
            Some(less) => left = less,
            None => return,
        }
    }
}

fn answered(outcome: Result<Response>) -> Response {
    match outcome {
        Ok(response) => response,
        Err(error) => refusal(status(&error), error),
    }
}

fn status(error: &Error) -> StatusCode {
    match error.code() {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Invalid | Code::PersistedQueryNotSupported => StatusCode::BAD_REQUEST,
        Code::Conflict => StatusCode::CONFLICT,
        Code::Limit => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Returns half of the SHA-256 of the bytes: 128 bits tell all versions apart.
fn etag(attachment: &Attachment) -> String {
    let digest = attachment.stored.iter().flat_map(|stored| stored.sha256.iter().take(16));
    format!("\"{}\"", digest.map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Returns the headers of every answer about an existing attachment.
fn described(attachment: &Attachment) -> [(HeaderName, String); 5] {
    [
        (ETAG, etag(attachment)),
        (CACHE_CONTROL, REVALIDATE.to_owned()),
        // Another account may not be allowed to read it.
        (VARY, ACTOR.to_owned()),
        (CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (CONTENT_DISPOSITION, format!("inline; filename*=UTF-8''{}", percent_encoded(&attachment.name))),
    ]
}

/// Encodes a name for `filename*` (RFC 8187): all but plain characters become escaped bytes.
fn percent_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            // Writing into a string does not fail.
            _ => write!(encoded, "%{byte:02X}").unwrap_or_default(),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn a_name_cannot_leave_its_header() {
        assert_eq!(percent_encoded("prompt-1.png"), "prompt-1.png");
        assert_eq!(percent_encoded("a\"; x=\r\né%.png"), "a%22%3B%20x%3D%0D%0A%C3%A9%25.png");
    }
}
