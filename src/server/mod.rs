//! The edge: HTTP, WebSocket, and what a request must be before the schema sees it.

pub mod endpoint;
pub mod guard;
pub mod http;
mod operation;
pub mod origin;
pub mod routes;
pub mod web;
pub mod ws;
