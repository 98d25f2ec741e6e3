//! Attachments: the row, without the bytes, which are in `object.rs`.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::LockType;
use sea_orm::{QueryOrder, QuerySelect, Set};

use super::incident::{json, to_json};
use super::{Reader, Tx, count};
use crate::domain::attachment::{Attachment, StoredBytes, Ticket};
use crate::domain::{AttachmentId, IncidentId, Instant, Result};

mod row {
    //! The row of an attachment.
    use sea_orm::entity::prelude::*;

    use crate::domain::attachment::ImageType;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "attachment")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: Uuid,
        pub(super) incident_id: Uuid,
        pub(super) name: String,
        pub(super) r#type: ImageType,
        pub(super) size: i64,
        pub(super) author: String,
        pub(super) created_at: DateTimeUtc,
        pub(super) ticket: Vec<u8>,
        pub(super) ticket_expires_at: DateTimeUtc,
        pub(super) upload: Option<Uuid>,
        pub(super) upload_until: Option<DateTimeUtc>,
        pub(super) stored_at: Option<DateTimeUtc>,
        pub(super) sha256: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// An attachment with the state of its upload.
#[derive(Clone, Debug, PartialEq)]
pub struct Uploadable {
    /// The announced attachment.
    pub attachment: Attachment,
    /// The ticket that permits the upload.
    pub ticket: Ticket,
    /// The running upload, or an upload that was broken off without notice.
    pub upload: Option<Upload>,
}

/// An upload. Meanwhile no other upload of the attachment may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The id of the upload.
    pub id: Uuid,
    /// The time when the upload ends, whatever its result.
    pub until: Instant,
}

impl TryFrom<row::Model> for Attachment {
    type Error = crate::domain::Error;

    fn try_from(row: row::Model) -> Result<Self> {
        Ok(Self {
            id: AttachmentId(row.id),
            incident: IncidentId(row.incident_id),
            name: row.name,
            r#type: row.r#type,
            size: row.size as u64,
            author: json(&row.author)?,
            created_at: row.created_at,
            stored: row.stored_at.zip(row.sha256).map(|(at, sha256)| StoredBytes { at, sha256 }),
        })
    }
}

impl Reader {
    /// Reads the attachments with these ids, in no order.
    pub async fn attachments(&self, ids: &[AttachmentId]) -> Result<Vec<Attachment>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let of_these = row::Column::Id.is_in(ids.iter().map(|id| id.0));
        let rows = row::Entity::find().filter(of_these).all(self.conn()).await?;
        rows.into_iter().map(Attachment::try_from).collect()
    }

    /// Reads the attachments of each incident whose bytes are stored, oldest first.
    pub async fn attachments_of(&self, incidents: &[IncidentId]) -> Result<HashMap<IncidentId, Vec<Attachment>>> {
        let rows = row::Entity::find()
            .filter(row::Column::IncidentId.is_in(incidents.iter().map(|id| id.0)))
            .filter(row::Column::StoredAt.is_not_null())
            // An id begins with its time of creation.
            .order_by_asc(row::Column::Id)
            .all(self.conn())
            .await?;
        let mut by_incident: HashMap<IncidentId, Vec<Attachment>> = HashMap::new();
        for row in rows {
            by_incident.entry(IncidentId(row.incident_id)).or_default().push(row.try_into()?);
        }
        Ok(by_incident)
    }

    /// Counts the attachments of an incident, including announced attachments.
    pub async fn attachment_count(&self, incident: IncidentId) -> Result<u64> {
        count(self, row::Entity::find().filter(row::Column::IncidentId.eq(incident.0))).await
    }

    /// Returns at most `limit` announced attachments without bytes whose tickets expired before this instant.
    pub async fn attachments_never_uploaded(&self, before: Instant, limit: u64) -> Result<Vec<AttachmentId>> {
        let ids: Vec<Uuid> = row::Entity::find()
            .select_only()
            .column(row::Column::Id)
            .filter(row::Column::StoredAt.is_null())
            .filter(row::Column::TicketExpiresAt.lt(before))
            .order_by_asc(row::Column::TicketExpiresAt)
            .limit(limit)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(ids.into_iter().map(AttachmentId).collect())
    }
}

