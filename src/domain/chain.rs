//! The hash chain of the log: the hash of each change covers its place, what it is about, its stored bytes and the hash before.
//!
//! One definition for those who write the log, verify it, export it and read an export.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{AlertId, IncidentId};

/// A hash of the chain.
pub type Hash = [u8; 32];

/// The hash of a log without a change.
pub fn genesis(epoch: Uuid) -> Hash {
    Sha256::digest(epoch.as_bytes()).into()
}

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An incident.
    Incident(IncidentId),
    /// An alert that no incident holds.
    Alert(AlertId),
}

/// Stands before the UUID of an alert, so that no change of an alert can pass for one of an incident.
const ALERT: &[u8] = b"alert:";

/// A change, as far as the chain covers it.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Its place in the log.
    pub position: u64,
    /// What it is about.
    pub of: Subject,
    /// The version after it: the incident's, or that of the alert's own log.
    pub version: u64,
    /// Its body, byte for byte as stored.
    pub body: &'a str,
}

impl Link<'_> {
    /// The hash of a log that ends with this change, and whose hash before it was `before`.
    pub fn hash(&self, before: &Hash) -> Hash {
        let mut hash = Sha256::new();
        hash.update(before);
        hash.update(self.position.to_be_bytes());
        match self.of {
            Subject::Incident(incident) => hash.update(incident.0.as_bytes()),
            Subject::Alert(alert) => {
                hash.update(ALERT);
                hash.update(alert.0.as_bytes());
            }
        }
        hash.update(self.version.to_be_bytes());
        hash.update(self.body.as_bytes());
        hash.finalize().into()
    }
}

/// The start of a hash, which positions carry.
pub fn check(hash: &Hash) -> [u8; 8] {
    let mut check = [0; 8];
    check.copy_from_slice(&hash[..8]);
    check
}

/// Bytes in hexadecimal, lowercase.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`hex`] wrote; none for anything else, capitals among it.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_read_back_from_hexadecimal(bytes: [u8; 32]) {
            prop_assert_eq!(unhex::<32>(&hex(&bytes)), Some(bytes));
        }
    }

    #[test]
    fn anything_else_is_no_hexadecimal() {
        for text in ["", "0", "0g", "0A", "000", " 0", "é"] {
            assert_eq!(unhex::<1>(text), None, "{text}");
        }
    }
}
