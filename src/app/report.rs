//! Alerts from imports. A report that was applied before, or that is older than an applied one, changes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::alert::{Destination, Ingest, Ingested};
use super::{App, Command};
use crate::domain::account::Role;
use crate::domain::alert::{AlertDraft, AlertKey};
use crate::domain::{AlertId, IncidentId, Instant, Result};
use crate::storage::{Applied, Tx};

/// A report of an alert, as an import file has it.
#[derive(Clone, Debug)]
pub struct ToldReport {
    /// The alert that the report describes.
    pub draft: AlertDraft,
    /// The SHA-256 of the whole report. The same report again has the same digest.
    pub digest: Vec<u8>,
    /// The time of the report at its provider, if the file states it. A report older than an applied one is skipped.
    pub told_at: Option<Instant>,
    /// The time when the alert came in.
    pub at: Instant,
}

impl App {
    /// Ingests the alerts of a file in its order, in one transaction. Each alert comes in at its own time. Reports that
    /// were applied before count as unchanged.
    pub async fn ingest_told(&self, command: &Command, told: Vec<ToldReport>) -> Result<Ingested> {
        command.require(Role::Responder, "ingest alerts")?;
        let new_incident = IncidentId(self.clock.fresh_id());
        let work =
            async |tx: Arc<Tx>| Box::pin(self.apply_told(&tx, command.clone(), told.clone(), new_incident)).await;
        let (ingested, head) = self.store.transact(work).await?;
        self.hub.committed(head.offset);
        Ok(ingested)
    }

    pub(super) async fn apply_told(
        &self,
        tx: &Tx,
        command: Command,
        told: Vec<ToldReport>,
        new_incident: IncidentId,
    ) -> Result<Ingested> {
        let total = told.len();
        let news = news(tx, told).await?;
        let passed_over = total - news.len();
        let at = news.iter().map(|told| told.at).max().unwrap_or(command.at);
        let drafts = news.iter().map(|told| told.draft.clone()).collect();
        let came_at = news.iter().map(|told| told.at).collect();
        let ingest = Ingest { came_at, ..Ingest::new(drafts, Destination::Nowhere) };
        let mut ingested = Box::pin(self.ingest(tx, &Command { at, ..command }, ingest, new_incident)).await?.value;
        ingested.unchanged += passed_over;
        let ids: HashMap<AlertKey, AlertId> =
            ingested.alerts.iter().map(|alert| (alert.report.key(), alert.id)).collect();
        let applied = news.iter().filter_map(|told| {
            let id = ids.get(&told.draft.report.key())?;
            Some((*id, Applied { digest: told.digest.clone(), at: told.told_at }))
        });
        tx.note_reports(applied.collect()).await?;
        Ok(ingested)
    }
}

/// Returns the reports that are new: not applied before, and not older than an applied or a preceding report.
async fn news(tx: &Tx, told: Vec<ToldReport>) -> Result<Vec<ToldReport>> {
    let keys: Vec<AlertKey> =
        told.iter().map(|told| told.draft.report.key()).collect::<HashSet<_>>().into_iter().collect();
    let known = tx.alerts_by_key(&keys).await?;
    let applied = tx.applied_reports(&known.iter().map(|alert| alert.id).collect::<Vec<_>>()).await?;
    let mut digests: HashSet<Vec<u8>> = applied.values().flatten().map(|report| report.digest.clone()).collect();
    let mut latest: HashMap<AlertKey, Instant> = HashMap::new();
    for alert in known {
        let at = applied.get(&alert.id).and_then(|reports| reports.iter().filter_map(|report| report.at).max());
        latest.extend(at.map(|at| (alert.report.key(), at)));
    }
    let mut news = Vec::with_capacity(told.len());
    for report in told {
        let key = report.draft.report.key();
        let last = latest.get(&key).copied();
        let older = report.told_at.zip(last).is_some_and(|(at, last)| at < last);
        if older || !digests.insert(report.digest.clone()) {
            continue;
        }
        if let Some(at) = report.told_at.max(last) {
            latest.insert(key, at);
        }
        news.push(report);
    }
    Ok(news)
}
