//! The messages of the subprotocol `graphql-transport-ws`, both ways.

use async_graphql::{Response, ServerError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::dialect::Incoming;
use super::operation::{Body, OPERATION_ID_BYTES, Parameters};
use super::scan::{self, ASIDE_VALUES_MAX};
use crate::domain::{Code, Error, Result};

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

/// Writes a message as JSON.
pub(super) fn text(message: &impl Serialize) -> Result<String> {
    serde_json::to_string(message).map_err(|error| Error::fault("writing a message", error))
}

/// A message whose parts keep their JSON text: nothing else of the message is parsed.
#[derive(Deserialize)]
pub(super) struct Message<'t> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'t RawValue>,
    #[serde(borrow, default)]
    id: Option<&'t RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'t RawValue>,
}

/// Reads a message. The error is the reason to close the socket.
pub(super) fn read(text: &str) -> std::result::Result<Incoming, String> {
    let Some(message) = Message::read(text) else {
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

impl<'t> Message<'t> {
    /// Takes a JSON object apart; `None` if the text is no object.
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let is_object = text.trim_ascii_start().starts_with('{');
        is_object.then(|| serde_json::from_str(text).ok()).flatten()
    }

    pub(super) fn kind(&self) -> Option<String> {
        serde_json::from_str(self.kind?.get()).ok()
    }

    /// Returns the id, if it is a string.
    pub(super) fn any_id(&self) -> Option<String> {
        serde_json::from_str(self.id?.get()).ok()
    }

    pub(super) fn id(&self) -> std::result::Result<String, String> {
        let id = self.any_id().filter(|id| !id.is_empty() && id.len() <= OPERATION_ID_BYTES);
        id.ok_or_else(|| format!("Invalid message received: 'id' must be a string of 1 to {OPERATION_ID_BYTES} bytes"))
    }

    fn payload(&self) -> std::result::Result<Option<&'t RawValue>, String> {
        match self.payload {
            Some(payload) if !payload.get().starts_with('{') => {
                Err("Invalid message received: 'payload' must be an object".into())
            }
            payload => Ok(payload),
        }
    }

    /// Reads the payload of `connection_init`.
    pub(super) fn init(&self) -> std::result::Result<Option<Map<String, Value>>, String> {
        let Some(payload) = self.payload()? else { return Ok(None) };
        let invalid = |error: String| format!("Invalid message received: {error}");
        scan::within("payload", payload.get(), ASIDE_VALUES_MAX).map_err(|error| invalid(error.to_string()))?;
        serde_json::from_str(payload.get()).map(Some).map_err(|error| invalid(error.to_string()))
    }

    /// Reads the parameters of an operation. If they exceed a limit, that is answered, and the socket stays.
    pub(super) fn parameters(&self) -> std::result::Result<Result<Parameters>, String> {
        let payload = self.payload()?.ok_or("Invalid message received: 'payload' must be an object")?;
        match Parameters::read("payload", payload.get()) {
            Err(error) if error.code() != Code::Limit => Err(format!("Invalid message received: {error}")),
            read => Ok(read),
        }
    }
}
