//! The messages of the subprotocol `graphql-transport-ws`, both ways.

use async_graphql::{Response, ServerError};
use serde::Serialize;
use serde_json::value::RawValue;

use super::incoming::{ClientMessage, IncomingMessage};
use super::outgoing::text;
use crate::domain::Result;
use crate::server::edge::response::ResponseBody;

/// The subprotocol's name.
pub(super) const SUBPROTOCOL: &str = "graphql-transport-ws";

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum TransportWsMessage<'a> {
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
    },
    Next {
        id: &'a str,
        payload: ResponseBody<'a>,
    },
    Error {
        id: &'a str,
        payload: &'a [ServerError],
    },
    Complete {
        id: &'a str,
    },
}

pub(super) fn next(id: &str, answer: &Response) -> Result<String> {
    text(&TransportWsMessage::Next { id, payload: ResponseBody(answer) })
}

pub(super) fn error(id: &str, errors: &[ServerError]) -> Result<String> {
    text(&TransportWsMessage::Error { id, payload: errors })
}

pub(super) fn complete(id: &str) -> Result<String> {
    text(&TransportWsMessage::Complete { id })
}

/// Reads a message. The error is the reason to close the socket.
pub(super) fn read(text: &str) -> std::result::Result<IncomingMessage, String> {
    let Some(message) = ClientMessage::read(text) else {
        return Err("Invalid message received: not a JSON object".into());
    };
    let Some(kind) = message.kind() else {
        return Err("Invalid message received: 'type' must be a string".into());
    };
    match kind.as_str() {
        "connection_init" => Ok(IncomingMessage::Init(message.init()?)),
        "ping" => pong(message.payload()?),
        "pong" => message.payload().map(|_| IncomingMessage::Nothing),
        "subscribe" => {
            let id = message.id()?;
            Ok(IncomingMessage::Subscribe(id, message.parameters()?))
        }
        "complete" => Ok(IncomingMessage::Complete(message.id()?)),
        _ => Err(format!("Unexpected message of type {kind} received")),
    }
}

/// Returns the client's payload to it.
fn pong(payload: Option<&RawValue>) -> std::result::Result<IncomingMessage, String> {
    text(&TransportWsMessage::Pong { payload }).map(IncomingMessage::Answer).map_err(|error| error.to_string())
}
