//! Commands on attachments: announce them, receive and serve their bytes, remove attachments that never arrived.
//!
//! The bytes are complete in the store before a row says so, and an attachment has only one upload at a time. So the
//! desk can always distinguish the rest of a broken upload from stored bytes, and overwrite or remove that rest.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::idempotency::{ById, Did, Done, Repeatable};
use super::upload::{IncomingBytes, Sender};
use super::{App, Command};
use crate::domain::account::{Actor, ActorImage, Role};
use crate::domain::attachment::{
    Attachment, AttachmentDraft, MAGIC_BYTES, StoredBytes, Ticket, refuse_foreign, refuse_longer, refuse_other_bytes,
    refuse_other_type, refuse_shorter, refuse_too_many,
};
use crate::domain::{AttachmentId, Error, IncidentId, Instant, Result, UserId, markdown};
use crate::storage::{Objects, Reader, Tx, Upload, Uploadable, Writing};

/// 256 bits of the system's randomness. Nobody guesses such a token.
const TOKEN_BYTES: usize = 32;

/// How many seconds an upload excludes other uploads of the same attachment. An upload always takes less. If its node
/// died, the client waits no longer than that.
const UPLOAD_ALONE_SECONDS: i64 = 180;

/// How often attachments that never arrived are removed. They are in nobody's way.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// How many attachments one round of the sweep reads.
const SWEPT_AT_ONCE: u64 = 500;

/// An announced attachment, with the permission for its upload.
#[derive(Clone, Debug)]
pub struct Announced {
    /// The attachment.
    pub attachment: Attachment,
    /// The permission for the upload; `None` if the bytes have arrived.
    pub upload: Option<UploadToken>,
}

/// The permission for an upload.
#[derive(Clone, Debug)]
pub struct UploadToken {
    /// The token. Its holder may send the bytes. The desk stores only a digest of it.
    pub token: String,
    /// The time after which no upload may begin.
    pub expires_at: Instant,
}

/// A request to send the bytes of an attachment.
#[derive(Clone, Debug)]
pub struct Sending {
    /// The id of the attachment.
    pub id: AttachmentId,
    /// The token of the upload.
    pub token: String,
    /// The account that the sender names, if any.
    pub caller: Option<UserId>,
    /// How many bytes the sender announces, if it does.
    pub length: Option<u64>,
    /// The client address for the limits of uploads. `None` if it is unknown, or shared by many clients.
    pub address: Option<IpAddr>,
}

/// The result of the check before an upload.
enum CheckedUpload {
    /// This upload may store the bytes.
    First(Attachment, Upload),
    /// The attachment has its bytes. The upload may only repeat them.
    Again(Attachment),
}

impl Repeatable for Attachment {
    type Receipt = ById<AttachmentId>;

    fn receipt(&self) -> ById<AttachmentId> {
        ById { id: self.id }
    }

    async fn again(reader: &Reader, ById { id }: ById<AttachmentId>) -> Result<Self> {
        let found = reader.attachments(&[id]).await?.pop().ok_or_else(|| Error::not_found("attachment", id))?;
        match reader.incident(found.incident).await? {
            Some(_) => Ok(found),
            None => Err(Error::not_found("incident", found.incident)),
        }
    }
}

impl App {
    /// Returns this desk with a store for the bytes of attachments.
    #[must_use]
    pub fn with_objects(self, objects: Objects) -> Self {
        Self { objects, ..self }
    }

