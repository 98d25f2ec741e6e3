//! The mutations of alerts.

use async_graphql::{Context, Object};

use super::run::run;
use crate::app::alert::{Ingest, Ingested};
use crate::app::idempotency::Did;
use crate::app::{App, Command};
use crate::domain::alert::AlertDraft;
use crate::domain::path::each;
use crate::domain::{AlertId, Result};
use crate::graphql::alert::{IngestAlertInput, IngestAlertsInput, IngestTarget, UpdateAlertInput, ingest_target};
use crate::graphql::connection::read_id;
use crate::graphql::payload::{AlertPayload, IngestPayload};
use crate::graphql::tag::{SystemTagInput, system_tags};

/// The mutations of alerts.
#[derive(Default)]
pub(super) struct AlertMutations;

/// The fields of `ingestAlerts` whose name differs from the edit of an incident, which an ingest makes too.
const INGEST_WORDS: [(&str, &str); 2] = [("addTags", "systemTags"), ("linkAlerts", "into.incident")];

/// The same fields of `ingestAlert`, and its alert, which is the first alert of a batch.
const INGEST_ALERT_WORDS: [(&str, &str); 3] = [INGEST_WORDS[0], INGEST_WORDS[1], ("alerts.0", "alert")];

/// Ingests alerts into the incident that the input names.
async fn ingest(
    app: &App,
    command: &Command,
    alerts: Vec<AlertDraft>,
    into: Option<&IngestTarget>,
    tags: &[SystemTagInput],
) -> Result<Did<Ingested>> {
    let batch = Ingest { system_tags: system_tags("systemTags", tags)?, ..Ingest::new(alerts, ingest_target(into)?) };
    app.ingest_alerts(command, batch).await
}

#[Object]
impl AlertMutations {
    /// Ingests one alert. A report with the key of a known alert updates that alert.
    async fn ingest_alert(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: IngestAlertInput,
    ) -> Result<Option<IngestPayload>> {
        let IngestAlertInput { alert, into, system_tags, call } = input;
        run(ctx, call, async move |app, command| {
            let draft = alert.read(command.at).map_err(|error| error.below("alert"))?;
            let did = ingest(app, &command, vec![draft], into.as_ref(), &system_tags).await;
            did.map_err(|error| error.reworded(&INGEST_ALERT_WORDS))
        })
        .await
    }

    /// Ingests alerts, all or nothing. A report with the key of a known alert updates that alert. With `into.correlate`
    /// a batch opens or joins at most 500 incidents (`LIMIT`).
    async fn ingest_alerts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: IngestAlertsInput,
    ) -> Result<Option<IngestPayload>> {
        let IngestAlertsInput { alerts, into, system_tags, call } = input;
        run(ctx, call, async move |app, command| {
            let at = command.at;
            let drafts = each("alerts", alerts, |path, alert| alert.read(at).map_err(|error| error.below(path)))?;
            let did = ingest(app, &command, drafts, into.as_ref(), &system_tags).await;
            did.map_err(|error| error.reworded(&INGEST_WORDS))
        })
        .await
    }

    /// Changes the status, classification or owner of an alert by hand. To make an alert of a resolved incident active
    /// is a `CONFLICT`: reopen the incident first.
    async fn update_alert(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The input of the mutation.")] input: UpdateAlertInput,
    ) -> Result<Option<AlertPayload>> {
        run(ctx, input.call.clone(), async move |app, command| {
            let id = read_id("alertId", &input.alert_id, AlertId::WORD, AlertId::parse)?;
            app.update_alert(&command, id, input.read()?).await.map_err(|error| error.at("alertId"))
        })
        .await
    }
}
