//! A change as an activity log shows it. The incident's row before the change and its row after the change are left out: these two rows
//! are most of a stored change, and only streams need them, for their filters.

use serde::Deserialize;

use super::account::ActorImage;
use super::change::{Cause, Change, Entry};
use super::{Error, IncidentId, Instant, Result, TransactionId};

/// A change as an activity log shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its place in the log.
    pub offset: u64,
    /// The start of the log's hash at this place.
    pub check: [u8; 8],
    /// The incident.
    pub incident: IncidentId,
    /// The incident's version after it.
    pub version: u64,
    /// The rest, as it is stored.
    pub body: ToldBody,
}

/// What an activity log shows of a stored change.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ToldBody {
    /// The transaction it belongs to.
    pub transaction: TransactionId,
    /// Whether it is the last of its transaction.
    pub last: bool,
    /// When.
    pub at: Instant,
    /// Who.
    pub actor: ActorImage,
    /// Why.
    pub cause: Cause,
    /// What the client called its mutation.
    #[serde(default)]
    pub client_mutation_id: Option<String>,
    /// What.
    pub entries: Vec<Entry>,
    /// Of the incident's row after it.
    pub row: ToldRow,
}

/// What an activity log shows of the row of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ToldRow {
    /// The incident's number.
    pub number: i64,
}

impl Told {
    /// Reads a change from its place (its offset, and the start of the hash there), its incident, the version after it, and its stored
    /// body.
    pub fn read(place: (u64, [u8; 8]), incident: IncidentId, version: u64, body: &str) -> Result<Self> {
        let body = serde_json::from_str(body).map_err(|error| Error::fault("reading a change's body", error))?;
        Ok(Self { offset: place.0, check: place.1, incident, version, body })
    }
}

impl From<&Change> for Told {
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
