//! The export of one incident's log, as NDJSON that a reader can check without the desk. docs/EVIDENCE.md says what it
//! proves.
//!
//! An export is a header, then each change followed by the texts that it sets but does not carry, then a signature of
//! all lines before it. Each line has exactly one valid form, so two different files never mean the same.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::chain::{Hash, Link, LinkSubject, check, unhex};
use super::change::{Change, TextSet};
use super::incident::TextField;
use super::position::Position;
use super::queue::{QueueRow, sha256_hex};
use super::signing::{DeskKey, PublicKey};
use super::{CommentId, Error, IncidentId, Instant, Result};

/// The name of the format, with its version. A reader refuses a format that it does not know.
pub const FORMAT: &str = "watchfloor-incident-log/1";

/// One line of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "camelCase")]
pub enum ExportLine {
    /// The first line.
    Header(Header),
    /// A change.
    Change(ChangeLine),
    /// A long text of the incident, which the change before this line set.
    Text(TextLine),
    /// The text of a comment, which the change before this line set.
    Comment(CommentLine),
    /// The last line.
    Signature(SignatureLine),
}

/// The header: the exported incident, the state of the log, the time, and the key that signs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The format, [`FORMAT`].
    pub format: String,
    /// The epoch, which names the life of the log.
    pub epoch: Uuid,
    /// The incident's UUID, without the noun `incident:`.
    pub incident: IncidentId,
    /// The number in `INC-<number>`.
    pub number: i64,
    /// How many changes follow. This equals the incident's version.
    pub changes: u64,
    /// The position of the log's end at the time of the export, in the form of the API.
    pub position: String,
    /// How many changes the whole log had at that position.
    pub offset: u64,
    /// The log's hash at that position, in hexadecimal.
    pub hash: String,
    /// The time of the export.
    pub exported_at: Instant,
    /// The id of the signing key.
    pub key_id: String,
    /// The public half of the signing key.
    pub public_key: String,
}

/// A change, with all input of its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeLine {
    /// The offset of the change in the log of the desk.
    pub position: u64,
    /// The incident's version after it.
    pub version: u64,
    /// The log's hash before the change.
    pub before: String,
    /// The log's hash after the change. It covers `before`, the position (8 bytes, big-endian), the incident's UUID (16
    /// bytes), the version (8 bytes, big-endian) and the body.
    pub hash: String,
    /// The body of the change, which is JSON, byte for byte as stored.
    pub body: String,
}

/// A long text of the incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TextLine {
    /// The field of the incident.
    pub field: TextField,
    /// The text.
    pub text: String,
}

/// A text of a comment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommentLine {
    /// The comment's UUID, without the noun `comment:`.
    pub comment: CommentId,
    /// The text, in Markdown.
    pub text: String,
}

/// The signature of the lines before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureLine {
    /// The SHA-256 of every byte before this line.
    pub sha256: String,
    /// The Ed25519 signature of those 32 bytes.
    pub signature: String,
}

impl ExportLine {
    /// Returns the line as a file holds it, with its line end.
    pub fn written(&self) -> Result<String> {
        let mut text =
            serde_json::to_string(self).map_err(|error| Error::fault("writing a line of an export", error))?;
        text.push('\n');
        Ok(text)
    }
}

/// Writes the lines of an export and computes the signature line.
pub struct ExportWriter {
    key: DeskKey,
    sum: Sha256,
}

impl ExportWriter {
    /// Creates a writer that signs with this key.
    pub fn new(key: DeskKey) -> Self {
        Self { key, sum: Sha256::new() }
    }

    /// Returns a line as it is sent, and adds it to the sum that is signed.
    pub fn line(&mut self, line: &ExportLine) -> Result<String> {
        let text = line.written()?;
        self.sum.update(text.as_bytes());
        Ok(text)
    }

