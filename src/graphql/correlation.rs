//! Correlation of ingested alerts with open incidents: its input, and the result for each alert.

use async_graphql::{Enum, InputObject, SimpleObject};

use super::alert::{Alert, Entity};
use super::context::View;
use super::incident::Incident;
use crate::app::correlation::{Correlated, Placement};
use crate::domain::Result;
use crate::domain::correlation::{Correlation as How, HOLDERS, KINDS, WINDOW_MINUTES};
use crate::domain::entity::EntityKind;

/// How ingested alerts are assigned to incidents by the entities that they share. Alerts of one batch that share an
/// entity within the window form a group. A group joins the `NEW` or `ACTIVE` incident that shares the most entities
/// with it within the window; on a tie, the incident with the latest activity, then the lowest number. If there is no
/// such incident, the group opens a new one. Alerts that already belong to an incident stay there.
#[derive(Clone, Debug, InputObject)]
pub(super) struct CorrelateInput {
    /// The window in minutes: how far the activity of an alert may lie from the activity of the incident, or of another
    /// alert. 1 to 43,200, which is 30 days. An alert without times counts as active when it came in.
    #[graphql(default_with = "WINDOW_MINUTES")]
    window_minutes: i32,
    /// The kinds of entities that count. The default holds only kinds whose value names one thing or one person. IP
    /// addresses, URLs and domains (a proxy, a sign-in page), and files, processes and registry keys occur in many
    /// unrelated alerts, so they count only if they are named here. Values that every machine has (`SYSTEM`, `root`,
    /// `localhost`, the hash of an empty file) never count.
    #[graphql(default_with = "KINDS.to_vec()")]
    kinds: Vec<EntityKind>,
    /// An entity counts only if at most this many open incidents hold it: 1 to 100.
    #[graphql(default_with = "HOLDERS")]
    holders: i32,
}

impl CorrelateInput {
    /// Reads the settings of the correlation. Refuses values that are out of bounds.
    pub(super) fn read(&self) -> Result<How> {
        How::parse(self.window_minutes, self.kinds.clone(), self.holders).map_err(|error| error.below("into.correlate"))
    }
}

/// How an alert came to its incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(name = "CorrelationOutcome")]
pub enum CorrelationOutcome {
    /// The alert belonged to the incident before.
    Stayed,
    /// The alert joined an open incident.
    Joined,
    /// The alert opened an incident, alone or with other alerts of its batch.
    Opened,
}

/// The incident that an alert of a batch belongs to now, and why.
#[derive(SimpleObject)]
pub(super) struct Correlation {
    /// The alert after the batch.
    alert: Alert,
    /// The incident that the alert belongs to, after the whole batch.
    incident: Incident,
    /// How the alert came to the incident.
    outcome: CorrelationOutcome,
    /// The entities that the alert shares with other alerts of the incident. Empty if the alert stayed in its incident,
    /// or opened an incident alone.
    shared_entities: Vec<Entity>,
}

impl Correlation {
    /// Builds the result for one alert, read through `view`.
    pub(super) fn new(view: &View, correlated: Correlated) -> Self {
        Self {
            alert: Alert::new(view.clone(), correlated.alert),
            incident: Incident::new(view.clone(), correlated.incident),
            outcome: match correlated.outcome {
                Placement::Stayed => CorrelationOutcome::Stayed,
                Placement::Joined => CorrelationOutcome::Joined,
                Placement::Opened => CorrelationOutcome::Opened,
            },
            shared_entities: correlated.shared.into_iter().map(Entity::from).collect(),
        }
    }
}
