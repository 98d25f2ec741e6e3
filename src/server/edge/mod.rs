//! The edge: connections and request heads, before a request is known to be an operation. No file here executes an
//! operation.

pub(super) mod accept;
pub(super) mod actor;
pub mod admission;
pub mod connections;
pub(super) mod headers;
mod http2_heads;
mod hyper_answers;
pub mod origin;
pub(super) mod panics;
pub(super) mod request_body;
pub(super) mod response;
pub(super) mod runtime;
pub mod shutdown;
pub mod timeouts;
pub(super) mod url;
pub mod web;
