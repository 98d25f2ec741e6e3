//! The subprotocols of the socket: one vocabulary for both, and the rules in which they differ.
//!
//! The reader and the writer of a socket speak through this and know no message by its name. Only what is in here may
//! depend on the dialect.

use async_graphql::{Response, ServerError};
use serde_json::{Map, Value};

use super::operation::Parameters;
use super::{transport_legacy as legacy, transport_ws as current};
use crate::domain::{Error, Result};
use crate::graphql::error::server_error;

/// How the two ends of a socket speak; chosen at the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `graphql-transport-ws`, of graphql-ws.
    Current,
    /// `graphql-ws`, of the archived subscriptions-transport-ws.
    Legacy,
}

/// What a client wants.
pub(super) enum Incoming {
    Init(Option<Map<String, Value>>),
    /// An operation; the error says that its request is too large.
    Subscribe(String, Result<Parameters>),
    Complete(String),
    /// To be told this, and nothing else.
    Answer(String),
    Nothing,
    /// To be let go.
    Terminate,
}

impl Dialect {
    /// The dialect of a subprotocol that was chosen.
    pub(super) fn named(subprotocol: &[u8]) -> Option<Self> {
        [Self::Current, Self::Legacy].into_iter().find(|dialect| dialect.name().as_bytes() == subprotocol)
    }

    /// Its subprotocol.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Current => current::SUBPROTOCOL,
            Self::Legacy => legacy::SUBPROTOCOL,
        }
    }

    /// Reads a message; the error is the reason to close with.
    pub(super) fn read(self, text: &str) -> std::result::Result<Incoming, String> {
        match self {
            Self::Current => current::read(text),
            Self::Legacy => legacy::read(text),
        }
    }

    /// One of several results, up to its payload; the payload and a brace complete it.
    pub(super) fn envelope(self, id: &str) -> String {
        let kind = match self {
            Self::Current => "next",
            Self::Legacy => "data",
        };
        format!(r#"{{"type":"{kind}","id":{},"payload":"#, Value::from(id))
    }

    /// A result.
    pub(super) fn next(self, id: &str, answer: &Response) -> Result<String> {
        match self {
            Self::Current => current::next(id, answer),
            Self::Legacy => legacy::data(id, answer),
        }
    }

    /// Why an operation has no result: its last message.
    pub(super) fn error(self, id: &str, errors: &[ServerError]) -> Result<String> {
        match self {
            Self::Current => current::error(id, errors),
            Self::Legacy => legacy::error(Some(id), errors),
        }
    }

    /// That an operation is over: its last message.
    pub(super) fn complete(self, id: &str) -> Result<String> {
        match self {
            Self::Current => current::complete(id),
            Self::Legacy => legacy::complete(id),
        }
    }

    /// That the client is let in.
    pub(super) fn ack(self) -> &'static str {
        // The same on both.
        r#"{"type":"connection_ack"}"#
    }

    /// What a client waits for that takes a connection without it for dead.
    pub(super) fn keep_alive(self) -> Option<&'static str> {
        (self == Self::Legacy).then_some(legacy::KEEP_ALIVE)
    }

    /// What is said to a client that is not let in, before the close.
    pub(super) fn turned_away(self, errors: &[ServerError]) -> Option<String> {
        match self {
            Self::Current => None,
            Self::Legacy => legacy::connection_error(errors).ok(),
        }
    }

    /// What is said when a client has ended an operation by itself.
    pub(super) fn confirmed(self, id: &str) -> Option<String> {
        match self {
            Self::Current => None,
            Self::Legacy => legacy::complete(id).ok(),
        }
    }

    /// What an operation is told that comes before any init; silence is the end of the socket.
    pub(super) fn too_early(self, id: &str) -> Option<String> {
        match self {
            Self::Current => None,
            Self::Legacy => {
                let error = server_error(Error::unauthenticated("connection_init comes first"));
                legacy::error(Some(id), &[error]).ok()
            }
        }
    }

    /// Whether a client may go on before it is let in: what it says then waits, unread, for the decision.
    pub(super) fn runs_ahead(self) -> bool {
        self == Self::Legacy
    }

    /// Whether a further operation takes the place of one of the same id.
    pub(super) fn replaces(self) -> bool {
        self == Self::Legacy
    }
}
