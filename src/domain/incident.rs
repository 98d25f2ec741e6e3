//! Incidents: the cases that analysts work, their states, and the commands that are allowed on them.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::account::{ActorImage, Owner};
use super::classification::Classification;
use super::queue::{IncidentText, QueueRow};
use super::tag::{TAGS_PER_INCIDENT_MAX, Tag};
use super::{Error, IncidentId, Instant, Result, text, title};

/// The longest description, in characters (Microsoft, "Create your own incidents", step 4).
pub const DESCRIPTION_CHARS_MAX: usize = 5_000;

/// The longest resolution note, in characters: as long as a comment, because the log shows both side by side.
pub const NOTE_CHARS_MAX: usize = 30_000;

/// The severity of an incident or alert. From mild to severe: `INFORMATIONAL`, `LOW`, `MEDIUM`, `HIGH`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// For information: nothing has to be done.
    Informational = 1,
    /// Low severity.
    Low = 2,
    /// Medium severity, the default (Microsoft, "Create your own incidents", step 4).
    Medium = 3,
    /// High severity.
    High = 4,
}

impl Severity {
    /// The severity of an incident that has neither alerts nor an override.
    pub const DEFAULT: Self = Self::Medium;
}

/// The status of an incident.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "IncidentStatus")]
pub enum Status {
    /// The work has not begun (Sentinel: New; Defender: Active). The incident may have an owner: an assignment does not
    /// change the status.
    New = 1,
    /// The work has begun (Sentinel: Active; Defender: In progress). The incident may have no owner.
    Active = 2,
    /// The work is done (Sentinel: Closed).
    Resolved = 3,
    /// The incident was merged into another incident.
    Redirected = 4,
}

/// The resolution of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The note that explains the resolution, if there is one.
    pub note: Option<String>,
    /// The version that set the note.
    pub note_version: u64,
    /// The time of the resolution.
    pub at: Instant,
    /// The user who resolved the incident, named as of that time, or the desk itself.
    pub by: ActorImage,
}

/// The case that an analyst works, in its present state.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// The id of the incident.
    pub id: IncidentId,
    /// The number in `INC-<number>`: sequential, never reused.
    pub number: i64,
    /// How many changes the incident has had.
    pub version: u64,
    /// The title of the incident.
    pub title: String,
    /// The version that set the title.
    pub title_version: u64,
    /// Whether the desk generated the title, and so may generate it again.
    pub title_generated: bool,
    /// The description of the incident.
    pub description: Option<String>,
    /// The version that set the description.
    pub description_version: u64,
    /// The severity that a person set.
    pub severity_override: Option<Severity>,
    /// The highest severity of the alerts; medium if there are no alerts.
    pub computed_severity: Severity,
    /// The status of the incident.
    pub status: Status,
    /// The classification, if there is one.
    pub classification: Option<Classification>,
    /// The user or group that owns the incident.
    pub owner: Option<Owner>,
    /// The tags, ordered by kind and key.
    pub tags: Vec<Tag>,
    /// The resolution, while the incident is resolved.
    pub resolution: Option<Resolution>,
    /// How many alerts the incident holds.
    pub alert_count: u64,
    /// How many comments the incident has, without deleted comments.
    pub comment_count: u64,
    /// Whether the incident holds an alert that is not resolved, as of the last change of its alerts or status.
    pub has_active_alerts: bool,
    /// The products of the alerts, sorted.
    pub products: Vec<String>,
    /// The providers of the alerts, sorted.
    pub providers: Vec<String>,
    /// The time of creation.
    pub created_at: Instant,
    /// The time of the last change.
    pub updated_at: Instant,
    /// The time of the first activity, as a person stated it.
    pub stated_first_activity_at: Option<Instant>,
    /// The time of the last activity, as a person stated it.
    pub stated_last_activity_at: Option<Instant>,
    /// The first activity: the earlier of the stated time and the earliest time of the alerts.
    pub first_activity_at: Option<Instant>,
    /// The last activity: the later of the stated time and the latest time of the alerts.
    pub last_activity_at: Option<Instant>,
    /// The time when the incident first had an owner.
    pub first_assigned_at: Option<Instant>,
    /// The incident that this incident was merged into.
    pub redirected_to: Option<IncidentId>,
    /// The time of deletion.
    pub deleted_at: Option<Instant>,
}

