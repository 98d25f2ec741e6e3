//! One incident carried out in memory, from its first alert to its last change: its state, its rows and its log. A command on
//! a desk does the same in its transaction (`app/incident.rs`), and both ask the domain.

use std::collections::{BTreeSet, HashMap};

use crate::app::Command;
use crate::app::incident::{IncidentEdit, OwnerChoice};
use crate::app::reported::reported;
use crate::domain::account::{Owner, OwnerId};
use crate::domain::alert::{Alert, AlertDraft, AlertStatus, Settled};
use crate::domain::alert_log::{AlertBody, AlertStanding};
use crate::domain::change::{AlertDelta, AlertImage, Body, CommentAction, Entry, entries_between};
use crate::domain::comment::Comment;
use crate::domain::incident::{AlertSummary, Incident, TextField};
use crate::domain::propagation::AlertState;
use crate::domain::queue::sha256_hex;
use crate::domain::{AlertId, Error, IncidentId, Instant, Result, TransactionId};
use crate::storage::Whole;

/// Something that happens on a desk from its beginning to its end.
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
    /// The transaction.
    pub transaction: TransactionId,
    /// Alerts that come in, and into the incident.
    pub alerts: Vec<(AlertId, AlertDraft)>,
    /// What is asked for beside that: fields, an owner by its id, a comment with an id.
    pub edit: IncidentEdit,
}

/// An alert that no incident holds.
#[derive(Clone, Debug)]
pub struct LoneAlert {
    /// The command: its actor, its time and its name.
    pub command: Command,
    /// The transaction.
    pub transaction: TransactionId,
    /// Its id.
    pub id: AlertId,
    /// What its provider says.
    pub draft: AlertDraft,
}

/// A change, and the rows that are written with it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) told: Told,
    /// With the first change of an incident, the incident as it stands after its last one.
    pub(super) whole: Option<Box<Whole>>,
    /// With the change of an alert that no incident holds, the alert and its raw payload.
    pub(super) alert: Option<(Alert, Option<String>)>,
}

/// What the log is told.
#[derive(Debug)]
pub(super) enum Told {
    Incident(Box<Body>),
    Alert(Box<AlertBody>),
}

impl Told {
    pub(super) fn at(&self) -> Instant {
        match self {
            Self::Incident(body) => body.at,
            Self::Alert(body) => body.at,
        }
    }
}

impl Case {
    /// Everything that it comes to. `number` is the last number of an incident, and goes up by one where this is one.
    pub(super) fn run(self, number: &mut i64, owners: &HashMap<OwnerId, Owner>) -> Result<Vec<Step>> {
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
    fn run(self) -> Step {
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
        Step { told: Told::Alert(Box::new(body)), whole: None, alert: Some((alert, raw)) }
    }
}

/// An incident on its way through its deeds.
struct Run<'a> {
    incident: Incident,
    owners: &'a HashMap<OwnerId, Owner>,
    /// Ascending by id.
    alerts: Vec<Alert>,
    /// The raw payload of each alert, and the version that brought it.
    brought: HashMap<AlertId, (Option<String>, u64)>,
    comments: Vec<Comment>,
    texts: Vec<(TextField, u64, String)>,
    told: Vec<Body>,
}

impl<'a> Run<'a> {
    fn of(incident: Incident, owners: &'a HashMap<OwnerId, Owner>) -> Self {
        let (alerts, brought) = (Vec::new(), HashMap::new());
        Self { incident, owners, alerts, brought, comments: Vec::new(), texts: Vec::new(), told: Vec::new() }
    }

