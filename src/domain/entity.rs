//! Entities: the things that alerts name, and the verdict on each.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::{Result, text};

/// The longest value of an entity that is stored, in characters: a URL of 2,048 and some room.
pub const ENTITY_CHARS_MAX: usize = 4_096;

/// What kind of thing an alert names.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EntityKind {
    /// A user account.
    User,
    /// A device or host.
    Device,
    /// An IP address.
    Ip,
    /// A URL.
    Url,
    /// A domain name.
    Domain,
    /// A file, by name or path.
    File,
    /// A hash of a file.
    FileHash,
    /// A process, by command line or image.
    Process,
    /// A mailbox.
    Mailbox,
    /// A mail message.
    MailMessage,
    /// A resource of a cloud.
    CloudResource,
    /// An application of a cloud or an OAuth grant.
    CloudApplication,
    /// A registry key or value.
    RegistryKey,
    /// A group of accounts.
    SecurityGroup,
    /// Something else.
    Other,
}

/// What an investigation thinks of an entity, mildest first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// No threat was found.
    NoThreatsFound = 1,
    /// Suspicious.
    Suspicious = 2,
    /// Malicious.
    Malicious = 3,
}

/// An entity as one alert names it; with a verdict it is evidence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// What kind of thing.
    pub kind: EntityKind,
    /// Its name, address or path, as the product wrote it.
    pub value: String,
    /// What is thought of it, if anything.
    pub verdict: Option<Verdict>,
}

impl Entity {
    /// Reads an entity: its value trimmed, not blank, at most [`ENTITY_CHARS_MAX`] characters.
    pub fn parse(path: &str, kind: EntityKind, value: &str, verdict: Option<Verdict>) -> Result<Self> {
        Ok(Self { kind, value: text::name(path, value, ENTITY_CHARS_MAX)?, verdict })
    }

    /// What entities of one kind are compared by.
    pub fn key(&self) -> EntityKey {
        EntityKey { kind: self.kind, value: key(&self.value) }
    }
}

/// Names an entity across alerts and incidents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityKey {
    /// What kind of thing.
    pub kind: EntityKind,
    /// Its value, folded.
    pub value: String,
}

/// The longest key that is indexed, in bytes: PostgreSQL refuses index rows beyond 2,704.
const KEY_BYTES_MAX: usize = 1_024;

/// The value of an entity as it is compared: folded. Beyond 1,024 bytes the key is its start and a digest of it all.
pub fn key(value: &str) -> String {
    use sha2::{Digest, Sha256};
    let folded = text::fold(value.trim());
    if folded.len() <= KEY_BYTES_MAX {
        return folded;
    }
    let start = folded.floor_char_boundary(KEY_BYTES_MAX - 65);
    let digest: String = Sha256::digest(folded.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}~{digest}", &folded[..start])
}
