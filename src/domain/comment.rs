//! Comments: Markdown texts that only their authors edit. A comment keeps its history.

use serde::{Deserialize, Serialize};

use super::account::ActorImage;
use super::{CommentId, Error, IncidentId, Instant, Result, text};

/// The longest comment, in characters (Microsoft, "Manage incidents", Add comments).
pub const COMMENT_CHARS_MAX: usize = 30_000;

/// The sort key of a comment among the comments of its incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommentPlace {
    /// The time when the comment was written.
    pub at: Instant,
    /// The version of the incident whose change added the comment.
    pub version: u64,
    /// The id of the comment.
    pub id: CommentId,
}

impl CommentPlace {
    /// Returns the sort key of this comment.
    pub fn of(comment: &Comment) -> Self {
        Self { at: comment.created_at, version: comment.version, id: comment.id }
    }

    /// Reads the form that `Display` writes. Returns `None` for other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (at, rest) = text.split_once('.')?;
        let (version, id) = rest.split_once('.')?;
        Some(Self {
            at: Instant::from_timestamp_micros(at.parse().ok()?)?,
            version: version.parse().ok()?,
            id: CommentId(uuid::Uuid::try_parse(id).ok()?),
        })
    }
}

impl std::fmt::Display for CommentPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.at.timestamp_micros(), self.version, self.id.0.simple())
    }
}

/// The change that set a text of a comment: an incident and its version. The comment was on that incident then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TextSetBy {
    /// The id of the incident.
    pub incident: IncidentId,
    /// The version of the incident.
    pub version: u64,
}

/// A comment that a merge moves to another incident. The log of that incident has to describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommentImage {
    /// The id of the comment.
    pub comment: CommentId,
    /// The author, named as of the time of writing.
    pub author: ActorImage,
    /// The time when the comment was written.
    pub at: Instant,
    /// The change that set the first text.
    pub first: TextSetBy,
    /// The change that set the present text.
    pub text: TextSetBy,
    /// The SHA-256 of the present text, in hexadecimal.
    pub sha256: String,
}

/// Reads a comment's Markdown: not blank, at most 30,000 characters. Spaces are kept, because Markdown gives them a
/// meaning.
pub fn parse(path: &str, body: &str) -> Result<String> {
    if text::is_blank(body) {
        return Err(Error::invalid(path, "a comment cannot be blank"));
    }
    text::at_most(path, body, COMMENT_CHARS_MAX)?;
    Ok(body.to_owned())
}

/// A comment in its present state.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// The id of the comment.
    pub id: CommentId,
    /// The incident that has the comment now.
    pub incident: IncidentId,
    /// The incident on which the comment was written. It differs if that incident was merged into the present one.
    pub written_on: IncidentId,
    /// The version of that incident that added the comment.
    pub version: u64,
    /// The Markdown text; empty if the comment was deleted.
    pub body: String,
    /// The author, named as of the time of writing.
    pub author: ActorImage,
    /// The time when the comment was written.
    pub created_at: Instant,
    /// The time of the last edit, if there was one.
    pub edited_at: Option<Instant>,
    /// The time of the deletion, if there was one.
    pub deleted_at: Option<Instant>,
}

impl Comment {
    /// Returns the comment's first text. Correct only while the comment was never edited.
    pub fn first_text(&self) -> Revision {
        let (body, by) = (self.body.clone(), self.author.clone());
        Revision { incident: self.written_on, version: self.version, body, at: self.created_at, by }
    }
}

/// A former or the present text of a comment.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// The incident that had the comment then.
    pub incident: IncidentId,
    /// The version of that incident that set this text.
    pub version: u64,
    /// The Markdown text.
    pub body: String,
    /// The time when the text was set.
    pub at: Instant,
    /// The actor who set the text.
    pub by: ActorImage,
}