    /// Returns the last line, the signature.
    pub fn end(self) -> Result<String> {
        let sum: Hash = self.sum.finalize().into();
        let signature = hex::encode(self.key.sign(&sum));
        ExportLine::Signature(SignatureLine { sha256: hex::encode(sum), signature }).written()
    }
}

/// The first line of an export that differs from what the desk writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Flaw {
    /// The line number, counted from 1.
    pub line: u64,
    /// The difference.
    pub why: String,
}

/// The result of a complete check of an export.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The header of the export.
    pub header: Header,
    /// The public key whose signature was verified.
    pub key: PublicKey,
    /// How many texts the export has beside its changes.
    pub texts: u64,
}

/// Reads an export line by line and checks each line against the lines before it. Memory does not grow with the file.
pub struct Checker {
    wanted: Option<PublicKey>,
    sum: Sha256,
    lines: u64,
    head: Option<(Header, PublicKey)>,
    last: Option<Last>,
    owed: VecDeque<Owed>,
    texts: u64,
    ended: bool,
}

/// The change that was read last.
struct Last {
    position: u64,
    hash: Hash,
    row: QueueRow,
}

/// A text that a change has announced and that must follow: its field or comment, and its SHA-256.
enum Owed {
    Long(TextField, String),
    Comment(CommentId, String),
}

type ExportResult<T = ()> = Result<T, String>;

impl Checker {
    /// Creates a checker for one file. If a key is given, only that key may have signed the file.
    pub fn new(wanted: Option<PublicKey>) -> Self {
        let (sum, owed) = (Sha256::new(), VecDeque::new());
        Self { wanted, sum, lines: 0, head: None, last: None, owed, texts: 0, ended: false }
    }

    /// Reads the next line, with its line end.
    pub fn line(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        self.lines += 1;
        self.read(bytes).map_err(|why| Flaw { line: self.lines, why })
    }

    /// Returns the result after all lines were read.
    pub fn end(self) -> Result<Checked, Flaw> {
        match self.head {
            Some((header, key)) if self.ended => Ok(Checked { header, key, texts: self.texts }),
            _ => Err(Flaw { line: self.lines + 1, why: "the file ends before its signature".to_owned() }),
        }
    }

