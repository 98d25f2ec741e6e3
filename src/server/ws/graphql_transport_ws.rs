//! The messages of the subprotocol `graphql-transport-ws`, both ways.

use async_graphql::{Response, ServerError};
use serde::Serialize;
use serde_json::value::RawValue;

use super::incoming::{ClientMessage, Incoming};
use super::outgoing::text;
use crate::domain::Result;
use crate::server::edge::response::Body;

/// The subprotocol's name.
pub(super) const SUBPROTOCOL: &str = "graphql-transport-ws";

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Outgoing<'a> {
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
    },
    Next {
        id: &'a str,
        payload: Body<'a>,
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
    text(&Outgoing::Next { id, payload: Body(answer) })
}

pub(super) fn error(id: &str, errors: &[ServerError]) -> Result<String> {
    text(&Outgoing::Error { id, payload: errors })
}

pub(super) fn complete(id: &str) -> Result<String> {
    text(&Outgoing::Complete { id })
}

/// Reads a message. The error is the reason to close the socket.
pub(super) fn read(text: &str) -> std::result::Result<Incoming, String> {
    let Some(message) = ClientMessage::read(text) else {
        return Err("Invalid message received: not a JSON object".into());
    };
    let Some(kind) = message.kind() else {
        return Err("Invalid message received: 'type' must be a string".into());
    };
    match kind.as_str() {
        "connection_init" => Ok(Incoming::Init(message.init()?)),
        "ping" => pong(message.payload()?),
        "pong" => message.payload().map(|_| Incoming::Nothing),
        "subscribe" => {
            let id = message.id()?;
            Ok(Incoming::Subscribe(id, message.parameters()?))
        }
        "complete" => Ok(Incoming::Complete(message.id()?)),
        _ => Err(format!("Unexpected message of type {kind} received")),
    }
}

/// Returns the client's payload to it.
fn pong(payload: Option<&RawValue>) -> std::result::Result<Incoming, String> {
    text(&Outgoing::Pong { payload }).map(Incoming::Answer).map_err(|error| error.to_string())
}
