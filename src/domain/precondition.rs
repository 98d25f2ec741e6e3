//! Preconditions by field. A caller states the version that it knows; a write is refused only if a later change set the
//! same field.
//!
//! Tags, comments and links commute, so two callers may always add theirs.

use serde_json::{Value, json};

use super::account::{ActorImage, Owner};
use super::change::{AlertDelta, Change, Entry, EntryKind};
use super::incident::Incident;
use super::queue::IncidentText;
use super::{AlertId, Error, Result};

/// The most changes that a conflict names, the newest. A caller that missed more reads the log.
pub const CHANGES_NAMED_MAX: usize = 10;

/// A field of an incident whose writes do not commute, so that `expectedVersion` guards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardedField {
    /// The title.
    Title,
    /// The description.
    Description,
    /// The severity that a person set.
    Severity,
    /// The status.
    Status,
    /// The note of the resolution.
    ResolutionNote,
    /// The classification.
    Classification,
    /// The owner.
    Owner,
    /// The stated times of the activity.
    Activity,
    /// Whether the incident is deleted.
    Deletion,
}

impl GuardedField {
    /// All guarded fields.
    pub const ALL: [Self; 9] = [
        Self::Title,
        Self::Description,
        Self::Severity,
        Self::Status,
        Self::ResolutionNote,
        Self::Classification,
        Self::Owner,
        Self::Activity,
        Self::Deletion,
    ];

    /// Returns the guarded field that entries of this kind set. Returns `None` if `expectedVersion` does not guard the
    /// field of these entries.
    pub fn of(kind: EntryKind) -> Option<Self> {
        match kind {
            EntryKind::Title => Some(Self::Title),
            EntryKind::Description => Some(Self::Description),
            EntryKind::Severity => Some(Self::Severity),
            EntryKind::Status => Some(Self::Status),
            EntryKind::ResolutionNote => Some(Self::ResolutionNote),
            EntryKind::Classification => Some(Self::Classification),
            EntryKind::Owner => Some(Self::Owner),
            EntryKind::Activity => Some(Self::Activity),
            EntryKind::Deleted | EntryKind::Restored => Some(Self::Deletion),
            EntryKind::Created
            | EntryKind::Tags
            | EntryKind::Comment
            | EntryKind::AlertsLinked
            | EntryKind::AlertsUnlinked
            | EntryKind::AlertsChanged
            | EntryKind::MergedInto
            | EntryKind::Merged
            | EntryKind::MergeUndone
            | EntryKind::Bookmark
            | EntryKind::AlertReported
            | EntryKind::AlertFreed => None,
        }
    }

    /// Returns the kinds of the entries that tell a new value of this field.
    pub fn kinds(self) -> &'static [EntryKind] {
        match self {
            Self::Title => &[EntryKind::Title],
            Self::Description => &[EntryKind::Description],
            Self::Severity => &[EntryKind::Severity],
            Self::Status => &[EntryKind::Status],
            Self::ResolutionNote => &[EntryKind::ResolutionNote],
            Self::Classification => &[EntryKind::Classification],
            Self::Owner => &[EntryKind::Owner],
            Self::Activity => &[EntryKind::Activity],
            Self::Deletion => &[EntryKind::Deleted, EntryKind::Restored],
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Description => "description",
            Self::Severity => "severity",
            Self::Status => "status",
            Self::ResolutionNote => "resolution note",
            Self::Classification => "classification",
            Self::Owner => "owner",
            Self::Activity => "times of activity",
            Self::Deletion => "deletion",
        }
    }
}

/// A field that a later change set, with the kind of the entry that tells it and the values before and after.
struct TouchedField<'a> {
    change: &'a Change,
    field: GuardedField,
    kind: EntryKind,
    from: Value,
    to: Value,
}