    /// One command, one change: the same steps in the same order as in a transaction of the desk.
    fn carry_out(&mut self, deed: Deed) -> Result<()> {
        let Deed { command, transaction, alerts, edit } = deed;
        let (actor, at) = (command.actor_image(), command.at.max(self.incident.updated_at));
        let before = (self.incident.version > 0).then(|| self.incident.clone());
        let next = self.incident.version + 1;
        let stated = edit.patch.first_activity_at.is_some() || edit.patch.last_activity_at.is_some();
        let mut propagation = self.incident.apply(edit.patch, &actor, at)?;
        if let Some(choice) = edit.owner {
            let owner = choice.map(|choice| self.owner(choice, &command)).transpose()?;
            self.incident.assign(owner, at);
            propagation.owner = true;
        }
        let mut facts = Vec::new();
        let brings = !alerts.is_empty();
        let cause = if brings { command.ingesting().cause } else { command.cause };
        let newly = self.bring(alerts, next, at);
        if brings {
            let new = self.alerts.iter().filter(|alert| newly.contains(&alert.id));
            let states = new.map(AlertImage::from).collect();
            facts.push(Entry::AlertsLinked { alerts: newly.iter().copied().collect(), from: Vec::new(), states });
        }
        let owner = self.incident.owner.as_ref().map(|owner| owner.id);
        let deltas = propagation.deltas(owner, &newly, self.alerts.iter().map(state));
        self.follow(&deltas, next, at);
        if before.is_none() || brings || stated {
            self.incident.summarise(&AlertSummary::of(&self.alerts));
        }
        if self.incident.title.is_empty() {
            return Err(Error::invalid("title", "an incident without alerts needs a title"));
        }
        if !deltas.is_empty() {
            facts.push(Entry::AlertsChanged { alerts: deltas });
        }
        if let Some(new) = edit.comment {
            let id = new.id.ok_or_else(|| Error::invalid("comment", "a comment that is loaded has an id"))?;
            let sha256 = Some(sha256_hex(&new.body));
            facts.push(Entry::Comment { action: CommentAction::Added, comment: id, sha256, at: None });
            self.incident.comment_count += 1;
            self.comments.push(Comment {
                id,
                incident: self.incident.id,
                written_on: self.incident.id,
                version: next,
                body: new.body,
                author: actor.clone(),
                created_at: at,
                edited_at: None,
                deleted_at: None,
            });
        }
        let mut entries = entries_between(before.as_ref(), &self.incident);
        entries.extend(facts);
        if entries.is_empty() {
            return Ok(());
        }
        (self.incident.version, self.incident.updated_at) = (next, at);
        if entries.iter().any(Entry::moves_alerts) {
            self.incident.has_active_alerts = self.alerts.iter().any(|alert| alert.status != AlertStatus::Resolved);
        }
        let long = self.incident.long_texts(next).into_iter();
        self.texts.extend(long.map(|(field, text)| (field, next, text.to_owned())));
        let body = Body::between(before.as_ref(), &self.incident, entries, actor, cause)?;
        self.told.push(Body { transaction, last: true, ..body });
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

    /// Alerts come in, and into the incident.
    fn bring(&mut self, alerts: Vec<(AlertId, AlertDraft)>, version: u64, at: Instant) -> BTreeSet<AlertId> {
        let mut newly = BTreeSet::new();
        for (id, draft) in alerts {
            self.brought.insert(id, (draft.raw.clone(), version));
            let alert = Alert { incident: Some(self.incident.id), ..Alert::new(id, draft, at) };
            self.alerts.push(alert);
            newly.insert(id);
        }
        self.alerts.sort_by_key(|alert| alert.id);
        newly
    }

    /// Alerts follow their incident.
    fn follow(&mut self, deltas: &[AlertDelta], version: u64, at: Instant) {
        let deltas: HashMap<AlertId, &AlertDelta> = deltas.iter().map(|delta| (delta.alert, delta)).collect();
        for alert in &mut self.alerts {
            let Some(delta) = deltas.get(&alert.id) else { continue };
            if delta.owner.is_some() {
                alert.owner.clone_from(&self.incident.owner);
            }
            if let Some((before, after)) = delta.status {
                let resolves = after == AlertStatus::Resolved;
                alert.status = after;
                alert.resolved_at = resolves.then_some(at);
                alert.settled = resolves.then_some(Settled { version, status: before });
            }
            alert.updated_at = at;
        }
    }

    fn steps(mut self) -> Vec<Step> {
        let alerts = self.alerts.into_iter().map(|alert| {
            let (raw, since) = self.brought.remove(&alert.id).unwrap_or_default();
            (alert, raw, since)
        });
        let alerts = alerts.collect();
        let whole = Whole { incident: self.incident, alerts, comments: self.comments, texts: self.texts };
        let mut whole = Some(Box::new(whole));
        let step = |body| Step { told: Told::Incident(Box::new(body)), whole: whole.take(), alert: None };
        self.told.into_iter().map(step).collect()
    }
}

fn state(alert: &Alert) -> AlertState {
    let owner = alert.owner.as_ref().map(|owner| owner.id);
    AlertState { id: alert.id, status: alert.status, owner, settled: alert.settled }
}
