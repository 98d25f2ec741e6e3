//! The input types of tags, and their readers.

use async_graphql::{Enum, InputObject};

use crate::domain::Result;
use crate::domain::path::each;
use crate::domain::tag::{Tag, TagKind};

/// The kinds of system tags: every kind of tag except `CUSTOM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum SystemTagKind {
    /// A type of attack, like credential phishing or BEC fraud.
    AttackType,
    /// An automatic action, like automatic attack disruption.
    AutomaticAction,
    /// An expert service handles the incident.
    Expert,
    /// A critical asset is involved.
    CriticalAsset,
}

impl From<SystemTagKind> for TagKind {
    fn from(kind: SystemTagKind) -> Self {
        match kind {
            SystemTagKind::AttackType => Self::AttackType,
            SystemTagKind::AutomaticAction => Self::AutomaticAction,
            SystemTagKind::Expert => Self::Expert,
            SystemTagKind::CriticalAsset => Self::CriticalAsset,
        }
    }
}

/// A system tag, by name and kind. A custom tag is given by its name alone, in a field of its own.
#[derive(Clone, Debug, InputObject)]
pub(super) struct SystemTagInput {
    /// The name of the tag: at most 200 characters. Spaces around it are trimmed, and case is ignored in comparisons.
    name: String,
    /// The kind of the tag.
    kind: SystemTagKind,
}

/// Reads custom tags to add, by name.
pub(super) fn custom_tags(path: &str, names: &[String]) -> Result<Vec<Tag>> {
    each(path, names, |path, name| Tag::parse(path, TagKind::Custom, name))
}

/// Reads system tags to add.
pub(super) fn system_tags(path: &str, tags: &[SystemTagInput]) -> Result<Vec<Tag>> {
    each(path, tags, |path, tag| Tag::parse("name", tag.kind.into(), &tag.name).map_err(|error| error.below(path)))
}

/// Reads custom tags to remove, by name. They may be older than the rule that refuses characters that cannot be seen.
pub(super) fn known_custom_tags(path: &str, names: &[String]) -> Result<Vec<Tag>> {
    each(path, names, |path, name| Tag::known(path, TagKind::Custom, name))
}

/// Reads system tags to remove.
pub(super) fn known_system_tags(path: &str, tags: &[SystemTagInput]) -> Result<Vec<Tag>> {
    each(path, tags, |path, tag| Tag::known("name", tag.kind.into(), &tag.name).map_err(|error| error.below(path)))
}
