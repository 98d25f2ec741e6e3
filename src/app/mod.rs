//! The commands: the only writers. One method per command, each one transaction and one answer.

pub mod account;
pub mod alert;
pub mod bookmark;
pub mod comment;
pub mod incident;
mod link;
pub mod report;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::domain::account::{Actor, ActorImage, Role};
use crate::domain::change::{Cause, CauseKind};
use crate::domain::clock::Clock;
use crate::domain::{Instant, Result};
use crate::realtime::{Hub, RingLimits, relay};
use crate::storage::Store;

/// The desk: what every transport and every importer drives.
#[derive(Clone)]
pub struct App {
    /// Rows.
    pub store: Store,
    /// Committed changes, live.
    pub hub: Arc<Hub>,
    /// Time and fresh ids.
    pub clock: Clock,
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
}

/// How often the floor of the streams is moved: its age is days, so an hour more or less is nothing.
const FLOOR_EVERY: Duration = Duration::from_secs(3_600);

impl App {
    /// Notes how long the log is now, and moves the floor of the streams up to where it ended `age` ago. Positions below
    /// it get `resync(BELOW_FLOOR)`; the changes themselves stay.
    pub async fn move_floor(&self, age: chrono::Duration) -> Result<()> {
        let now = self.clock.now();
        self.store.transact(|tx| async move { tx.move_floor(now, now - age).await }).await?;
        Ok(())
    }

    /// Keeps the floor of the streams at `age`, for ever.
    pub async fn keep_floor(self, age: chrono::Duration) {
        loop {
            if let Err(error) = self.move_floor(age).await {
                tracing::warn!(%error, "the floor of the streams stays where it is");
            }
            tokio::time::sleep(FLOOR_EVERY).await;
        }
    }

    /// Opens the desk on a database: brings the schema up to date, makes the local manager, starts the relay. The relay
    /// runs until its handle is aborted or the process ends.
    pub async fn open(store: Store, ring: RingLimits, clock: Clock) -> Result<(Self, JoinHandle<()>)> {
        store.migrate().await?;
        let hub = Arc::new(Hub::new(ring));
        let app = Self { store, hub, clock };
        app.ensure_local_manager().await?;
        let start = relay::begin(&app.store, &app.hub).await?;
        let relay = tokio::spawn(relay::run(app.store.clone(), app.hub.clone(), start));
        Ok((app, relay))
    }
}

impl Command {
    /// A mutation by a caller.
    pub fn new(actor: Actor, at: Instant, mutation: &str) -> Self {
        let cause = Cause { kind: CauseKind::Command, name: mutation.to_owned() };
        Self { actor: Some(actor), at, cause, client_mutation_id: None }
    }

    /// Something the desk does itself.
    pub fn system(at: Instant, cause: Cause) -> Self {
        Self { actor: None, at, cause, client_mutation_id: None }
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
