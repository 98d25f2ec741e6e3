//! The input types of tags, and their readers.

use async_graphql::InputObject;

use crate::domain::tag::{Tag, TagKind};
use crate::domain::{Error, Result};

/// A tag, by name and kind.
#[derive(Clone, Debug, InputObject)]
pub struct TagInput {
    /// The name of the tag: at most 200 characters. Spaces around it are trimmed, and case is ignored in comparisons.
    name: String,
    /// The kind: custom, or one of the kinds of system tags.
    #[graphql(default_with = "TagKind::Custom")]
    kind: TagKind,
}

/// Reads tags of one kind by name.
pub fn tags(path: &str, names: &[String], kind: TagKind) -> Result<Vec<Tag>> {
    names.iter().map(|name| Tag::parse(path, kind, name)).collect()
}

/// Reads system tags. A custom tag is `INVALID`.
pub fn system_tags(path: &str, tags: &[TagInput]) -> Result<Vec<Tag>> {
    refuse_custom(path, tags)?;
    tags.iter().map(|tag| Tag::parse(path, tag.kind, &tag.name)).collect()
}

/// Reads tags to remove, by name. They may be older than the rule that refuses characters that cannot be seen.
pub fn known_tags(path: &str, names: &[String], kind: TagKind) -> Result<Vec<Tag>> {
    names.iter().map(|name| Tag::known(path, kind, name)).collect()
}

/// Reads system tags to remove. A custom tag is `INVALID`.
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
