//! Answers requests on another runtime than the runtime that accepts connections.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::response::refusal;
use crate::domain::Error;
use crate::graphql::error::refuse;

/// Answers a request on this runtime, whatever runtime its connection lives on. A large request or answer takes
/// milliseconds of a worker, which then accepts no connection. The work ends with the connection.
pub(in crate::server) async fn on(State(runtime): State<Handle>, request: Request, next: Next) -> Response {
    let task = runtime.spawn(next.run(request));
    let _asked = RequestTask(task.abort_handle());
    task.await.unwrap_or_else(|error| {
        let fault = refuse(Error::fault("answering a request", error));
        let words = fault.errors.first().map(|error| error.message.clone()).unwrap_or_default();
        // A mutation that the request began may have been carried out.
        refusal(StatusCode::INTERNAL_SERVER_ERROR, Error::unavailable_for_long(words))
    })
}

/// The task of a request, which ends when this value is dropped.
struct RequestTask(AbortHandle);

impl Drop for RequestTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
