//! Attachments. A mutation announces them; they are uploaded and served over plain HTTP.

use async_graphql::{ID, InputObject, Object, SimpleObject};

use super::account::Actor;
use super::call::Call;
use super::context::View;
use super::incident::Incident;
use super::input::incident_id;
use super::payload::{MutationReceipt, Payload};
use crate::app::attachment::Announced;
use crate::domain::attachment::{Attachment as DomainAttachment, AttachmentDraft, AttachmentState, ImageType, url};
use crate::domain::{Error, IncidentId, Instant, Result};

/// An attachment: an image that belongs to an incident. A comment of the incident shows it with the Markdown
/// `![alternative text](attachment:…)`, where `attachment:…` is the attachment's global id.
pub(super) struct Attachment {
    /// The view through which its incident is read.
    pub view: View,
    /// The attachment as it is stored.
    pub attachment: DomainAttachment,
}

/// An attachment: an image that belongs to an incident. A comment of the incident shows it with the Markdown
/// `![alternative text](attachment:…)`, where `attachment:…` is the attachment's global id.
#[Object]
impl Attachment {
    /// The global id of the attachment.
    pub(crate) async fn id(&self) -> ID {
        self.attachment.id.to_string().into()
    }

    /// The incident whose comments may show the attachment.
    async fn incident(&self) -> Result<Incident> {
        let incident = self.view.incident(self.attachment.incident).await?;
        let incident = incident.ok_or_else(|| Error::not_found("incident", self.attachment.incident))?;
        Ok(Incident::new(self.view.clone(), incident))
    }

    /// The name of the file.
    async fn name(&self) -> &str {
        &self.attachment.name
    }

    /// The type of the image.
    async fn r#type(&self) -> ImageType {
        self.attachment.r#type
    }

    /// The size of the image in bytes.
    async fn size(&self) -> u64 {
        self.attachment.size
    }

    /// Whether the image has been uploaded.
    async fn state(&self) -> AttachmentState {
        self.attachment.state()
    }

    /// The path on this server that serves the image once it is uploaded, to callers who may read the incident.
    async fn url(&self) -> String {
        url(self.attachment.id)
    }

    /// The actor who announced the attachment.
    async fn author(&self) -> Actor {
        self.attachment.author.clone().into()
    }

    /// When the attachment was announced.
    async fn created_at(&self) -> Instant {
        self.attachment.created_at
    }

    /// When the upload was complete; null if it is not.
    async fn stored_at(&self) -> Option<Instant> {
        self.attachment.stored.as_ref().map(|stored| stored.at)
    }
}

/// The input of `createAttachment`. The upload is checked against these values.
#[derive(Debug, InputObject)]
pub(super) struct CreateAttachmentInput {
    /// The global id of the incident.
    incident_id: ID,
    /// The name of the file: at most 255 characters, without slashes.
    name: String,
    /// The size of the image in bytes: 1 to 10,485,760 (10 MiB).
    size: u64,
    /// The type of the image.
    r#type: ImageType,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The result of `createAttachment`: an attachment that waits for its upload.
#[derive(SimpleObject)]
pub(super) struct CreateAttachmentPayload {
    /// The attachment. Its state is `PENDING` until the upload is complete.
    attachment: Attachment,
    /// The path on this server to `PUT` the bytes to; null if they are already uploaded. Everybody who knows the path
    /// may upload in the caller's name. A retry with the same idempotency key returns a new path, and the old path
    /// stops working.
    upload_url: Option<String>,
    /// The time until which an upload may begin; null if the bytes are already uploaded.
    upload_expires_at: Option<Instant>,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

impl CreateAttachmentInput {
    /// Reads the incident and the image to announce.
    pub(super) fn read(&self) -> Result<(IncidentId, AttachmentDraft)> {
        let incident = incident_id("incidentId", &self.incident_id)?;
        Ok((incident, AttachmentDraft::parse(&self.name, self.r#type, self.size)?))
    }
}

impl Payload for CreateAttachmentPayload {
    type Value = Announced;

    fn new(view: View, Announced { attachment, upload }: Announced, receipt: MutationReceipt) -> Self {
        Self {
            upload_url: upload.as_ref().map(|upload| format!("{}?token={}", url(attachment.id), upload.token)),
            upload_expires_at: upload.map(|upload| upload.expires_at),
            attachment: Attachment { view, attachment },
            receipt,
        }
    }
}