impl Tx {
    /// Locks an attachment and reads it.
    pub async fn lock_attachment(&self, id: AttachmentId) -> Result<Option<Uploadable>> {
        let Some(row) = row::Entity::find_by_id(id.0).lock(LockType::Update).one(self.conn()).await? else {
            return Ok(None);
        };
        let ticket = Ticket { digest: row.ticket.clone(), expires_at: row.ticket_expires_at };
        let upload = row.upload.zip(row.upload_until).map(|(id, until)| Upload { id, until });
        Ok(Some(Uploadable { attachment: row.try_into()?, ticket, upload }))
    }

    /// Inserts an announced attachment.
    pub async fn insert_attachment(&self, attachment: &Attachment, ticket: &Ticket) -> Result<()> {
        let row = row::ActiveModel {
            id: Set(attachment.id.0),
            incident_id: Set(attachment.incident.0),
            name: Set(attachment.name.clone()),
            r#type: Set(attachment.r#type),
            size: Set(attachment.size as i64),
            author: Set(to_json(&attachment.author)?),
            created_at: Set(attachment.created_at),
            ticket: Set(ticket.digest.clone()),
            ticket_expires_at: Set(ticket.expires_at),
            upload: Set(None),
            upload_until: Set(None),
            stored_at: Set(None),
            sha256: Set(None),
        };
        row::Entity::insert(row).exec_without_returning(self.conn()).await?;
        Ok(())
    }

    /// Replaces the ticket of an attachment. The former ticket no longer permits the upload.
    pub async fn save_ticket(&self, id: AttachmentId, ticket: &Ticket) -> Result<()> {
        row::Entity::update_many()
            .col_expr(row::Column::Ticket, Expr::value(ticket.digest.clone()))
            .col_expr(row::Column::TicketExpiresAt, Expr::value(ticket.expires_at))
            .filter(row::Column::Id.eq(id.0))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Sets or clears the running upload of an attachment.
    pub async fn save_upload(&self, id: AttachmentId, upload: Option<Upload>) -> Result<()> {
        row::Entity::update_many()
            .col_expr(row::Column::Upload, Expr::value(upload.map(|upload| upload.id)))
            .col_expr(row::Column::UploadUntil, Expr::value(upload.map(|upload| upload.until)))
            .filter(row::Column::Id.eq(id.0))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Records that the bytes of an attachment are stored.
    pub async fn save_stored(&self, id: AttachmentId, stored: &StoredBytes) -> Result<()> {
        row::Entity::update_many()
            .col_expr(row::Column::StoredAt, Expr::value(stored.at))
            .col_expr(row::Column::Sha256, Expr::value(stored.sha256.clone()))
            .filter(row::Column::Id.eq(id.0))
            .exec(self.conn())
            .await?;
        self.save_upload(id, None).await
    }

    /// Moves the attachments of an incident to another incident. Returns their ids, ascending.
    pub async fn move_attachments(&self, from: IncidentId, to: IncidentId) -> Result<Vec<AttachmentId>> {
        let moved: Vec<Uuid> = row::Entity::find()
            .select_only()
            .column(row::Column::Id)
            .filter(row::Column::IncidentId.eq(from.0))
            .order_by_asc(row::Column::Id)
            .into_tuple()
            .all(self.conn())
            .await?;
        let moved: Vec<AttachmentId> = moved.into_iter().map(AttachmentId).collect();
        self.place_attachments(&moved, to).await?;
        Ok(moved)
    }

    /// Moves these attachments to an incident.
    pub async fn place_attachments(&self, ids: &[AttachmentId], incident: IncidentId) -> Result<()> {
        row::Entity::update_many()
            .col_expr(row::Column::IncidentId, Expr::value(incident.0))
            .filter(row::Column::Id.is_in(ids.iter().map(|id| id.0)))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Deletes the attachments among these whose bytes were never stored.
    pub async fn delete_never_uploaded(&self, ids: &[AttachmentId]) -> Result<()> {
        row::Entity::delete_many()
            .filter(row::Column::Id.is_in(ids.iter().map(|id| id.0)))
            .filter(row::Column::StoredAt.is_null())
            .exec(self.conn())
            .await?;
        Ok(())
    }
}
