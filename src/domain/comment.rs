//! Comments: Markdown by an author, edited by its author only, kept with its history.

use serde::{Deserialize, Serialize};

use super::account::ActorImage;
use super::{CommentId, Error, IncidentId, Instant, Result, text};

/// The longest comment, in characters (Microsoft, "Manage incidents", Add comments).
pub const COMMENT_CHARS_MAX: usize = 30_000;

/// The place of a comment among those of its incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommentPlace {
    /// When it was written.
    pub at: Instant,
    /// The version of the incident that it was written on.
    pub version: u64,
    /// The comment.
    pub id: CommentId,
}

impl CommentPlace {
    /// The place of this comment.
    pub fn of(comment: &Comment) -> Self {
        Self { at: comment.created_at, version: comment.version, id: comment.id }
    }

    /// Reads what [`CommentPlace::fmt`] wrote; none for anything else.
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

/// What set a text of a comment: a version of the incident that the comment stood on then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TextSetBy {
    /// The incident.
    pub incident: IncidentId,
    /// Its version.
    pub version: u64,
}

/// A comment as it comes to another incident: a log that it was not written to has to say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommentImage {
    /// The comment.
    pub comment: CommentId,
    /// Who wrote it, named as then.
    pub author: ActorImage,
    /// When.
    pub at: Instant,
    /// What set its first text.
    pub first: TextSetBy,
    /// What set its present text.
    pub text: TextSetBy,
    /// The SHA-256 of its present text, in hexadecimal.
    pub sha256: String,
}

/// Reads a comment's Markdown: not blank, at most 30,000 characters; spaces are kept, they mean something there.
pub fn parse(path: &str, body: &str) -> Result<String> {
    if text::is_blank(body) {
        return Err(Error::invalid(path, "a comment cannot be blank"));
    }
    text::at_most(path, body, COMMENT_CHARS_MAX)?;
    Ok(body.to_owned())
}

/// A comment as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// Its id.
    pub id: CommentId,
    /// The incident that it is on.
    pub incident: IncidentId,
    /// The incident that it was written on: another where that was merged into this one.
    pub written_on: IncidentId,
    /// The version of that incident that added it.
    pub version: u64,
    /// Markdown; empty once deleted.
    pub body: String,
    /// Who wrote it, named as then.
    pub author: ActorImage,
    /// When it was written.
    pub created_at: Instant,
    /// When it was last edited, if ever.
    pub edited_at: Option<Instant>,
    /// When it was deleted, if it was.
    pub deleted_at: Option<Instant>,
}

impl Comment {
    /// The text that it was written with, while it has no other.
    pub fn first_text(&self) -> Revision {
        let (body, by) = (self.body.clone(), self.author.clone());
        Revision { incident: self.written_on, version: self.version, body, at: self.created_at, by }
    }
}

/// One former or present text of a comment.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// The incident that the comment was on then.
    pub incident: IncidentId,
    /// That incident's version that set this text.
    pub version: u64,
    /// Markdown.
    pub body: String,
    /// When it was set.
    pub at: Instant,
    /// Who set it.
    pub by: ActorImage,
}