    fn read(&mut self, bytes: &[u8]) -> ExportResult {
        if self.ended {
            return Err("something follows the signature".to_owned());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let body = text.strip_suffix('\n').ok_or("it is cut off")?;
        let line: ExportLine = serde_json::from_str(body).map_err(|error| format!("it cannot be read: {error}"))?;
        if line.written().ok().as_deref() != Some(text) {
            return Err("it is not written as a desk writes it".to_owned());
        }
        match (line, &self.head) {
            (ExportLine::Header(header), None) => self.header(header)?,
            (ExportLine::Header(_), Some(_)) => return Err("a second header".to_owned()),
            (_, None) => return Err("the first line is not a header".to_owned()),
            (ExportLine::Change(change), Some(_)) => self.change(&change)?,
            (ExportLine::Text(line), Some(_)) => match self.owed.pop_front() {
                Some(Owed::Long(field, sha256)) if field == line.field => self.text(&line.text, &sha256)?,
                _ => return Err("a text that the change before it has not set".to_owned()),
            },
            (ExportLine::Comment(line), Some(_)) => match self.owed.pop_front() {
                Some(Owed::Comment(comment, sha256)) if comment == line.comment => self.text(&line.text, &sha256)?,
                _ => return Err("a comment that the change before it has not written".to_owned()),
            },
            (ExportLine::Signature(line), Some((header, key))) => {
                self.complete(header)?;
                let sum: Hash = self.sum.clone().finalize().into();
                let signature = unhex::<64>(&line.signature).ok_or("its signature is not 64 bytes in hexadecimal")?;
                if line.sha256 != hex::encode(sum) || !key.signed(&sum, &signature) {
                    return Err("the signature is not of the lines before it: one of them was altered".to_owned());
                }
                self.ended = true;
            }
        }
        self.sum.update(bytes);
        Ok(())
    }

    fn header(&mut self, header: Header) -> ExportResult {
        if header.format != FORMAT {
            return Err(format!("its format is not {FORMAT}"));
        }
        let key = PublicKey::parse(&header.public_key).ok_or("its public key cannot be read")?;
        if key.id() != header.key_id {
            return Err("its key's id is not of its public key".to_owned());
        }
        if self.wanted.is_some_and(|wanted| wanted != key) {
            return Err(format!("it was signed by another key, {}", header.key_id));
        }
        let hash = unhex(&header.hash).ok_or("its hash is not 32 bytes in hexadecimal")?;
        let position = Position { epoch: header.epoch, offset: header.offset, check: check(&hash), queue: None };
        if header.position != position.to_string() {
            return Err("its position is not of its epoch, offset and hash".to_owned());
        }
        self.head = Some((header, key));
        Ok(())
    }

    fn change(&mut self, line: &ChangeLine) -> ExportResult {
        self.paid()?;
        let Some((header, _)) = &self.head else { return Err("there is no header".to_owned()) };
        let version = self.last.as_ref().map_or(0, |last| last.row.version) + 1;
        if line.version != version || version > header.changes {
            return Err(format!("version {} where version {version} of {} is due", line.version, header.changes));
        }
        let before = unhex(&line.before).ok_or("the hash before it is not 32 bytes in hexadecimal")?;
        if let Some(last) = &self.last {
            if line.position <= last.position {
                return Err("its position is not beyond that of the change before it".to_owned());
            }
            if line.position == last.position + 1 && before != last.hash {
                return Err("the hash before it is not that of the change before it".to_owned());
            }
        }
        if line.position > header.offset {
            return Err("its position is beyond the end of the log in the header".to_owned());
        }
        let of = LinkSubject::Incident(header.incident);
        let link = Link { position: line.position, of, version: line.version, body: &line.body };
        let hash = link.hash(&before);
        if line.hash != hex::encode(hash) {
            return Err("its hash is not that of its content and of the hash before it".to_owned());
        }
        if line.position == header.offset && line.hash != header.hash {
            return Err("its hash is not that of the end of the log in the header".to_owned());
        }
        let change = Change::read(line.position, check(&hash), &line.body).map_err(|error| error.to_string())?;
        let row = &change.body.row;
        if (row.id, row.number, row.version) != (header.incident, header.number, line.version) {
            return Err("its body is of another incident or version".to_owned());
        }
        if !change.goes_on_from(self.last.as_ref().map(|last| &last.row)) {
            return Err("it does not begin where the change before it ended".to_owned());
        }
        self.owed.extend(change.body.texts_set().into_iter().map(|set| match set {
            TextSet::Long(field, sha256) => Owed::Long(field, sha256.to_owned()),
            TextSet::Comment(comment, sha256, _) => Owed::Comment(comment, sha256.to_owned()),
        }));
        self.last = Some(Last { position: line.position, hash, row: change.body.row });
        Ok(())
    }

    fn text(&mut self, text: &str, sha256: &str) -> ExportResult {
        if sha256_hex(text) != sha256 {
            return Err("its text is not the one whose SHA-256 the change before it holds".to_owned());
        }
        self.texts += 1;
        Ok(())
    }

    /// Refuses to continue while an announced text is missing.
    fn paid(&self) -> ExportResult {
        match self.owed.front() {
            None => Ok(()),
            Some(Owed::Long(..)) => Err("a text of the change before it is missing".to_owned()),
            Some(Owed::Comment(..)) => Err("a comment of the change before it is missing".to_owned()),
        }
    }

    fn complete(&self, header: &Header) -> ExportResult {
        self.paid()?;
        let read = self.last.as_ref().map_or(0, |last| last.row.version);
        if read != header.changes {
            return Err(format!("{read} changes where the header says {}", header.changes));
        }
        Ok(())
    }
}
