//! The answers of mutations: what was done, where the log ends after it, and what the client called it.

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

/// What a mutation on an incident did.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct IncidentPayload {
    /// The incident after it.
    incident: Incident,
    /// Whether anything changed: what already holds makes no change.
    changed: bool,
    #[graphql(skip)]
    alerts: ChangedAlerts,
    /// The comment that it wrote.
    comment: Option<Comment>,
    /// The end of the log after it: a read with this `minPosition` shows it.
    position: String,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    replayed: bool,
}

/// What deleting an incident did.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct DeleteIncidentPayload {
    /// The incident that is gone.
    deleted_id: async_graphql::ID,
    #[graphql(skip)]
    alerts: ChangedAlerts,
    /// The end of the log after it.
    position: String,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    replayed: bool,
}

/// What a mutation on a comment did.
#[derive(SimpleObject)]
pub struct CommentPayload {
    /// The comment after it.
    comment: Comment,
    /// The incident it is written on.
    incident: Incident,
    /// Whether anything changed.
    changed: bool,
    /// The end of the log after it.
    position: String,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    replayed: bool,
}

/// What an ingest did.
#[derive(SimpleObject)]
pub struct IngestPayload {
    /// Every alert of the batch as it stands, in the batch's order, each once.
    alerts: Vec<Alert>,
    /// How many are new.
    created: usize,
    /// How many were known and now say something else.
    updated: usize,
    /// How many were known and say the same.
    unchanged: usize,
    /// The incident that they went into; null where that are several.
    incident: Option<Incident>,
    /// Where each alert is now and why, in the batch's order, where they were to be correlated; else none.
    correlations: Vec<Correlation>,
    /// The end of the log after it.
    position: String,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    replayed: bool,
}

/// What a mutation on an alert did.
#[derive(SimpleObject)]
pub struct AlertPayload {
    /// The alert after it.
    alert: Alert,
    /// The end of the log after it.
    position: String,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    replayed: bool,
}

/// What a mutation on a user did.
#[derive(SimpleObject)]
pub struct UserPayload {
    /// The user after it.
    user: User,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    replayed: bool,
}

/// What a mutation on a group did.
#[derive(SimpleObject)]
pub struct GroupPayload {
    /// The group after it.
    group: Group,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
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
    /// The alerts that the command changed, as they stand when the answer is made: those that came, those that left, and those that
    /// got the owner or the status of the incident. Ascending by id.
    async fn alerts(&self) -> Result<Vec<Alert>> {
        self.alerts.read().await
    }
}

#[ComplexObject]
impl DeleteIncidentPayload {
    /// The alerts that belong to no incident now, as they stand when the answer is made. Ascending by id.
    async fn alerts(&self) -> Result<Vec<Alert>> {
        self.alerts.read().await
    }
}

impl IncidentPayload {
    /// What the command answers.
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
    /// What the command answers.
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
    /// What the command answers.
    pub fn new(ctx: &Context<'_>, did: Did<DomainGroup>, call: Call) -> Result<Self> {
        let group = Group { group: did.done, view: View::fresh(ctx)? };
        Ok(Self { group, client_mutation_id: call.client_mutation_id, replayed: did.replayed })
    }
}

impl DeleteIncidentPayload {
    /// What the command answers.
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
    /// What the command answers.
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
    /// What the command answers.
    pub fn new(ctx: &Context<'_>, outcome: AlertOutcome, call: Call) -> Result<Self> {
        let AlertOutcome { alert, position, replayed, .. } = outcome;
        let (alert, position) = (Alert::new(View::fresh(ctx)?, alert), position.to_string());
        Ok(Self { alert, position, client_mutation_id: call.client_mutation_id, replayed })
    }
}

impl UserPayload {
    /// What the command answers.
    pub fn new(did: Did<DomainUser>, call: Call) -> Self {
        Self { user: User(did.done), client_mutation_id: call.client_mutation_id, replayed: did.replayed }
    }
}
