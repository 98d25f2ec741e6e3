//! The subprotocols of the socket: one set of messages for both, and the rules in which they differ.
//!
//! The reader and the writer of a socket use this interface, and know no message by its name. Only this file
//! knows which of the two a socket speaks.

use async_graphql::{Response, ServerError};
use serde_json::Value;

use super::incoming::IncomingMessage;
use super::{graphql_transport_ws as current, graphql_ws as legacy};
use crate::domain::{Error, Result};
use crate::graphql::error::server_error;

/// The subprotocol that both ends of a socket speak, chosen at the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subprotocol {
    /// `graphql-transport-ws`, of graphql-ws.
    Current,
    /// `graphql-ws`, of the archived subscriptions-transport-ws.
    Legacy,
}

impl Subprotocol {
    /// Returns the subprotocol of this name; `None` if it is unknown.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        [Self::Current, Self::Legacy].into_iter().find(|known| known.name().as_bytes() == name)
    }

    /// Returns its name, as the upgrade negotiates it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Current => current::SUBPROTOCOL,
            Self::Legacy => legacy::SUBPROTOCOL,
        }
    }

    /// Reads a message; the error is the reason to close the socket.
    pub(super) fn read(self, text: &str) -> std::result::Result<IncomingMessage, String> {
        match self {
            Self::Current => current::read(text),
            Self::Legacy => legacy::read(text),
        }
    }

    /// Returns the beginning of a result message. The payload and a brace complete it.
    pub(super) fn envelope(self, id: &str) -> String {
        let kind = match self {
            Self::Current => "next",
            Self::Legacy => "data",
        };
        format!(r#"{{"type":"{kind}","id":{},"payload":"#, Value::from(id))
    }

    /// Writes a result.
    pub(super) fn next(self, id: &str, answer: &Response) -> Result<String> {
        match self {
            Self::Current => current::next(id, answer),
            Self::Legacy => legacy::data(id, answer),
        }
    }

    /// Writes why an operation has no result: its last message.
    pub(super) fn error(self, id: &str, errors: &[ServerError]) -> Result<String> {
        match self {
            Self::Current => current::error(id, errors),
            Self::Legacy => legacy::error(Some(id), errors),
        }
    }

    /// Writes that an operation is complete: its last message.
    pub(super) fn complete(self, id: &str) -> Result<String> {
        match self {
            Self::Current => current::complete(id),
            Self::Legacy => legacy::complete(id),
        }
    }

    /// Returns the message that the client is admitted.
    pub(super) fn ack(self) -> &'static str {
        // Both subprotocols have this message.
        r#"{"type":"connection_ack"}"#
    }

    /// Returns the keep-alive message, if a client of this subprotocol takes a connection without it for dead.
    pub(super) fn keep_alive(self) -> Option<&'static str> {
        (self == Self::Legacy).then_some(legacy::KEEP_ALIVE)
    }

    /// Writes the message before the close that refuses a client, if there is one.
    pub(super) fn turned_away(self, errors: &[ServerError]) -> Option<String> {
        match self {
            Self::Current => None,
            Self::Legacy => legacy::connection_error(errors).ok(),
        }
    }

    /// Writes the confirmation that a client has ended an operation, if there is one.
    pub(super) fn confirmed(self, id: &str) -> Option<String> {
        match self {
            Self::Current => None,
            Self::Legacy => legacy::complete(id).ok(),
        }
    }

    /// Writes the answer to an operation before `connection_init`; `None` means that the socket closes.
    pub(super) fn too_early(self, id: &str) -> Option<String> {
        match self {
            Self::Current => None,
            Self::Legacy => {
                let error = server_error(Error::unauthenticated("connection_init comes first"));
                legacy::error(Some(id), &[error]).ok()
            }
        }
    }

    /// Returns whether a client may send operations before it is admitted. They wait, unread, for the decision.
    pub(super) fn runs_ahead(self) -> bool {
        self == Self::Legacy
    }

    /// Returns whether a new operation replaces an open operation of the same id.
    pub(super) fn replaces(self) -> bool {
        self == Self::Legacy
    }
}
