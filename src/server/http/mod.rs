//! GraphQL over HTTP: single answers, and streams as event streams or in several parts.

mod call;
pub(super) mod handlers;
mod multipart;
pub(super) mod refused;
pub(super) mod reservations;
pub(super) mod single_connection;
mod sse;
pub(super) mod state;
mod streaming;
