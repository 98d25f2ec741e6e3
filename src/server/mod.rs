//! The edge: HTTP, WebSocket, and what a request must be before the schema sees it.

pub mod guard;
