//! What changed of one alert, as the log tells it: each field before and after.

use async_graphql::{ID, SimpleObject};

use super::queue::Classification;
use super::retold::ReportDelta;
use crate::domain::alert::AlertStatus;
use crate::domain::change::AlertDelta as Delta;

/// A status of an alert, before and after.
#[derive(SimpleObject)]
pub struct AlertStatusDelta {
    /// Before.
    before: AlertStatus,
    /// After.
    after: AlertStatus,
}

/// An owner of an alert, before and after, by global id.
#[derive(SimpleObject)]
pub struct AlertOwnerDelta {
    /// Before.
    before: Option<ID>,
    /// After.
    after: Option<ID>,
}

/// A classification of an alert, before and after.
#[derive(SimpleObject)]
pub struct AlertClassificationDelta {
    /// Before.
    before: Option<Classification>,
    /// After.
    after: Option<Classification>,
}

/// What changed of one alert; a field that stayed is null.
#[derive(SimpleObject)]
pub struct AlertDelta {
    /// The alert's global id.
    alert_id: ID,
    /// Its status.
    status: Option<AlertStatusDelta>,
    /// Its owner.
    owner: Option<AlertOwnerDelta>,
    /// Its classification.
    classification: Option<AlertClassificationDelta>,
    /// Whether its provider reported it anew.
    reported: bool,
    /// What its provider says otherwise of it; null where that stayed, and in changes of before the desk noted it.
    report: Option<ReportDelta>,
}

impl From<&Delta> for AlertDelta {
    fn from(delta: &Delta) -> Self {
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
