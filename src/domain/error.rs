//! The one error: refusals that the caller can act on, and faults that are ours.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What every rule, query and command returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The closed list of codes that `extensions.code` may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The id, number or account names nothing that the caller may see.
    NotFound,
    /// The input breaks a rule; `path` names the field.
    Invalid,
    /// The input is well formed, but what is true now forbids it; `now` says what that is.
    Conflict,
    /// The caller may not do this.
    Forbidden,
    /// The caller is not known.
    Unauthenticated,
    /// A bound is passed; `limit` says which and how large it is.
    Limit,
    /// The desk cannot answer at this moment; the same request may succeed later.
    Unavailable,
    /// The request names a document by its hash, and this desk keeps none: the client sends the document. Clients of the
    /// protocol for persisted queries know this code, and the message that goes with it.
    PersistedQueryNotSupported,
    /// A fault of ours; `reference` finds it in the server's log.
    Internal,
}

impl Code {
    /// The word in `extensions.code`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::Invalid => "INVALID",
            Self::Conflict => "CONFLICT",
            Self::Forbidden => "FORBIDDEN",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Limit => "LIMIT",
            Self::Unavailable => "UNAVAILABLE",
            Self::PersistedQueryNotSupported => "PERSISTED_QUERY_NOT_SUPPORTED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// A refusal or a fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller can act on it.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// Ours: the client sees a reference, the log sees the cause.
    #[error("{context}")]
    Fault {
        /// What the desk was doing.
        context: &'static str,
        /// Why it failed; never shown to a client.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database was busy, or broke off a transaction that may be tried again.
    #[error("the desk is busy, try again")]
    Busy,
}

/// Why a request was turned down, in words for an analyst: lowercase, no full stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// One of the closed list.
    pub code: Code,
    /// Product text.
    pub message: String,
    /// The input field at fault, dotted: `input.title`.
    pub path: Option<String>,
    /// What is true now (for conflicts), or the bound (for limits).
    pub now: Option<Value>,
    /// The seconds after which the same request may succeed. It is absent where the request would be no better then, or may have been
    /// done already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

/// The seconds after which a client may try again what was `UNAVAILABLE`: the work that waits in front of it takes milliseconds to a
/// second, and a database that is away is looked for anew each time.
pub const RETRY_AFTER: u32 = 1;

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl Error {
    fn refused(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), path: None, now: None, retry_after: None }
    }

    /// The input field `path` breaks a rule.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        let refusal = Refusal { path: Some(path.into()), ..Self::refused(Code::Invalid, message) };
        Self::Refused(Box::new(refusal))
    }

    /// Nothing of that name, or nothing that the caller may see: both answer alike.
    pub fn not_found(noun: &str, name: impl std::fmt::Display) -> Self {
        Self::Refused(Box::new(Self::refused(Code::NotFound, format!("there is no {noun} {name}"))))
    }

    /// What is true now forbids it.
    pub fn conflict(message: impl Into<String>, now: Value) -> Self {
        let refusal = Refusal { now: Some(now), ..Self::refused(Code::Conflict, message) };
        Self::Refused(Box::new(refusal))
    }

    /// What the input field `path` asks for is taken by something else; `now` says by what.
    pub fn taken(path: impl Into<String>, message: impl Into<String>, now: Value) -> Self {
        let refusal = Refusal { path: Some(path.into()), now: Some(now), ..Self::refused(Code::Conflict, message) };
        Self::Refused(Box::new(refusal))
    }

    /// The caller may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::Refused(Box::new(Self::refused(Code::Forbidden, message)))
    }

    /// The caller is not known.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::Refused(Box::new(Self::refused(Code::Unauthenticated, message)))
    }

    /// The desk cannot answer at this moment. Nothing was changed, so the same request may be sent again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let refusal = Refusal { retry_after: Some(RETRY_AFTER), ..Self::refused(Code::Unavailable, message) };
        Self::Refused(Box::new(refusal))
    }

    /// The same where the request may have been done, or would be no better in a moment: nobody is to send it again without a look.
    pub fn unavailable_for_long(message: impl Into<String>) -> Self {
        Self::Refused(Box::new(Self::refused(Code::Unavailable, message)))
    }

    /// The request names a document by its hash; its client is to send the document.
    pub fn persisted_query() -> Self {
        Self::Refused(Box::new(Self::refused(Code::PersistedQueryNotSupported, "PersistedQueryNotSupported")))
    }

    /// More than `bound` was asked for in the input field `path`.
    pub fn limit(path: impl Into<String>, message: impl Into<String>, bound: usize) -> Self {
        let refusal = Refusal {
            path: Some(path.into()),
            now: Some(serde_json::json!({ "limit": bound })),
            ..Self::refused(Code::Limit, message)
        };
        Self::Refused(Box::new(refusal))
    }

    /// A fault of ours while doing `context`.
    pub fn fault(context: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Fault { context, source: source.into() }
    }

    /// The code that the client sees.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Busy => Code::Unavailable,
            Self::Fault { .. } => Code::Internal,
        }
    }

    /// The same refusal of something that is not there, the input field `path` having named it; other errors stay.
    pub fn at(self, path: &str) -> Self {
        match self {
            Self::Refused(mut refusal) if refusal.code == Code::NotFound => {
                refusal.path.get_or_insert_with(|| path.to_owned());
                Self::Refused(refusal)
            }
            other => other,
        }
    }

    /// Whether the same may go well a moment later: the database was busy, or did not answer.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused(refusal) if refusal.code != Code::Unavailable)
    }

    /// The same refusal, its path said in another input's word: `words` pairs each with the one to say instead.
    pub fn reworded(self, words: &[(&str, &str)]) -> Self {
        match self {
            Self::Refused(mut refusal) => {
                let word = words.iter().find(|(from, _)| refusal.path.as_deref() == Some(from));
                if let Some((_, to)) = word {
                    refusal.path = Some((*to).to_owned());
                }
                Self::Refused(refusal)
            }
            other => other,
        }
    }

    /// The same refusal, its path moved below `parent`: `title` below `input` is `input.title`.
    pub fn below(self, parent: &str) -> Self {
        match self {
            Self::Refused(mut refusal) => {
                refusal.path = refusal.path.map(|path| format!("{parent}.{path}"));
                Self::Refused(refusal)
            }
            other => other,
        }
    }
}
