//! The fields of one alert that a change of the log altered, each before and after.

use async_graphql::{ID, SimpleObject};

use super::queue::Classification;
use super::retold::ReportDelta;
use crate::domain::alert::AlertStatus;
use crate::domain::change::AlertDelta as Delta;

/// The status of an alert before and after a change.
#[derive(SimpleObject)]
pub(super) struct AlertStatusDelta {
    /// The status before the change.
    before: AlertStatus,
    /// The status after the change.
    after: AlertStatus,
}

/// The owner of an alert before and after a change.
#[derive(SimpleObject)]
pub(super) struct AlertOwnerDelta {
    /// The global id of the owner before the change; null if there was no owner.
    before: Option<ID>,
    /// The global id of the owner after the change; null if there is no owner.
    after: Option<ID>,
}

/// The classification of an alert before and after a change.
#[derive(SimpleObject)]
pub(super) struct AlertClassificationDelta {
    /// The classification before the change; null if it was not classified.
    before: Option<Classification>,
    /// The classification after the change; null if it is not classified.
    after: Option<Classification>,
}

/// The fields of one alert that a change altered. A field that did not change is null.
#[derive(SimpleObject)]
pub(super) struct AlertDelta {
    // Not the alert itself: a change may name 5,000 alerts, and a page of changes would read all of them.
    /// The alert's global id.
    alert_id: ID,
    /// The status, if it changed.
    status: Option<AlertStatusDelta>,
    /// The owner, if it changed.
    owner: Option<AlertOwnerDelta>,
    /// The classification, if it changed.
    classification: Option<AlertClassificationDelta>,
    /// Whether the change comes from a new report of the provider.
    reported: bool,
    /// The reported fields that changed; null if no field changed, or if the desk did not yet record them at that time.
    report: Option<ReportDelta>,
}

impl AlertDelta {
    /// Builds the delta that the log holds.
    pub(super) fn new(delta: &Delta) -> Self {
        let id = |owner: crate::domain::account::OwnerId| ID::from(owner.to_string());
        Self {
            alert_id: delta.alert.to_string().into(),
            status: delta.status.map(|(before, after)| AlertStatusDelta { before, after }),
            owner: delta.owner.map(|(before, after)| AlertOwnerDelta { before: before.map(id), after: after.map(id) }),
            classification: delta.classification.map(|(before, after)| AlertClassificationDelta {
                before: before.map(Classification::from),
                after: after.map(Classification::from),
            }),
            reported: delta.reported,
            report: delta.report.as_deref().cloned().map(ReportDelta::from),
        }
    }
}
