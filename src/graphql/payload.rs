//! The payloads of mutations: the objects that a mutation changed, and the receipt that all payloads have.

use async_graphql::{ComplexObject, Context, ID, SimpleObject};

use super::account::{Group, User};
use super::alert::Alert;
use super::call::Call;
use super::comment::Comment;
use super::context::View;
use super::correlation::Correlation;
use super::incident::{Incident, global_id};
use crate::app::alert::Ingested;
use crate::app::comment::Commented;
use crate::app::idempotency::Did;
use crate::app::incident::Edited;
use crate::domain::account::{Group as DomainGroup, User as DomainUser};
use crate::domain::alert::Alert as DomainAlert;
use crate::domain::{AlertId, Result};

/// The fields that the payload of each mutation has.
#[derive(SimpleObject)]
pub(super) struct MutationReceipt {
    /// The end of the log after the mutation. `Query.incident` with this position as `minPosition` shows the effect of
    /// the mutation, and so does each query that begins after the answer.
    position: String,
    /// Whether the mutation changed anything. It is false if everything was already as requested. If `replayed` is
    /// true, it says whether the first call changed anything.
    changed: bool,
    /// The `clientMutationId` of this call, also if it repeats an earlier call.
    client_mutation_id: Option<String>,
    /// Whether an earlier call with the same idempotency key did the work. If true, this call changed nothing, and its
    /// objects are in their present state.
    replayed: bool,
}

/// A payload, which shows the answer to a command.
pub(super) trait Payload: Sized {
    /// The objects of the answer.
    type Value;

    /// Builds the payload. The objects are read through `view`, which shows at least the effects of the command.
    fn new(view: View, value: Self::Value, receipt: MutationReceipt) -> Self;

    /// Builds the payload of a call from the answer to its command.
    fn of(ctx: &Context<'_>, did: Did<Self::Value>, call: Call) -> Result<Self> {
        let Did { value, position, changed, replayed, .. } = did;
        let (position, client_mutation_id) = (position.to_string(), call.client_mutation_id);
        Ok(Self::new(View::fresh(ctx)?, value, MutationReceipt { position, changed, client_mutation_id, replayed }))
    }
}

/// The result of a mutation on an incident.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct IncidentPayload {
    /// The incident after the mutation.
    incident: Incident,
    #[graphql(skip)]
    alerts: ChangedAlerts,
    /// The comment that the mutation added; null if it added no comment.
    comment: Option<Comment>,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

/// The result of `deleteIncident`.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct DeleteIncidentPayload {
    /// The global id of the deleted incident.
    deleted_id: ID,
    #[graphql(skip)]
    alerts: ChangedAlerts,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

/// The result of a mutation on a comment.
#[derive(SimpleObject)]
pub(super) struct CommentPayload {
    /// The comment after the mutation.
    comment: Comment,
    /// The incident that the comment is on.
    incident: Incident,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

/// The result of `ingestAlert` or `ingestAlerts`.
#[derive(SimpleObject)]
pub(super) struct IngestPayload {
    /// Every alert of the batch as the ingest left it, in the order of the batch. An alert that the batch repeats is
    /// listed once.
    alerts: Vec<Alert>,
    /// How many alerts of the batch are new.
    created: usize,
    /// How many alerts were known before and changed with this report.
    updated: usize,
    /// How many alerts were known before and did not change.
    unchanged: usize,
    /// The incident that the alerts went into; null if they went into no incident or into several.
    incident: Option<Incident>,
    /// For each alert, its incident and how it came there, in the order of the batch. Empty unless `into.correlate` is
    /// given.
    correlations: Vec<Correlation>,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

/// The result of `updateAlert`.
#[derive(SimpleObject)]
pub(super) struct AlertPayload {
    /// The alert after the mutation.
    alert: Alert,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

/// The result of `upsertUser`.
#[derive(SimpleObject)]
pub(super) struct UserPayload {
    /// The user after the mutation.
    user: User,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

/// The result of a mutation on a group.
#[derive(SimpleObject)]
pub(super) struct GroupPayload {
    /// The group after the mutation.
    group: Group,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

/// The alerts that a command on an incident changed. They are read if the document asks for them, after the commit.
struct ChangedAlerts {
    view: View,
    ids: Vec<AlertId>,
}

impl ChangedAlerts {
    async fn read(&self) -> Result<Vec<Alert>> {
        if self.ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut alerts = self.view.reader().await?.alerts_listed(&self.ids).await?;
        alerts.sort_by_key(|alert| alert.id);
        Ok(alerts.into_iter().map(|alert| Alert::listed(self.view.clone(), alert)).collect())
    }
}

#[ComplexObject]
impl IncidentPayload {
    /// The alerts that the mutation changed, including the alerts that it changed through their incident, in ascending
    /// order of id. Each is shown in its present state, which may be later than the mutation.
    async fn alerts(&self) -> Result<Vec<Alert>> {
        self.alerts.read().await
    }
}

#[ComplexObject]
impl DeleteIncidentPayload {
    /// The alerts of the deleted incident, in ascending order of id. They belong to no incident after the mutation.
    /// Each is shown in its present state, which may be later than the mutation.
    async fn alerts(&self) -> Result<Vec<Alert>> {
        self.alerts.read().await
    }
}

impl Payload for IncidentPayload {
    type Value = Edited;

    fn new(view: View, Edited { incident, alerts, comment }: Edited, receipt: MutationReceipt) -> Self {
        Self {
            incident: Incident::new(view.clone(), incident),
            alerts: ChangedAlerts { view: view.clone(), ids: alerts },
            comment: comment.map(|comment| Comment { view, comment }),
            receipt,
        }
    }
}

impl Payload for DeleteIncidentPayload {
    type Value = Edited;

    fn new(view: View, Edited { incident, alerts, .. }: Edited, receipt: MutationReceipt) -> Self {
        Self { deleted_id: global_id(incident.id), alerts: ChangedAlerts { view, ids: alerts }, receipt }
    }
}

impl Payload for CommentPayload {
    type Value = Commented;

    fn new(view: View, Commented { comment, incident }: Commented, receipt: MutationReceipt) -> Self {
        Self { comment: Comment { view: view.clone(), comment }, incident: Incident::new(view, incident), receipt }
    }
}

impl Payload for IngestPayload {
    type Value = Ingested;

    fn new(view: View, ingested: Ingested, receipt: MutationReceipt) -> Self {
        let Ingested { alerts, created, updated, unchanged, incident, correlations } = ingested;
        Self {
            alerts: alerts.into_iter().map(|alert| Alert::new(view.clone(), alert)).collect(),
            created,
            updated,
            unchanged,
            correlations: correlations.into_iter().map(|placed| Correlation::new(&view, placed)).collect(),
            incident: incident.map(|incident| Incident::new(view, incident)),
            receipt,
        }
    }
}

impl Payload for AlertPayload {
    type Value = DomainAlert;

    fn new(view: View, alert: DomainAlert, receipt: MutationReceipt) -> Self {
        Self { alert: Alert::new(view, alert), receipt }
    }
}

impl Payload for UserPayload {
    type Value = DomainUser;

    fn new(_: View, user: DomainUser, receipt: MutationReceipt) -> Self {
        Self { user: User(user), receipt }
    }
}

impl Payload for GroupPayload {
    type Value = DomainGroup;

    fn new(view: View, group: DomainGroup, receipt: MutationReceipt) -> Self {
        Self { group: Group { view, group }, receipt }
    }
}
