//! The messages of a client, as both subprotocols have them.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::domain::{Code, Result};
use crate::server::operation::OPERATION_ID_BYTES;
use crate::server::operation::json_size::{self, ASIDE_VALUES_MAX};
use crate::server::operation::parameters::Parameters;

/// A message of the client.
pub(super) enum IncomingMessage {
    Init(Option<Map<String, Value>>),
    /// An operation, or the error that answers its request.
    Subscribe(String, Result<Parameters>),
    Complete(String),
    /// A message that needs only this answer.
    Answer(String),
    Nothing,
    /// The client wants the socket closed.
    Terminate,
}

/// A message whose parts keep their JSON text: nothing else of the message is parsed.
#[derive(Deserialize)]
pub(super) struct ClientMessage<'t> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'t RawValue>,
    #[serde(borrow, default)]
    id: Option<&'t RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'t RawValue>,
}

impl<'t> ClientMessage<'t> {
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

    pub(super) fn payload(&self) -> std::result::Result<Option<&'t RawValue>, String> {
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
        json_size::within("payload", payload.get(), ASIDE_VALUES_MAX).map_err(|error| invalid(error.to_string()))?;
        serde_json::from_str(payload.get()).map(Some).map_err(|error| invalid(error.to_string()))
    }

    /// Reads the parameters of an operation. The socket stays if they exceed a limit, or if they name the document by its
    /// hash: such a client sends the document when it has the answer.
    pub(super) fn parameters(&self) -> std::result::Result<Result<Parameters>, String> {
        let payload = self.payload()?.ok_or("Invalid message received: 'payload' must be an object")?;
        match Parameters::read("payload", payload.get()) {
            Err(error) if !matches!(error.code(), Code::Limit | Code::PersistedQueryNotSupported) => {
                Err(format!("Invalid message received: {error}"))
            }
            read => Ok(read),
        }
    }
}
