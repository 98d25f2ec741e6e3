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
    /// What the position claims about a queue; `None` if it is the position of a mutation or of the log.
    pub queue: Option<QueueClaim>,
}

/// What a position claims about the queue to which it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueClaim {
    /// The filter and the caller of the queue.
    pub fingerprint: Fingerprint,
    /// Whether the client holds the set of the queue as of this position. A page gives the set, and a stream that
    /// begins after the page keeps it exact. A stream that begins without the set never gives it.
    pub holds_set: bool,
}

/// Distinguishes filters, and callers to whom the same filter means something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The digest of the canonical filter, before the caller is replaced by ids.
    pub filter: [u8; 8],
    /// The digest of the resolved filter. Zero if the caller's rights, account and groups do not alter the filter.
    pub scope: [u8; 8],
}

/// The first byte of a position, which distinguishes the forms.
const FORM: u8 = 1;

/// The first byte of a position of a queue whose set the client does not hold.
const FORM_WITHOUT_SET: u8 = 2;

const LOG_BYTES: usize = 1 + 16 + 8 + 8;
const QUEUE_BYTES: usize = LOG_BYTES + 16;

impl Position {
    /// Returns this position as the position of a page: the client that gives it holds the set of the queue.
    pub fn of_queue(self, fingerprint: Fingerprint) -> Self {
        self.claiming(QueueClaim { fingerprint, holds_set: true })
    }

    /// Returns this position with a claim about a queue.
    pub fn claiming(self, claim: QueueClaim) -> Self {
        Self { queue: Some(claim), ..self }
    }

    /// Returns whether the client that gives this position asserts that it holds the set of a queue.
    pub fn holds_set(&self) -> bool {
        self.queue.is_some_and(|claim| claim.holds_set)
    }

    /// Reads the form that `Display` writes. Returns `None` for other text.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (log, queue) = bytes.split_at_checked(LOG_BYTES)?;
        let fingerprint = match queue.len() {
            0 => None,
            16 => Some(Fingerprint { filter: eight(&queue[..8])?, scope: eight(&queue[8..])? }),
            _ => return None,
        };
        Some(Self {
            epoch: Uuid::from_slice(log.get(1..17)?).ok()?,
            offset: u64::from_be_bytes(eight(log.get(17..25)?)?),
            check: eight(log.get(25..33)?)?,
            queue: match (log[0], fingerprint) {
                (FORM, fingerprint) => fingerprint.map(|fingerprint| QueueClaim { fingerprint, holds_set: true }),
                (FORM_WITHOUT_SET, Some(fingerprint)) => Some(QueueClaim { fingerprint, holds_set: false }),
                _ => return None,
            },
        })
    }
}

fn eight(bytes: &[u8]) -> Option<[u8; 8]> {
    bytes.try_into().ok()
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = Vec::with_capacity(QUEUE_BYTES);
        bytes.push(match self.queue {
            Some(QueueClaim { holds_set: false, .. }) => FORM_WITHOUT_SET,
            _ => FORM,
        });
        bytes.extend_from_slice(self.epoch.as_bytes());
        bytes.extend_from_slice(&self.offset.to_be_bytes());
        bytes.extend_from_slice(&self.check);
        if let Some(QueueClaim { fingerprint, .. }) = self.queue {
            bytes.extend_from_slice(&fingerprint.filter);
            bytes.extend_from_slice(&fingerprint.scope);
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The reason why a stream cannot continue from the client's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, async_graphql::Enum)]
#[graphql(name = "ResyncReason")]
pub enum Resync {
    /// The position is of another log, for example of a database that was replaced or restored since, or its text was
    /// altered. A restart of the desk does not cause this.
    Epoch,
    /// The position is too old: a queue resumes only from positions of the last 7 days (the operator may set another
    /// time). `activityLog` resumes from any position.
    BelowFloor,
    /// The position is beyond the end of the log, for example because the database was restored from a backup.
    Ahead,
    /// The position belongs to another filter.
    Filter,
    /// The filter says `me` or `meAndMyGroups`, and it means other accounts to this caller than when the position was
    /// issued. A running stream also ends with this reason if the role of the caller changes. A position of a filter
    /// without `me` and `meAndMyGroups` belongs to no account: each caller may resume from it.
    Scope,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_reads_back_what_it_wrote(
            epoch: u128, offset: u64, check: [u8; 8], queue: Option<([u8; 8], [u8; 8], bool)>,
        ) {
            let queue = queue.map(|(filter, scope, holds_set)| {
                QueueClaim { fingerprint: Fingerprint { filter, scope }, holds_set }
            });
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
