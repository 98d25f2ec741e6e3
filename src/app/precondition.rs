//! Checks that the fields a command writes are still as its caller knows them.

use super::alert::AlertEdit;
use super::incident::{CommandWork, IncidentEdit};
use crate::domain::change::{Change, EntryKind};
use crate::domain::incident::{Incident, Patch, Status};
use crate::domain::precondition::{self, GuardedField};
use crate::domain::{AlertId, Error, IncidentId, Result};
use crate::storage::{ActivityFilter, Span};

/// The most changes of a field since the known version that are read. A conflict names the newest of them.
const CHANGES_READ_MAX: u64 = 100;

/// The most changes of alerts since the known version that are read. No index finds the changes of one alert, and an
/// incident of a noisy feed has thousands. A caller that missed this many has to read again.
const ALERT_CHANGES_READ_MAX: u64 = 1_000;

impl IncidentEdit {
    /// Returns the fields of the incident that the edit writes and that do not commute.
    fn fields(&self, incident: &Incident) -> Vec<GuardedField> {
        // Every field of the patch is named, so that a new field is guarded or known to commute.
        let Patch {
            title,
            description,
            severity,
            status,
            note,
            classification,
            first_activity_at,
            last_activity_at,
            add_tags: _,
            remove_tags: _,
        } = &self.patch;
        let reopens_for_alerts = self.reopen && !self.link.is_empty();
        let opens = reopens_for_alerts || status.is_some_and(|status| status != Status::Resolved);
        // Reopening removes the resolution with its note.
        let clears_note = opens && incident.status == Status::Resolved;
        let writes = |field: &GuardedField| match field {
            GuardedField::Title => title.is_some(),
            GuardedField::Description => description.is_some(),
            GuardedField::Severity => severity.is_some(),
            GuardedField::Status => status.is_some() || reopens_for_alerts,
            GuardedField::ResolutionNote => note.is_some() || clears_note,
            GuardedField::Classification => classification.is_some(),
            GuardedField::Owner => self.owner.is_some(),
            GuardedField::Activity => first_activity_at.is_some() || last_activity_at.is_some(),
            // No edit deletes or restores an incident.
            GuardedField::Deletion => false,
        };
        GuardedField::ALL.into_iter().filter(writes).collect()
    }
}

impl AlertEdit {
    fn fields(&self) -> Vec<GuardedField> {
        let Self { status, classification, owner, expected_version: _ } = self;
        let writes = [
            (GuardedField::Status, status.is_some()),
            (GuardedField::Classification, classification.is_some()),
            (GuardedField::Owner, owner.is_some()),
        ];
        writes.into_iter().filter_map(|(field, written)| written.then_some(field)).collect()
    }
}

impl CommandWork<'_> {
    /// Refuses an edit if a field that it writes has changed since the version that the caller knows. The incident is
    /// locked.
    pub(super) async fn expect(&self, incident: &Incident, edit: &IncidentEdit) -> Result<()> {
        self.expect_fields(incident, edit.expected_version, &edit.fields(incident)).await
    }

    /// Checks like [`CommandWork::expect`], for the given fields.
    pub(super) async fn expect_fields(
        &self,
        incident: &Incident,
        expected: Option<u64>,
        fields: &[GuardedField],
    ) -> Result<()> {
        let Some(expected) = expected else { return Ok(()) };
        precondition::reached(incident, expected)?;
        let kinds = fields.iter().flat_map(|field| field.kinds()).copied().collect();
        let since = self.since(incident.id, expected, kinds, CHANGES_READ_MAX).await?;
        precondition::unchanged_since(incident, expected, fields, &since)
    }

    /// Refuses an edit of an alert likewise. The version is that of the incident that holds the alert.
    pub(super) async fn expect_alert(&self, id: AlertId, holder: Option<&Incident>, edit: &AlertEdit) -> Result<()> {
        let Some(expected) = edit.expected_version else { return Ok(()) };
        let Some(holder) = holder else {
            return Err(Error::invalid("expectedVersion", "an alert of no incident has no version"));
        };
        precondition::held_by(holder, expected)?;
        let kinds = vec![EntryKind::AlertsChanged, EntryKind::AlertsLinked];
        let since = self.since(holder.id, expected, kinds, ALERT_CHANGES_READ_MAX).await?;
        if since.len() as u64 == ALERT_CHANGES_READ_MAX {
            return Err(precondition::too_long_ago(holder, expected));
        }
        precondition::alert_unchanged_since(id, holder, expected, &edit.fields(), &since)
    }

    /// Returns the newest changes of these kinds after a version, oldest first.
    async fn since(
        &self,
        incident: IncidentId,
        version: u64,
        kinds: Vec<EntryKind>,
        limit: u64,
    ) -> Result<Vec<Change>> {
        let filter = ActivityFilter { kinds: Some(kinds), ..ActivityFilter::default() };
        let newest = Span { after: Some(version), before: None, from_end: true, limit };
        self.tx.activity(incident, &filter, newest).await
    }
}
