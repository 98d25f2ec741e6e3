//! The messages of the subprotocol `graphql-ws`, both ways. It belongs to subscriptions-transport-ws, which is archived
//! and which many clients still speak.
//!
//! Where its text is silent, its last server (0.11) decides: an unreadable message is answered, and the socket stays.

use async_graphql::{Response, ServerError};
use serde::Serialize;

use super::incoming::{ClientMessage, IncomingMessage};
use super::outgoing::text;
use crate::domain::{Error, Result};
use crate::graphql::error::server_error;
use crate::server::edge::response::ResponseBody;

/// The subprotocol's name. The library of this name does not speak it.
pub(super) const SUBPROTOCOL: &str = "graphql-ws";

/// A client that has seen one closes a connection after 30 s without another; before 0.9.11, after 10 s.
pub(super) const KEEP_ALIVE: &str = r#"{"type":"ka"}"#;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum LegacyWsMessage<'a> {
    ConnectionError {
        payload: Option<&'a ServerError>,
    },
    Data {
        id: &'a str,
        payload: ResponseBody<'a>,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        payload: Option<&'a ServerError>,
    },
    Complete {
        id: &'a str,
    },
}

pub(super) fn data(id: &str, answer: &Response) -> Result<String> {
    text(&LegacyWsMessage::Data { id, payload: ResponseBody(answer) })
}

/// The payload is one error: clients read its `message`.
pub(super) fn error(id: Option<&str>, errors: &[ServerError]) -> Result<String> {
    text(&LegacyWsMessage::Error { id, payload: errors.first() })
}

pub(super) fn complete(id: &str) -> Result<String> {
    text(&LegacyWsMessage::Complete { id })
}

pub(super) fn connection_error(errors: &[ServerError]) -> Result<String> {
    text(&LegacyWsMessage::ConnectionError { payload: errors.first() })
}

/// Reads a message. An unreadable message is answered and has no other effect.
pub(super) fn read(text: &str) -> std::result::Result<IncomingMessage, String> {
    let Some(message) = ClientMessage::read(text) else {
        return answer(connection_error(&invalid("the message is not a JSON object")));
    };
    let kind = message.kind();
    let read = match kind.as_deref() {
        Some("connection_init") => message.init().map(IncomingMessage::Init),
        Some("start") => start(&message),
        Some("stop") => message.id().map(IncomingMessage::Complete),
        Some("connection_terminate") => Ok(IncomingMessage::Terminate),
        _ => Err("Invalid message type!".into()),
    };
    read.or_else(|reason| answer(error(message.any_id().as_deref(), &invalid(&reason))))
}

fn start(message: &ClientMessage<'_>) -> std::result::Result<IncomingMessage, String> {
    Ok(IncomingMessage::Subscribe(message.id()?, message.parameters()?))
}

fn invalid(reason: &str) -> [ServerError; 1] {
    [server_error(Error::invalid("message", reason))]
}

fn answer(text: Result<String>) -> std::result::Result<IncomingMessage, String> {
    text.map(IncomingMessage::Answer).map_err(|error| error.to_string())
}
