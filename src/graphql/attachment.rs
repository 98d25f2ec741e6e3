//! Attachments: announced here, uploaded and served over plain HTTP.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::account::Actor;
use super::call::Call;
use super::context::{View, app, command};
use super::incident::Incident;
use super::input::incident_id;
use crate::app::attachment::Announced;
use crate::domain::attachment::{Attachment as DomainAttachment, AttachmentDraft, ImageType, State, url};
use crate::domain::{Error, Instant, Result};

/// An image that belongs to an incident, for its comments to show: `![what it shows](attachment:…)`, with its global id
/// as the address.
pub struct Attachment {
    /// Where its incident is read.
    pub view: View,
    /// The attachment.
    pub attachment: DomainAttachment,
}

/// An image that belongs to an incident, for its comments to show: `![what it shows](attachment:…)`, with its global id
/// as the address.
#[Object]
impl Attachment {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        self.attachment.id.to_string().into()
    }

    /// The incident whose comments may show it.
    async fn incident(&self) -> Result<Incident> {
        let incident = self.view.incident(self.attachment.incident).await?;
        let incident = incident.ok_or_else(|| Error::not_found("incident", self.attachment.incident))?;
        Ok(Incident::new(self.view.clone(), incident))
    }

    /// The file's name.
    async fn name(&self) -> &str {
        &self.attachment.name
    }

    /// What kind of image it is.
    async fn r#type(&self) -> ImageType {
        self.attachment.r#type
    }

    /// How many bytes it has.
    async fn size(&self) -> u64 {
        self.attachment.size
    }

    /// Whether its bytes are there.
    async fn state(&self) -> State {
        self.attachment.state()
    }

    /// Where its bytes are served once they are there: a path of this server, for those who may read the incident.
    async fn url(&self) -> String {
        url(self.attachment.id)
    }

    /// Who announced it.
    async fn author(&self) -> Actor {
        self.attachment.author.clone().into()
    }

    /// When it was announced.
    async fn created_at(&self) -> Instant {
        self.attachment.created_at
    }

    /// When its bytes were there, if they are.
    async fn stored_at(&self) -> Option<Instant> {
        self.attachment.stored.as_ref().map(|stored| stored.at)
    }
}

/// An image to attach: what its upload will be held against.
#[derive(Debug, InputObject)]
pub struct CreateAttachmentInput {
    /// The incident, by global id.
    incident_id: ID,
    /// The file's name: at most 255 characters, without slashes.
    name: String,
    /// How many bytes it has: at most 10 MiB.
    size: u64,
    /// What kind of image it is.
    r#type: ImageType,
    /// What it is called, and its key.
    #[graphql(flatten)]
    call: Call,
}

/// An attachment that waits for its upload.
#[derive(SimpleObject)]
pub struct CreateAttachmentPayload {
    /// The attachment, `PENDING`.
    attachment: Attachment,
    /// Where to `PUT` the bytes: a path of this server. Whoever knows it may do that, in the caller's name. A retry under the
    /// same idempotency key is given another one, and the former is void; none where the bytes are there.
    upload_url: Option<String>,
    /// When no upload may begin any more.
    upload_expires_at: Option<Instant>,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key announced it.
    replayed: bool,
}

/// Announces an image for an incident.
pub async fn create(ctx: &Context<'_>, input: CreateAttachmentInput) -> Result<CreateAttachmentPayload> {
    let incident = incident_id("incidentId", &input.incident_id)?;
    let draft = AttachmentDraft::parse(&input.name, input.r#type, input.size)?;
    let announced = app(ctx)?.create_attachment(&command(ctx, &input.call)?, incident, draft).await;
    let Announced { attachment, upload, replayed } = announced.map_err(|error| error.at("incidentId"))?;
    Ok(CreateAttachmentPayload {
        upload_url: upload.as_ref().map(|upload| format!("{}?token={}", url(attachment.id), upload.token)),
        upload_expires_at: upload.map(|upload| upload.expires_at),
        attachment: Attachment { view: View::fresh(ctx)?, attachment },
        client_mutation_id: input.call.client_mutation_id,
        replayed,
    })
}
