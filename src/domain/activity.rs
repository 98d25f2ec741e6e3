//! Changes as an activity log shows them. The incident's rows before and after the change are left out. These rows are
//! most of a stored change, and only the filters of streams need them.

use serde::Deserialize;

use super::account::ActorImage;
use super::change::{Cause, Change, Entry};
use super::{Error, IncidentId, Instant, Result, TransactionId};

/// A change as an activity log shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldChange {
    /// The offset of the change in the log.
    pub offset: u64,
    /// The first 8 bytes of the log's hash at this offset.
    pub check: [u8; 8],
    /// The id of the incident.
    pub incident: IncidentId,
    /// The incident's version after the change.
    pub version: u64,
    /// The stored body, without the rows.
    pub body: ToldBody,
}

/// The part of a stored change that an activity log shows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ToldBody {
    /// The transaction that wrote the change.
    pub transaction: TransactionId,
    /// Whether the change is the last of its transaction.
    pub last: bool,
    /// The instant of the change.
    pub at: Instant,
    /// The user who made the change, or the desk itself.
    pub actor: ActorImage,
    /// The cause of the change.
    pub cause: Cause,
    /// The id that the client chose for its mutation.
    #[serde(default)]
    pub client_mutation_id: Option<String>,
    /// The entries: what the change did.
    pub entries: Vec<Entry>,
    /// The shown part of the incident's row after the change.
    pub row: ToldRow,
}

/// The part of an incident's row that an activity log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ToldRow {
    /// The incident's number.
    pub number: i64,
}

impl ToldChange {
    /// Reads a change from its offset, the first 8 bytes of the log's hash there, its incident, the version after it,
    /// and its stored body.
    pub fn read(place: (u64, [u8; 8]), incident: IncidentId, version: u64, body: &str) -> Result<Self> {
        let body = serde_json::from_str(body).map_err(|error| Error::fault("reading a change's body", error))?;
        Ok(Self { offset: place.0, check: place.1, incident, version, body })
    }
}

impl From<&Change> for ToldChange {
    fn from(change: &Change) -> Self {
        let body = &change.body;
        Self {
            offset: change.offset,
            check: change.check,
            incident: change.incident(),
            version: change.version(),
            body: ToldBody {
                transaction: body.transaction,
                last: body.last,
                at: body.at,
                actor: body.actor.clone(),
                cause: body.cause.clone(),
                client_mutation_id: body.client_mutation_id.clone(),
                entries: body.entries.clone(),
                row: ToldRow { number: body.row.number },
            },
        }
    }
}
