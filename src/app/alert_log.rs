//! Compares alerts that no incident holds with their own logs: each change continues the change before it, and the
//! alert is as its last change left it. Memory is small: the last change of each of a few alerts.

use std::collections::HashMap;

use crate::domain::alert::Alert;
use crate::domain::alert_log::{AlertChange, AlertStanding};
use crate::domain::chain::check;
use crate::domain::{AlertId, Error, Result};
use crate::storage::{Reader, StoredAlertChange};

/// How many changes are read at a time.
const CHANGES_PER_BATCH: u64 = 500;

/// How many alerts are compared at a time. An alert may have a title of megabytes and hundreds of entities.
const ALERTS_PER_BATCH: usize = 200;

/// A difference between an alert and its own log.
#[derive(Debug)]
pub(super) struct AlertDifference {
    /// The offset in the log.
    pub(super) position: u64,
    /// The alert, and the version of its own log.
    pub(super) alert: (AlertId, u64),
    /// The difference.
    pub(super) differs: String,
}

/// The reason why a comparison stops early.
#[derive(Debug)]
pub(super) enum AlertLogStop {
    /// A difference was found.
    Differs(AlertDifference),
    /// Something failed.
    Failed(Error),
}

impl From<Error> for AlertLogStop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

type AlertLogResult<T = ()> = Result<T, AlertLogStop>;

/// Compares everything. Calls `went` with the number of changes that were read since the last call. Returns how many
/// alerts that no incident holds match their own log. Other alerts are compared with the logs of their incidents.
pub(super) async fn compare(reader: &Reader, went: &mut (dyn FnMut(usize) + Send)) -> AlertLogResult<u64> {
    let (mut place, mut last) = (None, None::<AlertChange>);
    let (mut waiting, mut proved) = (Vec::new(), 0);
    loop {
        let rows = reader.stored_by_alert(place, CHANGES_PER_BATCH).await?;
        let Some(end) = rows.last() else { break };
        place = Some((end.alert, end.version));
        went(rows.len());
        for row in rows {
            let whole = last.take_if(|last| last.body.alert != row.alert);
            let change = read(&row, last.as_ref())?;
            last = Some(change);
            waiting.extend(whole);
            if waiting.len() >= ALERTS_PER_BATCH {
                proved += held_against(reader, std::mem::take(&mut waiting)).await?;
            }
        }
    }
    waiting.extend(last);
    Ok(proved + held_against(reader, waiting).await?)
}

fn read(row: &StoredAlertChange, before: Option<&AlertChange>) -> AlertLogResult<AlertChange> {
    let broken = |differs: &str| {
        let alert = (row.alert, row.version);
        AlertLogStop::Differs(AlertDifference { position: row.position, alert, differs: differs.to_owned() })
    };
    let check = check(&row.hash.clone().try_into().map_err(|_| broken("its hash has not 32 bytes"))?);
    let change = AlertChange::read(row.position, check, &row.body).map_err(|_| broken("its body cannot be read"))?;
    if (change.body.alert, change.body.version) != (row.alert, row.version) {
        return Err(broken("its columns say something else than its body"));
    }
    if change.goes_on_from(before.map(|before| &before.body)) {
        Ok(change)
    } else {
        Err(broken("it does not begin where the change before it in its alert's log ended"))
    }
}

/// Compares alerts with the last changes of their logs. Returns how many of them no incident holds.
async fn held_against(reader: &Reader, logged: Vec<AlertChange>) -> AlertLogResult<u64> {
    let ids: Vec<AlertId> = logged.iter().map(|change| change.body.alert).collect();
    let shown: HashMap<AlertId, Alert> =
        reader.alerts(&ids).await?.into_iter().map(|alert| (alert.id, alert)).collect();
    let mut proved = 0;
    for change in logged {
        let id = change.body.alert;
        let differs = match shown.get(&id) {
            None => Some(format!("the desk does not have {id} any more")),
            Some(alert) if alert.incident.is_some() => continue,
            Some(alert) => at_odds(&AlertStanding::from(alert), &change.body.state)
                .map(|field| format!("the desk shows another {field} of {id} than this last change of it left behind")),
        };
        if let Some(differs) = differs {
            let alert = (id, change.body.version);
            return Err(AlertLogStop::Differs(AlertDifference { position: change.offset, alert, differs }));
        }
        proved += 1;
    }
    Ok(proved)
}

fn at_odds(shown: &AlertStanding, logged: &AlertStanding) -> Option<&'static str> {
    [
        ("status", shown.status == logged.status),
        ("owner", shown.owner == logged.owner),
        ("classification", shown.classification == logged.classification),
        ("report", shown.report == logged.report),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}