    /// Announces an image for an incident. A separate upload sends its bytes.
    pub async fn create_attachment(
        &self,
        command: &Command,
        incident: IncidentId,
        draft: AttachmentDraft,
    ) -> Result<Did<Announced>> {
        command.require(Role::Responder, "attach an image to an incident")?;
        let token = fresh_token()?;
        let ticket = Ticket::new(&token, command.at);
        let attachment = Attachment {
            id: AttachmentId(self.clock.fresh_id()),
            incident,
            name: draft.name,
            r#type: draft.r#type,
            size: draft.size,
            author: command.actor_image(),
            created_at: command.at,
            stored: None,
        };
        let did = self.once(command, async |tx| {
            tx.lock_incident(incident).await?.writable()?;
            refuse_too_many(tx.attachment_count(incident).await?)?;
            tx.insert_attachment(&attachment, &ticket).await?;
            Ok(Done::changed(attachment.clone()))
        });
        let did = did.await?;
        // The first token is not stored, so a retry gets a token of its own.
        let ticket = if did.replayed { self.renew_ticket(did.value.id, &ticket).await? } else { Some(ticket) };
        let upload = ticket.map(|ticket| UploadToken { token, expires_at: ticket.expires_at });
        Ok(did.map(|attachment| Announced { attachment, upload }))
    }

    /// Replaces the ticket of an attachment, unless its bytes have arrived. Returns `None` if they have.
    async fn renew_ticket(&self, id: AttachmentId, ticket: &Ticket) -> Result<Option<Ticket>> {
        let work = async |tx: Arc<Tx>| {
            let found = tx.lock_attachment(id).await?;
            let waits = found.is_some_and(|found| found.attachment.stored.is_none());
            if waits {
                tx.save_ticket(id, ticket).await?;
            }
            Ok(waits)
        };
        let (renewed, _) = self.store.transact(work).await?;
        Ok(renewed.then(|| ticket.clone()))
    }

    /// Receives the bytes of an attachment. A repeated upload of the same bytes is no error and changes nothing.
    ///
    /// Refuses a wrong or expired token, bytes of another type or size than announced, other bytes than the attachment
    /// has, and an upload while another of the same attachment is running. A refused or broken upload leaves nothing
    /// behind if the caller lets this method finish, even if the sender is gone.
    pub async fn upload<S>(&self, sending: &Sending, bytes: &mut S) -> Result<Attachment>
    where
        S: Stream<Item = Result<Bytes>> + Send + Unpin,
    {
        let (attachment, upload) = match self.begin_upload(sending).await? {
            CheckedUpload::First(attachment, upload) => (attachment, upload),
            CheckedUpload::Again(attachment) => {
                let mut upload = self.uploads.begin(sender(&attachment, sending))?;
                let sha256 = upload.receive(bytes, async |bytes| receive(&attachment, bytes, None).await).await?;
                refuse_other_bytes(&attachment, &sha256)?;
                return Ok(attachment);
            }
        };
        let id = attachment.id;
        let stored = match self.receive_into_store(&attachment, sending, bytes).await {
            Ok(sha256) => self.settle_upload(attachment, upload, sha256).await,
            Err(error) => Err(error),
        };
        // A failed commit may have taken effect. The row tells: if the bytes are stored, the undo changes nothing.
        if stored.is_err()
            && let Err(error) = self.undo_upload(id, upload).await
        {
            tracing::warn!(attachment.id = %id, %error, "what is left of an upload waits for a retry or the sweep");
            self.uploads.is_over(upload.id);
        }
        stored
    }

    async fn begin_upload(&self, sending: &Sending) -> Result<CheckedUpload> {
        let now = self.clock.now();
        let until = now + chrono::Duration::seconds(UPLOAD_ALONE_SECONDS);
        let upload = Upload { id: self.clock.fresh_id(), until };
        let work = async |tx: Arc<Tx>| {
            let found = tx.lock_attachment(sending.id).await?.filter(|found| may_send(found, sending));
            let Uploadable { attachment, ticket, upload: other } =
                found.ok_or_else(|| Error::not_found("upload", "of this address and token"))?;
            if ticket.expires_at <= now {
                let message = "an upload begins within 15 minutes: announce it anew";
                return Err(Error::conflict(message, json!({ "expiredAt": ticket.expires_at })));
            }
            may_attach(&tx, &attachment).await?;
            if let Some(length) = sending.length {
                refuse_longer(&attachment, length)?;
                refuse_shorter(&attachment, length)?;
            }
            if attachment.stored.is_some() {
                return Ok(CheckedUpload::Again(attachment));
            }
            let goes_on = |other: &Upload| other.until > now && !self.uploads.was_over(other.id);
            if let Some(other) = other.filter(goes_on) {
                let message = "another upload of this attachment is under way";
                return Err(Error::conflict(message, json!({ "until": other.until })));
            }
            tx.save_upload(attachment.id, Some(upload)).await?;
            Ok(CheckedUpload::First(attachment, upload))
        };
        let (begun, _) = self.store.transact(work).await?;
        Ok(begun)
    }

