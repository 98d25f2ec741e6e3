//! The hash chain of the log. The hash of a change covers its offset, its incident or alert, its version, its stored
//! bytes and the hash before it.
//!
//! The code that writes, verifies and exports the log, and the code that reads an export, all use this definition.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{AlertId, IncidentId};

/// A hash of the chain: a SHA-256.
pub type Hash = [u8; 32];

/// Returns the hash of a log without changes.
pub fn genesis(epoch: Uuid) -> Hash {
    Sha256::digest(epoch.as_bytes()).into()
}

/// The incident or alert that a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkSubject {
    /// An incident.
    Incident(IncidentId),
    /// An alert that no incident holds.
    Alert(AlertId),
}

/// The prefix of an alert's UUID in the hash, so that no change of an alert can pass for a change of an incident.
const ALERT: &[u8] = b"alert:";

/// The parts of a change that the chain covers.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The offset of the change in the log.
    pub position: u64,
    /// The incident or alert that the change is about.
    pub of: LinkSubject,
    /// The version after the change, of the incident or of the alert's own log.
    pub version: u64,
    /// The body of the change, byte for byte as stored.
    pub body: &'a str,
}

impl Link<'_> {
    /// Returns the log's hash after this change, from the hash `before` it.
    pub fn hash(&self, before: &Hash) -> Hash {
        let mut hash = Sha256::new();
        hash.update(before);
        hash.update(self.position.to_be_bytes());
        match self.of {
            LinkSubject::Incident(incident) => hash.update(incident.0.as_bytes()),
            LinkSubject::Alert(alert) => {
                hash.update(ALERT);
                hash.update(alert.0.as_bytes());
            }
        }
        hash.update(self.version.to_be_bytes());
        hash.update(self.body.as_bytes());
        hash.finalize().into()
    }
}

/// Returns the first 8 bytes of a hash, which positions carry.
pub fn check(hash: &Hash) -> [u8; 8] {
    let mut check = [0; 8];
    check.copy_from_slice(&hash[..8]);
    check
}

/// Reads the lowercase hexadecimal of `N` bytes. Returns `None` for other text, also for capital letters.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    // The library reads capital letters too, but the desk writes each hash in one form.
    (!text.contains(|c: char| c.is_ascii_uppercase())).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_read_back_from_hexadecimal(bytes: [u8; 32]) {
            prop_assert_eq!(unhex::<32>(&hex::encode(bytes)), Some(bytes));
        }
    }

    #[test]
    fn anything_else_is_no_hexadecimal() {
        for text in ["", "0", "0g", "0A", "000", " 0", "é"] {
            assert_eq!(unhex::<1>(text), None, "{text}");
        }
    }
}
