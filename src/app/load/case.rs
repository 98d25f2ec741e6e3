//! One incident of a desk that is loaded, from its first alert to its last change: its state, its rows and its log. It
//! runs in memory (`app/carry.rs`).

use std::collections::HashMap;

use crate::app::Command;
use crate::app::carry::{Act, Carried};
use crate::app::incident::{IncidentEdit, OwnerChoice};
use crate::app::link::Reopening;
use crate::app::reported::reported;
use crate::domain::account::{Owner, OwnerId};
use crate::domain::alert::{Alert, AlertDraft};
use crate::domain::alert_log::{AlertBody, AlertStanding};
use crate::domain::change::ChangeBody;
use crate::domain::incident::Incident;
use crate::domain::{AlertId, Error, IncidentId, Instant, Result, TransactionId};
use crate::storage::WholeIncident;

/// One incident or alert of a desk, with everything that ever happens to it.
#[derive(Clone, Debug)]
pub enum Case {
    /// An incident and its commands: the first command creates the incident. The times of the commands ascend.
    Incident(IncidentId, Vec<Deed>),
    /// An alert that no incident holds.
    Alert(Box<LoneAlert>),
}

/// A command on an incident.
#[derive(Clone, Debug)]
pub struct Deed {
    /// The command: its actor, its time and its name.
    pub command: Command,
    /// The transaction that the change names.
    pub transaction: TransactionId,
    /// Alerts that are ingested into the incident.
    pub alerts: Vec<(AlertId, AlertDraft)>,
    /// The other changes: fields, an owner by its id, a comment with an id.
    pub edit: IncidentEdit,
}

/// An alert that no incident holds.
#[derive(Clone, Debug)]
pub struct LoneAlert {
    /// The command: its actor, its time and its name.
    pub command: Command,
    /// The transaction that the change names.
    pub transaction: TransactionId,
    /// The id of the alert.
    pub id: AlertId,
    /// The provider's report.
    pub draft: AlertDraft,
}

/// A change, and the rows that are written with it.
#[derive(Debug)]
pub(super) struct CaseStep {
    pub(super) told: LoggedChange,
    /// The incident in its final state, with the first change of the incident.
    pub(super) whole: Option<Box<WholeIncident>>,
    /// The alert and its raw payload, with the change of an alert that no incident holds.
    pub(super) alert: Option<(Alert, Option<String>)>,
}

/// A change for the log.
#[derive(Debug)]
pub(super) enum LoggedChange {
    Incident(Box<ChangeBody>),
    Alert(Box<AlertBody>),
}

impl LoggedChange {
    pub(super) fn at(&self) -> Instant {
        match self {
            Self::Incident(body) => body.at,
            Self::Alert(body) => body.at,
        }
    }
}

impl Case {
    /// Runs the case. `number` is the last used incident number; an incident takes the next one.
    pub(super) fn run(self, number: &mut i64, owners: &HashMap<OwnerId, Owner>) -> Result<Vec<CaseStep>> {
        match self {
            Self::Alert(alert) => Ok(vec![alert.run()]),
            Self::Incident(id, deeds) => {
                *number += 1;
                let at = deeds.first().map_or(Instant::default(), |deed| deed.command.at);
                let mut run = Run::of(Incident::new(id, *number, at), owners);
                deeds.into_iter().try_for_each(|deed| run.carry_out(deed))?;
                Ok(run.steps())
            }
        }
    }
}

impl LoneAlert {
    fn run(self) -> CaseStep {
        let (at, actor) = (self.command.at, self.command.actor_image());
        let raw = self.draft.raw.clone();
        let alert = Alert::new(self.id, self.draft, at);
        let body = AlertBody {
            transaction: self.transaction,
            last: true,
            at,
            actor,
            cause: self.command.ingesting().cause,
            client_mutation_id: None,
            alert: alert.id,
            version: 1,
            entries: vec![reported(&alert)],
            state: AlertStanding::from(&alert),
            former: None,
        };
        CaseStep { told: LoggedChange::Alert(Box::new(body)), whole: None, alert: Some((alert, raw)) }
    }
}

/// An incident in memory while its commands run.
struct Run<'a> {
    carried: Carried,
    owners: &'a HashMap<OwnerId, Owner>,
    /// The raw payload of each alert.
    raws: HashMap<AlertId, Option<String>>,
    told: Vec<ChangeBody>,
}

impl<'a> Run<'a> {
    fn of(incident: Incident, owners: &'a HashMap<OwnerId, Owner>) -> Self {
        Self { carried: Carried::of(incident, Vec::new()), owners, raws: HashMap::new(), told: Vec::new() }
    }

    fn carry_out(&mut self, deed: Deed) -> Result<()> {
        let Deed { command, transaction, alerts, edit } = deed;
        let owner = match edit.owner {
            Some(choice) => Some(choice.map(|choice| self.owner(choice, &command)).transpose()?),
            None => None,
        };
        let command = if alerts.is_empty() { command } else { command.ingesting() };
        let at = command.at.max(self.carried.incident.updated_at);
        let mut link = Vec::with_capacity(alerts.len());
        for (id, draft) in alerts {
            self.raws.insert(id, draft.raw.clone());
            link.push(Alert::new(id, draft, at));
        }
        let comment = edit.comment.map(|new| match new.id {
            Some(id) => Ok((id, new.body)),
            None => Err(Error::invalid("comment", "a comment that is loaded has an id")),
        });
        let (comment, reopening) = (comment.transpose()?, Reopening::Refused);
        let act = Act { command, patch: edit.patch, owner, link, reopening, comment };
        let body = self.carried.carry_out(act, &|_, _| Ok(()))?;
        self.told.extend(body.map(|body| ChangeBody { transaction, last: true, ..body }));
        Ok(())
    }

    fn owner(&self, choice: OwnerChoice, command: &Command) -> Result<Owner> {
        let id = match (choice, &command.actor) {
            (OwnerChoice::Id(id), _) => id,
            (OwnerChoice::Me, Some(actor)) => OwnerId::User(actor.user.id),
            (OwnerChoice::Me, None) => return Err(Error::invalid("owner", "the desk itself owns nothing")),
        };
        self.owners.get(&id).cloned().ok_or_else(|| Error::not_found("user or group", id))
    }

    fn steps(self) -> Vec<CaseStep> {
        let Self { carried, mut raws, told, .. } = self;
        let Carried { incident, alerts, linked, comments, texts } = carried;
        let since: HashMap<AlertId, u64> = linked.into_iter().collect();
        let alerts = alerts.into_iter().map(|alert| {
            let (raw, since) = (raws.remove(&alert.id).flatten(), since.get(&alert.id).copied().unwrap_or_default());
            (alert, raw, since)
        });
        let mut whole = Some(Box::new(WholeIncident { incident, alerts: alerts.collect(), comments, texts }));
        let step = |body| CaseStep { told: LoggedChange::Incident(Box::new(body)), whole: whole.take(), alert: None };
        told.into_iter().map(step).collect()
    }
}
