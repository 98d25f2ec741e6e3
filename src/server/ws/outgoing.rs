//! Writes messages of the server as JSON.

use serde::Serialize;

use crate::domain::{Error, Result};

/// Writes a message as JSON.
pub(super) fn text(message: &impl Serialize) -> Result<String> {
    serde_json::to_string(message).map_err(|error| Error::fault("writing a message", error))
}