/// The changes that one command makes to an incident's own fields, all or nothing. Absent fields stay. The owner is not
/// in here, because the caller's choice has to be looked up first ([`Incident::assign`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Patch {
    /// A new title, written by a person.
    pub title: Option<String>,
    /// A new description; `Some(None)` clears it.
    pub description: Option<Option<String>>,
    /// A severity override; `Some(None)` returns to the computed severity.
    pub severity: Option<Option<Severity>>,
    /// A new status.
    pub status: Option<Status>,
    /// The resolution note; `Some(None)` clears it.
    pub note: Option<Option<String>>,
    /// A classification; `Some(None)` clears it.
    pub classification: Option<Option<Classification>>,
    /// Tags to add.
    pub add_tags: Vec<Tag>,
    /// Tags to remove.
    pub remove_tags: Vec<Tag>,
    /// The first activity, as a person states it; `Some(None)` clears it.
    pub first_activity_at: Option<Option<Instant>>,
    /// The last activity, as a person states it; `Some(None)` clears it.
    pub last_activity_at: Option<Option<Instant>>,
}

/// The changes that a change of an incident causes on its alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Propagation {
    /// Set the incident's owner on every linked alert.
    pub owner: bool,
    /// Resolve every linked alert that is not resolved.
    pub resolve: bool,
    /// Return the alerts that the last resolution resolved to their former status.
    pub reopen: bool,
}

/// The aggregated values of an incident's alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertSummary {
    /// The input of a generated title; also has the count of alerts and the products.
    pub digest: title::AlertDigest,
    /// The highest severity of the alerts.
    pub severity: Option<Severity>,
    /// The distinct providers, sorted.
    pub providers: Vec<String>,
    /// The earliest first activity.
    pub first_activity_at: Option<Instant>,
    /// The latest last activity.
    pub last_activity_at: Option<Instant>,
}

/// Reads a description of at most 5,000 characters. Returns `None` for a blank description.
pub fn parse_description(path: &str, description: &str) -> Result<Option<String>> {
    text::at_most(path, description, DESCRIPTION_CHARS_MAX)?;
    Ok((!text::is_blank(description)).then(|| description.to_owned()))
}

/// Reads a resolution note: trimmed, at most 30,000 characters. Returns `None` for a blank note.
pub fn parse_note(path: &str, note: &str) -> Result<Option<String>> {
    text::at_most(path, note, NOTE_CHARS_MAX)?;
    Ok((!text::is_blank(note)).then(|| note.trim().to_owned()))
}