    async fn receive_into_store<S>(&self, attachment: &Attachment, sending: &Sending, bytes: &mut S) -> Result<Vec<u8>>
    where
        S: Stream<Item = Result<Bytes>> + Send + Unpin,
    {
        let mut upload = self.uploads.begin(sender(attachment, sending))?;
        let mut writing = self.objects.write(attachment.id).await?;
        let received = upload.receive(bytes, async |bytes| {
            let sha256 = receive(attachment, bytes, Some(&mut writing)).await?;
            writing.finish().await?;
            Ok(sha256)
        });
        let received = received.await;
        if received.is_err() {
            writing.abandon().await;
        }
        received
    }

    async fn settle_upload(&self, attachment: Attachment, upload: Upload, sha256: Vec<u8>) -> Result<Attachment> {
        let (id, stored) = (attachment.id, StoredBytes { at: self.clock.now().max(attachment.created_at), sha256 });
        let work = async |tx: Arc<Tx>| {
            let found = tx.lock_attachment(id).await?;
            if found.is_none_or(|found| found.upload != Some(upload)) {
                let now = json!({ "attachment": id.to_string() });
                return Err(Error::conflict("this upload took too long, and another may have begun", now));
            }
            tx.save_stored(id, &stored).await
        };
        self.store.transact(work).await?;
        Ok(Attachment { stored: Some(stored), ..attachment })
    }

    async fn undo_upload(&self, id: AttachmentId, upload: Upload) -> Result<()> {
        let work = async |tx: Arc<Tx>| {
            match tx.lock_attachment(id).await? {
                // No other upload begins while the row is locked, so these bytes are from this upload.
                Some(found) if found.upload == Some(upload) && found.attachment.stored.is_none() => {
                    self.objects.forget(id).await?;
                    tx.save_upload(id, None).await
                }
                _ => Ok(()),
            }
        };
        self.store.transact(work).await?;
        Ok(())
    }

    /// Returns an attachment whose bytes have arrived, if the caller may read its incident.
    pub async fn readable_attachment(&self, reader: &Actor, id: AttachmentId) -> Result<Attachment> {
        let rows = self.store.read().await?;
        let stored = rows.attachments(&[id]).await?.pop().filter(|attachment| attachment.stored.is_some());
        let Some(attachment) = stored else { return Err(Error::not_found("attachment", id)) };
        let incident = rows.incidents(&[attachment.incident]).await?.pop();
        if incident.is_some_and(|incident| reader.reads(&incident)) {
            Ok(attachment)
        } else {
            Err(Error::not_found("attachment", id))
        }
    }

