//! Attachments: images that users upload to an incident and show in its comments.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::account::ActorImage;
use super::{AttachmentId, Error, IncidentId, Instant, Result, markdown, text};

/// The largest attachment: 10 MiB. A screenshot of the widest screens has two or three MiB.
pub const ATTACHMENT_BYTES_MAX: u64 = 10 << 20;

/// The longest name of an attachment, in characters: the limit of file systems.
pub const ATTACHMENT_NAME_CHARS_MAX: usize = 255;

/// The most attachments of one incident, including announced attachments whose bytes have not arrived. A long
/// investigation has dozens. A merge may bring together more.
pub const ATTACHMENTS_PER_INCIDENT_MAX: u64 = 200;

/// How many minutes after its announcement an upload may begin. The person has the image at hand.
pub const TICKET_MINUTES: i64 = 15;

/// How many first bytes identify the type of an image.
pub const MAGIC_BYTES: usize = 12;

/// The type of an image attachment. No other type of file is accepted: these types cannot hold anything that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, Enum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ImageType {
    /// PNG, `image/png`.
    Png,
    /// JPEG, `image/jpeg`.
    Jpeg,
    /// GIF, `image/gif`.
    Gif,
    /// WebP, `image/webp`.
    Webp,
}

impl ImageType {
    /// Returns the type of a file with these first bytes, if it is an accepted type.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::Webp),
            _ => None,
        }
    }

    /// Returns the media type as HTTP names it.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
        }
    }
}

/// Whether the bytes of an attachment have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum)]
#[graphql(name = "AttachmentState")]
pub enum AttachmentState {
    /// The attachment was announced and waits for its upload, which must begin within 15 minutes. Without an upload the
    /// desk removes the attachment about an hour later.
    Pending,
    /// The bytes have arrived, and were checked.
    Stored,
}

/// An announced attachment, with its bytes' digest once they have arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// The id of the attachment.
    pub id: AttachmentId,
    /// The incident whose comments may show the attachment.
    pub incident: IncidentId,
    /// The name of the file.
    pub name: String,
    /// The type of the image.
    pub r#type: ImageType,
    /// The size in bytes.
    pub size: u64,
    /// The actor who announced the attachment, named as of that time.
    pub author: ActorImage,
    /// The time of the announcement.
    pub created_at: Instant,
    /// The stored bytes; `None` until they have arrived.
    pub stored: Option<StoredBytes>,
}

/// The stored bytes of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBytes {
    /// The time at which all bytes were there.
    pub at: Instant,
    /// The SHA-256 of the bytes.
    pub sha256: Vec<u8>,
}

impl Attachment {
    /// Returns whether the bytes have arrived.
    pub fn state(&self) -> AttachmentState {
        match self.stored {
            Some(_) => AttachmentState::Stored,
            None => AttachmentState::Pending,
        }
    }
}

/// Returns the path at which the bytes of an attachment are served.
pub fn url(id: AttachmentId) -> String {
    format!("/attachments/{}", id.0)
}

/// The announcement of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentDraft {
    /// The name of the file.
    pub name: String,
    /// The type of the image.
    pub r#type: ImageType,
    /// The size in bytes.
    pub size: u64,
}

impl AttachmentDraft {
    /// Reads an announcement: a name without slashes, and a size from 1 byte to 10 MiB.
    pub fn parse(name: &str, r#type: ImageType, size: u64) -> Result<Self> {
        let name = text::label("name", name, ATTACHMENT_NAME_CHARS_MAX)?;
        if name.chars().any(is_no_part_of_a_name) {
            let message = "a file's name has no slashes";
            return Err(Error::invalid("name", message));
        }
        if size == 0 {
            return Err(Error::invalid("size", "an image has at least one byte"));
        }
        if size > ATTACHMENT_BYTES_MAX {
            let message = format!("an attachment has at most {ATTACHMENT_BYTES_MAX} bytes");
            return Err(Error::limit("size", message, ATTACHMENT_BYTES_MAX as usize));
        }
        Ok(Self { name, r#type, size })
    }
}

fn is_no_part_of_a_name(c: char) -> bool {
    matches!(c, '/' | '\\')
}

/// The permission for one upload. The holder of the token may send the bytes until the ticket expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The SHA-256 of the token. The token itself is not stored.
    pub digest: Vec<u8>,
    /// The time after which no upload may begin.
    pub expires_at: Instant,
}

impl Ticket {
    /// Creates a ticket for the holder of this token.
    pub fn new(token: &str, now: Instant) -> Self {
        let expires_at = now + chrono::Duration::minutes(TICKET_MINUTES);
        Self { digest: Self::digest(token), expires_at }
    }