impl<'a> TouchedField<'a> {
    /// Returns the field that an entry of this kind tells, if it is one of `fields`.
    fn among(fields: &[GuardedField], change: &'a Change, kind: EntryKind, (from, to): (Value, Value)) -> Option<Self> {
        let field = GuardedField::of(kind).filter(|field| fields.contains(field))?;
        Some(Self { change, field, kind, from, to })
    }

    /// Returns what the change did to the field, in words.
    fn told(&self) -> String {
        match self.kind {
            EntryKind::Deleted => "deleted it".to_owned(),
            EntryKind::Restored => "restored it".to_owned(),
            _ => format!("set the {} from {} to {}", self.field.word(), shown(&self.from), shown(&self.to)),
        }
    }
}

/// Refuses a version that the incident has not reached.
pub fn reached(incident: &Incident, expected: u64) -> Result<()> {
    if expected <= incident.version {
        return Ok(());
    }
    let message = format!("INC-{} is at version {} yet", incident.number, incident.version);
    Err(Error::invalid("expectedVersion", message))
}

/// Refuses a write to `fields` of an incident if a change after version `expected` set one of them. `since` are the
/// changes after that version, oldest first.
pub fn unchanged_since(incident: &Incident, expected: u64, fields: &[GuardedField], since: &[Change]) -> Result<()> {
    let touched = since.iter().flat_map(|change| {
        let entries = change.body.entries.iter();
        entries.filter_map(move |entry| {
            TouchedField::among(fields, change, entry.kind(), from_to(entry).unwrap_or_default())
        })
    });
    refuse(&format!("INC-{}", incident.number), expected, &touched.collect::<Vec<_>>())
}

/// Refuses a version beyond the version of the incident that holds the alert. The alert may have come from another
/// incident, which had that version.
pub fn held_by(holder: &Incident, expected: u64) -> Result<()> {
    if expected <= holder.version {
        return Ok(());
    }
    let message = format!("the alert is in INC-{}, which is at version {} yet", holder.number, holder.version);
    let now = json!({ "incident": holder.id.to_string(), "version": holder.version });
    Err(Error::taken("expectedVersion", message, now))
}

/// Returns the refusal of a version with too many later changes to read.
pub fn too_long_ago(holder: &Incident, expected: u64) -> Error {
    let message =
        format!("too much has changed in INC-{} since version {expected}: read the alert again", holder.number);
    Error::taken("expectedVersion", message, json!({ "version": holder.version }))
}

/// Refuses a write to `fields` of an alert like [`unchanged_since`]. The log of the incident that holds the alert has
/// its changes. Also refuses if the alert came to that incident after `expected`.
pub fn alert_unchanged_since(
    alert: AlertId,
    holder: &Incident,
    expected: u64,
    fields: &[GuardedField],
    since: &[Change],
) -> Result<()> {
    let came = since.iter().find(|change| {
        let comes = |entry: &Entry| matches!(entry, Entry::AlertsLinked { alerts, .. } if alerts.contains(&alert));
        change.body.entries.iter().any(comes)
    });
    if let Some(change) = came {
        let message = format!("the alert came to INC-{} after version {expected}: read it again", holder.number);
        let now = json!({ "incident": holder.id.to_string(), "version": change.version() });
        return Err(Error::taken("expectedVersion", message, now));
    }
    let touched = since.iter().flat_map(|change| {
        let deltas = change.body.entries.iter().filter_map(|entry| match entry {
            Entry::AlertsChanged { alerts } => alerts.iter().find(|delta| delta.alert == alert),
            _ => None,
        });
        deltas.flat_map(of_alert).filter_map(move |(kind, values)| TouchedField::among(fields, change, kind, values))
    });
    refuse("the alert", expected, &touched.collect::<Vec<_>>())
}

