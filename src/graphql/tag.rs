//! Tags as they are written in inputs.

use async_graphql::InputObject;

use crate::domain::tag::{Tag, TagKind};
use crate::domain::{Error, Result};

/// Tags by name, custom ones where no kind is given.
#[derive(Clone, Debug, InputObject)]
pub struct TagInput {
    /// The name: free text of at most 200 characters, trimmed, compared without case.
    name: String,
    /// Custom, or which kind of system tag.
    #[graphql(default_with = "TagKind::Custom")]
    kind: TagKind,
}

/// Reads tags of one kind.
pub fn tags(path: &str, names: &[String], kind: TagKind) -> Result<Vec<Tag>> {
    names.iter().map(|name| Tag::parse(path, kind, name)).collect()
}

/// Reads tags of which each says its kind.
pub fn system_tags(path: &str, tags: &[TagInput]) -> Result<Vec<Tag>> {
    refuse_custom(path, tags)?;
    tags.iter().map(|tag| Tag::parse(path, tag.kind, &tag.name)).collect()
}

/// Reads tags of one kind that are to go: they may be older than what names may hold.
pub fn known_tags(path: &str, names: &[String], kind: TagKind) -> Result<Vec<Tag>> {
    names.iter().map(|name| Tag::known(path, kind, name)).collect()
}

/// Reads system tags that are to go.
pub fn known_system_tags(path: &str, tags: &[TagInput]) -> Result<Vec<Tag>> {
    refuse_custom(path, tags)?;
    tags.iter().map(|tag| Tag::known(path, tag.kind, &tag.name)).collect()
}

fn refuse_custom(path: &str, tags: &[TagInput]) -> Result<()> {
    match tags.iter().any(|tag| tag.kind == TagKind::Custom) {
        true => Err(Error::invalid(path, "a system tag says its kind; custom ones have an input of their own")),
        false => Ok(()),
    }
}
