//! Tags: custom ones that people write, system ones that the service and its connectors write.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::{Result, text};

/// The longest tag, in characters. Microsoft names no bound; a label beyond this is a description.
pub const TAG_CHARS_MAX: usize = 200;

/// The most tags on one incident: every change carries them, and the log must stay small.
pub const TAGS_PER_INCIDENT_MAX: usize = 100;

/// Who writes a tag, and for system tags what it says (Microsoft, "Manage incidents", Add incident tags).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "TagKind")]
pub enum TagKind {
    /// Written by a person.
    Custom,
    /// System: a type of attack, like credential phishing or BEC fraud.
    AttackType,
    /// System: an automatic action, like automatic attack disruption.
    AutomaticAction,
    /// System: an expert service handles the incident.
    Expert,
    /// System: a critical asset is involved.
    CriticalAsset,
}

/// A tag on an incident.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// Custom, or which system kind.
    pub kind: TagKind,
    /// As first written on this desk.
    pub name: String,
}

impl Tag {
    /// Reads a tag: trimmed, not blank, at most [`TAG_CHARS_MAX`] characters, each of which can be seen.
    pub fn parse(path: &str, kind: TagKind, name: &str) -> Result<Self> {
        Ok(Self { kind, name: text::label(path, name, TAG_CHARS_MAX)? })
    }

    /// Reads a tag that is there already: it may be older than the rule about characters that cannot be seen.
    pub fn known(path: &str, kind: TagKind, name: &str) -> Result<Self> {
        Ok(Self { kind, name: text::name(path, name, TAG_CHARS_MAX)? })
    }

    /// What tags are compared by: the name without case.
    pub fn key(&self) -> String {
        key(&self.name)
    }
}

/// What tag names are compared by: composed, without case.
pub fn key(name: &str) -> String {
    text::caseless(name)
}
