//! Whether what a command writes is as its caller knows it.

use super::alert::AlertEdit;
use super::incident::{IncidentEdit, Work};
use crate::domain::change::{Change, EntryKind};
use crate::domain::incident::Incident;
use crate::domain::precondition::{self, FIELDS};
use crate::domain::{AlertId, Error, IncidentId, Result};
use crate::storage::{ActivityFilter, Span};

/// The most changes since the known version that are looked at: enough for the newest ones to be named.
const CHANGES_READ_MAX: u64 = 100;

impl IncidentEdit {
    /// The fields that it writes and that do not commute.
    fn fields(&self) -> Vec<EntryKind> {
        let patch = &self.patch;
        let writes = |field: &EntryKind| match field {
            EntryKind::Title => patch.title.is_some(),
            EntryKind::Description => patch.description.is_some(),
            EntryKind::Severity => patch.severity.is_some(),
            EntryKind::Status => patch.status.is_some(),
            EntryKind::ResolutionNote => patch.note.is_some(),
            EntryKind::Classification => patch.classification.is_some(),
            EntryKind::Owner => self.owner.is_some(),
            EntryKind::Activity => patch.first_activity_at.is_some() || patch.last_activity_at.is_some(),
            _ => false,
        };
        FIELDS.into_iter().filter(writes).collect()
    }
}

impl AlertEdit {
    fn fields(&self) -> Vec<EntryKind> {
        let writes = [
            (EntryKind::Status, self.status.is_some()),
            (EntryKind::Classification, self.classification.is_some()),
            (EntryKind::Owner, self.owner.is_some()),
        ];
        writes.into_iter().filter_map(|(field, written)| written.then_some(field)).collect()
    }
}

impl Work<'_> {
    /// Refuses an edit whose caller does not know the locked incident's fields as they are.
    pub(super) async fn expect(&self, incident: &Incident, edit: &IncidentEdit) -> Result<()> {
        self.expect_fields(incident, edit.expected_version, &edit.fields()).await
    }

    /// The same for fields of the caller's choice.
    pub(super) async fn expect_fields(
        &self,
        incident: &Incident,
        expected: Option<u64>,
        fields: &[EntryKind],
    ) -> Result<()> {
        let Some(expected) = expected else { return Ok(()) };
        precondition::reached(incident, expected)?;
        let since = self.since(incident.id, expected, fields.to_vec()).await?;
        precondition::unchanged_since(incident, expected, fields, &since)
    }

    /// Refuses an edit of an alert; its versions are those of the incident that holds it.
    pub(super) async fn expect_alert(&self, id: AlertId, holder: Option<&Incident>, edit: &AlertEdit) -> Result<()> {
        let Some(expected) = edit.expected_version else { return Ok(()) };
        let Some(holder) = holder else {
            return Err(Error::invalid("expectedVersion", "an alert of no incident has no version"));
        };
        precondition::reached(holder, expected)?;
        let since = self.since(holder.id, expected, vec![EntryKind::AlertsChanged]).await?;
        precondition::alert_unchanged_since(id, expected, &edit.fields(), &since)
    }

    async fn since(&self, incident: IncidentId, version: u64, kinds: Vec<EntryKind>) -> Result<Vec<Change>> {
        let filter = ActivityFilter { kinds: Some(kinds), ..ActivityFilter::default() };
        let newest = Span { after: Some(version), before: None, from_end: true, limit: CHANGES_READ_MAX };
        self.tx.activity(incident, &filter, newest).await
    }
}
