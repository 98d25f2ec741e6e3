//! Applies records through the app's commands: objects that exist stay as they are, and missing objects are created.
//!
//! Invariant: the same records twice leave the log unchanged. Ids derived from the records identify incidents and
//! comments, and digests identify reports of alerts. Updates are identified by their time, which is required: an update
//! that is not later than its incident's last change was applied before.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::batches::BatchRoom;
use super::odd::Became;
use super::record::{
    AlertRecord, AlertRef, CommentRecord, IncidentRecord, Person, Record, Remark, TagRecord, UpdateRecord, incident_id,
};
use super::{Bad, Format, ImportCounts, Odd};
use crate::app::alert::AlertEdit;
use crate::app::incident::{IncidentEdit, NewComment, OwnerChoice};
use crate::app::report::ToldReport;
use crate::app::together::Together;
use crate::app::{App, Command};
use crate::domain::account::{Actor, OwnerId};
use crate::domain::alert::{AlertDraft, AlertKey, AlertStatus, Report};
use crate::domain::change::{Cause, CauseKind};
use crate::domain::incident::{Incident, Patch, Severity, Status, parse_description, parse_note};
use crate::domain::instant::kept;
use crate::domain::tag::Tag;
use crate::domain::{AlertId, Code, Error, IncidentId, Instant, Result, comment, title};

/// How many merges are followed from an incident to the incident that holds its alerts and comments now.
const REDIRECTS_MAX: usize = 16;

/// The outcome of some records.
#[derive(Debug, Default)]
pub struct AppliedRecords {
    /// The number of records that were applied or refused.
    pub records: usize,
    /// The records that were refused.
    pub refused: Vec<Bad>,
    /// The odd parts of the records that were applied.
    pub odd: Vec<Odd>,
}

impl AppliedRecords {
    /// Makes the outcome of one refused record.
    pub fn refused(bad: Bad) -> Self {
        Self { records: 1, refused: vec![bad], odd: Vec::new() }
    }

    fn done(odd: Vec<Odd>) -> Self {
        Self { records: 1, refused: Vec::new(), odd }
    }

    pub(super) fn add(&mut self, mut other: Self) {
        self.records += other.records;
        self.refused.append(&mut other.refused);
        self.odd.append(&mut other.odd);
    }
}

/// Applies records one after the other. `batches.rs` decides which of them share a transaction.
pub struct Applier<'a> {
    pub(super) app: &'a App,
    pub(super) format: Format,
    pub(super) counts: ImportCounts,
    /// The transaction that the commands share; `None` gives each command a transaction of its own.
    pub(super) open: Option<Together>,
    pub(super) actors: HashMap<String, Actor>,
    pub(super) owners: HashMap<String, OwnerId>,
    /// The time of the last update, and the incidents that this import has updated at exactly that time. So a second
    /// update at the same instant is new, but an update from an earlier run is not.
    pub(super) instant: (Instant, HashSet<IncidentId>),
    /// The odd parts of the record that is being applied.
    pub(super) odd: Vec<Odd>,
    /// Whether the first refused record ends the import.
    pub(super) strict: bool,
    /// The limits of the next batch.
    pub(super) room: BatchRoom,
}

