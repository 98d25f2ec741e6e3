//! Positions: places in the log of changes, opaque to clients, with what it takes to find out a foreign one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// A place in the log: after the change of this offset.
///
/// `epoch` names the life of the log: a database restored into a new life gives new positions. `check` is the start of
/// the log's hash at that place: a client of a copied or rewound database holds offsets that exist here too, but with
/// another history. Example: a client read up to 7, the database was restored to 5 and wrote two other changes; its
/// position says 7 with the check of changes that no longer exist, and the stream answers `resync(EPOCH)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The life of the log.
    pub epoch: Uuid,
    /// How many changes lie before this place.
    pub offset: u64,
    /// The start of the log's hash there.
    pub check: [u8; 8],
    /// Whose set of incidents the client holds there, if it holds one.
    pub queue: Option<Fingerprint>,
}

/// Tells one filter from another, and one caller's reading of it from another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of the canonical filter, as it was asked.
    pub filter: [u8; 8],
    /// Of what the caller's rights, account and groups made of it.
    pub scope: [u8; 8],
}

/// The first byte of every position, so that a later form can be told from this one.
const FORM: u8 = 1;

const LOG_BYTES: usize = 1 + 16 + 8 + 8;
const QUEUE_BYTES: usize = LOG_BYTES + 16;

impl Position {
    /// The same place, as the end of what a client holds of a queue.
    pub fn of_queue(self, queue: Fingerprint) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// Reads what [`Position::fmt`] wrote; none for anything else.
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

/// Why a stream cannot go on from the position that a client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, async_graphql::Enum)]
#[graphql(name = "ResyncReason")]
pub enum Resync {
    /// The position is of another life of the log, or its check failed.
    Epoch,
    /// The position is older than the stream's floor; the activity log keeps the changes.
    BelowFloor,
    /// The position is beyond what the database holds.
    Ahead,
    /// The position is the end of another filter's set.
    Filter,
    /// The caller's rights, account or groups are others than when the position was given.
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
