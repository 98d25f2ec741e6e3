//! The server: HTTP, WebSocket, and the checks of a request before the schema sees it.
//!
//! The rooms stand in a total order. Each room imports only rooms to its left:
//! `edge ← operation ← execution ← share ← settings ← served ← http, ws ← desk ← routes ← listen`.

mod desk;
pub mod edge;
pub mod execution;
mod http;
pub mod listen;
pub mod operation;
pub mod routes;
mod served;
pub mod settings;
pub mod share;
mod ws;

pub use self::desk::Desk;
pub use self::routes::router;