/// Reads the number of an incident from a folded text that is a reference and nothing else: `inc-511` or `inc 511`.
pub fn referenced_number(folded: &str) -> Option<i64> {
    let digits = folded.trim().strip_prefix("inc")?.strip_prefix(['-', ' '])?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl Incident {
    /// Creates an incident without alerts, at version 0: its creation is not yet a change.
    pub fn new(id: IncidentId, number: i64, now: Instant) -> Self {
        Self {
            id,
            number,
            version: 0,
            title: String::new(),
            title_version: 1,
            title_generated: true,
            description: None,
            description_version: 1,
            severity_override: None,
            computed_severity: Severity::DEFAULT,
            status: Status::New,
            classification: None,
            owner: None,
            tags: Vec::new(),
            resolution: None,
            alert_count: 0,
            comment_count: 0,
            has_active_alerts: false,
            products: Vec::new(),
            providers: Vec::new(),
            created_at: now,
            updated_at: now,
            stated_first_activity_at: None,
            stated_last_activity_at: None,
            first_activity_at: None,
            last_activity_at: None,
            first_assigned_at: None,
            redirected_to: None,
            deleted_at: None,
        }
    }

    /// Returns whether the incident is open: `NEW` or `ACTIVE`, and not deleted.
    pub fn is_open(&self) -> bool {
        matches!(self.status, Status::New | Status::Active) && self.deleted_at.is_none()
    }

    /// Returns the severity that a person set, or else the computed severity.
    pub fn severity(&self) -> Severity {
        self.severity_override.unwrap_or(self.computed_severity)
    }

    /// Refuses a write if the incident was merged into another incident.
    pub fn writable(&self) -> Result<()> {
        match self.redirected_to {
            Some(target) => Err(Error::conflict(
                format!("INC-{} was merged into another incident, write to that one", self.number),
                json!({ "redirectedTo": target.to_string() }),
            )),
            None => Ok(()),
        }
    }

    /// Applies a patch, all or nothing, and returns the changes that its alerts need.
    ///
    /// Refuses an incident that was merged into another, a status change to or from `REDIRECTED`, a note for an
    /// incident that is not resolved, more than 100 tags, and a last activity before the first.
    pub fn apply(&mut self, patch: Patch, by: &ActorImage, now: Instant) -> Result<Propagation> {
        self.writable()?;
        let mut propagation = Propagation::default();
        let next = self.version + 1;
        if let Some(title) = patch.title {
            self.retitle(title);
            self.title_generated = false;
        }
        if let Some(description) = patch.description
            && description != self.description
        {
            self.description = description;
            self.description_version = next;
        }
        if let Some(severity) = patch.severity {
            self.severity_override = severity;
        }
        if let Some(status) = patch.status {
            self.move_to(status, by, now, &mut propagation)?;
        }
        if let Some(note) = patch.note {
            self.note(note, next)?;
        }
        if let Some(classification) = patch.classification {
            self.classification = classification;
        }
        self.retag(patch.add_tags, &patch.remove_tags)?;
        self.state_activity(patch.first_activity_at, patch.last_activity_at)?;
        Ok(propagation)
    }

    /// Changes the status: `NEW` ↔ `ACTIVE` freely, to `RESOLVED` = resolve, away from `RESOLVED` = reopen. Only a
    /// merge and its undo use `REDIRECTED`.
    fn move_to(&mut self, status: Status, by: &ActorImage, now: Instant, effects: &mut Propagation) -> Result<()> {
        match (self.status, status) {
            // The resolution stays as it was. An alert that has become active since is resolved too.
            (from, to) if from == to => effects.resolve = to == Status::Resolved,
            (_, Status::Redirected) | (Status::Redirected, _) => {
                return Err(Error::invalid(
                    "status",
                    "an incident is redirected only by a merge, and back by its undo",
                ));
            }
            (_, Status::Resolved) => {
                self.status = Status::Resolved;
                self.resolution = Some(Resolution { note: None, note_version: 0, at: now, by: by.clone() });
                effects.resolve = true;
            }
            (Status::Resolved, open) => {
                self.status = open;
                self.resolution = None;
                effects.reopen = true;
            }
            (_, open) => self.status = open,
        }
        Ok(())
    }

    fn note(&mut self, note: Option<String>, version: u64) -> Result<()> {
        let Some(resolution) = &mut self.resolution else {
            if note.is_none() {
                return Ok(());
            }
            return Err(Error::invalid("note", "a resolution note belongs to a resolved incident"));
        };
        if resolution.note != note {
            resolution.note = note;
            resolution.note_version = version;
        }
        Ok(())
    }

    /// Sets or clears the owner. The first owner sets the time of first assignment.
    pub fn assign(&mut self, owner: Option<Owner>, now: Instant) {
        if owner.is_some() && self.first_assigned_at.is_none() {
            self.first_assigned_at = Some(now);
        }
        self.owner = owner;
    }

    fn retag(&mut self, add: Vec<Tag>, remove: &[Tag]) -> Result<()> {
        self.tags.retain(|tag| !remove.iter().any(|gone| gone.kind == tag.kind && gone.key() == tag.key()));
        for tag in add {
            if !self.tags.iter().any(|held| held.kind == tag.kind && held.key() == tag.key()) {
                self.tags.push(tag);
            }
        }
        self.tags.sort_by_cached_key(|tag| (tag.kind, tag.key()));
        if self.tags.len() > TAGS_PER_INCIDENT_MAX {
            let message = format!("an incident has at most {TAGS_PER_INCIDENT_MAX} tags");
            return Err(Error::limit("addTags", message, TAGS_PER_INCIDENT_MAX));
        }
        Ok(())
    }

    fn state_activity(&mut self, first: Option<Option<Instant>>, last: Option<Option<Instant>>) -> Result<()> {
        if first.is_none() && last.is_none() {
            return Ok(());
        }
        self.stated_first_activity_at = first.unwrap_or(self.stated_first_activity_at);
        self.stated_last_activity_at = last.unwrap_or(self.stated_last_activity_at);
        match (self.stated_first_activity_at, self.stated_last_activity_at) {
            (Some(first), Some(last)) if first > last => {
                Err(Error::invalid("lastActivityAt", "the last activity is before the first"))
            }
            _ => Ok(()),
        }
    }

    /// Takes over the aggregated values of the alerts: count, severity, products, times and, unless a person wrote it,
    /// the title.
    pub fn summarise(&mut self, summary: &AlertSummary) {
        self.add_up(summary);
        if self.title_generated
            && let Some(title) = title::generate(&summary.digest)
        {
            self.retitle(title);
        }
    }

    /// Takes over the same values as [`Incident::summarise`], except the title.
    pub(super) fn add_up(&mut self, summary: &AlertSummary) {
        let earliest = |a: Option<Instant>, b: Option<Instant>| a.into_iter().chain(b).min();
        let latest = |a: Option<Instant>, b: Option<Instant>| a.into_iter().chain(b).max();
        self.alert_count = summary.digest.alerts;
        self.computed_severity = summary.severity.unwrap_or(Severity::DEFAULT);
        self.products.clone_from(&summary.digest.products);
        self.providers.clone_from(&summary.providers);
        self.first_activity_at = earliest(self.stated_first_activity_at, summary.first_activity_at);
        self.last_activity_at = latest(self.stated_last_activity_at, summary.last_activity_at);
    }

    /// Sets the title as of the incident's next version.
    pub(super) fn retitle(&mut self, title: String) {
        if title != self.title {
            self.title = title;
            self.title_version = self.version + 1;
        }
    }

    /// Returns the queue row that changes of this incident carry.
    pub fn queue_row(&self) -> QueueRow {
        let description = self.description.as_ref().map(|text| IncidentText::of(text, self.description_version));
        QueueRow { description, ..self.row_to_show() }
    }

    /// Returns the queue row that answers show. It lacks the description, which no row shows and which is costly to
    /// hash.
    pub fn row_to_show(&self) -> QueueRow {
        QueueRow {
            id: self.id,
            number: self.number,
            version: self.version,
            title: IncidentText::of(&self.title, self.title_version),
            description: None,
            severity_override: self.severity_override,
            computed_severity: self.computed_severity,
            status: self.status,
            classification: self.classification,
            owner: self.owner.clone(),
            tags: self.tags.clone(),
            alert_count: self.alert_count,
            comment_count: self.comment_count,
            has_active_alerts: self.has_active_alerts,
            products: self.products.clone(),
            providers: self.providers.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            first_activity_at: self.first_activity_at,
            last_activity_at: self.last_activity_at,
            first_assigned_at: self.first_assigned_at,
            resolved_at: self.resolution.as_ref().map(|resolution| resolution.at),
            redirected_to: self.redirected_to,
            deleted: self.deleted_at.is_some(),
        }
    }

    /// Returns each text that version `version` set and that is too long for a change to carry, with its field.
    pub fn long_texts(&self, version: u64) -> Vec<(TextField, &str)> {
        let note = self.resolution.as_ref().and_then(|r| Some((r.note_version, r.note.as_deref()?)));
        [
            (TextField::Title, self.title_version, Some(self.title.as_str())),
            (TextField::Description, self.description_version, self.description.as_deref()),
            (TextField::Note, note.map_or(0, |(version, _)| version), note.map(|(_, text)| text)),
        ]
        .into_iter()
        .filter_map(|(field, set_by, text)| Some((field, set_by, text?)))
        .filter(|(_, set_by, text)| *set_by == version && IncidentText::of(text, *set_by).stored_version().is_some())
        .map(|(field, _, text)| (field, text))
        .collect()
    }
}

/// A text field of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TextField {
    /// The title.
    Title,
    /// The description.
    Description,
    /// The resolution note.
    Note,
}