    /// Returns whether this is the ticket's token. It compares digests, so the duration of the comparison
    /// tells nothing about the token.
    pub fn admits(&self, token: &str) -> bool {
        self.digest == Self::digest(token)
    }

    fn digest(token: &str) -> Vec<u8> {
        Sha256::digest(token.as_bytes()).to_vec()
    }
}

/// Refuses a comment on this incident if one of its images is not an attachment of the incident, or has no bytes yet.
/// `found` are the attachments that the text names. `path` is the input field of the text.
pub fn refuse_foreign(path: &str, body: &str, incident: IncidentId, found: &[Attachment]) -> Result<()> {
    for address in markdown::attachment_addresses(body) {
        let attachment = AttachmentId::parse(&address).and_then(|id| found.iter().find(|found| found.id == id));
        match attachment.filter(|attachment| attachment.incident == incident) {
            Some(attachment) if attachment.state() == AttachmentState::Stored => {}
            Some(_) => {
                let message = format!("an image names {address}, which is not uploaded yet");
                return Err(Error::invalid(path, message));
            }
            // The author need not learn whether another incident has the attachment.
            None => {
                return Err(Error::invalid(
                    path,
                    format!("an image names {address}, and this incident has no such attachment"),
                ));
            }
        }
    }
    Ok(())
}

/// Refuses an attachment beyond the limit of the incident.
pub fn refuse_too_many(present: u64) -> Result<()> {
    if present >= ATTACHMENTS_PER_INCIDENT_MAX {
        let message = format!("an incident has at most {ATTACHMENTS_PER_INCIDENT_MAX} attachments");
        return Err(Error::limit("incidentId", message, ATTACHMENTS_PER_INCIDENT_MAX as usize));
    }
    Ok(())
}

/// Refuses bytes whose type is not the announced type. The first bytes of the file suffice.
pub fn refuse_other_type(attachment: &Attachment, first_bytes: &[u8]) -> Result<()> {
    match ImageType::of(first_bytes) {
        Some(found) if found == attachment.r#type => Ok(()),
        Some(found) => {
            let (announced, found) = (attachment.r#type.media_type(), found.media_type());
            Err(Error::invalid("type", format!("{announced} was announced, and these bytes are {found}")))
        }
        None => Err(Error::invalid("type", "these bytes are no PNG, JPEG, GIF or WebP image")),
    }
}

/// Refuses an upload that is longer than announced.
pub fn refuse_longer(attachment: &Attachment, bytes: u64) -> Result<()> {
    if bytes > attachment.size {
        let message = format!("{} bytes were announced, and these are more", attachment.size);
        return Err(Error::limit("size", message, attachment.size as usize));
    }
    Ok(())
}

/// Refuses an upload that ended early, with fewer bytes than announced.
pub fn refuse_shorter(attachment: &Attachment, bytes: u64) -> Result<()> {
    if bytes < attachment.size {
        let message = format!("{} bytes were announced, and {bytes} came", attachment.size);
        return Err(Error::invalid("size", message));
    }
    Ok(())
}

/// Refuses an upload if the attachment already has other bytes.
pub fn refuse_other_bytes(attachment: &Attachment, sha256: &[u8]) -> Result<()> {
    match &attachment.stored {
        Some(stored) if stored.sha256 != sha256 => {
            let now = json!({ "attachment": attachment.id.to_string(), "state": "STORED" });
            Err(Error::conflict("this attachment has its bytes already, and they are others", now))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_told_by_its_first_bytes() {
        for (bytes, expected) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], Some(ImageType::Png)),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some(ImageType::Jpeg)),
            (b"GIF87a\x01\0\x01\0", Some(ImageType::Gif)),
            (b"GIF89a\x01\0\x01\0", Some(ImageType::Gif)),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Some(ImageType::Webp)),
            (b"RIFF\x24\0\0\0WAVEfmt ", None),
            (b"<svg xmlns='http://www.w3.org/2000/svg'>", None),
            (b"<!doctype html>", None),
            (b"%PDF-1.7", None),
            (b"\x89PNG", None),
            (b"", None),
        ] {
            assert_eq!(ImageType::of(&bytes[..bytes.len().min(MAGIC_BYTES)]), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_name_is_one_of_a_file() {
        let parse = |name| AttachmentDraft::parse(name, ImageType::Png, 1).map(|draft| draft.name).ok();
        assert_eq!(parse(" Écran 1 «prompt».png "), Some("Écran 1 «prompt».png".to_owned()));
        for name in ["", " ", "../etc/passwd", "a\\b.png", "a\r\nSet-Cookie: x", "sc\u{202e}gnp.exe", &"x".repeat(256)]
        {
            assert_eq!(parse(name), None, "{name:?}");
        }
    }
}
