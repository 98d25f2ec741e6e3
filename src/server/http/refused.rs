//! Requests that are refused before they reach the schema, and the status of an answer.

use async_graphql::Response as Answer;
use axum::http::StatusCode;
use axum::response::Response;

use super::{multipart, sse};
use crate::domain::{Code, Error};
use crate::graphql::error::{code_of, is_request_error, refuse};
use crate::server::edge::accept::Media;
use crate::server::edge::response::write;

/// A request that was refused before it reached the schema.
pub(in crate::server) struct Refused {
    pub(in crate::server) status: StatusCode,
    pub(in crate::server) error: Error,
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

/// Writes an answer. The media type decides whether the status tells of its errors.
pub(super) fn labelled(media: Media, answer: &Answer) -> Response {
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
