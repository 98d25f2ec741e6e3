//! Entities: the things that alerts name, each with a verdict.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::{Result, text};

/// The longest stored value of an entity, in characters: a URL of 2,048 and some room.
pub const ENTITY_CHARS_MAX: usize = 4_096;

/// The kind of a thing that an alert names.
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
    /// A file, by its name or path.
    File,
    /// A hash of a file.
    FileHash,
    /// A process, by its command line or image.
    Process,
    /// A mailbox.
    Mailbox,
    /// A mail message.
    MailMessage,
    /// A cloud resource.
    CloudResource,
    /// A cloud application or an OAuth grant.
    CloudApplication,
    /// A registry key or value.
    RegistryKey,
    /// A security group of accounts.
    SecurityGroup,
    /// A thing of another kind.
    Other,
}

/// The verdict of an investigation on an entity. From mild to severe: `NO_THREATS_FOUND`, `SUSPICIOUS`, `MALICIOUS`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// No threat was found.
    NoThreatsFound = 1,
    /// The entity is suspicious.
    Suspicious = 2,
    /// The entity is malicious.
    Malicious = 3,
}

/// An entity as one alert names it. An entity with a verdict is evidence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// The kind of the entity.
    pub kind: EntityKind,
    /// The name, address or path, as the product wrote it.
    pub value: String,
    /// The verdict, if there is one.
    pub verdict: Option<Verdict>,
}

impl Entity {
    /// Reads an entity: its value trimmed, not blank, at most [`ENTITY_CHARS_MAX`] characters.
    pub fn parse(path: &str, kind: EntityKind, value: &str, verdict: Option<Verdict>) -> Result<Self> {
        Ok(Self { kind, value: text::name(path, value, ENTITY_CHARS_MAX)?, verdict })
    }

    /// Returns the key by which entities of one kind are compared and searched.
    pub fn key(&self) -> EntityKey {
        EntityKey { kind: self.kind, value: key(&self.value) }
    }

    /// Returns the key under which one alert lists an entity once, in whatever form it is written. Comparisons fold
    /// more than this key: `Müller` and `Muller`, `/A` and `/a`, and two command lines that differ in case stay
    /// distinct here.
    pub fn identity(&self) -> EntityKey {
        let key = self.key();
        let same = ONE_FORM.contains(&self.kind)
            || (CASELESS.contains(&self.kind) && self.value.to_ascii_lowercase() == key.value);
        if same { key } else { EntityKey { kind: self.kind, value: self.value.clone() } }
    }
}

/// Kinds in which two values with equal keys are always the same thing.
pub const ONE_FORM: [EntityKind; 2] = [EntityKind::Ip, EntityKind::FileHash];

/// Kinds in which two values are the same thing if they differ only in the case of ASCII letters. URLs, files, command
/// lines and the ids of clouds and messages are not among them, because case changes their meaning.
pub const CASELESS: [EntityKind; 6] = [
    EntityKind::User,
    EntityKind::Device,
    EntityKind::Domain,
    EntityKind::Mailbox,
    EntityKind::RegistryKey,
    EntityKind::SecurityGroup,
];

/// Identifies an entity across alerts and incidents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityKey {
    /// The kind of the entity.
    pub kind: EntityKind,
    /// The value, folded.
    pub value: String,
}

/// The longest indexed key, in bytes. PostgreSQL refuses index rows beyond 2,704 bytes.
const KEY_BYTES_MAX: usize = 1_024;

/// Returns the form in which an entity's value is compared: folded, and an IPv6 address in the form of RFC 5952. A
/// longer value than 1,024 bytes becomes its start and a digest of the whole.
pub fn key(value: &str) -> String {
    use sha2::{Digest, Sha256};
    let folded = address(text::fold(value.trim()));
    if folded.len() <= KEY_BYTES_MAX {
        return folded;
    }
    let start = folded.floor_char_boundary(KEY_BYTES_MAX - 65);
    let digest = hex::encode(Sha256::digest(folded.as_bytes()));
    format!("{}~{digest}", &folded[..start])
}

/// Normalizes an IPv6 address, and keeps the zone or prefix length behind it. Returns any other value unchanged.
fn address(folded: String) -> String {
    if !folded.contains(':') {
        return folded;
    }
    let end = folded.find(['%', '/']).unwrap_or(folded.len());
    match folded[..end].parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("{address}{}", &folded[end..]),
        Err(_) => folded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(kind: EntityKind, value: &str) -> Entity {
        Entity { kind, value: value.to_owned(), verdict: None }
    }

    #[test]
    fn an_ipv6_address_has_one_form() {
        for written in ["2001:db8::1", "2001:DB8::1", "2001:0db8:0:0:0:0:0:1", "2001:db8:0:0::0001"] {
            assert_eq!(key(written), "2001:db8::1", "{written}");
        }
        assert_eq!(key("FE80:0::1%eth0"), "fe80::1%eth0");
        assert_eq!(key("2001:DB8:0::/32"), "2001:db8::/32");
        for other in ["10.0.0.1", "https://e.example/", "c:/windows", "a::b::c"] {
            assert_eq!(key(other), other);
        }
        assert_eq!(key(&key("2001:0db8::0:1")), key("2001:db8::1"));
    }

    #[test]
    fn what_differs_is_not_the_same_thing() {
        for (kind, one, other, same) in [
            (EntityKind::User, "Müller", "Muller", false),
            (EntityKind::User, "CORP\\Kim", "corp\\kim", true),
            (EntityKind::Domain, "éxample.com", "example.com", false),
            (EntityKind::Device, "WS-7", "ws-7", true),
            (EntityKind::Url, "https://e.example/A", "https://e.example/a", false),
            (EntityKind::Process, "tar -C x", "tar -c x", false),
            (EntityKind::File, "/tmp/A", "/tmp/a", false),
            (EntityKind::FileHash, "D41D8", "d41d8", true),
            (EntityKind::Ip, "2001:DB8:0::1", "2001:db8::1", true),
            (EntityKind::Other, "x", "x", true),
        ] {
            let (one, other) = (entity(kind, one), entity(kind, other));
            assert_eq!(one.identity() == other.identity(), same, "{one:?} {other:?}");
            assert_eq!(one.key(), other.key(), "compared alike");
        }
    }
}
