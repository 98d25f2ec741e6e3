//! The commands: the only writers. One method per command, each one transaction and one answer.

pub mod account;
pub mod alert;
mod alert_log;
pub mod attachment;
pub mod bookmark;
pub mod bulk;
mod carry;
pub mod comment;
pub mod correlation;
pub mod export;
pub mod idempotency;
pub mod incident;
pub mod key;
mod link;
pub mod load;
mod many;
pub mod merge;
mod precondition;
pub mod queue;
pub mod report;
mod reported;
pub mod shown;
pub mod together;
pub mod upload;
pub mod verify;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use self::bulk::Jobs;
use self::upload::Uploads;

use crate::domain::account::{Actor, ActorImage, Role};
use crate::domain::alert::Alert;
use crate::domain::change::{Cause, CauseKind};
use crate::domain::clock::Clock;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::incident::Incident;
use crate::domain::policy::Policies;
use crate::domain::{Instant, Result};
use crate::realtime::{Hub, RingLimits, relay};
use crate::storage::{Objects, Store};

/// The desk: what every transport and every importer drives.
#[derive(Clone)]
pub struct App {
    /// Rows.
    pub store: Store,
    /// Committed changes, live.
    pub hub: Arc<Hub>,
    /// Time and fresh ids.
    pub clock: Clock,
    /// Bulk jobs: who works on them, and who follows.
    pub jobs: Arc<Jobs>,
    /// What its operator asks for.
    pub policies: Policies,
    /// The bytes of attachments; nowhere, until the desk is given a place for them.
    pub objects: Objects,
    /// How uploads share this node.
    pub uploads: Uploads,
}

/// Who asks for a command, when, and what it is called: the same for every command.
#[derive(Clone, Debug)]
pub struct Command {
    /// The caller; none for the desk itself.
    pub actor: Option<Actor>,
    /// The instant the effects carry. An importer gives the instant of its record.
    pub at: Instant,
    /// What brought it about.
    pub cause: Cause,
    /// What the client called its mutation; echoed in items and in the answer.
    pub client_mutation_id: Option<String>,
    /// Under which the client sends it again if it does not know whether it was done.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// How often the desk tidies up: what it keeps is kept for a day or more, so an hour more or less is nothing.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

impl App {
    /// Notes how long the log is now, and moves the floor of the streams up to where it ended `age` ago. Positions below
    /// it get `resync(BELOW_FLOOR)`; the changes themselves stay.
    pub async fn move_floor(&self, age: chrono::Duration) -> Result<()> {
        let now = self.clock.now();
        self.store.transact(|tx| async move { tx.move_floor(now, now - age).await }).await?;
        Ok(())
    }

    /// Forgets what was kept for long enough: outcomes under idempotency keys, and bulk jobs that have ended.
    pub async fn forget(&self) -> Result<()> {
        let now = self.clock.now();
        self.store
            .transact(|tx| async move {
                tx.forget_outcomes(now).await?;
                tx.forget_bulk_jobs(now).await
            })
            .await?;
        Ok(())
    }

    /// Tidies up every hour, for ever: moves the floor of the streams to `age`, deletes old outcomes and jobs, and updates the
    /// statistics of SQLite.
    pub async fn keep_tidy(self, age: chrono::Duration) {
        loop {
            if let Err(error) = self.move_floor(age).await {
                tracing::warn!(%error, "the floor of the streams stays where it is");
            }
            if let Err(error) = self.forget().await {
                tracing::warn!(%error, "what is old is kept for longer");
            }
            if let Err(error) = self.store.optimize().await {
                tracing::warn!(%error, "the database plans by older statistics");
            }
            tokio::time::sleep(TIDY_EVERY).await;
        }
    }

    /// Opens the desk on a database: brings the schema up to date, makes the local manager, starts the relay. No policy is
    /// set. The relay runs until its handle is aborted or the process ends.
    ///
    /// Refused: a desk that `generate` left incomplete.
    pub async fn open(store: Store, ring: RingLimits, clock: Clock) -> Result<(Self, JoinHandle<()>)> {
        store.migrate().await?;
        load::refuse_incomplete(&store).await?;
        let hub = Arc::new(Hub::new(ring));
        let (jobs, policies, objects) = (Arc::default(), Policies::default(), Objects::default());
        let app = Self { store, hub, clock, jobs, policies, objects, uploads: Uploads::default() };
        app.ensure_local_manager().await?;
        let start = relay::begin(&app.store, &app.hub).await?;
        let relay = tokio::spawn(relay::run(app.store.clone(), app.hub.clone(), start));
        Ok((app, relay))
    }
}

impl Command {
    /// A mutation by a caller.
    pub fn new(actor: Actor, at: Instant, mutation: &str) -> Self {
        let cause = Cause { kind: CauseKind::Command, name: mutation.to_owned(), job: None };
        Self { actor: Some(actor), at, cause, client_mutation_id: None, idempotency_key: None }
    }

    /// Something the desk does itself.
    pub fn system(at: Instant, cause: Cause) -> Self {
        Self { actor: None, at, cause, client_mutation_id: None, idempotency_key: None }
    }

    /// The same command at an instant that all of what it changes can carry: its own, or, where the clock has gone back or
    /// another node's is ahead, the newest of what these incidents and alerts have had. So one change has one instant, and
    /// none is before the one that it follows.
    ///
    /// An import is not moved by its alerts: it says itself when an incident was made, and its alerts may have come later.
    pub(crate) fn not_before<'a>(
        &self,
        incidents: impl IntoIterator<Item = &'a Incident>,
        alerts: impl IntoIterator<Item = &'a Alert>,
    ) -> Self {
        let mut at = incidents.into_iter().map(|incident| incident.updated_at).fold(self.at, Instant::max);
        if self.cause.kind != CauseKind::Import {
            at = alerts.into_iter().map(|alert| alert.updated_at).fold(at, Instant::max);
        }
        Self { at, ..self.clone() }
    }

    /// The actor as a change keeps it.
    pub fn actor_image(&self) -> ActorImage {
        self.actor.as_ref().map_or(ActorImage::System, Actor::image)
    }

    /// Refuses a caller whose role is below `least`; the desk itself may do everything.
    pub fn require(&self, least: Role, what: &str) -> Result<()> {
        self.actor.as_ref().map_or(Ok(()), |actor| actor.require(least, what))
    }
}
