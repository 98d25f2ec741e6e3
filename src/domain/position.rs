//! Positions in the log of changes. They are opaque to clients, and they reveal a client of another history of the log.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// A position in the log: the place after the change with this offset.
///
/// `epoch` names the life of the log: a database that is restored into a new life gives new positions. `check` is the
/// start of the log's hash at this position. It reveals a client of a copied or rewound database, whose offsets exist
/// here with another history. Example: a client has read up to 7, and the database was restored to 5 and wrote two
/// other changes. The client's position says 7 with the check of lost changes, so the stream answers `resync(EPOCH)`.
/// Queries with a position (`minPosition`, `incidentAsOf`) answer `CONFLICT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The epoch, which names the life of the log.
    pub epoch: Uuid,
    /// How many changes precede this position.
    pub offset: u64,
    /// The first 8 bytes of the log's hash at this position.
    pub check: [u8; 8],
    /// The filter and caller of the queue that the client holds at this position, if it holds one.
    pub queue: Option<Fingerprint>,
}

/// Distinguishes filters, and callers to whom the same filter means something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The digest of the canonical filter, before the caller is replaced by ids.
    pub filter: [u8; 8],
    /// The digest of the resolved filter. Zero if the caller's rights, account and groups do not alter the filter.
    pub scope: [u8; 8],
}

/// The first byte of every position. It distinguishes this form from later forms.
const FORM: u8 = 1;

const LOG_BYTES: usize = 1 + 16 + 8 + 8;
const QUEUE_BYTES: usize = LOG_BYTES + 16;

impl Position {
    /// Returns this position as the end of what a client holds of a queue.
    pub fn of_queue(self, queue: Fingerprint) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// Reads the form that `Display` writes. Returns `None` for other text.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (log, queue) = bytes.split_at_checked(LOG_BYTES)?;
        let position = Self {
            epoch: Uuid::from_slice(log.get(1..17)?).ok()?,
            offset: u64::from_be_bytes(eight(log.get(17..25)?)?),
            check: eight(log.get(25..33)?)?,
            queue: match queue.len() {
                0 => None,
                16 => Some(Fingerprint { filter: eight(&queue[..8])?, scope: eight(&queue[8..])? }),
                _ => return None,
            },
        };
        (log[0] == FORM).then_some(position)
    }
}

fn eight(bytes: &[u8]) -> Option<[u8; 8]> {
    bytes.try_into().ok()
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = Vec::with_capacity(QUEUE_BYTES);
        bytes.push(FORM);
        bytes.extend_from_slice(self.epoch.as_bytes());
        bytes.extend_from_slice(&self.offset.to_be_bytes());
        bytes.extend_from_slice(&self.check);
        if let Some(queue) = self.queue {
            bytes.extend_from_slice(&queue.filter);
            bytes.extend_from_slice(&queue.scope);
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The reason why a stream cannot continue from the client's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, async_graphql::Enum)]
#[graphql(name = "ResyncReason")]
pub enum Resync {
    /// The position is from another life of the log, or its check failed.
    Epoch,
    /// The position is older than the oldest position from which a queue resumes (by default 7 days old). The
    /// subscription `activityLog` resumes from it all the same.
    BelowFloor,
    /// The position is beyond the end of the log, for example because the database was restored from a backup.
    Ahead,
    /// The position belongs to another filter, or to no filter, as the position of a mutation does.
    Filter,
    /// The caller's rights, account or groups have changed since the position was issued.
    Scope,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_reads_back_what_it_wrote(epoch: u128, offset: u64, check: [u8; 8], queue: Option<([u8; 8], [u8; 8])>) {
            let queue = queue.map(|(filter, scope)| Fingerprint { filter, scope });
            let position = Position { epoch: Uuid::from_u128(epoch), offset, check, queue };
            prop_assert_eq!(Position::parse(&position.to_string()), Some(position));
        }

        #[test]
        fn anything_else_is_no_position(text in ".*") {
            prop_assume!(URL_SAFE_NO_PAD.decode(&text).is_err());
            prop_assert_eq!(Position::parse(&text), None);
        }
    }
}
