//! The error type of the desk: refusals, which the caller can act on, and faults of the desk.

use async_graphql::Enum;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The result of every rule, query and command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The codes of errors, as in `extensions.code`. The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Enum)]
#[graphql(name = "ErrorCode")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The id, number or account names nothing that the caller may see.
    NotFound,
    /// The document or the input breaks a rule. `extensions.path` names the input value, if the error is about a single
    /// value.
    Invalid,
    /// The input is well formed, but the present state forbids the request. `extensions.now` describes this state.
    Conflict,
    /// The caller may not do this: its role does not allow the request, or the object belongs to another user.
    Forbidden,
    /// The desk does not know the account that the request names. The HTTP status is then 401, and a WebSocket is
    /// closed with 4403.
    Unauthenticated,
    /// The request exceeds a limit; `extensions.now.limit` is the limit.
    Limit,
    /// The desk cannot answer at this moment. A retry of the same request may succeed; `extensions.retryAfter` says
    /// after how many seconds, if nothing was changed.
    Unavailable,
    /// The request names a document by its hash, and this desk does not store documents. The client has to send the
    /// document. Clients of the protocol for persisted queries know this code and its message.
    PersistedQueryNotSupported,
    /// A fault of the desk. The server's log has the cause under the same `extensions.reference`.
    Internal,
}

impl Code {
    /// Returns the code with this name, as [`Self::as_str`] gives it.
    pub fn named(name: &str) -> Option<Self> {
        Self::deserialize(StrDeserializer::<serde::de::value::Error>::new(name)).ok()
    }

    /// Returns the code as it appears in `extensions.code`.
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

/// A refusal or a fault of the desk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A refusal, which the caller can act on.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// A fault of the desk. The client sees a reference, and the log has the cause.
    #[error("{context}")]
    Fault {
        /// The operation that failed.
        context: &'static str,
        /// The cause, which no client sees.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database was busy, or it broke off a transaction that may be retried.
    #[error("the desk is busy, try again")]
    Busy,
}

/// The reason of a refusal, in words for an analyst: lowercase, no full stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The code, from the closed list.
    pub code: Code,
    /// The message, for people.
    pub message: String,
    /// The input value at fault, dotted, for example `input.title` or `filter.and.1.owner.users.3`.
    pub path: Option<String>,
    /// The present state (for conflicts), or the limit (for limits).
    pub now: Option<Value>,
    /// The seconds after which the same request may succeed. Absent if a retry would not help, or if the request may
    /// have been done already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

/// The seconds after which a client may retry an `UNAVAILABLE` request. The work in front of it takes milliseconds to a
/// second, and the desk tries a lost database anew each time.
pub(crate) const RETRY_AFTER: u32 = 1;

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl Error {
    fn refused(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), path: None, now: None, retry_after: None }
    }

    /// Creates the refusal of an input field `path` that breaks a rule.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        let refusal = Refusal { path: Some(path.into()), ..Self::refused(Code::Invalid, message) };
        Self::Refused(Box::new(refusal))
    }

    /// Creates the refusal for a thing that does not exist or that the caller may not see. Both have the same answer.
    pub fn not_found(noun: &str, name: impl std::fmt::Display) -> Self {
        Self::Refused(Box::new(Self::refused(Code::NotFound, format!("there is no {noun} {name}"))))
    }

    /// Creates the refusal of a request that the present state forbids. The caller adds the input field with
    /// [`Self::at`].
    pub fn conflict(message: impl Into<String>, now: Value) -> Self {
        let refusal = Refusal { now: Some(now), ..Self::refused(Code::Conflict, message) };
        Self::Refused(Box::new(refusal))
    }

    /// Creates the refusal for a value of the field `path` that something else has already; `now` names the holder.
    pub fn taken(path: impl Into<String>, message: impl Into<String>, now: Value) -> Self {
        let refusal = Refusal { path: Some(path.into()), now: Some(now), ..Self::refused(Code::Conflict, message) };
        Self::Refused(Box::new(refusal))
    }

    /// Creates the refusal for a caller without the necessary rights.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::Refused(Box::new(Self::refused(Code::Forbidden, message)))
    }

    /// Creates the refusal for a caller that is not known.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::Refused(Box::new(Self::refused(Code::Unauthenticated, message)))
    }

    /// Creates the refusal for a desk that cannot answer at this moment. Nothing was changed, so the client may retry.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let refusal = Refusal { retry_after: Some(RETRY_AFTER), ..Self::refused(Code::Unavailable, message) };
        Self::Refused(Box::new(refusal))
    }

    /// Creates an `UNAVAILABLE` refusal without a retry time: the request may have been done, or a retry would not
    /// help.
    pub fn unavailable_for_long(message: impl Into<String>) -> Self {
        Self::Refused(Box::new(Self::refused(Code::Unavailable, message)))
    }

    /// Creates the refusal of a request that names a document by its hash. The client has to send the document.
    pub fn persisted_query() -> Self {
        Self::Refused(Box::new(Self::refused(Code::PersistedQueryNotSupported, "PersistedQueryNotSupported")))
    }

    /// Creates the refusal of an input field `path` that exceeds the limit `bound`.
    pub fn limit(path: impl Into<String>, message: impl Into<String>, bound: usize) -> Self {
        let refusal = Refusal {
            path: Some(path.into()),
            now: Some(serde_json::json!({ "limit": bound })),
            ..Self::refused(Code::Limit, message)
        };
        Self::Refused(Box::new(refusal))
    }

    /// Creates a fault of the desk in the operation `context`.
    pub fn fault(context: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Fault { context, source: source.into() }
    }

    /// Returns the code that the client sees.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Busy => Code::Unavailable,
            Self::Fault { .. } => Code::Internal,
        }
    }

    /// Adds the input field `path` to a `NOT_FOUND` or `CONFLICT` refusal that has no path yet. Other errors stay as
    /// they are. The field names the object that is missing, or whose present state forbids the request.
    pub fn at(self, path: &str) -> Self {
        match self {
            Self::Refused(mut refusal) if matches!(refusal.code, Code::NotFound | Code::Conflict) => {
                refusal.path.get_or_insert_with(|| path.to_owned());
                Self::Refused(refusal)
            }
            other => other,
        }
    }

    /// Returns whether a retry may succeed a moment later: the database was busy or did not answer, or there was a fault
    /// whose cause is not known.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused(refusal) if refusal.code != Code::Unavailable)
    }

    /// Renames the field with which the path of a refusal begins to the name in another input. `words` has pairs of an
    /// old and a new name. For example, `linkAlerts.3` becomes `alerts.3`.
    pub fn reworded(self, words: &[(&str, &str)]) -> Self {
        match self {
            Self::Refused(mut refusal) => {
                let path = refusal.path.take();
                refusal.path = path.map(|path| {
                    let renamed = words.iter().find_map(|(from, to)| {
                        let rest = path.strip_prefix(from)?;
                        (rest.is_empty() || rest.starts_with('.')).then(|| format!("{to}{rest}"))
                    });
                    renamed.unwrap_or(path)
                });
                Self::Refused(refusal)
            }
            other => other,
        }
    }

    /// Moves the path of a refusal below `parent`: `title` below `input` is `input.title`.
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
