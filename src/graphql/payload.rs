//! The payloads of mutations: the changed objects, the end of the log after the mutation, and the `clientMutationId`.

use async_graphql::{ComplexObject, Context, SimpleObject};

use super::account::{Group, User};
use super::alert::Alert;
use super::call::Call;
use super::comment::Comment;
use super::context::View;
use super::correlation::Correlation;
use super::incident::{Incident, global_id};
use crate::app::alert::{AlertOutcome, Ingested};
use crate::app::idempotency::Did;
use crate::app::incident::Outcome;
use crate::domain::account::{Group as DomainGroup, User as DomainUser};
use crate::domain::{AlertId, Error, Result};

/// The result of a mutation on an incident.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct IncidentPayload {
    /// The incident after the mutation.
    incident: Incident,
    /// Whether the mutation changed anything. It is false if every requested value was already set.
    changed: bool,
    #[graphql(skip)]
    alerts: ChangedAlerts,
    /// The comment that the mutation added; null if it added no comment.
    comment: Option<Comment>,
    /// The end of the log after the mutation. A read with this `minPosition` shows the effect of the mutation.
    position: String,
    /// The `clientMutationId` of the call.
    client_mutation_id: Option<String>,
    /// Whether an earlier call with the same idempotency key did the work. If true, this call changed nothing, and its
    /// objects are in their present state.
    replayed: bool,
}

/// The result of `deleteIncident`.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct DeleteIncidentPayload {
    /// The global id of the deleted incident.
    deleted_id: async_graphql::ID,
    #[graphql(skip)]
    alerts: ChangedAlerts,
    /// The end of the log after the mutation.
    position: String,
    /// The `clientMutationId` of the call.
    client_mutation_id: Option<String>,
    /// Whether an earlier call with the same idempotency key did the work. If true, this call changed nothing, and its
    /// objects are in their present state.
    replayed: bool,
}

/// The result of a mutation on a comment.
#[derive(SimpleObject)]
pub struct CommentPayload {
    /// The comment after the mutation.
    comment: Comment,
    /// The incident that the comment is on.
    incident: Incident,
    /// Whether the mutation changed anything.
    changed: bool,
    /// The end of the log after the mutation.
    position: String,
    /// The `clientMutationId` of the call.
    client_mutation_id: Option<String>,
    /// Whether an earlier call with the same idempotency key did the work. If true, this call changed nothing, and its
    /// objects are in their present state.
    replayed: bool,
}

/// The result of `ingestAlert` or `ingestAlerts`.
#[derive(SimpleObject)]
pub struct IngestPayload {
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
    /// The end of the log after the mutation.
    position: String,
    /// The `clientMutationId` of the call.
    client_mutation_id: Option<String>,
    /// Whether an earlier call with the same idempotency key did the work. If true, this call changed nothing, and its
    /// objects are in their present state.
    replayed: bool,
}

/// The result of `updateAlert`.
#[derive(SimpleObject)]
pub struct AlertPayload {
    /// The alert after the mutation.
    alert: Alert,
    /// The end of the log after the mutation.
    position: String,
    /// The `clientMutationId` of the call.
    client_mutation_id: Option<String>,
    /// Whether an earlier call with the same idempotency key did the work. If true, this call changed nothing, and its
    /// objects are in their present state.
    replayed: bool,
}

/// The result of `upsertUser`.
#[derive(SimpleObject)]
pub struct UserPayload {
    /// The user after the mutation.
    user: User,
    /// The `clientMutationId` of the call.
    client_mutation_id: Option<String>,
    /// Whether an earlier call with the same idempotency key did the work. If true, this call changed nothing, and its
    /// objects are in their present state.
    replayed: bool,
}

