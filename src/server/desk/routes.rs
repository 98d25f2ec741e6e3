//! The routes of the desk besides `/graphql`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::{Desk, attachment, export};
use crate::domain::Error;
use crate::graphql;

/// Makes the routes of the desk: readiness, the schema, exports and attachments.
pub(in crate::server) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/readyz", get(ready))
        .route("/schema.graphql", get(schema))
        .route("/incidents/{incident}/log.ndjson", get(export::log))
        .route("/.well-known/watchfloor-signing-key.pem", get(export::key))
        .with_state(desk.clone())
        .merge(attachment::routes(desk))
}

/// Answers whether the desk can work: the database answers and takes writes. A failure states its reason as product
/// text.
async fn ready(State(desk): State<Desk>) -> impl IntoResponse {
    match desk.app.store.ready().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            let reason = match error {
                Error::Refused(refusal) => refusal.message,
                Error::Fault { .. } | Error::Busy => "the database does not answer".to_owned(),
            };
            (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"))
        }
    }
}

async fn schema() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], graphql::sdl())
}
