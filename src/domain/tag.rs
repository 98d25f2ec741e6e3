//! Tags. People write custom tags; the service and its connectors write system tags.

use async_graphql::Enum;
use sea_orm::{ActiveEnum, DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::{Result, text};

/// The longest tag, in characters. Microsoft states no limit; a longer label is a description.
pub const TAG_CHARS_MAX: usize = 200;

/// The most tags on one incident. Every change carries them, and the log has to stay small.
pub const TAGS_PER_INCIDENT_MAX: usize = 100;

/// The kind of a tag: custom, or one of the system kinds (Microsoft, "Manage incidents", Add incident tags).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "TagKind")]
pub enum TagKind {
    /// A custom tag, which a person wrote.
    Custom,
    /// A system tag: a type of attack, like credential phishing or BEC fraud.
    AttackType,
    /// A system tag: an automatic action, like automatic attack disruption.
    AutomaticAction,
    /// A system tag: an expert service handles the incident.
    Expert,
    /// A system tag: a critical asset is involved.
    CriticalAsset,
}

/// A tag on an incident.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// The kind of the tag.
    pub kind: TagKind,
    /// The name, as it was first written on this desk.
    pub name: String,
}

impl Tag {
    /// Reads a tag: trimmed, not blank, at most [`TAG_CHARS_MAX`] visible characters.
    pub fn parse(path: &str, kind: TagKind, name: &str) -> Result<Self> {
        Ok(Self { kind, name: text::label(path, name, TAG_CHARS_MAX)? })
    }

    /// Reads a tag that exists already. It may be older than the rule against invisible characters.
    pub fn known(path: &str, kind: TagKind, name: &str) -> Result<Self> {
        Ok(Self { kind, name: text::name(path, name, TAG_CHARS_MAX)? })
    }

    /// Returns the key by which tags are compared: the name without case.
    pub fn key(&self) -> String {
        key(&self.name)
    }

    /// Returns the place of the tag among tags with equal counts: by key, then by kind, as the database compares them.
    pub fn place(&self) -> (String, String) {
        (self.key(), self.kind.to_value())
    }
}

/// Returns the key by which tag names are compared: composed, without case.
pub fn key(name: &str) -> String {
    text::caseless(name)
}
