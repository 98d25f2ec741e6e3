//! Alerts that find their incident: how they are to, and where each one came.

use async_graphql::{Enum, InputObject, SimpleObject};

use super::alert::{Alert, Entity};
use super::context::View;
use super::incident::Incident;
use crate::app::correlation::{Correlated, Outcome};
use crate::domain::Result;
use crate::domain::correlation::{Correlation as How, HOLDERS, KINDS, WINDOW_MINUTES};
use crate::domain::entity::EntityKind;

/// How alerts find the open incidents that they belong to. Each alert that no incident holds joins the incident, `NEW` or
/// `ACTIVE`, that shares most entities with it within the window; of several the one with the latest activity, of several the
/// one with the lowest number. Where there is none it opens one. Alerts of one batch that share an entity within the window
/// go together.
#[derive(Clone, Debug, InputObject)]
pub struct CorrelateInput {
    /// How far an alert's activity may lie from the incident's, or from that of another alert, in minutes: 1 to 43,200, which
    /// is 30 days. An alert that tells no time was active when it came in.
    #[graphql(default_with = "WINDOW_MINUTES")]
    window: i32,
    /// The kinds of entities that count: those of which one value is one thing or one person, where nothing is said. An IP
    /// address, a URL or a domain is in the alerts of too many who have nothing to do with each other (a proxy, a resolver, a
    /// sign-in page), a file name, a process or a registry key on too many machines: they count where they are named. What
    /// every machine has (`SYSTEM`, `root`, `localhost`, the hash of an empty file) never counts.
    #[graphql(default_with = "KINDS.to_vec()")]
    kinds: Vec<EntityKind>,
    /// An entity that more open incidents hold than so many does not count: it does not say which of them is meant. 1 to 100.
    #[graphql(default_with = "HOLDERS")]
    holders: i32,
}

impl CorrelateInput {
    /// How the desk is to correlate.
    pub fn read(&self) -> Result<How> {
        How::parse(self.window, self.kinds.clone(), self.holders).map_err(|error| error.below("into.correlate"))
    }
}

/// How an alert came to the incident that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(name = "CorrelationOutcome")]
pub enum CorrelationOutcome {
    /// An incident held it before, and still does.
    Stayed,
    /// It joined an incident that was open.
    Joined,
    /// It opened an incident, alone or with others of its batch.
    Opened,
}

/// Where an alert of a batch is now, and why.
#[derive(SimpleObject)]
pub struct Correlation {
    /// The alert.
    alert: Alert,
    /// The incident that holds it, after the whole batch.
    incident: Incident,
    /// How it came there.
    outcome: CorrelationOutcome,
    /// Whether it opened the incident.
    opened: bool,
    /// What it shares with the alerts that were in the incident, or came into it with it: empty for one that stayed, and for
    /// one that opened an incident alone.
    shared_entities: Vec<Entity>,
}

impl Correlation {
    /// Where an alert is, read through a view.
    pub fn new(view: &View, correlated: Correlated) -> Self {
        Self {
            alert: Alert::new(view.clone(), correlated.alert),
            incident: Incident::new(view.clone(), correlated.incident),
            outcome: match correlated.outcome {
                Outcome::Stayed => CorrelationOutcome::Stayed,
                Outcome::Joined => CorrelationOutcome::Joined,
                Outcome::Opened => CorrelationOutcome::Opened,
            },
            opened: correlated.outcome == Outcome::Opened,
            shared_entities: correlated.shared.into_iter().map(Entity::from).collect(),
        }
    }
}
