//! The domain of the desk, which is this service: types, rules and limits. No I/O, no async; callers pass in the time.

pub mod account;
pub(crate) mod activity;
pub mod alert;
pub mod alert_log;
pub mod attachment;
pub(crate) mod bookmark;
pub(crate) mod bulk;
pub mod chain;
pub mod change;
pub mod classification;
pub mod clock;
pub mod comment;
pub(crate) mod condition;
pub(crate) mod correlation;
pub mod entity;
mod entry;
pub(crate) mod error;
pub mod export;
pub mod filter;
pub mod fold;
pub(crate) mod held_filter;
pub mod idempotency;
pub mod incident;
pub(crate) mod instant;
pub(crate) mod markdown;
pub mod merge;
pub(crate) mod path;
pub mod policy;
pub mod position;
pub mod precondition;
pub(crate) mod propagation;
pub mod queue;
pub(crate) mod response_times;
pub(crate) mod retold;
pub mod signing;
pub mod summary;
pub mod tag;
pub mod text;
pub(crate) mod timeline;
pub(crate) mod title;
pub mod value_counts;
pub mod view;

pub use error::{Code, Error, Result};

/// An instant, in UTC, kept to the microsecond (what both databases hold).
pub type Instant = chrono::DateTime<chrono::Utc>;

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal),+ $(,)?) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub uuid::Uuid);

        impl $name {
            /// The noun that prefixes this id in the API: `incident:0198…`.
            pub const WORD: &'static str = $word;

            /// Reads the API's form, `<noun>:<uuid>`. Returns `None` for other text, also for an id with another noun.
            pub fn parse(text: &str) -> Option<Self> {
                let uuid = text.strip_prefix($word)?.strip_prefix(':')?;
                uuid::Uuid::try_parse(uuid).ok().map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}:{}", $word, self.0)
            }
        }
    )+};
}

ids! {
    /// Names one incident.
    IncidentId = "incident",
    /// Names one alert.
    AlertId = "alert",
    /// Names one comment.
    CommentId = "comment",
    /// Names one attachment.
    AttachmentId = "attachment",
    /// Names one bookmark.
    BookmarkId = "bookmark",
    /// Names one saved view.
    ViewId = "view",
    /// Names one user.
    UserId = "user",
    /// Names one group of users.
    GroupId = "group",
    /// Names one bulk job.
    BulkJobId = "bulk",
    /// Names the transaction that a change belongs to.
    TransactionId = "transaction",
}