/// The result of a mutation on a group.
#[derive(SimpleObject)]
pub struct GroupPayload {
    /// The group after the mutation.
    group: Group,
    /// The `clientMutationId` of the call.
    client_mutation_id: Option<String>,
    /// Whether an earlier call with the same idempotency key did the work. If true, this call changed nothing, and its
    /// objects are in their present state.
    replayed: bool,
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

impl IncidentPayload {
    /// Builds the payload from the outcome of the command.
    pub fn new(ctx: &Context<'_>, outcome: Outcome, call: Call) -> Result<Self> {
        let view = View::fresh(ctx)?;
        Ok(Self {
            incident: Incident::new(view.clone(), outcome.incident),
            changed: outcome.changed,
            alerts: ChangedAlerts { view: view.clone(), ids: outcome.alerts },
            comment: outcome.comment.map(|comment| Comment { view: view.clone(), comment }),
            position: outcome.position.to_string(),
            client_mutation_id: call.client_mutation_id,
            replayed: outcome.replayed,
        })
    }
}

impl CommentPayload {
    /// Builds the payload from the outcome of the command.
    pub fn new(ctx: &Context<'_>, outcome: Outcome, call: Call) -> Result<Self> {
        let view = View::fresh(ctx)?;
        let comment = outcome.comment.ok_or_else(|| Error::fault("answering about a comment", "there is none"))?;
        Ok(Self {
            comment: Comment { view: view.clone(), comment },
            incident: Incident::new(view, outcome.incident),
            changed: outcome.changed,
            position: outcome.position.to_string(),
            client_mutation_id: call.client_mutation_id,
            replayed: outcome.replayed,
        })
    }
}

impl GroupPayload {
    /// Builds the payload from the outcome of the command.
    pub fn new(ctx: &Context<'_>, did: Did<DomainGroup>, call: Call) -> Result<Self> {
        let group = Group { group: did.done, view: View::fresh(ctx)? };
        Ok(Self { group, client_mutation_id: call.client_mutation_id, replayed: did.replayed })
    }
}

impl DeleteIncidentPayload {
    /// Builds the payload from the outcome of the command.
    pub fn new(ctx: &Context<'_>, outcome: Outcome, call: Call) -> Result<Self> {
        let view = View::fresh(ctx)?;
        Ok(Self {
            deleted_id: global_id(outcome.incident.id),
            alerts: ChangedAlerts { view, ids: outcome.alerts },
            position: outcome.position.to_string(),
            client_mutation_id: call.client_mutation_id,
            replayed: outcome.replayed,
        })
    }
}

impl IngestPayload {
    /// Builds the payload from the outcome of the command.
    pub fn new(ctx: &Context<'_>, ingested: Ingested, call: Call) -> Result<Self> {
        let view = View::fresh(ctx)?;
        let correlations = ingested.correlations.into_iter();
        Ok(Self {
            correlations: correlations.map(|correlated| Correlation::new(&view, correlated)).collect(),
            alerts: ingested.alerts.into_iter().map(|alert| Alert::new(view.clone(), alert)).collect(),
            created: ingested.created,
            updated: ingested.updated,
            unchanged: ingested.unchanged,
            incident: ingested.incident.map(|incident| Incident::new(view, incident)),
            position: ingested.position.to_string(),
            client_mutation_id: call.client_mutation_id,
            replayed: ingested.replayed,
        })
    }
}

impl AlertPayload {
    /// Builds the payload from the outcome of the command.
    pub fn new(ctx: &Context<'_>, outcome: AlertOutcome, call: Call) -> Result<Self> {
        let AlertOutcome { alert, position, replayed, .. } = outcome;
        let (alert, position) = (Alert::new(View::fresh(ctx)?, alert), position.to_string());
        Ok(Self { alert, position, client_mutation_id: call.client_mutation_id, replayed })
    }
}

impl UserPayload {
    /// Builds the payload from the outcome of the command.
    pub fn new(did: Did<DomainUser>, call: Call) -> Self {
        Self { user: User(did.done), client_mutation_id: call.client_mutation_id, replayed: did.replayed }
    }
}
