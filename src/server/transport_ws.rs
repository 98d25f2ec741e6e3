//! The messages of the subprotocol `graphql-transport-ws`, both ways.

use async_graphql::{Response, ServerError};
use serde::Serialize;
use serde_json::{Map, Value};

use super::dialect::Incoming;
use super::operation::{Body, OPERATION_ID_BYTES, Parameters};
use crate::domain::{Error, Result};

/// The subprotocol's name.
pub(super) const SUBPROTOCOL: &str = "graphql-transport-ws";

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Outgoing<'a> {
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Map<String, Value>>,
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

/// A message as it is sent.
pub(super) fn text(message: &impl Serialize) -> Result<String> {
    serde_json::to_string(message).map_err(|error| Error::fault("writing a message", error))
}

/// Reads a message; the error is the reason to close with.
pub(super) fn read(text: &str) -> std::result::Result<Incoming, String> {
    let Ok(Value::Object(mut message)) = serde_json::from_str(text) else {
        return Err("Invalid message received: not a JSON object".into());
    };
    let Some(Value::String(kind)) = message.remove("type") else {
        return Err("Invalid message received: 'type' must be a string".into());
    };
    match kind.as_str() {
        "connection_init" => Ok(Incoming::Init(payload(&mut message)?)),
        "ping" => pong(payload(&mut message)?),
        "pong" => payload(&mut message).map(|_| Incoming::Nothing),
        "subscribe" => {
            let id = id(&mut message)?;
            Ok(Incoming::Subscribe(id, parameters(&mut message)?))
        }
        "complete" => Ok(Incoming::Complete(id(&mut message)?)),
        _ => Err(format!("Unexpected message of type {kind} received")),
    }
}

/// What the client gave comes back.
fn pong(payload: Option<Map<String, Value>>) -> std::result::Result<Incoming, String> {
    text(&Outgoing::Pong { payload }).map(Incoming::Answer).map_err(|error| error.to_string())
}

pub(super) fn payload(message: &mut Map<String, Value>) -> std::result::Result<Option<Map<String, Value>>, String> {
    match message.remove("payload") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(payload)) => Ok(Some(payload)),
        Some(_) => Err("Invalid message received: 'payload' must be an object".into()),
    }
}

pub(super) fn parameters(message: &mut Map<String, Value>) -> std::result::Result<Parameters, String> {
    let payload = payload(message)?.ok_or("Invalid message received: 'payload' must be an object")?;
    Parameters::read(payload).map_err(|error| format!("Invalid message received: {error}"))
}

pub(super) fn id(message: &mut Map<String, Value>) -> std::result::Result<String, String> {
    match message.remove("id") {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= OPERATION_ID_BYTES => Ok(id),
        _ => Err(format!("Invalid message received: 'id' must be a string of 1 to {OPERATION_ID_BYTES} bytes")),
    }
}