impl<'a> Applier<'a> {
    /// Makes an applier for `app`. The cause of every change is an import of this format. In strict mode it stops at
    /// the first refused record.
    pub fn new(app: &'a App, format: Format, strict: bool) -> Self {
        Self {
            app,
            format,
            counts: ImportCounts::default(),
            open: None,
            actors: HashMap::new(),
            owners: HashMap::new(),
            instant: (Instant::default(), HashSet::new()),
            odd: Vec::new(),
            strict,
            room: BatchRoom::default(),
        }
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> &ImportCounts {
        &self.counts
    }

    /// Applies one record. An error is a fault and ends the import; inside a batch it ends the batch.
    pub(super) async fn apply_one(&mut self, line: u64, record: &Record) -> Result<AppliedRecords> {
        self.odd.clear();
        let outcome = match record.check(self.app.clock.now()) {
            Err(error) => Err(error),
            Ok(()) => match record {
                Record::User(user) => self.user(user).await,
                Record::Group(group) => self.group(group).await,
                Record::Alert(alert) => self.alert(alert).await,
                Record::Incident(incident) => Box::pin(self.incident(incident)).await,
                Record::Comment(comment) => Box::pin(self.comment(comment)).await,
                Record::Update(update) => Box::pin(self.update(update)).await,
            },
        };
        refusal(line, outcome, std::mem::take(&mut self.odd))
    }

    async fn alert(&mut self, alert: &AlertRecord) -> Result<()> {
        let told = self.told(alert)?;
        let ingested = self.app.ingest_told(&self.system(self.app.clock.now()), vec![told]).await?;
        self.counts.alerts_created += ingested.created as u64;
        self.counts.alerts_updated += ingested.updated as u64;
        self.counts.alerts_unchanged += ingested.unchanged as u64;
        Ok(())
    }

    pub(super) fn told(&self, alert: &AlertRecord) -> Result<ToldReport> {
        let draft = alert.draft()?;
        let all = serde_json::to_vec(alert).map_err(|error| Error::fault("digesting a report", error))?;
        let at = self.time(alert.when());
        Ok(ToldReport { draft, digest: Sha256::digest(all).to_vec(), told_at: alert.at.map(kept), at })
    }

    /// Creates an incident step by step: it is made, commented and moved to its recorded status. An existing incident
    /// stays as it is, unless it is only a placeholder for other records, or its import was interrupted.
    async fn incident(&mut self, record: &IncidentRecord) -> Result<()> {
        let id = incident_id(&record.source, &record.external_id);
        let mut steps = self.steps(record).await?;
        let existing = self.find_incident(id).await?;
        let mut skip = 0;
        if let Some(existing) = &existing {
            let is_stub = existing.title == stub_title(&record.source, &record.external_id);
            skip = if is_stub { 0 } else { steps.len().min(usize::try_from(existing.version).unwrap_or(usize::MAX)) };
            if skip == steps.len() || existing.deleted_at.is_some() || existing.redirected_to.is_some() {
                self.counts.incidents_present += 1;
                return Ok(());
            }
        }
        let mut is_there = existing.is_some();
        let elsewhere = self.elsewhere(id, &record.alerts).await?;
        for (command, mut edit) in steps.drain(skip..) {
            edit.link.retain(|alert| !elsewhere.contains(alert));
            let commented = u64::from(edit.comment.is_some());
            if is_there {
                self.update_incident(&command, id, edit).await?
            } else {
                self.create_incident(&command, id, edit).await?
            };
            self.counts.comments += commented;
            is_there = true;
        }
        self.touched(id, self.time(record.created_at));
        match existing {
            Some(_) => self.counts.incidents_updated += 1,
            None => self.counts.incidents_created += 1,
        }
        Ok(())
    }

    /// Returns the steps that make an incident, in the order of time. Each step is one change.
    async fn steps(&mut self, record: &IncidentRecord) -> Result<Vec<(Command, IncidentEdit)>> {
        let created = self.time(record.created_at);
        let settled = record.resolved_at.or(record.updated_at).map_or(created, |at| kept(at).max(created));
        let making = self.command(record.by.as_ref(), created).await?;
        let patch = Patch {
            title: record.title.clone().map(|text| title::parse("title", text)).transpose()?,
            description: record
                .description
                .as_deref()
                .map(|text| parse_description("description", text))
                .transpose()?,
            severity: record.severity.map(Some),
            add_tags: tags(&record.tags)?,
            first_activity_at: record.first_activity_at.map(|at| Some(kept(at))),
            last_activity_at: record.last_activity_at.map(|at| Some(kept(at))),
            ..Patch::default()
        };
        let link = self.alerts(&record.alerts, created).await?;
        let first = IncidentEdit { patch, link, ..IncidentEdit::default() };
        let note = record.note.as_deref().map_or(Ok(None), |text| parse_note("note", text))?;
        let patch = Patch {
            status: record.status.filter(|status| *status != Status::New),
            classification: record.classification.map(Some),
            note: note.map(Some),
            ..Patch::default()
        };
        let state = IncidentEdit {
            patch,
            owner: match &record.owner {
                Some(owner) => Some(Some(OwnerChoice::Id(self.owner(owner, created).await?))),
                None => None,
            },
            ..IncidentEdit::default()
        };
        let mut steps = vec![(making, first)];
        match steps.first_mut() {
            Some((_, first)) if settled == created => join(first, state),
            _ if state == IncidentEdit::default() => {}
            _ => steps.push((self.command(record.by.as_ref(), settled).await?, state)),
        }
        for remark in &record.comments {
            let at = remark.at.map_or(created, |at| kept(at).max(created));
            let edit = remark_edit(remark, &record.source, &record.external_id)?;
            steps.push((self.command(remark.by.as_ref(), at).await?, edit));
        }
        // The sort is stable: the creation stays first among the steps of its instant.
        steps.sort_by_key(|(command, _)| command.at);
        Ok(steps)
    }

    async fn comment(&mut self, record: &CommentRecord) -> Result<()> {
        let at = self.time(record.at);
        let remark = remark_of_comment(record);
        let edit = remark_edit(&remark, &record.source, &record.external_id)?;
        let Some(incident) = self.spoken_of(&record.source, &record.external_id, at).await? else {
            return Err(unknown_incident(&record.source, &record.external_id));
        };
        let command = self.command(remark.by.as_ref(), at).await?;
        let outcome = self.update_incident(&command, incident.id, edit).await?;
        if outcome.changed {
            self.counts.comments += 1;
        } else {
            self.counts.comments_present += 1;
        }
        self.touched(incident.id, at);
        Ok(())
    }

    async fn update(&mut self, record: &UpdateRecord) -> Result<()> {
        let at = self.time(record.at);
        let Some(incident) = self.spoken_of(&record.source, &record.external_id, at).await? else {
            return Err(unknown_incident(&record.source, &record.external_id));
        };
        let only_adds = UpdateRecord {
            at: record.at,
            by: record.by.clone(),
            link: record.link.clone(),
            source: record.source.clone(),
            external_id: record.external_id.clone(),
            ..UpdateRecord::default()
        } == *record;
        if !only_adds && record.at.is_none() {
            return Err(Error::invalid(
                "at",
                "an update says when it was made: without that the same file again repeats it",
            ));
        }
        let own = incident.id == incident_id(&record.source, &record.external_id);
        if !only_adds && own && at < incident.created_at {
            return Err(Error::invalid("at", "an update is not made before its incident (createdAt)"));
        }
        if !only_adds && self.was_applied(&incident, at) {
            self.counts.updates_present += 1;
            return Ok(());
        }
        let mut edit = self.edit(record, at).await?;
        if only_adds {
            edit.link = self.not_in(&incident, &record.link, &edit.link).await?;
        } else if !own {
            // The incident was merged since. Its earlier state is no news for the merge target.
            self.counts.updates_present += 1;
            return Ok(());
        }
        let command = self.command(record.by.as_ref(), at).await?;
        if incident.status == Status::Resolved && self.format != Format::Watchfloor {
            self.settle(&command, &edit.link).await?;
        }
        let outcome = self.update_incident(&command, incident.id, edit).await?;
        if outcome.changed {
            self.counts.updates += 1;
        } else {
            self.counts.updates_present += 1;
        }
        self.touched(incident.id, at);
        Ok(())
    }

    async fn edit(&mut self, record: &UpdateRecord, at: Instant) -> Result<IncidentEdit> {
        let remark = remark_of_update(record)
            .map(|remark| remark_edit(&remark, &record.source, &record.external_id))
            .transpose()?;
        let patch = Patch {
            title: record.title.clone().map(|text| title::parse("title", text)).transpose()?,
            description: record
                .description
                .as_deref()
                .map(|text| parse_description("description", text))
                .transpose()?,
            severity: record.severity,
            status: record.status,
            note: record.note.as_deref().map_or(Ok(None), |text| parse_note("note", text))?.map(Some),
            classification: record.classification,
            add_tags: tags(&record.add_tags)?,
            remove_tags: tags(&record.remove_tags)?,
            ..Patch::default()
        };
        Ok(IncidentEdit {
            patch,
            owner: match &record.owner {
                Some(Some(owner)) => Some(Some(OwnerChoice::Id(self.owner(owner, at).await?))),
                Some(None) => Some(None),
                None => None,
            },
            comment: remark.and_then(|edit| edit.comment),
            link: self.alerts(&record.link, at).await?,
            reopen: record.status.is_some_and(|status| status != Status::Resolved),
            ..IncidentEdit::default()
        })
    }

    /// Returns the alerts of a new incident that another incident holds. They stay there, and are reported.
    async fn elsewhere(&mut self, id: IncidentId, refs: &[AlertRef]) -> Result<Vec<AlertId>> {
        if refs.is_empty() {
            return Ok(Vec::new());
        }
        let mut held = self.find_alerts(&keys(refs)).await?;
        held.retain(|alert| alert.incident.is_some_and(|holder| holder != id));
        for alert in &held {
            let raw = format!("{} {}", alert.report.provider, alert.report.provider_alert_id);
            self.odd_part(Became::Raw, "alerts", &raw, "another incident holds this alert: it stays there".to_owned());
        }
        Ok(held.into_iter().map(|alert| alert.id).collect())
    }

    /// Returns the alerts that a link still has to add. Alerts that this incident holds are not added again, and alerts
    /// that a person has moved to another incident since stay there.
    async fn not_in(&self, incident: &Incident, refs: &[AlertRef], ids: &[AlertId]) -> Result<Vec<AlertId>> {
        let held = self.find_alerts(&keys(refs)).await?;
        let free = |id: &&AlertId| !held.iter().any(|alert| alert.id == **id && alert.incident.is_some());
        let foreign = held.iter().find(|alert| alert.incident.is_some_and(|holder| holder != incident.id));
        let own = self.format == Format::Watchfloor;
        match foreign {
            Some(alert) if own => {
                let name = format!("{} {}", alert.report.provider, alert.report.provider_alert_id);
                Err(Error::invalid("link", format!("another incident holds alert {name}")))
            }
            _ => Ok(ids.iter().filter(free).copied().collect()),
        }
    }

    /// Resolves alerts that another product lists for an incident which is already resolved. They belong to finished
    /// work and are no reason to reopen it.
    async fn settle(&self, command: &Command, ids: &[AlertId]) -> Result<()> {
        if !ids.is_empty() {
            self.only_alone()?;
        }
        for id in ids {
            let edit = AlertEdit { status: Some(AlertStatus::Resolved), ..AlertEdit::default() };
            self.app.update_alert(command, *id, edit).await?;
        }
        Ok(())
    }

    /// Returns whether an update of this time was applied before: the incident has a change of that time or later. A
    /// change of exactly that time does not count if this import made it.
    fn was_applied(&self, incident: &Incident, at: Instant) -> bool {
        let (instant, touched) = &self.instant;
        at < incident.updated_at || (at == incident.updated_at && !(*instant == at && touched.contains(&incident.id)))
    }

    fn touched(&mut self, incident: IncidentId, at: Instant) {
        if self.instant.0 != at {
            self.instant = (at, HashSet::new());
        }
        self.instant.1.insert(incident);
    }

    /// Returns the incident that a comment or update refers to. The files of other products come in any order, so an
    /// unknown incident of another product is created as a placeholder, and its title says so until its own record
    /// comes.
    async fn spoken_of(&mut self, source: &str, external_id: &str, at: Instant) -> Result<Option<Incident>> {
        let id = incident_id(source, external_id);
        let mut known = self.find_incident(id).await?;
        for _ in 0..REDIRECTS_MAX {
            let Some(target) = known.as_ref().and_then(|incident| incident.redirected_to) else { break };
            known = self.find_incident(target).await?;
        }
        if known.is_some() || self.format == Format::Watchfloor {
            return Ok(known.filter(|incident| incident.deleted_at.is_none()));
        }
        let edit = Patch { title: Some(stub_title(source, external_id)), ..Patch::default() };
        let outcome = self.create_incident(&self.system(at), id, edit.into()).await?;
        self.counts.incidents_created += 1;
        self.touched(id, at);
        Ok(Some(outcome.value))
    }

    /// Returns the ids of the named alerts. An unknown alert whose reference has a title is created.
    async fn alerts(&mut self, refs: &[AlertRef], at: Instant) -> Result<Vec<AlertId>> {
        if refs.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = keys(refs);
        let mut found = self.find_alerts(&wanted).await?;
        let held: HashSet<AlertKey> = found.iter().map(|alert| alert.report.key()).collect();
        let missing: Vec<&AlertRef> = refs.iter().filter(|name| !held.contains(&name.key())).collect();
        if !missing.is_empty() {
            let mut drafts = Vec::with_capacity(missing.len());
            for name in missing {
                let (field, raw) = ("alerts", format!("{} {}", name.provider, name.provider_alert_id));
                match placeholder(name) {
                    Ok(draft) => {
                        if name.title.is_none() {
                            let reason = format!("there is no alert {raw}: it is made, and filled in when it comes");
                            self.odd_part(Became::Assumed, field, &raw, reason);
                        }
                        drafts.push(draft);
                    }
                    Err(Error::Refused(refusal)) => self.odd_part(Became::Raw, field, &raw, refusal.message),
                    Err(fault) => return Err(fault),
                }
            }
            if !drafts.is_empty() {
                found.extend(self.make_alerts(drafts, at).await?);
            }
        }
        Ok(found.into_iter().map(|alert| alert.id).collect())
    }

    /// Reports an odd part of the record that is being applied.
    fn odd_part(&mut self, became: Became, field: &str, raw: &str, reason: String) {
        self.odd.push(Odd { line: 0, field: field.to_owned(), reason, became, raw: raw.to_owned() });
    }

    async fn command(&mut self, by: Option<&Person>, at: Instant) -> Result<Command> {
        let actor = match by {
            Some(person) => Some(self.actor(person, at).await?),
            None => None,
        };
        Ok(Command { actor, ..self.system(at) })
    }

    pub(super) fn system(&self, at: Instant) -> Command {
        Command::system(at, Cause { kind: CauseKind::Import, name: self.format.as_str().to_owned(), job: None })
    }

    pub(super) fn time(&self, at: Option<Instant>) -> Instant {
        at.map_or_else(|| self.app.clock.now(), kept)
    }
}

/// Turns a refusal into a bad record. A fault is passed on, and so is `UNAVAILABLE`: it is no fault of the record.
pub(super) fn refusal(line: u64, outcome: Result<()>, mut odd: Vec<Odd>) -> Result<AppliedRecords> {
    odd.iter_mut().for_each(|odd| odd.line = line);
    match outcome {
        Ok(()) => Ok(AppliedRecords::done(odd)),
        Err(Error::Refused(refusal)) if refusal.code != Code::Unavailable => {
            let reason = match &refusal.path {
                Some(path) => format!("{path}: {}", refusal.message),
                None => refusal.message.clone(),
            };
            Ok(AppliedRecords { odd, ..AppliedRecords::refused(Bad { line, reason }) })
        }
        Err(fault) => Err(fault),
    }
}

pub(super) fn keys(refs: &[AlertRef]) -> Vec<AlertKey> {
    refs.iter().map(AlertRef::key).collect()
}

pub(super) fn tags(records: &[TagRecord]) -> Result<Vec<Tag>> {
    records.iter().map(TagRecord::tag).collect()
}

fn join(first: &mut IncidentEdit, state: IncidentEdit) {
    let Patch { status, classification, note, .. } = state.patch;
    first.owner = state.owner;
    (first.patch.status, first.patch.classification, first.patch.note) = (status, classification, note);
}

/// Returns the comment of a comment record.
pub(super) fn remark_of_comment(record: &CommentRecord) -> Remark {
    let CommentRecord { id, body, at, by, .. } = record.clone();
    Remark { id, body, at, by }
}

/// Returns the comment of an update, by default by the same person at the same time.
pub(super) fn remark_of_update(record: &UpdateRecord) -> Option<Remark> {
    record.comment.as_ref().map(|remark| Remark {
        at: remark.at.or(record.at),
        by: remark.by.clone().or_else(|| record.by.clone()),
        ..remark.clone()
    })
}

fn remark_edit(remark: &Remark, source: &str, external_id: &str) -> Result<IncidentEdit> {
    let body = comment::parse("body", &remark.body)?;
    let id = Some(remark.comment_id(source, external_id));
    Ok(IncidentEdit { comment: Some(NewComment { id, body }), ..IncidentEdit::default() })
}

/// Makes an alert of which only the reference is known.
fn placeholder(name: &AlertRef) -> Result<AlertDraft> {
    let AlertRef { provider, provider_alert_id, title } = name;
    let title = title.clone().unwrap_or_else(|| format!("Alert {} of {}", provider_alert_id.trim(), provider.trim()));
    let report = Report {
        provider: provider.clone(),
        provider_alert_id: provider_alert_id.clone(),
        product: None,
        title,
        description: None,
        severity: Severity::DEFAULT,
        category: None,
        techniques: Vec::new(),
        first_activity_at: None,
        last_activity_at: None,
        entities: Vec::new(),
    };
    Ok(AlertDraft { report: report.checked()?, status: None, classification: None, raw: None })
}

/// Returns the title of an incident of which only the name is known.
fn stub_title(source: &str, external_id: &str) -> String {
    let name = if source == super::sentinel::SOURCE { "Microsoft Sentinel" } else { "Microsoft Defender" };
    format!("Incident {external_id} of {name}")
}

fn unknown_incident(source: &str, external_id: &str) -> Error {
    Error::invalid("externalId", format!("there is no incident {external_id} of {source}"))
}
