//! The messages of the subprotocol `graphql-transport-ws`, both ways.

use async_graphql::ServerError;
use serde::Serialize;
use serde_json::{Map, Value};

use super::operation::{Body, Parameters};
use crate::domain::{Error, Result};

/// The client chooses the ids of its operations, and they come back in each message. Clients use numbers or UUIDs.
const ID_BYTES: usize = 256;

/// A message of the server.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Outgoing<'a> {
    ConnectionAck,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a Map<String, Value>>,
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

impl Outgoing<'_> {
    /// The message as it is sent.
    pub(super) fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::fault("writing a message", error))
    }
}

/// A message of the client.
pub(super) enum Incoming {
    Init(Option<Map<String, Value>>),
    Ping(Option<Map<String, Value>>),
    Pong,
    Subscribe(String, Parameters),
    Complete(String),
}

impl Incoming {
    /// Reads a message; the error is the reason to close with.
    pub(super) fn read(text: &str) -> std::result::Result<Self, String> {
        let Ok(Value::Object(mut message)) = serde_json::from_str(text) else {
            return Err("Invalid message received: not a JSON object".into());
        };
        let Some(Value::String(kind)) = message.remove("type") else {
            return Err("Invalid message received: 'type' must be a string".into());
        };
        match kind.as_str() {
            "connection_init" => Ok(Self::Init(payload(&mut message)?)),
            "ping" => Ok(Self::Ping(payload(&mut message)?)),
            "pong" => payload(&mut message).map(|_| Self::Pong),
            "subscribe" => {
                let id = id(&mut message)?;
                let payload = payload(&mut message)?.ok_or("Invalid message received: 'payload' must be an object")?;
                let parameters =
                    Parameters::read(payload).map_err(|error| format!("Invalid message received: {error}"))?;
                Ok(Self::Subscribe(id, parameters))
            }
            "complete" => Ok(Self::Complete(id(&mut message)?)),
            _ => Err(format!("Unexpected message of type {kind} received")),
        }
    }
}

fn payload(message: &mut Map<String, Value>) -> std::result::Result<Option<Map<String, Value>>, String> {
    match message.remove("payload") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(payload)) => Ok(Some(payload)),
        Some(_) => Err("Invalid message received: 'payload' must be an object".into()),
    }
}

fn id(message: &mut Map<String, Value>) -> std::result::Result<String, String> {
    match message.remove("id") {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= ID_BYTES => Ok(id),
        _ => Err(format!("Invalid message received: 'id' must be a string of 1 to {ID_BYTES} bytes")),
    }
}
