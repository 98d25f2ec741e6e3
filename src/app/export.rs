//! The signed export of one incident's log: a stream of lines that is read from the log in batches.
//!
//! The read data never changes after it was written, so each batch uses a snapshot of its own. A client that reads
//! slowly holds no database connection.

use async_stream::try_stream;
use tokio_stream::Stream;

use crate::domain::chain::{Hash, genesis};
use crate::domain::change::{ChangeBody, TextSet};
use crate::domain::comment::TextSetBy;
use crate::domain::export::{ChangeLine, CommentLine, ExportLine, ExportWriter, FORMAT, Header, TextLine};
use crate::domain::incident::Incident;
use crate::domain::signing::DeskKey;
use crate::domain::{Error, IncidentId, Instant, Result};
use crate::storage::{Reader, Store, StoredChange};

/// How many changes are read at a time: all changes of most incidents, and few enough that a batch of the largest fits
/// into memory.
const CHANGES_PER_BATCH: u64 = 100;

/// An incident as a path or a command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedIncident {
    /// By global id.
    Id(IncidentId),
    /// By number.
    Number(i64),
}

impl NamedIncident {
    /// Reads `incident:<uuid>`, `7` or `INC-7`. Returns `None` for other text.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix("INC-").unwrap_or(text).parse().ok().map(Self::Number);
        IncidentId::parse(text).map(Self::Id).or(number)
    }

    /// Finds the incident, also if it is deleted. The caller checks who may read it.
    pub async fn find(self, store: &Store) -> Result<Option<Incident>> {
        let reader = store.read().await?;
        match self {
            Self::Id(id) => Ok(reader.incidents(&[id]).await?.pop()),
            Self::Number(number) => reader.any_incident_by_number(number).await,
        }
    }
}

/// The log of an incident as of now, ready to be exported.
pub struct Export {
    store: Store,
    incident: Incident,
    header: Header,
    key: DeskKey,
}

impl Export {
    /// Reads where the log of an incident ends, and prepares the header.
    pub async fn begin(store: &Store, incident: Incident, key: &DeskKey, now: Instant) -> Result<Self> {
        let reader = store.read().await?;
        let head = reader.head().await?;
        let newest = reader.newest_versions(&[incident.id]).await?;
        let header = Header {
            format: FORMAT.to_owned(),
            epoch: head.epoch,
            incident: incident.id,
            number: incident.number,
            changes: newest.get(&incident.id).copied().unwrap_or(0),
            position: head.position().to_string(),
            offset: head.offset,
            hash: hex::encode(head.hash),
            exported_at: now,
            key_id: key.public().id(),
            public_key: key.public().hex(),
        };
        Ok(Self { store: store.clone(), incident, header, key: key.clone() })
    }

    /// Returns the name for a file with this export.
    pub fn file_name(&self) -> String {
        format!("INC-{}.ndjson", self.incident.number)
    }

    /// Returns the lines, each with its line end. After an error no line follows, and so no signature.
    pub fn lines(self) -> impl Stream<Item = Result<String>> + Send {
        try_stream! {
            let Self { store, incident, header, key } = self;
            let (epoch, changes) = (header.epoch, header.changes);
            let mut writer = ExportWriter::new(key);
            yield writer.line(&ExportLine::Header(header))?;
            let mut version = 0;
            while version < changes {
                let reader = store.read().await?;
                let rows = reader.stored_of(incident.id, version, changes, CHANGES_PER_BATCH).await?;
                if rows.is_empty() {
                    Err(Error::fault("exporting a log", "changes of it are missing; run `watchfloor verify`"))?;
                }
                let offsets: Vec<u64> = rows.iter().map(|row| row.position.saturating_sub(1)).collect();
                let mut befores = reader.hashes_at(&offsets).await?;
                befores.insert(0, genesis(epoch));
                for row in rows {
                    let before = befores.get(&(row.position - 1)).copied();
                    version = row.version;
                    let texts = texts_of(&reader, &row).await?;
                    yield writer.line(&change_line(row, before)?)?;
                    for text in texts {
                        yield writer.line(&text)?;
                    }
                }
            }
            yield writer.end()?;
        }
    }
}

fn change_line(row: StoredChange, before: Option<Hash>) -> Result<ExportLine> {
    let before = before.ok_or_else(|| missing("the hash before a change"))?;
    let (before, hash) = (hex::encode(before), hex::encode(&row.hash));
    Ok(ExportLine::Change(ChangeLine { position: row.position, version: row.version, before, hash, body: row.body }))
}

/// Returns the texts that a change sets but does not carry.
async fn texts_of(reader: &Reader, row: &StoredChange) -> Result<Vec<ExportLine>> {
    let body: ChangeBody =
        serde_json::from_str(&row.body).map_err(|error| Error::fault("reading a change's body", error))?;
    let mut lines = Vec::new();
    for set in body.texts_set() {
        lines.push(match set {
            TextSet::Long(field, _) => {
                let key = (row.incident, field, row.version);
                let text = reader.long_texts(&[key]).await?.remove(&key).ok_or_else(|| missing("a long text"))?;
                ExportLine::Text(TextLine { field, text })
            }
            TextSet::Comment(comment, ..) => {
                let key = (comment, TextSetBy { incident: row.incident, version: row.version });
                let text = reader.comment_texts(&[key]).await?.remove(&key);
                ExportLine::Comment(CommentLine {
                    comment,
                    text: text.ok_or_else(|| missing("a comment's text"))?.body,
                })
            }
        });
    }
    Ok(lines)
}

fn missing(what: &str) -> Error {
    Error::fault("exporting a log", format!("{what} is missing; run `watchfloor verify`"))
}