fn refuse(what: &str, expected: u64, touched: &[TouchedField<'_>]) -> Result<()> {
    let Some(last) = touched.last() else { return Ok(()) };
    let by = account_of(&last.change.body.actor).unwrap_or("the desk");
    let message = format!("{what} was changed since version {expected}: {by} {}", last.told());
    let newest = &touched[touched.len().saturating_sub(CHANGES_NAMED_MAX)..];
    let changes = newest.iter().map(|touched| named(touched.change, touched.kind, &touched.from, &touched.to));
    let changes: Vec<Value> = changes.collect();
    let version = touched.iter().map(|touched| touched.change.version()).max();
    Err(Error::taken("expectedVersion", message, json!({ "version": version, "changes": changes })))
}

/// Returns the entries of a change as `extensions.now.changes` names them: one item for each entry.
pub(super) fn named_entries(change: &Change) -> impl Iterator<Item = Value> {
    change.body.entries.iter().map(move |entry| {
        let (from, to) = from_to(entry).unwrap_or_default();
        named(change, entry.kind(), &from, &to)
    })
}

/// Returns an item of `extensions.now.changes`. Every conflict that names changes names them in this form.
fn named(change: &Change, field: EntryKind, from: &Value, to: &Value) -> Value {
    let body = &change.body;
    json!({
        "incident": change.incident().to_string(), "number": body.row.number, "version": change.version(),
        "at": body.at, "actor": account_of(&body.actor), "field": field, "from": from, "to": to,
    })
}

/// Returns the account id of an actor; `None` for the desk itself.
fn account_of(actor: &ActorImage) -> Option<&str> {
    match actor {
        ActorImage::User { account, .. } => Some(account),
        ActorImage::System => None,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns the values before and after an entry; `None` if the entry does not replace one value by another.
fn from_to(entry: &Entry) -> Option<(Value, Value)> {
    Some(match entry {
        Entry::Title { before, after, .. } => (text(before.as_ref()), text(Some(after))),
        Entry::Description { before, after } | Entry::ResolutionNote { before, after } => {
            (text(before.as_ref()), text(after.as_ref()))
        }
        Entry::Severity { before, after, .. } => (json!(before), json!(after)),
        Entry::Status { before, after } => (json!(before), json!(after)),
        Entry::Classification { before, after } => (json!(before), json!(after)),
        Entry::Owner { before, after } => (account(before.as_ref()), account(after.as_ref())),
        Entry::Activity { first_before, first_after, last_before, last_after } => {
            (json!([first_before, last_before]), json!([first_after, last_after]))
        }
        Entry::Created
        | Entry::Tags { .. }
        | Entry::Comment { .. }
        | Entry::AlertsLinked { .. }
        | Entry::AlertsUnlinked { .. }
        | Entry::AlertsChanged { .. }
        | Entry::Deleted
        | Entry::Restored
        | Entry::MergedInto { .. }
        | Entry::Merged { .. }
        | Entry::MergeUndone { .. }
        | Entry::Bookmark { .. }
        | Entry::AlertReported { .. }
        | Entry::AlertFreed { .. } => return None,
    })
}

fn of_alert(delta: &AlertDelta) -> impl Iterator<Item = (EntryKind, (Value, Value))> {
    let status = delta.status.map(|(from, to)| (EntryKind::Status, (json!(from), json!(to))));
    let owner = delta.owner.map(|(from, to)| (EntryKind::Owner, (json!(from), json!(to))));
    let pair = delta.classification.map(|(from, to)| (EntryKind::Classification, (json!(from), json!(to))));
    status.into_iter().chain(owner).chain(pair)
}

fn account(owner: Option<&Owner>) -> Value {
    json!(owner.map(|owner| &owner.account))
}

/// Returns a short text as it is, and of a long text only its length, because a conflict must not carry a megabyte.
fn text(text: Option<&IncidentText>) -> Value {
    match text {
        None => Value::Null,
        Some(IncidentText::Inline(text)) => json!(text),
        Some(IncidentText::Stored { chars, .. }) => json!(format!("a text of {chars} characters")),
    }
}
