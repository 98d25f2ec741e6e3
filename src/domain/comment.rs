//! Comments: Markdown by an author, edited by its author only, kept with its history.

use super::account::ActorImage;
use super::{CommentId, Error, IncidentId, Instant, Result, text};

/// The longest comment, in characters (Microsoft, "Manage incidents", Add comments).
pub const COMMENT_CHARS_MAX: usize = 30_000;

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
