//! `/incidents/…/log.ndjson`: the signed log of one incident, and the public key for its signature.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;

use super::Desk;
use crate::app::export::{Export, NamedIncident};
use crate::domain::signing::DeskKey;
use crate::domain::{Code, Error, Result};
use crate::server::edge::actor::actor;
use crate::server::edge::response::refusal;
use crate::server::http::refused::Refused;
use crate::server::operation::endpoint::Endpoint;

/// `GET`: exports the log of the incident in the path, named by global id or number, to a caller that may read it.
pub(super) async fn log(State(desk): State<Desk>, Path(incident): Path<String>, headers: HeaderMap) -> Response {
    match begin(&desk, &incident, &headers).await {
        Ok(export) => {
            let attachment = format!("attachment; filename=\"{}\"", export.file_name());
            // A response that breaks off has no signature, so a check of the file fails.
            let lines = export.lines().inspect_err(|error| tracing::warn!(%error, "an export broke off"));
            let headers = [
                (header::CONTENT_TYPE, "application/x-ndjson".to_owned()),
                (header::CONTENT_DISPOSITION, attachment),
                (header::CACHE_CONTROL, "no-store".to_owned()),
            ];
            (headers, Body::from_stream(lines)).into_response()
        }
        Err(error) => refused(error),
    }
}

/// `GET`: the public half of the desk's key, in PEM.
pub(super) async fn key(State(desk): State<Desk>) -> Response {
    match signing(&desk).and_then(|key| key.public().to_pem()) {
        Ok(pem) => ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
        Err(error) => refused(error),
    }
}

async fn begin(desk: &Desk, incident: &str, headers: &HeaderMap) -> Result<Export> {
    let viewer = desk.admit(actor(headers)?).await?;
    let named = NamedIncident::parse(incident).ok_or_else(|| Error::not_found("incident", incident))?;
    let found = named.find(&desk.app.store).await?.filter(|incident| viewer.reads(incident));
    let found = found.ok_or_else(|| Error::not_found("incident", incident))?;
    let store = desk.app.store.for_own_work();
    Export::begin(&store, found, signing(desk)?, desk.app.clock.now()).await
}

fn signing(desk: &Desk) -> Result<&DeskKey> {
    desk.key.as_ref().ok_or_else(|| Error::unavailable("this desk has no signing key"))
}

fn refused(error: Error) -> Response {
    let refused = Refused::from(error);
    let status = match refused.error.code() {
        Code::NotFound => StatusCode::NOT_FOUND,
        _ => refused.status,
    };
    refusal(status, refused.error)
}
