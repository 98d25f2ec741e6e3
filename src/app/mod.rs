//! The commands, which are the only writers. Each command is one method, one transaction and one answer.

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
use crate::realtime::{Hub, RealtimeLimits, relay};
use crate::storage::{Objects, Store};

/// The desk, which all transports and importers use.
#[derive(Clone)]
pub struct App {
    /// The database.
    pub store: Store,
    /// The live feed of committed changes.
    pub hub: Arc<Hub>,
    /// The source of time and of new ids.
    pub clock: Clock,
    /// The signals between the workers and the followers of bulk jobs.
    pub jobs: Arc<Jobs>,
    /// The policies that the operator has set.
    pub policies: Policies,
    /// The store of attachment bytes. There is no store until [`App::with_objects`] sets one.
    pub objects: Objects,
    /// The limits that the uploads of this node share.
    pub uploads: Uploads,
}

/// The context of a command: its caller, time, cause and name. Every command has this form.
#[derive(Clone, Debug)]
pub struct Command {
    /// The caller; `None` for the desk itself.
    pub actor: Option<Actor>,
    /// The instant of the command's effects. An importer gives the instant of its record.
    pub at: Instant,
    /// The cause of the changes.
    pub cause: Cause,
    /// The id that the client chose for its mutation. Items of streams and the answer repeat it.
    pub client_mutation_id: Option<String>,
    /// The key under which the client retries the command if it does not know whether the command was done.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// How often the desk removes old data. The data is kept for a day or more, so an hour more does not matter.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

impl App {
    /// Records the present length of the log, and raises the floor of the streams to the end of the log `age` ago.
    /// Positions below the floor get `resync(BELOW_FLOOR)`; the changes themselves stay.
    pub async fn move_floor(&self, age: chrono::Duration) -> Result<()> {
        let now = self.clock.now();
        self.store.transact(|tx| async move { tx.move_floor(now, now - age).await }).await?;
        Ok(())
    }

    /// Deletes data whose time is over: outcomes under idempotency keys, and bulk jobs that have ended.
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

    /// Removes old data every hour, in an endless loop: raises the floor of the streams to `age` ago, deletes old
    /// outcomes and jobs, and updates the statistics of SQLite.
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

    /// Opens the desk on a database: migrates the schema, creates the local manager, and starts the relay. No policy is
    /// set. The relay runs until its handle is aborted or the process ends.
    ///
    /// Refuses a database that `generate` left incomplete.
    pub async fn open(store: Store, ring: RealtimeLimits, clock: Clock) -> Result<(Self, JoinHandle<()>)> {
        let store = store.timed_by(clock.clone());
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
    /// Creates the command of a mutation by a caller.
    pub fn new(actor: Actor, at: Instant, mutation: &str) -> Self {
        let cause = Cause { kind: CauseKind::Command, name: mutation.to_owned(), job: None };
        Self { actor: Some(actor), at, cause, client_mutation_id: None, idempotency_key: None }
    }

    /// Creates a command of the desk itself.
    pub fn system(at: Instant, cause: Cause) -> Self {
        Self { actor: None, at, cause, client_mutation_id: None, idempotency_key: None }
    }

    /// Returns this command at an instant that is not before the last change of these incidents and alerts. This is its
    /// own instant, or the newest of theirs if the clock went back or another node's clock is ahead. So one change has
    /// one instant, and no change is before the change that it follows.
    ///
    /// The alerts do not move the instant of an import: the import states when an incident was created, and its alerts
    /// may be younger.
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

    /// Returns the actor as changes store it.
    pub fn actor_image(&self) -> ActorImage {
        self.actor.as_ref().map_or(ActorImage::System, Actor::image)
    }

    /// Refuses a caller whose role is below `least`. The desk itself may do everything.
    pub fn require(&self, least: Role, what: &str) -> Result<()> {
        self.actor.as_ref().map_or(Ok(()), |actor| actor.require(least, what))
    }
}