    /// Returns the bytes of an attachment as a stream.
    pub async fn attachment_bytes(&self, id: AttachmentId) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.objects.read(id).await
    }

    /// Removes attachments that were announced and never arrived, with the bytes that broken uploads left.
    pub async fn sweep_attachments(&self) -> Result<()> {
        // An upload that began before the ticket expired is over by then.
        let before = self.clock.now() - chrono::Duration::seconds(UPLOAD_ALONE_SECONDS);
        loop {
            let gone = self.store.read().await?.attachments_never_uploaded(before, SWEPT_AT_ONCE).await?;
            for id in &gone {
                self.sweep_attachment(*id, before).await?;
            }
            if (gone.len() as u64) < SWEPT_AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Removes one attachment, unless a retry has announced it again in the meantime.
    async fn sweep_attachment(&self, id: AttachmentId, before: Instant) -> Result<()> {
        let work = async |tx: Arc<Tx>| {
            let found = tx.lock_attachment(id).await?;
            let never_came = |it: &Uploadable| it.attachment.stored.is_none() && it.ticket.expires_at < before;
            if !found.is_some_and(|found| never_came(&found)) {
                return Ok(());
            }
            self.objects.forget(id).await?;
            tx.delete_never_uploaded(&[id]).await
        };
        self.store.transact(work).await?;
        Ok(())
    }

    /// Sweeps attachments in an endless loop.
    pub async fn keep_attachments(self) {
        loop {
            if let Err(error) = self.sweep_attachments().await {
                tracing::warn!(%error, "attachments that never came stay where they are");
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }
}

/// Refuses a comment with `INVALID` if an image with the scheme `attachment:` is not an attachment of its incident, or
/// has no bytes yet. New and edited comments both come here.
pub(super) async fn refuse_foreign_images(tx: &Tx, path: &str, incident: IncidentId, body: &str) -> Result<()> {
    let found = tx.attachments(&markdown::attachments(body)).await?;
    refuse_foreign(path, body, incident, &found)
}

fn fresh_token() -> Result<String> {
    let mut token = [0; TOKEN_BYTES];
    getrandom::fill(&mut token).map_err(|error| Error::fault("making a token", error))?;
    Ok(URL_SAFE_NO_PAD.encode(token))
}

/// Returns whether the sender may send the bytes. A token acts for the account that announced the attachment. A sender
/// that names another account may not use the token, and does not learn that it exists.
fn may_send(found: &Uploadable, sending: &Sending) -> bool {
    found.ticket.admits(&sending.token)
        && sending.caller.is_none_or(|caller| author_of(&found.attachment) == Some(caller))
}

fn author_of(attachment: &Attachment) -> Option<UserId> {
    match &attachment.author {
        ActorImage::User { id, .. } => Some(*id),
        ActorImage::System => None,
    }
}

/// Checks that the announcement would still be allowed now.
async fn may_attach(tx: &Tx, attachment: &Attachment) -> Result<()> {
    if let Some(author) = author_of(attachment)
        && let Some(user) = tx.users(&[author]).await?.pop()
    {
        tx.actor(user).await?.require(Role::Responder, "attach an image to an incident")?;
    }
    let incident = tx.incident(attachment.incident).await?;
    incident.ok_or_else(|| Error::not_found("incident", attachment.incident))?.writable()
}

/// Returns the account and address for the limits of uploads. Any holder of a token may send, so the account is the
/// announcing one.
fn sender(attachment: &Attachment, sending: &Sending) -> Sender {
    Sender { account: author_of(attachment), address: sending.address }
}

/// Reads all bytes of an attachment and compares them with the announcement. Returns their SHA-256.
async fn receive<S>(
    attachment: &Attachment,
    bytes: &mut IncomingBytes<'_, S>,
    mut writing: Option<&mut Writing>,
) -> Result<Vec<u8>>
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin,
{
    let (mut sha256, mut length, mut first) = (Sha256::new(), 0, Vec::with_capacity(MAGIC_BYTES));
    while let Some(piece) = bytes.next().await? {
        length += piece.len() as u64;
        refuse_longer(attachment, length)?;
        if first.len() < MAGIC_BYTES {
            first.extend(piece.iter().take(MAGIC_BYTES - first.len()));
            if first.len() == MAGIC_BYTES {
                refuse_other_type(attachment, &first)?;
            }
        }
        sha256.update(&piece);
        if let Some(writing) = &mut writing {
            writing.push(&piece).await?;
        }
    }
    refuse_shorter(attachment, length)?;
    refuse_other_type(attachment, &first)?;
    Ok(sha256.finalize().to_vec())
}
